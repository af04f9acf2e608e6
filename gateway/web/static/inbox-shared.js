// What the pages of the office share: the gateway, the events, and how money, days and
// refusals are told.
//
// An API key may stand in the address's fragment, which no server and no log ever sees;
// it is kept for this tab alone. Without one, whoever is signed in by a session is known
// by a cookie. What a page shows is only ever what the gateway has answered.
"use strict";
const desk = (() => {
  const $ = (id) => document.getElementById(id);
  const words = JSON.parse($("words").textContent);
  const t = (key, fill = {}) => words.words[key].replace(/\{(\w+)\}/g, (_, name) => fill[name]);
  const has = (key) => key in words.words;

  let key = location.hash.startsWith("#plc_") ? location.hash.slice(1) : sessionStorage.getItem("key") || "";
  if (location.hash.startsWith("#plc_")) history.replaceState(null, "", location.pathname + location.search);

  let merchant = {}, me = {}, begin = () => {}, begun = false, lost = false, heard = Date.now();

  // ---- the gateway

  const sent = (headers = {}) => ({ ...(key ? { Authorization: "Bearer " + key } : {}), ...headers });

  // ask makes a call. It throws if nobody answers, or a gateway that cannot know; a refusal
  // is an answer.
  async function ask(method, path, body, { wait = 0, headers = {}, raw = false } = {}) {
    let answer;
    try {
      answer = await fetch(path, {
        method, cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout((wait + 15) * 1000), body: body && JSON.stringify(body),
        headers: sent({ Accept: "application/json", ...(body ? { "Content-Type": "application/json" } : {}), ...headers }),
      });
    } catch (e) {
      contact(false);
      throw e;
    }
    if (raw && answer.ok) { contact(true); return { ok: true, status: answer.status, data: await answer.blob() }; }
    const data = await answer.json().catch(() => ({}));
    if (answer.status === 502 || answer.status === 504 || (answer.status === 503 && data.code !== "bank_unavailable")) {
      contact(false);
      throw new Error(data.detail || "unavailable");
    }
    contact(true);
    if (answer.status === 401) closed();
    return { ok: answer.ok, status: answer.status, data };
  }

  function contact(there) {
    if (there) heard = Date.now();
    if (lost === !there) return;
    lost = !there;
    say($("contact"), lost ? t("no_contact", { time: clock(heard) }) : "");
  }

  const pause = (ms) => new Promise((r) => setTimeout(r, ms));
  const uid = () => (crypto.randomUUID ? crypto.randomUUID() : String(Math.random()).slice(2) + Date.now());

  // refusal is what a refused call is told as: what is wrong with which field, or why not.
  const refusal = (data) => (data.errors || []).map((e) => e.message).join(" ") || data.detail || t("not_done");

  // ---- who is there

  function closed() {
    $("login").hidden = false;
    $("desk").hidden = true;
  }

  async function open() {
    let who, shop;
    try {
      [who, shop] = await Promise.all([ask("GET", "/v1/me"), ask("GET", "/v1/merchant")]);
    } catch (e) { setTimeout(open, 3000); return; }
    if (!who.ok || !shop.ok) {
      closed();
      if (key) say($("login-refused"), who.status === 401 ? t("key_wrong") : refusal(who.data));
      return;
    }
    if (key) sessionStorage.setItem("key", key);
    [me, merchant] = [who.data, shop.data];
    $("shop").textContent = merchant.name;
    $("test").hidden = merchant.mode !== "test";
    $("login").hidden = true;
    $("desk").hidden = false;
    say($("login-refused"), "");
    if (begun) { again.forEach((f) => f()); return; }
    begun = true;
    begin();
  }
  $("login").onsubmit = (e) => { e.preventDefault(); key = $("key").value.trim(); open(); };

  // start calls f once somebody is let in. What comes again when he is let in once more,
  // or when the page comes back to life, is told by whenBack.
  const again = [];
  const start = (f) => { begin = f; open(); };
  const whenBack = (f) => again.push(f);
  const wake = () => { if (begun && !document.hidden) again.forEach((f) => f()); };
  addEventListener("online", wake);
  addEventListener("offline", () => contact(false));
  addEventListener("visibilitychange", wake);
  addEventListener("pageshow", (e) => { if (e.persisted) wake(); });

  // ---- what happens, as it happens

  // follow tells every event from seq on: by a stream, behind it by a call that waits, and
  // behind that by asking every five seconds. missed is called when some may not be told.
  async function follow(seq, told, missed) {
    for (let fails = 0; ; ) {
      try { await stream(); fails = 0; } catch (e) { fails++; }
      try {
        const e = await ask("GET", `/v1/events?after=${seq}&wait=${fails > 1 ? 20 : 0}&limit=500`, null, { wait: 20 });
        if (e.ok) { for (const event of e.data.data) told(event); seq = Number(e.data.next); }
        else if (e.status === 410) { seq = Number(e.data.oldest || 0); missed(); }
        else await pause(5000);
      } catch (e) { await pause(5000); }
    }
    async function stream() {
      const stop = new AbortController();
      const answer = await fetch(`/v1/events?after=${seq}`, { cache: "no-store", credentials: "same-origin", signal: stop.signal, headers: sent({ Accept: "text/event-stream" }) });
      if (!answer.ok || !answer.body) throw new Error("no stream");
      contact(true);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let quiet, rest = "";
      try {
        for (;;) {
          clearTimeout(quiet);
          quiet = setTimeout(() => stop.abort(), 25000); // it says at least every 15 s that it is there
          const { value, done } = await reader.read();
          if (done) return;
          contact(true);
          const parts = (rest + value).split(/\r?\n\r?\n/);
          rest = parts.pop();
          for (const part of parts) {
            const data = part.split(/\r?\n/).filter((l) => l.startsWith("data:")).map((l) => l.slice(5)).join("\n");
            const event = data ? JSON.parse(data) : {};
            if (event.seq) { seq = event.seq; told(event); }
          }
        }
      } finally { clearTimeout(quiet); }
    }
  }

  // latest is the number of the newest event. Whoever reads it before he reads what he
  // shows, and follows from there, misses nothing.
  async function latest() {
    for (;;) {
      const r = await ask("GET", "/v1/events?after=latest&limit=1").catch(() => null);
      if (r && r.ok) return Number(r.data.next);
      await pause(3000);
    }
  }

  // latch runs f once now, and once more if it was called again meanwhile: an answer that
  // is on its way may be older than the event that calls for it. At most once in ms.
  function latch(f, ms = 0) {
    let running = false, more = false;
    return async function run() {
      if (running) { more = true; return; }
      running = true;
      do {
        more = false;
        try { await f(); } catch (e) { /* the banner says it; it is asked again */ }
        if (ms) await pause(ms);
      } while (more);
      running = false;
    };
  }

  // ---- how it is told

  // el makes an element. Text is text: nothing that anybody typed becomes markup.
  function el(tag, attrs = {}, ...inside) {
    const e = document.createElement(tag);
    for (const [name, value] of Object.entries(attrs)) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) e[name] = value;
      else if (name === "class") e.className = value;
      else e.setAttribute(name, value === true ? "" : value);
    }
    e.append(...inside.filter((x) => x !== null && x !== undefined && x !== ""));
    return e;
  }
  // told is what somebody else typed: its direction is its own.
  const told = (text) => el("bdi", {}, text);

  function say(e, text) {
    e.hidden = !text;
    if (e.textContent !== (text || "")) e.textContent = text || "";
  }
  const announce = (text) => { if ($("news").textContent !== text) $("news").textContent = text; };

  const digits = (c) => new Intl.NumberFormat("en", { style: "currency", currency: c }).resolvedOptions().maximumFractionDigits;
  // Portugal and Brazil write the euro differently, as the payer's page does.
  const money = (a, c) => new Intl.NumberFormat(words.locale === "pt" && c === "EUR" ? "pt-PT" : words.locale, { style: "currency", currency: c }).format(a / 10 ** digits(c));
  const days = words.locale === "en" ? "en-GB" : words.locale; // 21 Nov, as the payer's page has it
  const zone = () => ({ timeZone: merchant.time_zone || "UTC" });
  const clock = (at) => new Intl.DateTimeFormat(words.locale, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...zone() }).format(at);
  // moment is day and time as the merchant's clock shows them; the year where it is another.
  function moment(iso) {
    const at = new Date(iso), year = { year: "numeric", ...zone() };
    const other = new Intl.DateTimeFormat("en", year).format(at) !== new Intl.DateTimeFormat("en", year).format(new Date());
    return new Intl.DateTimeFormat(days, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(other ? year : {}), ...zone() }).format(at);
  }
  const time = (iso) => (iso ? el("time", { datetime: iso }, moment(iso)) : "–");

  // Amounts are typed in minor units, as at the till: 1 2 5 0 is 12.50.
  const minor = (input) => Number(input.value.replace(/\D/g, "").slice(0, 12) || 0);
  const decimals = (n) => (n ? (n / 10 ** digits(merchant.currency)).toLocaleString(words.locale, { minimumFractionDigits: digits(merchant.currency) }) : "");
  const amounts = (input, then = () => {}) => input.addEventListener("input", () => { input.value = decimals(minor(input)); then(); });

  // statusOf is what a request is told as: its status, and what is beside it.
  function statusOf(r) {
    const list = [[r.status, t("s_" + (r.status === "cancelled" && r.end_reason === "paid_otherwise" ? "paid_otherwise" : r.status))]];
    if (r.exceptions.some((e) => !e.decision) && r.status !== "review") list.push(["review", t("s_review")]);
    const back = r.refunds.filter((f) => f.status !== "failed").reduce((n, f) => n + f.amount, 0);
    if (back) list.push(["back", t("went_back", { amount: money(back, r.currency) })]);
    return list.map(([kind, text]) => el("span", { class: "fate " + kind }, text));
  }

  async function save(path, name, accept, before = []) {
    const r = await ask("GET", path, null, { wait: 600, headers: { Accept: accept }, raw: true });
    if (!r.ok) return r;
    const link = el("a", { download: name, href: URL.createObjectURL(new Blob([...before, r.data], { type: accept })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    return r;
  }

  return {
    $, t, has, ask, start, whenBack, follow, latest, latch, el, told, say, announce, money, moment, time, minor, decimals, amounts, statusOf, refusal, uid, pause, save,
    get merchant() { return merchant; }, get me() { return me; }, get locale() { return words.locale; },
  };
})();
