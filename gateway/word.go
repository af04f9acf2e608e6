package gateway

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// readForm reads a small form or a JSON object of strings; names are the fields there
// may be.
func readForm(c *fiber.Ctx, into any, fields map[string]*string) error {
	raw, mediaType, err := bodyOf(c, fiber.MIMEApplicationJSON, fiber.MIMEApplicationForm)
	if err != nil {
		return err
	}
	if mediaType != fiber.MIMEApplicationForm {
		return decodeJSON(raw, into)
	}
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		return malformed("The form cannot be read.")
	}
	for name, values := range form {
		field := fields[name]
		switch {
		case field == nil:
			return invalidFields([]linking.FieldError{{Field: short(name), Code: "unknown_field", Message: "is not a field of this request"}})
		case len(values) != 1:
			return malformed("A field of the form is given more than once.")
		}
		*field = values[0]
	}
	return check(into)
}

// wordBody is a try at the word, from a form or as JSON.
type wordBody struct {
	S       string `json:"s" validate:"required,printable,max=64"`
	Pairing string `json:"pairing" validate:"required,printable,max=40"`
}

// word answers POST /q/{token}/word: the payer proves to stand at the till.
func (a *api) word(c *fiber.Ctx) error {
	id, ok := tokenParam(c)
	if !ok {
		return a.noSuchCode(c)
	}
	if err := a.slowed(c); err != nil && !a.svc.KnowsRing(id) {
		return err
	}
	var in wordBody
	var digits, picture string
	fields := map[string]*string{"s": &in.S, "pairing": &in.Pairing, "digits": &digits, "picture": &picture}
	if isForm(c) { // the page sends the two halves
		in.Pairing = "-"
	}
	if err := readForm(c, &in, fields); err != nil {
		return err
	}
	if digits != "" || picture != "" {
		in.Pairing = digits + " " + picture
	}
	pairing, ok := linking.ParsePairing(in.Pairing)
	if !ok {
		return invalidFields([]linking.FieldError{{Field: "pairing", Code: "pairing", Message: `must be two digits, a blank and the name of a picture, such as "47 kite"`}})
	}
	v, right, err := a.svc.TryWord(c.UserContext(), id, linking.WordCommand{Scan: in.S, Pairing: pairing})
	if v != nil && v.Seen.Resolution == linking.NoSuchCode {
		return a.noSuchCode(c)
	}
	if err != nil {
		return unavailable(err)
	}
	if err := notHere(v); err != nil {
		return err
	}
	if wantsPage(c) {
		page := &payerView{View: v}
		if !right && v.Seen.Resolution == linking.Payable {
			page.notice = "word_wrong"
		}
		return a.payerPage(c, page, http.StatusOK)
	}
	return sendScan(c, v)
}

func isForm(c *fiber.Ctx) bool {
	return strings.HasPrefix(c.Get(fiber.HeaderContentType), fiber.MIMEApplicationForm)
}

// promiseBody is where a payer wants to be told.
type promiseBody struct {
	Email string `json:"email" validate:"max=254"`
	Phone string `json:"phone" validate:"max=30"`
}

// promise answers POST /q/{token}/notify: a payer of a bill without an amount leaves
// word where to tell him. The answer never says what anybody left.
func (a *api) promise(c *fiber.Ctx) error {
	id, ok := tokenParam(c)
	if !ok {
		return a.noSuchCode(c)
	}
	if err := a.slowed(c); err != nil && !a.svc.KnowsRing(id) {
		return err
	}
	var in promiseBody
	if err := readForm(c, &in, map[string]*string{"email": &in.Email, "phone": &in.Phone}); err != nil {
		return err
	}
	p := linking.Promise{Email: in.Email, Phone: in.Phone, Language: a.payerWords.languageOf(c, nil).tag}
	v, err := a.svc.LeavePromise(c.UserContext(), id, p)
	if v != nil && v.Seen.Resolution == linking.NoSuchCode {
		return a.noSuchCode(c)
	}
	if !wantsPage(c) {
		if err != nil {
			return unavailable(err)
		}
		return c.JSON(struct {
			Resolution linking.Resolution `json:"resolution"`
			Noted      bool               `json:"noted"`
		}{v.Seen.Resolution, true})
	}
	page, status := &payerView{View: v}, http.StatusOK
	if e, ok := errors.AsType[*linking.Error](err); ok && v != nil && v.Merchant != nil && v.Sealed != "" {
		switch e.Kind {
		case linking.Invalid:
			page.notice, status = "notify_wrong", http.StatusUnprocessableEntity
		case linking.Limited:
			page.notice, status = "notify_full", http.StatusTooManyRequests
		case linking.Conflict: // what the page shows now says why
			status = http.StatusConflict
		default:
			return unavailable(err)
		}
		return a.payerPage(c, page, status)
	}
	if err != nil {
		return unavailable(err)
	}
	page.told = true
	return a.payerPage(c, page, status)
}
