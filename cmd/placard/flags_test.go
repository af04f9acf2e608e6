package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"placard/linking"
	"placard/linking/storetest"
)

// TestRefusalsBeforeAnythingIsServed: what cannot work is refused with a sentence
// that says what to do; 2 for a wrong command line, 1 for a world that does not fit.
func TestRefusalsBeforeAnythingIsServed(t *testing.T) {
	t.Parallel()
	redis := storetest.NewRedis(t, storetest.Durable()...)
	unsafe := storetest.NewRedis(t, "appendonly", "no", "save", "")
	dir := fastDir(t)
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bolt, key := "bolt:"+filepath.Join(dir, "a.db"), filepath.Join(dir, "a.key")
	performs(t, "merchants", "add", "Shop", "--currency", "EUR", "--store", bolt)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	serve := func(more ...string) []string {
		return append([]string{"serve", "--public-url", "https://pay.example", "--listen", "127.0.0.1:0"}, more...)
	}
	for _, c := range []struct {
		what string
		args []string
		code int
		says string
	}{
		{"no public URL", []string{"serve", "--store", bolt}, misuse, "--public-url"},
		{"plain http", serve("--public-url", "http://pay.example", "--store", bolt), misuse, "has to be https"},
		{"a public URL with a path", serve("--public-url", "https://pay.example/x", "--store", bolt), misuse, "https://HOST"},
		{"no URL at all", serve("--public-url", "pay.example", "--store", bolt), misuse, "https://HOST"},
		{"no such kind of store", serve("--store", "mysql://db"), misuse, "bolt:PATH"},
		{"bolt without a path", serve("--store", "bolt:"), misuse, "bolt:./placard.db"},
		{"redis of an unknown kind", serve("--store", "redis+swarm://h", "--secrets-key", key), failed, "redis+cluster"},
		{"redis without a key file", serve("--store", redis.URL()), misuse, "--secrets-key"},
		{"redis that does not answer", serve("--store", "redis://"+freeAddress(t), "--secrets-key", key), failed, "no Redis answers"},
		{"an empty redis", serve("--store", redis.URL(), "--secrets-key", key), failed, "--new-store"},
		{"an empty redis where a store was expected", serve("--store", redis.URL(), "--secrets-key", key, "--store-id", "abc", "--new-store"), failed, "is empty"},
		{"a redis that forgets", serve("--store", unsafe.URL(), "--secrets-key", key, "--new-store"), failed, "appendonly"},
		{"another store than expected", serve("--store", bolt, "--store-id", "abc"), failed, "abc"},
		{"a bolt file in a folder that cannot be", serve("--store", bolt+"/b.db"), failed, "not a directory"},
		{"a file that is no store", serve("--store", "bolt:"+file("b.db", strings.Repeat("no store ", 1000))), failed, "b.db"},
		{"an address in use", serve("--listen", taken.Addr().String(), "--store", bolt), failed, "address already in use"},
		{"proxies that are no addresses", serve("--trusted-proxies", "front", "--store", bolt), misuse, "10.0.0.0/8"},
		{"a certificate without a key", serve("--tls", "cert.pem", "--store", bolt), misuse, "CERT,KEY"},
		{"a certificate that is not there", serve("--tls", "no.pem,no.key", "--store", bolt), failed, "certificate"},
		{"a certificate by ACME without https", serve("--public-url", "http://localhost", "--tls", "auto", "--store", bolt), misuse, "https://"},
		{"an unknown flag", serve("--stor", bolt), misuse, "--stor"},
		{"an unknown command", []string{"server"}, misuse, "server"},
		{"a level that is none", serve("--log-level", "loud", "--store", bolt), misuse, "--log-level"},
		{"an unknown key in the file", serve("--config", file("c.yaml", "store: "+bolt+"\nstore_idd: x\n")), misuse, `"store_idd"`},
		{"a file that is no YAML", serve("--config", file("d.yaml", "a: [")), misuse, "YAML"},
		{"a file that is not there", serve("--config", filepath.Join(dir, "no.yaml")), misuse, "no.yaml"},
		{"a merchant without currency", []string{"merchants", "add", "X", "--store", bolt}, misuse, "--currency"},
		{"a currency that is none", []string{"merchants", "add", "X", "--currency", "EURO", "--store", bolt}, failed, "ISO 4217"},
		{"half a relay", []string{"merchants", "add", "X", "--currency", "EUR", "--relay-url", "https://r", "--store", bolt}, misuse, "go together"},
		{"a time zone that is none", []string{"merchants", "add", "X", "--currency", "EUR", "--time-zone", "Mars/Base", "--store", bolt}, failed, "IANA"},
		{"a key for nobody", []string{"keys", "add", "0123456789ABCD", "--store", bolt}, failed, "no such merchant"},
		{"no merchant's id", []string{"keys", "list", "shop", "--store", bolt}, misuse, "14 characters"},
		{"a role that is none", []string{"keys", "add", "0123456789ABCD", "--role", "king", "--store", bolt}, misuse, "--role"},
		{"a slip in a token", []string{"keys", "add", "0123456789ABCD", "--code", "0123456789ABCDEFGHJK", "--store", bolt}, misuse, "slip"},
		{"a listen address without a port", []string{"demo", "--walk", "--listen", "127.0.0.1"}, misuse, "HOST:PORT"},
		{"a rail that is none", []string{"demo", "--rail", "swift"}, misuse, "--rail"},
		{"banks' certificates without TLS", serve("--callback-ca", "ca.pem"), misuse, "--tls"},
		{"a bank's clients without TLS", []string{"bank", "--client-ca", "ca.pem", "--listen", "127.0.0.1:0"}, misuse, "--tls"},
		{"a bank's certificate without a key", []string{"bank", "--tls", "cert.pem", "--listen", "127.0.0.1:0"}, misuse, "CERT,KEY"},
		{"a bank's secret that is none", []string{"bank", "--secret", "hush", "--listen", "127.0.0.1:0"}, misuse, "whsec_"},
	} {
		t.Run(c.what, func(t *testing.T) {
			code, out, notes := perform(t, c.args...)
			if code != c.code || !strings.Contains(notes, c.says) || !strings.HasPrefix(notes, "placard: ") && !strings.Contains(notes, "\nplacard: ") {
				t.Errorf("it ended with %d, want %d and %q: %s%s", code, c.code, c.says, out, notes)
			}
			if strings.Contains(out, "listens on") {
				t.Error("it served")
			}
		})
	}
	// None of these has spoilt the store.
	if out := performs(t, "merchants", "list", "--store", bolt); strings.Count(out, "\n") != 1 || !strings.Contains(out, "Shop") {
		t.Errorf("merchants list says %q", out)
	}
}

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"--help"}, {"serve", "--help"}} {
		code, out, _ := perform(t, args...)
		if code != done || !strings.Contains(out, "placard") || !strings.Contains(out, "Flags:") {
			t.Errorf("placard %v ended with %d: %s", args, code, out)
		}
	}
	if out := performs(t, "version"); !strings.HasPrefix(out, "placard "+version+" (go1.") {
		t.Errorf("version says %q", out)
	}
	var b struct{ Version, Go string }
	if err := json.Unmarshal([]byte(performs(t, "version", "--json")), &b); err != nil || b.Version != version || b.Go == "" {
		t.Errorf("%+v, %v", b, err)
	}
}

// TestFlagsFromFileAndEnvironment cannot run beside others: it changes what they
// all read.
func TestFlagsFromFileAndEnvironment(t *testing.T) {
	dir := fastDir(t)
	a, b, c := filepath.Join(dir, "a.db"), filepath.Join(dir, "b.db"), filepath.Join(dir, "c.db")
	config := filepath.Join(dir, "placard.yaml")
	text := fmt.Sprintf("store: bolt:%s\npublic_url: https://pay.example\nlisten: 127.0.0.1:0\ntrusted-proxies: [10.0.0.0/8, 192.168.0.1]\nstop_time: 5s\nlog_format: json\n", a)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	exists := func(path string) bool { _, err := os.Stat(path); return err == nil }

	g := launch(t, hooks{}, "serve", "--config", config)
	g.until("listens on 127.0.0.1:[0-9]+ for https://pay.example")
	if !exists(a) || exists(b) {
		t.Error("the file's store is not the one that is used")
	}
	if code := g.stop(); code != done {
		t.Errorf("it ended with %d: %s", code, g.notes.String())
	}
	for line := range strings.Lines(g.notes.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("the log is to be JSON: %s", line)
		}
	}

	t.Setenv("PLACARD_CONFIG", config) // the file, by the environment; the environment before the file
	t.Setenv("PLACARD_STORE", "bolt:"+b)
	g = launch(t, hooks{}, "serve")
	g.until("listens on")
	if !exists(b) {
		t.Error("PLACARD_STORE is not read")
	}
	g.stop()

	g = launch(t, hooks{}, "serve", "--store", "bolt:"+c) // the command line before both
	g.until("listens on")
	if !exists(c) {
		t.Error("--store does not win over PLACARD_STORE")
	}
	g.stop()

	t.Setenv("PLACARD_PUBLIC_URL", "http://pay.example")
	if code, _, notes := perform(t, "serve"); code != misuse || !strings.Contains(notes, "https") {
		t.Errorf("it ended with %d: %s", code, notes)
	}
}

// TestUnsafeStoreIsSaidForEver: who once let a store start that can forget payments is
// told so by every gateway over it, also when its settings have long been mended.
func TestUnsafeStoreIsSaidForEver(t *testing.T) {
	t.Parallel()
	redis := storetest.NewRedis(t, "appendonly", "no", "save", "")
	key := filepath.Join(fastDir(t), "a.key")
	for _, more := range [][]string{{"--new-store", "--allow-unsafe-store"}, nil} {
		g := launch(t, hooks{}, append([]string{"serve", "--public-url", "https://pay.example", "--listen", "127.0.0.1:0", "--store", redis.URL(), "--secrets-key", key}, more...)...)
		base := "http://" + g.until(`listens on \S*?(127\.0\.0\.1:\d+)`)[1]
		r := (&client{t: t, base: base}).get("/readyz").is(200)
		if said := r.str("unsafe_store"); !strings.Contains(said, "can lose confirmed payments") {
			t.Errorf("with %v readiness says %s", more, r.Body)
		}
		if code := g.stop(); code != done {
			t.Fatalf("it ended with %d: %s", code, g.notes.String())
		}
		for _, setting := range [][]string{{"appendonly", "yes"}, {"appendfsync", "always"}, {"maxmemory-policy", "noeviction"}, {"maxmemory", "2gb"}} {
			redis.Must(t, "CONFIG", "SET", setting[0], setting[1])
		}
	}
}

// TestServeOverTLS: the certificate is read again when its file changes, and a
// broken one does not take the place of a good one.
func TestServeOverTLS(t *testing.T) {
	t.Parallel()
	dir := fastDir(t)
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first := writeCertificate(t, cert, key, 1)
	address := freeAddress(t)
	g := launch(t, hooks{}, "serve", "--listen", address, "--public-url", "https://"+address, "--tls", cert+","+key, "--store", "bolt:"+filepath.Join(dir, "a.db"))
	g.until("listens on")
	serial := func() int64 {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	pool := x509.NewCertPool()
	pool.AddCert(first)
	trusting := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	resp, err := trusting.Get("https://" + address + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || resp.ProtoMajor != 1 || resp.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("over TLS: %s, %s, %v", resp.Status, resp.Proto, resp.Header)
	}
	if _, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if n := serial(); n != 1 {
		t.Errorf("certificate %d", n)
	}
	writeCertificate(t, cert, key, 2)
	eventually(t, "the renewed certificate is used", func() bool { return serial() == 2 })
	if err := os.WriteFile(cert, []byte("not yet written"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the broken certificate is noticed", func() bool {
		if n := serial(); n != 2 {
			t.Fatalf("certificate %d", n)
		}
		return strings.Contains(g.notes.String(), "the old one is used on")
	})
	if code := g.stop(); code != done {
		t.Errorf("it ended with %d: %s", code, g.notes.String())
	}
}

// writeCertificate makes a self-signed certificate for 127.0.0.1, older than the one
// before it by no more than a file's time can tell.
func writeCertificate(t *testing.T, cert, key string, serial int64) *x509.Certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "placard test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{key: {Type: "PRIVATE KEY", Bytes: secret}, cert: {Type: "CERTIFICATE", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// After a rollback was accepted, no token is made with a key that the lost batches
// were made with; what is on paper goes on.
func TestAcceptRollbackOpensNewGenerations(t *testing.T) {
	store := "bolt:" + filepath.Join(t.TempDir(), "placard.db")
	var made struct {
		Merchant linking.MerchantID `json:"merchant_id"`
	}
	out := performs(t, "merchants", "add", "Shop", "--currency", "EUR", "--json", "--store", store)
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	if out := performs(t, "accept-rollback", "--store", store); !strings.Contains(out, "generation: 1") {
		t.Fatal(out)
	}
	flags := storeFlags{Store: store}
	svc, _, shut, err := flags.office(&env{ctx: t.Context(), out: io.Discard, notes: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer shut()
	m, err := svc.Merchant(t.Context(), made.Merchant)
	if err != nil || len(m.Generations) != 2 || m.Generations[0] == m.Generations[1] {
		t.Fatalf("%+v, %v", m, err)
	}
}
