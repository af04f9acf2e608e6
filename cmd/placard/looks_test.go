package main

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"placard/linking"
)

// axe-core 4.14.1, by Deque Systems (MPL-2.0), as it is published; for this test alone.
//
//go:embed testdata/axe/axe-4.14.1.min.js.gz
var axePacked []byte

// everyPage shows one page after the other of a house and calls look for each, in every
// state that payers and cashiers get to see.
func everyPage(t *testing.T, o tabOptions, look func(name string, b *tab)) {
	t.Helper()
	h := newHouse(t, houseOptions{bare: true, office: afterWord})
	till := h.shop.till
	counter, bill := till.makeCode("counter"), till.makeCode("bill")
	payer := openTab(t, o)
	at := func(name, code, text string) {
		t.Helper()
		payer.goTo(h.addresses[0] + "/q/" + code)
		payer.shows(text)
		look(name, payer)
	}
	cashier := h.openTill(t, counter, o)
	cashier.shows("New sale")
	cashier.click("Items")
	cashier.click("Add an item")
	look("till, a new sale", cashier)
	at("waiting", counter, "Waiting for the till")
	at("unvalued", bill, "no amount yet")
	payer.typeInto("E-mail", "jo@example.org")
	payer.click("Tell me")
	payer.shows("We will tell you")
	look("promised", payer)
	lines := []m{{"description": "Coffee", "quantity": "2", "unit_price": 300, "vat_rate": "23"}, {"description": "Cake", "quantity": "0.5", "unit_price": 400, "vat_rate": "13"}}
	request := till.link(counter, m{"lines": lines, "reference": "Table 4"}).is(200).str("request.id")
	at("payable", counter, "€8.00")
	payer.click("See what it is for")
	look("payable, the word asked for", payer)
	cashier.shows("Waiting for payment")
	look("till, waiting", cashier)
	payer.click("Pay €8.00")
	payer.lands(h.bank.base)
	h.bank.call("POST", "/sim/pay", m{"request_id": request, "hold": true}).is(200)
	till.awaitStatus(request, "processing")
	payer.back()
	payer.shows("being confirmed")
	look("processing", payer)
	other := openTab(t, o)
	other.goTo(h.addresses[0] + "/q/" + counter)
	other.shows("Someone is paying here")
	look("busy", other)
	cashier.shows("Being paid")
	look("till, processing", cashier)
	h.bank.pays(request)
	payer.shows("Thank you.")
	look("paid", payer)
	cashier.shows("Seen, next sale")
	look("till, paid", cashier)
	payer.click("Receipt")
	payer.shows("not a fiscal receipt")
	look("receipt", payer)
	cashier.click("Seen, next sale")
	cashier.click("Refund of €8.00")
	look("till, refund", cashier)
	other.shows("This sale is closed")
	look("ended", other)
	second := till.attach(counter, 500)
	cashier.shows("Waiting for payment")
	cashier.click("Cancel")
	till.awaitStatus(second, "cancelled")
	cashier.shows("Not paid")
	look("till, cancelled", cashier)
	paid := till.attach(bill, 700)
	at("bill", bill, "€7.00")
	h.bank.pays(paid)
	till.awaitStatus(paid, "paid")
	at("settled", bill, "Paid on")
	at("unknown", "00000000000000000000", "not ours")
	till.call("PATCH", "/v1/codes/"+bill, m{"status": "lost"}).is(200)
	at("out of use", bill, "out of use")
	theOffice(h, o, request, look)
	theDesk(h, o, look)
	payer.wellBehaved()
	cashier.wellBehaved()
	other.wellBehaved()
}

// theOffice is everyPage for the inbox; paid is a paid request.
func theOffice(h *house, o tabOptions, paid string, look func(name string, b *tab)) {
	h.t.Helper()
	till := h.shop.till
	sent := till.call("POST", "/v1/requests", m{"amount": 4900, "reference": "Deposit, table for six", "note": "asked by phone",
		"customer": m{"name": "Ana Lima", "email": "ana@example.com", "phone": "+351910000000", "address": "1 Road"}}).is(201).str("id")
	odd := till.call("POST", "/v1/requests", m{"amount": 900}).is(201).str("id")
	h.bank.call("POST", "/sim/pay", m{"request_id": odd, "amount": 901, "force": true}).is(200)
	till.awaitStatus(odd, "review")
	desk := openTab(h.t, o)
	desk.goTo(h.addresses[0] + "/inbox")
	desk.shows("API key")
	look("inbox, who is there", desk)
	desk.goTo(h.addresses[0] + "/inbox#" + till.key)
	eval[bool](desk, `location.reload(), true`) // the same page as before, but for the fragment
	desk.shows("Deposit, table for six")
	desk.click("Days")
	look("inbox", desk)
	desk.goTo(h.addresses[0] + "/inbox?q=nobody")
	desk.shows("Nothing was found.")
	look("inbox, nothing found", desk)
	desk.goTo(h.addresses[0] + "/inbox/" + sent)
	desk.shows("it can be paid")
	desk.click("Show as QR code")
	desk.shows("Hide the QR code")
	look("one request, sent", desk)
	desk.click("Cancel")
	desk.shows("Yes, cancel it")
	look("one request, to be cancelled", desk)
	desk.goTo(h.addresses[0] + "/inbox/" + odd)
	desk.click("Accept the money")
	desk.shows("Yes, accept it")
	look("one request, to be decided", desk)
	desk.goTo(h.addresses[0] + "/inbox/" + paid)
	desk.shows("Paid: ")
	desk.click("Refund")
	desk.shows("Refund now")
	look("one request, to be refunded", desk)
	desk.goTo(h.addresses[0] + "/inbox/new?replaces=" + sent)
	desk.shows("is cancelled when this one is made")
	look("a new link", desk)
	desk.click("Items instead of an amount")
	desk.click("Add an item")
	desk.typeInto("Description", "Menu")
	desk.typeInto("Unit price EUR", "4500")
	desk.typeInto("Phone", "x")
	desk.click("Review")
	desk.shows("Enter the phone number with its country code")
	look("a new link, refused", desk)
	eval[bool](desk, `document.getElementById("phone").value = "", true`)
	desk.click("Review")
	desk.shows("Is this right?")
	look("a new link, to be reviewed", desk)
	desk.wellBehaved()
}

// TestAxeFindsNothingSerious holds every page against the rules of WCAG 2.2 A and AA that
// a machine can check, in light and dark.
func TestAxeFindsNothingSerious(t *testing.T) {
	t.Parallel()
	z, err := gzip.NewReader(bytes.NewReader(axePacked))
	if err != nil {
		t.Fatal(err)
	}
	axe, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	for _, dark := range []bool{false, true} {
		pages := 0
		everyPage(t, tabOptions{width: 390, height: 844, dark: dark}, func(name string, b *tab) {
			t.Helper()
			pages++
			// The script is put there by the browser's debugger; no page's policy allows it.
			eval[bool](b, string(axe)+"; true")
			found := eval[[]string](b, `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then((r) =>
				r.violations.filter((v) => v.impact === "serious" || v.impact === "critical").map((v) => v.id + ": " + v.nodes.map((n) => n.html + " " + n.failureSummary).join(" | ")))`)
			for _, f := range found {
				t.Errorf("%s (dark: %v): %s", name, dark, f)
			}
		})
		if pages < 39 {
			t.Errorf("%d pages were looked at", pages)
		}
	}
}

// longer makes every text of a page 40 % longer, as another language may be, and turns
// the page around, as a language written from right to left would.
const longer = `(mirrored) => {
	document.documentElement.dir = mirrored ? "rtl" : "ltr";
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	const all = [];
	while (walk.nextNode()) if (walk.currentNode.data.trim() && !walk.currentNode.parentElement.closest("script, .made-longer")) all.push(walk.currentNode);
	for (const n of all) {
		n.original = n.data;
		n.data = n.data.replace(/\p{L}{2,}/gu, (w) => w + "é".repeat(Math.ceil(w.length * 0.4)));
		n.parentElement.classList.add("made-longer");
	}
	const wide = [...document.querySelectorAll("body *")].filter((e) => { const r = e.getBoundingClientRect(); return r.width > 0 && getComputedStyle(e).visibility === "visible" && !e.closest(".unseen") && !e.closest("svg") && (r.right > innerWidth + 1 || r.left < -1); });
	const cut = [...document.querySelectorAll("button, .button, a, label, h1, h2, p, td, th, li, summary")].filter((e) => e.clientWidth && e.scrollWidth > e.clientWidth + 1 && !e.closest(".unseen"));
	return [document.documentElement.scrollWidth > innerWidth ? "the page is " + document.documentElement.scrollWidth + " wide" : ""].concat(wide.map((e) => "sticks out: " + e.outerHTML.slice(0, 120)), cut.map((e) => "is cut: " + e.outerHTML.slice(0, 120))).filter(Boolean);
}`

// TestNothingOverflowsInALongerLanguage looks at every page at 320 px, as it is, 40 %
// longer, and mirrored. It is 1.4.10 of WCAG 2.2, with a language to come.
func TestNothingOverflowsInALongerLanguage(t *testing.T) {
	t.Parallel()
	everyPage(t, tabOptions{width: 320, height: 640}, func(name string, b *tab) {
		t.Helper()
		for _, mirrored := range []bool{false, true} {
			for _, bad := range eval[[]string](b, fmt.Sprintf("(%s)(%v)", longer, mirrored)) {
				t.Errorf("%s, mirrored %v: %s", name, mirrored, bad)
			}
		}
		// Back to its own words, which the rest of the story is told by.
		eval[bool](b, `(() => { document.documentElement.dir = "ltr"; for (const e of document.querySelectorAll(".made-longer")) { e.classList.remove("made-longer"); for (const n of e.childNodes) if (n.original) { n.data = n.original; n.original = ""; } } return true; })()`)
	})
}

// hostile are strings that have broken pages: markup, scripts, templates, addresses,
// entities, quotes, controls, characters that turn text around, and long ones.
func hostile() (list []string) {
	script := "window.pwned=1"
	for _, open := range []string{"", `"`, "'", "`", ">", `">`, "'>", "-->", "</script>", "</title>", "</textarea>", "</style>", "]]>", "</noscript>", "</table>", "&quot;>", `\">`, "%22%3E", "\u2028", "{{", "${", "<!--", "&lt;", "*/"} {
		list = append(list,
			open+"<script>"+script+"</script>", open+"<img src=x onerror="+script+">", open+"<svg/onload="+script+">",
			open+`<a href="javascript:`+script+`">x</a>`, open+"<iframe srcdoc='<script>parent."+script+"</script>'>",
			open+" onmouseover="+script+" x=", open+"<body onload="+script+">", open+"<meta http-equiv=refresh content='0;url=javascript:"+script+"'>",
			open+"<base href=//evil.example/>",
		)
	}
	return append(list,
		"{{.}}", "{{7*7}}", "${7*7}", "<%= 7*7 %>", "qzMARKxsxKRAMzq", "qzMARKx", "&#60;script&#62;", "\u202e05.21€ yaP", "a\u200bb\u2066c", strings.Repeat("W", 140), "'; DROP TABLE requests; --",
	)
}

// TestHostileStringsStayText puts every hostile string into every field that somebody
// else fills in. Nothing of it runs, and nothing of it is markup.
func TestHostileStringsStayText(t *testing.T) {
	t.Parallel()
	all := hostile()
	if len(all) < 200 {
		t.Fatalf("only %d hostile strings", len(all))
	}
	worst := strings.Join([]string{`"'><script>window.pwned=1</script>`, `<img src=x onerror=window.pwned=1>`, "\u202e{{.}}"}, "")
	h := newHouse(t, houseOptions{bare: true, office: func(svc *linking.Service, shop linking.MerchantID) {
		if _, err := svc.ChangeMerchant(noContext, shop, func(m *linking.Merchant) error {
			m.Name, m.Contact, m.Lines = worst, worst, linking.LinesAlways
			return nil
		}); err != nil {
			t.Error(err)
		}
	}})
	till := h.shop.till
	code := till.makeCode("counter")
	till.call("PATCH", "/v1/codes/"+code, m{"label": worst})
	payer := openTab(t, tabOptions{})
	cashier := h.openTill(t, code, tabOptions{width: 1000, height: 900})
	clean := func(name string, b *tab) {
		t.Helper()
		got := eval[[]string](b, `[String(window.pwned || ""), ...[...document.querySelectorAll("main script, main iframe, main svg[onload], main base, [onerror], [onload], [onmouseover], a[href^=javascript], meta[content*=javascript]")].map((e) => e.outerHTML)]`)
		if len(got) != 1 || got[0] != "" {
			t.Errorf("%s: %q", name, got)
		}
		b.wellBehaved()
	}
	used := 0
	for len(all) > 0 {
		n := min(25, len(all))
		var lines []m
		for _, s := range all[:n] {
			line := m{"description": short(s, 120), "quantity": "1", "unit_price": 100}
			// What the API itself refuses (controls) gets no further.
			if till.call("PUT", "/v1/codes/"+code+"/link", m{"request": m{"lines": []m{line}, "reference": short(s, 100)}, "replace": true}).Status == 200 {
				lines = append(lines, line)
			}
		}
		used += len(lines)
		request := till.call("PUT", "/v1/codes/"+code+"/link", m{"request": m{"lines": lines, "reference": short(all[0], 100)}, "replace": true}).is(200).str("request.id")
		payer.goTo(h.addresses[0] + "/q/" + code)
		payer.shows("To pay")
		if rows := eval[int](payer, `document.querySelectorAll(".lines tbody tr").length`); rows != len(lines) {
			t.Errorf("%d of %d lines are shown", rows, len(lines))
		}
		clean("payable", payer)
		if len(all) == n {
			payer.click("Pay €" + fmt.Sprintf("%d.00", len(lines)))
			payer.lands(h.bank.base)
			h.bank.pays(request)
			cashier.shows("Seen, next sale")
			payer.back()
			payer.shows("Thank you.")
			clean("paid", payer)
			payer.click("Receipt")
			payer.shows("not a fiscal receipt")
			clean("receipt", payer)
			if pdf := till.get("/v1/requests/" + request + "/receipt?format=pdf").is(200); !bytes.HasPrefix(pdf.Body, []byte("%PDF-")) {
				t.Error("no PDF")
			}
		}
		all = all[n:]
	}
	cashier.shows("Seen, next sale")
	clean("till", cashier)
	// The office reads what others wrote: customers' names, references, notes, reasons.
	sent := till.call("POST", "/v1/requests", m{"amount": 500, "reference": short(worst, 100), "note": worst, "context": worst, "sale": "<script>window.pwned=1</script>", "client_id": "'><img src=x onerror=window.pwned=1>",
		"customer": m{"name": worst, "address": worst}, "lines": []m{{"description": worst, "quantity": "1", "unit_price": 500}}})
	if sent.Status != 201 { // controls are refused; without them
		plain := strings.ReplaceAll(worst, "\u202e", "")
		sent = till.call("POST", "/v1/requests", m{"reference": plain, "note": plain, "context": plain, "sale": "<script>window.pwned=1</script>", "client_id": "'><img src=x onerror=window.pwned=1>",
			"customer": m{"name": plain, "address": plain}, "lines": []m{{"description": plain, "quantity": "1", "unit_price": 500}}}).is(201)
	}
	desk := h.openDesk(t, "/inbox", till.key, tabOptions{width: 1000, height: 900})
	desk.shows("<img src=x onerror=window.pwned=1>")
	clean("inbox", desk)
	for i, s := range hostile() {
		if i%12 != 0 {
			continue
		}
		desk.goTo(h.addresses[0] + "/inbox?" + url.Values{"q": {s}, "show": {s}, "from": {s}}.Encode())
	}
	clean("inbox, searched", desk)
	desk.goTo(h.addresses[0] + "/inbox/" + sent.str("id"))
	desk.shows("it can be paid")
	clean("one request", desk)
	desk.goTo(h.addresses[0] + "/inbox/new?replaces=" + sent.str("id"))
	desk.click("Review")
	desk.shows("Is this right?")
	clean("a new link", desk)
	desk.click("Make the link")
	desk.shows("it can be paid")
	clean("one request, replaced", desk)
	if used < 190 {
		t.Errorf("only %d strings got as far as a page", used)
	}
	out := "%3Cscript%3Ewindow.pwned=1%3C/script%3E"
	for _, path := range []string{"/q/" + out, "/q/" + code + "?s=" + out, "/q/" + code + "?lang=" + out, "/p/" + out, "/till/" + out, "/inbox/" + out, "/inbox/new?replaces=" + out, "/" + out} {
		payer.goTo(h.addresses[0] + path)
		clean(path, payer)
	}
}

func short(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}

// TestPagesAreSmall weighs a page with all that it loads.
func TestPagesAreSmall(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true, office: afterWord})
	till := h.shop.till
	code := till.makeCode("counter")
	till.link(code, m{"lines": []m{{"description": "Coffee", "quantity": "2", "unit_price": 300}}}).is(200)
	loads := regexp.MustCompile(`(?:src|href)="(/(?:assets|m)/[^"]+)"`)
	for _, path := range []string{"/q/" + code, "/till/" + code, "/q/00000000000000000000", "/print", "/inbox", "/inbox/new", "/inbox/00000000000000000000000000"} {
		r := h.phone().get(path, "Accept", "text/html")
		sum, files := len(r.Body), 0
		for _, found := range loads.FindAllStringSubmatch(string(r.Body), -1) {
			files++
			sum += len(h.phone().get(found[1]).is(200).Body)
		}
		t.Logf("%.10s: %d bytes, %d of them the page, %d files", path, sum, len(r.Body), files)
		if sum > 50_000 || len(r.Body) == 0 {
			t.Errorf("%s weighs %d bytes, packed none", path, sum)
		}
		policy := r.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, want) || strings.Contains(policy, "unsafe") {
				t.Errorf("%s has the policy %q", path, policy)
			}
		}
	}
}
