package gateway

import (
	"github.com/gofiber/fiber/v2"
)

// The pages of the office: the list of requests, one request, and a new link. They hold
// no merchant's data: their scripts ask the API for it, by a key or by a session.

// inboxFilter is a choice above the list. Its name is what the script knows it by.
type inboxFilter struct{ Name, Text string }

func (a *api) inboxPage(c *fiber.Ctx) error {
	l := a.inboxWords.languageOf(c, nil)
	var filters []inboxFilter
	for _, name := range []string{"all", "pending", "opened", "decide", "paid", "expired", "cancelled"} {
		filters = append(filters, inboxFilter{name, l.say("filter_" + name)})
	}
	return a.officePage(c, "inbox", map[string]any{"Filters": filters})
}

func (a *api) newLinkPage(c *fiber.Ctx) error {
	l := a.inboxWords.languageOf(c, nil)
	var terms []inboxFilter
	for _, name := range []string{"15m", "1h", "1d", "2d", "1w", "1m", "own"} {
		terms = append(terms, inboxFilter{name, l.say("term_" + name)})
	}
	return a.officePage(c, "inbox-new", map[string]any{"Terms": terms})
}

func (a *api) inboxRequestPage(c *fiber.Ctx) error {
	id, err := requestParam(c)
	if err != nil {
		return err
	}
	return a.officePage(c, "inbox-request", map[string]any{"Request": id})
}

// titles are the keys of the pages' titles, by their names.
var titles = map[string]string{"inbox": "inbox", "inbox-new": "new_link", "inbox-request": "request"}

// officePage shows a page with the script of its name.
func (a *api) officePage(c *fiber.Ctx, name string, data map[string]any) error {
	l := a.inboxWords.languageOf(c, nil)
	data["Self"] = landing(c.OriginalURL())
	data["Lang"], data["Offers"], data["Script"] = l, []*language(a.inboxWords), name+".js"
	data["Words"], data["Title"] = a.officeScript(l, name+".js"), titles[name]
	return a.render(c, name+".html", a.plainPolicy, fiber.StatusOK, data)
}

// officeScript is what a page's script says, and the script that all share.
func (a *api) officeScript(l *language, name string) map[string]any {
	return l.script(string(a.assets.byName[name].plain) + string(a.assets.byName["inbox-shared.js"].plain))
}
