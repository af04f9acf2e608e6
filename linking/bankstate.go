package linking

import (
	"context"
	"time"
)

// EventBank is how the bank of a connection does for one class of calls, as one gateway
// sees it: each gateway finds out for itself, and tells for itself.
type EventBank struct {
	Rail       string       `cbor:"1,keyasint"`
	Connection ConnectionID `cbor:"2,keyasint"`
	Class      string       `cbor:"3,keyasint"`           // what is called: token, create, mutate or read
	Down       bool         `cbor:"4,keyasint,omitempty"` // it failed too often, and is left alone for a while; false: it answers again
	Why        string       `cbor:"5,keyasint,omitempty"` // the code of the last failure
}

// BankMoved tells a connection's merchant that its bank stopped answering or answers
// again. It may take as long as the store does, but not more than five seconds.
func (s *Service) BankMoved(b EventBank) error {
	ctx, cancel := context.WithTimeout(s.background, 5*time.Second)
	defer cancel()
	return s.change(ctx, b.Connection.Shard(), func(t *tx) error {
		c, err := t.connection(b.Connection)
		if err != nil || c == nil {
			return err
		}
		t.merchant = c.Merchant
		t.emit(Event{Type: BankChanged, Bank: &b}, nil)
		return nil
	})
}
