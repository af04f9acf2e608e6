package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bankWorld is a gateway that serves over TLS with a listener for banks, and a bank
// that asks for certificates, all as the program's users start them.
type bankWorld struct {
	t           *testing.T
	gate, banks string // https addresses
	bank        string
	merchant    string
	key         string
	certs       map[string]tls.Certificate
	pem         map[string][2]string // certificate and key
	trusted     *x509.CertPool
	notes       func() string
}

func newBankWorld(t *testing.T, currency string) *bankWorld {
	t.Helper()
	dir := fastDir(t)
	w := &bankWorld{t: t, certs: map[string]tls.Certificate{}, pem: map[string][2]string{}, trusted: x509.NewCertPool()}
	file := func(name string) string { return filepath.Join(dir, name) }
	for i, name := range []string{"gateway", "bank", "shop", "callbacks", "stranger"} {
		w.trusted.AddCert(writeCertificate(t, file(name+".pem"), file(name+".key"), int64(i+1)))
		cert, err := os.ReadFile(file(name + ".pem"))
		if err != nil {
			t.Fatal(err)
		}
		key, err := os.ReadFile(file(name + ".key"))
		if err != nil {
			t.Fatal(err)
		}
		w.pem[name] = [2]string{string(cert), string(key)}
		if w.certs[name], err = tls.X509KeyPair(cert, key); err != nil {
			t.Fatal(err)
		}
	}
	// Both may call where banks call; the connection knows one of them.
	if err := os.WriteFile(file("banks.pem"), []byte(w.pem["callbacks"][0]+w.pem["stranger"][0]), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("clients.pem"), []byte(w.pem["shop"][0]+w.pem["stranger"][0]), 0o600); err != nil {
		t.Fatal(err)
	}
	b := launch(t, hooks{}, "bank", "--listen", "127.0.0.1:0", "--tls", file("bank.pem")+","+file("bank.key"), "--client-ca", file("clients.pem"), "--json")
	w.bank = b.until(`"url":"(https://[^"]+)"`)[1]
	store := "bolt:" + file("a.db")
	var made struct {
		MerchantID string `json:"merchant_id"`
		APIKey     string `json:"api_key"`
	}
	if err := json.Unmarshal([]byte(performs(t, "merchants", "add", "Padaria", "--currency", currency, "--store", store, "--json")), &made); err != nil {
		t.Fatal(err)
	}
	w.merchant, w.key = made.MerchantID, made.APIKey
	g := launch(t, hooks{}, "serve", "--store", store, "--listen", "127.0.0.1:0", "--public-url", "https://pay.example",
		"--callback-url", "https://banks.pay.example", "--tls", file("gateway.pem")+","+file("gateway.key"),
		"--callback-listen", "127.0.0.1:0", "--callback-ca", file("banks.pem"), "--jpm-hosts", strings.TrimPrefix(w.bank, "https://"))
	w.gate = "https://" + g.until(`listens on (\S+) for`)[1]
	w.banks = "https://" + g.until(`for banks on (\S+)`)[1]
	w.notes = g.notes.String
	return w
}

func (w *bankWorld) client(certificate string) *http.Client {
	w.t.Helper()
	config := &tls.Config{RootCAs: w.trusted}
	if certificate != "" {
		config.Certificates = []tls.Certificate{w.certs[certificate]}
	}
	tr := &http.Transport{TLSClientConfig: config}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// api calls the gateway as the merchant's owner.
func (w *bankWorld) api(method, path string, body any) (int, string) {
	w.t.Helper()
	return w.do(w.client(""), method, w.gate+path, body, "Authorization", "Bearer "+w.key)
}

func (w *bankWorld) do(client *http.Client, method, url string, body any, header ...string) (int, string) {
	w.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	if body == nil {
		raw = nil
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, url, bytes.NewReader(raw))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (w *bankWorld) fingerprint(name string) string {
	block, _ := pem.Decode([]byte(w.pem[name][0]))
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:])
}

// account tells the bank by which certificate it knows the shop.
func (w *bankWorld) account(certificate string) {
	w.t.Helper()
	status, text := w.do(w.client(""), "POST", w.bank+"/sim/accounts", map[string]any{"id": "padaria", "name": "Padaria", "jpm": map[string]any{
		"certificate": w.fingerprint(certificate), "client_id": "padaria", "client_secret": "a secret of the bank's",
	}})
	if status != http.StatusOK {
		w.t.Fatalf("%d %s", status, text)
	}
}

type connectionIn struct {
	Settings map[string]string `json:"settings"`
	Secrets  map[string]string `json:"secrets,omitempty"`
}

// connection is a J.P. Morgan connection with mutual TLS, a token, and callbacks
// proven by the bank's certificate.
func (w *bankWorld) connection() connectionIn {
	at := w.bank + "/jpm/padaria"
	return connectionIn{map[string]string{
		"url": at + "/receivables/request-to-pay/v1", "country": "BR", "creditor_scheme": "CNPJ", "creditor_account": "70204587000136",
		"merchant_name": "Padaria", "merchant_city": "Sao Paulo", "ca_pem": w.pem["bank"][0],
		"oauth": "client_secret", "token_url": at + "/oauth2/token", "client_id": "padaria",
		"callback_auth": "certificate", "callback_certificates": w.fingerprint("callbacks"),
	}, map[string]string{"cert_pem": w.pem["shop"][0], "key_pem": w.pem["shop"][1], "client_secret": "a secret of the bank's"}}
}

// code makes a code and returns its token.
func (w *bankWorld) code() string {
	w.t.Helper()
	var made struct{ Token string }
	status, text := w.api("POST", "/v1/codes", map[string]any{"kind": "counter"})
	if err := json.Unmarshal([]byte(text), &made); err != nil || made.Token == "" {
		w.t.Fatalf("%d %s", status, text)
	}
	return made.Token
}

func (w *bankWorld) check() (ok bool, steps string) {
	w.t.Helper()
	status, text := w.api("POST", "/v1/bank-connections/jpm/check", map[string]any{})
	var out struct {
		OK    bool
		Steps []struct {
			Step string
			OK   bool
			Code string
		}
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil || status != http.StatusOK {
		w.t.Fatalf("%d %s", status, text)
	}
	for _, s := range out.Steps {
		steps += " " + s.Step
		if !s.OK {
			steps += "=" + s.Code
		}
	}
	return out.OK, strings.TrimSpace(steps)
}

// TestBankConnections: a connection is entered, shows no secret, is tried step by step
// for real over mutual TLS with a token, and what its rail cannot do is refused by name.
func TestBankConnections(t *testing.T) {
	t.Parallel()
	w := newBankWorld(t, "BRL")
	w.account("shop")
	in := w.connection()
	status, text := w.api("PUT", "/v1/bank-connections/jpm", in)
	if status != http.StatusOK || !strings.Contains(text, `"secrets":["cert_pem","client_secret","key_pem"]`) {
		t.Fatalf("%d %s", status, text)
	}
	_, got := w.api("GET", "/v1/bank-connections/jpm", nil)
	for _, hidden := range []string{"PRIVATE KEY", "a secret of the bank's"} {
		if strings.Contains(text+got+w.notes(), hidden) {
			t.Errorf("%q was told", hidden)
		}
	}
	if !strings.Contains(got, `"callback_url":"https://banks.pay.example/callbacks/jpm/`) {
		t.Errorf("%s", got)
	}
	if ok, steps := w.check(); !ok || steps != "reach create get cancel" {
		t.Fatalf("the check says %v: %s", ok, steps)
	}

	for name, c := range map[string]struct {
		path, code string
		body       map[string]any
	}{
		"expiry":  {"/v1/requests", "rail_expiry", map[string]any{"amount": 500, "reference": "x", "expires_in": 1_000_001}},
		"capture": {"/v1/requests", "rail_cannot_capture", map[string]any{"amount": 500, "reference": "x", "capture": "manual"}},
		"adjust":  {"/v1/requests", "rail_cannot_adjust", map[string]any{"amount": 500, "reference": "x", "amount_adjustable": map[string]any{"min": 400, "max": 600}}},
		"method":  {"/v1/requests", "rail_method", map[string]any{"amount": 500, "reference": "x", "methods": []string{"card"}}},
		"charge":  {"/v1/codes", "rail_charge", map[string]any{"kind": "bill", "resolved_by": "bank", "charge": "due_date"}},
	} {
		if status, text := w.api("POST", c.path, c.body); status != http.StatusUnprocessableEntity || !strings.Contains(text, `"`+c.code+`"`) {
			t.Errorf("%s: %d %s", name, status, text)
		}
		if c.path == "/v1/requests" { // the same words at an attach
			if status, text := w.api("PUT", "/v1/codes/"+w.code()+"/link", map[string]any{"request": c.body}); status != http.StatusUnprocessableEntity || !strings.Contains(text, `"`+c.code+`"`) {
				t.Errorf("%s at an attach: %d %s", name, status, text)
			}
		}
	}

	// At the bank, another certificate is on file now.
	w.account("stranger")
	if ok, steps := w.check(); ok || !strings.HasPrefix(steps, "reach=") {
		t.Errorf("with a certificate the bank does not know the check says %v: %s", ok, steps)
	}
	// Secrets stay when only settings are changed, and go with the connection's revision.
	w.account("shop")
	in.Secrets = nil
	if status, text := w.api("PUT", "/v1/bank-connections/jpm", in); status != http.StatusOK || !strings.Contains(text, `"key_pem"`) {
		t.Fatalf("%d %s", status, text)
	}
	if ok, steps := w.check(); !ok {
		t.Errorf("with the secrets it had the check says %s", steps)
	}
	// Singapore's rail is no good to a merchant who takes reais.
	abroad := in
	abroad.Settings = map[string]string{}
	for name, v := range in.Settings {
		abroad.Settings[name] = v
	}
	abroad.Settings["country"], abroad.Settings["creditor_scheme"], abroad.Settings["creditor_account"] = "SG", "UEN", "201403121W"
	code := w.code()
	if status, text := w.api("PUT", "/v1/bank-connections/jpm", abroad); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	for _, call := range []struct {
		method, path string
		body         any
	}{
		{"POST", "/v1/codes", map[string]any{"kind": "counter"}},
		{"POST", "/v1/requests", map[string]any{"amount": 500, "reference": "x"}},
		{"PUT", "/v1/codes/" + code + "/link", map[string]any{"request": map[string]any{"amount": 500, "reference": "x"}}},
	} {
		if status, text := w.api(call.method, call.path, call.body); status != http.StatusUnprocessableEntity || !strings.Contains(text, `"rail_currency"`) {
			t.Errorf("%s %s: %d %s", call.method, call.path, status, text)
		}
	}
	// The operator's list of hosts holds for every rail.
	in.Settings["url"] = "https://169.254.169.254/latest"
	if status, text := w.api("PUT", "/v1/bank-connections/jpm", in); status != http.StatusUnprocessableEntity || !strings.Contains(text, "settings.url") {
		t.Errorf("%d %s", status, text)
	}
}

// TestCallbacksAreAuthenticated: at its own listener, the bank's certificate proves a
// callback; elsewhere, and with anybody else's, nothing does.
func TestCallbacksAreAuthenticated(t *testing.T) {
	t.Parallel()
	w := newBankWorld(t, "BRL")
	w.account("shop")
	in := w.connection()
	status, text := w.api("PUT", "/v1/bank-connections/jpm", in)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	var c struct{ ID string }
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	path := "/callbacks/jpm/" + c.ID
	news := map[string]string{"id": "f6764adb364f459eb79cce3e817c17e0", "occurredAt": "2026-03-13T10:00:00", "status": "SETTLED"}
	for name, call := range map[string]struct {
		certificate, url string
		want             int // 0: no connection
	}{
		"the bank":                            {"callbacks", w.banks + path, http.StatusNoContent},
		"a bank that this shop has not":       {"stranger", w.banks + path, http.StatusUnauthorized},
		"nobody":                              {"", w.banks + path, 0},
		"somebody of another authority":       {"shop", w.banks + path, 0},
		"the bank, where everybody calls":     {"callbacks", w.gate + path, http.StatusUnauthorized},
		"the bank, elsewhere on its listener": {"callbacks", w.banks + "/v1/codes", http.StatusNotFound},
	} {
		if status, text := w.do(w.client(call.certificate), "POST", call.url, news); status != call.want {
			t.Errorf("%s: %d %s, want %d", name, status, text, call.want)
		}
	}
	// Nobody writes the gateway's own remark into a header.
	conn, err := tls.Dial("tcp", strings.TrimPrefix(w.gate, "https://"), &tls.Config{RootCAs: w.trusted})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: pay.example\r\nContent-Type: application/json\r\n:client-certificate: "+
		w.fingerprint("callbacks")+"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
	answer, _ := io.ReadAll(conn)
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 4")) {
		t.Errorf("it answered %.200s", answer)
	}

	// Behind a proxy that knows the bank's certificate, a header proves it.
	secret := strings.Repeat("0123456789abcdef", 2)
	in.Settings["callback_auth"], in.Settings["callback_header"] = "header", "X-Bank-Proof"
	delete(in.Settings, "callback_certificates")
	in.Secrets["callback_secret"] = secret
	if status, text := w.api("PUT", "/v1/bank-connections/jpm", in); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	for value, want := range map[string]int{secret: http.StatusNoContent, secret[1:] + "0": http.StatusUnauthorized, "": http.StatusUnauthorized} {
		if status, text := w.do(w.client(""), "POST", w.gate+path, news, "X-Bank-Proof", value); status != want {
			t.Errorf("with %q: %d %s", value, status, text)
		}
	}
	if status, _ := w.do(w.client("callbacks"), "POST", w.banks+path, news); status != http.StatusUnauthorized {
		t.Errorf("a certificate was taken for a header: %d", status)
	}
}

func TestBankListenerFlags(t *testing.T) {
	t.Parallel()
	dir := fastDir(t)
	cert, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "c.key")
	writeCertificate(t, cert, key, 1)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	base := []string{"serve", "--public-url", "https://pay.example", "--listen", "127.0.0.1:0", "--store", "bolt:" + filepath.Join(dir, "a.db")}
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no authority":                        {[]string{"--callback-listen", "127.0.0.1:0"}, misuse, "--callback-ca"},
		"no listener":                         {[]string{"--callback-ca", cert}, misuse, "--tls"},
		"no TLS":                              {[]string{"--callback-listen", "127.0.0.1:0", "--callback-ca", cert}, misuse, "--tls"},
		"an authority that is no certificate": {[]string{"--tls", cert + "," + key, "--callback-listen", "127.0.0.1:0", "--callback-ca", key}, failed, "no certificate in PEM"},
		"no such file":                        {[]string{"--tls", cert + "," + key, "--callback-listen", "127.0.0.1:0", "--callback-ca", cert + "x"}, failed, "cannot be read"},
		"an address in use":                   {[]string{"--tls", cert + "," + key, "--callback-listen", taken.Addr().String(), "--callback-ca", cert}, failed, "address already in use"},
	} {
		if code, _, notes := perform(t, append(base[:len(base):len(base)], c.args...)...); code != c.code || !strings.Contains(notes, c.says) {
			t.Errorf("%s: %d %s", name, code, notes)
		}
	}
}
