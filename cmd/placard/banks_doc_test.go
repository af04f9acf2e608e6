package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// guideToBanks is docs/banks.md by its second-level headings.
func guideToBanks(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/banks.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]string{}
	for part := range strings.SplitSeq(string(page), "\n## ") {
		name, text, _ := strings.Cut(part, "\n")
		parts[name] = text
	}
	return parts
}

// For each rail the page says what contract, certificate and person it takes, and what is
// real on it.
func TestTheGuideToBanksSaysWhatEachRailNeeds(t *testing.T) {
	parts := guideToBanks(t)
	for rail := range rails(railFlags{}) {
		needed := regexp.MustCompile(`(?s)Needed: (.*?)\n\n`).FindString(parts[rail])
		for _, word := range map[string][]string{
			"relay": {"contract", "https", "secret"},
			"pix":   {"account", "certificate", "client id"},
			"jpm":   {"contract", "certificate", "representative"},
		}[rail] {
			if !strings.Contains(needed, word) {
				t.Errorf("docs/banks.md does not say of %s what %q it takes: %q", rail, word, needed)
			}
		}
		if needed == "" || !strings.Contains(parts[rail], "Real on it:") {
			t.Errorf("docs/banks.md does not say of %s what it takes, and what is real on it", rail)
		}
	}
	rows := regexp.MustCompile(`(?m)^\| (contract|certificate|person) \|([^|]+)\|([^|]+)\|([^|]+)\|$`).FindAllStringSubmatch(parts["# Banks"], -1)
	if len(rows) != 3 {
		t.Errorf("the table of docs/banks.md has %d of the rows contract, certificate and person", len(rows))
	}
}

// The gateway starts with each command that docs/banks.md gives, takes the connection
// that stands below it, and makes a request payable with the simulated bank, which
// answers in place of the hosts in the page.
func TestTheGuideToBanksRuns(t *testing.T) {
	t.Parallel()
	parts := guideToBanks(t)
	dir := fastDir(t)
	authority, caPEM, _ := mint(t, "authority", nil)
	_, ownPEM, ownKey := mint(t, "gateway", &authority)
	shop, shopPEM, shopKey := mint(t, "shop", &authority)
	for name, data := range map[string][]byte{"cert.pem": ownPEM, "key.pem": ownKey, "banks.pem": caPEM, "shop.pem": shopPEM, "shop.key": shopKey} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	b := launch(t, hooks{}, "bank", "--json", "--listen", "127.0.0.1:0", "--tls", in("cert.pem")+","+in("key.pem"), "--client-ca", in("banks.pem"))
	var said struct{ URL, Secret string }
	if err := json.Unmarshal([]byte(b.until(`(?m)^(\{.*\})$`)[1]), &said); err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(caPEM)
	secure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}}
	sum := sha256.Sum256(shop.Certificate[0])
	(&client{t: t, base: said.URL, web: secure}).call("POST", "/sim/accounts", m{"id": "shop", "name": "Padaria",
		"pix": m{"client_id": "shop", "client_secret": "what the bank gave", "certificate": hex.EncodeToString(sum[:])},
		"jpm": m{"certificate": hex.EncodeToString(sum[:])}}).is(200)

	for _, c := range []struct{ rail, currency, host string }{
		{"relay", "EUR", "relay.internal.example"}, {"pix", "BRL", "pix.bank.example"}, {"jpm", "BRL", "api.payments.jpmorgan.com"},
	} {
		t.Run(c.rail, func(t *testing.T) {
			command := regexp.MustCompile("(?s)```sh\nplacard (serve .*?)\n```").FindStringSubmatch(parts[c.rail])
			connection := regexp.MustCompile(`(?s)/v1/bank-connections/(\w+) .*?<<'EOF'\n(.*?)\nEOF`).FindStringSubmatch(parts[c.rail])
			if command == nil || connection == nil || connection[1] != c.rail {
				t.Fatal("docs/banks.md has no command and connection for it")
			}
			store := "bolt:" + in(c.rail+".db")
			var made struct {
				APIKey string `json:"api_key"`
			}
			if err := json.Unmarshal([]byte(performs(t, "merchants", "add", "Padaria", "--currency", c.currency, "--store", store, "--json")), &made); err != nil {
				t.Fatal(err)
			}
			// What is the reader's own is put in: files, free ports, and where his bank is.
			args := strings.Fields(strings.ReplaceAll(strings.NewReplacer(
				"cert.pem,key.pem", in("cert.pem")+","+in("key.pem"), " banks.pem", " "+in("banks.pem"), "/etc/placard/banks", dir,
				" :8443", " 127.0.0.1:0", c.host, strings.TrimPrefix(said.URL, "https://"),
			).Replace(command[1]), "\\\n", " "))
			g := launch(t, hooks{}, append(args, "--listen", "127.0.0.1:0", "--store", store)...)
			till := &client{t: t, key: made.APIKey, web: secure, base: "https://" + g.until(`listens on (\S+) for`)[1]}
			var body map[string]map[string]string
			if err := json.Unmarshal([]byte(strings.NewReplacer("https://"+c.host, said.URL+"/"+c.rail+"/shop", "/etc/placard/banks", dir,
				"SHA-256 OF THE BANK'S CERTIFICATE", hex.EncodeToString(sum[:]),
				"whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldCBlbnRpcmVseQ==", said.Secret).Replace(connection[2])), &body); err != nil {
				t.Fatalf("the connection in docs/banks.md is not JSON: %v", err)
			}
			body["settings"]["ca_pem"] = string(caPEM) // the simulated bank's, which no system knows
			till.call("PUT", "/v1/bank-connections/"+c.rail, body).is(200)
			till.call("POST", "/v1/bank-connections/"+c.rail+"/check", nil).is(200).says("ok", true)
			code := till.call("POST", "/v1/codes", m{"kind": "counter", "label": "Till 1", "rail": c.rail}).is(201)
			till.link(code.str("token"), m{"amount": 990, "reference": "R-1"}, "Prefer", "wait=30").is(200).says("request.status", "active", "request.bank.rail", c.rail)
			if code := g.stop(); code != done {
				t.Errorf("it ended with %d: %s", code, g.notes.String())
			}
		})
	}
}
