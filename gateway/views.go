package gateway

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"placard/linking"
)

// The JSON of the API. Every field is always there, so that a client never has to
// tell "absent" from "null"; amounts are whole minor units, times whole seconds UTC.

// stamp is a time in the API's form; nil for none.
func stamp(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := t.UTC().Truncate(time.Second).Format(time.RFC3339)
	return &s
}

// orNull is s, or null if there is none.
func orNull[T ~string](s T) *T {
	if s == "" {
		return nil
	}
	return &s
}

func listOf[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

func mapOf(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

type tenderView struct {
	Allowed bool    `json:"allowed"`
	Why     *string `json:"why,omitempty"`
}

func viewTender(t linking.Tender) tenderView { return tenderView{t.Allowed, orNull(t.Why)} }

type lineView struct {
	Description string         `json:"description"`
	Quantity    string         `json:"quantity"`
	UnitPrice   linking.Amount `json:"unit_price"`
	VATRate     string         `json:"vat_rate"`
	Total       linking.Amount `json:"total"` // of the line, VAT included
	VAT         linking.Amount `json:"vat"`
}

func viewLines(lines []linking.Line, vatExtra bool) []lineView {
	list := make([]lineView, len(lines))
	each, _, err := linking.Totals(lines, vatExtra)
	for i, l := range lines {
		list[i] = lineView{Description: l.Description, Quantity: l.Quantity, UnitPrice: l.UnitPrice, VATRate: l.VATRate}
		if err == nil {
			list[i].Total, list[i].VAT = each[i].Gross, each[i].VAT
		}
	}
	return list
}

type customerView struct {
	Name    *string `json:"name"`
	Email   *string `json:"email"`
	Phone   *string `json:"phone"`
	TaxID   *string `json:"tax_id"`
	Address *string `json:"address"`
}

type rangeView struct {
	Min linking.Amount `json:"min"`
	Max linking.Amount `json:"max"`
}

type paymentView struct {
	ID       string           `json:"id"`
	Amount   linking.Amount   `json:"amount"`
	Currency linking.Currency `json:"currency"`
	PaidAt   *string          `json:"paid_at"`
	Way      *string          `json:"way"`
	Counts   bool             `json:"counts"`
}

func viewPayment(p linking.Payment) paymentView {
	return paymentView{p.ID, p.Money.Amount, p.Money.Currency, stamp(p.PaidAt), orNull(p.Way), p.Counts}
}

type refundView struct {
	ID        linking.RefundID     `json:"id"`
	PaymentID string               `json:"payment_id"`
	Amount    linking.Amount       `json:"amount"`
	Status    linking.RefundStatus `json:"status"`
	Reason    *string              `json:"reason"`
	AskedAt   *string              `json:"asked_at"`
}

func viewRefund(f linking.Refund) refundView {
	return refundView{f.ID, f.PaymentID, f.Amount, f.Status, orNull(f.Reason), stamp(f.AskedAt)}
}

type exceptionView struct {
	ID        linking.ExceptionID   `json:"id"`
	Kind      linking.ExceptionKind `json:"kind"`
	RequestID *linking.RequestID    `json:"request_id,omitempty"`
	PaymentID string                `json:"payment_id"`
	Amount    linking.Amount        `json:"amount"`
	Currency  linking.Currency      `json:"currency"`
	OpenedAt  *string               `json:"opened_at"`
	Decision  *string               `json:"decision"`
	DecidedAt *string               `json:"decided_at"`
	DecidedBy *string               `json:"decided_by"`
}

func viewException(e linking.Exception) exceptionView {
	return exceptionView{ID: e.ID, Kind: e.Kind, PaymentID: e.PaymentID, Amount: e.Money.Amount, Currency: e.Money.Currency,
		OpenedAt: stamp(e.OpenedAt), Decision: orNull(e.Decision), DecidedAt: stamp(e.DecidedAt), DecidedBy: orNull(e.DecidedBy)}
}

type bankView struct {
	Rail       string               `json:"rail"`
	Connection linking.ConnectionID `json:"connection"`
	ID         linking.RequestID    `json:"id"`
	State      *linking.BankStatus  `json:"state"`
	LastError  *string              `json:"last_error,omitempty"`
	BankShows  *string              `json:"bank_shows,omitempty"` // what the location that shall show it shows
}

type shareView struct {
	URL    string `json:"url"`
	Text   string `json:"text"`
	Mailto string `json:"mailto"`
	SMS    string `json:"sms"`
}

type requestView struct {
	ID                linking.RequestID  `json:"id"`
	ShortID           string             `json:"short_id"`
	ClientID          *string            `json:"client_id"`
	Sale              *linking.SaleID    `json:"sale"`
	Outlet            *linking.OutletID  `json:"outlet"`
	Status            linking.Status     `json:"status"`
	EndReason         *linking.EndReason `json:"end_reason"`
	EndAsked          bool               `json:"end_asked"`
	Amount            *linking.Amount    `json:"amount"` // null: not valued yet
	Currency          linking.Currency   `json:"currency"`
	Reference         string             `json:"reference"`
	Lines             []lineView         `json:"lines"`
	VAT               string             `json:"vat"`
	AmountAdjustable  *rangeView         `json:"amount_adjustable"`
	Note              *string            `json:"note"`
	Methods           []string           `json:"methods"`
	Capture           string             `json:"capture"`
	Customer          *customerView      `json:"customer"`
	Context           *string            `json:"context"`
	ReturnURL         *string            `json:"return_url"`
	Metadata          map[string]string  `json:"metadata"`
	ValueLater        bool               `json:"value_later"`
	Replaces          *linking.RequestID `json:"replaces"`
	Revision          int                `json:"revision"`
	ConfirmedRevision int                `json:"confirmed_revision"`
	Code              *linking.Token     `json:"code"`
	Epoch             *uint64            `json:"epoch"`
	Pairing           *string            `json:"pairing"`
	URL               *string            `json:"url"`
	Share             *shareView         `json:"share"`
	CreatedAt         *string            `json:"created_at"`
	ExpiresAt         *string            `json:"expires_at"`
	OpenedAt          *string            `json:"opened_at"`
	PaidAt            *string            `json:"paid_at"`
	PaidAmount        linking.Amount     `json:"paid_amount"`
	RefundedAmount    linking.Amount     `json:"refunded_amount"`
	Payments          []paymentView      `json:"payments"`
	Refunds           []refundView       `json:"refunds"`
	Exceptions        []exceptionView    `json:"exceptions"`
	Deliveries        []struct{}         `json:"deliveries"`
	Collected         map[string]string  `json:"collected"`
	FiscalReceipt     *string            `json:"fiscal_receipt"`
	DisplacedBy       *linking.RequestID `json:"displaced_by"`
	Tender            *tenderView        `json:"may_take_other_tender,omitempty"`
	InFlight          bool               `json:"in_flight,omitempty"`
	Bank              bankView           `json:"bank"`
}

func (a *api) viewRequest(r *linking.Request, t *linking.Tender) *requestView {
	if r == nil {
		return nil
	}
	v := &requestView{
		ID: r.ID, ShortID: r.ID.Short(), ClientID: orNull(r.ClientID), Sale: orNull(r.Sale), Outlet: orNull(r.Outlet),
		Status: r.StatusAt(a.svc.Now()), EndReason: orNull(r.EndReason), EndAsked: r.EndAsked,
		Currency: r.Content.Currency, Reference: r.Content.Reference, Lines: viewLines(r.Content.Lines, r.Content.VATExtra),
		VAT: "included", Note: orNull(r.Note), Methods: listOf(r.Methods), Capture: "auto",
		Context: orNull(r.Context), ReturnURL: orNull(r.ReturnURL), Metadata: mapOf(r.Metadata), ValueLater: r.ValueLater,
		Replaces: orNull(r.Replaces), Revision: r.Revision, ConfirmedRevision: r.Confirmed,
		Code: orNull(r.Code), Pairing: orNull(a.svc.PairingOf(r)),
		CreatedAt: stamp(r.CreatedAt), ExpiresAt: stamp(r.Content.ExpiresAt), OpenedAt: stamp(r.OpenedAt), PaidAt: stamp(r.PaidAt),
		PaidAmount: r.PaidAmount(), RefundedAmount: r.RefundedAmount(),
		Payments: []paymentView{}, Refunds: []refundView{}, Exceptions: []exceptionView{}, Deliveries: []struct{}{}, Collected: map[string]string{},
		FiscalReceipt: orNull(r.FiscalURL), DisplacedBy: orNull(r.DisplacedBy),
		Bank: bankView{r.Bank.Rail, r.Bank.Connection, r.ID, orNull(r.Bank.State), orNull(r.Bank.LastError), bankShows(r)},
	}
	if r.Content.Amount > 0 {
		v.Amount = &r.Content.Amount
	}
	if r.Content.VATExtra {
		v.VAT = "excluded"
	}
	if r.Content.Max > 0 {
		v.AmountAdjustable = &rangeView{r.Content.Min, r.Content.Max}
	}
	if r.Manual {
		v.Capture = "manual"
	}
	if c := r.Customer; c != (linking.Customer{}) {
		v.Customer = &customerView{orNull(c.Name), orNull(c.Email), orNull(c.Phone), orNull(c.TaxID), orNull(c.Address)}
	}
	if r.Code != "" {
		v.Epoch = &r.Epoch
	}
	if r.Origin == linking.MadeByRequest {
		page := a.svc.PageURL(r.ID)
		v.URL = &page
		v.Share = share(page, r)
	}
	for _, p := range r.Payments {
		v.Payments = append(v.Payments, viewPayment(p))
	}
	for _, f := range r.Refunds {
		v.Refunds = append(v.Refunds, viewRefund(f))
	}
	for _, e := range r.Exceptions {
		v.Exceptions = append(v.Exceptions, viewException(e))
	}
	if t != nil {
		tv := viewTender(*t)
		v.Tender = &tv
	}
	v.InFlight = r.Status == linking.Processing && r.EndAsked
	return v
}

// bankShows says whether the bank shows a request at its code's location.
func bankShows(r *linking.Request) *string {
	switch {
	case r.Bank.Link == nil:
		return nil
	case r.Bank.LinkSeen:
		return orNull(string(r.ID))
	}
	unknown := "unknown"
	return &unknown
}

// share is what a person pastes or sends from programs of his own.
func share(page string, r *linking.Request) *shareView {
	subject := r.Content.Reference
	text := page
	if r.Content.Amount > 0 {
		text = r.Content.Currency.Decimal(r.Content.Amount) + " " + string(r.Content.Currency) + ": " + page
	}
	q := strings.ReplaceAll(url.Values{"subject": {subject}, "body": {text}}.Encode(), "+", "%20")
	return &shareView{
		URL: page, Text: text,
		Mailto: "mailto:" + url.PathEscape(r.Customer.Email) + "?" + q,
		SMS:    "sms:" + url.PathEscape(r.Customer.Phone) + "?body=" + url.PathEscape(text),
	}
}

type linkedView struct {
	RequestID linking.RequestID `json:"request_id"`
	Sale      *linking.SaleID   `json:"sale"`
	Since     *string           `json:"since"`
}

type codeView struct {
	ID         linking.Token      `json:"id"`
	Token      linking.Token      `json:"token"`
	Kind       linking.CodeKind   `json:"kind"`
	Label      string             `json:"label"`
	Outlet     *linking.OutletID  `json:"outlet"`
	Status     linking.CodeStatus `json:"status"`
	Stock      linking.Stock      `json:"stock"`
	Batch      *linking.BatchID   `json:"batch"`
	Serial     *uint64            `json:"serial"`
	Rail       *string            `json:"rail"`
	ResolvedBy linking.ResolvedBy `json:"resolved_by"`
	Charge     linking.Charge     `json:"charge"`
	Epoch      uint64             `json:"epoch"`
	URL        string             `json:"url"`
	Payload    string             `json:"payload"`
	Linked     *linkedView        `json:"linked"`
	BankShows  shownAtBank        `json:"bank_shows,omitzero"` // only of a code that the bank resolves
	ReplacedBy *linking.Token     `json:"replaced_by"`
	CreatedAt  *string            `json:"created_at"`
	Metadata   map[string]string  `json:"metadata"`
}

func (a *api) viewCode(c linking.CodeView) *codeView {
	v := &codeView{
		ID: c.Token, Token: c.Token, Kind: c.Kind, Label: c.Label, Outlet: orNull(c.Outlet), Status: c.StatusNow(), Stock: c.StockNow(),
		Rail: orNull(c.Rail), ResolvedBy: c.ResolvedBy, Charge: c.Charge, Epoch: c.Epoch, URL: a.svc.CodeURL(c.Token),
		Payload: a.svc.Payload(c.Code), ReplacedBy: orNull(c.ReplacedBy), CreatedAt: stamp(c.CreatedAt), Metadata: mapOf(c.Metadata),
	}
	if c.Serial.Batch != 0 {
		no := c.Serial.No + 1
		v.Serial = &no
	}
	if c.Batch != nil {
		v.Batch = &c.Batch.ID
	}
	if c.ResolvedBy == linking.ByBankPayload {
		shows := string(c.Shows)
		if c.ShowsUnknown {
			shows = "unknown"
		}
		v.BankShows = shownAtBank{true, shows}
	}
	if f := c.Shown; f != nil {
		v.Linked = &linkedView{f.Request, orNull(f.Sale), stamp(f.Since)}
	}
	return v
}

// shownAtBank is what the bank's location shows: a request's id, "unknown", or null.
type shownAtBank struct {
	resolved bool // by the bank: otherwise nothing is said
	shows    string
}

func (s shownAtBank) IsZero() bool { return !s.resolved }

func (s shownAtBank) MarshalJSON() ([]byte, error) { return json.Marshal(orNull(s.shows)) }

type displacedView struct {
	RequestID linking.RequestID `json:"request_id"`
	Sale      *linking.SaleID   `json:"sale"`
	Status    linking.Status    `json:"status"`
	Amount    *linking.Amount   `json:"amount"`
	Currency  linking.Currency  `json:"currency"`
}

type previousView struct {
	RequestID linking.RequestID `json:"request_id"`
	Sale      *linking.SaleID   `json:"sale"`
	Status    *linking.Status   `json:"status"`
	At        *string           `json:"at"`
}

type linkAnswerView struct {
	Code      *codeView      `json:"code"`
	Request   *requestView   `json:"request"`
	Displaced *displacedView `json:"displaced"`
	Previous  *previousView  `json:"previous"`
	Tender    *tenderView    `json:"may_take_other_tender"`
}

func (a *api) viewLink(l *linking.LinkAnswer) *linkAnswerView {
	v := &linkAnswerView{Code: a.viewCode(linking.CodeView{Code: l.Code, Batch: l.Batch}), Request: a.viewRequest(l.Request, nil)}
	if d := l.Displaced; d != nil {
		v.Displaced = &displacedView{RequestID: d.ID, Sale: orNull(d.Sale), Status: d.StatusAt(a.svc.Now()), Currency: d.Content.Currency}
		if d.Content.Amount > 0 {
			v.Displaced.Amount = &d.Content.Amount
		}
	}
	if p := l.Previous; p != nil {
		v.Previous = &previousView{RequestID: p.Request, Sale: orNull(p.Sale), At: stamp(p.At)}
		if l.Former != nil {
			s := l.Former.Status
			v.Previous.Status = &s
		}
	}
	if l.Tender != nil {
		t := viewTender(*l.Tender)
		v.Tender = &t
	}
	return v
}

type historyView struct {
	Epoch   uint64            `json:"epoch"`
	Request linking.RequestID `json:"request_id"`
	Sale    *linking.SaleID   `json:"sale"`
	From    *string           `json:"from"`
	Until   *string           `json:"until"`
	By      *string           `json:"by"`
	EndedBy *string           `json:"ended_by"`
	Why     *string           `json:"why"`
}

func viewHistory(l *linking.Link) historyView {
	return historyView{l.Epoch, l.Request, orNull(l.Sale), stamp(l.From), stamp(l.Until), orNull(l.By), orNull(l.EndedBy), orNull(l.Why)}
}

type saleView struct {
	ID       linking.SaleID      `json:"id"`
	Currency linking.Currency    `json:"currency"`
	Total    *linking.Amount     `json:"total"`
	Paid     linking.Amount      `json:"paid"`
	Open     []linking.RequestID `json:"open"`
	Left     *linking.Amount     `json:"left"`
	Requests []*requestView      `json:"requests"`
}

func (a *api) viewSale(s *linking.SaleView) saleView {
	v := saleView{ID: s.Sale.ID, Currency: s.Sale.Currency, Paid: s.Sale.Paid, Open: []linking.RequestID{}, Requests: []*requestView{}}
	if s.Sale.Total > 0 {
		v.Total = &s.Sale.Total
	}
	if left, known := s.Sale.Left(); known {
		v.Left = &left
	}
	for _, r := range s.Requests {
		if r.Open() {
			v.Open = append(v.Open, r.ID)
		}
		v.Requests = append(v.Requests, a.viewRequest(r, nil))
	}
	return v
}

type eventRequestView struct {
	ID             linking.RequestID  `json:"id"`
	ClientID       *string            `json:"client_id"`
	Sale           *linking.SaleID    `json:"sale"`
	Reference      string             `json:"reference"`
	Status         linking.Status     `json:"status"`
	Revision       int                `json:"revision"`
	Amount         *linking.Amount    `json:"amount"`
	Currency       linking.Currency   `json:"currency"`
	PaidAmount     linking.Amount     `json:"paid_amount"`
	RefundedAmount linking.Amount     `json:"refunded_amount"`
	EndReason      *linking.EndReason `json:"end_reason"`
	Metadata       map[string]string  `json:"metadata"`
}

type eventView struct {
	ID          string             `json:"id"`
	Seq         uint64             `json:"seq"`
	Type        linking.EventType  `json:"type"`
	At          *string            `json:"at"`
	MerchantID  linking.MerchantID `json:"merchant_id"`
	Outlet      *linking.OutletID  `json:"outlet"`
	Code        *linking.Token     `json:"code"`
	Epoch       *uint64            `json:"epoch"`
	By          *string            `json:"by"` // the key or person; null: a payer, the bank or the clock
	Request     *eventRequestView  `json:"request"`
	Payment     *paymentView       `json:"payment,omitempty"`
	Refund      *refundView        `json:"refund,omitempty"`
	Exception   *exceptionView     `json:"exception,omitempty"`
	Late        bool               `json:"late,omitempty"`
	DisplacedBy *linking.RequestID `json:"displaced_by,omitempty"`
	Tender      *tenderView        `json:"may_take_other_tender,omitempty"`
	Batch       *eventBatchView    `json:"batch,omitempty"`
	Reading     *eventReadingView  `json:"reading,omitempty"`
	Bank        *eventBankView     `json:"bank,omitempty"`
}

// eventBankView is how a bank does for one class of calls.
type eventBankView struct {
	Rail       string               `json:"rail"`
	Connection linking.ConnectionID `json:"connection"`
	Class      string               `json:"class"`
	State      string               `json:"state"`
	Why        *string              `json:"why"`
}

// eventBatchView is what was done to a batch or a range of its serials.
type eventBatchView struct {
	ID     linking.BatchID     `json:"id"`
	Codes  int                 `json:"codes"`
	From   uint64              `json:"from"`
	To     uint64              `json:"to"`
	Status *linking.CodeStatus `json:"status"`
	Stock  *linking.Stock      `json:"stock"`
}

type eventReadingView struct {
	ID         linking.ReadingID  `json:"id"`
	Fate       linking.FateKind   `json:"fate"`
	Why        *string            `json:"why"`
	Device     string             `json:"device"`
	Sequence   uint64             `json:"sequence"`
	RequestID  *linking.RequestID `json:"request_id"`
	Difference linking.Amount     `json:"difference"`
}

func viewEvent(e *linking.Event) eventView {
	v := eventView{
		ID: e.ID(), Seq: e.Seq, Type: e.Type, At: stamp(e.At), MerchantID: e.Merchant, Outlet: orNull(e.Outlet),
		Code: orNull(e.Code), By: orNull(e.By), Late: e.Late, DisplacedBy: orNull(e.DisplacedBy),
	}
	if e.Code != "" {
		v.Epoch = &e.Epoch
	}
	if r := e.Request; r != nil {
		v.Request = &eventRequestView{
			ID: r.ID, ClientID: orNull(r.ClientID), Sale: orNull(r.Sale), Reference: r.Reference, Status: r.Status, Revision: r.Revision,
			Currency: r.Currency, PaidAmount: r.Paid, RefundedAmount: r.Refunded, EndReason: orNull(r.EndReason), Metadata: mapOf(r.Metadata),
		}
		if r.Amount > 0 {
			v.Request.Amount = &r.Amount
		}
	}
	if e.Payment != nil {
		p := viewPayment(*e.Payment)
		v.Payment = &p
	}
	if e.Refund != nil {
		f := viewRefund(*e.Refund)
		v.Refund = &f
	}
	if e.Exception != nil {
		x := viewException(*e.Exception)
		v.Exception = &x
	}
	if e.Tender != nil {
		t := viewTender(*e.Tender)
		v.Tender = &t
	}
	if b := e.Batch; b != nil {
		v.Batch = &eventBatchView{b.ID, b.Codes, b.From + 1, b.To + 1, orNull(b.Status), orNull(b.Stock)}
		if b.To == 0 { // all of it
			v.Batch.To = uint64(b.Codes)
		}
	}
	if r := e.Reading; r != nil {
		v.Reading = &eventReadingView{r.ID, r.Fate, orNull(r.Why), r.Device, r.Sequence, orNull(r.Request), r.Difference}
	}
	if b := e.Bank; b != nil {
		v.Bank = &eventBankView{b.Rail, b.Connection, b.Class, "up", orNull(b.Why)}
		if b.Down {
			v.Bank.State = "down"
		}
	}
	return v
}

type pageView[T any] struct {
	Data []T     `json:"data"`
	Next *string `json:"next"`
}

// encode writes v as JSON. Text goes out as it is: there is no page it could break.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // views hold nothing that cannot be written
	}
	return b
}
