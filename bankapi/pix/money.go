package pix

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"placard/bankapi"
	"placard/linking"
)

// Refund implements linking.Bank. Of a refund that is known already some banks give
// the first answer and some refuse the call, so that after a refusal the bank is
// asked what it knows.
//
// The reason stays here: what is sent beside a refund is shown to the payer, and the
// reason is what the staff wrote for themselves.
func (b *Bank) Refund(ctx context.Context, ask linking.RefundAsk) (linking.BankRefund, error) {
	switch {
	case ask.Money.Currency != currency || ask.Money.Amount <= 0 || ask.Money.Amount > maxAmount:
		return linking.BankRefund{}, unsendable(errors.New("an amount that cannot go back"))
	case !alphanumeric(ask.PaymentID) || len(ask.PaymentID) > 64 || !alphanumeric(string(ask.Refund)) || len(ask.Refund) > 35:
		return linking.BankRefund{}, unsendable(errors.New("a refund of no payment"))
	}
	path := "/pix/" + ask.PaymentID + "/devolucao/" + string(ask.Refund)
	body, err := b.call(ctx, target{method: http.MethodPut, path: path, scope: scopePixWrite}, refundPutDoc{currency.Decimal(ask.Money.Amount)})
	if err == nil {
		return understood(refundOf(body, ask))
	}
	if c := classOf(err); c != linking.BankRefused && c != linking.BankBusy {
		return linking.BankRefund{}, err
	}
	body, gerr := b.call(ctx, target{method: http.MethodGet, path: path, scope: scopePixRead}, nil)
	switch classOf(gerr) {
	case linking.BankAbsent, linking.BankRefused:
		return linking.BankRefund{}, err // it was not done, and will not be
	case "":
	default:
		return linking.BankRefund{}, bankapi.Unreadable("refund_unclear", "The bank refused the refund, but did not say whether it was made before.", gerr)
	}
	r, rerr := refundOf(body, ask)
	if f, _ := errors.AsType[bankapi.Fault](rerr); f == "wrong_amount" {
		return linking.BankRefund{}, &linking.BankError{Class: linking.BankRefused, Code: "refund_reused", Detail: "That refund was something else.", Err: err}
	}
	return understood(r, rerr)
}

const (
	pageSize = 100 // the specification's own default; not every bank takes more
	// maxPages bounds one list. A longer one is cut in half by time.
	maxPages = 20
	// maxSpan is the longest time one list is asked for: some banks refuse more than
	// a few days.
	maxSpan = 4 * 24 * time.Hour
	// overlap is how far each list reaches back into the one before it: a payment may
	// be listed some time after the time it bears.
	overlap = time.Minute
	// ahead is how far a list reaches into what should be the future, since a clock is
	// known only so well. It must be less than overlap.
	ahead = tolerated + 2*time.Second
	// endedEach is how often charges are asked for that the bank has ended. It hardly
	// ever does.
	endedEach = 5 * time.Minute
)

// news remembers what a list has told, so that the overlap is not told again and
// again: each name costs a question.
type news struct {
	mu    sync.Mutex
	since time.Time
	fresh map[string]linking.RequestID // told in the round that began at since
	known map[string]linking.RequestID // in the list before
}

// round takes what is listed from since on, and returns what the caller has not
// heard. A caller who begins where he began before has lost the answer.
func (n *news) round(since time.Time, list map[string]linking.RequestID) {
	switch {
	case since.Before(n.since):
		n.fresh, n.known = nil, nil
	case since.After(n.since):
		n.fresh = nil
	}
	if n.fresh == nil {
		n.fresh = map[string]linking.RequestID{}
	}
	for k, id := range list {
		if _, old := n.known[k]; !old {
			n.fresh[k] = id
		}
	}
	n.since, n.known = since, list
}

// endedNews is the same for charges the bank has ended, asked for less often.
type endedNews struct {
	news
	asked time.Time
}

// Changed lists requests that were paid, by the time of the payment, and those the
// bank has ended. All times are the bank's. What the merchant himself removed is no
// news, and of refunds the bank keeps no list.
func (b *Bank) Changed(ctx context.Context, since time.Time) (ids []linking.RequestID, next time.Time, err error) {
	if !slices.Contains(b.scopes, scopePixRead) {
		return nil, next, &linking.BankError{Class: linking.BankRefused, Code: "missing_scope", Detail: "Without the scope pix.read there is no list of payments."}
	}
	b.payments.mu.Lock() // a list at a time: who comes meanwhile is told what is left
	defer b.payments.mu.Unlock()
	list, until, cut, err := b.paidSince(ctx, since)
	if err != nil {
		return nil, next, err
	}
	b.payments.round(since, list)
	if err := b.endedSince(ctx, since); err != nil {
		return nil, next, err
	}
	seen := map[linking.RequestID]bool{}
	for _, fresh := range []map[string]linking.RequestID{b.payments.fresh, b.ended.fresh} {
		for _, id := range fresh {
			if !seen[id] {
				seen[id], ids = true, append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	next = until
	if !cut {
		next = until.Add(-overlap)
	}
	if next.Before(since) {
		next = since
	}
	return ids, next, nil
}

// paidSince lists payments from since until now, or as far as one round goes: then it
// was cut.
func (b *Bank) paidSince(ctx context.Context, since time.Time) (list map[string]linking.RequestID, until time.Time, cut bool, err error) {
	// A bank not heard from before has told the time with the token at the latest.
	if _, err := b.bearer(ctx); err != nil {
		return nil, until, false, err
	}
	now := b.clock.banks(b.now())
	for {
		if until = now.Add(ahead); until.Before(since) {
			until = since
		}
		if cut = until.Sub(since) > maxSpan; cut {
			until = since.Add(maxSpan)
		}
		list, until, cut, err = b.halved(ctx, since, until, cut)
		heard := b.clock.banks(b.now())
		if err != nil || cut || heard.Sub(now) < time.Minute {
			return list, until, cut, err
		}
		now = heard // its clock is not where it was thought to be
	}
}

// halved lists payments, and if there are too many those of the first half of the time.
func (b *Bank) halved(ctx context.Context, since, until time.Time, cut bool) (map[string]linking.RequestID, time.Time, bool, error) {
	for {
		list, all, err := b.list(ctx, "/pix", scopePixRead, since, until, "&txIdPresente=true")
		if err != nil || all {
			return list, until, cut, err
		}
		half := until.Sub(since) / 2
		if half < time.Second {
			return nil, until, cut, bankapi.Unreadable("endless_list", "The bank's list of payments has no end.", nil)
		}
		until, cut = since.Add(half), true
	}
}

// endedSince takes note of charges the bank has ended. They are listed by when they
// were made, so that only younger ones are found; older ones are asked for by
// themselves when their time is up.
func (b *Bank) endedSince(ctx context.Context, since time.Time) error {
	now := b.clock.banks(b.now())
	if now.Sub(b.ended.asked).Abs() < endedEach {
		if since.After(b.ended.since) {
			b.ended.fresh = nil
		}
		return nil
	}
	all := map[string]linking.RequestID{}
	for path, scope := range map[string]string{"/cob": scopeCobRead, "/cobv": scopeCobVRead} {
		if !slices.Contains(b.scopes, scope) {
			continue
		}
		// Of a list that is too long the beginning will do: the sweeper finds the rest.
		list, _, err := b.list(ctx, path, scope, now.Add(-maxSpan), now, "&status="+statusRemovedByBank)
		if err != nil {
			return err
		}
		for k, id := range list {
			all[k] = id
		}
	}
	b.ended.round(since, all)
	b.ended.asked = now
	return nil
}

// list reads all pages of a list, or says that there are too many.
func (b *Bank) list(ctx context.Context, path, scope string, from, until time.Time, filter string) (list map[string]linking.RequestID, all bool, err error) {
	// A bank may write down the second and leave out its parts.
	query := "?inicio=" + url.QueryEscape(from.UTC().Truncate(time.Second).Format(listTime)) + "&fim=" + url.QueryEscape(until.UTC().Format(listTime)) + filter +
		"&paginacao.itensPorPagina=" + strconv.Itoa(pageSize) + "&paginacao.paginaAtual="
	list = map[string]linking.RequestID{}
	for n := 0; ; n++ {
		body, err := b.call(ctx, target{method: http.MethodGet, path: path + query + strconv.Itoa(n), scope: scope}, nil)
		if err != nil {
			return nil, false, err
		}
		p, err := understood(b.listOf(body, n))
		if err != nil {
			return nil, false, err
		}
		for k, id := range p.seen {
			list[k] = id
		}
		if p.pages > maxPages {
			return list, false, nil
		}
		if n+1 >= p.pages {
			return list, true, nil
		}
	}
}

const listTime = "2006-01-02T15:04:05.000Z"

// paymentsOf asks for the payments of a charge by its txid.
func (b *Bank) paymentsOf(ctx context.Context, h *charge) error {
	if !slices.Contains(b.scopes, scopePixRead) {
		return nil
	}
	from, until := b.clock.banks(h.made), b.clock.banks(b.now()).Add(time.Minute)
	if until.Sub(from) > maxSpan {
		from = until.Add(-maxSpan)
	}
	path := "/pix?inicio=" + url.QueryEscape(from.UTC().Format(listTime)) + "&fim=" + url.QueryEscape(until.UTC().Format(listTime)) +
		"&txid=" + string(h.state.ID)
	body, err := b.call(ctx, target{method: http.MethodGet, path: path, scope: scopePixRead}, nil)
	if err != nil {
		return err
	}
	var d struct {
		Pix []pixAnswer `json:"pix"`
	}
	err = bankapi.Decode(body, &d)
	if err == nil {
		mine := d.Pix[:0]
		for _, p := range d.Pix { // a bank that does not know the filter lists others too
			if p.TxID == string(h.state.ID) {
				mine = append(mine, p)
			}
		}
		err = b.money(&h.state, mine)
	}
	_, err = understood(struct{}{}, err)
	return err
}
