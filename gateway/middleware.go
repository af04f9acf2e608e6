package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// call is what the gateway knows of one HTTP request while it answers it: the
// material of its log line, and the context of its handler.
//
// It is a context of its own kind because most handlers are done before anybody
// waits for their deadline: the timer is made when somebody does.
type call struct {
	id        string
	from      netip.Addr
	merchant  linking.MerchantID // once the key or the token said so
	unmatched bool               // no route was found
	code      string             // of the problem it was answered with
	err       error

	ends time.Time

	mu    sync.Mutex
	over  bool
	timer context.Context // nil until somebody waits
	stop  context.CancelFunc
}

func (c *call) Deadline() (time.Time, bool) { return c.ends, true }

func (c *call) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer == nil {
		c.timer, c.stop = context.WithDeadline(context.Background(), c.ends)
		if c.over {
			c.stop()
		}
	}
	return c.timer.Done()
}

func (c *call) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.timer != nil:
		return c.timer.Err()
	case c.over:
		return context.Canceled
	case !time.Now().Before(c.ends):
		return context.DeadlineExceeded
	}
	return nil
}

// Value lets contexts derived from this one find the timer, so that they need no
// goroutine to hear of its end.
func (c *call) Value(key any) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer == nil {
		return nil
	}
	return c.timer.Value(key)
}

func (c *call) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.stop != nil {
		c.stop()
	}
}

type callKey struct{}

// callOf returns the call that c carries.
func callOf(c *fiber.Ctx) *call {
	if known, ok := c.Locals(callKey{}).(*call); ok {
		return known
	}
	unknown := &call{id: newCallID(), ends: time.Now()}
	c.Locals(callKey{}, unknown)
	return unknown
}

// newCallID returns 26 symbols of Crockford's base 32 that grow with time: 10 of
// milliseconds since 1970, 16 random. It names one HTTP request in an answer and
// in the log. What the caller sends by that name is never taken over: two of its
// requests could not be told apart.
func newCallID() string {
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	var random [16]byte
	rand.Read(random[:])
	var id [26]byte
	ms := uint64(time.Now().UnixMilli())
	for i := range 10 {
		id[i] = alphabet[ms>>(45-5*i)&31]
	}
	for i, b := range random {
		id[10+i] = alphabet[b&31]
	}
	return string(id[:])
}

// observe surrounds every request: an id, a deadline, the headers of an API answer,
// a shield against panics, and at the end one log line and one count.
func (s *Server) observe(c *fiber.Ctx) error {
	began := time.Now()
	this := &call{id: newCallID(), from: s.clientAddr(c.Context()), ends: began.Add(s.requestTime)}
	defer this.finish()
	c.Locals(callKey{}, this)
	c.SetUserContext(this)
	c.Set("Request-Id", this.id)
	s.setAPIHeaders(c)

	s.metrics.inFlight.Inc()
	defer s.metrics.inFlight.Dec()
	if err := s.shielded(c.Next); err != nil {
		if err := s.handleError(c, err); err != nil {
			return err
		}
	}

	route, took := c.Route().Path, time.Since(began)
	if this.unmatched {
		route = "none"
	}
	status := c.Response().StatusCode()
	s.metrics.answered(route, c.Method(), status, took)
	s.logCall(c, this, route, status, took)
	return nil
}

// within gives a route another time limit than most have.
func within(d time.Duration) fiber.Handler {
	return func(c *fiber.Ctx) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.UserContext()), d)
		defer cancel()
		c.SetUserContext(ctx)
		return c.Next()
	}
}

// errPanic is a fault of the program that was caught.
type errPanic struct {
	value any
	stack []byte
}

func (e *errPanic) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// shielded calls f and turns a panic into an error: one broken handler must not
// end everybody else's requests.
func (s *Server) shielded(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.metrics.panics.Inc()
			err = &errPanic{v, debug.Stack()}
		}
	}()
	return f()
}

// logCall writes the one line of a request. It holds no path, no query, no token
// and no whole address: those are, or lead to, people and secrets.
func (s *Server) logCall(c *fiber.Ctx, this *call, route string, status int, took time.Duration) {
	level := slog.LevelInfo
	switch {
	case status == http.StatusInternalServerError:
		level = slog.LevelError
	case status > http.StatusInternalServerError:
		level = slog.LevelWarn
	}
	if !s.log.Enabled(context.Background(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs,
		slog.String("request_id", this.id),
		slog.String("method", c.Method()),
		slog.String("route", route),
		slog.Int("status", status),
		slog.Float64("ms", float64(took.Microseconds())/1000),
		slog.String("from", logPrefix(this.from).String()),
	)
	if this.merchant != "" {
		attrs = append(attrs, slog.String("merchant", string(this.merchant)))
	}
	if this.code != "" {
		attrs = append(attrs, slog.String("code", this.code))
	}
	if this.err != nil && status >= http.StatusInternalServerError {
		attrs = append(attrs, slog.String("err", this.err.Error()))
		if p, ok := errors.AsType[*errPanic](this.err); ok {
			attrs = append(attrs, slog.String("stack", string(p.stack)))
		}
	}
	s.log.LogAttrs(context.Background(), level, "request", attrs...)
}

// setAPIHeaders says what holds for every answer that is not a page: nothing in it
// is a document to be shown, framed or kept.
func (s *Server) setAPIHeaders(c *fiber.Ctx) {
	h := &c.Context().Response.Header
	for _, kv := range apiHeaders {
		h.SetCanonical(kv[0], kv[1])
	}
	if s.https {
		h.SetCanonical(transportSecurity[0], transportSecurity[1])
	}
}

// Names in the form that goes out, so that nothing has to be spelt out per answer.
var (
	apiHeaders = [][2][]byte{
		{[]byte("X-Content-Type-Options"), []byte("nosniff")},
		{[]byte("Referrer-Policy"), []byte("no-referrer")},
		{[]byte("Cache-Control"), []byte("no-store")},
		{[]byte("Content-Security-Policy"), []byte("default-src 'none'; frame-ancestors 'none'")},
	}
	transportSecurity = [2][]byte{[]byte("Strict-Transport-Security"), []byte("max-age=31536000")}
)

// pagePolicy is what one page may do. Make it once per page with newPagePolicy.
type pagePolicy struct{ content, permissions string }

// newPagePolicy returns the policy of a page that gets by with our own scripts,
// styles and images. sources adds to a directive of the Content-Security-Policy,
// for example "form-action": the bank's origins, where a form's answer may lead;
// a source that is not one word is left out. features are those of the browser
// that the page itself may use, for example "camera".
func newPagePolicy(sources map[string][]string, features ...string) pagePolicy {
	var content strings.Builder
	for _, d := range []struct{ directive, sources string }{
		{"default-src", "'none'"},
		{"script-src", "'self'"},
		{"style-src", "'self'"},
		{"img-src", "'self' data:"},
		{"font-src", "'self'"},
		{"media-src", "'self'"},
		{"connect-src", "'self'"},
		{"manifest-src", "'self'"},
		{"worker-src", "'self'"},
		{"form-action", "'self'"},
		{"frame-src", "'none'"},
		{"frame-ancestors", "'none'"},
		{"base-uri", "'none'"},
	} {
		if content.Len() > 0 {
			content.WriteString("; ")
		}
		content.WriteString(d.directive)
		if d.sources != "'none'" || len(sources[d.directive]) == 0 { // 'none' stands alone
			content.WriteString(" " + d.sources)
		}
		for _, source := range sources[d.directive] {
			if source != "" && !strings.ContainsFunc(source, func(r rune) bool { return r <= ' ' || r > '~' || r == ';' || r == ',' }) {
				content.WriteString(" " + source)
			}
		}
	}
	allowed := make([]string, 0, 5)
	for _, feature := range []string{"camera", "geolocation", "microphone", "payment", "usb"} {
		list := "()"
		for _, wanted := range features {
			if wanted == feature {
				list = "(self)"
			}
		}
		allowed = append(allowed, feature+"="+list)
	}
	return pagePolicy{content.String(), strings.Join(allowed, ", ")}
}

// setPageHeaders says what holds for an answer that is a page.
//
// Referrer-Policy is same-origin rather than no-referrer: no other site learns
// the address, which holds a token, but our own forms keep their Origin header,
// without which an older browser's could not be told from a foreign site's.
func setPageHeaders(c *fiber.Ctx, p pagePolicy) {
	c.Set("Content-Security-Policy", p.content)
	c.Set("Permissions-Policy", p.permissions)
	c.Set("Referrer-Policy", "same-origin")
	c.Set("Cross-Origin-Opener-Policy", "same-origin")
	c.Set(fiber.HeaderContentType, fiber.MIMETextHTMLCharsetUTF8)
}

// sameOrigin refuses what another site's page makes a browser send: for routes
// that take a cookie or a form. It is the rule of net/http.CrossOriginProtection:
// browsers say in Sec-Fetch-Site where a request comes from, older ones in Origin;
// whoever sends neither is no browser and holds nobody's cookies.
func (s *Server) sameOrigin(c *fiber.Ctx) error {
	switch c.Method() {
	case fiber.MethodGet, fiber.MethodHead, fiber.MethodOptions:
		return c.Next()
	}
	switch c.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return c.Next()
	case "":
		if origin := c.Get(fiber.HeaderOrigin); origin == "" || s.ownOrigin(origin, string(c.Context().Host())) {
			return c.Next()
		}
	}
	return &linking.Error{Kind: linking.Forbidden, Code: "forbidden", Detail: "This came from a page of another site."}
}

// ownOrigin reports whether a page at origin is ours: it has our public origin, or
// the very host that this request was sent to.
func (s *Server) ownOrigin(origin, host string) bool {
	if strings.EqualFold(origin, s.publicOrigin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}
