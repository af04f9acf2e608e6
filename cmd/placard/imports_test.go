package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestWhoMayImportWhom: the domain knows no I/O and no framework, the gateway no bank
// and no store, printing nothing of ours, and nobody the program. Keys are packages of
// ours; values are what they may import beside the standard library, by prefix.
func TestWhoMayImportWhom(t *testing.T) {
	t.Parallel()
	rules := map[string][]string{
		"placard/linking":                 {"github.com/fxamacker/cbor/v2", "golang.org/x/crypto/argon2"},
		"placard/linking/boltstore":       {"placard/linking", "go.etcd.io/bbolt"},
		"placard/linking/redisstore":      {"placard/linking", "github.com/redis/go-redis/v9"},
		"placard/linking/storetest":       {"placard/linking", "github.com/redis/go-redis/v9", "pgregory.net/rapid", "github.com/anishathalye/porcupine"},
		"placard/linking/storetest/prove": {},
		"placard/bankapi":                 {"placard/linking", "github.com/sony/gobreaker/v2", "golang.org/x/sync"},
		"placard/bankapi/":                {"placard/linking", "placard/bankapi", "github.com/standard-webhooks/", "github.com/skip2/go-qrcode", "golang.org/x/text/unicode/norm"},
		"placard/printing":                {"github.com/skip2/go-qrcode", "github.com/makiuchi-d/gozxing", "codeberg.org/go-pdf/fpdf", "golang.org/x/image", "golang.org/x/text"},
		"placard/gateway": {"placard/linking", "placard/printing", "placard/gateway", "github.com/gofiber/fiber/v2", "github.com/valyala/fasthttp", "github.com/go-playground/",
			"github.com/prometheus/", "github.com/andybalholm/brotli", "codeberg.org/go-pdf/fpdf", "github.com/standard-webhooks/", "github.com/goccy/go-yaml", "golang.org/x/"},
	}
	// I/O that the domain has no business with.
	forbidden := []string{"os", "os/exec", "net", "io/ioutil", "database/sql", "syscall"}
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "placard/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		names := strings.Fields(line)
		pkg, imports := names[0], names[1:]
		seen++
		if pkg != "placard/cmd/placard" && !strings.HasSuffix(pkg, "/example") && !strings.HasSuffix(pkg, "/prove") {
			may, ok := rules[pkg]
			for p := pkg; !ok && strings.Contains(p, "/"); {
				p = p[:strings.LastIndex(p, "/")]
				may, ok = rules[p+"/"]
				if !ok && p != "placard" {
					may, ok = rules[p]
				}
			}
			if !ok {
				t.Errorf("%s: nobody has said what it may import", pkg)
			}
			for _, i := range imports {
				external := strings.Contains(strings.SplitN(i, "/", 2)[0], ".")
				ours := strings.HasPrefix(i, "placard/")
				if (external || ours) && !slices.ContainsFunc(may, func(p string) bool { return strings.HasPrefix(i, p) }) {
					t.Errorf("%s imports %s", pkg, i)
				}
			}
		}
		for _, i := range imports {
			switch {
			case i == "placard/cmd/placard":
				t.Errorf("%s imports the program", pkg)
			case pkg == "placard/linking" && slices.Contains(forbidden, i):
				t.Errorf("%s imports %s: the domain does no I/O", pkg, i)
			case i == "placard/bankapi/simulator" && pkg != "placard/cmd/placard" && pkg != "placard/bankapi/banktest":
				t.Errorf("%s imports the simulator", pkg)
			case strings.HasPrefix(i, "placard/linking/") && strings.HasPrefix(pkg, "placard/gateway"):
				t.Errorf("%s imports a store: %s", pkg, i)
			}
		}
	}
	if seen < 10 {
		t.Fatalf("only %d packages were seen", seen)
	}
}
