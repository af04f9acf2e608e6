package main

import (
	"context"
	"strings"
	"testing"

	"placard/linking"
)

// pastes is a bank whose payers copy a code into their bank's app, as with Pix.
type pastes struct{ linking.Banks }

func (p pastes) Open(c *linking.Connection) (linking.Bank, error) {
	b, err := p.Banks.Open(c)
	return pastesOne{b}, err
}

type pastesOne struct{ linking.Bank }

// copyAndPaste is a BR Code as a payer copies it, with what a page could stumble over.
const copyAndPaste = `00020126580014br.gov.bcb.pix0136123e4567-e12b-12d1-a456-4266554400005204000053039865802BR5913Cafe & "Co"<b>6008BRASILIA62070503***63041D3D`

func (p pastesOne) Put(ctx context.Context, ask linking.Ask) (linking.BankState, error) {
	s, err := p.Bank.Put(ctx, ask)
	if s.Way.Kind != "" {
		s.Way = linking.Way{Kind: linking.EMV, Payload: copyAndPaste}
	}
	return s, err
}

func (p pastesOne) Get(ctx context.Context, ref linking.BankRef) (linking.BankState, error) {
	s, err := p.Bank.Get(ctx, ref)
	if s.Way.Kind != "" {
		s.Way = linking.Way{Kind: linking.EMV, Payload: copyAndPaste}
	}
	return s, err
}

// TestACodeToCopy: after the pay click the page shows the code to copy, exactly, and a
// symbol of it for a second device; it stays while the payer is in his bank's app, and
// turns into the paid page.
func TestACodeToCopy(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true, hooks: hooks{banks: func(b linking.Banks) linking.Banks { return pastes{b} }}})
	till := h.shop.till
	code := till.makeCode("counter")
	request := till.attach(code, 1250)
	for _, noScript := range []bool{false, true} {
		payer := openTab(t, tabOptions{noScript: noScript})
		payer.goTo(h.printed(code))
		payer.click("Pay €12.50")
		payer.shows("Pix copia e cola")
		if got := eval[string](payer, `document.getElementById("payload").value`); got != copyAndPaste {
			t.Errorf("%q is to be copied", got)
		}
		if drawn := eval[bool](payer, `document.querySelector(".symbol img").naturalWidth > 0`); !drawn {
			t.Error("the symbol is not drawn")
		}
		if noScript {
			payer.click("Look again")
			payer.shows("Pay €12.50")
			continue
		}
		// He comes back from another app: the code is still there.
		eval[bool](payer, `document.dispatchEvent(new Event("visibilitychange", {bubbles: true}))`)
		payer.shows("Pix copia e cola")
		payer.wellBehaved()
		defer func() {
			h.bank.pays(request)
			payer.shows("Thank you.")
			payer.wellBehaved()
		}()
	}
	seen := h.phone().scan(code, "").is(200)
	h.phone().press(seen).is(200).says("kind", "emv", "payload", copyAndPaste)
	if strings.Contains(copyAndPaste, "\n") {
		t.Fatal("a code to copy is one line")
	}
}
