package pix_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"placard/bankapi/pix"
	"placard/bankapi/simulator"
	"placard/linking"
)

// counter is a shop with a connection, and a payer's bank.
type counter struct {
	t    *testing.T
	sim  *simulator.Simulator
	bank *pix.Bank
	saw  *witness
}

func newCounter(t *testing.T, o simulator.Pix) *counter {
	t.Helper()
	c := &counter{t: t, sim: newSimulator(t, simulator.Options{Pix: o})}
	c.saw = newWitness(t, c.sim)
	server := httptest.NewServer(c.saw)
	t.Cleanup(server.Close)
	c.bank = open(t, setup(server.URL, nil), nil, 8*time.Second)
	return c
}

var serial atomic.Int64

// ask is a quarter of an hour for 12.50; link nil: at a location of its own.
func ask(link *linking.BankLink) linking.Ask {
	id := "01J8QZ4F8Y" + strings.Repeat("0", 10) + strconv.FormatInt(100_000+serial.Add(1), 10)
	a := linking.Ask{BankRef: linking.BankRef{ID: linking.RequestID(id), Charge: linking.Immediate}, Revision: 1,
		Money: linking.Money{Amount: 1250, Currency: "BRL"}, ExpiresAt: time.Now().Add(15 * time.Minute), TimeLeft: 15 * time.Minute, Reference: "Mesa 4", Link: link}
	if link != nil {
		a.Charge = link.Charge
	}
	if a.Charge == linking.DueDate {
		a.ExpiresAt, a.TimeLeft = time.Now().Add(72*time.Hour), 72*time.Hour
		a.Customer = linking.Customer{Name: "Francisco da Silva", TaxID: "123.456.789-09"}
	}
	return a
}

func (c *counter) link(kind linking.Charge) linking.BankLink {
	c.t.Helper()
	l, err := c.bank.MakeLink(c.t.Context(), kind)
	if err != nil {
		c.t.Fatal(err)
	}
	return l
}

func (c *counter) put(a linking.Ask) linking.BankState {
	c.t.Helper()
	s, err := c.bank.Put(c.t.Context(), a)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *counter) close(a linking.Ask) {
	c.t.Helper()
	if s, err := c.bank.Close(c.t.Context(), a.BankRef); err != nil || s.Status != linking.BankClosed {
		c.t.Fatalf("%+v, %v", s, err)
	}
}

func (c *counter) shows(l linking.BankLink, want linking.RequestID) {
	c.t.Helper()
	if got, err := c.bank.LinkShows(c.t.Context(), l); err != nil || got != want {
		c.t.Fatalf("the location shows %q, %v; want %q", got, err, want)
	}
}

// refusal asserts class and code of an error.
func refusal(t *testing.T, err error, class linking.BankErrorClass, code string) {
	t.Helper()
	be, ok := errors.AsType[*linking.BankError](err)
	if !ok || be.Class != class || be.Code != code {
		t.Fatalf("%v; want %s %s", err, class, code)
	}
}

// scan does what a payer's bank does with a BR Code: it fetches the location, and
// verifies the signature by the key the bank publishes.
func (c *counter) scan(payload, query string) (status int, doc map[string]any) {
	c.t.Helper()
	code, err := pix.DecodeBRCode(payload)
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := http.Get("http://" + code.URL + query)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 {
		return resp.StatusCode, nil
	}
	if kind := resp.Header.Get("Content-Type"); kind != "application/jose" {
		c.t.Fatalf("the payload is %q", kind)
	}
	parts := strings.Split(string(text), ".")
	if len(parts) != 3 {
		c.t.Fatalf("not a JWS: %q", text)
	}
	var header struct{ Alg, Kid, Jku, X5t string }
	decode := func(s string, into any) {
		c.t.Helper()
		raw, err := base64.RawURLEncoding.DecodeString(s)
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
	decode(parts[0], &header)
	keys, err := http.Get(header.Jku)
	if err != nil {
		c.t.Fatal(err)
	}
	defer keys.Body.Close()
	var set struct {
		Keys []struct{ Kid, Alg, N, X5t string }
	}
	if err := json.NewDecoder(keys.Body).Decode(&set); err != nil || len(set.Keys) != 1 || set.Keys[0].Kid != header.Kid || set.Keys[0].Alg != header.Alg || set.Keys[0].X5t != header.X5t {
		c.t.Fatalf("keys %+v for %+v, %v", set, header, err)
	}
	n, _ := base64.RawURLEncoding.DecodeString(set.Keys[0].N)
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}, crypto.SHA256, sum[:], signature); err != nil {
		c.t.Fatalf("the signature: %v", err)
	}
	decode(parts[1], &doc)
	spec, err := specification()
	if err != nil {
		c.t.Fatal(err)
	}
	name := "CobPayload"
	if strings.Contains(code.URL, "/cobv/") {
		name = "CobVPayload"
	}
	if err := spec.Components.Schemas[name].Value.VisitJSON(doc); err != nil {
		c.t.Fatalf("the payload is not API Pix's %s: %v", name, err)
	}
	return 200, doc
}

func amountOf(doc map[string]any, name string) any { return doc["valor"].(map[string]any)[name] }

// A printed code shows one charge after another: close, unlink, next.
func TestACodeShowsOneChargeAfterAnother(t *testing.T) {
	c := newCounter(t, simulator.Pix{})
	l := c.link(linking.Immediate)
	code, err := pix.DecodeBRCode(l.Payload)
	if err != nil || code.Name != "Padaria Sao Joao" || code.City != "Belo Horizonte" || !code.Once || strings.Contains(code.URL, "/cobv/") {
		t.Fatalf("what is printed says %+v, %v", code, err)
	}
	c.shows(l, "")
	if status, _ := c.scan(l.Payload, ""); status != 404 {
		t.Fatalf("an empty location answers %d", status)
	}
	first := ask(&l)
	if s := c.put(first); s.Way.Kind != linking.EMV || s.Way.Payload != l.Payload {
		t.Fatalf("the way to pay is %+v, not what is printed", s.Way)
	}
	c.shows(l, first.ID)
	_, doc := c.scan(l.Payload, "?DPP=2030-01-01") // readers say when they would pay, here too
	if amountOf(doc, "original") != "12.50" || doc["txid"] != string(first.ID) || doc["status"] != "ATIVA" || doc["loc"] != nil {
		t.Fatalf("the payer's bank is told %v", doc)
	}
	second := first
	second.Revision, second.Money.Amount = 2, 1300
	c.put(second)
	if _, doc := c.scan(l.Payload, ""); amountOf(doc, "original") != "13.00" || doc["revisao"] != 1.0 {
		t.Fatalf("the payer's bank is told %v", doc)
	}
	// Until it is unlinked, nothing else has the place, whatever became of it.
	next := ask(&l)
	_, err = c.bank.Put(t.Context(), next)
	refusal(t, err, linking.BankBusy, "location_busy")
	c.close(first)
	if status, _ := c.scan(l.Payload, ""); status != 404 {
		t.Fatalf("a closed charge's location answers %d", status)
	}
	c.shows(l, first.ID)
	_, err = c.bank.Put(t.Context(), next)
	refusal(t, err, linking.BankBusy, "location_busy")
	for range 2 {
		if err := c.bank.Unlink(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		c.shows(l, "")
	}
	c.put(next)
	c.shows(l, next.ID)
}

// Where somebody else takes a charge from the code's location, asking for it once more
// puts it back, and changes nothing else.
func TestAChargeThatWasTakenAwayIsPutBack(t *testing.T) {
	c := newCounter(t, simulator.Pix{})
	l := c.link(linking.Immediate)
	a := ask(&l)
	c.put(a)
	if err := c.bank.Unlink(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	_, err := c.bank.Get(t.Context(), a.BankRef)
	refusal(t, err, linking.BankUnknown, "no_way")
	if s := c.put(a); s.Way.Payload != l.Payload || s.Money != a.Money {
		t.Fatalf("%+v", s)
	}
	c.shows(l, a.ID)
	if _, doc := c.scan(l.Payload, ""); doc["revisao"] != 0.0 {
		t.Fatalf("it became another revision: %v", doc)
	}
}

// At the bank, unlinking is not cancelling: who has fetched the charge can pay it.
func TestUnlinkingCancelsNothing(t *testing.T) {
	c := newCounter(t, simulator.Pix{})
	l := c.link(linking.Immediate)
	a := ask(&l)
	c.put(a)
	if err := c.bank.Unlink(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if status, _ := c.scan(l.Payload, ""); status != 404 {
		t.Fatalf("the location answers %d", status)
	}
	if _, err := c.sim.Pay(simulator.Pay{RequestID: string(a.ID)}); err != nil {
		t.Fatalf("the bank no longer takes money for it: %v", err)
	}
	if s, err := c.bank.Get(t.Context(), a.BankRef); err != nil || s.Status != linking.BankPaid {
		t.Fatalf("%+v, %v", s, err)
	}
}

func TestALocationIsOfOneKindAndKnown(t *testing.T) {
	c := newCounter(t, simulator.Pix{})
	l := c.link(linking.DueDate)
	if !strings.Contains(l.Payload, "/cobv/") {
		t.Fatalf("a due date's location is %s", l.Payload)
	}
	a := ask(&linking.BankLink{ID: l.ID, Charge: linking.Immediate})
	_, err := c.bank.Put(t.Context(), a)
	refusal(t, err, linking.BankRefused, "CobOperacaoInvalida")
	gone := linking.BankLink{ID: "1", Charge: linking.Immediate}
	_, err = c.bank.Put(t.Context(), ask(&gone))
	refusal(t, err, linking.BankRefused, "no_location")
	_, err = c.bank.LinkShows(t.Context(), gone)
	refusal(t, err, linking.BankAbsent, "PayloadLocationNaoEncontrado")
	refusal(t, c.bank.Unlink(t.Context(), gone), linking.BankAbsent, "PayloadLocationNaoEncontrado")
	for _, id := range []string{"", "-1", "0", "01", "x", "1/../2"} {
		_, err := c.bank.LinkShows(t.Context(), linking.BankLink{ID: id, Charge: linking.Immediate})
		refusal(t, err, linking.BankRefused, "unsendable")
	}
	_, err = c.bank.MakeLink(t.Context(), "monthly")
	refusal(t, err, linking.BankRefused, "unsendable")
}

// A location whose answer was lost is left behind, and the next try makes another.
func TestALostLocationDoesNoHarm(t *testing.T) {
	c := newCounter(t, simulator.Pix{})
	c.sim.Fault(simulator.Fault{Route: "link", Kind: simulator.DropAfterCommit, Count: 1})
	_, err := c.bank.MakeLink(t.Context(), linking.Immediate)
	if be, _ := errors.AsType[*linking.BankError](err); be == nil || be.Class != linking.BankUnknown {
		t.Fatal(err)
	}
	if l := c.link(linking.Immediate); l.ID != "7717" {
		t.Fatalf("the second location is %s", l.ID)
	}
}

func TestADueDateNamesItsDebtorAndCostsByTheDay(t *testing.T) {
	c := newCounter(t, simulator.Pix{})
	l := c.link(linking.DueDate)
	a := ask(&l)
	nobody := a
	nobody.Customer = linking.Customer{Name: "Francisco"}
	_, err := c.bank.Put(t.Context(), nobody)
	refusal(t, err, linking.BankRefused, "unsendable")
	s := c.put(a)
	if s.Status != linking.BankOpen || s.Money != a.Money || s.Way.Payload != l.Payload {
		t.Fatalf("%+v", s)
	}
	_, doc := c.scan(l.Payload, "")
	debtor := doc["devedor"].(map[string]any)
	if amountOf(doc, "final") != "12.50" || debtor["cpf"] != "12345678909" || debtor["logradouro"] != nil || doc["recebedor"].(map[string]any)["nome"] == nil {
		t.Fatalf("the payer's bank is told %v", doc)
	}
	if status, _ := c.scan(l.Payload, "?DPP=yesterday"); status != 400 {
		t.Fatalf("a day of payment that is none: %d", status)
	}
	longer := a
	longer.Revision, longer.Money.Amount = 2, 2000
	longer.ExpiresAt, longer.TimeLeft = a.ExpiresAt.Add(48*time.Hour), a.TimeLeft+48*time.Hour
	if s := c.put(longer); s.Money.Amount != 2000 {
		t.Fatalf("%+v", s)
	}
	if _, err := c.sim.Pay(simulator.Pay{BRCode: l.Payload}); err != nil {
		t.Fatal(err)
	}
	if s, err := c.bank.Get(t.Context(), a.BankRef); err != nil || s.Status != linking.BankPaid || s.Payments[0].Money.Amount != 2000 {
		t.Fatalf("%+v, %v", s, err)
	}
}

// What a due date costs, by hand: 100.00 due on a Friday, 5.00 off whatever happens,
// 10.00 off until the Wednesday before, 2 % fine and 1 % interest a day after.
func TestADueDateIsPricedByTheDayItIsPaid(t *testing.T) {
	r := newRaw(t, simulator.Pix{})
	friday := time.Now().UTC().AddDate(0, 0, 7)
	for friday.Weekday() != time.Friday {
		friday = friday.AddDate(0, 0, 1)
	}
	at := func(days int) string { return friday.AddDate(0, 0, days).Format(time.DateOnly) }
	doc := r.good(201, "PUT", "/cobv/"+txid1, cobv("100.00", at(0), `,"multa":{"modalidade":2,"valorPerc":"2.00"},"juros":{"modalidade":2,"valorPerc":"1.00"},`+
		`"abatimento":{"modalidade":1,"valorPerc":"5.00"},"desconto":{"modalidade":1,"descontoDataFixa":[{"data":"`+at(-2)+`","valorPerc":"10.00"}]}`))
	weekend := r.good(201, "PUT", "/cobv/"+txid2, cobv("100.00", at(1), `,"multa":{"modalidade":1,"valorPerc":"3.00"},"juros":{"modalidade":6,"valorPerc":"1.00"}`))
	c := &counter{t: t, sim: r.sim}
	for _, one := range []struct {
		doc  map[string]any
		day  int
		want string
	}{
		{doc, -2, "85.00"}, {doc, -1, "95.00"}, {doc, 0, "95.00"}, {doc, 1, "97.85"}, {doc, 10, "106.40"},
		// Saturday slides to Monday; by Wednesday two working days are over.
		{weekend, 1, "100.00"}, {weekend, 3, "100.00"}, {weekend, 5, "105.00"},
	} {
		code := one.doc["pixCopiaECola"].(string)
		if _, paid := c.scan(code, "?DPP="+at(one.day)); amountOf(paid, "final") != one.want {
			t.Errorf("on day %d of %v it costs %v, want %s", one.day, one.doc["txid"], amountOf(paid, "final"), one.want)
		}
	}
}

// What a location answers of a charge that is over is the bank's choice.
func TestALocationOfWhatIsOver(t *testing.T) {
	for choice, want := range map[string]int{"": 404, "404": 404, "410": 410, "payload": 200} {
		c := newCounter(t, simulator.Pix{Ended: choice})
		l := c.link(linking.Immediate)
		c.put(ask(&l))
		c.sim.Advance(20 * time.Minute)
		if status, _ := c.scan(l.Payload, ""); status != want {
			t.Errorf("with %q an expired charge's location answers %d", choice, status)
		}
	}
}

func TestALooseBankFreesTheLocationOfWhatIsOver(t *testing.T) {
	c := newCounter(t, simulator.Pix{LooseLocations: true})
	l := c.link(linking.Immediate)
	first, next := ask(&l), ask(&l)
	c.put(first)
	_, err := c.bank.Put(t.Context(), next)
	refusal(t, err, linking.BankBusy, "location_busy")
	c.close(first)
	c.put(next)
	c.shows(l, next.ID)
}

// An answer can be well formed, about the right charge, and still be somebody else's
// money or another bargain.
func TestWhatWasNotAskedForIsNotBelieved(t *testing.T) {
	const other = "01J8ZZZZZZZZZZZZZZZZZZZZZZ"
	for code, alter := range map[string]func(doc map[string]any){
		"wrong_key":      set("chave", neighbourKey),
		"alterable":      in("valor", set("modalidadeAlteracao", 1)),
		"wrong_location": in("loc", set("txid", other)),
		"bad_revision":   set("revisao", -1),
		"wrong_id":       inPix(set("txid", other)),
		"bad_payment":    inPix(set("endToEndId", "../../etc")),
		"bad_refund":     inPix(set("devolucoes", "tudo")),
		"bad_time":       in("calendario", set("expiracao", 0)),
	} {
		t.Run(code, func(t *testing.T) {
			sim := newSimulator(t, simulator.Options{})
			lying := false
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !lying {
					sim.ServeHTTP(w, r)
					return
				}
				rec := httptest.NewRecorder()
				sim.ServeHTTP(rec, r)
				var doc map[string]any
				if err := json.Unmarshal(rec.Body.Bytes(), &doc); err != nil {
					t.Error(err)
				}
				alter(doc)
				json.NewEncoder(w).Encode(doc)
			}))
			defer server.Close()
			bank := open(t, setup(server.URL, nil), nil, 8*time.Second)
			a := ask(nil)
			if _, err := bank.Put(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			if strings.Contains("wrong_id bad_payment bad_refund", code) {
				sim.Pay(simulator.Pay{RequestID: string(a.ID)})
			}
			lying = true
			_, err := bank.Get(t.Context(), a.BankRef)
			refusal(t, err, linking.BankUnknown, code)
		})
	}
}

// A charge never stays payable at the bank for longer than our pages say: one whose end
// lies elsewhere, because the bank took its time or somebody moved it, is put right.
func TestAnEndThatIsNotOursIsPutRight(t *testing.T) {
	r := newRaw(t, simulator.Pix{})
	bank := open(t, setup(r.url, nil), nil, 8*time.Second)
	a := ask(nil)
	if _, err := bank.Put(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	for _, seconds := range []string{"3600", "60"} {
		r.good(200, "PATCH", "/cob/"+string(a.ID), `{"calendario":{"expiracao":`+seconds+`}}`)
		s, err := bank.Put(t.Context(), a)
		if err != nil || s.ExpiresAt.After(a.ExpiresAt) || a.ExpiresAt.Sub(s.ExpiresAt) > 5*time.Second {
			t.Fatalf("after %s seconds it ends at %v, %v; asked for %v", seconds, s.ExpiresAt, err, a.ExpiresAt)
		}
	}
}

// A bank that says yes to an unlink, and shows the charge all the same, has not done it.
func TestAnUnlinkThatWasNotDoneIsNotBelieved(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/token") {
			io.WriteString(w, `{"access_token":"t"}`)
			return
		}
		io.WriteString(w, `{"id":7,"location":"pix.example.com/qr/1","tipoCob":"cob","criacao":"2026-11-21T06:00:00Z","txid":"`+txid1+`"}`)
	}))
	defer server.Close()
	bank := open(t, setup(server.URL, nil), nil, 8*time.Second)
	l := linking.BankLink{ID: "7", Charge: linking.Immediate}
	refusal(t, bank.Unlink(t.Context(), l), linking.BankUnknown, "still_linked")
	_, err := bank.LinkShows(t.Context(), l) // and that charge is none of ours
	refusal(t, err, linking.BankUnknown, "foreign_charge")
}

// Two calls for one charge, of which the second says something else, are a slip of
// the caller's that must not change what a payer sees.
func TestASecondFirstRevisionIsLookedAtBeforeItIsSent(t *testing.T) {
	c := newCounter(t, simulator.Pix{})
	a := ask(nil)
	c.put(a)
	b := a
	b.Money.Amount = 9999
	_, err := c.bank.Put(t.Context(), b)
	refusal(t, err, linking.BankRefused, "changed_at_bank")
	if n := len(c.saw.seen); c.saw.seen["PUT /cob/{txid} 201"] != 1 {
		t.Fatalf("of %d sorts of calls: %v", n, c.saw.seen)
	}
}
