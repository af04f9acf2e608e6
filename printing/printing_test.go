package printing_test

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	qrcode "github.com/skip2/go-qrcode"

	"placard/printing"
)

var levels = []printing.Level{printing.L, printing.M, printing.Q, printing.H}

const (
	tokenURL = "HTTPS://PAY.EXAMPLE.COM/Q/0KT3MZ8RJ4WQ7NVB2CXE"
	// The static form of a Pix code (BR Code) with a location, as the bank gives it.
	brCode = "00020101021226770014BR.GOV.BCB.PIX2555pix.example.com/qr/v2/cobv/9d36b84fc70b478fb95c12729b90ca255204000053039865802BR5913FULANO DE TAL6008BRASILIA62070503***6304ABCD"
)

var payloads = []struct {
	text string
	mode printing.Mode
}{
	{tokenURL, printing.Alphanumeric},
	{"HTTPS://A.CO/Q/00000000000000000000", printing.Alphanumeric},
	{"HTTPS://192.168.100.200:8443/Q/0KT3MZ8RJ4WQ7NVB2CXE", printing.Alphanumeric},
	{"https://pay.example.com/q/0KT3MZ8RJ4WQ7NVB2CXE", printing.Byte},
	{"HTTPS://PAY.EXAMPLE.COM/Q/0KT3MZ8RJ4WQ7NVB2CXE?S=1", printing.Byte}, // ? is not in the alphabet
	{brCode, printing.Byte},
	{"5901234123457", printing.Numeric},
	{"7", printing.Numeric},
	{"$%*+-./: A", printing.Alphanumeric},
	{strings.Repeat("LONG PAYLOAD 0123456789 ", 10), printing.Alphanumeric},
}

// each runs f for every payload at every level.
func each(t *testing.T, f func(t *testing.T, m printing.Matrix)) {
	for i, p := range payloads {
		for _, level := range levels {
			t.Run(fmt.Sprintf("%d/%v", i, level), func(t *testing.T) {
				m, err := printing.Encode(p.text, level)
				if err != nil {
					t.Fatal(err)
				}
				f(t, m)
			})
		}
	}
}

func mustRead(t *testing.T, m printing.Matrix, img image.Image) {
	t.Helper()
	if got := readWithZXing(t, img); got != m.Payload() {
		t.Errorf("gozxing reads %q, printed was %q", got, m.Payload())
	}
	if got := zbarReadsImage(t, img); got != m.Payload() {
		t.Errorf("zbar reads %q, printed was %q", got, m.Payload())
	}
}

func TestSVGIsRead(t *testing.T) {
	each(t, func(t *testing.T, m printing.Matrix) {
		mustRead(t, m, svgImage(t, printing.SVG(m, printing.SVGOptions{Caption: "0KT3M Z8RJ4"})))
	})
}

func TestPNGIsRead(t *testing.T) {
	each(t, func(t *testing.T, m printing.Matrix) {
		data, err := printing.PNG(m, printing.PNGOptions{Scale: 5})
		if err != nil {
			t.Fatal(err)
		}
		if got := readWithZXing(t, pngImage(t, data)); got != m.Payload() {
			t.Errorf("gozxing reads %q", got)
		}
		// The second reader gets our own bytes, through its own PNG decoder.
		file := filepath.Join(t.TempDir(), "ours.png")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := readWithZBar(t, file); got != m.Payload() {
			t.Errorf("zbar reads %q", got)
		}
	})
}

func TestTextIsReadOnAnyTheme(t *testing.T) {
	black, white, solarized := color.Gray{0}, color.Gray{255}, color.Gray{40}
	each(t, func(t *testing.T, m printing.Matrix) {
		mustRead(t, m, screenshot(t, printing.Text(m), white, black))
		mustRead(t, m, screenshot(t, printing.Text(m), black, white))
		mustRead(t, m, screenshot(t, printing.Text(m), solarized, white))
		mustRead(t, m, screenshot(t, printing.Plain(m, false), white, black))
		mustRead(t, m, screenshot(t, printing.Plain(m, true), black, white))
	})
}

func TestPlainHasNoEscapes(t *testing.T) {
	m, _ := printing.Encode(tokenURL, printing.Q)
	for _, onDark := range []bool{false, true} {
		if text := printing.Plain(m, onDark); strings.Trim(text, " ▀▄█\n") != "" {
			t.Errorf("something else than blocks and blanks in %q", text)
		}
	}
}

// modules reads a symbol back from the pixels of a PNG with one pixel a module.
func modules(t *testing.T, m printing.Matrix) [][]bool {
	t.Helper()
	data, err := printing.PNG(m, printing.PNGOptions{Scale: 1})
	if err != nil {
		t.Fatal(err)
	}
	img := pngImage(t, data)
	side := img.Bounds().Dx() - 2*printing.Quiet
	rows := make([][]bool, side)
	for y := range rows {
		rows[y] = make([]bool, side)
		for x := range rows[y] {
			r, _, _, _ := img.At(x+printing.Quiet, y+printing.Quiet).RGBA()
			rows[y][x] = r == 0
		}
	}
	return rows
}

// The first four data bits of a symbol name the mode of its first segment; two
// bits of the format information name its level and three its mask (ISO/IEC
// 18004:2015, 7.4 and 7.9).
func TestModeAndLevelInTheSymbol(t *testing.T) {
	first := map[printing.Mode]int{printing.Numeric: 1, printing.Alphanumeric: 2, printing.Byte: 4}
	levelBits := map[printing.Level]int{printing.L: 1, printing.M: 0, printing.Q: 3, printing.H: 2}
	masks := [8]func(i, j int) bool{ // row, column
		func(i, j int) bool { return (i+j)%2 == 0 },
		func(i, _ int) bool { return i%2 == 0 },
		func(_, j int) bool { return j%3 == 0 },
		func(i, j int) bool { return (i+j)%3 == 0 },
		func(i, j int) bool { return (i/2+j/3)%2 == 0 },
		func(i, j int) bool { return i*j%2+i*j%3 == 0 },
		func(i, j int) bool { return (i*j%2+i*j%3)%2 == 0 },
		func(i, j int) bool { return ((i+j)%2+i*j%3)%2 == 0 },
	}
	for _, p := range payloads {
		if strings.HasPrefix(p.text, "0002") {
			continue // begins with a segment of digits
		}
		for _, level := range levels {
			m, err := printing.Encode(p.text, level)
			if err != nil {
				t.Fatal(err)
			}
			if m.Mode() != p.mode {
				t.Errorf("%q: mode %s, want %s", p.text, m.Mode(), p.mode)
			}
			s := modules(t, m)
			bit := func(dark bool) int {
				if dark {
					return 1
				}
				return 0
			}
			format := 0
			for x := range 5 {
				format = format<<1 | bit(s[8][x])
			}
			format ^= 0b10101 // the first five bits of the format's own mask
			if got := format >> 3; got != levelBits[level] {
				t.Errorf("%q: level bits %02b in the symbol, want %02b for %v", p.text, got, levelBits[level], level)
			}
			mask, end, mode := masks[format&7], len(s)-1, 0
			for _, at := range [][2]int{{end, end}, {end, end - 1}, {end - 1, end}, {end - 1, end - 1}} {
				mode = mode<<1 | bit(s[at[0]][at[1]] != mask(at[0], at[1]))
			}
			if want := first[p.mode]; mode != want && !(p.mode == printing.Byte && mode == first[printing.Alphanumeric]) {
				t.Errorf("%q at %v: mode %04b in the symbol, want %04b", p.text, level, mode, want)
			}
		}
	}
}

func TestCapitalsPrintSmaller(t *testing.T) {
	for _, level := range levels {
		upper, _ := printing.Encode(tokenURL, level)
		lower, _ := printing.Encode(strings.ToLower(tokenURL), level)
		if upper.Version() >= lower.Version() {
			t.Errorf("%v: version %d in capitals, %d in lower case", level, upper.Version(), lower.Version())
		}
	}
}

func TestURLVersion(t *testing.T) {
	// A host of letters alone and a token without a row of digits: the largest case.
	const token = "0KT3MZ8RJ4WQ7NVB2CXE"
	// Both sides of every step, and the ends: the version only ever grows.
	for _, level := range levels[1:] {
		for host := 1; host <= 259; host++ {
			here := printing.URLVersion(host, level)
			if before, after := printing.URLVersion(host-1, level), printing.URLVersion(host+1, level); here == before && here == after {
				continue
			}
			m, err := printing.Encode("HTTPS://"+strings.Repeat("H", host)+"/Q/"+token, level)
			if err != nil {
				t.Fatal(err)
			}
			if here != m.Version() {
				t.Errorf("host of %d at %v: version %d in the table, %d encoded", host, level, here, m.Version())
			}
		}
	}
	for _, wrong := range []int{-1, 0, 300} {
		if got := printing.URLVersion(wrong, printing.Q); got != 0 {
			t.Errorf("host of %d: version %d", wrong, got)
		}
	}
	if got := printing.URLVersion(10, printing.L); got != 0 {
		t.Errorf("level L: version %d", got)
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, tt := range []struct {
		payload string
		want    error
	}{
		{"", printing.ErrNoPayload},
		{"\xff\xfe", printing.ErrNoPayload},
		{strings.Repeat("x", 3000), printing.ErrLongPayload},
	} {
		if _, err := printing.Encode(tt.payload, printing.M); !errors.Is(err, tt.want) {
			t.Errorf("%.10q: %v, want %v", tt.payload, err, tt.want)
		}
	}
	if _, err := printing.Encode("X", 9); err == nil {
		t.Error("level 9 was accepted")
	}
}

func TestLevelNames(t *testing.T) {
	for _, level := range levels {
		if got, ok := printing.ParseLevel(level.String()); !ok || got != level {
			t.Errorf("%v is read as %v, %v", level, got, ok)
		}
	}
	for _, wrong := range []string{"", "q", "LM", "?", "Medium"} {
		if _, ok := printing.ParseLevel(wrong); ok {
			t.Errorf("level %q was accepted", wrong)
		}
	}
}

// A quiet zone of four modules is around every drawing, whatever was asked for.
func TestQuietZone(t *testing.T) {
	m, err := printing.Encode(tokenURL, printing.Q)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ asked, want int }{{0, 4}, {-3, 4}, {1, 4}, {4, 4}, {10, 10}} {
		data, err := printing.PNG(m, printing.PNGOptions{Scale: 2, Quiet: tt.asked})
		if err != nil {
			t.Fatal(err)
		}
		img := pngImage(t, data)
		if got, want := img.Bounds().Dx(), 2*(m.Size()+2*tt.want); got != want {
			t.Errorf("PNG with quiet %d: %d pixels wide, want %d", tt.asked, got, want)
		}
		checkMargin(t, img, 2*tt.want)
		checkMargin(t, svgImage(t, printing.SVG(m, printing.SVGOptions{Quiet: tt.asked})), dot*tt.want)
	}
}

// checkMargin wants margin pixels of white on every side, and something dark just inside.
func checkMargin(t *testing.T, img image.Image, margin int) {
	t.Helper()
	side, dark := img.Bounds().Dx(), false
	for y := range side {
		for x := range side {
			if r, _, _, _ := img.At(x, y).RGBA(); r != 0 {
				continue
			}
			if min(x, y, side-1-x, side-1-y) < margin {
				t.Fatalf("dark at %d,%d, inside the quiet zone of %d", x, y, margin)
			}
			dark = dark || x == margin && y == margin
		}
	}
	if !dark {
		t.Errorf("the symbol does not begin at %d,%d", margin, margin)
	}
}

func TestPNGDensity(t *testing.T) {
	m, _ := printing.Encode(tokenURL, printing.Q)
	data, err := printing.PNG(m, printing.PNGOptions{Scale: 10, ModuleMM: 0.5})
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte("pHYs"))
	if at < 0 {
		t.Fatal("no pHYs chunk")
	}
	density := data[at+4:]
	if x, y, unit := binary.BigEndian.Uint32(density), binary.BigEndian.Uint32(density[4:]), density[8]; x != 20000 || y != 20000 || unit != 1 {
		t.Errorf("%d × %d per unit %d, want 20000 per metre: ten pixels in half a millimetre", x, y, unit)
	}
	data, err = printing.PNG(m, printing.PNGOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte("pHYs")) {
		t.Error("a density that nobody asked for")
	}
	if got, want := pngImage(t, data).Bounds().Dx(), 8*(m.Size()+8); got != want {
		t.Errorf("%d pixels without a scale, want %d", got, want)
	}
}

func TestPNGLimits(t *testing.T) {
	m, _ := printing.Encode(tokenURL, printing.Q)
	for _, scale := range []int{-1, 1000, 1 << 40} {
		if _, err := printing.PNG(m, printing.PNGOptions{Scale: scale}); err == nil {
			t.Errorf("scale %d was accepted", scale)
		}
	}
	for _, side := range []int{0, 1, 100, 512, 1000, 7016} {
		scale := printing.PNGScale(m, 0, side)
		width := scale * (m.Size() + 8)
		if scale < 1 || scale > 1 && width > side || width+m.Size()+8 <= side {
			t.Errorf("scale %d for %d pixels gives %d", scale, side, width)
		}
	}
}

func TestSVGSizeAndCaption(t *testing.T) {
	m, _ := printing.Encode(tokenURL, printing.Q)
	caption := "Café <b>&\"' ]]>\x00 " + strings.Repeat("W", 80) + "\nsecond line"
	drawing := printing.SVG(m, printing.SVGOptions{ModuleMM: 0.4, Caption: caption})
	var svg struct {
		Width  string `xml:"width,attr"`
		Height string `xml:"height,attr"`
		Text   []struct {
			Size float64 `xml:"font-size,attr"`
			Y    float64 `xml:"y,attr"`
			Line string  `xml:",chardata"`
		} `xml:"text"`
	}
	if err := xml.Unmarshal(drawing, &svg); err != nil {
		t.Fatal(err)
	}
	modules := m.Size() + 8
	if want := fmt.Sprintf("%gmm", float64(modules)*0.4); svg.Width != want {
		t.Errorf("width %s, want %s", svg.Width, want)
	}
	if len(svg.Text) != 2 || !strings.HasPrefix(svg.Text[0].Line, "Café <b>&\"' ]]>\uFFFD WW") || svg.Text[1].Line != "second line" {
		t.Fatalf("caption became %+v", svg.Text)
	}
	for _, text := range svg.Text {
		if text.Y-text.Size < float64(modules) {
			t.Errorf("a caption at %g with letters of %g reaches into the quiet zone, which ends at %d", text.Y, text.Size, modules)
		}
	}
	if small, normal := svg.Text[0].Size, svg.Text[1].Size; small*80*0.62 > float64(modules) || normal != 2.8 {
		t.Errorf("letters of %g for a long line and %g for a short one", small, normal)
	}
	if bytes.Contains(drawing, []byte("<b>")) {
		t.Error("markup in the caption stays markup")
	}
}

// A matrix never changes: drawing it in every way from many goroutines leaves it,
// and every drawing, as it was.
func TestMatrixIsImmutable(t *testing.T) {
	m, _ := printing.Encode(tokenURL, printing.Q)
	again, _ := printing.Encode(tokenURL, printing.Q)
	wantSVG, wantText := printing.SVG(m, printing.SVGOptions{}), printing.Text(m)
	wantPNG, _ := printing.PNG(m, printing.PNGOptions{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				drawing := printing.SVG(m, printing.SVGOptions{})
				data, _ := printing.PNG(m, printing.PNGOptions{})
				if !bytes.Equal(drawing, wantSVG) || !bytes.Equal(data, wantPNG) || printing.Text(m) != wantText {
					t.Error("a drawing changed")
				}
				clear(drawing)
				clear(data)
			}
		})
	}
	all.Wait()
	if !reflect.DeepEqual(m, again) {
		t.Error("the matrix changed")
	}
	if m.Dark(-1, 0) || m.Dark(0, -1) || m.Dark(m.Size(), 0) || m.Dark(0, m.Size()) || !m.Dark(0, 0) {
		t.Error("outside is dark or the corner is light")
	}
}

// What a level promises, the printed symbol keeps: a scratch of random modules in
// the middle, a little less than half of the promised area, is read all the same.
func TestDamageIsRepaired(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for level, share := range map[printing.Level]float64{printing.L: 0.02, printing.M: 0.06, printing.Q: 0.10, printing.H: 0.14} {
		m, _ := printing.Encode(tokenURL, level)
		data, _ := printing.PNG(m, printing.PNGOptions{Scale: dot})
		whole := pngImage(t, data)
		img := image.NewGray(whole.Bounds())
		draw.Draw(img, img.Rect, whole, image.Point{}, draw.Src)
		side := int(float64(m.Size()) * math.Sqrt(share))
		from := printing.Quiet + (m.Size()-side)/2
		for y := range side {
			for x := range side {
				module := image.Rect(from+x, from+y, from+x+1, from+y+1)
				module.Min, module.Max = module.Min.Mul(dot), module.Max.Mul(dot)
				draw.Draw(img, module, image.NewUniform(color.Gray{uint8(random.IntN(2) * 255)}), image.Point{}, draw.Src)
			}
		}
		if got := readWithZXing(t, img); got != tokenURL {
			t.Errorf("%v: read as %q", level, got)
		}
	}
}

// The figures to compare: each drawing is made from the payload, as a print run
// does, so that it can stand beside the bare encoder.

func BenchmarkEncoderAlone(b *testing.B) {
	for b.Loop() {
		code, err := qrcode.New(tokenURL, qrcode.High)
		if err != nil {
			b.Fatal(err)
		}
		code.Bitmap()
	}
}

func BenchmarkSVG(b *testing.B) {
	benchmarkDrawing(b, func(m printing.Matrix) { printing.SVG(m, printing.SVGOptions{}) })
}
func BenchmarkPNG(b *testing.B) {
	benchmarkDrawing(b, func(m printing.Matrix) { printing.PNG(m, printing.PNGOptions{}) })
}
func BenchmarkText(b *testing.B) {
	benchmarkDrawing(b, func(m printing.Matrix) { printing.Text(m) })
}

func benchmarkDrawing(b *testing.B, drawing func(printing.Matrix)) {
	b.Run("from the payload", func(b *testing.B) {
		for b.Loop() {
			m, err := printing.Encode(tokenURL, printing.Q)
			if err != nil {
				b.Fatal(err)
			}
			drawing(m)
		}
	})
	b.Run("alone", func(b *testing.B) {
		m, err := printing.Encode(tokenURL, printing.Q)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			drawing(m)
		}
	})
}
