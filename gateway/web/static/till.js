// The till: attach a sale to the printed code, watch it being paid. The key stands in
// the address's fragment, which no server and no log ever sees, and is kept for this
// tab alone.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const code = $("till").dataset.code;
  let key = location.hash.slice(1) || sessionStorage.getItem("key") || "", merchant, current, seq = 0;
  if (location.hash) history.replaceState(null, "", location.pathname);

  const api = async (method, path, body, headers = {}) => {
    const answer = await fetch(path, {
      method, cache: "no-store", body: body && JSON.stringify(body),
      headers: { Authorization: "Bearer " + key, Accept: "application/json", ...(body ? { "Content-Type": "application/json" } : {}), ...headers },
    });
    const data = await answer.json().catch(() => ({}));
    return { ok: answer.ok, status: answer.status, data };
  };
  const show = (id) => { for (const s of ["login", "sale", "wait", "done"]) $(s).hidden = s !== id; };
  const trouble = (text) => { $("trouble").hidden = !text; $("trouble").textContent = text || ""; };
  const money = (a, c) => new Intl.NumberFormat("en", { style: "currency", currency: c }).format(a / 10 ** digits(c)) ;
  const digits = (c) => new Intl.NumberFormat("en", { style: "currency", currency: c }).resolvedOptions().maximumFractionDigits;

  async function open() {
    if (!key) return show("login");
    const m = await api("GET", "/v1/merchant");
    if (!m.ok) { trouble(m.data.detail || "The gateway does not answer."); return show("login"); }
    sessionStorage.setItem("key", key);
    merchant = m.data;
    $("currency").textContent = merchant.currency;
    const link = await api("GET", `/v1/codes/${code}/link`);
    if (!link.ok) return trouble(link.data.detail);
    const latest = await api("GET", "/v1/events?after=latest&limit=1");
    seq = Number(latest.data.next || 0);
    if (link.data.request) waiting(link.data.request); else show("sale");
    follow();
  }

  function waiting(r) {
    current = r;
    trouble("");
    show("wait");
    $("what").textContent = { preparing: "Asking the bank …", active: "Waiting for payment", processing: "Being paid: do not take other money", closing: "Cancelling …" }[r.status] || r.status;
    $("sum").textContent = r.amount === null ? "no amount yet" : money(r.amount, r.currency);
    $("pairing").textContent = r.pairing || "–";
    tick();
  }

  function tick() {
    if (!current || $("wait").hidden) return;
    const left = $("left");
    if (!current.expires_at) left.textContent = "no end";
    else {
      const s = Math.max(0, Math.round((Date.parse(current.expires_at) - Date.now()) / 1000));
      left.textContent = Math.floor(s / 60) + ":" + String(s % 60).padStart(2, "0");
      left.parentElement.classList.toggle("soon", s < 60);
    }
    clearTimeout(tick.timer);
    tick.timer = setTimeout(tick, 1000);
  }

  function done(mark, outcome, more) {
    current = null;
    $("mark").textContent = mark;
    $("outcome").textContent = outcome;
    $("more").textContent = more || "";
    show("done");
  }

  async function follow() {
    for (;;) {
      try {
        const e = await api("GET", `/v1/events?code=${code}&after=${seq}&wait=25`);
        if (!e.ok) throw new Error(e.data.detail);
        trouble("");
        for (const event of e.data.data) told(event);
        seq = Number(e.data.next);
      } catch (err) {
        trouble("No contact with the gateway: what is shown may be old. Do not ask to pay again.");
        await new Promise((r) => setTimeout(r, 5000));
      }
    }
  }

  function told(e) {
    if (!current || !e.request || e.request.id !== current.id) return;
    switch (e.type) {
      case "code.scanned": $("seen").textContent = "The customer has scanned the code."; break;
      case "request.opened": $("seen").textContent = "The customer sees the amount."; break;
      case "request.paying": $("seen").textContent = "The customer is paying."; break;
      case "request.paid": return done("✓", "Paid " + money(e.request.paid_amount, e.request.currency), e.late ? "It came late." : "");
      case "request.expired": return done("–", "Expired: not paid");
      case "request.cancelled": return done("–", "Cancelled: not paid");
      case "request.review": return done("!", "Money came that does not fit", "A manager decides about it.");
      default:
        if (e.type.startsWith("request.")) { current.status = e.request.status; current.amount = e.request.amount; waiting(current); }
    }
  }

  $("login").onsubmit = (e) => { e.preventDefault(); key = $("key").value.trim(); open(); };
  $("sale").onsubmit = async (e) => {
    e.preventDefault();
    const d = digits(merchant.currency), [w, f = ""] = $("amount").value.replace(",", ".").split(".");
    const amount = Number(w) * 10 ** d + Number(f.padEnd(d, "0").slice(0, d) || 0);
    const r = await api("PUT", `/v1/codes/${code}/link`, { request: { amount, reference: $("reference").value.trim() || undefined } }, { "Idempotency-Key": crypto.randomUUID() });
    if (!r.ok) return trouble(r.data.detail || "Not done.");
    $("seen").textContent = "";
    e.target.reset();
    waiting(r.data.request);
  };
  $("cancel").onclick = async () => {
    const r = await api("DELETE", `/v1/codes/${code}/link?request_id=${current.id}&cancel=true`);
    if (!r.ok) trouble(r.data.detail);
    else if (r.data.may_take_other_tender && r.data.may_take_other_tender.allowed) done("–", "Cancelled: not paid", "Other money may be taken.");
    else { $("what").textContent = "Cancelling: do not take other money yet"; }
  };
  $("next").onclick = () => show("sale");
  open();
})();
