package bankapi

import (
	"cmp"
	"context"
	"net"
	"time"
)

// Limits are the bounds of every call. A zero field has the value of DefaultLimits.
type Limits struct {
	Total  time.Duration // one call of a Bank, with waiting, retries and all
	Dial   time.Duration // until a TCP connection stands
	TLS    time.Duration // its handshake
	Header time.Duration // from the request being sent to the first line of the answer
	Slow   time.Duration // a success that took longer counts as a failure of the bank's

	InFlight  int           // calls at one connection's bank at a time
	Queue     int           // calls that wait for their turn; further ones are refused
	QueueWait time.Duration // how long one waits

	Window      time.Duration // what the breaker looks back over
	Bucket      time.Duration // the step in which the window moves
	MinCalls    int           // fewer calls than these say nothing about a ratio
	Ratio       float64       // of failures, at which it opens
	Consecutive int           // failures in a row at which it opens
	OpenMin     time.Duration // how long it stays open the first time, less up to a fifth
	OpenMax     time.Duration // and at the most

	Tries       int           // attempts at one question
	RetryBase   time.Duration // the first pause between them is random, up to this; then doubled
	RetryCap    time.Duration
	RetryBudget float64 // retries per question, on the average

	// DialContext replaces the network, nil: TCP. Total still holds, Dial is its own matter.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

// DefaultLimits fit the 10 s a till waits for an answer.
var DefaultLimits = Limits{
	Total: 8 * time.Second, Dial: 2 * time.Second, TLS: 3 * time.Second, Header: 6 * time.Second, Slow: 4 * time.Second,
	InFlight: 32, Queue: 64, QueueWait: 2 * time.Second,
	Window: 30 * time.Second, Bucket: 5 * time.Second, MinCalls: 10, Ratio: 0.5, Consecutive: 5,
	OpenMin: 10 * time.Second, OpenMax: time.Minute,
	Tries: 3, RetryBase: 100 * time.Millisecond, RetryCap: 2 * time.Second, RetryBudget: 0.1,
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits
	return Limits{
		Total: cmp.Or(l.Total, d.Total), Dial: cmp.Or(l.Dial, d.Dial), TLS: cmp.Or(l.TLS, d.TLS),
		Header: cmp.Or(l.Header, d.Header), Slow: cmp.Or(l.Slow, d.Slow),
		InFlight: cmp.Or(l.InFlight, d.InFlight), Queue: cmp.Or(l.Queue, d.Queue), QueueWait: cmp.Or(l.QueueWait, d.QueueWait),
		Window: cmp.Or(l.Window, d.Window), Bucket: cmp.Or(l.Bucket, d.Bucket), MinCalls: cmp.Or(l.MinCalls, d.MinCalls),
		Ratio: cmp.Or(l.Ratio, d.Ratio), Consecutive: cmp.Or(l.Consecutive, d.Consecutive),
		OpenMin: cmp.Or(l.OpenMin, d.OpenMin), OpenMax: cmp.Or(l.OpenMax, d.OpenMax),
		Tries: cmp.Or(l.Tries, d.Tries), RetryBase: cmp.Or(l.RetryBase, d.RetryBase), RetryCap: cmp.Or(l.RetryCap, d.RetryCap),
		RetryBudget: cmp.Or(l.RetryBudget, d.RetryBudget),
		DialContext: l.DialContext,
	}
}
