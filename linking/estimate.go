package linking

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// Fee is what a merchant's bank or provider keeps of a payment, as the merchant has
// entered it. It is shown to staff before a link is sent; a payer never pays it on top.
type Fee struct {
	Label   string `cbor:"1,keyasint"`
	Method  string `cbor:"2,keyasint,omitempty"` // of this way to pay alone; empty: of every one
	Percent string `cbor:"3,keyasint,omitempty"` // a decimal with at most 2 digits after the point
	Fixed   Amount `cbor:"4,keyasint,omitempty"`
}

// maxFees is how many lines a merchant's table of fees has at most.
const maxFees = 20

// SetFees replaces a merchant's table of fees.
func (s *Service) SetFees(ctx context.Context, c Caller, fees []Fee) ([]Fee, error) {
	if err := checkFees(fees); err != nil {
		return nil, err
	}
	err := s.change(ctx, c.Merchant.Shard(), func(t *tx) error {
		t.begin(c)
		if again, err := t.onceBegin(); err != nil || again != nil {
			return err
		}
		m, err := t.merchantRec()
		if err != nil || m == nil {
			return orMissing(err, "merchant")
		}
		m.Fees = fees
		return t.onceMade("", "", "")
	})
	s.merchants.forget(c.Merchant)
	return fees, err
}

// checkFees refuses a table that cannot be reckoned with.
func checkFees(fees []Fee) error {
	if len(fees) > maxFees {
		return invalid("fees", "too_many", fmt.Sprintf("At most %d fees.", maxFees))
	}
	for i, f := range fees {
		field := func(name string) string { return fmt.Sprintf("fees[%d].%s", i, name) }
		if f.Label == "" {
			return invalid(field("label"), "required", "A fee has a name: staff read it.")
		}
		if err := text(field("label"), f.Label, 60); err != nil {
			return err
		}
		if f.Percent == "" && f.Fixed == 0 {
			return invalid(field("percent"), "required", "A fee is a percentage, a fixed amount, or both.")
		}
		if f.Percent != "" {
			if p, ok := decimal(f.Percent, 3, 2); !ok || p.Cmp(big.NewRat(100, 1)) > 0 {
				return invalid(field("percent"), "decimal", "A percentage from 0 to 100 with at most 2 digits after the point.")
			}
		}
		if f.Fixed < 0 || f.Fixed > MaxAmount {
			return invalid(field("fixed"), "range", "A fixed fee is from 0 to 10^15 minor units.")
		}
	}
	return nil
}

// of is the fee of a payment, rounded to the minor unit, half upwards, and never more
// than the payment.
func (f Fee) of(a Amount) Amount {
	fee := f.Fixed
	if p, ok := decimal(f.Percent, 3, 2); ok {
		part, _ := rounded(p.Mul(p, new(big.Rat).SetFrac64(int64(a), 100)))
		fee += part
	}
	return min(fee, a)
}

// Estimate is what a request would be if it were made now.
type Estimate struct {
	Request  *Request  // as it would be; nil: no bank connection is there to make it with
	Have     RequestID // the open request of its sale that would be answered instead
	Currency Currency
	Sum      LineTotal // of the lines; without lines, the amount and no VAT
	Fees     []EstimatedFee
	Methods  []string // ways to pay that the payer would be offered by name
	// Unavailable says what would not be offered, and why.
	Unavailable []NotOffered
}

// EstimatedFee is a fee of the merchant's table for one amount.
type EstimatedFee struct {
	Fee
	Amount Amount
}

// NotOffered is something that is not offered.
type NotOffered struct {
	What string // link, email, sms, capture, refund, amount_adjustable
	Why  string // merchant_not_live, needs_customer, rail_cannot_capture, rail_cannot_refund, rail_cannot_adjust
}

// EstimateRequest says what CreateRequest would make, and refuses what it would refuse.
// Nothing is made, nothing is ended, no bank is asked for anything.
func (s *Service) EstimateRequest(ctx context.Context, c Caller, in NewRequest) (*Estimate, error) {
	t := s.look(ctx, c.Merchant.Shard())
	c.Once = nil
	t.begin(c)
	m, err := t.merchantRec()
	if err != nil || m == nil {
		return nil, storeProblem(orMissing(err, "merchant"))
	}
	_, ab, err := t.rail(m, "")
	if e, ok := errors.AsType[*Error](err); ok && len(e.Fields) == 1 && e.Fields[0].Code == "merchant_not_live" {
		return &Estimate{Currency: m.Currency, Unavailable: []NotOffered{{"link", "merchant_not_live"}}}, nil
	}
	if err != nil {
		return nil, storeProblem(err)
	}
	r, err := t.newRequest(c, m, in, nil)
	if err != nil {
		return nil, storeProblem(err)
	}
	have, err := t.giveWay(r, in, nil)
	if err != nil {
		return nil, storeProblem(err)
	}
	e := &Estimate{Request: r, Currency: r.Content.Currency, Methods: ab.Methods, Sum: LineTotal{Net: r.Content.Amount, Gross: r.Content.Amount}}
	if have != nil {
		e.Have = have.ID
	} else if err := t.add(r); err != nil {
		return nil, storeProblem(err)
	}
	if len(r.Content.Lines) > 0 {
		if _, e.Sum, err = Totals(r.Content.Lines, r.Content.VATExtra); err != nil {
			return nil, err
		}
	}
	if len(r.Methods) > 0 {
		e.Methods = r.Methods
	}
	for _, f := range m.Fees {
		if f.Method == "" || slices.Contains(e.Methods, f.Method) {
			e.Fees = append(e.Fees, EstimatedFee{f, f.of(r.Content.Amount)})
		}
	}
	not := func(missing bool, what, why string) {
		if missing {
			e.Unavailable = append(e.Unavailable, NotOffered{what, why})
		}
	}
	not(r.Customer.Email == "", "email", "needs_customer")
	not(r.Customer.Phone == "", "sms", "needs_customer")
	not(!ab.Capture, "capture", "rail_cannot_capture")
	not(!ab.Refund, "refund", "rail_cannot_refund")
	not(!ab.Adjustable, "amount_adjustable", "rail_cannot_adjust")
	return e, nil
}
