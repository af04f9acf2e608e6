package printing

import (
	"fmt"
	"image"
	"strings"
)

// ZPL is the sheet for a label printer that speaks ZPL II (Zebra and many others): one
// label, ^XA to ^XZ. With Native the printer draws the symbol itself (^BQ), else all of
// it is an image (^GF). Text always is one: the printer's own fonts lack letters.
//
// Send it as it is to the printer's port or queue.
func (s *Sheet) ZPL() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "^XA\n^CI28\n^LH0,0\n^PW%d\n^LL%d\n", s.w, s.h) // UTF-8; width and length in dots
	native := s.press.Native
	dots := newBitmap(s.w, s.h, s.press.dpi)
	for i := range s.cells {
		c := &s.cells[i]
		s.drawCell(dots, c, !native)
		if native {
			r := c.onSheet(c.symbol())
			fmt.Fprintf(&b, "^BY2,3,%d^FO%d,%d^BQN,2,%d^FH_^FD%vA,%s^FS\n", zplSink, r.Min.X, r.Min.Y-zplSink, c.module, c.matrix.level, zplData(c.matrix.payload))
		}
	}
	s.drawRest(dots)
	if box := dots.within(image.Rect(0, 0, s.w, s.h)); !box.Empty() {
		box.Min.X &^= 7 // whole bytes
		part := dots.crop(box)
		fmt.Fprintf(&b, "^FO%d,%d^GFA,%d,%d,%d,%s^FS\n", box.Min.X, box.Min.Y, len(part.bits), len(part.bits), part.stride, zplGraphic(part))
	}
	b.WriteString("^XZ\n")
	return []byte(b.String())
}

// zplSink is set with ^BY, because the firmware prints a QR code that many dots below
// its ^FO: the height of other barcodes, which the label before may have left at any
// value.
const zplSink = 1

// zplData escapes what means something in a ^FD with ^FH_: the prefixes of commands,
// the escape itself and what is not ASCII.
func zplData(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == '^', c == '~', c == '_', c < 0x20, c > 0x7e:
			fmt.Fprintf(&b, "_%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// zplGraphic writes rows in hexadecimal with the format's own packing: G to Y stand
// for 1 to 19 repeats of the next digit, g to z for 20 to 400; a comma fills the row
// with light, an exclamation mark with dark, and a colon repeats the row above.
func zplGraphic(b *Bitmap) string {
	const hex = "0123456789ABCDEF"
	var out strings.Builder
	above := ""
	for y := range b.H {
		row := b.bits[y*b.stride : (y+1)*b.stride]
		digits := make([]byte, 0, 2*len(row))
		for _, v := range row {
			digits = append(digits, hex[v>>4], hex[v&15])
		}
		here := string(digits)
		if here == above {
			out.WriteByte(':')
			continue
		}
		above = here
		for i := 0; i < len(here); {
			n := 1
			for i+n < len(here) && here[i+n] == here[i] {
				n++
			}
			switch {
			case i+n == len(here) && here[i] == '0':
				out.WriteByte(',')
			case i+n == len(here) && here[i] == 'F':
				out.WriteByte('!')
			default:
				for k := n; n > 2 && k > 0; {
					m := min(k, 419)
					if m >= 20 {
						out.WriteByte('g' + byte(m/20-1))
					}
					if m%20 > 0 {
						out.WriteByte('G' + byte(m%20-1))
					}
					out.WriteByte(here[i])
					k -= m
				}
				if n <= 2 {
					out.WriteString(here[i : i+n])
				}
			}
			i += n
		}
	}
	return out.String()
}
