package statement

import (
	"errors"
	"strings"
	"testing"
	"time"

	"placard/linking"
)

const head = `<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><Stmt><Acct><Id><IBAN>DE89 3704 0044 0532 0130 00</IBAN></Id></Acct>`
const tail = `</Stmt></BkToCstmrStmt></Document>`
const good = `<Ntry><Amt Ccy="EUR">12.5</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts><BookgDt><DtTm>2026-03-02T10:00:00+01:00</DtTm></BookgDt><AcctSvcrRef>B1</AcctSvcrRef>` +
	`<NtryDtls><TxDtls><Refs><EndToEndId>E1</EndToEndId><UETR>u</UETR><Prtry><Tp>x</Tp><Ref>P1</Ref></Prtry></Refs><RmtInf><Strd><CdtrRefInf><Ref>RF18</Ref></CdtrRefInf></Strd><Ustrd>a  b</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>`

func TestAnEntrySaysAllThatItNames(t *testing.T) {
	st, err := ReadCAMT([]byte(head + good + tail))
	if err != nil {
		t.Fatal(err)
	}
	e := st.Entries[0]
	if got := strings.Join(e.Refs, " "); got != "B1 E1 u P1 RF18" || e.Amount != 1250 || e.Text != "a b" || !e.BookedAt.Equal(time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)) {
		t.Fatalf("%+v", e)
	}
}

// Of what is hostile or not understood nothing is taken: a booking that is left out
// silently is worse than a file that is refused.
func TestStatementsThatAreRefused(t *testing.T) {
	for name, file := range map[string]string{
		"empty":              ``,
		"no XML":             `hello`,
		"cut":                head + good,
		"another version":    strings.Replace(head, ".08", ".04", 1) + good + tail,
		"another document":   `<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.001.001.03"/>`,
		"document type":      `<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>` + head + good + tail,
		"outside entity":     `<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>` + head + good + tail,
		"unknown entity":     head + strings.Replace(good, "E1", "&x;", 1) + tail,
		"too deep":           head + strings.Repeat("<Bal>", 100) + strings.Repeat("</Bal>", 100) + tail,
		"mixed schemas":      head + `<Bal xmlns="urn:other"/>` + good + tail,
		"two accounts":       head + good + `</Stmt><Stmt><Acct><Id><Othr><Id>OTHER</Id></Othr></Id></Acct>` + tail,
		"no account":         strings.Replace(head, "DE89 3704 0044 0532 0130 00", "", 1) + good + tail,
		"no statement":       `<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02"><BkToCstmrStmt/></Document>`,
		"no direction":       head + strings.Replace(good, "CRDT", "", 1) + tail,
		"unknown currency":   head + strings.Replace(good, `"EUR"`, `"XYZ"`, 1) + tail,
		"part of a cent":     head + strings.Replace(good, "12.5<", "12.505<", 1) + tail,
		"negative":           head + strings.Replace(good, "12.5<", "-12.5<", 1) + tail,
		"no date":            head + strings.Replace(good, "2026-03-02T10", "yesterday", 1) + tail,
		"unknown status":     head + strings.Replace(good, "BOOK", "MAYB", 1) + tail,
		"unknown encoding":   `<?xml version="1.0" encoding="UTF-7"?>` + head + good + tail,
		"a number too large": head + strings.Replace(good, "12.5<", "99999999999999999999<", 1) + tail,
	} {
		st, err := ReadCAMT([]byte(file))
		if _, ours := errors.AsType[ErrFormat](err); !ours {
			t.Errorf("%s: %+v, %v", name, st, err)
		}
	}
	for name, file := range map[string]string{
		"empty":         "",
		"no columns":    "1;2\n3;4\n",
		"no account":    "date;amount;currency\n2026-03-02;1,00;EUR\n",
		"two accounts":  "account;date;amount;currency\nA1;2026-03-02;1,00;EUR\nA2;2026-03-02;1,00;EUR\n",
		"an amount":     "account;date;amount;currency\nA1;2026-03-02;1.5;EUR\n",
		"no currency":   "account;date;amount\nA1;2026-03-02;1,50\n",
		"a date":        "account;date;amount;currency\nA1;30.02.2026;1,00;EUR\n",
		"a short line":  "account;date;amount;currency\nA1;2026-03-02\n",
		"a stray quote": "account;date;amount;currency\nA1;2026-03-02;\"1,00;EUR\n",
	} {
		st, err := ReadCSV([]byte(file), CSV{})
		if _, ours := errors.AsType[ErrFormat](err); !ours {
			t.Errorf("CSV, %s: %+v, %v", name, st, err)
		}
	}
}

func TestCSVWithoutAnAccount(t *testing.T) {
	st, err := ReadCSV([]byte("\xef\xbb\xbfDate,Description,Amount\r\n03/02/2026,\"Gr\xfc\xdfe, R-1\",\"-1,234.50\"\r\n"), CSV{Account: "a 1", Currency: "EUR"})
	if err != nil {
		t.Fatal(err)
	}
	if e := st.Entries[0]; st.Account != "A1" || e.Amount != -123450 || e.Text != "Grüße, R-1" || e.BookedAt.Month() != 2 {
		t.Fatalf("%+v", st)
	}
}

func FuzzReadCAMT(f *testing.F) {
	f.Add([]byte(head + good + tail))
	f.Add(generate(1, 50, 1).camt("02"))
	f.Add([]byte(`<!DOCTYPE a><a>&b;</a>`))
	f.Fuzz(func(t *testing.T, file []byte) {
		st, err := ReadCAMT(file)
		holds(t, st, err)
	})
}

func FuzzReadCSV(f *testing.F) {
	f.Add(generate(1, 50, 1).csv())
	f.Add([]byte("date,amount,currency\n2026-03-02,1.00,EUR\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		st, err := ReadCSV(file, CSV{Account: "X"})
		holds(t, st, err)
	})
}

// holds is what is true of every file.
func holds(t *testing.T, st *linking.Statement, err error) {
	t.Helper()
	if err != nil {
		if _, ours := errors.AsType[ErrFormat](err); !ours || st != nil {
			t.Fatalf("%+v, %v", st, err)
		}
		return
	}
	if st.Account == "" {
		t.Fatal("no account")
	}
	for i, e := range st.Entries {
		if e.No != i+1 || e.Currency == "" || e.BookedAt.IsZero() || len(e.Text) > maxText {
			t.Fatalf("%+v", e)
		}
	}
	linking.Reconcile(nil, time.Time{}, time.Now(), st, nil)
}
