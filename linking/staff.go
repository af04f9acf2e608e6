package linking

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"slices"
	"strings"
	"time"
)

// StaffID names a person of a merchant for ever: 14 symbols.
type StaffID string

// Shard is the person's merchant's.
func (id StaffID) Shard() Shard { return shardOf(string(id)) }

// ParseStaffID is as ParseMerchantID.
func ParseStaffID(s string) (StaffID, bool) { id, ok := idOf(s, 14); return StaffID(id), ok }

// Staff is a person who works for a merchant. He is invited by a link that is used once,
// and then chooses a login name, which is unique in the whole store, and a password.
type Staff struct {
	ID        StaffID    `cbor:"1,keyasint"`
	Merchant  MerchantID `cbor:"2,keyasint"`
	Name      string     `cbor:"3,keyasint"`
	Role      Role       `cbor:"4,keyasint"`
	Outlet    OutletID   `cbor:"5,keyasint,omitempty"` // empty: all
	User      string     `cbor:"6,keyasint,omitempty"` // the login name; empty: he has not come yet
	Password  []byte     `cbor:"7,keyasint,omitempty"` // see passwords
	PIN       []byte     `cbor:"8,keyasint,omitempty"` // for paired devices alone
	Wrong     int        `cbor:"9,keyasint,omitempty"` // PINs tried since the last right one
	ShutUntil time.Time  `cbor:"10,keyasint,omitzero"` // no PIN is taken before
	Invite    []byte     `cbor:"11,keyasint,omitempty"`
	InviteEnd time.Time  `cbor:"12,keyasint,omitzero"`
	InvitedBy string     `cbor:"13,keyasint,omitempty"`
	CreatedAt time.Time  `cbor:"14,keyasint"`
	JoinedAt  time.Time  `cbor:"15,keyasint,omitzero"`
	Ended     time.Time  `cbor:"16,keyasint,omitzero"`
	// Era counts what ended all of his sessions: a session of another era is over.
	Era uint64 `cbor:"17,keyasint,omitempty"`
}

// loginRecord leads from a login name to whoever chose it. It stands apart from his
// own record and is not atomic with it: a name counts only if his record has it too,
// and one whose owner has another name, or is gone, is free.
type loginRecord struct {
	Staff StaffID `cbor:"1,keyasint"`
}

const inviteLife = 7 * 24 * time.Hour

func staffKey(id StaffID) Key { return Key{id.Shard(), kindStaff, string(id)} }

func loginKey(user string) Key {
	sum := sha256.Sum256([]byte(user))
	return Key{Meta, kindLogin, crockfordBytes.EncodeToString(sum[:20])}
}

// loginName is a login name as it is kept: people do not mind capitals.
func loginName(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

func goodLoginName(user string) error {
	fine := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("._-+@", r)
	}
	if len(user) < 3 || len(user) > 64 || strings.ContainsFunc(user, func(r rune) bool { return !fine(r) }) {
		return invalid("user", "login", "The login name is 3 to 64 letters without accents, digits, and . _ - + @.")
	}
	return nil
}

// StaffPatch changes what is not nil.
type StaffPatch struct {
	Name   *string
	Role   *Role
	Outlet *OutletID
}

// mayRun refuses a caller who may not arrange people of a role at an outlet: a manager
// makes no owners, and whoever is bound to an outlet stays in it.
func (c *Caller) mayRun(role Role, o OutletID) error {
	switch {
	case len(c.Codes) > 0, c.Role != Owner && c.Role != Manager, c.Role == Manager && role == Owner:
		return &Error{Kind: Forbidden, Code: "forbidden", Detail: "The role " + string(c.Role) + " may not arrange that for one who is " + string(role) + "."}
	case c.Outlet != "" && o == "":
		return invalid("outlet", "required", "Who asks is bound to an outlet; whom he invites is bound to the same.")
	case c.Outlet != "" && o != c.Outlet:
		return invalid("outlet", "unknown", "There is no such outlet.")
	}
	return nil
}

// runs reports whether a person is one that the caller may know of and arrange.
func (c *Caller) runs(p *Staff) bool {
	return p.Merchant == c.Merchant && len(c.Codes) == 0 && (c.Outlet == "" || p.Outlet == c.Outlet)
}

func staffName(name string) error {
	if strings.TrimSpace(name) == "" {
		return invalid("name", "required", "A person has a name: history says who did what.")
	}
	return text("name", name, 100)
}

// NewStaff is what a person is invited with.
type NewStaff struct {
	Name   string
	Role   Role
	Outlet OutletID
}

// Invite makes a person of the caller's merchant, and returns the secret of the link
// by which he comes in: once, within a week.
func (s *Service) Invite(ctx context.Context, c Caller, in NewStaff) (*Staff, string, error) {
	if err := errors.Join(staffName(in.Name), knownRole(in.Role)); err != nil {
		return nil, "", firstOf(err)
	}
	if err := c.mayRun(in.Role, in.Outlet); err != nil {
		return nil, "", err
	}
	p := &Staff{ID: StaffID(newID(c.Merchant.Shard(), 14)), Merchant: c.Merchant, Name: strings.TrimSpace(in.Name), Role: in.Role, Outlet: in.Outlet, InvitedBy: c.By}
	secret := string(p.ID) + randomSymbols(32)
	err := s.change(ctx, c.Merchant.Shard(), func(t *tx) error {
		t.begin(c)
		if err := t.mayPlace(c, in.Outlet); err != nil {
			return err
		}
		p.CreatedAt, p.Invite, p.InviteEnd = t.now, hashSecret(secret), t.now.Add(inviteLife)
		return t.create(staffKey(p.ID), p)
	})
	if err != nil {
		return nil, "", err
	}
	return p, secret, nil
}

func knownRole(r Role) error {
	if !has(Roles, r) {
		return invalid("role", "one_of", "The role is one of owner, manager, cashier, agent, viewer.")
	}
	return nil
}

// firstOf is the first of joined errors: a caller is told one thing at a time.
func firstOf(err error) error {
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		return list.Unwrap()[0]
	}
	return err
}

// staffChange changes a person that the caller arranges. Nobody arranges himself: an
// owner who ended himself might have been the last.
func (s *Service) staffChange(ctx context.Context, c Caller, id StaffID, f func(t *tx, p *Staff) error) (p *Staff, err error) {
	if id.Shard() != c.Merchant.Shard() {
		return nil, notFound("person")
	}
	err = s.change(ctx, id.Shard(), func(t *tx) (err error) {
		t.begin(c)
		if p, err = read[Staff](t, staffKey(id), nil); err != nil || p == nil || !c.runs(p) {
			return orMissing(err, "person")
		}
		if string(p.ID) == c.By {
			return &Error{Kind: Forbidden, Code: "forbidden", Detail: "Nobody arranges that for himself; another owner or manager does."}
		}
		if err := c.mayRun(p.Role, p.Outlet); err != nil {
			return err
		}
		return f(t, p)
	})
	s.forgetSessions()
	if err != nil {
		return nil, err
	}
	return p, nil
}

// InviteAgain gives a person a new link: the old one was lost, or his password was. An
// older link is no good from then on; a password he has is, until he uses the link.
func (s *Service) InviteAgain(ctx context.Context, c Caller, id StaffID) (*Staff, string, error) {
	secret := string(id) + randomSymbols(32)
	p, err := s.staffChange(ctx, c, id, func(t *tx, p *Staff) error {
		if !p.Ended.IsZero() {
			return notFound("person")
		}
		p.Invite, p.InviteEnd = hashSecret(secret), t.now.Add(inviteLife)
		return nil
	})
	return p, secret, err
}

// ChangeStaff changes a person's name, role or outlet. Every gateway goes by it within
// 5 seconds.
func (s *Service) ChangeStaff(ctx context.Context, c Caller, id StaffID, in StaffPatch) (*Staff, error) {
	return s.staffChange(ctx, c, id, func(t *tx, p *Staff) error {
		if !p.Ended.IsZero() {
			return notFound("person")
		}
		n := *p
		take(&n.Name, in.Name)
		take(&n.Role, in.Role)
		take(&n.Outlet, in.Outlet)
		if err := errors.Join(staffName(n.Name), knownRole(n.Role)); err != nil {
			return firstOf(err)
		}
		if err := c.mayRun(n.Role, n.Outlet); err != nil {
			return err
		}
		if err := t.mayPlace(c, n.Outlet); err != nil {
			return err
		}
		p.Name, p.Role, p.Outlet = strings.TrimSpace(n.Name), n.Role, n.Outlet
		return nil
	})
}

// ForgetPIN takes a person's PIN away: somebody saw it, or it was tried too often.
func (s *Service) ForgetPIN(ctx context.Context, c Caller, id StaffID) (*Staff, error) {
	return s.staffChange(ctx, c, id, func(t *tx, p *Staff) error {
		p.PIN, p.Wrong, p.ShutUntil = nil, 0, time.Time{}
		return nil
	})
}

// EndStaff shuts a person out: his sessions end on every gateway within 5 seconds. His
// name stays in history, and his login name is free. To end him again changes nothing.
func (s *Service) EndStaff(ctx context.Context, c Caller, id StaffID) (*Staff, error) {
	return s.staffChange(ctx, c, id, func(t *tx, p *Staff) error {
		if p.Ended.IsZero() {
			p.Ended, p.Invite, p.Password, p.PIN = t.now, nil, nil, nil
			p.Era++
		}
		return nil
	})
}

// StaffOf lists the people whom the caller arranges and who are not shut out, by id.
func (s *Service) StaffOf(ctx context.Context, c Caller) ([]*Staff, error) {
	var list []*Staff
	err := s.eachOf(ctx, c.Merchant, kindStaff, func() any { return new(Staff) }, func(v any) {
		if p := v.(*Staff); p.Ended.IsZero() && c.runs(p) {
			list = append(list, p)
		}
	})
	return list, err
}

// Name is who stands behind an id in history and events.
type Name struct {
	ID   string
	Kind string // "person", "key" or "device"
	Name string
}

// NamesOf lists the people, keys and devices of the caller's merchant by id, those that
// are gone too. One who is bound to an outlet learns of none that is bound to another.
func (s *Service) NamesOf(ctx context.Context, c Caller) ([]Name, error) {
	var list []Name
	add := func(id, kind, name string, o OutletID) {
		if c.Outlet == "" || o == "" || o == c.Outlet {
			list = append(list, Name{id, kind, name})
		}
	}
	err := errors.Join(
		s.eachOf(ctx, c.Merchant, kindStaff, func() any { return new(Staff) }, func(v any) { p := v.(*Staff); add(string(p.ID), "person", p.Name, p.Outlet) }),
		s.eachOf(ctx, c.Merchant, kindKey, func() any { return new(APIKey) }, func(v any) { k := v.(*APIKey); add(string(k.ID), "key", k.Label, k.Outlet) }),
		s.eachOf(ctx, c.Merchant, kindDevice, func() any { return new(Device) }, func(v any) { d := v.(*Device); add(string(d.ID), "device", d.Name, d.Outlet) }),
	)
	if err != nil {
		return nil, firstOf(err)
	}
	slices.SortFunc(list, func(a, b Name) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// eachOf reads all records of a kind that a merchant has, by id.
func (s *Service) eachOf(ctx context.Context, m MerchantID, kind RecordKind, fresh func() any, f func(any)) error {
	for after := ""; ; {
		page, err := s.store.List(ctx, Listing{Shard: m.Shard(), Kind: kind, Owner: string(m), After: after, Limit: listPage})
		if err != nil {
			return storeProblem(err)
		}
		for _, rec := range page {
			after = rec.ID
			v := fresh()
			if _, err := decodeRecord(rec.Data, v); err != nil {
				return err
			}
			f(v)
		}
		if len(page) < listPage {
			return nil
		}
	}
}

// Invitation finds whom a link is for. One that was used, is too old or never was is
// not found.
func (s *Service) Invitation(ctx context.Context, secret string) (*Staff, error) {
	id, sum, ok := invitedBy(secret)
	if !ok {
		return nil, notFound("invitation")
	}
	t := s.look(ctx, id.Shard())
	p, err := read[Staff](t, staffKey(id), nil)
	if err != nil {
		return nil, storeProblem(err)
	}
	if p == nil || !p.invited(sum, t.now) {
		return nil, notFound("invitation")
	}
	return p, nil
}

func invitedBy(secret string) (StaffID, []byte, bool) {
	text, ok := idOf(secret, 46)
	if !ok {
		return "", nil, false
	}
	return StaffID(text[:14]), hashSecret(text), true
}

func (p *Staff) invited(sum []byte, now time.Time) bool {
	return p.Ended.IsZero() && now.Before(p.InviteEnd) && subtle.ConstantTimeCompare(p.Invite, sum) == 1
}

// Joining is what whoever was invited chooses.
type Joining struct {
	User     string // left out by one who has a login name already
	Password string
	PIN      string // empty: none
}

// Join uses an invitation: the person may log in from now on. Whatever sessions he had
// are over.
func (s *Service) Join(ctx context.Context, secret string, in Joining) (*Staff, error) {
	p, err := s.Invitation(ctx, secret)
	if err != nil {
		return nil, err
	}
	user := p.User
	if user == "" {
		user = loginName(in.User)
		if err := goodLoginName(user); err != nil {
			return nil, err
		}
	}
	if err := goodPassword(in.Password, user); err != nil {
		return nil, err
	}
	var pin []byte
	if in.PIN != "" {
		if err := goodPIN(in.PIN); err != nil {
			return nil, err
		}
		if pin, err = s.passwords.hash(ctx, in.PIN); err != nil {
			return nil, err
		}
	}
	password, err := s.passwords.hash(ctx, in.Password)
	if err != nil {
		return nil, err
	}
	if err := s.claimName(ctx, user, p.ID); err != nil {
		return nil, err
	}
	_, sum, _ := invitedBy(secret)
	err = s.change(ctx, p.ID.Shard(), func(t *tx) error {
		if p, err = read[Staff](t, staffKey(p.ID), nil); err != nil || p == nil || !p.invited(sum, t.now) {
			return orMissing(err, "invitation")
		}
		p.User, p.Password, p.Invite, p.InviteEnd = user, password, nil, time.Time{}
		if pin != nil {
			p.PIN, p.Wrong, p.ShutUntil = pin, 0, time.Time{}
		}
		if p.JoinedAt.IsZero() {
			p.JoinedAt = t.now
		}
		p.Era++
		return nil
	})
	s.forgetSessions()
	if err != nil {
		return nil, err
	}
	return p, nil
}

// claimName makes a login name a person's, if it is free.
func (s *Service) claimName(ctx context.Context, user string, id StaffID) error {
	taken := invalid("user", "taken", "Somebody has that login name already.")
	return s.change(ctx, Meta, func(t *tx) error {
		k := loginKey(user)
		have, err := read[loginRecord](t, k, nil)
		if err != nil {
			return err
		}
		if have == nil {
			return t.create(k, &loginRecord{id})
		}
		if have.Staff == id {
			return nil
		}
		other, err := read[Staff](s.look(ctx, have.Staff.Shard()), staffKey(have.Staff), nil)
		if err != nil {
			return err
		}
		// Somebody who is just choosing it has not written it down yet.
		if other != nil && other.Ended.IsZero() && (other.User == user || other.User == "" && t.now.Before(other.InviteEnd)) {
			return taken
		}
		have.Staff = id
		return nil
	})
}

// ChangePassword gives the person who asks another password. All of his sessions are
// over.
func (s *Service) ChangePassword(ctx context.Context, c Caller, old, password string) error {
	p, err := s.self(ctx, c, old)
	if err != nil {
		return err
	}
	if err := goodPassword(password, p.User); err != nil {
		return err
	}
	hash, err := s.passwords.hash(ctx, password)
	if err != nil {
		return err
	}
	return s.changeSelf(ctx, p, func(p *Staff) { p.Password = hash; p.Era++ })
}

// ChangePIN gives the person who asks a PIN, or none.
func (s *Service) ChangePIN(ctx context.Context, c Caller, password, pin string) error {
	p, err := s.self(ctx, c, password)
	if err != nil {
		return err
	}
	var hash []byte
	if pin != "" {
		if err := goodPIN(pin); err != nil {
			return err
		}
		if hash, err = s.passwords.hash(ctx, pin); err != nil {
			return err
		}
	}
	return s.changeSelf(ctx, p, func(p *Staff) { p.PIN, p.Wrong, p.ShutUntil = hash, 0, time.Time{} })
}

// EndAllSessions logs the person who asks out everywhere.
func (s *Service) EndAllSessions(ctx context.Context, c Caller) error {
	p, err := s.person(ctx, c)
	if err != nil {
		return err
	}
	return s.changeSelf(ctx, p, func(p *Staff) { p.Era++ })
}

// Me is the person who asks; nil: a key asks.
func (s *Service) Me(ctx context.Context, c Caller) (*Staff, error) {
	if _, ok := ParseStaffID(c.By); !ok || c.Session == "" {
		return nil, nil
	}
	return s.person(ctx, c)
}

func (s *Service) person(ctx context.Context, c Caller) (*Staff, error) {
	id, ok := ParseStaffID(c.By)
	if !ok || c.Session == "" || id.Shard() != c.Merchant.Shard() {
		return nil, &Error{Kind: Forbidden, Code: "forbidden", Detail: "This is about a person's own account; a key has none."}
	}
	p, err := read[Staff](s.look(ctx, id.Shard()), staffKey(id), nil)
	if err != nil || p == nil {
		return nil, storeProblem(orMissing(err, "person"))
	}
	return p, nil
}

// self is the person who asks, who proves it by his password.
func (s *Service) self(ctx context.Context, c Caller, password string) (*Staff, error) {
	p, err := s.person(ctx, c)
	if err != nil {
		return nil, err
	}
	ok, err := s.passwords.fits(ctx, p.Password, password)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, invalid("current", "wrong", "That is not your password.")
	}
	return p, nil
}

// changeSelf changes a person as he was read, unless something of it has moved since.
func (s *Service) changeSelf(ctx context.Context, was *Staff, f func(*Staff)) error {
	defer s.forgetSessions()
	return s.change(ctx, was.ID.Shard(), func(t *tx) error {
		p, err := read[Staff](t, staffKey(was.ID), nil)
		if err != nil || p == nil || !p.Ended.IsZero() || p.Era != was.Era || !slices.Equal(p.Password, was.Password) {
			return orMissing(err, "person")
		}
		f(p)
		return nil
	})
}
