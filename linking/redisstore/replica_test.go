package redisstore_test

import (
	"context"
	"errors"
	"fmt"
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

// replicaOf starts a replica and waits until it follows.
func replicaOf(t *testing.T, master *storetest.RedisServer) *storetest.RedisServer {
	t.Helper()
	host, port, _ := strings.Cut(master.Addr, ":")
	r := storetest.NewRedis(t, settings("replicaof", host+" "+port)...)
	storetest.Eventually(t, "the replica follows", func() bool {
		return strings.Contains(r.Must(t, "INFO", "replication").(string), "master_link_status:up")
	})
	return r
}

func TestAReplicaIsNoStore(t *testing.T) {
	r := replicaOf(t, storetest.NewRedis(t, settings("repl-diskless-sync-delay", "0")...))
	if _, err := redisstore.Open(t.Context(), r.URL(), redisstore.Options{}); err == nil || !strings.Contains(err.Error(), "name its master") {
		t.Fatalf("got %v", err)
	}
}

// TestAMasterPartedFromItsReplicasAnswersNothing: what it acknowledged would be
// thrown away if another had been promoted meanwhile.
func TestAMasterPartedFromItsReplicasAnswersNothing(t *testing.T) {
	t.Parallel()
	master := storetest.NewRedis(t, settings("repl-diskless-sync-delay", "0")...)
	replica := replicaOf(t, master)
	s := mustOpen(t, master.URL(), redisstore.Options{})
	alone := mustOpen(t, master.URL(), redisstore.Options{Replicas: -1})
	if err := s.Commit(t.Context(), write("a", 0, "x")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond) // one heartbeat at least, which nothing tells of
	if err := s.Commit(t.Context(), write("b", 0, "x")); err != nil {
		t.Fatalf("with a replica that answers: %v", err)
	}
	replica.Signal(syscall.SIGSTOP)
	parted := time.Now()
	storetest.Eventually(t, "commits are refused", func() bool {
		err := s.Commit(t.Context(), linking.Commit{ID: linking.NewCommitID(), Shard: 3, Log: "m", Events: [][]byte{nil}})
		if err != nil && !linking.IsKind(err, linking.Unavailable) {
			t.Fatalf("got %v", err)
		}
		return err != nil
	})
	if took := time.Since(parted); took < 2*time.Second || took > 6*time.Second {
		t.Errorf("refused after %s", took)
	}
	if _, err := s.Get(t.Context(), write("a", 0, "").Writes[0].Key); !linking.IsKind(err, linking.Unavailable) {
		t.Errorf("Get: %v", err)
	}
	if h := s.Health(t.Context()); h.Ready || !strings.Contains(h.Problem, master.Addr) {
		t.Errorf("health: %+v", h)
	}
	if err := alone.Commit(t.Context(), write("c", 0, "x")); err != nil {
		t.Errorf("a store that asks for no replicas: %v", err)
	}
	replica.Signal(syscall.SIGCONT)
	storetest.Eventually(t, "commits are made again", func() bool {
		return s.Commit(t.Context(), linking.Commit{ID: linking.NewCommitID(), Shard: 3, Log: "m", Events: [][]byte{nil}}) == nil
	})
	if h := s.Health(t.Context()); !h.Ready {
		t.Errorf("health: %+v", h)
	}
}

// TestAFailoverLosesNothingUnnoticed kills a master that Sentinel watches. What
// was acknowledged is there afterwards, or its shard says that it went back.
func TestAFailoverLosesNothingUnnoticed(t *testing.T) {
	t.Parallel()
	master := storetest.NewRedis(t, settings("repl-diskless-sync-delay", "0")...)
	replica := replicaOf(t, master)
	host, port, _ := strings.Cut(master.Addr, ":")
	watcher := storetest.NewRedis(t,
		"sentinel monitor", "shop "+host+" "+port+" 1",
		"sentinel down-after-milliseconds", "shop 500",
		"sentinel failover-timeout", "shop 3000")
	storetest.Eventually(t, "Sentinel knows the replica", func() bool {
		return len(watcher.Must(t, "SENTINEL", "REPLICAS", "shop").([]any)) == 1
	})
	if _, err := redisstore.Open(t.Context(), "redis+sentinel://"+watcher.Addr+"/other", redisstore.Options{}); err == nil || !strings.Contains(err.Error(), "other") {
		t.Errorf("a master that Sentinel does not know: %v", err)
	}
	s := mustOpen(t, "redis+sentinel://"+watcher.Addr+"/shop", redisstore.Options{Replicas: -1})
	if h := s.Health(t.Context()); !h.Ready || h.Backend != "redis sentinel" || !strings.Contains(strings.Join(h.Warnings, " "), "min-replicas-to-write") {
		t.Errorf("health: %+v", h)
	}
	var acknowledged [8]atomic.Uint64
	var stop atomic.Bool
	var all sync.WaitGroup
	for w := range acknowledged {
		all.Go(func() {
			shard := linking.Shard(w)
			for !stop.Load() {
				k := linking.Key{Shard: shard, Kind: "c", ID: "n"}
				v := acknowledged[w].Load()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				c := linking.Commit{ID: linking.NewCommitID(), Shard: shard, Writes: []linking.Write{{Key: k, Expect: v}}}
				err := s.Commit(ctx, c)
				for err != nil && !errors.Is(err, linking.ErrRolledBack) && !linking.IsKind(err, linking.Unavailable) && !stop.Load() && ctx.Err() == nil {
					err = s.Commit(ctx, c)
				}
				cancel()
				switch {
				case err == nil:
					acknowledged[w].Store(v + 1)
				case errors.Is(err, linking.ErrRolledBack):
					return
				default:
					if rs, err := s.Get(t.Context(), k); err == nil && rs[0].Version > v {
						acknowledged[w].Store(rs[0].Version) // it was open, and had happened
					}
				}
			}
		})
	}
	total := func() (n uint64) {
		for w := range acknowledged {
			n += acknowledged[w].Load()
		}
		return n
	}
	storetest.Eventually(t, "commits are made", func() bool { return total() > 400 })
	master.Kill()
	killed, before := time.Now(), total()
	storetest.Eventually(t, "the replica is promoted", func() bool {
		return strings.Contains(replica.Must(t, "INFO", "replication").(string), "role:master")
	})
	storetest.Eventually(t, "commits are made again", func() bool { return total() > before+100 || len(s.Health(t.Context()).Lost) > 0 })
	t.Logf("commits again %s after the kill", time.Since(killed).Round(10*time.Millisecond))
	stop.Store(true)
	all.Wait()
	for w := range acknowledged {
		k := linking.Key{Shard: linking.Shard(w), Kind: "c", ID: "n"}
		var rs []linking.Record
		var err error
		storetest.Eventually(t, "reads are answered again", func() bool {
			rs, err = s.Get(t.Context(), k)
			return !linking.IsKind(err, linking.Unavailable)
		})
		if errors.Is(err, linking.ErrRolledBack) {
			t.Logf("shard %v went back, and says so", k.Shard)
			continue
		}
		if err != nil || rs[0].Version < acknowledged[w].Load() {
			t.Errorf("%s: version %d was acknowledged, there is %v, %v", k, acknowledged[w].Load(), rs, err)
		}
	}
}

// TestAMovingSlotDelaysAndLosesNothing moves a shard from one master of a Cluster
// to another while it is written and read.
func TestAMovingSlotDelaysAndLosesNothing(t *testing.T) {
	t.Parallel()
	nodes := storetest.NewRedisCluster(t)
	s := mustOpen(t, storetest.ClusterURL(nodes), redisstore.Options{})
	const shard = linking.Shard(3)
	slot := strconv.FormatInt(nodes[0].Must(t, "CLUSTER", "KEYSLOT", "{"+shard.String()+"}n").(int64), 10)
	var from, to *storetest.RedisServer
	var fromID, toID string
	for _, n := range nodes {
		id := n.Must(t, "CLUSTER", "MYID").(string)
		if keys, err := n.Do("GET", "{"+shard.String()+"}n"); err == nil && keys == nil {
			from, fromID = n, id
		} else {
			to, toID = n, id
		}
	}
	var stop atomic.Bool
	var made [4]atomic.Int64
	var slowest atomic.Int64
	var all sync.WaitGroup
	for w := range made {
		all.Go(func() {
			for !stop.Load() {
				begin := time.Now()
				c := write(strconv.Itoa(w), uint64(made[w].Load()), "x")
				c.Writes = append(c.Writes, write(fmt.Sprintf("%d of %d", made[w].Load(), w), 0, "x").Writes...)
				if err := s.Commit(t.Context(), c); err != nil {
					t.Errorf("Commit: %v", err)
					return
				}
				if n := made[w].Add(1); version(t, s, strconv.Itoa(w)) != uint64(n) {
					t.Errorf("worker %d reads another version than %d", w, n)
					return
				}
				slowest.Store(max(slowest.Load(), int64(time.Since(begin))))
			}
		})
	}
	enough := func(more int64) {
		var begin [4]int64
		for w := range made {
			begin[w] = made[w].Load()
		}
		storetest.Eventually(t, "every worker goes on", func() bool {
			for w := range made {
				if made[w].Load() < begin[w]+more && !t.Failed() {
					return false
				}
			}
			return true
		})
	}
	enough(50)
	to.Must(t, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	from.Must(t, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	host, port, _ := strings.Cut(to.Addr, ":")
	for {
		keys := from.Must(t, "CLUSTER", "GETKEYSINSLOT", slot, "20").([]any)
		if len(keys) == 0 {
			break
		}
		move := []string{"MIGRATE", host, port, "", "0", "5000", "KEYS"}
		for _, k := range keys {
			move = append(move, k.(string))
		}
		from.Must(t, move...)
	}
	for _, n := range []*storetest.RedisServer{to, from} {
		n.Must(t, "CLUSTER", "SETSLOT", slot, "NODE", toID)
	}
	enough(50)
	stop.Store(true)
	all.Wait()
	var sum int64
	for w := range made {
		sum += made[w].Load()
	}
	if _, last, err := s.Span(t.Context(), shard, "m"); err != nil || last != uint64(sum) {
		t.Errorf("%d commits were made, %d are in the log: %v", sum, last, err)
	}
	if h := s.Health(t.Context()); len(h.Lost) > 0 {
		t.Errorf("a false alarm: %+v", h)
	}
	t.Logf("%d commits while the slot moved, the slowest took %s", sum, time.Duration(slowest.Load()).Round(time.Millisecond))
}

// TestAClusterFailoverLosesNothingUnnoticed kills a master of a Cluster that has a
// replica.
func TestAClusterFailoverLosesNothingUnnoticed(t *testing.T) {
	t.Parallel()
	nodes := storetest.NewRedisCluster(t)
	s := mustOpen(t, storetest.ClusterURL(nodes), redisstore.Options{Replicas: -1})
	const shard = linking.Shard(3)
	var master *storetest.RedisServer
	for _, n := range nodes {
		if _, err := n.Do("GET", "{"+shard.String()+"}n"); err == nil {
			master = n
		}
	}
	replica := storetest.NewRedis(t, settings("cluster-enabled", "yes", "cluster-node-timeout", "2000", "cluster-config-file", "nodes.conf", "cluster-replica-validity-factor", "0")...)
	host, port, _ := strings.Cut(master.Addr, ":")
	bus := master.Must(t, "CONFIG", "GET", "cluster-port").([]any)[1].(string)
	replica.Must(t, "CLUSTER", "MEET", host, port, bus)
	storetest.Eventually(t, "all nodes know each other", func() bool {
		for _, n := range append(nodes, replica) {
			if !strings.Contains(n.Must(t, "CLUSTER", "INFO").(string), "cluster_known_nodes:4") {
				return false
			}
		}
		return true
	})
	master.Must(t, "CONFIG", "SET", "repl-diskless-sync-delay", "0")
	replica.Must(t, "CLUSTER", "REPLICATE", master.Must(t, "CLUSTER", "MYID").(string))
	storetest.Eventually(t, "the replica follows", func() bool {
		return strings.Contains(replica.Must(t, "INFO", "replication").(string), "master_link_status:up")
	})
	commit := func(v uint64) error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return s.Commit(ctx, write("n", v, "x"))
	}
	for v := range uint64(50) {
		if err := commit(v); err != nil {
			t.Fatal(err)
		}
	}
	master.Kill()
	killed := time.Now()
	err := commit(50)
	t.Logf("the next commit took %s: %v", time.Since(killed).Round(10*time.Millisecond), err)
	switch rs, readErr := s.Get(t.Context(), write("n", 0, "").Writes[0].Key); {
	case errors.Is(err, linking.ErrRolledBack):
		if !errors.Is(readErr, linking.ErrRolledBack) {
			t.Errorf("Get after the alarm: %v", readErr)
		}
	case err != nil || readErr != nil || rs[0].Version != 51:
		t.Errorf("after the failover: %v, %v, %v", err, rs, readErr)
	}
}

// TestOneDeadMasterIsNotTheOthersTrouble: the other two thirds of a Cluster go on.
func TestOneDeadMasterIsNotTheOthersTrouble(t *testing.T) {
	t.Parallel()
	nodes := storetest.NewRedisCluster(t)
	for _, n := range nodes {
		n.Must(t, "CONFIG", "SET", "cluster-require-full-coverage", "no")
	}
	s := mustOpen(t, storetest.ClusterURL(nodes), redisstore.Options{})
	keyIn := func(shard linking.Shard) linking.Key { return linking.Key{Shard: shard, Kind: "c", ID: "a"} }
	home := map[*storetest.RedisServer]linking.Shard{}
	for shard := linking.Shard(0); len(home) < 3; shard++ {
		for _, n := range nodes {
			if _, err := n.Do("GET", "{"+shard.String()+"}n"); err == nil {
				if _, ok := home[n]; !ok {
					home[n] = shard
				}
			}
		}
	}
	for _, shard := range home {
		if err := s.Commit(t.Context(), linking.Commit{ID: linking.NewCommitID(), Shard: shard, Writes: []linking.Write{{Key: keyIn(shard)}}}); err != nil {
			t.Fatal(err)
		}
	}
	dead := nodes[1]
	dead.Signal(syscall.SIGSTOP)
	defer dead.Signal(syscall.SIGCONT)
	// Many wait for the silent one ...
	ctx, cancel := context.WithCancel(t.Context())
	var waiters sync.WaitGroup
	for range 100 {
		waiters.Go(func() { s.Get(ctx, keyIn(home[dead])) })
		waiters.Go(func() {
			s.Commit(ctx, linking.Commit{ID: linking.NewCommitID(), Shard: home[dead], Writes: []linking.Write{{Key: keyIn(home[dead]), Expect: 1}}})
		})
	}
	// ... and nobody else does.
	for _, n := range nodes {
		if n == dead {
			continue
		}
		for v := uint64(1); v <= 20; v++ {
			begin := time.Now()
			err := s.Commit(t.Context(), linking.Commit{ID: linking.NewCommitID(), Shard: home[n], Writes: []linking.Write{{Key: keyIn(home[n]), Expect: v}}})
			if err != nil {
				t.Fatalf("Commit: %v", err)
			}
			if rs, err := s.Get(t.Context(), keyIn(home[n])); err != nil || rs[0].Version != v+1 {
				t.Fatalf("Get: %v, %v", rs, err)
			}
			if took := time.Since(begin); took > 500*time.Millisecond {
				t.Errorf("%s waited %s for another's master", n.Addr, took)
			}
		}
	}
	cancel()
	waiters.Wait()
}
