package gateway

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"placard/linking"
)

// Sealer keeps the secrets of webhooks so that who reads the store learns none.
type Sealer interface {
	Seal(id linking.WebhookID, secret []byte) (sealed []byte, err error)
	Open(id linking.WebhookID, sealed []byte) (secret []byte, err error)
}

// CourierConfig says how webhooks go out. The zero value of a field stands for what
// its comment calls the default.
type CourierConfig struct {
	Sealer Sealer

	// Allow are networks that may be called though they are not public: the operator's
	// word, never the API's. There, any port and plain http are allowed too.
	Allow []netip.Prefix

	RootCAs  *x509.CertPool // default: the system's
	Patience time.Duration  // for a whole answer; default 15 s
}

// Courier delivers webhooks by the Standard Webhooks specification. It calls public
// addresses on port 443 only, whatever a name may resolve to by then: the address is
// looked at when it is dialled. It follows no redirects and uses no proxy.
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
type Courier struct {
	cfg           CourierConfig
	secure, plain *http.Client
}

var _ linking.Courier = (*Courier)(nil)

// answerRead is how much of a receiver's answer is read before it is let go.
const answerRead = 4 << 10

// mostNotFor is the longest that a receiver may ask to be left alone.
const mostNotFor = time.Hour

// NewCourier makes a courier.
func NewCourier(cfg CourierConfig) *Courier {
	cfg.Patience = orElse(cfg.Patience, 15*time.Second)
	c := &Courier{cfg: cfg}
	client := func(plain bool) *http.Client {
		dialer := &net.Dialer{Timeout: 5 * time.Second, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			return c.mayDial(address, plain)
		}}
		return &http.Client{
			Transport: &http.Transport{
				DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs},
				TLSHandshakeTimeout: 5 * time.Second, MaxIdleConns: 256, MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second,
				DisableCompression: true, MaxResponseHeaderBytes: 16 << 10, ForceAttemptHTTP2: true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	c.secure, c.plain = client(false), client(true)
	return c
}

// notPublic are the blocks of IANA's special-purpose registries that lie within what
// netip and global unicast leave open.
var notPublic = func() (list []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
	} {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}()

// globalIPv6 is all that is routed of IPv6; NAT64, unique local, link local and the
// mapped addresses are outside of it.
var globalIPv6 = netip.MustParsePrefix("2000::/3")

// public reports whether an address is anybody's in the Internet.
func public(a netip.Addr) bool {
	a = a.Unmap()
	switch {
	case !a.IsValid(), a.Zone() != "", a.IsLoopback(), a.IsPrivate(), a.IsLinkLocalUnicast(), a.IsMulticast(), a.IsUnspecified():
		return false
	case a.Is6() && !globalIPv6.Contains(a):
		return false
	}
	return !slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (c *Courier) allowed(a netip.Addr) bool {
	a = a.Unmap()
	return a.Zone() == "" && slices.ContainsFunc(c.cfg.Allow, func(p netip.Prefix) bool { return p.Contains(a) })
}

var errRefusedAddress = errors.New("webhooks may not go to this address")

// mayDial is asked about every address that is about to be connected to.
func (c *Courier) mayDial(address string, plain bool) error {
	at, err := netip.ParseAddrPort(address)
	switch {
	case err != nil:
		return errRefusedAddress
	case c.allowed(at.Addr()):
		return nil
	case plain || at.Port() != 443 || !public(at.Addr()):
		return errRefusedAddress
	}
	return nil
}

// MayCall refuses an address by its form. Where its name leads is looked at again
// each time it is called.
func (c *Courier) MayCall(address string) error {
	wrong := func(code, message string) error {
		return invalidFields([]linking.FieldError{{Field: "url", Code: code, Message: message}})
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Opaque != "" || !printable(address) || strings.Contains(address, " ") || len(address) > 2000 {
		return wrong("url", "must be an https address of at most 2000 characters")
	}
	if u.User != nil || u.Fragment != "" || strings.Contains(address, "#") {
		return wrong("url", "must be without user, password and fragment")
	}
	host := strings.TrimSuffix(u.Hostname(), ".")
	ip, err := netip.ParseAddr(host)
	literal := err == nil
	allowed := literal && c.allowed(ip) || host == "localhost" && c.allowed(netip.MustParseAddr("127.0.0.1"))
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || len(c.cfg.Allow) == 0):
		return wrong("url", "must begin with https://")
	case u.Port() == "0":
		return wrong("url", "has a port that does not exist")
	case allowed:
		return nil
	case literal, lastLabelIsNumber(host):
		return wrong("not_allowed", "must name a host, not an address")
	case !strings.Contains(host, ".") && len(c.cfg.Allow) == 0:
		return wrong("not_allowed", "must name a public host")
	case u.Port() != "" && u.Port() != "443" && len(c.cfg.Allow) == 0:
		return wrong("not_allowed", "must use port 443")
	}
	return nil
}

// lastLabelIsNumber reports what some resolvers take for an IPv4 address: 127.1,
// 2130706433, 0x7f.1 (WHATWG URL, "ends in a number").
func lastLabelIsNumber(host string) bool {
	label := host[strings.LastIndexByte(host, '.')+1:]
	if _, err := strconv.ParseUint(label, 10, 64); err == nil {
		return true
	}
	_, err := strconv.ParseUint(label, 0, 64)
	return err == nil
}

// secretPrefix begins every secret of the specification.
const secretPrefix = "whsec_"

// NewSecret makes 256 random bits.
func (c *Courier) NewSecret(id linking.WebhookID) (sealed []byte, open string, err error) {
	key := make([]byte, 32)
	rand.Read(key)
	sealed, err = c.cfg.Sealer.Seal(id, key)
	return sealed, secretPrefix + base64.StdEncoding.EncodeToString(key), err
}

// Deliver posts one event.
func (c *Courier) Deliver(ctx context.Context, d linking.Delivery) (o linking.Outcome) {
	began := time.Now()
	defer func() { o.Took = time.Since(began) }()
	body := encode(viewEvent(d.Event))
	id, timestamp := d.Event.ID(), strconv.FormatInt(d.At.Unix(), 10)
	signatures := make([]string, 0, len(d.Secrets))
	for _, sealed := range d.Secrets {
		key, err := c.cfg.Sealer.Open(d.Webhook, sealed)
		if err != nil {
			return linking.Outcome{Fault: linking.FaultSecret}
		}
		signatures = append(signatures, signature(key, id, timestamp, body))
	}
	if len(signatures) == 0 {
		return linking.Outcome{Fault: linking.FaultSecret}
	}
	own, cancel := context.WithTimeout(ctx, c.cfg.Patience)
	defer cancel()
	r, err := http.NewRequestWithContext(own, http.MethodPost, d.URL, bytes.NewReader(body))
	if err != nil {
		return linking.Outcome{Fault: linking.FaultAddress}
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Placard-Webhooks/1")
	r.Header.Set("Webhook-Id", id)
	r.Header.Set("Webhook-Timestamp", timestamp)
	r.Header.Set("Webhook-Signature", strings.Join(signatures, " "))
	client := c.secure
	if r.URL.Scheme == "http" {
		client = c.plain
	}
	resp, err := client.Do(r)
	if err != nil {
		return linking.Outcome{Fault: faultOf(err), Stopped: ctx.Err() != nil}
	}
	defer resp.Body.Close()
	io.CopyN(io.Discard, resp.Body, answerRead) // so that the connection can be used again
	o = linking.Outcome{Status: resp.StatusCode, Fault: linking.FaultStatus}
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		o.Fault = ""
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		o.Fault = linking.FaultRedirect
	case resp.StatusCode == http.StatusGone:
		o.Fault = linking.FaultGone
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 && o.Fault != "" {
		o.NotFor = min(time.Duration(s)*time.Second, mostNotFor)
	}
	return o
}

// signature is that of one key: version 1, HMAC-SHA256 over id, timestamp and body.
func signature(key []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// faultOf says in one word why there was no answer.
func faultOf(err error) linking.DeliveryFault {
	timeout, isNet := errors.AsType[net.Error](err)
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(err, errRefusedAddress):
		return linking.FaultAddress
	case isDNS && !dns.IsTimeout:
		return linking.FaultDNS
	case errors.As(err, new(*tls.CertificateVerificationError)), errors.As(err, new(tls.RecordHeaderError)), errors.As(err, new(tls.AlertError)):
		return linking.FaultTLS
	case errors.Is(err, context.DeadlineExceeded), isNet && timeout.Timeout():
		return linking.FaultTimeout
	}
	return linking.FaultConnect
}
