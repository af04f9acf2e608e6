package redisstore

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"placard/linking"
)

// A coalescer turns the reads of many callers into few round trips. Whoever comes
// while a batch is under way waits for the next one: a read is always sent after
// its call began, so it sees every commit acknowledged before. There is no timer:
// under load batches grow by themselves, and a lone call is sent at once.
type coalescer struct {
	newExec func() func([]*read) // one for each worker, which may keep buffers

	mu      sync.Mutex
	pending []*read
	closed  bool
	wake    chan struct{}
	workers sync.WaitGroup
}

// Several batches under way hide the time that one is on the network.
const (
	readWorkers  = 4
	maxReadQueue = 4096 // reads that may wait
	maxReadBatch = 256  // reads of one batch
	maxReadTries = 3
	maxReadKeys  = 1024 // records of one batch, unless a single read has more
)

// read is one call of Get. A caller may go away while a worker has its read, so
// nothing in it is the caller's.
type read struct {
	ctx   context.Context
	shard linking.Shard
	names []string         // what the records are called in Redis
	out   []linking.Record // their keys, and in the end the rest of them
	err   error
	done  chan struct{} // of one; filled once
}

var readPool = sync.Pool{New: func() any { return &read{done: make(chan struct{}, 1)} }}

func newCoalescer(newExec func() func([]*read)) *coalescer {
	c := &coalescer{newExec: newExec, wake: make(chan struct{}, 1)}
	for range readWorkers {
		c.workers.Go(c.work)
	}
	return c
}

// do reads keys, which are of one shard.
func (c *coalescer) do(ctx context.Context, keys []linking.Key) ([]linking.Record, error) {
	r := readPool.Get().(*read)
	r.ctx, r.shard, r.names, r.out, r.err = ctx, keys[0].Shard, r.names[:0], make([]linking.Record, len(keys)), nil
	for i, k := range keys {
		r.out[i].Key = k
		r.names = append(r.names, shardNames[k.Shard].record(k))
	}
	c.mu.Lock()
	switch {
	case c.closed:
		c.mu.Unlock()
		return nil, unavailable("The store is closed.", nil)
	case len(c.pending) >= maxReadQueue:
		c.mu.Unlock()
		return nil, unavailable("Too many reads wait for Redis.", nil)
	}
	c.pending = append(c.pending, r)
	c.signal()
	c.mu.Unlock()
	select {
	case <-r.done:
		out, err := r.out, r.err
		r.ctx, r.out, r.err = nil, nil, nil
		clear(r.names)
		readPool.Put(r)
		if err != nil {
			return nil, err
		}
		return out, nil
	case <-ctx.Done():
		return nil, ctx.Err() // r is left to the worker that has it or will find it
	}
}

// signal wakes a worker. The caller holds mu, and the coalescer is not closed.
func (c *coalescer) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *coalescer) work() {
	exec, batch := c.newExec(), make([]*read, 0, maxReadBatch)
	for range c.wake {
		// Callers who were answered a moment ago are about to ask again: let them.
		runtime.Gosched()
		for {
			batch = c.take(batch[:0])
			if len(batch) == 0 {
				break
			}
			exec(batch)
			for _, r := range batch {
				r.done <- struct{}{}
			}
			clear(batch)
			runtime.Gosched()
		}
	}
}

// take removes a batch from the queue. What is left over wakes another worker.
func (c *coalescer) take(batch []*read) []*read {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, keys := 0, 0
	for n < len(c.pending) && n < maxReadBatch {
		keys += len(c.pending[n].names)
		if n > 0 && keys > maxReadKeys {
			break
		}
		n++
	}
	batch = append(batch, c.pending[:n]...)
	rest := copy(c.pending, c.pending[n:])
	clear(c.pending[rest:])
	c.pending = c.pending[:rest]
	if rest > 0 && !c.closed {
		c.signal()
	}
	return batch
}

// close refuses what waits and lets what is under way come to an end.
func (c *coalescer) close() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	waiting := c.pending
	c.pending = nil
	close(c.wake)
	c.mu.Unlock()
	for _, r := range waiting {
		r.err = unavailable("The store is closed.", nil)
		r.done <- struct{}{}
	}
	c.workers.Wait()
}

// Get implements linking.Store.
func (s *Store) Get(ctx context.Context, keys ...linking.Key) ([]linking.Record, error) {
	if len(keys) == 0 {
		return nil, ctx.Err()
	}
	if len(keys) > linking.MaxWrites {
		return nil, errors.New("more records asked for at once than possible")
	}
	for _, k := range keys {
		if k.Shard != keys[0].Shard || k.Shard > linking.Meta {
			return nil, errors.New("records of two shards asked for at once: " + k.String())
		}
	}
	if err := s.usable(ctx, keys[0].Shard, false); err != nil {
		return nil, err
	}
	m, err := s.master(ctx, keys[0].Shard)
	if err != nil {
		return nil, unreached(ctx, err)
	}
	return m.reads.do(ctx, keys)
}

// unreached is the error of a read that failed.
func unreached(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return unavailable("The store does not answer.", err)
}

// reader answers the batches of one worker.
type reader struct {
	s      *Store
	unions []*union // those of the batch under way
	spare  []*union
}

// union is what one MGET asks for: the counters of some shards and the records of
// some reads, each once. An MGET is one moment of all of it, so each read is
// wholly in one.
type union struct {
	reads  []*read
	names  []string
	args   []any
	at     map[string]int // where a name stands in names
	shards map[linking.Shard]shown
	cmd    *redis.StringSliceCmd
}

// shown is a shard of a union: where its counter stands and what it must at
// least be, which was known before the union was sent.
type shown struct {
	at   int
	seen uint64
	lost bool
}

func (s *Store) newReader() func([]*read) {
	r := &reader{s: s}
	return r.batch
}

// batch answers all reads of a batch, in one round trip.
func (b *reader) batch(reads []*read) {
	for _, r := range reads {
		if r.ctx.Err() != nil {
			r.err = r.ctx.Err()
			continue
		}
		b.join(r)
	}
	b.fetch()
	for _, u := range b.unions {
		b.deal(u)
		clear(u.reads)
		clear(u.names)
		clear(u.at)
		clear(u.shards)
		u.reads, u.names, u.cmd = u.reads[:0], u.names[:0], nil
	}
	b.spare = append(b.spare, b.unions...)
	b.unions = b.unions[:0]
}

// join adds r to the union it belongs to: on a Cluster to that of its shard,
// otherwise to the only one.
func (b *reader) join(r *read) {
	var u *union
	for _, have := range b.unions {
		if _, ok := have.shards[r.shard]; ok || b.s.single != nil {
			u = have
			break
		}
	}
	if u == nil {
		u = b.newUnion()
	}
	u.reads = append(u.reads, r)
	if _, ok := u.shards[r.shard]; !ok {
		u.shards[r.shard] = shown{at: len(u.names), seen: b.s.shards[r.shard].seen.Load()}
		u.names = append(u.names, shardNames[r.shard].counter)
	}
	for _, name := range r.names {
		if _, ok := u.at[name]; !ok {
			u.at[name] = len(u.names)
			u.names = append(u.names, name)
		}
	}
}

func (b *reader) newUnion() *union {
	u := &union{at: map[string]int{}, shards: map[linking.Shard]shown{}}
	if n := len(b.spare); n > 0 {
		u, b.spare = b.spare[n-1], b.spare[:n-1]
	}
	b.unions = append(b.unions, u)
	return u
}

// fetch sends the unions. A read changes nothing, so one that failed fast, as on
// a connection that had gone stale, is sent again.
func (b *reader) fetch() {
	ctx := context.Background() // of nobody in particular: the client's timeouts bound it
	begin := time.Now()
	for try := 0; ; try++ {
		todo := 0
		for _, u := range b.unions {
			if u.cmd == nil || u.cmd.Err() != nil {
				todo++
			}
		}
		if todo == 0 || try == maxReadTries || try > 0 && time.Since(begin) > ioTimeout/2 {
			return
		}
		if try > 0 {
			time.Sleep(10 * time.Millisecond)
		}
		if len(b.unions) == 1 {
			b.s.reads.Process(ctx, b.unions[0].ask(ctx))
			continue
		}
		p := b.s.reads.Pipeline()
		for _, u := range b.unions {
			if u.cmd == nil || u.cmd.Err() != nil {
				p.Process(ctx, u.ask(ctx))
			}
		}
		p.Exec(ctx)
	}
}

// ask makes the command of a union, afresh for every try.
func (u *union) ask(ctx context.Context) redis.Cmder {
	u.args = append(u.args[:0], "mget")
	for i := range u.names {
		u.args = append(u.args, &u.names[i]) // go-redis takes a *string, which needs no copy
	}
	u.cmd = redis.NewStringSliceCmd(ctx, u.args...)
	return u.cmd
}

// deal gives each read of a union its records.
func (b *reader) deal(u *union) {
	values, err := u.cmd.Val(), u.cmd.Err()
	if err == nil && len(values) != len(u.names) {
		err = errors.New("the answer belongs to another question")
	}
	if err != nil {
		for _, r := range u.reads {
			r.err = unreached(r.ctx, err)
		}
		return
	}
	for shard, at := range u.shards {
		at.lost = !b.s.counted(shard, values[at.at], at.seen)
		u.shards[shard] = at
	}
	for _, r := range u.reads {
		if u.shards[r.shard].lost {
			r.err = linking.ErrRolledBack
			continue
		}
		for i, name := range r.names {
			if r.err = decode(&r.out[i], values[u.at[name]]); r.err != nil {
				break
			}
		}
	}
}

// counted compares a counter that was read with what was seen before the read
// was sent. False: the shard went back in time.
func (s *Store) counted(shard linking.Shard, counter string, seen uint64) bool {
	var n uint64
	if counter != "" {
		n, _ = strconv.ParseUint(counter, 10, 64)
	}
	if n < seen && s.shards[shard].seen.Load() >= seen { // and nobody accepted it meanwhile
		s.rolledBack(shard, n)
		return false
	}
	s.saw(shard, n)
	return true
}
