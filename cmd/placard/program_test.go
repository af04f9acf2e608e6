package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"placard/linking"
	"placard/linking/storetest"
)

// The tests of this package drive the program as its users do: by command lines,
// signals and HTTP. A running is one command that goes on until it is stopped.
type running struct {
	t          testing.TB
	args       []string
	out, notes said
	cancel     context.CancelFunc
	done       chan struct{}
	code       int // once done is closed
}

// said is what a command has written so far, for whoever waits for a part of it.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed and replaced with every write
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(b)
	if s.more != nil {
		close(s.more)
		s.more = nil
	}
	return len(b), nil
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// look returns what is there, and a channel that closes when there is more.
func (s *said) look() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more == nil {
		s.more = make(chan struct{})
	}
	return s.text.String(), s.more
}

// launch starts a command.
func launch(t testing.TB, h hooks, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, args: args, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.code = runWith(ctx, args, &r.out, &r.notes, h)
	}()
	t.Cleanup(func() {
		cancel()
		<-r.done
	})
	return r
}

// until waits for output that matches, and returns its groups. It fails the test
// if the command ends before, or does not say it within half a minute.
func (r *running) until(pattern string) []string {
	r.t.Helper()
	found, err := r.awaits(pattern)
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

func (r *running) awaits(pattern string) ([]string, error) {
	re := regexp.MustCompile(pattern)
	late := time.After(30 * time.Second)
	for {
		text, more := r.out.look()
		if found := re.FindStringSubmatch(text); found != nil {
			return found, nil
		}
		select {
		case <-more:
		case <-r.done:
			if found := re.FindStringSubmatch(r.out.String()); found != nil {
				return found, nil
			}
			return nil, fmt.Errorf("placard %s ended with %d: %s", strings.Join(r.args, " "), r.code, r.notes.String())
		case <-late:
			return nil, fmt.Errorf("placard %s did not say %q, but: %s%s", strings.Join(r.args, " "), pattern, text, r.notes.String())
		}
	}
}

// stop ends the command as a signal does, and returns its exit code.
func (r *running) stop() int {
	r.t.Helper()
	r.cancel()
	select {
	case <-r.done:
	case <-time.After(60 * time.Second):
		r.t.Fatalf("placard %s does not end", strings.Join(r.args, " "))
	}
	return r.code
}

// perform runs a command to its end.
func perform(t testing.TB, args ...string) (code int, out, notes string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	var o, n said
	code = runWith(ctx, args, &o, &n, hooks{})
	return code, o.String(), n.String()
}

// performs runs a command that must succeed and returns what it said.
func performs(t testing.TB, args ...string) string {
	t.Helper()
	code, out, notes := perform(t, args...)
	if code != done {
		t.Fatalf("placard %s ended with %d: %s", strings.Join(args, " "), code, notes)
	}
	return out
}

// fastDir is a folder of the test's own, in memory where the system has such:
// what is tested here survives the end of a process, not of the machine.
func fastDir(t testing.TB) string {
	t.Helper()
	if dir, err := os.MkdirTemp("/dev/shm", "placard-test-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// freeAddress is a port nobody listens on at this moment.
func freeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// eventually waits for something that no event tells, at most 20 seconds.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	storetest.Eventually(t, what, f)
}

// A house is Placard as an operator runs it: a bank, a store, one or more gateways
// over it, and two merchants with a key for each role.
type house struct {
	t         testing.TB
	store     []string // the flags that name the store
	bank      bank
	gateways  []*running
	addresses []string
	options   houseOptions
	shop      tenant
	other     tenant // another merchant, who must never see anything of the shop
}

type houseOptions struct {
	redis    *storetest.RedisServer // nil: a bolt file
	gateways int                    // 0: one; more than one needs Redis
	hooks    hooks
	serve    []string // further flags
	currency string   // of the shop; empty: EUR
	bare     bool     // no other merchant, and the owner's key alone
	office   func(svc *linking.Service, shop linking.MerchantID)
}

// tenant is a merchant and its tills.
type tenant struct {
	id   linking.MerchantID
	keys map[linking.Role]string
	till *client // the owner's
}

// newHouse builds a house and opens it.
func newHouse(t testing.TB, o houseOptions) *house {
	t.Helper()
	h := &house{t: t, options: o, bank: openBank(t)}
	dir := fastDir(t)
	h.store = []string{"--store", "bolt:" + filepath.Join(dir, "placard.db")}
	if o.redis != nil {
		h.store = []string{"--store", o.redis.URL(), "--secrets-key", filepath.Join(dir, "placard.key"), "--new-store"}
	}
	currency := o.currency
	if currency == "" {
		currency = "EUR"
	}
	h.shop = h.addMerchant("Café Aurora", currency)
	if !o.bare {
		h.other = h.addMerchant("Bakery", "EUR")
		for _, r := range []linking.Role{linking.Manager, linking.Cashier, linking.Agent, linking.Viewer} {
			h.shop.keys[r] = strings.TrimSpace(performs(t, append([]string{"keys", "add", string(h.shop.id), "--role", string(r)}, h.store...)...))
		}
	}
	if o.office != nil {
		h.office(func(svc *linking.Service) { o.office(svc, h.shop.id) })
	}
	for range max(o.gateways, 1) {
		h.open()
	}
	return h
}

// addMerchant makes a merchant with a connection to the house's bank.
func (h *house) addMerchant(name, currency string) tenant {
	h.t.Helper()
	out := performs(h.t, append([]string{
		"merchants", "add", name, "--currency", currency, "--contact", "at the counter", "--json",
		"--relay-url", h.bank.relay(), "--relay-secret", h.bank.secretFile,
	}, h.store...)...)
	var made struct {
		Merchant linking.MerchantID `json:"merchant_id"`
		Key      string             `json:"api_key"`
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		h.t.Fatalf("merchants add said %q", out)
	}
	m := tenant{id: made.Merchant, keys: map[linking.Role]string{linking.Owner: made.Key}}
	m.till = &client{t: h.t, key: made.Key}
	if len(h.addresses) > 0 {
		m.till.base = h.addresses[0]
	}
	return m
}

// office works on the records while no gateway has a bolt store open, for what has
// no command yet.
func (h *house) office(f func(*linking.Service)) {
	h.t.Helper()
	flags := storeFlags{Store: h.store[1], NewStore: true}
	if len(h.store) > 3 {
		flags.SecretsKey = h.store[3]
	}
	svc, _, shut, err := flags.office(&env{ctx: h.t.Context()})
	if err != nil {
		h.t.Fatal(err)
	}
	f(svc)
	if err := shut(); err != nil {
		h.t.Fatal(err)
	}
}

// open starts one more gateway over the store.
func (h *house) open() {
	h.t.Helper()
	for try := 1; ; try++ {
		address := freeAddress(h.t)
		url := "http://" + address
		args := append([]string{"serve", "--listen", address, "--public-url", url}, h.store...)
		g := launch(h.t, h.options.hooks, append(args, h.options.serve...)...)
		if _, err := g.awaits("listens on"); err != nil {
			if try < 5 && strings.Contains(err.Error(), "address already in use") { // somebody else was faster
				continue
			}
			h.t.Fatal(err)
		}
		h.gateways, h.addresses = append(h.gateways, g), append(h.addresses, url)
		break
	}
	h.point(len(h.addresses) - 1)
}

// point makes the tills call one of the gateways.
func (h *house) point(i int) {
	for _, m := range []*tenant{&h.shop, &h.other} {
		if m.till != nil {
			m.till.base = h.addresses[i]
		}
	}
}

// shut stops all gateways as a signal does; each must end well.
func (h *house) shut() {
	h.t.Helper()
	for _, g := range h.gateways {
		if code := g.stop(); code != done {
			h.t.Fatalf("the gateway ended with %d: %s", code, g.notes.String())
		}
	}
	h.gateways, h.addresses = nil, nil
}

// phone is a payer at the house's first gateway.
func (h *house) phone() *client { return &client{t: h.t, base: h.addresses[len(h.addresses)-1]} }
