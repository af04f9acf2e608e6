package jpm

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"placard/bankapi"
	"placard/bankapi/pix"
	"placard/linking"
)

// Link is a payment link as the bank has it.
type Link struct {
	ID     string
	Number int64 // the bank's alternateIdentifier, a Pix location's id
	Charge linking.Charge
	URL    string // which the payer's bank fetches
	Shows  string // the id of the request it shows; empty: none
	Made   time.Time
}

type linkDoc struct {
	ID                  string `json:"id"`
	AlternateIdentifier int64  `json:"alternateIdentifier"`
	ExpirationType      string `json:"expirationType"`
	URL                 string `json:"url"`
	CreatedAt           string `json:"createdAt"`
	PaymentRequestID    string `json:"paymentRequestId"`
}

// link reads a link; want is the id that was asked for, or "".
func (d *linkDoc) link(want string) (l Link, err error) {
	u, err := url.Parse(d.URL)
	switch {
	case !goodLinkID(d.ID) || want != "" && d.ID != want:
		return l, bankapi.Fault("wrong_id")
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || !printable(d.URL):
		return l, bankapi.Fault("bad_url")
	case len(d.PaymentRequestID) > 64 || !printable(d.PaymentRequestID) || d.AlternateIdentifier < 0:
		return l, bankapi.Fault("malformed")
	}
	l = Link{ID: d.ID, Number: d.AlternateIdentifier, URL: d.URL, Shows: d.PaymentRequestID}
	switch d.ExpirationType {
	case immediate:
		l.Charge = linking.Immediate
	case dueDate, "DUE-DATE": // in some of the bank's texts
		l.Charge = linking.DueDate
	default:
		return Link{}, bankapi.Fault("unknown_type")
	}
	if l.Made, err = timeOf(d.CreatedAt); err != nil {
		return Link{}, err
	}
	return l, nil
}

func goodLinkID(s string) bool { return len(s) > 0 && len(s) <= 128 && printable(s) }

func linkIn(body []byte, want string) (l Link, err error) {
	var d linkDoc
	if err := bankapi.Decode(body, &d); err != nil {
		return l, err
	}
	return d.link(want)
}

func noLinks() *linking.BankError {
	return refusal("no_links", "The bank has payment links in Brazil only.")
}

// MakeLink implements linking.Bank. The bank takes no Idempotency-Key here: a call
// whose answer is lost may leave a link that Links lists and nothing uses.
func (b *Bank) MakeLink(ctx context.Context, charge linking.Charge) (linking.BankLink, error) {
	kind := map[linking.Charge]string{linking.Immediate: immediate, linking.DueDate: dueDate}[charge]
	switch {
	case b.country != brazil:
		return linking.BankLink{}, noLinks()
	case kind == "":
		return linking.BankLink{}, refusal("rail_charge", "There is no such kind of request.")
	case b.name == "" || b.city == "":
		return linking.BankLink{}, refusal("merchant_name", "A printed code needs the connection's merchant_name and merchant_city.")
	}
	type newLink struct {
		ExpirationType string `json:"expirationType"`
		Country        string `json:"country"`
	}
	a, err := b.call(ctx, exchange{method: http.MethodPost, url: b.base + "/payment-links"}, newLink{kind, b.country})
	if err != nil {
		return linking.BankLink{}, err
	}
	l, err := understood(linkIn(a.body, ""))
	if err == nil && (l.Charge != charge || l.Shows != "") {
		_, err = understood(l, bankapi.Fault("wrong_link"))
	}
	if err != nil {
		return linking.BankLink{}, err
	}
	return b.printed(l)
}

// printed is a link with the payload of its printed code. The bank makes codes only
// for requests, and a printed one names none; so it is made here, as the Pix standard
// has it.
func (b *Bank) printed(l Link) (linking.BankLink, error) {
	_, location, _ := strings.Cut(l.URL, "://") // a BR Code has no scheme
	text, err := pix.BRCode{URL: location, Name: b.name, City: b.city, Once: true}.Encode()
	if err != nil {
		return linking.BankLink{}, bankapi.Unreadable("bad_url", "The payment link's address does not fit into a code.", err)
	}
	return linking.BankLink{ID: l.ID, Charge: l.Charge, Payload: text}, nil
}

// link asks for one link.
func (b *Bank) link(ctx context.Context, id string) (Link, error) {
	if !goodLinkID(id) {
		return Link{}, refusal("unsendable", "That is no payment link of the bank's.")
	}
	a, err := b.call(ctx, exchange{method: http.MethodGet, url: b.base + "/payment-links/" + url.PathEscape(id)}, nil)
	if err != nil {
		return Link{}, err
	}
	return understood(linkIn(a.body, id))
}

// LinkShows implements linking.Bank.
func (b *Bank) LinkShows(ctx context.Context, link linking.BankLink) (linking.RequestID, error) {
	if b.country != brazil {
		return "", noLinks()
	}
	l, err := b.link(ctx, link.ID)
	if err != nil || l.Shows == "" {
		return "", err
	}
	id, ok := linking.ParseRequestID(l.Shows)
	if !ok || string(id) != l.Shows {
		return "", bankapi.Unreadable("not_ours", "The payment link shows a request that was not made here.", nil)
	}
	return id, nil
}

// Unlink implements linking.Bank, by the connection's strategy: see the package
// comment. With cancel, and only then, it ends the request that the link shows.
func (b *Bank) Unlink(ctx context.Context, link linking.BankLink) error {
	if b.country != brazil {
		return noLinks()
	}
	l, err := b.link(ctx, link.ID)
	if err != nil || l.Shows == "" {
		return err
	}
	switch b.unlink {
	case byPixDelete:
		err = b.deleteTxID(ctx, l)
	case byEmptyPut:
		err = b.emptyPut(ctx, l)
	default:
		err = b.cancel(ctx, l.Shows)
	}
	if class := classOf(err); err != nil && class != linking.BankRefused && class != linking.BankBusy && class != linking.BankAbsent {
		return err
	}
	// Whatever it said, what counts is what the link shows now.
	switch now, gerr := b.link(ctx, link.ID); {
	case gerr == nil && now.Shows == "":
		return nil
	case gerr != nil:
		return bankapi.Unreadable("no_state", "The bank did not say what the payment link shows now.", gerr)
	}
	return &linking.BankError{Class: linking.BankBusy, Code: "still_linked", Detail: "The payment link still shows a request. If that has ended, the bank needs another way to empty links: the setting unlink.", Err: err}
}

func (b *Bank) deleteTxID(ctx context.Context, l Link) error {
	if l.Number == 0 {
		return refusal("no_number", "The payment link has no number, by which the Pix standard names it.")
	}
	_, err := b.call(ctx, exchange{method: http.MethodDelete, url: b.pixBase + "/loc/" + strconv.FormatInt(l.Number, 10) + "/txid"}, nil)
	return err
}

// emptyPut updates what the link shows to what it is, but for the link.
func (b *Bank) emptyPut(ctx context.Context, l Link) error {
	a, err := b.call(ctx, exchange{method: http.MethodGet, url: b.about(l.Shows, "")}, nil)
	if err != nil {
		return err
	}
	doc, err := understood(againOf(a.body, l.Shows))
	if err != nil {
		return err
	}
	doc.RequestMethod = b.method("")
	doc.RequestMethod.PaymentLinkID = new(string)
	_, err = b.call(ctx, exchange{method: http.MethodPut, url: b.about(l.Shows, ""), ifMatch: a.tag}, doc)
	return err
}

// againOf reads a request as it can be sent again.
func againOf(body []byte, id string) (doc requestDoc, err error) {
	var d struct {
		ID      string          `json:"id"`
		Country string          `json:"country"`
		Request json.RawMessage `json:"request"`
	}
	if err := bankapi.Decode(body, &d); err != nil {
		return doc, err
	}
	var a askDoc
	if len(d.Request) == 0 || json.Unmarshal(d.Request, &a) != nil {
		return doc, bankapi.Fault("malformed")
	}
	if _, err := money(a.PaymentAmount, a.Currency); err != nil {
		return doc, err
	}
	if d.ID != id || d.Country != brazil {
		return doc, bankapi.Fault("wrong_id")
	}
	a.ExpiresAt = "" // the bank's to say
	return requestDoc{Country: d.Country, Request: &a, RequestMethodType: "QR_CODE"}, nil
}

// LinkQuery says which links to list.
type LinkQuery struct {
	From, To time.Time // when they were made: a month at most, a year back
	Charge   linking.Charge
	Free     bool // only those that show nothing
}

// Links lists payment links, for finding those whose making was never answered.
func (b *Bank) Links(ctx context.Context, q LinkQuery) ([]Link, error) {
	if b.country != brazil {
		return nil, noLinks()
	}
	v := url.Values{"fromDate": {instant(q.From)}, "toDate": {instant(q.To)}, "pageSize": {"99"}}
	switch q.Charge {
	case linking.Immediate:
		v.Set("expirationType", immediate)
	case linking.DueDate:
		v.Set("expirationType", dueDate)
	}
	if q.Free {
		v.Set("paymentLinkStatus", "NOT_LINKED")
	}
	var all []Link
	for pages := 0; pages < maxPages; pages++ {
		a, err := b.call(ctx, exchange{method: http.MethodGet, url: b.base + "/payment-links?" + v.Encode()}, nil)
		if err != nil {
			return nil, err
		}
		p, err := understood(linksOf(a.body))
		if err != nil {
			return nil, err
		}
		if all = append(all, p.links...); p.next == "" {
			return all, nil
		}
		v.Set("cursor", p.next)
	}
	return nil, bankapi.Unreadable("list_too_long", "The bank's list is longer than can be read in one go.", nil)
}

type linkPage struct {
	links []Link
	next  string
}

func linksOf(body []byte) (p linkPage, err error) {
	var d struct {
		PaymentLinks *[]linkDoc `json:"paymentLinks"`
		Metadata     struct {
			Cursor struct {
				Next string `json:"next"`
			} `json:"cursor"`
		} `json:"metadata"`
	}
	if err := bankapi.Decode(body, &d); err != nil {
		return p, err
	}
	p.next = d.Metadata.Cursor.Next
	if d.PaymentLinks == nil || len(p.next) > 128 || !printable(p.next) {
		return linkPage{}, bankapi.Fault("malformed")
	}
	for _, one := range *d.PaymentLinks {
		l, err := one.link("")
		if err != nil {
			return linkPage{}, err
		}
		p.links = append(p.links, l)
	}
	return p, nil
}
