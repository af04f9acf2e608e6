package linking

import (
	"slices"
	"time"
)

// Sale is the till's own cart: at most one open request at a time, and more than
// one payment only if a total was given. Its record is a check or a write of
// every commit on its requests.
type Sale struct {
	ID       SaleID      `cbor:"1,keyasint"`
	Merchant MerchantID  `cbor:"2,keyasint"`
	Currency Currency    `cbor:"3,keyasint"`
	Total    Amount      `cbor:"4,keyasint,omitempty"` // 0: whatever its one request asks for
	Open     []RequestID `cbor:"5,keyasint,omitempty"` // not final; the second, if any, waits for the first
	Requests []RequestID `cbor:"6,keyasint,omitempty"` // all of them, oldest first
	Paid     Amount      `cbor:"7,keyasint,omitempty"` // money that counts, less what was refunded of it
}

// Left is what is still to be paid. known is false while nothing says how much
// that is: no total, and nothing paid.
func (s *Sale) Left() (left Amount, known bool) {
	switch {
	case s.Total > 0:
		return max(0, s.Total-s.Paid), true
	case s.Paid > 0:
		return 0, true
	}
	return 0, false
}

// takes reports whether a payment of a fits into what is left.
func (s *Sale) takes(a Amount) bool {
	left, known := s.Left()
	return !known || a <= left
}

// done reports whether there is nothing left to pay.
func (s *Sale) done() bool {
	left, known := s.Left()
	return known && left == 0
}

func (s *Sale) opened(id RequestID) {
	s.Open = append(s.Open, id)
	s.Requests = append(s.Requests, id)
}

func (s *Sale) closed(id RequestID) {
	s.Open = slices.DeleteFunc(s.Open, func(o RequestID) bool { return o == id })
}

// Tender says whether the till may take other money for a sale.
type Tender struct {
	Allowed bool
	Why     string // when not: a status, or "sale_paid", "other_request_open", "exception_open"
}

// tender answers "may I take cash?" about a request. sale may be nil; others are
// the sale's other open requests.
func tender(r *Request, sale *Sale, now time.Time) Tender {
	if r.openException() != nil {
		return Tender{Why: "exception_open"}
	}
	if sale != nil {
		if sale.done() {
			return Tender{Why: "sale_paid"}
		}
		for _, id := range sale.Open {
			if id != r.ID {
				return Tender{Why: "other_request_open"}
			}
		}
	}
	switch st := r.StatusAt(now); st {
	case Draft, Unvalued, Cancelled, Expired:
		return Tender{Allowed: true}
	case Preparing, Closing:
		if !r.Bank.Sent {
			return Tender{Allowed: true}
		}
		return Tender{Why: string(st)}
	default:
		return Tender{Why: string(st)}
	}
}
