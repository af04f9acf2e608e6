package linking

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// How slow a password's hash is: Argon2id (RFC 9106) with 12 MiB and 3 passes, one of
// the settings of OWASP's password storage cheat sheet. The numbers are only ever added
// to: what is stored says by its first byte which of them it was made with.
var hashings = []struct{ passes, kib uint32 }{{3, 12 << 10}}

const (
	saltSize = 16
	hashSize = 32
)

// passwords hashes a few passwords at a time, so that a flood of logins takes no more
// than that many times 12 MiB, and turns away who would have to wait too long.
type passwords struct {
	slots   chan struct{}
	waiting atomic.Int32
}

// passwordQueue is how many may wait for a slot.
const passwordQueue = 64

func (p *passwords) init() { p.slots = make(chan struct{}, min(runtime.GOMAXPROCS(0), 4)) }

func (p *passwords) digest(ctx context.Context, how int, salt []byte, secret string) ([]byte, error) {
	if p.waiting.Add(1) > passwordQueue {
		p.waiting.Add(-1)
		return nil, &Error{Kind: Limited, Code: "rate_limited", Detail: "Too many people are logging in at once; try again in a moment.", Retry: 2}
	}
	defer p.waiting.Add(-1)
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, &Error{Kind: Limited, Code: "rate_limited", Detail: "Too many people are logging in at once; try again in a moment.", Retry: 2, Err: ctx.Err()}
	}
	defer func() { <-p.slots }()
	h := hashings[how]
	return argon2.IDKey([]byte(secret), salt, h.passes, h.kib, 1, hashSize), nil
}

// hash makes what is stored of a password: the number of the hashing, salt, hash.
func (p *passwords) hash(ctx context.Context, secret string) ([]byte, error) {
	how := len(hashings) - 1
	salt := make([]byte, saltSize)
	rand.Read(salt)
	sum, err := p.digest(ctx, how, salt, secret)
	if err != nil {
		return nil, err
	}
	return append(append([]byte{byte(how)}, salt...), sum...), nil
}

// fits reports whether secret is the one that stored was made of. Where there is none
// it takes as long, and the answer is no.
func (p *passwords) fits(ctx context.Context, stored []byte, secret string) (bool, error) {
	good := len(stored) == 1+saltSize+hashSize && int(stored[0]) < len(hashings)
	if !good {
		stored = make([]byte, 1+saltSize+hashSize)
	}
	sum, err := p.digest(ctx, int(stored[0]), stored[1:1+saltSize], secret)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(sum, stored[1+saltSize:]) == 1 && good, nil
}

const (
	minPassword = 10
	maxPassword = 200
)

// tooCommon are what people choose when ten characters are asked for.
var tooCommon = []string{"password", "passwort", "qwertyuiop", "qwerty", "1234567890", "0123456789", "123456789", "iloveyou", "letmein", "placard", "welcome", "palavra", "senha"}

// goodPassword refuses what is guessed first. There is no rule about digits and signs:
// length is what helps.
func goodPassword(password, user string) error {
	n := utf8.RuneCountInString(password)
	switch {
	case !utf8.ValidString(password):
		return invalid("password", "text", "The password has broken characters.")
	case n < minPassword:
		return invalid("password", "too_short", fmt.Sprintf("The password needs at least %d characters; three or four words will do.", minPassword))
	case n > maxPassword:
		return invalid("password", "too_long", fmt.Sprintf("The password has at most %d characters.", maxPassword))
	}
	different := map[rune]bool{}
	for _, r := range password {
		different[r] = true
	}
	low := strings.ToLower(password)
	rest := low
	if user != "" {
		rest = strings.ReplaceAll(rest, user, "")
	}
	for _, word := range tooCommon {
		rest = strings.ReplaceAll(rest, word, "")
	}
	if len(different) < 5 || utf8.RuneCountInString(rest) < 5 {
		return invalid("password", "too_common", "That is one of the first that anybody would try.")
	}
	return nil
}

const (
	minPIN = 4
	maxPIN = 8
)

// goodPIN refuses PINs that are no digits, or that everybody has.
func goodPIN(pin string) error {
	if len(pin) < minPIN || len(pin) > maxPIN || strings.ContainsFunc(pin, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsDigit(r) }) {
		return invalid("pin", "pin", fmt.Sprintf("The PIN is %d to %d digits.", minPIN, maxPIN))
	}
	same, up, down := true, true, true
	for i := 1; i < len(pin); i++ {
		same = same && pin[i] == pin[0]
		up = up && pin[i] == pin[i-1]+1
		down = down && pin[i] == pin[i-1]-1
	}
	if same || up || down {
		return invalid("pin", "too_common", "That is one of the first that anybody would try.")
	}
	return nil
}
