package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"placard/linking"
)

func readBack(t *testing.T, s *subject) {
	data := []byte("a\x00b\xff\r\n")
	w := linking.Write{Key: key("a"), Data: data, Due: noon, Owner: "o"}
	must(t, s, commit(w, put("empty", 0, "")))
	want := linking.Record{Key: key("a"), Version: 1, Data: data, Due: noon}
	if got := get(t, s, key("a")); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	is(t, s, key("empty"), 1, "")
	w.Expect, w.Data, w.Due = 1, []byte("second"), time.Time{}
	must(t, s, commit(w))
	want = linking.Record{Key: key("a"), Version: 2, Data: []byte("second")}
	if got := get(t, s, key("a")); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

func missing(t *testing.T, s *subject) {
	if got, want := get(t, s, key("none")), (linking.Record{Key: key("none")}); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

func getOrder(t *testing.T, s *subject) {
	must(t, s, commit(put("a", 0, "A"), put("b", 0, "B")))
	rs, err := s.Get(t.Context(), key("b"), key("none"), key("a"), key("b"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rs {
		got = append(got, r.ID+"="+string(r.Data))
	}
	same(t, "Get", got, []string{"b=B", "none=", "a=A", "b=B"})
	rs[0].Data[0] = 'X'
	if string(rs[3].Data) != "B" {
		t.Fatal("two records share their bytes")
	}
	if rs, err := s.Get(t.Context()); err != nil || len(rs) != 0 {
		t.Fatalf("Get of nothing = %v, %v", rs, err)
	}
}

func createTwice(t *testing.T, s *subject) {
	must(t, s, commit(put("a", 0, "1")))
	conflicts(t, s, commit(put("a", 0, "1")))
	is(t, s, key("a"), 1, "1")
}

func stale(t *testing.T, s *subject) {
	must(t, s, commit(put("a", 0, "1")), commit(put("a", 1, "2")))
	conflicts(t, s, commit(put("a", 1, "3")))
	conflicts(t, s, commit(put("a", 3, "3")))
	conflicts(t, s, commit(put("none", 1, "3")))
	is(t, s, key("a"), 2, "2")
	is(t, s, key("none"), 0, "")
	for v := uint64(2); v < 300; v++ { // past what one byte of a version holds
		must(t, s, commit(put("a", v, "x")))
	}
	is(t, s, key("a"), 300, "x")
	conflicts(t, s, commit(put("a", 44, "x")))
}

func removed(t *testing.T, s *subject) {
	gone := func(expect uint64) linking.Write {
		return linking.Write{Key: key("a"), Expect: expect, Delete: true}
	}
	must(t, s, commit(put("a", 0, "1")), commit(put("a", 1, "2")))
	conflicts(t, s, commit(gone(1)))
	must(t, s, commit(gone(2)))
	is(t, s, key("a"), 0, "")
	conflicts(t, s, commit(gone(2)))
	conflicts(t, s, commit(put("a", 2, "3")))
	must(t, s, commit(put("a", 0, "again")))
	is(t, s, key("a"), 1, "again")
}

func conflictWritesNothing(t *testing.T, s *subject) {
	old := linking.Write{Key: key("old"), Data: []byte("1"), Due: noon, Owner: "o"}
	must(t, s, with(commit(old), "first"))
	fresh := linking.Write{Key: key("fresh"), Data: []byte("x"), Due: noon, Owner: "o"}
	old.Expect, old.Due, old.Data = 1, time.Time{}, []byte("2")
	gone := linking.Write{Key: key("old"), Expect: 1, Owner: "o", Delete: true}
	wrong := put("wrong", 9, "x")
	for _, c := range []linking.Commit{
		commit(fresh, old, wrong),
		commit(wrong, fresh, old),
		commit(old, wrong, fresh),
		commit(fresh, gone, wrong),
		{ID: linking.NewCommitID(), Shard: home, Log: "m", Writes: []linking.Write{fresh, old}, Checks: []linking.Check{{Key: key("none"), Version: 1}}},
	} {
		conflicts(t, s, with(c, "second"))
	}
	is(t, s, key("old"), 1, "1")
	is(t, s, key("fresh"), 0, "")
	logged(t, s, "m", 1, "first")
	// Beside others that are made at the same time, perhaps in one transaction.
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for j := range many(12) {
				id := fmt.Sprintf("%d.%d", i, j)
				if i%2 == 0 {
					if err := s.Commit(t.Context(), commit(put(id, 0, ""))); err != nil {
						t.Error(err)
					}
				} else if err := s.Commit(t.Context(), with(commit(put(id, 0, ""), wrong), "no")); !errors.Is(err, linking.ErrConflict) {
					t.Errorf("got %v, want ErrConflict", err)
				}
			}
		})
	}
	all.Wait()
	for i := range 16 {
		for j := range many(12) {
			if v, want := get(t, s, key(fmt.Sprintf("%d.%d", i, j))).Version, uint64((i+1)%2); v != want {
				t.Fatalf("record %d.%d is at version %d, want %d", i, j, v, want)
			}
		}
	}
	logged(t, s, "m", 1, "first")
	same(t, "due", due(t, s, noon, 10), []string{"old"})
	same(t, "list", list(t, s, linking.Listing{Shard: home, Kind: "c", Owner: "o", Limit: 10}), []string{"old"})
}

func checks(t *testing.T, s *subject) {
	check := func(c linking.Commit, id string, version uint64) linking.Commit {
		c.Checks = append(c.Checks, linking.Check{Key: key(id), Version: version})
		return c
	}
	must(t, s, commit(put("a", 0, ""), put("b", 0, "")), commit(put("a", 1, "")))
	conflicts(t, s, check(commit(put("b", 1, "")), "a", 1))
	conflicts(t, s, check(commit(put("b", 1, "")), "a", 0))
	conflicts(t, s, check(commit(put("b", 1, "")), "none", 1))
	conflicts(t, s, check(check(commit(put("b", 1, "")), "a", 2), "none", 1))
	must(t, s, with(check(check(commit(put("b", 1, "new")), "a", 2), "none", 0), "e"))
	is(t, s, key("b"), 2, "new")
	is(t, s, key("a"), 2, "")
	// Without a write: an event that is only true while a record stands still.
	conflicts(t, s, with(check(commit(), "a", 1), "no"))
	must(t, s, with(check(commit(), "a", 2), "yes"))
	logged(t, s, "m", 1, "e", "yes")
}

func resend(t *testing.T, s *subject) {
	a := linking.Write{Key: key("a"), Data: []byte("1"), Owner: "o"}
	first := with(commit(a), "one")
	must(t, s, first, first)
	is(t, s, key("a"), 1, "1")
	must(t, s, commit(put("a", 1, "2")), first)
	is(t, s, key("a"), 2, "2")
	// The record is where the commit expects it, and still it must not apply again.
	gone := linking.Write{Key: key("a"), Expect: 2, Owner: "o", Delete: true}
	must(t, s, commit(gone), first)
	is(t, s, key("a"), 0, "")
	same(t, "list", list(t, s, linking.Listing{Shard: home, Kind: "c", Owner: "o", Limit: 10}), []string{})
	onlyEvent := with(commit(), "two")
	must(t, s, onlyEvent, onlyEvent, onlyEvent)
	logged(t, s, "m", 1, "one", "two")
}

func resendAtOnce(t *testing.T, s *subject) {
	for i := range uint64(many(20)) {
		c := with(commit(put("a", i, fmt.Sprint(i))), "e")
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() {
				if err := s.Commit(t.Context(), c); err != nil {
					t.Errorf("one of six sends: %v", err)
				}
			})
		}
		all.Wait()
		is(t, s, key("a"), i+1, fmt.Sprint(i))
		if n := len(events(t, s, "m", 0, 1000)); n != int(i)+1 {
			t.Fatalf("%d events after %d commits", n, i+1)
		}
	}
}

func conflictLeavesID(t *testing.T, s *subject) {
	c := with(commit(put("a", 1, "second")), "e")
	conflicts(t, s, c)
	conflicts(t, s, c)
	var all sync.WaitGroup
	for i := range 16 { // beside others that are made at the same time
		all.Go(func() {
			if i%2 == 0 {
				must(t, s, commit(put(fmt.Sprint("beside", i), 0, "")))
			} else if err := s.Commit(t.Context(), c); !errors.Is(err, linking.ErrConflict) {
				t.Errorf("got %v, want ErrConflict", err)
			}
		})
	}
	all.Wait()
	must(t, s, commit(put("a", 0, "first")))
	must(t, s, c, c)
	is(t, s, key("a"), 2, "second")
	logged(t, s, "m", 1, "e")
}

func bytesBelongToCaller(t *testing.T, s *subject) {
	was, said := strings.Repeat("abc", 1000), strings.Repeat("def", 1000)
	data, event := []byte(was), []byte(said)
	c := commit(linking.Write{Key: key("a"), Data: data})
	c.Events = [][]byte{event}
	must(t, s, c)
	data[0], event[0] = 'X', 'X'
	r := get(t, s, key("a"))
	e := events(t, s, "m", 0, 9)[0]
	if string(r.Data) != was || string(e.Data) != said {
		t.Fatalf("changed behind the store's back: %.9q, %.9q", r.Data, e.Data)
	}
	r.Data[1], e.Data[1] = 'Y', 'Y'
	_ = append(r.Data, "overrun"...)
	is(t, s, key("a"), 1, was)
	logged(t, s, "m", 1, said)

	// Readers at once get their own bytes, also if they asked for the same.
	var all sync.WaitGroup
	for range many(40) {
		all.Go(func() {
			for range 20 {
				rs, err := s.Get(t.Context(), key("a"))
				if err != nil || string(rs[0].Data) != was {
					t.Errorf("Get: %d records, not as they were written: %v", len(rs), err)
					return
				}
				clear(rs[0].Data)
			}
		})
	}
	all.Wait()
}

func printableIDs(t *testing.T, s *subject) {
	ascii := make([]byte, 0, 95)
	for b := byte(0x20); b <= 0x7e; b++ {
		ascii = append(ascii, b)
	}
	ids := []string{" ", ":", "{", "}", "{}", "{0A}", "a", "a:b", "b", "a}", "\\x00", "~", string(ascii), strings.Repeat("z", 128)}
	kinds := []linking.RecordKind{"a", "aa", "n", "store", "abcdefgh"}
	var c linking.Commit
	c.ID, c.Shard = linking.NewCommitID(), home
	for _, kind := range kinds {
		for _, id := range ids {
			c.Writes = append(c.Writes, linking.Write{
				Key: linking.Key{Shard: home, Kind: kind, ID: id}, Data: []byte(string(kind) + " " + id), Owner: "o:" + string(kind), Due: noon,
			})
		}
	}
	must(t, s, c)
	for _, w := range c.Writes {
		is(t, s, w.Key, 1, string(w.Data))
	}
	for _, kind := range kinds {
		if n := len(list(t, s, linking.Listing{Shard: home, Kind: kind, Owner: "o:" + string(kind), Limit: 100})); n != len(ids) {
			t.Fatalf("list of kind %s has %d records, want %d", kind, n, len(ids))
		}
	}
	seen := map[linking.Key]bool{}
	ks, err := s.Due(t.Context(), home, noon, linking.MaxPage)
	for _, k := range ks {
		seen[k.Key] = true
	}
	if err != nil || len(seen) != len(kinds)*len(ids) {
		t.Fatalf("%d records are due, want %d: %v", len(seen), len(kinds)*len(ids), err)
	}
}

func limits(t *testing.T, s *subject) {
	big := commit(linking.Write{Key: key("big"), Data: make([]byte, linking.MaxRecord)})
	big.Events = [][]byte{make([]byte, linking.MaxRecord)}
	must(t, s, big)
	if n := len(get(t, s, key("big")).Data); n != linking.MaxRecord {
		t.Fatalf("read %d bytes", n)
	}
	if n := len(events(t, s, "m", 0, 1)[0].Data); n != linking.MaxRecord {
		t.Fatalf("read an event of %d bytes", n)
	}
	owner := strings.Repeat("o", 64)
	c := commit()
	c.Log = strings.Repeat("l", 64)
	var keys []linking.Key
	for i := range linking.MaxWrites {
		k := key(fmt.Sprintf("%0128d", i))
		keys = append(keys, k)
		c.Writes = append(c.Writes, linking.Write{Key: k, Data: []byte("x"), Owner: owner, Due: noon})
		c.Events = append(c.Events, []byte("e"))
	}
	must(t, s, c)
	rs, err := s.Get(t.Context(), keys...)
	if err != nil || len(rs) != len(keys) || rs[len(keys)-1].Version != 1 {
		t.Fatalf("Get of %d: %d, %v", len(keys), len(rs), err)
	}
	if n := len(list(t, s, linking.Listing{Shard: home, Kind: "c", Owner: owner, Limit: linking.MaxPage})); n != linking.MaxPage {
		t.Fatalf("a page of %d", n)
	}
	if n := len(due(t, s, noon, linking.MaxPage)); n != linking.MaxPage {
		t.Fatalf("%d are due", n)
	}
	if n := len(events(t, s, c.Log, 0, linking.MaxPage)); n != linking.MaxPage {
		t.Fatalf("%d events", n)
	}
	checked := commit()
	for _, k := range keys {
		checked.Checks = append(checked.Checks, linking.Check{Key: k, Version: 1})
	}
	must(t, s, with(checked, "all still there"))
}

func brokenCommits(t *testing.T, s *subject) {
	must(t, s, commit(put("a", 0, "1")))
	ok := func() linking.Commit { return with(commit(put("b", 0, "x")), "e") }
	broken := map[string]func(*linking.Commit){
		"no id":                 func(c *linking.Commit) { c.ID = linking.CommitID{} },
		"two shards":            func(c *linking.Commit) { c.Writes[0].Shard++ },
		"check of other shard":  func(c *linking.Commit) { c.Checks = []linking.Check{{Key: linking.Key{Shard: 1, Kind: "c", ID: "x"}}} },
		"no such shard":         func(c *linking.Commit) { c.Shard, c.Writes[0].Shard = linking.Meta+1, linking.Meta+1 },
		"no kind":               func(c *linking.Commit) { c.Writes[0].Kind = "" },
		"kind in capitals":      func(c *linking.Commit) { c.Writes[0].Kind = "L" },
		"kind with colon":       func(c *linking.Commit) { c.Writes[0].Kind = "a:b" },
		"long kind":             func(c *linking.Commit) { c.Writes[0].Kind = "abcdefghi" },
		"no record id":          func(c *linking.Commit) { c.Writes[0].ID = "" },
		"long record id":        func(c *linking.Commit) { c.Writes[0].ID = strings.Repeat("x", 129) },
		"newline in id":         func(c *linking.Commit) { c.Writes[0].ID = "x\ny" },
		"letter beyond ASCII":   func(c *linking.Commit) { c.Writes[0].ID = "é" },
		"same record twice":     func(c *linking.Commit) { c.Writes = append(c.Writes, c.Writes[0]) },
		"checked and written":   func(c *linking.Commit) { c.Checks = []linking.Check{{Key: c.Writes[0].Key}} },
		"large record":          func(c *linking.Commit) { c.Writes[0].Data = make([]byte, linking.MaxRecord+1) },
		"large event":           func(c *linking.Commit) { c.Events[0] = make([]byte, linking.MaxRecord+1) },
		"long owner":            func(c *linking.Commit) { c.Writes[0].Owner = strings.Repeat("o", 65) },
		"owner with NUL":        func(c *linking.Commit) { c.Writes[0].Owner = "a\x00b" },
		"removal of nothing":    func(c *linking.Commit) { c.Writes[0].Delete = true },
		"events without a log":  func(c *linking.Commit) { c.Log = "" },
		"events of a long log":  func(c *linking.Commit) { c.Log = strings.Repeat("l", 65) },
		"more writes than most": func(c *linking.Commit) { c.Writes = make([]linking.Write, linking.MaxWrites+1) },
		"more events than most": func(c *linking.Commit) { c.Events = make([][]byte, linking.MaxWrites+1) },
	}
	for what, breakIt := range broken {
		c := ok()
		breakIt(&c)
		if err := s.Commit(t.Context(), c); err == nil || errors.Is(err, linking.ErrConflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
	is(t, s, key("b"), 0, "")
	logged(t, s, "m", 1)
}

func brokenQuestions(t *testing.T, s *subject) {
	ctx := t.Context()
	_, twoShards := s.Get(ctx, key("a"), linking.Key{Shard: home + 1, Kind: "c", ID: "a"})
	_, tooMany := s.Get(ctx, make([]linking.Key, linking.MaxWrites+1)...)
	_, noShard := s.Get(ctx, linking.Key{Shard: linking.Meta + 1, Kind: "c", ID: "a"})
	_, listNone := s.List(ctx, linking.Listing{Shard: home, Kind: "c", Owner: "o"})
	_, listMore := s.List(ctx, linking.Listing{Shard: home, Kind: "c", Owner: "o", Limit: linking.MaxPage + 1})
	_, dueNone := s.Due(ctx, home, noon, 0)
	_, dueMore := s.Due(ctx, home, noon, linking.MaxPage+1)
	_, eventsNone := s.Events(ctx, home, "m", 0, -1)
	_, eventsMore := s.Events(ctx, home, "m", 0, linking.MaxPage+1)
	_, noLog := s.Events(ctx, home, "", 0, 1)
	for what, err := range map[string]error{
		"Get over two shards": twoShards, "Get of too many": tooMany, "Get of no shard": noShard,
		"List of 0": listNone, "List of more than a page": listMore, "Due of 0": dueNone, "Due of more than a page": dueMore,
		"Events of -1": eventsNone, "Events of more than a page": eventsMore, "Events of no log": noLog,
	} {
		if err == nil {
			t.Errorf("%s was answered", what)
		}
	}
}

func endedContext(t *testing.T, s *subject) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Commit(ctx, commit(put("a", 0, "x"))); !errors.Is(err, context.Canceled) {
		t.Fatalf("Commit: %v", err)
	}
	if _, err := s.Get(ctx, key("a")); err == nil {
		t.Fatal("Get answered an ended context")
	}
	is(t, s, key("a"), 0, "")
}

func shards(t *testing.T, s *subject) {
	all := []linking.Shard{0, 1, 31, 32, home, linking.Shards - 1, linking.Meta}
	for i, sh := range all {
		w := linking.Write{Key: linking.Key{Shard: sh, Kind: "c", ID: "same"}, Data: []byte(sh.String()), Due: noon.Add(time.Duration(i) * time.Second), Owner: "o"}
		must(t, s, linking.Commit{ID: linking.NewCommitID(), Shard: sh, Log: "m", Writes: []linking.Write{w}, Events: [][]byte{[]byte(sh.String())}})
	}
	ctx := t.Context()
	for i, sh := range all {
		is(t, s, linking.Key{Shard: sh, Kind: "c", ID: "same"}, 1, sh.String())
		rs, err := s.List(ctx, linking.Listing{Shard: sh, Kind: "c", Owner: "o", Limit: 9})
		if err != nil || len(rs) != 1 || string(rs[0].Data) != sh.String() {
			t.Fatalf("list of shard %v: %v, %v", sh, rs, err)
		}
		ks, err := s.Due(ctx, sh, noon.Add(time.Hour), 9)
		if err != nil || len(ks) != 1 || ks[0].Shard != sh || !ks[0].Due.Equal(noon.Add(time.Duration(i)*time.Second)) {
			t.Fatalf("due of shard %v: %v, %v", sh, ks, err)
		}
		ev, err := s.Events(ctx, sh, "m", 0, 9)
		if err != nil || len(ev) != 1 || ev[0].Seq != 1 || string(ev[0].Data) != sh.String() {
			t.Fatalf("events of shard %v: %v, %v", sh, ev, err)
		}
	}
	empty := linking.Shard(500)
	is(t, s, linking.Key{Shard: empty, Kind: "c", ID: "same"}, 0, "")
	if ks, err := s.Due(ctx, empty, noon.Add(time.Hour), 9); err != nil || len(ks) != 0 {
		t.Fatalf("due of an empty shard: %v, %v", ks, err)
	}
}
