package simulator

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Routes are what faults and the journal of calls name, on every wire. "*" is all
// of them but callback, which is not a call to the bank but one of its own.
var Routes = []string{"token", "create", "revise", "close", "get", "list", "refund", "link", "unlink", "capture", "abilities", "webhook", "location", "callback"}

// Kinds of faults.
const (
	Latency         = "latency"             // the call is handled Value milliseconds late
	Status          = "status"              // answered with the status Value; nothing done
	Hang            = "hang"                // no answer for Value milliseconds (0: as long as the caller waits), then none at all; nothing done
	Reset           = "reset"               // the connection is reset; nothing done
	DropAfterCommit = "drop_after_commit"   // done, and the connection is reset in place of an answer
	StatusAfter     = "status_after_commit" // done, and answered with the status Value all the same
	Garbage         = "garbage"             // done, and answered with something unreadable
	TokenExpired    = "token_expired"       // answered as if the caller's token or signature were no longer good; nothing done
)

// Kinds lists every kind of fault.
var Kinds = []string{Latency, Status, Hang, Reset, DropAfterCommit, StatusAfter, Garbage, TokenExpired}

// Fault is what goes wrong, how often.
type Fault struct {
	Route       string   `json:"route,omitempty"` // empty: "*"
	Kind        string   `json:"kind"`
	Value       int      `json:"value,omitempty"`
	Probability *float64 `json:"probability,omitempty"` // nil: always
	Count       int      `json:"count,omitempty"`       // calls it strikes at the most; 0: no end
	RetryAfter  int      `json:"retry_after,omitempty"` // with Status: seconds, sent as Retry-After
}

// Likely is a probability to put into a Fault.
func Likely(p float64) *float64 { return &p }

func (f Fault) check() error {
	switch {
	case f.Route != "" && f.Route != "*" && !slices.Contains(Routes, f.Route):
		return refuse("route", "There is no route %q.", f.Route)
	case !slices.Contains(Kinds, f.Kind):
		return refuse("kind", "There is no fault %q.", f.Kind)
	case (f.Kind == Status || f.Kind == StatusAfter) && (f.Value < 200 || f.Value > 599):
		return refuse("value", "A status is 200 to 599.")
	case f.Value < 0 || f.Value > 3_600_000 || f.Count < 0 || f.RetryAfter < 0:
		return refuse("value", "The value is out of range.")
	case f.Probability != nil && (*f.Probability < 0 || *f.Probability > 1):
		return refuse("probability", "A probability is 0 to 1.")
	}
	return nil
}

// faults is what goes wrong at present. The chance is seeded, so that a run can be
// repeated call by call.
type faults struct {
	mu     sync.Mutex
	chance *rand.Rand
	list   []*struck
}

type struck struct {
	Fault
	hits int
}

func (f *faults) seed(n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.chance = rand.New(rand.NewPCG(n, 0))
}

func (f *faults) add(one Fault) error {
	if err := one.check(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.list) >= 100 {
		return refuse("full", "A hundred faults are enough.")
	}
	f.list = append(f.list, &struck{Fault: one})
	return nil
}

func (f *faults) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = nil
}

// strike says what happens to one call: how long it is late, and the first other
// fault that hits.
func (f *faults) strike(route string) (late time.Duration, hit Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.list {
		all := (s.Route == "" || s.Route == "*") && route != "callback"
		if !all && s.Route != route || s.Count > 0 && s.hits >= s.Count || s.Kind != Latency && hit.Kind != "" {
			continue
		}
		if s.Probability != nil && f.chance.Float64() >= *s.Probability {
			continue
		}
		s.hits++
		if s.Kind == Latency {
			late += time.Duration(s.Value) * time.Millisecond
		} else {
			hit = s.Fault
		}
	}
	return late, hit
}

// wait is a pause that ends with the caller's patience, or the simulator.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// serve handles one call of a wire as the faults will have it. fail answers a
// refusal in the wire's own way.
func (s *Simulator) serve(w http.ResponseWriter, r *http.Request, route, requestID string, handle http.HandlerFunc, fail func(w http.ResponseWriter, status int, code string)) {
	counting := &counter{ResponseWriter: w}
	w = counting
	noted := s.journal.note(route, requestID, r)
	defer func() { s.journal.answered(noted, counting.status) }()
	late, fault := s.faults.strike(route)
	if late > 0 {
		wait(r.Context(), late)
	}
	switch fault.Kind {
	case Status:
		if fault.RetryAfter > 0 {
			w.Header().Set("Retry-After", fmt.Sprint(fault.RetryAfter))
		}
		fail(w, fault.Value, "fault")
	case TokenExpired:
		fail(w, http.StatusUnauthorized, "token_expired")
	case Hang:
		d := time.Duration(fault.Value) * time.Millisecond
		if d == 0 {
			d = time.Hour
		}
		wait(r.Context(), d)
		cut(w)
	case Reset:
		cut(w)
	case DropAfterCommit:
		handle(&void{header: http.Header{}}, r)
		cut(w)
	case StatusAfter:
		handle(&void{header: http.Header{}}, r)
		fail(w, fault.Value, "fault")
	case Garbage:
		handle(&void{header: http.Header{}}, r)
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte("{\"id\":\"\xff\xfe<html>"))
	default:
		handle(w, r)
	}
}

// void takes an answer nobody will get.
type void struct {
	header http.Header
	body   bytes.Buffer
}

func (v *void) Header() http.Header         { return v.header }
func (v *void) Write(b []byte) (int, error) { return v.body.Write(b) }
func (v *void) WriteHeader(int)             {}

// counter remembers the status of an answer; 0: there was none.
type counter struct {
	http.ResponseWriter
	status int
}

func (c *counter) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *counter) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	return c.ResponseWriter.Write(b)
}

func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// cut ends the connection without an answer, with a reset where it can.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2: the stream is reset
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// readBody reads a small body whole, before any fault: the caller has sent it.
func readBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	return io.ReadAll(http.MaxBytesReader(w, r.Body, most))
}
