package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"placard/linking"
	"placard/linking/boltstore"
	"placard/linking/storetest"
)

func open(t *testing.T) linking.Store {
	t.Helper()
	s, err := boltstore.Open(filepath.Join(t.TempDir(), "store.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func write(id string) linking.Commit {
	return linking.Commit{ID: linking.NewCommitID(), Shard: 1, Writes: []linking.Write{{Key: linking.Key{Shard: 1, Kind: "c", ID: id}}}}
}

func TestFlakyCommitsAndThenLies(t *testing.T) {
	f := &storetest.Flaky{Store: open(t), LoseReplyEvery: 3}
	for i := 1; i <= 9; i++ {
		c := write(fmt.Sprint(i))
		err := f.Commit(t.Context(), c)
		if lied := errors.Is(err, storetest.ErrReplyLost); lied != (i%3 == 0) || err != nil && !lied {
			t.Fatalf("commit %d: %v", i, err)
		}
		rs, err := f.Get(t.Context(), c.Writes[0].Key)
		if err != nil || rs[0].Version != 1 {
			t.Fatalf("commit %d was not made: %v, %v", i, rs, err)
		}
	}
	if f.Lost() != 3 {
		t.Fatalf("%d lost", f.Lost())
	}
}

func TestSlowWaitsAsLongAsTheContextAllows(t *testing.T) {
	s := &storetest.Slow{Store: open(t), Delay: 20 * time.Millisecond}
	c := write("a")
	begin := time.Now()
	if err := s.Commit(t.Context(), c); err != nil || time.Since(begin) < s.Delay {
		t.Fatalf("after %s: %v", time.Since(begin), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := s.Commit(ctx, write("b")); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if _, err := s.Get(ctx, c.Writes[0].Key); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}

func TestDownAnswersNothingUntilItIsUp(t *testing.T) {
	d := &storetest.Down{Store: open(t)}
	c := write("a")
	d.Off(true)
	_, get := d.Get(t.Context(), c.Writes[0].Key)
	_, list := d.List(t.Context(), linking.Listing{Shard: 1, Kind: "c", Owner: "o", Limit: 1})
	_, due := d.Due(t.Context(), 1, time.Now(), 1)
	_, events := d.Events(t.Context(), 1, "m", 0, 1)
	_, _, span := d.Span(t.Context(), 1, "m")
	for what, err := range map[string]error{"Commit": d.Commit(t.Context(), c), "Get": get, "List": list, "Due": due, "Events": events, "Span": span, "Trim": d.Trim(t.Context(), 1, "m", 1)} {
		if !linking.IsKind(err, linking.Unavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if d.Health(t.Context()).Ready {
		t.Error("ready")
	}
	d.Off(false)
	if err := d.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if rs, err := d.Get(t.Context(), c.Writes[0].Key); err != nil || rs[0].Version != 1 || !d.Health(t.Context()).Ready {
		t.Fatalf("up again: %v, %v", rs, err)
	}
}
