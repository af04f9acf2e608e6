package linking

import (
	"crypto/sha256"
	"time"
)

// Mode says whether a merchant's money is real.
type Mode string

const (
	Test Mode = "test" // always speaks to the simulator; pages and labels say so
	Live Mode = "live"
)

// LinesShown says when a payer sees the lines of a request on a counter code.
type LinesShown string

const (
	LinesAfterPayment LinesShown = "after_payment"
	LinesAfterWord    LinesShown = "after_word" // once the payer proved to stand at the till
	LinesAlways       LinesShown = "always"
)

// LateRule is what becomes of money that came after a request had expired.
type LateRule string

const (
	LateHold   LateRule = "hold" // a person decides
	LateAccept LateRule = "accept"
	LateReturn LateRule = "return"
)

// Merchant is the tenant: the unit of isolation.
type Merchant struct {
	ID        MerchantID              `cbor:"1,keyasint"`
	Name      string                  `cbor:"2,keyasint"`
	Currency  Currency                `cbor:"3,keyasint"`
	TimeZone  string                  `cbor:"4,keyasint"`           // IANA
	DayEndsAt string                  `cbor:"5,keyasint,omitempty"` // "04:00": the business day ends then
	Mode      Mode                    `cbor:"6,keyasint"`
	VATRate   string                  `cbor:"7,keyasint,omitempty"`  // percent, default for lines
	Contact   string                  `cbor:"8,keyasint,omitempty"`  // what a payer is told when something is wrong
	HasLogo   bool                    `cbor:"9,keyasint,omitempty"`  // see logo record
	Rail      string                  `cbor:"10,keyasint,omitempty"` // the default one
	Rails     map[string]ConnectionID `cbor:"11,keyasint,omitempty"`
	Lines     LinesShown              `cbor:"12,keyasint,omitempty"`
	Late      LateRule                `cbor:"13,keyasint,omitempty"`
	Takeover  bool                    `cbor:"14,keyasint,omitempty"` // cashiers may replace what another key attached
	RefundCap Amount                  `cbor:"15,keyasint,omitempty"` // most a cashier may refund in one call; 0: nothing
	CreatedAt time.Time               `cbor:"16,keyasint"`
	// Generations are the key generations of its tokens, oldest first; new tokens
	// are made with the last.
	Generations []Generation `cbor:"17,keyasint"`
	Languages   []string     `cbor:"18,keyasint,omitempty"` // of payers' pages; empty: all
	Origins     []string     `cbor:"19,keyasint,omitempty"` // where return_url may lead
	// A reading above ReadingLimit (0: none), or more than ReadingFactor times (0: 5) the
	// meter's usual value or less than that part of it, waits for a second person.
	ReadingLimit  Amount `cbor:"60,keyasint,omitempty"`
	ReadingFactor int    `cbor:"61,keyasint,omitempty"`
	// Accounts are where its money arrives, as NormalAccount has them: statements of
	// others are refused.
	Accounts []string `cbor:"62,keyasint,omitempty"`
	// PromisePhone lets payers of an unvalued bill leave a phone number to be told by;
	// an e-mail address they may leave always.
	PromisePhone bool `cbor:"40,keyasint,omitempty"`
	// Fees are what its bank keeps of a payment, for staff to see before a link is sent.
	Fees []Fee `cbor:"80,keyasint,omitempty"`
	// Senders are the roles that may send links; none: those of SendersUnlessSaid.
	Senders []Role `cbor:"70,keyasint,omitempty"`
}

// Generation says in which ring a key generation's key is.
type Generation struct {
	No   int  `cbor:"1,keyasint"`
	Ring Ring `cbor:"2,keyasint"`
}

// RingRecord lists the keys of one ring of one shard. It is only ever added to, so
// that it may be remembered. A ring has at most two keys.
type RingRecord struct {
	Keys []RingKey `cbor:"1,keyasint"`
}

// RingKey is one generation's key.
type RingKey struct {
	Merchant   MerchantID `cbor:"1,keyasint"`
	Generation int        `cbor:"2,keyasint"`
	Key        []byte     `cbor:"3,keyasint,omitempty"` // 16 bytes; empty: lost
	// RecordOnly: the key leaked or was lost. Codes of this generation are then
	// valid only if they have a record.
	RecordOnly bool `cbor:"4,keyasint,omitempty"`
}

// Role is what a key or a person may do.
type Role string

const (
	Owner    Role = "owner"
	Manager  Role = "manager"
	Cashier  Role = "cashier"
	Agent    Role = "agent"
	Viewer   Role = "viewer"
	Platform Role = "platform"
)

// SendersUnlessSaid are the roles that may send a payment link when the merchant has
// not said otherwise.
var SendersUnlessSaid = []Role{Owner, Manager, Cashier}

// MaySend are the roles that may send links. The owner is always among them.
func (m *Merchant) MaySend() []Role {
	if len(m.Senders) == 0 {
		return SendersUnlessSaid
	}
	return m.Senders
}

// sends refuses a caller whose role the merchant lets send no links.
func (m *Merchant) sends(c Caller) error {
	if c.Role != "" && c.Role != Platform && !has(m.MaySend(), c.Role) {
		return &Error{Kind: Forbidden, Code: "forbidden", Detail: "The merchant lets the role " + string(c.Role) + " send no links."}
	}
	return nil
}

// APIKey lets a till or a back office in. Of its secret only the hash is kept:
// 160 random bits need no slow one.
type APIKey struct {
	ID        KeyID      `cbor:"1,keyasint"`
	Merchant  MerchantID `cbor:"2,keyasint"`
	Role      Role       `cbor:"3,keyasint"`
	Label     string     `cbor:"4,keyasint,omitempty"`
	Outlet    OutletID   `cbor:"5,keyasint,omitempty"` // empty: all
	Codes     []Token    `cbor:"6,keyasint,omitempty"` // empty: all
	Hash      []byte     `cbor:"7,keyasint"`
	CreatedAt time.Time  `cbor:"8,keyasint"`
	Revoked   time.Time  `cbor:"9,keyasint,omitzero"`
}

func hashSecret(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

// Outlet is a place of a merchant.
type Outlet struct {
	ID       OutletID   `cbor:"1,keyasint"`
	Merchant MerchantID `cbor:"2,keyasint"`
	Name     string     `cbor:"3,keyasint"`
}
