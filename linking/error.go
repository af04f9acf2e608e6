package linking

import (
	"errors"
	"fmt"
)

// Kind says what went wrong in terms of what the caller can do about it.
type ErrorKind string

const (
	Internal     ErrorKind = "internal"     // a fault of ours; the detail stays in the log
	Malformed    ErrorKind = "malformed"    // the text cannot be read at all
	Invalid      ErrorKind = "invalid"      // readable, but a field breaks a rule: change the request
	Unauthorized ErrorKind = "unauthorized" // no valid key or session
	Forbidden    ErrorKind = "forbidden"    // the key is good, its role is not enough
	NotFound     ErrorKind = "not_found"    // there is no such thing, or none the caller may see
	Gone         ErrorKind = "gone"         // there was such a thing, and there will not be again
	Conflict     ErrorKind = "conflict"     // the state forbids it; read and decide again
	Stale        ErrorKind = "stale"        // the caller decided on an older state than the present one
	Limited      ErrorKind = "rate_limited" // too often; wait for RetryAfter
	Unavailable  ErrorKind = "unavailable"  // nothing was done; try again later
	Uncertain    ErrorKind = "uncertain"    // it may have been done; ask again with the same key
)

// ErrorKinds lists every kind, so that a table over them can be shown to be complete.
var ErrorKinds = []ErrorKind{Internal, Malformed, Invalid, Unauthorized, Forbidden, NotFound, Gone, Conflict, Stale, Limited, Unavailable, Uncertain}

// Error is a failure the caller is meant to understand. Any other error is a
// fault of ours and reaches callers only as Internal.
type Error struct {
	Kind   ErrorKind
	Code   string         // stable and documented, for example "code_busy"
	Detail string         // a sentence that is safe to show to the caller
	Fields []FieldError   // what is wrong field by field, for Invalid
	With   map[string]any // present state worth showing beside the sentence, for example the sale that is in the way
	Retry  int            // seconds after which another try makes sense; 0: unknown
	Err    error          // the cause, for the log only
}

// FieldError names one field of a request and the rule it breaks.
type FieldError struct {
	Field   string // path in the JSON body, for example "lines[0].unit_price"
	Code    string // stable, for example "required"
	Message string // a sentence that states the rule
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Detail
	}
	return fmt.Sprintf("%s: %v", e.Detail, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Problem returns what may be told to a caller about err.
func Problem(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Kind: Internal, Code: "internal", Detail: "Something went wrong on our side.", Err: err}
}

// IsCode reports whether err tells its caller code.
func IsCode(err error, code string) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == code
}

// IsKind reports whether err is of kind k.
func IsKind(err error, k ErrorKind) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Kind == k
}

func invalid(field, code, message string) *Error {
	return &Error{Kind: Invalid, Code: "invalid_request", Detail: message,
		Fields: []FieldError{{field, code, message}}}
}

func notFound(what string) *Error {
	return &Error{Kind: NotFound, Code: "not_found", Detail: "There is no such " + what + "."}
}

func conflict(code, detail string) *Error {
	return &Error{Kind: Conflict, Code: code, Detail: detail}
}

// With returns e with one more fact about the present state.
func (e *Error) with(name string, v any) *Error {
	if e.With == nil {
		e.With = map[string]any{}
	}
	e.With[name] = v
	return e
}
