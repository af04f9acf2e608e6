package linking

import (
	"context"
	"fmt"
	"slices"
)

// What a merchant's own people arrange for themselves over the API: keys, outlets and
// the merchant's rules. Whoever is bound to an outlet or to codes arranges no more
// than what lies within.

// bound reports whether c is kept to an outlet or to codes.
func (c *Caller) bound() bool { return c.Outlet != "" || len(c.Codes) > 0 }

// holds reports whether a key for an outlet and codes reaches no further than c does.
func (c *Caller) holds(o OutletID, codes []Token) bool {
	if c.Outlet != "" && o != c.Outlet {
		return false
	}
	if len(c.Codes) == 0 {
		return true
	}
	return len(codes) > 0 && !slices.ContainsFunc(codes, func(t Token) bool { return !slices.Contains(c.Codes, t) })
}

// wholeMerchant refuses a caller who is bound to an outlet or codes what concerns all.
func (c *Caller) wholeMerchant() error {
	if c.bound() {
		return &Error{Kind: Forbidden, Code: "forbidden", Detail: "This concerns the whole merchant; the key is bound to an outlet or to codes."}
	}
	return nil
}

// IssueKey makes a key on behalf of a caller, within what the caller reaches, and
// returns it with its secret, which is shown this once.
func (s *Service) IssueKey(ctx context.Context, c Caller, in NewKey) (*APIKey, string, error) {
	k, secret, err := s.newKey(c.Merchant, in)
	if err != nil {
		return nil, "", err
	}
	err = s.change(ctx, c.Merchant.Shard(), func(t *tx) error {
		t.begin(c)
		if in.Outlet == "" && c.Outlet != "" {
			return invalid("outlet", "required", "The key that asks is bound to an outlet; the new one must be bound to the same.")
		}
		if err := t.mayPlace(c, in.Outlet); err != nil {
			return err
		}
		if len(in.Codes) == 0 && len(c.Codes) > 0 {
			return invalid("codes", "required", "The key that asks is bound to codes; the new one must be bound to some of them.")
		}
		if err := t.mayBind(c, in.Outlet, in.Codes); err != nil {
			return err
		}
		return t.create(keyKey(k.ID), k)
	})
	if err != nil {
		return nil, "", err
	}
	return k, secret, nil
}

// LiveKeys lists the keys that let somebody in and that the caller could have made,
// by id.
func (s *Service) LiveKeys(ctx context.Context, c Caller) ([]*APIKey, error) {
	keys, err := s.Keys(ctx, c.Merchant)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(keys, func(k *APIKey) bool { return !k.Revoked.IsZero() || !c.holds(k.Outlet, k.Codes) }), nil
}

// EndKey revokes a key that the caller could have made. To end it again changes
// nothing.
func (s *Service) EndKey(ctx context.Context, c Caller, id KeyID) (*APIKey, error) {
	if id.Shard() != c.Merchant.Shard() {
		return nil, notFound("key")
	}
	return s.endKey(ctx, id, func(k *APIKey) bool { return k.Merchant == c.Merchant && c.holds(k.Outlet, k.Codes) })
}

// OpenOutlet makes a place of the caller's merchant.
func (s *Service) OpenOutlet(ctx context.Context, c Caller, name string) (*Outlet, error) {
	if err := c.wholeMerchant(); err != nil {
		return nil, err
	}
	if err := outletName(name); err != nil {
		return nil, err
	}
	o := &Outlet{ID: OutletID(newID(c.Merchant.Shard(), 14)), Merchant: c.Merchant, Name: name}
	err := s.change(ctx, c.Merchant.Shard(), func(t *tx) error {
		t.begin(c)
		if before, err := t.onceBegin(); err != nil || before != nil || t.once != nil && t.once.Reply != nil {
			return err
		}
		if err := t.create(outletKey(o.ID), o); err != nil {
			return err
		}
		return t.onceDone(o)
	})
	if err != nil {
		return nil, err
	}
	return o, nil
}

// RenameOutlet gives a place of the caller's merchant another name.
func (s *Service) RenameOutlet(ctx context.Context, c Caller, id OutletID, name string) (*Outlet, error) {
	if err := outletName(name); err != nil {
		return nil, err
	}
	if shardOf(string(id)) != c.Merchant.Shard() || len(c.Codes) > 0 || c.Outlet != "" && id != c.Outlet {
		return nil, notFound("outlet")
	}
	var o *Outlet
	err := s.change(ctx, c.Merchant.Shard(), func(t *tx) (err error) {
		t.begin(c)
		if o, err = read[Outlet](t, outletKey(id), nil); err != nil || o == nil || o.Merchant != c.Merchant {
			return orMissing(err, "outlet")
		}
		o.Name = name
		return nil
	})
	if err != nil {
		return nil, err
	}
	return o, nil
}

func outletName(name string) error {
	if name == "" {
		return invalid("name", "required", "An outlet has a name: payers see it.")
	}
	return text("name", name, 100)
}

// Outlets lists the places of the caller's merchant that the caller may know of, by id.
func (s *Service) Outlets(ctx context.Context, c Caller) ([]*Outlet, error) {
	var list []*Outlet
	for after := ""; ; {
		page, err := s.store.List(ctx, Listing{Shard: c.Merchant.Shard(), Kind: kindOutlet, Owner: string(c.Merchant), After: after, Limit: listPage})
		if err != nil {
			return nil, storeProblem(err)
		}
		for _, rec := range page {
			after = rec.ID
			o := new(Outlet)
			if _, err := decodeRecord(rec.Data, o); err != nil {
				return nil, err
			}
			if c.Outlet == "" || o.ID == c.Outlet {
				list = append(list, o)
			}
		}
		if len(page) < listPage {
			return list, nil
		}
	}
}

// MerchantPatch changes what is not nil.
type MerchantPatch struct {
	Name      *string
	Contact   *string
	TimeZone  *string
	DayEndsAt *string
	VATRate   *string
	Lines     *LinesShown
	Late      *LateRule
	Takeover  *bool
	RefundCap *Amount
	Phone     *bool    // payers may leave a phone number to be told by
	Languages []string // of payers' pages, as BCP 47 has them; of none: all; nil: not changed
	Senders   []Role   // beside the owner; nil: not changed

	Accounts      *[]string // where its money arrives; see Merchant.Accounts
	ReadingLimit  *Amount   // see Merchant.ReadingLimit
	ReadingFactor *int
}

// PatchMerchant changes the caller's merchant. Other gateways go by the new rules
// within a minute.
func (s *Service) PatchMerchant(ctx context.Context, c Caller, p MerchantPatch) (*Merchant, error) {
	if err := c.wholeMerchant(); err != nil {
		return nil, err
	}
	return s.ChangeMerchant(ctx, c.Merchant, func(m *Merchant) error {
		n := NewMerchant{Name: m.Name, Currency: m.Currency, TimeZone: m.TimeZone, DayEndsAt: m.DayEndsAt, Mode: m.Mode, VATRate: m.VATRate, Contact: m.Contact}
		take(&n.Name, p.Name)
		take(&n.Contact, p.Contact)
		take(&n.TimeZone, p.TimeZone)
		take(&n.DayEndsAt, p.DayEndsAt)
		take(&n.VATRate, p.VATRate)
		if err := n.check(); err != nil {
			return err
		}
		if p.Lines != nil && !has([]LinesShown{LinesAfterPayment, LinesAfterWord, LinesAlways}, *p.Lines) {
			return invalid("lines_shown", "one_of", "Lines are shown after_payment, after_word or always.")
		}
		if p.Late != nil && !has([]LateRule{LateHold, LateAccept, LateReturn}, *p.Late) {
			return invalid("late_payments", "one_of", "The rule for late payments is hold, accept or return.")
		}
		if p.RefundCap != nil && *p.RefundCap < 0 {
			return invalid("cashier_refund_limit", "too_small", "The most a cashier may refund is 0 or more.")
		}
		if p.Senders != nil {
			senders := []Role{Owner}
			for _, r := range Roles[1:] {
				if slices.Contains(p.Senders, r) {
					senders = append(senders, r)
				}
			}
			for _, r := range p.Senders {
				if !has(Roles, r) {
					return invalid("send_links", "one_of", "Links are sent by those who are manager, cashier, agent or viewer; an owner always may.")
				}
			}
			m.Senders = senders
		}
		take(&m.PromisePhone, p.Phone)
		if p.ReadingLimit != nil && *p.ReadingLimit < 0 || p.ReadingFactor != nil && (*p.ReadingFactor < 0 || *p.ReadingFactor > 1000) {
			return invalid("reading_limit", "too_small", "A reading's limit is 0 (none) or more, its factor 0 (the usual 5) to 1000.")
		}
		if p.Accounts != nil {
			var accounts []string
			for i, a := range *p.Accounts {
				if a = NormalAccount(a); !printable(a, 4, 40) || len(accounts) == 20 {
					return invalid(fmt.Sprintf("settlement_accounts[%d]", i), "range", "An account is named by 4 to 40 printable characters; there are at most 20.")
				}
				accounts = append(accounts, a)
			}
			m.Accounts = accounts
		}
		take(&m.ReadingLimit, p.ReadingLimit)
		take(&m.ReadingFactor, p.ReadingFactor)
		if p.Languages != nil {
			if slices.ContainsFunc(p.Languages, func(tag string) bool { return !printable(tag, 2, 10) }) {
				return invalid("languages", "language", "A language is a tag such as pt.")
			}
			m.Languages = p.Languages
		}
		m.Name, m.Contact, m.TimeZone, m.DayEndsAt, m.VATRate = n.Name, n.Contact, n.TimeZone, n.DayEndsAt, n.VATRate
		take(&m.Lines, p.Lines)
		take(&m.Late, p.Late)
		take(&m.Takeover, p.Takeover)
		take(&m.RefundCap, p.RefundCap)
		return nil
	})
}

func take[T any](into, from *T) {
	if from != nil {
		*into = *from
	}
}

// ChangeLogo gives the caller's merchant another picture; of no bytes: none.
func (s *Service) ChangeLogo(ctx context.Context, c Caller, data []byte, mediaType string) error {
	if err := c.wholeMerchant(); err != nil {
		return err
	}
	if len(data) > maxLogo || len(data) > 0 && mediaType != "image/png" && mediaType != "image/svg+xml" {
		return invalid("logo", "logo", "The logo is a PNG or SVG of at most 64 KiB.")
	}
	err := s.change(ctx, c.Merchant.Shard(), func(t *tx) error {
		t.begin(c)
		m, err := t.merchantRec()
		if err != nil || m == nil {
			return orMissing(err, "merchant")
		}
		have, err := read[logoRecord](t, logoKey(m.ID), nil)
		if err != nil {
			return err
		}
		m.HasLogo = len(data) > 0
		switch {
		case !m.HasLogo:
			t.remove(logoKey(m.ID))
		case have == nil:
			return t.create(logoKey(m.ID), &logoRecord{mediaType, data})
		default:
			have.Type, have.Data = mediaType, data
		}
		return nil
	})
	s.merchants.forget(c.Merchant)
	return err
}
