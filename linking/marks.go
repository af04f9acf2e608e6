package linking

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// BatchRange marks the serials From to To, counted from 0, both included.
type BatchRange struct {
	From   uint64     `cbor:"1,keyasint"`
	To     uint64     `cbor:"2,keyasint"`
	Status CodeStatus `cbor:"3,keyasint,omitempty"` // empty: says nothing of it
	Stock  Stock      `cbor:"4,keyasint,omitempty"` // empty: says nothing of it
	At     time.Time  `cbor:"5,keyasint"`
	By     string     `cbor:"6,keyasint,omitempty"`
}

// statusOf is what the batch says of a serial; empty: nothing.
func (b *Batch) statusOf(no uint64) (s CodeStatus) {
	for i := range b.Ranges {
		if r := &b.Ranges[i]; no >= r.From && no <= r.To && r.Status != "" {
			s = r.Status
		}
	}
	return s
}

// stockOf is where the batch says a serial is; empty: nothing.
func (b *Batch) stockOf(no uint64) (s Stock) {
	for i := range b.Ranges {
		if r := &b.Ranges[i]; no >= r.From && no <= r.To && r.Stock != "" {
			s = r.Stock
		}
	}
	return s
}

// mark writes what became of some serials over what was said of them before. The
// status active is the absence of any other: what a code's own record says counts
// again, and a code that was replaced stays so.
func (b *Batch) mark(m BatchRange) {
	ranges := make([]BatchRange, 0, len(b.Ranges)+3)
	for _, r := range b.Ranges {
		if r.To < m.From || r.From > m.To {
			ranges = append(ranges, r)
			continue
		}
		if r.From < m.From {
			left := r
			left.To = m.From - 1
			ranges = append(ranges, left)
		}
		mid := r
		mid.From, mid.To = max(r.From, m.From), min(r.To, m.To)
		if m.Status != "" {
			mid.Status = ""
		}
		if m.Stock != "" {
			mid.Stock = ""
		}
		if mid.Status != "" || mid.Stock != "" {
			ranges = append(ranges, mid)
		}
		if r.To > m.To {
			right := r
			right.From = m.To + 1
			ranges = append(ranges, right)
		}
	}
	if m.Status == CodeActive {
		m.Status = ""
	}
	if m.Status != "" || m.Stock != "" {
		ranges = append(ranges, m)
	}
	slices.SortStableFunc(ranges, func(a, b BatchRange) int {
		if a.From < b.From {
			return -1
		}
		return int(min(1, a.From-b.From))
	})
	b.Ranges = ranges
}

// unmark lets one code's own record speak again, of its status or of where it is.
func (b *Batch) unmark(no uint64, status bool) {
	if b == nil {
		return
	}
	for _, r := range slices.Clone(b.Ranges) {
		if no < r.From || no > r.To || status && r.Status == "" || !status && r.Stock == "" {
			continue
		}
		one := r
		one.From, one.To = no, no
		if status {
			one.Status, one.Stock = CodeActive, ""
		} else {
			// A mark of a stock state cannot be taken back by another: cut it out.
			b.cutStock(no)
			continue
		}
		b.mark(one)
	}
}

// cutStock takes one serial out of the marks of stock.
func (b *Batch) cutStock(no uint64) {
	var ranges []BatchRange
	for _, r := range b.Ranges {
		if no < r.From || no > r.To || r.Stock == "" {
			ranges = append(ranges, r)
			continue
		}
		left, mid, right := r, r, r
		left.To, mid.From, mid.To, mid.Stock, right.From = no-1, no, no, "", no+1
		if r.From < no {
			ranges = append(ranges, left)
		}
		if mid.Status != "" {
			ranges = append(ranges, mid)
		}
		if r.To > no {
			ranges = append(ranges, right)
		}
	}
	b.Ranges = ranges
}

// SerialRange is the serials From to To of a batch, counted from 0, both included.
type SerialRange struct{ From, To uint64 }

// MarkBatch is what became of codes of a batch.
type MarkBatch struct {
	Batch  BatchID
	Stock  Stock         // empty: says nothing of it
	Status CodeStatus    // empty: says nothing of it; active: their own status counts again
	Ranges []SerialRange // nil: the whole batch
	Listed []Token       // besides Ranges: single codes of the batch
}

// MarkedBatch is a batch of which Codes codes were marked.
type MarkedBatch struct {
	*Batch
	Codes int
}

// MarkBatch says of a batch, or of ranges of it, where the codes are as things of
// paper, or that they are void, lost or retired: a box of 5,000 is one call. It also
// reaches codes that are bound: they resolve as the mark says from the moment this
// returns, and what they show is detached and cancelled soon after, at the bank too.
func (s *Service) MarkBatch(ctx context.Context, c Caller, m MarkBatch) (done *MarkedBatch, err error) {
	switch {
	case m.Stock == "" && m.Status == "":
		return nil, invalid("stock", "required", "Either stock or status has to be given.")
	case m.Stock != "" && !has(stocks, m.Stock):
		return nil, invalid("stock", "one_of", "The stock state is made, printed or delivered.")
	case m.Status != "" && (!has(codeStatuses, m.Status) || m.Status == CodeReplaced):
		return nil, invalid("status", "one_of", "The status is active, void, lost or retired.")
	}
	b, err := s.Batch(ctx, c, m.Batch)
	if err != nil {
		return nil, err
	}
	ranges, err := s.rangesOf(ctx, b, &m)
	if err != nil {
		return nil, err
	}
	marked := 0
	for _, r := range ranges {
		marked += int(r.To - r.From + 1)
	}
	err = s.change(ctx, m.Batch.Shard(), func(t *tx) error {
		t.begin(c)
		again, err := t.onceBegin()
		if err != nil || again != nil {
			return err
		}
		if b, err = read[Batch](t, batchKey(m.Batch), nil); err != nil || b == nil {
			return orMissing(err, "batch")
		}
		b.Ranges = slices.Clone(b.Ranges)
		for _, r := range ranges {
			b.mark(BatchRange{From: r.From, To: r.To, Status: m.Status, Stock: m.Stock, At: t.now, By: t.by})
		}
		if len(b.Ranges) > maxMarked {
			return invalid("file", "too_many_ranges", fmt.Sprintf("The batch would be marked in %d separate ranges, and %d are the most. Mark whole boxes, by from and to.", len(b.Ranges), maxMarked))
		}
		first, last := ranges[0].From, ranges[len(ranges)-1].To
		if m.Status != "" && m.Status != CodeActive {
			if e := b.Emptying; e != nil { // walked once, over both
				first, last = min(first, e.At), max(last, e.To)
			}
			b.Emptying = &Emptying{At: first, To: last, NextAt: t.now}
		}
		t.emit(Event{Type: CodeChanged, Outlet: b.Outlet, Batch: &EventBatch{
			ID: b.ID, Codes: marked, From: ranges[0].From, To: ranges[len(ranges)-1].To, Status: m.Status, Stock: m.Stock,
		}}, nil)
		done = &MarkedBatch{b, marked}
		return t.onceDone(done)
	})
	return done, err
}

// rangesOf puts what is to be marked in order, without overlaps.
func (s *Service) rangesOf(ctx context.Context, b *Batch, m *MarkBatch) ([]SerialRange, error) {
	ranges := slices.Clone(m.Ranges)
	if ranges == nil && m.Listed == nil {
		ranges = []SerialRange{{0, uint64(b.Count - 1)}}
	}
	for _, id := range m.Listed {
		no, err := s.serialIn(ctx, b, id)
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, SerialRange{no, no})
	}
	if len(ranges) == 0 {
		return nil, invalid("file", "required", "names no code of the batch")
	}
	for _, r := range ranges {
		if r.From > r.To || r.To >= uint64(b.Count) {
			return nil, invalid("to", "range", fmt.Sprintf("The batch has the serials 1 to %d, and %d–%d is not among them.", b.Count, r.From+1, r.To+1))
		}
	}
	slices.SortFunc(ranges, func(a, b SerialRange) int {
		if a.From < b.From {
			return -1
		}
		return int(min(1, a.From-b.From))
	})
	out := ranges[:1]
	for _, r := range ranges[1:] {
		if last := &out[len(out)-1]; r.From <= last.To+1 {
			last.To = max(last.To, r.To)
		} else {
			out = append(out, r)
		}
	}
	return out, nil
}

// serialIn is a code's serial in a batch.
func (s *Service) serialIn(ctx context.Context, b *Batch, id Token) (uint64, error) {
	other := invalid("file", "unknown", "The code "+id.Grouped()+" is not of this batch.")
	if id.Shard() != b.Merchant.Shard() {
		return 0, other
	}
	ring, err := s.ring(ctx, id)
	if err != nil {
		return 0, storeProblem(err)
	}
	for i := range ring {
		k := &ring[i]
		if no, ok := k.open(id); ok && no.Batch == b.No && k.Merchant == b.Merchant && k.Generation == b.Generation && no.No < uint64(b.Count) {
			return no.No, nil
		}
	}
	return 0, other
}

// Emptying is a walk over the codes that a mark took out of use: whoever scans them is
// told so at once, but what they showed is still open, at the bank too.
type Emptying struct {
	At     uint64    `cbor:"1,keyasint"` // the next serial
	To     uint64    `cbor:"2,keyasint"`
	NextAt time.Time `cbor:"3,keyasint"`
}

// emptyEach is how long a process that empties codes has for one step.
const emptyEach = time.Minute

// emptySome detaches what marked codes show, some thousand codes at a time.
func (s *Service) emptySome(ctx context.Context, id BatchID) error {
	for {
		var b *Batch
		var at, to uint64
		err := s.change(ctx, id.Shard(), func(t *tx) (err error) {
			if b, err = read[Batch](t, batchKey(id), nil); err != nil || b == nil {
				return err
			}
			if b.Emptying == nil || b.Emptying.NextAt.After(t.now) {
				b = nil // nothing to do, or another process does it
				return nil
			}
			at, to = b.Emptying.At, min(b.Emptying.At+rowsEach*20, b.Emptying.To+1)
			b.Emptying = &Emptying{at, b.Emptying.To, t.now.Add(emptyEach)}
			return nil
		})
		if err != nil || b == nil {
			return err
		}
		err = s.walk(ctx, b, at, to, func(v CodeView) (bool, error) {
			if v.Shown == nil || v.StatusNow() == CodeActive {
				return true, nil
			}
			return true, s.emptyCode(ctx, b.Merchant, v.Token)
		})
		if err != nil {
			return err // from the same serial, once the minute is over
		}
		err = s.change(ctx, id.Shard(), func(t *tx) error {
			b, err := read[Batch](t, batchKey(id), nil)
			if err != nil || b == nil || b.Emptying == nil {
				return err
			}
			switch e := b.Emptying; {
			case e.At < at: // a mark came in between, with more to do
			case to > e.To:
				b.Emptying = nil
			default:
				b.Emptying = &Emptying{to, e.To, t.now}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

func (s *Service) emptyCode(ctx context.Context, m MerchantID, id Token) error {
	return s.change(ctx, id.Shard(), func(t *tx) error {
		t.merchant = m
		code, b, err := t.anyCode(id)
		if err != nil || code == nil {
			return err
		}
		if err := t.tickCode(code); err != nil {
			return err
		}
		if code.Shown == nil || code.statusIn(b) == CodeActive {
			return nil
		}
		for _, r := range b.Ranges { // it is done on behalf of whoever marked it
			if r.Status != "" && code.Serial.No >= r.From && code.Serial.No <= r.To {
				t.by = r.By
			}
		}
		return t.empty(code)
	})
}
