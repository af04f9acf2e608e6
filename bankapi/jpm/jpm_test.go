package jpm_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	"placard/bankapi"
	"placard/bankapi/banktest"
	"placard/bankapi/jpm"
	"placard/bankapi/simulator"
	"placard/linking"
)

// Keys take long to make, so they are made once.
var (
	rsaKey      = sync.OnceValue(func() *rsa.PrivateKey { k, _ := rsa.GenerateKey(rand.Reader, 2048); return k })
	strangerKey = sync.OnceValue(func() *rsa.PrivateKey { k, _ := rsa.GenerateKey(rand.Reader, 2048); return k })
	ecKeys      = sync.OnceValue(func() (keys [2]*ecdsa.PrivateKey) {
		for i := range keys {
			keys[i], _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		}
		return keys
	})
)

func publicPEM(t *testing.T, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func privatePEM(t *testing.T, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// side is one merchant: how the bank knows him, and his connection.
type side struct {
	account  simulator.JPMAccount
	settings map[string]string
	secrets  map[string]string
}

// market is one country, as it is tested.
type market struct {
	country   string
	currency  linking.Currency
	page      int // of its list
	abilities linking.Abilities
	proof     banktest.Proof
	choices   simulator.JPM
	side      func(t *testing.T, name string, n int) side
}

const day = 24 * time.Hour

var shop = map[string]map[string]string{
	"BR": {"country": "BR", "creditor_scheme": "CNPJ", "creditor_account": "70204587000136", "merchant_name": "Padaria São João", "merchant_city": "Belo Horizonte"},
	"SG": {"country": "SG", "creditor_scheme": "UEN", "creditor_account": "201403121W"},
	"HK": {"country": "HK", "creditor_scheme": "SVID", "creditor_account": "1688999"},
}

// The markets differ in how the client shows who it is, how callbacks are proven, and
// in what the bank does where its contract is silent.
var markets = map[string]market{
	"BR": {
		"BR", "BRL", 99,
		linking.Abilities{Currencies: []linking.Currency{"BRL"}, MaxExpiry: 999_999 * time.Second, Revise: true, BankLink: true, Changed: true, EndsItself: true,
			Charges: []linking.Charge{linking.Immediate}},
		banktest.Proof{Headers: []string{"Signature"}, Ageless: true},
		simulator.JPM{},
		func(t *testing.T, name string, n int) side {
			return side{
				simulator.JPMAccount{ClientID: name, ClientSecret: name + "'s secret", CallbackKey: ecKeys()[n]},
				map[string]string{"search_cursor": "body", "oauth": "client_secret", "client_id": name, "scope": "jpm:payments",
					"callback_auth": "signature", "callback_key": publicPEM(t, ecKeys()[n])},
				map[string]string{"client_secret": name + "'s secret"},
			}
		},
	},
	"SG": {
		"SG", "SGD", 20,
		linking.Abilities{Currencies: []linking.Currency{"SGD"}, MaxExpiry: 330 * day, Changed: true, EndsItself: true, Charges: []linking.Charge{linking.Immediate}},
		banktest.Proof{Headers: []string{"X-Bank-Proof"}, OfSender: true, Ageless: true},
		simulator.JPM{NoCursors: true, PlainReplay: true, EndToEndInside: true, CancelsTwice: true, Extras: true, NoPictures: true},
		func(t *testing.T, name string, n int) side {
			secret := name + "-0123456789abcdef0123456789abcdef"
			return side{
				simulator.JPMAccount{ClientID: name, AssertionKey: publicPEM(t, rsaKey()), SigningKey: publicPEM(t, rsaKey()),
					CallbackHeader: map[string]string{"X-Bank-Proof": secret}},
				map[string]string{"oauth": "jwt", "client_id": name, "resource": "JPMC:URI:RS-1", "assertion_kid": "A1", "sign": "jose", "signing_kid": "B2",
					"callback_auth": "header", "callback_header": "x-bank-proof"},
				map[string]string{"assertion_key_pem": privatePEM(t, rsaKey()), "signing_key_pem": privatePEM(t, rsaKey()), "callback_secret": secret},
			}
		},
	},
	"HK": {
		"HK", "CNY", 20,
		linking.Abilities{Currencies: []linking.Currency{"HKD", "CNY"}, MaxExpiry: 330 * day, Changed: true, EndsItself: true, Charges: []linking.Charge{linking.Immediate}},
		banktest.Proof{Headers: []string{"Signature"}, Ageless: true},
		simulator.JPM{ZonedCallbacks: true, MismatchStatus: 400},
		func(t *testing.T, name string, n int) side {
			key := crypto.Signer(rsaKey())
			if n > 0 {
				key = ecKeys()[1]
			}
			return side{
				simulator.JPMAccount{ClientID: name, ClientSecret: "s-" + name, CallbackKey: key},
				map[string]string{"search_cursor": "query", "oauth": "client_secret", "client_id": name, "callback_auth": "signature", "callback_key": publicPEM(t, key)},
				map[string]string{"client_secret": "s-" + name},
			}
		},
	},
}

const apiPath = "/receivables/request-to-pay/v1"

// setup is what a connection of s to account at url is opened with.
func setup(country, account string, s side, url, ca string) bankapi.Setup {
	out := bankapi.Setup{Connection: "01CONNECTION00", Settings: maps.Clone(shop[country]), Secrets: map[string]bankapi.Secret{}}
	maps.Copy(out.Settings, s.settings)
	out.Settings["url"] = url + "/jpm/" + account + apiPath
	if s.settings["oauth"] != "" {
		out.Settings["token_url"] = url + "/jpm/" + account + "/oauth2/token"
	}
	if ca != "" {
		out.Settings["ca_pem"] = ca
	}
	for name, text := range s.secrets {
		out.Secrets[name] = bankapi.NewSecret(text)
	}
	return out
}

// open opens a bank by itself, without the guard.
func open(t *testing.T, s bankapi.Setup, now func() time.Time, patience time.Duration) *jpm.Bank {
	t.Helper()
	s.Client = func(c *tls.Config) *http.Client {
		client := bankapi.NewClient(bankapi.Limits{Total: patience}, c)
		t.Cleanup(client.CloseIdleConnections)
		return client
	}
	b, err := jpm.Rail{Now: now}.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	return b.(*jpm.Bank)
}

func newSimulator(t *testing.T, o simulator.Options) *simulator.Simulator {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	sim, err := simulator.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	return sim
}

// fixture is a simulator with two accounts, and how to reach it by this rail. through
// turns a setup into the bank under test.
func fixture(t *testing.T, m market, through func(t *testing.T, s bankapi.Setup, at banktest.Target) linking.Bank) banktest.Fixture {
	t.Helper()
	ours, theirs := m.side(t, "shop", 0), m.side(t, "neighbour", 1)
	sim := newSimulator(t, simulator.Options{JPM: m.choices, Accounts: []simulator.Account{
		{ID: "shop", Name: "Corner Café", JPM: ours.account}, {ID: "neighbour", Name: "Next Door", JPM: theirs.account},
	}})
	stranger := m.side(t, "shop", 0)
	if _, ok := stranger.secrets["client_secret"]; ok {
		stranger.secrets["client_secret"] = "somebody else's"
	} else {
		stranger.secrets["assertion_key_pem"] = privatePEM(t, strangerKey())
	}
	opened := func(account string, s side) func(*testing.T, banktest.Target) linking.Bank {
		return func(t *testing.T, at banktest.Target) linking.Bank {
			return through(t, setup(m.country, account, s, at.URL, string(at.CA)), at)
		}
	}
	return banktest.Fixture{
		Sim: sim, Abilities: m.abilities, Currency: m.currency, Foreign: "EUR", Lies: lies, Proof: m.proof, OnePayment: true, Page: m.page,
		Open: opened("shop", ours), Neighbour: opened("neighbour", theirs), Stranger: opened("shop", stranger),
		CallbackTo: func(url string) {
			ours.account.CallbackURL = url
			if err := sim.OpenAccount(simulator.Account{ID: "shop", JPM: ours.account}); err != nil {
				t.Fatal(err)
			}
		},
	}
}

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
		Rails: map[string]bankapi.Rail{"jpm": jpm.Rail{Now: at.Now}}, Sealer: sealer, Log: slog.New(slog.DiscardHandler),
		Limits: bankapi.Limits{Total: at.Patience, Consecutive: 1000, MinCalls: 1000, RetryBase: time.Millisecond},
	})
	t.Cleanup(func() { banks.Close() })
	c := linking.Connection{ID: s.Connection, Rail: "jpm", Settings: s.Settings}
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
	for name, m := range markets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			banktest.Run(t, func(t *testing.T) banktest.Fixture { return fixture(t, m, alone) })
		})
	}
}

func TestConformanceBehindTheGuard(t *testing.T) {
	t.Parallel()
	banktest.Run(t, func(t *testing.T) banktest.Fixture { return fixture(t, markets["BR"], guarded) })
}

// details calls alter for each request in an answer: the answer itself, or those of a
// list.
func details(alter func(doc map[string]any)) func(doc map[string]any) {
	return func(doc map[string]any) {
		if list, ok := doc["requests"].([]any); ok {
			for _, one := range list {
				alter(one.(map[string]any))
			}
		} else if doc["status"] != nil {
			alter(doc)
		}
	}
}

// in alters an object within a request, if there is one at the path.
func in(path []string, alter func(doc map[string]any)) func(doc map[string]any) {
	return details(func(doc map[string]any) {
		for _, name := range path {
			if doc, _ = doc[name].(map[string]any); doc == nil {
				return
			}
		}
		alter(doc)
	})
}

func set(name string, v any) func(map[string]any) {
	return func(doc map[string]any) { doc[name] = v }
}

func drop(name string) func(map[string]any) {
	return func(doc map[string]any) { delete(doc, name) }
}

var (
	asked   = []string{"request"}
	payment = []string{"settlementSummary", "payment"}
)

const otherID = "01J8ZZZZZZZZZZZZZZZZZZZZZZ"

var lies = map[banktest.Lie]func(doc map[string]any){
	banktest.OtherID: details(func(doc map[string]any) {
		doc["id"], doc["endToEndId"] = otherID, otherID
	}),
	banktest.NoID: details(func(doc map[string]any) {
		delete(doc, "id")
		delete(doc, "endToEndId")
	}),
	banktest.UnknownStatus:   details(set("status", "PERHAPS")),
	banktest.NoStatus:        details(set("status", nil)),
	banktest.UnknownCurrency: in(asked, set("currency", "XXX")),
	banktest.ForeignCurrency: in(asked, set("currency", "USD")),
	banktest.OtherAmount:     in(asked, set("paymentAmount", "99.99")),
	banktest.NoAmount:        in(asked, drop("paymentAmount")),
	banktest.ZeroAmount:      in(asked, set("paymentAmount", "0.00")),
	banktest.NegativeAmount:  in(asked, set("paymentAmount", "-12.50")),
	banktest.HugeAmount:      in(asked, set("paymentAmount", "999999999999999.99")),
	banktest.FractionAmount:  in(asked, set("paymentAmount", "12.505")),
	banktest.TextAmount:      in(asked, set("paymentAmount", "twelve")),
	banktest.NoWay:           details(drop("requestMethod")),
	banktest.HostileWay:      in([]string{"requestMethod"}, set("text", "javascript:alert(1)//000201")),
	banktest.BadTime:         details(set("expiresAt", "tomorrow")),
	banktest.PaidForNothing:  details(set("status", "SETTLED")),
	banktest.NamelessPayment: in(payment, drop("endToEndId")),
	banktest.TimelessPayment: in(payment, drop("settledAt")),
	banktest.TwinPayments: in([]string{"settlementSummary"}, func(doc map[string]any) {
		doc["payment"] = []any{doc["payment"], doc["payment"]}
	}),
	banktest.WrongRefund: in([]string{"settlementSummary"}, func(doc map[string]any) {
		delete(doc, "payment")
		doc["returns"] = []any{map[string]any{"id": "r1", "currency": "BRL", "amount": "0.10", "status": "COMPLETED"}}
	}),
	// There is no answer to Refund.
	banktest.OtherRefund: func(map[string]any) {}, banktest.OtherRefundAmount: func(map[string]any) {},
	banktest.OtherRefundCurrency: func(map[string]any) {}, banktest.UnknownRefundStatus: func(map[string]any) {},
}
