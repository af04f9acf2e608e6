package bankapi

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"placard/linking"
)

// bulkhead keeps one ill bank from taking every goroutine and socket: so many
// calls at a time, so many waiting, none of them for long.
type bulkhead struct {
	slots   chan struct{}
	waiting atomic.Int64
	limits  Limits
}

func newBulkhead(l Limits) *bulkhead {
	return &bulkhead{slots: make(chan struct{}, l.InFlight), limits: l}
}

// enter waits for a place, in order of arrival. leave gives it back and must be
// called once.
func (h *bulkhead) enter(ctx context.Context) (leave func(), _ *linking.BankError) {
	leave = func() { <-h.slots }
	select {
	case h.slots <- struct{}{}:
		return leave, nil
	default:
	}
	if h.waiting.Add(1) > int64(h.limits.Queue) {
		h.waiting.Add(-1)
		return nil, notSent("bank_busy", "Too many calls to this bank wait already.", time.Second)
	}
	defer h.waiting.Add(-1)
	patience := time.NewTimer(h.limits.QueueWait)
	defer patience.Stop()
	select {
	case h.slots <- struct{}{}:
		return leave, nil
	case <-patience.C:
	case <-ctx.Done():
	}
	return nil, notSent("bank_busy", "Too many calls to this bank are under way.", time.Second)
}

// budget allows retries only as a share of what is asked anyway, so that a bank
// in trouble does not get a multiple of its usual calls.
type budget struct {
	mu     sync.Mutex
	share  float64
	tokens float64
}

// budgetMost bounds what a quiet time saves up for a burst of retries.
const budgetMost = 10

// newBudget starts with one retry, so that a shop's first call has it.
func newBudget(share float64) *budget { return &budget{share: share, tokens: 1} }

func (b *budget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.tokens+b.share, budgetMost)
}

func (b *budget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	// Ten tenths are a little less than one.
	if b.tokens < 1-1e-9 {
		return false
	}
	b.tokens--
	return true
}
