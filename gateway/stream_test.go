package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
)

// listener is a client of an event stream that reads line by line.
type listener struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
	head *http.Response
}

func listen(t testing.TB, conn net.Conn, err error, path string, header ...string) *listener {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	request := "GET " + path + " HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n"
	for i := 0; i < len(header); i += 2 {
		request += header[i] + ": " + header[i+1] + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(15 * time.Second))
	l := &listener{t: t, conn: conn, in: bufio.NewReader(conn)}
	head, err := http.ReadResponse(l.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.head = head
	return l
}

func (g *gw) listen(t testing.TB, path string, header ...string) *listener {
	t.Helper()
	conn, err := net.Dial("tcp", g.addr)
	return listen(t, conn, err, path, header...)
}

// message returns the lines of the next message, or of the next comment; false
// when the stream has ended.
func (l *listener) message() (lines []string, ok bool) {
	l.t.Helper()
	for {
		line, err := l.in.ReadString('\n')
		if err == io.EOF {
			return lines, false
		}
		if err != nil {
			l.t.Errorf("stream: %v", err)
			return lines, false
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			return lines, true
		}
		lines = append(lines, line)
	}
}

// event skips comments and retry, and returns the next event's lines joined by |.
func (l *listener) event() string {
	l.t.Helper()
	for {
		lines, ok := l.message()
		if !ok {
			return "the end"
		}
		lines = slices.DeleteFunc(lines, func(s string) bool { return strings.HasPrefix(s, ":") || strings.HasPrefix(s, "retry:") })
		if len(lines) > 0 {
			return strings.Join(lines, "|")
		}
	}
}

// board is a feed of numbered notes, woken by whoever writes one.
type board struct {
	mu       sync.Mutex
	notes    []string
	watchers map[int]func()
	watched  int
	nexts    atomic.Int64
}

func (b *board) write(note string) {
	b.mu.Lock()
	b.notes = append(b.notes, note)
	b.mu.Unlock()
	b.wake()
}

func (b *board) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, wake := range b.watchers {
		wake()
	}
}

func (b *board) watching() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.watchers)
}

func (b *board) feed() feed {
	return feed{
		Retry: 1500 * time.Millisecond,
		Watch: func(wake func()) func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.watchers == nil {
				b.watchers = map[int]func(){}
			}
			b.watched++
			me := b.watched
			b.watchers[me] = wake
			return func() {
				b.mu.Lock()
				defer b.mu.Unlock()
				delete(b.watchers, me)
			}
		},
		Next: func(_ context.Context, last string) (events []event, err error) {
			b.nexts.Add(1)
			seen, _ := strconv.Atoi(last)
			b.mu.Lock()
			defer b.mu.Unlock()
			for i := seen; i < len(b.notes); i++ {
				events = append(events, event{ID: strconv.Itoa(i + 1), Name: "note", Data: []byte(b.notes[i])})
			}
			return events, nil
		},
	}
}

func (b *board) route(s *Server) {
	s.app.Get("/events", func(c *fiber.Ctx) error { return s.streams.serve(c, b.feed()) })
}

func TestStream(t *testing.T) {
	b := &board{}
	b.write("first")
	g := startGateway(t, Config{}, b.route)
	l := g.listen(t, "/events")
	for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Length": "", "X-Accel-Buffering": "no"} {
		if got := l.head.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if l.head.StatusCode != 200 || len(l.head.TransferEncoding) > 0 || !l.head.Close {
		t.Errorf("status %d, encoding %v, close %v", l.head.StatusCode, l.head.TransferEncoding, l.head.Close)
	}
	if lines, _ := l.message(); !slices.Equal(lines, []string{"retry: 1500"}) {
		t.Errorf("the stream begins with %q", lines)
	}
	if got := l.event(); got != "id: 1|event: note|data: first" {
		t.Error(got)
	}
	b.write("two\nlines\r\nand <three>")
	if got := l.event(); got != "id: 2|event: note|data: two|data: lines|data: and <three>" {
		t.Error(got)
	}
	// A client that comes back gets what it missed, and that alone.
	l.conn.Close()
	b.write("third")
	back := g.listen(t, "/events", "Last-Event-ID", "2")
	if got := back.event(); got != "id: 3|event: note|data: third" {
		t.Error(got)
	}
	for _, odd := range []string{"2é", strings.Repeat("2", 200)} {
		if got := g.listen(t, "/events", "Last-Event-ID", odd).event(); got != "id: 1|event: note|data: first" {
			t.Errorf("after an id that was never ours: %s", got)
		}
	}
	resp, body := do(t, "HEAD", g.url+"/events", "")
	if resp.StatusCode != 200 || body != "" || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD: %d %v", resp.StatusCode, resp.Header)
	}
	if !strings.Contains(g.log.String(), `"route":"/events"`) {
		t.Error("an opened stream is not in the log")
	}
}

// However wakes and writes fall together, nothing is lost and nothing comes twice.
func TestStreamLosesNothing(t *testing.T) {
	b := &board{}
	g := startGateway(t, Config{}, b.route)
	const listeners, notes = 20, 200
	var all sync.WaitGroup
	for range listeners {
		l := g.listen(t, "/events")
		all.Go(func() {
			for i := range notes {
				if got, want := l.event(), fmt.Sprintf("id: %d|event: note|data: %d", i+1, i); got != want {
					t.Errorf("got %s, want %s", got, want)
					return
				}
			}
		})
	}
	for i := range notes {
		b.write(strconv.Itoa(i))
	}
	all.Wait()
}

// A wake that falls into a running Next causes another Next.
func TestStreamWakeWhileBusy(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	var wake func()
	var calls atomic.Int64
	g := startGateway(t, Config{}, func(s *Server) {
		s.app.Get("/events", func(c *fiber.Ctx) error {
			return s.streams.serve(c, feed{
				Watch: func(w func()) func() { wake = w; return func() {} },
				Next: func(context.Context, string) ([]event, error) {
					n := calls.Add(1)
					if n == 1 {
						close(entered)
						<-release
					}
					return []event{{Data: []byte(strconv.Itoa(int(n)))}}, nil
				},
			})
		})
	})
	l := g.listen(t, "/events")
	<-entered
	for range 100 { // stand for one
		wake()
	}
	close(release)
	if a, b := l.event(), l.event(); a != "data: 1" || b != "data: 2" {
		t.Errorf("%s, %s", a, b)
	}
	wake()
	if got := l.event(); got != "data: 3" {
		t.Errorf("%s: a hundred wakes at once were more than one", got)
	}
}

func TestStreamPollsAndBeats(t *testing.T) {
	var n atomic.Int64
	g := startGateway(t, Config{Streams: StreamConfig{Beat: 60 * time.Millisecond}}, func(s *Server) {
		s.app.Get("/polled", func(c *fiber.Ctx) error {
			return s.streams.serve(c, feed{Poll: 30 * time.Millisecond, Next: func(context.Context, string) ([]event, error) {
				return []event{{Data: []byte(strconv.Itoa(int(n.Add(1))))}}, nil
			}})
		})
		s.app.Get("/silent", func(c *fiber.Ctx) error {
			return s.streams.serve(c, feed{Next: func(context.Context, string) ([]event, error) { return nil, nil }})
		})
	})
	l := g.listen(t, "/polled")
	for i := range 5 {
		if got, want := l.event(), fmt.Sprintf("data: %d", i+1); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	silent := g.listen(t, "/silent")
	for range 4 {
		if lines, ok := silent.message(); !ok || len(lines) != 1 || lines[0] != ":" {
			t.Errorf("a silent stream says %q %v", lines, ok)
		}
	}
}

// A client that leaves is noticed at the next beat, whether it says farewell or
// breaks off, and its feed stops watching.
func TestStreamClientLeaves(t *testing.T) {
	for _, how := range []string{"closes", "resets", "half-closes", "speaks"} {
		t.Run(how, func(t *testing.T) {
			b := &board{}
			g := startGateway(t, Config{Streams: StreamConfig{Beat: 100 * time.Millisecond}}, b.route)
			stays, l := g.listen(t, "/events"), g.listen(t, "/events")
			eventually(t, "both are watched", func() bool { return b.watching() == 2 })
			switch tcp := l.conn.(*net.TCPConn); how {
			case "closes":
				tcp.Close()
			case "resets":
				tcp.SetLinger(0)
				tcp.Close()
			case "half-closes":
				tcp.CloseWrite()
			case "speaks":
				io.WriteString(tcp, "GET / HTTP/1.1\r\n")
			}
			began := time.Now()
			eventually(t, "the stream of the one that left is gone", func() bool { return b.watching() == 1 })
			if took := time.Since(began); took > time.Second {
				t.Errorf("noticed after %v, with a beat of 100 ms", took)
			}
			b.write("x")
			if got := stays.event(); got != "id: 1|event: note|data: x" {
				t.Errorf("the other stream: %s", got)
			}
			g.streams.mu.Lock()
			open, from := len(g.streams.open), len(g.streams.from)
			g.streams.mu.Unlock()
			if open != 1 || from != 1 {
				t.Errorf("%d streams open, from %d addresses", open, from)
			}
		})
	}
}

// A client that takes nothing is dropped after Flush, and meanwhile holds up
// nobody else.
func TestStreamStalledClient(t *testing.T) {
	var wakes sync.Map
	g := startGateway(t, Config{Streams: StreamConfig{Flush: 300 * time.Millisecond}}, func(s *Server) {
		s.app.Get("/flood", func(c *fiber.Ctx) error {
			return s.streams.serve(c, feed{
				Watch: func(wake func()) func() { wakes.Store(c, wake); return func() {} },
				Next: func(context.Context, string) ([]event, error) {
					return []event{{Data: make([]byte, 32<<20)}}, nil // more than any socket buffer
				},
			})
		})
		b := &board{notes: []string{"quick"}}
		b.route(s)
	})
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "the stalled stream is open", func() bool { return openStreams(g) == 1 })
	if got := g.listen(t, "/events").event(); got != "id: 1|event: note|data: quick" {
		t.Error(got)
	}
	eventually(t, "the stalled stream is dropped", func() bool { return openStreams(g) == 1 })
	if _, metrics := do(t, "GET", g.url+"/metrics", ""); !strings.Contains(metrics, `placard_streams_ended_total{by="client"} 1`) {
		t.Error("its end is not counted")
	}
}

func openStreams(g *gw) int {
	g.streams.mu.Lock()
	defer g.streams.mu.Unlock()
	return len(g.streams.open)
}

func TestStreamFeedEnds(t *testing.T) {
	g := startGateway(t, Config{}, func(s *Server) {
		for path, next := range map[string]func(context.Context, string) ([]event, error){
			"/last":   func(context.Context, string) ([]event, error) { return []event{{Data: []byte("last")}}, io.EOF },
			"/fails":  func(context.Context, string) ([]event, error) { return nil, errors.New("the store is away") },
			"/panics": func(context.Context, string) ([]event, error) { panic("in a feed") },
		} {
			s.app.Get(path, func(c *fiber.Ctx) error { return s.streams.serve(c, feed{Next: next}) })
		}
		s.app.Get("/watch", func(c *fiber.Ctx) error {
			return s.streams.serve(c, feed{Watch: func(func()) func() { panic("in a watch") }, Next: func(context.Context, string) ([]event, error) { return nil, nil }})
		})
	})
	l := g.listen(t, "/last")
	if a, b := l.event(), l.event(); a != "data: last" || b != "the end" {
		t.Errorf("%s, %s", a, b)
	}
	for path, logged := range map[string]string{"/fails": "the store is away", "/panics": "in a feed", "/watch": "in a watch"} {
		if got := g.listen(t, path).event(); got != "the end" {
			t.Errorf("%s: %s", path, got)
		}
		eventually(t, path+" is in the log", func() bool { return strings.Contains(g.log.String(), logged) })
	}
	eventually(t, "all are gone", func() bool { return openStreams(g) == 0 })
}

// Stop ends streams with a last word before it waits for anything else.
func TestStreamsEndWhenTheGatewayStops(t *testing.T) {
	b := &board{}
	g := startGateway(t, Config{}, func(s *Server) {
		b.route(s)
		s.app.Get("/stuck", func(c *fiber.Ctx) error {
			return s.streams.serve(c, feed{Next: func(ctx context.Context, _ string) ([]event, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}})
		})
	})
	var all []*listener
	for i := range 20 {
		all = append(all, g.listen(t, []string{"/events", "/stuck"}[i%2]))
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := g.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("stopping took %v", took)
	}
	for _, l := range all {
		var said []string
		for {
			lines, ok := l.message()
			said = append(said, lines...)
			if !ok {
				break
			}
		}
		if last := said[len(said)-1]; last != ": the gateway stops" {
			t.Errorf("the last word was %q", last)
		}
	}
	// The last word is sent before the watch ends.
	for end := time.Now().Add(5 * time.Second); b.watching() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d still watch", b.watching())
		}
	}
	if strings.Contains(g.log.String(), "feed failed") {
		t.Errorf("an end that was asked for is logged as a failure:\n%s", g.log)
	}
}

// A stream whose client takes nothing cannot hold up the end of the program.
func TestStopCutsStalledStreams(t *testing.T) {
	g := startGateway(t, Config{Streams: StreamConfig{Flush: time.Minute}}, func(s *Server) {
		s.app.Get("/flood", func(c *fiber.Ctx) error {
			return s.streams.serve(c, feed{Next: func(context.Context, string) ([]event, error) {
				return []event{{Data: make([]byte, 32<<20)}}, nil
			}})
		})
	})
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, err := io.ReadFull(conn, make([]byte, 1000)); err != nil { // the flood has begun
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if err := g.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stop: %v", err)
	}
	eventually(t, "the stalled stream is gone", func() bool { return openStreams(g) == 0 })
}

func TestEventForm(t *testing.T) {
	b := &board{notes: []string{""}}
	g := startGateway(t, Config{}, func(s *Server) {
		b.route(s)
		s.app.Get("/odd", func(c *fiber.Ctx) error {
			return s.streams.serve(c, feed{Next: func(context.Context, string) ([]event, error) {
				return []event{
					{ID: "1\ndata: injected", Name: "a\r\nevent: injected", Data: []byte("x")},
					{Data: []byte("a\n\nevent: injected\n\nb\r\rc")},
					{Name: "resolution", Data: []byte(`{"a":"b"}`)},
				}, io.EOF
			}})
		})
	})
	if got := g.listen(t, "/events").event(); got != "id: 1|event: note|data: " {
		t.Error(got)
	}
	l := g.listen(t, "/odd")
	for _, want := range []string{"data: x", "data: a|data: |data: event: injected|data: |data: bc", `event: resolution|data: {"a":"b"}`, "the end"} {
		if got := l.event(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
