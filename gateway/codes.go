package gateway

import (
	"errors"
	"net/http"
	"slices"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

type newCode struct {
	Kind       string            `json:"kind" validate:"required,oneof=counter bill account"`
	Label      string            `json:"label" validate:"omitempty,text,max=100"`
	Outlet     string            `json:"outlet" validate:"omitempty,printable,max=40"`
	Metadata   map[string]string `json:"metadata" validate:"max=20,dive,keys,printable,max=40,endkeys,text,max=500"`
	Rail       string            `json:"rail" validate:"omitempty,printable,max=20"`
	ResolvedBy string            `json:"resolved_by" validate:"omitempty,oneof=gateway bank"`
	Charge     string            `json:"charge" validate:"omitempty,oneof=immediate due_date"`
}

func (a *api) makeCode(c *fiber.Ctx, who linking.Caller) (any, error) {
	var in newCode
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	outlet, err := outletOf(in.Outlet)
	if err != nil {
		return nil, err
	}
	made := func(v linking.CodeView) *answer {
		return &answer{http.StatusCreated, a.viewCode(v), etag(v.Epoch), "/v1/codes/" + string(v.Token)}
	}
	if who.Once != nil {
		who.Once.Render = func(v any) linking.Reply { return made(v.(linking.CodeView)).reply() }
	}
	code, err := a.svc.MakeCode(c.UserContext(), who, linking.NewCode{
		Kind: linking.CodeKind(in.Kind), Label: in.Label, Outlet: outlet, Metadata: in.Metadata, Rail: in.Rail,
		ResolvedBy: linking.ResolvedBy(in.ResolvedBy), Charge: linking.Charge(in.Charge),
	})
	if err != nil || who.Once != nil && who.Once.Reply != nil {
		return nil, err
	}
	return made(linking.CodeView{Code: code}), nil
}

func outletOf(s string) (linking.OutletID, error) {
	if s == "" {
		return "", nil
	}
	id, ok := linking.ParseOutletID(s)
	if !ok {
		return "", invalidFields([]linking.FieldError{{Field: "outlet", Code: "unknown", Message: "is not an outlet"}})
	}
	return id, nil
}

func (a *api) listCodes(c *fiber.Ctx, who linking.Caller) error {
	q := queryOf(c)
	f := linking.CodeFilter{
		Kind:   linking.CodeKind(q.choice("kind", "counter", "bill", "account")),
		Linked: q.flag("linked"),
		Stock:  linking.Stock(q.choice("stock", "made", "printed", "delivered")),
		Status: linking.CodeStatus(q.choice("status", "active", "void", "lost", "retired", "replaced")),
		Query:  q.text("q", 100),
	}
	batch, outlet := q.text("batch", 40), q.text("outlet", 40)
	f.Limit, f.After = q.page()
	if err := q.err(); err != nil {
		return err
	}
	var err error
	if f.Outlet, err = outletOf(outlet); err != nil {
		return err
	}
	if batch != "" {
		ok := false
		if f.Batch, ok = linking.ParseBatchID(batch); !ok {
			return c.JSON(pageView[*codeView]{Data: []*codeView{}})
		}
	}
	list, next, err := a.svc.Codes(c.UserContext(), who, f)
	if err != nil {
		return err
	}
	page := pageView[*codeView]{Data: []*codeView{}, Next: orNull(next)}
	for _, v := range list {
		page.Data = append(page.Data, a.viewCode(v))
	}
	return c.JSON(page)
}

func (a *api) getCode(c *fiber.Ctx, who linking.Caller) error {
	id, err := codeParam(c)
	if err != nil {
		return err
	}
	v, err := a.svc.Code(c.UserContext(), who, id)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderETag, etag(v.Epoch))
	return c.JSON(a.viewCode(v))
}

type codePatch struct {
	Label    *string           `json:"label" validate:"omitempty,text,max=100"`
	Outlet   *string           `json:"outlet" validate:"omitempty,max=40"`
	Metadata map[string]string `json:"metadata" validate:"max=20,dive,keys,printable,max=40,endkeys,text,max=500"`
	Status   *string           `json:"status" validate:"omitempty,oneof=active void lost retired"`
	Stock    *string           `json:"stock" validate:"omitempty,oneof=made printed delivered"`
}

func (a *api) patchCode(c *fiber.Ctx, who linking.Caller) (any, error) {
	id, err := codeParam(c)
	if err != nil {
		return nil, err
	}
	var in codePatch
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	p := linking.CodePatch{Label: in.Label, Metadata: in.Metadata, Status: (*linking.CodeStatus)(in.Status), Stock: (*linking.Stock)(in.Stock)}
	if in.Outlet != nil {
		outlet, err := outletOf(*in.Outlet)
		if err != nil {
			return nil, err
		}
		p.Outlet = &outlet
	}
	if p.IfMatch, err = ifMatch(c); err != nil {
		return nil, err
	}
	return a.codeAnswer(c, who, http.StatusOK, func() (linking.CodeView, error) { return a.svc.PatchCode(c.UserContext(), who, id, p) })
}

func (a *api) replaceCode(c *fiber.Ctx, who linking.Caller) (any, error) {
	id, err := codeParam(c)
	if err != nil {
		return nil, err
	}
	return a.codeAnswer(c, who, http.StatusCreated, func() (linking.CodeView, error) { return a.svc.ReplaceCode(c.UserContext(), who, id) })
}

// codeAnswer runs a change of a code that is one commit, with its answer in it.
func (a *api) codeAnswer(c *fiber.Ctx, who linking.Caller, status int, change func() (linking.CodeView, error)) (any, error) {
	shown := func(v linking.CodeView) *answer {
		n := &answer{status: status, body: a.viewCode(v), etag: etag(v.Epoch)}
		if status == http.StatusCreated {
			n.location = "/v1/codes/" + string(v.Token)
		}
		return n
	}
	if who.Once != nil {
		who.Once.Render = func(v any) linking.Reply { return shown(v.(linking.CodeView)).reply() }
	}
	v, err := change()
	if err != nil || who.Once != nil && who.Once.Reply != nil {
		return nil, err
	}
	return shown(v), nil
}

func (a *api) codeHistory(c *fiber.Ctx, who linking.Caller) error {
	id, err := codeParam(c)
	if err != nil {
		return err
	}
	q := queryOf(c)
	limit, after := q.page()
	if err := q.err(); err != nil {
		return err
	}
	list, next, err := a.svc.History(c.UserContext(), who, id, after, limit)
	if err != nil {
		return err
	}
	page := pageView[historyView]{Data: []historyView{}, Next: orNull(next)}
	for _, l := range list {
		page.Data = append(page.Data, viewHistory(l))
	}
	return c.JSON(page)
}

// codeQR answers with a code's symbol, as it is printed.
func (a *api) codeQR(c *fiber.Ctx, who linking.Caller) error {
	id, err := codeParam(c)
	if err != nil {
		return err
	}
	v, err := a.svc.Code(c.UserContext(), who, id)
	if err != nil {
		return err
	}
	return a.qr(c, who, a.label(v, &linking.Merchant{}, ""), v.Token.Grouped())
}

type attachBody struct {
	Request   *newRequest `json:"request"`
	RequestID string      `json:"request_id" validate:"omitempty,printable,max=64"`
	Move      bool        `json:"move"`
	Replace   bool        `json:"replace"`
}

func (a *api) attach(c *fiber.Ctx, who linking.Caller) (any, error) {
	id, err := codeParam(c)
	if err != nil {
		return nil, err
	}
	var in attachBody
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	if (in.Request == nil) == (in.RequestID == "") {
		return nil, invalidFields([]linking.FieldError{{Field: "request", Code: "one_of", Message: "or request_id must be given, and not both"}})
	}
	cmd := linking.AttachCommand{Code: id, Request: in.RequestID, Move: in.Move, Replace: in.Replace, Wait: waiting(c, prefer(c))}
	if cmd.IfMatch, err = ifMatch(c); err != nil {
		return nil, err
	}
	if in.Request != nil {
		n, err := in.Request.domain()
		if err != nil {
			return nil, below("request.", err)
		}
		n.Replace = in.Replace
		cmd.New = &n
	}
	l, err := a.svc.Attach(c.UserContext(), who, cmd)
	if err != nil {
		if in.Request != nil {
			err = below("request.", err)
		}
		return nil, err
	}
	if l == nil { // the call was made before: its answer is in who.Once
		return nil, nil
	}
	status := http.StatusOK
	if l.Request != nil && l.Request.Status == linking.Preparing || !l.Code.AtBank() {
		status = http.StatusAccepted // the bank has not confirmed it yet, or shows something else
	}
	return a.linkAnswer(l, status), nil
}

func (a *api) linkAnswer(l *linking.LinkAnswer, status int) *answer {
	return &answer{status: status, body: a.viewLink(l), etag: etag(l.Code.Epoch)}
}

// below puts the place of an object before the names of its fields.
func below(place string, err error) error {
	e, ok := errors.AsType[*linking.Error](err)
	if !ok || len(e.Fields) == 0 {
		return err
	}
	deeper := *e
	deeper.Fields = slices.Clone(e.Fields)
	for i := range deeper.Fields {
		deeper.Fields[i].Field = place + deeper.Fields[i].Field
	}
	return &deeper
}

func (a *api) detach(c *fiber.Ctx, who linking.Caller) (any, error) {
	id, err := codeParam(c)
	if err != nil {
		return nil, err
	}
	q := queryOf(c)
	cmd := linking.DetachCommand{Code: id, Request: q.text("request_id", 64), Wait: waiting(c, prefer(c))}
	if cancel := q.flag("cancel"); cancel != nil {
		cmd.Cancel = *cancel
	}
	if err := q.err(); err != nil {
		return nil, err
	}
	if cmd.IfMatch, err = ifMatch(c); err != nil {
		return nil, err
	}
	l, err := a.svc.Detach(c.UserContext(), who, cmd)
	if err != nil || l == nil {
		return nil, err
	}
	status := http.StatusOK
	if d := l.Displaced; d != nil && (d.Status == linking.Closing || d.Status == linking.Processing) || !l.Code.AtBank() {
		status = http.StatusAccepted
	}
	return a.linkAnswer(l, status), nil
}

func (a *api) shown(c *fiber.Ctx, who linking.Caller) error {
	id, err := codeParam(c)
	if err != nil {
		return err
	}
	l, err := a.svc.Shown(c.UserContext(), who, id)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderETag, etag(l.Code.Epoch))
	return c.JSON(a.viewLink(l))
}
