package statement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"placard/linking"
)

// A generated day: what was paid, what the bank says of it, what the till has, and the
// leftovers that were put in on purpose.
type generated struct {
	from, to time.Time
	requests []*linking.Request
	booked   []booking
	till     []linking.TillRow
	seeds    []string // cause and what it is about, in the order of keys
}

type booking struct {
	ref, text string
	cents     int64
	charges   int64
	fee       bool
}

func seedKey(l linking.Leftover) string {
	about := string(l.Request)
	if about == "" {
		about = l.Reference
	}
	if about == "" {
		about = l.PaymentID
	}
	return fmt.Sprintf("%s %s %d %d", l.Cause, about, l.Amount, l.Expected)
}

func generate(seed uint64, payments, each int) *generated {
	rnd := rand.New(rand.NewPCG(seed, 3))
	g := &generated{from: time.Date(2026, 3, 2, 3, 0, 0, 0, time.UTC), to: time.Date(2026, 3, 3, 3, 0, 0, 0, time.UTC)}
	id := func() linking.RequestID {
		var b strings.Builder
		b.WriteString("07")
		for range 24 {
			b.WriteByte("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[rnd.IntN(32)])
		}
		return linking.RequestID(b.String())
	}
	n := 0
	request := func(status linking.Status) *linking.Request {
		n++
		r := &linking.Request{ID: id(), Sale: linking.SaleID(fmt.Sprint("S-", n)), Status: status, CreatedAt: g.from}
		r.Content.Amount, r.Content.Currency, r.Content.Reference = linking.Amount(100+rnd.IntN(20000)), "EUR", fmt.Sprint("R-", n)
		g.requests = append(g.requests, r)
		return r
	}
	pay := func(r *linking.Request, cents linking.Amount, counts bool, kind linking.ExceptionKind) string {
		p := linking.Payment{ID: fmt.Sprintf("E%d-%d", n, len(r.Payments)), Money: linking.Money{Amount: cents, Currency: "EUR"}, PaidAt: g.from.Add(time.Duration(rnd.IntN(86_000)) * time.Second), Counts: counts}
		r.Payments = append(r.Payments, p)
		if kind != "" {
			r.Exceptions = append(r.Exceptions, linking.Exception{Kind: kind, PaymentID: p.ID, Money: p.Money})
		}
		return p.ID
	}
	// How a payment is named differs from bank to bank: by its own id, by the request's,
	// or only in what the payer's bank copied.
	book := func(r *linking.Request, payment string, cents linking.Amount) *booking {
		b := booking{cents: int64(cents)}
		switch rnd.IntN(3) {
		case 0:
			b.ref = payment
		case 1:
			b.ref = string(r.ID)
		case 2:
			b.ref, b.text = "NOTPROVIDED", "Payment "+r.Content.Reference+" thank you"
		}
		if len(r.Payments) > 1 {
			b.ref, b.text = payment, ""
		}
		g.booked = append(g.booked, b)
		return &g.booked[len(g.booked)-1]
	}
	ring := func(r *linking.Request, cents linking.Amount) {
		row := linking.TillRow{Amount: cents}
		row.Ref = []string{string(r.Sale), r.Content.Reference, string(r.ID)}[rnd.IntN(3)]
		g.till = append(g.till, row)
	}
	leftover := func(c linking.Cause, about string, cents, expected linking.Amount) {
		g.seeds = append(g.seeds, fmt.Sprintf("%s %s %d %d", c, about, cents, expected))
	}
	for range payments - 7*each { // two causes are of no payment of ours
		r := request(linking.Paid)
		p := pay(r, r.Content.Amount, true, "")
		book(r, p, r.Content.Amount)
		ring(r, r.Content.Amount)
	}
	for i := range each {
		r := request(linking.Expired)
		p := pay(r, r.Content.Amount, false, linking.LateMoney)
		book(r, p, r.Content.Amount)
		leftover(linking.CauseLate, string(r.ID), r.Content.Amount, r.Content.Amount)

		r = request(linking.Paid)
		p = pay(r, r.Content.Amount, true, "")
		twice := pay(r, r.Content.Amount, false, linking.DoubleMoney)
		book(r, p, r.Content.Amount)
		book(r, twice, r.Content.Amount)
		ring(r, r.Content.Amount)
		leftover(linking.CauseDuplicate, string(r.ID), r.Content.Amount, r.Content.Amount)

		r = request(linking.Review)
		odd := r.Content.Amount + 1 + linking.Amount(rnd.IntN(50))
		p = pay(r, odd, false, linking.WrongMoney)
		book(r, p, odd)
		leftover(linking.CauseWrongAmount, string(r.ID), odd, r.Content.Amount)

		r = request(linking.Cancelled)
		p = pay(r, r.Content.Amount, false, linking.AfterCancel)
		book(r, p, r.Content.Amount)
		leftover(linking.CauseAfterCancel, string(r.ID), r.Content.Amount, r.Content.Amount)

		if i%2 == 0 { // the bank keeps a part
			r = request(linking.Paid)
			p = pay(r, r.Content.Amount, true, "")
			b := book(r, p, r.Content.Amount-15)
			b.charges = 15
			ring(r, r.Content.Amount)
			leftover(linking.CauseFee, string(r.ID), r.Content.Amount-15, r.Content.Amount)
		} else { // or charges on its own
			fee := fmt.Sprint("FEE-", i)
			g.booked = append(g.booked, booking{ref: fee, cents: -int64(990 + i), fee: true})
			leftover(linking.CauseFee, fee, -linking.Amount(990+i), 0)
			r = request(linking.Paid)
			p = pay(r, r.Content.Amount, true, "")
			book(r, p, r.Content.Amount)
			ring(r, r.Content.Amount)
		}

		r = request(linking.Paid)
		pay(r, r.Content.Amount, true, "")
		ring(r, r.Content.Amount)
		leftover(linking.CauseNotArrived, string(r.ID), r.Content.Amount, 0)

		r = request(linking.Paid)
		p = pay(r, r.Content.Amount, true, "")
		book(r, p, r.Content.Amount)
		leftover(linking.CauseNotInTill, string(r.ID), r.Content.Amount, 0)

		g.till = append(g.till, linking.TillRow{Ref: fmt.Sprint("GHOST-", i), Amount: linking.Amount(500 + i)})
		leftover(linking.CauseOnlyInTill, fmt.Sprint("GHOST-", i), linking.Amount(500+i), 0)

		stray := fmt.Sprint("STRAY-", i)
		g.booked = append(g.booked, booking{ref: stray, text: "Birthday", cents: int64(7000 + i)})
		leftover(linking.CauseUnknown, stray, linking.Amount(7000+i), 0)
	}
	// A refund, and a bill paid in cash that the till has: no leftovers.
	r := request(linking.Paid)
	p := pay(r, r.Content.Amount, true, "")
	book(r, p, r.Content.Amount)
	ring(r, r.Content.Amount)
	r.Refunds = append(r.Refunds, linking.Refund{ID: "F1", PaymentID: p, Amount: 50, Status: linking.RefundDone})
	g.booked = append(g.booked, booking{ref: p, cents: -50})
	r = request(linking.Cancelled)
	r.EndReason = linking.ByOtherMeans
	ring(r, r.Content.Amount)

	rnd.Shuffle(len(g.booked), func(i, j int) { g.booked[i], g.booked[j] = g.booked[j], g.booked[i] })
	rnd.Shuffle(len(g.till), func(i, j int) { g.till[i], g.till[j] = g.till[j], g.till[i] })
	for i := range g.till {
		g.till[i].No = i + 1
	}
	slices.Sort(g.seeds)
	return g
}

const iban = "DE89370400440532013000"

func euros(cents int64) string { return linking.Currency("EUR").Decimal(linking.Amount(cents)) }

// camt writes the bookings as camt.053; in version 08 some in one entry, as banks do with
// what came together.
func (g *generated) camt(version string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `<?xml version="1.0" encoding="UTF-8"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.%s"><BkToCstmrStmt><GrpHdr><MsgId>1</MsgId></GrpHdr><Stmt><Id>1</Id><Acct><Id><IBAN>%s</IBAN></Id><Ccy>EUR</Ccy></Acct>`, version, iban)
	status := "<Sts>BOOK</Sts>"
	if version == "08" {
		status = "<Sts><Cd>BOOK</Cd></Sts>"
	}
	part := func(x booking, alone bool) string {
		own := ""
		if !alone && version == "08" {
			own = fmt.Sprintf(`<Amt Ccy="EUR">%s</Amt><CdtDbtInd>CRDT</CdtDbtInd>`, euros(x.cents))
		}
		charges := ""
		if x.charges > 0 && version == "08" {
			charges = fmt.Sprintf(`<Chrgs><Rcrd><Amt Ccy="EUR">%s</Amt></Rcrd></Chrgs>`, euros(x.charges))
		} else if x.charges > 0 {
			charges = fmt.Sprintf(`<Chrgs><Amt Ccy="EUR">%s</Amt></Chrgs>`, euros(x.charges))
		}
		return fmt.Sprintf(`<TxDtls><Refs><EndToEndId>%s</EndToEndId></Refs>%s%s<RmtInf><Ustrd>%s</Ustrd></RmtInf></TxDtls>`, x.ref, own, charges, x.text)
	}
	for i := 0; i < len(g.booked); i++ {
		x := g.booked[i]
		parts, sum := part(x, true), x.cents
		if version == "08" && i+1 < len(g.booked) && i%10 == 0 && x.cents > 0 && g.booked[i+1].cents > 0 && !x.fee && !g.booked[i+1].fee {
			next := g.booked[i+1]
			parts, sum = part(x, false)+part(next, false), x.cents+next.cents
			i++
		}
		direction, family := "CRDT", "ESCT"
		if sum < 0 {
			direction, sum = "DBIT", -sum
		}
		if x.fee {
			family = "CHRG"
		}
		fmt.Fprintf(&b, `<Ntry><Amt Ccy="EUR">%s</Amt><CdtDbtInd>%s</CdtDbtInd>%s<BookgDt><Dt>2026-03-02</Dt></BookgDt><BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>RCDT</Cd><SubFmlyCd>%s</SubFmlyCd></Fmly></Domn></BkTxCd><NtryDtls>%s</NtryDtls></Ntry>`,
			euros(sum), direction, status, family, parts)
	}
	fmt.Fprintf(&b, `<Ntry><Amt Ccy="EUR">1.00</Amt><CdtDbtInd>CRDT</CdtDbtInd>%s</Ntry></Stmt></BkToCstmrStmt></Document>`, strings.ReplaceAll(status, "BOOK", "PDNG"))
	return []byte(b.String())
}

func (g *generated) csv() []byte {
	var b strings.Builder
	b.WriteString("Auftragskonto;Buchungstag;Buchungstext;Verwendungszweck;Kundenreferenz (End-to-End);Betrag;Währung;Info\n")
	for _, x := range g.booked {
		kind := "Gutschrift"
		if x.fee {
			kind = "Entgelt"
		}
		fmt.Fprintf(&b, "DE89 3704 0044 0532 0130 00;02.03.2026;%s;%s;%s;%s;EUR;gebucht\n", kind, x.text, x.ref, strings.ReplaceAll(euros(x.cents), ".", ","))
	}
	return []byte(b.String())
}

// The report of a day of a thousand payments equals the list of what was put in.
func TestEveryLeftoverOfAGeneratedDay(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	g := generate(seed, 1000, 5)
	if len(g.seeds) != 45 {
		t.Fatalf("%d leftovers were put in", len(g.seeds))
	}
	for name, read := range map[string]func() (*linking.Statement, error){
		"camt.053.001.02": func() (*linking.Statement, error) { return ReadCAMT(g.camt("02")) },
		"camt.053.001.08": func() (*linking.Statement, error) { return ReadCAMT(g.camt("08")) },
		"csv":             func() (*linking.Statement, error) { return ReadCSV(g.csv(), CSV{}) },
	} {
		t.Run(name, func(t *testing.T) {
			st, err := read()
			if err != nil {
				t.Fatal(err)
			}
			if st.Account != iban || len(st.Entries) != len(g.booked) {
				t.Fatalf("%d entries of account %s", len(st.Entries), st.Account)
			}
			rec := linking.Reconcile(g.requests, g.from, g.to, st, g.till)
			var got []string
			for _, l := range rec.Leftovers {
				got = append(got, seedKey(l))
				if l.Remedy == "" {
					t.Errorf("nothing is to be done about %s", l.Cause)
				}
			}
			slices.Sort(got)
			for _, k := range got {
				if !slices.Contains(g.seeds, k) {
					t.Errorf("reported, and not put in: %s", k)
				}
			}
			for _, k := range g.seeds {
				if !slices.Contains(got, k) {
					t.Errorf("put in, and not reported: %s", k)
				}
			}
			const ours = 7*5 - 2 // leftovers of payments of ours: two fees are none, nor are ghosts and strays
			if len(got) != 45 || rec.Matched != rec.Paid-ours {
				t.Errorf("%d leftovers; %d of %d payments match", len(got), rec.Matched, rec.Paid)
			}
		})
	}
}
