package printing

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"image"
	"strings"
)

// Reason is why a label of a sheet is not good.
type Reason string

// What can be wrong with a label, in the order in which it is looked for. The names
// of Damages are reasons too, as in "fails_blur".
const (
	OffSheet       Reason = "off_sheet"        // part of it is where the printer does not print
	OffLabel       Reason = "off_label"        // part of the symbol is over the label's edge
	TextOffLabel   Reason = "text_off_label"   // part of the text is
	ModuleTooSmall Reason = "module_too_small" // for this resolution
	LowContrast    Reason = "low_contrast"     // ink and ground are too much alike
	LogoTooLarge   Reason = "logo_too_large"   // it covers more than may be missing
	Duplicate      Reason = "duplicate"        // the sheet has this code twice
	WrongCaption   Reason = "wrong_caption"    // the characters beside it are another code's
	Empty          Reason = "empty"            // nothing is printed there
	NoQuietZone    Reason = "no_quiet_zone"    // something is printed in the white around it
	UnevenModules  Reason = "uneven_modules"   // some are wider than others
	Unreadable     Reason = "unreadable"       // undamaged as it is
	WrongPayload   Reason = "wrong_payload"    // it is another code
	WrongLevel     Reason = "wrong_level"      // it has less correction than was asked for
)

func fails(d *Damage) Reason { return Reason("fails_" + d.Name) }

// Fault is a label that is not good. The sheet it is on is not to be printed.
type Fault struct {
	Label  int    `json:"label"` // on its sheet, counted from 1
	Serial string `json:"serial,omitempty"`
	Reason Reason `json:"reason"`
	Detail string `json:"detail"`
}

func (f Fault) String() string {
	which := fmt.Sprintf("label %d", f.Label)
	if f.Serial != "" {
		which = "№ " + f.Serial
	}
	return which + ": " + f.Detail
}

// Survived counts who could be read after one kind of damage.
type Survived struct {
	Damage string `json:"damage"`
	Read   int    `json:"read"`
	Of     int    `json:"of"`
}

// Proof says of one sheet what a reader saw on it.
type Proof struct {
	Hash     string     `json:"sha256"` // of the printer's dots
	DPI      DPI        `json:"dpi"`
	Level    string     `json:"level"`
	ModuleMM float64    `json:"module_mm"` // of the narrowest symbol
	Codes    int        `json:"codes"`
	Read     int        `json:"read"` // undamaged, as what they should be
	Survived []Survived `json:"survived,omitempty"`
	Faults   []Fault    `json:"faults,omitempty"`
}

// Passed reports whether the sheet may be printed.
func (p *Proof) Passed() bool { return len(p.Faults) == 0 && p.Read == p.Codes }

// Depth is how much a proof looks at.
type Depth uint8

const (
	ReadBack Depth = iota // every code is read once, as it is printed
	Full                  // and once more after each kind of damage
)

// ParseDepth reads "read" and "full".
func ParseDepth(s string) (Depth, bool) {
	return map[string]Depth{"read": ReadBack, "full": Full}[s], s == "read" || s == "full"
}

func (d Depth) String() string { return [...]string{"read", "full"}[d] }

// Prove draws the sheet as its printer will, reads every code off the dots, damages
// each in every way and reads it again, and compares with what should stand there.
func (s *Sheet) Prove(depth Depth) *Proof { return s.prove(s.Bitmap(), depth) }

func (s *Sheet) prove(b *Bitmap, depth Depth) *Proof {
	p := &Proof{Hash: b.hash(), DPI: s.press.dpi, Level: s.press.Level.String(), Codes: len(s.cells)}
	if depth == Full {
		for _, d := range Damages {
			p.Survived = append(p.Survived, Survived{Damage: d.Name})
		}
	}
	seen := map[string]int{}
	for i := range s.cells {
		c := &s.cells[i]
		if mm := s.press.dpi.mm(c.module); p.ModuleMM == 0 || mm < p.ModuleMM {
			p.ModuleMM = mm
		}
		fault := func(r Reason, detail string, a ...any) {
			p.Faults = append(p.Faults, Fault{i + 1, c.label.Serial, r, fmt.Sprintf(detail, a...)})
		}
		if r, why := s.misplaced(c); r != "" {
			fault(r, "%s", why)
			continue
		}
		panel := 0
		if s.press.Stock.Folded {
			panel = i % 2 // its two panels show the same
		}
		key := fmt.Sprint(panel, c.label.Payload)
		if first, twice := seen[key]; twice {
			fault(Duplicate, "is the same code as label %d: one of them would be paid for the other", first+1)
			continue
		}
		seen[key] = i
		s.proveCell(p, c, b, depth, fault)
	}
	return p
}

// misplaced checks what the drawing itself says, before anybody looks at it.
func (s *Sheet) misplaced(c *cell) (Reason, string) {
	symbol := c.onSheet(c.symbol())
	edge := s.press.dpi.dots(s.press.Stock.Unprintable)
	printed := image.Rect(edge, edge, s.w-edge, s.h-edge)
	switch {
	case !symbol.In(printed):
		return OffSheet, "part of the symbol is where the printer leaves the paper white"
	case !symbol.Inset(-Quiet * c.module).In(c.box.Inset(-1)):
		return OffLabel, "the symbol and the white around it are over the label's edge"
	case c.module < s.press.dpi.leastModule():
		return ModuleTooSmall, fmt.Sprintf("a module of %d dots is too narrow at %d dpi, where %d are needed", c.module, s.press.dpi, s.press.dpi.leastModule())
	}
	for i := range c.texts {
		t := &c.texts[i]
		box := image.Rect(int(t.x), t.y-int(t.size*capital), int(t.x+t.width()), t.y+int(t.size*descent))
		if !c.onSheet(box).In(c.box.Inset(-1)) {
			return TextOffLabel, fmt.Sprintf("the text %q is over the label's edge", t.s)
		}
	}
	if err := contrast(s.press.Ink, s.press.Ground); err != nil {
		return LowContrast, err.Error()
	}
	if side := float64(c.logo.Dx()); side > logoShare*float64(c.symbol().Dx())+0.5 {
		return LogoTooLarge, fmt.Sprintf("the logo takes %.0f %% of the symbol's side; %.0f %% is the most", 100*side/float64(c.symbol().Dx()), logoShare*100)
	}
	// A URL of ours ends in the code's characters; what people would type has to be the same.
	if token := strings.ReplaceAll(c.label.Token, "-", ""); token != "" && !s.press.Bare {
		if _, tail, ok := cutLast(c.label.Payload, "/Q/"); ok && len(tail) == len(token) && tail != token {
			return WrongCaption, fmt.Sprintf("the caption says %s, and the symbol leads to %s", token, tail)
		}
	}
	return "", ""
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// proveCell looks at one label's dots.
func (s *Sheet) proveCell(p *Proof, c *cell, b *Bitmap, depth Depth, fault func(Reason, string, ...any)) {
	symbol := c.onSheet(c.symbol())
	whole := symbol.Inset(-Quiet * c.module)
	crop := b.crop(whole)
	inner := symbol.Sub(whole.Min)
	switch ink := crop.within(inner); {
	case ink.Empty():
		fault(Empty, "nothing is printed where the code should be")
		return
	case crop.within(image.Rect(0, 0, crop.W, crop.H)) != ink:
		fault(NoQuietZone, "something is printed in the %d modules of white that a camera needs around the symbol", Quiet)
		return
	}
	plain := viewOf(crop, c.module, s.press.Ink, s.press.Ground)
	eye := plain.seen()
	got, err := eye.read()
	switch {
	case err != nil:
		fault(Unreadable, "cannot be read even undamaged")
		return
	case got.text != c.label.Payload:
		fault(WrongPayload, "reads as %.40q, which is another code", got.text)
		return
	case got.level != s.press.Level.String():
		fault(WrongLevel, "has the correction of level %s, not %v", got.level, s.press.Level)
		return
	}
	if x, y, ok := crop.even(inner, c.module, c.logo.Add(c.box.Min).Sub(whole.Min), c.turned); !ok {
		fault(UnevenModules, "the module at column %d of row %d is not %d dots wide and high like the others", x+1, y+1, c.module)
		return
	}
	p.Read++
	if depth != Full {
		return
	}
	seed := seedOf(c.label.Payload)
	for i := range Damages {
		d := &Damages[i]
		v := damaged(plain, eye, d, seed)
		p.Survived[i].Of++
		if got, err := v.read(); err == nil && got.text == c.label.Payload {
			p.Survived[i].Read++
			continue
		}
		works := "a wider module or a larger stock"
		if s.press.Level < H {
			works = "level " + (s.press.Level + 1).String() + ", " + works
		}
		fault(fails(d), "cannot be read any more after: %s. Try %s", d.What, works)
	}
}

// damaged is what the camera sees of a print that was damaged. What the printer's own
// driver does happens to dots; the rest to what the camera sees.
func damaged(plain, eye *view, d *Damage, seed uint64) *view {
	v := *eye
	if d.Name == "reduced" {
		v = *plain
		d.do(&v, seed)
		v.module = plain.module // the camera stays where it is
		return v.seen()
	}
	v.pix = append([]uint8(nil), eye.pix...)
	d.do(&v, seed)
	return &v
}

// even reports whether all modules in r are squares of k dots; else where one is not.
func (b *Bitmap) even(r image.Rectangle, k int, logo image.Rectangle, turned bool) (x, y int, ok bool) {
	if turned && !logo.Empty() { // it stands in the middle
		logo = logo.Add(r.Min.Add(r.Max).Sub(logo.Min.Add(logo.Max)).Div(2))
	}
	for y := 0; y < r.Dy()/k; y++ {
		for x := 0; x < r.Dx()/k; x++ {
			at := r.Min.Add(image.Pt(x*k, y*k))
			if at.In(logo) {
				continue
			}
			dark := b.Dark(at.X, at.Y)
			for v := range k {
				for u := range k {
					if b.Dark(at.X+u, at.Y+v) != dark {
						return x, y, false
					}
				}
			}
		}
	}
	return 0, 0, true
}

// hash is of the dots and of how many stand in a row.
func (b *Bitmap) hash() string {
	h := sha256.New()
	binary.Write(h, binary.BigEndian, [3]uint32{uint32(b.W), uint32(b.H), uint32(b.DPI)}) // a hash's writes do not fail
	h.Write(b.bits)
	return hex.EncodeToString(h.Sum(nil))
}
