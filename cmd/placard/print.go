package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"placard/printing"
)

type printCommand struct {
	Sheet  printSheet  `cmd:"" help:"Print codes onto sheets of labels or paper: PDF, in parts of up to 50 sheets."`
	Label  printLabel  `cmd:"" help:"Print codes on a label printer or a till's printer: ZPL II or ESC/POS, to a file, a device or a port."`
	Proof  printProof  `cmd:"" help:"Read every code back, also after damage, and print nothing."`
	Stocks printStocks `cmd:"" help:"List what can be printed on."`
}

// printFlags say which codes are printed, and how.
type printFlags struct {
	gatewayFlags `embed:""`
	Codes        []string `arg:"" optional:"" help:"Single codes, by what is printed under them."`
	Batch        string   `help:"The codes of this batch." placeholder:"ID"`
	From         int      `help:"First serial of the batch." placeholder:"N"`
	To           int      `help:"Last serial." placeholder:"N"`
	Stock        string   `help:"What is printed on: see placard print stocks." required:""`
	DPI          int      `help:"The printer's resolution: 203, 300 or 600. 0 is usual for the stock." default:"0" name:"dpi"`
	Level        string   `help:"Correction: L, M, Q or H." enum:",L,M,Q,H" default:""`
	ModuleMM     string   `help:"Width of a module in millimetres; else as wide as fits." name:"module-mm" placeholder:"MM"`
	NoCaption    bool     `help:"The symbol alone."`
	Language     string   `help:"Of the label's own sentences: en, pt, de, es or fr."`
	HelpText     string   `help:"For whoever has no phone." placeholder:"TEXT"`
	Logo         bool     `help:"The merchant's logo in the middle of the symbol, at level H."`
	Proof        string   `help:"full: read back as printed and after each kind of damage. read: as printed alone, a third of the time." enum:"full,read" default:"full"`
	Mark         bool     `help:"Write into the stock book that the codes are printed."`
}

func (f *printFlags) body() map[string]any {
	b := map[string]any{"stock": f.Stock, "caption": !f.NoCaption, "logo": f.Logo, "proof": f.Proof, "dpi": f.DPI}
	for k, v := range map[string]string{"level": f.Level, "module_mm": f.ModuleMM, "language": f.Language, "help": f.HelpText} {
		if v != "" {
			b[k] = v
		}
	}
	return b
}

// part is what one call prints.
type part struct {
	no, of   int
	codes    []string
	from, to int // serials of a batch
	sheet    int // its first
	sheets   int // of the whole run
}

func (p part) String() string {
	if p.codes != nil {
		return fmt.Sprintf("%d codes from %s on", len(p.codes), p.codes[0])
	}
	return fmt.Sprintf("№ %d–%d", p.from, p.to)
}

// partSheets is how many sheets one call prints: as much as is lost when it fails.
const partSheets = 50

// parts cuts a job into calls.
func (f *printFlags) parts(e *env, r *remote) ([]part, error) {
	if (f.Batch == "") == (len(f.Codes) == 0) {
		return nil, usageError("either codes or --batch says what is printed")
	}
	var stocks struct {
		Data []struct {
			ID     string `json:"id"`
			Labels int    `json:"labels"`
		} `json:"data"`
	}
	if err := r.ask(e.ctx, "GET", "/v1/print/stocks", nil, &stocks); err != nil {
		return nil, err
	}
	labels := 0
	for _, s := range stocks.Data {
		if strings.EqualFold(s.ID, f.Stock) {
			labels = s.Labels
		}
	}
	if labels == 0 {
		return nil, usageError("there is no stock " + f.Stock + ": see placard print stocks")
	}
	count, first := len(f.Codes), 1
	if f.Batch != "" {
		var b batchFacts
		if err := r.ask(e.ctx, "GET", "/v1/codes/batches/"+url.PathEscape(f.Batch), nil, &b); err != nil {
			return nil, err
		}
		first = max(f.From, 1)
		last := f.To
		if last == 0 {
			last = b.Done
		}
		if count = last - first + 1; count < 1 || last > b.Done {
			return nil, usageError(fmt.Sprintf("the batch has %d codes by now, and --from %d --to %d are not among them", b.Done, first, last))
		}
	}
	each := partSheets * labels
	var list []part
	for at := 0; at < count; at += each {
		p := part{no: len(list) + 1, from: first + at, to: first + min(at+each, count) - 1, sheet: at/labels + 1, sheets: (count + labels - 1) / labels}
		if f.Batch == "" {
			p.codes = f.Codes[at:min(at+each, count)]
		}
		list = append(list, p)
	}
	for i := range list {
		list[i].of = len(list)
	}
	return list, nil
}

// ask prints one part.
func (f *printFlags) ask(e *env, r *remote, path string, p part, more map[string]any) (io.ReadCloser, map[string]string, error) {
	body := f.body()
	for k, v := range more {
		body[k] = v
	}
	body["sheet"], body["of"] = p.sheet, p.sheets
	if p.codes != nil {
		body["codes"] = p.codes
	} else {
		body["batch"], body["from"], body["to"] = f.Batch, p.from, p.to
	}
	doc, err := json.Marshal(body)
	if err != nil {
		return nil, nil, err
	}
	answer, err := r.do(e.ctx, "POST", path, "application/json", doc)
	if err != nil {
		return nil, nil, err
	}
	said := map[string]string{}
	for _, name := range []string{"Codes", "Serials", "Skipped", "Left-Out", "Module-MM"} {
		said[name] = answer.Header.Get("Placard-" + name)
	}
	return answer.Body, said, nil
}

// stopped says what is on paper and what is not, when a run ends early.
func stopped(list []part, at int, whole string, err error) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%v\n", err)
	if at > 0 {
		done := list[0]
		done.to = list[at-1].to
		if done.codes != nil {
			n := 0
			for _, p := range list[:at] {
				n += len(p.codes)
			}
			fmt.Fprintf(&text, "%s: the first %d codes\n", whole, n)
		} else {
			fmt.Fprintf(&text, "%s: %v\n", whole, done)
		}
	}
	rest := list[at]
	rest.to = list[len(list)-1].to
	if rest.codes != nil {
		fmt.Fprintf(&text, "not: the codes from %s on", rest.codes[0])
	} else {
		fmt.Fprintf(&text, "not: %v; go on with --from %d --to %d", rest, rest.from, rest.to)
	}
	return errors.New(text.String())
}

type printSheet struct {
	printFlags `embed:""`
	Title      string `help:"At the foot of each sheet, beside its number and serials." placeholder:"TEXT"`
	Marks      bool   `help:"Marks where to cut on die-cut labels too, to see whether the printer hits them."`
	Ink        string `help:"#rrggbb" placeholder:"COLOUR"`
	Out        string `help:"PDF file; a run of more than one part is numbered: codes-0001.pdf." default:"codes.pdf" placeholder:"FILE"`
}

func (c *printSheet) Run(e *env) (err error) {
	r, err := c.connect(e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	list, err := c.parts(e, r)
	if err != nil {
		return err
	}
	p := newProgress(e, "sheets", list[0].sheets)
	codes, skipped := 0, 0
	for i, one := range list {
		p.at(one.sheet - 1)
		name := c.Out
		if one.of > 1 {
			ext := filepath.Ext(name)
			name = fmt.Sprintf("%s-%04d%s", strings.TrimSuffix(name, ext), one.no, ext)
		}
		more := map[string]any{"marks": c.Marks, "mark": false}
		if c.Title != "" {
			more["title"] = c.Title
		}
		if c.Ink != "" {
			more["ink"] = c.Ink
		}
		body, said, err := c.ask(e, r, "/v1/print/sheets", one, more)
		if err == nil {
			err = writeWhole(name, func(w io.Writer) error {
				_, err := io.Copy(w, body)
				return err
			})
			body.Close()
		}
		if err != nil {
			return stopped(list, i, "printed and whole in their files", err)
		}
		if c.Mark { // only what is in a file by now
			if err := c.markPart(e, r, one, said["Serials"]); err != nil {
				return stopped(list, i+1-min(1, len(list)-i-1), "printed", fmt.Errorf("%v is in its file, but not marked as printed: %w", one, err))
			}
		}
		if i == 0 && said["Left-Out"] != "" {
			fmt.Fprintf(e.notes, "There is no room for: %s.\n", said["Left-Out"])
		}
		codes, skipped = codes+number(said["Codes"]), skipped+number(said["Skipped"])
	}
	p.at(list[0].sheets)
	fmt.Fprintf(e.out, "%d codes in %d files, each read back", codes, len(list))
	if skipped > 0 {
		fmt.Fprintf(e.out, "; %d are out of use and were left out", skipped)
	}
	fmt.Fprintln(e.out)
	return nil
}

func number(s string) (n int) {
	fmt.Sscan(s, &n)
	return n
}

// markPart writes into the stock book that a part is printed; serials are the runs of
// a batch that are in it.
func (f *printFlags) markPart(e *env, r *remote, p part, serials string) error {
	if p.codes == nil {
		var b batchFacts
		return r.ask(e.ctx, "POST", "/v1/codes/batches/"+url.PathEscape(f.Batch)+"/mark", map[string]any{"stock": "printed", "file": strings.ReplaceAll(serials, ",", "\n")}, &b)
	}
	for _, code := range p.codes {
		var v struct{}
		if err := r.ask(e.ctx, "PATCH", "/v1/codes/"+url.PathEscape(code), map[string]any{"stock": "printed"}, &v); err != nil {
			return err
		}
	}
	return nil
}

type printLabel struct {
	printFlags `embed:""`
	Printer    string `help:"What the printer speaks: zpl or escpos." enum:"zpl,escpos" default:"zpl"`
	Native     bool   `help:"Let the printer draw the symbol itself, instead of an image."`
	Out        string `help:"A file, a device such as /dev/usb/lp0, tcp://HOST:9100, or - for standard output." required:"" placeholder:"WHERE"`
}

func (c *printLabel) Run(e *env) (err error) {
	r, err := c.connect(e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	list, err := c.parts(e, r)
	if err != nil {
		return err
	}
	to, err := printer(e, c.Out)
	if err != nil {
		return err
	}
	p := newProgress(e, "labels", list[0].sheets)
	codes := 0
	for i, one := range list {
		p.at(one.sheet - 1)
		body, said, err := c.ask(e, r, "/v1/print/sheets", one, map[string]any{"format": c.Printer, "native": c.Native})
		if err != nil {
			to.Close()
			return stopped(list, i, "sent to the printer", err)
		}
		_, err = io.Copy(to, body)
		body.Close()
		if err == nil && i == len(list)-1 {
			err = to.Close()
		}
		if err != nil {
			return stopped(list, i, "sent to the printer", fmt.Errorf("the printer takes no more: %w\nSome labels of %v may be on paper; void or reprint them", err, one))
		}
		if c.Mark {
			if err := c.markPart(e, r, one, said["Serials"]); err != nil {
				return fmt.Errorf("%v was sent to the printer, but not marked as printed: %w", one, err)
			}
		}
		codes += number(said["Codes"])
	}
	p.at(list[0].sheets)
	if c.Out != "-" {
		fmt.Fprintf(e.out, "%d labels sent\n", codes)
	}
	return nil
}

// printer opens where labels go to.
func printer(e *env, out string) (io.WriteCloser, error) {
	if out == "-" {
		return standardOut{e.out}, nil
	}
	if address, ok := strings.CutPrefix(out, "tcp://"); ok {
		c, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(e.ctx, "tcp", address)
		if err != nil {
			return nil, fmt.Errorf("the printer cannot be reached: %w", err)
		}
		return c, nil
	}
	flag := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	if info, err := os.Stat(out); err == nil && !info.Mode().IsRegular() {
		flag = os.O_WRONLY // a device
	}
	return os.OpenFile(out, flag, 0o644)
}

type standardOut struct{ io.Writer }

func (standardOut) Close() error { return nil }

type printProof struct {
	printFlags `embed:""`
	JSON       bool `help:"The proof of each sheet as a line of JSON." name:"json"`
}

// proofFacts are what the API says of one proved sheet.
type proofFacts struct {
	Hash     string  `json:"sha256"`
	Codes    int     `json:"codes"`
	Read     int     `json:"read"`
	ModuleMM float64 `json:"module_mm"`
	Survived []struct {
		Damage string `json:"damage"`
		Read   int    `json:"read"`
		Of     int    `json:"of"`
	} `json:"survived"`
}

func (c *printProof) Run(e *env) (err error) {
	r, err := c.connect(e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	list, err := c.parts(e, r)
	if err != nil {
		return err
	}
	p := newProgress(e, "sheets", list[0].sheets)
	var total proofFacts
	sheets := 0
	for i, one := range list {
		p.at(one.sheet - 1)
		body, _, err := c.ask(e, r, "/v1/print/proofs", one, nil)
		if err != nil {
			return stopped(list, i, "proved", err)
		}
		var answer struct {
			Sheets []json.RawMessage `json:"sheets"`
		}
		err = json.NewDecoder(body).Decode(&answer)
		body.Close()
		if err != nil {
			return err
		}
		for _, doc := range answer.Sheets {
			var s proofFacts
			if err := json.Unmarshal(doc, &s); err != nil {
				return err
			}
			if c.JSON {
				if err := writeJSON(e.out, doc); err != nil {
					return err
				}
			}
			sheets++
			total.Codes, total.Read = total.Codes+s.Codes, total.Read+s.Read
			if total.Survived == nil {
				total.Survived = s.Survived
				total.ModuleMM = s.ModuleMM
				continue
			}
			for k := range s.Survived {
				total.Survived[k].Read += s.Survived[k].Read
				total.Survived[k].Of += s.Survived[k].Of
			}
		}
	}
	p.at(list[0].sheets)
	if c.JSON {
		return nil
	}
	w := tabwriter.NewWriter(e.out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "sheets\t%d\nmodules\t%.3f mm\nas printed\t%d of %d read\n", sheets, total.ModuleMM, total.Read, total.Codes)
	for _, s := range total.Survived {
		fmt.Fprintf(w, "%s\t%d of %d read\n", s.Damage, s.Read, s.Of)
	}
	return w.Flush()
}

type printStocks struct {
	JSON bool `help:"As JSON." name:"json"`
}

func (c *printStocks) Run(e *env) error {
	if c.JSON {
		return writeJSON(e.out, printing.Stocks)
	}
	w := tabwriter.NewWriter(e.out, 0, 4, 2, ' ', 0)
	for _, s := range printing.Stocks {
		fmt.Fprintf(w, "%s\t%d a sheet\t%d dpi\t%s\n", s.ID, s.Labels(), s.DPI, s.Name)
	}
	return w.Flush()
}
