package redisstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"placard/linking"
)

func keyOf(id string) linking.Key { return linking.Key{Shard: 1, Kind: "c", ID: id} }

// gated is a coalescer whose batches wait until the test lets them go.
type gated struct {
	*coalescer
	began chan []string // the names each batch asks for, as it begins
	free  chan struct{}
}

func newGated(t *testing.T) *gated {
	g := &gated{began: make(chan []string, 100), free: make(chan struct{})}
	g.coalescer = newCoalescer(func() func([]*read) {
		return func(batch []*read) {
			var names []string
			for _, r := range batch {
				if r.ctx.Err() == nil {
					names = append(names, r.names...)
				}
			}
			g.began <- names
			<-g.free
			for _, r := range batch {
				if r.names[0] == "{01}c:bad" {
					r.err = errors.New("bad")
				}
			}
		}
	})
	t.Cleanup(func() {
		close(g.free)
		g.close()
	})
	return g
}

// soon takes what a channel brings, but waits no longer than a test should.
func soon[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("it never came: %s", what)
		panic("unreachable")
	}
}

// occupy has every worker hold a batch.
func (g *gated) occupy(t *testing.T) {
	t.Helper()
	for range readWorkers {
		go g.do(context.Background(), []linking.Key{keyOf("occupy")})
		soon(t, "a batch", g.began)
	}
}

func (g *gated) waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.pending)
}

func (g *gated) until(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); g.waiting() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d reads wait, not %d", g.waiting(), n)
		}
	}
}

func TestReadsThatWaitTogetherAreSentTogether(t *testing.T) {
	g := newGated(t)
	g.occupy(t)
	answers := make(chan error, 50)
	for i := range 50 {
		go func() {
			_, err := g.do(t.Context(), []linking.Key{keyOf(fmt.Sprint(i))})
			answers <- err
		}()
	}
	g.until(t, 50)
	for range readWorkers + 1 {
		g.free <- struct{}{}
	}
	for range 50 {
		if err := soon(t, "answers", answers); err != nil {
			t.Error(err)
		}
	}
	if names := soon(t, "the next batch", g.began); len(names) != 50 {
		t.Fatalf("50 reads that waited went in a batch of %d first", len(names))
	}
}

func TestAReadNeverJoinsABatchThatIsUnderWay(t *testing.T) {
	g := newGated(t)
	first := make(chan error)
	go func() { _, err := g.do(t.Context(), []linking.Key{keyOf("a")}); first <- err }()
	soon(t, "the batch", g.began)
	second := make(chan error)
	go func() { _, err := g.do(t.Context(), []linking.Key{keyOf("a")}); second <- err }()
	if names := soon(t, "the next batch", g.began); len(names) != 1 {
		t.Fatalf("the second read asked for %v", names)
	}
	g.free <- struct{}{}
	g.free <- struct{}{}
	if err := errors.Join(soon(t, "first", first), soon(t, "second", second)); err != nil {
		t.Fatal(err)
	}
}

func TestAReadGivenUpIsNotSent(t *testing.T) {
	g := newGated(t)
	g.occupy(t)
	ctx, cancel := context.WithCancel(t.Context())
	gone, stays := make(chan error), make(chan error)
	go func() { _, err := g.do(ctx, []linking.Key{keyOf("gone")}); gone <- err }()
	g.until(t, 1)
	go func() { _, err := g.do(t.Context(), []linking.Key{keyOf("stays")}); stays <- err }()
	g.until(t, 2)
	cancel()
	if err := soon(t, "gone", gone); !errors.Is(err, context.Canceled) {
		t.Fatalf("given up: %v", err)
	}
	g.free <- struct{}{}
	if names := soon(t, "the next batch", g.began); len(names) != 1 || names[0] != "{01}c:stays" {
		t.Fatalf("sent: %v", names)
	}
	for range readWorkers {
		g.free <- struct{}{}
	}
	if err := soon(t, "stays", stays); err != nil {
		t.Fatal(err)
	}
}

func TestAContextEndsAReadThatIsUnderWay(t *testing.T) {
	g := newGated(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := g.do(ctx, []linking.Key{keyOf("a")}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}

func TestAFullReadQueueRefuses(t *testing.T) {
	g := newGated(t)
	g.occupy(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	for range maxReadQueue {
		all.Go(func() { g.do(ctx, []linking.Key{keyOf("a")}) })
	}
	g.until(t, maxReadQueue)
	if _, err := g.do(t.Context(), []linking.Key{keyOf("late")}); !linking.IsKind(err, linking.Unavailable) {
		t.Fatalf("got %v", err)
	}
	cancel()
	all.Wait()
}

func TestOneReadsErrorIsNotAnothers(t *testing.T) {
	g := newGated(t)
	g.occupy(t)
	bad, good := make(chan error), make(chan error)
	go func() { _, err := g.do(t.Context(), []linking.Key{keyOf("bad")}); bad <- err }()
	go func() { _, err := g.do(t.Context(), []linking.Key{keyOf("good")}); good <- err }()
	g.until(t, 2)
	for range readWorkers + 1 {
		g.free <- struct{}{}
	}
	if err := soon(t, "bad", bad); err == nil {
		t.Error("the bad read succeeded")
	}
	if err := soon(t, "good", good); err != nil {
		t.Errorf("the good read: %v", err)
	}
}

func TestCloseRefusesWhatWaitsAndFinishesWhatIsUnderWay(t *testing.T) {
	g := newGated(t)
	g.occupy(t)
	under, waits := make(chan error, 1), make(chan error, 1)
	g.free <- struct{}{} // one worker is free again, and takes this:
	go func() { _, err := g.do(t.Context(), []linking.Key{keyOf("under way")}); under <- err }()
	soon(t, "the batch", g.began)
	go func() { _, err := g.do(t.Context(), []linking.Key{keyOf("waits")}); waits <- err }()
	g.until(t, 1)
	closed := make(chan struct{})
	go func() { g.close(); close(closed) }()
	if err := soon(t, "waits", waits); !linking.IsKind(err, linking.Unavailable) {
		t.Fatalf("what waited: %v", err)
	}
	for range readWorkers {
		g.free <- struct{}{}
	}
	if err := soon(t, "under", under); err != nil {
		t.Fatalf("what was under way: %v", err)
	}
	soon(t, "closed", closed)
	if _, err := g.do(t.Context(), []linking.Key{keyOf("late")}); !linking.IsKind(err, linking.Unavailable) {
		t.Fatalf("after closing: %v", err)
	}
}

func TestOneMGETAsksForEachRecordOnce(t *testing.T) {
	s := &Store{single: &master{}}
	b := &reader{s: s}
	for _, keys := range [][]string{{"a", "b"}, {"b", "a"}, {"a"}, {"c", "a"}} {
		r := &read{ctx: t.Context(), shard: 1}
		for _, id := range keys {
			r.names = append(r.names, shardNames[1].record(keyOf(id)))
		}
		b.join(r)
	}
	b.join(&read{ctx: t.Context(), shard: 2, names: []string{"{02}c:a"}})
	if len(b.unions) != 1 || fmt.Sprint(b.unions[0].names) != "[{01}n {01}c:a {01}c:b {01}c:c {02}n {02}c:a]" {
		t.Fatalf("%d unions, the first asks for %v", len(b.unions), b.unions[0].names)
	}
	s.single = nil // on a Cluster: one MGET for each shard
	b = &reader{s: s}
	for _, shard := range []linking.Shard{1, 2, 1} {
		b.join(&read{ctx: t.Context(), shard: shard, names: []string{shardNames[shard].record(keyOf("a"))}})
	}
	if len(b.unions) != 2 || len(b.unions[0].reads) != 2 || fmt.Sprint(b.unions[1].names) != "[{02}n {02}c:a]" {
		t.Fatalf("%d unions, the second asks for %v", len(b.unions), b.unions[1].names)
	}
}

func TestLargeReadsGoInBatchesOfTheirOwn(t *testing.T) {
	c := &coalescer{wake: make(chan struct{}, 1)}
	for _, n := range []int{1000, 20, 10, 1000, 20} {
		c.pending = append(c.pending, &read{names: make([]string, n)})
	}
	var sizes []int
	for len(c.pending) > 0 {
		sizes = append(sizes, len(c.take(nil)))
	}
	if fmt.Sprint(sizes) != "[2 2 1]" {
		t.Fatalf("batches of %v", sizes)
	}
}
