package main

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestWalkTroubleHolds(t *testing.T) {
	t.Parallel()
	program, err := theProgram()
	if err != nil {
		t.Fatal(err)
	}
	code, out, notes := walk(hooks{walk: walkHooks{program: program}}, "trouble")
	if code != done || notes != "" || !strings.Contains(out, "All 9 steps hold.") || strings.Contains(out, "FAILED") {
		t.Fatalf("the walk ended with %d: %s%s", code, out, notes)
	}
}

// The walk through trouble, too, must stop where something is wrong.
func TestWalkTroubleFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	program, err := theProgram()
	if err != nil {
		t.Fatal(err)
	}
	for step, wire := range map[string]transport{
		"two tills":  bothTills,
		"new amount": newestRevision,
		"killed":     deafAfterwards,
		"late":       nothingBack,
		"sums":       aCentLess,
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			code, out, _ := walk(hooks{walk: walkHooks{program: program, patience: 15 * time.Second, transport: wire}}, "trouble")
			stopped := regexp.MustCompile(`(?m)^ ?\d+  (.*?) +FAILED  (.+)$`).FindAllStringSubmatch(out, -1)
			if code != failed || len(stopped) != 1 || stopped[0][1] != step {
				t.Errorf("the walk ended with %d, and not at %q:\n%s", code, step, out)
			}
		})
	}
}

// bothTills lets the second till in as well.
func bothTills(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && r.Method == "PUT" && resp.StatusCode == http.StatusConflict {
		resp.Body.Close()
		return answerOf(r, 200, `{"request":{"id":"","status":"active"}}`), nil
	}
	return resp, err
}

// deafAfterwards begins a stream anew where it should go on.
func deafAfterwards(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/v1/events" && !strings.Contains(r.URL.RawQuery, "latest") {
		time.Sleep(2 * time.Second) // until all has been said
		r = r.Clone(r.Context())
		r.URL.RawQuery = "after=latest"
	}
	return http.DefaultTransport.RoundTrip(r)
}

// nothingBack answers that money goes back, which stays.
func nothingBack(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/return") {
		return answerOf(r, 200, `{}`), nil
	}
	return http.DefaultTransport.RoundTrip(r)
}

// aCentLess tells the till of a cent less than the bank has.
func aCentLess(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && r.Method == "GET" && strings.HasPrefix(r.URL.Path, "/v1/requests/") {
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		resp.Body = io.NopCloser(bytes.NewReader(bytes.ReplaceAll(b, []byte(`"amount":1300`), []byte(`"amount":1299`))))
		resp.ContentLength = -1
	}
	return resp, err
}
