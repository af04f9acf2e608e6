package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"placard/linking/storetest"
)

// An account's code, month after month: nothing to pay, a bill, another over it while
// the first is unpaid, paid, nothing to pay.
func TestAnAccountsCodeMonthAfterMonth(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{})
	office, phone := h.shop.till, h.phone()
	_, codes := office.batchOf("account", 3)
	bound := []m{{"account": "4711", "code": codes[0]}, {"account": "4712", "code": codes[1]}}
	office.call("POST", "/v1/accounts?dry_run=1", bound).is(200).says("counts.bound", 2, "dry_run", true)
	office.get("/v1/accounts/4711").refused(404, "not_found")
	office.call("POST", "/v1/accounts", bound).is(200).says("counts.bound", 2)
	office.call("POST", "/v1/accounts", bound).is(200).says("counts.duplicate", 2)
	office.get("/v1/accounts/4711").is(200).says("code", codes[0])
	for why, row := range map[string]m{
		"code_bound":    {"account": "4799", "code": codes[0]},
		"account_bound": {"account": "4711", "code": codes[2]},
		"code_token":    {"account": "4799", "code": codes[2][:19] + "*"},
		"code_kind":     {"account": "4799", "code": office.makeCode("counter")},
		"not_found":     {"account": "4799", "code": h.other.till.makeCode("account")},
		"account_text":  {"account": "47\x0099", "code": codes[2]},
	} {
		office.call("POST", "/v1/accounts", []m{row}).is(200).says("data.0.fate", "refused", "data.0.why", why)
	}
	phone.scan(codes[0], "").is(200).says("resolution", "nothing_due")

	bill := func(month string, amount int, more ...any) *reply {
		row := m{"account": "4711", "amount": amount, "reference": month}
		for i := 0; i+1 < len(more); i += 2 {
			row[more[i].(string)] = more[i+1]
		}
		return office.call("POST", "/v1/bills/import", []m{row}).is(200)
	}
	first := bill("2026-09", 3000).says("data.0.fate", "valued", "data.0.amount", 3000).str("data.0.request")
	office.awaitStatus(first, "active")
	phone.scan(codes[0], "").is(200).says("resolution", "payable", "request.amount", 3000)
	// September is not paid when October comes: one is payable, with both in it.
	second := bill("2026-10", 2000).says("data.0.fate", "valued", "data.0.amount", 5000).str("data.0.request")
	office.awaitStatus(second, "active")
	office.awaitStatus(first, "cancelled").says("end_reason", "swap")
	phone.scan(codes[0], "").is(200).says("resolution", "payable", "request.amount", 5000)
	office.get("/v1/requests/"+second).is(200).says("lines.0.unit_price", 2000, "lines.1.unit_price", 3000, "lines.1.description", "+ 2026-09")
	bill("2026-10", 2500).says("data.0.amount", 5500)
	bill("2026-10", 2000).says("data.0.fate", "superseded") // that row came before
	office.awaitStatus(second, "active")
	phone.press(phone.scan(codes[0], "").is(200).says("request.amount", 5500)).is(303)
	h.bank.pays(second)
	office.awaitStatus(second, "paid")
	phone.scan(codes[0], "").is(200).says("resolution", "nothing_due")
	bill("2026-10", 2600).says("data.0.fate", "adjustment", "data.0.difference", 100)
	// A billing system that counts arrears itself says so.
	third := bill("2026-11", 1000).says("data.0.amount", 1000).str("data.0.request")
	office.awaitStatus(third, "active")
	bill("2026-12", 1700, "arrears", "included").says("data.0.amount", 1700)
	// A lost code is replaced: the account goes on with the new one.
	newer := office.call("POST", "/v1/codes/"+codes[1]+"/replace", nil).is(201).str("id")
	office.get("/v1/accounts/4712").is(200).says("code", newer)
	office.call("POST", "/v1/bills/import", []m{{"account": "4712", "amount": 700, "reference": "2026-11"}}).is(200).says("data.0.code", newer)
	for why, row := range map[string]m{
		"account_unbound":      {"account": "4799", "amount": 5, "reference": "x"},
		"reference_required":   {"account": "4711", "amount": 5},
		"account_one_of":       {"amount": 5},
		"amount_range":         {"account": "4711", "amount": -5, "reference": "x"},
		"expires_at_past":      {"account": "4711", "amount": 5, "reference": "x", "expires_at": "2020-01-01T00:00:00Z"},
		"email_email":          {"account": "4711", "amount": 5, "reference": "x", "email": "nobody"},
		"amuont_unknown_field": {"account": "4711", "amuont": 5},
	} {
		office.call("POST", "/v1/bills/import", []m{row}).is(200).says("data.0.fate", "refused", "data.0.why", why)
	}
}

// Bills paid in cash: the page says thank you, and the lists say how.
func TestBillsPaidAnotherWay(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	office, phone := h.shop.till, h.phone()
	_, bills := office.batchOf("bill", 1)
	id := office.call("POST", "/v1/bills/import", []m{{"code": bills[0], "amount": 4321, "reference": "W-1"}}).is(200).says("data.0.fate", "valued").str("data.0.request")
	office.awaitStatus(id, "active")
	office.call("POST", "/v1/requests/"+id+"/cancel", m{"reason": "paid_otherwise"}, "Prefer", "wait=10").is(200)
	phone.scan(bills[0], "").is(200).says("resolution", "settled")
	if page := string(phone.get("/q/"+bills[0], "Accept", "text/html").is(200).Body); !strings.Contains(page, "thank you") {
		t.Errorf("the page does not say thank you: %s", page)
	}
	office.get("/v1/requests?end_reason=paid_otherwise").is(200).says("data.0.id", id, "data.0.end_reason", "paid_otherwise")
	office.get("/v1/requests?end_reason=expiry").is(200).says("data", []any{})
	office.call("POST", "/v1/bills/import", []m{{"code": bills[0], "amount": 4400, "reference": "W-1"}}).is(200).says("data.0.fate", "adjustment", "data.0.difference", 79)
}

// A billing system's file in its own form, through the command: tried first, sent twice,
// cut in the middle and sent again.
func TestBillsImportCommand(t *testing.T) {
	t.Parallel()
	overStores(t, func(t *testing.T, redis *storetest.RedisServer) {
		h := newHouse(t, houseOptions{bare: true, redis: redis})
		office := h.shop.till
		dir := t.TempDir()
		_, codes := office.batchOf("account", 40)
		write := func(name, text string) string {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
		remote := []string{"--gateway", office.base, "--api-key", office.key}
		run := func(args ...string) string {
			return performs(t, append(append([]string{"bills"}, args...), remote...)...)
		}
		pairs := "account,code\n"
		for i, code := range codes {
			pairs += fmt.Sprintf("K-%d,%s\n", i, code)
		}
		if out := run("bind", write("pairs.csv", pairs)); out != "40 rows: 40 bound\n" {
			t.Fatal(out)
		}
		file := "Kunde;Rechnung;Betrag;F\xe4llig;Bemerkung\n"
		for i := range codes {
			file += fmt.Sprintf("K-%d;R-%d;1.0%02d,50;31.12.2199;\n", i, i, i)
		}
		file += "K-7;R-7;1.007,50;31.12.2199;\n"  // a duplicate
		file += "K-9;R-9;1.099,00;31.12.2199;x\n" // a correction
		file = strings.ReplaceAll(file, "31.12.2199", time.Now().AddDate(0, 2, 0).Format("02.01.2006"))
		bills := write("bills.csv", file)
		how := write("map.yaml", `
encoding: latin1
decimal: ","
dates: DD.MM.YYYY
columns: {account: Kunde, reference: Rechnung, amount: Betrag, expires_at: Fällig}
constants: {currency: EUR}
`)
		if out := run("import", bills, "--map", how, "--dry-run"); !strings.HasPrefix(out, "42 rows: ") || !strings.HasSuffix(out, "(nothing was changed)\n") {
			t.Fatal(out)
		}
		if list := office.pages("/v1/requests"); len(list) != 0 {
			t.Fatalf("trying made %d requests", len(list))
		}
		fates := filepath.Join(dir, "fates.csv")
		if out := run("import", bills, "--map", how, "--fates", fates); out != "42 rows: 1 duplicate, 41 valued\n" {
			t.Fatal(out)
		}
		if got, err := os.ReadFile(fates); err != nil || strings.Count(string(got), "\n") != 43 {
			t.Fatalf("%v: %s", err, got)
		}
		want := office.amountsOf(codes)
		if want[3] != 100350 || want[9] != 109900 {
			t.Fatalf("the bills ask for %v", want)
		}
		requests := len(office.pages("/v1/requests"))
		last := office.lastSeq()
		// The row that the correction followed is no longer in force; nothing changes.
		if out := run("import", bills, "--map", how); out != "42 rows: 41 duplicate, 1 superseded\n" {
			t.Fatal(out)
		}
		if now := office.lastSeq(); now != last || len(office.pages("/v1/requests")) != requests || !slices.Equal(office.amountsOf(codes), want) {
			t.Fatalf("the same file again changed something: event %d after %d", now, last)
		}
		if out := run("import", bills, "--map", how, "--from", "42", "--json"); out != `{"counts":{"duplicate":1},"dry_run":false,"rows":1}`+"\n" {
			t.Fatal(out)
		}
		for args, says := range map[string]string{
			write("none.csv", "Kunde;Betrag\n"):              `the file has no column "`,
			write("odd.csv", strings.Repeat("a;", 3)+"\n1;"): `the file has no column "`,
		} {
			if code, _, notes := perform(t, append([]string{"bills", "import", args, "--map", how}, remote...)...); code == done || !strings.Contains(notes, says) {
				t.Errorf("%s: %d %s", args, code, notes)
			}
		}
		code, _, notes := perform(t, append([]string{"bills", "import", write("bad.csv", "account,amount,reference\nK-1,12.50,x\nK-99,1,x\n")}, remote...)...)
		if code != failed || !strings.Contains(notes, "row 1 is refused") || !strings.Contains(notes, "row 2 is refused") || !strings.Contains(notes, "2 rows were refused") {
			t.Errorf("%d %s", code, notes)
		}
		if code, _, notes := perform(t, append([]string{"bills", "import", bills, "--map", write("bad.yaml", "columns: {acount: Kunde}")}, remote...)...); code != misuse || !strings.Contains(notes, "acount") {
			t.Errorf("%d %s", code, notes)
		}
	})
}

// A billing file is cut at random bytes, in the answer and in itself, and sent again.
func TestBillFilesCutAndSentAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	office := h.shop.till
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	_, clean := office.batchOf("bill", 25)
	_, rough := office.batchOf("bill", 25)
	file := func(codes []string) []byte {
		rnd := rand.New(rand.NewPCG(seed, 2))
		var b []byte
		for i := range 80 {
			doc, _ := json.Marshal(m{
				"code": codes[rnd.IntN(len(codes))], "amount": 1000 + rnd.IntN(9000), "reference": fmt.Sprint("R-", i),
				"issued_at": fmt.Sprintf("2026-03-%02dT10:00:00Z", 1+rnd.IntN(28)),
			})
			b = append(append(b, doc...), '\n')
		}
		return b
	}
	f := office.sendRows("/v1/bills/import", "application/x-ndjson", file(clean))
	f.agrees(t, 80)
	if f.Counts["refused"] > 0 || f.Counts["superseded"] == 0 {
		t.Fatalf("%v", f.Counts)
	}
	body := file(rough)
	for range 20 {
		lines := strings.SplitAfter(strings.TrimSpace(string(body)), "\n")
		lines[len(lines)-1] = strings.TrimSpace(lines[len(lines)-1]) + "\n"
		if rnd.IntN(2) == 0 {
			office.cutCall("/v1/bills/import", "application/x-ndjson", body, len(body), rnd.IntN(2000))
		} else if at := 1 + rnd.IntN(len(body)-1); office.call("POST", "/v1/bills/import", body[:at], "Content-Type", "application/x-ndjson").Status != 200 {
			t.Fatal("a file that was cut is not taken as far as it goes")
		}
		rnd.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		body = []byte(strings.Join(lines, ""))
	}
	f = office.sendRows("/v1/bills/import", "application/x-ndjson", body)
	f.agrees(t, 80)
	if f.Counts["refused"] > 0 {
		t.Fatalf("%v", f.Counts)
	}
	if got, want := office.amountsOf(rough), office.amountsOf(clean); !slices.Equal(got, want) {
		t.Fatalf("the bills ask for\n%v, and after one clean run for\n%v", got, want)
	}
}
