package bankapi

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Authorities is how TLS trusts what a connection's setting ca_pem names, the
// certificate authorities of a bank that is not in the system's list. Without the
// setting it is nil, and the system's list holds.
func Authorities(s Setup) (*tls.Config, error) {
	ca := s.Settings["ca_pem"]
	if ca == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(ca)) {
		return nil, BadSetting("settings.ca_pem", "pem", "The certificate authorities are not in PEM.")
	}
	return &tls.Config{RootCAs: pool}, nil
}

// KeyPair is the certificate a bank knows a merchant by, with its key. From files it
// is read again when they change, so that a certificate is renewed without a
// restart; connections that are open keep the old one until they end.
//
// The settings are cert_file and key_file, or the secrets are cert_pem and key_pem.
type KeyPair struct {
	certFile, keyFile string // empty: it came as a secret and stays

	// Changed is called after another certificate was read, by the call that reads it.
	Changed func()

	mu     sync.Mutex
	now    *tls.Certificate
	seen   [2]stamp
	looked time.Time
}

// stamp tells whether a file is still the one that was read.
type stamp struct {
	size     int64
	modified time.Time
}

// lookEach bounds how often the files are looked at.
const lookEach = time.Second

// OpenKeyPair returns nil if the setup has no certificate. dir is the only directory
// whose files a connection may name, because who enters a connection is not who owns
// the machine; empty: it may name none.
func OpenKeyPair(s Setup, dir string) (*KeyPair, error) {
	certFile, keyFile := s.Settings["cert_file"], s.Settings["key_file"]
	certPEM, keyPEM := s.Secrets["cert_pem"].Reveal(), s.Secrets["key_pem"].Reveal()
	switch {
	case certFile == "" && keyFile == "" && certPEM == "" && keyPEM == "":
		return nil, nil
	case (certFile != "" || keyFile != "") && (certPEM != "" || keyPEM != ""):
		return nil, BadSetting("settings.cert_file", "one_of", "The certificate comes from files or as secrets, not both.")
	case certPEM != "" || keyPEM != "":
		pair, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
		if err != nil {
			return nil, BadSetting("secrets.cert_pem", "pem", "cert_pem and key_pem are a certificate and its key without a passphrase, in PEM.")
		}
		return &KeyPair{now: &pair}, nil
	}
	for _, f := range [][2]string{{"cert_file", certFile}, {"key_file", keyFile}} {
		if problem := outside(dir, f[1]); problem != "" {
			return nil, BadSetting("settings."+f[0], "file", problem)
		}
	}
	p := &KeyPair{certFile: certFile, keyFile: keyFile}
	if problem := p.read(); problem != "" {
		return nil, BadSetting("settings.cert_file", "file", problem)
	}
	return p, nil
}

// outside says why a file is not one the operator put up for connections, or "".
func outside(dir, path string) string {
	if dir == "" {
		return "The operator of this gateway has set no directory for certificates; give them as secrets."
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil || !filepath.IsAbs(path) || rel == "." || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "cert_file and key_file are absolute paths in the operator's directory for certificates."
	}
	return ""
}

// stat tells whether the files may have changed, or what is wrong with them.
func (p *KeyPair) stat() (seen [2]stamp, problem string) {
	for i, path := range []string{p.certFile, p.keyFile} {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return seen, "There is no file " + filepath.Base(path) + "."
		case err != nil:
			return seen, "The file " + filepath.Base(path) + " cannot be read."
		case path == p.keyFile && info.Mode().Perm()&0o077 != 0:
			return seen, "The key file " + filepath.Base(path) + " may be read by others than its owner; make it 0600."
		}
		seen[i] = stamp{info.Size(), info.ModTime()}
	}
	return seen, ""
}

// read takes the pair from its files, or says why it cannot. It is called with mu
// held, or before anybody else knows of p.
func (p *KeyPair) read() (problem string) {
	seen, problem := p.stat()
	if problem != "" {
		return problem
	}
	pair, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	if err != nil {
		return "cert_file and key_file are a certificate and its key without a passphrase, in PEM."
	}
	p.now, p.seen = &pair, seen
	return ""
}

// Get is a tls.Config's GetClientCertificate. While new files cannot be read, as
// between the writing of one and of the other, the old pair serves.
func (p *KeyPair) Get(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	pair, fresh := p.current()
	if fresh && p.Changed != nil {
		p.Changed()
	}
	return pair, nil
}

func (p *KeyPair) current() (pair *tls.Certificate, fresh bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.certFile == "" || time.Since(p.looked) < lookEach {
		return p.now, false
	}
	p.looked = time.Now()
	if seen, problem := p.stat(); problem == "" && seen != p.seen {
		fresh = p.read() == ""
	}
	return p.now, fresh
}

// Problem says what is wrong with the pair at a time, for who checks a connection: a
// code of ours and a sentence, or nothing.
func (p *KeyPair) Problem(now time.Time) (code, detail string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.certFile != "" {
		if problem := p.read(); problem != "" {
			return "certificate_file", problem
		}
	}
	leaf := p.now.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(p.now.Certificate[0]); err != nil {
			return "certificate", "The connection's certificate cannot be read."
		}
	}
	switch {
	case now.Before(leaf.NotBefore):
		return "certificate_not_yet", "The connection's certificate is not valid yet."
	case now.After(leaf.NotAfter):
		return "certificate_expired", "The connection's certificate has expired."
	}
	return "", ""
}
