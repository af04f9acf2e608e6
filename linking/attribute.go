package linking

// Money that came for a request the store had lost is an exception of kind unknown. A
// person may find that it was meant for a request that ended without it, such as one made
// anew after a restore, and let it count there. At the bank it stays where it came in, and
// is sent back from there.

// attribute lets the money of an exception of from's count as payment of r.
func (t *tx) attribute(from *Request, id ExceptionID, r *Request, by string) error {
	e, err := from.exception(id)
	if err != nil {
		return err
	}
	switch {
	case e.Kind != UnknownMoney:
		return invalid("request_id", "not_allowed", "Only money of kind unknown is attributed by a person: the bank says what this was for.")
	case r.Content.Currency != e.Money.Currency:
		return invalid("request_id", "currency", "The money came in "+string(e.Money.Currency)+", and the payment request is in "+string(r.Content.Currency)+".")
	case r.Status == Paid:
		return conflict("already_paid", "The payment request is paid.").with("request", brief(r))
	case r.Status != Expired && r.Status != Cancelled:
		return conflict("not_allowed_in_status", "Only a payment request that has ended is paid in this way: cancel it first, or it may be paid twice.").with("status", r.Status)
	}
	if err := from.may(Return, t.now); err != nil {
		return err
	}
	rec, err := read[exceptionRecord](t, exceptionKey(id), nil)
	if err != nil {
		return err
	}
	if rec != nil {
		rec.Request = r.ID
	}
	p := *from.payment(e.PaymentID)
	p.Of = from.ID
	r.Payments = append(r.Payments, p)
	r.Exceptions = append(r.Exceptions, *e)
	if r.Bank.Connection == "" { // a draft, which no bank ever saw
		r.Bank.Rail, r.Bank.Connection = from.Bank.Rail, from.Bank.Connection
	}
	// Nothing is left to do about what the money came for.
	if err := t.move(from, Return); err != nil {
		return err
	}
	e.Decision, e.DecidedAt, e.DecidedBy = "accepted", t.now, by
	if from.Status == Closing && from.Bank.State == BankPaid && from.openException() == nil {
		if err := t.move(from, Returned); err != nil {
			return err
		}
	}
	return t.accept(r, id, by)
}
