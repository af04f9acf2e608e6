package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"placard/linking"
)

// bump reads k and commits what next makes of its version, until it is not too late.
func bump(t testing.TB, s linking.Store, k linking.Key, next func(version uint64) linking.Commit) {
	ctx := t.Context()
	for {
		rs, err := s.Get(ctx, k)
		if err != nil {
			t.Errorf("Get: %v", err)
			return
		}
		switch err = s.Commit(ctx, next(rs[0].Version)); {
		case err == nil:
			return
		case !errors.Is(err, linking.ErrConflict):
			t.Errorf("Commit: %v", err)
			return
		}
	}
}

func noLostUpdates(t *testing.T, s *subject) {
	must(t, s, commit(put("n", 0, "0")))
	const workers = 8
	each := many(20)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			ctx := t.Context()
			for done := 0; done < each; {
				rs, err := s.Get(ctx, key("n"))
				if err != nil {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(rs[0].Data))
				err = s.Commit(ctx, commit(put("n", rs[0].Version, strconv.Itoa(n+1))))
				if err == nil {
					done++
				} else if !errors.Is(err, linking.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	is(t, s, key("n"), uint64(workers*each+1), strconv.Itoa(workers*each))
}

// oneMoment gives a set of records one common value again and again; whoever
// reads several must find them alike, whatever else is being read.
func oneMoment(t *testing.T, s *subject) {
	const n = 40
	keys := make([]linking.Key, n)
	for i := range keys {
		keys[i] = key(fmt.Sprint("m", i))
	}
	all := func(v uint64) linking.Commit {
		c := commit()
		for _, k := range keys {
			c.Writes = append(c.Writes, linking.Write{Key: k, Expect: v, Data: strconv.AppendUint(nil, v, 10)})
		}
		return c
	}
	must(t, s, all(0))
	var stop atomic.Bool
	var group, writer sync.WaitGroup
	writer.Go(func() {
		for v := uint64(1); !stop.Load(); v++ {
			if err := s.Commit(t.Context(), all(v)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for r := range 6 {
		group.Go(func() {
			ctx := t.Context()
			for i := range many(300) {
				from := (r*7 + i) % (n - 2)
				rs, err := s.Get(ctx, keys[from], keys[from+1], keys[n-1], keys[r])
				if err == nil && r == 0 && i%8 == 0 {
					rs, err = s.Get(ctx, keys...)
				}
				if err != nil {
					t.Error(err)
					return
				}
				for _, o := range rs[1:] {
					if o.Version != rs[0].Version || string(o.Data) != string(rs[0].Data) {
						t.Errorf("%s is at version %d and %s at %d", rs[0].ID, rs[0].Version, o.ID, o.Version)
						return
					}
				}
			}
		})
	}
	group.Wait()
	stop.Store(true)
	writer.Wait()
}

func readYourWrites(t *testing.T, s *subject) { acknowledged(t, s, s) }

func readAcrossHandles(t *testing.T, s *subject) {
	other := s.open()
	if other == nil {
		return // a backend for one process has no other
	}
	defer other.Close()
	acknowledged(t, s, other)
	is(t, other, key("n"), get(t, s, key("n")).Version, "")
	// And a conflict is one on both sides.
	must(t, other, commit(put("x", 0, "other")))
	conflicts(t, s, commit(put("x", 0, "first")))
}

// acknowledged commits through one handle while many read through another, all
// the same record: a read that begins after a commit was answered must see it.
func acknowledged(t *testing.T, w, r linking.Store) {
	var done atomic.Uint64 // the version that was acknowledged last
	var stop atomic.Bool
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			ctx := t.Context()
			for !stop.Load() {
				want := done.Load()
				rs, err := r.Get(ctx, key("n"))
				if err != nil {
					t.Errorf("Get: %v", err)
					return
				}
				if rs[0].Version < want {
					t.Errorf("read version %d after version %d was acknowledged", rs[0].Version, want)
					return
				}
			}
		})
	}
	for v := range uint64(many(400)) {
		if err := w.Commit(t.Context(), commit(put("n", v, ""))); err != nil {
			t.Errorf("Commit: %v", err)
			break
		}
		done.Store(v + 1)
	}
	stop.Store(true)
	group.Wait()
}

// woken demands a wake, though a wake may be lost: if it takes long, what woke it
// is done again.
func woken(t *testing.T, w *linking.Watcher, again func()) {
	t.Helper()
	for range 20 {
		again()
		select {
		case <-w.C:
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
	t.Fatal("the watcher slept on")
}

func watch(t *testing.T, s *subject) { watching(t, s, s, s.watchOff) }
func watchAcrossHandles(t *testing.T, s *subject) {
	other := s.open()
	if other == nil {
		return
	}
	defer other.Close()
	watching(t, s, other, s.watchOff)
	watching(t, other, s, s.watchOff)
}

// watching commits through one handle and watches through the other.
func watching(t *testing.T, s, at linking.Store, off bool) {
	record, log, other := at.Watch(linking.RecordTopic(key("w"))), at.Watch(linking.LogTopic(home, "m")), at.Watch(linking.RecordTopic(key("z")))
	defer record.Close()
	defer log.Close()
	defer other.Close()
	n := 0
	event := func() { n++; must(t, s, with(commit(), strconv.Itoa(n))) }
	write := func() {
		bump(t, s, key("w"), func(v uint64) linking.Commit { return commit(put("w", v, "")) })
	}
	if off {
		write()
		event()
		select {
		case <-record.C:
			t.Fatal("a wake though watching is off")
		case <-log.C:
			t.Fatal("a wake though watching is off")
		case <-time.After(20 * time.Millisecond):
		}
		return
	}
	woken(t, record, write)
	woken(t, log, event)
	woken(t, other, func() {
		bump(t, s, key("z"), func(v uint64) linking.Commit {
			if v > 0 {
				return commit(linking.Write{Key: key("z"), Expect: v, Delete: true})
			}
			return commit(put("z", 0, ""))
		})
	})
	// A conflict changes nothing and so need not wake; a closed watcher is not woken.
	record.Close()
	for len(record.C) > 0 {
		<-record.C
	}
	write()
	if at == s && len(record.C) > 0 {
		t.Fatal("a closed watcher was woken")
	}
}

func reopen(t *testing.T, s *subject) {
	must(t, s, with(commit(linking.Write{Key: key("a"), Data: []byte("1"), Due: noon, Owner: "o"}, put("gone", 0, "")), "1", "2"))
	must(t, s, with(commit(linking.Write{Key: key("a"), Expect: 1, Data: []byte("2"), Due: noon.Add(time.Second), Owner: "o"},
		linking.Write{Key: key("gone"), Expect: 1, Delete: true}), "3"))
	trimTo(t, s, "m", 3)
	c := with(commit(), "trimmed away")
	c.Log = "t"
	must(t, s, c)
	trimTo(t, s, "t", 2)
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	n := s.open()
	defer n.Close()
	is(t, n, key("a"), 2, "2")
	is(t, n, key("gone"), 0, "")
	same(t, "list", list(t, n, linking.Listing{Shard: home, Kind: "c", Owner: "o", Limit: 9}), []string{"a"})
	same(t, "due", due(t, n, noon.Add(time.Second), 9), []string{"a"})
	same(t, "not due", due(t, n, noon, 9), []string{})
	logged(t, n, "m", 3, "3")
	spanIs(t, n, "t", 2, 1)
	must(t, n, with(commit(linking.Write{Key: key("a"), Expect: 2, Owner: "o", Delete: true}), "4"))
	logged(t, n, "m", 3, "3", "4")
	same(t, "due", due(t, n, noon.Add(time.Second), 9), []string{})
}

func closed(t *testing.T, s *subject) {
	must(t, s, commit(put("a", 0, "1")))
	// Commits under way while the store closes are made or refused, never stuck.
	var group sync.WaitGroup
	var made atomic.Int32
	for i := range 16 {
		group.Go(func() {
			for j := range 50 {
				switch err := s.Commit(t.Context(), commit(put(fmt.Sprintf("%d.%d", i, j), 0, ""))); {
				case err == nil:
					made.Add(1)
				case linking.IsKind(err, linking.Unavailable):
					return
				default:
					t.Errorf("while closing: %v", err)
					return
				}
			}
		})
	}
	for made.Load() < 20 {
		time.Sleep(time.Millisecond) // commits are counted when they are done: there is no event to wait for
	}
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	group.Wait()
	if err := s.Commit(t.Context(), commit(put("b", 0, "1"))); !linking.IsKind(err, linking.Unavailable) {
		t.Fatalf("Commit: %v", err)
	}
	if _, err := s.Get(t.Context(), key("a")); !linking.IsKind(err, linking.Unavailable) {
		t.Fatalf("Get: %v", err)
	}
	if _, err := s.Due(t.Context(), home, noon, 1); !linking.IsKind(err, linking.Unavailable) {
		t.Fatalf("Due: %v", err)
	}
	if h := s.Health(t.Context()); h.Ready || h.Problem == "" {
		t.Fatalf("a closed store is %+v", h)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("Close again: %v", err)
	}
	n := s.open()
	defer n.Close()
	found := 0
	for i := range 16 {
		for j := range 50 {
			found += int(get(t, n, key(fmt.Sprintf("%d.%d", i, j))).Version)
		}
	}
	if found != int(made.Load()) {
		t.Fatalf("%d commits were acknowledged, %d are there", made.Load(), found)
	}
}

func health(t *testing.T, s *subject) {
	if h := s.Health(t.Context()); !h.Ready || h.Problem != "" || h.Backend == "" || len(h.Lost) > 0 {
		t.Fatalf("health: %+v", h)
	}
}
