package simulator

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"placard/linking"
)

// jpmRequest is one payment request as this wire has it; how it stands is the
// ledger's to say.
type jpmRequest struct {
	id, ledgerID, account, endToEnd, country string // these never change
	made                                     time.Time

	updated   time.Time
	revisions []jpmRevision // the last is what holds
	link      *jpmLink
	bulk      string
}

// jpmRevision is what was asked for, once.
type jpmRevision struct {
	ask    jpmAsk
	raw    map[string]any // the same as it came, for echoing
	method jpmMethod
	qr     bool
	text   string // of the code
	image  []byte
}

func (r *jpmRequest) last() *jpmRevision { return &r.revisions[len(r.revisions)-1] }

type jpmNew struct {
	ID                string         `json:"id"`
	EndToEndID        string         `json:"endToEndId"`
	Country           string         `json:"country"`
	Request           map[string]any `json:"request"`
	RequestMethodType string         `json:"requestMethodType"`
	RequestMethod     jpmMethod      `json:"requestMethod"`
}

type jpmMethod struct {
	QRCodeType      string  `json:"qrCodeType"`
	PaymentLinkID   *string `json:"paymentLinkId"` // "" is not the same as none
	ContentType     string  `json:"contentType"`
	CorrectionLevel string  `json:"correctionLevel"`
	ImageWidth      int     `json:"imageWidth"`
}

// maxRevisions is the greatest revisionNumber.
const maxRevisions = 100

// find returns a request of the account, and how it stands. One that the ledger has
// forgotten is forgotten here too.
func (jw *jpmWire) find(c *jpmCall, id string) (*jpmRequest, requestSnapshot, error) {
	r := c.book.requests[id]
	if r == nil {
		return nil, requestSnapshot{}, jpmNotFound()
	}
	s, err := jw.s.ledger.get(c.acc, r.ledgerID)
	if codeOf(err) == "not_found" {
		c.book.forget(r)
		jw.told.Delete(r.ledgerID)
		return nil, s, jpmNotFound()
	}
	return r, s, err
}

func (b *jpmBooks) forget(r *jpmRequest) {
	delete(b.requests, r.id)
	delete(b.ends, r.endToEnd)
	b.order = slices.DeleteFunc(b.order, func(o *jpmRequest) bool { return o == r })
}

// jpmIDs are the ids a client may choose.
var jpmIDs = regexp.MustCompile(`^[a-zA-Z0-9]{26,35}$`)

// create makes a request under an id of the bank's.
func (jw *jpmWire) create(c *jpmCall) (*jpmAnswer, error) {
	return jw.once(c, func() (*jpmAnswer, error) {
		var in jpmNew
		if err := jpmRead(c.body, jpmNewRule, &in); err != nil {
			return nil, err
		}
		r, err := jw.put(c, nil, jpmHexID(), in, "")
		if err != nil {
			return nil, err
		}
		return jw.answerWith(c, http.StatusCreated, r)
	})
}

// update makes a request under the client's own id, or revises it.
func (jw *jpmWire) update(c *jpmCall) (*jpmAnswer, error) {
	var in jpmNew
	if err := jpmRead(c.body, jpmUpdateRule, &in); err != nil {
		return nil, err
	}
	id, match := c.r.PathValue("id"), c.r.Header.Get("If-Match")
	if len(match) > 100 {
		return nil, jpmFail(400, "Maximum length", jpmContext{"10003", "At most 100 characters.", "If-Match", "HEADER"})
	}
	r, s, err := jw.find(c, id)
	stale := jpmFail(http.StatusPreconditionFailed, "Precondition failed", jpmContext{Message: "The resource has changed.", Field: "If-Match", Location: "HEADER"})
	if r == nil {
		switch {
		case !jpmIDs.MatchString(id):
			return nil, jpmBad("10103", "id", "Invalid resource identifier format.")
		case match != "":
			return nil, stale
		case in.Country == "":
			return nil, jpmBad("10001", "$.country", "Mandatory field is missing.")
		case in.Country != "BR":
			return nil, jpmFail(http.StatusMethodNotAllowed, "Method not allowed")
		}
	} else if err != nil {
		return nil, err
	} else if match != "" && match != jpmETag(r, s) {
		return nil, stale
	}
	if r, err = jw.put(c, r, id, in, ""); err != nil {
		return nil, err
	}
	return jw.answerWith(c, http.StatusOK, r)
}

// put makes a request, or revises r.
func (jw *jpmWire) put(c *jpmCall, r *jpmRequest, id string, in jpmNew, bulk string) (*jpmRequest, error) {
	now := jw.s.ledger.time()
	country, made, ledgerID, endToEnd, number := in.Country, now, id, in.EndToEndID, 0
	var link *jpmLink
	if r != nil {
		if in.Country != "" && in.Country != r.country {
			return nil, jpmBad("10104", "$.country", "The country cannot change.")
		}
		country, made, ledgerID, endToEnd, link, number = r.country, r.made, r.ledgerID, r.endToEnd, r.link, len(r.revisions)
		if country != "BR" {
			return nil, jpmFail(http.StatusMethodNotAllowed, "Method not allowed")
		}
		if number > maxRevisions {
			return nil, jpmBad("10199", "id", "There have been too many revisions.")
		}
	}
	ask, err := jpmAskOf(country, in, made)
	if err != nil {
		return nil, err
	}
	if r == nil && country != "BR" {
		if endToEnd == "" {
			endToEnd = id
		}
		ledgerID = endToEnd
		if c.book.ends[endToEnd] != nil {
			if !jw.o.AcceptsTwins {
				return nil, jpmBad("10104", "$.endToEndId", "The identifier is in use.")
			}
			ledgerID = id
		}
	}
	if country == "BR" {
		if link, err = jw.bind(c, r, link, in, ask); err != nil {
			return nil, err
		}
		if link == nil && number == 0 && in.RequestMethod.PaymentLinkID == nil { // a location of its own
			link = jw.newLink(c, ask.ExpirationType)
		}
	}
	rev := jpmRevision{ask: ask, raw: in.Request, method: in.RequestMethod, qr: in.RequestMethodType == "QR_CODE"}
	if rev.qr {
		if rev.text, err = ask.emv(country, endToEnd, jw.s.ledger.merchant(c.acc), link); err == nil && !jw.o.NoPictures {
			err = rev.draw()
		}
		if err != nil {
			return nil, err
		}
	}
	s, _, err := jw.s.ledger.put(c.acc, ledgerID, ask.order(number+1, endToEnd))
	if err != nil {
		return nil, err
	}
	if r == nil {
		if country != "BR" {
			id = s.bankID
		}
		r = &jpmRequest{id: id, ledgerID: ledgerID, account: c.acc, endToEnd: endToEnd, country: country, made: made, bulk: bulk}
		c.book.requests[id] = r
		c.book.order = append(c.book.order, r)
		if endToEnd != "" && c.book.ends[endToEnd] == nil {
			c.book.ends[endToEnd] = r
		}
		jw.told.Store(ledgerID, r)
	}
	if r.link != nil && r.link != link {
		r.link.shows = nil
	}
	if r.link = link; link != nil {
		if link.shows != nil && link.shows != r {
			link.shows.link = nil // the end of that one freed it
		}
		link.shows = r
		c.book.keepLink(link)
	}
	r.updated = now
	r.revisions = append(r.revisions, rev)
	return r, nil
}

// bind says which link a request will have, by what is asked for.
func (jw *jpmWire) bind(c *jpmCall, r *jpmRequest, has *jpmLink, in jpmNew, ask jpmAsk) (*jpmLink, error) {
	const field = "$.requestMethod.paymentLinkId"
	name := in.RequestMethod.PaymentLinkID
	switch {
	case name == nil:
		return has, nil
	case *name == "" && jw.o.RefusesEmptyLink:
		return nil, jpmBad("10104", field, "There is no such payment link.")
	case *name == "":
		return nil, nil
	}
	l := c.book.links[*name]
	switch {
	case l == nil:
		return nil, jpmBad("10104", field, "There is no such payment link.")
	case l.kind != ask.ExpirationType:
		return nil, jpmBad("10104", field, "The payment link is of another expiration type.")
	case l != has && jw.shown(c.acc, l) != nil:
		return nil, jpmBad("10104", field, "The payment link is in use.")
	}
	return l, nil
}

func (jw *jpmWire) get(c *jpmCall) (*jpmAnswer, error) {
	r, s, err := jw.find(c, c.r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	number := len(r.revisions) - 1
	for name, v := range c.r.URL.Query() {
		n, err := strconv.Atoi(v[0])
		if name != "revisionNumber" || err != nil || n < 0 || n >= len(r.revisions) {
			return nil, jpmFail(400, "Bad value", jpmContext{"10104", "There is no such revision.", name, "QUERY"})
		}
		number = n
	}
	return &jpmAnswer{status: http.StatusOK, etag: jpmETag(r, s), doc: jw.details(c, r, s, number)}, nil
}

func (jw *jpmWire) answerWith(c *jpmCall, status int, r *jpmRequest) (*jpmAnswer, error) {
	s, err := jw.s.ledger.get(c.acc, r.ledgerID)
	if err != nil {
		return nil, err
	}
	return &jpmAnswer{status: status, etag: jpmETag(r, s), doc: jw.details(c, r, s, len(r.revisions)-1)}, nil
}

// jpmETag changes with everything that changes.
func jpmETag(r *jpmRequest, s requestSnapshot) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %s %d", r.id, len(r.revisions), s.status, s.changedAt.UnixNano()))
	return `"` + hex.EncodeToString(sum[:6]) + "-r" + strconv.Itoa(len(r.revisions)) + `"`
}

// cancel ends a request that can still be paid.
func (jw *jpmWire) cancel(c *jpmCall) (*jpmAnswer, error) {
	var in struct{}
	if err := jpmRead(c.body, jpmCancelRule, &in); err != nil {
		return nil, err
	}
	r, was, err := jw.find(c, c.r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	s, err := jw.s.ledger.close(c.acc, r.ledgerID)
	if err != nil {
		return nil, err
	}
	if s.status != linking.BankClosed || was.status == linking.BankClosed && !jw.o.CancelsTwice {
		return nil, jpmBad("10199", "id", "The payment request is not active.")
	}
	if was.status != linking.BankClosed {
		r.updated = jw.s.ledger.time()
	}
	return &jpmAnswer{status: http.StatusOK, doc: struct {
		Message string `json:"message"`
	}{"Payment request cancelled successfully"}}, nil
}

// jpmReplay is the answer to a call under an Idempotency-Key.
type jpmReplay struct {
	sum    [32]byte
	at     time.Time
	answer *jpmAnswer
	id     string // of the request it made
}

// replayLife is how long a key holds, by the bank's clock.
const replayLife = 24 * time.Hour

var jpmKeys = regexp.MustCompile(`^[-_.a-zA-Z0-9]{36}$`)

// once answers a repeated Idempotency-Key without doing anything again.
func (jw *jpmWire) once(c *jpmCall, make func() (*jpmAnswer, error)) (*jpmAnswer, error) {
	key := c.r.Header.Get("Idempotency-Key")
	if key == "" {
		return make()
	}
	if !jpmKeys.MatchString(key) {
		return nil, jpmFail(400, "Bad format", jpmContext{"10103", "An idempotency key has 36 characters.", "Idempotency-Key", "HEADER"})
	}
	now, sum := jw.s.ledger.time(), sha256.Sum256(c.body)
	first, ok := c.book.replays[key]
	if ok && now.Sub(first.at) < replayLife {
		switch {
		case first.sum != sum:
			return nil, jpmFail(jw.o.MismatchStatus, "Idempotency mismatch", jpmContext{"10106", "The key came with another body.", "Idempotency-Key", "HEADER"})
		case jw.o.PlainReplay || first.id == "":
			return first.answer, nil
		}
		return &jpmAnswer{status: http.StatusOK, replay: true, doc: map[string]any{"duplicateOf": first.id}}, nil
	}
	a, err := make()
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(c.book.replays, func(_ string, r jpmReplay) bool { return now.Sub(r.at) >= replayLife })
	made := jpmReplay{sum: sum, at: now, answer: a}
	if d, ok := a.doc.(jpmDetails); ok {
		made.id = d.ID
	}
	c.book.replays[key] = made
	return a, nil
}

func jpmHexID() string {
	sum := sha256.Sum256([]byte(named("")))
	return hex.EncodeToString(sum[:16])
}

// What is answered.

type jpmDetails struct {
	ID                string         `json:"id"`
	EndToEndID        string         `json:"endToEndId,omitempty"`
	RevisionNumber    int            `json:"revisionNumber"`
	Country           string         `json:"country"`
	Request           map[string]any `json:"request"`
	RequestMethodType string         `json:"requestMethodType"`
	RequestMethod     *jpmShown      `json:"requestMethod,omitempty"`
	CreatedAt         string         `json:"createdAt"`
	UpdatedAt         string         `json:"updatedAt"`
	ExpiresAt         string         `json:"expiresAt,omitempty"`
	Status            string         `json:"status"`
	SettlementSummary *jpmSettlement `json:"settlementSummary,omitempty"`
	Extra             map[string]any `json:"riskAssessment,omitempty"`
}

type jpmShown struct {
	QRCodeType  string        `json:"qrCodeType"`
	Image       []byte        `json:"image,omitempty"`
	MimeType    string        `json:"mimeType,omitempty"`
	ImageWidth  int           `json:"imageWidth,omitempty"`
	Text        string        `json:"text,omitempty"`
	PaymentLink *jpmLinkShown `json:"paymentLink,omitempty"`
}

type jpmSettlement struct {
	Payment *jpmPayment `json:"payment,omitempty"`
	Returns []jpmReturn `json:"returns,omitempty"`
}

type jpmPayment struct {
	EndToEndID string `json:"endToEndId"`
	Currency   string `json:"currency"`
	Amount     string `json:"amount"`
	Interest   string `json:"interest,omitempty"`
	Penalty    string `json:"penalty,omitempty"`
	Discount   string `json:"discount,omitempty"`
	Reduction  string `json:"reduction,omitempty"`
	SettledAt  string `json:"settledAt"`
}

type jpmReturn struct {
	ID        string `json:"id"`
	Currency  string `json:"currency"`
	Amount    string `json:"amount"`
	Type      string `json:"type"`
	CreatedAt string `json:"createdAt,omitempty"`
	SettledAt string `json:"settledAt,omitempty"`
	Status    string `json:"status"`
}

var jpmStatuses = map[linking.BankStatus]string{
	linking.BankOpen: "ACTIVE", linking.BankProcessing: "PROCESSING", linking.BankAuthorised: "PROCESSING", linking.BankPaid: "SETTLED",
	linking.BankClosed: "CANCELLED", linking.BankRejected: "CANCELLED", linking.BankExpired: "EXPIRED",
}

// details shows one revision of a request.
func (jw *jpmWire) details(c *jpmCall, r *jpmRequest, s requestSnapshot, number int) jpmDetails {
	rev := &r.revisions[number]
	d := jpmDetails{
		ID: r.id, EndToEndID: r.endToEnd, RevisionNumber: number, Country: r.country, Request: maps.Clone(rev.raw), RequestMethodType: "NONE",
		CreatedAt: instant(r.made), UpdatedAt: instant(jpmLater(r.updated, s.changedAt)), ExpiresAt: instant(rev.ask.ends), Status: jpmStatuses[s.status],
	}
	if jw.o.EndToEndInside && r.endToEnd != "" {
		d.EndToEndID = ""
		d.Request["endToEndId"] = r.endToEnd
	}
	if jw.o.Extras {
		d.Extra = map[string]any{"score": 7, "settledAt": "never"}
		d.Request["mood"] = "sunny"
	}
	if rev.qr {
		d.RequestMethodType = "QR_CODE"
		m := &jpmShown{QRCodeType: "DYNAMIC", Text: rev.text}
		if rev.image != nil {
			m.ImageWidth, m.MimeType, m.Image = rev.width(), "image/png", rev.image
		}
		if r.link != nil {
			shown := jw.showLink(c.acc, r.link)
			shown.AlternateIdentifier = 0 // it is absent here
			m.PaymentLink = &shown
		}
		d.RequestMethod = m
	}
	if len(s.payments) > 0 {
		d.SettlementSummary = jw.settlement(r, rev, s)
	}
	return d
}

// settlement shows the first payment: there is room for one.
func (jw *jpmWire) settlement(r *jpmRequest, rev *jpmRevision, s requestSnapshot) *jpmSettlement {
	p := s.payments[0]
	money := func(a linking.Amount) string {
		if a == 0 {
			return ""
		}
		return p.money.Currency.Decimal(a)
	}
	out := &jpmSettlement{Payment: &jpmPayment{EndToEndID: p.id, Currency: string(p.money.Currency), Amount: p.money.Currency.Decimal(p.money.Amount), SettledAt: instant(p.at)}}
	if ch := rev.ask.charges(p.at); ch.total(rev.ask.amount) == p.money.Amount { // else nobody knows what it is made of
		out.Payment.Interest, out.Payment.Penalty = money(ch.interest), money(ch.penalty)
		out.Payment.Discount, out.Payment.Reduction = money(ch.discount), money(ch.reduction)
	}
	for _, f := range p.refunds {
		back := jpmReturn{ID: f.id, Currency: string(p.money.Currency), Amount: p.money.Currency.Decimal(f.amount), Type: "USER_REQUEST", CreatedAt: instant(f.at)}
		if jw.o.ReturnsCountry {
			back.Currency = r.country
		}
		switch f.status {
		case linking.RefundPending:
			back.Status = "PENDING"
		case linking.RefundFailed:
			back.Status = "FAILED"
		default:
			back.Status, back.SettledAt = "COMPLETED", instant(f.at)
			if jw.o.ReturnsSuccess {
				back.Status = "SUCCESS"
			}
		}
		out.Returns = append(out.Returns, back)
	}
	return out
}

func jpmLater(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
