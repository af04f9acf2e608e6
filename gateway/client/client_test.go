package client

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// What the client names, the description names too.
func TestTypesAreInTheDescription(t *testing.T) {
	raw, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]any
			}
		}
	}
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	for _, of := range []any{NewRequest{}, NewLine{}, Request{}, Payment{}, Refund{}, Exception{}, Tender{}, Code{}, LinkAnswer{}, Sale{}, Event{}, EventRequest{}} {
		typ := reflect.TypeOf(of)
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if doc.Components.Schemas[typ.Name()].Properties[name] == nil {
				t.Errorf("%s.%s is %q, which components.schemas.%s of gateway/openapi.yaml has not", typ.Name(), f.Name, name, typ.Name())
			}
		}
	}
}

// A call without an answer is made again, under the same key, and a refusal is not.
func TestCallsAreRepeatedUnderOneKey(t *testing.T) {
	var keys []string
	answers := []func(http.ResponseWriter){
		func(w http.ResponseWriter) {
			conn, _, _ := w.(http.Hijacker).Hijack()
			conn.Close()
		},
		func(w http.ResponseWriter) {
			w.WriteHeader(504)
			fmt.Fprint(w, `{"code":"uncertain","detail":"It may have been done."}`)
		},
		func(w http.ResponseWriter) { fmt.Fprint(w, `{"id":"R","status":"active"}`) },
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		answers[len(keys)-1](w)
	}))
	defer s.Close()
	c := &Client{URL: s.URL, Key: "plc_1"}
	r, err := c.Create(t.Context(), NewRequest{Amount: 1})
	if err != nil || r.Status != "active" || len(keys) != 3 || keys[0] == "" || keys[0] != keys[1] || keys[1] != keys[2] {
		t.Errorf("%+v, %v, keys %v", r, err, keys)
	}
	keys, answers = nil, []func(http.ResponseWriter){func(w http.ResponseWriter) {
		w.WriteHeader(409)
		fmt.Fprint(w, `{"code":"code_busy","detail":"It is.","linked":{"sale":"S"}}`)
	}}
	_, err = c.Attach(t.Context(), "C", NewRequest{Amount: 1}, false)
	if !Is(err, "code_busy") || len(keys) != 1 || !strings.Contains(string(err.(*Problem).Raw), `"sale":"S"`) {
		t.Errorf("%v after %d calls", err, len(keys))
	}
}

func TestVerifyWebhook(t *testing.T) {
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	lib, err := webhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	body := []byte(`{"id":"M-7","seq":7,"type":"request.paid","request":{"paid_amount":1250}}`)
	signature, err := lib.Sign("M-7", now, body)
	if err != nil {
		t.Fatal(err)
	}
	header := func(timestamp time.Time, signature string) http.Header {
		return http.Header{"Webhook-Id": {"M-7"}, "Webhook-Timestamp": {fmt.Sprint(timestamp.Unix())}, "Webhook-Signature": {signature}}
	}
	e, err := VerifyWebhook(secret, header(now, "v1,AAAA "+signature), body)
	if err != nil || e.Seq != 7 || e.Request.PaidAmount != 1250 {
		t.Errorf("a good one: %+v, %v", e, err)
	}
	other := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 32))
	for name, bad := range map[string]func() (*Event, error){
		"another secret":  func() (*Event, error) { return VerifyWebhook(other, header(now, signature), body) },
		"another body":    func() (*Event, error) { return VerifyWebhook(secret, header(now, signature), append(body, ' ')) },
		"another time":    func() (*Event, error) { return VerifyWebhook(secret, header(now.Add(time.Second), signature), body) },
		"an old one":      func() (*Event, error) { return verify(secret, header(now, signature), body, now.Add(6*time.Minute)) },
		"one from later":  func() (*Event, error) { return verify(secret, header(now, signature), body, now.Add(-6*time.Minute)) },
		"no signature":    func() (*Event, error) { return VerifyWebhook(secret, header(now, ""), body) },
		"another version": func() (*Event, error) { return VerifyWebhook(secret, header(now, "v2"+signature[2:]), body) },
	} {
		if e, err := bad(); err == nil {
			t.Errorf("%s was taken: %+v", name, e)
		}
	}
}

func TestEventsGoOnAndEnd(t *testing.T) {
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query().Get("after"))
		switch len(asked) {
		case 1:
			fmt.Fprint(w, `{"data":[{"seq":4},{"seq":6}],"next":"9"}`)
		case 2:
			fmt.Fprint(w, `{"data":[{"seq":10}],"next":"10"}`)
		default:
			w.WriteHeader(410)
			fmt.Fprint(w, `{"code":"gone","oldest":50}`)
		}
	}))
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seqs []uint64
	var last error
	for e, err := range (&Client{URL: s.URL}).Events(ctx, 3, nil) {
		if last = err; err == nil {
			seqs = append(seqs, e.Seq)
		}
	}
	if fmt.Sprint(seqs) != "[4 6 10]" || fmt.Sprint(asked) != "[3 9 10]" || !Is(last, "gone") {
		t.Errorf("%v, asked %v, %v", seqs, asked, last)
	}
}
