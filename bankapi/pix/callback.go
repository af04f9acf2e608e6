package pix

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"placard/bankapi"
	"placard/linking"
)

// callbackMode is how a callback shows that it is the bank's.
type callbackMode string

const (
	noCallbacks   callbackMode = ""            // none is taken; the list of payments finds what happened
	bySecret      callbackMode = "secret"      // a secret in the address the bank was told
	byHeader      callbackMode = "header"      // a secret header that the operator's proxy sets once it knows the bank's certificate
	byCertificate callbackMode = "certificate" // the bank's certificate, seen by the gateway's own listener
)

// callbackAuth is what a callback is held against.
type callbackAuth struct {
	mode         callbackMode
	secret       string
	header       string
	certificates []string // SHA-256 of the DER, in small hex digits
}

// shortestSecret is 128 bits in hex digits.
const shortestSecret = 32

func callbackAuthOf(s bankapi.Setup) (c callbackAuth, err error) {
	c.mode, c.secret = callbackMode(s.Settings["callback_auth"]), s.Secrets["callback_secret"].Reveal()
	header, certificates := s.Settings["callback_header"], strings.Fields(s.Settings["callback_certificates"])
	switch c.mode {
	case noCallbacks, bySecret, byHeader, byCertificate:
	default:
		return c, bankapi.BadSetting("settings.callback_auth", "unknown", "callback_auth is secret, header or certificate, or left out.")
	}
	if c.mode == bySecret || c.mode == byHeader {
		if len(c.secret) < shortestSecret || len(c.secret) > 128 || !alphanumeric(strings.NewReplacer("-", "x", "_", "x").Replace(c.secret)) {
			return c, bankapi.BadSetting("secrets.callback_secret", "secret", "callback_secret is 32 to 128 random letters, digits, hyphens and underscores.")
		}
	} else if c.secret != "" {
		return c, bankapi.BadSetting("secrets.callback_secret", "unexpected", "callback_secret is for callback_auth secret or header.")
	}
	if c.header = http.CanonicalHeaderKey(header); c.mode == byHeader {
		if !alphanumeric(strings.ReplaceAll(header, "-", "x")) || len(header) > 64 || slices.Contains(unfitHeaders, c.header) {
			return c, bankapi.BadSetting("settings.callback_header", "header", "callback_header is the name of a header of your own, such as X-Pix-Proof.")
		}
	} else if header != "" {
		return c, bankapi.BadSetting("settings.callback_header", "unexpected", "callback_header is for callback_auth header.")
	}
	for _, one := range certificates {
		sum, err := hex.DecodeString(strings.ReplaceAll(one, ":", ""))
		if err != nil || len(sum) != sha256.Size {
			return c, bankapi.BadSetting("settings.callback_certificates", "fingerprint", "callback_certificates are SHA-256 fingerprints in hex digits, with blanks between them.")
		}
		c.certificates = append(c.certificates, hex.EncodeToString(sum))
	}
	if (c.mode == byCertificate) != (len(c.certificates) > 0) || len(c.certificates) > 16 {
		return c, bankapi.BadSetting("settings.callback_certificates", "required", "callback_auth certificate goes with one to sixteen callback_certificates.")
	}
	return c, nil
}

// unfitHeaders are headers that come with every call or that others set.
var unfitHeaders = []string{"Host", "Accept", "User-Agent", "Content-Type", "Content-Length", "Connection", "Authorization", "X-Forwarded-For"}

// authentic reports whether a message bears the mark that was agreed on. Each mark
// has to be there exactly once.
func (c *callbackAuth) authentic(h http.Header) bool {
	switch c.mode {
	case bySecret:
		v := h[bankapi.CallbackTarget]
		if len(v) != 1 {
			return false
		}
		_, query, _ := strings.Cut(v[0], "?")
		good := 0
		for _, tail := range []string{"", "/pix", "%2Fpix"} { // as banks append to an address
			good |= subtle.ConstantTimeCompare([]byte(query), []byte(c.query()+tail))
		}
		return good == 1
	case byHeader:
		v := h.Values(c.header)
		return len(v) == 1 && subtle.ConstantTimeCompare([]byte(v[0]), []byte(c.secret)) == 1
	case byCertificate:
		v := h[bankapi.CallbackCertificate]
		return len(v) == 1 && slices.Contains(c.certificates, v[0])
	}
	return false
}

// query is what makes an address secret. The bank appends "/pix", and the last
// parameter is there to swallow it.
func (c *callbackAuth) query() string { return "hmac=" + c.secret + "&ignorar=" }

// maxCallback is far more than a callback needs; a bank may group payments.
const maxCallback = 64 << 10

// Callback implements linking.Bank. The body of a forged callback is not read. An
// authentic one may still be about somebody else's key: at some banks anybody can
// have his own key's messages sent here. It is a hint either way.
func (b *Bank) Callback(_ context.Context, header http.Header, body []byte) ([]linking.RequestID, error) {
	denied := func(code string) error {
		return &linking.BankError{Class: linking.BankDenied, Code: code, Detail: "The callback is not the bank's."}
	}
	switch {
	case b.callback.mode == noCallbacks:
		return nil, denied("callbacks_off")
	case len(body) > maxCallback:
		return nil, denied("too_large")
	case !b.callback.authentic(header):
		return nil, denied("no_mark")
	}
	return understood(b.callbackOf(body))
}

// callbackOf reads {"pix": […]}, or a bare array as one bank sends it. A message
// without payments, as banks send to try an address, hints at nothing.
func (b *Bank) callbackOf(body []byte) ([]linking.RequestID, error) {
	type payment struct {
		TxID string `json:"txid"`
		Key  string `json:"chave"`
	}
	var d struct {
		Pix []payment `json:"pix"`
	}
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return nil, nil
	}
	if body[0] == '[' {
		body = append(append([]byte(`{"pix":`), body...), '}')
	}
	if body[0] != '{' {
		return nil, bankapi.Fault("malformed")
	}
	if err := bankapi.Decode(body, &d); err != nil {
		return nil, err
	}
	var ids []linking.RequestID
	for _, p := range d.Pix {
		if id, ok := ours(p.TxID); ok && (p.Key == "" || b.sameKey(p.Key)) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Register tells the bank where the callbacks of the connection's key go: callbackURL
// with "/pix" at its end. A key has one address only, so that one which leads to
// another system is left alone: class refused, code webhook_taken.
func (b *Bank) Register(ctx context.Context, callbackURL string) error {
	if b.callback.mode == noCallbacks {
		return &linking.BankError{Class: linking.BankRefused, Code: "callbacks_off", Detail: "The connection has no callback_auth, so that no callback would be taken."}
	}
	u, err := url.Parse(callbackURL)
	if err != nil || u.RawQuery != "" || u.Fragment != "" || u.Hostname() == "" || u.Scheme != "https" && (u.Scheme != "http" || !b.plain && !loopback(u.Hostname())) {
		return unsendable(errors.New("a callback URL that no bank can call"))
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if b.callback.mode == bySecret {
		u.RawQuery = b.callback.query()
	}
	path := "/webhook/" + url.PathEscape(b.key)
	body, err := b.call(ctx, target{method: http.MethodGet, path: path, scope: scopeHookRead}, nil)
	switch class := classOf(err); {
	case err == nil:
		var d webhookDoc
		if err := bankapi.Decode(body, &d); err != nil {
			_, err = understood(d, err)
			return err
		}
		if d.URL == u.String() {
			return nil
		}
		was, err := url.Parse(d.URL)
		if d.URL != "" && (err != nil || was.Host != u.Host || strings.TrimRight(was.Path, "/") != u.Path) {
			return &linking.BankError{Class: linking.BankRefused, Code: "webhook_taken", Detail: "The key's webhook leads to another system. Remove it there first, or leave it: payments are found without it."}
		}
	case class != linking.BankAbsent && class != linking.BankRefused:
		return unsent(err)
	}
	to := target{method: http.MethodPut, path: path, scope: scopeHookWrite}
	if b.callback.mode == bySecret {
		// Efí's way to say that the secret, and not a certificate, protects the address.
		to.header = http.Header{"X-Skip-Mtls-Checking": {"true"}}
	}
	_, err = b.call(ctx, to, webhookDoc{u.String()})
	return err
}

// Check asks everything a connection needs: the certificate's dates, a token, the
// scopes that were granted, and whether the bank answers about a charge.
func (b *Bank) Check(ctx context.Context) error {
	if b.pair != nil {
		if code, detail := b.pair.Problem(b.now()); code != "" {
			return &linking.BankError{Class: linking.BankDenied, Code: code, Detail: detail}
		}
	}
	b.forgetToken()
	if _, err := b.bearer(ctx); err != nil {
		return err
	}
	if missing := b.lacks(b.scopes...); len(missing) > 0 {
		return &linking.BankError{Class: linking.BankDenied, Code: "missing_scope",
			Detail: "The bank did not grant: " + strings.Join(missing, ", ") + ". Have it granted, or leave it out of scopes."}
	}
	_, err := b.Get(ctx, linking.BankRef{ID: "00000000000000000000000000", Charge: linking.Immediate})
	if classOf(err) == linking.BankAbsent {
		return nil
	}
	return err
}
