package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"placard/bankapi"
	"placard/bankapi/jpm"
	"placard/bankapi/pix"
	"placard/bankapi/relay"
	"placard/bankapi/simulator"
	"placard/gateway"
	"placard/linking"
	"placard/printing"
)

type demoCommand struct {
	Store  string `help:"Keep the records here instead of in a temporary folder: bolt:PATH or redis://…" placeholder:"STORE"`
	Listen string `help:"Address to listen on; port 0 takes a free one." default:"127.0.0.1:8080"`
	LAN    bool   `help:"Listen where a phone in the same network can reach it, and print that in the code." name:"lan"`
	Rail   string `help:"Which bank API the shop speaks: relay, pix or jpm." enum:"relay,pix,jpm" default:"relay"`
	Walk   bool   `help:"Play a whole sale over HTTP, a line a step, and end. --walk bill plays a utility's month, --walk trouble a bad day."`
	Story  string `arg:"" optional:"" help:"What to walk: sale, bill or trouble." enum:"sale,bill,trouble," default:"" placeholder:"STORY"`
	JSON   bool   `help:"Say all addresses and keys as one line of JSON, instead of the greeting." name:"json"`
	Log    bool   `help:"Show the log."`
}

func (c *demoCommand) Run(e *env) error {
	if c.Walk && c.Listen == "127.0.0.1:8080" {
		c.Listen = "127.0.0.1:0" // so that it runs beside another demo
	}
	switch {
	case c.Story != "" && !c.Walk:
		return usageError("sale, bill and trouble are walked: --walk " + c.Story)
	case (c.Story == "bill" || c.Story == "trouble") && c.Rail != "relay":
		return usageError("--walk " + c.Story + " plays on the relay rail")
	}
	d, err := startDemo(e, c)
	if err != nil {
		return err
	}
	defer d.close()
	switch c.Story {
	case "bill":
		return d.walkBill(e)
	case "trouble":
		return d.walkTrouble(e)
	}
	if c.Walk {
		return d.walk(e)
	}
	if c.JSON {
		if err := writeJSON(e.out, d.facts); err != nil {
			return err
		}
	} else {
		d.greet(e.out)
	}
	<-e.ctx.Done()
	return d.close()
}

// demo is a gateway, a bank and two merchants in one process.
type demo struct {
	stack   *stack
	bank    *simulator.Simulator
	bankWeb *http.Server
	dir     string // temporary; empty: the records are kept
	store   storeFlags
	facts   demoFacts
	rail    demoRail
	shop    linking.CodeView
	closed  bool
}

// demoRail is how the demo does business by one rail.
type demoRail struct {
	shop, utility linking.NewMerchant // but for what is the same on every rail
	bills         string              // what is printed on the utility's bills
	bill          linking.NewRequest  // the one that is valued

	// connect connects a merchant to an account of the simulated bank, which is opened
	// already. secret is good for any account.
	connect func(ctx context.Context, d *demo, m *linking.Merchant, account, secret string) error

	// open is how a payer gets at the bank by what the code shows; nil: by a pay click.
	open func(d *demo, payload string) string

	// copied is where a payload leads that the pay click gives the payer to copy; nil: it
	// gives none.
	copied func(payload string) string
}

// demoRails are the rails there are, by their names.
var demoRails = map[string]demoRail{"relay": demoRelay, "pix": demoPix, "jpm": demoJPM}

var demoRelay = demoRail{
	shop:    linking.NewMerchant{Name: "Café Aurora", Currency: "EUR", TimeZone: "Europe/Lisbon", Contact: "at the counter, or hello@cafe.example"},
	utility: linking.NewMerchant{Name: "Rio Claro Water", Currency: "EUR", TimeZone: "Europe/Lisbon", Contact: "billing@water.example"},
	bills:   "Water bill {n}",
	bill: linking.NewRequest{Amount: 4321, Reference: "Water, May", Lines: []linking.Line{
		{Description: "Water, 18 m³", Quantity: "18", UnitPrice: 212, VATRate: "6"},
		{Description: "Meter", Quantity: "1", UnitPrice: 505, VATRate: "6"},
	}},
	connect: func(ctx context.Context, d *demo, m *linking.Merchant, account, secret string) error {
		return d.stack.relayConnection(ctx, m.ID, d.facts.BankURL+"/relay/"+account, secret)
	},
}

// demoFacts are what a program needs to use the demo.
type demoFacts struct {
	URL        string            `json:"url"`
	APIKey     string            `json:"api_key"`
	MerchantID string            `json:"merchant_id"`
	BankURL    string            `json:"bank_url"`
	Codes      []json.RawMessage `json:"codes"`
	Bills      []json.RawMessage `json:"bills"`
	Staff      []demoStaff       `json:"staff"`
	Utility    struct {
		APIKey     string `json:"api_key"`
		MerchantID string `json:"merchant_id"`
	} `json:"utility"`
}

// demoStaff is somebody who may log in.
type demoStaff struct {
	Role     linking.Role `json:"role"`
	User     string       `json:"user"`
	Password string       `json:"password"`
	PIN      string       `json:"pin,omitempty"` // for paired devices
}

func startDemo(e *env, c *demoCommand) (d *demo, err error) {
	d = &demo{facts: demoFacts{Staff: []demoStaff{}}, rail: demoRails[c.Rail]}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	log := slog.New(slog.DiscardHandler)
	if c.Log {
		log = slog.New(slog.NewTextHandler(e.notes, nil))
	}
	flags := storeFlags{Store: c.Store, NewStore: true}
	if c.Store == "" || strings.HasPrefix(c.Store, "redis") {
		if d.dir, err = os.MkdirTemp("", "placard-demo-"); err != nil {
			return d, err
		}
		flags.SecretsKey = filepath.Join(d.dir, "placard.key")
		if c.Store == "" {
			flags.Store = "bolt:" + filepath.Join(d.dir, "placard.db")
		}
	}
	d.store = flags
	st, sealer, err := flags.open(e.ctx, log)
	if err != nil {
		return d, err
	}
	host, address, err := c.address()
	if err != nil {
		return d, errors.Join(err, st.Close())
	}
	ln, err := listen(address, nil)
	if err != nil {
		return d, errors.Join(err, st.Close())
	}
	port := ln.Addr().(*net.TCPAddr).Port
	d.facts.URL = fmt.Sprintf("http://%s", net.JoinHostPort(host, fmt.Sprint(port)))
	secret, err := d.openBank(host, log)
	if err != nil {
		return d, errors.Join(err, ln.Close(), st.Close())
	}
	rails := map[string]bankapi.Rail{"relay": relay.Rail{PlainHTTP: c.LAN}, "pix": pix.Rail{PlainHTTP: c.LAN}, "jpm": jpm.Rail{PlainHTTP: c.LAN}}
	d.stack, err = newStack(e.ctx, st, sealer, stackOptions{publicURL: d.facts.URL, rails: rails, webhooks: loopbacks, hooks: e.hooks}, log)
	if err != nil {
		return d, errors.Join(err, ln.Close())
	}
	if err := d.furnish(e.ctx, secret); err != nil {
		return d, errors.Join(err, ln.Close(), d.stack.close(e.ctx))
	}
	if err := d.stack.mount(&gateway.Demo{Code: d.shop.Token, Key: d.facts.APIKey, Bank: d.facts.BankURL}); err != nil {
		return d, errors.Join(err, ln.Close(), d.stack.close(e.ctx))
	}
	d.stack.start(ln, !e.hooks.noSweep)
	if d.facts.Codes, err = d.codes(d.facts.APIKey); err != nil {
		return d, err
	}
	d.facts.Bills, err = d.codes(d.facts.Utility.APIKey)
	return d, err
}

// loopbacks is this machine: a till that is tried out runs here too.
var loopbacks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// address is the host that others reach the demo by, and where to listen.
func (c *demoCommand) address() (host, listen string, err error) {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return "", "", usageError("--listen is HOST:PORT, such as 127.0.0.1:8080")
	}
	if !c.LAN {
		if host == "" || host == "0.0.0.0" || host == "::" {
			host = "127.0.0.1"
		}
		return host, net.JoinHostPort(host, port), nil
	}
	ip, err := lanAddress()
	if err != nil {
		return "", "", err
	}
	return ip.String(), net.JoinHostPort(ip.String(), port), nil
}

// lanAddress is the first IPv4 address of this machine that is not its own alone.
func lanAddress() (netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			return p.Addr(), nil
		}
	}
	return netip.Addr{}, errors.New("--lan: this machine has no address that a phone could reach; is it in a network?")
}

// openBank starts the bank simulator on a port of its own.
func (d *demo) openBank(host string, log *slog.Logger) (secret string, err error) {
	ln, err := listen(net.JoinHostPort(host, "0"), nil)
	if err != nil {
		return "", err
	}
	d.facts.BankURL = "http://" + ln.Addr().String()
	secret = relay.NewSecret()
	d.bank, err = simulator.New(simulator.Options{PublicURL: d.facts.BankURL, Secret: secret, Log: log})
	if err != nil {
		ln.Close()
		return "", err
	}
	d.bankWeb = &http.Server{Handler: d.bank, ReadHeaderTimeout: 5 * time.Second}
	go d.bankWeb.Serve(ln)
	return secret, nil
}

// furnish makes the sample shop and the sample utility.
func (d *demo) furnish(ctx context.Context, secret string) error {
	svc := d.stack.service
	as := d.rail.shop
	as.Mode, as.VATRate, as.Logo, as.LogoType, as.RefundCap = linking.Test, "25", []byte(cafeLogo), "image/svg+xml", 5000
	shop, err := svc.CreateMerchant(ctx, as)
	if err != nil {
		return err
	}
	as = d.rail.utility
	as.Mode, as.VATRate, as.Logo, as.LogoType = linking.Test, "6", []byte(waterLogo), "image/svg+xml"
	utility, err := svc.CreateMerchant(ctx, as)
	if err != nil {
		return err
	}
	for _, m := range []*linking.Merchant{shop, utility} {
		account := strings.ToLower(string(m.ID))
		if err := d.bank.OpenAccount(simulator.Account{ID: account, Name: m.Name, Secret: secret}); err != nil {
			return err
		}
		if err := d.rail.connect(ctx, d, m, account, secret); err != nil {
			return err
		}
	}
	shopKey, shopSecret, err := svc.CreateKey(ctx, shop.ID, linking.NewKey{Role: linking.Owner, Label: "demo"})
	if err != nil {
		return err
	}
	utilityKey, utilitySecret, err := svc.CreateKey(ctx, utility.ID, linking.NewKey{Role: linking.Owner, Label: "demo"})
	if err != nil {
		return err
	}
	d.facts.APIKey, d.facts.MerchantID = shopSecret, string(shop.ID)
	d.facts.Utility.APIKey, d.facts.Utility.MerchantID = utilitySecret, string(utility.ID)
	for i, label := range []string{"Counter 1", "Counter 2"} {
		code, err := svc.MakeCode(ctx, shopKey.Caller(), linking.NewCode{Kind: linking.Counter, Label: label})
		if err != nil {
			return err
		}
		if i == 0 {
			d.shop = linking.CodeView{Code: code}
		}
	}
	if err := d.people(ctx, shopKey.Caller()); err != nil {
		return err
	}
	return d.bills(ctx, utilityKey.Caller())
}

// people hires one person of each role for the shop. Login names are unique in a store,
// so that a demo over one that has them already finds other names.
func (d *demo) people(ctx context.Context, who linking.Caller) error {
	svc := d.stack.service
	for i, name := range []string{"Olga Rocha", "Mário Pinto", "Carla Dias", "Artur Gil", "Vera Lopes"} {
		role := linking.Roles[i]
		_, secret, err := svc.Invite(ctx, who, linking.NewStaff{Name: name, Role: role})
		if err != nil {
			return err
		}
		p := demoStaff{Role: role, User: string(role), Password: "trying " + strings.ToLower(rand.Text()[:12])}
		if role == linking.Cashier {
			p.PIN = "2580"
		}
		_, err = svc.Join(ctx, secret, linking.Joining{User: p.User, Password: p.Password, PIN: p.PIN})
		if linking.IsKind(err, linking.Invalid) {
			p.User += "-" + strings.ToLower(string(who.Merchant[:6]))
			_, err = svc.Join(ctx, secret, linking.Joining{User: p.User, Password: p.Password, PIN: p.PIN})
		}
		if err != nil {
			return err
		}
		d.facts.Staff = append(d.facts.Staff, p)
	}
	return nil
}

// bills prints three bills, and values one of them.
func (d *demo) bills(ctx context.Context, who linking.Caller) error {
	svc := d.stack.service
	batch, err := svc.MakeBatch(ctx, who, linking.NewBatch{Kind: linking.Bill, Count: 3, Label: d.rail.bills, ResolvedBy: linking.ByGateway})
	if err != nil {
		return err
	}
	var first linking.Token
	if err := svc.BatchTokens(ctx, batch, 0, func(_ uint64, t linking.Token) bool { first = t; return false }); err != nil {
		return err
	}
	bill := d.rail.bill
	_, err = svc.Attach(ctx, who, linking.AttachCommand{Code: first, Wait: 5 * time.Second, New: &bill})
	return err
}

// codes asks the running gateway for a merchant's codes, as a client would.
func (d *demo) codes(key string) ([]json.RawMessage, error) {
	req, err := http.NewRequest("GET", d.facts.URL+"/v1/codes", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var page struct{ Data []json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the gateway does not list its codes: %s", resp.Status)
	}
	// In the order they were made, which their labels tell.
	label := func(raw json.RawMessage) string {
		var c struct{ Label string }
		json.Unmarshal(raw, &c)
		return c.Label
	}
	slices.SortStableFunc(page.Data, func(a, b json.RawMessage) int { return strings.Compare(label(a), label(b)) })
	return page.Data, nil
}

// close ends the demo. It may be called again.
func (d *demo) close() error {
	if d.closed {
		return nil
	}
	d.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var err error
	if d.stack != nil && d.stack.stopSweep != nil {
		err = d.stack.stop(ctx)
	}
	if d.bankWeb != nil {
		err = errors.Join(err, d.bankWeb.Close())
	}
	if d.bank != nil {
		err = errors.Join(err, d.bank.Close())
	}
	if d.dir != "" {
		err = errors.Join(err, os.RemoveAll(d.dir))
	}
	return err
}

// greet says how to play.
func (d *demo) greet(w io.Writer) {
	f := d.facts
	code := d.shop.Token
	page, pay := f.URL+"/q/"+string(code), f.BankURL
	if d.rail.open != nil {
		pay = d.rail.open(d, d.stack.service.Payload(d.shop.Code))
	}
	qr, err := printing.Encode(d.stack.service.Payload(d.shop.Code), printing.M)
	if err == nil && terminal(w) {
		fmt.Fprintln(w, printing.Text(qr))
	} else if err == nil {
		fmt.Fprintln(w, printing.Plain(qr, false))
	}
	link := f.URL + "/v1/codes/" + string(code) + "/link"
	fmt.Fprintf(w, `The code on the counter of %s: %s

  Everything side by side   %s/demo
  What a phone opens        %s
  The till                  %s/till/%s#%s
  The inbox                 %s/inbox#%s
  The bank's own page       %s
  API key                   %s
  Log in                    %s/login   as %s, with the password: %s

Attach a sale, look at it, detach it:

  curl -X PUT %s -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '{"request":{"amount":1250,"reference":"Table 4"}}'
  curl %s -H 'Accept: application/json'
  curl -X DELETE '%s' -H 'Authorization: Bearer %s'

Ctrl-C ends it.
`, d.rail.shop.Name, code.Grouped(), f.URL, page, f.URL, code, f.APIKey, f.URL, f.APIKey, pay, f.APIKey, f.URL, f.Staff[0].User, f.Staff[0].Password, link, f.APIKey, page, link, f.APIKey)
}

const cafeLogo = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" rx="14" fill="#7a3b12"/><path fill="#fff" d="M16 24h26v12a12 12 0 0 1-12 12h-2a12 12 0 0 1-12-12zM42 27h4a6 6 0 0 1 0 13h-4v-4h3a2.500 2.500 0 0 0 0-5h-3zM22 12h3v8h-3zM31 10h3v10h-3z"/></svg>`

const waterLogo = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" rx="14" fill="#0b4f8a"/><path fill="#fff" d="M32 10c8 11 14 18 14 26a14 14 0 0 1-28 0c0-8 6-15 14-26z"/></svg>`
