package linking_test

import (
	"slices"
	"testing"
	"time"

	"placard/linking"
)

// many is more than one call reads.
const many = 25_000

// stores writes n requests of long ago, none of which is what anybody looks for.
func (s *shop) stores(n int, at time.Time) {
	s.t.Helper()
	m := s.owner.Merchant
	for n > 0 {
		c := linking.Commit{ID: linking.NewCommitID(), Shard: m.Shard()}
		for range min(n, linking.MaxWrites) {
			at = at.Add(time.Millisecond)
			c.Writes = append(c.Writes, linking.RequestRecord(&linking.Request{
				ID: linking.NewRequestID(m.Shard(), at), Merchant: m, Origin: linking.MadeByRequest, Status: linking.Cancelled,
				Content: linking.Content{Amount: 100, Currency: "EUR", Reference: "Other"}, CreatedAt: at,
			}))
		}
		must(s.t, s.store.Commit(s.ctx, c))
		n -= len(c.Writes)
	}
}

// TestALongInboxIsReadInParts: what is looked for is the oldest of very many. Each call
// reads a part and says where to go on; nothing is missed, nothing comes twice.
func TestALongInboxIsReadInParts(t *testing.T) {
	s := newShop(t)
	a, err := s.svc.CreateRequest(s.ctx, s.owner, linking.NewRequest{Amount: 500, Draft: true, Reference: "The oldest"}, 0)
	must(t, err)
	s.stores(many, time.Now().Add(time.Second))
	var found []string
	calls := 0
	for f := (linking.RequestFilter{Query: "the oldest", Limit: 50}); ; calls++ {
		list, next, err := s.svc.Requests(s.ctx, s.owner, f)
		must(t, err)
		for _, r := range list {
			found = append(found, r.Content.Reference)
		}
		if next == "" {
			break
		}
		f.After = next
	}
	if !slices.Equal(found, []string{"The oldest"}) || calls != 1 {
		t.Errorf("%d further calls found %q", calls, found)
	}
	n := 0
	must(t, s.svc.EachRequest(s.ctx, s.owner, linking.RequestFilter{}, func(*linking.Request) error { n++; return nil }))
	if n != many+1 {
		t.Errorf("%d of %d were told", n, many+1)
	}
	if list, _, err := s.svc.Requests(s.ctx, s.owner, linking.RequestFilter{To: a.Request.CreatedAt, Limit: 5}); err != nil || len(list) != 1 || list[0].ID != a.Request.ID {
		t.Errorf("up to when it was made there are %d, %v", len(list), err)
	}
}

// TestTheEventsOfARequestInALongLog: they are found from where the request begins, and
// each call reads a part of what comes after it.
func TestTheEventsOfARequestInALongLog(t *testing.T) {
	s := newShop(t)
	log := func(n int, at time.Time) {
		for n > 0 {
			c := linking.Commit{ID: linking.NewCommitID(), Shard: s.owner.Merchant.Shard(), Log: string(s.owner.Merchant)}
			for range min(n, linking.MaxWrites) {
				c.Events = append(c.Events, linking.EventRecord(&linking.Event{Type: linking.CodeMade, At: at}))
			}
			must(t, s.store.Commit(s.ctx, c))
			n -= len(c.Events)
		}
	}
	log(many, time.Now().Add(-time.Hour))
	a, err := s.svc.CreateRequest(s.ctx, s.owner, linking.NewRequest{Amount: 500, Draft: true}, 0)
	must(t, err)
	log(many, time.Now().Add(time.Hour))
	var after []uint64
	for f := (linking.EventFilter{Request: a.Request.ID, Limit: 50}); ; {
		events, next, err := s.svc.Events(s.ctx, s.owner, f, 0)
		must(t, err)
		if f.After == 0 && (len(events) != 1 || events[0].Type != linking.RequestCreated) {
			t.Fatalf("it begins with %d events", len(events))
		}
		if f.After > 0 && len(events) > 0 {
			t.Errorf("%+v comes again", events)
		}
		after = append(after, next)
		if next == f.After {
			break
		}
		f.After = next
	}
	last, err := s.svc.LastEvent(s.ctx, s.owner.Merchant)
	must(t, err)
	if len(after) != 3 || after[1] != last {
		t.Errorf("of %d events they were read in parts up to %v", last, after)
	}
}

// TestPresetsAreOfTheCalendar: a day is not 24 hours where clocks change, and a month
// ends with its last day.
func TestPresetsAreOfTheCalendar(t *testing.T) {
	s := newShop(t)
	_, err := s.svc.ChangeMerchant(s.ctx, s.owner.Merchant, func(m *linking.Merchant) error { m.TimeZone = "America/New_York"; return nil })
	must(t, err)
	var now time.Time
	svc, err := linking.New(s.ctx, linking.Config{Store: s.store, Banks: s.bank, Now: func() time.Time { return now }, PublicURL: "https://pay.example"})
	must(t, err)
	defer svc.Close(s.ctx)
	for _, c := range []struct{ now, preset, want string }{
		{"2027-03-13T20:30:00Z", "1d", "2027-03-14T19:30:00Z"}, // the clocks go forward in between: 23 hours
		{"2027-11-06T19:30:00Z", "1d", "2027-11-07T20:30:00Z"}, // and back: 25
		{"2027-03-13T20:30:00Z", "1w", "2027-03-20T19:30:00Z"},
		{"2027-03-13T20:30:00Z", "1m", "2027-04-13T19:30:00Z"},
		{"2027-01-31T17:00:00Z", "1m", "2027-02-28T17:00:00Z"},
		{"2028-01-31T17:00:00Z", "1m", "2028-02-29T17:00:00Z"},
		{"2027-02-01T03:00:00Z", "1m", "2027-03-01T03:00:00Z"}, // still the 31st over there
		{"2027-05-31T16:00:00Z", "4m", "2027-09-30T16:00:00Z"},
		{"2027-05-31T16:00:00Z", "15m", "2027-05-31T16:15:00Z"},
	} {
		now, err = time.Parse(time.RFC3339, c.now)
		must(t, err)
		e, err := svc.EstimateRequest(s.ctx, s.owner, linking.NewRequest{Amount: 100, ExpiresIn: c.preset})
		must(t, err)
		if got := e.Request.Content.ExpiresAt.UTC().Format(time.RFC3339); got != c.want {
			t.Errorf("%s from %s on is %s, want %s", c.preset, c.now, got, c.want)
		}
	}
}
