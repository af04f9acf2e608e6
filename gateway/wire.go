package gateway

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"strconv"

	"github.com/valyala/fasthttp"
)

// wireFault returns what is wrong with a request that fasthttp let through; empty
// if nothing is. A proxy in front of us may read such a request differently, and
// where two readers disagree on where one request ends, the second one belongs to
// the attacker (RFC 9112, 11.2).
func wireFault(h *fasthttp.RequestHeader) string {
	var lengths, codings int
	chunked := true
	fields := h.RawHeaders()
	for len(fields) > 0 {
		line, rest, _ := bytes.Cut(fields, []byte("\n"))
		fields = rest
		if len(line) == 0 || line[len(line)-1] != '\r' {
			return "a line ends in a bare line feed"
		}
		switch line[0] | 0x20 { // lower case, for letters
		case 'c':
			if fieldIs(line, "content-length") {
				lengths++
			}
		case 't':
			if fieldIs(line, "transfer-encoding") {
				codings++
				chunked = bytes.EqualFold(bytes.TrimSpace(line[len("transfer-encoding:"):]), []byte("chunked"))
			}
			if fieldIs(line, "trailer") {
				return "trailers are not read"
			}
		}
		if line[0] == ' ' || line[0] == '\t' {
			return "a header is folded over two lines"
		}
	}
	switch {
	case codings > 0 && lengths > 0:
		return "both a length and a transfer coding are given"
	case codings > 0 && !h.IsHTTP11():
		return "HTTP/1.0 knows no transfer coding"
	case !chunked:
		return "the only transfer coding is chunked"
	}
	host := h.Host()
	for _, c := range host {
		if !hostByte(c) {
			return "the Host is not a host"
		}
	}
	if target := h.RequestURI(); len(target) > 0 && target[0] != '/' {
		if _, after, ok := bytes.Cut(target, []byte("://")); ok {
			authority, _, _ := bytes.Cut(after, []byte("/"))
			authority, _, _ = bytes.Cut(authority, []byte("?"))
			if !bytes.EqualFold(authority, host) {
				return "the address names another host than the Host header"
			}
		}
	}
	return ""
}

func fieldIs(line []byte, name string) bool {
	return len(line) > len(name) && line[len(name)] == ':' && bytes.EqualFold(line[:len(name)], []byte(name))
}

func hostByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '.' || c == '-' || c == '_' || c == ':' || c == '[' || c == ']'
}

// knownMethod reports whether the gateway routes m. It does not route TRACE and
// CONNECT.
func knownMethod(m []byte) bool {
	switch string(m) {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return true
	}
	return false
}

// unreadable answers what fasthttp could not read. err is the library's and is
// not shown.
func (s *Server) unreadable(ctx *fasthttp.RequestCtx, err error) {
	status := http.StatusBadRequest
	switch timeout, isNet := errors.AsType[net.Error](err); {
	case errors.As(err, new(*fasthttp.ErrSmallBuffer)):
		status = http.StatusRequestHeaderFieldsTooLarge
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		status = http.StatusRequestEntityTooLarge
	case isNet && timeout.Timeout():
		status = http.StatusRequestTimeout
	}
	s.refuse(ctx, httpFailures[status])
}

// refuse answers before anything was routed, and ends the connection: where the
// next request on it would begin is not to be trusted.
func (s *Server) refuse(ctx *fasthttp.RequestCtx, f *httpFailure) {
	p := &problem{Status: f.status, Code: f.code, Detail: f.detail, RequestID: newCallID()}
	doc, _ := p.body()
	ctx.Response.Reset()
	ctx.SetStatusCode(f.status)
	ctx.Response.Header.Set("Request-Id", p.RequestID)
	ctx.Response.Header.Set("Cache-Control", "no-store")
	ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
	ctx.SetContentType("application/problem+json")
	ctx.SetConnectionClose()
	ctx.SetBody(doc)
	s.metrics.refused.WithLabelValues(strconv.Itoa(f.status)).Inc()
	s.log.Debug("request refused", "request_id", p.RequestID, "status", f.status, "from", logPrefix(peerAddr(ctx)))
}
