package simulator

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"placard/linking"
)

// phone is a payer's browser that follows no redirect.
func (b *bank) phone(method, path string, form url.Values) (int, http.Header, string) {
	b.t.Helper()
	req, err := http.NewRequest(method, b.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(body)
}

// app is the address of a request's page at the bank, as the way to pay has it.
func (b *bank) app(id string) string {
	b.t.Helper()
	_, doc := b.signed("GET", "/requests/"+id, "", nil)
	way, ok := doc["way"].(map[string]any)
	if !ok || !strings.HasPrefix(way["url"].(string), b.url+"/app/") {
		b.t.Fatalf("no way: %v", doc)
	}
	return strings.TrimPrefix(way["url"].(string), b.url)
}

func TestAppShowsWhomAndHowMuch(t *testing.T) {
	b := newBank(t, Options{})
	status, header, page := b.phone("GET", b.app(b.make("")), nil)
	if status != 200 || header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", status, header)
	}
	for _, want := range []string{"Corner Café &lt;1&gt;", "12.50", "EUR", "Table 4", `value="pay"`, `value="refuse"`, `name="viewport"`, `lang="en"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(page, "<script") {
		t.Error("the page has a script")
	}
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(page)
	if style == nil {
		t.Fatal("the page has no style")
	}
	sum := sha256.Sum256([]byte(style[1]))
	if policy := header.Get("Content-Security-Policy"); !strings.Contains(policy, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
		t.Errorf("the policy %q forbids the page's own style", policy)
	}
}

func TestAppPaysAndGoesBackToTheShop(t *testing.T) {
	b := newBank(t, Options{})
	id := b.make(`,"return_url":"https://shop.example/thanks?a=b"`)
	path := b.app(id)
	status, header, _ := b.phone("POST", path, url.Values{"action": {"pay"}, "revision": {"1"}})
	if status != http.StatusSeeOther || header.Get("Location") != "https://shop.example/thanks?a=b" {
		t.Fatalf("%d to %q", status, header.Get("Location"))
	}
	if s, _ := b.Request(id); s.Status != linking.BankPaid || len(s.Payments) != 1 {
		t.Fatalf("%+v", s)
	}
	if status, _, page := b.phone("GET", path, nil); status != 200 || strings.Contains(page, "<button") || !strings.Contains(page, "<h1>Paid</h1>") {
		t.Fatalf("%d, once paid: %s", status, page)
	}
	// A second press, or the page still open on another phone, pays nothing more.
	if status, _, _ := b.phone("POST", path, url.Values{"action": {"pay"}, "revision": {"1"}}); status != http.StatusConflict {
		t.Fatalf("%d", status)
	}
	if s, _ := b.Request(id); len(s.Payments) != 1 {
		t.Fatalf("%+v", s)
	}
}

func TestAppWithoutAShopToGoBackToShowsTheOutcome(t *testing.T) {
	b := newBank(t, Options{})
	path := b.app(b.make(""))
	status, header, _ := b.phone("POST", path, url.Values{"action": {"refuse"}})
	if status != http.StatusSeeOther || header.Get("Location") != path {
		t.Fatalf("%d to %q", status, header.Get("Location"))
	}
	if _, _, page := b.phone("GET", path, nil); !strings.Contains(page, "This request has ended") {
		t.Fatal(page)
	}
}

func TestAppTakesNothingForAnAmountThatChanged(t *testing.T) {
	b := newBank(t, Options{})
	id := b.make("")
	path := b.app(id)
	b.signed("PUT", "/requests/"+id, `{"revision":2,"amount":9900,"currency":"EUR","capture":"auto"}`, nil)
	for _, shown := range []string{"1", "", "x"} {
		status, _, page := b.phone("POST", path, url.Values{"action": {"pay"}, "revision": {shown}})
		if status != http.StatusConflict || !strings.Contains(page, "99.00") || !strings.Contains(page, "Nothing was paid") {
			t.Fatalf("shown %q: %d %s", shown, status, page)
		}
	}
	if s, _ := b.Request(id); s.Status != linking.BankOpen {
		t.Fatalf("%+v", s)
	}
}

func TestAppLetsThePayerChooseWithinTheRange(t *testing.T) {
	b := newBank(t, Options{})
	id := b.make(`,"amount_range":{"min":1000,"max":2000}`)
	path := b.app(id)
	if _, _, page := b.phone("GET", path, nil); !strings.Contains(page, "from 10.00 to 20.00") {
		t.Fatal(page)
	}
	for _, bad := range []string{"9.99", "20.01", "-15.00", "15", "1e1", ""} {
		if status, _, _ := b.phone("POST", path, url.Values{"action": {"pay"}, "revision": {"1"}, "amount": {bad}}); status != http.StatusUnprocessableEntity {
			t.Errorf("%q: %d", bad, status)
		}
	}
	if status, _, _ := b.phone("POST", path, url.Values{"action": {"pay"}, "revision": {"1"}, "amount": {" 17,00 "}}); status != http.StatusSeeOther {
		t.Fatal(status)
	}
	if s, _ := b.Request(id); s.Payments[0].Amount != 1700 {
		t.Fatalf("%+v", s)
	}
}

func TestAppOfNothingIsNotFound(t *testing.T) {
	b := newBank(t, Options{})
	for _, method := range []string{"GET", "POST"} {
		if status, _, page := b.phone(method, "/app/nothing", url.Values{"action": {"pay"}}); status != 404 || !strings.Contains(page, "no such request") {
			t.Errorf("%s: %d", method, status)
		}
	}
	if status, _, _ := b.phone("POST", b.app(b.make("")), url.Values{"action": {"dance"}}); status != 400 {
		t.Error(status)
	}
}

func TestAppIsReachedWhereTheOperatorSays(t *testing.T) {
	b := newBank(t, Options{PublicURL: "http://192.168.1.5:8081/"})
	_, doc := b.signed("GET", "/requests/"+b.make(""), "", nil)
	if u := doc["way"].(map[string]any)["url"].(string); !strings.HasPrefix(u, "http://192.168.1.5:8081/app/") {
		t.Fatal(u)
	}
}
