package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// gatewayFlags say through which gateway a command works: a running one, or one of the
// command's own over the store, which nobody else reaches.
type gatewayFlags struct {
	storeFlags `embed:""`
	railFlags  `embed:""`
	Gateway    string `help:"Address of a running gateway. Without it the command works on the store itself; a bolt file must then not be open elsewhere." placeholder:"URL"`
	APIKey     string `help:"Key of an owner or manager. PLACARD_API_KEY keeps it out of the process list." placeholder:"plc_…"`
	PublicURL  string `help:"Where payers reach the gateway, if the command works on the store: it is printed." placeholder:"URL"`
}

// remote is a gateway as its API's users see it.
type remote struct {
	base, key string
	web       *http.Client
	end       func() error
}

func (f *gatewayFlags) connect(e *env) (*remote, error) {
	if f.APIKey == "" {
		return nil, usageError("--api-key or PLACARD_API_KEY is needed: it says whose codes they are, and whose name goes into the book")
	}
	r := &remote{base: strings.TrimSuffix(f.Gateway, "/"), key: f.APIKey, web: &http.Client{}, end: func() error { return nil }}
	if f.Gateway != "" {
		return r, nil
	}
	if f.PublicURL == "" {
		return nil, usageError("--public-url is needed to work on the store, or --gateway to work through a running one")
	}
	if _, err := publicOrigin(f.PublicURL); err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	st, sealer, err := f.open(e.ctx, log)
	if err != nil {
		return nil, err
	}
	s, err := newStack(e.ctx, st, sealer, stackOptions{publicURL: strings.TrimSuffix(f.PublicURL, "/"), rails: rails(f.railFlags), hooks: e.hooks}, log)
	if err != nil {
		return nil, err
	}
	if err := s.mount(nil); err != nil {
		return nil, errors.Join(err, s.close(e.ctx))
	}
	ln, err := listen("127.0.0.1:0", nil)
	if err != nil {
		return nil, errors.Join(err, s.close(e.ctx))
	}
	s.start(ln, true) // codes that a bank resolves are made in the background
	r.base = "http://" + ln.Addr().String()
	r.end = func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		return s.stop(ctx)
	}
	return r, nil
}

// refusal is a problem document, as people read it on a terminal.
type refusal struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Errors []struct {
		Field   string `json:"field"`
		Message string `json:"message"`
	} `json:"errors"`
	Faults []struct {
		Sheet  int    `json:"sheet"`
		Label  int    `json:"label"`
		Serial string `json:"serial"`
		Reason string `json:"reason"`
		Detail string `json:"detail"`
	} `json:"faults"`
}

func (r *refusal) Error() string {
	lines := []string{r.Detail}
	if len(r.Errors) > 0 {
		lines = lines[:0]
	}
	for _, f := range r.Errors {
		lines = append(lines, f.Field+" "+f.Message)
	}
	for _, f := range r.Faults {
		lines = append(lines, fmt.Sprintf("sheet %d, label %d %s: %s: %s", f.Sheet, f.Label, f.Serial, f.Reason, f.Detail))
	}
	return strings.Join(lines, "\n")
}

// do makes a call; what is not answered with 2xx is an error. The caller closes the body.
func (r *remote) do(ctx context.Context, method, path, contentType string, body []byte, header ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, usageError("--gateway is http://HOST or https://HOST")
	}
	req.Header.Set("Authorization", "Bearer "+r.key)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	answer, err := r.web.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, errors.New("stopped")
		}
		return nil, fmt.Errorf("the gateway does not answer: %w", err)
	}
	if answer.StatusCode < 300 {
		return answer, nil
	}
	defer answer.Body.Close()
	doc, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	p := &refusal{}
	if json.Unmarshal(doc, p) != nil || p.Detail == "" {
		return nil, fmt.Errorf("the gateway answered %s", answer.Status)
	}
	return nil, p
}

// ask makes a call with JSON both ways.
func (r *remote) ask(ctx context.Context, method, path string, body, into any, header ...string) error {
	var doc []byte
	contentType := ""
	if body != nil {
		var err error
		if doc, err = json.Marshal(body); err != nil {
			return err
		}
		contentType = "application/json"
	}
	answer, err := r.do(ctx, method, path, contentType, doc, header...)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return json.NewDecoder(answer.Body).Decode(into)
}

// progress tells how far a long command is: a bar on a terminal, a line now and then
// elsewhere.
type progress struct {
	e     *env
	what  string
	of    int
	began time.Time
	said  int // tenths
}

func newProgress(e *env, what string, of int) *progress {
	return &progress{e: e, what: what, of: of, began: time.Now(), said: -1}
}

func (p *progress) at(n int) {
	tenths := 10 * n / max(p.of, 1)
	if terminal(p.e.notes) {
		left := ""
		if n > 0 && n < p.of {
			left = " " + aboutTime(time.Duration(float64(time.Since(p.began))/float64(n)*float64(p.of-n))) + " left"
		}
		fmt.Fprintf(p.e.notes, "\r%s [%-20s] %d of %d%s\x1b[K", p.what, strings.Repeat("=", 2*tenths), n, p.of, left)
		if n >= p.of {
			fmt.Fprintln(p.e.notes)
		}
		return
	}
	if tenths > p.said {
		p.said = tenths
		fmt.Fprintf(p.e.notes, "%s: %d of %d\n", p.what, n, p.of)
	}
}

// aboutTime is a duration as people say it.
func aboutTime(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d seconds", int(d.Seconds()+0.5))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes", int(d.Minutes()+0.5))
	default:
		return fmt.Sprintf("%.1f hours", d.Hours())
	}
}
