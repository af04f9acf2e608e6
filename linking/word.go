package linking

import (
	"context"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// Who may read the lines of what a counter code shows. Whoever photographed the code can
// open its page from home, sale after sale; what was bought is none of his business.

// showsLines is when the lines of what a code of this kind shows may be read. Bills and
// account codes are in their own customer's hands, with the lines printed beside them.
func (m *Merchant) showsLines(k CodeKind) LinesShown {
	switch {
	case k != Counter:
		return LinesAlways
	case m.Lines == "":
		return LinesAfterPayment
	}
	return m.Lines
}

// unveil takes out of a view the lines that this scan may not read, and the pairing
// where it is the word that has to be given for them.
func (s *Service) unveil(v *View, links [2]*Link) {
	r := v.Seen.Request
	if r == nil || v.Merchant == nil {
		return
	}
	rule := v.Merchant.showsLines(v.Code.Kind)
	if rule == LinesAlways {
		return
	}
	link := linkOf(links, r)
	if link != nil && slices.Contains(link.Word, v.Seen.Scan.Nonce) {
		return
	}
	switch v.Seen.Resolution {
	case PaidHere:
		// The bank does not tell which of several scans that pressed pay has paid.
		if link != nil && link.Pressed != nil && len(link.Pressed.Nonces) == 1 {
			return
		}
	case Payable:
		if face := v.Code.Shown; rule == LinesAfterWord && face != nil && len(r.Lines) > 0 && !face.WordShut {
			v.Choices = s.secret.choices(r.ID, r.Epoch, v.Pairing.Picture)
			v.Pairing = Pairing{}
		}
	}
	r.Lines, r.VATExtra = nil, false
}

// linkOf is the link in which r is, or was, shown.
func linkOf(links [2]*Link, r *SeenRequest) *Link {
	for _, l := range links {
		if l != nil && l.Epoch == r.Epoch && l.Request == r.ID {
			return l
		}
	}
	return nil
}

// ReceiptLines reports whether the receipt of r may show its lines to whoever has its
// address: not where several scans of a counter code pressed pay, of which the bank does
// not tell who paid.
func (m *Merchant) ReceiptLines(r *Request) bool {
	return r.Origin == MadeByRequest || m.Lines == LinesAlways || len(r.Presses) <= 1
}

// choices are eight pictures, picture among them, in an order that says nothing of which
// it is. They are the same for every scan of the epoch: two of them together tell no
// more than one.
func (s *Secret) choices(id RequestID, epoch uint64, picture int) []int {
	list := []int{picture}
	for n := 0; len(list) < 8; n++ {
		sum := s.mac(macChoices, string(id), string(binary.BigEndian.AppendUint64(make([]byte, 0, 8), epoch)), string(rune('0'+n)))
		for _, b := range sum {
			if p := int(b & 63); len(list) < 8 && !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	slices.Sort(list)
	return list
}

// ParsePairing reads "47 kite".
func ParsePairing(s string) (Pairing, bool) {
	digits, picture, ok := strings.Cut(s, " ")
	n, err := strconv.Atoi(digits)
	p := slices.Index(Pictures, picture)
	return Pairing{n, p}, ok && err == nil && len(digits) == 2 && n >= 0 && p >= 0
}

// WordCommand is a payer's proof that he stands at the till: the pairing that it shows.
type WordCommand struct {
	Scan    string
	Pairing Pairing
}

// maxWords is how many scans of one link are remembered to have given the word; the
// oldest is forgotten, and sees what everybody sees.
const maxWords = 16

// TryWord takes a word and returns the scan's fresh view. If it is right, the view has
// the lines, and so have later views of the same scan. One wrong word at an epoch, by any
// scan, closes the lines of that sale for all who have not given it, until they have
// paid: 800 scans could otherwise try all words. Where no word is asked for, nothing is
// tried and nothing changes.
func (s *Service) TryWord(ctx context.Context, id Token, w WordCommand) (v *View, right bool, err error) {
	err = s.change(ctx, id.Shard(), func(t *tx) error {
		v, right = &View{Token: id, At: t.now}, false
		sc, known := s.secret.OpenScan(id, w.Scan)
		code, b, err := t.anyCode(id)
		if err != nil {
			return err
		}
		if code == nil {
			v.Seen.Resolution = NoSuchCode
			return notFound("code")
		}
		v.Code, t.merchant = code, code.Merchant
		if v.Merchant, err = t.merchantOf(code.Merchant); err != nil {
			return err
		}
		var at *Scan
		var links [2]*Link
		if known {
			at = &sc
			for i := range links {
				if links[i], err = t.link(id, sc.Epoch+uint64(i)); err != nil {
					return err
				}
			}
		}
		look := func() {
			v.Seen = Resolve(code, code.statusIn(b), at, links, t.now)
			s.seal(v)
			v.Choices = nil
			s.unveil(v, links)
		}
		look()
		if at == nil || v.Choices == nil {
			return nil
		}
		r := v.Seen.Request
		right = w.Pairing == s.secret.Pairing(r.ID, r.Epoch)
		link := linkOf(links, r)
		if right && link != nil {
			if len(link.Word) == maxWords {
				link.Word = link.Word[1:]
			}
			link.Word = append(link.Word, v.Seen.Scan.Nonce)
		} else {
			code.Shown.WordShut = true
		}
		look()
		return nil
	})
	return v, right, err
}
