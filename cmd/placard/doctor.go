package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"placard/printing"
)

type doctorCommand struct {
	storeFlags `embed:""`
	PublicURL  string `help:"Where payers reach the gateway: https://HOST." placeholder:"URL" required:""`
	APIKey     string `help:"Key of an owner or manager: the merchant's banks are looked at too, through the gateway. PLACARD_API_KEY keeps it out of the process list." placeholder:"plc_…"`
	TryBank    bool   `help:"Have each bank make, show and cancel a payment request for the smallest amount."`
	JSON       bool   `help:"As JSON lines." name:"json"`
}

// finding is what the doctor says of one thing.
type finding struct {
	What  string `json:"what"`
	State string `json:"state"` // ok, note: worth knowing, wrong
	Says  string `json:"says"`
	Do    string `json:"do,omitempty"`
}

// checkup collects findings.
type checkup struct{ list []finding }

func (c *checkup) ok(what, says string, a ...any) {
	c.list = append(c.list, finding{what, "ok", fmt.Sprintf(says, a...), ""})
}
func (c *checkup) note(what, do, says string, a ...any) {
	c.list = append(c.list, finding{what, "note", fmt.Sprintf(says, a...), do})
}
func (c *checkup) wrong(what, do, says string, a ...any) {
	c.list = append(c.list, finding{what, "wrong", fmt.Sprintf(says, a...), do})
}

func (c *doctorCommand) Run(e *env) error {
	var all checkup
	u, err := publicOrigin(c.PublicURL)
	if err != nil {
		all.wrong("public address", "Give the origin that is printed in the codes.", "%v", err)
	} else {
		all.address(u)
		all.gateway(e.ctx, u)
		if c.APIKey != "" {
			all.banks(e.ctx, &remote{base: u.String(), key: c.APIKey, web: &http.Client{}}, c.TryBank)
		}
	}
	all.clock()
	all.store(e.ctx, &c.storeFlags)

	bad := 0
	for _, f := range all.list {
		if f.State == "wrong" {
			bad++
		}
		if c.JSON {
			if err := writeJSON(e.out, f); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(e.out, "%-6s %s: %s\n", f.State, f.What, f.Says)
		if f.Do != "" {
			fmt.Fprintf(e.out, "       %s\n", f.Do)
		}
	}
	if bad > 0 {
		return fmt.Errorf("things that are wrong: %d", bad)
	}
	return nil
}

// address says what the public address costs on paper: each further version of the
// symbol takes wider labels or finer printers.
func (c *checkup) address(u *url.URL) {
	host := len(u.Host)
	var versions []string
	for level := printing.M; level <= printing.H; level++ {
		v := printing.URLVersion(host, level)
		versions = append(versions, fmt.Sprintf("%v at level %v", v, level))
	}
	v := printing.URLVersion(host, printing.M)
	modules := 17 + 4*v
	side := float64(modules+2*printing.Quiet) * 0.5
	says := fmt.Sprintf("%s has %d characters: the codes are QR version %s; at level M %d × %d modules, which is %.0f mm a side with its white rim at 0.5 mm a module (203 dpi)", u.Host, host, strings.Join(versions, ", "), modules, modules, math.Ceil(side))
	shorter := host
	for shorter > 0 && printing.URLVersion(shorter, printing.M) == v {
		shorter--
	}
	switch {
	case u.Scheme != "https":
		c.note("public address", "For payers it has to be https://.", "%s", says)
	case v > 4:
		c.note("public address", fmt.Sprintf("A host of %d characters or fewer prints a version smaller. It cannot be changed once codes are printed.", shorter), "%s", says)
	default:
		c.ok("public address", "%s", says)
	}
}

// gateway asks the public address whether a gateway is there, and what time it has.
func (c *checkup) gateway(ctx context.Context, u *url.URL) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String()+"/readyz", nil)
	if err != nil {
		c.wrong("gateway", "Correct the public address.", "the address cannot be asked")
		return
	}
	sent := time.Now()
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		c.note("gateway", "If a gateway is to run by now: look at DNS, the proxy and the certificate.", "nothing answers at %s", u)
		return
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	switch {
	case !strings.Contains(string(body), `"store"`):
		c.wrong("gateway", "See where the proxy sends this address.", "something else than a gateway answers at %s", u)
	case answer.StatusCode != http.StatusOK:
		c.wrong("gateway", "Its log says why.", "the gateway at %s says that it is not ready", u)
	default:
		c.ok("gateway", "a gateway answers at %s", u)
	}
	if there, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		here := sent.Add(time.Since(sent) / 2)
		if off := here.Sub(there); off > 3*time.Second || off < -3*time.Second {
			c.wrong("clock", "Have both keep time by NTP: requests expire by the clock.", "this machine and the gateway differ by %v", off.Round(time.Second))
		}
	}
}

// banks looks at a merchant's bank connections as the gateway sees them.
func (c *checkup) banks(ctx context.Context, r *remote, try bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	found := false
	for _, rail := range slices.Sorted(maps.Keys(rails(railFlags{}))) {
		var there struct {
			Breakers []struct{ Class, State string }
		}
		path := "/v1/bank-connections/" + rail
		err := r.ask(ctx, http.MethodGet, path, nil, &there)
		if p, ok := errors.AsType[*refusal](err); ok && p.Status == http.StatusNotFound {
			continue
		}
		found = true
		if err != nil {
			c.wrong("bank", "See that the gateway answers, and whose key this is.", "%s: %v", rail, err)
			continue
		}
		var open []string
		for _, b := range there.Breakers {
			if b.State != "closed" {
				open = append(open, b.Class+" "+b.State)
			}
		}
		if len(open) > 0 {
			c.wrong("bank", "It is asked again by itself; payments wait until it answers.", "%s: is not being asked: %s", rail, strings.Join(open, ", "))
			continue
		}
		if !try {
			c.ok("bank", "%s: is connected, and no breaker is open; --try-bank has it make a request", rail)
			continue
		}
		var tried struct {
			Steps []struct {
				Step, Detail string
				OK           bool
			}
		}
		if err := r.ask(ctx, http.MethodPost, path+"/check", struct{}{}, &tried); err != nil {
			c.wrong("bank", "Trying a bank takes an owner's key.", "%s: %v", rail, err)
			continue
		}
		refused, steps := "", []string{}
		for _, s := range tried.Steps {
			steps = append(steps, s.Step)
			if !s.OK && refused == "" {
				refused = s.Step + ": " + s.Detail
			}
		}
		if refused != "" {
			c.wrong("bank", "docs/banks.md says what each step needs.", "%s: refuses %s", rail, refused)
		} else {
			c.ok("bank", "%s: answers at every step: %s", rail, strings.Join(steps, ", "))
		}
	}
	if !found {
		c.note("bank", "PUT /v1/bank-connections/{rail} connects one.", "this merchant has none: nothing can be paid")
	}
}

func (c *checkup) clock() {
	const do = "Run an NTP client such as chrony: requests expire by the clock, and Pix signs with it."
	switch kept, known := clockKept(); {
	case time.Now().Year() < 2025:
		c.wrong("clock", do, "it says %s", time.Now().UTC().Format(time.RFC3339))
	case known && !kept:
		c.note("clock", do, "the system does not know it to be right (no NTP); it says %s", time.Now().UTC().Format(time.RFC3339))
	case known:
		c.ok("clock", "kept by NTP; it says %s", time.Now().UTC().Format(time.RFC3339))
	default:
		c.note("clock", do, "it says %s; whether it is kept cannot be seen on this system", time.Now().UTC().Format(time.RFC3339))
	}
}

func (c *checkup) store(ctx context.Context, f *storeFlags) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if path, ok := strings.CutPrefix(f.Store, "bolt:"); ok {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) { // looking makes none
			c.note("store", "placard merchants add makes it. If there was one, give its path.", "there is none at %s", path)
			return
		}
	}
	st, _, err := f.open(ctx, slog.New(slog.DiscardHandler))
	var usage usageError
	switch {
	case errors.As(err, &usage):
		c.wrong("store", "See placard serve --help.", "%v", err)
		return
	case err != nil:
		c.wrong("store", "If a gateway runs over this bolt file, that is as it should be: stop it to have the file looked at.", "%v", err)
		return
	}
	defer st.Close()
	h := st.Health(ctx)
	switch {
	case !h.Ready:
		c.wrong("store", "It is not served until that is put right.", "%s: %s", h.Backend, h.Problem)
	case len(h.Lost) > 0:
		c.wrong("store", "Compare with the bank's list of payments, then run placard accept-rollback.", "%s: %d shards went back in time", h.Backend, len(h.Lost))
	default:
		c.ok("store", "%s, ready", h.Backend)
	}
	for _, w := range h.Warnings {
		c.note("store", "Change the setting, or accept what it can lose.", "%s", w)
	}
	if h.Unsafe {
		c.note("store", "Its books are only as good as that.", "it was once allowed to start with settings that can lose confirmed payments")
	}
}
