package gateway

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func testCertificate(t testing.TB) (server *tls.Config, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, roots
}

func TestStreamOverTLS(t *testing.T) {
	cfg, roots := testCertificate(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := &board{}
	g := startGatewayOn(t, ln, Config{PublicURL: "https://gateway.example", Streams: StreamConfig{Beat: 100 * time.Millisecond}}, b.route)
	dial := func() *listener {
		conn, err := tls.Dial("tcp", g.addr, &tls.Config{RootCAs: roots})
		return listen(t, conn, err, "/events")
	}
	l, leaves := dial(), dial()
	if l.head.Header.Get("Strict-Transport-Security") == "" {
		t.Error("no HSTS")
	}
	for i := range 5 {
		b.write(strconv.Itoa(i))
		if got, want := l.event(), fmt.Sprintf("id: %d|event: note|data: %d", i+1, i); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	leaves.conn.Close()
	eventually(t, "the one that left is gone", func() bool { return b.watching() == 1 })
	for range 3 { // beats pass, the other stays
		if lines, ok := l.message(); !ok || len(lines) != 1 || lines[0] != ":" {
			t.Errorf("%q %v", lines, ok)
		}
	}
	if b.watching() != 1 {
		t.Error("the one that stayed is gone")
	}
}

// What a waiting stream costs, and how fast thousands are told.
// PLACARD_STREAMS sets how many; both ends live in this process, so the memory
// counted is that of both.
func TestManyStreams(t *testing.T) {
	n := 1000
	if s := os.Getenv("PLACARD_STREAMS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("plain", func(t *testing.T) { manyStreams(t, n, false) })
	t.Run("TLS", func(t *testing.T) { manyStreams(t, n/2, true) })
}

func manyStreams(t *testing.T, n int, secure bool) {
	b := &board{}
	server, roots := testCertificate(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if secure {
		ln = tls.NewListener(ln, server)
	}
	g := startGatewayOn(t, ln, Config{Log: discardLog, Streams: StreamConfig{PerAddress: n + 1}}, b.route)
	dial := func() (net.Conn, error) {
		if secure {
			return tls.Dial("tcp", g.addr, &tls.Config{RootCAs: roots})
		}
		return net.Dial("tcp", g.addr)
	}
	// The first stream makes what all share.
	first, err := dial()
	listen(t, first, err, "/events")
	eventually(t, "the first is watched", func() bool { return b.watching() == 1 })

	before, resident, goroutines := memory(), residentSet(t), runtime.NumGoroutine()
	conns := make([]net.Conn, n)
	chunk := make([]byte, 4096)
	for i := range conns {
		conn, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
		if m, err := conn.Read(chunk); err != nil || !strings.HasPrefix(string(chunk[:m]), "HTTP/1.1 200 ") {
			t.Fatalf("%q %v", chunk[:m], err)
		}
		conns[i] = conn
	}
	eventually(t, "all are watched", func() bool { return b.watching() == n+1 })
	eventually(t, "all wait", func() bool {
		g.streams.mu.Lock()
		defer g.streams.mu.Unlock()
		return g.streams.workers == 0
	})
	each := int64(memory()-before) / int64(n)
	more := runtime.NumGoroutine() - goroutines
	t.Logf("%d streams: %d bytes of heap and stacks each, %d of the resident set (both ends), %d goroutines more", n, each, (residentSet(t)-resident)/int64(n), more)
	limit := int64(20 << 10)
	if secure {
		limit = 60 << 10 // the client's end of TLS keeps the certificates and buffers of its own
	}
	if each > limit {
		t.Errorf("a waiting stream costs %d bytes, more than %d", each, limit)
	}
	if more > 100 {
		t.Errorf("%d goroutines for %d waiting streams", more, n)
	}

	took := make([]time.Duration, n)
	began := time.Now()
	var all sync.WaitGroup
	for i, conn := range conns {
		all.Go(func() {
			conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			in := bufio.NewReaderSize(conn, 256)
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					t.Error(err)
					return
				}
				if strings.HasPrefix(line, "data: now") {
					took[i] = time.Since(began)
					return
				}
			}
		})
	}
	runtime.Gosched()
	began = time.Now()
	b.write("now")
	woken := time.Since(began)
	all.Wait()
	slices.Sort(took)
	t.Logf("woken in %v; heard by half after %v, by 99 %% after %v, by all after %v", woken, took[n/2], took[n*99/100], took[n-1])

	for _, conn := range conns {
		conn.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := g.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// memory returns the bytes that live on the heap and in stacks.
func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// residentSet returns the process's memory as the kernel sees it, after what is
// free was given back; 0 where the kernel does not say.
func residentSet(t *testing.T) int64 {
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

func TestStreamBounds(t *testing.T) {
	b := &board{}
	g := startGateway(t, Config{Streams: StreamConfig{Max: 3, PerAddress: 2, Beat: 100 * time.Millisecond}}, b.route)
	first := g.listen(t, "/events")
	g.listen(t, "/events")
	eventually(t, "two are open", func() bool { return openStreams(g) == 2 })
	resp, body := do(t, "GET", g.url+"/events", "")
	mustBeProblem(t, resp, body, 429, "rate_limited")
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	conn, err := dialer.Dial("tcp", g.addr)
	listen(t, conn, err, "/events")
	eventually(t, "three are open", func() bool { return openStreams(g) == 3 })
	resp, body = do(t, "GET", g.url+"/events", "")
	mustBeProblem(t, resp, body, 503, "too_many_streams")
	if resp.Header.Get("Retry-After") == "" {
		t.Error("nobody says when to come again")
	}
	first.conn.Close()
	eventually(t, "one has left", func() bool { return openStreams(g) == 2 })
	if got := g.listen(t, "/events"); got.head.StatusCode != 200 {
		t.Errorf("%d after one left", got.head.StatusCode)
	}
	// Many at once: the bound holds although all of them saw room.
	eventually(t, "three are open again", func() bool { return openStreams(g) == 3 })
	var fine atomic.Int64
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			if resp, _ := do(t, "HEAD", g.url+"/healthz", ""); resp.StatusCode == 200 {
				fine.Add(1)
			}
			answer, _ := talk(t, g.addr, "GET /events HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 5*time.Second)
			if !strings.HasPrefix(answer, "HTTP/1.1 503 ") && !strings.HasPrefix(answer, "HTTP/1.1 429 ") {
				t.Errorf("%.100q", answer)
			}
		})
	}
	all.Wait()
	if open := openStreams(g); open != 3 || fine.Load() != 30 {
		t.Errorf("%d open, %d other requests answered", open, fine.Load())
	}
}

// begin is where the bound holds: streams that all saw room before any was counted.
func TestStreamBoundHoldsAtTheEnd(t *testing.T) {
	g := startGateway(t, Config{Streams: StreamConfig{Max: 1}}, nil)
	next := func(context.Context, string) ([]event, error) { return nil, nil }
	var clients []net.Conn
	for range 3 {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		clients = append(clients, theirs)
		go g.streams.begin(&stream{all: g.streams, conn: ours, feed: feed{Next: next}}, []byte("HTTP/1.1 200 OK\r\n\r\n"))
	}
	status := map[string]int{}
	for _, c := range clients {
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		status[strings.Fields(line)[1]]++
	}
	if status["200"] != 1 || status["503"] != 2 {
		t.Errorf("%v, want one 200", status)
	}
}
