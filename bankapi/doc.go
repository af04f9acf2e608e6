// Package bankapi reaches banks. It keeps one bank per connection of a merchant,
// and stands guard before each, whatever rail it is of.
//
//	linking ──► Banks.Open ──► guard ──► a rail's Bank ──► HTTP ──► the bank
//	                            │          relay, pix, jpm
//	                            ├ a breaker for each class of operation
//	                            ├ a bulkhead: so many calls at once, so many waiting
//	                            ├ a pause, where the bank asked for one
//	                            ├ a budget of retries, for questions only
//	                            └ a deadline that holds even for a rail that ignores it
//
// # What a caller may rely on
//
//  1. Every call ends within Limits.Total (8 s), the wait for its turn and the
//     retries included. A till waits 10 s.
//  2. Every error is a *linking.BankError. Class not_sent means that nothing
//     reached the bank: it was refused here, or no connection came about. Unknown
//     means anything else that is no answer: it may have been done.
//  3. Only questions are asked again. What changes something at the bank is sent
//     once, and its caller asks with Get before it sends again.
//  4. What a bank says is believed only as far as it is well formed and about the
//     request that was asked for. The rails never guess: an unreadable answer is
//     class unknown. Whether the content is what was asked for is for linking to
//     compare.
//
// # The breaker
//
// One per connection and class of operation: token, create, mutate, read. A bank
// whose writes fail can still be asked; a merchant with a revoked certificate does
// not shut the bank for others.
//
//	counts against the bank: no connection, timeouts, 5xx, 408, 429 without a time
//	                         to wait, unreadable answers, and answers so slow that
//	                         the till has given up
//	counts for it:           any well-formed answer, a refusal included
//	does not count:          our own caller gave up; credentials refused (which is
//	                         told apart, see BreakerState.Denied); an answer that
//	                         names a time to wait
//
// It opens at five failures in a row, or when half of ten or more calls failed
// within half a minute. It stays open for 10 s, then twice as long each time, to a
// minute, less a random part. The first call after that is the probe, and the
// probe is always a question: before anything is made or changed at a bank that
// was ill, some request is asked for. Since every call has an end, no probe can
// keep the breaker half-open.
//
// # What is not here
//
// No decision about a request, no store, no queue. Nothing is remembered over a
// restart.
package bankapi
