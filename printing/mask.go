package printing

import "image"

// A reader finds a symbol by its three corners: runs of dark and light as 1:1:3:1:1,
// along a row and down a column through the same point. Data can look like that by
// chance, and readers of the ZXing family then build the symbol on the wrong corner:
// of perfect prints of a URL of ours they refuse one in some 300, for good. The
// standard lets the encoder choose among eight masks; ours is changed until there is
// no such place.

// withoutFalseCorners is m with the first mask that leaves no false corner, or the
// fewest.
func (m Matrix) withoutFalseCorners() Matrix {
	best, least := m, m.falseCorners()
	for step := 1; least > 0 && step < len(masks); step++ {
		other := m.masked(m.mask() ^ step)
		if n := other.falseCorners(); n < least {
			best, least = other, n
		}
	}
	return best
}

// falseCorners counts the places besides the corners that look like one.
func (m Matrix) falseCorners() (n int) {
	size := m.size
	var runs [5]int // the last five, dark first
	for y := range size {
		count, dark := 0, false
		clear(runs[:])
		for x := 0; x <= size; x++ {
			here := x < size && m.dark[y*size+x]
			if here == dark && x < size {
				count++
				continue
			}
			copy(runs[:], runs[1:])
			runs[4] = count
			if dark && likeCorner(runs) && m.cornerAt(x-runs[4]-runs[3]-(runs[2]+1)/2, y) {
				n++
			}
			count, dark = 1, here
		}
	}
	return n
}

// likeCorner is the readers' own test: each run may be wrong by half.
func likeCorner(runs [5]int) bool {
	total := 0
	for _, r := range runs {
		if r == 0 {
			return false
		}
		total += r
	}
	// In sevenths of a module: |run - total/7| < total/14, and three times that in the middle.
	near := func(run, modules int) bool {
		return abs(14*run-2*total*modules) < total*modules
	}
	return near(runs[0], 1) && near(runs[1], 1) && near(runs[2], 3) && near(runs[3], 1) && near(runs[4], 1)
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

// cornerAt reports whether the column through x, y looks like a corner too, and is
// none of the three.
func (m Matrix) cornerAt(x, y int) bool {
	size := m.size
	if x < 7 && y < 7 || x >= size-7 && y < 7 || x < 7 && y >= size-7 {
		return false
	}
	var runs [5]int
	// Up and down from the middle: dark, light, dark.
	up, down := y, y+1
	count := func(at *int, step int, dark bool) (n int) {
		for uint(*at) < uint(size) && m.dark[*at*size+x] == dark {
			n++
			*at += step
		}
		return n
	}
	runs[2] = count(&up, -1, true)
	runs[1] = count(&up, -1, false)
	runs[0] = count(&up, -1, true)
	runs[2] += count(&down, 1, true)
	runs[3] = count(&down, 1, false)
	runs[4] = count(&down, 1, true)
	return likeCorner(runs)
}

// masks are the eight patterns (ISO/IEC 18004:2015, table 10), x being the column.
var masks = [8]func(x, y int) bool{
	func(x, y int) bool { return (x+y)%2 == 0 },
	func(_, y int) bool { return y%2 == 0 },
	func(x, _ int) bool { return x%3 == 0 },
	func(x, y int) bool { return (x+y)%3 == 0 },
	func(x, y int) bool { return (x/3+y/2)%2 == 0 },
	func(x, y int) bool { return x*y%2+x*y%3 == 0 },
	func(x, y int) bool { return (x*y%2+x*y%3)%2 == 0 },
	func(x, y int) bool { return ((x+y)%2+x*y%3)%2 == 0 },
}

// mask reads which mask the symbol has, off the format information (7.9).
func (m Matrix) mask() (mask int) {
	for x := 2; x <= 4; x++ {
		mask <<= 1
		if m.Dark(x, 8) {
			mask |= 1
		}
	}
	return mask ^ 0b101 // the format's own mask, on these bits
}

// levelBits is how the format information names a level.
var levelBits = [...]int{L: 1, M: 0, Q: 3, H: 2}

// masked is the symbol under another mask.
func (m Matrix) masked(mask int) Matrix {
	was, is := masks[m.mask()], masks[mask]
	n := m
	n.dark = make([]bool, len(m.dark))
	fixed := m.fixed()
	for y := range m.size {
		for x := range m.size {
			i := y*m.size + x
			n.dark[i] = m.dark[i] != (!fixed[i] && was(x, y) != is(x, y))
		}
	}
	// Five bits, and ten that correct them: BCH (15,5), 7.9.1.
	bits := levelBits[m.level]<<3 | mask
	rest := bits
	for range 10 {
		rest = rest<<1 ^ rest>>9*0x537
	}
	bits = (bits<<10 | rest) ^ 0x5412
	for i := range 15 {
		dark := bits>>i&1 == 1
		one, two := image.Pt(8, i), image.Pt(m.size-1-i, 8) // around the first corner; beside the others
		switch {
		case i == 6 || i == 7:
			one.Y++ // past the timing pattern
		case i == 8:
			one = image.Pt(7, 8)
		case i > 8:
			one = image.Pt(14-i, 8)
		}
		if i >= 8 {
			two = image.Pt(8, m.size-15+i)
		}
		n.dark[one.Y*m.size+one.X], n.dark[two.Y*m.size+two.X] = dark, dark
	}
	return n
}

// fixed marks the modules that no mask is laid on: corners, timing, alignment, format
// and version.
func (m Matrix) fixed() []bool {
	size := m.size
	f := make([]bool, size*size)
	set := func(r image.Rectangle) {
		r = r.Intersect(image.Rect(0, 0, size, size))
		for y := r.Min.Y; y < r.Max.Y; y++ {
			for x := r.Min.X; x < r.Max.X; x++ {
				f[y*size+x] = true
			}
		}
	}
	set(image.Rect(0, 0, 9, 9))
	set(image.Rect(size-8, 0, size, 9))
	set(image.Rect(0, size-8, 9, size))
	set(image.Rect(6, 0, 7, size))
	set(image.Rect(0, 6, size, 7))
	if m.version >= 7 {
		set(image.Rect(size-11, 0, size-8, 6))
		set(image.Rect(0, size-11, 6, size-8))
	}
	at := alignments(m.version)
	for i, y := range at {
		for j, x := range at {
			if last := len(at) - 1; i == 0 && j == 0 || i == 0 && j == last || i == last && j == 0 {
				continue // a corner is there
			}
			set(image.Rect(x-2, y-2, x+3, y+3))
		}
	}
	return f
}

// alignments are the rows and columns in which alignment patterns stand (annex E).
func alignments(version int) []int {
	if version == 1 {
		return nil
	}
	n := version/7 + 2
	step := (version*4 + n*2 + 1) / (n*2 - 2) * 2
	if version == 32 {
		step = 26
	}
	at := make([]int, n)
	at[0] = 6
	for i, p := n-1, 4*version+10; i > 0; i, p = i-1, p-step {
		at[i] = p
	}
	return at
}
