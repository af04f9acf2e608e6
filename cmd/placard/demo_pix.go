package main

import (
	"context"
	"crypto/rand"
	"net/url"

	"placard/linking"
)

// demoPix is a shop in Brazil. Its codes hold the bank's own BR Codes, which payers
// scan with the bank's app; the pretend bank's is a page, and takes the code as text.
var demoPix = demoRail{
	shop:    linking.NewMerchant{Name: "Café Aurora", Currency: "BRL", TimeZone: "America/Sao_Paulo", Contact: "no balcão, ou ola@cafe.example"},
	utility: linking.NewMerchant{Name: "Águas do Rio Claro", Currency: "BRL", TimeZone: "America/Sao_Paulo", Contact: "contas@aguas.example"},
	bills:   "Conta de água {n}",
	bill: linking.NewRequest{Amount: 4321, Reference: "Água, maio", Lines: []linking.Line{
		{Description: "Água, 18 m³", Quantity: "18", UnitPrice: 212, VATRate: "6"},
		{Description: "Medidor", Quantity: "1", UnitPrice: 505, VATRate: "6"},
	}},
	connect: func(ctx context.Context, d *demo, m *linking.Merchant, account, secret string) error {
		bank := d.facts.BankURL + "/pix/" + account
		c, err := d.stack.service.ConnectBank(ctx, m.ID, "pix", map[string]string{
			"url": bank + "/v2", "token_url": bank + "/oauth/token", "client_id": account, "chave": account + "@pix.example",
			"merchant_name": m.Name, "merchant_city": "Sao Paulo", "callback_auth": "secret",
		}, map[string]string{"client_secret": secret, "callback_secret": rand.Text() + rand.Text()})
		if err != nil {
			return err
		}
		return d.stack.banks.Register(ctx, c, d.stack.service.CallbackURL(c))
	},
	open: func(d *demo, payload string) string { return d.facts.BankURL + "/app?code=" + url.QueryEscape(payload) },
}
