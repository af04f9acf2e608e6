package storetest

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"placard/linking"
)

// Flaky makes every nth commit and then loses the answer, as a network does. It
// is safe for concurrent use; LoseReplyEvery is set before.
type Flaky struct {
	linking.Store
	LoseReplyEvery int

	sent atomic.Int64
	lost atomic.Int64
}

// ErrReplyLost is what Flaky answers when it has lost the answer.
var ErrReplyLost = errors.New("the answer was lost")

func (f *Flaky) Commit(ctx context.Context, c linking.Commit) error {
	err := f.Store.Commit(ctx, c)
	if n := f.sent.Add(1); f.LoseReplyEvery > 0 && n%int64(f.LoseReplyEvery) == 0 {
		f.lost.Add(1)
		return ErrReplyLost
	}
	return err
}

// Lost is how many answers were lost so far.
func (f *Flaky) Lost() int { return int(f.lost.Load()) }

// Slow waits before every read and commit, as long as Delay says and the context
// allows.
type Slow struct {
	linking.Store
	Delay time.Duration
}

func (s *Slow) wait(ctx context.Context) error {
	t := time.NewTimer(s.Delay)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Slow) Get(ctx context.Context, keys ...linking.Key) ([]linking.Record, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, keys...)
}

func (s *Slow) Commit(ctx context.Context, c linking.Commit) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	return s.Store.Commit(ctx, c)
}

func (s *Slow) List(ctx context.Context, l linking.Listing) ([]linking.Record, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.Store.List(ctx, l)
}

func (s *Slow) Due(ctx context.Context, shard linking.Shard, by time.Time, limit int) ([]linking.DueKey, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.Store.Due(ctx, shard, by, limit)
}

func (s *Slow) Events(ctx context.Context, shard linking.Shard, log string, after uint64, limit int) ([]linking.LoggedEvent, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.Store.Events(ctx, shard, log, after, limit)
}

// Down is a store that can be switched off and on: while it is off every call is
// answered as by a store that is not reached. It begins switched on.
type Down struct {
	linking.Store
	off atomic.Bool
}

// Off switches the store off, or on again.
func (d *Down) Off(off bool) { d.off.Store(off) }

func (d *Down) err() error {
	if !d.off.Load() {
		return nil
	}
	return &linking.Error{Kind: linking.Unavailable, Code: "store_unavailable", Detail: "The store does not answer; nothing was done.", Retry: 1}
}

func (d *Down) Get(ctx context.Context, keys ...linking.Key) ([]linking.Record, error) {
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.Store.Get(ctx, keys...)
}

func (d *Down) Commit(ctx context.Context, c linking.Commit) error {
	if err := d.err(); err != nil {
		return err
	}
	return d.Store.Commit(ctx, c)
}

func (d *Down) List(ctx context.Context, l linking.Listing) ([]linking.Record, error) {
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.Store.List(ctx, l)
}

func (d *Down) Due(ctx context.Context, shard linking.Shard, by time.Time, limit int) ([]linking.DueKey, error) {
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.Store.Due(ctx, shard, by, limit)
}

func (d *Down) Events(ctx context.Context, shard linking.Shard, log string, after uint64, limit int) ([]linking.LoggedEvent, error) {
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.Store.Events(ctx, shard, log, after, limit)
}

func (d *Down) Span(ctx context.Context, shard linking.Shard, log string) (first, last uint64, err error) {
	if err := d.err(); err != nil {
		return 0, 0, err
	}
	return d.Store.Span(ctx, shard, log)
}

func (d *Down) Trim(ctx context.Context, shard linking.Shard, log string, before uint64) error {
	if err := d.err(); err != nil {
		return err
	}
	return d.Store.Trim(ctx, shard, log, before)
}

func (d *Down) Health(ctx context.Context) linking.Health {
	h := d.Store.Health(ctx)
	if err := d.err(); err != nil {
		h.Ready, h.Problem = false, err.Error()
	}
	return h
}
