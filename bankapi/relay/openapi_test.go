package relay_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"placard/bankapi"
	"placard/bankapi/banktest"
	"placard/bankapi/relay"
	"placard/bankapi/simulator"
	"placard/linking"
)

func specification(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background(), openapi3.EnableExamplesValidation()); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestSpecificationAndItsExamplesAreSound(t *testing.T) { specification(t) }

// witness stands between client and simulator and holds what passes, in both
// directions, against openapi.yaml and against the Standard Webhooks library.
type witness struct {
	t      *testing.T
	bank   http.Handler
	router routers.Router
	verify *webhooks.Webhook
	base   string

	mu   sync.Mutex
	seen map[string]int // "operationId status"
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	check := func(what string, err error) {
		if err != nil {
			w.t.Errorf("%s %s %s: %s: %v\n%s", r.Method, r.URL, what, "against openapi.yaml", err, body)
		}
	}
	target := strings.TrimPrefix(r.URL.RequestURI(), w.base)
	if err := w.verify.Verify(body, r.Header); err != nil {
		w.t.Errorf("%s: the Standard Webhooks library: %v", target, err)
	}
	if !strings.HasSuffix(r.Header.Get("webhook-id"), " "+r.Method+" "+target) {
		w.t.Errorf("webhook-id %q is not bound to %s %s", r.Header.Get("webhook-id"), r.Method, target)
	}
	// The same call as it would reach the server the specification names.
	spec, err := http.NewRequest(r.Method, "https://relay.example/shop-1"+target, bytes.NewReader(body))
	if err != nil {
		w.t.Error(err)
		return
	}
	spec.Header = r.Header.Clone()
	route, params, err := w.router.FindRoute(spec)
	if err != nil {
		w.t.Errorf("%s %s: %v", r.Method, target, err)
		return
	}
	in := &openapi3filter.RequestValidationInput{Request: spec, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, MultiError: true}}
	check("request", openapi3filter.ValidateRequest(r.Context(), in))
	r.Body = io.NopCloser(bytes.NewReader(body))
	rec := httptest.NewRecorder()
	w.bank.ServeHTTP(rec, r)
	check("answer", openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: rec.Code, Header: rec.Header(), Options: in.Options,
		Body: io.NopCloser(bytes.NewReader(rec.Body.Bytes())),
	}))
	w.mu.Lock()
	w.seen[fmt.Sprintf("%s %d", route.Operation.OperationID, rec.Code)]++
	w.mu.Unlock()
	maps.Copy(rw.Header(), rec.Header())
	rw.WriteHeader(rec.Code)
	rw.Write(rec.Body.Bytes())
}

// TestTrafficFollowsTheSpecification plays every call the client has, with every
// field and refusal it can meet, before a witness.
func TestTrafficFollowsTheSpecification(t *testing.T) {
	doc := specification(t)
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	secret := relay.NewSecret()
	verify, err := webhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	sim, err := simulator.New(simulator.Options{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	w := &witness{t: t, bank: sim, router: router, verify: verify, base: "/relay/shop", seen: map[string]int{}}
	server := httptest.NewServer(w)
	defer server.Close()
	callbacks := make(chan []byte, 1)
	merchant := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := verify.Verify(body, r.Header); err != nil {
			t.Errorf("a callback, the Standard Webhooks library: %v", err)
		}
		select {
		case callbacks <- body:
		default: // of two hundred, the first will do
		}
	}))
	defer merchant.Close()
	bank := alone(t, banktest.Target{Now: time.Now}, bankapi.Setup{
		Settings: map[string]string{"url": server.URL + "/relay/shop"},
		Secrets:  map[string]bankapi.Secret{"secret": bankapi.NewSecret(secret)},
	}, nil)
	ctx := t.Context()

	serial := 0
	ask := func() linking.Ask {
		serial++
		return linking.Ask{
			BankRef: linking.BankRef{ID: linking.RequestID(fmt.Sprintf("01J8QZ4F8Y%016d", serial))}, Revision: 1,
			Money: linking.Money{Amount: 1250, Currency: "EUR"}, ExpiresAt: time.Now().Add(time.Hour),
			CallbackURL: merchant.URL + "/callbacks/relay/01",
		}
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	no := func(err error) {
		t.Helper()
		if err == nil {
			t.Fatal("it was not refused")
		}
	}
	put := func(a linking.Ask) linking.Ask {
		t.Helper()
		_, err := bank.Put(ctx, a)
		ok(err)
		return a
	}
	pay := func(a linking.Ask) simulator.State {
		t.Helper()
		s, err := sim.Pay(simulator.Pay{RequestID: string(a.ID)})
		ok(err)
		return s
	}
	_, err = bank.Abilities(ctx)
	ok(err)
	full := ask()
	full.Reference, full.Note, full.Methods = "Müller & Söhne <4>", "Thank you\u2028", []string{"card", "bank"}
	full.Customer = linking.Customer{Name: "A. N. Other", Email: "a@example.com", Phone: "+441", TaxID: "123", Address: "1 Road"}
	full.ReturnURL, full.Min, full.Max = "https://shop.example/thanks?a=b&c=%20", 1000, 2000
	put(full)
	put(full)
	full.Revision, full.Money.Amount = 2, 1300
	put(full)
	older := full
	older.Revision = 1
	_, err = bank.Put(ctx, older)
	no(err)
	foreign := ask()
	foreign.Money.Currency = "ISK"
	_, err = bank.Put(ctx, foreign)
	no(err)
	_, err = bank.Get(ctx, full.BankRef)
	ok(err)
	_, err = bank.Get(ctx, foreign.BankRef)
	no(err)
	_, err = bank.Close(ctx, full.BankRef)
	ok(err)
	open := ask()
	open.ExpiresAt = time.Time{}
	put(open)

	paid := put(ask())
	state := pay(paid)
	_, err = bank.Close(ctx, paid.BankRef)
	ok(err)
	refund := linking.RefundAsk{BankRef: paid.BankRef, Refund: "01J8QZ5A1B2C3D4E5F6G", PaymentID: state.Payments[0].ID,
		Money: linking.Money{Amount: 500, Currency: "EUR"}, Reason: "one coffee was cold"}
	_, err = bank.Refund(ctx, refund)
	ok(err)
	refund.Money.Amount = 501
	_, err = bank.Refund(ctx, refund)
	no(err)
	refund.Refund, refund.Money.Amount = "01J8QZ5A1B2C3D4E5F6H", 751
	_, err = bank.Refund(ctx, refund)
	no(err)
	refund.PaymentID = "a/b c.d?e"
	_, err = bank.Refund(ctx, refund)
	no(err)
	_, err = bank.Get(ctx, paid.BankRef)
	ok(err)

	manual := ask()
	manual.Manual = true
	put(manual)
	_, err = bank.Capture(ctx, manual.BankRef)
	no(err)
	pay(manual)
	_, err = bank.Get(ctx, manual.BankRef)
	ok(err)
	_, err = bank.Capture(ctx, manual.BankRef)
	ok(err)
	for range 210 {
		pay(put(ask()))
	}
	_, _, err = bank.Changed(ctx, time.Now().Add(-time.Minute))
	ok(err)
	sim.Advance(2 * time.Hour)
	_, err = bank.Get(ctx, put(func() linking.Ask { a := ask(); a.ExpiresAt = time.Now().Add(3 * time.Hour); return a }()).BankRef)
	ok(err)

	for _, want := range []string{
		"putRequest 201", "putRequest 200", "putRequest 409", "putRequest 422", "getRequest 200", "getRequest 404",
		"closeRequest 200", "closeRequest 409", "captureRequest 200", "captureRequest 409", "listChanged 200",
		"putRefund 200", "putRefund 404", "putRefund 409", "putRefund 422", "getAbilities 200",
	} {
		if w.seen[want] == 0 {
			t.Errorf("no %s was seen; there were %v", want, slices.Sorted(maps.Keys(w.seen)))
		}
	}
	if w.seen["listChanged 200"] < 2 {
		t.Error("the list never had a second page")
	}
	schema := doc.Components.Schemas["Callback"].Value
	select {
	case body := <-callbacks:
		v := openapi3filter.RegisteredBodyDecoder("application/json")
		value, err := v(bytes.NewReader(body), http.Header{}, doc.Components.Schemas["Callback"], nil)
		ok(err)
		ok(schema.VisitJSON(value))
	case <-time.After(10 * time.Second):
		t.Fatal("no callback came")
	}
}
