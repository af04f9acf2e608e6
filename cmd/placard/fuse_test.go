package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"placard/linking"
	"placard/linking/storetest"
)

// fuse is a store that goes away in the middle of a call: the first calls are let
// through, then none. With lose, the commit on which it blows is made all the same,
// and its answer lost.
type fuse struct {
	linking.Store
	mu    sync.Mutex
	armed bool
	left  int
	lose  bool
	blown bool
}

func (f *fuse) arm(calls int, lose bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed, f.left, f.lose, f.blown = true, calls, lose, false
}

// mend lets everything through again, and says whether it had blown.
func (f *fuse) mend() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = false
	return f.blown
}

func (f *fuse) pass(commit bool) (ok, lose bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !f.armed:
		return true, false
	case f.left > 0:
		f.left--
		return true, false
	}
	first := !f.blown
	f.blown = true
	return false, f.lose && commit && first
}

var errAway = &linking.Error{Kind: linking.Unavailable, Code: "store_unavailable", Detail: "The store does not answer; nothing was done."}

func (f *fuse) Get(ctx context.Context, keys ...linking.Key) ([]linking.Record, error) {
	if ok, _ := f.pass(false); !ok {
		return nil, errAway
	}
	return f.Store.Get(ctx, keys...)
}

func (f *fuse) Commit(ctx context.Context, c linking.Commit) error {
	ok, lose := f.pass(true)
	switch {
	case ok:
		return f.Store.Commit(ctx, c)
	case lose:
		if err := f.Store.Commit(ctx, c); err != nil {
			return err
		}
		return storetest.ErrReplyLost
	}
	return errAway
}

// TestD5StoreThatGoesAwayInTheMiddle cuts every call that changes something at every
// one of its dealings with the store. Whoever is told that nothing was done finds
// nothing done; whoever is told that it is uncertain asks again with the same key,
// and finds it done once.
func TestD5StoreThatGoesAwayInTheMiddle(t *testing.T) {
	t.Parallel()
	var f *fuse
	h := newHouse(t, houseOptions{hooks: hooks{noSweep: true, store: func(s linking.Store) linking.Store {
		f = &fuse{Store: s}
		return f
	}}})
	till, phone := h.shop.till, h.phone()
	n := 0
	type call struct {
		method, path string
		body         any
	}
	name := func() string { n++; return fmt.Sprint("R", n) }
	for what, prepare := range map[string]func() call{
		"make a code": func() call { return call{"POST", "/v1/codes", m{"kind": "counter", "label": name()}} },
		"change a code": func() call {
			return call{"PATCH", "/v1/codes/" + till.makeCode("counter"), m{"label": name()}}
		},
		"replace a code": func() call {
			return call{"POST", "/v1/codes/" + till.makeCode("counter") + "/replace", nil}
		},
		"attach": func() call {
			return call{"PUT", "/v1/codes/" + till.makeCode("counter") + "/link", m{"request": m{"amount": 100, "reference": name()}}}
		},
		"swap": func() call {
			code := till.makeCode("counter")
			till.attach(code, 100)
			return call{"PUT", "/v1/codes/" + code + "/link", m{"replace": true, "request": m{"amount": 200, "reference": name()}}}
		},
		"detach": func() call {
			code := till.makeCode("counter")
			till.attach(code, 100)
			return call{"DELETE", "/v1/codes/" + code + "/link", nil}
		},
		"make a request": func() call { return call{"POST", "/v1/requests", m{"amount": 100, "reference": name()}} },
		"value": func() call {
			return call{"PATCH", "/v1/requests/" + till.attach(till.makeCode("counter"), 100), m{"amount": 150}}
		},
		"cancel": func() call {
			return call{"POST", "/v1/requests/" + till.attach(till.makeCode("counter"), 100) + "/cancel", nil}
		},
		"press": func() call {
			code := till.makeCode("counter")
			till.attach(code, 100)
			v := phone.get("/q/"+code, "User-Agent", preview).is(200)
			return call{"POST", "/q/" + code + "/pay", m{"s": v.str("s"), "revision": 1}}
		},
	} {
		for _, lose := range []bool{false, true} {
			cuts, uncertain := 0, 0
			for cut := 0; ; cut++ {
				c := prepare()
				who, key := till, fmt.Sprint(what, lose, cut)
				if strings.HasPrefix(c.path, "/q/") {
					who, key = phone, ""
				}
				before := till.lastSeq()
				f.arm(cut, lose)
				r := who.call(c.method, c.path, c.body, "Idempotency-Key", key, "Prefer", "wait=0")
				blown := f.mend()
				changed := slices.ContainsFunc(till.allEvents(before), func(e tillEvent) bool { // of this call: others may still be at work
					return e.Type == "code.made" || e.Code != "" && strings.Contains(c.path, e.Code) ||
						e.Request != nil && (strings.Contains(c.path, e.Request.ID) || e.Request.Reference == fmt.Sprint("R", n))
				})
				where := fmt.Sprintf("%s, cut after %d (lose %v): %d %s", what, cut, lose, r.Status, r.Body)
				switch {
				case r.Status < 400 && !changed:
					t.Errorf("nothing changed: %s", where)
				case r.Status < 400:
				case r.Status == 503 && r.str("code") == "store_unavailable":
					if changed {
						t.Errorf("D12: told that nothing was done, and something was: %s", where)
					}
				case r.Status == 504 && r.str("code") == "uncertain":
					uncertain++
				default:
					t.Errorf("an odd answer: %s", where)
				}
				if !blown {
					break
				}
				cuts++
				// The till asks again with the same key. What was begun is still under
				// way for a while, as far as anybody can know.
				if key == "" {
					continue
				}
				again := who.call(c.method, c.path, c.body, "Idempotency-Key", key, "Prefer", "wait=0")
				if again.Status >= 300 && again.str("code") != "idempotency_in_progress" {
					t.Errorf("asked again, after %s: %d %s", where, again.Status, again.Body)
				}
				if third := who.call(c.method, c.path, c.body, "Idempotency-Key", key, "Prefer", "wait=0"); again.Status < 300 && string(third.Body) != string(again.Body) {
					t.Errorf("D9: two answers to one call, after %s:\n%s\n%s", where, again.Body, third.Body)
				}
			}
			if cuts < 2 || lose && uncertain == 0 {
				t.Errorf("%s was cut %d times, of which %d were uncertain", what, cuts, uncertain)
			}
		}
	}
	count := map[string]int{}
	for _, r := range till.pages("/v1/requests") {
		count[r["reference"].(string)]++
	}
	for _, c := range till.pages("/v1/codes") {
		count[c["label"].(string)]++
	}
	for i := range n {
		if k := count[fmt.Sprint("R", i+1)]; k > 1 {
			t.Errorf("D9: R%d was made %d times", i+1, k)
		}
	}
	till.allEvents(0) // without a gap
}

// TestD5AnswersThatAreLost: a store that makes every commit and loses every second
// answer is only slow.
func TestD5AnswersThatAreLost(t *testing.T) {
	t.Parallel()
	var flaky *storetest.Flaky
	h := newHouse(t, houseOptions{bare: true, hooks: hooks{store: func(s linking.Store) linking.Store {
		flaky = &storetest.Flaky{Store: s, LoseReplyEvery: 2}
		return flaky
	}}})
	till, phone := h.shop.till, h.phone()
	for i := range 5 {
		code := till.makeCode("counter")
		request := till.attach(code, 100+i)
		till.call("PATCH", "/v1/requests/"+request, m{"amount": 200 + i}).is(200).says("revision", 2)
		phone.press(phone.scan(code, "").is(200)).is(303)
		h.bank.pays(request)
		till.awaitStatus(request, "paid").says("paid_amount", 200+i)
	}
	if flaky.Lost() < 20 {
		t.Errorf("only %d answers were lost", flaky.Lost())
	}
	made := map[string]int{}
	for _, e := range till.allEvents(0) {
		made[e.Type]++
	}
	for _, one := range []string{"code.made", "request.created", "code.attached", "request.paying", "request.paid", "code.detached"} {
		if made[one] != 5 {
			t.Errorf("%d events %s for 5 sales", made[one], one)
		}
	}
}
