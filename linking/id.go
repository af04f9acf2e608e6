package linking

import (
	"crypto/rand"
	"encoding/binary"
	"strings"
	"time"
)

// Crockford's base 32: digits and capitals without I, L, O and U.
// https://www.crockford.com/base32.html
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// crockfordValue maps a byte to its value, or 0xff. It forgives what people and
// scanners mistake: lower case, O for 0, I and L for 1.
var crockfordValue = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i := range len(crockford) {
		t[crockford[i]] = byte(i)
		t[crockford[i]|0x20] = byte(i)
	}
	t['O'], t['o'] = 0, 0
	t['I'], t['i'], t['L'], t['l'] = 1, 1, 1, 1
	return t
}()

// normal returns s as the canonical capitals, without grouping hyphens and
// blanks. It reports false for any other character and for more than limit symbols.
func normal(s string, limit int) (string, bool) {
	clean := len(s) <= limit
	for i := 0; clean && i < len(s); i++ {
		v := crockfordValue[s[i]]
		clean = v != 0xff && crockford[v] == s[i]
	}
	if clean {
		return s, true
	}
	if len(s) > 4*limit {
		return "", false
	}
	b := make([]byte, 0, limit)
	for i := range len(s) {
		if s[i] == '-' || s[i] == ' ' {
			continue
		}
		v := crockfordValue[s[i]]
		if v == 0xff || len(b) == limit {
			return "", false
		}
		b = append(b, crockford[v])
	}
	return string(b), true
}

// appendSymbols appends the lowest 5*n bits of v as n symbols.
func appendSymbols(b []byte, v uint64, n int) []byte {
	for i := n - 1; i >= 0; i-- {
		b = append(b, crockford[v>>(5*i)&31])
	}
	return b
}

// symbols reads canonical symbols as a number.
func symbols(s string) (v uint64) {
	for i := range len(s) {
		v = v<<5 | uint64(crockfordValue[s[i]])
	}
	return v
}

// randomSymbols returns n symbols of fresh randomness.
func randomSymbols(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	for i := range b {
		b[i] = crockford[b[i]&31]
	}
	return string(b)
}

// Shard is one of 1024 virtual partitions, or Meta. Everything of one merchant
// lives in one shard, and the first two characters of every id say which.
type Shard uint16

// Shards is the number of shards that hold merchants.
const Shards = 1024

// Meta holds what belongs to the whole store: its identity, which shards are in
// use, login names. It is atomic with nothing else.
const Meta Shard = Shards

func (s Shard) String() string {
	if s >= Meta {
		return "meta"
	}
	return string(appendSymbols(make([]byte, 0, 2), uint64(s), 2))
}

// RandomShard picks a shard for a new merchant.
func RandomShard() Shard {
	var b [2]byte
	rand.Read(b[:])
	return Shard(binary.BigEndian.Uint16(b[:]) % Shards)
}

// shardOf reads the shard off an id. The id is canonical.
func shardOf(id string) Shard { return Shard(symbols(id[:2])) }

// Named ids, so that one cannot be passed for another. All are canonical
// Crockford base 32 and start with the shard; parse them once, at the edge.
type (
	MerchantID   string // 14 symbols
	RequestID    string // 26 symbols: shard, 9 of milliseconds since 1970, 15 random; grows with time
	ConnectionID string // 14 symbols
	KeyID        string // 12 symbols
	BatchID      string // 20 symbols: merchant, generation 2, batch number 4
	ExceptionID  string // 20 symbols
	RefundID     string // 20 symbols
	OutletID     string // 14 symbols
)

// SaleID is the till's own id for one cart: 1 to 64 printable ASCII characters,
// unique per merchant for ever.
type SaleID string

func (id MerchantID) Shard() Shard   { return shardOf(string(id)) }
func (id RequestID) Shard() Shard    { return shardOf(string(id)) }
func (id ConnectionID) Shard() Shard { return shardOf(string(id)) }
func (id KeyID) Shard() Shard        { return shardOf(string(id)) }
func (id BatchID) Shard() Shard      { return shardOf(string(id)) }
func (id ExceptionID) Shard() Shard  { return shardOf(string(id)) }

func newID(s Shard, n int) string { return s.String() + randomSymbols(n-2) }

// newRequestID returns an id that sorts after those of earlier milliseconds. It
// is the Pix txid and the J.P. Morgan id unchanged: 26 to 35 alphanumerics.
func newRequestID(s Shard, now time.Time) RequestID {
	b := append(make([]byte, 0, 26), s.String()...)
	b = appendSymbols(b, uint64(now.UnixMilli()), 9)
	return RequestID(append(b, randomSymbols(15)...))
}

// idOf parses s as an id of n symbols.
func idOf(s string, n int) (string, bool) {
	s, ok := normal(s, n)
	return s, ok && len(s) == n
}

// ParseMerchantID, and its like below, accept any case, grouping hyphens and
// blanks, and Crockford's look-alikes; false means that no such id can exist.
func ParseMerchantID(s string) (MerchantID, bool) { id, ok := idOf(s, 14); return MerchantID(id), ok }
func ParseRequestID(s string) (RequestID, bool)   { id, ok := idOf(s, 26); return RequestID(id), ok }
func ParseConnectionID(s string) (ConnectionID, bool) {
	id, ok := idOf(s, 14)
	return ConnectionID(id), ok
}
func ParseBatchID(s string) (BatchID, bool) { id, ok := idOf(s, 20); return BatchID(id), ok }
func ParseExceptionID(s string) (ExceptionID, bool) {
	id, ok := idOf(s, 20)
	return ExceptionID(id), ok
}
func ParseKeyID(s string) (KeyID, bool)       { id, ok := idOf(s, 12); return KeyID(id), ok }
func ParseOutletID(s string) (OutletID, bool) { id, ok := idOf(s, 14); return OutletID(id), ok }

// ParseSaleID accepts 1 to 64 printable ASCII characters.
func ParseSaleID(s string) (SaleID, bool) { return SaleID(s), printable(s, 1, 64) }

// Grouped writes an id or token in groups of four, for people.
func Grouped(id string) string {
	var b strings.Builder
	for i := range len(id) {
		if i > 0 && i%4 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(id[i])
	}
	return b.String()
}
