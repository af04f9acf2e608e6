package linking

import (
	"context"
	"errors"
	"time"
)

// Dealings with the bank. The intent is in the commit that led here: the request
// says which call is under way and until when it counts as alive. The call is
// made outside any commit; its outcome is one more commit, which marks the next
// step, if there is one, as under way. If the process dies in between, the
// sweeper finds the call dead and asks the bank before anything is sent again.

// pursue makes the call op and all that follow from it without a wait. It returns
// when nothing is to be done now, and the outcome of op is durable or given up.
func (s *Service) pursue(id RequestID, op BankOp) {
	ctx, cancel := context.WithTimeout(s.background, opLife)
	defer cancel()
	for op.Kind != NoStep {
		said, err := s.call(ctx, id, op)
		op, err = s.outcome(ctx, id, op, said, err)
		if err != nil {
			s.log.Error("the outcome of a bank call is not stored; the bank will be asked again", "request", id, "err", err)
			return
		}
	}
}

// call makes one call. A nil error with a state for another request than asked is
// turned into an unknown outcome: it is no answer.
func (s *Service) call(ctx context.Context, id RequestID, op BankOp) (said bankSaid, err error) {
	r, c, err := s.requestAndConnection(ctx, id)
	if err != nil {
		return said, &BankError{Class: BankNotSent, Code: "store", Detail: "The store did not answer.", Err: err}
	}
	if r.Bank.Op.ID != op.ID || s.now().After(op.Until.Add(-callLife)) {
		return said, errOverrun // this process slept, and somebody else may have gone on
	}
	bank, err := s.banks.Open(c)
	if err != nil {
		return said, &BankError{Class: BankNotSent, Code: "connection", Detail: "The bank connection's settings cannot work.", Err: err}
	}
	ref := BankRef{ID: id, Charge: r.Bank.Charge, BankID: r.Bank.BankID, Tag: r.Bank.Tag}
	switch op.Kind {
	case StepPut:
		if r.Revision != op.Revision || (r.Bank.Link != nil) != op.Linked {
			return said, errOverrun // something newer is wanted: the next step asks for that
		}
		said.state, err = bank.Put(ctx, s.ask(r, ref))
	case StepClose:
		said.state, err = bank.Close(ctx, ref)
	case StepGet:
		said.state, err = bank.Get(ctx, ref)
	case StepCapture:
		said.state, err = bank.Capture(ctx, ref)
	case StepRefund:
		f := r.refundByID(op.Refund)
		if f == nil {
			return said, errOverrun
		}
		p := r.payment(f.PaymentID)
		if p.Of != "" { // at the bank it is another request's
			of, c, err := s.requestAndConnection(ctx, p.Of)
			if err == nil {
				bank, err = s.banks.Open(c)
			}
			if err != nil {
				return said, &BankError{Class: BankNotSent, Code: "store", Detail: "What the money came for cannot be found.", Err: err}
			}
			ref = BankRef{ID: p.Of, Charge: of.Bank.Charge, BankID: of.Bank.BankID, Tag: of.Bank.Tag}
		}
		said.refund, err = bank.Refund(ctx, RefundAsk{
			BankRef: ref, Refund: f.ID, PaymentID: f.PaymentID,
			Money: Money{f.Amount, p.Money.Currency}, Reason: f.Reason,
		})
		return said, err
	case StepLook, StepUnlink:
		if r.Bank.Link == nil {
			return said, errOverrun
		}
		link := *r.Bank.Link
		said.shows, err = bank.LinkShows(ctx, link)
		if err == nil && op.Kind == StepUnlink && said.shows == id { // never a newer one
			if err = bank.Unlink(ctx, link); err == nil {
				said.shows, err = bank.LinkShows(ctx, link)
			}
		}
		return said, err
	}
	if err == nil && said.state.ID != id {
		err = &BankError{Class: BankUnknown, Code: "other_request", Detail: "The bank answered about another request."}
	}
	return said, err
}

// bankSaid is what a call brought, by its kind.
type bankSaid struct {
	state  BankState
	refund BankRefund
	shows  RequestID
}

// callLife is the longest a call may take, the bank client's own deadlines included:
// one that starts so long before its op ends is over before anybody gives it up.
const callLife = 15 * time.Second

// errOverrun: what was to be asked is no longer wanted; nothing was sent.
var errOverrun = &BankError{Class: BankNotSent, Code: "overrun", Detail: "Something newer is wanted by now.", Retry: time.Nanosecond}

// ask is what the bank is asked to hold for r now. Time left is rounded down to
// whole seconds, so that the bank's end is never after ours.
func (s *Service) ask(r *Request, ref BankRef) Ask {
	a := Ask{
		BankRef: ref, Revision: r.Revision, Money: Money{r.Content.Amount, r.Content.Currency},
		Min: r.Content.Min, Max: r.Content.Max, ExpiresAt: r.Content.ExpiresAt, Reference: r.Content.Reference,
		Methods: r.Methods, Manual: r.Manual, Customer: r.Customer, Link: r.Bank.Link,
		ReturnURL:   s.returnURL(r),
		CallbackURL: s.callbackURL + "/callbacks/" + r.Bank.Rail + "/" + string(r.Bank.Connection),
	}
	if !a.ExpiresAt.IsZero() {
		a.TimeLeft = max(0, a.ExpiresAt.Sub(s.now())).Truncate(time.Second)
	}
	return a
}

// returnURL is where the bank sends a payer back to: the request's own page, which
// tells the truth about that request whatever its code shows by then.
func (s *Service) returnURL(r *Request) string {
	return s.publicURL + "/p/" + s.secret.PageSecret(r.ID) + "/back"
}

func (s *Service) requestAndConnection(ctx context.Context, id RequestID) (*Request, *Connection, error) {
	t := s.look(ctx, id.Shard())
	r, err := t.request(id)
	if err == nil && r == nil {
		err = notFound("payment request")
	}
	if err != nil {
		return nil, nil, err
	}
	c, err := t.connection(r.Bank.Connection)
	if err == nil && c == nil {
		err = notFound("bank connection")
	}
	return r, c, err
}

// outcome stores what a call brought, and returns the next step it marked as under
// way for the same request.
func (s *Service) outcome(ctx context.Context, id RequestID, op BankOp, said bankSaid, callErr error) (next BankOp, err error) {
	if ctx.Err() != nil { // the call took all the time there was; its outcome still matters
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(s.background, 5*time.Second)
		defer cancel()
	}
	err = s.changeThen(ctx, id.Shard(), func(t *tx) error {
		r, err := t.request(id)
		if err != nil || r == nil {
			return err
		}
		t.merchant = r.Merchant
		if r.Bank.Op.ID != op.ID {
			if callErr != nil {
				return nil // somebody else has gone on: a failure says nothing new
			}
		} else {
			r.Bank.Op = BankOp{}
		}
		switch {
		case callErr != nil:
			err = t.failed(r, op, callErr)
		case op.Kind == StepRefund:
			r.Bank.Tries, r.Bank.LastError = 0, ""
			r.Bank.NextAt = t.now.Add(refundEach)
			err = t.refunded(r, said.refund)
		case op.Kind == StepLook || op.Kind == StepUnlink:
			err = t.located(r, op, said.shows)
		default:
			err = t.learn(r, said.state)
		}
		if err != nil {
			return err
		}
		return t.tick(r)
	}, func(t *tx) {
		for _, c := range t.claims {
			if c.id == id {
				next = c.op
			} else {
				s.spawn(c)
			}
		}
	})
	return next, err
}

// failed takes note of a call that brought no state.
func (t *tx) failed(r *Request, op BankOp, callErr error) error {
	b := &r.Bank
	e, ok := errors.AsType[*BankError](callErr)
	if !ok {
		e = &BankError{Class: BankUnknown, Code: "internal", Err: callErr}
	}
	b.LastError = e.Code
	wait := func(least time.Duration) {
		b.Tries++
		d := retryDelay(b.Tries)
		if e.Retry > 0 {
			d = e.Retry
		}
		b.NextAt = t.now.Add(max(d, least))
	}
	if op.Kind == StepGet && !b.Unsure && e.Class != BankAbsent {
		r.askAgain(t.now, max(e.Retry, retryDelay(1)))
		return nil
	}
	switch e.Class {
	case BankNotSent:
		if op.Kind == StepPut && op.First {
			b.Sent = false
		}
		wait(0)
		if r.Status == Closing && !b.Sent {
			return t.move(r, EndOfBank)
		}
	case BankDenied:
		if op.Kind == StepPut && op.First {
			b.Sent = false // refused at the door
		}
		wait(deniedEach)
		if r.Status == Closing && !b.Sent {
			return t.move(r, EndOfBank)
		}
	case BankRefused:
		switch op.Kind {
		case StepPut:
			if op.Revision == r.Revision {
				return t.reject(r, e.Code)
			}
		case StepRefund:
			return t.refunded(r, BankRefund{ID: string(op.Refund), Status: RefundFailed, Reason: e.Code})
		case StepCapture:
			b.Capture = false
		case StepLook, StepUnlink:
			wait(deniedEach)
		default:
			b.Unsure = true
			wait(0)
		}
	case BankAbsent:
		if op.Kind == StepLook || op.Kind == StepUnlink {
			wait(deniedEach)
			return nil
		}
		return t.absent(r, op, wait)
	case BankBusy:
		b.Unsure, b.NextAt = true, time.Time{}
		b.Tries++
		if b.Tries > 1 {
			wait(0)
		}
	default: // unknown
		switch op.Kind {
		case StepGet, StepRefund, StepLook, StepUnlink: // once more changes nothing
		default:
			b.Unsure = true
		}
		wait(0)
	}
	return nil
}

// located takes the bank's word on what a code's location shows.
func (t *tx) located(r *Request, op BankOp, shows RequestID) error {
	b := &r.Bank
	c, err := t.code(b.LinkCode)
	if err != nil || c == nil {
		return err
	}
	c.Shows, c.ShowsUnknown = shows, false
	again := func() {
		b.Tries++
		b.NextAt = t.now.Add(retryDelay(b.Tries))
	}
	if op.Kind == StepLook {
		if shows == r.ID {
			b.LinkSeen, b.Tries, b.NextAt = true, 0, time.Time{}
			t.emit(Event{Type: BankChanged, Code: c.Token, Epoch: c.Epoch, Outlet: c.Outlet}, r)
			return nil
		}
		again()
		if r.Status == Active { // it was put there, and is not: it is put there once more
			return t.move(r, Drift)
		}
		return nil
	}
	if shows == r.ID {
		again()
		return nil
	}
	b.LinkHeld, b.LinkSeen, b.Tries, b.NextAt = false, false, 0, time.Time{}
	t.emit(Event{Type: BankChanged, Code: c.Token, Epoch: c.Epoch, Outlet: c.Outlet}, r)
	return t.locationFree(c)
}

// locationFree lets the request that waits for a code's location go to the bank.
func (t *tx) locationFree(c *Code) error {
	if c.Shown == nil || c.Shows != "" || c.ShowsUnknown {
		return nil
	}
	next, err := t.request(c.Shown.Request)
	if err != nil || next == nil || next.Bank.Link == nil {
		return err
	}
	next.Bank.LinkReady = true
	return nil
}

// askAgain keeps a question that was not answered from being forgotten: it may be
// the only sign of money that came late.
func (r *Request) askAgain(now time.Time, after time.Duration) {
	at := now.Add(after)
	if r.Bank.PollAt.IsZero() || r.Bank.PollAt.After(at) {
		r.Bank.PollAt = at
	}
}

// absent: the bank does not know the request.
func (t *tx) absent(r *Request, op BankOp, wait func(time.Duration)) error {
	b := &r.Bank
	if t.now.Sub(b.PutAt) < trustAbsent && !b.Known {
		// A put whose answer was lost may still be on its way. Asking the bank to
		// hold the same again is harmless; believing that it is not there is not.
		if r.Status == Preparing && op.Kind == StepGet {
			b.Unsure, b.NextAt = false, time.Time{}
			return nil
		}
		b.Unsure = true
		wait(0)
		return nil
	}
	b.Sent, b.Known, b.Unsure, b.State, b.Tries, b.NextAt = false, false, false, "", 0, time.Time{}
	switch r.Status {
	case Closing:
		return t.move(r, EndOfBank)
	case Active:
		return t.move(r, Drift)
	case Processing:
		if err := t.move(r, Fail); err != nil || r.Status != Active {
			return err
		}
		return t.move(r, Drift)
	}
	return nil
}
