package linking_test

import (
	"testing"
	"time"

	"placard/linking"
)

// A sale on a code that the bank resolves is payable again once it was given another
// amount: what the location shows is looked at anew after each change of it.
func TestACodeOfTheBanksIsPayableAgainAfterANewAmount(t *testing.T) {
	w := begin(t, 1, false)
	w.bank.kind = true
	var code linking.Token
	for _, c := range w.codes {
		if a, err := w.svc.Shown(t.Context(), w.caller, c); err == nil && a.Code.ResolvedBy == linking.ByBankPayload {
			code = c
		}
	}
	rest := func() *linking.LinkAnswer {
		for range 20 {
			for len(w.tasks) > 0 {
				w.task()
			}
			w.now = w.now.Add(time.Second)
			w.svc.SweepOnce(t.Context())
		}
		a, err := w.svc.Shown(t.Context(), w.caller, code)
		must(t, err)
		return a
	}
	_, err := w.svc.Attach(t.Context(), w.caller, linking.AttachCommand{Code: code, New: &linking.NewRequest{Amount: 1250, Reference: "R", ExpiresIn: "1d"}})
	must(t, err)
	for _, amount := range []linking.Amount{1250, 1300, 900} {
		a := rest()
		if a.Request == nil || a.Request.Status != linking.Active || a.Request.Content.Amount != amount || !a.Code.AtBank() {
			t.Fatalf("with %d the code is %+v of %+v", amount, a.Code, a.Request)
		}
		next := map[linking.Amount]linking.Amount{1250: 1300, 1300: 900}[amount]
		if next != 0 {
			_, err := w.svc.PatchRequest(t.Context(), w.caller, string(a.Request.ID), linking.Patch{Amount: &next}, 0)
			must(t, err)
		}
	}
}
