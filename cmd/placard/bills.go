package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"placard/linking"
)

type billsCommand struct {
	Import billsImport `cmd:"" help:"Take a billing system's CSV: what each bill asks for."`
	Bind   billsBind   `cmd:"" help:"Say which code stands for which account, from a CSV."`
}

// rowsFlags are of a command that sends rows.
type rowsFlags struct {
	gatewayFlags `embed:""`
	File         string `arg:"" help:"The CSV; its first line names the columns." type:"existingfile"`
	Map          string `help:"YAML that says which column is what; see docs/utilities.md. Without it the columns are named as the API names them." type:"existingfile" placeholder:"FILE"`
	DryRun       bool   `help:"Say what would become of each row, and change nothing."`
	From         int    `help:"Begin at this row, counted from 1. Rows that were sent before may be sent again: it only saves time." default:"1" placeholder:"ROW"`
	Fates        string `help:"Write the fate of every row here, as CSV." placeholder:"FILE"`
	JSON         bool   `help:"Say the sums as one line of JSON." name:"json"`
}

type billsImport struct {
	rowsFlags `embed:""`
}

type billsBind struct {
	rowsFlags `embed:""`
}

func (c *billsImport) Run(e *env) error {
	return c.send(e, "/v1/bills/import", []string{
		"account", "code", "amount", "currency", "reference", "issued_at", "expires_at", "arrears", "name", "tax_id", "email", "phone", "address", "note",
	})
}

func (c *billsBind) Run(e *env) error { return c.send(e, "/v1/accounts", []string{"account", "code"}) }

// columnMap says how a file of another system is read.
type columnMap struct {
	Separator string            `yaml:"separator"` // between fields; empty: comma or semicolon, as the first line has it
	Encoding  string            `yaml:"encoding"`  // utf-8 (or empty) or latin1
	Decimal   string            `yaml:"decimal"`   // amounts are written 43,21 or 43.21; empty: whole minor units
	Dates     string            `yaml:"dates"`     // such as DD.MM.YYYY, in the merchant's time zone; empty: RFC 3339
	Columns   map[string]string `yaml:"columns"`   // our field: the file's column
	Constants map[string]string `yaml:"constants"` // our field: what it is in every row
}

func readMap(name string, fields []string) (*columnMap, error) {
	m := &columnMap{}
	if name == "" {
		return m, nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if err := yaml.UnmarshalWithOptions(b, m, yaml.Strict()); err != nil {
		return nil, usageError("the map is not YAML with separator, encoding, decimal, dates, columns and constants")
	}
	for _, field := range slices.Concat(slices.Sorted(maps.Keys(m.Columns)), slices.Sorted(maps.Keys(m.Constants))) {
		if !slices.Contains(fields, field) {
			return nil, usageError(fmt.Sprintf("the map names the field %q; there are %s", field, strings.Join(fields, ", ")))
		}
	}
	switch {
	case len(m.Columns) == 0:
		return nil, usageError("the map has no columns")
	case m.Encoding != "" && m.Encoding != "utf-8" && m.Encoding != "latin1":
		return nil, usageError("the map's encoding is utf-8 or latin1")
	case m.Decimal != "" && m.Decimal != "," && m.Decimal != ".":
		return nil, usageError(`the map's decimal is "," or "."`)
	case len(m.Separator) > 1:
		return nil, usageError("the map's separator is one character")
	}
	if m.Dates != "" {
		m.Dates = strings.NewReplacer("DD", "02", "MM", "01", "YYYY", "2006", "YY", "06").Replace(m.Dates)
	}
	return m, nil
}

// rowsPiece is how many rows go in one call: what a broken line costs.
const rowsPiece = 2000

func (c *rowsFlags) send(e *env, path string, fields []string) (err error) {
	if c.From < 1 {
		return usageError("--from is 1 or more")
	}
	how, err := readMap(c.Map, fields)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	r, err := c.connect(e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	var m struct {
		Currency linking.Currency `json:"currency"`
		TimeZone string           `json:"time_zone"`
	}
	if err := r.ask(e.ctx, "GET", "/v1/merchant", nil, &m); err != nil {
		return err
	}
	rows, err := how.read(text, fields, m.Currency, m.TimeZone)
	if err != nil {
		return err
	}
	if c.From > len(rows) {
		return usageError(fmt.Sprintf("the file has %d rows", len(rows)))
	}
	fates := io.Writer(io.Discard)
	if c.Fates != "" {
		f, err := os.Create(c.Fates)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		fates = f
	}
	path += "?format=ndjson"
	if c.DryRun {
		path += "&dry_run=true"
	}
	s := &sending{e: e, r: r, path: path, counts: map[string]int{}, fates: csv.NewWriter(fates), sent: c.From - 1}
	s.fates.Write([]string{"row", "fate", "why", "detail", "account", "code", "reference"})
	p := newProgress(e, "taken", len(rows))
	for piece := range slices.Chunk(rows[c.From-1:], rowsPiece) {
		err := s.piece(piece)
		s.fates.Flush()
		if err = errors.Join(err, s.fates.Error()); err != nil {
			return fmt.Errorf("%d rows were taken; go on with --from %d, or send all of it again: %w", s.sent-c.From+1, s.sent+1, err)
		}
		p.at(s.sent)
	}
	if c.JSON {
		if err := writeJSON(e.out, map[string]any{"rows": s.sent - c.From + 1, "counts": s.counts, "dry_run": c.DryRun}); err != nil {
			return err
		}
	} else {
		var parts []string
		for _, fate := range slices.Sorted(maps.Keys(s.counts)) {
			parts = append(parts, fmt.Sprintf("%d %s", s.counts[fate], fate))
		}
		would := ""
		if c.DryRun {
			would = " (nothing was changed)"
		}
		fmt.Fprintf(e.out, "%d rows: %s%s\n", s.sent-c.From+1, strings.Join(parts, ", "), would)
	}
	if n := s.counts["refused"]; n > 0 {
		return fmt.Errorf("%d rows were refused", n)
	}
	return nil
}

// sending sends rows, and keeps account of their fates.
type sending struct {
	e      *env
	r      *remote
	path   string
	counts map[string]int
	fates  *csv.Writer
	sent   int // rows with a fate
	told   int // refusals
}

func (s *sending) piece(rows []map[string]any) error {
	var body bytes.Buffer
	for _, row := range rows {
		if err := writeJSON(&body, row); err != nil {
			return err
		}
	}
	answer, err := s.r.do(s.e.ctx, "POST", s.path, "application/x-ndjson", body.Bytes())
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	before := s.sent
	for lines.Scan() {
		var f struct {
			Row                                         int
			Fate, Why, Detail, Account, Code, Reference string
			Complete                                    bool
			Problem                                     *struct{ Detail string }
		}
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			return errors.New("the answer broke off")
		}
		if f.Row == 0 {
			if f.Problem != nil {
				return errors.New(f.Problem.Detail)
			}
			if !f.Complete || s.sent-before != len(rows) {
				break
			}
			return nil
		}
		s.sent++
		s.counts[f.Fate]++
		s.fates.Write([]string{fmt.Sprint(s.sent), f.Fate, f.Why, f.Detail, f.Account, f.Code, f.Reference})
		if f.Fate == "refused" {
			if s.told++; s.told <= 20 {
				fmt.Fprintf(s.e.notes, "row %d is refused: %s (%s)\n", s.sent, f.Detail, f.Why)
			}
			if s.told == 20 {
				fmt.Fprintln(s.e.notes, "further refusals are told in --fates alone")
			}
		}
	}
	return errors.New("the answer broke off")
}

// read makes rows of the API out of a file. A value that cannot be read goes out as it
// stands: the row's fate says what is wrong with it.
func (how *columnMap) read(text []byte, fields []string, currency linking.Currency, timeZone string) ([]map[string]any, error) {
	if how.Encoding == "latin1" {
		wide := make([]rune, len(text))
		for i, b := range text {
			wide[i] = rune(b)
		}
		text = []byte(string(wide))
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	r := csv.NewReader(bytes.NewReader(text))
	first, _, _ := bytes.Cut(text, []byte("\n"))
	switch {
	case how.Separator != "":
		r.Comma = rune(how.Separator[0])
	case bytes.Count(first, []byte(";")) > bytes.Count(first, []byte(",")):
		r.Comma = ';'
	}
	head, err := r.Read()
	if err != nil {
		return nil, errors.New("the first line of the file does not name its columns")
	}
	at := map[string]int{} // our field → where it stands
	for i, name := range head {
		if name = strings.TrimSpace(name); len(how.Columns) == 0 {
			if !slices.Contains(fields, name) {
				return nil, fmt.Errorf("the column %q is none of %s; a map says which column is what", name, strings.Join(fields, ", "))
			}
			at[name] = i
			continue
		}
		for field, column := range how.Columns {
			if column == name {
				at[field] = i
			}
		}
	}
	for field, column := range how.Columns {
		if _, ok := at[field]; !ok {
			return nil, fmt.Errorf("the file has no column %q", column)
		}
	}
	zone, err := time.LoadLocation(timeZone)
	if err != nil {
		zone = time.UTC
	}
	var rows []map[string]any
	for {
		values, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, fmt.Errorf("row %d is no CSV with %d fields, in which quotes go in pairs", len(rows)+1, len(head))
		}
		row := map[string]any{}
		for field, value := range how.Constants {
			row[field] = how.value(field, value, currency, zone)
		}
		for field, i := range at {
			if v := strings.TrimSpace(values[i]); v != "" {
				row[field] = how.value(field, v, currency, zone)
			}
		}
		rows = append(rows, row)
	}
}

func (how *columnMap) value(field, v string, currency linking.Currency, zone *time.Location) any {
	switch field {
	case "amount":
		if how.Decimal != "" {
			if a, ok := currency.ParseWritten(v, how.Decimal[0]); ok {
				return int64(a)
			}
			return v
		}
		var n int64
		if _, err := fmt.Sscanf(v+"|", "%d|", &n); err == nil {
			return n
		}
	case "issued_at", "expires_at":
		if how.Dates == "" {
			return v
		}
		day, err := time.ParseInLocation(how.Dates, v, zone)
		if err != nil {
			return v
		}
		if field == "expires_at" { // the day itself is still good
			day = day.AddDate(0, 0, 1)
		}
		return day.UTC().Format(time.RFC3339)
	}
	return v
}
