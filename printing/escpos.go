package printing

import "image"

// ESC/POS, as Epson publishes it and most till printers understand it.
const (
	escInit   = "\x1b@"
	escCentre = "\x1ba\x01"
	escLeft   = "\x1ba\x00"
	escCut    = "\x1dV\x42\x00" // feed to the knife, and cut
)

// bandRows is how many rows of dots go in one command. Printers with little memory
// print half of a taller image.
const bandRows = 128

// ESCPOS is the sheet for a till's printer. With Native the printer draws the symbol
// itself (GS ( k), else all of it is an image (GS v 0). It ends with a cut.
func (s *Sheet) ESCPOS() []byte {
	out := []byte(escInit + escLeft)
	b := newBitmap(s.w, s.h, s.press.dpi)
	native := s.press.Native
	for i := range s.cells {
		s.drawCell(b, &s.cells[i], !native)
	}
	s.drawRest(b)
	y := 0
	if native {
		for i := range s.cells {
			c := &s.cells[i]
			r := c.onSheet(c.symbol())
			out = appendBands(out, b, y, r.Min.Y)
			out = append(out, escCentre...)
			out = appendSymbol(out, c)
			out = append(out, escLeft...)
			y = r.Max.Y
		}
	}
	out = appendBands(out, b, y, s.h)
	return append(out, escCut...)
}

// appendBands appends rows as images of at most bandRows.
func appendBands(out []byte, b *Bitmap, from, to int) []byte {
	for y := from; y < to; y += bandRows {
		part := b.crop(image.Rect(0, y, b.W, min(y+bandRows, to)))
		// GS v 0: mode; width in bytes, height in rows, the lower byte first.
		out = append(out, 0x1d, 'v', '0', 0, byte(part.stride), byte(part.stride>>8), byte(part.H), byte(part.H>>8))
		out = append(out, part.bits...)
	}
	return out
}

// appendSymbol appends the functions of GS ( k for a QR code (cn 49): model, width of
// a module, level, data, print.
func appendSymbol(out []byte, c *cell) []byte {
	function := func(fn byte, parameters ...byte) {
		n := 2 + len(parameters)
		out = append(out, 0x1d, '(', 'k', byte(n), byte(n>>8), 49, fn)
		out = append(out, parameters...)
	}
	function(65, 50, 0) // model 2
	function(67, byte(c.module))
	function(69, 48+byte(c.matrix.level))
	function(80, append([]byte{48}, c.matrix.payload...)...)
	function(81, 48)
	return out
}
