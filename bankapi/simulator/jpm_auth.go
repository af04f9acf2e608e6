package simulator

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// jpmToken is an access token that was given out.
type jpmToken struct {
	account string
	until   time.Time
}

// publicKey reads an RSA key from PEM.
func publicKey(text string) (*rsa.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if k, ok := key.(*rsa.PublicKey); ok {
		return k, nil
	}
	return nil, errors.New("no RSA key")
}

// jpmClient returns how a client of the account shows who it is.
func (jw *jpmWire) jpmClient(acc string) (JPMAccount, bool) {
	v, _ := jw.accounts.Load(acc)
	a, _ := v.(JPMAccount)
	if a.ClientID == "" && a.Certificate == "" {
		if jw.secret == "" || len(acc) > 64 {
			return a, false
		}
		a.ClientID, a.ClientSecret = acc, jw.secret
	}
	return a, true
}

// authentic checks who calls, and replaces a signed body by what it says.
func (jw *jpmWire) authentic(c *jpmCall) error {
	a, ok := jw.jpmClient(c.acc)
	if !ok {
		return jpmFail(http.StatusUnauthorized, "Unauthorized")
	}
	if err := jpmCertified(a, c.r); err != nil {
		return err
	}
	if a.ClientID != "" {
		value, ok := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer ")
		jw.mu.Lock()
		t, known := jw.tokens[value]
		jw.mu.Unlock()
		if !ok || !known || t.account != c.acc || !jw.s.ledger.time().Before(t.until) {
			return jpmFail(http.StatusUnauthorized, "Unauthorized")
		}
	}
	if len(c.body) > 0 {
		want := "application/json"
		if a.SigningKey != "" {
			want = "application/jose"
		}
		if c.r.Header.Get("Content-Type") != want {
			return jpmFail(http.StatusBadRequest, "Bad format", jpmContext{"13000", "The content type is wrong.", "Content-Type", "HEADER"})
		}
		if a.SigningKey != "" {
			payload, err := verifyJWS(string(c.body), a.SigningKey)
			if err != nil {
				return jpmSecurity("The body's signature is not good.")
			}
			c.body = payload
		}
	}
	return jw.s.ledger.open(c.acc, "")
}

func jpmSecurity(message string) error {
	return jpmFail(http.StatusForbidden, "Security Failure", jpmContext{Code: "14000", Message: message})
}

// jpmCertified checks the client's certificate where one is asked for.
func jpmCertified(a JPMAccount, r *http.Request) error {
	if a.Certificate == "" {
		return nil
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return jpmSecurity("Invalid client profile.")
	}
	sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
	if !strings.EqualFold(hex.EncodeToString(sum[:]), a.Certificate) {
		return jpmSecurity("Invalid client profile.")
	}
	return nil
}

// verifyJWS returns the payload of a compact JWS (RFC 7515) under RS256.
func verifyJWS(text, key string) ([]byte, error) {
	k, err := publicKey(key)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, errors.New("not three parts")
	}
	var raw [3][]byte
	for i, p := range parts {
		if raw[i], err = base64.RawURLEncoding.DecodeString(p); err != nil {
			return nil, err
		}
	}
	var header struct {
		Alg string `json:"alg"`
	}
	if err := json.Unmarshal(raw[0], &header); err != nil || header.Alg != "RS256" {
		return nil, errors.New("not RS256")
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], raw[2]); err != nil {
		return nil, err
	}
	return raw[1], nil
}

// token gives out access tokens (RFC 6749, 4.4), to clients with a secret or with a
// signed assertion (RFC 7523).
func (jw *jpmWire) token(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", jw.s.ledger.time().Format(http.TimeFormat))
	body, err := readBody(w, r, 64<<10)
	fail := func(w http.ResponseWriter, status int, code string) {
		writeJSON(w, status, struct {
			Error string `json:"error"`
		}{code})
	}
	if err != nil {
		fail(w, http.StatusRequestEntityTooLarge, "invalid_request")
		return
	}
	jw.s.serve(w, r, "token", "", func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.NoBody
		form, err := url.ParseQuery(string(bytes.TrimSpace(body)))
		acc := r.PathValue("account")
		a, ok := jw.jpmClient(acc)
		switch {
		case err != nil || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded":
			fail(w, http.StatusBadRequest, "invalid_request")
			return
		case form.Get("grant_type") != "client_credentials":
			fail(w, http.StatusBadRequest, "unsupported_grant_type")
			return
		case !ok || a.ClientID == "" || jpmCertified(a, r) != nil || !jw.known(a, r, form):
			fail(w, http.StatusUnauthorized, "invalid_client")
			return
		}
		value := named("t") + named("")
		now := jw.s.ledger.time()
		jw.mu.Lock()
		for v, t := range jw.tokens {
			if !now.Before(t.until) {
				delete(jw.tokens, v)
			}
		}
		jw.tokens[value] = jpmToken{acc, now.Add(jw.o.TokenLife)}
		jw.mu.Unlock()
		writeJSON(w, http.StatusOK, struct {
			AccessToken string `json:"access_token"`
			TokenType   string `json:"token_type"`
			ExpiresIn   int    `json:"expires_in"`
		}{value, "Bearer", int(jw.o.TokenLife / time.Second)})
	}, fail)
}

// known checks a client's secret or assertion.
func (jw *jpmWire) known(a JPMAccount, r *http.Request, form url.Values) bool {
	if a.AssertionKey == "" {
		id, secret, _ := r.BasicAuth()
		return id == a.ClientID && subtle.ConstantTimeCompare([]byte(secret), []byte(a.ClientSecret)) == 1
	}
	if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || form.Get("client_id") != a.ClientID {
		return false
	}
	payload, err := verifyJWS(form.Get("client_assertion"), a.AssertionKey)
	var claims struct {
		Iss string `json:"iss"`
		Sub string `json:"sub"`
		Aud string `json:"aud"`
		Jti string `json:"jti"`
		Exp int64  `json:"exp"`
		Nbf int64  `json:"nbf"`
	}
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return false
	}
	// By the wall's clock: the bank's own may have been moved for a test.
	now := jw.s.wall().Unix()
	return claims.Iss == a.ClientID && claims.Sub == a.ClientID && strings.HasSuffix(claims.Aud, r.URL.Path) && claims.Jti != "" &&
		claims.Exp > now && claims.Exp <= now+600 && cmp.Or(claims.Nbf, now) <= now+60
}
