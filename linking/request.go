package linking

import (
	"slices"
	"time"
)

// Status is where a payment request stands. Only an active one can be paid.
type Status string

const (
	// Draft is being written; the bank knows nothing of it.
	Draft Status = "draft"
	// Unvalued is a bill whose amount is not known yet.
	Unvalued Status = "unvalued"
	// Preparing has an amount that the bank has not confirmed. After a crash the
	// sweeper asks the bank what it holds before anything is sent again.
	Preparing Status = "preparing"
	// Active means that the bank holds exactly this revision.
	Active Status = "active"
	// Processing: the payer has confirmed at the bank, the money is not final.
	Processing Status = "processing"
	// Closing was asked to end; the bank has not confirmed that nobody can pay any
	// more. The sweeper asks until it has.
	Closing Status = "closing"
	// Review: money arrived that fits no rule; a person or the merchant's rule decides.
	Review Status = "review"
	// Paid: the bank says that the right money arrived.
	Paid Status = "paid"
	// Expired is past its time, and the bank confirms that it cannot be paid.
	Expired Status = "expired"
	// Cancelled was ended by the merchant, and the bank confirms that it cannot be paid.
	Cancelled Status = "cancelled"
)

// Statuses lists every status.
var Statuses = []Status{Draft, Unvalued, Preparing, Active, Processing, Closing, Review, Paid, Expired, Cancelled}

// Known reports whether s is a status at all.
func (s Status) Known() bool { return slices.Contains(Statuses, s) }

// Final reports whether nobody can ever pay the request again.
func (s Status) Final() bool { return s == Paid || s == Expired || s == Cancelled }

// EndReason says why a request ended or was asked to end.
type EndReason string

const (
	ByCancel        EndReason = "cancel"
	ByExpiry        EndReason = "expiry"
	BySwap          EndReason = "swap"           // another request took its place on the code
	ByReplace       EndReason = "replaced"       // a newer request of the same sale takes its place
	ByReturn        EndReason = "return"         // money that fitted no rule was sent back
	ByDetach        EndReason = "detach"         // its code stopped showing it
	ByOtherMeans    EndReason = "paid_otherwise" // cash, card, at the office
	ByBankRejection EndReason = "bank_rejected"
	ByBank          EndReason = "bank_closed" // the bank ended it of its own accord
	BySalePaid      EndReason = "sale_paid"   // its sale was paid by an earlier request
)

// Origin says how a request was made, which decides what a detach does to it.
type Origin string

const (
	MadeByLink    Origin = "link"    // by PUT …/link: it lives and ends with the code
	MadeByRequest Origin = "request" // by POST /v1/requests: it has a page of its own
	MadeElsewhere Origin = "unknown" // the bank names it as ours, and we know nothing of it: records were lost
)

// Content is what a payer is asked for. A change of it is a new revision.
type Content struct {
	Amount    Amount    `cbor:"1,keyasint,omitempty"` // 0: not valued yet
	Currency  Currency  `cbor:"2,keyasint"`
	Reference string    `cbor:"3,keyasint,omitempty"`
	ExpiresAt time.Time `cbor:"4,keyasint,omitzero"` // zero: open-ended
	Lines     []Line    `cbor:"5,keyasint,omitempty"`
	VATExtra  bool      `cbor:"6,keyasint,omitempty"` // line prices are without VAT
	Min       Amount    `cbor:"7,keyasint,omitempty"` // with Max: the payer chooses an amount in this range
	Max       Amount    `cbor:"8,keyasint,omitempty"`
}

// Request is an ask for money.
//
// The numbers in the tags are how it is stored: a number is never used again for
// something else. See codec.go.
type Request struct {
	ID        RequestID  `cbor:"1,keyasint"`
	Merchant  MerchantID `cbor:"2,keyasint"`
	Outlet    OutletID   `cbor:"3,keyasint,omitempty"`
	ClientID  string     `cbor:"4,keyasint,omitempty"` // the caller's own id, unique per merchant for ever
	Sale      SaleID     `cbor:"5,keyasint,omitempty"`
	Origin    Origin     `cbor:"6,keyasint,omitempty"`
	Status    Status     `cbor:"7,keyasint"`
	Content   Content    `cbor:"8,keyasint"`
	Revision  int        `cbor:"9,keyasint"`            // counts what the bank was asked for; 0 until there is an amount
	Confirmed int        `cbor:"10,keyasint,omitempty"` // the last revision the bank confirmed
	Older     []Revision `cbor:"11,keyasint,omitempty"` // earlier revisions, oldest first

	ValueLater  bool              `cbor:"12,keyasint,omitempty"` // made to be valued later
	Note        string            `cbor:"13,keyasint,omitempty"` // for staff; no payer ever sees it
	Methods     []string          `cbor:"14,keyasint,omitempty"` // empty: all the bank offers
	Manual      bool              `cbor:"15,keyasint,omitempty"` // authorise now, capture later
	Customer    Customer          `cbor:"16,keyasint,omitzero"`
	Context     string            `cbor:"17,keyasint,omitempty"`
	ReturnURL   string            `cbor:"18,keyasint,omitempty"`
	Metadata    map[string]string `cbor:"19,keyasint,omitempty"`
	FiscalURL   string            `cbor:"20,keyasint,omitempty"` // the till's own fiscal receipt
	Replaces    RequestID         `cbor:"21,keyasint,omitempty"`
	DisplacedBy RequestID         `cbor:"22,keyasint,omitempty"`
	AskedBy     KeyID             `cbor:"23,keyasint,omitempty"` // the key that made it

	Code   Token     `cbor:"30,keyasint,omitempty"` // the code that shows it now
	Epoch  uint64    `cbor:"31,keyasint,omitempty"` // of the link in which it is, or was last, shown
	OnCode Token     `cbor:"32,keyasint,omitempty"` // the code that shows it or showed it last
	After  RequestID `cbor:"33,keyasint,omitempty"` // not sent to the bank until that request of the same sale is gone
	Next   RequestID `cbor:"34,keyasint,omitempty"` // the request that waits for this one

	EndAsked  bool        `cbor:"40,keyasint,omitempty"`
	EndReason EndReason   `cbor:"41,keyasint,omitempty"` // the first reason asked; kept when it ends
	CreatedAt time.Time   `cbor:"42,keyasint"`
	OpenedAt  time.Time   `cbor:"43,keyasint,omitzero"` // a human opened it
	PressedAt time.Time   `cbor:"44,keyasint,omitzero"` // the last pay click
	PaidAt    time.Time   `cbor:"45,keyasint,omitzero"`
	EndedAt   time.Time   `cbor:"46,keyasint,omitzero"`
	Since     time.Time   `cbor:"47,keyasint,omitzero"`  // when the present status began
	Stalled   bool        `cbor:"48,keyasint,omitempty"` // the till was told that preparing takes long
	Presses   []ScanNonce `cbor:"49,keyasint,omitempty"` // scans that pressed pay, newest last

	Payments   []Payment   `cbor:"50,keyasint,omitempty"`
	Refunds    []Refund    `cbor:"51,keyasint,omitempty"`
	Exceptions []Exception `cbor:"52,keyasint,omitempty"`

	Bank BankSide `cbor:"60,keyasint,omitzero"`
}

// Revision is what an earlier revision asked for.
type Revision struct {
	No        int       `cbor:"1,keyasint"`
	Amount    Amount    `cbor:"2,keyasint,omitempty"`
	ExpiresAt time.Time `cbor:"3,keyasint,omitzero"`
	Reference string    `cbor:"4,keyasint,omitempty"`
	Until     time.Time `cbor:"5,keyasint"` // when the next one replaced it
}

// Payment is money the bank says arrived.
type Payment struct {
	ID     string    `cbor:"1,keyasint"` // the bank's id
	Money  Money     `cbor:"2,keyasint"`
	PaidAt time.Time `cbor:"3,keyasint"` // the bank's time
	Way    string    `cbor:"4,keyasint,omitempty"`
	Counts bool      `cbor:"5,keyasint,omitempty"` // it is what the request asked for, or was accepted as that
	Of     RequestID `cbor:"6,keyasint,omitempty"` // the request it came for at the bank; empty: this one
}

// Refund is money that goes back.
type Refund struct {
	ID        RefundID     `cbor:"1,keyasint"`
	PaymentID string       `cbor:"2,keyasint"`
	Amount    Amount       `cbor:"3,keyasint"`
	Status    RefundStatus `cbor:"4,keyasint"`
	Reason    string       `cbor:"5,keyasint,omitempty"`
	AskedAt   time.Time    `cbor:"6,keyasint"`
	Sent      bool         `cbor:"7,keyasint,omitempty"`
	Counted   bool         `cbor:"8,keyasint,omitempty"` // the payment counted when it was asked for
}

// ExceptionKind is how money came outside the rules. The list is closed.
type ExceptionKind string

const (
	LateMoney    ExceptionKind = "late"         // after the request had expired
	DoubleMoney  ExceptionKind = "duplicate"    // the sale had less than that left
	WrongMoney   ExceptionKind = "wrong_amount" // not what the latest revision asks for
	AfterCancel  ExceptionKind = "after_cancel"
	UnknownMoney ExceptionKind = "unknown" // for no request we know
)

// Exception is money outside the rules: recorded, shown, decided, never lost.
type Exception struct {
	ID        ExceptionID   `cbor:"1,keyasint"`
	Kind      ExceptionKind `cbor:"2,keyasint"`
	PaymentID string        `cbor:"3,keyasint"`
	Money     Money         `cbor:"4,keyasint"`
	OpenedAt  time.Time     `cbor:"5,keyasint"`
	Decision  string        `cbor:"6,keyasint,omitempty"` // "", "accepted", "returned"
	DecidedAt time.Time     `cbor:"7,keyasint,omitzero"`
	DecidedBy string        `cbor:"8,keyasint,omitempty"` // a key's id, or "rule"
}

// BankSide is what stands between us and the bank about one request.
type BankSide struct {
	Rail       string       `cbor:"1,keyasint,omitempty"`
	Connection ConnectionID `cbor:"2,keyasint,omitempty"`
	Charge     Charge       `cbor:"3,keyasint,omitempty"`
	Sent       bool         `cbor:"4,keyasint,omitempty"` // it may be known to the bank
	Known      bool         `cbor:"5,keyasint,omitempty"` // the bank has named it in an answer
	State      BankStatus   `cbor:"6,keyasint,omitempty"` // the bank's last word
	Tag        string       `cbor:"7,keyasint,omitempty"`
	Way        Way          `cbor:"8,keyasint,omitzero"`
	Op         BankOp       `cbor:"9,keyasint,omitzero"`   // the call under way
	Unsure     bool         `cbor:"10,keyasint,omitempty"` // the last call's outcome is unknown: ask before sending
	Refused    bool         `cbor:"11,keyasint,omitempty"` // it refused the present revision; waits for a value or a cancel
	Tries      int          `cbor:"12,keyasint,omitempty"` // failed calls since the last good one
	NextAt     time.Time    `cbor:"13,keyasint,omitzero"`  // not before
	LastError  string       `cbor:"14,keyasint,omitempty"`
	Capture    bool         `cbor:"15,keyasint,omitempty"` // the merchant wants the authorised money
	Polls      int          `cbor:"16,keyasint,omitempty"` // questions asked since the last pay click
	PollAt     time.Time    `cbor:"17,keyasint,omitzero"`  // when to ask next without being told
	Alone      bool         `cbor:"18,keyasint,omitempty"` // the rail has no list: it is asked for by itself
	PutAt      time.Time    `cbor:"19,keyasint,omitzero"`  // when it was last sent
	BankID     string       `cbor:"20,keyasint,omitempty"` // the bank's own id, where it makes one

	// On a code that the bank resolves:
	Link      *BankLink `cbor:"21,keyasint,omitempty"` // the location that shall show it
	LinkCode  Token     `cbor:"22,keyasint,omitempty"` // the code it is printed in
	LinkReady bool      `cbor:"23,keyasint,omitempty"` // the location is free for it
	LinkHeld  bool      `cbor:"24,keyasint,omitempty"` // the location may show it, and has to be emptied once it is gone
	LinkSeen  bool      `cbor:"25,keyasint,omitempty"` // the bank said that the location shows it
}

// StepKind is what is to be done next at the bank.
type StepKind string

const (
	NoStep      StepKind = ""
	StepPut     StepKind = "put"
	StepClose   StepKind = "close"
	StepGet     StepKind = "get"
	StepCapture StepKind = "capture"
	StepRefund  StepKind = "refund"
	StepLook    StepKind = "look"   // ask what a code's location shows
	StepUnlink  StepKind = "unlink" // empty a code's location
)

// BankOp is a call under way. Whoever finds it past Until may assume that its
// process died, and asks the bank first.
type BankOp struct {
	Kind     StepKind  `cbor:"1,keyasint,omitempty"`
	ID       uint64    `cbor:"2,keyasint,omitempty"` // random: tells one attempt from the next
	Until    time.Time `cbor:"3,keyasint,omitzero"`
	Revision int       `cbor:"4,keyasint,omitempty"` // what a put asks for
	Refund   RefundID  `cbor:"5,keyasint,omitempty"`
	First    bool      `cbor:"6,keyasint,omitempty"` // nothing of the request was sent before
	Linked   bool      `cbor:"7,keyasint,omitempty"` // a put that names a code's location
}

// StatusAt is the status at now. From the instant of ExpiresAt a request is no
// longer payable, whether or not the sweeper has written that down yet: a closing
// that computed expiry yields still has to be confirmed by the bank.
func (r *Request) StatusAt(now time.Time) Status {
	return statusAt(r.Status, r.Content.ExpiresAt, now)
}

func statusAt(s Status, expires, now time.Time) Status {
	if !expires.IsZero() && !now.Before(expires) {
		switch s {
		case Draft, Unvalued, Preparing, Active:
			return Closing
		}
	}
	return s
}

func (r *Request) expiresBy(now time.Time) bool {
	return !r.Content.ExpiresAt.IsZero() && !now.Before(r.Content.ExpiresAt)
}

// At is the request as a revision asked for it; nil if there was none of that number.
func (r *Request) At(revision int) *Request {
	if revision == r.Revision {
		return r
	}
	for _, old := range r.Older {
		if old.No == revision {
			then := *r
			then.Revision, then.Content.Amount, then.Content.ExpiresAt, then.Content.Reference = old.No, old.Amount, old.ExpiresAt, old.Reference
			then.Content.Lines = nil
			return &then
		}
	}
	return nil
}

// Open reports whether the request can still become paid without a decision.
func (r *Request) Open() bool { return !r.Status.Final() }

// PaidAmount is the money that counts, before refunds.
func (r *Request) PaidAmount() (sum Amount) {
	for _, p := range r.Payments {
		if p.Counts {
			sum += p.Money.Amount
		}
	}
	return sum
}

// RefundedAmount is what went back of the money that counts.
func (r *Request) RefundedAmount() (sum Amount) {
	for _, f := range r.Refunds {
		if f.Status == RefundDone && f.Counted {
			sum += f.Amount
		}
	}
	return sum
}

func (r *Request) payment(id string) *Payment {
	i := slices.IndexFunc(r.Payments, func(p Payment) bool { return p.ID == id })
	if i < 0 {
		return nil
	}
	return &r.Payments[i]
}

// refundable is what may still be sent back of one payment: pending refunds count.
func (r *Request) refundable(p *Payment) Amount {
	left := p.Money.Amount
	for _, f := range r.Refunds {
		if f.PaymentID == p.ID && f.Status != RefundFailed {
			left -= f.Amount
		}
	}
	return left
}

func (r *Request) openException() *Exception {
	i := slices.IndexFunc(r.Exceptions, func(e Exception) bool { return e.Decision == "" })
	if i < 0 {
		return nil
	}
	return &r.Exceptions[i]
}

func (r *Request) pressedBy(n ScanNonce) bool { return slices.Contains(r.Presses, n) }

// asks reports whether money is what the latest revision asks for.
func (c *Content) asks(m Money) bool {
	if m.Currency != c.Currency || c.Amount == 0 {
		return false
	}
	if c.Max > 0 {
		return m.Amount >= c.Min && m.Amount <= c.Max
	}
	return m.Amount == c.Amount
}

// same reports whether two contents ask for the same thing. When they end is no
// part of it: a till that repeats its call asks for the same sale a second later.
func (c *Content) same(o *Content) bool {
	return c.Amount == o.Amount && c.Currency == o.Currency && c.Reference == o.Reference &&
		c.VATExtra == o.VATExtra && c.Min == o.Min && c.Max == o.Max && slices.Equal(c.Lines, o.Lines)
}

// Line is one line of what is paid for.
type Line struct {
	Description string `cbor:"1,keyasint"`
	Quantity    string `cbor:"2,keyasint"` // a decimal with at most 3 digits after the point
	UnitPrice   Amount `cbor:"3,keyasint"`
	VATRate     string `cbor:"4,keyasint"` // percent, a decimal with at most 2 digits after the point
}
