package printing

import (
	"fmt"
	"image"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// Every way in which a sheet is spoiled is found, with a reason of its own, and only
// the label that was spoiled is blamed.
func TestSpoiledSheetsAreRefused(t *testing.T) {
	print := func(level Level, logo bool) (*Sheet, *Bitmap) {
		set := Settings{Stock: stock(t, "L7163"), DPI: DPI300, Level: level}
		if logo {
			set.Logo = testLogo()
		}
		s := mustSheet(t, mustPress(t, set), labels(5, 4, urlLabel))
		return s, nil
	}
	const spoiled = 1 // counted from 0
	tests := []struct {
		reason Reason
		spoil  func(s *Sheet, c *cell) *Bitmap // nil: the sheet's own
	}{
		{OffSheet, func(s *Sheet, c *cell) *Bitmap {
			c.box = c.box.Add(image.Pt(s.w-c.box.Max.X+c.box.Dx()*4/5, 0))
			return nil
		}},
		{OffLabel, func(_ *Sheet, c *cell) *Bitmap { c.at.X -= 8 * c.module; return nil }},
		{TextOffLabel, func(_ *Sheet, c *cell) *Bitmap { c.texts[2].x += 400; return nil }},
		{ModuleTooSmall, func(_ *Sheet, c *cell) *Bitmap { c.module = 3; return nil }},
		{LogoTooLarge, func(_ *Sheet, c *cell) *Bitmap { c.logo = c.logo.Inset(-3 * c.module); return nil }},
		{Duplicate, func(s *Sheet, c *cell) *Bitmap {
			c.matrix, c.label.Payload, c.label.Token = s.cells[0].matrix, s.cells[0].label.Payload, s.cells[0].label.Token
			return nil
		}},
		{WrongCaption, func(s *Sheet, c *cell) *Bitmap { c.label.Token = s.cells[2].label.Token; return nil }},
		{Empty, func(s *Sheet, c *cell) *Bitmap { b := s.Bitmap(); b.fill(c.box, false); return b }},
		{NoQuietZone, func(s *Sheet, c *cell) *Bitmap {
			b := s.Bitmap()
			at := c.onSheet(c.symbol()).Max
			b.set(at.X+3*c.module, at.Y-5)
			return b
		}},
		{UnevenModules, func(s *Sheet, c *cell) *Bitmap {
			b := s.Bitmap()
			r := c.onSheet(c.symbol())
			mid := (r.Min.X + r.Max.X) / 2
			right := b.crop(image.Rect(mid, r.Min.Y, r.Max.X-1, r.Max.Y)) // the right half a dot to the right
			b.fill(image.Rect(mid+1, r.Min.Y, r.Max.X, r.Max.Y), false)
			b.lay(right, image.Pt(mid+1, r.Min.Y))
			return b
		}},
		{Unreadable, func(s *Sheet, c *cell) *Bitmap {
			b := s.Bitmap()
			at := c.onSheet(c.symbol()).Min
			b.fill(image.Rectangle{at, at.Add(image.Pt(7*c.module, 7*c.module))}, true)
			return b
		}},
		{WrongPayload, func(s *Sheet, c *cell) *Bitmap { c.matrix = s.cells[0].matrix; return nil }},
		{WrongLevel, func(_ *Sheet, c *cell) *Bitmap { c.matrix, _ = Encode(c.matrix.payload, L); c.module = 8; return nil }},
		{"fails_dirt", damagedOnce("dirt")},
		{"fails_fold", damagedOnce("fold")},
	}
	for _, tt := range tests {
		t.Run(string(tt.reason), func(t *testing.T) {
			s, _ := print(pickLevel(tt.reason), tt.reason == LogoTooLarge)
			b := tt.spoil(s, &s.cells[spoiled])
			if b == nil {
				b = s.Bitmap()
			}
			p := s.prove(b, Full)
			if p.Passed() || p.Read > p.Codes {
				t.Fatal("the sheet passes")
			}
			found := false
			for _, f := range p.Faults {
				found = found || f.Reason == tt.reason
				if f.Label != spoiled+1 || f.Serial != "000002" || f.Detail == "" {
					t.Errorf("blamed: %+v", f)
				}
			}
			if !found {
				t.Errorf("refused for %v", p.Faults)
			}
		})
	}
	t.Run(string(LowContrast), func(t *testing.T) { // of the whole sheet
		s, _ := print(M, false)
		s.press.Ink = Colour{180, 180, 180}
		if p := s.Prove(Full); p.Passed() || len(p.Faults) != 4 || p.Faults[0].Reason != LowContrast {
			t.Errorf("%+v", p.Faults)
		}
	})
	t.Run("none", func(t *testing.T) {
		for _, logo := range []bool{false, true} {
			s, _ := print(DefaultLevel(logo), logo)
			p := s.Prove(Full)
			if !p.Passed() || p.Read != 4 || len(p.Survived) != len(Damages) || p.Survived[0].Of != 4 || p.Survived[0].Read != 4 {
				t.Errorf("logo %v: %+v", logo, p)
			}
		}
	})
}

func pickLevel(r Reason) Level {
	if r == LogoTooLarge {
		return H
	}
	return M
}

// damagedOnce flips whole modules of a symbol, until it can still be read as it is,
// but not any more after one kind of damage.
func damagedOnce(name string) func(*Sheet, *cell) *Bitmap {
	return func(s *Sheet, c *cell) *Bitmap {
		which := 0
		for i := range Damages {
			if Damages[i].Name == name {
				which = i
			}
		}
		good := c.matrix.dark
		for seed := range uint64(200) {
			r := rand.New(rand.NewPCG(seed, 9))
			dark := append([]bool(nil), good...)
			for range 14 {
				x, y := 9+r.IntN(c.matrix.size-18), 9+r.IntN(c.matrix.size-18)
				dark[y*c.matrix.size+x] = !dark[y*c.matrix.size+x]
			}
			c.matrix.dark = dark
			b := s.Bitmap()
			crop := b.crop(c.onSheet(c.symbol()).Inset(-Quiet * c.module))
			plain := viewOf(crop, c.module, Black, White)
			eye := plain.seen()
			if got, err := eye.read(); err != nil || got.text != c.label.Payload {
				continue
			}
			if _, err := damaged(plain, eye, &Damages[which], seedOf(c.label.Payload)).read(); err != nil {
				return b
			}
		}
		c.matrix.dark = good
		return nil
	}
}

// Each damage hurts: done over and over, it ends every symbol. None may be a mere name.
func TestDamagesHurt(t *testing.T) {
	s := mustSheet(t, mustPress(t, Settings{Stock: stock(t, "62x62"), Level: H}), labels(6, 1, urlLabel))
	c := &s.cells[0]
	plain := viewOf(s.Bitmap().crop(c.symbol().Inset(-Quiet*c.module)), c.module, Black, White)
	eye := plain.seen()
	for i := range Damages {
		d := &Damages[i]
		v := *eye
		v.pix = append([]uint8(nil), eye.pix...)
		times := 0
		for ; times < 30; times++ {
			if got, err := v.read(); err != nil || got.text != c.label.Payload {
				break
			}
			d.do(&v, uint64(times))
		}
		if times < 2 || times == 30 {
			t.Errorf("%s ends a symbol of level H after %d times", d.Name, times)
		}
	}
}

// Sheets of ours pass, by the thousand.
func TestThousandSheetsPass(t *testing.T) {
	sheets := 2
	if proving() {
		sheets = 1000
	}
	for _, tt := range []struct {
		name, stock string
		level       Level
		make        func(*rand.Rand, int) Label
	}{
		{"our URL", "L7159", M, urlLabel},
		{"the longest BR Codes", "L7163", M, brCodeLabel},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := mustPress(t, Settings{Stock: stock(t, tt.stock), DPI: DPI300, Level: tt.level})
			var next, codes atomic.Int64
			var all sync.WaitGroup
			for range runtime.GOMAXPROCS(0) {
				all.Go(func() {
					for n := next.Add(1); n <= int64(sheets); n = next.Add(1) {
						s, err := p.Sheet(labels(uint64(n), p.Stock.Labels(), tt.make), int(n), sheets)
						if err != nil {
							t.Error(err)
							return
						}
						proof := s.Prove(Full)
						codes.Add(int64(proof.Read))
						for _, f := range proof.Faults {
							t.Errorf("sheet %d: %s: %v", n, f.Reason, f)
						}
					}
				})
			}
			all.Wait()
			t.Logf("%d sheets, %d codes, each read as printed and after %d kinds of damage", sheets, codes.Load(), len(Damages))
		})
	}
}

// A longest BR Code of which the first three looks, faded, take data for a corner.
func TestAnotherLookFindsIt(t *testing.T) {
	t.Parallel()
	p := mustPress(t, Settings{Stock: stock(t, "L7163"), DPI: DPI300, Level: M})
	s, err := p.Sheet(labels(761, p.Stock.Labels(), brCodeLabel)[9:10], 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if proof := s.Prove(Full); !proof.Passed() {
		t.Error(proof.Faults)
	}
}

// Of perfect symbols, some cannot be read by readers that take data for a corner. Ours
// get another mask then.
func TestNoFalseCorners(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 2))
	remade, refused, symbols := 0, 0, 500
	if proving() {
		symbols = 1500
	}
	for i := range symbols {
		level := Level(i % 4)
		payload := "HTTPS://PAY.EXAMPLE.COM/Q/" + randomToken(r)
		m, err := Encode(payload, level)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.looked(); err != nil || got.text != payload {
			refused++
		}
		if i < 4 {
			for mask := range masks {
				n := m.masked(mask)
				if got, err := n.looked(); err != nil || got.text != payload || n.mask() != mask || got.level != level.String() {
					t.Errorf("%v with mask %d: %+v, %v", level, mask, got, err)
				}
			}
		}
		if m.mask() != bareMask(t, payload, level) {
			remade++
		}
	}
	if refused > 1 { // at H, one in a thousand has no mask without one
		t.Errorf("%d of %d symbols cannot be read at the first look", refused, symbols)
	}
	if remade == 0 {
		t.Error("no symbol ever got another mask: the test shows nothing")
	}
	for _, payload := range []string{"HTTPS://PAY.EXAMPLE.COM/Q/NP8C5FJMPRYNG4HG6Z4R", "HTTPS://PAY.EXAMPLE.COM/Q/76E4S8537905TNHEESW5"} { // met in the wild
		m, _ := Encode(payload, M)
		if _, err := m.looked(); err != nil {
			t.Errorf("%s: %v", payload, err)
		}
	}
}

// looked is one look at a clean picture of the symbol.
func (m Matrix) looked() (seenCode, error) {
	const k = 4
	b := newBitmap((m.size+2*Quiet)*k, (m.size+2*Quiet)*k, DPI300)
	for run := range m.runs() {
		b.fill(image.Rectangle{run.Min.Mul(k), run.Max.Mul(k)}.Add(image.Pt(Quiet*k, Quiet*k)), true)
	}
	return viewOf(b, k, Black, White).look()
}

func TestReadPhoto(t *testing.T) {
	s := mustSheet(t, mustPress(t, Settings{Stock: stock(t, "62x62"), Level: M}), labels(4, 1, urlLabel))
	c := s.cells[0]
	v := viewOf(s.Bitmap(), c.module, Black, White).seen()
	v.side = float64(c.matrix.size+2*Quiet) * v.module
	tilt(v, 0)
	photo := image.NewGray(image.Rect(0, 0, v.w, v.h))
	copy(photo.Pix, v.pix)
	if got, err := ReadPhoto(photo); err != nil || got != c.label.Payload {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := ReadPhoto(image.NewGray(image.Rect(0, 0, 300, 300))); err == nil {
		t.Error("something was read off a black picture")
	}
	if _, err := ReadPhoto(image.NewGray(image.Rectangle{})); err == nil {
		t.Error("something was read off nothing")
	}
}

func ExampleFault() {
	fmt.Println(Fault{Label: 3, Serial: "000027", Reason: NoQuietZone, Detail: "something is printed in the white"})
	// Output: № 000027: something is printed in the white
}
