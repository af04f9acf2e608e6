package simulator

import (
	"net/http"
	"time"

	"placard/linking"
)

// jpmSearch is a search's body: flat, with dots in its names.
type jpmSearch struct {
	CreatedFrom string `json:"createdDate.gte"`
	CreatedTo   string `json:"createdDate.lte"`
	EndsFrom    string `json:"expirationDate.gte"`
	EndsTo      string `json:"expirationDate.lte"`
	PaidFrom    string `json:"paymentDate.gte"`
	PaidTo      string `json:"paymentDate.lte"`
	AmountFrom  string `json:"amount.gte"`
	AmountTo    string `json:"amount.lte"`
	Status      string `json:"status"`
	BulkID      string `json:"bulkId"`
	EndToEndID  string `json:"endToEndId"`
	QRCodeType  string `json:"qrCodeType"`
	Country     string `json:"country"`
	LinkStatus  string `json:"paymentLinkStatus"`
	PageSize    int    `json:"pageSize"`
	Cursor      string `json:"cursor"`
	Debtor      *struct {
		Name           string  `json:"name"`
		TaxInformation *jpmTIN `json:"taxInformation"`
	} `json:"debtor"`
	Creditor *struct {
		Account struct {
			AlternateAccountIdentifier string `json:"alternateAccountIdentifier"`
		} `json:"account"`
		Country string `json:"country"`
	} `json:"creditor"`
}

// span is a range of times, each end included; a zero end is open.
type span struct{ from, to time.Time }

func (s span) has(t time.Time) bool {
	switch {
	case s == span{}:
		return true
	case t.IsZero():
		return false
	}
	return !t.Before(s.from) && (s.to.IsZero() || !t.After(s.to))
}

func jpmSpan(from, to, name string, now time.Time) (s span, err error) {
	for _, end := range []struct {
		text, name string
		at         *time.Time
	}{{from, name + ".gte", &s.from}, {to, name + ".lte", &s.to}} {
		if end.text == "" {
			continue
		}
		if *end.at, err = time.Parse(time.RFC3339Nano, end.text); err != nil {
			return s, jpmBad("10103", "$."+end.name, "The format is wrong.")
		}
	}
	if s.from.IsZero() != s.to.IsZero() {
		return s, jpmBad("10001", "$."+name, "A range has two ends.")
	}
	if s != (span{}) {
		if code, message := jpmRange(s.from, s.to, now); code != "" {
			return s, jpmBad(code, "$."+name, message)
		}
	}
	return s, nil
}

// search lists requests by when they were made, and what else is asked.
func (jw *jpmWire) search(c *jpmCall) (*jpmAnswer, error) {
	var in jpmSearch
	if err := jpmRead(c.body, jpmSearchRule, &in); err != nil {
		return nil, err
	}
	cursor := in.Cursor
	if q := c.r.URL.Query().Get("cursor"); q != "" {
		cursor = q
	}
	if cursor != "" && jw.o.NoCursors {
		return nil, jpmBad("10105", "$.cursor", "Unexpected field.")
	}
	now := jw.s.ledger.time()
	made, err := jpmSpan(in.CreatedFrom, in.CreatedTo, "createdDate", now)
	if err != nil {
		return nil, err
	}
	ends, err := jpmSpan(in.EndsFrom, in.EndsTo, "expirationDate", now)
	if err != nil {
		return nil, err
	}
	paid, err := jpmSpan(in.PaidFrom, in.PaidTo, "paymentDate", now)
	if err != nil {
		return nil, err
	}
	size := in.PageSize
	if size == 0 {
		size = 10
	}
	type one struct {
		r *jpmRequest
		s requestSnapshot
	}
	var found []one
	for _, r := range c.book.order {
		if !made.has(r.made) || now.Sub(r.made) < jw.o.SearchLag {
			continue
		}
		s, err := jw.s.ledger.get(c.acc, r.ledgerID)
		if err == nil && in.matches(r, s, jw.shownBy(c.acc, r), ends, paid) {
			found = append(found, one{r, s})
		}
	}
	page, m, err := jpmPage(found, size, cursor, now)
	if err != nil {
		return nil, err
	}
	shown := make([]jpmDetails, len(page))
	for i, o := range page {
		shown[i] = jw.details(c, o.r, o.s, len(o.r.revisions)-1)
	}
	return &jpmAnswer{status: http.StatusOK, doc: struct {
		Requests []jpmDetails `json:"requests"`
		Metadata jpmMetadata  `json:"metadata"`
	}{shown, m}}, nil
}

// shownBy reports whether some link shows r.
func (jw *jpmWire) shownBy(acc string, r *jpmRequest) bool {
	return r.link != nil && jw.shown(acc, r.link) == r
}

func (in *jpmSearch) matches(r *jpmRequest, s requestSnapshot, linked bool, ends, paid span) bool {
	ask := &r.last().ask
	var settled time.Time
	if len(s.payments) > 0 {
		settled = s.payments[0].at
	}
	from, fromOK := linking.Currency(ask.currency).ParseDecimal(in.AmountFrom)
	to, toOK := linking.Currency(ask.currency).ParseDecimal(in.AmountTo)
	switch {
	case !ends.has(ask.ends), !paid.has(settled),
		fromOK && ask.amount < from, toOK && ask.amount > to,
		in.Status != "" && in.Status != jpmStatuses[s.status],
		in.BulkID != "" && in.BulkID != r.bulk,
		in.EndToEndID != "" && in.EndToEndID != r.endToEnd,
		in.QRCodeType == "STATIC",
		in.Country != "" && in.Country != r.country,
		in.LinkStatus == "LINKED" && !linked, in.LinkStatus == "NOT_LINKED" && linked:
		return false
	}
	if d := in.Debtor; d != nil {
		if ask.Debtor == nil || d.Name != "" && d.Name != ask.Debtor.Name ||
			d.TaxInformation != nil && (ask.Debtor.TaxInformation == nil || *d.TaxInformation != *ask.Debtor.TaxInformation) {
			return false
		}
	}
	if w := in.Creditor; w != nil {
		if w.Account.AlternateAccountIdentifier != "" && w.Account.AlternateAccountIdentifier != ask.Creditor.Account.AlternateAccountIdentifier ||
			w.Country != "" && w.Country != r.country {
			return false
		}
	}
	return true
}
