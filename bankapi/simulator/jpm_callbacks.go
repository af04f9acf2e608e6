package simulator

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"
)

// tell sends a callback about s. It is called with the ledger locked, and so reads
// only what never changes, or stands apart.
func (jw *jpmWire) tell(s requestSnapshot) {
	v, ok := jw.told.Load(s.id)
	if !ok {
		return
	}
	r := v.(*jpmRequest)
	v, _ = jw.accounts.Load(r.account)
	a, _ := v.(JPMAccount)
	if r.account != s.account || a.CallbackURL == "" {
		return
	}
	layout := "2006-01-02T15:04:05"
	if jw.o.ZonedCallbacks {
		layout = time.RFC3339
	}
	more := map[string]string{"expired": "QR Code expired", "payer_refused": "User Cancelled"}[s.reason]
	body, _ := json.Marshal(struct {
		ID                    string `json:"id"`
		OccurredAt            string `json:"occurredAt"`
		Status                string `json:"status"`
		EndToEndID            string `json:"endToEndId,omitempty"`
		AdditionalInformation string `json:"additionalInformation,omitempty"`
	}{r.id, s.changedAt.UTC().Format(layout), cmp.Or(jpmStatuses[s.status], "ACTIVE"), r.endToEnd, more})
	jw.s.callbacks.send(message{url: a.CallbackURL, sign: func(h http.Header) []byte {
		h.Set("Content-Type", "application/json")
		for name, value := range a.CallbackHeader {
			h.Set(name, value)
		}
		if a.CallbackKey != nil {
			sum := sha256.Sum256(body)
			if signature, err := a.CallbackKey.Sign(rand.Reader, sum[:], crypto.SHA256); err == nil {
				h.Set("Signature", base64.StdEncoding.EncodeToString(signature))
				h.Set("Key-ID", "callbacks-1")
				h.Set("Signing-Algorithm", "SHA256withRSA")
				if _, elliptic := a.CallbackKey.Public().(*ecdsa.PublicKey); elliptic {
					h.Set("Signing-Algorithm", "SHA256withECDSA")
				}
			}
		}
		return body
	}})
}
