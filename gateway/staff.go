package gateway

import (
	"encoding/base64"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
	"placard/printing"
)

// Demo is what the demo page puts side by side. A gateway that has one may show its
// own pages in frames.
type Demo struct {
	Code linking.Token
	Key  string // of the till
	Bank string // origin of the bank's pages, which the phone is led to
}

// frames are the origins that may frame a page: none, but for the demo its own.
func (a *api) frames() []string {
	if a.demo != nil {
		return []string{"'self'"}
	}
	return nil
}

var scriptsOnly = newPagePolicy(nil)

// till shows the till of a code. Whoever opens it brings a key.
func (a *api) till(c *fiber.Ctx) error {
	id, err := codeParam(c)
	if err != nil {
		return err
	}
	policy := newPagePolicy(map[string][]string{"frame-ancestors": a.frames()})
	return a.render(c, "till.html", policy, fiber.StatusOK, map[string]any{"Code": id})
}

// demoPage shows paper, phone and till side by side.
func (a *api) demoPage(c *fiber.Ctx) error {
	who, err := a.demoCaller(c)
	if err != nil {
		return err
	}
	v, err := a.svc.Code(c.UserContext(), who, a.demo.Code)
	if err != nil {
		return err
	}
	m, err := a.svc.Merchant(c.UserContext(), who.Merchant)
	if err != nil {
		return err
	}
	qr, err := printing.Encode(a.svc.Payload(v.Code), printing.M)
	if err != nil {
		return err
	}
	policy := newPagePolicy(map[string][]string{"frame-src": {"'self'", a.demo.Bank}})
	return a.render(c, "demo.html", policy, fiber.StatusOK, map[string]any{
		"Merchant": m.Name, "Label": v.Label, "Grouped": v.Token.Grouped(), "URL": a.svc.CodeURL(v.Token),
		"QR":   base64.StdEncoding.EncodeToString(printing.SVG(qr, printing.SVGOptions{})),
		"Page": "/q/" + string(v.Token), "Till": "/till/" + string(v.Token) + "#" + a.demo.Key,
	})
}

func (a *api) demoCaller(c *fiber.Ctx) (linking.Caller, error) {
	k, err := a.svc.Authenticate(c.UserContext(), a.demo.Key)
	if err != nil {
		return linking.Caller{}, err
	}
	return k.Caller(), nil
}

// problemPage says to a person what a problem document says to a program.
func (a *api) problemPage(c *fiber.Ctx, p *problem) error {
	d := map[string]any{"Code": p.Code, "RequestID": p.RequestID, "Heading": p.Title, "Text": []string{p.Detail}}
	switch res, _ := p.with["resolution"].(linking.Resolution); res {
	case linking.NoSuchCode:
		d["Heading"], d["Text"] = "This code is not ours", []string{"Nothing can be paid here, and nothing was taken.", "Please check the address, or ask the shop for its code."}
	case linking.OutOfUse:
		d["Heading"], d["Text"] = "This code is out of use", []string{"Nothing can be paid here, and nothing was taken."}
	case linking.Superseded:
		d["Heading"], d["Text"] = "Please use the newer code", []string{"Another code has taken the place of this one. Nothing can be paid here, and nothing was taken."}
	case linking.NoAnswer:
		d["Heading"], d["Text"] = "Just a moment", []string{"Nothing can be shown right now, and nothing was taken. Please try again in a moment."}
	}
	if contact, ok := p.with["contact"].(string); ok {
		d["Text"] = append(d["Text"].([]string), contact)
	}
	return a.render(c, "problem.html", scriptsOnly, p.Status, d)
}
