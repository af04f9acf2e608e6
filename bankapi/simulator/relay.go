package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"placard/bankapi/relay"
	"placard/linking"
)

// relayWire speaks the relay rail as bankapi/relay/openapi.yaml has it, at
// /relay/{account}/…. It reads and writes with types of its own, so that a slip in
// the client's shows.
type relayWire struct{ s *Simulator }

func (rw relayWire) mount(mux *http.ServeMux) {
	const base = "/relay/{account}"
	about := func(r *http.Request) string { return r.PathValue("id") }
	none := func(*http.Request) string { return "" }
	fixed := func(route string) func(*http.Request) string { return func(*http.Request) string { return route } }
	mux.HandleFunc("PUT "+base+"/requests/{id}", rw.call(rw.putRoute, about, rw.put))
	mux.HandleFunc("GET "+base+"/requests/{id}", rw.call(fixed("get"), about, rw.get))
	mux.HandleFunc("DELETE "+base+"/requests/{id}", rw.call(fixed("close"), about, rw.delete))
	mux.HandleFunc("POST "+base+"/requests/{id}/capture", rw.call(fixed("capture"), about, rw.capture))
	mux.HandleFunc("GET "+base+"/requests", rw.call(fixed("list"), none, rw.list))
	mux.HandleFunc("GET "+base+"/abilities", rw.call(fixed("abilities"), none, rw.abilities))
	mux.HandleFunc("PUT "+base+"/payments/{payment}/refunds/{refund}", rw.call(fixed("refund"), rw.refunded, rw.refund))
	mux.HandleFunc(base+"/", func(w http.ResponseWriter, r *http.Request) {
		rw.problem(w, http.StatusNotFound, "no_such_route")
	})
}

// putRoute tells making from revising by whether the bank knows the request.
func (rw relayWire) putRoute(r *http.Request) string {
	if _, err := rw.s.ledger.get(r.PathValue("account"), r.PathValue("id")); err != nil {
		return "create"
	}
	return "revise"
}

// refunded is the request a refund is about.
func (rw relayWire) refunded(r *http.Request) string {
	return rw.s.ledger.paidFor(r.PathValue("payment"))
}

// relayHandler answers one authentic call about the account acc.
type relayHandler func(w http.ResponseWriter, r *http.Request, acc string, body []byte) error

// call reads and authenticates a call before the faults have their way with it.
func (rw relayWire) call(route, requestID func(*http.Request) string, handle relayHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := readBody(w, r, 64<<10)
		if err != nil {
			rw.problem(w, http.StatusRequestEntityTooLarge, "too_large")
			return
		}
		acc := r.PathValue("account")
		rw.s.serve(w, r, route(r), requestID(r), func(w http.ResponseWriter, r *http.Request) {
			if err := rw.authentic(r, acc, body); err != nil {
				rw.problem(w, http.StatusUnauthorized, "signature")
				return
			}
			if err := handle(w, r, acc, body); err != nil {
				rw.refused(w, err)
			}
		}, rw.problem)
	}
}

// authentic checks the signature, and that it was made for this very call.
func (rw relayWire) authentic(r *http.Request, acc string, body []byte) error {
	keys, err := rw.s.keysOf(acc)
	if err != nil {
		return err
	}
	id, err := keys.Verify(r.Header, rw.s.wall(), body)
	if err != nil {
		return err
	}
	target := strings.TrimPrefix(r.URL.RequestURI(), "/relay/"+url.PathEscape(acc))
	method, signed, ok := relay.Called(id)
	if !ok || method != r.Method || signed != target {
		return errors.New("signed for another call")
	}
	return rw.s.ledger.open(acc, "")
}

// statusOf says which status goes with a refusal; what is not listed is 422.
var statusOf = map[string]int{
	"not_found": 404, "malformed": 400, "cursor": 400, "full": 503,
	"in_flight": 409, "paid": 409, "closed": 409, "expired": 409, "rejected": 409, "open": 409, "changed": 409,
	"stale_revision": 409, "revision_reused": 409, "id_taken": 409, "not_authorised": 409, "refund_reused": 409,
}

func statusFor(err error) int {
	if n, ok := statusOf[codeOf(err)]; ok {
		return n
	}
	if codeOf(err) == "" {
		return http.StatusInternalServerError
	}
	return http.StatusUnprocessableEntity
}

func (rw relayWire) refused(w http.ResponseWriter, err error) {
	code := codeOf(err)
	if code == "" {
		code = "internal"
	}
	rw.problem(w, statusFor(err), code)
}

func (relayWire) problem(w http.ResponseWriter, status int, code string) {
	problem(w, status, code, "")
}

// problem writes a problem document (RFC 9457).
func problem(w http.ResponseWriter, status int, code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail,omitempty"`
		Code   string `json:"code"`
	}{"about:blank", http.StatusText(status), status, detail, code})
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(v)
}

// readJSON reads exactly one JSON object with no unknown fields.
func readJSON(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return refuse("malformed", "The body is not what it should be: %v.", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return refuse("malformed", "Something follows the body.")
	}
	return nil
}

type relayPut struct {
	Revision *int           `json:"revision"`
	Amount   linking.Amount `json:"amount"`
	Currency string         `json:"currency"`
	Range    *struct {
		Min linking.Amount `json:"min"`
		Max linking.Amount `json:"max"`
	} `json:"amount_range"`
	Reference string   `json:"reference"`
	Note      string   `json:"note"`
	ExpiresAt string   `json:"expires_at"`
	Methods   []string `json:"methods"`
	Capture   string   `json:"capture"`
	Customer  *struct {
		Name    string `json:"name"`
		Email   string `json:"email"`
		Phone   string `json:"phone"`
		TaxID   string `json:"tax_id"`
		Address string `json:"address"`
	} `json:"customer"`
	ReturnURL   string `json:"return_url"`
	CallbackURL string `json:"callback_url"`
}

func (rw relayWire) put(w http.ResponseWriter, r *http.Request, acc string, body []byte) error {
	var in relayPut
	if r.Header.Get("Content-Type") != "application/json" {
		return refuse("malformed", "The body is to be application/json.")
	}
	if err := readJSON(body, &in); err != nil {
		return err
	}
	id := r.PathValue("id")
	if canonical, ok := linking.ParseRequestID(id); !ok || string(canonical) != id {
		return refuse("id", "That is not an id of a request.")
	}
	currency, ok := linking.ParseCurrency(in.Currency)
	if !ok {
		return refuse("currency", "There is no such currency.")
	}
	if in.Revision == nil || *in.Revision < 1 {
		return refuse("revision", "The first revision is 1.")
	}
	if in.Capture != "auto" && in.Capture != "manual" {
		return refuse("malformed", "capture is auto or manual.")
	}
	o := order{
		revision: *in.Revision, money: linking.Money{Amount: in.Amount, Currency: currency},
		reference: in.Reference, note: in.Note, methods: in.Methods, manual: in.Capture == "manual",
		returnURL: in.ReturnURL, callbackURL: in.CallbackURL,
	}
	if in.Range != nil {
		o.min, o.max = in.Range.Min, in.Range.Max
	}
	if in.ExpiresAt != "" {
		at, err := time.Parse("2006-01-02T15:04:05Z", in.ExpiresAt)
		if err != nil {
			return refuse("malformed", "expires_at is a time in UTC and whole seconds.")
		}
		o.expiresAt = at
	}
	for _, u := range []string{in.ReturnURL, in.CallbackURL} {
		if u != "" && !webAddress(u) {
			return refuse("url", "An address is not an absolute web address.")
		}
	}
	s, made, err := rw.s.ledger.put(acc, id, o)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if made {
		status = http.StatusCreated
	}
	return rw.show(w, r, status, s)
}

func webAddress(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil && len(s) <= 2048
}

func (rw relayWire) get(w http.ResponseWriter, r *http.Request, acc string, _ []byte) error {
	s, err := rw.s.ledger.get(acc, r.PathValue("id"))
	if err != nil {
		return err
	}
	return rw.show(w, r, http.StatusOK, s)
}

func (rw relayWire) delete(w http.ResponseWriter, r *http.Request, acc string, _ []byte) error {
	s, err := rw.s.ledger.close(acc, r.PathValue("id"))
	if err != nil {
		return err
	}
	return rw.show(w, r, http.StatusOK, s)
}

func (rw relayWire) capture(w http.ResponseWriter, r *http.Request, acc string, _ []byte) error {
	s, err := rw.s.ledger.capture(acc, r.PathValue("id"))
	if err != nil {
		return err
	}
	return rw.show(w, r, http.StatusOK, s)
}

type relayRequest struct {
	ID        string             `json:"id"`
	Revision  int                `json:"revision"`
	Amount    linking.Amount     `json:"amount"`
	Currency  linking.Currency   `json:"currency"`
	Status    linking.BankStatus `json:"status"`
	Reason    string             `json:"reason,omitempty"`
	ExpiresAt string             `json:"expires_at,omitempty"`
	Way       *relayWay          `json:"way,omitempty"`
	Payments  []relayPayment     `json:"payments"`
	Refunds   []relayRefund      `json:"refunds"`
}

type relayWay struct {
	Kind  string `json:"kind"`
	URL   string `json:"url"`
	Until string `json:"until,omitempty"`
}

type relayPayment struct {
	ID       string           `json:"id"`
	Amount   linking.Amount   `json:"amount"`
	Currency linking.Currency `json:"currency"`
	PaidAt   string           `json:"paid_at"`
	Method   string           `json:"method,omitempty"`
}

type relayRefund struct {
	ID        string               `json:"id"`
	PaymentID string               `json:"payment_id"`
	Amount    linking.Amount       `json:"amount"`
	Currency  linking.Currency     `json:"currency"`
	Status    linking.RefundStatus `json:"status"`
	Reason    string               `json:"reason,omitempty"`
}

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

func (rw relayWire) show(w http.ResponseWriter, r *http.Request, status int, s requestSnapshot) error {
	out := relayRequest{
		ID: s.id, Revision: s.revision, Amount: s.money.Amount, Currency: s.money.Currency,
		Status: s.status, Reason: s.reason, ExpiresAt: instant(s.expiresAt),
		Payments: []relayPayment{}, Refunds: []relayRefund{},
	}
	if s.status == linking.BankOpen {
		out.Way = &relayWay{Kind: "redirect", URL: rw.s.publicURL(r) + "/app/" + s.bankID, Until: out.ExpiresAt}
	}
	for _, p := range s.payments {
		out.Payments = append(out.Payments, relayPayment{p.id, p.money.Amount, p.money.Currency, instant(p.at), p.method})
		for _, f := range p.refunds {
			out.Refunds = append(out.Refunds, showRefund(f))
		}
	}
	return writeJSON(w, status, out)
}

func showRefund(f refund) relayRefund {
	return relayRefund{f.id, f.payment.id, f.amount, f.payment.money.Currency, f.status, f.reason}
}

func (rw relayWire) refund(w http.ResponseWriter, r *http.Request, acc string, body []byte) error {
	var in struct {
		RequestID string         `json:"request_id"`
		Amount    linking.Amount `json:"amount"`
		Currency  string         `json:"currency"`
		Reason    string         `json:"reason"`
	}
	if err := readJSON(body, &in); err != nil {
		return err
	}
	f, err := rw.s.ledger.refund(acc, in.RequestID, r.PathValue("payment"), r.PathValue("refund"),
		linking.Money{Amount: in.Amount, Currency: linking.Currency(in.Currency)})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, showRefund(f))
}

// relayPage is how many changes one page lists at the most.
const relayPage = 200

func (rw relayWire) list(w http.ResponseWriter, r *http.Request, acc string, _ []byte) error {
	q := r.URL.Query()
	since, err := time.Parse(time.RFC3339, q.Get("changed_since"))
	limit := relayPage
	if v := q.Get("limit"); v != "" {
		if limit, err = strconv.Atoi(v); limit < 1 || limit > relayPage {
			err = errors.New("out of range")
		}
	}
	for name := range q {
		if !slices.Contains([]string{"changed_since", "after", "limit"}, name) {
			err = errors.New("unknown parameter")
		}
	}
	if err != nil {
		return refuse("malformed", "The list is asked for in a wrong way.")
	}
	type line struct {
		ID        string `json:"id"`
		ChangedAt string `json:"changed_at"`
	}
	out := struct {
		Data []line `json:"data"`
		Next string `json:"next,omitempty"`
		AsOf string `json:"as_of"`
	}{Data: []line{}}
	page, next, asOf, err := rw.s.ledger.changed(acc, since, q.Get("after"), limit)
	if err != nil {
		return err
	}
	for _, c := range page {
		out.Data = append(out.Data, line{c.id, instant(c.at)})
	}
	out.Next, out.AsOf = next, instant(asOf)
	return writeJSON(w, http.StatusOK, out)
}

func (rw relayWire) abilities(w http.ResponseWriter, _ *http.Request, _ string, _ []byte) error {
	a := rw.s.ledger.abilities
	return writeJSON(w, http.StatusOK, struct {
		Currencies  []linking.Currency `json:"currencies"`
		MaxExpiry   int64              `json:"max_expiry,omitempty"`
		OpenEnded   bool               `json:"open_ended"`
		NeedsDebtor bool               `json:"needs_debtor"`
		Revise      bool               `json:"revise"`
		Refund      bool               `json:"refund"`
		Capture     bool               `json:"capture"`
		Adjustable  bool               `json:"adjustable"`
		EndsItself  bool               `json:"ends_itself"`
		List        bool               `json:"list"`
		Methods     []string           `json:"methods,omitempty"`
	}{a.Currencies, int64(a.MaxExpiry / time.Second), a.OpenEnded, a.NeedsDebtor, a.Revise, a.Refund, a.Capture,
		a.Adjustable, a.EndsItself, a.Changed, a.Methods})
}

// tell sends a callback about s, signed as the account's merchant expects it.
func (rw relayWire) tell(s requestSnapshot) {
	if s.callbackURL == "" {
		return
	}
	id := named("cb_")
	changedAt := instant(s.changedAt)
	rw.s.callbacks.send(message{url: s.callbackURL, sign: func(h http.Header) []byte {
		body, _ := json.Marshal(struct {
			ID        string `json:"id"`
			ChangedAt string `json:"changed_at"`
		}{s.id, changedAt})
		h.Set("Content-Type", "application/json")
		if keys, err := rw.s.keysOf(s.account); err == nil {
			keys.Sign(h, id, rw.s.wall(), body)
		}
		return body
	}})
}
