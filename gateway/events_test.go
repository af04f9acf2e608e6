package gateway

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"placard/linking"
	"placard/linking/boltstore"
)

// A till that was away for too long is told so, with where the log begins; one that was
// not loses nothing.
func TestEventsAreForgottenAfterNinetyDays(t *testing.T) {
	store, err := boltstore.Open(filepath.Join(t.TempDir(), "events.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var now atomic.Pointer[time.Time]
	pass := func(d time.Duration) {
		at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		if p := now.Load(); p != nil {
			at = p.Add(d)
		}
		now.Store(&at)
	}
	pass(0)
	svc, err := linking.New(t.Context(), linking.Config{Store: store, Now: func() time.Time { return *now.Load() }, PublicURL: "https://pay.example", NewStore: true})
	if err != nil {
		t.Fatal(err)
	}
	merchant, err := svc.CreateMerchant(t.Context(), linking.NewMerchant{Name: "Café", Currency: "EUR"})
	if err != nil {
		t.Fatal(err)
	}
	key, secret, err := svc.CreateKey(t.Context(), merchant.ID, linking.NewKey{Role: linking.Owner})
	if err != nil {
		t.Fatal(err)
	}
	happen := func(n int) {
		t.Helper()
		for range n {
			if _, err := svc.MakeBatch(t.Context(), key.Caller(), linking.NewBatch{Kind: linking.Bill, Count: 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	g := startGateway(t, Config{}, func(s *Server) {
		if err := s.Mount(Nouns{Service: svc}); err != nil {
			t.Fatal(err)
		}
	})
	get := func(query string, status int, accept string, header ...string) string {
		t.Helper()
		resp, body := do(t, "GET", g.url+"/v1/events"+query, "", append(header, "Authorization", "Bearer "+secret, "Accept", accept)...)
		if resp.StatusCode != status {
			t.Fatalf("%s answered %d, want %d: %s", query, resp.StatusCode, status, body)
		}
		return body
	}
	const list, stream = "application/json", "text/event-stream"
	happen(5)
	pass(60 * 24 * time.Hour)
	happen(3)
	pass(31 * 24 * time.Hour) // the first five are 91 days old, the next three 31
	svc.SweepOnce(t.Context())
	happen(1)

	for _, forgotten := range []string{"?after=0", "?after=4"} {
		if body := get(forgotten, 410, list); !strings.Contains(body, `"code":"gone"`) || !strings.Contains(body, `"oldest":6`) {
			t.Errorf("%s: %s", forgotten, body)
		}
		if body := get(forgotten, 410, stream); !strings.Contains(body, `"oldest":6`) {
			t.Errorf("the stream: %s: %s", forgotten, body)
		}
	}
	get("", 410, stream, "Last-Event-ID", string(merchant.ID)+"-4")
	get("", 422, stream, "Last-Event-ID", "nonsense")
	body := get("?after=5", 200, list)
	for seq := 6; seq <= 9; seq++ {
		if !strings.Contains(body, `"seq":`+strconv.Itoa(seq)+`,`) {
			t.Errorf("event %d is missing: %s", seq, body)
		}
	}

	// A stream that comes back goes on where it was, and then with what is new.
	l := g.listen(t, "/v1/events", "Authorization", "Bearer "+secret, "Accept", stream, "Last-Event-ID", string(merchant.ID)+"-7")
	happen(1)
	for seq := 8; seq <= 10; seq++ {
		want := fmt.Sprintf("id: %s-%d", merchant.ID, seq)
		if e := l.event(); !strings.Contains(e, want) {
			t.Fatalf("the stream gave %q, want %q", e, want)
		}
	}
}
