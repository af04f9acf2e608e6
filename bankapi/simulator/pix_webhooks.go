package simulator

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"placard/linking"
)

// pixWebhook is where the news of one key goes.
type pixWebhook struct {
	URL  string `json:"webhookUrl"`
	Key  string `json:"chave"`
	CNPJ string `json:"cnpj"`
	Made string `json:"criacao"`
	made time.Time
}

func (pw *pixWire) webhook(c *pixCall) (pixWebhook, bool) {
	pw.news.Lock()
	defer pw.news.Unlock()
	h, ok := pw.news.webhooks[c.acc+" "+c.r.PathValue("chave")]
	return h, ok
}

func (pw *pixWire) putWebhook(c *pixCall) (*pixAnswer, error) {
	var in struct {
		URL string `json:"webhookUrl"`
	}
	key, err := c.r.PathValue("chave"), readJSON(c.body, &in)
	u, uerr := url.Parse(in.URL)
	allowed := c.who.Keys == nil
	for _, k := range c.who.Keys {
		allowed = allowed || k == key
	}
	switch {
	case err != nil || uerr != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !here(u.Hostname())):
		return nil, invalid("WebhookOperacaoInvalida", "webhook.webhookUrl", "O campo webhook.webhookUrl não respeita o _schema_.")
	case !allowed || len(key) > 77:
		return nil, invalid("WebhookOperacaoInvalida", "chave", "O campo chave corresponde a uma conta que não pertence a este usuário recebedor.")
	}
	now := pw.s.ledger.time()
	pw.news.Lock()
	defer pw.news.Unlock()
	pw.news.webhooks[c.acc+" "+key] = pixWebhook{in.URL, key, c.who.CNPJ, pixTime(now), now}
	return &pixAnswer{status: http.StatusOK}, nil
}

// here reports whether a host is this machine, or one at home, where pretend money
// needs no encryption.
func here(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && (ip.IsLoopback() || ip.IsPrivate())
}

func (pw *pixWire) getWebhook(c *pixCall) (*pixAnswer, error) {
	h, ok := pw.webhook(c)
	if !ok {
		return nil, pixFail("WebhookNaoEncontrado")
	}
	return &pixAnswer{status: http.StatusOK, doc: h}, nil
}

func (pw *pixWire) deleteWebhook(c *pixCall) (*pixAnswer, error) {
	if _, ok := pw.webhook(c); !ok {
		return nil, pixFail("WebhookNaoEncontrado")
	}
	pw.news.Lock()
	defer pw.news.Unlock()
	delete(pw.news.webhooks, c.acc+" "+c.r.PathValue("chave"))
	return &pixAnswer{status: http.StatusNoContent}, nil
}

func (pw *pixWire) listWebhooks(c *pixCall) (*pixAnswer, error) {
	f, err := readFilter(c, "WebhookConsultaInvalida", "", false)
	if err != nil {
		return nil, err
	}
	pw.news.Lock()
	defer pw.news.Unlock()
	list := []pixWebhook{}
	for at, h := range pw.news.webhooks {
		if strings.HasPrefix(at, c.acc+" ") && f.spans(h.made) {
			list = append(list, h)
		}
	}
	return paged(&f, "webhooks", list)
}

// tell sends a callback about payments that are new, or of which a refund is final by
// now. Of anything else API Pix sends none. It is called with the ledger locked.
func (pw *pixWire) tell(s requestSnapshot) {
	pw.news.Lock()
	defer pw.news.Unlock()
	key, ok := pw.news.keys[s.id]
	if !ok {
		return
	}
	var list []pixPayment
	for _, p := range s.payments {
		final := 1
		for _, f := range p.refunds {
			if f.status != linking.RefundPending {
				final++
			}
		}
		if pw.news.told[p.id] < final {
			pw.news.told[p.id] = final
			list = append(list, showPayment(s.id, key, p))
		}
	}
	hook, ok := pw.news.webhooks[s.account+" "+key]
	if len(list) == 0 || !ok {
		return
	}
	to := hook.URL
	if !pw.o.PlainCallbacks {
		to = strings.TrimSuffix(to, "/") + "/pix" // to the text, as banks do: after a query too
	}
	var body []byte
	if pw.o.BareCallbacks {
		body, _ = json.Marshal(list)
	} else {
		body, _ = json.Marshal(map[string][]pixPayment{"pix": list})
	}
	header := pw.news.accounts[s.account].CallbackHeader
	pw.s.callbacks.send(message{url: to, sign: func(h http.Header) []byte {
		h.Set("Content-Type", "application/json")
		for name, value := range header {
			h.Set(name, value)
		}
		return body
	}})
}
