package linking

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Three lists speak of the same money: ours, the bank's statement, and the till's or the
// billing system's own. What all that were given agree on needs nobody's eye. Each
// leftover has one cause, out of a closed list, and each cause one thing to do about it.

// Cause is why something is on one list and not, or not so, on another.
type Cause string

// The closed list, in the order in which reports have it.
const (
	CauseLate        Cause = "late"         // paid after the request had expired
	CauseDuplicate   Cause = "duplicate"    // paid twice
	CauseWrongAmount Cause = "wrong_amount" // not what was asked for
	CauseAfterCancel Cause = "after_cancel" // paid while it was being ended
	CauseFee         Cause = "fee"          // the bank kept a part, or charged for its service
	CauseNotArrived  Cause = "not_arrived"  // paid by the bank's word, and not on its statement
	CauseNotInTill   Cause = "not_in_till"  // paid, and the till's list has it not
	CauseOnlyInTill  Cause = "only_in_till" // the till's list has it, and no money came
	CauseUnknown     Cause = "unknown"      // on the statement, and of nothing that we asked for
)

// Causes is the closed list.
var Causes = []Cause{
	CauseLate, CauseDuplicate, CauseWrongAmount, CauseAfterCancel, CauseFee, CauseNotArrived, CauseNotInTill, CauseOnlyInTill, CauseUnknown,
}

// Remedy is what to do about a leftover.
type Remedy string

// remedies has the one thing to do about each cause.
var remedies = map[Cause]Remedy{
	CauseLate:        "accept_or_return", // decide the exception
	CauseDuplicate:   "return",
	CauseWrongAmount: "accept_or_return",
	CauseAfterCancel: "return",
	CauseFee:         "book_fee",
	CauseNotArrived:  "await_statement", // the next one; then ask the bank
	CauseNotInTill:   "book_in_till",
	CauseOnlyInTill:  "correct_till",
	CauseUnknown:     "ask_bank",
}

// Statement is what a bank says went over an account.
type Statement struct {
	Account  string // IBAN, or the bank's own number
	Currency Currency
	Entries  []StatementEntry
}

// StatementEntry is one booking. Credits are above zero, debits below.
type StatementEntry struct {
	No       int      // counted from 1, as the statement has them
	Refs     []string // every id that it names
	Text     string   // what the payer wrote
	Amount   Amount
	Currency Currency
	BookedAt time.Time
	Fee      bool   // the bank's charge for its service
	Charges  Amount // that the bank kept of a credit
}

// NormalAccount is an account's number as it is compared: capitals, without blanks.
func NormalAccount(s string) string {
	return strings.ToUpper(strings.Join(strings.Fields(s), ""))
}

// TillRow is a payment on the till's or the billing system's own list.
type TillRow struct {
	No        int    // counted from 1
	Ref       string // the request's id or client_id, the sale, or the reference
	PaymentID string
	Amount    Amount
}

// Leftover is what the lists do not agree on.
type Leftover struct {
	Cause     Cause
	Remedy    Remedy
	Request   RequestID
	Sale      SaleID
	Reference string
	PaymentID string
	Entry     int       // of the statement; 0: it is on none
	TillRow   int       // of the till's list; 0
	Amount    Amount    // as the list that has it says
	Expected  Amount    // what another says; 0: nothing
	At        time.Time // when it was paid or booked
}

// Reconciliation is how the lists compare.
type Reconciliation struct {
	Paid      int // payments of the span, ours
	PaidSum   Amount
	Entries   int // of the statement
	Credits   Amount
	Debits    Amount
	TillRows  int
	Matched   int // payments that all lists agree on
	Sum       Amount
	Leftovers []Leftover
}

// booked is a payment of ours, and where else it was found.
type booked struct {
	r     *Request
	p     *Payment
	open  *Exception
	in    bool // of the span
	entry *StatementEntry
	row   *TillRow
}

// books are our payments, to be found by whatever names them.
type books struct {
	all       []*booked
	byPayment map[string]*booked
	byRequest map[string][]*booked
	byName    map[string][]*booked // sale, reference, client_id
	requests  map[string]*Request
	named     map[string]*Request // nil: several
}

func newBooks(requests []*Request, from, to time.Time) *books {
	b := &books{byPayment: map[string]*booked{}, byRequest: map[string][]*booked{}, byName: map[string][]*booked{}, requests: map[string]*Request{}, named: map[string]*Request{}}
	for _, r := range requests {
		b.requests[string(r.ID)] = r
		names := map[string]bool{r.Content.Reference: true, string(r.Sale): true, r.ClientID: true}
		delete(names, "")
		for n := range names {
			if _, twice := b.named[n]; twice {
				b.named[n] = nil
			} else {
				b.named[n] = r
			}
		}
		for i := range r.Payments {
			p := &r.Payments[i]
			if p.Of != "" {
				continue // money that stands for this one, and came for another
			}
			one := &booked{r: r, p: p, open: r.openExceptionOf(p.ID), in: !p.PaidAt.Before(from) && p.PaidAt.Before(to)}
			b.all = append(b.all, one)
			b.byPayment[p.ID] = one
			b.byRequest[string(r.ID)] = append(b.byRequest[string(r.ID)], one)
			for n := range names {
				b.byName[n] = append(b.byName[n], one)
			}
		}
	}
	return b
}

// refs are what an entry names: its ids, and what stands in its text.
func (e *StatementEntry) refs() []string {
	list := slices.Clone(e.Refs)
	if text := strings.TrimSpace(e.Text); text != "" {
		list = append(list, text)
		list = append(list, strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n,;/+", r) })...)
	}
	return list
}

// find is the payment that an entry is about: by the bank's own id, by the request's, or
// by a name that is one payment's alone. Of several of one request, the one with the
// entry's amount goes first, and each is found once.
func (b *books) find(e *StatementEntry) *booked {
	free := func(list []*booked) (best *booked) {
		for _, one := range list {
			if one.entry == nil && (best == nil || best.p.Money.Amount != e.Amount && one.p.Money.Amount == e.Amount) {
				best = one
			}
		}
		return best
	}
	refs := e.refs()
	for _, ref := range refs {
		if one := b.byPayment[ref]; one != nil && one.entry == nil {
			return one
		}
	}
	for _, ref := range refs {
		if id, ok := ParseRequestID(ref); ok {
			if one := free(b.byRequest[string(id)]); one != nil {
				return one
			}
		}
	}
	for _, ref := range refs {
		if b.named[ref] != nil {
			if one := free(b.byName[ref]); one != nil {
				return one
			}
		}
	}
	return nil
}

// about is the request that an entry names, whether or not it was paid.
func (b *books) about(e *StatementEntry) *Request {
	for _, ref := range e.refs() {
		if id, ok := ParseRequestID(ref); ok && b.requests[string(id)] != nil {
			return b.requests[string(id)]
		}
		if r := b.named[ref]; r != nil {
			return r
		}
	}
	return nil
}

// Reconcile compares lists about the span from to to. requests are those paid in it, and
// whatever others the lists name. A nil list was not given: nothing is left over for
// not being on it. It is a function of what it is given alone.
func Reconcile(requests []*Request, from, to time.Time, st *Statement, till []TillRow) *Reconciliation {
	b := newBooks(requests, from, to)
	rec := &Reconciliation{TillRows: len(till)}
	add := func(cause Cause, l Leftover) {
		l.Cause, l.Remedy = cause, remedies[cause]
		rec.Leftovers = append(rec.Leftovers, l)
	}
	if st != nil {
		rec.Entries = len(st.Entries)
		for i := range st.Entries {
			e := &st.Entries[i]
			if e.Amount < 0 {
				rec.Debits += e.Amount
			} else {
				rec.Credits += e.Amount
			}
			b.enter(e, add)
		}
	}
	for i := range till {
		b.ring(&till[i], add)
	}
	for _, one := range b.all {
		if !one.in {
			continue
		}
		rec.Paid++
		rec.PaidSum += one.p.Money.Amount
		l := leftoverOf(one.r)
		l.PaymentID, l.Amount, l.At = one.p.ID, one.p.Money.Amount, one.p.PaidAt
		if one.entry != nil {
			l.Entry = one.entry.No
		}
		if one.row != nil {
			l.TillRow = one.row.No
		}
		switch e := one.entry; {
		case one.open != nil:
			l.Expected = one.r.Content.Amount
			add(Cause(one.open.Kind), l)
		case st != nil && e == nil:
			add(CauseNotArrived, l)
		case e != nil && e.Amount != one.p.Money.Amount:
			l.Amount, l.Expected = e.Amount, one.p.Money.Amount
			cause := CauseFee
			if e.Amount > one.p.Money.Amount || e.Charges > 0 && e.Amount+e.Charges != one.p.Money.Amount {
				cause = CauseWrongAmount
			}
			add(cause, l)
		case till != nil && one.row == nil && one.p.Counts:
			add(CauseNotInTill, l)
		case one.row != nil && one.row.Amount != one.p.Money.Amount:
			l.Expected = one.row.Amount
			add(CauseWrongAmount, l)
		default:
			rec.Matched++
			rec.Sum += one.p.Money.Amount
		}
	}
	order := func(c Cause) int { return slices.Index(Causes, c) }
	slices.SortStableFunc(rec.Leftovers, func(a, b Leftover) int {
		return cmp.Or(cmp.Compare(order(a.Cause), order(b.Cause)), cmp.Compare(a.Entry, b.Entry), cmp.Compare(a.TillRow, b.TillRow), strings.Compare(string(a.Request), string(b.Request)))
	})
	return rec
}

func leftoverOf(r *Request) Leftover {
	if r == nil {
		return Leftover{}
	}
	return Leftover{Request: r.ID, Sale: r.Sale, Reference: r.Content.Reference}
}

// enter finds what one entry of the statement is about.
func (b *books) enter(e *StatementEntry, add func(Cause, Leftover)) {
	if e.Amount >= 0 && !e.Fee {
		if one := b.find(e); one != nil {
			one.entry = e
			return
		}
	}
	r := b.about(e)
	l := leftoverOf(r)
	l.Entry, l.Amount, l.At = e.No, e.Amount, e.BookedAt
	if len(e.Refs) > 0 {
		l.PaymentID = e.Refs[0]
	}
	switch {
	case e.Fee:
		add(CauseFee, l)
	case e.Amount < 0:
		if !b.wentBack(e, r) {
			add(CauseUnknown, l)
		}
	case r == nil:
		add(CauseUnknown, l)
	default: // the bank has money for it that nobody told us of
		l.Expected = r.Content.Amount
		switch {
		case r.Status == Paid:
			add(CauseDuplicate, l)
		case r.Status == Expired:
			add(CauseLate, l)
		case r.Status == Cancelled:
			add(CauseAfterCancel, l)
		case r.Content.Amount > 0 && r.Content.Amount != e.Amount:
			add(CauseWrongAmount, l)
		default:
			add(CauseUnknown, l) // asking the bank makes it known
		}
	}
}

// wentBack reports whether a debit is a refund of ours.
func (b *books) wentBack(e *StatementEntry, r *Request) bool {
	refs := e.refs()
	fits := func(r *Request) bool {
		for _, f := range r.Refunds {
			if f.Amount == -e.Amount && f.Status != RefundFailed {
				return true
			}
		}
		return false
	}
	if r != nil && fits(r) {
		return true
	}
	for _, ref := range refs {
		if one := b.byPayment[ref]; one != nil && fits(one.r) {
			return true
		}
	}
	for _, r := range b.requests {
		for _, f := range r.Refunds {
			if slices.Contains(refs, string(f.ID)) && f.Amount == -e.Amount {
				return true
			}
		}
	}
	return false
}

// ring finds what one row of the till's list is about.
func (b *books) ring(row *TillRow, add func(Cause, Leftover)) {
	var list []*booked
	if one := b.byPayment[row.PaymentID]; one != nil {
		list = []*booked{one}
	} else if id, ok := ParseRequestID(row.Ref); ok && b.requests[string(id)] != nil {
		list = b.byRequest[string(id)]
	} else {
		list = b.byName[row.Ref]
	}
	var best *booked
	for _, one := range list {
		if one.row != nil {
			continue
		}
		if best == nil || best.open != nil && one.open == nil || (best.open != nil || one.open == nil) && best.p.Money.Amount != row.Amount && one.p.Money.Amount == row.Amount {
			best = one
		}
	}
	if best != nil {
		best.row = row
		return
	}
	r := b.named[row.Ref]
	if id, ok := ParseRequestID(row.Ref); ok && r == nil {
		r = b.requests[string(id)]
	}
	if r != nil && r.EndReason == ByOtherMeans {
		return // paid in cash, and both know it
	}
	l := leftoverOf(r)
	l.TillRow, l.Amount = row.No, row.Amount
	if r == nil {
		l.Reference = row.Ref
	}
	add(CauseOnlyInTill, l)
}
