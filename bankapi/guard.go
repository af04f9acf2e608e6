package bankapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"placard/linking"
)

// guard stands before one connection's bank, see the package comment. It is a
// linking.Bank itself.
type guard struct {
	bank     linking.Bank
	limits   Limits
	log      *slog.Logger
	breakers map[Class]*breaker
	bulkhead *bulkhead
	budget   *budget
	known    atomic.Pointer[linking.BankRef] // a request the bank has answered for: the probe asks about it
	can      atomic.Pointer[remembered]
}

// remembered is what the bank said it can do. That rarely changes, and must be
// known while the bank is down too.
type remembered struct {
	abilities linking.Abilities
	until     time.Time
	asking    atomic.Bool
}

const (
	rememberFor = 10 * time.Minute
	askAgainIn  = time.Minute // when the bank did not answer, and an older answer serves
)

// grace is what a rail gets, out of Total, to return by itself once its time is up.
const grace = 100 * time.Millisecond

var (
	errExcluded = errors.New("does not count")
	errSlow     = errors.New("slow")
	errTotal    = errors.New("the call's own time is up") // the cause of a context that our deadline ended
)

func newGuard(l Limits, log *slog.Logger, changed func(s BreakerState)) *guard {
	g := &guard{limits: l, log: log, breakers: map[Class]*breaker{}, bulkhead: newBulkhead(l), budget: newBudget(l.RetryBudget)}
	for _, c := range Classes {
		g.breakers[c] = newBreaker(c, l, changed)
	}
	return g
}

// within makes one guarded call of class c.
func within[T any](ctx context.Context, g *guard, c Class, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, g.limits.Total-grace, errTotal)
	defer cancel()
	return once(ctx, g, c, call)
}

// asking makes a guarded call that changes nothing, and repeats it where that
// helps: after a failure that is no answer, as far as time and budget allow.
func asking[T any](ctx context.Context, g *guard, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, g.limits.Total-grace, errTotal)
	defer cancel()
	g.budget.earn()
	for try := 1; ; try++ {
		v, err := once(ctx, g, ClassRead, call)
		be := asBankError(err)
		switch {
		case be == nil:
			return v, nil
		case be.Class != linking.BankNotSent && be.Class != linking.BankUnknown, be.Retry > 0:
			return v, be
		case try >= g.limits.Tries || ctx.Err() != nil || !g.budget.spend():
			return v, be
		}
		pause := time.NewTimer(rand.N(min(g.limits.RetryBase<<(try-1), g.limits.RetryCap) + 1)) // full jitter
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return v, be
		}
	}
}

// once is one attempt: its turn in the bulkhead, the breaker's leave, a probe if
// the bank was ill, and a hard end.
func once[T any](ctx context.Context, g *guard, c Class, call func(context.Context) (T, error)) (none T, _ error) {
	b := g.breakers[c]
	if err := b.refusal(); err != nil { // before it waits for its turn in vain
		return none, err
	}
	leave, err := g.bulkhead.enter(ctx)
	if err != nil {
		return none, err
	}
	if err := b.refusal(); err != nil {
		leave()
		return none, err
	}
	if (c == ClassCreate || c == ClassMutate) && !b.sound() {
		if err := g.probe(ctx, b); err != nil {
			leave()
			return none, err
		}
	}
	return counted(ctx, g, b, leave, call)
}

// nothing is a request that no bank knows. To say so, a bank has to be well.
var nothing = linking.BankRef{ID: "00000000000000000000000000", Charge: linking.Immediate}

// check makes one call that changes nothing, and fails unless the bank answers it.
func (g *guard) check(ctx context.Context) error {
	if c, ok := g.bank.(interface{ Check(context.Context) error }); ok { // it knows what else to ask
		_, err := within(ctx, g, ClassRead, func(ctx context.Context) (struct{}, error) { return struct{}{}, c.Check(ctx) })
		return err
	}
	_, err := within(ctx, g, ClassRead, func(ctx context.Context) (linking.BankState, error) {
		return g.bank.Get(ctx, nothing)
	})
	if be := asBankError(err); be != nil && be.Class != linking.BankAbsent {
		return be
	}
	return nil
}

// probe asks the bank about some request on behalf of a breaker that is not
// closed: what is made or changed must not be what finds out whether a bank is
// well again. A bank that never heard of the request has answered.
func (g *guard) probe(ctx context.Context, b *breaker) *linking.BankError {
	ref := nothing
	if known := g.known.Load(); known != nil {
		ref = *known
	}
	_, err := counted(ctx, g, b, func() {}, func(ctx context.Context) (linking.BankState, error) {
		return g.bank.Get(ctx, ref)
	})
	be := asBankError(err)
	switch {
	case be == nil || be.Class == linking.BankAbsent:
		return nil
	case be.Class == linking.BankNotSent || be.Class == linking.BankDenied:
		return be
	}
	// What was asked for has not been sent, whatever became of the probe.
	return &linking.BankError{Class: linking.BankNotSent, Code: be.Code, Detail: be.Detail, Retry: max(be.Retry, time.Second), Err: be}
}

// counted makes the call and lets the breaker know. It returns when ctx ends at
// the latest (and grace): a rail that goes on without need keeps its place in the
// bulkhead, which leave gives back, but nobody waits for it.
func counted[T any](ctx context.Context, g *guard, b *breaker, leave func(), call func(context.Context) (T, error)) (none T, _ error) {
	end, refused := b.begin()
	if refused != nil {
		leave()
		return none, refused
	}
	type outcome struct {
		v   T
		err error
	}
	done := make(chan outcome, 1)
	start := time.Now()
	go func() {
		defer leave()
		var o outcome
		defer func() {
			if p := recover(); p != nil {
				g.log.Error("a bank call panicked", "class", b.class, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				o = outcome{err: Unreadable("internal", "A fault of ours, after the call had begun.", fmt.Errorf("panic: %v", p))}
			}
			done <- o
		}()
		o.v, o.err = call(ctx)
	}()
	var o outcome
	select {
	case o = <-done:
	case <-ctx.Done():
		late := time.NewTimer(grace)
		select {
		case o = <-done:
			late.Stop()
		case <-late.C:
			o.err = noAnswer(ctx, ctx.Err(), true)
		}
	}
	took := time.Since(start)
	be := asBankError(o.err)
	switch {
	case be == nil && took > g.limits.Slow:
		end(errSlow)
	case be != nil && gaveUp(ctx, took, g.limits):
		end(errExcluded)
	case be == nil:
		end(nil)
	default:
		end(be)
	}
	if be != nil {
		return none, be
	}
	return o.v, nil
}

// gaveUp reports that a call ended because its caller would not wait, and not
// because the bank took long.
func gaveUp(ctx context.Context, took time.Duration, l Limits) bool {
	if ctx.Err() == nil || context.Cause(ctx) == errTotal {
		return false
	}
	return errors.Is(ctx.Err(), context.Canceled) || took < l.Slow
}

// asBankError returns err as what every error of a Bank is. Anything else is a
// fault of a rail's, after which nothing is known.
func asBankError(err error) *linking.BankError {
	if err == nil {
		return nil
	}
	if be, ok := errors.AsType[*linking.BankError](err); ok {
		return be
	}
	return Unreadable("internal", "A fault of ours, after the call had begun.", err)
}

func notSent(code, detail string, retry time.Duration) *linking.BankError {
	return &linking.BankError{Class: linking.BankNotSent, Code: code, Detail: detail, Retry: retry}
}

// about holds an answer against the request it is about.
func (g *guard) about(ref linking.BankRef, s linking.BankState, err error) (linking.BankState, error) {
	if err != nil {
		return linking.BankState{}, err
	}
	if s.ID != ref.ID {
		return linking.BankState{}, Unreadable("wrong_id", "The bank answered about another request.", nil)
	}
	ref.Tag = s.Tag
	g.known.Store(&ref)
	return s, nil
}

// Abilities answers from memory where it can; what is older than rememberFor is
// asked for anew behind the caller's back. What a rail
// knows without a call passes no breaker.
func (g *guard) Abilities(ctx context.Context) (linking.Abilities, error) {
	if _, fixed := g.bank.(interface{ FixedAbilities() }); fixed {
		return g.bank.Abilities(ctx)
	}
	old := g.can.Load()
	if old == nil {
		a, err := asking(ctx, g, g.bank.Abilities)
		if err == nil {
			g.can.Store(&remembered{abilities: a, until: time.Now().Add(rememberFor)})
		}
		return a, err
	}
	if time.Now().After(old.until) && old.asking.CompareAndSwap(false, true) {
		go func() {
			fresh := &remembered{abilities: old.abilities, until: time.Now().Add(askAgainIn)}
			if a, err := asking(context.WithoutCancel(ctx), g, g.bank.Abilities); err == nil {
				fresh = &remembered{abilities: a, until: time.Now().Add(rememberFor)}
			}
			g.can.Store(fresh)
		}()
	}
	return old.abilities, nil
}

func (g *guard) Put(ctx context.Context, ask linking.Ask) (linking.BankState, error) {
	class := ClassCreate
	if ask.Revision > 1 {
		class = ClassMutate
	}
	return within(ctx, g, class, func(ctx context.Context) (linking.BankState, error) {
		s, err := g.bank.Put(ctx, ask)
		return g.about(ask.BankRef, s, err)
	})
}

func (g *guard) Close(ctx context.Context, ref linking.BankRef) (linking.BankState, error) {
	return within(ctx, g, ClassMutate, func(ctx context.Context) (linking.BankState, error) {
		s, err := g.bank.Close(ctx, ref)
		return g.about(ref, s, err)
	})
}

func (g *guard) Get(ctx context.Context, ref linking.BankRef) (linking.BankState, error) {
	return asking(ctx, g, func(ctx context.Context) (linking.BankState, error) {
		s, err := g.bank.Get(ctx, ref)
		return g.about(ref, s, err)
	})
}

func (g *guard) Capture(ctx context.Context, ref linking.BankRef) (linking.BankState, error) {
	return within(ctx, g, ClassMutate, func(ctx context.Context) (linking.BankState, error) {
		s, err := g.bank.Capture(ctx, ref)
		return g.about(ref, s, err)
	})
}

func (g *guard) Refund(ctx context.Context, ask linking.RefundAsk) (linking.BankRefund, error) {
	return within(ctx, g, ClassMutate, func(ctx context.Context) (linking.BankRefund, error) {
		r, err := g.bank.Refund(ctx, ask)
		if err == nil && r.ID != string(ask.Refund) {
			return r, Unreadable("wrong_id", "The bank answered about another refund.", nil)
		}
		return r, err
	})
}

func (g *guard) Changed(ctx context.Context, since time.Time) ([]linking.RequestID, time.Time, error) {
	type list struct {
		ids  []linking.RequestID
		next time.Time
	}
	l, err := asking(ctx, g, func(ctx context.Context) (l list, err error) {
		l.ids, l.next, err = g.bank.Changed(ctx, since)
		return l, err
	})
	return l.ids, l.next, err
}

// Callback makes no call to the bank, and so passes no breaker.
func (g *guard) Callback(ctx context.Context, header http.Header, body []byte) (ids []linking.RequestID, err error) {
	defer func() {
		if p := recover(); p != nil {
			g.log.Error("a bank callback panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			ids, err = nil, Unreadable("internal", "A fault of ours while the callback was read.", fmt.Errorf("panic: %v", p))
		}
	}()
	ids, err = g.bank.Callback(ctx, header, body)
	if err != nil {
		return nil, asBankError(err)
	}
	return ids, nil
}

func (g *guard) MakeLink(ctx context.Context, charge linking.Charge) (linking.BankLink, error) {
	return within(ctx, g, ClassCreate, func(ctx context.Context) (linking.BankLink, error) {
		return g.bank.MakeLink(ctx, charge)
	})
}

func (g *guard) LinkShows(ctx context.Context, link linking.BankLink) (linking.RequestID, error) {
	return asking(ctx, g, func(ctx context.Context) (linking.RequestID, error) {
		return g.bank.LinkShows(ctx, link)
	})
}

func (g *guard) Unlink(ctx context.Context, link linking.BankLink) error {
	_, err := within(ctx, g, ClassMutate, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, g.bank.Unlink(ctx, link)
	})
	return err
}

// token guards the fetching of an access token inside a rail's call. It has its
// own breaker, but the deadline and the bulkhead of the call it is part of. What
// it returns for a failure is class not_sent: the call itself was not made.
func (g *guard) token(ctx context.Context, fetch func(context.Context) error) error {
	b := g.breakers[ClassToken]
	if err := b.refusal(); err != nil {
		return err
	}
	_, err := counted(ctx, g, b, func() {}, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, fetch(ctx)
	})
	be := asBankError(err)
	if be == nil {
		return nil
	}
	if be.Class != linking.BankDenied {
		be = &linking.BankError{Class: linking.BankNotSent, Code: be.Code, Detail: be.Detail, Retry: be.Retry, Err: be}
	}
	return be
}
