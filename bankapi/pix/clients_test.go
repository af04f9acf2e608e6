package pix_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"placard/bankapi/pix"
	"placard/bankapi/simulator"
	"placard/linking"
)

// installed is a copy of testdata/clients with what it needs, made by the first test
// that wants it and removed by TestMain.
var installed struct {
	once sync.Once
	dir  string
	err  error
}

func install() (string, error) {
	i := &installed
	i.once.Do(func() {
		if i.dir, i.err = os.MkdirTemp("", "pix-clients-"); i.err != nil {
			return
		}
		if i.err = os.CopyFS(i.dir, os.DirFS("testdata/clients")); i.err != nil {
			return
		}
		cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
		cmd.Dir = i.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			i.err = fmt.Errorf("npm ci: %w\n%s", err, out)
		}
	})
	return i.dir, i.err
}

func TestMain(m *testing.M) {
	code := m.Run()
	if installed.dir != "" {
		os.RemoveAll(installed.dir)
	}
	os.Exit(code)
}

// node runs one of the scripts with what it is given, and returns what it prints.
func node(t *testing.T, env []string, script string, given, into any) {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "1" {
				t.Fatalf("%s is not installed; clients of others cannot be tried", tool)
			}
			t.Skipf("SKIPPED: %s is not installed; clients of others are not tried", tool)
		}
	}
	dir, err := install()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "given.json")
	raw, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, raw, fs.FileMode(0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", script, file)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, said.String())
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("%s printed %s: %v", script, out, err)
	}
}

var (
	anyNumber = regexp.MustCompile(`/loc/\d+`)
	anyE2EID  = regexp.MustCompile(`E\d{20}[0-9a-z]{11}`)
)

// called lists the calls a bank got, without what differs from run to run.
func called(sim *simulator.Simulator) (list []string) {
	calls, _ := sim.Calls("")
	for _, c := range calls {
		path := anyE2EID.ReplaceAllString(anyNumber.ReplaceAllString(c.Path, "/loc/N"), "E2E")
		list = append(list, fmt.Sprintf("%s %s %d", c.Method, strings.TrimPrefix(path, "/pix"), c.Status))
	}
	return list
}

func path(doc any, names ...any) any {
	for _, name := range names {
		switch n := name.(type) {
		case string:
			m, _ := doc.(map[string]any)
			doc = m[n]
		case int:
			l, _ := doc.([]any)
			if n >= len(l) {
				return nil
			}
			doc = l[n]
		}
	}
	return doc
}

// A merchant's SDK of another bank, and another author's client, find the simulator to
// be a bank: over mutual TLS, and with exactly the calls their authors meant.
func TestClientsOfOthersFindABank(t *testing.T) {
	ca := newAuthority(t)
	id := ca.issue("shop", time.Now().Add(time.Hour))
	sim := newSimulator(t, simulator.Options{})
	if err := sim.OpenAccount(simulator.Account{ID: "shop", Pix: simulator.PixAccount{ClientID: "shop", ClientSecret: "s1", Certificate: id.fingerprint, Keys: []string{shopKey}}}); err != nil {
		t.Fatal(err)
	}
	saw := newWitness(t, sim)
	bank := ca.serve(saw)
	control := httptest.NewServer(sim) // the payer's, and no part of what is counted
	defer control.Close()
	dir := t.TempDir()
	for name, data := range map[string][]byte{"ca.pem": ca.PEM, "cert.pem": id.cert, "key.pem": id.key} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var seen map[string]any
	now := time.Now().UTC()
	node(t, []string{"NODE_EXTRA_CA_CERTS=" + filepath.Join(dir, "ca.pem")}, "merchant.mjs", map[string]string{
		"url": bank.URL + "/pix/shop", "other": bank.URL + "/pix/neighbour", "control": control.URL, "chave": shopKey, "otherChave": neighbourKey,
		"certificate": filepath.Join(dir, "cert.pem"), "key": filepath.Join(dir, "key.pem"),
		"from": now.Add(-time.Hour).Format(time.RFC3339), "until": now.Add(time.Hour).Format(time.RFC3339), "due": day(3),
	}, &seen)
	for _, one := range []struct {
		at   []any
		want any
	}{
		{[]any{"made", "loc", "id"}, path(seen, "location", "id")}, {[]any{"made", "status"}, "ATIVA"}, {[]any{"revised", "revisao"}, 1.0},
		{[]any{"got", "valor", "original"}, "41.50"}, {[]any{"listed", "cobs", 0, "txid"}, txid1}, {[]any{"unlinked", "txid"}, nil},
		{[]any{"linked", "location"}, path(seen, "location", "location")}, {[]any{"shows", "txid"}, txid1}, {[]any{"locations", "loc", 0, "id"}, path(seen, "location", "id")},
		{[]any{"webhook", "webhookUrl"}, "https://shop.example/callbacks"}, {[]any{"paid", "status"}, "CONCLUIDA"}, {[]any{"paid", "pix", 0, "valor"}, "41.50"},
		{[]any{"refund", "status"}, "DEVOLVIDO"}, {[]any{"refunded", "valor"}, "1.50"}, {[]any{"refusal", "type"}, "https://pix.bcb.gov.br/api/v2/error/CobOperacaoInvalida"},
		{[]any{"absent", "type"}, "https://pix.bcb.gov.br/api/v2/error/CobNaoEncontrado"}, {[]any{"due", "valor", "original"}, "100.00"},
		{[]any{"removed", "status"}, "REMOVIDA_PELO_USUARIO_RECEBEDOR"}, {[]any{"other", "valor", "original"}, "9.99"},
	} {
		if got := path(seen, one.at...); got != one.want {
			t.Errorf("%v is %v, want %v", one.at, got, one.want)
		}
	}
	want := []string{
		"POST /shop/oauth/token 200", "POST /shop/v2/loc 201", "PUT /shop/v2/cob/" + txid1 + " 201", "PATCH /shop/v2/cob/" + txid1 + " 200",
		"GET /shop/v2/cob/" + txid1 + " 200", "GET /shop/v2/cob 200", "DELETE /shop/v2/loc/N/txid 200", "PATCH /shop/v2/cob/" + txid1 + " 200",
		"GET /shop/v2/loc/N 200", "GET /shop/v2/loc 200", "PUT /shop/v2/webhook/" + shopKey + " 200", "GET /shop/v2/webhook/" + shopKey + " 200",
		"GET /shop/v2/cob/" + txid1 + " 200", "GET /shop/v2/pix 200", "PUT /shop/v2/pix/E2E/devolucao/volta1 201", "GET /shop/v2/pix/E2E/devolucao/volta1 200",
		"PATCH /shop/v2/cob/" + txid1 + " 400", "GET /shop/v2/cob/" + txid2 + " 404", "PUT /shop/v2/cobv/" + txid3 + " 201", "PATCH /shop/v2/cobv/" + txid3 + " 200",
		"POST /neighbour/oauth/token 200", "PUT /neighbour/v2/cob/7978c0c97ea847e78e8849634473c1f4 201", "GET /neighbour/v2/cob/7978c0c97ea847e78e8849634473c1f4 200",
	}
	if got := called(sim); !slices.Equal(got, want) {
		t.Errorf("the bank got %d calls:\n%s\nwant %d:\n%s", len(got), strings.Join(got, "\n"), len(want), strings.Join(want, "\n"))
	}
}

// Two readers, by which payers' apps are made, read 200 of our codes as we meant them,
// and each fetches 20 of the locations.
func TestReadersOfOthersReadOurCodes(t *testing.T) {
	const all, live = 200, 20
	ca := newAuthority(t)
	sim := newSimulator(t, simulator.Options{})
	bank := ca.serve(sim)
	shop := open(t, setup(bank.URL, map[string]string{"ca_pem": string(ca.PEM)}), nil, 8*time.Second)
	type code struct{ URL, Name, City string }
	var given struct {
		Codes   []string `json:"codes"`
		Fetched []string `json:"fetched"`
	}
	var meant []code
	var asked []linking.Ask
	keep := func(text string) {
		c, err := pix.DecodeBRCode(text)
		if err != nil {
			t.Fatal(err)
		}
		given.Codes, meant = append(given.Codes, text), append(meant, code{c.URL, c.Name, c.City})
	}
	for n := range live {
		kind := linking.Immediate
		if n%4 == 3 {
			kind = linking.DueDate
		}
		l, err := shop.MakeLink(t.Context(), kind)
		if err != nil {
			t.Fatal(err)
		}
		a := ask(&l)
		a.Money.Amount = linking.Amount(100 + 37*n)
		if _, err := shop.Put(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		keep(l.Payload)
		given.Fetched, asked = append(given.Fetched, l.Payload), append(asked, a)
	}
	chance := rand.New(rand.NewPCG(1, 2))
	pick := func(from string, n int) string {
		var b strings.Builder
		letters := []rune(from)
		for range n {
			b.WriteRune(letters[chance.IntN(len(letters))])
		}
		return b.String()
	}
	for len(given.Codes) < all {
		c := pix.BRCode{
			URL:  "pix.example.com/" + pick("abcdef0123456789-_.~/", chance.IntN(pix.MaxLocation-17)) + pick("abcdef", 1),
			Name: "L" + pick("ãáâàçéêíóôõúü ABCDEFGHabcdefgh&.'-0123456789", chance.IntN(40)), City: "C" + pick("ãçéõ ABCdef", chance.IntN(20)),
			Once: chance.IntN(2) == 0,
		}
		text, err := c.Encode()
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		keep(text)
	}
	before, _ := sim.Calls("")
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, ca.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Utils []struct {
			code
			Type, Error string
		}
		Detail                      []code
		UtilsFetched, DetailFetched []map[string]any
	}
	node(t, []string{"NODE_EXTRA_CA_CERTS=" + file}, "payer.mjs", given, &got)
	if len(got.Utils) != all || len(got.Detail) != all || len(got.UtilsFetched) != live || len(got.DetailFetched) != live {
		t.Fatalf("read were %d and %d, fetched %d and %d", len(got.Utils), len(got.Detail), len(got.UtilsFetched), len(got.DetailFetched))
	}
	for i, want := range meant {
		if u := got.Utils[i]; u.Error != "" || u.Type != "DYNAMIC" || u.code != want {
			t.Errorf("pix-utils reads %q as %+v, want %+v", given.Codes[i], u, want)
		}
		d := got.Detail[i]
		if d.URL = strings.TrimPrefix(d.URL, "https://"); d != want {
			t.Errorf("pix-qr-code-detail reads %q as %+v, want %+v", given.Codes[i], d, want)
		}
	}
	for i, a := range asked {
		for name, doc := range map[string]map[string]any{"pix-utils": got.UtilsFetched[i], "pix-qr-code-detail": got.DetailFetched[i]} {
			if doc["txid"] != string(a.ID) || path(doc, "valor", "original") != a.Money.Currency.Decimal(a.Money.Amount) {
				t.Errorf("%s fetches %v, want %s of %d", name, doc, a.ID, a.Money.Amount)
			}
		}
	}
	after, _ := sim.Calls("")
	fetches := 0
	for _, c := range after[len(before):] {
		if c.Route == "location" && c.Method == http.MethodGet && c.Status == http.StatusOK {
			fetches++
		}
	}
	if fetches != 2*live || len(after)-len(before) != 2*live {
		t.Errorf("of %d calls %d fetched a location, want %d", len(after)-len(before), fetches, 2*live)
	}
}
