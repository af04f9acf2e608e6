package linking

import (
	"context"
	"crypto/subtle"
	"fmt"
	"strings"
	"time"
)

// Device is a tablet at a till, paired by a manager. It lets nobody in by itself: on
// it, and nowhere else, cashiers log in by their PIN.
type Device struct {
	ID        DeviceID   `cbor:"1,keyasint"`
	Merchant  MerchantID `cbor:"2,keyasint"`
	Name      string     `cbor:"3,keyasint"`
	Outlet    OutletID   `cbor:"4,keyasint,omitempty"` // empty: all
	Codes     []Token    `cbor:"5,keyasint,omitempty"` // empty: all
	Invite    []byte     `cbor:"6,keyasint,omitempty"` // of the link by which it is paired, once
	InviteEnd time.Time  `cbor:"7,keyasint,omitzero"`
	Hash      []byte     `cbor:"8,keyasint,omitempty"` // of the secret it keeps
	MadeBy    string     `cbor:"9,keyasint,omitempty"`
	CreatedAt time.Time  `cbor:"10,keyasint"`
	PairedAt  time.Time  `cbor:"11,keyasint,omitzero"`
	Revoked   time.Time  `cbor:"12,keyasint,omitzero"`
}

const pairingLife = 30 * time.Minute

// After so many PINs in a row that were wrong, none is taken for a while.
const (
	pinTries = 5
	pinShut  = 15 * time.Minute
)

func deviceKey(id DeviceID) Key { return Key{shardOf(string(id)), kindDevice, string(id)} }

// ParseDeviceID is as ParseMerchantID.
func ParseDeviceID(s string) (DeviceID, bool) { id, ok := idOf(s, 12); return DeviceID(id), ok }

// NewDevice is what a device starts with.
type NewDevice struct {
	Name   string
	Outlet OutletID
	Codes  []Token
}

// PrepareDevice makes a device, and returns the secret of the link by which it is
// paired: opened on the device, within half an hour.
func (s *Service) PrepareDevice(ctx context.Context, c Caller, in NewDevice) (*Device, string, error) {
	if err := staffName(in.Name); err != nil {
		return nil, "", err
	}
	d := &Device{ID: DeviceID(newID(c.Merchant.Shard(), 12)), Merchant: c.Merchant, Name: strings.TrimSpace(in.Name), Outlet: in.Outlet, Codes: in.Codes, MadeBy: c.By}
	secret := string(d.ID) + randomSymbols(32)
	err := s.change(ctx, c.Merchant.Shard(), func(t *tx) error {
		t.begin(c)
		if in.Outlet == "" && c.Outlet != "" {
			return invalid("outlet", "required", "Who asks is bound to an outlet; the device must be bound to the same.")
		}
		if err := t.mayPlace(c, in.Outlet); err != nil {
			return err
		}
		if len(in.Codes) == 0 && len(c.Codes) > 0 {
			return invalid("codes", "required", "Who asks is bound to codes; the device must be bound to some of them.")
		}
		if err := t.mayBind(c, in.Outlet, in.Codes); err != nil {
			return err
		}
		d.CreatedAt, d.Invite, d.InviteEnd = t.now, hashSecret(secret), t.now.Add(pairingLife)
		return t.create(deviceKey(d.ID), d)
	})
	if err != nil {
		return nil, "", err
	}
	return d, secret, nil
}

// mayBind refuses codes that the caller may not know of or that are at another outlet.
func (t *tx) mayBind(c Caller, o OutletID, codes []Token) error {
	for i, id := range codes {
		field := fmt.Sprintf("codes[%d]", i)
		if id.Shard() != t.shard {
			return invalid(field, "unknown", "There is no such code.")
		}
		code, _, err := t.anyCode(id)
		if err != nil {
			return err
		}
		if code == nil || !c.sees(code.Merchant, code.Outlet, code.Token) {
			return invalid(field, "unknown", "There is no such code.")
		}
		if o != "" && code.Outlet != o {
			return invalid(field, "other_outlet", "The code is not at that outlet.")
		}
	}
	return nil
}

// deviceOf finds the device whose secret it is, with the prefix that says what for.
func (s *Service) deviceOf(ctx context.Context, secret, prefix string) (*Device, []byte, error) {
	text, ok := strings.CutPrefix(secret, prefix)
	if ok {
		text, ok = idOf(text, 44)
	}
	if !ok {
		return nil, nil, notFound("device")
	}
	id := DeviceID(text[:12])
	d, err := read[Device](s.look(ctx, shardOf(text)), deviceKey(id), nil)
	if err != nil || d == nil || !d.Revoked.IsZero() {
		return nil, nil, storeProblem(orMissing(err, "device"))
	}
	return d, hashSecret(prefix + text), nil
}

func (d *Device) pairs(sum []byte, now time.Time) bool {
	return d.Revoked.IsZero() && now.Before(d.InviteEnd) && subtle.ConstantTimeCompare(d.Invite, sum) == 1
}

// Pairing finds the device that a link is for. One that was used, is too old or never
// was is not found.
func (s *Service) Pairing(ctx context.Context, secret string) (*Device, error) {
	d, sum, err := s.deviceOf(ctx, secret, "")
	if err != nil {
		return nil, err
	}
	if !d.pairs(sum, s.now()) {
		return nil, notFound("device")
	}
	return d, nil
}

// PairDevice uses the link, and returns the secret that the device is to keep.
func (s *Service) PairDevice(ctx context.Context, invitation string) (d *Device, secret string, err error) {
	d, sum, err := s.deviceOf(ctx, invitation, "")
	if err != nil {
		return nil, "", err
	}
	secret = "pld_" + string(d.ID) + randomSymbols(32)
	err = s.change(ctx, shardOf(string(d.ID)), func(t *tx) (err error) {
		if d, err = read[Device](t, deviceKey(d.ID), nil); err != nil || d == nil || !d.pairs(sum, t.now) {
			return orMissing(err, "device")
		}
		d.Invite, d.InviteEnd, d.Hash, d.PairedAt = nil, time.Time{}, hashSecret(secret), t.now
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return d, secret, nil
}

// Device is the paired device that keeps a secret.
func (s *Service) Device(ctx context.Context, secret string) (*Device, error) {
	d, sum, err := s.deviceOf(ctx, secret, "pld_")
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(d.Hash, sum) != 1 {
		return nil, notFound("device")
	}
	return d, nil
}

// Cashiers are those who may log in on a device: people with a PIN who work at its
// outlet and may sell, by id.
func (s *Service) Cashiers(ctx context.Context, d *Device) ([]*Staff, error) {
	var list []*Staff
	err := s.eachOf(ctx, d.Merchant, kindStaff, func() any { return new(Staff) }, func(v any) {
		if p := v.(*Staff); d.takes(p) {
			list = append(list, p)
		}
	})
	return list, err
}

func (d *Device) takes(p *Staff) bool {
	sells := p.Role == Owner || p.Role == Manager || p.Role == Cashier
	return sells && p.Merchant == d.Merchant && p.Ended.IsZero() && len(p.PIN) > 0 && (p.Outlet == "" || d.Outlet == "" || p.Outlet == d.Outlet)
}

// LoginOnDevice opens a cashier's session on a paired device. Each try is counted
// before it is looked at, so that many at once are no more than one after the other.
func (s *Service) LoginOnDevice(ctx context.Context, device string, id StaffID, pin string) (*Session, string, error) {
	d, err := s.Device(ctx, device)
	if err != nil {
		return nil, "", err
	}
	wrong := &Error{Kind: Unauthorized, Code: "unauthorized", Detail: "That is not the PIN."}
	if id.Shard() != d.Merchant.Shard() {
		return nil, "", wrong
	}
	var p *Staff
	err = s.change(ctx, id.Shard(), func(t *tx) (err error) {
		if p, err = read[Staff](t, staffKey(id), nil); err != nil {
			return err
		}
		if p == nil || !d.takes(p) {
			return wrong
		}
		if t.now.Before(p.ShutUntil) {
			left := p.ShutUntil.Sub(t.now)
			return &Error{Kind: Limited, Code: "rate_limited", Detail: "Too many wrong PINs. Wait, or log in with the password.", Retry: int(left/time.Second) + 1}
		}
		if p.Wrong++; p.Wrong >= pinTries {
			p.Wrong, p.ShutUntil = 0, t.now.Add(pinShut)
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	ok, err := s.passwords.fits(ctx, p.PIN, pin)
	if err != nil {
		return nil, "", err
	}
	if !ok {
		return nil, "", wrong
	}
	return s.sessionFor(ctx, p, d.ID, pinMost)
}

// Devices lists the devices that the caller could have made and that are not revoked,
// by id.
func (s *Service) Devices(ctx context.Context, c Caller) ([]*Device, error) {
	var list []*Device
	err := s.eachOf(ctx, c.Merchant, kindDevice, func() any { return new(Device) }, func(v any) {
		if d := v.(*Device); d.Revoked.IsZero() && c.holds(d.Outlet, d.Codes) {
			list = append(list, d)
		}
	})
	return list, err
}

// EndDevice revokes a device that the caller could have made: nobody logs in on it any
// more, and who is logged in there is out on every gateway within 5 seconds. To end it
// again changes nothing.
func (s *Service) EndDevice(ctx context.Context, c Caller, id DeviceID) (d *Device, err error) {
	if shardOf(string(id)) != c.Merchant.Shard() {
		return nil, notFound("device")
	}
	defer s.forgetSessions()
	err = s.change(ctx, c.Merchant.Shard(), func(t *tx) (err error) {
		if d, err = read[Device](t, deviceKey(id), nil); err != nil || d == nil || d.Merchant != c.Merchant || !c.holds(d.Outlet, d.Codes) {
			return orMissing(err, "device")
		}
		if d.Revoked.IsZero() {
			d.Revoked = t.now
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}
