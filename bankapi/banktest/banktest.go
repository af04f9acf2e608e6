// Package banktest holds every rail to the contract of linking.Bank, against the
// simulator over real HTTP. A rail's tests call Run.
//
// Each case is a claim about the rail, not about the simulator: what a till, the
// sweeper and the books rely on. What a rail cannot do is not left out but asserted
// to be refused, with nothing done at the bank.
package banktest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"placard/bankapi/simulator"
	"placard/linking"
)

// Fixture is one rail before one fresh simulator.
type Fixture struct {
	Sim *simulator.Simulator

	// Open returns the rail's bank for an account of the simulator; Neighbour for
	// another account; Stranger with credentials the simulator does not take.
	Open, Neighbour, Stranger func(t *testing.T, at Target) linking.Bank

	Abilities linking.Abilities // what the simulator was told to be able to
	Currency  linking.Currency  // one of them
	Foreign   linking.Currency  // not one of them

	// Lies falsify an answer of this rail in the field the lie is about. doc is the
	// answer's JSON object, of any call of the rail's; numbers in it are json.Number.
	Lies map[Lie]func(doc map[string]any)

	// CallbackTo tells the bank where callbacks go, where a request does not.
	CallbackTo func(url string)
	Proof      Proof // of its callbacks

	// OnePayment is a bank that shows one payment of a request and no more.
	OnePayment bool

	// Instant is a rail on which a payment is there or it is not: of one under way the
	// bank says nothing, and neither a close nor a change stops it.
	Instant bool

	// OneCurrency is a rail whose answers name no currency, since there is one only.
	OneCurrency bool

	// Page is the most that the bank lists at once; 0: 200.
	Page int

	// Witness stands before the simulator and sees what passes; nil: nobody does.
	Witness func(bank http.Handler) http.Handler
}

// Proof is how a rail's callbacks show that they are the bank's. The zero value is
// a signature over the body and the time, in headers named Webhook-….
type Proof struct {
	Headers  []string // those that must be there, as they are
	OfSender bool     // they prove who sends, and not what
	Ageless  bool     // they do not prove when
}

// Target is where a bank is to be reached, and how patiently.
type Target struct {
	URL      string           // scheme, host and port
	CA       []byte           // PEM of the authority to trust; nil: the system's
	Now      func() time.Time // the merchant's clock
	Patience time.Duration    // for one call
}

// Lie is one way in which a well-formed answer can be wrong.
type Lie string

const (
	OtherID         Lie = "another request's id"
	NoID            Lie = "no id"
	UnknownStatus   Lie = "a status nobody knows"
	NoStatus        Lie = "no status"
	UnknownCurrency Lie = "a currency nobody knows"
	ForeignCurrency Lie = "another currency than was asked for" // wrong in the answer to Put only
	NoAmount        Lie = "no amount"
	ZeroAmount      Lie = "an amount of nothing"
	NegativeAmount  Lie = "an amount below nothing"
	HugeAmount      Lie = "an amount beyond all bounds"
	FractionAmount  Lie = "an amount with half a cent"
	TextAmount      Lie = "an amount that is a word"
	NoWay           Lie = "no way to pay"
	HostileWay      Lie = "a way that runs a script"
	BadTime         Lie = "an expiry that is no time"
	PaidForNothing  Lie = "paid, without a payment"
	NamelessPayment Lie = "a payment without an id"
	TwinPayments    Lie = "two payments with one id"
	TimelessPayment Lie = "a payment without a time"
	WrongRefund     Lie = "a refund of a payment that is not there"

	// In the answer to Refund.
	OtherRefund         Lie = "another refund's id"
	OtherRefundAmount   Lie = "another amount than was to go back"
	OtherRefundCurrency Lie = "another currency than was to go back"
	UnknownRefundStatus Lie = "a refund in a state nobody knows"

	// OtherAmount is no fault of form: it has to come through as it is, so that it can
	// be compared with what was asked.
	OtherAmount Lie = "another amount than was asked for"
)

// world is one case: a bank reached through a man in the middle.
type world struct {
	Fixture
	t      *testing.T
	ctx    context.Context
	middle *middle
	bank   linking.Bank
	skew   atomic.Int64 // of the merchant's clock, nanoseconds
	inbox  *inbox
}

// Run checks one rail. setup makes a fixture for each case.
func Run(t *testing.T, setup func(t *testing.T) Fixture) {
	for _, group := range [][]claim{makingClaims, revisingClaims, endingClaims, payingClaims, refundClaims, captureClaims,
		listClaims, callbackClaims, honestyClaims, networkClaims} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				f := setup(t)
				c.check(newWorld(t, f))
			})
		}
	}
	t.Run("NoLieIsBelieved", func(t *testing.T) { noLieIsBelieved(t, setup) })
}

// claim is one case of the suite.
type claim struct {
	name  string
	check func(w *world)
}

func newWorld(t *testing.T, f Fixture) *world {
	w := &world{Fixture: f, t: t, ctx: t.Context(), inbox: newInbox(t)}
	var bank http.Handler = f.Sim
	if f.Witness != nil {
		bank = f.Witness(bank)
	}
	w.middle = newMiddle(t, bank)
	w.bank = f.Open(t, w.target(8*time.Second))
	if f.CallbackTo != nil {
		f.CallbackTo(w.inbox.server.URL + "/callbacks")
	}
	return w
}

func (w *world) target(patience time.Duration) Target {
	return Target{URL: w.middle.server.URL, Now: w.now, Patience: patience}
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.skew.Load())) }

var serial atomic.Uint64

// newID is an id no case ever used. Like every request's it says when it was made.
func newID() linking.RequestID {
	const symbols = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	made := make([]byte, 9)
	for i, ms := 8, time.Now().UnixMilli(); i >= 0; i, ms = i-1, ms>>5 {
		made[i] = symbols[ms&31]
	}
	return linking.RequestID(fmt.Sprintf("01%s%015X", made, serial.Add(1)))
}

// slack is how far the bank's end of a request may be from ours: banks count the
// time left in whole seconds from when they heard.
const slack = 5 * time.Second

func sameEnd(x, y time.Time) bool { return x.Sub(y).Abs() <= slack }

// ask is an ordinary request: 12.50, a quarter of an hour.
func (w *world) ask() linking.Ask {
	end := w.Sim.Advance(0).Add(15 * time.Minute).Truncate(time.Second)
	return linking.Ask{
		BankRef: linking.BankRef{ID: newID(), Charge: linking.Immediate}, Revision: 1,
		Money: linking.Money{Amount: 1250, Currency: w.Currency}, ExpiresAt: end, TimeLeft: time.Until(end),
		Reference: "Table 4", CallbackURL: w.inbox.server.URL + "/callbacks", ReturnURL: "https://shop.example/thanks",
	}
}

// open makes an ordinary request and returns it.
func (w *world) open() linking.Ask {
	w.t.Helper()
	a := w.ask()
	w.put(a)
	return a
}

func (w *world) put(a linking.Ask) linking.BankState {
	w.t.Helper()
	s, err := w.bank.Put(w.ctx, a)
	if err != nil {
		w.t.Fatalf("Put: %v", err)
	}
	return s
}

func (w *world) get(a linking.Ask) linking.BankState {
	w.t.Helper()
	s, err := w.bank.Get(w.ctx, a.BankRef)
	if err != nil {
		w.t.Fatalf("Get: %v", err)
	}
	return s
}

func (w *world) pay(p simulator.Pay) simulator.State {
	w.t.Helper()
	s, err := w.Sim.Pay(p)
	if err != nil {
		w.t.Fatalf("the payer could not pay: %v", err)
	}
	return s
}

func (w *world) paid(a linking.Ask) simulator.State {
	w.t.Helper()
	return w.pay(simulator.Pay{RequestID: string(a.ID)})
}

func (w *world) fault(f simulator.Fault) {
	w.t.Helper()
	if err := w.Sim.Fault(f); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) status(s linking.BankState, want linking.BankStatus) {
	w.t.Helper()
	if s.Status != want {
		w.t.Fatalf("the request is %q, want %q", s.Status, want)
	}
}

// held is what the simulator itself holds.
func (w *world) held(a linking.Ask) simulator.State {
	w.t.Helper()
	s, err := w.Sim.Request(string(a.ID))
	if err != nil {
		w.t.Fatalf("the bank: %v", err)
	}
	return s
}

// failed asserts the class of an error.
func (w *world) failed(err error, want ...linking.BankErrorClass) *linking.BankError {
	w.t.Helper()
	return failed(w.t, err, want...)
}

func failed(t *testing.T, err error, want ...linking.BankErrorClass) *linking.BankError {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want class %q", want)
	}
	be, ok := errors.AsType[*linking.BankError](err)
	if !ok {
		t.Fatalf("%T is no *linking.BankError: %v", err, err)
	}
	if !slices.Contains(want, be.Class) {
		t.Fatalf("class %q (%s), want %q: %v", be.Class, be.Code, want, err)
	}
	if be.Code == "" || be.Detail == "" {
		t.Fatalf("an error without code or detail: %v", err)
	}
	return be
}

// absent asserts that the bank never heard of the request.
func (w *world) absent(a linking.Ask) {
	w.t.Helper()
	_, err := w.bank.Get(w.ctx, a.BankRef)
	w.failed(err, linking.BankAbsent)
}

// changes counts the calls about a request that could have changed something.
func (w *world) changes(a linking.Ask) int {
	_, counts := w.Sim.Calls(string(a.ID))
	return counts["create"] + counts["revise"] + counts["close"] + counts["capture"] + counts["refund"] + counts["link"] + counts["unlink"]
}

// middle is a man in the middle: he hands every call on to the bank, and may alter
// what it answers.
type middle struct {
	server *httptest.Server
	bank   http.Handler

	mu     sync.Mutex
	tamper func(a *answer)
	last   *http.Request // as it came in, with its body in lastBody
	body   []byte
}

type answer struct {
	status int
	header http.Header
	body   []byte
	cut    int // >0: only so many bytes of the body are sent, and the connection ends
}

func newMiddle(t *testing.T, bank http.Handler) *middle {
	m := &middle{bank: bank}
	m.server = httptest.NewServer(m)
	t.Cleanup(m.server.Close)
	return m
}

// alter sets what happens to every answer from now on; nil: nothing.
func (m *middle) alter(tamper func(a *answer)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tamper = tamper
}

func (m *middle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	m.mu.Lock()
	m.last, m.body = r.Clone(context.Background()), body
	tamper := m.tamper
	m.mu.Unlock()
	if tamper == nil {
		m.bank.ServeHTTP(w, r)
		return
	}
	rec := httptest.NewRecorder()
	m.bank.ServeHTTP(rec, r)
	a := &answer{status: rec.Code, header: rec.Header(), body: rec.Body.Bytes()}
	tamper(a)
	for k, v := range a.header {
		w.Header()[k] = v
	}
	if a.status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	if a.cut > 0 {
		w.Write(a.body[:min(a.cut, len(a.body))])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	w.Write(a.body)
}

// document alters the JSON object of an answer.
func document(alter func(doc map[string]any)) func(a *answer) {
	return func(a *answer) {
		var doc map[string]any
		d := json.NewDecoder(bytes.NewReader(a.body))
		d.UseNumber()
		if d.Decode(&doc) != nil {
			return
		}
		alter(doc)
		a.body, _ = json.Marshal(doc)
	}
}

// inbox is the merchant's side of callbacks: it keeps what the bank sends.
type inbox struct {
	server *httptest.Server
	got    chan callback
}

type callback struct {
	header http.Header
	body   []byte
}

func newInbox(t *testing.T) *inbox {
	in := &inbox{got: make(chan callback, 100)}
	in.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		select {
		case in.got <- callback{r.Header.Clone(), body}:
		default: // of many, the first hundred do
		}
	}))
	t.Cleanup(in.server.Close)
	return in
}

// next waits for one callback.
func (w *world) next() callback {
	w.t.Helper()
	select {
	case c := <-w.inbox.got:
		return c
	case <-time.After(10 * time.Second):
		w.t.Fatal("no callback came")
		panic("unreachable")
	}
}
