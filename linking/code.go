package linking

import (
	"time"
)

// CodeKind is what a printed code stands for.
type CodeKind string

const (
	Counter CodeKind = "counter" // a till shows one sale after another
	Bill    CodeKind = "bill"    // one bill, valued later
	Account CodeKind = "account" // one customer's code, month after month
)

// CodeStatus says whether a code still serves.
type CodeStatus string

const (
	CodeActive   CodeStatus = "active"
	CodeVoid     CodeStatus = "void"
	CodeLost     CodeStatus = "lost"
	CodeRetired  CodeStatus = "retired"
	CodeReplaced CodeStatus = "replaced" // a newer code took over
)

// Stock says where a printed code is as a thing of paper.
type Stock string

const (
	StockMade      Stock = "made"
	StockPrinted   Stock = "printed"
	StockDelivered Stock = "delivered"
)

// ResolvedBy says who answers a scan.
type ResolvedBy string

const (
	ByGateway     ResolvedBy = "gateway" // the QR holds our URL
	ByBankPayload ResolvedBy = "bank"    // the QR holds the bank's own payload
)

// Code is a printed QR code. What it shows changes; what is printed never does.
type Code struct {
	Token      Token
	Merchant   MerchantID
	Generation int    // the merchant's key generation that made the token
	Serial     Serial // what the token hides; kept, so that a lost key loses no bound code
	Kind       CodeKind
	Status     CodeStatus
	Stock      Stock
	ResolvedBy ResolvedBy
	Charge     Charge
	Rail       string // empty: the merchant's default
	Outlet     OutletID
	Label      string
	Metadata   map[string]string
	CreatedAt  time.Time

	// Epoch counts the changes of what the code shows.
	Epoch uint64
	// Free says that the epoch before this one showed nothing, so that a scan that
	// waited there may adopt this one.
	Free bool
	// Shown is what the code shows now; nil: nothing.
	Shown *Face
	// Last is the link before: how it ended, and whether by itself.
	Last *PastLink
	// ScannedAt is one more than the epoch at which somebody was last seen to scan;
	// 0: nobody ever.
	ScannedAt uint64
	// ReplacedBy is the code that took over.
	ReplacedBy Token
	// BankLink is the bank's own location that is printed in a bank-resolved code.
	BankLink *BankLink
	// Shows is what the bank's location was last seen to show; empty: nothing.
	Shows RequestID
	// ShowsUnknown says that something was sent since that may have changed it.
	ShowsUnknown bool

	newerBits uint64 // parts of the record that a newer program wrote: kept as they are
	newer     []byte
}

// Face is what a scan needs to know of the attached request. Every commit that
// changes the request rewrites it, so that a scan reads one record.
type Face struct {
	Request   RequestID
	Sale      SaleID
	By        KeyID // who attached it
	Since     time.Time
	Status    Status
	EndReason EndReason
	Revision  int
	Amount    Amount
	Currency  Currency
	ExpiresAt time.Time
	Stalled   time.Time // when preparing began
	Reference string
	Methods   []string
	Origin    Origin
	PaidAt    time.Time
	PayOrigin string // where the pay click leads: "https://bank.example", or "app:"; a page's policy names it
	Lines     []Line // kept only where the merchant's rule may show them before payment: see Service.unveil
	VATExtra  bool
	WordShut  bool // somebody gave a wrong word: the lines come after payment
}

// PastLink is the last span in which a code showed a request.
type PastLink struct {
	Request  RequestID
	Sale     SaleID
	Epoch    uint64
	At       time.Time
	ByItself bool // it ended by payment or expiry, not because somebody detached it
}

// Link is one span in which a code showed a request.
type Link struct {
	Token   Token     `cbor:"1,keyasint"`
	Epoch   uint64    `cbor:"2,keyasint"`
	Request RequestID `cbor:"3,keyasint"`
	Sale    SaleID    `cbor:"4,keyasint,omitempty"`
	From    time.Time `cbor:"5,keyasint"`
	Until   time.Time `cbor:"6,keyasint,omitzero"`
	By      string    `cbor:"7,keyasint,omitempty"` // the key or person that attached it
	EndedBy string    `cbor:"8,keyasint,omitempty"` // the key or person that ended it; empty: it ended by itself
	Why     string    `cbor:"9,keyasint,omitempty"` // "paid", "expiry", "cancel", "swap", "detach", …
	// Pressed is what the scans that pressed pay may know after the link has ended.
	Pressed *PressedFace `cbor:"10,keyasint,omitempty"`
	// Word are the scans that gave the right word, newest last: they may read the lines.
	Word []ScanNonce `cbor:"11,keyasint,omitempty"`
}

// PressedFace is what scans that pressed pay are told about their request, also
// when the code shows another by now.
type PressedFace struct {
	Nonces    []ScanNonce `cbor:"1,keyasint"`
	Status    Status      `cbor:"2,keyasint"`
	Amount    Amount      `cbor:"3,keyasint"`
	Currency  Currency    `cbor:"4,keyasint"`
	Reference string      `cbor:"5,keyasint,omitempty"`
	Revision  int         `cbor:"6,keyasint"`
	PaidAt    time.Time   `cbor:"7,keyasint,omitzero"`
	ExpiresAt time.Time   `cbor:"10,keyasint,omitzero"`
	Lines     []Line      `cbor:"8,keyasint,omitempty"`
	VATExtra  bool        `cbor:"11,keyasint,omitempty"`
	FiscalURL string      `cbor:"9,keyasint,omitempty"`
}

// StatusAt is the shown request's status at now: see Request.StatusAt.
func (f *Face) StatusAt(now time.Time) Status { return statusAt(f.Status, f.ExpiresAt, now) }

// StatusAt is the request's status at now: see Request.StatusAt.
func (f *PressedFace) StatusAt(now time.Time) Status { return statusAt(f.Status, f.ExpiresAt, now) }

// detachesItself reports whether a code of this kind stops showing a request the
// moment it can no longer be paid. A bill goes on telling what became of it.
func (k CodeKind) detachesItself() bool { return k != Bill }

// attach makes the code show r from the next epoch on, in place of what it
// showed.
func (c *Code) attach(r *Request, by KeyID, now time.Time) {
	c.Free = c.Shown == nil
	if c.Shown != nil {
		c.Last = &PastLink{Request: c.Shown.Request, Sale: c.Shown.Sale, Epoch: c.Epoch, At: now}
	}
	c.Epoch++
	c.Shown = &Face{Request: r.ID, Sale: r.Sale, By: by, Since: now, Origin: r.Origin}
	r.Code, r.OnCode, r.Epoch = c.Token, c.Token, c.Epoch
	c.show(r)
}

// show rewrites the face after r has changed.
func (c *Code) show(r *Request) {
	f := c.Shown
	f.Status, f.EndReason, f.Revision = r.Status, r.EndReason, r.Revision
	f.Amount, f.Currency, f.Reference = r.Content.Amount, r.Content.Currency, r.Content.Reference
	f.ExpiresAt, f.Methods, f.PaidAt = r.Content.ExpiresAt, r.Methods, r.PaidAt
	f.PayOrigin = r.Bank.Way.origin()
	f.Stalled = time.Time{}
	if r.Status == Preparing {
		f.Stalled = r.Since
	}
}

// detach makes the code show nothing from the next epoch on.
func (c *Code) detach(byItself bool, now time.Time) {
	c.Last = &PastLink{Request: c.Shown.Request, Sale: c.Shown.Sale, Epoch: c.Epoch, At: now, ByItself: byItself}
	c.Free = false
	c.Epoch++
	c.Shown = nil
}

// AtBank reports whether the bank's location shows what the code is to show, as far as
// is known. A code of ours always does.
func (c *Code) AtBank() bool {
	if c.ResolvedBy != ByBankPayload {
		return true
	}
	want := RequestID("")
	if c.Shown != nil {
		want = c.Shown.Request
	}
	return !c.ShowsUnknown && c.Shows == want
}

// setStatus takes the code out of use, or back. Scans of before are over either way.
func (c *Code) setStatus(s CodeStatus) {
	c.Status = s
	c.Free = false
	c.Epoch++
}
