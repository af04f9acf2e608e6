package jpm

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"placard/bankapi"
	"placard/linking"
)

// What is sent, exactly. The same types read a request back where it is sent again.

type requestDoc struct {
	ID                string     `json:"id,omitempty"` // in a bulk only
	EndToEndID        string     `json:"endToEndId,omitempty"`
	Country           string     `json:"country,omitempty"`
	Request           *askDoc    `json:"request"`
	RequestMethodType string     `json:"requestMethodType"`
	RequestMethod     *methodDoc `json:"requestMethod"`
}

type askDoc struct {
	Creditor       creditorDoc `json:"creditor"`
	Debtor         *debtorDoc  `json:"debtor,omitempty"`
	ExpirationType string      `json:"expirationType"`
	PaymentDueDate string      `json:"paymentDueDate,omitempty"`
	ExpiresAt      string      `json:"expiresAt,omitempty"`
	Duration       *int64      `json:"duration,omitempty"`
	GracePeriod    *int        `json:"gracePeriod,omitempty"`
	Currency       string      `json:"currency"`
	PaymentAmount  string      `json:"paymentAmount"`
	Adjustable     *bool       `json:"isAmountAdjustable,omitempty"`
	termsDoc
	Reference string   `json:"reference,omitempty"`
	More      []infoDo `json:"additionalInformation,omitempty"`
}

type infoDo struct {
	ValueType string `json:"valueType"`
	Text      string `json:"text"`
}

type creditorDoc struct {
	Account struct {
		SchemeName struct {
			Proprietary string `json:"proprietary"`
		} `json:"schemeName"`
		Identifier string `json:"alternateAccountIdentifier"`
	} `json:"account"`
	Name    string   `json:"name,omitempty"`
	Address *cityDoc `json:"address,omitempty"`
}

type cityDoc struct {
	City string `json:"city"`
}

type debtorDoc struct {
	Name           string    `json:"name"`
	TaxInformation *taxDoc   `json:"taxInformation,omitempty"`
	Email          *emailDoc `json:"email,omitempty"`
}

type taxDoc struct {
	TaxpayerCategory string `json:"taxpayerCategory"`
	TaxID            string `json:"taxId"`
}

type emailDoc struct {
	Address string `json:"address"`
	Type    string `json:"type"`
}

type methodDoc struct {
	QRCodeType    string  `json:"qrCodeType,omitempty"`
	ContentType   string  `json:"contentType,omitempty"`
	PaymentLinkID *string `json:"paymentLinkId,omitempty"` // "" empties a link, nil leaves it
}

// Expiration types.
const (
	immediate = "IMMEDIATE"
	dueDate   = "DUE_DATE"
	scheduled = "SCHEDULED"
)

// The bank's limits of what a payer reads.
const (
	maxReference = 140
	maxNote      = 200
	maxDebtor    = 200
)

// method asks for a code's text; in Brazil for nothing but.
func (b *Bank) method(link string) *methodDoc {
	m := &methodDoc{QRCodeType: "DYNAMIC"}
	if b.country == brazil {
		m.ContentType = "TEXT_ONLY"
	}
	if link != "" {
		m.PaymentLinkID = &link
	}
	return m
}

func (b *Bank) creditor() (c creditorDoc) {
	c.Account.SchemeName.Proprietary, c.Account.Identifier = b.scheme, b.account
	if b.country == brazil {
		c.Name = b.name
		if b.city != "" {
			c.Address = &cityDoc{b.city}
		}
	}
	return c
}

// wanted holds an ask to what this bank can be asked for. What it returns lacks only
// the time left.
func (b *Bank) wanted(ask linking.Ask) (*askDoc, *linking.BankError) {
	a := &askDoc{Creditor: b.creditor(), Currency: string(ask.Money.Currency)}
	switch {
	case ask.Revision < 1:
		return nil, unsendable("unsendable", errors.New("a revision below 1"))
	case !slices.Contains(b.market.currencies, ask.Money.Currency):
		return nil, refusal("rail_currency", "The bank's market does not take that currency.")
	case ask.Money.Amount < 2 || ask.Money.Amount > linking.MaxAmount: // more than 0.01
		return nil, refusal("amount", "The bank takes amounts from 0.02.")
	case ask.Manual:
		return nil, refusal("rail_cannot_capture", "This bank cannot authorise now and capture later.")
	case ask.Min != 0 || ask.Max != 0:
		return nil, refusal("rail_cannot_adjust", "At this bank a payer cannot choose within a range.")
	case len(ask.Methods) > 0:
		return nil, refusal("rail_method", "This bank has no ways to pay to choose from.")
	case ask.ExpiresAt.IsZero():
		return nil, refusal("rail_expiry", "This bank holds no request without an end.")
	case ask.TimeLeft < time.Second:
		return nil, refusal("rail_expiry", "The request would have ended before it began.")
	case ask.Charge != "" && !slices.Contains(b.charges, ask.Charge):
		return nil, refusal("rail_charge", "The connection is not for that kind of request.")
	case ask.Link != nil && b.country != brazil:
		return nil, refusal("no_links", "The bank has payment links in Brazil only.")
	case ask.Link != nil && ask.Link.Charge != ask.Charge:
		return nil, refusal("wrong_link", "The code's payment link is for another kind of request.")
	case utf8.RuneCountInString(ask.Reference) > maxReference:
		return nil, refusal("reference", "A payer reads a reference of at most 140 characters.")
	}
	a.PaymentAmount = ask.Money.Currency.Decimal(ask.Money.Amount)
	if b.country != brazil {
		if ask.TimeLeft > longestOther {
			return nil, refusal("rail_expiry", "The request would be open for longer than the bank lists it.")
		}
		a.ExpirationType, a.Adjustable = scheduled, new(bool) // what is left out may be adjusted there
		a.ExpiresAt = instant(ask.ExpiresAt)
		return a, nil
	}
	a.Reference = ask.Reference
	if note := cut(ask.Note, maxNote); note != "" {
		a.More = []infoDo{{"Info", note}}
	}
	if ask.Charge == linking.DueDate {
		if ask.TimeLeft > longestOther {
			return nil, refusal("rail_expiry", "The request would be open for longer than the bank lists it.")
		}
		a.ExpirationType = dueDate
		a.PaymentDueDate = dueOn(ask.ExpiresAt, b.graceDays).Format(time.DateOnly)
		a.GracePeriod = &b.graceDays
		if a.Debtor = debtorOf(ask.Customer, true); a.Debtor == nil {
			return nil, refusal("rail_needs_debtor", "A due-date request needs the customer's name and a CPF or CNPJ.")
		}
		return a, nil
	}
	if ask.TimeLeft > longestImmediate {
		return nil, refusal("rail_expiry", "An immediate request is open for at most 999,999 seconds.")
	}
	a.ExpirationType, a.Adjustable, a.Debtor = immediate, new(bool), debtorOf(ask.Customer, false)
	return a, nil
}

// dueOn is the due date of a request that ends no later than ends: the bank ends it at
// the midnight UTC after the due date and the days of grace.
func dueOn(ends time.Time, grace int) time.Time {
	y, m, d := ends.UTC().Date()
	return time.Date(y, m, d-1-grace, 0, 0, 0, 0, time.UTC)
}

// debtorOf is what the bank is told of the payer, or nil if that is not enough: a
// name, and a tax id of Brazil's. The address is not sent; the bank wants it in parts.
func debtorOf(c linking.Customer, due bool) *debtorDoc {
	id := strings.NewReplacer(".", "", "-", "", "/", "", " ", "").Replace(c.TaxID)
	category := map[int]string{11: "INDIVIDUAL", 14: "CORPORATE"}[len(id)]
	alphanumeric := strings.IndexFunc(id, func(r rune) bool { return (r < '0' || r > '9') && (r < 'A' || r > 'Z') }) < 0
	if c.Name == "" || category == "" || !alphanumeric {
		return nil
	}
	d := &debtorDoc{Name: cut(c.Name, maxDebtor), TaxInformation: &taxDoc{category, id}}
	if due && c.Email != "" {
		d.Email = &emailDoc{c.Email, "PRIMARY"}
	}
	return d
}

// cut shortens a text to most characters.
func cut(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most])
	}
	return s
}

// instant writes a time in UTC and whole seconds, rounded down.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// What is read. Properties that the bank adds are passed over.

type detailsDoc struct {
	ID             *string         `json:"id"`
	EndToEndID     string          `json:"endToEndId"`
	RevisionNumber *int            `json:"revisionNumber"`
	Request        json.RawMessage `json:"request"`
	RequestMethod  *struct {
		Text        string   `json:"text"`
		PaymentLink *linkDoc `json:"paymentLink"`
	} `json:"requestMethod"`
	CreatedAt         string `json:"createdAt"`
	ExpiresAt         string `json:"expiresAt"`
	Status            string `json:"status"`
	SettlementSummary *struct {
		Payment *paymentDoc `json:"payment"`
		Returns []returnDoc `json:"returns"`
	} `json:"settlementSummary"`
}

// heldDoc is what an answer repeats of a request, as far as it is looked at.
type heldDoc struct {
	EndToEndID     string `json:"endToEndId"` // in some answers it stands here
	ExpirationType string `json:"expirationType"`
	PaymentDueDate string `json:"paymentDueDate"`
	GracePeriod    int    `json:"gracePeriod"`
	Currency       string `json:"currency"`
	PaymentAmount  string `json:"paymentAmount"`
	Adjustable     bool   `json:"isAmountAdjustable"`
	Reference      string `json:"reference"`
}

type paymentDoc struct {
	EndToEndID string `json:"endToEndId"`
	Currency   string `json:"currency"`
	Amount     string `json:"amount"`
	SettledAt  string `json:"settledAt"`
}

type returnDoc struct {
	ID           string `json:"id"`
	Currency     string `json:"currency"`
	Amount       string `json:"amount"`
	Status       string `json:"status"`
	StatusReason string `json:"statusReason"`
}

var statuses = map[string]linking.BankStatus{
	"ACTIVE": linking.BankOpen, "PROCESSING": linking.BankProcessing, "SETTLED": linking.BankPaid,
	"EXPIRED": linking.BankExpired, "CANCELLED": linking.BankClosed,
}

// held is a request as the bank has it.
type held struct {
	linking.BankState
	made       time.Time
	number     int // of the revision, from 0; -1: not said
	due        string
	grace      int
	adjustable bool
	reference  string
	link       string
	request    json.RawMessage
}

// heldOf reads an answer about the request id. bankID is the bank's own id for it, if
// it is known.
func heldOf(body []byte, id linking.RequestID, bankID, country string) (h held, err error) {
	var d detailsDoc
	var r heldDoc
	if err := bankapi.Decode(body, &d); err != nil {
		return h, err
	}
	if len(d.Request) == 0 || json.Unmarshal(d.Request, &r) != nil {
		return h, bankapi.Fault("malformed")
	}
	if err := named(&d, r.EndToEndID, id, bankID, country); err != nil {
		return h, err
	}
	h.ID, h.request = id, d.Request
	if country != brazil {
		h.BankID = *d.ID
	}
	var known bool
	if h.Status, known = statuses[d.Status]; !known {
		return h, bankapi.Fault("unknown_status")
	}
	if h.number = -1; d.RevisionNumber != nil {
		if h.number = *d.RevisionNumber; h.number < 0 || h.number > 1_000_000 {
			return h, bankapi.Fault("bad_revision")
		}
	}
	h.Revision = h.number + 1
	if h.Money, err = money(r.PaymentAmount, r.Currency); err != nil {
		return h, err
	}
	if h.made, err = timeOf(d.CreatedAt); err != nil {
		return h, err
	}
	ends, err := timeOf(d.ExpiresAt)
	if err != nil {
		return h, err
	}
	h.due, h.grace, h.adjustable, h.reference = r.PaymentDueDate, r.GracePeriod, r.Adjustable, r.Reference
	if r.ExpirationType != dueDate {
		h.ExpiresAt = ends
	}
	if d.RequestMethod != nil && d.RequestMethod.PaymentLink != nil {
		h.link = d.RequestMethod.PaymentLink.ID
	}
	if h.Status == linking.BankOpen { // elsewhere nobody is sent there
		if d.RequestMethod == nil {
			return h, bankapi.Fault("no_way")
		}
		if !payload(d.RequestMethod.Text) {
			return h, bankapi.Fault("bad_way")
		}
		h.Way = linking.Way{Kind: linking.EMV, Payload: d.RequestMethod.Text, Until: ends}
	}
	if d.SettlementSummary != nil {
		if err := h.settled(d.SettlementSummary.Payment, d.SettlementSummary.Returns, country); err != nil {
			return h, err
		}
	}
	if h.Status == linking.BankPaid && len(h.Payments) == 0 {
		return h, bankapi.Fault("paid_without_payment")
	}
	return h, nil
}

// named holds the ids in an answer against those that were asked for. inside is the
// endToEndId where some answers have it.
func named(d *detailsDoc, inside string, id linking.RequestID, bankID, country string) error {
	if d.ID == nil || *d.ID == "" || len(*d.ID) > 64 || !printable(*d.ID) {
		return bankapi.Fault("wrong_id")
	}
	if country == brazil {
		if *d.ID != string(id) {
			return bankapi.Fault("wrong_id")
		}
		return nil
	}
	mine := d.EndToEndID
	if mine == "" {
		mine = inside
	}
	if mine != string(id) || inside != "" && inside != mine || bankID != "" && *d.ID != bankID {
		return bankapi.Fault("wrong_id")
	}
	return nil
}

// payload accepts the text of an EMV code by its beginning. Whether its checksum is
// good is for the payer's bank: the bank's own examples have bad ones.
func payload(text string) bool {
	return strings.HasPrefix(text, "000201") && len(text) > 20 && len(text) <= 1024 && printable(text)
}

// settled reads the one payment the bank shows, and what went back of it.
func (h *held) settled(p *paymentDoc, returns []returnDoc, country string) (err error) {
	if p == nil {
		if len(returns) > 0 {
			return bankapi.Fault("bad_refund")
		}
		return nil
	}
	paid := linking.BankPayment{ID: p.EndToEndID}
	if !goodID(p.EndToEndID) {
		return bankapi.Fault("bad_payment")
	}
	if paid.Money, err = money(p.Amount, p.Currency); err != nil {
		return err
	}
	if paid.PaidAt, err = timeOf(p.SettledAt); err != nil || paid.PaidAt.IsZero() {
		return bankapi.Fault("bad_payment")
	}
	h.Payments = []linking.BankPayment{paid}
	seen := map[string]bool{}
	for _, r := range returns {
		amount, ok := paid.Money.Currency.ParseDecimal(r.Amount)
		// The published description has the country where the currency should be.
		if r.Currency != string(paid.Money.Currency) && r.Currency != country && r.Currency != "" {
			return bankapi.Fault("bad_refund")
		}
		if !ok || amount <= 0 || amount > linking.MaxAmount || !goodID(r.ID) || seen[r.ID] {
			return bankapi.Fault("bad_refund")
		}
		seen[r.ID] = true
		back := linking.BankRefund{ID: r.ID, PaymentID: paid.ID, Amount: amount}
		switch r.Status {
		case "PENDING":
			back.Status = linking.RefundPending
		case "COMPLETED", "SUCCESS": // the description has both
			back.Status = linking.RefundDone
		case "FAILED":
			back.Status = linking.RefundFailed
		default:
			return bankapi.Fault("unknown_status")
		}
		if r.StatusReason != "" {
			back.Reason = bankapi.ShortCode(r.StatusReason, "other")
		}
		h.Refunds = append(h.Refunds, back)
	}
	return nil
}

// goodID reports whether a bank's id can be kept for ever.
func goodID(s string) bool { return len(s) > 0 && len(s) <= 64 && printable(s) }

// money reads an amount: digits, a point and two more, as the bank says it writes
// them. Anything else is no amount.
func money(amount, currency string) (m linking.Money, err error) {
	c, ok := linking.ParseCurrency(currency)
	if !ok {
		return m, bankapi.Fault("bad_currency")
	}
	a, ok := c.ParseDecimal(amount)
	if !ok || a <= 0 || a > linking.MaxAmount {
		return m, bankapi.Fault("bad_amount")
	}
	return linking.Money{Amount: a, Currency: c}, nil
}

// timeOf reads RFC 3339, with or without parts of a second; empty is the zero time.
func timeOf(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Year() < 2000 || t.Year() > 9000 {
		return time.Time{}, bankapi.Fault("bad_time")
	}
	return t.UTC(), nil
}

// slack is how far the bank's end of a request may be from the one that was asked for.
const slack = 5 * time.Second

// is reports whether the bank holds what is asked for.
func (h *held) is(ask linking.Ask, a *askDoc) bool {
	if h.Money != ask.Money || h.adjustable || a.Reference != h.reference {
		return false
	}
	if a.ExpirationType == dueDate {
		return h.due == a.PaymentDueDate && h.grace == *a.GracePeriod
	}
	return h.ExpiresAt.IsZero() || h.ExpiresAt.Sub(ask.ExpiresAt).Abs() <= slack
}
