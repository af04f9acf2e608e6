package gateway

import (
	"net/http"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// keyView is an API key. Its secret is told once, to whoever made it.
type keyView struct {
	ID        linking.KeyID     `json:"id"`
	Role      linking.Role      `json:"role"`
	Label     string            `json:"label"`
	Outlet    *linking.OutletID `json:"outlet"` // null: all
	Codes     []linking.Token   `json:"codes"`  // empty: all
	CreatedAt *string           `json:"created_at"`
	DeletedAt *string           `json:"deleted_at,omitempty"`
	Secret    string            `json:"secret,omitempty"`
}

func viewKey(k *linking.APIKey) keyView {
	return keyView{ID: k.ID, Role: k.Role, Label: k.Label, Outlet: orNull(k.Outlet), Codes: listOf(k.Codes), CreatedAt: stamp(k.CreatedAt), DeletedAt: stamp(k.Revoked)}
}

type newKey struct {
	Role   string   `json:"role" validate:"required,oneof=owner manager cashier agent viewer"`
	Label  string   `json:"label" validate:"omitempty,text,max=100"`
	Outlet string   `json:"outlet" validate:"omitempty,printable,max=40"`
	Codes  []string `json:"codes" validate:"max=200,dive,printable,max=60"`
}

// issueKey makes a key. An Idempotency-Key is refused: to repeat the answer, the
// secret would have to be stored.
func (a *api) issueKey(c *fiber.Ctx, who linking.Caller) (any, error) {
	if err := toldOnce(c, who, "a key's secret"); err != nil {
		return nil, err
	}
	var in newKey
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	k := linking.NewKey{Role: linking.Role(in.Role), Label: in.Label}
	var err error
	if k.Outlet, err = outletOf(in.Outlet); err != nil {
		return nil, err
	}
	if k.Codes, err = tokensOf(in.Codes); err != nil {
		return nil, err
	}
	made, secret, err := a.svc.IssueKey(c.UserContext(), who, k)
	if err != nil {
		return nil, err
	}
	v := viewKey(made)
	v.Secret = secret
	return &answer{status: http.StatusCreated, body: v, location: "/v1/keys/" + string(made.ID)}, nil
}

func (a *api) listKeys(c *fiber.Ctx, who linking.Caller) error {
	q := queryOf(c)
	limit, after := q.page()
	if err := q.err(); err != nil {
		return err
	}
	keys, err := a.svc.LiveKeys(c.UserContext(), who)
	if err != nil {
		return err
	}
	return c.JSON(pageAfter(keys, limit, after, func(k *linking.APIKey) string { return string(k.ID) }, viewKey))
}

func (a *api) endKey(c *fiber.Ctx, who linking.Caller) (any, error) {
	s, err := pathParam(c, "key")
	if err != nil {
		return nil, err
	}
	id, ok := linking.ParseKeyID(s)
	if !ok {
		return nil, &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such key."}
	}
	k, err := a.svc.EndKey(c.UserContext(), who, id)
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, body: viewKey(k)}, nil
}

type outletView struct {
	ID   linking.OutletID `json:"id"`
	Name string           `json:"name"`
}

func viewOutlet(o *linking.Outlet) outletView { return outletView{o.ID, o.Name} }

type outletBody struct {
	Name string `json:"name" validate:"required,text,max=100"`
}

func (a *api) openOutlet(c *fiber.Ctx, who linking.Caller) (any, error) {
	var in outletBody
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	made := func(o *linking.Outlet) *answer {
		return &answer{status: http.StatusCreated, body: viewOutlet(o), location: "/v1/outlets/" + string(o.ID)}
	}
	if who.Once != nil {
		who.Once.Render = func(v any) linking.Reply { return made(v.(*linking.Outlet)).reply() }
	}
	o, err := a.svc.OpenOutlet(c.UserContext(), who, in.Name)
	if err != nil || who.Once != nil && who.Once.Reply != nil {
		return nil, err
	}
	return made(o), nil
}

func (a *api) renameOutlet(c *fiber.Ctx, who linking.Caller) (any, error) {
	s, err := pathParam(c, "outlet")
	if err != nil {
		return nil, err
	}
	id, ok := linking.ParseOutletID(s)
	if !ok {
		return nil, &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such outlet."}
	}
	var in outletBody
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	o, err := a.svc.RenameOutlet(c.UserContext(), who, id, in.Name)
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, body: viewOutlet(o)}, nil
}

func (a *api) listOutlets(c *fiber.Ctx, who linking.Caller) error {
	q := queryOf(c)
	limit, after := q.page()
	if err := q.err(); err != nil {
		return err
	}
	list, err := a.svc.Outlets(c.UserContext(), who)
	if err != nil {
		return err
	}
	return c.JSON(pageAfter(list, limit, after, func(o *linking.Outlet) string { return string(o.ID) }, viewOutlet))
}

// pageAfter is the page of a list, in the order of its ids, that follows an id.
func pageAfter[T, V any](list []T, limit int, after string, id func(T) string, view func(T) V) pageView[V] {
	page := pageView[V]{Data: []V{}}
	for i, v := range list {
		if id(v) <= after {
			continue
		}
		if len(page.Data) == limit {
			page.Next = orNull(id(list[i-1]))
			break
		}
		page.Data = append(page.Data, view(v))
	}
	return page
}

type merchantPatch struct {
	Name      *string         `json:"name" validate:"omitempty,text,max=100"`
	Contact   *string         `json:"contact" validate:"omitempty,text,max=200"`
	TimeZone  *string         `json:"time_zone" validate:"omitempty,printable,max=60"`
	DayEndsAt *string         `json:"day_ends_at" validate:"omitempty,printable,max=5"`
	VATRate   *string         `json:"vat_rate" validate:"omitempty,printable,max=10"`
	Lines     *string         `json:"lines_shown" validate:"omitempty,oneof=after_payment after_word always"`
	Late      *string         `json:"late_payments" validate:"omitempty,oneof=hold accept return"`
	Takeover  *bool           `json:"takeover"`
	RefundCap *linking.Amount `json:"cashier_refund_limit" validate:"omitempty,min=0"`
	Phone     *bool           `json:"promise_by_phone"`
	Languages []string        `json:"languages" validate:"omitempty,max=5,dive,oneof=en pt de es fr"`
	Senders   []string        `json:"send_links" validate:"omitempty,max=5,dive,oneof=owner manager cashier agent viewer"`

	Accounts      *[]string       `json:"settlement_accounts" validate:"omitempty,max=20,dive,printable,max=60"`
	ReadingLimit  *linking.Amount `json:"reading_limit" validate:"omitempty,min=0"`
	ReadingFactor *int            `json:"reading_factor" validate:"omitempty,min=0,max=1000"`
}

// patchMerchant changes the merchant: what payers see of it, its day, and its rules.
func (a *api) patchMerchant(c *fiber.Ctx, who linking.Caller) (any, error) {
	var in merchantPatch
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	p := linking.MerchantPatch{
		Name: in.Name, Contact: in.Contact, TimeZone: in.TimeZone, DayEndsAt: in.DayEndsAt, VATRate: in.VATRate,
		Lines: (*linking.LinesShown)(in.Lines), Late: (*linking.LateRule)(in.Late), Takeover: in.Takeover, RefundCap: in.RefundCap, Phone: in.Phone, Languages: in.Languages,
		Accounts: in.Accounts, ReadingLimit: in.ReadingLimit, ReadingFactor: in.ReadingFactor,
	}
	if in.Senders != nil {
		p.Senders = []linking.Role{}
		for _, r := range in.Senders {
			p.Senders = append(p.Senders, linking.Role(r))
		}
	}
	m, err := a.svc.PatchMerchant(c.UserContext(), who, p)
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, body: viewMerchant(m)}, nil
}

// putLogo gives the merchant another picture.
func (a *api) putLogo(c *fiber.Ctx, who linking.Caller) (any, error) {
	data, mediaType, err := bodyOf(c, "image/png", "image/svg+xml")
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, invalidFields([]linking.FieldError{{Field: "logo", Code: "required", Message: "is missing"}})
	}
	return a.changeLogo(c, who, data, mediaType)
}

func (a *api) deleteLogo(c *fiber.Ctx, who linking.Caller) (any, error) {
	return a.changeLogo(c, who, nil, "")
}

func (a *api) changeLogo(c *fiber.Ctx, who linking.Caller, data []byte, mediaType string) (any, error) {
	if err := a.svc.ChangeLogo(c.UserContext(), who, data, mediaType); err != nil {
		return nil, err
	}
	return &answer{status: http.StatusNoContent}, nil
}
