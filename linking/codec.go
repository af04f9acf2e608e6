package linking

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// How records are stored: one byte of schema number, then the body. All records
// but codes have CBOR maps with small integers for keys (RFC 8949), so that a
// field costs a byte and an older program skips what it does not know. A code's
// record is read by every scan and kept by the million; it has a form of its own.
//
// What any release has written, every later one reads: testdata/records holds
// one of each, for ever. A field that an older program does not know survives its
// rewriting the record.

// The kinds of records. A store keeps one with every record, so they are short.
const (
	kindCode       RecordKind = "c"
	kindRequest    RecordKind = "r"
	kindLink       RecordKind = "l"
	kindSale       RecordKind = "s"
	kindMerchant   RecordKind = "m"
	kindBatch      RecordKind = "b"
	kindRows       RecordKind = "rows" // of a batch
	kindProof      RecordKind = "proof"
	kindRing       RecordKind = "g"
	kindKey        RecordKind = "k"
	kindOutlet     RecordKind = "o"
	kindConnection RecordKind = "n"
	kindOnce       RecordKind = "i" // idempotency
	kindClientID   RecordKind = "d"
	kindPayment    RecordKind = "p"
	kindException  RecordKind = "x"
	kindLogo       RecordKind = "e"
	kindPoll       RecordKind = "q"
	kindTidy       RecordKind = "t"
	kindReading    RecordKind = "reading"
	kindHeld       RecordKind = "held" // readings that wait for a second person
	kindBills      RecordKind = "bills"
	kindPast       RecordKind = "past" // what a meter's bills came to
	kindAgent      RecordKind = "agent"
	kindAccount    RecordKind = "acct"
	kindBillRow    RecordKind = "billrow" // a row of a billing system's list
	kindPromise    RecordKind = "w"
	kindStaff      RecordKind = "staff"
	kindLogin      RecordKind = "login"
	kindSession    RecordKind = "session"
	kindDevice     RecordKind = "device"
	kindShards     RecordKind = "shards"
	kindStore      RecordKind = "store"
)

const schemaCBOR = 1

var (
	cborOut = func() cbor.EncMode {
		o := cbor.CoreDetEncOptions() // sorted maps: equal values have equal bytes
		o.Time = cbor.TimeUnix
		m, err := o.EncMode()
		if err != nil {
			panic(err) // the options above are constant
		}
		return m
	}()
	cborIn = func() cbor.DecMode {
		m, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF}.DecMode()
		if err != nil {
			panic(err)
		}
		return m
	}()
	cborStrict = func() cbor.DecMode {
		m, err := cbor.DecOptions{ExtraReturnErrors: cbor.ExtraDecErrorUnknownField}.DecMode()
		if err != nil {
			panic(err)
		}
		return m
	}()
)

// errRecord says that stored bytes cannot be read. It is never the caller's fault.
var errRecord = errors.New("a stored record cannot be read")

// encodeRecord writes v, with the fields of a newer program that decodeRecord found.
func encodeRecord(v any, newer map[uint64]cbor.RawMessage) ([]byte, error) {
	if c, ok := v.(*Code); ok {
		return c.encode(), nil
	}
	body, err := cborOut.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(newer) > 0 {
		all := map[uint64]cbor.RawMessage{}
		if err := cborIn.Unmarshal(body, &all); err != nil {
			return nil, err
		}
		for k, f := range newer {
			all[k] = f
		}
		if body, err = cborOut.Marshal(all); err != nil {
			return nil, err
		}
	}
	return append([]byte{schemaCBOR}, body...), nil
}

// decodeRecord reads data into v, and returns the fields v has no place for.
func decodeRecord(data []byte, v any) (newer map[uint64]cbor.RawMessage, err error) {
	if c, ok := v.(*Code); ok {
		return nil, c.decode(data)
	}
	if len(data) < 2 || data[0] != schemaCBOR {
		return nil, fmt.Errorf("%w: schema", errRecord)
	}
	err = cborStrict.Unmarshal(data[1:], v)
	if err == nil {
		return nil, nil
	}
	if _, ok := errors.AsType[*cbor.UnknownFieldError](err); !ok {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	if err := cborIn.Unmarshal(data[1:], v); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	known, err := cborOut.Marshal(v)
	if err != nil {
		return nil, err
	}
	var have map[uint64]cbor.RawMessage
	if err := errors.Join(cborIn.Unmarshal(data[1:], &newer), cborIn.Unmarshal(known, &have)); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	for k := range have {
		delete(newer, k)
	}
	return newer, nil
}

// A code's record: schema 1; a uvarint of bits that say which optional parts
// follow, in the order of the bits; the merchant's 12 symbols after the shard as
// 60 bits; generation, batch and serial, kind and status; then the parts. Bits a
// program does not know stand for parts at the end, which it keeps as they are.
const (
	schemaCode = 1

	codeHasEpoch = 1 << iota >> 1 // 1, 2, 4, …
	codeIsFree
	codeHasStock
	codeByBank
	codeHasRail
	codeHasOutlet
	codeHasLabel
	codeHasMetadata
	codeHasScanned
	codeHasReplaced
	codeHasBankLink
	codeHasShown
	codeHasLast
	codeHasShows
	codeShowsUnknown
	codeHasLines
	codeVATExtra
	codeWordShut
	codeKnown = codeWordShut<<1 - 1
)

// Enumerations as one byte. The order is stored: only ever add at the end.
var (
	codeKinds    = []CodeKind{Counter, Bill, Account}
	codeStatuses = []CodeStatus{CodeActive, CodeVoid, CodeLost, CodeRetired, CodeReplaced}
	stocks       = []Stock{StockMade, StockPrinted, StockDelivered}
	origins      = []Origin{"", MadeByLink, MadeByRequest, MadeElsewhere}
	statusOrder  = []Status{Draft, Unvalued, Preparing, Active, Processing, Closing, Review, Paid, Expired, Cancelled}
)

func index[T comparable](list []T, v T) byte { return byte(slices.Index(list, v)) }

func (c *Code) encode() []byte {
	var bits uint64
	set := func(on bool, bit uint64) {
		if on {
			bits |= bit
		}
	}
	set(c.Epoch > 0, codeHasEpoch)
	set(c.Free, codeIsFree)
	set(c.Stock != "" && c.Stock != StockMade, codeHasStock)
	set(c.ResolvedBy == ByBankPayload, codeByBank)
	set(c.Rail != "", codeHasRail)
	set(c.Outlet != "", codeHasOutlet)
	set(c.Label != "", codeHasLabel)
	set(len(c.Metadata) > 0, codeHasMetadata)
	set(c.ScannedAt > 0, codeHasScanned)
	set(c.ReplacedBy != "", codeHasReplaced)
	set(c.BankLink != nil, codeHasBankLink)
	set(c.Shown != nil, codeHasShown)
	set(c.Last != nil, codeHasLast)
	set(c.Shows != "", codeHasShows)
	set(c.ShowsUnknown, codeShowsUnknown)
	if f := c.Shown; f != nil {
		set(len(f.Lines) > 0, codeHasLines)
		set(f.VATExtra, codeVATExtra)
		set(f.WordShut, codeWordShut)
	}

	w := writer(make([]byte, 0, 160))
	w = append(w, schemaCode)
	w.uint(bits | c.newerBits)
	w = binary.BigEndian.AppendUint64(w, symbols(string(c.Merchant[2:])))
	w.uint(uint64(c.Generation))
	w.uint(uint64(c.Serial.Batch))
	w.uint(c.Serial.No)
	charge := byte(0)
	if c.Charge == DueDate {
		charge = 1
	}
	w = append(w, index(codeKinds, c.Kind)<<4|index(codeStatuses, c.Status)<<1|charge)
	w.time(c.CreatedAt)
	if c.Epoch > 0 {
		w.uint(c.Epoch)
	}
	if bits&codeHasStock != 0 {
		w = append(w, index(stocks, c.Stock))
	}
	if bits&codeHasRail != 0 {
		w.string(c.Rail)
	}
	if bits&codeHasOutlet != 0 {
		w.string(string(c.Outlet))
	}
	if bits&codeHasLabel != 0 {
		w.string(c.Label)
	}
	if bits&codeHasMetadata != 0 {
		w.blob(c.Metadata)
	}
	if bits&codeHasScanned != 0 {
		w.uint(c.ScannedAt)
	}
	if bits&codeHasReplaced != 0 {
		w.string(string(c.ReplacedBy))
	}
	if bits&codeHasBankLink != 0 {
		w.blob(c.BankLink)
	}
	if f := c.Shown; f != nil {
		w.id(string(f.Request), c.Token)
		w.string(string(f.Sale))
		w.string(string(f.By))
		w.time(f.Since)
		w = append(w, index(statusOrder, f.Status), index(origins, f.Origin))
		w.string(string(f.EndReason))
		w.uint(uint64(f.Revision))
		w.uint(uint64(f.Amount))
		w.string(string(f.Currency))
		w.time(f.ExpiresAt)
		w.time(f.Stalled)
		w.time(f.PaidAt)
		w.string(f.Reference)
		w.string(f.PayOrigin)
		w.uint(uint64(len(f.Methods)))
		for _, m := range f.Methods {
			w.string(m)
		}
	}
	if l := c.Last; l != nil {
		w.id(string(l.Request), c.Token)
		w.string(string(l.Sale))
		w.uint(l.Epoch)
		w.time(l.At)
		byItself := byte(0)
		if l.ByItself {
			byItself = 1
		}
		w = append(w, byItself)
	}
	if c.Shows != "" {
		w.id(string(c.Shows), c.Token)
	}
	if bits&codeHasLines != 0 {
		w.uint(uint64(len(c.Shown.Lines)))
		for _, l := range c.Shown.Lines {
			w.string(l.Description)
			w.string(l.Quantity)
			w.uint(uint64(l.UnitPrice))
			w.string(l.VATRate)
		}
	}
	return append(w, c.newer...)
}

// decode reads a record of the code named by c.Token.
func (c *Code) decode(data []byte) error {
	if len(data) == 0 || data[0] != schemaCode {
		return fmt.Errorf("%w: code schema", errRecord)
	}
	r := reader{text: string(data), at: 1}
	bits := r.uint()
	shard := string(c.Token[:2])
	*c = Code{Token: c.Token, Charge: Immediate, Stock: StockMade, ResolvedBy: ByGateway, Free: bits&codeIsFree != 0, ShowsUnknown: bits&codeShowsUnknown != 0, newerBits: bits &^ codeKnown}
	var m [14]byte
	c.Merchant = MerchantID(appendSymbols(append(m[:0], shard...), r.fixed64(), 12))
	c.Generation = int(r.uint())
	c.Serial.Batch = uint32(r.uint())
	c.Serial.No = r.uint()
	b := r.byte()
	c.Kind, c.Status = at(&r, codeKinds, b>>4), at(&r, codeStatuses, b>>1&7)
	if b&1 != 0 {
		c.Charge = DueDate
	}
	c.CreatedAt = r.time()
	if bits&codeHasEpoch != 0 {
		c.Epoch = r.uint()
	}
	if bits&codeHasStock != 0 {
		c.Stock = at(&r, stocks, r.byte())
	}
	if bits&codeByBank != 0 {
		c.ResolvedBy = ByBankPayload
	}
	if bits&codeHasRail != 0 {
		c.Rail = r.string()
	}
	if bits&codeHasOutlet != 0 {
		c.Outlet = OutletID(r.string())
	}
	if bits&codeHasLabel != 0 {
		c.Label = r.string()
	}
	if bits&codeHasMetadata != 0 {
		r.blob(&c.Metadata)
	}
	if bits&codeHasScanned != 0 {
		c.ScannedAt = r.uint()
	}
	if bits&codeHasReplaced != 0 {
		c.ReplacedBy = Token(r.string())
	}
	if bits&codeHasBankLink != 0 {
		c.BankLink = new(BankLink)
		r.blob(c.BankLink)
	}
	if bits&codeHasShown != 0 {
		f := &Face{Request: RequestID(r.id(shard))}
		f.Sale = SaleID(r.string())
		f.By = KeyID(r.string())
		f.Since = r.time()
		f.Status = at(&r, statusOrder, r.byte())
		f.Origin = at(&r, origins, r.byte())
		f.EndReason = EndReason(r.string())
		f.Revision = int(r.uint())
		f.Amount = Amount(r.uint())
		f.Currency = Currency(r.string())
		f.ExpiresAt = r.time()
		f.Stalled = r.time()
		f.PaidAt = r.time()
		f.Reference = r.string()
		f.PayOrigin = r.string()
		if n := r.uint(); n > 0 && n <= 64 {
			for range n {
				f.Methods = append(f.Methods, r.string())
			}
		}
		c.Shown = f
	}
	if bits&codeHasLast != 0 {
		l := &PastLink{Request: RequestID(r.id(shard))}
		l.Sale = SaleID(r.string())
		l.Epoch = r.uint()
		l.At = r.time()
		l.ByItself = r.byte() != 0
		c.Last = l
	}
	if bits&codeHasShows != 0 {
		c.Shows = RequestID(r.id(shard))
	}
	if f := c.Shown; f != nil {
		f.VATExtra, f.WordShut = bits&codeVATExtra != 0, bits&codeWordShut != 0
	}
	if bits&codeHasLines != 0 {
		n := r.uint()
		if c.Shown == nil || n > maxLines {
			r.bad = true
			n = 0
		}
		for range n {
			l := Line{Description: r.string(), Quantity: r.string()}
			l.UnitPrice, l.VATRate = Amount(r.uint()), r.string()
			c.Shown.Lines = append(c.Shown.Lines, l)
		}
	}
	if !r.bad && r.at < len(r.text) {
		if c.newerBits == 0 {
			r.bad = true
		}
		c.newer = data[r.at:]
	}
	if r.bad {
		return fmt.Errorf("%w: code", errRecord)
	}
	return nil
}

type writer []byte

func (w *writer) uint(v uint64)   { *w = binary.AppendUvarint(*w, v) }
func (w *writer) string(s string) { w.uint(uint64(len(s))); *w = append(*w, s...) }

// time keeps whole seconds; the zero time is 0.
func (w *writer) time(t time.Time) {
	if t.IsZero() {
		w.uint(0)
		return
	}
	w.uint(uint64(t.Unix()))
}

// id keeps the 24 symbols after the shard of a request's id as 15 bytes.
func (w *writer) id(id string, t Token) {
	var b [15]byte
	if n, err := crockfordBytes.Decode(b[:], []byte(id[2:])); err != nil || n != 15 || id[:2] != string(t[:2]) {
		panic("linking: request " + id + " on a code of another shard") // a fault of ours: ids are parsed at the edge
	}
	*w = append(*w, b[:]...)
}

func (w *writer) blob(v any) {
	b, err := cborOut.Marshal(v)
	if err != nil {
		panic(err) // strings only: cannot fail
	}
	w.string(string(b))
}

// reader reads one string, so that what it hands out costs no copy of its own.
type reader struct {
	text string
	at   int
	bad  bool
}

func (r *reader) uint() (v uint64) {
	for shift := 0; shift < 64; shift += 7 {
		b := r.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
	r.bad = true
	return 0
}

func (r *reader) byte() byte {
	if r.at >= len(r.text) {
		r.bad = true
		return 0
	}
	r.at++
	return r.text[r.at-1]
}

func (r *reader) take(n int) string {
	if n < 0 || n > len(r.text)-r.at {
		r.bad = true
		return ""
	}
	r.at += n
	return r.text[r.at-n : r.at]
}

func (r *reader) string() string {
	n := r.uint()
	if n > uint64(len(r.text)) {
		r.bad = true
		return ""
	}
	return r.take(int(n))
}

func (r *reader) fixed64() (v uint64) {
	s := r.take(8)
	for i := range len(s) {
		v = v<<8 | uint64(s[i])
	}
	return v
}

func (r *reader) time() time.Time {
	if s := r.uint(); s != 0 {
		return time.Unix(int64(s), 0).UTC()
	}
	return time.Time{}
}

func (r *reader) id(shard string) string {
	var b [26]byte
	copy(b[:], shard)
	if s := r.take(15); s != "" {
		crockfordBytes.Encode(b[2:], []byte(s))
		return string(b[:])
	}
	return ""
}

func (r *reader) blob(v any) {
	if cborIn.Unmarshal([]byte(r.string()), v) != nil {
		r.bad = true
	}
}

func at[T any](r *reader, list []T, i byte) (v T) {
	if int(i) >= len(list) {
		r.bad = true
		return v
	}
	return list[i]
}
