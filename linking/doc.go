// Package linking is what Placard exists for: it attaches payment requests to printed
// codes, and says what whoever scans may see and pay.
//
// A code is printed once and never changes. Behind it stands one record, which every
// scan reads, with the face of the request that is attached now. A request asks for
// money; the bank holds what can be paid. Between the two stands one rule: whoever
// scans sees the right amount of the right sale, or an honest page that takes no
// money.
//
// # How it works
//
//	till ──command──►  decide ──one commit──►  store  ◄──one read── scan ◄── payer
//	                     ▲                       │
//	                     │ outcome               │ intent: "a call is under way"
//	                     └───── bank ◄───────────┘
//
// Decisions are pure: the moves of a request are one table (moves.go), what a scan
// yields is one function (Resolve), and neither asks anybody nor knows the time but as
// an argument. A command loads what it needs, decides, and commits all of it or
// nothing; every record that was only read is checked in the commit, so that two
// deciders can never both be right (tx.go).
//
// The bank is never called inside a commit. The commit that wants a call says that it
// is under way; then it is made; then its outcome is committed, which may name the next
// call (pursue.go). If the process dies in between, the sweeper finds a call that was
// never finished, and asks the bank before anything is sent again (sweep.go).
//
// # A request's moves
//
//	draft ──submit──► unvalued ──value──┐
//	   └───────submit──────────────► preparing ──confirm──► active ──hold──► processing
//	                                    ▲  ▲                  │ ▲               │   │
//	                                    │  └──value, drift────┘ └────fail───────┘   │
//	                                    └───────────fail (newer amount)─────────────┘
//	any of these three ──cancel, swap, expire──► closing ──gone──► cancelled | expired
//	any not final ──settle──► paid      any not final ──settle, wrong money──► review
//
// Only active can be paid. What the table does not list cannot happen; facts from the
// bank are never refused, they only may change nothing. Expiry is computed: a request
// whose time has passed is closing from that instant, whether or not it is written down.
//
// # Epochs and scans
//
// A code's epoch counts the changes of what it shows. A scan is sealed to the epoch it
// saw. If nothing was shown then, it adopts the next sale, and that one only; otherwise
// its page ends with its sale and never slides on to the next customer's bill.
//
// # What holds
//
// The invariants D1 to D15 of the design; the tests carry their numbers. In short:
//
//  1. A code shows at most one request, and a request is shown on at most one code.
//  2. A scan that starts after a change was answered sees it, on every gateway.
//  3. What is payable on a page is what the bank has confirmed and still holds.
//  4. From the instant of expiry, cancel or swap our pages start no payment.
//  5. What was acknowledged survives the death of the process.
//  6. Each settlement is applied once, however often and late it is told, and what fits
//     no rule is an exception that a person sees. Attribution is by the bank's reference.
//  7. Money counts only once the bank was asked.
//  8. The merchant is told each change at least once, in order for each request; a
//     receiver that was away gets all of it when it returns (deliver.go).
//  9. A repeated command answers the same and changes nothing.
//  11. A token and an id are never used again.
//  12. When the bank does not answer, nothing new becomes payable.
//  13. A page opened in one sale never shows the next.
//  15. Resolution makes no bank call, and one store round trip.
//
// # What is not here
//
// No HTTP, no rail, no store, no paper: those are gateway, bankapi, boltstore and
// redisstore, and printing. The two ports are Store (store.go) and Bank (bank.go);
// storetest holds every store to the first, bankapi/banktest every rail to the second.
package linking
