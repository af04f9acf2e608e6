package linking

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Service is what the product exists for: it attaches payment requests to printed
// codes and says what a scan yields. Every command loads, decides and commits, and
// starts over when another writer was faster; nothing else writes to the store.
//
// Several services, on several machines, may work over one store.
type Service struct {
	store       Store
	banks       Banks
	now         func() time.Time
	log         *slog.Logger
	secret      *Secret
	publicURL   string
	callbackURL string

	background context.Context // lives as long as the service: a till that hangs up ends no bank call
	stop       context.CancelFunc
	patience   context.Context // ends when nobody is to be kept waiting any more
	hurry      context.CancelFunc
	mu         sync.Mutex
	closed     bool
	working    sync.WaitGroup
	launch     func(func()) // starts background work; tests put their own order here
	oneHand    bool         // sweep one record after the other; tests want an order

	rings     remembered[Key, []ringKey]
	merchants remembered[MerchantID, *Merchant]
	keys      remembered[KeyID, *APIKey]
	sessions  remembered[SessionID, *admission]
	passwords passwords
	can       remembered[string, Abilities]
	inUse     remembered[struct{}, []Shard]
	scans     scanNotes
	courier   Courier
	posts     posts

	batchMu sync.RWMutex
	batches map[string]batchVersion

	tending map[BatchID]bool // batches that this process works on; guarded by mu
	calm    chan struct{}    // a place for each step at a bank that rows lead to
}

// Config is what a Service needs.
type Config struct {
	Store       Store
	Banks       Banks            // nil: nothing is asked of any bank, as in a tool that only writes records
	Courier     Courier          // nil: no webhook is delivered
	Now         func() time.Time // nil: the clock
	Log         *slog.Logger     // nil: none
	PublicURL   string           // where payers reach the pages, without a slash at the end
	CallbackURL string           // where banks reach us; empty: PublicURL
	NewStore    bool             // give a store that has no identity one
}

// New opens the service over a store. It reads the store's identity, and makes one
// if NewStore says that an empty store is expected.
func New(ctx context.Context, c Config) (*Service, error) {
	s := &Service{store: c.Store, banks: c.Banks, now: c.Now, log: c.Log, publicURL: c.PublicURL, callbackURL: c.CallbackURL}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.callbackURL == "" {
		s.callbackURL = s.publicURL
	}
	s.launch = s.working.Go
	s.background, s.stop = context.WithCancel(context.Background())
	s.patience, s.hurry = context.WithCancel(s.background)
	s.rings.init(time.Minute, 1<<16)
	s.merchants.init(time.Minute, 1<<16)
	s.keys.init(2*time.Second, 1<<16)
	s.sessions.init(2*time.Second, 1<<16)
	s.passwords.init()
	s.can.init(5*time.Minute, 1<<14)
	s.inUse.init(shardsKnown, 1)
	s.scans.init(s)
	s.calm = make(chan struct{}, calmSteps)
	s.courier = c.Courier
	s.posts.busy, s.posts.slots = map[WebhookID]bool{}, make(chan struct{}, deliveryPosts)
	key, err := s.identity(ctx, c.NewStore)
	if err != nil {
		s.stop()
		return nil, err
	}
	s.secret = NewSecret(key)
	return s, nil
}

// storeRecord is the store's identity: what tells it from an empty or foreign one.
type storeRecord struct {
	ID        string    `cbor:"1,keyasint"`
	Secret    []byte    `cbor:"2,keyasint"`
	CreatedAt time.Time `cbor:"3,keyasint"`
}

var storeKey = Key{Meta, kindStore, "service"}

// ErrNoIdentity says that a store was never used, or lost what it held.
var ErrNoIdentity = errors.New("the store is empty: it was never used, or it lost everything")

func (s *Service) identity(ctx context.Context, fresh bool) (key [32]byte, err error) {
	var have *storeRecord
	err = s.change(ctx, Meta, func(t *tx) error {
		if have, err = read[storeRecord](t, storeKey, nil); err != nil || have != nil {
			return err
		}
		if !fresh {
			return ErrNoIdentity
		}
		have = &storeRecord{ID: randomSymbols(16), Secret: make([]byte, 32), CreatedAt: t.now}
		rand.Read(have.Secret)
		return t.create(storeKey, have)
	})
	if err != nil {
		return key, err
	}
	if len(have.Secret) != len(key) {
		return key, fmt.Errorf("%w: store identity", errRecord)
	}
	return [32]byte(have.Secret), nil
}

// Hurry answers everybody who waits for something to happen with what is known by
// now, and whoever comes after them too: the gateway is about to stop, and a till
// that polls is to do so at another one.
func (s *Service) Hurry() { s.hurry() }

// Close stops taking new work of its own and waits for the calls under way, at
// most until ctx ends. The store stays open.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.working.Wait(); close(done) }()
	defer s.stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-done: // both at once
		return nil
	default:
		return fmt.Errorf("bank calls are still under way; the next start asks about them: %w", ctx.Err())
	}
}

// spawn pursues a step in the background.
func (s *Service) spawn(c claimed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.banks == nil {
		return // its time runs out, and whoever finds it asks the bank first
	}
	s.launch(func() { s.pursue(c.id, c.op) })
}

// spawnCalmly pursues steps in the background, and waits for a place where rows by the
// ten thousand lead to as many: the bank's time is the tills' too.
func (s *Service) spawnCalmly(ctx context.Context, steps []claimed) {
	for _, c := range steps {
		select {
		case s.calm <- struct{}{}:
		case <-ctx.Done(): // nothing waits any more, and this one step is as good as any
			s.spawn(c)
			continue
		}
		s.mu.Lock()
		if s.closed || s.banks == nil {
			<-s.calm
		} else {
			s.launch(func() {
				defer func() { <-s.calm }()
				s.pursue(c.id, c.op)
			})
		}
		s.mu.Unlock()
	}
}

// calmSteps is how many steps at banks rows may have under way.
const calmSteps = 16

// await reads the request until done says so, at most d, and returns it as it
// stands then.
func (s *Service) await(ctx context.Context, id RequestID, d time.Duration, done func(*Request) bool) (*Request, error) {
	w := s.store.Watch(RecordTopic(requestKey(id)))
	defer w.Close()
	end := time.NewTimer(d)
	defer end.Stop()
	again := time.NewTicker(rereadEach)
	defer again.Stop()
	for {
		r, err := s.look(ctx, id.Shard()).request(id)
		if err != nil {
			return nil, storeProblem(err)
		}
		if r == nil {
			return nil, notFound("payment request")
		}
		if d <= 0 || done(r) {
			return r, nil
		}
		select {
		case <-w.C:
		case <-again.C:
		case <-end.C:
			d = 0
		case <-ctx.Done():
			return r, nil // what is known by now is the answer
		case <-s.patience.Done():
			return r, nil
		}
	}
}

// rereadEach is how often a waiter reads without having been woken: a wake is a
// hint that may be lost.
const rereadEach = 2 * time.Second

// look is a tx for reading only.
func (s *Service) look(ctx context.Context, shard Shard) *tx {
	return &tx{s: s, ctx: ctx, now: s.now().UTC(), shard: shard, recs: map[Key]*rec{}, undo: true}
}

// Store gives programs that stand beside the service, such as exports, the store.
func (s *Service) Store() Store { return s.store }

// PublicURL is where payers reach the pages.
func (s *Service) PublicURL() string { return s.publicURL }

// Now is the service's clock.
func (s *Service) Now() time.Time { return s.now() }

// remembered is a bounded memory of values that may be a little old.
type remembered[K comparable, V any] struct {
	mu   sync.RWMutex
	life time.Duration
	most int
	m    map[K]memory[V]
}

type memory[V any] struct {
	v  V
	at time.Time
}

func (r *remembered[K, V]) init(life time.Duration, most int) {
	r.life, r.most, r.m = life, most, map[K]memory[V]{}
}

func (r *remembered[K, V]) get(k K, now time.Time) (v V, ok bool) {
	r.mu.RLock()
	m, ok := r.m[k]
	r.mu.RUnlock()
	if !ok || now.Sub(m.at) > r.life {
		return v, false
	}
	return m.v, true
}

func (r *remembered[K, V]) put(k K, v V, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.m) >= r.most {
		for old := range r.m { // any one will do: what is used comes back
			delete(r.m, old)
			break
		}
	}
	r.m[k] = memory[V]{v, now}
}

func (r *remembered[K, V]) forget(k K) {
	r.mu.Lock()
	delete(r.m, k)
	r.mu.Unlock()
}

func (r *remembered[K, V]) clear() {
	r.mu.Lock()
	clear(r.m)
	r.mu.Unlock()
}
