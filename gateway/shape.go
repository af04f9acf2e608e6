package gateway

import (
	"bytes"
	"fmt"
	"html/template"
	"strings"
	"sync"
	"unicode/utf8"
)

// A page that every scan is answered with is not run through html/template each time.
// Its template is run once for each shape that the page can have (a language, a
// resolution, which parts there are), with marks where values go; the result is cut at
// the marks. An answer is then the pieces with the values, escaped, between them.
//
// Values stand in text and in quoted attributes only, where one way of escaping is right
// (HTML 13.1.2.3). A mark consists of letters, so that html/template, which knows where
// it stands, changes nothing of it; a mark in any other place fails when the page is cut.

// shape is a page cut at its marks.
type shape[V any] struct {
	pieces []piece[V]
	size   int // of the text
}

type piece[V any] struct {
	text string
	fill func(b []byte, v *V) []byte // after the text; nil at the end
}

// shapes are the shapes of one page, made when they are first needed. There are at most
// as many as there are keys.
type shapes[K comparable, V any] struct {
	name  string // of the template
	fills map[string]func(b []byte, v *V) []byte

	mu   sync.RWMutex
	made map[K]*shape[V]
}

const (
	markBegins = "qzMARKx"
	markEnds   = "xKRAMzq"
)

// mark is what a template writes where a value goes.
func mark(name string) string { return markBegins + name + markEnds }

// get returns the shape of a key; nil if it has not been made.
func (s *shapes[K, V]) get(key K) *shape[V] {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.made[key]
}

// make makes the shape of a key. data is what its template is run with.
func (s *shapes[K, V]) make(t *template.Template, key K, data any) (*shape[V], error) {
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, s.name, data); err != nil {
		return nil, err
	}
	sh, err := s.cut(b.String())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made == nil {
		s.made = map[K]*shape[V]{}
	}
	s.made[key] = sh
	return sh, nil
}

func (s *shapes[K, V]) cut(page string) (*shape[V], error) {
	sh := &shape[V]{size: len(page)}
	for {
		text, rest, ok := strings.Cut(page, markBegins)
		if !ok {
			sh.pieces = append(sh.pieces, piece[V]{text: text})
			return sh, nil
		}
		name, after, _ := strings.Cut(rest, markEnds)
		fill := s.fills[name]
		if fill == nil {
			return nil, fmt.Errorf("gateway: the page %s has a mark for %q", s.name, name)
		}
		sh.pieces = append(sh.pieces, piece[V]{text, fill})
		page = after
	}
}

// append writes the page with the values of v.
func (sh *shape[V]) append(b []byte, v *V) []byte {
	for i := range sh.pieces {
		p := &sh.pieces[i]
		b = append(b, p.text...)
		if p.fill != nil {
			b = p.fill(b, v)
		}
	}
	return b
}

// appendEscaped writes s so that it is text, in an element and in a quoted attribute.
// What turns text around or hides in it (controls, and the bidirectional controls of
// Unicode TR 9) is left out: a merchant's name must not write an amount backwards.
func appendEscaped(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			i++
			switch {
			case c == '&':
				b = append(b, "&amp;"...)
			case c == '<':
				b = append(b, "&lt;"...)
			case c == '>':
				b = append(b, "&gt;"...)
			case c == '"':
				b = append(b, "&#34;"...)
			case c == '\'':
				b = append(b, "&#39;"...)
			case c == '\n' || c == '\t':
				b = append(b, ' ')
			case c < ' ' || c == 0x7f:
			default:
				b = append(b, c)
			}
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		if !hidden(r) {
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}

func hidden(r rune) bool {
	return r >= 0x80 && r < 0xa0 || r == 0x61c || r == 0x200b || r >= 0x200e && r <= 0x200f || r >= 0x2028 && r <= 0x202e ||
		r >= 0x2060 && r <= 0x206f || r == 0xfeff || r == utf8.RuneError
}

// legible is s without what appendEscaped leaves out, for templates that escape by
// themselves.
func legible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r == 0x7f || hidden(r):
			return -1
		}
		return r
	}, s)
}
