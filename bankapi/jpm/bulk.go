package jpm

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"placard/bankapi"
	"placard/linking"
)

// MaxBulk is how many requests the bank takes at once.
const MaxBulk = 25

// Bill is one due-date request of a bulk.
type Bill struct {
	ID        linking.RequestID
	Money     linking.Money
	Due       time.Time // the day, in UTC; the hours do not count
	GraceDays int
	Reference string
	Customer  linking.Customer // name and tax id are needed
	Link      string           // the id of the payment link that shows it; empty: one of its own
	Terms     Terms
}

// Terms are what a bill costs more or less by when it is paid. Zero: nothing.
type Terms struct {
	Interest  Rate // for being late, see Each
	Penalty   Rate // once, for being late
	Reduction Rate // always
	Discounts []Discount

	Each         Period // of Interest, if that is a percentage
	BusinessDays bool   // interest counts those; else every day
}

// Rate is an amount or a percentage; both zero: none.
type Rate struct {
	Amount     linking.Amount
	Hundredths int // of a percent: 250 is 2.50 %, at most 99.99 %
}

// Discount is less to pay until the end of a day. A bill has at most three.
type Discount struct {
	Until time.Time
	Rate  Rate
}

// Period is what a percentage of interest is for.
type Period string

const (
	PerDay   Period = "PERCENTAGE_PER_DAY"
	PerMonth Period = "PERCENTAGE_PER_MONTH"
	PerYear  Period = "PERCENTAGE_PER_YEAR"
)

// termsDoc is the part of a request that has the terms.
type termsDoc struct {
	InterestType  string       `json:"interestType,omitempty"`
	Interest      *rateDoc     `json:"interestParameters,omitempty"`
	DiscountType  string       `json:"discountType,omitempty"`
	Discount      *discountDoc `json:"discountParameters,omitempty"`
	PenaltyType   string       `json:"penaltyType,omitempty"`
	Penalty       *rateDoc     `json:"penaltyParameters,omitempty"`
	ReductionType string       `json:"reductionType,omitempty"`
	Reduction     *rateDoc     `json:"reductionParameters,omitempty"`
}

type rateDoc struct {
	Days       string `json:"days,omitempty"`
	Amount     string `json:"amount,omitempty"`
	Percentage string `json:"percentage,omitempty"`
}

type discountDoc struct {
	Days          string      `json:"days,omitempty"`
	CutOffDetails []cutOffDoc `json:"cutOffDetails,omitempty"`
	Amount        string      `json:"amount,omitempty"`
	Percentage    string      `json:"percentage,omitempty"`
}

type cutOffDoc struct {
	CutOffDate string `json:"cutOffDate"`
	Amount     string `json:"amount,omitempty"`
	Percentage string `json:"percentage,omitempty"`
}

// check says what is wrong with a rate, or "".
func (r Rate) check() string {
	switch {
	case r.Amount < 0 || r.Amount > linking.MaxAmount || r.Hundredths < 0 || r.Hundredths > 9999:
		return "A rate is out of range."
	case r.Amount > 0 && r.Hundredths > 0:
		return "A rate is an amount or a percentage, not both."
	}
	return ""
}

func (r Rate) zero() bool { return r == Rate{} }

func (r Rate) percentage() string { return fmt.Sprintf("%d.%02d", r.Hundredths/100, r.Hundredths%100) }

// once writes a rate that is an amount or a percentage, once.
func (r Rate) once(c linking.Currency) (kind string, doc *rateDoc) {
	switch {
	case r.zero():
		return "", nil
	case r.Amount > 0:
		return "FIXED_AMOUNT", &rateDoc{Amount: c.Decimal(r.Amount)}
	}
	return "PERCENTAGE", &rateDoc{Percentage: r.percentage()}
}

func (t Terms) doc(c linking.Currency) (d termsDoc, problem string) {
	for _, r := range []Rate{t.Interest, t.Penalty, t.Reduction} {
		if problem := r.check(); problem != "" {
			return d, problem
		}
	}
	d.PenaltyType, d.Penalty = t.Penalty.once(c)
	d.ReductionType, d.Reduction = t.Reduction.once(c)
	if !t.Interest.zero() {
		days := "CALENDAR_DAYS"
		if t.BusinessDays {
			days = "BUSINESS_DAYS"
		}
		d.InterestType, d.Interest = "AMOUNT", &rateDoc{Days: days}
		if t.Interest.Amount > 0 {
			d.Interest.Amount = c.Decimal(t.Interest.Amount)
		} else if d.InterestType, d.Interest.Percentage = string(t.Each), t.Interest.percentage(); !slices.Contains([]Period{PerDay, PerMonth, PerYear}, t.Each) {
			return d, "A percentage of interest is per day, month or year."
		}
	}
	if len(t.Discounts) > 3 {
		return d, "There are at most three discounts."
	}
	for i, one := range t.Discounts {
		if problem := one.Rate.check(); problem != "" || one.Rate.zero() || one.Until.IsZero() {
			return d, "A discount has a day and a rate."
		}
		if i == 0 {
			d.DiscountType, d.Discount = "PERCENTAGE_TO_DATE", &discountDoc{}
			if one.Rate.Amount > 0 {
				d.DiscountType = "FIXED_TO_DATE"
			}
		}
		cut := cutOffDoc{CutOffDate: one.Until.UTC().Format(time.DateOnly)}
		switch fixed := one.Rate.Amount > 0; {
		case fixed != (d.DiscountType == "FIXED_TO_DATE"):
			return d, "Discounts are all amounts, or all percentages."
		case fixed:
			cut.Amount = c.Decimal(one.Rate.Amount)
		default:
			cut.Percentage = one.Rate.percentage()
		}
		d.Discount.CutOffDetails = append(d.Discount.CutOffDetails, cut)
	}
	return d, ""
}

// item is one bill as it stands in a bulk.
func (b *Bank) item(bill Bill) (requestDoc, *linking.BankError) {
	none := requestDoc{}
	_, whole := linking.ParseRequestID(string(bill.ID))
	terms, problem := bill.Terms.doc(bill.Money.Currency)
	debtor := debtorOf(bill.Customer, true)
	switch {
	case !whole:
		return none, refusal("id", "A bill has the id of a request.")
	case !slices.Contains(b.market.currencies, bill.Money.Currency):
		return none, refusal("rail_currency", "The bank's market does not take that currency.")
	case bill.Money.Amount < 2 || bill.Money.Amount > linking.MaxAmount:
		return none, refusal("amount", "The bank takes amounts from 0.02.")
	case bill.Due.IsZero() || bill.GraceDays < 0 || bill.GraceDays > 180:
		return none, refusal("rail_expiry", "A bill has a due date, and at most 180 days of grace.")
	case len([]rune(bill.Reference)) > maxReference:
		return none, refusal("reference", "A payer reads a reference of at most 140 characters.")
	case debtor == nil:
		return none, refusal("rail_needs_debtor", "A due-date request needs the customer's name and a CPF or CNPJ.")
	case problem != "":
		return none, refusal("terms", problem)
	}
	a := &askDoc{
		Creditor: b.creditor(), Debtor: debtor, ExpirationType: dueDate, PaymentDueDate: bill.Due.UTC().Format(time.DateOnly),
		GracePeriod: &bill.GraceDays, Currency: string(bill.Money.Currency), PaymentAmount: bill.Money.Currency.Decimal(bill.Money.Amount),
		termsDoc: terms, Reference: bill.Reference,
	}
	return requestDoc{ID: string(bill.ID), Country: b.country, Request: a, RequestMethodType: "QR_CODE", RequestMethod: b.method(bill.Link)}, nil
}

type bulkDoc struct {
	Description string       `json:"description,omitempty"`
	Requests    []requestDoc `json:"requests"`
}

func (b *Bank) bulk(description string, bills []Bill) (d bulkDoc, err error) {
	switch {
	case b.country != brazil:
		return d, refusal("no_bulks", "The bank takes many at once in Brazil only.")
	case len(bills) == 0 || len(bills) > MaxBulk:
		return d, refusal("bulk", "The bank takes 1 to 25 bills at once.")
	}
	d.Description = cut(description, 250)
	for _, bill := range bills {
		item, refused := b.item(bill)
		if refused != nil {
			return d, refused
		}
		d.Requests = append(d.Requests, item)
	}
	return d, nil
}

// BulkStatus is what became of one bill of a bulk.
type BulkStatus string

const (
	BulkPending BulkStatus = "pending"
	BulkDone    BulkStatus = "done"
	BulkFailed  BulkStatus = "failed"
)

// Bulk is a set of bills that was sent at once.
type Bulk struct {
	ID    string
	Tag   string // for ReviseBills
	Items []BulkItem
}

// BulkItem is one bill of a bulk. What failed has the bank's codes and where in the
// bill they point, for the log.
type BulkItem struct {
	ID     linking.RequestID
	Status BulkStatus
	Code   string
	Field  string
}

// MakeBills makes up to MaxBulk due-date requests in one call. key is 1 to 36 letters,
// digits, hyphens, points and underscores: the same key again, with the same bills,
// makes none twice. The answer names the bulk only; GetBulk says what became of it.
func (b *Bank) MakeBills(ctx context.Context, key, description string, bills []Bill) (Bulk, error) {
	fit := strings.IndexFunc(key, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_' && r != '.'
	}) < 0
	if key == "" || len(key) > 36 || !fit {
		return Bulk{}, refusal("key", "A bulk's key is 1 to 36 letters, digits, hyphens, points and underscores.")
	}
	doc, err := b.bulk(description, bills)
	if err != nil {
		return Bulk{}, err
	}
	x := exchange{method: http.MethodPost, url: b.base + "/payment-requests/bulk", key: key + strings.Repeat(".", 36-len(key))}
	a, err := b.call(ctx, x, doc)
	if err != nil {
		return Bulk{}, err
	}
	return b.bulkIn(a, "")
}

// ReviseBills changes bills of a bulk, all of it at once or some. A tag that is not the
// bulk's present one is class busy.
func (b *Bank) ReviseBills(ctx context.Context, id, tag string, bills []Bill) (Bulk, error) {
	doc, err := b.bulk("", bills)
	if err != nil {
		return Bulk{}, err
	}
	if !goodID(id) {
		return Bulk{}, refusal("unsendable", "That is no bulk of the bank's.")
	}
	x := exchange{method: http.MethodPut, url: b.base + "/payment-requests/bulk/" + url.PathEscape(id), ifMatch: tag}
	a, err := b.call(ctx, x, doc)
	if err != nil {
		return Bulk{}, err
	}
	return b.bulkIn(a, id)
}

// GetBulk says what became of a bulk so far.
func (b *Bank) GetBulk(ctx context.Context, id string) (Bulk, error) {
	if b.country != brazil {
		return Bulk{}, refusal("no_bulks", "The bank takes many at once in Brazil only.")
	}
	if !goodID(id) {
		return Bulk{}, refusal("unsendable", "That is no bulk of the bank's.")
	}
	a, err := b.call(ctx, exchange{method: http.MethodGet, url: b.base + "/payment-requests/bulk/" + url.PathEscape(id)}, nil)
	if err != nil {
		return Bulk{}, err
	}
	return b.bulkIn(a, id)
}

func (b *Bank) bulkIn(a answer, want string) (Bulk, error) {
	k, err := understood(bulkOf(a.body, want))
	k.Tag = a.tag
	return k, err
}

// bulkOf reads a bulk. Requests in it that are not ours are left out.
func bulkOf(body []byte, want string) (k Bulk, err error) {
	var d struct {
		ID          string `json:"id"`
		DuplicateOf string `json:"duplicateOf"`
		Details     []struct {
			ID         string `json:"id"`
			Status     string `json:"status"`
			Exceptions []struct {
				Code  string `json:"code"`
				Field string `json:"field"`
			} `json:"exceptions"`
		} `json:"details"`
	}
	if err := bankapi.Decode(body, &d); err != nil {
		return k, err
	}
	if k.ID = d.ID; k.ID == "" {
		k.ID = d.DuplicateOf
	}
	if !goodID(k.ID) || want != "" && k.ID != want {
		return Bulk{}, bankapi.Fault("wrong_id")
	}
	for _, one := range d.Details {
		id, ok := linking.ParseRequestID(one.ID)
		if !ok || string(id) != one.ID {
			continue
		}
		item := BulkItem{ID: id}
		switch one.Status {
		case "PENDING":
			item.Status = BulkPending
		case "SUCCESS":
			item.Status = BulkDone
		case "FAILED":
			item.Status, item.Code = BulkFailed, "other"
			if len(one.Exceptions) > 0 {
				item.Code = bankapi.ShortCode(one.Exceptions[0].Code, "other")
				if f := one.Exceptions[0].Field; len(f) <= 128 && printable(f) {
					item.Field = f
				}
			}
		default:
			return Bulk{}, bankapi.Fault("unknown_status")
		}
		k.Items = append(k.Items, item)
	}
	return k, nil
}
