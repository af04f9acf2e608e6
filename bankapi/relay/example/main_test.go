package main

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"placard/bankapi"
	"placard/bankapi/relay"
	"placard/linking"
)

// TestTheExampleServesASale plays a sale against the example with Placard's own
// client, which believes nothing that openapi.yaml does not allow.
func TestTheExampleServesASale(t *testing.T) {
	key := []byte("thirty-two bytes of no randomness")
	var here http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { here.ServeHTTP(w, r) }))
	defer server.Close()
	here = newRelay(key, server.URL)
	bank, err := relay.Rail{}.Open(bankapi.Setup{
		Settings: map[string]string{"url": server.URL},
		Secrets:  map[string]bankapi.Secret{"secret": bankapi.NewSecret("whsec_" + base64.StdEncoding.EncodeToString(key))},
		Client:   func(c *tls.Config) *http.Client { return bankapi.NewClient(bankapi.Limits{}, c) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	type hint struct {
		header http.Header
		body   []byte
	}
	hints := make(chan hint, 1)
	merchant := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		hints <- hint{r.Header, body}
	}))
	defer merchant.Close()
	class := func(err error) linking.BankErrorClass {
		be, _ := errors.AsType[*linking.BankError](err)
		if be == nil {
			return ""
		}
		return be.Class
	}

	if a, err := bank.Abilities(ctx); err != nil || len(a.Currencies) != 1 {
		t.Fatalf("%+v, %v", a, err)
	}
	ask := linking.Ask{BankRef: linking.BankRef{ID: "01J8QZ4F8YV6N0W3H5K7T9ACDE"}, Revision: 1,
		Money: linking.Money{Amount: 1250, Currency: "EUR"}, ExpiresAt: time.Now().Add(time.Hour), CallbackURL: merchant.URL}
	if _, err := bank.Get(ctx, ask.BankRef); class(err) != linking.BankAbsent {
		t.Fatal(err)
	}
	var s linking.BankState
	for range 2 {
		if s, err = bank.Put(ctx, ask); err != nil || s.Status != linking.BankOpen || s.Money != ask.Money || s.Way.URL == "" {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	other := ask
	other.Money.Amount = 1
	if _, err := bank.Put(ctx, other); class(err) != linking.BankBusy {
		t.Fatal(err)
	}
	other.Revision = 2
	if _, err := bank.Put(ctx, other); class(err) != linking.BankRefused {
		t.Fatal(err)
	}
	res, err := http.PostForm(s.Way.URL, url.Values{})
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	res.Body.Close()
	got := <-hints
	if ids, err := bank.Callback(ctx, got.header, got.body); err != nil || ids[0] != ask.ID {
		t.Fatal(ids, err)
	}
	for range 2 {
		if s, err = bank.Close(ctx, ask.BankRef); err != nil || s.Status != linking.BankPaid || len(s.Payments) != 1 || s.Payments[0].Money != ask.Money {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	closed := ask
	closed.ID = "01J8QZ4F8YV6N0W3H5K7T9ACDF"
	if s, err = bank.Put(ctx, closed); err != nil {
		t.Fatal(err)
	}
	page := s.Way.URL
	if s, err = bank.Close(ctx, closed.BankRef); err != nil || s.Status != linking.BankClosed {
		t.Fatalf("%+v, %v", s, err)
	}
	if res, err = http.PostForm(page, url.Values{}); err != nil || res.StatusCode != http.StatusGone {
		t.Fatal("a closed request was paid", err)
	}
	res.Body.Close()
	if _, err := bank.Refund(ctx, linking.RefundAsk{BankRef: ask.BankRef, Refund: "01J8QZ5A1B2C3D4E5F6G", PaymentID: "ch_1", Money: ask.Money}); class(err) != linking.BankRefused {
		t.Fatal(err)
	}
	if res, err = http.Get(server.URL + "/requests/" + string(ask.ID)); err != nil || res.StatusCode != http.StatusUnauthorized {
		t.Fatal("an unsigned call was served", err)
	}
	res.Body.Close()
}
