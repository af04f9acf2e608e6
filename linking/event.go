package linking

import (
	"strconv"
	"time"
)

// EventType names what happened. The list is closed and documented one by one.
type EventType string

const (
	CodeMade     EventType = "code.made"
	CodeAttached EventType = "code.attached"
	CodeDetached EventType = "code.detached"
	CodeScanned  EventType = "code.scanned"
	CodeChanged  EventType = "code.changed"

	RequestCreated    EventType = "request.created"
	RequestChanged    EventType = "request.changed"
	RequestPreparing  EventType = "request.preparing"
	RequestActive     EventType = "request.active"
	RequestRejected   EventType = "request.rejected"
	RequestStalled    EventType = "request.stalled"
	RequestOpened     EventType = "request.opened"
	RequestPaying     EventType = "request.paying" // the pay click
	RequestProcessing EventType = "request.processing"
	RequestClosing    EventType = "request.closing"
	RequestReview     EventType = "request.review"
	RequestPaid       EventType = "request.paid"
	RequestExpired    EventType = "request.expired"
	RequestCancelled  EventType = "request.cancelled"
	RequestRefunded   EventType = "request.refunded"

	RefundFailedEvent EventType = "refund.failed"
	ExceptionOpened   EventType = "exception.opened"
	ExceptionDecided  EventType = "exception.decided"
	DeliveryChanged   EventType = "delivery.changed"
	ReadingRecorded   EventType = "reading.recorded"
	ReadingHeld       EventType = "reading.held"
	HoldReleased      EventType = "hold.released"
	BankChanged       EventType = "bank.changed"
)

// EventTypes lists every type.
var EventTypes = []EventType{
	CodeMade, CodeAttached, CodeDetached, CodeScanned, CodeChanged,
	RequestCreated, RequestChanged, RequestPreparing, RequestActive, RequestRejected, RequestStalled, RequestOpened,
	RequestPaying, RequestProcessing, RequestClosing, RequestReview, RequestPaid, RequestExpired, RequestCancelled,
	RequestRefunded, RefundFailedEvent, ExceptionOpened, ExceptionDecided, DeliveryChanged, ReadingRecorded, ReadingHeld,
	HoldReleased, BankChanged,
}

// statusEvent is the event of entering a status.
var statusEvent = map[Status]EventType{
	Unvalued: RequestChanged, Preparing: RequestPreparing, Active: RequestActive, Processing: RequestProcessing,
	Closing: RequestClosing, Review: RequestReview, Paid: RequestPaid,
	Expired: RequestExpired, Cancelled: RequestCancelled,
}

// Event is a fact about one merchant's codes and requests: the audit trail, what
// tills stream, and what webhooks carry. It holds no payer's data.
type Event struct {
	Seq         uint64        `cbor:"-"` // given by the log
	Type        EventType     `cbor:"1,keyasint"`
	At          time.Time     `cbor:"2,keyasint"`
	Merchant    MerchantID    `cbor:"-"` // the log's name
	Outlet      OutletID      `cbor:"3,keyasint,omitempty"`
	Code        Token         `cbor:"4,keyasint,omitempty"`
	Epoch       uint64        `cbor:"5,keyasint,omitempty"`
	Request     *EventRequest `cbor:"6,keyasint,omitempty"`
	Payment     *Payment      `cbor:"7,keyasint,omitempty"`
	Refund      *Refund       `cbor:"8,keyasint,omitempty"`
	Exception   *Exception    `cbor:"9,keyasint,omitempty"`
	Late        bool          `cbor:"10,keyasint,omitempty"` // paid after its time, by the bank's clock, or by a decision
	DisplacedBy RequestID     `cbor:"11,keyasint,omitempty"`
	Tender      *Tender       `cbor:"12,keyasint,omitempty"` // set when it changed, and on every end
	By          string        `cbor:"13,keyasint,omitempty"` // the key or person; empty: the bank or the clock
	Batch       *EventBatch   `cbor:"14,keyasint,omitempty"`
	Reading     *EventReading `cbor:"20,keyasint,omitempty"`
	Bank        *EventBank    `cbor:"21,keyasint,omitempty"`
}

// EventBatch is what was done to a batch of codes, or a part of it.
type EventBatch struct {
	ID     BatchID    `cbor:"1,keyasint"`
	Codes  int        `cbor:"2,keyasint"`           // how many it is about
	From   uint64     `cbor:"3,keyasint,omitempty"` // the first and last serial of a mark, counted from 0
	To     uint64     `cbor:"4,keyasint,omitempty"`
	Status CodeStatus `cbor:"5,keyasint,omitempty"`
	Stock  Stock      `cbor:"6,keyasint,omitempty"`
}

// EventRequest is the request as it stood when the event happened.
type EventRequest struct {
	ID        RequestID         `cbor:"1,keyasint"`
	ClientID  string            `cbor:"2,keyasint,omitempty"`
	Sale      SaleID            `cbor:"3,keyasint,omitempty"`
	Reference string            `cbor:"4,keyasint,omitempty"`
	Status    Status            `cbor:"5,keyasint"`
	Revision  int               `cbor:"6,keyasint,omitempty"`
	Amount    Amount            `cbor:"7,keyasint,omitempty"`
	Currency  Currency          `cbor:"8,keyasint,omitempty"`
	Paid      Amount            `cbor:"9,keyasint,omitempty"`
	Refunded  Amount            `cbor:"10,keyasint,omitempty"`
	EndReason EndReason         `cbor:"11,keyasint,omitempty"`
	Metadata  map[string]string `cbor:"12,keyasint,omitempty"`
}

func (r *Request) forEvent() *EventRequest {
	return &EventRequest{
		ID: r.ID, ClientID: r.ClientID, Sale: r.Sale, Reference: r.Content.Reference,
		Status: r.Status, Revision: r.Revision, Amount: r.Content.Amount, Currency: r.Content.Currency,
		Paid: r.PaidAmount(), Refunded: r.RefundedAmount(), EndReason: r.EndReason, Metadata: r.Metadata,
	}
}

// ID names the event for ever: the merchant and its number in his log.
func (e *Event) ID() string { return string(e.Merchant) + "-" + strconv.FormatUint(e.Seq, 10) }
