package bankapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// Fault is why an answer says nothing for certain. Its text is a code of ours.
type Fault string

func (f Fault) Error() string { return string(f) }

// Understood turns a fault of an answer into what it leaves known: nothing. detail
// is a sentence of ours.
func Understood[T any](v T, err error, detail string) (T, error) {
	if err == nil {
		return v, nil
	}
	var none T
	code := "malformed"
	if f, ok := errors.AsType[Fault](err); ok {
		code = string(f)
	}
	return none, Unreadable(code, detail, err)
}

// Decode reads one JSON value of at most 16 levels and nothing after it. A name
// that stands twice in one object, in whatever case, is refused: which of the two
// amounts would be meant? An error is a Fault.
func Decode(body []byte, into any) error {
	if err := unambiguous(body); err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return Fault("malformed")
	}
	return nil
}

func unambiguous(body []byte) error {
	type level struct {
		names map[string]bool // nil: an array
		name  bool            // a name comes next
	}
	var open []level
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	for first := true; ; first = false {
		t, err := d.Token()
		if err == io.EOF && !first && len(open) == 0 {
			return nil
		}
		if err != nil || !first && len(open) == 0 {
			return Fault("malformed")
		}
		var top *level
		if len(open) > 0 {
			top = &open[len(open)-1]
		}
		if top != nil && top.names != nil && t != json.Delim('}') {
			if top.name {
				name := strings.ToLower(t.(string))
				if top.names[name] {
					return Fault("ambiguous")
				}
				top.names[name] = true
			}
			top.name = !top.name
		}
		switch t {
		case json.Delim('{'):
			open = append(open, level{names: map[string]bool{}, name: true})
		case json.Delim('['):
			open = append(open, level{})
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if len(open) > 16 {
			return Fault("malformed")
		}
	}
}
