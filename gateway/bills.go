package gateway

import (
	"context"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// What the utility's office sends by the ten thousand: which code stands for which
// account, and what bills ask for. See rowWork.

type accountRow struct {
	Account string `json:"account" validate:"required"`
	Code    string `json:"code" validate:"required"`
}

type boundView struct {
	rowPart
	Account *string        `json:"account"`
	Code    *linking.Token `json:"code"`
}

func (a *api) bindAccounts(c *fiber.Ctx, who linking.Caller) error {
	dry := false
	rows, lines, err := rowsCall[accountRow](c, &dry)
	if err != nil {
		return err
	}
	return answerRows(a, c, lines, &rowWork[accountRow]{
		rows:   rows,
		refuse: func(p rowPart) rowFate { return &boundView{rowPart: p} },
		apply: func(ctx context.Context, in []accountRow) ([]rowFate, error) {
			rows := make([]linking.BindRow, len(in))
			for i, r := range in {
				rows[i] = linking.BindRow(r)
			}
			fates, err := a.svc.BindAccounts(ctx, who, rows, dry)
			if err != nil {
				return nil, err
			}
			views := make([]rowFate, len(fates))
			for i, f := range fates {
				views[i] = &boundView{rowPart{Fate: string(f.Fate), Why: orNull(f.Why), Detail: orNull(f.Detail)}, orNull(f.Account), orNull(f.Code)}
			}
			return views, nil
		},
		last: func(context.Context) (map[string]any, error) { return map[string]any{"dry_run": dry}, nil },
	})
}

type accountView struct {
	Account string          `json:"account"`
	Code    *linking.Token  `json:"code"` // that stands for it now; null: none is in use
	Codes   []linking.Token `json:"codes"`
}

func (a *api) getAccount(c *fiber.Ctx, who linking.Caller) error {
	account, err := pathParam(c, "account")
	if err != nil {
		return err
	}
	v, err := a.svc.Account(c.UserContext(), who, account)
	if err != nil {
		return err
	}
	return c.JSON(accountView{v.Account, orNull(v.Now), listOf(v.Codes)})
}

// billRow is a bill as a billing system has it. What is wrong with a value is the row's
// fate: the domain says it.
type billRow struct {
	Account   string    `json:"account"`
	Code      string    `json:"code"`
	Amount    int64     `json:"amount" validate:"required"`
	Currency  string    `json:"currency" validate:"omitempty,currency"`
	Reference string    `json:"reference"`
	IssuedAt  time.Time `json:"issued_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Arrears   string    `json:"arrears" validate:"omitempty,oneof=carry included"`
	Name      string    `json:"name"`
	TaxID     string    `json:"tax_id"`
	Email     string    `json:"email" validate:"omitempty,email"`
	Phone     string    `json:"phone" validate:"omitempty,e164"`
	Address   string    `json:"address"`
	Note      string    `json:"note"`
}

type billFateView struct {
	rowPart
	Account    *string            `json:"account"`
	Code       *linking.Token     `json:"code"`
	Reference  *string            `json:"reference"`
	Request    *linking.RequestID `json:"request"`
	Amount     *int64             `json:"amount"` // what the code asks for by this row, arrears included
	Difference int64              `json:"difference"`
}

func (a *api) importBills(c *fiber.Ctx, who linking.Caller) error {
	dry := false
	rows, lines, err := rowsCall[billRow](c, &dry)
	if err != nil {
		return err
	}
	return answerRows(a, c, lines, &rowWork[billRow]{
		rows:   rows,
		refuse: func(p rowPart) rowFate { return &billFateView{rowPart: p} },
		apply: func(ctx context.Context, in []billRow) ([]rowFate, error) {
			rows := make([]linking.BillRow, len(in))
			for i, r := range in {
				rows[i] = linking.BillRow{
					Account: r.Account, Code: r.Code, Amount: linking.Amount(r.Amount), Currency: linking.Currency(r.Currency), Reference: r.Reference,
					IssuedAt: r.IssuedAt, ExpiresAt: r.ExpiresAt, ArrearsIncluded: r.Arrears == "included", Note: r.Note,
					Customer: linking.Customer{Name: r.Name, TaxID: r.TaxID, Email: r.Email, Phone: r.Phone, Address: r.Address},
				}
			}
			fates, err := a.svc.ImportBills(ctx, who, rows, dry)
			if err != nil {
				return nil, err
			}
			views := make([]rowFate, len(fates))
			for i, f := range fates {
				v := &billFateView{
					rowPart{Fate: string(f.Fate), Why: orNull(f.Why), Detail: orNull(f.Detail)}, orNull(f.Account), orNull(f.Code),
					orNull(f.Reference), orNull(f.Request), nil, int64(f.Difference),
				}
				if f.Amount > 0 {
					amount := int64(f.Amount)
					v.Amount = &amount
				}
				views[i] = v
			}
			return views, nil
		},
		last: func(context.Context) (map[string]any, error) { return map[string]any{"dry_run": dry}, nil },
	})
}
