package jpm

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"placard/bankapi"
	"placard/linking"
)

// searchDoc is the body of a search: flat, with dots in its names.
type searchDoc struct {
	CreatedFrom string `json:"createdDate.gte"`
	CreatedTo   string `json:"createdDate.lte"`
	EndsFrom    string `json:"expirationDate.gte,omitempty"`
	EndsTo      string `json:"expirationDate.lte,omitempty"`
	PaidFrom    string `json:"paymentDate.gte,omitempty"`
	PaidTo      string `json:"paymentDate.lte,omitempty"`
	Status      string `json:"status,omitempty"`
	EndToEndID  string `json:"endToEndId,omitempty"`
	Country     string `json:"country"`
	PageSize    int    `json:"pageSize"`
	Cursor      string `json:"cursor,omitempty"`
}

// listedDoc is one request of a list, as far as it matters there.
type listedDoc struct {
	ID         string `json:"id"`
	EndToEndID string `json:"endToEndId"`
	UpdatedAt  string `json:"updatedAt"`
	Request    struct {
		EndToEndID string `json:"endToEndId"`
	} `json:"request"`
}

// mine returns the id the request has with us, "" if it is somebody else's.
func (d *listedDoc) mine(country string) linking.RequestID {
	name := d.ID
	if country != brazil {
		if name = d.EndToEndID; name == "" {
			name = d.Request.EndToEndID
		}
	}
	id, ok := linking.ParseRequestID(name)
	if !ok || string(id) != name {
		return ""
	}
	return id
}

const (
	// window is within the shortest month: the most that one search may span.
	window = 28 * 24 * time.Hour
	// history is how far back the bank lists, less a day.
	history = 364 * 24 * time.Hour
	// ahead is how much later than now a search ends: clocks differ.
	ahead = time.Hour
	// maxPages bounds one round of searches.
	maxPages = 400
)

// pageSize is the most on a page. Where each request comes with a picture of its code
// a page is kept well below bankapi.MaxAnswer.
func (b *Bank) pageSize() int {
	if b.country == brazil {
		return 99
	}
	return 20
}

// moment writes a time to the millisecond, as fine as a search is divided.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// page gets one page of a search. next is "" on the last.
func (b *Bank) page(ctx context.Context, q searchDoc, cursor string) (found []listedDoc, next string, err error) {
	target := b.base + "/payment-requests/search"
	switch {
	case cursor == "":
	case b.cursor == "body":
		q.Cursor = cursor
	default:
		target += "?cursor=" + url.QueryEscape(cursor)
	}
	a, err := b.call(ctx, exchange{method: http.MethodPost, url: target}, q)
	if err != nil {
		return nil, "", err
	}
	type list struct {
		found []listedDoc
		next  string
	}
	l, err := understood(func() (l list, err error) {
		l.found, l.next, err = listOf(a.body)
		return l, err
	}())
	return l.found, l.next, err
}

// listOf reads one page.
func listOf(body []byte) (found []listedDoc, next string, err error) {
	var d struct {
		Requests *[]listedDoc `json:"requests"`
		Metadata struct {
			Cursor struct {
				Next string `json:"next"`
			} `json:"cursor"`
		} `json:"metadata"`
	}
	if err := bankapi.Decode(body, &d); err != nil {
		return nil, "", err
	}
	next = d.Metadata.Cursor.Next
	if d.Requests == nil || len(next) > 128 || !printable(next) {
		return nil, "", bankapi.Fault("malformed")
	}
	return *d.Requests, next, nil
}

// span is a time from one instant to another, both included.
type span struct{ from, to time.Time }

// windows cuts a span into those that one search may have.
func (s span) windows() (all []span) {
	for from := s.from; from.Before(s.to); from = from.Add(window) {
		to := from.Add(window)
		if to.After(s.to) {
			to = s.to
		}
		all = append(all, span{from, to})
	}
	return all
}

// search hands every request that q finds among those made within s to take. pages
// counts down.
func (b *Bank) search(ctx context.Context, q searchDoc, s span, pages *int, take func(listedDoc)) error {
	q.CreatedFrom, q.CreatedTo = moment(s.from), moment(s.to)
	q.Country, q.PageSize = b.country, b.pageSize()
	for cursor, more := "", true; more; {
		if *pages--; *pages < 0 {
			return bankapi.Unreadable("list_too_long", "The bank's list is longer than can be read in one go.", nil)
		}
		found, next, err := b.page(ctx, q, cursor)
		if err != nil {
			return err
		}
		if b.cursor == "none" && (next != "" || len(found) >= q.PageSize) {
			return b.halve(ctx, q, s, pages, take)
		}
		for _, d := range found {
			take(d)
		}
		cursor, more = next, next != ""
	}
	return nil
}

// halve searches the two halves of a span whose requests do not fit on a page. They
// share an instant, so that none falls between them.
func (b *Bank) halve(ctx context.Context, q searchDoc, s span, pages *int, take func(listedDoc)) error {
	if s.to.Sub(s.from) <= time.Millisecond {
		return bankapi.Unreadable("list_too_long", "The bank made more requests at one instant than fit on a page. Set search_cursor as the bank says.", nil)
	}
	middle := s.from.Add(s.to.Sub(s.from) / 2).Truncate(time.Millisecond)
	if !middle.After(s.from) {
		middle = s.from.Add(time.Millisecond)
	}
	if err := b.search(ctx, q, span{s.from, middle}, pages, take); err != nil {
		return err
	}
	return b.search(ctx, q, span{middle, s.to}, pages, take)
}

// find returns the bank's id of a request that it knows by our endToEndId.
func (b *Bank) find(ctx context.Context, id linking.RequestID) (string, error) {
	now := b.bankNow()
	s := span{now.Add(ahead - window), now.Add(ahead)}
	if made, ok := madeAt(id); ok && made.Before(now.Add(ahead)) && made.After(now.Add(-history)) {
		s.from = made.Add(-ahead)
	}
	ids, pages := map[string]bool{}, maxPages
	for _, w := range s.windows() {
		var wrong bool
		err := b.search(ctx, searchDoc{EndToEndID: string(id)}, w, &pages, func(d listedDoc) {
			wrong = wrong || d.mine(b.country) != id || !goodID(d.ID)
			ids[d.ID] = true
		})
		if err != nil {
			return "", err
		}
		if wrong {
			_, err := understood("", bankapi.Fault("wrong_id"))
			return "", err
		}
	}
	for one := range ids {
		if len(ids) > 1 {
			return "", bankapi.Unreadable("ambiguous", "The bank has more than one request under the same id of ours.", nil)
		}
		return one, nil
	}
	return "", &linking.BankError{Class: linking.BankAbsent, Code: "not_found", Detail: "The bank finds no such request."}
}

// madeAt reads the time in an id of ours: nine symbols of milliseconds after the shard.
func madeAt(id linking.RequestID) (time.Time, bool) {
	if len(id) != 26 {
		return time.Time{}, false
	}
	var ms int64
	for _, c := range []byte(id[2:11]) {
		v := strings.IndexByte("0123456789ABCDEFGHJKMNPQRSTVWXYZ", c)
		if v < 0 {
			return time.Time{}, false
		}
		ms = ms<<5 | int64(v)
	}
	return time.UnixMilli(ms), true
}

// deepScan remembers when this process last looked for payments of old requests.
type deepScan struct {
	mu sync.Mutex
	at time.Time
}

const (
	// overlap is how far each list reaches back into the one before it: the bank may
	// take half a minute to tell of a change.
	overlap = 30 * time.Second
	// deepEach is how often payments of requests older than nearby are looked for.
	// Each time a search for every month of a year is needed.
	deepEach = 5 * time.Minute
	// nearby is the age up to which a request's every change is looked for each time.
	// No immediate request gets older.
	nearby = 12 * 24 * time.Hour
)

// Changed implements linking.Bank. What is listed are payments by their date, ends by
// their date, and by when they were last changed what was cancelled or is being paid.
// Of requests older than nearby only payments are, every deepEach: that they ended,
// their own time tells. What went back after a payment is not listed at all.
func (b *Bank) Changed(ctx context.Context, since time.Time) (ids []linking.RequestID, next time.Time, err error) {
	pages := maxPages
	for try := 0; ; try++ {
		now := b.bankNow()
		ids, next, err = b.changed(ctx, since, now, &pages)
		// The first answer may show that our clock is off, and the list the wrong one.
		if err != nil || try > 0 || b.bankNow().Sub(now) < ahead/2 {
			return ids, next, err
		}
	}
}

func (b *Bank) changed(ctx context.Context, since, now time.Time, pages *int) (ids []linking.RequestID, next time.Time, err error) {
	oldest := now.Add(-history)
	from := since.Add(-overlap)
	if from.Before(oldest) {
		from = oldest
	}
	to, next := now.Add(ahead), now
	if to.Sub(from) > window { // long unasked: a month at a time
		to = from.Add(window)
		next = to
	}
	if next.Before(since) {
		next = since
	}
	seen := map[linking.RequestID]bool{}
	take := func(d listedDoc) {
		if id := d.mine(b.country); id != "" && !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	late := func(d listedDoc) { // by when it was changed, if that is told
		if at, err := timeOf(d.UpdatedAt); err != nil || at.IsZero() || !at.Before(from.Truncate(time.Second)) {
			take(d)
		}
	}
	paid := searchDoc{Status: "SETTLED", PaidFrom: moment(from.Truncate(time.Second)), PaidTo: moment(to)}
	for _, w := range (span{latest(from.Add(-nearby), oldest), to}).windows() {
		for _, q := range []struct {
			doc  searchDoc
			take func(listedDoc)
		}{
			{searchDoc{Status: "PROCESSING"}, late}, {paid, take}, {searchDoc{Status: "CANCELLED"}, late},
			{searchDoc{Status: "EXPIRED", EndsFrom: moment(from.Truncate(time.Second)), EndsTo: moment(to)}, take},
		} {
			if err := b.search(ctx, q.doc, w, pages, q.take); err != nil {
				return nil, time.Time{}, err
			}
		}
	}
	if can, _ := b.Abilities(ctx); can.MaxExpiry <= nearby || !b.deep.due(b.now()) {
		return ids, next, nil
	}
	paid.PaidFrom = moment(latest(from.Add(-deepEach-time.Minute), to.Add(-window)).Truncate(time.Second))
	for _, w := range (span{oldest, from.Add(-nearby)}).windows() {
		if err := b.search(ctx, paid, w, pages, take); err != nil {
			return nil, time.Time{}, err
		}
	}
	b.deep.done(b.now())
	return ids, next, nil
}

func (d *deepScan) due(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return now.Sub(d.at).Abs() >= deepEach
}

func (d *deepScan) done(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = now
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
