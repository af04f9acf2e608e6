package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestShots takes pictures of every page, as phone and desktop, light and dark:
// PLACARD_SHOTS names the folder (make shots). docs/img holds those that the README
// and docs/ show.
func TestShots(t *testing.T) {
	dir := os.Getenv("PLACARD_SHOTS")
	if dir == "" {
		t.Skip("no pictures are asked for: make shots")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	shot := func(b *tab, name string) {
		b.t.Helper()
		b.shoot(filepath.Join(dir, name+".png"))
	}
	d := launch(t, hooks{}, "demo", "--json", "--listen", "127.0.0.1:0")
	var f demoFacts
	if err := json.Unmarshal([]byte(d.until(`(?s)^(\{.*\}\n)`)[1]), &f); err != nil {
		t.Fatal(err)
	}
	var counter, bill, empty struct{ Token string }
	for i, into := range []any{&counter, &bill, &empty} {
		raw := append(f.Codes[:1:1], f.Bills...)[i]
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatal(err)
		}
	}
	till, bank := &client{t: t, base: f.URL, key: f.APIKey}, &client{t: t, base: f.BankURL}
	attach := func() string {
		return till.call("PUT", "/v1/codes/"+counter.Token+"/link", m{"request": m{"reference": "Table 4", "lines": []m{
			{"description": "Flat white", "quantity": "2", "unit_price": 440, "vat_rate": "23"},
			{"description": "Pastel de nata", "quantity": "2", "unit_price": 185, "vat_rate": "13"},
		}}}).is(200).str("request.id")
	}

	for _, look := range []struct {
		name string
		tabOptions
	}{
		{"phone", tabOptions{width: 360, height: 740, scale: 2}}, {"phone-dark", tabOptions{width: 360, height: 740, scale: 2, dark: true}},
		{"desktop", tabOptions{width: 1180, height: 820}}, {"desktop-dark", tabOptions{width: 1180, height: 820, dark: true}},
	} {
		cashier := openTab(t, look.tabOptions)
		cashier.goTo(f.URL + "/till/" + counter.Token + "#" + f.APIKey)
		cashier.shows("New sale")
		shot(cashier, look.name+"-till-sale")
		payer := openTab(t, look.tabOptions)
		payer.goTo(f.URL + "/q/" + counter.Token)
		payer.shows("Waiting for the till")
		shot(payer, look.name+"-payer-waiting")
		id := attach()
		payer.shows("Table 4")
		if look.name == "phone" {
			img := openTab(t, tabOptions{width: 360, height: 640, scale: 1.5})
			img.goTo(f.URL + "/q/" + counter.Token)
			img.shows("Table 4")
			shot(img, "payer")
			desk := openTab(t, tabOptions{width: 1240, height: 900})
			desk.goTo(f.URL + "/demo")
			time.Sleep(3 * time.Second) // frames within frames tell nobody when they are done
			shot(desk, "demo")
		}
		shot(payer, look.name+"-payer-payable")
		other := openTab(t, look.tabOptions)
		cashier.shows("Amount seen")
		cashier.shows("Table 4")
		payer.click("Pay €12.50")
		payer.lands(f.BankURL)
		cashier.shows("Pay was pressed")
		shot(cashier, look.name+"-till-waiting")
		bank.call("POST", "/sim/pay", m{"request_id": id, "hold": true}).is(200)
		till.awaitStatus(id, "processing")
		other.goTo(f.URL + "/q/" + counter.Token)
		other.shows("Someone is paying here")
		shot(other, look.name+"-payer-busy")
		cashier.shows("Being paid")
		shot(cashier, look.name+"-till-processing")
		bank.call("POST", "/sim/pay", m{"request_id": id}).is(200)
		till.awaitStatus(id, "paid")
		cashier.shows("Seen, next sale")
		shot(cashier, look.name+"-till-paid")
		payer.back()
		payer.shows("Thank you")
		shot(payer, look.name+"-payer-paid")
		payer.click("Receipt")
		payer.shows("not a fiscal receipt")
		shot(payer, look.name+"-receipt")
		cashier.click("Seen, next sale")
		cashier.shows("Refund")
		shot(cashier, look.name+"-till-after")
		other.goTo(f.URL + "/q/" + bill.Token)
		other.shows("Water")
		shot(other, look.name+"-payer-bill")
		other.goTo(f.URL + "/q/" + empty.Token)
		other.shows("no amount yet")
		shot(other, look.name+"-payer-unvalued")
		other.goTo(f.URL + "/q/00000000000000000000")
		other.shows("not ours")
		shot(other, look.name+"-problem")

		person := openTab(t, look.tabOptions)
		person.goTo(f.URL + "/login")
		shot(person, look.name+"-login")
		person.typeInto("Login name", f.Staff[0].User)
		person.typeInto("Password", f.Staff[0].Password)
		person.click("Log in")
		person.lands(f.URL + "/account")
		shot(person, look.name+"-account")
		for _, section := range []string{"merchant", "staff", "keys", "banks"} {
			person.goTo(f.URL + "/settings/" + section)
			shot(person, look.name+"-settings-"+section)
		}
		person.goTo(f.URL + "/print")
		shot(person, look.name+"-print")
		sent := till.call("POST", "/v1/requests", m{"amount": 4900, "reference": "Deposit, table for six", "customer": m{"name": "Ana Lima", "email": "ana@example.com", "phone": "+351910000000"}}).is(201).str("id")
		odd := till.call("POST", "/v1/requests", m{"amount": 900, "reference": "Cake"}).is(201).str("id")
		bank.call("POST", "/sim/pay", m{"request_id": odd, "amount": 901, "force": true}).is(200)
		till.awaitStatus(odd, "review")
		desk := openTab(t, look.tabOptions)
		desk.goTo(f.URL + "/inbox#" + f.APIKey)
		desk.shows("Deposit, table for six")
		shot(desk, look.name+"-inbox")
		if look.name == "phone" {
			img := openTab(t, tabOptions{width: 1080, height: 560})
			img.goTo(f.URL + "/inbox#" + f.APIKey)
			img.shows("Deposit, table for six")
			shot(img, "inbox")
		}
		desk.goTo(f.URL + "/inbox/" + sent)
		desk.shows("it can be paid")
		desk.click("Show as QR code")
		desk.shows("Hide the QR code")
		shot(desk, look.name+"-inbox-sent")
		desk.goTo(f.URL + "/inbox/" + odd)
		desk.click("Accept the money")
		shot(desk, look.name+"-inbox-odd")
		desk.goTo(f.URL + "/inbox/" + id)
		desk.shows("Made for €12.50")
		desk.click("Refund")
		shot(desk, look.name+"-inbox-refund")
		desk.goTo(f.URL + "/inbox/new")
		desk.typeInto("Amount EUR", "4900")
		desk.typeInto("For (the customer reads it)", "Deposit, table for six")
		shot(desk, look.name+"-inbox-new")
		desk.click("Review")
		desk.shows("Is this right?")
		shot(desk, look.name+"-inbox-review")
	}
}
