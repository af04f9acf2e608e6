package printing

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"sync"
)

// PNGOptions says how a symbol is drawn as pixels.
type PNGOptions struct {
	Scale    int     // pixels a module is wide and high; 0: 8
	Quiet    int     // modules of white around; fewer than four are raised to four
	ModuleMM float64 // millimetres a module shall be wide on paper, for programs that print at real size; 0: not said
}

// MaxPNGSide is the largest side of a PNG, in pixels: A4 at 600 dots per inch.
const MaxPNGSide = 7016

// PNGScale returns the largest whole number of pixels per module with which m
// and its quiet zone fit into a square of side pixels; 1 if even that is too wide.
func PNGScale(m Matrix, quiet, side int) int {
	return max(1, side/(m.size+2*quietZone(quiet)))
}

const pngSignature = "\x89PNG\r\n\x1a\n"

// compressors are kept, because one holds more memory than many images. The
// fastest level costs a hundred bytes an image and a quarter of the default's time.
var compressors = sync.Pool{New: func() any {
	z, _ := zlib.NewWriterLevel(nil, zlib.BestSpeed) // a level that exists
	return z
}}

// Filters of a row (PNG, third edition, 9.2).
const (
	pngUnfiltered = 0
	pngUp         = 2 // each byte is the difference to the one above
)

func compressor(out *bytes.Buffer) *zlib.Writer {
	z := compressors.Get().(*zlib.Writer)
	z.Reset(out)
	return z
}

func finish(z *zlib.Writer) {
	z.Close() // into a Buffer: does not fail
	compressors.Put(z)
}

// PNG draws m with one bit a pixel (PNG, third edition: greyscale, depth 1).
// Every module is the same whole number of pixels wide, as unequal modules scan
// badly.
func PNG(m Matrix, o PNGOptions) ([]byte, error) {
	if o.Scale == 0 {
		o.Scale = 8
	}
	quiet := quietZone(o.Quiet)
	side := (m.size + 2*quiet) * o.Scale
	if o.Scale < 0 || o.Scale > MaxPNGSide || side > MaxPNGSide {
		return nil, fmt.Errorf("printing: a PNG has at most %d pixels a side", MaxPNGSide)
	}

	perMetre := 0.0
	if o.ModuleMM > 0 {
		perMetre = min(float64(o.Scale)*1000/o.ModuleMM, math.MaxInt32)
	}
	out := pngHeader(side, side, perMetre)
	writeChunk(out, "IDAT", pixels(m, quiet, o.Scale, side))
	writeChunk(out, "IEND", nil)
	return out.Bytes(), nil
}

// pixels returns the compressed rows. The first row of a module is written as it
// is, the others as "the same as above" (filter Up), which packs to next to nothing.
func pixels(m Matrix, quiet, scale, side int) []byte {
	var packed bytes.Buffer
	z := compressor(&packed)

	row := make([]byte, 1+(side+7)/8)
	same := make([]byte, len(row))
	same[0] = pngUp
	for y := -quiet; y < m.size+quiet; y++ {
		row[0] = pngUnfiltered
		for i := range row[1:] {
			row[1+i] = 0xff // light
		}
		for x := range m.size {
			if m.Dark(x, y) {
				from := (quiet + x) * scale
				for p := from; p < from+scale; p++ {
					row[1+p/8] &^= 0x80 >> (p % 8)
				}
			}
		}
		z.Write(row) // a Buffer's writes do not fail
		for range scale - 1 {
			z.Write(same)
		}
	}
	finish(z)
	return packed.Bytes()
}

func writeChunk(out *bytes.Buffer, kind string, data []byte) {
	var word [4]byte
	binary.BigEndian.PutUint32(word[:], uint32(len(data)))
	out.Write(word[:])
	start := out.Len()
	out.WriteString(kind)
	out.Write(data)
	binary.BigEndian.PutUint32(word[:], crc32.ChecksumIEEE(out.Bytes()[start:]))
	out.Write(word[:])
}
