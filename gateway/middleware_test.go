package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"placard/linking"
)

func TestRequestID(t *testing.T) {
	g := startGateway(t, Config{}, nil)
	seen := map[string]bool{}
	last := ""
	for range 50 {
		resp, _ := do(t, "GET", g.url+"/healthz", "", "Request-Id", "ATTACKERSCHOICE", "X-Request-Id", "ATTACKERSCHOICE")
		id := resp.Header.Get("Request-Id")
		if len(id) != 26 || strings.Trim(id, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") != "" || seen[id] {
			t.Fatalf("request id %q", id)
		}
		if id[:10] < last {
			t.Errorf("ids go back: %s after %s", id, last)
		}
		seen[id], last = true, id[:10]
		if !strings.Contains(g.log.String(), `"request_id":"`+id+`"`) {
			t.Errorf("%s is not in the log", id)
		}
	}
}

// D14: neither the log nor the metrics hold what a request carried.
func TestD14LogAndMetricsHoldNoSecrets(t *testing.T) {
	g := startGateway(t, Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, func(s *Server) {
		s.app.Post("/q/:token/pay", func(c *fiber.Ctx) error {
			callOf(c).merchant = "MERCHANT000001"
			return c.SendString("SECRETANSWER")
		})
		s.app.Get("/fails/:token", func(c *fiber.Ctx) error {
			return &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such code."}
		})
	})
	secrets := []string{"0SECRETTOKEN00000000", "SECRETQUERY", "SECRETKEY", "SECRETCOOKIE", "SECRETBODY", "SECRETAGENT", "SECRETREFERER", "SECRETANSWER", "203.0.113.77"}
	header := []string{"Authorization", "Bearer SECRETKEY", "Cookie", "session=SECRETCOOKIE", "User-Agent", "SECRETAGENT", "Referer", "https://x/SECRETREFERER", "X-Forwarded-For", "203.0.113.77"}
	do(t, "POST", g.url+"/q/0SECRETTOKEN00000000/pay?s=SECRETQUERY", "SECRETBODY", header...)
	do(t, "GET", g.url+"/fails/0SECRETTOKEN00000000?s=SECRETQUERY", "", header...)
	do(t, "GET", g.url+"/nowhere/0SECRETTOKEN00000000?s=SECRETQUERY", "", header...)
	do(t, "BREW", g.url+"/nowhere/0SECRETTOKEN00000000", "", header...)
	_, metrics := do(t, "GET", g.url+"/metrics", "")
	log := g.log.String()
	for _, secret := range secrets {
		if strings.Contains(log, secret) {
			t.Errorf("%s is in the log:\n%s", secret, log)
		}
		if strings.Contains(metrics, secret) {
			t.Errorf("%s is in the metrics", secret)
		}
	}
	for _, want := range []string{`"route":"/q/:token/pay"`, `"merchant":"MERCHANT000001"`, `"from":"203.0.113.0/24"`, `"route":"none"`, `"code":"not_found"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
	for _, want := range []string{
		`placard_http_requests_total{method="POST",route="/q/:token/pay",status="200"} 1`,
		`placard_http_requests_total{method="GET",route="none",status="404"} 1`,
		`placard_http_refused_total{status="501"} 1`,
		`placard_http_request_seconds_count{method="GET",route="/fails/:token"} 1`,
		`placard_http_requests_in_flight 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s:\n%s", want, metrics)
		}
	}
}

func TestClientAddress(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:ffff::/48")}
	for _, tt := range []struct {
		name    string
		proxies []netip.Prefix
		header  []string
		want    string
	}{
		{"nobody is trusted", nil, []string{"X-Forwarded-For", "6.6.6.6"}, "127.0.0.1"},
		{"nothing said", trusted, nil, "127.0.0.1"},
		{"one hop", trusted, []string{"X-Forwarded-For", "203.0.113.9"}, "203.0.113.9"},
		{"what the client made up stands left", trusted, []string{"X-Forwarded-For", "6.6.6.6, 203.0.113.9"}, "203.0.113.9"},
		{"two of our proxies", trusted, []string{"X-Forwarded-For", "6.6.6.6, 203.0.113.9, 10.1.2.3"}, "203.0.113.9"},
		{"two lines", trusted, []string{"X-Forwarded-For", "6.6.6.6", "X-Forwarded-For", "203.0.113.9,10.1.2.3"}, "203.0.113.9"},
		{"a client on a trusted network", trusted, []string{"X-Forwarded-For", "10.9.9.9, 10.1.2.3"}, "10.9.9.9"},
		{"markup", trusted, []string{"X-Forwarded-For", "6.6.6.6<script>, 10.1.2.3"}, "10.1.2.3"},
		{"nonsense nearest to us", trusted, []string{"X-Forwarded-For", "203.0.113.9, unknown"}, "127.0.0.1"},
		{"empty hops", trusted, []string{"X-Forwarded-For", "203.0.113.9,,"}, "127.0.0.1"},
		{"IPv6", trusted, []string{"X-Forwarded-For", "2001:db8:1::7, 2001:db8:ffff::1"}, "2001:db8:1::7"},
		{"a port", trusted, []string{"X-Forwarded-For", "203.0.113.9:4711"}, "203.0.113.9"},
		{"IPv6 with a port", trusted, []string{"X-Forwarded-For", "[2001:db8:1::7]:4711"}, "2001:db8:1::7"},
		{"IPv4 in IPv6", trusted, []string{"X-Forwarded-For", "203.0.113.9, ::ffff:10.1.2.3"}, "203.0.113.9"},
		{"other headers", trusted, []string{"X-Real-Ip", "6.6.6.6", "Forwarded", "for=6.6.6.6", "X-Client-Ip", "6.6.6.6", "X-Forwarded-Host", "evil.example"}, "127.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got netip.Addr
			g := startGateway(t, Config{TrustedProxies: tt.proxies}, func(s *Server) {
				s.app.Get("/", func(c *fiber.Ctx) error {
					got = callOf(c).from
					if c.Hostname() == "evil.example" || c.Protocol() != "http" {
						t.Errorf("Fiber believes %s %s", c.Hostname(), c.Protocol())
					}
					return nil
				})
			})
			do(t, "GET", g.url+"/", "", append(tt.header, "X-Forwarded-Proto", "https")...)
			if got.String() != tt.want {
				t.Errorf("the client is %s, want %s", got, tt.want)
			}
		})
	}
}

func TestPrefixes(t *testing.T) {
	for _, tt := range []struct{ addr, limit, log string }{
		{"203.0.113.77", "203.0.113.77/32", "203.0.113.0/24"},
		{"2001:db8:1:23ff:5::9", "2001:db8:1:2300::/56", "2001:db8:1::/48"},
	} {
		addr := netip.MustParseAddr(tt.addr)
		if got := limitPrefix(addr).String(); got != tt.limit {
			t.Errorf("limit of %s: %s, want %s", addr, got, tt.limit)
		}
		if got := logPrefix(addr).String(); got != tt.log {
			t.Errorf("log of %s: %s, want %s", addr, got, tt.log)
		}
	}
	if limitPrefix(netip.Addr{}).IsValid() {
		t.Error("no address has a prefix")
	}
}

func TestHeaders(t *testing.T) {
	policy := newPagePolicy(map[string][]string{
		"form-action": {"https://bank.example", "bankapp:", "evil; script-src *", "two words", "a,b", "line\nfeed", ""},
		"unheard-of":  {"*"},
	}, "camera")
	for _, https := range []bool{true, false} {
		public := "http://gateway.example"
		if https {
			public = "https://gateway.example"
		}
		g := startGateway(t, Config{PublicURL: public}, func(s *Server) {
			s.app.Get("/page", func(c *fiber.Ctx) error {
				setPageHeaders(c, policy)
				return c.SendString("<h1>Hi</h1>")
			})
		})
		for path, want := range map[string]map[string]string{
			"/healthz": {
				"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
				"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Content-Type": "application/json",
			},
			"/nothing": {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"},
			"/page": {
				"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-store",
				"Cross-Origin-Opener-Policy": "same-origin", "Content-Type": "text/html; charset=utf-8",
				"Permissions-Policy": "camera=(self), geolocation=(), microphone=(), payment=(), usb=()",
				"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; media-src 'self'; connect-src 'self'; " +
					"manifest-src 'self'; worker-src 'self'; form-action 'self' https://bank.example bankapp:; frame-src 'none'; frame-ancestors 'none'; base-uri 'none'",
			},
		} {
			resp, _ := do(t, "GET", g.url+path, "")
			for name, value := range want {
				if got := resp.Header.Get(name); got != value {
					t.Errorf("%s %s: %q, want %q", path, name, got, value)
				}
			}
			if hsts := resp.Header.Get("Strict-Transport-Security"); (hsts != "") != https {
				t.Errorf("%s: HSTS %q at %s", path, hsts, public)
			}
			if server := resp.Header.Get("Server"); server != "" {
				t.Errorf("Server: %s", server)
			}
		}
	}
}

func TestCrossSiteRequestsAreRefused(t *testing.T) {
	g := startGateway(t, Config{PublicURL: "https://pay.example.com"}, func(s *Server) {
		s.app.All("/form", s.sameOrigin, func(c *fiber.Ctx) error { return c.SendString("done") })
	})
	for _, tt := range []struct {
		method string
		header []string
		ok     bool
	}{
		{"POST", []string{"Sec-Fetch-Site", "same-origin"}, true},
		{"POST", []string{"Sec-Fetch-Site", "none"}, true},
		{"POST", []string{"Sec-Fetch-Site", "same-origin", "Origin", "null"}, true},
		{"POST", []string{"Sec-Fetch-Site", "cross-site"}, false},
		{"POST", []string{"Sec-Fetch-Site", "same-site"}, false}, // another host of the same domain is not us
		{"POST", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://pay.example.com"}, false},
		{"POST", []string{"Sec-Fetch-Site", "SAME-ORIGIN"}, false},
		{"POST", []string{"Origin", "https://pay.example.com"}, true},
		{"POST", []string{"Origin", "https://PAY.example.com"}, true},
		{"POST", []string{"Origin", g.url}, true}, // the host that was asked
		{"POST", []string{"Origin", "https://evil.example"}, false},
		{"POST", []string{"Origin", "http://pay.example.com"}, false},
		{"POST", []string{"Origin", "https://pay.example.com:444"}, false},
		{"POST", []string{"Origin", "https://pay.example.com.evil.example"}, false},
		{"POST", []string{"Origin", "null"}, false},
		{"POST", []string{"Origin", "evil.example", "X-Forwarded-Host", "evil.example"}, false},
		{"POST", nil, true}, // no browser
		{"PUT", []string{"Sec-Fetch-Site", "cross-site"}, false},
		{"PATCH", []string{"Sec-Fetch-Site", "cross-site"}, false},
		{"DELETE", []string{"Sec-Fetch-Site", "cross-site"}, false},
		{"GET", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, true},
	} {
		resp, body := do(t, tt.method, g.url+"/form", "", tt.header...)
		if tt.ok && (resp.StatusCode != 200 || body != "done") {
			t.Errorf("%s %v: %d", tt.method, tt.header, resp.StatusCode)
		}
		if !tt.ok {
			mustBeProblem(t, resp, body, 403, "forbidden")
		}
	}
}

func TestEveryHandlerHasADeadline(t *testing.T) {
	left := make(chan time.Duration, 1)
	kept := make(chan context.Context, 1)
	tell := func(c *fiber.Ctx) error {
		deadline, ok := c.UserContext().Deadline()
		if !ok {
			return errors.New("no deadline")
		}
		left <- time.Until(deadline)
		return nil
	}
	g := startGateway(t, Config{RequestTime: 3 * time.Second}, func(s *Server) {
		s.app.Get("/", tell)
		s.app.Get("/kept", func(c *fiber.Ctx) error { kept <- c.UserContext(); return nil })
		s.app.Get("/long", within(time.Minute), tell)
		s.app.Get("/short", within(time.Millisecond), func(c *fiber.Ctx) error {
			<-c.UserContext().Done()
			if !errors.Is(c.UserContext().Err(), context.DeadlineExceeded) {
				return errors.New("cancelled")
			}
			return c.SendString("ended in time")
		})
	})
	for path, want := range map[string]time.Duration{"/": 3 * time.Second, "/long": time.Minute} {
		if resp, _ := do(t, "GET", g.url+path, ""); resp.StatusCode != 200 {
			t.Fatalf("%s: %d", path, resp.StatusCode)
		}
		if got := <-left; got > want || got < want-2*time.Second {
			t.Errorf("%s has %v, want %v", path, got, want)
		}
	}
	do(t, "GET", g.url+"/kept", "")
	select {
	case <-(<-kept).Done(): // long before its deadline
	case <-time.After(time.Second):
		t.Error("the context of an answered call goes on")
	}
	if resp, body := do(t, "GET", g.url+"/short", ""); resp.StatusCode != 200 || body != "ended in time" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// The context of a call keeps the promises of context.Context, before and after
// somebody waits for it.
func TestCallContext(t *testing.T) {
	fresh := func() *call { return &call{ends: time.Now().Add(time.Hour)} }

	c := fresh()
	if c.Err() != nil || c.Value("x") != nil {
		t.Error("a fresh call is over")
	}
	c.finish()
	if !errors.Is(c.Err(), context.Canceled) {
		t.Errorf("finished: %v", c.Err())
	}
	<-c.Done()

	c = fresh()
	before := runtime.NumGoroutine()
	child, cancel := context.WithCancel(c)
	defer cancel()
	if n := runtime.NumGoroutine(); n != before {
		t.Errorf("a derived context started %d goroutines", n-before)
	}
	select {
	case <-child.Done():
		t.Error("over too early")
	default:
	}
	c.finish()
	<-child.Done()
	if !errors.Is(child.Err(), context.Canceled) || !errors.Is(c.Err(), context.Canceled) {
		t.Errorf("child %v, call %v", child.Err(), c.Err())
	}

	c = &call{ends: time.Now()}
	if !errors.Is(c.Err(), context.DeadlineExceeded) {
		t.Errorf("past its end: %v", c.Err())
	}
	<-c.Done()
	if !errors.Is(c.Err(), context.DeadlineExceeded) {
		t.Errorf("past its end and waited for: %v", c.Err())
	}
}

// D10: what one merchant's request carried never turns up in another's. Every byte
// fasthttp lends out is overwritten after the handler, as a later request would;
// what the handlers kept must still be what was sent.
func TestD10KeptStringsSurvivePoisonedBuffers(t *testing.T) {
	type kept struct{ Path, Query, Header, Cookie, Body, Decoded, Method, Raw string }
	var mu sync.Mutex
	all := map[string]kept{}
	g := startGateway(t, Config{}, func(s *Server) {
		s.app.Post("/t/:tenant", func(c *fiber.Ctx) error {
			var body struct {
				Tenant string `json:"tenant"`
			}
			if err := decode(c, &body); err != nil {
				return err
			}
			q := queryOf(c)
			tenant, err := pathParam(c, "tenant")
			if err != nil {
				return err
			}
			k := kept{tenant, q.text("tenant", 100), c.Get("X-Tenant"), c.Cookies("tenant"), body.Tenant, string(c.BodyRaw()), c.Method(), c.Path()}
			if err := q.err(); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			all[k.Path] = k
			return c.SendString(k.Path)
		})
		server := s.app.Server()
		handler := server.Handler
		server.Handler = func(ctx *fasthttp.RequestCtx) {
			handler(ctx)
			for _, lent := range [][]byte{
				ctx.Request.Body(), ctx.URI().PathOriginal(), ctx.URI().Path(), ctx.URI().QueryString(), ctx.Request.Header.RawHeaders(),
				ctx.Request.Header.Peek("X-Tenant"), ctx.Request.Header.Cookie("tenant"), ctx.Request.Header.RequestURI(), ctx.Request.Header.Method(), ctx.Request.Header.Host(),
			} {
				for i := range lent {
					lent[i] = 'X'
				}
			}
		}
	})
	const workers, each = 16, 60
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			for i := range each {
				tenant := fmt.Sprintf("tenant-%02d-%03d", w, i)
				body, _ := json.Marshal(map[string]string{"tenant": tenant})
				resp, got := do(t, "POST", g.url+"/t/"+tenant+"?tenant="+tenant, string(body),
					"Content-Type", "application/json", "X-Tenant", tenant, "Cookie", "tenant="+tenant)
				if resp.StatusCode != 200 || got != tenant {
					t.Errorf("%s was answered %d %s", tenant, resp.StatusCode, got)
				}
			}
		})
	}
	wait.Wait()
	if len(all) != workers*each {
		t.Errorf("%d tenants kept of %d", len(all), workers*each)
	}
	for tenant, k := range all {
		want := kept{tenant, tenant, tenant, tenant, tenant, `{"tenant":"` + tenant + `"}`, "POST", "/t/" + tenant}
		if k != want {
			t.Fatalf("kept %+v, want %+v", k, want)
		}
	}
}

// What the gateway adds to a handler that does nothing, and what copying every
// string costs beside.
func BenchmarkCall(b *testing.B) {
	run := func(b *testing.B, handler fasthttp.RequestHandler) {
		var ctx fasthttp.RequestCtx
		ctx.Request.Header.SetMethod("GET")
		ctx.Request.SetRequestURI("/q/0KT3MZ8RJ4WQ7NVB2CXE?s=1")
		ctx.Request.Header.SetHost("gateway.example")
		ctx.Request.Header.Set("Accept", "application/json")
		b.ReportAllocs()
		for b.Loop() {
			handler(&ctx)
			ctx.Response.Reset()
			ctx.ResetUserValues()
		}
	}
	answer := func(c *fiber.Ctx) error { return c.SendString(c.Params("token")) }
	for name, log := range map[string]*slog.Logger{"gateway, no log": discardLog, "gateway": slog.New(slog.NewJSONHandler(io.Discard, nil))} {
		b.Run(name, func(b *testing.B) {
			s, err := New(Config{PublicURL: "https://gateway.example", Log: log})
			if err != nil {
				b.Fatal(err)
			}
			s.app.Get("/q/:token", answer)
			s.app.Handler() // builds the routes
			run(b, s.app.Server().Handler)
		})
	}
	for _, immutable := range []bool{true, false} {
		b.Run(fmt.Sprintf("bare fiber, immutable=%v", immutable), func(b *testing.B) {
			app := fiber.New(fiber.Config{Immutable: immutable})
			app.Get("/q/:token", answer)
			run(b, app.Handler())
		})
	}
}
