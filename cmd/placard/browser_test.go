package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// The pages are tried in a real Chromium, by what a person does. One browser serves
// all tests of the package; each tab has cookies, storage and network of its own.
var chromium = sync.OnceValues(func() (context.Context, error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.WSURLReadTimeout(60*time.Second),
	)
	ctx, shut := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ = chromedp.NewContext(ctx)
	shutChromium = func() {
		chromedp.Cancel(ctx)
		shut()
	}
	return ctx, chromedp.Do(ctx)
})

var shutChromium = func() {}

// tab is a browser's tab as somebody holds it.
type tab struct {
	t    testing.TB
	ctx  context.Context
	dumb bool // its pages run no scripts, and no timers of anybody
	mu   sync.Mutex
	bad  []string // what a script threw, what the page's policy stopped, which dialogs opened
}

// tabOptions say whose tab it is. The zero value is an English phone.
type tabOptions struct {
	width, height int    // 0: 390 × 844
	language      string // of Accept-Language; empty: en
	dark          bool
	noScript      bool
	scale         float64 // 0: 1
	with          *tab    // a tab of the same browser: it shares cookies and storage
}

// openTab opens a tab. Without Chromium the test fails in CI and is skipped elsewhere.
func openTab(t testing.TB, o tabOptions) *tab {
	t.Helper()
	browser, err := chromium()
	if err != nil {
		if os.Getenv("CI") == "1" {
			t.Fatalf("no Chromium: %v", err)
		}
		t.Skipf("SKIPPED, NOTHING OF THE PAGES WAS TRIED: no Chromium: %v", err)
	}
	if o.width == 0 {
		o.width, o.height = 390, 844
	}
	if o.language == "" {
		o.language = "en"
	}
	if o.scale == 0 {
		o.scale = 1
	}
	parent, how := browser, []chromedp.ContextOption{chromedp.WithNewBrowserContext()}
	if o.with != nil {
		parent, how = o.with.ctx, nil
	}
	ctx, cancel := chromedp.NewContext(parent, how...)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx, dumb: o.noScript}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatal(err)
	}
	scheme := "light"
	if o.dark {
		scheme = "dark"
	}
	tell(b, network.Enable, network.EnableParams{})
	tell(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: int64(o.width), Height: int64(o.height), DeviceScaleFactor: o.scale, Mobile: o.width < 700,
	})
	tell(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
	tell(b, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{
		UserAgent:      "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Mobile Safari/537.36",
		AcceptLanguage: o.language,
	})
	tell(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: o.noScript})
	return b
}

// hear is called for each event of the tab; it must not call the browser.
func (b *tab) hear(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := ev.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		b.bad = append(b.bad, "a script threw: "+text)
	case *page.EventJavascriptDialogOpening:
		b.bad = append(b.bad, "a dialog opened: "+e.Message)
		go tellNow(b, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{})
	}
}

// faults are what went wrong in the tab so far.
func (b *tab) faults() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.bad, "; ")
}

// patience is how long a browser on a busy machine may take for one thing.
const patience = 45 * time.Second

// goTo opens an address.
func (b *tab) goTo(url string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		b.t.Fatalf("open %s: %v", url, err)
	}
}

// eval evaluates an expression of JavaScript in a tab, and waits for it if it is a
// promise. It also works where the page's own scripts are off.
func eval[T any](b *tab, js string) T {
	b.t.Helper()
	v, err := evals[T](b, js)
	if err != nil {
		b.t.Fatalf("%.300s: %v", js, err)
	}
	return v
}

func evals[T any](b *tab, js string) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
}

// quoted is a text as JavaScript has it.
func quoted(s string) string {
	b, _ := json.Marshal(s) // a string always can be
	return string(b)
}

// text is what a person reads in the part of the page that a selector names; empty if
// there is none.
func (b *tab) text(selector string) string {
	// While one page makes way for another there is nothing to read.
	s, _ := evals[string](b, fmt.Sprintf(`(document.querySelector(%s) || {}).innerText || ""`, quoted(selector)))
	return s
}

// shows waits until the page shows a text.
func (b *tab) shows(text string) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		got := b.text("body")
		if strings.Contains(got, text) {
			return
		}
		if time.Now().After(deadline) {
			at, _ := evals[string](b, "location.href + ' ' + document.documentElement.outerHTML.slice(0, 300)")
			b.t.Fatalf("the page at %s does not show %q but:\n%s\n%s", at, text, got, b.faults())
		}
	}
}

// lands waits until the tab is at an address that begins so.
func (b *tab) lands(prefix string) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		at, _ := evals[string](b, `document.readyState === "complete" ? location.href : ""`)
		if strings.HasPrefix(at, prefix) {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("the tab is at %s, not at %s", at, prefix)
		}
	}
}

// shoot takes a picture of what is to be seen.
func (b *tab) shoot(path string) {
	b.t.Helper()
	got := tell(b, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatPng})
	if err := os.WriteFile(path, got.Data, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// tell makes the browser do something with a tab.
func tell[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	r, err := tellNow(b, command, params)
	if err != nil {
		b.t.Fatalf("%s: %v", command.Method, err)
	}
	return r
}

func tellNow[P, R any](b *tab, command cdp.Command[P, R], params P) (R, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Call(ctx, command, params)
}

// named finds what a person can see and use by its accessible name, as assistive
// technology tells it: buttons, links, fields and what folds open.
const named = `(name) => {
  const clean = (s) => (s || "").replace(/\s+/g, " ").trim();
  const seen = (e) => { const r = e.getBoundingClientRect(), c = getComputedStyle(e); return r.width > 0 && r.height > 0 && c.visibility === "visible" && !e.disabled; };
  const nameOf = (e) => clean(e.getAttribute("aria-label") || (e.labels && e.labels.length ? [...e.labels].map((l) => l.innerText).join(" ") : e.innerText));
  return [...document.querySelectorAll("button, a[href], summary, input, textarea, select")].filter(seen).find((e) => nameOf(e) === clean(name));
}`

// click clicks what has an accessible name, once it is there.
func (b *tab) click(name string) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		at, err := evals[[]float64](b, fmt.Sprintf(`(async () => {
			const e = (%s)(%s);
			if (!e) return [];
			e.scrollIntoView({block: "center", behavior: "instant"});
			const middle = () => { const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; };
			const before = middle();
			if (!%v) await new Promise((r) => setTimeout(r, 60)); // whoever clicks looks first; what moves is not clicked
			const at = middle(), hit = document.elementFromPoint(...at);
			return at[0] === before[0] && at[1] === before[1] && hit && (e.contains(hit) || hit.contains(e)) ? at : [];
		})()`, named, quoted(name), b.dumb))
		if err == nil && len(at) == 2 {
			ctx, cancel := context.WithTimeout(b.ctx, patience)
			err := chromedp.Do(ctx, chromedp.MouseClickXY(at[0], at[1]))
			cancel()
			if err != nil {
				b.t.Fatalf("click %q: %v", name, err)
			}
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("there is no %q to click in:\n%s\n%s", name, b.text("body"), b.faults())
		}
	}
}

// back goes back in the tab's history.
func (b *tab) back() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.NavigateBack()); err != nil {
		b.t.Fatalf("back: %v", err)
	}
}
