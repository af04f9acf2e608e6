package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"placard/bankapi"
	"placard/linking"
)

// Rail opens connections to relays. A connection has the settings
//
//	url     the relay's base URL: https, or http on this machine
//	ca_pem  optional: the certificate authorities to trust instead of the system's
//
// and the secret
//
//	secret  "whsec_…", see ParseKeys
type Rail struct {
	// PlainHTTP lets a relay, and the pages it sends payers to, be reached without
	// TLS on any host. Whoever is on the way then sees amounts and customers, and
	// can make the pages show what he likes: for trying things out at home.
	PlainHTTP bool

	// Hosts are the only hosts, with port if it is not 443, at which relays may be;
	// empty: any. An operator who lets others enter connections sets it, or they can
	// make the gateway call addresses of his own network.
	Hosts []string

	Now func() time.Time // for signatures; nil: time.Now
}

// Open implements bankapi.Rail.
func (r Rail) Open(s bankapi.Setup) (linking.Bank, error) {
	for name := range s.Settings {
		if name != "url" && name != "ca_pem" {
			return nil, bankapi.BadSetting("settings."+name, "unknown", "A relay's settings are url and ca_pem.")
		}
	}
	for name := range s.Secrets {
		if name != "secret" {
			return nil, bankapi.BadSetting("secrets."+name, "unknown", "A relay has one secret, named secret.")
		}
	}
	base := strings.TrimRight(s.Settings["url"], "/")
	if err := webURL(base, r.PlainHTTP); err != nil {
		return nil, bankapi.BadSetting("settings.url", "url", "The relay's url has to be an https address, or http on this machine.")
	}
	u, err := url.Parse(base)
	if err != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		return nil, bankapi.BadSetting("settings.url", "url", "The relay's url has no query and no fragment.")
	}
	if len(r.Hosts) > 0 && !slices.Contains(r.Hosts, u.Host) {
		return nil, bankapi.BadSetting("settings.url", "host", "The operator of this gateway does not allow a relay at that host.")
	}
	keys, err := ParseKeys(s.Secrets["secret"].Reveal())
	if err != nil {
		return nil, bankapi.BadSetting("secrets.secret", "secret", `The relay's secret is "whsec_" and 24 to 64 bytes in base 64.`)
	}
	b := &Bank{base: base, keys: keys, plain: r.PlainHTTP, now: r.Now, own: s.Settings["ca_pem"] != ""}
	if b.now == nil {
		b.now = time.Now
	}
	config, err := bankapi.Authorities(s)
	if err != nil {
		return nil, err
	}
	b.client = s.Client(config)
	return b, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Bank is one relay. It has no breaker of its own.
type Bank struct {
	base   string
	client *http.Client
	own    bool // the client is this bank's alone
	keys   Keys
	plain  bool
	now    func() time.Time
}

// Drop closes idle connections nobody else uses.
func (b *Bank) Drop() {
	if b.own {
		b.client.CloseIdleConnections()
	}
}

// call sends one signed call and returns the body of a 200, 201 or 204. Target is
// escaped and begins with a slash.
func (b *Bank) call(ctx context.Context, method, target string, doc any) ([]byte, error) {
	var body []byte
	if doc != nil {
		var err error
		if body, err = json.Marshal(doc); err != nil {
			return nil, unsendable(err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, b.base+target, bytes.NewReader(body))
	if err != nil {
		return nil, unsendable(err)
	}
	req.Header.Set("Accept", "application/json, application/problem+json")
	req.Header.Set("User-Agent", "placard")
	if doc != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	b.keys.Sign(req.Header, CallID(method, target), b.now(), body)
	a, err := bankapi.Exchange(b.client, req)
	if err != nil {
		return nil, err
	}
	if f := a.Failure(b.now()); f != nil {
		if code := problemCode(a); code != "" {
			f.Code = code
		}
		return nil, f
	}
	switch a.Status {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
		return a.Body, nil
	}
	code := problemCode(a)
	e := &linking.BankError{Code: code}
	switch {
	case a.Status < 400 || code == "":
		// Not the relay's own words, perhaps a proxy's: it may have been done.
		return nil, bankapi.Unreadable("no_problem_document", "Something that is not the relay answered in its place.", nil)
	case a.Status == http.StatusNotFound && code == "not_found":
		e.Class, e.Detail = linking.BankAbsent, "The relay does not know the request."
	case a.Status == http.StatusNotFound:
		return nil, bankapi.Unreadable(code, "The relay does not know what it was asked.", nil)
	case a.Status == http.StatusConflict:
		e.Class, e.Detail = linking.BankBusy, "The request's state at the relay does not allow it."
	default:
		e.Class, e.Detail = linking.BankRefused, "The relay refuses what it was asked for."
	}
	return nil, e
}

// problemCode returns the code of a problem document, and "" for anything else.
func problemCode(a bankapi.Answer) string {
	kind, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil || kind != "application/problem+json" {
		return ""
	}
	var p problemDoc
	if bankapi.Decode(a.Body, &p) != nil {
		return ""
	}
	return bankapi.ShortCode(p.Code, "")
}

func unsendable(err error) *linking.BankError {
	return &linking.BankError{Class: linking.BankRefused, Code: "unsendable", Detail: "The relay cannot be asked for that.", Err: err}
}

// understood turns a fault of an answer into what it leaves known: nothing.
func understood[T any](v T, err error) (T, error) {
	return bankapi.Understood(v, err, "The relay's answer cannot be trusted.")
}

func (b *Bank) Abilities(ctx context.Context) (linking.Abilities, error) {
	body, err := b.call(ctx, http.MethodGet, "/abilities", nil)
	if err != nil {
		return linking.Abilities{}, err
	}
	return understood(abilitiesOf(body))
}

func (b *Bank) Put(ctx context.Context, ask linking.Ask) (linking.BankState, error) {
	doc, err := putOf(ask)
	if err != nil {
		return linking.BankState{}, unsendable(err)
	}
	body, err := b.call(ctx, http.MethodPut, "/requests/"+segment(string(ask.ID)), doc)
	if err != nil {
		return linking.BankState{}, err
	}
	s, err := understood(stateOf(body, ask.ID, b.plain))
	if err == nil && s.Money.Currency != ask.Money.Currency {
		return linking.BankState{}, bankapi.Unreadable("wrong_currency", "The relay answered in another currency.", nil)
	}
	return s, err
}

func (b *Bank) Get(ctx context.Context, ref linking.BankRef) (linking.BankState, error) {
	return b.about(ctx, http.MethodGet, ref, "")
}

func (b *Bank) Capture(ctx context.Context, ref linking.BankRef) (linking.BankState, error) {
	return b.about(ctx, http.MethodPost, ref, "/capture")
}

// Close asks again where the relay did not say how the request stands: because it
// was paid or being paid, or because a relay answered with nothing.
func (b *Bank) Close(ctx context.Context, ref linking.BankRef) (linking.BankState, error) {
	body, err := b.call(ctx, http.MethodDelete, "/requests/"+segment(string(ref.ID)), nil)
	be, _ := errors.AsType[*linking.BankError](err)
	switch {
	case err == nil && len(body) > 0:
		return understood(stateOf(body, ref.ID, b.plain))
	case err != nil && be.Class != linking.BankBusy:
		return linking.BankState{}, err
	}
	s, gerr := b.Get(ctx, ref)
	if gerr == nil {
		return s, nil
	}
	if err != nil {
		return linking.BankState{}, err
	}
	return linking.BankState{}, bankapi.Unreadable("no_state", "The relay closed the request, but did not say how it stands.", gerr)
}

func (b *Bank) about(ctx context.Context, method string, ref linking.BankRef, what string) (linking.BankState, error) {
	body, err := b.call(ctx, method, "/requests/"+segment(string(ref.ID))+what, nil)
	if err != nil {
		return linking.BankState{}, err
	}
	return understood(stateOf(body, ref.ID, b.plain))
}

func (b *Bank) Refund(ctx context.Context, ask linking.RefundAsk) (linking.BankRefund, error) {
	if !goodAmount(int64(ask.Money.Amount)) || !goodID(ask.PaymentID) || !goodID(string(ask.Refund)) {
		return linking.BankRefund{}, unsendable(errors.New("a refund of nothing, or of no payment"))
	}
	body, err := b.call(ctx, http.MethodPut, "/payments/"+segment(ask.PaymentID)+"/refunds/"+segment(string(ask.Refund)), refundPutDoc{
		RequestID: string(ask.ID), Amount: int64(ask.Money.Amount), Currency: string(ask.Money.Currency), Reason: ask.Reason,
	})
	if err != nil {
		return linking.BankRefund{}, err
	}
	return understood(refundOf(body, ask))
}

const (
	// overlap is how far each list reaches back into the one before it: a relay may
	// write down what changed a moment after it happened.
	overlap = 5 * time.Second
	// maxPages bounds one round; the next goes on where it ended.
	maxPages = 20
)

// Changed reads at most maxPages pages. The times are the relay's own, so its
// clock may be off.
func (b *Bank) Changed(ctx context.Context, since time.Time) (ids []linking.RequestID, next time.Time, err error) {
	query := "changed_since=" + url.QueryEscape(instant(since))
	target := "/requests?" + query
	for n := 1; ; n++ {
		body, err := b.call(ctx, http.MethodGet, target, nil)
		if err != nil {
			return nil, time.Time{}, err
		}
		p, err := understood(listOf(body))
		if err != nil {
			return nil, time.Time{}, err
		}
		ids = append(ids, p.ids...)
		switch {
		case p.next == "":
			return ids, later(p.asOf.Add(-overlap), since), nil
		case n == maxPages:
			return ids, later(p.last, since), nil
		}
		target = "/requests?" + query + "&after=" + strings.ReplaceAll(url.QueryEscape(p.next), ".", "%2E")
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// maxCallback is far more than a callback needs.
const maxCallback = 64 << 10

// Callback implements linking.Bank. The body of a forged callback is not read.
func (b *Bank) Callback(_ context.Context, header http.Header, body []byte) ([]linking.RequestID, error) {
	denied := func(code string, err error) error {
		return &linking.BankError{Class: linking.BankDenied, Code: code, Detail: "The callback is not the relay's.", Err: err}
	}
	if len(body) > maxCallback {
		return nil, denied("too_large", nil)
	}
	id, err := b.keys.Verify(header, b.now(), body)
	if err != nil {
		return nil, denied("signature", err)
	}
	if strings.Contains(id, " ") {
		return nil, denied("reflected", errors.New("a call of ours came back as a callback"))
	}
	request, err := understood(callbackOf(body))
	if err != nil {
		return nil, err
	}
	return []linking.RequestID{request}, nil
}

// A relay has no permanent locations: the gateway's own page is the location.

func (b *Bank) MakeLink(context.Context, linking.Charge) (linking.BankLink, error) {
	return linking.BankLink{}, noLinks()
}

func (b *Bank) LinkShows(context.Context, linking.BankLink) (linking.RequestID, error) {
	return "", noLinks()
}

func (b *Bank) Unlink(context.Context, linking.BankLink) error { return noLinks() }

func noLinks() *linking.BankError {
	return &linking.BankError{Class: linking.BankRefused, Code: "no_links", Detail: "A relay has no links of its own."}
}
