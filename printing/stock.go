package printing

import (
	"fmt"
	"math"
	"strings"
)

// DPI is a printer's resolution in dots per inch. A module is always a whole number
// of dots: a printer that has to round draws some modules wider than others.
type DPI int

// The resolutions that printers of labels have.
const (
	DPI203 DPI = 203 // 8 dots per millimetre: most thermal printers
	DPI300 DPI = 300
	DPI600 DPI = 600 // laser printers
)

// Resolutions lists them.
var Resolutions = []DPI{DPI203, DPI300, DPI600}

// perMM is the number of dots per millimetre. What is sold as 203 dpi is 8 per
// millimetre exactly.
func (d DPI) perMM() float64 {
	if d == DPI203 {
		return 8
	}
	return float64(d) / 25.4
}

// dots is a length in dots, rounded.
func (d DPI) dots(mm float64) int { return int(math.Round(mm * d.perMM())) }

// mm is the length of dots in millimetres.
func (d DPI) mm(dots int) float64 { return float64(dots) / d.perMM() }

// leastModule is the narrowest module in dots that is printed: a quarter of a
// millimetre, which a phone at arm's length just tells apart, and four dots, as heat
// and ink widen a dark one by up to one, and a driver that shrinks the page leaves
// three.
func (d DPI) leastModule() int { return max(4, int(math.Ceil(0.25*d.perMM()-0.01))) }

func (d DPI) known() bool { return d == DPI203 || d == DPI300 || d == DPI600 }

// Use is what a stock is for.
type Use string

const (
	LabelSheet Use = "label_sheet" // die-cut labels on a sheet
	CutSheet   Use = "cut_sheet"   // plain paper or card, cut at the crop marks
	Roll       Use = "roll"        // one label after the other
	Receipt    Use = "receipt"     // paper of a till, as long as it needs to be
)

// Stock is what is printed on, in millimetres. The numbers are those that its maker
// publishes; where only the label's size and the number of labels are public, the
// grid stands in the middle of the page.
type Stock struct {
	ID            string
	Name          string
	Use           Use
	PageW, PageH  float64
	LabelW        float64
	LabelH        float64 // of a receipt: the most
	Columns, Rows int
	Left, Top     float64 // of the first label
	PitchX        float64 // from one label to the next
	PitchY        float64
	Margin        float64 // nothing is printed nearer to a label's edge
	Unprintable   float64 // nothing is printed nearer to the page's edge
	DPI           DPI     // of the usual printer
	// Folded stock shows the same on both of its panels: the upper one stands on its
	// head, so that both are upright once it is folded between them.
	Folded bool
}

// Labels is how many labels a sheet of it has.
func (s Stock) Labels() int {
	if s.Folded {
		return s.Columns * s.Rows / 2
	}
	return s.Columns * s.Rows
}

const inch = 25.4

// Office printers leave a rim of a sixth of an inch white.
const rim = inch / 6

// sheet is a stock whose grid of labels stands in the middle of a page.
func sheet(id, name string, use Use, pageW, pageH, labelW, labelH float64, columns, rows int, gapX, gapY float64) Stock {
	s := Stock{ID: id, Name: name, Use: use, PageW: pageW, PageH: pageH, LabelW: labelW, LabelH: labelH, Columns: columns, Rows: rows,
		PitchX: labelW + gapX, PitchY: labelH + gapY, Margin: 1.5, Unprintable: rim, DPI: DPI600}
	s.Left = (pageW - float64(columns-1)*s.PitchX - labelW) / 2
	s.Top = (pageH - float64(rows-1)*s.PitchY - labelH) / 2
	if use == CutSheet {
		s.Margin = 4 // knives are less exact than dies
	}
	return s
}

func a4(id, name string, use Use, labelW, labelH float64, columns, rows int, gapX, gapY float64) Stock {
	return sheet(id, name, use, 210, 297, labelW, labelH, columns, rows, gapX, gapY)
}

func letter(id, name string, use Use, labelW, labelH float64, columns, rows int, gapX float64) Stock {
	return sheet(id, name, use, 8.5*inch, 11*inch, labelW*inch, labelH*inch, columns, rows, gapX*inch, 0)
}

func roll(id, name string, w, h float64, dpi DPI) Stock {
	return Stock{ID: id, Name: name, Use: Roll, PageW: w, PageH: h, LabelW: w, LabelH: h, Columns: 1, Rows: 1, PitchX: w, PitchY: h, Margin: 1.5, DPI: dpi}
}

func receipt(id, name string, w float64) Stock {
	return Stock{ID: id, Name: name, Use: Receipt, PageW: w, PageH: 200, LabelW: w, LabelH: 200, Columns: 1, Rows: 1, PitchX: w, PitchY: 200, DPI: DPI203}
}

func folded(s Stock) Stock {
	s.Folded = true
	return s
}

// Stocks lists what can be printed on. An id never changes its meaning.
var Stocks = []Stock{
	a4("L7159", "Avery L7159, 24 labels of 63.5 × 33.9 mm on A4", LabelSheet, 63.5, 33.9, 3, 8, 2.54, 0),
	a4("L7160", "Avery L7160, 21 labels of 63.5 × 38.1 mm on A4", LabelSheet, 63.5, 38.1, 3, 7, 2.54, 0),
	a4("L7161", "Avery L7161, 18 labels of 63.5 × 46.6 mm on A4", LabelSheet, 63.5, 46.6, 3, 6, 2.54, 0),
	a4("L7162", "Avery L7162, 16 labels of 99.1 × 33.9 mm on A4", LabelSheet, 99.1, 33.9, 2, 8, 2.54, 0),
	a4("L7163", "Avery L7163, 14 labels of 99.1 × 38.1 mm on A4", LabelSheet, 99.1, 38.1, 2, 7, 2.54, 0),
	a4("L7164", "Avery L7164, 12 labels of 63.5 × 72 mm on A4", LabelSheet, 63.5, 71.98, 3, 4, 2.54, 0),
	a4("L7165", "Avery L7165, 8 labels of 99.1 × 67.7 mm on A4", LabelSheet, 99.1, 67.7, 2, 4, 2.54, 0),
	a4("HERMA4103", "HERMA 4103, 4677 and 5074, 21 labels of 63.5 × 38.1 mm on A4", LabelSheet, 63.5, 38.1, 3, 7, 3, 0),
	a4("HERMA4614", "HERMA 4614, 4670 and 5053, 24 labels of 66 × 33.8 mm on A4", LabelSheet, 66, 33.8, 3, 8, 0, 0),
	a4("HERMA4099", "HERMA 4099, 4667 and 4349, 10 labels of 96 × 50.8 mm on A4", LabelSheet, 96, 50.8, 2, 5, 3, 0),
	a4("HERMA4464", "HERMA 4464, 24 labels of 70 × 37 mm on A4, without a margin", LabelSheet, 70, 37, 3, 8, 0, 0),
	a4("HERMA4457", "HERMA 4457, 12 labels of 105 × 48 mm on A4, without a margin", LabelSheet, 105, 48, 2, 6, 0, 0),
	letter("5160", "Avery 5160, 30 labels of 1 × 2 5/8 in on Letter", LabelSheet, 2.625, 1, 3, 10, 0.125),
	letter("5161", "Avery 5161, 20 labels of 1 × 4 in on Letter", LabelSheet, 4, 1, 2, 10, 0.1875),
	letter("5162", "Avery 5162, 14 labels of 1 1/3 × 4 in on Letter", LabelSheet, 4, 4./3, 2, 7, 0.1875),
	letter("5163", "Avery 5163, 10 labels of 2 × 4 in on Letter", LabelSheet, 4, 2, 2, 5, 0.1875),
	letter("5164", "Avery 5164, 6 labels of 3 1/3 × 4 in on Letter", LabelSheet, 4, 10./3, 2, 3, 0.1875),

	a4("card-a4", "10 cards of a bank card's size (ISO/IEC 7810 ID-1) on A4, to be cut", CutSheet, 85.6, 53.98, 2, 5, 4, 2),
	letter("card-letter", "8 cards of a bank card's size (ISO/IEC 7810 ID-1) on Letter, to be cut", CutSheet, 85.6/inch, 53.98/inch, 2, 4, 0.2),
	a4("a6-a4", "4 pages of A6 for stands on A4, to be cut", CutSheet, 105, 148.5, 2, 2, 0, 0),
	sheet("a6-stand", "One page of A6 for a stand", CutSheet, 105, 148, 105, 148, 1, 1, 0, 0),
	folded(a4("tent-a4", "Table tent: A4, folded across the middle", CutSheet, 210, 148.5, 1, 2, 0, 0)),
	folded(letter("tent-letter", "Table tent: Letter, folded across the middle", CutSheet, 8.5, 5.5, 1, 2, 0)),
	a4("insert-a4", "3 bill inserts of 210 × 99 mm (DL) on A4, to be cut", CutSheet, 210, 99, 1, 3, 0, 0),

	roll("62x62", "Roll 62 mm wide, cut every 62 mm", 62, 62, DPI300),
	roll("62x100", "Roll 62 mm wide, cut every 100 mm", 62, 100, DPI300),
	roll("57x32", "Label 57 × 32 mm on a roll", 57, 32, DPI203),
	roll("102x152", "Label 102 × 152 mm (4 × 6 in) on a roll", 102, 152, DPI203),

	receipt("receipt-80", "Till paper 80 mm wide, 72 mm of it printed", 72),
	receipt("receipt-58", "Till paper 58 mm wide, 48 mm of it printed", 48),
}

// StockByID finds a stock, whatever the case its id is written in.
func StockByID(id string) (Stock, error) {
	for _, s := range Stocks {
		if strings.EqualFold(s.ID, id) {
			return s, nil
		}
	}
	ids := make([]string, len(Stocks))
	for i, s := range Stocks {
		ids[i] = s.ID
	}
	return Stock{}, &Refusal{"unknown_stock", "stock", fmt.Sprintf("is not a label stock that is known. Known are: %s", strings.Join(ids, ", "))}
}

// SingleLabel is a stock of one label and nothing around it: for a picture of one
// code.
func SingleLabel(w, h float64, dpi DPI) Stock {
	return roll("", "One label", w, h, dpi)
}
