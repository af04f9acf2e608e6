package linking

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// tx is one attempt at a decision: what it reads is remembered with its version,
// what it changes is found out by comparing bytes, and all of it goes into one
// commit in which every record that was only read is a check. It is used by one
// goroutine, inside change.
type tx struct {
	s        *Service
	ctx      context.Context
	now      time.Time
	shard    Shard
	merchant MerchantID // whose log the events go to
	by       string     // who decides: a key or person; empty: the bank or the clock
	recs     map[Key]*rec
	order    []*rec
	events   []Event
	claims   []claimed
	once     *Once
	undo     bool // read only: nothing is written whatever changed
}

// claimed is a step at the bank that the commit marked as under way.
type claimed struct {
	id RequestID
	op BankOp
}

type rec struct {
	key     Key
	version uint64
	raw     []byte
	v       any
	newer   map[uint64]cbor.RawMessage
	due     time.Time
	touch   bool // write it even if nothing changed, for a new due time
	remove  bool
}

// change loads, decides and commits, and starts over when another writer won.
//
// When it returns nil the change is durable. An error of kind Uncertain says that
// the commit may have happened: the caller asks again with the same idempotency
// key. decide may run several times and must have no effect but on its tx.
func (s *Service) change(ctx context.Context, shard Shard, decide func(t *tx) error) error {
	return s.changeThen(ctx, shard, decide, func(t *tx) {
		for _, c := range t.claims {
			s.spawn(c)
		}
	})
}

// changeThen is change with something else to do with the steps at the bank that
// the commit marked as under way than to start them.
func (s *Service) changeThen(ctx context.Context, shard Shard, decide func(t *tx) error, then func(t *tx)) error {
	for try := 1; ; try++ {
		t := &tx{s: s, ctx: ctx, now: s.now().UTC(), shard: shard, recs: map[Key]*rec{}}
		err := decide(t)
		if err == nil {
			var c *Commit
			if c, err = t.commit(); err == nil && c != nil {
				err = s.send(ctx, c)
			}
			if err == nil {
				then(t)
				return nil
			}
		}
		if !errors.Is(err, ErrConflict) && !errors.Is(err, errExists) {
			return storeProblem(err)
		}
		if try == maxTries {
			return &Error{Kind: Unavailable, Code: "store_unavailable", Detail: "Too many changes of the same thing at once; try again.", Retry: 1, Err: err}
		}
		if err := pause(ctx, time.Duration(rand.IntN(1+min(try, 8)*500))*time.Microsecond); err != nil {
			return storeProblem(err)
		}
	}
}

const (
	maxTries   = 200
	maxResends = 5
)

// send commits, and sends the same commit again while its fate is open: its id
// makes that harmless. A refusal settles a first try, as does a context that ended
// before it was sent; of a later one either says nothing about those before.
func (s *Service) send(ctx context.Context, c *Commit) (err error) {
	for n := range maxResends {
		err = s.store.Commit(ctx, *c)
		if err == nil || errors.Is(err, ErrConflict) || n == 0 && (IsKind(err, Unavailable) || errors.Is(err, ErrRolledBack) || unsent(err)) {
			return err
		}
		if perr := pause(ctx, time.Duration(1+n)*10*time.Millisecond); perr != nil {
			break
		}
	}
	return &Error{Kind: Uncertain, Code: "uncertain", Detail: "The change may or may not have been stored. Ask again with the same Idempotency-Key.", Err: err}
}

// unsent reports whether a store's error is that of the context itself, which says
// that nothing was sent: see Store. One that stands in a longer story leaves it open.
func unsent(err error) bool { return err == context.Canceled || err == context.DeadlineExceeded }

// told is the error of reading back what was changed: that the answer could not be
// read undoes nothing, so nobody may be told that nothing was done.
func told(err error) error {
	if err == nil {
		return nil
	}
	if err = storeProblem(err); IsKind(err, Unavailable) {
		return &Error{Kind: Uncertain, Code: "uncertain", Detail: "The change is stored, but how things stand now could not be read. Ask again with the same Idempotency-Key.", Retry: 1, Err: err}
	}
	return err
}

// storeProblem makes an error of the store one that a caller may see.
func storeProblem(err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, ErrRolledBack) {
		return &Error{Kind: Unavailable, Code: "store_unavailable", Detail: "The store does not answer; nothing was done.", Retry: 1, Err: err}
	}
	if errors.Is(err, errRecord) {
		return err
	}
	return &Error{Kind: Unavailable, Code: "store_unavailable", Detail: "The store does not answer; nothing was done.", Retry: 1, Err: err}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// load reads keys that are not loaded yet, in one round trip.
func (t *tx) load(keys ...Key) error {
	var want []Key
	for _, k := range keys {
		if t.recs[k] == nil {
			want = append(want, k)
		}
	}
	if len(want) == 0 {
		return nil
	}
	got, err := t.s.store.Get(t.ctx, want...)
	if err != nil {
		return err
	}
	for _, r := range got {
		if t.recs[r.Key] != nil {
			continue
		}
		n := &rec{key: r.Key, version: r.Version, raw: r.Data, due: r.Due}
		t.recs[r.Key] = n
		t.order = append(t.order, n)
	}
	return nil
}

// read returns the record under k, or nil if there is none. prepare, if not nil,
// fills in what stands in the key and not in the record.
func read[T any](t *tx, k Key, prepare func(*T)) (*T, error) {
	if err := t.load(k); err != nil {
		return nil, err
	}
	r := t.recs[k]
	if r.v == nil && r.version > 0 {
		v := new(T)
		if prepare != nil {
			prepare(v)
		}
		newer, err := decodeRecord(r.raw, v)
		if err != nil {
			return nil, fmt.Errorf("record %s: %w", k, err)
		}
		r.v, r.newer = v, newer
	}
	if r.v == nil || r.remove {
		return nil, nil
	}
	return r.v.(*T), nil
}

// create puts a new record under k. It fails the attempt if there is one already.
func (t *tx) create(k Key, v any) error {
	if err := t.load(k); err != nil {
		return err
	}
	r := t.recs[k]
	if r.version > 0 || r.v != nil {
		return fmt.Errorf("record %s: %w", k, errExists)
	}
	r.v = v
	return nil
}

var errExists = errors.New("there is a record already")

// remove takes away the record under k, if there is one.
func (t *tx) remove(k Key) {
	if r := t.recs[k]; r != nil && r.version > 0 {
		r.remove = true
	}
}

func (t *tx) code(id Token) (*Code, error) {
	return read(t, codeKey(id), func(c *Code) { c.Token = id })
}
func (t *tx) request(id RequestID) (*Request, error) { return read[Request](t, requestKey(id), nil) }
func (t *tx) merchantRec() (*Merchant, error)        { return read[Merchant](t, merchantKey(t.merchant), nil) }
func (t *tx) connection(id ConnectionID) (*Connection, error) {
	if id == "" {
		return nil, nil
	}
	return read[Connection](t, connectionKey(id), nil)
}
func (t *tx) sale(id SaleID) (*Sale, error)             { return read[Sale](t, saleKey(t.merchant, id), nil) }
func (t *tx) link(c Token, epoch uint64) (*Link, error) { return read[Link](t, linkKey(c, epoch), nil) }

// emit adds an event. It takes the request as it stands at this moment.
func (t *tx) emit(e Event, r *Request) {
	e.At, e.By = t.now, t.by
	if r != nil {
		e.Request = r.forEvent()
		if e.Outlet == "" {
			e.Outlet = r.Outlet
		}
		if e.Code == "" && r.OnCode != "" {
			e.Code, e.Epoch = r.OnCode, r.Epoch
		}
	}
	t.events = append(t.events, e)
}

// commit works out what changed. Nil: nothing did.
func (t *tx) commit() (*Commit, error) {
	if t.undo {
		return nil, nil
	}
	if err := t.faces(); err != nil {
		return nil, storeProblem(err)
	}
	if err := t.claimSteps(); err != nil {
		return nil, storeProblem(err)
	}
	c := &Commit{ID: NewCommitID(), Shard: t.shard, Log: string(t.merchant)}
	for _, r := range t.order {
		w, err := t.write(r)
		if err != nil {
			return nil, err
		}
		if w != nil {
			c.Writes = append(c.Writes, *w)
		} else {
			c.Checks = append(c.Checks, Check{r.key, r.version})
		}
	}
	for i := range t.events {
		b, err := encodeRecord(&t.events[i], nil)
		if err != nil {
			return nil, err
		}
		c.Events = append(c.Events, b)
	}
	if len(c.Writes) == 0 && len(c.Events) == 0 {
		return nil, nil
	}
	if err := c.Valid(); err != nil {
		return nil, err
	}
	return c, nil
}

// write is what r's record needs; nil: nothing changed.
func (t *tx) write(r *rec) (*Write, error) {
	if r.remove {
		return &Write{Key: r.key, Expect: r.version, Owner: owner(r.key, r.v), Delete: true}, nil
	}
	if r.v == nil {
		return nil, nil
	}
	due := r.due
	if q, ok := r.v.(*Request); ok {
		due = q.due(t.now)
	}
	if o, ok := r.v.(*onceRecord); ok {
		due = o.CreatedAt.Add(onceLife)
	}
	if p, ok := r.v.(*pollRecord); ok {
		due = p.NextAt
	}
	if d, ok := r.v.(*tidyRecord); ok {
		due = d.NextAt
	}
	if b, ok := r.v.(*Batch); ok {
		due = b.due()
	}
	if d, ok := r.v.(*deliveryRecord); ok {
		due = d.due()
	}
	if p, ok := r.v.(*Session); ok {
		due = p.due()
	}
	data, err := encodeRecord(r.v, r.newer)
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", r.key, err)
	}
	if r.version > 0 && !r.touch && bytes.Equal(data, r.raw) {
		return nil, nil
	}
	return &Write{Key: r.key, Expect: r.version, Data: data, Due: due, Owner: owner(r.key, r.v)}, nil
}

// claimSteps marks what is to be done at the bank now as under way.
func (t *tx) claimSteps() error {
	if t.s.banks == nil {
		return nil
	}
	for i := 0; i < len(t.order); i++ { // the loop adds to it
		q, ok := t.order[i].v.(*Request)
		if !ok {
			continue
		}
		op := q.claim(t.now)
		if op == nil {
			continue
		}
		t.claims = append(t.claims, claimed{q.ID, *op})
		if op.Linked || op.Kind == StepUnlink {
			c, err := t.code(q.Bank.LinkCode)
			if err != nil {
				return err
			}
			if c != nil {
				c.ShowsUnknown = true
			}
		}
	}
	return nil
}

// faces rewrites what scans read about every request the attempt has loaded.
func (t *tx) faces() error {
	for i := 0; i < len(t.order); i++ { // the loop adds to it
		r, ok := t.order[i].v.(*Request)
		if !ok {
			continue
		}
		if r.Code != "" {
			c, err := t.code(r.Code)
			if err != nil {
				return err
			}
			if c != nil && c.Shown != nil && c.Shown.Request == r.ID {
				c.show(r)
				m, err := t.merchantOf(r.Merchant)
				if err != nil {
					return err
				}
				c.Shown.Lines, c.Shown.VATExtra = nil, false
				if m.showsLines(c.Kind) != LinesAfterPayment {
					c.Shown.Lines, c.Shown.VATExtra = r.Content.Lines, r.Content.VATExtra
				}
			}
		}
		if len(r.Presses) > 0 && r.OnCode != "" {
			l, err := t.link(r.OnCode, r.Epoch)
			if err != nil {
				return err
			}
			if l != nil && l.Request == r.ID {
				l.Pressed = r.pressedFace()
			}
		}
	}
	return nil
}

func (r *Request) pressedFace() *PressedFace {
	return &PressedFace{
		Nonces: r.Presses, Status: r.Status, Amount: r.Content.Amount, Currency: r.Content.Currency,
		Reference: r.Content.Reference, Revision: r.Revision, PaidAt: r.PaidAt,
		ExpiresAt: r.Content.ExpiresAt, Lines: r.Content.Lines, VATExtra: r.Content.VATExtra, FiscalURL: r.FiscalURL,
	}
}

// Where records stand.

func codeKey(t Token) Key               { return Key{t.Shard(), kindCode, string(t)} }
func requestKey(id RequestID) Key       { return Key{id.Shard(), kindRequest, string(id)} }
func merchantKey(id MerchantID) Key     { return Key{id.Shard(), kindMerchant, string(id)} }
func keyKey(id KeyID) Key               { return Key{id.Shard(), kindKey, string(id)} }
func connectionKey(id ConnectionID) Key { return Key{id.Shard(), kindConnection, string(id)} }
func pollKey(id ConnectionID) Key       { return Key{id.Shard(), kindPoll, string(id)} }
func batchKey(id BatchID) Key           { return Key{id.Shard(), kindBatch, string(id)} }
func logoKey(id MerchantID) Key         { return Key{id.Shard(), kindLogo, string(id)} }
func outletKey(id OutletID) Key         { return Key{shardOf(string(id)), kindOutlet, string(id)} }
func exceptionKey(id ExceptionID) Key {
	return Key{Shard(symbols(string(id[:2]))), kindException, string(id)}
}
func saleKey(m MerchantID, id SaleID) Key {
	return Key{m.Shard(), kindSale, string(m) + "." + string(id)}
}
func clientIDKey(m MerchantID, id string) Key {
	return Key{m.Shard(), kindClientID, string(m) + "." + id}
}
func linkKey(t Token, epoch uint64) Key {
	return Key{t.Shard(), kindLink, string(appendSymbols(append([]byte(t), '.'), epoch, 8))}
}
func ringKeyOf(s Shard, r Ring) Key { return Key{s, kindRing, r.String()} }
func paymentKey(c ConnectionID, payment string) Key {
	return Key{c.Shard(), kindPayment, string(c) + "." + payment}
}

// owner is the list a record is in. Codes of a batch are in none: they are
// counted off the batch.
func owner(k Key, v any) string {
	switch v := v.(type) {
	case *Code:
		if v.Serial.Batch == 0 {
			return string(v.Merchant)
		}
	case *Request:
		return string(v.Merchant)
	case *Link:
		return string(v.Token)
	case *Merchant:
		return "all"
	case *Batch:
		return string(v.Merchant)
	case *APIKey:
		return string(v.Merchant)
	case *Outlet:
		return string(v.Merchant)
	case *Staff:
		return string(v.Merchant)
	case *Device:
		return string(v.Merchant)
	case *Connection:
		return string(v.Merchant)
	case *exceptionRecord:
		return string(v.Merchant)
	case *Reading:
		return string(v.Merchant)
	case *heldRecord:
		return string(v.Merchant)
	case *accountRecord:
		return string(v.Merchant)
	case *Webhook:
		return string(v.Merchant)
	case *deliveryRecord:
		return "all"
	}
	return ""
}

// batchID names a batch of a merchant's key generation.
func batchID(m MerchantID, generation int, no uint32) BatchID {
	b := appendSymbols([]byte(m), uint64(generation), 2)
	return BatchID(appendSymbols(b, uint64(no), 4))
}
