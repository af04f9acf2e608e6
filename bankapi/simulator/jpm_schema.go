package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// jpmRule is what one value of a body may be. Bodies are held to rules before they
// are read, so that each slip is answered with its code and the place it is at.
type jpmRule struct {
	kind     string // object, array, string, integer, boolean
	fields   map[string]jpmRule
	required []string
	item     *jpmRule
	min, max int // of a string's characters, an array's items, or an integer; max 0: no limit
	pattern  *regexp.Regexp
	enum     []string
}

func jpmObject(required string, fields map[string]jpmRule) jpmRule {
	return jpmRule{kind: "object", fields: fields, required: strings.Fields(required)}
}

func jpmText(least, most int) jpmRule { return jpmRule{kind: "string", min: least, max: most} }

func jpmEnum(values string) jpmRule { return jpmRule{kind: "string", enum: strings.Fields(values)} }

func jpmMatch(pattern string) jpmRule {
	return jpmRule{kind: "string", pattern: regexp.MustCompile("^(?:" + pattern + ")$")}
}

func jpmList(least, most int, item jpmRule) jpmRule {
	return jpmRule{kind: "array", min: least, max: most, item: &item}
}

var (
	jpmCountry  = jpmMatch(`[A-Z]{2}`)
	jpmMoney    = jpmMatch(`\d{1,15}\.\d{2}`)
	jpmPercent  = jpmMatch(`\d{1,2}\.\d{2}`)
	jpmDate     = jpmMatch(`\d{4}-\d{2}-\d{2}`)
	jpmDateTime = jpmMatch(`\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})`)
	jpmExpiry   = jpmEnum("IMMEDIATE DUE_DATE SCHEDULED")

	jpmTax     = jpmObject("", map[string]jpmRule{"taxpayerCategory": jpmEnum("INDIVIDUAL CORPORATE"), "taxId": jpmText(0, 35)})
	jpmAddress = jpmObject("", map[string]jpmRule{
		"type": jpmEnum("ADDR BIZZ DLVY HOME MLTO PBOX"), "addressLines": jpmList(1, 7, jpmText(0, 70)), "city": jpmText(0, 200),
		"state": jpmText(0, 100), "postalCode": jpmText(0, 20), "country": jpmCountry,
	})
	jpmAccountRule = jpmObject("schemeName alternateAccountIdentifier", map[string]jpmRule{
		"schemeName":                 jpmObject("proprietary", map[string]jpmRule{"proprietary": jpmEnum("CPF CNPJ EVP EMAL MOBN MSIDN UEN VPA NRIC SVID")}),
		"alternateAccountIdentifier": jpmText(0, 128),
	})
	jpmRate      = jpmObject("", map[string]jpmRule{"amount": jpmMoney, "percentage": jpmPercent})
	jpmRateTypes = jpmEnum("NOT_APPLICABLE FIXED_AMOUNT PERCENTAGE")

	jpmAskRule = jpmObject("creditor", map[string]jpmRule{
		"creditor": jpmObject("account", map[string]jpmRule{
			"account": jpmAccountRule, "name": jpmText(0, 500), "shortName": jpmText(0, 500), "address": jpmAddress, "taxInformation": jpmTax,
		}),
		"debtor": jpmObject("", map[string]jpmRule{
			"name": jpmText(0, 500), "taxInformation": jpmTax, "address": jpmAddress,
			"email": jpmObject("address", map[string]jpmRule{"address": jpmText(0, 256), "type": jpmEnum("PRIMARY SECONDARY OTHER UNKNOWN")}),
		}),
		"expirationType": jpmExpiry, "paymentDueDate": jpmDate, "expiresAt": jpmDateTime,
		"duration":    {kind: "integer", max: 999_999},
		"gracePeriod": {kind: "integer", max: 9_999},
		"currency":    jpmMatch(`[A-Z]{3}`), "paymentAmount": jpmMoney, "isAmountAdjustable": {kind: "boolean"},
		"interestType": jpmEnum("NOT_APPLICABLE AMOUNT PERCENTAGE_PER_DAY PERCENTAGE_PER_MONTH PERCENTAGE_PER_YEAR"),
		"interestParameters": jpmObject("", map[string]jpmRule{
			"days": jpmEnum("CALENDAR_DAYS BUSINESS_DAYS"), "amount": jpmMoney, "percentage": jpmPercent,
		}),
		"discountType": jpmEnum("NOT_APPLICABLE FIXED_TO_DATE PERCENTAGE_TO_DATE FIXED_ADVANCE_PAYMENT PERCENTAGE_ADVANCE_PAYMENT"),
		"discountParameters": jpmObject("", map[string]jpmRule{
			"days": jpmEnum("CALENDAR_DAYS BUSINESS_DAYS"), "amount": jpmMoney, "percentage": jpmPercent,
			"cutOffDetails": jpmList(0, 3, jpmObject("cutOffDate", map[string]jpmRule{"cutOffDate": jpmDate, "amount": jpmMoney, "percentage": jpmPercent})),
		}),
		"penaltyType": jpmRateTypes, "penaltyParameters": jpmRate, "reductionType": jpmRateTypes, "reductionParameters": jpmRate,
		"reference":             jpmText(0, 200),
		"additionalInformation": jpmList(0, 50, jpmObject("", map[string]jpmRule{"valueType": jpmText(0, 50), "text": jpmText(0, 200)})),
	})
	jpmMethodRule = jpmObject("", map[string]jpmRule{
		"qrCodeType": jpmEnum("STATIC DYNAMIC"), "paymentLinkId": jpmText(0, 128), "contentType": jpmEnum("IMAGE TEXT_ONLY"),
		"correctionLevel": jpmEnum("LOW MEDIUM QUARTILE HIGH"), "imageWidth": {kind: "integer", min: 1, max: 4000},
	})
	jpmMethodType = jpmEnum("NONE QR_CODE")

	jpmNewRule = jpmObject("country request requestMethodType", map[string]jpmRule{
		"endToEndId": jpmText(1, 128), "country": jpmCountry, "request": jpmAskRule, "requestMethodType": jpmMethodType, "requestMethod": jpmMethodRule,
	})
	jpmUpdateRule = jpmObject("request requestMethodType", map[string]jpmRule{
		"country": jpmCountry, "request": jpmAskRule, "requestMethodType": jpmMethodType, "requestMethod": jpmMethodRule,
	})
	jpmBulkItemRule = jpmObject("country request requestMethodType", map[string]jpmRule{
		"id": jpmText(1, 36), "country": jpmCountry, "request": jpmAskRule, "requestMethodType": jpmMethodType, "requestMethod": jpmMethodRule,
	})
	jpmBulkUpdateItemRule = jpmObject("id request requestMethodType", map[string]jpmRule{
		"id": jpmText(1, 36), "country": jpmCountry, "request": jpmAskRule, "requestMethodType": jpmMethodType, "requestMethod": jpmMethodRule,
	})
	jpmBulkRule   = jpmObject("requests", map[string]jpmRule{"description": jpmText(1, 250), "requests": jpmList(1, 25, jpmRule{kind: "object"})})
	jpmCancelRule = jpmObject("reason", map[string]jpmRule{
		"reason":   jpmText(1, 250),
		"metaData": jpmList(0, 10, jpmObject("", map[string]jpmRule{"valueType": jpmText(0, 50), "text": jpmText(0, 200)})),
	})
	jpmLinkRule   = jpmObject("", map[string]jpmRule{"expirationType": jpmExpiry, "country": jpmCountry})
	jpmSearchRule = jpmObject("createdDate.gte createdDate.lte", map[string]jpmRule{
		"createdDate.gte": jpmDateTime, "createdDate.lte": jpmDateTime, "expirationDate.gte": jpmDateTime, "expirationDate.lte": jpmDateTime,
		"paymentDate.gte": jpmDateTime, "paymentDate.lte": jpmDateTime, "amount.gte": jpmMoney, "amount.lte": jpmMoney,
		"status": jpmEnum("ACTIVE PROCESSING SETTLED EXPIRED CANCELLED"), "bulkId": jpmText(32, 36), "endToEndId": jpmText(1, 128),
		"qrCodeType": jpmEnum("STATIC DYNAMIC"), "country": jpmCountry, "paymentLinkStatus": jpmEnum("LINKED NOT_LINKED"),
		"debtor":   jpmObject("", map[string]jpmRule{"name": jpmText(0, 500), "taxInformation": jpmTax}),
		"creditor": jpmObject("", map[string]jpmRule{"account": jpmAccountRule, "country": jpmCountry}),
		"pageSize": {kind: "integer", min: 1, max: 99}, "cursor": jpmText(1, 50),
	})
)

// jpmRead reads a body into a value once it keeps to its rule. A refusal names every
// slip, the first one's code in its title.
func jpmRead(body []byte, rule jpmRule, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		return jpmBad("10103", "$", "The body is not JSON.")
	}
	if _, err := d.Token(); err != io.EOF {
		return jpmBad("10103", "$", "Something follows the body.")
	}
	if slips := rule.slips("$", doc); len(slips) > 0 {
		return jpmFail(400, jpmCodes[slips[0].Code], slips[:min(len(slips), 100)]...)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return jpmBad("10103", "$", "The body cannot be read.")
	}
	return nil
}

// slips lists what is wrong with v, at path.
func (r jpmRule) slips(path string, v any) []jpmContext {
	slip := func(code, message string) []jpmContext {
		return []jpmContext{{code, message, path, "BODY"}}
	}
	length := func(n int, what string) []jpmContext {
		switch {
		case n < r.min:
			return slip("10002", fmt.Sprintf("At least %d %s.", r.min, what))
		case r.max > 0 && n > r.max:
			return slip("10003", fmt.Sprintf("At most %d %s.", r.max, what))
		}
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		if r.kind != "object" {
			break
		}
		var all []jpmContext
		for _, name := range r.required {
			if _, ok := v[name]; !ok {
				all = append(all, jpmContext{"10001", "Mandatory field is missing.", path + "." + name, "BODY"})
			}
		}
		if r.fields == nil {
			return all
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			f, ok := r.fields[name]
			if !ok {
				all = append(all, jpmContext{"10105", "Unexpected field.", path + "." + name, "BODY"})
				continue
			}
			all = append(all, f.slips(path+"."+name, v[name])...)
		}
		return all
	case []any:
		if r.kind != "array" {
			break
		}
		all := length(len(v), "items")
		for i, item := range v {
			all = append(all, r.item.slips(fmt.Sprintf("%s[%d]", path, i), item)...)
		}
		return all
	case string:
		switch {
		case r.kind != "string":
		case len(r.enum) > 0 && !slices.Contains(r.enum, v):
			return slip("10104", "Not one of the values there are.")
		case r.pattern != nil && !r.pattern.MatchString(v):
			return slip("10103", "The format is wrong.")
		default:
			return length(utf8.RuneCountInString(v), "characters")
		}
	case json.Number:
		if r.kind != "integer" {
			break
		}
		n, err := strconv.Atoi(v.String())
		switch {
		case err != nil:
			return slip("10103", "Not a whole number.")
		case n < r.min:
			return slip("10100", "Too small.")
		case r.max > 0 && n > r.max:
			return slip("10101", "Too large.")
		}
		return nil
	case bool:
		if r.kind == "boolean" {
			return nil
		}
	}
	return slip("10103", "Not "+r.kind+".")
}
