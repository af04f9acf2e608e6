package simulator

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pixFilter is what the lists have in common.
type pixFilter struct {
	from, until time.Time
	page, size  int
	q           url.Values
}

var (
	pixCPF  = regexp.MustCompile(`^\d{11}$`)
	pixCNPJ = regexp.MustCompile(`^[0-9A-Z]{14}$`)
)

// readFilter reads a query; kind names the refusal, more the parameters there are
// beside the common ones.
func readFilter(c *pixCall, kind, more string, needsSpan bool) (f pixFilter, err error) {
	f.q = c.r.URL.Query()
	bad := func(name string) error {
		return invalid(kind, name, "O parâmetro "+name+" não respeita o _schema_.")
	}
	known := append(strings.Fields(more), "inicio", "fim", "paginacao.paginaAtual", "paginacao.itensPorPagina")
	for name, values := range f.q {
		if !slices.Contains(known, name) || len(values) != 1 {
			return f, bad(name)
		}
	}
	for name, at := range map[string]*time.Time{"inicio": &f.from, "fim": &f.until} {
		if v := f.q.Get(name); v != "" || needsSpan {
			if *at, err = time.Parse(time.RFC3339, v); err != nil {
				return f, bad(name)
			}
		}
	}
	if f.until.IsZero() {
		f.until = time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	f.size = 100
	for name, n := range map[string]*int{"paginacao.paginaAtual": &f.page, "paginacao.itensPorPagina": &f.size} {
		if v := f.q.Get(name); v != "" {
			if *n, err = strconv.Atoi(v); err != nil || *n < 0 {
				return f, bad(name)
			}
		}
	}
	switch cpf, cnpj := f.q.Get("cpf"), f.q.Get("cnpj"); {
	case f.until.Before(f.from):
		return f, invalid(kind, "fim", "O parâmetro fim é anterior ao parâmetro inicio.")
	case f.size < 1 || f.size > 1000:
		return f, bad("paginacao.itensPorPagina")
	case cpf != "" && cnpj != "":
		return f, invalid(kind, "cpf", "Os parâmetros cpf e cnpj estão preenchidos.")
	case cpf != "" && !pixCPF.MatchString(cpf):
		return f, bad("cpf")
	case cnpj != "" && !pixCNPJ.MatchString(cnpj):
		return f, bad("cnpj")
	}
	for _, name := range []string{"locationPresente", "txIdPresente", "devolucaoPresente"} {
		if v := f.q.Get(name); v != "" && v != "true" && v != "false" {
			return f, bad(name)
		}
	}
	return f, nil
}

// spans reports whether a time lies within the list's, both ends included.
func (f *pixFilter) spans(t time.Time) bool { return !t.Before(f.from) && !t.After(f.until) }

// passes reports whether a filter of true or false lets a thing through.
func (f *pixFilter) passes(name string, is bool) bool {
	v := f.q.Get(name)
	return v == "" || (v == "true") == is
}

type pixPaging struct {
	Page  int `json:"paginaAtual"`
	Size  int `json:"itensPorPagina"`
	Pages int `json:"quantidadeDePaginas"`
	Items int `json:"quantidadeTotalDeItens"`
}

// paged cuts a page out of a list and puts it under its name.
func paged[T any](f *pixFilter, name string, all []T) (*pixAnswer, error) {
	from := min(f.page*f.size, len(all))
	page := append([]T{}, all[from:min(from+f.size, len(all))]...)
	parameters := map[string]any{"paginacao": pixPaging{f.page, f.size, max(1, (len(all)+f.size-1)/f.size), len(all)}}
	for k := range f.q {
		if !strings.HasPrefix(k, "paginacao.") {
			parameters[k] = typed(f.q.Get(k))
		}
	}
	return &pixAnswer{status: http.StatusOK, doc: map[string]any{"parametros": parameters, name: page}}, nil
}

// typed is a parameter as JSON has it.
func typed(v string) any {
	switch v {
	case "true", "false":
		return v == "true"
	}
	return v
}

func (pw *pixWire) listCharges(c *pixCall, kind string) (*pixAnswer, error) {
	fail := map[string]string{"cob": "CobConsultaInvalida", "cobv": "CobVConsultaInvalida"}[kind]
	f, err := readFilter(c, fail, "cpf cnpj locationPresente status", true)
	if err != nil {
		return nil, err
	}
	status := f.q.Get("status")
	if status != "" && !slices.Contains([]string{"ATIVA", "CONCLUIDA", "REMOVIDA_PELO_USUARIO_RECEBEDOR", "REMOVIDA_PELO_PSP"}, status) {
		return nil, invalid(fail, "status", "O parâmetro status não respeita o _schema_.")
	}
	list := []pixDoc{}
	for _, h := range c.book.order {
		if h.kind != kind || !f.spans(h.made) || !f.passes("locationPresente", h.loc != nil) ||
			f.q.Get("cpf") != "" && h.text("devedor", "cpf") != f.q.Get("cpf") || f.q.Get("cnpj") != "" && h.text("devedor", "cnpj") != f.q.Get("cnpj") {
			continue
		}
		doc, err := pw.show(c, h, true)
		if err != nil || status != "" && doc["status"] != status {
			continue
		}
		list = append(list, doc)
	}
	return paged(&f, "cobs", list)
}

func (pw *pixWire) listLocs(c *pixCall) (*pixAnswer, error) {
	f, err := readFilter(c, "PayloadLocationConsultaInvalida", "txIdPresente tipoCob", true)
	if err != nil {
		return nil, err
	}
	kind := f.q.Get("tipoCob")
	if kind != "" && kind != "cob" && kind != "cobv" {
		return nil, invalid("PayloadLocationConsultaInvalida", "tipoCob", "O parâmetro tipoCob não respeita o _schema_.")
	}
	list := []pixLocShown{}
	for _, l := range c.book.locs {
		if f.spans(l.made) && f.passes("txIdPresente", l.shows != nil) && (kind == "" || kind == l.kind) {
			list = append(list, l.show())
		}
	}
	return paged(&f, "loc", list)
}

// listPix lists payments by when they came.
func (pw *pixWire) listPix(c *pixCall) (*pixAnswer, error) {
	f, err := readFilter(c, "PixConsultaInvalida", "txid txIdPresente devolucaoPresente cpf cnpj", true)
	if err != nil {
		return nil, err
	}
	list := []pixPayment{}
	for _, h := range c.book.order {
		if txid := f.q.Get("txid"); txid != "" && txid != h.txid || !f.passes("txIdPresente", true) {
			continue
		}
		s, err := pw.s.ledger.get(c.acc, h.txid)
		if err != nil {
			continue
		}
		for _, p := range s.payments {
			if f.spans(p.at) && f.passes("devolucaoPresente", len(p.refunds) > 0) {
				list = append(list, pw.payment(h, p))
			}
		}
	}
	slices.SortStableFunc(list, func(a, b pixPayment) int { return strings.Compare(a.At, b.At) })
	return paged(&f, "pix", list)
}
