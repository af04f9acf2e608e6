package linking

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// situations are the conditions the table's guards look at. The name is what the
// picture says in brackets.
var situations = map[string]func(r *Request){
	"":            func(*Request) {},
	"no amount":   func(r *Request) { r.Content.Amount = 0 },
	"never":       func(r *Request) { r.Confirmed = 0 },
	"revised":     func(r *Request) { r.Revision = 2 },
	"bank time":   func(r *Request) { r.Bank.State = BankExpired },
	"asked":       func(r *Request) { r.EndAsked, r.EndReason = true, ByCancel },
	"by time":     func(r *Request) { r.EndAsked, r.EndReason = true, ByExpiry },
	"never, time": func(r *Request) { r.Confirmed, r.EndAsked, r.EndReason = 0, true, ByExpiry },
	"past":        func(r *Request) { r.Content.ExpiresAt = noon.Add(-time.Second) },
	"authorised":  func(r *Request) { r.Bank.State = BankAuthorised },
	"exception":   func(r *Request) { r.Exceptions = []Exception{{ID: "x"}} },
}

// picture is the machine as the design draws it: for each status, each action that
// does anything, and where it leads; in brackets, the condition under which it does.
// What does not stand here does not happen.
const picture = `
draft       edit→draft submit→preparing submit[no amount]→unvalued cancel→cancelled expire→expired
unvalued    edit→unvalued value→preparing cancel→cancelled swap→cancelled expire→expired
preparing   value→preparing cancel→closing swap→closing expire→closing confirm→active hold→processing
            reject→preparing reject[never]→cancelled reject[never, time]→cancelled gone→cancelled gone[bank time]→expired
active      value→preparing cancel→closing swap→closing expire→closing drift→preparing hold→processing gone→cancelled gone[bank time]→expired
processing  cancel→processing swap→processing capture[authorised]→processing gone→cancelled gone[bank time]→expired
            fail→active fail[revised]→preparing fail[never]→preparing fail[never, time]→closing fail[asked]→closing fail[by time]→closing fail[past]→closing
closing     cancel→closing swap→closing confirm→closing hold→processing
            reject[never]→cancelled reject[never, time]→expired gone→cancelled gone[by time]→expired gone[never, time]→expired
            returned→cancelled returned[by time]→expired returned[never, time]→expired accept[exception]→paid return[exception]→closing
review      accept→paid return→closing
paid        refund→paid accept[exception]→paid return[exception]→paid settle→paid settle_other→paid settle_twice→paid
expired     accept[exception]→paid return[exception]→expired settle→expired settle_other→expired settle_twice→expired
cancelled   accept[exception]→paid return[exception]→cancelled settle→cancelled settle_other→cancelled settle_twice→cancelled
`

// A payment is never refused, whatever the status.
const settlements = "settle→paid settle_other→review settle_twice→review"

var actions = []Action{Edit, Submit, Value, Cancel, Swap, Capture, Accept, Return, GiveBack, Expire,
	Confirm, Drift, Reject, Hold, Fail, EndOfBank, Returned, Settle, SettleOther, SettleTwice}

// conditional says which guards an action of a status has in the picture; in any
// other situation the entry without brackets holds.
func drawn(t *testing.T) map[string]string {
	cells := map[string]string{}
	status := Status("")
	for line := range strings.Lines(picture) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			continue
		}
		if line[0] != ' ' {
			name, rest, _ := strings.Cut(line, " ")
			status, line = Status(name), rest
			if !status.Final() {
				line += " " + settlements
			}
		}
		for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
			arrow := strings.Index(line, "→")
			end := strings.IndexByte(line[arrow:], ' ')
			if end < 0 {
				end = len(line) - arrow
			}
			what, to := line[:arrow], line[arrow+len("→"):arrow+end]
			line = line[arrow+end:]
			action, when, _ := strings.Cut(strings.TrimSuffix(what, "]"), "[")
			if _, ok := situations[when]; !ok || !slices.Contains(actions, Action(action)) || !slices.Contains(Statuses, Status(to)) {
				t.Fatalf("the picture has %q → %q", what, to)
			}
			cells[fmt.Sprintf("%s %s %s", status, action, when)] = to
		}
	}
	return cells
}

func TestMovesAreThePicture(t *testing.T) {
	cells := drawn(t)
	checked := 0
	for _, from := range Statuses {
		for _, a := range actions {
			for when, make := range situations {
				r := &Request{Status: from, Content: Content{Amount: 100}, Revision: 1, Confirmed: 1}
				make(r)
				want, ok := cells[fmt.Sprintf("%s %s %s", from, a, when)]
				if !ok {
					want, ok = cells[fmt.Sprintf("%s %s ", from, a)]
				}
				if !ok {
					want = "."
				}
				got := "."
				if to, ok := r.after(a, noon); ok {
					got = string(to)
				}
				if got != want {
					t.Errorf("%s, %s [%s]: %s, the picture says %s", from, a, when, got, want)
				}
				if err := r.may(a, noon); (err == nil) != (got != ".") {
					t.Errorf("%s, %s [%s]: may says %v", from, a, when, err)
				}
				checked++
			}
		}
	}
	if checked != len(Statuses)*len(actions)*len(situations) {
		t.Fatal(checked)
	}
}

// A status without a way to another is final, and only these take no more money
// without a decision.
func TestFinalStatusesAreLeftByDecisionOnly(t *testing.T) {
	for _, m := range moves {
		if m.from.Final() && m.to != m.from && m.on != Accept {
			t.Errorf("%s, %s → %s", m.from, m.on, m.to)
		}
	}
}

func TestStatusAtTheInstantOfExpiry(t *testing.T) {
	for _, s := range Statuses {
		r := Request{Status: s, Content: Content{ExpiresAt: noon}}
		if got := r.StatusAt(noon.Add(-1)); got != s {
			t.Errorf("%s just before: %s", s, got)
		}
		want := s
		if s == Draft || s == Unvalued || s == Preparing || s == Active {
			want = Closing
		}
		if got := r.StatusAt(noon); got != want {
			t.Errorf("%s on the instant: %s, want %s", s, got, want)
		}
	}
	if got := (&Request{Status: Active}).StatusAt(noon); got != Active {
		t.Errorf("open-ended: %s", got)
	}
}

func TestRefusalsNameThePresentState(t *testing.T) {
	for _, tt := range []struct {
		status Status
		on     Action
		code   string
	}{
		{Processing, Value, "payment_in_flight"},
		{Paid, Value, "already_paid"},
		{Paid, Cancel, "already_paid"},
		{Expired, Value, "not_allowed_in_status"},
		{Cancelled, Submit, "not_allowed_in_status"},
	} {
		err := (&Request{Status: tt.status}).may(tt.on, noon)
		if !IsCode(err, tt.code) || Problem(err).With["status"] != tt.status {
			t.Errorf("%s, %s: %v", tt.status, tt.on, err)
		}
	}
}
