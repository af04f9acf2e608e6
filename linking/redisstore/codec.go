package redisstore

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"placard/linking"
)

// A record's value is its version and due time, big-endian, and then its data:
// short, because Redis keeps a value of up to 44 bytes in one piece with its key.
const (
	versionSize = 6 // versions above 2^48 would take 900 years of 10,000 commits a second
	dueSize     = 7 // milliseconds since the year 1; 0 is never
	headerSize  = versionSize + dueSize
)

// yearOne is the zero time in Unix milliseconds.
const yearOne = -62135596800000

// maxDue is the last due time that can be kept; it is some 285,000 years off.
const maxDue = 1<<53 - 1

// names is how the keys of one hash tag begin.
type names struct {
	tag     string // "{SS}"
	counter string // "{SS}n"
	due     string // "{SS}D"
}

func namesOf(tag string) names { return names{tag, tag + "n", tag + "D"} }

// shardNames holds the names of every shard and of Meta.
var shardNames = func() (t [linking.Shards + 1]names) {
	for i := range t {
		t[i] = namesOf("{" + linking.Shard(i).String() + "}")
	}
	return t
}()

func (n *names) record(k linking.Key) string { return n.tag + string(k.Kind) + ":" + k.ID }
func (n *names) list(kind linking.RecordKind, owner string) string {
	return n.tag + "L" + string(kind) + ":" + owner
}
func (n *names) log(log string) string             { return n.tag + "E" + log }
func (n *names) commit(id linking.CommitID) string { return n.tag + "I" + string(id[:]) }

func appendUint(b []byte, v uint64, size int) []byte {
	for i := size - 1; i >= 0; i-- {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}

func uintOf(s string) (v uint64) {
	for i := range len(s) {
		v = v<<8 | uint64(s[i])
	}
	return v
}

// version is how the script sees a version: the first bytes of the value, and
// nothing where there is no record.
func version(v uint64) []byte {
	if v == 0 {
		return nil
	}
	return appendUint(make([]byte, 0, versionSize), v, versionSize)
}

func value(w linking.Write) []byte {
	b := make([]byte, 0, headerSize+len(w.Data))
	b = appendUint(b, w.Expect+1, versionSize)
	b = appendUint(b, dueNumber(w.Due), dueSize)
	return append(b, w.Data...)
}

func dueNumber(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(min(max(1, t.UnixMilli()-yearOne), maxDue))
}

func dueTime(n uint64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(n) + yearOne).UTC()
}

// score is a due time as the due index has it.
func score(n uint64) string { return strconv.FormatInt(int64(n)+yearOne, 10) }

var errDamaged = errors.New("a record in Redis is not one of ours")

// decode fills r, whose key is set, from its value; an empty value is no record.
func decode(r *linking.Record, v string) error {
	if v == "" {
		return nil
	}
	if len(v) < headerSize {
		return fmt.Errorf("%s: %w", r.Key, errDamaged)
	}
	r.Version = uintOf(v[:versionSize])
	r.Due = dueTime(uintOf(v[versionSize:headerSize]))
	r.Data = []byte(v[headerSize:])
	return nil
}
