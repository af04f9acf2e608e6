package bankapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"placard/linking"
)

// Seal implements linking.Banks: what a person entered is tried out as far as that
// goes without a call, and goes into the connection with its secrets encrypted.
func (b *Banks) Seal(c *linking.Connection, settings, secrets map[string]string) error {
	rail, ok := b.rails[c.Rail]
	if !ok {
		return BadSetting("rail", "unknown", fmt.Sprintf("There is no rail named %q here.", c.Rail))
	}
	hidden := make(map[string]Secret, len(secrets))
	for name, text := range secrets {
		hidden[name] = NewSecret(text)
	}
	bank, err := rail.Open(Setup{
		Connection: c.ID, Settings: maps.Clone(settings), Secrets: hidden,
		Token: func(ctx context.Context, fetch func(context.Context) error) error { return fetch(ctx) },
		Client: func(t *tls.Config) *http.Client {
			if t == nil {
				return b.shared
			}
			return NewClient(b.limits, t)
		},
	})
	if err != nil {
		return err
	}
	(&opened{guard: &guard{bank: bank}}).drop()
	if b.sealer == nil && len(hidden) > 0 {
		return errors.New("there is no key to seal credentials with")
	}
	c.Settings, c.Sealed, c.Secrets = settings, nil, slices.Sorted(maps.Keys(secrets))
	if len(hidden) > 0 {
		c.Sealed, err = b.sealer.Seal(c.ID, c.Rail, hidden)
	}
	return err
}

// Reseal implements linking.Banks.
func (b *Banks) Reseal(c *linking.Connection, settings map[string]string) error {
	if b.sealer == nil {
		return errors.New("there is no key to open sealed credentials with")
	}
	have, err := b.sealer.Open(c.ID, c.Rail, c.Sealed)
	if err != nil {
		return err
	}
	secrets := make(map[string]string, len(have))
	for name, s := range have {
		secrets[name] = s.Reveal()
	}
	return b.Seal(c, settings, secrets)
}

// Steps of Probe, in their order.
const (
	StepReach  = "reach"  // the bank answers, and lets us in: a token, where it wants one
	StepCreate = "create" // it makes a request
	StepRead   = "get"    // it names that request as it was asked
	StepCancel = "cancel" // it ends it again

	// StepCallbacks is where the bank is told where its callbacks go. Only rails that
	// have to tell it beforehand have this step, and it comes last.
	StepCallbacks = "callbacks"
)

// Probe implements linking.Banks. The request it makes at the bank is for the amount
// and until the moment that ask says; it is closed again, also after a failure.
func (b *Banks) Probe(ctx context.Context, c *linking.Connection, ask linking.Ask) (steps []linking.ProbeStep) {
	step := func(name string, err error) bool {
		s := linking.ProbeStep{Step: name, OK: err == nil}
		if err != nil {
			s.Code, s.Detail = "failed", "The connection cannot work as it is set up."
			if e, ok := errors.AsType[*linking.BankError](err); ok {
				s.Code, s.Detail = e.Code, e.Detail
			}
			b.log.Warn("a bank connection was tried and failed", "connection", c.ID, "rail", c.Rail, "step", name, "err", err)
		}
		steps = append(steps, s)
		return s.OK
	}
	if !step(StepReach, b.Check(ctx, c)) {
		return steps
	}
	bank, err := b.Open(c)
	if err != nil {
		step(StepCreate, err)
		return steps
	}
	st, err := bank.Put(ctx, ask)
	if err == nil && (st.ID != ask.ID || st.Money != ask.Money || st.Status != linking.BankOpen) {
		err = &linking.BankError{Class: linking.BankUnknown, Code: "not_what_was_asked", Detail: "The bank holds something else than it was asked for."}
	}
	made := step(StepCreate, err)
	ref := ask.BankRef
	ref.BankID, ref.Tag = st.BankID, st.Tag
	if made {
		if st, err = bank.Get(ctx, ref); err == nil && (st.ID != ask.ID || st.Money != ask.Money) {
			err = &linking.BankError{Class: linking.BankUnknown, Code: "not_what_was_asked", Detail: "The bank names something else than it was asked for."}
		}
		if step(StepRead, err) {
			ref.Tag = st.Tag
		}
	}
	st, err = bank.Close(ctx, ref)
	if e, ok := errors.AsType[*linking.BankError](err); ok && e.Class == linking.BankAbsent && !made {
		return steps // it never came to be
	}
	if err == nil && st.Status != linking.BankClosed && st.Status != linking.BankExpired {
		err = &linking.BankError{Class: linking.BankUnknown, Code: "still_open", Detail: "The bank did not end the request."}
	}
	if !made || !step(StepCancel, err) || !b.registers(c) {
		return steps
	}
	err = b.Register(ctx, c, ask.CallbackURL)
	if e, ok := errors.AsType[*linking.BankError](err); !ok || e.Code != "callbacks_off" { // which is how it was set up
		step(StepCallbacks, err)
	}
	return steps
}
