package printing

import (
	"errors"
	"fmt"
	"image"
	"iter"
	"unicode/utf8"

	qrcode "github.com/skip2/go-qrcode"
)

// Level says how much of a printed symbol may be scratched, soiled or torn off
// and the payload still be read. More of it makes a denser symbol.
type Level uint8

const (
	L Level = iota // about 7 % of the symbol may be lost
	M              // about 15 %
	Q              // about 25 %: what shops print
	H              // about 30 %: bills that travel, labels under glue
)

func (l Level) String() string {
	if l > H {
		return "?"
	}
	return "LMQH"[l : l+1]
}

// ParseLevel accepts the capital letter of a level.
func ParseLevel(s string) (Level, bool) {
	for l := L; l <= H; l++ {
		if s == l.String() {
			return l, true
		}
	}
	return 0, false
}

// encoderLevels holds the encoder's names for the levels, which are not the
// standard's: its High is Q and its Highest is H.
var encoderLevels = [...]qrcode.RecoveryLevel{L: qrcode.Low, M: qrcode.Medium, Q: qrcode.High, H: qrcode.Highest}

// Mode is how a payload's characters are packed into the symbol.
type Mode string

const (
	Numeric      Mode = "numeric"      // digits: 10 bits for three
	Alphanumeric Mode = "alphanumeric" // digits, capitals, blank and $%*+-./: — 11 bits for two
	Byte         Mode = "byte"         // anything else: 8 bits each
)

// modeOf returns the narrowest mode that can hold all of payload. A long run of
// digits inside may be packed tighter still.
func modeOf(payload string) Mode {
	mode := Numeric
	for i := range len(payload) {
		switch c := payload[i]; {
		case '0' <= c && c <= '9':
		case 'A' <= c && c <= 'Z', c == ' ', c == '$', c == '%', c == '*', c == '+', c == '-', c == '.', c == '/', c == ':':
			mode = Alphanumeric
		default:
			return Byte
		}
	}
	return mode
}

// Matrix is a QR symbol: a square of dark and light modules without its quiet
// zone. It never changes once made, so it may be copied, kept and shared.
type Matrix struct {
	payload string
	level   Level
	version int
	size    int
	dark    []bool // row by row
}

// Errors of Encode.
var (
	ErrNoPayload   = errors.New("printing: the payload is empty or not UTF-8")
	ErrLongPayload = errors.New("printing: the payload is too long for any QR code")
)

// Encode makes the smallest symbol of payload at a level. A payload of nothing
// but digits, capitals, blanks and $%*+-./: gets the alphanumeric mode, which
// prints smaller: a token's URL is written in capitals for that reason.
func Encode(payload string, level Level) (Matrix, error) {
	if level > H {
		return Matrix{}, fmt.Errorf("printing: there is no level %d", level)
	}
	if payload == "" || !utf8.ValidString(payload) {
		return Matrix{}, ErrNoPayload
	}
	code, err := qrcode.New(payload, encoderLevels[level])
	if err != nil {
		return Matrix{}, ErrLongPayload // its only other error
	}
	return matrixOf(code, payload, level).withoutFalseCorners(), nil
}

// matrixOf reads the modules off the encoder's symbol.
func matrixOf(code *qrcode.QRCode, payload string, level Level) Matrix {
	// The border is ours to draw. It must be off before the first Bitmap: later
	// the encoder ignores it.
	code.DisableBorder = true
	rows := code.Bitmap() // the encoder's own memory, so it is copied
	m := Matrix{payload: payload, level: level, version: code.VersionNumber, size: len(rows), dark: make([]bool, 0, len(rows)*len(rows))}
	for _, row := range rows {
		m.dark = append(m.dark, row...)
	}
	return m
}

// Payload is the text that a scan of the symbol yields.
func (m Matrix) Payload() string { return m.payload }

// Level is the level the symbol was made at.
func (m Matrix) Level() Level { return m.level }

// Version is the symbol's size class, 1 to 40.
func (m Matrix) Version() int { return m.version }

// Mode is the mode that holds all of the payload.
func (m Matrix) Mode() Mode { return modeOf(m.payload) }

// Size is the number of modules along one side, without the quiet zone:
// 17 + 4 × version.
func (m Matrix) Size() int { return m.size }

// Dark reports whether the module in column x of row y is dark. Everything
// around the symbol is light.
func (m Matrix) Dark(x, y int) bool {
	return uint(x) < uint(m.size) && uint(y) < uint(m.size) && m.dark[y*m.size+x]
}

// runs yields the dark modules as rectangles, each a row's run, in modules.
func (m Matrix) runs() iter.Seq[image.Rectangle] {
	return func(yield func(image.Rectangle) bool) {
		for y := range m.size {
			row := m.dark[y*m.size : (y+1)*m.size]
			for x := 0; x < m.size; x++ {
				start := x
				for x < m.size && row[x] {
					x++
				}
				if x > start && !yield(image.Rect(start, y, x, y+1)) {
					return
				}
			}
		}
	}
}

// Quiet is the width of the quiet zone in modules that the standard asks for.
// Every drawing has at least this much.
const Quiet = 4

func quietZone(modules int) int { return max(Quiet, modules) }

// dataBytes holds the data capacity of the versions 1 to 15, for L, M, Q and H
// (ISO/IEC 18004:2015, table 7). Nothing that is printed here needs a larger one.
var dataBytes = [...][4]int{
	{19, 16, 13, 9}, {34, 28, 22, 16}, {55, 44, 34, 26}, {80, 64, 48, 36}, {108, 86, 62, 46},
	{136, 108, 76, 60}, {156, 124, 88, 66}, {194, 154, 110, 86}, {232, 182, 132, 100}, {274, 216, 154, 122},
	{324, 254, 180, 140}, {370, 290, 206, 158}, {428, 334, 244, 180}, {461, 365, 261, 197}, {523, 415, 295, 223},
}

// VersionFor returns the version of the symbol that n characters (bytes, in mode
// Byte) need at a level when all of them are packed in one mode, as printers with a
// QR command of their own do; 0 if that is more than version 15. Encode may pack rows
// of digits tighter, so its symbol may be smaller, never larger.
func VersionFor(mode Mode, n int, level Level) int {
	if n < 1 || level > H {
		return 0
	}
	for i, bytes := range dataBytes {
		var count, bits int // of the character count up to version 9, and of the characters
		switch mode {
		case Numeric:
			count, bits = 10, n/3*10+[3]int{0, 4, 7}[n%3]
		case Alphanumeric:
			count, bits = 9, n/2*11+n%2*6
		default:
			count, bits = 8, n*8
		}
		if i >= 9 {
			count += 2
			if mode == Byte {
				count = 16
			}
		}
		if 4+count+bits <= bytes[level]*8 {
			return i + 1
		}
	}
	return 0
}

// urlRest is the length of everything but the host in a printed URL:
// HTTPS:// HOST /Q/ and a token of 20 characters.
const urlRest = len("HTTPS://") + len("/Q/") + 20

// longestHost is the longest DNS name with the longest port.
const longestHost = 253 + len(":65535")

// URLVersion returns the version of the symbol that a printed URL with a host
// (and port) of so many characters needs at level M, Q or H; 0 if the host is
// longer than any DNS name or the level is L. Rows of digits in the host may make
// the real symbol one version smaller, never larger.
func URLVersion(host int, level Level) int {
	if host < 1 || host > longestHost || level < M {
		return 0
	}
	return VersionFor(Alphanumeric, urlRest+host, level)
}
