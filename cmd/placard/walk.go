package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// walkHooks let a test stand between the walk and the gateway.
type walkHooks struct {
	transport http.RoundTripper // of till and phone; nil: http.DefaultTransport
	callbacks string            // mode of the bank's callbacks; empty: normal
	patience  time.Duration     // how long a step waits for what must come; 0: walkPatience
	program   string            // that is started and killed; empty: this one
}

// walkPatience is how long a step waits. What no callback tells must be found in 30 s.
const walkPatience = 30 * time.Second

// walk plays a whole sale over real HTTP. Each step is checked on another side than
// the one that acted: what the till does is read on the phone, what the bank does is
// read at the till.
func (d *demo) walk(e *env) error {
	w := d.walker(e)
	defer w.end()
	return w.play("A sale on a printed code, over HTTP at "+d.facts.URL, []walkStep{
		{"code", "the till makes a code; its address is a page that waits", w.makeCode},
		{"attach", "the till attaches 12.50 " + string(d.rail.shop.Currency) + "; the phone sees that amount", w.attach},
		{"flip", "the page that waited has turned into the amount by itself", w.flip},
		{"pay re-check", "the till changes the amount; a click on the old one takes nothing", w.recheck},
		{"event", "the till's stream has told each of it, in order and without a gap", w.events},
		{"pay", "the payer clicks pay and pays at the bank", w.pay},
		{"callback", "the bank has told the gateway, and was answered", w.callback},
		{"settle", "the till hears that it is paid, by the bank's own word", w.settle},
		{"free", "the code is free: a new scan waits for the next sale", w.free},
		{"receipt", "the payer's page says paid, and names the amount", w.receipt},
		{"next sale", "the next sale is on the same code; the first page stays closed", w.next},
		{"poller", "its callback is lost; the gateway finds the payment by asking", w.poller},
		{"sums", "what the bank has is what the till was told, to the cent", w.sums},
	})
}

// walker makes somebody who walks.
func (d *demo) walker(e *env) *walker {
	w := &walker{d: d, out: e.out, ctx: e.ctx, hooks: e.hooks.walk, client: &http.Client{
		Transport:     e.hooks.walk.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if w.hooks.patience == 0 {
		w.hooks.patience = walkPatience
	}
	return w
}

// walkStep is one thing that is done, and checked.
type walkStep struct {
	name, what string
	do         func() error
}

// play does one step after the other, and says how each went.
func (w *walker) play(title string, steps []walkStep) error {
	fmt.Fprintf(w.out, "%s\n\n", title)
	for i, s := range steps {
		began := time.Now()
		if err := s.do(); err != nil {
			fmt.Fprintf(w.out, "%2d  %-13s FAILED  %v\n", i+1, s.name, err)
			return fmt.Errorf("the walk stopped at the step %q", s.name)
		}
		fmt.Fprintf(w.out, "%2d  %-13s %7.1f ms  %s\n", i+1, s.name, float64(time.Since(began).Microseconds())/1000, s.what)
	}
	fmt.Fprintf(w.out, "\nAll %d steps hold.\n", len(steps))
	return nil
}

type walker struct {
	d      *demo
	ctx    context.Context
	out    io.Writer
	client *http.Client
	hooks  walkHooks

	code    string
	printed string        // what the code says
	waiting walkScan      // the scan that was made before the sale
	flipped chan walkScan // what the waiting page's stream says
	stream  io.Closer
	told    *tillStream
	first   string // the first sale's request
	second  string
	scan    walkScan // the phone's scan of the first sale
	bank    string   // where the pay click leads
}

func (w *walker) end() {
	if w.stream != nil {
		w.stream.Close()
	}
	if w.told != nil {
		w.told.body.Close()
	}
}

// walkScan is a scan as the phone gets it.
type walkScan struct {
	Resolution string
	Epoch      uint64
	S          string
	Request    *struct {
		Amount   int64
		Revision int
		PaidAt   *string `json:"paid_at"`
	}
	Pay *struct{ URL string }
}

func (w *walker) call(method, path string, body, into any, header ...string) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(w.ctx, method, w.d.facts.URL+path, r)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if into != nil && resp.StatusCode < 300 {
		err = json.Unmarshal(b, into)
	}
	return resp, err
}

// till calls the gateway as the till does.
func (w *walker) till(method, path string, body, into any) error {
	resp, err := w.call(method, path, body, into, "Authorization", "Bearer "+w.d.facts.APIKey)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s answered %s", method, path, resp.Status)
	}
	return err
}

// sim drives the simulated bank.
func (w *walker) sim(path string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	resp, err := http.Post(w.d.facts.BankURL+path, "application/json", bytes.NewReader(b))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return fmt.Errorf("the bank answered %s to %s", resp.Status, path)
	}
	return nil
}

func (w *walker) see(s string) (v walkScan, err error) {
	resp, err := w.call("GET", "/q/"+w.code+"?s="+s, nil, &v)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the scan answered %s", resp.Status)
	}
	return v, err
}

func (w *walker) makeCode() error {
	if w.hooks.callbacks != "" {
		if err := w.sim("/sim/callbacks", map[string]string{"mode": w.hooks.callbacks}); err != nil {
			return err
		}
	}
	var code struct{ Token, Payload string }
	if err := w.till("POST", "/v1/codes", map[string]string{"kind": "counter", "label": "Walk"}, &code); err != nil {
		return err
	}
	w.code, w.printed = code.Token, code.Payload
	// The phone opens what is printed, in capitals as it is.
	path := "/q/" + w.code
	if w.d.rail.open == nil {
		printed, err := url.Parse(code.Payload)
		if err != nil {
			return err
		}
		path = printed.Path
	} else if err := w.atBank(""); err != nil {
		return err
	}
	resp, err := w.call("GET", path, nil, &w.waiting)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || w.waiting.Resolution != "waiting" {
		return fmt.Errorf("the printed address answers %s, %q", resp.Status, w.waiting.Resolution)
	}
	if err := w.openWaiting(); err != nil {
		return err
	}
	w.told, err = w.openTill()
	return err
}

// openWaiting opens the event stream of the page that waits.
func (w *walker) openWaiting() error {
	req, err := http.NewRequestWithContext(w.ctx, "GET", w.d.facts.URL+"/q/"+w.code+"/events?s="+w.waiting.S, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := w.client.Do(req)
	if err != nil {
		return err
	}
	w.stream = resp.Body
	w.flipped = make(chan walkScan, 100)
	go readEvents(resp.Body, func(_, _ string, data []byte) {
		var v walkScan
		if json.Unmarshal(data, &v) == nil {
			select {
			case w.flipped <- v:
			default:
			}
		}
	})
	return nil
}

// tillStream is the till's stream of events.
type tillStream struct {
	body  io.ReadCloser
	types chan walkEvent
}

type walkEvent struct {
	Seq     uint64
	Type    string
	Code    string
	Request struct {
		ID         string
		Amount     int64
		PaidAmount int64 `json:"paid_amount"`
	}
	Exception struct{ ID string }
}

// openTill opens the till's stream: from the latest event, or from where a query says.
func (w *walker) openTill(from ...string) (*tillStream, error) {
	query := append(from, "after=latest")[0]
	req, err := http.NewRequestWithContext(w.ctx, "GET", w.d.facts.URL+"/v1/events?"+query, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+w.d.facts.APIKey)
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, err
	}
	t := &tillStream{resp.Body, make(chan walkEvent, 1000)}
	go readEvents(resp.Body, func(_, _ string, data []byte) {
		var e walkEvent
		if json.Unmarshal(data, &e) == nil {
			t.types <- e
		}
	})
	return t, nil
}

// readEvents reads a stream of server-sent events until it ends.
func readEvents(r io.Reader, f func(id, name string, data []byte)) {
	var id, name string
	var data []byte
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if data != nil {
				f(id, name, data)
			}
			name, data = "", nil
		case field == "id":
			id = value
		case field == "event":
			name = value
		case field == "data":
			data = append(data, value...)
		}
	}
}

func (w *walker) wait() (context.Context, context.CancelFunc) {
	return context.WithTimeout(w.ctx, w.hooks.patience)
}

func (w *walker) attach() error {
	var l struct{ Request struct{ ID, Status string } }
	if err := w.till("PUT", "/v1/codes/"+w.code+"/link", map[string]any{"request": map[string]any{"amount": 1250, "reference": "Table 4", "sale": "walk-1"}}, &l); err != nil {
		return err
	}
	w.first = l.Request.ID
	v, err := w.see("")
	if err != nil {
		return err
	}
	if v.Resolution != "payable" || v.Request == nil || v.Request.Amount != 1250 {
		return fmt.Errorf("a phone that scans now sees %q, not 12.50", v.Resolution)
	}
	return w.atBank("12.50")
}

// atBank checks what the payer's bank finds by a code that the bank itself resolves:
// an amount, or with none that there is nothing to pay.
func (w *walker) atBank(amount string) error {
	if w.d.rail.open == nil {
		return nil
	}
	resp, err := http.Get(w.d.rail.open(w.d, w.printed))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case err != nil:
		return err
	case amount == "" && resp.StatusCode != http.StatusNotFound, amount != "" && (resp.StatusCode != http.StatusOK || !bytes.Contains(page, []byte(amount))):
		return fmt.Errorf("the payer's bank answers %s by what is printed, not %q", resp.Status, amount)
	}
	return nil
}

func (w *walker) flip() error {
	ctx, cancel := w.wait()
	defer cancel()
	for {
		select {
		case v := <-w.flipped:
			if v.Resolution == "payable" && v.Request != nil && v.Request.Amount == 1250 {
				w.scan = v
				return nil
			}
		case <-ctx.Done():
			return errors.New("the page that waited still waits")
		}
	}
}

func (w *walker) recheck() error {
	old := w.scan
	if err := w.till("PATCH", "/v1/requests/"+w.first, map[string]any{"amount": 1300}, nil); err != nil {
		return err
	}
	resp, err := w.call("POST", "/q/"+w.code+"/pay", map[string]any{"s": old.S, "revision": old.Request.Revision}, nil)
	if err != nil {
		return err
	}
	// Checked at the till: had the click been taken, it would say so.
	var page struct {
		Data []walkEvent
	}
	if err := w.till("GET", "/v1/events?type=request.paying&request="+w.first, nil, &page); err != nil {
		return err
	}
	if len(page.Data) > 0 {
		return errors.New("a click on 12.50 was taken although the amount is 13.00 by now")
	}
	if resp.StatusCode != http.StatusConflict {
		return fmt.Errorf("a click on the old amount answered %s", resp.Status)
	}
	if w.scan, err = w.see(old.S); err != nil {
		return err
	}
	if w.scan.Resolution != "payable" || w.scan.Request.Amount != 1300 {
		return fmt.Errorf("the page shows %q, not the new amount", w.scan.Resolution)
	}
	return nil
}

// hear waits at the till for events of these types about a request, in this order.
func (w *walker) hear(request string, types ...string) (last walkEvent, err error) {
	ctx, cancel := w.wait()
	defer cancel()
	var seq uint64
	for len(types) > 0 {
		select {
		case e := <-w.told.types:
			if seq != 0 && e.Seq != seq+1 {
				return last, fmt.Errorf("the till got event %d after %d", e.Seq, seq)
			}
			seq = e.Seq
			if e.Request.ID == request && e.Type == types[0] {
				last, types = e, types[1:]
			}
		case <-ctx.Done():
			return last, fmt.Errorf("the till was not told %s", types[0])
		}
	}
	return last, nil
}

func (w *walker) events() error {
	_, err := w.hear(w.first, "request.created", "code.attached", "request.active", "request.changed", "request.preparing", "request.active")
	return err
}

func (w *walker) pay() error {
	where, err := w.press(w.scan)
	if err != nil {
		return err
	}
	w.bank = where
	return w.payAt(w.first)
}

// press clicks pay and returns where that leads.
func (w *walker) press(v walkScan) (string, error) {
	var way struct{ Kind, Payload string }
	resp, err := w.call("POST", v.Pay.URL, map[string]any{"s": v.S, "revision": v.Request.Revision}, &way)
	if err != nil {
		return "", err
	}
	if w.d.rail.open != nil {
		if resp.StatusCode != http.StatusOK || way.Kind != "emv" || way.Payload != w.printed {
			return "", fmt.Errorf("the pay click answered %s, and not with what is printed", resp.Status)
		}
		return w.d.rail.open(w.d, way.Payload), nil
	}
	if w.d.rail.copied != nil {
		if resp.StatusCode != http.StatusOK || way.Kind != "emv" {
			return "", fmt.Errorf("the pay click answered %s, and not with a code to copy", resp.Status)
		}
		return w.d.rail.copied(way.Payload), nil
	}
	if resp.StatusCode != http.StatusSeeOther {
		return "", fmt.Errorf("the pay click answered %s", resp.Status)
	}
	return resp.Header.Get("Location"), nil
}

// payAt pays at the bank, after looking at the bank's own page for the amount.
func (w *walker) payAt(request string) error {
	resp, err := http.Get(w.bankPage())
	if err != nil {
		return err
	}
	page, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the bank's page answered %s", resp.Status)
	}
	if request == w.first && !bytes.Contains(page, []byte("13.00")) {
		return errors.New("the bank's page does not show 13.00")
	}
	if w.d.rail.open != nil { // by the code: the bank's app asks its location what there is to pay
		return w.sim("/sim/pay", map[string]any{"brcode": w.printed})
	}
	return w.sim("/sim/pay", map[string]any{"request_id": request})
}

func (w *walker) bankPage() string { return w.bank }

func (w *walker) callback() error {
	ctx, cancel := w.wait()
	defer cancel()
	for {
		var counts map[string]int
		resp, err := http.Get(w.d.facts.BankURL + "/sim/callbacks")
		if err != nil {
			return err
		}
		err = json.NewDecoder(resp.Body).Decode(&counts)
		resp.Body.Close()
		if err != nil {
			return err
		}
		if counts["delivered"] > 0 {
			return nil
		}
		if counts["lost"] > 0 {
			return errors.New("the bank's callback never reached the gateway")
		}
		select {
		case <-ctx.Done():
			return errors.New("no callback was answered")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (w *walker) settle() error {
	e, err := w.hear(w.first, "request.paying", "request.paid")
	if err == nil && e.Request.PaidAmount != 1300 {
		err = fmt.Errorf("the till was told %d", e.Request.PaidAmount)
	}
	return err
}

func (w *walker) receipt() error {
	v, err := w.see(w.scan.S)
	if err != nil {
		return err
	}
	if v.Resolution != "paid" || v.Request == nil || v.Request.Amount != 1300 || v.Request.PaidAt == nil {
		return fmt.Errorf("the payer's page says %q", v.Resolution)
	}
	return nil
}

func (w *walker) free() error {
	v, err := w.see("")
	if err != nil {
		return err
	}
	if v.Resolution != "waiting" {
		return fmt.Errorf("a new scan sees %q", v.Resolution)
	}
	var l struct {
		Request  *struct{ ID string }
		Previous *struct {
			RequestID string `json:"request_id"`
			Status    string
		}
	}
	if err := w.till("GET", "/v1/codes/"+w.code+"/link", nil, &l); err != nil {
		return err
	}
	if l.Request != nil || l.Previous == nil || l.Previous.RequestID != w.first || l.Previous.Status != "paid" {
		return errors.New("the code is not free for the next sale")
	}
	return w.atBank("")
}

func (w *walker) next() error {
	var l struct{ Request struct{ ID string } }
	if err := w.till("PUT", "/v1/codes/"+w.code+"/link", map[string]any{"request": map[string]any{"amount": 777, "sale": "walk-2"}}, &l); err != nil {
		return err
	}
	w.second = l.Request.ID
	v, err := w.see("")
	if err != nil {
		return err
	}
	if v.Resolution != "payable" || v.Request.Amount != 777 {
		return fmt.Errorf("a phone that scans now sees %q", v.Resolution)
	}
	if old, err := w.see(w.scan.S); err != nil || old.Resolution != "paid" || old.Request.Amount != 1300 {
		return fmt.Errorf("the first payer's page slid on: %q, %v", old.Resolution, err)
	}
	if old, err := w.see(w.waiting.S); err != nil || old.Resolution != "paid" && old.Resolution != "ended" {
		return fmt.Errorf("a page from before slid on: %q, %v", old.Resolution, err)
	}
	w.scan = v
	return w.atBank("7.77")
}

func (w *walker) poller() error {
	if err := w.sim("/sim/callbacks", map[string]string{"mode": "lost"}); err != nil {
		return err
	}
	var err error
	if w.bank, err = w.press(w.scan); err != nil {
		return err
	}
	if err := w.payAt(w.second); err != nil {
		return err
	}
	_, err = w.hear(w.second, "request.paid")
	return err
}

func (w *walker) sums() error {
	for _, id := range []string{w.first, w.second} {
		var r struct {
			PaidAmount int64 `json:"paid_amount"`
			Status     string
		}
		if err := w.till("GET", "/v1/requests/"+id, nil, &r); err != nil {
			return err
		}
		resp, err := http.Get(w.d.facts.BankURL + "/sim/requests/" + id)
		if err != nil {
			return err
		}
		var b struct {
			Payments []struct{ Amount int64 }
		}
		err = json.NewDecoder(resp.Body).Decode(&b)
		resp.Body.Close()
		if err != nil {
			return err
		}
		var sum int64
		for _, p := range b.Payments {
			sum += p.Amount
		}
		if sum != r.PaidAmount || r.Status != "paid" {
			return fmt.Errorf("the bank has %d, the till was told %d (%s)", sum, r.PaidAmount, r.Status)
		}
	}
	return nil
}
