package bankapi

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"placard/linking"
)

// scripted is a bank whose calls do what the test says. Those without a script
// are not called.
type scripted struct {
	linking.Bank
	get       func(ctx context.Context) error
	put       func(ctx context.Context) error
	abilities func(ctx context.Context) error

	gets, puts, asked atomic.Int64
	mu                sync.Mutex
	last              linking.RequestID // that was asked for
}

// does changes what Get does while calls may be under way.
func (s *scripted) does(get func(ctx context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.get = get
}

func (s *scripted) Get(ctx context.Context, ref linking.BankRef) (linking.BankState, error) {
	s.gets.Add(1)
	s.mu.Lock()
	get := s.get
	s.last = ref.ID
	s.mu.Unlock()
	return linking.BankState{ID: ref.ID}, get(ctx)
}

func (s *scripted) Put(ctx context.Context, ask linking.Ask) (linking.BankState, error) {
	s.puts.Add(1)
	return linking.BankState{ID: ask.ID}, s.put(ctx)
}

func (s *scripted) Abilities(ctx context.Context) (linking.Abilities, error) {
	s.asked.Add(1)
	return linking.Abilities{Refund: true}, s.abilities(ctx)
}

func well(context.Context) error { return nil }

func ill(context.Context) error { return Unreadable("http_500", "The bank has a fault.", nil) }

func refuses(context.Context) error {
	return &linking.BankError{Class: linking.BankRefused, Code: "no", Detail: "No."}
}

// hangs waits for longer than any call may, whatever its context says.
func hangs(context.Context) error { time.Sleep(time.Hour); return nil }

var someAsk = linking.Ask{BankRef: linking.BankRef{ID: "01J8QZ4F8YV6N0W3H5K7T9ACDE"}, Revision: 1}

// guardOf is a guard as Banks makes it; changes collects what its breakers told.
func guardOf(t *testing.T, b linking.Bank, l Limits) (g *guard, changes func() []string) {
	t.Helper()
	var mu sync.Mutex
	var told []string
	g = newGuard(l.orDefault(), slog.New(slog.DiscardHandler), func(s BreakerState) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, string(s.Class)+" "+s.State)
	})
	g.bank = b
	return g, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(told)
	}
}

func (g *guard) tryPut() error {
	_, err := g.Put(context.Background(), someAsk)
	return err
}

func (g *guard) tryGet() error {
	_, err := g.Get(context.Background(), someAsk.BankRef)
	return err
}

func mustClass(t *testing.T, err error, want linking.BankErrorClass, code string) *linking.BankError {
	t.Helper()
	be, ok := errors.AsType[*linking.BankError](err)
	if !ok || be.Class != want || code != "" && be.Code != code {
		t.Fatalf("got %v, want %s %s", err, want, code)
	}
	return be
}

// noRetries keeps questions to one attempt, so that they can be counted.
var noRetries = Limits{Tries: 1}

func TestARequestedPauseIsKeptAndCountsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{get: well, put: func(context.Context) error {
			return &linking.BankError{Class: linking.BankNotSent, Code: "too_many_calls", Detail: "Fewer.", Retry: 30 * time.Second}
		}}
		g, changes := guardOf(t, b, noRetries)
		for round := range 20 {
			mustClass(t, g.tryPut(), linking.BankNotSent, "too_many_calls")
			for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
				mustClass(t, g.tryPut(), linking.BankNotSent, "bank_pause")
			}
			if n := b.puts.Load(); n != int64(round+1) {
				t.Fatalf("%d calls inside the pause", n-int64(round+1))
			}
		}
		if err := g.tryGet(); err != nil {
			t.Fatalf("the pause of one class held another: %v", err)
		}
		if got := changes(); len(got) != 0 {
			t.Fatalf("told %v", got)
		}
	})
}

func TestBulkheadHoldsSoManyAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		b := &scripted{get: func(context.Context) error { <-free; return nil }}
		g, _ := guardOf(t, b, noRetries)
		results := make(chan error, 97)
		for range 96 {
			go func() { results <- g.tryGet() }()
		}
		synctest.Wait()
		if n := b.gets.Load(); n != 32 {
			t.Fatalf("%d calls at a time", n)
		}
		start := time.Now()
		mustClass(t, g.tryGet(), linking.BankNotSent, "bank_busy")
		if time.Since(start) != 0 {
			t.Fatal("the 97th waited")
		}
		time.Sleep(2*time.Second + 1)
		synctest.Wait()
		if n := len(results); n != 64 {
			t.Fatalf("%d of 64 stopped waiting after two seconds", n)
		}
		for range 64 {
			mustClass(t, <-results, linking.BankNotSent, "bank_busy")
		}
		close(free)
		for range 32 {
			if err := <-results; err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if len(g.bulkhead.slots) != 0 || g.bulkhead.waiting.Load() != 0 {
			t.Fatalf("%d places and %d waiting are not given back", len(g.bulkhead.slots), g.bulkhead.waiting.Load())
		}
	})
}

func TestAHungCallKeepsItsPlaceUntilItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{get: hangs}
		g, _ := guardOf(t, b, Limits{Tries: 1, InFlight: 3, Consecutive: 100, MinCalls: 100})
		for range 3 {
			mustClass(t, g.tryGet(), linking.BankUnknown, "timeout")
		}
		mustClass(t, g.tryGet(), linking.BankNotSent, "bank_busy")
		time.Sleep(time.Hour)
		b.does(well)
		if err := g.tryGet(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestQuestionsAreRepeatedAndOrdersNever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{put: ill}
		b.get = func(ctx context.Context) error {
			if b.gets.Load()%3 != 0 {
				return ill(ctx)
			}
			return nil
		}
		g, _ := guardOf(t, b, Limits{Consecutive: 1000, MinCalls: 1000, RetryBudget: 10})
		if err := g.tryGet(); err != nil || b.gets.Load() != 3 {
			t.Fatalf("%v after %d attempts", err, b.gets.Load())
		}
		g.tryPut()
		if n := b.puts.Load(); n != 1 {
			t.Fatalf("an order was sent %d times", n)
		}
		for _, no := range []linking.BankErrorClass{linking.BankAbsent, linking.BankRefused, linking.BankBusy, linking.BankDenied} {
			b.gets.Store(0)
			b.get = func(context.Context) error { return &linking.BankError{Class: no, Code: "no", Detail: "No."} }
			g.tryGet()
			if n := b.gets.Load(); n != 1 {
				t.Fatalf("asked %d times after %s", n, no)
			}
		}
	})
}

func TestRetriesStayWithinTheirBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{get: ill}
		g, _ := guardOf(t, b, Limits{Consecutive: 1 << 20, MinCalls: 1 << 20})
		const questions = 2000
		for range questions {
			g.tryGet()
		}
		retries := b.gets.Load() - questions
		if retries > questions/10+1 || retries < questions/10-10 {
			t.Fatalf("%d retries of %d questions", retries, questions)
		}
	})
}

func TestEveryCallEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, get := range map[string]func(context.Context) error{
			"hangs":     hangs,
			"nearly":    func(ctx context.Context) error { time.Sleep(7 * time.Second); return ill(ctx) },
			"slow ill":  func(ctx context.Context) error { time.Sleep(3 * time.Second); return ill(ctx) },
			"obedient":  func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
			"very slow": func(context.Context) error { time.Sleep(100 * time.Second); return nil },
		} {
			g, _ := guardOf(t, &scripted{get: get}, Limits{RetryBudget: 100})
			start := time.Now()
			mustClass(t, g.tryGet(), linking.BankUnknown, "")
			if took := time.Since(start); took > 8*time.Second {
				t.Errorf("%s: it took %v", name, took)
			}
		}
		time.Sleep(2 * time.Hour)
	})
}

func TestAnAnswerAboutAnotherRequestIsUnknown(t *testing.T) {
	g, _ := guardOf(t, wrongBank{}, noRetries)
	_, err := g.Get(t.Context(), someAsk.BankRef)
	mustClass(t, err, linking.BankUnknown, "wrong_id")
	_, err = g.Put(t.Context(), someAsk)
	mustClass(t, err, linking.BankUnknown, "wrong_id")
	_, err = g.Refund(t.Context(), linking.RefundAsk{Refund: "01J8QZ4F8YV6N0W3H5K7"})
	mustClass(t, err, linking.BankUnknown, "wrong_id")
}

// wrongBank answers about something else.
type wrongBank struct{ linking.Bank }

func (wrongBank) Get(context.Context, linking.BankRef) (linking.BankState, error) {
	return linking.BankState{ID: "01J8ZZZZZZZZZZZZZZZZZZZZZZ", Status: linking.BankPaid}, nil
}

func (wrongBank) Put(context.Context, linking.Ask) (linking.BankState, error) {
	return linking.BankState{ID: "01J8ZZZZZZZZZZZZZZZZZZZZZZ"}, nil
}

func (wrongBank) Refund(context.Context, linking.RefundAsk) (linking.BankRefund, error) {
	return linking.BankRefund{ID: "another"}, nil
}

func TestTokenHasItsOwnBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetch := ill
		b := &scripted{}
		g, changes := guardOf(t, b, noRetries)
		b.put = func(ctx context.Context) error { return g.token(ctx, fetch) }
		b.does(well)
		for range 5 {
			mustClass(t, g.tryPut(), linking.BankNotSent, "http_500") // the order itself never left
		}
		if got := changes(); !slices.Contains(got, "token open") {
			t.Fatalf("told %v", got)
		}
		if err := g.tryGet(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAbilitiesAreRememberedThroughAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{abilities: well}
		g, _ := guardOf(t, b, noRetries)
		ask := func() {
			t.Helper()
			if a, err := g.Abilities(t.Context()); err != nil || !a.Refund {
				t.Fatalf("%+v, %v", a, err)
			}
			synctest.Wait()
		}
		for range 100 {
			ask()
		}
		if n := b.asked.Load(); n != 1 {
			t.Fatalf("asked %d times", n)
		}
		b.abilities = ill
		for range 60 {
			time.Sleep(time.Minute)
			ask()
		}
		if n := b.asked.Load(); n < 10 || n > 60 {
			t.Fatalf("asked %d times in an hour's outage", n)
		}
		b.abilities = hangs
		time.Sleep(2 * time.Minute)
		start := time.Now()
		ask()
		if time.Since(start) != 0 {
			t.Fatal("what is known was waited for")
		}
		time.Sleep(2 * time.Hour)
	})
}
