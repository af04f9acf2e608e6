package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"placard/linking/storetest"
)

// proving is n in an ordinary run, and much more where somebody has the time.
func proving(n, most int) int {
	if os.Getenv("PLACARD_PROVE") == "1" {
		return most
	}
	return n
}

const killWriters = 64

// TestD5KilledInTheMiddle kills the program while 64 tills write, and starts it again:
// all that was acknowledged is there, once, and what was not is there once or not at
// all, and once after it was sent again.
func TestD5KilledInTheMiddle(t *testing.T) {
	t.Parallel()
	overStores(t, func(t *testing.T, redis *storetest.RedisServer) {
		h := newHouse(t, houseOptions{redis: redis, bare: true})
		var writers []*writer
		for i := range killWriters {
			writers = append(writers, &writer{name: fmt.Sprint("W", i), code: h.shop.till.makeCode("counter"), rnd: rand.New(rand.NewPCG(rand.Uint64(), uint64(i)))})
		}
		address := strings.TrimPrefix(h.addresses[0], "http://")
		args := append([]string{"serve", "--listen", address, "--public-url", h.addresses[0], "--log-level", "warn"}, h.store...)
		h.shut()
		rounds := proving(3, 60)
		var restarts []time.Duration
		acked := 0
		for range rounds {
			began := time.Now()
			p := spawn(t, args...)
			restarts = append(restarts, time.Since(began))
			h.shop.till.base = "http://" + address
			web := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: killWriters}, Timeout: 20 * time.Second}
			var all sync.WaitGroup
			for _, w := range writers {
				w.till = &client{t: t, base: h.shop.till.base, key: h.shop.till.key, web: web}
				all.Go(w.work)
			}
			time.Sleep(time.Duration(300+rand.IntN(900)) * time.Millisecond) // a random moment is what is wanted
			p.kill()
			all.Wait()
			web.CloseIdleConnections()
			for _, w := range writers {
				acked += w.checkJournal(t)
			}
		}
		p := spawn(t, args...)
		last := &client{t: t, base: h.shop.till.base, key: h.shop.till.key}
		for _, w := range writers {
			w.till = last
			w.sendAgain(t)
		}
		checkLedger(t, last, writers)
		slices.Sort(restarts)
		t.Logf("%d kills under %d writers, %d calls acknowledged, none lost, none doubled; restart %s in the middle, %s at most",
			rounds, killWriters, acked, restarts[len(restarts)/2].Round(time.Millisecond), restarts[len(restarts)-1].Round(time.Millisecond))
		p.kill()
	})
}

// writer is a till with a code of its own, and a journal of all it has sent.
type writer struct {
	name    string
	code    string
	till    *client
	rnd     *rand.Rand
	n       int
	shows   bool     // as far as the till knows
	made    []string // requests of its own, on no code
	journal []*journalEntry
	checked int // entries of the journal that were held against the program
}

type journalEntry struct {
	key, method, path string
	body              any
	reference         string // of the request it makes; empty: it makes none
	cancels           string
	answer            *reply // nil: none came
}

// work sends one call after the other until the program is gone.
func (w *writer) work() {
	for {
		e := w.next()
		w.journal = append(w.journal, e)
		if err := w.send(e); err != nil {
			return
		}
	}
}

func (w *writer) send(e *journalEntry) error {
	r, err := w.till.try(e.method, e.path, e.body, "Idempotency-Key", e.key, "Prefer", fmt.Sprint("wait=", w.rnd.IntN(32)/31))
	if err != nil {
		return err
	}
	if r.Status >= 300 {
		return fmt.Errorf("%s %s: %d %s", e.method, e.path, r.Status, r.Body)
	}
	e.answer = r
	switch {
	case e.method == "PUT":
		w.shows = true
	case e.method == "DELETE":
		w.shows = false
	case e.cancels == "":
		w.made = append(w.made, r.str("id"))
	}
	return nil
}

func (w *writer) next() *journalEntry {
	w.n++
	e := &journalEntry{key: fmt.Sprint(w.name, "-", w.n), method: "PUT", path: "/v1/codes/" + w.code + "/link"}
	request := m{"amount": 100 + w.n, "reference": e.key}
	switch n := w.rnd.IntN(10); {
	case !w.shows || n < 4: // attach or swap
		e.body, e.reference = m{"request": request, "replace": true}, e.key
	case n < 6:
		e.method, e.path = "DELETE", e.path+"?cancel=true"
	case n < 8 || len(w.made) == 0:
		e.method, e.path, e.body, e.reference = "POST", "/v1/requests", request, e.key
	default:
		e.cancels = w.made[0]
		w.made = w.made[1:]
		e.method, e.path, e.body = "POST", "/v1/requests/"+e.cancels+"/cancel", m{}
	}
	return e
}

// checkJournal looks whether all that came since the last time went as it should, and
// says how many calls were acknowledged. Only the last may have no answer.
func (w *writer) checkJournal(t *testing.T) (acked int) {
	fresh := w.journal[w.checked:]
	w.checked = len(w.journal)
	for i, e := range fresh {
		switch {
		case e.answer != nil:
			acked++
		case i < len(fresh)-1:
			t.Errorf("%s went on after a call without an answer", w.name)
		case strings.Contains(e.path, w.code):
			w.shows = true // or not: a swap does for both
		}
	}
	return acked
}

// sendAgain repeats the whole journal. What was answered is answered by the same
// bytes; what was not is done now, or was done, and is under way for a while.
func (w *writer) sendAgain(t *testing.T) {
	for _, e := range w.journal {
		again := func() *reply {
			return w.till.call(e.method, e.path, e.body, "Idempotency-Key", e.key, "Prefer", "wait=0")
		}
		r := again()
		if e.answer == nil {
			for end := time.Now().Add(30 * time.Second); r.Status == 409 && r.str("code") == "idempotency_in_progress" && time.Now().Before(end); r = again() {
				time.Sleep(250 * time.Millisecond) // it says so: Retry-After
			}
			if r.Status >= 300 {
				t.Errorf("D9: a call that had no answer is answered %d: %s %s: %s", r.Status, e.method, e.path, r.Body)
			}
			e.answer = r
			continue
		}
		if r.Status != e.answer.Status || !bytes.Equal(r.Body, e.answer.Body) || r.Header.Get("Idempotency-Replayed") != "true" || r.Header.Get("Etag") != e.answer.Header.Get("Etag") {
			t.Errorf("D9: %s %s was answered %d %s, and is now %d %s", e.method, e.path, e.answer.Status, e.answer.Body, r.Status, r.Body)
		}
	}
}

// checkLedger holds the journals against requests, codes, histories and events.
func checkLedger(t *testing.T, till *client, writers []*writer) {
	requests := map[string][]m{}
	byID := map[string]m{}
	for _, r := range till.pages("/v1/requests") {
		ref := r["reference"].(string)
		requests[ref] = append(requests[ref], r)
		byID[r["id"].(string)] = r
	}
	created, attached := map[string]int{}, map[string][]string{}
	for _, e := range till.allEvents(0) { // which has no gap
		switch e.Type {
		case "request.created":
			created[e.Request.ID]++
		case "code.attached":
			at := fmt.Sprint(e.Code, " ", e.Epoch)
			attached[at] = append(attached[at], e.Request.ID)
		}
	}
	for id := range byID {
		if created[id] != 1 {
			t.Errorf("D5: %d events tell that %s was made", created[id], id)
		}
	}
	for id := range created {
		if byID[id] == nil {
			t.Errorf("D5: an event tells of %s, which is not there", id)
		}
	}
	for at, ids := range attached {
		if len(ids) != 1 {
			t.Errorf("D1: at %s were attached %v", at, ids)
		}
	}
	references := 0
	for _, w := range writers {
		history := map[string]string{}
		for _, l := range till.pages("/v1/codes/" + w.code + "/history") {
			history[fmt.Sprint(l["epoch"])] = l["request_id"].(string)
		}
		epoch := int64(0)
		for _, e := range w.journal {
			if e.reference != "" {
				references++
				if n := len(requests[e.reference]); n != 1 {
					t.Errorf("D9: %s was made %d times", e.reference, n)
				}
			}
			if e.cancels != "" {
				if s := byID[e.cancels]["status"]; s != "closing" && s != "cancelled" {
					t.Errorf("D5: %s was cancelled, and is %v", e.cancels, s)
				}
			}
			if !strings.Contains(e.path, w.code) || e.answer.Header.Get("Idempotency-Replayed") != "" || e.answer.num("code.epoch") < epoch {
				continue // sent again: it tells how things stood when it was answered
			}
			epoch = e.answer.num("code.epoch")
			if id := e.answer.str("request.id"); id != "" {
				if history[fmt.Sprint(epoch)] != id || !slices.Contains(attached[fmt.Sprint(w.code, " ", epoch)], id) {
					t.Errorf("D5: %s showed %s at epoch %d; its history says %q, its events %v", w.code, id, epoch, history[fmt.Sprint(epoch)], attached[fmt.Sprint(w.code, " ", epoch)])
				}
			}
		}
		if now := till.get("/v1/codes/" + w.code).is(200).num("epoch"); now < epoch {
			t.Errorf("D5: %s was at epoch %d, and is at %d", w.code, epoch, now)
		}
	}
	if len(byID) != references {
		t.Errorf("%d requests were asked for, and there are %d", references, len(byID))
	}
}
