package linking

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// LineTotal is what one line comes to.
type LineTotal struct {
	Net, VAT, Gross Amount
}

// Totals adds lines up.
//
// Rounding: each line is quantity times unit price, rounded to the minor unit,
// half away from zero. With prices that include VAT, a line's VAT is its gross
// times rate ÷ (100 + rate), rounded the same way. With prices without VAT, its
// VAT is its net times rate ÷ 100, rounded the same way, and comes on top. The sum
// is that of the rounded lines, so that paper, page and till add up alike.
func Totals(lines []Line, vatExtra bool) (each []LineTotal, sum LineTotal, err error) {
	for i, l := range lines {
		q, ok := decimal(l.Quantity, 9, 3)
		field := func(name string) string { return fmt.Sprintf("lines[%d].%s", i, name) }
		if !ok || q.Sign() <= 0 {
			return nil, sum, invalid(field("quantity"), "decimal", "The quantity is a decimal above zero with at most 3 digits after the point.")
		}
		rate, ok := decimal(l.VATRate, 3, 2)
		if !ok || rate.Cmp(big.NewRat(100, 1)) > 0 {
			return nil, sum, invalid(field("vat_rate"), "decimal", "The VAT rate is a percentage from 0 to 100 with at most 2 digits after the point.")
		}
		if l.UnitPrice <= 0 || l.UnitPrice > MaxAmount {
			return nil, sum, invalid(field("unit_price"), "range", "A price is above zero and at most 10^15 minor units.")
		}
		base, ok := rounded(q.Mul(q, new(big.Rat).SetInt64(int64(l.UnitPrice))))
		if !ok || base == 0 {
			return nil, sum, invalid(field("quantity"), "range", "The line comes to nothing, or to more than 10^15 minor units.")
		}
		t := LineTotal{Net: base, Gross: base}
		hundred := big.NewRat(100, 1)
		if vatExtra {
			t.VAT, ok = rounded(new(big.Rat).Quo(new(big.Rat).Mul(new(big.Rat).SetInt64(int64(base)), rate), hundred))
			t.Gross += t.VAT
		} else {
			t.VAT, ok = rounded(new(big.Rat).Quo(new(big.Rat).Mul(new(big.Rat).SetInt64(int64(base)), rate), new(big.Rat).Add(hundred, rate)))
			t.Net -= t.VAT
		}
		each = append(each, t)
		sum.Net, sum.VAT, sum.Gross = sum.Net+t.Net, sum.VAT+t.VAT, sum.Gross+t.Gross
		if !ok || sum.Gross > MaxAmount {
			return nil, sum, invalid("lines", "range", "The lines come to more than 10^15 minor units.")
		}
	}
	return each, sum, nil
}

// decimal reads digits with at most frac of them after a point, and at most whole before.
func decimal(s string, whole, frac int) (*big.Rat, bool) {
	w, f, point := strings.Cut(s, ".")
	if len(w) == 0 || len(w) > whole || len(f) > frac || point && len(f) == 0 {
		return nil, false
	}
	if strings.Trim(w+f, "0123456789") != "" {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

// rounded is r to the nearest whole, halves upwards; r is not negative.
func rounded(r *big.Rat) (Amount, bool) {
	n := new(big.Int).Mul(r.Num(), big.NewInt(2))
	n.Add(n, r.Denom())
	n.Quo(n, new(big.Int).Mul(r.Denom(), big.NewInt(2)))
	if !n.IsInt64() || n.Int64() > int64(MaxAmount) {
		return 0, false
	}
	return Amount(n.Int64()), true
}

func has[T comparable](list []T, v T) bool { return slices.Contains(list, v) }
