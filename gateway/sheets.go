package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
	"placard/printing"
)

// Limits of one print job. What is longer is printed in parts, by from and to: a part
// is in memory as a whole, and either all of it is answered or nothing.
const (
	maxSheets = 100
	printTime = 3 * time.Minute
	printBody = 512 << 10 // bytes: 10,000 codes by name
	maxLogo   = 2000      // pixels a side
)

// printJob is what POST /v1/print/sheets takes: the codes, and how they are printed.
type printJob struct {
	Codes    []string `json:"codes" validate:"max=10000,dive,max=60"`
	Batch    string   `json:"batch" validate:"omitempty,max=40"`
	From     uint64   `json:"from" validate:"max=1000000"`
	To       uint64   `json:"to" validate:"max=1000000"`
	Sheet    int      `json:"sheet" validate:"min=0,max=1000000"` // number of the first sheet, where a run is printed in parts
	Of       int      `json:"of" validate:"min=0,max=1000000"`    // sheets of the whole run
	Format   string   `json:"format" validate:"omitempty,oneof=pdf png zpl escpos"`
	Title    string   `json:"title" validate:"omitempty,text,max=100"`
	Stock    string   `json:"stock" validate:"required,printable,max=40"`
	DPI      int      `json:"dpi" validate:"min=0,max=10000"`
	Level    string   `json:"level" validate:"omitempty,oneof=L M Q H"`
	ModuleMM string   `json:"module_mm" validate:"omitempty,decimal=3"`
	Caption  *bool    `json:"caption"`
	Language string   `json:"language" validate:"omitempty,printable,max=20"`
	Help     string   `json:"help" validate:"omitempty,text,max=100"`
	Ink      string   `json:"ink" validate:"omitempty,printable,max=7"`
	Ground   string   `json:"ground" validate:"omitempty,printable,max=7"`
	Logo     bool     `json:"logo"`
	Native   bool     `json:"native"`
	Marks    bool     `json:"marks"`
	Proof    string   `json:"proof" validate:"omitempty,oneof=read full"`
	Mark     bool     `json:"mark"` // once all is proved, the codes are marked as printed
}

// printed is a job that was drawn and proved.
type printed struct {
	sheets  []*printing.Sheet
	proofs  []*printing.Proof
	codes   []linking.CodeView // in the order they are printed
	skipped []linking.CodeView // out of use: they are not printed
	press   *printing.Press
}

// refused makes what the press refuses a refusal of the request.
func refused(err error) error {
	no, ok := errors.AsType[*printing.Refusal](err)
	if !ok {
		return err
	}
	field := no.Field
	if where, _, found := strings.Cut(err.Error(), ": "+no.Error()); found {
		return invalidFields([]linking.FieldError{{Field: field, Code: no.Code, Message: no.Message + " (" + where + ")"}})
	}
	return invalidFields([]linking.FieldError{{Field: field, Code: no.Code, Message: no.Message}})
}

// settings makes a press of what a caller asked for.
func (a *api) settings(c context.Context, m *linking.Merchant, in *printJob) (*printing.Press, error) {
	stock, err := printing.StockByID(in.Stock)
	if err != nil {
		return nil, refused(err)
	}
	return a.press(c, m, in, stock)
}

func (a *api) press(ctx context.Context, m *linking.Merchant, in *printJob, stock printing.Stock) (*printing.Press, error) {
	s := printing.Settings{
		Stock: stock, DPI: printing.DPI(in.DPI), Level: printing.DefaultLevel(in.Logo), Bare: in.Caption != nil && !*in.Caption,
		Language: in.Language, Native: in.Native, Marks: in.Marks, Note: in.Title,
	}
	var wrong []linking.FieldError
	if in.Level != "" {
		s.Level, _ = printing.ParseLevel(in.Level)
	}
	if in.ModuleMM != "" {
		var err error
		if s.ModuleMM, err = strconv.ParseFloat(in.ModuleMM, 64); err != nil || s.ModuleMM <= 0 || s.ModuleMM > 20 {
			wrong = append(wrong, linking.FieldError{Field: "module_mm", Code: "out_of_range", Message: "must be from 0.1 to 20, written as text"})
		}
	}
	for _, colour := range []struct {
		field, text string
		into        *printing.Colour
	}{{"ink", in.Ink, &s.Ink}, {"ground", in.Ground, &s.Ground}} {
		if colour.text == "" {
			continue
		}
		var ok bool
		if *colour.into, ok = printing.ParseColour(colour.text); !ok {
			wrong = append(wrong, linking.FieldError{Field: colour.field, Code: "colour", Message: "must be #rrggbb, such as #000000"})
		}
	}
	if in.Ink != "" && in.Ground == "" {
		s.Ground = printing.White
	}
	if (in.Native || in.Format == "zpl" || in.Format == "escpos") && stock.Use != printing.Roll && stock.Use != printing.Receipt {
		wrong = append(wrong, linking.FieldError{Field: "stock", Code: "not_allowed", Message: "has to be a roll or a receipt for a printer's own language, such as 62x62, 102x152 or receipt-80"})
	}
	if in.Native && in.Format != "zpl" && in.Format != "escpos" {
		wrong = append(wrong, linking.FieldError{Field: "native", Code: "excluded", Message: "is for the formats zpl and escpos, in which the printer draws the symbol itself"})
	}
	if len(wrong) > 0 {
		return nil, invalidFields(wrong)
	}
	if s.Language == "" && len(m.Languages) > 0 && len(m.Languages[0]) >= 2 && slices.Contains(printing.Languages(), m.Languages[0][:2]) {
		s.Language = m.Languages[0][:2]
	}
	if in.Logo {
		var err error
		if s.Logo, err = a.logoImage(ctx, m); err != nil {
			return nil, err
		}
	}
	p, err := printing.NewPress(s)
	return p, refused(err)
}

// logoImage is the merchant's logo as pixels.
func (a *api) logoImage(ctx context.Context, m *linking.Merchant) (image.Image, error) {
	no := func(message string) error {
		return invalidFields([]linking.FieldError{{Field: "logo", Code: "logo", Message: message}})
	}
	data, mediaType, err := a.svc.Logo(ctx, m.ID)
	if linking.IsKind(err, linking.NotFound) {
		return nil, no("is not there: the merchant has none")
	}
	if err != nil {
		return nil, err
	}
	if mediaType != "image/png" {
		return nil, no("has to be a PNG to be put into a symbol")
	}
	size, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil || size.Width > maxLogo || size.Height > maxLogo {
		return nil, no(fmt.Sprintf("cannot be read, or has more than %d pixels a side", maxLogo))
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, no("cannot be read")
	}
	return img, nil
}

// label is what is printed for a code.
func (a *api) label(v linking.CodeView, m *linking.Merchant, help string) printing.Label {
	l := printing.Label{
		Payload: a.svc.Payload(v.Code), Title: m.Name, Place: v.Label, Token: v.Token.Grouped(), BankApp: v.ResolvedBy == linking.ByBankPayload,
		Help: help, Test: m.Mode == linking.Test,
	}
	if v.Serial.Batch != 0 {
		l.Serial = fmt.Sprintf("%06d", v.Serial.No+1)
	}
	if !l.BankApp {
		l.Address = a.public.Host + "/q/"
	}
	return l
}

// draw reads the codes of a job, sets them and proves every sheet.
func (a *api) draw(ctx context.Context, who linking.Caller, in *printJob) (*printed, *linking.Merchant, error) {
	m, err := a.svc.Merchant(ctx, who.Merchant)
	if err != nil {
		return nil, nil, err
	}
	press, err := a.settings(ctx, m, in)
	if err != nil {
		return nil, nil, err
	}
	depth := printing.Full
	if in.Proof != "" {
		depth, _ = printing.ParseDepth(in.Proof)
	}
	job := &printed{press: press}
	if err := a.codesOfJob(ctx, who, in, job); err != nil {
		return nil, nil, err
	}
	labels := make([]printing.Label, len(job.codes))
	for i, v := range job.codes {
		labels[i] = a.label(v, m, in.Help)
	}
	each := press.Stock.Labels()
	count := (len(labels) + each - 1) / each
	first, of := max(in.Sheet, 1), max(in.Of, max(in.Sheet, 1)+count-1)
	job.sheets, job.proofs = make([]*printing.Sheet, count), make([]*printing.Proof, count)
	errs := make([]error, count)
	var all sync.WaitGroup
	hands := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i := range count {
		hands <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		all.Go(func() {
			defer func() { <-hands }()
			job.sheets[i], errs[i] = press.Sheet(labels[i*each:min((i+1)*each, len(labels))], first+i, of)
			if errs[i] == nil {
				job.proofs[i] = job.sheets[i].Prove(depth)
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return nil, nil, &linking.Error{Kind: linking.Unavailable, Code: "store_unavailable", Detail: "The sheets could not be proved in time; nothing was printed. Ask for fewer at once, by from and to.", Retry: 1}
	}
	for _, err := range errs {
		if err != nil {
			return nil, nil, refused(err)
		}
	}
	return job, m, a.keepProofs(ctx, who, in, job)
}

// codesOfJob reads the codes that are to be printed. What is out of use is passed over.
func (a *api) codesOfJob(ctx context.Context, who linking.Caller, in *printJob, job *printed) error {
	wrong := func(field, code, message string) error {
		return invalidFields([]linking.FieldError{{Field: field, Code: code, Message: message}})
	}
	most := maxSheets * job.press.Stock.Labels()
	add := func(v linking.CodeView) error {
		if v.StatusNow() != linking.CodeActive {
			job.skipped = append(job.skipped, v)
			return nil
		}
		job.codes = append(job.codes, v)
		return nil
	}
	switch {
	case (in.Batch == "") == (len(in.Codes) == 0):
		return wrong("codes", "one_of", "or batch must be given, and not both")
	case in.Batch == "" && (in.From > 0 || in.To > 0):
		return wrong("from", "excluded", "and to go with a batch")
	case len(in.Codes) > most:
		return wrong("codes", "too_many", fmt.Sprintf("are at most %d at once on this stock: %d sheets", most, maxSheets))
	}
	for i, s := range in.Codes {
		t, ok := linking.ParseToken(s)
		if !ok {
			return wrong(fmt.Sprintf("codes[%d]", i), "unknown", "is no code: a slip in the 20 characters is found, and there is one")
		}
		v, err := a.svc.Code(ctx, who, t)
		if linking.IsKind(err, linking.NotFound) {
			return wrong(fmt.Sprintf("codes[%d]", i), "unknown", "is not a code of yours")
		}
		if err != nil {
			return err
		}
		add(v)
	}
	if in.Batch != "" {
		id, ok := linking.ParseBatchID(in.Batch)
		if !ok {
			return wrong("batch", "unknown", "is not a batch")
		}
		b, err := a.svc.Batch(ctx, who, id)
		if linking.IsKind(err, linking.NotFound) {
			return wrong("batch", "unknown", "is not a batch of yours")
		}
		if err != nil {
			return err
		}
		from, to := max(in.From, 1), in.To
		if to == 0 {
			to = uint64(b.Made())
		}
		switch {
		case from > to || to > uint64(b.Made()):
			return wrong("to", "range", fmt.Sprintf("must be at most %d, as many codes as the batch has by now, and from not more than that", b.Made()))
		case to-from+1 > uint64(most):
			return wrong("to", "too_many", fmt.Sprintf("leaves %d codes, and at most %d are printed at once on this stock (%d sheets). Print %d to %d first", to-from+1, most, maxSheets, from, from+uint64(most)-1))
		}
		if err := a.svc.BatchCodes(ctx, b, from-1, to, add); err != nil {
			return err
		}
	}
	if len(job.codes) == 0 {
		return wrong("codes", "out_of_use", "are all void, lost, retired or replaced: there is nothing to print")
	}
	return nil
}

// keepProofs stores what was seen on each sheet, and refuses the job if any of it is
// not good.
func (a *api) keepProofs(ctx context.Context, who linking.Caller, in *printJob, job *printed) error {
	each := job.press.Stock.Labels()
	list := make([]linking.SheetProof, len(job.proofs))
	var faults []sheetFault
	for i, p := range job.proofs {
		doc, err := json.Marshal(p)
		if err != nil {
			return err
		}
		codes := job.codes[i*each : min((i+1)*each, len(job.codes))]
		kept := linking.SheetProof{Hash: p.Hash, Stock: job.press.Stock.ID, Passed: p.Passed(), Seen: doc, Code: codes[0].Token}
		if id, ok := linking.ParseBatchID(in.Batch); ok {
			kept.Batch, kept.From, kept.To = id, codes[0].Serial.No+1, codes[len(codes)-1].Serial.No+1
		}
		list[i] = kept
		for _, f := range p.Faults {
			faults = append(faults, sheetFault{i + max(in.Sheet, 1), f})
		}
	}
	if err := a.svc.KeepProofs(ctx, who, list); err != nil {
		return err
	}
	if faults == nil {
		return nil
	}
	return &linking.Error{Kind: linking.Invalid, Code: "print_refused", Detail: fmt.Sprintf("Nothing is printed: %d codes cannot be relied on. The first is %v.", len(faults), faults[0].Fault),
		With: map[string]any{"faults": faults[:min(len(faults), maxFieldErrors)]}}
}

type sheetFault struct {
	Sheet int `json:"sheet"`
	printing.Fault
}

// atPress lets as many jobs be drawn at once as there are processors; the others wait
// for their turn.
func (a *api) atPress(c *fiber.Ctx) (ctx context.Context, done func(), err error) {
	callOf(c).extend(printTime)
	ctx = c.UserContext()
	select {
	case a.presses <- struct{}{}:
		return ctx, func() { <-a.presses }, nil
	case <-ctx.Done():
		return nil, nil, &linking.Error{Kind: linking.Limited, Code: "rate_limited", Detail: "Too much is being printed at once; nothing was printed. Try again.", Retry: 30}
	}
}

// printSheets answers with sheets that were proved: a PDF, one PNG, or the language of
// a label printer. It is all or nothing: a sheet that cannot be relied on, or a store
// that does not take the proofs, and nothing is printed.
func (a *api) printSheets(c *fiber.Ctx, who linking.Caller) error {
	var in printJob
	if err := decode(c, &in); err != nil {
		return err
	}
	ctx, done, err := a.atPress(c)
	if err != nil {
		return err
	}
	defer done()
	job, _, err := a.draw(ctx, who, &in)
	if err != nil {
		return err
	}
	out, mediaType, err := job.bytes(in.Format)
	if err != nil {
		return err
	}
	if in.Mark {
		if err := a.markPrinted(ctx, who, &in, job); err != nil {
			return err
		}
	}
	c.Set("Placard-Sheets", strconv.Itoa(len(job.sheets)))
	c.Set("Placard-Codes", strconv.Itoa(len(job.codes)))
	c.Set("Placard-Skipped", strconv.Itoa(len(job.skipped)))
	if in.Batch != "" {
		c.Set("Placard-Serials", job.serials())
	}
	c.Set("Placard-Module-MM", strconv.FormatFloat(job.sheets[0].ModuleMM(), 'f', 3, 64))
	if left := job.sheets[0].LeftOut(); left != nil {
		c.Set("Placard-Left-Out", strings.Join(left, ", "))
	}
	if len(job.proofs) == 1 {
		c.Set("Placard-Proof", job.proofs[0].Hash)
	}
	c.Set(fiber.HeaderContentType, mediaType)
	return c.Send(out)
}

// serials are those that were printed, as runs: 1-16,18-240.
func (p *printed) serials() string {
	var runs []string
	for i := 0; i < len(p.codes); {
		k := i
		for k+1 < len(p.codes) && p.codes[k+1].Serial.No == p.codes[k].Serial.No+1 {
			k++
		}
		runs = append(runs, fmt.Sprintf("%d-%d", p.codes[i].Serial.No+1, p.codes[k].Serial.No+1))
		i = k + 1
	}
	return strings.Join(runs, ",")
}

func (p *printed) bytes(format string) ([]byte, string, error) {
	var out bytes.Buffer
	switch format {
	case "png":
		if len(p.sheets) > 1 {
			return nil, "", invalidFields([]linking.FieldError{{Field: "format", Code: "not_allowed", Message: "png is for one sheet; take pdf, or fewer codes"}})
		}
		return p.sheets[0].Bitmap().PNG(), "image/png", nil
	case "zpl":
		for _, s := range p.sheets {
			out.Write(s.ZPL())
		}
		return out.Bytes(), "application/zpl", nil
	case "escpos":
		for _, s := range p.sheets {
			out.Write(s.ESCPOS())
		}
		return out.Bytes(), "application/octet-stream", nil
	}
	d := p.press.Document()
	for _, s := range p.sheets {
		d.Add(s)
	}
	if err := d.Write(&out); err != nil {
		return nil, "", err
	}
	return out.Bytes(), "application/pdf", nil
}

// markPrinted writes into the stock book that the codes of a job are on paper.
func (a *api) markPrinted(ctx context.Context, who linking.Caller, in *printJob, job *printed) error {
	if id, ok := linking.ParseBatchID(in.Batch); ok {
		m := linking.MarkBatch{Batch: id, Stock: linking.StockPrinted}
		for _, v := range job.codes {
			m.Ranges = append(m.Ranges, linking.SerialRange{From: v.Serial.No, To: v.Serial.No})
		}
		_, err := a.svc.MarkBatch(ctx, who, m)
		return err
	}
	stock := linking.StockPrinted
	for _, v := range job.codes {
		if _, err := a.svc.PatchCode(ctx, who, v.Token, linking.CodePatch{Stock: &stock}); err != nil {
			return err
		}
	}
	return nil
}

// proveSheets says what would be printed and what was seen on it, and prints nothing.
func (a *api) proveSheets(c *fiber.Ctx, who linking.Caller) error {
	var in printJob
	if err := decode(c, &in); err != nil {
		return err
	}
	in.Mark = false
	ctx, done, err := a.atPress(c)
	if err != nil {
		return err
	}
	defer done()
	job, _, err := a.draw(ctx, who, &in)
	if err != nil {
		return err
	}
	return c.JSON(map[string]any{"passed": true, "codes": len(job.codes), "skipped": len(job.skipped), "reader": printing.Reader, "sheets": job.proofs, "left_out": listOf(job.sheets[0].LeftOut())})
}

// getProof answers with what was seen on a sheet before it was printed.
func (a *api) getProof(c *fiber.Ctx, who linking.Caller) error {
	hash, err := pathParam(c, "sha256")
	if err != nil {
		return err
	}
	p, err := a.svc.Proof(c.UserContext(), who, strings.ToLower(hash))
	if err != nil {
		return err
	}
	type proofView struct {
		Hash   string           `json:"sha256"`
		At     *string          `json:"at"`
		By     *string          `json:"by"`
		Batch  *linking.BatchID `json:"batch"`
		From   uint64           `json:"from"`
		To     uint64           `json:"to"`
		Code   *linking.Token   `json:"code"`
		Stock  string           `json:"stock"`
		Passed bool             `json:"passed"`
		Seen   json.RawMessage  `json:"seen"`
	}
	return c.JSON(proofView{p.Hash, stamp(p.At), orNull(p.By), orNull(p.Batch), p.From, p.To, orNull(p.Code), p.Stock, p.Passed, p.Seen})
}

type sizeView struct {
	W float64 `json:"w"`
	H float64 `json:"h"`
}

type stockView struct {
	ID     string       `json:"id"`
	Name   string       `json:"name"`
	Use    printing.Use `json:"use"`
	Labels int          `json:"labels"` // a sheet
	Page   sizeView     `json:"page_mm"`
	Label  sizeView     `json:"label_mm"`
	DPI    printing.DPI `json:"dpi"` // of the usual printer
}

func (a *api) listStocks(c *fiber.Ctx, _ linking.Caller) error {
	page := pageView[stockView]{Data: []stockView{}}
	for _, s := range printing.Stocks {
		page.Data = append(page.Data, stockView{s.ID, s.Name, s.Use, s.Labels(), sizeView{s.PageW, s.PageH}, sizeView{s.LabelW, s.LabelH}, s.DPI})
	}
	return c.JSON(page)
}

// qr draws one label in the form the path names. SVG, PNG and text are the symbol, for
// somebody else's page; PDF, ZPL and ESC/POS are a label as it is printed, and are
// proved first.
func (a *api) qr(c *fiber.Ctx, who linking.Caller, l printing.Label, caption string) error {
	q := queryOf(c)
	level := printing.M
	if name := q.choice("level", "L", "M", "Q", "H"); name != "" {
		level, _ = printing.ParseLevel(name)
	}
	moduleMM := 0.0
	if s := q.text("module_mm", 8); s != "" {
		mm, err := strconv.ParseFloat(s, 64)
		if err != nil || mm < 0.1 || mm > 20 {
			q.wrong("module_mm", "out_of_range", "must be from 0.1 to 20")
		}
		moduleMM = mm
	}
	quiet := int(q.whole("quiet", printing.Quiet, printing.Quiet, 20))
	size := int(q.whole("size", 512, 64, printing.MaxPNGSide))
	captioned := q.flag("caption")
	form := c.Params("form")
	onLabel := form == "pdf" || form == "zpl" || form == "escpos"
	job := printJob{Stock: map[string]string{"pdf": "62x62", "zpl": "57x32", "escpos": "receipt-80"}[form], Format: form, Level: level.String(), Caption: captioned}
	if onLabel {
		if s := q.text("stock", 40); s != "" {
			job.Stock = s
		}
		job.DPI, job.Language = int(q.whole("dpi", 0, 0, 10000)), q.text("language", 20)
		if native := q.flag("native"); native != nil {
			job.Native = *native
		}
		if moduleMM > 0 {
			job.ModuleMM = strconv.FormatFloat(moduleMM, 'f', 3, 64)
		}
	}
	if err := q.err(); err != nil {
		return err
	}
	if onLabel {
		return a.oneLabel(c, who, &job, l)
	}
	m, err := printing.Encode(l.Payload, level)
	if err != nil {
		return invalidFields([]linking.FieldError{{Field: "level", Code: "too_long", Message: "leaves no room for this code's payload"}})
	}
	if captioned == nil || !*captioned {
		caption = ""
	}
	switch form {
	case "svg":
		c.Set(fiber.HeaderContentType, "image/svg+xml")
		return c.Send(printing.SVG(m, printing.SVGOptions{ModuleMM: moduleMM, Quiet: quiet, Caption: caption}))
	case "png":
		b, err := printing.PNG(m, printing.PNGOptions{Scale: printing.PNGScale(m, quiet, size), Quiet: quiet, ModuleMM: moduleMM})
		if err != nil {
			return err
		}
		c.Set(fiber.HeaderContentType, "image/png")
		return c.Send(b)
	case "txt":
		c.Set(fiber.HeaderContentType, "text/plain; charset=utf-8")
		text := printing.Plain(m, false)
		if caption != "" {
			text += caption + "\n"
		}
		return c.SendString(text)
	}
	return fiber.ErrNotFound
}

// oneLabel prints a single label of whatever payload.
func (a *api) oneLabel(c *fiber.Ctx, who linking.Caller, in *printJob, l printing.Label) error {
	m, err := a.svc.Merchant(c.UserContext(), who.Merchant)
	if err != nil {
		return err
	}
	l.Title, l.Test = m.Name, m.Mode == linking.Test
	press, err := a.settings(c.UserContext(), m, in)
	if err != nil {
		return err
	}
	sheet, err := press.Sheet([]printing.Label{l}, 0, 0)
	if err != nil {
		return refused(err)
	}
	proof := sheet.Prove(printing.Full)
	if !proof.Passed() {
		return &linking.Error{Kind: linking.Invalid, Code: "print_refused", Detail: "Nothing is printed: " + proof.Faults[0].String() + ".", With: map[string]any{"faults": proof.Faults}}
	}
	job := &printed{sheets: []*printing.Sheet{sheet}, press: press}
	out, mediaType, err := job.bytes(in.Format)
	if err != nil {
		return err
	}
	c.Set("Placard-Proof", proof.Hash)
	c.Set(fiber.HeaderContentType, mediaType)
	return c.Send(out)
}

// shelf are the stocks of one use, as the page offers them.
type shelf struct {
	Use    string
	Stocks []stockOption
}

type stockOption struct{ ID, Text string }

// shelves sorts the stocks by use. What is on an option is on the packet, in any
// language: maker and number, how many, how large.
func shelves() (all []shelf) {
	for _, s := range printing.Stocks {
		if len(all) == 0 || all[len(all)-1].Use != string(s.Use) {
			all = append(all, shelf{Use: string(s.Use)})
		}
		name := s.ID
		if s.Use == printing.LabelSheet {
			name, _, _ = strings.Cut(s.Name, ",")
		}
		text := fmt.Sprintf("%s · %g × %g mm", name, s.LabelW, s.LabelH)
		if s.Labels() > 1 {
			text = fmt.Sprintf("%s · %d × (%g × %g mm)", name, s.Labels(), s.LabelW, s.LabelH)
		}
		last := &all[len(all)-1]
		last.Stocks = append(last.Stocks, stockOption{s.ID, text})
	}
	return all
}

// printPage is where people print. Whoever opens it brings a key.
func (a *api) printPage(c *fiber.Ctx) error {
	l := a.printWords.languageOf(c, nil)
	policy := newPagePolicy(map[string][]string{"img-src": {"blob:"}})
	return a.render(c, "print.html", policy, fiber.StatusOK, map[string]any{
		"Self": "/print", "Lang": l, "Offers": []*language(a.printWords), "Words": l.script(string(a.assets.byName["print.js"].plain)),
		"Uses": shelves(), "Languages": printing.Languages(),
		"Levels": []string{"L", "Q", "H"},
	})
}
