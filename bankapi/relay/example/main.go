// Command example is a relay in less than two hundred lines: the service that Placard calls, in
// front of a pretend card provider (cards.go). Read it beside ../openapi.yaml and
// write your own in the language you like; nothing here comes from Placard.
//
// It can make, show and close requests and tell that one was paid. What else a
// relay may do it refuses, as its abilities say. And it keeps everything in memory,
// which yours must not: money may come for a request long after it was made.
package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9000", "address to listen on")
	public := flag.String("public-url", "http://127.0.0.1:9000", "where payers reach it")
	flag.Parse()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(os.Getenv("RELAY_SECRET"), "whsec_"))
	if err != nil || len(key) < 24 {
		log.Fatal("RELAY_SECRET has to be the connection's secret, whsec_…")
	}
	log.Fatal(http.ListenAndServe(*listen, newRelay(key, *public)))
}

// request is what Placard asks for and is answered; what has no name stays here.
type request struct {
	ID          string           `json:"id"`
	Revision    int              `json:"revision"`
	Amount      int64            `json:"amount"`
	Currency    string           `json:"currency"`
	ExpiresAt   string           `json:"expires_at,omitempty"`
	Capture     string           `json:"capture,omitempty"`
	ReturnURL   string           `json:"return_url,omitempty"`
	CallbackURL string           `json:"callback_url,omitempty"`
	Status      string           `json:"status"`
	Way         map[string]any   `json:"way,omitempty"`
	Payments    []map[string]any `json:"payments,omitempty"`
	asked       []byte
	session     string
}

type service struct {
	key   []byte
	cards *cards
	mu    sync.Mutex
	held  map[string]*request
}

func newRelay(key []byte, public string) http.Handler {
	r := &service{key: key, held: map[string]*request{}}
	r.cards = &cards{public: public, sessions: map[string]*session{}, paid: r.paid}
	mux := http.NewServeMux()
	mux.Handle("/cards/", r.cards)
	mux.Handle("GET /abilities", r.signed(func(*http.Request, []byte) (any, string) {
		return map[string]any{"currencies": []string{"EUR"}, "open_ended": true, "methods": []string{"card"}}, ""
	}))
	mux.Handle("PUT /requests/{id}", r.signed(r.put))
	mux.Handle("GET /requests/{id}", r.signed(func(req *http.Request, _ []byte) (any, string) {
		if held := r.held[req.PathValue("id")]; held != nil {
			return held, ""
		}
		return nil, "not_found"
	}))
	mux.Handle("DELETE /requests/{id}", r.signed(r.close))
	mux.Handle("/", r.signed(func(*http.Request, []byte) (any, string) { return nil, "cannot_do_that" }))
	return mux
}

// signed lets through what Placard signed for this very call, one at a time.
func (r *service) signed(handle func(*http.Request, []byte) (answer any, refusal string)) http.HandlerFunc {
	statuses := map[string]int{"": 200, "signature": 401, "not_found": 404, "in_flight": 409, "paid": 409, "revision_reused": 409}
	return func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 64<<10))
		id, at := req.Header.Get("webhook-id"), req.Header.Get("webhook-timestamp")
		seconds, _ := strconv.ParseInt(at, 10, 64)
		good := false
		for signature := range strings.FieldsSeq(req.Header.Get("webhook-signature")) {
			good = good || hmac.Equal([]byte(signature), []byte(r.sign(id, at, body)))
		}
		var answer any
		refusal := "signature"
		if err == nil && good && time.Since(time.Unix(seconds, 0)).Abs() <= 5*time.Minute && strings.HasSuffix(id, " "+req.Method+" "+req.RequestURI) {
			r.mu.Lock()
			defer r.mu.Unlock()
			answer, refusal = handle(req, body)
		}
		status, known := statuses[refusal]
		if !known {
			status = http.StatusUnprocessableEntity
		}
		w.Header().Set("Content-Type", "application/json")
		if refusal != "" {
			w.Header().Set("Content-Type", "application/problem+json")
			answer = map[string]any{"status": status, "title": http.StatusText(status), "code": refusal}
		}
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(answer)
	}
}

func (r *service) sign(id, at string, body []byte) string {
	mac := hmac.New(sha256.New, r.key)
	fmt.Fprintf(mac, "%s.%s.%s", id, at, body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func (r *service) put(req *http.Request, body []byte) (any, string) {
	ask := &request{asked: body}
	err := json.Unmarshal(body, ask)
	held := r.held[req.PathValue("id")]
	switch {
	case err != nil || ask.Amount < 1 || ask.Currency != "EUR" || ask.Capture != "auto" || bytes.Contains(body, []byte(`"amount_range"`)):
		return nil, "cannot_hold_that"
	case held != nil && ask.Revision != held.Revision:
		return nil, "cannot_revise"
	case held != nil && !bytes.Equal(body, held.asked):
		return nil, "revision_reused"
	case held != nil:
		return held, "" // the same again
	}
	ask.ID, ask.Status = req.PathValue("id"), "open"
	ask.session = r.cards.checkout(ask.ID, ask.Amount, ask.Currency, ask.ReturnURL)
	ask.Way = map[string]any{"kind": "redirect", "url": r.cards.public + "/cards/" + ask.session}
	r.held[ask.ID] = ask
	return ask, ""
}

func (r *service) close(req *http.Request, _ []byte) (any, string) {
	held := r.held[req.PathValue("id")]
	switch {
	case held == nil:
		return nil, "not_found"
	case held.Status == "paid":
		return nil, "paid"
	case held.Status == "open" && !r.cards.cancel(held.session):
		return nil, "in_flight" // the payer was faster; his payment is about to be told
	}
	held.Status = "closed"
	return held, ""
}

// paid is what the provider tells of a payment. Placard gets a hint, and asks.
func (r *service) paid(id, charge string, amount int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	held, now := r.held[id], time.Now().UTC().Format(time.RFC3339)
	held.Status = "paid"
	held.Payments = append(held.Payments, map[string]any{"id": charge, "amount": amount, "currency": held.Currency, "paid_at": now})
	go r.tell(held.CallbackURL, []byte(`{"id":"`+id+`","changed_at":"`+now+`"}`))
}

func (r *service) tell(url string, body []byte) {
	for pause := time.Second; url != "" && pause < 4*time.Hour; pause *= 2 {
		id, at := rand.Text(), strconv.FormatInt(time.Now().Unix(), 10)
		if req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body)); err == nil {
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("webhook-id", id)
			req.Header.Set("webhook-timestamp", at)
			req.Header.Set("webhook-signature", r.sign(id, at, body))
			if res, err := http.DefaultClient.Do(req); err == nil {
				res.Body.Close()
				if res.StatusCode < 300 {
					return
				}
			}
		}
		time.Sleep(pause)
	}
}
