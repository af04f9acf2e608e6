package pix

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"placard/bankapi"
	"placard/linking"
)

// What is read. Fields a bank adds are passed over, and some it leaves out are done
// without: openapi.yaml's own examples do not keep to its schemas. What is needed
// has to be there and be well formed.

type chargeAnswer struct {
	TxID     string `json:"txid"`
	Calendar struct {
		Made    string          `json:"criacao"`
		Expires json.RawMessage `json:"expiracao"` // seen as a text too
		Due     string          `json:"dataDeVencimento"`
	} `json:"calendario"`
	Loc      *locAnswer `json:"loc"`
	Location string     `json:"location"`
	Copy     string     `json:"pixCopiaECola"`
	Status   string     `json:"status"`
	Value    struct {
		Original  string          `json:"original"`
		Alterable json.RawMessage `json:"modalidadeAlteracao"`
	} `json:"valor"`
	Key  string          `json:"chave"`
	Info json.RawMessage `json:"infoAdicionais"`
	Tag  json.RawMessage `json:"revisao"`
	Pix  []pixAnswer     `json:"pix"`
}

type locAnswer struct {
	ID       json.RawMessage `json:"id"`
	TxID     string          `json:"txid"`
	Location string          `json:"location"`
	Kind     string          `json:"tipoCob"`
}

type pixAnswer struct {
	EndToEndID string          `json:"endToEndId"`
	TxID       string          `json:"txid"`
	Value      string          `json:"valor"`
	Key        string          `json:"chave"`
	At         string          `json:"horario"`
	Refunds    json.RawMessage `json:"devolucoes"` // seen as one object too
}

type refundAnswer struct {
	ID     string `json:"id"`
	Value  string `json:"valor"`
	Status string `json:"status"`
	Reason string `json:"motivo"`
}

type listAnswer struct {
	Parameters *struct {
		Paging *struct {
			Page  json.RawMessage `json:"paginaAtual"`
			Pages json.RawMessage `json:"quantidadeDePaginas"`
		} `json:"paginacao"`
	} `json:"parametros"`
	Pix []struct {
		EndToEndID string `json:"endToEndId"`
		TxID       string `json:"txid"`
		Key        string `json:"chave"`
		At         string `json:"horario"`
	} `json:"pix"`
	Cobs []struct {
		TxID   string `json:"txid"`
		Key    string `json:"chave"`
		Status string `json:"status"`
	} `json:"cobs"`
}

// charge is a bank's word on one charge.
type charge struct {
	state    linking.BankState
	status   string // the bank's
	made     time.Time
	due      string
	seconds  int64
	revision int   // ours, as we had it written there; 1 if it is not there
	location int64 // 0: none, or not told
	noWay    error // why an open charge cannot be paid: it has no location, or one that is not to be trusted
}

// chargeOf reads an answer about the charge that ref names. The time it ends is told
// in the bank's own clock.
func (c *config) chargeOf(body []byte, ref linking.BankRef) (h charge, err error) {
	var d chargeAnswer
	if err := bankapi.Decode(body, &d); err != nil {
		return h, err
	}
	s := &h.state
	if d.TxID != string(ref.ID) {
		return h, bankapi.Fault("wrong_id")
	}
	s.ID = ref.ID
	h.status = strings.Replace(d.Status, "REMOVIDO_", "REMOVIDA_", 1)
	switch h.status {
	case statusActive:
		s.Status = linking.BankOpen
	case statusDone:
		s.Status = linking.BankPaid
	case statusRemovedByUs, statusRemovedByBank:
		s.Status, s.Reason = linking.BankClosed, h.status
	default:
		return h, bankapi.Fault("unknown_status")
	}
	if !c.sameKey(d.Key) {
		return h, bankapi.Fault("wrong_key") // somebody else's money
	}
	if s.Money, err = moneyOf(d.Value.Original); err != nil {
		return h, err
	}
	if n, ok := looseInt(d.Value.Alterable); len(d.Value.Alterable) > 0 && (!ok || n != 0) {
		return h, bankapi.Fault("alterable") // the payer chooses: that was never asked for
	}
	if h.made, err = timeOf(d.Calendar.Made); err != nil {
		return h, err
	}
	if ref.Charge == linking.DueDate {
		if _, err := time.Parse(time.DateOnly, d.Calendar.Due); err != nil {
			return h, bankapi.Fault("bad_time")
		}
		h.due = d.Calendar.Due
	} else {
		var ok bool
		if h.seconds, ok = looseInt(d.Calendar.Expires); !ok || h.seconds < 1 || h.seconds > maxSeconds {
			return h, bankapi.Fault("bad_time")
		}
		s.ExpiresAt = h.made.Add(time.Duration(h.seconds) * time.Second)
	}
	s.Tag = "r" // of a bank that counts no revisions
	if len(d.Tag) > 0 {
		n, ok := looseInt(d.Tag)
		if !ok || n < 0 {
			return h, bankapi.Fault("bad_revision")
		}
		s.Tag += strconv.FormatInt(n, 10)
	}
	h.revision = revisionIn(d.Info)
	if d.Loc != nil {
		if h.location, _ = looseInt(d.Loc.ID); h.location < 0 {
			h.location = 0
		}
	}
	if err := c.money(s, d.Pix); err != nil {
		return h, err
	}
	if s.Status == linking.BankOpen { // elsewhere nobody is sent there
		payload, err := c.payload(d.address())
		if d.Loc != nil && d.Loc.TxID != "" && d.Loc.TxID != d.TxID {
			err = bankapi.Fault("wrong_location") // it shows another charge
		}
		if h.noWay = err; err == nil {
			s.Way = linking.Way{Kind: linking.EMV, Payload: payload}
		}
	}
	return h, nil
}

// money reads the payments of a charge and what went back of them. Whatever the
// record's status says, a charge that has money is paid: at some banks the status
// follows later, and a removed charge can still be paid by who saw it before.
func (c *config) money(s *linking.BankState, list []pixAnswer) error {
	seen := map[string]bool{}
	for _, p := range list {
		one := linking.BankPayment{ID: p.EndToEndID, Method: "pix"}
		if !alphanumeric(one.ID) || len(one.ID) > 64 || seen[one.ID] {
			return bankapi.Fault("bad_payment")
		}
		seen[one.ID] = true
		if p.TxID != "" && p.TxID != string(s.ID) {
			return bankapi.Fault("wrong_id")
		}
		if p.Key != "" && !c.sameKey(p.Key) {
			return bankapi.Fault("wrong_key")
		}
		var err error
		if one.Money, err = moneyOf(p.Value); err != nil {
			return err
		}
		if one.PaidAt, err = timeOf(p.At); err != nil {
			return err
		}
		s.Payments = append(s.Payments, one)
		refunds, err := refundsOf(p.Refunds, one)
		if err != nil {
			return err
		}
		s.Refunds = append(s.Refunds, refunds...)
	}
	if len(s.Payments) > 0 {
		s.Status, s.Reason = linking.BankPaid, ""
	}
	return nil
}

// refundsOf reads devolucoes, an array or a single object.
func refundsOf(raw json.RawMessage, p linking.BankPayment) ([]linking.BankRefund, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil, nil
	}
	var list []refundAnswer
	if raw[0] == '{' {
		raw = append(append([]byte{'['}, raw...), ']')
	}
	if json.Unmarshal(raw, &list) != nil {
		return nil, bankapi.Fault("bad_refund")
	}
	var refunds []linking.BankRefund
	seen := map[string]bool{}
	var back linking.Amount
	for _, d := range list {
		r, err := d.refund(p.ID)
		if err != nil {
			return nil, err
		}
		if seen[r.ID] {
			return nil, bankapi.Fault("bad_refund")
		}
		seen[r.ID] = true
		if r.Status != linking.RefundFailed {
			back += r.Amount
		}
		refunds = append(refunds, r)
	}
	if back > p.Money.Amount {
		return nil, bankapi.Fault("bad_refund") // more than came in
	}
	return refunds, nil
}

func (d *refundAnswer) refund(payment string) (r linking.BankRefund, err error) {
	if !alphanumeric(d.ID) || len(d.ID) > 35 {
		return r, bankapi.Fault("bad_refund")
	}
	m, err := moneyOf(d.Value)
	if err != nil {
		return r, err
	}
	r = linking.BankRefund{ID: d.ID, PaymentID: payment, Amount: m.Amount}
	switch d.Status {
	case "EM_PROCESSAMENTO":
		r.Status = linking.RefundPending
	case "DEVOLVIDO":
		r.Status = linking.RefundDone
	case "NAO_REALIZADO":
		r.Status, r.Reason = linking.RefundFailed, bankapi.ShortCode(d.Reason, "NAO_REALIZADO")
	default:
		return r, bankapi.Fault("unknown_status")
	}
	return r, nil
}

// refundOf reads the answer to a refund that was asked for.
func refundOf(body []byte, ask linking.RefundAsk) (linking.BankRefund, error) {
	var d refundAnswer
	if err := bankapi.Decode(body, &d); err != nil {
		return linking.BankRefund{}, err
	}
	r, err := d.refund(ask.PaymentID)
	switch {
	case err != nil:
		return linking.BankRefund{}, err
	case r.ID != string(ask.Refund):
		return linking.BankRefund{}, bankapi.Fault("wrong_id")
	case r.Amount != ask.Money.Amount:
		return linking.BankRefund{}, bankapi.Fault("wrong_amount")
	}
	return r, nil
}

// address is where the charge is to be fetched.
func (d *chargeAnswer) address() string {
	switch {
	case d.Loc != nil && d.Loc.Location != "":
		return d.Loc.Location
	case d.Location != "":
		return d.Location
	case d.Copy != "":
		if code, err := DecodeBRCode(d.Copy); err == nil {
			return code.URL
		}
	}
	return ""
}

// payload is the BR Code of a location.
func (c *config) payload(location string) (string, error) {
	if location == "" {
		return "", bankapi.Fault("no_way")
	}
	p, err := BRCode{URL: location, Name: c.name, City: c.city, Once: c.once}.Encode()
	if err != nil {
		return "", bankapi.Fault("bad_way")
	}
	return p, nil
}

// locationOf reads an answer about a location. want is its number; 0: a new one.
func (c *config) locationOf(body []byte, want int64, charge linking.Charge) (link linking.BankLink, txid string, err error) {
	var d locAnswer
	if err := bankapi.Decode(body, &d); err != nil {
		return link, "", err
	}
	id, ok := looseInt(d.ID)
	if !ok || id < 1 || want != 0 && id != want {
		return link, "", bankapi.Fault("wrong_id")
	}
	if d.Kind != kind(charge) {
		return link, "", bankapi.Fault("wrong_location")
	}
	if d.TxID != "" && (!alphanumeric(d.TxID) || len(d.TxID) > 35) {
		return link, "", bankapi.Fault("bad_txid")
	}
	link = linking.BankLink{ID: strconv.FormatInt(id, 10), Charge: charge}
	link.Payload, err = c.payload(d.Location)
	return link, d.TxID, err
}

// page is one page of a list.
type page struct {
	pages int                          // of the whole list
	seen  map[string]linking.RequestID // by what tells one from another
	last  time.Time
}

// listOf reads a page of GET /pix, /cob or /cobv. What is not ours is left out: other
// keys, and txids that Placard did not make.
func (c *config) listOf(body []byte, number int) (p page, err error) {
	var d listAnswer
	if err := bankapi.Decode(body, &d); err != nil {
		return p, err
	}
	if d.Parameters == nil || d.Parameters.Paging == nil {
		return p, bankapi.Fault("no_paging")
	}
	at, ok := looseInt(d.Parameters.Paging.Page)
	pages, fits := looseInt(d.Parameters.Paging.Pages)
	if !ok || !fits || at != int64(number) || pages < 0 || pages > 1<<31 {
		return p, bankapi.Fault("bad_paging")
	}
	p.pages, p.seen = int(pages), map[string]linking.RequestID{}
	for _, one := range d.Pix {
		if !alphanumeric(one.EndToEndID) || len(one.EndToEndID) > 64 {
			return p, bankapi.Fault("bad_payment")
		}
		at, err := timeOf(one.At)
		if err != nil {
			return p, err
		}
		if at.After(p.last) {
			p.last = at
		}
		if id, ok := ours(one.TxID); ok && (one.Key == "" || c.sameKey(one.Key)) {
			p.seen[one.EndToEndID] = id
		}
	}
	for _, one := range d.Cobs {
		if id, ok := ours(one.TxID); ok && (one.Key == "" || c.sameKey(one.Key)) {
			p.seen[one.TxID] = id
		}
	}
	return p, nil
}

// ours returns the request a txid names, if it can be one of Placard's.
func ours(txid string) (linking.RequestID, bool) {
	id, ok := linking.ParseRequestID(txid)
	return id, ok && string(id) == txid
}

// sameKey compares keys as people write them: a bank may give back a telephone number
// or an address of e-mail in its own way.
func (c *config) sameKey(key string) bool {
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer("+", "", " ", "", "(", "", ")", "").Replace(s))
	}
	return plain(key) == plain(c.key)
}

// revisionIn finds our revision among the additional information.
func revisionIn(raw json.RawMessage) int {
	var list []struct {
		Name  string `json:"nome"`
		Value string `json:"valor"`
	}
	if len(raw) == 0 || json.Unmarshal(raw, &list) != nil {
		return 1
	}
	for _, i := range list {
		if n, err := strconv.Atoi(i.Value); i.Name == infoRevision && err == nil && n > 1 {
			return n
		}
	}
	return 1
}

// moneyOf reads ten digits at most, a point and two digits; anchored, which the
// pattern in openapi.yaml is not.
func moneyOf(s string) (linking.Money, error) {
	a, ok := currency.ParseDecimal(s)
	if !ok || len(s) > len("9999999999.99") || a <= 0 {
		return linking.Money{}, bankapi.Fault("bad_amount")
	}
	return linking.Money{Amount: a, Currency: currency}, nil
}

// timeOf reads RFC 3339, with or without parts of a second.
func timeOf(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Year() < 2000 || t.Year() > 9000 {
		return time.Time{}, bankapi.Fault("bad_time")
	}
	return t.UTC(), nil
}

// looseInt reads a whole number, or a text of digits in its place.
func looseInt(raw json.RawMessage) (int64, bool) {
	s := string(bytes.TrimSpace(raw))
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == s
}
