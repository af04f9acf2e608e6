package linking

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"
)

// billsRecord is what is known of the bills of one code.
type billsRecord struct {
	Merchant MerchantID `cbor:"1,keyasint"`
	Bills    []bill     `cbor:"2,keyasint,omitempty"` // oldest first
}

// bill is one request of a code, and the row that its amount is from.
type bill struct {
	Request   RequestID `cbor:"1,keyasint"`
	Reference string    `cbor:"2,keyasint,omitempty"`
	InForce   place     `cbor:"3,keyasint,omitzero"` // zero: not from a row
}

// pastRecord is what one meter's bills came to, for judging the next.
type pastRecord struct {
	Bills []pastBill `cbor:"1,keyasint,omitempty"` // oldest first
}

type pastBill struct {
	Request RequestID `cbor:"1,keyasint"`
	Amount  Amount    `cbor:"2,keyasint"`
}

const (
	keptBills = 24 // per code and per meter
	leastPast = 2  // fewer bills of the past say nothing about the next
)

func billsKey(t Token) Key { return Key{t.Shard(), kindBills, string(t)} }
func pastKey(r *Reading) Key {
	who := r.Meter
	if who == "" {
		who = r.Account
	}
	if who == "" {
		who = string(r.Code)
	}
	sum := sha256.Sum256([]byte(who))
	id := appendSymbols([]byte(r.Merchant), binary.BigEndian.Uint64(sum[:])>>4, 12)
	return Key{r.Merchant.Shard(), kindPast, string(id)}
}

// billTerms are what a billing system says of a bill beside what it asks for.
type billTerms struct {
	customer        Customer
	expiresAt       time.Time // zero: as the code's kind and the rail have it
	note            string
	arrearsIncluded bool
}

// valueBill lets a row with an amount value the bill it is about, and writes into rd
// what became of it. terms are of the office's own word, or of one that a second person
// has looked at; nil: the value may have to wait for one.
func (t *tx) valueBill(c Caller, code *Code, rd *Reading, terms *billTerms) error {
	m, err := t.merchantRec()
	if err != nil || m == nil {
		return orMissing(err, "merchant")
	}
	if rd.Currency != "" && rd.Currency != m.Currency {
		return invalid("currency", "merchant_currency", "The merchant takes "+string(m.Currency)+".")
	}
	if code.Kind == Account && rd.Reference == "" {
		return invalid("reference", "required", "On an account's code the reference says which bill the row is about.")
	}
	all, err := read[billsRecord](t, billsKey(code.Token), nil)
	if err != nil {
		return err
	}
	if all == nil {
		all = &billsRecord{Merchant: code.Merchant}
		if err := t.create(billsKey(code.Token), all); err != nil {
			return err
		}
	}
	b, err := t.billOf(code, all, rd)
	if err != nil {
		return err
	}
	if b != nil && b.InForce != (place{}) && rd.place().compare(b.InForce) < 0 {
		rd.Fate, rd.Request = ReadSuperseded, b.Request
		return nil
	}
	if terms == nil {
		terms = &billTerms{}
		if rd.Why, err = t.doubt(m, rd, b); err != nil {
			return err
		}
		if rd.Why != "" {
			rd.Fate = ReadHeld
			return nil
		}
	}
	if b == nil {
		err = t.newBill(c, m, code, all, rd, terms)
	} else {
		err = t.revalue(code, b, rd, terms)
	}
	if err != nil || rd.Fate != ReadValued {
		return err
	}
	return t.remember(rd)
}

// billOf finds the bill that a row is about; nil: none yet.
func (t *tx) billOf(code *Code, all *billsRecord, rd *Reading) (*bill, error) {
	fits := func(reference string) bool { return code.Kind == Bill || reference == rd.Reference }
	for i := len(all.Bills) - 1; i >= 0; i-- {
		if fits(all.Bills[i].Reference) {
			return &all.Bills[i], nil
		}
	}
	if code.Shown == nil {
		return nil, nil
	}
	r, err := t.request(code.Shown.Request)
	if err != nil || r == nil || !fits(r.Content.Reference) {
		return nil, err
	}
	// It was attached by the office. An amount it has is the office's word.
	b := bill{Request: r.ID, Reference: r.Content.Reference}
	if r.Content.Amount > 0 {
		b.InForce = place{Office: true, At: r.CreatedAt.Truncate(time.Second)}
	}
	return all.add(b), nil
}

func (a *billsRecord) add(b bill) *bill {
	if len(a.Bills) >= keptBills {
		a.Bills = slices.Delete(a.Bills, 0, 1)
	}
	a.Bills = append(a.Bills, b)
	return &a.Bills[len(a.Bills)-1]
}

// newBill makes the request of a bill that was printed before it was known. On an
// account's code an older bill that nobody paid becomes a line of the new one: never
// are two of them payable.
func (t *tx) newBill(c Caller, m *Merchant, code *Code, all *billsRecord, rd *Reading, terms *billTerms) error {
	in := NewRequest{Amount: rd.Amount, Reference: rd.Reference, Customer: terms.customer, ExpiresAt: terms.expiresAt, Note: terms.note}
	old, err := t.unpaidBefore(code, all)
	if err != nil {
		return err
	}
	if old != nil && (old.Status == Processing || old.Status == Closing) {
		rd.Fate, rd.Why = ReadHeld, "payment_in_flight" // whether it is owed shows in a moment
		return nil
	}
	if old != nil && !terms.arrearsIncluded {
		in.Amount += old.Content.Amount
		in.Lines = []Line{
			{Description: rd.Reference, Quantity: "1", UnitPrice: rd.Amount, VATRate: "0"},
			{Description: "+ " + old.Content.Reference, Quantity: "1", UnitPrice: old.Content.Amount, VATRate: "0"},
		}
	}
	r, err := t.newRequest(c, m, in, code)
	if err != nil {
		return err
	}
	if err := t.add(r); err != nil {
		return err
	}
	r.OnCode = code.Token
	if err := t.submit(r); err != nil {
		return err
	}
	if _, err := t.place(c, AttachCommand{Code: code.Token, Replace: true}, code, r); err != nil {
		return err
	}
	all.add(bill{Request: r.ID, Reference: rd.Reference, InForce: rd.place()})
	rd.Fate, rd.Request = ReadValued, r.ID
	return nil
}

// unpaidBefore is the request whose money a new bill on the code takes along; nil: none.
// Of an account that is the bill that is shown, or the last one if it ran out of time.
func (t *tx) unpaidBefore(code *Code, all *billsRecord) (*Request, error) {
	var id RequestID
	switch {
	case code.Shown != nil:
		id = code.Shown.Request
	case code.Kind == Account && len(all.Bills) > 0:
		id = all.Bills[len(all.Bills)-1].Request
	default:
		return nil, nil
	}
	r, err := t.request(id)
	if err != nil || r == nil {
		return nil, orMissing(err, "payment request")
	}
	open := r.Status == Preparing || r.Status == Active || r.Status == Processing
	ranOut := (r.Status == Expired || r.Status == Closing && r.EndReason == ByExpiry) && code.Kind == Account && r.PaidAmount() == 0
	if r.Content.Amount == 0 || !open && !ranOut {
		return nil, nil
	}
	return r, nil
}

// revalue lets a row change what a known bill asks for.
func (t *tx) revalue(code *Code, b *bill, rd *Reading, terms *billTerms) error {
	r, err := t.request(b.Request)
	if err != nil || r == nil {
		return orMissing(err, "payment request")
	}
	if err := t.tick(r); err != nil {
		return err
	}
	rd.Request = r.ID
	asks := r.Content.Amount
	if len(r.Content.Lines) > 0 && code.Kind == Account {
		asks = r.Content.Lines[0].UnitPrice // the rest is arrears
	}
	switch r.Status {
	case Draft, Unvalued, Preparing, Active:
		if code.Shown == nil || code.Shown.Request != r.ID {
			break // a newer bill has taken its place
		}
		b.InForce = rd.place()
		rd.Fate = ReadValued
		later := !terms.expiresAt.IsZero() && !terms.expiresAt.Equal(r.Content.ExpiresAt)
		if asks == rd.Amount && !later {
			rd.Fate = ReadDuplicate
			return nil
		}
		if r.Customer == (Customer{}) {
			r.Customer = terms.customer
		}
		p := Patch{Amount: &rd.Amount}
		if later {
			p.ExpiresAt = &terms.expiresAt
		}
		if asks != r.Content.Amount {
			lines := slices.Clone(r.Content.Lines)
			lines[0].UnitPrice = rd.Amount
			p.Amount, p.Lines = nil, &lines
		}
		if rd.Reference != "" && rd.Reference != r.Content.Reference {
			p.Reference, b.Reference = &rd.Reference, rd.Reference
		}
		if err := r.may(Value, t.now); err != nil {
			return err
		}
		return t.value(r, p, Value)
	case Processing, Review, Closing:
		rd.Fate, rd.Why = ReadHeld, "payment_in_flight"
		return nil
	case Expired, Cancelled:
		if r.EndReason != ByOtherMeans && code.Shown != nil && code.Shown.Request == r.ID {
			return conflict("bill_ended", "The bill has ended unpaid; the office attaches the next.")
		}
	}
	b.InForce = rd.place()
	if rd.Difference = rd.Amount - asks; rd.Difference == 0 {
		rd.Fate = ReadDuplicate
	} else {
		rd.Fate = ReadAdjustment
	}
	return nil
}

// doubt says why a second person has to look at a value; empty: nobody has to. The past
// of this bill itself says nothing.
func (t *tx) doubt(m *Merchant, rd *Reading, b *bill) (string, error) {
	if m.ReadingLimit > 0 && rd.Amount > m.ReadingLimit {
		return "above_limit", nil
	}
	past, err := read[pastRecord](t, pastKey(rd), nil)
	if err != nil || past == nil {
		return "", err
	}
	var amounts []Amount
	for _, p := range past.Bills {
		if b == nil || p.Request != b.Request {
			amounts = append(amounts, p.Amount)
		}
	}
	if len(amounts) < leastPast {
		return "", nil
	}
	slices.Sort(amounts)
	usual := amounts[len(amounts)/2]
	if far := m.readingFactor(); rd.Amount > usual*far || rd.Amount < usual/far {
		return "far_from_past", nil
	}
	return "", nil
}

// readingFactor is how many times the usual value one may be without a second look.
func (m *Merchant) readingFactor() Amount {
	if m.ReadingFactor > 0 {
		return Amount(m.ReadingFactor)
	}
	return 5
}

// remember adds a value to the meter's past.
func (t *tx) remember(rd *Reading) error {
	past, err := read[pastRecord](t, pastKey(rd), nil)
	if err != nil {
		return err
	}
	if past == nil {
		past = &pastRecord{}
		if err := t.create(pastKey(rd), past); err != nil {
			return err
		}
	}
	if i := slices.IndexFunc(past.Bills, func(p pastBill) bool { return p.Request == rd.Request }); i >= 0 {
		past.Bills[i].Amount = rd.Amount
		return nil
	}
	if len(past.Bills) >= keptBills {
		past.Bills = slices.Delete(past.Bills, 0, 1)
	}
	past.Bills = append(past.Bills, pastBill{rd.Request, rd.Amount})
	return nil
}
