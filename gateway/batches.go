package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// Limits of what comes and goes by the million.
const (
	rowsBody = 32 << 20 // bytes of a list of rows, or of a print shop's return file
	rowsRead = 2 * time.Minute
	rowsTime = 15 * time.Minute // for all rows of a batch to be taken
)

type batchRow struct {
	Label    string            `json:"label" validate:"omitempty,text,max=100"`
	Account  string            `json:"account" validate:"omitempty,text,max=100"`
	Metadata map[string]string `json:"metadata" validate:"max=20,dive,keys,printable,max=40,endkeys,text,max=500"`
}

type newBatch struct {
	Kind         string            `json:"kind" validate:"required,oneof=counter bill account"`
	Count        int               `json:"count" validate:"min=0,max=1000000"`
	Rows         []batchRow        `json:"rows" validate:"max=1000000,dive"`
	LabelPattern string            `json:"label_pattern" validate:"omitempty,text,max=100"`
	Outlet       string            `json:"outlet" validate:"omitempty,printable,max=40"`
	Metadata     map[string]string `json:"metadata" validate:"max=20,dive,keys,printable,max=40,endkeys,text,max=500"`
	Rail         string            `json:"rail" validate:"omitempty,printable,max=20"`
	ResolvedBy   string            `json:"resolved_by" validate:"omitempty,oneof=gateway bank"`
	Charge       string            `json:"charge" validate:"omitempty,oneof=immediate due_date"`
	PerSecond    int               `json:"per_second" validate:"min=0,max=100"`
}

// makeBatch makes many codes. The body is JSON, or a CSV of rows with everything else
// in the address.
func (a *api) makeBatch(c *fiber.Ctx, who linking.Caller) (any, error) {
	q := queryOf(c)
	dry := q.flag("dry_run")
	var in newBatch
	raw, mediaType, err := bodyOf(c, fiber.MIMEApplicationJSON, "text/csv")
	if err != nil {
		return nil, err
	}
	if mediaType == "text/csv" {
		in.Kind, in.LabelPattern, in.Outlet, in.Rail = q.text("kind", 20), q.text("label_pattern", 100), q.text("outlet", 40), q.text("rail", 20)
		in.ResolvedBy, in.Charge, in.PerSecond = q.text("resolved_by", 20), q.text("charge", 20), int(q.whole("per_second", 0, 1, 100))
	}
	if err := q.err(); err != nil {
		return nil, err
	}
	if mediaType == "text/csv" {
		if in.Rows, err = rowsOfCSV(raw); err == nil {
			err = check(&in)
		}
	} else {
		err = decodeJSON(raw, &in)
	}
	if err != nil {
		return nil, err
	}
	outlet, err := outletOf(in.Outlet)
	if err != nil {
		return nil, err
	}
	n := linking.NewBatch{
		Kind: linking.CodeKind(in.Kind), Count: in.Count, Label: in.LabelPattern, Outlet: outlet, Metadata: in.Metadata, Rail: in.Rail,
		ResolvedBy: linking.ResolvedBy(in.ResolvedBy), Charge: linking.Charge(in.Charge), PerSecond: in.PerSecond,
	}
	for _, r := range in.Rows {
		row := linking.BatchRow{Label: r.Label, Metadata: r.Metadata}
		if r.Account != "" {
			if row.Metadata == nil {
				row.Metadata = map[string]string{}
			}
			row.Metadata["account"] = r.Account
		}
		n.Rows = append(n.Rows, row)
	}
	if dry != nil && *dry {
		b, _, err := a.svc.PlanBatch(c.UserContext(), who, n)
		if err != nil {
			return nil, err
		}
		return &answer{status: http.StatusOK, body: viewBatch(b)}, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.UserContext()), rowsRead)
	defer cancel()
	made := func(b *linking.Batch) *answer {
		return &answer{http.StatusAccepted, viewBatch(b), "", "/v1/codes/batches/" + string(b.ID)}
	}
	if who.Once != nil {
		who.Once.Render = func(v any) linking.Reply { return made(v.(*linking.Batch)).reply() }
	}
	b, err := a.svc.MakeBatch(ctx, who, n)
	if err != nil || who.Once != nil && who.Once.Reply != nil {
		return nil, err
	}
	return made(b), nil
}

// rowsOfCSV reads rows whose first line names the columns: label and account, and
// anything else, which becomes metadata.
func rowsOfCSV(raw []byte) ([]batchRow, error) {
	if err := checkText(raw); err != nil {
		return nil, err
	}
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")))) // as spreadsheets begin theirs
	r.ReuseRecord = true
	head, err := r.Read()
	if err != nil {
		return nil, malformed("The CSV has no line that names its columns, such as: label,account")
	}
	head = slices.Clone(head)
	for i, name := range head {
		head[i] = strings.TrimSpace(name)
		if head[i] == "" || slices.Contains(head[:i], head[i]) {
			return nil, malformed(fmt.Sprintf("Column %d of the CSV has no name, or one that was there before.", i+1))
		}
	}
	if slices.Contains(head, "token") || slices.Contains(head, "payload") || slices.Contains(head, "serial") {
		return nil, malformed("The CSV has tokens already: those are made here. Leave the columns serial, token and payload out.")
	}
	var rows []batchRow
	for {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, malformed(fmt.Sprintf("The CSV is not well-formed after row %d: each line needs %d fields, and quotes go in pairs.", len(rows), len(head)))
		}
		if len(rows) == linking.MaxBatch {
			return nil, invalidFields([]linking.FieldError{{Field: "rows", Code: "too_many", Message: fmt.Sprintf("must be at most %d", linking.MaxBatch)}})
		}
		var row batchRow
		for i, v := range fields {
			switch {
			case v == "":
			case head[i] == "label":
				row.Label = v
			case head[i] == "account":
				row.Account = v
			default:
				if row.Metadata == nil {
					row.Metadata = map[string]string{}
				}
				row.Metadata[head[i]] = v
			}
		}
		rows = append(rows, row)
	}
}

func checkText(raw []byte) error {
	if len(raw) == 0 {
		return malformed("The body is empty.")
	}
	if !bytes.Equal(bytes.ToValidUTF8(raw, nil), raw) {
		return malformed("The body is not valid UTF-8.")
	}
	return nil
}

type markView struct {
	From   uint64              `json:"from"`
	To     uint64              `json:"to"`
	Status *linking.CodeStatus `json:"status"`
	Stock  *linking.Stock      `json:"stock"`
	At     *string             `json:"at"`
	By     *string             `json:"by"`
}

type batchView struct {
	ID         *linking.BatchID   `json:"id"` // null in a dry run
	Kind       linking.CodeKind   `json:"kind"`
	Count      int                `json:"count"`
	Done       int                `json:"done"`
	Status     string             `json:"status"` // planned, making, waiting, done
	Left       int64              `json:"left_seconds"`
	Problem    *string            `json:"problem"`
	Orphans    int                `json:"orphans"`
	Label      string             `json:"label_pattern"`
	Outlet     *linking.OutletID  `json:"outlet"`
	Rail       *string            `json:"rail"`
	ResolvedBy linking.ResolvedBy `json:"resolved_by"`
	Charge     linking.Charge     `json:"charge"`
	Metadata   map[string]string  `json:"metadata"`
	CreatedAt  *string            `json:"created_at"`
	Marks      []markView         `json:"marks"`
	Book       *bookView          `json:"book,omitempty"`
}

type bookView struct {
	Made      int `json:"made"`
	Printed   int `json:"printed"`
	Delivered int `json:"delivered"`
	Bound     int `json:"bound"`
	Valued    int `json:"valued"`
	Paid      int `json:"paid"`
	Active    int `json:"active"`
	Void      int `json:"void"`
	Lost      int `json:"lost"`
	Retired   int `json:"retired"`
	Replaced  int `json:"replaced"`
}

func viewBatch(b *linking.Batch) *batchView {
	v := &batchView{
		ID: orNull(b.ID), Kind: b.Kind, Count: b.Count, Done: b.Made(), Status: "done", Left: int64(math.Ceil(b.Left().Seconds())),
		Label: b.Label, Outlet: orNull(b.Outlet), Rail: orNull(b.Rail), ResolvedBy: b.ResolvedBy, Charge: b.Charge,
		Metadata: mapOf(b.Metadata), CreatedAt: stamp(b.CreatedAt), Marks: []markView{},
	}
	if v.ResolvedBy == "" {
		v.ResolvedBy = linking.ByGateway
	}
	if m := b.Making; m != nil {
		v.Orphans, v.Problem = m.Orphans, orNull(m.Problem)
		switch {
		case m.Done == b.Count:
		case m.Problem != "":
			v.Status = "waiting"
		default:
			v.Status = "making"
		}
	}
	if b.ID == "" {
		v.Status, v.Done = "planned", 0
	}
	for _, r := range b.Ranges {
		v.Marks = append(v.Marks, markView{r.From + 1, r.To + 1, orNull(r.Status), orNull(r.Stock), stamp(r.At), orNull(r.By)})
	}
	return v
}

func batchParam(c *fiber.Ctx) (linking.BatchID, error) {
	s, err := pathParam(c, "batch")
	if err != nil {
		return "", err
	}
	if id, ok := linking.ParseBatchID(s); ok {
		return id, nil
	}
	return "", &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such batch."}
}

func (a *api) listBatches(c *fiber.Ctx, who linking.Caller) error {
	q := queryOf(c)
	limit, after := q.page()
	if err := q.err(); err != nil {
		return err
	}
	list, next, err := a.svc.Batches(c.UserContext(), who, after, limit)
	if err != nil {
		return err
	}
	page := pageView[*batchView]{Data: []*batchView{}, Next: orNull(next)}
	for _, b := range list {
		page.Data = append(page.Data, viewBatch(b))
	}
	return c.JSON(page)
}

// getBatch answers with a batch; with ?book its codes are counted by what became of
// them, for which all of them are read.
func (a *api) getBatch(c *fiber.Ctx, who linking.Caller) error {
	id, err := batchParam(c)
	if err != nil {
		return err
	}
	q := queryOf(c)
	book := q.flag("book")
	if err := q.err(); err != nil {
		return err
	}
	b, err := a.svc.Batch(c.UserContext(), who, id)
	if err != nil {
		return err
	}
	v := viewBatch(b)
	if book != nil && *book {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.UserContext()), rowsRead)
		defer cancel()
		n, err := a.svc.StockBook(ctx, b)
		if err != nil {
			return err
		}
		v.Book = &bookView{n.Made, n.Printed, n.Delivered, n.Bound, n.Valued, n.Paid, n.Active, n.Void, n.Lost, n.Retired, n.Newer}
	}
	return c.JSON(v)
}

// rowView is a code of a batch as the print shop and the office get it.
type rowView struct {
	Serial   uint64             `json:"serial"`
	Token    linking.Token      `json:"token"`
	Payload  string             `json:"payload"`
	Label    string             `json:"label"`
	Account  string             `json:"account"`
	Status   linking.CodeStatus `json:"status"`
	Stock    linking.Stock      `json:"stock"`
	Bound    bool               `json:"bound"`
	Valued   bool               `json:"valued"`
	Paid     bool               `json:"paid"`
	Metadata map[string]string  `json:"metadata"`
}

func (a *api) viewRow(v linking.CodeView) rowView {
	r := rowView{
		Serial: v.Serial.No + 1, Token: v.Token, Payload: a.svc.Payload(v.Code), Label: v.Label, Account: v.Metadata["account"],
		Status: v.StatusNow(), Stock: v.StockNow(), Bound: v.Bound(), Valued: v.Valued(), Paid: v.Paid(), Metadata: map[string]string{},
	}
	for k, value := range v.Metadata {
		if k != "account" {
			r.Metadata[k] = value
		}
	}
	return r
}

// batchRows answers with a batch's codes: a page of them as JSON, or all of them as
// CSV or as JSON lines, which are written as they are read. Placard-Rows says how many
// lines there are to be: whoever has fewer has not got all.
func (a *api) batchRows(c *fiber.Ctx, who linking.Caller) error {
	id, err := batchParam(c)
	if err != nil {
		return err
	}
	q := queryOf(c)
	format := q.choice("format", "json", "csv", "ndjson")
	from, to := q.whole("from", 1, 1, linking.MaxBatch), q.whole("to", linking.MaxBatch, 1, linking.MaxBatch)
	limit, after := q.page()
	if after != "" {
		n, err := strconv.ParseInt(after, 10, 32)
		if err != nil || n < 1 {
			q.wrong("after", "cursor", "is not a cursor of this list")
		}
		from = n + 1
	}
	if err := q.err(); err != nil {
		return err
	}
	b, err := a.svc.Batch(c.UserContext(), who, id)
	if err != nil {
		return err
	}
	if format == "" && strings.HasPrefix(c.Get(fiber.HeaderAccept), "text/csv") {
		format = "csv"
	}
	first, last := uint64(from-1), uint64(min(to, int64(b.Made())))
	if format == "csv" || format == "ndjson" {
		return a.streamRows(c, b, first, max(first, last), format)
	}
	page := pageView[rowView]{Data: []rowView{}}
	if end := first + uint64(limit); end < last {
		next := strconv.FormatUint(end, 10)
		page.Next, last = &next, end
	}
	if err := a.svc.BatchCodes(c.UserContext(), b, first, last, func(v linking.CodeView) error {
		page.Data = append(page.Data, a.viewRow(v))
		return nil
	}); err != nil {
		return err
	}
	return c.JSON(page)
}

func (a *api) streamRows(c *fiber.Ctx, b *linking.Batch, from, to uint64, format string) error {
	id := callOf(c).id
	c.Set("Placard-Rows", strconv.FormatUint(to-from, 10))
	if format == "csv" {
		c.Set(fiber.HeaderContentType, "text/csv; charset=utf-8")
		c.Set(fiber.HeaderContentDisposition, `attachment; filename="batch-`+string(b.ID)+`.csv"`)
	} else {
		c.Set(fiber.HeaderContentType, "application/x-ndjson")
	}
	var columns []string // of the metadata, as the first rows have them
	if format == "csv" {
		if err := a.svc.BatchCodes(c.UserContext(), b, from, min(to, from+200), func(v linking.CodeView) error {
			for k := range v.Metadata {
				if k != "account" && !slices.Contains(columns, k) {
					columns = append(columns, k)
				}
			}
			return nil
		}); err != nil {
			return err
		}
		slices.Sort(columns)
	}
	c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		ctx, cancel := context.WithTimeout(context.Background(), rowsTime)
		defer cancel()
		out, lines := csv.NewWriter(w), json.NewEncoder(w)
		lines.SetEscapeHTML(false)
		if format == "csv" {
			out.Write(append([]string{"serial", "token", "payload", "label", "account", "status", "stock"}, columns...))
		}
		err := a.svc.BatchCodes(ctx, b, from, to, func(v linking.CodeView) error {
			r := a.viewRow(v)
			if format != "csv" {
				return lines.Encode(r)
			}
			fields := []string{strconv.FormatUint(r.Serial, 10), string(r.Token), r.Payload, r.Label, r.Account, string(r.Status), string(r.Stock)}
			for _, k := range columns {
				fields = append(fields, r.Metadata[k])
			}
			return out.Write(fields)
		})
		out.Flush()
		if err = errors.Join(err, out.Error(), w.Flush()); err != nil {
			a.log.Warn("not all rows of a batch were sent", "request_id", id, "batch", string(b.ID), "err", err)
		}
	})
	return nil
}

type batchMark struct {
	Stock  string `json:"stock" validate:"omitempty,oneof=made printed delivered"`
	Status string `json:"status" validate:"omitempty,oneof=active void lost retired"`
	From   uint64 `json:"from" validate:"max=1000000"`
	To     uint64 `json:"to" validate:"max=1000000"`
	File   string `json:"file"`
}

// markBatch says what became of a batch, of a range of its serials, or of the codes
// that a print shop's file lists.
func (a *api) markBatch(c *fiber.Ctx, who linking.Caller) (any, error) {
	id, err := batchParam(c)
	if err != nil {
		return nil, err
	}
	var in batchMark
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	m := linking.MarkBatch{Batch: id, Stock: linking.Stock(in.Stock), Status: linking.CodeStatus(in.Status)}
	switch {
	case in.File != "" && (in.From > 0 || in.To > 0):
		return nil, invalidFields([]linking.FieldError{{Field: "file", Code: "excluded", Message: "cannot be given together with from and to"}})
	case in.File != "":
		if err := readReturned(in.File, &m); err != nil {
			return nil, err
		}
	case in.From > 0 || in.To > 0:
		if in.From == 0 || in.To == 0 || in.From > in.To {
			return nil, invalidFields([]linking.FieldError{{Field: "from", Code: "range", Message: "and to are the first and the last serial, counted from 1; give both"}})
		}
		m.Ranges = []linking.SerialRange{{From: in.From - 1, To: in.To - 1}}
	}
	type marked struct {
		*batchView
		Marked int `json:"marked"`
	}
	shown := func(b *linking.MarkedBatch) *answer {
		return &answer{status: http.StatusOK, body: marked{viewBatch(b.Batch), b.Codes}}
	}
	if who.Once != nil {
		who.Once.Render = func(v any) linking.Reply { return shown(v.(*linking.MarkedBatch)).reply() }
	}
	b, err := a.svc.MarkBatch(c.UserContext(), who, m)
	if err != nil || who.Once != nil && who.Once.Reply != nil {
		return nil, err
	}
	return shown(b), nil
}

// readReturned reads the file that a print shop sends back: a line for each code or
// run of codes, the first field of which is a serial (17), a run of serials (1-500), a
// token, or what was printed. The first line may name the columns.
func readReturned(file string, m *linking.MarkBatch) error {
	wrong := func(line int, message string) error {
		return invalidFields([]linking.FieldError{{Field: "file", Code: "malformed", Message: fmt.Sprintf("has something in line %d that %s", line, message)}})
	}
	m.Ranges, m.Listed = []linking.SerialRange{}, []linking.Token{}
	line := 0
	for text := range strings.Lines(strings.TrimPrefix(file, "\ufeff")) {
		line++
		field, _, _ := strings.Cut(strings.TrimSpace(text), ",")
		field, _, _ = strings.Cut(field, ";")
		field, _, _ = strings.Cut(field, "\t")
		field = strings.Trim(strings.TrimSpace(field), `"`)
		switch {
		case field == "", line == 1 && (strings.EqualFold(field, "serial") || strings.EqualFold(field, "token") || strings.EqualFold(field, "payload")):
			continue
		}
		if i := strings.LastIndexAny(field, "/"); i >= 0 {
			field = field[i+1:]
		}
		if t, ok := linking.ParseToken(field); ok {
			m.Listed = append(m.Listed, t)
			continue
		}
		first, last, run := strings.Cut(field, "-")
		from, err := strconv.ParseUint(first, 10, 32)
		to := from
		if run && err == nil {
			to, err = strconv.ParseUint(last, 10, 32)
		}
		if err != nil || from == 0 || to < from {
			return wrong(line, "is neither a serial, nor a run of serials such as 1-500, nor a token")
		}
		m.Ranges = append(m.Ranges, linking.SerialRange{From: from - 1, To: to - 1})
	}
	return nil
}
