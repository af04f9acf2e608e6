//go:build unix

package gateway

import (
	"net"
	"syscall"
)

// peerGone reports whether the client of a stream has left, without waiting and
// without a goroutine that reads. A client that listens has nothing more to say,
// so anything that arrives, its farewell above all, ends the stream; a browser
// opens it again if it still wants it.
func peerGone(c net.Conn) bool {
	if secure, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = secure.NetConn() // what is under TLS
	}
	socket, ok := c.(syscall.Conn)
	if !ok {
		return false // the next write tells
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = err != syscall.EAGAIN && err != syscall.EINTR
		return true
	})
	return gone || err != nil
}
