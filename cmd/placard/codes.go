package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

type codesCommand struct {
	Make codesMake `cmd:"" help:"Make a batch of codes, 1 to 1,000,000."`
	List codesList `cmd:"" help:"List the batches, or write out the codes of one."`
	Mark codesMark `cmd:"" help:"Write into the stock book what became of a batch, a range of it, or the codes of a file."`
}

// batchFacts are what the API says of a batch.
type batchFacts struct {
	ID      string         `json:"id"`
	Kind    string         `json:"kind"`
	Count   int            `json:"count"`
	Done    int            `json:"done"`
	Status  string         `json:"status"`
	Left    int            `json:"left_seconds"`
	Problem string         `json:"problem"`
	Orphans int            `json:"orphans"`
	Label   string         `json:"label_pattern"`
	Book    map[string]int `json:"book"`
	Marked  int            `json:"marked"`
}

type codesMake struct {
	gatewayFlags `embed:""`
	Kind         string `help:"counter, bill or account." enum:"counter,bill,account" default:"bill"`
	Count        int    `help:"How many, if no rows say so." placeholder:"N"`
	Rows         string `help:"CSV with a line for each code; columns label and account, others become metadata." type:"existingfile" placeholder:"FILE"`
	Label        string `help:"Label of each code; {n} is its serial." placeholder:"PATTERN"`
	Outlet       string `help:"The outlet they are for." placeholder:"ID"`
	Rail         string `help:"The bank rail; empty is the merchant's." placeholder:"RAIL"`
	ResolvedBy   string `help:"gateway, or bank: the bank's own payload is printed, at one call to the bank for each code. Empty is as payers of the rail expect." enum:",gateway,bank" default:""`
	Charge       string `help:"immediate or due_date." enum:",immediate,due_date" default:""`
	PerSecond    int    `help:"Calls to the bank, where it resolves the codes." default:"5"`
	Yes          bool   `help:"Begin although the bank will be asked for more than ten minutes."`
	Out          string `help:"Write the codes here as CSV, once they are made." placeholder:"FILE"`
	JSON         bool   `help:"Say the batch as one line of JSON." name:"json"`
}

func (c *codesMake) Run(e *env) (err error) {
	if (c.Count == 0) == (c.Rows == "") {
		return usageError("either --count or --rows says how many codes are made")
	}
	r, err := c.connect(e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	fields := map[string]string{"kind": c.Kind, "label_pattern": c.Label, "outlet": c.Outlet, "rail": c.Rail, "resolved_by": c.ResolvedBy, "charge": c.Charge}
	path, contentType, body := "/v1/codes/batches", "application/json", []byte(nil)
	if c.Rows != "" {
		if body, err = os.ReadFile(c.Rows); err != nil {
			return err
		}
		contentType = "text/csv"
		q := url.Values{"per_second": {strconv.Itoa(c.PerSecond)}}
		for k, v := range fields {
			if v != "" {
				q.Set(k, v)
			}
		}
		path += "?" + q.Encode()
	} else {
		doc := map[string]any{"count": c.Count, "per_second": c.PerSecond}
		for k, v := range fields {
			if v != "" {
				doc[k] = v
			}
		}
		if body, err = json.Marshal(doc); err != nil {
			return err
		}
	}
	ask := func(path string, header ...string) (b batchFacts, err error) {
		answer, err := r.do(e.ctx, "POST", path, contentType, body, header...)
		if err != nil {
			return b, err
		}
		defer answer.Body.Close()
		return b, json.NewDecoder(answer.Body).Decode(&b)
	}
	dry := path + "?dry_run=true"
	if c.Rows != "" {
		dry = path + "&dry_run=true"
	}
	plan, err := ask(dry)
	if err != nil {
		return err
	}
	if plan.Left > 0 {
		took := time.Duration(plan.Left) * time.Second
		fmt.Fprintf(e.notes, "The bank resolves these codes: it is asked once for each of %d, %d times a second, which takes about %s.\n", plan.Count, c.PerSecond, aboutTime(took))
		if took > 10*time.Minute && !c.Yes {
			return usageError("add --yes to begin. The making goes on in the background, also after this command is ended or the gateway is started again")
		}
	}
	b, err := ask(path, "Idempotency-Key", rand.Text())
	if err != nil {
		return err
	}
	if b.Done < b.Count {
		p := newProgress(e, "made", b.Count)
		for b.Done < b.Count {
			p.at(b.Done)
			select {
			case <-time.After(time.Second):
			case <-e.ctx.Done():
				return fmt.Errorf("batch %s has %d of %d codes; the making goes on while a gateway runs", b.ID, b.Done, b.Count)
			}
			was := b.Problem
			if err := r.ask(e.ctx, "GET", "/v1/codes/batches/"+b.ID, nil, &b); err != nil {
				return err
			}
			if b.Problem != "" && b.Problem != was {
				fmt.Fprintf(e.notes, "%s It is tried again every half minute.\n", b.Problem)
			}
		}
		p.at(b.Count)
	}
	if b.Orphans > 0 {
		fmt.Fprintf(e.notes, "The bank may have made up to %d locations that belong to no code; they stay empty.\n", b.Orphans)
	}
	if c.Out != "" {
		if err := r.writeRows(e, b.ID, "csv", c.Out, b.Count); err != nil {
			return fmt.Errorf("batch %s is made, but its codes were not written: %w", b.ID, err)
		}
	}
	if c.JSON {
		return writeJSON(e.out, b)
	}
	fmt.Fprintf(e.out, "batch %s: %d codes\n", b.ID, b.Count)
	return nil
}

// writeRows writes all codes of a batch into a file, or out for "-". The file is there
// with all of them, or not at all.
func (r *remote) writeRows(e *env, batch, format, to string, count int) error {
	answer, err := r.do(e.ctx, "GET", "/v1/codes/batches/"+batch+"/rows?format="+format, "", nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	lines := &lineCounter{}
	body := io.TeeReader(answer.Body, lines)
	want, _ := strconv.Atoi(answer.Header.Get("Placard-Rows"))
	if format == "csv" {
		want++ // its head
	}
	complete := func() error {
		if lines.n < want {
			return fmt.Errorf("%d of %d lines arrived", lines.n, want)
		}
		return nil
	}
	if to == "-" {
		if _, err := io.Copy(e.out, body); err != nil {
			return err
		}
		return complete()
	}
	return writeWhole(to, func(w io.Writer) error {
		if _, err := io.Copy(w, body); err != nil {
			return err
		}
		return complete()
	})
}

type lineCounter struct{ n int }

func (l *lineCounter) Write(b []byte) (int, error) {
	l.n += strings.Count(string(b), "\n")
	return len(b), nil
}

// writeWhole makes a file that is there with all that write wrote, on the disk, or not
// at all.
func writeWhole(name string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".placard-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err = write(f); err == nil {
		err = errors.Join(f.Chmod(0o644), f.Sync()) // others print it
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

type codesList struct {
	gatewayFlags `embed:""`
	Batch        string `help:"Write out the codes of this batch." placeholder:"ID"`
	Book         bool   `help:"Count the codes of each batch by what became of them. It reads all of them."`
	Format       string `help:"csv or ndjson, for the codes of a batch." enum:"csv,ndjson" default:"csv"`
	Out          string `help:"Where to." default:"-" placeholder:"FILE"`
	JSON         bool   `help:"Batches as JSON lines." name:"json"`
}

func (c *codesList) Run(e *env) (err error) {
	r, err := c.connect(e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	if c.Batch != "" {
		var b batchFacts
		if err := r.ask(e.ctx, "GET", "/v1/codes/batches/"+url.PathEscape(c.Batch), nil, &b); err != nil {
			return err
		}
		return r.writeRows(e, b.ID, c.Format, c.Out, b.Done)
	}
	w := tabwriter.NewWriter(e.out, 0, 4, 2, ' ', 0)
	defer w.Flush()
	for after := ""; ; {
		var page struct {
			Data []json.RawMessage `json:"data"`
			Next string            `json:"next"`
		}
		if err := r.ask(e.ctx, "GET", "/v1/codes/batches?limit=500&after="+after, nil, &page); err != nil {
			return err
		}
		for _, doc := range page.Data {
			var b batchFacts
			if err := json.Unmarshal(doc, &b); err != nil {
				return err
			}
			if c.Book {
				if err := r.ask(e.ctx, "GET", "/v1/codes/batches/"+b.ID+"?book", nil, &doc); err != nil {
					return err
				}
				if err := json.Unmarshal(doc, &b); err != nil {
					return err
				}
			}
			if c.JSON {
				if err := writeJSON(e.out, doc); err != nil {
					return err
				}
				continue
			}
			fmt.Fprintf(w, "%s\t%s\t%d of %d\t%s\t%s\n", b.ID, b.Kind, b.Done, b.Count, b.Status, b.Label)
			if c.Book {
				fmt.Fprintf(w, "\tmade %d, printed %d, delivered %d; bound %d, valued %d, paid %d; void %d, lost %d, retired %d, replaced %d\n", b.Book["made"], b.Book["printed"], b.Book["delivered"],
					b.Book["bound"], b.Book["valued"], b.Book["paid"], b.Book["void"], b.Book["lost"], b.Book["retired"], b.Book["replaced"])
			}
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}

type codesMark struct {
	gatewayFlags `embed:""`
	Batch        string `arg:"" help:"The batch's id."`
	Stock        string `help:"made, printed or delivered." enum:",made,printed,delivered" default:""`
	Status       string `help:"void, lost or retired, also for codes that are in use; active takes it back." enum:",active,void,lost,retired" default:""`
	From         int    `help:"First serial, counted from 1." placeholder:"N"`
	To           int    `help:"Last serial." placeholder:"N"`
	File         string `help:"The print shop's return file: a serial, a run of serials (1-500) or a token in each line." type:"existingfile" placeholder:"FILE"`
}

func (c *codesMark) Run(e *env) (err error) {
	if (c.Stock == "") == (c.Status == "") {
		return usageError("either --stock or --status says what became of them")
	}
	body := map[string]any{}
	for k, v := range map[string]string{"stock": c.Stock, "status": c.Status} {
		if v != "" {
			body[k] = v
		}
	}
	for k, v := range map[string]int{"from": c.From, "to": c.To} {
		if v != 0 {
			body[k] = v
		}
	}
	if c.File != "" {
		text, err := os.ReadFile(c.File)
		if err != nil {
			return err
		}
		if len(text) == 0 {
			return usageError("the file is empty: nothing was marked")
		}
		body["file"] = string(text)
	}
	r, err := c.connect(e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	var b batchFacts
	if err := r.ask(e.ctx, "POST", "/v1/codes/batches/"+url.PathEscape(c.Batch)+"/mark", body, &b, "Idempotency-Key", rand.Text()); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "%d codes of batch %s are %s\n", b.Marked, b.ID, c.Stock+c.Status)
	return nil
}
