package linking

import (
	"context"
	"crypto/subtle"
	"strings"
	"time"
)

// SessionID names a session: 12 symbols.
type SessionID string

// DeviceID names a paired device: 12 symbols.
type DeviceID string

// Session lets a person in, or whoever holds a key, by a cookie. Of its secret only the
// hash is kept. It ends when nobody has done anything with it for a while, after some
// hours anyway, and with whatever it rests on: the person, the key, the device.
type Session struct {
	ID        SessionID  `cbor:"1,keyasint"`
	Merchant  MerchantID `cbor:"2,keyasint"`
	Staff     StaffID    `cbor:"3,keyasint,omitempty"`
	Device    DeviceID   `cbor:"4,keyasint,omitempty"` // opened by a PIN, on this device
	Key       KeyID      `cbor:"5,keyasint,omitempty"` // opened by a key, for nobody in particular
	Era       uint64     `cbor:"6,keyasint,omitempty"` // see Staff
	Hash      []byte     `cbor:"7,keyasint"`
	CreatedAt time.Time  `cbor:"8,keyasint"`
	SeenAt    time.Time  `cbor:"9,keyasint"` // when somebody last did something, to a minute
	EndsAt    time.Time  `cbor:"10,keyasint"`
	Ended     time.Time  `cbor:"11,keyasint,omitzero"`
}

// How long sessions live without anybody doing anything, and at most.
const (
	sessionIdle = 30 * time.Minute
	sessionMost = 12 * time.Hour
	pinIdle     = 15 * time.Minute
	pinMost     = 8 * time.Hour
	seenEach    = time.Minute
)

func (id SessionID) shard() Shard    { return shardOf(string(id)) }
func sessionKey(id SessionID) Key    { return Key{id.shard(), kindSession, string(id)} }
func (p *Session) idle() time.Time   { return p.SeenAt.Add(p.idleTime()) }
func (p *Session) MaxAge() time.Time { return p.EndsAt } // MaxAge is when it ends whatever happens.

func (p *Session) idleTime() time.Duration {
	if p.Device != "" {
		return pinIdle
	}
	return sessionIdle
}

// due is when the record can be forgotten.
func (p *Session) due() time.Time {
	if !p.Ended.IsZero() {
		return p.Ended.Add(time.Minute)
	}
	if p.EndsAt.Before(p.idle()) {
		return p.EndsAt
	}
	return p.idle()
}

// admission is a session with what it rests on, as it stood a moment ago.
type admission struct {
	session *Session // nil: there is none
	staff   *Staff
	device  *Device
	key     *APIKey
}

// good reports whether the session lets anybody in at now.
func (a *admission) good(now time.Time) bool {
	s := a.session
	if s == nil || !s.Ended.IsZero() || !now.Before(s.EndsAt) || !now.Before(s.idle()) {
		return false
	}
	if s.Staff != "" && (a.staff == nil || !a.staff.Ended.IsZero() || a.staff.Era != s.Era) {
		return false
	}
	if s.Device != "" && (a.device == nil || !a.device.Revoked.IsZero()) {
		return false
	}
	if s.Key != "" && (a.key == nil || !a.key.Revoked.IsZero()) {
		return false
	}
	return s.Staff != "" || s.Key != ""
}

// caller is the session as one who asks. On a paired device the device stands for the
// till: whoever takes it over goes on with what his colleague has shown.
func (a *admission) caller() Caller {
	s := a.session
	if a.key != nil {
		c := a.key.Caller()
		c.Session = s.ID
		return c
	}
	c := Caller{Merchant: s.Merchant, Role: a.staff.Role, Key: KeyID(s.Staff), By: string(s.Staff), Outlet: a.staff.Outlet, Session: s.ID}
	if a.device != nil {
		c.Role, c.Key, c.Codes = Cashier, KeyID(s.Device), a.device.Codes // a PIN opens no more than a till
		if a.device.Outlet != "" {
			c.Outlet = a.device.Outlet
		}
	}
	return c
}

var errNoSession = &Error{Kind: Unauthorized, Code: "unauthorized", Detail: "Nobody is logged in here; the session may have ended."}

// admissionNow reads a session with what it rests on; it may be 2 seconds old.
func (s *Service) admissionNow(ctx context.Context, id SessionID) (*admission, error) {
	now := s.now()
	if a, ok := s.sessions.get(id, now); ok {
		return a, nil
	}
	t := s.look(ctx, id.shard())
	a := new(admission)
	var err error
	if a.session, err = read[Session](t, sessionKey(id), nil); err != nil {
		return nil, storeProblem(err)
	}
	if p := a.session; p != nil {
		if err := t.load(p.restsOn()...); err != nil {
			return nil, storeProblem(err)
		}
		if p.Staff != "" && err == nil {
			a.staff, err = read[Staff](t, staffKey(p.Staff), nil)
		}
		if p.Device != "" && err == nil {
			a.device, err = read[Device](t, deviceKey(p.Device), nil)
		}
		if p.Key != "" && err == nil {
			a.key, err = read[APIKey](t, keyKey(p.Key), nil)
		}
		if err != nil {
			return nil, storeProblem(err)
		}
	}
	s.sessions.put(id, a, now) // also that there is none: guesses cost little
	return a, nil
}

func (p *Session) restsOn() (keys []Key) {
	if p.Staff != "" {
		keys = append(keys, staffKey(p.Staff))
	}
	if p.Device != "" {
		keys = append(keys, deviceKey(p.Device))
	}
	if p.Key != "" {
		keys = append(keys, keyKey(p.Key))
	}
	return keys
}

// forgetSessions makes this process read every session anew.
func (s *Service) forgetSessions() { s.sessions.clear() }

// Admit finds the caller behind a session's secret. What ends a session ends it on
// every gateway within 2 seconds.
func (s *Service) Admit(ctx context.Context, secret string) (Caller, error) {
	text, ok := strings.CutPrefix(secret, "pls_")
	if ok {
		text, ok = idOf(text, 44)
	}
	if !ok {
		return Caller{}, errNoSession
	}
	a, err := s.admissionNow(ctx, SessionID(text[:12]))
	if err != nil {
		return Caller{}, err
	}
	if a.session == nil || subtle.ConstantTimeCompare(a.session.Hash, hashSecret("pls_"+text)) != 1 || !a.good(s.now()) {
		return Caller{}, errNoSession
	}
	return a.caller(), nil
}

// Used notes that somebody did something with his session just now.
func (s *Service) Used(ctx context.Context, c Caller) error {
	if c.Session == "" {
		return nil
	}
	a, err := s.admissionNow(ctx, c.Session)
	if err != nil || a.session == nil || s.now().Sub(a.session.SeenAt) < seenEach {
		return err
	}
	s.sessions.forget(c.Session)
	return s.change(ctx, c.Session.shard(), func(t *tx) error {
		p, err := read[Session](t, sessionKey(c.Session), nil)
		if err == nil && p != nil && t.now.After(p.SeenAt) && t.now.Before(p.idle()) {
			p.SeenAt = t.now
		}
		return err
	})
}

// openSession makes a session in t.
func (t *tx) openSession(p Session, most time.Duration) (*Session, string, error) {
	p.ID = SessionID(newID(t.shard, 12))
	secret := "pls_" + string(p.ID) + randomSymbols(32)
	p.Hash, p.CreatedAt, p.SeenAt, p.EndsAt = hashSecret(secret), t.now, t.now, t.now.Add(most)
	return &p, secret, t.create(sessionKey(p.ID), &p)
}

// errLogin is the same for a name nobody has and for a wrong password.
var errLogin = &Error{Kind: Unauthorized, Code: "unauthorized", Detail: "Name and password do not fit together."}

// Login opens a session for a person by name and password. It takes as long for a name
// that nobody has.
func (s *Service) Login(ctx context.Context, user, password string) (*Session, string, error) {
	p, err := s.named(ctx, loginName(user))
	if err != nil {
		return nil, "", err
	}
	if len(password) > 4*maxPassword {
		password = "" // nobody's
	}
	ok, err := s.passwords.fits(ctx, p.Password, password)
	if err != nil {
		return nil, "", err
	}
	if !ok {
		return nil, "", errLogin
	}
	return s.sessionFor(ctx, p, "", sessionMost)
}

// named reads the person with a login name; without one, nobody, by as many reads.
func (s *Service) named(ctx context.Context, user string) (*Staff, error) {
	rec, err := read[loginRecord](s.look(ctx, Meta), loginKey(user), nil)
	if err != nil {
		return nil, storeProblem(err)
	}
	id := StaffID(newID(RandomShard(), 14))
	if rec != nil {
		id = rec.Staff
	}
	p, err := read[Staff](s.look(ctx, id.Shard()), staffKey(id), nil)
	if err != nil {
		return nil, storeProblem(err)
	}
	if p == nil || p.User != user || !p.Ended.IsZero() {
		return &Staff{}, nil
	}
	return p, nil
}

// sessionFor opens a session for a person as he was read, unless he has changed since.
func (s *Service) sessionFor(ctx context.Context, was *Staff, device DeviceID, most time.Duration) (p *Session, secret string, err error) {
	err = s.change(ctx, was.ID.Shard(), func(t *tx) error {
		now, err := read[Staff](t, staffKey(was.ID), nil)
		if err != nil {
			return err
		}
		if now == nil || !now.Ended.IsZero() || now.Era != was.Era {
			return errLogin
		}
		if device != "" {
			now.Wrong, now.ShutUntil = 0, time.Time{}
		}
		p, secret, err = t.openSession(Session{Merchant: now.Merchant, Staff: now.ID, Device: device, Era: now.Era}, most)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return p, secret, nil
}

// LoginWithKey opens a session for whoever holds an API key: for pages that a person
// opens before there are people.
func (s *Service) LoginWithKey(ctx context.Context, key string) (p *Session, secret string, err error) {
	k, err := s.Authenticate(ctx, key)
	if err != nil {
		return nil, "", err
	}
	err = s.change(ctx, k.Merchant.Shard(), func(t *tx) error {
		p, secret, err = t.openSession(Session{Merchant: k.Merchant, Key: k.ID}, sessionMost)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return p, secret, nil
}

// Logout ends the caller's session. Without one, nothing happens.
func (s *Service) Logout(ctx context.Context, c Caller) error {
	if c.Session == "" {
		return nil
	}
	defer s.sessions.forget(c.Session)
	return s.change(ctx, c.Session.shard(), func(t *tx) error {
		p, err := read[Session](t, sessionKey(c.Session), nil)
		if err == nil && p != nil && p.Ended.IsZero() {
			p.Ended = t.now
		}
		return err
	})
}

// tendSession forgets a session that lets nobody in any more.
func (s *Service) tendSession(ctx context.Context, k Key) error {
	return s.change(ctx, k.Shard, func(t *tx) error {
		p, err := read[Session](t, k, nil)
		if err == nil && p != nil && !t.now.Before(p.due()) {
			t.remove(k)
		}
		return err
	})
}
