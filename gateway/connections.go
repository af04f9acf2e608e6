package gateway

import (
	"net/http"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

type abilitiesView struct {
	Currencies []linking.Currency `json:"currencies"`
	MaxExpiry  *int64             `json:"max_expiry"` // seconds; null: no limit
	OpenEnded  bool               `json:"open_ended"`
	NeedsDebt  bool               `json:"needs_debtor"`
	Revise     bool               `json:"revise"`
	Refund     bool               `json:"refund"`
	Capture    bool               `json:"capture"`
	BankLink   bool               `json:"bank_link"`
	Adjustable bool               `json:"amount_adjustable"`
	Charges    []linking.Charge   `json:"charges"`
	Methods    []string           `json:"methods"`
}

// connectionView is a bank connection. Secrets go in and never come out: only their
// names are told.
type connectionView struct {
	ID          linking.ConnectionID `json:"id"`
	Rail        string               `json:"rail"`
	Default     bool                 `json:"default"`
	Settings    map[string]string    `json:"settings"`
	Secrets     []string             `json:"secrets"`
	CallbackURL string               `json:"callback_url"`
	Abilities   *abilitiesView       `json:"abilities"` // null: the bank has not said yet
	Breakers    []BreakerView        `json:"breakers"`
	Revision    int                  `json:"revision"`
	CreatedAt   *string              `json:"created_at"`
}

// BreakerView is the state of one breaker of a connection.
type BreakerView struct {
	Class string  `json:"class"`
	State string  `json:"state"`
	Since *string `json:"since"`
}

func (a *api) viewConnection(v linking.ConnectionView) connectionView {
	out := connectionView{
		ID: v.ID, Rail: v.Rail, Default: v.Default, Settings: mapOf(v.Settings), Secrets: listOf(v.Secrets),
		CallbackURL: a.svc.CallbackURL(v.Connection), Breakers: []BreakerView{}, Revision: v.Revision, CreatedAt: stamp(v.CreatedAt),
	}
	if a.breakers != nil {
		out.Breakers = listOf(a.breakers(v.ID))
	}
	if ab := v.Abilities; ab != nil {
		out.Abilities = &abilitiesView{
			Currencies: listOf(ab.Currencies), OpenEnded: ab.OpenEnded, NeedsDebt: ab.NeedsDebtor, Revise: ab.Revise, Refund: ab.Refund,
			Capture: ab.Capture, BankLink: ab.BankLink, Adjustable: ab.Adjustable, Charges: listOf(ab.Charges), Methods: listOf(ab.Methods),
		}
		if ab.MaxExpiry > 0 {
			s := int64(ab.MaxExpiry.Seconds())
			out.Abilities.MaxExpiry = &s
		}
	}
	return out
}

func railParam(c *fiber.Ctx) (string, error) {
	s, err := pathParam(c, "rail")
	if err != nil || len(s) > 20 || !printable(s) {
		return "", &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such rail."}
	}
	return s, nil
}

func (a *api) getConnection(c *fiber.Ctx, who linking.Caller) error {
	rail, err := railParam(c)
	if err != nil {
		return err
	}
	v, err := a.svc.BankConnection(c.UserContext(), who.Merchant, rail)
	if err != nil {
		return err
	}
	return c.JSON(a.viewConnection(v))
}

type connectionBody struct {
	Settings map[string]string `json:"settings" validate:"max=30,dive,keys,printable,max=40,endkeys,max=20000"`
	Secrets  map[string]string `json:"secrets" validate:"max=20,dive,keys,printable,max=40,endkeys,max=20000"`
}

// putConnection makes a bank connection, or changes the one there is. Without secrets
// the ones it has stay.
func (a *api) putConnection(c *fiber.Ctx, who linking.Caller) (any, error) {
	rail, err := railParam(c)
	if err != nil {
		return nil, err
	}
	var in connectionBody
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	if _, err := a.svc.ConnectBank(c.UserContext(), who.Merchant, rail, in.Settings, in.Secrets); err != nil {
		return nil, err
	}
	v, err := a.svc.BankConnection(c.UserContext(), who.Merchant, rail)
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, body: a.viewConnection(v)}, nil
}

type probeStepView struct {
	Step   string  `json:"step"`
	OK     bool    `json:"ok"`
	Code   *string `json:"code,omitempty"`
	Detail *string `json:"detail,omitempty"`
}

// checkConnection tries a connection for real and says which step the bank refused.
func (a *api) checkConnection(c *fiber.Ctx, who linking.Caller) (any, error) {
	rail, err := railParam(c)
	if err != nil {
		return nil, err
	}
	waiting(c, maxWait)
	steps, err := a.svc.ProbeBank(c.UserContext(), who.Merchant, rail)
	if err != nil {
		return nil, err
	}
	out := struct {
		OK    bool            `json:"ok"`
		Steps []probeStepView `json:"steps"`
	}{OK: true}
	for _, s := range steps {
		out.OK = out.OK && s.OK
		out.Steps = append(out.Steps, probeStepView{s.Step, s.OK, orNull(s.Code), orNull(s.Detail)})
	}
	return &answer{status: http.StatusOK, body: out}, nil
}
