package linking

import (
	"context"
	"slices"
	"strings"
	"time"
)

// RequestFilter narrows the inbox.
type RequestFilter struct {
	Statuses     []Status
	Reference    string
	Sale         SaleID
	Code         Token
	Outlet       OutletID
	OpenedUnpaid bool // somebody opened it and may still be asked whether he wants to pay
	Exceptions   bool // with an open one
	EndReason    EndReason
	From, To     time.Time
	Query        string // see search
	After        RequestID
	Limit        int
}

func (f *RequestFilter) takes(r *Request, now time.Time) bool {
	switch {
	case len(f.Statuses) > 0 && !slices.Contains(f.Statuses, r.StatusAt(now)),
		f.Reference != "" && r.Content.Reference != f.Reference,
		f.Sale != "" && r.Sale != f.Sale,
		f.Code != "" && r.OnCode != f.Code,
		f.Outlet != "" && r.Outlet != f.Outlet,
		f.OpenedUnpaid && !r.leftOpen(),
		f.EndReason != "" && r.EndReason != f.EndReason,
		f.Exceptions && r.openException() == nil:
		return false
	}
	return true
}

// leftOpen reports whether a person opened the request and left it unpaid: no money is
// there or on its way, and the merchant has not ended it.
func (r *Request) leftOpen() bool {
	if r.OpenedAt.IsZero() {
		return false
	}
	switch r.Status {
	case Processing, Review, Paid, Cancelled:
		return false
	}
	return true
}

// search is what somebody looks for among requests: a piece of the reference, the
// caller's own id, the sale, what it belongs to or the customer's name and contact; the
// beginning of the id; or the short id.
type search struct {
	text string // in small letters
	id   string // as ids are written; empty: it cannot be a piece of one
}

func searchFor(q string) search {
	s := search{text: strings.ToLower(strings.TrimSpace(q))}
	if id, ok := normal(q, requestIDLen); ok {
		s.id = id
	}
	return s
}

func (s search) finds(r *Request) bool {
	if s.text == "" {
		return true
	}
	for _, in := range []string{r.Content.Reference, r.ClientID, string(r.Sale), r.Context, r.Customer.Name, r.Customer.Email, r.Customer.Phone} {
		if in != "" && strings.Contains(strings.ToLower(in), s.text) {
			return true
		}
	}
	return s.id != "" && (strings.HasPrefix(string(r.ID), s.id) || len(s.id) == shortIDLen && strings.HasSuffix(string(r.ID), s.id))
}

const (
	requestIDLen = 26
	shortIDLen   = 8
)

// Short is the end of an id, which is random, as people read it out: "7K2M-Q9XZ". Two
// requests of a merchant may share one; the inbox then finds both.
func (id RequestID) Short() string { return Grouped(string(id[len(id)-shortIDLen:])) }

// madeAt is the time that stands in the id, to the millisecond.
func (id RequestID) madeAt() time.Time { return time.UnixMilli(int64(symbols(string(id[2:11])))).UTC() }

// Requests lists requests, newest first, and what to go on from; empty: no more. A page
// may hold less than was asked for, even nothing, though there is more to come: one call
// reads no more than maxRead records.
func (s *Service) Requests(ctx context.Context, c Caller, f RequestFilter) (list []*Request, next RequestID, err error) {
	now, sought := s.now(), searchFor(f.Query)
	at := string(f.After)
	if at == "" && !f.To.IsZero() {
		// To the end of that second: callers know times by the second.
		at = string(firstIDAfter(c.Merchant.Shard(), f.To.Truncate(time.Second).Add(time.Second-time.Millisecond)))
	}
	for range maxRead / listPage {
		page, err := s.store.List(ctx, Listing{Shard: c.Merchant.Shard(), Kind: kindRequest, Owner: string(c.Merchant), After: at, Limit: listPage, Reverse: true})
		if err != nil {
			return nil, "", storeProblem(err)
		}
		for _, rec := range page {
			r := new(Request)
			if _, err := decodeRecord(rec.Data, r); err != nil {
				return nil, "", err
			}
			if !f.From.IsZero() && r.CreatedAt.Before(f.From) {
				return list, "", nil
			}
			if c.seesRequest(r) && f.takes(r, now) && sought.finds(r) {
				if len(list) == f.Limit {
					return list, list[len(list)-1].ID, nil
				}
				list = append(list, r)
			}
			at = rec.ID
		}
		if len(page) < listPage {
			return list, "", nil
		}
	}
	return list, RequestID(at), nil
}

// EachRequest calls f with every request that a filter takes, newest first, until it
// returns an error. The filter's limit is not looked at.
func (s *Service) EachRequest(ctx context.Context, c Caller, filter RequestFilter, f func(*Request) error) error {
	filter.Limit = listPage
	for {
		list, next, err := s.Requests(ctx, c, filter)
		if err != nil {
			return err
		}
		for _, r := range list {
			if err := f(r); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		filter.After = next
	}
}

// firstIDAfter is an id that sorts after all ids made up to t.
func firstIDAfter(s Shard, t time.Time) RequestID {
	b := append(make([]byte, 0, requestIDLen), s.String()...)
	return RequestID(appendSymbols(b, uint64(t.UnixMilli())+1, 9))
}
