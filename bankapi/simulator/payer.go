package simulator

import (
	"placard/linking"
)

// payOrder is what a payer does.
type payOrder struct {
	id       string         // the merchant's or the bank's
	amount   linking.Amount // 0: what is asked for
	times    int            // payments; 0: one
	hold     bool           // only begin: the money is not final
	force    bool           // though a real bank would refuse
	revision int            // the payer saw this one; 0: whichever is there
}

// pay is a payer paying. Another amount, or several payments, are what the order
// says; how the request stands can still refuse it.
func (l *ledger) pay(o payOrder) (requestSnapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, err := l.find("", o.id)
	if err != nil {
		return requestSnapshot{}, err
	}
	amount := o.amount
	switch {
	case amount == 0 && r.held > 0:
		amount = r.held
	case amount == 0 && r.due != nil:
		amount = r.due(r, l.now())
	case amount == 0:
		amount = r.money.Amount
	}
	if amount < 0 || amount > linking.MaxAmount || o.times < 0 || o.times > 100 {
		return requestSnapshot{}, refuse("amount", "Nobody pays that.")
	}
	// What is under way where nobody sees it arrives, whatever was changed meanwhile.
	arrives := r.instant && r.held > 0 && !o.hold && (r.status == linking.BankOpen || r.status == linking.BankClosed)
	if !o.force && !arrives {
		switch {
		case o.revision != 0 && o.revision != r.revision:
			return l.snapshot(r), refuse("changed", "The amount has changed since it was shown.")
		case r.status == linking.BankOpen && l.overdue(r):
			return l.snapshot(r), refuse("expired", "The request is past its time.")
		case r.status == linking.BankOpen:
		case r.status == linking.BankProcessing && !o.hold: // what was held goes through
		default:
			return l.snapshot(r), l.busy(r)
		}
	}
	switch {
	case o.hold && r.instant:
		r.held = amount
	case o.hold:
		r.held = amount
		l.moved(r, linking.BankProcessing, "")
	case r.manual && r.status != linking.BankPaid:
		r.held = amount
		l.moved(r, linking.BankAuthorised, "")
	default:
		for range max(o.times, 1) {
			l.settle(r, amount)
		}
	}
	l.endsAt(r)
	return l.snapshot(r), nil
}

// overdue is a request past its time at a bank that ends none by itself: it stays
// open, but the payer's app does not offer it.
func (l *ledger) overdue(r *request) bool {
	return !r.expiresAt.IsZero() && !l.now().Before(r.expiresAt)
}

// refusePayment is the payer saying no, or a payment under way that fails. What is
// refused ends; what only failed can be paid again, while its time lasts.
func (l *ledger) refusePayment(id string) (requestSnapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, err := l.find("", id)
	if err != nil {
		return requestSnapshot{}, err
	}
	if r.instant && r.held > 0 {
		r.held = 0
		return l.snapshot(r), nil
	}
	switch r.status {
	case linking.BankOpen:
		l.moved(r, linking.BankClosed, "payer_refused")
	case linking.BankProcessing:
		if l.overdue(r) {
			l.moved(r, linking.BankExpired, "expired")
		} else {
			l.moved(r, linking.BankOpen, "payment_failed")
		}
	case linking.BankAuthorised:
		l.moved(r, linking.BankClosed, "authorisation_lapsed")
	default:
		return l.snapshot(r), l.busy(r)
	}
	l.endsAt(r)
	return l.snapshot(r), nil
}
