package bankapi

import (
	"context"

	"placard/linking"
)

// What the gateway adds to a callback's headers.
const (
	CallbackTarget      = linking.CallbackTarget
	CallbackCertificate = linking.CallbackCertificate
)

// Register tells the bank of a connection where its callbacks go, where the bank is
// to be told so beforehand; for other rails it does nothing. An error is a
// *linking.BankError, or what Open returned.
func (b *Banks) Register(ctx context.Context, c *linking.Connection, callbackURL string) error {
	bank, err := b.Open(c)
	if err != nil {
		return err
	}
	g := bank.(*guard)
	r, ok := g.bank.(registrar)
	if !ok {
		return nil
	}
	_, err = within(ctx, g, ClassMutate, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, r.Register(ctx, callbackURL)
	})
	return err
}

// registrar is a rail's bank that has to be told where its callbacks go.
type registrar interface {
	Register(ctx context.Context, callbackURL string) error
}

// registers reports whether the bank of a connection has to be told.
func (b *Banks) registers(c *linking.Connection) bool {
	bank, err := b.Open(c)
	if err != nil {
		return false
	}
	_, ok := bank.(*guard).bank.(registrar)
	return ok
}
