package main

import (
	"bytes"
	"testing"
	"time"
)

// TestD4FromTheEndOnNoPaymentStarts: from the instant of an expiry, a cancel, a swap or a
// detach no page of ours starts a payment, also one that was open before; and at the bank
// none starts once it has confirmed the end.
func TestD4FromTheEndOnNoPaymentStarts(t *testing.T) {
	for name, ends := range map[string]func(till *client, code, id string){
		"expiry": func(till *client, _, id string) {
			at, err := time.Parse(time.RFC3339, till.get("/v1/requests/"+id).str("expires_at"))
			if err != nil {
				t.Error(err)
			}
			time.Sleep(time.Until(at)) // an instant that nobody tells of
		},
		"cancel": func(till *client, _, id string) {
			till.call("POST", "/v1/requests/"+id+"/cancel", nil, "Prefer", "wait=0")
		},
		"swap": func(till *client, code, _ string) {
			till.call("PUT", "/v1/codes/"+code+"/link", m{"replace": true, "request": m{"amount": 700}}, "Prefer", "wait=0")
		},
		"detach": func(till *client, code, id string) {
			till.call("DELETE", "/v1/codes/"+code+"/link?request_id="+id, nil, "Prefer", "wait=0")
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := raceHouse(t)
			till, code := h.shop.till, h.shop.till.makeCode("counter")
			h.bank.strikes("close", "status", 503)                           // the bank takes money all the while
			h.bank.call("POST", "/sim/callbacks", m{"mode": "lost"}).is(200) // nobody tells us of the end
			id := till.link(code, m{"amount": 1250, "expires_in": 3}).is(200).says("request.status", "active").str("request.id")
			seen := h.phone().scan(code, "").says("resolution", "payable", "request.amount", 1250)
			ends(till, code, id)
			for range 5 {
				if r := h.phone().press(seen); r.Status == 303 || r.Status == 200 {
					t.Fatalf("a page from before starts a payment: %d %s", r.Status, r.Body)
				}
			}
			for _, s := range []string{"", seen.str("s")} {
				if r := h.phone().scan(code, s); r.str("resolution") == "payable" && r.num("request.amount") == 1250 {
					t.Fatalf("it is offered: %s", r.Body)
				}
			}
			if r := till.get("/v1/requests/"+id).says("paid_amount", 0); name != "expiry" { // which this bank sees to by itself
				r.says("status", "closing")
			}
			h.bank.heals()
			till.call("GET", "/v1/requests/"+id+"?wait=30&after_status=closing", nil).is(200)
			if r := h.bank.call("POST", "/sim/pay", m{"request_id": id}); r.Status < 400 {
				t.Errorf("after the bank confirmed the end it takes a payment: %s", r.Body)
			}
		})
	}
}

// TestD9ARepeatedCommandAnswersTheSame: one change, and the very bytes of the first
// answer; the same key with another body is refused.
func TestD9ARepeatedCommandAnswersTheSame(t *testing.T) {
	houses(t, houseOptions{bare: true}, func(t *testing.T, h *house) {
		till, code := h.shop.till, h.shop.till.makeCode("counter")
		paid := till.attach(code, 1250)
		h.bank.pays(paid)
		till.awaitStatus(paid, "paid")
		open := till.call("POST", "/v1/requests", m{"amount": 300}, "Prefer", "wait=30").is(201).str("id")
		for key, c := range map[string]struct {
			method, path string
			body, other  m
		}{
			"make":    {"POST", "/v1/codes", m{"kind": "counter", "label": "A"}, m{"kind": "counter", "label": "B"}},
			"request": {"POST", "/v1/requests", m{"amount": 500}, m{"amount": 501}},
			"attach":  {"PUT", "/v1/codes/" + code + "/link", m{"request": m{"amount": 500}}, m{"request": m{"amount": 501}}},
			"note":    {"PATCH", "/v1/requests/" + open, m{"note": "x"}, m{"note": "y"}},
			"refund":  {"POST", "/v1/requests/" + paid + "/refunds", m{"amount": 5}, m{"amount": 6}},
			"cancel":  {"POST", "/v1/requests/" + open + "/cancel", m{"reason": "cancel"}, m{"reason": "paid_otherwise"}},
		} {
			first := till.call(c.method, c.path, c.body, "Idempotency-Key", key, "Prefer", "wait=30")
			if first.Status >= 300 {
				t.Fatalf("%s is answered %d: %s", key, first.Status, first.Body)
			}
			before := till.lastSeq()
			again := make([]*reply, 8)
			atOnce(len(again), func(i int) {
				var err error
				if again[i], err = till.try(c.method, c.path, c.body, "Idempotency-Key", key, "Prefer", "wait=30"); err != nil {
					t.Error(err)
				}
			})
			for _, r := range again {
				if r != nil && (r.Status != first.Status || !bytes.Equal(r.Body, first.Body) || r.Header.Get("Idempotency-Replayed") != "true") {
					t.Errorf("%s repeated is answered %d %s, at first %d %s", key, r.Status, r.Body, first.Status, first.Body)
				}
			}
			till.call(c.method, c.path, c.other, "Idempotency-Key", key).refused(422, "idempotency_mismatch")
			for _, e := range till.allEvents(before) {
				if e.Request == nil || e.Request.ID != open { // whose bank may be heard of late
					t.Errorf("%s repeated has done something: %s", key, e.Type)
				}
			}
		}
		if got := till.get("/v1/requests/" + paid).num("refunded_amount"); got != 5 {
			t.Errorf("%d went back", got)
		}
	})
}
