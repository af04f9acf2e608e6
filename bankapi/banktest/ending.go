package banktest

import (
	"sync"
	"time"

	"placard/bankapi/simulator"
	"placard/linking"
)

var endingClaims = []claim{
	{"CloseMakesARequestUnpayable", func(w *world) {
		a := w.open()
		s, err := w.bank.Close(w.ctx, a.BankRef)
		if err != nil {
			w.t.Fatal(err)
		}
		w.status(s, linking.BankClosed)
		w.status(w.get(a), linking.BankClosed)
		if _, err := w.Sim.Pay(simulator.Pay{RequestID: string(a.ID)}); err == nil {
			w.t.Fatal("it was paid all the same")
		}
	}},
	{"CloseTwiceIsTheSame", func(w *world) {
		a := w.open()
		for range 2 {
			s, err := w.bank.Close(w.ctx, a.BankRef)
			if err != nil {
				w.t.Fatal(err)
			}
			w.status(s, linking.BankClosed)
		}
	}},
	{"CloseOfAPaidRequestSaysPaid", func(w *world) {
		a := w.open()
		w.paid(a)
		s, err := w.bank.Close(w.ctx, a.BankRef)
		if err != nil {
			w.t.Fatal(err)
		}
		w.status(s, linking.BankPaid)
		if len(s.Payments) != 1 || s.Payments[0].Money != a.Money {
			w.t.Fatalf("payments %+v", s.Payments)
		}
	}},
	{"CloseWhileAPaymentIsUnderWaySaysSo", func(w *world) {
		a := w.open()
		w.pay(simulator.Pay{RequestID: string(a.ID), Hold: true})
		s, err := w.bank.Close(w.ctx, a.BankRef)
		if err != nil {
			w.t.Fatal(err)
		}
		if w.Instant { // it says nothing, and the money comes all the same
			w.status(s, linking.BankClosed)
		} else {
			w.status(s, linking.BankProcessing)
		}
		w.paid(a)
		w.status(w.get(a), linking.BankPaid)
	}},
	{"CloseWhileAPaymentIsUnderWayIsBusyIfTheBankCannotBeAsked", func(w *world) {
		a := w.open()
		w.pay(simulator.Pay{RequestID: string(a.ID), Hold: true})
		w.fault(simulator.Fault{Route: "get", Kind: simulator.Reset})
		_, err := w.bank.Close(w.ctx, a.BankRef)
		w.failed(err, linking.BankBusy, linking.BankUnknown)
	}},
	{"CloseOfWhatTheBankNeverHeardOfIsAbsent", func(w *world) {
		_, err := w.bank.Close(w.ctx, w.ask().BankRef)
		w.failed(err, linking.BankAbsent)
	}},
	{"CloseWhoseAnswerIsLostIsUnknownAndDone", func(w *world) {
		a := w.open()
		w.fault(simulator.Fault{Route: "close", Kind: simulator.DropAfterCommit, Count: 1})
		_, err := w.bank.Close(w.ctx, a.BankRef)
		w.failed(err, linking.BankUnknown)
		w.status(w.get(a), linking.BankClosed)
	}},
	{"CloseThatNeverArrivedIsUnknownAndNotDone", func(w *world) {
		a := w.open()
		w.fault(simulator.Fault{Route: "close", Kind: simulator.Reset, Count: 1})
		_, err := w.bank.Close(w.ctx, a.BankRef)
		w.failed(err, linking.BankUnknown)
		w.status(w.get(a), linking.BankOpen)
	}},
	{"WhenACloseAndAPaymentRaceThereIsOneTruth", func(w *world) {
		for range 20 {
			a := w.open()
			var race sync.WaitGroup
			race.Go(func() { w.Sim.Pay(simulator.Pay{RequestID: string(a.ID)}) })
			s, err := w.bank.Close(w.ctx, a.BankRef)
			race.Wait()
			if err != nil {
				w.t.Fatal(err)
			}
			g := w.get(a)
			if g.Status != s.Status || (g.Status == linking.BankPaid) != (len(g.Payments) == 1) {
				w.t.Fatalf("Close said %q, Get %+v", s.Status, g)
			}
		}
	}},
	{"AnExpiredRequestIsNotPayable", func(w *world) {
		a := w.open()
		w.Sim.Advance(16 * time.Minute)
		if _, err := w.Sim.Pay(simulator.Pay{RequestID: string(a.ID)}); err == nil {
			w.t.Fatal("it was paid all the same")
		}
		want := linking.BankOpen
		if w.Abilities.EndsItself {
			want = linking.BankExpired
		}
		w.status(w.get(a), want)
	}},
	{"AnExpiredRequestCanBeClosed", func(w *world) {
		a := w.open()
		w.Sim.Advance(16 * time.Minute)
		s, err := w.bank.Close(w.ctx, a.BankRef)
		if err != nil || s.Status != linking.BankExpired && s.Status != linking.BankClosed {
			w.t.Fatalf("%+v, %v", s, err)
		}
	}},
	{"APayersRefusalEndsTheRequest", func(w *world) {
		a := w.open()
		if _, err := w.Sim.Refuse(string(a.ID)); err != nil {
			w.t.Fatal(err)
		}
		if s := w.get(a); s.Status != linking.BankClosed && s.Status != linking.BankRejected {
			w.t.Fatalf("%+v", s)
		}
	}},
}

var payingClaims = []claim{
	{"APaymentIsSeenWithIdMoneyAndTime", func(w *world) {
		a := w.open()
		w.paid(a)
		s := w.get(a)
		w.status(s, linking.BankPaid)
		if len(s.Payments) != 1 {
			w.t.Fatalf("%d payments", len(s.Payments))
		}
		p, h := s.Payments[0], w.held(a).Payments[0]
		if p.ID != h.ID || p.ID == "" || len(p.ID) > 64 || p.Money != a.Money || !p.PaidAt.Equal(h.At.Truncate(time.Second)) {
			w.t.Fatalf("%+v, at the bank %+v", p, h)
		}
	}},
	{"APaymentKeepsItsId", func(w *world) {
		a := w.open()
		w.paid(a)
		if x, y := w.get(a).Payments[0].ID, w.get(a).Payments[0].ID; x != y {
			w.t.Fatalf("%q, then %q", x, y)
		}
	}},
	{"MoneyThatComesTwiceIsTwoPayments", func(w *world) {
		if w.OnePayment {
			return // what it says of the second is the rail's own to test
		}
		a := w.open()
		w.pay(simulator.Pay{RequestID: string(a.ID), Times: 2})
		s := w.get(a)
		if len(s.Payments) != 2 || s.Payments[0].ID == s.Payments[1].ID {
			w.t.Fatalf("%+v", s.Payments)
		}
	}},
	{"AnotherAmountComesThroughAsItIs", func(w *world) {
		a := w.open()
		w.pay(simulator.Pay{RequestID: string(a.ID), Amount: 999})
		s := w.get(a)
		if s.Money != a.Money || s.Payments[0].Money.Amount != 999 {
			w.t.Fatalf("%+v", s)
		}
	}},
	{"LateMoneyIsSeenWithTheBanksTime", func(w *world) {
		a := w.open()
		w.Sim.Advance(20 * time.Minute)
		w.pay(simulator.Pay{RequestID: string(a.ID), Force: true})
		s := w.get(a)
		if len(s.Payments) != 1 || s.Payments[0].PaidAt.Before(a.ExpiresAt) {
			w.t.Fatalf("%+v", s)
		}
	}},
	{"MoneyAfterTheCloseIsSeen", func(w *world) {
		a := w.open()
		if _, err := w.bank.Close(w.ctx, a.BankRef); err != nil {
			w.t.Fatal(err)
		}
		w.pay(simulator.Pay{RequestID: string(a.ID), Force: true})
		if s := w.get(a); len(s.Payments) != 1 {
			w.t.Fatalf("%+v", s)
		}
	}},
	{"APaymentUnderWayIsProcessingAndNoMoney", func(w *world) {
		a := w.open()
		w.pay(simulator.Pay{RequestID: string(a.ID), Hold: true})
		s := w.get(a)
		if w.Instant {
			w.status(s, linking.BankOpen)
		} else {
			w.status(s, linking.BankProcessing)
		}
		if len(s.Payments) != 0 {
			w.t.Fatalf("%+v", s.Payments)
		}
		w.paid(a)
		w.status(w.get(a), linking.BankPaid)
	}},
	{"AFailedPaymentLeavesTheRequestOpen", func(w *world) {
		a := w.open()
		w.pay(simulator.Pay{RequestID: string(a.ID), Hold: true})
		if _, err := w.Sim.Refuse(string(a.ID)); err != nil {
			w.t.Fatal(err)
		}
		w.status(w.get(a), linking.BankOpen)
	}},
	{"AnotherMerchantsRequestIsAbsent", func(w *world) {
		a := w.open()
		n := w.Neighbour(w.t, w.target(8*time.Second))
		_, err := n.Get(w.ctx, a.BankRef)
		failed(w.t, err, linking.BankAbsent)
		_, err = n.Close(w.ctx, a.BankRef)
		failed(w.t, err, linking.BankAbsent)
		w.status(w.get(a), linking.BankOpen)
	}},
}
