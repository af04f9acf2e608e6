package bankapi

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"placard/linking"
)

// Token keeps the access token of one connection, in memory only. Any number of
// callers share one; one of them at a time fetches a new one.
//
// It is renewed when four fifths of its life are over. Whoever calls while that is
// under way, or fails, goes on with the old one as long as it is good.
type Token struct {
	fetch func(ctx context.Context) (token string, life time.Duration, err error)
	now   func() time.Time
	turn  chan struct{}

	mu             sync.Mutex
	value          string
	renewAt, until time.Time
}

// NewToken returns an empty Token. fetch gets a token and says how long it is good,
// counted from when it was asked for.
func NewToken(fetch func(context.Context) (string, time.Duration, error), now func() time.Time) *Token {
	return &Token{fetch: fetch, now: now, turn: make(chan struct{}, 1)}
}

// Get returns a token that is good as far as anybody here knows.
func (t *Token) Get(ctx context.Context) (string, error) {
	value, fresh := t.held()
	if fresh {
		return value, nil
	}
	if value != "" {
		select {
		case t.turn <- struct{}{}:
		default: // somebody renews it; this one is still good
			return value, nil
		}
	} else {
		select {
		case t.turn <- struct{}{}:
		case <-ctx.Done():
			return "", noAnswer(ctx, ctx.Err(), false)
		}
	}
	defer func() { <-t.turn }()
	if value, fresh = t.held(); fresh { // while we waited for our turn
		return value, nil
	}
	asked := t.now()
	next, life, err := t.fetch(ctx)
	if err != nil {
		if value != "" {
			return value, nil
		}
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.value, t.renewAt, t.until = next, asked.Add(life/5*4), asked.Add(life)
	return next, nil
}

// held returns the token if it is good, and whether it need not be renewed yet.
func (t *Token) held() (value string, fresh bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if !now.Before(t.until) {
		return "", false
	}
	return t.value, now.Before(t.renewAt)
}

// Drop forgets a token that the bank refused, if it is still the one that is held.
func (t *Token) Drop(refused string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.value == refused {
		t.value, t.renewAt, t.until = "", time.Time{}, time.Time{}
	}
}

// FetchToken asks a token endpoint (RFC 6749, 5.1) for a bearer token. A refusal in
// the endpoint's own words is of class denied.
func FetchToken(client *http.Client, req *http.Request, now time.Time) (token string, life time.Duration, err error) {
	a, err := Exchange(client, req)
	if err != nil {
		return "", 0, err
	}
	if f := a.Failure(now); f != nil {
		if code := tokenError(a.Body); code != "" {
			f.Code = code
		}
		return "", 0, f
	}
	if a.Status != http.StatusOK {
		if code := tokenError(a.Body); code != "" {
			return "", 0, &linking.BankError{Class: linking.BankDenied, Code: code, Detail: "The bank refuses the connection's credentials."}
		}
		return "", 0, Unreadable("no_token", "Something else than the bank answered where tokens are to be had.", nil)
	}
	token, life, err = tokenOf(a.Body)
	if err != nil {
		_, err = Understood(token, err, "The bank's token cannot be used.")
		return "", 0, err
	}
	return token, life, nil
}

// maxTokenLife bounds how long a token is used without asking for a new one,
// whatever the bank says; defaultTokenLife is taken if it says nothing.
const (
	maxTokenLife     = 24 * time.Hour
	defaultTokenLife = 5 * time.Minute
)

func tokenOf(body []byte) (string, time.Duration, error) {
	var d struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   *int64 `json:"expires_in"`
	}
	if err := Decode(body, &d); err != nil {
		return "", 0, err
	}
	visible := func(r rune) bool { return r > 0x20 && r < 0x7f }
	switch {
	case d.AccessToken == "" || len(d.AccessToken) > 16<<10 || strings.IndexFunc(d.AccessToken, func(r rune) bool { return !visible(r) }) >= 0:
		return "", 0, Fault("bad_token")
	case d.TokenType != "" && !strings.EqualFold(d.TokenType, "Bearer"):
		return "", 0, Fault("bad_token")
	case d.ExpiresIn == nil:
		return d.AccessToken, defaultTokenLife, nil
	case *d.ExpiresIn < 1:
		return "", 0, Fault("bad_token")
	}
	return d.AccessToken, time.Duration(min(*d.ExpiresIn, int64(maxTokenLife/time.Second))) * time.Second, nil
}

// tokenError reads the code of a refusal (RFC 6749, 5.2), or "".
func tokenError(body []byte) string {
	var d struct {
		Error string `json:"error"`
	}
	if Decode(body, &d) != nil {
		return ""
	}
	return ShortCode(d.Error, "")
}
