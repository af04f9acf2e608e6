// Package jpm is the rail to J.P. Morgan's Request to Pay via QR Code, version 1, in
// Brazil, Singapore and Hong Kong.
//
// It is written from the published description of the interface (its version 1.4.4),
// which leaves much unsaid. Where it is silent this package does what is safe under
// every reading, and where a choice is needed it is a setting.
//
// # What the markets can do
//
//	                     BR                    SG            HK
//	currencies           BRL                   SGD           HKD, CNY
//	id of a request      ours                  the bank's; ours is the endToEndId
//	revise               yes                   no            no
//	bank link            yes                   no            no
//	kinds                immediate, due date   until a time  until a time
//	ends by itself       yes                   yes           yes
//	refunds, capture     not in this interface
//
// # Settings
//
//	url               https://…/receivables/request-to-pay/v1
//	country           BR, SG or HK
//	creditor_scheme   BR: CPF CNPJ EVP EMAL MOBN · SG: UEN · HK: SVID MOBN EMAL
//	creditor_account  the payee's key of that scheme
//	merchant_name     stands in printed codes; in Brazil at most 25 letters
//	merchant_city     likewise, at most 15
//	charges           BR: immediate (default), due_date, or both with a comma between
//	grace_days        BR: days a due-date request can be paid after its due date; 0
//	unlink            BR: how a payment link is emptied, see below; cancel
//	pix_url           BR: base of the Pix interface, for unlink = pix_delete; as url
//	search_cursor     none (default), body, or query: see below
//
//	oauth             none (default), client_secret or jwt
//	token_url, client_id, scope, resource, assertion_kid
//	sign              none (default) or jose: bodies are sent as signed JWS (RS256)
//	signing_kid       the kid in their header
//	ca_pem            the certificate authorities to trust instead of the system's
//	cert_file, key_file   the client's certificate for mutual TLS, in the operator's
//	                  directory; read again when they change
//
//	callback_auth         header, certificate or signature; none: no callback is taken
//	callback_header       the header a proxy sets once it knows the bank's certificate
//	callback_certificates SHA-256 fingerprints of the bank's certificates
//	callback_key          PEM of the bank's public key or keys
//
// Secrets: cert_pem and key_pem (instead of the files), client_secret,
// assertion_key_pem, signing_key_pem, callback_secret (what callback_header holds).
//
// # How a request is put
//
// The bank's update overwrites whatever it finds, and its create by PUT is the same
// call. So Put asks first: what is there already is left alone if it is what was
// asked for, never replaced by an older revision, and changed only under the ETag
// that was just read (If-Match). In Singapore and Hong Kong, where the bank gives
// the ids, it is searched for by its endToEndId, and POST goes with an
// Idempotency-Key made of our id and revision, so that a call still on its way makes
// no second one.
//
// The bank counts revisions from 0, and one for each update it took; ours count from
// 1 and may skip some. They are never compared but to tell older from newer.
//
// # When a request ends
//
// An immediate request ends a number of seconds after it was made, also if that
// number is changed later; it is sent what is left by the bank's own clock, as far as
// its Date headers tell. A due-date request ends at the midnight UTC that follows its
// due date and grace_days. It is due on the last day that ends, grace included, no
// later than the request; so the bank may end it up to a day before we do. Of such a
// request the bank says the day and not the instant, and ExpiresAt stays zero.
//
// # Links
//
// A payment link is a Pix location by another name. A request names it when it is
// made; the interface has no call to empty one. The strategies are
//
//	cancel      cancel the request it shows. The default: it is the one that the
//	            published description leaves possible. It assumes that the end of a
//	            request frees its link.
//	put_empty   update the request with an empty paymentLinkId, which the description
//	            allows by its lengths and says nothing about. Only while it is active.
//	pix_delete  DELETE {pix_url}/loc/{alternateIdentifier}/txid, the Pix standard's
//	            own. It needs the bank's word that it has it.
//
// Whichever it is, the link is asked for afterwards, and one that is not empty is an
// error of class busy.
//
// # Finding what changed
//
// The list is by when requests were made, at most a month at a time and a year back.
// Its pages have cursors, but no way is published to pass one. With search_cursor
// none a range that does not fit on a page is halved until it does.
//
// # Callbacks
//
// They are set up with the bank by hand, for the client and not for the connection,
// so one about somebody else's request is taken and leads to nothing. How they are
// proven is not published. With header, the operator's proxy asks for the bank's
// certificate (mutual TLS) and sets a header to a secret value; with certificate the
// gateway's own listener has seen it; with signature the header Signature holds the
// base 64 of a signature of the body (ECDSA or RSA with SHA-256), as on J.P. Morgan's
// commerce interfaces. Nothing in a callback is believed but whom to ask about.
package jpm
