package linking

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"
)

// ErrConflict says that a record was not at the version a commit named; the
// commit then wrote nothing at all.
var ErrConflict = errors.New("a record is not at the version named")

// ErrRolledBack says that the store shows an older state of a shard than it has
// shown before: a failover or a restored backup lost acknowledged commits. Until
// an operator has looked, nothing of that shard is read or written.
var ErrRolledBack = errors.New("the store went back in time")

// A RecordKind is a family of records of one shape. The names are short because
// a store keeps one with every record.
type RecordKind string

// Key names one record. ID is 1 to 128 bytes of printable ASCII (0x20-0x7e) and
// unique within shard and kind; RecordKind is 1 to 8 lower-case letters.
type Key struct {
	Shard Shard
	Kind  RecordKind
	ID    string
}

func (k Key) String() string { return k.Shard.String() + ":" + string(k.Kind) + ":" + k.ID }

// Record is a stored value. A record that does not exist has Version 0 and no Data.
type Record struct {
	Key
	Version uint64
	Data    []byte
	Due     time.Time // when background work wants to see it, to the millisecond; zero: never
}

// Check demands that a record the decision only read is still at Version (0: still absent).
type Check struct {
	Key
	Version uint64
}

// Write replaces the record at version Expect (0: there must be none) by version
// Expect+1, or removes it.
//
// Owner puts the record into the list of that name (see Store.List). It is 0 to
// 64 bytes of printable ASCII; empty means that the record is in no list. Every
// write of a record, its removal included, must name the same owner.
type Write struct {
	Key
	Expect uint64
	Data   []byte // at most MaxRecord bytes
	Due    time.Time
	Owner  string
	Delete bool
}

// CommitID names one attempt at a decision. Sending a commit again under the
// same id has no further effect: see Store.Commit.
type CommitID [16]byte

// NewCommitID returns a random id.
func NewCommitID() (id CommitID) {
	rand.Read(id[:])
	return id
}

// Commit is what one decision changes: all of it or nothing. Everything in it
// belongs to one shard.
type Commit struct {
	ID     CommitID
	Shard  Shard
	Checks []Check
	Writes []Write
	Log    string   // the event log the events go to: a merchant's id; 1 to 64 bytes of printable ASCII
	Events [][]byte // appended to Log in this order; at most MaxRecord bytes each
}

// Limits every store accepts.
const (
	MaxRecord  = 256 << 10 // bytes of one record or event
	MaxWrites  = 1000      // writes and checks together of one commit
	MaxPage    = 1000      // records, due keys or events one call returns
	CommitLife = 10 * time.Minute
	MaxResend  = 2 * time.Minute // nobody sends a commit again that is older than this
)

// Listing asks for records of one owner in the order of their ids.
type Listing struct {
	Shard   Shard
	Kind    RecordKind
	Owner   string
	After   string // the last id of the page before; empty: from the start
	Limit   int    // 1 to MaxPage
	Reverse bool   // from the greatest id down
}

// DueKey is a record and the time at which background work wants to see it.
type DueKey struct {
	Key
	Due time.Time
}

// LoggedEvent is an event as a log keeps it. The first event of a log has Seq 1
// and there are no gaps.
type LoggedEvent struct {
	Seq  uint64
	Data []byte
}

// Store keeps records and event logs. It knows nothing of codes or money.
//
// All methods may be called concurrently. Bytes that go in or come out belong to
// the caller. Times are kept to the millisecond. A limit outside 1 to MaxPage is a
// fault of the caller's and an error. A store that was closed answers Unavailable.
// An error is one of:
//
//   - ErrConflict (Commit only): nothing was written.
//   - an *Error of kind Unavailable: the store was not reached or refused; nothing was written.
//   - ErrRolledBack: see there; nothing was written.
//   - the error of the context, before anything was sent: nothing was written.
//   - any other: from Commit, it may or may not have happened.
type Store interface {
	// Get returns the records of keys, in that order: one moment's state of all of
	// them. The keys are of one shard and at most MaxWrites. What it returns is at
	// least as new as every commit that was acknowledged, on any process, before
	// Get was called.
	Get(ctx context.Context, keys ...Key) ([]Record, error)

	// Commit makes every check, then every write and event, or none of them.
	//
	// After nil the commit survives a crash of this process and, as far as the
	// backend promises (each says so under Durability), of the machine. A commit
	// whose id was already applied within CommitLife returns nil and changes
	// nothing, whatever the records' versions are by now; that makes it safe to
	// send the same commit again after an error that leaves it open. ErrConflict is
	// final for an id: no copy of that commit still under way will be applied.
	Commit(ctx context.Context, c Commit) error

	// List returns records of one owner by id, see Listing. A record that is
	// written while pages are read shows up if its id is still ahead.
	List(ctx context.Context, l Listing) ([]Record, error)

	// Due returns the keys of a shard whose due time is not after by, the most
	// overdue first, at most limit. Which of two equal times comes first is open.
	Due(ctx context.Context, shard Shard, by time.Time, limit int) ([]DueKey, error)

	// Events returns the events of a log with Seq > after, in order, at most limit.
	Events(ctx context.Context, shard Shard, log string, after uint64, limit int) ([]LoggedEvent, error)

	// Span returns the first and last sequence number of a log. Of a log that never
	// had an event, first is 1 and last 0; of one that was trimmed to nothing,
	// first is last+1.
	Span(ctx context.Context, shard Shard, log string) (first, last uint64, err error)

	// Trim forgets the events of a log with Seq < before. Sequence numbers go on.
	Trim(ctx context.Context, shard Shard, log string, before uint64) error

	// Watch wakes the watcher after records or logs named by topics changed, on any
	// process. It is a hint: a wake may be missing, late, doubled or for nothing.
	// So: watch first, then read; and read again now and then without a wake.
	Watch(topics ...Topic) *Watcher

	// Health says whether the store answers and what it promises.
	Health(ctx context.Context) Health

	Close() error
}

// Health is what a store knows about itself.
type Health struct {
	Backend  string   // for example "bolt", "redis", "redis cluster"
	Ready    bool     // it answers and may be written
	Problem  string   // why it is not ready, for people
	Warnings []string // settings that can lose acknowledged commits
	Unsafe   bool     // the operator overrode a refusal: said for ever after
	Lost     []Shard  // shards that went back in time
}

// Topic names what a watcher wants to hear of.
type Topic string

// RecordTopic is about writes of one record.
func RecordTopic(k Key) Topic { return Topic(k.String()) }

// LogTopic is about events of one log.
func LogTopic(shard Shard, log string) Topic { return Topic(shard.String() + ":log:" + log) }

// Topics lists what a commit changes.
func (c *Commit) Topics() []Topic {
	topics := make([]Topic, 0, len(c.Writes)+1)
	for _, w := range c.Writes {
		topics = append(topics, RecordTopic(w.Key))
	}
	if len(c.Events) > 0 {
		topics = append(topics, LogTopic(c.Shard, c.Log))
	}
	return topics
}

// Valid says why a commit breaks the port's contract, which is a fault of the
// caller's. Stores check it first.
func (c *Commit) Valid() error {
	if c.ID == (CommitID{}) {
		return errors.New("commit without an id")
	}
	if len(c.Writes)+len(c.Checks) > MaxWrites || len(c.Events) > MaxWrites {
		return errors.New("commit with too many records")
	}
	if len(c.Events) > 0 && !printable(c.Log, 1, 64) {
		return errors.New("commit with events but no log")
	}
	seen := make(map[Key]bool, len(c.Writes)+len(c.Checks))
	one := func(k Key) error {
		switch {
		case k.Shard != c.Shard:
			return errors.New("commit over two shards: " + k.String())
		case !k.valid():
			return errors.New("bad key: " + k.String())
		case seen[k]:
			return errors.New("commit names a record twice: " + k.String())
		}
		seen[k] = true
		return nil
	}
	for _, k := range c.Checks {
		if err := one(k.Key); err != nil {
			return err
		}
	}
	for _, w := range c.Writes {
		if err := one(w.Key); err != nil {
			return err
		}
		if len(w.Data) > MaxRecord || !printable(w.Owner, 0, 64) {
			return errors.New("bad write: " + w.Key.String())
		}
		if w.Delete && w.Expect == 0 {
			return errors.New("removal of a record that is not there: " + w.Key.String())
		}
	}
	for _, e := range c.Events {
		if len(e) > MaxRecord {
			return errors.New("event too large")
		}
	}
	return nil
}

func (k Key) valid() bool {
	if len(k.Kind) == 0 || len(k.Kind) > 8 || strings.Trim(string(k.Kind), "abcdefghijklmnopqrstuvwxyz") != "" {
		return false
	}
	return k.Shard <= Meta && printable(k.ID, 1, 128)
}

func printable(s string, least, most int) bool {
	if len(s) < least || len(s) > most {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
