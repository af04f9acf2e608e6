package simulator

import (
	"cmp"
	"container/list"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"placard/linking"
)

// MaxRequests is how many requests the bank remembers. Beyond it, those that ended
// longest ago are forgotten; if all are open, new ones are refused.
const MaxRequests = 100_000

// refusal is a well-formed no. The wires and controls say it in their own ways.
type refusal struct {
	code   string // stable, for example "in_flight"
	detail string
}

func (r *refusal) Error() string { return r.code + ": " + r.detail }

func refuse(code, detail string, args ...any) error {
	return &refusal{code, fmt.Sprintf(detail, args...)}
}

// codeOf returns the code of a refusal, and "" for anything else.
func codeOf(err error) string {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.code
	}
	return ""
}

// order is what a merchant asks the bank to hold, one revision of it.
type order struct {
	revision    int
	money       linking.Money
	min, max    linking.Amount
	reference   string
	note        string
	expiresAt   time.Time
	methods     []string
	manual      bool
	returnURL   string
	callbackURL string

	paymentID string                                   // the first payment's id, where the bank takes it from the order; empty: one of its own
	due       func(*request, time.Time) linking.Amount // what is due at a time, where that is not always money; nil: money
	naming    func(time.Time) string                   // names payments, where the bank has a form for that; nil: as it likes
	lingers   bool                                     // it stays open past its end until it is closed, though nobody is offered it
	instant   bool                                     // a payment is there or it is not: one that is under way is not seen, and nothing stops it
}

// equal reports whether two orders ask for the same. Where payers and callbacks go
// is no part of it: the merchant's own address may have changed since.
func (o order) equal(p order) bool {
	return o.revision == p.revision && o.money == p.money && o.min == p.min && o.max == p.max &&
		o.reference == p.reference && o.expiresAt.Equal(p.expiresAt) &&
		slices.Equal(o.methods, p.methods) && o.manual == p.manual
}

// request is one ask for money as the bank holds it.
type request struct {
	id      string // the merchant's
	bankID  string // ours; whoever knows it can see and pay the request
	account string
	order
	status    linking.BankStatus
	reason    string
	held      linking.Amount // by a payment under way, or authorised
	payments  []*payment
	changedAt time.Time // when the bank last had news of it; zero: it never had
	calls     map[string]int
	place     *list.Element
	ends      int // its place among those that end, or -1
}

type payment struct {
	id      string
	request *request
	money   linking.Money
	at      time.Time
	method  string
	refunds []*refund
}

type refund struct {
	id      string
	payment *payment
	amount  linking.Amount
	status  linking.RefundStatus
	reason  string
	at      time.Time // when it was made, where the bank says so
}

// account is one merchant at this bank.
type account struct {
	id   string
	name string // as payers see it
}

// ledger is the state of the bank, the same for every wire.
type ledger struct {
	mu        sync.Mutex
	abilities linking.Abilities
	wall      func() time.Time
	offset    time.Duration // of the bank's clock
	accounts  map[string]*account
	requests  map[string]*request // by the merchant's id, and by the bank's
	payments  map[string]*payment
	all       *list.List // of requests, the oldest first
	most      int        // of them
	ending    endings
	refunds   linking.RefundStatus  // what becomes of a refund
	news      func(requestSnapshot) // called with mu held, when the bank has news for the merchant
	alarm     *time.Timer           // for the next request that ends by time
	closed    bool
}

func newLedger(a linking.Abilities, wall func() time.Time, news func(requestSnapshot)) *ledger {
	return &ledger{
		abilities: a, wall: wall, news: news, refunds: linking.RefundDone,
		accounts: map[string]*account{}, requests: map[string]*request{}, payments: map[string]*payment{}, all: list.New(), most: MaxRequests,
	}
}

// requestSnapshot is a copy of a request that nobody else changes.
type requestSnapshot struct {
	request
	merchant string
	payments []paymentSnapshot
	payable  bool
	owed     linking.Amount // what a payer who pays now pays
}

type paymentSnapshot struct {
	payment
	refunds []refund
}

// now is the bank's time.
func (l *ledger) now() time.Time { return l.wall().Add(l.offset).UTC() }

func (l *ledger) snapshot(r *request) requestSnapshot {
	s := requestSnapshot{request: *r, merchant: l.accounts[r.account].name, payable: r.status == linking.BankOpen, owed: r.money.Amount}
	s.calls = nil
	if r.due != nil {
		s.owed = r.due(r, l.now())
	}
	for _, p := range r.payments {
		ps := paymentSnapshot{payment: *p}
		for _, f := range p.refunds {
			ps.refunds = append(ps.refunds, *f)
		}
		s.payments = append(s.payments, ps)
	}
	return s
}

// named returns a text no id ever had: prefix, and 125 random bits.
func named(prefix string) string { return prefix + strings.ToLower(rand.Text()[:25]) }

// find returns a request by the merchant's or the bank's id; account "": anybody's.
func (l *ledger) find(account, id string) (*request, error) {
	l.tick()
	r, ok := l.requests[id]
	if !ok || account != "" && (r.account != account || r.id != id) {
		return nil, refuse("not_found", "The bank has no such request.")
	}
	return r, nil
}

// moved writes down that the bank has news of r.
func (l *ledger) moved(r *request, s linking.BankStatus, reason string) {
	r.status, r.reason = s, reason
	if s != linking.BankProcessing && s != linking.BankAuthorised {
		r.held = 0
	}
	l.touch(r)
}

func (l *ledger) touch(r *request) {
	r.changedAt = l.now()
	l.news(l.snapshot(r))
}

// put makes a request or revises it.
func (l *ledger) put(acc, id string, o order) (s requestSnapshot, made bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, err := l.find(acc, id)
	if err != nil {
		if _, taken := l.requests[id]; taken {
			return s, false, refuse("id_taken", "The id names another request.")
		}
		if err := l.acceptable(o); err != nil {
			return s, false, err
		}
		if err := l.room(); err != nil {
			return s, false, err
		}
		r = &request{id: id, bankID: named("b"), account: acc, order: o, status: linking.BankOpen, calls: map[string]int{}, ends: -1}
		r.place = l.all.PushBack(r)
		l.requests[id], l.requests[r.bankID] = r, r
		l.endsAt(r)
		return l.snapshot(r), true, nil
	}
	switch {
	case o.revision == r.revision && o.equal(r.order):
		return l.snapshot(r), false, nil
	case o.revision == r.revision:
		return s, false, refuse("revision_reused", "Revision %d was something else.", o.revision)
	case o.revision < r.revision:
		return s, false, refuse("stale_revision", "The bank holds revision %d already.", r.revision)
	case r.status != linking.BankOpen && r.status != linking.BankRejected:
		return s, false, l.busy(r)
	case !l.abilities.Revise:
		return s, false, refuse("cannot_revise", "This bank does not change requests.")
	}
	if err := l.acceptable(o); err != nil {
		return s, false, err
	}
	r.order, r.status, r.reason = o, linking.BankOpen, ""
	l.endsAt(r)
	return l.snapshot(r), false, nil
}

// busy is the refusal of a change because of how a request stands.
func (l *ledger) busy(r *request) error {
	switch r.status {
	case linking.BankProcessing, linking.BankAuthorised:
		return refuse("in_flight", "A payment is under way.")
	}
	return refuse(string(r.status), "The request is %s.", r.status)
}

// acceptable says whether this bank can hold such a request.
func (l *ledger) acceptable(o order) error {
	a := l.abilities
	switch left := o.expiresAt.Sub(l.now()); {
	case !slices.Contains(a.Currencies, o.money.Currency):
		return refuse("currency", "This bank has no %s.", o.money.Currency)
	case o.money.Amount <= 0 || o.money.Amount > linking.MaxAmount:
		return refuse("amount", "The amount is out of range.")
	case o.expiresAt.IsZero() && !a.OpenEnded:
		return refuse("expiry", "This bank holds no request without an end.")
	case !o.expiresAt.IsZero() && left <= 0 && !o.lingers:
		return refuse("expiry", "The request would have ended before it began.")
	case !o.expiresAt.IsZero() && a.MaxExpiry > 0 && left > a.MaxExpiry && !o.lingers:
		return refuse("expiry", "This bank holds requests for %s at most.", a.MaxExpiry)
	case o.manual && !a.Capture:
		return refuse("cannot_capture", "This bank cannot authorise first and capture later.")
	case o.max > 0 && !a.Adjustable:
		return refuse("cannot_adjust", "At this bank the payer cannot choose the amount.")
	case o.max > 0 && (o.money.Amount < o.min || o.money.Amount > o.max):
		return refuse("amount", "The amount is outside its own range.")
	}
	for _, m := range o.methods {
		if !slices.Contains(a.Methods, m) {
			return refuse("method", "This bank has no such way to pay.")
		}
	}
	return nil
}

// get returns a request as it stands.
func (l *ledger) get(acc, id string) (requestSnapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, err := l.find(acc, id)
	if err != nil {
		return requestSnapshot{}, err
	}
	return l.snapshot(r), nil
}

// close makes a request unpayable, and gives back what is authorised.
func (l *ledger) close(acc, id string) (requestSnapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, err := l.find(acc, id)
	if err != nil {
		return requestSnapshot{}, err
	}
	switch r.status {
	case linking.BankProcessing, linking.BankPaid:
		return requestSnapshot{}, l.busy(r)
	case linking.BankAuthorised:
		r.status, r.reason, r.held = linking.BankClosed, "voided", 0
	case linking.BankOpen, linking.BankRejected:
		r.status, r.reason = linking.BankClosed, "closed_by_merchant"
	}
	l.endsAt(r)
	return l.snapshot(r), nil
}

// capture takes the money that is authorised.
func (l *ledger) capture(acc, id string) (requestSnapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, err := l.find(acc, id)
	switch {
	case err != nil:
		return requestSnapshot{}, err
	case !l.abilities.Capture:
		return requestSnapshot{}, refuse("cannot_capture", "This bank cannot authorise first and capture later.")
	case r.status == linking.BankPaid && r.manual:
		return l.snapshot(r), nil
	case r.status != linking.BankAuthorised:
		return requestSnapshot{}, refuse("not_authorised", "Nothing is authorised.")
	}
	l.settle(r, r.held)
	return l.snapshot(r), nil
}

// settle is money arriving. It is never refused: who asks has decided.
func (l *ledger) settle(r *request, amount linking.Amount) {
	id := named("p")
	if r.naming != nil {
		id = r.naming(l.now())
	}
	if r.paymentID != "" && l.payments[r.paymentID] == nil {
		id = r.paymentID
	}
	p := &payment{id: id, request: r, money: linking.Money{Amount: amount, Currency: r.money.Currency}, at: l.now().Truncate(time.Second)}
	if len(r.methods) > 0 {
		p.method = r.methods[0]
	} else if len(l.abilities.Methods) > 0 {
		p.method = l.abilities.Methods[0]
	}
	r.payments = append(r.payments, p)
	l.payments[p.id] = p
	l.moved(r, linking.BankPaid, "")
	l.endsAt(r)
}

// refund sends back money of a payment, or says what became of it.
func (l *ledger) refund(acc, requestID, paymentID, id string, money linking.Money) (refund, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.payments[paymentID]
	if !ok || p.request.account != acc || p.request.id != requestID {
		return refund{}, refuse("not_found", "The bank has no such payment.")
	}
	if !l.abilities.Refund {
		return refund{}, refuse("cannot_refund", "This bank sends nothing back.")
	}
	sent := money.Amount
	for _, other := range p.request.payments {
		for _, f := range other.refunds {
			switch {
			case f.id == id && other == p && f.amount == money.Amount && p.money.Currency == money.Currency:
				return *f, nil
			case f.id == id:
				return refund{}, refuse("refund_reused", "That refund was something else.")
			case other == p && f.status != linking.RefundFailed:
				sent += f.amount
			}
		}
	}
	switch {
	case money.Currency != p.money.Currency:
		return refund{}, refuse("currency", "The payment was in %s.", p.money.Currency)
	case money.Amount <= 0 || sent > p.money.Amount:
		return refund{}, refuse("exceeds_payment", "More would be sent back than came in.")
	}
	f := &refund{id: id, payment: p, amount: money.Amount}
	f.become(l.refunds)
	p.refunds = append(p.refunds, f)
	l.touch(p.request)
	return *f, nil
}

func (f *refund) become(s linking.RefundStatus) {
	f.status = s
	if s == linking.RefundFailed {
		f.reason = "account_closed"
	}
}

// paidFor is the request a payment is for, or "".
func (l *ledger) paidFor(paymentID string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p, ok := l.payments[paymentID]; ok {
		return p.request.id
	}
	return ""
}

// settleRefunds decides what becomes of refunds from now on, pending ones included.
func (l *ledger) settleRefunds(s linking.RefundStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refunds = s
	for e := l.all.Front(); e != nil; e = e.Next() {
		r, news := e.Value.(*request), false
		for _, p := range r.payments {
			for _, f := range p.refunds {
				if f.status == linking.RefundPending && s != linking.RefundPending {
					f.become(s)
					news = true
				}
			}
		}
		if news {
			l.touch(r)
		}
	}
}

// change is one line of the list of what changed.
type change struct {
	id string
	at time.Time
}

// changed lists what the bank has had news of since a time, the oldest first, and
// after a cursor that an earlier page gave. next is "" on the last page.
func (l *ledger) changed(acc string, since time.Time, after string, limit int) (page []change, next string, asOf time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.abilities.Changed {
		return nil, "", asOf, refuse("cannot_list", "This bank has no list of what changed.")
	}
	l.tick()
	var from change
	if after != "" {
		at, id, ok := strings.Cut(after, "_")
		t, perr := time.Parse("20060102T150405Z", at)
		if !ok || perr != nil {
			return nil, "", asOf, refuse("cursor", "That is not a cursor of this bank's.")
		}
		from = change{id, t}
	}
	for _, r := range l.requests {
		if r.account != acc || r.changedAt.IsZero() {
			continue
		}
		c := change{r.id, r.changedAt.Truncate(time.Second)}
		if !c.at.Before(since) && c.compare(from) > 0 {
			page = append(page, c)
		}
	}
	slices.SortFunc(page, change.compare)
	page = slices.Compact(page) // each stands in the map under both its ids
	if len(page) > limit {
		page = page[:limit]
		last := page[limit-1]
		next = last.at.Format("20060102T150405Z") + "_" + last.id
	}
	return page, next, l.now().Truncate(time.Second), nil
}

func (c change) compare(d change) int {
	return cmp.Or(c.at.Compare(d.at), strings.Compare(c.id, d.id))
}

// room forgets what ended longest ago, if it must.
func (l *ledger) room() error {
	if l.all.Len() < l.most {
		return nil
	}
	e := l.all.Front()
	for n := 0; e != nil && n < 1000; n++ {
		next := e.Next()
		if r := e.Value.(*request); r.status != linking.BankOpen && r.status != linking.BankProcessing && r.status != linking.BankAuthorised {
			l.all.Remove(e)
			delete(l.requests, r.id)
			delete(l.requests, r.bankID)
			for _, p := range r.payments {
				delete(l.payments, p.id)
			}
			return nil
		}
		e = next
	}
	return refuse("full", "The bank holds as many open requests as it can.")
}

// open returns an account, which is made if there is none.
func (l *ledger) open(id, name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a, ok := l.accounts[id]; ok {
		if name != "" {
			a.name = name
		}
		return nil
	}
	if len(l.accounts) >= 10_000 {
		return refuse("full", "The bank has as many accounts as it can.")
	}
	l.accounts[id] = &account{id, cmp.Or(name, id)}
	return nil
}
