package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"placard/linking"
)

// aCart is a sale with lines that nobody else may read.
func aCart(secret string) m {
	return m{"reference": "Table 4", "lines": []m{{"description": secret, "quantity": "2", "unit_price": 300, "vat_rate": "23"}}}
}

// TestAStrangerWithAPhotographLearnsNoLines: somebody who photographed the code opens its
// page from home and polls through two hundred sales. He sees no line of any, whatever he
// tries short of the word itself, and no customer waits for him.
func TestAStrangerWithAPhotographLearnsNoLines(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true, office: afterWord})
	till, stranger := h.shop.till, h.phone()
	code := till.makeCode("counter")
	for sale := range 200 {
		secret := fmt.Sprintf("Pregnancy test %d", sale)
		request := till.link(code, aCart(secret)).is(200)
		seen := stranger.scan(code, "").is(200)
		seen.says("resolution", "payable", "request.amount", 600)
		page := stranger.get("/q/"+code, "Accept", "text/html").is(200)
		looks := [][]byte{seen.Body, page.Body}
		if sale%2 == 1 { // every other sale he guesses, and presses pay besides
			pairing := request.str("request.pairing")
			looks = append(looks, stranger.call("POST", "/q/"+code+"/word", m{"s": seen.str("s"), "pairing": otherWord(pairing)}).is(200).Body)
			looks = append(looks, stranger.call("POST", "/q/"+code+"/word", m{"s": seen.str("s"), "pairing": pairing}).is(200).Body) // too late
			stranger.press(seen).is(303)
		}
		customer := h.phone()
		mine := customer.scan(code, "").is(200)
		mine.says("resolution", "payable", "request.amount", 600)
		customer.press(mine).is(303)
		h.bank.pays(request.str("request.id"))
		till.awaitStatus(request.str("request.id"), "paid")
		paid := customer.scan(code, mine.str("s")).is(200)
		paid.says("resolution", "paid")
		if sale%2 == 0 && paid.str("request.lines.0.description") != secret {
			t.Errorf("sale %d: who paid does not see his lines: %s", sale, paid.Body)
		}
		after := stranger.scan(code, seen.str("s")).is(200)
		looks = append(looks, after.Body)
		if receipt := after.str("request.receipt_url"); receipt != "" {
			looks = append(looks, stranger.get(receipt, "Accept", "text/plain").is(200).Body)
		}
		for i, body := range looks {
			if bytes.Contains(body, []byte("Pregnancy")) {
				t.Fatalf("sale %d, look %d: a stranger reads %s", sale, i, body)
			}
		}
	}
}

// otherWord is a word that is wrong: the next digits with the same picture.
func otherWord(pairing string) string {
	number, picture, _ := strings.Cut(pairing, " ")
	return fmt.Sprintf("%02d %s", (int(number[0]-'0')*10+int(number[1]-'0')+1)%100, picture)
}

func TestLinesAfterTheWord(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true, office: afterWord})
	till, phone := h.shop.till, h.phone()
	code := till.makeCode("counter")
	waited := phone.scan(code, "").is(200).says("resolution", "waiting")
	pairing := till.link(code, aCart("Coffee")).is(200).str("request.pairing")
	seen := phone.scan(code, waited.str("s")).is(200)
	choices, _ := seen.at("request.pairing_choices").([]any)
	if _, told := seen.at("request").(map[string]any)["pairing"]; told || len(choices) != 8 {
		t.Errorf("the word is asked for by %s", seen.Body)
	}
	if other := h.phone().scan(code, ""); fmt.Sprint(other.at("request.pairing_choices")) != fmt.Sprint(choices) {
		t.Errorf("another scan chooses among %s", other.Body)
	}
	_, picture, _ := strings.Cut(pairing, " ")
	if !strings.Contains(fmt.Sprint(choices...), picture) {
		t.Errorf("%q is not among %v", picture, choices)
	}
	right := phone.call("POST", "/q/"+code+"/word", m{"s": seen.str("s"), "pairing": pairing}).is(200)
	right.says("request.lines.0.description", "Coffee", "request.pairing", pairing)
	phone.scan(code, right.str("s")).is(200).says("request.lines.0.description", "Coffee") // remembered
	// Somebody else's wrong word closes the lines for who comes later, not for who gave it.
	thief := h.phone()
	his := thief.scan(code, "").is(200)
	thief.call("POST", "/q/"+code+"/word", m{"s": his.str("s"), "pairing": otherWord(pairing)}).is(200).says("request.lines.0", nil, "request.pairing", pairing)
	phone.scan(code, right.str("s")).is(200).says("request.lines.0.description", "Coffee")
	late := h.phone()
	theirs := late.scan(code, "").is(200)
	theirs.says("request.pairing", pairing)
	late.call("POST", "/q/"+code+"/word", m{"s": theirs.str("s"), "pairing": pairing}).is(200).says("request.lines.0", nil)
	// A word for another code's scan, or none at all, tries nothing.
	next := till.makeCode("counter")
	word := till.link(next, aCart("Tea")).is(200).str("request.pairing")
	thief.call("POST", "/q/"+next+"/word", m{"s": his.str("s"), "pairing": word}).is(200).says("request.lines.0", nil)
	phone.call("POST", "/q/"+next+"/word", m{"s": phone.scan(next, "").str("s"), "pairing": word}).is(200).says("request.lines.0.description", "Tea")
	phone.call("POST", "/q/"+next+"/word", m{"s": "x", "pairing": "kite"}).refused(422, "invalid_request", "pairing pairing")
	phone.call("POST", "/q/"+next+"/word", m{"pairing": word}).refused(422, "invalid_request", "s required")
}

func TestLinesByTheMerchantsRule(t *testing.T) {
	t.Parallel()
	for rule, want := range map[linking.LinesShown]any{linking.LinesAlways: "Coffee", linking.LinesAfterPayment: nil} {
		h := newHouse(t, houseOptions{bare: true, office: func(svc *linking.Service, shop linking.MerchantID) {
			if _, err := svc.ChangeMerchant(noContext, shop, func(m *linking.Merchant) error { m.Lines = rule; return nil }); err != nil {
				t.Error(err)
			}
		}})
		till, phone := h.shop.till, h.phone()
		for kind, want := range map[string]any{"counter": want, "bill": "Coffee", "account": "Coffee"} {
			code := till.makeCode(kind)
			request := till.link(code, aCart("Coffee")).is(200).str("request.id")
			seen := phone.scan(code, "").is(200).says("request.lines.0.description", want)
			phone.press(seen).is(303)
			h.bank.pays(request)
			till.awaitStatus(request, "paid")
			phone.scan(code, seen.str("s")).is(200).says("resolution", "paid", "request.lines.0.description", "Coffee")
		}
	}
}

// TestPromise: a payer of a bill without an amount leaves where to tell him; it is kept,
// and nobody ever reads it off a page or a call.
func TestPromise(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true, office: afterWord})
	till, phone := h.shop.till, h.phone()
	bill := till.makeCode("bill")
	at := "/q/" + bill + "/notify"
	phone.call("POST", at, m{"email": "jo@example.org"}).is(200).says("noted", true)
	phone.call("POST", at, m{"email": "jo@example.org"}).is(200).says("noted", true) // once more is the same
	form := phone.call("POST", at, "email=&phone=%2B351+912+345+678", "Content-Type", "application/x-www-form-urlencoded", "Accept", "text/html", "Accept-Language", "pt").is(200)
	if !strings.Contains(string(form.Body), "Vamos avisar.") {
		t.Errorf("the page says %s", form.Body)
	}
	phone.call("POST", at, m{}).refused(422, "invalid_request", "email required")
	phone.call("POST", at, m{"email": "jo"}).refused(422, "invalid_request", "email email")
	phone.call("POST", at, m{"email": "Jo <jo@example.org>"}).refused(422, "invalid_request", "email email")
	phone.call("POST", at, m{"phone": "12345"}).refused(422, "invalid_request", "phone phone")
	phone.call("POST", at, m{"emial": "jo@example.org"}).refused(422, "invalid_request", "emial unknown_field")
	wrong := phone.call("POST", at, "email=jo", "Content-Type", "application/x-www-form-urlencoded", "Accept", "text/html").is(422)
	if !strings.Contains(string(wrong.Body), "cannot be written to") {
		t.Errorf("the page says %s", wrong.Body)
	}
	for i := range 3 {
		phone.call("POST", at, m{"email": fmt.Sprintf("p%d@example.org", i)}).is(200)
	}
	phone.call("POST", at, m{"email": "one-more@example.org"}).refused(429, "rate_limited")
	counter := till.makeCode("counter")
	phone.call("POST", "/q/"+counter+"/notify", m{"email": "jo@example.org"}).refused(409, "not_allowed_in_status")
	till.attach(bill, 900)
	phone.call("POST", at, m{"email": "late@example.org"}).refused(409, "not_allowed_in_status")
	for _, path := range []string{"/q/" + bill, "/v1/codes/" + bill, "/v1/codes/" + bill + "/link", "/v1/codes/" + bill + "/history", "/v1/events", "/v1/requests"} {
		if r := till.get(path).is(200); strings.Contains(string(r.Body), "example.org") || strings.Contains(string(r.Body), "912345678") {
			t.Errorf("%s reveals a promise: %s", path, r.Body)
		}
	}
	h.shut()
	h.office(func(svc *linking.Service) {
		kept, err := svc.PromisesOf(noContext, linking.Token(bill))
		if err != nil || len(kept) != 5 || kept[0].Email != "jo@example.org" || kept[1].Phone != "+351912345678" || kept[1].Language != "pt" {
			t.Errorf("%+v were kept, %v", kept, err)
		}
	})
}

// TestPromiseByPhoneOnlyWhereOffered: a merchant turns it on first.
func TestPromiseByPhoneOnlyWhereOffered(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	bill := h.shop.till.makeCode("bill")
	h.phone().call("POST", "/q/"+bill+"/notify", m{"phone": "+351912345678"}).refused(422, "invalid_request", "phone not_offered")
	if page := h.phone().get("/q/"+bill, "Accept", "text/html").is(200); strings.Contains(string(page.Body), `name="phone"`) || !strings.Contains(string(page.Body), `name="email"`) {
		t.Errorf("the page asks for %s", page.Body)
	}
}

func TestReceipts(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till, phone := h.shop.till, h.phone()
	code := till.makeCode("counter")
	request := till.link(code, m{"reference": "Table 4", "lines": []m{
		{"description": "Coffee", "quantity": "2", "unit_price": 300, "vat_rate": "23"}, {"description": "Cake", "quantity": "0.5", "unit_price": 400, "vat_rate": "6"},
	}}).is(200).str("request.id")
	at := "/v1/requests/" + request + "/receipt"
	till.get(at).refused(404, "not_found")
	seen := phone.scan(code, "").is(200)
	phone.press(seen).is(303)
	h.bank.pays(request)
	till.awaitStatus(request, "paid")
	till.call("PATCH", "/v1/requests/"+request, m{"fiscal_receipt": "https://fiscal.example/r/1"}).is(200)
	paper := string(till.get(at, "Accept", "text/plain").is(200).Body)
	for _, want := range []string{"Café Aurora", "€8.00", "Coffee × 2", "VAT 23", "VAT 6", "Cake × 0.5", "confirmation of payment, not a", "fiscal.example", "TEST"} {
		if !strings.Contains(paper, want) {
			t.Errorf("%q is not in\n%s", want, paper)
		}
	}
	for line := range strings.Lines(paper) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 42 {
			t.Errorf("%d characters in the line %q", n, line)
		}
	}
	if pdf := till.get(at, "Accept", "application/pdf").is(200); !bytes.HasPrefix(pdf.Body, []byte("%PDF-")) || pdf.Header.Get("Content-Type") != "application/pdf" {
		t.Errorf("the PDF is %q", pdf.Header.Get("Content-Type"))
	}
	if slip := till.get(at + "?format=escpos").is(200); !bytes.HasPrefix(slip.Body, []byte("\x1b@")) || !bytes.Contains(slip.Body, []byte("Caf\x82 Aurora")) || !bytes.Contains(slip.Body, []byte("\xd58.00")) {
		t.Errorf("the slip is %q", slip.Body)
	}
	till.get(at+"?format=docx").refused(422, "invalid_request", "format one_of")
	mine := phone.scan(code, seen.str("s")).is(200).str("request.receipt_url")
	page := string(phone.get(mine, "Accept", "text/html", "Accept-Language", "de").is(200).Body)
	for _, want := range []string{"Zahlungsbestätigung", "8,00\u00a0€", "kein Steuerbeleg", "Coffee", "https://fiscal.example/r/1", "23\u00a0%"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in the page\n%s", want, page)
		}
	}
	phone.get(mine + "?format=pdf&lang=fr").is(200)
	till.call("POST", "/v1/requests/"+request+"/refunds", m{"amount": 300}).is(201)
	eventually(t, "the receipt says what went back", func() bool {
		return strings.Contains(string(phone.get(mine, "Accept", "text/plain").Body), "€3.00 went back")
	})
}
