package main

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"placard/linking"
	"placard/linking/storetest"
)

func (h *house) with(role linking.Role) *client {
	return &client{t: h.t, base: h.shop.till.base, key: h.shop.keys[role]}
}

// TestOffice: what a merchant's own people arrange over the API, on two gateways.
func TestOffice(t *testing.T) {
	h := newHouse(t, houseOptions{redis: storetest.NewRedis(t, storetest.Durable()...), gateways: 2})
	owner := h.shop.till

	t.Run("roles", func(t *testing.T) {
		own := []linking.Role{linking.Owner}
		office := []linking.Role{linking.Owner, linking.Manager}
		for _, call := range []struct {
			method, path string
			may          []linking.Role
		}{
			{"GET", "/v1/keys", own}, {"POST", "/v1/keys", own}, {"DELETE", "/v1/keys/000000000000", own},
			{"PATCH", "/v1/merchant", own}, {"GET", "/v1/outlets", linking.Roles},
			{"POST", "/v1/outlets", office}, {"PATCH", "/v1/outlets/00000000000000", office},
		} {
			for _, role := range linking.Roles {
				var body any
				if call.method != "GET" && call.method != "DELETE" {
					body = map[string]any{"no_such_field": 1} // so that nothing is changed
				}
				got := h.with(role).call(call.method, call.path, body).Status
				if may := slices.Contains(call.may, role); may == (got == 403) || got == 401 || got >= 500 {
					t.Errorf("%s %s as %s answered %d; may: %v", call.method, call.path, role, got, may)
				}
			}
			nobody := &client{t: t, base: owner.base}
			nobody.call(call.method, call.path, nil).refused(401, "unauthorized")
		}
	})

	t.Run("a deleted key ends everywhere within 5 s", func(t *testing.T) {
		k := owner.call("POST", "/v1/keys", map[string]any{"role": "viewer", "label": "Küchenanzeige <b>"}).is(201)
		if !strings.HasPrefix(k.str("secret"), "plc_") || k.str("label") != "Küchenanzeige <b>" || k.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("the new key: %s", k.Body)
		}
		if list := owner.get("/v1/keys").is(200); !strings.Contains(string(list.Body), k.str("id")) || strings.Contains(string(list.Body), k.str("secret")) {
			t.Fatalf("the list lacks the key or tells its secret: %s", list.Body)
		}
		var streams []io.ReadCloser
		for _, base := range h.addresses {
			(&client{t: t, base: base, key: k.str("secret")}).get("/v1/merchant").is(200)
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, "GET", base+"/v1/events", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", "text/event-stream")
			req.Header.Set("Authorization", "Bearer "+k.str("secret"))
			resp, err := web.Do(req)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("no stream: %v %v", err, resp)
			}
			defer resp.Body.Close()
			streams = append(streams, resp.Body)
		}
		deleted := time.Now()
		owner.call("DELETE", "/v1/keys/"+k.str("id"), nil).is(200)
		for _, base := range h.addresses {
			c := &client{t: t, base: base, key: k.str("secret")}
			eventually(t, "the key is refused", func() bool { return c.get("/v1/merchant").Status == 401 })
		}
		for _, s := range streams {
			if _, err := io.Copy(io.Discard, s); err != nil {
				t.Errorf("the stream of a deleted key does not end: %v", err)
			}
		}
		if took := time.Since(deleted); took > 5*time.Second {
			t.Errorf("the deleted key went on for %v", took)
		}
		if again := owner.call("DELETE", "/v1/keys/"+k.str("id"), nil).is(200); again.str("deleted_at") == "" {
			t.Errorf("deleted again: %s", again.Body)
		}
		if list := owner.get("/v1/keys").is(200); strings.Contains(string(list.Body), k.str("id")) {
			t.Errorf("the deleted key is listed: %s", list.Body)
		}
	})

	t.Run("an owner of one outlet stays in it", func(t *testing.T) {
		main := owner.call("POST", "/v1/outlets", map[string]any{"name": "Main St"}, "Idempotency-Key", "o1").is(201)
		if again := owner.call("POST", "/v1/outlets", map[string]any{"name": "Main St"}, "Idempotency-Key", "o1").is(201); string(again.Body) != string(main.Body) {
			t.Errorf("repeated: %s, first %s", again.Body, main.Body)
		}
		port := owner.call("POST", "/v1/outlets", map[string]any{"name": "Harbour"}).is(201).str("id")
		k := owner.call("POST", "/v1/keys", map[string]any{"role": "owner", "outlet": main.str("id")}).is(201)
		c := &client{t: t, base: owner.base, key: k.str("secret")}
		c.call("POST", "/v1/keys", map[string]any{"role": "viewer"}).refused(422, "invalid_request", "outlet required")
		c.call("POST", "/v1/keys", map[string]any{"role": "viewer", "outlet": port}).refused(422, "invalid_request", "outlet unknown")
		c.call("POST", "/v1/keys", map[string]any{"role": "viewer", "outlet": main.str("id")}).is(201)
		c.call("PATCH", "/v1/merchant", map[string]any{"name": "Mine"}).refused(403, "forbidden")
		c.call("POST", "/v1/outlets", map[string]any{"name": "Mine"}).refused(403, "forbidden")
		c.call("PATCH", "/v1/outlets/"+port, map[string]any{"name": "Mine"}).refused(404, "not_found")
		if list := c.get("/v1/outlets").is(200); strings.Contains(string(list.Body), port) {
			t.Errorf("it sees another outlet: %s", list.Body)
		}
		all := owner.get("/v1/keys").is(200)
		for i := 0; all.str("data."+string(rune('0'+i))+".id") != "" && i < 9; i++ {
			at := "data." + string(rune('0'+i))
			if id := all.str(at + ".id"); all.str(at+".outlet") == "" {
				c.call("DELETE", "/v1/keys/"+id, nil).refused(404, "not_found")
			}
		}
		first := owner.get("/v1/outlets?limit=1").is(200)
		if rest := owner.get("/v1/outlets?after=" + first.str("next")).is(200); rest.str("data.0.id") == first.str("data.0.id") || rest.str("data.0.id") == "" || rest.at("next") != nil {
			t.Errorf("page by page: %s then %s", first.Body, rest.Body)
		}

		// Another merchant sees none of it.
		h.other.till.call("DELETE", "/v1/keys/"+k.str("id"), nil).refused(404, "not_found")
		h.other.till.call("PATCH", "/v1/outlets/"+port, map[string]any{"name": "Theirs"}).refused(404, "not_found")
		h.other.till.call("POST", "/v1/keys", map[string]any{"role": "viewer", "outlet": port}).refused(422, "invalid_request", "outlet unknown")
		if list := h.other.till.get("/v1/outlets").is(200); list.at("data.0") != nil {
			t.Errorf("another merchant sees outlets: %s", list.Body)
		}
		code := owner.call("POST", "/v1/codes", map[string]any{"kind": "counter", "label": "Till 1"}).is(201).str("id")
		h.other.till.call("POST", "/v1/keys", map[string]any{"role": "cashier", "codes": []string{code}}).refused(422, "invalid_request", "codes[0] unknown")
		till := owner.call("POST", "/v1/keys", map[string]any{"role": "cashier", "codes": []string{code}}).is(201)
		(&client{t: t, base: owner.base, key: till.str("secret")}).get("/v1/codes/" + code).is(200)
		owner.call("POST", "/v1/keys", map[string]any{"role": "cashier"}, "Idempotency-Key", "k1").refused(422, "invalid_request", "Idempotency-Key not_here")
	})

	t.Run("the merchant's rules", func(t *testing.T) {
		got := owner.call("PATCH", "/v1/merchant", map[string]any{
			"contact": `<script>alert(1)</script> & "ring"`, "time_zone": "Europe/Lisbon", "day_ends_at": "04:00", "late_payments": "accept",
			"takeover": true, "cashier_refund_limit": 500, "lines_shown": "always", "vat_rate": "23",
		}).is(200)
		read := owner.get("/v1/merchant").is(200)
		if string(got.Body) != string(read.Body) || read.str("name") != "Café Aurora" || read.str("day_ends_at") != "04:00" || read.str("late_payments") != "accept" || read.at("takeover") != true {
			t.Errorf("changed to %s, read as %s", got.Body, read.Body)
		}
		for field, bad := range map[string]any{"time_zone": "Mars/Base", "day_ends_at": "25:00", "name": "", "vat_rate": "x"} {
			if r := owner.call("PATCH", "/v1/merchant", map[string]any{field: bad}); r.Status != 422 || r.str("errors.0.field") != field {
				t.Errorf("%s %q answered %d %s", field, bad, r.Status, r.Body)
			}
		}
		if after := owner.get("/v1/merchant").is(200); string(after.Body) != string(read.Body) {
			t.Errorf("a refused change changed something: %s", after.Body)
		}
	})
}
