package gateway

import (
	"net/http"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"placard/linking"
)

type newWebhook struct {
	URL   string   `json:"url" validate:"required,max=2000"`
	Label string   `json:"label" validate:"omitempty,text,max=100"`
	Types []string `json:"types" validate:"max=40,unique,dive,event_type"`
}

type webhookView struct {
	ID          linking.WebhookID   `json:"id"`
	URL         string              `json:"url"`
	Label       string              `json:"label"`
	Types       []linking.EventType `json:"types"` // empty: all
	Outlet      *linking.OutletID   `json:"outlet"`
	Status      string              `json:"status"`
	Secret      *string             `json:"secret,omitempty"`
	OldSecrets  *string             `json:"old_secrets_until"`
	DeliveredTo uint64              `json:"delivered_to"`
	Held        int                 `json:"held"`
	NextTry     *string             `json:"next_try_at"`
	LastOK      *string             `json:"last_success_at"`
	Missed      uint64              `json:"missed"`
	CreatedAt   *string             `json:"created_at"`
}

func (a *api) viewWebhook(v *linking.WebhookView) webhookView {
	out := webhookView{
		ID: v.ID, URL: v.URL, Label: v.Label, Types: listOf(v.Types), Outlet: orNull(v.Outlet), Status: "active", Secret: orNull(v.Secret),
		DeliveredTo: v.DeliveredTo, Held: v.Held, NextTry: stamp(v.Next), LastOK: stamp(v.LastOK), Missed: v.Missed, CreatedAt: stamp(v.CreatedAt),
	}
	for _, s := range v.Secrets {
		if s.Until.After(a.svc.Now()) && out.OldSecrets == nil {
			out.OldSecrets = stamp(s.Until)
		}
	}
	switch {
	case v.Gone:
		out.Status = "gone"
	case v.Down:
		out.Status = "down"
	case v.Held > 0:
		out.Status = "failing"
	}
	return out
}

func webhookParam(c *fiber.Ctx) (linking.WebhookID, error) {
	s, err := pathParam(c, "webhook")
	if err != nil {
		return "", err
	}
	if id, ok := linking.ParseWebhookID(s); ok {
		return id, nil
	}
	return "", &linking.Error{Kind: linking.NotFound, Code: "not_found", Detail: "There is no such webhook."}
}

// webhookAnswer runs a change of a webhook. What is stored for a repeat of the call
// has no secret: that is shown once.
func (a *api) webhookAnswer(who linking.Caller, status int, change func() (*linking.WebhookView, error)) (any, error) {
	made := func(v *linking.WebhookView) *answer {
		n := &answer{status: status, body: a.viewWebhook(v)}
		if status == http.StatusCreated {
			n.location = "/v1/webhooks/" + string(v.ID)
		}
		return n
	}
	if who.Once != nil {
		who.Once.Render = func(v any) linking.Reply {
			stored := *v.(*linking.WebhookView)
			stored.Secret = ""
			return made(&stored).reply()
		}
	}
	v, err := change()
	if err != nil || v == nil {
		return nil, err
	}
	return made(v), nil
}

func (a *api) makeWebhook(c *fiber.Ctx, who linking.Caller) (any, error) {
	var in newWebhook
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	n := linking.NewWebhook{URL: in.URL, Label: in.Label}
	for _, t := range in.Types {
		n.Types = append(n.Types, linking.EventType(t))
	}
	return a.webhookAnswer(who, http.StatusCreated, func() (*linking.WebhookView, error) { return a.svc.CreateWebhook(c.UserContext(), who, n) })
}

func (a *api) listWebhooks(c *fiber.Ctx, who linking.Caller) error {
	if err := queryOf(c).err(); err != nil {
		return err
	}
	list, err := a.svc.Webhooks(c.UserContext(), who)
	if err != nil {
		return err
	}
	page := pageView[webhookView]{Data: []webhookView{}}
	for _, v := range list {
		page.Data = append(page.Data, a.viewWebhook(v))
	}
	return c.JSON(page)
}

func (a *api) getWebhook(c *fiber.Ctx, who linking.Caller) error {
	id, err := webhookParam(c)
	if err != nil {
		return err
	}
	v, err := a.svc.Webhook(c.UserContext(), who, id)
	if err != nil {
		return err
	}
	return c.JSON(a.viewWebhook(v))
}

func (a *api) deleteWebhook(c *fiber.Ctx, who linking.Caller) (any, error) {
	id, err := webhookParam(c)
	if err != nil {
		return nil, err
	}
	gone := &answer{status: http.StatusNoContent}
	if who.Once != nil {
		who.Once.Render = func(any) linking.Reply { return gone.reply() }
	}
	return gone, a.svc.DeleteWebhook(c.UserContext(), who, id)
}

func (a *api) rotateWebhook(c *fiber.Ctx, who linking.Caller) (any, error) {
	id, err := webhookParam(c)
	if err != nil {
		return nil, err
	}
	return a.webhookAnswer(who, http.StatusOK, func() (*linking.WebhookView, error) { return a.svc.RotateWebhook(c.UserContext(), who, id) })
}

type replayBody struct {
	From uint64 `json:"from" validate:"required,min=1"`
}

func (a *api) replayWebhook(c *fiber.Ctx, who linking.Caller) (any, error) {
	id, err := webhookParam(c)
	if err != nil {
		return nil, err
	}
	var in replayBody
	if err := decode(c, &in); err != nil {
		return nil, err
	}
	return a.webhookAnswer(who, http.StatusOK, func() (*linking.WebhookView, error) {
		return a.svc.ReplayWebhook(c.UserContext(), who, id, in.From)
	})
}

type attemptView struct {
	EventID   string                 `json:"event_id"`
	Seq       uint64                 `json:"seq"`
	Type      linking.EventType      `json:"type"`
	RequestID *linking.RequestID     `json:"request_id"`
	At        *string                `json:"at"`
	Try       int                    `json:"try"`
	OK        bool                   `json:"ok"`
	Status    *int                   `json:"status"`
	Fault     *linking.DeliveryFault `json:"fault"`
	Millis    int                    `json:"ms"`
}

func (a *api) webhookAttempts(c *fiber.Ctx, who linking.Caller) error {
	id, err := webhookParam(c)
	if err != nil {
		return err
	}
	if err := queryOf(c).err(); err != nil {
		return err
	}
	list, err := a.svc.WebhookAttempts(c.UserContext(), who, id)
	if err != nil {
		return err
	}
	page := pageView[attemptView]{Data: []attemptView{}}
	for _, t := range list {
		v := attemptView{
			EventID: string(who.Merchant) + "-" + strconv.FormatUint(t.Seq, 10), Seq: t.Seq, Type: t.Type, RequestID: orNull(t.Request),
			At: stamp(t.At), Try: t.Try, OK: t.Fault == "", Fault: orNull(t.Fault), Millis: t.Millis,
		}
		if t.Status != 0 {
			v.Status = &t.Status
		}
		page.Data = append(page.Data, v)
	}
	return c.JSON(page)
}
