package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// walkBill plays a utility's month over real HTTP: printed before it is known, read at
// the door with no signal, valued by the office, paid, and held against the bank's
// statement.
func (d *demo) walkBill(e *env) error {
	w := &billWalker{walker: d.walker(e), zone: time.UTC}
	if z, err := time.LoadLocation(d.rail.utility.TimeZone); err == nil {
		w.zone = z
	}
	return w.play("A month of a water company, over HTTP at "+d.facts.URL, []walkStep{
		{"customers", "20 customers as CSV are a batch of 20 bills, each bound to its account", w.customers},
		{"paper", "the bills are one PDF, in which every code was read back", w.paper},
		{"scan", "a customer scans: no amount yet, and nothing to pay by mistake", w.early},
		{"offline", "the agent reads three meters where there is no signal, one of them ten times too large", w.offline},
		{"online", "back in reach: two rows value their bills, one is held; sent again, nothing changes", w.online},
		{"second look", "another person rejects the held one", w.secondLook},
		{"billing", "the billing file has a duplicate and a late row: each is told, the bills ask for the rest", w.billing},
		{"pay", "the customer scans again: the amount; pays; scans once more: paid", w.payBills},
		{"cash", "one pays at the office: the page says thank you", w.cash},
		{"statement", "the bank's statement is in: all matched but one, with its cause", w.statement},
	})
}

// billAccount is the account at which the demo's water company is paid.
const billAccount = "PT50000201231234567890154"

type billWalker struct {
	*walker
	zone  *time.Location
	batch string
	codes []string // of K-1, K-2, …
	rows  []map[string]any
	agent string // its key
	held  string
	paid  []string // requests
}

// office calls the gateway as the utility's office does, or with another key. A body of
// text or bytes is sent as it is.
func (w *billWalker) office(method, path, contentType string, body any, into any, key ...string) ([]byte, error) {
	var raw []byte
	switch b := body.(type) {
	case nil:
	case string:
		raw = []byte(b)
	default:
		var err error
		if raw, err = json.Marshal(b); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(w.ctx, method, w.d.facts.URL+path, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	as := w.d.facts.Utility.APIKey
	if len(key) > 0 {
		as = key[0]
	}
	req.Header.Set("Authorization", "Bearer "+as)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 32<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s answered %s: %s", method, path, resp.Status, answer)
	}
	if into != nil {
		err = json.Unmarshal(answer, into)
	}
	return answer, err
}

func (w *billWalker) customers() error {
	var file strings.Builder
	file.WriteString("label,account\n")
	for i := range 20 {
		fmt.Fprintf(&file, "Mill Lane %d,K-%d\n", i+1, i+1)
	}
	var b struct {
		ID    string
		Count int
	}
	if _, err := w.office("POST", "/v1/codes/batches?kind=bill&resolved_by=gateway", "text/csv", file.String(), &b); err != nil {
		return err
	}
	if w.batch = b.ID; b.Count != 20 {
		return fmt.Errorf("there are %d bills", b.Count)
	}
	var page struct {
		Data []struct{ Token, Account string }
	}
	if _, err := w.office("GET", "/v1/codes/batches/"+w.batch+"/rows", "", nil, &page); err != nil {
		return err
	}
	var bind []map[string]string
	for _, r := range page.Data {
		w.codes = append(w.codes, r.Token)
		bind = append(bind, map[string]string{"account": r.Account, "code": r.Token})
	}
	return w.fates("/v1/accounts", "application/json", bind, nil, "bound 20")
}

// walkFates are fates as the office reads them.
type walkFates struct {
	Data []struct {
		Fate, Why, Reading, Request string
	}
	Counts   map[string]int
	Complete bool
}

// fates sends rows and demands that their fates are these, such as "valued 2".
func (w *billWalker) fates(path, contentType string, rows any, into *walkFates, want ...string) error {
	var f walkFates
	key := []string{}
	if path == "/v1/readings" {
		key = append(key, w.agent)
	}
	if _, err := w.office("POST", path, contentType, rows, &f, key...); err != nil {
		return err
	}
	if into != nil {
		*into = f
	}
	for _, one := range want {
		var fate string
		var n int
		if _, err := fmt.Sscanf(one, "%s %d", &fate, &n); err != nil || f.Counts[fate] != n {
			return fmt.Errorf("the fates are %v, not %s", f.Counts, strings.Join(want, ", "))
		}
	}
	if !f.Complete || len(want) != len(f.Counts) {
		return fmt.Errorf("the fates are %v, not %s", f.Counts, strings.Join(want, ", "))
	}
	return nil
}

func (w *billWalker) paper() error {
	pdf, err := w.office("POST", "/v1/print/sheets", "application/json", map[string]any{"batch": w.batch, "stock": "L7159", "mark": true}, nil)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(pdf, []byte("%PDF-")) {
		return errors.New("what came is no PDF")
	}
	var b struct{ Book struct{ Printed int } }
	if _, err := w.office("GET", "/v1/codes/batches/"+w.batch+"?book=true", "", nil, &b); err != nil {
		return err
	}
	if b.Book.Printed != 20 {
		return fmt.Errorf("the stock book has %d printed bills", b.Book.Printed)
	}
	return nil
}

// shows demands what a fresh scan of a customer's bill yields.
func (w *billWalker) shows(customer int, want string) (walkScan, error) {
	w.code = w.codes[customer-1]
	v, err := w.see("")
	if err == nil && v.Resolution != want {
		err = fmt.Errorf("the bill of K-%d is %q, not %q", customer, v.Resolution, want)
	}
	return v, err
}

// asks waits until a customer's bill asks for an amount.
func (w *billWalker) asks(customer int, cents int64) (v walkScan, err error) {
	for end := time.Now().Add(w.hooks.patience); ; {
		w.code = w.codes[customer-1]
		if v, err = w.see(""); err != nil {
			return v, err
		}
		if v.Resolution == "payable" && v.Request != nil && v.Request.Amount == cents {
			return v, nil
		}
		if time.Now().After(end) {
			return v, fmt.Errorf("the bill of K-%d is %q, and does not ask for %d", customer, v.Resolution, cents)
		}
		select {
		case <-w.ctx.Done():
			return v, w.ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (w *billWalker) early() error {
	_, err := w.shows(1, "unvalued")
	return err
}

func (w *billWalker) offline() error {
	if _, err := w.office("PATCH", "/v1/merchant", "application/json", map[string]any{"reading_limit": 20_000, "settlement_accounts": []string{billAccount}}, nil); err != nil {
		return err
	}
	var key struct{ Secret string }
	if _, err := w.office("POST", "/v1/keys", "application/json", map[string]string{"role": "agent", "label": "phone 7"}, &key); err != nil {
		return err
	}
	if w.agent = key.Secret; w.agent == "" {
		return errors.New("there is no key for the agent's phone")
	}
	// The phone numbers its rows, and keeps them.
	now := time.Now().UTC().Truncate(time.Second)
	for i, cents := range []int{4200, 3900, 41_000} {
		w.rows = append(w.rows, map[string]any{
			"code": w.codes[i], "amount": cents, "meter": fmt.Sprint("M-", i+1), "reading": fmt.Sprint(1040+i, ".5"), "unit": "m3",
			"device": "phone-7", "sequence": i + 1, "recorded_at": now.Add(time.Duration(i-180) * time.Minute).Format(time.RFC3339),
		})
	}
	_, err := w.shows(1, "unvalued")
	return err
}

func (w *billWalker) online() error {
	var f walkFates
	if err := w.fates("/v1/readings", "application/json", w.rows, &f, "valued 2", "held 1"); err != nil {
		return err
	}
	if f.Data[2].Why != "above_limit" {
		return fmt.Errorf("the third is %s for %q", f.Data[2].Fate, f.Data[2].Why)
	}
	w.held = f.Data[2].Reading
	if err := w.fates("/v1/readings", "application/json", w.rows, nil, "duplicate 2", "held 1"); err != nil {
		return err
	}
	if _, err := w.asks(1, 4200); err != nil {
		return err
	}
	_, err := w.shows(3, "unvalued")
	return err
}

func (w *billWalker) secondLook() error {
	if _, err := w.office("POST", "/v1/readings/"+w.held+"/approve", "application/json", nil, nil, w.agent); err == nil {
		return errors.New("the agent decided about its own reading")
	}
	if _, err := w.office("POST", "/v1/readings/"+w.held+"/reject", "", nil, nil); err != nil {
		return err
	}
	var page struct{ Data []struct{} }
	if _, err := w.office("GET", "/v1/readings?state=held", "", nil, &page); err != nil {
		return err
	}
	if len(page.Data) != 0 {
		return fmt.Errorf("%d readings wait still", len(page.Data))
	}
	return nil
}

func (w *billWalker) billing() error {
	issued := time.Now().UTC().Truncate(time.Second)
	var file strings.Builder
	file.WriteString("account;reference;amount;issued_at\n")
	row := func(customer, cents int, at time.Time) {
		fmt.Fprintf(&file, "K-%d;W-%d;%d;%s\n", customer, customer, cents, at.Format(time.RFC3339))
	}
	for i := 3; i <= 20; i++ {
		row(i, 3000+i, issued.Add(-time.Hour))
	}
	row(5, 3005, issued.Add(-time.Hour))    // the same once more
	row(6, 9999, issued.Add(-24*time.Hour)) // yesterday's, which lay about
	if err := w.fates("/v1/bills/import", "text/csv", file.String(), nil, "valued 18", "duplicate 1", "superseded 1"); err != nil {
		return err
	}
	if err := w.fates("/v1/bills/import", "text/csv", file.String(), nil, "duplicate 19", "superseded 1"); err != nil {
		return err
	}
	_, err := w.asks(6, 3006)
	return err
}

func (w *billWalker) payBills() error {
	for customer, cents := range map[int]int64{1: 4200, 2: 3900, 3: 3003} {
		v, err := w.asks(customer, cents)
		if err != nil {
			return err
		}
		var l struct{ Request struct{ ID string } }
		if _, err := w.office("GET", "/v1/codes/"+w.code+"/link", "", nil, &l); err != nil {
			return err
		}
		if _, err := w.press(v); err != nil {
			return err
		}
		if err := w.sim("/sim/pay", map[string]any{"request_id": l.Request.ID}); err != nil {
			return err
		}
		var r struct{ Status string }
		for end := time.Now().Add(w.hooks.patience); r.Status != "paid"; {
			if _, err := w.office("GET", "/v1/requests/"+l.Request.ID+"?wait=5&after_status="+r.Status, "", nil, &r); err != nil {
				return err
			}
			if r.Status != "paid" && time.Now().After(end) {
				return fmt.Errorf("the office was not told that K-%d has paid: %s", customer, r.Status)
			}
		}
		w.paid = append(w.paid, l.Request.ID)
		if v, err = w.shows(customer, "settled"); err != nil {
			return err
		}
		if v.Request != nil {
			return errors.New("whoever finds a paid bill learns its amount")
		}
	}
	return nil
}

func (w *billWalker) cash() error {
	if _, err := w.asks(4, 3004); err != nil {
		return err
	}
	var l struct{ Request struct{ ID string } }
	if _, err := w.office("GET", "/v1/codes/"+w.code+"/link", "", nil, &l); err != nil {
		return err
	}
	if _, err := w.office("POST", "/v1/requests/"+l.Request.ID+"/cancel", "application/json", map[string]string{"reason": "paid_otherwise"}, nil); err != nil {
		return err
	}
	_, err := w.shows(4, "settled")
	return err
}

// statement makes the bank's statement of the day, in which one payment is not yet.
func (w *billWalker) statement() error {
	today := time.Now().In(w.zone).Format(time.DateOnly)
	file, err := w.office("GET", "/v1/reports/settlement?format=csv&day="+today, "", nil, nil)
	if err != nil {
		return err
	}
	lines, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
	if err != nil {
		return err
	}
	var bank strings.Builder
	bank.WriteString("account;date;amount;currency;reference\n")
	payments, otherwise, missing := 0, 0, ""
	for _, l := range lines[1:] {
		switch l[1] {
		case "paid_otherwise":
			otherwise++
		case "payment":
			if payments++; payments == 3 {
				missing = l[3]
				continue
			}
			var cents int
			fmt.Sscan(l[12], &cents)
			fmt.Fprintf(&bank, "%s;%s;%d,%02d;%s;%s\n", billAccount, today, cents/100, cents%100, l[13], l[9])
		}
	}
	if payments != len(w.paid) || otherwise != 1 {
		return fmt.Errorf("the settlement report has %d payments and %d paid another way", payments, otherwise)
	}
	var rec struct {
		Matched   int
		Leftovers []struct {
			Cause, Action string
			RequestID     string `json:"request_id"`
		}
	}
	if _, err := w.office("POST", "/v1/reports/reconciliation?day="+today, "text/csv", bank.String(), &rec); err != nil {
		return err
	}
	if rec.Matched != payments-1 || len(rec.Leftovers) != 1 || rec.Leftovers[0].Cause != "not_arrived" || rec.Leftovers[0].RequestID != missing {
		return fmt.Errorf("%d of %d are matched, and left over are %+v", rec.Matched, payments, rec.Leftovers)
	}
	return nil
}
