package simulator

import (
	"strconv"
	"strings"
	"time"

	"placard/linking"
)

// jpmCharges is what a due-date request costs more, or less, on a day.
type jpmCharges struct{ interest, penalty, discount, reduction linking.Amount }

func (c jpmCharges) total(amount linking.Amount) linking.Amount {
	return max(amount-c.reduction-c.discount+c.interest+c.penalty, 1)
}

// jpmHundredths reads a percentage such as "2.50" as 250.
func jpmHundredths(s string) linking.Amount {
	n, _ := strconv.Atoi(strings.ReplaceAll(s, ".", ""))
	return linking.Amount(n)
}

// share is p hundredths of a percent of a, half a centavo up. In two parts nothing
// overflows, whatever the amount.
func share(a, p linking.Amount) linking.Amount { return a/10000*p + (a%10000*p+5000)/10000 }

// checkCharges refuses what names no rate where one is needed.
func (a *jpmAsk) checkCharges() error {
	rate := func(kind, name string, r jpmRateDoc) error {
		switch {
		case kind == "" || kind == "NOT_APPLICABLE":
			return nil
		case strings.HasPrefix(kind, "PERCENTAGE") && jpmHundredths(r.Percentage) == 0:
			return jpmBad("10001", "$.request."+name+".percentage", "Mandatory field is missing.")
		case !strings.HasPrefix(kind, "PERCENTAGE") && r.Amount == "":
			return jpmBad("10001", "$.request."+name+".amount", "Mandatory field is missing.")
		}
		return nil
	}
	for _, err := range []error{rate(a.InterestType, "interestParameters", a.InterestParameters), rate(a.PenaltyType, "penaltyParameters", a.PenaltyParameters),
		rate(a.ReductionType, "reductionParameters", a.ReductionParameters)} {
		if err != nil {
			return err
		}
	}
	switch a.DiscountType {
	case "FIXED_ADVANCE_PAYMENT", "PERCENTAGE_ADVANCE_PAYMENT":
		return rate(a.DiscountType, "discountParameters", a.DiscountParameters.jpmRateDoc)
	case "FIXED_TO_DATE", "PERCENTAGE_TO_DATE":
		if len(a.DiscountParameters.CutOffDetails) == 0 {
			return jpmBad("10001", "$.request.discountParameters.cutOffDetails", "Mandatory field is missing.")
		}
		for _, d := range a.DiscountParameters.CutOffDetails {
			if _, err := time.Parse(time.DateOnly, d.CutOffDate); err != nil {
				return jpmBad("10103", "$.request.discountParameters.cutOffDetails[0].cutOffDate", "The format is wrong.")
			}
		}
	}
	return nil
}

// jpmDays counts days from one midnight to another, all or those of a week's five.
func jpmDays(from, to time.Time, kind string) (n linking.Amount) {
	for d := from; d.Before(to); d = d.AddDate(0, 0, 1) {
		if kind != "BUSINESS_DAYS" || d.Weekday() != time.Saturday && d.Weekday() != time.Sunday {
			n++
		}
	}
	return n
}

// charges are those of the day now is in, in UTC. The arithmetic is the Pix's for a
// cobrança com vencimento: simple interest, a month of 30 days, a year of 365.
func (a jpmAsk) charges(now time.Time) (c jpmCharges) {
	if a.due.IsZero() {
		return c
	}
	today := now.UTC().Truncate(24 * time.Hour)
	amount := func(kind, fixed, percent string) linking.Amount {
		switch {
		case kind == "" || kind == "NOT_APPLICABLE":
			return 0
		case strings.HasPrefix(kind, "PERCENTAGE"):
			return share(a.amount, jpmHundredths(percent))
		}
		v, _ := a.currency.ParseDecimal(fixed)
		return v
	}
	c.reduction = amount(a.ReductionType, a.ReductionParameters.Amount, a.ReductionParameters.Percentage)
	if today.After(a.due) {
		c.penalty = amount(a.PenaltyType, a.PenaltyParameters.Amount, a.PenaltyParameters.Percentage)
		late := jpmDays(a.due, today, a.InterestParameters.Days)
		switch p := jpmHundredths(a.InterestParameters.Percentage); a.InterestType {
		case "AMOUNT":
			fixed, _ := a.currency.ParseDecimal(a.InterestParameters.Amount)
			c.interest = fixed * late
		case "PERCENTAGE_PER_DAY":
			c.interest = share(a.amount, p*late)
		case "PERCENTAGE_PER_MONTH":
			c.interest = share(a.amount, p*late/30)
		case "PERCENTAGE_PER_YEAR":
			c.interest = share(a.amount, p*late/365)
		}
		return c
	}
	switch d := a.DiscountParameters; a.DiscountType {
	case "FIXED_TO_DATE", "PERCENTAGE_TO_DATE":
		best := ""
		for _, cut := range d.CutOffDetails { // the next cut-off that is still to come
			until, err := time.Parse(time.DateOnly, cut.CutOffDate)
			if err == nil && !today.After(until) && (best == "" || cut.CutOffDate < best) {
				best, c.discount = cut.CutOffDate, amount(a.DiscountType, cut.Amount, cut.Percentage)
			}
		}
	case "FIXED_ADVANCE_PAYMENT", "PERCENTAGE_ADVANCE_PAYMENT":
		c.discount = amount(a.DiscountType, d.Amount, d.Percentage) * jpmDays(today, a.due, d.Days)
	}
	return c
}
