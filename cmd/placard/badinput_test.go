package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"placard/linking"
	"placard/linking/storetest"
)

// state is all that a merchant has: codes, requests, and how far the log has come.
func (c *client) state() string {
	c.t.Helper()
	doc, err := json.Marshal([]any{c.pages("/v1/codes"), c.pages("/v1/requests"), c.lastSeq()})
	if err != nil {
		c.t.Fatal(err)
	}
	return string(doc)
}

// TestBadInputIsRefusedByNameAndChangesNothing: each wrong call is answered with the
// problem document that names what is wrong, and leaves no trace.
func TestBadInputIsRefusedByNameAndChangesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{})
	till := h.shop.till
	code, busy, bill := till.makeCode("counter"), till.makeCode("counter"), till.makeCode("bill")
	shown := till.attach(busy, 500)
	unvalued := till.link(bill, m{"value_later": true, "reference": "May"}).is(200).str("request.id")
	draft := till.call("POST", "/v1/requests", m{"amount": 100, "draft": true, "client_id": "mine"}).is(201).str("id")
	sent := till.call("POST", "/v1/requests", m{"amount": 100}).is(201).str("id")
	till.awaitStatus(sent, "active")
	foreign := h.other.till.makeCode("counter")
	foreignRequest := h.other.till.attach(foreign, 100)
	used := "key-1"
	till.call("PATCH", "/v1/requests/"+draft, m{"note": "n"}, "Idempotency-Key", used).is(200)

	request := func(more m) m { // a good one with something wrong in it
		r := m{"amount": 1250, "reference": "Table 4"}
		for k, v := range more {
			if v == nil {
				delete(r, k)
				continue
			}
			r[k] = v
		}
		return m{"request": r}
	}
	line := func(more m) []m {
		l := m{"description": "Coffee", "quantity": "1", "unit_price": 1250}
		for k, v := range more {
			l[k] = v
		}
		return []m{l}
	}
	long := strings.Repeat("ä", 141)
	link := "/v1/codes/" + code + "/link"
	shownPath, sentPath := "/v1/requests/"+shown, "/v1/requests/"+sent
	now := time.Now().UTC()
	stamp := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339) }
	const day = 24 * time.Hour

	type bad struct {
		what         string
		method, path string
		body         any
		header       []string
		status       int
		code         string
		fields       []string
	}
	var cases []bad
	add := func(what, method, path string, body any, status int, code string, fields ...string) {
		cases = append(cases, bad{what, method, path, body, nil, status, code, fields})
	}
	with := func(header ...string) { cases[len(cases)-1].header = header }

	// Codes that are none of the caller's.
	add("a token of another merchant", "PUT", "/v1/codes/"+foreign+"/link", request(nil), 404, "not_found")
	add("a token with a slip in it", "PUT", "/v1/codes/"+slip(code)+"/link", request(nil), 404, "not_found")
	add("a token that is too short", "PUT", "/v1/codes/"+code[:19]+"/link", request(nil), 404, "not_found")
	add("a token that is too long", "PUT", "/v1/codes/"+code+"0/link", request(nil), 404, "not_found")
	add("a token of other characters", "PUT", "/v1/codes/"+code[:19]+"!/link", request(nil), 404, "not_found")
	add("a token with U, which Crockford leaves out", "PUT", "/v1/codes/"+code[:19]+"U/link", request(nil), 404, "not_found")
	add("another merchant's request", "PUT", link, m{"request_id": foreignRequest}, 404, "not_found")
	add("a request that there is not", "PUT", link, m{"request_id": "nothing"}, 404, "not_found")

	// Amounts.
	add("zero", "PUT", link, request(m{"amount": 0}), 422, "invalid_request", "request.amount too_small")
	add("negative", "PUT", link, request(m{"amount": -1}), 422, "invalid_request", "request.amount too_small")
	add("a fraction of a cent", "PUT", link, `{"request":{"amount":12.5}}`, 422, "invalid_request", "request.amount wrong_type")
	add("with a point, though whole", "PUT", link, `{"request":{"amount":12.0}}`, 422, "invalid_request", "request.amount wrong_type")
	add("with an exponent", "PUT", link, `{"request":{"amount":1e3}}`, 422, "invalid_request", "request.amount wrong_type")
	add("as text", "PUT", link, request(m{"amount": "1250"}), 422, "invalid_request", "request.amount wrong_type")
	add("above 10^15", "PUT", link, request(m{"amount": int64(1e15) + 1}), 422, "invalid_request", "request.amount too_large")
	add("beyond 64 bits", "PUT", link, `{"request":{"amount":99999999999999999999}}`, 422, "invalid_request", "request.amount out_of_range")
	add("none at all", "PUT", link, request(m{"amount": nil}), 422, "invalid_request", "request.amount required")
	add("null", "PUT", link, `{"request":{"amount":null,"reference":"x"}}`, 422, "invalid_request", "request.amount required")
	add("an amount and value_later", "PUT", link, request(m{"value_later": true}), 422, "invalid_request", "request.amount value_later")
	add("a total of nothing", "PUT", link, request(m{"sale": "s", "sale_total": 0}), 422, "invalid_request", "request.sale_total too_small")
	add("more than the sale's total", "PUT", link, request(m{"sale": "s", "sale_total": 1000}), 422, "invalid_request", "request.amount more_than_left")
	add("a total without a sale", "PUT", link, request(m{"sale_total": 5000}), 422, "invalid_request", "request.sale_total excluded")
	add("a value of zero", "PATCH", shownPath, m{"amount": 0}, 422, "invalid_request", "amount too_small")
	add("a value that is negative", "PATCH", shownPath, m{"amount": -5}, 422, "invalid_request", "amount too_small")

	// Lines.
	add("lines that add up to something else", "PUT", link, request(m{"amount": 1, "lines": line(nil)}), 422, "invalid_request", "request.amount lines_sum")
	add("a quantity of nothing", "PUT", link, request(m{"lines": line(m{"quantity": "0"})}), 422, "invalid_request", "request.lines[0].quantity decimal")
	add("a quantity with four places", "PUT", link, request(m{"lines": line(m{"quantity": "1.0000"})}), 422, "invalid_request", "request.lines[0].quantity decimal")
	add("a quantity as a number", "PUT", link, request(m{"lines": line(m{"quantity": 1})}), 422, "invalid_request", "request.lines[0].quantity wrong_type")
	add("a price of nothing", "PUT", link, request(m{"lines": line(m{"unit_price": 0})}), 422, "invalid_request", "request.lines[0].unit_price required")
	add("a VAT rate above 100", "PUT", link, request(m{"lines": line(m{"vat_rate": "100.01"})}), 422, "invalid_request", "request.lines[0].vat_rate decimal")
	add("a line without a description", "PUT", link, request(m{"lines": line(m{"description": ""})}), 422, "invalid_request", "request.lines[0].description required")
	add("501 lines", "PUT", link, request(m{"lines": make([]m, 501)}), 422, "invalid_request", "request.lines too_many")

	// Currency.
	add("a currency of another merchant's", "PUT", link, request(m{"currency": "USD"}), 422, "invalid_request", "request.currency merchant_currency")
	add("a currency that is none", "PUT", link, request(m{"currency": "EURO"}), 422, "invalid_request", "request.currency currency")
	add("a currency in small letters", "PUT", link, request(m{"currency": "eur"}), 422, "invalid_request", "request.currency currency")

	// Expiry.
	add("an expiry in the past", "PUT", link, request(m{"expires_at": stamp(-time.Minute)}), 422, "invalid_request", "request.expires_at past")
	add("an expiry beyond five years", "PUT", link, request(m{"expires_at": stamp(5*366*day + time.Hour)}), 422, "invalid_request", "request.expires_at range")
	add("an expiry beyond the rail's", "PUT", link, request(m{"expires_at": stamp(401 * day)}), 422, "invalid_request", "request.expires_at rail_expiry")
	add("an expiry of the rail's in words", "PUT", link, request(m{"expires_in": "3000d"}), 422, "invalid_request", "request.expires_in range")
	add("an expiry without a zone", "PUT", link, request(m{"expires_at": "2030-01-01T00:00:00"}), 422, "invalid_request", "request.expires_at rfc3339")
	add("an expiry with a fraction", "PUT", link, request(m{"expires_at": "2030-01-01T00:00:00.5Z"}), 422, "invalid_request", "request.expires_at rfc3339")
	add("an expiry at once", "PUT", link, request(m{"expires_in": 0}), 422, "invalid_request", "request.expires_in duration")
	add("an expiry backwards", "PUT", link, request(m{"expires_in": -60}), 422, "invalid_request", "request.expires_in duration")
	add("an expiry in words nobody knows", "PUT", link, request(m{"expires_in": "soon"}), 422, "invalid_request", "request.expires_in duration")
	add("an expiry in years", "PUT", link, request(m{"expires_in": "1y"}), 422, "invalid_request", "request.expires_in duration")
	add("an expiry of no weeks", "PUT", link, request(m{"expires_in": "0w"}), 422, "invalid_request", "request.expires_in past")
	add("an expiry as a list", "PUT", link, request(m{"expires_in": []int{1}}), 422, "invalid_request", "request.expires_in duration")
	add("two expiries", "PUT", link, request(m{"expires_in": 60, "expires_at": stamp(time.Hour)}), 422, "invalid_request", "request.expires_at excluded")
	add("a new expiry in the past", "PATCH", shownPath, m{"expires_at": stamp(-time.Hour)}, 422, "invalid_request", "expires_at past")
	add("a new expiry beyond the rail's", "PATCH", shownPath, m{"expires_in": "401d"}, 422, "invalid_request", "expires_in rail_expiry")
	add("two new expiries", "PATCH", shownPath, m{"expires_in": 60, "expires_at": stamp(time.Hour)}, 422, "invalid_request", "expires_at excluded")

	// Text.
	for what, text := range map[string]string{
		"a line feed": "a\nb", "a NUL": "a\x00b", "an escape": "a\x1b[31mb", "C1": "a\u0085b", "a right-to-left override": "a\u202eb",
		"an isolate": "a\u2066b", "a line separator": "a\u2028b", "an Arabic letter mark": "a\u061cb", "a byte order mark": "a\ufeffb",
	} {
		add("a reference with "+what, "PUT", link, request(m{"reference": text}), 422, "invalid_request", "request.reference text")
		add("a new reference with "+what, "PATCH", shownPath, m{"reference": text}, 422, "invalid_request", "reference text")
		add("a label with "+what, "POST", "/v1/codes", m{"kind": "counter", "label": text}, 422, "invalid_request", "label text")
		add("a new label with "+what, "PATCH", "/v1/codes/"+code, m{"label": text}, 422, "invalid_request", "label text")
		if text != "a\nb" {
			add("a note with "+what, "PATCH", shownPath, m{"note": text}, 422, "invalid_request", "note text")
		}
	}
	add("a reference over 140", "PUT", link, request(m{"reference": long}), 422, "invalid_request", "request.reference too_long")
	add("a new reference over 140", "PATCH", shownPath, m{"reference": long}, 422, "invalid_request", "reference too_long")
	add("a label over 100", "POST", "/v1/codes", m{"kind": "counter", "label": long}, 422, "invalid_request", "label too_long")
	add("a sale over 64", "PUT", link, request(m{"sale": strings.Repeat("s", 65)}), 422, "invalid_request", "request.sale too_long")
	add("a sale that is not ASCII", "PUT", link, request(m{"sale": "café"}), 422, "invalid_request", "request.sale printable")
	add("a client_id that is not ASCII", "PUT", link, request(m{"client_id": "café"}), 422, "invalid_request", "request.client_id printable")
	add("a client_id used before", "PUT", link, request(m{"client_id": "mine"}), 422, "invalid_request", "request.client_id used")
	add("a return_url that is a script", "PUT", link, request(m{"return_url": "javascript:alert(1)"}), 422, "invalid_request", "request.return_url url")
	add("metadata with 21 entries", "PUT", link, request(m{"metadata": entries(21)}), 422, "invalid_request", "request.metadata too_many")

	// What the rail cannot do, and what there is not.
	add("a way to pay that the bank has not", "PUT", link, request(m{"methods": []string{"card", "shells"}}), 422, "invalid_request", "request.methods[1] rail_method")
	add("a way to pay twice", "PUT", link, request(m{"methods": []string{"card", "card"}}), 422, "invalid_request", "request.methods not_unique")
	add("a capture that is none", "PUT", link, request(m{"capture": "later"}), 422, "invalid_request", "request.capture not_allowed")
	add("a range that the amount is not in", "PUT", link, request(m{"amount_adjustable": m{"min": 2000, "max": 3000}}), 422, "invalid_request", "request.amount_adjustable range")
	add("a range backwards", "PUT", link, request(m{"amount_adjustable": m{"min": 2, "max": 1}}), 422, "invalid_request", "request.amount_adjustable.max too_small")
	add("a code of no kind", "POST", "/v1/codes", m{"kind": "poster"}, 422, "invalid_request", "kind not_allowed")
	add("a code without a kind", "POST", "/v1/codes", m{}, 422, "invalid_request", "kind required")
	add("a code on a rail the merchant has not", "POST", "/v1/codes", m{"kind": "counter", "rail": "pix"}, 422, "invalid_request", "rail merchant_not_live")
	add("an outlet that is not there", "POST", "/v1/codes", m{"kind": "counter", "outlet": "main"}, 422, "invalid_request", "outlet unknown")
	add("an outlet of the right form that is not there", "POST", "/v1/codes", m{"kind": "counter", "outlet": string(h.shop.id)}, 422, "invalid_request", "outlet unknown")
	add("a code's status that is none", "PATCH", "/v1/codes/"+code, m{"status": "replaced"}, 422, "invalid_request", "status not_allowed")
	add("it replaces what there is not", "POST", "/v1/requests", m{"amount": 5, "replaces": "nothing"}, 422, "invalid_request", "replaces unknown")
	add("it replaces another merchant's", "POST", "/v1/requests", m{"amount": 5, "replaces": foreignRequest}, 422, "invalid_request", "replaces unknown")
	add("both a request and its id", "PUT", link, m{"request": m{"amount": 1}, "request_id": shown}, 422, "invalid_request", "request one_of")
	add("neither a request nor its id", "PUT", link, m{}, 422, "invalid_request", "request one_of")

	// Bodies.
	add("a field nobody knows", "PUT", link, request(m{"ammount": 5}), 422, "invalid_request", "request.ammount unknown_field")
	add("a field in capitals", "PUT", link, `{"request":{"Amount":5}}`, 422, "invalid_request", "request.Amount unknown_field")
	add("a field twice", "PUT", link, `{"request":{"amount":5,"amount":6}}`, 400, "malformed")
	add("a list", "PUT", link, `[1]`, 422, "invalid_request", " wrong_type")
	add("no JSON", "PUT", link, `amount=5`, 400, "malformed")
	add("half of it", "PUT", link, `{"request":{"amount":5}`, 400, "malformed")
	add("something after it", "PUT", link, `{"request":{"amount":5}} {}`, 400, "malformed")
	add("nothing", "PUT", link, "", 400, "malformed")
	add("invalid UTF-8", "PUT", link, "{\"request\":{\"amount\":5,\"reference\":\"\xff\"}}", 400, "malformed")
	add("half of a surrogate pair", "PUT", link, `{"request":{"amount":5,"reference":"\ud800"}}`, 400, "malformed")
	add("nested too deep", "PUT", link, `{"request":{"amount":5,"metadata":`+strings.Repeat(`{"a":`, 10000)+`1`+strings.Repeat(`}`, 10000)+`}}`, 400, "malformed")
	add("more than 64 KiB", "PUT", link, request(m{"note": strings.Repeat("x", 64<<10)}), 413, "too_large")
	add("a form", "PUT", link, "amount=5", 415, "unsupported_media_type")
	with("Content-Type", "application/x-www-form-urlencoded")
	add("no type", "PUT", link, request(nil), 415, "unsupported_media_type")
	with("Content-Type", "")
	add("another alphabet", "PUT", link, request(nil), 415, "unsupported_media_type")
	with("Content-Type", "application/json; charset=latin1")
	add("packed", "PUT", link, request(nil), 415, "unsupported_media_type")
	with("Content-Encoding", "gzip")

	// Headers and parameters.
	add("no key", "PUT", link, request(nil), 401, "unauthorized")
	with("Authorization", "")
	add("a key that is none", "PUT", link, request(nil), 401, "unauthorized")
	with("Authorization", "Bearer plc_"+strings.Repeat("0", 44))
	add("a key in another scheme", "PUT", link, request(nil), 401, "unauthorized")
	with("Authorization", "Basic "+till.key)
	add("a key with a slip in it", "PUT", link, request(nil), 401, "unauthorized")
	with("Authorization", "Bearer "+till.key[:len(till.key)-1]+string(flip(till.key[len(till.key)-1])))
	add("an ETag that is none of ours", "PUT", link, request(nil), 422, "invalid_request", "If-Match etag")
	with("If-Match", "yesterday")
	add("a stale ETag of a code", "PUT", link, request(nil), 412, "stale")
	with("If-Match", `"77"`)
	add("a stale ETag of a request", "PATCH", shownPath, m{"amount": 7}, 412, "stale")
	with("If-Match", `"77"`)
	add("the same idempotency key with another body", "PATCH", "/v1/requests/"+draft, m{"note": "other"}, 422, "idempotency_mismatch")
	with("Idempotency-Key", used)
	add("the same idempotency key on another path", "PATCH", "/v1/requests/"+sent, m{"note": "n"}, 422, "idempotency_mismatch")
	with("Idempotency-Key", used)
	add("an idempotency key that is too long", "PUT", link, request(nil), 422, "invalid_request", "Idempotency-Key printable")
	with("Idempotency-Key", strings.Repeat("k", 129))
	add("a parameter nobody knows", "DELETE", link+"?force=true", nil, 422, "invalid_request", "force unknown_parameter")
	add("a parameter twice", "DELETE", link+"?cancel=true&cancel=false", nil, 422, "invalid_request", "cancel repeated")
	add("a parameter of another type", "DELETE", link+"?cancel=maybe", nil, 422, "invalid_request", "cancel wrong_type")
	add("a limit of none", "GET", "/v1/requests?limit=0", nil, 422, "invalid_request", "limit out_of_range")
	add("a limit of too many", "GET", "/v1/codes?limit=501", nil, 422, "invalid_request", "limit out_of_range")
	add("a status that is none", "GET", "/v1/requests?status=open", nil, 422, "invalid_request", "status not_allowed")
	add("a filter that is misspelt", "GET", "/v1/requests?stauts=paid", nil, 422, "invalid_request", "stauts unknown_parameter")
	add("a cursor that is none", "GET", "/v1/requests?after=!", nil, 422, "invalid_request", "after cursor")
	add("a cursor of codes that is none", "GET", "/v1/codes?after=!", nil, 422, "invalid_request", "after cursor")
	add("a cursor of exceptions that is none", "GET", "/v1/exceptions?after=%C3%A4", nil, 422, "invalid_request", "after cursor")
	add("a cursor of a history that is none", "GET", "/v1/codes/"+busy+"/history?after=%C3%A4", nil, 422, "invalid_request", "after cursor")
	add("a cursor of another code's history", "GET", "/v1/codes/"+busy+"/history?after="+foreign+".00000001", nil, 422, "invalid_request", "after cursor")
	add("a cursor of another merchant's codes", "GET", "/v1/codes?after=b"+strings.Repeat("0", 24), nil, 404, "not_found")
	add("an event's number that is none", "GET", "/v1/events?after=x", nil, 422, "invalid_request", "after out_of_range")
	add("an event's type that is none", "GET", "/v1/events?type=code.burnt", nil, 422, "invalid_request", "type not_allowed")
	add("a wait that is too long", "GET", "/v1/events?wait=61", nil, 422, "invalid_request", "wait out_of_range")
	add("a status to wait after that is none", "GET", shownPath+"?wait=1&after_status=open", nil, 422, "invalid_request", "after_status not_allowed")
	add("a revision that there is not", "GET", shownPath+"?revision=9", nil, 404, "not_found")

	// Commands that the state forbids.
	add("a code that is busy", "PUT", "/v1/codes/"+busy+"/link", request(nil), 409, "code_busy")
	add("a request that another code shows", "PUT", link, m{"request_id": shown}, 409, "request_on_other_code")
	add("a new amount of what was sent", "PATCH", sentPath, m{"amount": 200}, 409, "amount_fixed")
	add("the renewal of what lives", "POST", sentPath+"/renew", nil, 409, "not_allowed_in_status")
	add("a capture of nothing", "POST", sentPath+"/capture", nil, 409, "not_allowed_in_status")
	add("a refund of what is not paid", "POST", sentPath+"/refunds", nil, 409, "not_allowed_in_status")
	add("a refund of zero", "POST", sentPath+"/refunds", m{"amount": 0}, 422, "invalid_request", "amount too_small")
	add("a cancel for a reason nobody knows", "POST", sentPath+"/cancel", m{"reason": "mood"}, 422, "invalid_request", "reason not_allowed")
	add("an amount for a bill out of range", "PATCH", "/v1/requests/"+unvalued, m{"amount": int64(2e15)}, 422, "invalid_request", "amount too_large")
	add("an exception that there is not", "POST", "/v1/exceptions/"+strings.Repeat("0", 20)+"/accept", nil, 404, "not_found")
	add("an exception that is none", "POST", "/v1/exceptions/x/return", nil, 404, "not_found")
	add("an address that is none", "GET", "/v1/nothing", nil, 404, "not_found")
	add("a method that is none", "DELETE", "/v1/codes/"+code, nil, 405, "method_not_allowed")

	before := till.state()
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			one := *till
			one.t = t
			if err := one.call(c.method, c.path, c.body, c.header...).problem(c.status, c.code, c.fields...); err != nil {
				t.Error(err)
			}
			if after := one.state(); after != before {
				t.Errorf("something changed:\n%s\n%s", before, after)
				before = after
			}
		})
	}
	t.Logf("%d wrong calls", len(cases))
}

// slip is a token with one wrong symbol.
func slip(token string) string { return token[:9] + string(flip(token[9])) + token[10:] }

// flip is another symbol than c.
func flip(c byte) byte {
	if c == '2' {
		return '3'
	}
	return '2'
}

func entries(n int) m {
	all := m{}
	for i := range n {
		all[fmt.Sprint("k", i)] = "v"
	}
	return all
}

// TestCurrenciesTheRailDoesNotTake: the merchant takes it, the bank does not.
func TestCurrenciesTheRailDoesNotTake(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{currency: "ISK", bare: true})
	till := h.shop.till
	before := till.state()
	till.call("POST", "/v1/codes", m{"kind": "counter"}).refused(422, "invalid_request", "currency rail_currency")
	till.call("POST", "/v1/requests", m{"amount": 5}).refused(422, "invalid_request", "currency rail_currency")
	if after := till.state(); after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
}

// TestGoodInputThatLooksOdd is the other side of the table: what must not be refused.
func TestGoodInputThatLooksOdd(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till := h.shop.till
	code := till.makeCode("counter")
	for what, name := range spellings(code) {
		if got := till.get("/v1/codes/" + name).is(200).str("token"); got != code {
			t.Errorf("%s: %q is %s", what, name, got)
		}
	}
	till.call("PUT", "/v1/codes/"+code+"/link", m{"request": m{
		"amount": int64(1e15), "reference": strings.Repeat("ä", 140), "note": "two\nlines", "sale": strings.Repeat("~", 64), "sale_total": int64(1e15),
		"client_id": strings.Repeat("!", 64), "expires_in": "400d", "methods": []string{"bank", "card"}, "metadata": entries(20),
		"customer": m{"name": "Zoë", "email": "zoe@example.org", "phone": "+351912345678", "address": "Rua A\nLisboa"},
	}}, "Content-Type", "Application/JSON; charset=UTF-8").is(200).says("request.note", "two\nlines", "request.amount", int64(1e15))
	if id := till.get("/v1/requests/" + strings.Repeat("!", 64)).is(200).str("id"); id == "" {
		t.Error("a request is not found by the caller's own id")
	}
	till.get("/v1/events?request="+strings.Repeat("!", 64)).is(200).says("data.0.type", "request.created")
	bill := till.makeCode("bill")
	r := till.link(bill, m{"lines": []m{{"description": "Water", "quantity": "1.5", "unit_price": 101, "vat_rate": "6"}}}).is(200)
	r.says("request.amount", 152, "request.expires_at", nil, "request.lines.0.vat", 9)
}

// spellings are ways in which people and scanners write a token.
func spellings(token string) map[string]string {
	alike := strings.NewReplacer("0", "O", "1", "l")
	return map[string]string{
		"as it is": token, "small letters": strings.ToLower(token), "look-alikes": alike.Replace(token), "the other look-alikes": strings.NewReplacer("0", "o", "1", "I").Replace(token),
		"grouped": linking.Token(token).Grouped(), "grouped with blanks": strings.ReplaceAll(linking.Token(token).Grouped(), "-", "%20"),
		"all at once": strings.ToLower(alike.Replace(linking.Token(token).Grouped())),
	}
}

// TestD12StoreThatIsAway: every call is refused as long as the store does not answer,
// and nothing has happened when it does again.
func TestD12StoreThatIsAway(t *testing.T) {
	t.Parallel()
	var down *storetest.Down
	h := newHouse(t, houseOptions{hooks: hooks{noSweep: true, store: func(s linking.Store) linking.Store {
		down = &storetest.Down{Store: s}
		return down
	}}})
	till, phone := h.shop.till, h.phone()
	code, busy := till.makeCode("counter"), till.makeCode("counter")
	request := till.attach(busy, 500)
	seen := phone.scan(busy, "").is(200)
	eventually(t, "the scan is written down", func() bool {
		all := till.allEvents(0)
		return all[len(all)-1].Type == "request.opened"
	})
	before := till.state()

	down.Off(true)
	for _, c := range []struct {
		who          *client
		method, path string
		body         any
	}{
		{till, "POST", "/v1/codes", m{"kind": "counter"}},
		{till, "GET", "/v1/codes", nil},
		{till, "GET", "/v1/codes/" + code, nil},
		{till, "PATCH", "/v1/codes/" + code, m{"label": "x"}},
		{till, "PUT", "/v1/codes/" + code + "/link", m{"request": m{"amount": 1}}},
		{till, "DELETE", "/v1/codes/" + busy + "/link", nil},
		{till, "GET", "/v1/codes/" + busy + "/link", nil},
		{till, "POST", "/v1/requests", m{"amount": 1}},
		{till, "GET", "/v1/requests/" + request, nil},
		{till, "GET", "/v1/requests/" + request + "?wait=5&after_status=active", nil},
		{till, "PATCH", "/v1/requests/" + request, m{"amount": 1}},
		{till, "POST", "/v1/requests/" + request + "/cancel", nil},
		{till, "GET", "/v1/exceptions", nil},
		{till, "GET", "/v1/events", nil},
		{till, "GET", "/v1/events?wait=5&after=7", nil},
		{phone, "GET", "/q/" + busy, nil},
		{phone, "POST", "/q/" + busy + "/pay", m{"s": seen.str("s"), "revision": 1}},
	} {
		for _, key := range []string{"", "k"} {
			r := c.who.call(c.method, c.path, c.body, "Idempotency-Key", key).refused(503, "store_unavailable")
			if r.Header.Get("Retry-After") == "" {
				t.Errorf("%s %s does not say when to try again", c.method, c.path)
			}
			if strings.HasPrefix(c.path, "/q/") {
				r.says("resolution", "unavailable")
			}
		}
	}
	if r := phone.get("/q/"+busy, "Accept", "text/html").is(503); strings.Contains(string(r.Body), "5.00") || !strings.Contains(string(r.Body), "nothing was taken") {
		t.Errorf("the page says %s", r.Body)
	}
	phone.get("/readyz").is(503)
	phone.get("/healthz").is(200)
	down.Off(false)
	if after := till.state(); after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
	phone.get("/readyz").is(200)
	phone.scan(busy, seen.str("s")).is(200).says("resolution", "payable")
}
