package simulator

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"placard/linking"
)

//go:embed app.html
var appSource string

//go:embed app.css
var appStyle string

// appPage is the payer's bank app. It is a page, so that any phone that can scan
// can pay; it needs no script.
var appPage = template.Must(template.New("app").Parse(appSource))

// stylePolicy allows the page's one style sheet and nothing else.
var stylePolicy = func() string {
	sum := sha256.Sum256([]byte(appStyle))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}()

type appView struct {
	Style     template.CSS
	Notice    string
	Merchant  string
	Amount    string
	Currency  linking.Currency
	Reference string
	Note      string
	Revision  int
	Payable   bool
	Min, Max  string // set: the payer chooses
	Heading   string
	ReturnURL string
	Scan      bool // it asks for a code
	Code      string
}

var appHeadings = map[linking.BankStatus]string{
	linking.BankOpen:       "Payment request",
	linking.BankAuthorised: "Payment authorised",
	linking.BankProcessing: "Payment under way",
	linking.BankPaid:       "Paid",
	linking.BankClosed:     "This request has ended",
	linking.BankExpired:    "This request has expired",
	linking.BankRejected:   "This request has ended",
}

func (s *Simulator) mountApp(mux *http.ServeMux) {
	mux.HandleFunc("GET /app/{id}", func(w http.ResponseWriter, r *http.Request) {
		req, err := s.ledger.get("", r.PathValue("id"))
		if err != nil {
			s.showApp(w, http.StatusNotFound, appView{Heading: "There is no such request"})
			return
		}
		s.showApp(w, http.StatusOK, viewOf(req, ""))
	})
	mux.HandleFunc("POST /app/{id}", s.act)
	mux.HandleFunc("GET /app", s.scan)
}

// scan is the app's way from a BR Code to what there is to pay. A browser has no
// camera for it, so that the code comes as text.
func (s *Simulator) scan(w http.ResponseWriter, r *http.Request) {
	v := appView{Heading: "Scan a code", Scan: true, Code: strings.TrimSpace(r.URL.Query().Get("code"))}
	if v.Code == "" {
		s.showApp(w, http.StatusOK, v)
		return
	}
	id, err := s.Scanned(v.Code)
	switch {
	case codeOf(err) == "brcode":
		v.Notice = "That is no code this bank can read."
		s.showApp(w, http.StatusUnprocessableEntity, v)
	case err != nil:
		v.Notice = "There is nothing to pay here."
		s.showApp(w, http.StatusNotFound, v)
	default:
		http.Redirect(w, r, "/app/"+url.PathEscape(id), http.StatusSeeOther)
	}
}

// act is a press on one of the app's two buttons.
func (s *Simulator) act(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4096)
	if err := r.ParseForm(); err != nil {
		s.showApp(w, http.StatusBadRequest, appView{Heading: "That could not be read"})
		return
	}
	id := r.PathValue("id")
	req, err := s.ledger.get("", id)
	if err != nil {
		s.showApp(w, http.StatusNotFound, appView{Heading: "There is no such request"})
		return
	}
	switch r.PostForm.Get("action") {
	case "refuse":
		req, err = s.ledger.refusePayment(id)
	case "pay":
		// Without the revision that was shown, nothing is agreed to.
		revision, _ := strconv.Atoi(r.PostForm.Get("revision"))
		o := payOrder{id: id, revision: max(revision, 1)}
		if req.max > 0 {
			amount, ok := req.money.Currency.ParseDecimal(strings.ReplaceAll(strings.TrimSpace(r.PostForm.Get("amount")), ",", "."))
			if !ok || amount < req.min || amount > req.max {
				s.showApp(w, http.StatusUnprocessableEntity, viewOf(req, "Choose an amount within the range."))
				return
			}
			o.amount = amount
		}
		req, err = s.ledger.pay(o)
	default:
		s.showApp(w, http.StatusBadRequest, viewOf(req, "Choose one of the buttons."))
		return
	}
	switch code := codeOf(err); {
	case code == "changed":
		s.showApp(w, http.StatusConflict, viewOf(req, "The amount has changed. Nothing was paid. Please look again."))
	case err != nil:
		s.showApp(w, http.StatusConflict, viewOf(req, "Nothing was paid."))
	case req.returnURL != "":
		http.Redirect(w, r, req.returnURL, http.StatusSeeOther)
	default:
		http.Redirect(w, r, "/app/"+url.PathEscape(id), http.StatusSeeOther)
	}
}

func viewOf(r requestSnapshot, notice string) appView {
	c := r.money.Currency
	v := appView{
		Notice: notice, Merchant: r.merchant, Amount: c.Decimal(r.owed), Currency: c,
		Reference: r.reference, Note: r.note, Revision: r.revision, Payable: r.payable,
		Heading: appHeadings[r.status], ReturnURL: r.returnURL,
	}
	if r.max > 0 && r.payable {
		v.Min, v.Max = c.Decimal(r.min), c.Decimal(r.max)
	}
	return v
}

func (s *Simulator) showApp(w http.ResponseWriter, status int, v appView) {
	v.Style = template.CSS(appStyle)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	// No form-action: browsers hold it against the way back to the merchant too. Frames
	// are fine, as no money can be clicked away here: the demo shows a phone in one.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+stylePolicy+"; base-uri 'none'")
	w.WriteHeader(status)
	appPage.Execute(w, v)
}
