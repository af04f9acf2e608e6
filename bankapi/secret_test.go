package bankapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"placard/linking"
)

func TestSecretShowsNowhere(t *testing.T) {
	const text = "whsec_canary"
	type holder struct {
		Public  Secret
		private Secret
		list    []Secret
	}
	s := NewSecret(text)
	h := holder{s, s, []Secret{s}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", &s)
		fmt.Fprintf(&out, verb+"\n", h)
		fmt.Fprintf(&out, verb+"\n", &h)
		fmt.Fprintf(&out, verb+"\n", map[string]Secret{"a": s})
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "s", s, "h", h)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "s", s, "h", h)
	json.NewEncoder(&out).Encode(h)
	if b, err := cbor.Marshal(h); err == nil {
		out.Write(b)
	}
	fmt.Fprint(&out, fmt.Errorf("with %v", s))
	for _, shape := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text)} {
		if strings.Contains(out.String(), shape) {
			t.Errorf("the secret shows as %q", shape)
		}
	}
	if s.Reveal() != text || (Secret{}).Reveal() != "" {
		t.Error("Reveal does not tell the secret")
	}
}

func TestSealerOpensOnlyWhatItSealedForThatConnection(t *testing.T) {
	seal := mustSealer(t, 1)
	want := map[string]Secret{"secret": NewSecret("whsec_a"), "empty": NewSecret("")}
	sealed, err := seal.Seal("01CONNECTION00", "relay", want)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("whsec")) {
		t.Fatal("the secret stands in the sealed text")
	}
	got, err := seal.Open("01CONNECTION00", "relay", sealed)
	if err != nil || len(got) != 2 || got["secret"].Reveal() != "whsec_a" {
		t.Fatalf("%v, %v", got, err)
	}
	for name, open := range map[string]func() error{
		"another connection": func() error { _, err := seal.Open("01CONNECTION01", "relay", sealed); return err },
		"another rail":       func() error { _, err := seal.Open("01CONNECTION00", "pix", sealed); return err },
		"another key":        func() error { _, err := mustSealer(t, 2).Open("01CONNECTION00", "relay", sealed); return err },
	} {
		if open() == nil {
			t.Errorf("%s: it opens", name)
		}
	}
	for i := range sealed {
		for bit := range 8 {
			bad := bytes.Clone(sealed)
			bad[i] ^= 1 << bit
			if _, err := seal.Open("01CONNECTION00", "relay", bad); err == nil {
				t.Fatalf("with bit %d of byte %d flipped it opens", bit, i)
			}
		}
	}
	for n := 1; n < len(sealed); n++ {
		if _, err := seal.Open("01CONNECTION00", "relay", sealed[:n]); err == nil {
			t.Fatalf("cut to %d bytes it opens", n)
		}
	}
	again, _ := seal.Seal("01CONNECTION00", "relay", want)
	if bytes.Equal(again, sealed) {
		t.Error("the same secrets are sealed the same way twice")
	}
}

func TestSealerOpensWithAnOlderKey(t *testing.T) {
	old, err := NewSealer(key(1))
	if err != nil {
		t.Fatal(err)
	}
	sealed, _ := old.Seal("c", "relay", map[string]Secret{"s": NewSecret("x")})
	both, err := NewSealer(key(2), key(1))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := both.Open("c", "relay", sealed); err != nil || got["s"].Reveal() != "x" {
		t.Fatalf("%v, %v", got, err)
	}
	sealed, _ = both.Seal("c", "relay", nil)
	if _, err := old.Open("c", "relay", sealed); err == nil {
		t.Fatal("the new key is not the one that seals")
	}
}

func key(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

func mustSealer(t *testing.T, n byte) *Sealer {
	t.Helper()
	s, err := NewSealer(key(n))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestKeyFileIsMadeOnceAndForItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "placard.key")
	if _, err := OpenKeyFile(path, false); !os.IsNotExist(err) {
		t.Fatalf("without create: %v", err)
	}
	sealers := make([]*Sealer, 20)
	var all sync.WaitGroup
	for i := range sealers {
		all.Go(func() {
			s, err := OpenKeyFile(path, true)
			if err != nil {
				t.Error(err)
			}
			sealers[i] = s
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	sealed, err := sealers[0].Seal("c", "relay", map[string]Secret{"s": NewSecret("x")})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sealers {
		if _, err := s.Open("c", linking.Connection{Rail: "relay"}.Rail, sealed); err != nil {
			t.Fatal("two processes ended up with different keys")
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".key-*")); len(left) != 0 {
		t.Fatalf("left behind: %v", left)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeyFile(path, true); err == nil || !strings.Contains(err.Error(), "0600") {
		t.Fatalf("a key others may read: %v", err)
	}
}

func TestKeyFileThatIsNoKeyFileIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "only a comment": "# nothing\n", "short": "AAAA\n", "not base 64": strings.Repeat("!", 44) + "\n",
		"twice": strings.Repeat("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 2),
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenKeyFile(path, true); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}
