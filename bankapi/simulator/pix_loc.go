package simulator

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"placard/linking"
)

// pixLoc is a location: an address that stands in printed codes and shows one charge
// at a time. There is no way to delete one.
type pixLoc struct {
	id        int64
	acc, kind string
	url       string // without scheme
	made      time.Time
	shows     *pixCharge
}

type pixLocShown struct {
	ID       int64  `json:"id"`
	Txid     string `json:"txid,omitempty"`
	Location string `json:"location"`
	Kind     string `json:"tipoCob"`
	Made     string `json:"criacao"`
}

func (l *pixLoc) show() pixLocShown {
	out := pixLocShown{ID: l.id, Location: l.url, Kind: l.kind, Made: pixTime(l.made)}
	if l.shows != nil {
		out.Txid = l.shows.txid
	}
	return out
}

// newLoc makes a location at the address the call came to. It is called with mu held.
func (pw *pixWire) newLoc(c *pixCall, kind string) *pixLoc {
	pw.number++
	_, host, _ := strings.Cut(pw.s.publicURL(c.r), "://")
	l := &pixLoc{id: pw.number, acc: c.acc, kind: kind, made: pw.s.ledger.time()}
	token := jpmHexID()
	l.url = host + pixPlace
	if kind == "cobv" {
		l.url += "cobv/"
	}
	l.url += token
	pw.places[token] = l
	c.book.locs = append(c.book.locs, l)
	return l
}

// loc returns a location of the account, or nil.
func (b *pixBooks) loc(id string) *pixLoc {
	for _, l := range b.locs {
		if strconv.FormatInt(l.id, 10) == id {
			return l
		}
	}
	return nil
}

// wanted returns the location that a body asks for, nil if it asks for none, and why
// the charge cannot have it.
func (pw *pixWire) wanted(c *pixCall, h *pixCharge, in pixWanted) (*pixLoc, error) {
	if in.loc == nil {
		return nil, nil
	}
	fail := func(reason string) error {
		return invalid(map[string]string{"cob": "CobOperacaoInvalida", "cobv": "CobVOperacaoInvalida"}[h.kind], h.kind+".loc.id", reason)
	}
	l := c.book.loc(strconv.FormatInt(*in.loc, 10))
	switch {
	case l == nil:
		return nil, fail("O location referenciado por loc.id inexiste.")
	case l.kind != h.kind:
		return nil, fail("O location referenciado por loc.id apresenta outro tipo.")
	case l.shows == nil || l.shows == h:
		return l, nil
	case pw.o.LooseLocations:
		if s, err := pw.s.ledger.get(c.acc, l.shows.txid); err != nil || l.shows.status(s) != "ATIVA" {
			l.shows.loc = nil
			return l, nil
		}
	}
	return nil, fail("O location referenciado por loc.id já está sendo utilizado por outra cobrança.")
}

func (pw *pixWire) postLoc(c *pixCall) (*pixAnswer, error) {
	var in struct {
		Kind string `json:"tipoCob"`
	}
	if err := readJSON(c.body, &in); err != nil || in.Kind != "cob" && in.Kind != "cobv" {
		return nil, invalid("PayloadLocationOperacaoInvalida", "tipoCob", "O campo tipoCob não respeita o _schema_.")
	}
	if len(c.book.locs) >= MaxRequests {
		return nil, refuse("full", "There are too many locations.")
	}
	l := pw.newLoc(c, in.Kind)
	return &pixAnswer{http.StatusCreated, l.url, l.show()}, nil
}

func (pw *pixWire) getLoc(c *pixCall) (*pixAnswer, error) {
	l := c.book.loc(c.r.PathValue("id"))
	if l == nil {
		return nil, pixFail("PayloadLocationNaoEncontrado")
	}
	return &pixAnswer{status: http.StatusOK, doc: l.show()}, nil
}

// unlink empties a location. The charge stays as it is, and who has fetched it can
// still pay it. A location that shows nothing stays so.
func (pw *pixWire) unlink(c *pixCall) (*pixAnswer, error) {
	l := c.book.loc(c.r.PathValue("id"))
	if l == nil {
		return nil, pixFail("PayloadLocationNaoEncontrado")
	}
	if l.shows != nil {
		l.shows.loc, l.shows = nil, nil
	}
	return &pixAnswer{status: http.StatusOK, doc: l.show()}, nil
}

// fetched is what a payer's bank gets at a location: the charge, signed, or that there
// is none. It is open to anybody who knows the address, and asks for nothing else:
// readers in circulation accept all sorts of types.
func (pw *pixWire) fetched(kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", pw.s.ledger.time().Format(http.TimeFormat))
		pw.mu.Lock()
		l := pw.places[r.PathValue("token")]
		about := ""
		if l != nil && l.shows != nil {
			about = l.shows.txid
		}
		pw.mu.Unlock()
		pw.s.serve(w, r, "location", about, func(w http.ResponseWriter, r *http.Request) {
			payload, err := pw.payload(r, l, kind)
			var text string
			if err == nil {
				text, err = pw.signer.sign(pw.s.publicURL(r)+"/qr/jwks", payload)
			}
			if err != nil {
				pw.refused(w, err)
				return
			}
			w.Header().Set("Content-Type", "application/jose")
			w.Header().Set("Cache-Control", "no-store")
			w.Write([]byte(text))
		}, func(w http.ResponseWriter, status int, _ string) {
			e := pixFail("CobPayloadNaoEncontrado")
			e.Status = status
			pw.refused(w, e)
		})
	}
}

// payload is the charge that a location shows, as the payer's bank gets to see it.
func (pw *pixWire) payload(r *http.Request, l *pixLoc, kind string) ([]byte, error) {
	pw.mu.Lock()
	defer pw.mu.Unlock()
	if l == nil || l.kind != kind || l.shows == nil {
		return nil, pixFail("CobPayloadNaoEncontrado")
	}
	h, now := l.shows, pw.s.ledger.time()
	s, err := pw.s.ledger.get(h.acc, h.txid)
	if err != nil {
		return nil, pixFail("CobPayloadNaoEncontrado")
	}
	if (h.status(s) != "ATIVA" || !now.Before(s.expiresAt)) && pw.o.Ended != "payload" {
		e := pixFail("CobPayloadNaoEncontrado")
		if pw.o.Ended == "410" {
			e.Status = http.StatusGone
		}
		return nil, e
	}
	day := pixDay(now)
	if kind == "cobv" { // readers send DPP to a cob's location too, where it means nothing
		if v := r.URL.Query().Get("DPP"); v != "" {
			if day, err = time.Parse(time.DateOnly, v); err != nil || day.Before(pixDay(now)) {
				return nil, invalid("CobPayloadOperacaoInvalida", "DPP", "O parâmetro DPP não respeita o _schema_.")
			}
		}
	}
	who, _ := pw.client(h.acc)
	out, err := pw.show(&pixCall{who: who}, h, false)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"loc", "location", "pixCopiaECola"} {
		delete(out, name)
	}
	calendar, _ := out["calendario"].(map[string]any)
	calendar["apresentacao"] = pixTime(now)
	if kind == "cobv" {
		out["valor"] = pixFinal(h.doc(), day).show()
		if debtor, ok := out["devedor"].(map[string]any); ok {
			public := map[string]any{}
			for _, name := range []string{"cpf", "cnpj", "nome"} { // and nobody's address
				if debtor[name] != nil {
					public[name] = debtor[name]
				}
			}
			out["devedor"] = public
		}
	}
	return json.Marshal(out)
}

// scanned returns the id of the request that a BR Code leads to at this moment, by
// what its location shows.
func (pw *pixWire) scanned(location string) (string, error) {
	pw.mu.Lock()
	defer pw.mu.Unlock()
	l := pw.places[location[strings.LastIndexByte(location, '/')+1:]]
	if l == nil || !strings.HasSuffix(l.url, location[strings.IndexByte(location, '/'):]) || l.shows == nil {
		return "", refuse("not_found", "The code's location shows nothing.")
	}
	s, err := pw.s.ledger.get(l.acc, l.shows.txid)
	if err != nil || s.status != linking.BankOpen || !pw.s.ledger.time().Before(s.expiresAt) {
		return "", refuse("not_found", "The code's location shows nothing that can be paid.")
	}
	return s.bankID, nil
}
