package boltstore_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"placard/linking"
	"placard/linking/boltstore"
)

// BenchmarkCommit compares the store with bbolt's own Batch making the same
// writes, in turns within one run, and reports the median of the ratios: more
// than 1 is faster.
//
//	go test -run '^$' -bench . -benchtime 7x ./linking/boltstore
func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			dir := b.TempDir()
			s, err := boltstore.Open(filepath.Join(dir, "ours"), boltstore.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			bare, err := bbolt.Open(filepath.Join(dir, "bare"), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType})
			if err != nil {
				b.Fatal(err)
			}
			defer bare.Close()
			bare.MaxBatchDelay = 2 * time.Millisecond // with the default of 10 ms it is slower still
			if err := bare.Update(func(tx *bbolt.Tx) error {
				for _, name := range []string{"records", "lists", "due", "events", "sequences"} {
					if _, err := tx.CreateBucket([]byte(name)); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
			var n atomic.Int64
			times := 6000
			if writers == 1 {
				times = 300
			}
			one := func() float64 {
				return rate(writers, times, func(w int) error { return bareCommit(bare, swap(linking.Shard(w), int(n.Add(1)))) }, b)
			}
			other := func() float64 {
				return rate(writers, times, func(w int) error {
					return s.Commit(context.Background(), swap(linking.Shard(w), int(n.Add(1))))
				}, b)
			}
			one()
			other()
			var rates, ratios []float64
			for b.Loop() {
				x, y := one(), other()
				rates, ratios = append(rates, y), append(ratios, y/x)
			}
			slices.Sort(rates)
			slices.Sort(ratios)
			b.ReportMetric(rates[len(rates)/2], "ours/s")
			b.ReportMetric(ratios[len(ratios)/2], "ratio")
		})
	}
}

func rate(writers, times int, f func(worker int) error, b *testing.B) float64 {
	var next atomic.Int64
	var all sync.WaitGroup
	begin := time.Now()
	for w := range writers {
		all.Go(func() {
			for next.Add(1) <= int64(times) {
				if err := f(w); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return float64(times) / time.Since(begin).Seconds()
}

// swap is what attaching a request to a code commits.
func swap(shard linking.Shard, n int) linking.Commit {
	id := func(kind linking.RecordKind) linking.Key {
		return linking.Key{Shard: shard, Kind: kind, ID: fmt.Sprintf("%s%018d", shard, n)}
	}
	now := time.Now()
	return linking.Commit{
		ID: linking.NewCommitID(), Shard: shard, Log: shard.String() + "MERCHANT0001",
		Checks: []linking.Check{{Key: id("m")}, {Key: id("b")}},
		Writes: []linking.Write{
			{Key: id("c"), Data: make([]byte, 150)},
			{Key: id("r"), Data: make([]byte, 400), Due: now, Owner: "m"},
			{Key: id("l"), Data: make([]byte, 60), Owner: "m"},
			{Key: id("i"), Data: make([]byte, 100), Due: now},
		},
		Events: [][]byte{make([]byte, 250), make([]byte, 250)},
	}
}

// bareCommit makes the same reads and writes without a store around them.
func bareCommit(db *bbolt.DB, c linking.Commit) error {
	return db.Batch(func(tx *bbolt.Tx) error {
		records, lists, dues := tx.Bucket([]byte("records")), tx.Bucket([]byte("lists")), tx.Bucket([]byte("due"))
		for _, k := range c.Checks {
			records.Get([]byte(k.Key.String()))
		}
		for _, w := range c.Writes {
			key := []byte(w.Key.String())
			records.Get(key)
			if err := records.Put(key, append(make([]byte, 16), w.Data...)); err != nil {
				return err
			}
			if w.Owner != "" {
				if err := lists.Put([]byte(w.Owner+w.Key.String()), nil); err != nil {
					return err
				}
			}
			if !w.Due.IsZero() {
				if err := dues.Put(append(binary.BigEndian.AppendUint64(nil, uint64(w.Due.UnixMilli())), key...), nil); err != nil {
					return err
				}
			}
		}
		events, sequences := tx.Bucket([]byte("events")), tx.Bucket([]byte("sequences"))
		var seq uint64
		if v := sequences.Get([]byte(c.Log)); v != nil {
			seq = binary.BigEndian.Uint64(v)
		}
		for _, e := range c.Events {
			seq++
			if err := events.Put(binary.BigEndian.AppendUint64([]byte(c.Log), seq), e); err != nil {
				return err
			}
		}
		return sequences.Put([]byte(c.Log), binary.BigEndian.AppendUint64(nil, seq))
	})
}

func BenchmarkGet(b *testing.B) {
	s, err := boltstore.Open(filepath.Join(b.TempDir(), "store"), boltstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c := swap(1, 1)
	if err := s.Commit(b.Context(), c); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get(context.Background(), c.Writes[0].Key, c.Writes[1].Key); err != nil {
			b.Fatal(err)
		}
	}
}
