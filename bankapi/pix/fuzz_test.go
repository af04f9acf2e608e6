package pix

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"placard/bankapi"
	"placard/linking"
)

// parrot is a bank that answers the same to every call but the one for a token.
type parrot struct{ body []byte }

func (p *parrot) RoundTrip(r *http.Request) (*http.Response, error) {
	body := string(p.body)
	if strings.HasSuffix(r.URL.Path, "/token") {
		body = `{"access_token":"t","expires_in":3600}`
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// Whatever a bank answers, nothing panics, every error is one that callers
// understand, and what is believed is well formed and about what was asked for.
func FuzzAnswer(f *testing.F) {
	const id = "01J8QZ4F8Y0000000000000001"
	open := `{"calendario":{"criacao":"2026-11-21T06:00:00.000Z","expiracao":3600},"txid":"` + id + `","revisao":0,"status":"ATIVA","valor":{"original":"12.50"},"chave":"k",` +
		`"loc":{"id":7,"location":"pix.example.com/qr/1","tipoCob":"cob","criacao":"2026-11-21T06:00:00Z","txid":"` + id + `"}`
	paid := strings.Replace(open, "ATIVA", "CONCLUIDA", 1) + `,"pix":[{"endToEndId":"E1","txid":"` + id + `","valor":"12.50","horario":"2026-11-21T06:01:00Z","devolucoes":`
	for _, seed := range []string{
		open + "}", paid + `[]}]}`, paid + `{"id":"r1","rtrId":"D1","valor":"1.00","status":"DEVOLVIDO"}}]}`, paid + `[{"id":"r1","valor":"99.00","status":"EM_PROCESSAMENTO"}]}]}`,
		`{"id":7,"location":"pix.example.com/qr/1","tipoCob":"cob","txid":"` + id + `"}`, `{"id":"r1","valor":"1.00","status":"NAO_REALIZADO","motivo":"x"}`,
		`{"parametros":{"paginacao":{"paginaAtual":0,"quantidadeDePaginas":1}},"pix":[{"endToEndId":"E1","txid":"` + id + `","horario":"2026-11-21T06:01:00Z"}]}`,
		`{"pix":[{"txid":"` + id + `"}]}`, `[{"txid":"` + id + `"}]`, `{}`, `null`, strings.Replace(open, `"expiracao":3600`, `"dataDeVencimento":"2026-12-01"`, 1) + "}",
	} {
		f.Add([]byte(seed))
	}
	bank := &parrot{}
	opened, err := Rail{}.Open(bankapi.Setup{
		Settings: map[string]string{"url": "https://pix.example.com/v2", "token_url": "https://pix.example.com/token", "client_id": "c", "chave": "k",
			"merchant_name": "N", "merchant_city": "C", "callback_auth": "header", "callback_header": "X-Proof"},
		Secrets: map[string]bankapi.Secret{"client_secret": bankapi.NewSecret("s"), "callback_secret": bankapi.NewSecret(strings.Repeat("x", 32))},
		Client:  func(*tls.Config) *http.Client { return &http.Client{Transport: bank} },
	})
	if err != nil {
		f.Fatal(err)
	}
	b := opened.(*Bank)
	f.Fuzz(func(t *testing.T, body []byte) {
		bank.body = body
		ctx := context.Background()
		understood := func(err error) bool {
			if be, ok := errors.AsType[*linking.BankError](err); err != nil && (!ok || bankapi.ShortCode(be.Code, "") == "" || be.Detail == "") {
				t.Fatalf("%T %v", err, err)
			}
			return err == nil
		}
		for _, kind := range []linking.Charge{linking.Immediate, linking.DueDate} {
			s, err := b.Get(ctx, linking.BankRef{ID: id, Charge: kind})
			if !understood(err) {
				continue
			}
			if s.ID != id || s.Money.Currency != "BRL" || s.Money.Amount <= 0 || s.Money.Amount > maxAmount ||
				s.Status == linking.BankOpen && s.Way.Payload == "" || s.Status == linking.BankPaid && len(s.Payments) == 0 {
				t.Fatalf("%q was read as %+v", body, s)
			}
			came, back := map[string]linking.Amount{}, map[string]linking.Amount{}
			for _, p := range s.Payments {
				if _, twice := came[p.ID]; twice || p.ID == "" || p.Money.Amount <= 0 || p.PaidAt.IsZero() {
					t.Fatalf("%q has the payment %+v", body, p)
				}
				came[p.ID] = p.Money.Amount
			}
			for _, r := range s.Refunds {
				if r.Status != linking.RefundFailed {
					back[r.PaymentID] += r.Amount
				}
				if came[r.PaymentID] == 0 || back[r.PaymentID] > came[r.PaymentID] {
					t.Fatalf("%q has the refund %+v", body, r)
				}
			}
		}
		if shown, err := b.LinkShows(ctx, linking.BankLink{ID: "7", Charge: linking.Immediate}); understood(err) && shown != "" {
			if _, ok := ours(string(shown)); !ok {
				t.Fatalf("%q shows %q", body, shown)
			}
		}
		if r, err := b.Refund(ctx, linking.RefundAsk{BankRef: linking.BankRef{ID: id}, Refund: "r1", PaymentID: "E1", Money: linking.Money{Amount: 100, Currency: "BRL"}}); understood(err) && (r.ID != "r1" || r.Amount != 100) {
			t.Fatalf("%q is the refund %+v", body, r)
		}
		since := time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC)
		if _, next, err := b.Changed(ctx, since); understood(err) && next.Before(since) {
			t.Fatalf("%q sends the list back to %v", body, next)
		}
		ids, err := b.Callback(ctx, http.Header{"X-Proof": {strings.Repeat("x", 32)}}, body)
		if understood(err) {
			for _, one := range ids {
				if _, ok := ours(string(one)); !ok {
					t.Fatalf("%q hints at %q", body, one)
				}
			}
		}
	})
}
