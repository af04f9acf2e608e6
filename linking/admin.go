package linking

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// NewMerchant is what a merchant starts with.
type NewMerchant struct {
	Name      string
	Currency  Currency
	TimeZone  string // IANA; empty: UTC
	DayEndsAt string // "hh:mm"; empty: midnight
	Mode      Mode
	VATRate   string // percent; empty: 25
	Contact   string
	Lines     LinesShown
	Late      LateRule
	Takeover  bool
	RefundCap Amount
	Logo      []byte // PNG or SVG, at most 64 KiB; nil: none
	LogoType  string
}

// CreateMerchant makes a merchant with its first key generation.
func (s *Service) CreateMerchant(ctx context.Context, in NewMerchant) (*Merchant, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	shard := RandomShard()
	if err := s.useShard(ctx, shard); err != nil {
		return nil, err
	}
	var m *Merchant
	err := s.change(ctx, shard, func(t *tx) error {
		id := MerchantID(newID(shard, 14))
		t.merchant = id
		m = &Merchant{
			ID: id, Name: in.Name, Currency: in.Currency, TimeZone: in.TimeZone, DayEndsAt: in.DayEndsAt,
			Mode: in.Mode, VATRate: in.VATRate, Contact: in.Contact, Lines: in.Lines, Late: in.Late,
			Takeover: in.Takeover, RefundCap: in.RefundCap, CreatedAt: t.now, Rails: map[string]ConnectionID{},
		}
		if err := t.newGeneration(m); err != nil {
			return err
		}
		if len(in.Logo) > 0 {
			m.HasLogo = true
			if err := t.create(logoKey(id), &logoRecord{in.LogoType, in.Logo}); err != nil {
				return err
			}
		}
		if err := t.create(Key{shard, kindTidy, string(id)}, &tidyRecord{t.now.Add(tidyEach)}); err != nil {
			return err
		}
		return t.create(merchantKey(id), m)
	})
	return m, err
}

func (in *NewMerchant) check() error {
	if in.Name == "" {
		return invalid("name", "required", "A merchant has a name: payers see it.")
	}
	if err := text("name", in.Name, 100); err != nil {
		return err
	}
	if err := text("contact", in.Contact, 200); err != nil {
		return err
	}
	if _, ok := ParseCurrency(string(in.Currency)); !ok {
		return invalid("currency", "currency", "The currency is the three capitals of ISO 4217.")
	}
	if in.TimeZone == "" {
		in.TimeZone = "UTC"
	}
	if _, err := time.LoadLocation(in.TimeZone); err != nil || in.TimeZone == "Local" {
		return invalid("time_zone", "time_zone", `The time zone is a name of the IANA database, such as "Europe/Lisbon".`)
	}
	if in.DayEndsAt != "" {
		if _, err := time.Parse("15:04", in.DayEndsAt); err != nil {
			return invalid("day_ends_at", "time", `The day's end is a time such as "04:00".`)
		}
	}
	if in.Mode == "" {
		in.Mode = Test
	}
	if in.Mode != Test && in.Mode != Live {
		return invalid("mode", "one_of", "The mode is test or live.")
	}
	if in.VATRate == "" {
		in.VATRate = "25"
	}
	if _, ok := decimal(in.VATRate, 3, 2); !ok {
		return invalid("vat_rate", "decimal", "The VAT rate is a percentage with at most 2 digits after the point.")
	}
	if len(in.Logo) > maxLogo || len(in.Logo) > 0 && in.LogoType != "image/png" && in.LogoType != "image/svg+xml" {
		return invalid("logo", "logo", "The logo is a PNG or SVG of at most 64 KiB.")
	}
	return nil
}

const maxLogo = 64 << 10

// logoRecord is a merchant's picture.
type logoRecord struct {
	Type string `cbor:"1,keyasint"`
	Data []byte `cbor:"2,keyasint"`
}

// Logo returns a merchant's picture and its media type.
func (s *Service) Logo(ctx context.Context, m MerchantID) (data []byte, mediaType string, err error) {
	l, err := read[logoRecord](s.look(ctx, m.Shard()), logoKey(m), nil)
	if err != nil || l == nil {
		return nil, "", storeProblem(orMissing(err, "logo"))
	}
	return l.Data, l.Type, nil
}

// NewGenerations gives every merchant a new key generation, and reports how many
// merchants there are. A store that lost commits or was restored from a copy may
// have forgotten batches that are on paper by now: tokens of a new generation are
// none of theirs.
func (s *Service) NewGenerations(ctx context.Context) (merchants int, err error) {
	err = s.Merchants(ctx, func(m *Merchant) error {
		err := s.change(ctx, m.ID.Shard(), func(t *tx) error {
			t.merchant = m.ID
			m, err := t.merchantRec()
			if err != nil || m == nil {
				return orMissing(err, "merchant")
			}
			return t.newGeneration(m)
		})
		s.merchants.forget(m.ID)
		if err == nil {
			merchants++
		}
		return err
	})
	return merchants, err
}

// newGeneration gives a merchant a key of its own in a ring that has room, from
// which its next tokens are made. The tokens of older generations stay good.
func (t *tx) newGeneration(m *Merchant) error {
	for {
		var b [2]byte
		rand.Read(b[:])
		ring := Ring(binary.BigEndian.Uint16(b[:]) % Rings)
		k := ringKeyOf(t.shard, ring)
		r, err := read[RingRecord](t, k, nil)
		if err != nil {
			return err
		}
		if r == nil {
			r = &RingRecord{}
			if err := t.create(k, r); err != nil {
				return err
			}
		}
		if len(r.Keys) >= ringKeys {
			continue
		}
		key := make([]byte, len(TokenKey{}))
		rand.Read(key)
		no := len(m.Generations) + 1
		r.Keys = append(r.Keys, RingKey{Merchant: m.ID, Generation: no, Key: key})
		m.Generations = append(m.Generations, Generation{no, ring})
		t.s.rings.forget(k)
		return nil
	}
}

// ringKeys is how many keys share a ring, so that a scan tries few.
const ringKeys = 2

// Merchant reads a merchant.
func (s *Service) Merchant(ctx context.Context, id MerchantID) (*Merchant, error) {
	t := s.look(ctx, id.Shard())
	t.merchant = id
	m, err := t.merchantRec()
	if err != nil || m == nil {
		return nil, storeProblem(orMissing(err, "merchant"))
	}
	return m, nil
}

// Merchants calls f with every merchant of the store.
func (s *Service) Merchants(ctx context.Context, f func(*Merchant) error) error {
	shards, err := s.shardsInUse(ctx)
	if err != nil {
		return storeProblem(err)
	}
	for _, shard := range shards {
		for after := ""; ; {
			page, err := s.store.List(ctx, Listing{Shard: shard, Kind: kindMerchant, Owner: "all", After: after, Limit: listPage})
			if err != nil {
				return storeProblem(err)
			}
			for _, rec := range page {
				after = rec.ID
				m := new(Merchant)
				if _, err := decodeRecord(rec.Data, m); err != nil {
					return err
				}
				if err := f(m); err != nil {
					return err
				}
			}
			if len(page) < listPage {
				break
			}
		}
	}
	return nil
}

// ChangeMerchant changes a merchant by f.
func (s *Service) ChangeMerchant(ctx context.Context, id MerchantID, f func(*Merchant) error) (*Merchant, error) {
	var m *Merchant
	err := s.change(ctx, id.Shard(), func(t *tx) (err error) {
		t.merchant = id
		if m, err = t.merchantRec(); err != nil || m == nil {
			return orMissing(err, "merchant")
		}
		return f(m)
	})
	s.merchants.forget(id)
	return m, err
}

// ConnectBank gives a merchant a bank connection for a rail, or changes the one it
// has: settings are replaced; secrets too, unless none are given. The first connection
// becomes the merchant's default.
func (s *Service) ConnectBank(ctx context.Context, id MerchantID, rail string, settings, secrets map[string]string) (*Connection, error) {
	if !printable(rail, 1, 20) || s.banks == nil {
		return nil, invalid("rail", "unknown", "There is no such rail.")
	}
	var c *Connection
	err := s.change(ctx, id.Shard(), func(t *tx) error {
		t.merchant = id
		m, err := t.merchantRec()
		if err != nil || m == nil {
			return orMissing(err, "merchant")
		}
		if have, ok := m.Rails[rail]; ok {
			if c, err = t.connection(have); err != nil || c == nil {
				return orMissing(err, "bank connection")
			}
			c.Revision++
			if len(secrets) == 0 && len(c.Sealed) > 0 {
				return s.banks.Reseal(c, settings)
			}
			return s.banks.Seal(c, settings, secrets)
		}
		c = &Connection{ID: ConnectionID(newID(t.shard, 14)), Merchant: id, Rail: rail, CreatedAt: t.now}
		if err := s.banks.Seal(c, settings, secrets); err != nil {
			return err
		}
		if m.Rails == nil {
			m.Rails = map[string]ConnectionID{}
		}
		m.Rails[rail] = c.ID
		if m.Rail == "" {
			m.Rail = rail
		}
		if err := t.create(pollKey(c.ID), &pollRecord{NextAt: t.now.Add(pollEach)}); err != nil {
			return err
		}
		return t.create(connectionKey(c.ID), c)
	})
	s.merchants.forget(id)
	return c, err
}

// ConnectionView is a bank connection with what its bank can do, as far as is known.
type ConnectionView struct {
	*Connection
	Default   bool
	Abilities *Abilities
}

// BankConnection reads a merchant's connection for a rail. It never tells a secret.
func (s *Service) BankConnection(ctx context.Context, id MerchantID, rail string) (ConnectionView, error) {
	t := s.look(ctx, id.Shard())
	t.merchant = id
	m, err := t.merchantRec()
	if err != nil || m == nil {
		return ConnectionView{}, storeProblem(orMissing(err, "merchant"))
	}
	at, ok := m.Rails[rail]
	if !ok {
		return ConnectionView{}, notFound("bank connection")
	}
	c, err := t.connection(at)
	if err != nil || c == nil {
		return ConnectionView{}, storeProblem(orMissing(err, "bank connection"))
	}
	v := ConnectionView{Connection: c, Default: m.Rail == rail}
	if ab, err := s.abilities(ctx, c); err == nil {
		v.Abilities = &ab
	}
	return v, nil
}

// ProbeBank tries a merchant's connection for real, and says how far it came.
func (s *Service) ProbeBank(ctx context.Context, id MerchantID, rail string) ([]ProbeStep, error) {
	v, err := s.BankConnection(ctx, id, rail)
	if err != nil {
		return nil, err
	}
	m, err := s.Merchant(ctx, id)
	if err != nil {
		return nil, err
	}
	now := s.now().UTC().Truncate(time.Second)
	ask := Ask{
		BankRef: BankRef{ID: newRequestID(id.Shard(), now), Charge: Immediate}, Revision: 1, Money: Money{100, m.Currency},
		ExpiresAt: now.Add(5 * time.Minute), TimeLeft: 5 * time.Minute, Reference: "Placard connection check",
		ReturnURL: s.publicURL, CallbackURL: s.callbackOf(v.Connection),
	}
	return s.banks.Probe(ctx, v.Connection, ask), nil
}

// callbackOf is where the bank of a connection reaches us.
func (s *Service) callbackOf(c *Connection) string {
	return s.callbackURL + "/callbacks/" + c.Rail + "/" + string(c.ID)
}

// CallbackURL is where the bank of a connection is to send its messages.
func (s *Service) CallbackURL(c *Connection) string { return s.callbackOf(c) }

// Connection reads a bank connection, for whoever takes a bank's callbacks.
func (s *Service) Connection(ctx context.Context, id ConnectionID) (*Connection, error) {
	c, err := s.look(ctx, id.Shard()).connection(id)
	if err != nil || c == nil {
		return nil, storeProblem(orMissing(err, "bank connection"))
	}
	return c, nil
}

// NewKey is what an API key starts with.
type NewKey struct {
	Role   Role
	Label  string
	Outlet OutletID
	Codes  []Token
}

// Roles lists the roles a merchant's key may have.
var Roles = []Role{Owner, Manager, Cashier, Agent, Viewer}

// CreateKey makes a key and returns it with its secret, which is shown this once.
func (s *Service) CreateKey(ctx context.Context, m MerchantID, in NewKey) (*APIKey, string, error) {
	k, secret, err := s.newKey(m, in)
	if err != nil {
		return nil, "", err
	}
	return k, secret, s.change(ctx, m.Shard(), func(t *tx) error { return t.create(keyKey(k.ID), k) })
}

// newKey makes up a key that no store has yet.
func (s *Service) newKey(m MerchantID, in NewKey) (*APIKey, string, error) {
	if !has(Roles, in.Role) {
		return nil, "", invalid("role", "one_of", "The role is one of owner, manager, cashier, agent, viewer.")
	}
	if err := text("label", in.Label, 100); err != nil {
		return nil, "", err
	}
	for i, c := range in.Codes {
		if c.Shard() != m.Shard() {
			return nil, "", invalid(fmt.Sprintf("codes[%d]", i), "unknown", "There is no such code.")
		}
	}
	id := KeyID(newID(m.Shard(), 12))
	secret := "plc_" + string(id) + randomSymbols(32)
	k := &APIKey{ID: id, Merchant: m, Role: in.Role, Label: in.Label, Outlet: in.Outlet, Codes: in.Codes, Hash: hashSecret(secret), CreatedAt: s.now().UTC()}
	return k, secret, nil
}

// Authenticate finds the key behind a secret. A revoked key goes on working for at
// most 2 seconds on a gateway that has just seen it.
func (s *Service) Authenticate(ctx context.Context, secret string) (*APIKey, error) {
	refused := &Error{Kind: Unauthorized, Code: "unauthorized", Detail: "A valid API key is needed: Authorization: Bearer plc_…"}
	text, ok := strings.CutPrefix(secret, "plc_")
	if !ok {
		return nil, refused
	}
	if text, ok = idOf(text, 44); !ok {
		return nil, refused
	}
	k, err := s.keyNow(ctx, KeyID(text[:12]))
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(k.Hash, hashSecret("plc_"+text)) != 1 || !k.Revoked.IsZero() {
		return nil, refused
	}
	return k, nil
}

// keyNow reads a key, or one that fits nothing if there is none.
func (s *Service) keyNow(ctx context.Context, id KeyID) (*APIKey, error) {
	now := s.now()
	if k, ok := s.keys.get(id, now); ok {
		return k, nil
	}
	k, err := read[APIKey](s.look(ctx, id.Shard()), keyKey(id), nil)
	if err != nil {
		return nil, storeProblem(err)
	}
	if k == nil {
		k = &APIKey{} // remembered too, so that guesses cost little
	}
	s.keys.put(id, k, now)
	return k, nil
}

// StillAdmitted refuses a caller whose key was revoked or whose session ended since. Whoever answers a caller
// later than it was asked, asks this first.
func (s *Service) StillAdmitted(ctx context.Context, c Caller) error {
	if c.Session != "" {
		a, err := s.admissionNow(ctx, c.Session)
		if err == nil && !a.good(s.now()) {
			err = errNoSession
		}
		return err
	}
	k, err := s.keyNow(ctx, c.Key)
	if err != nil {
		return err
	}
	if !k.Revoked.IsZero() {
		return &Error{Kind: Unauthorized, Code: "unauthorized", Detail: "The API key was revoked meanwhile."}
	}
	return nil
}

// Caller is the key as one who asks.
func (k *APIKey) Caller() Caller {
	return Caller{Merchant: k.Merchant, Role: k.Role, Key: k.ID, By: string(k.ID), Outlet: k.Outlet, Codes: k.Codes}
}

// CreateOutlet makes a place of a merchant.
func (s *Service) CreateOutlet(ctx context.Context, m MerchantID, name string) (*Outlet, error) {
	if err := text("name", name, 100); err != nil {
		return nil, err
	}
	o := &Outlet{ID: OutletID(newID(m.Shard(), 14)), Merchant: m, Name: name}
	return o, s.change(ctx, m.Shard(), func(t *tx) error { return t.create(outletKey(o.ID), o) })
}

// mayPlace refuses an outlet that is not the merchant's, or, for a caller who is
// bound to one, not his own.
func (t *tx) mayPlace(c Caller, id OutletID) error {
	unknown := invalid("outlet", "unknown", "There is no such outlet.")
	switch {
	case c.Outlet != "" && id != c.Outlet:
		return unknown
	case id == "":
		return nil
	case shardOf(string(id)) != t.shard:
		return unknown
	}
	o, err := read[Outlet](t, outletKey(id), nil)
	if err == nil && (o == nil || o.Merchant != c.Merchant) {
		return unknown
	}
	return err
}

// Keys lists a merchant's keys.
func (s *Service) Keys(ctx context.Context, m MerchantID) ([]*APIKey, error) {
	var keys []*APIKey
	for after := ""; ; {
		page, err := s.store.List(ctx, Listing{Shard: m.Shard(), Kind: kindKey, Owner: string(m), After: after, Limit: listPage})
		if err != nil {
			return nil, storeProblem(err)
		}
		for _, rec := range page {
			after = rec.ID
			k := new(APIKey)
			if _, err := decodeRecord(rec.Data, k); err != nil {
				return nil, err
			}
			keys = append(keys, k)
		}
		if len(page) < listPage {
			return keys, nil
		}
	}
}

// RevokeKey ends a key.
func (s *Service) RevokeKey(ctx context.Context, m MerchantID, id KeyID) error {
	_, err := s.endKey(ctx, id, func(k *APIKey) bool { return k.Merchant == m })
	return err
}

func (s *Service) endKey(ctx context.Context, id KeyID, may func(*APIKey) bool) (k *APIKey, err error) {
	err = s.change(ctx, id.Shard(), func(t *tx) (err error) {
		if k, err = read[APIKey](t, keyKey(id), nil); err != nil || k == nil || !may(k) {
			return orMissing(err, "key")
		}
		if k.Revoked.IsZero() {
			k.Revoked = t.now
		}
		return nil
	})
	s.keys.forget(id)
	if err != nil {
		return nil, err
	}
	return k, nil
}
