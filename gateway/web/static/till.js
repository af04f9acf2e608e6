// The till: shows a sale on the printed code and follows it until it is paid.
//
// What became of a sale is only ever what the gateway answers about that sale. When it
// does not answer, the till says that it does not know. It hears of changes by a stream
// of events, behind it by a call that waits, behind that by asking every five seconds.
//
// The API key stands in the address's fragment, which no server and no log ever sees,
// and is kept for this tab alone. Which sale is followed, and a command that was not
// answered yet, are kept on the device: they survive reload, sleep and loss of network.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const words = JSON.parse($("words").textContent);
  const t = (key, fill = {}) => words.words[key].replace(/\{(\w+)\}/g, (_, name) => fill[name]);
  const code = $("till").dataset.code, place = "placard-till:" + code;
  const FINAL = ["paid", "expired", "cancelled"];

  let key = location.hash.slice(1) || sessionStorage.getItem("key") || "";
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);

  // What the device remembers: the sale that is followed, what was seen of it, the last
  // event heard, and a command whose answer is still owed.
  let kept = { request: "", steps: {}, seq: 0, owed: null };
  try { kept = { ...kept, ...JSON.parse(localStorage.getItem(place)) }; } catch (e) { /* begins anew */ }
  const keep = (change) => { Object.assign(kept, change); try { localStorage.setItem(place, JSON.stringify(kept)); } catch (e) { /* no room */ } };

  let merchant, request, recent = [], shownPaid = "";
  let heard = Date.now(), lost = false, streaming = false, skew = 0, opened = false, running = false;

  // ---- the gateway

  const api = async (method, path, body, { wait = 0, headers = {} } = {}) => {
    let answer;
    try {
      answer = await fetch(path, {
        method, cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout((wait + 12) * 1000), body: body && JSON.stringify(body),
        headers: { Accept: "application/json", ...(key ? { Authorization: "Bearer " + key } : {}), ...(body ? { "Content-Type": "application/json" } : {}), ...headers },
      });
    } catch (e) {
      contact(false);
      throw e;
    }
    const date = Date.parse(answer.headers.get("Date"));
    if (date) skew = Date.now() - date;
    const data = await answer.json().catch(() => ({}));
    // A gateway that is there but cannot answer knows as little as none.
    if (answer.status === 502 || answer.status === 504 || (answer.status === 503 && data.code !== "bank_unavailable")) {
      contact(false);
      throw new Error(data.detail || "unavailable");
    }
    contact(true);
    if (answer.status === 401 && opened) { opened = false; show("login"); }
    return { ok: answer.ok, status: answer.status, data };
  };

  function contact(there) {
    if (there) heard = Date.now();
    if (lost === !there) return;
    lost = !there;
    draw();
  }

  const pause = (ms) => new Promise((r) => setTimeout(r, ms));

  async function open() {
    let m;
    try { m = await api("GET", "/v1/merchant"); } catch (e) { setTimeout(open, 3000); return; }
    if (!m.ok) {
      show("login");
      if (key) refuse($("login"), m.status === 401 ? t("key_wrong") : m.data.detail);
      return;
    }
    if (key) sessionStorage.setItem("key", key);
    merchant = m.data;
    opened = true;
    $("shop").textContent = merchant.name;
    $("test").hidden = merchant.mode !== "test";
    for (const c of document.querySelectorAll(".currency")) c.textContent = merchant.currency;
    $("last").hidden = false;
    if (!kept.seq) {
      const latest = await api("GET", "/v1/events?after=latest&limit=1").catch(() => null);
      if (latest && latest.ok) keep({ seq: Number(latest.data.next || 0) });
    }
    if (!key) {
      const me = await api("GET", "/v1/me").catch(() => null);
      $("me").textContent = (me && me.data.name) || "";
      $("out").hidden = false;
    }
    if (kept.owed) pay_debt(); else await find();
    list();
    if (running) return;
    running = true;
    follow();
    setInterval(watchdog, 1000);
  }

  // find learns which sale is to be followed: the one remembered, or what the code shows.
  async function find() {
    try {
      if (kept.request) {
        const r = await api("GET", "/v1/requests/" + kept.request);
        if (r.ok) return take(r.data);
        keep({ request: "" });
      }
      const link = await api("GET", `/v1/codes/${code}/link`);
      if (!link.ok) { show("sale"); return refuse($("sale"), link.data.detail); }
      if (link.data.code && link.data.code.status !== "active") { show("sale"); return refuse($("sale"), t("code_out")); }
      if (link.data.request) return take(link.data.request);
      request = null;
      show("sale");
    } catch (e) {
      if (!request) { show(kept.request ? "wait" : "sale"); draw(); }
      setTimeout(find, 3000);
    }
  }

  let syncing = false, more = false;
  async function sync() {
    if (!opened || kept.owed) return; // what is owed asks once more when it is answered
    if (syncing) { more = true; return; } // what is being answered may be older than what calls for this
    syncing = true;
    try {
      if (kept.request) {
        const r = await api("GET", "/v1/requests/" + kept.request);
        if (r.ok && r.data.id === kept.request) take(r.data);
      } else if (lost || !$("sale").hidden) {
        const link = await api("GET", `/v1/codes/${code}/link`);
        // Another till of the shop, or its program, may have shown a sale here.
        if (link.ok && link.data.request && $("amount").value === "" && $("replacing").hidden) take(link.data.request);
      }
    } catch (e) { /* the banner says it */ }
    syncing = false;
    if (more) { more = false; sync(); }
  }

  // ---- what happens, as it happens

  async function follow() {
    for (let fails = 0; ; ) {
      try { await stream(); fails = 0; } catch (e) { fails++; }
      streaming = false;
      sync();
      try {
        const e = await api("GET", `/v1/events?code=${code}&after=${kept.seq}&wait=${fails > 1 ? 20 : 0}`, null, { wait: 20 });
        if (e.ok) { for (const event of e.data.data) told(event); keep({ seq: Number(e.data.next) }); }
        else if (e.status === 410) keep({ seq: Number(e.data.oldest || 0) });
        else await pause(5000);
      } catch (e) { await pause(5000); }
    }
  }

  async function stream() {
    const stop = new AbortController();
    const answer = await fetch(`/v1/events?code=${code}&after=${kept.seq}`, {
      cache: "no-store", credentials: "same-origin", signal: stop.signal,
      headers: { Accept: "text/event-stream", ...(key ? { Authorization: "Bearer " + key } : {}) },
    });
    if (!answer.ok || !answer.body) throw new Error("no stream");
    contact(true);
    streaming = true;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let quiet, rest = "";
    const listen = () => { clearTimeout(quiet); quiet = setTimeout(() => stop.abort(), 25000); };
    try {
      for (;;) {
        listen();
        const { value, done } = await reader.read();
        if (done) return;
        contact(true);
        const parts = (rest + value).split(/\r?\n\r?\n/);
        rest = parts.pop();
        for (const part of parts) {
          const data = part.split(/\r?\n/).filter((l) => l.startsWith("data:")).map((l) => l.slice(5)).join("\n");
          if (!data) continue;
          const event = JSON.parse(data);
          if (event.seq) { told(event); keep({ seq: event.seq }); }
        }
      }
    } finally { clearTimeout(quiet); }
  }

  const STEP = { "code.scanned": "scanned", "request.opened": "opened", "request.paying": "paying", "request.processing": "bank" };

  function told(e) {
    const mine = e.request && e.request.id === kept.request;
    if (mine && STEP[e.type]) {
      keep({ steps: { ...kept.steps, [STEP[e.type]]: true } });
      draw();
    }
    // What is not ours yet may be what an answer on its way will tell of, and be newer.
    if (!mine || !STEP[e.type] || e.type === "request.processing") sync();
    if (e.type.startsWith("request.") || e.type.startsWith("refund.") || e.type.startsWith("exception.")) list();
  }

  // Whatever is behind the stream: a sale that is open is asked about every five seconds
  // without one, every twenty with one.
  let asked = 0;
  function watchdog() {
    if (!streaming && !lost && Date.now() - heard > 20000) contact(false);
    if (Date.now() - asked > (streaming ? 20000 : 5000)) { asked = Date.now(); sync(); }
    tick();
  }

  addEventListener("online", () => { asked = 0; sync(); });
  addEventListener("offline", () => contact(false));
  addEventListener("visibilitychange", () => { if (!document.hidden) { asked = 0; sync(); list(); } });
  addEventListener("pageshow", (e) => { if (e.persisted) { asked = 0; sync(); list(); } });

  // ---- what is shown

  const panels = ["login", "sale", "wait", "done"];
  function show(id) {
    for (const p of panels) $(p).hidden = p !== id;
    if (id !== "sale") { $("occupied").hidden = true; }
  }

  function say(el, text, good) {
    el.hidden = !text;
    if (el.textContent !== (text || "")) el.textContent = text || "";
    if (good !== undefined) el.classList.toggle("good", good);
  }

  function announce(text) { if ($("news").textContent !== text) $("news").textContent = text; }
  const refuse = (form, text) => {
    let p = form.querySelector(".refused") || $("refused");
    if (form.id === "login" && p === $("refused")) {
      p = document.createElement("p");
      p.className = "notice refused";
      p.setAttribute("role", "alert");
      form.prepend(p);
    }
    say(p, text || t("not_done"));
  };

  const digits = (c) => new Intl.NumberFormat("en", { style: "currency", currency: c }).resolvedOptions().maximumFractionDigits;
  // Portugal and Brazil write the euro differently, as the payer's page does.
  const money = (a, c) => new Intl.NumberFormat(words.locale === "pt" && c === "EUR" ? "pt-PT" : words.locale, { style: "currency", currency: c }).format(a / 10 ** digits(c));
  const clock = (ms) => new Intl.DateTimeFormat(words.locale, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(merchant ? { timeZone: merchant.time_zone || "UTC" } : {}) }).format(ms);

  // take shows a sale as the gateway has just told it.
  function take(r) {
    const other = !request || request.id !== r.id;
    request = r;
    if (kept.request !== r.id) keep({ request: r.id, steps: {} });
    if (other) $("symbol").hidden = true;
    if (r.opened_at && !kept.steps.opened) keep({ steps: { ...kept.steps, scanned: true, opened: true } });
    draw();
  }

  function draw() {
    const since = { time: clock(heard) };
    const following = kept.request && !(request && FINAL.includes(request.status));
    $("wait").classList.toggle("unknown", lost && !!following);
    say($("contact"), lost && !following && opened ? t("no_contact", since) : "");
    if (kept.owed) return;
    if (!request) {
      if (kept.request && lost) { show("wait"); $("what").textContent = t("unknown"); say($("explain"), t("unknown_text", since)); }
      return;
    }
    const r = request, sum = r.amount === null ? "" : money(r.amount, r.currency);
    if (r.status === "paid") return paid(r);
    $("paid").hidden = true;
    // Whoever types what comes instead is not interrupted, but for an end.
    if (!$("replacing").hidden && !$("sale").hidden && !FINAL.includes(r.status) && r.status !== "review") return;
    if (r.displaced_by && r.status === "cancelled") { // another program of this till has gone on
      keep({ request: r.displaced_by, steps: {} });
      return void setTimeout(sync);
    }
    if (r.status === "expired" || r.status === "cancelled") return ended(r, sum);
    if (r.status === "review") return over(t("review"), sum, r.reference, t("review_text"), false, false);

    show("wait");
    const tender = r.may_take_other_tender || {};
    let what = t(r.status), explain = "";
    switch (r.status) {
      case "preparing":
        explain = r.bank && r.bank.state === "rejected" ? t("bank_refused") : r.bank && r.bank.last_error ? t("bank_away") : t("preparing_text");
        break;
      case "processing": explain = t("processing_text"); break;
      case "closing": explain = t("closing_text"); break;
    }
    if (lost) { what = t("unknown"); explain = t("unknown_text", since); }
    if ($("what").textContent !== what) { $("what").textContent = what; announce(what); }
    $("sum").textContent = sum;
    $("for").textContent = r.reference;
    say($("explain"), explain);
    const ending = r.end_asked || r.status === "closing";
    say($("tender"), ending && !tender.allowed ? t("may_not_take") : "", false);
    const [number, picture] = (r.pairing || "").split(" ");
    $("pair").hidden = !picture;
    if (picture) {
      const [file, name] = words.pictures[picture];
      $("picture").src = "/assets/pictures-" + file + ".svg";
      $("pairing").textContent = number + " " + name;
    }
    const seen = { shown: !!r.code, bank: r.status === "processing", ...kept.steps };
    if (seen.paying || seen.bank) seen.scanned = seen.opened = seen.paying = true;
    for (const li of $("steps").children) li.classList.toggle("yes", !!seen[li.dataset.step]);
    $("cancel").hidden = $("otherwise").hidden = ending;
    $("replace").hidden = ending || r.status === "processing";
    // A sale that has a link of its own is sent, and sent again, by the device's own programs.
    const send = !ending && r.status !== "processing" && r.share;
    for (const [id, by] of [["sms", "sms"], ["mail", "mailto"]]) {
      $(id).hidden = !send;
      if (send) $(id).href = r.share[by];
    }
    tick();
  }

  function tick() {
    if ($("wait").hidden || !request) return;
    const left = $("left");
    if (!request.expires_at) { left.textContent = t("no_end"); return; }
    const s = Math.max(0, Math.ceil((Date.parse(request.expires_at) - (Date.now() - skew)) / 1000));
    const h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
    left.textContent = (h ? h + ":" + String(m).padStart(2, "0") : String(m).padStart(2, "0")) + ":" + String(s % 60).padStart(2, "0");
    left.parentElement.classList.toggle("soon", s <= 60);
    if (s === 0 && Date.now() - asked > 2000) { asked = Date.now(); sync(); }
  }

  function ended(r, sum) {
    const why = r.end_reason === "paid_otherwise" ? "cancelled_otherwise" : r.end_reason === "bank_rejected" ? "cancelled_bank" : r.status;
    const tender = r.may_take_other_tender || {};
    over(t(why), sum, r.reference, tender.allowed ? t("may_take") : t("may_not_take"), tender.allowed, true);
  }

  function over(outcome, sum, reference, more, good) {
    if ($("done").hidden || $("outcome").textContent !== outcome) {
      show("done");
      $("outcome").textContent = outcome;
      announce(outcome);
      list();
    }
    $("done-sum").textContent = sum;
    $("done-for").textContent = reference;
    say($("more"), more, good);
  }

  // Paid stays, with a sound, until somebody has seen it.
  function paid(r) {
    $("paid-sum").textContent = money(r.paid_amount, r.currency);
    $("paid-for").textContent = r.reference;
    const late = r.exceptions.some((e) => e.kind === "late");
    say($("paid-more"), late ? t("paid_late") : "");
    if (shownPaid === r.id && !$("paid").hidden) return;
    shownPaid = r.id;
    show("");
    $("paid").hidden = false;
    announce(t("paid") + " " + $("paid-sum").textContent);
    $("acknowledge").focus();
    ring();
    list();
  }

  let audio, ringing;
  function ring() {
    clearInterval(ringing);
    const once = () => {
      if ($("paid").hidden) return clearInterval(ringing);
      try {
        audio = audio || new AudioContext();
        audio.resume();
        [660, 880].forEach((hz, i) => {
          const tone = audio.createOscillator(), loud = audio.createGain(), at = audio.currentTime + i * 0.18;
          tone.frequency.value = hz;
          loud.gain.setValueAtTime(0.0001, at);
          loud.gain.exponentialRampToValueAtTime(0.3, at + 0.02);
          loud.gain.exponentialRampToValueAtTime(0.0001, at + 0.17);
          tone.connect(loud).connect(audio.destination);
          tone.start(at);
          tone.stop(at + 0.18);
        });
        document.body.dataset.rang = Number(document.body.dataset.rang || 0) + 1;
      } catch (e) { /* a device without sound */ }
    };
    once();
    ringing = setInterval(once, 4000);
  }

  const fresh = () => {
    request = null;
    keep({ request: "", steps: {} });
    $("paid").hidden = true;
    $("replacing").hidden = $("back").hidden = true;
    say($("refused"), "");
    empty();
    show("sale");
    $("amount").focus({ preventScroll: true });
    asked = 0;
    list();
  };
  $("acknowledge").onclick = $("next").onclick = fresh;
  // While it stands there, nothing else can be reached.
  $("paid").addEventListener("keydown", (e) => { if (e.key === "Tab") { e.preventDefault(); $("acknowledge").focus(); } });

  // ---- a new sale

  // Amounts are typed in minor units, as on any till: 1 2 5 0 is 12.50.
  const minor = (input) => Number(input.value.replace(/\D/g, "").slice(0, 12) || 0);
  const decimals = (n) => n ? (n / 10 ** digits(merchant.currency)).toLocaleString(words.locale, { minimumFractionDigits: digits(merchant.currency) }) : "";
  const amounts = (input) => input.addEventListener("input", () => { input.value = decimals(minor(input)); total(); });
  amounts($("amount"));
  $("keys").addEventListener("click", (e) => {
    const k = e.target.dataset && e.target.dataset.key, input = $("amount");
    if (!k || input.disabled) return;
    const typed = input.value.replace(/\D/g, "");
    input.value = decimals(Number((k === "back" ? typed.slice(0, -1) : typed + k).slice(0, 12) || 0));
  });

  let items = 0;
  function addItem() {
    const n = ++items, box = document.createElement("fieldset");
    box.className = "item";
    const legend = document.createElement("legend");
    legend.textContent = t("item", { n });
    box.append(legend);
    const field = (name, label, props) => {
      const p = document.createElement("p"), l = document.createElement("label"), i = document.createElement("input");
      p.className = "field";
      l.htmlFor = i.id = name + n;
      l.textContent = label;
      Object.assign(i, { autocomplete: "off", ...props });
      i.dataset.part = name;
      i.addEventListener("input", total);
      p.append(l, i);
      return [p, i];
    };
    const [what] = field("description", t("description"), { maxLength: 200 });
    const [many, q] = field("quantity", t("quantity"), { inputMode: "decimal", value: "1" });
    const [each, price] = field("price", t("unit_price") + " " + merchant.currency, { inputMode: "numeric" });
    q.size = 4;
    amounts(price);
    const pair = document.createElement("div"), out = document.createElement("button");
    pair.className = "pair";
    pair.append(many, each);
    out.type = "button";
    out.className = "plain";
    out.textContent = t("remove_item", { n });
    out.onclick = () => { box.remove(); total(); $("add").focus(); };
    box.append(what, pair, out);
    $("rows").append(box);
    what.querySelector("input").focus();
    total();
  }
  $("add").onclick = addItem;

  const lines = () => [...$("rows").children].map((box) => {
    const of = (part) => box.querySelector(`[data-part=${part}]`);
    return { description: of("description").value.trim(), quantity: of("quantity").value.trim().replace(",", ".") || "1", unit_price: minor(of("price")) };
  }).filter((l) => l.description || l.unit_price);

  // With items, the sum is theirs. It is shown as typed here; the gateway works it out.
  function total() {
    const all = lines();
    $("amount").disabled = all.length > 0;
    for (const b of $("keys").children) b.disabled = all.length > 0;
    if (all.length) $("amount").value = decimals(all.reduce((sum, l) => sum + Math.round(l.unit_price * Number(l.quantity) || 0), 0));
  }

  function empty() {
    $("sale").reset();
    $("rows").replaceChildren();
    items = 0;
    total();
    $("items").open = false;
  }

  $("sale").onsubmit = (e) => {
    e.preventDefault();
    const all = lines(), amount = minor($("amount"));
    if (!all.length && !amount) { refuse($("sale"), t("amount_needed")); $("amount").focus(); return; }
    const body = { request: { reference: $("reference").value.trim(), ...(all.length ? { lines: all } : { amount }) } };
    if (!body.request.reference) delete body.request.reference;
    if (!$("replacing").hidden) body.replace = true;
    attach(body);
  };
  $("takeover").onclick = () => attach({ ...occupied, replace: true });
  $("look").onclick = () => { $("occupied").hidden = true; keep({ request: "" }); find(); };
  $("back").onclick = () => { $("replacing").hidden = $("back").hidden = true; empty(); draw(); };

  let occupied;
  function attach(body) {
    // Kept before it is sent: if the answer gets lost, the same command is sent again,
    // and the gateway knows it by its key.
    keep({ owed: { key: crypto.randomUUID ? crypto.randomUUID() : String(Math.random()).slice(2) + Date.now(), body } });
    pay_debt();
  }

  async function pay_debt() {
    const owed = kept.owed, button = $("show");
    button.disabled = true;
    button.textContent = t("sending");
    say($("refused"), "");
    $("occupied").hidden = true;
    for (let tries = 0; kept.owed; tries++) {
      let r;
      try {
        r = await api("PUT", `/v1/codes/${code}/link`, owed.body, { headers: { "Idempotency-Key": owed.key } });
      } catch (e) { r = null; }
      if (!r || (r.status === 409 && r.data.code === "idempotency_in_progress") || r.status === 429) {
        if ($("sale").hidden) show("sale");
        say($("refused"), t("no_answer_yet"));
        await pause(Math.min(1000 * 2 ** tries, 5000));
        continue;
      }
      keep({ owed: null });
      button.disabled = false;
      button.textContent = t("show");
      say($("refused"), "");
      if (r.ok) {
        $("replacing").hidden = $("back").hidden = true;
        empty();
        keep({ request: r.data.request.id, steps: {} });
        take(r.data.request);
        sync(); // the bank's word may have come before this answer
        list();
        $("what").scrollIntoView({ block: "nearest" });
        return;
      }
      show("sale");
      if (r.data.code === "code_busy") {
        occupied = owed.body;
        const there = r.data.linked || r.data.request || {};
        $("occupied-text").textContent = t("busy_title") + ". " + (there.amount ? t("busy_text", { amount: money(there.amount, there.currency || merchant.currency) }) : "");
        $("occupied").hidden = false;
        $("takeover").focus();
        return;
      }
      return refuse($("sale"), (r.data.errors || []).map((x) => x.message).join(" ") || r.data.detail);
    }
  }

  // ---- what can be done with a sale

  async function end(reason) {
    const id = request.id;
    for (const b of [$("cancel"), $("otherwise")]) b.disabled = true;
    try {
      const r = await api("POST", `/v1/requests/${id}/cancel`, reason ? { reason } : {}, { headers: { Prefer: "wait=5" } });
      if (r.ok && kept.request === id) { take(r.data); sync(); }
      else if (!r.ok) { await sync(); if (request && !FINAL.includes(request.status)) say($("tender"), r.data.detail, false); }
    } catch (e) { /* the banner says it; the sale is asked about */ }
    for (const b of [$("cancel"), $("otherwise")]) b.disabled = false;
  }
  $("cancel").onclick = () => end("");
  $("otherwise").onclick = () => end("paid_otherwise");
  $("replace").onclick = () => {
    $("replacing").textContent = t("replacing", { amount: money(request.amount || 0, request.currency) });
    $("replacing").hidden = $("back").hidden = false;
    empty();
    $("reference").value = request.reference;
    show("sale");
    $("amount").focus({ preventScroll: true });
  };
  $("qr").onclick = async () => {
    const open = $("symbol").hidden;
    if (open && !$("symbol").firstChild) {
      const answer = await fetch(`/v1/codes/${code}/qr.svg`, { headers: key ? { Authorization: "Bearer " + key } : {} }).catch(() => null);
      if (!answer || !answer.ok) return;
      const img = new Image();
      img.alt = t("qr_alt");
      img.src = "data:image/svg+xml;base64," + btoa(await answer.text());
      $("symbol").append(img);
    }
    $("symbol").hidden = !open;
    $("qr").textContent = t(open ? "hide_qr" : "show_qr");
    $("qr").setAttribute("aria-expanded", String(open));
  };

  // ---- the last sales

  let listing = null, again = false, refunding = "";
  function list() {
    if (listing) { again = true; return; }
    listing = (async () => {
      try {
        const r = await api("GET", `/v1/requests?code=${code}&limit=10`);
        if (r.ok) { recent = r.data.data; rows(); }
      } catch (e) { /* what is listed stays */ }
      listing = null;
      if (again) { again = false; setTimeout(list, 300); }
    })();
  }

  function rows() {
    $("none").hidden = recent.length > 0;
    if (refunding && $("list").querySelector("form")) return; // somebody is typing there
    $("list").replaceChildren(...recent.map(row));
  }

  const element = (tag, cls, text) => { const e = document.createElement(tag); if (cls) e.className = cls; if (text !== undefined) e.textContent = text; return e; };

  function row(r) {
    const li = element("li");
    li.append(element("span", "sum", r.amount === null ? "–" : money(r.amount, r.currency)), element("span", "fate " + r.status, t("s_" + r.status)));
    const back = r.refunds.filter((f) => f.status !== "failed").reduce((n, f) => n + f.amount, 0);
    li.append(element("span", "when", [clock(Date.parse(r.created_at)), r.reference, back ? t("went_back", { amount: money(back, r.currency) }) : ""].filter(Boolean).join(" · ")));
    const left = r.paid_amount - back;
    if (r.status === "paid" && left > 0) {
      const acts = element("div", "acts"), b = element("button", "plain", t("refund"));
      b.type = "button";
      b.setAttribute("aria-label", t("refund_of", { amount: money(r.paid_amount, r.currency) }));
      b.onclick = () => { refunding = r.id; acts.replaceWith(refund(r, left, li)); li.querySelector("input").focus(); };
      acts.append(b);
      li.append(acts);
    }
    return li;
  }

  function refund(r, left, li) {
    const form = element("form"), p = element("p", "field"), label = element("label", "", t("refund_amount")), input = element("input");
    input.id = label.htmlFor = "refund-" + r.id;
    input.inputMode = "numeric";
    input.autocomplete = "off";
    input.value = decimals(left);
    amounts(input);
    p.append(label, input);
    const yes = element("button", "", t("refund_now")), no = element("button", "plain", t("refund_not")), acts = element("div", "acts");
    no.type = "button";
    acts.append(yes, no);
    form.append(p, acts);
    const done = () => { refunding = ""; rows(); list(); };
    no.onclick = done;
    const once = crypto.randomUUID ? crypto.randomUUID() : String(Math.random()).slice(2);
    form.onsubmit = async (e) => {
      e.preventDefault();
      yes.disabled = true;
      try {
        const a = await api("POST", `/v1/requests/${r.id}/refunds`, { amount: minor(input) }, { headers: { "Idempotency-Key": once + "-" + minor(input) } });
        if (a.ok) { announce(t("refund_sent")); return done(); }
        let bad = li.querySelector(".notice");
        if (!bad) { bad = element("p", "notice"); bad.setAttribute("role", "alert"); form.append(bad); }
        bad.textContent = (a.data.errors || []).map((x) => x.message).join(" ") || a.data.detail;
      } catch (err) { /* it may be sent again: it has a key */ }
      yes.disabled = false;
    };
    return form;
  }

  $("login").onsubmit = (e) => { e.preventDefault(); key = $("key").value.trim(); open(); };
  open();
})();
