package gateway

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"net"
	"net/http"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"placard/linking"
)

// ServeCallbacks answers what comes in through a second listener until Stop; it then
// returns nil. The listener has to ask for client certificates and verify them. Only
// callbacks are answered there: a bank's certificate opens nothing else, and pages are
// for people, who have none. Call it after Mount, once.
func (s *Server) ServeCallbacks(ln net.Listener) error {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return ln.Close()
	}
	s.callbackListener = ln
	s.mu.Unlock()
	s.app.Handler() // the routes are ready before the first call comes
	err := s.app.Server().Serve(&gate{bankListener{ln}, s})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	return err
}

// bankListener marks the connections that come in through it.
type bankListener struct{ net.Listener }

func (l bankListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if t, ok := c.(*tls.Conn); ok && err == nil {
		return bankConn{t}, nil
	}
	return c, err
}

type bankConn struct{ *tls.Conn }

// strayed reports whether something else than a callback came to the banks' listener.
func strayed(ctx *fasthttp.RequestCtx) bool {
	_, bank := ctx.Conn().(bankConn)
	return bank && !bytes.HasPrefix(bytes.ToLower(ctx.Path()), []byte("/callbacks/"))
}

// callbackHeader is a callback's header with what the gateway itself knows of it.
func callbackHeader(c *fiber.Ctx) http.Header {
	header := http.Header{}
	for k, v := range c.Request().Header.All() {
		header.Add(string(k), string(v))
	}
	header[linking.CallbackTarget] = []string{string(c.Request().URI().RequestURI())}
	delete(header, linking.CallbackCertificate)
	state := c.Context().TLSConnectionState()
	if t, ok := c.Context().Conn().(bankConn); ok {
		s := t.ConnectionState()
		state = &s
	}
	if state != nil && len(state.VerifiedChains) > 0 {
		sum := sha256.Sum256(state.PeerCertificates[0].Raw)
		header[linking.CallbackCertificate] = []string{hex.EncodeToString(sum[:])}
	}
	return header
}
