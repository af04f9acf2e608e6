package bankapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"placard/bankapi"
	"placard/bankapi/relay"
	"placard/bankapi/simulator"
	"placard/linking"
	"placard/linking/boltstore"
)

// A street is a gateway's core over a store, with the guard, a real rail and the simulated
// bank behind real HTTP, in one bubble of time: ten minutes pass in seconds, and every
// deadline, pause and question happens at its moment.
type street struct {
	t      *testing.T
	svc    *linking.Service
	banks  *bankapi.Banks
	sim    *simulator.Simulator
	caller linking.Caller

	mu       sync.Mutex
	whenOpen int // calls of a class whose breaker was open, and that were no probe
	probes   int
	calls    map[string]int
	blind    int             // times that a bank was asked to make what it had
	last     string          // of those
	follows  map[string]bool // requests whose end was refused: the same call asks why
}

// carrier brings the bank's callbacks to the gateway's core.
type carrier func(*http.Request) (*http.Response, error)

func (c carrier) RoundTrip(r *http.Request) (*http.Response, error) { return c(r) }

// newStreet opens a street; end closes it. It is called inside a bubble.
func newStreet(t *testing.T, can linking.Abilities) (s *street, end func()) {
	t.Helper()
	s = &street{t: t, calls: map[string]int{}, follows: map[string]bool{}}
	dir, err := os.MkdirTemp("/dev/shm", "placard-outage-") // fsync costs nothing there
	if err != nil {
		dir = t.TempDir()
	}
	store, err := boltstore.Open(filepath.Join(dir, "street.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	secret := relay.NewSecret()
	s.sim, err = simulator.New(simulator.Options{Secret: secret, Abilities: can, Log: slog.New(slog.DiscardHandler),
		Client: &http.Client{Transport: carrier(s.callback)}})
	if err != nil {
		t.Fatal(err)
	}
	wire := newPipes()
	web := &http.Server{Handler: http.HandlerFunc(s.witness), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	served := make(chan struct{})
	go func() { defer close(served); web.Serve(wire) }()
	sealer, err := bankapi.NewSealer(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	s.banks = bankapi.New(bankapi.Options{Rails: map[string]bankapi.Rail{"relay": relay.Rail{}}, Sealer: sealer, Log: slog.New(slog.DiscardHandler),
		Limits: bankapi.Limits{DialContext: wire.dial}})
	s.svc, err = linking.New(t.Context(), linking.Config{Store: store, Banks: s.banks, PublicURL: "http://127.0.0.1", NewStore: true})
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.svc.CreateMerchant(t.Context(), linking.NewMerchant{Name: "Street", Currency: "EUR"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.svc.ConnectBank(t.Context(), m.ID, "relay", map[string]string{"url": "http://127.0.0.1:80/relay/street"}, map[string]string{"secret": secret}); err != nil {
		t.Fatal(err)
	}
	k, _, err := s.svc.CreateKey(t.Context(), m.ID, linking.NewKey{Role: linking.Owner})
	if err != nil {
		t.Fatal(err)
	}
	s.caller = k.Caller()
	ctx, stop := context.WithCancel(t.Context())
	swept := make(chan struct{})
	go func() { defer close(swept); s.svc.Sweep(ctx) }()
	return s, func() {
		stop()
		<-swept
		s.sim.ClearFaults()
		s.sim.Close()
		s.svc.Close(context.Background())
		s.banks.Close()
		web.Close()
		wire.Close()
		<-served
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
	}
}

func (s *street) callback(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	status := http.StatusNoContent
	connection := linking.ConnectionID(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
	if err := s.svc.Callback(r.Context(), "relay", connection, r.Header, body); err != nil {
		s.t.Errorf("a callback was not taken: %v", err)
		status = http.StatusInternalServerError
	}
	return &http.Response{StatusCode: status, Body: http.NoBody, Header: http.Header{}}, nil
}

// witness stands before the bank.
func (s *street) witness(w http.ResponseWriter, r *http.Request) {
	class, id := bankapi.ClassRead, r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	var asked struct{ Revision int }
	if r.Method != http.MethodGet {
		class = bankapi.ClassMutate
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		json.Unmarshal(body, &asked)
	}
	if asked.Revision == 1 {
		class = bankapi.ClassCreate
	}
	_, unknown := s.sim.Request(id)
	s.mu.Lock()
	if r.Method == http.MethodGet && s.follows[id] { // a part of ending it
		class = bankapi.ClassMutate
	}
	delete(s.follows, id)
	s.mu.Unlock()
	now, open, trying := time.Now(), false, false
	for _, b := range s.banks.States() {
		open = open || b.Class == class && b.State == "open" && b.Since.Before(now)
		trying = trying || b.State == "half-open"
	}
	s.mu.Lock()
	s.calls[string(class)]++
	switch {
	case trying:
		s.probes++
	case open:
		s.whenOpen++
		s.last = fmt.Sprintf("%s %s at %v", r.Method, r.URL.Path, now)
	}
	if class == bankapi.ClassCreate && unknown == nil {
		s.blind++
	}
	s.mu.Unlock()
	seen := &status{ResponseWriter: w}
	s.sim.ServeHTTP(seen, r)
	if r.Method == http.MethodDelete && seen.code == http.StatusConflict {
		s.mu.Lock()
		s.follows[id] = true
		s.mu.Unlock()
	}
}

// status remembers how a call was answered.
type status struct {
	http.ResponseWriter
	code int
}

func (w *status) WriteHeader(code int)        { w.code = code; w.ResponseWriter.WriteHeader(code) }
func (w *status) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// tally is what the tills and payers of a street saw.
type tally struct {
	mu                             sync.Mutex
	sales, changes, paid, cash     int
	wrongShown, wrongTender, shown int
	slowest                        time.Duration // answer to a till
	requests                       []linking.RequestID
	sale                           map[linking.RequestID]linking.SaleID
	problem                        string
}

func (y *tally) add(f func()) { y.mu.Lock(); defer y.mu.Unlock(); f() }

// day is how long a street sells: before, during and after the outage.
const day = 15 * time.Minute

// till sells n times at one code. What it wanted last and was answered is the only
// amount that a payer may see.
func (s *street) till(y *tally, no, n int, rnd *rand.Rand) {
	ctx := s.t.Context()
	code, err := s.svc.MakeCode(ctx, s.caller, linking.NewCode{Kind: linking.Counter, Label: fmt.Sprint("till ", no)})
	if err != nil {
		s.t.Error(err)
		return
	}
	timed := func(f func() error) error {
		start := time.Now()
		err := f()
		y.add(func() { y.slowest = max(y.slowest, time.Since(start)) })
		return err
	}
	pause := func(most time.Duration) { time.Sleep(time.Duration(rnd.Int64N(int64(most)))) }
	opened := time.Now()
	for i := range n {
		time.Sleep(time.Until(opened.Add(day / time.Duration(n) * time.Duration(i)))) // the next customer
		sale := linking.SaleID(fmt.Sprintf("till %d sale %d", no, i))
		want := linking.Amount(100 + rnd.IntN(5000))
		var id linking.RequestID
		err := timed(func() error {
			a, err := s.svc.Attach(ctx, s.caller, linking.AttachCommand{Code: code.Token, Replace: true, Wait: 5 * time.Second,
				New: &linking.NewRequest{Amount: want, Sale: sale, ExpiresIn: "10m"}})
			if err == nil {
				id = a.Request.ID
			}
			return err
		})
		if err != nil {
			s.t.Errorf("attach: %v", err)
			return
		}
		y.add(func() { y.sales++; y.requests = append(y.requests, id); y.sale[id] = sale })
		changes, paid := rnd.IntN(3), false
		page := ""
		for look := 0; look < 20 && !paid; look++ {
			pause(4 * time.Second)
			if changes > 0 && rnd.IntN(3) == 0 {
				changes--
				wanted := linking.Amount(100 + rnd.IntN(5000))
				err := timed(func() error {
					_, err := s.svc.PatchRequest(ctx, s.caller, string(id), linking.Patch{Amount: &wanted}, time.Duration(rnd.IntN(2))*5*time.Second)
					return err
				})
				if err == nil {
					want, page = wanted, ""
					y.add(func() { y.changes++ })
				} else if code := linking.Problem(err).Code; code != "payment_in_flight" && code != "already_paid" && code != "not_allowed_in_status" {
					s.t.Errorf("change: %v", err)
				}
			}
			v, err := s.svc.Scan(ctx, code.Token, page, true)
			if err != nil {
				s.t.Errorf("scan: %v", err)
				return
			}
			page = v.Sealed
			if r := v.Seen.Request; v.Seen.Resolution == linking.Payable {
				held, _ := s.sim.Request(string(id))
				y.add(func() {
					y.shown++
					if r.Money.Amount != want || r.ID != id || held.Amount != want {
						y.wrongShown++
						y.problem = fmt.Sprintf("a page shows %d for %s, the till wants %d, the bank holds %d", r.Money.Amount, r.ID, want, held.Amount)
					}
				})
				if rnd.IntN(3) == 0 {
					_, pressed, err := s.svc.Press(ctx, code.Token, linking.PressCommand{Scan: page, Revision: r.Revision})
					if err == nil {
						page = pressed.Sealed
						pause(3 * time.Second)
						s.sim.Pay(simulator.Pay{RequestID: string(id)}) // as far as the bank lets him
						a, err := s.svc.AwaitRequest(ctx, s.caller, string(id), linking.Active, 25*time.Second)
						paid = err == nil && a.Request.Status == linking.Paid
					}
				}
			}
			if a, err := s.svc.Request(ctx, s.caller, string(id)); err == nil && a.Request.Status == linking.Paid {
				paid = true
			}
		}
		if paid {
			y.add(func() { y.paid++ })
			continue
		}
		_ = timed(func() error {
			a, err := s.svc.CancelRequest(ctx, s.caller, string(id), linking.ByOtherMeans, 5*time.Second)
			if err == nil && a.Tender.Allowed {
				held, missing := s.sim.Request(string(id))
				y.add(func() {
					y.cash++
					if missing == nil && (held.Status == linking.BankOpen || len(held.Payments) > 0) {
						y.wrongTender++
						y.problem = fmt.Sprintf("the till may take cash for %s, and the bank has it %s", id, held.Status)
					}
				})
			}
			return err
		})
	}
}

// TestOutage: ten minutes in which the bank fails in every way, in the middle of sales
// whose amounts change. make prove has 1,000 sales of them.
func TestOutage(t *testing.T) {
	tills, each := 10, 12
	if os.Getenv("PLACARD_PROVE") == "1" {
		tills, each = 25, 40
	}
	const calm, outage = 2 * time.Minute, 10 * time.Minute
	synctest.Test(t, func(t *testing.T) {
		s, end := newStreet(t, simulator.Everything)
		defer end()
		y := &tally{sale: map[linking.RequestID]linking.SaleID{}}
		start := time.Now()
		var street sync.WaitGroup
		for no := range tills {
			street.Go(func() { s.till(y, no, each, rand.New(rand.NewPCG(uint64(no), 13))) })
		}
		time.Sleep(calm)
		for _, f := range []simulator.Fault{
			{Kind: simulator.Status, Value: 503}, {Kind: simulator.Hang}, {Kind: simulator.Reset}, {Kind: simulator.Latency, Value: 7900},
			{Kind: simulator.StatusAfter, Value: 500}, {Kind: simulator.DropAfterCommit}, {Kind: simulator.Status, Value: 500},
			{Kind: simulator.Hang, Value: 7000}, {Kind: simulator.Garbage}, {Kind: simulator.StatusAfter, Value: 502},
		} {
			s.sim.ClearFaults()
			s.sim.Callbacks(simulator.Lost, 0)
			if err := s.sim.Fault(f); err != nil {
				t.Error(err)
			}
			time.Sleep(outage / 10)
		}
		during := s.count()
		s.sim.ClearFaults()
		s.sim.Callbacks(simulator.Normal, 0)
		back := time.Now()
		waiting := s.unsettled(y)
		drained := time.Duration(-1)
		for time.Since(back) < 10*time.Minute {
			left := 0
			for id := range waiting {
				if s.settled(id) {
					delete(waiting, id)
				} else {
					left++
				}
			}
			if left == 0 {
				drained = time.Since(back)
				break
			}
			time.Sleep(time.Second)
		}
		stuck := len(waiting)
		street.Wait()
		time.Sleep(time.Minute)

		// Bank and gateway agree to the cent, and no sale was paid twice.
		paidFor := map[linking.SaleID]int{}
		for _, id := range y.requests {
			a, err := s.svc.Request(t.Context(), s.caller, string(id))
			if err != nil {
				t.Fatal(err)
			}
			held, _ := s.sim.Request(string(id))
			var there linking.Amount
			for _, p := range held.Payments {
				there += p.Amount
			}
			var here linking.Amount
			for _, p := range a.Request.Payments {
				here += p.Money.Amount
			}
			paidFor[y.sale[id]] += len(held.Payments)
			if there != here {
				t.Errorf("%s: the bank has %d, we know of %d", id, there, here)
			}
			if !a.Request.Status.Final() && a.Request.Status != linking.Review {
				stuck++
				t.Errorf("%s is %s in the end", id, a.Request.Status)
			}
		}
		doubles := s.blind
		for sale, n := range paidFor {
			if n > 1 {
				doubles++
				t.Errorf("%s was paid %d times", sale, n)
			}
		}
		calls := s.count()
		names := make([]string, 0, len(calls))
		for name := range calls {
			names = append(names, name)
		}
		sort.Strings(names)
		t.Logf("%d sales with %d changes of amount in %v, %d paid, %d for cash; %d payable pages looked at", y.sales, y.changes, time.Since(start).Round(time.Second), y.paid, y.cash, y.shown)
		t.Logf("wrong amounts shown %d, double creates %d, stuck afterwards %d, cash allowed while the bank could still be paid %d", y.wrongShown, doubles, stuck, y.wrongTender)
		t.Logf("calls made while open %d, probes %d; calls in the outage %v, in all %v; slowest answer to a till %v; drained in %v", s.whenOpen, s.probes, during, calls, y.slowest.Round(time.Millisecond), drained)
		switch {
		case y.wrongShown > 0 || y.wrongTender > 0:
			t.Error(y.problem)
		case doubles > 0, stuck > 0, s.whenOpen > 0:
			t.Errorf("see the numbers above; last when open: %s", s.last)
		case drained < 0 || drained > 3*time.Minute:
			t.Errorf("what waited for the bank was settled %v after it came back", drained)
		case y.slowest > 10*time.Second:
			t.Errorf("a till waited %v", y.slowest)
		case y.sales != tills*each || y.changes < y.sales/4 || y.paid < y.sales/5 || y.cash < y.sales/10 || y.shown < y.sales/2 || s.probes == 0:
			t.Error("this was no day's work")
		}
	})
}

func (s *street) count() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int{}
	for k, n := range s.calls {
		out[k] = n
	}
	return out
}

// unsettled are the requests about which something waits for the bank.
func (s *street) unsettled(y *tally) map[linking.RequestID]bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	out := map[linking.RequestID]bool{}
	for _, id := range y.requests {
		if !s.settled(id) {
			out[id] = true
		}
	}
	return out
}

func (s *street) settled(id linking.RequestID) bool {
	a, err := s.svc.Request(s.t.Context(), s.caller, string(id))
	if err != nil {
		s.t.Error(err)
		return false
	}
	r := a.Request
	return r.Status.Final() || r.Status == linking.Active && !r.Bank.Unsure || r.Status == linking.Review || r.Status == linking.Processing
}
