package pix_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"placard/bankapi"
	"placard/bankapi/pix"
	"placard/bankapi/simulator"
	"placard/linking"
)

// gateway takes callbacks as Placard's does: with the target among the headers.
type gateway struct {
	url string
	got chan *http.Request
	raw chan []byte
}

func newGateway(t *testing.T) *gateway {
	g := &gateway{got: make(chan *http.Request, 10), raw: make(chan []byte, 10)}
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Header[bankapi.CallbackTarget] = []string{r.RequestURI}
		g.got <- r
		g.raw <- body
	}))
	t.Cleanup(s.Close)
	g.url = s.URL + "/callbacks/pix/01CONNECTION00"
	return g
}

func (g *gateway) next(t *testing.T) (http.Header, []byte) {
	t.Helper()
	select {
	case r := <-g.got:
		return r.Header, <-g.raw
	case <-time.After(10 * time.Second):
		t.Fatal("no callback came")
		return nil, nil
	}
}

func TestCallbacksOfEverySort(t *testing.T) {
	for name, o := range map[string]simulator.Pix{"AsWritten": {}, "BareArray": {BareCallbacks: true}, "NoSuffix": {PlainCallbacks: true}} {
		for _, auth := range []string{"secret", "header"} {
			t.Run(name+"/"+auth, func(t *testing.T) {
				sim := newSimulator(t, simulator.Options{Pix: o})
				server := httptest.NewServer(sim)
				defer server.Close()
				more := map[string]string{"callback_auth": auth}
				s := setup(server.URL, more)
				if auth == "secret" {
					delete(s.Settings, "callback_header")
				}
				bank, g := open(t, s, nil, 8*time.Second), newGateway(t)
				for range 2 { // the second finds it done
					if err := bank.Register(t.Context(), g.url); err != nil {
						t.Fatal(err)
					}
				}
				if _, counts := sim.Calls(""); counts["webhook"] != 3 {
					t.Errorf("%d calls to register twice", counts["webhook"])
				}
				a := ask(nil)
				if _, err := bank.Put(t.Context(), a); err != nil {
					t.Fatal(err)
				}
				paid, err := sim.Pay(simulator.Pay{RequestID: string(a.ID)})
				if err != nil {
					t.Fatal(err)
				}
				header, body := g.next(t)
				if suffix := strings.HasSuffix(header[bankapi.CallbackTarget][0], "/pix"); suffix == o.PlainCallbacks {
					t.Errorf("it came to %v", header[bankapi.CallbackTarget])
				}
				if bare := strings.HasPrefix(string(body), "["); bare != o.BareCallbacks {
					t.Errorf("its body is %s", body)
				}
				if ids, err := bank.Callback(t.Context(), header, body); err != nil || len(ids) != 1 || ids[0] != a.ID {
					t.Fatalf("%v, %v", ids, err)
				}
				// A refund is told once it is final.
				sim.Refunds(linking.RefundPending)
				if _, err := bank.Refund(t.Context(), linking.RefundAsk{BankRef: a.BankRef, Refund: "r1", PaymentID: paid.Payments[0].ID,
					Money: linking.Money{Amount: 100, Currency: "BRL"}}); err != nil {
					t.Fatal(err)
				}
				sim.Refunds(linking.RefundDone)
				header, body = g.next(t)
				if ids, err := bank.Callback(t.Context(), header, body); err != nil || len(ids) != 1 || !strings.Contains(string(body), "DEVOLVIDO") {
					t.Fatalf("%v, %v, %s", ids, err, body)
				}
				select {
				case r := <-g.got:
					t.Fatalf("one too many: %v", r.URL)
				default:
				}
			})
		}
	}
}

func TestACallbackIsHeldAgainstItsMark(t *testing.T) {
	body := []byte(`{"pix":[{"endToEndId":"E1","txid":"01J8QZ4F8Y0000000000000001","chave":"` + shopKey + `"}]}`)
	const print = "aabbccddeeff00112233445566778899aabbccddeeff00112233445566778899"
	bank := func(more map[string]string, secret bool) *pix.Bank {
		s := setup("http://127.0.0.1:1", more)
		if more["callback_header"] == "" {
			delete(s.Settings, "callback_header")
		}
		if !secret {
			delete(s.Secrets, "callback_secret")
		}
		return open(t, s, nil, time.Second)
	}
	secret := bank(map[string]string{"callback_auth": "secret", "callback_header": ""}, true)
	header := bank(map[string]string{"callback_auth": "header", "callback_header": "x-pix-proof"}, true)
	certificate := bank(map[string]string{"callback_auth": "certificate", "callback_header": "", "callback_certificates": "AA:BB" + print[4:]}, false)
	off := bank(map[string]string{"callback_auth": "", "callback_header": ""}, false)
	target := func(s string) http.Header { return http.Header{bankapi.CallbackTarget: {s}} }
	for name, one := range map[string]struct {
		bank *pix.Bank
		h    http.Header
		good bool
	}{
		"the address":                      {secret, target("/c?hmac=" + shopSecret + "&ignorar="), true},
		"the address and /pix":             {secret, target("/c?hmac=" + shopSecret + "&ignorar=/pix"), true},
		"the address and /pix, escaped":    {secret, target("/c?hmac=" + shopSecret + "&ignorar=%2Fpix"), true},
		"another address":                  {secret, target("/c?hmac=" + otherSecret + "&ignorar=/pix"), false},
		"half an address":                  {secret, target("/c?hmac=" + shopSecret[:20] + "&ignorar=/pix"), false},
		"no query":                         {secret, target("/c"), false},
		"no target":                        {secret, http.Header{}, false},
		"two targets":                      {secret, http.Header{bankapi.CallbackTarget: {"/c?hmac=" + shopSecret + "&ignorar=", "/"}}, false},
		"the secret in a header":           {secret, http.Header{"X-Pix-Proof": {shopSecret}}, false},
		"the header":                       {header, http.Header{"X-Pix-Proof": {shopSecret}}, true},
		"another header":                   {header, http.Header{"X-Pix-Proof": {otherSecret}}, false},
		"the secret in the address":        {header, target("/c?hmac=" + shopSecret + "&ignorar="), false},
		"the certificate":                  {certificate, http.Header{bankapi.CallbackCertificate: {print}}, true},
		"another certificate":              {certificate, http.Header{bankapi.CallbackCertificate: {print[:62] + "00"}}, false},
		"what a proxy says of certificate": {certificate, http.Header{"X-Client-Certificate": {print}}, false},
		"nothing was agreed on":            {off, http.Header{"X-Pix-Proof": {""}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			ids, err := one.bank.Callback(t.Context(), one.h, body)
			if (err == nil) != one.good || one.good && (len(ids) != 1 || ids[0] != "01J8QZ4F8Y0000000000000001") {
				t.Fatalf("%v, %v", ids, err)
			}
		})
	}
	good := http.Header{"X-Pix-Proof": {shopSecret}}
	for body, want := range map[string]int{
		"": 0, "{}": 0, `{"pix":[]}`: 0, "[]": 0, `{"pix":null}`: 0,
		`{"pix":[{"txid":"01J8QZ4F8Y0000000000000001"},{"txid":"01J8QZ4F8Y0000000000000001"},{"txid":"01J8QZ4F8Y0000000000000002"}]}`: 2,
		`{"pix":[{"txid":"01J8QZ4F8Y0000000000000001","chave":"` + neighbourKey + `"}]}`:                                              0, // somebody else's money
		`{"pix":[{"txid":"` + txid1 + `"},{"txid":""},{}]}`:                                                                           0, // not Placard's
		`{"evento":"teste"}`: 0,
	} {
		if ids, err := header.Callback(t.Context(), good, []byte(body)); err != nil || len(ids) != want {
			t.Errorf("%s: %v, %v; want %d", body, ids, err, want)
		}
	}
	for _, body := range []string{"null", "1", `"x"`, `{"pix":{}}`, `{"pix":[1]}`, `{"pix":[],"pix":[]}`, `[`, strings.Repeat("[", 100)} {
		if ids, err := header.Callback(t.Context(), good, []byte(body)); err == nil {
			t.Errorf("%s: %v", body, ids)
		}
	}
}

// A key has one webhook. One that leads elsewhere is somebody's, and is left alone.
func TestAnotherSystemsWebhookIsLeftAlone(t *testing.T) {
	r := newRaw(t, simulator.Pix{})
	r.good(200, "PUT", "/webhook/"+shopKey, `{"webhookUrl":"https://erp.example/pix"}`)
	bank := open(t, setup(r.url, nil), nil, 8*time.Second)
	refusal(t, bank.Register(t.Context(), "https://pay.example/callbacks/pix/01"), linking.BankRefused, "webhook_taken")
	r.same("the webhook", r.good(200, "GET", "/webhook/"+shopKey, "")["webhookUrl"], "https://erp.example/pix")
	for _, url := range []string{"http://pay.example/x", "https://pay.example/x?y", "ftp://pay.example", ""} {
		if err := bank.Register(t.Context(), url); err == nil {
			t.Errorf("%q was registered", url)
		}
	}
}
