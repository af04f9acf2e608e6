package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// openDemo starts `placard demo` and returns what it says of itself.
func openDemo(t testing.TB) (f demoFacts, code string, till *client, bank *client) {
	t.Helper()
	r := launch(t, hooks{}, "demo", "--json", "--listen", "127.0.0.1:0")
	if err := json.Unmarshal([]byte(r.until(`(?m)^(\{.*\})$`)[1]), &f); err != nil {
		t.Fatal(err)
	}
	var c struct{ ID string }
	if err := json.Unmarshal(f.Codes[0], &c); err != nil {
		t.Fatal(err)
	}
	return f, c.ID, &client{t: t, base: f.URL, key: f.APIKey}, &client{t: t, base: f.BankURL}
}

// needs fails under CI=1, and skips loudly elsewhere, where an outside tool is missing.
func needs(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "1" {
				t.Fatalf("%s is needed for this test", tool)
			}
			t.Skipf("NOT TESTED: there is no %s here", tool)
		}
	}
}

// till is an example's program that runs.
type exampleTill struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
}

func startTill(t *testing.T, cmd *exec.Cmd) *exampleTill {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	e := &exampleTill{t, cmd, make(chan string, 100)}
	t.Cleanup(func() { cmd.Process.Kill() })
	go func() {
		defer close(e.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			e.lines <- s.Text()
		}
		io.Copy(io.Discard, out)
	}()
	return e
}

// says waits for a line.
func (e *exampleTill) says(pattern string) []string {
	e.t.Helper()
	var heard []string
	late := time.After(40 * time.Second)
	for {
		select {
		case line, ok := <-e.lines:
			if found := regexp.MustCompile(pattern).FindStringSubmatch(line); ok && found != nil {
				return found
			}
			if !ok {
				e.t.Fatalf("the till ended, and did not say %q but %q", pattern, heard)
			}
			heard = append(heard, line)
		case <-late:
			e.t.Fatalf("the till did not say %q but %q", pattern, heard)
		}
	}
}

// Each client's example sells twice against the demo: once it is paid, once the cashier
// takes cash.
func TestExampleTillsSell(t *testing.T) {
	t.Parallel()
	examples := map[string]func(t *testing.T) []string{
		"go": func(t *testing.T) []string {
			binary := filepath.Join(t.TempDir(), "till")
			if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "placard/gateway/client/example").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			return []string{binary}
		},
		"typescript": func(t *testing.T) []string {
			needs(t, "node", "npm")
			dir := t.TempDir()
			const from = "../../integrations/typescript"
			for _, name := range []string{"package.json", "package-lock.json", "tsconfig.json", "placard.ts", "example.ts"} {
				b, err := os.ReadFile(filepath.Join(from, name))
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			for _, command := range [][]string{{"npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"}, {"node", "node_modules/typescript/bin/tsc"}} {
				cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
				cmd.Dir = dir
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %v: %s", command, err, out)
				}
			}
			return []string{"node", filepath.Join(dir, "out", "example.js")}
		},
	}
	for name, build := range examples {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command := build(t)
			f, code, gateway, bank := openDemo(t)
			sell := func(cents int) *exampleTill {
				return startTill(t, exec.CommandContext(t.Context(), command[0], append(command[1:], f.URL, f.APIKey, code, strconv.Itoa(cents))...))
			}
			till := sell(420)
			id := till.says(`^request (\w{26}): 420 EUR, pairing \d\d \w+`)[1]
			(&client{t: t, base: f.URL}).scan(code, "").is(200).says("resolution", "payable", "request.amount", 420)
			till.says("the customer has opened it")
			second := sell(100)
			second.says("another sale is open on this code")
			if second.cmd.Wait(); second.cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("a till that found the code busy ended with %s", second.cmd.ProcessState)
			}
			bank.call("POST", "/sim/pay", m{"request_id": id}).is(200)
			till.says("^paid 420 EUR$")
			if err := till.cmd.Wait(); err != nil {
				t.Errorf("a till that was paid: %v", err)
			}

			till = sell(999)
			id = till.says(`^request (\w{26}): 999 EUR`)[1]
			if err := till.cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			till.says("^cancelled: take cash$")
			gateway.get("/v1/requests/"+id).is(200).says("status", "cancelled")
			if name == "go" {
				till.cmd.Wait()
			}
		})
	}
	for _, file := range []string{"../../gateway/client/example/main.go", "../../integrations/typescript/example.ts"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(b), "\n"); n >= 100 {
			t.Errorf("%s has %d lines: a till is to be shorter than 100", file, n)
		}
	}
}
