// One payment request: how it stands, what happened to it, and what can be done with it.
"use strict";
(() => {
  const { $, t, ask, el, told, say, money, moment } = desk;
  const id = $("desk").dataset.request, at = "/v1/requests/" + id;
  const OPEN = ["draft", "unvalued", "preparing", "active", "processing"];

  let r = null, own = id, seq = 0, story = new Set(), names = new Map();
  const role = (...roles) => roles.includes(desk.me.role);
  const sum = (a) => money(a, r.currency);

  const load = desk.latch(async () => {
    const a = await ask("GET", at);
    if (!a.ok) {
      say($("trouble"), a.status === 404 ? t("not_there") : desk.refusal(a.data));
      $("there").hidden = !r;
      return;
    }
    say($("trouble"), "");
    const before = r;
    r = a.data;
    own = r.id;
    draw();
    if (before && before.status !== r.status) desk.announce($("status").textContent + " " + $("sum").textContent);
  });

  // ---- how it stands

  function draw() {
    $("there").hidden = false;
    $("status").replaceChildren(...desk.statusOf(r));
    $("sum").textContent = r.amount === null ? t("no_amount") : sum(r.status === "paid" ? r.paid_amount : r.amount);
    $("for").replaceChildren(told(r.reference));
    say($("explain"), explain());
    facts();
    lines();
    exceptions();
    const open = r.share && ["preparing", "active"].includes(r.status);
    $("share").hidden = !open;
    if (open) {
      $("sms").href = r.share.sms;
      $("mail").href = r.share.mailto;
    }
    acts();
  }

  function explain() {
    switch (r.status) {
      case "preparing": return r.bank.state === "rejected" ? t("bank_refused") : r.bank.last_error ? t("bank_away") : t("preparing_text");
      case "processing": return r.bank.state === "authorised" && !r.end_asked ? t("authorised_text") : r.end_asked ? t("in_flight_text") : t("processing_text");
      case "closing": return t("closing_text");
      case "expired": case "cancelled": return r.end_reason ? t("reason_" + r.end_reason) : "";
    }
    return "";
  }

  function facts() {
    const list = [];
    const fact = (key, ...value) => { if (value.some(Boolean)) list.push(el("div", {}, el("dt", {}, t(key)), el("dd", {}, ...value))); };
    const text = (s) => s && told(s), to = (other) => other && el("a", { href: "/inbox/" + other }, other.slice(-8, -4) + "-" + other.slice(-4));
    const c = r.customer || {};
    fact("f_number", el("span", { title: r.id }, r.short_id));
    fact("f_customer", text([c.name, c.email, c.phone].filter(Boolean).join("\n")));
    fact("f_address", text(c.address));
    fact("f_note", text(r.note));
    fact("f_sale", text(r.sale));
    fact("f_context", text(r.context));
    fact("f_client_id", text(r.client_id));
    fact("f_made", desk.time(r.created_at));
    fact("f_ends", r.expires_at ? desk.time(r.expires_at) : t("no_end"));
    fact("f_opened", r.opened_at && desk.time(r.opened_at));
    fact("f_paid", r.paid_at && desk.time(r.paid_at));
    fact("f_capture", r.capture === "manual" && t("capture_manual"));
    fact("f_replaces", to(r.replaces));
    fact("f_replaced_by", to(r.displaced_by));
    $("facts").replaceChildren(...list);
  }

  function lines() {
    $("lines").hidden = !r.lines.length;
    $("lines").tBodies[0].replaceChildren(...r.lines.map((l) => el("tr", {},
      el("th", { scope: "row" }, told(l.description), l.quantity === "1" ? "" : " × " + number(l.quantity), " ", el("span", { class: "how" }, t("vat") + " " + number(l.vat_rate) + " %")),
      el("td", {}, sum(l.total)))));
  }
  const number = (s) => Number(s).toLocaleString(desk.locale, { maximumFractionDigits: 3 });

  // ---- money that fits no rule

  function exceptions() {
    const list = r.exceptions.filter((e) => !e.decision);
    const as = JSON.stringify([list, r.status]);
    if ($("exceptions").dataset.as === as) return;
    $("exceptions").dataset.as = as;
    $("exceptions").replaceChildren(...list.map((e) => {
      const box = el("div", { class: "odd", role: "group", "aria-label": t("s_review") },
        el("p", {}, t("odd", { amount: money(e.amount, e.currency), why: t("kind_" + e.kind) })));
      if (!role("owner", "manager")) return box.append(el("p", {}, t("manager_decides"))), box;
      const decide = (how) => panel({
        title: t(how === "accept" ? "accept_title" : "return_title", { amount: money(e.amount, e.currency) }), text: t(how === "accept" ? "accept_text" : "return_text"), yes: t(how === "accept" ? "accept_yes" : "return_yes"),
        send: (once) => ask("POST", `/v1/exceptions/${e.id}/${how}`, null, { headers: { "Idempotency-Key": once } }),
      });
      box.append(el("div", { class: "acts" },
        el("button", { type: "button", onclick: () => decide("accept") }, t("accept")),
        el("button", { type: "button", class: "plain", onclick: () => decide("return") }, t("return"))));
      return box;
    }));
  }

  // ---- what can be done

  function acts() {
    const list = [], open = OPEN.includes(r.status) && !r.end_asked;
    const act = (yes, key, f) => { if (yes) list.push([key, f]); };
    const till = role("owner", "manager", "cashier");
    const left = r.paid_amount - r.refunds.filter((f) => f.status !== "failed").reduce((n, f) => n + f.amount, 0);
    act(till && r.status === "draft", "submit", () => send(() => ask("POST", at + "/submit")));
    act(role("owner", "manager") && r.status === "processing" && r.bank.state === "authorised" && !r.end_asked, "capture", capture);
    act(r.status === "paid", "receipt", receipt);
    act(till && r.status === "paid" && left > 0, "refund", () => refund(left));
    act(till && open && r.share && r.status !== "draft", "replace", () => { location.href = "/inbox/new?replaces=" + r.id; });
    act(till && open && r.status !== "processing", "otherwise", () => cancel("paid_otherwise"));
    act(till && open, "cancel", () => cancel(""));
    act(till && ["expired", "cancelled", "paid"].includes(r.status) && r.amount !== null, "renew", renew);
    const as = list.map(([key]) => key).join();
    if ($("acts").dataset.as === as) return;
    $("acts").dataset.as = as;
    const held = document.activeElement && document.activeElement.parentElement === $("acts") && document.activeElement.dataset.act;
    $("acts").replaceChildren(...list.map(([key, f]) => el("button", { type: "button", class: "plain", "data-act": key, onclick: f }, t(key))));
    const again = held && $("acts").querySelector(`[data-act=${held}]`);
    if (again) again.focus();
  }

  // send does something and shows what came of it. A call that nobody answered may be sent
  // again: it is known by its key.
  async function send(call) {
    say($("refused"), "");
    let a;
    try { a = await call(desk.uid()); } catch (e) { say($("refused"), t("no_answer")); return null; }
    if (!a.ok) say($("refused"), desk.refusal(a.data));
    load();
    return a.ok ? a.data : null;
  }

  // panel asks once more, with what is to be filled in, before something is done.
  function panel({ title, text, fields = [], yes, send: call, then = () => {} }) {
    const form = $("panel"), from = document.activeElement, heading = el("h3", { id: "panel-title", tabindex: "-1" }, title);
    const bad = el("p", { class: "notice", role: "alert", hidden: true }), go = el("button", {}, yes);
    const shut = () => { form.hidden = true; form.replaceChildren(); if (from && from.isConnected) from.focus(); };
    form.setAttribute("aria-labelledby", "panel-title");
    form.replaceChildren(heading, text ? el("p", {}, text) : "", bad, ...fields, el("div", { class: "acts" }, go, el("button", { type: "button", class: "plain", onclick: shut }, t("not_now"))));
    form.onkeydown = (e) => { if (e.key === "Escape") shut(); };
    let once = desk.uid(), with_ = "";
    form.onsubmit = async (e) => {
      e.preventDefault();
      const now = [...form.querySelectorAll("input")].map((i) => i.value).join("\n");
      if (now !== with_) { with_ = now; once = desk.uid(); } // other words are another command
      go.disabled = true;
      say(bad, "");
      try {
        const a = await call(once);
        load();
        if (a.ok) { shut(); then(a.data); return; }
        once = desk.uid();
        say(bad, desk.refusal(a.data));
      } catch (err) { say(bad, t("no_answer")); }
      go.disabled = false;
    };
    form.hidden = false;
    (form.querySelector("input") || heading).focus({ preventScroll: true });
    form.scrollIntoView({ block: "nearest" });
  }

  const field = (name, label, attrs) => {
    const input = el("input", { id: name, autocomplete: "off", ...attrs });
    return [el("p", { class: "field" }, el("label", { for: name }, label), input), input];
  };

  function cancel(reason) {
    panel({
      title: t(reason ? "otherwise_title" : "cancel_title"), text: t(r.status === "processing" ? "cancel_paying" : "cancel_text"), yes: t(reason ? "otherwise_yes" : "cancel_yes"),
      send: (once) => ask("POST", at + "/cancel", reason ? { reason } : {}, { headers: { "Idempotency-Key": once } }),
      then: (a) => desk.announce(t("s_" + a.status)),
    });
  }

  const renew = () => panel({
    title: t("renew_title"), text: t(r.status === "paid" ? "renew_paid" : "renew_text"), yes: t("renew_yes"),
    send: (once) => ask("POST", at + "/renew", {}, { headers: { "Idempotency-Key": once } }),
    then: (a) => { location.href = "/inbox/" + a.id + "?new=1"; },
  });

  const capture = () => panel({
    title: t("capture_title", { amount: sum(r.amount) }), yes: t("capture"),
    send: (once) => ask("POST", at + "/capture", null, { headers: { "Idempotency-Key": once } }),
  });

  function refund(left) {
    const [amountField, amount] = field("refund-amount", t("refund_amount") + " " + r.currency, { inputmode: "numeric" });
    const [reasonField, reason] = field("refund-reason", t("refund_reason"), { maxlength: 140 });
    amount.value = desk.decimals(left);
    desk.amounts(amount);
    panel({
      title: t("refund_title", { amount: sum(left) }), fields: [amountField, reasonField], yes: t("refund_yes"),
      send: (once) => ask("POST", at + "/refunds", { amount: desk.minor(amount), ...(reason.value.trim() ? { reason: reason.value.trim() } : {}) }, { headers: { "Idempotency-Key": once } }),
      then: () => desk.announce(t("refund_sent")),
    });
  }

  async function receipt() {
    try {
      const a = await desk.save(at + "/receipt?format=pdf", `receipt-${r.short_id}.pdf`, "application/pdf");
      if (!a.ok) say($("refused"), desk.refusal(a.data));
    } catch (e) { say($("refused"), t("no_answer")); }
  }

  // ---- the link goes to whoever shall pay

  $("copy").onclick = async () => {
    try {
      await navigator.clipboard.writeText(r.share.url);
      $("copy").textContent = t("copied");
      desk.announce(t("copied"));
      setTimeout(() => { $("copy").textContent = t("copy"); }, 3000);
    } catch (e) { // not allowed here: it can be copied by hand
      if (!$("by-hand")) $("share").prepend(el("p", { class: "field" }, el("label", { for: "by-hand" }, t("copy_by_hand")), el("input", { id: "by-hand", readonly: true, value: r.share.url })));
      $("by-hand").select();
    }
  };

  async function symbol(open) {
    if (open && !$("symbol").firstChild) {
      const a = await ask("GET", at + "/qr.svg", null, { headers: { Accept: "image/svg+xml" }, raw: true }).catch(() => null);
      if (!a || !a.ok) return;
      $("symbol").append(el("img", { alt: t("qr_alt"), src: "data:image/svg+xml;base64," + btoa(await a.data.text()) }));
    }
    $("symbol").hidden = !open;
    $("qr").textContent = t(open ? "hide_qr" : "show_qr");
    $("qr").setAttribute("aria-expanded", String(open));
  }
  $("qr").onclick = () => symbol($("symbol").hidden);

  // ---- the story

  function tell(e) {
    if (story.has(e.seq)) return;
    story.add(e.seq);
    const q = e.request || {}, fill = { amount: q.amount === null || q.amount === undefined ? t("no_amount") : money(q.amount, q.currency), n: q.revision, why: q.end_reason ? t("reason_" + q.end_reason) : "" };
    let key = "ev_" + e.type.replace(".", "_");
    if (e.payment) fill.amount = money(e.payment.amount, e.payment.currency);
    if (e.refund) fill.amount = money(e.refund.amount, q.currency);
    if (e.exception) { fill.amount = money(e.exception.amount, e.exception.currency); fill.why = t("kind_" + e.exception.kind); }
    if (e.type === "exception.decided") key += "_" + e.exception.decision;
    if (e.type === "request.created" && fill.amount === t("no_amount")) key = "ev_request_unvalued";
    if (!desk.has(key)) return;
    const li = el("li", { class: e.type.replace(".", "-"), "data-seq": e.seq }, el("time", { datetime: e.at }, moment(e.at)), " ", el("span", {}, t(key, fill)), names.get(e.by) ? el("span", { class: "by" }, " · ", told(names.get(e.by))) : "");
    const later = [...$("story").children].find((other) => Number(other.dataset.seq) > e.seq);
    $("story").insertBefore(li, later || null);
  }

  // tale reads what was said of the request so far, from when it was made, and by whom.
  async function tale() {
    for (let next = ""; next !== null; ) {
      const a = await ask("GET", "/v1/names?limit=500" + (next && "&after=" + next)).catch(() => null);
      next = a && a.ok ? a.data.next : null;
      if (a && a.ok) for (const n of a.data.data) names.set(n.id, n.name);
    }
    for (let after = 0; after < seq || !after; ) {
      const a = await ask("GET", `/v1/events?request=${id}&limit=500${after ? "&after=" + after : ""}`).catch(() => null);
      if (!a) { await desk.pause(3000); continue; }
      if (a.status === 410) { after = Math.max(1, Number(a.data.oldest) - 1); continue; }
      if (!a.ok) break;
      a.data.data.forEach(tell);
      if (Number(a.data.next) <= after) break;
      after = Number(a.data.next);
      if (!after) break;
    }
    $("reading").hidden = true;
  }

  desk.start(async () => {
    desk.whenBack(load);
    seq = await desk.latest();
    await load();
    desk.follow(seq, (e) => {
      if (!e.request || e.request.id !== own) return;
      tell(e);
      load();
    }, load);
    if (r && new URLSearchParams(location.search).has("new")) {
      history.replaceState(null, "", location.pathname);
      symbol(true);
    }
    if (r) tale(); else $("reading").hidden = true;
    setInterval(() => { if (!document.hidden) load(); }, 20000);
  });
})();
