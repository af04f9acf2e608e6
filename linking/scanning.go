package linking

import (
	"context"
	"strings"
	"sync"
	"time"
)

// View is what a payer's page is made of.
type View struct {
	Token    Token
	Code     *Code // nil if there is no such code
	Seen     Seen
	Sealed   string // the scan, to be carried by the page
	Merchant *Merchant
	Pairing  Pairing  // of the request that Seen shows
	Choices  []int    // pictures to choose the pairing's from; the pairing itself is then not told
	Request  *Request // on a request's own page only
	Page     string   // the secret of the own page of the request that Seen shows
	At       time.Time
}

// Scan resolves a scan of a printed code: one store round trip, no bank call. scan
// is what an earlier view of the same page carried; empty or broken means a new
// scan. human is false for what fetches pages without anybody looking.
//
// An error means that the store did not answer: the page then takes no money.
func (s *Service) Scan(ctx context.Context, id Token, scan string, human bool) (*View, error) {
	v := &View{Token: id, At: s.now().UTC()}
	sc, known := s.secret.OpenScan(id, scan)
	seen, err := s.lookAt(ctx, id, sc, known, v.At)
	if err != nil {
		return nil, storeProblem(err)
	}
	if seen.code == nil {
		v.Seen.Resolution = NoSuchCode
		return v, nil
	}
	v.Code, v.Merchant = seen.code, seen.merchant
	var at *Scan
	if known {
		at = &sc
	}
	v.Seen = Resolve(v.Code, v.Code.statusIn(seen.batch), at, seen.links, v.At)
	s.seal(v)
	s.unveil(v, seen.links)
	if human && (v.Code.Shown == nil || v.Seen.Scan.Epoch == v.Code.Epoch) {
		s.scans.note(v.Code)
	}
	return v, nil
}

// looked is all that a scan needs.
type looked struct {
	code     *Code
	batch    *Batch
	links    [2]*Link
	merchant *Merchant
}

// lookAt reads what a scan needs in one round trip: the code, the batch it may be of,
// the links its scan may have pressed pay in, and its merchant if that is not
// remembered. It is the path that every scan takes, so it goes past the machinery that
// commands need.
func (s *Service) lookAt(ctx context.Context, id Token, sc Scan, known bool, now time.Time) (l looked, err error) {
	keys, err := s.ring(ctx, id)
	if err != nil {
		return l, err
	}
	var want [2 + 2*ringKeys + 2]Key
	n := 1
	want[0] = codeKey(id)
	worth, batchAt := false, 0
	var of *ringKey
	var serial Serial
	for i := range keys {
		k := &keys[i]
		no, ok := k.open(id)
		switch {
		case k.RecordOnly || k.cipher == nil:
			worth = true
		case ok && no.Batch == 0:
			worth = true
		case ok:
			worth, of, serial, batchAt = true, k, no, n
			want[n] = batchKey(batchID(k.Merchant, k.Generation, no.Batch))
			n++
		}
		if ok {
			if m, have := s.merchants.get(k.Merchant, now); have {
				l.merchant = m
			} else {
				want[n] = merchantKey(k.Merchant)
				n++
			}
		}
	}
	if !worth {
		return l, nil
	}
	links := n
	if known {
		want[n], want[n+1] = linkKey(id, sc.Epoch), linkKey(id, sc.Epoch+1)
		n += 2
	}
	got, err := s.store.Get(ctx, want[:n]...)
	if err != nil {
		return l, err
	}
	for i := range got {
		switch rec := &got[i]; {
		case rec.Version == 0:
		case i == 0:
			l.code = &Code{Token: id}
			err = l.code.decode(rec.Data)
		case i == batchAt:
			l.batch, err = s.batchOf(rec)
		case i >= links:
			l.links[i-links] = new(Link)
			_, err = decodeRecord(rec.Data, l.links[i-links])
		default:
			m := new(Merchant)
			if _, err = decodeRecord(rec.Data, m); err == nil {
				s.merchants.put(m.ID, m, now)
			}
		}
		if err != nil {
			return l, err
		}
	}
	switch {
	case l.code == nil && of != nil && l.batch != nil && l.batch.derives(serial.No):
		l.code = l.batch.code(id, serial)
	case l.code == nil:
		return l, nil
	case l.batch == nil && l.code.Serial.Batch != 0: // its key is lost: the record still says its batch
		t := s.look(ctx, id.Shard())
		if l.batch, err = read[Batch](t, batchKey(batchID(l.code.Merchant, l.code.Generation, l.code.Serial.Batch)), nil); err != nil {
			return l, err
		}
	}
	if l.merchant == nil || l.merchant.ID != l.code.Merchant {
		l.merchant, err = s.look(ctx, id.Shard()).merchantOf(l.code.Merchant)
	}
	return l, err
}

func (s *Service) seal(v *View) {
	if v.Seen.Resolution == OutOfUse || v.Seen.Resolution == Superseded {
		return
	}
	v.Sealed = s.secret.SealScan(v.Token, v.Seen.Scan)
	if r := v.Seen.Request; r != nil {
		v.Pairing = s.secret.Pairing(r.ID, r.Epoch)
		if v.Seen.Resolution == PaidHere {
			v.Page = s.secret.PageSecret(r.ID)
		}
	}
}

// KnowsRing reports whether the keys of a token's ring are in memory, so that a
// guess at the token costs no more than a look at them.
func (s *Service) KnowsRing(id Token) bool {
	_, ok := s.rings.get(ringKeyOf(id.Shard(), id.Ring()), s.now())
	return ok
}

// batchOf decodes a batch's record, unless the very same version was decoded before:
// every scan of its codes reads it, and it hardly ever changes. Nobody may change what
// is returned.
func (s *Service) batchOf(rec *Record) (*Batch, error) {
	s.batchMu.RLock()
	have, ok := s.batches[rec.ID]
	s.batchMu.RUnlock()
	if ok && have.version == rec.Version {
		return have.batch, nil
	}
	b := new(Batch)
	if _, err := decodeRecord(rec.Data, b); err != nil {
		return nil, err
	}
	s.batchMu.Lock()
	defer s.batchMu.Unlock()
	if s.batches == nil || len(s.batches) >= 1<<14 {
		s.batches = map[string]batchVersion{}
	}
	s.batches[rec.ID] = batchVersion{rec.Version, b}
	return b, nil
}

type batchVersion struct {
	version uint64
	batch   *Batch
}

// ringKey is a key of a ring, ready to open tokens.
type ringKey struct {
	RingKey
	cipher *ff1 // nil: the key is lost
}

func (k *ringKey) open(id Token) (Serial, bool) {
	if k.cipher == nil {
		return Serial{}, false
	}
	return id.open(k.cipher)
}

// ring returns the keys of a token's ring, remembered for a minute. A ring that is
// not there is remembered too: guesses at it cost the store one read a minute.
func (s *Service) ring(ctx context.Context, id Token) ([]ringKey, error) {
	k := ringKeyOf(id.Shard(), id.Ring())
	if r, ok := s.rings.get(k, s.now()); ok {
		return r, nil
	}
	r, err := read[RingRecord](s.look(ctx, k.Shard), k, nil)
	if err != nil {
		return nil, err
	}
	var keys []ringKey
	if r != nil {
		for _, rk := range r.Keys {
			n := ringKey{RingKey: rk}
			if len(rk.Key) == len(TokenKey{}) {
				n.cipher = newFF1(TokenKey(rk.Key), id.Shard(), id.Ring())
			}
			keys = append(keys, n)
		}
	}
	s.rings.put(k, keys, s.now())
	return keys, nil
}

// merchantOf returns a merchant, remembered for a minute: name and contact may be
// that old on a page, amounts and states never.
func (t *tx) merchantOf(id MerchantID) (*Merchant, error) {
	if m, ok := t.s.merchants.get(id, t.now); ok {
		return m, nil
	}
	m, err := read[Merchant](t, merchantKey(id), nil)
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, notFound("merchant")
	}
	t.s.merchants.put(id, m, t.now)
	return m, nil
}

// PressCommand is a pay click.
type PressCommand struct {
	Scan     string
	Revision int
	Method   string // empty: the payer chooses at the bank
}

// Press takes the pay click of a scan: a commit, from which the scan is told apart
// from everybody else's. It answers how the payer gets to the bank. If what the
// page showed is not what is payable now, the error is stale, nothing is taken, and
// the view is the fresh page.
func (s *Service) Press(ctx context.Context, id Token, p PressCommand) (Way, *View, error) {
	var way Way
	var v *View
	err := s.change(ctx, id.Shard(), func(t *tx) error {
		way, v = Way{}, &View{Token: id, At: t.now}
		sc, known := s.secret.OpenScan(id, p.Scan)
		code, b, err := t.anyCode(id)
		if err != nil {
			return err
		}
		if code == nil {
			v.Seen.Resolution = NoSuchCode
			return notFound("code")
		}
		v.Code, t.merchant = code, code.Merchant
		if v.Merchant, err = t.merchantOf(code.Merchant); err != nil {
			return err
		}
		var links [2]*Link
		for i := range links {
			if !known {
				break
			}
			if links[i], err = t.link(id, sc.Epoch+uint64(i)); err != nil {
				return err
			}
		}
		var at *Scan
		if known {
			at = &sc
		}
		v.Seen = Resolve(code, code.statusIn(b), at, links, t.now)
		s.seal(v)
		s.unveil(v, links)
		if !known || v.Seen.Resolution != Payable || v.Seen.Request.Revision != p.Revision {
			return errStalePage
		}
		r, err := t.request(v.Seen.Request.ID)
		if err != nil || r == nil {
			return orMissing(err, "payment request")
		}
		if way, err = t.press(r, v.Seen.Scan.Nonce, p); err != nil {
			return err
		}
		if code.ResolvedBy == ByBankPayload && code.BankLink != nil {
			way = Way{Kind: EMV, Payload: code.BankLink.Payload}
		}
		v.Seen.Pressed = true
		return nil
	})
	return way, v, err
}

var errStalePage = &Error{Kind: Conflict, Code: "stale", Detail: "What can be paid has changed since the page was shown. Nothing was taken."}

// press marks r as being paid by a scan. A scan that presses again gets the same
// way and makes no second event.
func (t *tx) press(r *Request, n ScanNonce, p PressCommand) (Way, error) {
	if p.Method != "" && len(r.Methods) > 0 && !has(r.Methods, p.Method) {
		return Way{}, invalid("method", "not_offered", "This way to pay is not offered.")
	}
	if r.Bank.Way.Kind == "" || !r.Bank.Way.Until.IsZero() && !t.now.Before(r.Bank.Way.Until) {
		return Way{}, &Error{Kind: Unavailable, Code: "bank_unavailable", Detail: "The bank named no way to pay yet. Nothing was taken.", Retry: 2}
	}
	first := !r.pressedBy(n)
	if first {
		if len(r.Presses) == maxPresses {
			r.Presses = r.Presses[1:]
		}
		r.Presses = append(r.Presses, n)
	}
	if first || t.now.Sub(r.PressedAt) > pollEach {
		r.pressed(t.now)
	}
	if first {
		t.emit(Event{Type: RequestPaying}, r)
	}
	return r.Bank.Way, nil
}

// maxPresses is how many scans of one request are told apart; the oldest is
// forgotten, and sees what everybody sees.
const maxPresses = 16

// Page resolves a request's own page. back says that the payer comes from the bank,
// which only those do who pressed pay.
func (s *Service) Page(ctx context.Context, secret, scan string, human, back bool) (*View, error) {
	v := &View{At: s.now().UTC()}
	id, ok := s.secret.OpenPage(secret)
	if !ok {
		v.Seen.Resolution = NoSuchCode
		return v, nil
	}
	t := s.look(ctx, id.Shard())
	t.now = v.At
	r, err := t.request(id)
	if err != nil {
		return nil, storeProblem(err)
	}
	if r == nil || r.Origin != MadeByRequest && !back {
		v.Seen.Resolution = NoSuchCode
		return v, nil
	}
	if v.Merchant, err = t.merchantOf(r.Merchant); err != nil {
		return nil, storeProblem(err)
	}
	v.Request, v.Page = r, s.secret.PageSecret(id)
	v.Token = pageToken(v.Page)
	sc, known := s.secret.OpenScan(v.Token, scan)
	if !known {
		sc = NewScan(0)
	}
	v.Seen = r.seen(sc, back || r.pressedBy(sc.Nonce), v.At)
	s.seal(v)
	if human && r.OpenedAt.IsZero() && !back {
		s.scans.opened(r.ID)
	}
	return v, nil
}

// pageToken stands in a page's scans where a code's token stands in a code's.
func pageToken(secret string) Token { return Token("/p/" + secret) }

// seen is what a request's own page shows.
func (r *Request) seen(sc Scan, pressed bool, now time.Time) Seen {
	seen := Seen{Scan: sc, Pressed: pressed}
	tell := func(res Resolution) {
		seen.Resolution = res
		seen.Request = &SeenRequest{
			ID: r.ID, Epoch: r.Epoch, Revision: r.Revision, Money: Money{r.Content.Amount, r.Content.Currency},
			Reference: r.Content.Reference, ExpiresAt: r.Content.ExpiresAt, Methods: r.Methods,
			Lines: r.Content.Lines, VATExtra: r.Content.VATExtra, FiscalURL: r.FiscalURL, PaidAt: r.PaidAt, PayOrigin: r.Bank.Way.origin(),
		}
	}
	switch st := r.StatusAt(now); {
	case st == Draft || st == Unvalued:
		seen.Resolution = Valueless
	case st == Preparing:
		seen.Resolution, seen.Slow = Updating, now.Sub(r.Since) > StallAfter
	case st == Active:
		tell(Payable)
	case pressed && (st == Processing || st == Review || st == Closing):
		tell(InFlight)
	case st == Processing || st == Review:
		seen.Resolution = Busy
	case st == Paid && pressed:
		tell(PaidHere)
	case st == Paid:
		seen.Resolution, seen.On = Settled, r.PaidAt
	case st == Cancelled && r.EndReason == ByOtherMeans:
		seen.Resolution = Settled
	default:
		seen.Resolution, seen.Reason = Ended, r.EndReason
		if r.EndReason == "" {
			seen.Reason = ByExpiry
		}
	}
	return seen
}

// PressPage is Press on a request's own page.
func (s *Service) PressPage(ctx context.Context, secret string, p PressCommand) (Way, *View, error) {
	var way Way
	var v *View
	id, ok := s.secret.OpenPage(secret)
	if !ok {
		return way, &View{At: s.now(), Seen: Seen{Resolution: NoSuchCode}}, notFound("page")
	}
	err := s.change(ctx, id.Shard(), func(t *tx) error {
		v = &View{At: t.now, Page: s.secret.PageSecret(id)}
		v.Token = pageToken(v.Page)
		r, err := t.request(id)
		if err != nil {
			return err
		}
		if r == nil || r.Origin != MadeByRequest {
			v.Seen.Resolution = NoSuchCode
			return notFound("page")
		}
		v.Request, t.merchant = r, r.Merchant
		if v.Merchant, err = t.merchantOf(r.Merchant); err != nil {
			return err
		}
		sc, known := s.secret.OpenScan(v.Token, p.Scan)
		if !known {
			sc = NewScan(0)
		}
		v.Seen = r.seen(sc, r.pressedBy(sc.Nonce), t.now)
		s.seal(v)
		if !known || v.Seen.Resolution != Payable || r.Revision != p.Revision {
			return errStalePage
		}
		way, err = t.press(r, sc.Nonce, p)
		return err
	})
	return way, v, err
}

// WatchScan calls wake after something may have changed for a scan. It is a hint, as
// Store.Watch is. wake must not block.
func (s *Service) WatchScan(id Token, scan string, wake func()) (stop func()) {
	topics := []Topic{RecordTopic(codeKey(id))}
	if sc, ok := s.secret.OpenScan(id, scan); ok {
		topics = append(topics, RecordTopic(linkKey(id, sc.Epoch)), RecordTopic(linkKey(id, sc.Epoch+1)))
	}
	if keys, ok := s.rings.get(ringKeyOf(id.Shard(), id.Ring()), s.now()); ok { // a mark of its batch concerns it too
		for i := range keys {
			if no, ok := keys[i].open(id); ok && no.Batch != 0 {
				topics = append(topics, RecordTopic(batchKey(batchID(keys[i].Merchant, keys[i].Generation, no.Batch))))
			}
		}
	}
	return s.watch(wake, topics...)
}

// WatchPage is WatchScan for a request's own page.
func (s *Service) WatchPage(secret string, wake func()) (stop func()) {
	id, ok := s.secret.OpenPage(secret)
	if !ok {
		return func() {}
	}
	return s.watch(wake, RecordTopic(requestKey(id)))
}

// WatchEvents calls wake after a merchant's log may have grown.
func (s *Service) WatchEvents(m MerchantID, wake func()) (stop func()) {
	return s.watch(wake, LogTopic(m.Shard(), string(m)))
}

func (s *Service) watch(wake func(), topics ...Topic) (stop func()) {
	w := s.store.Watch(topics...)
	w.Call(wake)
	return w.Close
}

// CodeURL is the address of a code's page, and Payload the same as it is printed: in
// capitals, for which a QR symbol needs less room. Scheme and host ignore case by
// rule (RFC 3986, 3.1 and 3.2.2), our paths by choice.
func (s *Service) CodeURL(id Token) string { return s.publicURL + "/q/" + string(id) }

// Payload is the text inside a code's QR symbol.
func (s *Service) Payload(c *Code) string {
	if c.ResolvedBy == ByBankPayload && c.BankLink != nil {
		return c.BankLink.Payload
	}
	return strings.ToUpper(s.publicURL + "/q/" + string(c.Token))
}

// PageURL is the address of a request's own page.
func (s *Service) PageURL(id RequestID) string { return s.publicURL + "/p/" + s.secret.PageSecret(id) }

// PairingOf is what till and payer's page both show while a code shows the request.
func (s *Service) PairingOf(r *Request) string {
	if r.Code == "" {
		return ""
	}
	return s.secret.Pairing(r.ID, r.Epoch).String()
}

// scanNotes writes down, after the answer and at most once an epoch, that somebody
// scans: the till sees it, and a stranger who reloads costs no more writes.
type scanNotes struct {
	s    *Service
	mu   sync.Mutex
	done remembered[string, struct{}]
	room chan struct{} // bounds what is being written at once; beyond it notes are dropped
}

func (n *scanNotes) init(s *Service) {
	n.s = s
	n.done.init(time.Hour, 1<<14)
	n.room = make(chan struct{}, 64)
}

// note takes a scan of code at its present epoch.
func (n *scanNotes) note(code *Code) {
	if code.ScannedAt == code.Epoch+1 || code.Epoch == 0 && code.Serial.Batch != 0 {
		return // known, or a printed code that has no record and needs none
	}
	id, epoch := code.Token, code.Epoch
	n.write(string(appendSymbols([]byte(id), epoch, 8)), id.Shard(), func(t *tx) error {
		code, err := t.code(id)
		if err != nil || code == nil || code.Epoch != epoch || code.ScannedAt == epoch+1 {
			return err
		}
		t.merchant = code.Merchant
		code.ScannedAt = epoch + 1
		var r *Request
		if code.Shown != nil {
			if r, err = t.request(code.Shown.Request); err != nil {
				return err
			}
		}
		t.emit(Event{Type: CodeScanned, Code: id, Epoch: epoch, Outlet: code.Outlet}, r)
		return t.openedBy(r)
	})
}

// opened takes a look at a request's own page.
func (n *scanNotes) opened(id RequestID) {
	n.write(string(id), id.Shard(), func(t *tx) error {
		r, err := t.request(id)
		if err != nil || r == nil {
			return err
		}
		t.merchant = r.Merchant
		return t.openedBy(r)
	})
}

func (t *tx) openedBy(r *Request) error {
	if r == nil || !r.OpenedAt.IsZero() {
		return nil
	}
	r.OpenedAt = t.now
	t.emit(Event{Type: RequestOpened}, r)
	return nil
}

func (n *scanNotes) write(name string, shard Shard, decide func(t *tx) error) {
	s := n.s
	n.mu.Lock()
	if _, ok := n.done.get(name, s.now()); ok {
		n.mu.Unlock()
		return
	}
	select {
	case n.room <- struct{}{}:
	default:
		n.mu.Unlock()
		return // the next scan tells it
	}
	n.done.put(name, struct{}{}, s.now())
	n.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		<-n.room
		return
	}
	s.launch(func() {
		defer func() { <-n.room }()
		ctx, cancel := context.WithTimeout(s.background, 5*time.Second)
		defer cancel()
		if err := s.change(ctx, shard, decide); err != nil {
			n.done.forget(name)
			s.log.Warn("a scan was not written down", "err", err)
		}
	})
}
