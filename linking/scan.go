package linking

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"hash"
	"strings"
	"sync"
)

// ScanNonce tells one opening of a code's URL from every other: 80 random bits.
type ScanNonce [10]byte

// Scan is one opening of a code's URL, bound to the epoch it saw: the scan lease.
// A page opened in one sale can never slide on to the next customer's bill.
type Scan struct {
	Epoch uint64
	Nonce ScanNonce
}

// NewScan makes a scan at an epoch.
func NewScan(epoch uint64) (s Scan) {
	s.Epoch = epoch
	rand.Read(s.Nonce[:])
	return s
}

// Secret is the store's own key, made with the store and shared by every gateway
// over it. What is derived from it says nothing about it.
type Secret struct {
	key   [32]byte
	macs  sync.Pool    // of *maker, keyed with key
	pages cipher.Block // AES-128
}

// NewSecret wraps 32 bytes of randomness.
func NewSecret(key [32]byte) *Secret {
	s := &Secret{key: key}
	s.macs.New = func() any { return &maker{h: hmac.New(sha256.New, s.key[:])} }
	sum := s.mac(macPage)
	s.pages, _ = aes.NewCipher(sum[:16]) // 16 bytes are always a key
	return s
}

// maker is what a MAC is made with.
type maker struct {
	h    hash.Hash
	text []byte
	sum  [32]byte
}

// mac is HMAC-SHA256 of a purpose and of parts, each with its length before it.
func (s *Secret) mac(purpose byte, parts ...string) [32]byte {
	m := s.macs.Get().(*maker)
	m.text = append(m.text[:0], purpose)
	for _, p := range parts {
		m.text = binary.BigEndian.AppendUint32(m.text, uint32(len(p)))
		m.text = append(m.text, p...)
	}
	m.h.Reset()
	m.h.Write(m.text)
	m.h.Sum(m.sum[:0])
	sum := m.sum
	s.macs.Put(m)
	return sum
}

// Purposes of MACs: a value made for one is worth nothing for another.
const (
	macScan    = 's'
	macPairing = 'p'
	macPage    = 'q'
	macChoices = 'c'
)

// base32 without padding in Crockford's alphabet, 5 bits a symbol from the left.
var crockfordBytes = base32.NewEncoding(crockford).WithPadding(base32.NoPadding)

const scanBytes = 5 + 10 + 10 // epoch, nonce, MAC

// SealScan writes a scan of token as the 40 symbols a page carries in its address.
func (s *Secret) SealScan(t Token, scan Scan) string {
	var b [scanBytes]byte
	b[0] = byte(scan.Epoch >> 32)
	binary.BigEndian.PutUint32(b[1:], uint32(scan.Epoch))
	copy(b[5:], scan.Nonce[:])
	sum := s.mac(macScan, string(t), string(b[:15]))
	copy(b[15:], sum[:10])
	var text [scanBytes * 8 / 5]byte
	crockfordBytes.Encode(text[:], b[:])
	return string(text[:])
}

// OpenScan reads what SealScan wrote for the same token. False: it is not ours,
// or another code's.
func (s *Secret) OpenScan(t Token, text string) (scan Scan, ok bool) {
	if len(text) != 40 {
		return scan, false
	}
	var b [scanBytes]byte
	if n, err := crockfordBytes.Decode(b[:], []byte(text)); err != nil || n != scanBytes {
		return scan, false
	}
	sum := s.mac(macScan, string(t), string(b[:15]))
	if subtle.ConstantTimeCompare(sum[:10], b[15:]) != 1 {
		return scan, false
	}
	scan.Epoch = uint64(b[0])<<32 | uint64(binary.BigEndian.Uint32(b[1:]))
	copy(scan.Nonce[:], b[5:])
	return scan, true
}

// PageSecret is the address of a request's own page: 28 symbols, the first two
// the shard. It cannot be guessed from the request's id, and the id can be read
// off it without a record: the id's other 120 bits and 8 of check, encrypted as
// one block.
func (s *Secret) PageSecret(id RequestID) string {
	var b [16]byte
	crockfordBytes.Decode(b[:15], []byte(id[2:]))
	b[15] = pageCheck(id[:2])
	s.pages.Encrypt(b[:], b[:])
	return string(id[:2]) + crockfordBytes.EncodeToString(b[:])
}

// OpenPage reads the request off a page's address. False: there is no such page.
// True does not yet mean that the request exists.
func (s *Secret) OpenPage(text string) (RequestID, bool) {
	text, ok := idOf(text, 28)
	if !ok {
		return "", false
	}
	var b [16]byte
	if n, err := crockfordBytes.Decode(b[:], []byte(text[2:])); err != nil || n != 16 {
		return "", false
	}
	s.pages.Decrypt(b[:], b[:])
	if b[15] != pageCheck(RequestID(text[:2])) {
		return "", false
	}
	return RequestID(text[:2] + crockfordBytes.EncodeToString(b[:15])), true
}

func pageCheck(shard RequestID) byte { return shard[0] ^ shard[1]<<1 }

// Pairing is what till and payer's page both show for one link: two digits and
// one of 64 pictures. It tells a customer that this page is about the sale at
// this till; it is no secret.
type Pairing struct {
	Digits  int // 0 to 99
	Picture int // index into Pictures
}

func (p Pairing) String() string {
	return string([]byte{'0' + byte(p.Digits/10), '0' + byte(p.Digits%10), ' '}) + Pictures[p.Picture]
}

// Pairing derives the pairing of a request shown at an epoch.
func (s *Secret) Pairing(id RequestID, epoch uint64) Pairing {
	sum := s.mac(macPairing, string(id), string(binary.BigEndian.AppendUint64(make([]byte, 0, 8), epoch)))
	n := binary.BigEndian.Uint32(sum[:])
	return Pairing{int(n % 100), int(sum[4] & 63)}
}

// Pictures are the names of the pictures, in the order that pairings count them.
// They are ids for pages and tills, the same in every language; the order can
// never change while a link made before the change may be open.
var Pictures = strings.Fields(`
	anchor apple balloon banana bell bicycle boat book
	bread bridge bus butterfly cactus cake camel candle
	car carrot castle cat chair cheese cherry clock
	cloud crab crown cup dog dolphin drum duck
	eagle elephant feather fish flower frog gift glasses
	guitar hammer hat heart horse house key kite
	ladder lamp leaf lemon lion moon mushroom owl
	pear penguin plane rabbit rocket snail sun tree`)
