// Package gateway is HTTP in and out: it turns calls into commands and queries of
// the domain, and what comes back into JSON, pages and event streams.
//
// A call passes, in this order:
//
//	wire.go        what a strict server would not have let through is refused
//	middleware.go  an id, a deadline, a shield against panics, headers, one log line
//	address.go     who is calling, and through which proxies
//	decode.go      the body, read strictly; rules.go what its fields must be; query.go the query
//	  … the handler of one noun: it parses, asks the domain, and returns a view or an error
//	problem.go     the error as a problem document (RFC 9457)
//
// stream.go keeps event streams (server-sent events) open with no goroutine while
// they wait; limit.go slows guessers down; assets.go serves the embedded files.
//
// Fiber and fasthttp are fast because they reuse memory and leave checks to their
// user. What that means is dealt with here, once: strings of a call are copies
// (Immutable), bodies are never unpacked, no file is ever served from a disk,
// absolute URLs come from the configuration and never from a Host header, and a
// client that leaves is not noticed by a handler, so every handler has a deadline.
package gateway
