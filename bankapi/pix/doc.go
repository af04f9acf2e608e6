// Package pix is the rail for every bank that speaks API Pix, the interface that the
// Banco Central do Brasil prescribes for merchants' systems (bacen/pix-api, release
// 2.9.0), and holds the codec of the BR Code, which is what a QR code for Pix says.
//
//	Placard                       API Pix
//	payment request               cob (immediate) or cobv (by a due date); its txid is
//	                              the request's id
//	a printed code's location     loc: the location's URL stands in the BR Code, and the
//	                              payer's bank fetches there what is to be paid
//	attach                        PUT /cob with that loc, or PATCH
//	close                         PATCH status REMOVIDA_PELO_USUARIO_RECEBEDOR
//	unlink                        DELETE /loc/{id}/txid; the charge stays payable for who
//	                              has seen it, so it is closed first
//	payment, its id               pix, endToEndId
//	refund                        PUT /pix/{e2eid}/devolucao/{id}
//
// # What the interface does not do
//
// It has no status for a payment under way: money is there or it is not, so that
// nothing is ever "processing". It does not end a charge at its expiry: the charge is
// no longer shown, stays ATIVA, and is removed by us. It writes over what is there
// without a word; our own revision stands in the charge's additional information, and
// what was sent from here once is looked at before it is sent again. A charge that was
// removed can still get money from who fetched it before, and one that was paid may
// have got another amount: only its payments count, whatever its status says.
//
// # Settings and secrets of a connection
//
//	url             base URL of the interface, such as https://pix.bank.example/v2
//	token_url       where tokens are to be had; every bank has an address of its own
//	token_auth      how the client shows who it is there: basic_form (the default),
//	                basic_json, secret_form, or certificate (the TLS certificate alone)
//	client_id       with the secret client_secret, unless token_auth is certificate
//	scopes          those to ask for, with blanks between them; left out: all this rail
//	                uses. What is left out there is an ability the connection lacks.
//	chave           the Pix key that gets the money
//	merchant_name   stands in every code, 25 characters without accents; merchant_city
//	                likewise, 15
//	initiation      12 (the default) or none: whether a code has a point of initiation
//	max_expiry_days the longest a charge may run, 365 unless set
//	ca_pem          the authorities to trust, instead of the system's
//	cert_file, key_file  or the secrets cert_pem and key_pem: the certificate the bank
//	                knows the merchant by. Files are read again when they change.
//	callback_auth   how a callback shows that it is the bank's: secret (in the address
//	                the bank is told), header (set by the operator's proxy, which knows
//	                the bank's certificate), certificate (seen by the gateway's own
//	                listener); left out: no callback is taken, and payments are found by
//	                asking. With the secret callback_secret, callback_header, or
//	                callback_certificates.
package pix
