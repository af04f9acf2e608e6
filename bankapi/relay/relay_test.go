package relay_test

import (
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"placard/bankapi"
	"placard/bankapi/banktest"
	"placard/bankapi/relay"
	"placard/bankapi/simulator"
	"placard/linking"
)

// everything is a bank that can do all a relay can.
var everything = linking.Abilities{
	Currencies: []linking.Currency{"EUR", "GBP", "NOK"}, MaxExpiry: 400 * 24 * time.Hour, OpenEnded: true,
	Revise: true, Refund: true, Capture: true, Changed: true, Adjustable: true, EndsItself: true,
	Charges: []linking.Charge{linking.Immediate}, Methods: []string{"card", "bank"},
}

// bare is a bank that can only be paid.
var bare = linking.Abilities{Currencies: []linking.Currency{"EUR"}, MaxExpiry: time.Hour}

const otherSecret = "whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldCBlbnRpcmVseQ=="

// fixture is a simulator with two accounts, and how to reach it by this rail.
// through turns the rail's bank into the one under test.
func fixture(t *testing.T, can linking.Abilities, through func(t *testing.T, at banktest.Target, s bankapi.Setup, now func() time.Time) linking.Bank) banktest.Fixture {
	t.Helper()
	secrets := map[string]string{"shop": relay.NewSecret(), "neighbour": relay.NewSecret()}
	sim, err := simulator.New(simulator.Options{
		Accounts: []simulator.Account{
			{ID: "shop", Name: "Corner Café", Secret: secrets["shop"]},
			{ID: "neighbour", Name: "Next Door", Secret: secrets["neighbour"]},
		},
		Abilities: can, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	open := func(account, secret string) func(*testing.T, banktest.Target) linking.Bank {
		return func(t *testing.T, at banktest.Target) linking.Bank {
			return through(t, at, bankapi.Setup{
				Connection: "01CONNECTION00",
				Settings:   map[string]string{"url": at.URL + "/relay/" + account, "ca_pem": string(at.CA)},
				Secrets:    map[string]bankapi.Secret{"secret": bankapi.NewSecret(secret)},
			}, at.Now)
		}
	}
	return banktest.Fixture{
		Sim: sim, Abilities: can, Currency: "EUR", Foreign: "CHF", Lies: lies,
		Open:      open("shop", secrets["shop"]),
		Neighbour: open("neighbour", secrets["neighbour"]),
		Stranger:  open("shop", otherSecret),
	}
}

// alone is the rail's bank by itself.
func alone(t *testing.T, at banktest.Target, s bankapi.Setup, now func() time.Time) linking.Bank {
	t.Helper()
	l := bankapi.Limits{Total: at.Patience}
	s.Client = func(c *tls.Config) *http.Client {
		client := bankapi.NewClient(l, c)
		t.Cleanup(client.CloseIdleConnections)
		return client
	}
	b, err := relay.Rail{Now: now}.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// guarded is the same behind bankapi's guard. Its breakers are set so that no case
// of the suite, which fails on purpose, opens them.
func guarded(t *testing.T, at banktest.Target, s bankapi.Setup, now func() time.Time) linking.Bank {
	t.Helper()
	sealer, err := bankapi.NewSealer(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	banks := bankapi.New(bankapi.Options{
		Rails:  map[string]bankapi.Rail{"relay": relay.Rail{Now: now}},
		Sealer: sealer, Log: slog.New(slog.DiscardHandler),
		Limits: bankapi.Limits{Total: at.Patience, Consecutive: 1000, MinCalls: 1000, RetryBase: time.Millisecond},
	})
	t.Cleanup(func() { banks.Close() })
	c := linking.Connection{ID: s.Connection, Rail: "relay", Settings: s.Settings}
	if c.Sealed, err = sealer.Seal(c.ID, c.Rail, s.Secrets); err != nil {
		t.Fatal(err)
	}
	b, err := banks.Open(&c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConformance(t *testing.T) {
	for name, can := range map[string]linking.Abilities{"Everything": everything, "Bare": bare} {
		t.Run(name, func(t *testing.T) {
			banktest.Run(t, func(t *testing.T) banktest.Fixture { return fixture(t, can, alone) })
		})
	}
}

func TestConformanceBehindTheGuard(t *testing.T) {
	banktest.Run(t, func(t *testing.T) banktest.Fixture { return fixture(t, everything, guarded) })
}

// lies falsify the relay's answers.
var lies = map[banktest.Lie]func(doc map[string]any){
	banktest.OtherID:         set("id", "01J8ZZZZZZZZZZZZZZZZZZZZZZ"),
	banktest.NoID:            drop("id"),
	banktest.UnknownStatus:   set("status", "perhaps"),
	banktest.NoStatus:        drop("status"),
	banktest.UnknownCurrency: set("currency", "XXX"),
	banktest.ForeignCurrency: set("currency", "USD"),
	banktest.OtherAmount:     set("amount", 9999),
	banktest.NoAmount:        drop("amount"),
	banktest.ZeroAmount:      set("amount", 0),
	banktest.NegativeAmount:  set("amount", -1250),
	banktest.HugeAmount:      set("amount", json.Number("99999999999999999999999")),
	banktest.FractionAmount:  set("amount", json.Number("1250.5")),
	banktest.TextAmount:      set("amount", "1250"),
	banktest.NoWay:           drop("way"),
	banktest.HostileWay:      set("way", map[string]any{"kind": "app", "url": "javascript:alert(1)"}),
	banktest.BadTime:         set("expires_at", "tomorrow"),
	banktest.PaidForNothing:  set("status", "paid"),
	banktest.NamelessPayment: inPayment(drop("id")),
	banktest.TimelessPayment: inPayment(drop("paid_at")),
	banktest.TwinPayments: func(doc map[string]any) {
		p := doc["payments"].([]any)
		doc["payments"] = append(p, p[0])
	},
	banktest.OtherRefund:         set("id", "01J8ZZZZZZZZZZZZZZZZ"),
	banktest.OtherRefundAmount:   set("amount", 99),
	banktest.OtherRefundCurrency: set("currency", "GBP"),
	banktest.UnknownRefundStatus: set("status", "perhaps"),
	banktest.WrongRefund:         set("refunds", []any{map[string]any{"id": "r1", "payment_id": "none", "amount": 1, "currency": "EUR", "status": "done"}}),
}

func set(name string, v any) func(map[string]any) {
	return func(doc map[string]any) { doc[name] = v }
}

func drop(name string) func(map[string]any) {
	return func(doc map[string]any) { delete(doc, name) }
}

func inPayment(alter func(map[string]any)) func(map[string]any) {
	return func(doc map[string]any) { alter(doc["payments"].([]any)[0].(map[string]any)) }
}
