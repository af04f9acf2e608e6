package gateway

import (
	"encoding/base64"
	"strings"

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

// tillScript is what the till's script says, in one language: words, and the pictures
// of pairings with their names.
func (a *api) tillScript(l *language) map[string]any {
	names := a.payerWords.named(l.tag, nil)
	pictures := map[string][2]string{}
	for i, id := range linking.Pictures {
		pictures[id] = [2]string{strings.TrimSuffix(strings.TrimPrefix(a.pictures[i], assetRoot+"pictures-"), ".svg"), names.pictures[i]}
	}
	said := l.script(string(a.assets.byName["till.js"].plain))
	said["pictures"] = pictures
	return said
}

// tillStep is something that happens to a sale, as the till shows it.
type tillStep struct{ Name, Text string }

// till shows the till of a code. Whoever opens it brings a key.
func (a *api) till(c *fiber.Ctx) error {
	id, err := codeParam(c)
	if err != nil {
		return err
	}
	l := a.tillWords.languageOf(c, nil)
	var steps []tillStep
	for _, name := range []string{"shown", "scanned", "opened", "paying", "bank"} {
		steps = append(steps, tillStep{name, l.say("step_" + name)})
	}
	return a.render(c, "till.html", a.plainPolicy, fiber.StatusOK, map[string]any{
		"Code": id, "Self": "/till/" + string(id), "Lang": l, "Offers": []*language(a.tillWords), "Words": a.tillScript(l), "Steps": steps,
		"Keys": []string{"7", "8", "9", "4", "5", "6", "1", "2", "3", "0", "00"},
	})
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
	l := a.payerWords.languageOf(c, nil)
	d := map[string]any{"Lang": l, "Code": p.Code, "RequestID": p.RequestID, "Contact": "", "Refresh": false}
	say := func(heading string, text ...string) {
		d["Heading"] = l.say(heading)
		for i, key := range text {
			text[i] = l.say(key)
		}
		d["Text"] = text
	}
	res, _ := p.with["resolution"].(linking.Resolution)
	switch {
	case res == linking.NoSuchCode:
		say("unknown", "not_here", "unknown_text")
	case res == linking.OutOfUse:
		say("out_of_use", "not_here")
	case res == linking.Superseded:
		say("replaced", "replaced_text")
	case res == linking.NoAnswer:
		say("unavailable", "unavailable_text")
		d["Refresh"] = c.Method() == fiber.MethodGet
	case p.Status == fiber.StatusTooManyRequests:
		say("limited", "limited_text")
	case p.Status == fiber.StatusServiceUnavailable:
		say("unavailable", "unavailable_text")
	default:
		say("fault", "fault_text")
		if p.Status < fiber.StatusInternalServerError && l.tag == "en" {
			d["Text"] = []string{p.Detail}
		}
	}
	if contact, ok := p.with["contact"].(string); ok {
		d["Contact"] = legible(contact)
	}
	return a.render(c, "problem.html", scriptsOnly, p.Status, d)
}
