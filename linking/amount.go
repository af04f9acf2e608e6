package linking

import (
	"strconv"
	"strings"
)

// Currency is an ISO 4217 alphabetic code that Placard knows.
type Currency string

// Amount is money in the minor units of some currency (cents; whole yen). Its
// currency stands beside it, never apart from it in meaning.
type Amount int64

// MaxAmount is the largest amount of one request, in minor units.
const MaxAmount Amount = 1_000_000_000_000_000

// Money is an amount of a currency.
type Money struct {
	Amount   Amount   `cbor:"1,keyasint"`
	Currency Currency `cbor:"2,keyasint"`
}

// currencies maps each active currency of ISO 4217 (list one, as amended to 176)
// to its minor unit: the number of digits after the point. Funds codes, metals,
// test codes and currencies withdrawn for the euro are left out: nobody is paid
// in them.
var currencies = func() map[Currency]int {
	m := make(map[Currency]int, 180)
	for digits, list := range map[int]string{
		0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
		2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG",
		3: "BHD IQD JOD KWD LYD OMR TND",
	} {
		for c := range strings.FieldsSeq(list) {
			m[Currency(c)] = digits
		}
	}
	return m
}()

// ParseCurrency accepts the three capitals of a known currency.
func ParseCurrency(s string) (Currency, bool) {
	_, ok := currencies[Currency(s)]
	return Currency(s), ok
}

// Digits is the number of digits after the decimal point (ISO 4217, minor unit).
func (c Currency) Digits() int { return currencies[c] }

// Decimal writes a with a point and exactly the currency's digits: "12.50",
// "1250". Banks and machines read it; people get their own language's form.
func (c Currency) Decimal(a Amount) string {
	s, sign := strconv.FormatInt(int64(a), 10), ""
	if a < 0 {
		s, sign = s[1:], "-"
	}
	d := c.Digits()
	if d == 0 {
		return sign + s
	}
	for len(s) <= d {
		s = "0" + s
	}
	return sign + s[:len(s)-d] + "." + s[len(s)-d:]
}

// ParseDecimal reads what Decimal writes: digits, and a point with exactly the
// currency's digits. No sign, blank, grouping or exponent.
func (c Currency) ParseDecimal(s string) (Amount, bool) {
	whole, frac, point := strings.Cut(s, ".")
	d := c.Digits()
	if point != (d > 0) || len(frac) != d || whole == "" || len(whole)+d > 18 {
		return 0, false
	}
	var a Amount
	for _, r := range whole + frac {
		if r < '0' || r > '9' {
			return 0, false
		}
		a = a*10 + Amount(r-'0')
	}
	return a, true
}

// ParseWritten reads an amount as a billing system's or a bank's file has it: a sign or
// none, digits, which may stand in groups of three, and after the decimal mark ('.' or
// ',') as many digits as the currency has or fewer; further ones must be zero.
func (c Currency) ParseWritten(s string, mark byte) (Amount, bool) {
	s, negative := strings.CutPrefix(strings.TrimSpace(s), "-")
	if !negative {
		s = strings.TrimPrefix(s, "+")
	}
	whole, frac, _ := strings.Cut(s, string(mark))
	group := ","
	if mark == ',' {
		group = "."
	}
	for _, g := range []string{group, " ", "'", "\u00a0", "\u202f"} {
		if parts := strings.Split(whole, g); len(parts) > 1 {
			for i, p := range parts {
				if i > 0 && len(p) != 3 || i == 0 && (p == "" || len(p) > 3) {
					return 0, false
				}
			}
			whole = strings.Join(parts, "")
			break
		}
	}
	d := c.Digits()
	if len(frac) > d {
		if strings.Trim(frac[d:], "0") != "" {
			return 0, false
		}
		frac = frac[:d]
	}
	frac += strings.Repeat("0", d-len(frac))
	if whole == "" || len(whole)+d > 16 {
		return 0, false
	}
	var a Amount
	for _, r := range whole + frac {
		if r < '0' || r > '9' {
			return 0, false
		}
		a = a*10 + Amount(r-'0')
	}
	if negative {
		a = -a
	}
	return a, true
}
