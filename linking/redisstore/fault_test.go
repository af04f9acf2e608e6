package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"placard/linking"
	"placard/linking/redisstore"
	"placard/linking/storetest"
)

// bad is the trouble of a network that loses one exchange in five.
var bad = storetest.Trouble{LoseRequest: 0.05, HalfRequest: 0.03, LoseReply: 0.12}

// onceEach has workers commit one after another through trouble, each its own
// record and all of them a common one, and demands that each commit happened
// exactly as often as it was answered: once.
func onceEach(t *testing.T, s *redisstore.Store, workers, each int, faults func() int) {
	var open, conflicts atomic.Int64
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			own := strconv.Itoa(w)
			for i := 0; i < each; {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				rs, err := s.Get(ctx, write("common", 0, "").Writes[0].Key)
				if err != nil {
					cancel()
					if !linking.IsKind(err, linking.Unavailable) {
						t.Errorf("Get: %v", err)
						return
					}
					continue
				}
				c := write(own, uint64(i), strconv.Itoa(i))
				if i%10 == 0 { // sometimes in competition
					c.Writes = append(c.Writes, write("common", rs[0].Version, "").Writes...)
				}
				for try := 0; ; try++ {
					short, cancelShort := context.WithTimeout(ctx, 40*time.Millisecond)
					err = s.Commit(short, c)
					cancelShort()
					if err == nil || errors.Is(err, linking.ErrConflict) || linking.IsKind(err, linking.Unavailable) || errors.Is(err, context.DeadlineExceeded) {
						break
					}
					open.Add(1)
					if ctx.Err() != nil {
						t.Errorf("still open after 30 s: %v", err)
						cancel()
						return
					}
				}
				cancel()
				switch {
				case err == nil:
					i++
				case errors.Is(err, linking.ErrConflict):
					if i%10 != 0 {
						t.Errorf("commit %d of worker %d has no competitor: what was said not to have happened did", i, w)
						return
					}
					conflicts.Add(1)
				}
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	next := make([]int, workers)
	for after := uint64(0); ; {
		page, err := s.Events(t.Context(), 3, "m", after, linking.MaxPage)
		if linking.IsKind(err, linking.Unavailable) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			if e.Seq != after+1 {
				t.Fatalf("event %d behind %d", e.Seq, after)
			}
			after = e.Seq
			w, i, _ := strings.Cut(string(e.Data), " ")
			n, _ := strconv.Atoi(w)
			if strconv.Itoa(next[n]) != i {
				t.Fatalf("commit %s of worker %d is in the log where %d should be", i, n, next[n])
			}
			next[n]++
		}
	}
	for w := range workers {
		if next[w] != each {
			t.Fatalf("worker %d was answered %d times, and the log has %d", w, each, next[w])
		}
	}
	t.Logf("%d commits through %d faults: each exactly once (%d times sent again by the caller, %d conflicts)", workers*each, faults(), open.Load(), conflicts.Load())
	if faults() == 0 {
		t.Error("there was no fault")
	}
}

func some(n int) int {
	if testing.Short() {
		return n / 8
	}
	return n
}

func TestLostRepliesDoNothingTwice(t *testing.T) {
	server := storetest.NewRedis(t, storetest.Durable()...)
	proxy := storetest.NewProxy(t, server.Addr)
	s := mustOpen(t, "redis://"+proxy.Addr, redisstore.Options{})
	proxy.Set(bad)
	defer proxy.Set(storetest.Trouble{})
	onceEach(t, s, 16, some(200), proxy.Faults)
}

func TestLostRepliesDoNothingTwiceOnCluster(t *testing.T) {
	nodes := storetest.NewRedisCluster(t)
	var proxies []*storetest.Proxy
	for _, n := range nodes {
		p := storetest.NewProxy(t, n.Addr)
		proxies = append(proxies, p)
		_, port, _ := strings.Cut(p.Addr, ":")
		n.Must(t, "CONFIG", "SET", "cluster-announce-port", port)
	}
	for _, n := range nodes { // the others hear of it by gossip
		storetest.Eventually(t, "all nodes are announced behind their proxies", func() bool {
			known := fmt.Sprint(n.Must(t, "CLUSTER", "NODES"))
			for i, p := range proxies {
				if nodes[i] != n && !strings.Contains(known, p.Addr) {
					return false
				}
			}
			return true
		})
	}
	s := mustOpen(t, "redis+cluster://"+proxies[0].Addr, redisstore.Options{})
	faults := func() (n int) {
		for _, p := range proxies {
			n += p.Faults()
		}
		return n
	}
	for _, p := range proxies {
		p.Set(bad)
	}
	onceEach(t, s, 16, some(100), faults)
	for _, p := range proxies {
		p.Set(storetest.Trouble{})
	}
}

func TestRepliesThatComeTooLateDoNothingTwice(t *testing.T) {
	server := storetest.NewRedis(t, storetest.Durable()...)
	proxy := storetest.NewProxy(t, server.Addr)
	s := mustOpen(t, "redis://"+proxy.Addr, redisstore.Options{})
	proxy.Set(storetest.Trouble{DelayReply: 0.05, Delay: 60 * time.Millisecond, LoseReply: 0.05})
	defer proxy.Set(storetest.Trouble{})
	onceEach(t, s, 16, some(64), proxy.Faults)
}

// TestReadsOverASlowNetworkSeeWhatWasAcknowledged: the answers of one handle take
// their time, so that a read often begins while an older one is on its way. It
// must not be given that one's answer.
func TestReadsOverASlowNetworkSeeWhatWasAcknowledged(t *testing.T) {
	server := storetest.NewRedis(t, storetest.Durable()...)
	proxy := storetest.NewProxy(t, server.Addr)
	w, r := mustOpen(t, server.URL(), redisstore.Options{}), mustOpen(t, "redis://"+proxy.Addr, redisstore.Options{})
	proxy.Set(storetest.Trouble{DelayReply: 1, Delay: 3 * time.Millisecond})
	defer proxy.Set(storetest.Trouble{})
	var done atomic.Uint64
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 12 {
		readers.Go(func() {
			for !stop.Load() {
				time.Sleep(rand.N(3 * time.Millisecond)) // or all would begin together, and never while another's is under way
				want := done.Load()
				rs, err := r.Get(t.Context(), write("n", 0, "").Writes[0].Key)
				if err != nil {
					t.Errorf("Get: %v", err)
					return
				}
				if rs[0].Version < want {
					t.Errorf("read version %d after version %d was acknowledged", rs[0].Version, want)
					return
				}
			}
		})
	}
	for v := range uint64(some(2000)) {
		if err := w.Commit(t.Context(), write("n", v, "")); err != nil {
			t.Errorf("Commit: %v", err)
			break
		}
		done.Store(v + 1)
	}
	stop.Store(true)
	readers.Wait()
}

// TestADeadRedisIsToldInTime: nobody waits without limit, and what was not sent is
// known not to have happened.
func TestADeadRedisIsToldInTime(t *testing.T) {
	server := storetest.NewRedis(t, storetest.Durable()...)
	s := mustOpen(t, server.URL(), redisstore.Options{})
	if err := s.Commit(t.Context(), write("a", 0, "x")); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	within := func(d time.Duration, what string, f func(context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		begin := time.Now()
		err := f(ctx)
		if took := time.Since(begin); took > d+500*time.Millisecond {
			t.Errorf("%s took %s of %s", what, took, d)
		}
		if !linking.IsKind(err, linking.Unavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	within(300*time.Millisecond, "Commit", func(ctx context.Context) error { return s.Commit(ctx, write("a", 1, "x")) })
	within(2*time.Second, "Get", func(ctx context.Context) error {
		_, err := s.Get(ctx, write("a", 0, "").Writes[0].Key)
		return err
	})
	within(2*time.Second, "Due", func(ctx context.Context) error { _, err := s.Due(ctx, 3, time.Now(), 1); return err })
	if h := s.Health(t.Context()); h.Ready || h.Problem == "" {
		t.Errorf("health of a dead Redis: %+v", h)
	}
	// A commit in time for the return waits for it.
	answer := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		answer <- s.Commit(ctx, write("a", 1, "y"))
	}()
	server.Start(t)
	if err := <-answer; err != nil {
		t.Errorf("after the return: %v", err)
	}
	if v := version(t, s, "a"); v != 2 {
		t.Errorf("version %d", v)
	}
}

// TestASilentRedisLeavesCommitsOpen: it takes the request and never answers.
func TestASilentRedisLeavesCommitsOpen(t *testing.T) {
	server := storetest.NewRedis(t, storetest.Durable()...)
	s := mustOpen(t, server.URL(), redisstore.Options{})
	if err := s.Commit(t.Context(), write("a", 0, "x")); err != nil {
		t.Fatal(err)
	}
	server.Signal(syscall.SIGSTOP)
	c := write("a", 1, "y")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := s.Commit(ctx, c)
	if err == nil || errors.Is(err, linking.ErrConflict) || linking.IsKind(err, linking.Unavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a commit without an answer must be open: %v", err)
	}
	begin := time.Now()
	getCtx, cancelGet := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancelGet()
	if _, err := s.Get(getCtx, c.Writes[0].Key); err == nil || time.Since(begin) > time.Second {
		t.Errorf("Get after %s: %v", time.Since(begin), err)
	}
	server.Signal(syscall.SIGCONT)
	if err := s.Commit(t.Context(), c); err != nil {
		t.Errorf("sent again: %v", err)
	}
	if v := version(t, s, "a"); v != 2 {
		t.Errorf("version %d", v)
	}
	// A competitor is faster while the first send is open: the second is a conflict.
	server.Signal(syscall.SIGSTOP)
	ctx2, cancel2 := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel2()
	late := write("b", 5, "late")
	if err := s.Commit(ctx2, late); err == nil || errors.Is(err, linking.ErrConflict) {
		t.Errorf("got %v", err)
	}
	server.Signal(syscall.SIGCONT)
	if err := s.Commit(t.Context(), late); !errors.Is(err, linking.ErrConflict) {
		t.Errorf("got %v", err)
	}
}

// TestKillLosesNothingAcknowledged ends Redis as kill -9 does while 16 commit.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	server := storetest.NewRedis(t, storetest.Durable()...)
	s := mustOpen(t, server.URL(), redisstore.Options{})
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	rounds := max(2, some(8))
	for round := range rounds {
		var stop atomic.Bool
		var made atomic.Int64
		var all sync.WaitGroup
		for w := range 16 {
			all.Go(func() {
				for i := 0; !stop.Load(); i++ {
					id := fmt.Sprintf("%d.%d.%d", round, w, i)
					c := write(id, 0, id)
					c.Writes = append(c.Writes, write("twin "+id, 0, id).Writes...)
					ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
					err := s.Commit(ctx, c)
					cancel()
					if err == nil {
						made.Add(1)
						mu.Lock()
						acknowledged[id] = true
						mu.Unlock()
					} else if errors.Is(err, linking.ErrConflict) || errors.Is(err, linking.ErrRolledBack) {
						t.Errorf("commit %s: %v", id, err)
						return
					}
				}
			})
		}
		storetest.Eventually(t, "some commits were made", func() bool { return made.Load() > int64(200+round*31) })
		server.Kill()
		stop.Store(true)
		all.Wait()
		server.Start(t)
	}
	for id := range acknowledged {
		rs, err := s.Get(t.Context(), write(id, 0, "").Writes[0].Key, write("twin "+id, 0, "").Writes[0].Key)
		if err != nil || rs[0].Version != 1 || rs[1].Version != 1 {
			t.Fatalf("commit %s was acknowledged and is not there", id)
		}
	}
	t.Logf("%d kills, %d commits acknowledged, none lost", rounds, len(acknowledged))
	if h := s.Health(t.Context()); len(h.Lost) > 0 {
		t.Errorf("a false alarm: %+v", h)
	}
}

// TestALostSubscriptionWakesEverybodyWhenItIsBack: a subscriber whose connection was lost
// wakes everybody when it is back, since it cannot know what it missed.
func TestALostSubscriptionWakesEverybodyWhenItIsBack(t *testing.T) {
	server := storetest.NewRedis(t, storetest.Durable()...)
	proxy := storetest.NewProxy(t, server.Addr)
	s := mustOpen(t, "redis://"+proxy.Addr, redisstore.Options{})
	w := s.Watch(linking.RecordTopic(write("never written", 0, "").Writes[0].Key))
	defer w.Close()
	for drained := false; !drained; { // the first subscription wakes too
		select {
		case <-w.C:
		case <-time.After(200 * time.Millisecond):
			drained = true
		}
	}
	proxy.Cut()
	select {
	case <-w.C:
	case <-time.After(20 * time.Second):
		t.Fatal("nobody was woken")
	}
}

func TestOneWakeComesForManyCommits(t *testing.T) {
	server := storetest.Redis(t)
	a, b := mustOpen(t, server.URL(), redisstore.Options{}), mustOpen(t, server.URL(), redisstore.Options{})
	w := b.Watch(linking.LogTopic(3, "m"))
	defer w.Close()
	for i := range 200 {
		if err := a.Commit(t.Context(), write(fmt.Sprint(i), 0, "")); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-w.C:
	case <-time.After(10 * time.Second):
		t.Fatal("no wake for 200 commits")
	}
}
