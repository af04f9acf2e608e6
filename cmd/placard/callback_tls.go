package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"os"
	"strings"
)

// askBanks lets a bank show its certificate where it calls back, which some banks'
// callbacks are known by. Only who names the callbacks' own host is asked for one: at
// the host that is printed in codes, a payer's browser would ask its owner.
func (c *serveCommand) askBanks(config *tls.Config) (*tls.Config, error) {
	if c.CallbackCA == "" || c.CallbackListen != "" {
		return config, nil
	}
	if config == nil {
		return nil, usageError("--callback-ca goes with --tls: a proxy in front has to look at the banks' certificates itself")
	}
	public, perr := url.Parse(c.PublicURL)
	callback, cerr := url.Parse(c.CallbackURL)
	if perr != nil || cerr != nil || callback.Hostname() == "" || strings.EqualFold(callback.Hostname(), public.Hostname()) {
		return nil, usageError("--callback-ca needs --callback-listen, or a --callback-url with a host name of its own: at the public one, payers would be asked for certificates")
	}
	pem, err := os.ReadFile(c.CallbackCA)
	if err != nil {
		return nil, usageError("--callback-ca: the file cannot be read")
	}
	asking := config.Clone()
	asking.ClientCAs, asking.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
	if !asking.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, usageError("--callback-ca is a file with certificates in PEM")
	}
	host := callback.Hostname()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if strings.EqualFold(hello.ServerName, host) {
			return asking, nil
		}
		return nil, nil
	}
	return config, nil
}

// hosts are the names that certificates are got for: the public one, and the
// callbacks' own.
func (c *serveCommand) hosts(public *url.URL) []string {
	list := []string{public.Hostname()}
	if u, err := url.Parse(c.CallbackURL); err == nil && u.Hostname() != "" && u.Hostname() != public.Hostname() {
		list = append(list, u.Hostname())
	}
	return list
}
