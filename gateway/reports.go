package gateway

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/gateway/statement"
	"placard/linking"
)

const (
	reportDays    = 31
	reportRows    = 100_000
	statementBody = 24 << 20
	reportTime    = 2 * time.Minute
)

// span is the business days that a report is about: day, or from and to, both included.
func span(q *query, m *linking.Merchant) (from, to time.Time, days []string) {
	one, first, last := q.text("day", 10), q.text("from", 10), q.text("to", 10)
	if one != "" && (first != "" || last != "") || one == "" && first == "" {
		q.wrong("day", "one_of", "is one business day, such as 2026-03-02; or give from and to")
		return from, to, nil
	}
	first = cmp.Or(first, one)
	last = cmp.Or(last, first)
	from, end, ok := m.DaySpan(first)
	if !ok {
		q.wrong("day", "date", "is a day such as 2026-03-02")
		return from, to, nil
	}
	if _, to, ok = m.DaySpan(last); !ok || !to.After(from) {
		q.wrong("to", "date", "is a day such as 2026-03-02, not before from")
		return from, to, nil
	}
	for day := first; ; {
		days = append(days, day)
		if !end.Before(to) {
			return from, to, days
		}
		if len(days) == reportDays {
			q.wrong("to", "range", fmt.Sprintf("is at most %d days after from", reportDays-1))
			return from, to, nil
		}
		date, _ := time.Parse(time.DateOnly, day)
		day = date.AddDate(0, 0, 1).Format(time.DateOnly)
		_, end, _ = m.DaySpan(day)
	}
}

type settlementView struct {
	Day       string                 `json:"day"`
	Kind      linking.SettlementKind `json:"kind"`
	At        string                 `json:"at"` // in the merchant's time zone
	RequestID linking.RequestID      `json:"request_id"`
	ClientID  *string                `json:"client_id"`
	Sale      *linking.SaleID        `json:"sale"`
	Reference string                 `json:"reference"`
	Code      *linking.Token         `json:"code"`
	Outlet    *linking.OutletID      `json:"outlet"`
	PaymentID *string                `json:"payment_id"`
	Way       *string                `json:"way"`
	Exception *linking.ExceptionKind `json:"exception"`
	Amount    int64                  `json:"amount"`
	Currency  linking.Currency       `json:"currency"`
}

type settlementDay struct {
	Day           string `json:"day"`
	From          string `json:"from"`
	To            string `json:"to"`
	Payments      int    `json:"payments"`
	PaymentSum    int64  `json:"payment_sum"`
	Refunds       int    `json:"refunds"`
	RefundSum     int64  `json:"refund_sum"`
	Otherwise     int    `json:"paid_otherwise"`
	OtherwiseSum  int64  `json:"paid_otherwise_sum"`
	Exceptions    int    `json:"exceptions"`
	ExceptionsSum int64  `json:"exception_sum"`
}

type settlementReport struct {
	TimeZone string           `json:"time_zone"`
	Currency linking.Currency `json:"currency"`
	Days     []settlementDay  `json:"days"`
	Data     []settlementView `json:"data"`
}

// settlement answers with what was settled, by the merchant's business day.
func (a *api) settlement(c *fiber.Ctx, who linking.Caller) error {
	m, err := a.svc.Merchant(c.UserContext(), who.Merchant)
	if err != nil {
		return err
	}
	q := queryOf(c)
	from, to, days := span(q, m)
	format := q.choice("format", "json", "csv")
	if err := q.err(); err != nil {
		return err
	}
	zone := zoneOf(m)
	report := settlementReport{TimeZone: m.TimeZone, Currency: m.Currency, Data: []settlementView{}}
	sums := map[string]*settlementDay{}
	report.Days = make([]settlementDay, len(days))
	for i, day := range days {
		begins, ends, _ := m.DaySpan(day)
		report.Days[i] = settlementDay{Day: day, From: *stamp(begins), To: *stamp(ends)}
		sums[day] = &report.Days[i]
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.UserContext()), reportTime)
	defer cancel()
	err = a.svc.Settled(ctx, who, m, from, to, func(s linking.Settlement) error {
		if len(report.Data) == reportRows {
			return invalidFields([]linking.FieldError{{Field: "to", Code: "range", Message: fmt.Sprintf("makes more than %d rows; ask for fewer days", reportRows)}})
		}
		r := s.Request
		report.Data = append(report.Data, settlementView{
			Day: s.Day, Kind: s.Kind, At: s.At.In(zone).Format(time.RFC3339), RequestID: r.ID, ClientID: orNull(r.ClientID), Sale: orNull(r.Sale),
			Reference: r.Content.Reference, Code: orNull(r.OnCode), Outlet: orNull(r.Outlet), PaymentID: orNull(s.PaymentID), Way: orNull(s.Way),
			Exception: orNull(s.Exception), Amount: int64(s.Money.Amount), Currency: s.Money.Currency,
		})
		d := sums[s.Day]
		if d == nil {
			return nil
		}
		n, sum := &d.Payments, &d.PaymentSum
		switch s.Kind {
		case linking.SettledRefund:
			n, sum = &d.Refunds, &d.RefundSum
		case linking.SettledOtherwise:
			n, sum = &d.Otherwise, &d.OtherwiseSum
		case linking.SettledException:
			n, sum = &d.Exceptions, &d.ExceptionsSum
		}
		*n++
		*sum += int64(s.Money.Amount)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(report.Data, func(a, b settlementView) int {
		return cmp.Or(strings.Compare(a.Day, b.Day), strings.Compare(a.At, b.At), strings.Compare(string(a.RequestID), string(b.RequestID)), strings.Compare(string(a.Kind), string(b.Kind)))
	})
	if format != "csv" && !strings.HasPrefix(c.Get(fiber.HeaderAccept), "text/csv") {
		return c.JSON(report)
	}
	return sendCSV(c, "settlement-"+days[0]+".csv", []string{"day", "kind", "at", "request_id", "client_id", "sale", "reference", "code", "outlet", "payment_id", "way", "exception", "amount", "currency"}, func(add func(...string)) {
		for _, v := range report.Data {
			add(v.Day, string(v.Kind), v.At, string(v.RequestID), orEmpty(v.ClientID), orEmpty(v.Sale), v.Reference, orEmpty(v.Code), orEmpty(v.Outlet),
				orEmpty(v.PaymentID), orEmpty(v.Way), orEmpty(v.Exception), strconv.FormatInt(v.Amount, 10), string(v.Currency))
		}
	})
}

func orEmpty[T ~string](s *T) string {
	if s == nil {
		return ""
	}
	return string(*s)
}

func zoneOf(m *linking.Merchant) *time.Location {
	if z, err := time.LoadLocation(m.TimeZone); err == nil {
		return z
	}
	return time.UTC
}

// sendCSV answers with a file. A field that a spreadsheet would take for a formula gets
// an apostrophe before it: references are what somebody typed.
func sendCSV(c *fiber.Ctx, name string, head []string, rows func(add func(...string))) error {
	var b bytes.Buffer
	out := csv.NewWriter(&b)
	out.Write(head)
	rows(func(fields ...string) {
		for i, f := range fields {
			if f != "" && strings.ContainsRune("=@\t\r", rune(f[0])) || len(f) > 1 && strings.ContainsRune("+-", rune(f[0])) && strings.Trim(f[1:], "0123456789") != "" {
				fields[i] = "'" + f
			}
		}
		out.Write(fields)
	})
	out.Flush()
	c.Set(fiber.HeaderContentType, "text/csv; charset=utf-8")
	c.Set(fiber.HeaderContentDisposition, `attachment; filename="`+name+`"`)
	return c.Send(b.Bytes())
}

// reconciliationBody is a statement and a till's list in one document.
type reconciliationBody struct {
	Statement string `json:"statement"` // camt.053 or CSV, as it came
	Till      string `json:"till"`      // CSV: ref, amount, and payment_id where it is known
}

type leftoverView struct {
	Cause     linking.Cause      `json:"cause"`
	Action    linking.Remedy     `json:"action"`
	RequestID *linking.RequestID `json:"request_id"`
	Sale      *linking.SaleID    `json:"sale"`
	Reference *string            `json:"reference"`
	PaymentID *string            `json:"payment_id"`
	Entry     *int               `json:"entry"`    // of the statement, counted from 1
	TillRow   *int               `json:"till_row"` // of the till's list, counted from 1
	Amount    int64              `json:"amount"`
	Expected  *int64             `json:"expected"`
	At        *string            `json:"at"`
}

type reconciliationView struct {
	Days      []string              `json:"days"`
	Currency  linking.Currency      `json:"currency"`
	Account   *string               `json:"account"` // null: there was no statement
	Paid      int                   `json:"paid"`
	PaidSum   int64                 `json:"paid_sum"`
	Entries   int                   `json:"entries"`
	Credits   int64                 `json:"credits"`
	Debits    int64                 `json:"debits"`
	TillRows  int                   `json:"till_rows"`
	Matched   int                   `json:"matched"`
	MatchSum  int64                 `json:"matched_sum"`
	Counts    map[linking.Cause]int `json:"counts"`
	Leftovers []leftoverView        `json:"leftovers"`
}

// reconcile compares what was paid with a bank's statement, which is the body, and with
// the till's own list, if the body is a JSON document that has both.
func (a *api) reconcile(c *fiber.Ctx, who linking.Caller) error {
	m, err := a.svc.Merchant(c.UserContext(), who.Merchant)
	if err != nil {
		return err
	}
	q := queryOf(c)
	from, to, days := span(q, m)
	account, decimal, format := q.text("account", 60), q.choice("decimal", "comma", "point"), q.choice("format", "json", "csv")
	if err := q.err(); err != nil {
		return err
	}
	var in reconciliationBody
	mediaType, _, _ := mime.ParseMediaType(c.Get(fiber.HeaderContentType))
	switch mediaType {
	case "application/xml", "text/xml", "text/csv": // XML says itself in which encoding it is
		if c.Get(fiber.HeaderContentEncoding) != "" {
			return httpFailures[415]
		}
		in.Statement = string(c.Context().Request.Body())
	default:
		raw, _, err := bodyOf(c, fiber.MIMEApplicationJSON)
		if err != nil {
			return err
		}
		if err := decodeJSON(raw, &in); err != nil {
			return err
		}
	}
	if in.Statement == "" && in.Till == "" {
		return invalidFields([]linking.FieldError{{Field: "statement", Code: "required", Message: "is required, or till is"}})
	}
	st, err := readStatement(in.Statement, account, decimal, m)
	if err != nil {
		return err
	}
	till, err := readTill(in.Till)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.UserContext()), reportTime)
	defer cancel()
	rec, err := a.svc.Reconcile(ctx, who, m, from, to, st, till)
	if err != nil {
		return err
	}
	v := viewReconciliation(rec, m, days)
	if st != nil {
		v.Account = orNull(st.Account)
	}
	if format == "csv" || format == "" && strings.HasPrefix(c.Get(fiber.HeaderAccept), "text/csv") {
		return sendCSV(c, "reconciliation-"+days[0]+".csv", []string{"cause", "action", "request_id", "sale", "reference", "payment_id", "entry", "till_row", "amount", "expected", "currency", "at"}, func(add func(...string)) {
			number := func(n *int) string {
				if n == nil {
					return ""
				}
				return strconv.Itoa(*n)
			}
			for _, l := range v.Leftovers {
				expected := ""
				if l.Expected != nil {
					expected = strconv.FormatInt(*l.Expected, 10)
				}
				add(string(l.Cause), string(l.Action), orEmpty(l.RequestID), orEmpty(l.Sale), orEmpty(l.Reference), orEmpty(l.PaymentID),
					number(l.Entry), number(l.TillRow), strconv.FormatInt(l.Amount, 10), expected, string(m.Currency), orEmpty(l.At))
			}
		})
	}
	return c.JSON(v)
}

func viewReconciliation(rec *linking.Reconciliation, m *linking.Merchant, days []string) *reconciliationView {
	v := &reconciliationView{
		Days: days, Currency: m.Currency, Paid: rec.Paid, PaidSum: int64(rec.PaidSum), Entries: rec.Entries, Credits: int64(rec.Credits), Debits: int64(rec.Debits),
		TillRows: rec.TillRows, Matched: rec.Matched, MatchSum: int64(rec.Sum), Counts: map[linking.Cause]int{}, Leftovers: []leftoverView{},
	}
	for _, cause := range linking.Causes {
		v.Counts[cause] = 0
	}
	orNone := func(n int) *int {
		if n == 0 {
			return nil
		}
		return &n
	}
	for _, l := range rec.Leftovers {
		v.Counts[l.Cause]++
		one := leftoverView{
			Cause: l.Cause, Action: l.Remedy, RequestID: orNull(l.Request), Sale: orNull(l.Sale), Reference: orNull(l.Reference), PaymentID: orNull(l.PaymentID),
			Entry: orNone(l.Entry), TillRow: orNone(l.TillRow), Amount: int64(l.Amount), At: stamp(l.At),
		}
		if l.Expected != 0 {
			expected := int64(l.Expected)
			one.Expected = &expected
		}
		v.Leftovers = append(v.Leftovers, one)
	}
	return v
}

func readStatement(text, account, decimal string, m *linking.Merchant) (*linking.Statement, error) {
	if text == "" {
		return nil, nil
	}
	var st *linking.Statement
	var err error
	if begins := strings.TrimLeft(strings.TrimPrefix(text, "\ufeff"), " \t\r\n"); strings.HasPrefix(begins, "<") {
		st, err = statement.ReadCAMT([]byte(begins))
		if err == nil && account != "" && linking.NormalAccount(account) != st.Account {
			return nil, invalidFields([]linking.FieldError{{Field: "account", Code: "foreign_account", Message: "is not that of the statement"}})
		}
	} else {
		how := statement.CSV{Account: account, Currency: m.Currency, Zone: zoneOf(m)}
		switch decimal {
		case "comma":
			how.Decimal = ','
		case "point":
			how.Decimal = '.'
		}
		st, err = statement.ReadCSV([]byte(text), how)
	}
	if f, ok := errors.AsType[statement.ErrFormat](err); ok {
		return nil, &linking.Error{Kind: linking.Invalid, Code: "invalid_request", Detail: string(f), Fields: []linking.FieldError{{Field: "statement", Code: "malformed", Message: "cannot be read"}}}
	}
	return st, err
}

// tillRow is a payment on the till's or the billing system's own list.
type tillRow struct {
	Ref       string `json:"ref" validate:"required,text,max=140"`
	PaymentID string `json:"payment_id" validate:"omitempty,text,max=140"`
	Amount    int64  `json:"amount" validate:"required,min=1"`
}

func readTill(text string) ([]linking.TillRow, error) {
	if text == "" {
		return nil, nil
	}
	rows, err := rowsIn[tillRow](strings.NewReader(text), "text/csv")
	list := []linking.TillRow{}
	wrong := func(what string) error {
		return invalidFields([]linking.FieldError{{Field: "till", Code: "malformed", Message: what}})
	}
	if err != nil {
		return nil, wrong("is no CSV whose first line names ref, amount and perhaps payment_id")
	}
	for {
		row, bad, err := rows()
		switch {
		case err != nil:
			return list, nil
		case bad != nil:
			return nil, wrong(fmt.Sprintf("has something in row %d that cannot be read: %s", len(list)+1, linking.Problem(bad).Detail))
		case len(list) == statement.MaxEntries:
			return nil, wrong("has too many rows")
		}
		list = append(list, linking.TillRow{No: len(list) + 1, Ref: row.Ref, PaymentID: row.PaymentID, Amount: linking.Amount(row.Amount)})
	}
}
