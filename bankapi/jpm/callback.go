package jpm

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"slices"
	"strings"

	"placard/bankapi"
	"placard/linking"
)

// How a callback shows that it is the bank's; empty: none is taken.
const (
	byHeader      = "header"
	byCertificate = "certificate"
	bySignature   = "signature"
)

// callbackAuth is what a callback is held against.
type callbackAuth struct {
	mode         string
	header       string
	secret       bankapi.Secret
	certificates []string // SHA-256 of the DER, in small hex digits
	keys         []crypto.PublicKey
}

// unfitHeaders are headers that come with every call, or that others set.
var unfitHeaders = []string{"Host", "Accept", "User-Agent", "Content-Type", "Content-Length", "Connection", "Authorization", "X-Forwarded-For", "Signature"}

func callbackAuthOf(s bankapi.Setup) (c callbackAuth, err error) {
	bad := func(field, code, message string) (callbackAuth, error) {
		return c, bankapi.BadSetting(field, code, message)
	}
	c = callbackAuth{mode: s.Settings["callback_auth"], header: http.CanonicalHeaderKey(s.Settings["callback_header"]), secret: s.Secrets["callback_secret"]}
	secret, certificates := c.secret.Reveal(), strings.Fields(s.Settings["callback_certificates"])
	switch {
	case c.mode == "none":
		c.mode = ""
	case !slices.Contains([]string{"", byHeader, byCertificate, bySignature}, c.mode):
		return bad("settings.callback_auth", "unknown", "callback_auth is header, certificate, signature or none.")
	}
	if c.mode == byHeader {
		name := strings.IndexFunc(c.header, func(r rune) bool {
			return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-'
		}) < 0
		if c.header == "" || len(c.header) > 64 || !name || slices.Contains(unfitHeaders, c.header) {
			return bad("settings.callback_header", "header", "callback_header is the name of a header of your own, such as X-Bank-Proof.")
		}
		if len(secret) < 32 || len(secret) > 256 || !printable(secret) || strings.Contains(secret, " ") {
			return bad("secrets.callback_secret", "secret", "callback_secret is 32 to 256 random letters and digits, which the proxy sets the header to.")
		}
	} else if c.header != "" || secret != "" {
		return bad("settings.callback_header", "unexpected", "callback_header and callback_secret are for callback_auth = header.")
	}
	for _, one := range certificates {
		sum, err := hex.DecodeString(strings.ReplaceAll(one, ":", ""))
		if err != nil || len(sum) != sha256.Size {
			return bad("settings.callback_certificates", "fingerprint", "callback_certificates are SHA-256 fingerprints in hex digits, with blanks between them.")
		}
		c.certificates = append(c.certificates, hex.EncodeToString(sum))
	}
	if (c.mode == byCertificate) != (len(certificates) > 0) || len(certificates) > 16 {
		return bad("settings.callback_certificates", "required", "callback_auth = certificate goes with 1 to 16 callback_certificates.")
	}
	if c.keys, err = publicKeys(s.Settings["callback_key"]); err != nil || (c.mode == bySignature) != (len(c.keys) > 0) {
		return bad("settings.callback_key", "pem", "callback_auth = signature goes with callback_key, 1 to 4 public keys or certificates (ECDSA, or RSA of 2048 bits) in PEM.")
	}
	return c, nil
}

// publicKeys reads keys, and certificates of keys, one after the other.
func publicKeys(text string) (keys []crypto.PublicKey, err error) {
	rest := []byte(strings.TrimSpace(text))
	for len(rest) > 0 {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || len(keys) == 4 {
			return nil, bankapi.Fault("no PEM")
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if block.Type == "CERTIFICATE" {
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(block.Bytes); err == nil {
				key = c.PublicKey
			}
		}
		if err != nil {
			return nil, err
		}
		switch k := key.(type) {
		case *ecdsa.PublicKey:
		case *rsa.PublicKey:
			if k.N.BitLen() < 2048 {
				return nil, bankapi.Fault("a short key")
			}
		default:
			return nil, bankapi.Fault("another kind of key")
		}
		keys = append(keys, key)
		rest = []byte(strings.TrimSpace(string(rest)))
	}
	return keys, nil
}

// authentic reports whether a message bears the mark that was agreed on, exactly once.
func (c *callbackAuth) authentic(h http.Header, body []byte) bool {
	switch c.mode {
	case byHeader:
		v := h[c.header]
		return len(v) == 1 && subtle.ConstantTimeCompare([]byte(v[0]), []byte(c.secret.Reveal())) == 1
	case byCertificate:
		v := h[bankapi.CallbackCertificate]
		return len(v) == 1 && slices.Contains(c.certificates, v[0])
	case bySignature:
		v := h["Signature"]
		if len(v) != 1 || len(v[0]) > 4096 {
			return false
		}
		signature, err := base64.StdEncoding.Strict().DecodeString(v[0])
		digest := sha256.Sum256(body)
		return err == nil && slices.ContainsFunc(c.keys, func(key crypto.PublicKey) bool {
			switch k := key.(type) {
			case *ecdsa.PublicKey:
				return ecdsa.VerifyASN1(k, digest[:], signature)
			case *rsa.PublicKey:
				return rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], signature) == nil
			}
			return false
		})
	}
	return false
}

// maxCallback is far more than a callback needs.
const maxCallback = 64 << 10

// Callback implements linking.Bank. The body of a forged callback is not read. Of an
// authentic one nothing is believed but whom it names; somebody else's requests, which
// the bank tells the same client of, are passed over.
func (b *Bank) Callback(_ context.Context, header http.Header, body []byte) ([]linking.RequestID, error) {
	denied := func(code string) error {
		return &linking.BankError{Class: linking.BankDenied, Code: code, Detail: "The callback is not the bank's."}
	}
	switch {
	case b.callback.mode == "":
		return nil, denied("callbacks_off")
	case len(body) > maxCallback:
		return nil, denied("too_large")
	case !b.callback.authentic(header, body):
		return nil, denied("no_mark")
	}
	return understood(callbackOf(body, b.country))
}

func callbackOf(body []byte, country string) ([]linking.RequestID, error) {
	var d listedDoc
	if err := bankapi.Decode(body, &d); err != nil {
		return nil, err
	}
	if d.ID == "" {
		return nil, bankapi.Fault("wrong_id")
	}
	if id := d.mine(country); id != "" {
		return []linking.RequestID{id}, nil
	}
	return nil, nil
}
