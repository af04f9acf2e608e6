package printing

import (
	"bytes"
	"encoding/xml"
	"strconv"
	"strings"
	"unicode/utf8"
)

// SVGOptions says how a symbol is drawn as SVG. The zero value is a drawing
// without a size of its own, which fills the room it is given.
type SVGOptions struct {
	ModuleMM float64 // millimetres a module is wide on paper; 0: no size given
	Quiet    int     // modules of white around; fewer than four are raised to four
	Caption  string  // text under the symbol, outside the quiet zone; a line feed starts a line
}

const (
	captionLine = 3.6  // modules from one line of a caption to the next
	captionSize = 2.8  // modules a letter is high at most
	letterWidth = 0.62 // of the letter's size; generous for a sans-serif of capitals and digits
)

// SVG draws m as one path on white. Neither colour is left to the page around it,
// so that the symbol scans on a dark one too.
func SVG(m Matrix, o SVGOptions) []byte {
	quiet := quietZone(o.Quiet)
	width := m.size + 2*quiet
	var lines []string
	if o.Caption != "" {
		lines = strings.Split(o.Caption, "\n")
	}
	height := float64(width) + captionLine*float64(len(lines))

	b := make([]byte, 0, 1024+5*m.size*m.size)
	b = append(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 `...)
	b = strconv.AppendInt(b, int64(width), 10)
	b = append(b, ' ')
	b = appendNumber(b, height)
	b = append(b, '"')
	if o.ModuleMM > 0 {
		b = append(b, ` width="`...)
		b = appendNumber(b, float64(width)*o.ModuleMM)
		b = append(b, `mm" height="`...)
		b = appendNumber(b, height*o.ModuleMM)
		b = append(b, `mm"`...)
	}
	b = append(b, ` shape-rendering="crispEdges"><path fill="#fff" d="M0 0h`...)
	b = strconv.AppendInt(b, int64(width), 10)
	b = append(b, 'v')
	b = appendNumber(b, height)
	b = append(b, 'h', '-')
	b = strconv.AppendInt(b, int64(width), 10)
	b = append(b, `z"/><path fill="#000" d="`...)
	b = appendRuns(b, m, quiet)
	b = append(b, `"/>`...)
	for i, line := range lines {
		b = appendCaption(b, line, float64(width), float64(width)+captionLine*(float64(i)+0.6))
	}
	return append(b, "</svg>\n"...)
}

// appendRuns appends each row's runs of dark modules as rectangles.
func appendRuns(b []byte, m Matrix, quiet int) []byte {
	for r := range m.runs() {
		b = append(b, 'M')
		b = strconv.AppendInt(b, int64(r.Min.X+quiet), 10)
		b = append(b, ' ')
		b = strconv.AppendInt(b, int64(r.Min.Y+quiet), 10)
		b = append(b, 'h')
		b = strconv.AppendInt(b, int64(r.Dx()), 10)
		b = append(b, "v1h-"...)
		b = strconv.AppendInt(b, int64(r.Dx()), 10)
		b = append(b, 'z')
	}
	return b
}

func appendCaption(b []byte, line string, width, y float64) []byte {
	room := width - 2
	size := captionSize
	if n := float64(utf8.RuneCountInString(line)); n*letterWidth*size > room {
		size = room / (n * letterWidth)
	}
	b = append(b, `<text text-anchor="middle" font-family="sans-serif" font-size="`...)
	b = appendNumber(b, size)
	b = append(b, `" x="`...)
	b = appendNumber(b, width/2)
	b = append(b, `" y="`...)
	b = appendNumber(b, y)
	b = append(b, `">`...)
	escaped := bytes.NewBuffer(b)
	xml.EscapeText(escaped, []byte(line)) // a Buffer's writes do not fail
	return append(escaped.Bytes(), "</text>"...)
}

// appendNumber appends f with at most three decimals: a thousandth of a module is
// finer than any printer.
func appendNumber(b []byte, f float64) []byte {
	b = strconv.AppendFloat(b, f, 'f', 3, 64)
	return bytes.TrimRight(bytes.TrimRight(b, "0"), ".")
}
