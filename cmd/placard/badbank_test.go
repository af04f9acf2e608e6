package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// between stands between a gateway and its bank, and alters what the bank answers.
type between struct {
	server *httptest.Server
	alter  atomic.Pointer[func(*http.Response)]
}

func newBetween(t *testing.T, bank string) *between {
	t.Helper()
	to, err := url.Parse(bank)
	if err != nil {
		t.Fatal(err)
	}
	b := &between{}
	b.server = httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		ErrorLog: log.New(io.Discard, "", 0),
		ModifyResponse: func(r *http.Response) error {
			if f := b.alter.Load(); f != nil {
				(*f)(r)
			}
			return nil
		},
	})
	t.Cleanup(b.server.Close)
	return b
}

// answers makes the bank answer so from now on, whatever it did.
func (b *between) answers(f func(*http.Response)) { b.alter.Store(&f) }

// honestly lets the bank's own answers through again.
func (b *between) honestly() { b.alter.Store(nil) }

func with(status int, kind string, body []byte) func(*http.Response) {
	return func(r *http.Response) {
		r.Body.Close()
		r.StatusCode, r.Header = status, http.Header{"Content-Type": {kind}, "Content-Length": {strconv.Itoa(len(body))}}
		r.ContentLength, r.Body = int64(len(body)), io.NopCloser(bytes.NewReader(body))
	}
}

// about falsifies a member of what the bank says of a request.
func about(name string, value any) func(*http.Response) {
	return func(r *http.Response) {
		raw, _ := io.ReadAll(r.Body)
		var doc m
		if json.Unmarshal(raw, &doc) == nil && doc["status"] != nil && doc["amount"] != nil {
			doc[name] = value
			raw, _ = json.Marshal(doc)
		}
		with(r.StatusCode, r.Header.Get("Content-Type"), raw)(r)
	}
}

// cutOff promises more than it sends.
func cutOff(r *http.Response) {
	raw, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(raw[:len(raw)/2]), failing{}))
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestBadAnswersOfABank: whatever a bank answers, the till is told that nothing is sure
// and why, no payer sees an amount, the call is counted as what it was; and when the bank
// answers well, what it did is found, and nothing was done twice.
func TestBadAnswersOfABank(t *testing.T) {
	for name, c := range map[string]struct {
		answer  func(*http.Response)
		why     string // what the till is told
		outcome string // what it is counted as
	}{
		"no JSON":              {with(200, "text/html", []byte("<h1>Welcome</h1>")), "malformed", "unknown"},
		"garbage":              {with(200, "application/json", []byte("\xff\xfe{\"id\":")), "malformed", "unknown"},
		"cut off":              {cutOff, "broken_off", "unknown"},
		"ten mebibytes":        {with(200, "application/json", bytes.Repeat([]byte(" "), 10<<20)), "too_large", "unknown"},
		"another request's id": {about("id", "01J8ZZZZZZZZZZZZZZZZZZZZZZ"), "wrong_id", "unknown"},
		"an unknown status":    {about("status", "perhaps"), "unknown_status", "unknown"},
		"an expired token":     {with(401, "application/problem+json", []byte(`{"code":"token_expired"}`)), "token_expired", "denied"},
		"another amount":       {about("amount", 1), "", "ok"},
		"a fault":              {with(500, "text/plain", []byte("oops")), "http_500", "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			h := raceHouse(t)
			till := h.shop.till
			b := newBetween(t, h.bank.base)
			settings := till.get("/v1/bank-connections/relay").is(200).str("settings.url")
			till.call("PUT", "/v1/bank-connections/relay", m{"settings": m{"url": strings.Replace(settings, h.bank.base, b.server.URL, 1)}}).is(200)
			code := till.makeCode("counter")
			till.call("DELETE", "/v1/codes/"+code+"/link?cancel=true&request_id="+till.attach(code, 100), nil, "Prefer", "wait=30").is(200)

			b.answers(c.answer)
			id := till.link(code, m{"amount": 1250}, "Prefer", "wait=1").is(202).str("request.id")
			r := till.get("/v1/requests/"+id).says("status", "preparing", "paid_amount", 0)
			if c.outcome == "denied" { // it never came as far as the bank's books
				r.says("may_take_other_tender.allowed", true)
			} else {
				r.says("may_take_other_tender.allowed", false, "may_take_other_tender.why", "preparing")
			}
			if c.why != "" {
				r.says("bank.last_error", c.why)
			}
			seen := h.phone().scan(code, "").is(200).says("resolution", "updating", "request", nil, "pay", nil)
			if strings.Contains(string(seen.Body), "1250") {
				t.Errorf("a payer is shown an amount: %s", seen.Body)
			}
			metrics := string((&client{t: t, base: till.base}).get("/metrics", "Accept", "text/plain").is(200).Body)
			if !strings.Contains(metrics, fmt.Sprintf(`placard_bank_calls_total{class="create",outcome=%q,rail="relay"}`, c.outcome)) {
				t.Errorf("it is not counted as %s", c.outcome)
			}
			// A word about money is believed no more than others.
			h.bank.pays(id)
			if got := till.get("/v1/requests/" + id).str("status"); got == "paid" && c.why != "" {
				t.Errorf("it is %s by answers that say nothing", got)
			}
			b.honestly()
			if c.outcome == "denied" {
				return // a bank that refuses credentials is left alone for half a minute
			}
			till.awaitStatus(id, "paid").says("paid_amount", 1250, "exceptions", "[]")
			again := h.bank.calls(id, "revise") // what it holds already, it notes as a change
			if n := h.bank.calls(id, "create"); n != 1 || again > 0 && name != "another amount" {
				t.Errorf("it was made %d times, and sent again %d times", n, again)
			}
			if n := till.told(id, "request.paid"); n != 1 {
				t.Errorf("told %d times that it was paid", n)
			}
		})
	}
}

// TestABankWithAnotherCertificate: where the bank was, somebody else answers. Nothing is
// sent to him, the till is told why, and what it gives up is ended at once.
func TestABankWithAnotherCertificate(t *testing.T) {
	h := raceHouse(t)
	till := h.shop.till
	authority, caPEM, _ := mint(t, "authority", nil)
	bank, _, _ := mint(t, "bank", &authority)
	stranger, _, _ := mint(t, "stranger", nil)
	var shown atomic.Pointer[tls.Certificate]
	shown.Store(&bank)
	b := newBetween(t, h.bank.base)
	secure := httptest.NewUnstartedServer(b.server.Config.Handler)
	secure.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{*shown.Load()}}, nil
	}}
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	settings := till.get("/v1/bank-connections/relay").is(200).str("settings.url")
	till.call("PUT", "/v1/bank-connections/relay", m{"settings": m{"url": strings.Replace(settings, h.bank.base, secure.URL, 1), "ca_pem": string(caPEM)}}).is(200)
	code, other := till.makeCode("counter"), till.makeCode("counter")
	till.attach(code, 100)

	shown.Store(&stranger)
	secure.CloseClientConnections()
	till.call("POST", "/v1/bank-connections/relay/check", nil).is(200).says("ok", false, "steps.0.step", "reach", "steps.0.code", "certificate")
	id := till.link(other, m{"amount": 1250}, "Prefer", "wait=1").is(202).str("request.id")
	till.get("/v1/requests/"+id).says("status", "preparing", "bank.last_error", "certificate")
	h.phone().scan(other, "").is(200).says("resolution", "updating", "request", nil)
	till.call("POST", "/v1/requests/"+id+"/cancel", nil, "Prefer", "wait=30").is(200).says("status", "cancelled", "may_take_other_tender.allowed", true)
	if n := h.bank.calls(id, "create"); n != 0 {
		t.Errorf("the bank got %d calls through a stranger", n)
	}
}

// TestTheMerchantIsToldOfABankThatIsAway: once when it stops answering, with what, and
// once when it answers again.
func TestTheMerchantIsToldOfABankThatIsAway(t *testing.T) {
	h := raceHouse(t)
	till := h.shop.till
	from := till.lastSeq()
	told := func(state string) (n int) {
		var page struct {
			Data []struct {
				Bank *struct{ Rail, Connection, Class, State, Why string }
			}
		}
		till.get(fmt.Sprintf("/v1/events?type=bank.changed&after=%d", from)).is(200).read(&page)
		for _, e := range page.Data {
			if e.Bank != nil && e.Bank.Class == "create" && e.Bank.State == state {
				if e.Bank.Rail != "relay" || e.Bank.Connection == "" || e.Bank.Why == "" {
					t.Errorf("told %+v", e.Bank)
				}
				n++
			}
		}
		return n
	}
	h.bank.strikes("create", "status", 503)
	var ids []string
	for i := range 6 {
		ids = append(ids, till.link(till.makeCode("counter"), m{"amount": 100 + i}, "Prefer", "wait=0").is(202).str("request.id"))
	}
	eventually(t, "the event that the bank is down", func() bool { return told("down") == 1 })
	ready := (&client{t: t, base: till.base}).get("/readyz")
	if !strings.Contains(string(ready.Body), "create open") {
		t.Errorf("/readyz says %s", ready.Body)
	}
	h.bank.heals()
	for _, id := range ids {
		till.awaitStatus(id, "active")
	}
	eventually(t, "the event that the bank is up", func() bool { return told("up") == 1 })
	if told("down") != 1 {
		t.Error("told more than once")
	}
}

// TestMayTakeOtherTender: through the life of a request, with why not; and an event
// whenever it changes.
func TestMayTakeOtherTender(t *testing.T) {
	h := raceHouse(t)
	till, code := h.shop.till, h.shop.till.makeCode("counter")
	must := func(id, status string, allowed bool, why any) {
		t.Helper()
		till.get("/v1/requests/"+id).is(200).says("status", status, "may_take_other_tender.allowed", allowed, "may_take_other_tender.why", why)
	}
	last := func(id string) (allowed bool) {
		for _, e := range till.allEvents(0) {
			if e.Request != nil && e.Request.ID == id && e.Tender != nil {
				allowed = e.Tender.Allowed
			}
		}
		return allowed
	}
	draft := till.call("POST", "/v1/requests", m{"amount": 100, "draft": true}).is(201).str("id")
	must(draft, "draft", true, nil)
	till.call("POST", "/v1/requests/"+draft+"/submit", nil, "Prefer", "wait=30").is(200)
	must(draft, "active", false, "active")
	bill := till.call("POST", "/v1/requests", m{"value_later": true}).is(201).str("id")
	must(bill, "unvalued", true, nil)

	id := till.attach(code, 1250)
	h.bank.strikes("close", "status", 503)
	till.call("DELETE", "/v1/codes/"+code+"/link?request_id="+id, nil, "Prefer", "wait=0").says("may_take_other_tender.allowed", false, "may_take_other_tender.why", "closing")
	must(id, "closing", false, "closing")
	h.bank.heals()
	till.awaitStatus(id, "cancelled")
	must(id, "cancelled", true, nil)
	if !last(id) {
		t.Error("no event says that other money may be taken now")
	}
	h.bank.forces(id, 1250)
	exception := till.exception(id, "after_cancel")
	must(id, "cancelled", false, "exception_open")
	if last(id) {
		t.Error("no event says that no other money may be taken any more")
	}
	till.decides(exception, "return", nil).is(200)
	must(id, "cancelled", true, nil)
	if !last(id) {
		t.Error("no event says that other money may be taken again")
	}

	// A sale with two requests, and one that is paid.
	one := till.call("POST", "/v1/requests", m{"amount": 600, "sale": "cart", "sale_total": 1000}, "Prefer", "wait=30").is(201).str("id")
	h.bank.pays(one)
	till.awaitStatus(one, "paid")
	must(one, "paid", false, "paid")
	two := till.link(code, m{"amount": 400, "sale": "cart", "sale_total": 1000}).is(200).str("request.id")
	h.bank.pays(two)
	till.awaitStatus(two, "paid")
	must(two, "paid", false, "sale_paid")
}
