package bankapi_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"placard/bankapi/simulator"
	"placard/linking"
)

// TestSeenInTimeThoughEveryCallbackIsLost: what happens at the bank is known within 30
// seconds, by a list where the bank has one and by asking where it has not, with a pay
// click before it or without.
func TestSeenInTimeThoughEveryCallbackIsLost(t *testing.T) {
	without := simulator.Everything
	without.Changed = false
	for name, can := range map[string]linking.Abilities{"a bank with a list": simulator.Everything, "a bank without": without} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, end := newStreet(t, can)
				defer end()
				s.sim.Callbacks(simulator.Lost, 0)
				rnd := rand.New(rand.NewPCG(1, 2))
				slowest := map[string]time.Duration{}
				for round := range 60 {
					code, err := s.svc.MakeCode(t.Context(), s.caller, linking.NewCode{Kind: linking.Counter, Label: fmt.Sprint(round)})
					if err != nil {
						t.Fatal(err)
					}
					a, err := s.svc.Attach(t.Context(), s.caller, linking.AttachCommand{Code: code.Token, Wait: 5 * time.Second, New: &linking.NewRequest{Amount: 1250, ExpiresIn: "1d"}})
					if err != nil || a.Request.Status != linking.Active {
						t.Fatalf("%+v, %v", a, err)
					}
					id := string(a.Request.ID)
					time.Sleep(time.Duration(rnd.Int64N(int64(time.Minute))))
					if round%2 == 0 {
						v, err := s.svc.Scan(t.Context(), code.Token, "", true)
						if err != nil {
							t.Fatal(err)
						}
						if _, _, err := s.svc.Press(t.Context(), code.Token, linking.PressCommand{Scan: v.Sealed, Revision: 1}); err != nil {
							t.Fatal(err)
						}
						time.Sleep(time.Duration(rnd.Int64N(int64(time.Minute))))
					}
					what, want := "paid", linking.Paid
					switch round % 3 {
					case 0:
						_, err = s.sim.Pay(simulator.Pay{RequestID: id})
					case 1:
						what, want = "refused by the payer", linking.Cancelled
						_, err = s.sim.Refuse(id)
					case 2:
						what, want = "paid with another amount", linking.Review
						_, err = s.sim.Pay(simulator.Pay{RequestID: id, Amount: 1})
					}
					if err != nil {
						t.Fatal(err)
					}
					at := time.Now()
					now, err := s.svc.AwaitRequest(t.Context(), s.caller, id, linking.Active, time.Minute)
					if err != nil || now.Request.Status != want {
						t.Fatalf("%s, and it is %s after %v: %v", what, now.Request.Status, time.Since(at), err)
					}
					slowest[what] = max(slowest[what], time.Since(at))
				}
				t.Logf("seen after at most %v", slowest)
				for what, took := range slowest {
					if took > 30*time.Second {
						t.Errorf("%s, and that was known %v later", what, took)
					}
				}
			})
		})
	}
}
