package main

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"placard/linking/storetest"
)

// overGateways runs a test over bolt, over Redis, and with two gateways over one
// Redis; other is a gateway that is not the one the tills call, if there is one.
func overGateways(t *testing.T, f func(t *testing.T, h *house, other *client)) {
	for _, c := range []struct {
		name     string
		redis    bool
		gateways int
	}{{"bolt", false, 1}, {"redis", true, 1}, {"two gateways", true, 2}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := houseOptions{bare: true, gateways: c.gateways}
			if c.redis {
				o.redis = storetest.NewRedis(t, storetest.Durable()...)
			}
			h := newHouse(t, o)
			h.point(0)
			other := *h.shop.till
			other.base = h.addresses[len(h.addresses)-1]
			f(t, h, &other)
		})
	}
}

// atOnce runs f n times, all at the same moment as far as that can be had.
func atOnce(n int, f func(i int)) {
	var ready, all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		ready.Add(1)
		all.Go(func() {
			ready.Done()
			<-start
			f(i)
		})
	}
	ready.Wait()
	close(start)
	all.Wait()
}

// TestD1HundredTillsAtOneCode: a hundred tills put a sale of their own on one free
// code at once. One wins; all others are told who holds it.
func TestD1HundredTillsAtOneCode(t *testing.T) {
	t.Parallel()
	const tills = 100
	overGateways(t, func(t *testing.T, h *house, other *client) {
		till := h.shop.till
		code := till.makeCode("counter")
		for round := range proving(15, 300) {
			answers := make([]*reply, tills)
			atOnce(tills, func(i int) {
				who := till
				if i%2 == 1 {
					who = other
				}
				r, err := who.try("PUT", "/v1/codes/"+code+"/link", m{"request": m{"amount": 100 + i, "sale": fmt.Sprint("sale ", round, " ", i), "reference": fmt.Sprint(round)}}, "Prefer", "wait=30")
				if err != nil {
					t.Error(err)
					return
				}
				answers[i] = r
			})
			if t.Failed() {
				return
			}
			won := slices.IndexFunc(answers, func(r *reply) bool { return r.Status == 200 })
			if won < 0 {
				t.Fatalf("nobody won: %d %s", answers[0].Status, answers[0].Body)
			}
			holder := answers[won].str("request.id")
			for i, r := range answers {
				if i == won {
					continue
				}
				r.refused(409, "code_busy")
				r.says("linked.request_id", holder, "linked.sale", fmt.Sprint("sale ", round, " ", won), "request.id", holder)
			}
			for _, who := range []*client{till, other} { // D2: also through the gateway that did not do it
				who.scan(code, "").is(200).says("resolution", "payable", "request.amount", 100+won)
				who.get("/v1/codes/"+code+"/link").is(200).says("request.id", holder, "code.epoch", 2*round+1)
			}
			if n := len(till.pages("/v1/requests?reference=" + fmt.Sprint(round))); n != 1 {
				t.Errorf("%d requests were made in round %d", n, round)
			}
			other.call("DELETE", "/v1/codes/"+code+"/link?cancel=true&request_id="+holder, nil, "Prefer", "wait=30").is(200)
			for _, who := range []*client{till, other} {
				who.scan(code, "").is(200).says("resolution", "waiting")
			}
		}
		till.allEvents(0)
	})
}

// TestD2SwapStorm: tills swap a code's request for the next, each deciding on the
// epoch it saw. Whoever scans meanwhile, at any gateway, sees one of the requests:
// never none, never an amount that is not that request's, never an older one than the
// last that had been answered when the scan began.
func TestD2SwapStorm(t *testing.T) {
	t.Parallel()
	overGateways(t, func(t *testing.T, h *house, other *client) {
		till := h.shop.till
		code := till.makeCode("counter")
		till.link(code, m{"amount": 1}, "Prefer", "wait=30").is(200)
		var answered atomic.Int64 // the newest epoch that was answered to anybody
		answered.Store(1)
		const swappers, scanners = 4, 4
		swaps := int64(proving(60, 5000))
		var amounts sync.Map // epoch → amount
		amounts.Store(int64(1), int64(1))
		var lost, looks, payable atomic.Int64
		var done atomic.Bool
		var all, watching sync.WaitGroup
		for i := range swappers {
			who := till
			if i%2 == 1 {
				who = other
			}
			all.Go(func() {
				for answered.Load() < swaps && !t.Failed() {
					at := answered.Load()
					amount := at + 1
					wait := "wait=0"
					if at%4 == 0 {
						wait = "wait=30"
					}
					r, err := who.try("PUT", "/v1/codes/"+code+"/link", m{"request": m{"amount": amount}}, "If-Match", fmt.Sprintf(`"%d"`, at), "Prefer", wait)
					switch {
					case err != nil:
						t.Error(err)
					case r.Status == http.StatusPreconditionFailed:
						lost.Add(1)
						if n := r.num("epoch"); n <= at {
							t.Errorf("412 on epoch %d names %d: %s", at, n, r.Body)
						}
					case r.Status >= 300:
						t.Errorf("swap at epoch %d: %d %s", at, r.Status, r.Body)
					default:
						if e := r.num("code.epoch"); e < at+1 {
							t.Errorf("swapped at %d, and the code is at %d", at, e)
						}
						amounts.Store(at+1, amount)
						for was := answered.Load(); was < at+1 && !answered.CompareAndSwap(was, at+1); was = answered.Load() {
						}
					}
				}
			})
		}
		for i := range scanners {
			who := till
			if i%2 == 0 {
				who = other
			}
			watching.Go(func() {
				for !done.Load() && !t.Failed() {
					floor := answered.Load()
					r, err := who.try("GET", "/q/"+code, nil, "User-Agent", preview)
					if err != nil || r.Status != 200 {
						t.Errorf("a scan answered %v, %v", r, err)
						return
					}
					looks.Add(1)
					epoch := r.num("epoch")
					if epoch < floor {
						t.Errorf("D2: a scan sees epoch %d after %d was answered", epoch, floor)
					}
					switch r.str("resolution") {
					case "updating":
					case "payable":
						payable.Add(1)
						// Every swap made the request of an epoch ask for as many cents.
						if n := r.num("request.amount"); n != epoch {
							t.Errorf("D3: at epoch %d a scan sees %d cents", epoch, n)
						}
					default:
						t.Errorf("D1: in the middle of swaps a scan sees %s", r.Body)
					}
				}
			})
		}
		all.Wait()
		done.Store(true)
		watching.Wait()
		if t.Failed() {
			return
		}
		if lost.Load() == 0 || looks.Load() < 100 || payable.Load() == 0 {
			t.Errorf("%d swaps lost, %d scans, %d of them payable: nothing was put to the test", lost.Load(), looks.Load(), payable.Load())
		}
		open := 0
		for _, r := range till.pages("/v1/requests") {
			if s := r["status"]; s == "active" || s == "preparing" {
				open++
			}
		}
		if open != 1 {
			t.Errorf("D1: %d requests are open on one code after all swaps", open)
		}
		won := 0
		for _, e := range till.allEvents(0) {
			if e.Type == "code.attached" {
				if won++; int64(e.Epoch) != int64(won) || e.Request.Amount != int64(won) {
					t.Errorf("attach %d was of %d cents at epoch %d", won, e.Request.Amount, e.Epoch)
				}
			}
		}
		t.Logf("%d swaps won, %d lost, %d scans, %d of them payable", won-1, lost.Load(), looks.Load(), payable.Load())
	})
}
