package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"placard/linking"
)

// look sends what f asks of a shard in one round trip, together with its counter.
func (s *Store) look(ctx context.Context, shard linking.Shard, f func(redis.Pipeliner)) error {
	if err := s.usable(ctx, shard, false); err != nil {
		return err
	}
	p := s.others.Pipeline()
	seen := s.shards[shard].seen.Load()
	counter := p.Get(ctx, shardNames[shard].counter)
	f(p)
	cmds, _ := p.Exec(ctx) // its error is that of the first command that has one
	for _, c := range cmds {
		if err := c.Err(); err != nil && !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, "no such key") {
			return unreached(ctx, err)
		}
	}
	if !s.counted(shard, counter.Val(), seen) {
		return linking.ErrRolledBack
	}
	return nil
}

// List implements linking.Store.
func (s *Store) List(ctx context.Context, l linking.Listing) (out []linking.Record, err error) {
	if err := validPage(l.Shard, l.Limit); err != nil {
		return nil, err
	}
	n := &shardNames[l.Shard]
	// What is removed between the list and its records leaves a gap that the next
	// round fills: a short page would look like the last.
	for len(out) < l.Limit {
		page := redis.ZRangeArgs{Key: n.list(l.Kind, l.Owner), Start: "-", Stop: "+", ByLex: true, Rev: l.Reverse, Count: int64(l.Limit - len(out))}
		if l.Reverse {
			page.Start, page.Stop = "+", "-"
		}
		if l.After != "" {
			page.Start = "(" + l.After
		}
		var ids *redis.StringSliceCmd
		if err := s.look(ctx, l.Shard, func(p redis.Pipeliner) { ids = p.ZRangeArgs(ctx, page) }); err != nil {
			return nil, err
		}
		if len(ids.Val()) == 0 {
			return out, nil
		}
		keys := make([]linking.Key, len(ids.Val()))
		for i, id := range ids.Val() {
			keys[i] = linking.Key{Shard: l.Shard, Kind: l.Kind, ID: id}
		}
		var values *redis.StringSliceCmd
		if err := s.look(ctx, l.Shard, func(p redis.Pipeliner) { values = mget(ctx, p, n, keys) }); err != nil {
			return nil, err
		}
		for i, k := range keys {
			r := linking.Record{Key: k}
			if err := decode(&r, values.Val()[i]); err != nil {
				return nil, err
			}
			if r.Version > 0 {
				out = append(out, r)
			}
		}
		l.After = keys[len(keys)-1].ID
		if len(keys) < int(page.Count) {
			return out, nil
		}
	}
	return out, nil
}

func mget(ctx context.Context, p redis.Pipeliner, n *names, keys []linking.Key) *redis.StringSliceCmd {
	args := make([]any, 1, 1+len(keys))
	args[0] = "mget"
	for _, k := range keys {
		args = append(args, n.record(k))
	}
	cmd := redis.NewStringSliceCmd(ctx, args...)
	p.Process(ctx, cmd)
	return cmd
}

// Due implements linking.Store.
func (s *Store) Due(ctx context.Context, shard linking.Shard, by time.Time, limit int) (out []linking.DueKey, err error) {
	if err := validPage(shard, limit); err != nil {
		return nil, err
	}
	n := dueNumber(by)
	if n == 0 {
		return nil, s.usable(ctx, shard, false)
	}
	var found *redis.ZSliceCmd
	err = s.look(ctx, shard, func(p redis.Pipeliner) {
		found = p.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{
			Key: shardNames[shard].due, Start: "-inf", Stop: score(n), ByScore: true, Count: int64(limit),
		})
	})
	if err != nil {
		return nil, err
	}
	for _, z := range found.Val() {
		kind, id, _ := strings.Cut(z.Member.(string), ":")
		out = append(out, linking.DueKey{
			Key: linking.Key{Shard: shard, Kind: linking.RecordKind(kind), ID: id},
			Due: time.UnixMilli(int64(math.Round(z.Score))).UTC(),
		})
	}
	return out, nil
}

// Events implements linking.Store.
func (s *Store) Events(ctx context.Context, shard linking.Shard, log string, after uint64, limit int) (out []linking.LoggedEvent, err error) {
	if err := errors.Join(validPage(shard, limit), validLog(shard, log)); err != nil {
		return nil, err
	}
	if after == math.MaxUint64 {
		return nil, s.usable(ctx, shard, false)
	}
	var found *redis.XMessageSliceCmd
	err = s.look(ctx, shard, func(p redis.Pipeliner) {
		found = p.XRangeN(ctx, shardNames[shard].log(log), entry(after+1), "+", int64(limit))
	})
	if err != nil {
		return nil, err
	}
	for _, m := range found.Val() {
		data, ok := m.Values["e"].(string)
		seq, err := sequence(m.ID)
		if err != nil || !ok {
			return nil, fmt.Errorf("event %s of log %s: %w", m.ID, log, errDamaged)
		}
		out = append(out, linking.LoggedEvent{Seq: seq, Data: []byte(data)})
	}
	return out, nil
}

// Span implements linking.Store.
func (s *Store) Span(ctx context.Context, shard linking.Shard, log string) (first, last uint64, err error) {
	if err := validLog(shard, log); err != nil {
		return 0, 0, err
	}
	var info *redis.XInfoStreamCmd
	err = s.look(ctx, shard, func(p redis.Pipeliner) { info = p.XInfoStream(ctx, shardNames[shard].log(log)) })
	if err != nil {
		return 0, 0, err
	}
	if info.Err() != nil { // no such key
		return 1, 0, nil
	}
	stream := info.Val()
	if last, err = sequence(stream.LastGeneratedID); err != nil {
		return 0, 0, fmt.Errorf("log %s: %w", log, errDamaged)
	}
	if stream.Length == 0 {
		return last + 1, last, nil
	}
	if first, err = sequence(stream.FirstEntry.ID); err != nil {
		return 0, 0, fmt.Errorf("log %s: %w", log, errDamaged)
	}
	return first, last, nil
}

// Trim implements linking.Store.
func (s *Store) Trim(ctx context.Context, shard linking.Shard, log string, before uint64) error {
	if err := validLog(shard, log); err != nil {
		return err
	}
	if err := s.usable(ctx, shard, true); err != nil {
		return err
	}
	return s.look(ctx, shard, func(p redis.Pipeliner) { p.XTrimMinID(ctx, shardNames[shard].log(log), entry(before)) })
}

// entry is the id of an event in its stream.
func entry(seq uint64) string { return "0-" + strconv.FormatUint(seq, 10) }

func sequence(entry string) (uint64, error) {
	ms, seq, _ := strings.Cut(entry, "-")
	if ms != "0" {
		return 0, errDamaged
	}
	return strconv.ParseUint(seq, 10, 64)
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
