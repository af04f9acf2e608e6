package simulator

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"placard/bankapi/pix"
	"placard/linking"
)

// The shapes of what is sent, anchored where openapi.yaml forgets to. The rules are
// written in the language of jpm_schema.go.
var (
	pixMoney    = jpmMatch(`\d{1,10}\.\d{2}`)
	pixTxid     = regexp.MustCompile(`^[a-zA-Z0-9]{26,35}$`)
	pixRefundID = regexp.MustCompile(`^[a-zA-Z0-9]{1,35}$`)
	pixPerson   = map[string]jpmRule{"cpf": jpmMatch(`\d{11}`), "cnpj": jpmMatch(`[0-9A-Z]{14}`), "nome": jpmText(1, 200)}
	pixInfo     = jpmList(0, 50, jpmObject("nome valor", map[string]jpmRule{"nome": jpmText(0, 50), "valor": jpmText(0, 200)}))
	pixExpiry   = jpmRule{kind: "integer", min: 1, max: 1<<31 - 1}
	pixRemoval  = jpmEnum("REMOVIDA_PELO_USUARIO_RECEBEDOR")

	pixRules = map[string]jpmRule{
		"cob": jpmObject("", map[string]jpmRule{
			"calendario": jpmObject("", map[string]jpmRule{"expiracao": pixExpiry}),
			"devedor":    jpmObject("nome", pixPerson),
			"valor":      jpmObject("", map[string]jpmRule{"original": pixMoney, "modalidadeAlteracao": {kind: "integer", max: 1}}),
			"chave":      jpmText(1, 77), "solicitacaoPagador": jpmText(0, 140), "infoAdicionais": pixInfo, "status": pixRemoval,
		}),
		"cobv": jpmObject("", map[string]jpmRule{
			"calendario": jpmObject("", map[string]jpmRule{"dataDeVencimento": jpmDate, "validadeAposVencimento": {kind: "integer", max: 1<<31 - 1}}),
			"devedor":    jpmObject("nome", pixDebtor()),
			"valor": jpmObject("", map[string]jpmRule{"original": pixMoney, "multa": pixCost(2), "juros": pixCost(8), "abatimento": pixCost(2),
				"desconto": jpmObject("modalidade", map[string]jpmRule{"modalidade": {kind: "integer", min: 1, max: 6}, "valorPerc": pixMoney,
					"descontoDataFixa": jpmList(1, 3, jpmObject("data valorPerc", map[string]jpmRule{"data": jpmDate, "valorPerc": pixMoney}))})}),
			"chave": jpmText(1, 77), "solicitacaoPagador": jpmText(0, 140), "infoAdicionais": pixInfo, "status": pixRemoval,
		}),
	}
)

func pixDebtor() map[string]jpmRule {
	d := maps.Clone(pixPerson)
	maps.Copy(d, map[string]jpmRule{"email": jpmText(0, 200), "logradouro": jpmText(0, 200), "cidade": jpmText(0, 200),
		"uf": jpmText(2, 2), "cep": jpmText(8, 8)})
	return d
}

func pixCost(most int) jpmRule {
	return jpmObject("modalidade valorPerc", map[string]jpmRule{"modalidade": {kind: "integer", min: 1, max: most}, "valorPerc": pixMoney})
}

// pixDoc is a charge as its merchant wrote it, without loc and status.
type pixDoc map[string]any

// pixCharge is a cob or cobv beside its request in the ledger.
type pixCharge struct {
	kind, txid, acc string
	made            time.Time
	revisions       []pixDoc // the last is the one that holds
	loc             *pixLoc
	removed         bool // by the merchant
}

func (h *pixCharge) doc() pixDoc { return h.revisions[len(h.revisions)-1] }

// text returns a text within a charge, such as valor.original.
func (d pixDoc) text(path ...string) string {
	var v any = map[string]any(d)
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

func (h *pixCharge) text(path ...string) string { return h.doc().text(path...) }

// pixWanted is what a body asks for.
type pixWanted struct {
	doc    pixDoc
	loc    *int64 // nil: nothing is said
	unlink bool
	remove bool
}

// readCharge reads a body and holds it to its shape. whole: it has everything a new
// charge needs.
func readCharge(kind string, body []byte, whole bool) (in pixWanted, err error) {
	fail := map[string]string{"cob": "CobOperacaoInvalida", "cobv": "CobVOperacaoInvalida"}[kind]
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.UseNumber()
	if err := d.Decode(&in.doc); err != nil || d.More() || in.doc == nil {
		return in, invalid(fail, kind, "O corpo não respeita o _schema_.")
	}
	loc, said := in.doc["loc"]
	delete(in.doc, "loc")
	switch l := loc.(type) {
	case nil:
		if in.unlink = said; said && whole {
			return in, invalid(fail, kind+".loc", "O campo "+kind+".loc não respeita o _schema_.")
		}
	case map[string]any:
		n, _ := l["id"].(json.Number)
		id, err := n.Int64()
		if err != nil || len(l) != 1 {
			return in, invalid(fail, kind+".loc.id", "O campo "+kind+".loc.id não respeita o _schema_.")
		}
		in.loc = &id
	default:
		return in, invalid(fail, kind+".loc", "O campo "+kind+".loc não respeita o _schema_.")
	}
	rule := pixRules[kind]
	if whole {
		rule.required = strings.Fields(map[string]string{"cob": "calendario valor chave", "cobv": "calendario valor chave devedor"}[kind])
	}
	slips := rule.slips(kind, map[string]any(in.doc))
	if _, removes := in.doc["status"]; removes {
		in.remove = true
		delete(in.doc, "status")
		if whole || len(in.doc) > 0 || said {
			slips = append(slips, jpmContext{Field: kind + ".status"})
		}
	}
	if len(slips) > 0 {
		var all []pixViolation
		for _, s := range slips[:min(len(slips), 50)] {
			all = append(all, pixViolation{Reason: "O campo " + s.Field + " não respeita o _schema_.", Property: s.Field})
		}
		return in, pixFail(fail, all...)
	}
	return in, nil
}

// merged is what a charge becomes by a PATCH: objects of time and money are changed
// by their fields, all else as a whole.
func merged(was, change pixDoc) pixDoc {
	out := maps.Clone(was)
	for name, v := range change {
		old, was := out[name].(map[string]any)
		now, is := v.(map[string]any)
		if (name == "calendario" || name == "valor") && was && is {
			both := maps.Clone(old)
			maps.Copy(both, now)
			v = both
		}
		out[name] = v
	}
	return out
}

// check holds a whole charge to what its shape does not say.
func (pw *pixWire) check(c *pixCall, kind string, doc pixDoc, made time.Time) error {
	fail := func(property, reason string) error {
		return invalid(map[string]string{"cob": "CobOperacaoInvalida", "cobv": "CobVOperacaoInvalida"}[kind], kind+"."+property, reason)
	}
	key, allowed := doc.text("chave"), c.who.Keys == nil
	for _, k := range c.who.Keys {
		allowed = allowed || k == key
	}
	switch cpf, cnpj := doc.text("devedor", "cpf"), doc.text("devedor", "cnpj"); {
	case !allowed:
		return fail("chave", "O campo chave corresponde a uma conta que não pertence a este usuário recebedor.")
	case brl(doc.text("valor", "original")) == 0:
		return fail("valor.original", "O campo valor.original é zero.")
	case doc["devedor"] != nil && (cpf == "") == (cnpj == ""):
		return fail("devedor", "O objeto devedor tem cpf ou cnpj.")
	}
	if kind == "cobv" {
		due, err := time.Parse(time.DateOnly, doc.text("calendario", "dataDeVencimento"))
		if err != nil || due.Before(pixDay(made)) {
			return fail("calendario.dataDeVencimento", "O campo dataDeVencimento é anterior à data de criação da cobrança.")
		}
		if property := pixCosts(doc, due); property != "" {
			return fail("valor."+property, "O objeto valor."+property+" não faz sentido.")
		}
	}
	return nil
}

// order is what the ledger is asked to hold.
func (h *pixCharge) order(doc pixDoc, revision int) order {
	o := order{revision: revision + 1, money: linking.Money{Amount: brl(doc.text("valor", "original")), Currency: "BRL"},
		note: doc.text("solicitacaoPagador"), lingers: true, instant: true, naming: pixEndToEnd}
	if list, _ := doc["infoAdicionais"].([]any); len(list) > 0 {
		first, _ := list[0].(map[string]any)
		o.reference = pixDoc(first).text("valor")
	}
	if h.kind == "cobv" {
		o.expiresAt = pixLastMoment(doc)
		o.due = func(_ *request, now time.Time) linking.Amount { return pixFinal(doc, pixDay(now)).final }
		return o
	}
	seconds, err := strconv.Atoi(doc.text("calendario", "expiracao"))
	if err != nil {
		seconds = 86400
	}
	o.expiresAt = h.made.Add(time.Duration(seconds) * time.Second)
	if doc.text("valor", "modalidadeAlteracao") == "1" {
		o.min, o.max = 1, 999_999_999_999
	}
	return o
}

// status is the record's, which is not how the request stands: a charge whose time is
// up is ATIVA, and one that was removed stays so whatever is paid for it.
func (h *pixCharge) status(s requestSnapshot) string {
	switch {
	case h.removed:
		return "REMOVIDA_PELO_USUARIO_RECEBEDOR"
	case len(s.payments) > 0:
		return "CONCLUIDA"
	case s.status == linking.BankOpen:
		return "ATIVA"
	}
	return "REMOVIDA_PELO_PSP"
}

func (pw *pixWire) putCharge(c *pixCall, kind string) (*pixAnswer, error) {
	txid := c.r.PathValue("txid")
	fail := map[string]string{"cob": "CobOperacaoInvalida", "cobv": "CobVOperacaoInvalida"}[kind]
	if !pixTxid.MatchString(txid) {
		return nil, invalid(fail, "txid", "O campo txid não respeita o _schema_.")
	}
	in, err := readCharge(kind, c.body, true)
	if err != nil {
		return nil, err
	}
	h := c.book.charges[txid]
	if h == nil {
		return pw.make(c, kind, txid, in)
	}
	if h.kind != kind {
		return nil, invalid(fail, "txid", "O txid está associado a uma cobrança de outro tipo.")
	}
	// What the merchant leaves out of a PUT is gone; its location stays.
	return pw.change(c, h, in, in.doc, http.StatusCreated)
}

func (pw *pixWire) postCharge(c *pixCall) (*pixAnswer, error) {
	in, err := readCharge("cob", c.body, true)
	if err != nil {
		return nil, err
	}
	return pw.make(c, "cob", jpmHexID(), in)
}

func (pw *pixWire) make(c *pixCall, kind, txid string, in pixWanted) (*pixAnswer, error) {
	fail := map[string]string{"cob": "CobOperacaoInvalida", "cobv": "CobVOperacaoInvalida"}[kind]
	h := &pixCharge{kind: kind, txid: txid, acc: c.acc, made: pw.s.ledger.time().Truncate(time.Millisecond), revisions: []pixDoc{in.doc}}
	if err := pw.check(c, kind, in.doc, h.made); err != nil {
		return nil, err
	}
	if len(c.book.order) >= MaxRequests {
		return nil, refuse("full", "There are too many charges.")
	}
	loc, err := pw.wanted(c, h, in)
	if err != nil {
		return nil, err
	}
	pw.news.Lock()
	pw.news.keys[txid] = h.text("chave")
	pw.news.Unlock()
	if _, _, err := pw.s.ledger.put(c.acc, txid, h.order(in.doc, 0)); err != nil {
		if codeOf(err) == "id_taken" {
			return nil, invalid(fail, "txid", "O txid está em uso.")
		}
		return nil, pixRefusal(fail, err)
	}
	if loc == nil {
		loc = pw.newLoc(c, kind)
	}
	h.loc, loc.shows = loc, h
	c.book.charges[txid] = h
	c.book.order = append(c.book.order, h)
	return pw.shown(c, h, http.StatusCreated, false)
}

// pixRefusal says the ledger's refusal in the wire's words.
func pixRefusal(kind string, err error) error {
	if code := codeOf(err); code != "" && code != "full" {
		return invalid(kind, "status", "A cobrança não permite a alteração: "+code+".")
	}
	return err
}

func (pw *pixWire) patchCharge(c *pixCall, kind string) (*pixAnswer, error) {
	h := c.book.charges[c.r.PathValue("txid")]
	if h == nil || h.kind != kind {
		return nil, pixFail(map[string]string{"cob": "CobNaoEncontrado", "cobv": "CobVNaoEncontrada"}[kind])
	}
	in, err := readCharge(kind, c.body, false)
	if err != nil {
		return nil, err
	}
	return pw.change(c, h, in, merged(h.doc(), in.doc), http.StatusOK)
}

// change makes a charge what doc says, moves or unlinks it, or removes it.
func (pw *pixWire) change(c *pixCall, h *pixCharge, in pixWanted, doc pixDoc, status int) (*pixAnswer, error) {
	fail := map[string]string{"cob": "CobOperacaoInvalida", "cobv": "CobVOperacaoInvalida"}[h.kind]
	s, err := pw.s.ledger.get(c.acc, h.txid)
	if err != nil {
		return nil, err
	}
	if h.status(s) != "ATIVA" {
		return nil, invalid(fail, "status", "A cobrança não está ATIVA, e a presente requisição busca alterá-la.")
	}
	if in.remove {
		if _, err := pw.s.ledger.close(c.acc, h.txid); err != nil {
			return nil, pixRefusal(fail, err)
		}
		h.removed = true
		h.revisions = append(h.revisions, h.doc())
		return pw.shown(c, h, status, false)
	}
	if err := pw.check(c, h.kind, doc, h.made); err != nil {
		return nil, err
	}
	loc, err := pw.wanted(c, h, in)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(doc, h.doc()) {
		if _, _, err := pw.s.ledger.put(c.acc, h.txid, h.order(doc, len(h.revisions))); err != nil {
			return nil, pixRefusal(fail, err)
		}
		h.revisions = append(h.revisions, doc)
		pw.news.Lock()
		pw.news.keys[h.txid] = h.text("chave")
		pw.news.Unlock()
	}
	if (loc != nil || in.unlink) && h.loc != loc {
		if h.loc != nil && h.loc.shows == h {
			h.loc.shows = nil
		}
		if h.loc = loc; loc != nil {
			loc.shows = h
		}
	}
	return pw.shown(c, h, status, false)
}

func (pw *pixWire) getCharge(c *pixCall, kind string) (*pixAnswer, error) {
	h := c.book.charges[c.r.PathValue("txid")]
	if h == nil || h.kind != kind {
		return nil, pixFail(map[string]string{"cob": "CobNaoEncontrado", "cobv": "CobVNaoEncontrada"}[kind])
	}
	if v := c.r.URL.Query().Get("revisao"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || n >= len(h.revisions) {
			return nil, invalid(map[string]string{"cob": "CobConsultaInvalida", "cobv": "CobVConsultaInvalida"}[kind], "revisao", "A revisão inexiste.")
		}
		old := *h
		old.revisions = h.revisions[:n+1]
		return pw.shown(c, &old, http.StatusOK, true)
	}
	return pw.shown(c, h, http.StatusOK, true)
}

func (pw *pixWire) shown(c *pixCall, h *pixCharge, status int, complete bool) (*pixAnswer, error) {
	doc, err := pw.show(c, h, complete)
	if err != nil {
		return nil, err
	}
	a := &pixAnswer{status: status, doc: doc}
	if status == http.StatusCreated && h.loc != nil {
		a.location = h.loc.url
	}
	return a, nil
}

// show writes a charge down. complete: with what was paid.
func (pw *pixWire) show(c *pixCall, h *pixCharge, complete bool) (pixDoc, error) {
	s, err := pw.s.ledger.get(h.acc, h.txid)
	if err != nil {
		return nil, err
	}
	out := maps.Clone(h.doc())
	calendar, _ := out["calendario"].(map[string]any)
	calendar = maps.Clone(calendar)
	calendar["criacao"] = pixTime(h.made)
	if h.kind == "cob" && calendar["expiracao"] == nil {
		calendar["expiracao"] = 86400
	}
	if h.kind == "cobv" && calendar["validadeAposVencimento"] == nil {
		calendar["validadeAposVencimento"] = 30
	}
	out["calendario"], out["txid"], out["revisao"], out["status"] = calendar, h.txid, len(h.revisions)-1, h.status(s)
	name := pw.s.ledger.merchant(h.acc)
	if h.kind == "cobv" {
		out["recebedor"] = pixReceiver(name, c.who)
	}
	if h.loc != nil {
		l := h.loc.show()
		l.Txid = h.txid
		out["loc"], out["location"] = l, h.loc.url
		text, err := pix.BRCode{URL: h.loc.url, Name: cmp.Or(pix.Fold(name, 25), "LOJA"), City: cmp.Or(pix.Fold(c.who.City, 15), "BRASILIA"), Once: true}.Encode()
		if err != nil {
			return nil, err
		}
		out["pixCopiaECola"] = text
	}
	if complete && len(s.payments) > 0 {
		list := []pixPayment{}
		for _, p := range s.payments {
			list = append(list, pw.payment(h, p))
		}
		out["pix"] = list
	}
	return out, nil
}

func pixReceiver(name string, who PixAccount) map[string]string {
	return map[string]string{"nome": name, "cnpj": who.CNPJ, "logradouro": "Rua do Simulador, 1", "cidade": who.City, "uf": "DF", "cep": "70000000"}
}
