package main

import (
	"testing"
	"time"
)

// A till that waits hears within moments, and one that asks after the fact is not kept.
func TestTillsWaitForSalesAndRequests(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till := h.shop.till
	code := till.makeCode("counter")
	id := till.link(code, m{"amount": 1250, "sale": "S-1"}).is(200).says("request.status", "active").str("request.id")

	// waits answers with what path answers once it has waited, and how long after the
	// change that was.
	waits := func(path string, change func()) *reply {
		t.Helper()
		answer := make(chan *reply, 1)
		go func() {
			r, err := till.try("GET", path, nil)
			if err != nil {
				t.Error(err)
			}
			answer <- r
		}()
		select {
		case r := <-answer:
			t.Fatalf("%s did not wait: %s", path, r.Body)
		case <-time.After(300 * time.Millisecond): // that it goes on waiting is what is looked at
		}
		began := time.Now()
		change()
		r := <-answer
		if took := time.Since(began); took > 1500*time.Millisecond { // without a wake it looks again after 2 s
			t.Errorf("%s: the till heard after %s", path, took)
		}
		return r.is(200)
	}
	hold := func() { h.bank.call("POST", "/sim/pay", m{"request_id": id, "hold": true}).is(200) }
	waits("/v1/sales/S-1?wait=25", hold).says("requests.0.status", "processing", "paid", 0, "left", nil)
	waits("/v1/requests/"+id+"?wait=25&after_status=processing", func() { h.bank.pays(id) }).says("status", "paid", "paid_amount", 1250)

	at := func(path string) *reply {
		t.Helper()
		began := time.Now()
		r := till.get(path).is(200)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%s: nothing was left to wait for, and it took %s", path, took)
		}
		return r
	}
	at("/v1/sales/S-1?wait=25").says("paid", 1250, "left", 0, "open", []any{})
	at("/v1/requests/"+id+"?wait=25&after_status=active").says("status", "paid")
	till.get("/v1/sales/S-1?wait=31").refused(422, "invalid_request", "wait out_of_range")
	till.get("/v1/requests/"+id+"?wait=5&after_status=happy").refused(422, "invalid_request", "after_status not_allowed")
	till.get("/v1/sales/S-2?wait=25").refused(404, "not_found")
}

// A caller's own id leads to one request for ever, whatever became of it.
func TestD11AClientIDIsNeverUsedAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{})
	till, other := h.shop.till, h.other.till
	first := till.call("POST", "/v1/requests", m{"amount": 100, "client_id": "inv-1"}).is(201).str("id")
	till.call("POST", "/v1/requests/inv-1/cancel", nil).is(200)
	till.call("POST", "/v1/requests", m{"amount": 100, "client_id": "inv-1"}).refused(422, "invalid_request", "client_id used")
	code := till.makeCode("counter")
	till.link(code, m{"amount": 100, "client_id": "inv-1"}).refused(422, "invalid_request", "request.client_id used")
	till.get("/v1/codes/"+code).is(200).says("linked", nil, "epoch", 0)
	till.call("POST", "/v1/requests/inv-1/renew", nil).is(201)
	till.get("/v1/requests/inv-1").is(200).says("id", first, "status", "cancelled")
	other.get("/v1/requests/inv-1").refused(404, "not_found")
	other.call("POST", "/v1/requests", m{"amount": 100, "client_id": "inv-1"}).is(201)
	h.shut()
	h.open()
	till.call("POST", "/v1/requests", m{"amount": 100, "client_id": "inv-1"}).refused(422, "invalid_request", "client_id used")
	till.get("/v1/requests/inv-1").is(200).says("id", first)
}
