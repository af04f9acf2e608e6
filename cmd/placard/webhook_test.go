package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"placard/linking/storetest"
)

// tillServer is a merchant's own program: it takes webhooks and verifies them.
type tillServer struct {
	t      *testing.T
	url    string
	mu     sync.Mutex
	secret string
	status int
	hang   chan struct{} // not nil: no answer until it is closed
	events []tillEvent
	more   chan struct{}
}

func newTillServer(t *testing.T) *tillServer {
	s := &tillServer{t: t, status: http.StatusNoContent, more: make(chan struct{}, 1)}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	s.url = web.URL + "/placard"
	return s
}

func (s *tillServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	secret, status, hang := s.secret, s.status, s.hang
	s.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
			return
		}
	}
	verify, err := webhooks.NewWebhook(secret)
	if err == nil {
		err = verify.Verify(body, r.Header)
	}
	var e tillEvent
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	if err != nil {
		s.t.Errorf("D8: %v", err)
	}
	if status < 300 {
		s.mu.Lock()
		s.events = append(s.events, e)
		s.mu.Unlock()
		select {
		case s.more <- struct{}{}:
		default:
		}
	}
	w.WriteHeader(status)
}

func (s *tillServer) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// await waits until an event came that f likes.
func (s *tillServer) await(what string, f func(tillEvent) bool) tillEvent {
	s.t.Helper()
	late := time.After(30 * time.Second)
	for {
		s.mu.Lock()
		i := slices.IndexFunc(s.events, f)
		if i >= 0 {
			defer s.mu.Unlock()
			return s.events[i]
		}
		s.mu.Unlock()
		select {
		case <-s.more:
		case <-late:
			s.t.Fatalf("D8: no webhook told that %s", what)
		}
	}
}

// A merchant's server is told of a sale within moments, whatever another receiver of
// the same merchant does; it gets what it missed, and nobody learns a secret twice.
func TestD8WebhooksOfARunningGateway(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true, serve: []string{"--webhook-allow", "127.0.0.0/8"}})
	till := h.shop.till
	good, dead := newTillServer(t), newTillServer(t)
	release := make(chan struct{})
	dead.set(func() { dead.hang, dead.secret = release, "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" })
	made := till.call("POST", "/v1/webhooks", m{"url": good.url, "label": "good"}, "Idempotency-Key", "hook-1").is(201)
	good.set(func() { good.secret = made.str("secret") })
	again := till.call("POST", "/v1/webhooks", m{"url": good.url, "label": "good"}, "Idempotency-Key", "hook-1").is(201)
	if again.str("id") != made.str("id") || again.str("secret") != "" || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the same call again: %s", again.Body)
	}
	till.call("POST", "/v1/webhooks", m{"url": dead.url, "label": "dead"}).is(201)
	hook := "/v1/webhooks/" + made.str("id")
	if strings.Contains(string(till.get("/v1/webhooks").is(200).Body), "whsec_") {
		t.Error("a list of webhooks shows secrets")
	}

	code := till.makeCode("counter")
	id := till.attach(code, 1250)
	good.await("it is active", func(e tillEvent) bool { return e.Type == "request.active" && e.Request.ID == id })
	began := time.Now()
	h.bank.pays(id)
	paid := good.await("it is paid", func(e tillEvent) bool { return e.Type == "request.paid" && e.Request.ID == id })
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it was told after %s", took)
	} else {
		t.Logf("told %s after the payer paid, while another receiver hangs", took.Round(time.Millisecond))
	}
	if paid.Request.PaidAmount != 1250 || paid.Payment == nil || paid.Payment.Amount != 1250 || paid.Code != code || paid.Tender == nil || paid.Tender.Allowed {
		t.Errorf("what a till has to know: %+v", paid)
	}
	streamed := till.allEvents(paid.Seq - 1)
	if len(streamed) == 0 || streamed[0].ID != paid.ID {
		t.Errorf("the stream's event is another one: %+v", streamed)
	}

	// It fails for a while, and sees later why.
	good.set(func() { good.status = http.StatusInternalServerError })
	second := till.attach(code, 300)
	eventually(t, "a failed attempt is seen", func() bool {
		return till.get(hook).is(200).num("held") > 0 && till.get(hook+"/attempts").is(200).str("data.0.fault") == "status"
	})
	till.get(hook).says("status", "failing")
	till.get(hook+"/attempts").says("data.0.status", 500, "data.0.ok", false)
	good.set(func() { good.status = http.StatusOK })
	good.await("the other is active", func(e tillEvent) bool { return e.Type == "request.active" && e.Request.ID == second })
	eventually(t, "all is well", func() bool { return till.get(hook).str("status") == "active" })

	rotated := till.call("POST", hook+"/rotate", nil).is(200)
	if rotated.str("secret") == made.str("secret") || rotated.str("old_secrets_until") == "" {
		t.Errorf("rotated: %s", rotated.Body)
	}
	till.attach(till.makeCode("counter"), 100) // good still verifies with the old one
	good.set(func() { good.secret, good.events = rotated.str("secret"), nil })
	till.call("POST", hook+"/replay", m{"from": paid.Seq}).is(200)
	good.await("it is paid, once more", func(e tillEvent) bool { return e.ID == paid.ID })

	// A gateway that stops does not wait for a receiver that hangs.
	began = time.Now()
	h.shut()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the gateway took %s to stop", took)
	}
	close(release)
}

// Two gateways over one Redis: whichever made the change, the receiver hears of it soon,
// in order for each request, and what both could have sent comes once; one of them ends
// in the middle, and nothing is lost.
func TestD8TwoGatewaysDeliverAsOne(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{redis: storetest.NewRedis(t, storetest.Durable()...), gateways: 2, bare: true, serve: []string{"--webhook-allow", "127.0.0.0/8"}})
	server := newTillServer(t)
	till := h.shop.till
	made := till.call("POST", "/v1/webhooks", m{"url": server.url}).is(201)
	server.set(func() { server.secret = made.str("secret") })
	since := till.lastSeq()
	sell := func(n int) (last string) {
		for i := range n {
			h.point(i % len(h.addresses))
			last = till.attach(till.makeCode("counter"), 100+i)
			h.bank.pays(last)
		}
		return last
	}
	last := sell(10)
	server.await("the tenth sale is paid", func(e tillEvent) bool { return e.Type == "request.paid" && e.Request.ID == last })
	if code := h.gateways[1].stop(); code != done {
		t.Fatalf("the gateway ended with %d", code)
	}
	h.gateways, h.addresses = h.gateways[:1], h.addresses[:1]
	last = sell(5)
	server.await("the last sale is paid", func(e tillEvent) bool { return e.Type == "request.paid" && e.Request.ID == last })
	all := till.allEvents(since)
	end := all[len(all)-1].ID
	server.await("the last event of all", func(e tillEvent) bool { return e.ID == end })
	hook := "/v1/webhooks/" + made.str("id")
	eventually(t, "all is delivered", func() bool { return till.get(hook).num("delivered_to") >= all[len(all)-1].Seq })
	server.set(func() {
		count, newest := map[string]int{}, map[string]int64{}
		for _, e := range server.events {
			if count[e.ID]++; count[e.ID] > 1 || e.Request == nil {
				continue
			}
			if newest[e.Request.ID] > e.Seq {
				t.Errorf("D8: event %d of a request came after %d", e.Seq, newest[e.Request.ID])
			}
			newest[e.Request.ID] = e.Seq
		}
		repeats := len(server.events) - len(count)
		for _, e := range all {
			if count[e.ID] == 0 {
				t.Errorf("D8: event %d, %s, never came", e.Seq, e.Type)
			}
		}
		if repeats > len(all)/10 {
			t.Errorf("%d of %d came twice", repeats, len(all))
		}
		t.Logf("%d events, %d twice", len(all), repeats)
	})
}
