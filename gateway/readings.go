package gateway

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// readingRow is a row of an agent's device or of the office. What is wrong with a
// value is the row's fate: the domain says it.
type readingRow struct {
	Code       string    `json:"code" validate:"required"`
	Amount     int64     `json:"amount"`
	Currency   string    `json:"currency" validate:"omitempty,currency"`
	Account    string    `json:"account"`
	Meter      string    `json:"meter"`
	Reading    string    `json:"reading"`
	Unit       string    `json:"unit"`
	Reference  string    `json:"reference"`
	RecordedAt time.Time `json:"recorded_at" validate:"required"`
	Device     string    `json:"device" validate:"required"`
	Sequence   uint64    `json:"sequence" validate:"required"`
}

func (r *readingRow) row() linking.ReadingRow {
	return linking.ReadingRow{
		Code: r.Code, Amount: linking.Amount(r.Amount), Currency: linking.Currency(r.Currency), Account: r.Account, Meter: r.Meter,
		Reading: r.Reading, Unit: r.Unit, Reference: r.Reference, RecordedAt: r.RecordedAt, Device: r.Device, Sequence: r.Sequence,
	}
}

type readingFateView struct {
	rowPart
	Code       *linking.Token     `json:"code"`
	Device     *string            `json:"device"`
	Sequence   uint64             `json:"sequence"`
	Reading    *linking.ReadingID `json:"reading"`
	Request    *linking.RequestID `json:"request"`
	Difference int64              `json:"difference"` // of an adjustment: the row's amount less what the bill asked for
	Cut        bool               `json:"cut"`        // the device's clock was ahead; the time of arrival counts
}

type gapView struct {
	Device string `json:"device"`
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
}

func viewGaps(gaps []linking.Gap) []gapView {
	list := make([]gapView, len(gaps))
	for i, g := range gaps {
		list[i] = gapView(g)
	}
	return list
}

// postReadings takes rows by the ten thousand; see rowWork. At its end the answer names
// the numbers of these devices that have not come.
func (a *api) postReadings(c *fiber.Ctx, who linking.Caller) error {
	source, lines, err := rowsCall[readingRow](c, nil)
	if err != nil {
		return err
	}
	devices := map[string]bool{}
	return answerRows(a, c, lines, &rowWork[readingRow]{
		rows:   source,
		refuse: func(p rowPart) rowFate { return &readingFateView{rowPart: p} },
		apply: func(ctx context.Context, in []readingRow) ([]rowFate, error) {
			rows := make([]linking.ReadingRow, len(in))
			for i := range in {
				rows[i] = in[i].row()
			}
			fates, err := a.svc.Readings(ctx, who, rows)
			if err != nil {
				return nil, err
			}
			views := make([]rowFate, len(fates))
			for i, f := range fates {
				if f.Reading != "" && len(devices) < maxDevices {
					devices[f.Device] = true
				}
				views[i] = &readingFateView{
					rowPart{Fate: string(f.Fate), Why: orNull(f.Why), Detail: orNull(f.Detail)}, orNull(f.Code), orNull(f.Device),
					f.Sequence, orNull(f.Reading), orNull(f.Request), int64(f.Difference), f.Cut,
				}
			}
			return views, nil
		},
		last: func(ctx context.Context) (map[string]any, error) {
			gaps := []gapView{}
			for _, device := range slices.Sorted(maps.Keys(devices)) {
				list, err := a.svc.Gaps(ctx, who, device)
				if err != nil {
					return nil, err
				}
				gaps = append(gaps, viewGaps(list[:min(len(list), maxGaps)])...)
			}
			return map[string]any{"gaps": gaps}, nil
		},
	})
}

const (
	maxDevices = 1000 // whose gaps one answer names
	maxGaps    = 100  // of one device
)

type readingView struct {
	ID         linking.ReadingID  `json:"id"`
	Code       linking.Token      `json:"code"`
	Fate       linking.FateKind   `json:"fate"`
	Why        *string            `json:"why"`
	Amount     *int64             `json:"amount"`
	Currency   *linking.Currency  `json:"currency"`
	Account    *string            `json:"account"`
	Meter      *string            `json:"meter"`
	Reading    *string            `json:"reading"`
	Unit       *string            `json:"unit"`
	Reference  *string            `json:"reference"`
	RecordedAt *string            `json:"recorded_at"`
	ArrivedAt  *string            `json:"arrived_at"`
	Cut        bool               `json:"cut"`
	Device     string             `json:"device"`
	Sequence   uint64             `json:"sequence"`
	Office     bool               `json:"office"` // by somebody who is no agent
	By         *string            `json:"by"`
	Request    *linking.RequestID `json:"request"`
	Difference int64              `json:"difference"`
	DecidedBy  *string            `json:"decided_by"`
	DecidedAt  *string            `json:"decided_at"`
}

func viewReading(r *linking.Reading) *readingView {
	v := &readingView{
		ID: r.ID, Code: r.Code, Fate: r.Fate, Why: orNull(r.Why), Currency: orNull(r.Currency), Account: orNull(r.Account), Meter: orNull(r.Meter),
		Reading: orNull(r.Reading), Unit: orNull(r.Unit), Reference: orNull(r.Reference), RecordedAt: stamp(r.RecordedAt), ArrivedAt: stamp(r.ArrivedAt),
		Cut: r.RecordedAt.Before(r.SaidAt), Device: r.Device, Sequence: r.Sequence, Office: r.Office, By: orNull(r.By),
		Request: orNull(r.Request), Difference: int64(r.Difference), DecidedBy: orNull(r.DecidedBy), DecidedAt: stamp(r.DecidedAt),
	}
	if r.Amount > 0 {
		amount := int64(r.Amount)
		v.Amount = &amount
	}
	return v
}

// readingColumns are what a billing system reads a meter's readings by.
var readingColumns = []string{"id", "code", "account", "meter", "reading", "unit", "amount", "currency", "reference", "recorded_at", "arrived_at", "device", "sequence", "fate", "why"}

func (v *readingView) fields() []string {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	amount, currency := "", ""
	if v.Amount != nil {
		amount = strconv.FormatInt(*v.Amount, 10)
	}
	if v.Currency != nil {
		currency = string(*v.Currency)
	}
	return []string{
		string(v.ID), string(v.Code), text(v.Account), text(v.Meter), text(v.Reading), text(v.Unit), amount, currency, text(v.Reference),
		text(v.RecordedAt), text(v.ArrivedAt), v.Device, strconv.FormatUint(v.Sequence, 10), string(v.Fate), text(v.Why),
	}
}

// listReadings answers with a page of readings as JSON, or with all of them as CSV or
// JSON lines, for the billing system that values them.
func (a *api) listReadings(c *fiber.Ctx, who linking.Caller) error {
	q := queryOf(c)
	limit, after := q.page()
	f := linking.ReadingList{
		Fate: linking.FateKind(q.choice("state", "recorded", "held", "valued", "adjustment", "superseded", "duplicate", "rejected")),
		From: q.moment("from"), To: q.moment("to"), After: after, Limit: limit,
	}
	format := q.choice("format", "json", "csv", "ndjson")
	if after != "" && !linking.IsReadingCursor(after) {
		q.wrong("after", "cursor", "is not a cursor of this list")
	}
	if err := q.err(); err != nil {
		return err
	}
	if format == "" && strings.HasPrefix(c.Get(fiber.HeaderAccept), "text/csv") {
		format = "csv"
	}
	if format == "csv" || format == "ndjson" {
		return a.streamReadings(c, who, f, format)
	}
	list, next, err := a.svc.ListReadings(c.UserContext(), who, f)
	if err != nil {
		return err
	}
	page := pageView[*readingView]{Data: []*readingView{}, Next: orNull(next)}
	for _, r := range list {
		page.Data = append(page.Data, viewReading(r))
	}
	return c.JSON(page)
}

// streamReadings writes readings as they are read. Placard-Rows says how many lines
// there are to be at least: whoever has fewer has not got all.
func (a *api) streamReadings(c *fiber.Ctx, who linking.Caller, f linking.ReadingList, format string) error {
	id := callOf(c).id
	f.After = ""
	ctx, cancel := context.WithTimeout(context.Background(), rowsTime)
	n := 0
	if err := a.svc.EachReading(ctx, who, f, func(*linking.Reading) (bool, error) { n++; return true, nil }); err != nil {
		cancel()
		return err
	}
	c.Set("Placard-Rows", strconv.Itoa(n))
	if format == "csv" {
		c.Set(fiber.HeaderContentType, "text/csv; charset=utf-8")
		c.Set(fiber.HeaderContentDisposition, `attachment; filename="readings.csv"`)
	} else {
		c.Set(fiber.HeaderContentType, "application/x-ndjson")
	}
	c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		defer cancel()
		err := a.shielded(func() error {
			out, lines := csv.NewWriter(w), json.NewEncoder(w)
			lines.SetEscapeHTML(false)
			if format == "csv" {
				out.Write(readingColumns)
			}
			err := a.svc.EachReading(ctx, who, f, func(r *linking.Reading) (bool, error) {
				if v := viewReading(r); format == "csv" {
					return true, out.Write(v.fields())
				} else {
					return true, lines.Encode(v)
				}
			})
			out.Flush()
			return errors.Join(err, out.Error(), w.Flush())
		})
		if err != nil {
			a.log.Warn("not all readings were sent", "request_id", id, "err", err)
		}
	})
	return nil
}

func (a *api) readingGaps(c *fiber.Ctx, who linking.Caller) error {
	q := queryOf(c)
	device := q.text("device", 32)
	if device == "" {
		q.wrong("device", "required", "is required")
	}
	if err := q.err(); err != nil {
		return err
	}
	gaps, err := a.svc.Gaps(c.UserContext(), who, device)
	if err != nil {
		return err
	}
	return c.JSON(pageView[gapView]{Data: viewGaps(gaps)})
}

func (a *api) approveReading(c *fiber.Ctx, who linking.Caller) (any, error) {
	return a.decideReading(c, who, true)
}

func (a *api) rejectReading(c *fiber.Ctx, who linking.Caller) (any, error) {
	return a.decideReading(c, who, false)
}

func (a *api) decideReading(c *fiber.Ctx, who linking.Caller, approve bool) (any, error) {
	s, err := pathParam(c, "reading")
	if err != nil {
		return nil, err
	}
	id, ok := linking.ParseReadingID(s)
	if !ok {
		return nil, &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such reading."}
	}
	if err := decodeIfAny(c, &struct{}{}); err != nil {
		return nil, err
	}
	r, err := a.svc.DecideReading(c.UserContext(), who, id, approve)
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, body: viewReading(r)}, nil
}
