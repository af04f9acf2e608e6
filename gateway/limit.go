package gateway

import (
	"math"
	"net/netip"
	"sync"
	"time"
)

// limiter lets each caller do something so many times a minute, and some more at
// once after a pause. It is the generic cell rate algorithm: per caller it keeps
// one instant, until which the allowance is spent.
//
// It counts in this process alone, and forgets callers when there are too many of
// them, the longest unseen first: it slows guessers down, it is no accounting.
type limiter struct {
	interval time.Duration // one allowance comes back after this long
	burst    time.Duration // how far ahead of the clock the spent instant may be
	capacity int           // callers per generation

	mu sync.Mutex
	// Two generations of callers. When the young one is full it becomes the old
	// one, and what was old is forgotten: memory stays bounded without a sweep.
	young, old map[netip.Prefix]time.Time
}

// newLimiter allows burst at once and then perMinute, for at most 2×capacity callers.
func newLimiter(perMinute, burst, capacity int) *limiter {
	interval := time.Minute / time.Duration(perMinute)
	return &limiter{
		interval: interval,
		burst:    time.Duration(burst) * interval,
		capacity: capacity,
		young:    map[netip.Prefix]time.Time{},
	}
}

// take counts one more by caller. If that is too many it is not counted, and
// retry says after how many seconds one is allowed again.
func (l *limiter) take(caller netip.Prefix, now time.Time) (retry int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	spent, over := l.after(caller, now)
	if over > 0 {
		return seconds(over), false
	}
	if _, here := l.young[caller]; !here && len(l.young) >= l.capacity {
		l.old, l.young = l.young, make(map[netip.Prefix]time.Time, l.capacity)
	}
	l.young[caller] = spent
	return 0, true
}

// blocked reports whether take would refuse, and counts nothing.
func (l *limiter) blocked(caller netip.Prefix, now time.Time) (retry int, blocked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, over := l.after(caller, now); over > 0 {
		return seconds(over), true
	}
	return 0, false
}

// after returns until when the allowance of caller would be spent with one more,
// and by how much that is over. l.mu is held.
func (l *limiter) after(caller netip.Prefix, now time.Time) (spent time.Time, over time.Duration) {
	spent, ok := l.young[caller]
	if !ok {
		spent = l.old[caller]
	}
	if spent.Before(now) {
		spent = now
	}
	spent = spent.Add(l.interval)
	return spent, spent.Sub(now) - l.burst
}

// seconds rounds up: whoever waits that long is let in.
func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
