package gateway

import (
	"cmp"
	"net/http"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
	"placard/printing"
)

type newLine struct {
	Description string         `json:"description" validate:"required,text,max=140"`
	Quantity    string         `json:"quantity" validate:"required,decimal=3"`
	UnitPrice   linking.Amount `json:"unit_price" validate:"required,min=1,max=1000000000000000"`
	VATRate     string         `json:"vat_rate" validate:"omitempty,decimal=2"`
}

type customerBody struct {
	Name    string `json:"name" validate:"omitempty,text,max=200"`
	Email   string `json:"email" validate:"omitempty,email,max=254"`
	Phone   string `json:"phone" validate:"omitempty,e164"`
	TaxID   string `json:"tax_id" validate:"omitempty,printable,max=20"`
	Address string `json:"address" validate:"omitempty,multiline,max=500"`
}

type rangeBody struct {
	Min linking.Amount `json:"min" validate:"required,min=1,max=1000000000000000"`
	Max linking.Amount `json:"max" validate:"required,gtefield=Min,max=1000000000000000"`
}

// newRequest is a payment request as a caller asks for it.
type newRequest struct {
	Amount           *linking.Amount   `json:"amount" validate:"omitempty,min=1,max=1000000000000000"`
	Currency         string            `json:"currency" validate:"omitempty,currency"`
	Reference        string            `json:"reference" validate:"omitempty,text,max=140"`
	ClientID         string            `json:"client_id" validate:"omitempty,printable,max=64"`
	Sale             string            `json:"sale" validate:"omitempty,printable,max=64"`
	SaleTotal        *linking.Amount   `json:"sale_total" validate:"omitempty,excluded_without=Sale,min=1,max=1000000000000000"`
	Draft            bool              `json:"draft"`
	Replaces         string            `json:"replaces" validate:"omitempty,printable,max=64"`
	Lines            []newLine         `json:"lines" validate:"max=500,dive"`
	VAT              string            `json:"vat" validate:"omitempty,oneof=included excluded"`
	Note             string            `json:"note" validate:"omitempty,multiline,max=1000"`
	ExpiresIn        any               `json:"expires_in"`
	ExpiresAt        *time.Time        `json:"expires_at" validate:"excluded_with=ExpiresIn"`
	Methods          []string          `json:"methods" validate:"max=20,unique,dive,printable,max=40"`
	Capture          string            `json:"capture" validate:"omitempty,oneof=auto manual"`
	Customer         *customerBody     `json:"customer"`
	AmountAdjustable *rangeBody        `json:"amount_adjustable"`
	Context          string            `json:"context" validate:"omitempty,text,max=140"`
	ReturnURL        string            `json:"return_url" validate:"omitempty,http_url,max=2000"`
	Metadata         map[string]string `json:"metadata" validate:"max=20,dive,keys,printable,max=40,endkeys,text,max=500"`
	ValueLater       bool              `json:"value_later"`
}

func (n *newRequest) domain() (linking.NewRequest, error) {
	in := linking.NewRequest{
		Currency: linking.Currency(n.Currency), Reference: n.Reference, ClientID: n.ClientID, Sale: linking.SaleID(n.Sale),
		Draft: n.Draft, VATExtra: n.VAT == "excluded", Note: n.Note, Methods: n.Methods,
		Manual: n.Capture == "manual", Context: n.Context, ReturnURL: n.ReturnURL, Metadata: n.Metadata, ValueLater: n.ValueLater,
		Lines: lines(n.Lines), Replaces: n.Replaces,
	}
	if n.Amount != nil {
		in.Amount = *n.Amount
	}
	if n.ExpiresAt != nil {
		in.ExpiresAt = n.ExpiresAt.UTC()
	}
	if n.Customer != nil {
		in.Customer = linking.Customer(*n.Customer)
	}
	if n.AmountAdjustable != nil {
		in.Min, in.Max = n.AmountAdjustable.Min, n.AmountAdjustable.Max
	}
	if n.SaleTotal != nil {
		in.SaleTotal = *n.SaleTotal
	}
	var err error
	in.ExpiresIn, err = expiresIn(n.ExpiresIn)
	return in, err
}

// expiresIn takes seconds as a number, or one of the forms such as "15m".
func expiresIn(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		if v != "" {
			return v, nil
		}
	case float64:
		if n := int64(v); float64(n) == v && n > 0 && n < 1e10 {
			return strconv.FormatInt(n, 10), nil
		}
	}
	return "", invalidFields([]linking.FieldError{{Field: "expires_in", Code: "duration", Message: `must be a whole number of seconds above zero, or one such as "15m", "1d", "1w", "1m"`}})
}

func lines(in []newLine) []linking.Line {
	var list []linking.Line
	for _, l := range in {
		list = append(list, linking.Line{Description: l.Description, Quantity: l.Quantity, UnitPrice: l.UnitPrice, VATRate: l.VATRate})
	}
	return list
}

// requestParam reads a request's name off the path: our id or the caller's own.
func requestParam(c *fiber.Ctx) (string, error) {
	s, err := pathParam(c, "request")
	if err != nil || len(s) > 64 {
		return "", &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such payment request."}
	}
	return s, nil
}

// requestAnswer shows a request: 202 while the bank has something to confirm.
func (a *api) requestAnswer(n *linking.Answer, done int) (any, error) {
	if n == nil {
		return nil, nil
	}
	status := done
	switch r := n.Request; {
	case r.Status == linking.Preparing && !r.Bank.Refused, r.Status == linking.Closing, r.Status == linking.Processing && r.EndAsked:
		status = http.StatusAccepted
	}
	t := n.Tender
	out := &answer{status: status, body: a.viewRequest(n.Request, &t), etag: etag(n.Request.Revision)}
	if done == http.StatusCreated {
		out.location = "/v1/requests/" + string(n.Request.ID)
	}
	return out, nil
}

func (a *api) createRequest(c *fiber.Ctx, who linking.Caller) (any, error) {
	var in newRequest
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	n, err := in.domain()
	if err != nil {
		return nil, err
	}
	q := queryOf(c)
	dry := q.flag("dry_run")
	if err := q.err(); err != nil {
		return nil, err
	}
	if dry != nil && *dry {
		return a.estimate(c, who, n)
	}
	out, err := a.svc.CreateRequest(c.UserContext(), who, n, waiting(c, prefer(c)))
	if err != nil {
		return nil, err
	}
	return a.requestAnswer(out, http.StatusCreated)
}

func (a *api) getRequest(c *fiber.Ctx, who linking.Caller) error {
	ref, err := requestParam(c)
	if err != nil {
		return err
	}
	q := queryOf(c)
	wait := time.Duration(q.whole("wait", 0, 0, 30)) * time.Second
	after := linking.Status(q.text("after_status", 20))
	revision := q.whole("revision", 0, 0, 1<<31)
	if after != "" && !after.Known() {
		q.wrong("after_status", "not_allowed", "is not a status")
	}
	if err := q.err(); err != nil {
		return err
	}
	var n *linking.Answer
	if wait > 0 && after != "" {
		n, err = a.svc.AwaitRequest(c.UserContext(), who, ref, after, waiting(c, wait))
	} else {
		n, err = a.svc.Request(c.UserContext(), who, ref)
	}
	if err != nil {
		return err
	}
	r := n.Request
	if revision > 0 {
		if r = r.At(int(revision)); r == nil {
			return &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "The payment request has no such revision."}
		}
	}
	c.Set(fiber.HeaderETag, etag(n.Request.Revision))
	return c.JSON(a.viewRequest(r, &n.Tender))
}

type requestPatch struct {
	Amount        *linking.Amount   `json:"amount" validate:"omitempty,min=1,max=1000000000000000"`
	Lines         *[]newLine        `json:"lines" validate:"omitempty,min=1,max=500,dive"`
	ExpiresIn     any               `json:"expires_in"`
	ExpiresAt     *time.Time        `json:"expires_at" validate:"excluded_with=ExpiresIn"`
	Reference     *string           `json:"reference" validate:"omitempty,text,max=140"`
	Note          *string           `json:"note" validate:"omitempty,multiline,max=1000"`
	FiscalReceipt *string           `json:"fiscal_receipt" validate:"omitempty,http_url,max=2000"`
	Metadata      map[string]string `json:"metadata" validate:"max=20,dive,keys,printable,max=40,endkeys,text,max=500"`
}

func (a *api) patchRequest(c *fiber.Ctx, who linking.Caller) (any, error) {
	ref, err := requestParam(c)
	if err != nil {
		return nil, err
	}
	var in requestPatch
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	p := linking.Patch{Amount: in.Amount, Reference: in.Reference, Note: in.Note, FiscalURL: in.FiscalReceipt, Metadata: in.Metadata, ExpiresAt: in.ExpiresAt}
	if in.Lines != nil {
		l := lines(*in.Lines)
		p.Lines = &l
	}
	if in.ExpiresIn != nil {
		s, err := expiresIn(in.ExpiresIn)
		if err != nil {
			return nil, err
		}
		p.ExpiresIn = &s
	}
	match, err := ifMatch(c)
	if err != nil {
		return nil, err
	}
	if match != nil {
		n := int(*match)
		p.IfMatch = &n
	}
	n, err := a.svc.PatchRequest(c.UserContext(), who, ref, p, waiting(c, prefer(c)))
	if err != nil {
		return nil, err
	}
	return a.requestAnswer(n, http.StatusOK)
}

func (a *api) submitRequest(c *fiber.Ctx, who linking.Caller) (any, error) {
	ref, err := requestParam(c)
	if err != nil {
		return nil, err
	}
	n, err := a.svc.SubmitRequest(c.UserContext(), who, ref, waiting(c, prefer(c)))
	if err != nil {
		return nil, err
	}
	return a.requestAnswer(n, http.StatusOK)
}

type cancelBody struct {
	Reason string `json:"reason" validate:"omitempty,oneof=cancel paid_otherwise"`
}

func (a *api) cancelRequest(c *fiber.Ctx, who linking.Caller) (any, error) {
	ref, err := requestParam(c)
	if err != nil {
		return nil, err
	}
	in, err := optionalBody[cancelBody](c)
	if err != nil {
		return nil, err
	}
	why := linking.ByCancel
	if in.Reason != "" {
		why = linking.EndReason(in.Reason)
	}
	n, err := a.svc.CancelRequest(c.UserContext(), who, ref, why, waiting(c, prefer(c)))
	if err != nil {
		return nil, err
	}
	return a.requestAnswer(n, http.StatusOK)
}

// optionalBody reads a body that may be left out.
func optionalBody[T any](c *fiber.Ctx) (in T, err error) {
	if len(c.BodyRaw()) > 0 {
		err = decode(c, &in)
	}
	return in, err
}

func (a *api) renewRequest(c *fiber.Ctx, who linking.Caller) (any, error) {
	ref, err := requestParam(c)
	if err != nil {
		return nil, err
	}
	n, err := a.svc.RenewRequest(c.UserContext(), who, ref, waiting(c, prefer(c)))
	if err != nil {
		return nil, err
	}
	return a.requestAnswer(n, http.StatusCreated)
}

func (a *api) captureRequest(c *fiber.Ctx, who linking.Caller) (any, error) {
	ref, err := requestParam(c)
	if err != nil {
		return nil, err
	}
	n, err := a.svc.CaptureRequest(c.UserContext(), who, ref, waiting(c, prefer(c)))
	if err != nil {
		return nil, err
	}
	return a.requestAnswer(n, http.StatusOK)
}

type refundBody struct {
	Amount    *linking.Amount `json:"amount" validate:"omitempty,min=1,max=1000000000000000"` // nil: all that is left
	PaymentID string          `json:"payment_id" validate:"omitempty,printable,max=64"`
	Reason    string          `json:"reason" validate:"omitempty,text,max=140"`
}

func (a *api) refundRequest(c *fiber.Ctx, who linking.Caller) (any, error) {
	ref, err := requestParam(c)
	if err != nil {
		return nil, err
	}
	in, err := optionalBody[refundBody](c)
	if err != nil {
		return nil, err
	}
	cmd := linking.RefundCommand{PaymentID: in.PaymentID, Reason: in.Reason}
	if in.Amount != nil {
		cmd.Amount = *in.Amount
	}
	_, f, err := a.svc.RefundRequest(c.UserContext(), who, ref, cmd, waiting(c, prefer(c)))
	if err != nil || f == nil {
		return nil, err
	}
	status := http.StatusCreated
	if f.Status == linking.RefundPending {
		status = http.StatusAccepted
	}
	return &answer{status: status, body: viewRefund(*f)}, nil
}

// requestQR draws the address of a request's own page.
func (a *api) requestQR(c *fiber.Ctx, who linking.Caller) error {
	ref, err := requestParam(c)
	if err != nil {
		return err
	}
	n, err := a.svc.Request(c.UserContext(), who, ref)
	if err != nil {
		return err
	}
	if n.Request.Origin != linking.MadeByRequest {
		return &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "This payment request has no page of its own; its code shows it."}
	}
	return a.qr(c, who, printing.Label{Payload: a.svc.PageURL(n.Request.ID), Place: n.Request.Content.Reference}, n.Request.Content.Reference)
}

func (a *api) listExceptions(c *fiber.Ctx, who linking.Caller) error {
	q := queryOf(c)
	open := q.flag("open")
	limit, after := q.page()
	if err := q.err(); err != nil {
		return err
	}
	list, next, err := a.svc.ExceptionList(c.UserContext(), who, open != nil && *open, after, limit)
	if err != nil {
		return err
	}
	page := pageView[exceptionView]{Data: []exceptionView{}, Next: orNull(next)}
	for _, e := range list {
		v := viewException(e.Exception)
		if e.Request != nil {
			v.RequestID = &e.Request.ID
		}
		page.Data = append(page.Data, v)
	}
	return c.JSON(page)
}

func (a *api) acceptException(c *fiber.Ctx, who linking.Caller) (any, error) {
	in, err := optionalBody[acceptBody](c)
	if err != nil {
		return nil, err
	}
	return a.decideException(c, who, true, in.RequestID)
}
func (a *api) returnException(c *fiber.Ctx, who linking.Caller) (any, error) {
	return a.decideException(c, who, false, "")
}

// acceptBody says for which request money of kind unknown came.
type acceptBody struct {
	RequestID string `json:"request_id"`
}

func (a *api) decideException(c *fiber.Ctx, who linking.Caller, accept bool, request string) (any, error) {
	s, err := pathParam(c, "exception")
	if err != nil {
		return nil, err
	}
	id, ok := linking.ParseExceptionID(s)
	if !ok {
		return nil, &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such exception."}
	}
	n, err := a.svc.Decide(c.UserContext(), who, id, accept, request, waiting(c, prefer(c)))
	if err != nil {
		return nil, err
	}
	return a.requestAnswer(n, http.StatusOK)
}

func (a *api) getSale(c *fiber.Ctx, who linking.Caller) error {
	s, err := pathParam(c, "sale")
	if err != nil {
		return err
	}
	id, ok := linking.ParseSaleID(s)
	if !ok {
		return &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such sale."}
	}
	q := queryOf(c)
	wait := time.Duration(q.whole("wait", 0, 0, 30)) * time.Second
	if err := q.err(); err != nil {
		return err
	}
	v, err := a.svc.AwaitSale(c.UserContext(), who, id, waiting(c, wait))
	if err != nil {
		return err
	}
	return c.JSON(a.viewSale(v))
}

type merchantView struct {
	ID        linking.MerchantID `json:"id"`
	Name      string             `json:"name"`
	Currency  linking.Currency   `json:"currency"`
	TimeZone  string             `json:"time_zone"`
	DayEndsAt string             `json:"day_ends_at"`
	Mode      linking.Mode       `json:"mode"`
	VATRate   string             `json:"vat_rate"`
	Contact   string             `json:"contact"`
	Rail      string             `json:"rail"`
	Lines     linking.LinesShown `json:"lines_shown"`
	Late      linking.LateRule   `json:"late_payments"`
	Takeover  bool               `json:"takeover"`
	RefundCap linking.Amount     `json:"cashier_refund_limit"`
	Phone     bool               `json:"promise_by_phone"`
	Senders   []linking.Role     `json:"send_links"`
	HasLogo   bool               `json:"has_logo"`
	Languages []string           `json:"languages"` // empty: all
	CreatedAt *string            `json:"created_at"`

	Accounts      []string       `json:"settlement_accounts"`
	ReadingLimit  linking.Amount `json:"reading_limit"`
	ReadingFactor int            `json:"reading_factor"`
}

func viewMerchant(m *linking.Merchant) merchantView {
	v := merchantView{m.ID, m.Name, m.Currency, m.TimeZone, m.DayEndsAt, m.Mode, m.VATRate, m.Contact, m.Rail, m.Lines, m.Late, m.Takeover, m.RefundCap, m.PromisePhone, m.MaySend(), m.HasLogo, listOf(m.Languages), stamp(m.CreatedAt), listOf(m.Accounts), m.ReadingLimit, cmp.Or(m.ReadingFactor, 5)}
	if v.DayEndsAt == "" {
		v.DayEndsAt = "00:00"
	}
	if v.Lines == "" {
		v.Lines = linking.LinesAfterPayment
	}
	if v.Late == "" {
		v.Late = linking.LateHold
	}
	return v
}

func (a *api) getMerchant(c *fiber.Ctx, who linking.Caller) error {
	m, err := a.svc.Merchant(c.UserContext(), who.Merchant)
	if err != nil {
		return err
	}
	return c.JSON(viewMerchant(m))
}
