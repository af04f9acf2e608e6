package bankapi

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"placard/linking"
)

func TestBreakerOpensAtFiveFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{put: ill, get: well}
		g, changes := guardOf(t, b, noRetries)
		for range 4 {
			mustClass(t, g.tryPut(), linking.BankUnknown, "http_500")
		}
		b.put = well
		if err := g.tryPut(); err != nil { // the row is broken
			t.Fatal(err)
		}
		b.put = ill
		for range 5 {
			mustClass(t, g.tryPut(), linking.BankUnknown, "http_500")
		}
		refusal := mustClass(t, g.tryPut(), linking.BankNotSent, "breaker_open")
		if refusal.Retry < 8*time.Second || refusal.Retry > 10*time.Second {
			t.Errorf("come back in %v", refusal.Retry)
		}
		if n := b.puts.Load(); n != 10 {
			t.Errorf("%d calls reached the bank", n)
		}
		if got := changes(); !slices.Equal(got, []string{"create open"}) {
			t.Errorf("told %v", got)
		}
	})
}

func TestBreakerOpensWhenHalfOfTenFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{get: well}
		g, changes := guardOf(t, b, noRetries)
		for i := range 10 {
			if len(changes()) > 0 {
				t.Fatalf("open after %d calls", i)
			}
			b.does(well)
			if i%2 == 1 {
				b.does(ill)
			}
			g.tryGet()
		}
		mustClass(t, g.tryGet(), linking.BankNotSent, "breaker_open")
	})
}

func TestBreakerForgetsWhatIsOlderThanItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{get: ill}
		g, changes := guardOf(t, b, noRetries)
		one := func(get func(context.Context) error) {
			t.Helper()
			b.does(get)
			g.tryGet()
			if got := changes(); len(got) != 0 {
				t.Fatalf("told %v", got)
			}
		}
		for range 4 { // two of three fail, but there are never ten within half a minute
			one(ill)
			one(well)
			one(ill)
			time.Sleep(20 * time.Second)
		}
		time.Sleep(time.Minute)
		for range 20 { // and a failure now and then is no row
			one(ill)
			time.Sleep(6 * time.Minute)
		}
	})
}

func TestBreakerProbesWithAQuestionBeforeItMakesAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{put: ill, get: ill}
		g, changes := guardOf(t, b, noRetries)
		for range 5 {
			g.tryPut()
		}
		puts := b.puts.Load()
		time.Sleep(10 * time.Second)
		mustClass(t, g.tryPut(), linking.BankNotSent, "http_500")
		if b.puts.Load() != puts || b.gets.Load() != 1 || b.last != nothing.ID {
			t.Fatalf("the probe: %d puts, %d gets of %s", b.puts.Load()-puts, b.gets.Load(), b.last)
		}
		b.get = func(context.Context) error {
			return &linking.BankError{Class: linking.BankAbsent, Code: "not_found", Detail: "Unknown."}
		}
		b.put = well
		time.Sleep(20 * time.Second)
		if err := g.tryPut(); err != nil {
			t.Fatal(err)
		}
		if b.gets.Load() != 2 || b.puts.Load() != puts+1 {
			t.Fatalf("after the bank is well: %d gets, %d puts", b.gets.Load(), b.puts.Load()-puts)
		}
		want := []string{"create open", "create half-open", "create open", "create half-open", "create closed"}
		if got := changes(); !slices.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
	})
}

func TestBreakerProbesWithARequestTheBankKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{put: ill, get: well}
		g, _ := guardOf(t, b, noRetries)
		if err := g.tryGet(); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			g.tryPut()
		}
		b.last = ""
		time.Sleep(10 * time.Second)
		g.tryPut()
		if b.last != someAsk.ID {
			t.Fatalf("the probe asked for %q", b.last)
		}
	})
}

func TestBreakerStaysOpenLongerEachTimeUpToAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{get: ill}
		g, _ := guardOf(t, b, noRetries)
		for range 5 {
			g.tryGet()
		}
		for i, want := range []time.Duration{10, 20, 40, 60, 60} {
			want *= time.Second
			start, calls := time.Now(), b.gets.Load()
			for b.gets.Load() == calls {
				time.Sleep(50 * time.Millisecond)
				g.tryGet()
			}
			if open := time.Since(start); open < want*8/10 || open > want+100*time.Millisecond {
				t.Errorf("opening %d lasted %v, want %v less up to a fifth", i+1, open, want)
			}
		}
		// A recovery that lasts starts it from the beginning.
		b.does(well)
		time.Sleep(time.Minute)
		g.tryGet()
		time.Sleep(time.Minute)
		b.does(ill)
		for range 5 {
			g.tryGet()
		}
		if be := mustClass(t, g.tryGet(), linking.BankNotSent, "breaker_open"); be.Retry > 10*time.Second {
			t.Errorf("after a recovery it stays open for %v", be.Retry)
		}
	})
}

func TestBreakerOpenTimesVary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[time.Duration]bool{}
		for range 20 {
			g, _ := guardOf(t, &scripted{get: ill}, noRetries)
			for range 5 {
				g.tryGet()
			}
			seen[mustClass(t, g.tryGet(), linking.BankNotSent, "breaker_open").Retry] = true
		}
		if len(seen) < 10 {
			t.Fatalf("%d different open times of 20: all gateways would come back at once", len(seen))
		}
	})
}

func TestBreakerIsNotKeptHalfOpenByAHungProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{get: ill}
		g, _ := guardOf(t, b, noRetries)
		for range 5 {
			g.tryGet()
		}
		b.does(hangs)
		time.Sleep(10 * time.Second)
		start := time.Now()
		probe := make(chan error)
		go func() { probe <- g.tryGet() }()
		time.Sleep(time.Second)
		mustClass(t, g.tryGet(), linking.BankNotSent, "breaker_probing")
		mustClass(t, <-probe, linking.BankUnknown, "timeout")
		if took := time.Since(start); took > 8*time.Second {
			t.Fatalf("the probe took %v", took)
		}
		b.does(well)
		back := time.Now()
		for g.tryGet() != nil {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(back); took > 28*time.Second {
			t.Fatalf("well again only after %v", took)
		}
		time.Sleep(2 * time.Hour) // the hung call ends
	})
}

func TestBreakerCountsAPanicAndSurvivesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{put: func(context.Context) error { panic("a nil map") }, get: well}
		g, _ := guardOf(t, b, noRetries)
		for range 5 {
			mustClass(t, g.tryPut(), linking.BankUnknown, "internal")
		}
		mustClass(t, g.tryPut(), linking.BankNotSent, "breaker_open")
	})
}

func TestBreakerTakesAWellFormedNoAsHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{put: refuses}
		g, changes := guardOf(t, b, noRetries)
		for range 100 {
			mustClass(t, g.tryPut(), linking.BankRefused, "no")
		}
		if got := changes(); len(got) != 0 {
			t.Fatalf("told %v", got)
		}
	})
}

func TestBreakerDoesNotCountRefusedCredentialsButTellsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{get: func(context.Context) error {
			return &linking.BankError{Class: linking.BankDenied, Code: "http_401", Detail: "No."}
		}}
		g, changes := guardOf(t, b, noRetries)
		for range 50 {
			mustClass(t, g.tryGet(), linking.BankDenied, "http_401")
		}
		if len(changes()) != 0 || !g.breakers[ClassRead].view().Denied {
			t.Fatalf("told %v, state %+v", changes(), g.breakers[ClassRead].view())
		}
		b.does(well)
		g.tryGet()
		if g.breakers[ClassRead].view().Denied {
			t.Fatal("still denied after a success")
		}
	})
}

func TestBreakerDoesNotCountACallerWhoGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{get: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		g, changes := guardOf(t, b, noRetries)
		for range 50 {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			g.Get(ctx, someAsk.BankRef)
			cancel()
			ctx, cancel = context.WithCancel(context.Background())
			time.AfterFunc(7*time.Second, cancel)
			g.Get(ctx, someAsk.BankRef)
		}
		if got := changes(); len(got) != 0 {
			t.Fatalf("told %v", got)
		}
		for range 5 { // a caller as patient as we are
			g.tryGet()
		}
		if got := changes(); len(got) != 1 {
			t.Fatalf("timeouts of the bank's: told %v", got)
		}
	})
}

func TestBreakerCountsSuccessesNobodyWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{put: func(context.Context) error { time.Sleep(5 * time.Second); return nil }}
		g, changes := guardOf(t, b, noRetries)
		for range 5 {
			if err := g.tryPut(); err != nil {
				t.Fatalf("a slow success is a success for its caller: %v", err)
			}
		}
		if got := changes(); !slices.Equal(got, []string{"create open"}) {
			t.Fatalf("told %v", got)
		}
	})
}

func TestBreakerOfOneClassLeavesTheOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{put: ill, get: well}
		g, _ := guardOf(t, b, noRetries)
		for range 20 {
			g.tryPut()
		}
		if err := g.tryGet(); err != nil {
			t.Fatalf("reading while writing fails: %v", err)
		}
	})
}
