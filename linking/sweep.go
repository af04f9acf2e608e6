package linking

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Timing of background work.
const (
	sweepEach   = 500 * time.Millisecond
	sweepPage   = 200 // due records of a shard taken at once
	sweepHands  = 8   // records handled at the same time
	shardsKnown = 10 * time.Second
	tidyEach    = 24 * time.Hour
	keepEvents  = 90 * 24 * time.Hour
)

// Sweep does the background work until ctx ends: it writes expiry down, asks banks
// about what is uncertain, finds what no callback told, and forgets what is old. Any
// number of processes may sweep one store: what is due is claimed by a commit.
func (s *Service) Sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEach)
	defer tick.Stop()
	for {
		s.SweepOnce(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// SweepOnce does what is due now.
func (s *Service) SweepOnce(ctx context.Context) {
	shards, err := s.shardsInUse(ctx)
	if err != nil {
		s.log.Warn("background work waits: the store does not answer", "err", err)
		return
	}
	hands := make(chan struct{}, sweepHands)
	var all sync.WaitGroup
	defer all.Wait()
	s.lookThrough(ctx, shards)
	for _, shard := range shards {
		due, err := s.store.Due(ctx, shard, s.now(), sweepPage)
		if err != nil {
			s.log.Warn("background work on a shard waits", "shard", shard.String(), "err", err)
			continue
		}
		for _, d := range due {
			if d.Key.Kind == kindDelivery { // a receiver's slowness is nobody else's
				s.post(WebhookID(d.Key.ID))
				continue
			}
			if s.oneHand {
				s.tend(ctx, d.Key)
				continue
			}
			hands <- struct{}{}
			all.Go(func() {
				defer func() { <-hands }()
				s.tend(ctx, d.Key)
			})
		}
	}
}

func (s *Service) tend(ctx context.Context, k Key) {
	if err := s.handle(ctx, k); err != nil && ctx.Err() == nil {
		s.log.Warn("background work failed; it is tried again", "kind", string(k.Kind), "shard", k.Shard.String(), "err", err)
	}
}

func (s *Service) handle(ctx context.Context, k Key) error {
	switch k.Kind {
	case kindRequest:
		return s.change(ctx, k.Shard, func(t *tx) error {
			r, err := t.request(RequestID(k.ID))
			if err != nil || r == nil {
				return err
			}
			t.merchant = r.Merchant
			t.recs[k].touch = true // a new due time, even if nothing else changes
			return t.tick(r)
		})
	case kindOnce:
		return s.change(ctx, k.Shard, func(t *tx) error {
			o, err := read[onceRecord](t, k, nil)
			if err != nil || o == nil {
				return err
			}
			if t.now.Sub(o.CreatedAt) >= onceLife {
				t.remove(k)
			}
			return nil
		})
	case kindPoll:
		return s.poll(ctx, ConnectionID(k.ID))
	case kindBatch:
		return s.tendBatch(ctx, BatchID(k.ID))
	case kindTidy:
		return s.tidy(ctx, MerchantID(k.ID))
	case kindSession:
		return s.tendSession(ctx, k)
	}
	return errors.New("nothing to do for this kind of record")
}

// pollRecord is where the asking for news of one connection stands.
type pollRecord struct {
	Since  time.Time `cbor:"1,keyasint,omitzero"`
	NextAt time.Time `cbor:"2,keyasint"`
}

// poll asks a bank which requests it has news of, and then about each of them.
func (s *Service) poll(ctx context.Context, id ConnectionID) error {
	var since time.Time
	var c *Connection
	err := s.change(ctx, id.Shard(), func(t *tx) (err error) {
		p, err := read[pollRecord](t, pollKey(id), nil)
		if err != nil || p == nil {
			return err
		}
		if c, err = t.connection(id); err != nil {
			return err
		}
		if p.NextAt.After(t.now) { // another process took it
			c = nil
			return nil
		}
		since, p.NextAt = p.Since, t.now.Add(pollEach)
		if since.IsZero() && c != nil {
			since = c.CreatedAt
		}
		return nil
	})
	if err != nil || c == nil || s.banks == nil {
		return err
	}
	bank, err := s.banks.Open(c)
	if err != nil {
		return err
	}
	ids, next, err := bank.Changed(ctx, since)
	if e, ok := errors.AsType[*BankError](err); ok && e.Class == BankRefused {
		return nil // no such list: each request is asked for by itself
	}
	if err != nil {
		return err
	}
	if err := s.Hint(ctx, id, ids); err != nil {
		return err
	}
	return s.change(ctx, id.Shard(), func(t *tx) error {
		p, err := read[pollRecord](t, pollKey(id), nil)
		if err != nil || p == nil || !next.After(p.Since) {
			return err
		}
		p.Since = next
		return nil
	})
}

// Hint takes a bank's or a list's word that something happened to requests of a
// connection. It is durable when Hint returns; what it is worth is asked of the bank
// after that. Requests that are not the connection's are passed over.
func (s *Service) Hint(ctx context.Context, id ConnectionID, ids []RequestID) error {
	for _, q := range ids {
		if len(q) != 26 || q.Shard() != id.Shard() {
			s.log.Warn("the bank has news of a request that is not ours", "connection", string(id))
			continue
		}
		err := s.change(ctx, id.Shard(), func(t *tx) error {
			r, err := t.request(q)
			if err != nil {
				return err
			}
			if r == nil {
				return t.stray(id, q)
			}
			if r.Bank.Connection != id {
				s.log.Warn("the bank has news of a request that is another connection's", "connection", string(id))
				return nil
			}
			t.merchant = r.Merchant
			if !r.Bank.Sent {
				return nil
			}
			r.Bank.PollAt = t.now
			if r.Bank.Unsure || slices.ContainsFunc(r.Refunds, func(f Refund) bool { return f.Sent && f.Status == RefundPending }) {
				r.Bank.NextAt = time.Time{} // it was to be asked anyway: now there is reason to
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Callback takes a message from a bank to a connection. When it returns nil, what the
// message hints at is durable; an error of kind Unauthorized means that the message
// is not the bank's.
func (s *Service) Callback(ctx context.Context, rail string, id ConnectionID, header http.Header, body []byte) error {
	c, err := s.Connection(ctx, id)
	if err != nil {
		return err
	}
	if c.Rail != rail || s.banks == nil {
		return notFound("bank connection")
	}
	bank, err := s.banks.Open(c)
	if err != nil {
		return &Error{Kind: Unavailable, Code: "bank_unavailable", Detail: "The bank connection's settings cannot work.", Err: err}
	}
	ids, err := bank.Callback(ctx, header, body)
	if err != nil {
		e, ok := errors.AsType[*BankError](err)
		if ok && e.Class == BankDenied {
			return &Error{Kind: Unauthorized, Code: "unauthorized", Detail: "The message does not carry the bank's mark.", Err: err}
		}
		return &Error{Kind: Malformed, Code: "malformed", Detail: "The message cannot be read.", Err: err}
	}
	return s.Hint(ctx, id, ids)
}

// stray takes up a request that the bank knows as ours and we do not: the store went
// back in time, or was restored. It is closed at the bank, and money that came for it is
// an exception that a person decides.
func (t *tx) stray(id ConnectionID, q RequestID) error {
	c, err := t.connection(id)
	if err != nil || c == nil || t.s.banks == nil {
		return err
	}
	bank, err := t.s.banks.Open(c)
	if err != nil {
		return err
	}
	charge := Immediate
	st, err := bank.Get(t.ctx, BankRef{ID: q, Charge: charge})
	if e, ok := errors.AsType[*BankError](err); ok && e.Class == BankAbsent {
		charge = DueDate
		st, err = bank.Get(t.ctx, BankRef{ID: q, Charge: charge})
	}
	if e, ok := errors.AsType[*BankError](err); ok && e.Class == BankAbsent {
		return nil // nobody knows it
	}
	if err != nil {
		return nil // the bank's list names it again
	}
	t.merchant = c.Merchant
	t.s.log.Error("the bank knows a request of ours that the store has lost", "connection", string(id), "request", string(q))
	r := &Request{
		ID: q, Merchant: c.Merchant, Origin: MadeElsewhere, Status: Closing, EndAsked: true, EndReason: ByBank,
		Content: Content{Currency: st.Money.Currency}, CreatedAt: t.now, Since: t.now,
		Bank: BankSide{Rail: c.Rail, Connection: id, Charge: charge, Sent: true},
	}
	if err := t.create(requestKey(q), r); err != nil {
		return err
	}
	t.emit(Event{Type: RequestCreated}, r)
	return t.learn(r, st)
}

// tidyRecord is when a merchant's old events were last forgotten.
type tidyRecord struct {
	NextAt time.Time `cbor:"1,keyasint"`
}

// tidy forgets events older than keepEvents.
func (s *Service) tidy(ctx context.Context, id MerchantID) error {
	err := s.change(ctx, id.Shard(), func(t *tx) error {
		d, err := read[tidyRecord](t, Key{id.Shard(), kindTidy, string(id)}, nil)
		if err != nil || d == nil {
			return err
		}
		d.NextAt = t.now.Add(tidyEach)
		return nil
	})
	if err != nil {
		return err
	}
	first, last, err := s.store.Span(ctx, id.Shard(), string(id))
	if err != nil {
		return err
	}
	before := s.now().Add(-keepEvents)
	// The first event that is young enough: events are in the order of their times,
	// to within the clocks of the gateways.
	for first <= last {
		mid := first + (last-first)/2
		page, err := s.store.Events(ctx, id.Shard(), string(id), mid-1, 1)
		if err != nil {
			return err
		}
		var e Event
		if len(page) == 0 {
			break
		}
		if _, err := decodeRecord(page[0].Data, &e); err != nil {
			return err
		}
		if e.At.Before(before) {
			first = mid + 1
		} else {
			last = mid - 1
		}
	}
	return s.store.Trim(ctx, id.Shard(), string(id), first)
}

// shardsRecord lists the shards that hold merchants: background work walks these.
type shardsRecord struct {
	Bits []byte `cbor:"1,keyasint"` // 1024 bits
}

var shardsKey = Key{Meta, kindShards, "in use"}

func (s *Service) shardsInUse(ctx context.Context) ([]Shard, error) {
	if list, ok := s.inUse.get(struct{}{}, s.now()); ok {
		return list, nil
	}
	r, err := read[shardsRecord](s.look(ctx, Meta), shardsKey, nil)
	if err != nil {
		return nil, err
	}
	list := []Shard{}
	if r != nil {
		for i := range Shards {
			if i/8 < len(r.Bits) && r.Bits[i/8]&(1<<(i%8)) != 0 {
				list = append(list, Shard(i))
			}
		}
	}
	s.inUse.put(struct{}{}, list, s.now())
	return list, nil
}

// useShard makes background work walk a shard. It is done before a merchant is
// written there.
func (s *Service) useShard(ctx context.Context, shard Shard) error {
	err := s.change(ctx, Meta, func(t *tx) error {
		r, err := read[shardsRecord](t, shardsKey, nil)
		if err != nil {
			return err
		}
		if r == nil {
			r = &shardsRecord{}
			if err := t.create(shardsKey, r); err != nil {
				return err
			}
		}
		bits := make([]byte, Shards/8)
		copy(bits, r.Bits)
		bits[shard/8] |= 1 << (shard % 8)
		r.Bits = bits
		return nil
	})
	s.inUse.forget(struct{}{})
	return err
}
