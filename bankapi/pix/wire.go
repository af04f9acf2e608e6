package pix

import (
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"placard/linking"
)

// currency is the only one there is.
const currency linking.Currency = "BRL"

// maxAmount is 9999999999.99: ten digits before the point.
const maxAmount linking.Amount = 999_999_999_999

// What is sent, exactly. Numbers that are money are texts with two digits after the
// point (openapi.yaml, CobValor).

type chargeDoc struct {
	Calendar calendarDoc `json:"calendario,omitzero"`
	Debtor   *debtorDoc  `json:"devedor,omitempty"`
	Loc      *locRef     `json:"loc,omitempty"` // left out of a PATCH it stays as it is
	Value    *valueDoc   `json:"valor,omitempty"`
	Key      string      `json:"chave,omitempty"`
	Prompt   string      `json:"solicitacaoPagador,omitempty"`
	Info     []infoDoc   `json:"infoAdicionais,omitempty"`
	Status   string      `json:"status,omitempty"` // of a PATCH that removes, and then alone
}

// calendarDoc has Expires for a cob, the other two for a cobv.
type calendarDoc struct {
	Expires int64  `json:"expiracao,omitempty"` // seconds from criacao
	Due     string `json:"dataDeVencimento,omitempty"`
	Grace   *int   `json:"validadeAposVencimento,omitempty"` // days; the bank's default is 30
}

type debtorDoc struct {
	CPF     string `json:"cpf,omitempty"`
	CNPJ    string `json:"cnpj,omitempty"`
	Name    string `json:"nome"`
	Email   string `json:"email,omitempty"`      // cobv only
	Address string `json:"logradouro,omitempty"` // cobv only
}

type locRef struct {
	ID int64 `json:"id"`
}

type valueDoc struct {
	Original string `json:"original"`
}

type infoDoc struct {
	Name  string `json:"nome"`
	Value string `json:"valor"`
}

type locDoc struct {
	Kind string `json:"tipoCob"`
}

type refundPutDoc struct {
	Value string `json:"valor"`
}

type webhookDoc struct {
	URL string `json:"webhookUrl"`
}

// Statuses of a charge. A few banks spell the removed ones as the prose of the
// specification does, and not as its list.
const (
	statusActive        = "ATIVA"
	statusDone          = "CONCLUIDA"
	statusRemovedByUs   = "REMOVIDA_PELO_USUARIO_RECEBEDOR"
	statusRemovedByBank = "REMOVIDA_PELO_PSP"
)

// Names of the additional information that the payer's app shows, and that Get reads
// back. They are ASCII because not every bank takes more here.
const (
	infoReference = "Ref."
	infoRevision  = "Rev."
)

// Limits of texts, in characters.
const (
	maxPrompt    = 140
	maxInfoValue = 200
	maxDebtor    = 200
)

// kind is the bank's word for a charge.
func kind(c linking.Charge) string {
	if c == linking.DueDate {
		return "cobv"
	}
	return "cob"
}

// travel is what a call may take to arrive without the bank's end falling after
// ours: a cob's end counts from when the bank made it.
const travel = 2 * time.Second

// maxSeconds is what expiracao holds, an int32.
const maxSeconds = 1<<31 - 1

// brasilia is the time a due date is meant in. Brazil has had no summer time since
// 2019 (Decreto 9.772).
var brasilia = time.FixedZone("BRT", -3*60*60)

// asked is an ask as this rail understands it.
type asked struct {
	linking.Ask
	location int64 // 0: one of its own
	due      string
}

// understand checks what no bank could be asked for: that is a fault of the caller's,
// or something a person must know about before anything is sent.
func (c *config) understand(ask linking.Ask) (a asked, err error) {
	a.Ask = ask
	switch {
	case ask.Revision < 1:
		return a, errors.New("a revision below 1")
	case !alphanumeric(string(ask.ID)) || len(ask.ID) < 26 || len(ask.ID) > 35:
		return a, errors.New("an id that is no txid")
	case ask.Charge != linking.Immediate && ask.Charge != linking.DueDate:
		return a, errors.New("a kind of charge that is not known")
	case ask.Money.Currency != currency:
		return a, errors.New("another currency than BRL")
	case ask.Money.Amount <= 0 || ask.Money.Amount > maxAmount:
		return a, errors.New("an amount that cannot be asked for")
	case ask.Min != 0 || ask.Max != 0:
		return a, errors.New("a range to choose from")
	case ask.Manual:
		return a, errors.New("money to be captured later")
	case len(ask.Methods) > 0:
		return a, errors.New("ways to pay to choose from")
	case ask.ExpiresAt.IsZero():
		return a, errors.New("no end")
	case ask.TimeLeft > c.maxExpiry:
		return a, errors.New("an end beyond the longest expiry")
	}
	if ask.Link != nil {
		if ask.Link.Charge != ask.Charge {
			return a, errors.New("a location for another kind of charge")
		}
		if a.location, err = locationID(*ask.Link); err != nil {
			return a, err
		}
	}
	if ask.Charge == linking.DueDate {
		// The day on which the last moment lies. A bank may let a due date on a
		// weekend slide; what is still open at our end is removed.
		a.due = ask.ExpiresAt.Add(-time.Nanosecond).In(brasilia).Format(time.DateOnly)
		if debtor(ask) == nil {
			return a, errors.New("a due date without the debtor's name and CPF or CNPJ")
		}
	}
	return a, nil
}

// left is how many whole seconds a new cob may live.
func (a *asked) left(now time.Time) int64 {
	left := min(a.TimeLeft, a.ExpiresAt.Sub(now)) - travel
	return min(int64(left/time.Second), maxSeconds)
}

// until is expiracao of a cob that the bank made at a time of our clock, so that its
// end is not after ours.
func (a *asked) until(made time.Time) int64 {
	d := a.ExpiresAt.Sub(made)
	return min(int64(d/time.Second), maxSeconds)
}

// doc writes the ask down, with the calendar the caller has worked out.
func (c *config) doc(a asked, seconds int64) chargeDoc {
	d := chargeDoc{
		Value: &valueDoc{currency.Decimal(a.Money.Amount)}, Key: c.key,
		Debtor: debtor(a.Ask), Prompt: cut(a.Note, maxPrompt),
	}
	if a.Charge == linking.DueDate {
		d.Calendar = calendarDoc{Due: a.due, Grace: new(int)}
	} else {
		d.Calendar.Expires = seconds
	}
	if a.location != 0 {
		d.Loc = &locRef{a.location}
	}
	if ref := cut(a.Reference, maxInfoValue); ref != "" {
		d.Info = append(d.Info, infoDoc{infoReference, ref})
	}
	if a.Revision > 1 {
		d.Info = append(d.Info, infoDoc{infoRevision, strconv.Itoa(a.Revision)})
	}
	return d
}

// debtor is what is known of the payer, or nil if it is not enough: then an immediate
// charge does without.
func debtor(ask linking.Ask) *debtorDoc {
	d := &debtorDoc{Name: cut(ask.Customer.Name, maxDebtor)}
	id := strings.ToUpper(strings.NewReplacer(".", "", "-", "", "/", "", " ", "").Replace(ask.Customer.TaxID))
	switch {
	case len(id) == 11 && digits(id):
		d.CPF = id
	case len(id) == 14 && alphanumeric(id): // letters since 2026 (API Pix 2.9)
		d.CNPJ = id
	default:
		return nil
	}
	if d.Name == "" {
		return nil
	}
	if ask.Charge == linking.DueDate {
		d.Email, d.Address = cut(ask.Customer.Email, maxDebtor), cut(ask.Customer.Address, maxDebtor)
	}
	return d
}

// cut makes a text fit to be shown by an app: one line, at most n characters.
func cut(s string, n int) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " ")
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return -1
		}
		return r
	}, s)
	if utf8.RuneCountInString(s) > n {
		s = string([]rune(s)[:n])
	}
	return s
}

// locationID reads the bank's number of a location.
func locationID(l linking.BankLink) (int64, error) {
	n, err := strconv.ParseInt(l.ID, 10, 64)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != l.ID {
		return 0, errors.New("a location without the bank's number")
	}
	return n, nil
}
