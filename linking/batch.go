package linking

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Batch is a number of codes made together. An unused code of it has no record,
// unless the bank resolves it: the bank's location is nowhere else.
type Batch struct {
	ID         BatchID           `cbor:"1,keyasint"`
	Merchant   MerchantID        `cbor:"2,keyasint"`
	Generation int               `cbor:"3,keyasint"`
	No         uint32            `cbor:"4,keyasint"`
	Count      int               `cbor:"5,keyasint"`
	Kind       CodeKind          `cbor:"6,keyasint"`
	Charge     Charge            `cbor:"7,keyasint,omitempty"`
	Rail       string            `cbor:"8,keyasint,omitempty"`
	Outlet     OutletID          `cbor:"9,keyasint,omitempty"`
	Label      string            `cbor:"10,keyasint,omitempty"` // pattern; {n} is the serial counted from 1
	Metadata   map[string]string `cbor:"11,keyasint,omitempty"`
	CreatedAt  time.Time         `cbor:"12,keyasint"`
	// Ranges say what became of parts of the batch. They win over a code's own state,
	// and no two of them say the same thing of one serial.
	Ranges []BatchRange `cbor:"13,keyasint,omitempty"`
	// ResolvedBy is who answers scans of its codes; empty: the gateway.
	ResolvedBy ResolvedBy `cbor:"14,keyasint,omitempty"`
	// Rows names the records that hold what is known of each code; empty: nothing is
	// but the pattern. See batchRows.
	Rows string `cbor:"15,keyasint,omitempty"`
	// Making is how far a batch is that the bank resolves; nil: all are made.
	Making *Making `cbor:"16,keyasint,omitempty"`
	// Emptying walks over codes that a mark took out of use while they showed
	// something; nil: there is nothing to do.
	Emptying *Emptying `cbor:"17,keyasint,omitempty"`
}

// BatchRow is what a batch is told of one of its codes.
type BatchRow struct {
	Label    string            `cbor:"1,keyasint,omitempty"`
	Metadata map[string]string `cbor:"2,keyasint,omitempty"`
}

// batchRows are the rows of rowsEach codes of a batch.
type batchRows struct {
	Rows []BatchRow `cbor:"1,keyasint"`
}

const (
	rowsEach  = 200
	rowsOnce  = 10   // records of rows that one commit writes
	maxRow    = 1200 // bytes of a row, so that rowsEach of them fit into a record
	maxMarked = 2000 // ranges of a batch: its record is read by every scan of its codes
)

func rowsKey(s Shard, rows string, chunk uint64) Key {
	return Key{s, kindRows, string(appendSymbols([]byte(rows), chunk, 4))}
}

// Made is how many codes of the batch there are by now.
func (b *Batch) Made() int {
	if b.Making != nil {
		return b.Making.Done
	}
	return b.Count
}

// derives reports whether a serial is a code without having a record. One that the bank resolves exists only
// with a record of its own.
func (b *Batch) derives(no uint64) bool {
	return no < uint64(b.Count) && b.ResolvedBy != ByBankPayload
}

// code is what a code of the batch is before anything happened to it.
func (b *Batch) code(id Token, s Serial) *Code {
	c := &Code{
		Token: id, Merchant: b.Merchant, Generation: b.Generation, Serial: s, Kind: b.Kind,
		Status: CodeActive, Stock: StockMade, ResolvedBy: ByGateway, Charge: b.Charge, Rail: b.Rail,
		Outlet: b.Outlet, Metadata: b.Metadata, CreatedAt: b.CreatedAt,
	}
	if b.Label != "" {
		c.Label = strings.ReplaceAll(b.Label, "{n}", fmt.Sprint(s.No+1))
	}
	if c.Charge == "" {
		c.Charge = Immediate
	}
	return c
}

// describe gives a code that has no record yet what the batch was told of it.
func (t *tx) describe(b *Batch, c *Code) error {
	if b.Rows == "" {
		return nil
	}
	r, err := read[batchRows](t, rowsKey(b.Merchant.Shard(), b.Rows, c.Serial.No/rowsEach), nil)
	if err != nil || r == nil {
		return orMissing(err, "row of the batch")
	}
	if i := c.Serial.No % rowsEach; i < uint64(len(r.Rows)) {
		c.take(r.Rows[i])
	}
	return nil
}

func (c *Code) take(r BatchRow) {
	if r.Label != "" {
		c.Label = r.Label
	}
	if len(r.Metadata) > 0 {
		all := map[string]string{}
		for k, v := range c.Metadata {
			all[k] = v
		}
		for k, v := range r.Metadata {
			all[k] = v
		}
		c.Metadata = all
	}
}

// NewBatch is what a batch of codes starts with.
type NewBatch struct {
	Kind       CodeKind
	Count      int
	Label      string // pattern; {n} is the serial counted from 1
	Outlet     OutletID
	Metadata   map[string]string // of each code
	Rail       string
	ResolvedBy ResolvedBy // empty: as payers of the rail expect
	Charge     Charge     // empty: immediate
	Rows       []BatchRow // one for each code, or none
	PerSecond  int        // calls to the bank, for codes that it resolves; 0: five
}

// MaxBatch is the most codes of one batch.
const MaxBatch = 1_000_000

const (
	usualPerSecond = 5
	maxPerSecond   = 100
)

func (in *NewBatch) check() error {
	if err := checkCode(in.Kind, in.Label); err != nil {
		return err
	}
	if in.Rows != nil && in.Count == 0 {
		in.Count = len(in.Rows)
	}
	if in.Count < 1 || in.Count > MaxBatch {
		return invalid("count", "range", fmt.Sprintf("A batch has 1 to %d codes.", MaxBatch))
	}
	if in.Rows != nil && len(in.Rows) != in.Count {
		return invalid("rows", "count", fmt.Sprintf("There are %d rows for %d codes.", len(in.Rows), in.Count))
	}
	for i, r := range in.Rows {
		n := len(r.Label)
		for k, v := range r.Metadata {
			n += len(k) + len(v)
		}
		if err := text(fmt.Sprintf("rows[%d].label", i), r.Label, maxLabel); err != nil {
			return err
		}
		if n > maxRow {
			return invalid(fmt.Sprintf("rows[%d]", i), "too_long", fmt.Sprintf("A row has at most %d bytes.", maxRow))
		}
	}
	if in.PerSecond == 0 {
		in.PerSecond = usualPerSecond
	}
	if in.PerSecond < 1 || in.PerSecond > maxPerSecond {
		return invalid("per_second", "range", fmt.Sprintf("The bank is asked 1 to %d times a second.", maxPerSecond))
	}
	return nil
}

// PlanBatch says what a batch would be, and makes nothing. Took is how long the bank
// is asked for its locations; zero: it is not asked at all.
func (s *Service) PlanBatch(ctx context.Context, c Caller, in NewBatch) (b *Batch, took time.Duration, err error) {
	if err := in.check(); err != nil {
		return nil, 0, err
	}
	n := NewCode{Kind: in.Kind, Rail: in.Rail, ResolvedBy: in.ResolvedBy, Charge: in.Charge}
	conn, err := s.resolver(ctx, c, &n)
	if err != nil {
		return nil, 0, err
	}
	b = &Batch{
		Merchant: c.Merchant, Count: in.Count, Kind: in.Kind, Charge: n.Charge, Rail: in.Rail, Outlet: in.Outlet,
		Label: in.Label, Metadata: in.Metadata, ResolvedBy: n.ResolvedBy,
	}
	if b.Outlet == "" {
		b.Outlet = c.Outlet
	}
	if conn != nil {
		b.Making = &Making{PerSecond: in.PerSecond}
	}
	return b, b.Left(), nil
}

// MakeBatch makes many codes at the cost of one record, and one for each 200 rows if
// there are rows. Codes that the bank resolves are made after it has returned, each
// with one call to the bank: see Making.
func (s *Service) MakeBatch(ctx context.Context, c Caller, in NewBatch) (*Batch, error) {
	if len(c.Codes) > 0 {
		return nil, &Error{Kind: Forbidden, Code: "forbidden", Detail: "A key that is bound to codes makes no new ones."}
	}
	plan, _, err := s.PlanBatch(ctx, c, in)
	if err != nil {
		return nil, err
	}
	if in.Rows != nil {
		// The rows go first: a batch that exists has all of them. Should this process
		// die in between, they cost their bytes and mean nothing.
		if plan.Rows, err = s.keepRows(ctx, c, in.Rows); err != nil {
			return nil, err
		}
	}
	var b *Batch
	err = s.change(ctx, c.Merchant.Shard(), func(t *tx) error {
		t.begin(c)
		again, err := t.onceBegin()
		if err != nil || again != nil {
			return err
		}
		m, err := t.merchantRec()
		if err != nil || m == nil {
			return orMissing(err, "merchant")
		}
		gen, _, err := t.newestKey(m)
		if err != nil {
			return err
		}
		if err := t.mayPlace(c, plan.Outlet); err != nil {
			return err
		}
		var n [4]byte
		rand.Read(n[:])
		one := *plan
		b = &one
		b.No = binary.BigEndian.Uint32(n[:])%maxBatch + 1
		b.Generation, b.CreatedAt = gen.No, t.now
		b.ID = batchID(m.ID, gen.No, b.No)
		if plan.Making != nil {
			b.Making = &Making{PerSecond: plan.Making.PerSecond, NextAt: t.now}
		}
		t.emit(Event{Type: CodeMade, Outlet: b.Outlet, Batch: &EventBatch{ID: b.ID, Codes: b.Count}}, nil)
		if err := t.create(batchKey(b.ID), b); err != nil {
			return err
		}
		return t.onceDone(b)
	})
	return b, err
}

// keepRows stores rows, and returns the name they go by.
func (s *Service) keepRows(ctx context.Context, c Caller, rows []BatchRow) (string, error) {
	name, chunk := randomSymbols(16), uint64(0)
	for some := range slices.Chunk(rows, rowsEach*rowsOnce) {
		err := s.change(ctx, c.Merchant.Shard(), func(t *tx) error {
			t.begin(c)
			n := chunk
			for part := range slices.Chunk(some, rowsEach) {
				if err := t.create(rowsKey(t.shard, name, n), &batchRows{part}); err != nil {
					return err
				}
				n++
			}
			return nil
		})
		if err != nil {
			return "", err
		}
		chunk += rowsOnce
	}
	return name, nil
}

// tokensOf returns what makes the tokens of a batch from their serials.
func (s *Service) tokensOf(ctx context.Context, b *Batch) (func(serial uint64) Token, error) {
	t := s.look(ctx, b.Merchant.Shard())
	t.merchant = b.Merchant
	m, err := t.merchantRec()
	if err != nil || m == nil {
		return nil, storeProblem(orMissing(err, "merchant"))
	}
	for _, g := range m.Generations {
		if g.No != b.Generation {
			continue
		}
		ring, err := read[RingRecord](t, ringKeyOf(t.shard, g.Ring), nil)
		if err != nil || ring == nil {
			return nil, storeProblem(orMissing(err, "key ring"))
		}
		for _, k := range ring.Keys {
			if k.Merchant == m.ID && k.Generation == g.No && len(k.Key) == len(TokenKey{}) {
				return func(n uint64) Token { return MakeToken(t.shard, g.Ring, TokenKey(k.Key), Serial{b.No, n}) }, nil
			}
		}
	}
	return nil, &Error{Kind: Unavailable, Code: "key_lost", Detail: "The key of this batch's codes is lost; the codes that were used still work."}
}

// BatchTokens calls f with the tokens of a batch from a serial on, in order, until f
// returns false. It reads nothing but the batch's key.
func (s *Service) BatchTokens(ctx context.Context, b *Batch, from uint64, f func(serial uint64, t Token) bool) error {
	token, err := s.tokensOf(ctx, b)
	if err != nil {
		return err
	}
	for n := from; n < uint64(b.Made()); n++ {
		if !f(n, token(n)) {
			return nil
		}
	}
	return nil
}

// Batch reads a batch.
func (s *Service) Batch(ctx context.Context, c Caller, id BatchID) (*Batch, error) {
	b, err := read[Batch](s.look(ctx, id.Shard()), batchKey(id), nil)
	if err != nil || b == nil || !c.sees(b.Merchant, b.Outlet, "") {
		return nil, storeProblem(orMissing(err, "batch"))
	}
	return b, nil
}

// Batches lists a merchant's batches by their ids.
func (s *Service) Batches(ctx context.Context, c Caller, after string, limit int) (list []*Batch, next string, err error) {
	if after != "" && !isID(after, 20) {
		return nil, "", errCursor
	}
	for {
		page, err := s.batchesAfter(ctx, c, "", "", after)
		if err != nil || len(page) == 0 {
			return list, "", err
		}
		for _, b := range page {
			after = string(b.ID)
			if !c.sees(b.Merchant, b.Outlet, "") {
				continue
			}
			if len(list) == limit {
				return list, string(list[len(list)-1].ID), nil
			}
			list = append(list, b)
		}
	}
}

// batchCodes lists the codes of batches, after what list holds already.
func (s *Service) batchCodes(ctx context.Context, c Caller, f CodeFilter, list []CodeView) ([]CodeView, string, error) {
	after, from := "", uint64(0)
	first := BatchID("")
	if at, ok := strings.CutPrefix(f.After, "b"); ok && len(at) == 24 {
		first, from = BatchID(at[:20]), symbols(at[20:])+1
	}
	for {
		batches, err := s.batchesAfter(ctx, c, f.Batch, first, after)
		if err != nil || len(batches) == 0 {
			return list, "", err
		}
		for _, b := range batches {
			after = string(b.ID)
			var next string
			if list, next, err = s.codesOf(ctx, c, f, b, from, list); err != nil || next != "" {
				return list, next, err
			}
			from = 0
		}
		if f.Batch != "" {
			return list, "", nil
		}
		first = ""
	}
}

func (s *Service) batchesAfter(ctx context.Context, c Caller, only, first BatchID, after string) ([]*Batch, error) {
	if only != "" {
		first = only
	}
	if first != "" {
		b, err := s.Batch(ctx, c, first)
		if err != nil {
			return nil, err
		}
		return []*Batch{b}, nil
	}
	page, err := s.store.List(ctx, Listing{Shard: c.Merchant.Shard(), Kind: kindBatch, Owner: string(c.Merchant), After: after, Limit: listPage})
	if err != nil {
		return nil, storeProblem(err)
	}
	var list []*Batch
	for _, rec := range page {
		b := new(Batch)
		if _, err := decodeRecord(rec.Data, b); err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return list, nil
}

// codesOf adds a batch's codes to list, and returns what to go on from.
func (s *Service) codesOf(ctx context.Context, c Caller, f CodeFilter, b *Batch, from uint64, list []CodeView) ([]CodeView, string, error) {
	next := ""
	err := s.walk(ctx, b, from, uint64(b.Made()), func(v CodeView) (bool, error) {
		v, err := s.asNow(ctx, v)
		if err != nil || !c.sees(v.Merchant, v.Outlet, v.Token) || !f.takes(v) {
			return true, err
		}
		if len(list) == f.Limit {
			last := list[len(list)-1]
			next = string(last.Token)
			if last.Serial.Batch != 0 {
				next = "b" + string(batchID(last.Merchant, last.Generation, last.Serial.Batch)) + string(appendSymbols(nil, last.Serial.No, 4))
			}
			return false, nil
		}
		list = append(list, v)
		return true, nil
	})
	return list, next, err
}

// walk calls f with a batch's codes from one serial up to, not including, another,
// until f returns false. It holds no more than a page of them.
func (s *Service) walk(ctx context.Context, b *Batch, from, to uint64, f func(CodeView) (bool, error)) error {
	token, err := s.tokensOf(ctx, b)
	if err != nil {
		return err
	}
	t := s.look(ctx, b.Merchant.Shard()) // for the rows
	for to = min(to, uint64(b.Made())); from < to; {
		n := min(to-from, rowsEach-from%rowsEach)
		keys := make([]Key, n, n+1)
		for i := range keys {
			keys[i] = codeKey(token(from + uint64(i)))
		}
		recs, err := s.store.Get(ctx, keys...)
		if err != nil {
			return storeProblem(err)
		}
		clear(t.recs)
		t.order = t.order[:0]
		for i, rec := range recs {
			v := CodeView{&Code{Token: Token(rec.ID)}, b}
			if rec.Version > 0 {
				if _, err := decodeRecord(rec.Data, v.Code); err != nil {
					return err
				}
			} else if v.Code = b.code(v.Token, Serial{b.No, from + uint64(i)}); b.derives(v.Serial.No) {
				if err := t.describe(b, v.Code); err != nil {
					return storeProblem(err)
				}
			} else {
				continue
			}
			if more, err := f(v); err != nil || !more {
				return err
			}
		}
		from += n
	}
	return nil
}

// BatchCodes calls f with the codes of a batch from one serial, counted from 0, up to,
// not including, another, as they are now, until f returns an error. It holds no more
// than a page of them, so that a million can be printed.
func (s *Service) BatchCodes(ctx context.Context, b *Batch, from, to uint64, f func(CodeView) error) error {
	return s.walk(ctx, b, from, to, func(v CodeView) (bool, error) {
		v, err := s.asNow(ctx, v)
		if err != nil {
			return false, err
		}
		return true, f(v)
	})
}

// StockBook counts the codes of a batch by what became of them.
type StockBook struct {
	Codes, Made, Printed, Delivered    int // by where they are as things of paper
	Bound, Valued, Paid                int // ever showed a request; show an amount; show that it is settled
	Active, Void, Lost, Retired, Newer int // by status; Newer: replaced
}

// StockBook counts the codes of a batch. It reads all of them.
func (s *Service) StockBook(ctx context.Context, b *Batch) (n StockBook, err error) {
	err = s.BatchCodes(ctx, b, 0, uint64(b.Count), func(v CodeView) error {
		n.Codes++
		*map[Stock]*int{StockMade: &n.Made, StockPrinted: &n.Printed, StockDelivered: &n.Delivered}[v.StockNow()]++
		*map[CodeStatus]*int{CodeActive: &n.Active, CodeVoid: &n.Void, CodeLost: &n.Lost, CodeRetired: &n.Retired, CodeReplaced: &n.Newer}[v.StatusNow()]++
		for _, is := range []struct {
			so bool
			n  *int
		}{{v.Bound(), &n.Bound}, {v.Valued(), &n.Valued}, {v.Paid(), &n.Paid}} {
			if is.so {
				*is.n++
			}
		}
		return nil
	})
	return n, err
}

// Bound reports whether the code shows or ever showed a payment request.
func (v CodeView) Bound() bool { return v.Shown != nil || v.Last != nil }

// Valued reports whether the code shows a request with an amount.
func (v CodeView) Valued() bool { return v.Shown != nil && v.Shown.Amount > 0 }

// Paid reports whether what the code shows is settled.
func (v CodeView) Paid() bool {
	return v.Shown != nil && (v.Shown.Status == Paid || v.Shown.Status == Cancelled && v.Shown.EndReason == ByOtherMeans)
}
