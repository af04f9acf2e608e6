package boltstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"placard/linking"
)

var (
	recordsBucket   = []byte("records")
	listsBucket     = []byte("lists")
	dueBucket       = []byte("due")
	eventsBucket    = []byte("events")
	sequencesBucket = []byte("sequences")
	storeBucket     = []byte("store")

	layoutKey = []byte("layout")
	idKey     = []byte("id")
	unsafeKey = []byte("unsafe")
)

// layout is the arrangement of the file that this release reads and writes.
const layout = 1

// Options say how a file is opened. The zero value is right for a shop.
type Options struct {
	// StoreID is the identity the file must have. With it an absent, empty or
	// foreign file is refused: it would show every code as never used.
	StoreID string

	// AllowUnsafe opens the file where it can be lost or damaged: on a network file
	// system, or on a disk with too little room. For trying things out. The store
	// says so for ever after, see linking.Health.Unsafe.
	AllowUnsafe bool

	// LockTimeout is how long to wait for a process that is just ending. Zero: 2 s.
	LockTimeout time.Duration

	// NoWatch leaves watchers without wakes, which they must be able to bear.
	NoWatch bool

	Log *slog.Logger // nil: none
}

// Store implements linking.Store, and further what only a single file can do:
// Backup and Check.
type Store struct {
	db       *bbolt.DB
	path     string
	log      *slog.Logger
	hub      linking.Hub
	noWatch  bool
	warnings []string
	unsafe   bool

	queue    chan *call
	stop     chan struct{}
	finished chan struct{}
	closing  sync.Once
	closeErr error

	ids    ids
	failed atomic.Pointer[error] // why nothing can be trusted any more
	full   atomic.Bool           // the last batch found no room
	since  atomic.Int64          // when the batch under way began, in Unix ns; 0: none
}

var _ linking.Store = (*Store)(nil)

// ErrInUse says that another process holds the file.
var ErrInUse = errors.New("the store is in use by another process")

// Open opens the file at path, and makes it and its directory if there is none.
// An error of Open is a sentence for the operator.
func Open(path string, o Options) (*Store, error) {
	s := &Store{
		path: path, log: o.Log, noWatch: o.NoWatch,
		queue: make(chan *call, maxQueue), stop: make(chan struct{}), finished: make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if o.LockTimeout == 0 {
		o.LockTimeout = 2 * time.Second
	}
	_, err := os.Stat(path)
	absent := errors.Is(err, fs.ErrNotExist)
	if absent && o.StoreID != "" {
		return nil, fmt.Errorf("store %s does not exist, and the store named %s was expected: restore its backup, or correct the path", path, o.StoreID)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory of the store cannot be made: %w", err)
	}
	overridden, err := s.place(dir, o.AllowUnsafe)
	if err != nil {
		return nil, err
	}
	if err := whole(path); err != nil {
		return nil, err
	}
	if s.db, err = openFile(path, o.LockTimeout, os.OpenFile); err != nil {
		return nil, err
	}
	if err = s.prepare(o.StoreID, overridden); err == nil && absent {
		err = syncDirs(dir)
	}
	if err != nil {
		s.db.Close()
		return nil, err
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		s.warnings = append(s.warnings, fmt.Sprintf("store %s holds secrets and others may read it: chmod 600", path))
	}
	go s.write()
	return s, nil
}

type opener func(string, int, os.FileMode) (*os.File, error)

func openFile(path string, lock time.Duration, open opener) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      lock,
		OpenFile:     open,
		FreelistType: bbolt.FreelistMapType,
		// Address space, not memory: a file that outgrows its mapping makes the
		// writer wait for every reader, a running backup included.
		InitialMmapSize: mapSize,
		NoStatistics:    true,
	})
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("store %s: %w, most likely a running gateway: use its API, or stop it first", path, ErrInUse)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, bolterrors.ErrChecksum):
		return nil, fmt.Errorf("store %s is damaged or no store at all; restore its backup: %w", path, err)
	}
	return nil, fmt.Errorf("store %s cannot be opened: %w", path, err)
}

// prepare makes the buckets of a new file, or checks that this is the right one.
func (s *Store) prepare(id string, overridden bool) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(storeBucket)
		if b == nil && id != "" {
			return fmt.Errorf("store %s is empty, and the store named %s was expected: restore its backup, or correct the path", s.path, id)
		}
		for _, name := range [][]byte{recordsBucket, listsBucket, dueBucket, eventsBucket, sequencesBucket, storeBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		if b == nil {
			b = tx.Bucket(storeBucket)
			if err := b.Put(layoutKey, be64(layout)); err != nil {
				return err
			}
		}
		if have := b.Get(layoutKey); len(have) != 8 || binary.BigEndian.Uint64(have) != layout {
			return fmt.Errorf("store %s was written by another release (layout %x): start that release, or export there and import here", s.path, have)
		}
		if have := string(b.Get(idKey)); id != "" && have != id {
			return fmt.Errorf("store %s is named %q, and the store named %s was expected: restore its backup, or correct the path", s.path, have, id)
		}
		if overridden && b.Get(unsafeKey) == nil {
			if err := b.Put(unsafeKey, []byte(time.Now().UTC().Format(time.RFC3339))); err != nil {
				return err
			}
		}
		s.unsafe = b.Get(unsafeKey) != nil
		return nil
	})
}

// syncDirs makes the names of a new file and its directory as durable as what is
// in the file. Not every system can; those that cannot say so in vain.
func syncDirs(dir string) error {
	for _, name := range []string{dir, filepath.Dir(dir)} {
		d, err := os.Open(name)
		if err != nil {
			continue
		}
		err = d.Sync()
		d.Close()
		if err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("directory %s cannot be synced: %w", name, err)
		}
	}
	return nil
}

// Identity is the name Init gave the store; empty if it never did.
func (s *Store) Identity(ctx context.Context) (id string, err error) {
	if err := s.usable(ctx); err != nil {
		return "", err
	}
	err = s.db.View(func(tx *bbolt.Tx) error {
		id = string(tx.Bucket(storeBucket).Get(idKey))
		return nil
	})
	return id, err
}

// Init names a store that has no name yet, and returns the name it has then.
func (s *Store) Init(ctx context.Context) (id string, err error) {
	c := &call{do: func(tx *bbolt.Tx) (bool, error) {
		b := tx.Bucket(storeBucket)
		if id = string(b.Get(idKey)); id != "" {
			return false, nil
		}
		id = rand.Text()
		return true, b.Put(idKey, []byte(id))
	}}
	if err := s.submit(ctx, c); err != nil {
		return "", err
	}
	return id, nil
}

// Watch implements linking.Store.
func (s *Store) Watch(topics ...linking.Topic) *linking.Watcher { return s.hub.Watch(topics...) }

// stuckAfter is how long a batch may take before the store counts as not ready.
const stuckAfter = 5 * time.Second

// Health implements linking.Store.
func (s *Store) Health(ctx context.Context) linking.Health {
	h := linking.Health{Backend: "bolt", Warnings: append([]string(nil), s.warnings...), Unsafe: s.unsafe}
	since := s.since.Load()
	switch err := s.usable(ctx); {
	case err != nil:
		h.Problem = err.Error()
	case since != 0 && time.Since(time.Unix(0, since)) > stuckAfter:
		h.Problem = fmt.Sprintf("the disk has not answered for %s", time.Since(time.Unix(0, since)).Round(time.Second))
	case s.full.Load():
		h.Problem = "the disk is full: nothing can be written"
	default:
		h.Ready = true
	}
	return h
}

// usable says why nothing can be done at present.
func (s *Store) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.failed.Load(); err != nil {
		return unavailable("The disk failed; the gateway must be started again.", *err)
	}
	select {
	case <-s.stop:
		return unavailable("The store is closed.", nil)
	default:
		return nil
	}
}

func unavailable(detail string, err error) *linking.Error {
	return &linking.Error{Kind: linking.Unavailable, Code: "store_unavailable", Detail: detail, Retry: 1, Err: err}
}

// Close finishes the batch under way, refuses what waits behind it, and lets the
// file go. It may be called again.
func (s *Store) Close() error {
	s.closing.Do(func() {
		close(s.stop)
		<-s.finished
		s.closeErr = s.db.Close()
	})
	return s.closeErr
}

// Backup writes a copy of the file as it stands at this moment, while the store
// goes on working. The copy is a store file like any other. It holds every
// secret the store holds.
func (s *Store) Backup(w io.Writer) (n int64, err error) {
	if err := s.usable(context.Background()); err != nil {
		return 0, err
	}
	err = s.db.View(func(tx *bbolt.Tx) error {
		n, err = tx.WriteTo(w)
		return err
	})
	return n, err
}

// Check reads the whole file and says what is wrong with it, as "bbolt check"
// does. Commits wait meanwhile only if the file has to grow.
func (s *Store) Check(ctx context.Context) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	var problems []error
	err := s.db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			if len(problems) < 20 {
				problems = append(problems, err)
			}
		}
		return nil
	})
	return errors.Join(append(problems, err)...)
}
