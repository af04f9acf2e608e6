package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"placard/linking"
	"placard/linking/storetest"
)

// visitor is somebody with a browser that keeps cookies and says where a form stands.
type visitor struct {
	*client
	jar http.CookieJar
}

func newVisitor(t testing.TB, base string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	from := fmt.Sprintf("198.51.%d.%d", visitors.Add(1)/250, visitors.Load()%250+1)
	return &visitor{&client{t: t, base: base, web: &http.Client{Transport: behindProxy(from), CheckRedirect: web.CheckRedirect, Timeout: web.Timeout, Jar: jar}}, jar}
}

var visitors atomic.Int32

// proxied is a gateway behind a proxy on this machine, so that visitors have addresses
// of their own.
var proxied = []string{"--trusted-proxies", "127.0.0.1"}

// behindProxy is a network whose proxy says where a call comes from.
type behindProxy string

func (p behindProxy) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Forwarded-For", string(p))
	return web.Transport.RoundTrip(r)
}

// at is the same person at another gateway of the same name: the cookies go along.
func (v *visitor) at(base string) *visitor {
	c := *v.client
	c.base = base
	return &visitor{&c, v.jar}
}

// page opens a page.
func (v *visitor) page(path string) *reply {
	v.t.Helper()
	return v.get(path, "Accept", "text/html", "Sec-Fetch-Mode", "navigate")
}

// form sends a form of a page of the gateway: names and values in turn.
func (v *visitor) form(path string, fields ...string) *reply {
	v.t.Helper()
	values := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		values.Add(fields[i], fields[i+1])
	}
	return v.call("POST", path, values.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Accept", "text/html", "Sec-Fetch-Site", "same-origin")
}

// change calls the API as a script of a page does.
func (v *visitor) change(method, path string, body any) *reply {
	v.t.Helper()
	return v.call(method, path, body, "Sec-Fetch-Site", "same-origin")
}

// secret is the value of a cookie.
func (v *visitor) secret(name string) string {
	u, _ := url.Parse(v.base)
	for _, c := range v.jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

const goodPassword = "correct horse battery"

// hire invites somebody, and lets him choose login name, password and PIN.
func (h *house) hire(t testing.TB, role linking.Role, user, pin string) (*visitor, string) {
	t.Helper()
	made := h.shop.till.call("POST", "/v1/staff", m{"name": "Person " + user, "role": role}).is(201)
	v := newVisitor(t, h.addresses[0])
	path := strings.TrimPrefix(made.str("invite_url"), h.addresses[0])
	v.page(path).is(200)
	v.form(path, "user", user, "password", goodPassword, "again", goodPassword, "pin", pin).is(303)
	return v, made.str("id")
}

// TestPeople: who is invited, let in, moved, and shut out, over two gateways.
func TestPeople(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{redis: storetest.NewRedis(t, storetest.Durable()...), gateways: 2, serve: proxied})
	h.point(0)
	owner := h.shop.till
	both := func(v *visitor) []*visitor { return []*visitor{v, v.at(h.addresses[1])} }

	t.Run("an invitation works once", func(t *testing.T) {
		made := owner.call("POST", "/v1/staff", m{"name": "Ana <b>Lima</b>", "role": "cashier"}).is(201)
		if made.Header.Get("Cache-Control") != "no-store" || strings.Contains(string(owner.get("/v1/staff").is(200).Body), "join/") {
			t.Error("the link is told twice")
		}
		path := strings.TrimPrefix(made.str("invite_url"), h.addresses[0])
		v := newVisitor(t, h.addresses[1]) // the other gateway will do
		if page := v.page(path).is(200); !strings.Contains(string(page.Body), "Ana &lt;b&gt;Lima") || strings.Contains(string(page.Body), "<b>Lima") {
			t.Errorf("the page: %s", page.Body)
		}
		for name, fields := range map[string][]string{
			"at least 10":    {"user", "ana", "password", "short", "again", "short"},
			"anybody would":  {"user", "ana", "password", "password1234", "again", "password1234"},
			"not the same":   {"user", "ana", "password", goodPassword, "again", goodPassword + "x"},
			"3 to 64":        {"user", "a b", "password", goodPassword, "again", goodPassword},
			"4 to 8 digits":  {"user", "ana", "password", goodPassword, "again", goodPassword, "pin", "12a4"},
			"Choose another": {"user", "ana", "password", goodPassword, "again", goodPassword, "pin", "1234"},
		} {
			if r := v.form(path, fields...).is(422); !strings.Contains(string(r.Body), name) {
				t.Errorf("%v was refused without %q: %s", fields, name, r.Body)
			}
		}
		v.form(path, "user", "Ana", "password", goodPassword, "again", goodPassword).is(303)
		if page := v.page("/account").is(200); !strings.Contains(string(page.Body), "Cashier") {
			t.Errorf("her page: %s", page.Body)
		}
		v.page(path).is(404)
		v.form(path, "user", "eve", "password", goodPassword, "again", goodPassword).is(404)
		owner.call("POST", "/v1/staff", m{"name": "x", "role": "viewer"}, "Idempotency-Key", "s1").refused(422, "invalid_request", "Idempotency-Key not_here")

		// The name is hers, in any spelling, at any merchant.
		other := h.other.till.call("POST", "/v1/staff", m{"name": "Ana", "role": "owner"}).is(201)
		w := newVisitor(t, h.addresses[0])
		path = strings.TrimPrefix(other.str("invite_url"), h.addresses[0])
		if r := w.form(path, "user", " ANA ", "password", goodPassword, "again", goodPassword).is(422); !strings.Contains(string(r.Body), "Somebody has that") {
			t.Errorf("a name twice: %s", r.Body)
		}
		// Once she is gone it is free.
		owner.call("DELETE", "/v1/staff/"+made.str("id"), nil).is(200)
		w.form(path, "user", "ana", "password", goodPassword, "again", goodPassword).is(303)
		w.page("/settings/keys").is(200)
		h.other.till.call("DELETE", "/v1/staff/"+made.str("id"), nil).refused(404, "not_found")
	})

	t.Run("the operator lets the first owner in", func(t *testing.T) {
		staff := func(args ...string) string {
			return performs(t, append(append([]string{"staff"}, args...), h.store...)...)
		}
		link := strings.TrimSpace(staff("invite", string(h.shop.id), "Olga Rocha", "--public-url", h.addresses[0]))
		path := strings.TrimPrefix(link, h.addresses[0])
		v := newVisitor(t, h.addresses[0])
		v.form(path, "user", "olga", "password", goodPassword, "again", goodPassword).is(303)
		id := v.get("/v1/staff").is(200).str("data.0.id")
		if list := staff("list", string(h.shop.id)); !strings.Contains(list, "Olga Rocha") || !strings.Contains(list, "owner") {
			t.Errorf("the list: %s", list)
		}
		again := strings.TrimPrefix(strings.TrimSpace(staff("invite", string(h.shop.id), id, "--public-url", h.addresses[0])), h.addresses[0])
		v.get("/v1/keys").is(200)
		v.form(again, "password", "another "+goodPassword, "again", "another "+goodPassword).is(303)
		v.get("/v1/me").is(200).says("name", "Olga Rocha", "role", "owner")
		staff("end", string(h.shop.id), id)
		eventually(t, "she is out", func() bool { return v.get("/v1/me").Status == 401 })
		names := owner.get("/v1/names?limit=500").is(200)
		if !strings.Contains(string(names.Body), id) || !strings.Contains(string(names.Body), "Olga Rocha") {
			t.Errorf("history cannot name her: %s", names.Body)
		}
		if strings.Contains(string(h.other.till.get("/v1/names").is(200).Body), "Olga Rocha") {
			t.Error("another merchant learns her name")
		}
	})

	t.Run("the API takes a session from our own pages alone", func(t *testing.T) {
		v, _ := h.hire(t, linking.Manager, "mia", "")
		v.get("/v1/merchant").is(200).says("name", "Café Aurora")
		v.get("/v1/keys").refused(403, "forbidden")
		code := v.change("POST", "/v1/codes", m{"kind": "counter"}).is(201).str("id")
		link := v.change("PUT", "/v1/codes/"+code+"/link", m{"request": m{"amount": 700}}).is(200)
		for name, header := range map[string][]string{
			"another site":   {"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"},
			"a sibling":      {"Sec-Fetch-Site", "same-site"},
			"old, elsewhere": {"Origin", "https://evil.example"},
			"null":           {"Origin", "null"},
			"says nothing":   {},
		} {
			for _, call := range []struct{ method, path, body, kind string }{
				{"POST", "/v1/codes", `{"kind":"counter"}`, "application/json"},
				{"POST", "/v1/codes", `{"kind":"counter"}`, "text/plain"},
				{"DELETE", "/v1/codes/" + code + "/link?cancel=true", "", ""},
				{"POST", "/settings/outlets", "do=make&name=Forged", "application/x-www-form-urlencoded"},
				{"POST", "/account", "do=everywhere", "application/x-www-form-urlencoded"},
				{"POST", "/logout", "", ""},
			} {
				if r := v.call(call.method, call.path, call.body, append(header, "Content-Type", call.kind)...); r.Status != 403 {
					t.Errorf("%s: %s %s answered %d: %s", name, call.method, call.path, r.Status, r.Body)
				}
			}
		}
		v.call("POST", "/settings/outlets", "do=make&name=Quay", "Content-Type", "application/x-www-form-urlencoded", "Origin", h.addresses[0]).is(303) // an older browser
		if list := string(owner.get("/v1/outlets").Body); strings.Contains(list, "Forged") || !strings.Contains(list, "Quay") {
			t.Errorf("outlets: %s", list)
		}
		owner.get("/v1/codes/"+code+"/link").is(200).says("request.id", link.str("request.id"))

		// What she did is hers in history, and in events.
		person := owner.get("/v1/staff").is(200)
		me := ""
		for i := 0; person.str(fmt.Sprintf("data.%d.id", i)) != ""; i++ {
			if person.str(fmt.Sprintf("data.%d.user", i)) == "mia" {
				me = person.str(fmt.Sprintf("data.%d.id", i))
			}
		}
		owner.get("/v1/codes/"+code+"/history").is(200).says("data.0.by", me)
		for _, e := range owner.allEvents(0) {
			if e.Type == "code.attached" && e.Code == code && e.By != me {
				t.Errorf("the event says %q, not %q", e.By, me)
			}
		}
	})

	t.Run("who is shut out is out everywhere within 5 s, with his streams", func(t *testing.T) {
		for name, end := range map[string]func(v *visitor, id string){
			"shut out":       func(_ *visitor, id string) { owner.call("DELETE", "/v1/staff/"+id, nil).is(200) },
			"logged out":     func(v *visitor, _ string) { v.call("POST", "/logout", nil, "Sec-Fetch-Site", "same-origin").is(303) },
			"out everywhere": func(v *visitor, _ string) { v.form("/account", "do", "everywhere").is(303) },
			"password": func(v *visitor, _ string) {
				v.form("/account", "do", "password", "current", goodPassword, "password", "quite another one", "again", "quite another one").is(303)
			},
		} {
			v, id := h.hire(t, linking.Viewer, "end-"+strings.ReplaceAll(name, " ", "-"), "")
			held := v.secret("placard_session")
			var streams []io.ReadCloser
			for _, base := range h.addresses {
				w := newVisitor(t, base)
				w.hold(held)
				w.get("/v1/merchant").is(200)
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				req, _ := http.NewRequestWithContext(ctx, "GET", base+"/v1/events", nil)
				req.Header.Set("Accept", "text/event-stream")
				req.AddCookie(&http.Cookie{Name: "placard_session", Value: held})
				resp, err := web.Do(req)
				if err != nil || resp.StatusCode != 200 {
					t.Fatalf("no stream: %v %v", err, resp)
				}
				defer resp.Body.Close()
				streams = append(streams, resp.Body)
			}
			began := time.Now()
			end(v, id)
			for _, base := range h.addresses {
				w := newVisitor(t, base)
				w.hold(held)
				eventually(t, name+": refused", func() bool { return w.get("/v1/merchant").Status == 401 })
			}
			for _, s := range streams {
				if _, err := io.Copy(io.Discard, s); err != nil {
					t.Errorf("%s: the stream does not end: %v", name, err)
				}
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s: it went on for %v", name, took)
			}
		}
	})

	t.Run("a role that changes counts at once", func(t *testing.T) {
		v, id := h.hire(t, linking.Viewer, "vic", "")
		v.change("POST", "/v1/codes", m{"kind": "counter"}).refused(403, "forbidden")
		owner.call("PATCH", "/v1/staff/"+id, m{"role": "manager"}).is(200)
		for _, w := range both(v) {
			eventually(t, "he may", func() bool { return w.at(w.base).get("/v1/webhooks").Status == 200 })
		}
		// A manager makes no owners and touches none, nor himself.
		v.change("POST", "/v1/staff", m{"name": "x", "role": "owner"}).refused(403, "forbidden")
		v.change("PATCH", "/v1/staff/"+id, m{"role": "viewer"}).refused(403, "forbidden")
		v.change("DELETE", "/v1/staff/"+id, nil).refused(403, "forbidden")
		_, boss := h.hire(t, linking.Owner, "boss", "")
		v.change("DELETE", "/v1/staff/"+boss, nil).refused(403, "forbidden")
		v.change("POST", "/v1/staff/"+boss+"/invite", nil).refused(403, "forbidden")
		v.form("/settings/staff", "do", "end", "id", boss).is(422)
		v.page("/settings/keys").is(403)
		v.form("/settings/keys", "do", "make", "role", "owner", "label", "x").is(403)
		v.form("/settings/merchant", "name", "Mine").is(403)
	})

	t.Run("who is bound to an outlet stays in it", func(t *testing.T) {
		main := owner.call("POST", "/v1/outlets", m{"name": "Main St"}).is(201).str("id")
		port := owner.call("POST", "/v1/outlets", m{"name": "Harbour"}).is(201).str("id")
		inMain := owner.call("POST", "/v1/codes", m{"kind": "counter", "outlet": main}).is(201).str("id")
		inPort := owner.call("POST", "/v1/codes", m{"kind": "counter", "outlet": port}).is(201).str("id")
		v, id := h.hire(t, linking.Manager, "otto", "")
		owner.call("PATCH", "/v1/staff/"+id, m{"outlet": main}).is(200)
		eventually(t, "he is bound", func() bool { return v.get("/v1/codes/"+inPort).Status == 404 })
		v.get("/v1/codes/" + inMain).is(200)
		v.change("POST", "/v1/staff", m{"name": "x", "role": "cashier"}).refused(422, "invalid_request", "outlet required")
		v.change("POST", "/v1/staff", m{"name": "x", "role": "cashier", "outlet": port}).refused(422, "invalid_request", "outlet unknown")
		mine := v.change("POST", "/v1/staff", m{"name": "x", "role": "cashier", "outlet": main}).is(201).str("id")
		if list := string(v.get("/v1/staff").is(200).Body); strings.Count(list, `"id"`) != 2 || !strings.Contains(list, mine) {
			t.Errorf("he sees %s", list)
		}
		v.change("PATCH", "/v1/staff/"+mine, m{"outlet": port}).refused(422, "invalid_request", "outlet unknown")
		owner.call("PATCH", "/v1/staff/"+id, m{"outlet": "00000000000000"}).refused(422, "invalid_request", "outlet unknown")
	})

	t.Run("who may send links", func(t *testing.T) {
		send := func(role linking.Role) int { return h.with(role).call("POST", "/v1/requests", m{"amount": 100}).Status }
		for _, role := range linking.Roles { // feature A5
			if got := send(role); (got == 201) != slices.Contains([]linking.Role{linking.Owner, linking.Manager, linking.Cashier}, role) {
				t.Errorf("%s sending a link: %d", role, got)
			}
		}
		owner.call("PATCH", "/v1/merchant", m{"send_links": []string{"viewer"}}).is(200)
		for _, role := range linking.Roles {
			if got := send(role); (got == 201) != slices.Contains([]linking.Role{linking.Owner, linking.Viewer}, role) {
				t.Errorf("%s sending a link, once viewers may: %d", role, got)
			}
		}
		h.with(linking.Cashier).call("PUT", "/v1/codes/"+owner.makeCode("counter")+"/link", m{"request": m{"amount": 100}}).is(200) // no link
	})
}

// hold puts somebody's session into the browser.
func (v *visitor) hold(secret string) {
	u, _ := url.Parse(v.base)
	v.jar.SetCookies(u, []*http.Cookie{{Name: "placard_session", Value: secret, Path: "/"}})
}

// TestLogin: what a stranger cannot find out, do or keep.
func TestLogin(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true, serve: proxied})
	first, _ := h.hire(t, linking.Owner, "olga", "")

	t.Run("nobody's name and a wrong password are the same, in as long", func(t *testing.T) {
		var bodies [2]string
		var took [2]time.Duration
		for i := range 14 {
			v := newVisitor(t, h.addresses[0])
			began := time.Now()
			r := v.form("/login", "user", []string{"olga", "nobody"}[i%2], "password", "something else").is(401)
			took[i%2] += time.Since(began)
			bodies[i%2] = strings.NewReplacer("olga", "X", "nobody", "X").Replace(string(r.Body))
			if r.Header.Get("Set-Cookie") != "" {
				t.Error("a refused login sets a cookie")
			}
		}
		if bodies[0] != bodies[1] || !strings.Contains(bodies[0], "do not fit together") {
			t.Errorf("%s\n\n%s", bodies[0], bodies[1])
		}
		if ratio := float64(took[0]) / float64(took[1]); ratio < .5 || ratio > 2 { // a hash is tens of milliseconds, and none is none
			t.Errorf("a wrong password takes %v, nobody's name %v", took[0]/7, took[1]/7)
		}
	})

	t.Run("a session is made at login, and the one before is over", func(t *testing.T) {
		v := newVisitor(t, h.addresses[0])
		planted := first.secret("placard_session")
		v.hold(planted)
		r := v.form("/login", "user", "OLGA", "password", goodPassword, "next", "/settings/keys").is(303)
		cookie := r.Header.Get("Set-Cookie")
		if v.secret("placard_session") == planted || !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Lax") || strings.Contains(strings.ToLower(cookie), "domain") {
			t.Errorf("the cookie: %s", cookie)
		}
		if r.Header.Get("Location") != "/settings/keys" {
			t.Errorf("led to %s", r.Header.Get("Location"))
		}
		first.get("/v1/merchant").refused(401, "unauthorized") // what was planted in the browser lets nobody in
		v.get("/v1/merchant").is(200)
		v.form("/login", "user", "olga", "password", "not hers at all").is(401)
		v.get("/v1/merchant").is(200) // a wrong login ends nothing
		made := "pls_" + planted[4:16] + strings.Repeat("0", 32)
		w := newVisitor(t, h.addresses[0])
		for _, bad := range []string{made, "x", "pls_", strings.Repeat("A", 4000), "pls_" + strings.Repeat("é", 44)} {
			w.hold(bad)
			w.get("/v1/merchant").refused(401, "unauthorized")
			w.page("/account").is(303)
		}
		// A key's call is the key's, whatever the browser keeps.
		v.get("/v1/merchant", "Authorization", "Bearer plc_"+strings.Repeat("0", 44)).refused(401, "unauthorized")
	})

	t.Run("a login leads to no other site", func(t *testing.T) {
		for _, next := range []string{"https://evil.example/", "//evil.example/", `/\evil.example/`, "/\t/evil.example", "/settings/../..//evil.example", "javascript:alert(1)", "/settings@evil.example", "/login/../x", "/settings\r\nSet-Cookie: a=b", "/q/0000", "/v1/keys", "/till/%2F%2Fevil", ""} {
			v := newVisitor(t, h.addresses[0])
			page := v.page("/login?next=" + url.QueryEscape(next)).is(200)
			if !strings.Contains(string(page.Body), `name="next" value="/account"`) {
				t.Errorf("%q stands in the form", next)
			}
			if r := v.form("/login", "key", h.shop.till.key, "next", next).is(303); r.Header.Get("Location") != "/account" {
				t.Errorf("%q leads to %q", next, r.Header.Get("Location"))
			}
		}
		v := newVisitor(t, h.addresses[0])
		if r := v.page("/settings/staff?lang=pt").is(303); r.Header.Get("Location") != "/login?next=%2Fsettings%2Fstaff%3Flang%3Dpt" {
			t.Errorf("led to %s", r.Header.Get("Location"))
		}
	})

	t.Run("logins are limited by address and by name, and a flood takes little memory", func(t *testing.T) {
		v := newVisitor(t, h.addresses[0])
		limited := 0
		for i := range 30 { // from one address
			if r := v.form("/login", "user", fmt.Sprint("somebody-", i), "password", "guess"); r.Status == 429 {
				limited++
				if r.Header.Get("Retry-After") == "" || !strings.Contains(string(r.Body), "Too many tries") {
					t.Errorf("limited, and says %s", r.Body)
				}
			}
		}
		if limited < 8 {
			t.Errorf("of 30 tries from one address %d were limited", limited)
		}
		newVisitor(t, h.addresses[0]).form("/login", "user", "olga", "password", goodPassword).is(303)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var peak atomic.Uint64
		watched := make(chan struct{})
		go func() {
			var now runtime.MemStats
			for {
				select {
				case <-watched:
					return
				case <-time.After(5 * time.Millisecond):
					runtime.ReadMemStats(&now)
					if now.HeapInuse > peak.Load() {
						peak.Store(now.HeapInuse)
					}
				}
			}
		}()
		var codes [600]atomic.Int32
		atOnce(100, func(i int) { // with one name, from a hundred
			w := newVisitor(t, h.addresses[0])
			for range 2 {
				codes[w.form("/login", "user", "victim", "password", "guess").Status].Add(1)
			}
		})
		close(watched)
		runtime.ReadMemStats(&after)
		t.Logf("200 logins at once: %d wrong, %d limited; the heap grew from %d to at most %d MiB", codes[401].Load(), codes[429].Load(), before.HeapInuse>>20, peak.Load()>>20)
		if codes[401].Load() > 40 || codes[401].Load()+codes[429].Load() != 200 {
			t.Errorf("%d tries with one name were looked at", codes[401].Load())
		}
		if grown := int64(peak.Load()) - int64(before.HeapInuse); grown > 300<<20 {
			t.Errorf("a flood of logins took %d MiB", grown>>20)
		}
	})
}

// TestPairedDevice: on a tablet that a manager paired, and nowhere else, a PIN opens a
// till, and no more than a till.
func TestPairedDevice(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{bare: true, serve: proxied})
	owner := h.shop.till
	code, elsewhere := owner.makeCode("counter"), owner.makeCode("counter")
	boss, bossID := h.hire(t, linking.Owner, "olga", "2580")
	_, carla := h.hire(t, linking.Cashier, "carla", "7913")
	_, dario := h.hire(t, linking.Cashier, "dario", "3197")
	_, viewer := h.hire(t, linking.Viewer, "vera", "2580")
	made := boss.change("POST", "/v1/devices", m{"name": "Tablet <1>", "codes": []string{code}}).is(201)
	link := strings.TrimPrefix(made.str("pair_url"), h.addresses[0])
	tablet := newVisitor(t, h.addresses[0])
	if page := tablet.page(link).is(200); !strings.Contains(string(page.Body), "Tablet &lt;1&gt;") {
		t.Errorf("the page: %s", page.Body)
	}
	if owner.get("/v1/devices").at("data.0.paired_at") != nil {
		t.Error("to open the link pairs already")
	}
	tablet.form(link).is(303)
	newVisitor(t, h.addresses[0]).form(link).is(404) // once
	login := string(tablet.page("/login?next=/till/" + code).is(200).Body)
	for id, want := range map[string]bool{carla: true, dario: true, bossID: true, viewer: false} {
		if strings.Contains(login, id) != want {
			t.Errorf("%s on the tablet: %v", id, !want)
		}
	}
	newVisitor(t, h.addresses[0]).form("/login", "staff", carla, "pin", "7913").is(401) // no tablet of ours
	tablet.form("/login", "staff", viewer, "pin", "2580").is(401)
	tablet.form("/login", "staff", "x", "pin", "2580").is(401)
	if r := tablet.form("/login", "staff", carla, "pin", "7913", "next", "/till/"+code).is(303); r.Header.Get("Location") != "/till/"+code {
		t.Errorf("led to %s", r.Header.Get("Location"))
	}
	tablet.change("PUT", "/v1/codes/"+code+"/link", m{"request": m{"amount": 500}}).is(200)
	tablet.change("PUT", "/v1/codes/"+elsewhere+"/link", m{"request": m{"amount": 500}}).refused(404, "not_found")
	owner.get("/v1/codes/"+code+"/history").is(200).says("data.0.by", carla)

	// His colleague takes the till over, and goes on with what it shows.
	old := tablet.secret("placard_session")
	tablet.form("/login", "staff", dario, "pin", "3197").is(303)
	tablet.change("PUT", "/v1/codes/"+code+"/link", m{"request": m{"amount": 600}, "replace": true}).is(200)
	owner.get("/v1/codes/"+code+"/history").is(200).says("data.0.by", dario, "data.1.ended_by", dario)
	was := newVisitor(t, h.addresses[0])
	was.hold(old)
	was.get("/v1/merchant").refused(401, "unauthorized")

	// An owner's PIN opens a till, not his office.
	tablet.form("/login", "staff", bossID, "pin", "2580").is(303)
	tablet.get("/v1/keys").refused(403, "forbidden")
	tablet.page("/settings").is(403)
	tablet.form("/account", "do", "pin", "current", "2580", "pin", "7531").is(422) // needs the password

	// Five wrong PINs, also at once, and none is taken for a while: not the right one either.
	var looked atomic.Int32
	atOnce(12, func(i int) {
		if r := tablet.form("/login", "staff", carla, "pin", fmt.Sprint(8000+i)); r.Status == 401 {
			looked.Add(1)
		} else if r.Status != 429 {
			t.Errorf("a wrong PIN: %d %s", r.Status, r.Body)
		}
	})
	if looked.Load() > 5 {
		t.Errorf("%d PINs were looked at", looked.Load())
	}
	again := newVisitor(t, h.addresses[0])
	again.keepsDevice(tablet.secret("placard_device"))
	again.form("/login", "staff", carla, "pin", "7913").is(429)
	again.form("/login", "staff", dario, "pin", "3197").is(303)
	again.form("/login", "user", "carla", "password", goodPassword).is(303)

	// Revoked: who is logged in there is out, and nobody comes in.
	again.form("/login", "staff", dario, "pin", "3197").is(303)
	boss.form("/settings/devices", "do", "end", "id", made.str("id")).is(303)
	eventually(t, "the tablet is out", func() bool { return again.get("/v1/merchant").Status == 401 })
	again.form("/login", "staff", dario, "pin", "3197").is(401)
	if strings.Contains(string(again.page("/login").is(200).Body), dario) {
		t.Error("a revoked tablet lists people")
	}
}

func (v *visitor) keepsDevice(secret string) {
	u, _ := url.Parse(v.base)
	v.jar.SetCookies(u, []*http.Cookie{{Name: "placard_device", Value: secret, Path: "/"}})
}
