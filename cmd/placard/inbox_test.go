package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"placard/linking"
)

// found are the ids of a list's answer.
func (r *reply) found() (ids []string) {
	r.t.Helper()
	var page struct{ Data []struct{ ID string } }
	r.is(200).read(&page)
	for _, one := range page.Data {
		ids = append(ids, one.ID)
	}
	return ids
}

// TestInboxFindsWhatIsLookedFor: each filter and each thing that can be searched by finds
// exactly the requests that it is about, newest first.
func TestInboxFindsWhatIsLookedFor(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till := h.shop.till
	send := func(body m) string { return till.call("POST", "/v1/requests", body).is(201).str("id") }
	open := func(id string) {
		h.phone().get("/p/"+strings.SplitAfter(till.get("/v1/requests/"+id).str("url"), "/p/")[1], "Accept", "text/html", "User-Agent", "Mozilla/5.0 (Linux; Android 15) Chrome/156.0.0.0 Mobile").is(200)
		eventually(t, "it was opened", func() bool { return till.get("/v1/requests/"+id).str("opened_at") != "" })
	}
	pending := send(m{"amount": 100, "reference": "Dépôt Lima", "customer": m{"name": "Ana Lima", "email": "ana@example.com", "phone": "+351910000001"}})
	opened := send(m{"amount": 200, "sale": "B-77", "context": "appointment 9"})
	open(opened)
	paid := send(m{"amount": 300, "client_id": "inv-300"})
	open(paid)
	h.bank.pays(paid)
	till.awaitStatus(paid, "paid")
	cancelled := send(m{"amount": 400})
	open(cancelled)
	till.call("POST", "/v1/requests/"+cancelled+"/cancel", nil).is(200)
	odd := send(m{"amount": 500})
	h.bank.call("POST", "/sim/pay", m{"request_id": odd, "amount": 499, "force": true}).is(200)
	till.awaitStatus(odd, "review")
	expired := send(m{"amount": 600, "expires_in": 1})
	till.awaitStatus(expired, "expired")
	draft := send(m{"amount": 700, "draft": true})

	short := till.get("/v1/requests/" + paid).str("short_id")
	for query, want := range map[string][]string{
		"":                                      {draft, expired, odd, cancelled, paid, opened, pending},
		"status=draft,preparing,active":         {draft, opened, pending},
		"opened_unpaid=true":                    {opened},
		"exceptions=true":                       {odd},
		"status=paid":                           {paid},
		"status=expired":                        {expired},
		"status=cancelled":                      {cancelled},
		"q=lima":                                {pending},
		"q=D%C3%89P":                            {pending},
		"q=ANA@":                                {pending},
		"q=91000000":                            {pending},
		"q=b-77":                                {opened},
		"q=appointment":                         {opened},
		"q=inv-3":                               {paid},
		"q=" + short:                            {paid},
		"q=" + strings.ToLower(paid[18:]):       {paid},
		"q=" + paid:                             {paid},
		"q=nobody":                              nil,
		"q=lima&status=paid":                    nil,
		"to=2020-01-01T00:00:00Z":               nil,
		"from=2020-01-01T00:00:00Z&status=paid": {paid},
		"code=nonsense":                         nil,
	} {
		if got := till.get("/v1/requests?" + query).found(); !slices.Equal(got, want) {
			t.Errorf("%q finds %v, want %v", query, got, want)
		}
	}
	if len(short) != 9 || strings.ReplaceAll(short, "-", "") != paid[18:] {
		t.Errorf("%s is read out as %q", paid, short)
	}
}

// TestInboxAsCSV: the same rows as the list, whole, and nothing that a spreadsheet runs.
func TestInboxAsCSV(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till := h.shop.till
	cells := []string{`=HYPERLINK("http://evil.example","x")`, "+1+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", `quote " and, comma`, "Água ✓ 漢字", "plain"}
	for i, s := range cells {
		till.call("POST", "/v1/requests", m{"amount": 1250 + i, "reference": s, "context": s, "customer": m{"name": s, "phone": "+351910000001"}}).is(201)
	}
	for i := range 220 { // more than one page of the store's
		till.call("POST", "/v1/requests", m{"amount": 100 + i, "draft": true, "reference": "Other"}, "Prefer", "wait=0").is(201)
	}
	r := till.get("/v1/requests", "Accept", "text/csv").is(200)
	if got := r.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/csv; charset=utf-8") || !strings.Contains(r.Header.Get("Content-Disposition"), "requests.csv") {
		t.Errorf("it is sent as %q", got)
	}
	if n := bytes.Count(r.Body, []byte("\r\n")); n != 228 || bytes.Count(r.Body, []byte("\n")) != n {
		t.Errorf("%d lines end as RFC 4180 says", n)
	}
	rows, err := csv.NewReader(bytes.NewReader(r.Body)).ReadAll()
	if err != nil || len(rows) != 228 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	column := func(name string) int { return slices.Index(rows[0], name) }
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && strings.Contains("=+-@\t\r", cell[:1]) {
				t.Errorf("the cell %q begins like a formula", cell)
			}
		}
	}
	for i, want := range cells {
		at := slices.IndexFunc(rows, func(row []string) bool { return row[column("amount")] == fmt.Sprintf("12.%d", 50+i) })
		if at < 0 {
			t.Errorf("%q is not written", want)
			continue
		}
		row := rows[at]
		if strings.Contains("=+-@", want[:1]) {
			want = "'" + want
		}
		if row[column("reference")] != want || row[column("customer")] != want || row[column("phone")] != "'+351910000001" || row[column("status")] != "active" {
			t.Errorf("%q is written as %q", want, row)
		}
	}
	// The same filters, and the same refusals.
	few, err := csv.NewReader(bytes.NewReader(till.get("/v1/requests?format=csv&q=plain").is(200).Body)).ReadAll()
	if err != nil || len(few) != 2 {
		t.Errorf("a search finds %q, %v", few, err)
	}
	till.get("/v1/requests?format=csv&status=happy").refused(422, "invalid_request", "status not_allowed")
	till.get("/v1/requests?format=xls").refused(422, "invalid_request", "format not_allowed")
}

// TestReplacing: cancel and replace in one call. Whatever the payer of the old link does,
// one of the two is paid at most, and the old page says what became of it.
func TestReplacing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	send := func(body m) *reply { return h.shop.till.call("POST", "/v1/requests", body) }
	till := h.shop.till
	page := func(id string) string {
		return "/p/" + strings.SplitAfter(till.get("/v1/requests/"+id).str("url"), "/p/")[1]
	}

	t.Run("a wrong amount", func(t *testing.T) {
		old := send(m{"amount": 9900, "reference": "Dinner"}).is(201).str("id")
		made := send(m{"amount": 990, "reference": "Dinner", "replaces": old}).is(201).says("status", "active", "replaces", old).str("id")
		till.get("/v1/requests/"+old).is(200).says("status", "cancelled", "end_reason", "replaced", "displaced_by", made)
		for language, want := range map[string]string{"en": "replaced this request by another", "pt": "substituiu este pedido"} {
			if got := string(h.phone().get(page(old), "Accept", "text/html", "Accept-Language", language).is(200).Body); !strings.Contains(got, want) || strings.Contains(got, "99.00") {
				t.Errorf("the old page says, in %s: %s", language, got)
			}
		}
		h.phone().get(page(made)).is(200).says("resolution", "payable", "request.amount", 990)
	})
	t.Run("the same once more, for another address", func(t *testing.T) {
		old := send(m{"amount": 700, "sale": "S-1"}).is(201).str("id")
		made := send(m{"amount": 700, "replaces": old}).is(201).says("sale", "S-1").str("id")
		if made == old {
			t.Error("the old link was answered")
		}
		till.awaitStatus(old, "cancelled")
		till.get("/v1/sales/S-1").is(200).says("open", []string{made})
	})
	t.Run("while the payer is at the bank, who pays", func(t *testing.T) {
		old := send(m{"amount": 800}).is(201).str("id")
		h.bank.call("POST", "/sim/pay", m{"request_id": old, "hold": true}).is(200)
		till.awaitStatus(old, "processing")
		made := till.call("POST", "/v1/requests", m{"amount": 900, "replaces": old}, "Prefer", "wait=0").is(202).says("status", "preparing").str("id")
		h.phone().get(page(made)).is(200).says("resolution", "updating")
		h.bank.call("POST", "/sim/pay", m{"request_id": old}).is(200)
		till.awaitStatus(old, "paid")
		till.awaitStatus(made, "cancelled").says("end_reason", "sale_paid")
	})
	t.Run("while the payer is at the bank, who refuses", func(t *testing.T) {
		old := send(m{"amount": 800}).is(201).str("id")
		h.bank.call("POST", "/sim/pay", m{"request_id": old, "hold": true}).is(200)
		till.awaitStatus(old, "processing")
		made := till.call("POST", "/v1/requests", m{"amount": 900, "replaces": old}, "Prefer", "wait=0").is(202).str("id")
		till.call("POST", "/v1/requests", m{"amount": 901, "replaces": old}).refused(409, "not_allowed_in_status")
		h.bank.call("POST", "/sim/refuse", m{"request_id": old}).is(200)
		till.awaitStatus(old, "cancelled")
		till.awaitStatus(made, "active")
	})
	t.Run("what cannot be replaced", func(t *testing.T) {
		paid := send(m{"amount": 100}).is(201).str("id")
		h.bank.pays(paid)
		till.awaitStatus(paid, "paid")
		send(m{"amount": 200, "replaces": paid}).refused(409, "already_paid")
		open := send(m{"amount": 300, "sale": "S-2"}).is(201).str("id")
		send(m{"amount": 200, "replaces": open, "sale": "S-3"}).refused(422, "invalid_request", "replaces sale_differs")
		send(m{"amount": 200, "replaces": open, "draft": true}).refused(422, "invalid_request", "draft excluded")
		till.get("/v1/requests/"+open).is(200).says("status", "active")
	})
	t.Run("the same command twice", func(t *testing.T) {
		old := send(m{"amount": 400}).is(201).str("id")
		body := m{"amount": 500, "replaces": old}
		first := till.call("POST", "/v1/requests", body, "Idempotency-Key", "replace-1").is(201)
		again := till.call("POST", "/v1/requests", body, "Idempotency-Key", "replace-1").is(201)
		if !bytes.Equal(first.Body, again.Body) {
			t.Errorf("%s became %s", first.Body, again.Body)
		}
	})
	t.Run("renewed, the old stays dead", func(t *testing.T) {
		old := send(m{"amount": 600, "expires_in": 1, "sale": "S-4", "customer": m{"email": "ana@example.com"}}).is(201).str("id")
		till.awaitStatus(old, "expired")
		fresh := till.call("POST", "/v1/requests/"+old+"/renew", nil).is(201).says("replaces", old, "amount", 600, "sale", "S-4", "customer.email", "ana@example.com").str("id")
		h.phone().get(page(old)).is(200).says("resolution", "ended")
		if fresh == old {
			t.Error("the old one lives again")
		}
	})
}

// TestDryRun: the answer is what would be made, and nothing is.
func TestDryRun(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till := h.shop.till
	before := till.lastSeq()
	fees := func(body any) *reply { return till.call("PUT", "/v1/merchant/fees", body) }
	fees(m{"fees": []m{{"label": "Provider", "percent": "1.4", "fixed": 25}, {"label": "Wallet", "method": "no such wallet", "percent": "3"}}}).is(200)
	fees(m{"fees": []m{{"label": "Nothing"}}}).refused(422, "invalid_request", "fees[0].percent required")
	fees(m{"fees": []m{{"label": "Much", "percent": "101"}}}).refused(422, "invalid_request", "fees[0].percent decimal")
	fees(m{"fees": []m{{"percent": "1"}}}).refused(422, "invalid_request", "fees[0].label required")
	dry := func(body m) *reply { return till.call("POST", "/v1/requests?dry_run=true", body) }
	dry(m{"vat": "excluded", "lines": []m{{"description": "Repair", "quantity": "1.5", "unit_price": 6000, "vat_rate": "23"}}, "expires_in": "1d"}).is(200).
		says("amount", 11070, "net", 9000, "vat", 2070, "currency", "EUR", "fees.0.amount", 180, "fees.1", nil, "have", nil, "lines.0.total", 11070)
	dry(m{"amount": 100, "customer": m{"email": "ana@example.com"}}).is(200).says("unavailable.0.what", "sms", "unavailable.0.why", "needs_customer")
	dry(m{"lines": []m{{"description": "Gift", "quantity": "1", "unit_price": 0}}}).refused(422, "invalid_request", "lines[0].unit_price required")
	dry(m{"amount": 100, "capture": "manual", "methods": []string{"cowries"}}).is(422)
	till.call("POST", "/v1/requests?dry_rum=true", m{"amount": 1}).refused(422, "invalid_request", "dry_rum unknown_parameter")
	if got := till.get("/v1/requests").found(); got != nil || till.lastSeq() != before {
		t.Errorf("dry runs made %v", got)
	}
	open := till.call("POST", "/v1/requests", m{"amount": 100, "sale": "S-1"}).is(201).str("id")
	dry(m{"amount": 100, "sale": "S-1"}).is(200).says("have", open)
	dry(m{"amount": 200, "sale": "S-1"}).refused(409, "sale_has_open_request")
	dry(m{"amount": 200, "replaces": open}).is(200).says("amount", 200)
	till.get("/v1/requests/"+open).is(200).says("status", "active", "displaced_by", nil)
}

// TestExpiryPresetsByTheCalendar: a day, a week and a month are those of the merchant's
// calendar, whatever its clocks do meanwhile.
func TestExpiryPresetsByTheCalendar(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true, office: func(svc *linking.Service, shop linking.MerchantID) {
		if _, err := svc.ChangeMerchant(noContext, shop, func(m *linking.Merchant) error { m.TimeZone = "America/New_York"; return nil }); err != nil {
			t.Error(err)
		}
	}})
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	for preset, after := range map[string]func(time.Time) time.Time{
		"1d": func(at time.Time) time.Time { return at.AddDate(0, 0, 1) },
		"1w": func(at time.Time) time.Time { return at.AddDate(0, 0, 7) },
		"1m": func(at time.Time) time.Time {
			next := at.AddDate(0, 1, 0)
			if next.Day() != at.Day() { // that month has no such day: its last one
				next = next.AddDate(0, 0, -next.Day())
			}
			return next
		},
	} {
		r := h.shop.till.call("POST", "/v1/requests?dry_run=true", m{"amount": 100, "expires_in": preset}).is(200)
		ends, err := time.Parse(time.RFC3339, r.str("expires_at"))
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().In(zone)
		if off := ends.Sub(after(now)); off < -5*time.Second || off > 5*time.Second {
			t.Errorf("%s from %s on ends at %s", preset, now, ends.In(zone))
		}
	}
}

// TestEventsOfARequestBeginWithIt: the story of a request is read from where it begins,
// however long the log is.
func TestEventsOfARequestBeginWithIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till := h.shop.till
	code := till.makeCode("counter")
	for range 30 {
		till.call("PUT", "/v1/codes/"+code+"/link", m{"request": m{"amount": 100}, "replace": true}, "Prefer", "wait=0")
	}
	id := till.call("POST", "/v1/requests", m{"amount": 1250}).is(201).str("id")
	h.bank.pays(id)
	till.awaitStatus(id, "paid")
	var got []string
	var page struct {
		Data []struct{ Type string }
		Next string
	}
	till.get("/v1/events?request=" + id).is(200).read(&page)
	for _, e := range page.Data {
		got = append(got, e.Type)
	}
	want := []string{"request.created", "request.preparing", "request.active", "request.paid"}
	if !slices.Equal(got, want) {
		t.Errorf("the story is %v, want %v", got, want)
	}
	if again := till.get("/v1/events?request=" + id + "&after=" + page.Next).is(200); again.at("data.0") != nil {
		t.Errorf("and then %s", again.Body)
	}
}
