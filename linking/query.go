package linking

import (
	"context"
	"slices"
	"strings"
	"time"
)

// EventFilter narrows a merchant's events.
type EventFilter struct {
	After   uint64
	Latest  bool // from the present end of the log
	Code    Token
	Request RequestID
	Sale    SaleID
	Types   []EventType
	Limit   int
}

func (f *EventFilter) takes(e *Event, c *Caller) bool {
	switch {
	case f.Code != "" && e.Code != f.Code,
		f.Request != "" && (e.Request == nil || e.Request.ID != f.Request),
		f.Sale != "" && (e.Request == nil || e.Request.Sale != f.Sale),
		len(f.Types) > 0 && !slices.Contains(f.Types, e.Type),
		c.Outlet != "" && e.Outlet != c.Outlet,
		len(c.Codes) > 0 && !slices.Contains(c.Codes, e.Code):
		return false
	}
	return true
}

// Events returns events in order and the sequence number to go on from. If there is
// none it waits for one, at most wait. One call reads no more than maxRead events: it may
// find none that the filter takes though there are some further on. Events that were forgotten are Gone, with the
// oldest that is left.
func (s *Service) Events(ctx context.Context, c Caller, f EventFilter, wait time.Duration) (events []Event, next uint64, err error) {
	shard, log := c.Merchant.Shard(), string(c.Merchant)
	w := s.store.Watch(LogTopic(shard, log))
	defer w.Close()
	first, last, err := s.store.Span(ctx, shard, log)
	if err != nil {
		return nil, 0, storeProblem(err)
	}
	if f.Latest {
		f.After = last
	}
	if f.Request != "" && f.After == 0 {
		// Nothing was said of a request before it was made.
		if f.After, err = s.eventBefore(ctx, c.Merchant, f.Request.madeAt(), first-1, last); err != nil {
			return nil, 0, err
		}
		if f.After == first-1 {
			f.After = 0
		}
	}
	if f.After+1 < first {
		return nil, 0, (&Error{Kind: Gone, Code: "gone", Detail: "These events are no longer kept."}).with("oldest", first)
	}
	next = f.After
	read := 0
	end := time.NewTimer(wait)
	defer end.Stop()
	again := time.NewTicker(rereadEach)
	defer again.Stop()
	for {
		for len(events) < f.Limit && read < maxRead {
			page, err := s.store.Events(ctx, shard, log, next, min(MaxPage, max(f.Limit, 100)))
			if err != nil {
				return nil, 0, storeProblem(err)
			}
			if len(page) == 0 {
				break
			}
			read += len(page)
			for _, raw := range page {
				e := Event{Seq: raw.Seq, Merchant: c.Merchant}
				if _, err := decodeRecord(raw.Data, &e); err != nil {
					return nil, 0, err
				}
				next = raw.Seq
				if f.takes(&e, &c) {
					if events = append(events, e); len(events) == f.Limit {
						break
					}
				}
			}
		}
		if len(events) > 0 || wait <= 0 || read >= maxRead {
			return events, next, nil
		}
		select {
		case <-w.C:
		case <-again.C:
		case <-end.C:
			wait = 0
		case <-ctx.Done():
			return nil, next, nil
		case <-s.patience.Done():
			return nil, next, nil
		}
	}
}

// eventBefore finds an event of a log from which on nothing is older than at: the
// sequence number before it. The times of a log rise but for the clocks of several
// gateways, so that it looks a minute further back.
func (s *Service) eventBefore(ctx context.Context, m MerchantID, at time.Time, after, last uint64) (uint64, error) {
	at = at.Add(-time.Minute)
	for after < last {
		middle := after + (last-after)/2
		page, err := s.store.Events(ctx, m.Shard(), string(m), middle, 1)
		if err != nil {
			return 0, storeProblem(err)
		}
		if len(page) == 0 {
			return after, nil // the rest was forgotten meanwhile
		}
		var e Event
		if _, err := decodeRecord(page[0].Data, &e); err != nil {
			return 0, err
		}
		if e.At.Before(at) {
			after = page[0].Seq
		} else {
			last = middle
		}
	}
	return after, nil
}

// LastEvent returns the sequence number of a merchant's newest event.
func (s *Service) LastEvent(ctx context.Context, m MerchantID) (uint64, error) {
	_, last, err := s.store.Span(ctx, m.Shard(), string(m))
	if err != nil {
		return 0, storeProblem(err)
	}
	return last, nil
}

const listPage = 200

// maxRead is how many records or events one call reads to find what its filter takes.
// After that it answers with what it has found, and where to go on.
const maxRead = 20_000

var errCursor = invalid("after", "cursor", "This is not a cursor that this list gave.")

// isID reports whether s is n canonical symbols.
func isID(s string, n int) bool {
	id, ok := idOf(s, n)
	return ok && id == s
}

// CodeView is a code with what its batch says of it.
type CodeView struct {
	*Code
	Batch *Batch
}

// StatusNow is the code's status, its batch's word included.
func (v CodeView) StatusNow() CodeStatus { return v.Code.statusIn(v.Batch) }

// StockNow is where the code is as a thing of paper, its batch's word included.
func (v CodeView) StockNow() Stock {
	if v.Batch != nil {
		if s := v.Batch.stockOf(v.Code.Serial.No); s != "" {
			return s
		}
	}
	return v.Code.Stock
}

// Code reads one code.
func (s *Service) Code(ctx context.Context, c Caller, id Token) (CodeView, error) {
	t := s.look(ctx, id.Shard())
	code, b, err := t.anyCode(id)
	if err != nil {
		return CodeView{}, storeProblem(err)
	}
	if code == nil || !c.sees(code.Merchant, code.Outlet, code.Token) {
		return CodeView{}, notFound("code")
	}
	t.merchant = code.Merchant
	if err := t.tickCode(code); err != nil {
		return CodeView{}, storeProblem(err)
	}
	return CodeView{code, b}, nil
}

// CodeFilter narrows the list of codes.
type CodeFilter struct {
	Kind   CodeKind
	Linked *bool
	Stock  Stock
	Status CodeStatus
	Batch  BatchID
	Outlet OutletID
	Query  string // in label or token
	After  string // the cursor of the page before
	Limit  int
}

func (f *CodeFilter) takes(v CodeView) bool {
	switch {
	case f.Kind != "" && v.Kind != f.Kind,
		f.Linked != nil && (v.Shown != nil) != *f.Linked,
		f.Stock != "" && v.StockNow() != f.Stock,
		f.Status != "" && v.StatusNow() != f.Status,
		f.Outlet != "" && v.Outlet != f.Outlet:
		return false
	}
	if f.Query == "" {
		return true
	}
	if t, ok := normal(f.Query, 20); ok && strings.HasPrefix(string(v.Token), t) {
		return true
	}
	return strings.Contains(strings.ToLower(v.Label), strings.ToLower(f.Query))
}

// Codes lists codes: the single ones by token, then those of each batch by serial.
// A batch's unused codes are counted off the batch.
func (s *Service) Codes(ctx context.Context, c Caller, f CodeFilter) (list []CodeView, next string, err error) {
	batch, inBatches := strings.CutPrefix(f.After, "b")
	if _, single := ParseToken(f.After); f.After != "" && !single && (!inBatches || !isID(batch, 24)) {
		return nil, "", errCursor
	}
	if f.Batch == "" && !strings.HasPrefix(f.After, "b") {
		list, next, err = s.singleCodes(ctx, c, f)
		if err != nil || next != "" {
			return list, next, err
		}
	}
	return s.batchCodes(ctx, c, f, list)
}

func (s *Service) singleCodes(ctx context.Context, c Caller, f CodeFilter) (list []CodeView, next string, err error) {
	at := f.After
	for {
		page, err := s.store.List(ctx, Listing{Shard: c.Merchant.Shard(), Kind: kindCode, Owner: string(c.Merchant), After: at, Limit: listPage})
		if err != nil {
			return nil, "", storeProblem(err)
		}
		for _, rec := range page {
			at = rec.ID
			code := &Code{Token: Token(rec.ID)}
			if _, err := decodeRecord(rec.Data, code); err != nil {
				return nil, "", err
			}
			v, err := s.asNow(ctx, CodeView{Code: code})
			if err != nil {
				return nil, "", err
			}
			if c.sees(code.Merchant, code.Outlet, code.Token) && f.takes(v) {
				if len(list) == f.Limit {
					return list, string(list[len(list)-1].Token), nil
				}
				list = append(list, v)
			}
		}
		if len(page) < listPage {
			return list, "", nil
		}
	}
}

// asNow lets the clock speak about a listed code.
func (s *Service) asNow(ctx context.Context, v CodeView) (CodeView, error) {
	if f := v.Shown; f == nil || f.StatusAt(s.now()) == f.Status {
		return v, nil
	}
	t := s.look(ctx, v.Token.Shard())
	code, err := t.code(v.Token)
	if err != nil || code == nil {
		return v, storeProblem(orMissing(err, "code"))
	}
	t.merchant = code.Merchant
	if err := t.tickCode(code); err != nil {
		return v, storeProblem(err)
	}
	v.Code = code
	return v, nil
}

// History returns a code's links, newest first.
func (s *Service) History(ctx context.Context, c Caller, id Token, after string, limit int) (list []*Link, next string, err error) {
	if epoch, ok := strings.CutPrefix(after, string(id)+"."); after != "" && (!ok || !isID(epoch, 8)) {
		return nil, "", errCursor
	}
	if _, err := s.Code(ctx, c, id); err != nil {
		return nil, "", err
	}
	page, err := s.store.List(ctx, Listing{Shard: id.Shard(), Kind: kindLink, Owner: string(id), After: after, Limit: limit + 1, Reverse: true})
	if err != nil {
		return nil, "", storeProblem(err)
	}
	for i, rec := range page {
		if i == limit {
			return list, page[i-1].ID, nil
		}
		l := new(Link)
		if _, err := decodeRecord(rec.Data, l); err != nil {
			return nil, "", err
		}
		list = append(list, l)
	}
	return list, "", nil
}

// ExceptionView is an exception with its request.
type ExceptionView struct {
	Exception Exception
	Request   *Request // nil: for no request we know
	ListID    ExceptionID
}

// ExceptionList lists money outside the rules.
func (s *Service) ExceptionList(ctx context.Context, c Caller, open bool, after string, limit int) (list []ExceptionView, next string, err error) {
	if after != "" && !isID(after, 20) {
		return nil, "", errCursor
	}
	at := after
	for {
		page, err := s.store.List(ctx, Listing{Shard: c.Merchant.Shard(), Kind: kindException, Owner: string(c.Merchant), After: at, Limit: listPage})
		if err != nil {
			return nil, "", storeProblem(err)
		}
		for _, raw := range page {
			at = raw.ID
			var rec exceptionRecord
			if _, err := decodeRecord(raw.Data, &rec); err != nil {
				return nil, "", err
			}
			if open && !rec.Open {
				continue
			}
			v := ExceptionView{ListID: rec.ID}
			if rec.Unknown != nil {
				v.Exception = *rec.Unknown
			} else {
				r, err := s.look(ctx, rec.Request.Shard()).request(rec.Request)
				if err != nil {
					return nil, "", storeProblem(err)
				}
				if r == nil || !c.seesRequest(r) {
					continue
				}
				i := slices.IndexFunc(r.Exceptions, func(e Exception) bool { return e.ID == rec.ID })
				if i < 0 {
					continue
				}
				v.Exception, v.Request = r.Exceptions[i], r
			}
			if len(list) == limit {
				return list, string(list[len(list)-1].ListID), nil
			}
			list = append(list, v)
		}
		if len(page) < listPage {
			return list, "", nil
		}
	}
}

// SaleView is a sale with its requests.
type SaleView struct {
	Sale     *Sale
	Requests []*Request
}

// Sale reads what became of one cart.
func (s *Service) Sale(ctx context.Context, c Caller, id SaleID) (*SaleView, error) {
	t := s.look(ctx, c.Merchant.Shard())
	t.begin(c)
	sale, err := t.sale(id)
	if err != nil {
		return nil, storeProblem(err)
	}
	if sale == nil {
		return nil, notFound("sale")
	}
	v := &SaleView{Sale: sale}
	for _, id := range sale.Requests {
		r, err := t.request(id)
		if err != nil {
			return nil, storeProblem(err)
		}
		if r != nil && c.seesRequest(r) {
			if err := t.tick(r); err != nil {
				return nil, storeProblem(err)
			}
			v.Requests = append(v.Requests, r)
		}
	}
	if len(v.Requests) == 0 {
		return nil, notFound("sale")
	}
	return v, nil
}

// AwaitSale reads a sale after something of it has changed, at most after d. Of a sale
// that has no open request there is nothing to wait for.
func (s *Service) AwaitSale(ctx context.Context, c Caller, id SaleID, d time.Duration) (*SaleView, error) {
	v, err := s.Sale(ctx, c, id)
	if err != nil || d <= 0 {
		return v, err
	}
	was := v.state()
	topics := []Topic{RecordTopic(saleKey(c.Merchant, id))}
	for _, r := range v.Requests { // not every move of a request writes its sale
		topics = append(topics, RecordTopic(requestKey(r.ID)))
	}
	w := s.store.Watch(topics...)
	defer w.Close()
	end := time.NewTimer(d)
	defer end.Stop()
	again := time.NewTicker(rereadEach)
	defer again.Stop()
	for {
		if v, err = s.Sale(ctx, c, id); err != nil {
			return nil, err
		}
		if v.state() != was || len(v.Sale.Open) == 0 {
			return v, nil
		}
		select {
		case <-w.C:
		case <-again.C:
		case <-end.C:
			return v, nil
		case <-ctx.Done():
			return v, nil
		case <-s.patience.Done():
			return v, nil
		}
	}
}

// state is what a waiter wants to see change.
func (v *SaleView) state() string {
	var b strings.Builder
	for _, r := range v.Requests {
		b.WriteString(string(r.ID) + string(r.Status))
	}
	return b.String()
}
