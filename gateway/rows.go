package gateway

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// Some calls take rows by the ten thousand, from an agent's device or a billing system,
// and say what became of each. They are applied some at a time, and the answer is
// written as they are, so that neither rows nor fates are ever held all at once. Such a
// call needs no Idempotency-Key: rows say by themselves that they are the same, and
// what came through before a line was cut is known when the file is sent again.

const (
	manyRows   = 24 << 20 // bytes of such a body
	rowsAtOnce = 500      // rows that are applied before their fates are written
	maxLine    = 64 << 10 // bytes of one row
	packFrom   = 1 << 20  // bytes from which on a body is packed
)

// rowsMedia are the media types that rows come in.
var rowsMedia = []string{fiber.MIMEApplicationJSON, "application/x-ndjson", "text/csv"}

// mediaTypeOf is bodyOf for a body that the caller reads himself.
func mediaTypeOf(c *fiber.Ctx, types ...string) (string, error) {
	h := &c.Context().Request.Header
	mediaType, params, err := mime.ParseMediaType(string(h.ContentType()))
	if charset, ok := params["charset"]; err != nil || !slices.Contains(types, mediaType) || ok && !strings.EqualFold(charset, "utf-8") {
		return "", &httpFailure{http.StatusUnsupportedMediaType, "unsupported_media_type", "The Content-Type must be " + strings.Join(types, " or ") + ", in UTF-8."}
	}
	if len(h.Peek(fiber.HeaderContentEncoding)) > 0 {
		return "", &httpFailure{http.StatusUnsupportedMediaType, "unsupported_media_type", "The body must be sent as it is, without a Content-Encoding."}
	}
	return mediaType, nil
}

// rowSource reads one row after the other. wrong says what is wrong with one row; err
// that nothing comes after it: io.EOF, or why the rest cannot be read.
type rowSource[R any] func() (row R, wrong error, err error)

// rowsIn takes the rows out of a body. An error says that not even the first can be read.
func rowsIn[R any](body io.Reader, mediaType string) (rowSource[R], error) {
	in := bufio.NewReaderSize(body, maxLine)
	if mark, _ := in.Peek(3); string(mark) == "\xef\xbb\xbf" { // as spreadsheets begin theirs
		in.Discard(3)
	}
	if _, err := in.Peek(1); err != nil {
		return nil, malformed("The body is empty.")
	}
	switch mediaType {
	case "text/csv":
		return rowsInCSV[R](in)
	case "application/x-ndjson":
		return rowsInLines[R](in), nil
	}
	d := json.NewDecoder(in)
	if open, err := d.Token(); err != nil || open != json.Delim('[') {
		return nil, malformed("The body is not a JSON list of rows.")
	}
	return func() (row R, wrong error, err error) {
		if !d.More() {
			if end, err := d.Token(); err != nil || end != json.Delim(']') {
				return row, nil, malformed("The list of rows does not end: the body was cut.")
			}
			return row, nil, io.EOF
		}
		var doc json.RawMessage
		if d.Decode(&doc) != nil {
			return row, nil, malformed("The list of rows is not JSON from here on, or it was cut.")
		}
		return row, decodeJSON(doc, &row), nil
	}, nil
}

// rowsInLines reads a JSON object off each line that is not empty.
func rowsInLines[R any](in *bufio.Reader) rowSource[R] {
	return func() (row R, wrong error, err error) {
		for {
			line, err := in.ReadSlice('\n')
			if errors.Is(err, bufio.ErrBufferFull) {
				for errors.Is(err, bufio.ErrBufferFull) {
					_, err = in.ReadSlice('\n')
				}
				return row, malformed("The line is longer than any row."), nil
			}
			if line = bytes.TrimSpace(line); len(line) > 0 {
				return row, decodeJSON(line, &row), nil
			}
			if err != nil {
				return row, nil, io.EOF
			}
		}
	}
}

// rowsInCSV reads lines whose first names the columns, which are the fields of R that
// are text or numbers. Fields are kept apart by commas or by semicolons, as the first
// line has them; an empty field is one that is not given.
func rowsInCSV[R any](in *bufio.Reader) (rowSource[R], error) {
	first, _ := in.Peek(maxLine)
	first, _, _ = bytes.Cut(first, []byte("\n"))
	r := csv.NewReader(in)
	r.ReuseRecord = true
	if bytes.Count(first, []byte(";")) > bytes.Count(first, []byte(",")) {
		r.Comma = ';'
	}
	head, err := r.Read()
	if err != nil {
		return nil, malformed("The first line of the CSV does not name its columns.")
	}
	head = slices.Clone(head)
	fields := fieldsOf(reflect.TypeFor[R]())
	numbers := make([]bool, len(head))
	for i, name := range head {
		name = strings.TrimSpace(name)
		t, known := fields[name]
		if !known || slices.Contains(head[:i], name) {
			return nil, malformed(fmt.Sprintf("Column %d of the CSV is none of those that there are, or was there before.", i+1))
		}
		switch t.Kind() {
		case reflect.String:
		case reflect.Int64, reflect.Uint64:
			numbers[i] = true
		default:
			if t != timeType {
				return nil, malformed(fmt.Sprintf("Column %d of the CSV cannot be told in one field.", i+1))
			}
		}
		head[i] = name
	}
	var doc []byte
	return func() (row R, wrong error, err error) {
		values, err := r.Read()
		if errors.Is(err, io.EOF) {
			return row, nil, io.EOF
		}
		if err != nil {
			return row, malformed(fmt.Sprintf("The line is no CSV with %d fields, in which quotes go in pairs.", len(head))), nil
		}
		doc = append(doc[:0], '{')
		for i, v := range values {
			if v == "" {
				continue
			}
			if len(doc) > 1 {
				doc = append(doc, ',')
			}
			doc = append(strconv.AppendQuote(doc, head[i]), ':')
			if _, notWhole := strconv.ParseInt(v, 10, 64); numbers[i] && notWhole == nil {
				doc = append(doc, v...)
				continue
			}
			text, err := json.Marshal(v)
			if err != nil {
				return row, malformed("The line holds what is no text."), nil
			}
			doc = append(doc, text...)
		}
		return row, decodeJSON(append(doc, '}'), &row), nil
	}, nil
}

// rowFate is what became of one row. Every such view embeds rowPart.
type rowFate interface{ part() *rowPart }

type rowPart struct {
	Row    int     `json:"row"` // counted from 1
	Fate   string  `json:"fate"`
	Why    *string `json:"why"`
	Detail *string `json:"detail"`
}

func (p *rowPart) part() *rowPart { return p }

func refusedRow(err error) rowPart {
	e := linking.Problem(err)
	why, detail := e.Code, e.Detail
	if len(e.Fields) > 0 {
		why, detail = strings.TrimPrefix(e.Fields[0].Field+"_"+e.Fields[0].Code, "_"), e.Detail
	}
	return rowPart{Fate: string(linking.ReadRefused), Why: orNull(why), Detail: orNull(detail)}
}

// rowWork is a call with many rows of the form R.
type rowWork[R any] struct {
	rows   rowSource[R]
	apply  func(ctx context.Context, rows []R) ([]rowFate, error) // a fate for each row, in their order
	refuse func(part rowPart) rowFate                             // the fate of a row that cannot be read
	last   func(ctx context.Context) (map[string]any, error)      // what else the answer says at its end; may be nil

	read   int
	counts map[string]int
	ended  error // io.EOF when all rows were read
}

// some applies the next rows.
func (w *rowWork[R]) some(ctx context.Context) ([]rowFate, error) {
	fates := make([]rowFate, 0, rowsAtOnce)
	rows, at := make([]R, 0, rowsAtOnce), make([]int, 0, rowsAtOnce)
	for w.ended == nil && len(fates) < rowsAtOnce {
		row, wrong, err := w.rows()
		if err != nil {
			w.ended = err
			break
		}
		if wrong != nil {
			fates = append(fates, w.refuse(refusedRow(wrong)))
		} else {
			rows, at = append(rows, row), append(at, len(fates))
			fates = append(fates, nil)
		}
	}
	if len(rows) > 0 {
		done, err := w.apply(ctx, rows)
		if err != nil {
			return nil, err
		}
		for i, f := range done {
			fates[at[i]] = f
		}
	}
	for _, f := range fates {
		w.read++
		f.part().Row = w.read
		w.counts[f.part().Fate]++
	}
	return fates, nil
}

// answerRows applies all rows and answers with their fates: as one JSON document, or as
// JSON lines, the last of which sums up. Once the answer has begun, what stops the work
// is told at its end: complete is false, and the rows without a fate are to be sent
// again. So is everything if the answer breaks off.
func answerRows[R any](a *api, c *fiber.Ctx, lines bool, w *rowWork[R]) error {
	w.counts = map[string]int{}
	ctx, stop := context.WithTimeout(context.Background(), rowsTime)
	lavish := beFrugal()
	cancel := func() { stop(); lavish() }
	streaming := false
	defer func() {
		if !streaming {
			cancel()
		}
	}()
	fates, err := w.some(ctx)
	if err == nil && w.read == 0 && w.ended != io.EOF {
		err = w.ended
	}
	if err != nil {
		return err
	}
	streaming = true
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	if lines {
		c.Set(fiber.HeaderContentType, "application/x-ndjson")
	}
	id := callOf(c).id
	c.Context().SetBodyStreamWriter(func(out *bufio.Writer) {
		defer cancel()
		err := a.shielded(func() error { return writeFates(ctx, out, lines, fates, w, a.stopping(), id) })
		if err != nil {
			a.log.Warn("not all rows were taken", "request_id", id, "taken", w.read, "err", err)
		}
	})
	return nil
}

// writeFates writes fates, and those of all rows that come after them.
func writeFates[R any](ctx context.Context, out *bufio.Writer, lines bool, fates []rowFate, w *rowWork[R], stopping <-chan struct{}, id string) (err error) {
	enc := json.NewEncoder(out) // each value ends its line
	enc.SetEscapeHTML(false)
	if !lines {
		out.WriteString(`{"data":[`)
	}
	for first := true; ; {
		for _, f := range fates {
			if !lines && !first {
				out.WriteByte(',')
			}
			first = false
			enc.Encode(f)
		}
		if gone := out.Flush(); gone != nil {
			return gone
		}
		if w.ended != nil || err != nil {
			break
		}
		fates = nil
		select {
		case <-stopping:
			err = &linking.Error{Kind: linking.Unavailable, Code: "store_unavailable", Detail: "The gateway is about to stop."}
		default:
			fates, err = w.some(ctx)
		}
	}
	tail := map[string]any{"counts": w.counts, "complete": true, "problem": nil}
	if err == nil && w.last != nil {
		var more map[string]any
		more, err = w.last(ctx)
		maps.Copy(tail, more)
	}
	if err == nil && w.ended != io.EOF {
		err = w.ended
	}
	if err != nil {
		p := newProblem(err)
		tail["complete"], tail["problem"] = false, map[string]any{"code": p.Code, "detail": p.Detail, "request_id": id}
	}
	doc := encode(tail)
	if !lines {
		doc = append([]byte("],"), doc[1:]...)
	}
	out.Write(append(doc, '\n'))
	return errors.Join(err, out.Flush())
}

// frugal is how many calls with large bodies are under way. While there are any, the
// heap may grow to three times what lives, and not to the five times at which the
// program runs fastest: what a bulk of rows leaves behind is gone at once.
var frugal struct {
	sync.Mutex
	calls, before int
}

const frugalPercent = 200

// beFrugal begins such a call; what it returns ends it.
func beFrugal() (end func()) {
	frugal.Lock()
	defer frugal.Unlock()
	if frugal.calls++; frugal.calls == 1 {
		if frugal.before = debug.SetGCPercent(frugalPercent); frugal.before >= 0 && frugal.before < frugalPercent {
			debug.SetGCPercent(frugal.before) // the operator's own word
		}
	}
	return func() {
		frugal.Lock()
		defer frugal.Unlock()
		if frugal.calls--; frugal.calls == 0 {
			debug.SetGCPercent(frugal.before)
		}
	}
}

// rowsCall reads the address and the beginning of a call with rows of the form R. lines
// says that the fates are to be answered as JSON lines; dry, where there is such a
// thing, that nothing is to change.
func rowsCall[R any](c *fiber.Ctx, dry *bool) (rows rowSource[R], lines bool, err error) {
	q := queryOf(c)
	format := q.choice("format", "json", "ndjson")
	lines = format == "ndjson" || format == "" && strings.HasPrefix(c.Get(fiber.HeaderAccept), "application/x-ndjson")
	if dry != nil {
		if flag := q.flag("dry_run"); flag != nil {
			*dry = *flag
		}
	}
	if err := q.err(); err != nil {
		return nil, false, err
	}
	mediaType, err := mediaTypeOf(c, rowsMedia...)
	if err != nil {
		return nil, false, err
	}
	body, err := takeBody(c)
	if err != nil {
		return nil, false, err
	}
	rows, err = rowsIn[R](body, mediaType)
	return rows, lines, err
}

// takeBody takes the body away from the call, which may then outlive its handler. A large
// one is packed until its rows are read, to about a tenth: the collector lets the heap
// grow to a multiple of what lives, and a body would live for as long as its rows take.
func takeBody(c *fiber.Ctx) (io.Reader, error) {
	body := c.Context().Request.SwapBody(nil)
	if len(body) < packFrom {
		return bytes.NewReader(body), nil
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	body = nil
	runtime.GC() // now, while nothing else was allocated on its account
	return flate.NewReader(&packed), nil
}
