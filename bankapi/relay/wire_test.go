package relay

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"placard/bankapi"
	"placard/linking"
)

const someID = linking.RequestID("01J8QZ4F8YV6N0W3H5K7T9ACDE")

// goodState is an answer with everything in it.
const goodState = `{"id":"01J8QZ4F8YV6N0W3H5K7T9ACDE","revision":2,"amount":1250,"currency":"EUR","status":"open","reason":"payment_failed",
"expires_at":"2026-11-20T10:15:00.25+02:00","way":{"kind":"redirect","url":"https://checkout.example/s?a=b","until":"2026-11-20T10:15:00Z"},
"payments":[{"id":"ch 1/2","amount":1250,"currency":"EUR","paid_at":"2026-11-20T10:03:11Z","method":"card"}],
"refunds":[{"id":"r1","payment_id":"ch 1/2","amount":500,"currency":"EUR","status":"failed","reason":"account closed!"}],"more":[{"deep":{}}]}`

func TestStateIsReadWhole(t *testing.T) {
	s, err := stateOf([]byte(goodState), someID, false)
	if err != nil {
		t.Fatal(err)
	}
	if s.ID != someID || s.Revision != 2 || s.Status != linking.BankOpen || s.Money != (linking.Money{Amount: 1250, Currency: "EUR"}) ||
		s.Reason != "payment_failed" || !s.ExpiresAt.Equal(time.Date(2026, 11, 20, 8, 15, 0, 25e7, time.UTC)) ||
		s.Way.Kind != linking.Redirect || s.Way.URL != "https://checkout.example/s?a=b" || s.Way.Until.IsZero() {
		t.Errorf("%+v", s)
	}
	if len(s.Payments) != 1 || s.Payments[0].ID != "ch 1/2" || s.Payments[0].Method != "card" || s.Payments[0].PaidAt.Minute() != 3 {
		t.Errorf("payments %+v", s.Payments)
	}
	// The bank's free text does not come through as a code.
	if len(s.Refunds) != 1 || s.Refunds[0].Status != linking.RefundFailed || s.Refunds[0].Reason != "other" {
		t.Errorf("refunds %+v", s.Refunds)
	}
}

func TestStateThatCannotBeTrusted(t *testing.T) {
	for want, alter := range map[string][2]string{
		"malformed":            {`"amount":1250,"currency":"EUR","status"`, `"amount":1e3,"currency":"EUR","status"`},
		"ambiguous":            {`"status":"open"`, `"status":"paid","STATUS":"open"`},
		"wrong_id":             {`"01J8QZ4F8YV6N0W3H5K7T9ACDE"`, `"01j8qz4f8yv6n0w3h5k7t9acde"`},
		"unknown_status":       {`"open"`, `"Open"`},
		"bad_revision":         {`"revision":2`, `"revision":-1`},
		"bad_currency":         {`"currency":"EUR","status":"open"`, `"currency":"eur","status":"open"`},
		"bad_amount":           {`"amount":1250,"currency":"EUR","status":"open"`, `"amount":null,"currency":"EUR","status":"open"`},
		"bad_time":             {`2026-11-20T10:15:00.25+02:00`, `2026-11-20 10:15`},
		"bad_way":              {`https://checkout.example`, `http://checkout.example`},
		"no_way":               {`"way":{`, `"weg":{`},
		"bad_payment":          {`"id":"ch 1/2","amount"`, `"id":"ch\n1/2","amount"`},
		"bad_refund":           {`"payment_id":"ch 1/2"`, `"payment_id":"ch 1"`},
		"paid_without_payment": {goodState, `{"id":"01J8QZ4F8YV6N0W3H5K7T9ACDE","amount":1,"currency":"EUR","status":"paid","payments":[]}`},
	} {
		body := strings.Replace(goodState, alter[0], alter[1], 1)
		if body == goodState {
			t.Fatalf("%s: nothing was altered", want)
		}
		if _, err := stateOf([]byte(body), someID, false); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestWayIsSafeToGo(t *testing.T) {
	for w, want := range map[wayDoc]bool{
		{Kind: "redirect", URL: "https://checkout.example/x"}:                            true,
		{Kind: "redirect", URL: "http://127.0.0.1:8080/app/1"}:                           true,
		{Kind: "redirect", URL: "http://[::1]/"}:                                         true,
		{Kind: "redirect", URL: "http://192.168.1.5/app/1"}:                              false,
		{Kind: "redirect", URL: "http://127.0.0.1.example/"}:                             false,
		{Kind: "redirect", URL: "https://user:pw@checkout.example/"}:                     false,
		{Kind: "redirect", URL: "javascript:alert(1)"}:                                   false,
		{Kind: "redirect", URL: "//checkout.example/"}:                                   false,
		{Kind: "redirect", URL: "https://"}:                                              false,
		{Kind: "redirect", URL: "https://checkout.example/\nx"}:                          false,
		{Kind: "redirect", URL: "https://checkout.example/" + strings.Repeat("a", 2048)}: false,
		{Kind: "app", URL: "swish://paymentrequest?token=1"}:                             true,
		{Kind: "app", URL: "https://bank.example/open"}:                                  true,
		{Kind: "app", URL: "JavaScript:alert(1)"}:                                        false,
		{Kind: "app", URL: " javascript:alert(1)"}:                                       false,
		{Kind: "app", URL: "data:text/html,x"}:                                           false,
		{Kind: "app", URL: "http://bank.example"}:                                        false,
		{Kind: "app", URL: "file:///etc/passwd"}:                                         false,
		{Kind: "app"}:                                                                    false,
		{Kind: "emv", Payload: "000201"}:                                                 true,
		{Kind: "emv"}:                                                                    false,
		{Kind: "emv", Payload: "0002\x0001"}:                                             false,
		{Kind: "pigeon", URL: "https://x.example"}:                                       false,
	} {
		if _, err := w.way(false); (err == nil) != want {
			t.Errorf("%+v: %v", w, err)
		}
	}
	if _, err := (&wayDoc{Kind: "redirect", URL: "http://192.168.1.5/app/1"}).way(true); err != nil {
		t.Errorf("where the operator allows plain http: %v", err)
	}
}

func TestInstantsAreWholeSecondsRoundedDown(t *testing.T) {
	at := time.Date(2026, 11, 20, 12, 0, 0, 999999999, time.FixedZone("", 7200))
	if got := instant(at); got != "2026-11-20T10:00:00Z" {
		t.Error(got)
	}
}

func TestKeysSignAndVerifyWhileTheyAreChanged(t *testing.T) {
	first, second, third := NewSecret(), NewSecret(), NewSecret()
	keys := func(text string) Keys {
		k, err := ParseKeys(text)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	now := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		signer, verifier string
		want             bool
	}{
		{first, first, true}, {first + " " + second, first, true}, {first + "\n" + second, second, true},
		{first, second + " " + first, true}, {first, second, false}, {first + " " + second, third, false},
	} {
		h := http.Header{}
		keys(c.signer).Sign(h, "id", now, []byte("body"))
		id, err := keys(c.verifier).Verify(h, now, []byte("body"))
		if (err == nil) != c.want || c.want && id != "id" {
			t.Errorf("%q, %v; want %v", id, err, c.want)
		}
	}
	h := http.Header{}
	keys(first).Sign(h, "id", now, []byte("body"))
	for d, want := range map[time.Duration]bool{
		Tolerance: true, -Tolerance: true, Tolerance + time.Second: false, -Tolerance - time.Second: false, time.Hour: false,
	} {
		if _, err := keys(first).Verify(h, now.Add(d), []byte("body")); (err == nil) != want {
			t.Errorf("%v later: %v", d, err)
		}
	}
	// Signatures of other versions beside a good one do no harm.
	h.Set(headerSignature, "v1a,AAAA v2,x v1,!! "+h.Get(headerSignature)+" v1,AAAA")
	if _, err := keys(first).Verify(h, now, []byte("body")); err != nil {
		t.Error(err)
	}
}

func TestTargetsHaveNoDots(t *testing.T) {
	for _, s := range []string{"a.b", "..", "x/y?z", "1.1700000000.{}"} {
		if got := segment(s); strings.ContainsAny(got, "./?") {
			t.Errorf("%q became %q", s, got)
		}
	}
}

// bankAt is a bank whose relay answers with handler.
func bankAt(t *testing.T, handler http.HandlerFunc) (*Bank, Keys) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	keys, err := ParseKeys(NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	client := bankapi.NewClient(bankapi.Limits{}, nil)
	t.Cleanup(client.CloseIdleConnections)
	return &Bank{base: server.URL, client: client, keys: keys, now: time.Now}, keys
}

func classOf(err error) linking.BankErrorClass {
	if be, ok := errors.AsType[*linking.BankError](err); ok {
		return be.Class
	}
	return ""
}

func TestAnAuthenticCallbackThatCannotBeReadIsUnknown(t *testing.T) {
	b, keys := bankAt(t, nil)
	for _, body := range []string{"", "{}", "null", "[]", `{"id":1}`, `{"id":"short"}`, `{"id":"01j8qz4f8yv6n0w3h5k7t9acde"}`, `{"id":"a","ID":"b"}`, "\xff"} {
		h := http.Header{}
		keys.Sign(h, "cb_1", time.Now(), []byte(body))
		if ids, err := b.Callback(t.Context(), h, []byte(body)); len(ids) != 0 || classOf(err) != linking.BankUnknown {
			t.Errorf("%q: %v, %v", body, ids, err)
		}
	}
}

func TestAnEnormousCallbackIsNotRead(t *testing.T) {
	b, keys := bankAt(t, nil)
	body := []byte(`{"id":"` + string(someID) + `"}` + strings.Repeat(" ", maxCallback))
	h := http.Header{}
	keys.Sign(h, "cb_1", time.Now(), body)
	if _, err := b.Callback(t.Context(), h, body); classOf(err) != linking.BankDenied {
		t.Fatal(err)
	}
}

func TestCloseAsksWhereTheRelayAnswersWithNothing(t *testing.T) {
	calls := []string{}
	b, _ := bankAt(t, func(w http.ResponseWriter, r *http.Request) {
		calls = append(calls, r.Method)
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Write([]byte(`{"id":"01J8QZ4F8YV6N0W3H5K7T9ACDE","amount":1,"currency":"EUR","status":"closed"}`))
	})
	s, err := b.Close(t.Context(), linking.BankRef{ID: someID})
	if err != nil || s.Status != linking.BankClosed || strings.Join(calls, " ") != "DELETE GET" {
		t.Fatalf("%+v, %v after %v", s, err, calls)
	}
}

// TestALongListEnds holds a relay that never stops naming a next page.
func TestALongListEnds(t *testing.T) {
	pages := 0
	b, _ := bankAt(t, func(w http.ResponseWriter, r *http.Request) {
		pages++
		w.Write([]byte(`{"data":[{"id":"01J8QZ4F8YV6N0W3H5K7T9ACDE","changed_at":"2026-11-20T10:00:00Z"},{"id":"not ours","changed_at":"2026-11-20T10:00:01Z"}],"next":"a.b c","as_of":"2026-11-20T11:00:00Z"}`))
	})
	ids, next, err := b.Changed(t.Context(), time.Time{})
	if err != nil || pages != maxPages || len(ids) != maxPages {
		t.Fatalf("%d ids of %d pages, %v", len(ids), pages, err)
	}
	if want := time.Date(2026, 11, 20, 10, 0, 1, 0, time.UTC); !next.Equal(want) {
		t.Fatalf("the next round begins at %v, not where this one ended: %v", next, want)
	}
}
