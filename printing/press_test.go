package printing

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// What the tests of this package print: our URL with random tokens, and BR Codes of
// 203 characters, the longest that the tables of Pix allow, with a location of its own
// each.

func randomToken(r *rand.Rand) string {
	const symbols = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	b := make([]byte, 20)
	for i := range b {
		b[i] = symbols[r.IntN(32)]
	}
	return string(b)
}

func urlLabel(r *rand.Rand, n int) Label {
	t := randomToken(r)
	return Label{
		Payload: "HTTPS://PAY.EXAMPLE.COM/Q/" + t, Title: "Café Aurora", Place: fmt.Sprintf("Table %d, Rua do Carmo", n),
		Token: t[:4] + "-" + t[4:8] + "-" + t[8:12] + "-" + t[12:16] + "-" + t[16:], Address: "pay.example.com/q/", Serial: fmt.Sprintf("%06d", n),
	}
}

func brCodeLabel(r *rand.Rand, n int) Label {
	location := "qrcodepix.example.com.br/qr/v2/cobv/"
	for len(location) < 77 {
		location += string("0123456789abcdef"[r.IntN(16)])
	}
	account := fmt.Sprintf("0014br.gov.bcb.pix25%02d%s", len(location), location)
	payload := fmt.Sprintf("00020101021226%02d%s5204000053039865802BR5925AGUAS DO RIO CLARO S/A MG6015BELO HORIZONTE 62070503***6304", len(account), account)
	return Label{Payload: payload + fmt.Sprintf("%04X", r.IntN(1<<16)), Title: "Águas do Rio Claro", Place: fmt.Sprintf("Instalação %07d", n), BankApp: true, Serial: fmt.Sprintf("%06d", n)}
}

func labels(seed uint64, n int, make func(*rand.Rand, int) Label) []Label {
	r := rand.New(rand.NewPCG(seed, 0))
	list := []Label{}
	for i := range n {
		list = append(list, make(r, i+1))
	}
	return list
}

func mustPress(t testing.TB, s Settings) *Press {
	t.Helper()
	p, err := NewPress(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustSheet(t testing.TB, p *Press, list []Label) *Sheet {
	t.Helper()
	s, err := p.Sheet(list, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stock(t testing.TB, id string) Stock {
	t.Helper()
	s, err := StockByID(id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheLongestBRCode(t *testing.T) {
	l := brCodeLabel(rand.New(rand.NewPCG(1, 1)), 1)
	if len(l.Payload) != 203 {
		t.Fatalf("%d characters", len(l.Payload))
	}
	if v := VersionFor(Byte, 203, M); v != 10 {
		t.Errorf("version %d at M, want 10", v)
	}
}

// Every stock takes our URL and the longest BR Code at its usual printer, or says what
// takes it; and what it says is true.
func TestEveryStock(t *testing.T) {
	seen, each := map[string]bool{}, 2
	if proving() {
		each = 100
	}
	for _, st := range Stocks {
		if seen[strings.ToLower(st.ID)] {
			t.Errorf("two stocks are %s", st.ID)
		}
		seen[strings.ToLower(st.ID)] = true
		for kind, make := range map[string]func(*rand.Rand, int) Label{"url": urlLabel, "brcode": brCodeLabel} {
			t.Run(st.ID+"/"+kind, func(t *testing.T) {
				levels := []Level{M}
				if proving() || st.Use != CutSheet { // whose pages are large, and take long
					levels = []Level{M, H}
				}
				for _, level := range levels {
					// As coarse as it may be for most of them, so that the test is short.
					p := mustPress(t, Settings{Stock: st, Level: level, DPI: min(st.DPI, DPI300)})
					list := labels(7, min(st.Labels(), each), make)
					s, err := p.Sheet(list, 1, 1)
					var no *Refusal
					switch {
					case errors.As(err, &no):
						if kind == "url" && level == M {
							t.Fatalf("our URL is refused: %v", err)
						}
						takeAdvice(t, p, list[0], no)
						continue
					case err != nil:
						t.Fatal(err)
					}
					if proof := s.Prove(ReadBack); !proof.Passed() {
						t.Errorf("level %v: %v", level, proof.Faults[0])
					}
					for _, name := range s.LeftOut() {
						if name == "token" || name == "title" {
							t.Errorf("level %v: no room for the %s", level, name)
						}
					}
				}
			})
		}
	}
}

// takeAdvice does what a refusal says would work.
func takeAdvice(t *testing.T, p *Press, l Label, no *Refusal) {
	t.Helper()
	_, advice, ok := strings.Cut(no.Message, "What fits: ")
	if !ok {
		t.Fatalf("no advice in: %v", no)
	}
	for part := range strings.SplitSeq(advice, ", ") {
		s := p.Settings
		var ids []string
		switch {
		case strings.HasPrefix(part, "level "):
			s.Level, _ = ParseLevel(part[6:])
		case strings.HasSuffix(part, " dpi"):
			fmt.Sscanf(part, "%d dpi", &s.DPI)
		case strings.HasPrefix(part, "stock "):
			ids = strings.Split(part[6:], " or ")
		default:
			t.Fatalf("what is %q", part)
		}
		for _, id := range append(ids, "")[:max(1, len(ids))] {
			if s.DPI == 0 {
				s.DPI = p.Resolution()
			}
			if id != "" {
				s.Stock = stock(t, id)
			}
			s.Bare = true
			q := mustPress(t, s)
			sheet, err := q.Sheet([]Label{l}, 1, 1)
			if err != nil {
				t.Errorf("%q was advised and is refused: %v", part, err)
			} else if proof := sheet.Prove(ReadBack); !proof.Passed() {
				t.Errorf("%q was advised: %v", part, proof.Faults[0])
			}
		}
	}
}

// The same input gives the same bytes; a change of any part shows.
func TestSameInputSameBytes(t *testing.T) {
	logo := testLogo()
	make := func(s Settings, seed uint64) map[string][]byte {
		p := mustPress(t, s)
		sheet := mustSheet(t, p, labels(seed, p.Stock.Labels(), urlLabel))
		var pdf bytes.Buffer
		d := p.Document()
		d.Add(sheet)
		if err := d.Write(&pdf); err != nil {
			t.Fatal(err)
		}
		return map[string][]byte{"pdf": pdf.Bytes(), "png": sheet.Bitmap().PNG(), "zpl": sheet.ZPL(), "escpos": sheet.ESCPOS(), "hash": []byte(sheet.Prove(ReadBack).Hash)}
	}
	s := Settings{Stock: stock(t, "L7163"), DPI: DPI300, Level: H, Logo: logo, Ink: Colour{0, 40, 90}, Ground: White}
	first := make(s, 1)
	for range 3 {
		for form, b := range make(s, 1) {
			if !bytes.Equal(b, first[form]) {
				t.Errorf("%s: the same sheet has other bytes", form)
			}
		}
	}
	for form, b := range make(s, 2) {
		if bytes.Equal(b, first[form]) {
			t.Errorf("%s: another sheet has the same bytes", form)
		}
	}
	if bytes.Contains(first["pdf"], []byte("2026")) {
		t.Error("there is a date in the PDF")
	}
}

func testLogo() image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, 60, 40))
	for y := range 40 {
		for x := range 60 {
			if (x/10+y/10)%2 == 0 {
				img.SetNRGBA(x, y, color.NRGBA{160, 20, 20, 255})
			}
		}
	}
	return img
}

func TestModulesAreWholeDots(t *testing.T) {
	for _, dpi := range Resolutions {
		for _, mm := range []float64{0.4, 0.5, 0.66, 0.8} {
			p := mustPress(t, Settings{Stock: stock(t, "L7165"), DPI: dpi, Level: Q, ModuleMM: mm})
			s, err := p.Sheet(labels(3, 2, urlLabel), 1, 1)
			if dpi == DPI203 && mm < 0.5 {
				var no *Refusal
				if !errors.As(err, &no) || no.Code != "module_too_small" {
					t.Errorf("%d dpi, %.2f mm: %v", dpi, mm, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			dots := s.cells[0].module
			if got := s.ModuleMM(); got > mm+1e-9 || got < mm-1/dpi.perMM() || float64(dots)/dpi.perMM() != got {
				t.Errorf("%d dpi: %.2f mm asked, %.4f mm and %d dots got", dpi, mm, got, dots)
			}
			if proof := s.Prove(ReadBack); !proof.Passed() {
				t.Error(proof.Faults[0])
			}
		}
	}
	if mm := 21. / DPI600.perMM(); mm > 0.9 || DPI203.perMM() != 8 {
		t.Errorf("21 dots are %.3f mm at 600 dpi", mm)
	}
}

func TestRefusals(t *testing.T) {
	with := func(f func(*Label)) Label {
		l := urlLabel(rand.New(rand.NewPCG(1, 1)), 1)
		f(&l)
		return l
	}
	good := with(func(*Label) {})
	l7163 := stock(t, "L7163")
	tests := []struct {
		name      string
		set       Settings
		label     Label
		code, say string
	}{
		{"payload too long for the stock", Settings{Stock: stock(t, "57x32"), DPI: DPI203, Level: H}, brCodeLabel(rand.New(rand.NewPCG(1, 1)), 1), "payload_too_long", "What fits"},
		{"payload too long for any code", Settings{Stock: l7163, Level: H}, with(func(l *Label) { l.Payload = strings.Repeat("x", 2000) }), "payload_too_long", "level H"},
		{"no payload", Settings{Stock: l7163}, with(func(l *Label) { l.Payload = "" }), "payload_too_long", "empty"},
		{"module too small for the resolution", Settings{Stock: l7163, DPI: DPI203, ModuleMM: 0.3}, good, "module_too_small", "at least 0.500 at 203 dpi"},
		{"module too large for the stock", Settings{Stock: l7163, ModuleMM: 3}, good, "module_too_large", "at most"},
		{"logo without correction", Settings{Stock: l7163, Level: M, Logo: testLogo()}, good, "logo_needs_h", "H"},
		{"logo over too much", Settings{Stock: l7163, Level: H, Logo: testLogo(), ModuleMM: 0.3}, good, "logo_too_large", "22 %"},
		{"logo in a printer's own symbol", Settings{Stock: stock(t, "102x152"), Level: H, Logo: testLogo(), Native: true}, good, "logo", "native false"},
		{"grey on white", Settings{Stock: l7163, Ink: Colour{170, 170, 170}, Ground: White}, good, "no_contrast", "Black on white always works"},
		{"light on dark", Settings{Stock: l7163, Ink: White, Ground: Black}, good, "no_contrast", "light on dark"},
		{"red, which tills do not see", Settings{Stock: l7163, Ink: Colour{200, 0, 0}, Ground: White}, good, "no_contrast", "red light"},
		{"white on white", Settings{Stock: l7163, Ink: White, Ground: White}, good, "no_contrast", "ground"},
		{"control character", Settings{Stock: l7163}, with(func(l *Label) { l.Title = "Caf\x07é" }), "text", "U+0007"},
		{"line feed", Settings{Stock: l7163}, with(func(l *Label) { l.Place = "a\nb" }), "text", "U+000A"},
		{"turned direction", Settings{Stock: l7163}, with(func(l *Label) { l.Title = "pay \u202e05.21" }), "text", "direction"},
		{"isolated direction", Settings{Stock: l7163}, with(func(l *Label) { l.Help = "\u2066x" }), "text", "U+2066"},
		{"letters that are not in the font", Settings{Stock: l7163}, with(func(l *Label) { l.Place = "カフェ" }), "no_glyph", "カ"},
		{"text that is none", Settings{Stock: l7163}, with(func(l *Label) { l.Title = "\xff" }), "text", "UTF-8"},
		{"no stock", Settings{}, good, "unknown_stock", "known"},
		{"odd resolution", Settings{Stock: l7163, DPI: 96}, good, "unknown_dpi", "203"},
		{"unknown language", Settings{Stock: l7163, Language: "tlh"}, good, "unknown_language", "en"},
		{"control character in the note", Settings{Stock: l7163, Note: "\x1b[2J"}, good, "text", "U+001B"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := NewPress(tt.set)
			if err == nil {
				_, err = p.Sheet([]Label{tt.label}, 1, 1)
			}
			var no *Refusal
			if !errors.As(err, &no) || no.Code != tt.code || !strings.Contains(no.Message, tt.say) {
				t.Errorf("got %v, want %s with %q", err, tt.code, tt.say)
			}
		})
	}
	p := mustPress(t, Settings{Stock: l7163})
	if _, err := p.Sheet(labels(1, 15, urlLabel), 1, 1); err == nil {
		t.Error("15 labels on a sheet of 14")
	}
	if _, err := p.Sheet(append(labels(1, 2, urlLabel), with(func(l *Label) { l.Title = "\x00" })), 4, 9); err == nil || !strings.Contains(err.Error(), "label 3 of sheet 4") {
		t.Errorf("which label it was: %v", err)
	}
	if _, err := StockByID("L9999"); err == nil || !strings.Contains(err.Error(), "L7159") {
		t.Errorf("an unknown stock: %v", err)
	}
}

// All sentences of a label are there where there is room, in every language, and the
// label of a merchant that is trying things out says so.
func TestCaption(t *testing.T) {
	for _, language := range Languages() {
		p := mustPress(t, Settings{Stock: stock(t, "a6-stand"), Level: M, Language: language})
		l := urlLabel(rand.New(rand.NewPCG(1, 1)), 7)
		l.Test = true
		s := mustSheet(t, p, []Label{l})
		var all []string
		for _, tx := range s.cells[0].texts {
			all = append(all, tx.s)
		}
		said := strings.Join(all, "\n")
		ph := languages[language]
		for _, want := range []string{ph.test, l.Title, l.Place, ph.camera, fmt.Sprintf(ph.address, l.Address), l.Token, ph.help, "№ 000007"} {
			if !strings.Contains(said, want) {
				t.Errorf("%s: %q is not on the label:\n%s", language, want, said)
			}
		}
		l.BankApp, l.Help = true, "Peça ajuda ao João"
		s = mustSheet(t, p, []Label{l})
		if i := slices.IndexFunc(s.cells[0].texts, func(tx text) bool { return tx.s == ph.app }); i < 0 {
			t.Errorf("%s: it does not say that the bank's app scans it", language)
		}
		if i := slices.IndexFunc(s.cells[0].texts, func(tx text) bool { return tx.s == l.Help }); i < 0 {
			t.Errorf("%s: its own help is not on the label", language)
		}
	}
}

// Where there is no room for all, what matters less goes first, and it is said.
func TestWhatFindsNoRoom(t *testing.T) {
	p := mustPress(t, Settings{Stock: stock(t, "5160"), Level: H})
	l := urlLabel(rand.New(rand.NewPCG(1, 1)), 7)
	l.Title, l.Place, l.Test = strings.Repeat("A very long name ", 6), strings.Repeat("and a long place ", 6), true
	s := mustSheet(t, p, []Label{l})
	left := s.LeftOut()
	if !slices.Contains(left, "title (shortened)") || slices.Contains(left, "token") {
		t.Errorf("left out: %v", left)
	}
	var all string
	for _, tx := range s.cells[0].texts {
		all += tx.s
	}
	if !strings.Contains(strings.ReplaceAll(all, "-", ""), strings.ReplaceAll(l.Token, "-", "")) || !strings.Contains(all, "TEST") {
		t.Errorf("the label says %q", all)
	}
	if proof := s.Prove(ReadBack); !proof.Passed() {
		t.Error(proof.Faults[0])
	}
}

// Sheets of stock that is cut have marks, none of them inside a label; numbers stand
// in a margin, if there is one.
func TestMarksAndNumbers(t *testing.T) {
	for _, st := range Stocks {
		p := mustPress(t, Settings{Stock: st, Marks: true, Note: "Batch 7"})
		s, err := p.Sheet(labels(1, st.Labels(), urlLabel), 3, 12)
		if err != nil {
			t.Fatal(err)
		}
		if want := (st.Use == CutSheet && st.ID != "a6-stand") || st.Use == LabelSheet; want != (len(s.rules) > 0) {
			t.Errorf("%s has %d marks", st.ID, len(s.rules))
		}
		for _, r := range s.rules {
			for _, c := range s.cells {
				if !st.Folded && r.Overlaps(c.box.Inset(p.dpi.dots(0.3))) {
					t.Errorf("%s: a mark at %v is in the label at %v", st.ID, r, c.box)
				}
			}
			if edge := p.dpi.dots(rim) - 2; !r.In(image.Rect(edge, edge, s.w-edge, s.h-edge)) {
				t.Errorf("%s: a mark at %v cannot be printed", st.ID, r)
			}
		}
		if st.ID == "L7159" {
			if len(s.texts) != 1 || s.texts[0].s != "Sheet 3 of 12 · № 000001–000024 · Batch 7" {
				t.Errorf("%s is numbered %+v", st.ID, s.texts)
			}
		}
		for _, tx := range s.texts {
			for _, c := range s.cells {
				if tx.y-int(tx.size) < c.box.Max.Y {
					t.Errorf("%s: the number is in a label", st.ID)
				}
			}
		}
	}
}
