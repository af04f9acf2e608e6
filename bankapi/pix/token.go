package pix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"placard/bankapi"
	"placard/linking"
)

// tokenGuard is bankapi.Setup's Token.
type tokenGuard = func(ctx context.Context, fetch func(context.Context) error) error

func unguarded(ctx context.Context, fetch func(context.Context) error) error { return fetch(ctx) }

// grant is what came with the newest token.
type grant struct {
	mu     sync.Mutex
	value  string
	at     time.Time
	scopes []string // nil: the bank did not say
}

// young is the age below which a token that was refused is not at fault: another
// one, got the same way, would be refused too. It keeps a bank that refuses every
// call from being asked for a token each time.
const young = 2 * time.Second

// bearer returns an access token. A failure is of class denied, or not_sent: the
// call itself was not made.
func (b *Bank) bearer(ctx context.Context) (string, error) {
	t, err := b.token.Get(ctx)
	if err == nil {
		return t, nil
	}
	be, ok := errors.AsType[*linking.BankError](err)
	if !ok {
		be = bankapi.Unreadable("no_token", "The bank gave no access token.", err)
	}
	if be.Class != linking.BankDenied && be.Class != linking.BankNotSent {
		be = &linking.BankError{Class: linking.BankNotSent, Code: be.Code, Detail: be.Detail, Retry: be.Retry, Err: be}
	}
	return "", be
}

// refused takes note that a token was not taken. It reports whether another may be:
// because the old one was old, or somebody has got a newer one meanwhile.
func (b *Bank) refused(t string) bool {
	b.grant.mu.Lock()
	stale := b.grant.value != t || b.now().Sub(b.grant.at).Abs() >= young
	b.grant.mu.Unlock()
	if stale {
		b.token.Drop(t)
	}
	return stale
}

// forgetToken makes the next call get a new one.
func (b *Bank) forgetToken() {
	b.grant.mu.Lock()
	t := b.grant.value
	b.grant.mu.Unlock()
	b.token.Drop(t)
}

// lacks returns the scopes among those needed that the bank did not grant, as far
// as it said.
func (b *Bank) lacks(needed ...string) []string {
	b.grant.mu.Lock()
	defer b.grant.mu.Unlock()
	if b.grant.scopes == nil {
		return nil
	}
	var missing []string
	for _, s := range needed {
		if !slices.Contains(b.grant.scopes, s) {
			missing = append(missing, s)
		}
	}
	return missing
}

// fetchToken asks for a token by client credentials (RFC 6749, 4.4) in one of the
// four ways banks want to be asked.
func (b *Bank) fetchToken(ctx context.Context) (string, time.Duration, error) {
	// The guard may return before the fetch does, so that the two share nothing else.
	var got atomic.Pointer[accessToken]
	err := b.guardToken(ctx, func(ctx context.Context) error {
		t, err := b.askToken(ctx)
		if err == nil {
			got.Store(&t)
		}
		return err
	})
	if err != nil {
		return "", 0, err
	}
	t := got.Load()
	if t == nil {
		return "", 0, bankapi.Unreadable("no_token", "The bank gave no access token.", nil)
	}
	return t.value, t.life, nil
}

func (b *Bank) askToken(ctx context.Context) (t accessToken, err error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	contentType := "application/x-www-form-urlencoded"
	var body []byte
	switch b.auth {
	case basicJSON:
		body, contentType = []byte(`{"grant_type":"client_credentials"}`), "application/json"
	case secretForm:
		form.Set("client_secret", b.secret.Reveal())
		fallthrough
	case certificate:
		form.Set("client_id", b.id)
		fallthrough
	default:
		form.Set("scope", strings.Join(b.scopes, " "))
		body = []byte(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.tokenURL, bytes.NewReader(body))
	if err != nil {
		return t, unsendable(err)
	}
	if b.auth == basicJSON || b.auth == basicForm {
		req.SetBasicAuth(b.id, b.secret.Reveal())
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", userAgent)
	asked := b.now()
	a, err := bankapi.Exchange(b.client, req)
	if err != nil {
		return t, err
	}
	b.clock.learn(a.Header, asked, b.now())
	f := a.Failure(b.now())
	code := ""
	if a.Status != http.StatusOK && a.Status != http.StatusCreated {
		code = oauthError(a.Body)
	}
	switch {
	case f != nil:
		if code != "" {
			f.Code = code
		}
		return t, f
	case code != "":
		return t, &linking.BankError{Class: linking.BankDenied, Code: code, Detail: "The bank refuses the connection's credentials."}
	case a.Status != http.StatusOK && a.Status != http.StatusCreated:
		return t, bankapi.Unreadable("no_token", "Something else than the bank answered where tokens are to be had.", nil)
	}
	if t, err = understood(tokenOf(a.Body)); err != nil {
		return t, err
	}
	b.grant.mu.Lock()
	defer b.grant.mu.Unlock()
	b.grant.value, b.grant.at, b.grant.scopes = t.value, asked, t.scopes
	return t, nil
}

// oauthError reads the code of a refusal (RFC 6749, 5.2), or "".
func oauthError(body []byte) string {
	var d struct {
		Error string `json:"error"`
	}
	if bankapi.Decode(body, &d) != nil {
		return ""
	}
	return bankapi.ShortCode(d.Error, "")
}

type tokenDoc struct {
	AccessToken string          `json:"access_token"`
	TokenType   string          `json:"token_type"`
	ExpiresIn   json.RawMessage `json:"expires_in"`
	Scope       *string         `json:"scope"`
}

type accessToken struct {
	value  string
	life   time.Duration
	scopes []string // nil: not said
}

// How long a token is used, whatever the bank says, and if it says nothing.
const (
	longestToken = 24 * time.Hour
	unsaidToken  = 5 * time.Minute
)

func tokenOf(body []byte) (t accessToken, err error) {
	var d tokenDoc
	if err := bankapi.Decode(body, &d); err != nil {
		return t, err
	}
	unfit := func(r rune) bool { return r <= 0x20 || r >= 0x7f }
	if d.AccessToken == "" || len(d.AccessToken) > 16<<10 || strings.IndexFunc(d.AccessToken, unfit) >= 0 {
		return t, bankapi.Fault("bad_token")
	}
	if d.TokenType != "" && !strings.EqualFold(d.TokenType, "Bearer") {
		return t, bankapi.Fault("bad_token")
	}
	t.value, t.life = d.AccessToken, unsaidToken
	if len(d.ExpiresIn) > 0 {
		seconds, ok := looseInt(d.ExpiresIn)
		if !ok || seconds < 1 {
			return t, bankapi.Fault("bad_token")
		}
		t.life = time.Duration(min(seconds, int64(longestToken/time.Second))) * time.Second
	}
	if d.Scope != nil {
		t.scopes = append([]string{}, strings.Fields(*d.Scope)...)
		if len(t.scopes) == 0 {
			t.scopes = nil // a bank that says nothing in a field of its own
		}
	}
	return t, nil
}
