package storetest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"placard/linking"
)

func dueTimes(t *testing.T, s *subject) {
	for i, at := range []time.Time{
		noon.Add(123456789 * time.Nanosecond),
		time.Unix(0, 0),
		time.Unix(0, 1e6),
		time.Date(1931, 5, 6, 7, 8, 9, 1e6, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC),
		time.Date(2030, 6, 1, 12, 0, 0, 5e6, time.FixedZone("", -3*3600)),
	} {
		id := fmt.Sprint(i)
		must(t, s, commit(linking.Write{Key: key(id), Due: at}))
		want := at.Truncate(time.Millisecond)
		if got := get(t, s, key(id)).Due; !got.Equal(want) {
			t.Errorf("due %v came back as %v", at, got)
		}
		ks, err := s.Due(t.Context(), home, want, 1000)
		if err != nil || len(ks) == 0 {
			t.Fatalf("nothing is due at %v: %v", want, err)
		}
		found := false
		for _, k := range ks {
			found = found || k.ID == id && k.Due.Equal(want)
		}
		if !found {
			t.Errorf("%v is not due at its own time: %v", want, ks)
		}
		for _, early := range due(t, s, want.Add(-time.Millisecond), 1000) {
			if early == id {
				t.Errorf("%v is due a millisecond early", want)
			}
		}
	}
}

func dueMoves(t *testing.T, s *subject) {
	at := func(expect uint64, due time.Time) linking.Write {
		return linking.Write{Key: key("a"), Expect: expect, Due: due}
	}
	hour := noon.Add(time.Hour)
	must(t, s, commit(at(0, noon), linking.Write{Key: key("other"), Due: noon}))
	same(t, "before", due(t, s, noon.Add(-time.Millisecond), 10), []string{})
	same(t, "due", due(t, s, noon, 10), []string{"a", "other"})
	must(t, s, commit(at(1, hour)))
	same(t, "moved away", due(t, s, hour.Add(-time.Millisecond), 10), []string{"other"})
	same(t, "moved to", due(t, s, hour, 10), []string{"other", "a"})
	must(t, s, commit(at(2, hour)))
	same(t, "written with the same time", due(t, s, hour, 10), []string{"other", "a"})
	must(t, s, commit(at(3, time.Time{})))
	same(t, "cleared", due(t, s, hour, 10), []string{"other"})
	must(t, s, commit(at(4, noon)))
	must(t, s, commit(linking.Write{Key: key("a"), Expect: 5, Delete: true}))
	same(t, "removed", due(t, s, hour, 10), []string{"other"})
}

func dueOrder(t *testing.T, s *subject) {
	n := 60
	for _, i := range rand.Perm(n) {
		kind := linking.RecordKind("c")
		if i%2 == 0 {
			kind = "r"
		}
		must(t, s, commit(linking.Write{
			Key: linking.Key{Shard: home, Kind: kind, ID: fmt.Sprintf("%02d", i)}, Due: noon.Add(time.Duration(i) * time.Minute),
		}))
	}
	ks, err := s.Due(t.Context(), home, noon.Add(time.Hour), linking.MaxPage)
	if err != nil || len(ks) != n {
		t.Fatalf("%d are due, want %d: %v", len(ks), n, err)
	}
	for i, k := range ks {
		want := linking.RecordKind("c")
		if i%2 == 0 {
			want = "r"
		}
		if k.Shard != home || k.Kind != want || k.ID != fmt.Sprintf("%02d", i) || !k.Due.Equal(noon.Add(time.Duration(i)*time.Minute)) {
			t.Fatalf("number %d is %v, due %v", i, k.Key, k.Due)
		}
	}
	same(t, "the most overdue", due(t, s, noon.Add(time.Hour), 3), []string{"00", "01", "02"})
	same(t, "by minute 1", due(t, s, noon.Add(time.Minute), 100), []string{"00", "01"})
}

func listOwners(t *testing.T, s *subject) {
	w := func(kind linking.RecordKind, id, owner string) linking.Write {
		return linking.Write{Key: linking.Key{Shard: home, Kind: kind, ID: id}, Owner: owner}
	}
	must(t, s, commit(w("c", "1", "m"), w("c", "2", "m1"), w("c", "3", ""), w("r", "4", "m"), w("cc", "5", "m"), w("c", "6", "m:1"), w("c", "7", "m}"),
		w("c", "12", ""), w("c", ":16", ""))) // what the ids would be if names ran together
	at := func(kind linking.RecordKind, owner string) []string {
		return list(t, s, linking.Listing{Shard: home, Kind: kind, Owner: owner, Limit: 10})
	}
	same(t, "m", at("c", "m"), []string{"1"})
	same(t, "m1", at("c", "m1"), []string{"2"})
	same(t, "m:1", at("c", "m:1"), []string{"6"})
	same(t, "m}", at("c", "m}"), []string{"7"})
	same(t, "requests of m", at("r", "m"), []string{"4"})
	same(t, "kind cc", at("cc", "m"), []string{"5"})
	same(t, "nobody", at("c", "nobody"), []string{})
	for _, reverse := range []bool{false, true} {
		if got := list(t, s, linking.Listing{Shard: home, Kind: "c", Owner: "m", Limit: 10, Reverse: reverse}); len(got) != 1 {
			t.Fatalf("m, reverse %v: %v", reverse, got)
		}
	}
	// A list shows the present record, and an owner who is named again changes nothing.
	must(t, s, commit(linking.Write{Key: key("1"), Expect: 1, Data: []byte("new"), Due: noon, Owner: "m"}))
	rs, err := s.List(t.Context(), linking.Listing{Shard: home, Kind: "c", Owner: "m", Limit: 10})
	if err != nil || len(rs) != 1 || rs[0].Key != key("1") || rs[0].Version != 2 || string(rs[0].Data) != "new" || !rs[0].Due.Equal(noon) {
		t.Fatalf("list: %+v, %v", rs, err)
	}
}

func listPages(t *testing.T, s *subject) {
	var ids []string
	n := 53
	for _, i := range rand.Perm(n) {
		must(t, s, commit(linking.Write{Key: key(fmt.Sprintf("%03d", 2*i)), Owner: "o"}))
	}
	// Neighbours on both sides that must not show up.
	must(t, s, commit(linking.Write{Key: key("before"), Owner: "n"}, linking.Write{Key: key("behind"), Owner: "oo"}, linking.Write{Key: key("p"), Owner: "p"}))
	for i := range n {
		ids = append(ids, fmt.Sprintf("%03d", 2*i))
	}
	for _, reverse := range []bool{false, true} {
		for _, limit := range []int{1, 7, n, linking.MaxPage} {
			var got []string
			l := linking.Listing{Shard: home, Kind: "c", Owner: "o", Limit: limit, Reverse: reverse}
			for {
				page := list(t, s, l)
				if len(page) > limit {
					t.Fatalf("a page of %d, limit %d", len(page), limit)
				}
				if len(page) == 0 {
					break
				}
				if got = append(got, page...); len(got) > 2*n {
					t.Fatalf("reverse %v, pages of %d: no end after %v", reverse, limit, got)
				}
				l.After = page[len(page)-1]
			}
			want := append([]string(nil), ids...)
			if reverse {
				for i, j := 0, len(want)-1; i < j; i, j = i+1, j-1 {
					want[i], want[j] = want[j], want[i]
				}
			}
			same(t, fmt.Sprintf("reverse %v, pages of %d", reverse, limit), got, want)
		}
	}
	// A cursor may name what is not there.
	at := func(after string, reverse bool) []string {
		return list(t, s, linking.Listing{Shard: home, Kind: "c", Owner: "o", After: after, Limit: 2, Reverse: reverse})
	}
	same(t, "after 003", at("003", false), []string{"004", "006"})
	same(t, "before 003", at("003", true), []string{"002", "000"})
	same(t, "after the last", at("104", false), []string{})
	same(t, "before the first", at("000", true), []string{})
	same(t, "before beyond", at("zzz", true), []string{"104", "102"})
	must(t, s, commit(linking.Write{Key: key("005"), Owner: "o"}))
	same(t, "a new one ahead", at("004", false), []string{"005", "006"})
}

func listRemoved(t *testing.T, s *subject) {
	w := func(id string, expect uint64, gone bool) linking.Write {
		return linking.Write{Key: key(id), Expect: expect, Owner: "o", Delete: gone}
	}
	at := func() []string {
		return list(t, s, linking.Listing{Shard: home, Kind: "c", Owner: "o", Limit: 10})
	}
	must(t, s, commit(w("a", 0, false), w("b", 0, false), w("c", 0, false)))
	must(t, s, commit(w("b", 1, true), w("c", 1, false)))
	same(t, "after a removal", at(), []string{"a", "c"})
	must(t, s, commit(w("b", 0, false)))
	same(t, "made again", at(), []string{"a", "b", "c"})
	must(t, s, commit(w("a", 1, true), w("b", 1, true), w("c", 2, true)))
	same(t, "all removed", at(), []string{})
}
