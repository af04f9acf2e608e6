package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"

	"placard/linking"
)

// typeInto types a text into the field with an accessible name.
func (b *tab) typeInto(name, text string) {
	b.t.Helper()
	b.click(name)
	for _, r := range text {
		tell(b, input.InsertText, input.InsertTextParams{Text: string(r)})
	}
}

// never watches a page for a while: it must not show a text meanwhile.
func (b *tab) never(text string, while time.Duration) {
	b.t.Helper()
	for end := time.Now().Add(while); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if got := b.text("body"); strings.Contains(got, text) {
			b.t.Fatalf("the page shows %q:\n%s", text, got)
		}
	}
}

// printed is the address inside a code's QR symbol, as a phone's camera reads it.
func (h *house) printed(code string) string {
	h.t.Helper()
	return h.shop.till.get("/v1/codes/" + code).is(200).str("payload")
}

// openTill opens the till of a code in a tab.
func (h *house) openTill(t testing.TB, code string, o tabOptions) *tab {
	t.Helper()
	b := openTab(t, o)
	b.goTo(h.addresses[0] + "/till/" + code + "#" + h.shop.till.key)
	return b
}

// until waits until an expression of JavaScript is true on the page.
func (b *tab) until(js string) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if yes, err := evals[bool](b, js); err == nil && yes {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("never %s in:\n%s\n%s", js, b.text("body"), b.faults())
		}
	}
}

func (b *tab) wellBehaved() {
	b.t.Helper()
	if f := b.faults(); f != "" {
		b.t.Error(f)
	}
}

// TestASaleByNamesAlone plays whole sales as people who hear or read the pages do: by the
// names of what can be seen, from the printed address, in at most six clicks each.
func TestASaleByNamesAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	for _, c := range []struct {
		language                             string
		width, height                        int
		amount, show, pay, thanks, ack, wait string
	}{
		{"en", 320, 640, "Amount EUR", "Show on the code", "Pay €12.50", "Thank you.", "Seen, next sale", "Waiting for the till"},
		{"en", 1280, 800, "Amount EUR", "Show on the code", "Pay €12.50", "Thank you.", "Seen, next sale", "Waiting for the till"},
		{"pt-PT,pt;q=0.9,en;q=0.5", 320, 640, "Valor EUR", "Mostrar no código", "Pagar 12,50\u00a0€", "Obrigado.", "Visto, próxima venda", "À espera do caixa"},
		{"pt-BR", 1280, 800, "Valor EUR", "Mostrar no código", "Pagar 12,50\u00a0€", "Obrigado.", "Visto, próxima venda", "À espera do caixa"},
	} {
		t.Run(fmt.Sprintf("%s at %d", c.language[:2], c.width), func(t *testing.T) {
			code := h.shop.till.makeCode("counter")
			o := tabOptions{width: c.width, height: c.height, language: c.language}
			cashier, payer := h.openTill(t, code, o), openTab(t, o)
			payer.goTo(h.printed(code))
			payer.shows(c.wait)
			cashier.typeInto(c.amount, "1250")
			cashier.click(c.show)
			payer.click(c.pay)
			payer.lands(h.bank.base)
			payer.click("Pay 12.50 EUR")
			payer.shows(c.thanks) // the bank leads back
			cashier.click(c.ack)
			// Four clicks and an amount: field, show, acknowledge; pay, and pay at the bank.
			cashier.wellBehaved()
			payer.wellBehaved()
		})
	}
}

// TestD13APageNeverSlidesOnToTheNextSale has one phone in each sale, live.
func TestD13APageNeverSlidesOnToTheNextSale(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till := h.shop.till
	code := till.makeCode("counter")
	early := openTab(t, tabOptions{})
	early.goTo(h.printed(code))
	early.shows("Waiting for the till")
	first := till.attach(code, 1111)
	early.shows("€11.11") // waited, and flipped by itself
	second := openTab(t, tabOptions{})
	second.goTo(h.printed(code))
	second.shows("€11.11")
	pair := early.text(".pairing strong")
	if number, _, _ := strings.Cut(till.get("/v1/requests/"+first).is(200).str("pairing"), " "); number == "" || !strings.HasPrefix(pair, number+" ") || second.text(".pairing strong") != pair {
		t.Errorf("the pages show %q and %q, the till %q", pair, second.text(".pairing strong"), number)
	}

	till.call("PUT", "/v1/codes/"+code+"/link", m{"request": m{"amount": 2222, "reference": "Table 5"}, "replace": true}).is(200)
	for _, b := range []*tab{early, second} {
		b.shows("This sale is closed")
		b.never("22.22", 300*time.Millisecond)
		tell(b, page.Reload, page.ReloadParams{}) // a reload is the same scan
		b.shows("This sale is closed")
		b.never("Table 5", 300*time.Millisecond)
	}
	second.click("Open the code again")
	second.shows("€22.22")
	early.wellBehaved()
	second.wellBehaved()
}

// TestASaleWithoutJavaScript is the same sale by reloading.
func TestASaleWithoutJavaScript(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till := h.shop.till
	code := till.makeCode("counter")
	// The payer is back before the bank has told: the page he comes back to goes on.
	h.bank.call("POST", "/sim/callbacks", m{"mode": "delay", "value": 3000}).is(200)
	payer := openTab(t, tabOptions{noScript: true})
	payer.goTo(h.printed(code))
	payer.shows("Waiting for the till")
	request := till.attach(code, 1250)
	payer.shows("€12.50") // the page asks again by itself, every five seconds
	payer.click("Pay €12.50")
	payer.lands(h.bank.base)
	payer.click("Pay 12.50 EUR")
	payer.shows("Thank you.")
	till.awaitStatus(request, "paid")
	payer.click("Receipt")
	payer.shows("not a fiscal receipt")
	payer.wellBehaved()
}

// TestThePayersPageFollows without streams, over a lost network, and in another language.
func TestThePayersPageFollows(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till := h.shop.till
	t.Run("by asking, where there are no streams", func(t *testing.T) {
		code := till.makeCode("counter")
		payer := openTab(t, tabOptions{})
		tell(payer, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: "delete window.EventSource"})
		payer.goTo(h.printed(code))
		payer.shows("Waiting for the till")
		till.attach(code, 1250)
		payer.shows("€12.50")
		payer.wellBehaved()
	})
	t.Run("once the network is back", func(t *testing.T) {
		wire := newWire(t, strings.TrimPrefix(h.addresses[0], "http://"))
		code := till.makeCode("counter")
		request := till.attach(code, 1250)
		payer := openTab(t, tabOptions{})
		payer.goTo("http://" + wire.address + "/q/" + code)
		payer.shows("€12.50")
		wire.cut()
		payer.shows("No connection.")
		till.call("POST", "/v1/requests/"+request+"/cancel", m{}).is(200)
		wire.mend()
		payer.shows("This sale is closed")
		payer.wellBehaved()
	})
	t.Run("in another language, the same scan", func(t *testing.T) {
		code := till.makeCode("counter")
		till.attach(code, 1250)
		payer := openTab(t, tabOptions{language: "fr-CA,fr;q=0.9"})
		payer.goTo(h.printed(code))
		payer.shows("Payer 12,50\u00a0€")
		scan := eval[string](payer, "location.search")
		payer.click("Português")
		payer.shows("Pagar 12,50\u00a0€")
		if got := eval[string](payer, "location.search + document.documentElement.lang"); got != scan+"pt" {
			t.Errorf("the scan %q became %q", scan, got)
		}
		payer.goTo(h.addresses[0] + "/q/" + code) // remembered
		payer.shows("Pagar 12,50\u00a0€")
		payer.wellBehaved()
	})
}

// TestAnOldPageIsNotPayable goes back to a page of a sale that is over, in memory and out
// of it.
func TestAnOldPageIsNotPayable(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till := h.shop.till
	code := till.makeCode("counter")
	till.attach(code, 1234)
	payer := openTab(t, tabOptions{})
	payer.goTo(h.printed(code))
	payer.shows("€12.34")
	at := eval[string](payer, "location.href")
	payer.goTo(h.bank.base + "/app/nothing")
	till.call("PUT", "/v1/codes/"+code+"/link", m{"request": m{"amount": 999}, "replace": true}).is(200)
	payer.back()
	payer.never("12.34", 500*time.Millisecond)
	payer.shows("This sale is closed")

	// What the browser keeps in memory it shows before any script or server speaks: the
	// page was made unpayable when it was left.
	payer.goTo(h.addresses[0] + "/q/" + code)
	payer.shows("€9.99")
	seen := eval[[]bool](payer, `(() => {
		dispatchEvent(new PageTransitionEvent("pagehide", {persisted: true}));
		const shown = (s) => { const e = document.querySelector(s); return !!e && getComputedStyle(e).visibility === "visible"; };
		return [shown(".amount"), shown(".pay button")];
	})()`)
	if seen[0] || seen[1] {
		t.Errorf("a page put away shows amount, pay button: %v", seen)
	}
	eval[bool](payer, `dispatchEvent(new PageTransitionEvent("pageshow", {persisted: true}))`)
	payer.shows("€9.99")

	// A tab restored from a list of tabs asks the server: nothing of it is cached.
	restored := openTab(t, tabOptions{})
	restored.goTo(at)
	restored.shows("This sale is closed")
	restored.never("12.34", 200*time.Millisecond)
}

// TestTheTillLivesThroughALostNetwork cuts the till off at each step of a sale. What it
// shows is never "not paid" of a sale that was paid, nor the reverse.
func TestTheTillLivesThroughALostNetwork(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till := h.shop.till
	// Without a network the tab asks a gateway that is not there.
	wire := newWire(t, strings.TrimPrefix(h.addresses[0], "http://"))
	open := func(code string) *tab {
		b := openTab(t, tabOptions{width: 800, height: 900})
		b.goTo("http://" + wire.address + "/till/" + code + "#" + till.key)
		b.shows("New sale")
		return b
	}
	scan := func(code string) *reply { return h.phone().scan(code, "").is(200) }

	t.Run("while it sends the sale", func(t *testing.T) {
		code := till.makeCode("counter")
		b := open(code)
		b.typeInto("Amount EUR", "700")
		wire.cut()
		b.click("Show on the code")
		b.shows("No answer yet")
		tell(b, page.Reload, page.ReloadParams{}) // the page is lost too
		wire.mend()
		b.goTo("http://" + wire.address + "/till/" + code)
		b.shows("Waiting for payment")
		scan(code).says("request.amount", 700)
		if n := len(till.pages("/v1/requests?code=" + code)); n != 1 {
			t.Errorf("%d sales were made of one", n)
		}
	})
	t.Run("while it is paid", func(t *testing.T) {
		code := till.makeCode("counter")
		b := open(code)
		b.typeInto("Amount EUR", "800")
		b.click("Show on the code")
		b.shows("Waiting for payment")
		request := till.get("/v1/codes/" + code + "/link").str("request.id")
		wire.cut()
		b.shows("Unknown: do not ask to pay again")
		h.bank.pays(request)
		till.awaitStatus(request, "paid")
		b.never("Not paid", 500*time.Millisecond)
		wire.mend()
		b.shows("Seen, next sale")
		if !strings.Contains(b.text("#paid"), "€8.00") {
			t.Errorf("the till shows %q", b.text("#paid"))
		}
		// It stays, whatever happens to the page, until somebody has seen it.
		tell(b, page.Reload, page.ReloadParams{})
		b.shows("Seen, next sale")
		b.click("Seen, next sale")
		b.shows("New sale")
		tell(b, page.Reload, page.ReloadParams{})
		b.shows("New sale")
		if hidden := eval[bool](b, `document.getElementById("paid").hidden`); !hidden {
			t.Error("what was acknowledged is shown again")
		}
	})
	t.Run("while the bank works, to the end", func(t *testing.T) {
		code := till.makeCode("counter")
		b := open(code)
		b.typeInto("Amount EUR", "900")
		b.click("Show on the code")
		b.shows("Waiting for payment")
		request := till.get("/v1/codes/" + code + "/link").str("request.id")
		h.bank.call("POST", "/sim/pay", m{"request_id": request, "hold": true}).is(200)
		b.shows("Being paid")
		wire.cut()
		b.shows("Unknown: do not ask to pay again")
		b.never("Not paid", 300*time.Millisecond)
		b.never("Seen, next sale", 300*time.Millisecond)
		h.bank.call("POST", "/sim/refuse", m{"request_id": request}).is(200)
		till.awaitStatus(request, "active")
		till.call("POST", "/v1/requests/"+request+"/cancel", m{}).is(200)
		wire.mend()
		b.shows("Not paid: cancelled")
		b.shows("Other money may be taken now.")
		b.never("Seen, next sale", 200*time.Millisecond)
	})
	t.Run("while it cancels", func(t *testing.T) {
		code := till.makeCode("counter")
		b := open(code)
		b.typeInto("Amount EUR", "950")
		b.click("Show on the code")
		b.shows("Waiting for payment")
		request := till.get("/v1/codes/" + code + "/link").str("request.id")
		wire.cut()
		b.click("Cancel")
		b.shows("Unknown: do not ask to pay again")
		h.bank.pays(request)
		till.awaitStatus(request, "paid")
		b.never("Not paid", 300*time.Millisecond)
		wire.mend()
		b.shows("Seen, next sale")
	})
}

// TestNoAnswerHidesWhatCameAfterIt: an answer that tells of the sale is slower than the
// event that the bank has confirmed it. The till shows what is newer, at once and not when
// it next asks by itself.
func TestNoAnswerHidesWhatCameAfterIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, method string
		sell         func(b *tab, till *client, code string)
	}{
		{"another program's sale", "GET", func(b *tab, till *client, code string) { till.link(code, m{"amount": 800}).is(200) }},
		{"its own sale", "PUT", func(b *tab, till *client, code string) {
			b.typeInto("Amount EUR", "800")
			b.click("Show on the code")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, houseOptions{bare: true})
			till := h.shop.till
			code := till.makeCode("counter")
			b := openTab(t, tabOptions{width: 800, height: 900})
			tell(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `window.setInterval = () => 0`})
			b.goTo(h.addresses[0] + "/till/" + code + "#" + till.key)
			b.shows("New sale")
			eval[bool](b, fmt.Sprintf(`(() => {
				const real = fetch, freed = new Promise((r) => { window.free = r; });
				window.fetch = async (path, how) => {
					const slow = how.method === %q && path.endsWith("/link");
					if (slow) how.headers.Prefer = "wait=0"; // it tells of the sale before the bank has it
					const answer = await real(path, how);
					if (slow) { window.holds = true; await freed; }
					return answer;
				};
				return true;
			})()`, c.method))
			h.bank.strikes("create", "latency", 3000)
			c.sell(b, till, code)
			b.until("window.holds === true")
			h.bank.heals()
			till.awaitStatus(till.get("/v1/codes/"+code+"/link").str("request.id"), "active")
			b.until(`document.querySelector("#list .fate").innerText === "waiting"`) // the event is there
			eval[bool](b, "window.free(), true")
			b.shows("Waiting for payment")
			b.wellBehaved()
		})
	}
}

// TestWhatACashierDoes goes through the till's other buttons.
func TestWhatACashierDoes(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till := h.shop.till
	code := till.makeCode("counter")
	b := h.openTill(t, code, tabOptions{width: 1000, height: 900})
	for _, k := range []string{"1", "2", "00"} {
		b.click(k)
	}
	b.click("Show on the code")
	b.shows("€12.00")
	h.phone().get("/q/"+code, "Accept", "text/html", "User-Agent", "Mozilla/5.0 (iPhone)").is(200)
	b.shows("Amount seen")
	if eval[int](b, `document.querySelectorAll("#steps .yes").length`) != 3 {
		t.Errorf("the steps are %q", b.text("#steps"))
	}
	// Another amount ends this sale and shows the next.
	b.click("Change the amount")
	b.typeInto("Amount EUR", "1300")
	b.click("Show on the code")
	b.shows("€13.00")
	h.phone().scan(code, "").is(200).says("request.amount", 1300)
	b.shows("Waiting for payment")
	// Cash after all: told when it is safe.
	b.click("Pays another way")
	b.shows("Cancelled: paid another way")
	b.shows("Other money may be taken now.")
	h.phone().scan(code, "").is(200).says("resolution", "waiting")
	b.click("Next sale")
	// A link that was sent is shown on the code too, and sent again from here.
	if eval[bool](b, `!document.getElementById("sms").hidden`) {
		t.Error("a sale that has no link can be sent")
	}
	sent := till.call("POST", "/v1/requests", m{"amount": 1400, "customer": m{"phone": "+351910000000"}}).is(201)
	till.call("PUT", "/v1/codes/"+code+"/link", m{"request_id": sent.str("id")}).is(200)
	b.shows("€14.00")
	b.shows("Send the link by e-mail")
	if href := eval[string](b, `document.getElementById("sms").href`); href != sent.str("share.sms") || !strings.HasPrefix(href, "sms:+351910000000?body=14.00%20EUR") {
		t.Errorf("it is sent to %q", href)
	}
	b.click("Cancel")
	b.click("Next sale")
	// Items, with what they come to.
	b.click("Items")
	b.click("Add an item")
	b.typeInto("Description", "Bread")
	b.typeInto("Unit price EUR", "240")
	b.click("Add an item")
	eval[bool](b, `(() => { const f = document.querySelectorAll("[data-part=description]")[1]; f.value = "Butter"; const p = document.querySelectorAll("[data-part=price]")[1]; p.value = "3.10"; p.dispatchEvent(new Event("input", {bubbles: true})); return true; })()`)
	b.click("Show on the code")
	b.shows("€5.50")
	request := till.get("/v1/codes/" + code + "/link").str("request.id")
	h.bank.pays(request)
	b.click("Seen, next sale")
	// And back again, in part.
	b.click("Refund of €5.50")
	b.click("Refund now")
	eventually(t, "it was refunded", func() bool {
		return till.get("/v1/requests/"+request).is(200).num("refunded_amount") == 550
	})
	b.shows("€5.50 went back")
	// A sale of another till on the same code is not run over.
	b2 := h.openTill(t, code, tabOptions{width: 1000, height: 900})
	b2.typeInto("Amount EUR", "100")
	till.attach(code, 4000)
	b2.click("Show on the code")
	b2.shows("The code shows another sale")
	b2.click("End it and show this one")
	b2.shows("€1.00")
	h.phone().scan(code, "").is(200).says("request.amount", 100)
	b.wellBehaved()
	b2.wellBehaved()
}

// TestSoundUntilSeen: paid is heard again and again, until somebody has seen it.
func TestSoundUntilSeen(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	code := h.shop.till.makeCode("counter")
	b := h.openTill(t, code, tabOptions{})
	b.typeInto("Amount EUR", "100")
	b.click("Show on the code")
	b.shows("Waiting for payment")
	h.bank.pays(h.shop.till.get("/v1/codes/" + code + "/link").str("request.id"))
	b.shows("Seen, next sale")
	rang := func() string { return eval[string](b, `document.body.dataset.rang || ""`) }
	eventually(t, "it rang twice", func() bool { return rang() == "2" })
	b.click("Seen, next sale")
	before := rang()
	time.Sleep(4500 * time.Millisecond) // longer than from one ring to the next
	if rang() != before {
		t.Error("it rings on")
	}
}

// afterWord makes a house's shop show lines to who gives the word.
func afterWord(svc *linking.Service, shop linking.MerchantID) {
	if _, err := svc.ChangeMerchant(noContext, shop, func(m *linking.Merchant) error {
		m.Lines = linking.LinesAfterWord
		m.PromisePhone = true
		return nil
	}); err != nil {
		panic(err)
	}
}
