package simulator

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"sync"
	"time"
)

// pixSigner signs what is fetched at locations, with a key and certificate that are
// made when the first is.
type pixSigner struct {
	once sync.Once
	key  *rsa.PrivateKey
	cert []byte // DER
	err  error
}

const pixKeyID = "placard-bank-1"

func (s *pixSigner) make() error {
	s.once.Do(func() {
		if s.key, s.err = rsa.GenerateKey(rand.Reader, 2048); s.err != nil {
			return
		}
		about := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Pretend Bank, Pix payloads"}, KeyUsage: x509.KeyUsageDigitalSignature,
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		}
		s.cert, s.err = x509.CreateCertificate(rand.Reader, about, about, s.key.Public(), s.key)
	})
	return s.err
}

// thumbprint is x5t: base64url of the SHA-1 of the certificate (RFC 7515, 4.1.7).
func (s *pixSigner) thumbprint() string {
	sum := sha1.Sum(s.cert)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// sign makes a compact JWS under RS256 (RFC 7515, 3.1). jku is where the key is to be
// had.
func (s *pixSigner) sign(jku string, payload []byte) (string, error) {
	if err := s.make(); err != nil {
		return "", err
	}
	header, err := json.Marshal(struct {
		Alg  string `json:"alg"`
		Type string `json:"typ"`
		Key  string `json:"kid"`
		Set  string `json:"jku"`
		Cert string `json:"x5t"`
	}{"RS256", "JWS", pixKeyID, jku, s.thumbprint()})
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, sum[:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), err
}

// jwks is the set of keys (RFC 7517) that payloads are signed with.
func (pw *pixWire) jwks(w http.ResponseWriter, _ *http.Request) {
	if err := pw.signer.make(); err != nil {
		pw.refused(w, err)
		return
	}
	type key struct {
		Type string   `json:"kty"`
		ID   string   `json:"kid"`
		Alg  string   `json:"alg"`
		Ops  []string `json:"key_ops"`
		N    string   `json:"n"`
		E    string   `json:"e"`
		X5t  string   `json:"x5t"`
		X5c  []string `json:"x5c"`
	}
	encode := base64.RawURLEncoding.EncodeToString
	writeJSON(w, http.StatusOK, map[string][]key{"keys": {{"RSA", pixKeyID, "RS256", []string{"verify"}, encode(pw.signer.key.N.Bytes()),
		encode(big.NewInt(int64(pw.signer.key.E)).Bytes()), pw.signer.thumbprint(), []string{base64.StdEncoding.EncodeToString(pw.signer.cert)}}}})
}
