package printing

import (
	"fmt"
	"image"
	"math"
	"slices"
	"strings"
)

// Label is what is printed for one code, besides what all labels of a job share.
type Label struct {
	Payload string // what a scan of the symbol yields
	Title   string // whose it is
	Place   string // where it stands, or what it is for
	Token   string // the code's characters in groups, for whoever has to type them
	Address string // where to type them, as in pay.example.com/q/; empty: they cannot be typed
	BankApp bool   // it is the bank's app that scans it, not the camera
	Help    string // for whoever has no phone; empty: the language's own sentence
	Serial  string // its number in the batch
	Test    bool   // no real money moves: the label says so
}

// Refusal says why something is not printed, and what would be instead.
type Refusal struct {
	Code    string // stable, for programs
	Field   string // which setting it is about, by its name in the API
	Message string // without its subject, which is the field
}

func (r *Refusal) Error() string {
	if r.Field == "" {
		return r.Message
	}
	return r.Field + " " + r.Message
}

// phrases are the sentences on a label that are ours.
type phrases struct{ camera, app, address, help, test, sheet string }

var languages = map[string]phrases{
	"en": {"Scan with your phone's camera", "Scan with your bank's app", "Or type: %s", "No phone? Please ask us.", "TEST: no real money", "Sheet %d of %d"},
	"pt": {"Aponte a câmera do celular", "Escaneie com o app do seu banco", "Ou digite: %s", "Sem celular? Fale conosco.", "TESTE: sem dinheiro real", "Folha %d de %d"},
	"de": {"Mit der Handykamera scannen", "Mit der Banking-App scannen", "Oder eintippen: %s", "Kein Handy? Bitte fragen Sie uns.", "TEST: kein echtes Geld", "Bogen %d von %d"},
	"es": {"Escanee con la cámara del móvil", "Escanee con la app de su banco", "O escriba: %s", "¿Sin móvil? Pregúntenos.", "PRUEBA: sin dinero real", "Hoja %d de %d"},
	"fr": {"Scannez avec l’appareil photo", "Scannez avec l’appli de votre banque", "Ou saisissez : %s", "Sans téléphone ? Demandez-nous.", "TEST : pas d’argent réel", "Feuille %d sur %d"},
}

// Languages lists the languages of a label's own sentences.
func Languages() []string { return []string{"en", "pt", "de", "es", "fr"} }

// line is one of a label's texts before it has a place.
type line struct {
	name  string
	s     string
	scale float64
	bold  bool
	group bool // breaks between the groups of a token only
	rank  int  // what goes first when there is no room for all; 0: never
	cut   bool // may be shortened
}

// lines are the label's texts from top to bottom.
func (p *Press) lines(l *Label) []line {
	how := p.phrases.camera
	if l.BankApp {
		how = p.phrases.app
	}
	help := l.Help
	if help == "" {
		help = p.phrases.help
	}
	list := []line{
		{name: "test", scale: 1, bold: true},
		{name: "title", s: l.Title, scale: 1.3, bold: true, rank: 1, cut: true},
		{name: "place", s: l.Place, scale: 1.1, rank: 2, cut: true},
		{name: "how", s: how, scale: 1, rank: 3},
		{name: "address", scale: 0.9, rank: 4},
		{name: "token", s: l.Token, scale: 1, bold: true, group: true},
		{name: "help", s: help, scale: 0.9, rank: 6},
		{name: "serial", scale: 0.85, rank: 5},
	}
	if l.Test {
		list[0].s = p.phrases.test
	}
	if l.Address != "" {
		list[4].s = fmt.Sprintf(p.phrases.address, l.Address)
	}
	if l.Serial != "" {
		list[7].s = "№ " + l.Serial
	}
	return slices.DeleteFunc(list, func(l line) bool { return l.s == "" })
}

// text is a line of text that has its place: x is where it begins and y the line it
// stands on, in dots from the label's corner.
type text struct {
	s    string
	x    float64
	y    int
	size float64 // of an em, in dots
	bold bool
}

func (t *text) width() float64 { return faceOf(t.bold).width(t.s) * t.size }

// Sizes of text in millimetres of an em. A capital is three quarters of it high.
const (
	smallestText    = 1.6
	comfortableText = 2.2
	largestText     = 6.0
	leading         = 1.22 // an accent on a capital, and what hangs below the line
)

// wrap breaks a line into as many as it takes; false: even so it is too wide.
func (l *line) wrap(room, size float64) ([]string, bool) {
	f := faceOf(l.bold)
	size *= l.scale
	if f.width(l.s)*size <= room {
		return []string{l.s}, true
	}
	sep, keep := " ", ""
	if l.group {
		sep, keep = "-", "-"
	}
	var out []string
	var now string
	for _, word := range strings.Split(l.s, sep) {
		if f.width(word)*size > room {
			return nil, false
		}
		if now == "" {
			now = word
		} else if longer := now + sep + word; f.width(longer+keep)*size <= room {
			now = longer
		} else {
			out, now = append(out, now+keep), word
		}
	}
	return append(out, now), true
}

// shorten makes a line as long as there is room for in two lines.
func (l *line) shorten(room, size float64) []string {
	f := faceOf(l.bold)
	size *= l.scale
	runes := []rune(l.s)
	var out []string
	for len(runes) > 0 && len(out) < 2 {
		n, w := 0, 0.0
		tail := 0.0
		if len(out) == 1 {
			tail = f.width("…")
		}
		for n < len(runes) && (w+f.advance(runes[n])+tail)*size <= room {
			w += f.advance(runes[n])
			n++
		}
		if n == 0 {
			return nil
		}
		out, runes = append(out, string(runes[:n])), runes[n:]
	}
	if len(runes) > 0 {
		out[len(out)-1] += "…"
	}
	return out
}

// block is text that was set into a room.
type block struct {
	texts  []text // x and y from the room's corner, left-aligned
	height int
	size   float64
	left   []string // names of lines that were left out or shortened
}

// set puts lines into a room of w × h dots in the largest size from most down to
// least, or returns nil. With cut, lines that would be too long at the least size are
// shortened.
func (p *Press) set(lines []line, w, h int, most, least float64, cut bool) *block {
	if w < 1 || h < 1 {
		return nil
	}
	for size := max(most, least); ; size = max(least, size*0.94) {
		if b := p.setAt(lines, w, h, size, cut && size == least); b != nil {
			return b
		}
		if size == least {
			return nil
		}
	}
}

func (p *Press) setAt(lines []line, w, h int, size float64, cut bool) *block {
	b := &block{size: size}
	y := 0.0
	for i := range lines {
		l := &lines[i]
		parts, ok := l.wrap(float64(w), size)
		if !ok || cut && l.cut && len(parts) > 2 {
			if !cut || !l.cut {
				return nil
			}
			if parts = l.shorten(float64(w), size); parts == nil {
				return nil
			}
			b.left = append(b.left, l.name+" (shortened)")
		}
		em := size * l.scale
		for _, s := range parts {
			y += em * leading
			if y > float64(h) {
				return nil
			}
			b.texts = append(b.texts, text{s: s, y: int(math.Round(y - em*descent)), size: em, bold: l.bold})
		}
	}
	b.height = int(math.Ceil(y))
	return b
}

// bodies of text for a room, the best first: everything in a good size; everything
// as small as can be read; and less and less.
func (p *Press) body(lines []line, w, h int, full bool) *block {
	mm := p.dpi.perMM()
	largest := largestText
	if p.Stock.Use == Receipt {
		largest = 3
	}
	most := min(largest*mm, float64(h)/5, float64(w)/9)
	widest := 0.0
	for _, l := range lines {
		widest = max(widest, faceOf(l.bold).width(l.s)*l.scale)
	}
	// A line each, if they are not small then; else broken where need be.
	if unbroken := min(most, float64(w)/widest*0.999); unbroken >= comfortableText*mm {
		if b := p.set(lines, w, h, unbroken, comfortableText*mm, false); b != nil {
			return b
		}
	}
	if b := p.set(lines, w, h, most, comfortableText*mm, false); b != nil || full {
		return b
	}
	lines = slices.Clone(lines)
	var left []string
	for {
		if b := p.set(lines, w, h, most, smallestText*mm, true); b != nil {
			b.left = append(left, b.left...)
			return b
		}
		last, rank := -1, 0
		for i, l := range lines {
			if l.rank > rank {
				last, rank = i, l.rank
			}
		}
		if last < 0 {
			return nil
		}
		left = append(left, lines[last].name)
		lines = slices.Delete(lines, last, last+1)
	}
}

// layout is where a label's parts stand, in dots from its corner.
type layout struct {
	at     image.Point // the first module
	module int         // dots
	texts  []text
	left   []string
	height int // what of it is used
}

// room is a label's size in dots, and how far from its edges nothing is printed.
type room struct{ w, h, insetX, insetY, slack int }

func (p *Press) room(s Stock, dpi DPI) room {
	r := room{w: dpi.dots(s.LabelW), h: dpi.dots(s.LabelH)}
	r.insetX, r.insetY = dpi.dots(max(s.Margin, s.Unprintable-s.Left)), dpi.dots(max(s.Margin, s.Unprintable-s.Top))
	if s.Use == CutSheet {
		r.slack = dpi.dots(1) // the cut is not in the quiet zone
	}
	return r
}

// widest returns the largest module with which a symbol and its quiet zone fit.
func (r room) widest(size int) int {
	side := size + 2*Quiet
	return min((r.w-2*r.slack)/side, (r.h-2*r.slack)/side, (r.w-2*r.insetX)/size, (r.h-2*r.insetY)/size)
}

// largestModule is in millimetres: more helps nobody, and costs toner.
const largestModule = 4

// most is the widest module in dots that makes sense on a stock.
func (p *Press) most(s Stock, dpi DPI) int {
	most := largestModule
	if s.Use == Receipt {
		most = 1
	}
	n := dpi.dots(float64(most))
	if p.Native {
		n = min(n, nativeModule)
	}
	return n
}

// nativeModule is the widest module that every printer's own QR command has.
const nativeModule = 10

// arrange finds the best place for a symbol and its text.
func (p *Press) arrange(l *Label, size int) (*layout, error) {
	r := p.room(p.Stock, p.dpi)
	most, least := min(r.widest(size), p.most(p.Stock, p.dpi)), p.dpi.leastModule()
	if most < least {
		return nil, p.tooSmall(l, size)
	}
	if p.ModuleMM > 0 {
		n := int(p.ModuleMM*p.dpi.perMM() + 1e-6)
		switch {
		case n < least:
			return nil, &Refusal{"module_too_small", "module_mm", fmt.Sprintf("has to be at least %.3f at %d dpi: %d dots, so that heat or ink that spreads by a dot closes no gap", p.dpi.mm(least), p.dpi, least)}
		case n > most:
			return nil, &Refusal{"module_too_large", "module_mm", fmt.Sprintf("can be at most %.3f for this payload at level %v on this stock. Leave it out for the largest that fits", p.dpi.mm(most), p.Level)}
		}
		most, least = n, n
	}
	if p.Bare {
		return &layout{at: image.Pt((r.w-most*size)/2, (r.h-most*size)/2), module: most, height: r.h}, nil
	}
	lines := p.lines(l)
	below, beside := p.below(lines, r, size, most, least), (*layout)(nil)
	if p.Stock.Use != Receipt {
		beside = p.beside(lines, r, size, most, least)
	}
	best := below
	if best == nil || beside != nil && (len(beside.left) < len(best.left) || len(beside.left) == len(best.left) && beside.module > best.module) {
		best = beside
	}
	if best == nil {
		return nil, &Refusal{"no_room_for_caption", "caption", fmt.Sprintf("does not fit beside a symbol of %d × %d modules on this stock. Print the symbol alone (caption false), or take %s", size, size, p.others(l, false))}
	}
	return best, nil
}

// choose tries modules from the widest down: the first that leaves room for all of
// the text in a good size, else the one that keeps six tenths of the width.
func choose(most, least int, try func(module int, full bool) *layout) *layout {
	floor := max(least, (most*6+9)/10)
	for k := most; k >= floor; k-- {
		if l := try(k, true); l != nil {
			return l
		}
	}
	for k := floor; k >= least; k-- {
		if l := try(k, false); l != nil {
			return l
		}
	}
	return nil
}

// below stands the text under the symbol, in the middle.
func (p *Press) below(lines []line, r room, size, most, least int) *layout {
	return choose(most, least, func(k int, full bool) *layout {
		top := max(r.insetY, r.slack+Quiet*k)
		from := top + size*k + max(Quiet*k, p.dpi.dots(2)) // at least what printers misplace their own symbols by
		w := r.w - 2*r.insetX
		b := p.body(lines, w, r.h-r.insetY-from, full)
		if b == nil {
			return nil
		}
		if spare := r.h - r.insetY - from - b.height; p.Stock.Use != Receipt && spare > 0 {
			top, from = top+spare/3, from+spare/2
		}
		for i := range b.texts {
			t := &b.texts[i]
			t.x, t.y = float64(r.insetX)+(float64(w)-t.width())/2, t.y+from
		}
		return &layout{image.Pt((r.w-size*k)/2, top), k, b.texts, b.left, from + b.height + p.dpi.dots(3)}
	})
}

// beside stands the text to the right of the symbol.
func (p *Press) beside(lines []line, r room, size, most, least int) *layout {
	return choose(most, least, func(k int, full bool) *layout {
		x := max(r.insetX, r.slack+Quiet*k)
		from := x + size*k + Quiet*k + p.dpi.dots(0.4) // some letters begin left of where they stand
		room := r.h - 2*r.insetY
		b := p.body(lines, r.w-r.insetX-from, room, full)
		if b == nil {
			return nil
		}
		for i := range b.texts {
			t := &b.texts[i]
			t.x, t.y = float64(from), t.y+r.insetY+(room-b.height)/2
		}
		return &layout{image.Pt(x, (r.h-size*k)/2), k, b.texts, b.left, r.h}
	})
}

// tooSmall refuses a payload that does not fit, and says what it fits on.
func (p *Press) tooSmall(l *Label, size int) error {
	return &Refusal{"payload_too_long", "stock", fmt.Sprintf(
		"is too small: %d characters at level %v are %d × %d modules, and with a white rim of %d on each side they fit in no module of %.2f mm or more at %d dpi. What fits: %s",
		len(l.Payload), p.Level, size, size, Quiet, p.dpi.mm(p.dpi.leastModule()), p.dpi, p.others(l, true))}
}

// others names what the payload fits on: a lower level, a finer printer, other stocks.
func (p *Press) others(l *Label, settings bool) string {
	fits := func(s Stock, dpi DPI, level Level) bool {
		m, err := Encode(l.Payload, level)
		return err == nil && p.room(s, dpi).widest(m.size) >= dpi.leastModule()
	}
	var list []string
	if settings {
		for level := p.Level; level > L && p.Logo == nil; level-- {
			if fits(p.Stock, p.dpi, level-1) {
				list = append(list, "level "+(level-1).String())
				break
			}
		}
		for _, dpi := range Resolutions {
			if dpi > p.dpi && fits(p.Stock, dpi, p.Level) {
				list = append(list, fmt.Sprintf("%d dpi", dpi))
				break
			}
		}
	}
	larger := slices.DeleteFunc(slices.Clone(Stocks), func(s Stock) bool {
		return min(s.LabelW, s.LabelH) <= min(p.Stock.LabelW, p.Stock.LabelH) || !fits(s, p.dpi, p.Level)
	})
	slices.SortStableFunc(larger, func(a, b Stock) int { // of the same use first, then the smallest
		if (a.Use == p.Stock.Use) != (b.Use == p.Stock.Use) {
			if a.Use == p.Stock.Use {
				return -1
			}
			return 1
		}
		return int(a.LabelW*a.LabelH - b.LabelW*b.LabelH)
	})
	var ids []string
	for _, s := range larger[:min(3, len(larger))] {
		ids = append(ids, s.ID)
	}
	if ids != nil {
		list = append(list, "stock "+strings.Join(ids, " or "))
	}
	if list == nil {
		return "a shorter payload"
	}
	return strings.Join(list, ", ")
}
