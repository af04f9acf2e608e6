package gateway

import (
	"fmt"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// staffView is a person of a merchant. The link by which he comes in is told once, to
// whoever invited him.
type staffView struct {
	ID        linking.StaffID   `json:"id"`
	Name      string            `json:"name"`
	Role      linking.Role      `json:"role"`
	Outlet    *linking.OutletID `json:"outlet"` // null: all
	User      *string           `json:"user"`   // null: he has not come yet
	HasPIN    bool              `json:"has_pin"`
	InvitedBy *string           `json:"invited_by"`
	CreatedAt *string           `json:"created_at"`
	JoinedAt  *string           `json:"joined_at"`
	EndedAt   *string           `json:"ended_at,omitempty"`
	InviteURL string            `json:"invite_url,omitempty"`
	InviteEnd *string           `json:"invite_until"` // null: no link is good
}

func (a *api) viewStaff(p *linking.Staff) staffView {
	v := staffView{
		ID: p.ID, Name: p.Name, Role: p.Role, Outlet: orNull(p.Outlet), User: orNull(p.User), HasPIN: len(p.PIN) > 0, InvitedBy: orNull(p.InvitedBy),
		CreatedAt: stamp(p.CreatedAt), JoinedAt: stamp(p.JoinedAt), EndedAt: stamp(p.Ended),
	}
	if a.svc.Now().Before(p.InviteEnd) {
		v.InviteEnd = stamp(p.InviteEnd)
	}
	return v
}

type newStaff struct {
	Name   string `json:"name" validate:"required,text,max=100"`
	Role   string `json:"role" validate:"required,oneof=owner manager cashier agent viewer"`
	Outlet string `json:"outlet" validate:"omitempty,printable,max=40"`
}

type staffPatch struct {
	Name   *string `json:"name" validate:"omitempty,text,max=100"`
	Role   *string `json:"role" validate:"omitempty,oneof=owner manager cashier agent viewer"`
	Outlet *string `json:"outlet" validate:"omitempty,printable,max=40"`
}

// toldOnce refuses an Idempotency-Key: to repeat the answer, its secret would have to
// be stored.
func toldOnce(c *fiber.Ctx, who linking.Caller, what string) error {
	c.Set(fiber.HeaderCacheControl, "no-store")
	if who.Once != nil {
		return invalidFields([]linking.FieldError{{Field: "Idempotency-Key", Code: "not_here", Message: "cannot be used here: " + what + " is told once and stored nowhere"}})
	}
	return nil
}

func (a *api) inviteURL(secret string) string { return a.publicOrigin + "/join/" + secret }
func (a *api) pairURL(secret string) string   { return a.publicOrigin + "/pair/" + secret }

func (a *api) inviteStaff(c *fiber.Ctx, who linking.Caller) (any, error) {
	if err := toldOnce(c, who, "the link"); err != nil {
		return nil, err
	}
	var in newStaff
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	outlet, err := outletOf(in.Outlet)
	if err != nil {
		return nil, err
	}
	p, secret, err := a.svc.Invite(c.UserContext(), who, linking.NewStaff{Name: in.Name, Role: linking.Role(in.Role), Outlet: outlet})
	if err != nil {
		return nil, err
	}
	v := a.viewStaff(p)
	v.InviteURL = a.inviteURL(secret)
	return &answer{status: http.StatusCreated, body: v, location: "/v1/staff/" + string(p.ID)}, nil
}

func (a *api) inviteAgain(c *fiber.Ctx, who linking.Caller) (any, error) {
	if err := toldOnce(c, who, "the link"); err != nil {
		return nil, err
	}
	id, err := staffParam(c)
	if err != nil {
		return nil, err
	}
	p, secret, err := a.svc.InviteAgain(c.UserContext(), who, id)
	if err != nil {
		return nil, err
	}
	v := a.viewStaff(p)
	v.InviteURL = a.inviteURL(secret)
	return &answer{status: http.StatusOK, body: v}, nil
}

func (a *api) listStaff(c *fiber.Ctx, who linking.Caller) error {
	q := queryOf(c)
	limit, after := q.page()
	if err := q.err(); err != nil {
		return err
	}
	list, err := a.svc.StaffOf(c.UserContext(), who)
	if err != nil {
		return err
	}
	return c.JSON(pageAfter(list, limit, after, func(p *linking.Staff) string { return string(p.ID) }, a.viewStaff))
}

func staffParam(c *fiber.Ctx) (linking.StaffID, error) {
	s, err := pathParam(c, "staff")
	if err != nil {
		return "", err
	}
	id, ok := linking.ParseStaffID(s)
	if !ok {
		return "", &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such person."}
	}
	return id, nil
}

func (a *api) patchStaff(c *fiber.Ctx, who linking.Caller) (any, error) {
	id, err := staffParam(c)
	if err != nil {
		return nil, err
	}
	var in staffPatch
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	patch := linking.StaffPatch{Name: in.Name, Role: (*linking.Role)(in.Role)}
	if in.Outlet != nil {
		o, err := outletOf(*in.Outlet)
		if err != nil {
			return nil, err
		}
		patch.Outlet = &o
	}
	p, err := a.svc.ChangeStaff(c.UserContext(), who, id, patch)
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, body: a.viewStaff(p)}, nil
}

func (a *api) endStaff(c *fiber.Ctx, who linking.Caller) (any, error) {
	id, err := staffParam(c)
	if err != nil {
		return nil, err
	}
	p, err := a.svc.EndStaff(c.UserContext(), who, id)
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, body: a.viewStaff(p)}, nil
}

// deviceView is a tablet at a till, on which cashiers log in by PIN.
type deviceView struct {
	ID        linking.DeviceID  `json:"id"`
	Name      string            `json:"name"`
	Outlet    *linking.OutletID `json:"outlet"` // null: all
	Codes     []linking.Token   `json:"codes"`  // empty: all
	CreatedAt *string           `json:"created_at"`
	PairedAt  *string           `json:"paired_at"` // null: not yet
	DeletedAt *string           `json:"deleted_at,omitempty"`
	PairURL   string            `json:"pair_url,omitempty"`
}

func viewDevice(d *linking.Device) deviceView {
	return deviceView{ID: d.ID, Name: d.Name, Outlet: orNull(d.Outlet), Codes: listOf(d.Codes), CreatedAt: stamp(d.CreatedAt), PairedAt: stamp(d.PairedAt), DeletedAt: stamp(d.Revoked)}
}

type newDevice struct {
	Name   string   `json:"name" validate:"required,text,max=100"`
	Outlet string   `json:"outlet" validate:"omitempty,printable,max=40"`
	Codes  []string `json:"codes" validate:"max=200,dive,printable,max=60"`
}

// tokensOf reads the codes that a key or a device is bound to.
func tokensOf(list []string) (tokens []linking.Token, err error) {
	for i, s := range list {
		t, ok := linking.ParseToken(s)
		if !ok {
			return nil, invalidFields([]linking.FieldError{{Field: fmt.Sprintf("codes[%d]", i), Code: "unknown", Message: "is not a code"}})
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}

func (a *api) prepareDevice(c *fiber.Ctx, who linking.Caller) (any, error) {
	if err := toldOnce(c, who, "the link"); err != nil {
		return nil, err
	}
	var in newDevice
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	n := linking.NewDevice{Name: in.Name}
	var err error
	if n.Outlet, err = outletOf(in.Outlet); err != nil {
		return nil, err
	}
	if n.Codes, err = tokensOf(in.Codes); err != nil {
		return nil, err
	}
	d, secret, err := a.svc.PrepareDevice(c.UserContext(), who, n)
	if err != nil {
		return nil, err
	}
	v := viewDevice(d)
	v.PairURL = a.pairURL(secret)
	return &answer{status: http.StatusCreated, body: v, location: "/v1/devices/" + string(d.ID)}, nil
}

func (a *api) listDevices(c *fiber.Ctx, who linking.Caller) error {
	q := queryOf(c)
	limit, after := q.page()
	if err := q.err(); err != nil {
		return err
	}
	list, err := a.svc.Devices(c.UserContext(), who)
	if err != nil {
		return err
	}
	return c.JSON(pageAfter(list, limit, after, func(d *linking.Device) string { return string(d.ID) }, viewDevice))
}

func (a *api) endDevice(c *fiber.Ctx, who linking.Caller) (any, error) {
	s, err := pathParam(c, "device")
	if err != nil {
		return nil, err
	}
	id, ok := linking.ParseDeviceID(s)
	if !ok {
		return nil, &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such device."}
	}
	d, err := a.svc.EndDevice(c.UserContext(), who, id)
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, body: viewDevice(d)}, nil
}

// nameView is who stands behind an id in history and events.
type nameView struct {
	ID   string `json:"id"`
	Kind string `json:"kind"`
	Name string `json:"name"`
}

func (a *api) listNames(c *fiber.Ctx, who linking.Caller) error {
	q := queryOf(c)
	limit, after := q.page()
	if err := q.err(); err != nil {
		return err
	}
	list, err := a.svc.NamesOf(c.UserContext(), who)
	if err != nil {
		return err
	}
	return c.JSON(pageAfter(list, limit, after, func(n linking.Name) string { return n.ID }, func(n linking.Name) nameView { return nameView(n) }))
}
