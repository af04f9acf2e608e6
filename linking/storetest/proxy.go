package storetest

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Trouble is what a Proxy does to what passes through it. The shares are of the
// pieces of data that arrive in one read: about one request or reply, or one
// batch of them.
type Trouble struct {
	LoseRequest float64       // cut the connection before a request is passed on
	HalfRequest float64       // pass on half of a request, then cut
	LoseReply   float64       // pass on the request, and cut before its reply
	DelayReply  float64       // hold a reply back for Delay
	Delay       time.Duration // longer than the client waits, to have it come too late
	Mute        bool          // take everything and pass on nothing
	Refuse      bool          // accept no connection
}

// Proxy passes TCP connections on to a server, with trouble on the way.
type Proxy struct {
	Addr string

	target  string
	trouble atomic.Pointer[Trouble]
	faults  atomic.Int64
	mu      sync.Mutex
	open    map[net.Conn]struct{}
}

// NewProxy listens on loopback and passes on to target, until the test ends.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, open: map[net.Conn]struct{}{}}
	p.Set(Trouble{})
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if p.trouble.Load().Refuse {
				c.Close()
				continue
			}
			serving.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.Cut()
		serving.Wait()
	})
	return p
}

// Set changes the trouble from now on.
func (p *Proxy) Set(t Trouble) { p.trouble.Store(&t) }

// Faults is how often something was lost, cut or delayed.
func (p *Proxy) Faults() int { return int(p.faults.Load()) }

// Cut ends every connection that is open now.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		c.Close()
	}
}

func (p *Proxy) hold(c net.Conn) { p.mu.Lock(); p.open[c] = struct{}{}; p.mu.Unlock() }

func (p *Proxy) drop(c net.Conn) { p.mu.Lock(); delete(p.open, c); p.mu.Unlock(); c.Close() }

func (p *Proxy) serve(client net.Conn) {
	p.hold(client)
	defer p.drop(client)
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	p.hold(server)
	defer p.drop(server)
	var both sync.WaitGroup
	both.Go(func() { p.pass(server, client, true) })
	both.Go(func() { p.pass(client, server, false) })
	both.Wait()
}

// pass copies one direction. When it ends, so does the other.
func (p *Proxy) pass(to, from net.Conn, request bool) {
	defer to.Close()
	defer from.Close()
	chance := func(share float64) bool {
		if share == 0 || rand.Float64() >= share {
			return false
		}
		p.faults.Add(1)
		return true
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		switch t := p.trouble.Load(); {
		case t.Mute:
			continue
		case request && chance(t.LoseRequest):
			return
		case request && chance(t.HalfRequest):
			to.Write(buf[:n/2])
			return
		case !request && chance(t.LoseReply):
			return
		case !request && chance(t.DelayReply):
			time.Sleep(t.Delay)
		}
		if _, err := to.Write(buf[:n]); err != nil && err != io.EOF {
			return
		}
	}
}
