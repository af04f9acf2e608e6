package client

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// tolerance is how old a delivery may be, and how far the clocks may be apart.
const tolerance = 5 * time.Minute

// ErrSignature says that a message is not Placard's, or was changed, or is old.
var ErrSignature = errors.New("placard: the webhook is not signed with this secret")

// VerifyWebhook returns the event that a webhook brought. body is what came, byte for
// byte; secret begins with whsec_. The same event may come twice: its ID tells.
func VerifyWebhook(secret string, header http.Header, body []byte) (*Event, error) {
	return verify(secret, header, body, time.Now())
}

func verify(secret string, header http.Header, body []byte, now time.Time) (*Event, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) < 24 {
		return nil, errors.New("placard: this is no webhook's secret")
	}
	id, timestamp := header.Get("Webhook-Id"), header.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > tolerance {
		return nil, ErrSignature
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	want := mac.Sum(nil)
	for one := range strings.FieldsSeq(header.Get("Webhook-Signature")) {
		version, text, _ := strings.Cut(one, ",")
		got, err := base64.StdEncoding.DecodeString(text)
		if version == "v1" && err == nil && hmac.Equal(got, want) {
			e := new(Event)
			return e, json.Unmarshal(body, e)
		}
	}
	return nil, ErrSignature
}
