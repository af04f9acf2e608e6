package gateway

import (
	"html/template"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/net/html"

	"placard/linking"
)

func payerLanguages(t testing.TB) languages {
	t.Helper()
	all, err := readLanguages(webFolder("web/words/payer"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestMoneyIsWrittenAsBrowsersWriteIt: the wanted texts are those of Intl.NumberFormat
// (ICU 76, CLDR 46) for en, pt-BR (euros: pt-PT), de, es and fr.
func TestMoneyIsWrittenAsBrowsersWriteIt(t *testing.T) {
	all := payerLanguages(t)
	for _, c := range []struct {
		tag      string
		amount   linking.Amount
		currency linking.Currency
		want     string
	}{
		{"en", 0, "EUR", "€0.00"},
		{"en", 5, "EUR", "€0.05"},
		{"en", 1250, "EUR", "€12.50"},
		{"en", 123450, "EUR", "€1,234.50"},
		{"en", 123456789, "EUR", "€1,234,567.89"},
		{"en", 1250, "USD", "$12.50"},
		{"en", 1250, "BRL", "R$12.50"},
		{"en", 123456, "GBP", "£1,234.56"},
		{"en", 1250, "CHF", "CHF\u00a012.50"},
		{"en", 125000, "JPY", "¥125,000"},
		{"en", 1234567, "KWD", "KWD\u00a01,234.567"},
		{"en", 1250, "SEK", "SEK\u00a012.50"},
		{"en", 99999, "CAD", "CA$999.99"},
		{"en", 5000, "INR", "₹50.00"},
		{"pt", 0, "EUR", "0,00\u00a0€"},
		{"pt", 5, "EUR", "0,05\u00a0€"},
		{"pt", 1250, "EUR", "12,50\u00a0€"},
		{"pt", 123450, "EUR", "1234,50\u00a0€"},
		{"pt", 123456789, "EUR", "1\u00a0234\u00a0567,89\u00a0€"},
		{"pt", 1250, "USD", "US$\u00a012,50"},
		{"pt", 1250, "BRL", "R$\u00a012,50"},
		{"pt", 123456, "GBP", "£\u00a01.234,56"},
		{"pt", 1250, "CHF", "CHF\u00a012,50"},
		{"pt", 125000, "JPY", "JP¥\u00a0125.000"},
		{"pt", 1234567, "KWD", "KWD\u00a01.234,567"},
		{"pt", 1250, "SEK", "SEK\u00a012,50"},
		{"pt", 99999, "CAD", "CA$\u00a0999,99"},
		{"pt", 5000, "INR", "₹\u00a050,00"},
		{"de", 0, "EUR", "0,00\u00a0€"},
		{"de", 5, "EUR", "0,05\u00a0€"},
		{"de", 1250, "EUR", "12,50\u00a0€"},
		{"de", 123450, "EUR", "1.234,50\u00a0€"},
		{"de", 123456789, "EUR", "1.234.567,89\u00a0€"},
		{"de", 1250, "USD", "12,50\u00a0$"},
		{"de", 1250, "BRL", "12,50\u00a0R$"},
		{"de", 123456, "GBP", "1.234,56\u00a0£"},
		{"de", 1250, "CHF", "12,50\u00a0CHF"},
		{"de", 125000, "JPY", "125.000\u00a0¥"},
		{"de", 1234567, "KWD", "1.234,567\u00a0KWD"},
		{"de", 1250, "SEK", "12,50\u00a0SEK"},
		{"de", 99999, "CAD", "999,99\u00a0CA$"},
		{"de", 5000, "INR", "50,00\u00a0₹"},
		{"es", 0, "EUR", "0,00\u00a0€"},
		{"es", 5, "EUR", "0,05\u00a0€"},
		{"es", 1250, "EUR", "12,50\u00a0€"},
		{"es", 123450, "EUR", "1234,50\u00a0€"},
		{"es", 123456789, "EUR", "1.234.567,89\u00a0€"},
		{"es", 1250, "USD", "12,50\u00a0US$"},
		{"es", 1250, "BRL", "12,50\u00a0BRL"},
		{"es", 123456, "GBP", "1234,56\u00a0GBP"},
		{"es", 1250, "CHF", "12,50\u00a0CHF"},
		{"es", 125000, "JPY", "125.000\u00a0JPY"},
		{"es", 1234567, "KWD", "1234,567\u00a0KWD"},
		{"es", 1250, "SEK", "12,50\u00a0SEK"},
		{"es", 99999, "CAD", "999,99\u00a0CAD"},
		{"es", 5000, "INR", "50,00\u00a0INR"},
		{"fr", 0, "EUR", "0,00\u00a0€"},
		{"fr", 5, "EUR", "0,05\u00a0€"},
		{"fr", 1250, "EUR", "12,50\u00a0€"},
		{"fr", 123450, "EUR", "1\u202f234,50\u00a0€"},
		{"fr", 123456789, "EUR", "1\u202f234\u202f567,89\u00a0€"},
		{"fr", 1250, "USD", "12,50\u00a0$US"},
		{"fr", 1250, "BRL", "12,50\u00a0R$"},
		{"fr", 123456, "GBP", "1\u202f234,56\u00a0£GB"},
		{"fr", 1250, "CHF", "12,50\u00a0CHF"},
		{"fr", 125000, "JPY", "125\u202f000\u00a0JPY"},
		{"fr", 1234567, "KWD", "1\u202f234,567\u00a0KWD"},
		{"fr", 1250, "SEK", "12,50\u00a0SEK"},
		{"fr", 99999, "CAD", "999,99\u00a0$CA"},
		{"fr", 5000, "INR", "50,00\u00a0₹"},
	} {
		if got := all.named(c.tag, nil).money(linking.Money{Amount: c.amount, Currency: c.currency}); got != c.want {
			t.Errorf("%s writes %d %s as %q, want %q", c.tag, c.amount, c.currency, got, c.want)
		}
	}
}

func TestDays(t *testing.T) {
	m := &linking.Merchant{TimeZone: "America/Sao_Paulo"}
	at := time.Date(2026, 5, 13, 1, 30, 0, 0, time.UTC) // still the 12th over there
	for tag, want := range map[string]string{
		"en": "12 May 2026", "pt": "12 de maio de 2026", "de": "12. Mai 2026", "es": "12 de mayo de 2026", "fr": "12 mai 2026",
	} {
		if got := payerLanguages(t).named(tag, nil).day(m, at); got != want {
			t.Errorf("%s writes %q, want %q", tag, got, want)
		}
	}
}

func TestTheLanguageThatIsWantedMost(t *testing.T) {
	all := payerLanguages(t)
	for _, c := range []struct {
		header  string
		offered []string
		want    string
	}{
		{"", nil, "en"}, {"pt-PT,pt;q=0.9,en;q=0.8", nil, "pt"}, {"DE-at", nil, "de"}, {"ja, fr;q=0.2, es;q=0.7", nil, "es"}, {"ja", nil, "en"},
		{"fr;q=0, de;q=0.1", nil, "de"}, {"fr;q=2", nil, "en"}, {"en;q=0.5,de;q=0.5", nil, "en"}, {"*", nil, "en"}, {";;,,q=;", nil, "en"},
		{"de, en", []string{"pt", "es"}, "pt"}, {"de, es", []string{"pt", "es"}, "es"}, {"de", []string{"xx"}, "en"},
	} {
		if got := all.best(c.header, c.offered).tag; got != c.want {
			t.Errorf("%q of %v is %s, want %s", c.header, c.offered, got, c.want)
		}
	}
}

// inBrackets is a language in which every text says where it begins and ends.
func inBrackets(all languages) languages {
	own := *all[0]
	own.words = maps.Clone(own.words)
	for key, s := range own.words {
		if !slices.Contains([]string{"decimal", "group", "group_from", "money", "money_code", "symbols", "date", "months"}, key) {
			own.words[key] = "⟦" + s + "⟧"
		}
	}
	own.pictures = slices.Clone(own.pictures)
	for i := range own.pictures {
		own.pictures[i] = "⟦" + own.pictures[i] + "⟧"
	}
	return languages{&own}
}

var bracketed = regexp.MustCompile(`(?s)⟦.*?⟧|qzMARKx.*?xKRAMzq`)

// unworded are the texts of a page that stand in no catalogue.
func unworded(t *testing.T, page string) (found []string) {
	t.Helper()
	root, err := html.ParseWithOptions(strings.NewReader(page), html.ParseOptionEnableScripting(false))
	if err != nil {
		t.Fatal(err)
	}
	look := func(s string) {
		if s = bracketed.ReplaceAllString(s, ""); strings.ContainsFunc(s, unicode.IsLetter) {
			found = append(found, strings.TrimSpace(s))
		}
	}
	var walk func(n *html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.ElementNode && (n.Data == "script" || n.Data == "style") {
			return
		}
		if n.Type == html.TextNode {
			look(n.Data)
		}
		for _, a := range n.Attr {
			if slices.Contains([]string{"alt", "title", "aria-label", "placeholder", "aria-description", "data-done", "data-old", "data-offline"}, a.Key) {
				look(a.Val)
			}
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	walk(root)
	return found
}

// pagesOnly is an api with templates and words, and no service.
func pagesOnly(t testing.TB) *api {
	t.Helper()
	a := &api{}
	var err error
	if a.assets, err = newAssets(staticFiles()); err != nil {
		t.Fatal(err)
	}
	if err := a.parsePages(); err != nil {
		t.Fatal(err)
	}
	return a
}

// sameEverywhere is what the settings say in every language: how keys and addresses
// begin, and days, whose words are not in brackets.
var sameEverywhere = regexp.MustCompile(`plc_|https://|\d+ Jan \d+ \d\d:\d\d`)

// TestNoTextOutsideTheCatalogues renders every shape of the payer's page, the till and the
// receipt in a language whose every text is in brackets: what is not, is in no catalogue.
func TestNoTextOutsideTheCatalogues(t *testing.T) {
	a := pagesOnly(t)
	pseudo := inBrackets(a.payerWords)
	shapes := 0
	for _, r := range []linking.Resolution{
		linking.Payable, linking.Waiting, linking.Valueless, linking.NothingDue, linking.Updating, linking.Busy, linking.InFlight,
		linking.PaidHere, linking.Settled, linking.Ended,
	} {
		for _, kind := range []linking.CodeKind{linking.Counter, linking.Bill, linking.Account, ""} {
			for p := range parts(takesPhone << 1) {
				if p != 0 && p&(p-1) != 0 && p != takesPhone<<1-1 && p != hasPayload|hasExpiry|hasReference {
					continue // none, each alone, all, and the code to copy
				}
				for _, flags := range []bool{false, true} {
					k := payerKey{lang: pseudo[0], resolution: r, kind: kind, settledOn: flags, slow: flags, parts: p}
					if flags {
						k.notice, k.reason = "changed", []linking.EndReason{linking.ByExpiry, linking.ByReplace}[shapes/2%2]
					}
					sh, err := a.payerShapes.make(a.pages, k, k.describe(pseudo))
					if err != nil {
						t.Fatal(err)
					}
					var page strings.Builder
					for _, piece := range sh.pieces {
						page.WriteString(piece.text)
						page.WriteString(mark("x"))
					}
					shapes++
					for _, s := range unworded(t, page.String()) {
						t.Errorf("%s says %q in every language", r, s)
					}
				}
			}
		}
	}
	if shapes < 1000 {
		t.Errorf("only %d shapes", shapes)
	}
	office := func(title, more string, data any) map[string]any {
		words := inBrackets(a.inboxWords)
		return map[string]any{"Lang": words[0], "Offers": words, "Words": "", "Title": title, "Script": "inbox.js", more: data}
	}
	desk := func(page string, more ...any) map[string]any {
		words, x := inBrackets(a.deskWords), "⟦x⟧"
		m := &linking.Merchant{Name: x, Currency: "EUR"}
		d := map[string]any{"Lang": words[0], "Offers": words, "Page": page, "Notice": "limited", "Done": "saved", "Role": linking.Owner, "Merchant": m, "Form": url.Values{},
			"Sections": []workplace{{page, x}}, "Roles": linking.Roles, "Outlets": []*linking.Outlet{{ID: "x", Name: x}}, "OutletNames": map[linking.OutletID]string{"x": x}, "Told": x, "ToldName": x, "Symbol": "x"}
		if slices.Contains([]string{"merchant", "outlets", "banks"}, page) { // nothing there is told once
			delete(d, "Told")
		}
		maps.Copy(d, dict(more...))
		return d
	}
	person := &linking.Staff{ID: "00000000000000", Name: "⟦x⟧", Role: linking.Cashier, User: "⟦x⟧", PIN: []byte{1}}
	invited := &linking.Staff{ID: "00000000000001", Name: "⟦x⟧", Role: linking.Owner, Outlet: "x"}
	device := &linking.Device{Name: "⟦x⟧", PairedAt: time.Unix(1, 0), Outlet: "x"}
	hook := linking.Webhook{URL: "⟦x⟧", Label: "⟦x⟧"}
	hooks := []*linking.WebhookView{{Webhook: &hook, Held: 2, LastOK: time.Unix(1, 0)}, {Webhook: &hook, Down: true}, {Webhook: &hook, Gone: true}, {Webhook: &hook}}
	settings := map[string]map[string]any{
		"merchant": desk("merchant", "M", merchantView{Name: "⟦x⟧", HasLogo: true, Currency: "⟦x⟧"}, "LinesShown", []linking.LinesShown{"after_payment", "after_word", "always"}, "LateRules", []linking.LateRule{"hold", "accept", "return"}, "MaySend", linking.Roles),
		"staff":    desk("staff", "Me", invited, "People", []*linking.Staff{person, invited}),
		"devices":  desk("devices", "Devices", []*linking.Device{device, {Name: "⟦x⟧"}}),
		"outlets":  desk("outlets", "Places", []*linking.Outlet{{ID: "x", Name: "⟦x⟧"}}, "More", "x"),
		"keys":     desk("keys", "Keys", []*linking.APIKey{{ID: "⟦x⟧", Label: "⟦x⟧", Role: linking.Agent, Outlet: "x", Codes: make([]linking.Token, 2)}}),
		"banks": desk("banks", "Owns", true, "Tried", "⟦x⟧", "Steps", []linking.ProbeStep{{Step: "⟦x⟧", OK: true}, {Step: "⟦x⟧", Detail: "⟦x⟧"}},
			"Banks", []bankRow{{connectionView{Rail: "⟦x⟧", Default: true, Settings: map[string]string{"⟦x⟧": "⟦x⟧"}, Secrets: []string{"⟦x⟧"}}, []breakerRow{{"⟦x⟧", "⟦x⟧", "⟦x⟧"}}}}),
		"webhooks": desk("webhooks", "Webhooks", hooks),
	}
	settings["a person"] = desk("staff", "Person", person)
	settings["a webhook"] = desk("webhooks", "Webhook", hooks[0], "Attempts", []linking.Attempt{{Type: "⟦x⟧"}, {Type: "⟦x⟧", Fault: "⟦x⟧", Status: 500}})
	for name, data := range settings {
		var page strings.Builder
		if err := a.pages.ExecuteTemplate(&page, "settings.html", data); err != nil {
			t.Fatal(err)
		}
		for _, text := range unworded(t, sameEverywhere.ReplaceAllString(page.String(), "")) {
			t.Errorf("the settings of %s say %q in every language", name, text)
		}
	}
	if len(settings) != len(settingsSections)+2 {
		t.Error("not every part of the settings was looked at")
	}
	for name, data := range map[string]any{
		"login.html":   desk("login", "Role", linking.Role(""), "Device", device, "Cashiers", []*linking.Staff{person}, "Next", "x"),
		"join.html":    desk("join", "Person", person, "Sells", true, "Secret", "x"),
		"pair.html":    desk("pair", "Device", device, "Secret", "x"),
		"account.html": desk("account", "Me", person, "Sells", true, "Pages", []workplace{{"/x", "⟦x⟧"}}),
		"problem.html": map[string]any{"Lang": pseudo[0], "Heading": "⟦x⟧", "Text": []string{"⟦x⟧"}, "Contact": "⟦x⟧", "Code": "⟦x⟧", "RequestID": "⟦x⟧", "Refresh": true},
		"till.html": map[string]any{"Lang": inBrackets(a.tillWords)[0], "Offers": inBrackets(a.tillWords), "Words": "", "Code": "x",
			"Steps": []tillStep{{"shown", "⟦x⟧"}}, "Keys": []string{"1"}},
		"print.html": map[string]any{"Lang": inBrackets(a.printWords)[0], "Offers": inBrackets(a.printWords), "Words": "", "Languages": []string{"⟦x⟧"}, "Levels": []string{"⟦x⟧"},
			"Uses": []shelf{{"roll", []stockOption{{"x", "⟦x⟧"}}}}},
		"inbox.html":         office("inbox", "Filters", []inboxFilter{{"all", "⟦x⟧"}, {"decide", "⟦x⟧"}}),
		"inbox-new.html":     office("new_link", "Terms", []inboxFilter{{"2d", "⟦x⟧"}}),
		"inbox-request.html": office("request", "Request", "x"),
		"receipt.html": &receiptPage{Lang: pseudo[0], Offers: pseudo, Title: "⟦x⟧", Merchant: "⟦x⟧", Logo: "/m/x/logo", Test: "⟦x⟧", Amount: "⟦x⟧", Fiscal: "https://x", Self: "/p/x",
			Facts: []receiptFact{{"⟦x⟧", "⟦x⟧"}}, Lines: []receiptRow{{"⟦x⟧", "⟦x⟧", "⟦x⟧"}}, VAT: []receiptRow{{"⟦x⟧", "⟦x⟧", "⟦x⟧"}}, Notes: []string{"⟦x⟧"}},
	} {
		var page strings.Builder
		if err := a.pages.ExecuteTemplate(&page, name, data); err != nil {
			t.Fatal(err)
		}
		for _, s := range unworded(t, page.String()) {
			t.Errorf("%s says %q in every language", name, s)
		}
	}
}

// TestScriptsSayOnlyWhatIsInTheirCatalogues: each key that a script asks for exists, and
// no script has a sentence of its own.
func TestScriptsSayOnlyWhatIsInTheirCatalogues(t *testing.T) {
	a := pagesOnly(t)
	for name, words := range map[string]languages{"till.js": a.tillWords, "print.js": a.printWords, "payer.js": a.payerWords} {
		script := string(a.assets.byName[name].plain)
		for line := range strings.Lines(script) {
			if strings.Count(line, "`")%2 != 0 {
				t.Errorf("%s has a text of several lines, which comes out changed: %s", name, line)
			}
		}
		for _, found := range regexp.MustCompile(`\bt\("([a-z_]+)"`).FindAllStringSubmatch(script, -1) {
			if _, ok := words[0].words[found[1]]; !ok && !strings.HasSuffix(found[1], "_") {
				t.Errorf("%s asks for %q", name, found[1])
			}
		}
		for _, found := range regexp.MustCompile(`textContent = (["'`+"`"+`][^"'`+"`"+`]*[A-Za-z]{3})`).FindAllString(script, -1) {
			t.Errorf("%s says %s by itself", name, found)
		}
	}
	for _, status := range []linking.Status{linking.Draft, linking.Unvalued, linking.Preparing, linking.Active, linking.Processing, linking.Closing,
		linking.Review, linking.Paid, linking.Expired, linking.Cancelled} {
		a.tillWords[0].say("s_" + string(status))
		a.tillWords[0].say(string(status))
	}
}

// TestTheOfficeSaysOnlyWhatIsInItsCatalogue: the same of the inbox's pages, whose scripts
// make the keys of statuses, reasons, kinds and events; and each is sent what it says.
func TestTheOfficeSaysOnlyWhatIsInItsCatalogue(t *testing.T) {
	a := pagesOnly(t)
	l := a.inboxWords[0]
	for _, name := range []string{"inbox.js", "inbox-new.js", "inbox-request.js"} {
		script := string(a.assets.byName[name].plain) + string(a.assets.byName["inbox-shared.js"].plain)
		sent := a.officeScript(l, name)["words"].(map[string]string)
		for _, found := range regexp.MustCompile(`\b(?:t|fact|act)\((?:[^"()]*[(?,] )?"([a-z_0-9]+)"(?: : "([a-z_0-9]+)")?`).FindAllStringSubmatch(script, -1) {
			for _, key := range found[1:] {
				if key != "" && !strings.HasSuffix(key, "_") && sent[key] == "" {
					t.Errorf("%s asks for %q and is not sent it", name, key)
				}
			}
		}
		for _, found := range regexp.MustCompile(`textContent = (["'`+"`"+`][^"'`+"`"+`]*[A-Za-z]{3})`).FindAllString(script, -1) {
			t.Errorf("%s says %s by itself", name, found)
		}
	}
	sent := a.officeScript(l, "inbox-request.js")["words"].(map[string]string)
	for _, s := range linking.Statuses {
		if sent["s_"+string(s)] == "" {
			t.Errorf("no words for the status %s", s)
		}
	}
	for _, s := range []linking.EndReason{linking.ByCancel, linking.ByExpiry, linking.BySwap, linking.ByReplace, linking.ByReturn, linking.ByDetach,
		linking.ByOtherMeans, linking.ByBankRejection, linking.ByBank, linking.BySalePaid} {
		if sent["reason_"+string(s)] == "" {
			t.Errorf("no words for the reason %s", s)
		}
	}
	for _, s := range []linking.ExceptionKind{linking.LateMoney, linking.DoubleMoney, linking.WrongMoney, linking.AfterCancel, linking.UnknownMoney} {
		if sent["kind_"+string(s)] == "" {
			t.Errorf("no words for money that is %s", s)
		}
	}
	for _, s := range linking.EventTypes {
		key := "ev_" + strings.ReplaceAll(string(s), ".", "_")
		if s == linking.ExceptionDecided {
			key += "_accepted"
		}
		if strings.HasPrefix(key, "ev_request_") && sent[key] == "" || s == linking.ExceptionDecided && sent[key] == "" {
			t.Errorf("no words for the event %s", s)
		}
	}
}

// TestEscapedTextIsText holds appendEscaped against the parser that browsers have, in an
// element and in an attribute.
func TestEscapedTextIsText(t *testing.T) {
	for _, s := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='x`, `&lt;b&gt; &amp; &#60;`, "a\x00b\x1bc", "\u202e\u2066x", "--><!--", "]]>", "{{.}}", "Café ✓ 漢字 🙂", "\xff\xfez",
	} {
		page := `<p title="` + string(appendEscaped(nil, s)) + `">` + string(appendEscaped(nil, s)) + `</p>`
		root, err := html.Parse(strings.NewReader(page))
		if err != nil {
			t.Fatal(err)
		}
		p := root.FirstChild.LastChild.FirstChild // html, body, and what is in it
		if p == nil || p.NextSibling != nil || p.Data != "p" || len(p.Attr) != 1 || p.FirstChild.Type != html.TextNode || p.FirstChild.NextSibling != nil {
			t.Errorf("%q becomes markup: %s", s, page)
			continue
		}
		want := legible(strings.ToValidUTF8(s, ""))
		if p.FirstChild.Data != want || p.Attr[0].Val != want {
			t.Errorf("%q becomes %q and %q, want %q", s, p.FirstChild.Data, p.Attr[0].Val, want)
		}
		if strings.ContainsFunc(want, func(r rune) bool { return r < ' ' || unicode.Is(unicode.Bidi_Control, r) }) {
			t.Errorf("%q keeps what turns text around: %q", s, want)
		}
	}
}

// TestAMarkInTheWrongPlaceFails: a page whose values would stand where they are not text
// cannot be cut.
func TestAMarkInTheWrongPlaceFails(t *testing.T) {
	s := shapes[int, struct{}]{name: "x", fills: map[string]func([]byte, *struct{}) []byte{}}
	page := template.Must(template.New("x").Funcs(template.FuncMap{"mark": mark}).Parse(`<p>{{mark "y"}}</p>`))
	if _, err := s.make(page, 1, nil); err == nil {
		t.Error("a mark without a value was taken")
	}
}

func aView() *linking.View {
	return &linking.View{
		Token: "00000000000000000000", Sealed: "0000000000000000000000000000000000000000", Code: &linking.Code{Kind: linking.Counter}, Pairing: linking.Pairing{Digits: 47, Picture: 47},
		At:       time.Date(2026, 5, 12, 10, 0, 0, 0, time.UTC),
		Merchant: &linking.Merchant{ID: "00000000000000", Name: "Café Aurora", Contact: "at the counter", HasLogo: true, Mode: linking.Test},
		Seen: linking.Seen{Resolution: linking.Payable, Scan: linking.Scan{Epoch: 17}, Request: &linking.SeenRequest{
			Revision: 1, Money: linking.Money{Amount: 1250, Currency: "EUR"}, Reference: "Table 4", ExpiresAt: time.Date(2026, 5, 12, 10, 15, 0, 0, time.UTC), PayOrigin: "https://bank.example",
		}},
	}
}

// TestAPageCostsLittleMoreThanJSON bounds what the garbage collector gets of a page.
func TestAPageCostsLittleMoreThanJSON(t *testing.T) {
	a, view := pagesOnly(t), aView()
	v := &payerView{View: view, lang: a.payerWords[0]}
	b := make([]byte, 0, 16<<10)
	if n := testing.AllocsPerRun(100, func() { a.appendPage(b, v) }); n > 6 {
		t.Errorf("a page makes %v allocations", n)
	}
}

func BenchmarkScanAsPage(b *testing.B) {
	a, view := pagesOnly(b), aView()
	v, buf := &payerView{View: view, lang: a.payerWords[0]}, make([]byte, 0, 16<<10)
	b.ReportAllocs()
	for b.Loop() {
		a.appendPage(buf, v)
	}
}

func BenchmarkScanAsJSON(b *testing.B) {
	view, buf := aView(), make([]byte, 0, 16<<10)
	b.ReportAllocs()
	for b.Loop() {
		appendScan(buf, view)
	}
}
