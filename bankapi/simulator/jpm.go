package simulator

import (
	"cmp"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"placard/linking"
)

// JPM says what the simulated J.P. Morgan does where its published contract of
// Request to Pay is silent, or says two things. The zero value does what seems
// likeliest; a client has to be right with each.
type JPM struct {
	KeepsEndedLinks  bool // a link goes on showing a request that has ended, else the end frees it
	RefusesEmptyLink bool // a paymentLinkId of "" is refused, else it unlinks
	PixUnlink        bool // there is DELETE /loc/{id}/txid, the Pix standard's, which this contract has not
	CancelsTwice     bool // cancelling what is cancelled is answered like the first time, else refused

	PlainReplay    bool // a repeated Idempotency-Key gets the first answer as it was, else 200 with Duplicate-Request
	MismatchStatus int  // for a key that comes with another body; 0: 422, as J.P. Morgan's Global Payments answers
	AcceptsTwins   bool // an endToEndId may be used again, else it is refused

	NoCursors bool          // a search names the next page, and has no way to ask for it
	SearchLag time.Duration // a request is found by search only so long after it was made
	BulkTime  time.Duration // how long a bulk takes

	ZonedCallbacks bool // times in callbacks have a zone
	ReturnsSuccess bool // a return that arrived is SUCCESS, else COMPLETED
	ReturnsCountry bool // the currency of a return is the country's two letters
	EndToEndInside bool // answers have the endToEndId in the request, else beside it
	Extras         bool // answers have properties that nobody knows
	NoPictures     bool // answers have a code's text and never its picture

	TokenLife time.Duration // 0: an hour
}

// JPMAccount is how one merchant's client shows who it is, and where the merchant is
// told of news. With neither client id nor certificate, the client id is the
// account's and the secret is Options.Secret.
type JPMAccount struct {
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	AssertionKey string `json:"assertion_key"` // PEM of the public key of JWT assertions, instead of a secret
	Certificate  string `json:"certificate"`   // SHA-256 of the client's certificate in hex; set: mutual TLS is asked for
	SigningKey   string `json:"signing_key"`   // PEM of the public key of signed bodies; set: bodies have to be signed

	CallbackURL    string            `json:"callback_url"`
	CallbackHeader map[string]string `json:"callback_header"` // as a proxy adds when it has seen the bank's certificate
	CallbackKey    crypto.Signer     `json:"-"`               // signs callbacks
}

// jpmPath is where an account's wire begins, after the bank's address.
const jpmPath = "/jpm/{account}/receivables/request-to-pay/v1"

// jpmWire speaks J.P. Morgan's Request to Pay via QR Code, version 1, as a client of
// it has to expect. It reads and writes with types of its own.
type jpmWire struct {
	s      *Simulator
	o      JPM
	secret string // of accounts without credentials of their own

	mu     sync.Mutex // held over the ledger's, never the other way round
	books  map[string]*jpmBooks
	tokens map[string]jpmToken

	// told is read while the ledger is locked, which mu may not be taken in.
	told     sync.Map // ledger id → *jpmRequest, of which only what never changes
	accounts sync.Map // account → JPMAccount
}

// jpmBooks are what the bank keeps of one account beside the ledger.
type jpmBooks struct {
	requests map[string]*jpmRequest // by the id the wire uses
	ends     map[string]*jpmRequest // by endToEndId, the first of each
	order    []*jpmRequest          // as they were made
	links    map[string]*jpmLink    // by id
	byURL    map[string]*jpmLink    // by token
	printed  []*jpmLink             // as they were made
	bulks    map[string]*jpmBulk
	replays  map[string]jpmReplay // by Idempotency-Key
}

func newJPMWire(s *Simulator, o JPM, secret string) *jpmWire {
	o.MismatchStatus = cmp.Or(o.MismatchStatus, http.StatusUnprocessableEntity)
	o.TokenLife = cmp.Or(o.TokenLife, time.Hour)
	return &jpmWire{s: s, o: o, secret: secret, books: map[string]*jpmBooks{}, tokens: map[string]jpmToken{}}
}

func (jw *jpmWire) openAccount(id string, a JPMAccount) error {
	for _, key := range []string{a.AssertionKey, a.SigningKey} {
		if _, err := publicKey(key); key != "" && err != nil {
			return refuse("key", "That is not a public RSA key in PEM.")
		}
	}
	jw.accounts.Store(id, a)
	return nil
}

// book returns the books of an account. It is called with mu held.
func (jw *jpmWire) book(acc string) *jpmBooks {
	b, ok := jw.books[acc]
	if !ok {
		b = &jpmBooks{requests: map[string]*jpmRequest{}, ends: map[string]*jpmRequest{}, links: map[string]*jpmLink{},
			byURL: map[string]*jpmLink{}, bulks: map[string]*jpmBulk{}, replays: map[string]jpmReplay{}}
		jw.books[acc] = b
	}
	return b
}

func (jw *jpmWire) mount(mux *http.ServeMux) {
	handle := func(method, path, route string, h jpmHandler) {
		mux.HandleFunc(method+" "+jpmPath+path, jw.call(func(*jpmCall) string { return route }, h))
	}
	mux.HandleFunc("PUT "+jpmPath+"/payment-requests/{id}", jw.call(jw.putRoute, jw.update))
	handle("POST", "/payment-requests", "create", jw.create)
	handle("GET", "/payment-requests/{id}", "get", jw.get)
	handle("POST", "/payment-requests/{id}/cancel", "close", jw.cancel)
	handle("POST", "/payment-requests/search", "list", jw.search)
	handle("POST", "/payment-requests/bulk", "create", jw.createBulk)
	handle("GET", "/payment-requests/bulk/{id}", "get", jw.getBulk)
	handle("PUT", "/payment-requests/bulk/{id}", "revise", jw.updateBulk)
	handle("POST", "/payment-links", "link", jw.makeLink)
	handle("GET", "/payment-links", "list", jw.listLinks)
	handle("GET", "/payment-links/{id}", "get", jw.getLink)
	if jw.o.PixUnlink {
		handle("DELETE", "/loc/{loc}/txid", "unlink", jw.unlink)
	}
	mux.HandleFunc(jpmPath+"/", func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/v1/payment-") {
			http.NotFound(w, r) // not this bank's interface at all
			return
		}
		jw.refused(w, r, jpmFail(http.StatusMethodNotAllowed, "Method not allowed"))
	})
	mux.HandleFunc("POST /jpm/{account}/oauth2/token", jw.token)
	mux.HandleFunc("GET /jpm/pix/{token}", jw.scanned)
	mux.HandleFunc("GET /jpm/pix/cobv/{token}", jw.scanned)
}

// putRoute tells making from revising by whether the bank knows the request.
func (jw *jpmWire) putRoute(c *jpmCall) string {
	jw.mu.Lock()
	defer jw.mu.Unlock()
	if jw.book(c.acc).requests[c.r.PathValue("id")] == nil {
		return "create"
	}
	return "revise"
}

// jpmCall is one call of the wire.
type jpmCall struct {
	r    *http.Request
	acc  string
	body []byte
	book *jpmBooks // set once the call is authentic
}

// jpmAnswer is what a call is answered with.
type jpmAnswer struct {
	status int
	etag   string
	replay bool
	doc    any
}

// jpmHandler answers one authentic call, with mu held.
type jpmHandler func(c *jpmCall) (*jpmAnswer, error)

// call reads a call, and authenticates it before anything is done.
func (jw *jpmWire) call(route func(*jpmCall) string, h jpmHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", jw.s.ledger.time().Format(http.TimeFormat))
		body, err := readBody(w, r, 1<<20)
		c := &jpmCall{r: r, acc: r.PathValue("account"), body: body}
		if err != nil {
			jw.refused(w, r, jpmBad("10199", "", "The body is too large."))
			return
		}
		jw.s.serve(w, r, route(c), jw.about(c), func(w http.ResponseWriter, r *http.Request) {
			c.r = r
			a, err := jw.answer(c, h)
			if err != nil {
				jw.refused(w, r, err)
				return
			}
			if a.etag != "" {
				w.Header().Set("ETag", a.etag)
			}
			if a.replay {
				w.Header().Set("Duplicate-Request", "true")
			}
			writeJSON(w, a.status, a.doc)
		}, func(w http.ResponseWriter, status int, _ string) {
			jw.refused(w, r, jpmFail(status, jpmTitles[status]))
		})
	}
}

func (jw *jpmWire) answer(c *jpmCall, h jpmHandler) (*jpmAnswer, error) {
	if err := jw.authentic(c); err != nil {
		return nil, err
	}
	jw.mu.Lock()
	defer jw.mu.Unlock()
	c.book = jw.book(c.acc)
	return h(c)
}

// about names the request a call is about by the merchant's id, for the journal.
func (jw *jpmWire) about(c *jpmCall) string {
	id := c.r.PathValue("id")
	if id == "" && strings.HasSuffix(c.r.URL.Path, "/payment-requests") {
		var in struct {
			EndToEndID string `json:"endToEndId"`
		}
		body := c.body
		if _, signed, ok := strings.Cut(string(body), "."); ok && body[0] != '{' { // signed, or so it looks
			payload, _, _ := strings.Cut(signed, ".")
			body, _ = base64.RawURLEncoding.DecodeString(payload)
		}
		json.Unmarshal(body, &in)
		return in.EndToEndID
	}
	jw.mu.Lock()
	defer jw.mu.Unlock()
	if r := jw.book(c.acc).requests[id]; r != nil {
		return r.ledgerID
	}
	return id
}

// jpmError is a refusal in J.P. Morgan's form.
type jpmError struct {
	Title      string       `json:"title"`
	HTTPStatus int          `json:"httpStatus"`
	TraceID    string       `json:"traceId"`
	Context    []jpmContext `json:"context,omitempty"`
}

type jpmContext struct {
	Code     string `json:"code,omitempty"`
	Message  string `json:"message"`
	Field    string `json:"field,omitempty"`
	Location string `json:"location,omitempty"`
}

func (e *jpmError) Error() string { return fmt.Sprintf("%d %s %v", e.HTTPStatus, e.Title, e.Context) }

var jpmTitles = map[int]string{
	400: "Bad request", 401: "Unauthorized", 403: "Security Failure", 404: "Not Found", 405: "Method not allowed",
	412: "Precondition failed", 422: "Unprocessable", 429: "Too Many Requests", 503: "System Error",
}

// jpmFail is a refusal without a code.
func jpmFail(status int, title string, context ...jpmContext) *jpmError {
	return &jpmError{Title: cmp.Or(title, http.StatusText(status), "Error"), HTTPStatus: status, Context: context}
}

// jpmBad is a refusal of one field: a JSONPath if it begins with $, else the name of
// a part of the path, or none.
func jpmBad(code, field, message string) *jpmError {
	location := ""
	switch {
	case strings.HasPrefix(field, "$"):
		location = "BODY"
	case field != "":
		location = "PATH"
	}
	return jpmFail(http.StatusBadRequest, jpmCodes[code], jpmContext{code, message, field, location})
}

var jpmCodes = map[string]string{
	"10001": "Mandatory field missing", "10002": "Minimum length", "10003": "Maximum length", "10100": "Minimum value",
	"10101": "Maximum value", "10102": "Bad range", "10103": "Bad format", "10104": "Bad value", "10105": "Unexpected field",
	"10106": "Idempotency mismatch", "10199": "Bad request", "13000": "Bad request",
}

func jpmNotFound() *jpmError { return jpmFail(http.StatusNotFound, "Not Found") }

// refused writes a refusal, the ledger's among them, in J.P. Morgan's form.
func (jw *jpmWire) refused(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := err.(*jpmError)
	if !ok {
		switch code := codeOf(err); code {
		case "not_found":
			e = jpmNotFound()
		case "full":
			e = jpmFail(http.StatusServiceUnavailable, "System Error", jpmContext{Code: "12000", Message: "System error."})
		case "currency":
			e = jpmBad("10104", "$.request.currency", "The currency is not supported.")
		case "amount":
			e = jpmBad("10100", "$.request.paymentAmount", "The amount is out of range.")
		case "expiry":
			e = jpmBad("10102", "$.request", "The expiry is out of range.")
		case "id_taken":
			e = jpmBad("10104", "id", "The identifier is in use.")
		default:
			e = jpmBad("10199", "id", "The payment request does not allow it: "+code+".")
		}
	}
	out := *e
	out.TraceID = named("")
	writeJSON(w, out.HTTPStatus, out)
}

// time is the bank's time.
func (l *ledger) time() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now()
}

// merchant is the account's name, as payers see it.
func (l *ledger) merchant(acc string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a, ok := l.accounts[acc]; ok {
		return a.name
	}
	return ""
}

// giveBack is the bank sending money of a request's first payment back, of its own
// accord or at somebody else's wish.
func (l *ledger) giveBack(id string, amount linking.Amount) (requestSnapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, err := l.find("", id)
	if err != nil {
		return requestSnapshot{}, err
	}
	if len(r.payments) == 0 {
		return l.snapshot(r), refuse("not_found", "Nothing was paid.")
	}
	p := r.payments[0]
	left := p.money.Amount
	for _, f := range p.refunds {
		if f.status != linking.RefundFailed {
			left -= f.amount
		}
	}
	if amount <= 0 || amount > left {
		return l.snapshot(r), refuse("exceeds_payment", "More would be sent back than came in.")
	}
	f := &refund{id: named("r"), payment: p, amount: amount, at: l.now()}
	f.become(l.refunds)
	p.refunds = append(p.refunds, f)
	l.touch(r)
	return l.snapshot(r), nil
}

// Return is the bank sending amount of what was paid back without being asked
// through any wire: after a complaint, for example.
func (s *Simulator) Return(requestID string, amount linking.Amount) (State, error) {
	r, err := s.ledger.giveBack(requestID, amount)
	return r.state(), err
}
