package printing

import (
	"bytes"
	"encoding/binary"
	"image"
	"math/bits"
)

// Bitmap is what a printer puts on paper, a bit a dot: dark where it puts ink or heat.
type Bitmap struct {
	W, H   int
	DPI    DPI
	stride int    // bytes a row
	bits   []byte // row by row, the leftmost dot in the highest bit; 1 is dark
}

func newBitmap(w, h int, dpi DPI) *Bitmap {
	stride := (w + 7) / 8
	return &Bitmap{W: w, H: h, DPI: dpi, stride: stride, bits: make([]byte, stride*h)}
}

// Dark reports whether the dot in column x of row y is dark. Everything around is light.
func (b *Bitmap) Dark(x, y int) bool {
	return uint(x) < uint(b.W) && uint(y) < uint(b.H) && b.bits[y*b.stride+x/8]&(0x80>>(x%8)) != 0
}

func (b *Bitmap) set(x, y int) {
	if uint(x) < uint(b.W) && uint(y) < uint(b.H) {
		b.bits[y*b.stride+x/8] |= 0x80 >> (x % 8)
	}
}

// fill makes a rectangle dark, or light.
func (b *Bitmap) fill(r image.Rectangle, dark bool) {
	r = r.Intersect(image.Rect(0, 0, b.W, b.H))
	if r.Empty() {
		return
	}
	first, last := r.Min.X/8, (r.Max.X-1)/8
	head, tail := byte(0xff>>(r.Min.X%8)), byte(0xff<<(7-(r.Max.X-1)%8))
	if first == last {
		head &= tail
	}
	for y := r.Min.Y; y < r.Max.Y; y++ {
		row := b.bits[y*b.stride : (y+1)*b.stride]
		for i := first; i <= last; i++ {
			mask := byte(0xff)
			switch i {
			case first:
				mask = head
			case last:
				mask = tail
			}
			if dark {
				row[i] |= mask
			} else {
				row[i] &^= mask
			}
		}
	}
}

// within returns the smallest rectangle that holds all dark dots in r.
func (b *Bitmap) within(r image.Rectangle) (box image.Rectangle) {
	r = r.Intersect(image.Rect(0, 0, b.W, b.H))
	for y := r.Min.Y; y < r.Max.Y; y++ {
		row := b.bits[y*b.stride : (y+1)*b.stride]
		for x := r.Min.X; x < r.Max.X; x++ {
			if x%8 == 0 && row[x/8] == 0 {
				x += 7
				continue
			}
			if row[x/8]&(0x80>>(x%8)) != 0 {
				box = box.Union(image.Rect(x, y, x+1, y+1))
			}
		}
	}
	return box
}

// crop copies a part of it; what lies outside is light.
func (b *Bitmap) crop(r image.Rectangle) *Bitmap {
	c := newBitmap(r.Dx(), r.Dy(), b.DPI)
	for y := range c.H {
		from := r.Min.Y + y
		if uint(from) >= uint(b.H) {
			continue
		}
		row, into := b.bits[from*b.stride:(from+1)*b.stride], c.bits[y*c.stride:(y+1)*c.stride]
		for i := range into {
			x := r.Min.X + i*8
			at, shift := x>>3, x&7
			var v byte
			if uint(at) < uint(len(row)) {
				v = row[at] << shift
			}
			if shift > 0 && uint(at+1) < uint(len(row)) {
				v |= row[at+1] >> (8 - shift)
			}
			into[i] = v
		}
		if c.W%8 != 0 {
			into[len(into)-1] &= 0xff << (8 - c.W%8)
		}
	}
	return c
}

// turned is the bitmap standing on its head.
func (b *Bitmap) turned() *Bitmap {
	t := newBitmap(b.W, b.H, b.DPI)
	for y := range b.H {
		for x := range b.W {
			if b.Dark(x, y) {
				t.set(b.W-1-x, b.H-1-y)
			}
		}
	}
	return t
}

// lay puts what is dark in o onto b at a place.
func (b *Bitmap) lay(o *Bitmap, at image.Point) {
	for y := range o.H {
		for i, v := range o.bits[y*o.stride : (y+1)*o.stride] {
			for ; v != 0; v &= v - 1 {
				b.set(at.X+i*8+7-bits.TrailingZeros8(v), at.Y+y)
			}
		}
	}
}

// PNG is the bitmap as a picture with its resolution, for printers' drivers and eyes.
func (b *Bitmap) PNG() []byte {
	out := pngHeader(b.W, b.H, b.DPI.perMM()*1000)
	var packed bytes.Buffer
	z := compressor(&packed)
	// A row that repeats the one above packs to next to nothing.
	row := make([]byte, 1+b.stride)
	var above []byte
	for y := range b.H {
		here := b.bits[y*b.stride : (y+1)*b.stride]
		if row[0] = pngUnfiltered; bytes.Equal(here, above) {
			row[0] = pngUp
			clear(row[1:])
		} else {
			for i, v := range here {
				row[1+i] = ^v
			}
		}
		z.Write(row) // a Buffer's writes do not fail
		above = here
	}
	finish(z)
	writeChunk(out, "IDAT", packed.Bytes())
	writeChunk(out, "IEND", nil)
	return out.Bytes()
}

// pngHeader begins a PNG of one bit a pixel; perMetre 0 says nothing of its size.
func pngHeader(w, h int, perMetre float64) *bytes.Buffer {
	out := bytes.NewBuffer(make([]byte, 0, 4096))
	out.WriteString(pngSignature)
	var header [13]byte
	binary.BigEndian.PutUint32(header[0:], uint32(w))
	binary.BigEndian.PutUint32(header[4:], uint32(h))
	header[8] = 1 // bits a pixel; colour type, compression, filter and interlace are all 0
	writeChunk(out, "IHDR", header[:])
	if perMetre >= 1 {
		var density [9]byte
		binary.BigEndian.PutUint32(density[0:], uint32(perMetre+0.5))
		binary.BigEndian.PutUint32(density[4:], uint32(perMetre+0.5))
		density[8] = 1 // the unit is the metre
		writeChunk(out, "pHYs", density[:])
	}
	return out
}
