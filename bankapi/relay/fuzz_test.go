package relay

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"placard/bankapi"
	"placard/linking"
)

// mustBeCode fails unless err is a fault of the answer's with a code of ours.
func mustBeCode(t *testing.T, err error) {
	t.Helper()
	if u, ok := errors.AsType[bankapi.Fault](err); !ok || bankapi.ShortCode(string(u), "") == "" {
		t.Fatalf("%T %v is no code", err, err)
	}
}

func FuzzStateOf(f *testing.F) {
	f.Add([]byte(goodState), false)
	f.Add([]byte(`{"id":"01J8QZ4F8YV6N0W3H5K7T9ACDE","amount":1,"currency":"JPY","status":"paid","payments":[{"id":"1","amount":1,"currency":"JPY","paid_at":"2026-01-01T00:00:00Z"}]}`), true)
	f.Add([]byte(`{"a":[[[[{"b":null}]]]],"id":null}`), false)
	f.Add([]byte(`[]`), false)
	f.Fuzz(func(t *testing.T, body []byte, plain bool) {
		s, err := stateOf(body, someID, plain)
		if err != nil {
			mustBeCode(t, err)
			return
		}
		if s.ID != someID || !goodAmount(int64(s.Money.Amount)) || s.Revision < 0 {
			t.Fatalf("%+v", s)
		}
		if _, ok := linking.ParseCurrency(string(s.Money.Currency)); !ok {
			t.Fatalf("currency %q", s.Money.Currency)
		}
		if s.Status == linking.BankOpen && s.Way.Kind == "" || s.Status == linking.BankPaid && len(s.Payments) == 0 {
			t.Fatalf("%+v", s)
		}
		if s.Way.URL != "" {
			u, err := url.Parse(s.Way.URL)
			if err != nil || strings.EqualFold(u.Scheme, "javascript") || strings.EqualFold(u.Scheme, "data") || u.Scheme == "http" && !plain && !loopback(u.Hostname()) {
				t.Fatalf("way %q", s.Way.URL)
			}
		}
		seen := map[string]bool{}
		for _, p := range s.Payments {
			if seen[p.ID] || !goodID(p.ID) || !goodAmount(int64(p.Money.Amount)) || p.PaidAt.IsZero() {
				t.Fatalf("payment %+v", p)
			}
			seen[p.ID] = true
		}
		for _, r := range s.Refunds {
			if !seen[r.PaymentID] || !goodAmount(int64(r.Amount)) {
				t.Fatalf("refund %+v", r)
			}
		}
	})
}

func FuzzRefundOf(f *testing.F) {
	f.Add([]byte(`{"id":"r","payment_id":"p","amount":5,"currency":"EUR","status":"done"}`))
	ask := linking.RefundAsk{Refund: "r", PaymentID: "p", Money: linking.Money{Amount: 5, Currency: "EUR"}}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := refundOf(body, ask)
		if err != nil {
			mustBeCode(t, err)
		} else if r.ID != "r" || r.PaymentID != "p" || r.Amount != 5 {
			t.Fatalf("%+v", r)
		}
	})
}

func FuzzAbilitiesOf(f *testing.F) {
	f.Add([]byte(`{"currencies":["EUR","XXX"],"max_expiry":86400,"methods":["card","a b"]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := abilitiesOf(body)
		if err != nil {
			mustBeCode(t, err)
		} else if len(a.Currencies) == 0 || a.MaxExpiry < 0 {
			t.Fatalf("%+v", a)
		}
	})
}

func FuzzListOf(f *testing.F) {
	f.Add([]byte(`{"data":[{"id":"01J8QZ4F8YV6N0W3H5K7T9ACDE","changed_at":"2026-01-01T00:00:00Z"}],"next":"c","as_of":"2026-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := listOf(body)
		if err != nil {
			mustBeCode(t, err)
			return
		}
		for _, id := range p.ids {
			if canonical, ok := linking.ParseRequestID(string(id)); !ok || canonical != id {
				t.Fatalf("id %q", id)
			}
		}
	})
}

func FuzzCallback(f *testing.F) {
	keys, err := ParseKeys("whsec_" + strings.Repeat("A", 44))
	if err != nil {
		f.Fatal(err)
	}
	now := time.Unix(1_700_000_000, 0)
	b := &Bank{keys: keys, now: func() time.Time { return now }}
	good := `{"id":"01J8QZ4F8YV6N0W3H5K7T9ACDE","changed_at":"2026-01-01T00:00:00Z"}`
	h := http.Header{}
	keys.Sign(h, "cb_1", now, []byte(good))
	f.Add("cb_1", h.Get(headerTimestamp), h.Get(headerSignature), []byte(good))
	f.Add("", "-1", "v1,", []byte("{}"))
	f.Fuzz(func(t *testing.T, id, timestamp, signature string, body []byte) {
		// As it comes: only what was signed is taken.
		forged := http.Header{headerID: {id}, headerTimestamp: {timestamp}, headerSignature: {signature}}
		if ids, err := b.Callback(t.Context(), forged, body); err == nil && (id != "cb_1" || string(body) != good || ids[0] != someID) {
			t.Fatalf("forged: %q %q %q", id, timestamp, body)
		}
		// Signed, whatever it says: an id of ours, or unknown.
		authentic := http.Header{}
		keys.Sign(authentic, "cb_2", now, body)
		ids, err := b.Callback(t.Context(), authentic, body)
		if err == nil {
			if canonical, ok := linking.ParseRequestID(string(ids[0])); !ok || canonical != ids[0] {
				t.Fatalf("id %q", ids[0])
			}
			return
		}
		if c := classOf(err); c != linking.BankUnknown && (c != linking.BankDenied || len(body) <= maxCallback) {
			t.Fatalf("%v", err)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add("whsec_" + strings.Repeat("A", 44) + " x")
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := ParseKeys(text); err == nil && (len(k) == 0 || len(k) > 4) {
			t.Fatalf("%d keys", len(k))
		}
	})
}
