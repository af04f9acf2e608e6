package gateway

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

//go:embed web
var web embed.FS

// staticFiles are the scripts, styles and pictures of the pages.
func staticFiles() fs.FS {
	dir, err := fs.Sub(web, "web/static")
	if err != nil {
		panic(err) // it is embedded above
	}
	return dir
}

// pages are the templates of the pages, by file.
func (a *api) parsePages() error {
	t, err := template.New("").Funcs(template.FuncMap{"asset": a.assets.url}).ParseFS(web, "web/pages/*.html")
	a.pages = t
	return err
}

func (a *api) render(c *fiber.Ctx, name string, policy pagePolicy, status int, data any) error {
	var b bytes.Buffer
	if err := a.pages.ExecuteTemplate(&b, name, data); err != nil {
		return err
	}
	setPageHeaders(c, policy)
	c.Status(status)
	return c.Send(b.Bytes())
}

// payerData is what the payer's page shows.
type payerData struct {
	Title, Heading, Mark string
	Resolution           string
	State                string // changes when the page has to be drawn anew
	Text                 []string
	Merchant             *linking.Merchant
	Request              *payerRequest
	Pairing              string
	Stale                bool
	Self, Events         string
	Refresh              bool // something may still change
	Now, Expires, Left   string
	Pay, S               string
	Revision             int
	Methods              []string
	Lines                []payerLine
	Receipt              string
	Payload              string
	Again, AgainText     string
}

type payerRequest struct{ Amount, Reference string }

type payerLine struct{ Description, Quantity, Total string }

func money(m linking.Money) string {
	return m.Currency.Decimal(m.Amount) + " " + string(m.Currency)
}

// payerPage shows a view to a payer.
func (a *api) payerPage(c *fiber.Ctx, v *linking.View, status int) error {
	d := a.payer(v)
	d.Stale = status == fiber.StatusConflict && v.Seen.Resolution == linking.Payable
	return a.render(c, "payer.html", a.payPolicy(v), status, d)
}

// payPolicy lets the pay click's answer lead to the bank, and nowhere else.
func (a *api) payPolicy(v *linking.View) pagePolicy {
	if r := v.Seen.Request; r != nil && r.PayOrigin != "" {
		return newPagePolicy(map[string][]string{"form-action": {r.PayOrigin}, "frame-ancestors": a.frames()})
	}
	return newPagePolicy(map[string][]string{"frame-ancestors": a.frames()})
}

func (a *api) payer(v *linking.View) *payerData {
	base := basePath(v)
	d := &payerData{
		Resolution: string(v.Seen.Resolution), Merchant: v.Merchant, Refresh: true, S: v.Sealed,
		Self: base + "?s=" + v.Sealed, Events: base + "/events?s=" + v.Sealed,
		Now: v.At.UTC().Format(time.RFC3339),
	}
	revision := ""
	if r := v.Seen.Request; r != nil {
		d.Request = &payerRequest{money(r.Money), r.Reference}
		d.Revision = r.Revision
		revision = fmt.Sprint(r.Revision)
		if v.Code != nil {
			d.Pairing = v.Pairing.String()
		}
		for _, l := range viewLines(r.Lines, r.VATExtra) {
			d.Lines = append(d.Lines, payerLine{l.Description, l.Quantity, money(linking.Money{Amount: l.Total, Currency: r.Money.Currency})})
		}
	}
	slow := ""
	if v.Seen.Slow {
		slow = "slow"
	}
	d.State = fmt.Sprintf("%s %d %s %s", v.Seen.Resolution, v.Seen.Scan.Epoch, revision, slow)
	a.words(d, v)
	d.Title = d.Heading
	if v.Merchant != nil {
		d.Title += " · " + v.Merchant.Name
	}
	return d
}

// words says each resolution to a payer: what happened, whether money was taken, and
// what to do.
func (a *api) words(d *payerData, v *linking.View) {
	r := v.Seen.Request
	switch v.Seen.Resolution {
	case linking.Payable:
		d.Heading = "To pay"
		d.Pay = basePath(v) + "/pay"
		d.Methods = r.Methods
		if !r.ExpiresAt.IsZero() {
			d.Expires = r.ExpiresAt.UTC().Format(time.RFC3339)
			left := r.ExpiresAt.Sub(v.At).Truncate(time.Second)
			d.Left = fmt.Sprintf("%d:%02d", int(left.Minutes()), int(left.Seconds())%60)
			if left >= time.Hour {
				d.Left = fmt.Sprintf("%d:%02d:%02d", int(left.Hours()), int(left.Minutes())%60, int(left.Seconds())%60)
			}
		}
	case linking.Waiting:
		d.Heading = "Waiting for the till"
		d.Text = []string{"The amount appears here by itself as soon as the till sends it."}
	case linking.Valueless:
		d.Heading = "This bill has no amount yet"
		d.Text = []string{"It can be paid once the amount is known. Please scan again later; nothing is due now."}
	case linking.NothingDue:
		d.Heading = "Nothing to pay now"
		d.Text = []string{"There is no open bill on this code."}
	case linking.Updating:
		d.Heading = "The amount is being updated"
		d.Text = []string{"Please wait a moment. Nothing can be paid until the bank has confirmed it."}
		if v.Seen.Slow {
			d.Text = []string{"This takes longer than usual. Please ask at the till. Nothing was taken."}
		}
	case linking.Busy:
		d.Heading = "Someone is paying here"
		d.Text = []string{"Please wait until that payment is finished."}
	case linking.InFlight:
		d.Heading = "Your payment is being confirmed"
		d.Text = []string{"Do not pay again. This page tells you when the bank has confirmed it."}
	case linking.PaidHere:
		d.Heading, d.Mark = "Paid", "✓"
		d.Text = []string{"Thank you."}
		d.Refresh = false
		if v.Page != "" {
			d.Receipt = "/p/" + v.Page + "/receipt"
		}
	case linking.Settled:
		d.Heading, d.Mark = "Paid, thank you", "✓"
		if !v.Seen.On.IsZero() {
			d.Heading = "Paid on " + a.dayOf(v.Merchant, v.Seen.On)
		}
		d.Text = []string{"There is nothing left to pay."}
	case linking.Ended:
		d.Heading = "This sale is closed"
		d.Text = []string{"Nothing can be paid on this page any more."}
		d.Refresh = false
		if v.Code != nil && v.Code.Kind != linking.Bill {
			d.Again, d.AgainText = "/q/"+string(v.Token), "Open the code again"
		}
		if v.Seen.Reason == linking.ByExpiry {
			d.Text = []string{"The time to pay is over. Nothing was taken. Please ask for a new one."}
		}
	}
}

// dayOf is a day as the merchant's calendar has it.
func (a *api) dayOf(m *linking.Merchant, t time.Time) string {
	if m != nil {
		if zone, err := time.LoadLocation(m.TimeZone); err == nil {
			t = t.In(zone)
		}
	}
	return t.Format("2 January 2006")
}

// copyPage shows a payload that the payer copies into the bank's app.
func (a *api) copyPage(c *fiber.Ctx, v *linking.View, way linking.Way) error {
	d := a.payer(v)
	d.Heading, d.Text, d.Pay, d.Payload = "Pay in your bank's app", nil, "", way.Payload
	return a.render(c, "payer.html", a.payPolicy(v), fiber.StatusOK, d)
}
