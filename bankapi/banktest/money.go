package banktest

import (
	"cmp"
	"slices"
	"time"

	"placard/bankapi/simulator"
	"placard/linking"
)

// refundOf asks for amount of a's first payment back.
func (w *world) refundOf(a linking.Ask, id linking.RefundID, amount linking.Amount) linking.RefundAsk {
	w.t.Helper()
	return linking.RefundAsk{BankRef: a.BankRef, Refund: id, PaymentID: w.held(a).Payments[0].ID,
		Money: linking.Money{Amount: amount, Currency: a.Money.Currency}}
}

func (w *world) paidRequest() linking.Ask {
	w.t.Helper()
	a := w.open()
	w.paid(a)
	return a
}

// sent is what the bank has sent back, or is about to.
func (w *world) sent(a linking.Ask) (sum linking.Amount) {
	for _, r := range w.held(a).Refunds {
		if r.Status != linking.RefundFailed {
			sum += r.Amount
		}
	}
	return sum
}

// refundable asserts the refusal where a rail sends nothing back.
func refundable(check func(w *world)) func(w *world) {
	return func(w *world) {
		if w.Abilities.Refund {
			check(w)
			return
		}
		a := w.paidRequest()
		_, err := w.bank.Refund(w.ctx, w.refundOf(a, refundID(), 100))
		w.failed(err, linking.BankRefused)
		if w.sent(a) != 0 {
			w.t.Fatal("it was sent back all the same")
		}
	}
}

func refundID() linking.RefundID { return linking.RefundID(newID()[6:]) }

var refundClaims = []claim{
	{"ARefundGoesBackAndIsSeenByGet", refundable(func(w *world) {
		a := w.paidRequest()
		r := w.refundOf(a, refundID(), 500)
		got, err := w.bank.Refund(w.ctx, r)
		if err != nil || got.ID != string(r.Refund) || got.Amount != 500 || got.PaymentID != r.PaymentID || got.Status != linking.RefundDone {
			w.t.Fatalf("%+v, %v", got, err)
		}
		s := w.get(a)
		if len(s.Refunds) != 1 || s.Refunds[0] != got {
			w.t.Fatalf("Refund said %+v, Get %+v", got, s.Refunds)
		}
	})},
	{"TheSameRefundTwiceIsOne", refundable(func(w *world) {
		a := w.paidRequest()
		r := w.refundOf(a, refundID(), 500)
		for range 3 {
			if _, err := w.bank.Refund(w.ctx, r); err != nil {
				w.t.Fatal(err)
			}
		}
		if n := w.sent(a); n != 500 {
			w.t.Fatalf("%d went back", n)
		}
	})},
	{"TheSameRefundWithAnotherAmountIsNotDone", refundable(func(w *world) {
		a := w.paidRequest()
		r := w.refundOf(a, refundID(), 500)
		if _, err := w.bank.Refund(w.ctx, r); err != nil {
			w.t.Fatal(err)
		}
		r.Money.Amount = 600
		_, err := w.bank.Refund(w.ctx, r)
		w.failed(err, linking.BankBusy, linking.BankRefused)
		if n := w.sent(a); n != 500 {
			w.t.Fatalf("%d went back", n)
		}
	})},
	{"RefundsNeverExceedThePayment", refundable(func(w *world) {
		a := w.paidRequest()
		if _, err := w.bank.Refund(w.ctx, w.refundOf(a, refundID(), 1000)); err != nil {
			w.t.Fatal(err)
		}
		_, err := w.bank.Refund(w.ctx, w.refundOf(a, refundID(), 251))
		w.failed(err, linking.BankRefused)
		if _, err := w.bank.Refund(w.ctx, w.refundOf(a, refundID(), 250)); err != nil {
			w.t.Fatal(err)
		}
		if n := w.sent(a); n != 1250 {
			w.t.Fatalf("%d went back", n)
		}
	})},
	{"ARefundWhoseAnswerIsLostIsUnknownAndFoundByGet", refundable(func(w *world) {
		a := w.paidRequest()
		r := w.refundOf(a, refundID(), 500)
		w.fault(simulator.Fault{Route: "refund", Kind: simulator.DropAfterCommit, Count: 1})
		_, err := w.bank.Refund(w.ctx, r)
		w.failed(err, linking.BankUnknown)
		if s := w.get(a); len(s.Refunds) != 1 || s.Refunds[0].ID != string(r.Refund) {
			w.t.Fatalf("%+v", s.Refunds)
		}
		if _, err := w.bank.Refund(w.ctx, r); err != nil {
			w.t.Fatal(err)
		}
		if n := w.sent(a); n != 500 {
			w.t.Fatalf("%d went back", n)
		}
	})},
	{"APendingRefundIsSeenWhenItIsDone", refundable(func(w *world) {
		a := w.paidRequest()
		w.Sim.Refunds(linking.RefundPending)
		got, err := w.bank.Refund(w.ctx, w.refundOf(a, refundID(), 500))
		if err != nil || got.Status != linking.RefundPending {
			w.t.Fatalf("%+v, %v", got, err)
		}
		w.Sim.Refunds(linking.RefundDone)
		if s := w.get(a); s.Refunds[0].Status != linking.RefundDone {
			w.t.Fatalf("%+v", s.Refunds)
		}
	})},
	{"AFailedRefundIsToldAndFreesTheMoney", refundable(func(w *world) {
		a := w.paidRequest()
		w.Sim.Refunds(linking.RefundFailed)
		got, err := w.bank.Refund(w.ctx, w.refundOf(a, refundID(), 1250))
		if err != nil || got.Status != linking.RefundFailed {
			w.t.Fatalf("%+v, %v", got, err)
		}
		w.Sim.Refunds(linking.RefundDone)
		if _, err := w.bank.Refund(w.ctx, w.refundOf(a, refundID(), 1250)); err != nil {
			w.t.Fatal(err)
		}
	})},
	{"ARefundOfAPaymentTheBankLacksIsNotDone", func(w *world) {
		a := w.paidRequest()
		r := w.refundOf(a, refundID(), 100)
		r.PaymentID = "nothing"
		_, err := w.bank.Refund(w.ctx, r)
		w.failed(err, linking.BankAbsent, linking.BankRefused)
	}},
	{"ARefundInAnotherCurrencyIsNotDone", refundable(func(w *world) {
		a := w.paidRequest()
		r := w.refundOf(a, refundID(), 100)
		r.Money.Currency = w.Foreign
		_, err := w.bank.Refund(w.ctx, r)
		w.failed(err, linking.BankRefused)
		if w.sent(a) != 0 {
			w.t.Fatal("it was sent back all the same")
		}
	})},
	{"ARefundOfNothingIsRefusedUnsent", func(w *world) {
		a := w.paidRequest()
		for _, amount := range []linking.Amount{0, -5} {
			_, err := w.bank.Refund(w.ctx, w.refundOf(a, refundID(), amount))
			w.failed(err, linking.BankRefused)
		}
		if _, counts := w.Sim.Calls(""); counts["refund"] != 0 {
			w.t.Fatal("it was sent")
		}
	}},
	{"ANeighboursPaymentIsNotRefunded", func(w *world) {
		a := w.paidRequest()
		n := w.Neighbour(w.t, w.target(8*time.Second))
		_, err := n.Refund(w.ctx, w.refundOf(a, refundID(), 100))
		failed(w.t, err, linking.BankAbsent, linking.BankRefused)
		if w.sent(a) != 0 {
			w.t.Fatal("it was sent back all the same")
		}
	}},
}

// capturable asserts the refusal where a rail cannot authorise first.
func capturable(check func(w *world, a linking.Ask)) func(w *world) {
	return func(w *world) {
		a := w.ask()
		a.Manual = true
		_, err := w.bank.Put(w.ctx, a)
		if !w.Abilities.Capture {
			w.failed(err, linking.BankRefused)
			w.absent(a)
			_, err = w.bank.Capture(w.ctx, w.open().BankRef)
			w.failed(err, linking.BankRefused)
			return
		}
		if err != nil {
			w.t.Fatal(err)
		}
		w.paid(a)
		w.status(w.get(a), linking.BankAuthorised)
		check(w, a)
	}
}

var captureClaims = []claim{
	{"CaptureTakesWhatIsAuthorised", capturable(func(w *world, a linking.Ask) {
		s, err := w.bank.Capture(w.ctx, a.BankRef)
		if err != nil || s.Status != linking.BankPaid || len(s.Payments) != 1 || s.Payments[0].Money != a.Money {
			w.t.Fatalf("%+v, %v", s, err)
		}
	})},
	{"CaptureTwiceTakesOnce", capturable(func(w *world, a linking.Ask) {
		for range 2 {
			if _, err := w.bank.Capture(w.ctx, a.BankRef); err != nil {
				w.failed(err, linking.BankBusy)
			}
		}
		if n := len(w.held(a).Payments); n != 1 {
			w.t.Fatalf("%d payments", n)
		}
	})},
	{"CaptureWhoseAnswerIsLostIsUnknownAndFoundByGet", capturable(func(w *world, a linking.Ask) {
		w.fault(simulator.Fault{Route: "capture", Kind: simulator.DropAfterCommit, Count: 1})
		_, err := w.bank.Capture(w.ctx, a.BankRef)
		w.failed(err, linking.BankUnknown)
		w.status(w.get(a), linking.BankPaid)
	})},
	{"CaptureOfWhatNobodyAuthorisedIsBusy", capturable(func(w *world, _ linking.Ask) {
		_, err := w.bank.Capture(w.ctx, w.open().BankRef)
		w.failed(err, linking.BankBusy)
	})},
	{"CloseGivesBackWhatIsAuthorised", capturable(func(w *world, a linking.Ask) {
		s, err := w.bank.Close(w.ctx, a.BankRef)
		if err != nil || s.Status != linking.BankClosed || len(s.Payments) != 0 {
			w.t.Fatalf("%+v, %v", s, err)
		}
		_, err = w.bank.Capture(w.ctx, a.BankRef)
		w.failed(err, linking.BankBusy)
	})},
}

// listable asserts the refusal where a rail has no list.
func listable(check func(w *world)) func(w *world) {
	return func(w *world) {
		if w.Abilities.Changed {
			check(w)
			return
		}
		_, _, err := w.bank.Changed(w.ctx, time.Now().Add(-time.Hour))
		w.failed(err, linking.BankRefused)
	}
}

func (w *world) changed(since time.Time) ([]linking.RequestID, time.Time) {
	w.t.Helper()
	ids, next, err := w.bank.Changed(w.ctx, since)
	if err != nil {
		w.t.Fatal(err)
	}
	return ids, next
}

var listClaims = []claim{
	{"ChangedListsWhatNoCallbackTold", listable(func(w *world) {
		since := w.Sim.Advance(0)
		w.Sim.Callbacks(simulator.Lost, 0)
		paid, ended, quiet := w.paidRequest(), w.open(), w.open()
		w.Sim.Refuse(string(ended.ID))
		ids, _ := w.changed(since)
		if !slices.Contains(ids, paid.ID) || !slices.Contains(ids, ended.ID) || slices.Contains(ids, quiet.ID) {
			w.t.Fatalf("%v of paid %v, ended %v, quiet %v", ids, paid.ID, ended.ID, quiet.ID)
		}
	})},
	{"ChangedListsWhatEndedByTime", listable(func(w *world) {
		a, since := w.open(), w.Sim.Advance(0)
		w.Sim.Advance(16 * time.Minute)
		ids, _ := w.changed(since)
		if slices.Contains(ids, a.ID) != w.Abilities.EndsItself {
			w.t.Fatalf("%v", ids)
		}
	})},
	{"ChangedGoesOnWhereItEnded", listable(func(w *world) {
		since := w.Sim.Advance(0)
		first := w.paidRequest()
		_, next := w.changed(since)
		if next.Before(since.Truncate(time.Second)) {
			w.t.Fatalf("from %v it goes back to %v", since, next)
		}
		w.Sim.Advance(time.Minute)
		second := w.paidRequest()
		ids, _ := w.changed(next)
		if !slices.Contains(ids, second.ID) {
			w.t.Fatalf("%v lacks what changed since", ids)
		}
		w.Sim.Advance(time.Minute)
		_, next = w.changed(next)
		if ids, _ = w.changed(next); slices.Contains(ids, first.ID) {
			w.t.Fatalf("%v still has what is long known", ids)
		}
	})},
	{"ChangedListsMoreThanOnePage", listable(func(w *world) {
		w.Sim.Callbacks(simulator.Lost, 0) // each would be signed and sent for nothing
		page := cmp.Or(w.Page, 200)
		most := 2*page + page/4 // a first, a middle and a last page
		since := w.Sim.Advance(0)
		want := map[linking.RequestID]bool{}
		for range most {
			want[w.paidRequest().ID] = true
		}
		ids, _ := w.changed(since)
		for _, id := range ids {
			delete(want, id)
		}
		if len(want) != 0 {
			w.t.Fatalf("%d of %d are missing", len(want), most)
		}
	})},
	{"ChangedNeverListsANeighbours", listable(func(w *world) {
		since := w.Sim.Advance(0)
		w.paidRequest()
		n := w.Neighbour(w.t, w.target(8*time.Second))
		ids, _, err := n.Changed(w.ctx, since)
		if err != nil || len(ids) != 0 {
			w.t.Fatalf("%v, %v", ids, err)
		}
	})},
}
