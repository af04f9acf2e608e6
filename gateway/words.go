package gateway

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// language is one catalogue of words: every text that a page shows, and how money and
// days are written. The forms of numbers and dates are those of the Unicode Common
// Locale Data Repository for de, en, es, fr and pt, and of pt-PT for euros. Till scripts
// have them from the browser, and the two agree.
type language struct {
	tag       string // BCP 47, as in the name of the catalogue's file
	words     map[string]string
	months    []string
	pictures  []string // in the order of linking.Pictures
	symbols   map[linking.Currency]string
	groupFrom int // digits before the point from which they are grouped
}

// languages are the catalogues of one kind of page, English first.
type languages []*language

// languageOrder is how languages are offered.
var languageOrder = []string{"en", "pt", "de", "es", "fr"}

// readLanguages reads the catalogues of a folder. Each has the keys that English has,
// with the same blanks to fill in.
func readLanguages(dir fs.FS) (languages, error) {
	var all languages
	for _, tag := range languageOrder {
		raw, err := fs.ReadFile(dir, tag+".json")
		if err != nil {
			continue // not every kind of page speaks every language
		}
		l := &language{tag: tag, symbols: map[linking.Currency]string{}, groupFrom: 4}
		if err := json.Unmarshal(raw, &l.words); err != nil {
			return nil, fmt.Errorf("gateway: words of %s: %w", tag, err)
		}
		if err := l.complete(all); err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func (l *language) complete(before languages) error {
	if len(before) > 0 {
		for _, key := range slices.Sorted(maps.Keys(before[0].words)) {
			if l.words[key] == "" {
				return fmt.Errorf("gateway: %s has no words for %s", l.tag, key)
			}
			if blanks(l.words[key]) != blanks(before[0].words[key]) {
				return fmt.Errorf("gateway: %s fills in something else in %s than English does", l.tag, key)
			}
		}
	}
	list := func(key string, n int) []string {
		if all := strings.Split(l.words[key], ", "); len(all) == n {
			return all
		}
		return make([]string, n)
	}
	l.months, l.pictures = list("months", 12), list("pictures", len(linking.Pictures))
	for pair := range strings.FieldsSeq(l.words["symbols"]) {
		c, symbol, _ := strings.Cut(pair, "=")
		l.symbols[linking.Currency(c)] = symbol
	}
	if n, err := strconv.Atoi(l.words["group_from"]); err == nil {
		l.groupFrom = n
	}
	return nil
}

// blanks are the names in braces, in the order of the alphabet.
func blanks(s string) string {
	var names []string
	for piece := range strings.SplitSeq(s, "{") {
		if name, _, ok := strings.Cut(piece, "}"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// say is the words for a key, with blanks filled in: names and values in turn. A key
// that does not exist is a fault of the page.
func (l *language) say(key string, fill ...string) string {
	s, ok := l.words[key]
	if !ok {
		panic("gateway: no words for " + key)
	}
	for i := 0; i+1 < len(fill); i += 2 {
		s = strings.ReplaceAll(s, "{"+fill[i]+"}", fill[i+1])
	}
	return s
}

// script is what a staff page's script says: the words that it names, those of a family
// that it names ("ev_" and what comes after it), and those of statuses. The rest is in
// the page.
func (l *language) script(source string) map[string]any {
	words := map[string]string{}
	for key, text := range l.words {
		family, _, _ := strings.Cut(key, "_")
		if strings.Contains(source, `"`+key+`"`) || strings.Contains(source, `"`+family+`_" + `) || linking.Status(strings.TrimPrefix(key, "s_")).Known() {
			words[key] = text
		}
	}
	return map[string]any{"locale": l.tag, "words": words}
}

// Name is what the language calls itself.
func (l *language) Name() string { return l.words["language_name"] }

// Tag is its BCP 47 tag.
func (l *language) Tag() string { return l.tag }

// appendMoney writes an amount as the language does: "€12.50", "12,50 €".
func (l *language) appendMoney(b []byte, m linking.Money) []byte {
	symbol, pattern := l.symbols[m.Currency], l.words["money"]
	if symbol == "" || symbol == string(m.Currency) {
		symbol, pattern = string(m.Currency), l.words["money_code"]
	}
	if own, ok := l.words["money_"+string(m.Currency)]; ok {
		pattern = own
	}
	for pattern != "" {
		text, rest, ok := strings.Cut(pattern, "{")
		b = append(b, text...)
		if !ok {
			break
		}
		name, after, _ := strings.Cut(rest, "}")
		if name == "amount" {
			b = l.appendGrouped(b, m.Currency.Decimal(m.Amount), string(m.Currency))
		} else {
			b = append(b, symbol...)
		}
		pattern = after
	}
	return b
}

func (l *language) money(m linking.Money) string { return string(l.appendMoney(nil, m)) }

// appendDecimal writes a number of digits and a point with the language's marks.
func (l *language) appendDecimal(b []byte, number string) []byte {
	return l.appendGrouped(b, number, "")
}

// appendGrouped is appendDecimal for an amount: Portugal groups its euros otherwise than
// Brazil its reais.
func (l *language) appendGrouped(b []byte, number, currency string) []byte {
	group, from := l.words["group"], l.groupFrom
	if own, ok := l.words["group_"+currency]; ok {
		group = own
		if n, err := strconv.Atoi(l.words["group_from_"+currency]); err == nil {
			from = n
		}
	}
	whole, fraction, point := strings.Cut(number, ".")
	if sign, ok := strings.CutPrefix(whole, "-"); ok {
		b, whole = append(b, '-'), sign
	}
	for i := range len(whole) {
		if i > 0 && len(whole) >= from && (len(whole)-i)%3 == 0 {
			b = append(b, group...)
		}
		b = append(b, whole[i])
	}
	if point {
		b = append(b, l.words["decimal"]...)
		b = append(b, fraction...)
	}
	return b
}

func (l *language) decimal(number string) string { return string(l.appendDecimal(nil, number)) }

// day is a day as the merchant's calendar has it.
func (l *language) day(m *linking.Merchant, t time.Time) string {
	t = inZone(m, t)
	return l.say("date", "day", strconv.Itoa(t.Day()), "month", l.months[t.Month()-1], "year", strconv.Itoa(t.Year()))
}

func inZone(m *linking.Merchant, t time.Time) time.Time {
	if m != nil {
		if zone, err := time.LoadLocation(m.TimeZone); err == nil {
			return t.In(zone)
		}
	}
	return t.UTC()
}

// languageCookie remembers a language that somebody chose. It says nothing else.
const languageCookie = "placard_language"

// languageOf is the language of an answer: the one chosen now (?lang=), chosen before,
// or the best of Accept-Language (RFC 9110, 12.5.4); among those that the merchant
// offers. A choice made now is remembered.
func (all languages) languageOf(c *fiber.Ctx, offered []string) *language {
	if l := all.named(c.Query("lang"), offered); l != nil {
		c.Cookie(&fiber.Cookie{Name: languageCookie, Value: l.tag, Path: "/", MaxAge: 365 * 24 * 3600, SameSite: fiber.CookieSameSiteLaxMode, HTTPOnly: true, Secure: c.Protocol() == "https"})
		return l
	}
	h := &c.Context().Request.Header
	if l := all.named(string(h.Cookie(languageCookie)), offered); l != nil {
		return l
	}
	return all.best(string(h.Peek(fiber.HeaderAcceptLanguage)), offered)
}

func (all languages) named(tag string, offered []string) *language {
	for _, l := range all {
		if l.tag == tag && (len(offered) == 0 || slices.Contains(offered, tag)) {
			return l
		}
	}
	return nil
}

// best is the language that an Accept-Language wants most; of equals, the first named.
func (all languages) best(header string, offered []string) *language {
	var best *language
	weight := 0
	for item := range strings.SplitSeq(header, ",") {
		tag, params, _ := strings.Cut(item, ";")
		primary, _, _ := strings.Cut(strings.TrimSpace(tag), "-")
		l := all.named(strings.ToLower(primary), offered)
		if w := weightOf(params); l != nil && w > weight {
			best, weight = l, w
		}
	}
	if best == nil {
		for _, l := range all {
			if len(offered) == 0 || slices.Contains(offered, l.tag) {
				return l
			}
		}
		return all[0]
	}
	return best
}

// weightOf reads ";q=0.8" as 800; without it, 1000.
func weightOf(params string) int {
	q, given := strings.CutPrefix(strings.TrimSpace(params), "q=")
	if !given {
		return 1000
	}
	f, err := strconv.ParseFloat(q, 64)
	if err != nil || f < 0 || f > 1 {
		return 0
	}
	return int(f * 1000)
}

// offers are the languages a merchant's pages are offered in.
func (all languages) offers(m *linking.Merchant) []*language {
	if m == nil || len(m.Languages) == 0 {
		return all
	}
	var some []*language
	for _, l := range all {
		if slices.Contains(m.Languages, l.tag) {
			some = append(some, l)
		}
	}
	if some == nil {
		return all
	}
	return some
}
