package gateway

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// logoBody is what a form with a logo may have: the picture and the fields beside it.
const logoBody = 96 << 10

// settingsSections are the parts of the settings, and who may open each.
var settingsSections = []struct {
	name  string
	roles []linking.Role
}{
	{"merchant", owners}, {"staff", managers}, {"devices", managers}, {"outlets", managers}, {"keys", owners}, {"banks", managers}, {"webhooks", managers},
}

// sectionOf is the part of the settings that the address names, for a role.
func sectionOf(c *fiber.Ctx, who linking.Caller) (string, error) {
	asked := c.Params("section")
	for _, s := range settingsSections {
		if asked == "" && slices.Contains(s.roles, who.Role) {
			return s.name, nil
		}
		if strings.EqualFold(asked, s.name) {
			if !slices.Contains(s.roles, who.Role) {
				return "", &linking.Error{Kind: linking.Forbidden, Code: "forbidden", Detail: "The role " + string(who.Role) + " may not open this."}
			}
			return s.name, nil
		}
	}
	return "", fiber.ErrNotFound
}

func (a *api) settingsPage(c *fiber.Ctx, who linking.Caller) error {
	section, err := sectionOf(c, who)
	if err != nil {
		return err
	}
	done := ""
	if c.Query("done") != "" {
		done = "saved"
	}
	return a.showSettings(c, who, section, fiber.StatusOK, map[string]any{"Done": done})
}

// showSettings shows one part of the settings, with what else there is to say.
func (a *api) showSettings(c *fiber.Ctx, who linking.Caller, section string, status int, more map[string]any) error {
	d, _, err := a.deskFor(c, who, section)
	if err != nil {
		return err
	}
	var sections []workplace
	for _, s := range settingsSections {
		if slices.Contains(s.roles, who.Role) {
			sections = append(sections, workplace{s.name, d["Lang"].(*language).say("section_" + s.name)})
		}
	}
	d["Sections"] = sections
	d["Form"] = url.Values{}
	if err := a.fillSettings(c, who, section, d); err != nil {
		return err
	}
	maps.Copy(d, more)
	return a.render(c, "settings.html", scriptsOnly, status, d)
}

// breakerRow is a bank connection's breaker, and since when it is so.
type breakerRow struct{ Class, State, Since string }

type bankRow struct {
	connectionView
	Rows []breakerRow
}

// attemptsShown of a webhook are on its page; the API has the rest.
const attemptsShown = 50

func (a *api) fillSettings(c *fiber.Ctx, who linking.Caller, section string, d map[string]any) (err error) {
	ctx, l, m := c.UserContext(), d["Lang"].(*language), d["Merchant"].(*linking.Merchant)
	outlets, err := a.svc.Outlets(ctx, who)
	if err != nil {
		return err
	}
	names := map[linking.OutletID]string{}
	for _, o := range outlets {
		names[o.ID] = o.Name
	}
	d["Outlets"], d["OutletNames"] = outlets, names
	d["Roles"] = linking.Roles
	if who.Role == linking.Manager {
		d["Roles"] = linking.Roles[1:]
	}
	switch section {
	case "merchant":
		v := viewMerchant(m)
		d["M"], d["RefundCap"], d["ReadingLimit"] = v, v.Currency.Decimal(v.RefundCap), v.Currency.Decimal(v.ReadingLimit)
		d["Accounts"] = strings.Join(v.Accounts, "\n")
		d["LinesShown"] = []linking.LinesShown{linking.LinesAfterPayment, linking.LinesAfterWord, linking.LinesAlways}
		d["LateRules"] = []linking.LateRule{linking.LateHold, linking.LateAccept, linking.LateReturn}
		d["MaySend"], d["Languages"] = linking.Roles[1:], []*language(a.payerWords)
	case "staff":
		list, err := a.svc.StaffOf(ctx, who)
		if err != nil {
			return err
		}
		if id, ok := linking.ParseStaffID(c.Query("person")); ok { // one alone, to be changed
			i := slices.IndexFunc(list, func(p *linking.Staff) bool { return p.ID == id })
			if i < 0 {
				return &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such person."}
			}
			d["Person"] = list[i]
			return nil
		}
		d["People"] = part(c, d, list, func(p *linking.Staff) string { return string(p.ID) })
	case "devices":
		list, err := a.svc.Devices(ctx, who)
		if err != nil {
			return err
		}
		d["Devices"] = part(c, d, list, func(v *linking.Device) string { return string(v.ID) })
	case "keys":
		list, err := a.svc.LiveKeys(ctx, who)
		if err != nil {
			return err
		}
		d["Keys"] = part(c, d, list, func(k *linking.APIKey) string { return string(k.ID) })
	case "outlets":
		d["Places"] = part(c, d, outlets, func(o *linking.Outlet) string { return string(o.ID) })
	case "banks":
		var banks []bankRow
		for _, rail := range slices.Sorted(maps.Keys(m.Rails)) {
			v, err := a.svc.BankConnection(ctx, who.Merchant, rail)
			if err != nil {
				return err
			}
			row := bankRow{connectionView: a.viewConnection(v)}
			for _, b := range row.Breakers {
				since := ""
				if b.Since != nil {
					if at, err := time.Parse(time.RFC3339, *b.Since); err == nil {
						since = deskMoment(at, d)
					}
				}
				row.Rows = append(row.Rows, breakerRow{l.sayIf("class_"+b.Class, b.Class), l.sayIf("breaker_"+b.State, b.State), since})
			}
			banks = append(banks, row)
		}
		d["Banks"], d["Owns"] = banks, who.Role == linking.Owner
	case "webhooks":
		list, err := a.svc.Webhooks(ctx, who)
		if err != nil {
			return err
		}
		d["Webhooks"] = list
		if id, ok := linking.ParseWebhookID(c.Query("webhook")); ok { // one alone, with its attempts
			i := slices.IndexFunc(list, func(w *linking.WebhookView) bool { return w.ID == id })
			if i < 0 {
				return &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such webhook."}
			}
			attempts, err := a.svc.WebhookAttempts(ctx, who, id)
			if err != nil {
				return err
			}
			d["Webhook"], d["Attempts"] = list[i], attempts[:min(len(attempts), attemptsShown)]
		}
	}
	return nil
}

// shownAtOnce is how much of a list one page has, so that it stays small.
const shownAtOnce = 40

// part is the part of a list, in the order of its ids, that the address asks for.
func part[T any](c *fiber.Ctx, d map[string]any, list []T, id func(T) string) []T {
	after := c.Query("after")
	list = slices.DeleteFunc(list, func(v T) bool { return id(v) <= after })
	if len(list) > shownAtOnce {
		d["More"] = id(list[shownAtOnce-1])
		list = list[:shownAtOnce]
	}
	return list
}

// changeSettings does what a form of the settings says, and shows the part anew. What
// is told once, such as a key, stands in the answer itself.
func (a *api) changeSettings(c *fiber.Ctx, who linking.Caller) error {
	section, err := sectionOf(c, who)
	if err != nil {
		return err
	}
	form, logo, logoType, err := settingsForm(c)
	if err != nil {
		return err
	}
	more := map[string]any{"Form": form}
	switch section {
	case "merchant":
		err = a.saveMerchant(c, who, form, logo, logoType)
	case "staff":
		err = a.saveStaff(c, who, form, more)
	case "devices":
		err = a.saveDevice(c, who, form, more)
	case "outlets":
		err = a.saveOutlet(c, who, form)
	case "keys":
		err = a.saveKey(c, who, form, more)
	case "banks":
		err = a.tryBank(c, who, form, more)
	case "webhooks":
		err = a.saveWebhook(c, who, form, more)
	}
	if notice := a.said(c, err); notice != "" {
		more["Notice"] = notice
		return a.showSettings(c, who, section, fiber.StatusUnprocessableEntity, more)
	}
	if err != nil {
		return err
	}
	if more["Told"] != nil || more["Steps"] != nil {
		return a.showSettings(c, who, section, fiber.StatusOK, more)
	}
	return c.Redirect("/settings/"+section+"?done=1", fiber.StatusSeeOther)
}

// settingsForm reads a form, with a logo if one was chosen.
func settingsForm(c *fiber.Ctx) (form url.Values, logo []byte, logoType string, err error) {
	raw, mediaType, err := bodyOf(c, fiber.MIMEApplicationForm, fiber.MIMEMultipartForm)
	if err != nil {
		return nil, nil, "", err
	}
	if mediaType == fiber.MIMEApplicationForm {
		form, err = formOf(c)
		return form, nil, "", err
	}
	_, params, _ := mime.ParseMediaType(c.Get(fiber.HeaderContentType))
	form = url.Values{}
	parts := multipart.NewReader(bytes.NewReader(raw), params["boundary"])
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return form, logo, logoType, nil
		}
		if err != nil {
			return nil, nil, "", malformed("The form is not well-formed.")
		}
		data, err := io.ReadAll(part) // of a body that is in memory already
		if err != nil {
			return nil, nil, "", malformed("The form is not well-formed.")
		}
		if part.FormName() == "logo" {
			logo, logoType = data, part.Header.Get(fiber.HeaderContentType)
		} else {
			form.Add(part.FormName(), string(data))
		}
	}
}

func (a *api) saveMerchant(c *fiber.Ctx, who linking.Caller, form url.Values, logo []byte, logoType string) error {
	if form.Get("do") == "no_logo" {
		return a.svc.ChangeLogo(c.UserContext(), who, nil, "")
	}
	m, err := a.svc.Merchant(c.UserContext(), who.Merchant)
	if err != nil {
		return err
	}
	amounts := map[string]*linking.Amount{}
	for _, name := range []string{"cashier_refund_limit", "reading_limit"} {
		amount, ok := m.Currency.ParseDecimal(wholeDecimal(m.Currency, form.Get(name)))
		if !ok {
			return invalidFields([]linking.FieldError{{Field: name, Code: "decimal", Message: "must be an amount"}})
		}
		amounts[name] = &amount
	}
	factor, err := strconv.Atoi(strings.TrimSpace(form.Get("reading_factor")))
	if err != nil {
		return invalidFields([]linking.FieldError{{Field: "reading_factor", Code: "decimal", Message: "must be a number"}})
	}
	accounts := []string{}
	for line := range strings.Lines(form.Get("settlement_accounts")) {
		if line = strings.TrimSpace(line); line != "" {
			accounts = append(accounts, line)
		}
	}
	text := func(name string) *string { s := strings.TrimSpace(form.Get(name)); return &s }
	tick := func(name string) *bool { on := form.Get(name) == "on"; return &on }
	lines, late := linking.LinesShown(form.Get("lines_shown")), linking.LateRule(form.Get("late_payments"))
	senders := []linking.Role{}
	for _, r := range form["send_links"] {
		senders = append(senders, linking.Role(r))
	}
	languages := []string{}
	for _, l := range a.payerWords {
		if slices.Contains(form["languages"], l.tag) {
			languages = append(languages, l.tag)
		}
	}
	if len(languages) == len(a.payerWords) { // all, and those to come
		languages = []string{}
	}
	vat := strings.ReplaceAll(*text("vat_rate"), ",", ".")
	_, err = a.svc.PatchMerchant(c.UserContext(), who, linking.MerchantPatch{
		Name: text("name"), Contact: text("contact"), TimeZone: text("time_zone"), DayEndsAt: text("day_ends_at"), VATRate: &vat,
		Lines: &lines, Late: &late, Takeover: tick("takeover"), RefundCap: amounts["cashier_refund_limit"], Phone: tick("promise_by_phone"), Senders: senders, Languages: languages,
		Accounts: &accounts, ReadingLimit: amounts["reading_limit"], ReadingFactor: &factor,
	})
	if err != nil || len(logo) == 0 {
		return err
	}
	return a.svc.ChangeLogo(c.UserContext(), who, logo, logoType)
}

func (a *api) saveStaff(c *fiber.Ctx, who linking.Caller, form url.Values, more map[string]any) error {
	ctx := c.UserContext()
	outlet, err := outletOf(form.Get("outlet"))
	if err != nil {
		return err
	}
	if form.Get("do") == "invite" {
		p, secret, err := a.svc.Invite(ctx, who, linking.NewStaff{Name: form.Get("name"), Role: linking.Role(form.Get("role")), Outlet: outlet})
		if err != nil {
			return err
		}
		more["Told"], more["ToldName"], more["Form"] = a.inviteURL(secret), p.Name, url.Values{}
		more["Symbol"] = symbol(a.inviteURL(secret))
		return nil
	}
	id, ok := linking.ParseStaffID(form.Get("id"))
	if !ok {
		return &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such person."}
	}
	switch form.Get("do") {
	case "again":
		p, secret, err := a.svc.InviteAgain(ctx, who, id)
		if err != nil {
			return err
		}
		more["Told"], more["ToldName"], more["Symbol"] = a.inviteURL(secret), p.Name, symbol(a.inviteURL(secret))
	case "change":
		name, role := form.Get("name"), linking.Role(form.Get("role"))
		_, err = a.svc.ChangeStaff(ctx, who, id, linking.StaffPatch{Name: &name, Role: &role, Outlet: &outlet})
	case "no_pin":
		_, err = a.svc.ForgetPIN(ctx, who, id)
	case "end":
		_, err = a.svc.EndStaff(ctx, who, id)
	default:
		err = malformed("The form says not what to do.")
	}
	return err
}

func (a *api) saveDevice(c *fiber.Ctx, who linking.Caller, form url.Values, more map[string]any) error {
	ctx := c.UserContext()
	if form.Get("do") == "end" {
		id, ok := linking.ParseDeviceID(form.Get("id"))
		if !ok {
			return &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such device."}
		}
		_, err := a.svc.EndDevice(ctx, who, id)
		return err
	}
	outlet, err := outletOf(form.Get("outlet"))
	if err != nil {
		return err
	}
	codes, err := tokensOf(strings.Fields(form.Get("codes")))
	if err != nil {
		return err
	}
	d, secret, err := a.svc.PrepareDevice(ctx, who, linking.NewDevice{Name: form.Get("name"), Outlet: outlet, Codes: codes})
	if err != nil {
		return err
	}
	more["Told"], more["ToldName"], more["Symbol"], more["Form"] = a.pairURL(secret), d.Name, symbol(a.pairURL(secret)), url.Values{}
	return nil
}

func (a *api) saveOutlet(c *fiber.Ctx, who linking.Caller, form url.Values) (err error) {
	if form.Get("do") != "rename" {
		_, err = a.svc.OpenOutlet(c.UserContext(), who, strings.TrimSpace(form.Get("name")))
		return err
	}
	id, ok := linking.ParseOutletID(form.Get("id"))
	if !ok {
		return &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such outlet."}
	}
	_, err = a.svc.RenameOutlet(c.UserContext(), who, id, strings.TrimSpace(form.Get("name")))
	return err
}

func (a *api) saveKey(c *fiber.Ctx, who linking.Caller, form url.Values, more map[string]any) error {
	ctx := c.UserContext()
	if form.Get("do") == "end" {
		id, ok := linking.ParseKeyID(form.Get("id"))
		if !ok {
			return &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such key."}
		}
		_, err := a.svc.EndKey(ctx, who, id)
		return err
	}
	k := linking.NewKey{Role: linking.Role(form.Get("role")), Label: strings.TrimSpace(form.Get("label"))}
	var err error
	if k.Outlet, err = outletOf(form.Get("outlet")); err != nil {
		return err
	}
	if k.Codes, err = tokensOf(strings.Fields(form.Get("codes"))); err != nil {
		return err
	}
	made, secret, err := a.svc.IssueKey(ctx, who, k)
	if err != nil {
		return err
	}
	more["Told"], more["ToldName"], more["Form"] = secret, made.Label, url.Values{}
	return nil
}

// tryBank tries a bank connection for real, and shows how far it came.
func (a *api) tryBank(c *fiber.Ctx, who linking.Caller, form url.Values, more map[string]any) error {
	if who.Role != linking.Owner {
		return &linking.Error{Kind: linking.Forbidden, Code: "forbidden", Detail: "An owner tries a bank connection."}
	}
	waiting(c, maxWait)
	steps, err := a.svc.ProbeBank(c.UserContext(), who.Merchant, short(form.Get("rail")))
	if err != nil {
		return err
	}
	more["Steps"], more["Tried"] = steps, form.Get("rail")
	return nil
}

func (a *api) saveWebhook(c *fiber.Ctx, who linking.Caller, form url.Values, more map[string]any) error {
	ctx := c.UserContext()
	if form.Get("do") == "make" {
		w, err := a.svc.CreateWebhook(ctx, who, linking.NewWebhook{URL: strings.TrimSpace(form.Get("url")), Label: strings.TrimSpace(form.Get("label"))})
		if err != nil {
			return err
		}
		more["Told"], more["ToldName"], more["Form"] = w.Secret, w.URL, url.Values{}
		return nil
	}
	id, ok := linking.ParseWebhookID(form.Get("id"))
	if !ok {
		return &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such webhook."}
	}
	switch form.Get("do") {
	case "end":
		return a.svc.DeleteWebhook(ctx, who, id)
	case "rotate":
		w, err := a.svc.RotateWebhook(ctx, who, id)
		if err == nil {
			more["Told"], more["ToldName"] = w.Secret, w.URL
		}
		return err
	case "replay":
		from, err := strconv.ParseUint(strings.TrimSpace(form.Get("from")), 10, 63)
		if err != nil {
			return invalidFields([]linking.FieldError{{Field: "from", Code: "out_of_range", Message: "must be the number of an event"}})
		}
		_, err = a.svc.ReplayWebhook(ctx, who, id, from)
		return err
	}
	return malformed("The form says not what to do.")
}

// wholeDecimal is an amount as people type it, with all of its currency's digits: 50,
// 50,5 and 50.50 are all meant well.
func wholeDecimal(c linking.Currency, s string) string {
	whole, frac, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(s), ",", "."), ".")
	if c.Digits() == 0 && strings.Trim(frac, "0") == "" {
		return whole
	}
	return whole + "." + frac + strings.Repeat("0", max(0, c.Digits()-len(frac)))
}
