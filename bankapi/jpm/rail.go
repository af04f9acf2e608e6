package jpm

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"placard/bankapi"
	"placard/linking"
)

// Rail opens connections to J.P. Morgan. Settings and secrets are listed in the
// package comment.
type Rail struct {
	// PlainHTTP lets a bank be reached without TLS on any host, not only on this
	// machine: for trying things out at home.
	PlainHTTP bool

	// Hosts are the only hosts, with port if it is not 443, at which banks and token
	// endpoints may be; empty: any. An operator who lets others enter connections sets
	// it, or they can make the gateway call addresses of his own network.
	Hosts []string

	// CertDir is the only directory out of which a connection may name a certificate
	// and key file; empty: none may, and certificates come as secrets.
	CertDir string

	Now func() time.Time // nil: time.Now
}

// market is what a country allows.
type market struct {
	currencies []linking.Currency
	schemes    []string
	longest    int // of the payee's key
}

const brazil = "BR"

var markets = map[string]market{
	brazil: {[]linking.Currency{"BRL"}, []string{"CPF", "CNPJ", "EVP", "EMAL", "MOBN"}, 77},
	"SG":   {[]linking.Currency{"SGD"}, []string{"UEN"}, 21},
	"HK":   {[]linking.Currency{"HKD", "CNY"}, []string{"SVID", "MOBN", "EMAL"}, 34},
}

const (
	// longestImmediate is the most seconds an immediate request may be open.
	longestImmediate = 999_999 * time.Second
	// longestOther keeps what can still be paid within the year that the bank lists.
	longestOther = 330 * 24 * time.Hour
)

// unlinking is how a payment link is emptied.
type unlinking string

const (
	byCancel    unlinking = "cancel"
	byEmptyPut  unlinking = "put_empty"
	byPixDelete unlinking = "pix_delete"
)

// config is what the settings say, checked.
type config struct {
	base, pixBase string
	country       string
	market        market
	charges       []linking.Charge
	graceDays     int
	unlink        unlinking
	cursor        string // none, body, query
	scheme        string
	account       string
	name, city    string
	oauth         oauth
	callback      callbackAuth
}

var settingNames = []string{"url", "country", "creditor_scheme", "creditor_account", "merchant_name", "merchant_city", "charges", "grace_days",
	"unlink", "pix_url", "search_cursor", "oauth", "token_url", "client_id", "scope", "resource", "assertion_kid", "sign", "signing_kid",
	"ca_pem", "cert_file", "key_file", "callback_auth", "callback_header", "callback_certificates", "callback_key"}

var secretNames = []string{"cert_pem", "key_pem", "client_secret", "assertion_key_pem", "signing_key_pem", "callback_secret"}

// brazilian are the settings that mean nothing elsewhere.
var brazilian = []string{"charges", "grace_days", "unlink", "pix_url"}

// Open implements bankapi.Rail.
func (r Rail) Open(s bankapi.Setup) (linking.Bank, error) {
	for name := range s.Settings {
		if !slices.Contains(settingNames, name) {
			return nil, bankapi.BadSetting("settings."+name, "unknown", "A J.P. Morgan connection's settings are "+strings.Join(settingNames, ", ")+".")
		}
	}
	for name := range s.Secrets {
		if !slices.Contains(secretNames, name) {
			return nil, bankapi.BadSetting("secrets."+name, "unknown", "A J.P. Morgan connection's secrets are "+strings.Join(secretNames, ", ")+".")
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
	if b.sign, err = signerOf(s); err != nil {
		return nil, err
	}
	if c.oauth.kind != "" {
		b.token = bankapi.NewToken(b.fetchToken, b.now)
	}
	t, err := r.tlsConfig(s, b)
	if err != nil {
		return nil, err
	}
	b.own = t != nil
	b.client = s.Client(t)
	return b, nil
}

var keyForms = map[string]*regexp.Regexp{
	"CPF": regexp.MustCompile(`^\d{11}$`), "CNPJ": regexp.MustCompile(`^[0-9A-Z]{12}\d{2}$`), "MOBN": regexp.MustCompile(`^\+?\d{5,15}$`),
	"EVP": regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`),
}

func (r Rail) config(s bankapi.Setup) (c config, err error) {
	set := s.Settings
	bad := func(name, code, message string) (config, error) {
		return c, bankapi.BadSetting("settings."+name, code, message)
	}
	if c.base, err = r.address("url", set["url"]); err != nil {
		return c, err
	}
	var known bool
	if c.country = set["country"]; true {
		if c.market, known = markets[c.country]; !known {
			return bad("country", "unknown", "country is BR, SG or HK.")
		}
	}
	if c.country != brazil {
		for _, name := range brazilian {
			if set[name] != "" {
				return bad(name, "unexpected", name+" is for Brazil.")
			}
		}
	}
	c.scheme, c.account = set["creditor_scheme"], set["creditor_account"]
	switch form := keyForms[c.scheme]; {
	case !slices.Contains(c.market.schemes, c.scheme):
		return bad("creditor_scheme", "unknown", "creditor_scheme is "+strings.Join(c.market.schemes, ", ")+".")
	case c.account == "" || len(c.account) > c.market.longest || !printable(c.account) || form != nil && !form.MatchString(c.account):
		return bad("creditor_account", "form", "creditor_account is the payee's key of that scheme, without blanks or points.")
	}
	c.name, c.city = set["merchant_name"], set["merchant_city"]
	if c.country == brazil {
		switch {
		case len([]rune(c.name)) > 25:
			return bad("merchant_name", "too_long", "merchant_name has at most 25 characters.")
		case len([]rune(c.city)) > 15:
			return bad("merchant_city", "too_long", "merchant_city has at most 15 characters.")
		}
	}
	c.charges = []linking.Charge{linking.Immediate}
	if v := set["charges"]; v != "" {
		c.charges = nil
		for one := range strings.SplitSeq(v, ",") {
			charge := linking.Charge(strings.TrimSpace(one))
			if charge != linking.Immediate && charge != linking.DueDate || slices.Contains(c.charges, charge) {
				return bad("charges", "unknown", "charges is immediate, due_date, or immediate,due_date.")
			}
			c.charges = append(c.charges, charge)
		}
	}
	if v := set["grace_days"]; v != "" {
		if c.graceDays, err = strconv.Atoi(v); err != nil || c.graceDays < 0 || c.graceDays > 180 {
			return bad("grace_days", "range", "grace_days is 0 to 180.")
		}
	}
	switch c.unlink = unlinking(set["unlink"]); c.unlink {
	case "":
		c.unlink = byCancel
	case byCancel, byEmptyPut, byPixDelete:
	default:
		return bad("unlink", "unknown", "unlink is cancel, put_empty or pix_delete.")
	}
	c.pixBase = c.base
	if v := set["pix_url"]; v != "" {
		if c.unlink != byPixDelete {
			return bad("pix_url", "unexpected", "pix_url is for unlink = pix_delete.")
		}
		if c.pixBase, err = r.address("pix_url", v); err != nil {
			return c, err
		}
	}
	switch c.cursor = set["search_cursor"]; c.cursor {
	case "":
		c.cursor = "none"
	case "none", "body", "query":
	default:
		return bad("search_cursor", "unknown", "search_cursor is none, body or query.")
	}
	if c.oauth, err = r.oauthOf(s); err != nil {
		return c, err
	}
	c.callback, err = callbackAuthOf(s)
	return c, err
}

// address checks an address of the bank's.
func (r Rail) address(name, text string) (string, error) {
	field := "settings." + name
	base := strings.TrimRight(text, "/")
	u, err := url.Parse(base)
	if err != nil || base == "" || len(base) > 1024 || !printable(base) || u.Hostname() == "" || u.User != nil ||
		u.Scheme != "https" && (u.Scheme != "http" || !r.PlainHTTP && !loopback(u.Hostname())) {
		return "", bankapi.BadSetting(field, "url", name+" has to be an https address, or http on this machine.")
	}
	if u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		return "", bankapi.BadSetting(field, "url", name+" has no query and no fragment.")
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

// printable is ASCII without control characters.
func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e }) < 0
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
	// What was got, or is kept open, under the old certificate is let go.
	pair.Changed = func() {
		b.forgetToken()
		b.client.CloseIdleConnections()
	}
	t.GetClientCertificate = pair.Get
	return t, nil
}

// Bank is one connection to J.P. Morgan. It has no breaker of its own.
type Bank struct {
	config
	client     *http.Client
	own        bool // the client is this bank's alone
	now        func() time.Time
	clock      clock
	sign       *signer        // nil: bodies are sent as they are
	token      *bankapi.Token // nil: the certificate is all there is to show
	guardToken func(context.Context, func(context.Context) error) error
	held       heldToken
	deep       deepScan
}

// Drop closes idle connections nobody else uses.
func (b *Bank) Drop() {
	if b.own {
		b.client.CloseIdleConnections()
	}
}

// FixedAbilities says that Abilities makes no call.
func (b *Bank) FixedAbilities() {}

// Abilities implements linking.Bank. With due dates allowed, MaxExpiry is theirs, and
// an immediate request beyond its own 999,999 seconds is refused by Put.
func (b *Bank) Abilities(context.Context) (linking.Abilities, error) {
	a := linking.Abilities{
		Currencies: slices.Clone(b.market.currencies), MaxExpiry: longestOther, Changed: true, EndsItself: true,
		Charges: slices.Clone(b.charges),
	}
	if b.country == brazil {
		a.Revise, a.BankLink = true, true
		a.NeedsDebtor = slices.Contains(b.charges, linking.DueDate)
		if !a.NeedsDebtor {
			a.MaxExpiry = longestImmediate
		}
	}
	return a, nil
}
