package gateway

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
)

func TestRules(t *testing.T) {
	for tag := range ownRules {
		if _, ok := ruleTexts[tag]; !ok {
			t.Errorf("rule %s has no text", tag)
		}
	}
	for tag, text := range ruleTexts {
		if text.code == "" || text.message == "" || strings.Count(text.message, "%s") > 1 {
			t.Errorf("rule %s says %+v", tag, text)
		}
		kinds := reflect.TypeFor[string]()
		if tag == "unique" {
			kinds = reflect.TypeFor[[]string]()
		}
		param := map[string]string{"oneof": "=a b", "required_if": "=X 1", "required_with": "=X", "required_without": "=X", "excluded_with": "=X", "excluded_without": "=X", "gtfield": "=X", "gtefield": "=X"}[tag]
		// Every rule with a text is one the validator knows.
		func() {
			defer func() {
				if v := recover(); v != nil {
					t.Errorf("rule %s: %v", tag, v)
				}
			}()
			rules.Struct(reflect.New(reflect.StructOf([]reflect.StructField{
				{Name: "X", Type: reflect.TypeFor[string]()},
				{Name: "Y", Type: kinds, Tag: reflect.StructTag(`json:"y" validate:"` + tag + param + `"`)},
			})).Interface())
		}()
	}
	for s, ok := range map[string]bool{"1": true, "0": true, "0.5": true, "123456789012": true, "1.123456": true,
		"": false, ".5": false, "5.": false, "-1": false, "+1": false, "1e3": false, "1,5": false, "1234567890123": false, "1.1234567": false, "١": false, " 1": false} {
		if decimal(s, "") != ok {
			t.Errorf("decimal %q: %v", s, !ok)
		}
	}
	for in, want := range map[string]string{"ExpiresAt": "expires_at", "URL": "url", "ReturnURL": "return_url", "VATRate": "vat_rate", "Amount": "amount", "X1": "x1"} {
		if got := snake(in); got != want {
			t.Errorf("snake(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestQuery(t *testing.T) {
	type answer struct {
		Limit            int
		After, Q, Status string
		Open, Linked     *bool
		From             time.Time
		Wait             int64
	}
	g := startGateway(t, Config{}, func(s *Server) {
		s.app.Get("/list", func(c *fiber.Ctx) error {
			q := queryOf(c)
			var a answer
			a.Limit, a.After = q.page()
			a.Q, a.Status = q.text("q", 10), q.choice("status", "active", "paid")
			a.Open, a.Linked = q.flag("open"), q.flag("linked")
			a.From, a.Wait = q.moment("from"), q.whole("wait", 5, 0, 60)
			if err := q.err(); err != nil {
				return err
			}
			return c.JSON(a)
		})
		s.app.Get("/sales/:sale", func(c *fiber.Ctx) error {
			sale, err := pathParam(c, "sale")
			if err != nil {
				return err
			}
			return c.SendString(sale)
		})
	})
	for query, want := range map[string]string{
		"": `{"Limit":50,"After":"","Q":"","Status":"","Open":null,"Linked":null,"From":"0001-01-01T00:00:00Z","Wait":5}`,
		"?limit=500&after=abc&q=Gr%C3%BC%C3%9Fe+%26&status=paid&open&linked=false&from=2026-11-20T11:00:00%2B01:00&wait=0": `{"Limit":500,"After":"abc","Q":"Grüße \u0026","Status":"paid","Open":true,"Linked":false,"From":"2026-11-20T10:00:00Z","Wait":0}`,
	} {
		resp, body := do(t, "GET", g.url+"/list"+query, "")
		if resp.StatusCode != 200 || body != want {
			t.Errorf("%s: %d %s", query, resp.StatusCode, body)
		}
	}
	for query, want := range map[string][2]string{
		"limit=0":                {"limit", "out_of_range"},
		"limit=501":              {"limit", "out_of_range"},
		"limit=ten":              {"limit", "out_of_range"},
		"limit=":                 {"limit", "out_of_range"},
		"limit=5&limit=6":        {"limit", "repeated"},
		"limt=5":                 {"limt", "unknown_parameter"},
		"Limit=5":                {"Limit", "unknown_parameter"},
		"status=open":            {"status", "not_allowed"},
		"status=":                {"status", "not_allowed"},
		"open=maybe":             {"open", "wrong_type"},
		"from=yesterday":         {"from", "rfc3339"},
		"from=2026-11-20":        {"from", "rfc3339"},
		"wait=-1":                {"wait", "out_of_range"},
		"wait=1e1":               {"wait", "out_of_range"},
		"q=12345678901":          {"q", "too_long"},
		"q=%00":                  {"q", "text"},
		"q=%ff":                  {"q", "text"},
		"q=%zz":                  {"query", "malformed"},
		"q=a;limit=5":            {"query", "malformed"},
		strings.Repeat("x", 300): {strings.Repeat("x", 64) + "…", "unknown_parameter"},
	} {
		resp, body := do(t, "GET", g.url+"/list?"+query, "")
		doc := mustBeProblem(t, resp, body, 422, "invalid_request")
		first := doc["errors"].([]any)[0].(map[string]any)
		if first["field"] != want[0] || first["code"] != want[1] {
			t.Errorf("%s: %v, want %v", query, first, want)
		}
	}
	for path, want := range map[string]string{"S-1": "S-1", "A%2FB%20C": "A/B C", "a+b": "a+b", "%2e%2e": "..", "S%2D1": "S-1"} {
		if resp, body := do(t, "GET", g.url+"/sales/"+path, ""); resp.StatusCode != 200 || body != want {
			t.Errorf("%s: %d %s, want %s", path, resp.StatusCode, body, want)
		}
	}
	resp, body := do(t, "GET", g.url+"/sales/%ff", "")
	mustBeProblem(t, resp, body, 404, "not_found")
}
