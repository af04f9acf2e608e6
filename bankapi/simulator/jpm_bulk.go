package simulator

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// jpmBulk is a set of due-date requests that were sent at once.
type jpmBulk struct {
	id, description string
	made, updated   time.Time
	revision        int
	items           []jpmBulkDetail
}

type jpmBulkDetail struct {
	ID         string       `json:"id"`
	Status     string       `json:"status"`
	Exceptions []jpmContext `json:"exceptions,omitempty"`
}

type jpmBulkShown struct {
	ID          string          `json:"id"`
	Description string          `json:"description"`
	CreatedAt   string          `json:"createdAt"`
	UpdatedAt   string          `json:"updatedAt"`
	RefreshedAt string          `json:"refreshedAt,omitempty"`
	Details     []jpmBulkDetail `json:"details,omitempty"`
}

type jpmBulkIn struct {
	Description string            `json:"description"`
	Requests    []json.RawMessage `json:"requests"`
}

func (b *jpmBulk) etag() string {
	return `"bulk-` + b.id[:8] + "-" + string(rune('0'+b.revision%10)) + `"`
}

func (b *jpmBulk) answer(status int, now time.Time, whole bool, done bool) *jpmAnswer {
	out := jpmBulkShown{ID: b.id, Description: b.description, CreatedAt: instant(b.made), UpdatedAt: instant(b.updated)}
	if whole {
		out.RefreshedAt = instant(now)
		for _, d := range b.items {
			if !done {
				d.Status, d.Exceptions = "PENDING", nil
			}
			out.Details = append(out.Details, d)
		}
	}
	return &jpmAnswer{status: status, etag: b.etag(), doc: out}
}

// createBulk takes up to 25 due-date requests. What is wrong with one of them is told
// when the bulk is asked for, and does not keep the others from being made.
func (jw *jpmWire) createBulk(c *jpmCall) (*jpmAnswer, error) {
	return jw.once(c, func() (*jpmAnswer, error) {
		var in jpmBulkIn
		if err := jpmRead(c.body, jpmBulkRule, &in); err != nil {
			return nil, err
		}
		if len(in.Requests) == 0 {
			return nil, jpmBad("10002", "$.requests", "At least 1 item.")
		}
		now := jw.s.ledger.time()
		b := &jpmBulk{id: jpmUUID(), description: in.Description, made: now, updated: now}
		for _, raw := range in.Requests {
			b.items = append(b.items, jw.bulkItem(c, b, raw, false))
		}
		c.book.bulks[b.id] = b
		return b.answer(http.StatusAccepted, now, false, false), nil
	})
}

func (jw *jpmWire) updateBulk(c *jpmCall) (*jpmAnswer, error) {
	b := c.book.bulks[c.r.PathValue("id")]
	if b == nil {
		return nil, jpmNotFound()
	}
	if match := c.r.Header.Get("If-Match"); match != "" && match != b.etag() {
		return nil, jpmFail(http.StatusPreconditionFailed, "Precondition failed", jpmContext{Message: "The resource has changed.", Field: "If-Match", Location: "HEADER"})
	}
	var in jpmBulkIn
	if err := jpmRead(c.body, jpmBulkRule, &in); err != nil {
		return nil, err
	}
	now := jw.s.ledger.time()
	for _, raw := range in.Requests {
		d := jw.bulkItem(c, b, raw, true)
		for i := range b.items {
			if b.items[i].ID == d.ID {
				b.items[i] = d
			}
		}
	}
	b.updated, b.revision = now, b.revision+1
	return b.answer(http.StatusAccepted, now, false, false), nil
}

func (jw *jpmWire) getBulk(c *jpmCall) (*jpmAnswer, error) {
	b := c.book.bulks[c.r.PathValue("id")]
	if b == nil {
		return nil, jpmNotFound()
	}
	now := jw.s.ledger.time()
	return b.answer(http.StatusOK, now, true, now.Sub(b.updated) >= jw.o.BulkTime), nil
}

// bulkItem makes or revises one request of a bulk, and says what became of it.
func (jw *jpmWire) bulkItem(c *jpmCall, b *jpmBulk, raw json.RawMessage, revise bool) jpmBulkDetail {
	var in jpmNew
	rule := jpmBulkItemRule
	if revise {
		rule = jpmBulkUpdateItemRule
	}
	json.Unmarshal(raw, &struct {
		ID *string `json:"id"`
	}{&in.ID})
	d := jpmBulkDetail{ID: in.ID, Status: "SUCCESS"}
	err := jpmRead(raw, rule, &in)
	var r *jpmRequest
	if err == nil {
		if d.ID = in.ID; d.ID == "" {
			d.ID = jpmHexID()
		}
		r, _, _ = jw.find(c, d.ID)
		switch {
		case revise && (r == nil || r.bulk != b.id):
			err = jpmBad("10104", "$.id", "The bulk has no such request.")
		case !revise && r != nil:
			err = jpmBad("10104", "$.id", "The identifier is in use.")
		case !revise && !jpmIDs.MatchString(d.ID):
			err = jpmBad("10103", "$.id", "Invalid resource identifier format.")
		case in.Request["expirationType"] != "DUE_DATE":
			err = jpmBad("10104", "$.request.expirationType", "A bulk is for due dates.")
		default:
			_, err = jw.put(c, r, d.ID, in, b.id)
		}
	}
	if err != nil {
		d.Status = "FAILED"
		d.Exceptions = []jpmContext{{Code: "13000", Message: "It was not done."}}
		if e, ok := errors.AsType[*jpmError](err); ok && len(e.Context) > 0 {
			d.Exceptions = e.Context[:min(len(e.Context), 25)]
		}
	}
	return d
}
