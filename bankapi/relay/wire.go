package relay

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"placard/bankapi"
	"placard/linking"
)

// What is sent, exactly.

type putDoc struct {
	Revision    int          `json:"revision"`
	Amount      int64        `json:"amount"`
	Currency    string       `json:"currency"`
	Range       *rangeDoc    `json:"amount_range,omitempty"`
	Reference   string       `json:"reference,omitempty"`
	Note        string       `json:"note,omitempty"`
	ExpiresAt   string       `json:"expires_at,omitempty"`
	Methods     []string     `json:"methods,omitempty"`
	Capture     string       `json:"capture"`
	Customer    *customerDoc `json:"customer,omitempty"`
	ReturnURL   string       `json:"return_url,omitempty"`
	CallbackURL string       `json:"callback_url,omitempty"`
}

type rangeDoc struct {
	Min int64 `json:"min"`
	Max int64 `json:"max"`
}

type customerDoc struct {
	Name    string `json:"name,omitempty"`
	Email   string `json:"email,omitempty"`
	Phone   string `json:"phone,omitempty"`
	TaxID   string `json:"tax_id,omitempty"`
	Address string `json:"address,omitempty"`
}

type refundPutDoc struct {
	RequestID string `json:"request_id"`
	Amount    int64  `json:"amount"`
	Currency  string `json:"currency"`
	Reason    string `json:"reason,omitempty"`
}

// putOf writes an ask down. It refuses what no relay could be asked for: that is a
// fault of the caller's.
func putOf(ask linking.Ask) (putDoc, error) {
	d := putDoc{
		Revision: ask.Revision, Amount: int64(ask.Money.Amount), Currency: string(ask.Money.Currency),
		Reference: ask.Reference, Note: ask.Note, Methods: ask.Methods, Capture: "auto",
		ReturnURL: ask.ReturnURL, CallbackURL: ask.CallbackURL,
	}
	_, known := linking.ParseCurrency(d.Currency)
	switch {
	case ask.Revision < 1:
		return d, errors.New("a revision below 1")
	case !goodAmount(d.Amount) || !known:
		return d, errors.New("an amount or currency that cannot be asked for")
	case ask.Min < 0 || ask.Min > ask.Max || ask.Max > linking.MaxAmount || ask.Min == 0 && ask.Max != 0:
		return d, errors.New("a range that cannot be asked for")
	case ask.Charge == linking.DueDate || ask.Link != nil:
		return d, errors.New("a due date or a location of the bank's, which no relay has")
	}
	if ask.Max > 0 {
		d.Range = &rangeDoc{int64(ask.Min), int64(ask.Max)}
	}
	if !ask.ExpiresAt.IsZero() {
		d.ExpiresAt = instant(ask.ExpiresAt)
	}
	if ask.Manual {
		d.Capture = "manual"
	}
	if ask.Customer != (linking.Customer{}) {
		d.Customer = (*customerDoc)(&ask.Customer)
	}
	return d, nil
}

// instant writes a time in UTC and whole seconds, rounded down.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// What is read. Fields a relay adds are passed over; what is needed has to be there.

type requestDoc struct {
	ID        *string      `json:"id"`
	Revision  int          `json:"revision"`
	Amount    *int64       `json:"amount"`
	Currency  string       `json:"currency"`
	Status    string       `json:"status"`
	Reason    string       `json:"reason"`
	ExpiresAt string       `json:"expires_at"`
	Way       *wayDoc      `json:"way"`
	Payments  []paymentDoc `json:"payments"`
	Refunds   []refundDoc  `json:"refunds"`
}

type wayDoc struct {
	Kind    string `json:"kind"`
	URL     string `json:"url"`
	Payload string `json:"payload"`
	Until   string `json:"until"`
}

type paymentDoc struct {
	ID       string `json:"id"`
	Amount   *int64 `json:"amount"`
	Currency string `json:"currency"`
	PaidAt   string `json:"paid_at"`
	Method   string `json:"method"`
}

type refundDoc struct {
	ID        string `json:"id"`
	PaymentID string `json:"payment_id"`
	Amount    *int64 `json:"amount"`
	Currency  string `json:"currency"`
	Status    string `json:"status"`
	Reason    string `json:"reason"`
}

type abilitiesDoc struct {
	Currencies  []string `json:"currencies"`
	MaxExpiry   int64    `json:"max_expiry"` // seconds; 0: no limit
	OpenEnded   bool     `json:"open_ended"`
	NeedsDebtor bool     `json:"needs_debtor"`
	Revise      bool     `json:"revise"`
	Refund      bool     `json:"refund"`
	Capture     bool     `json:"capture"`
	Adjustable  bool     `json:"adjustable"`
	EndsItself  bool     `json:"ends_itself"`
	List        bool     `json:"list"`
	Methods     []string `json:"methods"`
}

type listDoc struct {
	Data []struct {
		ID        string `json:"id"`
		ChangedAt string `json:"changed_at"`
	} `json:"data"`
	Next string `json:"next"`
	AsOf string `json:"as_of"`
}

type callbackDoc struct {
	ID        string `json:"id"`
	ChangedAt string `json:"changed_at"`
}

type problemDoc struct {
	Code string `json:"code"`
}

func goodAmount(a int64) bool { return a > 0 && a <= int64(linking.MaxAmount) }

// goodID reports whether a bank's id for a payment or refund can be kept for ever.
func goodID(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

func money(amount *int64, currency string) (linking.Money, error) {
	c, ok := linking.ParseCurrency(currency)
	if !ok {
		return linking.Money{}, bankapi.Fault("bad_currency")
	}
	if amount == nil || !goodAmount(*amount) {
		return linking.Money{}, bankapi.Fault("bad_amount")
	}
	return linking.Money{Amount: linking.Amount(*amount), Currency: c}, nil
}

// timeOf reads RFC 3339, with or without parts of a second; empty is the zero time.
func timeOf(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Year() < 2000 || t.Year() > 9000 {
		return time.Time{}, bankapi.Fault("bad_time")
	}
	return t.UTC(), nil
}

// stateOf reads an answer about the request id.
func stateOf(body []byte, id linking.RequestID, plain bool) (s linking.BankState, err error) {
	var d requestDoc
	if err := bankapi.Decode(body, &d); err != nil {
		return s, err
	}
	if d.ID == nil || *d.ID != string(id) {
		return s, bankapi.Fault("wrong_id")
	}
	s.ID, s.Revision, s.Status = id, d.Revision, linking.BankStatus(d.Status)
	switch s.Status {
	case linking.BankOpen, linking.BankAuthorised, linking.BankProcessing, linking.BankPaid,
		linking.BankClosed, linking.BankExpired, linking.BankRejected:
	default:
		return s, bankapi.Fault("unknown_status")
	}
	if d.Revision < 0 {
		return s, bankapi.Fault("bad_revision")
	}
	if s.Money, err = money(d.Amount, d.Currency); err != nil {
		return s, err
	}
	if s.ExpiresAt, err = timeOf(d.ExpiresAt); err != nil {
		return s, err
	}
	if d.Reason != "" {
		s.Reason = bankapi.ShortCode(d.Reason, "other")
	}
	if s.Status == linking.BankOpen { // elsewhere nobody is sent there
		if s.Way, err = d.Way.way(plain); err != nil {
			return s, err
		}
	}
	currencies := map[string]linking.Currency{}
	for _, p := range d.Payments {
		bp := linking.BankPayment{ID: p.ID, Method: bankapi.ShortCode(p.Method, "")}
		if _, twice := currencies[p.ID]; twice || !goodID(p.ID) {
			return s, bankapi.Fault("bad_payment")
		}
		if bp.Money, err = money(p.Amount, p.Currency); err != nil {
			return s, err
		}
		if bp.PaidAt, err = timeOf(p.PaidAt); err != nil || bp.PaidAt.IsZero() {
			return s, bankapi.Fault("bad_payment")
		}
		currencies[p.ID] = bp.Money.Currency
		s.Payments = append(s.Payments, bp)
	}
	if s.Status == linking.BankPaid && len(s.Payments) == 0 {
		return s, bankapi.Fault("paid_without_payment")
	}
	seen := map[string]bool{}
	for _, r := range d.Refunds {
		br, m, err := r.refund()
		if err != nil {
			return s, err
		}
		if seen[br.ID] || currencies[br.PaymentID] != m.Currency {
			return s, bankapi.Fault("bad_refund")
		}
		seen[br.ID] = true
		s.Refunds = append(s.Refunds, br)
	}
	return s, nil
}

func (w *wayDoc) way(plain bool) (linking.Way, error) {
	if w == nil {
		return linking.Way{}, bankapi.Fault("no_way")
	}
	until, err := timeOf(w.Until)
	if err != nil {
		return linking.Way{}, err
	}
	way := linking.Way{Kind: linking.WayKind(w.Kind), Until: until}
	switch way.Kind {
	case linking.Redirect:
		if err := webURL(w.URL, plain); err != nil {
			return linking.Way{}, bankapi.Fault("bad_way")
		}
		way.URL = w.URL
	case linking.App:
		if !appURL(w.URL) {
			return linking.Way{}, bankapi.Fault("bad_way")
		}
		way.URL = w.URL
	case linking.EMV:
		if len(w.Payload) == 0 || len(w.Payload) > 1024 || !printable(w.Payload) {
			return linking.Way{}, bankapi.Fault("bad_way")
		}
		way.Payload = w.Payload
	default:
		return linking.Way{}, bankapi.Fault("bad_way")
	}
	return way, nil
}

func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e }) < 0
}

// maxURL is what every phone's browser takes.
const maxURL = 2048

// appURL accepts https and an app's own scheme, and no scheme that a browser runs,
// shows or reads files with.
func appURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxURL || !printable(s) || u.User != nil {
		return false
	}
	switch u.Scheme {
	case "", "http", "javascript", "data", "vbscript", "file", "blob", "about", "filesystem", "view-source", "intent":
		return false
	case "https":
		return u.Hostname() != ""
	}
	return true
}

func (r *refundDoc) refund() (linking.BankRefund, linking.Money, error) {
	m, err := money(r.Amount, r.Currency)
	if err != nil {
		return linking.BankRefund{}, m, err
	}
	br := linking.BankRefund{ID: r.ID, PaymentID: r.PaymentID, Amount: m.Amount, Status: linking.RefundStatus(r.Status)}
	switch br.Status {
	case linking.RefundPending, linking.RefundDone, linking.RefundFailed:
	default:
		return br, m, bankapi.Fault("unknown_status")
	}
	if !goodID(r.ID) || !goodID(r.PaymentID) {
		return br, m, bankapi.Fault("bad_refund")
	}
	if r.Reason != "" {
		br.Reason = bankapi.ShortCode(r.Reason, "other")
	}
	return br, m, nil
}

// refundOf reads the answer to a refund that was asked for.
func refundOf(body []byte, ask linking.RefundAsk) (linking.BankRefund, error) {
	var d refundDoc
	if err := bankapi.Decode(body, &d); err != nil {
		return linking.BankRefund{}, err
	}
	r, m, err := d.refund()
	switch {
	case err != nil:
		return linking.BankRefund{}, err
	case r.ID != string(ask.Refund) || r.PaymentID != ask.PaymentID:
		return linking.BankRefund{}, bankapi.Fault("wrong_id")
	case m != ask.Money:
		return linking.BankRefund{}, bankapi.Fault("wrong_amount")
	}
	return r, nil
}

func abilitiesOf(body []byte) (linking.Abilities, error) {
	var d abilitiesDoc
	if err := bankapi.Decode(body, &d); err != nil {
		return linking.Abilities{}, err
	}
	const century = 100 * 365 * 24 * 3600
	if d.MaxExpiry < 0 || d.MaxExpiry > century {
		return linking.Abilities{}, bankapi.Fault("bad_expiry")
	}
	a := linking.Abilities{
		MaxExpiry: time.Duration(d.MaxExpiry) * time.Second, OpenEnded: d.OpenEnded, NeedsDebtor: d.NeedsDebtor,
		Revise: d.Revise, Refund: d.Refund, Capture: d.Capture, Adjustable: d.Adjustable,
		EndsItself: d.EndsItself, Changed: d.List, Charges: []linking.Charge{linking.Immediate},
	}
	for _, s := range d.Currencies {
		if c, ok := linking.ParseCurrency(s); ok {
			a.Currencies = append(a.Currencies, c)
		}
	}
	if len(a.Currencies) == 0 {
		return linking.Abilities{}, bankapi.Fault("bad_currency")
	}
	for _, m := range d.Methods {
		if bankapi.ShortCode(m, "") != "" {
			a.Methods = append(a.Methods, m)
		}
	}
	return a, nil
}

// page is one page of what changed.
type page struct {
	ids  []linking.RequestID
	last time.Time // when the last of them changed
	next string    // where the next page begins; empty: there is none
	asOf time.Time
}

func listOf(body []byte) (page, error) {
	var d listDoc
	if err := bankapi.Decode(body, &d); err != nil {
		return page{}, err
	}
	asOf, err := timeOf(d.AsOf)
	if err != nil || asOf.IsZero() {
		return page{}, bankapi.Fault("bad_time")
	}
	p := page{next: d.Next, asOf: asOf}
	if len(p.next) > 512 || !printable(p.next) {
		return page{}, bankapi.Fault("bad_cursor")
	}
	for _, one := range d.Data {
		at, err := timeOf(one.ChangedAt)
		if err != nil || at.IsZero() || at.Before(p.last) {
			return page{}, bankapi.Fault("bad_time")
		}
		p.last = at
		if id, ok := linking.ParseRequestID(one.ID); ok && string(id) == one.ID {
			p.ids = append(p.ids, id)
		}
	}
	return p, nil
}

// callbackOf reads the body of a callback.
func callbackOf(body []byte) (linking.RequestID, error) {
	var d callbackDoc
	if err := bankapi.Decode(body, &d); err != nil {
		return "", err
	}
	id, ok := linking.ParseRequestID(d.ID)
	if !ok || string(id) != d.ID {
		return "", bankapi.Fault("wrong_id")
	}
	return id, nil
}

// webURL accepts an absolute address that a payer's browser may be sent to or a
// relay be called at: https, or http where plain allows it or the host is this
// machine.
func webURL(s string, plain bool) error {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxURL || !printable(s) || u.Hostname() == "" || u.User != nil {
		return fmt.Errorf("%q is not an absolute web address", s)
	}
	switch {
	case u.Scheme == "https", u.Scheme == "http" && (plain || loopback(u.Hostname())):
		return nil
	}
	return errors.New("the address must begin with https://")
}
