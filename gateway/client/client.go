// Package client is what a till written in Go needs of Placard's API: attach a sale to
// a printed code, hear what becomes of it, and verify webhooks. It uses the standard
// library alone; what it leaves out can be called with Do.
//
// Every call that changes something carries an Idempotency-Key and is repeated with it
// when no answer came, so that a till never makes a sale twice and never has to guess.
package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Client calls one gateway with one key. It may be used concurrently.
type Client struct {
	URL  string       // of the gateway, without a slash at the end
	Key  string       // plc_…
	HTTP *http.Client // nil: one that waits for an answer for 90 seconds
}

var standard = &http.Client{Timeout: 90 * time.Second}

// Problem is a refusal by the gateway (RFC 9457). Code is stable; the reference at
// /docs lists them.
type Problem struct {
	Status int
	Code   string
	Detail string
	Errors []struct{ Field, Code, Message string }
	// Raw is the whole document, with facts about the present state.
	Raw json.RawMessage `json:"-"`
	// RetryAfter is how long to wait before another try; 0: not said.
	RetryAfter time.Duration `json:"-"`
}

func (p *Problem) Error() string { return fmt.Sprintf("placard: %s: %s", p.Code, p.Detail) }

// Is reports whether err is a refusal with a code, such as "code_busy".
func Is(err error, code string) bool {
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Code == code
}

// tries is how often a call is made whose outcome is not known.
const tries = 4

// Do makes a call. in is sent as JSON unless it is nil; the answer is read into out
// unless that is nil. Headers are names and values in turn. A call without an answer,
// or with one that says to try again, is repeated under the same Idempotency-Key.
func (c *Client) Do(ctx context.Context, method, path string, in, out any, header ...string) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	key := rand.Text()
	for try := 1; ; try++ {
		err := c.once(ctx, method, path, key, body, out, header)
		p, refused := errors.AsType[*Problem](err)
		again := err != nil && (!refused || p.Status >= 500 && p.Code != "internal" || p.Code == "idempotency_in_progress" || p.Code == "rate_limited")
		if !again || try == tries || ctx.Err() != nil {
			return err
		}
		pause := time.Duration(try*try) * 200 * time.Millisecond
		if refused {
			pause = max(pause, p.RetryAfter)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func (c *Client) once(ctx context.Context, method, path, key string, body []byte, out any, header []string) error {
	r, err := http.NewRequestWithContext(ctx, method, c.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.Key)
	r.Header.Set("Accept", "application/json")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if method != http.MethodGet {
		r.Header.Set("Idempotency-Key", key)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	web := c.HTTP
	if web == nil {
		web = standard
	}
	resp, err := web.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		p := &Problem{Raw: answer}
		if json.Unmarshal(answer, p) != nil || p.Code == "" {
			p.Code, p.Detail = "unreadable", "The gateway, or something before it, answered "+resp.Status+"."
		}
		p.Status = resp.StatusCode
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
			p.RetryAfter = time.Duration(s) * time.Second
		}
		return p
	}
	if out == nil || len(answer) == 0 {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// call is Do with an answer of its own.
func call[T any](ctx context.Context, c *Client, method, path string, in any, header ...string) (*T, error) {
	out := new(T)
	if err := c.Do(ctx, method, path, in, out, header...); err != nil {
		return nil, err
	}
	return out, nil
}

func codePath(code string) string  { return "/v1/codes/" + url.PathEscape(code) + "/link" }
func requestPath(id string) string { return "/v1/requests/" + url.PathEscape(id) }

// Attach shows a new request on a code. replace lets another sale's open request give
// way; without it, Is(err, "code_busy") says that there is one.
func (c *Client) Attach(ctx context.Context, code string, r NewRequest, replace bool) (*LinkAnswer, error) {
	return call[LinkAnswer](ctx, c, http.MethodPut, codePath(code), map[string]any{"request": r, "replace": replace})
}

// Detach takes a request off its code and cancels it. Is(err, "already_paid"): do not
// take other money. Otherwise the answer's Tender says whether the till may.
func (c *Client) Detach(ctx context.Context, code, request string) (*LinkAnswer, error) {
	return call[LinkAnswer](ctx, c, http.MethodDelete, codePath(code)+"?cancel=true&request_id="+url.QueryEscape(request), nil)
}

// Shown tells what a code shows, and what it showed last.
func (c *Client) Shown(ctx context.Context, code string) (*LinkAnswer, error) {
	return call[LinkAnswer](ctx, c, http.MethodGet, codePath(code), nil)
}

// Create makes a request with a page of its own, for a link that is sent.
func (c *Client) Create(ctx context.Context, r NewRequest) (*Request, error) {
	return call[Request](ctx, c, http.MethodPost, "/v1/requests", r)
}

// Request reads a request by its id or client_id.
func (c *Client) Request(ctx context.Context, id string) (*Request, error) {
	return call[Request](ctx, c, http.MethodGet, requestPath(id), nil)
}

// Await returns a request once its status is not after any more, or after 25 seconds.
func (c *Client) Await(ctx context.Context, id, after string) (*Request, error) {
	return call[Request](ctx, c, http.MethodGet, requestPath(id)+"?wait=25&after_status="+url.QueryEscape(after), nil)
}

// Cancel ends a request. reason is "cancel", or "paid_otherwise" for cash or card.
func (c *Client) Cancel(ctx context.Context, id, reason string) (*Request, error) {
	return call[Request](ctx, c, http.MethodPost, requestPath(id)+"/cancel", map[string]string{"reason": reason})
}

// Refund sends money back; amount 0 is all that is left.
func (c *Client) Refund(ctx context.Context, id string, amount int64, reason string) (*Refund, error) {
	in := map[string]any{"reason": reason}
	if amount > 0 {
		in["amount"] = amount
	}
	return call[Refund](ctx, c, http.MethodPost, requestPath(id)+"/refunds", in)
}

// Sale tells what became of a cart.
func (c *Client) Sale(ctx context.Context, sale string) (*Sale, error) {
	return call[Sale](ctx, c, http.MethodGet, "/v1/sales/"+url.PathEscape(sale), nil)
}

// LastSeq is the number of the newest event. Read it before a sale is attached, and
// Events after it has all of that sale's.
func (c *Client) LastSeq(ctx context.Context) (uint64, error) {
	page, err := call[struct{ Next string }](ctx, c, http.MethodGet, "/v1/events?after=latest", nil)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(page.Next, 10, 64)
}

// Events gives every event after a number, in order and without a gap, and waits for
// the next until ctx ends. Keep the last Seq that was dealt with, and a till that was
// away begins there. filter may hold code, request, sale and type. An error is given
// once and ends it; Is(err, "gone") says that the log does not reach back so far.
func (c *Client) Events(ctx context.Context, after uint64, filter url.Values) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		at := strconv.FormatUint(after, 10)
		for ctx.Err() == nil {
			q := url.Values{"after": {at}, "wait": {"25"}, "limit": {"100"}}
			for name, v := range filter {
				q[name] = v
			}
			page, err := call[struct {
				Data []*Event
				Next string
			}](ctx, c, http.MethodGet, "/v1/events?"+q.Encode(), nil)
			if err != nil {
				if ctx.Err() == nil {
					yield(nil, err)
				}
				return
			}
			for _, e := range page.Data {
				if !yield(e, nil) {
					return
				}
			}
			at = page.Next
		}
	}
}
