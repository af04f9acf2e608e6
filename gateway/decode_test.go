package gateway

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// sample has every shape that requests of ours have.
type sample struct {
	Amount    *int64            `json:"amount" validate:"required_without=Lines,omitempty,min=1,max=1000000000000000"`
	Currency  linking.Currency  `json:"currency" validate:"required,currency"`
	Reference string            `json:"reference" validate:"max=35,text"`
	Sale      string            `json:"sale" validate:"max=64,printable"`
	Note      string            `json:"note" validate:"max=10,multiline"`
	Draft     bool              `json:"draft"`
	Lines     []sampleLine      `json:"lines" validate:"max=3,dive"`
	Customer  *sampleCustomer   `json:"customer"`
	Metadata  map[string]string `json:"metadata" validate:"max=2,dive,keys,printable,max=8,endkeys,max=8"`
	ExpiresAt time.Time         `json:"expires_at"`
	Capture   string            `json:"capture" validate:"omitempty,oneof=auto manual"`
	Grace     uint8             `json:"grace_days"`
	Context   json.RawMessage   `json:"context"`
	Own       hexByte           `json:"own"`
	Anything  any               `json:"anything"`
	Secret    string            `json:"-"`
	shared
}

type shared struct {
	Until string `json:"until" validate:"omitempty,rfc3339"`
}

type sampleLine struct {
	Description string `json:"description" validate:"required,max=80,text"`
	Quantity    string `json:"quantity" validate:"required,decimal=3"`
	UnitPrice   int64  `json:"unit_price" validate:"gte=0"`
}

type sampleCustomer struct {
	Name  string `json:"name" validate:"max=80,text"`
	Email string `json:"email" validate:"omitempty,email"`
}

// hexByte reads itself.
type hexByte byte

func (h *hexByte) UnmarshalText(b []byte) error {
	_, err := fmt.Sscanf(string(b), "%02x", h)
	return err
}

func (h hexByte) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%02x", byte(h)), nil }

const goodSample = `{"amount":1250,"currency":"EUR","reference":"Grüße 東京","sale":"S-1","note":"two\nlines","draft":true,
 "lines":[{"description":"Tea","quantity":"1.5","unit_price":1000}],"customer":{"name":"Ana","email":"ana@example.com"},
 "metadata":{"k":"v"},"expires_at":"2026-11-20T10:00:00+01:00","capture":"manual","grace_days":255,"context":{"free":["form",null]},"own":"ff","anything":[1,{"x":null}],"until":"2026-11-20T10:00:00.000Z"}`

func TestDecodeReadsAll(t *testing.T) {
	var got sample
	if err := decodeJSON([]byte(goodSample), &got); err != nil {
		t.Fatal(err)
	}
	amount := int64(1250)
	want := sample{
		Amount: &amount, Currency: "EUR", Reference: "Grüße 東京", Sale: "S-1", Note: "two\nlines", Draft: true,
		Lines:    []sampleLine{{"Tea", "1.5", 1000}},
		Customer: &sampleCustomer{"Ana", "ana@example.com"}, Metadata: map[string]string{"k": "v"},
		Capture: "manual", Grace: 255, Context: json.RawMessage(`{"free":["form",null]}`), Own: 0xff,
		Anything: []any{1.0, map[string]any{"x": nil}}, shared: shared{"2026-11-20T10:00:00.000Z"},
	}
	if !got.ExpiresAt.Equal(time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)) {
		t.Errorf("expires at %v", got.ExpiresAt)
	}
	got.ExpiresAt = time.Time{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// null means "not given", wherever it stands.
func TestDecodeNull(t *testing.T) {
	var got sample
	err := decodeJSON([]byte(`{"amount":5,"currency":"EUR","reference":null,"draft":null,"lines":null,"customer":null,"metadata":null,"expires_at":null,"grace_days":null,"context":null,"anything":null}`), &got)
	if err != nil || got.Reference != "" || got.Lines != nil || got.Customer != nil {
		t.Errorf("%v %+v", err, got)
	}
	if err := decodeJSON([]byte(`null`), &got); !linking.IsKind(err, linking.Invalid) && err != nil {
		t.Errorf("null alone: %v", err)
	}
}

// with returns goodSample's essentials with one field more, or another one.
func with(field, value string) string {
	if field == "currency" {
		return fmt.Sprintf(`{"amount":1,"currency":%s}`, value)
	}
	if field == "amount" {
		return fmt.Sprintf(`{"currency":"EUR","amount":%s}`, value)
	}
	return fmt.Sprintf(`{"amount":1,"currency":"EUR",%q:%s}`, field, value)
}

func TestDecodeNamesTheField(t *testing.T) {
	line := func(fields string) string {
		return `[{"description":"a","quantity":"1","unit_price":1},{` + fields + `}]`
	}
	for _, tt := range []struct {
		name, body  string
		field, code string
	}{
		{"unknown", with("amonut", "1"), "amonut", "unknown_field"},
		{"other case", with("Reference", `"x"`), "Reference", "unknown_field"},
		{"Go's name", with("ExpiresAt", `"x"`), "ExpiresAt", "unknown_field"},
		{"hidden field", with("Secret", `"x"`), "Secret", "unknown_field"},
		{"hidden field's tag", with("-", `"x"`), "-", "unknown_field"},
		{"embedded struct's name", with("shared", `{"until":"x"}`), "shared", "unknown_field"},
		{"unknown inside", with("lines", line(`"description":"a","quantity":"1","price":1`)), "lines[1].price", "unknown_field"},
		{"unknown in an object", with("customer", `{"nmae":"x"}`), "customer.nmae", "unknown_field"},
		{"escaped name", with("customer", `{"n\u0061me":1}`), "customer.name", "wrong_type"},

		{"text for a number", with("amount", `"1250"`), "amount", "wrong_type"},
		{"fraction", with("amount", `12.5`), "amount", "wrong_type"},
		{"whole fraction", with("amount", `12.0`), "amount", "wrong_type"},
		{"exponent", with("amount", `1e3`), "amount", "wrong_type"},
		{"too large for 64 bits", with("amount", `9223372036854775808`), "amount", "out_of_range"},
		{"far too large", with("amount", strings.Repeat("9", 400)), "amount", "out_of_range"},
		{"too large for 8 bits", with("grace_days", `256`), "grace_days", "out_of_range"},
		{"negative for unsigned", with("grace_days", `-1`), "grace_days", "wrong_type"},
		{"number for text", with("reference", `1`), "reference", "wrong_type"},
		{"list for text", with("reference", `["x"]`), "reference", "wrong_type"},
		{"object for text", with("reference", `{"x":1}`), "reference", "wrong_type"},
		{"text for a flag", with("draft", `"true"`), "draft", "wrong_type"},
		{"number for a flag", with("draft", `1`), "draft", "wrong_type"},
		{"flag for text", with("reference", `true`), "reference", "wrong_type"},
		{"object for a list", with("lines", `{"0":{}}`), "lines", "wrong_type"},
		{"text for an object", with("customer", `"Ana"`), "customer", "wrong_type"},
		{"list for an object", with("customer", `[]`), "customer", "wrong_type"},
		{"number in a map", with("metadata", `{"k":1}`), "metadata.k", "wrong_type"},
		{"number in a list of objects", with("lines", `[1]`), "lines[0]", "wrong_type"},
		{"number for a time", with("expires_at", `1790000000`), "expires_at", "wrong_type"},
		{"no time", with("expires_at", `"tomorrow"`), "expires_at", "rfc3339"},
		{"time with a fraction", with("expires_at", `"2026-11-20T10:00:00.5Z"`), "expires_at", "rfc3339"},
		{"time without a zone", with("expires_at", `"2026-11-20T10:00:00"`), "expires_at", "rfc3339"},
		{"a type's own reading", with("own", `"zz"`), "own", "invalid"},
		{"the root", `[]`, "", "wrong_type"},
		{"the root as text", `"x"`, "", "wrong_type"},

		{"required", `{"amount":1}`, "currency", "required"},
		{"one or the other", `{"currency":"EUR"}`, "amount", "required"},
		{"too small", with("amount", "0"), "amount", "too_small"},
		{"too large", with("amount", "1000000000000001"), "amount", "too_large"},
		{"no currency", with("currency", `"EURO"`), "currency", "currency"},
		{"currency in lower case", with("currency", `"eur"`), "currency", "currency"},
		{"a currency that is none", with("currency", `"XTS"`), "currency", "currency"},
		{"too long by one", with("reference", `"`+strings.Repeat("ü", 36)+`"`), "reference", "too_long"},
		{"line feed in a line", with("reference", `"a\nb"`), "reference", "text"},
		{"NUL", with("reference", `"a\u0000b"`), "reference", "text"},
		{"escape", with("reference", `"a\u001bb"`), "reference", "text"},
		{"C1 control", with("reference", `"a\u0085b"`), "reference", "text"},
		{"right-to-left override", with("reference", `"a\u202eb"`), "reference", "text"},
		{"isolate", with("reference", `"a\u2066b"`), "reference", "text"},
		{"line separator", with("reference", `"a\u2028b"`), "reference", "text"},
		{"override in prose", with("note", `"a\u202eb"`), "note", "text"},
		{"return in prose", with("note", `"a\rb"`), "note", "text"},
		{"not ASCII", with("sale", `"Grüße"`), "sale", "printable"},
		{"not printable", with("sale", `"a\tb"`), "sale", "printable"},
		{"missing inside", with("lines", line(`"quantity":"1","unit_price":1`)), "lines[1].description", "required"},
		{"negative price", with("lines", line(`"description":"a","quantity":"1","unit_price":-1`)), "lines[1].unit_price", "too_small"},
		{"decimal with too many places", with("lines", line(`"description":"a","quantity":"1.2345","unit_price":1`)), "lines[1].quantity", "decimal"},
		{"too many lines", with("lines", `[{"description":"a","quantity":"1"},{"description":"a","quantity":"1"},{"description":"a","quantity":"1"},{"description":"a","quantity":"1"}]`), "lines", "too_many"},
		{"e-mail", with("customer", `{"email":"ana"}`), "customer.email", "email"},
		{"too many entries", with("metadata", `{"a":"","b":"","c":""}`), "metadata", "too_many"},
		{"long key", with("metadata", `{"a.long.key":""}`), "metadata[a.long.key]", "too_long"},
		{"long value", with("metadata", `{"k.K":"123456789"}`), "metadata[k.K]", "too_long"},
		{"choice", with("capture", `"later"`), "capture", "not_allowed"},
		{"embedded", with("until", `"later"`), "until", "rfc3339"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var into sample
			err := decodeJSON([]byte(tt.body), &into)
			e, ok := errors.AsType[*linking.Error](err)
			if !ok || e.Kind != linking.Invalid || e.Code != "invalid_request" || len(e.Fields) != 1 {
				t.Fatalf("%#v", err)
			}
			if f := e.Fields[0]; f.Field != tt.field || f.Code != tt.code || f.Message == "" || strings.Contains(f.Message, "%") || strings.Contains(f.Message, "is not valid") && tt.code != "invalid" {
				t.Errorf("got %+v, want %s %s", f, tt.field, tt.code)
			}
		})
	}
}

func TestDecodeNamesAllFields(t *testing.T) {
	var into sample
	err := decodeJSON([]byte(`{"a":1,"lines":[{"b":1,"description":2}],"currency":true}`), &into)
	e, _ := errors.AsType[*linking.Error](err)
	var got []string
	for _, f := range e.Fields {
		got = append(got, f.Field)
	}
	if want := []string{"a", "lines[0].b", "lines[0].description", "currency"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	var many strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&many, `,"unknown%d":1`, i)
	}
	err = decodeJSON([]byte(`{"currency":"EUR"`+many.String()+`}`), &into)
	if e, _ := errors.AsType[*linking.Error](err); len(e.Fields) != maxFieldErrors {
		t.Errorf("%d fields named of a thousand", len(e.Fields))
	}
}

func TestDecodeMessages(t *testing.T) {
	for body, want := range map[string]string{
		`{"currency":"EUR"}`: "amount is required when lines is not given.",
		with("reference", `"`+strings.Repeat("x", 36)+`"`): "reference must be at most 35 characters.",
		with("capture", `"x"`):                             "capture must be one of: auto, manual.",
		with("metadata", `{"a":"","b":"","c":""}`):         "metadata must be at most 2 entries.",
		with("amount", "0"):                                "amount must be at least 1.",
		with("amonut", "0"):                                "amonut is not a field of this request.",
		`[]`:                                               "The body must be an object, not a list.",
	} {
		var into sample
		if err := decodeJSON([]byte(body), &into); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
}

func TestDecodeList(t *testing.T) {
	var lines []sampleLine
	if err := decodeJSON([]byte(`[{"description":"a","quantity":"1"},{"description":"b","quantity":"2"}]`), &lines); err != nil || len(lines) != 2 {
		t.Errorf("%v %v", err, lines)
	}
	lines = nil
	err := decodeJSON([]byte(`[{"description":"a","quantity":"1"},{"quantity":"2"}]`), &lines)
	if e, _ := errors.AsType[*linking.Error](err); e == nil || e.Fields[0].Field != "[1].description" {
		t.Errorf("%v", err)
	}
	err = decodeJSON([]byte(`[{"description":"a","quantity":"1"},{"qty":"2"}]`), &lines)
	if e, _ := errors.AsType[*linking.Error](err); e == nil || e.Fields[0].Field != "[1].qty" {
		t.Errorf("%v", err)
	}
}

var malformedBodies = map[string]string{
	"empty":                  ``,
	"blank":                  ` `,
	"not JSON":               `amount=1`,
	"XML":                    `<amount>1</amount>`,
	"cut off":                `{"currency":"EUR"`,
	"trailing data":          `{"currency":"EUR"}{}`,
	"trailing comma":         `{"currency":"EUR",}`,
	"single quotes":          `{'currency':'EUR'}`,
	"comment":                `{"currency":"EUR"}//`,
	"NaN":                    `{"amount":NaN}`,
	"leading zero":           `{"amount":01}`,
	"plus":                   `{"amount":+1}`,
	"byte order mark":        "\ufeff{}",
	"UTF-16":                 "\xff\xfe{\x00}\x00",
	"invalid UTF-8":          "{\"reference\":\"\xff\"}",
	"overlong UTF-8":         "{\"reference\":\"\xc0\xaf\"}",
	"control in text":        "{\"reference\":\"a\x01\"}",
	"half a pair":            `{"reference":"\ud83d"}`,
	"other half of a pair":   `{"reference":"\udc00"}`,
	"pair the wrong way":     `{"reference":"\udc00\ud83d"}`,
	"half a pair, then more": `{"reference":"\ud83dx\ude00"}`,
	"half a pair as a name":  `{"\ud83d":1}`,
	"twice":                  `{"amount":1,"currency":"EUR","amount":2}`,
	"twice, escaped":         `{"amount":1,"currency":"EUR","\u0061mount":2}`,
	"twice inside":           `{"customer":{"name":"a","name":"b"}}`,
	"twice in free form":     `{"context":{"a":{"b":1,"b":2}}}`,
	"33 levels":              strings.Repeat("[", 33) + strings.Repeat("]", 33),
	"33 levels in free form": `{"context":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`,
	"33 objects":             strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33),
	"100,000 levels":         strings.Repeat("[", 100_000),
	"100,000 objects":        strings.Repeat(`{"a":`, 100_000),
}

func TestDecodeRefusesWhatReadersMayTakeDifferently(t *testing.T) {
	for name, body := range malformedBodies {
		var into sample
		if err := decodeJSON([]byte(body), &into); !linking.IsKind(err, linking.Malformed) || !linking.IsCode(err, "malformed") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, body := range map[string]string{
		"32 levels":   `{"amount":1,"currency":"EUR","context":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}`,
		"a pair":      with("reference", `"\ud83d\ude00 \uD83D\uDE00"`),
		"a backslash": with("reference", `"\\ud83d \"\\"`),
		"blanks":      " \t\r\n" + with("reference", "\r\n\t \"x\" ") + "\n",
	} {
		var into sample
		if err := decodeJSON([]byte(body), &into); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The whole way: what may be sent as a body, and what each refusal costs.
func TestBodies(t *testing.T) {
	g := startGateway(t, Config{}, func(s *Server) {
		s.app.Post("/", func(c *fiber.Ctx) error {
			var into sample
			if err := decode(c, &into); err != nil {
				return err
			}
			return c.SendString("decoded")
		})
	})
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	z.Write(bytes.Repeat([]byte{' '}, 50<<20))
	z.Close()
	if bomb.Len() > bodyLimit {
		t.Fatalf("the bomb is %d bytes", bomb.Len())
	}
	const mime = "application/json"
	good := with("note", `"x"`)
	for _, tt := range []struct {
		name, body string
		header     []string
		status     int
		code       string
	}{
		{"good", good, []string{"Content-Type", mime}, 200, ""},
		{"charset", good, []string{"Content-Type", "Application/JSON; charset=UTF-8"}, 200, ""},
		{"other charset", good, []string{"Content-Type", mime + "; charset=latin1"}, 415, "unsupported_media_type"},
		{"no type", good, nil, 415, "unsupported_media_type"},
		{"form", "amount=1", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"},
		{"text", good, []string{"Content-Type", "text/plain"}, 415, "unsupported_media_type"},
		{"multipart", "--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"a\"\r\n\r\nb\r\n--x--\r\n", []string{"Content-Type", "multipart/form-data; boundary=x"}, 415, "unsupported_media_type"},
		{"broken multipart", "--y", []string{"Content-Type", "multipart/form-data; boundary=x"}, 415, "unsupported_media_type"},
		{"broken type", good, []string{"Content-Type", "application/json; ="}, 415, "unsupported_media_type"},
		{"gzip bomb", bomb.String(), []string{"Content-Type", mime, "Content-Encoding", "gzip"}, 415, "unsupported_media_type"},
		{"gzip bomb in disguise", bomb.String(), []string{"Content-Type", mime}, 400, "malformed"},
		{"brotli", "x", []string{"Content-Type", mime, "Content-Encoding", "br"}, 415, "unsupported_media_type"},
		{"identity", good, []string{"Content-Type", mime, "Content-Encoding", "identity"}, 415, "unsupported_media_type"},
		{"64 KiB", good + strings.Repeat(" ", bodyLimit-len(good)), []string{"Content-Type", mime}, 200, ""},
		{"a byte more", good + strings.Repeat(" ", bodyLimit-len(good)+1), []string{"Content-Type", mime}, 413, "too_large"},
		{"deep", strings.Repeat("[", bodyLimit), []string{"Content-Type", mime}, 400, "malformed"},
		{"30,000 elements", `{"lines":[` + strings.Repeat("1,", 30_000) + `1]}`, []string{"Content-Type", mime}, 422, "invalid_request"},
		{"10,000 names", `{"context":{` + manyNames(5000) + `}}`, []string{"Content-Type", mime}, 422, "invalid_request"},
		{"invalid UTF-8", "{\"reference\":\"\xff\"}", []string{"Content-Type", mime}, 400, "malformed"},
		{"a number of 60,000 digits", with("amount", strings.Repeat("9", 60_000)), []string{"Content-Type", mime}, 422, "invalid_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			resp, body := do(t, "POST", g.url+"/", tt.body, tt.header...)
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			if tt.status == 200 {
				if resp.StatusCode != 200 || body != "decoded" {
					t.Errorf("%d %s", resp.StatusCode, body)
				}
			} else if doc := mustBeProblem(t, resp, body, tt.status, tt.code); len(body) > 16<<10 {
				t.Errorf("an answer of %d bytes: %.300s", len(body), doc)
			}
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 20<<20 {
				t.Errorf("%d bytes allocated", allocated)
			}
			t.Logf("%v, %d bytes allocated", took, after.TotalAlloc-before.TotalAlloc)
			for _, never := range []string{"gzip:", "fasthttp", "json:", "invalid character", "Key:", "mime:"} {
				if strings.Contains(body, never) {
					t.Errorf("a library speaks: %s", body)
				}
			}
		})
	}
}

func TestBodyThatMayBeLeftOut(t *testing.T) {
	g := startGateway(t, Config{}, func(s *Server) {
		s.app.Post("/cancel", func(c *fiber.Ctx) error {
			var into struct {
				Reason string `json:"reason" validate:"max=5"`
			}
			if err := decodeIfAny(c, &into); err != nil {
				return err
			}
			return c.SendString("reason " + into.Reason)
		})
	})
	if resp, body := do(t, "POST", g.url+"/cancel", ""); resp.StatusCode != 200 || body != "reason " {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, body := do(t, "POST", g.url+"/cancel", `{"reason":"cash"}`, "Content-Type", "application/json"); resp.StatusCode != 200 || body != "reason cash" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	resp, body := do(t, "POST", g.url+"/cancel", `{"reason":"cash"}`)
	mustBeProblem(t, resp, body, 415, "unsupported_media_type")
	resp, body = do(t, "POST", g.url+"/cancel", " ", "Content-Type", "application/json")
	mustBeProblem(t, resp, body, 400, "malformed")
}

func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"n%d":%d`, i, i)
	}
	return b.String()
}

// FuzzDecode: no body makes the decoder panic, and what it accepts encoding/json
// reads to the same value and this decoder accepts again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(goodSample))
	for _, body := range malformedBodies {
		if len(body) < 1000 {
			f.Add([]byte(body))
		}
	}
	f.Add([]byte(`{"currency":"EUR","amount":1,"context":{"a":[1,-2.5e10,"\u00e9\\\"",true,null]},"metadata":{"":""}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var got sample
		err := decodeJSON(body, &got)
		if err != nil {
			if !linking.IsKind(err, linking.Malformed) && !linking.IsKind(err, linking.Invalid) {
				t.Fatalf("%v", err)
			}
			return
		}
		var want sample
		strict := json.NewDecoder(bytes.NewReader(body))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&want); err != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, encoding/json %+v", got, want)
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if got.ExpiresAt.IsZero() {
			return // a zero time is written with a year that is not read
		}
		var twice sample
		if err := decodeJSON(again, &twice); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		var into sample
		if err := decodeJSON([]byte(goodSample), &into); err != nil {
			b.Fatal(err)
		}
	}
}
