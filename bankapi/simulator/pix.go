package simulator

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"placard/linking"
)

// Pix says what the simulated bank does where API Pix leaves it to the bank. The zero
// value does what seems likeliest; a client has to be right with each.
type Pix struct {
	LooseLocations bool   // a charge that has ended no longer occupies its location; else it does until it is unlinked
	Ended          string // what a location answers of a charge that has ended: "" or "404", "410", or "payload", which tells its status
	BareCallbacks  bool   // callbacks are an array without the object around it, as one bank sends them
	PlainCallbacks bool   // callbacks go to the very address that was registered, without /pix
	LooseTokens    bool   // a token is good over any connection; else over one with the certificate it was got with (RFC 8705)
	RefusesReplay  bool   // the same refund again is refused, as the list of violations says; else it gets the first answer
	TokenLife      time.Duration
}

// PixAccount is how one merchant's client shows who it is. With neither client id nor
// certificate, the client id is the account's and the secret is Options.Secret.
type PixAccount struct {
	ClientID     string   `json:"client_id"`
	ClientSecret string   `json:"client_secret"` // empty: the certificate is the proof
	Certificate  string   `json:"certificate"`   // SHA-256 of the client's certificate in hex; set: mutual TLS is asked for
	Scopes       []string `json:"scopes"`        // those there are to be granted; nil: all
	Keys         []string `json:"keys"`          // of the DICT that are the merchant's; nil: any
	CNPJ         string   `json:"cnpj"`
	City         string   `json:"city"`

	// CallbackHeader comes with callbacks, as a proxy adds it that has seen the bank's
	// certificate.
	CallbackHeader map[string]string `json:"callback_header"`
}

// PixScopes are those of API Pix that this bank knows.
var PixScopes = strings.Fields("cob.write cob.read cobv.write cobv.read pix.write pix.read webhook.read webhook.write payloadlocation.write payloadlocation.read")

// pixPath is where an account's wire begins, after the bank's address; its tokens are
// at pixTokens, its locations at pixPlace.
const (
	pixPath   = "/pix/{account}/v2"
	pixTokens = "/pix/{account}/oauth/token"
	pixPlace  = "/qr/v2/"
)

// pixWire speaks API Pix 2.9.0 of the Banco Central do Brasil, as far as merchants'
// charges go, and serves what payers' banks fetch at locations. It reads and writes
// with types of its own.
type pixWire struct {
	s      *Simulator
	o      Pix
	secret string // of accounts without credentials of their own
	signer pixSigner

	mu     sync.Mutex // held over the ledger's, never the other way round
	books  map[string]*pixBooks
	tokens map[string]pixToken
	places map[string]*pixLoc // by the token in their address
	number int64              // of the newest location

	// news is what tell needs. It is called with the ledger locked, in which mu may not
	// be taken.
	news struct {
		sync.Mutex
		accounts map[string]PixAccount
		webhooks map[string]pixWebhook // by account and key
		keys     map[string]string     // the key of a charge, by txid
		told     map[string]int        // of a payment: 1, and how many of its refunds were final
	}
}

// pixBooks are what the bank keeps of one account beside the ledger.
type pixBooks struct {
	charges map[string]*pixCharge
	order   []*pixCharge
	locs    []*pixLoc
	refunds map[string]pixRefund // by payment and id
}

type pixToken struct {
	account     string
	scopes      []string
	certificate string // "": it was got without
	until       time.Time
}

func newPixWire(s *Simulator, o Pix, secret string) *pixWire {
	o.TokenLife = cmp.Or(o.TokenLife, time.Hour)
	pw := &pixWire{s: s, o: o, secret: secret, number: 7715, books: map[string]*pixBooks{}, tokens: map[string]pixToken{}, places: map[string]*pixLoc{}}
	pw.news.accounts, pw.news.webhooks = map[string]PixAccount{}, map[string]pixWebhook{}
	pw.news.keys, pw.news.told = map[string]string{}, map[string]int{}
	return pw
}

func (pw *pixWire) openAccount(id string, a PixAccount) {
	pw.news.Lock()
	defer pw.news.Unlock()
	pw.news.accounts[id] = a
}

// client returns who an account's client is.
func (pw *pixWire) client(acc string) (PixAccount, bool) {
	pw.news.Lock()
	defer pw.news.Unlock()
	a, ok := pw.news.accounts[acc]
	if a.ClientID == "" && a.Certificate == "" {
		a.ClientID, a.ClientSecret = acc, pw.secret
		ok = pw.secret != ""
	}
	a.CNPJ, a.City = cmp.Or(a.CNPJ, "70204587000136"), cmp.Or(a.City, "BRASILIA")
	return a, ok
}

// book returns the books of an account. It is called with mu held.
func (pw *pixWire) book(acc string) *pixBooks {
	b, ok := pw.books[acc]
	if !ok {
		b = &pixBooks{charges: map[string]*pixCharge{}, refunds: map[string]pixRefund{}}
		pw.books[acc] = b
	}
	return b
}

func (pw *pixWire) mount(mux *http.ServeMux) {
	handle := func(pattern, route, scope string, h pixHandler) {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" "+pixPath+path, pw.call(func(*pixCall) string { return route }, scope, h))
	}
	for _, kind := range []string{"cob", "cobv"} {
		of := func(h func(*pixCall, string) (*pixAnswer, error)) pixHandler {
			return func(c *pixCall) (*pixAnswer, error) { return h(c, kind) }
		}
		mux.HandleFunc("PUT "+pixPath+"/"+kind+"/{txid}", pw.call(pw.putRoute, kind+".write", of(pw.putCharge)))
		mux.HandleFunc("PATCH "+pixPath+"/"+kind+"/{txid}", pw.call(patchRoute, kind+".write", of(pw.patchCharge)))
		handle("GET /"+kind+"/{txid}", "get", kind+".read", of(pw.getCharge))
		handle("GET /"+kind, "list", kind+".read", of(pw.listCharges))
	}
	handle("POST /cob", "create", "cob.write", pw.postCharge)
	handle("POST /loc", "link", "payloadlocation.write", pw.postLoc)
	handle("GET /loc", "list", "payloadlocation.read", pw.listLocs)
	handle("GET /loc/{id}", "get", "payloadlocation.read", pw.getLoc)
	handle("DELETE /loc/{id}/txid", "unlink", "payloadlocation.write", pw.unlink)
	handle("GET /pix", "list", "pix.read", pw.listPix)
	handle("GET /pix/{e2eid}", "get", "pix.read", pw.getPix)
	handle("PUT /pix/{e2eid}/devolucao/{id}", "refund", "pix.write", pw.putRefund)
	handle("GET /pix/{e2eid}/devolucao/{id}", "get", "pix.read", pw.getRefund)
	handle("PUT /webhook/{chave}", "webhook", "webhook.write", pw.putWebhook)
	handle("GET /webhook/{chave}", "webhook", "webhook.read", pw.getWebhook)
	handle("DELETE /webhook/{chave}", "webhook", "webhook.write", pw.deleteWebhook)
	handle("GET /webhook", "webhook", "webhook.read", pw.listWebhooks)
	mux.HandleFunc(pixPath+"/", func(w http.ResponseWriter, _ *http.Request) {
		pw.refused(w, pixFail("NaoEncontrado"))
	})
	mux.HandleFunc("POST "+pixTokens, pw.token)
	mux.HandleFunc("GET "+pixPlace+"{token}", pw.fetched("cob"))
	mux.HandleFunc("GET "+pixPlace+"cobv/{token}", pw.fetched("cobv"))
	mux.HandleFunc("GET /qr/jwks", pw.jwks)
}

// pixCall is one call of the wire.
type pixCall struct {
	r    *http.Request
	acc  string
	who  PixAccount
	body []byte
	book *pixBooks // set once the call is authentic
}

// pixAnswer is what a call is answered with; doc nil: nothing.
type pixAnswer struct {
	status   int
	location string
	doc      any
}

// pixHandler answers one authentic call, with mu held.
type pixHandler func(c *pixCall) (*pixAnswer, error)

// call reads a call, and authenticates it before anything is done.
func (pw *pixWire) call(route func(*pixCall) string, scope string, h pixHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", pw.s.ledger.time().Format(http.TimeFormat))
		body, err := readBody(w, r, 1<<20)
		c := &pixCall{r: r, acc: r.PathValue("account"), body: body}
		if err != nil {
			pw.refused(w, pixFail("RequisicaoInvalida"))
			return
		}
		pw.s.serve(w, r, route(c), pw.about(c), func(w http.ResponseWriter, r *http.Request) {
			c.r = r
			a, err := pw.answer(c, scope, h)
			switch {
			case err != nil:
				pw.refused(w, err)
				return
			case a.location != "":
				w.Header().Set("Location", a.location)
			}
			if a.doc == nil {
				w.WriteHeader(a.status)
				return
			}
			writeJSON(w, a.status, a.doc)
		}, func(w http.ResponseWriter, status int, _ string) {
			e := pixFail(cmp.Or(pixKinds[status], "RequisicaoInvalida"))
			e.Status = status
			pw.refused(w, e)
		})
	}
}

func (pw *pixWire) answer(c *pixCall, scope string, h pixHandler) (*pixAnswer, error) {
	if err := pw.authentic(c, scope); err != nil {
		return nil, err
	}
	pw.mu.Lock()
	defer pw.mu.Unlock()
	c.book = pw.book(c.acc)
	return h(c)
}

// putRoute tells making from revising by whether the bank knows the charge.
func (pw *pixWire) putRoute(c *pixCall) string {
	pw.mu.Lock()
	defer pw.mu.Unlock()
	if pw.book(c.acc).charges[c.r.PathValue("txid")] == nil {
		return "create"
	}
	return "revise"
}

// patchRoute tells ending and unlinking from revising.
func patchRoute(c *pixCall) string {
	var in map[string]json.RawMessage
	json.Unmarshal(c.body, &in)
	if _, ends := in["status"]; ends {
		return "close"
	}
	if len(in) == 1 && string(in["loc"]) == "null" {
		return "unlink"
	}
	return "revise"
}

// about names the request a call is about, for the journal.
func (pw *pixWire) about(c *pixCall) string {
	if txid := c.r.PathValue("txid"); txid != "" {
		return txid
	}
	if e2eid := c.r.PathValue("e2eid"); e2eid != "" {
		return pw.s.ledger.paidFor(e2eid)
	}
	pw.mu.Lock()
	defer pw.mu.Unlock()
	if l := pw.book(c.acc).loc(c.r.PathValue("id")); l != nil && l.shows != nil {
		return l.shows.txid
	}
	return ""
}

// pixError is a refusal as API Pix has it (RFC 7807).
type pixError struct {
	Type       string         `json:"type"`
	Title      string         `json:"title"`
	Status     int            `json:"status"`
	Detail     string         `json:"detail,omitempty"`
	ID         string         `json:"correlationId"`
	Violations []pixViolation `json:"violacoes,omitempty"`
}

type pixViolation struct {
	Reason   string `json:"razao"`
	Property string `json:"propriedade"`
	Value    string `json:"valor,omitempty"`
}

func (e *pixError) Error() string { return fmt.Sprintf("%d %s %v", e.Status, e.Type, e.Violations) }

// pixProblems are the kinds of refusal, with status and title.
var pixProblems = map[string]struct {
	status int
	title  string
}{
	"RequisicaoInvalida": {400, "Requisição inválida."}, "AcessoNegado": {403, "Acesso negado."}, "NaoEncontrado": {404, "Não encontrado."},
	"PermanentementeRemovido": {410, "Permanentemente removido."}, "ErroInternoDoServidor": {500, "Erro interno do servidor."},
	"ServicoIndisponivel": {503, "Serviço indisponível."}, "IndisponibilidadePorTempoEsgotado": {504, "Tempo esgotado."},
	"CobOperacaoInvalida": {400, "Cobrança inválida."}, "CobVOperacaoInvalida": {400, "Cobrança com vencimento inválida."},
	"CobConsultaInvalida": {400, "Consulta inválida."}, "CobVConsultaInvalida": {400, "Consulta inválida."},
	"CobNaoEncontrado": {404, "Cobrança não encontrada."}, "CobVNaoEncontrada": {404, "Cobrança com vencimento não encontrada."},
	"CobPayloadNaoEncontrado": {404, "Cobrança não encontrada."}, "CobPayloadOperacaoInvalida": {400, "Consulta inválida."},
	"PayloadLocationOperacaoInvalida": {400, "Location inválida."}, "PayloadLocationConsultaInvalida": {400, "Consulta inválida."},
	"PayloadLocationNaoEncontrado": {404, "Location não encontrada."},
	"PixConsultaInvalida":          {400, "Consulta inválida."}, "PixNaoEncontrado": {404, "Pix não encontrado."},
	"PixDevolucaoInvalida": {400, "Devolução inválida."}, "PixDevolucaoNaoEncontrada": {404, "Devolução não encontrada."},
	"WebhookOperacaoInvalida": {400, "Webhook inválido."}, "WebhookConsultaInvalida": {400, "Consulta inválida."},
	"WebhookNaoEncontrado": {404, "Webhook não encontrado."},
}

// pixKinds name a status that came about without any of them.
var pixKinds = map[int]string{401: "AcessoNegado", 403: "AcessoNegado", 404: "NaoEncontrado", 410: "PermanentementeRemovido",
	500: "ErroInternoDoServidor", 503: "ServicoIndisponivel", 504: "IndisponibilidadePorTempoEsgotado"}

func pixFail(kind string, violations ...pixViolation) *pixError {
	p := pixProblems[kind]
	return &pixError{Type: "https://pix.bcb.gov.br/api/v2/error/" + kind, Title: p.title, Status: p.status, Violations: violations}
}

// invalid is a refusal for one reason.
func invalid(kind, property, reason string) *pixError {
	return pixFail(kind, pixViolation{Reason: reason, Property: property})
}

// refused answers a refusal; what is not one of the wire's own is the ledger's.
func (pw *pixWire) refused(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*pixError](err)
	if !ok {
		e = pixFail("ErroInternoDoServidor")
		switch codeOf(err) {
		case "full":
			e = pixFail("ServicoIndisponivel")
		case "not_found": // ended so long ago that the bank has forgotten it
			e = pixFail("NaoEncontrado")
		}
	}
	out := *e
	out.ID = named("")
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(out.Status)
	json.NewEncoder(w).Encode(out)
}

// pixTime writes a time as the bank does.
func pixTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// brl reads an amount of the wire that was held to its pattern.
func brl(s string) linking.Amount {
	a, _ := linking.Currency("BRL").ParseDecimal(s)
	return a
}

func reais(a linking.Amount) string { return linking.Currency("BRL").Decimal(a) }
