package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"placard/linking"
)

// model is what a store should hold, as plainly as it can be said.
type model struct {
	records map[linking.Key]linking.Record
	owners  map[linking.Key]string
	logs    map[string]*modelLog // by shard and name
	applied []linking.Commit
}

type modelLog struct {
	shard  linking.Shard
	name   string
	first  uint64
	events [][]byte
}

func (l *modelLog) last() uint64 { return l.first + uint64(len(l.events)) - 1 }

func (m *model) log(shard linking.Shard, name string) *modelLog {
	k := shard.String() + name
	if m.logs[k] == nil {
		m.logs[k] = &modelLog{shard: shard, name: name, first: 1}
	}
	return m.logs[k]
}

func (m *model) apply(c linking.Commit) {
	for _, w := range c.Writes {
		if w.Delete {
			delete(m.records, w.Key)
			continue
		}
		m.owners[w.Key] = w.Owner
		m.records[w.Key] = linking.Record{Key: w.Key, Version: w.Expect + 1, Data: w.Data, Due: w.Due}
	}
	if len(c.Events) > 0 {
		l := m.log(c.Shard, c.Log)
		l.events = append(l.events, c.Events...)
	}
	m.applied = append(m.applied, c)
}

// list is what List should return.
func (m *model) list(l linking.Listing) (out []linking.Record) {
	for k, r := range m.records {
		if k.Shard != l.Shard || k.Kind != l.Kind || m.owners[k] != l.Owner || l.Owner == "" {
			continue
		}
		if l.After == "" || (l.Reverse && k.ID < l.After) || (!l.Reverse && k.ID > l.After) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b linking.Record) int { return bytes.Compare([]byte(a.ID), []byte(b.ID)) })
	if l.Reverse {
		slices.Reverse(out)
	}
	return out[:min(len(out), l.Limit)]
}

func (m *model) due(shard linking.Shard, by time.Time) (out []linking.DueKey) {
	for k, r := range m.records {
		if k.Shard == shard && !r.Due.IsZero() && !r.Due.After(by) {
			out = append(out, linking.DueKey{Key: k, Due: r.Due})
		}
	}
	slices.SortFunc(out, func(a, b linking.DueKey) int { return a.Due.Compare(b.Due) })
	return out
}

func modelOneShard(t *testing.T, s *subject) {
	random(t, s, many(600), []linking.Shard{home}, false)
}

func modelTwoShards(t *testing.T, s *subject) {
	random(t, s, many(400), []linking.Shard{home, linking.Shards - 1}, true)
}

// random drives store and model with the same random steps and compares what
// they answer at each.
func random(t *testing.T, s *subject, steps int, shards []linking.Shard, restarts bool) {
	n := seed(t)
	r := &run{T: t, Rand: rand.New(rand.NewPCG(n, 0)), Store: s.Store, shards: shards, step: -1,
		model: &model{records: map[linking.Key]linking.Record{}, owners: map[linking.Key]string{}, logs: map[string]*modelLog{}}}
	for r.step = range steps {
		switch r.IntN(20) {
		default:
			r.commit()
		case 0, 1:
			r.resend()
		case 2, 3:
			r.readSome()
		case 4:
			r.readList()
		case 5:
			r.readDue()
		case 6:
			r.readLog()
		case 7:
			if r.IntN(4) == 0 {
				r.trim()
			}
		case 8:
			if restarts && r.IntN(6) == 0 {
				if err := r.Close(); err != nil {
					t.Fatalf("Close: %v", err)
				}
				r.Store = s.open()
				defer r.Store.Close()
				r.model.applied = nil // a backend may keep commit ids no longer than its process
			}
		}
	}
	r.readAll()
}

type run struct {
	*testing.T
	*rand.Rand
	linking.Store
	*model
	shards []linking.Shard
	step   int
}

func (r *run) pick() linking.Shard { return r.shards[r.IntN(len(r.shards))] }

func (r *run) key(shard linking.Shard) linking.Key {
	kinds := []linking.RecordKind{"c", "r", "cc"}
	return linking.Key{Shard: shard, Kind: kinds[r.IntN(len(kinds))], ID: strconv.Itoa(r.IntN(9))}
}

// ownerOf is fixed for a key, as the port demands; some are in no list.
func ownerOf(k linking.Key) string { return []string{"", "o", "o1"}[int(k.ID[0])%3] }

func (r *run) commit() {
	c := linking.Commit{ID: linking.NewCommitID(), Shard: r.pick(), Log: []string{"m", "m1"}[r.IntN(2)]}
	right := true
	version := func(k linking.Key) uint64 {
		v := r.records[k].Version
		if r.IntN(12) == 0 { // a decision on an older or newer state
			right = false
			if v > 0 && r.IntN(2) == 0 {
				return v - 1
			}
			return v + 1 + r.Uint64N(2)
		}
		return v
	}
	seen := map[linking.Key]bool{}
	for range r.IntN(5) {
		k := r.key(c.Shard)
		if seen[k] {
			continue
		}
		seen[k] = true
		if r.IntN(4) == 0 {
			c.Checks = append(c.Checks, linking.Check{Key: k, Version: version(k)})
			continue
		}
		w := linking.Write{Key: k, Expect: version(k), Owner: ownerOf(k)}
		if w.Expect > 0 && r.IntN(4) == 0 {
			w.Delete = true
		} else {
			w.Data = fmt.Appendf(nil, "%d at step %d", r.Uint64(), r.step)
			if r.IntN(2) == 0 {
				w.Due = noon.Add(time.Duration(r.IntN(500)) * time.Millisecond)
			}
		}
		c.Writes = append(c.Writes, w)
	}
	for range r.IntN(3) {
		c.Events = append(c.Events, fmt.Appendf(nil, "event of step %d", r.step))
	}
	err := r.Commit(r.Context(), c)
	switch {
	case right && err != nil:
		r.Fatalf("step %d: %v for %+v", r.step, err, c)
	case !right && !errors.Is(err, linking.ErrConflict):
		r.Fatalf("step %d: %v, want a conflict for %+v", r.step, err, c)
	case right:
		r.apply(c)
	}
}

func (r *run) resend() {
	if len(r.applied) == 0 {
		return
	}
	c := r.applied[r.IntN(len(r.applied))]
	if err := r.Commit(r.Context(), c); err != nil {
		r.Fatalf("step %d, a commit sent again: %v", r.step, err)
	}
}

func (r *run) same(got, want linking.Record) {
	r.Helper()
	if got.Key != want.Key || got.Version != want.Version || !bytes.Equal(got.Data, want.Data) || !got.Due.Equal(want.Due) {
		r.Fatalf("step %d: the store has %+v, the model %+v", r.step, got, want)
	}
}

func (r *run) readSome() {
	shard := r.pick()
	var keys []linking.Key
	for range 1 + r.IntN(6) {
		keys = append(keys, r.key(shard))
	}
	got, err := r.Get(r.Context(), keys...)
	if err != nil || len(got) != len(keys) {
		r.Fatalf("step %d: Get: %d, %v", r.step, len(got), err)
	}
	for i, k := range keys {
		want := r.records[k]
		want.Key = k
		r.same(got[i], want)
	}
}

func (r *run) readList() {
	l := linking.Listing{Shard: r.pick(), Kind: "c", Owner: []string{"o", "o1"}[r.IntN(2)], Limit: 1 + r.IntN(5), Reverse: r.IntN(2) == 0}
	if r.IntN(2) == 0 {
		l.After = strconv.Itoa(r.IntN(10))
	}
	r.compareList(l)
}

func (r *run) compareList(l linking.Listing) {
	got, err := r.List(r.Context(), l)
	want := r.list(l)
	if err != nil || len(got) != len(want) {
		r.Fatalf("step %d: List(%+v) has %d records, the model %d: %v", r.step, l, len(got), len(want), err)
	}
	for i := range got {
		r.same(got[i], want[i])
	}
}

func (r *run) readDue() {
	r.compareDue(r.pick(), noon.Add(time.Duration(r.IntN(500))*time.Millisecond), 1+r.IntN(20))
}

func (r *run) compareDue(shard linking.Shard, by time.Time, limit int) {
	got, err := r.Due(r.Context(), shard, by, limit)
	all := r.model.due(shard, by)
	if err != nil || len(got) != min(limit, len(all)) {
		r.Fatalf("step %d: %d are due, %d in the model, limit %d: %v", r.step, len(got), len(all), limit, err)
	}
	for i, k := range got {
		// Among equals the order is free.
		if !k.Due.Equal(all[i].Due) || !r.records[k.Key].Due.Equal(k.Due) {
			r.Fatalf("step %d: number %d that is due is %+v, in the model %+v", r.step, i, k, all[i])
		}
	}
}

func (r *run) readLog() {
	l := r.log(r.pick(), []string{"m", "m1", "none"}[r.IntN(3)])
	r.compareLog(l, r.Uint64N(l.last()+2), 1+r.IntN(20))
}

func (r *run) compareLog(l *modelLog, after uint64, limit int) {
	got, err := r.Events(r.Context(), l.shard, l.name, after, limit)
	from := 0
	if after >= l.first {
		from = int(after - l.first + 1)
	}
	want := l.events[min(from, len(l.events)):]
	want = want[:min(limit, len(want))]
	if err != nil || len(got) != len(want) {
		r.Fatalf("step %d: %d events of %s after %d, %d in the model: %v", r.step, len(got), l.name, after, len(want), err)
	}
	for i, e := range got {
		if e.Seq != max(after+1, l.first)+uint64(i) || !bytes.Equal(e.Data, want[i]) {
			r.Fatalf("step %d: event %d with %q, in the model %q", r.step, e.Seq, e.Data, want[i])
		}
	}
	first, last, err := r.Span(r.Context(), l.shard, l.name)
	if err != nil || first != l.first || last != l.last() {
		r.Fatalf("step %d: Span of %s is %d to %d, in the model %d to %d: %v", r.step, l.name, first, last, l.first, l.last(), err)
	}
}

func (r *run) trim() {
	l := r.log(r.pick(), []string{"m", "m1"}[r.IntN(2)])
	before := r.Uint64N(l.last() + 3)
	if err := r.Trim(r.Context(), l.shard, l.name, before); err != nil {
		r.Fatalf("step %d: Trim: %v", r.step, err)
	}
	for len(l.events) > 0 && l.first < before {
		l.events, l.first = l.events[1:], l.first+1
	}
}

func (r *run) readAll() {
	r.step++
	for _, shard := range r.shards {
		for _, kind := range []linking.RecordKind{"c", "r", "cc"} {
			for id := range 9 {
				k := linking.Key{Shard: shard, Kind: kind, ID: strconv.Itoa(id)}
				want := r.records[k]
				want.Key = k
				r.same(get(r, r.Store, k), want)
			}
			for _, owner := range []string{"o", "o1"} {
				r.compareList(linking.Listing{Shard: shard, Kind: kind, Owner: owner, Limit: linking.MaxPage})
			}
		}
		r.compareDue(shard, noon.Add(time.Hour), linking.MaxPage)
		for _, name := range []string{"m", "m1"} {
			r.compareLog(r.log(shard, name), 0, linking.MaxPage)
		}
	}
}
