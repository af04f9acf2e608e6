package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"testing"
	"time"

	"placard/bankapi"
	"placard/bankapi/relay"
	"placard/linking"
	"placard/linking/storetest"
)

// Money outside the rules, refunds and captures, as a till and an office see them.

// houses opens a house over each store there is.
func houses(t *testing.T, o houseOptions, f func(t *testing.T, h *house)) {
	t.Run("bolt", func(t *testing.T) {
		t.Parallel()
		f(t, newHouse(t, o))
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		shared := o
		shared.redis = storetest.NewRedis(t, storetest.Durable()...)
		f(t, newHouse(t, shared))
	})
}

// refundsAre decides what the bank does with refunds, those under way included.
func (b *bank) refundsAre(outcome string) {
	b.t.Helper()
	b.call("POST", "/sim/refunds", m{"status": outcome}).is(200)
}

// decides accepts or returns an exception.
func (c *client) decides(exception, how string, body any) *reply {
	c.t.Helper()
	return c.call("POST", "/v1/exceptions/"+exception+"/"+how, body, "Prefer", "wait=30")
}

// TestMoneyOutsideTheRulesIsDecided: what a person decides is done, once, and told; until
// then the till takes no other money.
func TestMoneyOutsideTheRulesIsDecided(t *testing.T) {
	houses(t, houseOptions{bare: true}, func(t *testing.T, h *house) {
		till, code := h.shop.till, h.shop.till.makeCode("counter")
		pays := func(cents int) (request, exception string) {
			request = till.attach(code, 1250)
			h.bank.call("POST", "/sim/pay", m{"request_id": request, "amount": cents}).is(200)
			till.awaitStatus(request, "review").says("may_take_other_tender.allowed", false)
			return request, till.exception(request, "wrong_amount")
		}
		less, one := pays(1000)
		till.get("/v1/exceptions?open=true").is(200).says("data.0.id", one, "data.0.request_id", less, "data.0.amount", 1000, "data.0.kind", "wrong_amount", "data.1", nil)
		till.decides(one, "accept", nil).is(200).says("status", "paid", "paid_amount", 1000, "exceptions.0.decision", "accepted")
		till.decides(one, "return", nil).refused(409, "not_allowed_in_status")

		more, two := pays(2000)
		till.decides(two, "return", nil)
		till.awaitStatus(more, "cancelled").says("end_reason", "return", "paid_amount", 0, "exceptions.0.decision", "returned", "refunds.0.amount", 2000, "refunds.0.status", "done", "may_take_other_tender.allowed", true)
		if n := h.bank.calls(more, "refund"); n != 1 {
			t.Errorf("the bank was asked %d times to send it back", n)
		}
		till.get("/v1/exceptions?open=true").is(200).says("data.0", nil)
		for request, kinds := range map[string][]string{
			less: {"request.review", "exception.opened", "request.paid", "exception.decided"},
			more: {"request.review", "exception.opened", "request.closing", "exception.decided", "request.refunded", "request.cancelled"},
		} {
			for _, kind := range kinds {
				if n := till.told(request, kind); n != 1 {
					t.Errorf("%s was told %d times", kind, n)
				}
			}
		}
		till.decides("01", "accept", nil).refused(404, "not_found")
	})
}

// TestMoneyForARequestThatWasLost: the bank has money for a request of ours that the
// store knows nothing of. It is kept, a person says what it was for, and a refund goes by
// what it came for.
func TestMoneyForARequestThatWasLost(t *testing.T) {
	houses(t, houseOptions{bare: true}, func(t *testing.T, h *house) {
		till, code := h.shop.till, h.shop.till.makeCode("counter")
		connection := till.get("/v1/bank-connections/relay").is(200)
		at, err := relay.Rail{}.Open(bankapi.Setup{
			Settings: map[string]string{"url": connection.str("settings.url")},
			Secrets:  map[string]bankapi.Secret{"secret": bankapi.NewSecret(h.bank.secret)},
			Client:   ownClient,
		})
		if err != nil {
			t.Fatal(err)
		}
		// What was asked of the bank before the store went back in time.
		lost := func(n, cents int) linking.RequestID {
			id := linking.RequestID(fmt.Sprintf("%s%024d", string(h.shop.id)[:2], n))
			if _, err := at.Put(t.Context(), linking.Ask{
				BankRef: linking.BankRef{ID: id, Charge: linking.Immediate}, Revision: 1, Money: linking.Money{Amount: linking.Amount(cents), Currency: "EUR"},
				ExpiresAt: time.Now().Add(time.Hour).Truncate(time.Second), TimeLeft: time.Hour, Reference: "R-1", CallbackURL: connection.str("callback_url"),
			}); err != nil {
				t.Fatal(err)
			}
			h.bank.pays(string(id))
			return id
		}
		first := lost(1, 1250)
		var unknown string
		eventually(t, "the exception", func() bool {
			unknown = till.get("/v1/exceptions?open=true").is(200).str("data.0.id")
			return unknown != ""
		})
		till.get("/v1/exceptions").says("data.0.kind", "unknown", "data.0.amount", 1250, "data.0.request_id", string(first))

		open := till.call("POST", "/v1/requests", m{"amount": 1250, "sale": "cart", "client_id": "order-7"}, "Prefer", "wait=30").is(201).str("id")
		till.decides(unknown, "accept", m{"request_id": open}).refused(409, "not_allowed_in_status")
		till.decides(unknown, "accept", m{"request_id": "nothing"}).refused(422, "invalid_request", "request_id unknown")
		till.decides(unknown, "accept", m{"request": open}).refused(422, "invalid_request", "request unknown_field")
		till.call("POST", "/v1/requests/"+open+"/cancel", nil, "Prefer", "wait=30").is(200).says("status", "cancelled")
		till.decides(unknown, "accept", m{"request_id": "order-7"}).is(200).says("id", open, "status", "paid", "paid_amount", 1250, "payments.0.amount", 1250)
		till.get("/v1/requests/"+string(first)).says("status", "cancelled", "paid_amount", 0)
		till.get("/v1/sales/cart").says("paid", 1250)
		till.get("/v1/exceptions?open=true").says("data.0", nil)
		till.decides(unknown, "accept", m{"request_id": "order-7"}).refused(409, "not_allowed_in_status")
		if n := till.told(open, "request.paid"); n != 1 {
			t.Errorf("told %d times that it was paid", n)
		}
		till.call("POST", "/v1/requests/"+open+"/refunds", m{"amount": 1251}).refused(422, "invalid_request", "amount more_than_left")
		till.call("POST", "/v1/requests/"+open+"/refunds", m{"amount": 250}, "Prefer", "wait=30").is(201).says("status", "done")
		h.bank.get("/sim/requests/"+string(first)).says("refunds.0.amount", 250, "refunds.0.status", "done", "refunds.1", nil)

		// Money of another kind is the bank's to attribute, and a paid request takes no more.
		other := till.attach(code, 700)
		h.bank.call("POST", "/sim/pay", m{"request_id": other, "amount": 600}).is(200)
		wrong := till.exception(other, "wrong_amount")
		till.decides(wrong, "accept", m{"request_id": open}).refused(422, "invalid_request", "request_id not_allowed")
		lost(2, 900)
		eventually(t, "the next exception", func() bool {
			unknown = ""
			for _, e := range till.pages("/v1/exceptions?open=true") {
				if e["kind"] == "unknown" {
					unknown = e["id"].(string)
				}
			}
			return unknown != ""
		})
		till.decides(unknown, "accept", m{"request_id": open}).refused(409, "already_paid")
		till.decides(unknown, "return", nil)
		eventually(t, "the money to go back", func() bool {
			return h.bank.get("/sim/requests/"+fmt.Sprintf("%s%024d", string(h.shop.id)[:2], 2)).str("refunds.0.status") == "done"
		})
	})
}

// TestLateMoneyGoesByTheMerchantsRule: held for a person, accepted, or sent back.
func TestLateMoneyGoesByTheMerchantsRule(t *testing.T) {
	for rule, want := range map[linking.LateRule]struct {
		status, decision string
		paid, back       int
		tender           bool
	}{
		"":                 {"expired", "<nil>", 0, 0, false},
		linking.LateHold:   {"expired", "<nil>", 0, 0, false},
		linking.LateAccept: {"paid", "accepted", 1250, 0, false},
		linking.LateReturn: {"expired", "returned", 0, 1250, true},
	} {
		t.Run("rule "+string(rule), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, houseOptions{bare: true, office: func(svc *linking.Service, shop linking.MerchantID) {
				if _, err := svc.ChangeMerchant(context.Background(), shop, func(m *linking.Merchant) error { m.Late = rule; return nil }); err != nil {
					t.Error(err)
				}
			}})
			till, code := h.shop.till, h.shop.till.makeCode("counter")
			id := till.link(code, m{"amount": 1250, "expires_in": 2}).is(200).str("request.id")
			till.awaitStatus(id, "expired").says("may_take_other_tender.allowed", true)
			h.bank.forces(id, 1250)
			exception := ""
			eventually(t, "the money", func() bool {
				r := till.get("/v1/requests/" + id)
				exception = r.str("exceptions.0.id")
				return exception != "" && (want.back == 0 || r.str("refunds.0.status") == "done")
			})
			r := till.get("/v1/requests/"+id).says("status", want.status, "paid_amount", want.paid, "exceptions.0.kind", "late", "exceptions.0.decision", want.decision,
				"may_take_other_tender.allowed", want.tender)
			if want.decision != "<nil>" {
				r.says("exceptions.0.decided_by", "rule")
			}
			late := 0
			for _, e := range till.allEvents(0) {
				if e.Type == "request.paid" && e.Late {
					late++
				}
			}
			if late != want.paid/1250 {
				t.Errorf("told %d times that it was paid late", late)
			}
			h.bank.get("/sim/requests/"+id).says("refunds.0.amount", map[int]any{0: nil, 1250: 1250}[want.back])
		})
	}
}

// TestRefunds: in part and in full, never more than was paid, each at the bank once; one
// that fails is told, and its money can be sent back again.
func TestRefunds(t *testing.T) {
	houses(t, houseOptions{bare: true}, func(t *testing.T, h *house) {
		till, code := h.shop.till, h.shop.till.makeCode("counter")
		id := till.attach(code, 1250)
		refund := func(body m, header ...string) *reply {
			return till.call("POST", "/v1/requests/"+id+"/refunds", body, append(header, "Prefer", "wait=30")...)
		}
		refund(m{"amount": 100}).refused(409, "not_allowed_in_status")
		h.bank.pays(id)
		till.awaitStatus(id, "paid")
		for _, amount := range []int{0, -1, 1251} {
			if r := refund(m{"amount": amount}); r.Status != 422 {
				t.Errorf("a refund of %d is answered %d: %s", amount, r.Status, r.Body)
			}
		}
		refund(m{"amount": 100, "payment_id": "another"}).refused(422, "invalid_request", "payment_id unknown")
		h.bank.refundsAre("pending")
		first := till.call("POST", "/v1/requests/"+id+"/refunds", m{"amount": 1000, "reason": "broken"}, "Idempotency-Key", "r-1", "Prefer", "wait=0").is(202).says("status", "pending", "amount", 1000).str("id")
		till.call("POST", "/v1/requests/"+id+"/refunds", m{"amount": 1000, "reason": "broken"}, "Idempotency-Key", "r-1", "Prefer", "wait=0").says("id", first)
		refund(m{"amount": 251}).refused(422, "invalid_request", "amount more_than_left") // what is under way counts
		h.bank.refundsAre("failed")
		eventually(t, "the failure", func() bool { return till.told(id, "refund.failed") == 1 })
		till.get("/v1/requests/"+id).says("status", "paid", "refunded_amount", 0, "refunds.0.id", first, "refunds.0.status", "failed")
		h.bank.refundsAre("done")
		refund(m{"amount": 1000}).is(201).says("status", "done")
		refund(m{}).is(201).says("amount", 250, "status", "done") // all that is left
		refund(m{}).refused(422, "invalid_request", "amount more_than_left")
		till.get("/v1/requests/"+id).says("status", "paid", "refunded_amount", 1250)
		if n := till.told(id, "request.refunded"); n != 2 {
			t.Errorf("told %d times of 2 refunds", n)
		}
		var at struct {
			Refunds []struct {
				Amount int
				Status string
			}
		}
		h.bank.get("/sim/requests/" + id).is(200).read(&at)
		back := 0
		for _, r := range at.Refunds {
			if r.Status == "done" {
				back += r.Amount
			}
		}
		if back != 1250 || len(at.Refunds) != 3 {
			t.Errorf("the bank has %+v", at.Refunds)
		}

		// What was to be returned and was not is a person's to decide again.
		second := till.attach(code, 500)
		h.bank.refundsAre("failed")
		h.bank.call("POST", "/sim/pay", m{"request_id": second, "amount": 400}).is(200)
		exception := till.exception(second, "wrong_amount")
		till.decides(exception, "return", nil)
		eventually(t, "the exception to be open again", func() bool { return till.told(second, "exception.opened") == 2 })
		till.get("/v1/requests/"+second).says("exceptions.0.decision", nil, "may_take_other_tender.allowed", false)
		h.bank.refundsAre("done")
		till.decides(exception, "return", nil)
		till.awaitStatus(second, "cancelled").says("may_take_other_tender.allowed", true)
	})
}

// TestCapture: money that is authorised is taken when the merchant says so, once, though
// the bank's answer is lost; or it is let go.
func TestCapture(t *testing.T) {
	houses(t, houseOptions{bare: true}, func(t *testing.T, h *house) {
		till, code := h.shop.till, h.shop.till.makeCode("counter")
		authorised := func() string {
			id := till.link(code, m{"amount": 1250, "capture": "manual"}, "Prefer", "wait=30").is(200).says("request.status", "active").str("request.id")
			till.call("POST", "/v1/requests/"+id+"/capture", nil).refused(409, "not_allowed_in_status")
			h.bank.pays(id)
			till.awaitStatus(id, "processing").says("bank.state", "authorised", "paid_amount", 0, "may_take_other_tender.allowed", false)
			return id
		}
		id := authorised()
		h.bank.call("POST", "/sim/faults", m{"route": "capture", "kind": "drop_after_commit", "count": 1}).is(200)
		till.call("POST", "/v1/requests/"+id+"/capture", nil, "Prefer", "wait=1")
		till.awaitStatus(id, "paid").says("paid_amount", 1250)
		till.call("POST", "/v1/requests/"+id+"/capture", nil).is(200).says("status", "paid")
		h.bank.get("/sim/requests/"+id).says("payments.0.amount", 1250, "payments.1", nil)
		if n := h.bank.calls(id, "capture"); n != 1 {
			t.Errorf("%d captures: one was done, and asking would have shown it", n)
		}

		let := authorised()
		till.call("POST", "/v1/requests/"+let+"/cancel", nil, "Prefer", "wait=30")
		till.awaitStatus(let, "cancelled").says("may_take_other_tender.allowed", true, "paid_amount", 0)
		h.bank.get("/sim/requests/"+let).says("status", "closed", "payments.0", nil)
		till.call("POST", "/v1/requests/"+let+"/capture", nil).refused(409, "not_allowed_in_status")
	})
}

// ownClient gives a rail opened by hand a client of its own.
func ownClient(c *tls.Config) *http.Client { return bankapi.NewClient(bankapi.Limits{}, c) }
