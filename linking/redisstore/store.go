package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"placard/linking"
)

// Options say how a store in Redis is used. The zero value is right for one
// gateway and one Redis.
type Options struct {
	// StoreID is the identity the store must have. With it an empty or foreign
	// Redis is refused: it would show every code as never used. An operator whose
	// Redis lost its volume must notice at once.
	StoreID string

	// AllowUnsafe starts on a Redis that may forget acknowledged commits. For
	// trying things out: with real money a forgotten settlement is a second
	// payment. The store says so for ever after, see linking.Health.Unsafe.
	AllowUnsafe bool

	// Replicas is how many replicas must acknowledge a master's heartbeat, lest its
	// shards answer unavailable. Zero: one, from the time that any replica is seen.
	// Negative: none, ever.
	Replicas int

	// NoWatch leaves watchers without wakes, which they must be able to bear.
	NoWatch bool

	Log *slog.Logger // nil: none
}

// Sizes of the pools, per master.
const (
	readConns   = 8
	commitConns = 64
	otherConns  = 8
)

// Store implements linking.Store.
type Store struct {
	at  *target
	me  string // this process, among those that publish wakes
	o   Options
	log *slog.Logger
	hub linking.Hub

	// Three pools, so that neither scans nor commits nor lists wait for the others.
	reads, commits, others redis.UniversalClient
	masters                sync.Map   // *redis.Client of commits ► *master
	meeting                sync.Mutex // guards the making of a master
	single                 *master    // the only one, unless this is a Cluster

	shards   [linking.Shards + 1]shardState
	doubts   doubts
	waiting  atomic.Int64 // commits
	inFlight sync.RWMutex // read-locked by every commit under way; Close waits for it

	problems atomic.Pointer[problems]
	warnings atomic.Pointer[[]string]
	identity atomic.Pointer[string] // as last seen; nil: none yet
	unsafe   atomic.Bool
	guard    guard
	accepted atomic.Int64 // when an operator last said Accept, in Unix nanoseconds
	news     chan linking.Topic
	missed   atomic.Bool // more news than fitted

	closing    sync.Once
	stop       chan struct{}
	background sync.WaitGroup
}

var _ linking.Store = (*Store)(nil)

// master is a server that takes commits.
type master struct {
	name    string
	commits *redis.Client
	turns   chan struct{} // one for each commit under way
	reads   *coalescer
}

// shardState is what this process knows of a shard.
type shardState struct {
	seen atomic.Uint64 // the highest counter it has shown
	lost atomic.Bool   // it has shown a lower one since
	cut  atomic.Bool   // no replica acknowledges its master
}

// problems is why nothing can be written, or not even be read, at present.
type problems struct{ write, read string }

// use makes s work with the clients it has.
func (s *Store) use() {
	s.reads, s.commits, s.others = s.at.connect(readConns), s.at.connect(commitConns), s.at.connect(otherConns)
	if s.at.kind != cluster {
		s.single = s.newMaster(s.at.String(), s.commits.(*redis.Client))
	}
}

func (s *Store) newMaster(name string, c *redis.Client) *master {
	return &master{name: name, commits: c, turns: make(chan struct{}, commitConns), reads: newCoalescer(s.newReader)}
}

// master returns the server that has a shard.
func (s *Store) master(ctx context.Context, shard linking.Shard) (*master, error) {
	if s.single != nil {
		return s.single, nil
	}
	c, err := s.commits.(*redis.ClusterClient).MasterForKey(ctx, shardNames[shard].counter)
	if err != nil {
		return nil, err
	}
	if m, ok := s.masters.Load(c); ok {
		return m.(*master), nil
	}
	s.meeting.Lock()
	defer s.meeting.Unlock()
	if m, ok := s.masters.Load(c); ok {
		return m.(*master), nil
	}
	select {
	case <-s.stop:
		return nil, redis.ErrClosed
	default:
	}
	m := s.newMaster(c.Options().Addr, c)
	s.masters.Store(c, m)
	return m, nil
}

// reload has the Cluster client look again at who has which slot.
func (s *Store) reload(ctx context.Context) {
	if c, ok := s.commits.(*redis.ClusterClient); ok {
		c.ReloadState(ctx)
		s.reads.(*redis.ClusterClient).ReloadState(ctx)
		s.others.(*redis.ClusterClient).ReloadState(ctx)
	}
}

// usable says why a shard must not be read or written at present.
func (s *Store) usable(ctx context.Context, shard linking.Shard, write bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.stop:
		return unavailable("The store is closed.", nil)
	default:
	}
	if p := s.problems.Load(); p != nil {
		if p.read != "" {
			return unavailable("The store must not be used at present.", errors.New(p.read))
		}
		if write && p.write != "" {
			return unavailable("The store must not be written at present.", errors.New(p.write))
		}
	}
	if s.shards[shard].lost.Load() {
		return linking.ErrRolledBack
	}
	if s.shards[shard].cut.Load() {
		return unavailable("The store's replicas do not answer; nothing was done.", nil)
	}
	return nil
}

// saw notes a counter that a shard has shown.
func (s *Store) saw(shard linking.Shard, n uint64) {
	seen := &s.shards[shard].seen
	for {
		old := seen.Load()
		if n <= old || seen.CompareAndSwap(old, n) {
			return
		}
	}
}

// rolledBack notes that a shard has shown less than before.
func (s *Store) rolledBack(shard linking.Shard, n uint64) {
	if s.shards[shard].lost.CompareAndSwap(false, true) {
		s.log.Error("the store went back in time: acknowledged commits are lost, and the shard answers nothing until an operator has looked",
			"shard", shard.String(), "counter", n, "seen", s.shards[shard].seen.Load())
	}
}

// AcceptRollback is the operator's word that what a shard shows now is to be
// gone on with. Without shards it is about all that went back in time.
func (s *Store) AcceptRollback(shards ...linking.Shard) {
	if len(shards) == 0 {
		shards = s.lost()
	}
	for _, shard := range shards {
		if shard <= linking.Meta && s.shards[shard].lost.Load() {
			s.log.Warn("an operator accepted what was lost", "shard", shard.String(), "seen", s.shards[shard].seen.Load())
			s.shards[shard].seen.Store(0)
			s.shards[shard].lost.Store(false)
		}
	}
}

func (s *Store) lost() (out []linking.Shard) {
	for i := range s.shards {
		if s.shards[i].lost.Load() {
			out = append(out, linking.Shard(i))
		}
	}
	return out
}

const (
	identityKey = "{meta}store"
	unsafeKey   = "{meta}unsafe"
	acceptedKey = "{meta}accepted"
)

// Accept is the operator's word to every gateway over this Redis, which hears it
// within lookEach: what the shards show now is to be gone on with.
func (s *Store) Accept(ctx context.Context) error {
	if err := s.others.Set(ctx, acceptedKey, time.Now().UnixNano(), 0).Err(); err != nil {
		return unavailable("The store does not answer; nothing was done.", err)
	}
	s.heed(ctx)
	return nil
}

// heed accepts what went back in time if an operator has said so since it was last
// looked. An older word than the last one heard came back with the rollback itself.
func (s *Store) heed(ctx context.Context) {
	said, err := s.others.Get(ctx, acceptedKey).Int64()
	if old := s.accepted.Load(); err == nil && said > old && s.accepted.CompareAndSwap(old, said) {
		s.AcceptRollback()
	}
}

// Identity is the name Init gave the store; empty if it never did.
func (s *Store) Identity(ctx context.Context) (string, error) {
	id, err := s.others.Get(ctx, identityKey).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", unavailable("The store does not answer; nothing was done.", err)
	}
	return id, nil
}

// Init names a store that has no name yet, and returns the name it has then. It
// is meant for a new store: one that was expected to have a name and has none
// was refused by Open.
func (s *Store) Init(ctx context.Context) (string, error) {
	if err := s.usable(ctx, linking.Meta, true); err != nil {
		return "", err
	}
	if err := s.others.SetNX(ctx, identityKey, rand.Text(), 0).Err(); err != nil {
		return "", unavailable("The store could not be given a name.", err)
	}
	id, err := s.Identity(ctx)
	if err == nil {
		s.identity.Store(&id)
	}
	return id, err
}

// Health implements linking.Store.
func (s *Store) Health(ctx context.Context) linking.Health {
	h := linking.Health{Backend: s.at.kind.String(), Unsafe: s.unsafe.Load(), Lost: s.lost()}
	if w := s.warnings.Load(); w != nil {
		h.Warnings = slices.Clone(*w)
	}
	cut := s.guard.cutOff()
	switch p := s.problems.Load(); {
	case p != nil && p.read != "":
		h.Problem = p.read
	case p != nil && p.write != "":
		h.Problem = p.write
	case len(cut) > 0 && len(cut) == s.guard.watched():
		h.Problem = fmt.Sprintf("no replica acknowledges what %v writes", cut)
	default:
		if len(cut) > 0 {
			h.Warnings = append(h.Warnings, fmt.Sprintf("no replica acknowledges what %v writes: merchants there are not served", cut))
		}
		h.Problem = s.ping(ctx)
	}
	select {
	case <-s.stop:
		h.Problem = "the store is closed"
	default:
	}
	h.Ready = h.Problem == ""
	return h
}

// ping asks every master whether it is there, and says what is wrong.
func (s *Store) ping(ctx context.Context) string {
	c, ok := s.others.(*redis.ClusterClient)
	if !ok {
		if err := s.others.Ping(ctx).Err(); err != nil {
			return fmt.Sprintf("the Redis does not answer: %v", err)
		}
		return ""
	}
	var mu sync.Mutex
	var silent []string
	err := c.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		if err := c.Ping(ctx).Err(); err != nil {
			mu.Lock()
			defer mu.Unlock()
			silent = append(silent, fmt.Sprintf("%s: %v", c.Options().Addr, err))
		}
		return nil
	})
	if err != nil {
		silent = append(silent, err.Error())
	}
	if len(silent) > 0 {
		return fmt.Sprintf("masters of the Cluster do not answer: %v", silent)
	}
	return ""
}

// Close lets the commits under way come to an end, and refuses all others. It may
// be called again.
func (s *Store) Close() error {
	s.closing.Do(func() {
		close(s.stop)
		s.inFlight.Lock()
		defer s.inFlight.Unlock()
		if s.single != nil {
			s.single.reads.close()
		}
		s.meeting.Lock() // whoever was making a master has made it, and nobody makes another
		defer s.meeting.Unlock()
		s.masters.Range(func(_, m any) bool {
			m.(*master).reads.close()
			return true
		})
		s.background.Wait()
		s.reads.Close()
		s.commits.Close()
		s.others.Close()
	})
	return nil
}

func unavailable(detail string, err error) *linking.Error {
	return &linking.Error{Kind: linking.Unavailable, Code: "store_unavailable", Detail: detail, Retry: 1, Err: err}
}
