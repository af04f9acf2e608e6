package linking

import (
	"slices"
	"time"
)

// Every change of a request's status goes through tx.move: it asks the table,
// writes the status down, and does what belongs to it in the same commit: the
// code's link, the sale's account, the request that waits, the events.

// move applies an action that the table lists; one it does not list is the
// caller's error, see Request.may.
func (t *tx) move(r *Request, a Action) error {
	from := r.Status
	to, ok := r.after(a, t.now)
	if !ok {
		return r.may(a, t.now)
	}
	r.Status = to
	if to == from {
		return nil
	}
	r.Since, r.Stalled = t.now, false
	if to.Final() {
		r.EndedAt = t.now
	}
	if err := t.account(r, from, to); err != nil {
		return err
	}
	e := Event{Type: statusEvent[to], DisplacedBy: r.DisplacedBy}
	if to.Final() || to == Closing {
		s, err := t.saleOf(r)
		if err != nil {
			return err
		}
		tender := tender(r, s, t.now)
		e.Tender = &tender
	}
	if to == Paid {
		e.Payment = r.lastCounted()
		e.Late = r.paidLate() || from.Final()
	}
	t.emit(e, r)
	if to == Closing || to.Final() {
		if err := t.autoDetach(r); err != nil {
			return err
		}
	}
	if to == Closing && !r.Bank.Sent {
		return t.move(r, EndOfBank) // the bank never heard of it
	}
	return nil
}

func (r *Request) lastCounted() *Payment {
	for i := len(r.Payments) - 1; i >= 0; i-- {
		if r.Payments[i].Counts {
			p := r.Payments[i]
			return &p
		}
	}
	return nil
}

// paidLate is judged by the bank's time of the payment, not by when we heard.
func (r *Request) paidLate() bool {
	p := r.lastCounted()
	return p != nil && !r.Content.ExpiresAt.IsZero() && p.PaidAt.After(r.Content.ExpiresAt)
}

func (t *tx) saleOf(r *Request) (*Sale, error) {
	if r.Sale == "" {
		return nil, nil
	}
	return t.sale(r.Sale)
}

// account keeps the sale's record, and lets go of the request that waits for r.
func (t *tx) account(r *Request, from, to Status) error {
	s, err := t.saleOf(r)
	if err != nil {
		return err
	}
	if s != nil && to.Final() && !from.Final() {
		s.closed(r.ID)
	}
	if r.Next == "" || !to.Final() || from.Final() {
		return nil
	}
	next, err := t.request(r.Next)
	if err != nil || next == nil {
		return err
	}
	r.Next = ""
	if next.After != r.ID {
		return nil
	}
	next.After = ""
	if to == Paid && (s == nil || s.done() || !s.takes(next.Content.Amount)) && !next.Status.Final() {
		next.EndAsked, next.EndReason = true, BySalePaid
		return t.move(next, Cancel)
	}
	return nil
}

// autoDetach lets a counter or account code go when its request can no longer be
// paid. A bill goes on telling what became of it.
func (t *tx) autoDetach(r *Request) error {
	if r.Code == "" {
		return nil
	}
	c, err := t.code(r.Code)
	if err != nil || c == nil || !c.Kind.detachesItself() {
		return err
	}
	byItself := r.Status == Paid || r.EndReason == ByExpiry || r.EndReason == ByBank || r.EndReason == ByBankRejection || t.by == ""
	return t.detach(c, r, byItself)
}

// detach ends the link of c with r.
func (t *tx) detach(c *Code, r *Request, byItself bool) error {
	if c.Shown == nil || c.Shown.Request != r.ID {
		return nil
	}
	if err := t.endLink(c, r, byItself); err != nil {
		return err
	}
	c.detach(byItself, t.now)
	r.Code = ""
	t.emit(Event{Type: CodeDetached, Code: c.Token, Epoch: c.Epoch, Outlet: c.Outlet}, r)
	return nil
}

// endLink writes the end of the link that c has now into its history.
func (t *tx) endLink(c *Code, r *Request, byItself bool) error {
	l, err := t.link(c.Token, c.Epoch)
	if err != nil || l == nil {
		return err
	}
	l.Until, l.Why = t.now, r.why()
	if !byItself {
		l.EndedBy = t.by
	}
	if len(r.Presses) > 0 {
		l.Pressed = r.pressedFace()
	}
	return nil
}

func (r *Request) why() string {
	switch {
	case r.Status == Paid:
		return string(Paid)
	case r.EndReason != "":
		return string(r.EndReason)
	}
	return string(ByDetach)
}

// show attaches r to c in place of whatever c shows, which the caller has dealt with.
func (t *tx) show(c *Code, r *Request, by KeyID) error {
	c.attach(r, by, t.now)
	l := &Link{Token: c.Token, Epoch: c.Epoch, Request: r.ID, Sale: r.Sale, From: t.now, By: t.by}
	return t.create(linkKey(c.Token, c.Epoch), l)
}

// tick lets the clock speak, before anything else is decided about r.
func (t *tx) tick(r *Request) error {
	r.giveUp(t.now)
	if r.Status == Preparing && !r.Stalled && r.After == "" && t.now.Sub(r.Since) >= StallAfter {
		r.Stalled = true
		t.emit(Event{Type: RequestStalled}, r)
	}
	if r.StatusAt(t.now) == Closing && r.Status != Closing {
		if r.EndReason == "" {
			r.EndAsked, r.EndReason = true, ByExpiry
		}
		return t.move(r, Expire)
	}
	return nil
}

// end asks for the end of r: the first reason asked is the one that stays.
func (t *tx) end(r *Request, a Action, why EndReason) error {
	if err := r.may(a, t.now); err != nil {
		return err
	}
	if !r.EndAsked {
		r.EndAsked, r.EndReason = true, why
	}
	return t.move(r, a)
}

// displace does with r what a request on its code's place does to it.
func (t *tx) displace(c *Code, r, by *Request) error {
	r.DisplacedBy = by.ID
	if err := t.endLink(c, r, false); err != nil {
		return err
	}
	r.Code = "" // the code shows the new one from here on; the old must not detach it
	switch r.Status {
	case Review, Paid, Expired, Cancelled:
		return nil
	}
	return t.end(r, Swap, BySwap)
}

// learn takes the bank's word on r. What the table does not list is noted and
// changes nothing: facts are never refused.
func (t *tx) learn(r *Request, st BankState) error {
	b := &r.Bank
	b.Sent, b.Known, b.Unsure, b.Tries, b.NextAt, b.LastError = true, true, false, 0, time.Time{}, ""
	was := b.State
	b.State, b.Tag = st.Status, st.Tag
	if st.Way.Kind != "" {
		b.Way = st.Way
	}
	if st.BankID != "" {
		b.BankID = st.BankID
	}
	for _, p := range st.Payments {
		if err := t.settle(r, p); err != nil {
			return err
		}
	}
	for _, f := range st.Refunds {
		if err := t.refunded(r, f); err != nil {
			return err
		}
	}
	if r.Status.Final() {
		return nil
	}
	return t.stand(r, st, was)
}

// stand applies where the request stands at the bank.
func (t *tx) stand(r *Request, st BankState, was BankStatus) error {
	fact := func(a Action) error {
		if _, ok := r.after(a, t.now); !ok {
			return nil
		}
		return t.move(r, a)
	}
	switch st.Status {
	case BankOpen:
		if r.Status == Processing && (was == BankProcessing || was == BankAuthorised) {
			if !r.EndAsked && r.expiresBy(t.now) {
				r.EndAsked, r.EndReason = true, ByExpiry
			}
			if err := fact(Fail); err != nil {
				return err
			}
		}
		switch holds := r.holds(st); {
		case holds && r.Status == Preparing && r.After == "":
			r.Confirmed = r.Revision
			r.Bank.Refused = false
			if r.Bank.Alone {
				r.Bank.PollAt = t.now.Add(pollEach)
			}
			return fact(Confirm)
		case !holds && r.Status == Active:
			r.Bank.LastError = "bank_drift"
			return fact(Drift)
		case !holds && r.Status == Preparing:
			r.Bank.LastError = "not_what_was_asked"
		}
	case BankAuthorised, BankProcessing:
		return fact(Hold)
	case BankPaid:
		if len(st.Payments) == 0 { // it names no money yet: what it is worth shows later
			return fact(Hold)
		}
		return t.allReturned(r)
	case BankClosed, BankExpired:
		if r.EndReason == "" {
			r.EndReason = ByBank
			if st.Status == BankExpired {
				r.EndReason = ByExpiry
			}
		}
		return fact(EndOfBank)
	case BankRejected:
		return t.reject(r, st.Reason)
	}
	return nil
}

// holds reports whether what the bank holds is what r wants now: amount, currency
// and, where the bank tells it, the end. A bank counts time left in whole seconds
// from when it heard, so that its end may lie a little before or after ours.
func (r *Request) holds(st BankState) bool {
	if st.Money != (Money{r.Content.Amount, r.Content.Currency}) {
		return false
	}
	if st.ExpiresAt.IsZero() {
		return true
	}
	if r.Content.ExpiresAt.IsZero() {
		return false
	}
	d := st.ExpiresAt.Sub(r.Content.ExpiresAt)
	return d <= expirySlack && d >= -expirySlack
}

const expirySlack = 5 * time.Second

// reject: the bank will not hold what is wanted.
func (t *tx) reject(r *Request, reason string) error {
	if _, ok := r.after(Reject, t.now); !ok {
		return nil
	}
	r.Bank.Refused, r.Bank.LastError = true, reason
	first := r.Confirmed == 0
	if r.EndReason == "" && first {
		r.EndReason = ByBankRejection
	}
	t.emit(Event{Type: RequestRejected}, r)
	return t.move(r, Reject)
}

// settle applies one payment, once for ever.
func (t *tx) settle(r *Request, p BankPayment) error {
	if r.payment(p.ID) != nil {
		return nil
	}
	seen := paymentKey(r.Bank.Connection, p.ID)
	first, err := read[paymentRecord](t, seen, nil)
	if err != nil {
		return err
	}
	if first != nil {
		if first.Request != r.ID {
			t.s.log.Error("the bank names one payment for two requests", "connection", r.Bank.Connection, "first", first.Request, "second", r.ID)
		}
		return nil
	}
	if err := t.create(seen, &paymentRecord{Request: r.ID}); err != nil {
		return err
	}
	s, err := t.saleOf(r)
	if err != nil {
		return err
	}
	action := SettleOther
	if r.Content.asks(p.Money) {
		action = Settle
		if r.PaidAmount() > 0 || s != nil && !s.takes(p.Money.Amount) {
			action = SettleTwice
		}
	}
	pay := Payment{ID: p.ID, Money: p.Money, PaidAt: p.PaidAt.UTC(), Way: p.Method}
	if action == Settle && !r.Status.Final() {
		pay.Counts = true
		r.Payments = append(r.Payments, pay)
		r.PaidAt = pay.PaidAt
		t.credit(s, p.Money)
		return t.move(r, Settle)
	}
	r.Payments = append(r.Payments, pay)
	if err := t.except(r, exceptionOf(r, action), pay); err != nil {
		return err
	}
	if err := t.move(r, action); err != nil {
		return err
	}
	return t.byRule(r)
}

func exceptionOf(r *Request, a Action) ExceptionKind {
	s := r.Status
	switch {
	case r.Origin == MadeElsewhere:
		return UnknownMoney
	case s == Expired:
		return LateMoney
	case s == Cancelled:
		return AfterCancel
	case s == Paid || a == SettleTwice:
		return DoubleMoney
	}
	return WrongMoney
}

func (t *tx) credit(s *Sale, m Money) {
	if s != nil && s.Currency == m.Currency {
		s.Paid += m.Amount
	}
}

// except records money outside the rules and gives it a place in the list that
// people work through.
func (t *tx) except(r *Request, k ExceptionKind, p Payment) error {
	e := Exception{ID: ExceptionID(newID(t.shard, 20)), Kind: k, PaymentID: p.ID, Money: p.Money, OpenedAt: t.now}
	r.Exceptions = append(r.Exceptions, e)
	rec := &exceptionRecord{ID: e.ID, Merchant: r.Merchant, Request: r.ID, Open: true}
	if err := t.create(exceptionKey(e.ID), rec); err != nil {
		return err
	}
	return t.excepted(r, e, &p)
}

// excepted tells that money waits for a person, and that until then the till takes none.
func (t *tx) excepted(r *Request, e Exception, p *Payment) error {
	s, err := t.saleOf(r)
	if err != nil {
		return err
	}
	tender := tender(r, s, t.now)
	t.emit(Event{Type: ExceptionOpened, Exception: &e, Payment: p, Tender: &tender}, r)
	return nil
}

// byRule decides late money where the merchant has a rule for it.
func (t *tx) byRule(r *Request) error {
	m, err := t.merchantRec()
	if err != nil || m == nil {
		return err
	}
	e := r.openException()
	if e == nil || e.Kind != LateMoney {
		return nil
	}
	switch m.Late {
	case LateAccept:
		return t.accept(r, e.ID, "rule")
	case LateReturn:
		return t.giveBack(r, e.ID, "rule")
	}
	return nil
}

// accept lets money outside the rules count.
func (t *tx) accept(r *Request, id ExceptionID, by string) error {
	if err := r.may(Accept, t.now); err != nil {
		return err
	}
	e, err := r.exception(id)
	if err != nil {
		return err
	}
	s, err := t.saleOf(r)
	if err != nil {
		return err
	}
	p := r.payment(e.PaymentID)
	p.Counts = true
	t.credit(s, p.Money)
	if r.PaidAt.IsZero() {
		r.PaidAt = p.PaidAt
	}
	if err := t.move(r, Accept); err != nil {
		return err
	}
	return t.decided(r, e, "accepted", by)
}

// giveBack returns money outside the rules.
func (t *tx) giveBack(r *Request, id ExceptionID, by string) error {
	if err := r.may(Return, t.now); err != nil {
		return err
	}
	e, err := r.exception(id)
	if err != nil {
		return err
	}
	p := r.payment(e.PaymentID)
	if left := r.refundable(p); left > 0 {
		t.refund(r, p, left, "return")
	}
	if !r.EndAsked && !r.Status.Final() {
		r.EndAsked, r.EndReason = true, ByReturn
	}
	if err := t.move(r, Return); err != nil {
		return err
	}
	return t.decided(r, e, "returned", by)
}

func (r *Request) exception(id ExceptionID) (*Exception, error) {
	i := slices.IndexFunc(r.Exceptions, func(e Exception) bool { return e.ID == id })
	if i < 0 {
		return nil, notFound("exception")
	}
	if e := &r.Exceptions[i]; e.Decision == "" {
		return e, nil
	}
	return nil, conflict("not_allowed_in_status", "This exception was decided already.").with("decision", r.Exceptions[i].Decision)
}

// decided writes a decision down, after the move that needed the exception open.
func (t *tx) decided(r *Request, e *Exception, decision, by string) error {
	rec, err := read[exceptionRecord](t, exceptionKey(e.ID), nil)
	if err != nil {
		return err
	}
	e.Decision, e.DecidedAt, e.DecidedBy = decision, t.now, by
	if rec != nil {
		rec.Open = false
	}
	s, err := t.saleOf(r)
	if err != nil {
		return err
	}
	shown, tender := *e, tender(r, s, t.now)
	t.emit(Event{Type: ExceptionDecided, Exception: &shown, Payment: r.payment(e.PaymentID), Tender: &tender}, r)
	return nil
}

// reopen puts an exception back on people's list: the money could not be returned.
func (t *tx) reopen(r *Request, f *Refund) error {
	for i := range r.Exceptions {
		e := &r.Exceptions[i]
		if e.PaymentID != f.PaymentID || e.Decision != "returned" {
			continue
		}
		rec, err := read[exceptionRecord](t, exceptionKey(e.ID), nil)
		if err != nil {
			return err
		}
		e.Decision = ""
		if rec != nil {
			rec.Open = true
		}
		if err := t.excepted(r, *e, r.payment(e.PaymentID)); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) refund(r *Request, p *Payment, a Amount, reason string) *Refund {
	r.Refunds = append(r.Refunds, Refund{
		ID: RefundID(newID(t.shard, 20)), PaymentID: p.ID, Amount: a, Status: RefundPending,
		Reason: reason, AskedAt: t.now, Counted: p.Counts,
	})
	r.Bank.NextAt = time.Time{}
	return &r.Refunds[len(r.Refunds)-1]
}

// refunded takes the bank's word on a refund of ours.
func (t *tx) refunded(r *Request, f BankRefund) error {
	i := slices.IndexFunc(r.Refunds, func(o Refund) bool { return string(o.ID) == f.ID })
	if i < 0 || r.Refunds[i].Status != RefundPending || f.Status == RefundPending {
		return nil
	}
	mine := &r.Refunds[i]
	mine.Status = f.Status
	if f.Status == RefundFailed {
		shown := *mine
		t.emit(Event{Type: RefundFailedEvent, Refund: &shown}, r)
		return t.reopen(r, mine)
	}
	if mine.Counted {
		s, err := t.saleOf(r)
		if err != nil {
			return err
		}
		if s != nil {
			s.Paid = max(0, s.Paid-mine.Amount)
		}
	}
	shown := *mine
	t.emit(Event{Type: RequestRefunded, Refund: &shown}, r)
	return t.allReturned(r)
}

// allReturned ends a closing request once all the money it got went back.
func (t *tx) allReturned(r *Request) error {
	if r.Status != Closing || r.Bank.State != BankPaid || len(r.Payments) == 0 {
		return nil
	}
	for i := range r.Payments {
		p := &r.Payments[i]
		var back Amount
		for _, f := range r.Refunds {
			if f.PaymentID == p.ID && f.Status == RefundDone {
				back += f.Amount
			}
		}
		if back < p.Money.Amount {
			return nil
		}
	}
	return t.move(r, Returned)
}

// paymentRecord remembers a bank's payment for ever, so that none is applied twice.
type paymentRecord struct {
	Request RequestID `cbor:"1,keyasint"`
}

// exceptionRecord puts an exception into the merchant's list. The exception itself
// stands in its request; one for no request we know stands here.
type exceptionRecord struct {
	ID       ExceptionID `cbor:"1,keyasint"`
	Merchant MerchantID  `cbor:"2,keyasint"`
	Request  RequestID   `cbor:"3,keyasint,omitempty"`
	Open     bool        `cbor:"4,keyasint,omitempty"`
	Unknown  *Exception  `cbor:"5,keyasint,omitempty"`
}
