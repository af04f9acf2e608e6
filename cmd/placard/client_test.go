package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// client is a till, a payer's phone or anybody else who speaks HTTP.
type client struct {
	t    testing.TB
	base string
	key  string       // empty: without one
	web  *http.Client // nil: the one that all share
}

var web = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       90 * time.Second,
}

// reply is an answer, read to its end.
type reply struct {
	t      testing.TB
	what   string // the call, for a failure's text
	Status int
	Header http.Header
	Body   []byte
}

// try makes a call. A body that is not text or bytes is sent as JSON. Headers are
// names and values in turn.
func (c *client) try(method, path string, body any, header ...string) (*reply, error) {
	return c.tryIn(context.Background(), method, path, body, header...)
}

func (c *client) tryIn(ctx context.Context, method, path string, body any, header ...string) (*reply, error) {
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	case []byte:
		r = bytes.NewReader(b)
	default:
		doc, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(doc)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, r)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == "" {
			req.Header.Del(header[i])
		} else {
			req.Header.Set(header[i], header[i+1])
		}
	}
	through := c.web
	if through == nil {
		through = web
	}
	resp, err := through.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return &reply{c.t, method + " " + path, resp.StatusCode, resp.Header, got}, nil
}

// call makes a call that must be answered, whatever the answer.
func (c *client) call(method, path string, body any, header ...string) *reply {
	c.t.Helper()
	r, err := c.try(method, path, body, header...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

func (c *client) get(path string, header ...string) *reply {
	c.t.Helper()
	return c.call("GET", path, nil, header...)
}

// is demands a status.
func (r *reply) is(status int) *reply {
	r.t.Helper()
	if r.Status != status {
		r.t.Fatalf("%s answered %d, want %d: %s", r.what, r.Status, status, r.Body)
	}
	return r
}

// refused demands a problem document with a status and a code, and one named field
// of which something is wrong unless field is empty: "amount required".
func (r *reply) refused(status int, code string, field ...string) *reply {
	r.t.Helper()
	if err := r.problem(status, code, field...); err != nil {
		r.t.Fatal(err)
	}
	return r
}

// problem says why an answer is not the problem document it should be.
func (r *reply) problem(status int, code string, field ...string) error {
	if got := r.Header.Get("Content-Type"); got != "application/problem+json" {
		return fmt.Errorf("%s answered %d as %q: %s", r.what, r.Status, got, r.Body)
	}
	var p struct {
		Type, Title, Detail, Code string
		Status                    int
		RequestID                 string `json:"request_id"`
		Errors                    []struct{ Field, Code, Message string }
	}
	if err := json.Unmarshal(r.Body, &p); err != nil {
		return fmt.Errorf("%s answered no document: %s", r.what, r.Body)
	}
	if r.Status != status || p.Status != status || p.Code != code {
		return fmt.Errorf("%s answered %d (%d in the document) %s, want %d %s: %s", r.what, r.Status, p.Status, p.Code, status, code, r.Body)
	}
	if p.Type != "/docs#"+code || p.Title == "" || p.Detail == "" || len(p.RequestID) != 26 || p.RequestID != r.Header.Get("Request-Id") {
		return fmt.Errorf("%s: the document is incomplete: %s", r.what, r.Body)
	}
	if r.Header.Get("Cache-Control") != "no-store" {
		return fmt.Errorf("%s: the problem may be cached", r.what)
	}
	var have []string
	for _, e := range p.Errors {
		if e.Message == "" {
			return fmt.Errorf("%s: a field without a sentence: %s", r.what, r.Body)
		}
		have = append(have, e.Field+" "+e.Code)
	}
	if strings.Join(have, ", ") != strings.Join(field, ", ") {
		return fmt.Errorf("%s: wrong fields are %q, want %q: %s", r.what, have, field, r.Body)
	}
	return nil
}

// at returns what stands under a path such as "request.payments.0.amount"; nil if
// there is nothing.
func (r *reply) at(path string) any {
	r.t.Helper()
	d := json.NewDecoder(bytes.NewReader(r.Body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		r.t.Fatalf("%s answered %d, no JSON: %s", r.what, r.Status, r.Body)
	}
	for part := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

// str is at for text; empty if there is none.
func (r *reply) str(path string) string {
	r.t.Helper()
	s, _ := r.at(path).(string)
	return s
}

// num is at for a whole number; 0 if there is none.
func (r *reply) num(path string) int64 {
	r.t.Helper()
	n, _ := r.at(path).(json.Number)
	i, _ := n.Int64()
	return i
}

// says demands values: path, value, path, value … as text.
func (r *reply) says(pairs ...any) *reply {
	r.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if got, want := fmt.Sprint(r.at(pairs[i].(string))), fmt.Sprint(pairs[i+1]); got != want {
			r.t.Errorf("%s: %s is %s, want %s: %s", r.what, pairs[i], got, want, r.Body)
		}
	}
	return r
}

// read decodes the body.
func (r *reply) read(into any) *reply {
	r.t.Helper()
	if err := json.Unmarshal(r.Body, into); err != nil {
		r.t.Fatalf("%s answered %d, not readable: %v: %s", r.what, r.Status, err, r.Body)
	}
	return r
}

type m = map[string]any

// makeCode makes a code and returns its token.
func (c *client) makeCode(kind string) string {
	c.t.Helper()
	return c.call("POST", "/v1/codes", m{"kind": kind, "label": kind}).is(201).str("token")
}

// link attaches a new request to a code.
func (c *client) link(code string, request m, header ...string) *reply {
	c.t.Helper()
	return c.call("PUT", "/v1/codes/"+code+"/link", m{"request": request}, header...)
}

// attach is link for a sale of some cents that must become payable; it returns the
// request's id.
func (c *client) attach(code string, cents int) string {
	c.t.Helper()
	r := c.link(code, m{"amount": cents, "reference": "Table 4"}).is(200)
	r.says("request.status", "active")
	return r.str("request.id")
}

// scan opens a code's page, or looks again with what an earlier look gave.
func (c *client) scan(code, s string) *reply {
	c.t.Helper()
	return c.get("/q/" + code + "?s=" + s)
}

// press is the pay click on what a scan showed.
func (c *client) press(seen *reply) *reply {
	c.t.Helper()
	return c.call("POST", seen.str("pay.url"), m{"s": seen.str("s"), "revision": seen.num("request.revision")})
}

// awaitStatus waits until a request has a status.
func (c *client) awaitStatus(request, status string) *reply {
	c.t.Helper()
	for end := time.Now().Add(40 * time.Second); ; {
		r := c.get("/v1/requests/" + request).is(200)
		have := r.str("status")
		if have == status {
			return r
		}
		if time.Now().After(end) {
			c.t.Fatalf("request %s is %s, and never became %s", request, have, status)
		}
		c.get("/v1/requests/" + request + "?wait=10&after_status=" + have).is(200)
	}
}

// lastSeq is the number of the merchant's newest event.
func (c *client) lastSeq() int64 {
	c.t.Helper()
	r := c.get("/v1/events?after=latest").is(200)
	n, err := strconv.ParseInt(r.str("next"), 10, 64)
	if err != nil {
		c.t.Fatalf("events answered %s", r.Body)
	}
	return n
}

// tillEvent is an event as the till gets it.
type tillEvent struct {
	ID      string
	Seq     int64
	Type    string
	Code    string
	By      string
	Epoch   uint64
	Late    bool
	Request *struct {
		ID, Sale, Reference, Status string
		ClientID                    string `json:"client_id"`
		Amount                      int64
		PaidAmount                  int64  `json:"paid_amount"`
		RefundedAmount              int64  `json:"refunded_amount"`
		EndReason                   string `json:"end_reason"`
	}
	Payment *struct {
		ID     string
		Amount int64
	}
	Refund *struct {
		ID     string
		Amount int64
	}
	Exception *struct {
		ID, Kind string
		Amount   int64
		Decision string
	}
	Tender *struct {
		Allowed bool
		Why     string
	} `json:"may_take_other_tender"`
}

// allEvents reads the merchant's log from after on, and demands that it has no gap.
func (c *client) allEvents(after int64) (all []tillEvent) {
	c.t.Helper()
	for {
		var page struct {
			Data []tillEvent
			Next string
		}
		c.get(fmt.Sprintf("/v1/events?limit=500&after=%d", after)).is(200).read(&page)
		for _, e := range page.Data {
			if e.Seq != after+1 {
				c.t.Fatalf("D8: event %d comes after %d", e.Seq, after)
			}
			after = e.Seq
			all = append(all, e)
		}
		if len(page.Data) == 0 {
			return all
		}
	}
}

// pages reads a list to its end.
func (c *client) pages(path string) (all []m) {
	c.t.Helper()
	after := ""
	for {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		var page struct {
			Data []m
			Next *string
		}
		c.get(path + sep + "limit=200" + after).is(200).read(&page)
		all = append(all, page.Data...)
		if page.Next == nil {
			return all
		}
		after = "&after=" + url.QueryEscape(*page.Next)
	}
}

// bank is a simulated bank that runs on its own, and its controls.
type bank struct {
	client
	secret     string
	secretFile string
	run        *running
}

// openBank starts `placard bank`.
func openBank(t testing.TB) bank {
	t.Helper()
	r := launch(t, hooks{}, "bank", "--json", "--listen", "127.0.0.1:0")
	var said struct {
		URL    string
		Secret string
	}
	if err := json.Unmarshal([]byte(r.until(`(?m)^(\{.*\})$`)[1]), &said); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "relay-secret")
	if err := os.WriteFile(file, []byte(said.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return bank{client{t: t, base: said.URL}, said.Secret, file, r}
}

// relay is the address of an account of this bank that nobody else has.
func (b *bank) relay() string { return b.base + "/relay/" + strings.ToLower(rand.Text()) }

// pays is a payer who pays what is asked for.
func (b *bank) pays(request string) {
	b.t.Helper()
	b.call("POST", "/sim/pay", m{"request_id": request}).is(200)
}
