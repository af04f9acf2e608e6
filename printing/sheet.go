package printing

import (
	"fmt"
	"image"
	"image/color"
	"strings"

	qrcode "github.com/skip2/go-qrcode"
)

// Settings are what all labels of a job share.
type Settings struct {
	Stock    Stock
	DPI      DPI         // of the printer; 0: of the stock's usual one
	Level    Level       // its zero value is L: see DefaultLevel
	ModuleMM float64     // how wide a module shall be; 0: as wide as fits. It is rounded down to whole dots
	Bare     bool        // the symbol alone, without text
	Language string      // of the label's own sentences; empty: en
	Logo     image.Image // in the middle of the symbol; nil: none
	Ink      Colour      // of symbol and text
	Ground   Colour      // under them; with Ink of the same colour, both left out: black on white
	Native   bool        // the label printer draws the symbol by a command of its own, see ZPL and ESCPOS
	Marks    bool        // crop marks on die-cut sheets too, to see whether the printer hits them
	Note     string      // at the foot of each sheet, beside its number
}

// DefaultLevel is the level that is printed unless somebody asks for another.
func DefaultLevel(logo bool) Level {
	if logo {
		return H
	}
	return M
}

// Press prints labels: it puts them onto sheets of a stock for a printer. A sheet is
// one list of drawn things in the printer's own dots. PDF, PNG, ZPL and ESC/POS are
// made from that list, and so is the bitmap that a proof reads: what is proved is
// what is printed. A Press may be used by many at once.
type Press struct {
	Settings
	dpi     DPI
	phrases phrases
	glyphs  glyphs
}

// logoShare is how much of the symbol's side a logo takes, at most; with the level H
// that a logo needs, that leaves most of the correction for dirt and folds.
const logoShare = 0.22

// NewPress checks the settings of a job. What it refuses is a *Refusal.
func NewPress(s Settings) (*Press, error) {
	p := &Press{Settings: s, dpi: s.DPI}
	if s.Stock.Columns < 1 || s.Stock.Rows < 1 {
		return nil, &Refusal{"unknown_stock", "stock", "is not a label stock that is known"}
	}
	if p.dpi == 0 {
		p.dpi = s.Stock.DPI
	}
	if !p.dpi.known() {
		return nil, &Refusal{"unknown_dpi", "dpi", "is 203, 300 or 600"}
	}
	if s.Level > H {
		return nil, &Refusal{"unknown_level", "level", "is L, M, Q or H"}
	}
	if s.Logo != nil && s.Level != H {
		return nil, &Refusal{"logo_needs_h", "level", "has to be H with a logo, which covers part of the symbol"}
	}
	if s.Logo != nil && s.Logo.Bounds().Empty() {
		return nil, &Refusal{"logo", "logo", "has no pixels"}
	}
	if s.Logo != nil && s.Native {
		return nil, &Refusal{"logo", "logo", "cannot be put into a symbol that the printer draws itself. Print it as an image (native false)"}
	}
	if p.Ink == p.Ground {
		if p.Ink != Black {
			return nil, &Refusal{"no_contrast", "ink", "is the colour of the ground"}
		}
		p.Ground = White
	}
	if err := contrast(p.Ink, p.Ground); err != nil {
		return nil, err
	}
	if p.Language == "" {
		p.Language = "en"
	}
	var ok bool
	if p.phrases, ok = languages[p.Language]; !ok {
		return nil, &Refusal{"unknown_language", "language", "is one of " + strings.Join(Languages(), ", ")}
	}
	var err error
	p.Note, err = legible("title", s.Note)
	return p, err
}

// Resolution is the printer's.
func (p *Press) Resolution() DPI { return p.dpi }

// cell is one label on a sheet.
type cell struct {
	box    image.Rectangle // on the sheet
	turned bool            // stands on its head
	label  Label
	matrix Matrix
	layout
	logo image.Rectangle // from the label's corner, white rim included; empty: none
}

// symbol is where the symbol's modules are, from the label's corner.
func (c *cell) symbol() image.Rectangle {
	side := c.matrix.size * c.module
	return image.Rectangle{c.at, c.at.Add(image.Pt(side, side))}
}

// onSheet is where a part of the label is on the sheet.
func (c *cell) onSheet(r image.Rectangle) image.Rectangle {
	if c.turned {
		far := c.box.Max
		return image.Rect(far.X-r.Max.X, far.Y-r.Max.Y, far.X-r.Min.X, far.Y-r.Min.Y)
	}
	return r.Add(c.box.Min)
}

// Sheet is one page as it is printed, in dots.
type Sheet struct {
	press *Press
	w, h  int
	cells []cell
	rules []image.Rectangle // crop marks and folds
	texts []text            // the sheet's number
}

// Labels returns what is printed, in order. A folded stock has each twice.
func (s *Sheet) Labels() (list []Label) {
	for _, c := range s.cells {
		list = append(list, c.label)
	}
	return list
}

// LeftOut names the texts of a label that found no room, or not all of it.
func (s *Sheet) LeftOut() []string {
	if len(s.cells) == 0 {
		return nil
	}
	return s.cells[0].left
}

// ModuleMM is how wide the modules of the first label are.
func (s *Sheet) ModuleMM() float64 {
	if len(s.cells) == 0 {
		return 0
	}
	return s.press.dpi.mm(s.cells[0].module)
}

// Sheet puts labels onto one sheet, row by row. number and of stand at its foot;
// number 0 leaves it out. What it refuses is a *Refusal, with the label it is about.
func (p *Press) Sheet(labels []Label, number, of int) (*Sheet, error) {
	if len(labels) == 0 || len(labels) > p.Stock.Labels() {
		return nil, &Refusal{"wrong_count", "codes", fmt.Sprintf("are 1 to %d on a sheet of this stock", p.Stock.Labels())}
	}
	st := p.Stock
	s := &Sheet{press: p, w: p.dpi.dots(st.PageW), h: p.dpi.dots(st.PageH)}
	for i := range labels {
		c, err := p.cell(&labels[i])
		if err != nil {
			if len(labels) > 1 || number > 1 {
				err = fmt.Errorf("label %d of sheet %d: %w", i+1, max(number, 1), err)
			}
			return nil, err
		}
		if st.Folded {
			upper := *c
			upper.box, upper.turned = p.place(2*i), true
			s.cells = append(s.cells, upper)
			c.box = p.place(2*i + 1)
		} else {
			c.box = p.place(i)
		}
		s.cells = append(s.cells, *c)
	}
	if st.Use == Receipt { // as long as what is on it
		s.h = s.cells[0].height
		s.cells[0].box.Max.Y = s.h
	}
	s.cropMarks()
	if number > 0 {
		s.number(number, of)
	}
	return s, nil
}

// place is where the label of a number is on the page.
func (p *Press) place(i int) image.Rectangle {
	st := p.Stock
	x, y := st.Left+float64(i%st.Columns)*st.PitchX, st.Top+float64(i/st.Columns)*st.PitchY
	at := image.Pt(p.dpi.dots(x), p.dpi.dots(y))
	return image.Rectangle{at, at.Add(image.Pt(p.dpi.dots(st.LabelW), p.dpi.dots(st.LabelH)))}
}

func (p *Press) cell(l *Label) (*cell, error) {
	c := &cell{label: *l}
	for _, t := range []struct {
		field string
		s     *string
	}{{"title", &c.label.Title}, {"place", &c.label.Place}, {"token", &c.label.Token}, {"address", &c.label.Address}, {"help", &c.label.Help}, {"serial", &c.label.Serial}} {
		var err error
		if *t.s, err = legible(t.field, *t.s); err != nil {
			return nil, err
		}
	}
	var err error
	if c.matrix, err = p.encode(l.Payload); err != nil {
		return nil, err
	}
	where, err := p.arrange(&c.label, c.matrix.size)
	if err != nil {
		return nil, err
	}
	c.layout = *where
	if p.Logo != nil {
		if err := p.placeLogo(c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (p *Press) encode(payload string) (Matrix, error) {
	m, err := Encode(payload, p.Level)
	if err != nil {
		message := "is too long for a QR code at level " + p.Level.String()
		if payload == "" {
			message = "is empty"
		}
		return m, &Refusal{"payload_too_long", "payload", message}
	}
	if !p.Native {
		return m, nil
	}
	// The printer packs all characters in one way, which may take a larger symbol.
	version := VersionFor(m.Mode(), len(payload), p.Level)
	if version == 0 {
		return m, &Refusal{"payload_too_long", "native", "symbols are made up to version 15, which this payload exceeds at level " + p.Level.String() + ". Print it as an image (native false)"}
	}
	if version == m.version {
		return m, nil
	}
	code, err := qrcode.NewWithForcedVersion(payload, version, encoderLevels[p.Level])
	if err != nil {
		return m, err
	}
	return matrixOf(code, payload, p.Level), nil
}

// placeLogo stands the logo in the middle of the symbol, on whole modules, with a
// white rim of one.
func (p *Press) placeLogo(c *cell) error {
	size := c.matrix.size
	most := int(logoShare * float64(size))
	if (size-most)%2 != 0 {
		most--
	}
	if inner := most - 2; inner < 3 || p.dpi.mm(inner*c.module) < 3 {
		return &Refusal{"logo_too_large", "logo", fmt.Sprintf("would cover too much: at most %.0f %% of the symbol's side may be covered, which leaves it %.1f mm here. Take a larger stock", logoShare*100, p.dpi.mm(max(0, inner)*c.module))}
	}
	from := c.at.Add(image.Pt((size-most)/2*c.module, (size-most)/2*c.module))
	c.logo = image.Rectangle{from, from.Add(image.Pt(most*c.module, most*c.module))}
	return nil
}

// logoInk is the logo scaled to w × h dots, where it is darker than half.
func (p *Press) logoInk(w, h int) []bool {
	b := p.Logo.Bounds()
	ink := make([]bool, w*h)
	for y := range h {
		for x := range w {
			// The mean of the pixels under the dot, on white.
			x0, x1 := b.Min.X+x*b.Dx()/w, b.Min.X+max((x+1)*b.Dx()/w, x*b.Dx()/w+1)
			y0, y1 := b.Min.Y+y*b.Dy()/h, b.Min.Y+max((y+1)*b.Dy()/h, y*b.Dy()/h+1)
			sum, n := 0, 0
			for v := y0; v < y1; v++ {
				for u := x0; u < x1; u++ {
					c := color.NRGBAModel.Convert(p.Logo.At(u, v)).(color.NRGBA)
					g := int(Colour{c.R, c.G, c.B}.grey())
					sum, n = sum+255-(255-g)*int(c.A)/255, n+1
				}
			}
			ink[y*w+x] = sum < 128*n
		}
	}
	return ink
}

// logoBox is where the logo itself is inside its white rim, in its own proportions.
func (p *Press) logoBox(c *cell) image.Rectangle {
	in := c.logo.Inset(c.module)
	b := p.Logo.Bounds()
	w, h := in.Dx(), in.Dy()
	if b.Dx() > b.Dy() {
		h = max(1, w*b.Dy()/b.Dx())
	} else {
		w = max(1, h*b.Dx()/b.Dy())
	}
	at := in.Min.Add(image.Pt((in.Dx()-w)/2, (in.Dy()-h)/2))
	return image.Rectangle{at, at.Add(image.Pt(w, h))}
}

// Bitmap is the sheet as the printer's dots.
func (s *Sheet) Bitmap() *Bitmap {
	b := newBitmap(s.w, s.h, s.press.dpi)
	for i := range s.cells {
		s.drawCell(b, &s.cells[i], true)
	}
	s.drawRest(b)
	return b
}

func (s *Sheet) drawCell(b *Bitmap, c *cell, symbol bool) {
	if c.turned {
		upright := *c
		upright.box, upright.turned = image.Rectangle{Max: c.box.Size()}, false
		one := newBitmap(c.box.Dx(), c.box.Dy(), b.DPI)
		s.drawCell(one, &upright, symbol)
		b.lay(one.turned(), c.box.Min)
		return
	}
	if symbol {
		for r := range c.matrix.runs() {
			r.Min, r.Max = r.Min.Mul(c.module), r.Max.Mul(c.module)
			b.fill(r.Add(c.at).Add(c.box.Min), true)
		}
	}
	if !c.logo.Empty() {
		b.fill(c.logo.Add(c.box.Min), false)
		box := s.press.logoBox(c)
		ink := s.press.logoInk(box.Dx(), box.Dy())
		at := box.Min.Add(c.box.Min)
		for i, dark := range ink {
			if dark {
				b.set(at.X+i%box.Dx(), at.Y+i/box.Dx())
			}
		}
	}
	for i := range c.texts {
		s.drawText(b, &c.texts[i], c.box.Min)
	}
}

func (s *Sheet) drawRest(b *Bitmap) {
	for _, r := range s.rules {
		b.fill(r, true)
	}
	for i := range s.texts {
		s.drawText(b, &s.texts[i], image.Point{})
	}
}

func (s *Sheet) drawText(b *Bitmap, t *text, from image.Point) {
	x := t.x + float64(from.X)
	f := faceOf(t.bold)
	for _, r := range t.s {
		g := s.press.glyphs.get(t.bold, r, t.size)
		at := image.Pt(int(x+0.5), t.y+from.Y)
		w := g.Dx()
		for i, dark := range g.dark {
			if dark {
				b.set(at.X+g.Min.X+i%w, at.Y+g.Min.Y+i/w)
			}
		}
		x += f.advance(r) * t.size
	}
}

// cropMarks draws where to cut, and where to fold.
func (s *Sheet) cropMarks() {
	p := s.press
	st := p.Stock
	if st.Use != CutSheet && !p.Marks || st.Use == Roll || st.Use == Receipt {
		return
	}
	d := p.dpi.dots
	line, long := max(1, d(0.15)), d(4)
	if st.Folded { // dashes across the fold
		for x := d(rim); x < s.w-d(rim); x += d(6) {
			s.rules = append(s.rules, image.Rect(x, s.h/2, x+d(2), s.h/2+line))
		}
		return
	}
	// A mark runs in the margin, and stops short of the labels. Where there is no
	// margin it runs along the cut itself, if that is between two labels.
	mark := func(edge float64, page, margin float64, shared, upright bool) {
		if edge < rim || edge > page-rim {
			return
		}
		from, to := d(rim), min(d(rim)+long, d(margin)-d(0.7))
		if to-from < d(1) {
			if !shared {
				return
			}
			to = from + long
		}
		at := d(edge) - line/2
		if upright {
			s.rules = append(s.rules, image.Rect(at, from, at+line, to), image.Rect(at, s.h-to, at+line, s.h-from))
		} else {
			s.rules = append(s.rules, image.Rect(from, at, to, at+line), image.Rect(s.w-to, at, s.w-from, at+line))
		}
	}
	for i := range st.Columns {
		left := st.Left + float64(i)*st.PitchX
		mark(left, st.PageW, st.Top, i > 0 && st.PitchX == st.LabelW, true)
		if i == st.Columns-1 || st.PitchX > st.LabelW {
			mark(left+st.LabelW, st.PageW, st.Top, false, true)
		}
	}
	for i := range st.Rows {
		top := st.Top + float64(i)*st.PitchY
		mark(top, st.PageH, st.Left, i > 0 && st.PitchY == st.LabelH, false)
		if i == st.Rows-1 || st.PitchY > st.LabelH {
			mark(top+st.LabelH, st.PageH, st.Left, false, false)
		}
	}
}

// number writes the sheet's number, its serials and the note into the lower margin,
// if there is one.
func (s *Sheet) number(n, of int) {
	p := s.press
	mm := p.dpi.perMM()
	size := 2.4 * mm
	free := p.Stock.PageH - p.Stock.Top - float64(p.Stock.Rows-1)*p.Stock.PitchY - p.Stock.LabelH
	if free < rim+3.5 {
		return
	}
	foot := fmt.Sprintf(p.phrases.sheet, n, max(n, of))
	if first, last := s.cells[0].label.Serial, s.cells[len(s.cells)-1].label.Serial; first != "" {
		foot += " · № " + first
		if last != first {
			foot += "–" + last
		}
	}
	if p.Note != "" {
		foot += " · " + p.Note
	}
	t := text{s: foot, size: size, y: s.h - p.dpi.dots(max(rim, free/2)) + int(size*capital/2)}
	if w := float64(s.w) - 2*p.dpi.perMM()*12; t.width() > w {
		l := line{s: foot, scale: 1}
		t.s = l.shorten(w, size)[0]
	}
	t.x = (float64(s.w) - t.width()) / 2
	s.texts = append(s.texts, t)
}
