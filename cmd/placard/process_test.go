package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain removes what the tests have built together.
func TestMain(m *testing.M) {
	code := m.Run()
	shutChromium()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

var built string // the folder of the program, once somebody needed it

// program builds the program as it is released, once for all tests.
var theProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "placard-built-")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "placard")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return path, nil
})

// process is the program in a process of its own, which can be killed.
type process struct {
	t          testing.TB
	args       []string
	cmd        *exec.Cmd
	out, notes *said
	exited     chan struct{}
}

// spawn starts the program and waits until it listens.
func spawn(t testing.TB, args ...string) *process {
	t.Helper()
	path, err := theProgram()
	if err != nil {
		t.Fatal(err)
	}
	for try := 1; ; try++ {
		p := &process{t: t, args: args, cmd: exec.Command(path, args...), out: &said{}, notes: &said{}, exited: make(chan struct{})}
		p.cmd.Stdout, p.cmd.Stderr = p.out, p.notes
		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() {
			p.cmd.Wait()
			close(p.exited)
		}()
		if p.listens() {
			t.Cleanup(p.kill)
			return p
		}
		p.kill()
		if try == 20 || !strings.Contains(p.notes.String(), "address already in use") {
			t.Fatalf("placard %s: %s%s", strings.Join(args, " "), p.out, p.notes)
		}
		time.Sleep(100 * time.Millisecond) // whoever has the port may let it go; nothing tells
	}
}

func (p *process) listens() bool {
	late := time.After(30 * time.Second)
	for {
		text, more := p.out.look()
		if strings.Contains(text, "listens on") {
			return true
		}
		select {
		case <-more:
		case <-p.exited:
			return false
		case <-late:
			return false
		}
	}
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.exited
}
