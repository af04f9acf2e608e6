package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"placard/linking"
)

// mint makes a certificate with its key, signed by another or, with nil, by itself.
func mint(t *testing.T, name string, by *tls.Certificate) (pair tls.Certificate, cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	about := &x509.Certificate{SerialNumber: n, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	parent, signer := about, any(private)
	if by == nil {
		about.IsCA, about.BasicConstraintsValid, about.KeyUsage, about.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
	} else {
		parent, signer = by.Leaf, by.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, about, parent, private.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// A merchant connects himself to a bank that knows clients by their certificates alone,
// and sells; a code of the other rail stands beside it.
func TestServeByPixOverMutualTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	authority, caPEM, _ := mint(t, "authority", nil)
	_, bankPEM, bankKey := mint(t, "bank", &authority)
	ours, ourPEM, ourKey := mint(t, "shop", &authority)
	for name, data := range map[string][]byte{"ca.pem": caPEM, "bank.pem": bankPEM, "bank.key": bankKey} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := launch(t, hooks{}, "bank", "--json", "--listen", "127.0.0.1:0", "--tls", filepath.Join(dir, "bank.pem")+","+filepath.Join(dir, "bank.key"), "--client-ca", filepath.Join(dir, "ca.pem"))
	var said struct{ URL string }
	if err := json.Unmarshal([]byte(run.until(`(?m)^(\{.*\})$`)[1]), &said); err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(caPEM)
	bank := &client{t: t, base: said.URL, web: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}}}
	sum := sha256.Sum256(ours.Certificate[0])
	bank.call("POST", "/sim/accounts", m{"id": "shop", "name": "Loja", "pix": m{"client_id": "shop", "certificate": hex.EncodeToString(sum[:])}}).is(200)

	h := newHouse(t, houseOptions{bare: true, currency: "BRL"})
	till := h.shop.till
	settings := m{"url": said.URL + "/pix/shop/v2", "token_url": said.URL + "/pix/shop/oauth/token", "token_auth": "certificate", "client_id": "shop", "chave": "loja@pix.example",
		"merchant_name": "Loja", "merchant_city": "Recife", "ca_pem": string(caPEM), "callback_auth": "secret"}
	till.call("PUT", "/v1/bank-connections/pix", m{"settings": settings, "secrets": m{"cert_pem": "none", "key_pem": "none", "callback_secret": "0123456789abcdef0123456789abcdef"}}).refused(422, "invalid_request", "secrets.cert_pem pem")
	till.call("PUT", "/v1/bank-connections/pix", m{"settings": settings, "secrets": m{"cert_pem": string(ourPEM), "key_pem": string(ourKey),
		"callback_secret": "0123456789abcdef0123456789abcdef"}}).is(200)
	till.call("POST", "/v1/bank-connections/pix/check", nil).is(200).says("ok", true, "steps.0.step", "reach", "steps.4.step", "callbacks")

	code := till.call("POST", "/v1/codes", m{"kind": "counter", "label": "Pix", "rail": "pix"}).is(201).says("resolved_by", "bank")
	link := till.link(code.str("token"), m{"amount": 2550, "reference": "R-1"}).is(200)
	link.says("request.status", "active", "request.bank.rail", "pix")
	bank.call("POST", "/sim/pay", m{"brcode": code.str("payload")}).is(200)
	till.awaitStatus(link.str("request.id"), "paid")

	// Bills by the batch: the bank gives each code a location of its own, in the
	// background, and what is printed is what payers pay by.
	batch := till.call("POST", "/v1/codes/batches", m{"kind": "bill", "count": 12, "rail": "pix"}).is(202).says("resolved_by", "bank").str("id")
	eventually(t, "the bank has given its locations", func() bool {
		return till.get("/v1/codes/batches/"+batch).is(200).says("orphans", 0).str("status") == "done"
	})
	rows := rowsOf(t, performs(t, append([]string{"codes", "list", "--batch", batch}, h.through()...)...))
	payloads := map[string]bool{}
	for _, row := range rows {
		payloads[row["payload"]] = true
	}
	if len(rows) != 12 || len(payloads) != 12 || !strings.HasPrefix(rows[11]["payload"], "000201") {
		t.Errorf("%d codes with %d payloads: %v", len(rows), len(payloads), rows)
	}
	sheet := filepath.Join(dir, "bills.pdf")
	performs(t, append([]string{"print", "sheet", "--batch", batch, "--stock", "insert-a4", "--proof", "read", "--out", sheet}, h.through()...)...)
	if read := readPDF(t, sheet); !slices.Equal(read, slices.Sorted(maps.Keys(payloads))) {
		t.Errorf("on paper are %d codes: %q", len(read), read)
	}
	bill := till.link(rows[7]["token"], m{"amount": 4200, "reference": "B-8"}).is(200)
	bank.call("POST", "/sim/pay", m{"brcode": rows[7]["payload"]}).is(200)
	till.awaitStatus(bill.str("request.id"), "paid")

	// The doctor asks the bank, and says which step it refuses.
	examine := append([]string{"doctor", "--public-url", h.addresses[0], "--api-key", till.key, "--try-bank"}, h.store...)
	_, out, _ := perform(t, examine...)
	if !strings.Contains(out, "ok     bank: pix: answers at every step: reach, create, get, cancel, callbacks") {
		t.Errorf("the doctor says %s", out)
	}
	bank.call("POST", "/sim/faults", m{"route": "create", "kind": "status", "value": 403}).is(200)
	ended, out, _ := perform(t, examine...)
	if ended != failed || !strings.Contains(out, "wrong  bank: pix: refuses create") {
		t.Errorf("the doctor says %s", out)
	}
	if code := run.stop(); code != done {
		t.Errorf("the bank ended with %d: %s", code, run.notes.String())
	}
}

// A bank's callback is known by its certificate, where the callbacks' host asks for
// one; the host that is printed in codes asks nobody.
func TestCallbacksByTheBanksCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	authority, caPEM, _ := mint(t, "authority", nil)
	_, ownPEM, ownKey := mint(t, "gateway", &authority)
	theirs, _, _ := mint(t, "bank", &authority)
	another, _, _ := mint(t, "another customer of the authority", &authority)
	for name, data := range map[string][]byte{"ca.pem": caPEM, "own.pem": ownPEM, "own.key": ownKey} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store := []string{"--store", "bolt:" + filepath.Join(fastDir(t), "placard.db")}
	var made struct {
		Merchant linking.MerchantID `json:"merchant_id"`
	}
	if err := json.Unmarshal([]byte(performs(t, append([]string{"merchants", "add", "Loja", "--currency", "BRL", "--json"}, store...)...)), &made); err != nil {
		t.Fatal(err)
	}
	flags := storeFlags{Store: store[1], NewStore: true}
	svc, _, shut, err := flags.office(&env{ctx: t.Context()})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(theirs.Certificate[0])
	c, err := svc.ConnectBank(t.Context(), made.Merchant, "pix", map[string]string{"url": "https://127.0.0.1:1", "token_url": "https://127.0.0.1:1", "client_id": "c", "chave": "k",
		"merchant_name": "Loja", "merchant_city": "Recife", "callback_auth": "certificate", "callback_certificates": hex.EncodeToString(sum[:])}, map[string]string{"client_secret": "s"})
	if err := errors.Join(err, shut()); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	g := launch(t, hooks{}, append([]string{"serve", "--listen", address, "--public-url", "https://" + address, "--callback-url", "https://localhost:" + port,
		"--tls", filepath.Join(dir, "own.pem") + "," + filepath.Join(dir, "own.key"), "--callback-ca", filepath.Join(dir, "ca.pem")}, store...)...)
	g.until("listens on")
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(caPEM)
	for _, one := range []struct {
		who    string
		host   string
		shows  []tls.Certificate
		status int
	}{
		{"the bank", "localhost:" + port, []tls.Certificate{theirs}, 204},
		{"nobody", "localhost:" + port, nil, 401},
		{"somebody else with a certificate", "localhost:" + port, []tls.Certificate{another}, 401},
		{"the bank, where payers come", address, []tls.Certificate{theirs}, 401},
	} {
		asked := false
		config := &tls.Config{RootCAs: trusted, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			if one.shows == nil {
				return &tls.Certificate{}, nil
			}
			return &one.shows[0], nil
		}}
		from := &client{t: t, base: "https://" + one.host, web: &http.Client{Transport: &http.Transport{TLSClientConfig: config}}}
		r := from.call("POST", "/callbacks/pix/"+string(c.ID)+"/pix", `{"pix":[]}`)
		if r.Status != one.status || asked != strings.HasPrefix(one.host, "localhost") {
			t.Errorf("%s is answered %d, want %d: %s (asked for a certificate: %v)", one.who, r.Status, one.status, r.Body, asked)
		}
	}
	if code := g.stop(); code != done {
		t.Errorf("it ended with %d: %s", code, g.notes.String())
	}
}
