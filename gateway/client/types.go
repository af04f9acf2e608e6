package client

// What tills send and get. Amounts are whole minor units, times RFC 3339 in UTC.
// Fields that a till has no use for are left out; the reference has them all.

// NewRequest asks for money. Amount may be left out if there are lines.
type NewRequest struct {
	Amount    int64             `json:"amount,omitempty"`
	Currency  string            `json:"currency,omitempty"` // the merchant's unless said
	Reference string            `json:"reference,omitempty"`
	ClientID  string            `json:"client_id,omitempty"`
	Sale      string            `json:"sale,omitempty"`
	SaleTotal int64             `json:"sale_total,omitempty"`
	Lines     []NewLine         `json:"lines,omitempty"`
	ExpiresIn string            `json:"expires_in,omitempty"` // such as "15m"
	Note      string            `json:"note,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
}

// NewLine is one line of a sale.
type NewLine struct {
	Description string `json:"description"`
	Quantity    string `json:"quantity"`
	UnitPrice   int64  `json:"unit_price"`
	VATRate     string `json:"vat_rate,omitempty"`
}

// Request is a payment request as it stands.
type Request struct {
	ID             string      `json:"id"`
	ClientID       string      `json:"client_id"`
	Sale           string      `json:"sale"`
	Status         string      `json:"status"`
	EndReason      string      `json:"end_reason"`
	Amount         int64       `json:"amount"`
	Currency       string      `json:"currency"`
	Reference      string      `json:"reference"`
	Revision       int         `json:"revision"`
	Code           string      `json:"code"`
	Pairing        string      `json:"pairing"` // the word that the payer's page shows too
	URL            string      `json:"url"`     // a page of its own
	ExpiresAt      string      `json:"expires_at"`
	PaidAt         string      `json:"paid_at"`
	PaidAmount     int64       `json:"paid_amount"`
	RefundedAmount int64       `json:"refunded_amount"`
	Payments       []Payment   `json:"payments"`
	Refunds        []Refund    `json:"refunds"`
	Exceptions     []Exception `json:"exceptions"`
	Tender         *Tender     `json:"may_take_other_tender"`
}

// Payment is money that arrived.
type Payment struct {
	ID       string `json:"id"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	PaidAt   string `json:"paid_at"`
	Counts   bool   `json:"counts"`
}

// Refund is money that goes back.
type Refund struct {
	ID        string `json:"id"`
	PaymentID string `json:"payment_id"`
	Amount    int64  `json:"amount"`
	Status    string `json:"status"`
}

// Exception is money outside the rules.
type Exception struct {
	ID        string `json:"id"`
	Kind      string `json:"kind"`
	PaymentID string `json:"payment_id"`
	Amount    int64  `json:"amount"`
	Currency  string `json:"currency"`
	Decision  string `json:"decision"`
}

// Tender says whether the till may take other money, such as cash, for the same sale.
type Tender struct {
	Allowed bool   `json:"allowed"`
	Why     string `json:"why"`
}

// Code is a printed code.
type Code struct {
	ID    string `json:"id"`
	Label string `json:"label"`
	Epoch uint64 `json:"epoch"`
	URL   string `json:"url"`
}

// LinkAnswer is what a code shows, and what became of what it showed.
type LinkAnswer struct {
	Code      Code     `json:"code"`
	Request   *Request `json:"request"`
	Displaced *struct {
		RequestID string `json:"request_id"`
		Status    string `json:"status"`
	} `json:"displaced"`
	Previous *struct {
		RequestID string `json:"request_id"`
		Sale      string `json:"sale"`
		Status    string `json:"status"`
	} `json:"previous"`
	Tender *Tender `json:"may_take_other_tender"` // about what was displaced
}

// Sale is one cart.
type Sale struct {
	ID       string     `json:"id"`
	Currency string     `json:"currency"`
	Total    int64      `json:"total"`
	Paid     int64      `json:"paid"`
	Left     *int64     `json:"left"` // nil: nothing says how much that is
	Open     []string   `json:"open"`
	Requests []*Request `json:"requests"`
}

// Event is what happened; docs/events.md has each type.
type Event struct {
	ID          string        `json:"id"`
	Seq         uint64        `json:"seq"`
	Type        string        `json:"type"`
	At          string        `json:"at"`
	Code        string        `json:"code"`
	Epoch       uint64        `json:"epoch"`
	Request     *EventRequest `json:"request"`
	Payment     *Payment      `json:"payment"`
	Refund      *Refund       `json:"refund"`
	Exception   *Exception    `json:"exception"`
	Late        bool          `json:"late"`
	DisplacedBy string        `json:"displaced_by"`
	Tender      *Tender       `json:"may_take_other_tender"`
}

// EventRequest is the request as it stood when the event happened.
type EventRequest struct {
	ID             string            `json:"id"`
	ClientID       string            `json:"client_id"`
	Sale           string            `json:"sale"`
	Reference      string            `json:"reference"`
	Status         string            `json:"status"`
	Amount         int64             `json:"amount"`
	Currency       string            `json:"currency"`
	PaidAmount     int64             `json:"paid_amount"`
	RefundedAmount int64             `json:"refunded_amount"`
	EndReason      string            `json:"end_reason"`
	Metadata       map[string]string `json:"metadata"`
}
