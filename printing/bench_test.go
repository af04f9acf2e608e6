package printing

import (
	"bytes"
	"math/rand/v2"
	"testing"

	qrcode "github.com/skip2/go-qrcode"
)

// Sheets of 24 labels at 600 dpi, each with codes of its own, beside the bare encoder
// in the same run. A sheet's figure holds everything: encoding, setting the text,
// drawing.

func benchmarkSheets(b *testing.B, dpi DPI, draw func(*Sheet)) {
	p := mustPress(b, Settings{Stock: stock(b, "L7159"), DPI: dpi, Level: M})
	r := rand.New(rand.NewPCG(1, 1))
	n := 0
	for b.Loop() {
		list := make([]Label, p.Stock.Labels())
		for i := range list {
			n++
			list[i] = urlLabel(r, n)
		}
		draw(mustSheet(b, p, list))
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "codes/s")
	b.ReportMetric(float64(n/p.Stock.Labels())/b.Elapsed().Seconds(), "sheets/s")
}

func BenchmarkSheetBareEncoder(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	n := 0
	for b.Loop() {
		for range 24 {
			n++
			code, err := qrcode.New(urlLabel(r, n).Payload, qrcode.Medium)
			if err != nil {
				b.Fatal(err)
			}
			code.Bitmap()
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "codes/s")
	b.ReportMetric(float64(n/24)/b.Elapsed().Seconds(), "sheets/s")
}

// Fifty sheets a document, as a long run is parted.
func BenchmarkSheetPDF(b *testing.B) {
	var d *Document
	n := 0
	benchmarkSheets(b, DPI600, func(s *Sheet) {
		if d == nil {
			d = s.press.Document()
		}
		d.Add(s)
		if n++; n%50 == 0 {
			var out bytes.Buffer
			if err := d.Write(&out); err != nil {
				b.Fatal(err)
			}
			d = nil
		}
	})
}

func BenchmarkSheetSVG(b *testing.B) {
	benchmarkSheets(b, DPI600, func(s *Sheet) {
		for i := range s.cells {
			SVG(s.cells[i].matrix, SVGOptions{ModuleMM: 0.5, Caption: s.cells[i].label.Token})
		}
	})
}

func BenchmarkSheetPNG(b *testing.B) {
	benchmarkSheets(b, DPI600, func(s *Sheet) { s.Bitmap().PNG() })
}

func BenchmarkSheetZPL(b *testing.B) {
	benchmarkSheets(b, DPI300, func(s *Sheet) { s.ZPL() })
}

func BenchmarkSheetESCPOS(b *testing.B) {
	benchmarkSheets(b, DPI203, func(s *Sheet) { s.ESCPOS() })
}

func BenchmarkProofRead(b *testing.B) {
	benchmarkSheets(b, DPI600, func(s *Sheet) { s.Prove(ReadBack) })
}

func BenchmarkProofFull(b *testing.B) {
	benchmarkSheets(b, DPI600, func(s *Sheet) { s.Prove(Full) })
}
