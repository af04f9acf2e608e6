package linking

import (
	"context"
	"time"
)

// AttachCommand links a payment request to a code, or swaps it in.
type AttachCommand struct {
	Code    Token
	New     *NewRequest // one of the two
	Request string      // our id or the caller's client_id
	Move    bool        // take the request off the code that shows it now
	Replace bool        // an open request of another sale on this code gives way
	IfMatch *uint64     // the epoch the caller decided on
	Wait    time.Duration
}

// LinkAnswer says what a code shows and what became of what it showed.
type LinkAnswer struct {
	Code      *Code
	Batch     *Batch
	Request   *Request // what it shows now
	Displaced *Request // what the call ended or detached
	Previous  *PastLink
	Former    *Request // the request of Previous
	Tender    *Tender  // about Displaced
}

// Attach makes a code show a request. When it returns, every scan that starts from
// now on, on every gateway, sees it or something later. The answer waits for the
// bank's confirmation as long as cmd.Wait says.
//
// Errors: code_busy, sale_has_open_request, sale_already_paid,
// request_on_other_code, not_allowed_in_status, stale, gone, not_found,
// invalid_request, bank_unavailable.
func (s *Service) Attach(ctx context.Context, c Caller, cmd AttachCommand) (*LinkAnswer, error) {
	var shown, displaced RequestID
	err := s.change(ctx, cmd.Code.Shard(), func(t *tx) (err error) {
		t.begin(c)
		shown, displaced = "", ""
		var again *onceRecord
		if again, err = t.onceBegin(); err != nil || again != nil {
			if again != nil {
				shown, displaced = again.Request, again.Ended
			}
			return err
		}
		code, err := t.codeFor(c, cmd.Code)
		if err != nil {
			return err
		}
		if err := t.inUse(code); err != nil {
			return err
		}
		if err := t.fresh(code, cmd.IfMatch); err != nil {
			return err
		}
		r, nothing, err := t.toShow(c, cmd, code)
		if err != nil {
			return err
		}
		shown = r.ID
		if !nothing {
			if displaced, err = t.place(c, cmd, code, r); err != nil {
				return err
			}
		}
		return t.onceMade(r.ID, code.Token, displaced)
	})
	if err != nil || c.Once != nil && c.Once.Reply != nil {
		return nil, err
	}
	if _, err := s.await(ctx, shown, cmd.Wait, notAtBank); err != nil {
		return nil, told(err)
	}
	a, err := s.linkAnswer(ctx, cmd.Code, displaced)
	return a, told(err)
}

// notAtBank reports whether a till learns nothing more about r by waiting for the bank.
func notAtBank(r *Request) bool {
	if r.Bank.Link != nil && (r.Status == Active && !r.Bank.LinkSeen || r.Status.Final() && r.Bank.LinkHeld) {
		return false
	}
	return r.Status != Preparing && r.Status != Closing || r.Bank.Refused || r.After != ""
}

// fresh refuses a decision made on an older epoch. It also passes if the code
// shows nothing and the link made at that epoch ended by itself: the till that
// attached last need not ask why its own sale is over.
func (t *tx) fresh(code *Code, ifMatch *uint64) error {
	if ifMatch == nil || *ifMatch == code.Epoch {
		return nil
	}
	if l := code.Last; code.Shown == nil && l != nil && l.ByItself && l.Epoch == *ifMatch {
		return nil
	}
	e := &Error{Kind: Stale, Code: "stale", Detail: "The code has changed since the epoch in If-Match."}
	return e.with("epoch", code.Epoch).with("linked", code.Shown.brief())
}

func (f *Face) brief() map[string]any {
	if f == nil {
		return nil
	}
	return map[string]any{"request_id": f.Request, "sale": f.Sale, "since": f.Since.UTC().Format(time.RFC3339)}
}

// toShow finds or makes the request that the code shall show. nothing is true if it
// shows it already.
func (t *tx) toShow(c Caller, cmd AttachCommand, code *Code) (r *Request, nothing bool, err error) {
	if cmd.New == nil {
		r, err = t.requestFor(c, cmd.Request)
		if err != nil {
			return nil, false, err
		}
		return t.attachable(r, cmd, code)
	}
	m, err := t.merchantRec()
	if err != nil || m == nil {
		return nil, false, orMissing(err, "merchant")
	}
	in := *cmd.New
	r, err = t.newRequest(c, m, in, code)
	if err != nil {
		return nil, false, err
	}
	have, err := t.giveWay(r, in, code)
	if err != nil {
		return nil, false, err
	}
	if have != nil {
		return t.attachable(have, cmd, code)
	}
	if err := t.add(r); err != nil {
		return nil, false, err
	}
	r.OnCode = code.Token
	return r, false, t.submit(r)
}

func orMissing(err error, what string) error {
	if err != nil {
		return err
	}
	return notFound(what)
}

// attachable takes an existing request off another code, if that is wanted.
func (t *tx) attachable(r *Request, cmd AttachCommand, code *Code) (*Request, bool, error) {
	switch r.Status {
	case Draft, Unvalued, Preparing, Active:
	default:
		return nil, false, conflict("not_allowed_in_status", "A payment request that is "+string(r.Status)+" cannot be shown.").with("status", r.Status)
	}
	if r.Code == code.Token {
		return r, true, nil
	}
	if r.Bank.LinkHeld && r.Bank.LinkCode != code.Token {
		return nil, false, conflict("request_on_other_code", "The bank shows this payment request at another code's location; cancel it and make a new one.").with("code", r.Bank.LinkCode)
	}
	if r.Code != "" {
		if !cmd.Move {
			return nil, false, conflict("request_on_other_code", "Another code shows this payment request; move takes it from there.").with("code", r.Code)
		}
		other, err := t.code(r.Code)
		if err != nil {
			return nil, false, err
		}
		if other != nil {
			if err := t.detach(other, r, false); err != nil {
				return nil, false, err
			}
		}
	}
	if r.Status == Draft {
		return r, false, t.submit(r)
	}
	return r, false, nil
}

// forSale holds a new request against what its sale allows, in the order the
// design names. It returns the request that is open already, if it asks for the
// same.
func (t *tx) forSale(r *Request, in NewRequest, code *Code) (have *Request, err error) {
	if r.Sale == "" {
		return nil, nil
	}
	s, err := t.sale(r.Sale)
	if err != nil {
		return nil, err
	}
	if s == nil {
		s = &Sale{ID: r.Sale, Merchant: r.Merchant, Currency: r.Content.Currency, Total: in.SaleTotal}
		if in.SaleTotal > 0 && r.Content.Amount > in.SaleTotal {
			return nil, invalid("amount", "more_than_left", "The amount is more than the sale's total.")
		}
		return nil, t.create(saleKey(r.Merchant, r.Sale), s)
	}
	if s.done() {
		last, err := t.lastPaid(s)
		if err != nil {
			return nil, err
		}
		return nil, conflict("sale_already_paid", "Nothing of this sale is left to pay.").with("request", last)
	}
	if in.SaleTotal > 0 {
		if s.Total == 0 {
			s.Total = in.SaleTotal
		}
		if s.Total != in.SaleTotal {
			return nil, invalid("sale_total", "differs", "The sale was given another total before.")
		}
	}
	if !s.takes(r.Content.Amount) {
		return nil, invalid("amount", "more_than_left", "The amount is more than what is left of the sale.")
	}
	if len(s.Open) == 0 {
		return nil, nil
	}
	newest := s.Open[len(s.Open)-1]
	open, err := t.request(newest)
	if err != nil || open == nil {
		return nil, err
	}
	if err := t.tick(open); err != nil {
		return nil, err
	}
	if open.Status.Final() { // the clock ended it just now
		return t.forSale(r, in, code)
	}
	same, replaced := open.Content.same(&r.Content), open.ID == r.Replaces
	switch {
	case same && open.Status != Closing && !open.EndAsked && !replaced:
		return open, nil
	case !same && !in.Replace && !replaced:
		return nil, conflict("sale_has_open_request", "The sale has an open payment request that asks for something else; replace lets it give way.").with("request", brief(open))
	}
	return nil, t.waitFor(open, r, code)
}

// giveWay ends the request that r replaces, if it is open still, and deals with what else
// is open of r's sale. Nobody can pay r before nobody can pay the other any more. have is
// an open request that asks for the same and is not to be replaced.
func (t *tx) giveWay(r *Request, in NewRequest, code *Code) (have *Request, err error) {
	if r.Replaces == "" || in.Again {
		return t.forSale(r, in, code)
	}
	old, err := t.request(r.Replaces)
	if err != nil {
		return nil, err
	}
	switch {
	case old.Status == Paid:
		return nil, conflict("already_paid", "The payment request to be replaced is paid.").with("request", brief(old))
	case old.Status.Final():
		return t.forSale(r, in, code)
	case old.Sale != r.Sale:
		return nil, invalid("replaces", "sale_differs", "The payment request to be replaced is of another sale.")
	case in.Draft:
		return nil, invalid("draft", "excluded", "A draft cannot take the place of an open payment request.")
	case r.Sale != "":
		return t.forSale(r, in, code)
	case old.Next != "":
		return nil, conflict("not_allowed_in_status", "Another payment request is taking its place already.").with("request", brief(old))
	}
	return nil, t.waitFor(old, r, code)
}

// waitFor makes r wait until old, of the same sale, can no longer be paid: never
// are two requests of one sale payable. What code shows itself, place ends.
func (t *tx) waitFor(old, r *Request, code *Code) error {
	if old.After != "" && !old.Bank.Sent {
		// old itself waits and was never sent: r takes its place in the queue.
		first, err := t.request(old.After)
		if err != nil {
			return err
		}
		if first != nil && !first.Status.Final() {
			r.After, first.Next = first.ID, r.ID
		}
		old.DisplacedBy = r.ID
		return t.end(old, Cancel, ByReplace)
	}
	r.After, old.Next = old.ID, r.ID
	if old.EndAsked || old.Status == Review || code != nil && old.Code == code.Token {
		return nil // in review, a person decides about its money first
	}
	old.DisplacedBy = r.ID
	if err := t.end(old, Cancel, ByReplace); err != nil {
		return err
	}
	if old.Status.Final() { // the bank never heard of it: there is nothing to wait for
		r.After, old.Next = "", ""
	}
	return nil
}

func (t *tx) lastPaid(s *Sale) (map[string]any, error) {
	for i := len(s.Requests) - 1; i >= 0; i-- {
		r, err := t.request(s.Requests[i])
		if err != nil {
			return nil, err
		}
		if r != nil && r.Status == Paid {
			return brief(r), nil
		}
	}
	return nil, nil
}

func brief(r *Request) map[string]any {
	return map[string]any{
		"id": r.ID, "sale": r.Sale, "status": r.Status, "amount": r.Content.Amount,
		"currency": r.Content.Currency, "code": r.Code,
	}
}

// add writes a new request down: its own record, the caller's id for it, its sale.
func (t *tx) add(r *Request) error {
	if r.ClientID != "" {
		k := clientIDKey(r.Merchant, r.ClientID)
		used, err := read[clientIDRecord](t, k, nil)
		if err != nil {
			return err
		}
		if used != nil {
			return invalid("client_id", "used", "This client_id was used before; it is never used again.")
		}
		if err := t.create(k, &clientIDRecord{r.ID}); err != nil {
			return err
		}
	}
	if r.Sale != "" {
		s, err := t.sale(r.Sale)
		if err != nil {
			return err
		}
		if s == nil {
			s = &Sale{ID: r.Sale, Merchant: r.Merchant, Currency: r.Content.Currency}
			if err := t.create(saleKey(r.Merchant, r.Sale), s); err != nil {
				return err
			}
		}
		if s.Currency != r.Content.Currency {
			return invalid("currency", "sale_currency", "The sale is in "+string(s.Currency)+".")
		}
		s.opened(r.ID)
	}
	if r.Content.Amount > 0 {
		r.Revision = 1
	}
	if err := t.create(requestKey(r.ID), r); err != nil {
		return err
	}
	t.emit(Event{Type: RequestCreated}, r)
	return nil
}

// submit hands a draft over: to the bank, or to whoever values it later.
func (t *tx) submit(r *Request) error {
	if r.Content.Amount > 0 && r.Revision == 0 {
		r.Revision = 1
	}
	return t.move(r, Submit)
}

// place attaches r to the code, and deals with what the code shows.
func (t *tx) place(c Caller, cmd AttachCommand, code *Code, r *Request) (displaced RequestID, err error) {
	if code.Shown != nil && code.Shown.Request != r.ID {
		old, err := t.request(code.Shown.Request)
		if err != nil || old == nil {
			return "", orMissing(err, "payment request")
		}
		sameSale := old.Sale != "" && old.Sale == r.Sale
		if !old.Status.Final() && !sameSale {
			if err := t.mayReplace(c, cmd, code, old); err != nil {
				return "", err
			}
		}
		if !old.Status.Final() {
			displaced = old.ID
		}
		if err := t.displace(code, old, r); err != nil {
			return "", err
		}
	}
	if err := t.show(code, r, c.Key); err != nil {
		return "", err
	}
	t.emit(Event{Type: CodeAttached, Code: code.Token, Epoch: code.Epoch, Outlet: code.Outlet}, r)
	r.Bank.Link, r.Bank.LinkCode = nil, ""
	if code.ResolvedBy == ByBankPayload {
		err = t.locate(code, r)
	}
	return displaced, err
}

// locate has the bank show r at the location that is printed in the code, once
// whatever it shows now is gone: cancelled first, then unlinked.
func (t *tx) locate(code *Code, r *Request) error {
	b := &r.Bank
	if b.Sent && b.Charge != code.Charge {
		return invalid("request_id", "charge", "The request is "+string(b.Charge)+" at the bank, and the code is made for "+string(code.Charge)+".")
	}
	b.Charge, b.Link, b.LinkCode, b.LinkSeen = code.Charge, code.BankLink, code.Token, false
	b.LinkReady = code.Shows == "" && !code.ShowsUnknown
	if r.Status == Active { // the bank holds it elsewhere: it is asked to show it here
		return t.move(r, Drift)
	}
	return nil
}

// mayReplace refuses to take the place of another sale's open request without
// having been asked to.
func (t *tx) mayReplace(c Caller, cmd AttachCommand, code *Code, old *Request) error {
	if !cmd.Replace && cmd.IfMatch == nil {
		return conflict("code_busy", "The code shows an open payment request of another sale.").
			with("linked", code.Shown.brief()).with("request", brief(old))
	}
	if c.Role == Cashier && code.Shown.By != c.Key {
		m, err := t.merchantRec()
		if err != nil {
			return err
		}
		if m == nil || !m.Takeover {
			return &Error{Kind: Forbidden, Code: "forbidden", Detail: "Another till attached what the code shows; the merchant has not allowed cashiers to take over."}
		}
	}
	return nil
}

// DetachCommand makes a code show nothing.
type DetachCommand struct {
	Code    Token
	Request string // the one the caller means; empty: by IfMatch, or what this caller attached
	Cancel  bool
	IfMatch *uint64
	Wait    time.Duration
}

// Detach ends a code's link, and cancels the request if asked, if PUT …/link made
// it, or if the bank resolves the code. Only the caller's own sale is touched: a
// late call about a sale that is over leaves the next customer's alone.
//
// Errors: code_busy, already_paid, stale, gone, not_found.
func (s *Service) Detach(ctx context.Context, c Caller, cmd DetachCommand) (*LinkAnswer, error) {
	var ended RequestID
	err := s.change(ctx, cmd.Code.Shard(), func(t *tx) (err error) {
		t.begin(c)
		ended = ""
		var again *onceRecord
		if again, err = t.onceBegin(); err != nil || again != nil {
			if again != nil {
				ended = again.Ended
			}
			return err
		}
		code, err := t.codeFor(c, cmd.Code)
		if err != nil {
			return err
		}
		r, err := t.toDetach(c, cmd, code)
		if err != nil {
			return err
		}
		if r == nil {
			return t.onceMade("", code.Token, "")
		}
		ended = r.ID
		if r.Status == Paid {
			return conflict("already_paid", "The payment request is paid.").with("request", brief(r))
		}
		cancel := cmd.Cancel
		if code.Shown != nil && code.Shown.Request == r.ID {
			cancel = cancel || r.Origin == MadeByLink || code.ResolvedBy == ByBankPayload
			if err := t.detach(code, r, false); err != nil {
				return err
			}
		}
		if cancel && !r.Status.Final() && r.Status != Review {
			why := ByDetach
			if cmd.Cancel {
				why = ByCancel
			}
			if err := t.end(r, Cancel, why); err != nil {
				return err
			}
		}
		return t.onceMade("", code.Token, r.ID)
	})
	if err != nil || c.Once != nil && c.Once.Reply != nil {
		return nil, err
	}
	if ended != "" {
		if _, err := s.await(ctx, ended, cmd.Wait, notAtBank); err != nil {
			return nil, told(err)
		}
	}
	a, err := s.linkAnswer(ctx, cmd.Code, ended)
	return a, told(err)
}

// toDetach finds the request a detach is about; nil: none, and nothing is to be done.
func (t *tx) toDetach(c Caller, cmd DetachCommand, code *Code) (*Request, error) {
	if cmd.Request != "" {
		r, err := t.requestFor(c, cmd.Request)
		if err != nil {
			return nil, err
		}
		if cmd.IfMatch != nil && code.Shown != nil && code.Shown.Request == r.ID {
			return r, t.fresh(code, cmd.IfMatch)
		}
		return r, nil
	}
	if cmd.IfMatch != nil {
		if err := t.fresh(code, cmd.IfMatch); err != nil {
			return nil, err
		}
		if code.Epoch != *cmd.IfMatch {
			return t.request(code.Last.Request)
		}
	}
	if code.Shown == nil {
		return nil, nil
	}
	if cmd.IfMatch == nil && code.Shown.By != c.Key {
		return nil, conflict("code_busy", "Somebody else attached what the code shows; name the request or the epoch to detach it.").with("linked", code.Shown.brief())
	}
	return t.request(code.Shown.Request)
}

// Shown says what a code shows now.
func (s *Service) Shown(ctx context.Context, c Caller, id Token) (*LinkAnswer, error) {
	t := s.look(ctx, id.Shard())
	code, _, err := t.anyCode(id)
	if err != nil {
		return nil, storeProblem(err)
	}
	if code == nil || !c.sees(code.Merchant, code.Outlet, code.Token) {
		return nil, notFound("code")
	}
	return s.linkAnswer(ctx, id, "")
}

// linkAnswer reads a code and what hangs on it as they stand now.
func (s *Service) linkAnswer(ctx context.Context, id Token, ended RequestID) (*LinkAnswer, error) {
	t := s.look(ctx, id.Shard())
	a := &LinkAnswer{}
	err := func() (err error) {
		if a.Code, a.Batch, err = t.anyCode(id); err != nil || a.Code == nil {
			return orMissing(err, "code")
		}
		t.merchant = a.Code.Merchant
		if err := t.tickCode(a.Code); err != nil { // as if the clock had been written down
			return err
		}
		var want []Key
		if a.Code.Shown != nil {
			want = append(want, requestKey(a.Code.Shown.Request))
		}
		if ended != "" {
			want = append(want, requestKey(ended))
		}
		if err := t.load(want...); err != nil {
			return err
		}
		if f := a.Code.Shown; f != nil {
			if a.Request, err = t.request(f.Request); err != nil {
				return err
			}
		}
		if l := a.Code.Last; l != nil && l.ByItself {
			a.Previous = l
			if a.Former, err = t.request(l.Request); err != nil {
				return err
			}
		}
		if ended == "" {
			return nil
		}
		if a.Displaced, err = t.request(ended); err != nil || a.Displaced == nil {
			return err
		}
		sale, err := t.saleOf(a.Displaced)
		if err != nil {
			return err
		}
		tender := tender(a.Displaced, sale, t.now)
		a.Tender = &tender
		return nil
	}()
	if err != nil {
		return nil, storeProblem(err)
	}
	return a, nil
}
