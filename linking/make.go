package linking

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// NewRequest is what a caller asks for. Fields are as in the API; what is empty
// takes the merchant's default.
type NewRequest struct {
	Amount     Amount // 0 with Lines: their sum; 0 with ValueLater: none yet
	Currency   Currency
	Reference  string
	ClientID   string
	Sale       SaleID
	SaleTotal  Amount
	Draft      bool
	Replace    bool   // an open request of the same sale with other content gives way
	Replaces   string // our id or the caller's client_id of a request that this one takes the place of
	Lines      []Line
	VATExtra   bool
	Note       string
	ExpiresIn  string    // seconds, or "15m", "1d", "1w", "1m"
	ExpiresAt  time.Time // one of the two, or neither
	Methods    []string
	Manual     bool
	Customer   Customer
	Min, Max   Amount
	Context    string
	ReturnURL  string
	Metadata   map[string]string
	ValueLater bool
	Again      bool // what Replaces names has ended, and is asked for once more
}

// Limits of a request.
const (
	maxReference  = 140 // characters; the most that Pix shows a payer
	maxNote       = 1000
	maxLines      = 500
	maxLifetime   = 5 * 366 * 24 * time.Hour
	maxMetadata   = 20
	defaultAtTill = 15 * time.Minute
	defaultSent   = 48 * time.Hour
)

// rail finds the bank connection for a rail of a merchant and what it can do.
func (t *tx) rail(m *Merchant, rail string) (*Connection, Abilities, error) {
	if rail == "" {
		rail = m.Rail
	}
	id, ok := m.Rails[rail]
	if !ok {
		return nil, Abilities{}, &Error{Kind: Invalid, Code: "invalid_request", Detail: "The merchant has no bank connection for this rail.",
			Fields: []FieldError{{"rail", "merchant_not_live", "The merchant has no bank connection for the rail " + railName(rail) + "."}}}
	}
	c, err := t.connection(id)
	if err != nil {
		return nil, Abilities{}, err
	}
	if c == nil || t.s.banks == nil {
		return nil, Abilities{}, &Error{Kind: Unavailable, Code: "bank_unavailable", Detail: "The bank connection is not there."}
	}
	ab, err := t.s.abilities(t.ctx, c)
	return c, ab, err
}

func railName(rail string) string {
	if rail == "" {
		return "(none is set)"
	}
	return rail
}

// request makes a request from what was asked for, by the rules of merchant, rail
// and code. It neither submits nor attaches it.
func (t *tx) newRequest(c Caller, m *Merchant, in NewRequest, code *Code) (*Request, error) {
	rail := ""
	r := &Request{
		ID: newRequestID(t.shard, t.now), Merchant: m.ID, Outlet: c.Outlet, ClientID: in.ClientID, Sale: in.Sale,
		Origin: MadeByRequest, Status: Draft, ValueLater: in.ValueLater, Note: in.Note, Methods: in.Methods,
		Manual: in.Manual, Customer: in.Customer, Context: in.Context, ReturnURL: in.ReturnURL,
		Metadata: in.Metadata, AskedBy: c.Key, CreatedAt: t.now, Since: t.now,
	}
	if in.Replaces != "" {
		old, err := t.requestFor(c, in.Replaces)
		if IsKind(err, NotFound) {
			return nil, invalid("replaces", "unknown", "There is no such payment request.")
		}
		if err != nil {
			return nil, err
		}
		r.Replaces = old.ID
		if r.Sale == "" && !old.Status.Final() {
			r.Sale = old.Sale
		}
	}
	if code != nil {
		rail, r.Origin, r.Outlet = code.Rail, MadeByLink, code.Outlet
	}
	conn, ab, err := t.rail(m, rail)
	if err != nil {
		return nil, err
	}
	r.Bank = BankSide{Rail: conn.Rail, Connection: conn.ID, Charge: Immediate, Alone: !ab.Changed}
	if code != nil && code.Charge != "" {
		r.Bank.Charge = code.Charge
	}
	r.Content = Content{
		Amount: in.Amount, Currency: in.Currency, Reference: in.Reference, Lines: in.Lines,
		VATExtra: in.VATExtra, Min: in.Min, Max: in.Max,
	}
	if err := t.content(r, m, ab); err != nil {
		return nil, err
	}
	if r.Content.ExpiresAt, err = t.expiry(in, r, ab, code); err != nil {
		return nil, err
	}
	return r, t.abilitiesFor(r, ab)
}

// content checks what is asked for and fills in what follows from the lines.
func (t *tx) content(r *Request, m *Merchant, ab Abilities) error {
	c := &r.Content
	if c.Currency == "" {
		c.Currency = m.Currency
	}
	if c.Currency != m.Currency {
		return invalid("currency", "merchant_currency", "The merchant takes "+string(m.Currency)+".")
	}
	if !has(ab.Currencies, c.Currency) {
		return invalid("currency", "rail_currency", "The rail "+r.Bank.Rail+" does not take "+string(c.Currency)+".")
	}
	if err := text("reference", c.Reference, maxReference); err != nil {
		return err
	}
	if err := prose("note", r.Note, maxNote, "\n"); err != nil {
		return err
	}
	if len(c.Lines) > 0 {
		for i := range c.Lines {
			if c.Lines[i].VATRate == "" {
				c.Lines[i].VATRate = m.VATRate
			}
			if err := text(fmt.Sprintf("lines[%d].description", i), c.Lines[i].Description, maxReference); err != nil {
				return err
			}
		}
		_, sum, err := Totals(c.Lines, c.VATExtra)
		if err != nil {
			return err
		}
		if c.Amount == 0 {
			c.Amount = sum.Gross
		}
		if c.Amount != sum.Gross {
			return invalid("amount", "lines_sum", "The amount is not the sum of the lines, which is "+c.Currency.Decimal(sum.Gross)+".")
		}
	}
	switch {
	case c.Amount < 0 || c.Amount > MaxAmount:
		return invalid("amount", "range", "The amount is from 1 to 10^15 minor units.")
	case c.Amount == 0 && !r.ValueLater:
		return invalid("amount", "required", "An amount above zero is needed, or lines, or value_later.")
	case c.Amount > 0 && r.ValueLater:
		return invalid("amount", "value_later", "With value_later there is no amount yet.")
	}
	return nil
}

// abilitiesFor refuses by name what the rail cannot do.
func (t *tx) abilitiesFor(r *Request, ab Abilities) error {
	c := &r.Content
	if r.Manual && !ab.Capture {
		return invalid("capture", "rail_cannot_capture", "The rail "+r.Bank.Rail+" cannot authorise now and capture later.")
	}
	if c.Max > 0 {
		if !ab.Adjustable {
			return invalid("amount_adjustable", "rail_cannot_adjust", "On the rail "+r.Bank.Rail+" the payer cannot choose the amount.")
		}
		if c.Min <= 0 || c.Min > c.Amount || c.Amount > c.Max || c.Max > MaxAmount {
			return invalid("amount_adjustable", "range", "min is at least 1 and at most the amount, max at least the amount.")
		}
	}
	for i, m := range r.Methods {
		if !has(ab.Methods, m) {
			return invalid(fmt.Sprintf("methods[%d]", i), "rail_method", "The rail "+r.Bank.Rail+" does not offer this way to pay.")
		}
	}
	if r.Bank.Charge == DueDate && ab.NeedsDebtor && (r.Customer.Name == "" || r.Customer.TaxID == "") {
		return invalid("customer", "rail_needs_debtor", "A due-date charge on the rail "+r.Bank.Rail+" needs the customer's name and tax_id.")
	}
	return nil
}

// expiry is when the request ends, to the second; zero: never by itself.
func (t *tx) expiry(in NewRequest, r *Request, ab Abilities, code *Code) (time.Time, error) {
	at := in.ExpiresAt
	now := t.now.Truncate(time.Second)
	field := "expires_at"
	switch {
	case in.ExpiresIn != "" && !at.IsZero():
		return at, invalid("expires_in", "one_of", "Give expires_in or expires_at, not both.")
	case in.ExpiresIn != "":
		field = "expires_in"
		var err error
		if at, err = t.expiresIn(now, in.ExpiresIn); err != nil {
			return at, err
		}
	case at.IsZero():
		at = defaultExpiry(now, code, r.ValueLater, ab)
		if at.IsZero() {
			return at, nil
		}
	}
	return at, checkExpiry(field, at, t.now, ab)
}

func defaultExpiry(now time.Time, code *Code, valueLater bool, ab Abilities) time.Time {
	switch {
	case code != nil && code.Kind == Counter:
		return now.Add(defaultAtTill)
	case code == nil && !valueLater:
		return now.Add(defaultSent)
	case ab.OpenEnded:
		return time.Time{}
	case ab.MaxExpiry > 0:
		return now.Add(ab.MaxExpiry)
	}
	return now.Add(defaultSent)
}

func checkExpiry(field string, at, now time.Time, ab Abilities) error {
	switch {
	case !at.After(now):
		return invalid(field, "past", "The expiry lies in the past.")
	case at.Sub(now) > maxLifetime:
		return invalid(field, "range", "The expiry lies more than 5 years ahead.")
	case ab.MaxExpiry > 0 && at.Sub(now) > ab.MaxExpiry:
		return invalid(field, "rail_expiry", fmt.Sprintf("This rail keeps a request open for at most %d seconds.", int(ab.MaxExpiry.Seconds())))
	}
	return nil
}

// expiresIn reads "900" (seconds), "15m" (from 5 on, minutes), "12h", "1d", "1w", or
// "1m" to "4m": calendar months in the merchant's time zone, the same day of that
// month or its last day.
func (t *tx) expiresIn(now time.Time, s string) (time.Time, error) {
	bad := invalid("expires_in", "duration", `expires_in is a number of seconds, or one such as "15m", "12h", "1d", "1w", "1m" (a month).`)
	n, unit := 0, ""
	for i, c := range s {
		if c < '0' || c > '9' {
			unit = s[i:]
			break
		}
		if n = n*10 + int(c-'0'); n > 200_000_000 {
			return now, invalid("expires_in", "range", "The expiry lies more than 5 years ahead.")
		}
	}
	switch unit {
	case "":
		return now.Add(time.Duration(n) * time.Second), nil
	case "h":
		return now.Add(time.Duration(min(n, 50_000)) * time.Hour), nil
	}
	m, err := t.merchantRec()
	if err != nil {
		return now, err
	}
	zone := time.UTC
	if m != nil {
		if z, err := time.LoadLocation(m.TimeZone); err == nil {
			zone = z
		}
	}
	local := now.In(zone)
	switch unit {
	case "d":
		return local.AddDate(0, 0, min(n, 2000)).UTC(), nil
	case "w":
		return local.AddDate(0, 0, 7*min(n, 300)).UTC(), nil
	case "m":
		if n >= 5 {
			return now.Add(time.Duration(min(n, 3_000_000)) * time.Minute), nil // as every till says it
		}
		return addMonths(local, n).UTC(), nil
	}
	return now, bad
}

// addMonths is the same day n months on, or the last day of that month.
func addMonths(t time.Time, n int) time.Time {
	first := time.Date(t.Year(), t.Month()+time.Month(n), 1, t.Hour(), t.Minute(), t.Second(), 0, t.Location())
	last := first.AddDate(0, 1, -1).Day()
	return first.AddDate(0, 0, min(t.Day(), last)-1)
}

// text refuses what could break a line of a receipt, or pretend to be other text.
func text(field, s string, most int) error { return prose(field, s, most, "") }

// prose is text in which also the characters of allowed may stand.
func prose(field, s string, most int, allowed string) error {
	if utf8.RuneCountInString(s) > most {
		return invalid(field, "too_long", fmt.Sprintf("At most %d characters.", most))
	}
	for _, r := range s {
		switch {
		case strings.ContainsRune(allowed, r):
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029', r == '\ufeff', r == utf8.RuneError:
			return invalid(field, "text", "Control characters, direction marks and broken characters are not allowed.")
		}
	}
	return nil
}
