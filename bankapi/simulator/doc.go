// Package simulator is a stateful bank to try Placard with, to demonstrate it and
// to test it: real HTTP, real signatures, real refusals, pretend money.
//
//	gateway ──► wire ─────► faults ──► ledger ◄── controls ◄── tests, demo
//	            /relay/… /pix/…        │    ▲     /sim/…
//	gateway ◄── callbacks ◄────────────┘    └──── the payer's bank app, /app/…
//
// There is one ledger of accounts, requests, payments and refunds, with its own
// clock. A wire translates one bank's HTTP into calls of the ledger and names each
// of its endpoints by a route; faults and the journal of calls work on routes, and
// so they are the same for every wire.
//
// It is as strict as a real bank is, or stricter: an unknown field, a bad
// signature or a revision out of order is refused. What it never does is guess.
//
// It has no accounts to protect and its controls ask for no key: whoever reaches
// its address can pay with pretend money. It does not belong where real banks are.
package simulator
