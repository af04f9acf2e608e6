package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"placard/gateway"
	"placard/linking"
)

// contract is gateway/openapi.yaml as something that answers can be held against.
// A field of an answer that it does not name breaks it, though callers are told to
// pass such over: the description must not fall behind.
type contract struct {
	doc        map[string]any
	operations []operation
	common     map[string]bool // problems that any call may be answered with
	statusOf   map[string]map[int]bool

	mu       sync.Mutex
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema // by the place in the description
	seen     map[string]int                // by "operation status"
}

type operation struct {
	id, method, place string
	path              *regexp.Regexp
	spec              map[string]any
}

// theContract is read once: its compiled schemas are what takes time.
var theContract = sync.OnceValue(func() *contract {
	var doc map[string]any
	raw, err := yaml.YAMLToJSON(gateway.OpenAPI)
	if err == nil {
		var v any
		if v, err = jsonschema.UnmarshalJSON(bytes.NewReader(raw)); err == nil {
			doc = v.(map[string]any)
		}
	}
	if err != nil {
		panic(err)
	}
	k := &contract{doc: doc, common: map[string]bool{}, statusOf: map[string]map[int]bool{}, compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}, seen: map[string]int{}}
	shut(doc["components"].(map[string]any)["schemas"])
	shut(doc["paths"])
	k.compiler.DefaultDraft(jsonschema.Draft2020)
	k.compiler.AssertFormat()
	if err := k.compiler.AddResource("openapi.json", doc); err != nil {
		panic(err)
	}
	for _, p := range doc["x-problems"].([]any) {
		k.common[p.(map[string]any)["code"].(string)] = true
	}
	for path, item := range doc["paths"].(map[string]any) {
		for method, spec := range item.(map[string]any) {
			if method == "parameters" {
				continue
			}
			o := operation{
				method: strings.ToUpper(method), spec: spec.(map[string]any), path: pathPattern(path),
				place: "openapi.json#/paths/" + pointer(path) + "/" + method,
			}
			o.id = o.spec["operationId"].(string)
			codes, _ := o.spec["x-codes"].([]any)
			for _, c := range codes {
				delete(k.common, c.(string))
			}
			k.operations = append(k.operations, o)
		}
	}
	return k
})

func pathPattern(path string) *regexp.Regexp {
	quoted := regexp.QuoteMeta(path)
	return regexp.MustCompile(`^(?i)` + regexp.MustCompile(`\\\{[a-z_0-9]+\\\}`).ReplaceAllString(quoted, `[^/]+?`) + `/?$`)
}

func pointer(s string) string {
	return url.PathEscape(strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1"))
}

// shut makes every object that does not say otherwise one without further fields.
func shut(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["properties"].(map[string]any); ok && v["additionalProperties"] == nil {
			v["additionalProperties"] = false
		}
		for name, f := range v {
			if name != "examples" && name != "example" {
				shut(f)
			}
		}
	case []any:
		for _, f := range v {
			shut(f)
		}
	}
}

// find returns the operation of a call; the most literal one if there are several.
func (k *contract) find(method, path string) *operation {
	var best *operation
	for i := range k.operations {
		o := &k.operations[i]
		if o.method == method && o.path.MatchString(path) && (best == nil || strings.Count(o.place, "%7B") < strings.Count(best.place, "%7B")) {
			best = o
		}
	}
	return best
}

func (k *contract) schema(place string) (*jsonschema.Schema, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.schemas[place]; s != nil {
		return s, nil
	}
	s, err := k.compiler.Compile(place)
	k.schemas[place] = s
	return s, err
}

// holds says how an answer breaks the contract; nil if it does not, or if the address
// is not the gateway's.
func (k *contract) holds(method, path string, status int, contentType string, body []byte) error {
	path, _, _ = strings.Cut(path, "?")
	o := k.find(method, path)
	if o == nil {
		return nil
	}
	k.mu.Lock()
	k.seen[fmt.Sprintf("%s %d", o.id, status)]++
	k.mu.Unlock()
	broken := func(format string, args ...any) error {
		return fmt.Errorf("gateway/openapi.yaml, %s (%s %s), status %d: %s", o.id, method, path, status, fmt.Sprintf(format, args...))
	}
	responses := o.spec["responses"].(map[string]any)
	place := o.place + "/responses/" + fmt.Sprint(status)
	answer, named := responses[fmt.Sprint(status)].(map[string]any)
	if !named {
		if status < 400 {
			return broken("is not among its responses")
		}
		place, answer = "openapi.json#/components/responses/problem", k.doc["components"].(map[string]any)["responses"].(map[string]any)["problem"].(map[string]any)
		if responses["default"] == nil {
			return broken("is not among its responses, and there is no default")
		}
	}
	content, _ := answer["content"].(map[string]any)
	if len(body) == 0 && content == nil {
		return nil
	}
	mediaType, _, _ := mime.ParseMediaType(contentType)
	if content[mediaType] == nil && content["*/*"] == nil {
		return broken("its content has no %q", mediaType)
	}
	if mediaType != "application/json" && mediaType != "application/problem+json" {
		return nil
	}
	s, err := k.schema(place + "/content/" + pointer(mediaType) + "/schema")
	if err != nil {
		return broken("its schema: %v", err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return broken("no JSON: %s", body)
	}
	if err := s.Validate(v); err != nil {
		return broken("%v\nof %.2000s", err, body)
	}
	if mediaType == "application/problem+json" {
		code := v.(map[string]any)["code"].(string)
		own, _ := o.spec["x-codes"].([]any)
		if !k.common[code] && !slices.Contains(own, any(code)) {
			return broken("refused with %q, which is not in its x-codes", code)
		}
	}
	return nil
}

// takes says how a body that was accepted breaks the contract.
func (k *contract) takes(method, path string, body []byte) error {
	path, _, _ = strings.Cut(path, "?")
	o := k.find(method, path)
	if o == nil || len(body) == 0 {
		return nil
	}
	s, err := k.schema(o.place + "/requestBody/content/application~1json/schema")
	if err != nil {
		return fmt.Errorf("gateway/openapi.yaml, %s: its body: %v", o.id, err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return nil
	}
	v = withoutNulls(v)
	if err := s.Validate(v); err != nil {
		return fmt.Errorf("gateway/openapi.yaml, %s accepted what its schema refuses: %v\n%s", o.id, err, body)
	}
	return nil
}

// withoutNulls leaves out fields that are null: in a body that means "not given".
func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		maps.DeleteFunc(v, func(_ string, f any) bool { return f == nil })
		for name, f := range v {
			v[name] = withoutNulls(f)
		}
	case []any:
		for i, f := range v {
			v[i] = withoutNulls(f)
		}
	}
	return v
}

// witness is a network that holds every answer of the gateway against the contract.
type witness struct {
	t    testing.TB
	next http.RoundTripper
}

func (w witness) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		sent, _ = io.ReadAll(r.Body)
		r.Body.Close()
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	resp, err := w.next.RoundTrip(r)
	if err != nil || resp.Header.Get("Content-Type") == "text/event-stream" {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	k := theContract()
	if err := k.holds(r.Method, r.URL.EscapedPath(), resp.StatusCode, resp.Header.Get("Content-Type"), body); err != nil {
		w.t.Error(err)
	}
	if resp.StatusCode < 300 && r.Header.Get("Content-Type") == "application/json" {
		if err := k.takes(r.Method, r.URL.EscapedPath(), sent); err != nil {
			w.t.Error(err)
		}
	}
	return resp, nil
}

// examplesOf are the examples of an operation's body by name, as they are sent.
func (k *contract) examplesOf(id string) map[string]string {
	list := map[string]string{}
	for _, o := range k.operations {
		if o.id != id {
			continue
		}
		body, _ := o.spec["requestBody"].(map[string]any)
		content, _ := body["content"].(map[string]any)
		media, _ := content["application/json"].(map[string]any)
		examples, _ := media["examples"].(map[string]any)
		for name, e := range examples {
			raw, err := json.Marshal(e.(map[string]any)["value"])
			if err != nil {
				panic(err)
			}
			list[name] = string(raw)
		}
	}
	return list
}

// eventsAreAsDocumented holds the members of every event so far against docs/events.md.
func eventsAreAsDocumented(t *testing.T, till *client) {
	t.Helper()
	raw, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	member := regexp.MustCompile("`([a-z_]+)`")
	listed := func(text, word string) (list []string) {
		_, after, _ := strings.Cut(text, word)
		after, _, _ = strings.Cut(after, ".")
		for _, m := range member.FindAllStringSubmatch(after, -1) {
			list = append(list, m[1])
		}
		return list
	}
	always, sometimes := map[string][]string{}, map[string][]string{}
	for section := range strings.SplitSeq(string(raw), "\n### ") {
		name, text, _ := strings.Cut(section, "\n")
		text, _, _ = strings.Cut(text, "\n## ")
		always[name], sometimes[name] = listed(text, "Always with:"), listed(text, "Sometimes with:")
	}
	seen := map[string]int{}
	for after := int64(0); ; {
		var page struct {
			Data []m
			Next string
		}
		till.get(fmt.Sprintf("/v1/events?limit=500&after=%d", after)).is(200).read(&page)
		for _, e := range page.Data {
			after++
			name := e["type"].(string)
			seen[name]++
			for _, further := range []string{"payment", "refund", "exception", "late", "displaced_by", "may_take_other_tender", "reading", "batch"} {
				_, has := e[further]
				switch {
				case slices.Contains(always[name], further) && !has:
					t.Errorf("docs/events.md: %s always comes with %s; this one does not: %v", name, further, e)
				case has && !slices.Contains(always[name], further) && !slices.Contains(sometimes[name], further):
					t.Errorf("docs/events.md does not say that %s may come with %s: %v", name, further, e)
				}
			}
		}
		if len(page.Data) == 0 {
			break
		}
	}
	if len(seen) < 17 {
		t.Errorf("only %d types of events were seen: %v", len(seen), seen)
	}
}

// Every call of the API is played before a witness, each with its examples, and with
// refusals of every kind that a caller can bring about.
func TestContractHoldsForEveryAnswer(t *testing.T) {
	t.Parallel()
	k := theContract()
	h := newHouse(t, houseOptions{office: func(svc *linking.Service, m linking.MerchantID) {
		if _, err := svc.ChangeMerchant(t.Context(), m, func(m *linking.Merchant) error { m.RefundCap = 100; return nil }); err != nil {
			t.Error(err)
		}
	}})
	through := &http.Client{Transport: witness{t, web.Transport}, CheckRedirect: web.CheckRedirect, Timeout: web.Timeout}
	till := *h.shop.till
	till.web = through
	phone := &client{t: t, base: till.base, web: through}
	as := func(role linking.Role) *client {
		c := till
		c.key = h.shop.keys[role]
		return &c
	}
	played := map[string]bool{}
	// each sends every example of an operation to an address that is made for it.
	each := func(id, method string, address func(name string) string, check ...func(name string, r *reply)) {
		t.Helper()
		played[id] = true
		examples := k.examplesOf(id)
		if len(examples) == 0 {
			t.Errorf("%s has no examples", id)
		}
		for _, name := range slices.Sorted(maps.Keys(examples)) {
			r := till.call(method, address(name), examples[name])
			if r.Status >= 300 {
				t.Errorf("the example %s of %s was refused: %d %s", name, id, r.Status, r.Body)
			}
			for _, f := range check {
				f(name, r)
			}
		}
	}
	fixed := func(address string) func(string) string { return func(string) string { return address } }
	counter := func() string { return till.makeCode("counter") }

	each("makeCode", "POST", fixed("/v1/codes"), func(_ string, r *reply) { till.get("/v1/codes/" + r.str("id")).is(200) })
	each("changeCode", "PATCH", func(string) string { return "/v1/codes/" + counter() })
	each("attach", "PUT", func(string) string { return "/v1/codes/" + counter() + "/link" }, func(name string, r *reply) {
		till.get("/v1/codes/" + r.str("code.id") + "/link").is(200)
		till.get("/v1/sales/" + r.str("request.sale") + "?wait=0").is(200)
	})
	each("createRequest", "POST", fixed("/v1/requests"), func(name string, r *reply) {
		id := r.str("id")
		till.get("/v1/requests/" + id + "?revision=1")
		if name == "draft" {
			till.call("POST", "/v1/requests/"+id+"/submit", nil).is(200)
		}
		if name == "link" {
			till.get("/v1/requests/inv-2026-118").is(200)
			till.get("/v1/requests/" + id + "/qr.svg").is(200)
			page := strings.TrimPrefix(r.str("url"), till.base)
			seen := phone.get(page).is(200)
			phone.get(page, "Accept", "text/html").is(200)
			phone.get(page+"/receipt").refused(404, "not_found")
			way := phone.call("POST", page+"/pay", m{"s": seen.str("s"), "revision": 1}).is(303)
			if way.Header.Get("Location") == "" {
				t.Error("the pay click leads nowhere")
			}
			h.bank.pays(id)
			till.awaitStatus(id, "paid")
			phone.get(page + "/back").is(200)
			phone.get(page+"/receipt", "Accept", "text/html").is(200)
			refunds := "/v1/requests/" + id + "/refunds"
			as(linking.Cashier).call("POST", refunds, m{"amount": 101}).refused(403, "forbidden")
			till.call("POST", refunds, m{"amount": 4901}).is(422)
			each("refundRequest", "POST", fixed(refunds))
			till.call("POST", "/v1/requests/"+id+"/cancel", nil).refused(409, "already_paid")
			till.call("POST", "/v1/requests/"+id+"/renew", nil)
		}
	})
	each("changeRequest", "PATCH", func(name string) string {
		return "/v1/requests/" + till.call("POST", "/v1/requests", m{"value_later": true, "reference": "Bill"}).is(201).str("id")
	})
	each("cancelRequest", "POST", func(string) string {
		return "/v1/requests/" + till.call("POST", "/v1/requests", m{"amount": 700}).is(201).str("id") + "/cancel"
	}, func(_ string, r *reply) {
		id := r.str("id")
		till.call("PATCH", "/v1/requests/"+id, m{"amount": 5}).is(409)
		till.call("POST", "/v1/requests/"+id+"/renew", nil).is(201)
		till.call("POST", "/v1/requests/"+id+"/submit", nil).is(409)
		till.call("POST", "/v1/requests/"+id+"/capture", nil).is(409)
	})
	till.call("POST", "/v1/requests?dry_run=true", m{"lines": []m{{"description": "Repair", "quantity": "2", "unit_price": 500}}}).is(200).says("amount", 1000, "vat", 200, "unavailable.0.why", "needs_customer")
	till.call("POST", "/v1/requests?dry_run=true", m{"amount": 0}).is(422)
	replaced := till.call("POST", "/v1/requests", m{"amount": 700}).is(201).str("id")
	till.call("POST", "/v1/requests", m{"amount": 800, "replaces": replaced}).is(201).says("replaces", replaced)
	till.get("/v1/requests?format=csv&q=" + replaced[18:]).is(200)
	as(linking.Viewer).get("/v1/me").is(200).says("role", "viewer")
	each("putFees", "PUT", fixed("/v1/merchant/fees"))
	as(linking.Cashier).get("/v1/merchant/fees").is(200).says("fees.0.label", "Provider", "fees.1.method", "card")
	as(linking.Manager).call("PUT", "/v1/merchant/fees", m{"fees": []m{}}).refused(403, "forbidden")
	fixedAmount := till.call("POST", "/v1/requests", m{"amount": 700}).is(201).str("id")
	till.call("PATCH", "/v1/requests/"+fixedAmount, m{"amount": 800}).refused(409, "amount_fixed")

	// A sale from the paper to the money, and everything a second till can do wrong.
	code := counter()
	phone.get("/q/"+code).is(200).says("resolution", "waiting")
	first := till.link(code, m{"amount": 1250, "sale": "S-9", "reference": "Table 9"}).is(200)
	id := first.str("request.id")
	till.link(code, m{"amount": 100}).refused(409, "code_busy")
	till.link(counter(), m{"amount": 1300, "sale": "S-9"}).refused(409, "sale_has_open_request")
	till.link(code, m{"amount": 100}, "If-Match", `"0"`).refused(412, "stale")
	till.call("PUT", "/v1/codes/"+counter()+"/link", m{"request_id": id}).refused(409, "request_on_other_code")
	till.link(code, m{"amount": -1, "nonsense": true}).is(422)
	till.call("PUT", "/v1/codes/"+code+"/link", `{`).refused(400, "malformed")
	till.call("PUT", "/v1/codes/"+code+"/link", "x", "Content-Type", "text/plain").refused(415, "unsupported_media_type")
	as(linking.Viewer).link(code, m{"amount": 1}).refused(403, "forbidden")
	(&client{t: t, base: till.base, web: through}).get("/v1/codes").refused(401, "unauthorized")
	seen := phone.get("/q/"+code).is(200).says("resolution", "payable")
	phone.get("/q/"+code, "Accept", "text/html").is(200)
	phone.call("POST", "/q/"+code+"/pay", m{"s": seen.str("s"), "revision": 7}).refused(409, "stale")
	phone.press(seen).is(303)
	h.bank.call("POST", "/sim/pay", m{"request_id": id, "hold": true}).is(200)
	till.awaitStatus(id, "processing")
	till.call("PATCH", "/v1/requests/"+id, m{"amount": 1}).refused(409, "payment_in_flight")
	till.call("POST", "/v1/requests/"+id+"/cancel", nil, "Prefer", "wait=0").is(202).says("in_flight", true)
	h.bank.call("POST", "/sim/pay", m{"request_id": id}).is(200)
	till.awaitStatus(id, "paid")
	phone.scan(code, seen.str("s")).is(200).says("resolution", "paid")
	till.get("/v1/codes/"+code+"/link").is(200).says("previous.status", "paid")
	till.call("DELETE", "/v1/codes/"+code+"/link?request_id="+id, nil).refused(409, "already_paid")
	till.link(code, m{"amount": 1250, "sale": "S-9"}).refused(409, "sale_already_paid")
	till.call("DELETE", "/v1/codes/"+code+"/link", nil).is(200)
	open := till.attach(code, 300)
	till.call("DELETE", "/v1/codes/"+code+"/link?cancel=true&request_id="+open, nil).is(200)
	till.get("/v1/codes/" + code + "/history?limit=1").is(200)
	for _, form := range []string{"svg", "png", "txt"} {
		till.get("/v1/codes/" + code + "/qr." + form + "?caption=true").is(200)
	}
	till.call("POST", "/v1/codes/"+code+"/replace", nil).is(201)
	phone.get("/q/"+code).refused(410, "gone")
	till.link(code, m{"amount": 1}).refused(410, "gone")
	phone.get("/q/"+strings.Repeat("0", 20)).refused(404, "not_found")

	// Money outside the rules.
	for _, decision := range []string{"accept", "return"} {
		odd := till.attach(counter(), 900)
		h.bank.call("POST", "/sim/pay", m{"request_id": odd, "amount": 901, "force": true}).is(200)
		till.awaitStatus(odd, "review")
		list := till.get("/v1/exceptions?open=true").is(200)
		till.call("POST", "/v1/exceptions/"+list.str("data.0.id")+"/"+decision, nil).is(200)
	}
	as(linking.Cashier).call("POST", "/v1/exceptions/01000000000000000000/accept", nil).refused(403, "forbidden")

	for _, list := range []string{"/v1/codes", "/v1/requests", "/v1/exceptions"} {
		for _, c := range till.pages(list) {
			if c["id"] == "" {
				t.Errorf("%s lists %v", list, c)
			}
		}
	}
	eventsAreAsDocumented(t, &till)
	till.get("/v1/events?after=latest&wait=0").is(200)
	till.get("/v1/requests?nonsense=1").refused(422, "invalid_request", "nonsense unknown_parameter")
	// Codes by the batch, and on paper.
	batch := ""
	each("makeBatch", "POST", fixed("/v1/codes/batches"), func(_ string, r *reply) { batch = "/v1/codes/batches/" + r.str("id") })
	till.call("POST", "/v1/codes/batches", "label,account\nMill Lane,4713\n", "Content-Type", "text/csv").is(422)
	till.call("POST", "/v1/codes/batches?kind=account&dry_run=true", "label,account\nMill Lane,4713\n", "Content-Type", "text/csv").is(200).says("id", nil, "count", 1)
	till.get("/v1/codes/batches?limit=1").is(200)
	till.get(batch+"?book=true").is(200).says("book.made", 2)
	rows := till.get(batch + "/rows").is(200)
	till.get(batch + "/rows?format=csv").is(200)
	till.get(batch + "/rows?format=ndjson").is(200)
	till.get("/v1/print/stocks").is(200)
	job := m{"codes": []any{rows.str("data.0.token")}, "stock": "62x62", "format": "png"}
	till.call("POST", "/v1/print/proofs", job).is(200)
	sheet := till.call("POST", "/v1/print/sheets", job).is(200)
	till.get("/v1/print/proofs/" + sheet.Header.Get("Placard-Proof")).is(200)
	till.call("POST", "/v1/print/sheets", m{"codes": []any{}, "stock": "62x62"}).is(422)
	each("markBatch", "POST", fixed(batch+"/mark"))
	till.get(batch).is(200)
	phone.get("/print", "Accept", "text/html").is(200)
	phone.call("POST", "/q/"+till.makeCode("bill")+"/notify", m{"email": "ana@example.com"}).is(200).says("noted", true)
	phone.call("POST", "/q/"+code+"/word", m{"s": "x", "pairing": "47 kite"})
	till.get("/v1/requests/" + id + "/receipt?format=txt").is(200)
	till.get("/v1/requests/" + id + "/receipt?format=pdf").is(200)
	for _, form := range []string{"pdf", "zpl", "escpos"} {
		till.get("/v1/codes/" + rows.str("data.0.token") + "/qr." + form).is(200)
	}

	// Bills that are printed before they are known.
	each("postReadings", "POST", fixed("/v1/readings"))
	bill := m{"code": till.makeCode("bill"), "amount": 4321, "device": "phone-7", "sequence": 9, "recorded_at": "2026-03-02T10:00:00Z"}
	as(linking.Agent).call("POST", "/v1/readings", []m{bill}).is(200).says("data.0.fate", "valued", "counts.valued", 1, "complete", true)
	as(linking.Agent).call("POST", "/v1/readings?format=ndjson", []m{bill}).is(200)
	till.call("POST", "/v1/readings", "{}").refused(400, "malformed")
	till.get("/v1/readings?state=valued").is(200).says("data.0.amount", 4321)
	till.get("/v1/readings?format=csv").is(200)
	till.get("/v1/readings/gaps?device=phone-7").is(200).says("data.0.to", 8)
	each("bindAccounts", "POST", fixed("/v1/accounts"))
	till.call("POST", "/v1/accounts", []m{{"account": "4711", "code": till.makeCode("account")}}).is(200).says("counts.bound", 1)
	till.get("/v1/accounts/4711").is(200)
	each("importBills", "POST", fixed("/v1/bills/import"))
	till.call("POST", "/v1/bills/import?dry_run=true&format=ndjson", "account,amount,reference\n4711,4400,2026-03\n", "Content-Type", "text/csv").is(200)
	today := time.Now().UTC().Format(time.DateOnly)
	till.get("/v1/reports/settlement?day="+today).is(200).says("days.0.day", today)
	till.get("/v1/reports/settlement?format=csv&from=" + today).is(200)
	till.get("/v1/reports/settlement").refused(422, "invalid_request", "day one_of")
	each("reconcile", "POST", fixed("/v1/reports/reconciliation?day="+today))
	till.call("POST", "/v1/reports/reconciliation?day="+today, m{"statement": "<x/>"}).refused(422, "invalid_request", "statement malformed")
	till.call("POST", "/v1/reports/reconciliation?account=A-1&day="+today, "date,amount\n"+today+",1.00\n", "Content-Type", "text/csv").refused(422, "invalid_request", "account required")
	taken := "/v1/readings/" + till.get("/v1/readings").str("data.0.id")
	till.call("POST", taken+"/approve", nil).refused(409, "not_allowed_in_status")
	till.call("POST", taken+"/reject", nil).refused(409, "not_allowed_in_status")

	as(linking.Agent).get("/v1/merchant").is(200)
	each("changeMerchant", "PATCH", fixed("/v1/merchant"))
	till.call("PATCH", "/v1/merchant", m{"day_ends_at": "25:00"}).refused(422, "invalid_request", "day_ends_at time")
	each("makeKey", "POST", fixed("/v1/keys"), func(_ string, r *reply) {
		till.get("/v1/keys?limit=1").is(200)
		till.call("DELETE", "/v1/keys/"+r.str("id"), nil).is(200)
	})
	till.call("DELETE", "/v1/keys/000000000000", nil).refused(404, "not_found")
	each("makeOutlet", "POST", fixed("/v1/outlets"), func(_ string, r *reply) {
		each("renameOutlet", "PATCH", fixed("/v1/outlets/"+r.str("id")))
	})
	till.get("/v1/outlets").is(200)
	till.get("/v1/names").is(200)
	each("inviteStaff", "POST", fixed("/v1/staff"), func(_ string, r *reply) {
		person := "/v1/staff/" + r.str("id")
		each("changeStaff", "PATCH", fixed(person))
		till.call("POST", person+"/invite", nil).is(200)
		till.get("/v1/staff?limit=1").is(200)
		till.call("DELETE", person, nil).is(200)
		till.call("PATCH", person, m{"name": "x"}).refused(404, "not_found")
	})
	each("prepareDevice", "POST", fixed("/v1/devices"), func(_ string, r *reply) {
		till.get("/v1/devices").is(200)
		till.call("DELETE", "/v1/devices/"+r.str("id"), nil).is(200)
	})
	as(linking.Cashier).call("POST", "/v1/staff", m{"name": "x", "role": "viewer"}).refused(403, "forbidden")
	till.call("PUT", "/v1/merchant/logo", cafeLogo, "Content-Type", "image/svg+xml").is(204)
	till.call("DELETE", "/v1/merchant/logo", nil).is(204)
	as(linking.Manager).get("/v1/keys").refused(403, "forbidden")
	hook := ""
	each("makeWebhook", "POST", fixed("/v1/webhooks"), func(_ string, r *reply) {
		hook = "/v1/webhooks/" + r.str("id")
		if !strings.HasPrefix(r.str("secret"), "whsec_") {
			t.Errorf("a webhook without a secret: %s", r.Body)
		}
	})
	till.get("/v1/webhooks").is(200)
	till.get(hook).is(200).says("secret", nil)
	till.call("POST", hook+"/rotate", nil).is(200)
	each("replayWebhook", "POST", fixed(hook+"/replay"))
	till.call("POST", hook+"/replay", m{"from": 1 << 40}).refused(422, "invalid_request", "from out_of_range")
	till.get(hook + "/attempts").is(200)
	till.call("POST", "/v1/webhooks", m{"url": "http://10.0.0.1/"}).refused(422, "invalid_request", "url url")
	as(linking.Cashier).get("/v1/webhooks").refused(403, "forbidden")
	till.call("DELETE", hook, nil).is(204)
	till.get(hook).refused(404, "not_found")
	till.get("/v1/bank-connections/relay").is(200)
	till.call("POST", "/v1/bank-connections/relay/check", nil).is(200).says("ok", true)
	till.get("/v1/bank-connections/pix").refused(404, "not_found")
	phone.get("/m/"+string(h.shop.id)+"/logo").refused(404, "not_found")
	phone.call("POST", "/callbacks/relay/"+till.get("/v1/bank-connections/relay").str("id"), m{"id": "x"}).refused(401, "unauthorized")
	for _, address := range []string{"/healthz", "/readyz", "/version", "/metrics", "/openapi.yaml"} {
		phone.get(address).is(200)
	}
	phone.get("/docs", "Accept", "text/html").is(200)
	for _, page := range []string{"/till/" + counter(), "/inbox", "/inbox/new", "/inbox/" + id} {
		phone.get(page, "Accept", "text/html").is(200)
	}
	each("putConnection", "PUT", fixed("/v1/bank-connections/relay")) // last: it leads nowhere

	for _, o := range k.operations {
		answered := slices.ContainsFunc(slices.Collect(maps.Keys(k.seen)), func(s string) bool { return strings.HasPrefix(s, o.id+" ") })
		if strings.HasPrefix(o.place, "openapi.json#/paths/~1v1~1") && !answered {
			t.Errorf("nothing called %s (%s): play it in cmd/placard/contract_test.go, best with each(…), so that its answers are held against gateway/openapi.yaml", o.id, o.place)
		}
		if len(k.examplesOf(o.id)) > 0 && !played[o.id] {
			t.Errorf("the examples of %s were not sent: use each(%q, …) in cmd/placard/contract_test.go", o.id, o.id)
		}
	}
}
