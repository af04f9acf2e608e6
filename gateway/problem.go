package gateway

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// statusOf is the only place where a kind of failure becomes an HTTP status.
var statusOf = map[linking.ErrorKind]int{
	linking.Internal:     http.StatusInternalServerError,
	linking.Malformed:    http.StatusBadRequest,
	linking.Invalid:      http.StatusUnprocessableEntity,
	linking.Unauthorized: http.StatusUnauthorized,
	linking.Forbidden:    http.StatusForbidden,
	linking.NotFound:     http.StatusNotFound,
	linking.Gone:         http.StatusGone,
	linking.Conflict:     http.StatusConflict,
	linking.Stale:        http.StatusPreconditionFailed,
	linking.Limited:      http.StatusTooManyRequests,
	linking.Unavailable:  http.StatusServiceUnavailable,
	linking.Uncertain:    http.StatusGatewayTimeout,
}

// httpFailure is a refusal that concerns HTTP alone: no rule of the domain is
// broken, the call never got that far.
type httpFailure struct {
	status       int
	code, detail string
}

func (f *httpFailure) Error() string { return f.detail }

// httpFailures holds those that no handler of ours raises, by status: the
// router's, and what cannot be read off the wire.
var httpFailures = func() map[int]*httpFailure {
	byStatus := map[int]*httpFailure{}
	for _, f := range []*httpFailure{
		{http.StatusBadRequest, "malformed", "This is not a well-formed HTTP request."},
		{http.StatusNotFound, "not_found", "There is nothing at this address."},
		{http.StatusMethodNotAllowed, "method_not_allowed", "This address does not know that method. The Allow header names those it knows."},
		{http.StatusRequestTimeout, "request_timeout", "The request took too long to arrive."},
		{http.StatusRequestEntityTooLarge, "too_large", "The body is larger than this address accepts."},
		{http.StatusUnsupportedMediaType, "unsupported_media_type", "This address does not read bodies of that type."},
		{http.StatusRequestHeaderFieldsTooLarge, "headers_too_large", "The address and the headers together are too large."},
		{http.StatusNotImplemented, "method_unknown", "This is not an HTTP method that Placard knows."},
		{http.StatusServiceUnavailable, "overloaded", "Too many connections are open. Try again in a moment."},
	} {
		byStatus[f.status] = f
	}
	return byStatus
}()

// problem is an answer that something went wrong (RFC 9457). What it says is
// ours: no library's text ever gets into it.
type problem struct {
	Type      string         `json:"type"` // a place in the reference, relative to the gateway
	Title     string         `json:"title"`
	Status    int            `json:"status"`
	Detail    string         `json:"detail"`
	Code      string         `json:"code"`
	Errors    []fieldProblem `json:"errors,omitempty"`
	RequestID string         `json:"request_id"`

	with  map[string]any // further members, beside those above
	retry int            // seconds; 0: not said
}

type fieldProblem struct {
	Field   string `json:"field"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// problemMembers are the names that no further member may take.
var problemMembers = []string{"type", "title", "status", "detail", "code", "errors", "request_id", "instance"}

// newProblem says err in words fit for the caller.
func newProblem(err error) *problem {
	if f, ok := errors.AsType[*httpFailure](err); ok {
		return &problem{Status: f.status, Code: f.code, Detail: f.detail}
	}
	if f, ok := errors.AsType[*fiber.Error](err); ok { // the router's; its text may hold what the caller sent
		if f := httpFailures[f.Code]; f != nil {
			return &problem{Status: f.status, Code: f.code, Detail: f.detail}
		}
	}
	e := linking.Problem(err)
	p := &problem{Status: statusOf[e.Kind], Code: e.Code, Detail: e.Detail, with: e.With, retry: e.Retry}
	if p.Status == 0 {
		p.Status = http.StatusInternalServerError
	}
	if p.Code == "" {
		p.Code = string(e.Kind)
	}
	if e.Kind == linking.Limited {
		p.retry = max(1, p.retry)
	}
	for _, f := range e.Fields {
		p.Errors = append(p.Errors, fieldProblem(f))
	}
	return p
}

// body returns the document. Members that cannot be written are left out, and
// named in dropped, for the log.
func (p *problem) body() (doc []byte, dropped []string) {
	p.Type = "/docs#" + p.Code
	p.Title = titleOf(p.Code)
	doc, err := json.Marshal(p)
	if err != nil { // strings and numbers alone can always be written
		panic(err)
	}
	doc = doc[:len(doc)-1]
	for _, name := range slices.Sorted(maps.Keys(p.with)) {
		value, err := json.Marshal(p.with[name])
		if err != nil || slices.Contains(problemMembers, name) {
			dropped = append(dropped, name)
			continue
		}
		key, _ := json.Marshal(name)
		doc = append(append(append(append(doc, ','), key...), ':'), value...)
	}
	return append(doc, '}'), dropped
}

// titleOf says a code in words: "code_busy" is "Code busy".
func titleOf(code string) string {
	s := strings.ReplaceAll(code, "_", " ")
	return strings.ToUpper(s[:1]) + s[1:]
}

// handleError answers with the problem that err is; handlers just return errors.
// The router's refusal of an OPTIONS, which says what is allowed, is an answer:
// there is no CORS here, so no preflight ever succeeds.
func (s *Server) handleError(c *fiber.Ctx, err error) error {
	call := callOf(c)
	p := newProblem(err)
	if f, ok := errors.AsType[*fiber.Error](err); ok {
		call.unmatched = true
		if f.Code == http.StatusMethodNotAllowed && c.Method() == fiber.MethodOptions {
			c.Append(fiber.HeaderAllow, fiber.MethodOptions)
			c.Status(http.StatusNoContent)
			return nil
		}
	}
	call.err, call.code = err, p.Code
	p.RequestID = call.id

	c.Status(p.Status)
	c.Set(fiber.HeaderCacheControl, "no-store") // whatever the handler meant to allow
	if p.retry > 0 {
		c.Set(fiber.HeaderRetryAfter, strconv.Itoa(p.retry))
	}
	if p.Status == http.StatusUnauthorized {
		c.Set(fiber.HeaderWWWAuthenticate, `Bearer realm="placard"`)
	}
	if s.errorPage != nil && c.Accepts(fiber.MIMEApplicationJSON, fiber.MIMETextHTML) == fiber.MIMETextHTML {
		if s.errorPage(c, p) == nil {
			return nil
		}
	}
	doc, dropped := p.body()
	if dropped != nil {
		s.log.Error("members of a problem could not be written", "request_id", call.id, "members", dropped)
	}
	c.Set(fiber.HeaderContentType, "application/problem+json")
	return c.Send(doc)
}
