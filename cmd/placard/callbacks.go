package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
)

// callbackTLS is how the listener for banks speaks TLS: as the other one, and asking
// for a certificate of the banks' authorities. It is nil where there is no such
// listener.
func (c *serveCommand) callbackTLS(config *tls.Config) (*tls.Config, error) {
	switch {
	case c.CallbackListen == "":
		return nil, nil
	case c.CallbackCA == "":
		return nil, usageError("--callback-listen goes with --callback-ca: whoever calls there has to show a certificate")
	case config == nil:
		return nil, usageError("--callback-listen needs --tls: a bank shows its certificate to nobody who has none")
	}
	text, err := os.ReadFile(c.CallbackCA)
	if err != nil {
		return nil, fmt.Errorf("the banks' authorities cannot be read: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", c.CallbackCA)
	}
	config = config.Clone()
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, pool
	return config, nil
}

// listenForBanks opens the second listener, if there is to be one.
func (c *serveCommand) listenForBanks(config *tls.Config) (net.Listener, error) {
	if config == nil {
		return nil, nil
	}
	return listen(c.CallbackListen, config)
}
