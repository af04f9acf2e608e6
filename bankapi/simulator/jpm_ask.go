package simulator

import (
	"encoding/json"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"placard/linking"
)

// jpmAsk is the request in a body, as far as the bank acts on it.
type jpmAsk struct {
	Creditor struct {
		Account struct {
			SchemeName struct {
				Proprietary string `json:"proprietary"`
			} `json:"schemeName"`
			AlternateAccountIdentifier string `json:"alternateAccountIdentifier"`
		} `json:"account"`
		Name    string `json:"name"`
		Address struct {
			City string `json:"city"`
		} `json:"address"`
	} `json:"creditor"`
	Debtor *struct {
		Name           string  `json:"name"`
		TaxInformation *jpmTIN `json:"taxInformation"`
	} `json:"debtor"`
	ExpirationType        string      `json:"expirationType"`
	PaymentDueDate        string      `json:"paymentDueDate"`
	ExpiresAt             string      `json:"expiresAt"`
	Duration              *int        `json:"duration"`
	GracePeriod           *int        `json:"gracePeriod"`
	Currency              string      `json:"currency"`
	PaymentAmount         string      `json:"paymentAmount"`
	IsAmountAdjustable    *bool       `json:"isAmountAdjustable"`
	InterestType          string      `json:"interestType"`
	InterestParameters    jpmRateDoc  `json:"interestParameters"`
	DiscountType          string      `json:"discountType"`
	DiscountParameters    jpmDiscount `json:"discountParameters"`
	PenaltyType           string      `json:"penaltyType"`
	PenaltyParameters     jpmRateDoc  `json:"penaltyParameters"`
	ReductionType         string      `json:"reductionType"`
	ReductionParameters   jpmRateDoc  `json:"reductionParameters"`
	Reference             string      `json:"reference"`
	AdditionalInformation []struct {
		Text string `json:"text"`
	} `json:"additionalInformation"`

	// What follows from it.
	currency linking.Currency
	amount   linking.Amount
	ends     time.Time
	due      time.Time // midnight UTC that begins the due date
}

type jpmTIN struct {
	TaxpayerCategory string `json:"taxpayerCategory"`
	TaxID            string `json:"taxId"`
}

type jpmRateDoc struct {
	Days       string `json:"days"`
	Amount     string `json:"amount"`
	Percentage string `json:"percentage"`
}

type jpmDiscount struct {
	jpmRateDoc
	CutOffDetails []struct {
		CutOffDate string `json:"cutOffDate"`
		Amount     string `json:"amount"`
		Percentage string `json:"percentage"`
	} `json:"cutOffDetails"`
}

// jpmMarket is what one country allows.
type jpmMarket struct {
	currencies, schemes, expiries []string
	longestAccount                int
}

var jpmMarkets = map[string]jpmMarket{
	"BR": {[]string{"BRL"}, []string{"CPF", "CNPJ", "EVP", "EMAL", "MOBN"}, []string{"IMMEDIATE", "DUE_DATE"}, 77},
	"SG": {[]string{"SGD"}, []string{"UEN"}, []string{"SCHEDULED"}, 21},
	"HK": {[]string{"HKD", "CNY"}, []string{"SVID", "MOBN", "EMAL"}, []string{"SCHEDULED"}, 34},
}

var jpmAccounts = map[string]*regexp.Regexp{
	"CPF": regexp.MustCompile(`^\d{11}$`), "CNPJ": regexp.MustCompile(`^\d{14}$`), "MOBN": regexp.MustCompile(`^\+?\d{5,15}$`),
	"EVP": regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`),
}

var jpmTINs = map[string]*regexp.Regexp{"INDIVIDUAL": regexp.MustCompile(`^\d{11}$`), "CORPORATE": regexp.MustCompile(`^[0-9A-Z]{12}\d{2}$`)}

// jpmAskOf holds a request to the rules of its country.
func jpmAskOf(country string, in jpmNew, made time.Time) (a jpmAsk, err error) {
	raw, err := json.Marshal(in.Request)
	if err == nil {
		err = json.Unmarshal(raw, &a)
	}
	if err != nil {
		return a, jpmBad("10103", "$.request", "The request cannot be read.")
	}
	market, ok := jpmMarkets[country]
	if !ok {
		return a, jpmBad("10104", "$.country", "The country is not served.")
	}
	const req = "$.request."
	account := a.Creditor.Account
	scheme := account.SchemeName.Proprietary
	fits := jpmAccounts[scheme]
	amount, money := linking.Currency(a.Currency).ParseDecimal(a.PaymentAmount)
	a.currency, a.amount = linking.Currency(a.Currency), amount
	switch {
	case !slices.Contains(market.schemes, scheme):
		return a, jpmBad("10104", req+"creditor.account.schemeName.proprietary", "Not a scheme of the country.")
	case account.AlternateAccountIdentifier == "":
		return a, jpmBad("10002", req+"creditor.account.alternateAccountIdentifier", "Too short.")
	case len(account.AlternateAccountIdentifier) > market.longestAccount:
		return a, jpmBad("10003", req+"creditor.account.alternateAccountIdentifier", "Too long.")
	case fits != nil && !fits.MatchString(account.AlternateAccountIdentifier):
		return a, jpmBad("10103", req+"creditor.account.alternateAccountIdentifier", "The format is wrong.")
	case a.Currency == "":
		return a, jpmBad("10001", req+"currency", "Mandatory field is missing.")
	case !slices.Contains(market.currencies, a.Currency):
		return a, jpmBad("10104", req+"currency", "Not a currency of the country.")
	case a.PaymentAmount == "":
		return a, jpmBad("10001", req+"paymentAmount", "Mandatory field is missing.")
	case !money || amount <= 1:
		return a, jpmBad("10100", req+"paymentAmount", "More than 0.01.")
	case a.ExpirationType == "":
		return a, jpmBad("10001", req+"expirationType", "Mandatory field is missing.")
	case !slices.Contains(market.expiries, a.ExpirationType):
		return a, jpmBad("10104", req+"expirationType", "Not an expiration type of the country.")
	case in.RequestMethod.QRCodeType == "STATIC":
		return a, jpmBad("10104", "$.requestMethod.qrCodeType", "Static codes are not simulated.")
	case in.RequestMethodType == "NONE" && in.RequestMethod != jpmMethod{}:
		return a, jpmBad("10105", "$.requestMethod", "Unexpected field.")
	}
	for name := range in.Request {
		if !jpmBelongs(name, country, a.ExpirationType) {
			return a, jpmBad("10105", req+name, "Unexpected field.")
		}
	}
	if country == "BR" {
		return a, a.brazilian(in, made)
	}
	switch {
	case in.RequestMethod.PaymentLinkID != nil:
		return a, jpmBad("10105", "$.requestMethod.paymentLinkId", "Unexpected field.")
	case in.RequestMethod.ContentType == "TEXT_ONLY":
		return a, jpmBad("10104", "$.requestMethod.contentType", "Only in Brazil.")
	case a.ExpiresAt == "":
		return a, jpmBad("10001", req+"expiresAt", "Mandatory field is missing.")
	case len(in.EndToEndID) > 35:
		return a, jpmBad("10003", "$.endToEndId", "Too long.")
	}
	if a.ends, err = time.Parse(time.RFC3339, a.ExpiresAt); err != nil {
		return a, jpmBad("10103", req+"expiresAt", "The format is wrong.")
	}
	if a.IsAmountAdjustable == nil || *a.IsAmountAdjustable {
		return a, jpmBad("10104", req+"isAmountAdjustable", "Amounts that the payer chooses are not simulated.")
	}
	return a, nil
}

// jpmBelongs says whether a field of a request has a meaning there.
func jpmBelongs(name, country, expiry string) bool {
	switch name {
	case "creditor", "currency", "paymentAmount", "expirationType", "reference":
		return true
	case "isAmountAdjustable":
		return expiry != "DUE_DATE"
	case "expiresAt":
		return country != "BR" // in Brazil it is the bank's to say
	case "duration":
		return expiry == "IMMEDIATE"
	case "debtor", "additionalInformation":
		return country == "BR"
	}
	return expiry == "DUE_DATE"
}

func (a *jpmAsk) brazilian(in jpmNew, made time.Time) error {
	const req = "$.request."
	switch {
	case in.EndToEndID != "":
		return jpmBad("10105", "$.endToEndId", "Unexpected field.")
	case utf8.RuneCountInString(a.Creditor.Name) > 25:
		return jpmBad("10003", req+"creditor.name", "At most 25 characters.")
	case utf8.RuneCountInString(a.Creditor.Address.City) > 15:
		return jpmBad("10003", req+"creditor.address.city", "At most 15 characters.")
	case utf8.RuneCountInString(a.Reference) > 140:
		return jpmBad("10003", req+"reference", "At most 140 characters.")
	case a.IsAmountAdjustable != nil && *a.IsAmountAdjustable:
		return jpmBad("10104", req+"isAmountAdjustable", "Amounts that the payer chooses are not simulated.")
	case a.Debtor != nil && utf8.RuneCountInString(a.Debtor.Name) > 200:
		return jpmBad("10003", req+"debtor.name", "At most 200 characters.")
	}
	if a.Debtor != nil && a.Debtor.TaxInformation != nil {
		if t := a.Debtor.TaxInformation; jpmTINs[t.TaxpayerCategory] == nil || !jpmTINs[t.TaxpayerCategory].MatchString(t.TaxID) {
			return jpmBad("10103", req+"debtor.taxInformation.taxId", "The format is wrong.")
		}
	}
	if a.ExpirationType == "IMMEDIATE" {
		seconds := 86400
		if a.Duration != nil {
			seconds = *a.Duration
		}
		a.ends = made.Truncate(time.Second).Add(time.Duration(seconds) * time.Second)
		return nil
	}
	due, err := time.Parse(time.DateOnly, a.PaymentDueDate)
	switch {
	case a.PaymentDueDate == "":
		return jpmBad("10001", req+"paymentDueDate", "Mandatory field is missing.")
	case err != nil:
		return jpmBad("10103", req+"paymentDueDate", "The format is wrong.")
	case a.Debtor == nil || a.Debtor.Name == "":
		return jpmBad("10001", req+"debtor.name", "Mandatory field is missing.")
	case a.Debtor.TaxInformation == nil:
		return jpmBad("10001", req+"debtor.taxInformation", "Mandatory field is missing.")
	}
	grace := 0
	if a.GracePeriod != nil {
		grace = *a.GracePeriod
	}
	a.due, a.ends = due, due.AddDate(0, 0, grace+1)
	return a.checkCharges()
}

// order is what the ledger is to hold.
func (a jpmAsk) order(revision int, endToEnd string) order {
	o := order{revision: revision, money: linking.Money{Amount: a.amount, Currency: a.currency}, reference: a.Reference,
		expiresAt: a.ends, paymentID: endToEnd}
	if len(a.AdditionalInformation) > 0 {
		o.note = a.AdditionalInformation[0].Text
	}
	if a.ExpirationType == "DUE_DATE" {
		o.due = func(_ *request, now time.Time) linking.Amount { return a.charges(now).total(a.amount) }
	}
	return o
}
