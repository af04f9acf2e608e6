package linking

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// How webhooks are delivered.
//
// The gapless event log is the outbox: an event's commit is also the commit that owes
// it to every receiver, and nothing more is written for it. Each webhook has one
// record with a cursor into the log. Delivering takes a page of events after the
// cursor, sends them, and commits the cursor at the end of the page: two writes a
// page, none an event.
//
// Events of one request (or, without one, of one code) are a lane: they are sent one
// after the other, and the next only once the one before was taken. Lanes do not wait
// for each other. An event that fails holds its lane back: the lane's sequence numbers
// are written into the record, and are tried again on the lane's own schedule while the
// cursor goes on. When nothing at all gets through, the receiver is down: the cursor
// stays, and one message is tried now and then until one is taken.
//
// A webhook's record is claimed by a commit for as long as sending may take, so that
// one process at a time sends to it; if it dies, another goes on when that time is
// over. What had been sent by then is sent twice: at least once, and known by its id.
const (
	deliveryPage  = 100              // events of a page
	deliveryHands = 8                // lanes of one webhook at the same time
	deliveryClaim = 60 * time.Second // one process has a webhook for itself so long
	deliveryTime  = 40 * time.Second // after this, nothing more is begun under a claim
	deliveryPosts = 256              // webhooks a process delivers to at the same time
	lanesHeld     = 200              // of one webhook; then the cursor waits for them
	laneHeld      = 1000             // events of one lane; then the cursor waits for it
	eventsHeld    = 5000             // events of all lanes of one webhook; then the cursor waits for them
	downAfter     = 8                // failures, with no success between, after which a receiver is down
	postsKnown    = 10 * time.Second // webhooks are looked through this often, besides wakes
)

// deliveryDelays are the pauses after the first failure, the second, and so on; the
// last goes on until the events are no longer kept.
var deliveryDelays = []time.Duration{5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute}

func deliveryDelay(failures int) time.Duration {
	return deliveryDelays[min(max(failures, 1), len(deliveryDelays))-1]
}

// deliveryRecord is how far a webhook's receiver has been told.
type deliveryRecord struct {
	Merchant MerchantID `cbor:"1,keyasint"`
	Cursor   uint64     `cbor:"2,keyasint"`           // events up to this are delivered, or in Held
	Held     []heldLane `cbor:"3,keyasint,omitempty"` // oldest first
	Fails    int        `cbor:"4,keyasint,omitempty"` // failures since the last success
	NextAt   time.Time  `cbor:"5,keyasint,omitzero"`  // while it is down: of the next try
	Claim    time.Time  `cbor:"6,keyasint,omitzero"`  // somebody delivers, at most until then
	Turn     uint64     `cbor:"7,keyasint,omitempty"` // counts claims and rewinds: who finds another has lost his claim
	LastOK   time.Time  `cbor:"8,keyasint,omitzero"`
	Missed   uint64     `cbor:"9,keyasint,omitempty"` // events that were forgotten before they were delivered
	// Gone says that the receiver answered 410: it is called again only after a replay.
	Gone time.Time `cbor:"10,keyasint,omitzero"`
}

// heldLane is a lane of which one event failed.
type heldLane struct {
	Lane   string    `cbor:"1,keyasint"`
	Seqs   []uint64  `cbor:"2,keyasint"` // the one that failed, and what came after it
	Tries  int       `cbor:"3,keyasint,omitempty"`
	NextAt time.Time `cbor:"4,keyasint,omitzero"`
}

// laneOf is what an event must not overtake.
func laneOf(e *Event) string {
	if e.Request != nil {
		return string(e.Request.ID)
	}
	return string(e.Code)
}

func (d *deliveryRecord) down() bool { return d.Fails >= downAfter }

// full reports whether the cursor has to wait for what is held back.
func (d *deliveryRecord) full() bool {
	n := 0
	for _, h := range d.Held {
		n += len(h.Seqs)
	}
	return len(d.Held) >= lanesHeld || n >= eventsHeld
}

// next is when something that is held back is to be tried; zero: nothing is.
func (d *deliveryRecord) next() (at time.Time) {
	switch {
	case !d.Gone.IsZero():
		return at
	case d.down():
		return d.NextAt
	}
	for _, h := range d.Held {
		if at.IsZero() || h.NextAt.Before(at) {
			at = h.NextAt
		}
	}
	return at
}

// due is when background work is to look at the record: new events wake it besides.
func (d *deliveryRecord) due() time.Time {
	if !d.Claim.IsZero() {
		return d.Claim
	}
	return d.next()
}

// owes reports whether there is something to send at now, if the log ends with last.
func (d *deliveryRecord) owes(now time.Time, last uint64) bool {
	at := d.next()
	due := !at.IsZero() && !now.Before(at)
	switch {
	case !d.Gone.IsZero():
		return false
	case d.down(), d.full():
		return due
	}
	return due || last > d.Cursor
}

// rewind makes everything from a number on new again. What was not delivered before
// it is owed all the same.
func (d *deliveryRecord) rewind(from uint64) {
	d.Cursor = min(d.Cursor, from-1)
	d.drop(func(seq uint64) bool { return seq > d.Cursor })
	d.Fails, d.NextAt, d.Claim, d.Gone = 0, time.Time{}, time.Time{}, time.Time{}
	d.Turn++
}

// drop takes events out of what is held back.
func (d *deliveryRecord) drop(gone func(seq uint64) bool) (n int) {
	for i := range d.Held {
		before := len(d.Held[i].Seqs)
		d.Held[i].Seqs = slices.DeleteFunc(slices.Clone(d.Held[i].Seqs), gone)
		n += before - len(d.Held[i].Seqs)
	}
	d.Held = slices.DeleteFunc(d.Held, func(h heldLane) bool { return len(h.Seqs) == 0 })
	return n
}

// forgotten takes note of events that are no longer kept; first is the first that is.
func (d *deliveryRecord) forgotten(first uint64) {
	d.Missed += uint64(d.drop(func(seq uint64) bool { return seq < first }))
	if d.Cursor+1 < first {
		d.Missed += first - 1 - d.Cursor
		d.Cursor = first - 1
	}
}

// posts are the webhooks that this process knows of, and those it is at.
type posts struct {
	mu    sync.Mutex
	known map[WebhookID]*Watcher // of the merchant's log: a hint that there is news
	busy  map[WebhookID]bool     // true: news came meanwhile
	slots chan struct{}
	until time.Time // known is good
}

// know makes news of a merchant start a webhook's delivery.
func (p *posts) know(s *Service, id WebhookID, m MerchantID) {
	p.mu.Lock()
	wanted := p.known != nil && p.known[id] == nil // nil: this process does no background work
	p.mu.Unlock()
	if !wanted {
		return
	}
	// Watching and waking take the hub's lock: not while holding ours.
	w := s.store.Watch(LogTopic(m.Shard(), string(m)))
	w.Call(func() { s.post(id) })
	p.mu.Lock()
	if p.known[id] == nil {
		p.known[id], w = w, nil
	}
	p.mu.Unlock()
	if w != nil {
		w.Close()
	}
}

func (p *posts) forget(id WebhookID) {
	p.mu.Lock()
	w := p.known[id]
	delete(p.known, id)
	p.mu.Unlock()
	if w != nil {
		w.Close()
	}
}

// lookThrough finds the webhooks of the shards in use, and starts those that owe
// something nobody was woken for. It only reads.
func (s *Service) lookThrough(ctx context.Context, shards []Shard) {
	if s.courier == nil {
		return
	}
	p, now := &s.posts, s.now()
	p.mu.Lock()
	if p.known == nil {
		p.known = map[WebhookID]*Watcher{}
	}
	early := now.Before(p.until)
	if !early {
		p.until = now.Add(postsKnown)
	}
	p.mu.Unlock()
	if early {
		return
	}
	for _, shard := range shards {
		for after := ""; ; {
			page, err := s.store.List(ctx, Listing{Shard: shard, Kind: kindDelivery, Owner: "all", After: after, Limit: listPage})
			if err != nil {
				s.log.Warn("webhooks of a shard wait", "shard", shard.String(), "err", err)
				break
			}
			for _, rec := range page {
				after = rec.ID
				var st deliveryRecord
				if _, err := decodeRecord(rec.Data, &st); err != nil {
					s.log.Error("the state of a webhook cannot be read", "webhook", rec.ID, "err", err)
					continue
				}
				s.posts.know(s, WebhookID(rec.ID), st.Merchant)
				_, last, err := s.store.Span(ctx, shard, string(st.Merchant))
				if err == nil && st.owes(now, last) && !now.Before(st.Claim) {
					s.post(WebhookID(rec.ID))
				}
			}
			if len(page) < listPage {
				break
			}
		}
	}
}

// post starts delivering to a webhook, unless this process is at it already: then it
// looks again before it stops. It does not block.
func (s *Service) post(id WebhookID) {
	p := &s.posts
	p.mu.Lock()
	if p.known == nil || s.courier == nil { // this process does no background work
		p.mu.Unlock()
		return
	}
	if _, busy := p.busy[id]; busy {
		p.busy[id] = true
		p.mu.Unlock()
		return
	}
	p.busy[id] = false
	p.mu.Unlock()
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.launch(func() { s.deliverAll(id) })
	}
	s.mu.Unlock()
	if closed {
		p.mu.Lock()
		delete(p.busy, id)
		p.mu.Unlock()
	}
}

// deliverAll delivers until nothing is owed at this moment.
func (s *Service) deliverAll(id WebhookID) {
	p := &s.posts
	p.slots <- struct{}{}
	defer func() { <-p.slots }()
	for {
		more, err := s.deliver(s.patience, id)
		if err != nil && s.patience.Err() == nil {
			s.log.Warn("a webhook's delivery waits", "webhook", string(id), "err", err)
		}
		p.mu.Lock()
		if again := p.busy[id]; err != nil || !again && !more || s.patience.Err() != nil {
			delete(p.busy, id)
			p.mu.Unlock()
			return
		}
		p.busy[id] = false
		p.mu.Unlock()
	}
}

// deliver takes a claim, sends what is owed, and writes down what became of it. more
// is true if there may be more to send at once.
func (s *Service) deliver(ctx context.Context, id WebhookID) (more bool, err error) {
	j, err := s.claimDelivery(ctx, id)
	if err != nil || j == nil {
		return false, err
	}
	if err := j.plan(); err != nil {
		return false, err
	}
	j.send()
	return j.settle()
}

// delivering is one page on its way.
type delivering struct {
	s     *Service
	ctx   context.Context
	hook  Webhook
	state deliveryRecord // as it was claimed
	began time.Time

	lanes   []*lane
	cursor  uint64 // after the page
	claimed uint64 // before it

	mu       sync.Mutex
	attempts []Attempt
	fails    int // since the last success
	passed   bool
	notFor   time.Duration
	gone     bool
}

// lane is what is sent one after the other.
type lane struct {
	name   string
	seqs   []uint64
	events map[uint64]*Event // those that are read already
	tries  int               // failures of the first of seqs
	failed bool
}

func (s *Service) claimDelivery(ctx context.Context, id WebhookID) (j *delivering, err error) {
	err = s.change(ctx, id.Shard(), func(t *tx) error {
		j = nil
		w, err := read[Webhook](t, webhookKey(id), nil)
		if err != nil {
			return err
		}
		st, err := read[deliveryRecord](t, deliveryKey(id), nil)
		if err != nil {
			return err
		}
		if w == nil || st == nil {
			s.posts.forget(id)
			return nil
		}
		first, last, err := s.store.Span(ctx, id.Shard(), string(w.Merchant))
		if err != nil {
			return err
		}
		if t.now.Before(st.Claim) {
			return nil
		}
		st.forgotten(first)
		if !st.owes(t.now, last) {
			st.Claim = time.Time{}
			return nil
		}
		st.Claim = t.now.Add(deliveryClaim)
		st.Turn++
		j = &delivering{s: s, ctx: ctx, hook: *w, state: *st, began: time.Now(), cursor: st.Cursor, claimed: st.Cursor}
		j.state.Held = slices.Clone(st.Held)
		return nil
	})
	return j, err
}

// plan decides what is sent.
func (j *delivering) plan() error {
	st, now := &j.state, j.s.now()
	byName := map[string]*lane{}
	for i := range st.Held {
		h := &st.Held[i]
		if st.down() && i > 0 || !st.down() && now.Before(h.NextAt) {
			continue
		}
		l := &lane{name: h.Lane, seqs: slices.Clone(h.Seqs), tries: h.Tries}
		byName[h.Lane] = l
		j.lanes = append(j.lanes, l)
	}
	if st.down() && len(j.lanes) > 0 {
		j.lanes[0].seqs = j.lanes[0].seqs[:1]
		return nil
	}
	if st.full() {
		return nil
	}
	page, err := j.s.store.Events(j.ctx, st.Merchant.Shard(), string(st.Merchant), st.Cursor, deliveryPage)
	if err != nil {
		return err
	}
	for _, raw := range page {
		e := &Event{Seq: raw.Seq, Merchant: st.Merchant}
		if _, err := decodeRecord(raw.Data, e); err != nil {
			return err
		}
		if !j.hook.takes(e) {
			j.cursor = e.Seq
			continue
		}
		name := laneOf(e)
		waits := slices.IndexFunc(st.Held, func(h heldLane) bool { return h.Lane == name })
		l := byName[name]
		if waits >= 0 && len(st.Held[waits].Seqs) >= laneHeld {
			return nil // the cursor stays before it
		}
		j.cursor = e.Seq
		if waits >= 0 {
			st.Held[waits].Seqs = append(slices.Clip(st.Held[waits].Seqs), e.Seq)
			if l == nil {
				continue // its time has not come
			}
		}
		if l == nil {
			l = &lane{name: name}
			byName[name] = l
			j.lanes = append(j.lanes, l)
		}
		if l.events == nil {
			l.events = map[uint64]*Event{}
		}
		l.seqs, l.events[e.Seq] = append(l.seqs, e.Seq), e
		if st.down() {
			return nil // one message alone
		}
	}
	return nil
}

// send sends the lanes, some at the same time.
func (j *delivering) send() {
	if j.s.oneHand {
		for _, l := range j.lanes {
			j.sendLane(l)
		}
		return
	}
	hands := make(chan struct{}, deliveryHands)
	var all sync.WaitGroup
	for _, l := range j.lanes {
		hands <- struct{}{}
		all.Go(func() {
			defer func() { <-hands }()
			j.sendLane(l)
		})
	}
	all.Wait()
}

func (j *delivering) sendLane(l *lane) {
	for len(l.seqs) > 0 && j.goesOn() {
		e := l.events[l.seqs[0]]
		if e == nil {
			var err error
			if e, err = j.event(l.seqs[0]); err != nil {
				return
			}
		}
		if e != nil && !j.attempt(l, e) {
			return
		}
		l.seqs, l.tries = l.seqs[1:], 0
	}
}

// goesOn reports whether anything more may be sent under this claim.
func (j *delivering) goesOn() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.ctx.Err() == nil && !j.gone && time.Since(j.began) < deliveryTime && (j.passed || j.state.Fails+j.fails < downAfter || j.state.down() && j.fails == 0)
}

// event reads an event that is held back; nil: it is no longer kept.
func (j *delivering) event(seq uint64) (*Event, error) {
	page, err := j.s.store.Events(j.ctx, j.state.Merchant.Shard(), string(j.state.Merchant), seq-1, 1)
	if err != nil || len(page) == 0 || page[0].Seq != seq {
		return nil, err
	}
	e := &Event{Seq: seq, Merchant: j.state.Merchant}
	_, err = decodeRecord(page[0].Data, e)
	return e, err
}

// attempt sends one event and reports whether it was taken.
func (j *delivering) attempt(l *lane, e *Event) (taken bool) {
	now := j.s.now()
	o := j.s.courier.Deliver(j.ctx, Delivery{Webhook: j.hook.ID, URL: j.hook.URL, Secrets: j.hook.signing(now), Event: e, At: now})
	if o.Stopped {
		return false
	}
	a := Attempt{Seq: e.Seq, Type: e.Type, At: now.UTC(), Try: l.tries + 1, Status: o.Status, Fault: o.Fault, Millis: int(o.Took.Milliseconds())}
	if e.Request != nil {
		a.Request = e.Request.ID
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.attempts = append(j.attempts, a)
	if o.Fault == "" {
		j.fails, j.passed = 0, true
		return true
	}
	j.fails++
	j.notFor = max(j.notFor, o.NotFor)
	j.gone = j.gone || o.Fault == FaultGone
	l.failed = true
	return false
}

// settle writes down what became of the page. If the claim was lost meanwhile, by its
// time or by a replay, nothing is: it will be sent again.
func (j *delivering) settle() (more bool, err error) {
	// The gateway may be stopping: what was delivered is written down all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(j.ctx), 10*time.Second)
	defer cancel()
	err = j.s.change(ctx, j.hook.ID.Shard(), func(t *tx) error {
		more = false
		w, err := read[Webhook](t, webhookKey(j.hook.ID), nil)
		if err != nil {
			return err
		}
		st, err := read[deliveryRecord](t, deliveryKey(j.hook.ID), nil)
		if err != nil || w == nil || st == nil || st.Turn != j.state.Turn {
			return err
		}
		st.Cursor, st.Held, st.Claim = j.cursor, slices.Clone(j.state.Held), time.Time{}
		wasDown := st.down()
		if j.passed {
			st.Fails, st.LastOK = j.fails, t.now
		} else {
			st.Fails += j.fails
		}
		for _, l := range j.lanes {
			st.outcome(l, t.now, j.notFor, wasDown)
		}
		if wasDown && j.passed { // it is back: nobody waits for his own schedule
			for i := range st.Held {
				st.Held[i].NextAt, st.Held[i].Tries = t.now, 0
			}
		}
		st.NextAt = time.Time{}
		if st.down() {
			st.NextAt = t.now.Add(j.pause(st.Fails - downAfter + 2))
		}
		if j.gone {
			st.Gone = t.now
		}
		_, last, err := j.s.store.Span(ctx, j.hook.ID.Shard(), string(st.Merchant))
		if err != nil {
			return err
		}
		more = st.owes(t.now, last) && (len(j.lanes) > 0 || j.cursor > j.claimed)
		return t.attempted(j.hook.ID, j.attempts)
	})
	return more, err
}

// outcome writes down what is left of a lane.
func (d *deliveryRecord) outcome(l *lane, now time.Time, notFor time.Duration, wasDown bool) {
	i := slices.IndexFunc(d.Held, func(h heldLane) bool { return h.Lane == l.name })
	if wasDown && i >= 0 { // only its first event was tried
		l.seqs = append(l.seqs, d.Held[i].Seqs[1:]...)
	}
	if len(l.seqs) == 0 {
		if i >= 0 {
			d.Held = slices.Delete(d.Held, i, i+1)
		}
		return
	}
	h := heldLane{Lane: l.name, Seqs: l.seqs, Tries: l.tries, NextAt: now}
	if l.failed {
		h.Tries++
		h.NextAt = now.Add(max(deliveryDelay(h.Tries), notFor))
	}
	if i >= 0 {
		d.Held[i] = h
	} else {
		d.Held = append(d.Held, h)
	}
}

// pause is how long a receiver that is down is left alone, a little more or less, so
// that not all that went down together are tried together.
func (j *delivering) pause(failures int) time.Duration {
	d := deliveryDelay(failures)
	if !j.s.oneHand {
		d += time.Duration(rand.Int64N(int64(d) / 10))
	}
	return max(d, j.notFor)
}

// attempted remembers attempts, the last ones of many.
func (t *tx) attempted(id WebhookID, list []Attempt) error {
	if len(list) == 0 {
		return nil
	}
	a, err := read[attemptsRecord](t, attemptsKey(id), nil)
	if err != nil {
		return err
	}
	if a == nil {
		a = &attemptsRecord{}
		if err := t.create(attemptsKey(id), a); err != nil {
			return err
		}
	}
	all := append(slices.Clone(a.Last), list...)
	a.Last = all[max(0, len(all)-attemptsKept):]
	return nil
}
