package linking_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"placard/linking"
)

// worldPost carries webhooks in a world: to a receiver that takes everything but for
// faults, to one that is away for long, and to one that hears of money alone. What
// happens to a message is decided by a random number of its own.
type worldPost struct {
	w     *world
	rnd   *rand.Rand
	hooks map[linking.WebhookID]*worldHook
}

type worldHook struct {
	types  []linking.EventType
	from   uint64            // the first event it is owed
	away   time.Time         // until then nothing gets through
	got    map[uint64]bool   // delivered at least once
	lanes  map[string]uint64 // the newest first delivery of each lane
	repeat int
}

func newWorldPost(w *world, seed uint64) *worldPost {
	return &worldPost{w: w, rnd: rand.New(rand.NewPCG(seed, 8)), hooks: map[linking.WebhookID]*worldHook{}}
}

func (p *worldPost) furnish() {
	money := []linking.EventType{linking.RequestPaid, linking.RequestRefunded, linking.ExceptionOpened, linking.ExceptionDecided}
	for _, types := range [][]linking.EventType{nil, nil, money} {
		last, err := p.w.svc.LastEvent(context.Background(), p.w.merchant)
		must(p.w.t, err)
		v, err := p.w.svc.CreateWebhook(context.Background(), p.w.caller, linking.NewWebhook{URL: "https://till.example/", Types: types})
		must(p.w.t, err)
		p.hooks[v.ID] = &worldHook{types: types, from: last + 1, got: map[uint64]bool{}, lanes: map[string]uint64{}}
	}
}

func (p *worldPost) MayCall(string) error { return nil }

func (p *worldPost) NewSecret(linking.WebhookID) ([]byte, string, error) {
	return []byte("sealed"), "open", nil
}

func (p *worldPost) Deliver(_ context.Context, d linking.Delivery) linking.Outcome {
	w, h := p.w, p.hooks[d.Webhook]
	failed := linking.Outcome{Status: 500, Fault: linking.FaultStatus}
	fault := 0
	if !w.bank.kind {
		fault = p.rnd.IntN(24)
	}
	switch {
	case len(d.Secrets) == 0:
		w.t.Fatal("a webhook without a signature")
	case fault == 1:
		h.away = w.now.Add(time.Duration(p.rnd.IntN(3600)) * time.Second)
	case fault == 2:
		w.say("the gateway dies before a webhook")
		w.die()
		panic(crash{})
	case fault == 3:
		for range p.rnd.IntN(90) { // longer than a claim, now and then
			w.now = w.now.Add(time.Second)
			w.bank.arrivals()
		}
	case fault == 4:
		w.meanwhile()
	case fault == 5:
		_, err := w.svc.RotateWebhook(context.Background(), w.caller, d.Webhook)
		must(w.t, err)
	case fault == 6 && p.rnd.IntN(4) == 0:
		_, err := w.svc.ReplayWebhook(context.Background(), w.caller, d.Webhook, 1+p.rnd.Uint64N(d.Event.Seq))
		must(w.t, err)
	}
	if !w.bank.kind && w.now.Before(h.away) || fault >= 21 {
		return failed
	}
	p.take(h, d.Event)
	switch fault {
	case 7:
		return linking.Outcome{Fault: linking.FaultTimeout} // it has it, and its answer is lost
	case 8:
		w.say("the gateway dies after a webhook")
		w.die()
		panic(crash{})
	}
	return linking.Outcome{Status: 204}
}

// take is the receiver: what is new to it must be the next of its lane.
func (p *worldPost) take(h *worldHook, e *linking.Event) {
	if h.got[e.Seq] || e.Seq < h.from { // a replay may begin before the webhook did
		h.repeat++
		return
	}
	h.got[e.Seq] = true
	lane := string(e.Code)
	if e.Request != nil {
		lane = string(e.Request.ID)
	}
	if h.lanes[lane] > e.Seq {
		p.w.t.Errorf("D8: event %d of %s came after %d", e.Seq, lane, h.lanes[lane])
	}
	h.lanes[lane] = e.Seq
}

// balance demands that every receiver has every event it is owed.
func (p *worldPost) balance() {
	ctx := context.Background()
	for id, h := range p.hooks {
		after := h.from - 1
		for {
			events, next, err := p.w.svc.Events(ctx, p.w.caller, linking.EventFilter{After: after, Types: h.types, Limit: 500}, 0)
			must(p.w.t, err)
			for _, e := range events {
				if !h.got[e.Seq] {
					p.w.t.Errorf("D8: a receiver was never told of event %d, %s", e.Seq, e.Type)
				}
			}
			if after = next; len(events) == 0 {
				break
			}
		}
		v, err := p.w.svc.Webhook(ctx, p.w.caller, id)
		must(p.w.t, err)
		if v.DeliveredTo != after || v.Held != 0 || v.Down || v.Missed != 0 {
			p.w.t.Errorf("a webhook at rest: %+v; the log ends with %d", v, after)
		}
		p.w.say("%d events delivered, %d twice", len(h.got), h.repeat)
		if h.types == nil && len(h.got) == 0 {
			p.w.t.Error(fmt.Sprint("nothing was delivered to ", id))
		}
	}
}
