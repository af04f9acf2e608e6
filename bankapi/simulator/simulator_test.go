package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"placard/bankapi/relay"
	"placard/linking"
)

// bank is a simulator on a real address, with one account.
type bank struct {
	*Simulator
	t    *testing.T
	url  string
	keys relay.Keys
}

func newBank(t *testing.T, o Options) *bank {
	t.Helper()
	secret := relay.NewSecret()
	o.Accounts = []Account{{ID: "shop", Name: "Corner Café <1>", Secret: secret}}
	o.Log = slog.New(slog.DiscardHandler)
	sim, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(func() { server.Close(); sim.Close() })
	keys, err := relay.ParseKeys(secret)
	if err != nil {
		t.Fatal(err)
	}
	return &bank{sim, t, server.URL, keys}
}

// lone makes a new connection for each call: net/http repeats a GET by itself when
// a kept connection breaks.
var lone = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// do makes a call and returns the status and the JSON object that was answered.
func (b *bank) do(req *http.Request) (int, map[string]any) {
	b.t.Helper()
	res, err := lone.Do(req)
	if err != nil {
		return 0, map[string]any{"error": err.Error()}
	}
	defer res.Body.Close()
	var doc map[string]any
	body, _ := io.ReadAll(res.Body)
	json.Unmarshal(body, &doc)
	return res.StatusCode, doc
}

// control uses a control as another process would.
func (b *bank) control(method, path, body string) (int, map[string]any) {
	b.t.Helper()
	req, err := http.NewRequest(method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(req)
}

// signed makes a call of the relay wire; alter may spoil it before it goes.
func (b *bank) signed(method, target, body string, alter func(*http.Request)) (int, map[string]any) {
	b.t.Helper()
	req, err := http.NewRequest(method, b.url+"/relay/shop"+target, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	b.keys.Sign(req.Header, relay.CallID(method, target), time.Now(), []byte(body))
	if alter != nil {
		alter(req)
	}
	return b.do(req)
}

var serial atomic.Int64

func newID() string { return fmt.Sprintf("01J8QZ4F8Y%016d", serial.Add(1)) }

// make puts a request of 12.50 EUR for a quarter of an hour; more is added to it.
func (b *bank) make(more string) string {
	b.t.Helper()
	id := newID()
	status, doc := b.signed("PUT", "/requests/"+id, fmt.Sprintf(
		`{"revision":1,"amount":1250,"currency":"EUR","capture":"auto","reference":"Table 4","expires_at":"%s"%s}`,
		b.Advance(0).Add(15*time.Minute).Format("2006-01-02T15:04:05Z"), more), nil)
	if status != http.StatusCreated {
		b.t.Fatalf("%d %v", status, doc)
	}
	return id
}

func (b *bank) expect(wantStatus int, wantCode string, status int, doc map[string]any) {
	b.t.Helper()
	code, _ := doc["code"].(string)
	if status != wantStatus || code != wantCode {
		b.t.Fatalf("%d %v, want %d %q", status, doc, wantStatus, wantCode)
	}
}

func TestControlsPayAndRefuse(t *testing.T) {
	b := newBank(t, Options{})
	id := b.make("")
	_, doc := b.control("GET", "/sim/requests/"+id, "")
	if doc["status"] != "open" || doc["amount"] != 1250.0 || doc["currency"] != "EUR" || doc["revision"] != 1.0 || len(doc["payments"].([]any)) != 0 {
		t.Fatalf("%v", doc)
	}
	bankID := doc["bank_id"].(string)
	status, doc := b.control("POST", "/sim/pay", `{"request_id":"`+id+`","hold":true}`)
	if status != 200 || doc["status"] != "processing" {
		t.Fatalf("hold: %d %v", status, doc)
	}
	status, doc = b.control("POST", "/sim/refuse", `{"request_id":"`+bankID+`"}`)
	if status != 200 || doc["status"] != "open" {
		t.Fatalf("a held payment that fails: %d %v", status, doc)
	}
	status, doc = b.control("POST", "/sim/pay", `{"request_id":"`+bankID+`","amount":999,"times":2}`)
	p := doc["payments"].([]any)
	if status != 200 || doc["status"] != "paid" || len(p) != 2 || p[0].(map[string]any)["amount"] != 999.0 || p[0].(map[string]any)["at"] == "" {
		t.Fatalf("paid twice: %d %v", status, doc)
	}
	// What a real bank refuses, unless it is forced.
	status, doc = b.control("POST", "/sim/pay", `{"request_id":"`+id+`"}`)
	b.expect(409, "paid", status, doc)
	status, doc = b.control("POST", "/sim/pay", `{"request_id":"`+id+`","force":true}`)
	if status != 200 || len(doc["payments"].([]any)) != 3 {
		t.Fatalf("forced: %d %v", status, doc)
	}
	refused := b.make("")
	status, doc = b.control("POST", "/sim/refuse", `{"request_id":"`+refused+`"}`)
	if status != 200 || doc["status"] != "closed" || doc["reason"] != "payer_refused" {
		t.Fatalf("the payer says no: %d %v", status, doc)
	}
	status, doc = b.control("POST", "/sim/pay", `{"request_id":"`+refused+`"}`)
	b.expect(409, "closed", status, doc)
	status, doc = b.control("POST", "/sim/pay", `{"request_id":"nothing"}`)
	b.expect(404, "not_found", status, doc)
	status, doc = b.control("GET", "/sim/requests/nothing", "")
	b.expect(404, "not_found", status, doc)
	status, doc = b.control("POST", "/sim/pay", `{"request":"`+id+`"}`)
	b.expect(400, "malformed", status, doc)
	status, doc = b.control("POST", "/sim/pay", `{"request_id":"`+b.make("")+`","amount":-5}`)
	b.expect(422, "amount", status, doc)
}

func TestControlsMoveTheClock(t *testing.T) {
	b := newBank(t, Options{})
	id := b.make("")
	status, doc := b.control("POST", "/sim/clock", `{"advance":"10m"}`)
	if status != 200 {
		t.Fatalf("%d %v", status, doc)
	}
	if _, doc = b.control("GET", "/sim/requests/"+id, ""); doc["status"] != "open" {
		t.Fatalf("after ten minutes of fifteen: %v", doc)
	}
	b.control("POST", "/sim/clock", `{"advance":"5m"}`)
	if _, doc = b.control("GET", "/sim/requests/"+id, ""); doc["status"] != "expired" {
		t.Fatalf("at its end: %v", doc)
	}
	status, doc = b.control("POST", "/sim/pay", `{"request_id":"`+id+`"}`)
	b.expect(409, "expired", status, doc)
	for _, bad := range []string{"-1m", "soon", ""} {
		status, doc = b.control("POST", "/sim/clock", `{"advance":"`+bad+`"}`)
		b.expect(422, "advance", status, doc)
	}
	// Signatures go by the wall clock: the merchant's has not moved.
	if status, doc = b.signed("GET", "/requests/"+id, "", nil); status != 200 {
		t.Fatalf("%d %v", status, doc)
	}
}

func TestControlsMakeFaults(t *testing.T) {
	b := newBank(t, Options{})
	id := b.make("")
	get := func() (int, map[string]any) { b.t.Helper(); return b.signed("GET", "/requests/"+id, "", nil) }
	fault := func(body string) {
		t.Helper()
		if status, doc := b.control("POST", "/sim/faults", body); status != 200 {
			t.Fatalf("%d %v", status, doc)
		}
	}
	fault(`{"route":"get","kind":"status","value":503,"count":2}`)
	for _, want := range []int{503, 503, 200} {
		if status, _ := get(); status != want {
			t.Fatalf("%d, want %d", status, want)
		}
	}
	fault(`{"route":"close","kind":"status","value":500}`)
	if status, _ := get(); status != 200 {
		t.Fatal("a fault of another route hit")
	}
	if status, _ := b.control("DELETE", "/sim/faults", ""); status != 200 {
		t.Fatal("faults cannot be cleared")
	}
	if status, _ := b.signed("DELETE", "/requests/"+b.make(""), "", nil); status != 200 {
		t.Fatal("a cleared fault hit")
	}
	fault(`{"kind":"latency","value":150}`)
	start := time.Now()
	if status, _ := get(); status != 200 || time.Since(start) < 150*time.Millisecond {
		t.Fatalf("%d after %v", status, time.Since(start))
	}
	b.ClearFaults()
	for _, kind := range []string{"reset", "drop_after_commit"} {
		fault(`{"route":"*","kind":"` + kind + `","count":1}`)
		if status, doc := get(); status != 0 {
			t.Fatalf("%s: %d %v", kind, status, doc)
		}
	}
	fault(`{"route":"get","kind":"hang","value":50,"count":1}`)
	if status, doc := get(); status != 0 {
		t.Fatalf("hang: %d %v", status, doc)
	}
	fault(`{"route":"get","kind":"garbage","count":1}`)
	if status, doc := get(); status != 200 || doc != nil {
		t.Fatalf("garbage: %d %v", status, doc)
	}
	fault(`{"route":"get","kind":"token_expired","count":1}`)
	status, doc := get()
	b.expect(401, "token_expired", status, doc)
	for _, bad := range []string{`{"kind":"fire"}`, `{"kind":"status","value":99}`, `{"kind":"status"}`, `{"kind":"reset","route":"moon"}`, `{"kind":"reset","probability":2}`} {
		if status, _ := b.control("POST", "/sim/faults", bad); status != 422 {
			t.Fatalf("%s: %d", bad, status)
		}
	}
}

func TestFaultsByChanceCanBeRepeated(t *testing.T) {
	run := func(seed uint64) (hits string) {
		f := &faults{}
		f.seed(seed)
		if err := f.add(Fault{Kind: Reset, Probability: Likely(0.3)}); err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			_, hit := f.strike("get")
			hits += map[bool]string{true: "x", false: "."}[hit.Kind != ""]
		}
		return hits
	}
	first, again, other := run(1), run(1), run(2)
	if first != again || first == other {
		t.Fatal("the seed does not decide")
	}
	if n := strings.Count(first, "x"); n < 250 || n > 350 {
		t.Fatalf("%d hits of 1000 at 0.3", n)
	}
}

func TestCallsAreCounted(t *testing.T) {
	b := newBank(t, Options{})
	id, other := b.make(""), b.make("")
	b.signed("GET", "/requests/"+id, "", nil)
	b.signed("PUT", "/requests/"+id, `{"revision":2,"amount":1,"currency":"EUR","capture":"auto"}`, nil)
	state, err := b.Pay(Pay{RequestID: id})
	if err != nil {
		t.Fatal(err)
	}
	b.signed("PUT", "/payments/"+state.Payments[0].ID+"/refunds/01J8QZ5A1B2C3D4E5F6G", `{"request_id":"`+id+`","amount":1,"currency":"EUR"}`, nil)
	b.signed("DELETE", "/requests/"+other, "", nil)
	_, doc := b.control("GET", "/sim/calls?request_id="+id, "")
	if got := fmt.Sprint(doc["counts"]); got != "map[create:1 get:1 refund:1 revise:1]" {
		t.Fatalf("%v", got)
	}
	if n := len(doc["data"].([]any)); n != 4 {
		t.Fatalf("%d calls", n)
	}
	if _, counts := b.Calls(""); counts["create"] != 2 || counts["close"] != 1 {
		t.Fatalf("%v", counts)
	}
}

func TestTheRelayWireIsStrict(t *testing.T) {
	b := newBank(t, Options{})
	id := b.make("")
	good := `{"revision":1,"amount":1,"currency":"EUR","capture":"auto"}`
	for name, c := range map[string]struct {
		method, target, body string
		alter                func(*http.Request)
		status               int
		code                 string
	}{
		"no signature": {"GET", "/requests/" + id, "", func(r *http.Request) { r.Header.Del("Webhook-Signature") }, 401, "signature"},
		"an old signature": {"GET", "/requests/" + id, "", func(r *http.Request) {
			b.keys.Sign(r.Header, relay.CallID("GET", "/requests/"+id), time.Now().Add(-6*time.Minute), nil)
		}, 401, "signature"},
		"signed as a callback":  {"GET", "/requests/" + id, "", func(r *http.Request) { b.keys.Sign(r.Header, "cb_1", time.Now(), nil) }, 401, "signature"},
		"a GET made a DELETE":   {"GET", "/requests/" + id, "", func(r *http.Request) { r.Method = "DELETE" }, 401, "signature"},
		"another's target":      {"GET", "/requests/" + id, "", func(r *http.Request) { r.URL.Path += "0" }, 401, "signature"},
		"another query":         {"GET", "/requests?changed_since=2026-01-01T00:00:00Z", "", func(r *http.Request) { r.URL.RawQuery = "changed_since=2025-01-01T00:00:00Z" }, 401, "signature"},
		"another body":          {"PUT", "/requests/" + newID(), good, func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(strings.Replace(good, "1", "2", 1))) }, 401, "signature"},
		"another account":       {"GET", "/requests/" + id, "", func(r *http.Request) { r.URL.Path = "/relay/neighbour/requests/" + id }, 401, "signature"},
		"an unknown field":      {"PUT", "/requests/" + newID(), `{"revision":1,"amount":1,"currency":"EUR","capture":"auto","colour":1}`, nil, 400, "malformed"},
		"something after it":    {"PUT", "/requests/" + newID(), good + "{}", nil, 400, "malformed"},
		"no JSON":               {"PUT", "/requests/" + newID(), "amount=1", nil, 400, "malformed"},
		"another content type":  {"PUT", "/requests/" + newID(), good, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 400, "malformed"},
		"no revision":           {"PUT", "/requests/" + newID(), `{"amount":1,"currency":"EUR","capture":"auto"}`, nil, 422, "revision"},
		"no capture":            {"PUT", "/requests/" + newID(), `{"revision":1,"amount":1,"currency":"EUR"}`, nil, 400, "malformed"},
		"a fraction":            {"PUT", "/requests/" + newID(), strings.Replace(good, `"amount":1`, `"amount":1.5`, 1), nil, 400, "malformed"},
		"nothing":               {"PUT", "/requests/" + newID(), strings.Replace(good, `"amount":1`, `"amount":0`, 1), nil, 422, "amount"},
		"a lower-case id":       {"PUT", "/requests/" + strings.ToLower(newID()), good, nil, 422, "id"},
		"a local expiry":        {"PUT", "/requests/" + newID(), strings.Replace(good, `{`, `{"expires_at":"2030-01-01T00:00:00+01:00",`, 1), nil, 400, "malformed"},
		"a script to return to": {"PUT", "/requests/" + newID(), strings.Replace(good, `{`, `{"return_url":"javascript:alert(1)",`, 1), nil, 422, "url"},
		"a larger body":         {"PUT", "/requests/" + newID(), `{"note":"` + strings.Repeat("a", 70_000) + `"}`, nil, 413, "too_large"},
		"no such route":         {"GET", "/nothing", "", nil, 404, "no_such_route"},
		"a list since never":    {"GET", "/requests", "", nil, 400, "malformed"},
		"a cursor of its own":   {"GET", "/requests?changed_since=2026-01-01T00:00:00Z&after=x", "", nil, 400, "cursor"},
	} {
		t.Run(name, func(t *testing.T) {
			b.t = t
			status, doc := b.signed(c.method, c.target, c.body, c.alter)
			b.expect(c.status, c.code, status, doc)
		})
	}
	if s, err := b.Request(id); err != nil || s.Status != linking.BankOpen {
		t.Fatalf("after all that: %+v, %v", s, err)
	}
}

func TestTheBankTellsOfAnEndNobodyAskedAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		l := newLedger(Everything, time.Now, func(s requestSnapshot) { told = append(told, s.id+" "+string(s.status)) })
		defer l.stop()
		l.open("shop", "")
		for id, minutes := range map[string]int{"late": 3, "early": 1, "middle": 2} {
			_, _, err := l.put("shop", id, order{revision: 1, money: linking.Money{Amount: 1, Currency: "EUR"}, expiresAt: time.Now().Add(time.Duration(minutes) * time.Minute)})
			if err != nil {
				t.Fatal(err)
			}
		}
		l.close("shop", "middle")
		time.Sleep(time.Hour)
		synctest.Wait()
		l.mu.Lock()
		defer l.mu.Unlock()
		if !slices.Equal(told, []string{"early expired", "late expired"}) {
			t.Fatalf("%v", told)
		}
	})
}

func TestTheBankRemembersOnlySoMany(t *testing.T) {
	l := newLedger(Everything, time.Now, func(requestSnapshot) {})
	defer l.stop()
	l.most = 100
	l.open("shop", "")
	put := func(id string) error {
		_, _, err := l.put("shop", id, order{revision: 1, money: linking.Money{Amount: 1, Currency: "EUR"}})
		return err
	}
	for i := range 100 {
		if err := put(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := put("one more"); codeOf(err) != "full" {
		t.Fatalf("with all of them open: %v", err)
	}
	if _, err := l.pay(payOrder{id: "7"}); err != nil {
		t.Fatal(err)
	}
	if err := put("one more"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.get("shop", "7"); codeOf(err) != "not_found" || l.all.Len() != 100 || len(l.requests) != 200 || len(l.payments) != 0 {
		t.Fatalf("%v; %d requests, %d names, %d payments", err, l.all.Len(), len(l.requests), len(l.payments))
	}
}

func TestAccountsAreOpenedByTheSharedSecret(t *testing.T) {
	secret := relay.NewSecret()
	sim, err := New(Options{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	server := httptest.NewServer(sim)
	defer server.Close()
	keys, _ := relay.ParseKeys(secret)
	call := func(account string) int {
		req, _ := http.NewRequest("GET", server.URL+"/relay/"+account+"/abilities", bytes.NewReader(nil))
		keys.Sign(req.Header, relay.CallID("GET", "/abilities"), time.Now(), nil)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	if got := call("01MERCHANT0000"); got != 200 {
		t.Fatal(got)
	}
	if err := sim.OpenAccount(Account{ID: "01MERCHANT0000", Secret: relay.NewSecret()}); err != nil {
		t.Fatal(err)
	}
	if got := call("01MERCHANT0000"); got != 401 {
		t.Fatalf("an account with a secret of its own takes the shared one: %d", got)
	}
}
