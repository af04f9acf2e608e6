package printing

import "strings"

// Two modules, one above the other, share a character cell: cells are about twice
// as high as wide. The index is 2 × upper + lower, 1 being drawn in the foreground.
var halfBlocks = [4]string{" ", "▄", "▀", "█"}

// Black on white out of the 6×6×6 colour cube, which colour themes leave alone;
// they do redefine the first sixteen colours.
const (
	blackOnWhite = "\x1b[38;5;16;48;5;231m"
	resetColours = "\x1b[0m"
)

// Text draws m for a terminal. Both colours are set explicitly, so that it scans
// in a dark terminal as in a light one.
func Text(m Matrix) string {
	return halfBlockLines(m, false, blackOnWhite, resetColours+"\n")
}

// Plain draws m in characters alone, for a log, an e-mail or a terminal without
// colours. Dark modules are drawn in the foreground; onDark draws the light ones,
// for light text on a dark background.
func Plain(m Matrix, onDark bool) string {
	return halfBlockLines(m, onDark, "", "\n")
}

func halfBlockLines(m Matrix, invert bool, before, after string) string {
	var b strings.Builder
	side := m.size + 2*Quiet
	b.Grow((side/2 + 1) * (3*side + len(before) + len(after)))
	drawn := func(x, y int) int {
		if m.Dark(x, y) != invert {
			return 1
		}
		return 0
	}
	for y := -Quiet; y < m.size+Quiet; y += 2 {
		b.WriteString(before)
		for x := -Quiet; x < m.size+Quiet; x++ {
			b.WriteString(halfBlocks[2*drawn(x, y)+drawn(x, y+1)])
		}
		b.WriteString(after)
	}
	return b.String()
}
