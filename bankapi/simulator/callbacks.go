package simulator

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Modes of callbacks.
const (
	Normal    = "normal"
	Lost      = "lost"      // none is sent
	Duplicate = "duplicate" // each is sent twice, or Value times
	Reorder   = "reorder"   // each waits for the next, which goes first; for a second, or Value milliseconds
	Delay     = "delay"     // each is sent 5 s late, or Value milliseconds
)

// Modes lists every mode of callbacks.
var Modes = []string{Normal, Lost, Duplicate, Reorder, Delay}

const (
	// maxPending bounds the callbacks that wait; further ones are lost, as they may
	// be at any bank.
	maxPending = 10_000
	// sending is how many go out at a time.
	sending = 8
)

// message is one callback, made anew for each attempt because signatures age.
type message struct {
	url string
	// sign returns the body and sets the headers.
	sign func(h http.Header) (body []byte)
}

// callbacks tells merchants of news, as real banks do: with a repeat when it
// fails, at least once at best.
type callbacks struct {
	client *http.Client
	log    *slog.Logger
	faults *faults
	retry  []time.Duration // pauses between attempts
	ctx    context.Context // ends with the simulator
	end    context.CancelFunc
	slots  chan struct{}
	all    sync.WaitGroup

	mu      sync.Mutex
	mode    string
	value   int
	pending int
	waiting *message // in mode reorder: it goes after the next one
	counts  map[string]int
}

func newCallbacks(client *http.Client, retry []time.Duration, f *faults, log *slog.Logger) *callbacks {
	ctx, end := context.WithCancel(context.Background())
	return &callbacks{client: client, log: log, faults: f, retry: retry, ctx: ctx, end: end, mode: Normal,
		slots: make(chan struct{}, sending), counts: map[string]int{}}
}

func (c *callbacks) set(mode string, value int) error {
	if !slices.Contains(Modes, mode) || value < 0 || value > 3_600_000 || mode == Duplicate && value > 100 {
		return refuse("mode", "There is no such mode.")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mode, c.value = mode, value
	c.release()
	return nil
}

// send queues one callback and returns at once.
func (c *callbacks) send(m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.mode {
	case Lost:
		c.counts["lost"]++
	case Duplicate:
		for range max(c.value, 2) {
			c.post(0, m)
		}
	case Delay:
		c.post(c.millis(5000), m)
	case Reorder:
		if c.waiting == nil {
			c.waiting = &m
			held := c.waiting
			time.AfterFunc(c.millis(1000), func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				if c.waiting == held {
					c.release()
				}
			})
			return
		}
		c.post(0, m, *c.waiting)
		c.waiting = nil
	default:
		c.post(0, m)
	}
}

func (c *callbacks) millis(otherwise int) time.Duration {
	if c.value > 0 {
		otherwise = c.value
	}
	return time.Duration(otherwise) * time.Millisecond
}

// release sends what waits for the next one. It is called with mu held.
func (c *callbacks) release() {
	if c.waiting != nil {
		c.post(0, *c.waiting)
		c.waiting = nil
	}
}

// post delivers in the background, one after the other. It is called with mu held.
func (c *callbacks) post(after time.Duration, messages ...message) {
	if c.pending >= maxPending || c.ctx.Err() != nil {
		c.counts["lost"] += len(messages)
		return
	}
	c.pending += len(messages)
	c.all.Go(func() {
		wait(c.ctx, after)
		for _, m := range messages {
			fate := "lost"
			if c.deliver(m) {
				fate = "delivered"
			}
			c.mu.Lock()
			c.pending--
			c.counts[fate]++
			c.mu.Unlock()
		}
	})
}

// deliver tries until the merchant has taken the callback, or it is given up.
func (c *callbacks) deliver(m message) bool {
	for n := 0; ; n++ {
		if c.attempt(m) {
			return true
		}
		if n >= len(c.retry) || c.ctx.Err() != nil {
			return false
		}
		wait(c.ctx, c.retry[n])
	}
}

// attempt reports whether the merchant took the callback.
func (c *callbacks) attempt(m message) bool {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-c.ctx.Done():
		return false
	}
	late, fault := c.faults.strike("callback")
	wait(c.ctx, late)
	if fault.Kind != "" && fault.Kind != Garbage && fault.Kind != DropAfterCommit {
		return false // it never arrives
	}
	ctx, cancel := context.WithTimeout(c.ctx, 15*time.Second)
	defer cancel()
	h := http.Header{}
	body := m.sign(h)
	if fault.Kind == Garbage {
		body = []byte("{\"id\":\"\xff\xfe<html>")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url, bytes.NewReader(body))
	if err != nil {
		return false
	}
	req.Header = h
	res, err := c.client.Do(req)
	if err != nil {
		c.log.Debug("callback not delivered", "error", err)
		return false
	}
	res.Body.Close()
	return res.StatusCode >= 200 && res.StatusCode < 300 && fault.Kind != DropAfterCommit
}

func (c *callbacks) counted() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := map[string]int{"pending": c.pending}
	for k, n := range c.counts {
		counts[k] = n
	}
	return counts
}

func (c *callbacks) stop() {
	c.mu.Lock()
	c.end() // under the lock: nothing is posted any more
	c.mu.Unlock()
	c.all.Wait()
	c.client.CloseIdleConnections()
}
