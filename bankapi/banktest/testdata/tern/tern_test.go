package tern_test

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"placard/bankapi"
	"placard/bankapi/banktest"
	"placard/bankapi/banktest/testdata/tern"
	"placard/bankapi/relay"
	"placard/bankapi/simulator"
	"placard/linking"
)

// Tern is a provider that nobody has heard of. Here it is a counter in front of the
// simulated bank: it takes calls as Tern takes them, and hands them to the bank by the
// wire of a relay. Its books, its payers and its failures are the bank's.
type provider struct {
	bank  http.Handler
	wire  relay.Keys
	shops map[string]string // by their keys

	mu   sync.Mutex
	owns map[string]string // a charge's shop
}

const wireSecret = "whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldCBlbnRpcmVseQ=="

func callbackKey(shop string) string { return shop + "-0123456789abcdef0123456789abcdef" }

// charge is what Tern is asked for.
type charge struct {
	Version  int    `json:"version"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	Text     string `json:"text"`
	Ends     string `json:"ends"`
	ReturnTo string `json:"return_to"`
	Notify   string `json:"notify"`
}

type refund struct {
	Payment  string `json:"payment"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	shop, known := p.shops[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	part := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/tern/charges/"), "/")
	body, _ := io.ReadAll(r.Body)
	target, out := "/requests/"+part[0], any(nil)
	var asked charge
	var back refund
	switch {
	case !known:
		problem(w, http.StatusUnauthorized, "who_are_you")
		return
	case len(part) == 1 && r.Method == http.MethodPut && exactly(body, &asked):
		p.mu.Lock()
		p.owns[part[0]] = shop
		p.mu.Unlock()
		out = map[string]any{"revision": asked.Version, "amount": asked.Amount, "currency": asked.Currency, "reference": asked.Text,
			"expires_at": asked.Ends, "capture": "auto", "return_url": asked.ReturnTo, "callback_url": asked.Notify}
	case len(part) == 1 && (r.Method == http.MethodGet || r.Method == http.MethodDelete):
	case len(part) == 3 && part[1] == "refunds" && r.Method == http.MethodPut && exactly(body, &back):
		target = "/payments/" + back.Payment + "/refunds/" + part[2]
		out = map[string]any{"request_id": part[0], "amount": back.Amount, "currency": back.Currency}
	default:
		problem(w, http.StatusBadRequest, "malformed")
		return
	}
	body = nil
	if out != nil {
		body, _ = json.Marshal(out)
	}
	behind := r.Clone(r.Context())
	behind.URL.Path, behind.URL.RawPath = "/relay/"+shop+target, ""
	behind.Body, behind.Header = io.NopCloser(bytes.NewReader(body)), http.Header{"Content-Type": {"application/json"}}
	p.wire.Sign(behind.Header, relay.CallID(r.Method, target), time.Now(), body)
	said := &answer{ResponseRecorder: httptest.NewRecorder(), w: w}
	p.bank.ServeHTTP(said, behind)
	if said.gone {
		return
	}
	p.translate(w, said)
}

func exactly(body []byte, into any) bool {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	return d.Decode(into) == nil
}

func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"error": code})
}

// answer is the bank's, who may also hang up on whoever calls.
type answer struct {
	*httptest.ResponseRecorder
	w    http.ResponseWriter
	gone bool
}

func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(a.w).Hijack()
	a.gone = err == nil
	return conn, rw, err
}

// translate says what the bank said as Tern says it.
func (p *provider) translate(w http.ResponseWriter, said *answer) {
	var doc map[string]any
	d := json.NewDecoder(bytes.NewReader(said.Body.Bytes()))
	d.UseNumber()
	if d.Decode(&doc) != nil { // nobody can read it
		w.WriteHeader(said.Code)
		w.Write(said.Body.Bytes())
		return
	}
	if said.Code >= 300 {
		if v := said.Header().Get("Retry-After"); v != "" {
			w.Header().Set("Retry-After", v)
		}
		code, _ := doc["code"].(string)
		if said.Code == http.StatusNotFound && code == "not_found" {
			code = "no_such_charge"
		}
		problem(w, said.Code, code)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(said.Code)
	json.NewEncoder(w).Encode(asTern(doc))
}

var words = map[any]string{
	"open": "OPEN", "processing": "PAYING", "paid": "PAID", "closed": "ENDED", "expired": "LAPSED", "rejected": "ENDED",
	"done": "SENT", "pending": "QUEUED", "failed": "FAILED",
}

func asTern(doc map[string]any) map[string]any {
	out := map[string]any{}
	for name, v := range doc {
		switch name {
		case "revision":
			out["version"] = v
		case "status":
			out["state"] = words[v]
		case "expires_at":
			out["ends"] = v
		case "paid_at":
			out["at"] = v
		case "payment_id":
			out["payment"] = v
		case "way":
			out["page"] = v.(map[string]any)["url"]
		case "payments", "refunds":
			var list []any
			for _, one := range v.([]any) {
				list = append(list, asTern(one.(map[string]any)))
			}
			out[name] = list
		default:
			out[name] = v
		}
	}
	return out
}

// RoundTrip carries the bank's callbacks to the shops, in Tern's words and with its mark.
func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	var news struct{ ID string }
	json.Unmarshal(body, &news)
	p.mu.Lock()
	shop := p.owns[news.ID]
	p.mu.Unlock()
	body, _ = json.Marshal(map[string]string{"charge": news.ID})
	out, err := http.NewRequestWithContext(r.Context(), r.Method, r.URL.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	at := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(callbackKey(shop)))
	mac.Write([]byte(at + "." + string(body)))
	out.Header.Set("Tern-Time", at)
	out.Header.Set("Tern-Signature", hex.EncodeToString(mac.Sum(nil)))
	return http.DefaultTransport.RoundTrip(out)
}

func fixture(t *testing.T) banktest.Fixture {
	t.Helper()
	keys, err := relay.ParseKeys(wireSecret)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{wire: keys, shops: map[string]string{"key-of-shop": "shop", "key-of-neighbour": "neighbour"}, owns: map[string]string{}}
	can := linking.Abilities{Currencies: []linking.Currency{"EUR", "NOK"}, MaxExpiry: 30 * 24 * time.Hour, Revise: true, Refund: true, EndsItself: true,
		Charges: []linking.Charge{linking.Immediate}}
	sim, err := simulator.New(simulator.Options{Secret: wireSecret, Abilities: can, Log: slog.New(slog.DiscardHandler), Client: &http.Client{Transport: p}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	open := func(key, callback string) func(*testing.T, banktest.Target) linking.Bank {
		return func(t *testing.T, at banktest.Target) linking.Bank {
			t.Helper()
			s := bankapi.Setup{
				Settings: map[string]string{"url": at.URL + "/tern", "ca_pem": string(at.CA)},
				Secrets:  map[string]bankapi.Secret{"key": bankapi.NewSecret(key), "callback_key": bankapi.NewSecret(callback)},
				Client: func(c *tls.Config) *http.Client {
					client := bankapi.NewClient(bankapi.Limits{Total: at.Patience}, c)
					t.Cleanup(client.CloseIdleConnections)
					return client
				},
			}
			b, err := tern.Rail{Now: at.Now}.Open(s)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	return banktest.Fixture{
		Sim: sim, Abilities: can, Currency: "EUR", Foreign: "CHF", Lies: lies, Proof: banktest.Proof{Headers: []string{"Tern-Time", "Tern-Signature"}},
		Open: open("key-of-shop", callbackKey("shop")), Neighbour: open("key-of-neighbour", callbackKey("neighbour")), Stranger: open("a key", callbackKey("shop")),
		Witness: func(bank http.Handler) http.Handler { p.bank = bank; return p },
	}
}

func TestConformance(t *testing.T) { banktest.Run(t, fixture) }

func set(name string, v any) func(map[string]any) {
	return func(doc map[string]any) { doc[name] = v }
}

func drop(name string) func(map[string]any) {
	return func(doc map[string]any) { delete(doc, name) }
}

func inPayment(alter func(map[string]any)) func(map[string]any) {
	return func(doc map[string]any) { alter(doc["payments"].([]any)[0].(map[string]any)) }
}

var lies = map[banktest.Lie]func(doc map[string]any){
	banktest.OtherID:         set("id", "01J8ZZZZZZZZZZZZZZZZZZZZZZ"),
	banktest.NoID:            drop("id"),
	banktest.UnknownStatus:   set("state", "PERHAPS"),
	banktest.NoStatus:        drop("state"),
	banktest.UnknownCurrency: set("currency", "XXX"),
	banktest.ForeignCurrency: set("currency", "USD"),
	banktest.OtherAmount:     set("amount", 9999),
	banktest.NoAmount:        drop("amount"),
	banktest.ZeroAmount:      set("amount", 0),
	banktest.NegativeAmount:  set("amount", -1250),
	banktest.HugeAmount:      set("amount", json.Number("99999999999999999999999")),
	banktest.FractionAmount:  set("amount", json.Number("1250.5")),
	banktest.TextAmount:      set("amount", "1250"),
	banktest.NoWay:           drop("page"),
	banktest.HostileWay:      set("page", "javascript:alert(1)"),
	banktest.BadTime:         set("ends", "tomorrow"),
	banktest.PaidForNothing:  set("state", "PAID"),
	banktest.NamelessPayment: inPayment(drop("id")),
	banktest.TimelessPayment: inPayment(drop("at")),
	banktest.TwinPayments: func(doc map[string]any) {
		list := doc["payments"].([]any)
		doc["payments"] = append(list, list[0])
	},
	banktest.OtherRefund:         set("id", "01J8ZZZZZZZZZZZZZZZZ"),
	banktest.OtherRefundAmount:   set("amount", 99),
	banktest.OtherRefundCurrency: set("currency", "NOK"),
	banktest.UnknownRefundStatus: set("state", "PERHAPS"),
	banktest.WrongRefund:         set("refunds", []any{map[string]any{"id": "r1", "payment": "none", "amount": 1, "currency": "EUR", "state": "SENT"}}),
}
