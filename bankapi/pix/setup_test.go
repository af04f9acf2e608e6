package pix_test

import (
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"testing"

	"placard/bankapi"
	"placard/bankapi/pix"
	"placard/linking"
)

// A setting that cannot work is named, with its rule, and no secret is repeated.
func TestABadSettingIsNamed(t *testing.T) {
	const secret = "do-not-repeat-me-0123456789abcdef"
	for field, alter := range map[string][]func(s *bankapi.Setup){
		"settings.url": {
			with("url", ""), with("url", "pix.bank.example"), with("url", "http://pix.bank.example"), with("url", "https://u:p@pix.bank.example"),
			with("url", "https://pix.bank.example/?a=b"), with("url", "https://pix.bank.example/#a"), with("url", "https://"+strings.Repeat("a", 2000)), with("url", "https://elsewhere.example/v2"),
		},
		"settings.token_url":             {with("token_url", ""), with("token_url", "javascript:alert(1)"), with("token_url", "https://10.0.0.1/token")},
		"settings.token_auth":            {with("token_auth", "password"), without("client_secret", with("token_auth", "certificate"))},
		"settings.client_id":             {with("client_id", ""), with("client_id", "a\nb")},
		"secrets.client_secret":          {without("client_secret", func(*bankapi.Setup) {}), hidden("client_secret", secret+"\n"), hidden("client_secret", strings.Repeat("x", 5000))},
		"settings.scopes":                {with("scopes", "cob.read"), with("scopes", `cob.read cob.write "`)},
		"settings.chave":                 {with("chave", ""), with("chave", strings.Repeat("k", 78)), with("chave", "ação")},
		"settings.merchant_name":         {with("merchant_name", ""), with("merchant_name", "漢字")},
		"settings.merchant_city":         {with("merchant_city", " ")},
		"settings.initiation":            {with("initiation", "11")},
		"settings.max_expiry_days":       {with("max_expiry_days", "0"), with("max_expiry_days", "3651"), with("max_expiry_days", "x")},
		"settings.ca_pem":                {with("ca_pem", "none")},
		"settings.cert_file":             {with("cert_file", "/etc/passwd"), both(with("cert_file", "/a"), hidden("cert_pem", secret))},
		"secrets.cert_pem":               {both(hidden("cert_pem", secret), hidden("key_pem", secret))},
		"settings.callback_auth":         {with("callback_auth", "trust")},
		"settings.callback_header":       {with("callback_header", ""), with("callback_header", "Authorization"), with("callback_header", "X Y")},
		"settings.callback_certificates": {with("callback_certificates", "abc"), with("callback_certificates", strings.Repeat("ab", 32))},
		"secrets.callback_secret":        {hidden("callback_secret", "short"), hidden("callback_secret", strings.Repeat("x", 31)+" ")},
		"settings.colour":                {with("colour", "blue")},
		"secrets.password":               {hidden("password", secret)},
	} {
		for i, one := range alter {
			s := setup("https://pix.bank.example", nil)
			s.Client = func(*tls.Config) *http.Client { return http.DefaultClient }
			one(&s)
			_, err := pix.Rail{Hosts: []string{"pix.bank.example"}}.Open(s)
			e, ok := errors.AsType[*linking.Error](err)
			if !ok || len(e.Fields) != 1 || e.Fields[0].Field != field || e.Fields[0].Message == "" {
				t.Errorf("%s %d: %v %+v", field, i, err, e)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s %d repeats a secret: %v", field, i, err)
			}
		}
	}
}

func with(name, value string) func(*bankapi.Setup) {
	return func(s *bankapi.Setup) { s.Settings[name] = value }
}

func hidden(name, value string) func(*bankapi.Setup) {
	return func(s *bankapi.Setup) { s.Secrets[name] = bankapi.NewSecret(value) }
}

func without(name string, more func(*bankapi.Setup)) func(*bankapi.Setup) {
	return both(func(s *bankapi.Setup) { delete(s.Secrets, name) }, more)
}

func both(x, y func(*bankapi.Setup)) func(*bankapi.Setup) {
	return func(s *bankapi.Setup) {
		x(s)
		y(s)
	}
}
