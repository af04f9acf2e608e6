package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"placard/linking"
	"placard/linking/storetest"
)

// overStores runs a test over a bolt file and over a Redis of its own.
func overStores(t *testing.T, f func(t *testing.T, redis *storetest.RedisServer)) {
	t.Run("bolt", func(t *testing.T) {
		t.Parallel()
		f(t, nil)
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		f(t, storetest.NewRedis(t, storetest.Durable()...))
	})
}

// TestD5WhatIsSettledStaysSettled is the life of the program: made, printed,
// attached, scanned, paid, settled, ended by a signal, started again.
func TestD5WhatIsSettledStaysSettled(t *testing.T) {
	t.Parallel()
	overStores(t, func(t *testing.T, redis *storetest.RedisServer) {
		h := newHouse(t, houseOptions{redis: redis})
		till, phone := h.shop.till, h.phone()

		code := till.makeCode("counter")
		printed := till.get("/v1/codes/" + code).is(200).str("payload")
		if printed != strings.ToUpper(h.addresses[0]+"/q/"+code) {
			t.Errorf("%q is printed", printed)
		}
		waiting := phone.get(strings.TrimPrefix(printed, strings.ToUpper(h.addresses[0]))).is(200)
		waiting.says("resolution", "waiting")
		request := till.attach(code, 1250)
		seen := phone.scan(code, waiting.str("s")).is(200)
		seen.says("resolution", "payable", "request.amount", 1250)
		if to := phone.press(seen).is(303).Header.Get("Location"); !strings.HasPrefix(to, h.bank.base+"/app/") {
			t.Errorf("the pay click leads to %q", to)
		}
		h.bank.pays(request)
		till.awaitStatus(request, "paid").says("paid_amount", 1250, "payments.0.amount", 1250, "payments.0.counts", true)
		eventually(t, "the bank's callback was taken", func() bool {
			return h.bank.get("/sim/callbacks").is(200).num("delivered") > 0
		})
		events := till.allEvents(0)

		// A till is waiting for the next thing to happen when the signal comes.
		type answered struct {
			*reply
			err  error
			took time.Duration
		}
		waits := make(chan answered, 3)
		last := till.lastSeq()
		began := time.Now()
		for _, path := range []string{
			fmt.Sprintf("/v1/events?wait=60&after=%d", last),
			"/v1/requests/" + request + "?wait=30&after_status=paid",
		} {
			go func() {
				r, err := till.try("GET", path, nil)
				waits <- answered{r, err, time.Since(began)}
			}()
		}
		eventually(t, "both tills wait", func() bool {
			return strings.Contains(string(till.get("/metrics").Body), "placard_http_requests_in_flight 3") // they and this one
		})
		h.shut()
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the gateway took %s to stop while a till waited", took)
		}
		for range 2 {
			if a := <-waits; a.err != nil || a.Status != 200 {
				t.Errorf("a waiting till got %v, %v", a.reply, a.err)
			}
		}
		if _, err := till.try("GET", "/healthz", nil); err == nil {
			t.Error("somebody still listens")
		}

		h.open()
		phone = h.phone()
		till.get("/v1/requests/"+request).is(200).says("status", "paid", "paid_amount", 1250)
		phone.scan(code, seen.str("s")).is(200).says("resolution", "paid", "request.amount", 1250)
		phone.scan(code, "").is(200).says("resolution", "waiting")
		if again := till.allEvents(0); len(again) < len(events) || again[0].ID != events[0].ID {
			t.Errorf("%d events are left of %d", len(again), len(events))
		}
		if printed == strings.ToUpper(h.addresses[0]+"/q/"+code) {
			t.Fatal("the second gateway has the first one's address")
		}
		till.attach(code, 300) // and on it goes
		phone.scan(code, "").is(200).says("resolution", "payable", "request.amount", 300)
		h.shut()
	})
}

func TestCommandsOnAStoreThatIsServed(t *testing.T) {
	t.Parallel()
	t.Run("bolt", func(t *testing.T) {
		t.Parallel()
		h := newHouse(t, houseOptions{bare: true})
		began := time.Now()
		code, _, notes := perform(t, append([]string{"merchants", "list"}, h.store...)...)
		if code != failed || !strings.Contains(notes, "in use by another process, most likely a running gateway") {
			t.Errorf("it ended with %d: %s", code, notes)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s to say so", took)
		}
		h.shut()
		if out := performs(t, append([]string{"merchants", "list"}, h.store...)...); !strings.Contains(out, string(h.shop.id)) {
			t.Errorf("merchants list said %q", out)
		}
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		h := newHouse(t, houseOptions{redis: storetest.NewRedis(t, storetest.Durable()...), bare: true})
		m := string(h.shop.id)
		key := strings.TrimSpace(performs(t, append([]string{"keys", "add", m, "--role", "viewer", "--label", "display"}, h.store...)...))
		display := *h.shop.till
		display.key = key
		display.get("/v1/codes").is(200)
		list := performs(t, append([]string{"keys", "list", m, "--json"}, h.store...)...)
		var id string
		for line := range strings.Lines(list) {
			var k struct{ ID, Role, Label, State string }
			if err := json.Unmarshal([]byte(line), &k); err != nil {
				t.Fatalf("keys list said %q", line)
			}
			if k.Role == "viewer" && k.Label == "display" && k.State == "good" {
				id = k.ID
			}
		}
		if id == "" || strings.Contains(list, key) {
			t.Fatalf("keys list said %q", list)
		}
		performs(t, append([]string{"keys", "revoke", m, id}, h.store...)...)
		eventually(t, "the running gateway refuses the revoked key", func() bool { return display.get("/v1/codes").Status == 401 })
		display.get("/v1/codes").refused(401, "unauthorized")
		if out := performs(t, append([]string{"keys", "list", m}, h.store...)...); !strings.Contains(out, "revoked") {
			t.Errorf("keys list said %q", out)
		}
	})
}

func TestDemoTellsProgramsAllTheyNeed(t *testing.T) {
	t.Parallel()
	d := launch(t, hooks{}, "demo", "--json", "--listen", "127.0.0.1:0")
	var facts struct {
		URL        string `json:"url"`
		APIKey     string `json:"api_key"`
		MerchantID string `json:"merchant_id"`
		BankURL    string `json:"bank_url"`
		Codes      []struct{ Token, Kind, Payload string }
		Bills      []struct {
			Token, Kind string
			Linked      *struct{ RequestID string }
		}
		Staff []struct{ Role, User, Password, PIN string }
	}
	line := d.until(`(?s)^(\{.*\}\n)`)[1]
	if strings.Count(line, "\n") != 1 {
		t.Errorf("more than one line: %q", line)
	}
	if err := json.Unmarshal([]byte(line), &facts); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	if len(facts.Codes) != 2 || facts.Codes[0].Kind != "counter" || len(facts.Bills) != 3 || facts.Bills[0].Kind != "bill" || facts.MerchantID == "" {
		t.Errorf("the demo said %s", line)
	}
	till := &client{t: t, base: facts.URL, key: facts.APIKey}
	request := till.attach(facts.Codes[0].Token, 990)
	phone := &client{t: t, base: facts.URL}
	seen := phone.scan(facts.Codes[0].Token, "").is(200)
	seen.says("resolution", "payable", "request.amount", 990, "merchant.test", true)
	phone.press(seen).is(303)
	bank := &client{t: t, base: facts.BankURL}
	bank.call("POST", "/sim/pay", m{"request_id": request}).is(200)
	till.awaitStatus(request, "paid")
	valued := 0
	for _, b := range facts.Bills {
		if phone.scan(b.Token, "").is(200).str("resolution") == "payable" {
			valued++
		}
	}
	if valued != 1 {
		t.Errorf("%d of the three bills can be paid", valued)
	}
	for _, path := range []string{"/demo", "/till/" + facts.Codes[0].Token} {
		if r := phone.get(path, "Accept", "text/html").is(200); !strings.Contains(string(r.Body), "<html") {
			t.Errorf("%s is no page", path)
		}
	}
	for i, role := range linking.Roles {
		if len(facts.Staff) != len(linking.Roles) || facts.Staff[i].Role != string(role) {
			t.Fatalf("the demo's people are %v", facts.Staff)
		}
		v := newVisitor(t, facts.URL)
		v.form("/login", "user", facts.Staff[i].User, "password", facts.Staff[i].Password).is(303)
		v.get("/v1/me").is(200).says("role", string(role), "merchant_id", facts.MerchantID)
	}
	if code := d.stop(); code != done {
		t.Errorf("the demo ended with %d: %s", code, d.notes.String())
	}
}
