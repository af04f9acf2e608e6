package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// refreshEach is how often a page without a stream asks again.
const refreshEach = 5 * time.Second

// basePath is where a view's page lives.
func basePath(v *linking.View) string {
	if strings.HasPrefix(string(v.Token), "/") {
		return string(v.Token) // a request's own page
	}
	return "/q/" + string(v.Token)
}

// appendScan writes what a scan yields as JSON. Amounts appear only where the domain
// shows them. It is the one view that is written by hand: every scan is answered by it.
func appendScan(b []byte, v *linking.View) []byte {
	b = append(b, `{"resolution":`...)
	b = appendText(b, string(v.Seen.Resolution))
	if v.Request == nil {
		b = append(b, `,"token":`...)
		b = appendText(b, string(v.Token))
	}
	b = append(b, `,"epoch":`...)
	b = strconv.AppendUint(b, v.Seen.Scan.Epoch, 10)
	if v.Sealed != "" {
		b = append(b, `,"s":`...)
		b = appendText(b, v.Sealed)
	}
	b = append(b, `,"server_time":`...)
	b = appendStamp(b, v.At)
	b = append(b, `,"refresh_after_ms":`...)
	b = strconv.AppendInt(b, refreshEach.Milliseconds(), 10)
	if m := v.Merchant; m != nil {
		b = append(b, `,"merchant":{"name":`...)
		b = appendText(b, m.Name)
		b = append(b, `,"outlet":null,"logo_url":`...)
		if m.HasLogo {
			b = append(b, `"/m/`...)
			b = append(b, m.ID...)
			b = append(b, `/logo"`...)
		} else {
			b = append(b, "null"...)
		}
		b = append(b, `,"contact":`...)
		b = appendOrNull(b, m.Contact)
		if m.Mode == linking.Test {
			b = append(b, `,"test":true`...)
		}
		b = append(b, '}')
	}
	if r := v.Seen.Request; r != nil {
		b = appendSeenRequest(b, v, r)
	}
	if v.Seen.Slow {
		b = append(b, `,"slow":true`...)
	}
	if v.Seen.Reason != "" {
		b = append(b, `,"reason":`...)
		b = appendText(b, string(v.Seen.Reason))
	}
	if !v.Seen.On.IsZero() {
		b = append(b, `,"settled_on":`...)
		b = appendStamp(b, v.Seen.On)
	}
	return append(b, '}')
}

func appendSeenRequest(b []byte, v *linking.View, r *linking.SeenRequest) []byte {
	b = append(b, `,"request":{"reference":`...)
	b = appendText(b, r.Reference)
	b = append(b, `,"revision":`...)
	b = strconv.AppendInt(b, int64(r.Revision), 10)
	b = append(b, `,"amount":`...)
	b = strconv.AppendInt(b, int64(r.Money.Amount), 10)
	b = append(b, `,"currency":`...)
	b = appendText(b, string(r.Money.Currency))
	b = append(b, `,"expires_at":`...)
	b = appendStamp(b, r.ExpiresAt)
	switch {
	case v.Choices != nil:
		b = append(b, `,"pairing_choices":[`...)
		for i, p := range v.Choices {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendText(b, linking.Pictures[p])
		}
		b = append(b, ']')
	case v.Code != nil:
		b = append(b, `,"pairing":`...)
		b = appendText(b, v.Pairing.String())
	}
	b = append(b, `,"lines":`...)
	if len(r.Lines) == 0 {
		b = append(b, "[]"...)
	} else {
		b = append(b, encode(viewLines(r.Lines, r.VATExtra))...)
	}
	if !r.PaidAt.IsZero() {
		b = append(b, `,"paid_at":`...)
		b = appendStamp(b, r.PaidAt)
	}
	if v.Seen.Resolution == linking.PaidHere {
		b = append(b, `,"receipt_url":"/p/`...)
		b = append(b, v.Page...)
		b = append(b, `/receipt"`...)
	}
	b = append(b, '}')
	if v.Seen.Resolution == linking.Payable {
		b = append(b, `,"pay":{"url":`...)
		b = appendText(b, basePath(v)+"/pay")
		b = append(b, `,"methods":[`...)
		for i, m := range r.Methods {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendText(b, m)
		}
		b = append(b, "]}"...)
	}
	return b
}

// appendText writes s as a JSON string. What is plain ASCII, as nearly everything is,
// is copied; the rest is left to encoding/json.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return append(b, encode(s)...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendOrNull(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendText(b, s)
}

// appendStamp writes a time in the API's form, or null for none.
func appendStamp(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, "2006-01-02T15:04:05Z")
	return append(b, '"')
}

// sendScan answers with a view as JSON.
func sendScan(c *fiber.Ctx, v *linking.View) error {
	c.Context().Response.Header.SetContentType(fiber.MIMEApplicationJSON)
	c.Context().Response.SetBodyRaw(appendScan(make([]byte, 0, 768), v))
	return nil
}

// notHere is the refusal of a scan that leads to no page: 404, 410 or 503, each with
// the resolution.
func notHere(v *linking.View) error {
	with := map[string]any{"resolution": v.Seen.Resolution}
	switch v.Seen.Resolution {
	case linking.NoSuchCode:
		return &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "This is no code of ours. Nothing can be paid here.", With: with}
	case linking.OutOfUse, linking.Superseded:
		detail := "This code is out of use. Nothing can be paid here."
		if v.Seen.Resolution == linking.Superseded {
			detail = "A newer code has taken the place of this one. Use the newer one."
		}
		if v.Merchant != nil && v.Merchant.Contact != "" {
			with["contact"] = v.Merchant.Contact
		}
		return &linking.Error{Kind: linking.Gone, Code: "gone", Detail: detail, With: with}
	}
	return nil
}

// unavailable is what a payer is told when the store does not answer.
func unavailable(err error) error {
	if !linking.IsCode(err, "store_unavailable") {
		return err
	}
	return &linking.Error{Kind: linking.Unavailable, Code: "store_unavailable", Detail: "Nothing can be shown at this moment, and nothing was taken. Please try again.",
		With: map[string]any{"resolution": linking.NoAnswer}, Retry: 2, Err: err}
}

// noSuchCode answers for a token that no code has; who asks for many is slowed down.
func (a *api) noSuchCode(c *fiber.Ctx) error {
	if retry, ok := a.unknown.take(limitPrefix(callOf(c).from), time.Now()); !ok {
		return &linking.Error{Kind: linking.Limited, Code: "rate_limited", Detail: "Too many codes that do not exist were asked for.", Retry: retry}
	}
	return notHere(&linking.View{Seen: linking.Seen{Resolution: linking.NoSuchCode}})
}

// slowed refuses who has just asked for too many codes that do not exist, before the
// store is asked about one more.
func (a *api) slowed(c *fiber.Ctx) error {
	if retry, blocked := a.unknown.blocked(limitPrefix(callOf(c).from), time.Now()); blocked {
		return &linking.Error{Kind: linking.Limited, Code: "rate_limited", Detail: "Too many codes that do not exist were asked for.", Retry: retry}
	}
	return nil
}

// human reports whether somebody is likely to look at the answer: previews, mail
// scanners and prefetching browsers are not somebody.
func (a *api) human(c *fiber.Ctx) bool {
	h := &c.Context().Request.Header
	if !h.IsGet() {
		return false
	}
	for _, name := range [...]string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		if v := h.Peek(name); len(v) > 0 && (bytes.Contains(v, []byte("prefetch")) || bytes.Contains(v, []byte("preview")) || bytes.Contains(v, []byte("prerender"))) {
			return false
		}
	}
	return a.agents.human(h.UserAgent())
}

// agents remembers which User-Agents are programs: there are many pieces to look for,
// and few User-Agents.
type agents struct {
	mu   sync.RWMutex
	seen map[string]bool
}

func (a *agents) human(agent []byte) bool {
	a.mu.RLock()
	is, known := a.seen[string(agent)]
	a.mu.RUnlock()
	if known {
		return is
	}
	lower := strings.ToLower(string(agent))
	is = !slices.ContainsFunc(botAgents, func(bot string) bool { return strings.Contains(lower, bot) })
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seen == nil || len(a.seen) >= 4096 {
		a.seen = map[string]bool{}
	}
	a.seen[string(agent)] = is
	return is
}

// botAgents are pieces of what preview and scanning programs call themselves.
var botAgents = []string{
	"bot", "crawler", "spider", "preview", "facebookexternalhit", "whatsapp", "slack", "telegram", "discord", "skypeuri",
	"twitter", "linkedin", "embedly", "pinterest", "vkshare", "bitly", "outbrain", "safelinks", "mimecast", "proofpoint",
	"barracuda", "symantec", "google-safety", "googleother", "headless-scan", "viber", "line-poker", "snap url",
}

// scan answers GET /q/{token}.
func (a *api) scan(c *fiber.Ctx) error {
	v, err := a.scanned(c)
	if err != nil {
		return err
	}
	if wantsPage(c) {
		return a.payerPage(c, &payerView{View: v}, http.StatusOK)
	}
	return sendScan(c, v)
}

func wantsPage(c *fiber.Ctx) bool {
	return c.Accepts(fiber.MIMEApplicationJSON, fiber.MIMETextHTML) == fiber.MIMETextHTML
}

func (a *api) scanned(c *fiber.Ctx) (*linking.View, error) {
	id, ok := tokenParam(c)
	if !ok {
		return nil, a.noSuchCode(c)
	}
	if err := a.slowed(c); err != nil && !a.svc.KnowsRing(id) {
		return nil, err
	}
	v, err := a.svc.Scan(c.UserContext(), id, c.Query("s"), a.human(c))
	if err != nil {
		return nil, unavailable(err)
	}
	if v.Seen.Resolution == linking.NoSuchCode {
		return nil, a.noSuchCode(c)
	}
	if v.Merchant != nil {
		callOf(c).merchant = v.Merchant.ID
	}
	return v, notHere(v)
}

// scanEvents streams what one scan sees, as it changes.
func (a *api) scanEvents(c *fiber.Ctx) error {
	v, err := a.scanned(c)
	if err != nil {
		return err
	}
	id, s := v.Token, v.Sealed
	return a.watchScan(c, s, func(ctx context.Context, s string) (*linking.View, error) { return a.svc.Scan(ctx, id, s, true) },
		func(wake func()) func() { return a.svc.WatchScan(id, s, wake) })
}

// watchScan streams views whenever they differ from the one before.
func (a *api) watchScan(c *fiber.Ctx, s string, look func(ctx context.Context, s string) (*linking.View, error), watch func(wake func()) func()) error {
	var last []byte
	return a.streams.serve(c, feed{
		Next: func(ctx context.Context, _ string) ([]event, error) {
			v, err := look(ctx, s)
			if err != nil {
				return nil, err
			}
			if v.Sealed != "" {
				s = v.Sealed
			}
			// The time of the answer alone is no news.
			told := appendScan(nil, v)
			v.At = time.Time{}
			if key := appendScan(nil, v); !bytes.Equal(key, last) {
				last = key
				return []event{{Name: "resolution", Data: told}}, nil
			}
			return nil, nil
		},
		Watch: watch,
		Poll:  2 * time.Second,
		Retry: 2 * time.Second,
	})
}

// payBody is the pay click, from a form or as JSON.
type payBody struct {
	S        string `json:"s" validate:"required,printable,max=64"`
	Revision int    `json:"revision" validate:"required,min=1"`
	Method   string `json:"method" validate:"omitempty,printable,max=40"`
}

func readPay(c *fiber.Ctx) (in payBody, err error) {
	raw, mediaType, err := bodyOf(c, fiber.MIMEApplicationJSON, fiber.MIMEApplicationForm)
	if err != nil {
		return in, err
	}
	if mediaType == fiber.MIMEApplicationForm {
		return in, decodeForm(raw, &in)
	}
	return in, decodeJSON(raw, &in)
}

// decodeForm reads the fields of a pay form.
func decodeForm(raw []byte, into *payBody) error {
	fields, err := url.ParseQuery(string(raw))
	if err != nil {
		return malformed("The form cannot be read.")
	}
	for name, values := range fields {
		if len(values) != 1 {
			return malformed("A field of the form is given more than once.")
		}
		switch name {
		case "s":
			into.S = values[0]
		case "method":
			into.Method = values[0]
		case "revision":
			n, err := strconv.ParseInt(values[0], 10, 32)
			if err != nil {
				return invalidFields([]linking.FieldError{{Field: name, Code: "wrong_type", Message: "must be a whole number"}})
			}
			into.Revision = int(n)
		default:
			return invalidFields([]linking.FieldError{{Field: short(name), Code: "unknown_field", Message: "is not a field of this request"}})
		}
	}
	return check(into)
}

// pay answers POST /q/{token}/pay.
func (a *api) pay(c *fiber.Ctx) error {
	id, ok := tokenParam(c)
	if !ok {
		return a.noSuchCode(c)
	}
	in, err := readPay(c)
	if err != nil {
		return err
	}
	way, v, err := a.svc.Press(c.UserContext(), id, linking.PressCommand{Scan: in.S, Revision: in.Revision, Method: in.Method})
	return a.pressed(c, way, v, err)
}

// pressed answers a pay click: on to the bank, or the fresh page with nothing taken.
func (a *api) pressed(c *fiber.Ctx, way linking.Way, v *linking.View, err error) error {
	if v != nil && v.Seen.Resolution == linking.NoSuchCode {
		return a.noSuchCode(c)
	}
	if linking.IsCode(err, "stale") {
		if gone := notHere(v); gone != nil {
			return gone
		}
		if wantsPage(c) {
			page := &payerView{View: v}
			if v.Seen.Resolution == linking.Payable {
				page.notice = "changed"
			}
			return a.payerPage(c, page, http.StatusConflict)
		}
		e := *linking.Problem(err)
		e.With = map[string]any{"scan": json.RawMessage(appendScan(nil, v))}
		return &e
	}
	if err != nil {
		return unavailable(err)
	}
	switch way.Kind {
	case linking.Redirect, linking.App:
		c.Set(fiber.HeaderLocation, way.URL)
		c.Status(http.StatusSeeOther)
		return nil
	}
	if wantsPage(c) {
		return a.payerPage(c, &payerView{View: v, payload: way.Payload}, http.StatusOK)
	}
	return c.JSON(struct {
		Kind    linking.WayKind `json:"kind"`
		Payload string          `json:"payload"`
		Until   *string         `json:"until"`
		S       string          `json:"s"`
	}{way.Kind, way.Payload, stamp(way.Until), v.Sealed})
}

// page answers GET /p/{secret}: a request's own page.
func (a *api) page(c *fiber.Ctx) error { return a.ownPage(c, false) }

// pageBack is where the bank sends a payer back to.
func (a *api) pageBack(c *fiber.Ctx) error { return a.ownPage(c, true) }

func (a *api) ownPage(c *fiber.Ctx, back bool) error {
	v, err := a.paged(c, back)
	if err != nil {
		return err
	}
	if wantsPage(c) {
		return a.payerPage(c, &payerView{View: v, back: back}, http.StatusOK)
	}
	return sendScan(c, v)
}

func (a *api) paged(c *fiber.Ctx, back bool) (*linking.View, error) {
	v, err := a.svc.Page(c.UserContext(), secretParam(c), c.Query("s"), a.human(c), back)
	if err != nil {
		return nil, unavailable(err)
	}
	if v.Seen.Resolution == linking.NoSuchCode {
		return nil, a.noSuchCode(c)
	}
	callOf(c).merchant = v.Merchant.ID
	return v, nil
}

func (a *api) pageEvents(c *fiber.Ctx) error {
	back := c.QueryBool("back")
	v, err := a.paged(c, back)
	if err != nil {
		return err
	}
	secret := v.Page
	return a.watchScan(c, v.Sealed, func(ctx context.Context, s string) (*linking.View, error) {
		return a.svc.Page(ctx, secret, s, true, back)
	}, func(wake func()) func() { return a.svc.WatchPage(secret, wake) })
}

func (a *api) payPage(c *fiber.Ctx) error {
	in, err := readPay(c)
	if err != nil {
		return err
	}
	way, v, err := a.svc.PressPage(c.UserContext(), secretParam(c), linking.PressCommand{Scan: in.S, Revision: in.Revision, Method: in.Method})
	return a.pressed(c, way, v, err)
}

// callback takes a bank's message. It is answered 2xx only once what it hints at is
// durable.
func (a *api) callback(c *fiber.Ctx) error {
	id, ok := linking.ParseConnectionID(c.Params("connection"))
	if !ok {
		return fiber.ErrNotFound
	}
	if len(c.Request().Header.Peek(fiber.HeaderContentEncoding)) > 0 {
		return httpFailures[http.StatusUnsupportedMediaType]
	}
	if err := a.svc.Callback(c.UserContext(), strings.ToLower(c.Params("rail")), id, callbackHeader(c), bytes.Clone(c.BodyRaw())); err != nil {
		return err
	}
	c.Status(http.StatusNoContent)
	return nil
}

// logo answers with a merchant's picture. It is drawn by <img> alone, so that no
// script in an SVG ever runs.
func (a *api) logo(c *fiber.Ctx) error {
	id, ok := linking.ParseMerchantID(c.Params("merchant"))
	if !ok {
		return fiber.ErrNotFound
	}
	data, mediaType, err := a.svc.Logo(c.UserContext(), id)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, mediaType)
	c.Set(fiber.HeaderCacheControl, "public, max-age=300")
	c.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox")
	return c.Send(data)
}
