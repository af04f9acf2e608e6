// Package statement reads what banks say went over an account: ISO 20022 camt.053 in the
// versions 001.02 and 001.08, and CSV as online banking gives it.
//
// Files come from outside. Both readers take bytes that are in memory already, go over
// them once, hold no more than what they return, and refuse what they do not understand
// rather than leave a booking out.
package statement

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"placard/linking"
)

// Limits of a statement.
const (
	MaxEntries = 200_000
	maxDepth   = 40  // of elements; camt.053 has fewer than 20
	maxText    = 500 // bytes of one value; more is cut
)

// ErrFormat says that a file is not one that is read; its text is fit for people.
type ErrFormat string

func (e ErrFormat) Error() string { return string(e) }

// versions are the namespaces of the schemas that are read (ISO 20022, Bank-to-Customer
// Statement).
var versions = []string{"urn:iso:std:iso:20022:tech:xsd:camt.053.001.02", "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"}

// What of an entry is read. Elements that the two versions have in different places
// stand twice.
type (
	amount struct {
		Value    string `xml:",chardata"`
		Currency string `xml:"Ccy,attr"`
	}
	charges struct {
		Total amount   `xml:"TtlChrgsAndTaxAmt"`
		Flat  []amount `xml:"Amt"`
		Rows  []struct {
			Amount amount `xml:"Amt"`
		} `xml:"Rcrd"`
	}
	transaction struct {
		Refs struct {
			All []value `xml:",any"`
		} `xml:"Refs"`
		Direction string   `xml:"CdtDbtInd"` // .08
		Amount    amount   `xml:"Amt"`       // .08
		Details   amount   `xml:"AmtDtls>TxAmt>Amt"`
		Code      code     `xml:"BkTxCd"`
		Charges   charges  `xml:"Chrgs"`
		Text      []string `xml:"RmtInf>Ustrd"`
		Creditor  []string `xml:"RmtInf>Strd>CdtrRefInf>Ref"`
	}
	code struct {
		Sub   string `xml:"Domn>Fmly>SubFmlyCd"`
		Other string `xml:"Prtry>Cd"`
	}
	value struct {
		XMLName xml.Name
		Text    string `xml:",chardata"`
		Inner   []struct {
			XMLName xml.Name
			Text    string `xml:",chardata"`
		} `xml:",any"` // of Prtry
	}
	when struct {
		Day  string `xml:"Dt"`
		Time string `xml:"DtTm"`
	}
	entry struct {
		Ref       string `xml:"NtryRef"`
		Servicer  string `xml:"AcctSvcrRef"`
		Amount    amount `xml:"Amt"`
		Direction string `xml:"CdtDbtInd"`
		Status    struct {
			Text string `xml:",chardata"` // .02
			Code string `xml:"Cd"`        // .08
		} `xml:"Sts"`
		Booked  when          `xml:"BookgDt"`
		Valued  when          `xml:"ValDt"`
		Code    code          `xml:"BkTxCd"`
		Charges charges       `xml:"Chrgs"`
		Parts   []transaction `xml:"NtryDtls>TxDtls"`
		Text    string        `xml:"AddtlNtryInf"`
	}
	account struct {
		IBAN     string `xml:"Id>IBAN"`
		Other    string `xml:"Id>Othr>Id"`
		Currency string `xml:"Ccy"`
	}
)

// ReadCAMT reads a camt.053 file. All statements in it must be of one account. Bookings
// that are only announced (pending) are left out: they are no money yet.
//
// It is an ErrFormat if the file is not well-formed, has a document type (whose entities
// could unfold without end), is of another version, or says something that cannot be.
func ReadCAMT(file []byte) (*linking.Statement, error) {
	d := xml.NewDecoder(bytes.NewReader(file))
	d.CharsetReader = latin1
	st := &linking.Statement{}
	depth, statements := 0, 0
	version := ""
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, ErrFormat("The statement is not well-formed XML.")
		}
		switch token := token.(type) {
		case xml.Directive:
			return nil, ErrFormat("The statement has a document type, which no bank's has.")
		case xml.EndElement:
			depth--
		case xml.StartElement:
			if depth++; depth > maxDepth {
				return nil, ErrFormat("The statement is nested deeper than any bank's.")
			}
			switch {
			case depth == 1:
				version = token.Name.Space
				if token.Name.Local != "Document" || !slices.Contains(versions, version) {
					return nil, ErrFormat("The statement is not camt.053.001.02 or camt.053.001.08.")
				}
			case token.Name.Space != version:
				return nil, ErrFormat("The statement mixes schemas.")
			case depth == 3 && token.Name.Local == "Stmt":
				statements++
			case depth == 4 && token.Name.Local == "Acct":
				var a account
				if err := decode(d, &token, &a); err != nil {
					return nil, err
				}
				depth--
				number := linking.NormalAccount(cmp.Or(a.IBAN, a.Other))
				if st.Account != "" && st.Account != number || number == "" {
					return nil, ErrFormat("The file has statements of several accounts, or of none; send one account's.")
				}
				st.Account = number
				if c, ok := linking.ParseCurrency(strings.TrimSpace(a.Currency)); ok {
					st.Currency = c
				}
			case depth == 4 && token.Name.Local == "Ntry":
				var e entry
				if err := decode(d, &token, &e); err != nil {
					return nil, err
				}
				depth--
				if err := e.into(st); err != nil {
					return nil, err
				}
			}
		}
	}
	if statements == 0 || st.Account == "" {
		return nil, ErrFormat("The file has no statement of an account.")
	}
	return st, nil
}

// decode reads one element. What encoding/xml says stays here: it may quote the file.
func decode(d *xml.Decoder, start *xml.StartElement, into any) error {
	if err := d.DecodeElement(into, start); err != nil {
		return ErrFormat("The statement is not well-formed XML.")
	}
	return nil
}

// latin1 reads the one other encoding in which banks write.
func latin1(charset string, in io.Reader) (io.Reader, error) {
	switch strings.ToLower(charset) {
	case "iso-8859-1", "latin1", "us-ascii":
	default:
		return nil, ErrFormat("The statement is not in UTF-8 or ISO-8859-1.")
	}
	raw, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	return strings.NewReader(wide(raw)), nil
}

func wide(raw []byte) string {
	text := make([]rune, len(raw))
	for i, b := range raw {
		text[i] = rune(b)
	}
	return string(text)
}

// into adds an entry to a statement. One that sums up several bookings adds each, if
// their amounts are told and make up the sum.
func (e *entry) into(st *linking.Statement) error {
	no := len(st.Entries) + 1
	wrong := func(what string) error { return ErrFormat(fmt.Sprintf("Entry %d of the statement has %s.", no, what)) }
	switch strings.ToUpper(strings.TrimSpace(cmp.Or(e.Status.Code, e.Status.Text))) {
	case "BOOK", "":
	case "PDNG", "INFO", "FUTR":
		return nil
	default:
		return wrong("a status that is not known")
	}
	whole, currency, ok := e.Amount.read()
	if !ok {
		return wrong("no amount in a known currency")
	}
	sign, ok := direction(e.Direction)
	if !ok {
		return wrong("neither CRDT nor DBIT")
	}
	at, ok := e.Booked.read()
	if !ok {
		if at, ok = e.Valued.read(); !ok {
			return wrong("no booking date")
		}
	}
	common := linking.StatementEntry{Currency: currency, BookedAt: at, Refs: refs(e.Ref, e.Servicer), Text: short(e.Text)}
	add := func(x linking.StatementEntry) error {
		if len(st.Entries) == MaxEntries {
			return ErrFormat(fmt.Sprintf("The statement has more than %d entries.", MaxEntries))
		}
		x.No = len(st.Entries) + 1
		st.Entries = append(st.Entries, x)
		return nil
	}
	var parts []linking.StatementEntry
	var sum linking.Amount
	for i := range e.Parts {
		p, a, ok := e.Parts[i].read(common, sign)
		if !ok {
			if len(e.Parts) > 1 {
				parts = nil
				break
			}
			a = sign * whole
		}
		p.Amount = a
		p.Fee = fee(e.Parts[i].Code) || fee(e.Code)
		sum += a
		parts = append(parts, p)
	}
	if len(parts) > 1 && sum == sign*whole {
		for _, p := range parts {
			if err := add(p); err != nil {
				return err
			}
		}
		return nil
	}
	one := common
	for i := range e.Parts { // of a sum that is not told apart, all that it names
		p, _, _ := e.Parts[i].read(common, sign)
		one.Refs = append(one.Refs, p.Refs[len(common.Refs):]...)
		if one.Text = p.Text; len(e.Parts) == 1 {
			one.Charges, one.Fee = p.Charges, fee(e.Parts[i].Code)
		}
	}
	one.Amount, one.Fee = sign*whole, one.Fee || fee(e.Code)
	one.Charges = cmp.Or(one.Charges, e.Charges.read())
	return add(one)
}

// read is a part of an entry; false: its amount is not told.
func (t *transaction) read(common linking.StatementEntry, sign linking.Amount) (linking.StatementEntry, linking.Amount, bool) {
	p := common
	p.Refs = slices.Clone(common.Refs)
	for _, v := range t.Refs.All {
		texts := []string{v.Text}
		for _, inner := range v.Inner {
			if inner.XMLName.Local == "Ref" {
				texts = append(texts, inner.Text)
			}
		}
		p.Refs = append(p.Refs, refs(texts...)...)
	}
	p.Refs = append(p.Refs, refs(t.Creditor...)...)
	if len(t.Text) > 0 {
		p.Text = short(strings.Join(t.Text, " "))
	}
	p.Charges = t.Charges.read()
	if s, ok := direction(t.Direction); ok {
		sign = s
	}
	a, currency, ok := t.Amount.read()
	if !ok {
		a, currency, ok = t.Details.read()
	}
	return p, sign * a, ok && currency == common.Currency
}

func (a amount) read() (linking.Amount, linking.Currency, bool) {
	c, ok := linking.ParseCurrency(strings.TrimSpace(a.Currency))
	if !ok {
		return 0, "", false
	}
	n, ok := c.ParseWritten(a.Value, '.')
	return n, c, ok && n >= 0
}

func (c charges) read() (sum linking.Amount) {
	if a, _, ok := c.Total.read(); ok {
		return a
	}
	for _, f := range c.Flat {
		a, _, _ := f.read()
		sum += a
	}
	for _, r := range c.Rows {
		a, _, _ := r.Amount.read()
		sum += a
	}
	return sum
}

func (w when) read() (time.Time, bool) {
	if t, err := time.Parse(time.RFC3339, strings.TrimSpace(w.Time)); err == nil {
		return t.UTC(), true
	}
	for _, s := range []string{w.Day, w.Time} {
		if s = strings.TrimSpace(s); len(s) >= 10 {
			if t, err := time.Parse(time.DateOnly, s[:10]); err == nil {
				return t, true
			}
		}
	}
	return time.Time{}, false
}

func direction(s string) (linking.Amount, bool) {
	switch strings.TrimSpace(s) {
	case "CRDT":
		return 1, true
	case "DBIT":
		return -1, true
	}
	return 0, false
}

// fee reports whether a bank transaction code is of a charge for its service: the
// sub-families that ISO 20022's external code set has for charges, fees and commissions.
func fee(c code) bool {
	switch strings.ToUpper(strings.TrimSpace(c.Sub)) {
	case "CHRG", "FEES", "COMM", "COMT", "COAT":
		return true
	}
	return strings.EqualFold(strings.TrimSpace(c.Other), "FEE")
}

// refs are the ids among texts. NOTPROVIDED is how camt says that there is none.
func refs(texts ...string) (list []string) {
	for _, s := range texts {
		if s = short(s); s != "" && s != "NOTPROVIDED" && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "")
}
