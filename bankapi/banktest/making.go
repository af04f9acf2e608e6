package banktest

import (
	"slices"
	"sync"
	"time"

	"placard/bankapi/simulator"
	"placard/linking"
)

var makingClaims = []claim{
	{"PutMakesARequestWithAWayToPay", func(w *world) {
		s := w.put(w.ask())
		w.status(s, linking.BankOpen)
		if s.Way.Kind == "" || s.Way.URL == "" && s.Way.Payload == "" {
			w.t.Fatalf("no way to pay: %+v", s.Way)
		}
	}},
	{"PutAnswersWhatTheBankHolds", func(w *world) {
		a := w.ask()
		s := w.put(a)
		if s.ID != a.ID || s.Money != a.Money {
			w.t.Fatalf("the bank holds %+v, asked for %+v", s, a)
		}
		if !s.ExpiresAt.IsZero() && !sameEnd(s.ExpiresAt, a.ExpiresAt) {
			w.t.Fatalf("it ends at %v, asked for %v", s.ExpiresAt, a.ExpiresAt)
		}
		if h := w.held(a); h.Amount != a.Money.Amount || h.Currency != a.Money.Currency {
			w.t.Fatalf("the bank itself holds %+v", h)
		}
	}},
	{"GetSaysTheSameAsPut", func(w *world) {
		a := w.ask()
		s, g := w.put(a), w.get(a)
		if s.Status != g.Status || s.Money != g.Money || !s.ExpiresAt.Equal(g.ExpiresAt) || s.Way != g.Way {
			w.t.Fatalf("Put %+v, Get %+v", s, g)
		}
	}},
	{"PutTwiceChangesNothing", func(w *world) {
		a := w.ask()
		s, again := w.put(a), w.put(a)
		if s.Way != again.Way || s.Money != again.Money || again.Status != linking.BankOpen {
			w.t.Fatalf("first %+v, then %+v", s, again)
		}
	}},
	{"PutTwiceAfterThePaymentChangesNothing", func(w *world) {
		a := w.open()
		w.paid(a)
		s, err := w.bank.Put(w.ctx, a)
		if err != nil { // a bank may refuse it, as long as Get tells why
			w.failed(err, linking.BankBusy, linking.BankRefused)
			s = w.get(a)
		}
		w.status(s, linking.BankPaid)
		if n := len(w.held(a).Payments); n != 1 {
			w.t.Fatalf("%d payments", n)
		}
	}},
	{"PutIsOneCall", func(w *world) {
		a := w.open()
		if n := w.changes(a); n != 1 {
			w.t.Fatalf("%d calls for one Put", n)
		}
	}},
	{"PutWhoseAnswerIsLostIsUnknownAndFoundByGet", func(w *world) {
		a := w.ask()
		w.fault(simulator.Fault{Route: "create", Kind: simulator.DropAfterCommit, Count: 1})
		_, err := w.bank.Put(w.ctx, a)
		w.failed(err, linking.BankUnknown)
		w.status(w.get(a), linking.BankOpen)
		w.status(w.put(a), linking.BankOpen)
	}},
	{"PutThatNeverArrivedIsUnknownAndAbsent", func(w *world) {
		a := w.ask()
		w.fault(simulator.Fault{Route: "create", Kind: simulator.Reset, Count: 1})
		_, err := w.bank.Put(w.ctx, a)
		w.failed(err, linking.BankUnknown)
		w.absent(a)
		w.status(w.put(a), linking.BankOpen)
	}},
	{"PutThatFailedAfterItWasDoneIsUnknownAndFoundByGet", func(w *world) {
		a := w.ask()
		w.fault(simulator.Fault{Route: "create", Kind: simulator.StatusAfter, Value: 500, Count: 1})
		_, err := w.bank.Put(w.ctx, a)
		w.failed(err, linking.BankUnknown)
		w.status(w.get(a), linking.BankOpen)
	}},
	{"PutIsNeverRepeatedByItself", func(w *world) {
		for _, kind := range []string{simulator.Reset, simulator.DropAfterCommit, simulator.Garbage, simulator.TokenExpired} {
			a := w.ask()
			w.fault(simulator.Fault{Route: "create", Kind: kind})
			w.bank.Put(w.ctx, a)
			w.Sim.ClearFaults()
			// A refused credential was refused before anything was done: one more
			// attempt with a fresh one is allowed.
			if n := w.changes(a); n != 1 && (n != 2 || kind != simulator.TokenExpired) {
				w.t.Fatalf("%s: %d calls", kind, n)
			}
		}
	}},
	{"PutInACurrencyTheBankLacksIsRefused", func(w *world) {
		a := w.ask()
		a.Money.Currency = w.Foreign
		_, err := w.bank.Put(w.ctx, a)
		w.failed(err, linking.BankRefused)
		w.absent(a)
	}},
	{"PutOfNothingIsRefusedUnsent", func(w *world) {
		for _, amount := range []linking.Amount{0, -1, linking.MaxAmount + 1} {
			a := w.ask()
			a.Money.Amount = amount
			_, err := w.bank.Put(w.ctx, a)
			w.failed(err, linking.BankRefused)
			if n := w.changes(a); n != 0 {
				w.t.Fatalf("%d was sent", amount)
			}
		}
	}},
	{"PutBeyondTheLongestExpiryIsRefused", func(w *world) {
		if w.Abilities.MaxExpiry == 0 {
			w.t.Fatal("the fixture's bank has no longest expiry")
		}
		a := w.ask()
		a.TimeLeft = w.Abilities.MaxExpiry + time.Hour
		a.ExpiresAt = w.Sim.Advance(0).Add(a.TimeLeft).Truncate(time.Second)
		_, err := w.bank.Put(w.ctx, a)
		w.failed(err, linking.BankRefused)
		w.absent(a)
	}},
	{"PutThatWouldHaveEndedAlreadyIsRefused", func(w *world) {
		a := w.ask()
		a.TimeLeft = -time.Minute
		a.ExpiresAt = w.Sim.Advance(0).Add(a.TimeLeft).Truncate(time.Second)
		_, err := w.bank.Put(w.ctx, a)
		w.failed(err, linking.BankRefused)
		w.absent(a)
	}},
	{"PutWithoutAnEndIsHeldOrRefused", func(w *world) {
		a := w.ask()
		a.ExpiresAt, a.TimeLeft = time.Time{}, 0
		s, err := w.bank.Put(w.ctx, a)
		if !w.Abilities.OpenEnded {
			w.failed(err, linking.BankRefused)
			w.absent(a)
			return
		}
		if err != nil || !s.ExpiresAt.IsZero() {
			w.t.Fatalf("%+v, %v", s, err)
		}
		w.Sim.Advance(300 * 24 * time.Hour)
		w.status(w.get(a), linking.BankOpen)
	}},
	{"PutWithARangeIsHeldOrRefused", func(w *world) {
		a := w.ask()
		a.Min, a.Max = 1000, 2000
		_, err := w.bank.Put(w.ctx, a)
		if !w.Abilities.Adjustable {
			w.failed(err, linking.BankRefused)
			w.absent(a)
			return
		}
		if err != nil {
			w.t.Fatal(err)
		}
		w.pay(simulator.Pay{RequestID: string(a.ID), Amount: 1700})
		if s := w.get(a); s.Payments[0].Money.Amount != 1700 {
			w.t.Fatalf("paid %v", s.Payments)
		}
	}},
	{"PutWithAWayToPayTheBankLacksIsRefused", func(w *world) {
		a := w.ask()
		a.Methods = []string{"cowries"}
		_, err := w.bank.Put(w.ctx, a)
		w.failed(err, linking.BankRefused)
		w.absent(a)
	}},
	{"ADueDateIsRefusedWhereTheRailHasNone", func(w *world) {
		if slices.Contains(w.Abilities.Charges, linking.DueDate) {
			return // what they cost is the rail's own to test
		}
		a := w.ask()
		a.Charge = linking.DueDate
		_, err := w.bank.Put(w.ctx, a)
		w.failed(err, linking.BankRefused)
	}},
	{"LinksAreRefusedWhereTheRailHasNone", func(w *world) {
		if w.Abilities.BankLink {
			return // what they show is the rail's own to test
		}
		_, err := w.bank.MakeLink(w.ctx, linking.Immediate)
		w.failed(err, linking.BankRefused)
		_, err = w.bank.LinkShows(w.ctx, linking.BankLink{ID: "1"})
		w.failed(err, linking.BankRefused)
		w.failed(w.bank.Unlink(w.ctx, linking.BankLink{ID: "1"}), linking.BankRefused)
	}},
	{"AbilitiesAreTheBanksOwn", func(w *world) {
		got, err := w.bank.Abilities(w.ctx)
		if err != nil {
			w.t.Fatal(err)
		}
		want := w.Abilities
		if !slices.Equal(got.Currencies, want.Currencies) || got.MaxExpiry != want.MaxExpiry || got.OpenEnded != want.OpenEnded ||
			got.Revise != want.Revise || got.Refund != want.Refund || got.Capture != want.Capture || got.Changed != want.Changed ||
			got.Adjustable != want.Adjustable || got.EndsItself != want.EndsItself || !slices.Equal(got.Methods, want.Methods) {
			w.t.Fatalf("got %+v\nwant %+v", got, want)
		}
	}},
}

// revised is a's second revision, one euro more and longer.
func revised(a linking.Ask) linking.Ask {
	a.Revision++
	a.Money.Amount += 100
	a.ExpiresAt = a.ExpiresAt.Add(10 * time.Minute)
	a.TimeLeft += 10 * time.Minute
	return a
}

var revisingClaims = []claim{
	{"ReviseChangesAmountAndExpiryOrIsRefused", func(w *world) {
		a := w.open()
		b := revised(a)
		s, err := w.bank.Put(w.ctx, b)
		if !w.Abilities.Revise {
			w.failed(err, linking.BankRefused)
			if g := w.get(a); g.Money != a.Money || g.Status != linking.BankOpen {
				w.t.Fatalf("after a refused change: %+v", g)
			}
			return
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if g := w.get(a); s.Money != b.Money || g.Money != b.Money || !g.ExpiresAt.IsZero() && !sameEnd(g.ExpiresAt, b.ExpiresAt) {
			w.t.Fatalf("Put %+v, Get %+v", s, g)
		}
	}},
	{"ReviseTwiceChangesNothing", revisable(func(w *world) {
		b := revised(w.open())
		w.put(b)
		if s := w.put(b); s.Money != b.Money {
			w.t.Fatalf("%+v", s)
		}
	})},
	{"TheSameRevisionWithOtherContentIsNotDone", func(w *world) {
		a := w.open()
		b := a
		b.Money.Amount = 9999
		_, err := w.bank.Put(w.ctx, b)
		w.failed(err, linking.BankBusy, linking.BankRefused)
		if g := w.get(a); g.Money != a.Money {
			w.t.Fatalf("the bank holds %v", g.Money)
		}
	}},
	{"AnOlderRevisionNeverReplacesANewerOne", revisable(func(w *world) {
		a := w.open()
		b := revised(a)
		w.put(b)
		_, err := w.bank.Put(w.ctx, a)
		w.failed(err, linking.BankBusy, linking.BankRefused)
		if g := w.get(a); g.Money != b.Money {
			w.t.Fatalf("the bank holds %v", g.Money)
		}
	})},
	{"ReviseWhoseAnswerIsLostIsUnknownAndDone", revisable(func(w *world) {
		b := revised(w.open())
		w.fault(simulator.Fault{Route: "revise", Kind: simulator.DropAfterCommit, Count: 1})
		_, err := w.bank.Put(w.ctx, b)
		w.failed(err, linking.BankUnknown)
		if g := w.get(b); g.Money != b.Money {
			w.t.Fatalf("the bank holds %v", g.Money)
		}
	})},
	{"ReviseThatNeverArrivedIsUnknownAndNotDone", revisable(func(w *world) {
		a := w.open()
		w.fault(simulator.Fault{Route: "revise", Kind: simulator.Reset, Count: 1})
		_, err := w.bank.Put(w.ctx, revised(a))
		w.failed(err, linking.BankUnknown)
		if g := w.get(a); g.Money != a.Money {
			w.t.Fatalf("the bank holds %v", g.Money)
		}
	})},
	{"ReviseWhileAPaymentIsUnderWayIsBusy", func(w *world) {
		a := w.open()
		w.pay(simulator.Pay{RequestID: string(a.ID), Hold: true})
		_, err := w.bank.Put(w.ctx, revised(a))
		if w.Instant { // the change is made, and the old amount arrives: a person has to look
			if err != nil {
				w.t.Fatal(err)
			}
			w.paid(a)
			if g := w.get(a); g.Status != linking.BankPaid || g.Money == a.Money || g.Payments[0].Money != a.Money {
				w.t.Fatalf("%+v", g)
			}
			return
		}
		w.failed(err, linking.BankBusy)
		if g := w.get(a); g.Status != linking.BankProcessing || g.Money != a.Money {
			w.t.Fatalf("%+v", g)
		}
	}},
	{"ReviseOfAPaidRequestIsBusy", func(w *world) {
		a := w.open()
		w.paid(a)
		_, err := w.bank.Put(w.ctx, revised(a))
		w.failed(err, linking.BankBusy)
		if g := w.get(a); g.Status != linking.BankPaid || g.Payments[0].Money != a.Money {
			w.t.Fatalf("%+v", g)
		}
	}},
	{"ReviseOfAnEndedRequestIsBusy", func(w *world) {
		a := w.open()
		if _, err := w.bank.Close(w.ctx, a.BankRef); err != nil {
			w.t.Fatal(err)
		}
		_, err := w.bank.Put(w.ctx, revised(a))
		w.failed(err, linking.BankBusy)
		w.status(w.get(a), linking.BankClosed)
	}},
	{"ARefusedRevisionLeavesTheOldOnePayable", revisable(func(w *world) {
		a := w.open()
		b := revised(a)
		b.Methods = []string{"cowries"}
		_, err := w.bank.Put(w.ctx, b)
		w.failed(err, linking.BankRefused)
		if g := w.get(a); g.Money != a.Money || g.Status != linking.BankOpen {
			w.t.Fatalf("%+v", g)
		}
	})},
	{"WhenAChangeAndAPaymentRaceTheBankDecides", revisable(func(w *world) {
		for range 20 {
			a := w.open()
			b := revised(a)
			var race sync.WaitGroup
			race.Go(func() { w.Sim.Pay(simulator.Pay{RequestID: string(a.ID)}) })
			_, err := w.bank.Put(w.ctx, b)
			race.Wait()
			g := w.get(a)
			w.status(g, linking.BankPaid)
			want := b.Money
			if err != nil {
				w.failed(err, linking.BankBusy)
				want = a.Money
			}
			if g.Money != want || len(g.Payments) != 1 || g.Payments[0].Money != want {
				w.t.Fatalf("Put said %v, and the bank %+v", err, g)
			}
		}
	})},
}

// revisable asserts the refusal where a rail cannot revise.
func revisable(check func(w *world)) func(w *world) {
	return func(w *world) {
		if w.Abilities.Revise {
			check(w)
			return
		}
		a := w.open()
		_, err := w.bank.Put(w.ctx, revised(a))
		w.failed(err, linking.BankRefused)
		if g := w.get(a); g.Money != a.Money {
			w.t.Fatalf("a refused change was made: %v", g.Money)
		}
	}
}
