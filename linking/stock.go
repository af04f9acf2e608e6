package linking

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
)

// NewCode is what a single code starts with.
type NewCode struct {
	Kind       CodeKind
	Label      string
	Outlet     OutletID
	Metadata   map[string]string
	Rail       string
	ResolvedBy ResolvedBy // empty: as payers of the rail expect
	Charge     Charge     // empty: immediate; fixed for a code that the bank resolves
}

const maxLabel = 100

// MakeCode makes one code. Its token is derived from the merchant's newest key and
// is valid because its record exists. A code that the bank resolves costs one call to
// the bank, which gives it a location of its own for ever.
func (s *Service) MakeCode(ctx context.Context, c Caller, in NewCode) (*Code, error) {
	if err := checkCode(in.Kind, in.Label); err != nil {
		return nil, err
	}
	link, err := s.bankLink(ctx, c, &in)
	if err != nil {
		return nil, err
	}
	var code *Code
	err = s.change(ctx, c.Merchant.Shard(), func(t *tx) error {
		t.begin(c)
		again, err := t.onceBegin()
		if err != nil || again != nil {
			return err
		}
		if len(c.Codes) > 0 {
			return &Error{Kind: Forbidden, Code: "forbidden", Detail: "A key that is bound to codes makes no new ones."}
		}
		m, err := t.merchantRec()
		if err != nil || m == nil {
			return orMissing(err, "merchant")
		}
		gen, key, err := t.newestKey(m)
		if err != nil {
			return err
		}
		if in.Rail != "" {
			if _, _, err := t.rail(m, in.Rail); err != nil {
				return err
			}
		}
		outlet := in.Outlet
		if outlet == "" {
			outlet = c.Outlet
		}
		if err := t.mayPlace(c, outlet); err != nil {
			return err
		}
		var b [8]byte
		rand.Read(b[:])
		serial := Serial{0, binary.BigEndian.Uint64(b[:]) & (1<<50 - 1)}
		code = &Code{
			Token: MakeToken(t.shard, gen.Ring, key, serial), Merchant: m.ID, Generation: gen.No, Serial: serial,
			Kind: in.Kind, Status: CodeActive, Stock: StockMade, ResolvedBy: in.ResolvedBy, Charge: in.Charge,
			Rail: in.Rail, Outlet: outlet, Label: in.Label, Metadata: in.Metadata, CreatedAt: t.now, BankLink: link,
		}
		if err := t.create(codeKey(code.Token), code); err != nil {
			return err
		}
		t.emit(Event{Type: CodeMade, Code: code.Token, Outlet: code.Outlet}, nil)
		return t.onceDone(CodeView{Code: code})
	})
	if err != nil && link != nil {
		s.log.Warn("a location was made at the bank for a code that was not: it stays empty", "location", link.ID)
	}
	return code, err
}

// bankLink decides who resolves a new code, and has the bank make a location if it
// does; nil: the gateway resolves it.
func (s *Service) bankLink(ctx context.Context, c Caller, in *NewCode) (*BankLink, error) {
	conn, err := s.resolver(ctx, c, in)
	if err != nil || conn == nil {
		return nil, err
	}
	bank, err := s.banks.Open(conn)
	if err != nil {
		return nil, &Error{Kind: Unavailable, Code: "bank_unavailable", Detail: "The bank connection's settings cannot work.", Err: err}
	}
	link, err := bank.MakeLink(ctx, in.Charge)
	if err == nil {
		return &link, nil
	}
	if e, ok := errors.AsType[*BankError](err); ok && e.Class == BankUnknown {
		s.log.Warn("the bank did not say whether it made a location: if it did, it stays empty", "connection", string(conn.ID), "err", err)
		return nil, &Error{Kind: Uncertain, Code: "uncertain", Detail: "The bank did not answer in time. Nothing was made here; try again.", Retry: 2, Err: err}
	}
	return nil, &Error{Kind: Unavailable, Code: "bank_unavailable", Detail: "The bank did not make a location for the code.", Retry: 2, Err: err}
}

// resolver decides who resolves new codes, and fills in what in leaves open. It
// returns the connection at which each of them needs a location; nil: none does.
func (s *Service) resolver(ctx context.Context, c Caller, in *NewCode) (*Connection, error) {
	t := s.look(ctx, c.Merchant.Shard())
	t.begin(c)
	m, err := t.merchantRec()
	if err != nil || m == nil {
		return nil, storeProblem(orMissing(err, "merchant"))
	}
	if in.Charge == "" {
		in.Charge = Immediate
	}
	if m.Rail == "" && in.Rail == "" && in.ResolvedBy != ByBankPayload || s.banks == nil {
		in.ResolvedBy = ByGateway
		return nil, nil
	}
	conn, ab, err := t.rail(m, in.Rail)
	if err != nil {
		if in.ResolvedBy == ByGateway && IsKind(err, Unavailable) {
			return nil, nil // nothing is asked of the bank for it
		}
		return nil, storeProblem(err)
	}
	if in.ResolvedBy == "" {
		in.ResolvedBy = ByGateway
		if ab.ScannedByBank {
			in.ResolvedBy = ByBankPayload
		}
	}
	if len(ab.Currencies) > 0 && !has(ab.Currencies, m.Currency) {
		return nil, invalid("currency", "rail_currency", "The rail "+conn.Rail+" does not take "+string(m.Currency)+".")
	}
	if len(ab.Charges) > 0 && !has(ab.Charges, in.Charge) || len(ab.Charges) == 0 && in.Charge != Immediate {
		return nil, invalid("charge", "rail_charge", "The rail "+conn.Rail+" has no "+string(in.Charge)+" charges.")
	}
	if in.ResolvedBy == ByGateway {
		return nil, nil
	}
	if !ab.BankLink {
		return nil, invalid("resolved_by", "rail_cannot_resolve", "The rail "+conn.Rail+" has no locations of its own that a code could carry.")
	}
	return conn, nil
}

func checkCode(k CodeKind, label string) error {
	if !has(codeKinds, k) {
		return invalid("kind", "one_of", "The kind is counter, bill or account.")
	}
	return text("label", label, maxLabel)
}

// newestKey is the key that a merchant's next tokens are made with.
func (t *tx) newestKey(m *Merchant) (Generation, TokenKey, error) {
	gen := m.Generations[len(m.Generations)-1]
	r, err := read[RingRecord](t, ringKeyOf(t.shard, gen.Ring), nil)
	if err != nil {
		return gen, TokenKey{}, err
	}
	if r != nil {
		for _, k := range r.Keys {
			if k.Merchant == m.ID && k.Generation == gen.No && len(k.Key) == len(TokenKey{}) {
				return gen, TokenKey(k.Key), nil
			}
		}
	}
	return gen, TokenKey{}, &Error{Kind: Unavailable, Code: "key_lost", Detail: "The key of the merchant's codes is lost. A new key generation is needed before codes are made."}
}

// CodePatch changes a code. Nil leaves a field as it is.
type CodePatch struct {
	Label    *string
	Outlet   *OutletID
	Metadata map[string]string
	Status   *CodeStatus
	Stock    *Stock
	IfMatch  *uint64
}

// PatchCode changes a code's label, place or status. Taking it out of use detaches
// what it shows.
func (s *Service) PatchCode(ctx context.Context, c Caller, id Token, p CodePatch) (v CodeView, err error) {
	err = s.change(ctx, id.Shard(), func(t *tx) (err error) {
		t.begin(c)
		if again, err := t.onceBegin(); err != nil || again != nil {
			return err
		}
		code, err := t.codeFor(c, id)
		if err != nil {
			return err
		}
		if err := t.fresh(code, p.IfMatch); err != nil {
			return err
		}
		_, b, err := t.anyCode(id)
		if err != nil {
			return err
		}
		if p.Label != nil {
			if err := text("label", *p.Label, maxLabel); err != nil {
				return err
			}
			code.Label = *p.Label
		}
		if p.Outlet != nil {
			if err := t.mayPlace(c, *p.Outlet); err != nil {
				return err
			}
			code.Outlet = *p.Outlet
		}
		if p.Metadata != nil {
			code.Metadata = p.Metadata
		}
		if p.Stock != nil {
			if !has(stocks, *p.Stock) {
				return invalid("stock", "one_of", "The stock state is made, printed or delivered.")
			}
			code.Stock = *p.Stock
			b.unmark(code.Serial.No, false)
		}
		if p.Status != nil && *p.Status != code.statusIn(b) {
			b.unmark(code.Serial.No, true)
			if *p.Status != code.Status {
				if err := t.setStatus(code, *p.Status); err != nil {
					return err
				}
			}
		}
		t.emit(Event{Type: CodeChanged, Code: code.Token, Epoch: code.Epoch, Outlet: code.Outlet}, nil)
		v = CodeView{code, b}
		return t.onceDone(v)
	})
	return v, err
}

func (t *tx) setStatus(code *Code, st CodeStatus) error {
	switch {
	case !has(codeStatuses, st) || st == CodeReplaced:
		return invalid("status", "one_of", "The status is active, void, lost or retired.")
	case code.Status == CodeReplaced:
		return conflict("not_allowed_in_status", "A newer code took over from this one.").with("status", code.Status)
	}
	if st != CodeActive {
		if err := t.empty(code); err != nil {
			return err
		}
	}
	code.setStatus(st)
	return nil
}

// empty detaches what a code shows that goes out of use.
func (t *tx) empty(code *Code) error {
	f := code.Shown
	if f == nil {
		return nil
	}
	r, err := t.request(f.Request)
	if err != nil || r == nil {
		return orMissing(err, "payment request")
	}
	if err := t.detach(code, r, false); err != nil {
		return err
	}
	if (r.Origin == MadeByLink || code.ResolvedBy == ByBankPayload) && !r.Status.Final() && r.Status != Review {
		return t.end(r, Cancel, ByDetach)
	}
	return nil
}

// ReplaceCode makes a new code of the same kind that takes over what the old one
// shows; the old one says so from then on.
//
// A code that the bank resolves gets a location of its own; what it shows at the bank
// cannot move there and has to be detached first.
func (s *Service) ReplaceCode(ctx context.Context, c Caller, id Token) (v CodeView, err error) {
	var link *BankLink
	before, err := s.Code(ctx, c, id)
	if err != nil {
		return v, err
	}
	if before.ResolvedBy == ByBankPayload && before.Status == CodeActive {
		link, err = s.bankLink(ctx, c, &NewCode{Kind: before.Kind, Rail: before.Rail, ResolvedBy: ByBankPayload, Charge: before.Charge})
		if err != nil {
			return v, err
		}
	}
	err = s.change(ctx, id.Shard(), func(t *tx) error {
		t.begin(c)
		if again, err := t.onceBegin(); err != nil || again != nil {
			return err
		}
		old, err := t.codeFor(c, id)
		if err != nil {
			return err
		}
		if old.Status == CodeReplaced {
			return conflict("not_allowed_in_status", "A newer code took over already.").with("replaced_by", old.ReplacedBy)
		}
		m, err := t.merchantRec()
		if err != nil || m == nil {
			return orMissing(err, "merchant")
		}
		gen, key, err := t.newestKey(m)
		if err != nil {
			return err
		}
		var b [8]byte
		rand.Read(b[:])
		serial := Serial{0, binary.BigEndian.Uint64(b[:]) & (1<<50 - 1)}
		n := *old
		n.Token, n.Generation, n.Serial = MakeToken(t.shard, gen.Ring, key, serial), gen.No, serial
		n.Status, n.Stock, n.CreatedAt = CodeActive, StockMade, t.now
		n.Epoch, n.Free, n.Shown, n.Last, n.ScannedAt, n.ReplacedBy = 0, false, nil, nil, 0, ""
		n.BankLink, n.Shows, n.ShowsUnknown = link, "", false
		code := &n
		if err := t.create(codeKey(n.Token), code); err != nil {
			return err
		}
		if f := old.Shown; f != nil {
			r, err := t.request(f.Request)
			if err != nil || r == nil {
				return orMissing(err, "payment request")
			}
			if old.ResolvedBy == ByBankPayload && !r.Status.Final() {
				return conflict("code_busy", "The code shows an open payment request at the bank; detach it first.").with("linked", f.brief())
			}
			if err := t.detach(old, r, false); err != nil {
				return err
			}
			if err := t.show(code, r, f.By); err != nil {
				return err
			}
			t.emit(Event{Type: CodeAttached, Code: code.Token, Epoch: code.Epoch, Outlet: code.Outlet}, r)
		}
		_, batch, err := t.anyCode(id)
		if err != nil {
			return err
		}
		batch.unmark(old.Serial.No, true) // or a scan would not be told of the newer one
		old.setStatus(CodeReplaced)
		old.ReplacedBy = code.Token
		t.emit(Event{Type: CodeMade, Code: code.Token, Outlet: code.Outlet}, nil)
		t.emit(Event{Type: CodeChanged, Code: old.Token, Epoch: old.Epoch, Outlet: old.Outlet}, nil)
		v = CodeView{Code: code}
		return t.onceDone(v)
	})
	return v, err
}
