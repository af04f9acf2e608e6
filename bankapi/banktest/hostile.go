package banktest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"placard/bankapi/simulator"
	"placard/linking"
)

var callbackClaims = []claim{
	{"ACallbackTellsWhichRequestToAskFor", func(w *world) {
		a := w.paidRequest()
		c := w.next()
		ids, err := w.bank.Callback(w.ctx, c.header, c.body)
		if err != nil || len(ids) != 1 || ids[0] != a.ID {
			w.t.Fatalf("%v, %v", ids, err)
		}
	}},
	{"ACallbackComesForEachChange", func(w *world) {
		a := w.open()
		if !w.Instant {
			w.pay(simulator.Pay{RequestID: string(a.ID), Hold: true})
			w.next()
			w.Sim.Refuse(string(a.ID))
			w.next()
		}
		w.paid(a)
		w.next()
	}},
	{"ACallbackSaysNothingButWhom", func(w *world) {
		a := w.paidRequest()
		c := w.next()
		w.bank.Callback(w.ctx, c.header, c.body)
		if n := w.changes(a); n != 1 {
			w.t.Fatalf("%d calls that change something", n)
		}
	}},
	{"ADoubledCallbackIsTheSameHint", func(w *world) {
		w.Sim.Callbacks(simulator.Duplicate, 3)
		a := w.paidRequest()
		for range 3 {
			c := w.next()
			if ids, err := w.bank.Callback(w.ctx, c.header, c.body); err != nil || ids[0] != a.ID {
				w.t.Fatalf("%v, %v", ids, err)
			}
		}
	}},
	{"AnAlteredCallbackIsDenied", func(w *world) {
		if w.Proof.OfSender {
			return // whom it names is a hint all the same
		}
		w.paidRequest()
		c := w.next()
		for i := range c.body {
			for bit := range 8 {
				body := bytes.Clone(c.body)
				body[i] ^= 1 << bit
				_, err := w.bank.Callback(w.ctx, c.header, body)
				w.failed(err, linking.BankDenied)
			}
		}
	}},
	{"ACallbackWithoutOrWithAnotherHeaderIsDenied", func(w *world) {
		w.paidRequest()
		c := w.next()
		tried := 0
		for name, values := range c.header {
			if w.Proof.Headers == nil && !strings.HasPrefix(name, "Webhook-") || w.Proof.Headers != nil && !slices.Contains(w.Proof.Headers, name) {
				continue
			}
			tried++
			for _, v := range [][]string{nil, {""}, {values[0] + "0"}, {values[0], values[0]}, {strings.Repeat("9", 20)}, {strings.Repeat("x ", 5000)}} {
				h := c.header.Clone()
				h[name] = v
				_, err := w.bank.Callback(w.ctx, h, c.body)
				w.failed(err, linking.BankDenied)
			}
		}
		if tried == 0 {
			w.t.Fatal("the callback is not signed")
		}
	}},
	{"AnOldCallbackIsDenied", func(w *world) {
		if w.Proof.Ageless {
			return // played back it is the same hint, which costs a question
		}
		w.paidRequest()
		c := w.next()
		for _, skew := range []time.Duration{6 * time.Minute, -6 * time.Minute} {
			w.skew.Store(int64(skew))
			_, err := w.bank.Callback(w.ctx, c.header, c.body)
			w.failed(err, linking.BankDenied)
		}
	}},
	{"ANeighboursCallbackIsDenied", func(w *world) {
		w.paidRequest()
		c := w.next()
		_, err := w.Neighbour(w.t, w.target(8*time.Second)).Callback(w.ctx, c.header, c.body)
		failed(w.t, err, linking.BankDenied)
	}},
	{"OurOwnCallPlayedBackIsNoCallback", func(w *world) {
		w.open()
		w.middle.mu.Lock()
		header, body := w.middle.last.Header, w.middle.body
		w.middle.mu.Unlock()
		_, err := w.bank.Callback(w.ctx, header, body)
		w.failed(err, linking.BankDenied)
	}},
	{"AnEnormousCallbackIsDenied", func(w *world) {
		w.paidRequest()
		c := w.next()
		_, err := w.bank.Callback(w.ctx, c.header, append(c.body, bytes.Repeat([]byte(" "), 10<<20)...))
		w.failed(err, linking.BankDenied)
	}},
	{"AnEmptyCallbackIsDenied", func(w *world) {
		_, err := w.bank.Callback(w.ctx, http.Header{}, nil)
		w.failed(err, linking.BankDenied)
	}},
}

// every runs a check for each call that reads an answer about a request, with the
// request freshly made and paid.
func (w *world) every(check func(t *testing.T, name string, call func() error)) {
	w.middle.alter(nil)
	a := w.paidRequest()
	fresh := w.ask()
	refund := w.refundOf(a, refundID(), 100)
	for _, c := range []struct {
		name string
		call func() error
	}{
		{"Put", func() error { _, err := w.bank.Put(w.ctx, fresh); return err }},
		{"Get", func() error { _, err := w.bank.Get(w.ctx, a.BankRef); return err }},
		{"Close", func() error { _, err := w.bank.Close(w.ctx, a.BankRef); return err }},
		{"Capture", func() error { _, err := w.bank.Capture(w.ctx, a.BankRef); return err }},
		{"Refund", func() error { _, err := w.bank.Refund(w.ctx, refund); return err }},
		{"Changed", func() error { _, _, err := w.bank.Changed(w.ctx, time.Now()); return err }},
	} {
		w.t.Run(c.name, func(t *testing.T) { check(t, c.name, c.call) })
	}
}

// answers asserts the class of every call's failure under one kind of answer.
func answers(tamper func(a *answer), want ...linking.BankErrorClass) func(w *world) {
	return func(w *world) {
		w.every(func(t *testing.T, name string, call func() error) {
			w.middle.alter(tamper)
			failed(t, call(), append(w.unsent(name), want...)...)
		})
	}
}

// unsent is the class of a call the rail need not make, because it cannot be asked
// for that.
func (w *world) unsent(name string) []linking.BankErrorClass {
	can := map[string]bool{"Capture": w.Abilities.Capture, "Refund": w.Abilities.Refund, "Changed": w.Abilities.Changed}
	if able, optional := can[name]; optional && !able {
		return []linking.BankErrorClass{linking.BankRefused}
	}
	return nil
}

func instead(status int, contentType, body string) func(a *answer) {
	return func(a *answer) {
		a.status, a.header, a.body = status, http.Header{"Content-Type": {contentType}}, []byte(body)
	}
}

// bomb is a small answer that unpacks to 10 MiB.
var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(bytes.Repeat([]byte(" "), 10<<20))
	z.Close()
	return b.Bytes()
})

const (
	asJSON    = "application/json"
	asProblem = "application/problem+json"
)

var honestyClaims = []claim{
	{"GarbageIsUnknown", answers(instead(200, asJSON, "\xff\xfe\x00{]["), linking.BankUnknown)},
	{"NothingIsUnknown", answers(instead(200, asJSON, ""), linking.BankUnknown)},
	{"NullIsUnknown", answers(instead(200, asJSON, "null"), linking.BankUnknown)},
	{"AnArrayIsUnknown", answers(instead(200, asJSON, "[]"), linking.BankUnknown)},
	{"AnEmptyObjectIsUnknown", answers(instead(200, asJSON, "{}"), linking.BankUnknown)},
	{"AWebPageIsUnknown", answers(instead(200, "text/html", "<!doctype html><h1>Welcome</h1>"), linking.BankUnknown)},
	{"TwoAnswersAtOnceAreUnknown", answers(func(a *answer) { a.body = append(a.body, a.body...); a.status = 200 }, linking.BankUnknown)},
	{"AnAnswerThatContradictsItselfIsUnknown", answers(func(a *answer) {
		a.status, a.header = 200, http.Header{}
		a.body = append([]byte(`{"id":"x","ID":"y","amount":1,"amount":2,`), bytes.TrimPrefix(bytes.TrimSpace(a.body), []byte("{"))...)
	}, linking.BankUnknown)},
	{"DeepNestingIsUnknown", answers(instead(200, asJSON, strings.Repeat(`{"a":`, 100_000)), linking.BankUnknown)},
	{"TenMebibytesAreUnknown", answers(func(a *answer) {
		a.status, a.header = 200, http.Header{}
		a.body = append(bytes.TrimSpace(a.body), bytes.Repeat([]byte(" "), 10<<20)...)
	}, linking.BankUnknown)},
	{"AnAnswerCutOffIsUnknown", answers(func(a *answer) { a.status, a.cut = 200, len(a.body)/2+1 }, linking.BankUnknown)},
	{"ACompressedAnswerIsUnknown", answers(func(a *answer) {
		a.status, a.header, a.body = 200, http.Header{"Content-Encoding": {"gzip"}}, bomb()
	}, linking.BankUnknown)},
	{"ARedirectIsUnknownAndNotFollowed", func(w *world) {
		followed := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { w.t.Error("the redirect was followed") }))
		w.t.Cleanup(followed.Close)
		for _, status := range []int{301, 302, 303, 307, 308} {
			answers(func(a *answer) {
				a.status, a.body = status, nil
				a.header = http.Header{"Location": {followed.URL}}
			}, linking.BankUnknown)(w)
		}
	}},
	{"ANotFoundOfSomebodyElsesIsUnknown", answers(instead(404, "text/html", "<h1>404</h1>"), linking.BankUnknown)},
	{"ANotFoundWithoutACodeIsUnknown", answers(instead(404, asProblem, `{"title":"Not Found"}`), linking.BankUnknown)},
	{"ARefusalOfSomebodyElsesIsUnknown", answers(instead(400, "text/plain", "Bad Request"), linking.BankUnknown)},
	{"AConflictOfSomebodyElsesIsUnknown", answers(instead(409, "text/plain", "Conflict"), linking.BankUnknown)},
	{"AFaultOfTheBanksIsUnknown", func(w *world) {
		for _, status := range []int{500, 502, 503, 504, 408} {
			answers(instead(status, "text/plain", "oops"), linking.BankUnknown)(w)
		}
	}},
	{"RefusedCredentialsAreDenied", func(w *world) {
		for _, status := range []int{401, 403} {
			answers(instead(status, "text/plain", "no"), linking.BankDenied)(w)
		}
	}},
	{"TooManyCallsIsNotSentAndSaysHowLong", func(w *world) {
		w.every(func(t *testing.T, name string, call func() error) {
			w.middle.alter(func(a *answer) { a.status, a.header, a.body = 429, http.Header{"Retry-After": {"7"}}, nil })
			be := failed(t, call(), append(w.unsent(name), linking.BankNotSent)...)
			// A guard in between counts the seconds down.
			if be.Class == linking.BankNotSent && (be.Retry < 5*time.Second || be.Retry > 7*time.Second) {
				t.Fatalf("wait %v", be.Retry)
			}
		})
	}},
	{"AStrangersCredentialsAreDenied", func(w *world) {
		s := w.Stranger(w.t, w.target(8*time.Second))
		a := w.ask()
		_, err := s.Put(w.ctx, a)
		failed(w.t, err, linking.BankDenied)
		w.absent(a)
	}},
	{"AnExpiredCredentialIsDeniedOrRenewed", func(w *world) {
		a := w.ask()
		w.fault(simulator.Fault{Route: "create", Kind: simulator.TokenExpired, Count: 1})
		if _, err := w.bank.Put(w.ctx, a); err != nil {
			w.failed(err, linking.BankDenied)
			w.absent(a)
			w.put(a)
		}
		w.status(w.get(a), linking.BankOpen)
	}},
	{"AClockTenMinutesOffIsDeniedOrDoesNotMatter", func(w *world) {
		w.skew.Store(int64(10 * time.Minute))
		a := w.ask()
		if _, err := w.bank.Put(w.ctx, a); err != nil {
			w.failed(err, linking.BankDenied)
		}
	}},
	{"FieldsNobodyKnowsArePassedOver", func(w *world) {
		w.middle.alter(document(func(doc map[string]any) { doc["colour"] = map[string]any{"of": "money"} }))
		a := w.open()
		w.status(w.get(a), linking.BankOpen)
	}},
	{"AnotherAmountIsReturnedForComparison", func(w *world) {
		a := w.ask()
		w.middle.alter(document(w.lie(w.t, OtherAmount)))
		s, err := w.bank.Put(w.ctx, a)
		if err != nil {
			w.failed(err, linking.BankUnknown)
			return
		}
		if s.Money == a.Money {
			w.t.Fatal("the bank's amount was replaced by ours")
		}
	}},
}

func (w *world) lie(t *testing.T, l Lie) func(doc map[string]any) {
	t.Helper()
	alter, ok := w.Lies[l]
	if !ok {
		t.Fatalf("the fixture does not say how to tell: %s", l)
	}
	return alter
}

// noLieIsBelieved tells each lie in the answers to Put, Get and Close.
func noLieIsBelieved(t *testing.T, setup func(t *testing.T) Fixture) {
	put := func(w *world, tell func()) error {
		a := w.ask()
		tell()
		_, err := w.bank.Put(w.ctx, a)
		return err
	}
	get := func(w *world, tell func()) error {
		a := w.open()
		tell()
		_, err := w.bank.Get(w.ctx, a.BankRef)
		return err
	}
	getPaid := func(w *world, tell func()) error {
		a := w.paidRequest()
		tell()
		_, err := w.bank.Get(w.ctx, a.BankRef)
		return err
	}
	end := func(w *world, tell func()) error {
		a := w.open()
		tell()
		_, err := w.bank.Close(w.ctx, a.BankRef)
		return err
	}
	refund := func(w *world, tell func()) error {
		if !w.Abilities.Refund {
			return &linking.BankError{Class: linking.BankUnknown, Code: "no_refunds", Detail: "There is no such answer."}
		}
		a := w.paidRequest()
		r := w.refundOf(a, refundID(), 100)
		tell()
		_, err := w.bank.Refund(w.ctx, r)
		return err
	}
	type call struct {
		name string
		make func(w *world, tell func()) error
	}
	anyCall := []call{{"Put", put}, {"Get", get}, {"Close", end}}
	of := map[Lie][]call{
		OtherID: anyCall, NoID: anyCall, UnknownStatus: anyCall, NoStatus: anyCall, UnknownCurrency: anyCall,
		ForeignCurrency: {{"Put", put}}, NoAmount: anyCall, ZeroAmount: anyCall, NegativeAmount: anyCall,
		HugeAmount: anyCall, FractionAmount: anyCall, TextAmount: anyCall,
		NoWay: {{"Put", put}, {"Get", get}}, HostileWay: {{"Put", put}, {"Get", get}}, BadTime: anyCall,
		PaidForNothing: {{"Get", get}, {"Close", end}}, NamelessPayment: {{"Get", getPaid}}, TwinPayments: {{"Get", getPaid}},
		TimelessPayment: {{"Get", getPaid}}, WrongRefund: {{"Get", getPaid}},
		OtherRefund: {{"Refund", refund}}, OtherRefundAmount: {{"Refund", refund}},
		OtherRefundCurrency: {{"Refund", refund}}, UnknownRefundStatus: {{"Refund", refund}},
	}
	for lie, calls := range of {
		for _, c := range calls {
			t.Run(string(lie)+"/"+c.name, func(t *testing.T) {
				w := newWorld(t, setup(t))
				if w.OneCurrency && (lie == UnknownCurrency || lie == ForeignCurrency || lie == OtherRefundCurrency) {
					return // there is no such field to lie in
				}
				err := c.make(w, func() { w.middle.alter(document(w.lie(t, lie))) })
				failed(t, err, linking.BankUnknown)
			})
		}
	}
}

var networkClaims = []claim{
	{"ABankThatNeverAnswersIsUnknownInTime", func(w *world) {
		w.bank = w.Open(w.t, w.target(300*time.Millisecond))
		w.absent(w.ask()) // a rail that needs a token has one now
		w.fault(simulator.Fault{Kind: simulator.Hang})
		start := time.Now()
		_, err := w.bank.Put(w.ctx, w.ask())
		w.failed(err, linking.BankUnknown)
		_, err = w.bank.Get(w.ctx, w.ask().BankRef)
		w.failed(err, linking.BankUnknown)
		if took := time.Since(start); took > 3*time.Second {
			w.t.Fatalf("it took %v", took)
		}
	}},
	{"ACallerWhoGivesUpWaitsNoLonger", func(w *world) {
		w.absent(w.ask())
		w.fault(simulator.Fault{Kind: simulator.Hang})
		ctx, cancel := context.WithTimeout(w.ctx, 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := w.bank.Put(ctx, w.ask())
		w.failed(err, linking.BankUnknown)
		if took := time.Since(start); took > 2*time.Second {
			w.t.Fatalf("it took %v", took)
		}
	}},
	{"NobodyAtHomeIsNotSent", func(w *world) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			w.t.Fatal(err)
		}
		at := w.target(8 * time.Second)
		at.URL = "http://" + l.Addr().String()
		l.Close()
		a := w.ask()
		_, err = w.Open(w.t, at).Put(w.ctx, a)
		failed(w.t, err, linking.BankNotSent)
		w.absent(a)
	}},
	{"ACertificateOfAStrangersIsNotSent", func(w *world) {
		stranger := httptest.NewTLSServer(w.middle)
		w.t.Cleanup(stranger.Close)
		stranger.Config.ErrorLog = nil
		at := w.target(8 * time.Second)
		at.URL = stranger.URL
		a := w.ask()
		_, err := w.Open(w.t, at).Put(w.ctx, a)
		if be := failed(w.t, err, linking.BankNotSent); be.Code != "certificate" {
			w.t.Fatalf("code %q", be.Code)
		}
		w.absent(a)
		at.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: stranger.Certificate().Raw})
		if _, err := w.Open(w.t, at).Put(w.ctx, a); err != nil {
			w.t.Fatalf("with its authority known: %v", err)
		}
	}},
	{"ACancelledCallIsNotSent", func(w *world) {
		ctx, cancel := context.WithCancel(w.ctx)
		cancel()
		a := w.ask()
		_, err := w.bank.Put(ctx, a)
		w.failed(err, linking.BankNotSent, linking.BankUnknown)
		if n := w.changes(a); n != 0 {
			w.t.Fatal("it was sent")
		}
	}},
	{"ManyAtOnceAreAllServed", func(w *world) {
		errs := make(chan error)
		for range 30 {
			go func() {
				a := w.ask()
				_, err := w.bank.Put(w.ctx, a)
				if err == nil {
					_, err = w.Sim.Pay(simulator.Pay{RequestID: string(a.ID)})
				}
				var s linking.BankState
				if err == nil {
					s, err = w.bank.Get(w.ctx, a.BankRef)
				}
				if err == nil && (s.ID != a.ID || s.Status != linking.BankPaid) {
					err = &linking.BankError{Code: "mixed up"}
				}
				errs <- err
			}()
		}
		for range 30 {
			if err := <-errs; err != nil {
				w.t.Error(err)
			}
		}
	}},
}
