package printing

import (
	"fmt"
	"math"
	"strconv"
)

// Colour is red, green and blue as screens have them (sRGB, IEC 61966-2-1).
type Colour struct{ R, G, B uint8 }

// The colours of everything that names none.
var (
	Black = Colour{}
	White = Colour{255, 255, 255}
)

// ParseColour reads #rrggbb.
func ParseColour(s string) (Colour, bool) {
	if len(s) != 7 || s[0] != '#' {
		return Colour{}, false
	}
	n, err := strconv.ParseUint(s[1:], 16, 32)
	return Colour{uint8(n >> 16), uint8(n >> 8), uint8(n)}, err == nil
}

func (c Colour) String() string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

// linear is how much light a channel's value stands for, 0 to 1.
func linear(v uint8) float64 {
	f := float64(v) / 255
	if f <= 0.04045 {
		return f / 12.92
	}
	return math.Pow((f+0.055)/1.055, 2.4)
}

// light is how much of the light that falls on it the colour sends back.
func (c Colour) light() float64 {
	return 0.2126*linear(c.R) + 0.7152*linear(c.G) + 0.0722*linear(c.B)
}

// grey is the value a camera without colours sees.
func (c Colour) grey() uint8 {
	return uint8(math.Round(0.299*float64(c.R) + 0.587*float64(c.G) + 0.114*float64(c.B)))
}

// Least contrast of a symbol: the difference of light between light and dark modules
// (ISO/IEC 15415, symbol contrast: 70 % and more is grade A, 55 % B). Scanners at tills
// light the symbol red and see the red channel alone.
const (
	leastContrast    = 0.70
	leastRedContrast = 0.55
)

// contrast refuses colours that a scanner may not tell apart.
func contrast(ink, ground Colour) error {
	all, red := ground.light()-ink.light(), linear(ground.R)-linear(ink.R)
	const works = "Black on white always works; on white, so does any ink as dark as #004488"
	switch {
	case all < 0:
		return &Refusal{"no_contrast", "ink", fmt.Sprintf("%v on %v is light on dark, which many readers do not look for. %s", ink, ground, works)}
	case all < leastContrast:
		return &Refusal{"no_contrast", "ink", fmt.Sprintf("%v on %v has %.0f %% of the contrast of black on white, and %.0f %% are needed. %s", ink, ground, all*100, leastContrast*100, works)}
	case red < leastRedContrast:
		return &Refusal{"no_contrast", "ink", fmt.Sprintf("%v on %v has %.0f %% contrast under the red light of a till's scanner, and %.0f %% are needed. %s", ink, ground, red*100, leastRedContrast*100, works)}
	}
	return nil
}
