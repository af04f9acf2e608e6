package linking_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"placard/linking"
	"placard/linking/boltstore"
)

// BenchmarkScan is what the domain and an embedded store take of a scan:
//
//	go test -run '^$' -bench Scan -benchmem ./linking
func BenchmarkScan(b *testing.B) {
	store, err := boltstore.Open(filepath.Join(b.TempDir(), "bench.db"), boltstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { store.Close() })
	w := &world{now: time.Now()}
	bank := &worldBank{w: w, kind: true, requests: map[linking.RequestID]*bankRequest{}, ask: map[linking.RequestID]bool{}}
	ctx := context.Background()
	svc, err := linking.New(ctx, linking.Config{Store: store, Banks: bank, PublicURL: "https://pay.example", NewStore: true})
	if err != nil {
		b.Fatal(err)
	}
	m, err := svc.CreateMerchant(ctx, linking.NewMerchant{Name: "Bench", Currency: "EUR"})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := svc.ConnectBank(ctx, m.ID, "relay", nil, nil); err != nil {
		b.Fatal(err)
	}
	k, _, err := svc.CreateKey(ctx, m.ID, linking.NewKey{Role: linking.Owner})
	if err != nil {
		b.Fatal(err)
	}
	code, err := svc.MakeCode(ctx, k.Caller(), linking.NewCode{Kind: linking.Counter})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := svc.Attach(ctx, k.Caller(), linking.AttachCommand{Code: code.Token, Wait: time.Second, New: &linking.NewRequest{Amount: 1250, Reference: "Table 4"}}); err != nil {
		b.Fatal(err)
	}
	v, err := svc.Scan(ctx, code.Token, "", true)
	if err != nil || v.Seen.Resolution != linking.Payable {
		b.Fatal(v.Seen.Resolution, err)
	}
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := svc.Scan(ctx, code.Token, "", true); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := svc.Scan(ctx, code.Token, v.Sealed, true); err != nil {
				b.Fatal(err)
			}
		}
	})
}
