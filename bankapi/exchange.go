package bankapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"

	"placard/linking"
)

// MaxAnswer is the most that is read of a bank's answer.
const MaxAnswer = 1 << 20

// MaxPause is the longest pause a bank is granted, whatever it asks for: a slip in
// a header must not silence a till for a day.
const MaxPause = 10 * time.Minute

// Answer is what a bank answered, whole.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Exchange sends one request and reads the whole answer, whatever its status. An
// error is of class not_sent if the request certainly never left, because no
// connection came about or its TLS handshake failed; else of class unknown. The
// caller's client must not follow redirects: see NewClient.
//
// One repetition is net/http's own and below all counting: a GET whose kept
// connection turns out to be closed is sent once more on a new one. Nothing that
// changes something is.
func Exchange(client *http.Client, req *http.Request) (Answer, error) {
	var connected atomic.Bool
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		// From here on bytes may leave. That nothing was written yet is not worth
		// telling apart: a caller who asks again loses nothing.
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}))
	res, err := client.Do(req)
	if err != nil {
		return Answer{}, noAnswer(req.Context(), err, connected.Load())
	}
	defer res.Body.Close()
	if res.Header.Get("Content-Encoding") != "" {
		return Answer{}, Unreadable("encoded", "The bank's answer is encoded in a way that was not asked for.", nil)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxAnswer+1))
	if err != nil {
		return Answer{}, noAnswer(req.Context(), err, true)
	}
	if len(body) > MaxAnswer {
		return Answer{}, Unreadable("too_large", "The bank's answer is larger than 1 MiB.", nil)
	}
	return Answer{res.StatusCode, res.Header, body}, nil
}

// noAnswer says what an exchange that failed leaves known.
func noAnswer(ctx context.Context, err error, sent bool) *linking.BankError {
	e := &linking.BankError{Class: linking.BankUnknown, Err: err}
	certificate, _ := errors.AsType[*tls.CertificateVerificationError](err)
	timeout, _ := errors.AsType[net.Error](err)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		e.Code, e.Detail = "cancelled", "The call was given up before the bank answered."
	case certificate != nil:
		e.Code, e.Detail = "certificate", "The bank's certificate was not accepted."
	case ctx.Err() != nil || timeout != nil && timeout.Timeout():
		e.Code, e.Detail = "timeout", "The bank did not answer in time."
	case !sent:
		e.Code, e.Detail = "no_connection", "The bank could not be reached."
	default:
		e.Code, e.Detail = "broken_off", "The connection broke before the bank's answer was complete."
	}
	if !sent {
		e.Class = linking.BankNotSent
	}
	return e
}

// Unreadable is an answer of a bank that says nothing for certain. code and detail
// are words of ours.
func Unreadable(code, detail string, err error) *linking.BankError {
	return &linking.BankError{Class: linking.BankUnknown, Code: code, Detail: detail, Err: err}
}

// Failure judges an answer by its status alone, as far as that means the same on
// every rail, and returns nil for the rest: success, and those refusals that only
// the rail can read.
func (a Answer) Failure(now time.Time) *linking.BankError {
	e := &linking.BankError{
		Code:  "http_" + strconv.Itoa(a.Status),
		Retry: retryAfter(a.Header.Get("Retry-After"), now),
		Err:   fmt.Errorf("status %d", a.Status),
	}
	switch {
	case a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden:
		e.Class, e.Detail = linking.BankDenied, "The bank refuses the connection's credentials."
	case a.Status == http.StatusTooManyRequests:
		e.Class, e.Code, e.Detail = linking.BankNotSent, "too_many_calls", "The bank asks for fewer calls."
	case a.Status == http.StatusRequestTimeout || a.Status >= 500:
		e.Class, e.Detail = linking.BankUnknown, "The bank has a fault."
	case a.Status < 200 || a.Status >= 300 && a.Status < 400:
		e.Class, e.Detail = linking.BankUnknown, "The bank's address answers something else than the bank's interface."
	default:
		return nil
	}
	return e
}

// retryAfter reads Retry-After (RFC 9110, 10.2.3): seconds, or a date.
func retryAfter(v string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, MaxPause)
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(at.Sub(now), 0), MaxPause)
	}
	return 0
}

// ShortCode returns a bank's own code if it is fit to be shown and stored: 1 to
// 64 letters, digits and _.:-; otherwise instead.
func ShortCode(code, instead string) string {
	if len(code) == 0 || len(code) > 64 {
		return instead
	}
	for i := range len(code) {
		c := code[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != ':' && c != '-' {
			return instead
		}
	}
	return code
}

// NewClient returns a client for one kind of connection; tlsConfig nil is the
// system's certificate authorities. It follows no redirect, takes no compressed
// answer, keeps no cookie and trusts nothing below TLS 1.2.
func NewClient(l Limits, tlsConfig *tls.Config) *http.Client {
	if tlsConfig == nil {
		tlsConfig = &tls.Config{}
	}
	tlsConfig = tlsConfig.Clone()
	tlsConfig.MinVersion = max(tlsConfig.MinVersion, tls.VersionTLS12)
	l = l.orDefault()
	dial := l.DialContext
	if dial == nil {
		dial = (&net.Dialer{Timeout: l.Dial, KeepAlive: 30 * time.Second}).DialContext
	}
	return &http.Client{
		Timeout:       l.Total,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            dial,
			TLSClientConfig:        tlsConfig,
			TLSHandshakeTimeout:    l.TLS,
			ResponseHeaderTimeout:  l.Header,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true,
			ForceAttemptHTTP2:      true,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
			MaxIdleConns:           256,
			MaxIdleConnsPerHost:    16,
			// Shorter than a server's usual minute: a connection that the server
			// closes while we write on it leaves an outcome unknown.
			IdleConnTimeout: 20 * time.Second,
		},
	}
}
