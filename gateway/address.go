package gateway

import (
	"net"
	"net/netip"
	"strings"

	"github.com/valyala/fasthttp"
)

// peerAddr is the address at the other end of the connection: a client's or a
// proxy's. It is the zero Addr on a connection that is not IP.
func peerAddr(ctx *fasthttp.RequestCtx) netip.Addr {
	if tcp, ok := ctx.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// clientAddr is the address of whoever calls. Behind the operator's proxies it is
// the right-most hop in X-Forwarded-For that is not one of them: what stands left
// of it was written by the client, and it may write what it likes. A proxy that
// is not trusted is a client.
func (s *Server) clientAddr(ctx *fasthttp.RequestCtx) netip.Addr {
	addr := peerAddr(ctx)
	if !s.trusted(addr) {
		return addr
	}
	lines := ctx.Request.Header.PeekAll("X-Forwarded-For")
	for i := len(lines) - 1; i >= 0; i-- {
		hops := string(lines[i])
		for hops != "" {
			comma := strings.LastIndexByte(hops, ',')
			hop, ok := parseHop(strings.TrimSpace(hops[comma+1:]))
			if !ok {
				return addr
			}
			addr = hop
			if !s.trusted(addr) {
				return addr
			}
			hops = hops[:max(comma, 0)]
		}
	}
	return addr
}

func (s *Server) trusted(addr netip.Addr) bool {
	for _, p := range s.proxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// parseHop reads an address as proxies write it: some add the port.
func parseHop(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		withPort, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone(""), true
}

// limitPrefix is the part of an address that counts as one caller: a single IPv4
// address, or the /56 that one IPv6 subscriber gets.
func limitPrefix(addr netip.Addr) netip.Prefix { return prefixOf(addr, 32, 56) }

// logPrefix is as much of an address as a log may keep.
func logPrefix(addr netip.Addr) netip.Prefix { return prefixOf(addr, 24, 48) }

func prefixOf(addr netip.Addr, v4, v6 int) netip.Prefix {
	bits := v6
	if addr.Is4() {
		bits = v4
	}
	p, _ := addr.Prefix(bits) // the zero Prefix for the zero Addr
	return p
}
