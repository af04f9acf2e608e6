package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"placard/linking/storetest"
)

// The races between a till, a payer and a bank, each brought about by faults of the
// bank's and not by chance: what has to come first has been seen to happen.

// strikes makes something go wrong at the bank.
func (b *bank) strikes(route, kind string, value int) {
	b.t.Helper()
	b.call("POST", "/sim/faults", m{"route": route, "kind": kind, "value": value}).is(200)
}

// heals ends all that goes wrong at the bank.
func (b *bank) heals() {
	b.t.Helper()
	b.call("DELETE", "/sim/faults", nil).is(200)
}

// forces is money that arrives although a real bank would refuse it.
func (b *bank) forces(request string, cents int) {
	b.t.Helper()
	b.call("POST", "/sim/pay", m{"request_id": request, "amount": cents, "force": true}).is(200)
}

// calls is how often the bank was called about a request on one route.
func (b *bank) calls(request, route string) (n int) {
	b.t.Helper()
	var journal struct{ Data []struct{ Route string } }
	b.get("/sim/calls?request_id=" + request).is(200).read(&journal)
	for _, c := range journal.Data {
		if c.Route == route {
			n++
		}
	}
	return n
}

// told counts what the till was told about a request.
func (c *client) told(request, kind string) (n int) {
	c.t.Helper()
	for _, e := range c.allEvents(0) {
		if e.Type == kind && e.Request != nil && e.Request.ID == request {
			n++
		}
	}
	return n
}

// exception waits for the one open exception of a request, and returns its id.
func (c *client) exception(request, kind string) (id string) {
	c.t.Helper()
	eventually(c.t, "exception "+kind, func() bool {
		r := c.get("/v1/requests/" + request).is(200)
		id = r.str("exceptions.0.id")
		return id != "" && r.str("exceptions.0.kind") == kind
	})
	return id
}

func raceHouse(t *testing.T) *house {
	t.Helper()
	t.Parallel()
	return newHouse(t, houseOptions{bare: true})
}

// TestRace_X1_FirstPayerPaysAfterTheNextSaleIsShown: the money goes to the sale that
// the payer saw, and never to the one the code shows now.
func TestRace_X1_FirstPayerPaysAfterTheNextSaleIsShown(t *testing.T) {
	h := raceHouse(t)
	till, code := h.shop.till, h.shop.till.makeCode("counter")
	first := till.attach(code, 1250)
	seen := h.phone().scan(code, "").says("request.amount", 1250)
	h.phone().press(seen).is(303)
	h.bank.strikes("close", "status", 503) // the first cannot be ended
	second := till.link(code, m{"amount": 700}, "If-Match", `"1"`, "Prefer", "wait=30").is(200).says("request.status", "active").str("request.id")
	h.bank.pays(first)
	h.bank.heals()
	till.awaitStatus(first, "paid").says("paid_amount", 1250)
	till.get("/v1/requests/"+second).says("status", "active", "paid_amount", 0)
	h.phone().scan(code, "").says("resolution", "payable", "request.amount", 700)
	h.phone().scan(code, seen.str("s")).says("resolution", "paid", "request.amount", 1250)
	if n := till.told(second, "request.paid"); n != 0 {
		t.Errorf("the second sale was called paid %d times", n)
	}
}

// TestRace_X2_NextAmountOfASaleWaitsForTheOldOne: while the bank may still take the
// old amount, the new one is not at the bank and nothing is payable.
func TestRace_X2_NextAmountOfASaleWaitsForTheOldOne(t *testing.T) {
	h := raceHouse(t)
	till, code := h.shop.till, h.shop.till.makeCode("counter")
	first := till.link(code, m{"amount": 1250, "sale": "cart"}).is(200).str("request.id")
	till.link(code, m{"amount": 900, "sale": "cart"}).refused(409, "sale_has_open_request")
	h.bank.strikes("close", "status", 503)
	answer := till.call("PUT", "/v1/codes/"+code+"/link", m{"replace": true, "request": m{"amount": 900, "sale": "cart"}}, "Prefer", "wait=1").is(202)
	second := answer.str("request.id")
	h.phone().scan(code, "").says("resolution", "updating", "request", nil)
	if n := h.bank.calls(second, "create"); n != 0 {
		t.Errorf("the new amount went to the bank %d times while the old one could be paid", n)
	}
	h.bank.heals()
	till.awaitStatus(first, "cancelled")
	till.awaitStatus(second, "active")
	h.phone().scan(code, "").says("resolution", "payable", "request.amount", 900)
}

// TestRace_X3_MoneyAfterTheEnd: it is kept as an exception, once, and turns nothing
// into a paid sale by itself.
func TestRace_X3_MoneyAfterTheEnd(t *testing.T) {
	h := raceHouse(t)
	till, code := h.shop.till, h.shop.till.makeCode("counter")
	id := till.attach(code, 1250)
	till.call("POST", "/v1/requests/"+id+"/cancel", nil, "Prefer", "wait=30").is(200).says("status", "cancelled", "may_take_other_tender.allowed", true)
	h.bank.forces(id, 1250)
	exception := till.exception(id, "after_cancel")
	if n := till.told(id, "request.paid"); n != 0 {
		t.Errorf("told %d times that it was paid", n)
	}
	h.phone().scan(code, "").says("resolution", "waiting")
	till.get("/v1/requests/"+id).says("status", "cancelled", "may_take_other_tender.allowed", false)
	till.call("POST", "/v1/exceptions/"+exception+"/accept", nil).is(200).says("status", "paid", "paid_amount", 1250)
	for _, e := range till.allEvents(0) {
		if e.Type == "request.paid" && !e.Late {
			t.Error("money after the end was not called late")
		}
	}
}

// TestRace_X4_TwoPayersOneCode: the bank takes the first; if it took both, the second
// is a duplicate, and nobody is asked to pay again.
func TestRace_X4_TwoPayersOneCode(t *testing.T) {
	h := raceHouse(t)
	till, code := h.shop.till, h.shop.till.makeCode("counter")
	id := till.attach(code, 1250)
	one, two := h.phone().scan(code, ""), h.phone().scan(code, "")
	h.phone().press(one).is(303)
	h.phone().press(two).is(303)
	h.bank.pays(id)
	if r := h.bank.call("POST", "/sim/pay", m{"request_id": id}); r.Status < 400 {
		t.Fatalf("the bank took a second payment: %s", r.Body)
	}
	till.awaitStatus(id, "paid")
	h.phone().scan(code, two.str("s")).says("resolution", "paid")
	h.bank.forces(id, 1250)
	till.exception(id, "duplicate")
	till.get("/v1/requests/"+id).says("status", "paid", "paid_amount", 1250, "exceptions.0.amount", 1250)
	if n := till.told(id, "request.paid"); n != 1 {
		t.Errorf("told %d times that it was paid", n)
	}
}

// TestRace_X5_PaidWhileDetached: a code that no longer shows a request does not make
// that request's money anybody else's.
func TestRace_X5_PaidWhileDetached(t *testing.T) {
	h := raceHouse(t)
	till, code := h.shop.till, h.shop.till.makeCode("counter")
	id := till.call("POST", "/v1/requests", m{"amount": 1250}, "Prefer", "wait=30").is(201).str("id")
	till.call("PUT", "/v1/codes/"+code+"/link", m{"request_id": id}, "Prefer", "wait=30").is(200)
	till.call("DELETE", "/v1/codes/"+code+"/link", nil, "Prefer", "wait=30").is(200).says("code.epoch", 2)
	h.phone().scan(code, "").says("resolution", "waiting")
	next := till.attach(code, 700)
	h.bank.pays(id)
	till.awaitStatus(id, "paid").says("paid_amount", 1250)
	till.get("/v1/requests/"+next).says("status", "active", "paid_amount", 0)
}

// TestRace_X6_D9_TillRepeatsWhatTheBankNeverAnswered: one request at the bank, whatever
// was lost and however often the till asked.
func TestRace_X6_D9_TillRepeatsWhatTheBankNeverAnswered(t *testing.T) {
	h := raceHouse(t)
	till, code := h.shop.till, h.shop.till.makeCode("counter")
	h.bank.call("POST", "/sim/faults", m{"route": "create", "kind": "drop_after_commit", "count": 1}).is(200)
	ids := make([]string, 6)
	for i := range ids {
		r := till.link(code, m{"amount": 1250, "sale": "cart"}, "Idempotency-Key", "cart-1", "Prefer", "wait=30")
		if r.Status != 200 && r.Status != 202 {
			t.Fatalf("answered %d: %s", r.Status, r.Body)
		}
		ids[i] = r.str("request.id")
	}
	if len(slices.Compact(ids)) != 1 {
		t.Fatalf("the repeats made several requests: %v", ids)
	}
	till.awaitStatus(ids[0], "active")
	// What the bank has already, it notes as a change.
	if n := h.bank.calls(ids[0], "create") + h.bank.calls(ids[0], "revise"); n != 1 {
		t.Errorf("it was sent %d times: once it was done, and asking would have shown it", n)
	}
	till.link(code, m{"amount": 1300, "sale": "cart"}, "Idempotency-Key", "cart-1").refused(422, "idempotency_mismatch")
}

// TestRace_X7_TwoTillsOneFreeCode: one wins, and the other is told who.
func TestRace_X7_TwoTillsOneFreeCode(t *testing.T) {
	h := raceHouse(t)
	till, code := h.shop.till, h.shop.till.makeCode("counter")
	for round := range 10 {
		answers := make([]*reply, 2)
		atOnce(2, func(i int) {
			r, err := till.try("PUT", "/v1/codes/"+code+"/link", m{"request": m{"amount": 100 + i, "sale": fmt.Sprint("sale ", round, " ", i)}}, "Prefer", "wait=30")
			if err != nil {
				t.Error(err)
			}
			answers[i] = r
		})
		if t.Failed() {
			return
		}
		slices.SortFunc(answers, func(a, b *reply) int { return a.Status - b.Status })
		won := answers[0].is(200).str("request.id")
		answers[1].refused(409, "code_busy").says("linked.request_id", won)
		till.call("DELETE", "/v1/codes/"+code+"/link?cancel=true&request_id="+won, nil, "Prefer", "wait=30").is(200)
	}
}

// TestRace_X8_CancelAgainstPayment: the bank decides; a payment under way is not
// cancelled, and no other money may be taken meanwhile.
func TestRace_X8_CancelAgainstPayment(t *testing.T) {
	h := raceHouse(t)
	till, code := h.shop.till, h.shop.till.makeCode("counter")
	for _, paid := range []bool{true, false} {
		id := till.attach(code, 1250)
		h.bank.call("POST", "/sim/pay", m{"request_id": id, "hold": true}).is(200)
		till.awaitStatus(id, "processing")
		r := till.call("POST", "/v1/requests/"+id+"/cancel", nil, "Prefer", "wait=1")
		r.says("status", "processing", "in_flight", true, "may_take_other_tender.allowed", false)
		if r.str("may_take_other_tender.why") == "" {
			t.Errorf("the till is not told why: %s", r.Body)
		}
		if paid {
			h.bank.pays(id)
			till.awaitStatus(id, "paid").says("may_take_other_tender.allowed", false)
		} else {
			h.bank.call("POST", "/sim/refuse", m{"request_id": id}).is(200)
			till.awaitStatus(id, "cancelled").says("may_take_other_tender.allowed", true)
			told := false
			for _, e := range till.allEvents(0) {
				if e.Request != nil && e.Request.ID == id && e.Tender != nil {
					told = e.Tender.Allowed
				}
			}
			if !told {
				t.Error("no event says that other money may be taken now")
			}
		}
	}
}

// TestRace_X9_D3_AmountChangesWhileTheOldOneIsPaid: money for the old amount is never
// called payment of the new one.
func TestRace_X9_D3_AmountChangesWhileTheOldOneIsPaid(t *testing.T) {
	h := raceHouse(t)
	till, code := h.shop.till, h.shop.till.makeCode("counter")
	id := till.attach(code, 1250)
	seen := h.phone().scan(code, "")
	h.bank.strikes("revise", "status", 503)
	till.call("PATCH", "/v1/requests/"+id, m{"amount": 1300}, "Prefer", "wait=1").is(202).says("status", "preparing", "may_take_other_tender.allowed", false)
	h.phone().scan(code, "").says("resolution", "updating", "request", nil)
	if r := h.phone().press(seen); r.Status != 409 {
		t.Errorf("a click on the old amount answered %d", r.Status)
	}
	h.bank.pays(id)
	till.awaitStatus(id, "review").says("exceptions.0.kind", "wrong_amount", "exceptions.0.amount", 1250, "amount", 1300)
	h.bank.heals()
	if n := till.told(id, "request.paid"); n != 0 {
		t.Errorf("told %d times that it was paid", n)
	}
	h.phone().scan(code, "").says("resolution", "busy", "request", nil)
}

// TestRace_X10_OneRefundForEachCause: two people return one duplicate at once and the
// bank's answer is lost; what was paid twice goes back once.
func TestRace_X10_OneRefundForEachCause(t *testing.T) {
	h := raceHouse(t)
	till, code := h.shop.till, h.shop.till.makeCode("counter")
	id := till.attach(code, 1250)
	h.bank.call("POST", "/sim/pay", m{"request_id": id, "times": 2}).is(200)
	till.awaitStatus(id, "paid")
	exception := till.exception(id, "duplicate")
	h.bank.call("POST", "/sim/faults", m{"route": "refund", "kind": "drop_after_commit", "count": 1}).is(200)
	atOnce(4, func(int) {
		r, err := till.try("POST", "/v1/exceptions/"+exception+"/return", nil)
		if err != nil || r.Status >= 500 {
			t.Errorf("return answered %v, %v", r, err)
		}
	})
	eventually(t, "the refund", func() bool { return till.get("/v1/requests/"+id).str("refunds.0.status") == "done" })
	var at struct{ Refunds []struct{ Amount int64 } }
	h.bank.get("/sim/requests/" + id).is(200).read(&at)
	if len(at.Refunds) != 1 || at.Refunds[0].Amount != 1250 {
		t.Errorf("the bank refunded %v", at.Refunds)
	}
	till.call("POST", "/v1/requests/"+id+"/refunds", m{"amount": 1251}).is(422)
}

// TestRace_X11_D7_PaidBeforeTheBankHasAnswered: the bank has the request and takes the
// money while we do not know yet that it has it.
func TestRace_X11_D7_PaidBeforeTheBankHasAnswered(t *testing.T) {
	h := raceHouse(t)
	till, code := h.shop.till, h.shop.till.makeCode("counter")
	h.bank.strikes("create", "drop_after_commit", 0)
	h.bank.strikes("get", "status", 503)
	id := till.link(code, m{"amount": 1250}, "Prefer", "wait=1").is(202).str("request.id")
	eventually(t, "the bank to have it", func() bool { return h.bank.get("/sim/requests/"+id).Status == 200 })
	h.bank.pays(id)
	till.get("/v1/requests/"+id).says("status", "preparing", "paid_amount", 0) // D7: nobody could be asked
	h.bank.heals()
	till.awaitStatus(id, "paid").says("paid_amount", 1250)
	if n := till.told(id, "request.paid"); n != 1 {
		t.Errorf("told %d times that it was paid", n)
	}
}

// TestRace_X12_D6_CallbacksManyTimesAndInAnyOrder: as many settlements as payments,
// whatever the bank tells how often.
func TestRace_X12_D6_CallbacksManyTimesAndInAnyOrder(t *testing.T) {
	for _, mode := range []m{{"mode": "duplicate", "value": 5}, {"mode": "reorder", "value": 50}, {"mode": "lost"}} {
		t.Run(fmt.Sprint(mode["mode"]), func(t *testing.T) {
			h := raceHouse(t)
			till := h.shop.till
			h.bank.call("POST", "/sim/callbacks", mode).is(200)
			var ids []string
			for i := range 6 {
				ids = append(ids, till.attach(till.makeCode("counter"), 100+i))
			}
			for i, id := range ids {
				h.bank.call("POST", "/sim/pay", m{"request_id": id, "times": 1 + i%2}).is(200)
			}
			for i, id := range ids {
				till.awaitStatus(id, "paid")
				if i%2 == 1 {
					till.exception(id, "duplicate")
				}
			}
			for i, id := range ids {
				r := till.get("/v1/requests/"+id).says("paid_amount", 100+i)
				if n := strings.Count(string(r.Body), `"paid_at":"`) - 1; n != 1+i%2 {
					t.Errorf("%d payments of %d are recorded: %s", n, 1+i%2, r.Body)
				}
				if n := till.told(id, "request.paid"); n != 1 {
					t.Errorf("told %d times that it was paid", n)
				}
			}
			if n := len(till.pages("/v1/exceptions")); n != 3 {
				t.Errorf("%d exceptions of 3 second payments", n)
			}
		})
	}
}

// TestRace_X13_TwoGatewaysHearOfOnePayment: one applies it.
func TestRace_X13_TwoGatewaysHearOfOnePayment(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true, gateways: 2, redis: storetest.NewRedis(t, storetest.Durable()...)})
	h.bank.call("POST", "/sim/callbacks", m{"mode": "duplicate", "value": 4}).is(200)
	var ids []string
	for i := range 10 {
		h.point(i % 2) // a callback goes to the gateway that made the request
		ids = append(ids, h.shop.till.attach(h.shop.till.makeCode("counter"), 100+i))
	}
	atOnce(len(ids), func(i int) {
		if r, err := h.bank.try("POST", "/sim/pay", m{"request_id": ids[i]}); err != nil || r.Status != 200 {
			t.Errorf("paying: %v, %v", r, err)
		}
	})
	for i, id := range ids {
		h.point(i % 2)
		h.shop.till.awaitStatus(id, "paid").says("paid_amount", 100+i)
		if n := h.shop.till.told(id, "request.paid"); n != 1 {
			t.Errorf("told %d times that it was paid", n)
		}
	}
	if n := len(h.shop.till.pages("/v1/exceptions")); n != 0 {
		t.Errorf("%d exceptions", n)
	}
}

// TestRace_X14_D4_BillPaidAtTheCounterAndByCode: what came first stands; what comes by
// the code later is kept for a person to decide.
func TestRace_X14_D4_BillPaidAtTheCounterAndByCode(t *testing.T) {
	h := raceHouse(t)
	till, code := h.shop.till, h.shop.till.makeCode("bill")
	id := till.attach(code, 4200)
	seen := h.phone().scan(code, "").says("resolution", "payable")
	till.call("POST", "/v1/requests/"+id+"/cancel", m{"reason": "paid_otherwise"}, "Prefer", "wait=30").is(200).says("status", "cancelled", "end_reason", "paid_otherwise")
	h.phone().scan(code, "").says("resolution", "settled")
	if r := h.phone().press(seen); r.Status != 409 {
		t.Errorf("a click on a bill that was paid answered %d", r.Status)
	}
	h.bank.forces(id, 4200)
	till.exception(id, "after_cancel")
	h.phone().scan(code, "").says("resolution", "settled")
}
