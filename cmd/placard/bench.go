package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/redis/go-redis/v9"

	"placard/bankapi"
	"placard/linking"
	"placard/linking/boltstore"
	"placard/linking/redisstore"
)

// benchCommand measures the gateway beside what it could be at best, in turns within
// one run: machines are noisy, ratios of one run are not.
type benchCommand struct {
	Quick   bool          `help:"Fewer and shorter turns."`
	JSON    bool          `help:"The figures as JSON." name:"json"`
	Redis   string        `help:"Use this Redis instead of starting one; it must be empty and is written to." placeholder:"URL"`
	Codes   int           `help:"How many codes to make." default:"1000"`
	Turns   int           `help:"Turns of each measurement; the median is told." default:"5"`
	Turn    time.Duration `help:"How long a turn takes." default:"2s"`
	Clients int           `help:"Connections that ask at once for scans." default:"64"`
	Tills   int           `help:"Connections that attach at once." default:"16"`
	Only    string        `help:"Measure only what has this in its name." placeholder:"TEXT"`
	Profile string        `help:"Write a CPU profile of it." type:"path" placeholder:"FILE"`
}

func (c *benchCommand) Run(e *env) error {
	if c.Quick {
		c.Turns, c.Turn, c.Codes = min(c.Turns, 3), min(c.Turn, 300*time.Millisecond), min(c.Codes, 200)
	}
	if c.Turns < 1 || c.Codes < 1 || c.Clients < 1 || c.Tills < 1 || c.Turn <= 0 {
		return usageError("--turns, --turn, --codes, --clients and --tills are above zero")
	}
	b := &bench{benchCommand: c, e: e}
	defer b.close()
	if err := b.prepare(); err != nil {
		return err
	}
	if c.Only != "" {
		b.cases = slices.DeleteFunc(b.cases, func(x *benchCase) bool { return !strings.Contains(x.Name, c.Only) })
	}
	if c.Profile != "" {
		f, err := os.Create(c.Profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	figures := b.measure()
	if b.failed.Load() > 0 {
		return fmt.Errorf("%d calls were not answered as they should be: the figures are worth nothing", b.failed.Load())
	}
	if c.JSON {
		return writeJSON(e.out, map[string]any{"machine": machine(), "turns": c.Turns, "turn": c.Turn.String(), "figures": figures})
	}
	b.show(figures)
	return nil
}

type bench struct {
	*benchCommand
	e        *env
	closes   []func()
	cases    []*benchCase
	redisPID int
	failed   atomic.Int64
}

// benchCase is one thing that is measured.
type benchCase struct {
	Name    string
	Clients int
	against string // the case it is compared with

	load *benchLoad                                             // calls over HTTP, made by a process of its own
	do   func(worker int, stop <-chan struct{}) []time.Duration // or calls in this one, until stop

	rates, cpu, redis []float64
	all               []time.Duration
}

// benchLoad is what the process that makes calls is told.
type benchLoad struct {
	Addr    string
	Clients int
	Status  int
	Turn    time.Duration
	PerTill bool // each client sends its own call; otherwise any of them
	Calls   [][]byte
}

// benchTaken is what it tells.
type benchTaken struct {
	Took   []time.Duration
	Failed int
	Spent  time.Duration
}

// benchFigure is what is told of a case.
type benchFigure struct {
	Name      string  `json:"name"`
	Clients   int     `json:"clients"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	CPU       float64 `json:"cpu_us,omitempty"` // of the gateway's process for one call, in microseconds
	RedisCPU  float64 `json:"redis_cpu_us,omitempty"`
	Against   string  `json:"against,omitempty"`
	Ratio     float64 `json:"ratio,omitempty"` // the median of the turns' ratios of throughput
}

func machine() string {
	return fmt.Sprintf("%d CPUs, %s/%s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
}

func (b *bench) close() {
	for _, f := range slices.Backward(b.closes) {
		f()
	}
}

func (b *bench) prepare() error {
	dir, err := os.MkdirTemp("", "placard-bench-")
	if err != nil {
		return err
	}
	b.closes = append(b.closes, func() { os.RemoveAll(dir) })
	redisURL, err := b.redis(dir)
	if err != nil {
		return err
	}
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		return err
	}
	options.PoolSize = 4 * b.Clients
	rdb := redis.NewClient(options)
	b.closes = append(b.closes, func() { rdb.Close() })
	if err := b.bareHandlers(rdb); err != nil {
		return err
	}

	bolt, err := boltstore.Open(filepath.Join(dir, "bench.db"), boltstore.Options{})
	if err != nil {
		return err
	}
	if err := b.gateway("bolt", bolt); err != nil {
		return err
	}
	inRedis, err := redisstore.Open(b.e.ctx, redisURL, redisstore.Options{})
	if err != nil {
		return err
	}
	if err := b.gateway("Redis", inRedis); err != nil {
		return err
	}
	b.commits("the bare commit script", "", redisstore.Bare(rdb))
	b.commits("commit, Redis", "the bare commit script", inRedis.Commit)
	b.commits("commit, bolt", "the bare commit script", bolt.Commit)
	return nil
}

// redis starts a Redis that keeps what it confirms, unless one is given.
func (b *bench) redis(dir string) (string, error) {
	if b.Redis != "" {
		return b.Redis, nil
	}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", errors.New("redis-server is not installed: install it, or name a Redis with --redis")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	port := ln.Addr().(*net.TCPAddr).Port
	ln.Close()
	cmd := exec.Command(path, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--daemonize", "no")
	if err := cmd.Start(); err != nil {
		return "", err
	}
	b.closes = append(b.closes, func() { cmd.Process.Kill(); cmd.Wait() })
	b.redisPID = cmd.Process.Pid
	rdb := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", port)})
	defer rdb.Close()
	for end := time.Now().Add(10 * time.Second); ; {
		if rdb.Ping(b.e.ctx).Err() == nil {
			return fmt.Sprintf("redis://127.0.0.1:%d", port), nil
		}
		if time.Now().After(end) {
			return "", errors.New("redis-server was started and does not answer")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// bareHandlers are what a scan is measured against: Fiber alone, and Fiber with one
// GET of go-redis, answering as many bytes as a scan.
func (b *bench) bareHandlers(rdb *redis.Client) error {
	body := []byte(`{"resolution":"payable","filler":"` + strings.Repeat("x", 600) + `"}`)
	for i := range b.Codes {
		if err := rdb.Set(b.e.ctx, fmt.Sprintf("bench:%06d", i), body, time.Hour).Err(); err != nil {
			return err
		}
	}
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Get("/static", func(c *fiber.Ctx) error { return c.Send(body) })
	app.Get("/get/:n", func(c *fiber.Ctx) error {
		v, err := rdb.Get(c.Context(), "bench:"+c.Params("n")).Bytes()
		if err != nil {
			return err
		}
		return c.Send(v)
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go app.Listener(ln)
	b.closes = append(b.closes, func() { app.Shutdown() })
	at := ln.Addr().String()
	var gets [][]byte
	for i := range b.Codes {
		gets = append(gets, get(at, fmt.Sprintf("/get/%06d", i), ""))
	}
	b.http("a bare Fiber handler", "Fiber with one go-redis GET", at, b.Clients, 200, false, [][]byte{get(at, "/static", "")})
	b.http("Fiber with one go-redis GET", "", at, b.Clients, 200, false, gets)
	return nil
}

func get(host, path, accept string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nAccept: " + accept + "\r\n\r\n")
}

// gateway puts a whole gateway over a store, with codes that show bills of many
// amounts, and measures scans and swaps over HTTP.
func (b *bench) gateway(name string, st store) error {
	bank, err := bankapi.NewSealer(make([]byte, 32))
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	at := ln.Addr().String()
	always := &benchBanks{}
	s, err := newStack(b.e.ctx, st, bank, stackOptions{publicURL: "http://" + at, hooks: hooks{banks: func(linking.Banks) linking.Banks { return always }}}, log)
	if err != nil {
		return err
	}
	if err := s.mount(nil); err != nil {
		return err
	}
	s.start(ln, false)
	b.closes = append(b.closes, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.stop(ctx)
	})
	m, err := s.service.CreateMerchant(b.e.ctx, linking.NewMerchant{Name: "Bench", Currency: "EUR"})
	if err != nil {
		return err
	}
	if _, err := s.service.ConnectBank(b.e.ctx, m.ID, "relay", nil, nil); err != nil {
		return err
	}
	k, key, err := s.service.CreateKey(b.e.ctx, m.ID, linking.NewKey{Role: linking.Owner})
	if err != nil {
		return err
	}
	batch, err := s.service.MakeBatch(b.e.ctx, k.Caller(), linking.NewBatch{Kind: linking.Bill, Count: b.Codes + b.Tills})
	if err != nil {
		return err
	}
	var codes []linking.Token
	if err := s.service.BatchTokens(b.e.ctx, batch, 0, func(_ uint64, t linking.Token) bool { codes = append(codes, t); return true }); err != nil {
		return err
	}
	shown, tills := codes[:b.Codes], codes[b.Codes:]
	var wg sync.WaitGroup
	errs := make(chan error, 16)
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < len(shown); i += 16 {
				_, err := s.service.Attach(b.e.ctx, k.Caller(), linking.AttachCommand{Code: shown[i], Wait: 5 * time.Second, New: &linking.NewRequest{Amount: linking.Amount(100 + i), Reference: "bench"}})
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	scans := func(accept string) (calls [][]byte) {
		for _, t := range shown {
			calls = append(calls, get(at, "/q/"+string(t), accept))
		}
		return calls
	}
	b.http("scan as JSON, "+name, "Fiber with one go-redis GET", at, b.Clients, 200, false, scans("application/json"))
	b.http("scan as a page, "+name, "Fiber with one go-redis GET", at, b.Clients, 200, false, scans("text/html"))
	// A swap as a till makes it, but for the bank: the request is valued later, so that
	// what is measured is ours.
	body := `{"request":{"value_later":true,"reference":"bench"},"replace":true}`
	var swaps [][]byte
	for _, t := range tills {
		swaps = append(swaps, []byte("PUT /v1/codes/"+string(t)+"/link HTTP/1.1\r\nHost: "+at+"\r\nAuthorization: Bearer "+key+
			"\r\nContent-Type: application/json\r\nAccept: application/json\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body))
	}
	b.http("swap over HTTP, "+name, "the bare commit script", at, b.Tills, 200, true, swaps)
	b.flips(name, at, s.service, k.Caller())
	return nil
}

// http measures calls over connections of their own, from a process of its own, so
// that what they cost the caller is not counted as ours.
func (b *bench) http(name, against, addr string, clients, status int, perTill bool, calls [][]byte) {
	b.cases = append(b.cases, &benchCase{Name: name, Clients: clients, against: against,
		load: &benchLoad{addr, clients, status, b.Turn, perTill, calls}})
}

// benchLoadCommand is the process that makes calls.
type benchLoadCommand struct{}

func (benchLoadCommand) Run(e *env) error {
	var l benchLoad
	if err := json.NewDecoder(os.Stdin).Decode(&l); err != nil {
		return err
	}
	want := []byte(fmt.Sprintf("HTTP/1.1 %d", l.Status))
	var failed atomic.Int64
	took := make([][]time.Duration, l.Clients)
	end := time.Now().Add(l.Turn)
	began := time.Now()
	var wg sync.WaitGroup
	for w := range l.Clients {
		wg.Go(func() {
			conn, err := net.Dial("tcp", l.Addr)
			if err != nil {
				failed.Add(1)
				return
			}
			defer conn.Close()
			r := bufio.NewReaderSize(conn, 16<<10)
			for call := l.Calls[w%len(l.Calls)]; ; {
				if !l.PerTill {
					call = l.Calls[rand.IntN(len(l.Calls))]
				}
				at := time.Now()
				if at.After(end) {
					return
				}
				if _, err := conn.Write(call); err != nil || !answered(r, want) {
					failed.Add(1)
					return
				}
				took[w] = append(took[w], time.Since(at))
			}
		})
	}
	wg.Wait()
	out := benchTaken{Failed: int(failed.Load()), Spent: time.Since(began)}
	for _, t := range took {
		out.Took = append(out.Took, t...)
	}
	return writeJSON(e.out, out)
}

func (b *bench) loaded(l *benchLoad) (out benchTaken, err error) {
	self, err := os.Executable()
	if err != nil {
		return out, err
	}
	in, err := json.Marshal(l)
	if err != nil {
		return out, err
	}
	cmd := exec.CommandContext(b.e.ctx, self, "bench-load")
	cmd.Stdin = bytes.NewReader(in)
	answer, err := cmd.Output()
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(answer, &out)
}

// spent is the CPU time of this process and of Redis so far.
func (b *bench) spent() (own, inRedis time.Duration) {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil {
		own = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	if b.redisPID > 0 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.redisPID))
		if _, rest, ok := strings.Cut(string(stat), ") "); err == nil && ok {
			f := strings.Fields(rest) // from the third field on: utime and stime are the 14th and 15th
			user, _ := strconv.ParseInt(f[11], 10, 64)
			system, _ := strconv.ParseInt(f[12], 10, 64)
			inRedis = time.Duration(user+system) * 10 * time.Millisecond // in clock ticks of 1/100 s
		}
	}
	return own, inRedis
}

// answered reads one answer with a Content-Length.
func answered(r *bufio.Reader, want []byte) bool {
	line, err := r.ReadSlice('\n')
	if err != nil || !bytes.HasPrefix(line, want) {
		return false
	}
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return false
		}
		if len(line) <= 2 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("Content-Length")) {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	_, err = io.CopyN(io.Discard, r, int64(length))
	return length >= 0 && err == nil
}

// commits measures commits of the shape that a swap has.
func (b *bench) commits(name, against string, commit func(context.Context, linking.Commit) error) {
	var n atomic.Uint64
	b.cases = append(b.cases, &benchCase{Name: name, Clients: b.Tills, against: against, do: func(worker int, stop <-chan struct{}) (took []time.Duration) {
		for {
			select {
			case <-stop:
				return took
			default:
			}
			c := swapShaped(name, n.Add(1))
			began := time.Now()
			if err := commit(b.e.ctx, c); err != nil {
				b.failed.Add(1)
				return took
			}
			took = append(took, time.Since(began))
		}
	}})
}

// swapShaped is a commit with the records and events of a swap: the code, two
// requests and their links, and what was told of it.
func swapShaped(name string, n uint64) linking.Commit {
	const shard = linking.Shard(17)
	key := func(kind linking.RecordKind) linking.Key {
		return linking.Key{Shard: shard, Kind: kind, ID: fmt.Sprintf("%s %d", name, n)}
	}
	fill := func(n int) []byte { return bytes.Repeat([]byte{'x'}, n) }
	return linking.Commit{
		ID: linking.NewCommitID(), Shard: shard, Log: "bench",
		Checks: []linking.Check{{Key: key("m")}, {Key: key("b")}},
		Writes: []linking.Write{
			{Key: key("c"), Data: fill(110)},
			{Key: key("r"), Data: fill(190), Owner: "bench"},
			{Key: key("o"), Data: fill(210), Owner: "bench"},
			{Key: key("l"), Data: fill(70), Owner: "bench"},
			{Key: key("k"), Data: fill(70), Owner: "bench"},
		},
		Events: [][]byte{fill(130), fill(130), fill(130), fill(130)},
	}
}

// measure takes turns: every case once, then again, so that a slow minute of the
// machine falls on all of them.
func (b *bench) measure() []benchFigure {
	for turn := range b.Turns + 1 { // the first warms up
		for _, c := range b.cases {
			own, inRedis := b.spent()
			rate, took := b.turn(c)
			if turn > 0 && len(took) > 0 {
				c.rates, c.all = append(c.rates, rate), append(c.all, took...)
				own2, inRedis2 := b.spent()
				each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(len(took)) }
				c.cpu, c.redis = append(c.cpu, each(own2-own)), append(c.redis, each(inRedis2-inRedis))
			}
		}
	}
	by := map[string]*benchCase{}
	for _, c := range b.cases {
		by[c.Name] = c
	}
	var figures []benchFigure
	for _, c := range b.cases {
		if len(c.rates) == 0 {
			b.failed.Add(1)
			continue
		}
		slices.Sort(c.all)
		f := benchFigure{Name: c.Name, Clients: c.Clients, PerSecond: median(c.rates), P50: quantile(c.all, 50), P99: quantile(c.all, 99), RedisCPU: median(c.redis)}
		if c.load != nil {
			f.CPU = median(c.cpu)
		}
		if other := by[c.against]; other != nil && len(other.rates) == len(c.rates) {
			var ratios []float64
			for i := range c.rates {
				ratios = append(ratios, c.rates[i]/other.rates[i])
			}
			f.Against, f.Ratio = c.against, median(ratios)
		}
		figures = append(figures, f)
	}
	return figures
}

func (b *bench) turn(c *benchCase) (rate float64, all []time.Duration) {
	if c.load != nil {
		out, err := b.loaded(c.load)
		if err != nil || out.Failed > 0 || out.Spent == 0 {
			b.failed.Add(1)
			return 0, nil
		}
		return float64(len(out.Took)) / out.Spent.Seconds(), out.Took
	}
	stop := make(chan struct{})
	took := make([][]time.Duration, c.Clients)
	var wg sync.WaitGroup
	began := time.Now()
	for w := range c.Clients {
		wg.Go(func() { took[w] = c.do(w, stop) })
	}
	time.Sleep(b.Turn)
	close(stop)
	wg.Wait()
	spent := time.Since(began)
	for _, t := range took {
		all = append(all, t...)
	}
	return float64(len(all)) / spent.Seconds(), all
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// quantile is of sorted durations, in milliseconds.
func quantile(v []time.Duration, percent int) float64 {
	if len(v) == 0 {
		return 0
	}
	return float64(v[min(len(v)-1, len(v)*percent/100)].Microseconds()) / 1000
}

func (b *bench) show(figures []benchFigure) {
	fmt.Fprintf(b.e.out, "%s; %d turns of %s in rotation, medians; Redis with appendfsync always\n\n", machine(), b.Turns, b.Turn)
	w := tabwriter.NewWriter(b.e.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "what\tclients\tper second\tp50 ms\tp99 ms\tCPU µs\tRedis µs\tratio\tto")
	for _, f := range figures {
		ratio := ""
		if f.Against != "" {
			ratio = fmt.Sprintf("%.2f", f.Ratio)
		}
		cpu := ""
		if f.CPU > 0 {
			cpu = fmt.Sprintf("%.1f", f.CPU)
		}
		inRedis := ""
		if f.RedisCPU > 0 && f.Clients > 1 { // one client mostly waits, and Redis' idle time is nobody's
			inRedis = fmt.Sprintf("%.1f", f.RedisCPU)
		}
		fmt.Fprintf(w, "%s\t%d\t%.0f\t%.2f\t%.2f\t%s\t%s\t%s\t%s\n", f.Name, f.Clients, f.PerSecond, f.P50, f.P99, cpu, inRedis, ratio, f.Against)
	}
	w.Flush()
}

// benchBanks is a bank that confirms at once, so that what is measured is ours.
type benchBanks struct {
	linking.Banks
	linking.Bank
}

func (b *benchBanks) Open(*linking.Connection) (linking.Bank, error) { return b, nil }

func (b *benchBanks) Seal(*linking.Connection, map[string]string, map[string]string) error {
	return nil
}

func (b *benchBanks) Abilities(context.Context) (linking.Abilities, error) {
	return linking.Abilities{Currencies: []linking.Currency{"EUR"}, OpenEnded: true, Revise: true, Changed: true}, nil
}

func (b *benchBanks) Put(_ context.Context, ask linking.Ask) (linking.BankState, error) {
	return linking.BankState{ID: ask.ID, Status: linking.BankOpen, Revision: ask.Revision, Money: ask.Money, ExpiresAt: ask.ExpiresAt,
		Way: linking.Way{Kind: linking.Redirect, URL: "https://bank.example/" + string(ask.ID)}}, nil
}
