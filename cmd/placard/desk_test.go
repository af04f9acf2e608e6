package main

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"placard/linking"
)

// logsIn fills in the login that the tab shows.
func (b *tab) logsIn(user, password string) {
	b.t.Helper()
	b.typeInto("Login name", user)
	b.typeInto("Password", password)
	b.click("Log in")
}

// TestPeopleAtTheirPages: an owner invites, pairs and revokes; a cashier logs in by PIN on
// the tablet and sells; each by what can be seen, with scripts and without.
func TestPeopleAtTheirPages(t *testing.T) {
	t.Parallel()
	for _, noScript := range []bool{false, true} {
		t.Run(map[bool]string{false: "with scripts", true: "without"}[noScript], func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, houseOptions{bare: true})
			code := h.shop.till.makeCode("counter")
			h.shop.till.call("PATCH", "/v1/codes/"+code, m{"label": "Counter 1"}).is(200)
			h.hire(t, linking.Owner, "olga", "")
			o := tabOptions{width: 1000, height: 900, noScript: noScript}
			owner := openTab(t, o)
			owner.goTo(h.addresses[0] + "/settings/staff")
			owner.shows("With an API key")
			owner.logsIn("olga", "not hers")
			owner.shows("Name and password do not fit together.")
			owner.typeInto("Password", goodPassword) // her name still stands there
			owner.click("Log in")
			owner.shows("Invite somebody")

			owner.typeInto("Name", "Carla <script>window.pwned=1</script>")
			eval[bool](owner, `document.getElementById("role").value = "cashier", true`)
			owner.click("Make the link")
			owner.shows("This is shown once")
			link := eval[string](owner, `document.getElementById("told-once").value`)
			cashier := openTab(t, o)
			cashier.goTo(link)
			cashier.shows("You were invited")
			cashier.typeInto("Choose a login name", "carla")
			cashier.typeInto("Choose a password", goodPassword)
			cashier.typeInto("The same again", goodPassword)
			cashier.typeInto("PIN for the till (optional)", "2580")
			cashier.click("Begin")
			cashier.shows("Counter 1")
			if !noScript { // the other pages take the session too
				code := h.shop.till.makeCode("counter")
				h.shop.till.attach(code, 900)
				owner.goTo(h.addresses[0] + "/print")
				owner.typeInto("Codes, one a line", code)
				owner.click("Show the first sheet")
				owner.until(`document.getElementById("sheet").naturalWidth > 0`)
				owner.goTo(h.addresses[0] + "/inbox")
				owner.shows("€9.00")
				request := h.shop.till.call("POST", "/v1/requests", m{"amount": 4900}).is(201).str("id")
				owner.goTo(h.addresses[0] + "/inbox/" + request)
				owner.click("Cancel")
				owner.click("Yes, cancel it")
				owner.shows("Person olga") // in the request's story
				h.shop.till.awaitStatus(request, "cancelled")
				owner.goTo(h.addresses[0] + "/settings/staff")
			}
			if got := cashier.text("body"); strings.Contains(got, "Settings") {
				t.Errorf("a cashier is offered %s", got)
			}

			owner.click("Devices")
			owner.typeInto("What it is called", "Tablet")
			owner.click("Make the link")
			owner.shows("This is shown once")
			link = eval[string](owner, `document.getElementById("told-once").value`)
			tablet := openTab(t, tabOptions{width: 800, height: 1000, noScript: noScript})
			tablet.goTo(link)
			tablet.click("Pair this device")
			tablet.shows("Who are you?")
			tablet.typeInto("PIN", "9999")
			tablet.click("Log in with PIN")
			tablet.shows("That is not the PIN.")
			tablet.typeInto("PIN", "2580")
			tablet.click("Log in with PIN")
			tablet.shows("Tills")
			tablet.click("Counter 1")
			if noScript {
				tablet.shows("The till needs JavaScript.")
			} else {
				tablet.shows("New sale")
				tablet.shows("Carla <script>")
				tablet.typeInto("Amount EUR", "1250")
				tablet.click("Show on the code")
				tablet.shows("Waiting for payment")
				h.bank.pays(h.shop.till.get("/v1/codes/" + code + "/link").str("request.id"))
				tablet.click("Seen, next sale")
				// The tablet is revoked: the till asks who is there, and forgets nothing.
				tablet.typeInto("Amount EUR", "300")
				tablet.click("Show on the code")
				tablet.shows("Waiting for payment")
			}
			owner.goTo(h.addresses[0] + "/settings/devices")
			owner.click("Revoke: Tablet")
			owner.shows("None yet.")
			if noScript {
				tablet.goTo(h.addresses[0] + "/account")
			} else {
				tablet.shows("Or with a key:")
				tablet.click("Log in")
			}
			tablet.shows("Login name")
			tablet.logsIn("carla", goodPassword)
			if noScript {
				tablet.shows("Counter 1")
			} else {
				tablet.shows("Waiting for payment")
				tablet.shows("€3.00")
				tablet.click("Log out")
				tablet.shows("Login name")
				tablet.logsIn("carla", goodPassword)
				tablet.shows("Waiting for payment") // at the same till
			}

			// She is shut out.
			owner.goTo(h.addresses[0] + "/settings/staff")
			owner.click("Change: Carla <script>window.pwned=1</script>")
			owner.click("Shut out")
			owner.shows("Saved.")
			if got := owner.text("main"); strings.Contains(got, "Carla") {
				t.Errorf("she is still there: %s", got)
			}
			time.Sleep(2100 * time.Millisecond) // a gateway may go by what it read 2 seconds ago
			cashier.goTo(h.addresses[0] + "/account")
			cashier.shows("With an API key")
			if eval[string](owner, `String(window.pwned || "")`)+eval[string](tablet, `String(window.pwned || "")`) != "" {
				t.Error("a name was run")
			}
			for _, b := range []*tab{owner, cashier, tablet} {
				b.wellBehaved()
			}
		})
	}
}

// TestTheSettingsOfAShop: what an owner sees and changes, in two languages; a key in the
// fragment lets him in.
func TestTheSettingsOfAShop(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true, serve: []string{"--webhook-allow", "127.0.0.0/8"}})
	owner := h.shop.till
	b := openTab(t, tabOptions{width: 1000, height: 900})
	b.goTo(h.addresses[0] + "/settings/merchant#" + owner.key)
	b.shows("Time zone")
	eval[bool](b, `(() => { for (const [id, v] of Object.entries({contact: "ring the bell", time_zone: "Europe/Lisbon", vat_rate: "23", cashier_refund_limit: "12,5", day_ends_at: "04:00", reading_limit: "300", settlement_accounts: "PT50 0002\nshop-2"})) document.getElementById(id).value = v; return true; })()`)
	b.click("Payers may leave a phone number")
	b.click("Français")
	eval[bool](b, `(() => { const f = new DataTransfer(); f.items.add(new File(['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><rect width="8" height="8" fill="#7a3b12"/></svg>'], "logo.svg", {type: "image/svg+xml"})); document.getElementById("logo").files = f.files; return true; })()`)
	b.click("Save")
	b.shows("Saved.")
	owner.get("/v1/merchant").is(200).says("contact", "ring the bell", "time_zone", "Europe/Lisbon", "vat_rate", "23", "cashier_refund_limit", 1250, "day_ends_at", "04:00",
		"promise_by_phone", true, "has_logo", true, "reading_limit", 30000, "reading_factor", 5, "settlement_accounts.1", "SHOP-2", "languages.0", "en", "languages.3", "es", "languages.4", nil, "lines_shown", "after_payment")
	b.until(`[...document.querySelectorAll("img.logo")].some((i) => i.complete && i.naturalWidth > 0)`)
	eval[bool](b, `document.getElementById("time_zone").value = "Mars/Base", true`)
	b.click("Save")
	b.shows("There is no such time zone")
	b.click("Remove the logo")
	b.shows("Saved.")
	owner.get("/v1/merchant").is(200).says("has_logo", false, "time_zone", "Europe/Lisbon")

	b.click("API keys")
	b.typeInto("What it is for", "Till 7")
	eval[bool](b, `document.getElementById("role").value = "cashier", true`)
	b.click("Make the key")
	b.shows("This is shown once")
	secret := eval[string](b, `document.getElementById("told-once").value`)
	till := &client{t: t, base: owner.base, key: secret}
	till.get("/v1/merchant").is(200)
	b.goTo(h.addresses[0] + "/settings/keys")
	b.shows("Till 7")
	if strings.Contains(eval[string](b, `document.documentElement.outerHTML`), secret) {
		t.Error("the key is shown again")
	}
	b.click("Revoke: Till 7")
	b.shows("Saved.")
	eventually(t, "the key is refused", func() bool { return till.get("/v1/merchant").Status == 401 })

	b.click("Outlets")
	b.typeInto("Name, as payers see it", "Harbour")
	b.click("Make the outlet")
	b.shows("Saved.")
	b.typeInto("Name of Harbour", " 2")
	b.click("Rename")
	b.shows("Name of Harbour 2")
	owner.get("/v1/outlets").is(200).says("data.0.name", "Harbour 2")

	b.click("Banks")
	b.shows("going well")
	b.click("Try it now: relay")
	b.shows("good")
	h.bank.strikes("create", "status", 500)
	for range 30 { // until the breaker opens
		owner.call("POST", "/v1/requests", m{"amount": 100}, "Prefer", "wait=0")
	}
	eventually(t, "a breaker is open", func() bool {
		return strings.Contains(string(owner.get("/v1/bank-connections/relay").Body), `"open"`)
	})
	b.goTo(h.addresses[0] + "/settings/banks")
	b.shows("stopped: the bank fails")
	h.bank.heals()

	b.click("Webhooks")
	b.typeInto("Address (https)", "https://127.0.0.1:1/hook")
	b.click("Make the webhook")
	b.shows("This is shown once")
	owner.makeCode("counter")
	b.goTo(h.addresses[0] + "/settings/webhooks?lang=pt")
	b.click("Tentativas e alterações: https://127.0.0.1:1/hook")
	b.shows("Enviar de novo")
	at := eval[string](b, "location.href")
	eventually(t, "it was tried", func() bool {
		b.goTo(at)
		return strings.Contains(b.text("main"), "code.made")
	})
	b.click("Chaves da API")
	b.shows("Nova chave")
	b.wellBehaved()
}

// TestDeskPagesAreSmall weighs the pages where people log in and arrange things.
func TestDeskPagesAreSmall(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true, serve: proxied})
	v, _ := h.hire(t, linking.Owner, "olga", "2580")
	for i := range 60 { // more than one page has
		name := fmt.Sprint("Somebody with a name that is not short ", i)
		v.change("POST", "/v1/staff", m{"name": name, "role": "cashier"}).is(201)
		v.change("POST", "/v1/devices", m{"name": name}).is(201)
		v.change("POST", "/v1/keys", m{"role": "cashier", "label": name}).is(201)
		v.change("POST", "/v1/outlets", m{"name": "The place of " + name[:20]}).is(201)
	}
	assets := 0
	for _, name := range []string{"style.css", "desk.css", "desk.js"} {
		page := string(v.page("/login").Body)
		at := strings.Index(page, "/assets/"+strings.TrimSuffix(strings.TrimSuffix(name, ".css"), ".js")+".")
		assets += len(v.get(page[at : at+strings.IndexByte(page[at:], '"')]).is(200).Body)
	}
	if page := string(v.page("/settings/staff").is(200).Body); strings.Count(page, `<h3 `) > 40 || !strings.Contains(page, "?after=") {
		t.Error("one page has everybody")
	}
	for _, path := range []string{"/login", "/account", "/settings/merchant", "/settings/staff", "/settings/devices", "/settings/outlets", "/settings/keys", "/settings/banks", "/settings/webhooks"} {
		r := v.page(path).is(200)
		t.Logf("%s: %d bytes, %d of them the page", path, assets+len(r.Body), len(r.Body))
		if assets+len(r.Body) > 50_000 {
			t.Errorf("%s weighs %d bytes, packed none", path, assets+len(r.Body))
		}
		policy := r.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, want) || strings.Contains(policy, "unsafe") {
				t.Errorf("%s has the policy %q", path, policy)
			}
		}
	}
}

// theDesk is everyPage for where people log in and arrange things.
func theDesk(h *house, o tabOptions, look func(name string, b *tab)) {
	h.t.Helper()
	owner := h.shop.till
	owner.call("POST", "/v1/outlets", m{"name": "Harbour"}).is(201)
	hook := owner.call("POST", "/v1/webhooks", m{"url": "https://till.example/placard"}).is(201)
	invited := owner.call("POST", "/v1/staff", m{"name": "Ana Lima", "role": "cashier"}).is(201)
	device := owner.call("POST", "/v1/devices", m{"name": "Tablet"}).is(201)
	h.hire(h.t, linking.Owner, "olga", "2580")
	b := openTab(h.t, o)
	b.goTo(h.addresses[0] + "/login")
	b.logsIn("nobody", "wrong")
	b.shows("do not fit together")
	b.click("With an API key")
	look("login", b)
	b.goTo(invited.str("invite_url"))
	b.shows("You were invited")
	look("invited", b)
	b.goTo(device.str("pair_url"))
	look("to be paired", b)
	b.click("Pair this device")
	b.shows("Who are you?")
	look("login by PIN", b)
	b.click("With a password")
	b.logsIn("olga", goodPassword)
	b.shows("Change the password")
	look("one's own page", b)
	for _, section := range []string{"merchant", "staff", "devices", "outlets", "keys", "banks", "webhooks"} {
		b.goTo(h.addresses[0] + "/settings/" + url.PathEscape(section))
		eval[bool](b, `(() => { for (const d of document.querySelectorAll("details")) d.open = true; return true; })()`)
		look("settings: "+section, b)
	}
	b.goTo(h.addresses[0] + "/settings/staff?person=" + invited.str("id"))
	b.shows("Shut out")
	look("settings: a person", b)
	b.goTo(h.addresses[0] + "/settings/webhooks?webhook=" + hook.str("id"))
	b.shows("Attempts")
	look("settings: a webhook", b)
	b.goTo(h.addresses[0] + "/settings/devices")
	b.typeInto("What it is called", "x")
	b.click("Make the link")
	b.shows("This is shown once")
	look("settings: told once", b)
	b.wellBehaved()
}

// TestHostileNamesStayText: whatever people, tablets, keys and outlets are called, the
// pages where they are arranged, and where they log in, show it as text.
func TestHostileNamesStayText(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true, serve: proxied})
	owner, taken := h.shop.till, 0
	var person string
	for i, s := range hostile() {
		name := short(s, 100)
		r := owner.call("POST", "/v1/staff", m{"name": name, "role": "cashier"})
		if r.Status != 201 { // controls are refused
			r.refused(422, "invalid_request", "name text")
			continue
		}
		taken++
		person = r.str("id")
		if i%4 == 0 {
			owner.call("POST", "/v1/devices", m{"name": name}).is(201)
			owner.call("POST", "/v1/keys", m{"role": "viewer", "label": name}).is(201)
			owner.call("POST", "/v1/outlets", m{"name": name}).is(201)
		}
		if i%25 == 0 { // some come, with a PIN, so that the tablet lists them
			link := strings.TrimPrefix(owner.call("POST", "/v1/staff/"+person+"/invite", nil).is(200).str("invite_url"), h.addresses[0])
			newVisitor(t, h.addresses[0]).form(link, "user", fmt.Sprint("somebody-", i), "password", goodPassword, "again", goodPassword, "pin", "2580").is(303)
		}
	}
	if taken < 190 {
		t.Fatalf("only %d names were taken", taken)
	}
	b := openTab(t, tabOptions{width: 1000, height: 900})
	clean := func(where string) {
		t.Helper()
		got := eval[[]string](b, `[String(window.pwned || ""), ...[...document.querySelectorAll("main script, main iframe, main svg[onload], main base, main img:not(.logo):not([alt]), [onerror], [onload], [onmouseover], a[href^=javascript], meta[content*=javascript]")].map((e) => e.outerHTML)]`)
		if len(got) != 1 || got[0] != "" {
			t.Errorf("%s: %q", where, got)
		}
		b.wellBehaved()
	}
	device := owner.call("POST", "/v1/devices", m{"name": `"><img src=x onerror=window.pwned=1>`}).is(201).str("pair_url")
	b.goTo(device)
	clean("to be paired")
	b.click("Pair this device")
	b.shows("Who are you?")
	clean("the tablet's login")
	b.goTo(h.addresses[0] + "/settings/staff#" + owner.key)
	b.shows("Invite somebody")
	for _, section := range []string{"staff", "devices", "keys", "outlets"} {
		shown := 0
		for next := h.addresses[0] + "/settings/" + section; next != ""; next = eval[string](b, `(document.querySelector("a[href^='?after=']") || {}).href || ""`) {
			b.goTo(next)
			clean(section)
			shown += eval[int](b, `document.querySelectorAll(".card h3, form.card input[id^=name-]").length`)
		}
		if shown < 40 {
			t.Errorf("%s: only %d were shown", section, shown)
		}
	}
	b.goTo(h.addresses[0] + "/settings/staff?person=" + person)
	b.shows("Shut out")
	clean("one person")
	for i, s := range hostile() {
		if i%20 == 0 {
			b.goTo(h.addresses[0] + "/login?" + url.Values{"next": {s}, "lang": {s}}.Encode())
			clean("login")
			b.goTo(h.addresses[0] + "/settings/staff?" + url.Values{"person": {s}, "after": {s}, "done": {s}}.Encode())
			clean("settings")
		}
	}
}

// TestCookiesOverHTTPS: where the gateway is reached by https, no other host of the domain
// can set its cookies, and they never leave in the clear.
func TestCookiesOverHTTPS(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true, serve: []string{"--public-url", "https://pay.example"}})
	v := newVisitor(t, h.addresses[0])
	r := v.form("/login", "key", h.shop.till.key).is(303)
	cookie := r.Header.Get("Set-Cookie")
	for _, want := range []string{"__Host-placard_session=pls_", "; path=/", "; HttpOnly", "; secure", "; SameSite=Lax"} {
		if !strings.Contains(strings.ToLower(cookie), strings.ToLower(want)) {
			t.Errorf("the cookie lacks %q: %s", want, cookie)
		}
	}
	if low := strings.ToLower(cookie); strings.Contains(low, "domain") || strings.Contains(low, "max-age") || strings.Contains(low, "expires") {
		t.Errorf("the cookie says too much: %s", cookie)
	}
	secret, _, _ := strings.Cut(strings.TrimPrefix(cookie, "__Host-placard_session="), ";")
	h.phone().get("/v1/merchant", "Cookie", "__Host-placard_session="+secret).is(200)
	h.phone().get("/v1/merchant", "Cookie", "placard_session="+secret).refused(401, "unauthorized") // set by another host
}
