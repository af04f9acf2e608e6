package gateway

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// query reads the parameters of an address, each by what it must be. The handler
// asks for those it knows and then for err, which also refuses what it did not ask
// for: a misspelt filter must not silently list everything.
type query struct {
	values url.Values
	asked  []string
	fields []linking.FieldError
}

// queryOf reads the parameters of c.
func queryOf(c *fiber.Ctx) *query {
	values, err := url.ParseQuery(string(c.Context().URI().QueryString()))
	q := &query{values: values}
	if err != nil {
		q.wrong("query", "malformed", "is not well-formed")
	}
	return q
}

func (q *query) wrong(name, code, message string) {
	q.fields = append(q.fields, linking.FieldError{Field: name, Code: code, Message: message})
}

// one returns the value of a parameter that may be given once.
func (q *query) one(name string) (value string, given bool) {
	q.asked = append(q.asked, name)
	values := q.values[name]
	switch {
	case len(values) == 0:
		return "", false
	case len(values) > 1:
		q.wrong(name, "repeated", "is given more than once")
		return "", false
	}
	return values[0], true
}

// text returns a parameter of at most limit characters that people can read.
func (q *query) text(name string, limit int) string {
	s, given := q.one(name)
	if given && !readable(s, false) {
		q.wrong(name, "text", ruleTexts["text"].message)
		return ""
	}
	if utf8.RuneCountInString(s) > limit {
		q.wrong(name, "too_long", "must be at most "+strconv.Itoa(limit)+" characters")
		return ""
	}
	return s
}

// whole returns a number from least to most; absent if it is not given.
func (q *query) whole(name string, absent, least, most int64) int64 {
	s, given := q.one(name)
	if !given {
		return absent
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < least || n > most {
		q.wrong(name, "out_of_range", "must be a whole number from "+strconv.FormatInt(least, 10)+" to "+strconv.FormatInt(most, 10))
		return absent
	}
	return n
}

// choice returns one of the values allowed; empty if it is not given.
func (q *query) choice(name string, allowed ...string) string {
	s, given := q.one(name)
	if given && !slices.Contains(allowed, s) {
		q.wrong(name, "not_allowed", "must be one of: "+strings.Join(allowed, ", "))
		return ""
	}
	return s
}

// flag returns true or false, or nil if it is not given. The bare name is true.
func (q *query) flag(name string) *bool {
	s, given := q.one(name)
	if !given {
		return nil
	}
	yes := s == "" || s == "true" || s == "1"
	if !yes && s != "false" && s != "0" {
		q.wrong(name, "wrong_type", "must be true or false")
		return nil
	}
	return &yes
}

// moment returns a time; zero if it is not given.
func (q *query) moment(name string) time.Time {
	s, given := q.one(name)
	if !given {
		return time.Time{}
	}
	t, ok := parseTime(s)
	if !ok {
		q.wrong(name, "rfc3339", ruleTexts["rfc3339"].message)
		return time.Time{}
	}
	return t
}

// page returns the parameters of a list: how many, and after which cursor.
func (q *query) page() (limit int, after string) {
	return int(q.whole("limit", 50, 1, 500)), q.text("after", 512)
}

// err returns what is wrong with the parameters, the unknown ones included.
func (q *query) err() error {
	for name := range q.values {
		if !slices.Contains(q.asked, name) {
			q.wrong(short(name), "unknown_parameter", "is not a parameter of this address")
		}
	}
	if len(q.fields) == 0 {
		return nil
	}
	slices.SortStableFunc(q.fields, func(a, b linking.FieldError) int { return strings.Compare(a.Field, b.Field) })
	return invalidFields(q.fields[:min(len(q.fields), maxFieldErrors)])
}

// pathParam returns a parameter of the path as the caller meant it: %20 is a
// blank, and %2F a slash that separates nothing. What cannot be meant names
// nothing, so it is not found.
func pathParam(c *fiber.Ctx, name string) (string, error) {
	s, err := url.PathUnescape(c.Params(name))
	if err != nil || !utf8.ValidString(s) {
		return "", fiber.ErrNotFound
	}
	return s, nil
}
