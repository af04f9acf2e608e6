package gateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"placard/linking"
)

// openSealer seals nothing: that is the sealer's own test.
type openSealer struct{}

func (openSealer) Seal(_ linking.WebhookID, secret []byte) ([]byte, error) { return secret, nil }
func (openSealer) Open(_ linking.WebhookID, sealed []byte) ([]byte, error) { return sealed, nil }

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// anEvent has text that a careless receiver would read otherwise than it was signed.
func anEvent() *linking.Event {
	return &linking.Event{
		Seq: 7, Type: linking.RequestPaid, Merchant: "01J8QZ4F8YV6N0", At: time.Now(), Code: "01J8QZ4F8YV6N0W3H5K7",
		Request: &linking.EventRequest{ID: "01J8QZ4F8YV6N0W3H5K7T9ACDE", Status: linking.Paid, Amount: 1250, Currency: "EUR", Reference: "Müller & Söhne <4>\u2028\"'", Metadata: map[string]string{"a": "é"}},
	}
}

func send1(t *testing.T, c *Courier, url string, secrets ...[]byte) linking.Outcome {
	t.Helper()
	if secrets == nil {
		secrets = [][]byte{[]byte("0123456789abcdef0123456789abcdef")}
	}
	return c.Deliver(t.Context(), linking.Delivery{Webhook: "01J8QZ4F8YV6N0", URL: url, Secrets: secrets, Event: anEvent(), At: time.Now()})
}

// caught is what a receiver got.
type caught struct {
	Header http.Header
	Body   string
}

func receiver(t *testing.T, answer http.HandlerFunc) (url string, got func() []caught) {
	t.Helper()
	var mu sync.Mutex
	var list []caught
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		list = append(list, caught{r.Header.Clone(), string(body)})
		mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []caught {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}
}

func fine(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

// The specification's own libraries must take what we sign, and nothing else.
func TestWebhooksVerifyWithTheLibraries(t *testing.T) {
	c := NewCourier(CourierConfig{Sealer: openSealer{}, Allow: loopback})
	url, got := receiver(t, fine)
	newer, open, err := c.NewSecret("01J8QZ4F8YV6N0")
	if err != nil {
		t.Fatal(err)
	}
	older, oldOpen, err := c.NewSecret("01J8QZ4F8YV6N0")
	if err != nil {
		t.Fatal(err)
	}
	if o := send1(t, c, url, newer, older); o.Fault != "" || o.Status != 204 {
		t.Fatalf("it was not delivered: %+v", o)
	}
	m := got()[0]
	if m.Header.Get("Content-Type") != "application/json" || m.Header.Get("Webhook-Id") != "01J8QZ4F8YV6N0-7" {
		t.Errorf("headers %v", m.Header)
	}
	var body map[string]any
	if err := json.Unmarshal([]byte(m.Body), &body); err != nil || body["id"] != "01J8QZ4F8YV6N0-7" || body["type"] != "request.paid" {
		t.Errorf("the body is no event: %s", m.Body)
	}
	for _, secret := range []string{open, oldOpen} {
		w, err := webhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Verify([]byte(m.Body), m.Header); err != nil {
			t.Errorf("the Go library: %v", err)
		}
		if w.Verify([]byte(strings.Replace(m.Body, "1250", "1251", 1)), m.Header) == nil {
			t.Error("the Go library takes another amount")
		}
	}
	other, _ := webhooks.NewWebhook("whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 32)))
	if other.Verify([]byte(m.Body), m.Header) == nil {
		t.Error("the Go library takes another secret")
	}
	verifyWithJavaScript(t, m, open, oldOpen)
}

// verifyWithJavaScript runs testdata/standardwebhooks over a message.
func verifyWithJavaScript(t *testing.T, m caught, secrets ...string) {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "1" {
				t.Fatalf("%s is needed to verify webhooks with the JavaScript library", tool)
			}
			t.Skipf("NOT VERIFIED with the JavaScript library: there is no %s", tool)
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "verify.mjs"} {
		b, err := os.ReadFile(filepath.Join("testdata", "standardwebhooks", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(stdin, tool string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), tool, args...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", tool, args, err, out)
		}
		return string(out)
	}
	run("", "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
	in, err := json.Marshal(map[string]any{"secrets": secrets, "body": m.Body, "headers": map[string]string{
		"webhook-id": m.Header.Get("Webhook-Id"), "webhook-timestamp": m.Header.Get("Webhook-Timestamp"), "webhook-signature": m.Header.Get("Webhook-Signature"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if out := run(string(in), "node", "verify.mjs"); out != "2 verified, 1 refused\n" {
		t.Errorf("the JavaScript library: %s", out)
	}
}

// hostile are addresses that lead into somebody's house, or pretend to lead elsewhere.
var hostile = []string{
	"http://127.0.0.1:PORT/", "https://127.0.0.1:PORT/", "https://127.0.0.1/", "https://127.1/", "https://127.0.1/", "https://2130706433/", "https://0x7f000001/",
	"https://0x7f.1/", "https://0177.0.0.1/", "https://017700000001/", "https://127.0.0.1./", "https://0/", "https://0.0.0.0/", "https://0.0.0.0:PORT/",
	"https://localhost/", "https://localhost:PORT/", "https://LOCALHOST:PORT/", "https://localhost./", "http://localhost:PORT/", "https://ip6-localhost:PORT/",
	"https://[::1]:PORT/", "https://[::1]/", "https://[::]/", "https://[0:0:0:0:0:0:0:1]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]:PORT/", "https://[::127.0.0.1]/",
	"https://[64:ff9b::7f00:1]/", "https://[64:ff9b::10.0.0.1]/", "https://[64:ff9b:1::1]/", "https://[2002:7f00:1::]/", "https://[fe80::1]/", "https://[fe80::1%25lo]/", "https://[fc00::1]/",
	"https://[fd12:3456::1]/", "https://[ff02::1]/", "https://[2001:db8::1]/", "https://[100::1]/",
	"https://10.0.0.1/", "https://172.16.0.1/", "https://172.31.255.255/", "https://192.168.1.1/", "https://169.254.169.254/latest/meta-data/", "https://100.64.0.1/",
	"https://192.0.0.1/", "https://192.0.2.1/", "https://198.18.0.1/", "https://198.51.100.1/", "https://203.0.113.1/", "https://224.0.0.1/", "https://240.0.0.1/", "https://255.255.255.255/",
	"https://user@example.com/", "https://user:pw@example.com/", "https://example.com@127.0.0.1/", "https://127.0.0.1#@example.com/", "https://example.com/#x", "https://example.com:22/", "https://example.com:8443/",
	"https://example.com:0/", "http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://127.0.0.1:PORT/", "https:///x", "https:example.com", "//example.com/", "https://intranet/", "",
	"https://1.1.1.1/", "https://[2606:4700::1111]/", "https://exa mple.com/", "https://example.com/\r\nX: y", "https://ｅxample.com/", "unix:///run/x", "https://[fe80::1", "javascript:alert(1)",
}

// Addresses are refused when they are given, and, because names change where they
// lead, again when they are dialled: not one connection may be made.
func TestWebhooksStayOutOfPrivateNetworks(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var connections atomic.Int32
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	c := NewCourier(CourierConfig{Sealer: openSealer{}, Patience: 2 * time.Second})
	if len(hostile) < 60 {
		t.Fatalf("only %d hostile addresses", len(hostile))
	}
	for _, address := range hostile {
		address = strings.ReplaceAll(address, "PORT", port)
		if c.MayCall(address) == nil {
			t.Errorf("%q may be called", address)
		}
	}
	// As if the name had led elsewhere when it was given. Those below need no resolver.
	for _, address := range []string{
		"https://127.0.0.1:PORT/", "http://127.0.0.1:PORT/", "https://localhost:PORT/", "http://localhost:PORT/", "https://[::1]:PORT/", "https://[::ffff:127.0.0.1]:PORT/",
		"https://0.0.0.0:PORT/", "https://[::]:PORT/", "https://169.254.169.254/", "https://10.0.0.1/", "https://[64:ff9b::7f00:1]/", "https://[fd00::1]/", "https://1.1.1.1:22/", "http://1.1.1.1/",
	} {
		if o := send1(t, c, strings.ReplaceAll(address, "PORT", port)); o.Fault != linking.FaultAddress {
			t.Errorf("%s: %+v, want %s", address, o, linking.FaultAddress)
		}
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
	for address, want := range map[string]bool{
		"1.1.1.1:443": true, "93.184.215.14:443": true, "[2606:4700::1111]:443": true, "1.1.1.1:80": false, "[2606:4700::1111]:8443": false, "[::ffff:1.1.1.1]:443": true,
		"[::ffff:10.0.0.1]:443": false, "[2001:db8::1]:443": false, "[2001::1]:443": false, "[2002:a00:1::]:443": false, "[64:ff9b::101:101]:443": false, "100.127.255.255:443": false,
		"192.88.99.1:443": false, "0.1.2.3:443": false, "nonsense": false,
	} {
		if got := c.mayDial(address, false) == nil; got != want {
			t.Errorf("dialling %s: %v, want %v", address, got, want)
		}
		if c.mayDial(address, true) == nil {
			t.Errorf("plain http to %s", address)
		}
	}
}

// What the operator allows is allowed, on any port and without TLS; all else is not.
func TestWebhooksReachWhatTheOperatorAllows(t *testing.T) {
	c := NewCourier(CourierConfig{Sealer: openSealer{}, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("192.168.7.0/24")}})
	for address, want := range map[string]bool{
		"http://127.0.0.1:9/": true, "https://127.0.0.1:9/": true, "http://localhost:9/": true, "http://192.168.7.9:8080/": true, "http://192.168.8.9/": false, "http://127.0.0.2/": false,
		"http://till.lan:8080/": true, "https://example.com/": true, "http://user@127.0.0.1/": false,
	} {
		if got := c.MayCall(address) == nil; got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
	url, got := receiver(t, fine)
	if o := send1(t, c, url); o.Fault != "" {
		t.Errorf("the operator's own network: %+v", o)
	}
	if len(got()) != 1 {
		t.Error("nothing came")
	}
}

func TestWebhookAnswers(t *testing.T) {
	elsewhere, reached := receiver(t, fine)
	for name, one := range map[string]struct {
		answer http.HandlerFunc
		want   linking.Outcome
	}{
		"taken":   {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("thanks ", 1<<16)) }, linking.Outcome{Status: 200}},
		"failing": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, linking.Outcome{Status: 500, Fault: linking.FaultStatus}},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
		}, linking.Outcome{Status: 307, Fault: linking.FaultRedirect}},
		"gone": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(410) }, linking.Outcome{Status: 410, Fault: linking.FaultGone}},
		"busy": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "120"); w.WriteHeader(429) },
			linking.Outcome{Status: 429, Fault: linking.FaultStatus, NotFor: 2 * time.Minute}},
		"rude": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "99999999")
			w.WriteHeader(503)
		},
			linking.Outcome{Status: 503, Fault: linking.FaultStatus, NotFor: time.Hour}},
		"hangs": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, linking.Outcome{Fault: linking.FaultTimeout}},
		"hangs up": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, _ := w.(http.Hijacker).Hijack()
			conn.Close()
		}, linking.Outcome{Fault: linking.FaultConnect}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := NewCourier(CourierConfig{Sealer: openSealer{}, Allow: loopback, Patience: 500 * time.Millisecond})
			url, _ := receiver(t, one.answer)
			o := send1(t, c, url)
			o.Took = 0
			if o != one.want {
				t.Errorf("%+v, want %+v", o, one.want)
			}
		})
	}
	t.Cleanup(func() {
		if len(reached()) > 0 {
			t.Error("a redirect was followed")
		}
	})
	c := NewCourier(CourierConfig{Sealer: openSealer{}, Allow: loopback})
	tls := httptest.NewUnstartedServer(http.HandlerFunc(fine))
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	defer tls.Close()
	if o := send1(t, c, tls.URL); o.Fault != linking.FaultTLS {
		t.Errorf("a certificate of nobody's: %+v", o)
	}
	if o := send1(t, c, strings.Replace(tls.URL, "https", "http", 1)); o.Fault == "" {
		t.Errorf("plain http to a TLS port: %+v", o)
	}
	trusting := NewCourier(CourierConfig{Sealer: openSealer{}, Allow: loopback, RootCAs: tls.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs})
	if o := send1(t, trusting, tls.URL); o.Fault != "" {
		t.Errorf("a good certificate: %+v", o)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if o := send1(t, c, "http://"+ln.Addr().String()); o.Fault != linking.FaultConnect {
		t.Errorf("nobody there: %+v", o)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if o := c.Deliver(ctx, linking.Delivery{URL: elsewhere, Secrets: [][]byte{{1}}, Event: anEvent()}); !o.Stopped {
		t.Errorf("the gateway stopped, and it counts: %+v", o)
	}
}
