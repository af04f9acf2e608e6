// The inbox: payment requests and what became of them, live. What is looked for stands in
// the address, so that reload, back and a bookmark show the same.
"use strict";
(() => {
  const { $, t, ask, el, told, say } = desk;
  const SHOW = {
    all: {},
    pending: { status: "draft,unvalued,preparing,active,processing,closing" },
    opened: { opened_unpaid: "true" },
    decide: { exceptions: "true" },
    paid: { status: "paid" },
    expired: { status: "expired" },
    cancelled: { status: "cancelled" },
  };
  const PAGE = 50, LOOKS = 20; // rows on a page; calls made to fill one where little is found

  const wanted = () => {
    const p = new URLSearchParams(location.search);
    return { show: p.get("show") in SHOW ? p.get("show") : "all", q: p.get("q") || "", from: p.get("from") || "", to: p.get("to") || "", after: p.get("after") || "" };
  };

  // A day begins and ends when it does for the merchant.
  function midnight(day, plus = 0) {
    const [y, m, d] = day.split("-").map(Number);
    let at = Date.UTC(y, m - 1, d + plus);
    const shown = (ms) => {
      const p = Object.fromEntries(new Intl.DateTimeFormat("en", { timeZone: desk.merchant.time_zone || "UTC", hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" }).formatToParts(ms).map((x) => [x.type, Number(x.value)]));
      return Date.UTC(p.year, p.month - 1, p.day, p.hour, p.minute, p.second);
    };
    const wall = at;
    for (let i = 0; i < 2; i++) at -= shown(at) - wall; // twice: the clocks may have changed between
    return new Date(at);
  }

  function query(w, after) {
    const p = new URLSearchParams(SHOW[w.show]);
    if (w.q) p.set("q", w.q);
    if (/^\d{4}-\d\d-\d\d$/.test(w.from)) p.set("from", midnight(w.from).toISOString().replace(/\.\d+/, ""));
    if (/^\d{4}-\d\d-\d\d$/.test(w.to)) p.set("to", new Date(midnight(w.to, 1) - 1000).toISOString().replace(/\.\d+/, ""));
    if (after) p.set("after", after);
    return p;
  }

  // go looks for something else.
  function go(change, replace) {
    const w = { ...wanted(), after: "", ...change }, p = new URLSearchParams();
    for (const [name, value] of Object.entries(w)) if (value && !(name === "show" && value === "all")) p.set(name, value);
    history[replace ? "replaceState" : "pushState"](null, "", location.pathname + (p.size ? "?" + p : ""));
    draw();
    asked = "";
    load();
  }

  let asked = "", rows = new Map(), next = "";

  const load = desk.latch(async () => {
    const w = wanted(), now = JSON.stringify(w), first = asked !== now;
    if (first) { $("list").setAttribute("aria-busy", "true"); say($("found"), t("searching")); }
    let found = [], after = w.after;
    for (let i = 0; i < LOOKS; i++) {
      const p = query(w, after);
      p.set("limit", PAGE - found.length);
      const r = await ask("GET", "/v1/requests?" + p);
      if (JSON.stringify(wanted()) !== now) return load();
      say($("trouble"), r.ok ? "" : desk.refusal(r.data));
      if (!r.ok) { found = []; after = ""; break; }
      found = found.concat(r.data.data);
      after = r.data.next || "";
      if (!after || found.length >= PAGE) break;
    }
    asked = now;
    next = after;
    table(found);
    $("list").removeAttribute("aria-busy");
    say($("found"), found.length ? "" : t(w.show === "all" && !w.q && !w.from && !w.to ? "none_yet" : "none_found"));
    if (first) desk.announce(found.length ? t("rows", { n: found.length }) : t("none_found"));
    $("older").hidden = !next;
    $("newest").hidden = !w.after;
  }, 700);

  // table draws only the rows that changed: nobody's place in it is lost.
  function table(list) {
    const kept = new Map(), held = document.activeElement && document.activeElement.closest("tr");
    const trs = list.map((r) => {
      const as = JSON.stringify(r), old = rows.get(r.id);
      const tr = old && old.as === as ? old.tr : row(r);
      if (old && held === old.tr && tr !== old.tr) setTimeout(() => tr.querySelector("a").focus());
      kept.set(r.id, { as, tr });
      return tr;
    });
    rows = kept;
    const body = $("list").tBodies[0];
    if (trs.length !== body.rows.length || trs.some((tr, i) => body.rows[i] !== tr)) body.replaceChildren(...trs);
    $("list").hidden = !trs.length;
  }

  function row(r) {
    const cell = (name, ...inside) => el("td", { class: name, role: "cell", "data-label": t("col_" + name) }, ...inside);
    const link = el("a", { href: "/inbox/" + r.id }, r.reference ? told(r.reference) : r.short_id);
    const who = r.customer && (r.customer.name || r.customer.email || r.customer.phone);
    return el("tr", { role: "row" },
      cell("for", link, el("span", { class: "who" }, who ? told(who) : "", who ? " · " : "", r.short_id)),
      cell("amount", r.amount === null ? t("no_amount") : desk.money(r.amount, r.currency)),
      cell("status", ...desk.statusOf(r)),
      cell("made", desk.time(r.created_at)),
      cell("ends", r.expires_at ? desk.time(r.expires_at) : t("no_end")),
      cell("opened", desk.time(r.opened_at)));
  }

  // decisions says how many wait for one.
  const decisions = desk.latch(async () => {
    const r = await ask("GET", "/v1/exceptions?open=true&limit=100");
    if (!r.ok) return;
    const n = r.data.data.length;
    $("decisions").hidden = !n;
    $("decisions").textContent = r.data.next ? "100+" : n;
  }, 700);

  function draw() {
    const w = wanted();
    for (const a of $("filters").children) {
      if (a.dataset.show === w.show) a.setAttribute("aria-current", "true"); else a.removeAttribute("aria-current");
    }
    for (const name of ["q", "from", "to"]) if ($(name) !== document.activeElement) $(name).value = w[name];
    $("days").open = $("days").open || !!(w.from || w.to);
  }

  $("filters").onclick = (e) => {
    const a = e.target.closest("a");
    if (!a || e.ctrlKey || e.metaKey || e.shiftKey) return;
    e.preventDefault();
    go({ show: a.dataset.show });
  };
  let typing;
  $("q").oninput = () => { clearTimeout(typing); typing = setTimeout(() => go({ q: $("q").value.trim() }, true), 300); };
  $("from").onchange = $("to").onchange = () => go({ from: $("from").value, to: $("to").value }, true);
  $("search").onsubmit = (e) => { e.preventDefault(); clearTimeout(typing); go({ q: $("q").value.trim() }); };
  $("older").onclick = () => { go({ after: next }); scrollTo(0, 0); };
  $("newest").onclick = () => { go({}); scrollTo(0, 0); };
  addEventListener("popstate", () => { draw(); asked = ""; load(); });

  $("csv").onclick = async () => {
    $("csv").disabled = true;
    say($("trouble"), "");
    try {
      const p = query(wanted());
      p.set("format", "csv");
      // A spreadsheet takes it for UTF-8 only if it begins like that.
      const r = await desk.save("/v1/requests?" + p, "requests.csv", "text/csv", ["\ufeff"]);
      if (!r.ok) say($("trouble"), desk.refusal(r.data));
    } catch (e) { say($("trouble"), t("csv_not")); }
    $("csv").disabled = false;
  };

  function hear(e) {
    if (!/^(request|refund|exception|delivery)\./.test(e.type)) return;
    load();
    if (/^exception\.|^request\.(review|paid)/.test(e.type)) decisions();
    if (e.type === "request.paid") desk.announce(t("heard_paid", { amount: desk.money(e.request.paid_amount, e.request.currency), what: e.request.reference }));
  }

  desk.start(async () => {
    $("new").hidden = !["owner", "manager", "cashier"].includes(desk.me.role);
    draw();
    const all = () => { load(); decisions(); };
    desk.whenBack(all);
    setInterval(() => { if (!document.hidden) load(); }, 30000); // what the clock changed is no event yet
    const seq = await desk.latest();
    all();
    desk.follow(seq, hear, all);
  });
})();
