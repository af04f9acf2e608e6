package printing

import (
	"encoding/xml"
	"fmt"
	"image"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// How many codes are read, by two readers that share no line, after each damage, by
// level and by the module's width: the figures of docs/printing.md. Whole runs are made
// with PLACARD_PROVE=1.
func TestShareRead(t *testing.T) {
	codes := 2
	if proving() {
		codes = 100
	}
	zbar := needs(t, "zbarimg", "zbar-tools")
	r := rand.New(rand.NewPCG(3, 3))
	var table strings.Builder
	fmt.Fprintf(&table, "| level | module | as printed |")
	for _, d := range Damages {
		fmt.Fprintf(&table, " %s |", d.Name)
	}
	fmt.Fprintf(&table, "\n|---|---|---|%s\n", strings.Repeat("---|", len(Damages)))
	for level := L; level <= H; level++ {
		for _, print := range []struct {
			dpi  DPI
			dots int
		}{{DPI203, 2}, {DPI203, 3}, {DPI203, 4}, {DPI300, 4}, {DPI600, 6}, {DPI600, 12}} {
			dir := t.TempDir()
			want := map[string]string{}         // payloads by file
			ours := make([]int, 1+len(Damages)) // read by the reader of the proof
			for n := range codes {
				payload := urlLabel(r, n).Payload
				m, err := Encode(payload, level)
				if err != nil {
					t.Fatal(err)
				}
				plain := viewOf(m.dots(print.dots, print.dpi), print.dots, Black, White)
				eye := plain.seen()
				for i := range ours {
					v := eye
					if i > 0 {
						v = damaged(plain, eye, &Damages[i-1], seedOf(payload))
					}
					if got, err := v.read(); err == nil && got.text == payload {
						ours[i]++
					} else if level >= M && print.dots >= print.dpi.leastModule() && print.dots >= 4 {
						t.Logf("level %v, %d dots at %d dpi, damage %d: not read", level, print.dots, print.dpi, i)
					}
					file := filepath.Join(dir, fmt.Sprintf("%d-%d.pgm", i, n))
					want[file] = payload
					if err := os.WriteFile(file, greymap(&image.Gray{Pix: v.pix, Stride: v.w, Rect: image.Rect(0, 0, v.w, v.h)}), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			theirs := readAll(t, zbar, dir, want)
			fmt.Fprintf(&table, "| %v | %.2f mm, %d dots at %d dpi |", level, print.dpi.mm(print.dots), print.dots, print.dpi)
			for i := range ours {
				fmt.Fprintf(&table, " %s / %s |", percent(ours[i], codes), percent(theirs[i], codes))
			}
			table.WriteByte('\n')
			if ours[0] != codes || theirs[0] != codes {
				t.Errorf("level %v, %d dots at %d dpi: undamaged, %d and %d of %d are read", level, print.dots, print.dpi, ours[0], theirs[0], codes)
			}
			if whole := ours[0] + ours[1] + ours[2] + ours[3] + ours[4] + ours[5] + ours[6]; level >= M && print.dots >= 4 && whole*100 < 99*codes*len(ours) {
				t.Errorf("level %v, %d dots at %d dpi: %v of %d are read after damage", level, print.dots, print.dpi, ours, codes)
			}
		}
	}
	t.Logf("%d codes of our URL each, read by %s / zbar:\n%s", codes, Reader, &table)
}

func percent(n, of int) string { return fmt.Sprintf("%d %%", n*100/of) }

// dots is the symbol with its quiet zone as a printer's dots, k to a module.
func (m Matrix) dots(k int, dpi DPI) *Bitmap {
	side := (m.size + 2*Quiet) * k
	b := newBitmap(side, side, dpi)
	for r := range m.runs() {
		r = r.Add(image.Pt(Quiet, Quiet))
		b.fill(image.Rectangle{r.Min.Mul(k), r.Max.Mul(k)}, true)
	}
	return b
}

// readAll lets zbar read all pictures at once, and counts by damage.
func readAll(t testing.TB, zbar, dir string, want map[string]string) []int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.pgm"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(zbar, append([]string{"--nodbus", "-q", "--xml", "-Sdisable", "-Sqrcode.enable"}, files...)...).Output()
	if exit, ok := err.(*exec.ExitError); err != nil && (!ok || exit.ExitCode() != 4) { // 4: not all have a symbol
		t.Fatal(err)
	}
	var seen struct {
		Source []struct {
			File string   `xml:"href,attr"`
			Data []string `xml:"index>symbol>data"`
		} `xml:"source"`
	}
	if err := xml.Unmarshal(out, &seen); err != nil {
		t.Fatal(err)
	}
	counts := make([]int, 1+len(Damages))
	for _, s := range seen.Source {
		for _, data := range s.Data {
			if data == want[s.File] {
				counts[int(filepath.Base(s.File)[0]-'0')]++
				break
			}
		}
	}
	return counts
}
