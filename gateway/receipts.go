package gateway

import (
	"math/big"
	"net/http"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
	"placard/printing"
)

// receipt answers GET /p/{secret}/receipt, the payer's.
func (a *api) receipt(c *fiber.Ctx) error {
	v, err := a.paged(c, true)
	if err != nil {
		return err
	}
	return a.sendReceipt(c, v.Merchant, v.Request, v.Merchant.ReceiptLines(v.Request), "/p/"+v.Page+"/receipt")
}

// requestReceipt answers GET /v1/requests/{id}/receipt, the till's.
func (a *api) requestReceipt(c *fiber.Ctx, who linking.Caller) error {
	id, err := requestParam(c)
	if err != nil {
		return err
	}
	n, err := a.svc.Request(c.UserContext(), who, id)
	if err != nil {
		return err
	}
	m, err := a.svc.Merchant(c.UserContext(), who.Merchant)
	if err != nil {
		return err
	}
	return a.sendReceipt(c, m, n.Request, true, "")
}

// receiptForms are the forms of a receipt, by the name of the format and by media type.
var receiptForms = map[string]string{
	"html": fiber.MIMETextHTML, "pdf": "application/pdf", "txt": fiber.MIMETextPlain, "escpos": "application/vnd.escpos",
}

func receiptForm(c *fiber.Ctx) (string, error) {
	if name := c.Query("format"); name != "" {
		if receiptForms[name] == "" {
			return "", invalidFields([]linking.FieldError{{Field: "format", Code: "one_of", Message: "must be one of html, pdf, txt, escpos"}})
		}
		return name, nil
	}
	switch c.Accepts(fiber.MIMETextHTML, "application/pdf", fiber.MIMETextPlain, "application/vnd.escpos") {
	case "application/pdf":
		return "pdf", nil
	case fiber.MIMETextPlain:
		return "txt", nil
	case "application/vnd.escpos":
		return "escpos", nil
	}
	return "html", nil
}

// receiptPage is what the template shows. It has the same words as the slip.
type receiptPage struct {
	Lang                        *language
	Offers                      []*language
	Title, Merchant, Logo, Test string
	Amount, Fiscal, Self        string
	Facts                       []receiptFact
	Lines, VAT                  []receiptRow
	Notes                       []string
}

type receiptFact struct{ Name, Value string }

type receiptRow struct{ What, How, Total string }

// sendReceipt answers with the confirmation of a payment. self is its address if it is
// the payer's own page.
func (a *api) sendReceipt(c *fiber.Ctx, m *linking.Merchant, r *linking.Request, lines bool, self string) error {
	form, err := receiptForm(c)
	if err != nil {
		return err
	}
	if r.Status != linking.Paid {
		return &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "This payment request is not paid: there is no receipt."}
	}
	d := a.receiptOf(a.payerWords.languageOf(c, m.Languages), m, r, lines)
	d.Self = self
	if form == "html" {
		return a.render(c, "receipt.html", a.plainPolicy, http.StatusOK, d)
	}
	slip := d.slip()
	switch form {
	case "pdf":
		doc, err := slip.PDF()
		if err != nil {
			return err
		}
		c.Set(fiber.HeaderContentDisposition, `attachment; filename="receipt-`+string(r.ID)+`.pdf"`)
		c.Set(fiber.HeaderContentType, receiptForms[form])
		return c.Send(doc)
	case "escpos":
		c.Set(fiber.HeaderContentType, receiptForms[form])
		return c.Send(slip.ESCPOS())
	}
	c.Set(fiber.HeaderContentType, fiber.MIMETextPlainCharsetUTF8)
	return c.SendString(slip.Text())
}

func (a *api) receiptOf(l *language, m *linking.Merchant, r *linking.Request, lines bool) *receiptPage {
	currency := r.Content.Currency
	money := func(n linking.Amount) string { return l.money(linking.Money{Amount: n, Currency: currency}) }
	d := &receiptPage{
		Lang: l, Offers: a.payerWords.offers(m), Title: l.say("confirmation"), Merchant: legible(m.Name),
		Amount: money(r.PaidAmount()), Notes: []string{l.say("not_fiscal")},
	}
	if m.HasLogo {
		d.Logo = "/m/" + string(m.ID) + "/logo"
	}
	if m.Mode == linking.Test {
		d.Test = l.say("test_receipt")
	}
	if webAddress(r.FiscalURL) {
		d.Fiscal = r.FiscalURL
	}
	fact := func(key, value string) {
		if value != "" {
			d.Facts = append(d.Facts, receiptFact{l.say(key), legible(value)})
		}
	}
	fact("paid_on", l.day(m, r.PaidAt)+", "+inZone(m, r.PaidAt).Format("15:04"))
	fact("reference", r.Content.Reference)
	fact("number", linking.Grouped(string(r.ID)))
	if back := r.RefundedAmount(); back > 0 {
		d.Notes = append([]string{l.say("went_back", "amount", money(back))}, d.Notes...)
	}
	if !lines {
		return d
	}
	vats := map[string]linking.LineTotal{}
	for _, x := range viewLines(r.Content.Lines, r.Content.VATExtra) {
		row := receiptRow{What: legible(x.Description), Total: money(x.Total)}
		if x.Quantity != "1" {
			row.What += " × " + l.decimal(x.Quantity)
		}
		if positive(x.VATRate) {
			row.How = l.say("vat") + " " + l.decimal(x.VATRate) + "\u00a0%"
			sum := vats[x.VATRate]
			sum.VAT, sum.Net = sum.VAT+x.VAT, sum.Net+x.Total-x.VAT
			vats[x.VATRate] = sum
		}
		d.Lines = append(d.Lines, row)
	}
	rates := make([]string, 0, len(vats))
	for rate := range vats {
		rates = append(rates, rate)
	}
	slices.SortFunc(rates, func(x, y string) int {
		p, _ := new(big.Rat).SetString(x)
		q, _ := new(big.Rat).SetString(y)
		return p.Cmp(q)
	})
	for _, rate := range rates {
		d.VAT = append(d.VAT, receiptRow{What: l.say("vat_of", "rate", l.decimal(rate), "net", money(vats[rate].Net)), Total: money(vats[rate].VAT)})
	}
	return d
}

// positive reports whether a decimal that the domain has checked is above zero.
func positive(rate string) bool { return strings.Trim(rate, "0.") != "" }

// webAddress reports whether a link may be offered to a payer.
func webAddress(s string) bool {
	return strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://")
}

func (d *receiptPage) slip() *printing.Slip {
	s := &printing.Slip{Merchant: d.Merchant, Warning: d.Test, Title: d.Title, Amount: d.Amount, Notes: d.Notes}
	for _, f := range d.Facts {
		s.Facts = append(s.Facts, printing.SlipRow{Left: f.Name, Right: f.Value})
	}
	for _, l := range d.Lines {
		s.Lines = append(s.Lines, printing.SlipRow{Left: l.What, Right: l.Total, Under: l.How})
	}
	for _, l := range d.VAT {
		s.Sums = append(s.Sums, printing.SlipRow{Left: l.What, Right: l.Total})
	}
	if d.Fiscal != "" {
		s.Notes = append(slices.Clone(s.Notes), d.Fiscal)
	}
	return s
}
