package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

func TestEveryKindHasAStatus(t *testing.T) {
	for _, k := range linking.ErrorKinds {
		if http.StatusText(statusOf[k]) == "" {
			t.Errorf("no HTTP status for %q", k)
		}
		if p := newProblem(&linking.Error{Kind: k}); p.Status != statusOf[k] || p.Code != string(k) {
			t.Errorf("%q without a code became %d %q", k, p.Status, p.Code)
		}
	}
	if len(statusOf) != len(linking.ErrorKinds) {
		t.Errorf("%d kinds have a status, there are %d", len(statusOf), len(linking.ErrorKinds))
	}
}

func TestProblems(t *testing.T) {
	busy := &linking.Error{Kind: linking.Conflict, Code: "code_busy", Detail: "The code shows another payment request.",
		With: map[string]any{"request": map[string]any{"id": "X"}, "since": "2026-11-20T10:00:00Z", "code": "theirs", "status": 1, "unwritable": make(chan int)},
		Err:  errors.New("the cause")}
	secret := errors.New("dial tcp 10.0.0.7:6379: connection refused")
	for _, tt := range []struct {
		name   string
		err    error
		status int
		code   string
		retry  string
		has    []string // in the body
	}{
		{"conflict", busy, 409, "code_busy", "", []string{`"title":"Code busy"`, `"request":{"id":"X"}`, `"since":"2026-11-20T10:00:00Z"`}},
		{"wrapped", fmt.Errorf("attach: %w", busy), 409, "code_busy", "", nil},
		{"invalid", &linking.Error{Kind: linking.Invalid, Code: "invalid_request", Detail: "No.", Fields: []linking.FieldError{{Field: "lines[0].unit_price", Code: "required", Message: "is required"}}}, 422, "invalid_request", "",
			[]string{`"errors":[{"field":"lines[0].unit_price","code":"required","message":"is required"}]`}},
		{"markup is escaped", &linking.Error{Kind: linking.Invalid, Code: "invalid_request", Detail: "<script>&"}, 422, "invalid_request", "", []string{`\u003cscript\u003e\u0026`}},
		{"unknown stays secret", secret, 500, "internal", "", []string{"on our side"}},
		{"wrapped secret", &linking.Error{Kind: linking.Unavailable, Code: "store_unavailable", Detail: "The store does not answer.", Retry: 7, Err: secret}, 503, "store_unavailable", "7", nil},
		{"limited", &linking.Error{Kind: linking.Limited, Code: "rate_limited", Detail: "Too often."}, 429, "rate_limited", "1", nil},
		{"uncertain", &linking.Error{Kind: linking.Uncertain, Code: "uncertain", Detail: "It may have been done."}, 504, "uncertain", "", nil},
		{"unauthorized", &linking.Error{Kind: linking.Unauthorized, Code: "unauthorized", Detail: "No key."}, 401, "unauthorized", "", nil},
		{"a kind nobody knows", &linking.Error{Kind: "new", Code: "new", Detail: "New."}, 500, "new", "", nil},
		{"the router's", fiber.NewError(404, "Cannot GET <script>"), 404, "not_found", "", nil},
		{"another of the router's", fiber.NewError(418, "secret tea"), 500, "internal", "", nil},
		{"the context's", context.DeadlineExceeded, 500, "internal", "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := startGateway(t, Config{}, func(s *Server) {
				s.app.Get("/", func(c *fiber.Ctx) error {
					c.Set("Cache-Control", "public, max-age=60")
					c.WriteString("half an answer")
					return tt.err
				})
			})
			resp, body := do(t, "GET", g.url+"/", "")
			doc := mustBeProblem(t, resp, body, tt.status, tt.code)
			if resp.Header.Get("Retry-After") != tt.retry {
				t.Errorf("Retry-After %q, want %q", resp.Header.Get("Retry-After"), tt.retry)
			}
			if resp.Header.Get("Cache-Control") != "no-store" {
				t.Error("an error may be kept")
			}
			if (resp.Header.Get("WWW-Authenticate") != "") != (tt.status == 401) {
				t.Errorf("WWW-Authenticate %q", resp.Header.Get("WWW-Authenticate"))
			}
			for _, want := range tt.has {
				if !strings.Contains(body, want) {
					t.Errorf("%s lacks %s", body, want)
				}
			}
			for _, never := range []string{"10.0.0.7", "the cause", "Cannot GET", "half an answer", "secret tea", "deadline"} {
				if strings.Contains(body, never) {
					t.Errorf("%q in %s", never, body)
				}
			}
			if tt.err == error(busy) && (doc["unwritable"] != nil || doc["status"] != 409.0) {
				t.Errorf("members that may not be: %s", body)
			}
			log := g.log.String()
			if got := strings.Count(log, `"msg":"request"`); got != 1 {
				t.Errorf("%d lines for one request:\n%s", got, log)
			}
			if errors.Is(tt.err, secret) && strings.Count(log, "10.0.0.7") != 1 {
				t.Errorf("the cause is not in the log once:\n%s", log)
			}
			if tt.status < 500 && strings.Contains(log, "the cause") {
				t.Errorf("a caller's mistake fills the log:\n%s", log)
			}
		})
	}
}

func TestRoutersRefusals(t *testing.T) {
	g := startGateway(t, Config{}, func(s *Server) {
		s.app.Get("/v1/things/:id", func(c *fiber.Ctx) error { return c.SendString("thing " + c.Params("id")) })
		s.app.Put("/v1/things/:id", func(c *fiber.Ctx) error { return nil })
	})
	resp, body := do(t, "GET", g.url+"/nothing/SECRETTOKEN<script>", "")
	mustBeProblem(t, resp, body, 404, "not_found")
	if strings.Contains(body, "SECRETTOKEN") {
		t.Errorf("the path comes back: %s", body)
	}
	resp, body = do(t, "POST", g.url+"/v1/things/1", "")
	mustBeProblem(t, resp, body, 405, "method_not_allowed")
	if allow := resp.Header.Get("Allow"); allow != "GET, HEAD, PUT" {
		t.Errorf("Allow: %s", allow)
	}
	// OPTIONS says what there is; no other site's page may use it (no CORS).
	resp, body = do(t, "OPTIONS", g.url+"/v1/things/1", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "PUT")
	if resp.StatusCode != 204 || body != "" || resp.Header.Get("Allow") != "GET, HEAD, PUT, OPTIONS" {
		t.Errorf("OPTIONS: %d %q Allow %q", resp.StatusCode, body, resp.Header.Get("Allow"))
	}
	for name := range resp.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("%s is set", name)
		}
	}
	resp, body = do(t, "OPTIONS", g.url+"/nothing", "")
	mustBeProblem(t, resp, body, 404, "not_found")
	// HEAD is GET without a body.
	resp, body = do(t, "HEAD", g.url+"/v1/things/1", "")
	if resp.StatusCode != 200 || body != "" || resp.Header.Get("Content-Length") != "7" {
		t.Errorf("HEAD: %d %q %v", resp.StatusCode, body, resp.Header)
	}
	resp, _ = do(t, "HEAD", g.url+"/nothing", "")
	if resp.StatusCode != 404 {
		t.Errorf("HEAD of nothing: %d", resp.StatusCode)
	}
}

func TestErrorPageForPeople(t *testing.T) {
	g := startGateway(t, Config{}, func(s *Server) {
		s.errorPage = func(c *fiber.Ctx, p *problem) error {
			if p.Code == "internal" {
				return errors.New("the page is broken too")
			}
			c.Set("Content-Type", "text/html; charset=utf-8")
			return c.SendString("<h1>" + p.Code + " " + p.RequestID + "</h1>")
		}
		s.app.Get("/broken", func(c *fiber.Ctx) error { panic("no") })
	})
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	resp, body := do(t, "GET", g.url+"/nothing", "", "Accept", browser)
	if resp.StatusCode != 404 || body != "<h1>not_found "+resp.Header.Get("Request-Id")+"</h1>" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	for _, accept := range []string{"", "*/*", "application/json", "application/json, text/html;q=0.5"} {
		resp, body = do(t, "GET", g.url+"/nothing", "", "Accept", accept)
		mustBeProblem(t, resp, body, 404, "not_found")
	}
	resp, body = do(t, "GET", g.url+"/broken", "", "Accept", browser)
	mustBeProblem(t, resp, body, 500, "internal")
}

// A panic ends one request, and tells nobody outside why.
func TestPanicIsCaught(t *testing.T) {
	g := startGateway(t, Config{}, func(s *Server) {
		s.app.Get("/broken", func(c *fiber.Ctx) error {
			var nobody *call
			return c.SendString(nobody.id)
		})
		s.errorPage = func(*fiber.Ctx, *problem) error { panic("while failing") }
	})
	resp, body := do(t, "GET", g.url+"/broken", "")
	mustBeProblem(t, resp, body, 500, "internal")
	if strings.Contains(body, "nil pointer") {
		t.Errorf("the panic is in the answer: %s", body)
	}
	log := g.log.String()
	if !strings.Contains(log, "nil pointer") || !strings.Contains(log, resp.Header.Get("Request-Id")) || !regexp.MustCompile(`problem_test\.go:\d+`).MatchString(log) {
		t.Errorf("the log lacks the panic, its place or the id:\n%s", log)
	}
	// Even where the answer itself fails.
	resp, body = do(t, "GET", g.url+"/broken", "", "Accept", "text/html")
	if resp.StatusCode != 500 || !strings.Contains(body, `"code":"internal"`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, _ := do(t, "GET", g.url+"/healthz", ""); resp.StatusCode != 200 {
		t.Errorf("healthz %d afterwards", resp.StatusCode)
	}
	if _, metrics := do(t, "GET", g.url+"/metrics", ""); !strings.Contains(metrics, "placard_panics_total 3") {
		t.Error("three panics are not counted")
	}
}
