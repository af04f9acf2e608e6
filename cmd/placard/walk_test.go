package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"placard/linking"
)

// walk plays a walk and returns its exit code, what it printed, and what it said
// beside.
func walk(h hooks, more ...string) (code int, out, notes string) {
	var o, n said
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	code = runWith(ctx, append([]string{"demo", "--walk"}, more...), &o, &n, h)
	return code, o.String(), n.String()
}

func TestWalkHolds(t *testing.T) {
	t.Parallel()
	for rail := range demoRails {
		t.Run(rail, func(t *testing.T) {
			t.Parallel()
			code, out, notes := walk(hooks{}, "--rail", rail)
			if code != done || notes != "" {
				t.Fatalf("the walk ended with %d: %s%s", code, out, notes)
			}
			steps := regexp.MustCompile(`(?m)^ ?\d+  `).FindAllString(out, -1)
			if len(steps) != 13 || !strings.Contains(out, "All 13 steps hold.") || strings.Contains(out, "FAILED") {
				t.Errorf("the walk said:\n%s", out)
			}
		})
	}
}

// At a bank that does not empty a code's location, the next sale never gets there.
func TestWalkFindsALocationThatIsNotEmptied(t *testing.T) {
	t.Parallel()
	code, out, _ := walk(hooks{walk: walkHooks{patience: 3 * time.Second}, banks: func(b linking.Banks) linking.Banks { return sticky{b} }}, "--rail", "pix")
	if code != failed || !regexp.MustCompile(`(?m)^11  next sale +FAILED`).MatchString(out) {
		t.Errorf("the walk ended with %d:\n%s", code, out)
	}
}

// sticky are banks at which an unlink does nothing.
type sticky struct{ linking.Banks }

func (b sticky) Open(c *linking.Connection) (linking.Bank, error) {
	bank, err := b.Banks.Open(c)
	return stickyBank{bank}, err
}

type stickyBank struct{ linking.Bank }

func (stickyBank) Unlink(context.Context, linking.BankLink) error { return nil }

// A walk that cannot fail proves nothing: with a part of the program switched off,
// it must stop at exactly the step that speaks of it.
func TestWalkFindsWhatIsSwitchedOff(t *testing.T) {
	t.Parallel()
	const short = 3 * time.Second
	for step, h := range map[string]hooks{
		"attach":       {walk: walkHooks{patience: short, transport: transport(swallowAttach)}},
		"flip":         {walk: walkHooks{patience: short, transport: transport(silentPage)}},
		"pay re-check": {walk: walkHooks{patience: short, transport: transport(newestRevision)}},
		"event":        {walk: walkHooks{patience: short}, store: func(s linking.Store) linking.Store { return eventless{s} }},
		"callback":     {walk: walkHooks{patience: short, callbacks: "lost"}},
		"settle":       {walk: walkHooks{patience: short}, banks: func(b linking.Banks) linking.Banks { return moneyless{b} }},
		"free":         {walk: walkHooks{patience: short}, store: func(s linking.Store) linking.Store { return &clinging{Store: s} }},
		"poller":       {walk: walkHooks{patience: 5 * time.Second}, noSweep: true}, // a sweeper needs two seconds
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			code, out, notes := walk(h)
			if code != failed {
				t.Errorf("the walk ended with %d", code)
			}
			stopped := regexp.MustCompile(`(?m)^ ?\d+  (.*?) +FAILED  (.+)$`).FindAllStringSubmatch(out, -1)
			if len(stopped) != 1 || stopped[0][1] != step || !strings.HasSuffix(strings.TrimSpace(out), stopped[0][0]) {
				t.Errorf("the walk did not stop at %q:\n%s", step, out)
			}
			if want := fmt.Sprintf("placard: the walk stopped at the step %q\n", step); notes != want {
				t.Errorf("it said %q, want %q", notes, want)
			}
		})
	}
}

// transport is a network between the walk and the gateway.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// swallowAttach answers the till that it has attached, and has not.
func swallowAttach(r *http.Request) (*http.Response, error) {
	if r.Method == "PUT" && strings.HasSuffix(r.URL.Path, "/link") {
		return answerOf(r, 200, `{"request":{"id":"","status":"active"}}`), nil
	}
	return http.DefaultTransport.RoundTrip(r)
}

func answerOf(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}
}

// silentPage lets the stream of a payer's page be opened, and nothing come through.
func silentPage(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && strings.HasPrefix(r.URL.Path, "/q/") && strings.HasSuffix(r.URL.Path, "/events") {
		resp.Body = silent{resp.Body}
	}
	return resp, err
}

type silent struct{ io.ReadCloser }

func (s silent) Read(b []byte) (int, error) {
	for {
		if _, err := s.ReadCloser.Read(b); err != nil {
			return 0, err
		}
	}
}

// newestRevision writes into each pay click the revision that the page would show
// now, as if the gateway did not compare it with what the payer saw.
func newestRevision(r *http.Request) (*http.Response, error) {
	if r.Method != "POST" || !strings.HasSuffix(r.URL.Path, "/pay") {
		return http.DefaultTransport.RoundTrip(r)
	}
	var click struct {
		S        string `json:"s"`
		Revision int    `json:"revision"`
	}
	if err := json.NewDecoder(r.Body).Decode(&click); err != nil {
		return nil, err
	}
	look := r.Clone(r.Context())
	look.Method, look.Body, look.ContentLength = "GET", nil, 0
	look.URL.Path, look.URL.RawQuery = strings.TrimSuffix(r.URL.Path, "/pay"), "s="+click.S
	resp, err := http.DefaultTransport.RoundTrip(look)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var now walkScan
	if err := json.NewDecoder(resp.Body).Decode(&now); err != nil {
		return nil, err
	}
	click.Revision = now.Request.Revision
	body, err := json.Marshal(click)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return http.DefaultTransport.RoundTrip(r)
}

// eventless is a store that commits records and forgets the events.
type eventless struct{ linking.Store }

func (s eventless) Commit(ctx context.Context, c linking.Commit) error {
	c.Events = nil
	return s.Store.Commit(ctx, c)
}

// clinging is a store that leaves a code as it is in the commit in which its
// request is paid.
type clinging struct{ linking.Store }

func (s *clinging) Commit(ctx context.Context, c linking.Commit) error {
	if !slices.ContainsFunc(c.Events, func(e []byte) bool { return bytes.Contains(e, []byte("request.paid")) }) {
		return s.Store.Commit(ctx, c)
	}
	c.Writes = slices.Clone(c.Writes)
	for i, w := range c.Writes {
		if w.Kind == "c" {
			c.Writes = slices.Delete(c.Writes, i, i+1)
			c.Checks = append(slices.Clone(c.Checks), linking.Check{Key: w.Key, Version: w.Expect})
			return s.Store.Commit(ctx, c)
		}
	}
	return s.Store.Commit(ctx, c)
}

// moneyless are banks that say how a request stands, and never name a payment.
type moneyless struct{ linking.Banks }

func (b moneyless) Open(c *linking.Connection) (linking.Bank, error) {
	bank, err := b.Banks.Open(c)
	return moneylessBank{bank}, err
}

type moneylessBank struct{ linking.Bank }

func (b moneylessBank) Get(ctx context.Context, ref linking.BankRef) (linking.BankState, error) {
	st, err := b.Bank.Get(ctx, ref)
	st.Payments = nil
	return st, err
}

func (b moneylessBank) Close(ctx context.Context, ref linking.BankRef) (linking.BankState, error) {
	st, err := b.Bank.Close(ctx, ref)
	st.Payments = nil
	return st, err
}

func TestWalkOfABillHolds(t *testing.T) {
	t.Parallel()
	code, out, notes := walk(hooks{}, "bill")
	if code != done || notes != "" {
		t.Fatalf("the walk ended with %d: %s%s", code, out, notes)
	}
	if steps := regexp.MustCompile(`(?m)^ ?\d+  `).FindAllString(out, -1); len(steps) != 10 || !strings.Contains(out, "All 10 steps hold.") || strings.Contains(out, "FAILED") {
		t.Errorf("the walk said:\n%s", out)
	}
	for _, args := range [][]string{{"demo", "bill"}, {"demo", "--walk", "bill", "--rail", "pix"}, {"demo", "--walk", "trouble", "--rail", "jpm"}, {"demo", "--walk", "away"}} {
		if code, _, notes := perform(t, args...); code != misuse {
			t.Errorf("placard %s ended with %d: %s", strings.Join(args, " "), code, notes)
		}
	}
}
