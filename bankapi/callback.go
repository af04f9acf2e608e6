package bankapi

import (
	"context"

	"placard/linking"
)

// What a rail may need of a callback beside its headers and body, the gateway puts
// into the header map under names that no header can have, so that nobody outside
// can set them.
const (
	// CallbackTarget is the path and query the callback came to.
	CallbackTarget = ":path"

	// CallbackCertificate is the SHA-256 of the sender's TLS certificate, in small hex
	// digits. It is there only if the gateway's own listener has verified the
	// certificate; what a proxy says of one is an ordinary header.
	CallbackCertificate = ":client-certificate"
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
