package boltstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"placard/linking"
)

const (
	maxQueue = 4096     // calls that may wait for the writer
	maxBatch = 512      // calls one transaction takes
	maxBytes = 32 << 20 // bytes one transaction takes, unless a single call has more
	trimStep = 2000     // events one transaction forgets
)

// call is one change on its way through the writer. Its bytes are its own: the
// caller may have gone away with theirs.
type call struct {
	id     linking.CommitID
	checks []checked
	writes []written
	log    []byte // key in the bucket of sequences; nil: no events
	events [][]byte
	size   int
	topics []linking.Topic

	do func(*bbolt.Tx) (wrote bool, err error) // instead of all the above

	state atomic.Int32
	err   error
	done  chan struct{}
}

const (
	waiting int32 = iota
	taken         // by the writer, which will answer
	dropped       // by the caller, who has gone
)

type checked struct {
	key     []byte
	version uint64
}

type written struct {
	key    []byte // in the bucket of records: shard, kind, ':', id
	expect uint64
	value  []byte // nil: remove
	due    uint64
	list   []byte // in the bucket of lists; nil: none, or it is there already
}

// Commit implements linking.Store.
func (s *Store) Commit(ctx context.Context, c linking.Commit) error {
	if err := c.Valid(); err != nil {
		return err
	}
	n := &call{id: c.ID, checks: make([]checked, len(c.Checks)), writes: make([]written, len(c.Writes))}
	for i, k := range c.Checks {
		n.checks[i] = checked{recordKey(k.Key), k.Version}
	}
	for i, w := range c.Writes {
		n.writes[i] = prepared(w)
		n.size += len(w.Data)
	}
	if len(c.Events) > 0 {
		n.log = logKey(c.Shard, c.Log)
		n.events = make([][]byte, len(c.Events))
		for i, e := range c.Events {
			n.events[i] = append([]byte{}, e...)
			n.size += len(e)
		}
	}
	if !s.noWatch {
		n.topics = c.Topics()
	}
	return s.submit(ctx, n)
}

func prepared(w linking.Write) written {
	n := written{key: recordKey(w.Key), expect: w.Expect}
	if !w.Delete {
		n.due = dueNumber(w.Due)
		n.value = make([]byte, 0, headerSize+len(w.Data))
		n.value = binary.BigEndian.AppendUint64(n.value, w.Expect+1)
		n.value = binary.BigEndian.AppendUint64(n.value, n.due)
		n.value = append(n.value, w.Data...)
	}
	// The owner never changes, so only the first and the last write of a record
	// touch its list.
	if w.Owner != "" && (w.Delete || w.Expect == 0) {
		n.list = append(listPrefix(w.Shard, w.Kind, w.Owner), w.ID...)
	}
	return n
}

// submit puts c into the queue and waits for its answer.
func (s *Store) submit(ctx context.Context, c *call) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	c.done = make(chan struct{})
	select {
	case s.queue <- c:
	default:
		return unavailable("Too many changes wait for the disk.", nil)
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		if c.state.CompareAndSwap(waiting, dropped) {
			return ctx.Err()
		}
		select {
		case <-c.done: // answered in the same instant
			return c.err
		default:
		}
		return fmt.Errorf("the commit is on its way to the disk and may or may not have happened: %v", ctx.Err())
	case <-s.finished:
		if c.state.CompareAndSwap(waiting, dropped) {
			return unavailable("The store is closed.", nil)
		}
		<-c.done
		return c.err
	}
}

// write is the one writer.
func (s *Store) write() {
	defer close(s.finished)
	batch := make([]*call, 0, maxBatch)
	for {
		select {
		case <-s.stop:
			return
		case c := <-s.queue:
			// Whoever was answered a moment ago is about to come with the next
			// commit: let it, and they share the syncs.
			runtime.Gosched()
			batch = s.gather(batch[:0], c)
		}
		if len(batch) > 0 {
			s.since.Store(time.Now().UnixNano())
			s.apply(batch)
			s.since.Store(0)
		}
		for _, c := range batch {
			close(c.done)
		}
		clear(batch)
	}
}

// gather takes c and what else is waiting.
func (s *Store) gather(batch []*call, c *call) []*call {
	size := 0
	for {
		if c.state.CompareAndSwap(waiting, taken) {
			batch = append(batch, c)
			size += c.size
		}
		if len(batch) == maxBatch || size >= maxBytes {
			return batch
		}
		select {
		case c = <-s.queue:
		default:
			return batch
		}
	}
}

// apply makes the changes of a batch in one transaction and gives each call its
// error. Nothing is known to be done before the transaction is on the disk.
func (s *Store) apply(batch []*call) {
	fail := func(err error) {
		for _, c := range batch {
			c.err = err
		}
	}
	if err := s.failed.Load(); err != nil {
		fail(unavailable("The disk failed; the gateway must be started again.", *err))
		return
	}
	tx, err := s.db.Begin(true)
	if err != nil {
		fail(unavailable("The store cannot be written.", err))
		return
	}
	now := time.Now()
	s.ids.forget(now)
	here := make(map[linking.CommitID]bool, len(batch)) // applied in this transaction
	wrote := false
	for _, c := range batch {
		did := false
		if c.do != nil {
			did, err = c.do(tx)
		} else if !here[c.id] && !s.ids.has(c.id) {
			did, err = change(tx, c)
			here[c.id] = did
		}
		if errors.Is(err, linking.ErrConflict) {
			c.err = linking.ErrConflict
		} else if err != nil {
			tx.Rollback()
			fail(unavailable("The store cannot be written.", err))
			return
		}
		wrote = wrote || did
	}
	if !wrote {
		tx.Rollback()
		return
	}
	before := tx.ID() - 1
	if err := tx.Commit(); err != nil {
		s.commitFailed(err, before, fail)
		return
	}
	s.full.Store(false)
	for _, c := range batch {
		if here[c.id] {
			s.ids.add(c.id, now)
			delete(here, c.id)
			s.hub.Wake(c.topics...)
		}
	}
}

// commitFailed decides what a failed transaction means. Running out of room
// while pages are written leaves the file as it was: the page that would have
// made them count is written after them, and the mapping still shows the old
// one. Every other failure may have left that page on the disk or not.
func (s *Store) commitFailed(err error, before int, fail func(error)) {
	if noRoom(err) && s.lastCommitted() == before {
		s.full.Store(true)
		s.log.Error("the disk is full: nothing was written", "store", s.path, "err", err)
		fail(unavailable("The disk is full; nothing was done.", err))
		return
	}
	s.failed.Store(&err)
	s.log.Error("the disk failed: the store answers nothing more until it is opened again", "store", s.path, "err", err)
	fail(fmt.Errorf("the disk failed while the commit was written, which may or may not have happened: %v", err))
}

// noRoom reports whether a write, not a sync, was refused for want of room. What
// a failed sync has left on the disk nobody knows, whatever its reason.
func noRoom(err error) bool {
	p, ok := errors.AsType[*fs.PathError](err)
	return ok && p.Op == "write" &&
		(errors.Is(p.Err, syscall.ENOSPC) || errors.Is(p.Err, syscall.EDQUOT) || errors.Is(p.Err, syscall.EFBIG))
}

// lastCommitted is the number of the transaction that readers see, or -1.
func (s *Store) lastCommitted() int {
	tx, err := s.db.Begin(false)
	if err != nil {
		return -1
	}
	defer tx.Rollback()
	return tx.ID()
}

// change makes one commit, or returns ErrConflict before it has touched anything.
func change(tx *bbolt.Tx, c *call) (wrote bool, err error) {
	records, lists, due := tx.Bucket(recordsBucket), tx.Bucket(listsBucket), tx.Bucket(dueBucket)
	for _, k := range c.checks {
		if version(records.Get(k.key)) != k.version {
			return false, linking.ErrConflict
		}
	}
	for _, w := range c.writes {
		if version(records.Get(w.key)) != w.expect {
			return false, linking.ErrConflict
		}
	}
	for _, w := range c.writes {
		if old := dueOf(records.Get(w.key)); old != 0 && old != w.due {
			if err := due.Delete(dueKey(w.key, old)); err != nil {
				return false, err
			}
		}
		if w.value == nil {
			err = records.Delete(w.key)
			if w.list != nil && err == nil {
				err = lists.Delete(w.list)
			}
		} else {
			err = records.Put(w.key, w.value)
			if w.list != nil && err == nil {
				err = lists.Put(w.list, nil)
			}
			if w.due != 0 && err == nil {
				err = due.Put(dueKey(w.key, w.due), nil)
			}
		}
		if err != nil {
			return false, err
		}
	}
	if len(c.events) == 0 {
		return true, nil
	}
	events, sequences := tx.Bucket(eventsBucket), tx.Bucket(sequencesBucket)
	seq := number(sequences.Get(c.log))
	for _, e := range c.events {
		seq++
		if err := events.Put(eventKey(c.log, seq), e); err != nil {
			return false, err
		}
	}
	return true, sequences.Put(c.log, be64(seq))
}

// Trim implements linking.Store.
func (s *Store) Trim(ctx context.Context, shard linking.Shard, log string, before uint64) error {
	if err := validLog(shard, log); err != nil {
		return err
	}
	key := logKey(shard, log)
	for more := true; more; {
		c := &call{do: func(tx *bbolt.Tx) (bool, error) {
			prefix, gone := eventPrefix(key), 0
			cur := tx.Bucket(eventsBucket).Cursor()
			for {
				k, _ := cur.Seek(prefix) // a deletion leaves the cursor anywhere
				if !hasPrefix(k, prefix) || number(k[len(prefix):]) >= before {
					more = false
					return gone > 0, nil
				}
				if gone == trimStep {
					return true, nil
				}
				if err := cur.Delete(); err != nil {
					return gone > 0, err
				}
				gone++
			}
		}}
		if err := s.submit(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// ids remembers which commits were applied, for linking.CommitLife. Only the
// writer uses it.
type ids struct {
	known map[linking.CommitID]struct{}
	order []applied // oldest first
}

type applied struct {
	id linking.CommitID
	at time.Time
}

func (m *ids) has(id linking.CommitID) bool {
	_, ok := m.known[id]
	return ok
}

func (m *ids) add(id linking.CommitID, now time.Time) {
	if m.known == nil {
		m.known = map[linking.CommitID]struct{}{}
	}
	m.known[id] = struct{}{}
	m.order = append(m.order, applied{id, now})
}

func (m *ids) forget(now time.Time) {
	n := 0
	for n < len(m.order) && now.Sub(m.order[n].at) > linking.CommitLife {
		delete(m.known, m.order[n].id)
		n++
	}
	m.order = m.order[n:]
}
