package linking

import (
	"context"
	"slices"
	"time"
)

// WebhookID names a webhook: 14 symbols.
type WebhookID string

// Shard is the shard of the webhook's merchant.
func (id WebhookID) Shard() Shard { return shardOf(string(id)) }

// ParseWebhookID accepts what people make of an id; see ParseMerchantID.
func ParseWebhookID(s string) (WebhookID, bool) { id, ok := idOf(s, 14); return WebhookID(id), ok }

// Webhook is where a merchant is told what happened, without asking.
type Webhook struct {
	ID        WebhookID       `cbor:"1,keyasint"`
	Merchant  MerchantID      `cbor:"2,keyasint"`
	URL       string          `cbor:"3,keyasint"`
	Label     string          `cbor:"4,keyasint,omitempty"`
	Types     []EventType     `cbor:"5,keyasint,omitempty"` // empty: all
	Outlet    OutletID        `cbor:"6,keyasint,omitempty"` // of the key that made it: it hears of nothing else
	Codes     []Token         `cbor:"7,keyasint,omitempty"` // of the key that made it
	Secrets   []WebhookSecret `cbor:"8,keyasint"`           // newest first; each signs
	CreatedAt time.Time       `cbor:"9,keyasint"`
}

// WebhookSecret is a secret that signs, sealed by the courier.
type WebhookSecret struct {
	Sealed []byte    `cbor:"1,keyasint"`
	Until  time.Time `cbor:"2,keyasint,omitzero"` // zero: until it is rotated away
}

// Limits of webhooks.
const (
	maxWebhooks = 20             // of one merchant
	secretLife  = 24 * time.Hour // of a secret that was rotated away
)

// takes reports whether the webhook is to hear of an event.
func (w *Webhook) takes(e *Event) bool {
	f := EventFilter{Types: w.Types}
	return f.takes(e, &Caller{Merchant: w.Merchant, Outlet: w.Outlet, Codes: w.Codes})
}

// signing returns the sealed secrets that sign at now, newest first.
func (w *Webhook) signing(now time.Time) (sealed [][]byte) {
	for _, s := range w.Secrets {
		if s.Until.IsZero() || now.Before(s.Until) {
			sealed = append(sealed, s.Sealed)
		}
	}
	return sealed
}

// Courier carries events to receivers. It knows HTTP, signatures and which addresses
// may be called; when and in which order is decided here.
type Courier interface {
	// MayCall refuses, as Invalid, an address that nothing will ever be sent to.
	MayCall(url string) error

	// NewSecret makes a secret for a webhook: sealed, as it is kept, and open, as it is
	// shown this once.
	NewSecret(id WebhookID) (sealed []byte, open string, err error)

	// Deliver sends one event and waits for the receiver's word. It returns when ctx
	// ends, or its own patience.
	Deliver(ctx context.Context, d Delivery) Outcome
}

// Delivery is one event on its way to one receiver.
type Delivery struct {
	Webhook WebhookID
	URL     string
	Secrets [][]byte // sealed; each signs
	Event   *Event
	At      time.Time // of this attempt
}

// Outcome is what became of an attempt: delivered, or a fault from a closed list.
type Outcome struct {
	Status  int           // of the receiver's answer; 0: there was none
	Fault   DeliveryFault // empty: delivered
	Took    time.Duration
	NotFor  time.Duration // the receiver asked to be left alone so long; 0: it did not
	Stopped bool          // the gateway stopped: nothing is known, and nothing is counted
}

// DeliveryFault says why an attempt failed. The list is closed.
type DeliveryFault string

const (
	FaultStatus   DeliveryFault = "status"          // the answer was not 2xx
	FaultRedirect DeliveryFault = "redirect"        // the answer was 3xx; it is not followed
	FaultGone     DeliveryFault = "gone"            // the answer was 410: nothing more is wanted
	FaultAddress  DeliveryFault = "refused_address" // the name leads to an address that may not be called
	FaultDNS      DeliveryFault = "dns"             // the name leads nowhere
	FaultConnect  DeliveryFault = "connect"         // nobody takes the connection
	FaultTLS      DeliveryFault = "tls"             // the certificate is not good for the name
	FaultTimeout  DeliveryFault = "timeout"         // no whole answer in time
	FaultSecret   DeliveryFault = "secret"          // the secret cannot be opened: the key file is another one
)

// DeliveryFaults lists every fault.
var DeliveryFaults = []DeliveryFault{FaultStatus, FaultRedirect, FaultGone, FaultAddress, FaultDNS, FaultConnect, FaultTLS, FaultTimeout, FaultSecret}

// Attempt is one try to deliver, as it is shown.
type Attempt struct {
	Seq     uint64        `cbor:"1,keyasint"`
	Type    EventType     `cbor:"2,keyasint"`
	Request RequestID     `cbor:"3,keyasint,omitempty"`
	At      time.Time     `cbor:"4,keyasint"`
	Try     int           `cbor:"5,keyasint"` // the first is 1
	Status  int           `cbor:"6,keyasint,omitempty"`
	Fault   DeliveryFault `cbor:"7,keyasint,omitempty"`
	Millis  int           `cbor:"8,keyasint,omitempty"`
}

// attemptsKept is how many attempts of a webhook are remembered.
const attemptsKept = 100

// attemptsRecord holds the last attempts of a webhook, oldest first.
type attemptsRecord struct {
	Last []Attempt `cbor:"1,keyasint"`
}

// NewWebhook is what a webhook starts with.
type NewWebhook struct {
	URL   string
	Label string
	Types []EventType
}

// WebhookView is a webhook and how it is doing.
type WebhookView struct {
	*Webhook
	Secret      string    // shown when it is made or rotated, and never again
	DeliveredTo uint64    // every event up to this was delivered, or is held back
	Held        int       // requests whose events are held back because one failed
	Down        bool      // nothing gets through: one message is tried now and then
	Gone        bool      // the receiver answered 410: it is called again only after a replay
	Next        time.Time // of the next try, if something is held back
	LastOK      time.Time
	Missed      uint64 // events that were forgotten before the receiver came back
}

var errNoCourier = &Error{Kind: Unavailable, Code: "store_unavailable", Detail: "This program delivers no webhooks."}

// CreateWebhook makes a webhook that is told of every event from now on.
func (s *Service) CreateWebhook(ctx context.Context, c Caller, in NewWebhook) (*WebhookView, error) {
	if s.courier == nil {
		return nil, errNoCourier
	}
	if err := text("label", in.Label, 100); err != nil {
		return nil, err
	}
	if err := s.courier.MayCall(in.URL); err != nil {
		return nil, err
	}
	have, err := s.Webhooks(ctx, c)
	if err != nil {
		return nil, err
	}
	if len(have) >= maxWebhooks {
		return nil, invalid("url", "too_many", "A merchant has at most 20 webhooks.")
	}
	_, last, err := s.store.Span(ctx, c.Merchant.Shard(), string(c.Merchant))
	if err != nil {
		return nil, storeProblem(err)
	}
	id := WebhookID(newID(c.Merchant.Shard(), 14))
	sealed, open, err := s.courier.NewSecret(id)
	if err != nil {
		return nil, err
	}
	var v *WebhookView
	err = s.change(ctx, c.Merchant.Shard(), func(t *tx) error {
		v = nil
		t.begin(c)
		if again, err := t.onceBegin(); err != nil || again != nil {
			return err
		}
		w := &Webhook{
			ID: id, Merchant: c.Merchant, URL: in.URL, Label: in.Label, Types: in.Types, Outlet: c.Outlet, Codes: c.Codes,
			Secrets: []WebhookSecret{{Sealed: sealed}}, CreatedAt: t.now,
		}
		st := &deliveryRecord{Merchant: c.Merchant, Cursor: last}
		if err := t.create(webhookKey(id), w); err != nil {
			return err
		}
		if err := t.create(deliveryKey(id), st); err != nil {
			return err
		}
		v = viewWebhook(w, st)
		if err := t.onceDone(v); err != nil {
			return err
		}
		v.Secret = open
		return nil
	})
	if err == nil && v != nil {
		s.posts.know(s, id, c.Merchant)
	}
	return v, err
}

func viewWebhook(w *Webhook, st *deliveryRecord) *WebhookView {
	return &WebhookView{Webhook: w, DeliveredTo: st.Cursor, Held: len(st.Held), Down: st.down(), Gone: !st.Gone.IsZero(), Next: st.next(), LastOK: st.LastOK, Missed: st.Missed}
}

// webhookFor reads a webhook that the caller may see, and how it is doing.
func (t *tx) webhookFor(c Caller, id WebhookID) (*Webhook, *deliveryRecord, error) {
	if id.Shard() != t.shard {
		return nil, nil, notFound("webhook")
	}
	w, err := read[Webhook](t, webhookKey(id), nil)
	if err != nil {
		return nil, nil, err
	}
	if w == nil || w.Merchant != c.Merchant || c.Outlet != "" && w.Outlet != c.Outlet || len(c.Codes) > 0 && !slices.Equal(w.Codes, c.Codes) {
		return nil, nil, notFound("webhook")
	}
	st, err := read[deliveryRecord](t, deliveryKey(id), nil)
	if err == nil && st == nil {
		err = notFound("webhook")
	}
	return w, st, err
}

// Webhooks lists a merchant's webhooks.
func (s *Service) Webhooks(ctx context.Context, c Caller) (list []*WebhookView, err error) {
	page, err := s.store.List(ctx, Listing{Shard: c.Merchant.Shard(), Kind: kindWebhook, Owner: string(c.Merchant), Limit: MaxPage})
	if err != nil {
		return nil, storeProblem(err)
	}
	for _, rec := range page {
		t := s.look(ctx, c.Merchant.Shard())
		w, st, err := t.webhookFor(c, WebhookID(rec.ID))
		if IsKind(err, NotFound) {
			continue
		}
		if err != nil {
			return nil, storeProblem(err)
		}
		list = append(list, viewWebhook(w, st))
	}
	return list, nil
}

// Webhook reads one webhook. Its secret never comes out again.
func (s *Service) Webhook(ctx context.Context, c Caller, id WebhookID) (*WebhookView, error) {
	w, st, err := s.look(ctx, c.Merchant.Shard()).webhookFor(c, id)
	if err != nil {
		return nil, storeProblem(err)
	}
	return viewWebhook(w, st), nil
}

// changeWebhook changes a webhook in one commit, with its answer in it.
func (s *Service) changeWebhook(ctx context.Context, c Caller, id WebhookID, f func(*tx, *Webhook, *deliveryRecord) error) (v *WebhookView, err error) {
	err = s.change(ctx, c.Merchant.Shard(), func(t *tx) error {
		v = nil
		t.begin(c)
		if again, err := t.onceBegin(); err != nil || again != nil {
			return err
		}
		w, st, err := t.webhookFor(c, id)
		if err != nil {
			return err
		}
		if err := f(t, w, st); err != nil {
			return err
		}
		v = viewWebhook(w, st)
		return t.onceDone(v)
	})
	if err == nil {
		s.post(id)
	}
	return v, err
}

// DeleteWebhook ends a webhook. What is under way may still arrive.
func (s *Service) DeleteWebhook(ctx context.Context, c Caller, id WebhookID) error {
	_, err := s.changeWebhook(ctx, c, id, func(t *tx, _ *Webhook, _ *deliveryRecord) error {
		if err := t.load(attemptsKey(id)); err != nil {
			return err
		}
		t.remove(webhookKey(id))
		t.remove(deliveryKey(id))
		t.remove(attemptsKey(id))
		return nil
	})
	return err
}

// RotateWebhook gives a webhook a new secret. The one before signs too for a day, so
// that the receiver has time to change it.
func (s *Service) RotateWebhook(ctx context.Context, c Caller, id WebhookID) (*WebhookView, error) {
	if s.courier == nil {
		return nil, errNoCourier
	}
	sealed, open, err := s.courier.NewSecret(id)
	if err != nil {
		return nil, err
	}
	v, err := s.changeWebhook(ctx, c, id, func(t *tx, w *Webhook, _ *deliveryRecord) error {
		secrets := []WebhookSecret{{Sealed: sealed}}
		for _, old := range w.Secrets {
			if old.Until.IsZero() {
				old.Until = t.now.Add(secretLife)
			}
			if t.now.Before(old.Until) && len(secrets) < 4 {
				secrets = append(secrets, old)
			}
		}
		w.Secrets = secrets
		return nil
	})
	if v != nil {
		v.Secret = open
	}
	return v, err
}

// ReplayWebhook sends every event from a number on again, also to a receiver that had
// answered 410. Receivers know a repeat by its id.
func (s *Service) ReplayWebhook(ctx context.Context, c Caller, id WebhookID, from uint64) (*WebhookView, error) {
	first, last, err := s.store.Span(ctx, c.Merchant.Shard(), string(c.Merchant))
	if err != nil {
		return nil, storeProblem(err)
	}
	switch {
	case from < 1 || from > last+1:
		return nil, invalid("from", "out_of_range", "from is the seq of an event.")
	case from < first:
		return nil, (&Error{Kind: Gone, Code: "gone", Detail: "These events are no longer kept."}).with("oldest", first)
	}
	return s.changeWebhook(ctx, c, id, func(_ *tx, _ *Webhook, st *deliveryRecord) error {
		st.rewind(from)
		return nil
	})
}

// WebhookAttempts returns the last attempts, newest first.
func (s *Service) WebhookAttempts(ctx context.Context, c Caller, id WebhookID) ([]Attempt, error) {
	t := s.look(ctx, c.Merchant.Shard())
	if _, _, err := t.webhookFor(c, id); err != nil {
		return nil, storeProblem(err)
	}
	a, err := read[attemptsRecord](t, attemptsKey(id), nil)
	if err != nil {
		return nil, storeProblem(err)
	}
	if a == nil {
		return nil, nil
	}
	list := slices.Clone(a.Last)
	slices.Reverse(list)
	return list, nil
}

// Where the records of webhooks stand.

const (
	kindWebhook  RecordKind = "hook"
	kindDelivery RecordKind = "post"
	kindAttempts RecordKind = "tries"
)

func webhookKey(id WebhookID) Key  { return Key{id.Shard(), kindWebhook, string(id)} }
func deliveryKey(id WebhookID) Key { return Key{id.Shard(), kindDelivery, string(id)} }
func attemptsKey(id WebhookID) Key { return Key{id.Shard(), kindAttempts, string(id)} }
