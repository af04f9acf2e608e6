package bankapi_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"placard/bankapi"
	"placard/bankapi/relay"
	"placard/bankapi/simulator"
	"placard/linking"
)

func sealer(t *testing.T) *bankapi.Sealer {
	t.Helper()
	s, err := bankapi.NewSealer(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func connection(t *testing.T, url, secret string) *linking.Connection {
	t.Helper()
	c := &linking.Connection{ID: "01CONNECTION00", Rail: "relay", Settings: map[string]string{"url": url}, Revision: 1}
	var err error
	if c.Sealed, err = sealer(t).Seal(c.ID, c.Rail, map[string]bankapi.Secret{"secret": bankapi.NewSecret(secret)}); err != nil {
		t.Fatal(err)
	}
	return c
}

func newBanks(t *testing.T, o bankapi.Options) *bankapi.Banks {
	t.Helper()
	o.Rails = map[string]bankapi.Rail{"relay": relay.Rail{}}
	o.Sealer = sealer(t)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b := bankapi.New(o)
	t.Cleanup(func() { b.Close() })
	return b
}

func TestOpenKeepsOneBankForEachRevision(t *testing.T) {
	banks := newBanks(t, bankapi.Options{})
	c := connection(t, "https://relay.example", relay.NewSecret())
	first, err := banks.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := banks.Open(c)
	if first != again {
		t.Fatal("the same revision is opened twice: its breakers would start anew")
	}
	newer := *c
	newer.Revision = 2
	second, err := banks.Open(&newer)
	if err != nil || second == first {
		t.Fatalf("a new revision got the old bank: %v", err)
	}
	if stale, _ := banks.Open(c); stale != second {
		t.Fatal("who holds an older revision does not get the newest bank")
	}
	if n := len(banks.States()); n != len(bankapi.Classes) {
		t.Fatalf("%d states of one connection", n)
	}
}

func TestOpenSaysWhatCannotWork(t *testing.T) {
	banks := newBanks(t, bankapi.Options{})
	good := relay.NewSecret()
	for name, alter := range map[string]func(c *linking.Connection){
		"an unknown rail":      func(c *linking.Connection) { c.Rail = "carrier pigeon" },
		"no url":               func(c *linking.Connection) { c.Settings = nil },
		"http elsewhere":       func(c *linking.Connection) { c.Settings["url"] = "http://relay.example" },
		"no host":              func(c *linking.Connection) { c.Settings["url"] = "https://" },
		"a password in it":     func(c *linking.Connection) { c.Settings["url"] = "https://u:p@relay.example" },
		"a query":              func(c *linking.Connection) { c.Settings["url"] = "https://relay.example/?a=b" },
		"a fragment":           func(c *linking.Connection) { c.Settings["url"] = "https://relay.example/#a" },
		"another scheme":       func(c *linking.Connection) { c.Settings["url"] = "ftp://relay.example" },
		"a misspelt setting":   func(c *linking.Connection) { c.Settings["ulr"] = "https://relay.example" },
		"no certificates":      func(c *linking.Connection) { c.Settings["ca_pem"] = "none" },
		"no secret":            func(c *linking.Connection) { c.Sealed = nil },
		"another's secret":     func(c *linking.Connection) { c.ID = "01CONNECTION01" },
		"a secret of 8 bytes":  func(c *linking.Connection) { c.Sealed = connection(t, "", "whsec_AAAAAAAAAAA=").Sealed },
		"a secret with no key": func(c *linking.Connection) { c.Sealed = connection(t, "", strings.TrimPrefix(good, "whsec_")).Sealed },
	} {
		c := connection(t, "https://relay.example", good)
		alter(c)
		_, err := banks.Open(c)
		if err == nil {
			t.Errorf("%s: it opens", name)
			continue
		}
		if strings.Contains(err.Error(), good[6:20]) {
			t.Errorf("%s: the error tells the secret", name)
		}
	}
	for _, url := range []string{"http://127.0.0.1:9000/relay/shop", "http://[::1]:9000", "http://localhost", "https://relay.example:8443/v1.0/"} {
		c := connection(t, url, good)
		c.ID = linking.ConnectionID("01" + fmt.Sprintf("%012X", len(url)))
		c.Sealed = nil
		if _, err := banks.Open(c); err == nil || !strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err) // the url was accepted if only the secret is amiss
		}
	}
	only := relay.Rail{Hosts: []string{"relay.example"}}
	for url, want := range map[string]bool{"https://relay.example/x": true, "https://relay.example:444": false, "http://127.0.0.1": false} {
		_, err := only.Open(bankapi.Setup{Settings: map[string]string{"url": url},
			Secrets: map[string]bankapi.Secret{"secret": bankapi.NewSecret(good)},
			Client:  func(*tls.Config) *http.Client { return http.DefaultClient }})
		if (err == nil) != want {
			t.Errorf("%s, where only relay.example is allowed: %v", url, err)
		}
	}
}

func TestCheckTellsWhetherAConnectionWorks(t *testing.T) {
	secret := relay.NewSecret()
	sim, err := simulator.New(simulator.Options{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	server := httptest.NewServer(sim)
	defer server.Close()
	banks := newBanks(t, bankapi.Options{})
	if err := banks.Check(t.Context(), connection(t, server.URL+"/relay/shop", secret)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		url, secret string
		want        linking.BankErrorClass
	}{
		"another secret": {server.URL + "/relay/shop", relay.NewSecret(), linking.BankDenied},
		"another path":   {server.URL + "/elsewhere", secret, linking.BankUnknown},
		"nobody at home": {"http://127.0.0.1:1", secret, linking.BankNotSent},
	} {
		conn := connection(t, c.url, c.secret)
		err := newBanks(t, bankapi.Options{}).Check(t.Context(), conn)
		if be, ok := errors.AsType[*linking.BankError](err); !ok || be.Class != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConnectionsNotUsedForLongestAreDropped(t *testing.T) {
	banks := newBanks(t, bankapi.Options{})
	c := connection(t, "https://relay.example", relay.NewSecret())
	for i := range bankapi.MaxBanks + 10 {
		one := *c
		one.ID = linking.ConnectionID(fmt.Sprintf("01%012d", i))
		one.Sealed, _ = sealer(t).Seal(one.ID, one.Rail, map[string]bankapi.Secret{"secret": bankapi.NewSecret(relay.NewSecret())})
		if _, err := banks.Open(&one); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(banks.States()) / len(bankapi.Classes); n > bankapi.MaxBanks || n < bankapi.MaxBanks*8/10 {
		t.Fatalf("%d connections are open", n)
	}
}

// pipes is a network inside the process, so that a whole bank can live under fake
// time.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.done:
		return nil, errors.New("nobody at home")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// TestAnOutageOfTenMinutes lets thirty tills and a poller work through an outage
// of each kind, on the whole way from guard to bank, and counts what the bank saw.
func TestAnOutageOfTenMinutes(t *testing.T) {
	for _, kind := range []simulator.Fault{
		{Kind: simulator.Status, Value: 503},
		{Kind: simulator.Status, Value: 500},
		{Kind: simulator.Hang},
		{Kind: simulator.Reset},
		{Kind: simulator.Garbage},
		{Kind: simulator.DropAfterCommit},
		{Kind: simulator.Latency, Value: 7900},
		{Kind: simulator.Status, Value: 429, RetryAfter: 30},
	} {
		t.Run(fmt.Sprintf("%s%d", kind.Kind, kind.Value), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { outage(t, kind) })
		})
	}
}

func outage(t *testing.T, kind simulator.Fault) {
	secret := relay.NewSecret()
	sim, err := simulator.New(simulator.Options{Secret: secret, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	network := newPipes()
	server := &http.Server{Handler: sim}
	go server.Serve(network)
	defer server.Close()

	var mu sync.Mutex
	var told []bankapi.BreakerState
	banks := bankapi.New(bankapi.Options{
		Rails: map[string]bankapi.Rail{"relay": relay.Rail{}}, Sealer: sealer(t), Log: slog.New(slog.DiscardHandler),
		Limits: bankapi.Limits{DialContext: network.dial},
		Changed: func(s bankapi.BreakerState) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, s)
		},
	})
	defer banks.Close()
	bank, err := banks.Open(connection(t, "http://127.0.0.1/relay/shop", secret))
	if err != nil {
		t.Fatal(err)
	}

	var slowest atomic.Int64
	call := func(do func() error) error {
		start := time.Now()
		err := do()
		took := time.Since(start)
		for was := slowest.Load(); int64(took) > was && !slowest.CompareAndSwap(was, int64(took)); was = slowest.Load() {
		}
		return err
	}
	end := make(chan struct{})
	var work sync.WaitGroup
	var serial atomic.Int64
	newAsk := func() linking.Ask {
		return linking.Ask{
			BankRef:  linking.BankRef{ID: linking.RequestID(fmt.Sprintf("01J8QZ4F8Y%016d", serial.Add(1))), Charge: linking.Immediate},
			Revision: 1, Money: linking.Money{Amount: 100, Currency: "EUR"}, ExpiresAt: time.Now().Add(15 * time.Minute).Truncate(time.Second),
		}
	}
	for till := range 30 {
		work.Go(func() { // a sale every half a minute
			time.Sleep(time.Duration(till) * time.Second)
			for {
				ask := newAsk()
				err := call(func() error { _, err := bank.Put(context.Background(), ask); return err })
				if err == nil {
					call(func() error { _, err := bank.Close(context.Background(), ask.BankRef); return err })
				}
				select {
				case <-end:
					return
				case <-time.After(30 * time.Second):
				}
			}
		})
	}
	work.Go(func() {
		for {
			call(func() error { _, err := bank.Get(context.Background(), newAsk().BankRef); return err })
			select {
			case <-end:
				return
			case <-time.After(2 * time.Second):
			}
		}
	})
	calls := func() (n int) {
		_, counts := sim.Calls("")
		for _, c := range counts {
			n += c
		}
		return n
	}
	time.Sleep(5 * time.Minute)
	if c := calls(); c < 500 {
		t.Fatalf("only %d calls in five healthy minutes", c)
	}
	if err := sim.Fault(kind); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute) // by now the breakers are open
	before := calls()
	time.Sleep(9 * time.Minute)
	// Three classes, each open for at least 8 s at a time and mostly for a minute. A
	// pause of 30 s lets one call through each time.
	during := calls() - before
	if during > 3*25 {
		t.Errorf("%d calls in nine minutes reached a bank that is down", during)
	}
	sim.ClearFaults()
	back := time.Now()
	for call(func() error { _, err := bank.Put(context.Background(), newAsk()); return err }) != nil {
		time.Sleep(100 * time.Millisecond)
	}
	recovered := time.Since(back)
	if recovered > 60*time.Second+8*time.Second {
		t.Errorf("orders work again only after %v", recovered)
	}
	time.Sleep(2 * time.Minute)
	close(end)
	work.Wait()
	for _, s := range banks.States() {
		if s.State != "closed" {
			t.Errorf("still not closed: %+v", s)
		}
	}
	if d := time.Duration(slowest.Load()); d > 8*time.Second {
		t.Errorf("a call took %v", d)
	}
	synctest.Wait()
	mu.Lock()
	defer mu.Unlock()
	for i, s := range told {
		if j := slices.IndexFunc(told[:i], func(p bankapi.BreakerState) bool {
			return p.Class == s.Class && p.Since.Equal(s.Since) && p.State == s.State
		}); j >= 0 {
			t.Errorf("told twice: %+v", s)
		}
	}
	t.Logf("%d calls in nine minutes of outage, recovered in %v, slowest call %v, %d changes told",
		during, recovered.Round(time.Second), time.Duration(slowest.Load()).Round(time.Millisecond), len(told))
}
