// Prove shows that the tests of the stores can fail: it plants one plausible bug
// after another into a copy of the module, runs the tests of that store, and
// fails if they stay green on any of them.
//
//	go run ./linking/storetest/prove [-jobs 2] [-v] [bolt|redis|NAME]...
//
// A bug is a patch in linking/storetest/faults. Its first line says what is
// wrong; a line "tests: REGEXP" names the tests to run where the usual ones, the
// conformance suite and then all that are quick, leave out the one that counts.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// slow are tests that wait for real time to pass. A patch names them if it needs them.
const slow = "Parted|Failover|MovingSlot|OneDeadMaster|TwiceOnCluster"

type fault struct {
	backend string // bolt or redis
	name    string
	patch   string // path of the file
	what    string
	tests   string

	caught string // the test that failed; empty: none
	output string
	took   time.Duration
	err    error // it could not be tried at all
}

func main() {
	jobs := flag.Int("jobs", max(1, runtime.NumCPU()), "faults tried at once")
	verbose := flag.Bool("v", false, "show what the tests said")
	flag.Parse()
	if err := run(*jobs, *verbose, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "prove:", err)
		os.Exit(1)
	}
}

func run(jobs int, verbose bool, wanted []string) error {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return err
	}
	module := filepath.Dir(strings.TrimSpace(string(out)))
	faults, err := list(module, wanted)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "placard-prove-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)

	// Without any fault the same tests must be green, or red means nothing.
	var sound []*fault
	for _, backend := range []string{"bolt", "redis"} {
		if slices.ContainsFunc(faults, func(f *fault) bool { return f.backend == backend }) {
			sound = append(sound, &fault{backend: backend, name: backend + "-without-a-fault"})
		}
	}
	tryAll(module, work, sound, jobs)
	for _, f := range sound {
		if f.err != nil {
			return fmt.Errorf("%s: %w", f.name, f.err)
		}
		if f.caught != "" {
			return fmt.Errorf("the tests of %s are red without a fault: %s\n%s", f.backend, f.caught, f.output)
		}
	}
	tryAll(module, work, faults, jobs)

	table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "fault\twhat is wrong\tseconds\tcaught by")
	missed := 0
	for _, f := range faults {
		by := f.caught
		if f.err != nil {
			by = "NOT TRIED: " + f.err.Error()
		} else if by == "" {
			by = "NOT CAUGHT"
		}
		if f.err != nil || f.caught == "" {
			missed++
		}
		fmt.Fprintf(table, "%s/%s\t%s\t%.1f\t%s\n", f.backend, f.name, f.what, f.took.Seconds(), by)
	}
	table.Flush()
	if verbose {
		for _, f := range faults {
			fmt.Printf("\n--- %s/%s\n%s", f.backend, f.name, f.output)
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d of %d faults were not caught", missed, len(faults))
	}
	fmt.Printf("all %d faults were caught\n", len(faults))
	return nil
}

// list reads the patches that are wanted: all, those of a backend, or by name.
func list(module string, wanted []string) ([]*fault, error) {
	var out []*fault
	for _, backend := range []string{"bolt", "redis"} {
		files, err := filepath.Glob(filepath.Join(module, "linking", "storetest", "faults", backend, "*.patch"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			f := &fault{backend: backend, name: strings.TrimSuffix(filepath.Base(file), ".patch"), patch: file}
			if len(wanted) > 0 && !slices.Contains(wanted, backend) && !slices.Contains(wanted, f.name) && !slices.Contains(wanted, backend+"/"+f.name) {
				continue
			}
			b, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			for n, line := range strings.Split(string(b), "\n") {
				if strings.HasPrefix(line, "--- ") {
					break
				}
				if n == 0 {
					f.what = line
				}
				if tests, ok := strings.CutPrefix(line, "tests: "); ok {
					f.tests = tests
				}
			}
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("there is no such fault")
	}
	return out, nil
}

func tryAll(module, work string, faults []*fault, jobs int) {
	turns := make(chan struct{}, jobs)
	var all sync.WaitGroup
	for _, f := range faults {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			begin := time.Now()
			dir := filepath.Join(work, f.backend+"-"+f.name)
			f.err = f.try(module, dir)
			os.RemoveAll(dir)
			f.took = time.Since(begin)
		})
	}
	all.Wait()
}

// try plants the fault in a copy of the module and runs the tests there.
func (f *fault) try(module, dir string) error {
	if err := copyModule(module, dir); err != nil {
		return err
	}
	if f.patch != "" {
		apply := exec.Command("git", "apply", "-p1", f.patch)
		apply.Dir = dir
		apply.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir)) // the copy is no repository
		if out, err := apply.CombinedOutput(); err != nil {
			return fmt.Errorf("the patch does not fit: %s", bytes.TrimSpace(out))
		}
	}
	pkg := filepath.Join(dir, "linking", f.backend+"store")
	build := exec.Command("go", "test", "-c", "-vet=off", "-o", "tests", ".")
	build.Dir = pkg
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("it does not compile: %s", bytes.TrimSpace(out))
	}
	rounds := [][]string{{"-test.run=^TestConformance"}, {"-test.run=.", "-test.skip=^TestConformance|" + slow}}
	if f.tests != "" {
		rounds = [][]string{{"-test.run=" + f.tests}}
	}
	for _, args := range rounds {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		tests := exec.CommandContext(ctx, "./tests", append(args, "-test.short", "-test.failfast", "-test.timeout=60s")...)
		tests.Dir = pkg
		out, err := tests.CombinedOutput()
		cancel()
		f.output = string(out)
		if err != nil {
			f.caught = failure(f.output)
			return nil
		}
		if bytes.Contains(out, []byte("no tests to run")) {
			return errors.New("there are no such tests: " + f.tests)
		}
	}
	return nil
}

var (
	failed   = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	panicked = regexp.MustCompile(`(?m)^(panic: .*|fatal error: .*|unexpected fault address.*)$`)
	running  = regexp.MustCompile(`(?m)^running tests:\n\s+(\S+)`)
)

// failure names the innermost test that failed, or what ended the tests.
func failure(output string) string {
	name := ""
	for _, m := range failed.FindAllStringSubmatch(output, -1) {
		if strings.HasPrefix(m[1], name) || name == "" {
			name = m[1]
		}
	}
	if m := running.FindStringSubmatch(output); m != nil && name == "" {
		name = m[1] + " (hung)"
	}
	if m := panicked.FindStringSubmatch(output); m != nil && name == "" {
		name = m[1]
	}
	if name == "" {
		name = "the tests ended without saying why"
	}
	return name
}

// copyModule copies what the tests of the stores need.
func copyModule(module, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return err
		}
	}
	return os.CopyFS(filepath.Join(dir, "linking"), os.DirFS(filepath.Join(module, "linking")))
}
