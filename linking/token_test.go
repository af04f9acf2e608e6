package linking

import (
	"crypto/aes"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// generalFF1 is FF1 of NIST SP 800-38G as the paper writes it, for any radix and
// length, with big numbers. The fast form in token.go is held against it, and it
// against NIST's own samples.
func generalFF1(key, tweak []byte, radix int, x []int) []int {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	n := len(x)
	u := n / 2
	v := n - u
	a, b := append([]int{}, x[:u]...), append([]int{}, x[u:]...)
	r := big.NewInt(int64(radix))
	num := func(d []int) *big.Int {
		z := new(big.Int)
		for _, c := range d {
			z.Mul(z, r).Add(z, big.NewInt(int64(c)))
		}
		return z
	}
	most := new(big.Int).Exp(r, big.NewInt(int64(v)), nil)
	bytes := (new(big.Int).Sub(most, big.NewInt(1)).BitLen() + 7) / 8
	d := 4*((bytes+3)/4) + 4
	p := []byte{1, 2, 1, byte(radix >> 16), byte(radix >> 8), byte(radix), 10, byte(u),
		byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), 0, 0, 0, byte(len(tweak))}
	for i := range 10 {
		q := append([]byte{}, tweak...)
		for (len(q)+1+bytes)%16 != 0 {
			q = append(q, 0)
		}
		q = append(q, byte(i))
		q = append(q, num(b).FillBytes(make([]byte, bytes))...)
		mac := make([]byte, 16)
		for blockAt := 0; blockAt < 16+len(q); blockAt += 16 {
			for j, c := range append(append([]byte{}, p...), q...)[blockAt : blockAt+16] {
				mac[j] ^= c
			}
			block.Encrypt(mac, mac)
		}
		s := append([]byte{}, mac...)
		for j := 1; len(s) < d; j++ {
			next := append([]byte{}, mac...)
			for k, c := range big.NewInt(int64(j)).FillBytes(make([]byte, 16)) {
				next[k] ^= c
			}
			block.Encrypt(next, next)
			s = append(s, next...)
		}
		m := u
		if i%2 == 1 {
			m = v
		}
		c := num(a)
		c.Add(c, new(big.Int).SetBytes(s[:d])).Mod(c, new(big.Int).Exp(r, big.NewInt(int64(m)), nil))
		digits := make([]int, m)
		for j := m - 1; j >= 0; j-- {
			mod := new(big.Int)
			c.QuoRem(c, r, mod)
			digits[j] = int(mod.Int64())
		}
		a, b = b, digits
	}
	return append(a, b...)
}

func TestGeneralFF1IsNISTs(t *testing.T) {
	key := "2B7E151628AED2A6ABF7158809CF4F3C"
	key24 := key + "EF4359D8D580AA4F"
	key32 := key24 + "7F036D6F04FC6A94"
	for _, tt := range []struct {
		name, key, tweak string
		radix            int
		in, out          string
	}{ // the nine FF1 samples published with SP 800-38G
		{"1", key, "", 10, "0123456789", "2433477484"},
		{"2", key, "39383736353433323130", 10, "0123456789", "6124200773"},
		{"3", key, "3737373770717273373737", 36, "0123456789abcdefghi", "a9tv40mll9kdu509eum"},
		{"4", key24, "", 10, "0123456789", "2830668132"},
		{"5", key24, "39383736353433323130", 10, "0123456789", "2496655549"},
		{"6", key24, "3737373770717273373737", 36, "0123456789abcdefghi", "xbj3kv35jrawxv32ysr"},
		{"7", key32, "", 10, "0123456789", "6657667009"},
		{"8", key32, "39383736353433323130", 10, "0123456789", "1001623463"},
		{"9", key32, "3737373770717273373737", 36, "0123456789abcdefghi", "xs8a0azh2avyalyzuwd"},
	} {
		const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
		k, _ := hex.DecodeString(tt.key)
		tw, _ := hex.DecodeString(tt.tweak)
		var x []int
		for _, c := range tt.in {
			x = append(x, strings.IndexRune(digits, c))
		}
		var got strings.Builder
		for _, n := range generalFF1(k, tw, tt.radix, x) {
			got.WriteByte(digits[n])
		}
		if got.String() != tt.out {
			t.Errorf("sample %s: %s, want %s", tt.name, got.String(), tt.out)
		}
	}
}

func TestTokenBodyIsFF1(t *testing.T) {
	for range 500 {
		var key TokenKey
		for i := range key {
			key[i] = byte(rand.Uint32())
		}
		shard, ring := Shard(rand.IntN(Shards)), Ring(rand.IntN(Rings))
		s := Serial{1 + rand.Uint32N(maxBatch), rand.Uint64N(maxSerial + 1)}
		plain := new(big.Int).SetUint64(uint64(s.Batch))
		plain.Lsh(plain, 20).Add(plain, new(big.Int).SetUint64(s.No)).Lsh(plain, 30)
		x := make([]int, 14)
		for i := 13; i >= 0; i-- {
			x[i] = int(new(big.Int).And(plain, big.NewInt(31)).Int64())
			plain.Rsh(plain, 5)
		}
		token := MakeToken(shard, ring, key, s)
		var want strings.Builder
		for _, n := range generalFF1(key[:], []byte(token[:4]), 32, x) {
			want.WriteByte(crockford[n])
		}
		if string(token[4:18]) != want.String() {
			t.Fatalf("%s: body is not FF1's %s", token, want.String())
		}
	}
}

type tokenVector struct {
	Shard, Ring int
	Key         string
	Batch       uint32
	No          uint64
	Token       Token
}

// What is printed is for ever: these tokens were made once and can never change.
func TestTokenVectors(t *testing.T) {
	b, err := os.ReadFile("testdata/tokens.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []tokenVector
	if err := json.Unmarshal(b, &vectors); err != nil || len(vectors) < 20 {
		t.Fatalf("%d vectors, %v", len(vectors), err)
	}
	for _, v := range vectors {
		key, _ := hex.DecodeString(v.Key)
		if got := MakeToken(Shard(v.Shard), Ring(v.Ring), TokenKey(key), Serial{v.Batch, v.No}); got != v.Token {
			t.Errorf("%+v: made %s", v, got)
		}
		if got, ok := v.Token.Open(TokenKey(key)); !ok || got != (Serial{v.Batch, v.No}) {
			t.Errorf("%+v: opened %+v, %v", v, got, ok)
		}
	}
}

func TestTokensOpenOnlyWithTheirKey(t *testing.T) {
	var mine, other TokenKey
	mine[0], other[0] = 1, 2
	opened, batch0 := 0, 0
	for i := range uint64(5000) {
		token := MakeToken(7, 9, mine, Serial{77, i})
		if token.Shard() != 7 || token.Ring() != 9 {
			t.Fatalf("%s: shard %d, ring %d", token, token.Shard(), token.Ring())
		}
		if s, ok := token.Open(mine); !ok || s != (Serial{77, i}) {
			t.Fatalf("%s: %+v, %v", token, s, ok)
		}
		if s, ok := token.Open(other); ok {
			opened++
			if s.Batch == 0 {
				batch0++
			}
		}
	}
	if opened != batch0 || batch0 > 2 {
		t.Fatalf("%d tokens opened with another key, %d of them as single codes", opened, batch0)
	}
}

func TestSingleTokensHide50Bits(t *testing.T) {
	var key TokenKey
	for range 2000 {
		s := Serial{0, rand.Uint64N(1 << 50)}
		token := MakeToken(1, 2, key, s)
		if got, ok := token.Open(key); !ok || got != s {
			t.Fatalf("%s: %+v, %v, want %+v", token, got, ok, s)
		}
	}
}

func TestParseTokenForgivesPeople(t *testing.T) {
	token := MakeToken(0, 1, TokenKey{9}, Serial{1, 1})
	forms := []string{
		string(token), strings.ToLower(string(token)), token.Grouped(), strings.ReplaceAll(token.Grouped(), "-", " "),
		strings.NewReplacer("0", "o", "1", "l").Replace(string(token)), strings.NewReplacer("0", "O", "1", "I").Replace(string(token)),
		" " + string(token) + "--",
	}
	for _, f := range forms {
		if got, ok := ParseToken(f); !ok || got != token {
			t.Errorf("%q: %q, %v", f, got, ok)
		}
	}
	for _, f := range []string{"", "U" + string(token[1:]), string(token[:19]), string(token) + "0", "é" + string(token[1:]), strings.Repeat("0", 4000), string(token[:18]) + "\x00\x00"} {
		if got, ok := ParseToken(f); ok {
			t.Errorf("%q was taken for %s", f, got)
		}
	}
}

// Every slip of one symbol and every swap of two neighbours is found.
func TestCheckFindsSlips(t *testing.T) {
	for range 30 {
		token := string(MakeToken(Shard(rand.IntN(Shards)), Ring(rand.IntN(Rings)), TokenKey{1}, Serial{1 + rand.Uint32N(maxBatch), rand.Uint64N(maxSerial)}))
		for i := range len(token) {
			for j := range len(crockford) {
				slip := token[:i] + crockford[j:j+1] + token[i+1:]
				if _, ok := ParseToken(slip); ok && slip != token {
					t.Fatalf("%s passes for %s", slip, token)
				}
			}
			if i > 0 && i < 18 && token[i] != token[i-1] {
				swap := token[:i-1] + token[i:i+1] + token[i-1:i] + token[i+1:]
				if _, ok := ParseToken(swap); ok {
					t.Fatalf("%s passes for %s", swap, token)
				}
			}
		}
	}
}

func TestRequestIDsSortByTime(t *testing.T) {
	a := newRequestID(3, noon)
	b := newRequestID(3, noon.Add(1e6))
	if !(a < b) || len(a) != 26 || a.Shard() != 3 {
		t.Fatal(a, b)
	}
	if got, ok := ParseRequestID(strings.ToLower(Grouped(string(a)))); !ok || got != a {
		t.Fatal(got, ok)
	}
	if first := firstIDAfter(3, noon); !(first > a && first < b) {
		t.Fatal(first)
	}
}

func BenchmarkTokenOpen(b *testing.B) {
	key := TokenKey{1}
	token := MakeToken(1, 2, key, Serial{3, 4})
	for b.Loop() {
		token.Open(key)
	}
}
