package pix

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"placard/linking"
)

// BRCode is what a QR code for Pix says: the EMV merchant-presented code as the
// Banco Central do Brasil fills it in (Manual do BR Code; Manual de Padrões para
// Iniciação do Pix, 2.6 and 2.7).
//
// A dynamic code has a URL, from which the payer's bank fetches what is to be paid,
// and nothing else that counts. A static one has the payee's Key.
type BRCode struct {
	URL string // of the location, without scheme; at most MaxLocation

	Key    string         // the payee's key in the DICT; at most 77
	Text   string         // of a static code, for the payer
	Amount linking.Amount // of a static code, in centavos; 0: the payer types it
	TxID   string         // of a static code; empty: none

	Name   string // of the payee; Encode writes ASCII, at most 25
	City   string // likewise, at most 15
	Postal string // optional

	// Once is the point of initiation 12. It says that the code is dynamic, and in
	// the wording of the EMV that it is used once; no payer's bank holds a reused
	// location to that, and some refuse a dynamic code without it.
	Once bool

	// Recurring is the URL of a recurrence beside the charge (Pix Automático). It is
	// only read.
	Recurring string
}

// MaxLocation is the longest URL for which there is room in a code: 99, less 18 for
// the name of the scheme and 4 for the URL's own head.
const MaxLocation = 77

// MaxPayload is the longest payload Encode makes of a URL, without postal code.
const MaxPayload = 203

const (
	maxKey   = 77
	maxName  = 25
	maxCity  = 15
	maxTxID  = 25
	anyTxID  = "***" // a code without a txid of its own
	pixGUI   = "br.gov.bcb.pix"
	crcField = "6304"
)

// Encode writes the payload of the QR code. It is ASCII throughout, so that its
// lengths are the same in bytes and characters, on which readers differ.
func (c BRCode) Encode() (string, error) {
	name, city := Fold(c.Name, maxName), Fold(c.City, maxCity)
	switch {
	case name == "":
		return "", errors.New("a BR Code needs the payee's name")
	case city == "":
		return "", errors.New("a BR Code needs the payee's city")
	case len(c.Postal) > 99 || !ascii(c.Postal):
		return "", errors.New("the postal code does not fit into a BR Code")
	case (c.URL == "") == (c.Key == ""):
		return "", errors.New("a BR Code has a location or a key")
	}
	account, txid := "", anyTxID
	if c.URL != "" {
		if !validLocation(c.URL) {
			return "", errors.New("the location is not an address that fits into a BR Code")
		}
		if c.Text != "" || c.Amount != 0 || c.TxID != "" {
			return "", errors.New("a BR Code with a location has no text, amount or txid")
		}
		account = field("25", c.URL)
	} else {
		if len(c.Key) > maxKey || !ascii(c.Key) {
			return "", errors.New("the key does not fit into a BR Code")
		}
		account = field("01", c.Key)
		if text := Fold(c.Text, 99-len(field("00", pixGUI))-len(account)-4); text != "" {
			account += field("02", text)
		}
		if c.Amount < 0 || c.Amount > maxAmount {
			return "", errors.New("the amount does not fit into a BR Code")
		}
		if c.TxID != "" {
			if len(c.TxID) > maxTxID || !alphanumeric(c.TxID) {
				return "", errors.New("a BR Code's txid is 1 to 25 letters and digits")
			}
			txid = c.TxID
		}
	}
	var b strings.Builder
	b.WriteString(field("00", "01"))
	if c.Once {
		b.WriteString(field("01", "12"))
	}
	b.WriteString(field("26", field("00", pixGUI)+account))
	b.WriteString(field("52", "0000") + field("53", "986"))
	if c.Amount > 0 {
		b.WriteString(field("54", currency.Decimal(c.Amount)))
	}
	b.WriteString(field("58", "BR") + field("59", name) + field("60", city))
	if c.Postal != "" {
		b.WriteString(field("61", c.Postal))
	}
	b.WriteString(field("62", field("05", txid)) + crcField)
	return fmt.Sprintf("%s%04X", b.String(), crc16(b.String())), nil
}

// field writes id, length and value. Whoever calls it knows that the value fits.
func field(id, value string) string { return fmt.Sprintf("%s%02d%s", id, len(value), value) }

// crc16 is CRC-16/CCITT-FALSE: polynomial 1021, from FFFF, nothing reflected.
func crc16(s string) uint16 {
	crc := uint16(0xFFFF)
	for i := range len(s) {
		crc ^= uint16(s[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// letters are those that no accent can be taken off.
var letters = strings.NewReplacer("ß", "ss", "ẞ", "SS", "Æ", "AE", "æ", "ae", "Œ", "OE", "œ", "oe",
	"Ø", "O", "ø", "o", "Đ", "D", "đ", "d", "Ð", "D", "ð", "d", "Ł", "L", "ł", "l", "Þ", "Th", "þ", "th", "ı", "i",
	"–", "-", "—", "-", "‘", "'", "’", "'", "“", `"`, "”", `"`)

// Fold writes s in printable ASCII, at most most characters: without accents, blanks
// made one, and what has no like in ASCII left out.
func Fold(s string, most int) string {
	if most <= 0 {
		return ""
	}
	var b strings.Builder
	for _, r := range norm.NFKD.String(letters.Replace(s)) {
		switch {
		case unicode.IsSpace(r):
			r = ' '
		case r < 0x20 || r > 0x7e:
			continue
		}
		b.WriteRune(r)
	}
	s = strings.Join(strings.Fields(b.String()), " ")
	return strings.TrimRight(s[:min(len(s), most)], " ")
}

// DecodeBRCode reads a payload as a payer's bank does. It forgives what is seen in
// circulation: no point of initiation, capitals in the scheme's name, the account in
// any of its fields, fields of other schemes, small letters in the checksum, an
// amount beside a location (which does not count). It does not forgive what could
// make two readers read differently: a wrong checksum or length, a field twice.
func DecodeBRCode(s string) (BRCode, error) {
	var c BRCode
	s = strings.TrimSpace(s)
	if len(s) > 1024 || !ascii(s) {
		return c, errors.New("a BR Code is printable ASCII")
	}
	fields, err := tlv(s)
	if err != nil {
		return c, err
	}
	n := len(fields)
	if n < 2 || fields[0] != (tag{"00", "01"}) || fields[n-1].id != "63" || len(fields[n-1].value) != 4 {
		return c, errors.New("that is no BR Code")
	}
	if want := fmt.Sprintf("%04X", crc16(s[:len(s)-4])); !strings.EqualFold(want, fields[n-1].value) {
		return c, errors.New("the BR Code's checksum is wrong: a character was lost or changed")
	}
	accounts, amount := 0, ""
	for _, f := range fields {
		switch {
		case f.id == "01":
			if f.value != "11" && f.value != "12" {
				return c, errors.New("the BR Code has an unknown point of initiation")
			}
			c.Once = f.value == "12"
		case f.id >= "26" && f.id <= "51":
			sub, err := tlv(f.value)
			if err != nil {
				return c, err
			}
			if !isPix(sub) {
				continue // of another scheme
			}
			if accounts++; accounts > 1 {
				return c, errors.New("the BR Code names two Pix accounts")
			}
			c.Key, c.Text, c.URL = value(sub, "01"), value(sub, "02"), value(sub, "25")
		case f.id == "53" && f.value != "986":
			return c, errors.New("the BR Code is not in reais")
		case f.id == "54":
			amount = f.value
		case f.id == "59":
			c.Name = f.value
		case f.id == "60":
			c.City = f.value
		case f.id == "61":
			c.Postal = f.value
		case f.id == "62":
			sub, err := tlv(f.value)
			if err != nil {
				return c, err
			}
			if id := value(sub, "05"); id != anyTxID {
				c.TxID = id
			}
		case f.id >= "80" && f.id <= "99":
			if sub, err := tlv(f.value); err == nil && isPix(sub) {
				c.Recurring = value(sub, "25")
			}
		}
	}
	switch {
	case accounts == 0:
		return c, errors.New("the BR Code is not for Pix")
	case c.URL != "" && c.Key != "":
		return c, errors.New("the BR Code has a location and a key")
	case c.URL != "" && !validLocation(c.URL):
		return c, errors.New("the BR Code's location is not an address")
	case c.URL != "":
		c.TxID = "" // it does not count either
	case amount != "":
		var ok bool
		if c.Amount, ok = emvAmount(amount); !ok {
			return c, errors.New("the BR Code's amount is not one")
		}
	}
	return c, nil
}

type tag struct{ id, value string }

// tlv splits a text into fields of two digits, two digits of length, and value.
func tlv(s string) ([]tag, error) {
	var fields []tag
	seen := map[string]bool{}
	for s != "" {
		if len(s) < 4 || !digits(s[:4]) {
			return nil, errors.New("the BR Code is broken: a field has no length")
		}
		id, n := s[:2], int(s[2]-'0')*10+int(s[3]-'0')
		if n > len(s)-4 {
			return nil, errors.New("the BR Code is broken: a field is longer than the code")
		}
		if seen[id] {
			return nil, errors.New("the BR Code has one field twice")
		}
		seen[id] = true
		fields = append(fields, tag{id, s[4 : 4+n]})
		s = s[4+n:]
	}
	return fields, nil
}

func value(fields []tag, id string) string {
	for _, f := range fields {
		if f.id == id {
			return f.value
		}
	}
	return ""
}

func isPix(fields []tag) bool { return strings.EqualFold(value(fields, "00"), pixGUI) }

// emvAmount reads an amount with no, one or two digits after the point.
func emvAmount(s string) (linking.Amount, bool) {
	whole, frac, point := strings.Cut(s, ".")
	if point && frac == "" || len(frac) > 2 || len(whole) > 10 {
		return 0, false
	}
	return currency.ParseDecimal(whole + "." + (frac + "00")[:2])
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e }) < 0
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func alphanumeric(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// validLocation accepts host, perhaps a port, and a path, as banks give them: no
// scheme, no query, nothing that a payer's app would have to guess about.
func validLocation(s string) bool {
	host, path, ok := strings.Cut(s, "/")
	if !ok || len(s) > MaxLocation || host == "" || path == "" {
		return false
	}
	name, port, hasPort := strings.Cut(host, ":")
	if name == "" || hasPort && (!digits(port) || len(port) > 5) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c != '-' && c != '.' && !alphanumeric(name[i:i+1]) {
			return false
		}
	}
	for i := range len(path) {
		if !strings.ContainsRune("-._~%/", rune(path[i])) && !alphanumeric(path[i:i+1]) {
			return false
		}
	}
	return true
}
