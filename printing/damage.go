package printing

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
)

// Damage is a way in which prints are spoiled between the printer and the camera.
type Damage struct {
	Name string // stable, for programs
	What string // for people
	do   func(v *view, seed uint64)
}

// Damages are what every code of a proof has to survive, each alone.
var Damages = []Damage{
	{"blur", "a camera out of focus, or ink that has run: each point spreads over two thirds of a module (Gauss, full width at half the height)", blur},
	{"reduced", "a driver that shrank the page to 80 %, by whole dots", reduced},
	{"low_contrast", "ink of three tenths of its contrast, under light that falls off to one side", faded},
	{"dirt", "stains over a tenth of the symbol that take up to 45 % of the light, and black specks of a module over half a hundredth; not on the patterns in the corners, which no correction protects", dirt},
	{"fold", "a crease through the middle that lost its ink, with the lower half in the shade", fold},
	{"tilt", "held 15° askew and 15° away from the camera", tilt},
}

// view is what a camera sees: grey values, with the symbol inside.
type view struct {
	w, h   int
	pix    []uint8
	module float64 // pixels
	side   float64 // of the symbol with its quiet zone, in pixels; it is centred
	paper  uint8
}

func (v *view) at(x, y int) uint8 {
	if uint(x) < uint(v.w) && uint(y) < uint(v.h) {
		return v.pix[y*v.w+x]
	}
	return v.paper
}

// between is the value at a point between pixels.
func (v *view) between(x, y float64) float64 {
	x0, y0 := int(math.Floor(x)), int(math.Floor(y))
	fx, fy := x-float64(x0), y-float64(y0)
	if x0 >= 0 && y0 >= 0 && x0 < v.w-1 && y0 < v.h-1 {
		p := v.pix[y0*v.w+x0:]
		above := float64(p[0])*(1-fx) + float64(p[1])*fx
		below := float64(p[v.w])*(1-fx) + float64(p[v.w+1])*fx
		return above*(1-fy) + below*fy
	}
	above := float64(v.at(x0, y0))*(1-fx) + float64(v.at(x0+1, y0))*fx
	below := float64(v.at(x0, y0+1))*(1-fx) + float64(v.at(x0+1, y0+1))*fx
	return above*(1-fy) + below*fy
}

// camera is how many pixels a module has in the eye of a phone half a metre away from
// a small code; a finer print is no easier for it.
const camera = 6

// viewOf looks at a symbol in a bitmap of a printer, side dots with its quiet zone from
// the crop's corner, in the colours it is printed in.
func viewOf(b *Bitmap, module int, ink, ground Colour) *view {
	dark, light := ink.grey(), ground.grey()
	v := &view{w: b.W, h: b.H, module: float64(module), side: float64(b.W), paper: light, pix: make([]uint8, b.W*b.H)}
	i := 0
	for y := range b.H {
		row := b.bits[y*b.stride : (y+1)*b.stride]
		for x := range b.W {
			if row[x>>3]&(0x80>>(x&7)) != 0 {
				v.pix[i] = dark
			} else {
				v.pix[i] = light
			}
			i++
		}
	}
	return v
}

// seen is the view at the camera's resolution: the mean of what falls on each pixel.
func (v *view) seen() *view {
	f := v.module / camera
	n := &view{w: int(math.Round(float64(v.w) / f)), h: int(math.Round(float64(v.h) / f)), module: camera, side: v.side / f, paper: v.paper}
	n.pix = make([]uint8, n.w*n.h)
	columns, rows := spans(v.w, n.w), spans(v.h, n.h)
	sums := make([]float64, v.w) // of the rows under one pixel
	for y, r := range rows {
		clear(sums)
		for k, share := range r.shares {
			for x, p := range v.pix[(r.from+k)*v.w : (r.from+k+1)*v.w] {
				sums[x] += float64(p) * share
			}
		}
		for x, c := range columns {
			sum := 0.0
			for k, share := range c.shares {
				sum += sums[c.from+k] * share
			}
			n.pix[y*n.w+x] = uint8(sum + 0.5)
		}
	}
	return n
}

// span is which of the old pixels, and how much of each, make up a new one.
type span struct {
	from   int
	shares []float64
}

func spans(old, new int) []span {
	list := make([]span, new)
	f := float64(old) / float64(new)
	for i := range list {
		a, b := float64(i)*f, float64(i+1)*f
		s := span{from: int(a)}
		for x := s.from; float64(x) < b-1e-9 && x < old; x++ {
			s.shares = append(s.shares, (min(b, float64(x+1))-max(a, float64(x)))/(b-a))
		}
		list[i] = s
	}
	return list
}

// blur spreads each point by a Gauss curve.
func blur(v *view, _ uint64) {
	sigma := 0.28 * v.module
	radius := int(math.Ceil(3 * sigma))
	kernel := make([]float64, 2*radius+1)
	sum := 0.0
	for i := range kernel {
		kernel[i] = math.Exp(-float64((i-radius)*(i-radius)) / (2 * sigma * sigma))
		sum += kernel[i]
	}
	line := make([]float64, max(v.w, v.h)+2*radius)
	smear := func(from, step, n int) {
		for i := range n + 2*radius {
			line[i] = float64(v.pix[from+step*min(max(i-radius, 0), n-1)]) / sum
		}
		for i := range n {
			total := 0.0
			for k, weight := range kernel {
				total += line[i+k] * weight
			}
			v.pix[from+step*i] = uint8(total + 0.5)
		}
	}
	for y := range v.h {
		smear(y*v.w, 1, v.w)
	}
	for x := range v.w {
		smear(x, v.w, v.h)
	}
}

// reduced draws the view at 80 % with the dots it has: a dot is dark or light, so
// some modules become wider than others.
func reduced(v *view, _ uint64) {
	old := *v
	v.pix = make([]uint8, len(old.pix))
	for y := range v.h {
		for x := range v.w {
			v.pix[y*v.w+x] = old.at(shrink(x, v.w), shrink(y, v.h))
		}
	}
	v.module, v.side = v.module*0.8, v.side*0.8
}

func shrink(x, n int) int {
	mid := float64(n) / 2
	return int(math.Floor((float64(x)+0.5-mid)/0.8 + mid))
}

func faded(v *view, _ uint64) {
	for y := range v.h {
		for x := range v.w {
			p := &v.pix[y*v.w+x]
			light := 0.95 - 0.20*float64(x)/float64(v.w)
			*p = uint8((255 - float64(255-int(*p))*0.3) * light)
		}
	}
}

// dirt lies where the seed says: a proof of the same sheet is the same proof.
func dirt(v *view, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	symbol := v.side - 2*Quiet*v.module
	from := (float64(v.w) - symbol) / 2
	// The patterns by which a reader finds the symbol: three large ones, and the small
	// one of alignment.
	corner := func(x, y, radius float64) bool {
		near := 7.5*v.module + radius
		if x > symbol/2 && y > symbol/2 {
			near = 10.5*v.module + radius
		}
		return min(x, symbol-x) < near && min(y, symbol-y) < near
	}
	// A spot is darkest in the middle half and fades out, as what dries does.
	spot := func(radius, takes float64) {
		cx, cy := from+random.Float64()*symbol, from+random.Float64()*symbol
		for try := 0; corner(cx-from, cy-from, radius); try++ {
			if try == 100 {
				return // a symbol so small is nearly all corners
			}
			cx, cy = from+random.Float64()*symbol, from+random.Float64()*symbol
		}
		for y := int(cy - radius); y <= int(cy+radius); y++ {
			for x := int(cx - radius); x <= int(cx+radius); x++ {
				if uint(x) >= uint(v.w) || uint(y) >= uint(v.h) {
					continue
				}
				if d := math.Hypot(float64(x)-cx, float64(y)-cy) / radius; d < 1 {
					p := &v.pix[y*v.w+x]
					*p = uint8(float64(*p) * (1 - takes*min(1, 2*(1-d))))
				}
			}
		}
	}
	area := symbol * symbol
	for covered := 0.0; covered < 0.10*area; {
		r := v.module * (1.5 + 2.5*random.Float64())
		spot(r, 0.45)
		covered += math.Pi * r * r
	}
	for covered := 0.0; covered < 0.005*area; {
		r := v.module * 0.45
		spot(r, 1)
		covered += math.Pi * r * r
	}
}

func fold(v *view, _ uint64) {
	half := v.module / 5
	for y := range v.h {
		for x := range v.w {
			p := &v.pix[y*v.w+x]
			// It runs a little askew, as people fold.
			d := float64(y) - float64(v.h)/2 - (float64(x)-float64(v.w)/2)*0.06
			switch {
			case math.Abs(d) <= half:
				*p = v.paper
			case d > 0:
				*p = uint8(float64(*p) * 0.75)
			}
		}
	}
}

// tilt looks from a distance of four times the symbol.
func tilt(v *view, _ uint64) {
	old := *v
	sin, cos := math.Sincos(15 * math.Pi / 180)
	// Room for the corners.
	n := int(math.Ceil(float64(v.w) * 1.3))
	v.w, v.h, v.pix = n, n, make([]uint8, n*n)
	far := 4 * old.side
	mid, oldMid := float64(n)/2, float64(old.w)/2
	for y := range n {
		for x := range n {
			// From the picture back onto the leaning sheet: first the lean, then the turn.
			px, py := float64(x)+0.5-mid, float64(y)+0.5-mid
			sy := py * far / (far*cos + py*sin)
			depth := 1 - sy*sin/far
			sx := px * depth
			ox, oy := sx*cos+sy*sin, -sx*sin+sy*cos
			v.pix[y*n+x] = uint8(old.between(ox+oldMid-0.5, oy+oldMid-0.5) + 0.5)
		}
	}
}

func seedOf(payload string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(payload))
	return h.Sum64()
}
