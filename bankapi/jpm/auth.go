package jpm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"placard/bankapi"
	"placard/linking"
)

// oauth is how access tokens are got, where the bank wants one.
type oauth struct {
	kind            string // "", client_secret, jwt
	tokenURL        string
	id              string
	secret          bankapi.Secret
	scope, resource string
	assertion       *signer
}

const (
	byClientSecret = "client_secret"
	byAssertion    = "jwt"
)

func (r Rail) oauthOf(s bankapi.Setup) (o oauth, err error) {
	set := s.Settings
	bad := func(field, code, message string) (oauth, error) {
		return o, bankapi.BadSetting(field, code, message)
	}
	o = oauth{kind: set["oauth"], id: set["client_id"], secret: s.Secrets["client_secret"], scope: set["scope"], resource: set["resource"]}
	secret, key := o.secret.Reveal(), s.Secrets["assertion_key_pem"].Reveal()
	switch o.kind {
	case "", "none":
		if o.kind = ""; o.id+secret+key+o.scope+o.resource+set["token_url"]+set["assertion_kid"] != "" {
			return bad("settings.oauth", "required", "Credentials of a client go with oauth = client_secret or jwt.")
		}
		return o, nil
	case byClientSecret, byAssertion:
	default:
		return bad("settings.oauth", "unknown", "oauth is none, client_secret or jwt.")
	}
	if o.tokenURL, err = r.address("token_url", set["token_url"]); err != nil {
		return o, err
	}
	switch {
	case o.id == "" || len(o.id) > 512 || !printable(o.id):
		return bad("settings.client_id", "required", "client_id is what the bank gave, 1 to 512 printable ASCII characters.")
	case len(o.scope) > 1024 || !printable(o.scope) || len(o.resource) > 1024 || !printable(o.resource):
		return bad("settings.scope", "scope", "scope and resource are what the bank gave, in printable ASCII.")
	case o.kind == byClientSecret && (secret == "" || len(secret) > 4096 || !printable(secret)):
		return bad("secrets.client_secret", "required", "client_secret is what the bank gave, in printable ASCII.")
	case o.kind == byClientSecret && key != "":
		return bad("secrets.assertion_key_pem", "unexpected", "assertion_key_pem is for oauth = jwt.")
	case o.kind == byAssertion && secret != "":
		return bad("secrets.client_secret", "unexpected", "client_secret is for oauth = client_secret.")
	case o.kind == byAssertion:
		if o.assertion, err = newSigner(key, set["assertion_kid"], "JWT"); err != nil {
			return bad("secrets.assertion_key_pem", "pem", "assertion_key_pem is an RSA key of 2048 bits or more, in PEM without a passphrase.")
		}
	}
	return o, nil
}

// signerOf returns what signs bodies, or nil.
func signerOf(s bankapi.Setup) (*signer, error) {
	key := s.Secrets["signing_key_pem"].Reveal()
	switch s.Settings["sign"] {
	case "", "none":
		if key != "" {
			return nil, bankapi.BadSetting("settings.sign", "required", "signing_key_pem goes with sign = jose.")
		}
		return nil, nil
	case "jose":
	default:
		return nil, bankapi.BadSetting("settings.sign", "unknown", "sign is none or jose.")
	}
	sg, err := newSigner(key, s.Settings["signing_kid"], "JOSE")
	if err != nil {
		return nil, bankapi.BadSetting("secrets.signing_key_pem", "pem", "signing_key_pem is an RSA key of 2048 bits or more, in PEM without a passphrase.")
	}
	return sg, nil
}

// signer makes compact JWS with its payload attached (RFC 7515), under RS256. The key
// is a function's, so that no dump prints it.
type signer struct {
	header string
	sum    func(digest []byte) ([]byte, error)
}

func newSigner(keyPEM, kid, typ string) (*signer, error) {
	block, _ := pem.Decode([]byte(keyPEM))
	if block == nil {
		return nil, errors.New("no PEM")
	}
	var key *rsa.PrivateKey
	if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		key, _ = parsed.(*rsa.PrivateKey)
	} else if key, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
		return nil, errors.New("no private key")
	}
	if key == nil || key.N.BitLen() < 2048 {
		return nil, errors.New("no RSA key of 2048 bits")
	}
	header, err := json.Marshal(struct {
		Alg string `json:"alg"`
		Typ string `json:"typ"`
		Kid string `json:"kid,omitempty"`
	}{"RS256", typ, kid})
	if err != nil {
		return nil, err
	}
	return &signer{base64.RawURLEncoding.EncodeToString(header), func(digest []byte) ([]byte, error) {
		return rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest)
	}}, nil
}

func (s *signer) jws(payload []byte) ([]byte, error) {
	text := s.header + "." + base64.RawURLEncoding.EncodeToString(payload)
	digest := sha256.Sum256([]byte(text))
	signature, err := s.sum(digest[:])
	if err != nil {
		return nil, err
	}
	return []byte(text + "." + base64.RawURLEncoding.EncodeToString(signature)), nil
}

func unguarded(ctx context.Context, fetch func(context.Context) error) error { return fetch(ctx) }

// heldToken remembers when the newest token was got.
type heldToken struct {
	mu    sync.Mutex
	value string
	at    time.Time
}

// young is the age below which a token that was refused is not at fault: another one,
// got the same way, would be refused too.
const young = 2 * time.Second

// bearer returns an access token, or "" where none is needed. A failure is of class
// denied, or not_sent: the call itself was not made.
func (b *Bank) bearer(ctx context.Context) (string, error) {
	if b.token == nil {
		return "", nil
	}
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

// refused takes note that a token was not taken, and reports whether another may be.
func (b *Bank) refused(t string) bool {
	if b.token == nil {
		return false
	}
	b.held.mu.Lock()
	stale := b.held.value != t || b.now().Sub(b.held.at).Abs() >= young
	b.held.mu.Unlock()
	if stale {
		b.token.Drop(t)
	}
	return stale
}

// forgetToken makes the next call get a new one.
func (b *Bank) forgetToken() {
	if b.token == nil {
		return
	}
	b.held.mu.Lock()
	t := b.held.value
	b.held.mu.Unlock()
	b.token.Drop(t)
}

// fetchToken asks for a token by client credentials (RFC 6749, 4.4), with the secret
// or with a signed assertion (RFC 7523, 2.2).
func (b *Bank) fetchToken(ctx context.Context) (value string, life time.Duration, err error) {
	err = b.guardToken(ctx, func(ctx context.Context) error {
		asked := b.now()
		if value, life, err = b.askToken(ctx); err == nil {
			b.held.mu.Lock()
			b.held.value, b.held.at = value, asked
			b.held.mu.Unlock()
		}
		return err
	})
	return value, life, err
}

// assertionLife is how long an assertion is good.
const assertionLife = 5 * time.Minute

func (b *Bank) askToken(ctx context.Context) (string, time.Duration, error) {
	o := b.oauth
	form := url.Values{"grant_type": {"client_credentials"}}
	if o.scope != "" {
		form.Set("scope", o.scope)
	}
	if o.resource != "" {
		form.Set("resource", o.resource)
	}
	if o.kind == byAssertion {
		now := b.now()
		claims, err := json.Marshal(struct {
			Iss string `json:"iss"`
			Sub string `json:"sub"`
			Aud string `json:"aud"`
			Jti string `json:"jti"`
			Iat int64  `json:"iat"`
			Exp int64  `json:"exp"`
		}{o.id, o.id, o.tokenURL, rand.Text(), now.Unix(), now.Add(assertionLife).Unix()})
		if err != nil {
			return "", 0, err
		}
		assertion, err := o.assertion.jws(claims)
		if err != nil {
			return "", 0, err
		}
		form.Set("client_id", o.id)
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", string(assertion))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.tokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, unsendable("unsendable", err)
	}
	if o.kind == byClientSecret {
		req.SetBasicAuth(o.id, o.secret.Reveal())
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("User-Agent", userAgent)
	return bankapi.FetchToken(b.client, req, b.now())
}

// sealed returns a body as it is sent, and its content type.
func (b *Bank) sealed(body []byte) ([]byte, string, error) {
	if b.sign == nil {
		return body, "application/json", nil
	}
	signed, err := b.sign.jws(bytes.TrimSpace(body))
	return signed, "application/jose", err
}
