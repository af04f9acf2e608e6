package printing

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	qrcode "github.com/skip2/go-qrcode"
)

// bareMask is the mask that the encoder chose by itself.
func bareMask(t *testing.T, payload string, level Level) int {
	t.Helper()
	code, err := qrcode.New(payload, encoderLevels[level])
	if err != nil {
		t.Fatal(err)
	}
	return matrixOf(code, payload, level).mask()
}

// needs finds an outside program, or says loudly that it is missing.
func needs(t testing.TB, program, from string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing: install %s", program, from)
	}
	t.Skipf("SKIPPED, nobody else has looked at what is printed: %s (%s) is not installed", program, from)
	return ""
}

func writePDF(t testing.TB, sheets ...*Sheet) string {
	t.Helper()
	d := sheets[0].press.Document()
	for _, s := range sheets {
		d.Add(s)
	}
	var b bytes.Buffer
	if err := d.Write(&b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "sheet.pdf")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// rasterised is the first page of a PDF as another program draws it.
func rasterised(t testing.TB, pdf string, dpi float64) *image.Gray {
	t.Helper()
	out := strings.TrimSuffix(pdf, ".pdf")
	if b, err := exec.Command(needs(t, "pdftoppm", "poppler-utils"), "-r", strconv.FormatFloat(dpi, 'f', 4, 64), "-f", "1", "-l", "1", "-singlefile", "-gray", "-png", pdf, out).CombinedOutput(); err != nil {
		t.Fatalf("pdftoppm: %v %s", err, b)
	}
	return openPNG(t, out+".png")
}

func openPNG(t testing.TB, file string) *image.Gray {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	grey := image.NewGray(img.Bounds())
	draw.Draw(grey, grey.Rect, img, img.Bounds().Min, draw.Src)
	return grey
}

// greymap is a picture as a file that costs nothing to write (netpbm, P5).
func greymap(p image.Image) []byte {
	r := p.Bounds()
	b := fmt.Appendf(nil, "P5 %d %d 255\n", r.Dx(), r.Dy())
	if g, ok := p.(*image.Gray); ok {
		for y := r.Min.Y; y < r.Max.Y; y++ {
			from := g.PixOffset(r.Min.X, y)
			b = append(b, g.Pix[from:from+r.Dx()]...)
		}
		return b
	}
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			b = append(b, color.GrayModel.Convert(p.At(x, y)).(color.Gray).Y)
		}
	}
	return b
}

// zbarReads reads one code from each picture, in one run.
func zbarReads(t testing.TB, pictures []image.Image) []string {
	t.Helper()
	zbar := needs(t, "zbarimg", "zbar-tools")
	dir := t.TempDir()
	got := make([]string, len(pictures))
	args := []string{"--nodbus", "-q", "--xml"}
	for i, p := range pictures {
		name := filepath.Join(dir, strconv.Itoa(i)+".pgm")
		if err := os.WriteFile(name, greymap(p), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, name)
	}
	out, err := exec.Command(zbar, args...).Output()
	if exit, ok := err.(*exec.ExitError); err != nil && (!ok || exit.ExitCode() != 4) { // 4: some had none
		t.Fatalf("zbarimg: %v", err)
	}
	for _, source := range strings.Split(string(out), "<source href='")[1:] {
		name, rest, _ := strings.Cut(source, "'")
		i, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), ".pgm"))
		if err != nil {
			t.Fatal(err)
		}
		if _, data, ok := strings.Cut(rest, "<data><![CDATA["); ok {
			got[i], _, _ = strings.Cut(data, "]]></data>")
		}
	}
	return got
}

// proving reports whether time does not matter: the long, hostile version.
func proving() bool { return os.Getenv("PLACARD_PROVE") == "1" }

// finest is the resolution for what is drawn by others: their whole page at 600 dpi
// takes them, and the race detector, long.
func finest() DPI {
	if proving() {
		return DPI600
	}
	return DPI300
}

// Another program draws our PDF, and another reader reads every code off it. Whole
// sheets confuse that reader, so each label is cut out, as a person would.
func TestOthersReadThePDF(t *testing.T) {
	for _, tt := range []struct {
		set  Settings
		make func(*rand.Rand, int) Label
	}{
		{Settings{Stock: stock(t, "L7159"), DPI: DPI300, Level: M}, urlLabel},
		{Settings{Stock: stock(t, "L7165"), DPI: DPI203, Level: M}, brCodeLabel},
		{Settings{Stock: stock(t, "tent-a4"), DPI: DPI300, Level: Q}, urlLabel},
		{Settings{Stock: stock(t, "5163"), DPI: DPI300, Level: H, Logo: testLogo(), Ink: Colour{0, 40, 90}, Ground: Colour{250, 250, 240}}, urlLabel},
		{Settings{Stock: stock(t, "card-a4"), DPI: finest(), Level: M}, brCodeLabel},
	} {
		t.Run(tt.set.Stock.ID, func(t *testing.T) {
			p := mustPress(t, tt.set)
			s := mustSheet(t, p, labels(11, p.Stock.Labels(), tt.make))
			img := rasterised(t, writePDF(t, s), p.dpi.perMM()*inch)
			ours := s.Bitmap()
			if d := img.Rect.Size().Sub(image.Pt(ours.W, ours.H)); abs(d.X) > 1 || abs(d.Y) > 1 {
				t.Fatalf("the page is %v dots, ours %d × %d", img.Rect.Size(), ours.W, ours.H)
			}
			var cuts []image.Image
			var want []string
			for i := range s.cells {
				if i == 6 && !proving() {
					break
				}
				c := &s.cells[i]
				cuts = append(cuts, img.SubImage(c.box.Inset(2)))
				want = append(want, c.label.Payload)
				if p.Logo == nil {
					sameDots(t, img, ours, c)
				}
			}
			for i, got := range zbarReads(t, cuts) {
				if got != want[i] {
					t.Errorf("label %d: zbar reads %q, printed was %q", i+1, got, want[i])
				}
			}
		})
	}
}

// sameDots holds the middle of each module of another program's drawing against ours:
// what was proved is what is printed.
func sameDots(t *testing.T, img *image.Gray, ours *Bitmap, c *cell) {
	t.Helper()
	r, k := c.onSheet(c.symbol()), c.module
	wrong := 0
	for y := r.Min.Y + k/2; y < r.Max.Y; y += k {
		for x := r.Min.X + k/2; x < r.Max.X; x += k {
			if (img.GrayAt(x, y).Y < 128) != ours.Dark(x, y) {
				wrong++
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%s: %d modules differ between the PDF and what was proved", c.label.Serial, wrong)
	}
}

// The text of a PDF can be searched and copied, in every script of the font.
func TestPDFText(t *testing.T) {
	l := urlLabel(rand.New(rand.NewPCG(1, 1)), 7)
	l.Title, l.Place, l.Help = "Żółw Кафе Καφές", "Cà phê Sữa ₹ ₺ €", "İstanbul Ș Ț Հայ ქართ"
	s := mustSheet(t, mustPress(t, Settings{Stock: stock(t, "a6-stand"), Level: M}), []Label{l})
	file := writePDF(t, s)
	out, err := exec.Command(needs(t, "pdftotext", "poppler-utils"), "-layout", file, "-").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{l.Title, l.Place, l.Help, l.Token, "pay.example.com/q/"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in the text:\n%s", want, out)
		}
	}
	// And it is drawn, not only said: the same dots are dark, but for the edges of letters.
	img, ours := rasterised(t, file, DPI600.perMM()*inch), s.Bitmap()
	differ, dark := 0, 0
	for y := range ours.H {
		for x := range ours.W {
			if ours.Dark(x, y) {
				dark++
			}
			if (img.GrayAt(x, y).Y < 128) != ours.Dark(x, y) {
				differ++
			}
		}
	}
	if differ*100 > dark {
		t.Errorf("%d of %d dark dots differ", differ, dark)
	}
}

func TestColours(t *testing.T) {
	for _, s := range []string{"#000000", "#1a2b3c", "#FFFFFF"} {
		c, ok := ParseColour(s)
		if !ok || !strings.EqualFold(c.String(), s) {
			t.Errorf("%s is read as %v, %v", s, c, ok)
		}
	}
	for _, s := range []string{"", "red", "#fff", "#gggggg", "000000", "#0000000"} {
		if _, ok := ParseColour(s); ok {
			t.Errorf("%q is a colour", s)
		}
	}
	if g := (Colour{255, 255, 255}).grey(); g != 255 || (color.GrayModel.Convert(color.White).(color.Gray).Y != g) {
		t.Errorf("white is %d", g)
	}
}
