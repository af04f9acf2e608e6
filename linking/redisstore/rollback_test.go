package redisstore_test

import (
	"errors"
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

// back swaps in what a server kept at an earlier time.
func back(t *testing.T, server *storetest.RedisServer, change func()) {
	t.Helper()
	kept := filepath.Join(t.TempDir(), "kept")
	if err := os.CopyFS(kept, os.DirFS(filepath.Join(server.Dir, "appendonlydir"))); err != nil {
		t.Fatal(err)
	}
	change()
	server.Kill()
	if err := os.RemoveAll(filepath.Join(server.Dir, "appendonlydir")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(server.Dir, "appendonlydir"), os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	server.Start(t)
}

func TestAStoreThatWentBackInTimeIsNoticedAtOnce(t *testing.T) {
	read := func(s *redisstore.Store, shard linking.Shard) error {
		_, err := s.Get(t.Context(), linking.Key{Shard: shard, Kind: "c", ID: "a"})
		return err
	}
	for name, first := range map[string]func(s *redisstore.Store) error{
		"Get":    func(s *redisstore.Store) error { return read(s, 3) },
		"Commit": func(s *redisstore.Store) error { return s.Commit(t.Context(), write("new", 0, "x")) },
		"List": func(s *redisstore.Store) error {
			_, err := s.List(t.Context(), linking.Listing{Shard: 3, Kind: "c", Owner: "o", Limit: 1})
			return err
		},
		"Due":    func(s *redisstore.Store) error { _, err := s.Due(t.Context(), 3, time.Now(), 1); return err },
		"Events": func(s *redisstore.Store) error { _, err := s.Events(t.Context(), 3, "m", 0, 1); return err },
		"Span":   func(s *redisstore.Store) error { _, _, err := s.Span(t.Context(), 3, "m"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			server := storetest.NewRedis(t, storetest.Durable()...)
			s := mustOpen(t, server.URL(), redisstore.Options{})
			other := write("a", 0, "x")
			other.Shard, other.Writes[0].Shard = 4, 4
			for _, c := range []linking.Commit{write("a", 0, "x"), other} {
				if err := s.Commit(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
			back(t, server, func() {
				if err := s.Commit(t.Context(), write("a", 1, "lost")); err != nil {
					t.Fatal(err)
				}
			})
			if err := first(s); !errors.Is(err, linking.ErrRolledBack) {
				t.Fatalf("the first question after a rollback: %v", err)
			}
			// It stays so, and for the shard that is behind only.
			for range 2 {
				if err := read(s, 3); !errors.Is(err, linking.ErrRolledBack) {
					t.Fatalf("Get: %v", err)
				}
				if err := s.Commit(t.Context(), write("a", 1, "x")); !errors.Is(err, linking.ErrRolledBack) {
					t.Fatalf("Commit: %v", err)
				}
			}
			// Not even when another process, which knows nothing of it, has written more
			// than was lost.
			fresh := mustOpen(t, server.URL(), redisstore.Options{})
			for i := range 3 {
				if err := fresh.Commit(t.Context(), write(strconv.Itoa(i), 0, "x")); err != nil {
					t.Fatal(err)
				}
			}
			if err := read(s, 3); !errors.Is(err, linking.ErrRolledBack) {
				t.Fatalf("Get after others went on: %v", err)
			}
			if err := read(s, 4); err != nil {
				t.Fatalf("another shard: %v", err)
			}
			if h := s.Health(t.Context()); len(h.Lost) != 1 || h.Lost[0] != 3 {
				t.Fatalf("health: %+v", h)
			}
			// The operator speaks to some process; each hears it when it looks again.
			if err := fresh.Accept(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := read(s, 3); !errors.Is(err, linking.ErrRolledBack) {
				t.Fatalf("before it looked: %v", err)
			}
			s.LookNow()
			if err := s.Commit(t.Context(), write("a", 1, "x")); err != nil {
				t.Fatalf("after the operator looked: %v", err)
			}
			if h := s.Health(t.Context()); len(h.Lost) != 0 || !h.Ready {
				t.Fatalf("health: %+v", h)
			}
		})
	}
}

func TestAnEmptiedStoreIsNoticedAtOnce(t *testing.T) {
	server := storetest.NewRedis(t, storetest.Durable()...)
	s := mustOpen(t, server.URL(), redisstore.Options{})
	id, err := s.Init(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), write("a", 0, "x")); err != nil {
		t.Fatal(err)
	}
	server.Must(t, "FLUSHALL")
	if _, err := s.Get(t.Context(), write("a", 0, "").Writes[0].Key); !errors.Is(err, linking.ErrRolledBack) {
		t.Fatalf("Get: %v", err)
	}
	s.LookNow()
	if h := s.Health(t.Context()); h.Ready || !strings.Contains(h.Problem, id) {
		t.Fatalf("health: %+v", h)
	}
	if _, err := redisstore.Open(t.Context(), server.URL(), redisstore.Options{StoreID: id}); err == nil {
		t.Fatal("an emptied store was opened as if it were new")
	}
}
