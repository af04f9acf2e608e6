package linking

import (
	"context"
	"slices"
	"time"
)

// SheetProof is what was seen on one printed sheet, kept under the hash of its dots:
// whoever holds a sheet years later can say whether it was read back before it was
// printed, and by whom it was.
type SheetProof struct {
	Hash   string    `cbor:"1,keyasint"` // SHA-256 of the printer's dots, 64 hexadecimal digits in lower case
	At     time.Time `cbor:"2,keyasint"`
	By     string    `cbor:"3,keyasint,omitempty"`
	Batch  BatchID   `cbor:"4,keyasint,omitempty"`
	From   uint64    `cbor:"5,keyasint,omitempty"` // serials of the batch, counted from 1; 0: of none
	To     uint64    `cbor:"6,keyasint,omitempty"`
	Code   Token     `cbor:"7,keyasint,omitempty"` // the first of single codes
	Stock  string    `cbor:"8,keyasint"`
	Passed bool      `cbor:"9,keyasint"`
	Seen   []byte    `cbor:"10,keyasint"` // the proof as a JSON document
}

const (
	maxProof    = 16 << 10 // bytes of one proof's document
	proofsOnce  = 100      // proofs that one commit writes
	hashSymbols = "0123456789abcdef"
)

func proofKey(m MerchantID, hash string) Key {
	return Key{m.Shard(), kindProof, string(m) + "." + hash}
}

// KeepProofs stores the proofs of sheets. One of the same sheet takes the place of an
// older one.
func (s *Service) KeepProofs(ctx context.Context, c Caller, list []SheetProof) error {
	for _, p := range list {
		if !IsSheetHash(p.Hash) || len(p.Seen) > maxProof || len(p.Stock) > 40 {
			return invalid("proofs", "invalid", "A proof has the hash of its sheet, a stock and at most 16 KiB.")
		}
	}
	for some := range slices.Chunk(list, proofsOnce) {
		err := s.change(ctx, c.Merchant.Shard(), func(t *tx) error {
			t.begin(c)
			for _, p := range some {
				p.At, p.By = t.now, t.by
				old, err := read[SheetProof](t, proofKey(c.Merchant, p.Hash), nil)
				if err != nil {
					return err
				}
				if old != nil {
					*old = p
				} else if err := t.create(proofKey(c.Merchant, p.Hash), &p); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Proof reads the proof of a sheet.
func (s *Service) Proof(ctx context.Context, c Caller, hash string) (*SheetProof, error) {
	if !IsSheetHash(hash) {
		return nil, notFound("proof")
	}
	p, err := read[SheetProof](s.look(ctx, c.Merchant.Shard()), proofKey(c.Merchant, hash), nil)
	if err != nil || p == nil {
		return nil, storeProblem(orMissing(err, "proof"))
	}
	return p, nil
}

// IsSheetHash reports whether a text can be the hash of a sheet.
func IsSheetHash(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if !slices.Contains([]byte(hashSymbols), s[i]) {
			return false
		}
	}
	return true
}
