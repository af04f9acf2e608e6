package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// The commands of docs/tills.md are run from the first to the last in one shell against
// the demo, and each must answer with the pieces that the page shows below it.
func TestTheGuideForTillsRuns(t *testing.T) {
	t.Parallel()
	f, code, _, _ := openDemo(t)
	runGuide(t, "docs/tills.md", 15, 20, "URL="+f.URL, "KEY="+f.APIKey, "CODE="+code, "BANK="+f.BankURL)
}

// runGuide runs the commands of a page, of which there are at least so many, with at
// least so many pieces of answers below them, in a folder of its own.
func runGuide(t *testing.T, name string, commands, pieces int, env ...string) {
	t.Helper()
	needs(t, "bash", "curl", "sed")
	page, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	// A mark after each command tells which answer belongs to which.
	const mark = "---- "
	var script strings.Builder
	var wanted []string // "→" lines, by the command above them
	command := 0
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		for line := range strings.Lines(block[1]) {
			piece, isPiece := strings.CutPrefix(line, "# → ")
			switch {
			case isPiece:
				wanted = append(wanted, strings.TrimSuffix(piece, "\n"))
				script.WriteString("echo; echo '" + mark + "'\n")
			default:
				script.WriteString(line)
				if !strings.HasSuffix(line, "\\\n") {
					command++
				}
			}
		}
	}
	if command < commands || len(wanted) < pieces {
		t.Fatalf("%d commands and %d pieces were found in %s", command, len(wanted), name)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-eu", "-o", "pipefail", "-c", script.String())
	cmd.Env, cmd.Dir = append(os.Environ(), env...), t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the commands of %s: %v\n%s", name, err, out)
	}
	answers := strings.Split(string(out), mark+"\n")
	if len(answers) != len(wanted)+1 {
		t.Fatalf("%d answers for %d pieces:\n%s", len(answers), len(wanted), out)
	}
	last := ""
	for i, piece := range wanted {
		if strings.TrimSpace(answers[i]) != "" { // several pieces may be of one answer
			last = answers[i]
		}
		if !strings.Contains(last, piece) {
			t.Errorf("%s says that there is %q in this answer:\n%s", name, piece, last)
		}
	}
	for _, link := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(string(page), -1) {
		if strings.HasPrefix(link[1], "http") {
			continue
		}
		if _, err := os.Stat("../../docs/" + link[1]); err != nil {
			t.Errorf("%s leads to %s: %v", name, link[1], err)
		}
	}
}
