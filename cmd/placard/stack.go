package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"placard/bankapi"
	"placard/bankapi/jpm"
	"placard/bankapi/pix"
	"placard/bankapi/relay"
	"placard/gateway"
	"placard/linking"
	"placard/linking/boltstore"
	"placard/linking/redisstore"
)

// hooks let a test put something between the parts.
type hooks struct {
	store   func(linking.Store) linking.Store
	banks   func(linking.Banks) linking.Banks
	noSweep bool
	walk    walkHooks
}

// storeFlags say where the records are.
type storeFlags struct {
	Store            string `help:"bolt:PATH, redis://…, rediss://…, redis+sentinel://… or redis+cluster://…" default:"bolt:./placard.db" placeholder:"STORE"`
	StoreID          string `help:"The identity the store must have; an empty or foreign one is then refused." placeholder:"ID"`
	AllowUnsafeStore bool   `help:"Start on a store that can lose what it has confirmed. It is said for ever after."`
	Replicas         int    `help:"How many of a Redis' replicas must be within reach, lest it is not served: 0 is one from the time any was seen, -1 none." default:"0" placeholder:"N"`
	NewStore         bool   `help:"Make the store if it is empty. Without this, an empty Redis is refused: it may have lost everything." default:"false"`
	SecretsKey       string `help:"File with the key that seals bank credentials; made next to a bolt store if there is none." placeholder:"FILE"`
}

// store is what a Store needs beside the port.
type store interface {
	linking.Store
	Identity(context.Context) (string, error)
	Init(context.Context) (string, error)
}

// open opens the store and the key file. A bolt file is made if there is none.
func (f *storeFlags) open(ctx context.Context, log *slog.Logger) (store, *bankapi.Sealer, error) {
	path, isBolt := strings.CutPrefix(f.Store, "bolt:")
	keyFile := f.SecretsKey
	var s store
	var err error
	switch {
	case isBolt:
		if path == "" {
			return nil, nil, usageError("--store bolt: needs a path, as in bolt:./placard.db")
		}
		if keyFile == "" {
			keyFile = filepath.Join(filepath.Dir(path), "placard.key")
		}
		s, err = boltstore.Open(path, boltstore.Options{StoreID: f.StoreID, AllowUnsafe: f.AllowUnsafeStore, Log: log})
	case strings.HasPrefix(f.Store, "redis"):
		if keyFile == "" {
			return nil, nil, usageError("--secrets-key FILE is needed with Redis: every gateway over the store opens bank credentials with the same key")
		}
		s, err = redisstore.Open(ctx, f.Store, redisstore.Options{StoreID: f.StoreID, AllowUnsafe: f.AllowUnsafeStore, Replicas: f.Replicas, Log: log})
	default:
		return nil, nil, usageError("--store is bolt:PATH, redis://…, rediss://…, redis+sentinel://… or redis+cluster://…")
	}
	if err != nil {
		return nil, nil, err
	}
	sealer, err := bankapi.OpenKeyFile(keyFile, true)
	if err != nil {
		s.Close()
		return nil, nil, err
	}
	id, err := s.Identity(ctx)
	if err == nil && id == "" {
		if !isBolt && !f.NewStore {
			err = errors.New("this Redis holds no Placard store: if it is to become one, start once with --new-store; if it was one, it has lost everything, so restore it")
		} else {
			_, err = s.Init(ctx)
		}
	}
	if err != nil {
		s.Close()
		return nil, nil, err
	}
	return s, sealer, nil
}

// stack is the whole program behind one listener, made in this order and ended in
// the reverse of it.
type stack struct {
	store   linking.Store
	sealer  *bankapi.Sealer
	banks   *bankapi.Banks
	service *linking.Service
	gateway *gateway.Server
	log     *slog.Logger
	leave   time.Duration

	served    chan error
	callbacks chan error // of the second listener; nil: there is none
	stopSweep context.CancelFunc
	swept     chan struct{}
}

type stackOptions struct {
	publicURL   string
	callbackURL string
	proxies     []netip.Prefix
	rails       map[string]bankapi.Rail
	metricsFrom []netip.Prefix
	leave       time.Duration
	webhooks    []netip.Prefix // networks that webhooks may reach though they are not public
	hooks       hooks
}

// newStack puts the parts together. It does not listen yet. On an error everything
// it opened is closed, the store included.
func newStack(ctx context.Context, st linking.Store, sealer *bankapi.Sealer, o stackOptions, log *slog.Logger) (s *stack, err error) {
	s = &stack{store: st, sealer: sealer, log: log, leave: o.leave, served: make(chan error, 1), swept: make(chan struct{})}
	defer func() {
		if err != nil {
			s.close(ctx)
		}
	}()
	if o.hooks.store != nil {
		s.store = o.hooks.store(st)
	}
	if o.rails == nil {
		o.rails = rails(railFlags{})
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(breakerGauge{s})
	s.banks = bankapi.New(bankapi.Options{Rails: o.rails, Sealer: sealer, Log: log, Changed: s.bankMoved()})
	var banks linking.Banks = s.banks
	if o.hooks.banks != nil {
		banks = o.hooks.banks(banks)
	}
	s.service, err = linking.New(ctx, linking.Config{
		Store: s.store, Banks: banks, Log: log, Courier: gateway.NewCourier(gateway.CourierConfig{Sealer: webhookSealer{sealer}, Allow: o.webhooks}), PublicURL: o.publicURL, CallbackURL: o.callbackURL, NewStore: true,
	})
	if err != nil {
		return nil, err
	}
	s.gateway, err = gateway.New(gateway.Config{
		PublicURL: o.publicURL, TrustedProxies: o.proxies, Log: log, Metrics: metrics, LeaveTime: o.leave,
		Ready: s.ready, MetricsFrom: o.metricsFrom,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// bankMoved tells merchants when a breaker opens, and when it is closed again. That it
// was tried meanwhile, and opened once more, is no news.
func (s *stack) bankMoved() func(bankapi.BreakerState) {
	type which struct {
		connection linking.ConnectionID
		class      bankapi.Class
	}
	down := map[which]bool{}
	return func(b bankapi.BreakerState) {
		k := which{b.Connection, b.Class}
		open := b.State == "open"
		if open == down[k] || !open && b.State != "closed" {
			return
		}
		if down[k] = open; !open {
			delete(down, k)
		}
		err := s.service.BankMoved(linking.EventBank{Rail: b.Rail, Connection: b.Connection, Class: string(b.Class), Down: open, Why: b.Code})
		if err != nil {
			s.log.Warn("the merchant was not told of his bank", "connection", b.Connection, "state", b.State, "err", err)
		}
	}
}

// mount puts everything onto the gateway; demo may be nil.
func (s *stack) mount(demo *gateway.Demo) error {
	return s.gateway.Mount(gateway.Nouns{Service: s.service, Build: build(), Demo: demo, Breakers: s.breakers})
}

// start listens, serves and works in the background, until stop.
func (s *stack) start(ln net.Listener, sweep bool) {
	ctx, cancel := context.WithCancel(context.Background())
	s.stopSweep = cancel
	go func() {
		defer close(s.swept)
		if sweep {
			s.service.Sweep(ctx)
		}
	}()
	go func() { s.served <- s.gateway.Serve(ln) }()
}

// startCallbacks serves banks, and them alone, on a listener of their own.
func (s *stack) startCallbacks(ln net.Listener) {
	s.callbacks = make(chan error, 1)
	go func() { s.callbacks <- s.gateway.ServeCallbacks(ln) }()
}

// stop ends everything in order: the world is told, whoever waits is answered, open
// requests are finished, background work ends, calls to banks are waited for, and the
// store is closed last.
func (s *stack) stop(ctx context.Context) error {
	hurry := time.AfterFunc(s.leave, s.service.Hurry)
	err := s.gateway.Stop(ctx)
	hurry.Stop()
	err = errors.Join(err, <-s.served)
	if s.callbacks != nil {
		err = errors.Join(err, <-s.callbacks)
	}
	s.stopSweep()
	<-s.swept
	return errors.Join(err, s.close(ctx))
}

func (s *stack) close(ctx context.Context) error {
	var err error
	if s.service != nil {
		err = s.service.Close(ctx)
	}
	if s.banks != nil {
		err = errors.Join(err, s.banks.Close())
	}
	return errors.Join(err, s.store.Close())
}

// webhookSealer keeps the secrets of webhooks as those of bank connections are kept.
type webhookSealer struct{ sealer *bankapi.Sealer }

const webhookSecrets = "webhook" // where a connection has its rail

func (w webhookSealer) Seal(id linking.WebhookID, secret []byte) ([]byte, error) {
	return w.sealer.Seal(linking.ConnectionID(id), webhookSecrets, map[string]bankapi.Secret{"key": bankapi.NewSecret(base64.StdEncoding.EncodeToString(secret))})
}

func (w webhookSealer) Open(id linking.WebhookID, sealed []byte) ([]byte, error) {
	open, err := w.sealer.Open(linking.ConnectionID(id), webhookSecrets, sealed)
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(open["key"].Reveal())
}

// railFlags say what merchants' bank connections may reach.
type railFlags struct {
	RelayHosts []string `help:"The only hosts at which relays may be. Set it where merchants enter connections themselves: otherwise they choose what the gateway calls." placeholder:"HOST"`
	PixHosts   []string `help:"The only hosts at which banks that speak API Pix, and their token endpoints, may be." placeholder:"HOST"`
	JPMHosts   []string `help:"The only hosts at which J.P. Morgan and its token endpoints may be." name:"jpm-hosts" placeholder:"HOST"`
	CertDir    string   `help:"The only folder out of which a bank connection may name its certificate and key; without it, they are given as secrets." placeholder:"DIR"`
}

// rails are the bank APIs this program speaks.
func rails(f railFlags) map[string]bankapi.Rail {
	return map[string]bankapi.Rail{
		"relay": relay.Rail{Hosts: f.RelayHosts},
		"pix":   pix.Rail{Hosts: f.PixHosts, CertDir: f.CertDir},
		"jpm":   jpm.Rail{Hosts: f.JPMHosts, CertDir: f.CertDir},
	}
}

// ready says why no traffic should come here now.
func (s *stack) ready(ctx context.Context) (map[string]any, error) {
	h := s.store.Health(ctx)
	facts := map[string]any{"store": h.Backend}
	if h.Unsafe {
		facts["unsafe_store"] = "This store was once allowed to start with settings that can lose confirmed payments."
	}
	if len(h.Warnings) > 0 {
		facts["warnings"] = h.Warnings
	}
	if len(h.Lost) > 0 {
		facts["shards_that_went_back_in_time"] = len(h.Lost)
	}
	var open []string
	for _, b := range s.banks.States() {
		if b.State != "closed" {
			open = append(open, string(b.Connection)+" "+string(b.Class)+" "+b.State)
		}
	}
	if open != nil {
		facts["bank_breakers"] = open
	}
	if !h.Ready {
		return facts, errors.New(h.Problem)
	}
	return facts, nil
}

// breakers tells how a connection's bank is doing.
func (s *stack) breakers(id linking.ConnectionID) (list []gateway.BreakerView) {
	for _, b := range s.banks.States() {
		if b.Connection == id {
			v := gateway.BreakerView{Class: string(b.Class), State: b.State}
			if !b.Since.IsZero() {
				since := b.Since.UTC().Format(time.RFC3339)
				v.Since = &since
			}
			list = append(list, v)
		}
	}
	return list
}

// relayConnection connects a merchant to a relay.
func (s *stack) relayConnection(ctx context.Context, m linking.MerchantID, relayURL, secret string) error {
	_, err := s.service.ConnectBank(ctx, m, "relay", map[string]string{"url": relayURL}, map[string]string{"secret": secret})
	return err
}

// publicOrigin checks a public URL and refuses one over which anybody on the way
// could change what a payer sees.
func publicOrigin(s string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSuffix(s, "/"))
	if err != nil || u.Host == "" || u.Path != "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, usageError("--public-url is https://HOST, where payers reach the gateway")
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return nil, usageError("--public-url has to be https: over http, anybody on the way can change the amount that a payer sees")
	}
	return u, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// listen opens a listener, with TLS if there is a configuration.
func listen(address string, config *tls.Config) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", address, err)
	}
	if config != nil {
		return tls.NewListener(ln, config), nil
	}
	return ln, nil
}
