package gateway

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// maxDepth is how deep lists and objects may be nested. No request of ours needs
// more than four.
const maxDepth = 32

// maxFieldErrors bounds how many wrong fields one answer names.
const maxFieldErrors = 50

// decode reads the JSON body of c into a pointer to a struct, or to a slice of
// structs, and applies the rules of its validate tags. See decodeJSON.
func decode(c *fiber.Ctx, into any) error {
	raw, _, err := bodyOf(c, fiber.MIMEApplicationJSON)
	if err != nil {
		return err
	}
	return decodeJSON(raw, into)
}

// decodeIfAny is decode for a body that may be left out.
func decodeIfAny(c *fiber.Ctx, into any) error {
	if len(c.Context().Request.Body()) == 0 {
		return check(into)
	}
	return decode(c, into)
}

// bodyOf returns the body and its media type, which must be one of types. A body
// that is packed (Content-Encoding) is refused: nobody needs that for 64 KiB, and
// what it unpacks to has no limit.
func bodyOf(c *fiber.Ctx, types ...string) (raw []byte, mediaType string, err error) {
	h := &c.Context().Request.Header
	mediaType, params, err := mime.ParseMediaType(string(h.ContentType()))
	known := false
	for _, t := range types {
		known = known || t == mediaType
	}
	if charset, ok := params["charset"]; err != nil || !known || ok && !strings.EqualFold(charset, "utf-8") {
		return nil, "", &httpFailure{http.StatusUnsupportedMediaType, "unsupported_media_type",
			"The Content-Type must be " + strings.Join(types, " or ") + ", in UTF-8."}
	}
	if len(h.Peek(fiber.HeaderContentEncoding)) > 0 {
		return nil, "", &httpFailure{http.StatusUnsupportedMediaType, "unsupported_media_type",
			"The body must be sent as it is, without a Content-Encoding."}
	}
	return c.BodyRaw(), mediaType, nil
}

// decodeJSON reads raw into the struct, or slice of structs, that into points to.
//
// It is stricter than encoding/json, so that nothing a caller wrote silently does
// nothing: unknown fields and wrong types are refused by the path of the field,
// names match in exactly their case, and numbers must fit. Text that two readers
// could take differently is refused as malformed: a name twice in one object,
// invalid UTF-8, half a surrogate pair, anything after the value, and nesting
// deeper than maxDepth. null means "not given".
func decodeJSON(raw []byte, into any) error {
	if err := wellFormed(raw); err != nil {
		return err
	}
	r := &jsonReader{raw: raw}
	r.blanks()
	if err := r.value(reflect.TypeOf(into).Elem(), nil, 1); err != nil {
		return err
	}
	if len(r.fields) > 0 {
		return invalidFields(r.fields)
	}
	if err := json.Unmarshal(raw, into); err != nil { // only a type's own method is left to refuse
		return invalidFields([]linking.FieldError{{Code: "invalid", Message: "cannot be read"}})
	}
	return check(into)
}

func wellFormed(raw []byte) error {
	if !utf8.Valid(raw) {
		return malformed("The body is not valid UTF-8.")
	}
	var whole json.RawMessage
	err := json.Unmarshal(raw, &whole)
	if err == nil {
		return nil
	}
	if len(raw) == 0 {
		return malformed("The body is empty. It must be JSON.")
	}
	syntax, ok := errors.AsType[*json.SyntaxError](err)
	switch {
	case ok && syntax.Offset < int64(len(raw)):
		return malformed(fmt.Sprintf("The body is not JSON: it is wrong at byte %d.", syntax.Offset))
	default:
		return malformed("The body is not JSON: it ends too early, or wrongly.")
	}
}

func malformed(detail string) *linking.Error {
	return &linking.Error{Kind: linking.Malformed, Code: "malformed", Detail: detail}
}

// invalidFields is the refusal of a request by its fields.
func invalidFields(fields []linking.FieldError) *linking.Error {
	detail := fmt.Sprintf("%d fields are not right.", len(fields))
	if len(fields) == 1 {
		what := fields[0].Field
		if what == "" {
			what = "The body"
		}
		detail = what + " " + fields[0].Message + "."
	}
	return &linking.Error{Kind: linking.Invalid, Code: "invalid_request", Detail: detail, Fields: fields}
}

// place is where a value stands, written out only when there is something to say
// about it.
type place struct {
	in    *place
	name  string
	index int // of a list's element, if name is empty
}

func (p *place) String() string {
	if p == nil {
		return ""
	}
	before := p.in.String()
	switch {
	case p.name == "":
		return before + "[" + strconv.Itoa(p.index) + "]"
	case before == "":
		return p.name
	default:
		return before + "." + p.name
	}
}

// jsonReader goes once through well-formed JSON beside the Go type it is meant
// for, and notes what does not fit.
type jsonReader struct {
	raw    []byte
	pos    int
	fields []linking.FieldError
}

func (r *jsonReader) wrong(at *place, code, message string) {
	if len(r.fields) < maxFieldErrors {
		r.fields = append(r.fields, linking.FieldError{Field: at.String(), Code: code, Message: message})
	}
}

func (r *jsonReader) blanks() {
	for r.pos < len(r.raw) && r.raw[r.pos] <= ' ' {
		r.pos++
	}
}

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	timeType        = reflect.TypeFor[time.Time]()
)

// value reads one value and the blanks after it. t is nil where anything goes.
// An error means that the body as a whole is refused.
func (r *jsonReader) value(t reflect.Type, at *place, depth int) error {
	if depth > maxDepth {
		return malformed(fmt.Sprintf("The body is nested deeper than %d levels.", maxDepth))
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	first, start := r.raw[r.pos], r.pos
	own := t != nil && (t == timeType || reflect.PointerTo(t).Implements(jsonUnmarshaler) || reflect.PointerTo(t).Implements(textUnmarshaler))
	expected := t
	if own {
		expected = nil
	}
	var err error
	switch first {
	case '{':
		err = r.object(expected, at, depth)
	case '[':
		err = r.list(expected, at, depth)
	case '"':
		err = r.text(expected, at)
	default:
		r.literal(expected, at)
	}
	if err != nil {
		return err
	}
	if own && first != 'n' {
		r.own(t, r.raw[start:r.pos], at)
	}
	r.blanks()
	return nil
}

// own lets a type that reads itself say whether it can.
func (r *jsonReader) own(t reflect.Type, raw []byte, at *place) {
	if t == timeType {
		if raw[0] != '"' {
			r.wrong(at, "wrong_type", "must be text")
		} else if _, ok := parseTime(string(raw[1 : len(raw)-1])); !ok {
			r.wrong(at, "rfc3339", ruleTexts["rfc3339"].message)
		}
		return
	}
	if json.Unmarshal(raw, reflect.New(t).Interface()) != nil {
		r.wrong(at, "invalid", "is not valid")
	}
}

func (r *jsonReader) object(t reflect.Type, at *place, depth int) error {
	var fields map[string]reflect.Type
	var element reflect.Type
	isStruct := t != nil && t.Kind() == reflect.Struct
	switch {
	case isStruct:
		fields = fieldsOf(t)
	case t != nil && t.Kind() == reflect.Map:
		element = t.Elem()
	case t != nil && t.Kind() != reflect.Interface:
		r.wrong(at, "wrong_type", "must be "+kindName(t)+", not an object")
		t = nil
	}
	seen := map[string]struct{}{}
	r.pos++ // {
	r.blanks()
	for r.raw[r.pos] != '}' {
		name, err := r.string()
		if err != nil {
			return err
		}
		here := &place{in: at, name: name}
		if _, twice := seen[name]; twice {
			return malformed(fmt.Sprintf("The field %s is given twice.", short(here.String())))
		}
		seen[name] = struct{}{}
		r.blanks()
		r.pos++ // :
		r.blanks()
		expected := element
		if isStruct {
			known := false
			if expected, known = fields[name]; !known {
				r.wrong(&place{in: at, name: short(name)}, "unknown_field", "is not a field of this request")
			}
		}
		if err := r.value(expected, here, depth+1); err != nil {
			return err
		}
		if r.raw[r.pos] == ',' {
			r.pos++
			r.blanks()
		}
	}
	r.pos++ // }
	return nil
}

func (r *jsonReader) list(t reflect.Type, at *place, depth int) error {
	var element reflect.Type
	switch {
	case t == nil || t.Kind() == reflect.Interface:
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Array:
		element = t.Elem()
	default:
		r.wrong(at, "wrong_type", "must be "+kindName(t)+", not a list")
	}
	r.pos++ // [
	r.blanks()
	for i := 0; r.raw[r.pos] != ']'; i++ {
		if err := r.value(element, &place{in: at, index: i}, depth+1); err != nil {
			return err
		}
		if r.raw[r.pos] == ',' {
			r.pos++
			r.blanks()
		}
	}
	r.pos++ // ]
	return nil
}

func (r *jsonReader) text(t reflect.Type, at *place) error {
	if t != nil && t.Kind() != reflect.String && t.Kind() != reflect.Interface {
		r.wrong(at, "wrong_type", "must be "+kindName(t)+", not text")
	}
	_, err := r.string()
	return err
}

// string reads a string and returns what it means.
func (r *jsonReader) string() (string, error) {
	start := r.pos
	escaped := false
	for r.pos++; r.raw[r.pos] != '"'; r.pos++ {
		if r.raw[r.pos] == '\\' {
			escaped = true
			r.pos++
		}
	}
	r.pos++
	quoted := r.raw[start:r.pos]
	if !escaped {
		return string(quoted[1 : len(quoted)-1]), nil
	}
	if halfPair(quoted) {
		return "", malformed("The body holds half of a surrogate pair, which is no character.")
	}
	var s string
	err := json.Unmarshal(quoted, &s)
	return s, err
}

// halfPair reports whether a quoted string has one half of a UTF-16 surrogate pair
// without the other; encoding/json would silently put U+FFFD in its place.
func halfPair(quoted []byte) bool {
	high := false // the last escape was the first half
	for i := 0; i < len(quoted); i++ {
		unit := uint64(0)
		if quoted[i] == '\\' {
			i++
			if quoted[i] == 'u' {
				unit, _ = strconv.ParseUint(string(quoted[i+1:i+5]), 16, 16)
				i += 4
			}
		}
		low := 0xdc00 <= unit && unit < 0xe000
		if high != low {
			return true
		}
		high = 0xd800 <= unit && unit < 0xdc00
	}
	return high
}

// literal reads a number, true, false or null. Null fits everywhere.
func (r *jsonReader) literal(t reflect.Type, at *place) {
	start := r.pos
	for r.pos < len(r.raw) && strings.IndexByte(" \t\r\n,]}", r.raw[r.pos]) < 0 {
		r.pos++
	}
	if t == nil || t.Kind() == reflect.Interface {
		return
	}
	literal := string(r.raw[start:r.pos])
	switch literal[0] {
	case 'n':
		return
	case 't', 'f':
		if t.Kind() != reflect.Bool {
			r.wrong(at, "wrong_type", "must be "+kindName(t)+", not "+literal)
		}
		return
	}
	var err error
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		_, err = strconv.ParseInt(literal, 10, t.Bits())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		_, err = strconv.ParseUint(literal, 10, t.Bits())
	case reflect.Float32, reflect.Float64:
		_, err = strconv.ParseFloat(literal, t.Bits())
	default:
		r.wrong(at, "wrong_type", "must be "+kindName(t)+", not a number")
		return
	}
	switch {
	case errors.Is(err, strconv.ErrRange):
		r.wrong(at, "out_of_range", "does not fit into "+strconv.Itoa(t.Bits())+" bits")
	case err != nil:
		r.wrong(at, "wrong_type", "must be a whole number")
	}
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	default:
		return "a number"
	}
}

// short cuts what a caller sent to what an answer may repeat.
func short(s string) string {
	if len(s) <= 64 {
		return s
	}
	return strings.ToValidUTF8(s[:64], "") + "…"
}

var knownFields sync.Map // reflect.Type → map[string]reflect.Type

// fieldsOf returns the JSON fields of a struct by name. Embedded structs without a
// name of their own lend it their fields.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	if known, ok := knownFields.Load(t); ok {
		return known.(map[string]reflect.Type)
	}
	fields := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case f.Anonymous && name == "":
			maps.Copy(fields, fieldsOf(f.Type))
		case f.IsExported():
			if name == "" {
				name = f.Name
			}
			fields[name] = f.Type
		}
	}
	knownFields.Store(t, fields)
	return fields
}
