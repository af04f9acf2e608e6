package main

import (
	"crypto/rand"
	"fmt"
	"html"
	"net/http"
	"strings"
	"sync"
)

// cards is the pretend provider: a checkout page for each session, and no cards.
// A real one is somewhere else and has an API of its own.
type cards struct {
	public   string
	paid     func(reference, charge string, amount int64)
	mu       sync.Mutex
	sessions map[string]*session
}

type session struct {
	reference string
	amount    int64
	currency  string
	returnURL string
	over      bool
}

func (c *cards) checkout(reference string, amount int64, currency, returnURL string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := rand.Text()
	c.sessions[id] = &session{reference: reference, amount: amount, currency: currency, returnURL: returnURL}
	return id
}

// cancel reports whether nobody has paid, so that now nobody can.
func (c *cards) cancel(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	open := !c.sessions[id].over
	c.sessions[id].over = true
	return open
}

func (c *cards) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	s := c.sessions[strings.TrimPrefix(r.URL.Path, "/cards/")]
	pays := s != nil && !s.over && r.Method == http.MethodPost
	if pays {
		s.over = true
	}
	c.mu.Unlock()
	switch {
	case s == nil:
		http.NotFound(w, r)
	case pays:
		c.paid(s.reference, "ch_"+rand.Text(), s.amount)
		if s.returnURL != "" {
			http.Redirect(w, r, s.returnURL, http.StatusSeeOther)
			return
		}
		fmt.Fprintln(w, "Paid. Thank you.")
	case s.over:
		w.WriteHeader(http.StatusGone)
		fmt.Fprintln(w, "This payment is over.")
	default:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>Pay</title>
<form method="post"><p>%d %s (minor units)<p><button>Pay by pretend card</button></form>`, s.amount, html.EscapeString(s.currency))
	}
}
