package pix

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"placard/bankapi"
	"placard/linking"
)

// early is how much sooner than ours a bank's end may lie before it is moved. After
// ours it may not lie at all.
const early = 4 * time.Second

func (b *Bank) chargeTarget(method string, ref linking.BankRef) target {
	t := target{method: method, path: "/" + kind(ref.Charge) + "/" + string(ref.ID), scope: scopeCobWrite}
	switch {
	case ref.Charge == linking.DueDate && method == http.MethodGet:
		t.scope = scopeCobVRead
	case ref.Charge == linking.DueDate:
		t.scope = scopeCobVWrite
	case method == http.MethodGet:
		t.scope = scopeCobRead
	}
	return t
}

// goodRef refuses ids that no bank of this kind can know.
func goodRef(ref linking.BankRef) error {
	if !alphanumeric(string(ref.ID)) || len(ref.ID) < 26 || len(ref.ID) > 35 {
		return unsendable(errors.New("an id that is no txid"))
	}
	return nil
}

// read understands an answer about a charge, and puts its end into our time.
func (b *Bank) read(body []byte, ref linking.BankRef) (charge, error) {
	h, err := understood(b.chargeOf(body, ref))
	if err != nil {
		return h, err
	}
	h.made = b.clock.ours(h.made)
	if !h.state.ExpiresAt.IsZero() {
		h.state.ExpiresAt = b.clock.ours(h.state.ExpiresAt)
	}
	return h, nil
}

// charge asks for a charge, and refuses to believe in an open one that has no way to
// pay it.
func (b *Bank) charge(ctx context.Context, ref linking.BankRef) (charge, error) {
	h, err := b.look(ctx, ref)
	if err == nil && h.noWay != nil {
		_, err = understood(h, h.noWay)
	}
	return h, err
}

// look asks for a charge. One that is done has its payments: where the bank leaves
// them out, they are asked for.
func (b *Bank) look(ctx context.Context, ref linking.BankRef) (charge, error) {
	if err := goodRef(ref); err != nil {
		return charge{}, err
	}
	body, err := b.call(ctx, b.chargeTarget(http.MethodGet, ref), nil)
	if err != nil {
		return charge{}, err
	}
	h, err := b.read(body, ref)
	if err != nil || h.status != statusDone || len(h.state.Payments) > 0 {
		return h, err
	}
	if err := b.paymentsOf(ctx, &h); err != nil {
		return charge{}, err
	}
	if len(h.state.Payments) == 0 {
		return charge{}, bankapi.Unreadable("paid_without_payment", untrusted, nil)
	}
	return h, nil
}

// Get implements linking.Bank.
func (b *Bank) Get(ctx context.Context, ref linking.BankRef) (linking.BankState, error) {
	h, err := b.charge(ctx, ref)
	return h.state, err
}

// Put makes a charge or changes it.
//
// A first revision that was not sent from here before is made by one PUT, which is
// the whole of it in a till's day. Anything else looks first: a PUT or PATCH replaces
// what is there without a word, and the bank has nothing to compare an older revision
// by. Our own number stands in the charge's additional information for that.
func (b *Bank) Put(ctx context.Context, ask linking.Ask) (linking.BankState, error) {
	a, err := b.understand(ask)
	if err != nil {
		return linking.BankState{}, unsendable(err)
	}
	if a.Charge == linking.Immediate && a.left(b.now()) < 1 {
		return linking.BankState{}, noTimeLeft()
	}
	if a.Charge == linking.DueDate && !a.ExpiresAt.After(b.now()) {
		return linking.BankState{}, noTimeLeft()
	}
	if first := b.sent.add(a.ID); first && a.Revision == 1 && a.Tag == "" {
		return b.create(ctx, a)
	}
	held, err := b.look(ctx, a.BankRef)
	switch {
	case classOf(err) == linking.BankAbsent:
		return b.create(ctx, a)
	case err != nil:
		return linking.BankState{}, unsent(err)
	}
	same := held.revision == a.Revision && held.state.Money == a.Money
	// Where somebody took it from its location, it is put there once more.
	here := held.noWay == nil && (a.location == 0 || held.location == 0 || held.location == a.location)
	switch {
	case held.status != statusActive && same:
		return held.state, nil
	case held.status != statusActive:
		return linking.BankState{}, busy(held)
	case held.revision > a.Revision:
		return linking.BankState{}, &linking.BankError{Class: linking.BankBusy, Code: "stale_revision", Detail: "The bank holds a newer revision already."}
	case held.revision == a.Revision && !same:
		// Somebody changed the charge at the bank. To change it back unasked would be a
		// quarrel between two programs over a price.
		return linking.BankState{}, &linking.BankError{Class: linking.BankRefused, Code: "changed_at_bank", Detail: "The charge was changed at the bank."}
	case same && here && b.endsRight(held, a):
		return held.state, nil
	}
	doc := b.doc(a, a.until(held.made))
	if a.Charge == linking.Immediate && doc.Calendar.Expires < 1 {
		return linking.BankState{}, noTimeLeft()
	}
	if same {
		doc = chargeDoc{Calendar: doc.Calendar, Loc: doc.Loc}
		if b.endsRight(held, a) {
			doc.Calendar = calendarDoc{} // and no other revision for a second more or less
		}
	}
	if here {
		doc.Loc = nil
	}
	return b.write(ctx, http.MethodPatch, a, doc)
}

// sent remembers which charges were sent from here, the newest of them: what may be
// at the bank already is looked at before it is written over. After a restart nothing
// has to be remembered, since an outcome that is not known is first asked for.
type sent struct {
	mu         sync.Mutex
	new, older map[linking.RequestID]struct{}
}

// sentEach is how many are remembered at the least, once there were as many.
const sentEach = 10_000

// add reports whether it is the first time.
func (s *sent) add(id linking.RequestID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, isNew := s.new[id]
	_, isOld := s.older[id]
	if s.new == nil || len(s.new) >= sentEach {
		s.new, s.older = map[linking.RequestID]struct{}{}, s.new
	}
	s.new[id] = struct{}{}
	return !isNew && !isOld
}

// endsRight reports whether a held charge ends when it should: not after ours, and
// not much before.
func (b *Bank) endsRight(held charge, a asked) bool {
	if a.Charge == linking.DueDate {
		return held.due == a.due
	}
	d := a.ExpiresAt.Sub(held.state.ExpiresAt)
	return d >= 0 && d <= early
}

func (b *Bank) create(ctx context.Context, a asked) (linking.BankState, error) {
	return b.write(ctx, http.MethodPut, a, b.doc(a, a.left(b.now())))
}

// write sends what the charge shall be. The answer has no payments: of a charge that
// is no longer open more is asked.
func (b *Bank) write(ctx context.Context, method string, a asked, doc chargeDoc) (linking.BankState, error) {
	body, err := b.call(ctx, b.chargeTarget(method, a.BankRef), doc)
	if err != nil {
		if classOf(err) == linking.BankRefused {
			err = b.explain(ctx, a, err)
		}
		return linking.BankState{}, err
	}
	h, err := b.read(body, a.BankRef)
	switch {
	case err != nil:
		return linking.BankState{}, err
	case h.status != statusActive:
		h, err = b.charge(ctx, a.BankRef)
		return h.state, err
	case a.Charge == linking.DueDate && h.due != a.due:
		return linking.BankState{}, bankapi.Unreadable("wrong_due_date", "The bank answered with another due date.", nil)
	case a.location != 0 && h.location != 0 && h.location != a.location:
		return linking.BankState{}, bankapi.Unreadable("wrong_location", "The bank shows the charge at another location.", nil)
	}
	return understood(h.state, h.noWay)
}

// explain finds out why a charge was refused, from facts: the texts of refusals
// differ from bank to bank. Whatever hides the facts leaves the refusal as it is.
func (b *Bank) explain(ctx context.Context, a asked, refusal error) error {
	held, err := b.charge(ctx, a.BankRef)
	if err == nil && held.status != statusActive {
		return busy(held)
	}
	if a.location == 0 {
		return refusal
	}
	link, shows, err := b.location(ctx, *a.Link)
	switch {
	case classOf(err) == linking.BankAbsent:
		return &linking.BankError{Class: linking.BankRefused, Code: "no_location", Detail: "The bank does not know the code's location.", Err: refusal}
	case err == nil && link.ID == a.Link.ID && shows != "" && shows != string(a.ID):
		return &linking.BankError{Class: linking.BankBusy, Code: "location_busy", Detail: "The code's location shows another charge.", Err: refusal}
	}
	return refusal
}

func noTimeLeft() error {
	return &linking.BankError{Class: linking.BankRefused, Code: "no_time_left", Detail: "The request would have ended before the bank could hold it."}
}

func busy(held charge) error {
	return &linking.BankError{Class: linking.BankBusy, Code: strings.ToLower(held.status), Detail: "The charge's state at the bank does not allow it."}
}

// Close removes a charge, and asks what became of it: the payer may have been faster,
// which a removal does not tell.
func (b *Bank) Close(ctx context.Context, ref linking.BankRef) (linking.BankState, error) {
	if err := goodRef(ref); err != nil {
		return linking.BankState{}, err
	}
	_, err := b.call(ctx, b.chargeTarget(http.MethodPatch, ref), chargeDoc{Status: statusRemovedByUs})
	class := classOf(err)
	if err != nil && class != linking.BankRefused && class != linking.BankBusy {
		return linking.BankState{}, err
	}
	held, gerr := b.charge(ctx, ref)
	switch {
	case gerr == nil && (held.status != statusActive || len(held.state.Payments) > 0):
		return held.state, nil
	case err != nil: // it is open, or nobody knows
		return linking.BankState{}, err
	case gerr != nil:
		return linking.BankState{}, bankapi.Unreadable("no_state", "The bank removed the charge, but did not say how it stands.", gerr)
	}
	return linking.BankState{}, bankapi.Unreadable("still_open", "The bank took the removal, but the charge is open.", nil)
}

// Capture is refused: at Pix money is either there or not.
func (b *Bank) Capture(context.Context, linking.BankRef) (linking.BankState, error) {
	return linking.BankState{}, &linking.BankError{Class: linking.BankRefused, Code: "cannot_capture", Detail: "Pix has no money to be captured later."}
}

// MakeLink makes a location. If the answer is lost, one that nothing points to is
// left behind, which does no harm; locations cannot be deleted.
func (b *Bank) MakeLink(ctx context.Context, c linking.Charge) (linking.BankLink, error) {
	if c != linking.Immediate && c != linking.DueDate {
		return linking.BankLink{}, unsendable(errors.New("a kind of charge that is not known"))
	}
	body, err := b.call(ctx, target{method: http.MethodPost, path: "/loc", scope: scopeLocWrite}, locDoc{kind(c)})
	if err != nil {
		return linking.BankLink{}, err
	}
	link, shows, err := b.locationOf(body, 0, c)
	if err == nil && shows != "" {
		err = bankapi.Fault("wrong_location")
	}
	return understood(link, err)
}

// location asks for a location, and returns the txid of what it shows.
func (b *Bank) location(ctx context.Context, link linking.BankLink) (linking.BankLink, string, error) {
	id, err := locationID(link)
	if err != nil {
		return linking.BankLink{}, "", unsendable(err)
	}
	body, err := b.call(ctx, target{method: http.MethodGet, path: "/loc/" + link.ID, scope: scopeLocRead}, nil)
	if err != nil {
		return linking.BankLink{}, "", err
	}
	got, txid, err := b.locationOf(body, id, link.Charge)
	if got, err = understood(got, err); err != nil {
		return got, "", err
	}
	return got, txid, nil
}

// LinkShows implements linking.Bank. A location that shows what Placard did not make
// is not empty, and there is no id to tell: class unknown.
func (b *Bank) LinkShows(ctx context.Context, link linking.BankLink) (linking.RequestID, error) {
	got, txid, err := b.location(ctx, link)
	if err != nil {
		return "", err
	}
	if link.Payload != "" && got.Payload != link.Payload && !sameLocation(got.Payload, link.Payload) {
		return "", bankapi.Unreadable("wrong_location", "The bank moved the code's location.", nil)
	}
	if txid == "" {
		return "", nil
	}
	id, ok := ours(txid)
	if !ok {
		return "", bankapi.Unreadable("foreign_charge", "The code's location shows a charge that is not Placard's.", nil)
	}
	return id, nil
}

// sameLocation compares two codes by where they lead: a merchant's name may have been
// changed since one of them was printed.
func sameLocation(x, y string) bool {
	a, err := DecodeBRCode(x)
	b, berr := DecodeBRCode(y)
	return err == nil && berr == nil && a.URL == b.URL
}

// Unlink implements linking.Bank.
func (b *Bank) Unlink(ctx context.Context, link linking.BankLink) error {
	id, err := locationID(link)
	if err != nil {
		return unsendable(err)
	}
	body, err := b.call(ctx, target{method: http.MethodDelete, path: "/loc/" + link.ID + "/txid", scope: scopeLocWrite}, nil)
	if err != nil {
		return err
	}
	_, txid, err := b.locationOf(body, id, link.Charge)
	if err == nil && txid != "" {
		err = bankapi.Fault("still_linked")
	}
	_, err = understood(struct{}{}, err)
	return err
}
