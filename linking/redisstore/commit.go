package redisstore

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"placard/linking"
)

//go:embed commit.lua
var commitSource string

var commitHash = redis.NewScript(commitSource).Hash()

const (
	maxCommits = 4096             // commits that may be under way or wait for their turn
	patience   = 10 * time.Second // how long a commit is pursued whose context has no deadline
)

// outcome is what is known after one send of a commit.
type outcome int

const (
	applied    outcome = iota + 1 // as the script says: applied now or before
	conflict                      // as the script says
	rolledBack                    // as the script says
	notSent                       // nothing has left this process
	refused                       // Redis answered without running the script
	moved                         // as refused; another master has the slot
	open                          // it may have been applied, or be applied yet
)

// Commit implements linking.Store.
func (s *Store) Commit(ctx context.Context, c linking.Commit) error {
	if err := c.Valid(); err != nil {
		return err
	}
	if s.waiting.Add(1) > maxCommits {
		s.waiting.Add(-1)
		return unavailable("Too many changes wait for Redis; nothing was done.", nil)
	}
	defer s.waiting.Add(-1)
	s.inFlight.RLock()
	defer s.inFlight.RUnlock()
	if err := s.usable(ctx, c.Shard, true); err != nil {
		return err
	}
	n, err := s.pursue(ctx, &c)
	if err != nil {
		return err
	}
	s.saw(c.Shard, n)
	s.announce(&c)
	return nil
}

// pursue sends c until its fate is known, and returns the shard's counter.
func (s *Store) pursue(ctx context.Context, c *linking.Commit) (n uint64, err error) {
	begin := time.Now()
	first, doubt := s.doubts.since(c.ID)
	if !doubt {
		first = begin
	}
	end := begin.Add(patience)
	if d, ok := ctx.Deadline(); ok {
		end = d
	}
	if oldest := first.Add(linking.MaxResend); end.After(oldest) {
		end = oldest
	}
	caller := ctx
	if d, ok := ctx.Deadline(); !ok || end.Before(d) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end)
		defer cancel()
	}
	if !begin.Before(end) && caller.Err() == nil {
		return 0, fmt.Errorf("the commit was first sent %s ago without an answer, and is too old to be sent again", time.Since(first).Round(time.Second))
	}
	script := newScript(&shardNames[c.Shard], c)
	got := notSent
	for try := 0; try == 0 || s.pause(ctx, try, end); try++ {
		got, n, err = s.send(ctx, c.Shard, script, doubt, got == moved)
		switch got {
		case applied:
			s.doubts.settle(c.ID)
			return n, nil
		case conflict:
			s.doubts.settle(c.ID)
			return 0, linking.ErrConflict
		case rolledBack:
			s.rolledBack(c.Shard, n)
			if !doubt {
				return 0, linking.ErrRolledBack
			}
			err = linking.ErrRolledBack
		case open:
			doubt = true
			s.doubts.remember(c.ID, first)
		}
		if got == rolledBack || !doubt && !passing(got, err) {
			break
		}
	}
	switch {
	case doubt:
		// Not wrapped: whoever asks whether this is an ended context must not hear yes.
		return 0, fmt.Errorf("the commit was sent, and whether it happened is not known: %v", err)
	case caller.Err() != nil && (err == nil || errors.Is(err, caller.Err())):
		return 0, caller.Err()
	}
	return 0, unavailable("The store does not answer; nothing was done.", err)
}

// pause waits before another try, longer each time. It reports false if there
// must be none.
func (s *Store) pause(ctx context.Context, try int, end time.Time) bool {
	d := min(5*time.Millisecond<<min(try, 10), 250*time.Millisecond)
	d = d/2 + rand.N(d/2)
	if time.Until(end) < d {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	case <-s.stop:
		return false
	}
}

// send makes one try. With around it goes through the Cluster client, which
// follows a slot to where it is moving.
func (s *Store) send(ctx context.Context, shard linking.Shard, script *script, doubt, around bool) (outcome, uint64, error) {
	m, err := s.master(ctx, shard)
	if err != nil {
		return notSent, 0, err
	}
	select {
	case m.turns <- struct{}{}:
		defer func() { <-m.turns }()
	case <-ctx.Done():
		return notSent, 0, ctx.Err()
	case <-s.stop:
		return notSent, 0, redis.ErrClosed
	}
	var to redis.UniversalClient = m.commits
	if around {
		to = s.commits
	}
	got, n, err := script.run(ctx, to, s.shards[shard].seen.Load(), doubt)
	if got >= notSent { // it may be another's shard by now
		s.reload(ctx)
	}
	return got, n, err
}

// script is a commit as arguments of commit.lua.
type script struct {
	id   mark
	args []any // EVALSHA, hash, number of keys, keys, arguments
	argv int   // where the arguments begin
}

// mark is a commit's id as an argument that notes when go-redis writes it to a
// connection: before that nothing was sent, and go-redis' own errors do not say.
// A Cluster client may send a command more than once in one call.
type mark struct {
	id    linking.CommitID
	sends atomic.Int32
}

func (m *mark) MarshalBinary() ([]byte, error) {
	m.sends.Add(1)
	return m.id[:], nil
}

func newScript(n *names, c *linking.Commit) *script {
	s := &script{id: mark{id: c.ID}}
	keys := make([]any, 0, 4+len(c.Checks)+2*len(c.Writes))
	keys = append(keys, n.commit(c.ID), n.counter, n.due, n.log(c.Log))
	argv := make([]any, 0, 6+len(c.Checks)+4*len(c.Writes)+len(c.Events))
	argv = append(argv, &s.id, nil, linking.CommitLife.Milliseconds(), nil, len(c.Checks), len(c.Writes))
	for _, k := range c.Checks {
		keys = append(keys, n.record(k.Key))
		argv = append(argv, version(k.Version))
	}
	for _, w := range c.Writes {
		keys = append(keys, n.record(w.Key))
		var data []byte
		var due, listed string
		if !w.Delete {
			data = value(w)
			if d := dueNumber(w.Due); d != 0 {
				due = score(d)
			}
		}
		// The owner never changes, so only the first and the last write of a record
		// touch its list.
		if w.Owner != "" && (w.Delete || w.Expect == 0) {
			keys = append(keys, n.list(w.Kind, w.Owner))
			listed = w.ID
		}
		argv = append(argv, version(w.Expect), data, due, listed)
	}
	for _, e := range c.Events {
		argv = append(argv, e)
	}
	s.args = make([]any, 0, 3+len(keys)+len(argv))
	s.args = append(append(append(s.args, "evalsha", commitHash, len(keys)), keys...), argv...)
	s.argv = 3 + len(keys)
	return s
}

// run sends the script once; a second time, whole, if Redis does not know it.
func (s *script) run(ctx context.Context, to redis.UniversalClient, seen uint64, doubt bool) (outcome, uint64, error) {
	s.args[s.argv+1], s.args[s.argv+3] = seen, 0
	if doubt {
		s.args[s.argv+3] = 1
	}
	s.args[0], s.args[1] = "evalsha", commitHash
	got, n, err := s.once(ctx, to)
	if got == refused && redis.HasErrorPrefix(err, "NOSCRIPT") {
		s.args[0], s.args[1] = "eval", commitSource
		got, n, err = s.once(ctx, to)
	}
	return got, n, err
}

func (s *script) once(ctx context.Context, to redis.UniversalClient) (outcome, uint64, error) {
	s.id.sends.Store(0)
	cmd := redis.NewSliceCmd(ctx, s.args...)
	err := to.Process(ctx, cmd)
	if err == nil {
		return s.answer(cmd.Val())
	}
	switch sends := s.id.sends.Load(); {
	case sends == 0:
		return notSent, 0, err
	case sends > 1:
		return open, 0, err // what became of the first is not told
	}
	return judge(err), 0, err
}

// answer reads what the script returned. The id in it proves that it is the
// answer to this commit and not to another on the same connection.
func (s *script) answer(reply []any) (outcome, uint64, error) {
	if len(reply) == 3 {
		got, ok1 := reply[0].(int64)
		id, ok2 := reply[1].(string)
		n, ok3 := reply[2].(int64)
		if ok1 && ok2 && ok3 && id == string(s.id.id[:]) && got >= int64(applied) && got <= int64(rolledBack) {
			return outcome(got), uint64(n), nil
		}
	}
	return open, 0, errors.New("the answer belongs to another question")
}

// Replies with which Redis refuses a script before it runs. What is not listed
// may come from the middle of one.
var (
	refusals = []string{
		"NOSCRIPT", "LOADING", "MASTERDOWN", "READONLY", "OOM", "MISCONF", "NOREPLICAS", "BUSY", "CLUSTERDOWN", "TRYAGAIN",
		"CROSSSLOT", "NOPERM", "NOAUTH", "WRONGPASS", "Protocol error: unauthenticated", "max number of clients",
	}
	// passingRefusals are over by themselves within moments or a failover.
	passingRefusals = []string{"NOSCRIPT", "LOADING", "MASTERDOWN", "READONLY", "BUSY", "CLUSTERDOWN", "TRYAGAIN", "max number of clients"}
)

// judge says what an error means for a command that was written once.
func judge(err error) outcome {
	if _, ok := errors.AsType[redis.Error](err); !ok {
		return open
	}
	if redis.HasErrorPrefix(err, "MOVED") || redis.HasErrorPrefix(err, "ASK") {
		return moved
	}
	for _, prefix := range refusals {
		if redis.HasErrorPrefix(err, prefix) {
			return refused
		}
	}
	return open
}

// passing reports whether another try may fare better.
func passing(got outcome, err error) bool {
	switch got {
	case notSent:
		return !errors.Is(err, redis.ErrClosed) && !isAuth(err)
	case moved, open:
		return true
	case refused:
		for _, prefix := range passingRefusals {
			if redis.HasErrorPrefix(err, prefix) {
				return true
			}
		}
	}
	return false
}

func isAuth(err error) bool {
	return redis.IsAuthError(err) || redis.IsPermissionError(err) || strings.Contains(err.Error(), "WRONGPASS")
}

// doubts remembers the commits whose fate this process does not know.
type doubts struct {
	some atomic.Bool
	mu   sync.Mutex
	sent map[linking.CommitID]time.Time
}

// since says when a commit was first sent, if that got no answer.
func (d *doubts) since(id linking.CommitID) (time.Time, bool) {
	if !d.some.Load() {
		return time.Time{}, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	first, ok := d.sent[id]
	return first, ok
}

func (d *doubts) remember(id linking.CommitID, first time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sent == nil {
		d.sent = map[linking.CommitID]time.Time{}
	}
	if len(d.sent) >= 1024 {
		for old, at := range d.sent { // nobody sends those again
			if time.Since(at) > linking.CommitLife {
				delete(d.sent, old)
			}
		}
	}
	d.sent[id] = first
	d.some.Store(true)
}

func (d *doubts) settle(id linking.CommitID) {
	if !d.some.Load() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sent, id)
	d.some.Store(len(d.sent) > 0)
}
