package relay

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Tolerance is how far apart the clocks of the two sides may be, and how long a
// signature is good for.
const Tolerance = 5 * time.Minute

// Names of the headers of Standard Webhooks.
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
)

// Keys are the shared secrets of one relay: one, or several while they are
// changed. They are functions, so that no dump prints them.
type Keys []func(id, timestamp string, body []byte) []byte

// ParseKeys reads secrets as "whsec_" and 24 to 64 random bytes in base 64, with
// blanks between them.
func ParseKeys(text string) (Keys, error) {
	var keys Keys
	for secret := range strings.FieldsSeq(text) {
		encoded, ok := strings.CutPrefix(secret, "whsec_")
		key, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(key) < 24 || len(key) > 64 {
			return nil, errors.New(`a secret is "whsec_" and 24 to 64 bytes in base 64`)
		}
		keys = append(keys, func(id, timestamp string, body []byte) []byte {
			mac := hmac.New(sha256.New, key)
			mac.Write([]byte(id + "." + timestamp + "."))
			mac.Write(body)
			return mac.Sum(nil)
		})
	}
	if len(keys) == 0 || len(keys) > 4 {
		return nil, errors.New("there are one to four secrets")
	}
	return keys, nil
}

// NewSecret makes a secret that ParseKeys accepts.
func NewSecret() string {
	key := make([]byte, 32)
	rand.Read(key)
	return "whsec_" + base64.StdEncoding.EncodeToString(key)
}

// Sign sets the three headers, with one signature for each key.
func (k Keys) Sign(h http.Header, id string, now time.Time, body []byte) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	signatures := make([]string, len(k))
	for i, sum := range k {
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(sum(id, timestamp, body))
	}
	h.Set(headerID, id)
	h.Set(headerTimestamp, timestamp)
	h.Set(headerSignature, strings.Join(signatures, " "))
}

// Verify returns the webhook-id of a message that was signed with one of the keys
// within Tolerance of now.
func (k Keys) Verify(h http.Header, now time.Time, body []byte) (id string, err error) {
	for _, name := range []string{headerID, headerTimestamp, headerSignature} {
		if v := h.Values(name); len(v) != 1 || v[0] == "" || len(v[0]) > 4096 {
			return "", fmt.Errorf("not exactly one header %s", strings.ToLower(name))
		}
	}
	id, timestamp := h.Get(headerID), h.Get(headerTimestamp)
	at, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || strconv.FormatInt(at, 10) != timestamp {
		return "", errors.New("webhook-timestamp is no number")
	}
	if d := now.Sub(time.Unix(at, 0)); d > Tolerance || d < -Tolerance {
		return "", errors.New("webhook-timestamp is more than five minutes off")
	}
	sums := make([][]byte, len(k))
	for i, sum := range k {
		sums[i] = sum(id, timestamp, body)
	}
	good := 0
	for s := range strings.SplitSeq(h.Get(headerSignature), " ") {
		version, encoded, _ := strings.Cut(s, ",")
		given, err := base64.StdEncoding.DecodeString(encoded)
		if version != "v1" || err != nil {
			continue // of a version we do not know; the next may be good
		}
		for _, sum := range sums {
			good |= subtle.ConstantTimeCompare(given, sum)
		}
	}
	if good != 1 {
		return "", errors.New("no signature is good")
	}
	return id, nil
}

// CallID makes the webhook-id of a call to a relay: random, and bound to what is
// called. Target is the path after the relay's base URL, escaped, with the query.
func CallID(method, target string) string { return rand.Text() + " " + method + " " + target }

// Called returns what the webhook-id of a call is bound to.
func Called(id string) (method, target string, ok bool) {
	random, rest, _ := strings.Cut(id, " ")
	method, target, ok = strings.Cut(rest, " ")
	return method, target, ok && random != "" && strings.HasPrefix(target, "/")
}

// segment escapes a part of a path. A dot is escaped too: the signed text is
// divided by dots, and so none may come from outside.
func segment(s string) string { return strings.ReplaceAll(url.PathEscape(s), ".", "%2E") }
