package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp"
)

// Config says how the gateway meets the world. The zero value of a field stands
// for what its comment calls the default.
type Config struct {
	// PublicURL is where payers and tills reach the gateway, for example
	// https://pay.example.com. Absolute URLs are made from it; a Host header is
	// only ever what somebody claims. Required.
	PublicURL string

	// TrustedProxies are the operator's own proxies. Only they are believed about
	// who the client is.
	TrustedProxies []netip.Prefix

	Log     *slog.Logger         // default: slog.Default()
	Metrics *prometheus.Registry // default: one of its own

	// Ready says why no traffic should come here now; nil if it should. What it says
	// beside that is shown on the page to everybody. Default: always ready.
	Ready func(context.Context) (map[string]any, error)

	// MetricsFrom are the networks that may read /metrics, besides this machine.
	MetricsFrom []netip.Prefix

	RequestTime time.Duration // a handler's context ends after this; default 15 s
	ReadTime    time.Duration // a request must have arrived within this; default 10 s
	WriteTime   time.Duration // an answer must have been taken within this; default 30 s
	IdleTime    time.Duration // a connection waits for its next request so long; default 60 s

	// LeaveTime is how long /readyz already says no while new connections are still
	// taken, when the gateway stops: as long as the load balancer needs to notice.
	// Default: none.
	LeaveTime time.Duration

	MaxConnections int // besides event streams; default 10,000

	Streams StreamConfig
}

// bodyLimit is what a body may have at most on a route that says nothing else.
// The largest ordinary request, one with hundreds of lines, has a tenth of it.
const bodyLimit = 64 << 10

// headLimit bounds the request line and the headers together.
const headLimit = 8 << 10

// Server is the HTTP side of one process.
type Server struct {
	app       *fiber.App
	log       *slog.Logger
	metrics   *metrics
	registry  *prometheus.Registry
	streams   *streams
	errorPage func(*fiber.Ctx, *problem) error // shows a problem to a person; nil: as JSON to everybody

	public         *url.URL
	publicOrigin   string
	https          bool
	proxies        []netip.Prefix
	ready          func(context.Context) (map[string]any, error)
	metricsFrom    []netip.Prefix
	requestTime    time.Duration
	leaveTime      time.Duration
	maxConnections int
	large          map[string]largeBody // by "POST /path"
	long           []longAnswer

	connections atomic.Int64
	leaving     chan struct{} // closed when the gateway begins to stop

	mu       sync.Mutex
	listener net.Listener

	callbackListener net.Listener // see ServeCallbacks
	stopped          bool
}

type largeBody struct {
	limit    int
	readTime time.Duration
}

type longAnswer struct {
	prefix    string
	writeTime time.Duration
}

// New makes a gateway that serves nothing yet.
func New(cfg Config) (*Server, error) {
	public, err := url.Parse(strings.TrimSuffix(cfg.PublicURL, "/"))
	if err != nil || public.Scheme != "https" && public.Scheme != "http" || public.Host == "" || public.Path != "" || public.RawQuery != "" || public.Fragment != "" || public.User != nil {
		return nil, fmt.Errorf("gateway: the public URL must be https://HOST or http://HOST, not %q", cfg.PublicURL)
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Metrics == nil {
		cfg.Metrics = prometheus.NewRegistry()
	}
	if cfg.Ready == nil {
		cfg.Ready = func(context.Context) (map[string]any, error) { return nil, nil }
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = 10_000
	}
	s := &Server{
		log:            cfg.Log,
		metrics:        newMetrics(cfg.Metrics),
		registry:       cfg.Metrics,
		public:         public,
		publicOrigin:   public.Scheme + "://" + public.Host,
		https:          public.Scheme == "https",
		proxies:        cfg.TrustedProxies,
		ready:          cfg.Ready,
		metricsFrom:    cfg.MetricsFrom,
		requestTime:    orElse(cfg.RequestTime, 15*time.Second),
		leaveTime:      cfg.LeaveTime,
		maxConnections: cfg.MaxConnections,
		large:          map[string]largeBody{},
		leaving:        make(chan struct{}),
	}
	s.streams = newStreams(cfg.Streams, s)

	s.app = fiber.New(fiber.Config{
		// Strings of a call alias a buffer that the next call overwrites: another
		// merchant's. With this they are copies.
		Immutable:             true,
		DisableStartupMessage: true,
		ErrorHandler:          s.handleError,

		// Payers scan HTTPS://HOST/Q/TOKEN, and people type a slash at the end.
		CaseSensitive: false,
		StrictRouting: false,
		// %2F stays inside a path parameter; see pathParam.
		UnescapePath: false,

		BodyLimit:      bodyLimit,
		ReadBufferSize: headLimit,
		ReadTimeout:    orElse(cfg.ReadTime, 10*time.Second),
		IdleTimeout:    orElse(cfg.IdleTime, 60*time.Second),
		// For one answer to be taken, see longAnswer. Event streams have their own.
		WriteTimeout: orElse(cfg.WriteTime, 30*time.Second),
		// Forms with files are not ours, and unpacking them writes to the disk.
		DisablePreParseMultipartForm: true,

		// With no trusted proxy of its own, Fiber believes no X-Forwarded header;
		// clientAddr does, by the rules.
		EnableTrustedProxyCheck: true,
		EnableIPValidation:      true,

		// More than the listener lets in, so that fasthttp's own refusal, which is
		// plain text, is never seen.
		Concurrency: cfg.MaxConnections + 64,
		// Several processes would each have their own breakers, limits and streams.
		Prefork: false,
	})
	wire := s.app.Server()
	wire.Handler = s.guarded(wire.Handler)
	wire.ErrorHandler = s.unreadable
	wire.HeaderReceived = s.headerReceived
	wire.ConnState = s.countConnections
	wire.KeepHijackedConns = true // the streams close theirs
	wire.CloseOnShutdown = true
	wire.SecureErrorLogMessage = true
	wire.NoDefaultContentType = true

	s.app.Use(s.observe)
	return s, nil
}

func orElse(d, standard time.Duration) time.Duration {
	if d == 0 {
		return standard
	}
	return d
}

// guarded lets through what is a proper request with a method we know, and
// answers for a fault outside of the handlers.
func (s *Server) guarded(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if fault := wireFault(&ctx.Request.Header); fault != "" {
			s.refuse(ctx, &httpFailure{http.StatusBadRequest, "malformed", "This is not a well-formed HTTP request: " + fault + "."})
			return
		}
		if strayed(ctx) {
			s.refuse(ctx, httpFailures[http.StatusNotFound])
			return
		}
		if !knownMethod(ctx.Method()) {
			s.refuse(ctx, httpFailures[http.StatusNotImplemented])
			return
		}
		if err := s.shielded(func() error { next(ctx); return nil }); err != nil {
			p := newProblem(err)
			s.refuse(ctx, &httpFailure{p.Status, p.Code, p.Detail})
			s.log.Error("request", "err", err, "stack", string(err.(*errPanic).stack))
		}
	}
}

// largeBody lets one route take more than bodyLimit, and gives the sender more time
// for it. In its path a * may stand for the parameter before the last part. Call it
// before Serve.
func (s *Server) largeBody(method, path string, limit int, readTime time.Duration) {
	s.large[method+" "+path] = largeBody{limit, readTime}
}

// longAnswer gives clients more time to take an answer from an address that begins
// with prefix: a download of a million rows. Call it before Serve.
func (s *Server) longAnswer(prefix string, writeTime time.Duration) {
	s.long = append(s.long, longAnswer{prefix, writeTime})
}

// headerReceived applies largeBody and longAnswer. It sees the address as it was
// sent: another spelling of it gets the ordinary limits.
func (s *Server) headerReceived(h *fasthttp.RequestHeader) (c fasthttp.RequestConfig) {
	for _, long := range s.long {
		if bytes.HasPrefix(h.RequestURI(), []byte(long.prefix)) {
			c.WriteTimeout = long.writeTime
		}
	}
	if n := h.ContentLength(); n > bodyLimit || n == -1 {
		path, _, _ := strings.Cut(string(h.RequestURI()), "?")
		large, ok := s.large[string(h.Method())+" "+path]
		if last := strings.LastIndexByte(path, '/'); !ok && last > 0 {
			before := strings.LastIndexByte(path[:last], '/')
			large, ok = s.large[string(h.Method())+" "+path[:before+1]+"*"+path[last:]]
		}
		if ok {
			c.MaxRequestBodySize, c.ReadTimeout = large.limit, large.readTime
		}
	}
	return c
}

// Serve answers what comes in through ln until Stop; it then returns nil. The
// listener may speak TLS. Connections are accepted as soon as ln exists, so that
// whoever made it may already tell its address. Serve is called once.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	if s.stopped || s.listener != nil {
		stopped := s.stopped
		s.mu.Unlock()
		ln.Close()
		if stopped {
			return nil
		}
		return errors.New("gateway: serving already")
	}
	s.listener = ln
	s.mu.Unlock()
	return s.app.Listener(&gate{ln, s})
}

// Stop ends the gateway in this order: /readyz says no; after LeaveTime the event
// streams end; no new connection is taken and open requests are finished; then it
// returns. If ctx ends first, so does the wait, and the error says so.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return nil
	}
	s.stopped = true
	ln, banks := s.listener, s.callbackListener
	close(s.leaving)
	s.mu.Unlock()
	if banks != nil {
		defer banks.Close() // if ServeCallbacks had not come so far as to hand it over
	}
	if ln == nil {
		return nil
	}
	select {
	case <-time.After(s.leaveTime):
	case <-ctx.Done():
	}
	err := s.streams.close(ctx)
	err = errors.Join(err, s.app.ShutdownWithContext(ctx))
	ln.Close() // if Serve had not come so far as to hand it over
	return err
}

// stopping is closed when the gateway begins to stop: whoever waits for something
// to happen before it answers should answer now.
func (s *Server) stopping() <-chan struct{} { return s.leaving }

// gate is a listener that turns connections away when there are too many.
type gate struct {
	net.Listener
	s *Server
}

const overloadedAnswer = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"

func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil || g.s.connections.Load() < int64(g.s.maxConnections) {
			return c, err
		}
		g.s.metrics.refused.WithLabelValues("503").Inc()
		if _, plain := c.(*net.TCPConn); plain { // a TLS handshake would cost more than the answer is worth
			f := httpFailures[http.StatusServiceUnavailable]
			doc, _ := (&problem{Status: f.status, Code: f.code, Detail: f.detail, RequestID: newCallID()}).body()
			c.SetWriteDeadline(time.Now().Add(time.Second))
			fmt.Fprintf(c, overloadedAnswer, len(doc), doc)
		}
		c.Close()
	}
}

func (s *Server) countConnections(_ net.Conn, state fasthttp.ConnState) {
	switch state {
	case fasthttp.StateNew:
		s.connections.Add(1)
	case fasthttp.StateClosed, fasthttp.StateHijacked:
		s.connections.Add(-1)
	}
}

// healthz answers as long as the process runs.
func (s *Server) healthz(c *fiber.Ctx) error {
	return c.JSON(map[string]string{"status": "ok"})
}

// readyz answers 200 if traffic should come here. Why not is for the log, as the page
// is public; what the operator must be reminded of for ever is on it all the same.
func (s *Server) readyz(c *fiber.Ctx) error {
	select {
	case <-s.leaving:
		c.Status(http.StatusServiceUnavailable)
		return c.JSON(map[string]string{"status": "stopping"})
	default:
	}
	facts, err := s.ready(c.UserContext())
	page := map[string]any{"status": "ready"}
	maps.Copy(page, facts)
	if err != nil {
		callOf(c).err = err
		page["status"] = "not ready"
		c.Status(http.StatusServiceUnavailable)
	}
	return c.JSON(page)
}

// metricsPage shows the registry to Prometheus, on this machine or where the operator
// said. For anybody else there is no such page.
func (s *Server) metricsPage() fiber.Handler {
	show := adaptor.HTTPHandler(promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	return func(c *fiber.Ctx) error {
		from := callOf(c).from
		if from.IsLoopback() || slices.ContainsFunc(s.metricsFrom, func(p netip.Prefix) bool { return p.Contains(from) }) {
			return show(c)
		}
		return fiber.ErrNotFound
	}
}
