package simulator

import (
	"container/heap"
	"time"

	"placard/linking"
)

// endings orders open requests by their end.
type endings []*request

func (e endings) Len() int           { return len(e) }
func (e endings) Less(i, j int) bool { return e[i].expiresAt.Before(e[j].expiresAt) }
func (e endings) Swap(i, j int)      { e[i], e[j] = e[j], e[i]; e[i].ends, e[j].ends = i, j }
func (e *endings) Push(x any)        { r := x.(*request); r.ends = len(*e); *e = append(*e, r) }
func (e *endings) Pop() any {
	old := *e
	r := old[len(old)-1]
	r.ends, *e = -1, old[:len(old)-1]
	return r
}

// endsAt puts r where it belongs among those that end by time.
func (l *ledger) endsAt(r *request) {
	if r.ends >= 0 {
		heap.Remove(&l.ending, r.ends)
	}
	if r.status == linking.BankOpen && !r.expiresAt.IsZero() && !r.lingers {
		heap.Push(&l.ending, r)
	}
	l.arm()
}

// tick ends what is past its time. Everything that reads the ledger ticks first.
func (l *ledger) tick() {
	if !l.abilities.EndsItself {
		return
	}
	for now := l.now(); len(l.ending) > 0 && !now.Before(l.ending[0].expiresAt); {
		r := heap.Pop(&l.ending).(*request)
		l.moved(r, linking.BankExpired, "expired")
	}
	l.arm()
}

// arm sets the alarm for the next end, so that the bank tells of it though nobody
// asks.
func (l *ledger) arm() {
	if l.alarm != nil {
		l.alarm.Stop()
	}
	if len(l.ending) == 0 || l.closed || !l.abilities.EndsItself {
		return
	}
	l.alarm = time.AfterFunc(max(l.ending[0].expiresAt.Sub(l.now()), time.Millisecond), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.tick()
	})
}

// advance moves the bank's clock, and ends what that ends.
func (l *ledger) advance(d time.Duration) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.offset += d
	l.tick()
	return l.now()
}

func (l *ledger) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.arm()
}
