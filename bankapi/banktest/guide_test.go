package banktest_test

import (
	"bytes"
	"encoding/json"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
)

// mostLines is what docs/banks.md promises of the rail it builds.
const mostLines = 300

// The rail that docs/banks.md builds is taken out of the page, compiled as a package of
// this module, and held to the suite as the real rails are.
func TestTheRailInTheGuideKeepsTheContract(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/banks.md")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	lines := 0
	for i, block := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(page, -1) {
		if i > 0 {
			code.WriteString("\n")
		}
		code.Write(block[1])
		lines += bytes.Count(block[1], []byte("\n"))
	}
	if lines < 100 || lines > mostLines {
		t.Fatalf("the rail has %d lines, the page says at most %d", lines, mostLines)
	}
	if tidy, err := format.Source([]byte(code.String())); err != nil || string(tidy) != code.String() {
		t.Errorf("the code of the page is not gofmt'ed: %v", err)
	}

	if _, err := exec.LookPath("go"); err != nil {
		if os.Getenv("CI") == "1" {
			t.Fatal("the go command is needed to compile the code of docs/banks.md")
		}
		t.Skip("the code of docs/banks.md is not compiled: there is no go command here")
	}
	here, err := filepath.Abs("testdata/tern")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	rail, overlay := filepath.Join(dir, "tern.go"), filepath.Join(dir, "overlay.json")
	doc, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(here, "tern.go"): rail, // beside what is Tern itself
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{rail: []byte(code.String()), overlay: doc} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"test", "-overlay", overlay, "-count", "1", "-v"}
	if raced() {
		args = append(args, "-race") // the packages around it are compiled already
	}
	cmd := exec.CommandContext(t.Context(), "go", append(args, ".")...)
	cmd.Dir = here
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the rail of docs/banks.md: %v\n%s", err, out)
	}
	if n := bytes.Count(out, []byte("--- PASS: TestConformance/")); n < 150 {
		t.Errorf("%d cases of the suite were run", n)
	}
}

// raced reports whether this test was built with the race detector.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, s := range info.Settings {
			if s.Key == "-race" {
				return s.Value == "true"
			}
		}
	}
	return false
}
