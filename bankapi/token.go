package bankapi

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
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

// Grant is what a token endpoint gave.
type Grant struct {
	Token  string
	Life   time.Duration
	Scopes []string    // nil: the bank did not say
	Header http.Header // of the answer
}

// FetchToken asks a token endpoint (RFC 6749, 5.1) for a bearer token. A refusal in
// the endpoint's own words is of class denied.
func FetchToken(client *http.Client, req *http.Request, now time.Time) (token string, life time.Duration, err error) {
	g, err := FetchGrant(client, req, now)
	return g.Token, g.Life, err
}

// FetchGrant is FetchToken for who wants to know what else came with the token.
func FetchGrant(client *http.Client, req *http.Request, now time.Time) (Grant, error) {
	a, err := Exchange(client, req)
	if err != nil {
		return Grant{}, err
	}
	if f := a.Failure(now); f != nil {
		f.Code = cmp.Or(tokenError(a.Body), f.Code)
		return Grant{}, f
	}
	if a.Status != http.StatusOK && a.Status != http.StatusCreated { // some say that a token was made
		if code := tokenError(a.Body); code != "" {
			return Grant{}, &linking.BankError{Class: linking.BankDenied, Code: code, Detail: "The bank refuses the connection's credentials."}
		}
		return Grant{}, Unreadable("no_token", "Something else than the bank answered where tokens are to be had.", nil)
	}
	g, err := grantOf(a.Body)
	g.Header = a.Header
	return Understood(g, err, "The bank's token cannot be used.")
}

// maxTokenLife bounds how long a token is used without asking for a new one,
// whatever the bank says; defaultTokenLife is taken if it says nothing.
const (
	maxTokenLife     = 24 * time.Hour
	defaultTokenLife = 5 * time.Minute
)

func grantOf(body []byte) (Grant, error) {
	var d struct {
		AccessToken string          `json:"access_token"`
		TokenType   string          `json:"token_type"`
		ExpiresIn   json.RawMessage `json:"expires_in"` // seen as a text too
		Scope       string          `json:"scope"`
	}
	if err := Decode(body, &d); err != nil {
		return Grant{}, err
	}
	unfit := func(r rune) bool { return r <= 0x20 || r >= 0x7f }
	g := Grant{Token: d.AccessToken, Life: defaultTokenLife}
	if fields := strings.Fields(d.Scope); len(fields) > 0 {
		g.Scopes = fields
	}
	switch {
	case d.AccessToken == "" || len(d.AccessToken) > 16<<10 || strings.IndexFunc(d.AccessToken, unfit) >= 0:
		return Grant{}, Fault("bad_token")
	case d.TokenType != "" && !strings.EqualFold(d.TokenType, "Bearer"):
		return Grant{}, Fault("bad_token")
	case len(d.ExpiresIn) == 0 || string(d.ExpiresIn) == "null":
		return g, nil
	}
	seconds, err := strconv.ParseInt(strings.Trim(string(d.ExpiresIn), `"`), 10, 64)
	if err != nil || seconds < 1 {
		return Grant{}, Fault("bad_token")
	}
	g.Life = time.Duration(min(seconds, int64(maxTokenLife/time.Second))) * time.Second
	return g, nil
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
