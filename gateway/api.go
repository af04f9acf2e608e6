package gateway

import (
	"crypto/sha256"
	"html/template"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// api is the gateway's side of the domain: it parses, asks, and shows.
type api struct {
	*Server
	svc    *linking.Service
	assets *assets
	pages  *template.Template

	payerWords, tillWords, printWords, inboxWords languages
	deskWords                                     languages // of the pages where people log in and arrange things
	payerShapes                                   shapes[payerKey, payerView]
	pictures                                      [64]string // addresses, in the order of linking.Pictures
	plainPolicy                                   pagePolicy // of a page that leads nowhere else
	policyMu                                      sync.RWMutex
	policies                                      map[string]pagePolicy // of pages that lead to a bank, by its origin

	build  Build
	demo   *Demo
	agents agents
	// breakers tells the state of a connection's breakers; nil: nobody knows.
	breakers func(linking.ConnectionID) []BreakerView
	unknown  *limiter      // slows down who asks for codes that do not exist
	tries    *limiter      // slows down who tries logins, by address
	tried    *limiter      // slows down logins with one name
	presses  chan struct{} // a place for each print job that is drawn
}

// Nouns are what the gateway serves.
type Nouns struct {
	Service *linking.Service
	Build   Build
	Demo    *Demo // nil: there is none

	// Breakers tells the state of a bank connection's breakers; nil: nobody knows.
	Breakers func(linking.ConnectionID) []BreakerView
}

// unknownPerMinute codes that do not exist may be asked for from one address, and
// unknownBurst at once: a person mistypes, a machine guesses.
const (
	unknownPerMinute = 10
	unknownBurst     = 20
)

// Mount puts codes, requests and all the rest onto the gateway. It is called once,
// before Serve.
func (s *Server) Mount(n Nouns) error {
	a := &api{Server: s, svc: n.Service, build: n.Build, demo: n.Demo, breakers: n.Breakers, unknown: newLimiter(unknownPerMinute, unknownBurst, 1<<14), tries: newLimiter(loginsPerMinute, loginsAtOnce, 1<<14), tried: newLimiter(namePerMinute, nameAtOnce, 1<<14), presses: make(chan struct{}, runtime.GOMAXPROCS(0))}
	var err error
	if a.assets, err = newAssets(staticFiles()); err != nil {
		return err
	}
	a.plainPolicy = newPagePolicy(map[string][]string{"frame-ancestors": a.frames()})
	if err := a.parsePages(); err != nil {
		return err
	}
	s.errorPage = a.problemPage
	s.mount(a)
	return nil
}

// Build says which program this is.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
}

func (a *api) version(c *fiber.Ctx) error { return c.JSON(a.build) }

// caller finds out who calls: by the API key in the Authorization header or, without
// that header, by the cookie of a session.
func (a *api) caller(c *fiber.Ctx) (linking.Caller, error) {
	header := c.Get(fiber.HeaderAuthorization)
	if header == "" && a.cookieOf(c, sessionCookie) != "" {
		return a.visitor(c)
	}
	scheme, secret, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		secret = ""
	}
	k, err := a.svc.Authenticate(c.UserContext(), strings.TrimSpace(secret))
	if err != nil {
		return linking.Caller{}, err
	}
	callOf(c).merchant = k.Merchant
	return k.Caller(), nil
}

// answer is what a call that changed something says.
type answer struct {
	status   int
	body     any
	etag     string
	location string
}

func (n *answer) reply() linking.Reply {
	if n.status == http.StatusNoContent {
		return linking.Reply{Status: n.status}
	}
	return linking.Reply{Status: n.status, Body: encode(n.body), Type: fiber.MIMEApplicationJSON, ETag: n.etag, Location: n.location}
}

// once runs a call that changes something. With an Idempotency-Key, the first answer
// is stored and repeated; what may turn out otherwise when it is tried again (409 in
// progress, 412, 429 and 5xx) is not.
func (a *api) once(c *fiber.Ctx, who linking.Caller, change func(*fiber.Ctx, linking.Caller) (any, error)) error {
	key := c.Get("Idempotency-Key")
	if key == "" {
		n, err := change(c, who)
		if err != nil {
			return err
		}
		return send(c, n.(*answer).reply())
	}
	if len(key) > 128 || !printable(key) {
		return invalidFields([]linking.FieldError{{Field: "Idempotency-Key", Code: "printable", Message: "must be 1 to 128 characters of printable ASCII"}})
	}
	who.Once = &linking.Once{Key: key, Fingerprint: fingerprint(c)}
	if reply, err := a.svc.Before(c.UserContext(), who.Merchant, who.Once); err != nil {
		return err
	} else if reply != nil {
		return send(c, *reply)
	}
	n, err := change(c, who)
	var reply linking.Reply
	switch {
	case err != nil:
		p := newProblem(err)
		if !storable(p) {
			return err
		}
		p.RequestID = callOf(c).id
		doc, _ := p.body()
		callOf(c).code = p.Code
		reply = linking.Reply{Status: p.Status, Body: doc, Type: "application/problem+json"}
	case who.Once.Reply != nil:
		// A secret stands in the first answer alone, not in what is stored.
		if first, ok := n.(*answer); ok && !who.Once.Reply.Replayed {
			return send(c, first.reply())
		}
		return send(c, *who.Once.Reply)
	default:
		reply = n.(*answer).reply()
	}
	stored, err := a.svc.Answered(c.UserContext(), who.Merchant, who.Once, reply)
	if err != nil {
		// The change stands and is told; a repeat will be answered from the present state.
		a.log.Warn("an answer was not stored", "request_id", callOf(c).id, "err", err)
		stored = reply
	}
	return send(c, stored)
}

// fingerprint is of the method, the address and the body.
func fingerprint(c *fiber.Ctx) (sum [32]byte) {
	h := sha256.New()
	body := sha256.Sum256(c.BodyRaw())
	h.Write([]byte(c.Method() + " " + c.OriginalURL() + "\n"))
	h.Write([]byte(c.Get(fiber.HeaderIfMatch) + "\n"))
	h.Write(body[:])
	h.Sum(sum[:0])
	return sum
}

func storable(p *problem) bool {
	switch {
	case p.Status >= 500, p.Status == http.StatusPreconditionFailed, p.Status == http.StatusTooManyRequests, p.Code == "idempotency_in_progress":
		return false
	}
	return true
}

func send(c *fiber.Ctx, r linking.Reply) error {
	c.Status(r.Status)
	if r.Type != "" {
		c.Set(fiber.HeaderContentType, r.Type)
	}
	if r.ETag != "" {
		c.Set(fiber.HeaderETag, r.ETag)
	}
	if r.Location != "" {
		c.Set(fiber.HeaderLocation, r.Location)
	}
	if r.Replayed {
		c.Set("Idempotency-Replayed", "true")
	}
	return c.Send(r.Body)
}

func etag[T uint64 | int](v T) string { return `"` + strconv.FormatInt(int64(v), 10) + `"` }

// ifMatch reads the version the caller decided on; nil: none. "*" means any.
func ifMatch(c *fiber.Ctx) (*uint64, error) {
	h := strings.TrimSpace(c.Get(fiber.HeaderIfMatch))
	if h == "" || h == "*" {
		return nil, nil
	}
	inner, ok := strings.CutPrefix(h, `"`)
	if ok {
		inner, ok = strings.CutSuffix(inner, `"`)
	}
	n, err := strconv.ParseUint(inner, 10, 63)
	if !ok || err != nil {
		return nil, invalidFields([]linking.FieldError{{Field: "If-Match", Code: "etag", Message: `must be an ETag this API gave, such as "17"`}})
	}
	return &n, nil
}

// defaultWait is how long a call that needs the bank waits for it unless the caller
// says otherwise, and maxWait the most it may say.
const (
	defaultWait = 5 * time.Second
	maxWait     = 30 * time.Second
)

// prefer reads "Prefer: wait=n" (RFC 7240): how long the caller likes to wait. What
// cannot be read is no preference, as that standard has it.
func prefer(c *fiber.Ctx) time.Duration {
	for part := range strings.SplitSeq(c.Get("Prefer"), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if strings.EqualFold(name, "wait") {
			if n, err := strconv.Atoi(strings.Trim(strings.TrimSpace(value), `"`)); err == nil && n >= 0 {
				return min(time.Duration(n)*time.Second, maxWait)
			}
		}
	}
	return defaultWait
}

// waiting gives the call time for what it waits for, and some more to answer.
func waiting(c *fiber.Ctx, d time.Duration) time.Duration {
	callOf(c).extend(d + 10*time.Second)
	return d
}

// codeParam reads a code's token off the path. What no code can have is not found,
// and asks no store.
func codeParam(c *fiber.Ctx) (linking.Token, error) {
	s, err := pathParam(c, "code")
	if err != nil {
		return "", err
	}
	if t, ok := linking.ParseToken(s); ok {
		return t, nil
	}
	return "", &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such code."}
}

// tokenParam reads the token of a payer's address; false: no code can have it.
func tokenParam(c *fiber.Ctx) (linking.Token, bool) {
	s, err := pathParam(c, "token")
	if err != nil {
		return "", false
	}
	return linking.ParseToken(s)
}

// secretParam reads the secret of a request's own page; empty: nobody can have it.
func secretParam(c *fiber.Ctx) string {
	s, _ := pathParam(c, "secret")
	return s
}

// extend gives a call that waits for something d from now on. Once somebody waits for
// its end, that stands.
func (c *call) extend(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ends := time.Now().Add(d); c.timer == nil && ends.After(c.ends) {
		c.ends = ends
	}
}
