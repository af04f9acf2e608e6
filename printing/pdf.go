package printing

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"math"
	"strconv"
	"time"

	"codeberg.org/go-pdf/fpdf"
)

// Document is a PDF in the making: a page a sheet. The same sheets give the same
// bytes, on any day and machine. It grows in memory by some 25 kB a sheet of 24 codes,
// so that a long run is parted into several.
type Document struct {
	press *Press
	pdf   *fpdf.Fpdf
	logo  bool
}

// printedOn is the date in every PDF: a real one would make equal sheets differ.
var printedOn = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Document begins a PDF.
func (p *Press) Document() *Document {
	f := fpdf.NewCustom(&fpdf.InitType{UnitStr: "pt", Size: fpdf.SizeType{Wd: p.Stock.PageW / inch * 72, Ht: p.Stock.PageH / inch * 72}})
	f.SetCatalogSort(true) // or fonts are written in the order of a map
	f.SetCreationDate(printedOn)
	f.SetModificationDate(printedOn)
	f.SetProducer("Placard", false)
	f.SetAutoPageBreak(false, 0) // or what is near the lower edge goes to a page of its own
	f.SetMargins(0, 0, 0)
	d := &Document{press: p, pdf: f}
	if !p.Bare || p.Stock.Use == CutSheet || p.Stock.Use == LabelSheet {
		f.AddUTF8FontFromBytes("text", "", regularTTF)
		f.AddUTF8FontFromBytes("text", "B", boldTTF)
	}
	if p.Logo != nil {
		f.RegisterImageOptionsReader("logo", fpdf.ImageOptions{ImageType: "PNG"}, bytes.NewReader(opaquePNG(p.Logo)))
		d.logo = true
	}
	return d
}

// opaquePNG is a picture on white.
func opaquePNG(img image.Image) []byte {
	flat := image.NewRGBA(image.Rectangle{Max: img.Bounds().Size()})
	draw.Draw(flat, flat.Rect, image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.Draw(flat, flat.Rect, img, img.Bounds().Min, draw.Over)
	var b bytes.Buffer
	png.Encode(&b, flat) // into a Buffer, with pixels: does not fail
	return b.Bytes()
}

// Add puts a sheet onto the next page.
func (d *Document) Add(s *Sheet) {
	p, f := d.press, d.pdf
	pt := 72 / inch / p.dpi.perMM() // points a dot
	high := float64(s.h) * pt
	f.AddPageFormat("P", fpdf.SizeType{Wd: float64(s.w) * pt, Ht: high})

	// Symbols, crop marks and grounds are one stream of rectangles in whole modules
	// and dots under a matrix. The library's own rectangles are rounded to hundredths
	// of a point, and then scan worse.
	b := make([]byte, 0, 64<<10)
	b = append(b, "q "...)
	b = appendFloats(b, pt, 0, 0, -pt, 0, high)
	b = append(b, " cm\n"...)
	if p.Ground != White {
		b = appendColour(b, p.Ground)
		for i := range s.cells {
			b = append(appendRect(b, s.cells[i].box), "f\n"...)
		}
	}
	b = appendColour(b, p.Ink)
	for i := range s.cells {
		c := &s.cells[i]
		r := c.onSheet(c.symbol())
		k, x, y := c.module, r.Min.X, r.Min.Y
		if c.turned {
			k, x, y = -k, r.Max.X, r.Max.Y
		}
		b = append(b, "q "...)
		b = appendFloats(b, float64(k), 0, 0, float64(k), float64(x), float64(y))
		b = append(b, " cm\n"...)
		for run := range c.matrix.runs() {
			b = appendRect(b, run)
		}
		b = append(b, "f Q\n"...)
	}
	if len(s.rules) > 0 {
		for _, r := range s.rules {
			b = appendRect(b, r)
		}
		b = append(b, "f\n"...)
	}
	if d.logo {
		b = appendColour(b, White)
		for i := range s.cells {
			b = appendRect(b, s.cells[i].onSheet(s.cells[i].logo))
		}
		b = append(b, "f\n"...)
	}
	f.RawWriteBuf(bytes.NewReader(append(b, 'Q')))

	f.SetTextColor(int(p.Ink.R), int(p.Ink.G), int(p.Ink.B))
	for i := range s.cells {
		c := &s.cells[i]
		if c.turned {
			mid := c.box.Min.Add(c.box.Max)
			f.TransformBegin()
			f.TransformRotate(180, float64(mid.X)/2*pt, float64(mid.Y)/2*pt)
		}
		if d.logo {
			r := p.logoBox(c).Add(c.box.Min)
			f.ImageOptions("logo", float64(r.Min.X)*pt, float64(r.Min.Y)*pt, float64(r.Dx())*pt, float64(r.Dy())*pt, false, fpdf.ImageOptions{ImageType: "PNG"}, 0, "")
		}
		for j := range c.texts {
			d.write(&c.texts[j], c.box.Min, pt)
		}
		if c.turned {
			f.TransformEnd()
		}
	}
	for i := range s.texts {
		d.write(&s.texts[i], image.Point{}, pt)
	}
}

func (d *Document) write(t *text, from image.Point, pt float64) {
	style := ""
	if t.bold {
		style = "B"
	}
	d.pdf.SetFont("text", style, t.size*pt)
	d.pdf.Text((t.x+float64(from.X))*pt, float64(t.y+from.Y)*pt, t.s)
}

// Write ends the document and writes it.
func (d *Document) Write(w io.Writer) error { return d.pdf.Output(w) }

func appendRect(b []byte, r image.Rectangle) []byte {
	for _, n := range [...]int{r.Min.X, r.Min.Y, r.Dx(), r.Dy()} {
		b = append(strconv.AppendInt(b, int64(n), 10), ' ')
	}
	return append(b, "re\n"...)
}

func appendFloats(b []byte, list ...float64) []byte {
	for i, f := range list {
		if i > 0 {
			b = append(b, ' ')
		}
		// A ten-thousandth of a point a dot would be a dot over a large page.
		b = strconv.AppendFloat(b, math.Round(f*1e8)/1e8, 'f', -1, 64)
	}
	return b
}

func appendColour(b []byte, c Colour) []byte {
	for _, v := range [...]uint8{c.R, c.G, c.B} {
		b = append(strconv.AppendFloat(b, float64(v)/255, 'f', 4, 64), ' ')
	}
	return append(b, "rg\n"...)
}
