package pix_test

import (
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"placard/bankapi"
	"placard/bankapi/banktest"
	"placard/bankapi/pix"
	"placard/bankapi/simulator"
	"placard/linking"
)

const (
	shopKey      = "7d9f0335-8dcc-4054-9bf9-0dbd61d36906"
	neighbourKey = "+5561912345678"
	shopSecret   = "shop-0123456789abcdef0123456789abcdef"
	otherSecret  = "next-0123456789abcdef0123456789abcdef"
)

// able is what a connection with every scope can do.
var able = linking.Abilities{
	Currencies: []linking.Currency{"BRL"}, MaxExpiry: 365 * 24 * time.Hour, NeedsDebtor: true, Revise: true, Refund: true,
	Changed: true, BankLink: true, ScannedByBank: true, Charges: []linking.Charge{linking.Immediate, linking.DueDate},
}

// options are a bank with two merchants.
func options(o simulator.Options) simulator.Options {
	o.Log = slog.New(slog.DiscardHandler)
	o.Accounts = []simulator.Account{
		{ID: "shop", Name: "Padaria São João", Pix: simulator.PixAccount{ClientID: "shop", ClientSecret: "s1", Keys: []string{shopKey},
			City: "Belo Horizonte", CallbackHeader: map[string]string{"X-Pix-Proof": shopSecret}}},
		{ID: "neighbour", Name: "Next Door", Pix: simulator.PixAccount{ClientID: "neighbour", ClientSecret: "s2", Keys: []string{neighbourKey},
			CallbackHeader: map[string]string{"X-Pix-Proof": otherSecret}}},
	}
	return o
}

func newSimulator(t testing.TB, o simulator.Options) *simulator.Simulator {
	t.Helper()
	sim, err := simulator.New(options(o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	return sim
}

// setup is what a connection of the shop's to a bank at url is opened with.
func setup(url string, more map[string]string) bankapi.Setup {
	s := bankapi.Setup{
		Connection: "01CONNECTION00",
		Settings: map[string]string{"url": url + "/pix/shop/v2", "token_url": url + "/pix/shop/oauth/token", "client_id": "shop",
			"chave": shopKey, "merchant_name": "Padaria São João", "merchant_city": "Belo Horizonte",
			"callback_auth": "header", "callback_header": "X-Pix-Proof"},
		Secrets: map[string]bankapi.Secret{"client_secret": bankapi.NewSecret("s1"), "callback_secret": bankapi.NewSecret(shopSecret)},
	}
	maps.Copy(s.Settings, more)
	return s
}

// open opens a bank by itself, without the guard.
func open(t testing.TB, s bankapi.Setup, now func() time.Time, patience time.Duration) *pix.Bank {
	t.Helper()
	s.Client = func(c *tls.Config) *http.Client {
		client := bankapi.NewClient(bankapi.Limits{Total: patience}, c)
		t.Cleanup(client.CloseIdleConnections)
		return client
	}
	b, err := pix.Rail{Now: now}.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	return b.(*pix.Bank)
}

type through func(t *testing.T, s bankapi.Setup, at banktest.Target) linking.Bank

func alone(t *testing.T, s bankapi.Setup, at banktest.Target) linking.Bank {
	return open(t, s, at.Now, at.Patience)
}

// guarded is the rail behind bankapi's guard, with breakers that no case of the suite
// opens, which fails on purpose.
func guarded(t *testing.T, s bankapi.Setup, at banktest.Target) linking.Bank {
	t.Helper()
	sealer, err := bankapi.NewSealer(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	banks := bankapi.New(bankapi.Options{
		Rails: map[string]bankapi.Rail{"pix": pix.Rail{Now: at.Now}}, Sealer: sealer, Log: slog.New(slog.DiscardHandler),
		Limits: bankapi.Limits{Total: at.Patience, Consecutive: 1000, MinCalls: 1000, RetryBase: time.Millisecond},
	})
	t.Cleanup(func() { banks.Close() })
	c := linking.Connection{ID: s.Connection, Rail: "pix", Settings: s.Settings}
	if c.Sealed, err = sealer.Seal(c.ID, c.Rail, s.Secrets); err != nil {
		t.Fatal(err)
	}
	b, err := banks.Open(&c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fixture is a simulator with two accounts, and how to reach it by this rail.
func fixture(t *testing.T, o simulator.Pix, how through, more map[string]string) banktest.Fixture {
	t.Helper()
	sim := newSimulator(t, simulator.Options{Pix: o})
	as := func(account, secret, key, proof string) func(*testing.T, banktest.Target) linking.Bank {
		return func(t *testing.T, at banktest.Target) linking.Bank {
			s := setup(at.URL, more)
			s.Settings["url"], s.Settings["token_url"] = at.URL+"/pix/"+account+"/v2", at.URL+"/pix/"+account+"/oauth/token"
			s.Settings["client_id"], s.Settings["chave"] = account, key
			if at.CA != nil {
				s.Settings["ca_pem"] = string(at.CA)
			}
			s.Secrets["client_secret"], s.Secrets["callback_secret"] = bankapi.NewSecret(secret), bankapi.NewSecret(proof)
			return how(t, s, at)
		}
	}
	return banktest.Fixture{
		Sim: sim, Abilities: able, Currency: "BRL", Foreign: "EUR", Lies: lies, Instant: true, OneCurrency: true, Page: 100,
		Proof: banktest.Proof{Headers: []string{"X-Pix-Proof"}, OfSender: true, Ageless: true},
		Open:  as("shop", "s1", shopKey, shopSecret), Neighbour: as("neighbour", "s2", neighbourKey, otherSecret),
		Stranger: as("shop", "somebody else's", shopKey, shopSecret),
		CallbackTo: func(url string) {
			direct := httptest.NewServer(sim)
			defer direct.Close()
			if err := open(t, setup(direct.URL, more), nil, 8*time.Second).Register(t.Context(), url); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// The four ways to ask for a token, with what a bank may choose elsewhere.
var choices = map[string]struct {
	bank     simulator.Pix
	settings map[string]string
}{
	"Likely": {},
	"Unlikely": {
		simulator.Pix{RefusesReplay: true, LooseLocations: true, BareCallbacks: true, PlainCallbacks: true},
		map[string]string{"token_auth": "basic_json", "initiation": "none"},
	},
}

func TestConformance(t *testing.T) {
	for name, c := range choices {
		t.Run(name, func(t *testing.T) {
			banktest.Run(t, func(t *testing.T) banktest.Fixture {
				f := fixture(t, c.bank, alone, c.settings)
				f.Witness = func(bank http.Handler) http.Handler { return newWitness(t, bank) }
				return f
			})
		})
	}
}

func TestConformanceBehindTheGuard(t *testing.T) {
	banktest.Run(t, func(t *testing.T) banktest.Fixture {
		return fixture(t, simulator.Pix{}, guarded, map[string]string{"token_auth": "secret_form"})
	})
}

func set(name string, v any) func(map[string]any) {
	return func(doc map[string]any) { doc[name] = v }
}

func drop(name string) func(map[string]any) {
	return func(doc map[string]any) { delete(doc, name) }
}

// in alters an object within an answer, if there is one.
func in(name string, alter func(map[string]any)) func(map[string]any) {
	return func(doc map[string]any) {
		if inner, ok := doc[name].(map[string]any); ok {
			alter(inner)
		}
	}
}

// inPix alters the first payment of a charge.
func inPix(alter func(map[string]any)) func(map[string]any) {
	return func(doc map[string]any) { alter(doc["pix"].([]any)[0].(map[string]any)) }
}

// lies falsify the bank's answers.
var lies = map[banktest.Lie]func(doc map[string]any){
	banktest.OtherID:        set("txid", "01J8ZZZZZZZZZZZZZZZZZZZZZZ"),
	banktest.NoID:           drop("txid"),
	banktest.UnknownStatus:  set("status", "TALVEZ"),
	banktest.NoStatus:       drop("status"),
	banktest.OtherAmount:    in("valor", set("original", "99.99")),
	banktest.NoAmount:       drop("valor"),
	banktest.ZeroAmount:     in("valor", set("original", "0.00")),
	banktest.NegativeAmount: in("valor", set("original", "-12.50")),
	banktest.HugeAmount:     in("valor", set("original", "99999999999.99")),
	banktest.FractionAmount: in("valor", set("original", "12.505")),
	banktest.TextAmount:     in("valor", set("original", "doze")),
	banktest.NoWay: func(doc map[string]any) {
		delete(doc, "loc")
		delete(doc, "location")
		delete(doc, "pixCopiaECola")
	},
	banktest.HostileWay:          in("loc", set("location", "javascript:alert(1)")),
	banktest.BadTime:             in("calendario", set("expiracao", "amanhã")),
	banktest.PaidForNothing:      set("status", "CONCLUIDA"),
	banktest.NamelessPayment:     inPix(drop("endToEndId")),
	banktest.TimelessPayment:     inPix(drop("horario")),
	banktest.TwinPayments:        func(doc map[string]any) { doc["pix"] = append(doc["pix"].([]any), doc["pix"].([]any)[0]) },
	banktest.OtherRefund:         set("id", "01J8ZZZZZZZZZZZZZZZZ"),
	banktest.OtherRefundAmount:   set("valor", "0.99"),
	banktest.UnknownRefundStatus: set("status", "TALVEZ"),
	banktest.WrongRefund: inPix(set("devolucoes", []any{map[string]any{ // more than came in
		"id": "r1", "rtrId": "D1", "valor": json.Number("99.99").String(), "status": "DEVOLVIDO", "horario": map[string]any{}}})),
}
