package gateway

import (
	"net/netip"
	"sync"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	now := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	caller := func(i int) netip.Prefix {
		return limitPrefix(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	l := newLimiter(30, 60, 100) // one every two seconds, sixty at once
	for i := range 60 {
		if retry, ok := l.take(caller(1), now); !ok {
			t.Fatalf("refused the %d. of 60 (retry %d)", i+1, retry)
		}
	}
	if _, blocked := l.blocked(caller(2), now); blocked {
		t.Error("a caller is blocked for another's sake")
	}
	for range 3 { // a refusal is not counted
		if retry, ok := l.take(caller(1), now); ok || retry != 2 {
			t.Errorf("the 61st: ok %v, retry %d; want 2", ok, retry)
		}
		if retry, blocked := l.blocked(caller(1), now); !blocked || retry != 2 {
			t.Errorf("blocked %v, retry %d", blocked, retry)
		}
	}
	if _, ok := l.take(caller(1), now.Add(2*time.Second)); !ok {
		t.Error("refused after having waited as told")
	}
	if _, ok := l.take(caller(1), now.Add(2*time.Second)); ok {
		t.Error("two for one wait")
	}
	// After a long time: the whole burst again, and no more.
	later := now.Add(time.Hour)
	for i := range 61 {
		if _, ok := l.take(caller(1), later); ok != (i < 60) {
			t.Errorf("the %d. after an hour: %v", i+1, ok)
		}
	}
	// Memory stays bounded, and who was just seen is remembered longest.
	for i := range 10_000 {
		l.take(caller(100+i), later)
	}
	if n := len(l.young) + len(l.old); n > 200 {
		t.Errorf("%d callers kept, at most 200 were meant", n)
	}
	for range 60 {
		l.take(caller(1), later)
	}
	for i := range 99 {
		l.take(caller(50_000+i), later)
	}
	if _, blocked := l.blocked(caller(1), later); !blocked {
		t.Error("a caller at its limit was forgotten though few came after it")
	}
}

func TestLimiterConcurrently(t *testing.T) {
	l := newLimiter(60, 100, 10)
	now := time.Now()
	var allowed sync.Map
	var wait sync.WaitGroup
	for w := range 8 {
		wait.Go(func() {
			for i := range 100 {
				if _, ok := l.take(netip.Prefix{}, now); ok {
					allowed.Store([2]int{w, i}, true)
				}
			}
		})
	}
	wait.Wait()
	n := 0
	allowed.Range(func(any, any) bool { n++; return true })
	if n != 100 {
		t.Errorf("%d allowed of a burst of 100", n)
	}
}
