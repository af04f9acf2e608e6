package linking_test

import (
	"fmt"
	"testing"
	"time"

	"placard/linking"
)

// orders calls f with every order of what is in list; equal ones are told apart by
// nothing, so each distinct order comes once.
func orders(list []int, f func([]int)) {
	left := map[int]int{}
	for _, v := range list {
		left[v]++
	}
	var order []int
	var next func()
	next = func() {
		if len(order) == len(list) {
			f(order)
			return
		}
		for v := range len(list) {
			if left[v] == 0 {
				continue
			}
			left[v]--
			order = append(order, v)
			next()
			order = order[:len(order)-1]
			left[v]++
		}
	}
	next()
}

func (b *busyBank) happens(id linking.RequestID, status linking.BankStatus, amounts ...linking.Amount) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.requests[id]
	r.status = status
	for _, a := range amounts {
		b.paid++
		r.payments = append(r.payments, linking.BankPayment{ID: fmt.Sprint("P", b.paid), Money: linking.Money{Amount: a, Currency: "EUR"}, PaidAt: b.w.now})
	}
}

// Six callbacks about three requests, in each of the 90 orders there are (what a
// callback is worth is the request it names), each of them twice, some before the bank
// has finished, and all of them once more when everything is over: as many settlements
// as payments, and each told once.
func TestD6CallbacksInEveryOrder(t *testing.T) {
	u := newUtility(t)
	bank := u.banks.(*busyBank)
	tried := 0
	orders([]int{0, 0, 1, 1, 2, 2}, func(order []int) {
		tried++
		var ids []linking.RequestID
		var conn linking.ConnectionID
		for range 3 {
			a, err := u.svc.CreateRequest(t.Context(), u.office, linking.NewRequest{Amount: 100}, 5*time.Second)
			must(t, err)
			if a.Request.Status != linking.Active {
				t.Fatalf("it is %s", a.Request.Status)
			}
			ids, conn = append(ids, a.Request.ID), a.Request.Bank.Connection
		}
		tell := func(i int) { must(t, u.svc.Hint(t.Context(), conn, []linking.RequestID{ids[i], ids[i]})) }
		// Half of what happens is known at the first three callbacks, the rest at the others.
		bank.happens(ids[0], linking.BankPaid, 100)
		bank.happens(ids[1], linking.BankProcessing)
		bank.happens(ids[2], linking.BankPaid, 70)
		for _, i := range order[:3] {
			tell(i)
		}
		bank.happens(ids[0], linking.BankPaid, 100) // a second payer
		bank.happens(ids[1], linking.BankPaid, 100)
		for _, i := range order[3:] {
			tell(i)
		}
		// A bank repeats what it was not thanked for; here the last word about each.
		want := []struct {
			status     linking.Status
			payments   int
			exceptions int
		}{{linking.Paid, 2, 1}, {linking.Paid, 1, 0}, {linking.Review, 1, 1}}
		for range 2 {
			for i, w := range want {
				tell(i)
				var r *linking.Request
				for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
					a, err := u.svc.Request(t.Context(), u.office, string(ids[i]))
					must(t, err)
					if r = a.Request; r.Status == w.status && len(r.Payments) == w.payments && r.Bank.Op.Kind == "" {
						break
					}
					if time.Now().After(end) {
						t.Fatalf("order %v: request %d is %s with payments %+v", order, i, r.Status, r.Payments)
					}
				}
				if len(r.Exceptions) != w.exceptions {
					t.Fatalf("order %v: request %d has the exceptions %+v", order, i, r.Exceptions)
				}
			}
		}
		for i, id := range ids {
			events, _, err := u.svc.Events(t.Context(), u.office, linking.EventFilter{Request: id, Limit: 100}, 0)
			must(t, err)
			told := map[linking.EventType]int{}
			for _, e := range events {
				told[e.Type]++
			}
			paid := 0
			if want[i].status == linking.Paid {
				paid = 1
			}
			if told[linking.RequestPaid] != paid || told[linking.ExceptionOpened] != want[i].exceptions {
				t.Fatalf("order %v: about request %d was told %v", order, i, told)
			}
		}
	})
	if tried != 90 {
		t.Fatalf("%d orders", tried)
	}
}

// A callback is a hint: one about money that the bank does not know of changes nothing.
func TestD7ACallbackAloneIsNoMoney(t *testing.T) {
	u := newUtility(t)
	a, err := u.svc.CreateRequest(t.Context(), u.office, linking.NewRequest{Amount: 100}, 5*time.Second)
	must(t, err)
	before := a.Request
	for range 5 {
		must(t, u.svc.Hint(t.Context(), before.Bank.Connection, []linking.RequestID{before.ID}))
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		a, err := u.svc.Request(t.Context(), u.office, string(before.ID))
		must(t, err)
		if r := a.Request; r.Bank.PollAt.IsZero() && r.Bank.Op.Kind == "" { // asked, and answered
			if r.Status != linking.Active || len(r.Payments) != 0 {
				t.Fatalf("%s, %+v", r.Status, r.Payments)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the bank was not asked: %+v", a.Request.Bank)
		}
	}
}
