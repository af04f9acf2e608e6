//go:build linux

package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"placard/linking"
)

// openBroken opens a store whose file can be exchanged for a device behind its
// back: /dev/full takes no byte, and /dev/null takes all and cannot be synced.
func openBroken(t *testing.T) (s *Store, exchange func(device string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	// Room to write in without growing, which is a step of its own.
	for i := range 3 {
		c := one("room", uint64(i))
		c.Writes[0].Data = make([]byte, 200<<10)
		if err := s.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	var file *os.File
	if s, err = Open(path, Options{}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = &Store{path: path, log: s.log, queue: make(chan *call, maxQueue), stop: make(chan struct{}), finished: make(chan struct{})}
	s.db, err = openFile(path, time.Second, func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		file = f
		return f, err
	})
	if err != nil {
		t.Fatal(err)
	}
	go s.write()
	fd := int(file.Fd())
	real, err := syscall.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	exchange = func(device string) {
		t.Helper()
		from := real
		if device != "" {
			f, err := os.OpenFile(device, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			from = int(f.Fd())
		}
		if err := syscall.Dup3(from, fd, 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		exchange("")
		s.Close()
		syscall.Close(real)
	})
	return s, exchange
}

func one(id string, expect uint64) linking.Commit {
	return linking.Commit{ID: linking.NewCommitID(), Shard: 1, Log: "m", Events: [][]byte{[]byte(id)},
		Writes: []linking.Write{{Key: linking.Key{Shard: 1, Kind: "c", ID: id}, Expect: expect, Data: []byte("x")}}}
}

func TestAFullDiskRefusesAndGoesOn(t *testing.T) {
	s, exchange := openBroken(t)
	if err := s.Commit(t.Context(), one("before", 0)); err != nil {
		t.Fatal(err)
	}
	exchange("/dev/full")
	c := one("a", 0)
	for range 3 {
		if err := s.Commit(t.Context(), c); !linking.IsKind(err, linking.Unavailable) || !strings.Contains(err.Error(), "full") {
			t.Fatalf("on a full disk: %v", err)
		}
	}
	if h := s.Health(t.Context()); h.Ready || !strings.Contains(h.Problem, "full") {
		t.Fatalf("on a full disk: %+v", h)
	}
	rs, err := s.Get(t.Context(), c.Writes[0].Key, one("before", 0).Writes[0].Key)
	if err != nil || rs[0].Version != 0 || rs[1].Version != 1 {
		t.Fatalf("reading on a full disk: %v, %v", rs, err)
	}
	exchange("")
	if err := s.Commit(t.Context(), c); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	if h := s.Health(t.Context()); !h.Ready {
		t.Fatalf("with room again: %+v", h)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, last, err := s.Span(t.Context(), 1, "m"); last != 5 || err != nil {
		t.Fatalf("%d events, %v", last, err)
	}
}

func TestAFailedSyncIsNotGuessedAbout(t *testing.T) {
	s, exchange := openBroken(t)
	exchange("/dev/null")
	c := one("a", 0)
	err := s.Commit(t.Context(), c)
	if err == nil || linking.IsKind(err, linking.Unavailable) || errors.Is(err, linking.ErrConflict) {
		t.Fatalf("a commit whose sync failed must be open: %v", err)
	}
	exchange("") // the disk is well again, but what it kept nobody knows
	for what, err := range map[string]error{
		"Commit": s.Commit(t.Context(), c),
		"Get":    func() error { _, err := s.Get(t.Context(), c.Writes[0].Key); return err }(),
		"Span":   func() error { _, _, err := s.Span(t.Context(), 1, "m"); return err }(),
		"Backup": func() error { _, err := s.Backup(io.Discard); return err }(),
	} {
		if !linking.IsKind(err, linking.Unavailable) {
			t.Errorf("%s after a failed sync: %v", what, err)
		}
	}
	if h := s.Health(t.Context()); h.Ready || h.Problem == "" {
		t.Fatalf("after a failed sync: %+v", h)
	}
	path := s.path
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	n, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := n.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.Commit(t.Context(), one("b", 0)); err != nil {
		t.Fatal(err)
	}
}

// block keeps the writer busy until release is called.
func block(t *testing.T, s *Store) (release func()) {
	t.Helper()
	busy, free := make(chan struct{}), make(chan struct{})
	go s.submit(context.Background(), &call{do: func(*bbolt.Tx) (bool, error) {
		close(busy)
		<-free
		return false, nil
	}})
	<-busy
	return func() { close(free) }
}

func opened(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestAContextEndsTheWaitInTheQueue(t *testing.T) {
	s := opened(t)
	release := block(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan error)
	go func() { answer <- s.Commit(ctx, one("a", 0)) }()
	for len(s.queue) == 0 {
		time.Sleep(time.Millisecond) // until the commit waits
	}
	cancel()
	if err := <-answer; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	release()
	if err := s.Commit(t.Context(), one("b", 0)); err != nil {
		t.Fatal(err)
	}
	rs, err := s.Get(t.Context(), one("a", 0).Writes[0].Key)
	if err != nil || rs[0].Version != 0 {
		t.Fatalf("a commit that was given up was made: %v, %v", rs, err)
	}
}

func TestAContextThatEndsTooLateLeavesTheCommitOpen(t *testing.T) {
	s := opened(t)
	ctx, cancel := context.WithCancel(t.Context())
	busy, free := make(chan struct{}), make(chan struct{})
	answer := make(chan error)
	go func() {
		answer <- s.submit(ctx, &call{do: func(*bbolt.Tx) (bool, error) {
			close(busy)
			<-free
			return false, nil
		}})
	}()
	<-busy
	cancel()
	err := <-answer
	close(free)
	if err == nil || errors.Is(err, context.Canceled) || linking.IsKind(err, linking.Unavailable) {
		t.Fatalf("a commit in the writer's hands must be open: %v", err)
	}
}

func TestAFullQueueRefuses(t *testing.T) {
	s := opened(t)
	release := block(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	answers := make(chan error, maxQueue)
	for i := range maxQueue {
		go func() { answers <- s.Commit(ctx, one(fmt.Sprint(i), 0)) }()
	}
	for len(s.queue) < maxQueue {
		time.Sleep(time.Millisecond)
	}
	if err := s.Commit(t.Context(), one("late", 0)); !linking.IsKind(err, linking.Unavailable) {
		t.Fatalf("got %v", err)
	}
	cancel()
	for range maxQueue {
		if err := <-answers; !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	}
	release()
	for len(s.queue) > 0 {
		time.Sleep(time.Millisecond)
	}
	if err := s.Commit(t.Context(), one("later", 0)); err != nil {
		t.Fatal(err)
	}
}

func TestAStuckDiskIsNotReady(t *testing.T) {
	s := opened(t)
	s.since.Store(time.Now().Add(-2 * stuckAfter).UnixNano())
	if h := s.Health(t.Context()); h.Ready || !strings.Contains(h.Problem, "disk") {
		t.Fatalf("%+v", h)
	}
}

func TestWritersShareTheSyncs(t *testing.T) {
	s := opened(t)
	release := block(t, s)
	before := s.lastCommitted()
	const n = 200
	answers := make(chan error, n)
	for i := range n {
		go func() { answers <- s.Commit(t.Context(), one(fmt.Sprint(i), 0)) }()
	}
	for len(s.queue) < n {
		time.Sleep(time.Millisecond)
	}
	release()
	for range n {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	if txs := s.lastCommitted() - before; txs > 3 {
		t.Fatalf("%d commits that waited together took %d transactions", n, txs)
	}
}

func TestCommitIDsAreForgottenInTime(t *testing.T) {
	var m ids
	now := time.Now()
	old, young := linking.NewCommitID(), linking.NewCommitID()
	m.add(old, now)
	m.add(young, now.Add(time.Minute))
	m.forget(now.Add(linking.CommitLife))
	if !m.has(old) || !m.has(young) {
		t.Fatal("forgotten early")
	}
	m.forget(now.Add(linking.CommitLife + time.Second))
	if m.has(old) || !m.has(young) || len(m.known) != 1 || len(m.order) != 1 {
		t.Fatal("not forgotten, or the wrong one")
	}
}

func TestWhereAStoreMustNotBe(t *testing.T) {
	const path = "/data/store.db"
	for name, c := range map[string]struct {
		w               whereabouts
		size            uint64
		refused, warned string
	}{
		"local disk":           {w: whereabouts{ext4: true, kernel: "6.1.0-25-amd64", free: 100 << 20, sized: true}, size: 50 << 20},
		"new store, full disk": {w: whereabouts{sized: true}},
		"NFS":                  {w: whereabouts{network: "NFS"}, refused: "network file system (NFS)"},
		"little room":          {w: whereabouts{free: 99 << 20, sized: true}, size: 50 << 20, refused: "make room"},
		"tmpfs":                {w: whereabouts{memory: true}, warned: "in memory"},
		"5.10.93":              {w: whereabouts{ext4: true, kernel: "5.10.93"}, warned: "fast_commit"},
		"5.10.94":              {w: whereabouts{ext4: true, kernel: "5.10.94-1"}},
		"5.15.26":              {w: whereabouts{ext4: true, kernel: "5.15.26-generic"}, warned: "fast_commit"},
		"5.15.27":              {w: whereabouts{ext4: true, kernel: "5.15.27"}},
		"5.12":                 {w: whereabouts{ext4: true, kernel: "5.12.1"}, warned: "fast_commit"},
		"5.17":                 {w: whereabouts{ext4: true, kernel: "5.17.0"}},
		"5.9":                  {w: whereabouts{ext4: true, kernel: "5.9.0"}},
		"5.12 on another":      {w: whereabouts{kernel: "5.12.1"}},
	} {
		refused, warned := strings.Join(c.w.refusals(path, c.size), " "), strings.Join(c.w.warnings(path), " ")
		if !strings.Contains(refused, c.refused) || (c.refused == "") != (refused == "") {
			t.Errorf("%s: refused with %q", name, refused)
		}
		if !strings.Contains(warned, c.warned) || (c.warned == "") != (warned == "") {
			t.Errorf("%s: warned with %q", name, warned)
		}
	}
	w, err := where(t.TempDir())
	if err != nil || !w.sized || w.free == 0 || w.kernel == "" || w.network != "" {
		t.Fatalf("a directory of ours: %+v, %v", w, err)
	}
	if _, err := where("/proc/none"); err == nil {
		t.Fatal("a directory that is not there was described")
	}
	if where, err := where("/dev/shm"); err == nil && !where.memory {
		t.Errorf("/dev/shm is %+v", where)
	}
}
