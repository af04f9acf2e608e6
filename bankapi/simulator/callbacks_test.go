package simulator

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// inbox collects callbacks by the id of the request, as they come.
func inbox(t *testing.T, answer func(n int64) int) (url string, next func() string, count func() int64) {
	t.Helper()
	got := make(chan string, 1000)
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := answer(n.Add(1))
		var doc struct{ ID string }
		json.NewDecoder(r.Body).Decode(&doc)
		w.WriteHeader(status)
		if status < 300 {
			got <- doc.ID
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, func() string {
		t.Helper()
		select {
		case id := <-got:
			return id
		case <-time.After(10 * time.Second):
			t.Fatal("no callback came")
			return ""
		}
	}, n.Load
}

func TestCallbackModes(t *testing.T) {
	b := newBank(t, Options{Retry: []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond}})
	url, next, count := inbox(t, func(int64) int { return 204 })
	pay := func() string {
		t.Helper()
		id := b.make(`,"callback_url":"` + url + `/x"`)
		if _, err := b.Pay(Pay{RequestID: id}); err != nil {
			t.Fatal(err)
		}
		return id
	}
	if id := pay(); next() != id {
		t.Fatal("normal: another's callback")
	}
	mode := func(body string) {
		t.Helper()
		if status, doc := b.control("POST", "/sim/callbacks", body); status != 200 {
			t.Fatalf("%d %v", status, doc)
		}
	}
	mode(`{"mode":"duplicate"}`)
	for id, i := pay(), 0; i < 2; i++ {
		if next() != id {
			t.Fatal("duplicate: another's callback")
		}
	}
	mode(`{"mode":"reorder","value":60000}`)
	first, second := pay(), pay()
	if a, b := next(), next(); a != second || b != first {
		t.Fatalf("reorder: %s before %s", a, b)
	}
	last := pay()
	mode(`{"mode":"delay","value":200}`)
	if next() != last {
		t.Fatal("reorder: the last one stays behind when the mode changes")
	}
	start := time.Now()
	if id := pay(); next() != id || time.Since(start) < 200*time.Millisecond {
		t.Fatalf("delay: after %v", time.Since(start))
	}
	before := count()
	mode(`{"mode":"lost"}`)
	pay()
	mode(`{"mode":"normal"}`)
	if id := pay(); next() != id || count() != before+1 {
		t.Fatal("lost: it came all the same")
	}
	if c := b.CallbackCounts(); c["lost"] != 1 {
		t.Fatalf("%v", c)
	}
	if status, _ := b.control("POST", "/sim/callbacks", `{"mode":"shout"}`); status != 422 {
		t.Fatal("a mode nobody knows")
	}
}

func TestCallbacksAreRepeatedUntilTaken(t *testing.T) {
	b := newBank(t, Options{Retry: []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond}})
	url, next, count := inbox(t, func(n int64) int { return []int{500, 302, 401, 200}[min(n-1, 3)] })
	id := b.make(`,"callback_url":"` + url + `"`)
	b.Pay(Pay{RequestID: id})
	if next() != id || count() != 4 {
		t.Fatalf("after %d attempts", count())
	}
	// Faults of the route callback hit the way to the merchant.
	b.Fault(Fault{Route: "callback", Kind: Reset, Count: 2})
	id = b.make(`,"callback_url":"` + url + `"`)
	b.Pay(Pay{RequestID: id})
	if next() != id {
		t.Fatal("another's callback")
	}
}
