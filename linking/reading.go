package linking

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"time"
)

// A utility prints bills before it knows what they ask for. Somebody reads a meter,
// perhaps where there is no signal, and the row reaches us later, maybe twice, maybe
// after one that was written down later. So what a bill asks for never depends on the
// order in which rows arrive: of all rows about a bill the greatest place wins, and a
// place is (the office before an agent, then the time it was recorded, then device and
// number). What arrives below the place in force is superseded.

// ReadingRow is one row of an agent's device or of the office.
type ReadingRow struct {
	Code       string // the printed token
	Amount     Amount // 0: only the meter was read; billing values it
	Currency   Currency
	Account    string
	Meter      string
	Reading    string // decimal, as the meter shows it
	Unit       string
	Reference  string // which bill; needed on an account's code
	RecordedAt time.Time
	Device     string // 1 to 32 printable ASCII characters
	Sequence   uint64 // the device's own number, from 1
}

// FateKind is what became of a row.
type FateKind string

const (
	ReadValued     FateKind = "valued"     // the bill asks for it now
	ReadRecorded   FateKind = "recorded"   // without an amount: kept for billing
	ReadHeld       FateKind = "held"       // waits for a second person
	ReadDuplicate  FateKind = "duplicate"  // known, or the bill asks for that already
	ReadSuperseded FateKind = "superseded" // a row with a greater place is in force
	ReadAdjustment FateKind = "adjustment" // the bill is paid: the difference is for the office to decide
	ReadRefused    FateKind = "refused"    // nothing was stored; Why says what to mend
	ReadRejected   FateKind = "rejected"   // a second person said no
)

// Fate is what became of a row, and why.
type Fate struct {
	Code     Token
	Device   string
	Sequence uint64
	Fate     FateKind
	Why      string // for held: above_limit, far_from_past, payment_in_flight; for refused: the error's code
	Detail   string // a sentence, for refused
	Reading  ReadingID
	Request  RequestID
	// Difference is what an adjustment is about: the row's amount less what the bill asked for.
	Difference Amount
	// Cut: it was recorded after it arrived, by the device's clock; the time of arrival counts.
	Cut bool
}

// ReadingID names a row for ever: it follows from merchant, device and number.
type ReadingID string // 24 symbols

// ParseReadingID is as ParseMerchantID.
func ParseReadingID(s string) (ReadingID, bool) { id, ok := idOf(s, 24); return ReadingID(id), ok }

func readingID(m MerchantID, device string, sequence uint64) ReadingID {
	h := sha256.New()
	h.Write([]byte(string(m) + "\x00" + device + "\x00"))
	h.Write(binary.BigEndian.AppendUint64(nil, sequence))
	sum := h.Sum(nil)
	b := append(make([]byte, 0, 24), m[:2]...)
	b = appendSymbols(b, binary.BigEndian.Uint64(sum)>>9, 11)
	return ReadingID(appendSymbols(b, binary.BigEndian.Uint64(sum[8:])>>9, 11))
}

// IsReadingCursor reports whether s can be a page's last id.
func IsReadingCursor(s string) bool { return isID(s, 24) }

// Reading is a row as it is kept.
type Reading struct {
	ID         ReadingID  `cbor:"1,keyasint"`
	Merchant   MerchantID `cbor:"2,keyasint"`
	Code       Token      `cbor:"3,keyasint"`
	Amount     Amount     `cbor:"4,keyasint,omitempty"`
	Currency   Currency   `cbor:"5,keyasint,omitempty"`
	Account    string     `cbor:"6,keyasint,omitempty"`
	Meter      string     `cbor:"7,keyasint,omitempty"`
	Reading    string     `cbor:"8,keyasint,omitempty"`
	Unit       string     `cbor:"9,keyasint,omitempty"`
	Reference  string     `cbor:"10,keyasint,omitempty"`
	RecordedAt time.Time  `cbor:"11,keyasint"` // when it counts from: never after ArrivedAt
	SaidAt     time.Time  `cbor:"12,keyasint"` // by the device's clock
	ArrivedAt  time.Time  `cbor:"13,keyasint"`
	Device     string     `cbor:"14,keyasint"`
	Sequence   uint64     `cbor:"15,keyasint"`
	Office     bool       `cbor:"16,keyasint,omitempty"` // by somebody who is no agent
	By         string     `cbor:"17,keyasint,omitempty"`
	Fate       FateKind   `cbor:"18,keyasint"`
	Why        string     `cbor:"19,keyasint,omitempty"`
	Request    RequestID  `cbor:"20,keyasint,omitempty"`
	Difference Amount     `cbor:"21,keyasint,omitempty"`
	DecidedBy  string     `cbor:"22,keyasint,omitempty"`
	DecidedAt  time.Time  `cbor:"23,keyasint,omitzero"`
}

// place is where a row stands among those about the same bill.
type place struct {
	Office   bool      `cbor:"1,keyasint,omitempty"`
	At       time.Time `cbor:"2,keyasint,omitzero"`
	Device   string    `cbor:"3,keyasint,omitempty"`
	Sequence uint64    `cbor:"4,keyasint,omitempty"`
}

func (p place) compare(q place) int {
	office := func(p place) int {
		if p.Office {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(office(p), office(q)), p.At.Compare(q.At),
		strings.Compare(p.Device, q.Device), cmp.Compare(p.Sequence, q.Sequence))
}

func (r *Reading) place() place { return place{r.Office, r.RecordedAt, r.Device, r.Sequence} }

func readingKey(id ReadingID) Key { return Key{shardOf(string(id)), kindReading, string(id)} }
func heldKey(id ReadingID) Key    { return Key{shardOf(string(id)), kindHeld, string(id)} }

// heldRecord lists a reading that waits for a second person.
type heldRecord struct {
	Merchant MerchantID `cbor:"1,keyasint"`
}

// Readings applies rows and says what became of each, in their order. It is safe to
// repeat, whole or in part and in any order: the bills are the same in the end.
//
// An error means that the store was away; the rows up to then stand, and all of them
// may be sent again.
func (s *Service) Readings(ctx context.Context, c Caller, rows []ReadingRow) ([]Fate, error) {
	fates := make([]Fate, len(rows))
	err := inGroups(ctx, len(rows), func(i int) string { return rows[i].Code }, func(ctx context.Context, i int) (err error) {
		fates[i], err = s.reading(ctx, c, rows[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	return fates, s.sawNumbers(context.WithoutCancel(ctx), c.Merchant, fates)
}

// reading applies one row. An error is the store's; what is wrong with the row is its fate.
func (s *Service) reading(ctx context.Context, c Caller, row ReadingRow) (fate Fate, err error) {
	fate = Fate{Device: row.Device, Sequence: row.Sequence, Fate: ReadRefused}
	code, err := row.check()
	if err == nil {
		fate.Code = code
		err = s.changeThen(ctx, c.Merchant.Shard(), func(t *tx) error {
			t.begin(c)
			rd, err := t.recordReading(c, row, code)
			if err == nil {
				fate = rd.fate()
			}
			return err
		}, func(t *tx) { s.spawnCalmly(ctx, t.claims) })
	}
	why, detail, err := refusal(err)
	if why != "" {
		fate.Fate, fate.Why, fate.Detail = ReadRefused, why, detail
	}
	return fate, err
}

func (r *Reading) fate() Fate {
	return Fate{
		Code: r.Code, Device: r.Device, Sequence: r.Sequence, Fate: r.Fate, Why: r.Why, Reading: r.ID,
		Request: r.Request, Difference: r.Difference, Cut: r.RecordedAt.Before(r.SaidAt),
	}
}

func (row *ReadingRow) check() (Token, error) {
	code, ok := ParseToken(row.Code)
	switch {
	case !ok:
		return "", invalid("code", "token", "The code is the 20 characters that are printed; there is a slip in these.")
	case !printable(row.Device, 1, 32):
		return "", invalid("device", "text", "The device is named by 1 to 32 printable characters.")
	case row.Sequence == 0 || row.Sequence >= 1<<53:
		return "", invalid("sequence", "range", "The device numbers its rows from 1.")
	case row.RecordedAt.IsZero():
		return "", invalid("recorded_at", "required", "The time at which it was recorded is needed.")
	case row.Amount < 0 || row.Amount > MaxAmount:
		return "", invalid("amount", "range", "The amount is from 1 to 10^15 minor units.")
	case row.Amount == 0 && row.Reading == "":
		return "", invalid("amount", "required", "A row has an amount, or the meter's reading, or both.")
	}
	for _, f := range []struct {
		name, text string
		most       int
	}{
		{"account", row.Account, 64}, {"meter", row.Meter, 64}, {"unit", row.Unit, 16}, {"reference", row.Reference, maxReference},
	} {
		if err := text(f.name, f.text, f.most); err != nil {
			return "", err
		}
	}
	if _, ok := decimal(row.Reading, 18, 6); row.Reading != "" && !ok {
		return "", invalid("reading", "decimal", "The reading is a decimal number with at most 18 digits before the point and 6 after it.")
	}
	return code, nil
}

// recordReading decides about one row and stores it.
func (t *tx) recordReading(c Caller, row ReadingRow, token Token) (*Reading, error) {
	if token.Shard() != t.shard {
		return nil, notFound("code")
	}
	rd := &Reading{
		ID: readingID(c.Merchant, row.Device, row.Sequence), Merchant: c.Merchant, Code: token, Amount: row.Amount,
		Currency: row.Currency, Account: row.Account, Meter: row.Meter, Reading: row.Reading, Unit: row.Unit,
		Reference: row.Reference, RecordedAt: row.RecordedAt.UTC().Truncate(time.Second), SaidAt: row.RecordedAt.UTC().Truncate(time.Second),
		ArrivedAt: t.now.Truncate(time.Second), Device: row.Device, Sequence: row.Sequence, Office: c.Role != Agent, By: c.By,
	}
	if rd.RecordedAt.After(rd.ArrivedAt) {
		rd.RecordedAt = rd.ArrivedAt
	}
	known, err := read[Reading](t, readingKey(rd.ID), nil)
	if err != nil {
		return nil, err
	}
	if known != nil {
		if !known.says(rd) {
			return nil, invalid("sequence", "used", "The device sent another row under this number.")
		}
		again := *known
		if known.Fate != ReadHeld && known.Fate != ReadRejected {
			again.Fate = ReadDuplicate
		}
		t.undo = true
		return &again, nil
	}
	code, err := t.codeFor(c, token)
	if err != nil {
		return nil, err
	}
	if code.Kind == Counter {
		return nil, invalid("code", "kind", "A counter's code has no bills to value.")
	}
	if err := t.inUse(code); err != nil {
		return nil, err
	}
	if rd.Amount == 0 {
		rd.Fate = ReadRecorded
	} else if err := t.valueBill(c, code, rd, nil); err != nil {
		return nil, err
	}
	return rd, t.keepReading(rd)
}

// says reports whether two rows say the same.
func (r *Reading) says(o *Reading) bool {
	return r.Code == o.Code && r.Amount == o.Amount && r.Currency == o.Currency && r.Account == o.Account && r.Meter == o.Meter &&
		r.Reading == o.Reading && r.Unit == o.Unit && r.Reference == o.Reference && r.SaidAt.Equal(o.SaidAt)
}

func (t *tx) keepReading(rd *Reading) error {
	typ := ReadingRecorded
	if rd.Fate == ReadHeld {
		typ = ReadingHeld
		if err := t.create(heldKey(rd.ID), &heldRecord{rd.Merchant}); err != nil {
			return err
		}
	}
	t.emit(Event{Type: typ, Code: rd.Code, Reading: rd.forEvent()}, nil)
	return t.create(readingKey(rd.ID), rd)
}

// EventReading is a row as events tell of it.
type EventReading struct {
	ID         ReadingID `cbor:"1,keyasint"`
	Fate       FateKind  `cbor:"2,keyasint"`
	Why        string    `cbor:"3,keyasint,omitempty"`
	Device     string    `cbor:"4,keyasint"`
	Sequence   uint64    `cbor:"5,keyasint"`
	Request    RequestID `cbor:"6,keyasint,omitempty"`
	Difference Amount    `cbor:"7,keyasint,omitempty"`
}

func (r *Reading) forEvent() *EventReading {
	return &EventReading{r.ID, r.Fate, r.Why, r.Device, r.Sequence, r.Request, r.Difference}
}

// DecideReading lets a held reading in, or rejects it. Whoever recorded it is not the
// one to decide.
//
// Errors: not_found, not_allowed_in_status, forbidden.
func (s *Service) DecideReading(ctx context.Context, c Caller, id ReadingID, approve bool) (*Reading, error) {
	if shardOf(string(id)) != c.Merchant.Shard() {
		return nil, notFound("reading")
	}
	var rd *Reading
	err := s.change(ctx, c.Merchant.Shard(), func(t *tx) (err error) {
		t.begin(c)
		if rd, err = read[Reading](t, readingKey(id), nil); err != nil || rd == nil || rd.Merchant != c.Merchant {
			return orMissing(err, "reading")
		}
		code, err := t.codeFor(c, rd.Code)
		if err != nil {
			return err
		}
		wanted := ReadRejected
		if approve {
			wanted = ReadValued
		}
		switch {
		case rd.DecidedBy != "" && (rd.Fate == ReadRejected) == !approve:
			return nil // said before
		case rd.Fate != ReadHeld:
			return conflict("not_allowed_in_status", "The reading does not wait for a decision.").with("fate", rd.Fate)
		case rd.By == c.By:
			return &Error{Kind: Forbidden, Code: "forbidden", Detail: "A second person decides: whoever recorded the reading cannot."}
		}
		rd.Fate = wanted
		if approve {
			if err := t.valueBill(c, code, rd, &billTerms{}); err != nil {
				return err
			}
			if rd.Fate == ReadHeld { // a payment is under way: ask again when it is over
				return conflict("payment_in_flight", "Someone is paying the bill at this moment.")
			}
		}
		rd.Why, rd.DecidedBy, rd.DecidedAt = "", c.By, t.now
		if held, err := read[heldRecord](t, heldKey(id), nil); err != nil {
			return err
		} else if held != nil {
			t.remove(heldKey(id))
		}
		t.emit(Event{Type: ReadingRecorded, Code: rd.Code, Reading: rd.forEvent()}, nil)
		return nil
	})
	return rd, err
}

// ReadingList is what a list of readings is narrowed to.
type ReadingList struct {
	Fate     FateKind  // empty: all; ReadHeld: those that wait for a second person
	From, To time.Time // arrived from From on, and before To; zero: whenever
	After    string    // the last id of the page before
	Limit    int
}

func (f *ReadingList) takes(r *Reading) bool {
	return (f.Fate == "" || r.Fate == f.Fate) && !r.ArrivedAt.Before(f.From) && (f.To.IsZero() || r.ArrivedAt.Before(f.To))
}

// ListReadings lists a merchant's readings by id.
func (s *Service) ListReadings(ctx context.Context, c Caller, f ReadingList) (list []*Reading, next string, err error) {
	err = s.EachReading(ctx, c, f, func(rd *Reading) (bool, error) {
		if len(list) == f.Limit {
			next = string(list[len(list)-1].ID)
			return false, nil
		}
		list = append(list, rd)
		return true, nil
	})
	return list, next, err
}

// EachReading calls f with a merchant's readings by id until it returns false. It holds
// no more than a page of them, so that a year's can be written out.
func (s *Service) EachReading(ctx context.Context, c Caller, f ReadingList, each func(*Reading) (bool, error)) error {
	kind := kindReading
	if f.Fate == ReadHeld {
		kind = kindHeld
	}
	for after := f.After; ; {
		page, err := s.store.List(ctx, Listing{Shard: c.Merchant.Shard(), Kind: kind, Owner: string(c.Merchant), After: after, Limit: listPage})
		if err != nil {
			return storeProblem(err)
		}
		if len(page) == 0 {
			return nil
		}
		after = page[len(page)-1].ID
		if kind == kindHeld {
			keys := make([]Key, len(page))
			for i, rec := range page {
				keys[i] = readingKey(ReadingID(rec.ID))
			}
			if page, err = s.store.Get(ctx, keys...); err != nil {
				return storeProblem(err)
			}
		}
		for _, rec := range page {
			if rec.Version == 0 {
				continue
			}
			rd := new(Reading)
			if _, err := decodeRecord(rec.Data, rd); err != nil {
				return err
			}
			if !f.takes(rd) {
				continue
			}
			if sees, err := s.seesReading(ctx, c, rd); err != nil {
				return err
			} else if !sees {
				continue
			}
			if more, err := each(rd); err != nil || !more {
				return err
			}
		}
	}
}

// seesReading reports whether c may know of a reading: whoever is bound to an outlet or
// to codes sees those of these codes.
func (s *Service) seesReading(ctx context.Context, c Caller, rd *Reading) (bool, error) {
	if c.Outlet == "" && len(c.Codes) == 0 {
		return rd.Merchant == c.Merchant, nil
	}
	code, _, err := s.look(ctx, c.Merchant.Shard()).anyCode(rd.Code)
	if err != nil {
		return false, storeProblem(err)
	}
	return code != nil && c.sees(code.Merchant, code.Outlet, code.Token), nil
}

// A device numbers its rows; a number that never came is a row that somebody wrote
// down and nobody has.

// agentRecord is which numbers of a device have come: ranges, in order, both ends included.
type agentRecord struct {
	Merchant MerchantID  `cbor:"1,keyasint"`
	Device   string      `cbor:"2,keyasint"`
	Seen     [][2]uint64 `cbor:"3,keyasint,omitempty"`
}

func agentKey(m MerchantID, device string) Key {
	return Key{m.Shard(), kindAgent, string(m) + "." + device}
}

// Gap is a range of numbers of a device that have not come.
type Gap struct {
	Device   string
	From, To uint64
}

func (a *agentRecord) saw(n uint64) {
	i, found := slices.BinarySearchFunc(a.Seen, n, func(r [2]uint64, n uint64) int {
		switch {
		case r[1] < n:
			return -1
		case r[0] > n:
			return 1
		}
		return 0
	})
	if found {
		return
	}
	a.Seen = slices.Insert(a.Seen, i, [2]uint64{n, n})
	if i+1 < len(a.Seen) && a.Seen[i+1][0] == n+1 {
		a.Seen[i][1] = a.Seen[i+1][1]
		a.Seen = slices.Delete(a.Seen, i+1, i+2)
	}
	if i > 0 && a.Seen[i-1][1]+1 == n {
		a.Seen[i-1][1] = a.Seen[i][1]
		a.Seen = slices.Delete(a.Seen, i, i+1)
	}
	if len(a.Seen) > maxSeen { // the record has a limit; the oldest gap is forgotten
		a.Seen[1][0] = a.Seen[0][0]
		a.Seen = slices.Delete(a.Seen, 0, 1)
	}
}

// maxSeen is how many runs of numbers are told apart for one device: a route's worth of
// rows that come in any order makes far fewer.
const maxSeen = 10_000

func (a *agentRecord) gaps() (gaps []Gap) {
	next := uint64(1)
	for _, r := range a.Seen {
		if r[0] > next {
			gaps = append(gaps, Gap{a.Device, next, r[0] - 1})
		}
		next = r[1] + 1
	}
	return gaps
}

// sawNumbers writes down which numbers came.
func (s *Service) sawNumbers(ctx context.Context, m MerchantID, fates []Fate) error {
	byDevice := map[string][]uint64{}
	for i := range fates {
		if f := &fates[i]; f.Fate != ReadRefused && f.Sequence > 0 {
			byDevice[f.Device] = append(byDevice[f.Device], f.Sequence)
		}
	}
	for device, numbers := range byDevice {
		slices.Sort(numbers)
		err := s.change(ctx, m.Shard(), func(t *tx) error {
			t.merchant = m
			a, err := read[agentRecord](t, agentKey(m, device), nil)
			if err != nil {
				return err
			}
			if a == nil {
				a = &agentRecord{Merchant: m, Device: device}
				if err := t.create(agentKey(m, device), a); err != nil {
					return err
				}
			}
			for _, n := range numbers {
				a.saw(n)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Gaps lists the numbers of a merchant's device that have not come.
func (s *Service) Gaps(ctx context.Context, c Caller, device string) ([]Gap, error) {
	if !printable(device, 1, 32) {
		return nil, notFound("device")
	}
	a, err := read[agentRecord](s.look(ctx, c.Merchant.Shard()), agentKey(c.Merchant, device), nil)
	if err != nil || a == nil {
		return nil, storeProblem(err)
	}
	return a.gaps(), nil
}
