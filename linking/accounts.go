package linking

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"time"
)

// A customer's account is a name of the billing system's. Binding says which printed
// code stands for it: for an account's code once and for ever, for bills the one that
// was bound last. After that, billing need know no tokens.

// accountRecord is the codes of one account, in the order they were bound.
type accountRecord struct {
	Merchant MerchantID `cbor:"1,keyasint"`
	Account  string     `cbor:"2,keyasint"`
	Codes    []Token    `cbor:"3,keyasint,omitempty"`
}

const (
	maxAccount = 64
	keptBound  = 60 // codes of one account: five years of monthly bills
)

func accountKey(m MerchantID, account string) Key {
	sum := sha256.Sum256([]byte(account))
	id := appendSymbols([]byte(m), binary.BigEndian.Uint64(sum[:])>>4, 12)
	id = appendSymbols(id, binary.BigEndian.Uint64(sum[8:])>>4, 12)
	return Key{m.Shard(), kindAccount, string(id)}
}

// BindRow says that a code stands for an account.
type BindRow struct {
	Account string // 1 to 64 characters, as the billing system names it
	Code    string // the printed token
}

// BoundRow is what became of it.
type BoundRow struct {
	Account     string
	Code        Token
	Fate        FateKind // ReadBound, ReadDuplicate, ReadRefused
	Why, Detail string
}

// ReadBound: the code stands for the account from now on.
const ReadBound FateKind = "bound"

// BindAccounts binds codes to accounts, and says what became of each row. What is bound
// already stays: the same rows again change nothing. A dry run changes nothing at all;
// its rows do not know of each other.
//
// An error means that the store was away; all rows may be sent again.
func (s *Service) BindAccounts(ctx context.Context, c Caller, rows []BindRow, dry bool) ([]BoundRow, error) {
	fates := make([]BoundRow, len(rows))
	err := inGroups(ctx, len(rows), func(i int) string { return rows[i].Account }, func(ctx context.Context, i int) error {
		f := &fates[i]
		*f = BoundRow{Account: rows[i].Account, Fate: ReadRefused}
		token, err := rows[i].check()
		if err == nil {
			f.Code = token
			err = s.change(ctx, c.Merchant.Shard(), func(t *tx) (err error) {
				t.begin(c)
				f.Fate, err = t.bind(c, rows[i].Account, token)
				t.undo = t.undo || dry
				return err
			})
		}
		f.Why, f.Detail, err = refusal(err)
		if f.Why != "" {
			f.Fate = ReadRefused
		}
		return err
	})
	return fates, err
}

func (row *BindRow) check() (Token, error) {
	token, ok := ParseToken(row.Code)
	if !ok {
		return "", invalid("code", "token", "The code is the 20 characters that are printed; there is a slip in these.")
	}
	if row.Account == "" {
		return "", invalid("account", "required", "The account is needed.")
	}
	return token, text("account", row.Account, maxAccount)
}

// refusal says what is wrong with one row; an error of the store's stays one.
func refusal(err error) (why, detail string, _ error) {
	if err == nil {
		return "", "", nil
	}
	e := Problem(err)
	switch {
	case e.Kind == Unavailable || e.Kind == Uncertain || e.Kind == Internal:
		return "", "", err
	case len(e.Fields) > 0:
		return e.Fields[0].Field + "_" + e.Fields[0].Code, e.Fields[0].Message, nil
	}
	return e.Code, e.Detail, nil
}

func (t *tx) bind(c Caller, account string, token Token) (FateKind, error) {
	if token.Shard() != t.shard {
		return "", notFound("code")
	}
	code, err := t.codeFor(c, token)
	if err != nil {
		return "", err
	}
	if code.Kind == Counter {
		return "", invalid("code", "kind", "A counter's code stands for no account.")
	}
	if has := code.Metadata["account"]; has != "" && has != account {
		return "", conflict("code_bound", "The code stands for another account.")
	}
	a, err := read[accountRecord](t, accountKey(c.Merchant, account), nil)
	if err != nil {
		return "", err
	}
	if a == nil {
		a = &accountRecord{Merchant: c.Merchant, Account: account}
		if err := t.create(accountKey(c.Merchant, account), a); err != nil {
			return "", err
		}
	}
	if slices.Contains(a.Codes, token) {
		t.undo = true
		return ReadDuplicate, nil
	}
	if err := t.inUse(code); err != nil {
		return "", err
	}
	if code.Kind == Account {
		if err := t.soleAccountCode(a, code); err != nil {
			return "", err
		}
	}
	if code.Metadata["account"] == "" {
		all := maps.Clone(code.Metadata)
		if all == nil {
			all = map[string]string{}
		}
		all["account"] = account
		code.Metadata = all
	}
	if len(a.Codes) >= keptBound {
		a.Codes = slices.Delete(a.Codes, 0, 1)
	}
	a.Codes = append(a.Codes, token)
	t.emit(Event{Type: CodeChanged, Code: code.Token, Epoch: code.Epoch, Outlet: code.Outlet}, nil)
	return ReadBound, nil
}

// soleAccountCode refuses a second permanent code while the first one serves: a
// customer who pays by either would pay by both.
func (t *tx) soleAccountCode(a *accountRecord, code *Code) error {
	for _, other := range a.Codes {
		have, b, err := t.anyCode(other)
		if err != nil {
			return err
		}
		if have != nil && have.Kind == Account && have.statusIn(b) == CodeActive {
			return conflict("account_bound", "Another code that is in use stands for the account. Replace that one, or mark it as lost.")
		}
	}
	return nil
}

// codeOfAccount finds the code that stands for an account now.
func (t *tx) codeOfAccount(m MerchantID, account string) (Token, error) {
	a, err := read[accountRecord](t, accountKey(m, account), nil)
	if err != nil {
		return "", err
	}
	if a != nil {
		for _, token := range slices.Backward(a.Codes) {
			for range 8 { // replacements of replacements
				code, b, err := t.anyCode(token)
				if err != nil {
					return "", err
				}
				if code == nil || code.Merchant != m {
					break
				}
				st := code.statusIn(b)
				if st == CodeActive {
					return token, nil
				}
				if token = code.ReplacedBy; st != CodeReplaced || token == "" {
					break
				}
			}
		}
	}
	return "", &Error{Kind: NotFound, Code: "account_unbound", Detail: "No code in use stands for this account; bind one first."}
}

// inGroups calls do for each of n rows: those of a group one after the other, in their
// order, several groups at a time. It ends with the first error.
func inGroups(ctx context.Context, n int, group func(i int) string, do func(ctx context.Context, i int) error) error {
	groups := map[string][]int{}
	var order []string
	for i := range n {
		g := group(i)
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], i)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan []int)
	var workers sync.WaitGroup
	for range min(groupsAtOnce, len(order)) {
		workers.Go(func() {
			for list := range next {
				for _, i := range list {
					if err := do(ctx, i); err != nil {
						stop(err)
						return
					}
				}
			}
		})
	}
feed:
	for _, g := range order {
		select {
		case next <- groups[g]:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return storeProblem(err)
	}
	return nil
}

// groupsAtOnce is how many groups of rows are applied at a time.
const groupsAtOnce = 32

// AccountView is a customer's account and the code that stands for it now.
type AccountView struct {
	Account string
	Codes   []Token // all of them, bound first comes first
	Now     Token   // empty: none is in use
}

// Account reads an account.
func (s *Service) Account(ctx context.Context, c Caller, account string) (*AccountView, error) {
	t := s.look(ctx, c.Merchant.Shard())
	t.begin(c)
	if len(account) > 4*maxAccount {
		return nil, notFound("account")
	}
	a, err := read[accountRecord](t, accountKey(c.Merchant, account), nil)
	if err != nil || a == nil {
		return nil, storeProblem(orMissing(err, "account"))
	}
	v := &AccountView{Account: a.Account, Codes: a.Codes}
	if v.Now, err = t.codeOfAccount(c.Merchant, account); err != nil && !IsKind(err, NotFound) {
		return nil, storeProblem(err)
	}
	return v, nil
}

// A billing system's list is the office's word on what bills ask for. A row of it is
// known by all that it says: the same row again changes nothing, whenever it comes.

// BillRow is a bill as the billing system has it.
type BillRow struct {
	Account         string // the code that stands for it now is meant; or
	Code            string // the printed token
	Amount          Amount
	Currency        Currency
	Reference       string    // which bill; needed on an account's code
	IssuedAt        time.Time // of two rows about a bill, the later one holds; zero: when it arrived
	ExpiresAt       time.Time // zero: as the code's kind and the rail have it
	Customer        Customer
	Note            string
	ArrearsIncluded bool // the amount holds what was not paid before; otherwise that becomes a line
}

// BillFate is what became of a row.
type BillFate struct {
	Account     string
	Code        Token
	Reference   string
	Fate        FateKind // ReadValued, ReadDuplicate, ReadSuperseded, ReadAdjustment, ReadRefused
	Why, Detail string
	Request     RequestID
	Amount      Amount // what the code asks for then, arrears included; 0: nothing by this row
	Difference  Amount // as Fate.Difference
}

// billRowRecord remembers a row that was taken.
type billRowRecord struct {
	Merchant MerchantID `cbor:"1,keyasint"`
	Code     Token      `cbor:"2,keyasint"`
	Request  RequestID  `cbor:"3,keyasint,omitempty"`
	Fate     FateKind   `cbor:"4,keyasint"`
	InForce  place      `cbor:"5,keyasint"`
}

// sum is what a row is known by.
func (row *BillRow) sum(m MerchantID) [32]byte {
	b, err := cborOut.Marshal([]any{
		m, row.Account, row.Code, row.Amount, row.Currency, row.Reference, row.IssuedAt.Unix(), row.ExpiresAt.Unix(), row.Customer, row.Note, row.ArrearsIncluded,
	})
	if err != nil {
		panic(err) // strings and numbers: cannot fail
	}
	return sha256.Sum256(b)
}

func billRowKey(m MerchantID, sum [32]byte) Key {
	id := appendSymbols([]byte(m), binary.BigEndian.Uint64(sum[:])>>4, 12)
	id = appendSymbols(id, binary.BigEndian.Uint64(sum[8:])>>4, 12)
	return Key{m.Shard(), kindBillRow, string(id)}
}

// ImportBills takes a billing system's list, and says what became of each row. See
// BindAccounts about dry runs, and about sending rows again.
func (s *Service) ImportBills(ctx context.Context, c Caller, rows []BillRow, dry bool) ([]BillFate, error) {
	fates := make([]BillFate, len(rows))
	err := inGroups(ctx, len(rows), func(i int) string { return rows[i].Account + "\x00" + rows[i].Code }, func(ctx context.Context, i int) error {
		f := &fates[i]
		*f = BillFate{Account: rows[i].Account, Reference: rows[i].Reference, Fate: ReadRefused}
		row := rows[i]
		err := row.check()
		if err == nil {
			err = s.changeThen(ctx, c.Merchant.Shard(), func(t *tx) error {
				t.begin(c)
				*f = BillFate{Account: row.Account, Reference: row.Reference, Fate: ReadRefused}
				err := t.importBill(c, row, f)
				t.undo = t.undo || dry
				return err
			}, func(t *tx) { s.spawnCalmly(ctx, t.claims) })
		}
		f.Why, f.Detail, err = refusal(err)
		if f.Why != "" {
			*f = BillFate{Account: row.Account, Code: f.Code, Reference: row.Reference, Fate: ReadRefused, Why: f.Why, Detail: f.Detail}
		}
		return err
	})
	return fates, err
}

func (row *BillRow) check() error {
	switch {
	case (row.Account == "") == (row.Code == ""):
		return invalid("account", "one_of", "Give the account or the code, one of the two.")
	case row.Amount <= 0 || row.Amount > MaxAmount:
		return invalid("amount", "range", "The amount is from 1 to 10^15 minor units.")
	}
	for _, f := range []struct {
		name, text string
		most       int
	}{
		{"account", row.Account, maxAccount}, {"reference", row.Reference, maxReference}, {"name", row.Customer.Name, 140},
		{"email", row.Customer.Email, 254}, {"phone", row.Customer.Phone, 32}, {"tax_id", row.Customer.TaxID, 32}, {"address", row.Customer.Address, 280},
	} {
		if err := text(f.name, f.text, f.most); err != nil {
			return err
		}
	}
	return prose("note", row.Note, maxNote, "\n")
}

func (t *tx) importBill(c Caller, row BillRow, f *BillFate) error {
	token, ok := ParseToken(row.Code)
	var err error
	switch {
	case row.Account != "":
		if token, err = t.codeOfAccount(c.Merchant, row.Account); err != nil {
			return err
		}
	case !ok:
		return invalid("code", "token", "The code is the 20 characters that are printed; there is a slip in these.")
	case token.Shard() != t.shard:
		return notFound("code")
	}
	f.Code = token
	sum := row.sum(c.Merchant)
	known, err := read[billRowRecord](t, billRowKey(c.Merchant, sum), nil)
	if err != nil {
		return err
	}
	if known != nil {
		return t.importedBefore(known, f)
	}
	code, err := t.codeFor(c, token)
	if err != nil {
		return err
	}
	if code.Kind == Counter {
		return invalid("code", "kind", "A counter's code has no bills to value.")
	}
	if err := t.inUse(code); err != nil {
		return err
	}
	// Of two rows about a bill that were issued at the same time, what they say decides,
	// and not which came first; rows that do not say when go by when they came.
	said := row
	said.Account, said.Code = "", ""
	tie := said.sum("")
	rd := &Reading{
		Merchant: c.Merchant, Code: token, Amount: row.Amount, Currency: row.Currency, Account: code.Metadata["account"], Reference: row.Reference,
		RecordedAt: row.IssuedAt.UTC().Truncate(time.Second), Sequence: binary.BigEndian.Uint64(tie[:]) >> 1, Office: true, By: c.By,
	}
	if now := t.now.Truncate(time.Second); row.IssuedAt.IsZero() || row.IssuedAt.After(t.now) {
		rd.RecordedAt, rd.Sequence = now, uint64(t.now.UnixNano())
	}
	terms := &billTerms{row.Customer, row.ExpiresAt.UTC(), row.Note, row.ArrearsIncluded}
	if err := t.valueBill(c, code, rd, terms); err != nil {
		return err
	}
	if rd.Fate == ReadHeld {
		return conflict("payment_in_flight", "Someone is paying the bill at this moment; send the row again later.")
	}
	f.Fate, f.Request, f.Difference = rd.Fate, rd.Request, rd.Difference
	if rd.Request != "" && (rd.Fate == ReadValued || rd.Fate == ReadDuplicate) {
		r, err := t.request(rd.Request)
		if err != nil || r == nil {
			return orMissing(err, "payment request")
		}
		f.Amount = r.Content.Amount
	}
	return t.create(billRowKey(c.Merchant, sum), &billRowRecord{c.Merchant, token, rd.Request, rd.Fate, rd.place()})
}

// importedBefore says how a row that is known stands now.
func (t *tx) importedBefore(known *billRowRecord, f *BillFate) error {
	t.undo = true
	f.Fate, f.Code, f.Request = ReadDuplicate, known.Code, known.Request
	all, err := read[billsRecord](t, billsKey(known.Code), nil)
	if err != nil || all == nil {
		return err
	}
	for _, b := range all.Bills {
		if b.Request == known.Request && known.InForce.compare(b.InForce) < 0 {
			f.Fate = ReadSuperseded
		}
	}
	return nil
}
