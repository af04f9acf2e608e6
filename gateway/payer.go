package gateway

import (
	"bytes"
	"embed"
	"encoding/base64"
	"html/template"
	"io/fs"
	"slices"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
	"placard/printing"
)

//go:embed web
var web embed.FS

// staticFiles are the scripts, styles and pictures of the pages.
func staticFiles() fs.FS { return webFolder("web/static") }

func webFolder(name string) fs.FS {
	dir, err := fs.Sub(web, name)
	if err != nil {
		panic(err) // it is embedded above
	}
	return dir
}

// parsePages reads the templates and the catalogues of words.
func (a *api) parsePages() (err error) {
	a.pages, err = template.New("").Funcs(template.FuncMap{
		"asset": a.assets.url, "mark": mark,
		"say":  func(l *language, key string, fill ...string) string { return l.say(key, fill...) },
		"in":   func(r linking.Role, list []linking.Role) bool { return slices.Contains(list, r) },
		"has":  func(s string, list []string) bool { return slices.Contains(list, s) },
		"dict": dict, "moment": deskMoment,
	}).ParseFS(web, "web/pages/*.html")
	if err != nil {
		return err
	}
	for folder, words := range map[string]*languages{"payer": &a.payerWords, "till": &a.tillWords, "print": &a.printWords, "inbox": &a.inboxWords} {
		if *words, err = readLanguages(webFolder("web/words/" + folder)); err != nil {
			return err
		}
	}
	if a.deskWords, err = readLanguages(webFolder("web/words/desk")); err != nil {
		return err
	}
	for i, name := range linking.Pictures {
		a.pictures[i] = a.assets.url("pictures/" + name + ".svg")
	}
	a.payerShapes.name, a.payerShapes.fills = "payer.html", a.payerFills()
	return nil
}

func (a *api) render(c *fiber.Ctx, name string, policy pagePolicy, status int, data any) error {
	var b bytes.Buffer
	if err := a.pages.ExecuteTemplate(&b, name, data); err != nil {
		return err
	}
	setPageHeaders(c, policy)
	c.Status(status)
	return c.Send(b.Bytes())
}

// payerView is what a payer's page is made of.
type payerView struct {
	*linking.View
	lang    *language
	base    string
	payload string // the code to copy, once pay was pressed
	notice  string // key of what went wrong
	back    bool   // the bank led here: the page stays where it is for who comes from there
	told    bool   // a promise was just left
	wrong   bool   // a wrong word was just given
}

// payerKey is everything that decides which parts a payer's page has, in which language.
type payerKey struct {
	lang       *language
	resolution linking.Resolution
	kind       linking.CodeKind
	reason     linking.EndReason // ByExpiry or ByReplace; empty for any other
	settledOn  bool
	slow       bool
	notice     string
	offers     string // the languages of the switch
	parts      parts
}

type parts uint32

const (
	hasLogo parts = 1 << iota
	hasContact
	isTest
	hasReference
	hasPairing
	hasMethods
	hasExpiry
	isSoon
	hasLines
	hasChoices
	hasPayload
	hasReceipt
	wasWrong
	wasTold
	takesPhone
)

func (v *payerView) key(all languages) payerKey {
	k := payerKey{lang: v.lang, resolution: v.Seen.Resolution, slow: v.Seen.Slow, notice: v.notice,
		settledOn: !v.Seen.On.IsZero()}
	if r := v.Seen.Reason; r == linking.ByExpiry || r == linking.ByReplace {
		k.reason = r
	}
	set := func(on bool, p parts) {
		if on {
			k.parts |= p
		}
	}
	if v.Code != nil {
		k.kind = v.Code.Kind
	}
	if m := v.Merchant; m != nil {
		set(m.HasLogo, hasLogo)
		set(m.Contact != "", hasContact)
		set(m.Mode == linking.Test, isTest)
		set(m.PromisePhone, takesPhone)
		if len(m.Languages) > 0 {
			for _, l := range all.offers(m) {
				k.offers += l.tag + " "
			}
		}
	}
	if r := v.Seen.Request; r != nil {
		set(r.Reference != "", hasReference)
		set(v.Code != nil && v.Choices == nil && v.Seen.Resolution != linking.PaidHere, hasPairing)
		set(len(r.Methods) > 0, hasMethods)
		if v.Seen.Resolution == linking.Payable && !r.ExpiresAt.IsZero() {
			k.parts |= hasExpiry
			set(r.ExpiresAt.Sub(v.At) <= time.Minute, isSoon)
		}
		set(len(r.Lines) > 0, hasLines)
	}
	set(v.Choices != nil, hasChoices)
	set(v.payload != "", hasPayload)
	set(v.Seen.Resolution == linking.PaidHere && v.Page != "", hasReceipt)
	set(v.wrong, wasWrong)
	set(v.told, wasTold)
	return k
}

// payerParts is what the template of a payer's page is run with: what the page has, and
// none of what is in it.
type payerParts struct {
	Lang                           *language
	Offers                         []*language
	Heading, Class, Notice         string
	Text                           []string
	Live, Done, Request            bool
	Logo, Contact, Test, Reference bool
	Pairing, Pay, Methods          bool
	Expires, Soon, Lines, Copy     bool
	Choices, Wrong, Receipt, Again bool
	Promise, Phone                 bool
}

// describe says each resolution to a payer: what happened, whether money was taken, and
// what to do.
func (k payerKey) describe(offers []*language) any {
	has := func(p parts) bool { return k.parts&p != 0 }
	say := func(key string, fill ...string) string { return k.lang.say(key, fill...) }
	d := &payerParts{
		Lang: k.lang, Offers: offers, Class: string(k.resolution), Notice: k.notice, Live: true,
		Logo: has(hasLogo), Contact: has(hasContact), Test: has(isTest), Reference: has(hasReference), Pairing: has(hasPairing),
		Methods: has(hasMethods), Expires: has(hasExpiry), Soon: has(isSoon), Lines: has(hasLines), Copy: has(hasPayload),
		Choices: has(hasChoices), Wrong: has(wasWrong), Receipt: has(hasReceipt), Phone: has(takesPhone),
	}
	switch k.resolution {
	case linking.Payable:
		d.Heading, d.Request, d.Pay = say("to_pay"), true, true
		if d.Copy {
			d.Heading, d.Pay, d.Choices = say("copy_heading"), false, false
		}
	case linking.Waiting:
		d.Heading, d.Text = say("waiting"), []string{say("waiting_text")}
	case linking.Valueless:
		d.Heading, d.Text = say("unvalued"), []string{say("unvalued_text")}
		d.Promise = k.kind == linking.Bill && !has(wasTold)
		if has(wasTold) {
			d.Text = append(d.Text, say("notify_done"))
		}
	case linking.NothingDue:
		d.Heading, d.Text = say("nothing_due"), []string{say("nothing_due_text")}
	case linking.Updating:
		d.Heading, d.Text = say("updating"), []string{say("updating_text")}
		if k.slow {
			d.Text = []string{say("updating_slow")}
		}
	case linking.Busy:
		d.Heading, d.Text = say("busy"), []string{say("busy_text")}
	case linking.InFlight:
		d.Heading, d.Text, d.Request = say("processing"), []string{say("processing_text")}, true
	case linking.PaidHere:
		d.Heading, d.Text, d.Request = say("paid"), []string{say("paid_text")}, true
		d.Done, d.Live = true, false
	case linking.Settled:
		d.Heading, d.Text, d.Done = say("settled"), []string{say("settled_text")}, true
		if k.settledOn {
			d.Heading = say("settled_on", "date", mark("settled_on"))
		}
	case linking.Ended:
		d.Heading, d.Text, d.Live = say("ended"), []string{say("ended_text")}, false
		if k.reason != "" {
			d.Text = []string{say("ended_" + string(k.reason))}
		}
		d.Again = k.kind == linking.Counter || k.kind == linking.Account
	}
	return d
}

// payerPage shows a view to a payer.
func (a *api) payerPage(c *fiber.Ctx, v *payerView, status int) error {
	if v.lang == nil {
		v.lang = a.payerWords.languageOf(c, v.Merchant.Languages)
	}
	page, err := a.appendPage(nil, v)
	if err != nil {
		return err
	}
	setPageHeaders(c, a.payPolicy(v.View))
	c.Status(status)
	c.Context().Response.SetBodyRaw(page)
	return nil
}

// appendPage writes the page of a view.
func (a *api) appendPage(b []byte, v *payerView) (page []byte, err error) {
	v.base = basePath(v.View)
	key := v.key(a.payerWords)
	sh := a.payerShapes.get(key)
	if sh == nil {
		if sh, err = a.payerShapes.make(a.pages, key, key.describe(a.payerWords.offers(v.Merchant))); err != nil {
			return nil, err
		}
	}
	return sh.append(slices.Grow(b, sh.size+1024), v), nil
}

// payPolicy lets the pay click's answer lead to the bank, and nowhere else.
func (a *api) payPolicy(v *linking.View) pagePolicy {
	if r := v.Seen.Request; r != nil && r.PayOrigin != "" {
		a.policyMu.RLock()
		p, ok := a.policies[r.PayOrigin]
		a.policyMu.RUnlock()
		if ok {
			return p
		}
		p = newPagePolicy(map[string][]string{"form-action": {r.PayOrigin}, "frame-ancestors": a.frames()})
		a.policyMu.Lock()
		defer a.policyMu.Unlock()
		if a.policies == nil || len(a.policies) >= 1024 { // a bank that gives each payment a host of its own
			a.policies = map[string]pagePolicy{}
		}
		a.policies[r.PayOrigin] = p
		return p
	}
	return a.plainPolicy
}

// payerFills are the values of a payer's page.
func (a *api) payerFills() map[string]func(b []byte, v *payerView) []byte {
	type fill = func(b []byte, v *payerView) []byte
	text := func(of func(v *payerView) string) fill {
		return func(b []byte, v *payerView) []byte { return appendEscaped(b, of(v)) }
	}
	self := func(b []byte, v *payerView) []byte {
		b = append(b, v.base...)
		if v.back {
			b = append(b, "/back"...)
		}
		return append(append(b, "?s="...), v.Sealed...)
	}
	return map[string]fill{
		"merchant":   text(func(v *payerView) string { return v.Merchant.Name }),
		"merchantID": text(func(v *payerView) string { return string(v.Merchant.ID) }),
		"contact":    text(func(v *payerView) string { return v.Merchant.Contact }),
		"reference":  text(func(v *payerView) string { return v.Seen.Request.Reference }),
		"payload":    text(func(v *payerView) string { return v.payload }),
		"base":       text(func(v *payerView) string { return v.base }),
		"s":          text(func(v *payerView) string { return v.Sealed }),
		"receipt":    text(func(v *payerView) string { return "/p/" + v.Page + "/receipt" }),
		"settled_on": text(func(v *payerView) string { return v.lang.day(v.Merchant, v.Seen.On) }),
		"self":       self,
		"bank":       text(func(v *payerView) string { return v.Seen.Request.PayOrigin }),
		"events": func(b []byte, v *payerView) []byte {
			b = append(append(append(b, v.base...), "/events?s="...), v.Sealed...)
			if v.back {
				b = append(b, "&amp;back=true"...)
			}
			return b
		},
		"state": appendState,
		"now":   func(b []byte, v *payerView) []byte { return v.At.UTC().AppendFormat(b, time.RFC3339) },
		"expires": func(b []byte, v *payerView) []byte {
			return v.Seen.Request.ExpiresAt.UTC().AppendFormat(b, time.RFC3339)
		},
		"left":     func(b []byte, v *payerView) []byte { return appendLeft(b, v.Seen.Request.ExpiresAt.Sub(v.At)) },
		"revision": func(b []byte, v *payerView) []byte { return strconv.AppendInt(b, int64(v.Seen.Request.Revision), 10) },
		"amount":   func(b []byte, v *payerView) []byte { return v.lang.appendMoney(b, v.Seen.Request.Money) },
		"picture":  func(b []byte, v *payerView) []byte { return append(b, a.pictures[v.Pairing.Picture]...) },
		"pairing": func(b []byte, v *payerView) []byte {
			b = append(b, '0'+byte(v.Pairing.Digits/10), '0'+byte(v.Pairing.Digits%10), ' ')
			return append(b, v.lang.pictures[v.Pairing.Picture]...)
		},
		"methods": appendMethods,
		"lines":   appendLines,
		"choices": a.appendChoices,
		"symbol": func(b []byte, v *payerView) []byte {
			qr, err := printing.Encode(v.payload, printing.M)
			if err != nil {
				return b // the text to copy is there still
			}
			return base64.StdEncoding.AppendEncode(b, printing.SVG(qr, printing.SVGOptions{}))
		},
	}
}

// appendState writes what changes when the page has to be drawn anew. The script makes
// the same text of an event.
func appendState(b []byte, v *payerView) []byte {
	b = append(b, v.Seen.Resolution...)
	b = append(b, ' ')
	b = strconv.AppendUint(b, v.Seen.Scan.Epoch, 10)
	b = append(b, ' ')
	if r := v.Seen.Request; r != nil {
		b = strconv.AppendInt(b, int64(r.Revision), 10)
	}
	b = append(b, ' ')
	if v.Seen.Slow {
		b = append(b, "slow"...)
	}
	return b
}

// appendLeft writes a span as 14:59, or 47:59:59.
func appendLeft(b []byte, left time.Duration) []byte {
	s := max(0, int64(left/time.Second))
	two := func(n int64) { b = append(b, '0'+byte(n/10), '0'+byte(n%10)) }
	if s >= 3600 {
		b = strconv.AppendInt(b, s/3600, 10)
		b = append(b, ':')
		two(s / 60 % 60)
	} else {
		b = strconv.AppendInt(b, s/60, 10)
	}
	b = append(b, ':')
	two(s % 60)
	return b
}

func appendMethods(b []byte, v *payerView) []byte {
	for _, m := range v.Seen.Request.Methods {
		name := m
		if own := v.lang.words["method_"+m]; own != "" {
			name = own
		}
		b = append(b, `<button name="method" value="`...)
		b = appendEscaped(b, m)
		b = append(b, `">`...)
		b = appendEscaped(b, v.lang.say("pay_with", "method", name))
		b = append(b, `</button>`...)
	}
	return b
}

func appendLines(b []byte, v *payerView) []byte {
	r := v.Seen.Request
	for _, l := range viewLines(r.Lines, r.VATExtra) {
		b = append(b, `<tr><th scope="row"><bdi>`...)
		b = appendEscaped(b, l.Description)
		b = append(b, `</bdi>`...)
		if l.Quantity != "1" {
			b = append(b, ` × `...)
			b = v.lang.appendDecimal(b, l.Quantity)
		}
		if l.VATRate != "" && l.VATRate != "0" {
			b = append(b, ` <span class="how">`...)
			b = append(b, v.lang.words["vat"]...)
			b = append(b, ' ')
			b = v.lang.appendDecimal(b, l.VATRate)
			b = append(b, "\u00a0%</span>"...)
		}
		b = append(b, `</th><td>`...)
		b = v.lang.appendMoney(b, linking.Money{Amount: l.Total, Currency: r.Money.Currency})
		b = append(b, `</td></tr>`...)
	}
	return b
}

func (a *api) appendChoices(b []byte, v *payerView) []byte {
	for _, p := range v.Choices {
		b = append(b, `<label><input type="radio" name="picture" required value="`...)
		b = append(b, linking.Pictures[p]...)
		b = append(b, `"><img src="`...)
		b = append(b, a.pictures[p]...)
		b = append(b, `" alt="" width="40" height="40"><span>`...)
		b = appendEscaped(b, v.lang.pictures[p])
		b = append(b, `</span></label>`...)
	}
	return b
}
