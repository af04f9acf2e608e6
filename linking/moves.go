package linking

import "time"

// Action is something that happens to a payment request. It has one of three
// voices: a command may be refused, a fact never is, and the clock is right
// whether or not anybody has looked.
type Action string

// Commands, from the merchant or a payer.
const (
	Edit     Action = "edit"    // change a draft
	Submit   Action = "submit"  // a draft is ready
	Value    Action = "value"   // a new amount, expiry or reference
	Cancel   Action = "cancel"  // end it
	Swap     Action = "swap"    // another request took its place on the code
	Capture  Action = "capture" // take the authorised money
	Accept   Action = "accept"  // money outside the rules counts
	Return   Action = "return"  // money outside the rules goes back
	GiveBack Action = "refund"  // money that counted goes back
)

// Expire is the clock's only word.
const Expire Action = "expire"

// Facts, learned from the bank's own answers.
const (
	Confirm     Action = "confirm"      // the bank holds exactly what is wanted
	Drift       Action = "drift"        // the bank holds something else than it had confirmed, or forgot it
	Reject      Action = "reject"       // the bank refuses what is wanted
	Hold        Action = "hold"         // a payment is under way at the bank
	Fail        Action = "fail"         // that payment came to nothing
	EndOfBank   Action = "gone"         // nobody can pay it at the bank any more
	Returned    Action = "returned"     // every payment under review went back
	Settle      Action = "settle"       // the right money arrived
	SettleOther Action = "settle_other" // other money arrived than asked for
	SettleTwice Action = "settle_twice" // the right amount arrived, but the sale has less left
)

// guard narrows a line of the table to requests in some condition.
type guard func(r *Request, now time.Time) bool

// move is one line of the table: what is not listed cannot happen.
type move struct {
	from Status
	on   Action
	when guard // nil: always
	to   Status
}

// moves is the whole machine. The lines of one status and action are tried in
// order; the first whose guard holds decides. The picture is in doc.go, and
// TestMovesAreThePicture holds the two together.
//
// Reason of the least obvious lines: a payer who was faster than a cancel has
// paid (closing, settle → paid), because the bank has the money and it beats our
// clock and our wishes.
var moves = []move{
	{Draft, Edit, nil, Draft},
	{Draft, Submit, hasAmount, Preparing},
	{Draft, Submit, nil, Unvalued},
	{Draft, Cancel, nil, Cancelled},
	{Draft, Expire, nil, Expired},

	{Unvalued, Edit, nil, Unvalued},
	{Unvalued, Value, nil, Preparing},
	{Unvalued, Cancel, nil, Cancelled},
	{Unvalued, Swap, nil, Cancelled},
	{Unvalued, Expire, nil, Expired},

	{Preparing, Value, nil, Preparing},
	{Preparing, Cancel, nil, Closing},
	{Preparing, Swap, nil, Closing},
	{Preparing, Expire, nil, Closing},
	{Preparing, Confirm, nil, Active},
	{Preparing, Reject, neverConfirmed, Cancelled},
	{Preparing, Reject, nil, Preparing},
	{Preparing, Hold, nil, Processing},
	{Preparing, EndOfBank, endedByTime, Expired},
	{Preparing, EndOfBank, nil, Cancelled},

	{Active, Value, nil, Preparing},
	{Active, Cancel, nil, Closing},
	{Active, Swap, nil, Closing},
	{Active, Expire, nil, Closing},
	{Active, Drift, nil, Preparing},
	{Active, Hold, nil, Processing},
	{Active, EndOfBank, endedByTime, Expired},
	{Active, EndOfBank, nil, Cancelled},

	{Processing, Cancel, nil, Processing},
	{Processing, Swap, nil, Processing},
	{Processing, Capture, authorised, Processing},
	{Processing, Fail, wantedGone, Closing},
	{Processing, Fail, unconfirmed, Preparing},
	{Processing, Fail, nil, Active},
	{Processing, EndOfBank, endedByTime, Expired},
	{Processing, EndOfBank, nil, Cancelled},

	{Closing, Cancel, nil, Closing},
	{Closing, Swap, nil, Closing},
	{Closing, Confirm, nil, Closing},
	{Closing, Accept, hasException, Paid}, // the refund of a return failed: it is to be decided again
	{Closing, Return, hasException, Closing},
	{Closing, Hold, nil, Processing},
	{Closing, Reject, neverConfirmedAskedByTime, Expired},
	{Closing, Reject, neverConfirmed, Cancelled},
	{Closing, EndOfBank, askedByTime, Expired},
	{Closing, EndOfBank, nil, Cancelled},

	{Closing, Returned, askedByTime, Expired},
	{Closing, Returned, nil, Cancelled},

	{Review, Accept, nil, Paid},
	{Review, Return, nil, Closing},

	{Paid, GiveBack, nil, Paid},
	{Paid, Accept, hasException, Paid},
	{Paid, Return, hasException, Paid},
	{Paid, SettleOther, nil, Paid},
	{Paid, SettleTwice, nil, Paid},
	{Paid, Settle, nil, Paid},

	{Expired, Accept, hasException, Paid},
	{Expired, Return, hasException, Expired},
	{Expired, Settle, nil, Expired},
	{Expired, SettleOther, nil, Expired},
	{Expired, SettleTwice, nil, Expired},
	{Cancelled, Accept, hasException, Paid},
	{Cancelled, Return, hasException, Cancelled},
	{Cancelled, Settle, nil, Cancelled},
	{Cancelled, SettleOther, nil, Cancelled},
	{Cancelled, SettleTwice, nil, Cancelled},

	{Draft, Settle, nil, Paid},
	{Unvalued, Settle, nil, Paid},
	{Preparing, Settle, nil, Paid},
	{Active, Settle, nil, Paid},
	{Processing, Settle, nil, Paid},
	{Closing, Settle, nil, Paid},
	{Review, Settle, nil, Paid},
	{Draft, SettleOther, nil, Review},
	{Unvalued, SettleOther, nil, Review},
	{Preparing, SettleOther, nil, Review},
	{Active, SettleOther, nil, Review},
	{Processing, SettleOther, nil, Review},
	{Closing, SettleOther, nil, Review},
	{Review, SettleOther, nil, Review},
	{Draft, SettleTwice, nil, Review},
	{Unvalued, SettleTwice, nil, Review},
	{Preparing, SettleTwice, nil, Review},
	{Active, SettleTwice, nil, Review},
	{Processing, SettleTwice, nil, Review},
	{Closing, SettleTwice, nil, Review},
	{Review, SettleTwice, nil, Review},
}

func hasAmount(r *Request, _ time.Time) bool      { return r.Content.Amount > 0 }
func neverConfirmed(r *Request, _ time.Time) bool { return r.Confirmed == 0 }
func authorised(r *Request, _ time.Time) bool     { return r.Bank.State == BankAuthorised }
func unconfirmed(r *Request, _ time.Time) bool    { return r.Confirmed < r.Revision }
func endedByTime(r *Request, _ time.Time) bool    { return r.Bank.State == BankExpired }
func askedByTime(r *Request, _ time.Time) bool    { return r.EndReason == ByExpiry }
func hasException(r *Request, _ time.Time) bool   { return r.openException() != nil }
func wantedGone(r *Request, now time.Time) bool   { return r.EndAsked || r.expiresBy(now) }
func neverConfirmedAskedByTime(r *Request, now time.Time) bool {
	return neverConfirmed(r, now) && askedByTime(r, now)
}

// indexed is moves by status and action.
var indexed = func() map[Status]map[Action][]move {
	m := map[Status]map[Action][]move{}
	for _, v := range moves {
		if m[v.from] == nil {
			m[v.from] = map[Action][]move{}
		}
		m[v.from][v.on] = append(m[v.from][v.on], v)
	}
	return m
}()

// after is the status that a leads to, and whether the table has such a line for
// r as it stands. It looks at the status as stored: whoever asks has first let
// the clock speak.
func (r *Request) after(a Action, now time.Time) (Status, bool) {
	for _, m := range indexed[r.Status][a] {
		if m.when == nil || m.when(r, now) {
			return m.to, true
		}
	}
	return r.Status, false
}

// may refuses a command that the table does not list.
func (r *Request) may(a Action, now time.Time) error {
	if _, ok := r.after(a, now); ok {
		return nil
	}
	if r.Status == Processing && (a == Value || a == Capture) {
		return conflict("payment_in_flight", "A payment is under way: its outcome decides.").with("status", r.Status)
	}
	if r.Status == Paid && (a == Value || a == Cancel) {
		return conflict("already_paid", "The payment request is already paid.").with("status", r.Status)
	}
	return conflict("not_allowed_in_status", "A payment request that is "+string(r.Status)+" does not allow this.").with("status", r.Status)
}
