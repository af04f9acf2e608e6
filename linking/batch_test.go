package linking_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"placard/linking"
	"placard/linking/boltstore"
)

// linkBank is a bank that holds what it is told, and makes locations as badly as a
// test wants.
type linkBank struct {
	linking.Bank // for what no test of batches asks
	mu           sync.Mutex
	holds        map[linking.RequestID]linking.BankState
	made         []string
	fail         func(n int) error // of the nth location, counted from 1
	calls        int
}

func (b *linkBank) Open(*linking.Connection) (linking.Bank, error)                       { return b, nil }
func (b *linkBank) Seal(*linking.Connection, map[string]string, map[string]string) error { return nil }
func (b *linkBank) Reseal(*linking.Connection, map[string]string) error                  { return nil }
func (b *linkBank) Probe(context.Context, *linking.Connection, linking.Ask) []linking.ProbeStep {
	return nil
}

func (b *linkBank) Abilities(context.Context) (linking.Abilities, error) {
	return linking.Abilities{Currencies: []linking.Currency{"EUR"}, OpenEnded: true, Revise: true, EndsItself: true, BankLink: true}, nil
}

func (b *linkBank) Changed(context.Context, time.Time) ([]linking.RequestID, time.Time, error) {
	return nil, time.Time{}, &linking.BankError{Class: linking.BankRefused, Code: "no_list"}
}

func (b *linkBank) Put(_ context.Context, ask linking.Ask) (linking.BankState, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.holds == nil {
		b.holds = map[linking.RequestID]linking.BankState{}
	}
	b.holds[ask.ID] = linking.BankState{ID: ask.ID, Status: linking.BankOpen, Revision: ask.Revision, Money: ask.Money, ExpiresAt: ask.ExpiresAt}
	return b.holds[ask.ID], nil
}

func (b *linkBank) Get(_ context.Context, ref linking.BankRef) (linking.BankState, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	st, ok := b.holds[ref.ID]
	if !ok {
		return st, &linking.BankError{Class: linking.BankAbsent, Code: "absent"}
	}
	return st, nil
}

func (b *linkBank) Close(_ context.Context, ref linking.BankRef) (linking.BankState, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	st, ok := b.holds[ref.ID]
	if !ok {
		return st, &linking.BankError{Class: linking.BankAbsent, Code: "absent"}
	}
	st.Status = linking.BankClosed
	b.holds[ref.ID] = st
	return st, nil
}

// open counts the requests that could be paid at the bank.
func (b *linkBank) open() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, st := range b.holds {
		if st.Status == linking.BankOpen {
			n++
		}
	}
	return n
}

func (b *linkBank) MakeLink(_ context.Context, charge linking.Charge) (linking.BankLink, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	if b.fail != nil {
		if err := b.fail(b.calls); err != nil {
			return linking.BankLink{}, err
		}
	}
	id := fmt.Sprint("L", b.calls)
	b.made = append(b.made, id)
	return linking.BankLink{ID: id, Charge: charge, Payload: "bank.example/" + id}, nil
}

// shop is a service over a store of its own, with an owner who calls.
type shop struct {
	t     *testing.T
	store linking.Store
	bank  *linkBank
	svc   *linking.Service
	owner linking.Caller
	ctx   context.Context
}

func newShop(t *testing.T) *shop {
	t.Helper()
	store, err := boltstore.Open(filepath.Join(t.TempDir(), "shop.db"), boltstore.Options{})
	must(t, err)
	t.Cleanup(func() { store.Close() })
	s := &shop{t: t, store: store, bank: &linkBank{}, ctx: context.Background()}
	s.start()
	m, err := s.svc.CreateMerchant(s.ctx, linking.NewMerchant{Name: "Shop", Currency: "EUR"})
	must(t, err)
	_, err = s.svc.ConnectBank(s.ctx, m.ID, "relay", nil, nil)
	must(t, err)
	k, _, err := s.svc.CreateKey(s.ctx, m.ID, linking.NewKey{Role: linking.Owner})
	must(t, err)
	s.owner = k.Caller()
	return s
}

func (s *shop) start() {
	s.t.Helper()
	svc, err := linking.New(s.ctx, linking.Config{Store: s.store, Banks: s.bank, PublicURL: "https://pay.example", NewStore: true})
	must(s.t, err)
	s.svc = svc
	s.t.Cleanup(func() { svc.Close(s.ctx) })
}

func (s *shop) batch(in linking.NewBatch) *linking.Batch {
	s.t.Helper()
	b, err := s.svc.MakeBatch(s.ctx, s.owner, in)
	must(s.t, err)
	return b
}

func (s *shop) again(b *linking.Batch) *linking.Batch {
	s.t.Helper()
	b, err := s.svc.Batch(s.ctx, s.owner, b.ID)
	must(s.t, err)
	return b
}

func (s *shop) codes(b *linking.Batch) (list []linking.CodeView) {
	s.t.Helper()
	must(s.t, s.svc.BatchCodes(s.ctx, b, 0, uint64(b.Count), func(v linking.CodeView) error {
		list = append(list, v)
		return nil
	}))
	return list
}

// until sweeps until ok is true.
func (s *shop) until(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal("never: ", what)
		}
		s.svc.SweepOnce(s.ctx)
	}
}

// records counts what the store keeps of codes.
func (s *shop) records(tokens []linking.CodeView) (n int) {
	s.t.Helper()
	for some := range slices.Chunk(tokens, 500) {
		keys := make([]linking.Key, len(some))
		for i, v := range some {
			keys[i] = linking.Key{Shard: v.Token.Shard(), Kind: "c", ID: string(v.Token)}
		}
		recs, err := s.store.Get(s.ctx, keys...)
		must(s.t, err)
		for _, r := range recs {
			if r.Version > 0 {
				n++
			}
		}
	}
	return n
}

func (s *shop) attach(id linking.Token, in linking.NewRequest) error {
	_, err := s.svc.Attach(s.ctx, s.owner, linking.AttachCommand{Code: id, New: &in})
	return err
}

func resolution(t *testing.T, s *linking.Service, id linking.Token) linking.Resolution {
	t.Helper()
	v, err := s.Scan(context.Background(), id, "", false)
	must(t, err)
	return v.Seen.Resolution
}

func TestUnusedCodesOfABatchHaveNoRecord(t *testing.T) {
	s := newShop(t)
	b := s.batch(linking.NewBatch{Kind: linking.Bill, Count: 1000, Label: "Bill {n}", Metadata: map[string]string{"route": "7"}})
	list := s.codes(b)
	if len(list) != 1000 || list[0].Label != "Bill 1" || list[999].Label != "Bill 1000" || list[5].Metadata["route"] != "7" {
		t.Fatalf("%d codes, the first %+v", len(list), list[0].Code)
	}
	for _, v := range []linking.CodeView{list[0], list[999]} {
		if got := resolution(t, s.svc, v.Token); got != linking.Valueless {
			t.Errorf("a printed code resolves as %s", got)
		}
		one, err := s.svc.Code(s.ctx, s.owner, v.Token)
		must(t, err)
		if one.Label != v.Label || one.StockNow() != linking.StockMade {
			t.Errorf("alone it is %+v, in the list %+v", one.Code, v.Code)
		}
	}
	must(t, s.svc.KeepProofs(s.ctx, s.owner, nil))
	if n := s.records(list); n != 0 {
		t.Errorf("%d of 1000 unused codes have a record", n)
	}
	must(t, s.attach(list[3].Token, linking.NewRequest{ValueLater: true}))
	if n := s.records(list); n != 1 {
		t.Errorf("%d records after one was bound", n)
	}
	if v := s.codes(b)[3]; v.Label != "Bill 4" || v.Metadata["route"] != "7" || !v.Bound() || v.Valued() || v.Paid() {
		t.Errorf("bound, it is %+v", v.Code)
	}
}

func TestRowsOfABatch(t *testing.T) {
	s := newShop(t)
	rows := make([]linking.BatchRow, 450)
	for i := range rows {
		rows[i] = linking.BatchRow{Label: fmt.Sprintf("House %d", i+1), Metadata: map[string]string{"account": fmt.Sprintf("A%05d", i)}}
	}
	rows[449].Label = ""
	b := s.batch(linking.NewBatch{Kind: linking.Account, Rows: rows, Label: "No. {n}", Metadata: map[string]string{"route": "7"}})
	list := s.codes(b)
	for i, v := range list {
		want := fmt.Sprintf("House %d", i+1)
		if i == 449 {
			want = "No. 450"
		}
		if v.Label != want || v.Metadata["account"] != fmt.Sprintf("A%05d", i) || v.Metadata["route"] != "7" {
			t.Fatalf("row %d became %+v", i+1, v.Code)
		}
	}
	one, err := s.svc.Code(s.ctx, s.owner, list[201].Token)
	must(t, err)
	if one.Label != "House 202" {
		t.Errorf("alone it is %q", one.Label)
	}
	must(t, s.attach(list[201].Token, linking.NewRequest{ValueLater: true}))
	if v := s.codes(b)[201]; v.Label != "House 202" || v.Metadata["account"] != "A00201" {
		t.Errorf("with a record it is %+v", v.Code)
	}
	page, next, err := s.svc.Codes(s.ctx, s.owner, linking.CodeFilter{Batch: b.ID, Query: "house 44", Limit: 5})
	must(t, err)
	if len(page) != 5 || next == "" || page[0].Label != "House 44" {
		t.Errorf("found %d, then %q", len(page), next)
	}
	page, next, err = s.svc.Codes(s.ctx, s.owner, linking.CodeFilter{Batch: b.ID, Query: "house 44", Limit: 50, After: next})
	must(t, err)
	if len(page) != 6 || next != "" { // 445 to 449, and 444
		t.Errorf("found %d more, then %q", len(page), next)
	}
}

// A box of codes is lost: one call, and every scan of them says so, also of those that
// showed a bill; what they showed is ended at the bank. Found again, they serve again.
func TestALostBox(t *testing.T) {
	s := newShop(t)
	b := s.batch(linking.NewBatch{Kind: linking.Bill, Count: 300})
	list := s.codes(b)
	in, out := list[120].Token, list[20].Token
	for _, id := range []linking.Token{in, out} {
		must(t, s.attach(id, linking.NewRequest{Amount: 500, Currency: "EUR"}))
		s.until("payable", func() bool { return resolution(t, s.svc, id) == linking.Payable })
	}
	void := linking.CodeVoid
	_, err := s.svc.PatchCode(s.ctx, s.owner, list[130].Token, linking.CodePatch{Status: &void})
	must(t, err)

	marked, err := s.svc.MarkBatch(s.ctx, s.owner, linking.MarkBatch{Batch: b.ID, Status: linking.CodeLost, Ranges: []linking.SerialRange{{From: 100, To: 199}}})
	must(t, err)
	if marked.Codes != 100 {
		t.Errorf("%d codes marked", marked.Codes)
	}
	for i, v := range list {
		want := linking.Valueless
		switch {
		case i >= 100 && i <= 199:
			want = linking.OutOfUse
		case v.Token == out:
			want = linking.Payable
		}
		if got := resolution(t, s.svc, v.Token); got != want {
			t.Fatalf("serial %d resolves as %s, want %s", i+1, got, want)
		}
	}
	if err := s.attach(list[150].Token, linking.NewRequest{Amount: 100, Currency: "EUR"}); !linking.IsKind(err, linking.Gone) {
		t.Errorf("attached to a lost code: %v", err)
	}
	s.until("what the lost code showed is ended", func() bool {
		v, err := s.svc.Code(s.ctx, s.owner, in)
		must(t, err)
		return v.Shown == nil && v.Last != nil
	})
	s.until("the bank closes it", func() bool { return s.bank.open() == 1 })
	if v, _ := s.svc.Code(s.ctx, s.owner, out); v.Shown == nil {
		t.Error("a code outside of the box was emptied")
	}
	s.until("the walk ends", func() bool { return s.again(b).Emptying == nil })

	// One of them is found, and serves again; so do all but the one that was void before.
	active := linking.CodeActive
	_, err = s.svc.PatchCode(s.ctx, s.owner, list[150].Token, linking.CodePatch{Status: &active})
	must(t, err)
	if got := resolution(t, s.svc, list[150].Token); got != linking.Valueless {
		t.Errorf("found, it resolves as %s", got)
	}
	if got := resolution(t, s.svc, list[151].Token); got != linking.OutOfUse {
		t.Errorf("its neighbour resolves as %s", got)
	}
	newer, err := s.svc.ReplaceCode(s.ctx, s.owner, list[152].Token)
	must(t, err)
	if got := resolution(t, s.svc, list[152].Token); got != linking.Superseded || newer.Token == list[152].Token {
		t.Errorf("replaced, it resolves as %s", got)
	}
	_, err = s.svc.MarkBatch(s.ctx, s.owner, linking.MarkBatch{Batch: b.ID, Status: linking.CodeActive})
	must(t, err)
	for i, want := range map[int]linking.Resolution{110: linking.Valueless, 120: linking.Valueless, 130: linking.OutOfUse, 152: linking.Superseded, 199: linking.Valueless} {
		if got := resolution(t, s.svc, list[i].Token); got != want {
			t.Errorf("after all were found, serial %d resolves as %s, want %s", i+1, got, want)
		}
	}

	events, _, err := s.svc.Events(s.ctx, s.owner, linking.EventFilter{Limit: 500}, 0)
	must(t, err)
	said := 0
	for _, e := range events {
		if e.Batch != nil && e.Batch.Status == linking.CodeLost && e.Batch.Codes == 100 && e.Batch.From == 100 && e.Batch.To == 199 && e.By != "" {
			said++
		}
	}
	if said != 1 {
		t.Errorf("%d events say who lost the box", said)
	}
}

// Marks are what a list of all serials would say, however they overlap.
func TestMarksAreAList(t *testing.T) {
	s := newShop(t)
	const count = 60
	b := s.batch(linking.NewBatch{Kind: linking.Bill, Count: count})
	list := s.codes(b)
	var status [count]linking.CodeStatus
	var stock [count]linking.Stock
	for i := range count {
		status[i], stock[i] = linking.CodeActive, linking.StockMade
	}
	statuses := []linking.CodeStatus{"", linking.CodeActive, linking.CodeVoid, linking.CodeLost, linking.CodeRetired}
	stocks := []linking.Stock{"", linking.StockMade, linking.StockPrinted, linking.StockDelivered}
	for n := range 150 {
		from := uint64(n*7919) % count
		to := min(count-1, from+uint64(n*104729)%23)
		m := linking.MarkBatch{Batch: b.ID, Status: statuses[n%5], Stock: stocks[n*31%4], Ranges: []linking.SerialRange{{From: from, To: to}}}
		if m.Status == "" && m.Stock == "" {
			continue
		}
		if n%9 == 0 { // one code alone, as a return file names it
			m.Ranges, m.Listed, to = nil, []linking.Token{list[from].Token}, from
		}
		_, err := s.svc.MarkBatch(s.ctx, s.owner, m)
		must(t, err)
		for i := from; i <= to; i++ {
			if m.Status != "" {
				status[i] = m.Status
			}
			if m.Stock != "" {
				stock[i] = m.Stock
			}
		}
		if n%13 == 0 { // and an order about one code itself
			st, at := linking.CodeVoid, linking.StockPrinted
			_, err := s.svc.PatchCode(s.ctx, s.owner, list[from].Token, linking.CodePatch{Stock: &at})
			must(t, err)
			stock[from] = at
			if status[from] != linking.CodeActive {
				st = linking.CodeActive
			}
			_, err = s.svc.PatchCode(s.ctx, s.owner, list[from].Token, linking.CodePatch{Status: &st})
			must(t, err)
			_, err = s.svc.PatchCode(s.ctx, s.owner, list[from].Token, linking.CodePatch{Status: new(linking.CodeActive)})
			must(t, err)
			status[from] = linking.CodeActive
		}
		for i, v := range s.codes(s.again(b)) {
			if v.StatusNow() != status[i] || v.StockNow() != stock[i] {
				t.Fatalf("after mark %d (%+v), serial %d is %s and %s, want %s and %s", n, m, i, v.StatusNow(), v.StockNow(), status[i], stock[i])
			}
		}
	}
	n, err := s.svc.StockBook(s.ctx, s.again(b))
	must(t, err)
	if n.Codes != count || n.Made+n.Printed+n.Delivered != count || n.Active+n.Void+n.Lost+n.Retired+n.Newer != count {
		t.Errorf("the book is %+v", n)
	}
}

func TestMarksAreRefused(t *testing.T) {
	s := newShop(t)
	b := s.batch(linking.NewBatch{Kind: linking.Bill, Count: 10})
	other := s.batch(linking.NewBatch{Kind: linking.Bill, Count: 10})
	for name, m := range map[string]linking.MarkBatch{
		"nothing":      {},
		"no status":    {Status: "gone"},
		"replaced":     {Status: linking.CodeReplaced},
		"no stock":     {Stock: "burnt"},
		"past the end": {Status: linking.CodeLost, Ranges: []linking.SerialRange{{From: 5, To: 10}}},
		"backwards":    {Status: linking.CodeLost, Ranges: []linking.SerialRange{{From: 5, To: 4}}},
		"no codes":     {Status: linking.CodeLost, Listed: []linking.Token{}},
		"another's":    {Status: linking.CodeLost, Listed: []linking.Token{s.codes(other)[0].Token}},
	} {
		m.Batch = b.ID
		if _, err := s.svc.MarkBatch(s.ctx, s.owner, m); !linking.IsKind(err, linking.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, in := range map[string]linking.NewBatch{
		"none":         {Kind: linking.Bill},
		"too many":     {Kind: linking.Bill, Count: linking.MaxBatch + 1},
		"no kind":      {Kind: "poster", Count: 1},
		"rows":         {Kind: linking.Bill, Count: 2, Rows: make([]linking.BatchRow, 3)},
		"a long row":   {Kind: linking.Bill, Rows: []linking.BatchRow{{Metadata: map[string]string{"a": strings.Repeat("x", 1300)}}}},
		"a turned":     {Kind: linking.Bill, Rows: []linking.BatchRow{{Label: "a\u202eb"}}},
		"the bank's":   {Kind: linking.Bill, Count: 1, Rail: "pix"},
		"in a hurry":   {Kind: linking.Bill, Count: 1, PerSecond: 1000},
		"of no charge": {Kind: linking.Bill, Count: 1, Charge: linking.DueDate},
	} {
		if _, err := s.svc.MakeBatch(s.ctx, s.owner, in); !linking.IsKind(err, linking.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bound := s.owner
	bound.Codes = []linking.Token{s.codes(b)[0].Token}
	if _, err := s.svc.MakeBatch(s.ctx, bound, linking.NewBatch{Kind: linking.Bill, Count: 1}); !linking.IsKind(err, linking.Forbidden) {
		t.Errorf("a key of one code makes others: %v", err)
	}
	if _, err := s.svc.MarkBatch(s.ctx, bound, linking.MarkBatch{Batch: b.ID, Status: linking.CodeLost}); !linking.IsKind(err, linking.NotFound) {
		t.Errorf("a key of one code loses all others: %v", err)
	}
}

// Codes that the bank resolves are made one call each, and every location belongs to
// one code, through refusals and answers that are lost. What may be without a code is
// counted.
func TestABatchAtTheBank(t *testing.T) {
	s := newShop(t)
	s.bank.fail = func(n int) error {
		switch n {
		case 30:
			return &linking.BankError{Class: linking.BankUnknown, Code: "timeout"}
		case 60:
			return &linking.BankError{Class: linking.BankNotSent, Code: "down"}
		}
		return nil
	}
	in := linking.NewBatch{Kind: linking.Bill, Count: 150, ResolvedBy: linking.ByBankPayload, PerSecond: 100, Label: "Bill {n}"}
	_, took, err := s.svc.PlanBatch(s.ctx, s.owner, in)
	must(t, err)
	if took != 1500*time.Millisecond {
		t.Errorf("150 codes at 100 a second are said to take %v", took)
	}
	b := s.batch(in)
	if len(s.codes(b)) != 0 {
		t.Error("codes before the bank was asked")
	}
	s.until("the bank fails", func() bool { return s.again(b).Making.Problem != "" })
	s.until("the step ends", func() bool { return s.again(b).Making.Asking == 0 })
	half := s.again(b)
	if n := len(s.codes(half)); n != half.Making.Done || n == 0 || n == 150 {
		t.Errorf("%d codes after %d were made", n, half.Making.Done)
	}
	whole := *half
	whole.Making = nil
	must(t, s.svc.BatchTokens(s.ctx, &whole, 149, func(_ uint64, id linking.Token) bool {
		if got := resolution(t, s.svc, id); got != linking.NoSuchCode {
			t.Errorf("a code that the bank has not made yet resolves as %s", got)
		}
		if _, err := s.svc.Code(s.ctx, s.owner, id); !linking.IsKind(err, linking.NotFound) {
			t.Errorf("a code that the bank has not made yet: %v", err)
		}
		return true
	}))
	if half.Making.Orphans != 1 {
		t.Errorf("%d orphans after one lost answer", half.Making.Orphans)
	}
	// The pause after a failure is half a minute: another service, with a later clock.
	must(t, s.svc.Close(s.ctx))
	late, err := linking.New(s.ctx, linking.Config{Store: s.store, Banks: s.bank, PublicURL: "https://pay.example", Now: func() time.Time { return time.Now().Add(time.Minute) }})
	must(t, err)
	t.Cleanup(func() { late.Close(s.ctx) })
	s.svc = late
	s.until("once more", func() bool {
		return s.again(b).Made() > half.Made() && s.again(b).Making.Problem != "" || s.again(b).Made() == 150
	})
	if s.again(b).Made() < 150 {
		later, err := linking.New(s.ctx, linking.Config{Store: s.store, Banks: s.bank, PublicURL: "https://pay.example", Now: func() time.Time { return time.Now().Add(5 * time.Minute) }})
		must(t, err)
		t.Cleanup(func() { later.Close(s.ctx) })
		s.svc = later
		s.until("all are made", func() bool { return s.again(b).Made() == 150 })
	}
	list := s.codes(s.again(b))
	have := map[string]bool{}
	for i, v := range list {
		if v.BankLink == nil || have[v.BankLink.ID] || s.svc.Payload(v.Code) != "bank.example/"+v.BankLink.ID || v.Label != fmt.Sprint("Bill ", i+1) || v.Serial.No != uint64(i) {
			t.Fatalf("code %d is %+v", i+1, v.Code)
		}
		have[v.BankLink.ID] = true
	}
	if len(list) != 150 || len(s.bank.made) != 150 {
		t.Errorf("%d codes of %d locations", len(list), len(s.bank.made))
	}
}

// A process that dies while it asks leaves locations without codes; whoever goes on
// says how many they may be.
func TestOrphansOfADeadProcess(t *testing.T) {
	s := newShop(t)
	stuck, over := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(over) })
	s.bank.fail = func(n int) error {
		if n == 3 {
			close(stuck)
		}
		if n >= 3 {
			s.bank.mu.Unlock()
			<-over // until the test is: this process makes no commit any more
			s.bank.mu.Lock()
		}
		return nil
	}
	b := s.batch(linking.NewBatch{Kind: linking.Bill, Count: 20, ResolvedBy: linking.ByBankPayload, PerSecond: 10})
	s.svc.SweepOnce(s.ctx)
	<-stuck
	next := &linkBank{calls: 1000}
	svc, err := linking.New(s.ctx, linking.Config{Store: s.store, Banks: next, PublicURL: "https://pay.example", Now: func() time.Time { return time.Now().Add(5 * time.Minute) }})
	must(t, err)
	t.Cleanup(func() { svc.Close(s.ctx) })
	s.svc = svc
	s.until("all are made", func() bool { return s.again(b).Made() == 20 })
	if m := s.again(b).Making; m == nil || m.Orphans != 10 {
		t.Errorf("orphans: %+v", m)
	}
	if n := len(s.codes(s.again(b))); n != 20 {
		t.Errorf("%d codes", n)
	}
}

func TestProofsAreKept(t *testing.T) {
	s := newShop(t)
	hash := strings.Repeat("0af", 21) + "0"
	must(t, s.svc.KeepProofs(s.ctx, s.owner, []linking.SheetProof{{Hash: hash, Stock: "L7159", Passed: true, Seen: []byte(`{"codes":24}`), From: 1, To: 24}}))
	p, err := s.svc.Proof(s.ctx, s.owner, hash)
	must(t, err)
	if string(p.Seen) != `{"codes":24}` || p.By == "" || p.At.IsZero() || !p.Passed || p.To != 24 {
		t.Errorf("kept: %+v", p)
	}
	for _, bad := range []string{"", "0AF", strings.Repeat("g", 64), hash[1:]} {
		if err := s.svc.KeepProofs(s.ctx, s.owner, []linking.SheetProof{{Hash: bad}}); err == nil {
			t.Errorf("hash %q was kept", bad)
		}
		if _, err := s.svc.Proof(s.ctx, s.owner, bad); !linking.IsKind(err, linking.NotFound) {
			t.Errorf("hash %q: %v", bad, err)
		}
	}
	other := newShop(t)
	if _, err := other.svc.Proof(s.ctx, other.owner, hash); !linking.IsKind(err, linking.NotFound) {
		t.Errorf("another merchant's proof: %v", err)
	}
}
