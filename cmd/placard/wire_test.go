package main

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

var noContext = context.Background()

// wire is a network between somebody and a server, which can be cut.
type wire struct {
	t       testing.TB
	to      string
	address string

	mu     sync.Mutex
	ln     net.Listener
	closed bool
	conns  map[net.Conn]bool
}

func newWire(t testing.TB, to string) *wire {
	t.Helper()
	w := &wire{t: t, to: to, address: freeAddress(t), conns: map[net.Conn]bool{}}
	w.mend()
	t.Cleanup(w.cut)
	return w
}

// mend lets everything through.
func (w *wire) mend() {
	w.t.Helper()
	ln, err := net.Listen("tcp", w.address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.ln, w.closed = ln, false
	w.mu.Unlock()
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", w.to)
			if err != nil || !w.keep(in, out) {
				in.Close()
				continue
			}
			pump := func(to, from net.Conn) {
				io.Copy(to, from)
				to.Close()
				from.Close()
			}
			go pump(in, out)
			go pump(out, in)
		}
	}()
}

func (w *wire) keep(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		if w.closed {
			c.Close()
			continue
		}
		w.conns[c] = true
	}
	return !w.closed
}

// cut breaks what is under way and refuses what is new.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.ln.Close()
	for c := range w.conns {
		c.Close()
	}
	clear(w.conns)
}
