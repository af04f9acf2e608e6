package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"placard/linking"
	"placard/linking/storetest"
)

// batchOf makes a batch of codes and returns their tokens in order.
func (c *client) batchOf(kind string, n int) (batch string, tokens []string) {
	c.t.Helper()
	batch = c.call("POST", "/v1/codes/batches", m{"kind": kind, "count": n}).is(202).str("id")
	for _, row := range c.pages("/v1/codes/batches/" + batch + "/rows") {
		tokens = append(tokens, row["token"].(string))
	}
	if len(tokens) != n {
		c.t.Fatalf("a batch of %d has %d codes", n, len(tokens))
	}
	return batch, tokens
}

// fates are what is answered to rows.
type fates struct {
	Data []struct {
		Row     int
		Fate    string
		Why     string
		Detail  string
		Code    string
		Reading string
		Request string
	}
	Counts   map[string]int
	Gaps     []struct{ From, To int }
	Complete bool
	Problem  *struct{ Code string }
}

// agrees holds the sums of an answer against its rows.
func (f *fates) agrees(t testing.TB, rows int) {
	t.Helper()
	counts := map[string]int{}
	for i, d := range f.Data {
		if counts[d.Fate]++; d.Row != i+1 {
			t.Fatalf("fate %d is of row %d", i+1, d.Row)
		}
	}
	if len(f.Data) != rows || !reflect.DeepEqual(counts, f.Counts) {
		t.Fatalf("%d rows were sent; there are %d fates, %v by one count and %v by the other", rows, len(f.Data), counts, f.Counts)
	}
}

// readingFile writes rows in one of the three forms.
func readingFile(form string, rows []m) (contentType string, body []byte) {
	var b bytes.Buffer
	switch form {
	case "csv":
		b.WriteString("code;amount;recorded_at;device;sequence\n")
		for _, r := range rows {
			fmt.Fprintf(&b, "%s;%v;%s;%s;%v\n", r["code"], r["amount"], r["recorded_at"], r["device"], r["sequence"])
		}
		return "text/csv", b.Bytes()
	case "ndjson":
		for _, r := range rows {
			json.NewEncoder(&b).Encode(r)
		}
		return "application/x-ndjson", b.Bytes()
	}
	json.NewEncoder(&b).Encode(rows)
	return "application/json", b.Bytes()
}

func (c *client) sendRows(path, contentType string, body []byte) *fates {
	c.t.Helper()
	f := &fates{}
	c.call("POST", path, body, "Content-Type", contentType).is(200).read(f)
	return f
}

// cutCall begins a call and breaks the connection off: after sent bytes of the body, or,
// with all of it sent, after heard bytes of the answer.
func (c *client) cutCall(path, contentType string, body []byte, sent, heard int) {
	c.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.base, "http://"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", path, c.key, contentType, len(body))
	conn.Write(body[:sent])
	if sent == len(body) {
		io.CopyN(io.Discard, conn, int64(heard))
	}
}

// amountsOf are what the codes of a batch ask for, once the bank holds all of it.
func (c *client) amountsOf(tokens []string) (amounts []int64) {
	c.t.Helper()
	for _, token := range tokens {
		var shown *reply
		eventually(c.t, "the bank holds what "+token+" asks for", func() bool {
			shown = c.get("/v1/codes/" + token + "/link").is(200)
			return shown.at("request") == nil || shown.str("request.status") == "active"
		})
		if shown.at("request") == nil {
			amounts = append(amounts, 0)
			continue
		}
		amounts = append(amounts, shown.num("request.amount"))
	}
	return amounts
}

// Two files of readings, one of agents and one of the office, are sent once each; then
// again for other bills, three times, shuffled, cut at random bytes in every way and
// sent again. The bills are the same.
func TestReadingsCutShuffledAndRepeatedMakeTheSameBills(t *testing.T) {
	t.Parallel()
	overStores(t, func(t *testing.T, redis *storetest.RedisServer) {
		h := newHouse(t, houseOptions{redis: redis})
		office := h.shop.till
		agent := *office
		agent.key = h.shop.keys[linking.Agent]
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		const bills, readings = 30, 120
		_, clean := office.batchOf("bill", bills)
		_, rough := office.batchOf("bill", bills)
		began := time.Now().Add(-24 * time.Hour).UTC().Truncate(time.Second)
		rows := func(prefix string, tokens []string) (agents, desk []m) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			numbers := map[string]int{}
			for range readings {
				device := prefix + []string{"north", "south", "desk"}[rnd.IntN(3)]
				numbers[device]++
				row := m{
					"code": tokens[rnd.IntN(bills)], "amount": 1000 + rnd.IntN(9000), "device": device, "sequence": numbers[device],
					"recorded_at": began.Add(time.Duration(rnd.IntN(20*3600)) * time.Second).Format(time.RFC3339),
				}
				if strings.HasSuffix(device, "desk") {
					desk = append(desk, row)
				} else {
					agents = append(agents, row)
				}
			}
			return agents, desk
		}
		agents, desk := rows("a-", clean)
		for i, rows := range [][]m{agents, desk} {
			as := []*client{&agent, office}[i]
			kind, body := readingFile([]string{"ndjson", "csv"}[i], rows)
			f := as.sendRows("/v1/readings", kind, body)
			f.agrees(t, len(rows))
			if !f.Complete || f.Counts["refused"] > 0 || f.Counts["valued"] == 0 || f.Counts["superseded"] == 0 || len(f.Gaps) > 0 {
				t.Fatalf("the clean run: %v, %+v", f.Counts, f)
			}
		}
		want := office.amountsOf(clean)

		rnd := rand.New(rand.NewPCG(seed, 2))
		agents, desk = rows("b-", rough)
		shuffle := func(rows []m) { rnd.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] }) }
		for cut := range 20 {
			as, rows := &agent, agents
			if cut%2 == 0 {
				as, rows = office, desk
			}
			shuffle(rows)
			kind, body := readingFile([]string{"json", "ndjson", "csv"}[cut%3], rows)
			at := 1 + rnd.IntN(len(body)-1)
			switch rnd.IntN(3) {
			case 0: // the sender's line breaks
				as.cutCall("/v1/readings", kind, body, at, 0)
			case 1: // the answer is lost on its way
				as.cutCall("/v1/readings", kind, body, len(body), at/20)
			case 2: // the file itself is cut
				r := as.call("POST", "/v1/readings", body[:at], "Content-Type", kind)
				if r.Status == 200 {
					f := &fates{}
					r.read(f)
					f.agrees(t, len(f.Data))
					if kind == "application/json" && (f.Complete || f.Problem == nil) {
						t.Errorf("a list that was cut at byte %d is called complete", at)
					}
				} else {
					r.is(400)
				}
			}
		}
		for n := range 3 {
			for i, rows := range [][]m{agents, desk} {
				shuffle(rows)
				as := []*client{&agent, office}[i]
				kind, body := readingFile([]string{"json", "ndjson", "csv"}[n], rows)
				f := as.sendRows("/v1/readings", kind, body)
				f.agrees(t, len(rows))
				if !f.Complete || f.Counts["refused"] > 0 || n > 0 && f.Counts["duplicate"] != len(rows) || len(f.Gaps) > 0 {
					t.Fatalf("time %d: %v, gaps %v", n+1, f.Counts, f.Gaps)
				}
			}
		}
		if got := office.amountsOf(rough); !slices.Equal(got, want) {
			t.Fatalf("the bills ask for\n%v, and after one clean run for\n%v", got, want)
		}
	})
}

// A value far from the past waits for a second person; what was only read waits for
// billing, which takes all of it as a file.
func TestHeldAndRecordedReadings(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{office: func(svc *linking.Service, id linking.MerchantID) {
		if _, err := svc.ChangeMerchant(t.Context(), id, func(m *linking.Merchant) error { m.ReadingLimit = 20_000; return nil }); err != nil {
			t.Error(err)
		}
	}})
	office := h.shop.till
	as := func(role linking.Role) *client {
		c := *office
		c.key = h.shop.keys[role]
		return &c
	}
	agent, second := as(linking.Agent), as(linking.Manager)
	_, bills := office.batchOf("bill", 6)
	row := func(i, n, amount int) m {
		r := m{"code": bills[i], "device": "phone-7", "sequence": n, "recorded_at": "2026-03-02T10:00:00Z", "meter": "M-" + strconv.Itoa(i)}
		if amount > 0 {
			r["amount"] = amount
		} else {
			r["reading"], r["unit"] = "104"+strconv.Itoa(i)+".5", "m3"
		}
		return r
	}
	f := &fates{}
	agent.call("POST", "/v1/readings", []m{row(0, 1, 4000), row(1, 2, 400_000), row(2, 4, 30_000), row(3, 5, 0), row(4, 7, 0)}).is(200).read(f)
	f.agrees(t, 5)
	if want := (map[string]int{"valued": 1, "held": 2, "recorded": 2}); !reflect.DeepEqual(f.Counts, want) {
		t.Fatalf("%v", f.Counts)
	}
	if fmt.Sprint(f.Gaps) != "[{3 3} {6 6}]" || f.Data[1].Why != "above_limit" {
		t.Fatalf("gaps %v, %+v", f.Gaps, f.Data[1])
	}
	office.get("/v1/readings/gaps?device=phone-7").is(200).says("data.0.from", 3, "data.1.to", 6)
	office.get("/v1/readings/gaps").refused(422, "invalid_request", "device required")

	held := office.pages("/v1/readings?state=held")
	if len(held) != 2 {
		t.Fatalf("%d wait", len(held))
	}
	wait := "/v1/readings/" + f.Data[1].Reading
	agent.call("POST", wait+"/approve", nil).refused(403, "forbidden")
	second.call("POST", wait+"/approve", nil).is(200).says("fate", "valued", "amount", 400_000)
	second.call("POST", wait+"/approve", nil).is(200)
	second.call("POST", wait+"/reject", nil).refused(409, "not_allowed_in_status")
	second.call("POST", "/v1/readings/"+f.Data[2].Reading+"/reject", nil).is(200).says("fate", "rejected")
	second.call("POST", "/v1/readings/00000000000000000000000Z/reject", nil).refused(404, "not_found")
	h.other.till.call("POST", wait+"/reject", nil).refused(404, "not_found")
	if got := office.amountsOf(bills[:4]); !slices.Equal(got, []int64{4000, 400_000, 0, 0}) {
		t.Fatalf("the bills ask for %v", got)
	}
	// The office records a value itself: even its owner does not let it in alone.
	desk := row(5, 1, 90_000)
	desk["device"] = "desk"
	office.call("POST", "/v1/readings", []m{desk}, "Accept", "application/x-ndjson").is(200)
	own := office.pages("/v1/readings?state=held")
	if len(own) != 1 {
		t.Fatalf("%d wait", len(own))
	}
	office.call("POST", "/v1/readings/"+own[0]["id"].(string)+"/approve", nil).refused(403, "forbidden")

	csv := office.get("/v1/readings?state=recorded&format=csv").is(200)
	if got := strings.Split(strings.TrimSpace(string(csv.Body)), "\n"); len(got) != 3 || csv.Header.Get("Placard-Rows") != "2" || !strings.Contains(string(csv.Body), "1043.5,m3") {
		t.Fatalf("billing gets %q", csv.Body)
	}
	lines := office.get("/v1/readings?state=recorded&format=ndjson&from=2026-03-01T00:00:00Z").is(200)
	if n := bytes.Count(lines.Body, []byte("\n")); n != 2 {
		t.Fatalf("billing gets %q", lines.Body)
	}
	office.get("/v1/readings?state=recorded&from=2199-01-01T00:00:00Z").is(200).says("data", []any{})
	if all := office.pages("/v1/readings"); len(all) != 6 {
		t.Fatalf("%d readings are kept", len(all))
	}
	h.other.till.get("/v1/readings").is(200).says("data", []any{})
	as(linking.Cashier).call("POST", "/v1/readings", []m{row(0, 9, 1)}).refused(403, "forbidden")
}

// What cannot be read is refused as a whole if nothing of it was taken, and row by row
// otherwise.
func TestReadingsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true})
	till := h.shop.till
	_, bills := till.batchOf("bill", 1)
	for body, kind := range map[string]string{
		"":                              "application/json",
		"{}":                            "application/json",
		"7":                             "application/json",
		"[":                             "application/json",
		"code,amount,code\n":            "text/csv",
		"code,colour\n":                 "text/csv",
		"\xef\xbb\xbf":                  "text/csv",
		"\"code\n":                      "text/csv",
		"[" + strings.Repeat("[", 1000): "application/json",
	} {
		if r := till.call("POST", "/v1/readings", body, "Content-Type", kind); r.Status != 400 && !(r.Status == 200 && strings.Contains(string(r.Body), `"complete":false`)) {
			t.Errorf("%q is answered %d %s", body, r.Status, r.Body)
		}
	}
	till.call("POST", "/v1/readings", "x", "Content-Type", "text/plain").refused(415, "unsupported_media_type")
	till.call("POST", "/v1/readings?form=x", "[]").refused(422, "invalid_request", "form unknown_parameter")
	good := `{"code":"` + bills[0] + `","amount":5,"device":"d","sequence":1,"recorded_at":"2026-03-02T10:00:00Z"}`
	f := till.sendRows("/v1/readings", "application/x-ndjson", []byte("\n{\"code\":1}\r\n{\n"+strings.Replace(good, `"amount"`, `"amuont"`, 1)+"\n\xff\n"+good))
	f.agrees(t, 5)
	why := []string{"code_wrong_type", "malformed", "amuont_unknown_field", "malformed", ""}
	for i, d := range f.Data {
		if d.Why != why[i] {
			t.Errorf("row %d is refused for %q (%s), want %q", i+1, d.Why, d.Detail, why[i])
		}
	}
	f = till.sendRows("/v1/readings", "text/csv", []byte("code,amount,device,sequence,recorded_at\n"+bills[0]+",12.50,d,2,2026-03-02T10:00:00Z\nshort\n"+bills[0]+",\"7,d,3,x\n"))
	f.agrees(t, 3)
	if f.Data[0].Why != "amount_wrong_type" || f.Data[1].Why != "malformed" || f.Data[2].Why != "malformed" {
		t.Errorf("%+v", f.Data)
	}
	if got := till.amountsOf(bills); got[0] != 5 {
		t.Errorf("the bill asks for %d", got[0])
	}
}

// BenchmarkReadings sends 50,000 rows in one call to the program in a process of its
// own, and tells how long it took and how much memory it had at most beyond what it
// has when idle: its own (RssAnon), without the pages of the mapped bolt file.
func BenchmarkReadings(b *testing.B) {
	const rows = 50_000
	for _, form := range []string{"ndjson", "csv"} {
		for _, valued := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/amounts=%v", form, valued), func(b *testing.B) {
				for range b.N {
					benchReadings(b, form, rows, valued)
				}
			})
		}
	}
}

func benchReadings(b *testing.B, form string, n int, valued bool) {
	h := newHouse(b, houseOptions{bare: true})
	h.shut()
	address := freeAddress(b)
	p := spawn(b, append([]string{"serve", "--listen", address, "--public-url", "http://" + address, "--log-level", "warn"}, h.store...)...)
	till := &client{t: b, base: "http://" + address, key: h.shop.till.key, web: &http.Client{}}
	_, tokens := till.batchOf("bill", n)
	rows := make([]m, n)
	for i := range rows {
		rows[i] = m{"code": tokens[i], "amount": 1000 + i%5000, "device": "phone-" + strconv.Itoa(i%40), "sequence": i/40 + 1, "recorded_at": "2026-03-02T10:00:00Z"}
		if !valued {
			delete(rows[i], "amount")
			rows[i]["reading"] = strconv.Itoa(i) + ".5"
		}
		if form == "ndjson" {
			rows[i]["meter"], rows[i]["unit"], rows[i]["account"], rows[i]["reference"] = "M-"+strconv.Itoa(i), "m3", "47"+strconv.Itoa(i), "2026-03"
		}
	}
	kind, body := readingFile(form, rows)
	if form == "csv" && !valued {
		kind, body = "text/csv", bytes.Replace(bytes.ReplaceAll(body, []byte("<nil>"), []byte("7")), []byte("amount"), []byte("reading"), 1)
	}
	rows = nil
	memory := func() int {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
		if err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(string(status)) {
			if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
				kb, _ := strconv.Atoi(strings.Fields(rest)[0])
				return kb << 10
			}
		}
		b.Skip("this system does not tell a process's own memory")
		return 0
	}
	idle, most := memory(), 0
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
				most = max(most, memory())
			}
		}
	}()
	began := time.Now()
	f := till.sendRows("/v1/readings?format=json", kind, body)
	took := time.Since(began)
	close(done)
	<-watched
	f.agrees(b, n)
	if f.Counts["refused"] > 0 || !f.Complete {
		b.Fatalf("%v", f.Counts)
	}
	b.ReportMetric(took.Seconds(), "s")
	b.ReportMetric(float64(len(body))/(1<<20), "MiB-body")
	b.ReportMetric(float64(idle)/(1<<20), "MiB-idle")
	b.ReportMetric(float64(most-idle)/(1<<20), "MiB-above-idle")
}
