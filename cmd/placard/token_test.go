package main

import (
	"context"
	"maps"
	"strings"
	"sync"
	"testing"

	"placard/linking"
)

// tally is a store that counts what is read, by kind of record.
type tally struct {
	linking.Store
	mu    sync.Mutex
	trips int
	kinds map[linking.RecordKind]int
}

func (s *tally) Get(ctx context.Context, keys ...linking.Key) ([]linking.Record, error) {
	s.mu.Lock()
	s.trips++
	for _, k := range keys {
		s.kinds[k.Kind]++
	}
	s.mu.Unlock()
	return s.Store.Get(ctx, keys...)
}

// since returns what was read from the last time on.
func (s *tally) since() (trips int, kinds map[linking.RecordKind]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	trips, kinds = s.trips, s.kinds
	s.trips, s.kinds = 0, map[linking.RecordKind]int{}
	return trips, kinds
}

const preview = "WhatsApp/2.23 preview" // looks, and is nobody who opens a bill

// The gateway behind a proxy that tells who calls, so that each guess comes from an
// address of its own.
func countedHouse(t *testing.T) (h *house, counts *tally) {
	h = newHouse(t, houseOptions{
		serve: []string{"--trusted-proxies", "127.0.0.1"},
		hooks: hooks{noSweep: true, store: func(s linking.Store) linking.Store {
			counts = &tally{Store: s, kinds: map[linking.RecordKind]int{}}
			return counts
		}},
	})
	return h, counts
}

// TestD15ScansCostOneTripAndGuessesNone: what a look at a code costs the store.
func TestD15ScansCostOneTripAndGuessesNone(t *testing.T) {
	t.Parallel()
	h, counts := countedHouse(t)
	till, phone := h.shop.till, h.phone()
	code := till.makeCode("counter")
	till.attach(code, 700)

	look := func(token string) *reply {
		t.Helper()
		return phone.get("/q/"+token, "User-Agent", preview)
	}
	counts.since()
	for what, name := range spellings(code) {
		look(name).is(200).says("resolution", "payable", "token", code)
		trips, kinds := counts.since()
		if limit := map[bool]int{true: 2, false: 1}[kinds["g"] > 0]; trips > limit {
			t.Errorf("%s: a scan cost %d trips: %v", what, trips, kinds)
		}
	}
	s := look(code).str("s")
	counts.since()
	phone.get("/q/"+code+"?s="+s, "User-Agent", preview).is(200)
	if trips, kinds := counts.since(); trips != 1 {
		t.Errorf("a page that looks again cost %d trips: %v", trips, kinds)
	}

	// Nobody can have such a token: the store is not asked.
	for _, wrong := range []string{slip(code), code[:19], code + "0", "hello", code[:18] + "ZZ", swapped(code), strings.Repeat("0", 19) + "1", "%00", "é" + code[1:]} {
		r := look(wrong)
		r.refused(404, "not_found")
		r.says("resolution", "unknown")
		if trips, kinds := counts.since(); trips != 0 {
			t.Errorf("%q made %d trips to the store: %v", wrong, trips, kinds)
		}
	}

	// The sum is right, but no key ever made it: the ring is read once, and that is all.
	forged := linking.MakeToken(linking.Token(code).Shard(), linking.Token(code).Ring(), linking.TokenKey{1}, linking.Serial{Batch: 5, No: 7})
	elsewhere := linking.MakeToken(linking.Token(code).Shard()^1, 77, linking.TokenKey{1}, linking.Serial{Batch: 5, No: 7})
	for token, most := range map[linking.Token]int{forged: 0, elsewhere: 1} { // the shop's own ring is known by now
		for n := range 3 {
			look(string(token)).refused(404, "not_found")
			trips, kinds := counts.since()
			if n > 0 {
				most = 0
			}
			if trips > most || !maps.Equal(kinds, map[linking.RecordKind]int{}) && !maps.Equal(kinds, map[linking.RecordKind]int{"g": 1}) {
				t.Errorf("look %d at a forged token made %d trips: %v", n+1, trips, kinds)
			}
		}
	}
}

// swapped has two neighbours of the token's body in the other order.
func swapped(token string) string {
	for i := 4; i < 17; i++ {
		if token[i] != token[i+1] {
			return token[:i] + string(token[i+1]) + string(token[i]) + token[i+2:]
		}
	}
	return slip(token)
}

// TestGuessersAreSlowed: who asks for many codes that do not exist is told to wait,
// by address; a real code is shown to everybody at any time.
func TestGuessersAreSlowed(t *testing.T) {
	t.Parallel()
	h, counts := countedHouse(t)
	code := h.shop.till.makeCode("counter")
	phone := h.phone()
	from := func(address, token string) *reply {
		return phone.get("/q/"+token, "X-Forwarded-For", address, "User-Agent", preview)
	}
	guess := string(linking.MakeToken(3, 3, linking.TokenKey{}, linking.Serial{Batch: 1}))
	found := 0
	for ; found < 100 && from("198.51.100.7", guess).Status == 404; found++ {
	}
	if found < 10 || found > 40 {
		t.Errorf("%d guesses were answered", found)
	}
	r := from("198.51.100.7", guess).refused(429, "rate_limited")
	if r.Header.Get("Retry-After") == "" {
		t.Error("it is not said when to come back")
	}
	counts.since()
	other := string(linking.MakeToken(4, 4, linking.TokenKey{}, linking.Serial{Batch: 1}))
	from("198.51.100.7", other).refused(429, "rate_limited")
	if trips, kinds := counts.since(); trips != 0 {
		t.Errorf("a guesser who is slowed still makes %d trips to the store: %v", trips, kinds)
	}
	from("198.51.100.8", guess).refused(404, "not_found") // somebody else
	from("198.51.100.8", code).is(200)                    // a real code, read into memory by somebody else
	from("198.51.100.7", code).is(200).says("resolution", "waiting")
	from("2001:db8::1", guess).refused(404, "not_found")
	for range 60 {
		from("2001:db8::2", guess) // the same subscriber
	}
	from("2001:db8:0:0:ffff::9", guess).refused(429, "rate_limited")
}
