package simulator

import (
	"cmp"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"placard/bankapi/pix"
	"placard/bankapi/relay"
	"placard/linking"
)

// Account is a merchant at the bank.
type Account struct {
	ID     string // part of the wires' addresses: letters, digits, hyphens
	Name   string // what payers see; empty: the id
	Secret string // of the relay wire, see relay.ParseKeys; empty: Options.Secret
	JPM    JPMAccount
	Pix    PixAccount
}

// Options make a simulator. The zero value is a bank with every ability.
type Options struct {
	// PublicURL is where payers reach the bank's app, without a slash at the end;
	// empty: wherever the merchant's call came to.
	PublicURL string

	Accounts  []Account
	Secret    string // good for any account, which is then opened by its first call; empty: none is
	Abilities linking.Abilities
	JPM       JPM              // what J.P. Morgan's contract leaves open
	Pix       Pix              // what API Pix leaves to the bank
	Seed      uint64           // of the faults' chance
	Now       func() time.Time // nil: time.Now
	Log       *slog.Logger     // nil: slog.Default()

	// Client sends callbacks, nil: one with sensible timeouts. Retry are the pauses
	// between attempts at one callback, nil: 1 s to 1 min, six times.
	Client *http.Client
	Retry  []time.Duration
}

// Everything is what a simulator with zero Options.Abilities can do.
var Everything = linking.Abilities{
	Currencies: []linking.Currency{"EUR", "BRL", "GBP", "NOK", "USD", "SEK", "DKK", "CHF", "PLN", "SGD", "HKD", "CNY", "JPY"},
	MaxExpiry:  400 * 24 * time.Hour, OpenEnded: true, Revise: true, Refund: true, Capture: true, Changed: true,
	Adjustable: true, EndsItself: true, Charges: []linking.Charge{linking.Immediate}, Methods: []string{"card", "bank"},
}

// Simulator is the bank. It is an http.Handler with the wires, the payer's app and
// the controls; the controls are methods too.
type Simulator struct {
	routes    *http.ServeMux
	public    string
	wall      func() time.Time
	ledger    *ledger
	faults    *faults
	journal   *journal
	callbacks *callbacks
	jpm       *jpmWire
	pix       *pixWire

	mu     sync.Mutex
	shared relay.Keys // for accounts without keys of their own; nil: there are none
	keys   map[string]relay.Keys
}

// New makes a bank. It must be closed.
func New(o Options) (*Simulator, error) {
	if len(o.Abilities.Currencies) == 0 {
		o.Abilities = Everything
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Client == nil {
		o.Client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: sending, IdleConnTimeout: 10 * time.Second}}
	}
	if o.Retry == nil {
		o.Retry = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute}
	}
	client := *o.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s := &Simulator{
		public: strings.TrimRight(o.PublicURL, "/"), wall: o.Now,
		faults: &faults{}, journal: &journal{now: o.Now, counts: map[string]int{}}, keys: map[string]relay.Keys{},
	}
	s.faults.seed(o.Seed)
	s.callbacks = newCallbacks(&client, o.Retry, s.faults, o.Log)
	wire := relayWire{s}
	s.jpm = newJPMWire(s, o.JPM, o.Secret)
	s.pix = newPixWire(s, o.Pix, o.Secret)
	s.ledger = newLedger(o.Abilities, o.Now, func(r requestSnapshot) {
		wire.tell(r)
		s.jpm.tell(r)
		s.pix.tell(r)
	})
	if o.Secret != "" {
		var err error
		if s.shared, err = relay.ParseKeys(o.Secret); err != nil {
			return nil, err
		}
	}
	for _, a := range o.Accounts {
		if err := s.OpenAccount(a); err != nil {
			return nil, err
		}
	}
	mux := http.NewServeMux()
	wire.mount(mux)
	s.jpm.mount(mux)
	s.pix.mount(mux)
	s.mountApp(mux)
	s.mountControls(mux)
	s.routes = mux
	return s, nil
}

func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.routes.ServeHTTP(w, r) }

// Close stops the bank's clock and callbacks. Its requests are gone.
func (s *Simulator) Close() error {
	s.ledger.stop()
	s.callbacks.stop()
	return nil
}

// OpenAccount opens an account, or changes the name or secret of one.
func (s *Simulator) OpenAccount(a Account) error {
	if a.ID == "" || len(a.ID) > 64 || strings.Trim(a.ID, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
		return refuse("account", "An account's id is 1 to 64 letters, digits and hyphens.")
	}
	if a.Secret != "" {
		keys, err := relay.ParseKeys(a.Secret)
		if err != nil {
			return refuse("secret", "%v", err)
		}
		s.mu.Lock()
		s.keys[a.ID] = keys
		s.mu.Unlock()
	}
	if err := s.jpm.openAccount(a.ID, a.JPM); err != nil {
		return err
	}
	s.pix.openAccount(a.ID, a.Pix)
	return s.ledger.open(a.ID, a.Name)
}

func (s *Simulator) keysOf(account string) (relay.Keys, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if keys, ok := s.keys[account]; ok {
		return keys, nil
	}
	if s.shared == nil || len(account) > 64 {
		return nil, errors.New("no such account")
	}
	return s.shared, nil
}

func (s *Simulator) publicURL(r *http.Request) string {
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return cmp.Or(s.public, scheme+r.Host)
}

// The controls.

// State is how a request stands at the bank.
type State struct {
	ID       string             `json:"id"`
	Status   linking.BankStatus `json:"status"`
	Amount   linking.Amount     `json:"amount"`
	Currency linking.Currency   `json:"currency"`
	Revision int                `json:"revision"`
	Payments []Payment          `json:"payments"`
	Refunds  []Refund           `json:"refunds"`
	BankID   string             `json:"bank_id"`
	Reason   string             `json:"reason,omitempty"`
}

// Payment is money that arrived.
type Payment struct {
	ID     string         `json:"id"`
	Amount linking.Amount `json:"amount"`
	At     time.Time      `json:"at"`
}

// Refund is money that goes back.
type Refund struct {
	ID        string               `json:"id"`
	PaymentID string               `json:"payment_id"`
	Amount    linking.Amount       `json:"amount"`
	Status    linking.RefundStatus `json:"status"`
}

func (s requestSnapshot) state() State {
	out := State{ID: s.id, Status: s.status, Amount: s.money.Amount, Currency: s.money.Currency, Revision: s.revision,
		Payments: []Payment{}, Refunds: []Refund{}, BankID: s.bankID, Reason: s.reason}
	for _, p := range s.payments {
		out.Payments = append(out.Payments, Payment{p.id, p.money.Amount, p.at})
		for _, f := range p.refunds {
			out.Refunds = append(out.Refunds, Refund{f.id, p.id, f.amount, f.status})
		}
	}
	return out
}

// Pay is what a payer does. It is also the body of POST /sim/pay.
type Pay struct {
	RequestID string         `json:"request_id"`       // the merchant's id or the bank's
	BRCode    string         `json:"brcode,omitempty"` // instead of it: what is scanned, which leads to what its location shows
	Amount    linking.Amount `json:"amount,omitempty"` // 0: what is asked for
	Times     int            `json:"times,omitempty"`  // 0: once
	Hold      bool           `json:"hold,omitempty"`   // begin only: the request is processing
	Force     bool           `json:"force,omitempty"`  // though a real bank would refuse
}

// Request returns how a request stands, by the merchant's id or the bank's.
func (s *Simulator) Request(id string) (State, error) {
	r, err := s.ledger.get("", id)
	return r.state(), err
}

// Pay is a payer paying. The error, if any, is what a real bank would say.
func (s *Simulator) Pay(p Pay) (State, error) {
	if p.BRCode != "" && p.RequestID == "" {
		var err error
		if p.RequestID, err = s.Scanned(p.BRCode); err != nil {
			return State{}, err
		}
	}
	r, err := s.ledger.pay(payOrder{id: p.RequestID, amount: p.Amount, times: p.Times, hold: p.Hold, force: p.Force})
	return r.state(), err
}

// Scanned returns what a BR Code of this bank leads to at this moment, as the payer's
// app finds out: the bank's id of the request that its location shows.
func (s *Simulator) Scanned(brcode string) (id string, err error) {
	code, err := pix.DecodeBRCode(brcode)
	if err != nil || code.URL == "" {
		return "", refuse("brcode", "That is no BR Code with a location.")
	}
	return s.pix.scanned(code.URL)
}

// Refuse is the payer saying no, or a payment under way that fails.
func (s *Simulator) Refuse(id string) (State, error) {
	r, err := s.ledger.refusePayment(id)
	return r.state(), err
}

// Fault makes something go wrong from now on.
func (s *Simulator) Fault(f Fault) error { return s.faults.add(f) }

// Seed starts the faults' chance anew, so that a run can be repeated.
func (s *Simulator) Seed(n uint64) { s.faults.seed(n) }

// ClearFaults makes everything work again.
func (s *Simulator) ClearFaults() { s.faults.clear() }

// Callbacks sets how callbacks are sent; value is what Modes say of it.
func (s *Simulator) Callbacks(mode string, value int) error { return s.callbacks.set(mode, value) }

// CallbackCounts tells how many callbacks were delivered, lost, and are pending.
func (s *Simulator) CallbackCounts() map[string]int { return s.callbacks.counted() }

// Refunds decides what becomes of refunds, the pending ones included.
func (s *Simulator) Refunds(outcome linking.RefundStatus) error {
	if !slices.Contains([]linking.RefundStatus{linking.RefundPending, linking.RefundDone, linking.RefundFailed}, outcome) {
		return refuse("status", "A refund is pending, done or failed.")
	}
	s.ledger.settleRefunds(outcome)
	return nil
}

// Advance moves the bank's clock and returns its time.
func (s *Simulator) Advance(d time.Duration) time.Time { return s.ledger.advance(d) }

// Calls lists the calls the bank got about one request, or all for "", and how
// many there were of each route.
func (s *Simulator) Calls(requestID string) ([]Call, map[string]int) {
	return s.journal.list(requestID)
}
