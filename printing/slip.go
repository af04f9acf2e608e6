package printing

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"codeberg.org/go-pdf/fpdf"
)

// Slip is a receipt: words and sums, in whatever language its words are. It is drawn
// on an A4 page (PDF), as plain text, and for a receipt printer.
type Slip struct {
	Merchant string
	Warning  string // "TEST …"; empty: none
	Title    string
	Amount   string
	Facts    []SlipRow // name and value
	Lines    []SlipRow // what and sum
	Sums     []SlipRow // under the lines
	Notes    []string
}

// SlipRow is a row of two columns. Under stands below the left one, smaller.
type SlipRow struct{ Left, Right, Under string }

// textWidth is how many characters a line of plain text has: what an 80 mm roll takes in
// the printer's own font A.
const textWidth = 42

// Text is the receipt as plain text, 42 characters wide.
func (r *Slip) Text() string {
	var b strings.Builder
	rule := strings.Repeat("-", textWidth) + "\n"
	centre := func(s string) {
		for _, l := range wrapped(s, textWidth) {
			b.WriteString(strings.TrimRight(strings.Repeat(" ", (textWidth-utf8.RuneCountInString(l))/2)+l, " ") + "\n")
		}
	}
	row := func(x SlipRow) {
		left := wrapped(x.Left, max(10, textWidth-1-utf8.RuneCountInString(x.Right)))
		for i, l := range left {
			if i == len(left)-1 {
				gap := textWidth - utf8.RuneCountInString(l) - utf8.RuneCountInString(x.Right)
				if gap < 1 {
					b.WriteString(l + "\n")
					l, gap = "", max(0, textWidth-utf8.RuneCountInString(x.Right))
				}
				l += strings.Repeat(" ", gap) + x.Right
			}
			b.WriteString(strings.TrimRight(l, " ") + "\n")
		}
		if x.Under != "" {
			for _, l := range wrapped(x.Under, textWidth-2) {
				b.WriteString("  " + l + "\n")
			}
		}
	}
	centre(r.Merchant)
	if r.Warning != "" {
		centre(r.Warning)
	}
	b.WriteString(rule)
	centre(r.Title)
	centre(r.Amount)
	b.WriteString(rule)
	for _, f := range r.Facts {
		row(f)
	}
	if len(r.Lines) > 0 {
		b.WriteString(rule)
		for _, l := range r.Lines {
			row(l)
		}
		b.WriteString(rule)
		for _, l := range r.Sums {
			row(l)
		}
	}
	b.WriteString(rule)
	for _, n := range r.Notes {
		centre(n)
	}
	return b.String()
}

// wrapped parts s into lines of at most width characters, between words where it can.
func wrapped(s string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(s) {
		for utf8.RuneCountInString(word) > width {
			if line != "" {
				lines, line = append(lines, line), ""
			}
			cut := string([]rune(word)[:width])
			lines, word = append(lines, cut), word[len(cut):]
		}
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	return append(lines, line)
}

// PDF is the receipt on A4 pages. The same receipt gives the same bytes.
func (r *Slip) PDF() ([]byte, error) {
	r = r.drawable()
	f := fpdf.New("P", "mm", "A4", "")
	f.SetCatalogSort(true)
	f.SetCreationDate(printedOn)
	f.SetModificationDate(printedOn)
	f.SetProducer("Placard", false)
	f.SetTitle(r.Title, true)
	f.SetMargins(25, 25, 25)
	f.SetAutoPageBreak(true, 25)
	f.AddUTF8FontFromBytes("text", "", regularTTF)
	f.AddUTF8FontFromBytes("text", "B", boldTTF)
	f.AddPage()
	f.SetFillColor(0, 0, 0)
	say := func(style string, size float64, align, s string) {
		f.SetFont("text", style, size)
		f.MultiCell(0, size*0.5, s, "", align, false)
	}
	rule := func() {
		f.Ln(2)
		f.SetDrawColor(180, 190, 198)
		f.Line(25, f.GetY(), 185, f.GetY())
		f.Ln(2)
	}
	row := func(x SlipRow, style string) {
		f.SetFont("text", style, 10.5)
		right := f.GetStringWidth(x.Right) + 4
		if right > 110 {
			right = 110
		}
		y := f.GetY()
		if y > 262 {
			f.AddPage()
			y = f.GetY()
		}
		page := f.PageNo()
		f.MultiCell(160-right, 5.5, x.Left, "", "L", false)
		below, last := f.GetY(), f.PageNo()
		if page == last {
			f.SetXY(185-right, y)
			f.MultiCell(right, 5.5, x.Right, "", "R", false)
			below = max(below, f.GetY())
		} else {
			f.SetXY(185-right, below-5.5)
			f.CellFormat(right, 5.5, x.Right, "", 1, "R", false, 0, "")
		}
		f.SetXY(25, below)
		if x.Under != "" {
			f.SetTextColor(77, 92, 104)
			say("", 8.5, "L", x.Under)
			f.SetTextColor(0, 0, 0)
		}
	}
	say("B", 16, "L", r.Merchant)
	if r.Warning != "" {
		f.SetTextColor(154, 52, 18)
		say("B", 11, "L", r.Warning)
		f.SetTextColor(0, 0, 0)
	}
	rule()
	say("", 12, "L", r.Title)
	say("B", 26, "L", r.Amount)
	rule()
	for _, x := range r.Facts {
		row(x, "")
	}
	if len(r.Lines) > 0 {
		rule()
		for _, x := range r.Lines {
			row(x, "")
		}
		rule()
		for _, x := range r.Sums {
			row(x, "")
		}
	}
	rule()
	for _, n := range r.Notes {
		say("", 10, "L", n)
	}
	var b bytes.Buffer
	if err := f.Output(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// drawable is the receipt without what the built-in font cannot draw.
func (r *Slip) drawable() *Slip {
	fix := func(s string) string {
		return strings.Map(func(c rune) rune {
			switch {
			case c == '\u202f':
				return '\u00a0'
			case c > 0xffff || faces().regular.advance(c) < 0 || faces().bold.advance(c) < 0:
				return '?'
			}
			return c
		}, s)
	}
	rows := func(list []SlipRow) (fixed []SlipRow) {
		for _, x := range list {
			fixed = append(fixed, SlipRow{fix(x.Left), fix(x.Right), fix(x.Under)})
		}
		return fixed
	}
	d := &Slip{Merchant: fix(r.Merchant), Warning: fix(r.Warning), Title: fix(r.Title), Amount: fix(r.Amount),
		Facts: rows(r.Facts), Lines: rows(r.Lines), Sums: rows(r.Sums)}
	for _, n := range r.Notes {
		d.Notes = append(d.Notes, fix(n))
	}
	return d
}

// ESCPOS is the receipt for a receipt printer: text in code page 858 (Western European
// with the euro sign; what it has not is written as "?"), a feed and a cut.
func (r *Slip) ESCPOS() []byte {
	out := []byte{0x1b, '@', 0x1b, 't', 19} // reset; code page 858
	for _, c := range r.Text() {
		out = append(out, codePage858(c))
	}
	return append(out, '\n', '\n', '\n', 0x1d, 'V', 66, 0) // feed to the cutter and cut
}

// codePage858 is a character of IBM code page 858: 850 with the euro sign at 0xd5.
func codePage858(r rune) byte {
	switch {
	case r < 0x80:
		return byte(r)
	case r == '\u202f':
		return ' '
	case r == '’':
		return '\''
	case r == '€':
		return 0xd5
	}
	if i := strings.IndexRune(upper858, r); i >= 0 {
		return byte(0x80 + utf8.RuneCountInString(upper858[:i]))
	}
	return '?'
}

// upper858 are the characters from 0x80 on; the euro sign is handled apart.
const upper858 = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐└┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈ\x00ÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u00ad±‗¾¶§÷¸°¨·¹³²■\u00a0"
