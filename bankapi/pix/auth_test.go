package pix_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"placard/bankapi"
	"placard/bankapi/pix"
	"placard/bankapi/simulator"
	"placard/linking"
)

// authority is a certificate authority of the bank's choice.
type authority struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	PEM  []byte
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	about := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, about, about, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.PEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// identity is a certificate with its key.
type identity struct {
	cert, key   []byte // PEM
	fingerprint string
}

func (a *authority) issue(name string, until time.Time) identity {
	a.t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	n, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	about := &x509.Certificate{SerialNumber: n, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, about, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, _ := x509.MarshalPKCS8PrivateKey(key)
	sum := sha256.Sum256(der)
	return identity{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), hex.EncodeToString(sum[:])}
}

// serve lets a bank be reached over TLS, which asks for clients' certificates.
func (a *authority) serve(bank http.Handler) *httptest.Server {
	a.t.Helper()
	id := a.issue("bank", time.Now().Add(time.Hour))
	pair, err := tls.X509KeyPair(id.cert, id.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	s := httptest.NewUnstartedServer(bank)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven}
	s.StartTLS()
	a.t.Cleanup(s.Close)
	return s
}

func putOne(b *pix.Bank) error {
	_, err := b.Put(context.Background(), ask(nil))
	return err
}

func TestEachWayToGetAToken(t *testing.T) {
	ca := newAuthority(t)
	ours, theirs := ca.issue("shop", time.Now().Add(time.Hour)), ca.issue("other", time.Now().Add(time.Hour))
	for _, style := range []string{"", "basic_form", "basic_json", "secret_form", "certificate"} {
		t.Run("auth="+style, func(t *testing.T) {
			sim := newSimulator(t, simulator.Options{})
			account := simulator.PixAccount{ClientID: "shop", ClientSecret: "s1", Certificate: ours.fingerprint}
			if style == "certificate" {
				account.ClientSecret = ""
			}
			if err := sim.OpenAccount(simulator.Account{ID: "shop", Pix: account}); err != nil {
				t.Fatal(err)
			}
			bank := ca.serve(sim)
			with := func(id *identity) *pix.Bank {
				s := setup(bank.URL, map[string]string{"ca_pem": string(ca.PEM), "token_auth": style})
				if style == "certificate" {
					delete(s.Secrets, "client_secret")
				}
				if id != nil {
					s.Secrets["cert_pem"], s.Secrets["key_pem"] = bankapi.NewSecret(string(id.cert)), bankapi.NewSecret(string(id.key))
				}
				return open(t, s, nil, 8*time.Second)
			}
			if err := putOne(with(&ours)); err != nil {
				t.Fatal(err)
			}
			refusal(t, putOne(with(&theirs)), linking.BankDenied, "invalid_client")
			if style != "certificate" {
				refusal(t, putOne(with(nil)), linking.BankDenied, "invalid_client")
			}
			if _, counts := sim.Calls(""); counts["token"] > 3 || counts["create"] != 1 {
				t.Fatalf("%v", counts)
			}
		})
	}
}

// A token is good only with the certificate it was got with (RFC 8705, 3).
func TestAStolenTokenIsNoGood(t *testing.T) {
	ca := newAuthority(t)
	ours := ca.issue("shop", time.Now().Add(time.Hour))
	sim := newSimulator(t, simulator.Options{})
	sim.OpenAccount(simulator.Account{ID: "shop", Pix: simulator.PixAccount{ClientID: "shop", ClientSecret: "s1"}})
	var mu sync.Mutex
	var stolen string
	bank := ca.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if t := r.Header.Get("Authorization"); strings.HasPrefix(t, "Bearer ") {
			stolen = t
		}
		mu.Unlock()
		sim.ServeHTTP(w, r)
	}))
	s := setup(bank.URL, map[string]string{"ca_pem": string(ca.PEM)})
	s.Secrets["cert_pem"], s.Secrets["key_pem"] = bankapi.NewSecret(string(ours.cert)), bankapi.NewSecret(string(ours.key))
	if err := putOne(open(t, s, nil, 8*time.Second)); err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequest("GET", bank.URL+"/pix/shop/v2/cob/"+txid1, nil)
	req.Header.Set("Authorization", stolen)
	resp, err := bank.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 401 {
		t.Fatalf("a token without its certificate is answered %d", resp.StatusCode)
	}
}

// A certificate is renewed by writing two files: no restart, no failed call after it.
func TestACertificateIsReadAgainWhenItsFilesChange(t *testing.T) {
	ca, dir := newAuthority(t), t.TempDir()
	first, second := ca.issue("first", time.Now().Add(time.Hour)), ca.issue("second", time.Now().Add(time.Hour))
	certFile, keyFile := filepath.Join(dir, "shop.pem"), filepath.Join(dir, "shop.key")
	write := func(id identity) {
		t.Helper()
		for name, data := range map[string][]byte{certFile: id.cert, keyFile: id.key} {
			if err := errors.Join(os.WriteFile(name+".new", data, 0o600), os.Rename(name+".new", name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	sim := newSimulator(t, simulator.Options{})
	known := func(id identity) {
		sim.OpenAccount(simulator.Account{ID: "shop", Pix: simulator.PixAccount{ClientID: "shop", ClientSecret: "s1", Certificate: id.fingerprint}})
	}
	known(first)
	write(first)
	server := ca.serve(sim)
	s := setup(server.URL, map[string]string{"ca_pem": string(ca.PEM), "cert_file": certFile, "key_file": keyFile})
	s.Client = func(c *tls.Config) *http.Client { return bankapi.NewClient(bankapi.Limits{}, c) }
	opened, err := pix.Rail{CertDir: dir}.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	bank := opened.(*pix.Bank)
	defer bank.Drop()
	if err := bank.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	known(second)
	write(second)
	server.CloseClientConnections() // as idle ones end by themselves
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err = putOne(bank); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the new certificate is not used: %v", err)
		}
		server.CloseClientConnections()
	}
	// The token was bound to the old one: it is not tried twice.
	refused := 0
	calls, _ := sim.Calls("")
	for _, c := range calls {
		if c.Status == http.StatusUnauthorized {
			refused++
		}
	}
	if refused > 1 {
		t.Errorf("the old certificate's token was tried %d times", refused)
	}
	// Files that cannot be read leave the old pair, and Check says so.
	if err := os.Chmod(keyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	refusal(t, bank.Check(t.Context()), linking.BankDenied, "certificate_file")
	if err := putOne(bank); err != nil {
		t.Fatalf("the old pair no longer serves: %v", err)
	}
}

func TestCheckFindsAnExpiredCertificate(t *testing.T) {
	ca := newAuthority(t)
	late := ca.issue("shop", time.Now().Add(-time.Hour))
	s := setup("http://127.0.0.1:1", nil)
	s.Secrets["cert_pem"], s.Secrets["key_pem"] = bankapi.NewSecret(string(late.cert)), bankapi.NewSecret(string(late.key))
	refusal(t, open(t, s, nil, time.Second).Check(t.Context()), linking.BankDenied, "certificate_expired")
}

func TestABankThatGrantsLessIsToldApart(t *testing.T) {
	sim := newSimulator(t, simulator.Options{})
	sim.OpenAccount(simulator.Account{ID: "shop", Pix: simulator.PixAccount{ClientID: "shop", ClientSecret: "s1", Scopes: []string{"cob.write", "cob.read"}}})
	server := httptest.NewServer(sim)
	defer server.Close()
	bank := open(t, setup(server.URL, nil), nil, 8*time.Second)
	err := bank.Check(t.Context())
	refusal(t, err, linking.BankDenied, "missing_scope")
	if !strings.Contains(err.(*linking.BankError).Detail, "payloadlocation.write") {
		t.Error(err)
	}
	_, err = bank.MakeLink(t.Context(), linking.Immediate)
	refusal(t, err, linking.BankDenied, "missing_scope")
	less := open(t, setup(server.URL, map[string]string{"scopes": "cob.write cob.read"}), nil, 8*time.Second)
	if err := less.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	can, _ := less.Abilities(t.Context())
	if can.BankLink || can.ScannedByBank || can.Refund || can.Changed || len(can.Charges) != 1 {
		t.Fatalf("%+v", can)
	}
}

// A token that has run out is replaced without anybody noticing, and once.
func TestATokenThatRanOutIsReplacedOnce(t *testing.T) {
	sim := newSimulator(t, simulator.Options{})
	server := httptest.NewServer(sim)
	defer server.Close()
	var skew time.Duration
	bank := open(t, setup(server.URL, nil), func() time.Time { return time.Now().Add(skew) }, 8*time.Second)
	if err := bank.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	sim.Advance(2 * time.Hour) // at the bank it is over; we think it is good
	skew = 3 * time.Second     // it is not so young that another would fare no better
	if err := bank.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	sim.Advance(2 * time.Hour)
	skew = 6 * time.Second
	if _, err := bank.LinkShows(t.Context(), linking.BankLink{ID: "1", Charge: linking.Immediate}); err == nil || err.(*linking.BankError).Class != linking.BankAbsent {
		t.Fatal(err)
	}
	if _, counts := sim.Calls(""); counts["token"] != 3 {
		t.Fatalf("%d tokens were fetched", counts["token"])
	}
	sim.Fault(simulator.Fault{Kind: simulator.TokenExpired, Route: "create"})
	before, _ := sim.Calls("")
	skew = 9 * time.Second
	if err := putOne(bank); err == nil || err.(*linking.BankError).Class != linking.BankDenied {
		t.Fatal(err)
	}
	if after, _ := sim.Calls(""); len(after)-len(before) != 3 { // two tries, and a token between them
		t.Fatalf("%d calls", len(after)-len(before))
	}
}
