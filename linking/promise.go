package linking

import (
	"context"
	"net/mail"
	"slices"
	"strings"
	"time"
)

// Promise is what a payer of a bill without an amount left behind: where to tell him
// once it can be paid. It is kept with the code, serves that one message, and no page or
// call ever shows it again.
type Promise struct {
	Email    string    `cbor:"1,keyasint,omitempty"`
	Phone    string    `cbor:"2,keyasint,omitempty"`
	Language string    `cbor:"3,keyasint,omitempty"` // of the page it was left on
	At       time.Time `cbor:"4,keyasint"`
}

// PromiseRecord are the promises of one code, oldest first.
type PromiseRecord struct {
	Promises []Promise `cbor:"1,keyasint"`
}

// maxPromises is how many may wait at one code: a bill has one household, and a stranger
// who photographed it must not make the gateway write to the whole town.
const maxPromises = 5

func promiseKey(t Token) Key { return Key{t.Shard(), kindPromise, string(t)} }

// LeavePromise notes where to tell a payer. Leaving the same twice is leaving it once.
// It is refused where there is nothing to wait for: not_allowed_in_status, with the view.
func (s *Service) LeavePromise(ctx context.Context, id Token, p Promise) (v *View, err error) {
	err = s.change(ctx, id.Shard(), func(t *tx) error {
		v = &View{Token: id, At: t.now}
		code, b, err := t.anyCode(id)
		if err != nil {
			return err
		}
		if code == nil {
			v.Seen.Resolution = NoSuchCode
			return notFound("code")
		}
		v.Code, t.merchant = code, code.Merchant
		if v.Merchant, err = t.merchantOf(code.Merchant); err != nil {
			return err
		}
		v.Seen = Resolve(code, code.statusIn(b), nil, [2]*Link{}, t.now)
		s.seal(v)
		s.unveil(v, [2]*Link{})
		if err := p.check(v.Merchant); err != nil {
			return err
		}
		if v.Seen.Resolution != Valueless {
			return &Error{Kind: Conflict, Code: "not_allowed_in_status", Detail: "There is nothing to wait for on this code."}
		}
		have, err := read[PromiseRecord](t, promiseKey(id), nil)
		if err != nil {
			return err
		}
		if have == nil {
			have = new(PromiseRecord)
			if err := t.create(promiseKey(id), have); err != nil {
				return err
			}
		}
		if slices.ContainsFunc(have.Promises, func(o Promise) bool { return o.Email == p.Email && o.Phone == p.Phone }) {
			return nil
		}
		if len(have.Promises) >= maxPromises {
			return &Error{Kind: Limited, Code: "rate_limited", Detail: "Too many people have asked to be told about this bill already.", Retry: 3600}
		}
		p.At = t.now
		have.Promises = append(have.Promises, p)
		return nil
	})
	return v, err
}

// check holds a promise against what can be written to.
func (p *Promise) check(m *Merchant) error {
	p.Email, p.Phone = strings.TrimSpace(p.Email), strings.TrimSpace(p.Phone)
	switch {
	case (p.Email == "") == (p.Phone == ""):
		return invalid("email", "required", "Leave an e-mail address or a phone number, one of the two.")
	case p.Phone != "" && !m.PromisePhone:
		return invalid("phone", "not_offered", "This merchant tells by e-mail only.")
	case p.Phone != "":
		digits := strings.NewReplacer(" ", "", "-", "", "(", "", ")", "", ".", "").Replace(p.Phone)
		if rest, ok := strings.CutPrefix(digits, "+"); !ok || len(rest) < 7 || len(rest) > 15 || strings.Trim(rest, "0123456789") != "" {
			return invalid("phone", "phone", "A phone number begins with + and the country's number, and has 7 to 15 digits (E.164).")
		}
		p.Phone = digits
	default:
		a, err := mail.ParseAddress(p.Email)
		if err != nil || a.Address != p.Email || len(p.Email) > 254 || !strings.Contains(p.Email[strings.LastIndexByte(p.Email, '@'):], ".") {
			return invalid("email", "email", "This is no e-mail address.")
		}
	}
	return nil
}

// PromisesOf are the promises left at a code, for whoever keeps them.
func (s *Service) PromisesOf(ctx context.Context, id Token) ([]Promise, error) {
	r, err := read[PromiseRecord](s.look(ctx, id.Shard()), promiseKey(id), nil)
	switch {
	case err != nil:
		return nil, storeProblem(err)
	case r == nil:
		return nil, nil
	}
	return r.Promises, nil
}
