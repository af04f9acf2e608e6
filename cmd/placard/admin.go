package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"

	"placard/bankapi"
	"placard/linking"
)

// office is the service over a store, for commands that only read and write records.
// A bolt file that a gateway has open is refused with a sentence that says so.
func (f *storeFlags) office(e *env) (*linking.Service, *bankapi.Sealer, func() error, error) {
	st, sealer, err := f.open(e.ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, nil, err
	}
	banks := bankapi.New(bankapi.Options{Rails: rails(railFlags{}), Sealer: sealer, Log: slog.New(slog.DiscardHandler)})
	shut := func() error { return errors.Join(banks.Close(), st.Close()) }
	svc, err := linking.New(e.ctx, linking.Config{Store: st, Banks: banks, NewStore: true})
	if err != nil {
		return nil, nil, nil, errors.Join(err, shut())
	}
	return svc, sealer, shut, nil
}

type merchantsCommand struct {
	Add  merchantsAdd  `cmd:"" help:"Make a merchant, with an owner's key."`
	List merchantsList `cmd:"" help:"List the merchants."`
}

type merchantsAdd struct {
	storeFlags  `embed:""`
	Name        string `arg:"" help:"What payers see."`
	Currency    string `help:"ISO 4217, such as EUR." required:""`
	TimeZone    string `help:"IANA, such as Europe/Lisbon." default:"UTC"`
	DayEndsAt   string `help:"When the business day ends, such as 04:00." placeholder:"HH:MM"`
	Live        bool   `help:"Real money. Without this the merchant is for trying things out, and pages say so."`
	VATRate     string `help:"Percent, for lines that name none." default:"25"`
	Contact     string `help:"Whom a payer may ask."`
	Logo        string `help:"PNG or SVG, at most 64 KiB." type:"existingfile" placeholder:"FILE"`
	RelayURL    string `help:"The relay in front of the merchant's payment provider." placeholder:"URL"`
	RelaySecret string `help:"File with the relay's secret, whsec_…" type:"existingfile" placeholder:"FILE"`
	JSON        bool   `help:"As JSON." name:"json"`
}

func (c *merchantsAdd) Run(e *env) error {
	in := linking.NewMerchant{
		Name: c.Name, Currency: linking.Currency(c.Currency), TimeZone: c.TimeZone, DayEndsAt: c.DayEndsAt, Mode: linking.Test,
		VATRate: c.VATRate, Contact: c.Contact,
	}
	if c.Live {
		in.Mode = linking.Live
	}
	if c.Logo != "" {
		b, err := os.ReadFile(c.Logo)
		if err != nil {
			return err
		}
		in.Logo, in.LogoType = b, "image/png"
		if strings.HasSuffix(strings.ToLower(c.Logo), ".svg") {
			in.LogoType = "image/svg+xml"
		}
	}
	if (c.RelayURL == "") != (c.RelaySecret == "") {
		return usageError("--relay-url and --relay-secret go together")
	}
	var secret []byte
	if c.RelaySecret != "" {
		var err error
		if secret, err = os.ReadFile(c.RelaySecret); err != nil {
			return err
		}
	}
	svc, _, shut, err := c.office(e)
	if err != nil {
		return err
	}
	defer shut()
	m, err := svc.CreateMerchant(e.ctx, in)
	if err != nil {
		return err
	}
	if c.RelayURL != "" {
		_, err := svc.ConnectBank(e.ctx, m.ID, "relay", map[string]string{"url": c.RelayURL}, map[string]string{"secret": strings.TrimSpace(string(secret))})
		if err != nil {
			return err
		}
	}
	_, key, err := svc.CreateKey(e.ctx, m.ID, linking.NewKey{Role: linking.Owner, Label: "first"})
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(e.out, map[string]any{"merchant_id": m.ID, "api_key": key})
	}
	fmt.Fprintf(e.out, "merchant  %s\nAPI key   %s\n\nThe key is shown this once: keep it where the till can read it.\n", m.ID, key)
	return nil
}

type merchantsList struct {
	storeFlags `embed:""`
	JSON       bool `help:"As JSON lines." name:"json"`
}

func (c *merchantsList) Run(e *env) error {
	svc, _, shut, err := c.office(e)
	if err != nil {
		return err
	}
	defer shut()
	w := tabwriter.NewWriter(e.out, 0, 4, 2, ' ', 0)
	err = svc.Merchants(e.ctx, func(m *linking.Merchant) error {
		if c.JSON {
			return writeJSON(e.out, map[string]any{"id": m.ID, "name": m.Name, "currency": m.Currency, "mode": m.Mode, "rail": m.Rail})
		}
		_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.ID, m.Name, m.Currency, m.Mode, m.Rail)
		return err
	})
	w.Flush()
	return err
}

type keysCommand struct {
	Add    keysAdd    `cmd:"" help:"Make a key; its secret is shown once."`
	List   keysList   `cmd:"" help:"List a merchant's keys."`
	Revoke keysRevoke `cmd:"" help:"End a key."`
}

type keysAdd struct {
	storeFlags `embed:""`
	Merchant   string   `arg:"" help:"The merchant's id."`
	Role       string   `help:"owner, manager, cashier, agent or viewer." enum:"owner,manager,cashier,agent,viewer" default:"cashier"`
	Label      string   `help:"What the key is for."`
	Code       []string `help:"Bind the key to these codes." placeholder:"TOKEN"`
	JSON       bool     `help:"As JSON." name:"json"`
}

func merchantArg(s string) (linking.MerchantID, error) {
	id, ok := linking.ParseMerchantID(s)
	if !ok {
		return "", usageError("a merchant's id has 14 characters, as `placard merchants list` shows it")
	}
	return id, nil
}

func (c *keysAdd) Run(e *env) error {
	id, err := merchantArg(c.Merchant)
	if err != nil {
		return err
	}
	in := linking.NewKey{Role: linking.Role(c.Role), Label: c.Label}
	for _, s := range c.Code {
		t, ok := linking.ParseToken(s)
		if !ok {
			return usageError("--code takes the 20 characters that are printed in a code; a slip in them is found, and there is one in " + s)
		}
		in.Codes = append(in.Codes, t)
	}
	svc, _, shut, err := c.office(e)
	if err != nil {
		return err
	}
	defer shut()
	if _, err := svc.Merchant(e.ctx, id); err != nil {
		return err
	}
	k, secret, err := svc.CreateKey(e.ctx, id, in)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(e.out, map[string]any{"id": k.ID, "api_key": secret})
	}
	fmt.Fprintln(e.out, secret)
	return nil
}

type keysList struct {
	storeFlags `embed:""`
	Merchant   string `arg:"" help:"The merchant's id."`
	JSON       bool   `help:"As JSON lines." name:"json"`
}

func (c *keysList) Run(e *env) error {
	id, err := merchantArg(c.Merchant)
	if err != nil {
		return err
	}
	svc, _, shut, err := c.office(e)
	if err != nil {
		return err
	}
	defer shut()
	keys, err := svc.Keys(e.ctx, id)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(e.out, 0, 4, 2, ' ', 0)
	defer w.Flush()
	for _, k := range keys {
		state := "good"
		if !k.Revoked.IsZero() {
			state = "revoked"
		}
		if c.JSON {
			if err := writeJSON(e.out, map[string]any{"id": k.ID, "role": k.Role, "label": k.Label, "state": state}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.ID, k.Role, state, k.Label)
	}
	return nil
}

type keysRevoke struct {
	storeFlags `embed:""`
	Merchant   string `arg:"" help:"The merchant's id."`
	Key        string `arg:"" help:"The key's id."`
}

func (c *keysRevoke) Run(e *env) error {
	id, err := merchantArg(c.Merchant)
	if err != nil {
		return err
	}
	svc, _, shut, err := c.office(e)
	if err != nil {
		return err
	}
	defer shut()
	return svc.RevokeKey(e.ctx, id, linking.KeyID(strings.ToUpper(c.Key)))
}

type acceptCommand struct {
	storeFlags `embed:""`
}

func (c *acceptCommand) Run(e *env) error {
	st, _, err := c.storeFlags.open(e.ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer st.Close()
	svc, err := linking.New(e.ctx, linking.Config{Store: st, NewStore: true})
	if err != nil {
		return err
	}
	// First the keys: from the moment that shards are served again, codes are made.
	n, err := svc.NewGenerations(e.ctx)
	if err != nil {
		return fmt.Errorf("%d merchants have a new key generation, and then: %w", n, err)
	}
	if s, ok := st.(interface{ Accept(context.Context) error }); ok {
		if err := s.Accept(e.ctx); err != nil {
			return err
		}
	}
	fmt.Fprintf(e.out, "merchants with a new key generation: %d. No token on paper is ever made twice. Gateways go on within 10 seconds.\nCompare the bank's list of payments with the requests of that hour: what the store forgot, the bank knows.\n", n)
	return nil
}
