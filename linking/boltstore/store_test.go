package boltstore_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"placard/linking"
	"placard/linking/boltstore"
	"placard/linking/storetest"
)

func mustOpen(t *testing.T, path string, o boltstore.Options) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// refused demands an error that tells the operator all of words.
func refused(t *testing.T, path string, o boltstore.Options, words ...string) error {
	t.Helper()
	s, err := boltstore.Open(path, o)
	if err == nil {
		s.Close()
		t.Fatal("it was opened")
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q says nothing of %q", err, w)
		}
	}
	return err
}

func write(id string, expect uint64, data string) linking.Commit {
	return linking.Commit{ID: linking.NewCommitID(), Shard: 3, Log: "m", Events: [][]byte{[]byte(id)},
		Writes: []linking.Write{{Key: linking.Key{Shard: 3, Kind: "c", ID: id}, Expect: expect, Data: []byte(data)}}}
}

func version(t *testing.T, s linking.Store, id string) uint64 {
	t.Helper()
	rs, err := s.Get(t.Context(), linking.Key{Shard: 3, Kind: "c", ID: id})
	if err != nil {
		t.Fatal(err)
	}
	return rs[0].Version
}

func TestASecondProcessIsRefusedAndToldWhy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	mustOpen(t, path, boltstore.Options{})
	err := refused(t, path, boltstore.Options{LockTimeout: 50 * time.Millisecond}, path, "in use", "running gateway", "API")
	if !errors.Is(err, boltstore.ErrInUse) {
		t.Errorf("%v is not ErrInUse", err)
	}
}

func TestAnEmptyOrForeignFileIsNotTakenForTheExpectedOne(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store.db")
	refused(t, path, boltstore.Options{StoreID: "OURS"}, path, "OURS", "restore its backup")
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a file was made: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, path, boltstore.Options{StoreID: "OURS"}, path, "OURS", "empty")

	s := mustOpen(t, path, boltstore.Options{})
	if id, err := s.Identity(t.Context()); id != "" || err != nil {
		t.Fatalf("a new store is named %q, %v", id, err)
	}
	refused(t, filepath.Join(dir, "other.db"), boltstore.Options{StoreID: "OURS"}, "OURS")
	id, err := s.Init(t.Context())
	again, err2 := s.Init(t.Context())
	have, err3 := s.Identity(t.Context())
	if err := errors.Join(err, err2, err3); err != nil || id == "" || again != id || have != id {
		t.Fatalf("named %q, then %q, then %q: %v", id, again, have, err)
	}
	s.Close()
	refused(t, path, boltstore.Options{StoreID: "OURS"}, path, "OURS", id)
	mustOpen(t, path, boltstore.Options{StoreID: id})
}

func TestFileAndDirectoryArePrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "store.db")
	s := mustOpen(t, path, boltstore.Options{})
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if w := s.Health(t.Context()).Warnings; strings.Contains(strings.Join(w, " "), "chmod") {
		t.Errorf("warned of a private file: %v", w)
	}
	s.Close()
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path, boltstore.Options{})
	if w := s.Health(t.Context()).Warnings; !strings.Contains(strings.Join(w, " "), "chmod 600") {
		t.Errorf("no warning of a file others may read: %v", w)
	}
}

func TestTooLittleRoomIsRefusedAndAnOverrideIsSaidForEver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := mustOpen(t, path, boltstore.Options{})
	if err := s.Commit(t.Context(), write("a", 0, "x")); err != nil {
		t.Fatal(err)
	}
	s.Close()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<42); err != nil { // a hole: no disk has twice that
		if err := os.Truncate(path, 1<<39); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, path, boltstore.Options{}, path, "make room", "override")
	if err := os.Truncate(path, info.Size()); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path, boltstore.Options{})
	if s.Health(t.Context()).Unsafe {
		t.Fatal("unsafe without an override")
	}
	s.Close()
	if err := os.Truncate(path, 1<<39); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path, boltstore.Options{AllowUnsafe: true})
	if h := s.Health(t.Context()); !h.Unsafe || !h.Ready || len(h.Warnings) == 0 {
		t.Fatalf("after an override: %+v", h)
	}
	s.Close()
	if err := os.Truncate(path, info.Size()); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path, boltstore.Options{})
	if !s.Health(t.Context()).Unsafe {
		t.Fatal("the override is forgotten")
	}
	if version(t, s, "a") != 1 {
		t.Fatal("the record is gone")
	}
}

func TestAFileCutShortOrSpoiltIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := mustOpen(t, path, boltstore.Options{})
	for i := range 200 {
		if err := s.Commit(t.Context(), write(strconv.Itoa(i), 0, strings.Repeat("x", 1000))); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 100, 4096, 8192, 8193, 12288, 16384, 50000, 100000} {
		if err := os.WriteFile(path, file[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, path, boltstore.Options{}, path)
	}
	spoilt := bytes.Clone(file)
	for i := range 2 * os.Getpagesize() {
		spoilt[i] ^= 0xff
	}
	if err := os.WriteFile(path, spoilt, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, path, boltstore.Options{}, path, "backup")
	// Damage in the middle cannot be seen at the door, but Check finds it.
	spoilt = bytes.Clone(file)
	for page := 4; page < 30; page++ {
		clear(spoilt[page*os.Getpagesize() : page*os.Getpagesize()+16])
	}
	if err := os.WriteFile(path, spoilt, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := boltstore.Open(path, boltstore.Options{}); err == nil {
		if s.Check(t.Context()) == nil {
			t.Error("Check found nothing")
		}
		s.Close()
	}
}

func TestABackupOfARunningStoreIsAStore(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, filepath.Join(dir, "store.db"), boltstore.Options{})
	var stop atomic.Bool
	var acknowledged atomic.Int64
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; !stop.Load(); i++ {
				c := write(fmt.Sprintf("%d.%d", w, i), 0, "x")
				c.Writes = append(c.Writes, write(fmt.Sprintf("twin %d.%d", w, i), 0, "x").Writes...)
				if err := s.Commit(t.Context(), c); err != nil {
					t.Error(err)
					return
				}
				acknowledged.Add(1)
			}
		})
	}
	for range 5 {
		before := acknowledged.Load()
		copyOf := filepath.Join(dir, "backup.db")
		f, err := os.Create(copyOf)
		if err != nil {
			t.Fatal(err)
		}
		n, err := s.Backup(f)
		if err != nil || n == 0 {
			t.Fatalf("Backup: %d, %v", n, err)
		}
		f.Close()
		b, err := boltstore.Open(copyOf, boltstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, last, err := b.Span(t.Context(), 3, "m")
		if err != nil || int64(last) < before {
			t.Fatalf("the backup has %d commits, %d were acknowledged before it: %v", last, before, err)
		}
		for w := range 4 {
			for i := range 50 {
				id := fmt.Sprintf("%d.%d", w, i)
				if version(t, b, id) != version(t, b, "twin "+id) {
					t.Fatalf("half of commit %s is in the backup", id)
				}
			}
		}
		b.Close()
	}
	stop.Store(true)
	writers.Wait()
}

// The child of TestKill commits and says so, until it is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv("PLACARD_TEST_CHILD"); path != "" {
		child(path)
		return
	}
	os.Exit(m.Run())
}

func child(path string) {
	s, err := boltstore.Open(path, boltstore.Options{LockTimeout: 10 * time.Second})
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	var out sync.Mutex
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d.%d.%d", os.Getpid(), w, i)
				c := write(id, 0, id)
				c.Writes = append(c.Writes, write("twin "+id, 0, id).Writes...)
				err := s.Commit(context.Background(), c)
				out.Lock()
				if err != nil {
					fmt.Println("error:", err)
				} else {
					fmt.Println(id)
				}
				out.Unlock()
			}
		}()
	}
	select {}
}

// TestKillLosesNothingAcknowledged ends processes that commit, as kill -9 does, and looks for what they
// had acknowledged.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	var acknowledged []string
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "PLACARD_TEST_CHILD="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if strings.HasPrefix(lines.Text(), "error") {
				t.Errorf("the child: %s", lines.Text())
			}
			if strings.Count(lines.Text(), ".") == 2 {
				acknowledged = append(acknowledged, lines.Text())
			}
			if n == 100+round*37 {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		s := mustOpen(t, path, boltstore.Options{LockTimeout: 10 * time.Second})
		if err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, id := range acknowledged {
			if version(t, s, id) != 1 || version(t, s, "twin "+id) != 1 {
				t.Fatalf("round %d: commit %s was acknowledged and is not there", round, id)
			}
		}
		s.Close()
	}
	t.Logf("%d kills, %d commits acknowledged, none lost", rounds, len(acknowledged))
}

// TestLostRepliesAndResends drives the store through storetest.Flaky as a service
// does: whatever is open is sent again.
func TestLostRepliesAndResends(t *testing.T) {
	f := &storetest.Flaky{Store: mustOpen(t, filepath.Join(t.TempDir(), "store.db"), boltstore.Options{}), LoseReplyEvery: 3}
	for i := range 60 {
		c := write("n", uint64(i), "x")
		for f.Commit(t.Context(), c) != nil {
		}
	}
	if version(t, f, "n") != 60 || f.Lost() < 20 {
		t.Fatalf("60 commits with %d lost replies made version %d", f.Lost(), version(t, f, "n"))
	}
	if _, last, _ := f.Span(t.Context(), 3, "m"); last != 60 {
		t.Fatalf("%d events", last)
	}
}
