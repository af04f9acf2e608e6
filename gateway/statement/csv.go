package statement

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"placard/linking"
)

// CSV says how a bank's CSV is read; what is empty is found out.
type CSV struct {
	Account  string           // if no column has it
	Currency linking.Currency // likewise
	Decimal  byte             // ',' or '.'; 0: ',' where fields are kept apart by semicolons
	Zone     *time.Location   // of dates; nil: UTC
}

// columns are the names under which banks have what is read, in lower case.
var columns = map[string][]string{
	"account":   {"account", "iban", "own account", "auftragskonto", "konto", "conta"},
	"date":      {"date", "booked_at", "booking date", "buchungstag", "buchungsdatum", "data", "data lançamento"},
	"amount":    {"amount", "betrag", "umsatz", "valor", "montante"},
	"currency":  {"currency", "währung", "waehrung", "moeda"},
	"reference": {"reference", "end_to_end_id", "end-to-end id", "kundenreferenz (end-to-end)", "ende-zu-ende-referenz", "identificador", "referência"},
	"id":        {"id", "transaction id", "bank reference", "bankreferenz"},
	"text":      {"text", "description", "remittance", "verwendungszweck", "descrição", "histórico"},
	"kind":      {"kind", "type", "buchungstext", "tipo"},
}

// feeKinds are what banks call a charge for their service, in lower case.
var feeKinds = []string{"fee", "fees", "charge", "charges", "entgelt", "gebühr", "gebuehr", "tarifa", "taxa"}

var layouts = []string{time.DateOnly, "02.01.2006", "02/01/2006", "02.01.06", time.RFC3339}

// ReadCSV reads a statement whose first line names its columns, in any order: at least
// date and amount. Columns that are not known are passed over. Debits have a minus.
func ReadCSV(file []byte, how CSV) (*linking.Statement, error) {
	file = bytes.TrimPrefix(file, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(file) {
		file = []byte(wide(file))
	}
	r := csv.NewReader(bytes.NewReader(file))
	r.ReuseRecord = true
	first, _, _ := bytes.Cut(file, []byte("\n"))
	if bytes.Count(first, []byte(";")) > bytes.Count(first, []byte(",")) {
		r.Comma = ';'
	}
	if how.Decimal == 0 {
		if how.Decimal = '.'; r.Comma == ';' {
			how.Decimal = ','
		}
	}
	if how.Zone == nil {
		how.Zone = time.UTC
	}
	head, err := r.Read()
	if err != nil {
		return nil, ErrFormat("The first line of the statement does not name its columns.")
	}
	at := map[string]int{}
	for i, name := range head {
		for column, names := range columns {
			if _, twice := at[column]; !twice && slices.Contains(names, strings.ToLower(strings.TrimSpace(name))) {
				at[column] = i
			}
		}
	}
	for _, column := range []string{"date", "amount"} {
		if _, ok := at[column]; !ok {
			return nil, ErrFormat("The statement has no column called " + column + ".")
		}
	}
	st := &linking.Statement{Account: linking.NormalAccount(how.Account), Currency: how.Currency}
	for line := 2; ; line++ {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		wrong := func(what string) error {
			return ErrFormat(fmt.Sprintf("Row %d of the statement has %s.", line-1, what))
		}
		if err != nil {
			return nil, wrong("another number of fields than the first line, or a stray quote")
		}
		value := func(column string) string {
			if i, ok := at[column]; ok {
				return short(fields[i])
			}
			return ""
		}
		if own := linking.NormalAccount(value("account")); own != "" {
			if st.Account != "" && st.Account != own {
				return nil, ErrFormat("The statement is of several accounts, or of another than was said; send one account's.")
			}
			st.Account = own
		}
		e := linking.StatementEntry{No: line - 1, Currency: how.Currency, Refs: refs(value("reference"), value("id")), Text: value("text")}
		if c := value("currency"); c != "" {
			var ok bool
			if e.Currency, ok = linking.ParseCurrency(c); !ok {
				return nil, wrong("a currency that is not known")
			}
		}
		var ok bool
		if e.Amount, ok = e.Currency.ParseWritten(value("amount"), how.Decimal); !ok || e.Currency == "" {
			return nil, wrong("an amount that cannot be read")
		}
		if e.BookedAt, ok = day(value("date"), how.Zone); !ok {
			return nil, wrong("a date that cannot be read")
		}
		e.Fee = slices.Contains(feeKinds, strings.ToLower(value("kind")))
		if len(st.Entries) == MaxEntries {
			return nil, ErrFormat(fmt.Sprintf("The statement has more than %d entries.", MaxEntries))
		}
		st.Entries = append(st.Entries, e)
	}
	if st.Account == "" {
		return nil, ErrFormat("The statement does not say of which account it is; say it beside the file.")
	}
	return st, nil
}

func day(s string, zone *time.Location) (time.Time, bool) {
	for _, layout := range layouts {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}
