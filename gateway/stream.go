package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// StreamConfig bounds the event streams of one process. The zero value of a field
// stands for its default.
type StreamConfig struct {
	Max        int // streams; default 20,000
	PerAddress int // streams from one IPv4 address or IPv6 /56; default 2,000: a mobile network hides many payers behind one

	Beat  time.Duration // a stream that says nothing says so this often; default 15 s
	Flush time.Duration // a client that takes nothing for so long is dropped; default 5 s
	Next  time.Duration // a feed's Next has so long; default 10 s
}

// event is one message of a stream (WHATWG HTML, 9.2 Server-sent events).
type event struct {
	ID   string // what the client sends back as Last-Event-ID; empty: none
	Name string // empty: "message"
	Data []byte
}

// feed is what one stream shows. Its functions outlive the call that opened the
// stream: they must not touch its fiber.Ctx.
type feed struct {
	// Next returns what there is to send now, oldest first; often nothing. It is
	// called when the stream opens, after each wake, and every Poll; never twice at
	// once. last is the id of the last event sent, at first the Last-Event-ID that
	// the client brought. With io.EOF the stream ends after the events returned; any
	// other error ends it too, is logged, and the client comes again after Retry.
	Next func(ctx context.Context, last string) ([]event, error)

	// Watch, if not nil, is called once before the first Next and returns what ends
	// the watching. wake is cheap, never blocks, and may be called by anybody at any
	// time, also after the stream ended: thousands of streams are woken in a loop.
	Watch func(wake func()) (end func())

	Poll  time.Duration // Next is called this often without a wake; 0: never
	Retry time.Duration // a client that lost the stream waits so long; 0: it decides
}

// streams holds all event streams of this process.
//
// A stream that waits is a connection and some two hundred bytes: no goroutine, no
// buffer. fasthttp hands the connection over and forgets it. A stream that has
// something to do stands in a queue, which workers empty and then end. One
// goroutine goes round four times a second and queues whoever is due.
type streams struct {
	cfg    StreamConfig
	server *Server
	ctx    context.Context // ends when the gateway stops
	cancel context.CancelFunc

	mu      sync.Mutex
	open    map[*stream]struct{}
	from    map[netip.Prefix]int
	queue   []*stream
	workers int
	closing bool
	turning bool          // the goroutine that goes round runs
	empty   chan struct{} // closed when closing and the last stream is gone
}

// maxWorkers bounds how many streams are written to, or call Next, at once.
const maxWorkers = 256

// stream is one client that listens.
type stream struct {
	all  *streams
	conn net.Conn
	feed feed
	from netip.Prefix
	end  func() // ends the watching

	// The worker's alone.
	last string

	// Under streams.mu.
	queued, running bool
	wanted          task
	beatAt, pollAt  time.Time
}

type task uint8

const (
	wantNext task = 1 << iota
	wantBeat
	wantEnd
)

func newStreams(cfg StreamConfig, server *Server) *streams {
	if cfg.Max == 0 {
		cfg.Max = 20_000
	}
	if cfg.PerAddress == 0 {
		cfg.PerAddress = 2_000
	}
	cfg.Beat = orElse(cfg.Beat, 15*time.Second)
	cfg.Flush = orElse(cfg.Flush, 5*time.Second)
	cfg.Next = orElse(cfg.Next, 10*time.Second)
	all := &streams{
		cfg: cfg, server: server,
		open: map[*stream]struct{}{}, from: map[netip.Prefix]int{},
		empty: make(chan struct{}),
	}
	all.ctx, all.cancel = context.WithCancel(context.Background())
	return all
}

var errStreamsFull = &linking.Error{Kind: linking.Unavailable, Code: "too_many_streams",
	Detail: "Too many event streams are open. Poll instead, or try again later.", Retry: 30}

// serve turns the call into an event stream that shows f, and returns at once.
func (all *streams) serve(c *fiber.Ctx, f feed) error {
	from := limitPrefix(callOf(c).from)
	all.mu.Lock()
	err := all.room(from)
	all.mu.Unlock()
	if err != nil {
		return err
	}
	h := &c.Response().Header
	h.SetContentType("text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would keep events back
	if c.Method() == fiber.MethodHead {
		return nil
	}
	h.SetContentLength(-2) // the stream ends when the connection does
	s := &stream{all: all, feed: f, from: from, last: lastEventID(c)}
	head := bytes.Clone(h.Header())
	ctx := c.Context()
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(conn net.Conn) {
		// What fasthttp wraps around the connection holds a read buffer.
		if wrapped, ok := conn.(interface{ UnsafeConn() net.Conn }); ok {
			conn = wrapped.UnsafeConn()
		}
		s.conn = conn
		all.begin(s, head)
	})
	return nil
}

// lastEventID returns what a returning client saw last; empty if that is nothing
// we could have sent.
func lastEventID(c *fiber.Ctx) string {
	if id := c.Get("Last-Event-ID"); len(id) <= 128 && printable(id) {
		return id
	}
	return ""
}

// room reports why no stream may be opened; nil if one may. all.mu is held.
func (all *streams) room(from netip.Prefix) error {
	switch {
	case all.closing:
		return &linking.Error{Kind: linking.Unavailable, Code: "stopping", Detail: "The gateway is restarting.", Retry: 2}
	case len(all.open) >= all.cfg.Max:
		all.server.metrics.streamsDenied.WithLabelValues("all").Inc()
		return errStreamsFull
	case all.from[from] >= all.cfg.PerAddress:
		all.server.metrics.streamsDenied.WithLabelValues("address").Inc()
		return &linking.Error{Kind: linking.Limited, Code: "rate_limited", Detail: "Too many event streams are open from this address.", Retry: 30}
	}
	return nil
}

// begin takes over a connection whose request was read and not yet answered. The
// bounds hold only here: between serve and begin others may have come.
func (all *streams) begin(s *stream, head []byte) {
	all.mu.Lock()
	err := all.room(s.from)
	if err == nil {
		all.open[s] = struct{}{}
		all.from[s.from]++
		s.running = true // nobody else touches it before it has begun
		if !all.turning {
			all.turning = true
			go all.turn()
		}
	}
	all.mu.Unlock()
	if err != nil {
		p := newProblem(err)
		doc, _ := p.body()
		s.write([]byte("HTTP/1.1 " + strconv.Itoa(p.Status) + " " + http.StatusText(p.Status) +
			"\r\nContent-Type: application/problem+json\r\nConnection: close\r\nContent-Length: " + strconv.Itoa(len(doc)) + "\r\n\r\n" + string(doc)))
		s.conn.Close()
		return
	}
	all.server.metrics.streams.Inc()
	if s.feed.Retry > 0 {
		head = append(head, "retry: "+strconv.FormatInt(s.feed.Retry.Milliseconds(), 10)+"\n\n"...)
	} else {
		head = append(head, ":\n\n"...) // so that a client sees the stream begin
	}
	by := endedByNobody
	if s.write(head) != nil {
		by = endedByClient
	} else if s.feed.Watch != nil {
		by = s.foreign(func() error { s.end = s.feed.Watch(s.wake); return nil })
	}
	all.done(s, by, wantNext)
}

// wake calls Next soon. Further wakes until then change nothing.
func (s *stream) wake() {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	s.all.want(s, wantNext)
}

// want notes what a stream has to do and sees that somebody does it. all.mu is held.
func (all *streams) want(s *stream, t task) {
	if _, open := all.open[s]; !open {
		return
	}
	s.wanted |= t
	if s.queued || s.running {
		return
	}
	s.queued = true
	all.queue = append(all.queue, s)
	if all.workers < maxWorkers {
		all.workers++
		go all.work()
	}
}

// work empties the queue and ends.
func (all *streams) work() {
	for {
		all.mu.Lock()
		if len(all.queue) == 0 {
			all.workers--
			all.mu.Unlock()
			return
		}
		s := all.queue[0]
		all.queue[0] = nil
		all.queue = all.queue[1:]
		s.queued, s.running = false, true
		wanted := s.wanted
		s.wanted = 0
		all.mu.Unlock()
		all.done(s, s.step(wanted), 0)
	}
}

// Who ended a stream.
const (
	endedByNobody = ""         // it goes on
	endedByClient = "client"   // it left, or takes nothing
	endedByFeed   = "feed"     // it has nothing more to show, or failed
	endedByUs     = "shutdown" // the gateway stops
)

// done puts a stream back to waiting, or away if somebody ended it.
func (all *streams) done(s *stream, by string, more task) {
	now := time.Now()
	all.mu.Lock()
	s.running = false
	if by == endedByNobody {
		// Spread, so that streams opened together do not all act together.
		s.beatAt = now.Add(all.cfg.Beat - rand.N(all.cfg.Beat/8+1))
		if s.feed.Poll > 0 {
			s.pollAt = now.Add(s.feed.Poll - rand.N(s.feed.Poll/8+1))
		}
		if all.closing {
			more |= wantEnd
		}
		if s.wanted |= more; s.wanted != 0 {
			all.want(s, 0)
		}
		all.mu.Unlock()
		return
	}
	delete(all.open, s)
	if all.from[s.from]--; all.from[s.from] == 0 {
		delete(all.from, s.from)
	}
	if all.closing && len(all.open) == 0 {
		close(all.empty)
	}
	all.mu.Unlock()
	s.conn.Close()
	if s.end != nil {
		s.foreign(func() error { s.end(); return nil })
	}
	all.server.metrics.streams.Dec()
	all.server.metrics.streamsEnded.WithLabelValues(by).Inc()
}

var streamBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// step does what a stream has to do now, and says who ended it, if anybody did.
func (s *stream) step(wanted task) (by string) {
	if peerGone(s.conn) {
		return endedByClient
	}
	out := streamBuffers.Get().(*bytes.Buffer)
	defer func() {
		if out.Cap() <= bodyLimit { // one long catching-up must not stay for ever
			out.Reset()
			streamBuffers.Put(out)
		}
	}()
	switch {
	case wanted&wantEnd != 0:
		out.WriteString(": the gateway stops\n\n")
		by = endedByUs
	case wanted&wantNext != 0:
		by = s.next(out)
	}
	if out.Len() == 0 && wanted&wantBeat != 0 {
		out.WriteString(":\n\n")
	}
	if out.Len() > 0 && s.write(out.Bytes()) != nil {
		return endedByClient
	}
	return by
}

// next writes the events there are to out.
func (s *stream) next(out *bytes.Buffer) (by string) {
	ctx, cancel := context.WithTimeout(s.all.ctx, s.all.cfg.Next)
	defer cancel()
	var events []event
	by = s.foreign(func() (err error) {
		events, err = s.feed.Next(ctx, s.last)
		return err
	})
	for _, e := range events {
		e.appendTo(out)
		if e.ID != "" {
			s.last = e.ID
		}
	}
	return by
}

// foreign calls a function of the feed and says whether that ended the stream. A
// failure goes to the log, unless it is only that the gateway stops.
func (s *stream) foreign(f func() error) (by string) {
	err := s.all.server.shielded(f)
	switch {
	case err == nil:
		return endedByNobody
	case errors.Is(err, io.EOF):
		return endedByFeed
	case s.all.ctx.Err() != nil:
		return endedByNobody // its end is on its way
	}
	attrs := []any{"err", err}
	if p, ok := errors.AsType[*errPanic](err); ok {
		attrs = append(attrs, "stack", string(p.stack))
	}
	s.all.server.log.Warn("an event stream's feed failed", attrs...)
	return endedByFeed
}

// appendTo writes the event in the form of the wire. A line feed in its data
// begins another data line; an id or name cannot have one.
func (e event) appendTo(out *bytes.Buffer) {
	field := func(name, value string) {
		if value != "" && printable(value) {
			out.WriteString(name + ": " + value + "\n")
		}
	}
	field("id", e.ID)
	field("event", e.Name)
	for rest := e.Data; ; {
		line, after, more := bytes.Cut(rest, []byte("\n"))
		out.WriteString("data: ")
		out.Write(bytes.ReplaceAll(line, []byte("\r"), nil))
		out.WriteByte('\n')
		if !more {
			break
		}
		rest = after
	}
	out.WriteByte('\n')
}

func (s *stream) write(b []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.all.cfg.Flush)); err != nil {
		return err
	}
	_, err := s.conn.Write(b)
	return err
}

// turn goes round and queues the streams that are due, as long as there are any.
func (all *streams) turn() {
	pause := min(all.cfg.Beat/4, 250*time.Millisecond)
	for {
		select {
		case <-time.After(pause):
		case <-all.ctx.Done():
			return
		}
		now := time.Now()
		all.mu.Lock()
		if len(all.open) == 0 {
			all.turning = false
			all.mu.Unlock()
			return
		}
		for s := range all.open {
			var due task
			if now.After(s.beatAt) {
				due |= wantBeat
			}
			if s.feed.Poll > 0 && now.After(s.pollAt) {
				due |= wantNext
			}
			if due != 0 && !s.running {
				all.want(s, due)
			}
		}
		all.mu.Unlock()
	}
}

// close ends every stream with a last comment and opens no more. When ctx ends,
// those that still do not take theirs are cut off.
func (all *streams) close(ctx context.Context) error {
	all.mu.Lock()
	if all.closing {
		all.mu.Unlock()
		return nil
	}
	all.closing = true
	all.cancel()
	if len(all.open) == 0 {
		close(all.empty)
	}
	for s := range all.open {
		all.want(s, wantEnd)
	}
	all.mu.Unlock()
	select {
	case <-all.empty:
		return nil
	case <-ctx.Done():
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	for s := range all.open {
		s.conn.SetDeadline(time.Now()) // ends the write that a worker is in
	}
	return ctx.Err()
}
