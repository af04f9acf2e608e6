package jpm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"placard/bankapi"
	"placard/linking"
)

const userAgent = "placard"

// clock follows the bank's by the Date of its answers (RFC 9110, 6.6.1).
type clock struct{ ahead atomic.Int64 }

// maxAhead is the most that a clock is believed to be off.
const maxAhead = 24 * time.Hour

func (c *clock) learn(h http.Header, asked, answered time.Time) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	took := answered.Sub(asked)
	ahead := date.Add(500 * time.Millisecond).Sub(asked.Add(took / 2)) // a Date is cut to the second
	switch {
	case ahead.Abs() > maxAhead:
		return
	case ahead.Abs() <= took/2+time.Second: // no further off than we can tell
		ahead = 0
	}
	c.ahead.Store(int64(ahead))
}

// bankNow is the bank's time, as far as it can be told.
func (b *Bank) bankNow() time.Time { return b.now().Add(time.Duration(b.clock.ahead.Load())) }

// exchange is one call: what is sent beside the body.
type exchange struct {
	method, url string
	ifMatch     string
	key         string // Idempotency-Key
}

// answer is a success.
type answer struct {
	status    int
	body      []byte
	tag       string
	duplicate bool // the bank says that it answered this before
}

// call sends one call and returns the answer of a 200, 201 or 202.
func (b *Bank) call(ctx context.Context, x exchange, doc any) (answer, error) {
	var body []byte
	contentType := ""
	if doc != nil {
		var err error
		if body, err = json.Marshal(doc); err == nil {
			body, contentType, err = b.sealed(body)
		}
		if err != nil {
			return answer{}, unsendable("unsendable", err)
		}
	}
	for renewed := false; ; renewed = true {
		token, err := b.bearer(ctx)
		if err != nil {
			return answer{}, err
		}
		a, err := b.send(ctx, x, body, contentType, token)
		if err != nil {
			return answer{}, err
		}
		// What was refused for its token was not done, and may be sent again with another.
		if a.Status == http.StatusUnauthorized && !renewed && b.refused(token) {
			continue
		}
		if err := judge(a, b.now()); err != nil {
			return answer{}, err
		}
		return answer{status: a.Status, body: a.Body, tag: tagOf(a.Header), duplicate: a.Header.Get("Duplicate-Request") == "true"}, nil
	}
}

func (b *Bank) send(ctx context.Context, x exchange, body []byte, contentType, token string) (bankapi.Answer, error) {
	req, err := http.NewRequestWithContext(ctx, x.method, x.url, bytes.NewReader(body))
	if err != nil {
		return bankapi.Answer{}, unsendable("unsendable", err)
	}
	h := req.Header
	h.Set("Accept", "application/json")
	h.Set("User-Agent", userAgent)
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	if x.ifMatch != "" {
		h.Set("If-Match", x.ifMatch)
	}
	if x.key != "" {
		h.Set("Idempotency-Key", x.key)
		req.GetBody = nil // or net/http, seeing the key, would send it again by itself
	}
	asked := b.now()
	a, err := bankapi.Exchange(b.client, req)
	if err == nil {
		b.clock.learn(a.Header, asked, b.now())
	}
	return a, err
}

// maxIfMatch is the longest If-Match the bank takes; its ETags may be longer.
const maxIfMatch = 100

// tagOf returns an answer's ETag, if it is fit to be sent back.
func tagOf(h http.Header) string {
	if tag := h.Get("ETag"); len(tag) <= maxIfMatch && printable(tag) {
		return tag
	}
	return ""
}

// errorDoc is a refusal in the bank's own form.
type errorDoc struct {
	Title      string `json:"title"`
	HTTPStatus *int   `json:"httpStatus"`
	Context    []struct {
		Code     string `json:"code"`
		Field    string `json:"field"`
		Location string `json:"location"`
	} `json:"context"`
}

// refusedBy reads a refusal; ok is false for anything that is not the bank's own, as
// a proxy's page.
func refusedBy(a bankapi.Answer) (code, field string, ok bool) {
	kind, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	var d errorDoc
	if err != nil || kind != "application/json" || bankapi.Decode(a.Body, &d) != nil || d.Title == "" {
		return "", "", false
	}
	status := http.StatusBadRequest
	if d.HTTPStatus != nil {
		status = *d.HTTPStatus
	}
	if status != a.Status {
		return "", "", false
	}
	for _, c := range d.Context {
		if code == "" {
			code, field = bankapi.ShortCode(c.Code, ""), c.Location+" "+c.Field
		}
	}
	return code, field, true
}

// meanings are the bank's codes in words for staff.
var meanings = map[string]string{
	"10001": "The bank misses something in what it was asked.",
	"10002": "Something the bank was asked is too short.",
	"10003": "Something the bank was asked is too long.",
	"10100": "A value is below what the bank takes.",
	"10101": "A value is above what the bank takes.",
	"10102": "A value is outside what the bank takes.",
	"10103": "Something the bank was asked is not in the form it wants.",
	"10104": "The bank does not take a value.",
	"10105": "The bank was told something it does not want to know.",
	"12000": "The bank has a fault.",
	"14000": "The bank does not let this client in.",
}

// Codes that say that a call with the same key was made before.
const (
	otherBody  = "10106"
	stillGoing = "10107"
)

// judge turns everything but success into an error.
func judge(a bankapi.Answer, now time.Time) error {
	code, field, own := refusedBy(a)
	if f := a.Failure(now); f != nil {
		if code != "" {
			f.Code = code
		}
		if m := meanings[code]; m != "" {
			f.Detail = m
		}
		return f
	}
	switch a.Status {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted:
		return nil
	}
	if a.Status < 400 || !own {
		return bankapi.Unreadable("not_the_bank", "Something that is not the bank answered in its place.", nil)
	}
	e := &linking.BankError{Class: linking.BankRefused, Code: code, Err: fmt.Errorf("status %d: %s %.100q", a.Status, code, field)}
	switch {
	case a.Status == http.StatusNotFound:
		e.Class, e.Detail = linking.BankAbsent, "The bank does not know what it was asked about."
	case a.Status == http.StatusPreconditionFailed:
		e.Class, e.Code, e.Detail = linking.BankBusy, "stale", "The request has changed at the bank meanwhile."
	case a.Status == http.StatusConflict || code == otherBody || code == stillGoing:
		e.Class, e.Detail = linking.BankBusy, "The bank was asked for this before, in other words."
	case meanings[code] != "":
		e.Detail = meanings[code]
	default:
		e.Detail = "The bank refuses what it was asked for."
	}
	if e.Code == "" {
		e.Code = fmt.Sprintf("http_%d", a.Status)
	}
	return e
}

func refusal(code, detail string) *linking.BankError {
	return &linking.BankError{Class: linking.BankRefused, Code: code, Detail: detail}
}

func busy(code string) *linking.BankError {
	return &linking.BankError{Class: linking.BankBusy, Code: code, Detail: "The request's state at the bank does not allow it."}
}

func unsendable(code string, err error) *linking.BankError {
	return &linking.BankError{Class: linking.BankRefused, Code: code, Detail: "The bank cannot be asked for that.", Err: err}
}

const untrusted = "The bank's answer cannot be trusted."

func understood[T any](v T, err error) (T, error) { return bankapi.Understood(v, err, untrusted) }

func classOf(err error) linking.BankErrorClass {
	if be, ok := errors.AsType[*linking.BankError](err); ok {
		return be.Class
	}
	return ""
}

// about is the address of a request, by the id the bank knows it by.
func (b *Bank) about(id, what string) string {
	return b.base + "/payment-requests/" + url.PathEscape(id) + what
}

// bankID returns the id the bank knows a request by. Class absent where it has to be
// searched for and is not found.
func (b *Bank) bankID(ctx context.Context, ref linking.BankRef) (string, error) {
	switch {
	case b.country == brazil:
		return string(ref.ID), nil
	case ref.BankID != "":
		return ref.BankID, nil
	}
	return b.find(ctx, ref.ID)
}

// look returns a request as the bank has it.
func (b *Bank) look(ctx context.Context, ref linking.BankRef) (held, error) {
	id, err := b.bankID(ctx, ref)
	if err != nil {
		return held{}, err
	}
	return b.read(ctx, ref.ID, id)
}

func (b *Bank) read(ctx context.Context, id linking.RequestID, bankID string) (held, error) {
	a, err := b.call(ctx, exchange{method: http.MethodGet, url: b.about(bankID, "")}, nil)
	if err != nil {
		return held{}, err
	}
	return b.understand(a, id, bankID)
}

func (b *Bank) understand(a answer, id linking.RequestID, bankID string) (held, error) {
	h, err := understood(heldOf(a.body, id, bankID, b.country))
	h.Tag = a.tag
	return h, err
}

// Get implements linking.Bank.
func (b *Bank) Get(ctx context.Context, ref linking.BankRef) (linking.BankState, error) {
	h, err := b.look(ctx, ref)
	return h.BankState, err
}

// Put implements linking.Bank. It asks first, and then changes at most one thing: see
// the package comment.
func (b *Bank) Put(ctx context.Context, ask linking.Ask) (linking.BankState, error) {
	a, refused := b.wanted(ask)
	if refused != nil {
		return linking.BankState{}, refused
	}
	h, err := b.look(ctx, ask.BankRef)
	switch classOf(err) {
	case "":
		h, err = b.revise(ctx, ask, a, h)
	case linking.BankAbsent:
		h, err = b.make(ctx, ask, a)
	}
	if err != nil {
		return linking.BankState{}, err
	}
	if h.Money.Currency != ask.Money.Currency {
		return linking.BankState{}, bankapi.Unreadable("wrong_currency", "The bank answered in another currency.", nil)
	}
	return h.BankState, nil
}

// make asks for a request that the bank does not know.
func (b *Bank) make(ctx context.Context, ask linking.Ask, a *askDoc) (held, error) {
	doc := requestDoc{Country: b.country, Request: a, RequestMethodType: "QR_CODE", RequestMethod: b.method(linkOf(ask))}
	if b.country != brazil {
		return b.post(ctx, ask, doc)
	}
	if a.ExpirationType == immediate {
		seconds := int64(ask.TimeLeft / time.Second)
		a.Duration = &seconds
	}
	got, err := b.call(ctx, exchange{method: http.MethodPut, url: b.about(string(ask.ID), "")}, doc)
	if err != nil {
		return held{}, b.refusedOf(ctx, ask, err)
	}
	return b.understand(got, ask.ID, "")
}

// post asks for a request where the bank gives the id.
func (b *Bank) post(ctx context.Context, ask linking.Ask, doc requestDoc) (held, error) {
	doc.EndToEndID = string(ask.ID)
	a, err := b.call(ctx, exchange{method: http.MethodPost, url: b.base + "/payment-requests", key: keyOf(ask)}, doc)
	if err != nil {
		return held{}, b.refusedOf(ctx, ask, err)
	}
	if a.status == http.StatusCreated && !a.duplicate {
		return b.understand(a, ask.ID, "")
	}
	// An answer given before says how it was then, or only which it is.
	var d struct {
		ID          string `json:"id"`
		DuplicateOf string `json:"duplicateOf"`
	}
	if err := bankapi.Decode(a.body, &d); err != nil {
		return understood(held{}, err)
	}
	id := d.ID
	if id == "" {
		id = d.DuplicateOf
	}
	if !goodID(id) {
		return understood(held{}, bankapi.Fault("wrong_id"))
	}
	return b.read(ctx, ask.ID, id)
}

// keyOf is the Idempotency-Key of one revision: 36 characters, the bank's only length.
func keyOf(ask linking.Ask) string { return fmt.Sprintf("%s-%09d", ask.ID, ask.Revision) }

func linkOf(ask linking.Ask) string {
	if ask.Link == nil {
		return ""
	}
	return ask.Link.ID
}

// refusedOf judges a refusal by how the request stands: what the bank has, it cannot
// be said to refuse.
func (b *Bank) refusedOf(ctx context.Context, ask linking.Ask, err error) error {
	if classOf(err) != linking.BankRefused {
		return err
	}
	be, _ := errors.AsType[*linking.BankError](err)
	switch h, gerr := b.look(ctx, ask.BankRef); {
	case gerr == nil && h.Status == linking.BankOpen && ask.Revision > 1:
		return err // it refuses the change, and holds what it held
	case gerr == nil:
		return &linking.BankError{Class: linking.BankBusy, Code: be.Code, Detail: "The request's state at the bank does not allow it.", Err: err}
	case classOf(gerr) == linking.BankAbsent:
		return err
	}
	return bankapi.Unreadable(be.Code, "The bank refused, and did not say how the request stands.", err)
}

// revise changes a request that the bank has, if it is not what is asked for already.
func (b *Bank) revise(ctx context.Context, ask linking.Ask, a *askDoc, h held) (held, error) {
	switch {
	case h.is(ask, a):
		return h, nil
	case h.Status != linking.BankOpen:
		return held{}, busy(string(h.Status))
	case b.country != brazil:
		return held{}, refusal("rail_cannot_revise", "In this market the bank does not change requests.")
	case ask.Tag != "" && h.Tag != "" && ask.Tag != h.Tag:
		return held{}, busy("stale")
	case ask.Tag == "" && h.number >= ask.Revision-1:
		return held{}, busy("stale_revision") // it took as many changes as we made, or more
	}
	if a.ExpirationType == immediate {
		// The bank counts from when the request was made, whenever it is told.
		left := b.bankNow().Add(ask.TimeLeft).Sub(h.made)
		if h.made.IsZero() || left > longestImmediate {
			return held{}, refusal("rail_expiry", "An immediate request is open for at most 999,999 seconds, counted from when it was made.")
		}
		seconds := int64(left / time.Second)
		a.Duration = &seconds
	}
	doc := requestDoc{Country: b.country, Request: a, RequestMethodType: "QR_CODE", RequestMethod: b.method(linkOf(ask))}
	got, err := b.call(ctx, exchange{method: http.MethodPut, url: b.about(string(ask.ID), ""), ifMatch: h.Tag}, doc)
	if err == nil {
		return b.understand(got, ask.ID, "")
	}
	if be, _ := errors.AsType[*linking.BankError](err); be.Code == "stale" {
		// Somebody was faster: it may have been this very change, sent before.
		if now, gerr := b.look(ctx, ask.BankRef); gerr == nil && now.is(ask, a) {
			return now, nil
		}
		return held{}, err
	}
	return held{}, b.refusedOf(ctx, ask, err)
}

// Close implements linking.Bank. The bank's answer to a cancel says nothing of how the
// request stands, and its refusal does not say why; so it is asked.
func (b *Bank) Close(ctx context.Context, ref linking.BankRef) (linking.BankState, error) {
	id, err := b.bankID(ctx, ref)
	if err != nil {
		return linking.BankState{}, err
	}
	err = b.cancel(ctx, id)
	if class := classOf(err); err != nil && class != linking.BankRefused && class != linking.BankBusy {
		return linking.BankState{}, err
	}
	h, gerr := b.read(ctx, ref.ID, id)
	switch {
	case gerr == nil && h.Status != linking.BankOpen:
		return h.BankState, nil
	case err == nil:
		return linking.BankState{}, bankapi.Unreadable("no_state", "The bank took the cancel, but did not say that the request has ended.", gerr)
	}
	be, _ := errors.AsType[*linking.BankError](err)
	return linking.BankState{}, &linking.BankError{Class: linking.BankBusy, Code: be.Code, Detail: "The bank does not end the request now.", Err: err}
}

func (b *Bank) cancel(ctx context.Context, id string) error {
	type reason struct {
		Reason string `json:"reason"`
	}
	a, err := b.call(ctx, exchange{method: http.MethodPost, url: b.about(id, "/cancel")}, reason{"Client Request"})
	if err != nil {
		return err
	}
	var d struct {
		Message string `json:"message"`
	}
	if err := bankapi.Decode(a.body, &d); err != nil {
		_, err = understood(d, err)
		return err
	}
	return nil
}

// Capture implements linking.Bank: there is no such thing here.
func (b *Bank) Capture(context.Context, linking.BankRef) (linking.BankState, error) {
	return linking.BankState{}, refusal("rail_cannot_capture", "This bank cannot authorise now and capture later.")
}

// Refund implements linking.Bank. Returns are another interface of the bank's, with
// other contracts and references; those that are made there are seen by Get.
func (b *Bank) Refund(context.Context, linking.RefundAsk) (linking.BankRefund, error) {
	return linking.BankRefund{}, refusal("rail_cannot_refund", "Through this interface the bank sends nothing back.")
}
