package printing

import (
	_ "embed"
	"fmt"
	"image"
	"math"
	"sync"
	"unicode"

	"golang.org/x/image/font"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
	"golang.org/x/text/unicode/norm"
)

// DejaVu Sans Condensed, cut to the scripts that print without shaping; see
// fonts/cut.sh for what is in it and fonts/LICENSE for why that is allowed.
//
//go:embed fonts/DejaVuSansCondensed.ttf
var regularTTF []byte

//go:embed fonts/DejaVuSansCondensed-Bold.ttf
var boldTTF []byte

// face is one of the two fonts, as outlines. A PDF embeds the same file, and writes
// with the same widths and without kerning: lines are as long on paper as here.
type face struct {
	ttf  []byte
	font *sfnt.Font
	em   float64 // units

	mu       sync.Mutex
	buffer   sfnt.Buffer
	advances map[rune]float64 // in ems; negative: the font has no such character
}

func newFace(ttf []byte) *face {
	f, err := sfnt.Parse(ttf)
	if err != nil {
		panic(err) // it is part of the program
	}
	return &face{ttf: ttf, font: f, em: float64(f.UnitsPerEm()), advances: map[rune]float64{}}
}

var faces = sync.OnceValue(func() (f struct{ regular, bold *face }) {
	f.regular, f.bold = newFace(regularTTF), newFace(boldTTF)
	return f
})

func faceOf(bold bool) *face {
	if bold {
		return faces().bold
	}
	return faces().regular
}

func (f *face) advance(r rune) float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a, ok := f.advances[r]; ok {
		return a
	}
	a := -1.0
	if i, err := f.font.GlyphIndex(&f.buffer, r); err == nil && i != 0 {
		if w, err := f.font.GlyphAdvance(&f.buffer, i, fixed.I(int(f.em)), font.HintingNone); err == nil {
			a = float64(w) / 64 / f.em
		}
	}
	f.advances[r] = a
	return a
}

// width is how long s is, in ems.
func (f *face) width(s string) (w float64) {
	for _, r := range s {
		w += max(0, f.advance(r))
	}
	return w
}

// capital is the height of a capital letter, in ems.
const capital = 0.73

// descent is how far a letter reaches below the line, in ems.
const descent = 0.24

// glyph is a letter in dots, relative to where its line begins.
type glyph struct {
	image.Rectangle
	dark []bool // row by row
}

type glyphKey struct {
	bold bool
	r    rune
	size int // in quarters of a dot
}

// glyphs draws letters, each once a size. It may be used by many at once.
type glyphs struct {
	mu   sync.Mutex
	have map[glyphKey]*glyph
}

func (g *glyphs) get(bold bool, r rune, size float64) *glyph {
	k := glyphKey{bold, r, int(math.Round(size * 4))}
	g.mu.Lock()
	defer g.mu.Unlock()
	if have := g.have[k]; have != nil {
		return have
	}
	if g.have == nil || len(g.have) > 1<<13 {
		g.have = map[glyphKey]*glyph{}
	}
	n := faceOf(bold).draw(r, float64(k.size)/4)
	g.have[k] = n
	return n
}

func (f *face) draw(r rune, size float64) *glyph {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, err := f.font.GlyphIndex(&f.buffer, r)
	if err != nil {
		return &glyph{}
	}
	outline, err := f.font.LoadGlyph(&f.buffer, i, fixed.Int26_6(math.Round(size*64)), nil)
	if err != nil || len(outline) == 0 {
		return &glyph{}
	}
	b := outline.Bounds()
	box := image.Rect(b.Min.X.Floor(), b.Min.Y.Floor(), b.Max.X.Ceil(), b.Max.Y.Ceil())
	at := func(p fixed.Point26_6) (float32, float32) {
		return float32(p.X)/64 - float32(box.Min.X), float32(p.Y)/64 - float32(box.Min.Y)
	}
	z := vector.NewRasterizer(box.Dx(), box.Dy())
	for _, s := range outline {
		x, y := at(s.Args[0])
		switch s.Op {
		case sfnt.SegmentOpMoveTo:
			z.MoveTo(x, y)
		case sfnt.SegmentOpLineTo:
			z.LineTo(x, y)
		case sfnt.SegmentOpQuadTo:
			x1, y1 := at(s.Args[1])
			z.QuadTo(x, y, x1, y1)
		case sfnt.SegmentOpCubeTo:
			x1, y1 := at(s.Args[1])
			x2, y2 := at(s.Args[2])
			z.CubeTo(x, y, x1, y1, x2, y2)
		}
	}
	shade := image.NewAlpha(image.Rect(0, 0, box.Dx(), box.Dy()))
	z.Draw(shade, shade.Rect, image.Opaque, image.Point{})
	g := &glyph{box, make([]bool, box.Dx()*box.Dy())}
	for y := range box.Dy() {
		for x := range box.Dx() {
			g.dark[y*box.Dx()+x] = shade.Pix[y*shade.Stride+x] >= 128
		}
	}
	return g
}

// legible returns s as it is printed, composed to single characters (Unicode NFC), or
// says what in it cannot be: control characters, characters that turn the direction of
// what stands beside them (Unicode TR 9), with which a shop's name can be made to read
// as another, and those that the font lacks.
func legible(field, s string) (string, error) {
	s = norm.NFC.String(s)
	for i, r := range s {
		switch {
		case r == unicode.ReplacementChar:
			return "", &Refusal{"text", field, "is not valid UTF-8"}
		case unicode.IsControl(r), r == '\u2028', r == '\u2029', r == '\ufeff':
			return "", &Refusal{"text", field, fmt.Sprintf("has the control character U+%04X at byte %d. Leave it out; it prints as nothing", r, i)}
		case unicode.Is(unicode.Bidi_Control, r):
			return "", &Refusal{"text", field, fmt.Sprintf("has U+%04X at byte %d, which turns the direction of the text around it. Leave it out", r, i)}
		case faces().regular.advance(r) < 0 || faces().bold.advance(r) < 0:
			return "", &Refusal{"no_glyph", field, fmt.Sprintf("has %q (U+%04X), which the built-in font lacks. It has Latin, Greek, Cyrillic, Armenian and Georgian letters; write it in one of them", r, r)}
		}
	}
	return s, nil
}
