package linking_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"placard/linking"
	"placard/linking/boltstore"
)

// counterShop is a shop whose clock the test turns.
type counterShop struct {
	*linking.Service
	t     *testing.T
	mu    sync.Mutex
	now   time.Time
	owner linking.Caller
}

func (s *counterShop) after(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

func newCounterShop(t *testing.T) *counterShop {
	t.Helper()
	store, err := boltstore.Open(filepath.Join(t.TempDir(), "placard.db"), boltstore.Options{})
	must(t, err)
	t.Cleanup(func() { store.Close() })
	s := &counterShop{t: t, now: time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)}
	s.Service, err = linking.New(t.Context(), linking.Config{Store: store, PublicURL: "https://pay.example", NewStore: true, Now: func() time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.now
	}})
	must(t, err)
	t.Cleanup(func() { s.Close(context.Background()) })
	m, err := s.CreateMerchant(t.Context(), linking.NewMerchant{Name: "Café", Currency: "EUR"})
	must(t, err)
	k, _, err := s.CreateKey(t.Context(), m.ID, linking.NewKey{Role: linking.Owner})
	must(t, err)
	s.owner = k.Caller()
	return s
}

const longEnough = "correct horse battery"

func (s *counterShop) hire(role linking.Role, user, pin string) *linking.Staff {
	s.t.Helper()
	_, secret, err := s.Invite(s.t.Context(), s.owner, linking.NewStaff{Name: user, Role: role})
	must(s.t, err)
	p, err := s.Join(s.t.Context(), secret, linking.Joining{User: user, Password: longEnough, PIN: pin})
	must(s.t, err)
	return p
}

// records counts the records of a kind that are due some day.
func (s *counterShop) records(kind linking.RecordKind) (n int) {
	s.t.Helper()
	due, err := s.Store().Due(s.t.Context(), s.owner.Merchant.Shard(), s.now.AddDate(1, 0, 0), 100)
	must(s.t, err)
	for _, d := range due {
		if d.Key.Kind == kind {
			n++
		}
	}
	return n
}

// TestSessionsEndByTheClock: idle ones after half an hour, used ones after twelve hours,
// those of a PIN after a quarter of an hour and eight hours; and what is over is forgotten.
func TestSessionsEndByTheClock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		idle, most time.Duration
		pin        bool
	}{{"password", 30 * time.Minute, 12 * time.Hour, false}, {"PIN", 15 * time.Minute, 8 * time.Hour, true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, s := t.Context(), newCounterShop(t)
			p := s.hire(linking.Cashier, "carla", "2580")
			_, link, err := s.PrepareDevice(ctx, s.owner, linking.NewDevice{Name: "Tablet"})
			must(t, err)
			_, device, err := s.PairDevice(ctx, link)
			must(t, err)
			login := func() string {
				_, secret, err := s.Login(ctx, "carla", longEnough)
				if c.pin {
					_, secret, err = s.LoginOnDevice(ctx, device, p.ID, "2580")
				}
				must(t, err)
				return secret
			}
			good := func(secret string) bool {
				who, err := s.Admit(ctx, secret)
				if err == nil {
					err = s.StillAdmitted(ctx, who)
				}
				if err != nil && !linking.IsKind(err, linking.Unauthorized) {
					t.Fatal(err)
				}
				return err == nil
			}
			left := login()
			s.after(c.idle - time.Second)
			if !good(left) { // looking at it keeps nothing alive
				t.Error("it ended too early")
			}
			s.after(time.Second)
			if good(left) {
				t.Error("nobody did anything with it, and it goes on")
			}
			used := login()
			for spent := time.Duration(0); spent < c.most; spent += c.idle / 2 {
				who, err := s.Admit(ctx, used)
				if err != nil {
					t.Fatalf("a session in use ended after %v", spent)
				}
				must(t, s.Used(ctx, who))
				s.after(c.idle / 2)
			}
			if good(used) {
				t.Errorf("it is in use for more than %v", c.most)
			}
			if s.records("session") == 0 {
				t.Fatal("the test sees no sessions")
			}
			s.SweepOnce(ctx)
			if n := s.records("session"); n != 0 {
				t.Errorf("%d sessions that are over were not forgotten", n)
			}
		})
	}
}

// TestLinksEndByTheClock: an invitation after a week, a pairing after half an hour.
func TestLinksEndByTheClock(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), newCounterShop(t)
	p, secret, err := s.Invite(ctx, s.owner, linking.NewStaff{Name: "Ana", Role: linking.Viewer})
	must(t, err)
	_, link, err := s.PrepareDevice(ctx, s.owner, linking.NewDevice{Name: "Tablet"})
	must(t, err)
	s.after(30 * time.Minute)
	if _, _, err := s.PairDevice(ctx, link); !linking.IsKind(err, linking.NotFound) {
		t.Errorf("a pairing of half an hour ago: %v", err)
	}
	s.after(7*24*time.Hour - 30*time.Minute)
	if _, err := s.Join(ctx, secret, linking.Joining{User: "ana", Password: longEnough}); !linking.IsKind(err, linking.NotFound) {
		t.Errorf("an invitation of a week ago: %v", err)
	}
	_, second, err := s.InviteAgain(ctx, s.owner, p.ID)
	must(t, err)
	_, third, err := s.InviteAgain(ctx, s.owner, p.ID)
	must(t, err)
	if _, err := s.Join(ctx, second, linking.Joining{User: "ana", Password: longEnough}); !linking.IsKind(err, linking.NotFound) {
		t.Errorf("a link that another took the place of: %v", err)
	}
	_, err = s.Join(ctx, third, linking.Joining{User: "ana", Password: longEnough})
	must(t, err)
	// A lost password: the link brings another, the name stays, and all sessions are over.
	_, old, err := s.Login(ctx, "ana", longEnough)
	must(t, err)
	_, reset, err := s.InviteAgain(ctx, s.owner, p.ID)
	must(t, err)
	if _, err := s.Admit(ctx, old); err != nil {
		t.Errorf("a link that nobody used ends something: %v", err)
	}
	_, err = s.Join(ctx, reset, linking.Joining{User: "somebody-else", Password: "another " + longEnough})
	must(t, err)
	if _, err := s.Admit(ctx, old); !linking.IsKind(err, linking.Unauthorized) {
		t.Errorf("a session of before the new password: %v", err)
	}
	if _, _, err := s.Login(ctx, "ana", longEnough); !linking.IsKind(err, linking.Unauthorized) {
		t.Errorf("the old password: %v", err)
	}
	if _, _, err := s.Login(ctx, "Ana ", "another "+longEnough); err != nil {
		t.Errorf("the new password: %v", err)
	}
}

// TestOneNameOnePerson: of many who choose a login name at once, at several merchants,
// one gets it.
func TestOneNameOnePerson(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), newCounterShop(t)
	const people = 8
	var links []string
	for range people {
		_, secret, err := s.Invite(ctx, s.owner, linking.NewStaff{Name: "Ana", Role: linking.Viewer})
		must(t, err)
		links = append(links, secret)
	}
	var got [people]error
	var all sync.WaitGroup
	for i, link := range links {
		all.Go(func() { _, got[i] = s.Join(ctx, link, linking.Joining{User: "ana", Password: longEnough}) })
	}
	all.Wait()
	won := 0
	for _, err := range got {
		if err == nil {
			won++
		} else if e, ok := errors.AsType[*linking.Error](err); !ok || len(e.Fields) != 1 || e.Fields[0].Code != "taken" {
			t.Errorf("who did not get it was told %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d people are called ana", won)
	}
}

// TestWhatIsStoredOfSecrets: neither passwords, PINs, links nor cookies stand in the store.
func TestWhatIsStoredOfSecrets(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), newCounterShop(t)
	_, invitation, err := s.Invite(ctx, s.owner, linking.NewStaff{Name: "Ana", Role: linking.Cashier})
	must(t, err)
	_, link, err := s.PrepareDevice(ctx, s.owner, linking.NewDevice{Name: "Tablet"})
	must(t, err)
	_, device, err := s.PairDevice(ctx, link)
	must(t, err)
	s.hire(linking.Cashier, "carla", "25807913")
	_, session, err := s.Login(ctx, "carla", longEnough)
	must(t, err)
	var all []linking.Record
	for _, kind := range []linking.RecordKind{"staff", "device"} {
		list, err := s.Store().List(ctx, linking.Listing{Shard: s.owner.Merchant.Shard(), Kind: kind, Owner: string(s.owner.Merchant), Limit: 100})
		must(t, err)
		all = append(all, list...)
	}
	due, err := s.Store().Due(ctx, s.owner.Merchant.Shard(), s.now.AddDate(1, 0, 0), 100)
	must(t, err)
	for _, d := range due {
		list, err := s.Store().Get(ctx, d.Key)
		must(t, err)
		all = append(all, list...)
	}
	kinds := map[linking.RecordKind]bool{}
	for _, r := range all {
		kinds[r.Key.Kind] = true
		for _, secret := range []string{invitation[14:], link[12:], device[16:], session[16:], longEnough, "25807913"} {
			if strings.Contains(string(r.Data), secret) {
				t.Errorf("a %s record holds %q", r.Key.Kind, secret)
			}
		}
	}
	if !kinds["staff"] || !kinds["device"] || !kinds["session"] {
		t.Fatalf("only %v were looked at", kinds)
	}
}
