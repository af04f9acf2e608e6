package storetest

import (
	"fmt"
	"math"
	"strconv"
	"sync"
	"testing"

	"placard/linking"
)

func eventsGapless(t *testing.T, s *subject) {
	for i := range 20 {
		id := strconv.Itoa(i)
		must(t, s, with(commit(put(id, 0, "")), id+"x", id+"y"))
	}
	var last uint64
	n := 0
	for {
		page := events(t, s, "m", last, 7)
		if len(page) == 0 {
			break
		}
		if len(page) > 7 || n > 40 {
			t.Fatalf("a page of %d after %d", len(page), n)
		}
		for _, e := range page {
			if want := strconv.Itoa(n/2) + string("xy"[n%2]); e.Seq != last+1 || string(e.Data) != want {
				t.Fatalf("event %d with %q behind event %d, want %q", e.Seq, e.Data, last, want)
			}
			last, n = e.Seq, n+1
		}
	}
	if n != 40 {
		t.Fatalf("%d events", n)
	}
	same(t, "after the last", events(t, s, "m", 40, 5), []int{})
	same(t, "after the end of time", events(t, s, "m", math.MaxUint64, 5), []int{})
}

func logsIndependent(t *testing.T, s *subject) {
	for i, log := range []string{"m", "m1", "m:1", "n", " ", "{m}"} {
		for j := range i + 1 {
			c := with(commit(), fmt.Sprintf("%s %d", log, j))
			c.Log = log
			must(t, s, c)
		}
	}
	logged(t, s, "m", 1, "m 0")
	logged(t, s, "m1", 1, "m1 0", "m1 1")
	logged(t, s, "m:1", 1, "m:1 0", "m:1 1", "m:1 2")
	logged(t, s, "{m}", 1, "{m} 0", "{m} 1", "{m} 2", "{m} 3", "{m} 4", "{m} 5")
	logged(t, s, "none", 1)
	if err := s.Trim(t.Context(), home, "m1", 3); err != nil {
		t.Fatal(err)
	}
	logged(t, s, "m", 1, "m 0")
	logged(t, s, "m1", 1)
	logged(t, s, "m:1", 1, "m:1 0", "m:1 1", "m:1 2")
}

func spanIs(t *testing.T, s linking.Store, log string, first, last uint64) {
	t.Helper()
	f, l, err := s.Span(t.Context(), home, log)
	if err != nil || f != first || l != last {
		t.Fatalf("Span(%q) = %d, %d, %v; want %d, %d", log, f, l, err, first, last)
	}
}

func trimTo(t *testing.T, s linking.Store, log string, before uint64) {
	t.Helper()
	if err := s.Trim(t.Context(), home, log, before); err != nil {
		t.Fatalf("Trim: %v", err)
	}
}

func trim(t *testing.T, s *subject) {
	for i := range 250 {
		must(t, s, with(commit(), strconv.Itoa(i+1)))
	}
	trimTo(t, s, "m", 0)
	trimTo(t, s, "m", 1)
	if n := len(events(t, s, "m", 0, 1000)); n != 250 {
		t.Fatalf("trimming nothing left %d", n)
	}
	trimTo(t, s, "m", 249)
	logged(t, s, "m", 249, "249", "250")
	trimTo(t, s, "m", 100)
	logged(t, s, "m", 249, "249", "250")
	must(t, s, with(commit(), "251"))
	logged(t, s, "m", 249, "249", "250", "251")
	trimTo(t, s, "m", 5000)
	logged(t, s, "m", 252)
	must(t, s, with(commit(), "252", "253"))
	logged(t, s, "m", 252, "252", "253")
	trimTo(t, s, "none", 5)
	c := with(commit(), "first")
	c.Log = "none"
	must(t, s, c)
	logged(t, s, "none", 1, "first")
}

func span(t *testing.T, s *subject) {
	spanIs(t, s, "m", 1, 0)
	must(t, s, with(commit(), "1"))
	spanIs(t, s, "m", 1, 1)
	must(t, s, with(commit(), "2", "3"))
	spanIs(t, s, "m", 1, 3)
	trimTo(t, s, "m", 2)
	spanIs(t, s, "m", 2, 3)
	trimTo(t, s, "m", 4)
	spanIs(t, s, "m", 4, 3)
	must(t, s, with(commit(), "4"))
	spanIs(t, s, "m", 4, 4)
	trimTo(t, s, "none", 4)
	spanIs(t, s, "none", 1, 0)
}

func eventsConcurrent(t *testing.T, s *subject) {
	const workers = 8
	each := many(20)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d.%d", w, i)
				if err := s.Commit(t.Context(), with(commit(put(id, 0, "")), id+"a", id+"b")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	got := events(t, s, "m", 0, linking.MaxPage)
	if len(got) != workers*each*2 {
		t.Fatalf("%d events, want %d", len(got), workers*each*2)
	}
	next := make([]int, workers)
	for i, e := range got {
		if e.Seq != uint64(i)+1 {
			t.Fatalf("event %d has number %d", i+1, e.Seq)
		}
		if i%2 == 1 { // the two of a commit stand together
			if first := string(got[i-1].Data); string(e.Data) != first[:len(first)-1]+"b" {
				t.Fatalf("%q behind %q", e.Data, first)
			}
			var w, n int
			fmt.Sscanf(string(e.Data), "%d.%d", &w, &n)
			if n != next[w] {
				t.Fatalf("commit %d of worker %d stands where %d should", n, w, next[w])
			}
			next[w]++
		}
	}
}

// eventsInCommitOrder has each commit log the version it makes: the log must tell
// the history of the record.
func eventsInCommitOrder(t *testing.T, s *subject) {
	must(t, s, with(commit(put("n", 0, "")), "1"))
	const workers = 6
	each := many(16)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range each {
				bump(t, s, key("n"), func(v uint64) linking.Commit {
					return with(commit(put("n", v, "")), strconv.FormatUint(v+1, 10))
				})
			}
		})
	}
	all.Wait()
	for i, e := range events(t, s, "m", 0, linking.MaxPage) {
		if string(e.Data) != strconv.Itoa(i+1) {
			t.Fatalf("event %d is about version %s", i+1, e.Data)
		}
	}
	if n := get(t, s, key("n")).Version; n != uint64(workers*each+1) {
		t.Fatalf("version %d after %d commits", n, workers*each+1)
	}
}
