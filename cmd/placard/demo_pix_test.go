package main

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"placard/bankapi/pix"
)

// A shop by Pix: the printed code is the bank's own, and payers need nothing of ours.
func TestDemoByPix(t *testing.T) {
	t.Parallel()
	d := launch(t, hooks{}, "demo", "--rail", "pix", "--json", "--listen", "127.0.0.1:0")
	var facts struct {
		URL     string
		APIKey  string `json:"api_key"`
		BankURL string `json:"bank_url"`
		Codes   []struct {
			Token, Kind, Payload string
			ResolvedBy           string `json:"resolved_by"`
		}
		Bills []struct{ Token, Payload string }
	}
	if err := json.Unmarshal([]byte(d.until(`(?s)^(\{.*\}\n)`)[1]), &facts); err != nil {
		t.Fatal(err)
	}
	counter := facts.Codes[0]
	printed, err := pix.DecodeBRCode(counter.Payload)
	if err != nil || counter.ResolvedBy != "bank" || printed.Name != "Cafe Aurora" || !strings.HasPrefix("http://"+printed.URL, facts.BankURL+"/") {
		t.Fatalf("the counter's code is %+v, %v", counter, err)
	}
	till, phone, bank := &client{t: t, base: facts.URL, key: facts.APIKey}, &client{t: t, base: facts.URL}, &client{t: t, base: facts.BankURL}
	// location is what the payer's bank is told.
	location := func(code pix.BRCode) (status int, amount string) {
		r := bank.get("/" + strings.SplitN(code.URL, "/", 2)[1])
		if r.Status != 200 {
			return r.Status, ""
		}
		raw, err := base64.RawURLEncoding.DecodeString(strings.Split(string(r.Body), ".")[1])
		var doc struct{ Valor struct{ Original string } }
		if err != nil || json.Unmarshal(raw, &doc) != nil {
			t.Fatalf("the location says %s", r.Body)
		}
		return 200, doc.Valor.Original
	}
	shows := func(code pix.BRCode, status int, amount string) {
		t.Helper()
		if s, a := location(code); s != status || a != amount {
			t.Fatalf("the location answers %d with %q, want %d with %q", s, a, status, amount)
		}
	}
	shows(printed, 404, "")
	first := till.attach(counter.Token, 990)
	shows(printed, 200, "9.90")
	till.call("PATCH", "/v1/requests/"+first, m{"amount": 1010}).is(200)
	shows(printed, 200, "10.10")
	phone.scan(counter.Token, "").is(200).says("resolution", "payable", "request.amount", 1010, "request.currency", "BRL")
	till.call("POST", "/v1/requests/"+first+"/cancel", nil).is(200)
	shows(printed, 404, "")
	// A sale in place of another: the bank shows one or the other, and the first is gone.
	displaced := till.attach(counter.Token, 333)
	second := till.call("PUT", "/v1/codes/"+counter.Token+"/link", m{"request": m{"amount": 555}, "replace": true}).is(200).str("request.id")
	shows(printed, 200, "5.55")
	bank.get("/sim/requests/"+displaced).is(200).says("status", "closed")
	bank.call("POST", "/sim/pay", m{"brcode": counter.Payload}).is(200)
	till.awaitStatus(second, "paid")
	shows(printed, 404, "")
	refund := till.call("POST", "/v1/requests/"+second+"/refunds", m{"amount": 55})
	if refund.Status != 200 && refund.Status != 201 && refund.Status != 202 {
		t.Fatalf("the refund: %d %s", refund.Status, refund.Body)
	}
	eventually(t, "the refund is done", func() bool { return till.get("/v1/requests/"+second).num("refunded_amount") == 55 })

	// The utility's bills lead to our page, which shows a BR Code of the bill's own.
	for _, b := range facts.Bills {
		seen := phone.scan(b.Token, "").is(200)
		if seen.str("resolution") != "payable" {
			continue
		}
		way := phone.press(seen).is(200).says("kind", "emv")
		own, err := pix.DecodeBRCode(way.str("payload"))
		if err != nil {
			t.Fatal(err)
		}
		shows(own, 200, "43.21")
		bank.call("POST", "/sim/pay", m{"brcode": way.str("payload")}).is(200)
		eventually(t, "the bill is paid", func() bool { return phone.scan(b.Token, "").str("resolution") == "settled" })
	}

	// Trying the connection tells the bank where callbacks go; it was told already.
	checked := till.call("POST", "/v1/bank-connections/pix/check", nil).is(200)
	checked.says("ok", true, "steps.4.step", "callbacks", "steps.4.ok", true)
	url := till.get("/v1/bank-connections/pix").is(200).str("callback_url")
	if r := phone.call("POST", strings.TrimPrefix(url, facts.URL)+"/pix", `{"pix":[{"txid":"`+second+`"}]}`); r.Status < 400 || r.Status > 499 {
		t.Errorf("a callback without the mark is answered %d", r.Status)
	}
	if code := d.stop(); code != done {
		t.Errorf("the demo ended with %d: %s", code, d.notes.String())
	}
}
