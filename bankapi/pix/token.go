package pix

import (
	"bytes"
	"context"
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
	var got atomic.Pointer[bankapi.Grant]
	err := b.guardToken(ctx, func(ctx context.Context) error {
		g, err := b.askToken(ctx)
		if err == nil {
			got.Store(&g)
		}
		return err
	})
	if err != nil {
		return "", 0, err
	}
	g := got.Load()
	if g == nil {
		return "", 0, bankapi.Unreadable("no_token", "The bank gave no access token.", nil)
	}
	return g.Token, g.Life, nil
}

func (b *Bank) askToken(ctx context.Context) (bankapi.Grant, error) {
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
		return bankapi.Grant{}, unsendable(err)
	}
	if b.auth == basicJSON || b.auth == basicForm {
		req.SetBasicAuth(b.id, b.secret.Reveal())
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", userAgent)
	asked := b.now()
	g, err := bankapi.FetchGrant(b.client, req, asked)
	if err != nil {
		return g, err
	}
	b.clock.learn(g.Header, asked, b.now())
	b.grant.mu.Lock()
	defer b.grant.mu.Unlock()
	b.grant.value, b.grant.at, b.grant.scopes = g.Token, asked, g.Scopes
	return g, nil
}
