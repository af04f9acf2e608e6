package gateway

import (
	"encoding/base64"
	"errors"
	"slices"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
	"placard/printing"
)

// The pages where people log in, and arrange what is theirs and the merchant's. They
// are forms and links: everything works without a script.

// desk is what every such page shows.
func (a *api) desk(c *fiber.Ctx, page string) map[string]any {
	l := a.deskWords.languageOf(c, nil)
	return map[string]any{"Lang": l, "Offers": []*language(a.deskWords), "Page": page, "Notice": "", "Done": ""}
}

// said is the key of the words for a refusal that a form shows; empty: it is none that
// whoever filled it in can do something about.
func (a *api) said(c *fiber.Ctx, err error) string {
	e, ok := errors.AsType[*linking.Error](err)
	if !ok {
		return ""
	}
	key := ""
	switch e.Kind {
	case linking.Invalid:
		key = "e_other"
		if len(e.Fields) > 0 {
			key = "e_" + e.Fields[0].Code
			if own := key + "_" + e.Fields[0].Field; a.deskWords[0].words[own] != "" {
				key = own
			}
		}
	case linking.Conflict, linking.Stale:
		key = "e_other"
	case linking.Limited:
		key = "limited"
	case linking.Forbidden:
		key = "e_forbidden"
	case linking.NotFound:
		key = "e_gone"
	default:
		return ""
	}
	if a.deskWords[0].words[key] == "" {
		key = "e_other"
	}
	callOf(c).code = e.Code
	return key
}

// symbol is a QR code of a link, for a page; empty if it has no room in one.
func symbol(link string) string {
	qr, err := printing.Encode(link, printing.M)
	if err != nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(printing.SVG(qr, printing.SVGOptions{}))
}

// deskFor adds who looks at the page, and where he may go.
func (a *api) deskFor(c *fiber.Ctx, who linking.Caller, page string) (map[string]any, *linking.Staff, error) {
	d := a.desk(c, page)
	m, err := a.svc.Merchant(c.UserContext(), who.Merchant)
	if err != nil {
		return nil, nil, err
	}
	me, err := a.svc.Me(c.UserContext(), who)
	if err != nil {
		return nil, nil, err
	}
	d["Merchant"], d["Role"], d["OnDevice"] = m, who.Role, who.OnDevice()
	if me != nil {
		d["Me"] = me
	}
	d["Arranges"], d["Sells"] = slices.Contains(managers, who.Role), slices.Contains(tills, who.Role)
	d["Reads"], d["Walks"] = slices.Contains(readers, who.Role), who.Role == linking.Agent
	return d, me, nil
}

// accountPage is a person's own page: where he works, and what is his.
func (a *api) accountPage(c *fiber.Ctx, who linking.Caller) error {
	return a.showAccount(c, who, fiber.StatusOK, "", c.Query("done"))
}

// tillsShown is how many tills an account lists; whoever has more finds them by label
// in the stock book.
const tillsShown = 100

func (a *api) showAccount(c *fiber.Ctx, who linking.Caller, status int, notice, done string) error {
	d, _, err := a.deskFor(c, who, "account")
	if err != nil {
		return err
	}
	if d["Sells"].(bool) {
		list, _, err := a.svc.Codes(c.UserContext(), who, linking.CodeFilter{Kind: linking.Counter, Status: linking.CodeActive, Limit: tillsShown})
		if err != nil {
			return err
		}
		d["Tills"] = list
	}
	d["Notice"], d["Pages"] = notice, a.workplaces(d)
	if done == "pin" || done == "no_pin" {
		d["Done"] = "done_" + done
	}
	return a.render(c, "account.html", scriptsOnly, status, d)
}

// workplace is a page that a role has use for.
type workplace struct{ Address, Name string }

// workplaces are those that this gateway has.
func (a *api) workplaces(d map[string]any) (list []workplace) {
	l := d["Lang"].(*language)
	for _, p := range []struct{ address, name, for_ string }{
		{"/inbox", "inbox", "Reads"}, {"/print", "print", "Arranges"}, {"/agent", "agent", "Walks"}, {"/settings", "settings", "Arranges"},
	} {
		if d[p.for_].(bool) && a.has(p.address) {
			list = append(list, workplace{p.address, l.say("page_" + p.name)})
		}
	}
	return list
}

// has reports whether this gateway has a page.
func (s *Server) has(path string) bool {
	return slices.ContainsFunc(s.app.GetRoutes(true), func(r fiber.Route) bool { return r.Method == fiber.MethodGet && r.Path == path })
}

// account changes a person's password or PIN, or logs him out everywhere.
func (a *api) account(c *fiber.Ctx, who linking.Caller) error {
	form, err := formOf(c)
	if err != nil {
		return err
	}
	ctx, next := c.UserContext(), "/login"
	switch form.Get("do") {
	case "password":
		if form.Get("password") != form.Get("again") {
			return a.showAccount(c, who, fiber.StatusUnprocessableEntity, "e_again", "")
		}
		if err = a.mayTry(c, who.By); err == nil {
			err = a.svc.ChangePassword(ctx, who, form.Get("current"), form.Get("password"))
		}
	case "pin":
		if err = a.mayTry(c, who.By); err == nil {
			err = a.svc.ChangePIN(ctx, who, form.Get("current"), form.Get("pin"))
		}
		if next = "/account?done=pin"; form.Get("pin") == "" {
			next = "/account?done=no_pin"
		}
	case "everywhere":
		err = a.svc.EndAllSessions(ctx, who)
	default:
		return malformed("The form says not what to do.")
	}
	if notice := a.said(c, err); notice != "" {
		return a.showAccount(c, who, fiber.StatusUnprocessableEntity, notice, "")
	}
	if err != nil {
		return err
	}
	if next == "/login" {
		a.setCookie(c, sessionCookie, "", -1)
	}
	return c.Redirect(next, fiber.StatusSeeOther)
}

// dict makes what a part of a page is run with: names and values in turn.
func dict(pairs ...any) map[string]any {
	d := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		d[pairs[i].(string)] = pairs[i+1]
	}
	return d
}

// deskMoment is a day and a time of it by the merchant's clock.
func deskMoment(t time.Time, d map[string]any) string {
	m, _ := d["Merchant"].(*linking.Merchant)
	return d["Lang"].(*language).day(m, t) + " " + inZone(m, t).Format("15:04")
}

// sayIf is the words for a key, or else other.
func (l *language) sayIf(key, other string) string {
	if s := l.words[key]; s != "" {
		return s
	}
	return other
}
