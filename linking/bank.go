package linking

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Banks opens connections to banks.
type Banks interface {
	// Open returns the bank behind a connection. It makes no call. An error says
	// that the connection's settings cannot work, in a sentence.
	Open(c *Connection) (Bank, error)

	// Seal puts settings and secrets into a connection, the secrets encrypted with a
	// key that no store holds. An *Error of kind Invalid names the setting that cannot
	// work; no bank is called.
	Seal(c *Connection, settings, secrets map[string]string) error

	// Reseal gives a connection other settings and keeps its secrets.
	Reseal(c *Connection, settings map[string]string) error

	// Probe tries a connection for real, step by step: reach, create, get, cancel, and
	// callbacks where the bank has to be told where they go. What it makes at the bank is
	// what ask says, and is ended again. It stops at the first step that fails.
	Probe(ctx context.Context, c *Connection, ask Ask) []ProbeStep
}

// ProbeStep is one step of trying a connection.
type ProbeStep struct {
	Step   string
	OK     bool
	Code   string // of the failure: the bank's own or a word of ours, safe to show to staff
	Detail string
}

// Bank is one merchant's connection to one bank: creditor's side of
// request-to-pay. Every method but Abilities makes at most one call that changes
// something, and each returns within the bank's own deadline.
//
// An answer counts as fact only as far as it is the bank's own word on that
// request: what Put, Close, Capture and Get return is compared with what was
// asked, never assumed. All errors are *BankError.
//
// No method is called inside a commit. Before each call that changes something
// at the bank the intent has been committed; if the process dies before the
// outcome is, the next thing asked is Get.
type Bank interface {
	// Abilities says what this connection can do. It is cheap: at most one call,
	// remembered.
	Abilities(ctx context.Context) (Abilities, error)

	// Put makes the request at the bank, or revises it to what ask says. Putting
	// the same id and revision again changes nothing and answers the same.
	Put(ctx context.Context, ask Ask) (BankState, error)

	// Close asks the bank to make the request unpayable. It returns the state
	// after it: gone, or paid or in flight where the payer was faster.
	Close(ctx context.Context, ref BankRef) (BankState, error)

	// Get returns the bank's word on the request. The error is of class Absent if
	// the bank never heard of it.
	Get(ctx context.Context, ref BankRef) (BankState, error)

	// Capture takes money that is authorised. Class Refused where the rail has no
	// such thing.
	Capture(ctx context.Context, ref BankRef) (BankState, error)

	// Refund returns money of one payment. The same RefundID again changes nothing
	// and answers the present state.
	Refund(ctx context.Context, ask RefundAsk) (BankRefund, error)

	// Changed lists requests the bank has news of since a time, for finding what no
	// callback told: requests paid or ended. Ids that are not ours are left out.
	// next is what to ask for the following time. Class Refused where the rail has
	// no list; then each open request is asked for by itself.
	Changed(ctx context.Context, since time.Time) (ids []RequestID, next time.Time, err error)

	// Callback authenticates and reads a message from the bank. It is a hint and no
	// more: which requests to ask about. An error of class Denied means that the
	// message is not the bank's.
	Callback(ctx context.Context, header http.Header, body []byte) ([]RequestID, error)

	// MakeLink makes a permanent location at the bank for a printed code.
	MakeLink(ctx context.Context, charge Charge) (BankLink, error)

	// LinkShows returns what a location shows at this moment; empty: nothing.
	LinkShows(ctx context.Context, link BankLink) (RequestID, error)

	// Unlink empties a location. At the bank that cancels nothing.
	Unlink(ctx context.Context, link BankLink) error
}

// What a rail may need of a callback beside its headers and body stands in the header
// map under names that no header can have, so that nobody outside can set them.
const (
	// CallbackTarget is the path and query the callback came to.
	CallbackTarget = ":path"

	// CallbackCertificate is the SHA-256 of the sender's TLS certificate, in small hex
	// digits. It is there only if the gateway's own listener has verified the
	// certificate; what a proxy says of one is an ordinary header.
	CallbackCertificate = ":client-certificate"
)

// Charge is the kind of bank request a code or request uses.
type Charge string

const (
	Immediate Charge = "immediate" // payable from now until it expires
	DueDate   Charge = "due_date"  // payable by a day, with the rail's interest, penalty and discounts
)

// Abilities is what a rail, or one connection of it, can do.
type Abilities struct {
	Currencies    []Currency
	MaxExpiry     time.Duration // the longest time a request may stay open; 0: no limit
	OpenEnded     bool          // a request may have no expiry at all
	NeedsDebtor   bool          // due-date charges need the debtor's name and tax id
	Revise        bool          // amount and expiry of an open request can change
	Refund        bool
	Capture       bool // money may be authorised first and captured later
	BankLink      bool // has permanent locations of its own that a printed code can carry
	Changed       bool // can list what changed
	Adjustable    bool // the payer may choose the amount within a range
	EndsItself    bool // the bank ends a request at its expiry without being asked
	ScannedByBank bool // payers scan with the bank's app: codes are resolved by the bank unless the caller says otherwise
	Charges       []Charge
	Methods       []string // ways to pay the bank offers by name, for example "card"; empty: it has none to choose from
}

// BankRef names a request at the bank.
type BankRef struct {
	ID     RequestID
	Charge Charge
	BankID string // the bank's own id for it, where the bank makes one; empty until it was told
	Tag    string // what the bank gave for optimistic locking at the last answer; may be empty
}

// Ask is what the bank is asked to hold.
type Ask struct {
	BankRef
	Revision    int // 1 for the first
	Money       Money
	Min, Max    Amount    // the range the payer may choose from; both 0: exactly Money
	ExpiresAt   time.Time // zero: no end
	TimeLeft    time.Duration
	Reference   string
	Note        string // shown to the payer by the bank, if it shows anything
	Methods     []string
	Manual      bool // authorise now, capture later
	Customer    Customer
	ReturnURL   string // where the payer comes back to
	CallbackURL string
	Link        *BankLink // the location that shall show it; nil: one of its own
}

// Customer is what is known of the payer before he pays. It goes to the bank and
// to deliveries, never into events or logs.
type Customer struct {
	Name    string `cbor:"1,keyasint,omitempty"`
	Email   string `cbor:"2,keyasint,omitempty"`
	Phone   string `cbor:"3,keyasint,omitempty"`
	TaxID   string `cbor:"4,keyasint,omitempty"`
	Address string `cbor:"5,keyasint,omitempty"`
}

// BankStatus is where a request stands at the bank.
type BankStatus string

const (
	BankOpen       BankStatus = "open"       // payable there
	BankAuthorised BankStatus = "authorised" // the payer agreed, the money waits for capture
	BankProcessing BankStatus = "processing" // a payment is under way
	BankPaid       BankStatus = "paid"
	BankClosed     BankStatus = "closed"   // ended at our wish or theirs, not payable
	BankExpired    BankStatus = "expired"  // ended by time, not payable
	BankRejected   BankStatus = "rejected" // the bank refused to hold it
)

// BankState is the bank's word on one request at one moment.
type BankState struct {
	ID        RequestID // as the bank names it; another id than asked for is no answer
	BankID    string    // the bank's own id, where it makes one
	Status    BankStatus
	Revision  int // 0: the bank counts none
	Money     Money
	ExpiresAt time.Time // zero: the bank does not say
	Tag       string
	Way       Way
	Payments  []BankPayment
	Refunds   []BankRefund
	Reason    string // the bank's own code for a refusal or end, for people
}

// BankPayment is money that arrived for a request.
type BankPayment struct {
	ID     string // the bank's id for it, unique at that bank for ever; 1 to 64 printable ASCII
	Money  Money
	PaidAt time.Time
	Method string
}

// RefundAsk is what the bank is asked to send back.
type RefundAsk struct {
	BankRef
	Refund    RefundID
	PaymentID string
	Money     Money
	Reason    string
}

// BankRefund is the bank's word on a refund.
type BankRefund struct {
	ID        string // our RefundID as the bank repeats it
	PaymentID string
	Amount    Amount
	Status    RefundStatus
	Reason    string
}

// RefundStatus is where a refund stands.
type RefundStatus string

const (
	RefundPending RefundStatus = "pending"
	RefundDone    RefundStatus = "done"
	RefundFailed  RefundStatus = "failed"
)

// WayKind is how a payer gets to the bank.
type WayKind string

const (
	Redirect WayKind = "redirect" // a web page of the bank's, URL
	App      WayKind = "app"      // a URL that opens the bank's app
	EMV      WayKind = "emv"      // a payload to copy or scan, for example a BR Code
)

// Way is how a payer gets to the bank with one request. It appears only after
// the pay click.
type Way struct {
	Kind    WayKind   `cbor:"1,keyasint,omitempty"`
	URL     string    `cbor:"2,keyasint,omitempty"`
	Payload string    `cbor:"3,keyasint,omitempty"`
	Until   time.Time `cbor:"4,keyasint,omitzero"` // zero: as long as the request
}

// origin is the part of the way's address that says where it leads, for a page's
// Content-Security-Policy; empty if it leads nowhere.
func (w *Way) origin() string {
	scheme, rest, ok := strings.Cut(w.URL, "://")
	switch {
	case w.Kind != Redirect && w.Kind != App || w.URL == "":
		return ""
	case !ok:
		scheme, _, _ = strings.Cut(w.URL, ":")
		return scheme + ":"
	case scheme != "https" && scheme != "http":
		return scheme + ":"
	}
	host, _, _ := strings.Cut(rest, "/")
	host, _, _ = strings.Cut(host, "?")
	return scheme + "://" + host
}

// BankLink is a bank's own permanent location for a code.
type BankLink struct {
	ID      string `cbor:"1,keyasint,omitempty"`
	Charge  Charge `cbor:"2,keyasint,omitempty"`
	Payload string `cbor:"3,keyasint,omitempty"` // what is printed
}

// BankErrorClass says what a failed call leaves known.
type BankErrorClass string

const (
	BankNotSent BankErrorClass = "not_sent" // nothing reached the bank: it is down, its breaker is open, or too many calls wait
	BankUnknown BankErrorClass = "unknown"  // it may have been done: ask with Get before anything is sent again
	BankRefused BankErrorClass = "refused"  // a well-formed no; sending the same again is useless
	BankAbsent  BankErrorClass = "absent"   // the bank does not know the request
	BankBusy    BankErrorClass = "busy"     // the request's state there forbids it: ask with Get
	BankDenied  BankErrorClass = "denied"   // credentials refused, or a callback that is not the bank's
)

// BankError is the failure of a call to a bank.
type BankError struct {
	Class  BankErrorClass
	Code   string        // the bank's own code or a word of ours, short, safe to show to staff
	Detail string        // a sentence of ours, safe to show to staff; never the bank's free text
	Retry  time.Duration // the bank asks to wait so long; 0: it did not say
	Err    error         // the cause, for the log only
}

func (e *BankError) Error() string {
	return fmt.Sprintf("bank: %s %s: %s: %v", e.Class, e.Code, e.Detail, e.Err)
}

func (e *BankError) Unwrap() error { return e.Err }

// Connection is a merchant's credentials and settings for one rail.
type Connection struct {
	ID        ConnectionID      `cbor:"1,keyasint"`
	Merchant  MerchantID        `cbor:"2,keyasint"`
	Rail      string            `cbor:"3,keyasint"`
	Settings  map[string]string `cbor:"4,keyasint,omitempty"` // not secret, for example "url"
	Sealed    []byte            `cbor:"5,keyasint,omitempty"` // secrets, encrypted with a key outside the store
	CreatedAt time.Time         `cbor:"6,keyasint"`
	Revision  int               `cbor:"7,keyasint,omitempty"` // grows with every change, so that a cached bank is dropped
	Secrets   []string          `cbor:"8,keyasint,omitempty"` // the names of what is sealed
}
