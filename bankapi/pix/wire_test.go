package pix_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"placard/bankapi/simulator"
	"placard/linking"
)

// raw is a merchant's system that speaks API Pix by hand, before a witness.
type raw struct {
	t     *testing.T
	sim   *simulator.Simulator
	url   string
	token string
	saw   *witness
}

func newRaw(t *testing.T, o simulator.Pix) *raw {
	t.Helper()
	sim := newSimulator(t, simulator.Options{Pix: o})
	w := newWitness(t, sim)
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	r := &raw{t: t, sim: sim, url: server.URL, saw: w}
	resp, err := http.PostForm(server.URL+"/pix/shop/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"shop"}, "client_secret": {"s1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var d struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil || d.Token == "" {
		t.Fatalf("no token: %v", err)
	}
	r.token = d.Token
	return r
}

// call makes one call, and returns its status and document.
func (r *raw) call(method, path, body string) (int, map[string]any) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.url+"/pix/shop/v2"+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	var doc map[string]any
	if len(bytes.TrimSpace(text)) > 0 {
		if err := json.Unmarshal(text, &doc); err != nil {
			r.t.Fatalf("%s %s answered %s", method, path, text)
		}
	}
	return resp.StatusCode, doc
}

// good makes a call that has to be granted with a status.
func (r *raw) good(want int, method, path, body string) map[string]any {
	r.t.Helper()
	status, doc := r.call(method, path, body)
	if status != want {
		r.t.Fatalf("%s %s %s answered %d %v, want %d", method, path, body, status, doc, want)
	}
	return doc
}

// bad makes a call that has to be refused with a status and kind.
func (r *raw) bad(want int, kind, method, path, body string) {
	r.t.Helper()
	status, doc := r.call(method, path, body)
	got, _ := doc["type"].(string)
	if status != want || got != "https://pix.bcb.gov.br/api/v2/error/"+kind {
		r.t.Errorf("%s %s %s answered %d %v, want %d %s", method, path, body, status, doc, want, kind)
	}
}

func (r *raw) same(what string, got, want any) {
	r.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Errorf("%s is %v, want %v", what, got, want)
	}
}

const (
	txid1 = "7978c0c97ea847e78e8849634473c1f1"
	txid2 = "7978c0c97ea847e78e8849634473c1f2"
	txid3 = "7978c0c97ea847e78e8849634473c1f3"
)

func cob(amount, more string) string {
	return `{"calendario":{"expiracao":3600},"valor":{"original":"` + amount + `"},"chave":"` + shopKey + `"` + more + `}`
}

func day(n int) string {
	return time.Now().In(time.FixedZone("BRT", -3*3600)).AddDate(0, 0, n).Format(time.DateOnly)
}

func cobv(amount, due, more string) string {
	return `{"calendario":{"dataDeVencimento":"` + due + `"},"devedor":{"cpf":"12345678909","nome":"Francisco da Silva","cidade":"Recife"},"valor":{"original":"` + amount +
		`"` + more + `},"chave":"` + shopKey + `"}`
}

func span() string {
	now := time.Now().UTC()
	return "?inicio=" + now.Add(-time.Hour).Format(time.RFC3339) + "&fim=" + now.Add(time.Hour).Format(time.RFC3339)
}

// TestTheWireIsAPIPix plays every operation of the interface's part for merchants'
// charges, each before a witness who knows the Banco Central's description.
func TestTheWireIsAPIPix(t *testing.T) {
	r := newRaw(t, simulator.Pix{})
	loc := r.good(201, "POST", "/loc", `{"tipoCob":"cob"}`)
	id := fmt.Sprint(int64(loc["id"].(float64)))
	made := r.good(201, "PUT", "/cob/"+txid1, cob("37.00", `,"loc":{"id":`+id+`},"devedor":{"cnpj":"12345678000195","nome":"Empresa"},"solicitacaoPagador":"Obrigado","infoAdicionais":[{"nome":"Campo","valor":"x"}]`))
	r.same("revisao", made["revisao"], 0)
	r.same("location", made["location"], loc["location"])
	r.same("status", made["status"], "ATIVA")

	// Revisions: other content counts, the same does not, and neither does loc.
	r.same("an identical PUT", r.good(201, "PUT", "/cob/"+txid1, cob("37.00", `,"devedor":{"cnpj":"12345678000195","nome":"Empresa"},"solicitacaoPagador":"Obrigado","infoAdicionais":[{"nome":"Campo","valor":"x"}]`))["revisao"], 0)
	r.same("a PATCH of the amount", r.good(200, "PATCH", "/cob/"+txid1, `{"valor":{"original":"567.89"}}`)["revisao"], 1)
	r.same("a PATCH of loc", r.good(200, "PATCH", "/cob/"+txid1, `{"loc":null}`)["revisao"], 1)
	if doc := r.good(200, "GET", "/cob/"+txid1, ""); doc["loc"] != nil || doc["location"] != nil {
		t.Errorf("it was unlinked and still has %v", doc["loc"])
	}
	if doc := r.good(200, "GET", "/loc/"+id, ""); doc["txid"] != nil {
		t.Errorf("the location still shows %v", doc["txid"])
	}
	r.good(200, "PATCH", "/cob/"+txid1, `{"loc":{"id":`+id+`}}`)
	r.same("txid of the location", r.good(200, "GET", "/loc/"+id, "")["txid"], txid1)
	old := r.good(200, "GET", "/cob/"+txid1+"?revisao=0", "")
	r.same("the first revision's amount", old["valor"].(map[string]any)["original"], "37.00")

	// A location shows one charge at a time.
	r.bad(400, "CobOperacaoInvalida", "PUT", "/cob/"+txid2, cob("1.00", `,"loc":{"id":`+id+`}`))
	r.good(200, "DELETE", "/loc/"+id+"/txid", "")
	r.good(200, "DELETE", "/loc/"+id+"/txid", "")
	r.good(201, "PUT", "/cob/"+txid2, cob("1.00", `,"loc":{"id":`+id+`}`))
	r.same("its own choice of txid", len(r.good(201, "POST", "/cob", cob("2.00", ""))["txid"].(string)), 32)
	r.good(201, "PUT", "/cobv/"+txid3, cobv("100.00", day(3), `,"multa":{"modalidade":2,"valorPerc":"15.00"},"juros":{"modalidade":2,"valorPerc":"2.00"},"abatimento":{"modalidade":1,"valorPerc":"5.00"},"desconto":{"modalidade":1,"descontoDataFixa":[{"data":"`+day(1)+`","valorPerc":"10.00"}]}`))
	r.good(200, "PATCH", "/cobv/"+txid3, `{"valor":{"original":"120.00"}}`)
	r.good(200, "GET", "/cobv/"+txid3, "")

	// Money.
	r.good(200, "PUT", "/webhook/"+shopKey, `{"webhookUrl":"https://shop.example/callbacks/"}`)
	r.good(200, "GET", "/webhook/"+shopKey, "")
	r.good(200, "GET", "/webhook", "")
	if _, err := r.sim.Pay(simulator.Pay{RequestID: txid2}); err != nil {
		t.Fatal(err)
	}
	paid := r.good(200, "GET", "/cob/"+txid2, "")
	r.same("status", paid["status"], "CONCLUIDA")
	e2eid := paid["pix"].([]any)[0].(map[string]any)["endToEndId"].(string)
	r.same("its length", len(e2eid), 32)
	r.good(200, "GET", "/pix/"+e2eid, "")
	back := r.good(201, "PUT", "/pix/"+e2eid+"/devolucao/d1", `{"valor":"0.40","descricao":"Troco"}`)
	r.same("status", back["status"], "DEVOLVIDO")
	r.same("the same again", r.good(201, "PUT", "/pix/"+e2eid+"/devolucao/d1", `{"valor":"0.40","descricao":"Troco"}`)["rtrId"], back["rtrId"])
	r.bad(400, "PixDevolucaoInvalida", "PUT", "/pix/"+e2eid+"/devolucao/d1", `{"valor":"0.41"}`)
	r.bad(400, "PixDevolucaoInvalida", "PUT", "/pix/"+e2eid+"/devolucao/d2", `{"valor":"0.61"}`)
	r.good(200, "GET", "/pix/"+e2eid+"/devolucao/d1", "")
	r.bad(400, "CobOperacaoInvalida", "PATCH", "/cob/"+txid2, `{"valor":{"original":"9.00"}}`)
	r.same("status after a removal", r.good(200, "PATCH", "/cob/"+txid1, `{"status":"REMOVIDA_PELO_USUARIO_RECEBEDOR"}`)["status"], "REMOVIDA_PELO_USUARIO_RECEBEDOR")
	r.bad(400, "CobOperacaoInvalida", "PUT", "/cob/"+txid1, cob("1.00", ""))

	// Lists.
	for path, want := range map[string]int{"/cob": 3, "/cob?status=CONCLUIDA": 1, "/cob?locationPresente=false": 1, "/cob?cnpj=12345678000195": 1, "/cobv": 1,
		"/loc": 3, "/loc?tipoCob=cobv": 1, "/loc?txIdPresente=false": 0, "/pix": 1, "/pix?devolucaoPresente=false": 0, "/pix?txid=" + txid1: 0} {
		name, filter, _ := strings.Cut(path, "?")
		doc := r.good(200, "GET", name+span()+"&"+filter, "")
		list, _ := doc[map[string]string{"/cob": "cobs", "/cobv": "cobs", "/loc": "loc", "/pix": "pix"}[name]].([]any)
		r.same(path, len(list), want)
	}
	page := r.good(200, "GET", "/cob"+span()+"&paginacao.itensPorPagina=2&paginacao.paginaAtual=1", "")
	r.same("the second page", len(page["cobs"].([]any)), 1)
	r.same("pages", page["parametros"].(map[string]any)["paginacao"].(map[string]any)["quantidadeDePaginas"], 2)
	r.good(204, "DELETE", "/webhook/"+shopKey, "")

	var granted []string
	for _, op := range r.saw.operations() {
		if strings.HasSuffix(op, " 200") || strings.HasSuffix(op, " 201") || strings.HasSuffix(op, " 204") {
			granted = append(granted, op[:len(op)-4])
		}
	}
	want := strings.Split("DELETE /loc/{id}/txid,DELETE /webhook/{chave},GET /cob,GET /cob/{txid},GET /cobv,GET /cobv/{txid},GET /loc,GET /loc/{id},GET /pix,GET /pix/{e2eid},"+
		"GET /pix/{e2eid}/devolucao/{id},GET /webhook,GET /webhook/{chave},PATCH /cob/{txid},PATCH /cobv/{txid},POST /cob,POST /loc,PUT /cob/{txid},PUT /cobv/{txid},PUT /pix/{e2eid}/devolucao/{id},PUT /webhook/{chave}", ",")
	if !slices.Equal(granted, want) {
		t.Errorf("played were\n%s\nwant\n%s", strings.Join(granted, "\n"), strings.Join(want, "\n"))
	}
}

func TestTheWireRefusesWhatAPIPixDoes(t *testing.T) {
	r := newRaw(t, simulator.Pix{})
	r.good(201, "PUT", "/cob/"+txid1, cob("37.00", ""))
	loc := fmt.Sprint(int64(r.good(201, "POST", "/loc", `{"tipoCob":"cobv"}`)["id"].(float64)))
	for _, body := range []string{
		``, `[]`, `null`, `{`, cob("37.00", "") + `{}`, cob("0.00", ""), cob("37.0", ""), cob("x37.001", ""), cob("-1.00", ""), cob("12345678901.00", ""),
		cob("37.00", `,"loc":null`), cob("37.00", `,"loc":{"id":99}`), cob("37.00", `,"loc":{"id":`+loc+`}`), cob("37.00", `,"loc":{"id":"x"}`),
		cob("37.00", `,"cor":"azul"`), cob("37.00", `,"devedor":{"cpf":"12345678909"}`), cob("37.00", `,"devedor":{"nome":"X"}`),
		cob("37.00", `,"devedor":{"nome":"X","cpf":"12345678909","cnpj":"12345678000195"}`), cob("37.00", `,"devedor":{"nome":"X","cpf":"1234567890"}`),
		cob("37.00", `,"solicitacaoPagador":"`+strings.Repeat("x", 141)+`"`), cob("37.00", `,"infoAdicionais":[{"nome":"x"}]`),
		cob("37.00", `,"status":"REMOVIDA_PELO_USUARIO_RECEBEDOR"`),
		strings.Replace(cob("37.00", ""), shopKey, neighbourKey, 1), strings.Replace(cob("37.00", ""), "3600", "0", 1), strings.Replace(cob("37.00", ""), "3600", "3600.5", 1),
		strings.Replace(cob("37.00", ""), "3600", `"3600"`, 1), `{"valor":{"original":"1.00"},"chave":"` + shopKey + `"}`,
	} {
		r.bad(400, "CobOperacaoInvalida", "PUT", "/cob/"+txid2, body)
	}
	for _, body := range []string{
		`{"status":"REMOVIDA_PELO_PSP"}`, `{"status":"ATIVA"}`, `{"status":"REMOVIDA_PELO_USUARIO_RECEBEDOR","valor":{"original":"1.00"}}`,
		`{"status":"REMOVIDA_PELO_USUARIO_RECEBEDOR","loc":null}`, `{"loc":{"id":99}}`, `{"calendario":{"expiracao":-1}}`,
	} {
		r.bad(400, "CobOperacaoInvalida", "PATCH", "/cob/"+txid1, body)
	}
	due := func(more string) string { return cobv("100.00", day(3), more) }
	for _, body := range []string{
		cobv("100.00", day(-1), ""), cobv("100.00", "amanhã", ""), strings.Replace(due(""), `"cpf":"12345678909",`, "", 1), due(`,"abatimento":{"modalidade":1,"valorPerc":"100.00"}`),
		due(`,"abatimento":{"modalidade":2,"valorPerc":"100.00"}`), due(`,"desconto":{"modalidade":1,"valorPerc":"1.00"}`), due(`,"desconto":{"modalidade":3}`),
		due(`,"desconto":{"modalidade":2,"descontoDataFixa":[{"data":"` + day(4) + `","valorPerc":"1.00"}]}`), due(`,"multa":{"modalidade":3,"valorPerc":"1.00"}`), due(`,"juros":{"modalidade":1}`),
		strings.Replace(due(""), `"dataDeVencimento"`, `"validadeAposVencimento":-1,"dataDeVencimento"`, 1),
	} {
		r.bad(400, "CobVOperacaoInvalida", "PUT", "/cobv/"+txid2, body)
	}
	for _, txid := range []string{"short", strings.Repeat("a", 36), "7978c0c9-7ea8-47e7-8e88-49634473c1f1"} {
		status, doc := r.call("PUT", "/cob/"+txid, cob("1.00", ""))
		if status != 400 {
			t.Errorf("a txid of %q: %d %v", txid, status, doc)
		}
	}
	r.bad(404, "CobNaoEncontrado", "GET", "/cob/"+txid2, "")
	r.bad(404, "CobNaoEncontrado", "PATCH", "/cob/"+txid2, `{}`)
	r.bad(404, "CobVNaoEncontrada", "GET", "/cobv/"+txid1, "")
	r.bad(400, "CobConsultaInvalida", "GET", "/cob/"+txid1+"?revisao=1", "")
	r.bad(404, "PayloadLocationNaoEncontrado", "GET", "/loc/1", "")
	r.bad(404, "PayloadLocationNaoEncontrado", "DELETE", "/loc/1/txid", "")
	r.bad(400, "PayloadLocationOperacaoInvalida", "POST", "/loc", `{"tipoCob":"rec"}`)
	r.bad(404, "PixNaoEncontrado", "GET", "/pix/E12345678202009091221abcdef12345", "")
	r.bad(404, "PixDevolucaoNaoEncontrada", "GET", "/pix/E12345678202009091221abcdef12345/devolucao/1", "")
	r.bad(404, "WebhookNaoEncontrado", "GET", "/webhook/"+shopKey, "")
	r.bad(404, "WebhookNaoEncontrado", "DELETE", "/webhook/"+shopKey, "")
	r.bad(400, "WebhookOperacaoInvalida", "PUT", "/webhook/"+shopKey, `{"webhookUrl":"http://shop.example/"}`)
	r.bad(400, "WebhookOperacaoInvalida", "PUT", "/webhook/"+neighbourKey, `{"webhookUrl":"https://shop.example/"}`)
	for _, filter := range []string{"", "?inicio=2020-01-01T00:00:00Z", "?inicio=2020-01-02T00:00:00Z&fim=2020-01-01T00:00:00Z", span() + "&cpf=12345678909&cnpj=12345678000195",
		span() + "&cpf=1", span() + "&status=PAGA", span() + "&locationPresente=sim", span() + "&paginacao.paginaAtual=-1", span() + "&paginacao.itensPorPagina=0",
		span() + "&paginacao.itensPorPagina=1001", span() + "&cor=azul", span() + "&status=ATIVA&status=ATIVA"} {
		r.bad(400, "CobConsultaInvalida", "GET", "/cob"+filter, "")
	}
	r.token = "none"
	r.bad(401, "AcessoNegado", "GET", "/cob/"+txid1, "")
}

// What is under way where nobody sees it arrives, and is told as what it is.
func TestMoneyIsWhatWasPaidWhateverTheStatusSays(t *testing.T) {
	r := newRaw(t, simulator.Pix{})
	r.good(201, "PUT", "/cob/"+txid1, cob("37.00", ""))
	r.sim.Pay(simulator.Pay{RequestID: txid1, Hold: true})
	r.same("status", r.good(200, "GET", "/cob/"+txid1, "")["status"], "ATIVA")
	r.good(200, "PATCH", "/cob/"+txid1, `{"status":"REMOVIDA_PELO_USUARIO_RECEBEDOR"}`)
	if _, err := r.sim.Pay(simulator.Pay{RequestID: txid1}); err != nil {
		t.Fatal(err)
	}
	doc := r.good(200, "GET", "/cob/"+txid1, "")
	r.same("status", doc["status"], "REMOVIDA_PELO_USUARIO_RECEBEDOR")
	r.same("payments", len(doc["pix"].([]any)), 1)
	bank := open(t, setup(r.url, nil), nil, 8*time.Second)
	if s, err := bank.Get(t.Context(), linking.BankRef{ID: txid1, Charge: linking.Immediate}); err != nil || s.Status != linking.BankPaid {
		t.Errorf("the rail says %+v, %v", s, err)
	}
	// Time alone changes nothing, and a longer one revives.
	r.good(201, "PUT", "/cob/"+txid2, strings.Replace(cob("1.00", ""), "3600", "600", 1))
	r.sim.Advance(20 * time.Minute)
	r.same("status", r.good(200, "GET", "/cob/"+txid2, "")["status"], "ATIVA")
	if _, err := r.sim.Pay(simulator.Pay{RequestID: txid2}); err == nil {
		t.Error("it was paid past its time")
	}
	r.good(200, "PATCH", "/cob/"+txid2, `{"calendario":{"expiracao":3000}}`)
	if _, err := r.sim.Pay(simulator.Pay{RequestID: txid2}); err != nil {
		t.Error(err)
	}
}
