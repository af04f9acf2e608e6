package gateway

import (
	"crypto/sha256"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// People log in with a cookie. It holds a random secret and nothing else; what it is
// good for stands in the store. A call that carries an API key is the key's, whatever
// cookies it has.

// cookie is the name of a cookie here. Over https, __Host- keeps other hosts of the
// domain from setting it.
func (s *Server) cookie(name string) string {
	if s.https {
		return "__Host-" + name
	}
	return name
}

const (
	sessionCookie = "placard_session"
	deviceCookie  = "placard_device"
	deviceAge     = 400 * 24 * time.Hour // browsers keep nothing longer
)

func (s *Server) cookieOf(c *fiber.Ctx, name string) string {
	return string(c.Context().Request.Header.Cookie(s.cookie(name)))
}

// setCookie gives the browser a secret; of age 0 until it is closed, below 0 never.
func (s *Server) setCookie(c *fiber.Ctx, name, value string, age time.Duration) {
	k := &fiber.Cookie{Name: s.cookie(name), Value: value, Path: "/", HTTPOnly: true, Secure: s.https, SameSite: fiber.CookieSameSiteLaxMode}
	switch {
	case age > 0:
		k.MaxAge = int(age.Seconds())
	case age < 0:
		k.Expires = time.Unix(1, 0)
	default:
		k.SessionOnly = true
	}
	c.Cookie(k)
}

// fromOurPage refuses a change that comes with a session's cookie and not from a page of
// ours. It is sameOrigin, but that whoever says nothing of where he comes from is
// refused: every browser that keeps cookies says it.
func (s *Server) fromOurPage(c *fiber.Ctx) error {
	if c.Method() == fiber.MethodGet || c.Method() == fiber.MethodHead {
		return nil
	}
	site, origin := c.Get("Sec-Fetch-Site"), c.Get(fiber.HeaderOrigin)
	if site == "same-origin" || site == "" && origin != "" && s.ownOrigin(origin, string(c.Context().Host())) {
		return nil
	}
	return &linking.Error{Kind: linking.Forbidden, Code: "forbidden", Detail: "This came from a page of another site."}
}

// visitor is who has the session that the call's cookie is of. Nobody: an error of
// the kind Unauthorized. Opening a page and changing something keep a session alive;
// what scripts ask for by themselves does not.
func (a *api) visitor(c *fiber.Ctx) (linking.Caller, error) {
	if err := a.fromOurPage(c); err != nil {
		return linking.Caller{}, err
	}
	who, err := a.svc.Admit(c.UserContext(), a.cookieOf(c, sessionCookie))
	if err != nil {
		return who, err
	}
	callOf(c).merchant = who.Merchant
	if c.Method() != fiber.MethodGet || c.Get("Sec-Fetch-Mode") == "navigate" || c.Accepts(fiber.MIMEApplicationJSON, fiber.MIMETextHTML) == fiber.MIMETextHTML {
		if err := a.svc.Used(c.UserContext(), who); err != nil && !linking.IsKind(err, linking.Uncertain) {
			return who, err
		}
	}
	return who, nil
}

// signedIn is a page for people of some roles. Whoever is not logged in is led to the
// login, and back.
func (a *api) signedIn(roles []linking.Role, page func(c *fiber.Ctx, who linking.Caller) error) fiber.Handler {
	return func(c *fiber.Ctx) error {
		who, err := a.visitor(c)
		if linking.IsKind(err, linking.Unauthorized) {
			return c.Redirect("/login?next="+url.QueryEscape(landing(askedFor(c))), http.StatusSeeOther)
		}
		if err != nil {
			return err
		}
		if !slices.Contains(roles, who.Role) {
			return &linking.Error{Kind: linking.Forbidden, Code: "forbidden", Detail: "The role " + string(who.Role) + " may not open this."}
		}
		return page(c, who)
	}
}

// askedFor is the page that somebody wanted, or whose form he sent.
func askedFor(c *fiber.Ctx) string {
	if c.Method() != fiber.MethodGet {
		return c.Path()
	}
	return c.OriginalURL()
}

// ourPages are the addresses that a login may lead on to.
var ourPages = regexp.MustCompile(`^/(till/[0-9A-Za-z-]{1,40}|inbox(/[0-9A-Za-z-]{1,40})?|settings(/[a-z]{1,20})?|print|agent|account|docs|demo)(\?[0-9A-Za-z_.~%&=+-]{0,500})?$`)

// landing is where to go after a login: where somebody wanted to go, if that is a page
// of ours for people, or else his own page.
func landing(next string) string {
	if ourPages.MatchString(next) {
		return next
	}
	return "/account"
}

// formOf reads the fields of a form, each given once.
func formOf(c *fiber.Ctx) (url.Values, error) {
	raw, _, err := bodyOf(c, fiber.MIMEApplicationForm)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		return nil, malformed("The form is not well-formed.")
	}
	return form, nil
}

// nameKey makes a limiter count by login name.
func nameKey(name string) netip.Prefix {
	sum := sha256.Sum256([]byte(strings.ToLower(strings.TrimSpace(name))))
	return netip.PrefixFrom(netip.AddrFrom16([16]byte(sum[:16])), 128)
}

// Logins that may be tried each minute, and at once, from one address and with one name.
const (
	loginsPerMinute = 10
	loginsAtOnce    = 20
	namePerMinute   = 10
	nameAtOnce      = 30
)

// mayTry counts a login before it is looked at.
func (a *api) mayTry(c *fiber.Ctx, name string) error {
	now := time.Now()
	retry, ok := a.tries.take(limitPrefix(callOf(c).from), now)
	if ok {
		retry, ok = a.tried.take(nameKey(name), now)
	}
	if !ok {
		return &linking.Error{Kind: linking.Limited, Code: "rate_limited", Detail: "Too many logins were tried; wait a moment.", Retry: retry}
	}
	return nil
}

// loginPage asks who is there: by PIN on a paired device, by name and password, or by
// an API key.
func (a *api) loginPage(c *fiber.Ctx) error {
	return a.showLogin(c, fiber.StatusOK, landing(c.Query("next")), "", "")
}

func (a *api) showLogin(c *fiber.Ctx, status int, next, user, notice string) error {
	d := a.desk(c, "login")
	d["Next"], d["User"], d["Notice"] = next, user, notice
	if device, err := a.svc.Device(c.UserContext(), a.cookieOf(c, deviceCookie)); err == nil {
		cashiers, err := a.svc.Cashiers(c.UserContext(), device)
		if err != nil {
			return err
		}
		d["Device"], d["Cashiers"] = device, cashiers
	} else if !linking.IsKind(err, linking.NotFound) {
		return err
	}
	return a.render(c, "login.html", scriptsOnly, status, d)
}

// login opens a session. An older one of the browser is ended: its secret may be known
// to somebody else.
func (a *api) login(c *fiber.Ctx) error {
	form, err := formOf(c)
	if err != nil {
		return err
	}
	next := landing(form.Get("next"))
	secret := ""
	switch {
	case form.Has("pin"):
		id, ok := linking.ParseStaffID(form.Get("staff"))
		if err = a.mayTry(c, string(id)); err == nil {
			if !ok {
				err = &linking.Error{Kind: linking.Unauthorized, Code: "unauthorized", Detail: "That is not the PIN."}
			} else {
				_, secret, err = a.svc.LoginOnDevice(c.UserContext(), a.cookieOf(c, deviceCookie), id, form.Get("pin"))
			}
		}
	case form.Has("key"):
		if err = a.mayTry(c, "a key"+callOf(c).from.String()); err == nil {
			_, secret, err = a.svc.LoginWithKey(c.UserContext(), strings.TrimSpace(form.Get("key")))
		}
	default:
		if err = a.mayTry(c, form.Get("user")); err == nil {
			_, secret, err = a.svc.Login(c.UserContext(), form.Get("user"), form.Get("password"))
		}
	}
	switch {
	case linking.IsKind(err, linking.Limited):
		c.Set(fiber.HeaderRetryAfter, "60")
		return a.showLogin(c, fiber.StatusTooManyRequests, next, short(form.Get("user")), "limited")
	case linking.IsKind(err, linking.Unauthorized), linking.IsKind(err, linking.NotFound):
		notice := "wrong_password"
		if form.Has("pin") {
			notice = "wrong_pin"
		} else if form.Has("key") {
			notice = "wrong_key"
		}
		return a.showLogin(c, fiber.StatusUnauthorized, next, short(form.Get("user")), notice)
	case err != nil:
		return err
	}
	if err := a.endSession(c); err != nil {
		return err
	}
	a.setCookie(c, sessionCookie, secret, 0)
	return c.Redirect(next, http.StatusSeeOther)
}

// endSession ends the session that the browser has, if it has one.
func (a *api) endSession(c *fiber.Ctx) error {
	old, err := a.svc.Admit(c.UserContext(), a.cookieOf(c, sessionCookie))
	if err != nil {
		if linking.IsKind(err, linking.Unauthorized) {
			return nil
		}
		return err
	}
	return a.svc.Logout(c.UserContext(), old)
}

func (a *api) logout(c *fiber.Ctx) error {
	if err := a.fromOurPage(c); err != nil {
		return err
	}
	if err := a.endSession(c); err != nil {
		return err
	}
	a.setCookie(c, sessionCookie, "", -1)
	next := "/login"
	if form, err := formOf(c); err == nil && form.Has("next") { // the next cashier goes on at the same till
		next += "?next=" + url.QueryEscape(landing(form.Get("next")))
	}
	return c.Redirect(next, http.StatusSeeOther)
}

// stay is what a page says when somebody has touched it: the session goes on.
func (a *api) stay(c *fiber.Ctx) error {
	if _, err := a.visitor(c); err != nil {
		return err
	}
	return c.SendStatus(http.StatusNoContent)
}

// joinPage lets in who was invited: he chooses a login name, a password, and a PIN.
func (a *api) joinPage(c *fiber.Ctx) error {
	secret, p, err := a.invited(c)
	if err != nil {
		return err
	}
	return a.showJoin(c, fiber.StatusOK, secret, p, "", "")
}

func (a *api) showJoin(c *fiber.Ctx, status int, secret string, p *linking.Staff, user, notice string) error {
	m, err := a.svc.Merchant(c.UserContext(), p.Merchant)
	if err != nil {
		return err
	}
	d := a.desk(c, "join")
	d["Person"], d["Merchant"], d["Secret"], d["User"], d["Notice"] = p, m, secret, user, notice
	d["Sells"] = slices.Contains(tills, p.Role)
	return a.render(c, "join.html", scriptsOnly, status, d)
}

// invited finds whom the address's secret is for. Whoever guesses is slowed down.
func (a *api) invited(c *fiber.Ctx) (string, *linking.Staff, error) {
	if err := a.guesses(c); err != nil {
		return "", nil, err
	}
	secret := secretParam(c)
	p, err := a.svc.Invitation(c.UserContext(), secret)
	return secret, p, a.guessed(c, err)
}

// guesses refuses who has asked for too much that is not there.
func (a *api) guesses(c *fiber.Ctx) error {
	if retry, blocked := a.unknown.blocked(limitPrefix(callOf(c).from), time.Now()); blocked {
		return &linking.Error{Kind: linking.Limited, Code: "rate_limited", Detail: "Too many unknown addresses were asked for; wait a moment.", Retry: retry}
	}
	return nil
}

func (a *api) guessed(c *fiber.Ctx, err error) error {
	if linking.IsKind(err, linking.NotFound) {
		a.unknown.take(limitPrefix(callOf(c).from), time.Now())
	}
	return err
}

func (a *api) join(c *fiber.Ctx) error {
	secret, p, err := a.invited(c)
	if err != nil {
		return err
	}
	form, err := formOf(c)
	if err != nil {
		return err
	}
	in := linking.Joining{User: form.Get("user"), Password: form.Get("password"), PIN: strings.TrimSpace(form.Get("pin"))}
	if form.Get("again") != in.Password {
		return a.showJoin(c, fiber.StatusUnprocessableEntity, secret, p, in.User, "e_again")
	}
	if err := a.mayTry(c, string(p.ID)); err != nil {
		return err
	}
	p, err = a.svc.Join(c.UserContext(), secret, in)
	if notice := a.said(c, err); notice != "" {
		if p, err = a.svc.Invitation(c.UserContext(), secret); err != nil {
			return err
		}
		return a.showJoin(c, fiber.StatusUnprocessableEntity, secret, p, in.User, notice)
	}
	if err != nil {
		return err
	}
	_, session, err := a.svc.Login(c.UserContext(), p.User, in.Password)
	if err != nil {
		return err
	}
	if err := a.endSession(c); err != nil {
		return err
	}
	a.setCookie(c, sessionCookie, session, 0)
	return c.Redirect("/account", http.StatusSeeOther)
}

// pairPage asks whether this device is to be paired: to open a link does nothing yet,
// since programs open links too.
func (a *api) pairPage(c *fiber.Ctx) error {
	if err := a.guesses(c); err != nil {
		return err
	}
	device, err := a.svc.Pairing(c.UserContext(), secretParam(c))
	if err := a.guessed(c, err); err != nil {
		return err
	}
	m, err := a.svc.Merchant(c.UserContext(), device.Merchant)
	if err != nil {
		return err
	}
	d := a.desk(c, "pair")
	d["Device"], d["Merchant"], d["Secret"] = device, m, secretParam(c)
	return a.render(c, "pair.html", scriptsOnly, fiber.StatusOK, d)
}

// pair makes the browser the device's. Whoever was logged in on it is logged out.
func (a *api) pair(c *fiber.Ctx) error {
	if err := a.guesses(c); err != nil {
		return err
	}
	_, secret, err := a.svc.PairDevice(c.UserContext(), secretParam(c))
	if err := a.guessed(c, err); err != nil {
		return err
	}
	if err := a.endSession(c); err != nil {
		return err
	}
	a.setCookie(c, sessionCookie, "", -1)
	a.setCookie(c, deviceCookie, secret, deviceAge)
	return c.Redirect("/login", http.StatusSeeOther)
}
