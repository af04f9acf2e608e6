package gateway

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
)

// What a server must refuse on the wire: each of these is a request that some
// other reader on the way takes differently.
func TestWireRefusals(t *testing.T) {
	var handled atomic.Int64
	g := startGateway(t, Config{ReadTime: 400 * time.Millisecond}, func(s *Server) {
		s.app.All("/*", func(c *fiber.Ctx) error {
			handled.Add(1)
			return c.SendString("handled " + c.Path())
		})
	})
	for _, tt := range []struct{ name, request string }{
		{"no Host", "GET / HTTP/1.1\r\n\r\n"},
		{"two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"},
		{"two Hosts, the same", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
		{"a Host that is none", "GET / HTTP/1.1\r\nHost: a/b@c d\r\n\r\n"},
		{"a Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
		{"a Host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"},
		{"a Host that is two", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n"},
		{"two Content-Lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde"},
		{"two Content-Lengths, the same", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"},
		{"length list", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc"},
		{"negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc"},
		{"length with a plus", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc"},
		{"length in hexadecimal", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc"},
		{"huge length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabc"},
		{"length and chunks", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"chunks and length", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\ncontent-LENGTH: 5\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"length and a chunk", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{"xchunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\nContent-Length: 3\r\n\r\nabc"},
		{"xchunked alone", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{"identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"},
		{"gzip, chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
		{"two codings", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"chunks in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{"trailer", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n0\r\nX-A: 1\r\n\r\n"},
		{"chunk of negative size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n"},
		{"chunk without its end", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n"},
		{"chunk with a bare line feed", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n"},
		{"NUL in a header", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n"},
		{"bare carriage return", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rY: b\r\n\r\n"},
		{"bare line feeds", "GET / HTTP/1.1\nHost: a\n\n"},
		{"one bare line feed", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"},
		{"bare line feed at the end", "GET / HTTP/1.1\r\nHost: a\r\nX: b\n\r\n"},
		{"blank before the colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc"},
		{"folded header", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n Host: evil\r\n\r\n"},
		{"folded with a tab", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\tY\r\n\r\n"},
		{"folded first header", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"},
		{"other host in the address", "GET http://evil/x HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"other port in the address", "GET http://a:81/x HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"user in the address", "GET http://u@a/x HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"no address", "GET  HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"HTTP/0.9", "GET /\r\n\r\n"},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
		{"unknown method", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"},
		{"header of 9 KiB", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 9<<10) + "\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := handled.Load()
			answer, closed := talk(t, g.addr, tt.request, 3*time.Second)
			if !closed {
				t.Error("the connection stays open")
			}
			if handled.Load() != before {
				t.Error("a handler was reached")
			}
			if answer == "" {
				return // closed without a word
			}
			resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
			if err != nil {
				t.Fatalf("answer %q: %v", answer, err)
			}
			body, _ := io.ReadAll(resp.Body)
			switch resp.StatusCode {
			case 400, 408, 413, 431, 501:
			default:
				t.Errorf("status %d", resp.StatusCode)
			}
			var doc problem
			if err := json.Unmarshal(body, &doc); err != nil || doc.Code == "" {
				t.Errorf("not a problem: %s", body)
			}
			if strings.Contains(answer, "fasthttp") || strings.Contains(answer, "fiber") || strings.Contains(string(body), "evil") {
				t.Errorf("a library's or the caller's text in %s", answer)
			}
			if strings.Count(answer, "HTTP/1.1 ") != 1 {
				t.Errorf("more than one answer: %q", answer)
			}
		})
	}
	// The same gateway takes what is in order.
	for _, tt := range []struct{ name, request string }{
		{"GET", "GET /ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"},
		{"length", "POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"},
		{"chunks", "POST /ok HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{"no chunk but the last", "POST /ok HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n"},
		{"the same host in the address", "GET http://A/ok?x=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"},
		{"HTTP/1.0", "GET /ok HTTP/1.0\r\n\r\n"},
		{"IPv6 Host", "GET /ok HTTP/1.1\r\nHost: [::1]:8080\r\nConnection: close\r\n\r\n"},
		// fasthttp does not show how the first line ended. RFC 9112, 2.2 allows it.
		{"bare line feed after the first line", "GET /ok HTTP/1.1\nHost: a\r\nConnection: close\r\n\r\n"},
		{"100-continue", "POST /ok HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"},
	} {
		t.Run("fine: "+tt.name, func(t *testing.T) {
			answer, closed := talk(t, g.addr, tt.request, 3*time.Second)
			if !closed || !strings.Contains(answer, "200 OK") || !strings.HasSuffix(answer, "handled /ok") {
				t.Errorf("closed %v, %q", closed, answer)
			}
		})
	}
	t.Run("fine: two in a row", func(t *testing.T) {
		answer, _ := talk(t, g.addr, "GET /one HTTP/1.1\r\nHost: a\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 3*time.Second)
		if !strings.Contains(answer, "handled /one") || !strings.Contains(answer, "handled /two") {
			t.Errorf("%q", answer)
		}
	})
}
