package gateway

import (
	"context"
	"encoding/csv"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// requestFilter reads the parameters that narrow the inbox. none says that nothing can
// be found: the code named is none of ours.
func requestFilter(q *query) (f linking.RequestFilter, none bool, err error) {
	f = linking.RequestFilter{
		Reference: q.text("reference", 140), Sale: linking.SaleID(q.text("sale", 64)), From: q.moment("from"), To: q.moment("to"), Query: q.text("q", 140),
	}
	if s := q.text("status", 200); s != "" {
		for one := range strings.SplitSeq(s, ",") {
			if st := linking.Status(one); st.Known() {
				f.Statuses = append(f.Statuses, st)
			} else {
				q.wrong("status", "not_allowed", "names a status that does not exist")
			}
		}
	}
	f.EndReason = linking.EndReason(q.choice("end_reason", "cancel", "expiry", "swap", "replaced", "return", "detach", "paid_otherwise", "bank_rejected", "bank_closed", "sale_paid"))
	code, outlet := q.text("code", 60), q.text("outlet", 40)
	if b := q.flag("opened_unpaid"); b != nil {
		f.OpenedUnpaid = *b
	}
	if b := q.flag("exceptions"); b != nil {
		f.Exceptions = *b
	}
	limit, after := q.page()
	if err := q.err(); err != nil {
		return f, false, err
	}
	f.Limit = limit
	if f.Outlet, err = outletOf(outlet); err != nil {
		return f, false, err
	}
	if code != "" {
		ok := false
		if f.Code, ok = linking.ParseToken(code); !ok {
			return f, true, nil
		}
	}
	if after != "" {
		id, ok := linking.ParseRequestID(after)
		if !ok {
			return f, false, invalidFields([]linking.FieldError{{Field: "after", Code: "cursor", Message: "is not a cursor this list gave"}})
		}
		f.After = id
	}
	return f, false, nil
}

// listRequests answers with a page of the inbox as JSON, or with all of it as CSV.
func (a *api) listRequests(c *fiber.Ctx, who linking.Caller) error {
	q := queryOf(c)
	format := q.choice("format", "json", "csv")
	f, none, err := requestFilter(q)
	if err != nil {
		return err
	}
	if format == "" && strings.HasPrefix(c.Get(fiber.HeaderAccept), "text/csv") {
		format = "csv"
	}
	if format == "csv" {
		return a.streamRequests(c, who, f, none)
	}
	page := pageView[*requestView]{Data: []*requestView{}}
	if none {
		return c.JSON(page)
	}
	list, next, err := a.svc.Requests(c.UserContext(), who, f)
	if err != nil {
		return err
	}
	page.Next = orNull(string(next))
	for _, r := range list {
		page.Data = append(page.Data, a.viewRequest(r, nil))
	}
	return c.JSON(page)
}

// requestColumns are the columns of the inbox as CSV. Amounts are decimal numbers in
// the currency's major unit, as people write them.
var requestColumns = []string{
	"id", "short_id", "created_at", "status", "end_reason", "amount", "currency", "reference", "customer", "email", "phone", "sale", "client_id", "context",
	"outlet", "code", "expires_at", "opened_at", "paid_at", "paid_amount", "refunded_amount", "needs_decision",
}

// streamRequests writes the inbox as CSV (RFC 4180), row by row as it is read. If it
// cannot be read to its end, the connection breaks off: half a file is never taken for
// a whole one.
func (a *api) streamRequests(c *fiber.Ctx, who linking.Caller, f linking.RequestFilter, none bool) error {
	id := callOf(c).id
	c.Set(fiber.HeaderContentType, "text/csv; charset=utf-8; header=present")
	c.Set(fiber.HeaderContentDisposition, `attachment; filename="requests.csv"`)
	from, to := io.Pipe()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), rowsTime)
		defer cancel()
		out := csv.NewWriter(to)
		out.UseCRLF = true
		err := a.shielded(func() error {
			out.Write(requestColumns) // a writer's fault is told by Error
			if !none {
				if err := a.svc.EachRequest(ctx, who, f, func(r *linking.Request) error { return out.Write(a.requestRow(r)) }); err != nil {
					return err
				}
			}
			out.Flush()
			return out.Error()
		})
		if err != nil && !errors.Is(err, io.ErrClosedPipe) {
			a.log.Warn("not all of the inbox was sent", "request_id", id, "err", err)
		}
		to.CloseWithError(err)
	}()
	c.Context().SetBodyStream(from, -1)
	return nil
}

func (a *api) requestRow(r *linking.Request) []string {
	v := a.viewRequest(r, nil)
	opt := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	amount, decision := "", "no"
	if v.Amount != nil {
		amount = v.Currency.Decimal(*v.Amount)
	}
	for _, e := range r.Exceptions {
		if e.Decision == "" {
			decision = "yes"
		}
	}
	row := []string{
		string(r.ID), v.ShortID, opt(v.CreatedAt), string(v.Status), string(r.EndReason), amount, string(v.Currency), v.Reference,
		r.Customer.Name, r.Customer.Email, r.Customer.Phone, string(r.Sale), r.ClientID, r.Context, string(r.Outlet), string(r.OnCode),
		opt(v.ExpiresAt), opt(v.OpenedAt), opt(v.PaidAt), v.Currency.Decimal(v.PaidAmount), v.Currency.Decimal(v.RefundedAmount), decision,
	}
	for i, cell := range row {
		row[i] = harmless(cell)
	}
	return row
}

// harmless is a cell of a table that no spreadsheet takes for a formula: what begins
// like one gets an apostrophe before it, which spreadsheets take for "this is text".
func harmless(cell string) string {
	if cell != "" && strings.IndexByte("=+-@\t\r\n", cell[0]) >= 0 {
		return "'" + cell
	}
	return cell
}

// estimateView is what a request would be: the answer to a dry run.
type estimateView struct {
	Amount      *linking.Amount    `json:"amount"` // what the payer would pay; null: not valued yet
	Currency    linking.Currency   `json:"currency"`
	Net         linking.Amount     `json:"net"`
	VAT         linking.Amount     `json:"vat"`
	Lines       []lineView         `json:"lines"`
	Fees        []feeView          `json:"fees"`
	ExpiresAt   *string            `json:"expires_at"`
	Methods     []string           `json:"methods"`
	Have        *linking.RequestID `json:"have"`
	Unavailable []notOfferedView   `json:"unavailable"`
}

type feeView struct {
	Label   string         `json:"label"`
	Method  *string        `json:"method"`
	Percent *string        `json:"percent"`
	Fixed   linking.Amount `json:"fixed"`
	Amount  linking.Amount `json:"amount"`
}

// feeBody is a line of the merchant's table of fees.
type feeBody struct {
	Label   string         `json:"label" validate:"required,text,max=60"`
	Method  string         `json:"method" validate:"omitempty,printable,max=40"`
	Percent string         `json:"percent" validate:"omitempty,decimal=2"`
	Fixed   linking.Amount `json:"fixed" validate:"min=0,max=1000000000000000"`
}

type feesBody struct {
	Fees []feeBody `json:"fees" validate:"max=20,dive"`
}

// feesView is the whole table.
type feesView struct {
	Fees []feeLineView `json:"fees"`
}

type feeLineView struct {
	Label   string         `json:"label"`
	Method  *string        `json:"method"`
	Percent *string        `json:"percent"`
	Fixed   linking.Amount `json:"fixed"`
}

func viewFees(fees []linking.Fee) feesView {
	v := feesView{Fees: []feeLineView{}}
	for _, f := range fees {
		v.Fees = append(v.Fees, feeLineView{f.Label, orNull(f.Method), orNull(f.Percent), f.Fixed})
	}
	return v
}

func (a *api) getFees(c *fiber.Ctx, who linking.Caller) error {
	m, err := a.svc.Merchant(c.UserContext(), who.Merchant)
	if err != nil {
		return err
	}
	return c.JSON(viewFees(m.Fees))
}

func (a *api) putFees(c *fiber.Ctx, who linking.Caller) (any, error) {
	var in feesBody
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	var fees []linking.Fee
	for _, f := range in.Fees {
		fees = append(fees, linking.Fee(f))
	}
	set, err := a.svc.SetFees(c.UserContext(), who, fees)
	if err != nil || who.Once != nil && who.Once.Reply != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, body: viewFees(set)}, nil
}

type notOfferedView struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

func (a *api) estimate(c *fiber.Ctx, who linking.Caller, n linking.NewRequest) (any, error) {
	e, err := a.svc.EstimateRequest(c.UserContext(), who, n)
	if err != nil {
		return nil, err
	}
	v := estimateView{Lines: []lineView{}, Fees: []feeView{}, Methods: listOf(e.Methods), Have: orNull(e.Have), Unavailable: []notOfferedView{}, Currency: e.Currency}
	if r := e.Request; r != nil {
		v.ExpiresAt, v.Net, v.VAT = stamp(r.Content.ExpiresAt), e.Sum.Net, e.Sum.VAT
		v.Lines = viewLines(r.Content.Lines, r.Content.VATExtra)
		if r.Content.Amount > 0 {
			v.Amount = &r.Content.Amount
		}
	}
	for _, f := range e.Fees {
		v.Fees = append(v.Fees, feeView{f.Label, orNull(f.Method), orNull(f.Percent), f.Fixed, f.Amount})
	}
	for _, u := range e.Unavailable {
		v.Unavailable = append(v.Unavailable, notOfferedView{u.What, u.Why})
	}
	return &answer{status: http.StatusOK, body: v}, nil
}

// meView is who calls, as far as a page has to know to show what he may do.
type meView struct {
	MerchantID linking.MerchantID `json:"merchant_id"`
	Role       linking.Role       `json:"role"`
	Outlet     *linking.OutletID  `json:"outlet"` // null: all
	Codes      []linking.Token    `json:"codes"`  // empty: all
	Name       *string            `json:"name"`   // of the person; null: a key calls
}

func (a *api) getMe(c *fiber.Ctx, who linking.Caller) error {
	v := meView{MerchantID: who.Merchant, Role: who.Role, Outlet: orNull(who.Outlet), Codes: listOf(who.Codes)}
	me, err := a.svc.Me(c.UserContext(), who)
	if err != nil {
		return err
	}
	if me != nil {
		v.Name = &me.Name
	}
	return c.JSON(v)
}
