package main

import (
	"context"

	"placard/bankapi/pix"
	"placard/bankapi/simulator"
	"placard/linking"
)

// demoJPM is a shop in Brazil at J.P. Morgan. Its codes lead to our pages, which give
// the payer a BR Code of that one request to copy. The connection is a client with a
// secret; callbacks are as from a proxy that knows the bank and sets a header.
var demoJPM = demoRail{
	shop: demoPix.shop, utility: demoPix.utility, bills: demoPix.bills, bill: demoPix.bill,
	connect: func(ctx context.Context, d *demo, m *linking.Merchant, account, secret string) error {
		const header = "X-Bank-Proof"
		at := d.facts.BankURL + "/jpm/" + account
		c, err := d.stack.service.ConnectBank(ctx, m.ID, "jpm", map[string]string{
			"url": at + "/receivables/request-to-pay/v1", "country": "BR", "creditor_scheme": "CNPJ", "creditor_account": "70204587000136",
			"merchant_name": m.Name, "merchant_city": "Sao Paulo", "search_cursor": "body",
			"oauth": "client_secret", "token_url": at + "/oauth2/token", "client_id": account,
			"callback_auth": "header", "callback_header": header,
		}, map[string]string{"client_secret": secret, "callback_secret": secret})
		if err != nil {
			return err
		}
		_, err = d.stack.service.ChangeMerchant(ctx, m.ID, func(m *linking.Merchant) error {
			m.Languages = []string{"pt-BR"}
			return nil
		})
		if err != nil {
			return err
		}
		return d.bank.OpenAccount(simulator.Account{ID: account, Name: m.Name, JPM: simulator.JPMAccount{
			ClientID: account, ClientSecret: secret,
			CallbackURL: d.stack.service.CallbackURL(c), CallbackHeader: map[string]string{header: secret},
		}})
	},
	copied: func(payload string) string {
		code, err := pix.DecodeBRCode(payload)
		if err != nil {
			return ""
		}
		return "http://" + code.URL
	},
}
