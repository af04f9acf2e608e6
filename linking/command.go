package linking

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// abilities says what a connection's bank can do. What was true is remembered, and
// used on when the bank does not answer.
func (s *Service) abilities(ctx context.Context, c *Connection) (Abilities, error) {
	name := fmt.Sprintf("%s %d", c.ID, c.Revision)
	if ab, ok := s.can.get(name, s.now()); ok {
		return ab, nil
	}
	bank, err := s.banks.Open(c)
	if err != nil {
		return Abilities{}, &Error{Kind: Unavailable, Code: "bank_unavailable", Detail: "The bank connection's settings cannot work.", Err: err}
	}
	ab, err := bank.Abilities(ctx)
	if err != nil {
		return Abilities{}, &Error{Kind: Unavailable, Code: "bank_unavailable", Detail: "The bank has not said yet what it can do.", Retry: 2, Err: err}
	}
	s.can.put(name, ab, s.now())
	return ab, nil
}

// Answer is a request with what a caller wants to know beside it.
type Answer struct {
	Request *Request
	Tender  Tender
	Sale    *Sale
}

// CreateRequest makes a request that is on no code: a sent link, a bill, a draft. An open
// one that it replaces is cancelled in the same commit; what became of that decides
// whether the new one is ever payable: see waitFor and account.
func (s *Service) CreateRequest(ctx context.Context, c Caller, in NewRequest, wait time.Duration) (*Answer, error) {
	var id RequestID
	err := s.change(ctx, c.Merchant.Shard(), func(t *tx) error {
		t.begin(c)
		again, err := t.onceBegin()
		if err != nil || again != nil {
			if again != nil {
				id = again.Request
			}
			return err
		}
		m, err := t.merchantRec()
		if err != nil || m == nil {
			return orMissing(err, "merchant")
		}
		if err := m.sends(c); err != nil {
			return err
		}
		r, err := t.newRequest(c, m, in, nil)
		if err != nil {
			return err
		}
		have, err := t.giveWay(r, in, nil)
		if err != nil {
			return err
		}
		if have != nil {
			id = have.ID
			return t.onceMade(id, "", "")
		}
		id = r.ID
		if err := t.add(r); err != nil {
			return err
		}
		if !in.Draft {
			if err := t.submit(r); err != nil {
				return err
			}
		}
		return t.onceMade(id, "", "")
	})
	return s.answer(ctx, c, id, wait, err)
}

// answer waits for the bank and reads how a request stands then.
func (s *Service) answer(ctx context.Context, c Caller, id RequestID, wait time.Duration, err error) (*Answer, error) {
	if err != nil || c.Once != nil && c.Once.Reply != nil {
		return nil, err
	}
	done := func(r *Request) bool {
		if r.After == "" || r.Status != Preparing {
			return notAtBank(r)
		}
		// What it takes the place of is gone in a moment, unless its payer or a person
		// has to decide something first.
		old, err := s.look(ctx, id.Shard()).request(r.After)
		return err != nil || old == nil || old.Status == Processing || old.Status == Review
	}
	if _, err := s.await(ctx, id, wait, done); err != nil {
		return nil, told(err)
	}
	a, err := s.Request(ctx, c, string(id))
	return a, told(err)
}

// Request reads one request, by our id or the caller's client_id.
func (s *Service) Request(ctx context.Context, c Caller, ref string) (*Answer, error) {
	t := s.look(ctx, c.Merchant.Shard())
	t.begin(c)
	r, err := t.requestFor(c, ref)
	if err != nil {
		return nil, storeProblem(err)
	}
	sale, err := t.saleOf(r)
	if err != nil {
		return nil, storeProblem(err)
	}
	return &Answer{Request: r, Tender: tender(r, sale, t.now), Sale: sale}, nil
}

// AwaitRequest reads one request once it has left a status, at most after d.
func (s *Service) AwaitRequest(ctx context.Context, c Caller, ref string, after Status, d time.Duration) (*Answer, error) {
	a, err := s.Request(ctx, c, ref)
	if err != nil || a.Request.Status != after {
		return a, err
	}
	id := a.Request.ID
	if _, err := s.await(ctx, id, d, func(r *Request) bool { return r.StatusAt(s.now()) != after }); err != nil {
		return nil, err
	}
	return s.Request(ctx, c, string(id))
}

// command runs one decision about one existing request.
func (s *Service) command(ctx context.Context, c Caller, ref string, wait time.Duration, decide func(t *tx, r *Request) error) (*Answer, error) {
	var id RequestID
	err := s.change(ctx, c.Merchant.Shard(), func(t *tx) error {
		t.begin(c)
		again, err := t.onceBegin()
		if err != nil || again != nil {
			if again != nil {
				id = again.Request
			}
			return err
		}
		r, err := t.requestFor(c, ref)
		if err != nil {
			return err
		}
		id = r.ID
		if err := decide(t, r); err != nil {
			return err
		}
		return t.onceMade(id, "", "")
	})
	return s.answer(ctx, c, id, wait, err)
}

// SubmitRequest hands a draft over.
func (s *Service) SubmitRequest(ctx context.Context, c Caller, ref string, wait time.Duration) (*Answer, error) {
	return s.command(ctx, c, ref, wait, func(t *tx, r *Request) error {
		if r.Status != Draft && r.Status != Cancelled && r.Status != Expired {
			return nil // submitted already
		}
		return t.submit(r)
	})
}

// CancelRequest ends a request. Repeating it is no error; a payer who was faster is:
// already_paid.
func (s *Service) CancelRequest(ctx context.Context, c Caller, ref string, why EndReason, wait time.Duration) (*Answer, error) {
	return s.command(ctx, c, ref, wait, func(t *tx, r *Request) error {
		if r.Status == Cancelled {
			return nil
		}
		if r.Status == Paid {
			return conflict("already_paid", "The payment request is paid.").with("request", brief(r))
		}
		return t.end(r, Cancel, why)
	})
}

// CaptureRequest takes the authorised money.
func (s *Service) CaptureRequest(ctx context.Context, c Caller, ref string, wait time.Duration) (*Answer, error) {
	return s.command(ctx, c, ref, wait, func(t *tx, r *Request) error {
		if r.Status == Paid && r.Bank.Capture {
			return nil
		}
		if err := r.may(Capture, t.now); err != nil {
			return err
		}
		r.Bank.Capture, r.Bank.NextAt = true, time.Time{}
		return t.move(r, Capture)
	})
}

// Patch changes a request. Nil leaves a field as it is.
type Patch struct {
	Amount    *Amount
	Lines     *[]Line
	ExpiresIn *string
	ExpiresAt *time.Time
	Reference *string
	Note      *string
	FiscalURL *string
	Metadata  map[string]string // nil: as it is
	IfMatch   *int              // the revision the caller decided on
}

func (p *Patch) asksBank() bool {
	return p.Amount != nil || p.Lines != nil || p.ExpiresIn != nil || p.ExpiresAt != nil || p.Reference != nil
}

// PatchRequest changes a request. A change of what the bank was asked for is a new
// revision: from then on nothing is payable until the bank has confirmed it.
//
// Errors: stale, amount_fixed, payment_in_flight, already_paid,
// not_allowed_in_status, invalid_request.
func (s *Service) PatchRequest(ctx context.Context, c Caller, ref string, p Patch, wait time.Duration) (*Answer, error) {
	return s.command(ctx, c, ref, wait, func(t *tx, r *Request) error {
		if p.IfMatch != nil && *p.IfMatch != r.Revision {
			return (&Error{Kind: Stale, Code: "stale", Detail: "The payment request has changed since the revision in If-Match."}).with("revision", r.Revision).with("request", brief(r))
		}
		return t.patch(r, p)
	})
}

func (t *tx) patch(r *Request, p Patch) error {
	if p.Note != nil {
		r.Note = *p.Note
	}
	if err := prose("note", r.Note, maxNote, "\n"); err != nil {
		return err
	}
	if p.FiscalURL != nil {
		r.FiscalURL = *p.FiscalURL
	}
	if p.Metadata != nil {
		r.Metadata = p.Metadata
	}
	if !p.asksBank() {
		if p.Note != nil || p.FiscalURL != nil || p.Metadata != nil {
			t.emit(Event{Type: RequestChanged}, r)
		}
		return nil
	}
	if (p.Amount != nil || p.Lines != nil) && r.fixed() {
		return conflict("amount_fixed", "The amount of a request that was sent is fixed. Make a new one that replaces it.").with("status", r.Status)
	}
	action := Value
	switch {
	case r.Status == Draft:
		action = Edit
	case r.Status == Unvalued && p.Amount == nil && p.Lines == nil:
		action = Edit
	}
	if err := r.may(action, t.now); err != nil {
		return err
	}
	return t.value(r, p, action)
}

// fixed reports whether the amount can no longer change: somebody may hold the link
// with it in hand.
func (r *Request) fixed() bool {
	return r.Status != Draft && r.Origin == MadeByRequest && !r.ValueLater
}

// value writes new content and, if it differs, a new revision.
func (t *tx) value(r *Request, p Patch, action Action) error {
	m, err := t.merchantRec()
	if err != nil || m == nil {
		return orMissing(err, "merchant")
	}
	_, ab, err := t.rail(m, r.Bank.Rail)
	if err != nil {
		return err
	}
	before, later := r.Content, r.ValueLater
	c := &r.Content
	if p.Lines != nil {
		c.Lines, c.Amount = *p.Lines, 0
	}
	if p.Amount != nil {
		if c.Amount = *p.Amount; *p.Amount == 0 {
			return invalid("amount", "range", "The amount is from 1 to 10^15 minor units.")
		}
		if p.Lines == nil {
			c.Lines = nil
		}
	}
	if p.Reference != nil {
		c.Reference = *p.Reference
	}
	if p.ExpiresIn != nil || p.ExpiresAt != nil {
		in := NewRequest{}
		if p.ExpiresIn != nil {
			in.ExpiresIn = *p.ExpiresIn
		}
		if p.ExpiresAt != nil {
			in.ExpiresAt = *p.ExpiresAt
		}
		if c.ExpiresAt, err = t.expiry(in, r, ab, nil); err != nil {
			return err
		}
	}
	r.ValueLater = later && c.Amount == 0 && len(c.Lines) == 0
	err = t.content(r, m, ab)
	r.ValueLater = later
	if err != nil {
		return err
	}
	if s, err := t.saleOf(r); err != nil {
		return err
	} else if s != nil && !s.takes(c.Amount) {
		return invalid("amount", "more_than_left", "The amount is more than what is left of the sale.")
	}
	same := before.same(c) && before.ExpiresAt.Equal(c.ExpiresAt)
	if same {
		return nil
	}
	if action == Edit {
		t.emit(Event{Type: RequestChanged}, r)
		return t.move(r, Edit)
	}
	if r.Revision > 0 && !ab.Revise {
		return invalid("amount", "rail_cannot_revise", "The rail "+r.Bank.Rail+" cannot change an open request. Cancel it and make a new one.")
	}
	if r.Revision > 0 {
		r.Older = append(r.Older, Revision{r.Revision, before.Amount, before.ExpiresAt, before.Reference, t.now})
	}
	r.Revision++
	r.Bank.Refused, r.Bank.Tries, r.Bank.NextAt = false, 0, time.Time{}
	r.Since, r.Stalled = t.now, false
	t.emit(Event{Type: RequestChanged}, r)
	return t.move(r, Value)
}

// RefundCommand sends money back.
type RefundCommand struct {
	Amount    Amount // 0: all that is left of the payment
	PaymentID string // empty: the one payment that counts
	Reason    string
}

// RefundRequest sends money of a paid request back. Pending refunds count against
// what was paid.
func (s *Service) RefundRequest(ctx context.Context, c Caller, ref string, cmd RefundCommand, wait time.Duration) (*Answer, *Refund, error) {
	var id RefundID
	var request RequestID
	err := s.change(ctx, c.Merchant.Shard(), func(t *tx) error {
		t.begin(c)
		again, err := t.onceBegin()
		if err != nil || again != nil {
			if again != nil {
				request, id = again.Request, RefundID(again.Ended)
			}
			return err
		}
		r, err := t.requestFor(c, ref)
		if err != nil {
			return err
		}
		request = r.ID
		f, err := t.refundCommand(c, r, cmd)
		if err != nil {
			return err
		}
		id = f.ID
		return t.onceMade(r.ID, "", RequestID(id))
	})
	if err != nil || c.Once != nil && c.Once.Reply != nil {
		return nil, nil, err
	}
	r, err := s.await(ctx, request, wait, func(r *Request) bool {
		f := r.refundByID(id)
		return f == nil || f.Status != RefundPending
	})
	if err != nil {
		return nil, nil, told(err)
	}
	a, err := s.Request(ctx, c, string(r.ID))
	if err != nil {
		return nil, nil, told(err)
	}
	return a, a.Request.refundByID(id), nil
}

func (r *Request) refundByID(id RefundID) *Refund {
	i := slices.IndexFunc(r.Refunds, func(f Refund) bool { return f.ID == id })
	if i < 0 {
		return nil
	}
	return &r.Refunds[i]
}

func (t *tx) refundCommand(c Caller, r *Request, cmd RefundCommand) (*Refund, error) {
	if err := r.may(GiveBack, t.now); err != nil {
		return nil, err
	}
	m, err := t.merchantRec()
	if err != nil || m == nil {
		return nil, orMissing(err, "merchant")
	}
	_, ab, err := t.rail(m, r.Bank.Rail)
	if err != nil {
		return nil, err
	}
	if !ab.Refund {
		return nil, invalid("amount", "rail_cannot_refund", "The rail "+r.Bank.Rail+" cannot send money back.")
	}
	if err := text("reason", cmd.Reason, maxReference); err != nil {
		return nil, err
	}
	p := r.lastCounted()
	if cmd.PaymentID != "" {
		p = r.payment(cmd.PaymentID)
	}
	if p == nil {
		return nil, invalid("payment_id", "unknown", "The payment request has no such payment.")
	}
	left := r.refundable(p)
	amount := cmd.Amount
	if amount == 0 {
		amount = left
	}
	if amount <= 0 || amount > left {
		return nil, invalid("amount", "more_than_left", "At most "+p.Money.Currency.Decimal(left)+" of this payment can be sent back.")
	}
	if c.Role == Cashier && amount > m.RefundCap {
		return nil, &Error{Kind: Forbidden, Code: "forbidden", Detail: "The merchant lets a cashier send back at most " + p.Money.Currency.Decimal(m.RefundCap) + "."}
	}
	return t.refund(r, p, amount, cmd.Reason), nil
}

// Decide settles an exception: its money counts, or goes back. With a request, money of
// kind unknown counts as payment of that one, and the answer is about it.
func (s *Service) Decide(ctx context.Context, c Caller, id ExceptionID, accept bool, request string, wait time.Duration) (*Answer, error) {
	t := s.look(ctx, id.shard())
	rec, err := read[exceptionRecord](t, exceptionKey(id), nil)
	if err != nil {
		return nil, storeProblem(err)
	}
	if rec == nil || rec.Merchant != c.Merchant || rec.Request == "" {
		return nil, notFound("exception")
	}
	ref := string(rec.Request)
	if request != "" {
		if _, err := s.Request(ctx, c, request); IsKind(err, NotFound) {
			return nil, invalid("request_id", "unknown", "There is no such payment request.")
		}
		ref = request
	}
	return s.command(ctx, c, ref, wait, func(t *tx, r *Request) error {
		switch {
		case !accept:
			return t.giveBack(r, id, c.By)
		case r.ID == rec.Request:
			return t.accept(r, id, c.By)
		}
		from, err := t.requestFor(c, string(rec.Request))
		if err != nil {
			return err
		}
		return t.attribute(from, id, r, c.By)
	})
}

func (id ExceptionID) shard() Shard { return shardOf(string(id)) }

// RenewRequest makes a new request with the content of one that ended; the old
// stays dead.
func (s *Service) RenewRequest(ctx context.Context, c Caller, ref string, wait time.Duration) (*Answer, error) {
	a, err := s.Request(ctx, c, ref)
	if err != nil {
		return nil, err
	}
	old := a.Request
	if !old.Status.Final() {
		return nil, conflict("not_allowed_in_status", "Only a payment request that has ended is renewed.").with("status", old.Status)
	}
	in := NewRequest{
		Amount: old.Content.Amount, Currency: old.Content.Currency, Reference: old.Content.Reference,
		Sale: old.Sale, Replaces: string(old.ID), Again: true, ValueLater: old.Content.Amount == 0, Lines: old.Content.Lines, VATExtra: old.Content.VATExtra, Note: old.Note,
		Methods: old.Methods, Manual: old.Manual, Customer: old.Customer, Min: old.Content.Min, Max: old.Content.Max,
		Context: old.Context, ReturnURL: old.ReturnURL, Metadata: old.Metadata,
	}
	if !old.Content.ExpiresAt.IsZero() {
		in.ExpiresIn = fmt.Sprint(int(old.Content.ExpiresAt.Sub(old.CreatedAt).Seconds()))
	}
	return s.CreateRequest(ctx, c, in, wait)
}
