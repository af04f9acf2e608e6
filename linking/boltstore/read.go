package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"placard/linking"
)

// view runs f on one moment's state of the file.
func (s *Store) view(ctx context.Context, f func(tx *bbolt.Tx) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return unavailable("The store is closed.", err)
	}
	defer tx.Rollback()
	return f(tx)
}

// Get implements linking.Store.
func (s *Store) Get(ctx context.Context, keys ...linking.Key) ([]linking.Record, error) {
	if len(keys) > linking.MaxWrites {
		return nil, fmt.Errorf("%d records asked for at once, at most %d are possible", len(keys), linking.MaxWrites)
	}
	for _, k := range keys {
		if k.Shard != keys[0].Shard || k.Shard > linking.Meta {
			return nil, fmt.Errorf("records of two shards asked for at once: %s", k)
		}
	}
	out := make([]linking.Record, len(keys))
	err := s.view(ctx, func(tx *bbolt.Tx) error {
		records := tx.Bucket(recordsBucket)
		buf := make([]byte, 0, 64)
		for i, k := range keys {
			buf = appendRecordKey(buf[:0], k)
			out[i] = record(k, records.Get(buf))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// List implements linking.Store.
func (s *Store) List(ctx context.Context, l linking.Listing) (out []linking.Record, err error) {
	if err := validPage(l.Shard, l.Limit); err != nil {
		return nil, err
	}
	prefix := listPrefix(l.Shard, l.Kind, l.Owner)
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		records := tx.Bucket(recordsBucket)
		c := tx.Bucket(listsBucket).Cursor()
		step := c.Next
		var at []byte
		if l.Reverse {
			step = c.Prev
			from := bytes.Clone(prefix)
			if l.After == "" {
				from[len(from)-1]++ // just behind the last of this owner
			} else {
				from = append(from, l.After...)
			}
			if at, _ = c.Seek(from); at == nil {
				at, _ = c.Last()
			} else {
				at, _ = c.Prev()
			}
		} else {
			at, _ = c.Seek(append(bytes.Clone(prefix), l.After...))
			if l.After != "" && hasPrefix(at, prefix) && string(at[len(prefix):]) == l.After {
				at, _ = c.Next()
			}
		}
		for ; hasPrefix(at, prefix) && len(out) < l.Limit; at, _ = step() {
			k := linking.Key{Shard: l.Shard, Kind: l.Kind, ID: string(at[len(prefix):])}
			if v := records.Get(recordKey(k)); v != nil {
				out = append(out, record(k, v))
			}
		}
		return nil
	})
	return out, err
}

// Due implements linking.Store.
func (s *Store) Due(ctx context.Context, shard linking.Shard, by time.Time, limit int) (out []linking.DueKey, err error) {
	if err := validPage(shard, limit); err != nil {
		return nil, err
	}
	prefix, last := shardKey(shard), dueNumber(by)
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		c := tx.Bucket(dueBucket).Cursor()
		for k, _ := c.Seek(prefix); hasPrefix(k, prefix) && len(out) < limit; k, _ = c.Next() {
			due := number(k[2:10])
			if due > last {
				break
			}
			kind, id, _ := bytes.Cut(k[10:], []byte{':'})
			out = append(out, linking.DueKey{
				Key: linking.Key{Shard: shard, Kind: linking.RecordKind(kind), ID: string(id)},
				Due: dueTime(due),
			})
		}
		return nil
	})
	return out, err
}

// Events implements linking.Store.
func (s *Store) Events(ctx context.Context, shard linking.Shard, log string, after uint64, limit int) (out []linking.LoggedEvent, err error) {
	if err := errors.Join(validPage(shard, limit), validLog(shard, log)); err != nil {
		return nil, err
	}
	if after+1 == 0 {
		return nil, nil
	}
	key := logKey(shard, log)
	prefix := eventPrefix(key)
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		c := tx.Bucket(eventsBucket).Cursor()
		for k, v := c.Seek(eventKey(key, after+1)); hasPrefix(k, prefix) && len(out) < limit; k, v = c.Next() {
			out = append(out, linking.LoggedEvent{Seq: number(k[len(prefix):]), Data: bytes.Clone(v)})
		}
		return nil
	})
	return out, err
}

// Span implements linking.Store.
func (s *Store) Span(ctx context.Context, shard linking.Shard, log string) (first, last uint64, err error) {
	if err := validLog(shard, log); err != nil {
		return 0, 0, err
	}
	key := logKey(shard, log)
	prefix := eventPrefix(key)
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		last = number(tx.Bucket(sequencesBucket).Get(key))
		first = last + 1
		if k, _ := tx.Bucket(eventsBucket).Cursor().Seek(prefix); hasPrefix(k, prefix) {
			first = number(k[len(prefix):])
		}
		return nil
	})
	return first, last, err
}

func validPage(shard linking.Shard, limit int) error {
	if limit < 1 || limit > linking.MaxPage {
		return fmt.Errorf("a page of %d asked for, 1 to %d are possible", limit, linking.MaxPage)
	}
	if shard > linking.Meta {
		return fmt.Errorf("there is no shard %d", shard)
	}
	return nil
}

func validLog(shard linking.Shard, log string) error {
	if len(log) == 0 || len(log) > 64 || shard > linking.Meta {
		return fmt.Errorf("there can be no event log %q of shard %d", log, shard)
	}
	return nil
}

// headerSize is what stands before the data of a record: version and due time.
const headerSize = 16

func record(k linking.Key, v []byte) linking.Record {
	r := linking.Record{Key: k}
	if v == nil {
		return r
	}
	r.Version, r.Due = version(v), dueTime(dueOf(v))
	r.Data = append([]byte{}, v[headerSize:]...) // the mapping is not ours to lend
	return r
}

func version(v []byte) uint64 {
	if v == nil {
		return 0
	}
	return number(v[:8])
}

func dueOf(v []byte) uint64 {
	if v == nil {
		return 0
	}
	return number(v[8:16])
}

// yearOne is what the zero time is in Unix milliseconds.
const yearOne = -62135596800000

// dueNumber is t in milliseconds since the year 1; 0 is the zero time: never.
func dueNumber(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(1, t.UnixMilli()-yearOne))
}

func dueTime(n uint64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(n) + yearOne).UTC()
}

func shardKey(s linking.Shard) []byte { return binary.BigEndian.AppendUint16(nil, uint16(s)) }

func appendRecordKey(b []byte, k linking.Key) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(k.Shard))
	b = append(b, k.Kind...)
	b = append(b, ':')
	return append(b, k.ID...)
}

func recordKey(k linking.Key) []byte {
	return appendRecordKey(make([]byte, 0, 3+len(k.Kind)+len(k.ID)), k)
}

func listPrefix(s linking.Shard, kind linking.RecordKind, owner string) []byte {
	b := append(shardKey(s), kind...)
	b = append(b, ':')
	b = append(b, owner...)
	return append(b, 0)
}

// dueKey is where the index of due times has the record under key.
func dueKey(key []byte, due uint64) []byte {
	b := make([]byte, 0, len(key)+8)
	b = append(b, key[:2]...)
	b = binary.BigEndian.AppendUint64(b, due)
	return append(b, key[2:]...)
}

func logKey(s linking.Shard, log string) []byte { return append(shardKey(s), log...) }

func eventPrefix(log []byte) []byte {
	return append(append(make([]byte, 0, len(log)+9), log...), 0)
}

func eventKey(log []byte, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(eventPrefix(log), seq)
}

func hasPrefix(k, prefix []byte) bool { return k != nil && bytes.HasPrefix(k, prefix) }

func be64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func number(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
