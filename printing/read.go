package printing

import (
	"errors"
	"image"
	"image/color"
	"image/draw"
	"math"
	"slices"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

// Reader is who reads in a proof: a port of ZXing, which shares no line with the
// encoder.
const Reader = "gozxing v0.1.1"

// greys lets the reader see a view without a copy of each pixel.
type greys struct {
	gozxing.LuminanceSourceBase
	pix []uint8
}

func (g *greys) GetRow(y int, row []byte) ([]byte, error) {
	w := g.GetWidth()
	return append(row[:0], g.pix[y*w:(y+1)*w]...), nil
}
func (g *greys) GetMatrix() []byte               { return g.pix }
func (g *greys) Invert() gozxing.LuminanceSource { return gozxing.LuminanceSourceInvert(g) }
func (g *greys) String() string                  { return gozxing.LuminanceSourceString(g) }

// seenCode is what a reader says of a picture.
type seenCode struct {
	text  string
	level string // one letter
}

var errNothing = errors.New("no QR code was found that can be read")

// read finds one symbol in grey values and reads it, in up to five looks as a person
// takes them who holds a phone: as it is, from further away, a little turned, less so,
// and with the phone on its side. What this reader takes for a corner of the symbol in
// one look, it does not in another; a phone takes thirty looks a second.
func (v *view) read() (got seenCode, err error) {
	eye := view{w: v.w, h: v.h, pix: stretched(v.pix), paper: 255}
	if got, err = eye.look(); err == nil {
		return got, nil
	}
	away := eye
	away.module = camera * 1.4
	if got, err = away.seen().look(); err == nil {
		return got, nil
	}
	for _, degrees := range []float64{7, 3, 90} {
		if got, err = eye.turned(degrees * math.Pi / 180).look(); err == nil {
			return got, nil
		}
	}
	return got, err
}

// turned is the view turned about its middle.
func (v *view) turned(angle float64) *view {
	sin, cos := math.Sincos(angle)
	t := &view{w: v.w, h: v.h, pix: make([]uint8, len(v.pix))}
	midX, midY := float64(v.w)/2, float64(v.h)/2
	for y := range v.h {
		for x := range v.w {
			px, py := float64(x)-midX, float64(y)-midY
			t.pix[y*v.w+x] = uint8(v.between(px*cos+py*sin+midX, py*cos-px*sin+midY) + 0.5)
		}
	}
	return t
}

// look reads first with a threshold of its own for each spot, which finds its way
// through shade and stains, then with one for all, which finds its way through faint ink.
func (v *view) look() (seenCode, error) {
	source := &greys{gozxing.LuminanceSourceBase{Width: v.w, Height: v.h}, v.pix}
	for _, binarizer := range []gozxing.Binarizer{gozxing.NewHybridBinarizer(source), gozxing.NewGlobalHistgramBinarizer(source)} {
		bitmap, err := gozxing.NewBinaryBitmap(binarizer)
		if err != nil {
			return seenCode{}, err
		}
		if r, err := qrcode.NewQRCodeReader().DecodeWithoutHints(bitmap); err == nil {
			level, _ := r.GetResultMetadata()[gozxing.ResultMetadataType_ERROR_CORRECTION_LEVEL].(string)
			return seenCode{r.GetText(), level}, nil
		}
	}
	return seenCode{}, errNothing
}

// stretched is the picture with its darkest at 0 and its lightest at 255, as every
// camera delivers it.
func stretched(pix []uint8) []uint8 {
	low, high := slices.Min(pix), slices.Max(pix)
	if high <= low || low == 0 && high == 255 {
		return pix
	}
	out := make([]uint8, len(pix))
	for i, p := range pix {
		out[i] = uint8((int(p-low)*255 + int(high-low)/2) / int(high-low))
	}
	return out
}

// ReadPhoto reads the one QR code in a photograph of a print, which sees what no proof
// can: the printer.
func ReadPhoto(img image.Image) (string, error) {
	b := img.Bounds()
	if b.Empty() {
		return "", errNothing
	}
	grey := image.NewGray(image.Rectangle{Max: b.Size()})
	draw.Draw(grey, grey.Rect, image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.Draw(grey, grey.Rect, img, b.Min, draw.Over)
	v := &view{w: b.Dx(), h: b.Dy(), pix: grey.Pix, paper: 255}
	// Cameras have more pixels than a reader likes, and noise goes as they shrink.
	for _, side := range []int{1000, 600, 1800} {
		small := *v
		if f := float64(max(v.w, v.h)) / float64(side); f > 1 {
			small.module = f * camera
			small = *small.seen()
		}
		if got, err := small.read(); err == nil {
			return got.text, nil
		}
	}
	return "", errNothing
}
