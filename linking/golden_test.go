package linking

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var addGolden = flag.Bool("golden.add", false, "write the records that testdata/records has not")

// TestRecordsOfEveryReleaseAreRead: testdata/records holds what releases wrote, one file
// for each kind of record and each release that changed it. Files are added, never
// changed: what stands in stores out there does not change either. Beside the bytes
// stands what they mean, because two fields of one type whose numbers changed places
// are written back to the same bytes, a total as what was paid. Those lines name the
// fields as Go does, and follow a field that gets another name there.
func TestRecordsOfEveryReleaseAreRead(t *testing.T) {
	kinds := map[string]func() any{
		"request": func() any { return new(Request) }, "link": func() any { return new(Link) }, "sale": func() any { return new(Sale) },
		"merchant": func() any { return new(Merchant) }, "batch": func() any { return new(Batch) }, "ring": func() any { return new(RingRecord) },
		"key": func() any { return new(APIKey) }, "outlet": func() any { return new(Outlet) }, "connection": func() any { return new(Connection) },
		"once": func() any { return new(onceRecord) }, "client-id": func() any { return new(clientIDRecord) },
		"payment": func() any { return new(paymentRecord) }, "exception": func() any { return new(exceptionRecord) },
		"logo": func() any { return new(logoRecord) }, "poll": func() any { return new(pollRecord) }, "tidy": func() any { return new(tidyRecord) },
		"shards": func() any { return new(shardsRecord) }, "store": func() any { return new(storeRecord) },
		"event": func() any { return new(Event) }, "reading": func() any { return new(Reading) }, "held": func() any { return new(heldRecord) },
		"bills": func() any { return new(billsRecord) }, "past": func() any { return new(pastRecord) }, "agent": func() any { return new(agentRecord) },
		"account": func() any { return new(accountRecord) }, "bill-row": func() any { return new(billRowRecord) },
		"promise": func() any { return new(PromiseRecord) },
		"rows":    func() any { return new(batchRows) }, "proof": func() any { return new(SheetProof) },
		"staff": func() any { return new(Staff) }, "login": func() any { return new(loginRecord) }, "session": func() any { return new(Session) }, "device": func() any { return new(Device) },
		"webhook": func() any { return new(Webhook) }, "delivery": func() any { return new(deliveryRecord) }, "attempts": func() any { return new(attemptsRecord) },
	}
	const dir = "testdata/records"
	if *addGolden {
		for kind, fresh := range kinds {
			v := fresh()
			fill(reflect.ValueOf(v).Elem(), new(int))
			addRecord(t, filepath.Join(dir, kind+"-1.hex"), v)
		}
		for _, kind := range []string{"batch", "event"} { // changed when batches got rows, and marks a place in the log
			v := kinds[kind]()
			fill(reflect.ValueOf(v).Elem(), new(int))
			addRecord(t, filepath.Join(dir, kind+"-2.hex"), v)
		}
		for name, c := range goldenCodes() {
			addRecord(t, filepath.Join(dir, "code-"+name+"-1.hex"), c)
		}
	}
	files, err := filepath.Glob(dir + "/*.hex")
	if err != nil {
		t.Fatal(err)
	}
	covered := map[string]bool{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".hex")
		kind := name[:strings.LastIndex(name, "-")]
		covered[kind] = true
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			data, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
			if err != nil {
				t.Fatal(err)
			}
			var v any = &Code{Token: goldenToken}
			if !strings.HasPrefix(kind, "code-") {
				if kinds[kind] == nil {
					t.Fatalf("there is no record of the kind %s any more", kind)
				}
				v = kinds[kind]()
			}
			newer, err := decodeRecord(data, v)
			if err != nil || len(newer) > 0 {
				t.Fatalf("it is not read: %v, unknown %v", err, newer)
			}
			if again, err := encodeRecord(v, nil); err != nil || !bytes.Equal(again, data) {
				t.Errorf("something is lost when it is written again: %v\n%x\n%x", err, data, again)
			}
			meaning := strings.TrimSuffix(file, ".hex") + ".txt"
			got := strings.Join(leaves(nil, "", reflect.ValueOf(v).Elem()), "\n") + "\n"
			if _, err := os.Stat(meaning); *addGolden && errors.Is(err, fs.ErrNotExist) {
				if err := os.WriteFile(meaning, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(meaning); err != nil || string(want) != got {
				t.Errorf("%v; it reads\n%s\nand meant\n%s", err, got, want)
			}
			if want := goldenCodes()[strings.TrimPrefix(kind, "code-")]; strings.HasPrefix(kind, "code-") && !reflect.DeepEqual(v, want) {
				t.Errorf("it reads\n%+v\nand was written as\n%+v", v, want)
			}
		})
	}
	for kind := range kinds {
		if !covered[kind] {
			t.Errorf("no release's %s is kept: add one with -golden.add", kind)
		}
	}
}

func addRecord(t *testing.T, file string, v any) {
	t.Helper()
	if _, err := os.Stat(file); err == nil {
		return
	}
	data, err := encodeRecord(v, nil)
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for text := hex.EncodeToString(data); text != ""; text = text[min(96, len(text)):] {
		lines.WriteString(text[:min(96, len(text))] + "\n")
	}
	if err := os.WriteFile(file, []byte(lines.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// fill gives every field a value of its own.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString("s" + time.Duration(*n).String())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(1000 + *n))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(1 + *n%250))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), n)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, n)
		fill(value, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1_800_000_000+int64(*n), 0)))
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), n)
			}
		}
	}
}

// leaves adds one line for each value within v that is not zero: a field that came
// later has no line in an older record.
func leaves(lines []string, path string, v reflect.Value) []string {
	if !v.IsValid() || v.IsZero() {
		return lines
	}
	if at, ok := v.Interface().(time.Time); ok {
		return append(lines, path+" = "+at.UTC().Format(time.RFC3339Nano))
	}
	switch v.Kind() {
	case reflect.Pointer:
		return leaves(lines, path, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				lines = leaves(lines, strings.TrimPrefix(path+"."+f.Name, "."), v.Field(i))
			}
		}
		return lines
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return append(lines, fmt.Sprintf("%s = %x", path, v.Interface()))
		}
		for i := range v.Len() {
			lines = leaves(lines, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
		return lines
	case reflect.Map:
		for _, k := range slices.SortedFunc(slices.Values(v.MapKeys()), func(a, b reflect.Value) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) }) {
			lines = leaves(lines, fmt.Sprintf("%s[%v]", path, k), v.MapIndex(k))
		}
		return lines
	}
	return append(lines, fmt.Sprintf("%s = %#v", path, v))
}

const goldenToken = Token("7Q0001234567890ABCDE")

// goldenCodes are codes as they stand in stores: unused, in use, and the bank's.
func goldenCodes() map[string]*Code {
	at := time.Unix(1_800_000_000, 0).UTC()
	base := Code{
		Token: goldenToken, Merchant: "7Q0123456789AB", Generation: 2, Serial: Serial{0, 77}, Kind: Counter, Status: CodeActive,
		Stock: StockMade, ResolvedBy: ByGateway, Charge: Immediate, CreatedAt: at,
	}
	inUse, bank := base, base
	inUse.Kind, inUse.Stock, inUse.Epoch, inUse.Rail, inUse.Outlet, inUse.Label = Bill, StockDelivered, 17, "relay", "7Q0123456789CD", "Table 4"
	inUse.Metadata, inUse.ScannedAt, inUse.Serial = map[string]string{"floor": "2"}, 16, Serial{4711, 99}
	inUse.Shown = &Face{
		Request: "7Q0123456789ABCDEFGHJKMNPQ", Sale: "s-1", By: "7Q0123456789", Since: at, Status: Preparing, Revision: 3, Amount: 1250,
		Currency: "EUR", ExpiresAt: at.Add(time.Hour), Stalled: at.Add(time.Minute), Reference: "Table 4", Methods: []string{"card", "bank"},
		Origin: MadeByRequest, EndReason: ByExpiry, PaidAt: at.Add(2 * time.Minute), PayOrigin: "https://bank.example",
	}
	inUse.Last = &PastLink{Request: "7Q0123456789ABCDEFGHJKMNPR", Sale: "s-0", Epoch: 15, At: at, ByItself: true}
	bank.ResolvedBy, bank.Charge, bank.Status, bank.ReplacedBy = ByBankPayload, DueDate, CodeReplaced, "7Q000ZZZZZZZZZZZZZZZ"
	bank.BankLink = &BankLink{ID: "42", Payload: "00020101021226"}
	bank.Shows, bank.ShowsUnknown, bank.Free = "7Q0123456789ABCDEFGHJKMNPQ", true, true
	withLines, face := inUse, *inUse.Shown
	face.Lines = []Line{{"Coffee", "2", 300, "23"}, {"Café ✓", "0.5", 1, "0"}}
	face.VATExtra, face.WordShut = true, true
	withLines.Shown = &face
	return map[string]*Code{"unused": &base, "in-use": &inUse, "bank": &bank, "with-lines": &withLines}
}
