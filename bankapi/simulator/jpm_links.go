package simulator

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"placard/linking"
)

// jpmLink is a payment link: a permanent location that shows one request at a time.
type jpmLink struct {
	id, kind, token, url string
	number               int64
	made                 time.Time
	shows                *jpmRequest // it may have ended since: see shown
}

type jpmLinkShown struct {
	ID                  string `json:"id"`
	AlternateIdentifier int64  `json:"alternateIdentifier,omitempty"`
	ExpirationType      string `json:"expirationType"`
	Country             string `json:"country"`
	URL                 string `json:"url"`
	CreatedAt           string `json:"createdAt"`
	PaymentRequestID    string `json:"paymentRequestId,omitempty"`
}

func jpmUUID() string {
	h := jpmHexID()
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// newLink makes a link that is not in the books yet.
func (jw *jpmWire) newLink(c *jpmCall, kind string) *jpmLink {
	l := &jpmLink{id: jpmUUID(), kind: kind, token: jpmUUID(), number: int64(len(c.book.printed)) + 10001, made: jw.s.ledger.time()}
	path := "/jpm/pix/"
	if kind == "DUE_DATE" {
		path += "cobv/"
	}
	l.url = jw.s.publicURL(c.r) + path + l.token
	return l
}

func (b *jpmBooks) keepLink(l *jpmLink) {
	if b.links[l.id] == nil {
		b.links[l.id], b.byURL[l.token] = l, l
		b.printed = append(b.printed, l)
	}
}

// shown returns the request that a link shows, or nil.
func (jw *jpmWire) shown(acc string, l *jpmLink) *jpmRequest {
	if l.shows == nil || jw.o.KeepsEndedLinks {
		return l.shows
	}
	s, err := jw.s.ledger.get(acc, l.shows.ledgerID)
	if err != nil || s.status != linking.BankOpen && s.status != linking.BankProcessing && s.status != linking.BankAuthorised {
		return nil
	}
	return l.shows
}

func (jw *jpmWire) showLink(acc string, l *jpmLink) jpmLinkShown {
	out := jpmLinkShown{ID: l.id, AlternateIdentifier: l.number, ExpirationType: l.kind, Country: "BR", URL: l.url, CreatedAt: instant(l.made)}
	if r := jw.shown(acc, l); r != nil {
		out.PaymentRequestID = r.id
	}
	return out
}

// makeLink makes a link. It takes no Idempotency-Key: a call whose answer is lost
// leaves a link that nobody knows of.
func (jw *jpmWire) makeLink(c *jpmCall) (*jpmAnswer, error) {
	var in struct {
		ExpirationType string `json:"expirationType"`
		Country        string `json:"country"`
	}
	if err := jpmRead(c.body, jpmLinkRule, &in); err != nil {
		return nil, err
	}
	switch {
	case in.Country != "BR":
		return nil, jpmBad("10104", "$.country", "Payment links are for Brazil.")
	case in.ExpirationType != "IMMEDIATE" && in.ExpirationType != "DUE_DATE":
		return nil, jpmBad("10104", "$.expirationType", "A payment link is IMMEDIATE or DUE_DATE.")
	case len(c.book.printed) >= MaxRequests:
		return nil, refuse("full", "There are too many links.")
	}
	l := jw.newLink(c, in.ExpirationType)
	c.book.keepLink(l)
	return &jpmAnswer{status: http.StatusCreated, doc: jw.showLink(c.acc, l)}, nil
}

func (jw *jpmWire) getLink(c *jpmCall) (*jpmAnswer, error) {
	l := c.book.links[c.r.PathValue("id")]
	if l == nil {
		return nil, jpmNotFound()
	}
	return &jpmAnswer{status: http.StatusOK, doc: jw.showLink(c.acc, l)}, nil
}

// unlink is the Pix standard's way to empty a location. The request stays as it is,
// and has no location any more.
func (jw *jpmWire) unlink(c *jpmCall) (*jpmAnswer, error) {
	number, err := strconv.ParseInt(c.r.PathValue("loc"), 10, 64)
	i := slices.IndexFunc(c.book.printed, func(l *jpmLink) bool { return l.number == number })
	if err != nil || i < 0 {
		return nil, jpmNotFound()
	}
	l := c.book.printed[i]
	if l.shows != nil {
		l.shows.link = nil
		l.shows = nil
	}
	return &jpmAnswer{status: http.StatusOK, doc: jw.showLink(c.acc, l)}, nil
}

// jpmRange holds a span of time to the contract: a month at most, and a year back.
func jpmRange(from, to, now time.Time) (code, message string) {
	month := from.AddDate(0, 1, 0)
	if month.Day() != from.Day() { // 31 January and a month is the end of February
		month = month.AddDate(0, 0, -month.Day())
	}
	switch {
	case to.Before(from):
		return "10102", "The end is before the beginning."
	case to.After(month):
		return "10102", "The range is longer than a month."
	case from.Before(now.AddDate(-1, 0, 0)):
		return "10102", "The range begins more than a year ago."
	}
	return "", ""
}

type jpmMetadata struct {
	Cursor jpmCursor `json:"cursor"`
	AsOf   string    `json:"asOf"`
}

type jpmCursor struct {
	First     string `json:"first"`
	This      string `json:"this"`
	Next      string `json:"next,omitempty"`
	Prev      string `json:"prev,omitempty"`
	GoodUntil string `json:"goodUntil"`
}

// jpmPage cuts one page out of a list. Cursors are size and page number, as those
// that have been seen, and so they slip when the list changes.
func jpmPage[T any](all []T, size int, cursor string, now time.Time) ([]T, jpmMetadata, error) {
	number := 1
	if cursor != "" {
		text, err := base64.StdEncoding.DecodeString(cursor)
		if err == nil {
			_, err = fmt.Sscanf(string(text), "%d|%d", &size, &number)
		}
		if err != nil || size < 1 || size > 99 || number < 1 || number > 1_000_000 {
			return nil, jpmMetadata{}, jpmFail(400, "Bad value", jpmContext{"10104", "That is no cursor.", "cursor", "QUERY"})
		}
	}
	at := func(n int) string { return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%d|%d", size, n)) }
	m := jpmMetadata{jpmCursor{First: at(1), This: at(number), GoodUntil: instant(now.Add(time.Hour))}, instant(now)}
	from, to := min((number-1)*size, len(all)), min(number*size, len(all))
	if to < len(all) {
		m.Cursor.Next = at(number + 1)
	}
	if number > 1 {
		m.Cursor.Prev = at(number - 1)
	}
	return all[from:to], m, nil
}

func (jw *jpmWire) listLinks(c *jpmCall) (*jpmAnswer, error) {
	q := c.r.URL.Query()
	bad := func(code, name, message string) error {
		return jpmFail(400, jpmCodes[code], jpmContext{code, message, name, "QUERY"})
	}
	for name := range q {
		if !slices.Contains([]string{"fromDate", "toDate", "expirationType", "requestMethodType", "paymentLinkStatus", "pageSize", "cursor"}, name) {
			return nil, bad("10105", name, "Unexpected parameter.")
		}
	}
	now := jw.s.ledger.time()
	var span [2]time.Time
	for i, name := range []string{"fromDate", "toDate"} {
		if q.Get(name) == "" {
			return nil, bad("10001", name, "Mandatory parameter is missing.")
		}
		var err error
		if span[i], err = time.Parse(time.RFC3339, q.Get(name)); err != nil {
			return nil, bad("10103", name, "The format is wrong.")
		}
	}
	if code, message := jpmRange(span[0], span[1], now); code != "" {
		return nil, bad(code, "toDate", message)
	}
	size := 10
	if v := q.Get("pageSize"); v != "" {
		var err error
		if size, err = strconv.Atoi(v); err != nil || size < 1 || size > 99 {
			return nil, bad("10102", "pageSize", "A page has 1 to 99.")
		}
	}
	found := []jpmLinkShown{}
	for _, l := range c.book.printed {
		shown := jw.showLink(c.acc, l)
		switch {
		case l.made.Before(span[0]) || l.made.After(span[1]):
		case q.Get("expirationType") != "" && q.Get("expirationType") != l.kind:
		case q.Get("paymentLinkStatus") == "LINKED" && shown.PaymentRequestID == "":
		case q.Get("paymentLinkStatus") == "NOT_LINKED" && shown.PaymentRequestID != "":
		default:
			found = append(found, shown)
		}
	}
	page, m, err := jpmPage(found, size, q.Get("cursor"), now)
	if err != nil {
		return nil, err
	}
	return &jpmAnswer{status: http.StatusOK, doc: struct {
		PaymentLinks []jpmLinkShown `json:"paymentLinks"`
		Metadata     jpmMetadata    `json:"metadata"`
	}{page, m}}, nil
}

// scanned is what a payer's bank finds at a location. This bank's app is a page, so
// that any camera will do.
func (jw *jpmWire) scanned(w http.ResponseWriter, r *http.Request) {
	token := r.PathValue("token")
	jw.mu.Lock()
	defer jw.mu.Unlock()
	for acc, b := range jw.books {
		l := b.byURL[token]
		if l == nil || (l.kind == "DUE_DATE") != strings.Contains(r.URL.Path, "/cobv/") {
			continue
		}
		if shown := jw.shown(acc, l); shown != nil {
			if s, err := jw.s.ledger.get(acc, shown.ledgerID); err == nil {
				http.Redirect(w, r, "/app/"+url.PathEscape(s.bankID), http.StatusSeeOther)
				return
			}
		}
	}
	jw.s.showApp(w, http.StatusNotFound, appView{Heading: "There is nothing to pay here"})
}
