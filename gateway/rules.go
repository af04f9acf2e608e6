package gateway

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-playground/validator/v10"

	"placard/linking"
)

// ruleText is how a broken rule is told: a stable code, and a sentence without its
// subject, in which %s is the rule's parameter.
type ruleText struct{ code, message string }

// ruleTexts has every rule that a validate tag may name. Rules on sizes speak of
// characters, entries or values; see sizeText.
var ruleTexts = map[string]ruleText{
	"required":           {"required", "is required"},
	"required_with":      {"required", "is required when %s is given"},
	"required_without":   {"required", "is required when %s is not given"},
	"required_if":        {"required", "is required when %s"},
	"excluded_with":      {"excluded", "cannot be given together with %s"},
	"excluded_without":   {"excluded", "can be given only together with %s"},
	"oneof":              {"not_allowed", "must be one of: %s"},
	"unique":             {"not_unique", "must not name anything twice"},
	"gtfield":            {"too_small", "must be more than %s"},
	"gtefield":           {"too_small", "must not be less than %s"},
	"email":              {"email", "must be an e-mail address"},
	"e164":               {"phone", "must be a phone number with its country code, such as +4930123456"},
	"http_url":           {"url", "must be an http or https address"},
	"timezone":           {"timezone", "must be a time zone of the IANA database, such as Europe/Berlin"},
	"bcp47_language_tag": {"language", "must be a language tag, such as pt-BR"},

	"event_type": {"not_allowed", "must be a type of event"},

	"currency":  {"currency", "must be an ISO 4217 code in capitals, such as EUR"},
	"printable": {"printable", "must be printable ASCII"},
	"text":      {"text", "must be one line without control characters"},
	"multiline": {"text", "must be without control characters"},
	"decimal":   {"decimal", "must be a decimal number written as text, with at most 12 digits before the point and %s after it"},
	"rfc3339":   {"rfc3339", "must be a time in whole seconds such as 2026-11-20T10:00:00Z"},
}

var ownRules = map[string]func(s, param string) bool{
	"currency":   func(s, _ string) bool { _, ok := linking.ParseCurrency(s); return ok },
	"event_type": func(s, _ string) bool { return slices.Contains(linking.EventTypes, linking.EventType(s)) },
	"printable":  func(s, _ string) bool { return printable(s) },
	"text":       func(s, _ string) bool { return readable(s, false) },
	"multiline":  func(s, _ string) bool { return readable(s, true) },
	"decimal":    decimal,
	"rfc3339":    func(s, _ string) bool { _, ok := parseTime(s); return ok },
}

var rules = func() *validator.Validate {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(f reflect.StructField) string {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" && f.Anonymous {
			return lentFields
		}
		return name
	})
	for tag, holds := range ownRules {
		err := v.RegisterValidation(tag, func(f validator.FieldLevel) bool {
			return f.Field().Kind() == reflect.String && holds(f.Field().String(), f.Param())
		})
		if err != nil {
			panic(err)
		}
	}
	return v
}()

// check applies the validate tags of a struct, or of a slice of structs.
func check(value any) error {
	v := reflect.Indirect(reflect.ValueOf(value))
	if v.Kind() != reflect.Slice {
		return invalidIfAny(checkStruct(v.Addr().Interface(), ""))
	}
	var fields []linking.FieldError
	for i := range v.Len() {
		if len(fields) >= maxFieldErrors {
			break
		}
		fields = append(fields, checkStruct(v.Index(i).Addr().Interface(), fmt.Sprintf("[%d].", i))...)
	}
	return invalidIfAny(fields)
}

func invalidIfAny(fields []linking.FieldError) error {
	if len(fields) == 0 {
		return nil
	}
	return invalidFields(fields[:min(len(fields), maxFieldErrors)])
}

func checkStruct(value any, before string) (fields []linking.FieldError) {
	err := rules.Struct(value)
	if err == nil {
		return nil
	}
	broken, ok := errors.AsType[validator.ValidationErrors](err)
	if !ok {
		panic(err) // not a struct: a fault of the handler
	}
	for _, b := range broken {
		text := textOf(b)
		fields = append(fields, linking.FieldError{Field: before + pathOf(b.Namespace()), Code: text.code, Message: text.message})
	}
	return fields
}

func textOf(b validator.FieldError) ruleText {
	text, ok := sizeText(b)
	if !ok {
		text, ok = ruleTexts[b.Tag()]
	}
	if !ok {
		return ruleText{"invalid", "is not valid"}
	}
	if strings.Contains(text.message, "%s") {
		text.message = fmt.Sprintf(text.message, paramOf(b))
	}
	return text
}

// sizeText tells the rules whose meaning depends on what they are put on.
func sizeText(b validator.FieldError) (ruleText, bool) {
	kind := b.Kind()
	unit, short, long := "", "too_small", "too_large"
	switch kind {
	case reflect.String:
		unit, short, long = " characters", "too_short", "too_long"
	case reflect.Slice, reflect.Array, reflect.Map:
		unit, short, long = " entries", "too_few", "too_many"
	}
	switch b.Tag() {
	case "min", "gte":
		return ruleText{short, "must be at least %s" + unit}, true
	case "max", "lte":
		return ruleText{long, "must be at most %s" + unit}, true
	case "gt":
		return ruleText{short, "must be more than %s" + unit}, true
	case "lt":
		return ruleText{long, "must be less than %s" + unit}, true
	case "len":
		return ruleText{"wrong_length", "must be exactly %s" + unit}, true
	}
	return ruleText{}, false
}

// paramOf writes a rule's parameter for people: values in a list, fields by the
// names they have in JSON.
func paramOf(b validator.FieldError) string {
	switch b.Tag() {
	case "oneof":
		return strings.Join(strings.Fields(b.Param()), ", ")
	case "required_if":
		field, value, _ := strings.Cut(b.Param(), " ")
		return snake(field) + " is " + value
	case "required_with", "required_without", "excluded_with", "excluded_without", "gtfield", "gtefield":
		names := strings.Fields(b.Param())
		for i := range names {
			names[i] = snake(names[i])
		}
		return strings.Join(names, " or ")
	case "decimal":
		if b.Param() == "" {
			return "6"
		}
	}
	return b.Param()
}

// snake turns the Go name of a field into its JSON name: ExpiresAt, expires_at.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// lentFields stands in the validator's paths for an embedded struct whose fields
// JSON shows as its outer struct's own.
const lentFields = "*"

// pathOf turns the validator's path into the one of the JSON body. It leaves out
// the name of the root's type, and embedded structs.
func pathOf(namespace string) string {
	var path []string
	depth, start := 0, 0
	for i, r := range namespace + "." {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == '.' && depth == 0:
			if part := namespace[start:i]; start > 0 && part != lentFields {
				path = append(path, part)
			}
			start = i + 1
		}
	}
	return strings.Join(path, ".")
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// readable reports whether s shows what it says: no control characters, no line
// feeds unless lines are allowed, and none of the characters that change the
// direction of what stands beside them (Unicode TR 9), with which a shop's name or
// an amount can be made to read as another.
func readable(s string, lines bool) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		switch {
		case r == '\n' && lines:
		case unicode.IsControl(r), r == '\u2028', r == '\u2029', r == '\ufeff', r == '\ufffd', unicode.Is(unicode.Bidi_Control, r):
			return false
		}
	}
	return true
}

// decimal accepts digits, and a point with digits; param is how many may follow it.
func decimal(s, param string) bool {
	places := 6
	if param != "" {
		if _, err := fmt.Sscanf(param, "%d", &places); err != nil {
			panic("rule decimal=" + param)
		}
	}
	whole, fraction, point := strings.Cut(s, ".")
	digits := func(s string, most int) bool {
		return s != "" && len(s) <= most && strings.Trim(s, "0123456789") == ""
	}
	return digits(whole, 12) && (!point || digits(fraction, places))
}

// parseTime reads an RFC 3339 time in whole seconds; a fraction of zeros is
// forgiven, as JavaScript writes one. It is returned in UTC.
func parseTime(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, s)
	return t.UTC(), err == nil && t.Nanosecond() == 0 && t.Year() > 0
}
