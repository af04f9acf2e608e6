package pix_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

// mended are defects of the Banco Central's file that would make a validator refuse
// what it means to allow, or allow what it means to refuse.
var mended = []struct {
	was, is, why string
	times        int
}{
	{`"/^`, `"^`, "patterns between slashes match nothing: every CPF would be refused", 14},
	{`$/"`, `$"`, "the other slash", 14},
	{`"\\d{1,10}\\.\\d{2}"`, `"^\\d{1,10}\\.\\d{2}$"`, "not anchored: x37.001 would be an amount", 0},
	{"example: \"3600\"\n          default: \"86400\"", "example: 3600\n          default: 86400", "texts as defaults of a whole number", 1},
	{"required: [\"id\", \"tipoCob\"]\n      description: \"Identificador da localização do payload.\"\n      properties:\n        id:\n          $ref: \"#/components/schemas/PayloadLocationId\"\n    ParametrosConsultaRec:",
		"required: [\"id\"]\n      description: \"Identificador da localização do payload.\"\n      properties:\n        id:\n          $ref: \"#/components/schemas/PayloadLocationId\"\n      nullable: true\n    ParametrosConsultaRec:",
		"a property that does not exist is required, and null, which unlinks, is not allowed", 1},
	{"title: \"Id da location\"\n      description: \"Identificador da location a ser informada na criação da cobrança .\"\n      readOnly: true", "title: \"Id da location\"",
		"the id to be given when a charge is made may not be given", 1},
	{"type: \"object\"\n      required: [\"logradouro\", \"cidade\", \"uf\", \"cep\"]\n      properties:\n        recebedor:", "type: \"object\"\n      required: [\"recebedor\"]\n      properties:\n        recebedor:",
		"the receiver's address is required of the charge around it", 1},
	{"title: \"Pix Consultados\"\n      required: [\"parametros\", \"cobs\"]", "title: \"Pix Consultados\"\n      required: [\"parametros\", \"pix\"]", "a list of payments is required to have one of charges", 1},
	{`required: ["status", "txid", "idCob"]`, `required: ["status", "txid"]`, "a property that does not exist is required", 2},
}

// specification is API Pix with its defects mended, without what payers' banks fetch
// at other hosts: those paths collide with the merchant's.
var specification = sync.OnceValues(func() (*openapi3.T, error) {
	raw, err := os.ReadFile("testdata/openapi.yaml")
	if err != nil {
		return nil, err
	}
	text := string(raw)
	for _, m := range mended {
		if n := strings.Count(text, m.was); n == 0 || m.times > 0 && n != m.times {
			return nil, fmt.Errorf("the defect %q is there %d times: %s", m.was, n, m.why)
		}
		text = strings.ReplaceAll(text, m.was, m.is)
	}
	doc, err := openapi3.NewLoader().LoadFromData([]byte(text))
	if err != nil {
		return nil, err
	}
	for path := range doc.Paths.Map() {
		if strings.Contains(path, "AccessToken") {
			doc.Paths.Delete(path)
		}
	}
	doc.Servers = nil
	return doc, nil
})

var router = sync.OnceValues(func() (routers.Router, error) {
	doc, err := specification()
	if err != nil {
		return nil, err
	}
	return legacy.NewRouter(doc, openapi3.DisableExamplesValidation())
})

// witness stands before the simulator and holds what passes, in both directions,
// against the Banco Central's own description. What the simulator takes, the
// description has to allow; what it answers, always.
type witness struct {
	t    testing.TB
	bank http.Handler

	mu   sync.Mutex
	seen map[string]int // "PUT /cob/{txid} 201"
}

func newWitness(t testing.TB, bank http.Handler) *witness {
	t.Helper()
	if _, err := router(); err != nil {
		t.Fatal(err)
	}
	return &witness{t: t, bank: bank, seen: map[string]int{}}
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	_, path, api := strings.Cut(r.URL.Path, "/v2/")
	if !api || !strings.HasPrefix(r.URL.Path, "/pix/") {
		w.bank.ServeHTTP(rw, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	rec := httptest.NewRecorder()
	w.bank.ServeHTTP(rec, r)
	w.hold(r, "/"+path, body, rec)
	maps.Copy(rw.Header(), rec.Header())
	rw.WriteHeader(rec.Code)
	rw.Write(rec.Body.Bytes())
}

func (w *witness) hold(r *http.Request, path string, body []byte, rec *httptest.ResponseRecorder) {
	if bytes.Contains(rec.Body.Bytes(), []byte("\xff\xfe<html>")) {
		return // a fault that a test has asked for
	}
	target := path
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	spec, err := http.NewRequest(r.Method, target, bytes.NewReader(body))
	if err != nil {
		w.t.Error(err)
		return
	}
	spec.Header = r.Header.Clone()
	rt, _ := router()
	route, params, err := rt.FindRoute(spec)
	if err != nil {
		w.t.Errorf("%s %s: %v", r.Method, target, err)
		return
	}
	good := rec.Code < 300
	in := &openapi3filter.RequestValidationInput{Request: spec, PathParams: params, Route: route, Options: &openapi3filter.Options{
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: good, MultiError: true, SkipSettingDefaults: true}}
	if good {
		if err := openapi3filter.ValidateRequest(r.Context(), in); err != nil {
			w.t.Errorf("%s %s: the bank took what API Pix does not allow: %v\n%s", r.Method, target, err, body)
		}
	}
	err = openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: rec.Code, Header: rec.Header(), Options: in.Options,
		Body: io.NopCloser(bytes.NewReader(rec.Body.Bytes())),
	})
	if err != nil {
		w.t.Errorf("%s %s answered %d, which is not API Pix: %v\n%s", r.Method, target, rec.Code, err, rec.Body)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[fmt.Sprintf("%s %s %d", r.Method, route.Path, rec.Code)]++
}

// operations lists what was seen, without how often.
func (w *witness) operations() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.seen))
}
