package linking

import (
	"context"
	"slices"
	"time"
)

// zone is the merchant's time zone.
func (m *Merchant) zone() *time.Location {
	if z, err := time.LoadLocation(m.TimeZone); err == nil {
		return z
	}
	return time.UTC
}

// dayEnds is how long after midnight the merchant's business day ends.
func (m *Merchant) dayEnds() (hour, minute int) {
	if at, err := time.Parse("15:04", m.DayEndsAt); err == nil {
		return at.Hour(), at.Minute()
	}
	return 0, 0
}

// DaySpan is a business day of the merchant, "2026-03-02": from its first instant up to,
// not including, its last. In a zone that changes its clock it has 23 to 25 hours.
func (m *Merchant) DaySpan(day string) (from, to time.Time, ok bool) {
	date, err := time.Parse(time.DateOnly, day)
	if err != nil || date.Year() < 2000 || date.Year() > 2999 {
		return from, to, false
	}
	h, min := m.dayEnds()
	at := func(d int) time.Time {
		return time.Date(date.Year(), date.Month(), date.Day()+d, h, min, 0, 0, m.zone()).UTC()
	}
	return at(0), at(1), true
}

// BusinessDay is the merchant's day in which an instant lies.
func (m *Merchant) BusinessDay(t time.Time) string {
	local := t.In(m.zone())
	day := time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, time.UTC)
	for _, d := range []int{-1, 0} {
		name := day.AddDate(0, 0, d).Format(time.DateOnly)
		if from, to, ok := m.DaySpan(name); ok && !t.Before(from) && t.Before(to) {
			return name
		}
	}
	return day.Format(time.DateOnly)
}

// SettlementKind says what a line of the settlement report is about.
type SettlementKind string

const (
	SettledPayment   SettlementKind = "payment"        // money that counts
	SettledException SettlementKind = "exception"      // money outside the rules that waits for a decision
	SettledRefund    SettlementKind = "refund"         // money that went back, or is on its way
	SettledOtherwise SettlementKind = "paid_otherwise" // cash, card, at the office: not the bank's
)

// Settlement is a line of the settlement report.
type Settlement struct {
	Day       string // the merchant's business day
	Kind      SettlementKind
	At        time.Time
	Request   *Request
	PaymentID string
	Money     Money // of a refund, what went back
	Way       string
	Exception ExceptionKind
}

// lines are what a request adds to the report of a span.
func (r *Request) settlements(m *Merchant, from, to time.Time) (list []Settlement) {
	in := func(t time.Time) bool { return !t.IsZero() && !t.Before(from) && t.Before(to) }
	for _, p := range r.Payments {
		if !in(p.PaidAt) || p.Of != "" {
			continue
		}
		s := Settlement{Day: m.BusinessDay(p.PaidAt), Kind: SettledPayment, At: p.PaidAt, Request: r, PaymentID: p.ID, Money: p.Money, Way: p.Way}
		if e := r.openExceptionOf(p.ID); e != nil {
			s.Kind, s.Exception = SettledException, e.Kind
		}
		list = append(list, s)
	}
	for _, f := range r.Refunds {
		if f.Status != RefundFailed && in(f.AskedAt) {
			list = append(list, Settlement{
				Day: m.BusinessDay(f.AskedAt), Kind: SettledRefund, At: f.AskedAt, Request: r, PaymentID: f.PaymentID, Money: Money{f.Amount, r.Content.Currency},
			})
		}
	}
	if r.Status == Cancelled && r.EndReason == ByOtherMeans && in(r.EndedAt) {
		list = append(list, Settlement{Day: m.BusinessDay(r.EndedAt), Kind: SettledOtherwise, At: r.EndedAt, Request: r, Money: Money{r.Content.Amount, r.Content.Currency}})
	}
	return list
}

func (r *Request) openExceptionOf(payment string) *Exception {
	for i := range r.Exceptions {
		if e := &r.Exceptions[i]; e.PaymentID == payment && e.Decision == "" {
			return e
		}
	}
	return nil
}

// Settled calls f with what was settled in a span, in no order, until it returns an
// error. It reads every request that was made before the span's end: a bill may be paid
// long after it was printed.
func (s *Service) Settled(ctx context.Context, c Caller, m *Merchant, from, to time.Time, f func(Settlement) error) error {
	return s.madeBefore(ctx, c, to, func(r *Request) error {
		for _, line := range r.settlements(m, from, to) {
			if err := f(line); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Service) madeBefore(ctx context.Context, c Caller, to time.Time, f func(*Request) error) error {
	for at := string(firstIDAfter(c.Merchant.Shard(), to)); ; {
		page, err := s.store.List(ctx, Listing{Shard: c.Merchant.Shard(), Kind: kindRequest, Owner: string(c.Merchant), After: at, Limit: listPage, Reverse: true})
		if err != nil {
			return storeProblem(err)
		}
		for _, rec := range page {
			at = rec.ID
			r := new(Request)
			if _, err := decodeRecord(rec.Data, r); err != nil {
				return err
			}
			if !c.seesRequest(r) {
				continue
			}
			if err := f(r); err != nil {
				return err
			}
		}
		if len(page) < listPage {
			return nil
		}
	}
}

// Reconcile holds a bank's statement, and the till's or the billing system's own list,
// against what was paid here in a span. Either may be missing. A statement of an account
// that is not the merchant's is refused.
func (s *Service) Reconcile(ctx context.Context, c Caller, m *Merchant, from, to time.Time, st *Statement, till []TillRow) (*Reconciliation, error) {
	if st != nil {
		if err := m.owns(st); err != nil {
			return nil, err
		}
	}
	var requests []*Request
	known := map[RequestID]bool{}
	err := s.madeBefore(ctx, c, to, func(r *Request) error {
		touched := len(r.settlements(m, from, to)) > 0
		if touched || till != nil && len(r.Payments) > 0 && !r.PaidAt.Before(from.AddDate(0, 0, -7)) {
			requests, known[r.ID] = append(requests, r), true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	t := s.look(ctx, c.Merchant.Shard())
	t.begin(c)
	if st != nil {
		for _, e := range st.Entries { // about money of other days, or of requests that were never paid here
			for _, ref := range e.Refs {
				id, err := t.requestOfRef(m, ref)
				if err != nil {
					return nil, storeProblem(err)
				}
				if id == "" || known[id] {
					continue
				}
				r, err := t.request(id)
				if err != nil {
					return nil, storeProblem(err)
				}
				if r != nil && c.seesRequest(r) {
					requests, known[id] = append(requests, r), true
				}
				clear(t.recs)
				t.order = t.order[:0]
			}
		}
	}
	return Reconcile(requests, from, to, st, till), nil
}

// requestOfRef finds the request that a bank's reference means: our id, the bank's id of
// a payment, or the till's own id.
func (t *tx) requestOfRef(m *Merchant, ref string) (RequestID, error) {
	if id, ok := ParseRequestID(ref); ok && id.Shard() == t.shard {
		return id, nil
	}
	if !printable(ref, 1, 90) {
		return "", nil
	}
	for _, rail := range m.Rails {
		p, err := read[paymentRecord](t, paymentKey(rail, ref), nil)
		if err != nil {
			return "", err
		}
		if p != nil {
			return p.Request, nil
		}
	}
	if !printable(ref, 1, maxClientID) {
		return "", nil
	}
	own, err := read[clientIDRecord](t, clientIDKey(m.ID, ref), nil)
	if err != nil || own == nil {
		return "", err
	}
	return own.Request, nil
}

// owns refuses a statement of an account that is not one of the merchant's.
func (m *Merchant) owns(st *Statement) error {
	if len(m.Accounts) == 0 {
		return invalid("account", "required", "It is not known which account is the merchant's: set settlement_accounts of the merchant first.")
	}
	if !slices.Contains(m.Accounts, NormalAccount(st.Account)) {
		return invalid("account", "foreign_account", "The statement is of another account than the merchant's.")
	}
	if st.Currency != "" && st.Currency != m.Currency {
		return invalid("currency", "merchant_currency", "The merchant takes "+string(m.Currency)+".")
	}
	return nil
}
