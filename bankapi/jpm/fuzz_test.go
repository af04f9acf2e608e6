package jpm

import (
	"net/http"
	"testing"
	"time"

	"placard/bankapi"
	"placard/linking"
)

const (
	someID     linking.RequestID = "01J8QZ4F8YV6N0W3H5K7T9ACDE"
	someLink                     = `{"id":"a901840f-2a0c-4f79-ae17-6d21ce75d58c","alternateIdentifier":12345,"expirationType":"IMMEDIATE","country":"BR","url":"https://bank.example/pix/4a110822","createdAt":"2024-10-01T02:00:56Z"}`
	someBrazil                   = `{"id":"01J8QZ4F8YV6N0W3H5K7T9ACDE","revisionNumber":0,"country":"BR","status":"SETTLED","request":{"expirationType":"IMMEDIATE","duration":1800,"paymentAmount":"150.00","currency":"BRL"},"requestMethod":{"qrCodeType":"DYNAMIC","text":"000201010212260014br.gov.bcb.pix","paymentLink":` + someLink + `},"createdAt":"2024-10-01T20:32:10Z","expiresAt":"2024-10-01T21:02:10Z","settlementSummary":{"payment":{"endToEndId":"E1","currency":"BRL","amount":"150.00","settledAt":"2024-10-01T20:33:10Z"},"returns":[{"id":"r1","currency":"BRL","amount":"1.00","status":"COMPLETED"}]}}`
	someAsia                     = `{"id":"8d7c","endToEndId":"01J8QZ4F8YV6N0W3H5K7T9ACDE","country":"SG","status":"ACTIVE","request":{"expirationType":"SCHEDULED","paymentAmount":"1.50","currency":"SGD"},"requestMethod":{"text":"00020101021226370009SG.PAYNOW"},"createdAt":"2024-10-01T20:32:10Z"}`
)

// mustBeUnderstood fails if an error would say more than a code of ours, or be taken
// for anything but an answer that cannot be read.
func mustBeUnderstood(t *testing.T, err error) {
	t.Helper()
	_, judged := understood(0, err)
	if c := classOf(judged); c != linking.BankUnknown {
		t.Fatalf("%v is of class %q", judged, c)
	}
}

func FuzzHeldOf(f *testing.F) {
	f.Add([]byte(someBrazil), true)
	f.Add([]byte(someAsia), false)
	f.Add([]byte(`{"id":null,"request":[]}`), true)
	f.Fuzz(func(t *testing.T, body []byte, br bool) {
		country := "SG"
		if br {
			country = brazil
		}
		h, err := heldOf(body, someID, "", country)
		if err != nil {
			mustBeUnderstood(t, err)
			return
		}
		if h.ID != someID || h.Money.Amount <= 0 || h.Money.Amount > linking.MaxAmount || h.Status == "" {
			t.Fatalf("%+v", h)
		}
		if h.Status == linking.BankOpen && !payload(h.Way.Payload) || h.Status == linking.BankPaid && len(h.Payments) == 0 {
			t.Fatalf("%+v", h)
		}
		for _, p := range h.Payments {
			if !goodID(p.ID) || p.Money.Amount <= 0 || p.PaidAt.IsZero() {
				t.Fatalf("%+v", p)
			}
		}
		for _, r := range h.Refunds {
			if len(h.Payments) == 0 || r.PaymentID != h.Payments[0].ID || r.Amount <= 0 {
				t.Fatalf("%+v", r)
			}
		}
	})
}

func FuzzLinkIn(f *testing.F) {
	f.Add([]byte(someLink))
	f.Add([]byte(`{"id":"x","url":"https://u@h/","expirationType":"DUE-DATE"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		l, err := linkIn(body, "")
		if err != nil {
			mustBeUnderstood(t, err)
			return
		}
		if !goodLinkID(l.ID) || l.Charge == "" || !printable(l.URL+l.Shows) || l.Number < 0 {
			t.Fatalf("%+v", l)
		}
	})
}

func FuzzLists(f *testing.F) {
	f.Add([]byte(`{"requests":[{"id":"8d7c","endToEndId":"01J8QZ4F8YV6N0W3H5K7T9ACDE"}],"metadata":{"cursor":{"next":"MTB8Mg=="}}}`))
	f.Add([]byte(`{"paymentLinks":[` + someLink + `],"metadata":{"cursor":{"next":"MTB8Mg=="}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, next, err := listOf(body); err != nil {
			mustBeUnderstood(t, err)
		} else if !printable(next) {
			t.Fatalf("cursor %q", next)
		}
		if p, err := linksOf(body); err != nil {
			mustBeUnderstood(t, err)
		} else if !printable(p.next) {
			t.Fatalf("cursor %q", p.next)
		}
		if _, err := bulkOf(body, ""); err != nil {
			mustBeUnderstood(t, err)
		}
	})
}

func FuzzCallbackOf(f *testing.F) {
	f.Add([]byte(`{"id":"01J8QZ4F8YV6N0W3H5K7T9ACDE","occurredAt":"2023-03-13T10:00:00","status":"SETTLED"}`), true)
	f.Add([]byte(`{"id":"f6764adb","occurredAt":"2023-03-13T10:00:00","status":"SETTLED","endToEndId":"01J8QZ4F8YV6N0W3H5K7T9ACDE"}`), false)
	f.Fuzz(func(t *testing.T, body []byte, br bool) {
		country := "HK"
		if br {
			country = brazil
		}
		ids, err := callbackOf(body, country)
		if err != nil {
			mustBeUnderstood(t, err)
			return
		}
		for _, id := range ids {
			if got, ok := linking.ParseRequestID(string(id)); !ok || got != id {
				t.Fatalf("id %q", id)
			}
		}
	})
}

func FuzzRefusals(f *testing.F) {
	f.Add(400, []byte(`{"title":"Bad format","httpStatus":400,"context":[{"code":"10103","message":"m","field":"id","location":"PATH"}]}`))
	f.Add(404, []byte(`<html>`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 300 || status > 599 {
			return
		}
		a := bankapi.Answer{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}
		_, _, own := refusedBy(a)
		// Only the bank itself can say that it does not know a request.
		if classOf(judge(a, time.Time{})) == linking.BankAbsent && (!own || status != http.StatusNotFound) {
			t.Fatalf("%d %q is absent", status, body)
		}
	})
}
