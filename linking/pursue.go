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
		st, refund, err := s.call(ctx, id, op)
		op, err = s.outcome(ctx, id, op, st, refund, err)
		if err != nil {
			s.log.Error("the outcome of a bank call is not stored; the bank will be asked again", "request", id, "err", err)
			return
		}
	}
}

// call makes one call. A nil error with a state for another request than asked is
// turned into an unknown outcome: it is no answer.
func (s *Service) call(ctx context.Context, id RequestID, op BankOp) (st BankState, f BankRefund, err error) {
	r, c, err := s.requestAndConnection(ctx, id)
	if err != nil {
		return st, f, &BankError{Class: BankNotSent, Code: "store", Detail: "The store did not answer.", Err: err}
	}
	if r.Bank.Op.ID != op.ID || s.now().After(op.Until.Add(-callLife)) {
		return st, f, errOverrun // this process slept, and somebody else may have gone on
	}
	bank, err := s.banks.Open(c)
	if err != nil {
		return st, f, &BankError{Class: BankNotSent, Code: "connection", Detail: "The bank connection's settings cannot work.", Err: err}
	}
	ref := BankRef{ID: id, Charge: r.Bank.Charge, BankID: r.Bank.BankID, Tag: r.Bank.Tag}
	switch op.Kind {
	case StepPut:
		if r.Revision != op.Revision {
			return st, f, errOverrun
		}
		st, err = bank.Put(ctx, s.ask(r, ref))
	case StepClose:
		st, err = bank.Close(ctx, ref)
	case StepGet:
		st, err = bank.Get(ctx, ref)
	case StepCapture:
		st, err = bank.Capture(ctx, ref)
	case StepRefund:
		for _, f := range r.Refunds {
			if f.ID != op.Refund {
				continue
			}
			p := r.payment(f.PaymentID)
			out, err := bank.Refund(ctx, RefundAsk{
				BankRef: ref, Refund: f.ID, PaymentID: f.PaymentID,
				Money: Money{f.Amount, p.Money.Currency}, Reason: f.Reason,
			})
			return st, out, err
		}
		return st, f, errOverrun
	}
	if err == nil && st.ID != id {
		err = &BankError{Class: BankUnknown, Code: "other_request", Detail: "The bank answered about another request."}
	}
	return st, f, err
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
		Methods: r.Methods, Manual: r.Manual, Customer: r.Customer,
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
func (s *Service) outcome(ctx context.Context, id RequestID, op BankOp, st BankState, f BankRefund, callErr error) (next BankOp, err error) {
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
		if callErr != nil {
			err = t.failed(r, op, callErr)
		} else if op.Kind == StepRefund {
			r.Bank.Tries, r.Bank.LastError = 0, ""
			r.Bank.NextAt = t.now.Add(refundEach)
			err = t.refunded(r, f)
		} else {
			err = t.learn(r, st)
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
		default:
			b.Unsure = true
			wait(0)
		}
	case BankAbsent:
		return t.absent(r, op, wait)
	case BankBusy:
		b.Unsure, b.NextAt = true, time.Time{}
		b.Tries++
		if b.Tries > 1 {
			wait(0)
		}
	default: // unknown
		if op.Kind != StepGet && op.Kind != StepRefund {
			b.Unsure = true
		}
		wait(0)
	}
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
