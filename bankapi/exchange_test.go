package bankapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"placard/linking"
)

func exchange(t *testing.T, handler http.HandlerFunc) (Answer, error) {
	t.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	client := NewClient(Limits{}, nil)
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	return Exchange(client, req)
}

func TestExchangeSaysWhatIsWrong(t *testing.T) {
	for code, handler := range map[string]http.HandlerFunc{
		"encoded": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			w.Write([]byte("{}"))
		},
		"too_large": func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, MaxAnswer+1)) },
		"broken_off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			w.Write([]byte("{}"))
		},
	} {
		_, err := exchange(t, handler)
		mustClass(t, err, linking.BankUnknown, code)
	}
	a, err := exchange(t, func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, MaxAnswer)) })
	if err != nil || len(a.Body) != MaxAnswer {
		t.Fatalf("%d bytes, %v", len(a.Body), err)
	}
}

func TestExchangeWaitsForTheFirstLineOnlySoLong(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	client := NewClient(Limits{Header: 50 * time.Millisecond}, nil)
	defer client.CloseIdleConnections()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	start := time.Now()
	_, err := Exchange(client, req)
	mustClass(t, err, linking.BankUnknown, "timeout")
	if took := time.Since(start); took > 4*time.Second {
		t.Fatalf("it took %v", took)
	}
}

func TestExchangeAsksForNoCompression(t *testing.T) {
	_, err := exchange(t, func(_ http.ResponseWriter, r *http.Request) {
		if v := r.Header.Get("Accept-Encoding"); v != "" {
			t.Errorf("Accept-Encoding: %s", v)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFailureJudgesByStatus(t *testing.T) {
	now := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	for status, want := range map[int]linking.BankErrorClass{
		200: "", 201: "", 204: "", 400: "", 404: "", 409: "", 422: "", // the rail's to read
		401: linking.BankDenied, 403: linking.BankDenied, 408: linking.BankUnknown, 429: linking.BankNotSent,
		500: linking.BankUnknown, 503: linking.BankUnknown, 599: linking.BankUnknown, 302: linking.BankUnknown, 101: linking.BankUnknown,
	} {
		f := Answer{Status: status, Header: http.Header{}}.Failure(now)
		if (f == nil) != (want == "") || f != nil && f.Class != want {
			t.Errorf("%d: %v", status, f)
		}
	}
	for v, want := range map[string]time.Duration{
		"30": 30 * time.Second, "0": 0, "": 0, "-5": 0, "soon": 0, "1.5": 0, "86400": MaxPause, "99999999999999999999": 0,
		"Fri, 20 Nov 2026 10:00:20 GMT": 20 * time.Second, "Fri, 20 Nov 2026 09:00:00 GMT": 0, "Sat, 21 Nov 2026 10:00:00 GMT": MaxPause,
	} {
		f := Answer{Status: 429, Header: http.Header{"Retry-After": {v}}}.Failure(now)
		if f.Retry != want {
			t.Errorf("Retry-After %q: %v, want %v", v, f.Retry, want)
		}
	}
}

func TestShortCodeLetsNoFreeTextThrough(t *testing.T) {
	for code, want := range map[string]string{
		"in_flight": "in_flight", "AM09": "AM09", "urn:x.y-z": "urn:x.y-z",
		"": "other", "Card of Mr. Smith": "other", "<b>": "other", "a\nb": "other", "é": "other",
		strings.Repeat("a", 64): strings.Repeat("a", 64), strings.Repeat("a", 65): "other",
	} {
		if got := ShortCode(code, "other"); got != want {
			t.Errorf("%q: %q", code, got)
		}
	}
}

func TestLimitsThatAreLeftOutAreTheDefaults(t *testing.T) {
	if got := fmt.Sprintf("%+v", Limits{}.orDefault()); got != fmt.Sprintf("%+v", DefaultLimits) {
		t.Fatalf("%s\n%+v", got, DefaultLimits)
	}
	l := DefaultLimits
	if l.QueueWait+l.Header > l.Total || l.Total >= 10*time.Second || l.Dial+l.TLS > l.Total {
		t.Fatalf("a till waits 10 s: %+v", l)
	}
}
