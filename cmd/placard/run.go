package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"

	"placard/gateway"
)

// Exit codes.
const (
	done   = 0
	failed = 1
	misuse = 2
)

// program is the whole command line. Every flag may also stand in the environment
// as PLACARD_… and in the YAML file that --config names.
type program struct {
	Config kong.ConfigFlag `help:"YAML file with flags by name." placeholder:"FILE" env:"PLACARD_CONFIG"`

	Demo      demoCommand      `cmd:"" help:"Try everything in one process, with nothing to install."`
	Serve     serveCommand     `cmd:"" help:"Run the gateway."`
	Bank      bankCommand      `cmd:"" help:"Run the bank simulator alone."`
	Merchants merchantsCommand `cmd:"" help:"Make and list merchants."`
	Staff     staffCommand     `cmd:"" help:"Invite, list and shut out people."`
	Keys      keysCommand      `cmd:"" help:"Make, list and revoke API keys."`
	Codes     codesCommand     `cmd:"" help:"Make codes by the batch, list them, and keep the stock book."`
	Bills     billsCommand     `cmd:"" help:"What a utility's office does by the ten thousand: bind codes to accounts, and import bills."`
	Print     printCommand     `cmd:"" help:"Print codes, each read back before it is."`
	Doctor    doctorCommand    `cmd:"" help:"Look at the configuration, the store, the clock and the public address, and say what to do."`
	Accept    acceptCommand    `cmd:"" name:"accept-rollback" help:"Go on with what the store shows, after a failover lost commits or a copy was restored."`
	Bench     benchCommand     `cmd:"" help:"Measure scans and attaches side by side with bare counterparts."`
	BenchLoad benchLoadCommand `cmd:"" hidden:""`
	Version   versionCommand   `cmd:"" help:"Say which version this is."`
}

// env is what a command has of the world.
type env struct {
	ctx   context.Context
	out   io.Writer // what the command is for
	notes io.Writer // what is said beside it
	log   *slog.Logger
	hooks hooks
}

// run is the program: it returns the exit code.
func run(ctx context.Context, args []string, out, notes io.Writer) int {
	return runWith(ctx, args, out, notes, hooks{})
}

func runWith(ctx context.Context, args []string, out, notes io.Writer, h hooks) (code int) {
	var p program
	exited := -1
	parser, err := kong.New(&p,
		kong.Name("placard"),
		kong.Description("A printed code that always shows the right amount of the right sale."),
		kong.DefaultEnvars("PLACARD"),
		kong.Configuration(readYAML),
		kong.Writers(out, notes),
		kong.Exit(func(c int) { exited = c; panic(exitNow{}) }),
		kong.UsageOnError(),
	)
	if err != nil {
		fmt.Fprintln(notes, "placard:", err)
		return misuse
	}
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(exitNow); !ok {
				panic(p)
			}
			if code = exited; code != done {
				code = misuse
			}
		}
	}()
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(notes, "placard: %v\n\nplacard --help says what there is.\n", err)
		return misuse
	}
	e := &env{ctx: ctx, out: out, notes: notes, hooks: h, log: slog.New(slog.NewTextHandler(notes, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	err = k.Run(e)
	var wrong usageError
	switch {
	case err == nil:
		return done
	case errors.As(err, &wrong):
		fmt.Fprintln(notes, "placard:", err)
		return misuse
	default:
		fmt.Fprintln(notes, "placard:", err)
		return failed
	}
}

type exitNow struct{}

// usageError is a wrong use of the command line that the parser could not see.
type usageError string

func (e usageError) Error() string { return string(e) }

// readYAML reads a file of flags. A key that is no flag is refused, so that a
// misspelt setting never silently does nothing.
func readYAML(r io.Reader) (kong.Resolver, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var values map[string]any
	if err := yaml.Unmarshal(b, &values); err != nil {
		return nil, errors.New("the configuration file is not YAML")
	}
	return &yamlFlags{values}, nil
}

type yamlFlags struct{ values map[string]any }

func (y *yamlFlags) Validate(app *kong.Application) error {
	known := map[string]bool{}
	collect(app.Node, known)
	for name := range y.values {
		if !known[flagName(name)] {
			return fmt.Errorf("the configuration file has %q, which is no flag", name)
		}
	}
	return nil
}

func collect(n *kong.Node, known map[string]bool) {
	for _, f := range n.Flags {
		known[f.Name] = true
	}
	for _, c := range n.Children {
		collect(c, known)
	}
}

func flagName(s string) string { return strings.ReplaceAll(s, "_", "-") }

// Resolve gives way to the environment: whoever starts a process knows better than
// a file that many share. The command line wins over both.
func (y *yamlFlags) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Tag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return nil, nil
		}
	}
	for name, v := range y.values {
		if flagName(name) == flag.Name {
			return v, nil
		}
	}
	return nil, nil
}

type versionCommand struct {
	JSON bool `help:"As JSON." name:"json"`
}

func (c versionCommand) Run(e *env) error {
	b := build()
	if c.JSON {
		return writeJSON(e.out, b)
	}
	fmt.Fprintf(e.out, "placard %s (%s)\n", b.Version, b.Go)
	return nil
}

// version is set by the linker when a release is built.
var version = "0.1.0"

func build() gateway.Build {
	b := gateway.Build{Version: version, Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Commit = s.Value
			}
		}
	}
	return b
}

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
