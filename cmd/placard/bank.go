package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"placard/bankapi/relay"
	"placard/bankapi/simulator"
)

type bankCommand struct {
	Listen    string `help:"Address to listen on; port 0 takes a free one." default:"127.0.0.1:8081"`
	PublicURL string `help:"Where payers reach the bank's app, if not at the address it listens on." placeholder:"URL"`
	Secret    string `help:"Secret of the relay wire, good for any account; one is made if none is given." env:"PLACARD_BANK_SECRET" placeholder:"whsec_…"`
	JSON      bool   `help:"Say the addresses as one line of JSON." name:"json"`
}

func (c *bankCommand) Run(e *env) error {
	if c.Secret == "" {
		c.Secret = relay.NewSecret()
	}
	ln, err := listen(c.Listen, nil)
	if err != nil {
		return err
	}
	public := c.PublicURL
	if public == "" {
		public = "http://" + ln.Addr().String()
	}
	bank, err := simulator.New(simulator.Options{PublicURL: public, Secret: c.Secret, Log: e.log})
	if err != nil {
		ln.Close()
		return usageError(err.Error())
	}
	defer bank.Close()
	if c.JSON {
		err = writeJSON(e.out, map[string]string{"url": public, "relay_url": public + "/relay/ACCOUNT",
			"pix_url": public + "/pix/ACCOUNT/v2", "pix_token_url": public + "/pix/ACCOUNT/oauth/token", "secret": c.Secret})
	} else {
		_, err = fmt.Fprintf(e.out, "The simulated bank listens on %s\n\n  Relay wire   %s/relay/ACCOUNT, any account you like\n  API Pix      %s/pix/ACCOUNT/v2, tokens at %s/pix/ACCOUNT/oauth/token for the client id ACCOUNT\n  Secret       %s\n\nNo money moves here. Ctrl-C ends it.\n", ln.Addr(), public, public, public, c.Secret)
	}
	if err != nil {
		return err
	}
	return serveHTTP(e.ctx, ln, bank)
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
