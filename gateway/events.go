package gateway

import (
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

// eventFilter reads the parameters that a list and a stream of events share, but for
// the request, which only the service can tell by the caller's own id.
func eventFilter(q *query) linking.EventFilter {
	f := linking.EventFilter{Sale: linking.SaleID(q.text("sale", 64))}
	if s := q.text("code", 60); s != "" {
		t, ok := linking.ParseToken(s)
		if !ok {
			q.wrong("code", "unknown", "is not a code")
		}
		f.Code = t
	}
	if s := q.text("type", 500); s != "" {
		for one := range strings.SplitSeq(s, ",") {
			if !slices.Contains(linking.EventTypes, linking.EventType(one)) {
				q.wrong("type", "not_allowed", "names a type of event that does not exist")
				break
			}
			f.Types = append(f.Types, linking.EventType(one))
		}
	}
	return f
}

// events answers with a merchant's events: as a list that may wait for the next one,
// or as a stream.
func (a *api) events(c *fiber.Ctx, who linking.Caller) error {
	q := queryOf(c)
	f := eventFilter(q)
	request := q.text("request", 64)
	after, given := q.one("after")
	wait := time.Duration(q.whole("wait", 0, 0, 60)) * time.Second
	f.Limit = int(q.whole("limit", 50, 1, 500))
	switch {
	case after == "latest":
		f.Latest = true
	case given:
		n, err := strconv.ParseUint(after, 10, 63)
		if err != nil {
			q.wrong("after", "out_of_range", `must be the seq of an event, or "latest"`)
		}
		f.After = n
	}
	if err := q.err(); err != nil {
		return err
	}
	if request != "" {
		n, err := a.svc.Request(c.UserContext(), who, request)
		if linking.IsKind(err, linking.NotFound) {
			return invalidFields([]linking.FieldError{{Field: "request", Code: "unknown", Message: "is not a payment request"}})
		}
		if err != nil {
			return err
		}
		f.Request = n.Request.ID
	}
	if c.Accepts(fiber.MIMEApplicationJSON, "text/event-stream") == "text/event-stream" {
		return a.eventStream(c, who, f, given)
	}
	list, next, err := a.svc.Events(c.UserContext(), who, f, waiting(c, wait))
	if err != nil {
		return err
	}
	page := pageView[eventView]{Data: []eventView{}}
	for i := range list {
		page.Data = append(page.Data, viewEvent(&list[i]))
	}
	at := strconv.FormatUint(next, 10)
	page.Next = &at
	return c.JSON(page)
}

// eventStream streams a merchant's events from Last-Event-ID or after on; without
// either, from now on.
func (a *api) eventStream(c *fiber.Ctx, who linking.Caller, f linking.EventFilter, given bool) error {
	if last := lastEventID(c); last != "" {
		seq, err := strconv.ParseUint(last[strings.LastIndexByte(last, '-')+1:], 10, 63)
		if err != nil {
			return invalidFields([]linking.FieldError{{Field: "Last-Event-ID", Code: "unknown", Message: "is not the id of an event"}})
		}
		f.After, f.Latest = seq, false
	} else if f.Latest || !given {
		last, err := a.svc.LastEvent(c.UserContext(), who.Merchant)
		if err != nil {
			return err
		}
		f.After, f.Latest = last, false
	}
	// What was forgotten is told at once, as a problem, not in mid-stream.
	probe := f
	probe.Limit = 1
	if _, _, err := a.svc.Events(c.UserContext(), who, probe, 0); err != nil {
		return err
	}
	f.Limit = 100
	return a.streams.serve(c, feed{
		Next: func(ctx context.Context, _ string) ([]event, error) {
			if err := a.svc.StillAdmitted(ctx, who); linking.IsKind(err, linking.Unauthorized) {
				return nil, io.EOF
			} else if err != nil {
				return nil, err
			}
			var out []event
			for {
				list, next, err := a.svc.Events(ctx, who, f, 0)
				if err != nil {
					return nil, err
				}
				f.After = next
				for i := range list {
					v := viewEvent(&list[i])
					out = append(out, event{ID: v.ID, Name: string(v.Type), Data: encode(v)})
				}
				if len(list) < f.Limit || len(out) >= 500 {
					return out, nil
				}
			}
		},
		Watch: func(wake func()) (end func()) { return a.svc.WatchEvents(who.Merchant, wake) },
		Poll:  2 * time.Second,
		Retry: time.Second,
	})
}
