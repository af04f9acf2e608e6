package main

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// through are the flags with which a command works through the house's gateway.
func (h *house) through() []string {
	return []string{"--gateway", h.addresses[0], "--api-key", h.shop.till.key}
}

// outside runs a program that is not ours; without it the test says loudly that
// nobody else has looked.
func outside(t testing.TB, program, from string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") == "1" {
			t.Fatalf("%s is missing: install %s", program, from)
		}
		t.Skipf("SKIPPED, nobody else has read what is printed: %s (%s) is not installed", program, from)
	}
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v %s", program, err, out)
	}
	return out
}

// readPDF is what zbar reads on the pages that poppler draws of a PDF. It looks once at a
// page and misses a code now and then, as docs/printing.md counts; so it looks at three
// sizes, and a code is there as often as it was seen in one look.
func readPDF(t testing.TB, file string) (payloads []string) {
	t.Helper()
	for _, list := range pagesOf(t, file) {
		times := map[string]int{}
		for _, look := range list {
			seen := map[string]int{}
			for _, payload := range strings.Fields(look) {
				seen[payload]++
				times[payload] = max(times[payload], seen[payload])
			}
		}
		for payload, n := range times {
			payloads = append(payloads, slices.Repeat([]string{payload}, n)...)
		}
	}
	slices.Sort(payloads)
	return payloads
}

// pagesOf is what zbar reads on each page, in each of its looks.
func pagesOf(t testing.TB, file string) (pages [][]string) {
	t.Helper()
	for i, dpi := range []string{"300", "220", "430"} {
		name := filepath.Join(t.TempDir(), "page")
		outside(t, "pdftoppm", "poppler-utils", "-r", dpi, "-gray", "-png", file, name)
		list, err := filepath.Glob(name + "*.png")
		if err != nil || list == nil {
			t.Fatalf("no pages: %v", err)
		}
		if i == 0 {
			pages = make([][]string, len(list))
		}
		for n, page := range list {
			pages[n] = append(pages[n], string(outside(t, "zbarimg", "zbar-tools", "--nodbus", "-q", "--raw", "-Sdisable", "-Sqrcode.enable", page)))
		}
	}
	return pages
}

func rowsOf(t testing.TB, text string) []map[string]string {
	t.Helper()
	lines, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatalf("%v in %.200q", err, text)
	}
	var rows []map[string]string
	for _, line := range lines[1:] {
		row := map[string]string{}
		for i, name := range lines[0] {
			row[name] = line[i]
		}
		rows = append(rows, row)
	}
	return rows
}

// A utility's year: rows come in, codes go out to the print shop, sheets are printed
// and read by programs that are not ours, a box is lost, and the book says all of it.
func TestABatchFromRowsToALostBox(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till, dir := h.shop.till, t.TempDir()
	in := filepath.Join(dir, "in.csv")
	var rows strings.Builder
	rows.WriteString("\ufeffaccount,label,route\r\n")
	for i := range 28 {
		fmt.Fprintf(&rows, "A%04d,\"Rua do Carmo, %d\",R7\r\n", i, i+1)
	}
	must(t, os.WriteFile(in, []byte(rows.String()), 0o600))
	said := performs(t, append([]string{"codes", "make", "--kind", "bill", "--rows", in, "--json"}, h.through()...)...)
	id := (&reply{t: t, Body: []byte(said)}).says("count", 28, "done", 28, "status", "done").str("id")

	list := rowsOf(t, performs(t, append([]string{"codes", "list", "--batch", id}, h.through()...)...))
	if len(list) != 28 {
		t.Fatalf("%d rows out", len(list))
	}
	var payloads []string
	for i, row := range list {
		if row["account"] != fmt.Sprintf("A%04d", i) || row["label"] != fmt.Sprintf("Rua do Carmo, %d", i+1) || row["route"] != "R7" || row["serial"] != fmt.Sprint(i+1) ||
			row["payload"] != strings.ToUpper(h.addresses[0]+"/q/")+row["token"] || row["status"] != "active" || row["stock"] != "made" {
			t.Fatalf("row %d: %v", i+1, row)
		}
		payloads = append(payloads, row["payload"])
	}
	till.get("/v1/codes/"+list[27]["token"]).is(200).says("label", "Rua do Carmo, 28", "metadata.account", "A0027", "serial", 28, "batch", id)
	slices.Sort(payloads)

	// On paper. The second time gives the same bytes.
	pdf := filepath.Join(dir, "codes.pdf")
	out := performs(t, append([]string{"print", "sheet", "--batch", id, "--stock", "L7163", "--out", pdf, "--proof", "read", "--mark"}, h.through()...)...)
	if !strings.Contains(out, "28 codes in 1 files") {
		t.Errorf("print sheet said %q", out)
	}
	if got := readPDF(t, pdf); !slices.Equal(got, payloads) {
		t.Errorf("zbar reads %d payloads, printed were %d: %q", len(got), len(payloads), got)
	}
	first, err := os.ReadFile(pdf)
	must(t, err)
	again := till.call("POST", "/v1/print/sheets", m{"batch": id, "stock": "L7163", "proof": "read", "sheet": 1, "of": 2}).is(200)
	if !bytes.Equal(again.Body, first) {
		t.Error("the same sheets have other bytes")
	}
	till.get("/v1/codes/batches/"+id+"?book=true").is(200).says("book.printed", 28, "book.bound", 0)

	// A bill on one of them, and the box of 10 that it is in is lost.
	bound := list[15]["token"]
	till.attach(bound, 700)
	h.phone().scan(bound, "").is(200).says("resolution", "payable")
	said = performs(t, append([]string{"codes", "mark", id, "--status", "lost", "--from", "11", "--to", "20"}, h.through()...)...)
	if !strings.HasPrefix(said, "10 codes") {
		t.Errorf("codes mark said %q", said)
	}
	for i, want := range map[int]int{9: 200, 10: 410, 15: 410, 19: 410, 20: 200} {
		h.phone().scan(list[i]["token"], "").is(want)
	}
	h.phone().scan(bound, "").is(410).says("resolution", "out_of_use", "contact", "at the counter")
	eventually(t, "the bill on a lost code is ended", func() bool {
		return till.get("/v1/codes/"+bound).at("linked") == nil
	})
	shop := filepath.Join(dir, "returned.csv")
	must(t, os.WriteFile(shop, []byte("token;sheet\n"+list[0]["token"]+";1\n"+list[1]["payload"]+";1\n3-10\n21-28\n"), 0o600))
	performs(t, append([]string{"codes", "mark", id, "--stock", "delivered", "--file", shop}, h.through()...)...)
	till.get("/v1/codes/batches/"+id+"?book=true").is(200).says("book.printed", 10, "book.delivered", 18, "book.lost", 10, "book.bound", 1, "book.active", 18)
	told := performs(t, append([]string{"codes", "list", "--book"}, h.through()...)...)
	if !strings.Contains(told, "printed 10, delivered 18") {
		t.Errorf("codes list said %q", told)
	}
	events := till.get("/v1/events?type=code.changed").is(200)
	who := till.get("/v1/codes/batches/" + id).str("marks.0.by")
	events.says("data.1.batch.status", "lost", "data.1.batch.from", 11, "data.1.batch.to", 20, "data.1.by", who)
	if who == "" {
		t.Error("nobody lost the box")
	}

	// What is lost is not printed again.
	part := till.call("POST", "/v1/print/sheets", m{"batch": id, "stock": "L7163", "proof": "read", "from": 6, "to": 15}).is(200)
	if part.Header.Get("Placard-Codes") != "5" || part.Header.Get("Placard-Skipped") != "5" || part.Header.Get("Placard-Serials") != "6-10" {
		t.Errorf("printed: %v", part.Header)
	}
	till.call("POST", "/v1/print/sheets", m{"batch": id, "stock": "L7163", "from": 11, "to": 15}).refused(422, "invalid_request", "codes out_of_use")

	// Without a gateway, over the store, the same commands.
	h.gateways[0].stop()
	over := append([]string{"--public-url", h.addresses[0], "--api-key", till.key}, h.store...)
	said = performs(t, append([]string{"codes", "make", "--kind", "counter", "--count", "3", "--label", "Till {n}", "--out", filepath.Join(dir, "out.csv")}, over...)...)
	if !strings.Contains(said, ": 3 codes") {
		t.Errorf("codes make said %q", said)
	}
	made, err := os.ReadFile(filepath.Join(dir, "out.csv"))
	must(t, err)
	if rows := rowsOf(t, string(made)); len(rows) != 3 || rows[2]["label"] != "Till 3" || !strings.HasPrefix(rows[2]["payload"], strings.ToUpper(h.addresses[0])) {
		t.Errorf("rows: %s", made)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A label in every form is read by a program that is not ours; the proof of a sheet is
// kept under the hash of its dots.
func TestLabelsInEveryForm(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till, dir := h.shop.till, t.TempDir()
	code := till.makeCode("counter")
	qr := "/v1/codes/" + code + "/qr."
	want := strings.ToUpper(h.addresses[0] + "/q/" + code)

	png := filepath.Join(dir, "qr.png")
	must(t, os.WriteFile(png, till.get(qr+"png").is(200).Body, 0o600))
	if got := strings.TrimSpace(string(outside(t, "zbarimg", "zbar-tools", "--nodbus", "-q", "--raw", png))); got != want {
		t.Errorf("PNG: zbar reads %q", got)
	}
	pdf := filepath.Join(dir, "qr.pdf")
	one := till.get(qr + "pdf").is(200)
	must(t, os.WriteFile(pdf, one.Body, 0o600))
	if got := readPDF(t, pdf); !slices.Equal(got, []string{want}) {
		t.Errorf("PDF: zbar reads %q", got)
	}
	for form, begins := range map[string]string{"svg": "<svg", "txt": " ", "zpl": "^XA", "escpos": "\x1b@", "zpl?native=true&stock=102x152": "^XA", "escpos?native=true&stock=receipt-58": "\x1b@"} {
		got := till.get(qr + form).is(200).Body
		if !bytes.HasPrefix(got, []byte(begins)) {
			t.Errorf("%s begins with %.10q", form, got)
		}
		if native := strings.Contains(form, "native"); native != bytes.Contains(got, []byte(want)) && form != "svg" && form != "txt" {
			t.Errorf("%s: the payload stands in it: %v", form, !native)
		}
	}
	till.get(qr+"zpl?stock=L7159").refused(422, "invalid_request", "stock not_allowed")
	till.get(qr+"pdf?dpi=96").refused(422, "invalid_request", "dpi unknown_dpi")
	till.get(qr + "gif").is(404)

	sheet := till.call("POST", "/v1/print/sheets", m{"codes": []string{code}, "stock": "a6-stand", "format": "png", "proof": "full", "language": "pt"}).is(200)
	hash := sheet.Header.Get("Placard-Proof")
	kept := till.get("/v1/print/proofs/"+hash).is(200).says("passed", true, "stock", "a6-stand", "seen.read", 1, "seen.sha256", hash, "code", code)
	if kept.str("by") == "" {
		t.Error("nobody printed it")
	}
	drawn := filepath.Join(dir, "sheet.png")
	must(t, os.WriteFile(drawn, sheet.Body, 0o600))
	if got := strings.TrimSpace(string(outside(t, "zbarimg", "zbar-tools", "--nodbus", "-q", "--raw", drawn))); got != want {
		t.Errorf("sheet: zbar reads %q", got)
	}
	other := h.addMerchantWhileOpen(t)
	other.get("/v1/print/proofs/" + hash).is(404)
	other.call("POST", "/v1/print/sheets", m{"codes": []string{code}, "stock": "L7159"}).refused(422, "invalid_request", "codes[0] unknown")

	told := till.call("POST", "/v1/print/proofs", m{"codes": []string{code}, "stock": "L7159"}).is(200)
	told.says("passed", true, "codes", 1, "sheets.0.survived.5.damage", "tilt", "sheets.0.survived.5.read", 1)
	h.phone().get("/print", "Accept", "text/html").is(200)
	if n := len(till.get("/v1/print/stocks").is(200).at("data").([]any)); n < 20 {
		t.Errorf("%d stocks", n)
	}
}

// addMerchantWhileOpen is a key of another merchant than the shop, of a bolt house that
// has a gateway: it is closed for the moment.
func (h *house) addMerchantWhileOpen(t testing.TB) *client {
	t.Helper()
	h.gateways[0].stop()
	other := h.addMerchant("Bakery", "EUR")
	h.gateways, h.addresses = nil, nil
	h.open()
	h.shop.till.base, other.till.base = h.addresses[0], h.addresses[0]
	return other.till
}

// Labels go to a printer; when it dies, the command says what may be on paper and
// where to go on.
func TestAPrinterThatDies(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	id := h.shop.till.call("POST", "/v1/codes/batches", m{"kind": "bill", "count": 120}).is(202).str("id")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	got := make(chan []byte, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		b, _ := io.ReadAll(c)
		got <- b
	}()
	label := append([]string{"print", "label", "--batch", id, "--stock", "57x32", "--proof", "read"}, h.through()...)
	out := performs(t, append(label, "--to", "60", "--native", "--out", "tcp://"+ln.Addr().String())...)
	if n := bytes.Count(<-got, []byte("^XZ")); n != 60 || !strings.Contains(out, "60 labels") {
		t.Errorf("the printer got %d labels, and the command said %q", n, out)
	}
	code, _, notes := perform(t, append(label, "--out", "/dev/full")...)
	if code != failed || !strings.Contains(notes, "Some labels of № 1–50 may be on paper") || !strings.Contains(notes, "go on with --from 1 --to 120") {
		t.Errorf("a full disk: %d, %q", code, notes)
	}
	code, _, notes = perform(t, append([]string{"print", "sheet", "--batch", id, "--stock", "L7159", "--proof", "read", "--out", "/nowhere/codes.pdf"}, h.through()...)...)
	if code != failed || !strings.Contains(notes, "not: № 1–120") {
		t.Errorf("no folder: %d, %q", code, notes)
	}
	code, _, notes = perform(t, append(label, "--from", "100", "--to", "121", "--out", "-")...)
	if code != misuse || !strings.Contains(notes, "120 codes") {
		t.Errorf("past the end: %d, %q", code, notes)
	}
}

func TestPrintJobsAreRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till := h.shop.till
	code := till.makeCode("counter")
	batch := till.call("POST", "/v1/codes/batches", m{"kind": "bill", "count": 5000}).is(202).str("id")
	job := func(more m) m {
		b := m{"codes": []string{code}, "stock": "L7159", "proof": "read"}
		for k, v := range more {
			if v == nil {
				delete(b, k)
			} else {
				b[k] = v
			}
		}
		return b
	}
	for name, tt := range map[string]struct {
		body  m
		field string
	}{
		"no stock":            {job(m{"stock": nil}), "stock required"},
		"a stock that is not": {job(m{"stock": "L9999"}), "stock unknown_stock"},
		"nothing to print":    {job(m{"codes": nil}), "codes one_of"},
		"both":                {job(m{"batch": batch}), "codes one_of"},
		"a slip":              {job(m{"codes": []string{slip(code)}}), "codes[0] unknown"},
		"a range of no batch": {job(m{"from": 1}), "from excluded"},
		"too many":            {job(m{"codes": nil, "batch": batch}), "to too_many"},
		"past the end":        {job(m{"codes": nil, "batch": batch, "from": 4999, "to": 5001}), "to range"},
		"modules too small":   {job(m{"dpi": 203, "module_mm": "0.2"}), "module_mm module_too_small"},
		"modules too large":   {job(m{"module_mm": "3"}), "module_mm module_too_large"},
		"grey ink":            {job(m{"ink": "#aaaaaa"}), "ink no_contrast"},
		"no colour":           {job(m{"ink": "black"}), "ink colour"},
		"no logo":             {job(m{"logo": true}), "logo logo"},
		"a turned title":      {job(m{"title": "a\u202eb"}), "title text"},
		"a bell in the help":  {job(m{"help": "a\u0007b"}), "help text"},
		"no such letters":     {job(m{"help": "カフェ"}), "help no_glyph"},
		"ZPL on a sheet":      {job(m{"format": "zpl"}), "stock not_allowed"},
		"a printer's PDF":     {job(m{"stock": "57x32", "native": true}), "native excluded"},
		"unknown language":    {job(m{"language": "tlh"}), "language unknown_language"},
		"two sheets of PNG":   {job(m{"codes": nil, "batch": batch, "to": 25, "format": "png"}), "format not_allowed"},
	} {
		if err := till.call("POST", "/v1/print/sheets", tt.body).problem(422, "invalid_request", tt.field); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, tt := range map[string]struct {
		body  any
		code  string
		field []string
	}{
		"no count":       {m{"kind": "bill"}, "invalid_request", []string{"count range"}},
		"too many":       {m{"kind": "bill", "count": 1000001}, "invalid_request", []string{"count too_large"}},
		"unequal":        {m{"kind": "bill", "count": 3, "rows": []m{{"label": "a"}}}, "invalid_request", []string{"rows count"}},
		"a turned label": {m{"kind": "bill", "rows": []m{{"label": "a"}, {"label": "\u202eb"}}}, "invalid_request", []string{"rows[1].label text"}},
		"the bank's own": {m{"kind": "bill", "count": 3, "resolved_by": "bank"}, "invalid_request", []string{"resolved_by rail_cannot_resolve"}},
	} {
		if err := till.call("POST", "/v1/codes/batches", tt.body).problem(422, tt.code, tt.field...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"a column twice":   "label,label\na,b\n",
		"a short line":     "label,account\na\n",
		"an open quote":    "label\n\"a\n",
		"tokens of theirs": "label,token\na,b\n",
		"nothing":          "\n",
	} {
		if err := till.call("POST", "/v1/codes/batches?kind=bill", text, "Content-Type", "text/csv").problem(400, "malformed"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	mark := "/v1/codes/batches/" + batch + "/mark"
	till.call("POST", mark, m{}).refused(422, "invalid_request", "stock required")
	till.call("POST", mark, m{"stock": "printed", "from": 3}).refused(422, "invalid_request", "from range")
	till.call("POST", mark, m{"stock": "printed", "from": 3, "to": 5001}).refused(422, "invalid_request", "to range")
	till.call("POST", mark, m{"stock": "printed", "file": "1-5\nhello\n"}).refused(422, "invalid_request", "file malformed")
	till.call("POST", mark, m{"stock": "printed", "file": code}).refused(422, "invalid_request", "file unknown")
	till.call("POST", mark, m{"stock": "printed", "file": "1", "from": 1, "to": 2}).refused(422, "invalid_request", "file excluded")
	till.call("POST", "/v1/codes/batches/"+string(h.shop.id)+"000000/mark", m{"stock": "printed"}).refused(404, "not_found")
	// A repeat of a mark with the same key answers the same.
	a := till.call("POST", mark, m{"status": "void", "from": 1, "to": 2}, "Idempotency-Key", "k").is(200)
	b := till.call("POST", mark, m{"status": "void", "from": 1, "to": 2}, "Idempotency-Key", "k").is(200)
	if !bytes.Equal(a.Body, b.Body) || b.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("a repeat answered %s, before %s", b.Body, a.Body)
	}
	a.says("marked", 2)
}

// TestPrintingInABrowser: a batch is chosen, looked at and taken as PDF; what is to be
// seen and what is taken are read by a program that is not ours, and the book knows.
func TestPrintingInABrowser(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till := h.shop.till
	batch := till.call("POST", "/v1/codes/batches", m{"kind": "counter", "count": 30, "label_pattern": "Table {n}"}).is(202).str("id")
	book := func() []map[string]string {
		t.Helper()
		return rowsOf(t, performs(t, append([]string{"codes", "list", "--batch", batch}, h.through()...)...))
	}
	var want []string
	for _, row := range book() {
		want = append(want, row["payload"])
	}
	slices.Sort(want)
	b := openTab(t, tabOptions{width: 1000, height: 900, language: "pt-BR"})
	b.goTo(h.addresses[0] + "/print?lang=pt#" + till.key)
	b.shows("O quê")
	if eval[string](b, "location.hash") != "" {
		t.Error("the key stays in the address")
	}
	choose := func(id, value string) {
		t.Helper()
		if !eval[bool](b, fmt.Sprintf(`(() => { const e = document.getElementById(%q); e.value = %q; e.dispatchEvent(new Event("change")); return e.value === %q; })()`, id, value, value)) {
			t.Fatalf("%s does not offer %s", id, value)
		}
	}
	choose("batch", batch)
	choose("stock", "L7163")
	// What the page makes of an answer is kept aside: its policy lets no script read it again.
	eval[bool](b, `(() => { const real = URL.createObjectURL; URL.createObjectURL = (blob) => { window.taken = blob; return real.call(URL, blob); }; return true; })()`)
	b.click("Mostrar a primeira folha")
	b.shows("14 códigos")
	dir := t.TempDir()
	save := func(name, js string) string {
		t.Helper()
		data, err := base64.StdEncoding.DecodeString(eval[string](b, fmt.Sprintf(`(async () => {
			const bytes = new Uint8Array(await (%s).arrayBuffer());
			let s = ""; for (const x of bytes) s += String.fromCharCode(x);
			return btoa(s);
		})()`, js)))
		must(t, err)
		file := filepath.Join(dir, name)
		must(t, os.WriteFile(file, data, 0o600))
		return file
	}
	b.until(`document.getElementById("sheet").naturalWidth > 0`)
	file := save("sheet.png", "window.taken")
	seen := strings.Fields(string(outside(t, "zbarimg", "zbar-tools", "--nodbus", "-q", "--raw", "-Sdisable", "-Sqrcode.enable", file)))
	slices.Sort(seen)
	var first []string
	for _, row := range book()[:14] {
		first = append(first, row["payload"])
	}
	if slices.Sort(first); !slices.Equal(seen, first) {
		t.Errorf("the sheet that is shown has %q", seen)
	}
	eval[bool](b, "delete window.taken")
	b.click("Anotar “impresso” no livro de estoque com o PDF")
	b.click("PDF de todas as folhas")
	b.until("!!window.taken")
	if read := readPDF(t, save("codes.pdf", "window.taken")); !slices.Equal(read, want) {
		t.Errorf("%d codes are on paper: %q", len(read), read)
	}
	for _, row := range book() {
		if row["stock"] != "printed" {
			t.Fatalf("the book says %v", row)
		}
	}
	// What cannot be printed is said, and nothing is taken.
	choose("stock", "57x32")
	b.click("Logotipo no código (correção H)")
	eval[bool](b, "delete window.taken")
	b.click("PDF de todas as folhas")
	b.until(`!document.getElementById("trouble").hidden`)
	if eval[bool](b, "!!window.taken") {
		t.Error("it was refused and taken")
	}
	b.wellBehaved()
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	// The gateway has the bolt file open: the doctor says so, and is not well.
	code, out, _ := perform(t, append([]string{"doctor", "--public-url", h.addresses[0]}, h.store...)...)
	if code != failed || !strings.Contains(out, "a gateway answers at "+h.addresses[0]) || !strings.Contains(out, "wrong  store") {
		t.Errorf("beside a gateway: %d, %s", code, out)
	}
	h.gateways[0].stop()
	out = performs(t, append([]string{"doctor", "--public-url", "https://pay.example.invalid"}, h.store...)...)
	for _, want := range []string{"QR version 3 at level M, 4 at level Q", "nothing answers", "ok     store: bolt, ready", "clock"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in: %s", want, out)
		}
	}
	missing := filepath.Join(t.TempDir(), "none.db")
	code, out, _ = perform(t, "doctor", "--public-url", "http://pay.example.invalid", "--store", "bolt:"+missing, "--json")
	if _, err := os.Stat(missing); err == nil || code != failed || !strings.Contains(out, `"state":"wrong"`) || !strings.Contains(out, "has to be https") {
		t.Errorf("plain http and no store: %d, %s", code, out)
	}
}
