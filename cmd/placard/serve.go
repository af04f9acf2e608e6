package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

type serveCommand struct {
	storeFlags     `embed:""`
	railFlags      `embed:""`
	Listen         string        `help:"Address to listen on." default:":8080"`
	PublicURL      string        `help:"Where payers reach the gateway: https://HOST. It is printed in every code." placeholder:"URL" required:""`
	CallbackURL    string        `help:"Where banks reach the gateway, if not at the public URL." placeholder:"URL"`
	CallbackListen string        `help:"A second address to listen on, for banks alone, who have to show a certificate of --callback-ca there." placeholder:"ADDRESS"`
	CallbackCA     string        `help:"The authorities, in PEM, of certificates by which banks show that a callback is theirs: at --callback-listen, or at a --callback-url that has a host name of its own." placeholder:"FILE"`
	TLS            string        `help:"CERT,KEY: files in PEM, read again when they change; or auto: by ACME." placeholder:"CERT,KEY|auto"`
	ACMECache      string        `help:"Folder for certificates got by ACME." default:"./acme" placeholder:"DIR"`
	ACMEEmail      string        `help:"Where the certificate authority writes to." placeholder:"ADDRESS"`
	ACMEDirectory  string        `help:"The authority's directory." placeholder:"URL" hidden:""`
	TrustedProxies []string      `help:"Addresses or networks of the operator's own proxies." placeholder:"CIDR"`
	MetricsFrom    []string      `help:"Addresses or networks that may read /metrics, besides this machine." placeholder:"CIDR"`
	WebhookAllow   []string      `help:"Networks that webhooks may reach though they are not public, such as that of the shop's own till." placeholder:"CIDR"`
	LeaveTime      time.Duration `help:"How long /readyz says no before connections are refused, when stopping." default:"0s"`
	StopTime       time.Duration `help:"How long open requests and bank calls may take to finish, when stopping." default:"30s"`
	LogFormat      string        `help:"text or json." enum:"text,json" default:"text"`
	LogLevel       string        `help:"debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`
}

func (c *serveCommand) Run(e *env) (err error) {
	log := c.logger(e)
	if _, err := publicOrigin(c.PublicURL); err != nil {
		return err
	}
	proxies, err := prefixes("--trusted-proxies", c.TrustedProxies)
	if err != nil {
		return err
	}
	scrapers, err := prefixes("--metrics-from", c.MetricsFrom)
	if err != nil {
		return err
	}
	receivers, err := prefixes("--webhook-allow", c.WebhookAllow)
	if err != nil {
		return err
	}
	config, err := c.tlsConfig(log)
	if err == nil {
		config, err = c.askBanks(config)
	}
	if err != nil {
		return err
	}
	callbackTLS, err := c.callbackTLS(config)
	if err != nil {
		return err
	}
	st, sealer, err := c.storeFlags.open(e.ctx, log)
	if err != nil {
		return err
	}
	s, err := newStack(e.ctx, st, sealer, stackOptions{
		publicURL: strings.TrimSuffix(c.PublicURL, "/"), callbackURL: strings.TrimSuffix(c.CallbackURL, "/"), proxies: proxies, metricsFrom: scrapers, webhooks: receivers, rails: rails(c.railFlags), leave: c.LeaveTime, hooks: e.hooks,
	}, log)
	if err != nil {
		return err
	}
	if err := s.mount(nil); err != nil {
		return errors.Join(err, s.close(e.ctx))
	}
	ln, err := listen(c.Listen, config)
	if err != nil {
		return errors.Join(err, s.close(e.ctx))
	}
	callbacks, err := c.listenForBanks(callbackTLS)
	if err != nil {
		return errors.Join(err, ln.Close(), s.close(e.ctx))
	}
	for _, w := range st.Health(e.ctx).Warnings {
		log.Warn("the store can lose what it has confirmed", "why", w)
	}
	s.start(ln, !e.hooks.noSweep)
	if callbacks != nil {
		s.startCallbacks(callbacks)
		fmt.Fprintf(e.out, "placard listens for banks on %s\n", callbacks.Addr())
	}
	fmt.Fprintf(e.out, "placard %s listens on %s for %s\n", version, ln.Addr(), c.PublicURL)
	select {
	case err := <-s.served:
		s.served <- nil
		return errors.Join(err, c.stop(s))
	case <-e.ctx.Done():
	}
	log.Info("stopping")
	return c.stop(s)
}

func (c *serveCommand) stop(s *stack) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.StopTime)
	defer cancel()
	return s.stop(ctx)
}

func (c *serveCommand) logger(e *env) *slog.Logger {
	var level slog.Level
	if level.UnmarshalText([]byte(c.LogLevel)) != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(e.notes, o))
	}
	return slog.New(slog.NewTextHandler(e.notes, o))
}

func prefixes(flag string, list []string) (out []netip.Prefix, err error) {
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return nil, usageError(flag + " takes addresses or networks, such as 10.0.0.0/8")
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p)
	}
	return out, nil
}

// tlsConfig is how the listener speaks TLS; nil: not at all, behind a proxy that does.
func (c *serveCommand) tlsConfig(log *slog.Logger) (*tls.Config, error) {
	switch {
	case c.TLS == "":
		return nil, nil
	case c.TLS == "auto":
		u, err := publicOrigin(c.PublicURL)
		if err != nil {
			return nil, err
		}
		if u.Scheme != "https" {
			return nil, usageError("--tls auto needs a --public-url that begins with https://")
		}
		m := &autocert.Manager{
			Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(c.ACMECache), HostPolicy: autocert.HostWhitelist(c.hosts(u)...), Email: c.ACMEEmail,
		}
		if c.ACMEDirectory != "" {
			m.Client = &acme.Client{DirectoryURL: c.ACMEDirectory}
		}
		config := m.TLSConfig()
		config.MinVersion = tls.VersionTLS12
		config.NextProtos = []string{"http/1.1", acme.ALPNProto} // fasthttp speaks no HTTP/2
		return config, nil
	}
	cert, key, ok := strings.Cut(c.TLS, ",")
	if !ok {
		return nil, usageError("--tls is CERT,KEY or auto")
	}
	files := &certFiles{cert: cert, key: key, log: log}
	if _, err := files.get(nil); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: files.get, NextProtos: []string{"http/1.1"}}, nil
}

// certFiles reads a certificate again when its file changes, so that a renewed one
// needs no restart.
type certFiles struct {
	cert, key string
	log       *slog.Logger

	mu      sync.Mutex
	have    *tls.Certificate
	of      time.Time
	checked time.Time
}

func (f *certFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.have != nil && time.Since(f.checked) < time.Second {
		return f.have, nil
	}
	f.checked = time.Now()
	info, err := os.Stat(filepath.Clean(f.cert))
	if err == nil && f.have != nil && info.ModTime().Equal(f.of) {
		return f.have, nil
	}
	if err == nil {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(f.cert, f.key); err == nil {
			f.have, f.of = &pair, info.ModTime()
			return f.have, nil
		}
	}
	if f.have != nil {
		f.log.Error("the new certificate cannot be read; the old one is used on", "err", err)
		return f.have, nil
	}
	return nil, fmt.Errorf("the certificate cannot be read: %w", err)
}
