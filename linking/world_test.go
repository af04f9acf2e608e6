package linking_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"placard/linking"
	"placard/linking/boltstore"
)

// A world is a shop or two, their customers, a bank that loses answers, lies about
// nothing but is slow and down, a clock that jumps, and a gateway that dies. One
// random number decides everything that happens, so that a seed is a story that can
// be read again. After each step nobody may see, pay or be told what the rules
// forbid; at the end, when all is quiet, bank, gateway and tills agree to the cent.

var (
	worldSeeds = flag.Int("world.seeds", 60, "how many worlds to live through")
	worldSeed  = flag.Uint64("world.seed", 0, "live through this one only, aloud")
	worldSteps = flag.Int("world.steps", 120, "steps of a world")
)

type world struct {
	t     *testing.T
	rnd   *rand.Rand
	aloud bool
	now   time.Time
	store linking.Store
	svc   *linking.Service
	bank  *worldBank
	post  *worldPost
	tasks []func() // background work that has not run yet
	depth int      // nesting of things happening while a call is under way

	merchant linking.MerchantID
	caller   linking.Caller
	codes    []linking.Token
	printed  []string // locations at the bank that stand in codes
	scans    []*payer
	requests []linking.RequestID
	sales    int
	crashes  int
}

// payer is a phone: its page, and what it carries.
type payer struct {
	code    linking.Token
	scan    string
	seen    linking.Resolution
	request linking.RequestID // that it last saw as payable
	money   linking.Money
	rev     int
	pressed linking.RequestID
}

func TestWorld(t *testing.T) {
	if *worldSeed != 0 {
		liveThrough(t, *worldSeed, true)
		return
	}
	base := uint64(time.Now().UnixNano())
	for i := range uint64(*worldSeeds) {
		if !t.Run(fmt.Sprint(base+i), func(t *testing.T) { liveThrough(t, base+i, false) }) {
			t.Fatalf("again, aloud: go test ./linking -run TestWorld -world.seed %d", base+i)
		}
	}
}

type crash struct{}

func liveThrough(t *testing.T, seed uint64, aloud bool) {
	w := begin(t, seed, aloud)
	for range *worldSteps {
		w.step()
		w.check()
	}
	w.quiet()
	w.balance()
	w.post.balance()
}

// begin makes a world in which nothing has happened yet.
func begin(t *testing.T, seed uint64, aloud bool) *world {
	dir := t.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "placard-world"); err == nil { // fsync costs nothing there
		t.Cleanup(func() { os.RemoveAll(shm) })
		dir = shm
	}
	store, err := boltstore.Open(filepath.Join(dir, "world.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	w := &world{
		t: t, rnd: rand.New(rand.NewPCG(seed, 7)), aloud: aloud, store: store,
		now: time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC),
	}
	w.bank = &worldBank{w: w, requests: map[linking.RequestID]*bankRequest{}, ask: map[linking.RequestID]bool{}, links: map[string]linking.RequestID{}}
	w.post = newWorldPost(w, seed)
	w.start(true)
	w.furnish()
	w.post.furnish()
	return w
}

func (w *world) say(format string, args ...any) {
	if w.aloud {
		fmt.Printf("%s %s%s\n", w.now.Format("15:04:05.000"), strings.Repeat("  ", w.depth), fmt.Sprintf(format, args...))
	}
}

func (w *world) start(fresh bool) {
	log := slog.New(slog.DiscardHandler)
	if w.aloud {
		log = slog.New(slog.NewTextHandler(os.Stdout, nil))
	}
	svc, err := linking.New(context.Background(), linking.Config{
		Store: w.store, Banks: w.bank, Courier: w.post, Now: func() time.Time { return w.now }, Log: log,
		PublicURL: "https://pay.example", NewStore: fresh,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	life := w.crashes
	svc.Launch(func(f func()) {
		if w.crashes == life { // what watched for a dead one does not bring it back
			w.tasks = append(w.tasks, f)
		}
	})
	w.svc = svc
}

func (w *world) furnish() {
	ctx := context.Background()
	m, err := w.svc.CreateMerchant(ctx, linking.NewMerchant{Name: "World", Currency: "EUR"})
	must(w.t, err)
	w.merchant = m.ID
	_, err = w.svc.ConnectBank(ctx, m.ID, "relay", nil, nil)
	must(w.t, err)
	k, _, err := w.svc.CreateKey(ctx, m.ID, linking.NewKey{Role: linking.Owner})
	must(w.t, err)
	w.caller = k.Caller()
	for _, kind := range []linking.CodeKind{linking.Counter, linking.Counter, linking.Bill, linking.Account} {
		c, err := w.svc.MakeCode(ctx, w.caller, linking.NewCode{Kind: kind, Label: string(kind)})
		must(w.t, err)
		w.codes = append(w.codes, c.Token)
	}
	for _, kind := range []linking.CodeKind{linking.Counter, linking.Account} {
		c, err := w.svc.MakeCode(ctx, w.caller, linking.NewCode{Kind: kind, ResolvedBy: linking.ByBankPayload})
		must(w.t, err)
		w.codes = append(w.codes, c.Token)
		w.printed = append(w.printed, c.BankLink.ID)
	}
	b, err := w.svc.MakeBatch(ctx, w.caller, linking.NewBatch{Kind: linking.Bill, Count: 3, Label: "bill {n}"})
	must(w.t, err)
	must(w.t, w.svc.BatchTokens(ctx, b, 0, func(_ uint64, t linking.Token) bool {
		w.codes = append(w.codes, t)
		return true
	}))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// step lets one thing happen.
func (w *world) step() {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(crash); !ok {
				w.t.Fatalf("panic: %v\n%s", p, debug.Stack())
			}
		}
	}()
	switch n := w.rnd.IntN(100); {
	case n < 18:
		w.attach()
	case n < 23:
		w.detach()
	case n < 28:
		w.cancel()
	case n < 36:
		w.value()
	case n < 40:
		w.create()
	case n < 54:
		w.scan()
	case n < 66:
		w.press()
	case n < 78:
		w.pay()
	case n < 80:
		w.refund()
	case n < 82:
		w.decide()
	case n < 92:
		w.task()
	case n < 96:
		w.pass()
	case n < 98:
		w.sweep()
	default:
		w.die()
	}
}

func (w *world) pick(codes []linking.Token) linking.Token { return codes[w.rnd.IntN(len(codes))] }

func (w *world) expected(what string, err error, codes ...string) {
	if err == nil {
		return
	}
	e := linking.Problem(err)
	if !slices.Contains(codes, e.Code) {
		w.t.Fatalf("%s: %s: %v", what, e.Code, err)
	}
	w.say("%s: refused: %s", what, e.Code)
}

func (w *world) newRequest() linking.NewRequest {
	in := linking.NewRequest{Amount: linking.Amount(1 + w.rnd.IntN(5)*250), Currency: "EUR", Reference: fmt.Sprint("R", w.rnd.IntN(1000)), Replace: w.rnd.IntN(3) == 0}
	switch w.rnd.IntN(4) {
	case 0:
		in.ExpiresIn = fmt.Sprint(5 + w.rnd.IntN(60))
	case 1:
		in.ExpiresIn = "1d"
	}
	if w.rnd.IntN(3) > 0 {
		if w.rnd.IntN(2) == 0 {
			w.sales++
		}
		in.Sale = linking.SaleID(fmt.Sprint("S", w.sales))
		if w.rnd.IntN(4) == 0 {
			in.SaleTotal = 3000
		}
	}
	return in
}

func (w *world) attach() {
	in := w.newRequest()
	cmd := linking.AttachCommand{Code: w.pick(w.codes), New: &in, Replace: w.rnd.IntN(2) == 0}
	if len(w.requests) > 0 && w.rnd.IntN(4) == 0 {
		cmd.New, cmd.Request, cmd.Move = nil, string(w.requests[w.rnd.IntN(len(w.requests))]), w.rnd.IntN(2) == 0
	} else if w.rnd.IntN(8) == 0 {
		in.ValueLater, in.Amount, in.SaleTotal = true, 0, 0
	}
	a, err := w.svc.Attach(context.Background(), w.caller, cmd)
	w.expected("attach", err, "code_busy", "sale_has_open_request", "sale_already_paid", "request_on_other_code", "not_allowed_in_status", "invalid_request")
	if err != nil {
		return
	}
	if a.Request != nil && !slices.Contains(w.requests, a.Request.ID) {
		w.requests = append(w.requests, a.Request.ID)
	}
	w.say("attach %s to %s: %s", describe(a.Request), short(cmd.Code), a.Code.Kind)
	if c := a.Code; c.ResolvedBy == linking.ByBankPayload && !c.ShowsUnknown && c.Shows != "" && w.bank.links[c.BankLink.ID] != c.Shows {
		w.t.Fatalf("the bank shows %q, we say %q", w.bank.links[c.BankLink.ID], c.Shows)
	}
	if a.Request == nil || a.Code.Shown == nil || a.Code.Shown.Request != a.Request.ID {
		w.t.Fatalf("attached, and the code shows %+v", a.Code.Shown)
	}
}

func short(t linking.Token) string { return string(t[14:18]) }

func describe(r *linking.Request) string {
	if r == nil {
		return "nothing"
	}
	after := ""
	if r.After != "" {
		after = " after " + string(r.After[20:])
	}
	return fmt.Sprintf("%s[%s %d r%d/%d sale %s%s]", r.ID[20:], r.Status, r.Content.Amount, r.Confirmed, r.Revision, r.Sale, after)
}

func (w *world) detach() {
	code := w.pick(w.codes)
	a, err := w.svc.Detach(context.Background(), w.caller, linking.DetachCommand{Code: code, Cancel: w.rnd.IntN(2) == 0})
	w.expected("detach", err, "code_busy", "already_paid")
	if err == nil && a.Code.Shown != nil {
		w.t.Fatalf("detached, and the code shows %+v", a.Code.Shown)
	}
	w.say("detach %s", short(code))
}

func (w *world) any() linking.RequestID {
	if len(w.requests) == 0 {
		return ""
	}
	if w.rnd.IntN(2) == 0 {
		return w.requests[len(w.requests)-1]
	}
	return w.requests[w.rnd.IntN(len(w.requests))]
}

func (w *world) cancel() {
	id := w.any()
	if id == "" {
		return
	}
	why := linking.ByCancel
	if w.rnd.IntN(3) == 0 {
		why = linking.ByOtherMeans
	}
	a, err := w.svc.CancelRequest(context.Background(), w.caller, string(id), why, 0)
	w.expected("cancel", err, "already_paid", "not_allowed_in_status")
	if err == nil {
		w.say("cancel: %s", describe(a.Request))
		if a.Tender.Allowed && w.bank.canStillBePaid(id) {
			w.t.Fatalf("the till may take cash for %s, and the bank would still take money", describe(a.Request))
		}
	}
}

func (w *world) value() {
	id := w.any()
	if id == "" {
		return
	}
	amount := linking.Amount(1 + w.rnd.IntN(2000))
	p := linking.Patch{Amount: &amount}
	if w.rnd.IntN(3) == 0 {
		in := fmt.Sprint(30 + w.rnd.IntN(100))
		p.ExpiresIn = &in
	}
	a, err := w.svc.PatchRequest(context.Background(), w.caller, string(id), p, 0)
	w.expected("value", err, "already_paid", "not_allowed_in_status", "payment_in_flight", "amount_fixed", "invalid_request")
	if err == nil {
		w.say("value: %s", describe(a.Request))
	}
}

func (w *world) create() {
	in := w.newRequest()
	in.Draft = w.rnd.IntN(4) == 0
	if w.rnd.IntN(3) == 0 {
		in.ValueLater, in.Amount, in.SaleTotal = true, 0, 0
	}
	a, err := w.svc.CreateRequest(context.Background(), w.caller, in, 0)
	w.expected("create", err, "sale_has_open_request", "sale_already_paid", "invalid_request")
	if err == nil && !slices.Contains(w.requests, a.Request.ID) {
		w.requests = append(w.requests, a.Request.ID)
	}
}

// scan opens a page, or looks at an open one again.
func (w *world) scan() {
	var p *payer
	if len(w.scans) > 0 && w.rnd.IntN(2) == 0 {
		p = w.scans[w.rnd.IntN(len(w.scans))]
	} else {
		p = &payer{code: w.pick(w.codes)}
		if w.scans = append(w.scans, p); len(w.scans) > 12 {
			w.scans = w.scans[1:]
		}
	}
	w.look(p)
}

func (w *world) look(p *payer) {
	v, err := w.svc.Scan(context.Background(), p.code, p.scan, true)
	must(w.t, err)
	w.see(p, v)
}

func (w *world) see(p *payer, v *linking.View) {
	p.scan, p.seen = v.Sealed, v.Seen.Resolution
	r := v.Seen.Request
	w.say("scan %s: %s", short(p.code), p.seen)
	if p.seen != linking.Payable {
		if p.seen == linking.PaidHere && p.pressed == "" {
			w.t.Fatalf("a page that never pressed pay says paid")
		}
		if (p.seen == linking.PaidHere || p.seen == linking.InFlight) && r.ID != p.pressed {
			w.t.Fatalf("a page tells of %s, pressed on %s", r.ID, p.pressed)
		}
		return
	}
	if p.request != "" && p.request != r.ID {
		w.t.Fatalf("D13: a page opened for %s slid on to %s", p.request, r.ID)
	}
	p.request, p.money, p.rev = r.ID, r.Money, r.Revision
	if !w.bank.holds(r.ID, r.Money) {
		w.t.Fatalf("D3: %s is shown as payable with %v; the bank holds %+v", r.ID, r.Money, w.bank.requests[r.ID])
	}
}

func (w *world) press() {
	if len(w.scans) == 0 {
		return
	}
	p := w.scans[w.rnd.IntN(len(w.scans))]
	way, v, err := w.svc.Press(context.Background(), p.code, linking.PressCommand{Scan: p.scan, Revision: p.rev})
	w.expected("press", err, "stale", "not_found")
	if err != nil {
		if way.Kind != "" {
			w.t.Fatal("a refused press names a way to pay")
		}
		return
	}
	if v.Seen.Request.ID != p.request || v.Seen.Request.Money != p.money {
		w.t.Fatalf("pressed on %s %v, got the way to %s %v", p.request, p.money, v.Seen.Request.ID, v.Seen.Request.Money)
	}
	p.scan, p.pressed = v.Sealed, p.request
	w.say("press on %s", p.request[20:])
}

// pay is what somebody does at the bank who once got there: whatever the gateway
// thinks by then.
func (w *world) pay() {
	var there []linking.RequestID
	for _, p := range w.scans {
		if p.pressed != "" {
			there = append(there, p.pressed)
		}
	}
	for _, l := range w.printed { // the bank's app opens what is printed
		if id := w.bank.links[l]; id != "" {
			there = append(there, id)
		}
	}
	if len(there) == 0 {
		return
	}
	id := there[w.rnd.IntN(len(there))]
	w.bank.payerActs(id)
}

func (w *world) refund() {
	id := w.any()
	if id == "" {
		return
	}
	_, _, err := w.svc.RefundRequest(context.Background(), w.caller, string(id), linking.RefundCommand{Amount: linking.Amount(w.rnd.IntN(300))}, 0)
	w.expected("refund", err, "not_allowed_in_status", "invalid_request")
}

func (w *world) decide() {
	list, _, err := w.svc.ExceptionList(context.Background(), w.caller, true, "", 50)
	must(w.t, err)
	if len(list) == 0 {
		return
	}
	e := list[w.rnd.IntN(len(list))]
	_, err = w.svc.Decide(context.Background(), w.caller, e.ListID, w.rnd.IntN(2) == 0, "", 0)
	w.expected("decide", err, "not_allowed_in_status")
	w.say("decide %s", e.Exception.Kind)
}

// task runs one piece of background work that waits.
func (w *world) task() {
	if len(w.tasks) == 0 {
		return
	}
	i := w.rnd.IntN(len(w.tasks))
	f := w.tasks[i]
	w.tasks = slices.Delete(w.tasks, i, i+1)
	f()
}

func (w *world) pass() {
	d := []time.Duration{100 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second, 31 * time.Second, 5 * time.Minute}[w.rnd.IntN(6)]
	for end := w.now.Add(d); w.now.Before(end); { // what is late arrives on its own time
		w.now = w.now.Add(min(time.Second, end.Sub(w.now)))
		w.bank.arrivals()
	}
}

func (w *world) sweep() { w.svc.SweepOnce(context.Background()) }

// die kills the gateway: what it was doing is never finished, what it had committed
// stays.
func (w *world) die() {
	w.say("the gateway dies")
	w.crashes++
	w.tasks = nil
	w.start(false)
}

// meanwhile lets other things happen while a call to the bank is under way.
func (w *world) meanwhile() {
	if w.depth > 2 {
		return
	}
	w.depth++
	defer func() { w.depth-- }()
	for w.rnd.IntN(3) == 0 {
		switch w.rnd.IntN(6) {
		case 0:
			w.attach()
		case 1:
			w.cancel()
		case 2:
			w.value()
		case 3:
			w.pay()
		case 4:
			w.scan()
		case 5:
			w.now = w.now.Add(time.Duration(w.rnd.IntN(3000)) * time.Millisecond)
		}
	}
}

// check looks at what must hold at every moment.
func (w *world) check() {
	ctx := context.Background()
	on := map[linking.RequestID]linking.Token{}
	for _, id := range w.codes {
		v, err := w.svc.Scan(ctx, id, "", false)
		must(w.t, err)
		if r := v.Seen.Request; r != nil && !w.bank.holds(r.ID, r.Money) {
			w.t.Fatalf("D3: %s is payable with %v; the bank holds %+v", r.ID, r.Money, w.bank.requests[r.ID])
		}
		if c := v.Code; c.ResolvedBy == linking.ByBankPayload && v.Seen.Resolution == linking.Payable && w.bank.links[c.BankLink.ID] != v.Seen.Request.ID {
			w.t.Fatalf("%s is payable here, and the bank shows %q", v.Seen.Request.ID, w.bank.links[c.BankLink.ID])
		}
		if f := v.Code.Shown; f != nil {
			if other, twice := on[f.Request]; twice {
				w.t.Fatalf("D1: %s is shown on %s and %s", f.Request, other, id)
			}
			on[f.Request] = id
			if v.Code.Kind != linking.Bill && (f.Status == linking.Closing || f.Status.Final()) {
				w.t.Fatalf("a %s code goes on showing %s, which is %s", v.Code.Kind, f.Request, f.Status)
			}
		}
	}
	for _, id := range w.requests {
		a, err := w.svc.Request(ctx, w.caller, string(id))
		must(w.t, err)
		r := a.Request
		if r.Status.Final() && w.bank.canStillBePaid(id) && r.Bank.PutAt.Before(w.now.Add(-time.Minute)) && r.Status != linking.Paid {
			w.t.Fatalf("%s is %s, and the bank would still take money: %+v", id, r.Status, w.bank.requests[id])
		}
		if a.Tender.Allowed && w.bank.canStillBePaid(id) {
			w.t.Fatalf("cash may be taken for %s, and the bank would still take money", describe(r))
		}
	}
	bySale := map[linking.SaleID]int{}
	for id, b := range w.bank.requests {
		if b.status != linking.BankOpen || !w.now.Before(b.expires) && !b.expires.IsZero() {
			continue
		}
		a, err := w.svc.Request(ctx, w.caller, string(id))
		must(w.t, err)
		if s := a.Request.Sale; s != "" {
			if bySale[s]++; bySale[s] > 1 {
				w.t.Fatalf("two requests of sale %s are payable at the bank", s)
			}
		}
	}
}

// quiet lets everything come to rest: no more faults, and time enough.
func (w *world) quiet() {
	w.bank.kind = true
	for range 60 {
		w.now = w.now.Add(31 * time.Second)
		w.bank.arrivals()
		w.svc.SweepOnce(context.Background())
		for len(w.tasks) > 0 {
			w.task()
		}
	}
	w.check()
	for _, id := range w.requests {
		a, err := w.svc.Request(context.Background(), w.caller, string(id))
		must(w.t, err)
		r := a.Request
		switch b := w.bank.requests[id]; r.Status {
		case linking.Preparing:
			first := ""
			if r.After != "" {
				f, err := w.svc.Request(context.Background(), w.caller, string(r.After))
				must(w.t, err)
				if f.Request.Status == linking.Review || f.Request.Status == linking.Processing {
					continue // a person decides first, or a payer
				}
				first = describe(f.Request)
			}
			if l := r.Bank.Link; l != nil && !r.Bank.LinkReady && w.bank.links[l.ID] != "" {
				f, err := w.svc.Request(context.Background(), w.caller, string(w.bank.links[l.ID]))
				must(w.t, err)
				if s := f.Request.Status; s == linking.Review || s == linking.Processing || s == linking.Closing {
					continue // the location is not free: a person or a payer comes first
				}
				first = "at the location " + describe(f.Request)
			}
			if !r.Bank.Refused {
				w.t.Errorf("stuck: %s, first %s, bank %+v, %+v", describe(r), first, b, r.Bank)
			}
		case linking.Closing:
			if !slices.ContainsFunc(r.Exceptions, func(e linking.Exception) bool { return e.Decision == "" }) {
				w.t.Errorf("stuck: %s, bank %+v, %+v", describe(r), b, r.Bank)
			}
		case linking.Processing:
			if b.status != linking.BankProcessing {
				w.t.Errorf("stuck: %s, bank %+v, %+v", describe(r), b, r.Bank)
			}
		}
		if r.Bank.LinkHeld && r.Status.Final() {
			w.t.Errorf("a location is still held: %s: %+v", describe(r), r.Bank)
		}
		if r.Bank.Op.Kind != "" || r.Bank.Unsure {
			w.t.Errorf("unsettled: %s: %+v", describe(r), r.Bank)
		}
		for _, f := range r.Refunds {
			if f.Status == linking.RefundPending {
				w.t.Errorf("refund pending: %s %+v", describe(r), f)
			}
		}
	}
}

// balance compares bank, gateway and what the tills were told, to the cent.
func (w *world) balance() {
	ctx := context.Background()
	told := map[linking.RequestID]linking.Amount{}
	refunds := map[linking.RequestID]linking.Amount{}
	final := map[linking.RequestID]linking.Status{}
	var after uint64
	for {
		events, next, err := w.svc.Events(ctx, w.caller, linking.EventFilter{After: after, Limit: 500}, 0)
		must(w.t, err)
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			if e.Seq != after+1 {
				w.t.Fatalf("event %d after %d", e.Seq, after)
			}
			after = e.Seq
			if e.Request != nil {
				final[e.Request.ID] = e.Request.Status
			}
			switch e.Type {
			case linking.RequestPaid:
				told[e.Request.ID] = e.Request.Paid
			case linking.ExceptionDecided:
				told[e.Request.ID] = e.Request.Paid
			case linking.RequestRefunded:
				refunds[e.Request.ID] += e.Refund.Amount
			}
		}
		after = next
	}
	for id, b := range w.bank.requests {
		a, err := w.svc.Request(ctx, w.caller, string(id))
		must(w.t, err)
		r := a.Request
		if len(r.Payments) != len(b.payments) {
			w.t.Errorf("D6: the bank has %d payments of %s, we %d: %+v", len(b.payments), describe(r), len(r.Payments), r.Payments)
		}
		for _, p := range b.payments {
			i := slices.IndexFunc(r.Payments, func(o linking.Payment) bool { return o.ID == p.ID })
			if i < 0 || r.Payments[i].Money != p.Money {
				w.t.Errorf("D6: payment %+v of %s is not ours", p, describe(r))
				continue
			}
			excepted := slices.ContainsFunc(r.Exceptions, func(e linking.Exception) bool { return e.PaymentID == p.ID })
			if !r.Payments[i].Counts && !excepted {
				w.t.Errorf("D6: payment %+v of %s neither counts nor is an exception", p, describe(r))
			}
		}
		if r.PaidAmount() != told[id] {
			w.t.Errorf("D8: the till was told %d of %s, we hold %d", told[id], describe(r), r.PaidAmount())
		}
		var back linking.Amount
		for _, f := range b.refunds {
			back += f.Amount
		}
		if back != refunds[id] {
			w.t.Errorf("the bank sent back %d of %s, the till was told %d", back, describe(r), refunds[id])
		}
		if s, ok := final[id]; !ok || s != r.Status {
			w.t.Errorf("the last event of %s says %s", describe(r), s)
		}
		if (r.Status == linking.Paid) != (r.PaidAmount() > 0) {
			w.t.Errorf("%s with %d paid", describe(r), r.PaidAmount())
		}
	}
	for n := range w.sales + 1 {
		v, err := w.svc.Sale(ctx, w.caller, linking.SaleID(fmt.Sprint("S", n)))
		if linking.IsCode(err, "not_found") {
			continue
		}
		must(w.t, err)
		var sum linking.Amount
		open := 0
		for _, r := range v.Requests {
			sum += r.PaidAmount() - r.RefundedAmount()
			if r.Open() {
				open++
			}
		}
		if sum != v.Sale.Paid || open != len(v.Sale.Open) {
			w.t.Errorf("sale %s: its requests come to %d, it says %d; %d are open, it says %d", v.Sale.ID, sum, v.Sale.Paid, open, len(v.Sale.Open))
		}
	}
	for id := range told {
		if w.bank.requests[id] == nil {
			w.t.Errorf("paid, and the bank never heard of it: %s", id)
		}
	}
}

// worldBank is an honest bank with a bad line.
type worldBank struct {
	w        *world
	kind     bool // no more faults
	requests map[linking.RequestID]*bankRequest
	links    map[string]linking.RequestID // what each location shows
	paid     int
	ask      map[linking.RequestID]bool // the outcome of a call is unknown to the gateway
	late     []lateCall
}

// lateCall reaches the bank after its caller has given up waiting.
type lateCall struct {
	at  time.Time
	act func() error
}

func (b *worldBank) arrivals() {
	for i := 0; i < len(b.late); i++ {
		if c := b.late[i]; !b.w.now.Before(c.at) {
			b.late = slices.Delete(b.late, i, i+1)
			i--
			b.w.say("bank: a late call arrives")
			c.act()
		}
	}
}

type bankRequest struct {
	status   linking.BankStatus
	money    linking.Money
	revision int
	expires  time.Time
	payments []linking.BankPayment
	refunds  []linking.BankRefund
	changed  time.Time
}

func (b *worldBank) Open(*linking.Connection) (linking.Bank, error) { return b, nil }

func (b *worldBank) Seal(*linking.Connection, map[string]string, map[string]string) error { return nil }

func (b *worldBank) Reseal(*linking.Connection, map[string]string) error { return nil }

func (b *worldBank) Probe(context.Context, *linking.Connection, linking.Ask) []linking.ProbeStep {
	return nil
}

func (b *worldBank) holds(id linking.RequestID, m linking.Money) bool {
	r := b.requests[id]
	return r != nil && (r.status == linking.BankOpen || r.status == linking.BankProcessing || r.status == linking.BankPaid) && r.money == m
}

func (b *worldBank) canStillBePaid(id linking.RequestID) bool {
	r := b.requests[id]
	return r != nil && (r.status == linking.BankOpen && (r.expires.IsZero() || b.w.now.Before(r.expires)) || r.status == linking.BankProcessing)
}

// payerActs is what a payer does in the bank's app.
func (b *worldBank) payerActs(id linking.RequestID) {
	r := b.requests[id]
	if r == nil {
		return
	}
	b.lapse(r)
	switch {
	case r.status == linking.BankOpen && b.w.rnd.IntN(4) == 0:
		r.status = linking.BankProcessing
	case r.status == linking.BankProcessing && b.w.rnd.IntN(3) == 0:
		r.status = linking.BankOpen
		b.lapse(r)
	case r.status == linking.BankOpen || r.status == linking.BankProcessing:
		b.pay(r, r.money)
	case r.status == linking.BankPaid && b.w.rnd.IntN(10) == 0:
		b.pay(r, r.money) // two payers, both were let through
	case b.w.rnd.IntN(8) == 0:
		b.pay(r, r.money) // it was under way when the bank closed it
	default:
		return
	}
	r.changed = b.w.now
	b.w.say("bank: %s is %s, %d payments", id[20:], r.status, len(r.payments))
	if b.w.rnd.IntN(3) > 0 { // a third of the callbacks is lost
		must(b.w.t, b.w.svc.Hint(context.Background(), b.connection(), []linking.RequestID{id}))
	}
}

func (b *worldBank) connection() linking.ConnectionID {
	m, err := b.w.svc.Merchant(context.Background(), b.w.merchant)
	must(b.w.t, err)
	return m.Rails["relay"]
}

func (b *worldBank) pay(r *bankRequest, m linking.Money) {
	b.paid++
	if b.w.rnd.IntN(20) == 0 {
		m.Amount++ // the payer's bank let him change it
	}
	r.status = linking.BankPaid
	r.payments = append(r.payments, linking.BankPayment{ID: fmt.Sprint("P", b.paid), Money: m, PaidAt: b.w.now.Truncate(time.Second)})
}

func (b *worldBank) lapse(r *bankRequest) {
	if r.status == linking.BankOpen && !r.expires.IsZero() && !b.w.now.Before(r.expires) {
		r.status, r.changed = linking.BankExpired, b.w.now
	}
}

// line is the wire: it may fail before or after the bank acts, and the gateway may
// die at either end.
func (b *worldBank) line(id linking.RequestID, writes bool, act func() error) error {
	if writes && b.ask[id] {
		b.w.t.Fatalf("R14: something is sent about %s, and the outcome of the call before was never asked for", id)
	}
	lost := &linking.BankError{Class: linking.BankUnknown, Code: "timeout"}
	fault := 0
	if !b.kind {
		fault = b.w.rnd.IntN(12)
	}
	switch fault {
	case 1:
		b.w.say("bank: not reached")
		return &linking.BankError{Class: linking.BankNotSent, Code: "down"}
	case 2:
		b.w.say("bank: request lost")
		b.w.meanwhile()
		b.ask[id] = b.ask[id] || writes
		return lost
	case 3:
		b.w.say("the gateway dies before the call")
		b.ask[id] = b.ask[id] || writes
		b.w.die()
		panic(crash{})
	}
	if !b.kind {
		b.w.meanwhile()
	}
	if fault == 6 && writes {
		b.w.say("bank: the call is on its way for long")
		b.ask[id] = true
		b.late = append(b.late, lateCall{b.w.now.Add(time.Duration(b.w.rnd.IntN(15)) * time.Second), act})
		return lost
	}
	err := act()
	if !b.kind {
		b.w.meanwhile()
	}
	switch fault {
	case 4:
		b.w.say("bank: answer lost")
		b.ask[id] = b.ask[id] || writes
		return lost
	case 5:
		b.w.say("the gateway dies after the call")
		b.ask[id] = b.ask[id] || writes
		b.w.die()
		panic(crash{})
	}
	if !writes {
		b.ask[id] = false
	}
	return err
}

func (b *worldBank) state(id linking.RequestID) linking.BankState {
	r := b.requests[id]
	b.lapse(r)
	return linking.BankState{
		ID: id, Status: r.status, Revision: r.revision, Money: r.money, ExpiresAt: r.expires,
		Way:      linking.Way{Kind: linking.Redirect, URL: "https://bank.example/" + string(id)},
		Payments: slices.Clone(r.payments), Refunds: slices.Clone(r.refunds),
	}
}

func (b *worldBank) Abilities(context.Context) (linking.Abilities, error) {
	return linking.Abilities{Currencies: []linking.Currency{"EUR"}, OpenEnded: true, Revise: true, Refund: true, Changed: true, EndsItself: true, BankLink: true}, nil
}

func (b *worldBank) Put(_ context.Context, ask linking.Ask) (st linking.BankState, err error) {
	err = b.line(ask.ID, true, func() error {
		r := b.requests[ask.ID]
		if r == nil {
			r = &bankRequest{status: linking.BankOpen}
			b.requests[ask.ID] = r
		}
		b.lapse(r)
		if r.status != linking.BankOpen {
			st = b.state(ask.ID)
			return nil
		}
		if ask.Link != nil {
			if shows := b.links[ask.Link.ID]; shows != "" && shows != ask.ID {
				if r.revision == 0 {
					delete(b.requests, ask.ID)
				}
				return &linking.BankError{Class: linking.BankBusy, Code: "location_busy"}
			}
			for id, shows := range b.links {
				if shows == ask.ID {
					delete(b.links, id)
				}
			}
			b.links[ask.Link.ID] = ask.ID
		}
		if ask.Revision >= r.revision {
			r.money, r.revision, r.expires = ask.Money, ask.Revision, ask.ExpiresAt
		}
		st = b.state(ask.ID)
		b.w.say("bank: holds %s with %d until %v", ask.ID[20:], r.money.Amount, r.expires.Format("15:04:05"))
		return nil
	})
	return st, err
}

func (b *worldBank) Close(_ context.Context, ref linking.BankRef) (st linking.BankState, err error) {
	err = b.line(ref.ID, true, func() error {
		r := b.requests[ref.ID]
		if r == nil {
			return &linking.BankError{Class: linking.BankAbsent, Code: "absent"}
		}
		b.lapse(r)
		switch r.status {
		case linking.BankOpen:
			r.status = linking.BankClosed
		case linking.BankProcessing:
			return &linking.BankError{Class: linking.BankBusy, Code: "in_flight"}
		}
		b.w.say("bank: close %s: %s", ref.ID[20:], r.status)
		st = b.state(ref.ID)
		return nil
	})
	return st, err
}

func (b *worldBank) Get(_ context.Context, ref linking.BankRef) (st linking.BankState, err error) {
	err = b.line(ref.ID, false, func() error {
		if b.requests[ref.ID] == nil {
			return &linking.BankError{Class: linking.BankAbsent, Code: "absent"}
		}
		st = b.state(ref.ID)
		return nil
	})
	return st, err
}

func (b *worldBank) Capture(context.Context, linking.BankRef) (linking.BankState, error) {
	return linking.BankState{}, &linking.BankError{Class: linking.BankRefused, Code: "no_capture"}
}

func (b *worldBank) Refund(_ context.Context, ask linking.RefundAsk) (f linking.BankRefund, err error) {
	err = b.line(ask.ID+"refund", false, func() error {
		r := b.requests[ask.ID]
		for _, old := range r.refunds {
			if old.ID == string(ask.Refund) {
				f = old
				return nil
			}
		}
		left := linking.Amount(0)
		for _, p := range r.payments {
			if p.ID == ask.PaymentID {
				left = p.Money.Amount
			}
		}
		for _, old := range r.refunds {
			if old.PaymentID == ask.PaymentID {
				left -= old.Amount
			}
		}
		if ask.Money.Amount > left {
			b.w.t.Errorf("asked to refund %v of %s with %d left", ask.Money, ask.PaymentID, left)
			return &linking.BankError{Class: linking.BankRefused, Code: "too_much"}
		}
		f = linking.BankRefund{ID: string(ask.Refund), PaymentID: ask.PaymentID, Amount: ask.Money.Amount, Status: linking.RefundDone}
		r.refunds = append(r.refunds, f)
		return nil
	})
	return f, err
}

func (b *worldBank) Changed(_ context.Context, since time.Time) (ids []linking.RequestID, next time.Time, err error) {
	err = b.line("list", false, func() error {
		for id, r := range b.requests {
			b.lapse(r)
			if !r.changed.IsZero() && !r.changed.Before(since.Add(-time.Minute)) {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		next = b.w.now
		return nil
	})
	return ids, next, err
}

func (b *worldBank) Callback(context.Context, http.Header, []byte) ([]linking.RequestID, error) {
	return nil, errors.New("not used here")
}
func (b *worldBank) MakeLink(_ context.Context, charge linking.Charge) (linking.BankLink, error) {
	id := fmt.Sprint("L", len(b.links)+1)
	b.links[id] = ""
	return linking.BankLink{ID: id, Charge: charge, Payload: "bank.example/" + id}, nil
}

func (b *worldBank) LinkShows(_ context.Context, l linking.BankLink) (shows linking.RequestID, err error) {
	err = b.line(linking.RequestID(l.ID), false, func() error {
		shows = b.links[l.ID]
		return nil
	})
	return shows, err
}

func (b *worldBank) Unlink(_ context.Context, l linking.BankLink) error {
	return b.line(linking.RequestID(l.ID), false, func() error {
		b.w.say("bank: location %s emptied of %s", l.ID, b.links[l.ID])
		b.links[l.ID] = ""
		return nil
	})
}
