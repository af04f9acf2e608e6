package printing_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

// Two readers that share no code with the encoder or with each other.

func readWithZXing(t testing.TB, img image.Image) string {
	t.Helper()
	bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		t.Fatal(err)
	}
	got, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true})
	if err != nil {
		t.Fatalf("gozxing does not read it: %v", err)
	}
	return got.GetText()
}

func readWithZBar(t testing.TB, file string) string {
	t.Helper()
	if _, err := exec.LookPath("zbarimg"); err != nil {
		if os.Getenv("CI") == "1" {
			t.Fatal("zbarimg is missing: install zbar-tools")
		}
		t.Skip("SKIPPED, not read by the second reader: zbarimg (zbar-tools) is not installed")
	}
	out, err := exec.Command("zbarimg", "--nodbus", "-q", "--raw", file).CombinedOutput()
	if err != nil {
		t.Fatalf("zbarimg does not read %s: %v %s", file, err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// zbarReadsImage gives the second reader what the first one saw.
func zbarReadsImage(t testing.TB, img image.Image) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "seen.png")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := png.Encode(f, img); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return readWithZBar(t, file)
}

const dot = 4 // pixels a module is wide where the tests draw

// svgImage draws an SVG of ours: two paths of M, h, v and z on integer modules.
// Anything else in a path is refused, so that a change of the writer shows here.
func svgImage(t testing.TB, drawing []byte) image.Image {
	t.Helper()
	var svg struct {
		ViewBox   string `xml:"viewBox,attr"`
		Rendering string `xml:"shape-rendering,attr"`
		Paths     []struct {
			Fill string `xml:"fill,attr"`
			D    string `xml:"d,attr"`
		} `xml:"path"`
	}
	if err := xml.Unmarshal(drawing, &svg); err != nil {
		t.Fatalf("not XML: %v", err)
	}
	var width, height float64
	if _, err := fmt.Sscanf(svg.ViewBox, "0 0 %g %g", &width, &height); err != nil {
		t.Fatalf("viewBox %q: %v", svg.ViewBox, err)
	}
	if svg.Rendering != "crispEdges" {
		t.Errorf("shape-rendering is %q", svg.Rendering)
	}
	// The page around is dark: the drawing must bring its own white.
	img := image.NewGray(image.Rect(0, 0, int(width*dot), int(height*dot)))
	for _, path := range svg.Paths {
		shade, ok := map[string]color.Gray{"#fff": {255}, "#000": {0}}[path.Fill]
		if !ok {
			t.Fatalf("fill %q", path.Fill)
		}
		for _, rect := range pathRects(t, path.D) {
			for y := rect.y * dot; y < (rect.y+rect.h)*dot; y++ {
				for x := rect.x * dot; x < (rect.x+rect.w)*dot; x++ {
					img.SetGray(int(x), int(y), shade)
				}
			}
		}
	}
	return img
}

type rect struct{ x, y, w, h float64 }

func pathRects(t testing.TB, d string) (rects []rect) {
	t.Helper()
	number := func() float64 {
		n := strings.IndexFunc(d[1:], func(r rune) bool { return !strings.ContainsRune("-.0123456789", r) })
		if n < 0 {
			t.Fatalf("path ends in a number: %q", d)
		}
		f, err := strconv.ParseFloat(d[1:1+n], 64)
		if err != nil {
			t.Fatalf("path at %.20q: %v", d, err)
		}
		d = d[1+n:]
		return f
	}
	for d != "" {
		var r rect
		if d[0] != 'M' {
			t.Fatalf("path at %.20q: want M", d)
		}
		r.x = number()
		if d[0] != ' ' {
			t.Fatalf("path at %.20q: want a blank", d)
		}
		r.y = number()
		for _, step := range []struct {
			command byte
			into    *float64
			back    bool
		}{{'h', &r.w, false}, {'v', &r.h, false}, {'h', &r.w, true}} {
			if d[0] != step.command {
				t.Fatalf("path at %.20q: want %c", d, step.command)
			}
			n := number()
			if step.back && n != -*step.into {
				t.Fatalf("a rectangle %g wide comes back by %g", *step.into, n)
			}
			if !step.back {
				*step.into = n
			}
		}
		if d[0] != 'z' {
			t.Fatalf("path at %.20q: want z", d)
		}
		d = d[1:]
		rects = append(rects, r)
	}
	return rects
}

func pngImage(t testing.TB, data []byte) image.Image {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// screenshot draws text as a terminal does: one cell is dot pixels wide and twice
// as high; paper and ink are the terminal's own colours, and a margin of paper
// surrounds the text.
func screenshot(t testing.TB, text string, paper, ink color.Gray) image.Image {
	t.Helper()
	const margin = 3
	rows := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	columns := 0
	for _, row := range rows {
		columns = max(columns, len([]rune(row)))
	}
	img := image.NewGray(image.Rect(0, 0, (columns+2*margin)*dot, (len(rows)+2*margin)*2*dot))
	for i := range img.Pix {
		img.Pix[i] = paper.Y
	}
	cube := map[string]color.Gray{"16": {0}, "231": {255}}
	for r, row := range rows {
		foreground, background := ink, paper
		column := margin
		in := strings.NewReader(row)
		for {
			c, _, err := in.ReadRune()
			if err == io.EOF {
				break
			}
			if c == 0x1b {
				var codes []string
				if b, _ := in.ReadByte(); b != '[' {
					t.Fatal("an escape that is not CSI")
				}
				for code := ""; ; {
					b, err := in.ReadByte()
					if err != nil {
						t.Fatal("an escape without an end")
					}
					if b == 'm' || b == ';' {
						codes, code = append(codes, code), ""
					} else {
						code += string(b)
					}
					if b == 'm' {
						break
					}
				}
				for ; len(codes) > 0; codes = codes[1:] {
					if codes[0] == "0" {
						foreground, background = ink, paper
						continue
					}
					if len(codes) < 3 || codes[1] != "5" || codes[0] != "38" && codes[0] != "48" {
						t.Fatalf("unknown colour %v", codes)
					}
					shade, ok := cube[codes[2]]
					if !ok {
						t.Fatalf("colour %s depends on the theme", codes[2])
					}
					if codes[0] == "38" {
						foreground = shade
					} else {
						background = shade
					}
					codes = codes[2:]
				}
				continue
			}
			upper, lower := background, background
			switch c {
			case ' ':
			case '▀':
				upper = foreground
			case '▄':
				lower = foreground
			case '█':
				upper, lower = foreground, foreground
			default:
				t.Fatalf("character %q", c)
			}
			for y := range 2 * dot {
				for x := range dot {
					shade := upper
					if y >= dot {
						shade = lower
					}
					img.SetGray(column*dot+x, (r+margin)*2*dot+y, shade)
				}
			}
			column++
		}
		if foreground != ink || background != paper {
			t.Error("a row leaves its colours behind")
		}
	}
	return img
}
