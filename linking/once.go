package linking

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"
)

func onceKey(m MerchantID, key string) Key {
	sum := sha256.Sum256([]byte(key))
	return Key{m.Shard(), kindOnce, string(m) + "." + crockfordBytes.EncodeToString(sum[:20])}
}

// onceBegin looks whether the call was made before. It returns an earlier call that
// has no answer yet and is to be answered from the present state; with its answer
// stored, it is in t.once.Reply. Both nil: the call is new.
func (t *tx) onceBegin() (*onceRecord, error) {
	if t.once == nil {
		return nil, nil
	}
	t.once.Reply = nil
	have, err := read[onceRecord](t, onceKey(t.merchant, t.once.Key), nil)
	if err != nil || have == nil || t.now.Sub(have.CreatedAt) >= onceLife {
		return nil, err
	}
	if err := have.answers(t.once, t.now); err != nil {
		return nil, err
	}
	return have, nil
}

func (o *onceRecord) answers(once *Once, now time.Time) error {
	if string(o.Fingerprint) != string(once.Fingerprint[:]) {
		return &Error{Kind: Invalid, Code: "idempotency_mismatch", Detail: "This Idempotency-Key was used with another call or body."}
	}
	if o.Reply != nil {
		r := *o.Reply
		r.Replayed = true
		once.Reply = &r
		return nil
	}
	if now.Sub(o.CreatedAt) < onceWait {
		return &Error{Kind: Conflict, Code: "idempotency_in_progress", Detail: "The first call with this Idempotency-Key is still under way.", Retry: 1}
	}
	return nil
}

// onceMade remembers, in the commit of the intent, what the call made.
func (t *tx) onceMade(r RequestID, c Token, ended RequestID) error {
	if t.once == nil {
		return nil
	}
	k := onceKey(t.merchant, t.once.Key)
	old, err := read[onceRecord](t, k, nil)
	if err != nil {
		return err
	}
	n := onceRecord{Fingerprint: t.once.Fingerprint[:], CreatedAt: t.now, Request: r, Code: c, Ended: ended}
	if old != nil { // a day old: a new call under an old key
		*old = n
		return nil
	}
	return t.create(k, &n)
}

// onceDone stores the answer in the commit of the change itself, for calls that no
// bank is needed for.
func (t *tx) onceDone(result any) error {
	if t.once == nil {
		return nil
	}
	if err := t.onceMade("", "", ""); err != nil {
		return err
	}
	o, err := read[onceRecord](t, onceKey(t.merchant, t.once.Key), nil)
	if err != nil {
		return err
	}
	reply := t.once.Render(result)
	o.Reply = &reply
	t.once.Reply = &reply
	return nil
}

// Answered stores the answer to a call with an idempotency key, unless one is
// stored already; that one is returned, for it was given first. An error means that
// nothing is stored: the call's effects stand, and a repeat is answered from the
// present state.
func (s *Service) Answered(ctx context.Context, m MerchantID, once *Once, reply Reply) (Reply, error) {
	if once.Reply != nil {
		return *once.Reply, nil
	}
	first := reply
	err := s.change(ctx, m.Shard(), func(t *tx) error {
		t.merchant, t.once = m, once
		k := onceKey(m, once.Key)
		have, err := read[onceRecord](t, k, nil)
		if err != nil {
			return err
		}
		first = reply
		switch {
		case have == nil:
			return t.create(k, &onceRecord{Fingerprint: once.Fingerprint[:], CreatedAt: t.now, Reply: &reply})
		case t.now.Sub(have.CreatedAt) >= onceLife:
			*have = onceRecord{Fingerprint: once.Fingerprint[:], CreatedAt: t.now, Reply: &reply}
		case string(have.Fingerprint) != string(once.Fingerprint[:]):
			return have.answers(once, t.now)
		case have.Reply != nil:
			first = *have.Reply
			first.Replayed = true
		default:
			have.Reply = &reply
		}
		return nil
	})
	return first, err
}

// Before looks up the answer to an earlier call with the same idempotency key, so
// that a repeat is answered before anything else is looked at. Nil, nil: there is
// none.
func (s *Service) Before(ctx context.Context, m MerchantID, once *Once) (*Reply, error) {
	t := s.look(ctx, m.Shard())
	t.merchant, t.once = m, once
	if _, err := t.onceBegin(); err != nil {
		if e, ok := errors.AsType[*Error](err); ok && e.Code == "idempotency_in_progress" {
			return nil, err
		}
		return nil, storeProblem(err)
	}
	return once.Reply, nil
}
