package printing

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// spans of lengths that need the same version at M, Q and H, as lines of a table.
func versionTable(from, to int, version func(n int, level Level) int) (lines []string) {
	start := from
	for n := from; n <= to; n++ {
		next := func(level Level) bool { return n < to && version(n+1, level) == version(n, level) }
		if next(M) && next(Q) && next(H) {
			continue
		}
		size := func(level Level) string {
			v := version(n, level)
			return fmt.Sprintf("%d (%d × %d)", v, 17+4*v, 17+4*v)
		}
		lines = append(lines, fmt.Sprintf("| %d–%d | %s | %s | %s |", start, n, size(M), size(Q), size(H)))
		start = n + 1
	}
	return lines
}

// The tables and the list of stock in docs/printing.md are what the program does.
func TestTheDocumentationIsTrue(t *testing.T) {
	b, err := os.ReadFile("../docs/printing.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	want := versionTable(4, 80, URLVersion)
	want = append(want, versionTable(120, 203, func(n int, level Level) int { return VersionFor(Byte, n, level) })...)
	for _, s := range Stocks {
		want = append(want, fmt.Sprintf("| `%s` | %s | %d | %d |", s.ID, s.Name, s.Labels(), s.DPI))
	}
	for _, d := range Damages {
		want = append(want, "`"+d.Name+"`")
	}
	for _, line := range want {
		if !strings.Contains(text, line) {
			t.Errorf("docs/printing.md lacks %s", line)
		}
	}
}
