package linking

import (
	"slices"
	"time"
)

// Caller is who asks: a key or a person of one merchant, or the bank or the clock
// where By is empty.
type Caller struct {
	Merchant MerchantID
	Role     Role
	Key      KeyID     // who shows sales: the key's id, or the person's or the paired device's
	By       string    // for history and events: a key's id or a person's
	Session  SessionID // empty: the call carries a key
	Outlet   OutletID  // empty: all
	Codes    []Token   // empty: all
	Once     *Once     // nil: the call carries no idempotency key
}

// OnDevice reports whether a person was let in by his PIN, on a paired device.
func (c *Caller) OnDevice() bool { return c.Session != "" && c.By != string(c.Key) }

// sees reports whether c may know of something of a merchant, outlet and code. What
// a caller may not see does not exist for him.
func (c *Caller) sees(m MerchantID, o OutletID, code Token) bool {
	if m != c.Merchant {
		return false
	}
	if c.Outlet != "" && o != c.Outlet {
		return false
	}
	return len(c.Codes) == 0 || code != "" && slices.Contains(c.Codes, code)
}

func (c *Caller) seesRequest(r *Request) bool {
	if len(c.Codes) > 0 && r.OnCode == "" && r.AskedBy == c.Key {
		return r.Merchant == c.Merchant
	}
	return c.sees(r.Merchant, r.Outlet, r.OnCode)
}

// begin says on whose behalf the attempt decides.
func (t *tx) begin(c Caller) {
	t.merchant, t.by, t.once = c.Merchant, c.By, c.Once
}

// codeFor reads a code the caller may act on, as it would be if the clock had been
// written down. A printed code of a batch that has no record yet gets one with the
// commit.
func (t *tx) codeFor(c Caller, id Token) (*Code, error) {
	code, _, err := t.anyCode(id)
	if err != nil {
		return nil, err
	}
	if code == nil || !c.sees(code.Merchant, code.Outlet, code.Token) {
		return nil, notFound("code")
	}
	if t.recs[codeKey(id)].v == nil {
		if err := t.create(codeKey(id), code); err != nil {
			return nil, err
		}
	}
	return code, t.tickCode(code)
}

// inUse refuses a code that is void, lost, retired or replaced.
func (t *tx) inUse(code *Code) error {
	_, b, err := t.anyCode(code.Token)
	if err != nil {
		return err
	}
	if st := code.statusIn(b); st != CodeActive {
		return &Error{Kind: Gone, Code: "gone", Detail: "The code is " + string(st) + "; it shows nothing any more.", With: map[string]any{"status": st}}
	}
	return nil
}

// tickCode lets the clock speak about what the code shows.
func (t *tx) tickCode(code *Code) error {
	if code.Shown == nil {
		return nil
	}
	r, err := t.request(code.Shown.Request)
	if err != nil || r == nil {
		return err
	}
	return t.tick(r)
}

// anyCode reads a code and its batch, if it is of one. A code without a record is
// made up from its batch; nil: no such code was ever printed.
func (t *tx) anyCode(id Token) (*Code, *Batch, error) {
	code, err := t.code(id)
	if err != nil {
		return nil, nil, err
	}
	if code != nil {
		if code.Serial.Batch == 0 {
			return code, nil, nil
		}
		b, err := read[Batch](t, batchKey(batchID(code.Merchant, code.Generation, code.Serial.Batch)), nil)
		return code, b, err
	}
	ring, err := t.s.ring(t.ctx, id)
	if err != nil {
		return nil, nil, err
	}
	for i := range ring {
		k := &ring[i]
		serial, ok := k.open(id)
		if !ok || serial.Batch == 0 || k.RecordOnly {
			continue
		}
		b, err := read[Batch](t, batchKey(batchID(k.Merchant, k.Generation, serial.Batch)), nil)
		if err != nil {
			return nil, nil, err
		}
		if b != nil && b.derives(serial.No) {
			code := b.code(id, serial)
			return code, b, t.describe(b, code)
		}
	}
	return nil, nil, nil
}

// statusIn is the code's status, or its batch's word on its serial where there is one.
func (c *Code) statusIn(b *Batch) CodeStatus {
	if b != nil {
		if s := b.statusOf(c.Serial.No); s != "" {
			return s
		}
	}
	return c.Status
}

// requestFor reads a request the caller may act on, by our id or by his own.
func (t *tx) requestFor(c Caller, ref string) (*Request, error) {
	id, err := t.requestID(c, ref)
	if err != nil {
		return nil, err
	}
	r, err := t.request(id)
	if err != nil {
		return nil, err
	}
	if r == nil || !c.seesRequest(r) {
		return nil, notFound("payment request")
	}
	return r, t.tick(r)
}

// requestID finds the request that ref means: our id, or the caller's client_id.
func (t *tx) requestID(c Caller, ref string) (RequestID, error) {
	if id, ok := ParseRequestID(ref); ok && id.Shard() == t.shard {
		r, err := t.request(id)
		if err != nil {
			return "", err
		}
		if r != nil && r.Merchant == c.Merchant {
			return id, nil
		}
	}
	if !printable(ref, 1, maxClientID) {
		return "", notFound("payment request")
	}
	own, err := read[clientIDRecord](t, clientIDKey(c.Merchant, ref), nil)
	if err != nil {
		return "", err
	}
	if own == nil {
		return "", notFound("payment request")
	}
	return own.Request, nil
}

const maxClientID = 64

// clientIDRecord leads from a caller's own id to the request, for ever.
type clientIDRecord struct {
	Request RequestID `cbor:"1,keyasint"`
}

// Once makes a repeated call harmless: the same key with the same body answers the
// same and changes nothing.
type Once struct {
	Key         string   // 1 to 128 printable ASCII characters, the caller's own
	Fingerprint [32]byte // of method, path and body
	// Render turns a result into the answer that is stored and repeated.
	Render func(result any) Reply
	// Reply is the answer, once it is stored.
	Reply *Reply
}

// Reply is an HTTP answer as it is repeated.
type Reply struct {
	Status   int    `cbor:"1,keyasint"`
	Body     []byte `cbor:"2,keyasint"`
	Type     string `cbor:"3,keyasint,omitempty"` // the media type
	ETag     string `cbor:"4,keyasint,omitempty"`
	Location string `cbor:"5,keyasint,omitempty"`
	Replayed bool   `cbor:"-"`
}

// onceRecord is what is kept of a call with an idempotency key.
type onceRecord struct {
	Fingerprint []byte    `cbor:"1,keyasint"`
	CreatedAt   time.Time `cbor:"2,keyasint"`
	Request     RequestID `cbor:"3,keyasint,omitempty"` // what the call made
	Code        Token     `cbor:"4,keyasint,omitempty"`
	Reply       *Reply    `cbor:"5,keyasint,omitempty"`
	Ended       RequestID `cbor:"6,keyasint,omitempty"` // the request the call displaced or ended
}

const (
	onceLife = 24 * time.Hour
	onceWait = 15 * time.Second // without an answer after this, the present state is the answer
)
