package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"placard/linking"
)

// The month's end at a real gateway: what came in, what the bank says of it, what the
// till has, and the few that do not agree.
func TestTheLastDayOfTheMonth(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{})
	office, phone := h.shop.till, h.phone()
	viewer := *office
	viewer.key = h.shop.keys[linking.Viewer]
	office.call("PATCH", "/v1/merchant", m{"time_zone": "Pacific/Auckland", "day_ends_at": "04:00", "settlement_accounts": []string{"DE89 3704 0044 0532 0130 00"}}).is(200).says("settlement_accounts.0", "DE89370400440532013000")
	zone, err := time.LoadLocation("Pacific/Auckland")
	if err != nil {
		t.Fatal(err)
	}
	day := time.Now().In(zone).Add(-4 * time.Hour).Format(time.DateOnly)
	sell := func(sale string, cents int) string {
		return office.call("POST", "/v1/requests", m{"amount": cents, "reference": "Bill " + sale, "sale": sale}).is(201).str("id")
	}
	paid := map[string]string{} // request → payment
	var till strings.Builder
	till.WriteString("ref,amount\n")
	var ids []string
	for i := range 4 {
		id := sell(fmt.Sprint("S-", i), 1000+i)
		h.bank.pays(id)
		paid[id] = office.awaitStatus(id, "paid").str("payments.0.id")
		ids = append(ids, id)
		if i != 2 {
			fmt.Fprintf(&till, "S-%d,%d\n", i, 1000+i)
		}
	}
	odd := sell("S-odd", 900)
	h.bank.call("POST", "/sim/pay", m{"request_id": odd, "amount": 901, "force": true}).is(200)
	oddPayment := office.awaitStatus(odd, "review").str("payments.0.id")
	cash := office.makeCode("bill")
	cashed := office.call("POST", "/v1/bills/import", []m{{"code": cash, "amount": 4321, "reference": "W-9"}}).is(200).str("data.0.request")
	office.awaitStatus(cashed, "active")
	office.call("POST", "/v1/requests/"+cashed+"/cancel", m{"reason": "paid_otherwise"}, "Prefer", "wait=10").is(200)
	phone.scan(cash, "").is(200).says("resolution", "settled")
	till.WriteString("W-9,4321\nGHOST,5\n")
	refunded := office.call("POST", "/v1/requests/"+ids[0]+"/refunds", m{"amount": 100}, "Prefer", "wait=10")
	if refunded.Status >= 300 {
		t.Fatalf("%s", refunded.Body)
	}

	report := viewer.get("/v1/reports/settlement?day="+day).is(200).says("time_zone", "Pacific/Auckland",
		"days.0.payments", 4, "days.0.payment_sum", 4006, "days.0.refunds", 1, "days.0.refund_sum", 100,
		"days.0.paid_otherwise", 1, "days.0.paid_otherwise_sum", 4321, "days.0.exceptions", 1, "days.0.exception_sum", 901)
	if at, err := time.Parse(time.RFC3339, report.str("data.0.at")); err != nil || !strings.HasSuffix(report.str("data.0.at"), at.In(zone).Format("-07:00")) {
		t.Errorf("a line's time is %s", report.str("data.0.at"))
	}
	sheet := viewer.get("/v1/reports/settlement?format=csv&from=" + day).is(200)
	if n := strings.Count(string(sheet.Body), "\n"); n != 8 || !strings.Contains(string(sheet.Body), "paid_otherwise") {
		t.Errorf("%d lines: %s", n, sheet.Body)
	}
	yesterday := time.Now().In(zone).Add(-28 * time.Hour).Format(time.DateOnly)
	viewer.get("/v1/reports/settlement?day="+yesterday).is(200).says("data", []any{})
	h.other.till.get("/v1/reports/settlement?day="+day).is(200).says("data", []any{})

	entry := func(ref string, cents int, direction string) string {
		return fmt.Sprintf(`<Ntry><Amt Ccy="EUR">%d.%02d</Amt><CdtDbtInd>%s</CdtDbtInd><Sts>BOOK</Sts><BookgDt><Dt>%s</Dt></BookgDt><NtryDtls><TxDtls><Refs><EndToEndId>%s</EndToEndId></Refs></TxDtls></NtryDtls></Ntry>`, cents/100, cents%100, direction, day, ref)
	}
	file := `<?xml version="1.0" encoding="ISO-8859-1"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02"><BkToCstmrStmt><Stmt><Acct><Id><IBAN>DE89370400440532013000</IBAN></Id><Ccy>EUR</Ccy></Acct>` +
		entry(paid[ids[0]], 1000, "CRDT") + entry(ids[2], 1002, "CRDT") + entry(paid[ids[3]], 988, "CRDT") + entry(oddPayment, 901, "CRDT") +
		entry(paid[ids[0]], 100, "DBIT") + entry("M\xfcller", 7700, "CRDT") + `</Stmt></BkToCstmrStmt></Document>`
	reconcile := func(c *client, body any, header ...string) *reply {
		return c.call("POST", "/v1/reports/reconciliation?day="+day, body, header...)
	}
	got := reconcile(&viewer, file, "Content-Type", "application/xml").is(200).says("account", "DE89370400440532013000", "paid", 5, "entries", 6, "matched", 2)
	counts := fmt.Sprint(got.at("counts"))
	if counts != "map[after_cancel:0 duplicate:0 fee:1 late:0 not_arrived:1 not_in_till:0 only_in_till:0 unknown:1 wrong_amount:1]" {
		t.Errorf("%s: %s", counts, got.Body)
	}
	both := m{"statement": strings.Replace(strings.Replace(file, "ISO-8859-1", "UTF-8", 1), "\xfc", "ü", 1), "till": till.String()}
	reconcile(office, both).is(200).says("matched", 1, "counts.not_in_till", 1, "counts.only_in_till", 1, "leftovers.0.cause", "wrong_amount", "leftovers.0.action", "accept_or_return", "leftovers.0.request_id", odd)
	reconcile(office, m{"till": till.String()}).is(200).says("account", nil, "matched", 3, "counts.not_in_till", 1, "counts.not_arrived", 0)
	sheet = reconcile(office, both, "Accept", "text/csv").is(200)
	if n := strings.Count(string(sheet.Body), "\n"); n != 7 {
		t.Errorf("%d lines: %s", n, sheet.Body)
	}
	// Somebody else's statement.
	foreign := strings.ReplaceAll(file, "DE89370400440532013000", "DE02120300000000202051")
	reconcile(office, foreign, "Content-Type", "application/xml").refused(422, "invalid_request", "account foreign_account")
	reconcile(h.other.till, file, "Content-Type", "application/xml").refused(422, "invalid_request", "account required")
	reconcile(office, "date;amount;text\n"+day+";9,88;x\n", "Content-Type", "text/csv").refused(422, "invalid_request", "statement malformed")
	csv := office.call("POST", "/v1/reports/reconciliation?account=DE89370400440532013000&day="+day, "date;amount;reference\n"+day+";10,00;"+paid[ids[0]]+"\n", "Content-Type", "text/csv").is(200)
	csv.says("matched", 1, "counts.not_arrived", 3)
	as := *office
	as.key = h.shop.keys[linking.Cashier]
	reconcile(&as, m{"till": "ref,amount\n"}).refused(403, "forbidden")
	reconcile(office, m{"till": "ref,amount\nx,1.5\n"}).refused(422, "invalid_request", "till malformed")
}
