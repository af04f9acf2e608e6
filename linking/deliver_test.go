package linking_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"placard/gateway"
	"placard/linking"
	"placard/linking/boltstore"
)

// A postOffice delivers with the gateway's courier, over real connections, on a clock
// that the test moves. Its events are changes of printed codes, which need no bank; each
// code is a lane.
type postOffice struct {
	t        *testing.T
	mu       sync.Mutex // held by the test but while its office works, and by the receiver
	now      time.Time
	store    *counting
	svc      *linking.Service
	tasks    []func()
	caller   linking.Caller
	codes    []linking.Token
	receiver *httptest.Server
	answer   func(lane string) int // 0: hangs up
	got      []letter
	secret   string
}

type letter struct {
	id, lane string
	repeat   bool
}

// counting counts what is written.
type counting struct {
	linking.Store
	commits atomic.Int64
}

func (c *counting) Commit(ctx context.Context, one linking.Commit) error {
	c.commits.Add(1)
	return c.Store.Commit(ctx, one)
}

type plainSealer struct{}

func (plainSealer) Seal(_ linking.WebhookID, secret []byte) ([]byte, error) { return secret, nil }
func (plainSealer) Open(_ linking.WebhookID, sealed []byte) ([]byte, error) { return sealed, nil }

func newPostOffice(t *testing.T, codes int) *postOffice {
	dir := t.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "placard-post"); err == nil {
		t.Cleanup(func() { os.RemoveAll(shm) })
		dir = shm
	}
	bolt, err := boltstore.Open(filepath.Join(dir, "post.db"), boltstore.Options{})
	must(t, err)
	t.Cleanup(func() { bolt.Close() })
	p := &postOffice{t: t, now: time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC), store: &counting{Store: bolt}, answer: func(string) int { return 204 }}
	p.mu.Lock()
	p.receiver = httptest.NewServer(http.HandlerFunc(p.take))
	t.Cleanup(p.receiver.Close)
	p.open(true)
	ctx := t.Context()
	m, err := p.svc.CreateMerchant(ctx, linking.NewMerchant{Name: "Post", Currency: "EUR"})
	must(t, err)
	k, _, err := p.svc.CreateKey(ctx, m.ID, linking.NewKey{Role: linking.Owner})
	must(t, err)
	p.caller = k.Caller()
	b, err := p.svc.MakeBatch(ctx, p.caller, linking.NewBatch{Kind: linking.Bill, Count: codes})
	must(t, err)
	must(t, p.svc.BatchTokens(ctx, b, 0, func(_ uint64, c linking.Token) bool { p.codes = append(p.codes, c); return true }))
	return p
}

// open starts a gateway over the store, in place of the one before.
func (p *postOffice) open(fresh bool) {
	svc, err := linking.New(p.t.Context(), linking.Config{
		Store: p.store, Now: func() time.Time { return p.now }, PublicURL: "https://pay.example", NewStore: fresh,
		Courier: gateway.NewCourier(gateway.CourierConfig{Sealer: plainSealer{}, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}),
	})
	must(p.t, err)
	p.tasks = nil
	svc.Launch(func(f func()) {
		if p.svc == svc {
			p.tasks = append(p.tasks, f)
		}
	})
	p.svc = svc
}

func (p *postOffice) hook() linking.WebhookID {
	p.t.Helper()
	v, err := p.svc.CreateWebhook(p.t.Context(), p.caller, linking.NewWebhook{URL: p.receiver.URL})
	must(p.t, err)
	p.secret = v.Secret
	return v.ID
}

func (p *postOffice) view(id linking.WebhookID) *linking.WebhookView {
	p.t.Helper()
	v, err := p.svc.Webhook(p.t.Context(), p.caller, id)
	must(p.t, err)
	return v
}

// take is the receiver.
func (p *postOffice) take(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	p.mu.Lock()
	defer p.mu.Unlock()
	verify, err := webhooks.NewWebhook(p.secret)
	if err == nil {
		err = verify.VerifyIgnoringTimestamp(body, r.Header)
	}
	if err != nil {
		p.t.Errorf("D8: the Standard Webhooks library: %v", err)
	}
	var lane string
	if _, after, ok := strings.Cut(string(body), `"code":"`); ok {
		lane, _, _ = strings.Cut(after, `"`)
	}
	status := p.answer(lane)
	if status == 0 {
		conn, _, _ := w.(http.Hijacker).Hijack()
		conn.Close()
		return
	}
	if status < 300 {
		id := r.Header.Get("Webhook-Id")
		p.got = append(p.got, letter{id, lane, slices.ContainsFunc(p.got, func(l letter) bool { return l.id == id })})
	}
	w.WriteHeader(status)
}

// change makes an event of a code.
func (p *postOffice) change(code linking.Token) {
	p.t.Helper()
	label := fmt.Sprint("label ", p.now.UnixNano())
	_, err := p.svc.PatchCode(p.t.Context(), p.caller, code, linking.CodePatch{Label: &label})
	must(p.t, err)
}

// pass lets time go by, with background work every so often.
func (p *postOffice) pass(d, each time.Duration) {
	for end := p.now.Add(d); p.now.Before(end); {
		p.now = p.now.Add(each)
		p.work()
	}
}

func (p *postOffice) work() {
	p.svc.SweepOnce(p.t.Context())
	for len(p.tasks) > 0 {
		f := p.tasks[0]
		p.tasks = p.tasks[1:]
		p.mu.Unlock()
		f()
		p.mu.Lock()
	}
}

// inOrder demands that all events after one came, each lane's in order.
func (p *postOffice) inOrder(after uint64) {
	p.t.Helper()
	events, _, err := p.svc.Events(p.t.Context(), p.caller, linking.EventFilter{After: after, Limit: 500}, 0)
	must(p.t, err)
	at := map[string]int{}
	for i, l := range p.got {
		if !l.repeat {
			at[l.id] = i
		}
	}
	last := map[linking.Token]int{}
	for _, e := range events {
		i, ok := at[e.ID()]
		if !ok {
			p.t.Errorf("D8: event %d never came", e.Seq)
			continue
		}
		if before, ok := last[e.Code]; ok && i < before {
			p.t.Errorf("D8: event %d came before an older one of its lane", e.Seq)
		}
		last[e.Code] = i
	}
	if len(events) == 0 {
		p.t.Error("there were no events")
	}
}

func (p *postOffice) last() uint64 {
	last, err := p.svc.LastEvent(p.t.Context(), p.caller.Merchant)
	must(p.t, err)
	return last
}

func TestD8AReceiverThatWasAwayForAnHourGetsAllInOrder(t *testing.T) {
	p := newPostOffice(t, 50)
	p.work()
	id := p.hook()
	start := p.last()
	p.change(p.codes[0])
	p.work()
	if len(p.got) != 1 {
		t.Fatalf("%d messages came while all was well", len(p.got))
	}
	calls := 0
	p.answer = func(string) int { calls++; return []int{0, 500, 503}[calls%3] }
	for range 60 { // an hour of trade: 150 events
		for i := range 5 {
			p.change(p.codes[(calls+i*7)%len(p.codes)])
		}
		p.pass(time.Minute, 10*time.Second)
	}
	if v := p.view(id); !v.Down || v.Next.IsZero() {
		t.Errorf("after an hour away: %+v", v)
	}
	if len(p.got) != 1 {
		t.Fatalf("%d messages came while it was away", len(p.got))
	}
	if calls > 40 {
		t.Errorf("it was called %d times while it was away", calls)
	}
	p.answer = func(string) int { return 200 }
	back := p.now
	for p.view(id).DeliveredTo < p.last() || p.view(id).Held > 0 {
		if p.now.Sub(back) > 20*time.Minute {
			t.Fatalf("after 20 minutes: %+v", p.view(id))
		}
		p.pass(10*time.Second, 10*time.Second)
	}
	p.inOrder(start)
	repeats := 0
	for _, l := range p.got {
		if l.repeat {
			repeats++
		}
	}
	t.Logf("%d events; %d calls while it was away; all there %s after it came back; %d twice", len(p.got), calls, p.now.Sub(back), repeats)
}

func TestD8AMessageThatFailsHoldsBackItsOwnLaneAlone(t *testing.T) {
	p := newPostOffice(t, 10)
	p.work()
	id := p.hook()
	start := p.last()
	bad := string(p.codes[3])
	p.answer = func(lane string) int {
		if lane == bad {
			return 422
		}
		return 204
	}
	for range 20 {
		for _, c := range p.codes {
			p.change(c)
		}
		p.pass(30*time.Second, 10*time.Second)
	}
	others := 0
	for _, l := range p.got {
		if l.lane == bad {
			t.Fatal("it came all the same")
		}
		others++
	}
	if others != 180 {
		t.Errorf("%d of 180 others came", others)
	}
	v := p.view(id)
	if v.Held != 1 || v.Down {
		t.Errorf("held back: %+v", v)
	}
	p.answer = func(string) int { return 204 }
	p.pass(16*time.Minute, 10*time.Second)
	p.inOrder(start)
	if v := p.view(id); v.Held != 0 || v.DeliveredTo != p.last() {
		t.Errorf("at rest: %+v", v)
	}
}

// An event costs no write of its own: the log is the outbox.
func TestWebhooksWriteNothingForAnEventThatArrives(t *testing.T) {
	p := newPostOffice(t, 20)
	p.work()
	p.hook()
	for i := range 300 {
		p.change(p.codes[i%20])
	}
	before := p.store.commits.Load()
	p.work()
	if n := p.store.commits.Load() - before; n > 8 || len(p.got) != 300 {
		t.Errorf("%d commits for %d deliveries", n, len(p.got))
	}
	before = p.store.commits.Load()
	for range 30 {
		p.pass(time.Minute, 10*time.Second)
	}
	if n := p.store.commits.Load() - before; n > 1 {
		t.Errorf("%d commits in half an hour in which nothing happened", n)
	}
}

// A gateway that dies with a claim leaves the webhook to the next when its time is over.
func TestD8AnotherGatewayGoesOnWhereOneDied(t *testing.T) {
	p := newPostOffice(t, 10)
	p.work()
	id := p.hook()
	start := p.last()
	for _, c := range p.codes {
		p.change(c)
	}
	type death struct{}
	n := 0
	p.answer = func(string) int { n++; return 204 }
	func() {
		defer func() { recover() }()
		p.svc.SweepOnce(t.Context())
		// It claims, sends some, and is gone: its outcome is never written.
		dying := &dies{Store: p.store.Store, after: 1}
		p.store.Store = dying
		p.work()
		panic(death{})
	}()
	p.store.Store = p.store.Store.(*dies).Store
	first := len(p.got)
	p.open(false)
	p.pass(50*time.Second, 5*time.Second)
	if len(p.got) != first {
		t.Error("two gateways delivered at the same time")
	}
	p.pass(30*time.Second, 5*time.Second)
	p.inOrder(start)
	if v := p.view(id); v.DeliveredTo != p.last() {
		t.Errorf("at rest: %+v", v)
	}
}

// dies lets some commits through and then none.
type dies struct {
	linking.Store
	after int
}

func (d *dies) Commit(ctx context.Context, c linking.Commit) error {
	if d.after--; d.after < 0 {
		return &linking.Error{Kind: linking.Unavailable, Code: "store_unavailable"}
	}
	return d.Store.Commit(ctx, c)
}

func TestWebhookRotationReplayAndAttempts(t *testing.T) {
	p := newPostOffice(t, 3)
	p.work()
	ctx := t.Context()
	id := p.hook()
	start := p.last()
	old := p.secret
	p.change(p.codes[0])
	p.work()
	v, err := p.svc.RotateWebhook(ctx, p.caller, id)
	must(t, err)
	if v.Secret == "" || v.Secret == old {
		t.Fatal("no new secret")
	}
	p.change(p.codes[0]) // take verifies with the old one
	p.pass(23*time.Hour, time.Hour)
	p.change(p.codes[0])
	p.work()
	if len(p.got) != 3 {
		t.Errorf("%d came under the old secret", len(p.got))
	}
	p.secret = v.Secret
	p.change(p.codes[0])
	p.pass(2*time.Hour, time.Hour)
	p.change(p.codes[0])
	p.work()
	if len(p.got) != 5 {
		t.Errorf("%d came under the new secret", len(p.got))
	}
	if n := len(p.view(id).Secrets); n != 2 {
		t.Errorf("%d secrets are kept", n)
	}
	// Once the day is over the old one signs no more: the receiver must not need it.
	if signs := p.view(id).Secrets; p.now.Before(signs[1].Until) {
		t.Errorf("the old secret signs until %s, and it is %s", signs[1].Until, p.now)
	}

	before := len(p.got)
	_, err = p.svc.ReplayWebhook(ctx, p.caller, id, start+2)
	must(t, err)
	p.work()
	if again := p.got[before:]; len(again) != 4 || again[0].id != fmt.Sprint(p.caller.Merchant, "-", start+2) {
		t.Errorf("replayed: %v", again)
	}
	for _, from := range []uint64{0, p.last() + 2} {
		if _, err := p.svc.ReplayWebhook(ctx, p.caller, id, from); !linking.IsKind(err, linking.Invalid) {
			t.Errorf("replay from %d: %v", from, err)
		}
	}

	p.answer = func(string) int { return 410 }
	p.change(p.codes[1])
	p.work()
	if v := p.view(id); !v.Gone || !v.Next.IsZero() {
		t.Errorf("after 410: %+v", v)
	}
	p.answer = func(string) int { return 200 }
	p.pass(time.Hour, time.Minute)
	before = len(p.got)
	if _, err = p.svc.ReplayWebhook(ctx, p.caller, id, p.last()); err != nil {
		t.Fatal(err)
	}
	p.work()
	if len(p.got) != before+1 || p.view(id).Gone {
		t.Errorf("after the replay: %+v", p.view(id))
	}
	list, err := p.svc.WebhookAttempts(ctx, p.caller, id)
	must(t, err)
	if len(list) != 11 || list[0].Status != 200 || list[0].Seq != p.last() || list[1].Status != 410 || list[1].Fault != linking.FaultGone {
		t.Errorf("attempts: %+v", list)
	}
	must(t, p.svc.DeleteWebhook(ctx, p.caller, id))
	before = len(p.got)
	p.change(p.codes[0])
	p.pass(time.Minute, 10*time.Second)
	if len(p.got) != before {
		t.Error("a webhook that was deleted goes on")
	}
	if _, err := p.svc.Webhook(ctx, p.caller, id); !linking.IsKind(err, linking.NotFound) {
		t.Errorf("a webhook that was deleted: %v", err)
	}
}

func TestWebhooksOfAnotherMerchantAreNotThere(t *testing.T) {
	p := newPostOffice(t, 1)
	p.work()
	id := p.hook()
	ctx := t.Context()
	m, err := p.svc.CreateMerchant(ctx, linking.NewMerchant{Name: "Other", Currency: "EUR"})
	must(t, err)
	k, _, err := p.svc.CreateKey(ctx, m.ID, linking.NewKey{Role: linking.Owner})
	must(t, err)
	other := k.Caller()
	bound := p.caller
	bound.Outlet = "01000000000000"
	for name, c := range map[string]linking.Caller{"another merchant": other, "a key of an outlet": bound} {
		_, err1 := p.svc.Webhook(ctx, c, id)
		_, err2 := p.svc.RotateWebhook(ctx, c, id)
		_, err3 := p.svc.ReplayWebhook(ctx, c, id, 1)
		_, err4 := p.svc.WebhookAttempts(ctx, c, id)
		err5 := p.svc.DeleteWebhook(ctx, c, id)
		for i, err := range []error{err1, err2, err3, err4, err5} {
			if !linking.IsKind(err, linking.NotFound) && !(i == 2 && name == "another merchant" && linking.IsKind(err, linking.Invalid)) {
				t.Errorf("D10: %s: call %d: %v", name, i, err)
			}
		}
		if list, err := p.svc.Webhooks(ctx, c); err != nil || len(list) != 0 {
			t.Errorf("D10: %s sees %d", name, len(list))
		}
	}
}
