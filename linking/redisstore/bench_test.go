package redisstore_test

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"placard/linking"
	"placard/linking/redisstore"
	"placard/linking/storetest"
)

// Benchmarks compare the store with what go-redis does by itself, in turns within
// one run, and report the median of the ratios: more than 1 is faster.
//
//	go test -run '^$' -bench . -benchtime 7x ./linking/redisstore

//go:embed commit.lua
var script string

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// rate runs f from n goroutines, each times in all, and returns how often a second.
func rate(n, times int, f func(worker, i int)) float64 {
	var next atomic.Int64
	var all sync.WaitGroup
	begin := time.Now()
	for w := range n {
		all.Go(func() {
			for i := next.Add(1); i <= int64(times); i = next.Add(1) {
				f(w, int(i))
			}
		})
	}
	all.Wait()
	return float64(times) / time.Since(begin).Seconds()
}

// compare measures two things in turns.
func compare(b *testing.B, bare, ours func() float64) {
	bare()
	ours()
	var rates, ratios []float64
	for b.Loop() {
		x, y := bare(), ours()
		rates, ratios = append(rates, y), append(ratios, y/x)
	}
	b.ReportMetric(median(rates), "ours/s")
	b.ReportMetric(median(ratios), "ratio")
}

func open(b *testing.B, url string) *redisstore.Store {
	s, err := redisstore.Open(b.Context(), url, redisstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// swap is what attaching a request to a code commits: code, two requests, link and
// idempotency record, two events.
func swap(shard linking.Shard, n int) linking.Commit {
	id := func(kind linking.RecordKind) linking.Key {
		return linking.Key{Shard: shard, Kind: kind, ID: fmt.Sprintf("%s%018d", shard, n)}
	}
	face, request := make([]byte, 150), make([]byte, 400)
	now := time.Now()
	return linking.Commit{
		ID: linking.NewCommitID(), Shard: shard, Log: shard.String() + "MERCHANT0001",
		Checks: []linking.Check{{Key: id("m")}, {Key: id("b")}},
		Writes: []linking.Write{
			{Key: id("c"), Data: face},
			{Key: id("r"), Data: request, Due: now, Owner: "m"},
			{Key: id("l"), Data: make([]byte, 60), Owner: "m"},
			{Key: id("i"), Data: make([]byte, 100), Due: now},
		},
		Events: [][]byte{make([]byte, 250), make([]byte, 250)},
	}
}

// bareArgs is the same as arguments of the script, without any of our code.
func bareArgs(c linking.Commit) (keys []string, args []any) {
	tag := "{" + c.Shard.String() + "}"
	keys = []string{tag + "I" + string(c.ID[:]), tag + "n", tag + "D", tag + "E" + c.Log}
	args = []any{c.ID[:], 0, 600000, 0, len(c.Checks), len(c.Writes)}
	for _, k := range c.Checks {
		keys, args = append(keys, tag+string(k.Kind)+":"+k.ID), append(args, "")
	}
	for _, w := range c.Writes {
		keys = append(keys, tag+string(w.Kind)+":"+w.ID)
		due, listed := "", ""
		if !w.Due.IsZero() {
			due = "1900000000000"
		}
		if w.Owner != "" {
			keys, listed = append(keys, tag+"L"+string(w.Kind)+":"+w.Owner), w.ID
		}
		args = append(args, "", append(make([]byte, 13), w.Data...), due, listed)
	}
	for _, e := range c.Events {
		args = append(args, e)
	}
	return keys, args
}

func BenchmarkCommit(b *testing.B) {
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			server := storetest.Redis(b)
			s := open(b, server.URL())
			options, err := redis.ParseURL(server.URL())
			if err != nil {
				b.Fatal(err)
			}
			options.PoolSize = 64
			bare := redis.NewClient(options)
			defer bare.Close()
			commit := redis.NewScript(script)
			var n atomic.Int64
			times := 6000
			if clients == 1 {
				times = 1500
			}
			compare(b, func() float64 {
				return rate(clients, times, func(w, _ int) {
					keys, args := bareArgs(swap(linking.Shard(w), int(n.Add(1))))
					if err := commit.Run(context.Background(), bare, keys, args...).Err(); err != nil {
						b.Error(err)
					}
				})
			}, func() float64 {
				return rate(clients, times, func(w, _ int) {
					if err := s.Commit(context.Background(), swap(linking.Shard(w), int(n.Add(1)))); err != nil {
						b.Error(err)
					}
				})
			})
		})
	}
}

func BenchmarkGet(b *testing.B) {
	const codes = 20000
	for _, where := range []string{"one server", "cluster"} {
		for _, clients := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", where, clients), func(b *testing.B) {
				var url string
				var bare redis.UniversalClient
				if where == "cluster" {
					nodes := storetest.RedisCluster(b)
					url = storetest.ClusterURL(nodes)
					bare = redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].Addr}})
				} else {
					server := storetest.Redis(b)
					url = server.URL()
					options, err := redis.ParseURL(url)
					if err != nil {
						b.Fatal(err)
					}
					bare = redis.NewClient(options)
				}
				defer bare.Close()
				s := open(b, url)
				keys := make([]linking.Key, codes)
				rate(64, codes, func(_, i int) {
					c := swap(linking.Shard(i%64), i)
					keys[i-1] = c.Writes[0].Key
					c.Events = nil
					if err := s.Commit(context.Background(), c); err != nil {
						b.Error(err)
					}
				})
				names := make([]string, codes)
				for i, k := range keys {
					names[i] = "{" + k.Shard.String() + "}" + string(k.Kind) + ":" + k.ID
				}
				times := 60000
				if clients == 1 {
					times = 10000
				}
				compare(b, func() float64 {
					return rate(clients, times, func(_, i int) {
						if err := bare.Get(context.Background(), names[i*7919%codes]).Err(); err != nil {
							b.Error(err)
						}
					})
				}, func() float64 {
					return rate(clients, times, func(_, i int) {
						if rs, err := s.Get(context.Background(), keys[i*7919%codes]); err != nil || rs[0].Version != 1 {
							b.Error(rs, err)
						}
					})
				})
			})
		}
	}
}

func BenchmarkGetAllocations(b *testing.B) {
	s := open(b, storetest.Redis(b).URL())
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
