// Command example is a till in one file: it shows an amount on a printed code, and
// says when it was paid.
//
//	go run ./gateway/client/example URL KEY CODE CENTS
package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"time"

	"placard/gateway/client"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: example URL KEY CODE CENTS")
		os.Exit(2)
	}
	cents, err := strconv.ParseInt(os.Args[4], 10, 64)
	if err == nil {
		err = sell(&client.Client{URL: os.Args[1], Key: os.Args[2]}, os.Args[3], cents)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// sell shows an amount on a code and waits for its end. Ctrl-C is the cashier who takes
// cash after all.
func sell(till *client.Client, code string, cents int64) error {
	ctx := context.Background()
	sale := "example-" + strconv.FormatInt(time.Now().UnixNano(), 36) // the till's own number of the cart
	since, err := till.LastSeq(ctx)
	if err != nil {
		return err
	}
	answer, err := till.Attach(ctx, code, client.NewRequest{Amount: cents, Reference: "Table 4", Sale: sale}, false)
	if client.Is(err, "code_busy") {
		return fmt.Errorf("another sale is open on this code: finish it first")
	}
	if err != nil {
		return err
	}
	cash, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	request := answer.Request
	fmt.Printf("request %s: %d %s, pairing %s\n", request.ID, request.Amount, request.Currency, request.Pairing)

	for e, err := range till.Events(cash, since, url.Values{"request": {request.ID}}) {
		if err != nil {
			return err
		}
		switch e.Type {
		case "request.opened":
			fmt.Println("the customer has opened it")
		case "request.processing":
			fmt.Println("being confirmed: do not take other money")
		case "request.paid":
			fmt.Printf("paid %d %s\n", e.Request.PaidAmount, e.Request.Currency)
			return nil
		case "request.expired", "request.cancelled":
			return fmt.Errorf("it is over: %s (%s)", e.Request.Status, e.Request.EndReason)
		}
	}
	// The cashier wants to take cash. Whether that is safe, the gateway says.
	over, err := till.Detach(ctx, code, request.ID)
	if client.Is(err, "already_paid") {
		return fmt.Errorf("it was paid just now: take no cash")
	}
	if err != nil {
		return err
	}
	if t := over.Tender; t != nil && !t.Allowed {
		return fmt.Errorf("take no cash yet: %s", t.Why)
	}
	fmt.Println("cancelled: take cash")
	return nil
}
