package pix

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"placard/bankapi"
	"placard/linking"
)

// Rail opens connections to banks that speak API Pix. Settings and secrets are
// listed in the package comment.
type Rail struct {
	// PlainHTTP lets a bank be reached, and call back, without TLS on any host, not only
	// on this machine. Whoever is on the way then reads the access token: for trying things
	// out at home.
	PlainHTTP bool

	// Hosts are the only hosts, with port if it is not 443, at which banks and their
	// token endpoints may be; empty: any. An operator who lets others enter
	// connections sets it, or they can make the gateway call addresses of his own
	// network.
	Hosts []string

	// CertDir is the only directory out of which a connection may name a certificate
	// and key file; empty: none may, and certificates come as secrets.
	CertDir string

	Now func() time.Time // nil: time.Now
}

// tokenAuth is how the client shows who it is where tokens are to be had.
type tokenAuth string

const (
	basicJSON   tokenAuth = "basic_json"  // HTTP Basic, the grant in a JSON body
	basicForm   tokenAuth = "basic_form"  // HTTP Basic, the grant in a form
	secretForm  tokenAuth = "secret_form" // id and secret in the form
	certificate tokenAuth = "certificate" // the id in the form; the TLS certificate is the proof
)

// The scopes there are for what this rail does.
const (
	scopeCobWrite  = "cob.write"
	scopeCobRead   = "cob.read"
	scopeCobVWrite = "cobv.write"
	scopeCobVRead  = "cobv.read"
	scopePixWrite  = "pix.write"
	scopePixRead   = "pix.read"
	scopeLocWrite  = "payloadlocation.write"
	scopeLocRead   = "payloadlocation.read"
	scopeHookWrite = "webhook.write"
	scopeHookRead  = "webhook.read"
)

var allScopes = []string{scopeCobWrite, scopeCobRead, scopeCobVWrite, scopeCobVRead, scopePixWrite, scopePixRead,
	scopeLocWrite, scopeLocRead, scopeHookWrite, scopeHookRead}

// config is what the settings say, checked.
type config struct {
	base, tokenURL string
	auth           tokenAuth
	id             string
	secret         bankapi.Secret
	scopes         []string
	key            string // chave
	name, city     string
	once           bool
	maxExpiry      time.Duration
	callback       callbackAuth
	plain          bool // callbacks may come over plain HTTP
}

const (
	defaultMaxExpiryDays = 365
	mostMaxExpiryDays    = 3650
)

var settingNames = []string{"url", "token_url", "token_auth", "client_id", "scopes", "chave", "merchant_name", "merchant_city",
	"initiation", "max_expiry_days", "ca_pem", "cert_file", "key_file",
	"callback_auth", "callback_header", "callback_certificates"}

var secretNames = []string{"client_secret", "cert_pem", "key_pem", "callback_secret"}

// Open implements bankapi.Rail.
func (r Rail) Open(s bankapi.Setup) (linking.Bank, error) {
	for name := range s.Settings {
		if !slices.Contains(settingNames, name) {
			return nil, bankapi.BadSetting("settings."+name, "unknown", "A Pix connection's settings are "+strings.Join(settingNames, ", ")+".")
		}
	}
	for name := range s.Secrets {
		if !slices.Contains(secretNames, name) {
			return nil, bankapi.BadSetting("secrets."+name, "unknown", "A Pix connection's secrets are "+strings.Join(secretNames, ", ")+".")
		}
	}
	c, err := r.config(s)
	if err != nil {
		return nil, err
	}
	b := &Bank{config: c, now: r.Now, guardToken: s.Token}
	if b.now == nil {
		b.now = time.Now
	}
	if b.guardToken == nil {
		b.guardToken = unguarded
	}
	b.token = bankapi.NewToken(b.fetchToken, b.now)
	t, err := r.tlsConfig(s, b)
	if err != nil {
		return nil, err
	}
	b.own = t != nil
	b.client = s.Client(t)
	return b, nil
}

func (r Rail) config(s bankapi.Setup) (c config, err error) {
	set := s.Settings
	if c.base, err = r.address("url", set["url"]); err != nil {
		return c, err
	}
	if c.tokenURL, err = r.address("token_url", set["token_url"]); err != nil {
		return c, err
	}
	c.auth, c.id, c.secret = tokenAuth(set["token_auth"]), set["client_id"], s.Secrets["client_secret"]
	switch c.auth {
	case "":
		c.auth = basicForm
	case basicJSON, basicForm, secretForm, certificate:
	default:
		return c, bankapi.BadSetting("settings.token_auth", "unknown", "token_auth is basic_json, basic_form, secret_form or certificate.")
	}
	switch secret := c.secret.Reveal(); {
	case c.id == "" || len(c.id) > 512 || !ascii(c.id):
		return c, bankapi.BadSetting("settings.client_id", "required", "client_id is what the bank gave, 1 to 512 printable ASCII characters.")
	case c.auth == certificate && secret != "":
		return c, bankapi.BadSetting("secrets.client_secret", "unexpected", "With token_auth certificate there is no client_secret.")
	case c.auth == certificate && !hasCertificate(s):
		return c, bankapi.BadSetting("settings.token_auth", "certificate", "With token_auth certificate the connection needs a certificate and its key.")
	case c.auth != certificate && (secret == "" || len(secret) > 4096 || !ascii(secret)):
		return c, bankapi.BadSetting("secrets.client_secret", "required", "client_secret is what the bank gave, in printable ASCII.")
	}
	c.scopes = strings.Fields(set["scopes"])
	for _, scope := range c.scopes {
		if len(scope) > 128 || !ascii(scope) || strings.ContainsAny(scope, `"\`) {
			return c, bankapi.BadSetting("settings.scopes", "scope", "scopes are names with blanks between them.")
		}
	}
	if len(c.scopes) == 0 {
		c.scopes = allScopes
	}
	for _, scope := range []string{scopeCobWrite, scopeCobRead} {
		if !slices.Contains(c.scopes, scope) {
			return c, bankapi.BadSetting("settings.scopes", "scope", "Without the scopes cob.write and cob.read nothing can be asked for.")
		}
	}
	if c.key = set["chave"]; c.key == "" || len(c.key) > maxKey || !ascii(c.key) {
		return c, bankapi.BadSetting("settings.chave", "required", "chave is the Pix key that gets the money, at most 77 characters.")
	}
	if c.name = Fold(set["merchant_name"], maxName); c.name == "" {
		return c, bankapi.BadSetting("settings.merchant_name", "required", "merchant_name stands in every code: Latin letters, of which 25 fit.")
	}
	if c.city = Fold(set["merchant_city"], maxCity); c.city == "" {
		return c, bankapi.BadSetting("settings.merchant_city", "required", "merchant_city stands in every code: Latin letters, of which 15 fit.")
	}
	switch set["initiation"] {
	case "", "12":
		c.once = true
	case "none":
	default:
		return c, bankapi.BadSetting("settings.initiation", "unknown", "initiation is 12 or none.")
	}
	days := defaultMaxExpiryDays
	if v := set["max_expiry_days"]; v != "" {
		if days, err = strconv.Atoi(v); err != nil || days < 1 || days > mostMaxExpiryDays {
			return c, bankapi.BadSetting("settings.max_expiry_days", "range", fmt.Sprintf("max_expiry_days is 1 to %d.", mostMaxExpiryDays))
		}
	}
	c.maxExpiry = time.Duration(days) * 24 * time.Hour
	c.plain = r.PlainHTTP
	c.callback, err = callbackAuthOf(s)
	return c, err
}

// address checks one of the two URLs.
func (r Rail) address(name, text string) (string, error) {
	field := "settings." + name
	base := strings.TrimRight(text, "/")
	u, err := url.Parse(base)
	if err != nil || base == "" || len(base) > 1024 || !ascii(base) || u.Hostname() == "" || u.User != nil ||
		u.Scheme != "https" && (u.Scheme != "http" || !r.PlainHTTP && !loopback(u.Hostname())) {
		return "", bankapi.BadSetting(field, "url", "The bank's "+name+" has to be an https address, or http on this machine.")
	}
	if u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		return "", bankapi.BadSetting(field, "url", "The bank's "+name+" has no query and no fragment.")
	}
	if len(r.Hosts) > 0 && !slices.Contains(r.Hosts, u.Host) {
		return "", bankapi.BadSetting(field, "host", "The operator of this gateway does not allow a bank at that host.")
	}
	return base, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// hasCertificate reports whether the setup names a client certificate at all.
func hasCertificate(s bankapi.Setup) bool {
	return s.Settings["cert_file"] != "" || s.Secrets["cert_pem"].Reveal() != ""
}

// tlsConfig is nil where the system's authorities do and there is no certificate of
// the merchant's.
func (r Rail) tlsConfig(s bankapi.Setup, b *Bank) (*tls.Config, error) {
	t, err := bankapi.Authorities(s)
	if err != nil {
		return nil, err
	}
	pair, err := bankapi.OpenKeyPair(s, r.CertDir)
	if err != nil || pair == nil {
		return t, err
	}
	if t == nil {
		t = &tls.Config{}
	}
	// A token may be bound to the certificate it was got with (RFC 8705, 3).
	pair.Changed = func() {
		b.forgetToken()
		b.client.CloseIdleConnections()
	}
	b.pair = pair
	t.GetClientCertificate = pair.Get
	return t, nil
}

// Bank is one connection to a bank that speaks API Pix. It has no breaker of its own.
type Bank struct {
	config
	client     *http.Client
	own        bool // the client is this bank's alone
	now        func() time.Time
	clock      clock
	pair       *bankapi.KeyPair // nil: no client certificate
	token      *bankapi.Token
	guardToken tokenGuard
	grant      grant
	sent       sent
	payments   news
	ended      endedNews
}

// Drop closes idle connections nobody else uses.
func (b *Bank) Drop() {
	if b.own {
		b.client.CloseIdleConnections()
	}
}
