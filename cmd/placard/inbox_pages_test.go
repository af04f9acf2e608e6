package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"

	"placard/linking"
)

// openDesk opens a page of the office in a tab, as whoever has the key.
func (h *house) openDesk(t testing.TB, path, key string, o tabOptions) *tab {
	t.Helper()
	b := openTab(t, o)
	b.goTo(h.addresses[0] + path + "#" + key)
	return b
}

// retype puts another text into the field with an accessible name.
func (b *tab) retype(name, text string) {
	b.t.Helper()
	b.click(name)
	eval[bool](b, `document.activeElement.select(), true`)
	for _, r := range text {
		tell(b, input.InsertText, input.InsertTextParams{Text: string(r)})
	}
}

// downloads notes what the tab saves instead of saving it: window.saved holds names and
// contents in turn.
func (b *tab) downloads() {
	b.t.Helper()
	eval[bool](b, `(() => {
		window.saved = [];
		const click = HTMLAnchorElement.prototype.click, make = URL.createObjectURL;
		let blob;
		URL.createObjectURL = (b) => make(blob = b);
		HTMLAnchorElement.prototype.click = function () {
			if (!this.download) return click.call(this);
			blob.arrayBuffer().then((a) => saved.push(this.download, new TextDecoder("utf-8", {ignoreBOM: true}).decode(a)));
		};
		return true;
	})()`)
}

// saved is the next file that the tab saved: its name and content.
func (b *tab) saved() (name, content string) {
	b.t.Helper()
	b.until("window.saved.length >= 2")
	file := eval[[]string](b, "saved.splice(0, 2)")
	return file[0], file[1]
}

// TestALinkFromItsMakingToItsRefund: a link is made, shared, opened by its payer, followed
// live in the inbox, paid and refunded in part, by the names of what can be seen.
func TestALinkFromItsMakingToItsRefund(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	for _, c := range []struct {
		language                                                        string
		width, height                                                   int
		newLink, amount, what, mail, review, right, makeIt, copied, can string
		opened, unpaid, pay, thanks, paid, refund, refundAmount, now    string
		back                                                            string
	}{
		{"en", 320, 640, "New payment link", "Amount EUR", "For (the customer reads it)", "E-mail", "Review", "Is this right?", "Make the link", "Copy the link", "it can be paid",
			"Opened by a person", "Opened, not paid", "Pay €49.00", "Thank you.", "Paid: €49.00", "Refund", "Amount to refund EUR", "Refund now", "€10.00 went back"},
		{"pt-PT", 1280, 800, "Nova ligação de pagamento", "Valor EUR", "Para (o cliente lê)", "E-mail", "Rever", "Está certo?", "Criar a ligação", "Copiar a ligação", "pode ser pago",
			"Aberto por uma pessoa", "Abertos, não pagos", "Pagar 49,00\u00a0€", "Obrigado.", "Pago: 49,00\u00a0€", "Reembolsar", "Valor a reembolsar EUR", "Reembolsar agora", "10,00\u00a0€ devolvido"},
	} {
		t.Run(c.language[:2], func(t *testing.T) {
			o := tabOptions{width: c.width, height: c.height, language: c.language}
			till := h.shop.till
			desk := h.openDesk(t, "/inbox", till.key, o)
			follower := h.openDesk(t, "/inbox", till.key, o) // somebody else of the shop
			desk.click(c.newLink)
			desk.typeInto(c.amount, "4900")
			desk.typeInto(c.what, "Deposit "+c.language)
			desk.typeInto(c.mail, "ana@example.com")
			desk.click(c.review)
			desk.shows(c.right)
			if got := till.get("/v1/requests?q=Deposit+" + c.language).found(); got != nil {
				t.Fatalf("the review made %v", got)
			}
			desk.click(c.makeIt)
			desk.shows(c.can)
			ids := till.get("/v1/requests?q=Deposit+" + c.language).found()
			if len(ids) != 1 {
				t.Fatalf("%d links were made", len(ids))
			}
			request := ids[0]
			link := till.get("/v1/requests/" + request).is(200).str("url")
			desk.until(`!document.getElementById("symbol").hidden && document.querySelector("#symbol img").naturalWidth > 0`)
			share := eval[[]string](desk, `["mail", "sms"].map((id) => document.getElementById(id).href)`)
			if !strings.HasPrefix(share[0], "mailto:ana@example.com?") || !strings.HasPrefix(share[1], "sms:?body=") || !strings.Contains(share[0], "%2Fp%2F") {
				t.Errorf("it is shared by %q", share)
			}
			eval[bool](desk, `Object.defineProperty(navigator, "clipboard", {value: {writeText: async (s) => { window.onClipboard = s; }}}), true`)
			desk.click(c.copied)
			desk.until("window.onClipboard === " + quoted(link))
			follower.shows("Deposit " + c.language)

			payer := openTab(t, o)
			payer.goTo(link)
			payer.shows("49")
			desk.shows(c.opened)
			follower.click(c.unpaid)
			follower.shows("Deposit " + c.language)
			payer.click(c.pay)
			payer.lands(h.bank.base)
			payer.click("Pay 49.00 EUR")
			payer.shows(c.thanks)
			desk.shows(c.paid)
			follower.until(`document.getElementById("list").hidden`) // it is paid now
			desk.click(c.refund)
			desk.retype(c.refundAmount, "1000")
			desk.click(c.now)
			eventually(t, "it went back", func() bool { return till.get("/v1/requests/"+request).is(200).num("refunded_amount") == 1000 })
			desk.shows(c.back)
			desk.downloads()
			desk.click(eval[string](desk, `document.querySelector("[data-act=receipt]").innerText`))
			if name, content := desk.saved(); !strings.HasPrefix(name, "receipt-") || !strings.HasPrefix(content, "%PDF-") {
				t.Errorf("the receipt is %q, %.20q", name, content)
			}
			for _, b := range []*tab{desk, follower, payer} {
				b.wellBehaved()
			}
		})
	}
}

// TestMoneyThatDoesNotFitIsDecidedInTheInbox: one exception accepted, one returned, by a
// manager; a cashier and a viewer see it and cannot decide.
func TestMoneyThatDoesNotFitIsDecidedInTheInbox(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{})
	till := h.shop.till
	odd := func(reference string) string {
		id := till.call("POST", "/v1/requests", m{"amount": 900, "reference": reference}).is(201).str("id")
		h.bank.call("POST", "/sim/pay", m{"request_id": id, "amount": 901, "force": true}).is(200)
		till.awaitStatus(id, "review")
		return id
	}
	o := tabOptions{width: 1280, height: 900}
	desk := h.openDesk(t, "/inbox?show=decide", h.shop.keys[linking.Manager], o)
	desk.shows("Nothing was found.")
	first, second := odd("Cake"), odd("Bread")
	desk.until(`document.getElementById("decisions").innerText === "2"`)
	for _, role := range []linking.Role{linking.Cashier, linking.Viewer} {
		other := h.openDesk(t, "/inbox/"+first, h.shop.keys[role], o)
		other.shows("A manager decides about it.")
		if n := eval[int](other, `document.querySelectorAll("#exceptions button").length`); n != 0 {
			t.Errorf("a %s may press %d buttons", role, n)
		}
		other.wellBehaved()
	}
	desk.click("Cake")
	desk.shows("€9.01 came that does not fit: another amount than asked for.")
	desk.click("Accept the money")
	desk.click("No, leave it")
	till.get("/v1/requests/"+first).is(200).says("status", "review")
	desk.click("Accept the money")
	desk.click("Yes, accept it")
	desk.shows("€9.01 was accepted")
	till.awaitStatus(first, "paid").says("paid_amount", 901)
	desk.click("Back to the inbox")
	desk.click("Needs a decision 1")
	desk.click("Bread")
	desk.click("Send it back")
	desk.click("Yes, send it back")
	desk.shows("€9.01 is sent back")
	till.awaitStatus(second, "cancelled").says("exceptions.0.decision", "returned", "paid_amount", 0)
	desk.click("Back to the inbox")
	desk.until(`document.getElementById("list").rows.length > 1 && document.getElementById("decisions").hidden`)
	desk.wellBehaved()
}

// TestTheInboxFiltersSearchesAndIsTakenAway: filter, search, days, CSV, pages, and back.
func TestTheInboxFiltersSearchesAndIsTakenAway(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till := h.shop.till
	paid := till.call("POST", "/v1/requests", m{"amount": 300, "reference": "=Paid one"}).is(201).str("id")
	h.bank.pays(paid)
	till.awaitStatus(paid, "paid")
	for i := range 60 {
		till.call("POST", "/v1/requests", m{"amount": 100 + i, "draft": true, "reference": fmt.Sprintf("Draft %d", i), "customer": m{"name": "Ana Lima"}}).is(201)
	}
	desk := h.openDesk(t, "/inbox", till.key, tabOptions{width: 1280, height: 900})
	rows := func(want int) {
		t.Helper()
		desk.until(fmt.Sprintf(`document.querySelectorAll("#list tbody tr").length === %d`, want))
	}
	rows(50)
	desk.click("Older")
	rows(11)
	desk.shows("=Paid one")
	desk.click("Newest")
	rows(50)
	desk.click("Paid")
	rows(1)
	desk.downloads()
	desk.click("Download as CSV")
	name, content := desk.saved()
	lines := strings.Split(strings.TrimSuffix(content, "\r\n"), "\r\n")
	if name != "requests.csv" || len(lines) != 2 || !strings.HasPrefix(content, "\ufeffid,short_id,") || !strings.Contains(lines[1], ",'=Paid one,") {
		t.Errorf("%s holds %q", name, content)
	}
	desk.back()
	rows(50)
	desk.typeInto("Search", "Draft 59")
	rows(1)
	desk.shows("€1.59")
	desk.retype("Search", "nobody")
	desk.shows("Nothing was found.")
	desk.goTo(h.addresses[0] + "/inbox?q=ana+lima&to=2020-01-01") // as a bookmark
	desk.shows("Nothing was found.")
	desk.goTo(h.addresses[0] + "/inbox?q=ana+lima&from=2020-01-01")
	rows(50)
	if got := eval[string](desk, `document.getElementById("q").value + " " + document.getElementById("from").value`); got != "ana lima 2020-01-01" {
		t.Errorf("the fields say %q", got)
	}
	desk.wellBehaved()
}

// TestCancelReplaceAndAskAgain are what the buttons of one request do.
func TestCancelReplaceAndAskAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till := h.shop.till
	old := till.call("POST", "/v1/requests", m{"reference": "Dinner", "sale": "B-7", "customer": m{"name": "Ana Lima", "phone": "+351910000001"},
		"lines": []m{{"description": "Menu", "quantity": "2", "unit_price": 4500, "vat_rate": "13"}}}).is(201).str("id")
	desk := h.openDesk(t, "/inbox/"+old, till.key, tabOptions{})
	desk.shows("it can be paid")
	desk.click("Cancel and replace")
	desk.shows("is cancelled when this one is made")
	desk.retype("Quantity", "3")
	desk.click("Review")
	desk.shows("Is this right?")
	desk.shows("€135.00")
	till.get("/v1/requests/"+old).is(200).says("status", "active")
	desk.click("Back")
	desk.retype("Phone", "910")
	desk.click("Review")
	desk.shows("Enter the phone number with its country code")
	desk.retype("Phone", "+351 910 000 001")
	desk.click("Review")
	desk.click("Make the link")
	desk.shows("Takes the place of")
	till.awaitStatus(old, "cancelled").says("end_reason", "replaced")
	fresh := strings.TrimPrefix(eval[string](desk, "location.pathname"), "/inbox/")
	till.get("/v1/requests/"+fresh).is(200).says("amount", 13500, "sale", "B-7", "customer.phone", "+351910000001", "replaces", old)

	desk.click("Cancel")
	desk.click("Yes, cancel it")
	desk.shows("It was cancelled.")
	desk.click("Ask again")
	desk.click("Yes, make a new link")
	desk.until(`!location.pathname.endsWith(` + quoted(fresh) + `) && document.body.innerText.includes("it can be paid")`)
	again := strings.TrimPrefix(eval[string](desk, "location.pathname"), "/inbox/")
	till.get("/v1/requests/"+again).is(200).says("amount", 13500, "replaces", fresh)
	desk.click("Paid another way")
	desk.click("Yes, end it")
	desk.shows("It was paid another way.")
	till.awaitStatus(again, "cancelled")

	// One open link for one sale.
	open := till.call("POST", "/v1/requests", m{"amount": 500, "sale": "B-8", "sale_total": 2000}).is(201).str("id")
	desk.goTo(h.addresses[0] + "/inbox/new")
	desk.typeInto("Amount EUR", "700")
	desk.click("More")
	desk.typeInto("Sale or booking number", "B-8")
	desk.click("Review")
	desk.shows("This sale has an open link that asks for something else.")
	h.bank.pays(open)
	till.awaitStatus(open, "paid")
	desk.retype("Sale or booking number", "B-8")
	desk.click("Note for staff") // leaving the field
	desk.shows("€15.00 of it is left to pay.")
	desk.click("Take what is left")
	desk.click("Review")
	desk.shows("Is this right?")
	desk.shows("€15.00")
	desk.wellBehaved()
}

// TestTheOfficeAsksWhoIsThere: without a key, with a wrong one, and with one of few rights.
func TestTheOfficeAsksWhoIsThere(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{})
	id := h.shop.till.call("POST", "/v1/requests", m{"amount": 900, "reference": "Cake"}).is(201).str("id")
	foreign := h.other.till.call("POST", "/v1/requests", m{"amount": 900, "reference": "Secret"}).is(201).str("id")
	b := openTab(t, tabOptions{})
	for _, path := range []string{"/inbox", "/inbox/" + id, "/inbox/new"} {
		b.goTo(h.addresses[0] + path)
		b.typeInto("API key", "plc_wrong")
		b.click("Open")
		b.shows("This key opens nothing here.")
		if shown := eval[bool](b, `!document.getElementById("desk").hidden`); shown {
			t.Errorf("%s is shown to anybody", path)
		}
	}
	b.goTo(h.addresses[0] + "/inbox")
	b.typeInto("API key", h.shop.keys[linking.Viewer])
	b.click("Open")
	b.click("Cake") // and the key stays with the tab
	b.shows("it can be paid")
	if got := eval[[]string](b, `[...document.querySelectorAll("#acts button")].map((e) => e.innerText)`); !slices.Equal(got, []string{}) {
		t.Errorf("a viewer may press %q", got)
	}
	b.goTo(h.addresses[0] + "/inbox/new")
	b.shows("You may look at links, but not make any.")
	b.goTo(h.addresses[0] + "/inbox/" + foreign)
	b.shows("There is no such payment request.")
	b.never("Secret", 100*time.Millisecond)
	// A session that ends while the page is open: nothing more is shown, until somebody is
	// let in again.
	b.goTo(h.addresses[0] + "/inbox")
	b.shows("Cake")
	eval[bool](b, `(() => {
		window.real = fetch;
		window.fetch = async () => new Response("{}", {status: 401});
		return dispatchEvent(new Event("online"));
	})()`)
	b.shows("API key")
	if shown := eval[bool](b, `!document.getElementById("desk").hidden`); shown {
		t.Error("the inbox is still shown")
	}
	eval[bool](b, `window.fetch = window.real, true`)
	b.typeInto("API key", h.shop.keys[linking.Viewer])
	b.click("Open")
	b.shows("Cake")
	b.wellBehaved()
}

// TestTheInboxShowsWhatIsNewer: the answer to its first question is slower than what
// happens meanwhile; and a lost network is told, and made up for.
func TestTheInboxShowsWhatIsNewer(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till := h.shop.till
	for _, path := range []string{"/inbox", "/inbox/"} {
		id := till.call("POST", "/v1/requests", m{"amount": 900, "reference": "Cake " + path}).is(201).str("id")
		if path != "/inbox" {
			path += id
		}
		wire := newWire(t, strings.TrimPrefix(h.addresses[0], "http://"))
		b := openTab(t, tabOptions{width: 1000, height: 900})
		tell(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `(() => {
			window.setInterval = () => 0;
			const real = fetch, freed = new Promise((r) => { window.free = r; });
			let first = true;
			window.fetch = async (path, how) => {
				const answer = await real(path, how);
				if (/^\/v1\/requests/.test(path) && first) { first = false; window.holds = true; await freed; }
				return answer;
			};
		})()`})
		b.goTo("http://" + wire.address + path + "#" + till.key)
		b.until("window.holds === true")
		till.call("POST", "/v1/requests/"+id+"/cancel", nil).is(200)
		b.until(`performance.getEntriesByType("resource").some((e) => e.name.includes("after="))`) // the events are read
		eval[bool](b, "window.free(), true")
		b.shows("cancelled")

		wire.cut()
		b.shows("No contact with the gateway")
		meanwhile := till.call("POST", "/v1/requests", m{"amount": 800, "reference": "Meanwhile " + path, "replaces": ""}).is(201).str("id")
		wire.mend()
		b.until(`document.getElementById("contact").hidden`)
		if path == "/inbox" {
			b.shows("Meanwhile")
		}
		till.call("POST", "/v1/requests/"+meanwhile+"/cancel", nil).is(200)
		b.wellBehaved()
	}
}

// TestMoneyIsTakenLater: a link that authorises only, with one way to pay; the manager
// takes the money when it is time, and a cashier cannot.
func TestMoneyIsTakenLater(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{})
	till := h.shop.till
	o := tabOptions{width: 1280, height: 900}
	desk := h.openDesk(t, "/inbox/new", h.shop.keys[linking.Manager], o)
	desk.typeInto("Amount EUR", "2500")
	desk.click("More")
	desk.click("Bank transfer") // not by this
	desk.click("Authorise now, take the money later")
	eval[bool](desk, `(() => { const s = document.getElementById("term"); s.value = "1m"; s.dispatchEvent(new Event("change", {bubbles: true})); return true; })()`)
	desk.click("Review")
	desk.shows("authorised now, taken later")
	desk.click("Make the link")
	desk.shows("it can be paid")
	id := till.get("/v1/requests").found()[0]
	till.get("/v1/requests/"+id).is(200).says("capture", "manual", "methods", []string{"card"})
	cashier := h.openDesk(t, "/inbox/"+id, h.shop.keys[linking.Cashier], o)
	h.bank.call("POST", "/sim/pay", m{"request_id": id}).is(200)
	for _, b := range []*tab{cashier, desk} {
		b.shows("the bank holds the money until you take it")
	}
	if n := eval[int](cashier, `document.querySelectorAll("[data-act=capture]").length`); n != 0 {
		t.Error("a cashier may take the money")
	}
	desk.click("Take the money")
	desk.shows("Take €25.00 now?")
	eval[bool](desk, `document.querySelector("#panel button").click(), true`)
	till.awaitStatus(id, "paid").says("paid_amount", 2500)
	for _, b := range []*tab{cashier, desk} {
		b.shows("Paid: €25.00")
		b.wellBehaved()
	}
}
