package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"placard/linking"
)

// How soon a page that waits turns into the sale: from the till's call to the event at the
// phone, while other pages wait at other codes. The bank answers at once here; what is
// measured is the attach, the hint that something changed, and the stream.

// flipPages are how many pages wait in one measurement each.
var flipPages = []int{1, 100, 1000}

// flips measures flips on a gateway.
func (b *bench) flips(name, at string, svc *linking.Service, who linking.Caller) {
	for _, pages := range flipPages {
		var once sync.Once
		var waiting []*flipPage
		b.closes = append(b.closes, func() {
			for _, p := range waiting {
				p.conn.Close()
			}
		})
		// The others wait from the first turn on, not before: they would weigh on what is
		// measured until then.
		prepare := func() {
			for range pages - 1 {
				p, err := b.openFlipPage(at, svc, who)
				if err != nil {
					b.failed.Add(1)
					return
				}
				waiting = append(waiting, p)
			}
		}
		b.cases = append(b.cases, &benchCase{Name: fmt.Sprintf("flip of one of %d pages, %s", pages, name), Clients: 1,
			do: func(_ int, stop <-chan struct{}) (took []time.Duration) {
				once.Do(prepare)
				for {
					select {
					case <-stop:
						return took
					default:
					}
					d, err := b.flip(at, svc, who)
					if err != nil {
						b.failed.Add(1)
						return took
					}
					took = append(took, d)
				}
			}})
	}
}

// flip opens a page at a free code, attaches a sale, and says how long the page took.
func (b *bench) flip(at string, svc *linking.Service, who linking.Caller) (time.Duration, error) {
	p, err := b.openFlipPage(at, svc, who)
	if err != nil {
		return 0, err
	}
	defer p.conn.Close()
	began := time.Now()
	_, err = svc.Attach(b.e.ctx, who, linking.AttachCommand{Code: p.code, Wait: 5 * time.Second, New: &linking.NewRequest{Amount: 1250, Reference: "bench"}})
	if err != nil {
		return 0, err
	}
	err = p.awaits(`"resolution":"payable"`)
	return time.Since(began), err
}

// flipPage is a payer's page that waits: a scan and its stream.
type flipPage struct {
	code linking.Token
	conn net.Conn
	r    *bufio.Reader
}

func (b *bench) openFlipPage(at string, svc *linking.Service, who linking.Caller) (*flipPage, error) {
	code, err := svc.MakeCode(b.e.ctx, who, linking.NewCode{Kind: linking.Counter})
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", at)
	if err != nil {
		return nil, err
	}
	p := &flipPage{code.Token, conn, bufio.NewReader(conn)}
	if err := p.open(at); err != nil {
		conn.Close()
		return nil, err
	}
	return p, nil
}

func (p *flipPage) open(at string) error {
	if _, err := p.conn.Write(get(at, "/q/"+string(p.code), "application/json")); err != nil {
		return err
	}
	var scan struct{ S string }
	for {
		line, err := p.r.ReadBytes('\n')
		if err != nil {
			return err
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			break
		}
	}
	if err := json.NewDecoder(p.r).Decode(&scan); err != nil || scan.S == "" {
		return errors.Join(err, errors.New("the scan did not say what it is"))
	}
	// The decoder may have read ahead; nothing follows an answer, so a new connection's
	// reader begins where the stream does.
	p.conn.Close()
	conn, err := net.Dial("tcp", at)
	if err != nil {
		return err
	}
	p.conn, p.r = conn, bufio.NewReader(conn)
	if _, err := conn.Write(get(at, "/q/"+string(p.code)+"/events?s="+scan.S, "text/event-stream")); err != nil {
		return err
	}
	return p.awaits(`"resolution":"waiting"`)
}

// awaits reads the stream up to a line that says something.
func (p *flipPage) awaits(text string) error {
	p.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			return err
		}
		if strings.Contains(line, text) {
			return nil
		}
	}
}
