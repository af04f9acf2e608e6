package bankapi

import (
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"placard/linking"
)

// Class is a kind of operation that fails by itself: each has its own breaker.
type Class string

const (
	ClassToken  Class = "token"  // fetching an access token
	ClassCreate Class = "create" // making a request or a link
	ClassMutate Class = "mutate" // revising, closing, capturing, refunding
	ClassRead   Class = "read"   // asking
)

// Classes lists every class.
var Classes = []Class{ClassToken, ClassCreate, ClassMutate, ClassRead}

// breaker is gobreaker's, with an open time that grows and varies, and with the
// pause a bank may ask for.
//
// gobreaker's own open time is fixed and its state change is told under its lock,
// where nothing but a send to a channel is safe. So its open time is the shortest
// one, changes are collected from the channel after each call, and until openUntil
// nobody gets as far as asking it.
type breaker struct {
	class   Class
	limits  Limits
	circuit *gobreaker.TwoStepCircuitBreaker[struct{}]
	moved   chan gobreaker.State
	changed func(s BreakerState) // called with mu held

	mu          sync.Mutex
	state       gobreaker.State
	since       time.Time
	openUntil   time.Time
	pausedUntil time.Time
	openings    int // in a row, without a lasting recovery between them
	closedAt    time.Time
	opened      uint64
	refused     uint64
	denied      bool
	code        string // of the last failure
	outcomes    map[string]uint64

	// row counts failures one after another. gobreaker's own count of them shrinks
	// as its window moves on, so that a bank that lets every call run out of time
	// would never be left alone. It is read under gobreaker's lock.
	row    atomic.Int32
	failed time.Time // the last of the row
}

// rowLasts is how long ago a failure may be and still be one of a row.
const rowLasts = 5 * time.Minute

// BreakerState is what one breaker of one connection shows.
type BreakerState struct {
	Connection linking.ConnectionID
	Rail       string
	Class      Class
	State      string    // "closed", "open" or "half-open"
	Since      time.Time // when it got there
	Until      time.Time // open: not before then is the bank tried again
	Paused     time.Time // the bank asked not to be called before then; zero: it did not
	Opened     uint64    // times it opened
	Refused    uint64    // calls refused here, by the breaker or a pause
	Denied     bool      // the bank refuses the connection's credentials
	Code       string    // of the last failure, for people

	// Outcomes counts the calls that were made, by how they ended: "ok", "slow", "given_up"
	// by our own caller, or the class of the error.
	Outcomes map[string]uint64
}

func newBreaker(class Class, l Limits, changed func(s BreakerState)) *breaker {
	b := &breaker{class: class, limits: l, moved: make(chan gobreaker.State, 64), changed: changed, since: time.Now(), outcomes: map[string]uint64{}}
	b.circuit = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         string(class),
		MaxRequests:  1,
		Interval:     l.Window,
		BucketPeriod: l.Bucket,
		Timeout:      shortest(l.OpenMin),
		ReadyToTrip: func(c gobreaker.Counts) bool {
			if int(b.row.Load()) >= l.Consecutive {
				return true
			}
			n := c.TotalSuccesses + c.TotalFailures
			return int(n) >= l.MinCalls && float64(c.TotalFailures) >= l.Ratio*float64(n)
		},
		IsSuccessful: func(err error) bool { return err == nil },
		IsExcluded:   func(err error) bool { return err == errExcluded },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			select {
			case b.moved <- to:
			default: // collect empties it after every call: it never holds 64
			}
		},
	})
	return b
}

// shortest is the least of the random open times around d.
func shortest(d time.Duration) time.Duration { return d - d/5 }

// collect takes in what the circuit said of its state. It is called with mu held.
func (b *breaker) collect(now time.Time) {
	for {
		select {
		case to := <-b.moved:
			b.state, b.since = to, now
			switch to {
			case gobreaker.StateOpen:
				if !b.closedAt.IsZero() && now.Sub(b.closedAt) > b.limits.Window {
					b.openings = 0
				}
				b.closedAt = time.Time{}
				d := b.limits.OpenMin << min(b.openings, 16)
				d = min(d, b.limits.OpenMax)
				b.openings++
				b.opened++
				b.openUntil = now.Add(shortest(d) + rand.N(d/5+1))
			case gobreaker.StateClosed:
				b.closedAt = now
			}
			b.changed(b.show())
		default:
			return
		}
	}
}

// refusal says why no call may be made now; nil: one may try.
func (b *breaker) refusal() *linking.BankError {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.collect(now)
	switch {
	case now.Before(b.pausedUntil):
		b.refused++
		return notSent("bank_pause", "The bank asked for a pause.", b.pausedUntil.Sub(now))
	case b.state == gobreaker.StateOpen && now.Before(b.openUntil):
		b.refused++
		return notSent("breaker_open", "The bank failed too often; it is left alone for a while.", b.openUntil.Sub(now))
	}
	return nil
}

// sound reports that the circuit is closed: a call that changes something may be
// made without a probe before it.
func (b *breaker) sound() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.collect(time.Now())
	return b.state == gobreaker.StateClosed
}

// begin takes part in the circuit's count. The caller must call end, once.
func (b *breaker) begin() (end func(error), err *linking.BankError) {
	done, cerr := b.circuit.Allow()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.collect(time.Now())
	if cerr != nil {
		b.refused++
		if b.state == gobreaker.StateHalfOpen {
			return nil, notSent("breaker_probing", "The bank is being tried again; wait for the outcome.", time.Second)
		}
		return nil, notSent("breaker_open", "The bank failed too often; it is left alone for a while.",
			max(time.Until(b.openUntil), time.Second))
	}
	return func(err error) {
		done(b.verdict(err))
		b.mu.Lock()
		defer b.mu.Unlock()
		b.collect(time.Now())
	}, nil
}

// verdict takes note of an outcome and says what it is to the circuit: nil counts
// for the bank, errExcluded does not count, any other counts against it.
func (b *breaker) verdict(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == errExcluded {
		b.outcomes["given_up"]++
		return err
	}
	if err == errSlow {
		b.outcomes["slow"]++
		return b.fails(err)
	}
	be := asBankError(err)
	if be == nil {
		b.outcomes["ok"]++
	} else {
		b.outcomes[string(be.Class)]++
	}
	b.denied = be != nil && be.Class == linking.BankDenied
	if be == nil {
		b.row.Store(0)
		return nil
	}
	if be.Retry > 0 {
		until := time.Now().Add(min(be.Retry, MaxPause))
		if until.After(b.pausedUntil) {
			b.pausedUntil = until
		}
	}
	switch be.Class {
	case linking.BankRefused, linking.BankAbsent, linking.BankBusy:
		b.row.Store(0)
		return nil // a well-formed no
	case linking.BankDenied:
		b.code = be.Code
		return errExcluded
	case linking.BankNotSent:
		b.code = be.Code
		if be.Retry > 0 {
			return errExcluded // the bank is well and said when to come back
		}
	default:
		b.code = be.Code
	}
	return b.fails(be)
}

// fails is called with mu held.
func (b *breaker) fails(err error) error {
	now := time.Now()
	if now.Sub(b.failed) > rowLasts {
		b.row.Store(0)
	}
	b.failed = now
	b.row.Add(1)
	return err
}

func (b *breaker) view() BreakerState {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.collect(time.Now())
	return b.show()
}

// show is called with mu held.
func (b *breaker) show() BreakerState {
	s := BreakerState{Class: b.class, State: b.state.String(), Since: b.since, Paused: b.pausedUntil,
		Opened: b.opened, Refused: b.refused, Denied: b.denied, Code: b.code, Outcomes: maps.Clone(b.outcomes)}
	if b.state == gobreaker.StateOpen {
		s.Until = b.openUntil
	}
	return s
}
