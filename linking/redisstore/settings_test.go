package redisstore_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"placard/linking"
	"placard/linking/redisstore"
	"placard/linking/storetest"
)

// settings is Durable with some of them different.
func settings(changed ...string) []string {
	out := storetest.Durable()
	for i := 0; i+1 < len(changed); i += 2 {
		found := false
		for j := 0; j+1 < len(out); j += 2 {
			if out[j] == changed[i] {
				out[j+1], found = changed[i+1], true
			}
		}
		if !found {
			out = append(out, changed[i], changed[i+1])
		}
	}
	return out
}

// TestUnsafeSettings starts real servers with settings that lose money, and some
// that do not.
func TestUnsafeSettingsAreRefused(t *testing.T) {
	const refused, overridable, warned, opened = "refused", "refused, unless overridden", "opened with a warning", "opened"
	for _, c := range []struct {
		name     string
		settings []string
		url      string // instead of redis://ADDR
		o        redisstore.Options
		want     string
		says     string
	}{
		{name: "durable", settings: settings(), want: opened},
		{name: "stock settings of a distribution", settings: []string{"appendonly", "no", "save", "3600 1 300 100 60 10000"}, want: overridable, says: "appendonly yes"},
		{name: "nothing kept at all", settings: []string{"appendonly", "no", "save", ""}, want: overridable, says: "appendonly yes"},
		{name: "synced each second", settings: settings("appendfsync", "everysec"), want: warned, says: "appendfsync always"},
		{name: "never synced", settings: settings("appendfsync", "no"), want: overridable, says: "appendfsync always"},
		{name: "not synced while rewriting", settings: settings("no-appendfsync-on-rewrite", "yes"), want: overridable, says: "no-appendfsync-on-rewrite no"},
		{name: "eviction of anything", settings: settings("maxmemory", "100mb", "maxmemory-policy", "allkeys-lru"), want: overridable, says: "noeviction"},
		{name: "eviction of what expires", settings: settings("maxmemory-policy", "volatile-ttl"), want: overridable, says: "noeviction"},
		{name: "no limit of memory", settings: settings("maxmemory", "0"), want: warned, says: "maxmemory"},
		{name: "memory used up", settings: settings("maxmemory", "1mb"), want: refused, says: "raise maxmemory"},
		{name: "CONFIG forbidden, with a file", settings: settings("rename-command", `CONFIG ""`), want: warned, says: "CONFIG"},
		{name: "CONFIG forbidden, no file", settings: []string{"appendonly", "no", "save", "", "rename-command", `CONFIG ""`}, want: overridable, says: "appendonly yes"},
		{name: "scripts forbidden", settings: settings("user", "default on nopass ~* &* +@all -eval -evalsha"), want: refused, says: "commit"},
		{name: "publishing only elsewhere", settings: settings("user", "default on nopass ~* resetchannels &other +@all"), want: refused, says: "&placard:*"},
		{name: "a password we do not have", settings: settings("requirepass", "s3cret"), want: refused, says: "password"},
		{name: "a password we have", settings: settings("requirepass", "s3cret"), url: "redis://:s3cret@ADDR", want: opened},
		{name: "a user of its own", settings: settings("user", "placard on >s3cret ~* &placard:* +@all"), url: "redis://placard:s3cret@ADDR", want: opened},
		{name: "a user with what a store needs", settings: settings("user", "placard on >s3cret ~* &placard:* +@all -@dangerous +info +config|get"), url: "redis://placard:s3cret@ADDR", want: opened},
		{name: "INFO forbidden", settings: settings("user", "default on nopass ~* &* +@all -info -config"), want: overridable, says: "allow INFO"},
		{name: "another database", settings: settings(), url: "redis://ADDR/5", want: opened},
		{name: "replicas demanded that are not there", settings: settings("min-replicas-to-write", "1"), want: refused, says: "NOREPLICAS"},
		{name: "part of a Cluster", settings: settings("cluster-enabled", "yes"), want: refused, says: "redis+cluster://"},
		{name: "a Cluster without slots", settings: settings("cluster-enabled", "yes"), url: "redis+cluster://ADDR", want: refused, says: "mend it"},
		{name: "no Cluster", settings: settings(), url: "redis+cluster://ADDR", want: refused, says: "redis://"},
		{name: "a Redis where a Sentinel should be", settings: settings(), url: "redis+sentinel://ADDR/shop", want: refused, says: "shop"},
		{name: "empty where a store was expected", settings: settings(), o: redisstore.Options{StoreID: "OURS"}, want: refused, says: "restore its backup"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := storetest.NewRedis(t, c.settings...)
			url := "redis://ADDR"
			if c.url != "" {
				url = c.url
			}
			url = strings.ReplaceAll(url, "ADDR", server.Addr)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			s, err := redisstore.Open(ctx, url, c.o)
			if (err != nil) != (c.want == refused || c.want == overridable) {
				t.Fatalf("Open: %v, want %s", err, c.want)
			}
			if err != nil {
				t.Log(err)
				if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "\n") {
					t.Errorf("refused with %q, which should say %q", err, c.says)
				}
				c.o.AllowUnsafe = true
				s, err = redisstore.Open(ctx, url, c.o)
				if (err == nil) != (c.want == overridable) {
					t.Fatalf("with the override: %v", err)
				}
				if err != nil {
					return
				}
			}
			defer s.Close()
			h := s.Health(ctx)
			if !h.Ready || h.Unsafe != (c.want == overridable) {
				t.Errorf("health: %+v", h)
			}
			if warnings := strings.Join(h.Warnings, "; "); (warnings != "") != (c.want != opened) || !strings.Contains(warnings, c.says) {
				t.Errorf("warned %q, which should say %q", warnings, c.says)
			}
			if err := s.Commit(ctx, write("a", 0, "x")); err != nil {
				t.Errorf("Commit: %v", err)
			}
		})
	}
}

func write(id string, expect uint64, data string) linking.Commit {
	return linking.Commit{ID: linking.NewCommitID(), Shard: 3, Log: "m", Events: [][]byte{[]byte(id + " " + data)},
		Writes: []linking.Write{{Key: linking.Key{Shard: 3, Kind: "c", ID: id}, Expect: expect, Data: []byte(data)}}}
}

func mustOpen(t *testing.T, url string, o redisstore.Options) *redisstore.Store {
	t.Helper()
	s, err := redisstore.Open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func version(t *testing.T, s linking.Store, id string) uint64 {
	t.Helper()
	rs, err := s.Get(t.Context(), linking.Key{Shard: 3, Kind: "c", ID: id})
	if err != nil {
		t.Fatal(err)
	}
	return rs[0].Version
}

func TestNoRedisIsSaidInASentence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	for _, url := range []string{"redis://" + addr, "redis+cluster://" + addr, "redis+sentinel://" + addr + "/shop"} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := redisstore.Open(ctx, url, redisstore.Options{})
		cancel()
		if err == nil || !strings.Contains(err.Error(), addr) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestTheCanaryLeavesNothingBehind(t *testing.T) {
	server := storetest.Redis(t)
	mustOpen(t, server.URL(), redisstore.Options{})
	if n := server.Must(t, "DBSIZE"); n != int64(0) {
		t.Fatalf("%v keys: %v", n, server.Must(t, "KEYS", "*"))
	}
	nodes := storetest.RedisCluster(t)
	mustOpen(t, storetest.ClusterURL(nodes), redisstore.Options{})
	for _, n := range nodes {
		if keys := n.Must(t, "DBSIZE"); keys != int64(0) {
			t.Fatalf("%v keys: %v", keys, n.Must(t, "KEYS", "*"))
		}
	}
}

func TestIdentityIsMadeOnceAndCompared(t *testing.T) {
	server := storetest.Redis(t)
	s := mustOpen(t, server.URL(), redisstore.Options{})
	if id, err := s.Identity(t.Context()); id != "" || err != nil {
		t.Fatalf("a new store is named %q, %v", id, err)
	}
	id, err := s.Init(t.Context())
	if again, err2 := s.Init(t.Context()); err != nil || err2 != nil || id == "" || again != id {
		t.Fatalf("named %q, then %q: %v, %v", id, again, err, err2)
	}
	mustOpen(t, server.URL(), redisstore.Options{StoreID: id})
	if _, err := redisstore.Open(t.Context(), server.URL(), redisstore.Options{StoreID: "OURS"}); err == nil || !strings.Contains(err.Error(), id) {
		t.Fatalf("another store was taken for ours: %v", err)
	}

	// A Redis that is exchanged or emptied while the gateway runs is noticed.
	server.Must(t, "SET", "{meta}store", "ANOTHER")
	s.LookNow()
	if _, err := s.Get(t.Context(), linking.Key{Shard: 900, Kind: "c", ID: "x"}); !linking.IsKind(err, linking.Unavailable) {
		t.Fatalf("reading a foreign store: %v", err)
	}
	if h := s.Health(t.Context()); h.Ready || !strings.Contains(h.Problem, "ANOTHER") {
		t.Fatalf("health over a foreign store: %+v", h)
	}
	server.Must(t, "SET", "{meta}store", id)
	s.LookNow()
	if err := s.Commit(t.Context(), write("a", 0, "x")); err != nil {
		t.Fatal(err)
	}
}

func TestSettingsThatTurnUnsafeStopCommits(t *testing.T) {
	server := storetest.NewRedis(t, storetest.Durable()...)
	s := mustOpen(t, server.URL(), redisstore.Options{})
	for _, change := range [][]string{{"maxmemory-policy", "allkeys-lru", "noeviction"}, {"appendfsync", "no", "always"}, {"appendonly", "no", "yes"}} {
		server.Must(t, "CONFIG", "SET", change[0], change[1])
		s.LookNow()
		if err := s.Commit(t.Context(), write("a", 0, "x")); !linking.IsKind(err, linking.Unavailable) {
			t.Errorf("%s %s: %v", change[0], change[1], err)
		}
		if version(t, s, "a") != 0 {
			t.Fatal("written")
		}
		if h := s.Health(t.Context()); h.Ready || !strings.Contains(h.Problem, change[0]) {
			t.Errorf("%s %s: %+v", change[0], change[1], h)
		}
		server.Must(t, "CONFIG", "SET", change[0], change[2])
		if change[0] == "appendonly" {
			storetest.Eventually(t, "the append-only file is written again", func() bool {
				return strings.Contains(server.Must(t, "INFO", "persistence").(string), "aof_rewrite_in_progress:0")
			})
		}
		s.LookNow()
	}
	if err := s.Commit(t.Context(), write("a", 0, "x")); err != nil {
		t.Fatalf("with safe settings again: %v", err)
	}
}

// TestMemoryNearlyUsedUpStopsCommitsOnly: what is there is still shown, and nothing is added.
func TestMemoryNearlyUsedUpStopsCommitsOnly(t *testing.T) {
	server := storetest.NewRedis(t, settings("maxmemory", "2gb")...)
	s := mustOpen(t, server.URL(), redisstore.Options{})
	if err := s.Commit(t.Context(), write("a", 0, "x")); err != nil {
		t.Fatal(err)
	}
	server.Must(t, "CONFIG", "SET", "maxmemory", strconv.Itoa(usedMemory(t, server)*100/94))
	late := mustOpen(t, server.URL(), redisstore.Options{})
	s.LookNow()
	for _, s := range []*redisstore.Store{s, late} {
		if err := s.Commit(t.Context(), write("a", 1, "x")); !linking.IsKind(err, linking.Unavailable) {
			t.Errorf("Commit: %v", err)
		}
		if v := version(t, s, "a"); v != 1 {
			t.Errorf("version %d", v)
		}
		if h := s.Health(t.Context()); h.Ready || !strings.Contains(h.Problem, "raise maxmemory") {
			t.Errorf("health: %+v", h)
		}
	}
	server.Must(t, "CONFIG", "SET", "maxmemory", "2gb")
	s.LookNow()
	if err := s.Commit(t.Context(), write("a", 1, "x")); err != nil {
		t.Error(err)
	}
}

// TestTLS reaches a Redis that speaks TLS only.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	selfSigned(t, certFile, keyFile)
	server := storetest.NewRedis(t, settings("tls-port", "0", "tls-cert-file", certFile, "tls-key-file", keyFile, "tls-ca-cert-file", certFile)...)
	port := freePort(t)
	if _, err := server.Do("CONFIG", "SET", "tls-port", port); err != nil {
		if os.Getenv("CI") == "1" {
			t.Fatalf("this redis-server speaks no TLS: %v", err)
		}
		t.Skipf("NOT TESTED: this redis-server speaks no TLS: %v", err)
	}
	addr := net.JoinHostPort("127.0.0.1", port)
	if _, err := redisstore.Open(t.Context(), "rediss://"+addr, redisstore.Options{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority was trusted, or not named: %v", err)
	}
	if _, err := redisstore.Open(t.Context(), "rediss://"+addr+"?ca="+certFile, redisstore.Options{}); err == nil {
		t.Error("a server that asks for a certificate was reached without one")
	}
	s := mustOpen(t, "rediss://"+addr+"?ca="+certFile+"&cert="+certFile+"&key="+keyFile, redisstore.Options{})
	if err := s.Commit(t.Context(), write("a", 0, "x")); err != nil {
		t.Fatal(err)
	}
}
