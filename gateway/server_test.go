package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
)

// discardLog is for measurements.
var discardLog = slog.New(slog.DiscardHandler)

// journal is a log that tests read while the gateway writes it.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// gw is a gateway that runs, with routes of the test's own.
type gw struct {
	*Server
	addr string // host:port
	url  string
	log  *journal
}

// startGateway runs a gateway on a port of its own until the test ends.
func startGateway(t testing.TB, cfg Config, routes func(*Server)) *gw {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startGatewayOn(t, ln, cfg, routes)
}

func startGatewayOn(t testing.TB, ln net.Listener, cfg Config, routes func(*Server)) *gw {
	t.Helper()
	log := &journal{}
	if cfg.PublicURL == "" {
		cfg.PublicURL = "http://gateway.example"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.app.Get("/healthz", s.healthz)
	s.app.Get("/readyz", s.readyz)
	s.app.Get("/metrics", s.metricsPage())
	if routes != nil {
		routes(s)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	addr := ln.Addr().String()
	return &gw{s, addr, "http://" + addr, log}
}

// eventually waits for something that has no event to wait for.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after ten seconds: %s", what)
		}
	}
}

// talk sends bytes as they are and returns all that comes back until the gateway
// closes, or says nothing more for a while.
func talk(t testing.TB, addr, request string, patience time.Duration) (answer string, closed bool) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Fatal(err) // a gateway that has heard enough answers and hangs up
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(conn)
	ne, timedOut := errors.AsType[net.Error](err)
	return string(b), !(timedOut && ne.Timeout())
}

// do sends a request and returns the answer with its body read.
func do(t testing.TB, method, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Add(header[i], header[i+1])
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       20 * time.Second,
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// mustBeProblem checks the form of a problem document and returns it.
func mustBeProblem(t testing.TB, resp *http.Response, body string, status int, code string) map[string]any {
	t.Helper()
	if resp.StatusCode != status || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("got %d %q %s, want %d", resp.StatusCode, resp.Header.Get("Content-Type"), body, status)
	}
	var doc map[string]any
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if doc["code"] != code || doc["status"] != float64(status) || doc["type"] != "/docs#"+code ||
		len(fmt.Sprint(doc["request_id"])) != 26 || doc["title"] == "" || doc["detail"] == "" {
		t.Fatalf("problem %s, want code %s", body, code)
	}
	if id := resp.Header.Get("Request-Id"); id != doc["request_id"] {
		t.Errorf("Request-Id %q beside request_id %v", id, doc["request_id"])
	}
	return doc
}

// Clients that send their requests a byte at a time do not keep anybody else
// waiting, and not their own connection either.
func TestSlowloris(t *testing.T) {
	g := startGateway(t, Config{ReadTime: 500 * time.Millisecond, IdleTime: time.Second}, nil)
	var all sync.WaitGroup
	began := time.Now()
	for range 40 {
		conn, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		all.Go(func() {
			ticker := time.NewTicker(50 * time.Millisecond)
			defer ticker.Stop()
			go func() {
				for i := 0; ; i++ {
					if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"[i%60:][:1])); err != nil {
						return
					}
					<-ticker.C
				}
			}()
			conn.SetReadDeadline(time.Now().Add(8 * time.Second))
			b, err := io.ReadAll(conn)
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				t.Error("a slow connection was still open after 8 s")
			}
			if len(b) > 0 && !bytes.Contains(b, []byte(" 408 ")) {
				t.Errorf("answer %q", b)
			}
		})
	}
	if resp, _ := do(t, "GET", g.url+"/healthz", ""); resp.StatusCode != 200 {
		t.Errorf("healthz %d while 40 slow clients are connected", resp.StatusCode)
	}
	all.Wait()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the last slow connection was closed after %v", took)
	}
}

// An idle connection is closed after IdleTime.
func TestIdleConnectionIsClosed(t *testing.T) {
	g := startGateway(t, Config{IdleTime: 300 * time.Millisecond}, nil)
	answer, closed := talk(t, g.addr, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 5*time.Second)
	if !closed || strings.Count(answer, "HTTP/1.1") != 1 || !strings.Contains(answer, "200 OK") {
		t.Errorf("closed %v after %q", closed, answer)
	}
}

func TestTooManyConnections(t *testing.T) {
	g := startGateway(t, Config{MaxConnections: 3}, nil)
	var held []net.Conn
	for range 3 {
		conn, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		held = append(held, conn)
	}
	eventually(t, "three connections are counted", func() bool { return g.connections.Load() == 3 })
	answer, closed := talk(t, g.addr, "", 2*time.Second)
	if !closed || !strings.HasPrefix(answer, "HTTP/1.1 503 ") || !strings.Contains(answer, `"code":"overloaded"`) || !strings.Contains(answer, "Retry-After: 1\r\n") {
		t.Errorf("closed %v, %q", closed, answer)
	}
	held[0].Close()
	eventually(t, "one connection has left", func() bool { return g.connections.Load() == 2 })
	if resp, _ := do(t, "GET", g.url+"/healthz", ""); resp.StatusCode != 200 {
		t.Errorf("healthz %d after one left", resp.StatusCode)
	}
}

func TestBodyLimits(t *testing.T) {
	g := startGateway(t, Config{}, func(s *Server) {
		s.largeBody("POST", "/import", 1<<20, 20*time.Second)
		echo := func(c *fiber.Ctx) error { return c.SendString(fmt.Sprint(len(c.BodyRaw()))) }
		s.app.Post("/import", echo)
		s.app.Put("/import", echo)
		s.app.Post("/small", echo)
	})
	for _, tt := range []struct {
		name, method, path string
		size, status       int
	}{
		{"the limit", "POST", "/small", bodyLimit, 200},
		{"one byte more", "POST", "/small", bodyLimit + 1, 413},
		{"a route's own limit", "POST", "/import", 1 << 20, 200},
		{"a route's own limit with a query", "POST", "/import?dry_run=1", 1 << 20, 200},
		{"beyond it", "POST", "/import", 1<<20 + 1, 413},
		{"its other methods", "PUT", "/import", bodyLimit + 1, 413},
		{"another spelling", "POST", "/IMPORT/", bodyLimit + 1, 413},
		{"a way around", "POST", "/import/../small", bodyLimit + 1, 413},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/chunked=%v", tt.name, chunked), func(t *testing.T) {
				body := strings.Repeat("x", tt.size)
				request := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", tt.method, tt.path, len(body), body)
				if chunked {
					request = fmt.Sprintf("%s %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", tt.method, tt.path, len(body), body)
				}
				answer, _ := talk(t, g.addr, request, 5*time.Second)
				if !strings.HasPrefix(answer, fmt.Sprintf("HTTP/1.1 %d ", tt.status)) {
					t.Errorf("%.200q", answer)
				}
				if tt.status == 413 && !strings.Contains(answer, `"code":"too_large"`) {
					t.Errorf("%q is not our problem", answer)
				}
			})
		}
	}
}

// A client that takes its answer slowly is cut off, later where answers are long.
func TestSlowReaders(t *testing.T) {
	answer := make([]byte, 16<<20) // more than socket buffers take
	g := startGateway(t, Config{WriteTime: 200 * time.Millisecond}, func(s *Server) {
		s.longAnswer("/rows/", 10*time.Second)
		send := func(c *fiber.Ctx) error { return c.Send(answer) }
		s.app.Get("/short", send)
		s.app.Get("/rows/:batch", send)
	})
	for path, whole := range map[string]bool{"/short": false, "/rows/1": true} {
		conn, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if _, err := io.ReadFull(conn, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(600 * time.Millisecond) // to be slow is what is tested
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := io.Copy(io.Discard, conn); (n > int64(len(answer))) != whole {
			t.Errorf("%s: %d bytes, %v", path, n, err)
		}
	}
}

// Stop: not ready, then no new connections, then the open request is finished.
func TestStopFinishesOpenRequests(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	entered, release := make(chan struct{}), make(chan struct{})
	g := startGatewayOn(t, ln, Config{LeaveTime: 300 * time.Millisecond}, func(s *Server) {
		s.app.Get("/slow", func(c *fiber.Ctx) error {
			close(entered)
			<-release
			if err := c.UserContext().Err(); err != nil {
				return err
			}
			return c.SendString("finished")
		})
		s.app.Get("/wait", func(c *fiber.Ctx) error {
			<-s.stopping()
			return c.SendString("woken")
		})
	})
	if resp, body := do(t, "GET", g.url+"/readyz", ""); resp.StatusCode != 200 || body != `{"status":"ready"}` {
		t.Fatalf("readyz %d %s", resp.StatusCode, body)
	}
	answers := make(chan string, 2)
	for _, path := range []string{"/slow", "/wait"} {
		go func() {
			resp, body := do(t, "GET", g.url+path, "")
			answers <- fmt.Sprint(resp.StatusCode, " ", body)
		}()
	}
	<-entered
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		stopped <- g.Stop(ctx)
	}()
	<-g.stopping()
	if resp, body := do(t, "GET", g.url+"/readyz", ""); resp.StatusCode != 503 || body != `{"status":"stopping"}` {
		t.Errorf("readyz while leaving: %d %s", resp.StatusCode, body)
	}
	if answer := <-answers; answer != "200 woken" {
		t.Errorf("the waiting request: %s", answer)
	}
	eventually(t, "the listener is closed", func() bool {
		conn, err := net.Dial("tcp", g.addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	select {
	case err := <-stopped:
		t.Fatalf("stopped (%v) before the open request was finished", err)
	default:
	}
	close(release)
	if answer := <-answers; answer != "200 finished" {
		t.Errorf("the open request: %s", answer)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
}

// A handler that never ends cannot hold up the end of the program.
func TestStopGivesUp(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s, err := New(Config{PublicURL: "http://gateway.example", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.app.Get("/stuck", func(c *fiber.Ctx) error { close(entered); <-release; return nil })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := s.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stop: %v", err)
	}
	close(release)
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestStopBeforeServe(t *testing.T) {
	s, err := New(Config{PublicURL: "http://gateway.example"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(ln); err != nil {
		t.Errorf("serve after stop: %v", err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("the listener is still open")
	}
}

func TestServeTwice(t *testing.T) {
	g := startGateway(t, Config{}, nil)
	eventually(t, "it serves", func() bool { resp, _ := do(t, "GET", g.url+"/healthz", ""); return resp.StatusCode == 200 })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Serve(ln); err == nil {
		t.Error("served a second listener")
	}
}

func TestReadiness(t *testing.T) {
	var problem atomic.Pointer[error]
	g := startGateway(t, Config{Ready: func(context.Context) (map[string]any, error) {
		if err := problem.Load(); err != nil {
			return nil, *err
		}
		return map[string]any{"unsafe_store": "yes"}, nil
	}}, nil)
	if resp, body := do(t, "GET", g.url+"/readyz", ""); resp.StatusCode != 200 || !strings.Contains(body, `"unsafe_store":"yes"`) {
		t.Errorf("readyz %d %s", resp.StatusCode, body)
	}
	err := errors.New("dial tcp 10.0.0.7:6379: refused")
	problem.Store(&err)
	resp, body := do(t, "GET", g.url+"/readyz", "")
	if resp.StatusCode != 503 || strings.Contains(body, "10.0.0.7") {
		t.Errorf("readyz %d %s", resp.StatusCode, body)
	}
	if !strings.Contains(g.log.String(), "10.0.0.7") {
		t.Error("the log does not say why")
	}
	if resp, _ := do(t, "GET", g.url+"/healthz", ""); resp.StatusCode != 200 {
		t.Errorf("healthz %d: a store that is away is no reason to restart the process", resp.StatusCode)
	}
}

func TestPublicURL(t *testing.T) {
	for _, wrong := range []string{"", "pay.example.com", "ftp://pay.example.com", "https://", "https://pay.example.com/sub", "https://u@pay.example.com", "https://pay.example.com?x", "https://pay.example.com#x"} {
		if _, err := New(Config{PublicURL: wrong}); err == nil {
			t.Errorf("%q was accepted", wrong)
		}
	}
	for _, right := range []string{"https://pay.example.com", "https://pay.example.com/", "http://127.0.0.1:8080"} {
		if _, err := New(Config{PublicURL: right}); err != nil {
			t.Errorf("%q: %v", right, err)
		}
	}
}

// The error of a listener that breaks is told.
func TestServeTellsABrokenListener(t *testing.T) {
	s, err := New(Config{PublicURL: "http://gateway.example"})
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("out of luck")
	if err := s.Serve(brokenListener{broken}); !errors.Is(err, broken) {
		t.Errorf("serve: %v", err)
	}
}

type brokenListener struct{ err error }

func (l brokenListener) Accept() (net.Conn, error) { return nil, l.err }
func (l brokenListener) Close() error              { return nil }
func (l brokenListener) Addr() net.Addr            { return &net.TCPAddr{} }
