package redisstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"placard/linking"
)

// A master that was parted from its replicas goes on answering, and all it
// acknowledges is thrown away when it meets the one that was promoted in its
// place. So each master proves once a second, by a write that a replica
// acknowledges, that it is still the one.
const (
	beatEach  = time.Second
	beatWait  = 500 * time.Millisecond
	cutAfter  = 3 * time.Second
	lookEach  = 10 * time.Second // how often settings and health of Redis are read again
	beatKey   = "h"
	beatLives = time.Minute
)

// guard knows which masters are parted from their replicas.
type guard struct {
	mu     sync.Mutex
	active bool                 // replicas are expected
	last   map[string]time.Time // by master: the last beat that enough replicas acknowledged
	cut    map[string]bool
}

// expect has beats begin: a replica was seen, or the operator wants some.
func (g *guard) expect() { g.mu.Lock(); g.active = true; g.mu.Unlock() }

func (g *guard) expecting() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.active }

// cutOff names the masters that no replica acknowledges.
func (g *guard) cutOff() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for name, cut := range g.cut {
		if cut {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// watched is how many masters there are.
func (g *guard) watched() int { g.mu.Lock(); defer g.mu.Unlock(); return len(g.last) }

// beaten notes the outcome of one beat of every master.
func (g *guard) beaten(now time.Time, acknowledged map[string]bool) (cut map[string]bool, changed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	last, parted := map[string]time.Time{}, map[string]bool{}
	for name, ok := range acknowledged {
		at, known := g.last[name]
		if ok || !known {
			at = now
		}
		last[name] = at
		parted[name] = now.Sub(at) > cutAfter
	}
	changed = !maps.Equal(parted, g.cut)
	g.last, g.cut = last, parted
	return parted, changed
}

// beat lets every master prove itself, until the store is closed.
func (s *Store) beat() {
	t := time.NewTicker(beatEach)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
		}
		if s.o.Replicas < 0 || !s.guard.expecting() {
			continue
		}
		homes := s.homes()
		cut, changed := s.guard.beaten(time.Now(), s.beatAll(homes))
		for name, shards := range homes {
			for _, shard := range shards {
				s.shards[shard].cut.Store(cut[name])
			}
		}
		if changed {
			for name, gone := range cut {
				if gone {
					s.log.Error("no replica acknowledges what a master writes: it may have been replaced, and its shards are not served", "master", name)
				} else {
					s.log.Info("replicas acknowledge what a master writes", "master", name)
				}
			}
		}
	}
}

// homes is which shards each master has.
func (s *Store) homes() map[string][]linking.Shard {
	out := map[string][]linking.Shard{}
	ctx, cancel := context.WithTimeout(context.Background(), ioTimeout)
	defer cancel()
	for shard := range linking.Meta + 1 {
		m, err := s.master(ctx, shard)
		if err != nil {
			continue // its commits fail by themselves
		}
		out[m.name] = append(out[m.name], shard)
	}
	return out
}

// beatAll writes one heartbeat to every master and reports which of them enough
// replicas acknowledged.
func (s *Store) beatAll(homes map[string][]linking.Shard) map[string]bool {
	var mu sync.Mutex
	var all sync.WaitGroup
	out := make(map[string]bool, len(homes))
	for name, shards := range homes {
		all.Go(func() {
			ok := s.beatOne(shards[len(shards)-1])
			mu.Lock()
			defer mu.Unlock()
			out[name] = ok
		})
	}
	all.Wait()
	return out
}

// beatOne writes and waits on one connection: WAIT counts what that one wrote.
func (s *Store) beatOne(shard linking.Shard) bool {
	ctx, cancel := context.WithTimeout(context.Background(), ioTimeout)
	defer cancel()
	to, err := s.otherMaster(ctx, shard)
	if err != nil {
		return false
	}
	need := max(1, s.o.Replicas)
	p := to.Pipeline()
	set := p.Set(ctx, shardNames[shard].tag+beatKey, time.Now().UnixMilli(), beatLives)
	got := redis.NewIntCmd(ctx, "wait", need, beatWait.Milliseconds())
	p.Process(ctx, got)
	p.Exec(ctx)
	return set.Err() == nil && got.Err() == nil && got.Val() >= int64(need)
}

// otherMaster is the server of a shard, reached through the third pool.
func (s *Store) otherMaster(ctx context.Context, shard linking.Shard) (*redis.Client, error) {
	if c, ok := s.others.(*redis.ClusterClient); ok {
		return c.MasterForKey(ctx, shardNames[shard].counter)
	}
	return s.others.(*redis.Client), nil
}

// lookAgain reads settings, health and identity of Redis again and again, until
// the store is closed: people change settings of a running server.
func (s *Store) lookAgain() {
	t := time.NewTicker(lookEach)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
			s.lookNow()
		}
	}
}

func (s *Store) lookNow() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	all, err := s.facts(ctx)
	if err != nil {
		return // it does not answer: every call says so by itself, and Health asks
	}
	s.heed(ctx)
	foreign := ""
	if known := s.identity.Load(); known != nil {
		if id, err := s.Identity(ctx); err == nil && id != *known {
			foreign = fmt.Sprintf("the Redis at %s holds the store %q now, and this gateway works for %q: it lost everything, or was exchanged", s.at, id, *known)
		}
	}
	s.note(judgeAll(s.at.kind, all, s.o), foreign)
}

// note keeps what was found: what stops the store, and what people should know.
func (s *Store) note(v verdict, foreign string) {
	now := problems{read: foreign, write: foreign}
	for _, f := range v.stops() {
		if !(f.durability && s.o.AllowUnsafe) && now.write == "" {
			now.write = f.text
		}
	}
	old := s.problems.Swap(&now)
	if now != (problems{}) && (old == nil || *old != now) {
		s.log.Error("the store must not be used as it is", "problem", now.write)
	}
	warnings := v.warnings()
	if known := s.warnings.Swap(&warnings); known == nil || !slices.Equal(*known, warnings) {
		for _, w := range warnings {
			s.log.Warn("the store", "warning", w)
		}
	}
	if v.replicas > 0 {
		s.guard.expect()
	}
}
