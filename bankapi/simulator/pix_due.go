package simulator

import (
	"encoding/json"
	"math/big"
	"time"

	"placard/linking"
)

// pixBrasilia is the time in which days are counted.
var pixBrasilia = time.FixedZone("BRT", -3*60*60)

// pixDay is the day a moment lies in, as midnight UTC, like a date that was parsed.
func pixDay(t time.Time) time.Time {
	y, m, d := t.In(pixBrasilia).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// pixSlid moves a day on a weekend to the Monday after it. This bank has no holidays.
func pixSlid(day time.Time) time.Time {
	for day.Weekday() == time.Saturday || day.Weekday() == time.Sunday {
		day = day.AddDate(0, 0, 1)
	}
	return day
}

// pixLastMoment is when a cobv is no longer payable: the end of its due day, slid and
// then longer by the days it stays good.
func pixLastMoment(doc pixDoc) time.Time {
	due, _ := time.Parse(time.DateOnly, doc.text("calendario", "dataDeVencimento"))
	days := 30
	if n, err := json.Number(doc.text("calendario", "validadeAposVencimento")).Int64(); err == nil {
		days = int(min(n, 36500))
	}
	y, m, d := pixSlid(due).AddDate(0, 0, days+1).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, pixBrasilia)
}

// pixCosts names what makes no sense among a cobv's reductions, or "".
func pixCosts(doc pixDoc, due time.Time) string {
	original := brl(doc.text("valor", "original"))
	tooMuch := func(mode, value string, percent ...string) bool {
		for _, p := range percent {
			if mode == p {
				return brl(value) >= 100_00
			}
		}
		return brl(value) >= original
	}
	if mode := doc.text("valor", "abatimento", "modalidade"); mode != "" && tooMuch(mode, doc.text("valor", "abatimento", "valorPerc"), "2") {
		return "abatimento"
	}
	value, _ := doc["valor"].(map[string]any)
	discount, _ := value["desconto"].(map[string]any)
	if discount == nil {
		return ""
	}
	dates, _ := discount["descontoDataFixa"].([]any)
	mode, each := pixDoc(discount).text("modalidade"), pixDoc(discount).text("valorPerc")
	if fixed := mode == "1" || mode == "2"; fixed != (dates != nil) || fixed != (each == "") || !fixed && tooMuch(mode, each, "5", "6") {
		return "desconto"
	}
	for _, one := range dates {
		d := pixDoc(one.(map[string]any))
		if day, err := time.Parse(time.DateOnly, d.text("data")); err != nil || day.After(due) || tooMuch(mode, d.text("valorPerc"), "2") {
			return "desconto"
		}
	}
	return ""
}

// pixDue is what a cobv costs on one day.
type pixDue struct {
	original, rebate, discount, interest, fine, final linking.Amount
}

func (d pixDue) show() map[string]string {
	out := map[string]string{"original": reais(d.original), "final": reais(d.final)}
	for name, a := range map[string]linking.Amount{"abatimento": d.rebate, "desconto": d.discount, "juros": d.interest, "multa": d.fine} {
		if a > 0 {
			out[name] = reais(a)
		}
	}
	return out
}

// pixFinal works out what a cobv costs if it is paid on a day: less the rebate and, up
// to the due day, the discount; more by fine and interest after it. Shares are of the
// original less the rebate, and rounded down.
func pixFinal(doc pixDoc, day time.Time) pixDue {
	original := brl(doc.text("valor", "original"))
	due, _ := time.Parse(time.DateOnly, doc.text("calendario", "dataDeVencimento"))
	due = pixSlid(due)
	d := pixDue{original: original}
	of := func(base linking.Amount, percent string, times, over int64) linking.Amount {
		n := big.NewInt(int64(base))
		n.Mul(n, big.NewInt(int64(brl(percent)))).Mul(n, big.NewInt(times))
		return linking.Amount(n.Quo(n, big.NewInt(over*100_00)).Int64())
	}
	value := func(name string) string { return doc.text("valor", name, "valorPerc") }
	switch doc.text("valor", "abatimento", "modalidade") {
	case "1":
		d.rebate = brl(value("abatimento"))
	case "2":
		d.rebate = of(original, value("abatimento"), 1, 1)
	}
	base := original - d.rebate
	if day.After(due) {
		switch doc.text("valor", "multa", "modalidade") {
		case "1":
			d.fine = brl(value("multa"))
		case "2":
			d.fine = of(base, value("multa"), 1, 1)
		}
		late, working := pixDays(due, day), pixWorkingDays(due, day)
		switch doc.text("valor", "juros", "modalidade") {
		case "1":
			d.interest = brl(value("juros")) * linking.Amount(late)
		case "2":
			d.interest = of(base, value("juros"), late, 1)
		case "3":
			d.interest = of(base, value("juros"), late, 30)
		case "4":
			d.interest = of(base, value("juros"), late, 365)
		case "5":
			d.interest = brl(value("juros")) * linking.Amount(working)
		case "6":
			d.interest = of(base, value("juros"), working, 1)
		case "7":
			d.interest = of(base, value("juros"), working, 21)
		case "8":
			d.interest = of(base, value("juros"), working, 252)
		}
	} else {
		early, working := pixDays(day, due), pixWorkingDays(day, due)
		switch mode := doc.text("valor", "desconto", "modalidade"); mode {
		case "1", "2":
			d.discount = pixDated(doc, base, mode, day, of)
		case "3":
			d.discount = brl(value("desconto")) * linking.Amount(early)
		case "4":
			d.discount = brl(value("desconto")) * linking.Amount(working)
		case "5":
			d.discount = of(base, value("desconto"), early, 1)
		case "6":
			d.discount = of(base, value("desconto"), working, 1)
		}
	}
	d.final = max(1, base-d.discount+d.fine+d.interest) // nobody owes nothing
	return d
}

// pixDated is the discount of the earliest date that is not over.
func pixDated(doc pixDoc, base linking.Amount, mode string, day time.Time, of func(linking.Amount, string, int64, int64) linking.Amount) linking.Amount {
	value, _ := doc["valor"].(map[string]any)
	discount, _ := value["desconto"].(map[string]any)
	dates, _ := discount["descontoDataFixa"].([]any)
	var best linking.Amount
	var until time.Time
	for _, one := range dates {
		d := pixDoc(one.(map[string]any))
		last, err := time.Parse(time.DateOnly, d.text("data"))
		if err != nil || day.After(last) || !until.IsZero() && !last.Before(until) {
			continue
		}
		until, best = last, brl(d.text("valorPerc"))
		if mode == "2" {
			best = of(base, d.text("valorPerc"), 1, 1)
		}
	}
	return best
}

func pixDays(from, to time.Time) int64 { return int64(to.Sub(from) / (24 * time.Hour)) }

// pixWorkingDays counts the working days after from, up to and with to.
func pixWorkingDays(from, to time.Time) (n int64) {
	for day := from.AddDate(0, 0, 1); !day.After(to); day = day.AddDate(0, 0, 1) {
		if pixSlid(day).Equal(day) {
			n++
		}
	}
	return n
}
