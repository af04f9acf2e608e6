package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// walkTrouble plays a bad day over real HTTP: what goes wrong goes wrong for real, at the
// simulated bank or with the gateway's own process, and each sale is followed until the
// money is where it belongs. Each line says what the payer saw, what the till was told,
// and where the money is.
func (d *demo) walkTrouble(e *env) error {
	w := &troubleWalker{walker: d.walker(e), lasting: &http.Client{}}
	defer w.end()
	return w.play("A bad day at "+d.rail.shop.Name+", over HTTP at "+d.facts.URL, []walkStep{
		{"process", "the gateway is a process of its own from here on, over the same file", w.leaveHome},
		{"two tills", "payer: 5.00 of the first · second till: busy, by which sale · money: 5.00 at the shop, once", w.twoTills},
		{"new amount", "payer: 12.50, whose click takes nothing, then 13.00 · till: paid 13.00 · money: 13.00", w.newAmount},
		{"bank hangs", "payer: no amount and nothing to press, then 8.00 · till: preparing, then active · money: 8.00", w.bankHangs},
		{"lost answer", "payer: 9.00 once the bank was asked again · till: active, then paid · money: 9.00, from one request at the bank", w.lostAnswer},
		{"lost callback", "payer: thank you · till: paid, by asking the bank · money: 7.00", w.lostCallback},
		{"killed", "payer: paid at the bank while the gateway was dead, then thank you · till: paid, from where it had left off · money: 11.00", w.killed},
		{"late", "payer: the bank refuses; what it took all the same goes back · till: an exception, decided: returned · money: 4.00 with the payer", w.late},
		{"sums", "bank = ours = till's, to the cent", w.reckon},
	})
}

type troubleWalker struct {
	*walker
	lasting *http.Client // of the bank, whatever happens to the gateway's connections
	child   *exec.Cmd
	last    uint64 // the last event that the till has heard
	sales   []troubleSale
	paid    map[string]int64 // what the till was told, by request
}

// troubleSale is a sale and what it came to.
type troubleSale struct {
	request string
	amount  int64 // that the shop keeps
}

func (w *troubleWalker) end() {
	w.walker.end()
	w.kill()
}

// kill ends the gateway as a power cut does.
func (w *troubleWalker) kill() {
	if w.child != nil {
		w.child.Process.Kill()
		w.child.Wait() // it was killed: that is its error
		w.child = nil
	}
}

// leaveHome ends the gateway of this process, so that the next one can be killed.
func (w *troubleWalker) leaveHome() error {
	ctx, cancel := context.WithTimeout(w.ctx, w.hooks.patience)
	defer cancel()
	err := w.d.stack.stop(ctx)
	w.d.stack = nil
	if err != nil {
		return err
	}
	if err := w.serve(); err != nil {
		return err
	}
	w.paid = map[string]int64{}
	var code struct{ Token string }
	if err := w.till("POST", "/v1/codes", map[string]string{"kind": "counter", "label": "Trouble"}, &code); err != nil {
		return err
	}
	w.code = code.Token
	w.told, err = w.openTill()
	return err
}

// serve starts the gateway in a process of its own and waits until it is ready.
func (w *troubleWalker) serve() error {
	program := w.hooks.program
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			return err
		}
	}
	address := strings.TrimPrefix(w.d.facts.URL, "http://")
	args := []string{"serve", "--listen", address, "--public-url", w.d.facts.URL, "--store", w.d.store.Store, "--log-level", "error"}
	if w.d.store.SecretsKey != "" {
		args = append(args, "--secrets-key", w.d.store.SecretsKey)
	}
	w.child = exec.Command(program, args...)
	w.child.Stderr = io.Discard
	if err := w.child.Start(); err != nil {
		w.child = nil
		return err
	}
	return w.until("the gateway is not ready", func() (bool, error) {
		resp, err := http.Get(w.d.facts.URL + "/readyz")
		if err != nil {
			return false, nil
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK, nil
	})
}

// until asks again and again, as long as a step may take.
func (w *troubleWalker) until(otherwise string, f func() (bool, error)) error {
	ctx, cancel := w.wait()
	defer cancel()
	for {
		if ok, err := f(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.New(otherwise)
		case <-time.After(30 * time.Millisecond):
		}
	}
}

// troubled is a request as the till reads it.
type troubled struct {
	ID, Status string
	PaidAmount int64 `json:"paid_amount"`
	Exceptions []struct {
		ID, Kind string
		Amount   int64
	}
}

// sell puts a sale on the code; the till does not wait for the bank.
func (w *troubleWalker) sell(amount int64, reference string) (r troubled, err error) {
	var l struct{ Request troubled }
	resp, err := w.call("PUT", "/v1/codes/"+w.code+"/link", map[string]any{"request": map[string]any{"amount": amount, "reference": reference}}, &l,
		"Authorization", "Bearer "+w.d.facts.APIKey, "Prefer", "wait=0")
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("the till was answered %s", resp.Status)
	}
	return l.Request, err
}

// shown waits until a phone that scans now may pay an amount.
func (w *troubleWalker) shown(amount int64) (v walkScan, err error) {
	err = w.until("a phone that scans never sees the amount", func() (bool, error) {
		v, err = w.see("")
		if err == nil && v.Request != nil && v.Request.Amount != amount {
			return false, fmt.Errorf("a phone that scans sees %d, not %d", v.Request.Amount, amount)
		}
		return v.Resolution == "payable", err
	})
	return v, err
}

// heard waits at the till for an event about a request, and keeps what it says of money.
func (w *troubleWalker) heard(request, kind string) (walkEvent, error) {
	ctx, cancel := w.wait()
	defer cancel()
	for {
		select {
		case e := <-w.told.types:
			if w.last != 0 && e.Seq != w.last+1 {
				return e, fmt.Errorf("the till got event %d after %d", e.Seq, w.last)
			}
			w.last = e.Seq
			if e.Request.ID != "" {
				w.paid[e.Request.ID] = e.Request.PaidAmount
			}
			if e.Request.ID == request && e.Type == kind {
				return e, nil
			}
		case <-ctx.Done():
			return walkEvent{}, fmt.Errorf("the till was not told %s", kind)
		}
	}
}

// done checks that the payer's page and the till say paid, and keeps the sale.
func (w *troubleWalker) done(request string, amount int64, page walkScan) error {
	e, err := w.heard(request, "request.paid")
	if err != nil {
		return err
	}
	if e.Request.PaidAmount != amount {
		return fmt.Errorf("the till was told %d", e.Request.PaidAmount)
	}
	v, err := w.see(page.S)
	if err == nil && (v.Resolution != "paid" || v.Request == nil || v.Request.Amount != amount) {
		err = fmt.Errorf("the payer's page says %q", v.Resolution)
	}
	w.sales = append(w.sales, troubleSale{request, amount})
	return err
}

// pays has the payer press pay and pay at the bank.
func (w *troubleWalker) pays(request string, page walkScan) error {
	if _, err := w.press(page); err != nil {
		return err
	}
	return w.sim("/sim/pay", map[string]any{"request_id": request})
}

func (w *troubleWalker) fault(kind string, value int) error {
	return w.sim("/sim/faults", map[string]any{"route": "create", "kind": kind, "value": value, "count": 1})
}

func (w *troubleWalker) twoTills() error {
	var other struct{ Secret string }
	if err := w.till("POST", "/v1/keys", map[string]string{"role": "cashier", "label": "second till"}, &other); err != nil {
		return err
	}
	first, err := w.sell(500, "Table 1")
	if err != nil {
		return err
	}
	var refusal struct {
		Code    string
		Request struct{ ID string }
	}
	body, _ := json.Marshal(map[string]any{"request": map[string]any{"amount": 600, "reference": "Table 2"}})
	req, err := http.NewRequestWithContext(w.ctx, "PUT", w.d.facts.URL+"/v1/codes/"+w.code+"/link", strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+other.Secret)
	resp, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&refusal); err != nil || resp.StatusCode != http.StatusConflict || refusal.Code != "code_busy" || refusal.Request.ID != first.ID {
		return fmt.Errorf("the second till was answered %s %s about %q", resp.Status, refusal.Code, refusal.Request.ID)
	}
	v, err := w.shown(500)
	if err != nil {
		return err
	}
	if err := w.pays(first.ID, v); err != nil {
		return err
	}
	return w.done(first.ID, 500, v)
}

func (w *troubleWalker) newAmount() error {
	r, err := w.sell(1250, "Table 3")
	if err != nil {
		return err
	}
	old, err := w.shown(1250)
	if err != nil {
		return err
	}
	if err := w.till("PATCH", "/v1/requests/"+r.ID, map[string]any{"amount": 1300}, nil); err != nil {
		return err
	}
	if resp, err := w.call("POST", old.Pay.URL, map[string]any{"s": old.S, "revision": old.Request.Revision}, nil); err != nil || resp.StatusCode != http.StatusConflict {
		return fmt.Errorf("a click on 12.50 was answered %v, %w", resp, err)
	}
	v, err := w.shown(1300)
	if err != nil {
		return err
	}
	if err := w.pays(r.ID, v); err != nil {
		return err
	}
	return w.done(r.ID, 1300, v)
}

// hangs is how long the bank gives no answer. The gateway waits less long.
const hangs = 20 * time.Second

func (w *troubleWalker) bankHangs() error {
	if err := w.fault("hang", int(hangs.Milliseconds())); err != nil {
		return err
	}
	r, err := w.sell(800, "Table 4")
	if err != nil {
		return err
	}
	v, err := w.see("")
	if err != nil {
		return err
	}
	if r.Status != "preparing" || v.Request != nil || v.Pay != nil {
		return fmt.Errorf("while the bank hangs the till is told %q and a phone sees %q", r.Status, v.Resolution)
	}
	if v, err = w.shown(800); err != nil {
		return err
	}
	if err := w.pays(r.ID, v); err != nil {
		return err
	}
	return w.done(r.ID, 800, v)
}

func (w *troubleWalker) lostAnswer() error {
	if err := w.fault("drop_after_commit", 0); err != nil {
		return err
	}
	r, err := w.sell(900, "Table 5")
	if err != nil {
		return err
	}
	v, err := w.shown(900)
	if err != nil {
		return err
	}
	if err := w.pays(r.ID, v); err != nil {
		return err
	}
	return w.done(r.ID, 900, v)
}

func (w *troubleWalker) lostCallback() error {
	if err := w.sim("/sim/callbacks", map[string]string{"mode": "lost"}); err != nil {
		return err
	}
	r, err := w.sell(700, "Table 6")
	if err != nil {
		return err
	}
	v, err := w.shown(700)
	if err != nil {
		return err
	}
	if err := w.pays(r.ID, v); err != nil {
		return err
	}
	if err := w.done(r.ID, 700, v); err != nil {
		return err
	}
	return w.sim("/sim/callbacks", map[string]string{"mode": "normal"})
}

// killed kills the gateway between the payer's click and the bank's word.
func (w *troubleWalker) killed() error {
	r, err := w.sell(1100, "Table 7")
	if err != nil {
		return err
	}
	v, err := w.shown(1100)
	if err != nil {
		return err
	}
	if _, err := w.press(v); err != nil {
		return err
	}
	if _, err := w.heard(r.ID, "request.paying"); err != nil {
		return err
	}
	w.kill()
	if err := w.sim("/sim/pay", map[string]any{"request_id": r.ID}); err != nil {
		return err
	}
	w.told.body.Close()
	if err := w.serve(); err != nil {
		return err
	}
	if w.told, err = w.openTill("after=" + strconv.FormatUint(w.last, 10)); err != nil {
		return err
	}
	return w.done(r.ID, 1100, v)
}

// late has a customer pay after the cancel, at a bank that lets him.
func (w *troubleWalker) late() error {
	r, err := w.sell(400, "Table 8")
	if err != nil {
		return err
	}
	if _, err := w.shown(400); err != nil {
		return err
	}
	if err := w.till("POST", "/v1/requests/"+r.ID+"/cancel", map[string]any{}, nil); err != nil {
		return err
	}
	if _, err := w.heard(r.ID, "request.cancelled"); err != nil {
		return err
	}
	if err := w.sim("/sim/pay", map[string]any{"request_id": r.ID}); err == nil {
		return errors.New("the bank took money for a request that was cancelled")
	}
	if err := w.sim("/sim/pay", map[string]any{"request_id": r.ID, "amount": 400, "force": true}); err != nil {
		return err
	}
	e, err := w.heard(r.ID, "exception.opened")
	if err != nil {
		return err
	}
	if err := w.till("POST", "/v1/exceptions/"+e.Exception.ID+"/return", map[string]any{}, nil); err != nil {
		return err
	}
	w.sales = append(w.sales, troubleSale{r.ID, 0})
	return w.until("the money did not go back", func() (bool, error) {
		paid, back, err := w.atTheBank(r.ID)
		return paid == 400 && back == 400, err
	})
}

// atTheBank is what the bank took for a request, and what it gave back.
func (w *troubleWalker) atTheBank(request string) (paid, back int64, err error) {
	resp, err := w.lasting.Get(w.d.facts.BankURL + "/sim/requests/" + request)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	var b struct {
		Payments []struct{ Amount int64 }
		Refunds  []struct {
			Amount int64
			Status string
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&b); err != nil {
		return 0, 0, err
	}
	for _, p := range b.Payments {
		paid += p.Amount
	}
	for _, f := range b.Refunds {
		if f.Status != "failed" {
			back += f.Amount
		}
	}
	return paid, back, nil
}

func (w *troubleWalker) reckon() error {
	for _, s := range w.sales {
		paid, back, err := w.atTheBank(s.request)
		if err != nil {
			return err
		}
		var r struct {
			Payments []struct{ Amount int64 }
			Refunds  []struct {
				Amount int64
				Status string
			}
		}
		var took, gave int64
		err = w.until("a refund is not done", func() (bool, error) {
			took, gave = 0, 0
			if err := w.till("GET", "/v1/requests/"+s.request, nil, &r); err != nil {
				return false, err
			}
			for _, p := range r.Payments {
				took += p.Amount
			}
			pending := false
			for _, f := range r.Refunds {
				pending = pending || f.Status == "pending"
				gave += f.Amount
			}
			return !pending, nil
		})
		if err != nil {
			return err
		}
		if paid != took || back != gave || paid-back != s.amount || s.amount > 0 && w.paid[s.request] != s.amount {
			return fmt.Errorf("of one sale the bank has %d less %d, the gateway %d less %d, the till was told %d, and it came to %d", paid, back, took, gave, w.paid[s.request], s.amount)
		}
	}
	return nil
}
