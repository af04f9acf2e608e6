// Package relay is the rail for everybody else: the operator's own small service
// in front of any payment provider, in any language. Placard calls it, it calls
// the provider. The wire is Placard's own to define; openapi.yaml beside this file
// defines it, and example/ holds a small relay to begin with.
//
// # The rules of the wire
//
//  1. A request is made and revised by PUT with a revision number. The same id and
//     revision again changes nothing and answers the present state, so a call
//     whose answer was lost may be repeated; the same revision with other content,
//     or an older one, is refused with 409.
//  2. Every answer about a request is the whole request as the provider sees it.
//     What Placard shows to a payer is only what such an answer confirmed.
//  3. A request ends by DELETE or, if the relay says ends_itself, at expires_at.
//     Where a payer was faster, DELETE is refused with 409 in_flight or paid.
//  4. A callback is a hint that carries nothing but the id. Placard asks.
//  5. Refusals are problem documents (RFC 9457) with a stable code. Anything else
//     but a readable answer means that nothing is known: a bare 404 of some proxy
//     is not the relay saying that it never heard of the request.
//
// # Signatures
//
// Both directions are signed as in Standard Webhooks: an HMAC-SHA256 under a
// shared secret over webhook-id, webhook-timestamp and body, valid for five
// minutes. So that a signed call cannot be turned into another one without a body
// (a GET into a DELETE), the webhook-id of a call to the relay names what is
// called:
//
//	webhook-id: 7QK2…9XC DELETE /requests/01J8…
//
// The relay verifies the signature with any library, and then that the id ends
// with its own method and target: the path after its base URL, with the query. A
// callback's webhook-id never has a blank, so neither direction can be played back
// into the other.
//
// To change the secret, give both sides the new and the old one; each signs with
// all it has and accepts any.
package relay
