package linking

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Making is the progress of a batch that the bank resolves. Each of its codes costs
// one call to the bank, which gives it a location for ever; a thousand times that is
// minutes, a million times that is days. So the calls are made in the background, at a
// pace, and what was made stands in the batch's record: whichever process finds it due
// goes on.
type Making struct {
	Done      int       `cbor:"1,keyasint"`
	PerSecond int       `cbor:"2,keyasint"`
	Asking    int       `cbor:"3,keyasint,omitempty"` // calls under way, or made by a process that died
	Orphans   int       `cbor:"4,keyasint,omitempty"` // locations that the bank made, or may have made, for no code
	NextAt    time.Time `cbor:"5,keyasint"`
	Problem   string    `cbor:"6,keyasint,omitempty"` // why it does not go on, for people
}

const (
	makingTime  = 2 * time.Minute  // how long a process has for one step
	makingAgain = 30 * time.Second // after the bank did not do it
	makingStep  = 100              // codes of one step at most
)

// Left is how long the rest of the batch takes at its pace.
func (b *Batch) Left() time.Duration {
	if b.Making == nil {
		return 0
	}
	return time.Duration(b.Count-b.Making.Done) * time.Second / time.Duration(b.Making.PerSecond)
}

// due is when background work wants to see the batch; zero: never.
func (b *Batch) due() (at time.Time) {
	if b.Making != nil {
		at = b.Making.NextAt
	}
	if b.Emptying != nil && (at.IsZero() || b.Emptying.NextAt.Before(at)) {
		at = b.Emptying.NextAt
	}
	return at
}

// tendBatch starts what is due of a batch. It takes long, so the sweeper does not wait
// for it.
func (s *Service) tendBatch(ctx context.Context, id BatchID) error {
	b, err := read[Batch](s.look(ctx, id.Shard()), batchKey(id), nil)
	if err != nil || b == nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.tending[id] {
		return nil
	}
	if s.tending == nil {
		s.tending = map[BatchID]bool{}
	}
	s.tending[id] = true
	s.launch(func() {
		ctx := s.background
		err := s.emptySome(ctx, id)
		if err == nil {
			err = s.makeSome(ctx, id)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("work on a batch failed; it is tried again", "batch", string(id), "err", err)
		}
		s.mu.Lock()
		delete(s.tending, id)
		s.mu.Unlock()
	})
	return nil
}

// makeSome makes codes at the bank until all are made, the bank does not do it, or
// the service is about to end.
func (s *Service) makeSome(ctx context.Context, id BatchID) error {
	if s.banks == nil {
		return nil
	}
	b, n, err := s.claimMaking(ctx, id)
	for err == nil && n > 0 {
		token, problem := s.tokensOf(ctx, b)
		if problem != nil {
			return problem
		}
		links, lost, why := s.askForLinks(ctx, b, n)
		s.mu.Lock()
		last := s.closed
		s.mu.Unlock()
		claimed := b.Making.NextAt
		if n, b, err = s.keepLinks(ctx, b, claimed, token, links, lost, why, last); err != nil {
			for _, l := range links {
				s.log.Warn("a location was made at the bank for a code that was not: it stays empty", "batch", string(id), "location", l.ID)
			}
		}
	}
	return err
}

// claimMaking takes the next step of a batch for this process; 0: there is none to
// take. The claim says how many calls are about to be made, so that if this process
// dies, whoever goes on knows how many locations may be without a code.
func (s *Service) claimMaking(ctx context.Context, id BatchID) (b *Batch, n int, err error) {
	err = s.change(ctx, id.Shard(), func(t *tx) (err error) {
		n = 0
		if b, err = read[Batch](t, batchKey(id), nil); err != nil || b == nil {
			return err
		}
		m := b.Making
		if m == nil || m.Done == b.Count || m.NextAt.After(t.now) {
			return nil
		}
		now := *m
		if m.Asking > 0 {
			s.log.Warn("a process ended while the bank made locations: as many may be without a code", "batch", string(id), "locations", m.Asking)
			now.Orphans += m.Asking
		}
		n = now.step(b.Count)
		now.Asking, now.NextAt = n, t.now.Add(makingTime)
		b.Making = &now
		return nil
	})
	return b, n, err
}

// step is how many codes to make next: what a second is worth.
func (m *Making) step(count int) int { return min(count-m.Done, max(1, m.PerSecond), makingStep) }

// askForLinks has the bank make n locations at the batch's pace. lost counts calls of
// which nobody knows whether they were done; why is for people if not all were made.
func (s *Service) askForLinks(ctx context.Context, b *Batch, n int) (links []BankLink, lost int, why string) {
	t := s.look(ctx, b.Merchant.Shard())
	t.merchant = b.Merchant
	m, err := t.merchantRec()
	if err != nil || m == nil {
		return nil, 0, "The store does not answer."
	}
	conn, _, err := t.rail(m, b.Rail)
	if err != nil {
		return nil, 0, "The bank connection is not there."
	}
	bank, err := s.banks.Open(conn)
	if err != nil {
		return nil, 0, "The bank connection's settings cannot work."
	}
	pace := time.NewTicker(time.Second / time.Duration(b.Making.PerSecond))
	defer pace.Stop()
	var mu sync.Mutex
	var all sync.WaitGroup
	for range n {
		mu.Lock()
		stop := why != ""
		mu.Unlock()
		if stop {
			break
		}
		all.Go(func() {
			link, err := bank.MakeLink(ctx, b.Charge)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				links = append(links, link)
				return
			}
			why = "The bank does not answer."
			if e, ok := errors.AsType[*BankError](err); ok {
				switch e.Class {
				case BankUnknown:
					lost++
				case BankRefused, BankDenied:
					why = "The bank refuses to make locations: see the bank connection."
				}
			}
			s.log.Warn("the bank did not make a location", "batch", string(b.ID), "connection", string(conn.ID), "err", err)
		})
		select {
		case <-pace.C:
		case <-ctx.Done():
		}
	}
	all.Wait()
	return links, lost, why
}

// keepLinks gives locations to the next codes of the batch, in one commit with the
// claim of the step after; 0: there is none for this process.
func (s *Service) keepLinks(ctx context.Context, b *Batch, claimed time.Time, token func(uint64) Token, links []BankLink, lost int, why string, last bool) (next int, now *Batch, err error) {
	over := 0
	err = s.change(ctx, b.ID.Shard(), func(t *tx) error {
		next, over = 0, 0
		var err error
		if now, err = read[Batch](t, batchKey(b.ID), nil); err != nil || now == nil {
			return orMissing(err, "batch")
		}
		if now.Making == nil {
			over = len(links)
			return nil
		}
		m := *now.Making
		for _, l := range links {
			if m.Done == now.Count { // another process was given up for dead too early
				over++
				continue
			}
			code := now.code(token(uint64(m.Done)), Serial{now.No, uint64(m.Done)})
			if err := t.describe(now, code); err != nil {
				return err
			}
			code.ResolvedBy, code.BankLink = ByBankPayload, &l
			if err := t.create(codeKey(code.Token), code); err != nil {
				return err
			}
			m.Done++
		}
		m.Orphans += lost + over
		m.Problem = why
		if m.NextAt.Equal(claimed.Truncate(time.Second)) || m.NextAt.Equal(claimed) { // the claim is still ours
			m.Asking, m.NextAt = 0, t.now
			switch {
			case why != "":
				m.NextAt = t.now.Add(makingAgain)
			case !last && m.Done < now.Count:
				next = m.step(now.Count)
				m.Asking, m.NextAt = next, t.now.Add(makingTime)
			}
		}
		now.Making = &m
		if m.Done == now.Count && m.Orphans == 0 {
			now.Making = nil
		} else if m.Done == now.Count {
			now.Making.NextAt = time.Time{} // kept for the number of orphans
		}
		return nil
	})
	return next, now, err
}
