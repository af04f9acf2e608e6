package linking

import (
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)

func TestScansAreSealedToTheirCode(t *testing.T) {
	s := NewSecret([32]byte{1})
	a, b := MakeToken(1, 2, TokenKey{}, Serial{1, 1}), MakeToken(1, 2, TokenKey{}, Serial{1, 2})
	scan := NewScan(1 << 33)
	sealed := s.SealScan(a, scan)
	if got, ok := s.OpenScan(a, sealed); !ok || got != scan {
		t.Fatalf("%+v, %v", got, ok)
	}
	if _, ok := s.OpenScan(b, sealed); ok {
		t.Error("another code's scan was taken")
	}
	if _, ok := NewSecret([32]byte{2}).OpenScan(a, sealed); ok {
		t.Error("another store's scan was taken")
	}
	for i := range len(sealed) {
		c := "0"
		if sealed[i] == '0' {
			c = "1"
		}
		if _, ok := s.OpenScan(a, sealed[:i]+c+sealed[i+1:]); ok {
			t.Errorf("a forged scan was taken: symbol %d", i)
		}
	}
	for _, bad := range []string{"", sealed[:39], sealed + "0", strings.Repeat("é", 20), strings.Repeat("U", 40)} {
		if _, ok := s.OpenScan(a, bad); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestPageSecretsLeadBackToTheirRequest(t *testing.T) {
	s := NewSecret([32]byte{1})
	for range 200 {
		id := newRequestID(RandomShard(), time.Now())
		page := s.PageSecret(id)
		if len(page) != 28 || page[:2] != string(id[:2]) {
			t.Fatal(page)
		}
		if got, ok := s.OpenPage(strings.ToLower(page)); !ok || got != id {
			t.Fatalf("%s: %s, %v", page, got, ok)
		}
		if got, _ := NewSecret([32]byte{2}).OpenPage(page); got == id {
			t.Fatal("another store reads it")
		}
	}
}

func TestPairingIsOfTheLink(t *testing.T) {
	s := NewSecret([32]byte{1})
	id := newRequestID(1, noon)
	if first, again := s.Pairing(id, 5), NewSecret([32]byte{1}).Pairing(id, 5); first != again {
		t.Errorf("a pairing changes: %s, then %s", first, again)
	}
	differ := 0
	for e := range uint64(50) {
		if s.Pairing(id, e) != s.Pairing(id, e+1) {
			differ++
		}
	}
	if differ < 48 {
		t.Errorf("only %d of 50 epochs changed the pairing", differ)
	}
	if len(Pictures) != 64 {
		t.Errorf("%d pictures", len(Pictures))
	}
	seen := map[string]bool{}
	for _, p := range Pictures {
		if seen[p] {
			t.Errorf("picture %s twice", p)
		}
		seen[p] = true
	}
}
