package linking_test

import (
	"context"
	"testing"
	"time"

	"placard/linking"
)

// impatient is a caller who leaves just before a commit is sent.
type impatient struct {
	linking.Store
	leave context.CancelFunc
}

func (s *impatient) Commit(ctx context.Context, c linking.Commit) error {
	if s.leave != nil {
		s.leave()
	}
	return s.Store.Commit(ctx, c)
}

// A caller whose time is up before anything was sent hears that nothing was done, and
// nothing was: "perhaps" is for what may have happened.
func TestACommitThatWasNeverSent(t *testing.T) {
	u := newUtility(t)
	store := &impatient{Store: u.svc.Store()}
	svc, err := linking.New(t.Context(), linking.Config{Store: store, Banks: u.banks, PublicURL: "https://pay.example", Now: func() time.Time { return u.world.now }})
	must(t, err)
	code, err := svc.MakeCode(t.Context(), u.office, linking.NewCode{Kind: linking.Bill})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	store.leave = cancel
	_, err = svc.Attach(ctx, u.office, linking.AttachCommand{Code: code.Token, New: &linking.NewRequest{Amount: 100}})
	if !linking.IsKind(err, linking.Unavailable) {
		t.Fatalf("it was told %v", err)
	}
	if v, err := u.svc.Code(t.Context(), u.office, code.Token); err != nil || v.Shown != nil || v.Epoch != 0 {
		t.Fatalf("something was done: %+v, %v", v.Code, err)
	}
}
