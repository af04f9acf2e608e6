package simulator

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// authentic checks a call's certificate, token and scope, and that a body is JSON.
func (pw *pixWire) authentic(c *pixCall, scope string) error {
	var ok bool
	if c.who, ok = pw.client(c.acc); !ok || !certified(c.who, c.r) {
		return pixFail("AcessoNegado")
	}
	value, ok := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer ")
	pw.mu.Lock()
	t, known := pw.tokens[value]
	pw.mu.Unlock()
	bound := t.certificate == "" || pw.o.LooseTokens || t.certificate == certificateOf(c.r)
	if !ok || !known || !bound || t.account != c.acc || !pw.s.ledger.time().Before(t.until) {
		e := pixFail("AcessoNegado")
		e.Status = http.StatusUnauthorized // API Pix names none; RFC 6750 does
		return e
	}
	if !slices.Contains(t.scopes, scope) {
		return pixFail("AcessoNegado")
	}
	if len(c.body) > 0 && c.r.Header.Get("Content-Type") != "application/json" && c.r.Header.Get("Content-Type") != "application/json; charset=utf-8" {
		return pixFail("RequisicaoInvalida", pixViolation{Reason: "Content-Type.", Property: "Content-Type"})
	}
	return pw.s.ledger.open(c.acc, "")
}

// certificateOf is the SHA-256 of the caller's certificate, or "".
func certificateOf(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
	return hex.EncodeToString(sum[:])
}

func certified(a PixAccount, r *http.Request) bool {
	return a.Certificate == "" || strings.EqualFold(certificateOf(r), a.Certificate)
}

// token gives out access tokens (RFC 6749, 4.4), in each of the four ways in which
// clients of Brazilian banks ask for them: the secret as HTTP Basic with a form or
// with JSON, the secret in the form, or the certificate alone.
func (pw *pixWire) token(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", pw.s.ledger.time().Format(http.TimeFormat))
	body, err := readBody(w, r, 64<<10)
	fail := func(w http.ResponseWriter, status int, code string) {
		writeJSON(w, status, struct {
			Error       string `json:"error"`
			Description string `json:"error_description,omitempty"`
		}{code, ""})
	}
	if err != nil {
		fail(w, http.StatusRequestEntityTooLarge, "invalid_request")
		return
	}
	pw.s.serve(w, r, "token", "", func(w http.ResponseWriter, r *http.Request) {
		acc := r.PathValue("account")
		a, ok := pw.client(acc)
		grant, err := readGrant(r, body)
		granted := PixScopes
		if a.Scopes != nil {
			granted = a.Scopes
		}
		if grant.scope != "" { // a bank may grant less than was asked for, and say so
			granted = slices.DeleteFunc(slices.Clone(granted), func(s string) bool { return !slices.Contains(strings.Fields(grant.scope), s) })
		}
		switch {
		case err != nil:
			fail(w, http.StatusBadRequest, "invalid_request")
			return
		case !ok || !certified(a, r) || !grant.by(a):
			fail(w, http.StatusUnauthorized, "invalid_client")
			return
		case grant.kind != "client_credentials":
			fail(w, http.StatusBadRequest, "unsupported_grant_type")
			return
		case len(granted) == 0:
			fail(w, http.StatusBadRequest, "invalid_scope")
			return
		}
		value := named("t") + named("")
		now := pw.s.ledger.time()
		pw.mu.Lock()
		for v, t := range pw.tokens {
			if !now.Before(t.until) {
				delete(pw.tokens, v)
			}
		}
		pw.tokens[value] = pixToken{acc, granted, certificateOf(r), now.Add(pw.o.TokenLife)}
		pw.mu.Unlock()
		writeJSON(w, http.StatusOK, struct {
			AccessToken string `json:"access_token"`
			TokenType   string `json:"token_type"`
			ExpiresIn   int    `json:"expires_in"`
			Scope       string `json:"scope"`
		}{value, "Bearer", int(pw.o.TokenLife / time.Second), strings.Join(granted, " ")})
	}, fail)
}

// pixGrant is a request for a token.
type pixGrant struct {
	kind, scope, id, secret string
}

func readGrant(r *http.Request, body []byte) (g pixGrant, err error) {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	switch kind {
	case "application/json":
		var in struct {
			GrantType string `json:"grant_type"`
			Scope     string `json:"scope"`
		}
		if err := readJSON(body, &in); err != nil {
			return g, err
		}
		g.kind, g.scope = in.GrantType, in.Scope
	case "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return g, err
		}
		g = pixGrant{form.Get("grant_type"), form.Get("scope"), form.Get("client_id"), form.Get("client_secret")}
	default:
		return g, errors.New("neither JSON nor a form")
	}
	if header := r.Header.Get("Authorization"); header != "" {
		text, ok := strings.CutPrefix(header, "Basic ")
		pair, derr := base64.StdEncoding.DecodeString(text)
		id, secret, colon := strings.Cut(string(pair), ":")
		if !ok || derr != nil || !colon || g.secret != "" || g.id != "" && g.id != id {
			return g, errors.New("two ways at once, or none")
		}
		g.id, g.secret = id, secret
	}
	return g, nil
}

// by reports whether the grant was asked for by this client.
func (g pixGrant) by(a PixAccount) bool {
	if g.id != a.ClientID {
		return false
	}
	if a.ClientSecret == "" {
		return a.Certificate != "" && g.secret == ""
	}
	return subtle.ConstantTimeCompare([]byte(g.secret), []byte(a.ClientSecret)) == 1
}
