package linking_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"placard/linking"
	"placard/linking/boltstore"
)

// utility is a merchant who prints bills before they are known.
type utility struct {
	t             *testing.T
	svc           *linking.Service
	banks         linking.Banks
	world         *world
	office, agent linking.Caller
	second        linking.Caller
	merchant      linking.MerchantID
	later         *atomic.Int64 // how far the clock has gone on since it was made
}

// busyBank is a bank that many call at once.
type busyBank struct {
	*worldBank
	mu sync.Mutex
}

func (b *busyBank) Open(*linking.Connection) (linking.Bank, error) { return b, nil }

func (b *busyBank) Put(ctx context.Context, ask linking.Ask) (linking.BankState, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.worldBank.Put(ctx, ask)
}

func (b *busyBank) Close(ctx context.Context, ref linking.BankRef) (linking.BankState, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.worldBank.Close(ctx, ref)
}

func (b *busyBank) Get(ctx context.Context, ref linking.BankRef) (linking.BankState, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.worldBank.Get(ctx, ref)
}

func newUtility(t *testing.T) *utility {
	t.Helper()
	store, err := boltstore.Open(filepath.Join(t.TempDir(), "placard.db"), boltstore.Options{})
	must(t, err)
	t.Cleanup(func() { store.Close() })
	w := &world{now: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
	bank := &worldBank{w: w, kind: true, requests: map[linking.RequestID]*bankRequest{}, ask: map[linking.RequestID]bool{}}
	w.bank = bank
	banks := &busyBank{worldBank: bank}
	later := new(atomic.Int64)
	svc, err := linking.New(t.Context(), linking.Config{Store: store, Banks: banks, PublicURL: "https://pay.example", NewStore: true, Now: func() time.Time { return w.now.Add(time.Duration(later.Load())) }})
	must(t, err)
	t.Cleanup(func() { svc.Close(context.Background()) })
	m, err := svc.CreateMerchant(t.Context(), linking.NewMerchant{Name: "Water", Currency: "EUR"})
	must(t, err)
	_, err = svc.ConnectBank(t.Context(), m.ID, "relay", nil, nil)
	must(t, err)
	u := &utility{t: t, svc: svc, banks: banks, world: w, merchant: m.ID, later: later}
	for _, who := range []struct {
		role linking.Role
		to   *linking.Caller
	}{{linking.Manager, &u.office}, {linking.Manager, &u.second}, {linking.Agent, &u.agent}} {
		k, _, err := svc.CreateKey(t.Context(), m.ID, linking.NewKey{Role: who.role})
		must(t, err)
		*who.to = k.Caller()
	}
	return u
}

func (u *utility) codes(kind linking.CodeKind, n int) (tokens []linking.Token) {
	u.t.Helper()
	b, err := u.svc.MakeBatch(u.t.Context(), u.office, linking.NewBatch{Kind: kind, Count: n})
	must(u.t, err)
	must(u.t, u.svc.BatchTokens(u.t.Context(), b, 0, func(_ uint64, tok linking.Token) bool { tokens = append(tokens, tok); return true }))
	return tokens
}

func (u *utility) send(c linking.Caller, rows ...linking.ReadingRow) []linking.Fate {
	u.t.Helper()
	fates, err := u.svc.Readings(u.t.Context(), c, rows)
	must(u.t, err)
	return fates
}

// bills is what each code asks for now: 0 for nothing.
func (u *utility) bills(tokens []linking.Token) (amounts []linking.Amount) {
	u.t.Helper()
	for _, tok := range tokens {
		v, err := u.svc.Code(u.t.Context(), u.office, tok)
		must(u.t, err)
		a := linking.Amount(0)
		if v.Shown != nil {
			a = v.Shown.Amount
		}
		amounts = append(amounts, a)
	}
	return amounts
}

func (u *utility) row(tok linking.Token, device string, n uint64, amount linking.Amount, minutes int) linking.ReadingRow {
	return linking.ReadingRow{Code: string(tok), Device: device, Sequence: n, Amount: amount, RecordedAt: u.world.now.Add(time.Duration(minutes-600) * time.Minute)}
}

// Whatever the order, however often and in whatever pieces rows arrive, the bills are
// those of one clean run.
func TestReadingsComeInAnyOrder(t *testing.T) {
	clean := newUtility(t)
	codes := clean.codes(linking.Bill, 40)
	rnd := rand.New(rand.NewPCG(7, 7))
	rowsFor := func(u *utility, codes []linking.Token) (rows []linking.ReadingRow) {
		rnd := rand.New(rand.NewPCG(1, 2))
		numbers := map[string]uint64{}
		for range 160 {
			device := []string{"north", "south", "east"}[rnd.IntN(3)]
			numbers[device]++
			amount := linking.Amount(1000 + rnd.IntN(9000))
			rows = append(rows, u.row(codes[rnd.IntN(len(codes))], device, numbers[device], amount, rnd.IntN(500)))
		}
		return rows
	}
	rows := rowsFor(clean, codes)
	fates := clean.send(clean.agent, rows...)
	want := clean.bills(codes)
	counted := map[linking.FateKind]int{}
	for i, f := range fates {
		if counted[f.Fate]++; f.Fate == linking.ReadRefused {
			t.Fatalf("row %d: %+v", i, f)
		}
	}
	if counted[linking.ReadValued] == 0 || counted[linking.ReadSuperseded] == 0 {
		t.Fatalf("the rows try too little: %v", counted)
	}
	for try := range 3 {
		u := newUtility(t)
		codes := u.codes(linking.Bill, 40)
		rows := rowsFor(u, codes)
		for range 3 {
			rnd.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
			for piece := range slices.Chunk(rows, 1+rnd.IntN(60)) {
				u.send(u.agent, piece...)
			}
		}
		if got := u.bills(codes); !reflect.DeepEqual(got, want) {
			t.Fatalf("try %d:\n%v, and one clean run\n%v", try, got, want)
		}
		for _, f := range u.send(u.agent, rows...) {
			if f.Fate != linking.ReadDuplicate {
				t.Fatalf("a row that is known is %s (%s)", f.Fate, f.Why)
			}
		}
	}
}

func (u *utility) fate(c linking.Caller, row linking.ReadingRow, want linking.FateKind, why string) linking.Fate {
	u.t.Helper()
	f := u.send(c, row)[0]
	if f.Fate != want || f.Why != why {
		u.t.Fatalf("row %d of %s is %s (%s: %s), and not %s (%s)", row.Sequence, row.Device, f.Fate, f.Why, f.Detail, want, why)
	}
	return f
}

// awaitStatus waits until the bank has answered about what a code shows.
func (u *utility) awaitStatus(tok linking.Token, want linking.Status) *linking.Request {
	u.t.Helper()
	for end := time.Now().Add(5 * time.Second); ; {
		v, err := u.svc.Code(u.t.Context(), u.office, tok)
		must(u.t, err)
		if v.Shown != nil && v.Shown.Status == want {
			a, err := u.svc.Request(u.t.Context(), u.office, string(v.Shown.Request))
			must(u.t, err)
			return a.Request
		}
		if time.Now().After(end) {
			u.t.Fatalf("the code shows %+v, not something %s", v.Shown, want)
		}
		time.Sleep(time.Millisecond)
	}
}

func (u *utility) paid(r *linking.Request) {
	u.t.Helper()
	_, err := u.svc.CancelRequest(u.t.Context(), u.office, string(r.ID), linking.ByOtherMeans, 5*time.Second)
	must(u.t, err)
}

func TestReadingFates(t *testing.T) {
	u := newUtility(t)
	codes := u.codes(linking.Bill, 8)
	t.Run("later beats earlier, the office beats the agent", func(t *testing.T) {
		u.fate(u.agent, u.row(codes[0], "a", 1, 4000, 10), linking.ReadValued, "")
		u.fate(u.agent, u.row(codes[0], "a", 2, 3000, 5), linking.ReadSuperseded, "")
		u.fate(u.agent, u.row(codes[0], "b", 1, 5000, 20), linking.ReadValued, "")
		u.fate(u.office, u.row(codes[0], "desk", 1, 4500, 1), linking.ReadValued, "")
		u.fate(u.agent, u.row(codes[0], "b", 2, 9000, 30), linking.ReadSuperseded, "")
		if got := u.bills(codes[:1]); got[0] != 4500 {
			t.Fatalf("the bill asks for %d", got[0])
		}
	})
	t.Run("an amount the office attached stays", func(t *testing.T) {
		_, err := u.svc.Attach(t.Context(), u.office, linking.AttachCommand{Code: codes[1], New: &linking.NewRequest{Amount: 700}})
		must(t, err)
		u.fate(u.agent, u.row(codes[1], "a", 3, 4000, 10), linking.ReadSuperseded, "")
		if got := u.bills(codes[1:2]); got[0] != 700 {
			t.Fatalf("the bill asks for %d", got[0])
		}
	})
	t.Run("a bill made to be valued later", func(t *testing.T) {
		_, err := u.svc.Attach(t.Context(), u.office, linking.AttachCommand{Code: codes[2], New: &linking.NewRequest{ValueLater: true, Reference: "W-3"}})
		must(t, err)
		u.fate(u.agent, u.row(codes[2], "a", 4, 4000, 10), linking.ReadValued, "")
		if r := u.awaitStatus(codes[2], linking.Active); r.Content.Amount != 4000 || r.Content.Reference != "W-3" {
			t.Fatalf("%+v", r.Content)
		}
	})
	t.Run("a paid bill never changes", func(t *testing.T) {
		u.fate(u.agent, u.row(codes[3], "a", 5, 4000, 10), linking.ReadValued, "")
		u.paid(u.awaitStatus(codes[3], linking.Active))
		f := u.fate(u.agent, u.row(codes[3], "a", 6, 4300, 20), linking.ReadAdjustment, "")
		if f.Difference != 300 {
			t.Fatalf("the difference is %d", f.Difference)
		}
		u.fate(u.agent, u.row(codes[3], "a", 7, 4000, 30), linking.ReadDuplicate, "")
		u.fate(u.agent, u.row(codes[3], "a", 8, 4100, 5), linking.ReadSuperseded, "")
	})
	t.Run("without an amount it is kept for billing", func(t *testing.T) {
		row := u.row(codes[4], "a", 9, 0, 10)
		row.Meter, row.Reading, row.Unit = "M-17", "1042.5", "m3"
		u.fate(u.agent, row, linking.ReadRecorded, "")
		u.fate(u.agent, row, linking.ReadDuplicate, "")
		row.Reading = "1043"
		u.fate(u.agent, row, linking.ReadRefused, "sequence_used")
	})
	t.Run("a clock that is ahead", func(t *testing.T) {
		row := u.row(codes[5], "a", 10, 100, 10)
		row.RecordedAt = u.world.now.Add(time.Hour)
		if f := u.fate(u.agent, row, linking.ReadValued, ""); !f.Cut {
			t.Fatal("nobody is told that the device's clock is wrong")
		}
		if f := u.fate(u.agent, row, linking.ReadDuplicate, ""); !f.Cut {
			t.Fatal("the second time it is another row")
		}
	})
	t.Run("gaps", func(t *testing.T) {
		u.fate(u.agent, u.row(codes[6], "c", 2, 100, 1), linking.ReadValued, "")
		u.fate(u.agent, u.row(codes[6], "c", 7, 200, 2), linking.ReadValued, "")
		u.fate(u.agent, u.row(codes[6], "c", 5, 300, 3), linking.ReadValued, "")
		gaps, err := u.svc.Gaps(t.Context(), u.office, "c")
		must(t, err)
		if got := fmt.Sprint(gaps); got != "[{c 1 1} {c 3 4} {c 6 6}]" {
			t.Fatal(got)
		}
		u.fate(u.agent, u.row(codes[6], "c", 6, 400, 4), linking.ReadValued, "")
		if gaps, _ = u.svc.Gaps(t.Context(), u.office, "c"); len(gaps) != 2 {
			t.Fatal(gaps)
		}
	})
	t.Run("what is wrong with a row", func(t *testing.T) {
		other := newUtility(t)
		counter, err := u.svc.MakeCode(t.Context(), u.office, linking.NewCode{Kind: linking.Counter})
		must(t, err)
		account, err := u.svc.MakeCode(t.Context(), u.office, linking.NewCode{Kind: linking.Account})
		must(t, err)
		good := u.row(codes[7], "d", 1, 100, 1)
		for why, spoil := range map[string]func(*linking.ReadingRow){
			"code_token":                 func(r *linking.ReadingRow) { r.Code = r.Code[:19] + "*" },
			"device_text":                func(r *linking.ReadingRow) { r.Device = "" },
			"sequence_range":             func(r *linking.ReadingRow) { r.Sequence = 0 },
			"recorded_at_required":       func(r *linking.ReadingRow) { r.RecordedAt = time.Time{} },
			"amount_range":               func(r *linking.ReadingRow) { r.Amount = -1 },
			"amount_required":            func(r *linking.ReadingRow) { r.Amount = 0 },
			"reading_decimal":            func(r *linking.ReadingRow) { r.Reading = "12,5" },
			"reference_text":             func(r *linking.ReadingRow) { r.Reference = "a\x00" },
			"currency_merchant_currency": func(r *linking.ReadingRow) { r.Currency = "USD" },
			"code_kind":                  func(r *linking.ReadingRow) { r.Code = string(counter.Token) },
			"reference_required":         func(r *linking.ReadingRow) { r.Code = string(account.Token) },
			"not_found":                  func(r *linking.ReadingRow) { r.Code = string(other.codes(linking.Bill, 1)[0]) },
		} {
			row := good
			spoil(&row)
			u.fate(u.agent, row, linking.ReadRefused, why)
		}
		u.fate(u.agent, good, linking.ReadValued, "")
	})
}

// A value far from the meter's past, or above the limit, waits for a second person.
func TestHeldReadingsAreDecidedByAnother(t *testing.T) {
	u := newUtility(t)
	codes := u.codes(linking.Bill, 6)
	meter := func(i int, n uint64, amount linking.Amount) linking.ReadingRow {
		row := u.row(codes[i], "a", n, amount, int(n))
		row.Meter = "M-1"
		return row
	}
	u.fate(u.agent, meter(0, 1, 4000), linking.ReadValued, "")
	u.fate(u.agent, meter(1, 2, 4200), linking.ReadValued, "")
	held := u.fate(u.agent, meter(2, 3, 42000), linking.ReadHeld, "far_from_past")
	little := u.fate(u.agent, meter(3, 4, 400), linking.ReadHeld, "far_from_past")
	u.fate(u.agent, meter(2, 3, 42000), linking.ReadHeld, "far_from_past") // sent again
	if got := u.bills(codes[2:4]); got[0] != 0 || got[1] != 0 {
		t.Fatalf("a held value is asked for: %v", got)
	}
	list, _, err := u.svc.ListReadings(t.Context(), u.office, linking.ReadingList{Fate: linking.ReadHeld, Limit: 10})
	must(t, err)
	if len(list) != 2 {
		t.Fatalf("%d wait", len(list))
	}
	if _, err := u.svc.DecideReading(t.Context(), u.agent, held.Reading, true); !linking.IsKind(err, linking.Forbidden) {
		t.Fatalf("whoever recorded it decides: %v", err)
	}
	rd, err := u.svc.DecideReading(t.Context(), u.office, held.Reading, true)
	must(t, err)
	if rd.Fate != linking.ReadValued || u.bills(codes[2:3])[0] != 42000 {
		t.Fatalf("%+v", rd)
	}
	if _, err := u.svc.DecideReading(t.Context(), u.second, held.Reading, true); err != nil {
		t.Fatalf("saying it again: %v", err)
	}
	if _, err := u.svc.DecideReading(t.Context(), u.second, held.Reading, false); !linking.IsCode(err, "not_allowed_in_status") {
		t.Fatalf("decided twice: %v", err)
	}
	rd, err = u.svc.DecideReading(t.Context(), u.office, little.Reading, false)
	must(t, err)
	if rd.Fate != linking.ReadRejected || u.bills(codes[3:4])[0] != 0 {
		t.Fatalf("%+v", rd)
	}
	if list, _, _ = u.svc.ListReadings(t.Context(), u.office, linking.ReadingList{Fate: linking.ReadHeld, Limit: 10}); len(list) != 0 {
		t.Fatalf("%d wait still", len(list))
	}
	_, err = u.svc.ChangeMerchant(t.Context(), u.merchant, func(m *linking.Merchant) error { m.ReadingLimit = 10000; return nil })
	must(t, err)
	u.fate(u.agent, u.row(codes[4], "b", 1, 10001, 1), linking.ReadHeld, "above_limit")
	u.fate(u.agent, u.row(codes[5], "b", 2, 10000, 1), linking.ReadValued, "")
}

// An account's code shows one bill at a time: a new one takes what was not paid along.
func TestAccountsCarryArrears(t *testing.T) {
	u := newUtility(t)
	account := u.codes(linking.Account, 1)[0]
	bill := func(month string, n uint64, amount linking.Amount) linking.ReadingRow {
		row := u.row(account, "a", n, amount, int(n))
		row.Reference = month
		return row
	}
	u.fate(u.agent, bill("2026-09", 1, 3000), linking.ReadValued, "")
	first := u.awaitStatus(account, linking.Active)
	u.fate(u.agent, bill("2026-10", 2, 2000), linking.ReadValued, "")
	r := u.awaitStatus(account, linking.Active)
	if r.Content.Amount != 5000 || len(r.Content.Lines) != 2 || r.Content.Lines[1].UnitPrice != 3000 {
		t.Fatalf("%+v", r.Content)
	}
	if a, err := u.svc.Request(t.Context(), u.office, string(first.ID)); err != nil || a.Request.Status == linking.Active {
		t.Fatalf("the older bill is %s: %v", a.Request.Status, err)
	}
	u.fate(u.agent, bill("2026-10", 3, 2500), linking.ReadValued, "")
	if r = u.awaitStatus(account, linking.Active); r.Content.Amount != 5500 {
		t.Fatalf("corrected, it asks for %d", r.Content.Amount)
	}
	if f := u.fate(u.agent, bill("2026-09", 4, 3100), linking.ReadAdjustment, ""); f.Difference != 100 {
		t.Fatalf("the difference is %d", f.Difference)
	}
	u.paid(r)
	u.fate(u.agent, bill("2026-11", 5, 2200), linking.ReadValued, "")
	if r = u.awaitStatus(account, linking.Active); r.Content.Amount != 2200 {
		t.Fatalf("after all was paid it asks for %d", r.Content.Amount)
	}
}

func TestReadingsWithoutAStore(t *testing.T) {
	u := newUtility(t)
	codes := u.codes(linking.Bill, 2)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	_, err := u.svc.Readings(ctx, u.agent, []linking.ReadingRow{u.row(codes[0], "a", 1, 100, 1), u.row(codes[1], "a", 2, 100, 1)})
	if !linking.IsKind(err, linking.Unavailable) || errors.Is(err, linking.ErrConflict) {
		t.Fatalf("%v", err)
	}
}

// A device whose rows come with more gaps than a record holds is still heard.
func TestNumbersOfADeviceAreBounded(t *testing.T) {
	a := linking.NumbersSeen(func(saw func(uint64)) {
		for n := range uint64(30_001) {
			saw(60_001 - 2*n)
		}
	})
	if len(a) != 10_000 || a[len(a)-1] != [2]uint64{60_001, 60_001} || a[0][0] != 1 {
		t.Fatalf("%d runs, from %v to %v", len(a), a[0], a[len(a)-1])
	}
}

// A bill that ran out of time unpaid is owed all the same.
func TestArrearsOfABillThatRanOut(t *testing.T) {
	u := newUtility(t)
	account := u.codes(linking.Account, 1)[0]
	bill := func(reference string, amount linking.Amount, until time.Time) linking.BillFate {
		t.Helper()
		f, err := u.svc.ImportBills(t.Context(), u.office, []linking.BillRow{{Code: string(account), Amount: amount, Reference: reference, ExpiresAt: until}}, false)
		must(t, err)
		return f[0]
	}
	if f := bill("2026-09", 3000, u.world.now.Add(time.Hour)); f.Fate != linking.ReadValued {
		t.Fatalf("%+v", f)
	}
	old := u.awaitStatus(account, linking.Active)
	u.later.Store(int64(2 * time.Hour))
	if f := bill("2026-10", 2000, time.Time{}); f.Fate != linking.ReadRefused || f.Why != "payment_in_flight" {
		t.Fatalf("while the bank has not confirmed the end: %+v", f)
	}
	u.svc.SweepOnce(t.Context())
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		a, err := u.svc.Request(t.Context(), u.office, string(old.ID))
		must(t, err)
		if a.Request.Status == linking.Expired {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the old bill is %s", a.Request.Status)
		}
	}
	if f := bill("2026-10", 2000, time.Time{}); f.Fate != linking.ReadValued || f.Amount != 5000 {
		t.Fatalf("%+v", f)
	}
}
