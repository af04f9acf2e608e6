package linking

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"sync"
)

// Token is what is printed in a code, 20 symbols of Crockford base 32:
//
//	shard 2 · ring 2 · body 14 · check 2
//
// The body hides a batch number, a serial and 30 zero bits from whoever lacks
// the key of the ring, so that a code that was only printed needs no record of
// its own and nearly every guess dies without one. It is never reused, and how it
// is made can never change: it stands on paper (see testdata/tokens.json).
type Token string

// Ring is a number of 10 bits that leads from a token to the keys to try.
type Ring uint16

// Rings is the number of rings of a shard.
const Rings = 1024

func (r Ring) String() string {
	return string(appendSymbols(make([]byte, 0, 2), uint64(r), 2))
}

// TokenKey is the AES-128 key of one key generation of a merchant.
type TokenKey [16]byte

// Serial says which code of a merchant's key generation a token is.
//
// Batch 0 holds single codes: No then is 50 random bits, and such a token is
// valid only if its record exists. Any other batch counts its codes from 0, in at
// most 20 bits.
type Serial struct {
	Batch uint32
	No    uint64
}

const (
	maxBatch  = 1<<20 - 1
	maxSerial = 1<<20 - 1
	half      = 1<<35 - 1
)

func (t Token) Shard() Shard { return shardOf(string(t)) }
func (t Token) Ring() Ring   { return Ring(symbols(string(t[2:4]))) }

// Grouped is the token as people read it aloud: five groups of four.
func (t Token) Grouped() string { return Grouped(string(t)) }

// ParseToken reads a token as it was typed or scanned: any case, grouping hyphens
// and blanks, and look-alikes are forgiven. False means that no code ever had it;
// a slip of one symbol, or two neighbours swapped, is always found.
func ParseToken(s string) (Token, bool) {
	s, ok := idOf(s, 20)
	if !ok || checkOf(s[:18]) != symbols(s[18:]) {
		return "", false
	}
	return Token(s), true
}

// checkOf is the first 18 symbols as one number modulo the prime 1021, which no
// single substitution and no swap of neighbours keeps.
func checkOf(s string) (v uint64) {
	for i := range len(s) {
		v = (v<<5 | uint64(crockfordValue[s[i]])) % 1021
	}
	return v
}

// MakeToken derives the token of s under key.
func MakeToken(shard Shard, ring Ring, key TokenKey, s Serial) Token {
	var a, b uint64
	if s.Batch == 0 {
		a, b = s.No>>35&(1<<15-1), s.No&half
	} else {
		a, b = uint64(s.Batch)<<15|s.No>>5, s.No<<30&half
	}
	a, b = newFF1(key, shard, ring).encrypt(a, b)
	t := make([]byte, 0, 20)
	t = appendSymbols(t, uint64(shard), 2)
	t = appendSymbols(t, uint64(ring), 2)
	t = appendSymbols(t, a, 7)
	t = appendSymbols(t, b, 7)
	return Token(appendSymbols(t, checkOf(string(t)), 2))
}

// Open reads the serial off a token. False means that key did not make it; true
// with batch 0 only means that it may have.
func (t Token) Open(key TokenKey) (Serial, bool) { return t.open(newFF1(key, t.Shard(), t.Ring())) }

// open is Open with a cipher made for the token's shard and ring.
func (t Token) open(f *ff1) (Serial, bool) {
	a, b := f.decrypt(symbols(string(t[4:11])), symbols(string(t[11:18])))
	batch := uint32(a >> 15)
	if batch == 0 {
		return Serial{0, a<<35 | b}, true
	}
	return Serial{batch, a&(1<<15-1)<<5 | b>>30}, b&(1<<30-1) == 0
}

// ff1 is the format-preserving encryption FF1 of NIST SP 800-38G (2016), section
// 6.2, with AES-128, for radix 32, 14 numerals and a tweak of 4 bytes, the
// symbols of shard and ring as printed. Both halves are 7 numerals, which is 35 bits, so that
// NUM, STR and the sum modulo radix^7 are shifts and masks.
type ff1 struct {
	block cipher.Block
	p     [16]byte // the encrypted first block, the same in every round
	tweak [4]byte
}

func newFF1(key TokenKey, shard Shard, ring Ring) *ff1 {
	block, _ := aes.NewCipher(key[:]) // 16 bytes are always a key
	f := &ff1{block: block}
	copy(f.tweak[:], shard.String()+ring.String())
	// version 1, method 2, addition 1, radix 32, ten rounds, u = 7, n = 14, t = 4
	f.block.Encrypt(f.p[:], []byte{1, 2, 1, 0, 0, 32, 10, 7, 0, 0, 0, 14, 0, 0, 0, 4})
	return f
}

// blocks are one round's input and output. They go through an interface, so they
// would be made anew every round; a scan makes ten.
type blocks struct{ q, r [16]byte }

var spareBlocks = sync.Pool{New: func() any { return new(blocks) }}

// round is the low 64 bits of the round function's y; the caller's mask takes it
// modulo 2^35. d is 12 bytes, so y is the first 12 bytes of one block.
func (f *ff1) round(m *blocks, i byte, x uint64) uint64 {
	m.q = f.p // CBC-MAC: the second block is xored onto the encrypted first
	for j := range f.tweak {
		m.q[j] ^= f.tweak[j]
	}
	m.q[10] ^= i
	m.q[11] ^= byte(x >> 32)
	for j := range 4 {
		m.q[12+j] ^= byte(x >> (24 - 8*j))
	}
	f.block.Encrypt(m.r[:], m.q[:])
	return binary.BigEndian.Uint64(m.r[4:12])
}

func (f *ff1) encrypt(a, b uint64) (uint64, uint64) {
	m := spareBlocks.Get().(*blocks)
	for i := byte(0); i < 10; i++ {
		a, b = b, (a+f.round(m, i, b))&half
	}
	spareBlocks.Put(m)
	return a, b
}

func (f *ff1) decrypt(a, b uint64) (uint64, uint64) {
	m := spareBlocks.Get().(*blocks)
	for i := byte(10); i > 0; i-- {
		a, b = (b-f.round(m, i-1, a))&half, a
	}
	spareBlocks.Put(m)
	return a, b
}
