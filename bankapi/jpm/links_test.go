package jpm_test

import (
	"errors"
	"maps"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"placard/bankapi"
	"placard/bankapi/jpm"
	"placard/bankapi/pix"
	"placard/bankapi/simulator"
	"placard/linking"
)

// bankOf opens a bank in a country, with settings beside those of its market, at a
// simulator that does what choices say.
func bankOf(t *testing.T, country string, choices simulator.JPM, settings map[string]string) (*jpm.Bank, *simulator.Simulator) {
	t.Helper()
	m := markets[country]
	s := m.side(t, "shop", 0)
	sim := newSimulator(t, simulator.Options{JPM: choices, Accounts: []simulator.Account{{ID: "shop", Name: "Corner Café", JPM: s.account}}})
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	set := setup(country, "shop", s, server.URL, "")
	maps.Copy(set.Settings, settings)
	return open(t, set, time.Now, 8*time.Second), sim
}

func askOf(id linking.RequestID, currency linking.Currency, link *linking.BankLink) linking.Ask {
	end := time.Now().Add(15 * time.Minute).Truncate(time.Second)
	a := linking.Ask{
		BankRef: linking.BankRef{ID: id, Charge: linking.Immediate}, Revision: 1, Money: linking.Money{Amount: 1250, Currency: currency},
		ExpiresAt: end, TimeLeft: time.Until(end), Reference: "Table 4", Link: link,
	}
	if link != nil {
		a.Charge = link.Charge
	}
	return a
}

const (
	firstID  linking.RequestID = "01J8QZ4F8YV6N0W3H5K7T9ACDE"
	secondID linking.RequestID = "01J8QZ4F8YV6N0W3H5K7T9ACDF"
)

func wantError(t *testing.T, err error, class linking.BankErrorClass, code string) {
	t.Helper()
	if be, ok := errors.AsType[*linking.BankError](err); !ok || be.Class != class || be.Code != code {
		t.Errorf("the error is %v, want %s %s", err, class, code)
	}
}

// TestLinksAreEmptied: each strategy empties a payment link at a bank that takes it,
// and the next request goes behind the same printed code. At a bank that does not take
// it, the link is never said to be empty.
func TestLinksAreEmptied(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		unlink  string
		choices simulator.JPM
		empties bool
		status  linking.BankStatus // of the request afterwards
	}{
		"cancel":                              {"", simulator.JPM{}, true, linking.BankClosed},
		"cancel, where the end frees nothing": {"cancel", simulator.JPM{KeepsEndedLinks: true}, false, linking.BankClosed},
		"put_empty":                           {"put_empty", simulator.JPM{KeepsEndedLinks: true}, true, ""},
		"put_empty, where that is refused":    {"put_empty", simulator.JPM{RefusesEmptyLink: true}, false, linking.BankOpen},
		"pix_delete":                          {"pix_delete", simulator.JPM{PixUnlink: true, KeepsEndedLinks: true}, true, ""},
		"pix_delete, where the Pix standard is not known": {"pix_delete", simulator.JPM{}, false, linking.BankOpen},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, sim := bankOf(t, "BR", c.choices, map[string]string{"unlink": c.unlink})
			link, err := b.MakeLink(t.Context(), linking.Immediate)
			if err != nil {
				t.Fatal(err)
			}
			code, err := pix.DecodeBRCode(link.Payload)
			if err != nil || strings.Contains(code.URL, "://") || code.Name == "" {
				t.Errorf("the printed code is %+v, %v", code, err)
			}
			if shows, err := b.LinkShows(t.Context(), link); err != nil || shows != "" {
				t.Fatalf("a new link shows %q, %v", shows, err)
			}
			first := askOf(firstID, "BRL", &link)
			if _, err := b.Put(t.Context(), first); err != nil {
				t.Fatal(err)
			}
			if shows, err := b.LinkShows(t.Context(), link); err != nil || shows != firstID {
				t.Fatalf("the link shows %q, %v", shows, err)
			}
			// A link that is in use is not taken from whom it shows.
			if _, err := b.Put(t.Context(), askOf(secondID, "BRL", &link)); err == nil {
				t.Error("a link showed two requests")
			}
			if shows, err := b.LinkShows(t.Context(), link); err != nil || shows != firstID {
				t.Fatalf("the link shows %q, %v", shows, err)
			}
			err = b.Unlink(t.Context(), link)
			shows, serr := b.LinkShows(t.Context(), link)
			if serr != nil {
				t.Fatal(serr)
			}
			if !c.empties {
				if c.choices == (simulator.JPM{}) { // something that is not the bank says that there is no such call
					wantError(t, err, linking.BankUnknown, "not_the_bank")
				} else {
					wantError(t, err, linking.BankBusy, "still_linked")
				}
				if shows != firstID {
					t.Errorf("the link shows %q", shows)
				}
			} else if err != nil || shows != "" {
				t.Fatalf("the link shows %q, %v", shows, err)
			}
			if c.status != "" {
				if st, err := b.Get(t.Context(), first.BankRef); err != nil || st.Status != c.status {
					t.Errorf("the request is %q, %v; want %q", st.Status, err, c.status)
				}
			} else if st, err := sim.Request(string(firstID)); err != nil || st.Status != "open" {
				t.Errorf("emptying a link changed the request: %+v, %v", st, err)
			}
			if c.empties {
				if err := b.Unlink(t.Context(), link); err != nil { // again: nothing changes
					t.Error(err)
				}
				if _, err := b.Put(t.Context(), askOf(secondID, "BRL", &link)); err != nil {
					t.Fatal(err)
				}
				if shows, err := b.LinkShows(t.Context(), link); err != nil || shows != secondID {
					t.Errorf("the link shows %q, %v", shows, err)
				}
			}
		})
	}
}

// TestNoLinksElsewhere: in the other markets there are none, and no call is made.
func TestNoLinksElsewhere(t *testing.T) {
	t.Parallel()
	for _, country := range []string{"SG", "HK"} {
		b, sim := bankOf(t, country, markets[country].choices, nil)
		_, err := b.MakeLink(t.Context(), linking.Immediate)
		wantError(t, err, linking.BankRefused, "no_links")
		link := linking.BankLink{ID: "x", Charge: linking.Immediate}
		_, err = b.LinkShows(t.Context(), link)
		wantError(t, err, linking.BankRefused, "no_links")
		wantError(t, b.Unlink(t.Context(), link), linking.BankRefused, "no_links")
		_, err = b.Put(t.Context(), askOf(firstID, markets[country].currency, &link))
		wantError(t, err, linking.BankRefused, "no_links")
		if calls, _ := sim.Calls(""); len(calls) != 0 {
			t.Errorf("%s: the bank was called: %v", country, calls)
		}
	}
}

// TestSettingsThatCannotWork are refused by the setting's name, and no secret is told.
func TestSettingsThatCannotWork(t *testing.T) {
	t.Parallel()
	s := markets["BR"].side(t, "shop", 0)
	for field, c := range map[string]struct {
		of       string
		settings map[string]string
	}{
		"settings.url":                   {"BR", map[string]string{"url": "http://bank.example"}},
		"settings.country":               {"BR", map[string]string{"country": "US"}},
		"settings.creditor_account":      {"BR", map[string]string{"creditor_account": "70.204.587/0001-36"}},
		"settings.merchant_city":         {"BR", map[string]string{"merchant_city": "A city of many letters"}},
		"settings.unlink":                {"BR", map[string]string{"unlink": "wish"}},
		"settings.pix_url":               {"BR", map[string]string{"pix_url": "https://pix.example"}},
		"settings.charges":               {"BR", map[string]string{"charges": "immediate,immediate"}},
		"settings.grace_days":            {"BR", map[string]string{"grace_days": "-1"}},
		"settings.search_cursor":         {"BR", map[string]string{"search_cursor": "path"}},
		"settings.oauth":                 {"BR", map[string]string{"oauth": "password"}},
		"settings.token_url":             {"BR", map[string]string{"token_url": ""}},
		"settings.sign":                  {"BR", map[string]string{"sign": "xml"}},
		"settings.callback_auth":         {"BR", map[string]string{"callback_auth": "trust"}},
		"settings.callback_header":       {"BR", map[string]string{"callback_auth": "header", "callback_key": "", "callback_header": "Host"}},
		"settings.callback_certificates": {"BR", map[string]string{"callback_auth": "certificate", "callback_key": "", "callback_certificates": "aa"}},
		"settings.callback_key":          {"BR", map[string]string{"callback_key": "none"}},
		"settings.ca_pem":                {"BR", map[string]string{"ca_pem": "none"}},
		"settings.cert_file":             {"BR", map[string]string{"cert_file": "/etc/passwd", "key_file": "/etc/shadow"}},
		"settings.typo":                  {"BR", map[string]string{"typo": "x"}},
	} {
		set := setup(c.of, "shop", s, "http://127.0.0.1:1", "")
		maps.Copy(set.Settings, c.settings)
		set.Secrets["client_secret"] = bankapi.NewSecret("hush-hush")
		_, err := jpm.Rail{}.Open(set)
		var e *linking.Error
		if !errors.As(err, &e) || e.Kind != linking.Invalid || len(e.Fields) != 1 || e.Fields[0].Field != field || strings.Contains(err.Error(), "hush-hush") {
			t.Errorf("%s: %+v", field, err)
		}
	}
}

// TestBills: several due-date requests are made at once, each under our own id, and
// what became of each is told by itself.
func TestBills(t *testing.T) {
	t.Parallel()
	b, _ := bankOf(t, "BR", simulator.JPM{}, map[string]string{"charges": "due_date", "grace_days": "5"})
	var bills []jpm.Bill
	for _, id := range []linking.RequestID{firstID, secondID} {
		bills = append(bills, jpm.Bill{
			ID: id, Money: linking.Money{Amount: 4321, Currency: "BRL"}, Due: time.Now().Add(30 * day), GraceDays: 5, Reference: "Water, May",
			Customer: linking.Customer{Name: "Maria Silva", TaxID: "529.982.247-25"},
		})
	}
	k, err := b.MakeBills(t.Context(), "1b036f9c-8c84-4ce6-b1dd-5979472945a1", "Water, May", bills)
	if err != nil {
		t.Fatal(err)
	}
	late := time.Now().Add(10 * time.Second)
	for {
		if k, err = b.GetBulk(t.Context(), k.ID); err != nil {
			t.Fatal(err)
		}
		pending := false
		for _, i := range k.Items {
			pending = pending || i.Status == jpm.BulkPending
		}
		if !pending && len(k.Items) == len(bills) {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("%+v", k)
		}
	}
	for _, bill := range bills {
		st, err := b.Get(t.Context(), linking.BankRef{ID: bill.ID, Charge: linking.DueDate})
		if err != nil || st.Status != linking.BankOpen || st.Money != bill.Money {
			t.Errorf("%+v, %v", st, err)
		}
	}
	bills[0].Customer = linking.Customer{}
	_, err = b.MakeBills(t.Context(), "1b036f9c-8c84-4ce6-b1dd-5979472945a2", "Water, June", bills)
	wantError(t, err, linking.BankRefused, "rail_needs_debtor")
}
