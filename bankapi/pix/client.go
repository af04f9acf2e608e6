package pix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"placard/bankapi"
	"placard/linking"
)

const userAgent = "placard"

// target is one call to the bank.
type target struct {
	method string
	path   string // after the base URL, escaped, with the query
	scope  string // that it needs
	header http.Header
}

// call makes one call and returns the body of what the bank granted. A token that
// was refused is replaced once: what was refused at the door was not done.
func (b *Bank) call(ctx context.Context, to target, doc any) ([]byte, error) {
	var body []byte
	if doc != nil {
		var err error
		if body, err = json.Marshal(doc); err != nil {
			return nil, unsendable(err)
		}
	}
	var a bankapi.Answer
	for try := 1; ; try++ {
		token, err := b.bearer(ctx)
		if err != nil {
			return nil, err
		}
		if a, err = b.send(ctx, to, token, body); err != nil {
			return nil, err
		}
		if a.Status != http.StatusUnauthorized || !b.refused(token) || try == 2 {
			break
		}
	}
	return b.judged(a, to)
}

func (b *Bank) send(ctx context.Context, to target, token string, body []byte) (bankapi.Answer, error) {
	req, err := http.NewRequestWithContext(ctx, to.method, b.base+to.path, bytes.NewReader(body))
	if err != nil {
		return bankapi.Answer{}, unsendable(err)
	}
	for name, values := range to.header {
		req.Header[name] = values
	}
	req.Header.Set("Accept", "application/json, application/problem+json")
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("User-Agent", userAgent)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	began := b.now()
	a, err := bankapi.Exchange(b.client, req)
	if err == nil {
		b.clock.learn(a.Header, began, b.now())
	}
	return a, err
}

// judged returns the body of a success, and says what anything else leaves known.
func (b *Bank) judged(a bankapi.Answer, to target) ([]byte, error) {
	kind := problemKind(a)
	if f := a.Failure(b.now()); f != nil {
		if kind != "" {
			f.Code = kind
		}
		if a.Status == http.StatusForbidden && len(b.lacks(to.scope)) > 0 {
			f.Code, f.Detail = "missing_scope", "The bank did not grant the scope "+to.scope+"."
		}
		return nil, f
	}
	switch a.Status {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
		return a.Body, nil
	}
	e := &linking.BankError{Code: kind}
	switch {
	case a.Status < 400 || kind == "":
		// Not the bank's own words, perhaps a proxy's: it may have been done.
		return nil, bankapi.Unreadable("no_problem_document", "Something that is not the bank answered in its place.", nil)
	case saysAbsent(a.Status, kind):
		e.Class, e.Detail = linking.BankAbsent, "The bank does not know what it was asked about."
	case a.Status == http.StatusNotFound:
		return nil, bankapi.Unreadable(kind, "The bank does not know what it was asked.", nil)
	case a.Status == http.StatusConflict || a.Status == http.StatusPreconditionFailed || a.Status == http.StatusLocked:
		e.Class, e.Detail = linking.BankBusy, "The charge's state at the bank does not allow it."
	default:
		e.Class, e.Detail = linking.BankRefused, "The bank refuses what it was asked for."
	}
	return nil, e
}

// problemKind returns what kind of refusal a bank names, and "" where it names none:
// the last part of a problem document's type (the error types of openapi.yaml), or,
// at Efí, the word in nome. Some banks send problem documents as plain JSON.
func problemKind(a bankapi.Answer) string {
	var d struct {
		Type string `json:"type"`
		Name string `json:"nome"`
	}
	if a.Status < 400 || bankapi.Decode(a.Body, &d) != nil {
		return ""
	}
	if scheme, rest, ok := strings.Cut(d.Type, "://"); ok && (scheme == "https" || scheme == "http") {
		if i := strings.LastIndexByte(rest, '/'); i > 0 {
			return bankapi.ShortCode(rest[i+1:], "")
		}
	}
	return bankapi.ShortCode(d.Name, "")
}

// saysAbsent reports that the bank never heard of a thing, in its own words. A bare
// 404 says no such thing.
func saysAbsent(status int, kind string) bool {
	switch kind {
	case "cobranca_nao_encontrada", "pix_nao_encontrado": // Efí, with 400
		return status == http.StatusBadRequest || status == http.StatusNotFound
	}
	return status == http.StatusNotFound && (strings.HasSuffix(kind, "NaoEncontrado") || strings.HasSuffix(kind, "NaoEncontrada"))
}

func unsendable(err error) *linking.BankError {
	return &linking.BankError{Class: linking.BankRefused, Code: "unsendable", Detail: "The bank cannot be asked for that.", Err: err}
}

const untrusted = "The bank's answer cannot be trusted."

// understood turns a fault of an answer into what it leaves known: nothing.
func understood[T any](v T, err error) (T, error) { return bankapi.Understood(v, err, untrusted) }

func classOf(err error) linking.BankErrorClass {
	if be, ok := errors.AsType[*linking.BankError](err); ok {
		return be.Class
	}
	return ""
}

// unsent is the error of a question that came before a change: what was asked for
// has not been sent, whatever became of the question.
func unsent(err error) error {
	be, ok := errors.AsType[*linking.BankError](err)
	if !ok || be.Class != linking.BankUnknown {
		return err
	}
	return &linking.BankError{Class: linking.BankNotSent, Code: be.Code, Detail: be.Detail, Retry: max(be.Retry, time.Second), Err: be}
}

// FixedAbilities says that Abilities makes no call.
func (b *Bank) FixedAbilities() {}

// Abilities follow from the scopes that are asked for: what the merchant's contract
// with the bank leaves out, he leaves out there.
func (b *Bank) Abilities(context.Context) (linking.Abilities, error) {
	has := func(scopes ...string) bool {
		for _, s := range scopes {
			if !slices.Contains(b.scopes, s) {
				return false
			}
		}
		return true
	}
	a := linking.Abilities{
		Currencies: []linking.Currency{currency}, MaxExpiry: b.maxExpiry, NeedsDebtor: true, Revise: true,
		Refund: has(scopePixWrite, scopePixRead), Changed: has(scopePixRead), BankLink: has(scopeLocWrite, scopeLocRead),
		Charges: []linking.Charge{linking.Immediate},
	}
	a.ScannedByBank = a.BankLink
	if has(scopeCobVWrite, scopeCobVRead) {
		a.Charges = append(a.Charges, linking.DueDate)
	}
	return a, nil
}

// clock is how far the bank's clock is from ours. A charge's end and the list of what
// was paid are in the bank's time, and a bank whose clock is a minute off must not
// have its charges taken for ended, nor hide a payment beyond the end of a list.
type clock struct{ off atomic.Int64 }

const (
	// tolerated is what a clock is off without being corrected: a Date header counts
	// whole seconds, and an answer takes its time.
	tolerated = 3 * time.Second
	// implausible is a clock that says nothing.
	implausible = 2 * 365 * 24 * time.Hour
)

// learn takes the bank's time from an answer (RFC 9110, 6.6.1).
func (c *clock) learn(h http.Header, began, ended time.Time) {
	at, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	middle := began.Add(ended.Sub(began) / 2)
	switch off := at.Add(500 * time.Millisecond).Sub(middle); {
	case off.Abs() > implausible:
	case off.Abs() <= tolerated:
		c.off.Store(0)
	default:
		c.off.Store(int64(off.Truncate(time.Second)))
	}
}

// banks turns a time of ours into the bank's; ours the other way.
func (c *clock) banks(t time.Time) time.Time { return t.Add(time.Duration(c.off.Load())) }
func (c *clock) ours(t time.Time) time.Time  { return t.Add(-time.Duration(c.off.Load())) }
