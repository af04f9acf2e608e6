package printing

import (
	"fmt"
	"image"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode/decoder"
	"github.com/makiuchi-d/gozxing/qrcode/encoder"
)

// Two printers in small: they take the bytes of a job and make dots of them, as the
// makers' manuals say. Their QR codes come from another encoder than ours.

func foreignSymbol(t *testing.T, b *Bitmap, at image.Point, module int, payload string, level byte) {
	t.Helper()
	ec := map[byte]decoder.ErrorCorrectionLevel{'L': decoder.ErrorCorrectionLevel_L, 'M': decoder.ErrorCorrectionLevel_M, 'Q': decoder.ErrorCorrectionLevel_Q, 'H': decoder.ErrorCorrectionLevel_H}[level]
	code, err := encoder.Encoder_encode(payload, ec, map[gozxing.EncodeHintType]any{})
	if err != nil {
		t.Fatal(err)
	}
	m := code.GetMatrix()
	for y := range m.GetHeight() {
		for x := range m.GetWidth() {
			if m.Get(x, y) == 1 {
				r := image.Rect(x*module, y*module, (x+1)*module, (y+1)*module).Add(at)
				if !r.In(image.Rect(0, 0, b.W, b.H)) {
					t.Fatalf("the printer's own symbol is off the paper: %v", r)
				}
				b.fill(r, true)
			}
		}
	}
}

// zebra understands as much ZPL II as we send: it refuses anything else.
func zebra(t *testing.T, job string, dpi DPI) *Bitmap {
	t.Helper()
	body, ok := strings.CutPrefix(job, "^XA\n")
	if !ok {
		t.Fatalf("the label begins with %.10q", job)
	}
	if body, ok = strings.CutSuffix(body, "^XZ\n"); !ok {
		t.Fatal("the label has no end")
	}
	var w, h int
	var b *Bitmap
	at, sink, escape := image.Point{}, 10, byte(0) // a printer comes with ^BY's height at 10
	module, isSymbol := 0, false
	for command := range strings.SplitSeq(body, "^") {
		command = strings.TrimSuffix(command, "\n")
		if command == "" {
			continue
		}
		name, rest := command[:2], command[2:]
		numbers := func(n int) (list []int) {
			for i, s := range strings.SplitN(rest, ",", n+1) {
				if i == n {
					break
				}
				v, err := strconv.Atoi(s)
				if err != nil {
					t.Fatalf("^%s: %v", command, err)
				}
				list = append(list, v)
			}
			return list
		}
		switch name {
		case "CI":
			if rest != "28" {
				t.Errorf("character set %s, not UTF-8", rest)
			}
		case "LH":
			if rest != "0,0" {
				t.Errorf("home is %s", rest)
			}
		case "PW":
			w = numbers(1)[0]
		case "LL":
			h = numbers(1)[0]
			b = newBitmap(w, h, dpi)
		case "BY":
			sink = numbers(3)[2]
		case "FO":
			n := numbers(2)
			at = image.Pt(n[0], n[1])
		case "BQ":
			p := strings.Split(rest, ",")
			if p[0] != "N" || p[1] != "2" {
				t.Fatalf("^%s", command)
			}
			module, _ = strconv.Atoi(p[2])
			if module < 1 || module > 10 {
				t.Fatalf("magnification %d", module)
			}
			isSymbol = true
		case "FH":
			escape = rest[0]
		case "FD":
			if !isSymbol {
				t.Fatal("data of nothing")
			}
			if rest[1:3] != "A," { // automatic choice of the mode
				t.Fatalf("data begins with %q", rest[:3])
			}
			foreignSymbol(t, b, at.Add(image.Pt(0, sink)), module, unescape(t, rest[3:], escape), rest[0])
		case "FS":
			escape, isSymbol = 0, false
		case "GF":
			kind, rest, _ := strings.Cut(rest, ",")
			p := strings.SplitN(rest, ",", 4)
			total, _ := strconv.Atoi(p[0])
			stride, _ := strconv.Atoi(p[2])
			if kind != "A" || p[0] != p[1] || stride == 0 || total%stride != 0 {
				t.Fatalf("^GF%s,%s,%s,%s", kind, p[0], p[1], p[2])
			}
			part := newBitmap(stride*8, total/stride, dpi)
			part.bits = unpack(t, p[3], stride, total/stride)
			b.lay(part, at)
		default:
			t.Fatalf("unknown command ^%s", command)
		}
	}
	return b
}

func unescape(t *testing.T, s string, escape byte) string {
	var out []byte
	for i := 0; i < len(s); i++ {
		if escape != 0 && s[i] == escape {
			v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, byte(v))
			i += 2
			continue
		}
		if s[i] == '^' || s[i] == '~' || s[i] < 0x20 {
			t.Fatalf("%q in data is a command", s[i])
		}
		out = append(out, s[i])
	}
	return string(out)
}

// unpack reads the hexadecimal rows of a ^GFA with their repeats.
func unpack(t *testing.T, s string, stride, rows int) []byte {
	t.Helper()
	var out []byte
	row, above, count := "", "", 0
	end := func() {
		if len(row) != 2*stride {
			t.Fatalf("a row of %d digits, want %d", len(row), 2*stride)
		}
		for i := 0; i < len(row); i += 2 {
			v, err := strconv.ParseUint(row[i:i+2], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, byte(v))
		}
		row, above = "", row
	}
	for _, c := range s {
		switch {
		case 'G' <= c && c <= 'Y':
			count += int(c-'G') + 1
		case 'g' <= c && c <= 'z':
			count += (int(c-'g') + 1) * 20
		case c == ',' || c == '!':
			digit := map[rune]string{',': "0", '!': "F"}[c]
			row += strings.Repeat(digit, 2*stride-len(row))
			end()
		case c == ':':
			row = above
			end()
		default:
			row += strings.Repeat(string(c), max(count, 1))
			count = 0
			if len(row) == 2*stride {
				end()
			}
		}
	}
	if len(out) != stride*rows || row != "" {
		t.Fatalf("%d bytes of a picture of %d × %d", len(out), stride, rows)
	}
	return out
}

// till understands as much ESC/POS as we send.
func till(t *testing.T, job string, w int) *Bitmap {
	t.Helper()
	b := newBitmap(w, 4000, DPI203)
	y, centred, cut := 0, false, false
	var module int
	var level byte
	var data string
	for job != "" {
		if cut {
			t.Fatal("something follows the cut")
		}
		switch {
		case strings.HasPrefix(job, "\x1b@"):
			job = job[2:]
		case strings.HasPrefix(job, "\x1ba"):
			centred = job[2] == 1
			job = job[3:]
		case strings.HasPrefix(job, "\x1dv0\x00"):
			stride, rows := int(job[4])|int(job[5])<<8, int(job[6])|int(job[7])<<8
			if stride*8 > w || rows > 255 {
				t.Fatalf("an image of %d bytes × %d rows", stride, rows)
			}
			part := newBitmap(stride*8, rows, DPI203)
			copy(part.bits, job[8:8+stride*rows])
			b.lay(part, image.Pt(0, y))
			y += rows
			job = job[8+stride*rows:]
		case strings.HasPrefix(job, "\x1d(k"):
			n := int(job[3]) | int(job[4])<<8
			p := job[5 : 5+n]
			job = job[5+n:]
			if p[0] != 49 {
				t.Fatalf("symbol %d", p[0])
			}
			switch p[1] {
			case 65:
				if p[2:] != "2\x00" {
					t.Errorf("model %q", p[2:])
				}
			case 67:
				if module = int(p[2]); module > 16 {
					t.Errorf("module of %d", module)
				}
			case 69:
				level = "LMQH"[p[2]-48]
			case 80:
				data = p[3:]
			case 81:
				side := 0
				for v := 1; v <= 15 && side == 0; v++ {
					if lv, _ := ParseLevel(string(level)); VersionFor(modeOf(data), len(data), lv) == v {
						side = (17 + 4*v) * module
					}
				}
				x := 0
				if centred {
					x = (w - side) / 2
				}
				foreignSymbol(t, b, image.Pt(x, y), module, data, level)
				y += side
			}
		case job == "\x1dVB\x00":
			cut = true
			job = ""
		default:
			t.Fatalf("unknown bytes %.8q", job)
		}
	}
	if !cut {
		t.Error("the paper is not cut")
	}
	return b.crop(image.Rect(0, 0, w, y))
}

func TestThermalPrinters(t *testing.T) {
	odd := func(r *rand.Rand, n int) Label { // what means something to a printer
		l := urlLabel(r, n)
		l.Payload = "https://pay.example.com/~shop/^x_y?a=1;b=%20"
		l.Token = ""
		return l
	}
	var pictures []image.Image
	var want []string
	look := func(t *testing.T, b *Bitmap, l Label) {
		t.Helper()
		if got, err := viewOf(b, 6, Black, White).read(); err != nil || got.text != l.Payload {
			t.Errorf("reads %q, %v; printed was %q", got.text, err, l.Payload)
		}
		img := image.NewGray(image.Rect(0, 0, b.W, b.H))
		copy(img.Pix, viewOf(b, 6, Black, White).pix)
		pictures, want = append(pictures, img), append(want, l.Payload)
	}
	levels := []Level{M, H}
	if proving() {
		levels = []Level{L, M, Q, H}
	}
	for _, native := range []bool{false, true} {
		for name, make := range map[string]func(*rand.Rand, int) Label{"url": urlLabel, "brcode": brCodeLabel, "odd": odd} {
			for _, level := range levels {
				for _, id := range []string{"102x152", "62x100", "receipt-80", "receipt-58"} {
					t.Run(fmt.Sprintf("%s/%s/%v/native=%v", id, name, level, native), func(t *testing.T) {
						st := stock(t, id)
						p := mustPress(t, Settings{Stock: st, Level: level, Native: native})
						list := labels(21, 1, make)
						s, err := p.Sheet(list, 0, 0)
						if err != nil {
							if level > M {
								takeAdvice(t, p, list[0], err.(*Refusal))
								return
							}
							t.Fatal(err)
						}
						if proof := s.Prove(ReadBack); !proof.Passed() {
							t.Fatal(proof.Faults[0])
						}
						var b *Bitmap
						if st.Use == Receipt {
							b = till(t, string(s.ESCPOS()), s.w)
						} else {
							b = zebra(t, string(s.ZPL()), p.dpi)
						}
						if b.W != s.w || b.H != s.h {
							t.Errorf("the printer makes %d × %d dots of %d × %d", b.W, b.H, s.w, s.h)
						}
						c := &s.cells[0]
						if !native {
							if b.hash() != s.Bitmap().hash() {
								t.Error("the printer's dots are not those that were proved")
							}
						} else if got := b.within(c.onSheet(c.symbol()).Inset(-Quiet * c.module)); got != c.onSheet(c.symbol()) {
							t.Errorf("the printer's symbol is at %v, ours at %v", got, c.onSheet(c.symbol()))
						}
						look(t, b, list[0])
					})
				}
			}
		}
	}
	for i, got := range zbarReads(t, pictures) {
		if got != want[i] {
			t.Errorf("picture %d: zbar reads %q, printed was %q", i, got, want[i])
		}
	}
}

// A whole other implementation of ZPL may look at the labels too: PLACARD_ZPL names a
// program that takes a file of ZPL, a file for the PNG, width and height in millimetres
// and dots per millimetre.
func TestAnotherZPLRenderer(t *testing.T) {
	program := os.Getenv("PLACARD_ZPL")
	if program == "" {
		t.Skip("SKIPPED: PLACARD_ZPL names no renderer; the interpreter of this package has read all labels")
	}
	var pictures []image.Image
	var want []string
	for _, native := range []bool{false, true} {
		for _, make := range []func(*rand.Rand, int) Label{urlLabel, brCodeLabel} {
			s, err := mustPress(t, Settings{Stock: stock(t, "102x152"), Level: M, Native: native}).Sheet(labels(3, 1, make), 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			in, out := filepath.Join(dir, "label.zpl"), filepath.Join(dir, "label.png")
			if err := os.WriteFile(in, s.ZPL(), 0o600); err != nil {
				t.Fatal(err)
			}
			if b, err := exec.Command(program, in, out, "102", "152", "8").CombinedOutput(); err != nil {
				t.Fatalf("%v %s", err, b)
			}
			pictures, want = append(pictures, openPNG(t, out)), append(want, s.cells[0].label.Payload)
		}
	}
	for i, got := range zbarReads(t, pictures) {
		if got != want[i] {
			t.Errorf("label %d: %q", i, got)
		}
	}
}
