package simulator

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"placard/linking"
)

// pixISPB is the bank's number among the participants of Pix.
const pixISPB = "99999004"

// pixEndToEnd is a payment's id: E, the payer's bank, the minute, and eleven of its
// own.
func pixEndToEnd(at time.Time) string {
	return "E" + pixISPB + at.UTC().Format("200601021504") + strings.ToLower(rand.Text()[:11])
}

// pixPayment is money that came in, as the wire shows it.
type pixPayment struct {
	EndToEndID string            `json:"endToEndId"`
	Txid       string            `json:"txid"`
	Value      string            `json:"valor"`
	Key        string            `json:"chave"`
	At         string            `json:"horario"`
	Refunds    []pixRefundAnswer `json:"devolucoes,omitempty"`
}

type pixRefundAnswer struct {
	ID          string           `json:"id"`
	ReturnID    string           `json:"rtrId"`
	Value       string           `json:"valor"`
	Nature      string           `json:"natureza"`
	Description string           `json:"descricao,omitempty"`
	At          pixRefundInstant `json:"horario"`
	Status      string           `json:"status"`
	Reason      string           `json:"motivo,omitempty"`
}

type pixRefundInstant struct {
	Asked   string `json:"solicitacao"`
	Settled string `json:"liquidacao,omitempty"`
}

// pixRefund is what the ledger does not keep of a refund.
type pixRefund struct {
	nature, description string
	at                  time.Time
}

// pixWindow is how long money can be sent back.
const pixWindow = 90 * 24 * time.Hour

func (pw *pixWire) payment(h *pixCharge, p paymentSnapshot) pixPayment {
	out := showPayment(h.txid, h.text("chave"), p)
	for i, f := range p.refunds {
		out.Refunds[i] = pw.book(h.acc).showRefund(f)
	}
	return out
}

// showPayment is all of a payment that the ledger knows.
func showPayment(txid, key string, p paymentSnapshot) pixPayment {
	out := pixPayment{EndToEndID: p.id, Txid: txid, Value: reais(p.money.Amount), Key: key, At: pixTime(p.at)}
	for _, f := range p.refunds {
		out.Refunds = append(out.Refunds, (&pixBooks{}).showRefund(f))
	}
	return out
}

func (b *pixBooks) showRefund(f refund) pixRefundAnswer {
	more, ok := b.refunds[f.payment.id+" "+f.id]
	if !ok {
		more = pixRefund{nature: "ORIGINAL", at: f.payment.at}
		if !f.at.IsZero() { // the bank's own doing
			more = pixRefund{nature: "MED_FRAUDE", at: f.at}
		}
	}
	sum := sha256.Sum256([]byte(f.payment.id + " " + f.id))
	out := pixRefundAnswer{ID: f.id, ReturnID: "D" + pixISPB + more.at.UTC().Format("200601021504") + hex.EncodeToString(sum[:])[:11],
		Value: reais(f.amount), Nature: more.nature, Description: more.description, At: pixRefundInstant{Asked: pixTime(more.at)}}
	switch f.status {
	case linking.RefundPending:
		out.Status = "EM_PROCESSAMENTO"
	case linking.RefundDone:
		out.Status, out.At.Settled = "DEVOLVIDO", out.At.Asked
	default:
		out.Status, out.Reason = "NAO_REALIZADO", f.reason
	}
	return out
}

// find returns a payment of the account's, with its charge.
func (pw *pixWire) find(c *pixCall, e2eid string) (h *pixCharge, p paymentSnapshot, ok bool) {
	h = c.book.charges[pw.s.ledger.paidFor(e2eid)]
	if h == nil {
		return nil, p, false
	}
	s, err := pw.s.ledger.get(c.acc, h.txid)
	if err != nil {
		return nil, p, false
	}
	for _, p := range s.payments {
		if p.id == e2eid {
			return h, p, true
		}
	}
	return nil, p, false
}

func (pw *pixWire) getPix(c *pixCall) (*pixAnswer, error) {
	h, p, ok := pw.find(c, c.r.PathValue("e2eid"))
	if !ok {
		return nil, pixFail("PixNaoEncontrado")
	}
	return &pixAnswer{status: http.StatusOK, doc: pw.payment(h, p)}, nil
}

func (pw *pixWire) putRefund(c *pixCall) (*pixAnswer, error) {
	var in struct {
		Value       string `json:"valor"`
		Nature      string `json:"natureza"`
		Description string `json:"descricao"`
	}
	fail := func(property, reason string) error { return invalid("PixDevolucaoInvalida", property, reason) }
	id := c.r.PathValue("id")
	switch err := readJSON(c.body, &in); {
	case err != nil || len(pixMoney.slips("", in.Value)) > 0 || len([]rune(in.Description)) > 140:
		return nil, fail("devolucao.valor", "A devolução não respeita o _schema_.")
	case in.Nature != "" && in.Nature != "ORIGINAL":
		return nil, fail("devolucao.natureza", "O Pix não tem essa natureza.")
	case !pixRefundID.MatchString(id):
		return nil, fail("id", "O campo id não respeita o _schema_.")
	}
	h, p, ok := pw.find(c, c.r.PathValue("e2eid"))
	if !ok {
		return nil, pixFail("PixNaoEncontrado")
	}
	now := pw.s.ledger.time()
	_, again := c.book.refunds[p.id+" "+id]
	switch {
	case again && pw.o.RefusesReplay:
		return nil, fail("id", "Já existe uma devolução com esse id.")
	case now.Sub(p.at) > pixWindow:
		return nil, fail("devolucao", "O prazo de devolução expirou.")
	}
	f, err := pw.s.ledger.refund(c.acc, h.txid, p.id, id, linking.Money{Amount: brl(in.Value), Currency: "BRL"})
	if err != nil {
		if code := codeOf(err); code != "" {
			return nil, fail("devolucao.valor", "A devolução não é permitida: "+code+".")
		}
		return nil, err
	}
	if !again {
		c.book.refunds[p.id+" "+id] = pixRefund{"ORIGINAL", in.Description, now}
	}
	return &pixAnswer{status: http.StatusCreated, doc: c.book.showRefund(f)}, nil
}

func (pw *pixWire) getRefund(c *pixCall) (*pixAnswer, error) {
	_, p, ok := pw.find(c, c.r.PathValue("e2eid"))
	if ok {
		for _, f := range p.refunds {
			if f.id == c.r.PathValue("id") {
				return &pixAnswer{status: http.StatusOK, doc: c.book.showRefund(f)}, nil
			}
		}
	}
	return nil, pixFail("PixDevolucaoNaoEncontrada")
}
