package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"placard/bankapi/relay"
	"placard/bankapi/simulator"
)

// jpmPath is where the simulated J.P. Morgan of an account is.
const jpmPath = "/jpm/ACCOUNT/receivables/request-to-pay/v1"

type bankCommand struct {
	Listen    string `help:"Address to listen on; port 0 takes a free one." default:"127.0.0.1:8081"`
	PublicURL string `help:"Where payers reach the bank's app, if not at the address it listens on." placeholder:"URL"`
	Secret    string `help:"Secret of the relay wire, good for any account; one is made if none is given." env:"PLACARD_BANK_SECRET" placeholder:"whsec_…"`
	TLS       string `help:"Speak https, as a real bank does: files in PEM, read again when they change. What payers' banks fetch at a Pix location, they fetch by https." placeholder:"CERT,KEY"`
	ClientCA  string `help:"With --tls: the authority, in PEM, whose certificates clients may show. An account asks for one when it names its fingerprint." placeholder:"FILE"`
	JSON      bool   `help:"Say the addresses as one line of JSON." name:"json"`
}

func (c *bankCommand) Run(e *env) error {
	if c.Secret == "" {
		c.Secret = relay.NewSecret()
	}
	config, err := c.tlsConfig(e.log)
	if err != nil {
		return err
	}
	ln, err := listen(c.Listen, config)
	if err != nil {
		return err
	}
	public := c.PublicURL
	if public == "" {
		public = "http://" + ln.Addr().String()
		if config != nil {
			public = "https://" + ln.Addr().String()
		}
	}
	bank, err := simulator.New(simulator.Options{PublicURL: public, Secret: c.Secret, Log: e.log})
	if err != nil {
		ln.Close()
		return usageError(err.Error())
	}
	defer bank.Close()
	if c.JSON {
		err = writeJSON(e.out, map[string]string{"url": public, "relay_url": public + "/relay/ACCOUNT",
			"pix_url": public + "/pix/ACCOUNT/v2", "pix_token_url": public + "/pix/ACCOUNT/oauth/token",
			"jpm_url": public + jpmPath, "jpm_token_url": public + "/jpm/ACCOUNT/oauth2/token", "secret": c.Secret})
	} else {
		_, err = fmt.Fprintf(e.out, "The simulated bank listens on %s\n\n  Relay wire   %s/relay/ACCOUNT, any account you like\n  API Pix      %s/pix/ACCOUNT/v2, tokens at %s/pix/ACCOUNT/oauth/token for the client id ACCOUNT\n  J.P. Morgan  %s%s, tokens likewise at %s/jpm/ACCOUNT/oauth2/token\n  Secret       %s\n\nNo money moves here. Ctrl-C ends it.\n", ln.Addr(), public, public, public, public, jpmPath, public, c.Secret)
	}
	if err != nil {
		return err
	}
	return serveHTTP(e.ctx, ln, bank)
}

// tlsConfig is how the bank speaks TLS; nil: not at all.
func (c *bankCommand) tlsConfig(log *slog.Logger) (*tls.Config, error) {
	if c.TLS == "" {
		if c.ClientCA != "" {
			return nil, usageError("--client-ca goes with --tls")
		}
		return nil, nil
	}
	cert, key, ok := strings.Cut(c.TLS, ",")
	if !ok {
		return nil, usageError("--tls is CERT,KEY")
	}
	files := &certFiles{cert: cert, key: key, log: log}
	if _, err := files.get(nil); err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: files.get}
	if c.ClientCA != "" {
		pem, err := os.ReadFile(c.ClientCA)
		if err != nil {
			return nil, usageError("--client-ca: the file cannot be read")
		}
		config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, usageError("--client-ca is a file with certificates in PEM")
		}
	}
	return config, nil
}

// serveHTTP serves until ctx ends, and finishes what is open.
func serveHTTP(ctx context.Context, ln net.Listener, h http.Handler) error {
	web := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- web.Serve(ln) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := web.Shutdown(grace)
	if got := <-served; !errors.Is(got, http.ErrServerClosed) {
		err = errors.Join(err, got)
	}
	return err
}
