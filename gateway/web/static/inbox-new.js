// A new payment link: what is asked for, then the total and fees as the gateway works them
// out, then the link. With ?replaces= it takes the place of one that is open.
"use strict";
(() => {
  const { $, t, ask, el, told, say, money, minor, decimals } = desk;
  let replaces = new URLSearchParams(location.search).get("replaces") || "", ready = null, once = "", left = 0;

  // ---- what is typed

  let items = 0;
  function addItem(l) {
    const n = ++items, box = el("fieldset", { class: "item" }, el("legend", {}, t("item", { n })));
    const field = (part, label, attrs, value) => {
      const input = el("input", { id: part + n, autocomplete: "off", "data-part": part, ...attrs });
      input.value = value || "";
      input.addEventListener("input", total);
      return [el("p", { class: "field" }, el("label", { for: part + n }, label), input), input];
    };
    const [what, first] = field("description", t("description"), { maxlength: 140 }, l && l.description);
    const [many] = field("quantity", t("quantity"), { inputmode: "decimal" }, comma(l ? l.quantity : "1"));
    const [each, price] = field("price", t("unit_price") + " " + desk.merchant.currency, { inputmode: "numeric" }, l && decimals(l.unit_price));
    const [rate] = field("rate", t("vat_rate"), { inputmode: "decimal" }, comma(l ? l.vat_rate : desk.merchant.vat_rate));
    desk.amounts(price, total);
    const out = el("button", { type: "button", class: "plain", onclick: () => { box.remove(); total(); $("add").focus(); } }, t("remove_item", { n }));
    box.append(what, el("div", { class: "pair" }, many, each, rate), out);
    $("rows").append(box);
    if (!l) first.focus();
    total();
  }
  $("add").onclick = () => addItem();
  const comma = (s) => (desk.locale === "en" ? s : String(s).replace(".", ","));
  const point = (s) => s.trim().replace(",", ".");

  const lines = () => [...$("rows").children].map((box) => {
    const of = (part) => box.querySelector(`[data-part=${part}]`);
    return { description: of("description").value.trim(), quantity: point(of("quantity").value) || "1", unit_price: minor(of("price")), vat_rate: point(of("rate").value) || "0" };
  }).filter((l) => l.description || l.unit_price);

  // With items the amount is their sum. The gateway works it out; this is for the eye.
  function total() {
    const all = lines();
    $("amount").disabled = all.length > 0;
    if (all.length) $("amount").value = decimals(all.reduce((n, l) => n + Math.round(l.unit_price * Number(l.quantity) * ($("vat").value === "excluded" ? 1 + Number(l.vat_rate) / 100 : 1)) || 0, 0));
  }
  $("vat").onchange = total;

  $("term").onchange = () => { $("until-field").hidden = $("term").value !== "own"; };

  // Of a sale that the gateway knows, what is left can be taken.
  $("sale").onblur = async () => {
    left = 0;
    const sale = $("sale").value.trim();
    const s = sale && await ask("GET", "/v1/sales/" + encodeURIComponent(sale)).catch(() => null);
    if (s && s.ok && s.data.left > 0) {
      left = s.data.left;
      $("left-text").textContent = t("left", { amount: money(left, s.data.currency) });
    }
    $("left").hidden = !left;
  };
  $("take-left").onclick = () => { $("rows").replaceChildren(); total(); $("amount").value = decimals(left); $("amount").focus(); };

  function body() {
    const b = {}, put = (name, value) => { if (value) b[name] = value; };
    const all = lines(), customer = {}, term = $("term").value;
    if (all.length) { b.lines = all; b.vat = $("vat").value; } else put("amount", minor($("amount")));
    for (const name of ["reference", "sale", "context", "note"]) put(name, $(name).value.trim());
    put("sale_total", minor($("total")));
    for (const name of ["name", "email"]) if ($(name).value.trim()) customer[name] = $(name).value.trim();
    const phone = $("phone").value.replace(/[\s().-]/g, "").replace(/^00/, "+");
    if (phone) customer.phone = phone;
    if (Object.keys(customer).length) b.customer = customer;
    if (term !== "own") b.expires_in = term;
    else if ($("until").value) b.expires_at = new Date($("until").value).toISOString().replace(/\.\d+/, "");
    const boxes = [...$("methods").querySelectorAll("input")], chosen = boxes.filter((x) => x.checked).map((x) => x.value);
    if (chosen.length && chosen.length < boxes.length) b.methods = chosen;
    if ($("later").checked) b.capture = "manual";
    put("replaces", replaces);
    return b;
  }

  // ---- what is wrong stands beside the field it is about

  const FIELD = {
    amount: "amount", reference: "reference", "customer.name": "name", "customer.email": "email", "customer.phone": "phone", expires_in: "term", expires_at: "until",
    sale: "sale", sale_total: "total", context: "context", note: "note", capture: "later", lines: "items",
  };
  const OWN = { email: "bad_email", phone: "bad_phone", amount: "bad_amount" };

  function fault(input, text) {
    const note = el("span", { class: "fault", id: "fault-" + input.id }, text);
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-describedby", note.id);
    const fold = input.closest("details");
    if (fold) fold.open = true;
    input.after(note);
  }

  function clear() {
    say($("trouble"), "");
    for (const note of document.querySelectorAll(".fault")) note.remove();
    for (const input of document.querySelectorAll("[aria-invalid]")) { input.removeAttribute("aria-invalid"); input.removeAttribute("aria-describedby"); }
  }

  function refused(data) {
    const rest = [];
    let first = null;
    for (const e of data.errors || []) {
      const m = /^lines\[(\d+)\]\.(\w+)$/.exec(e.field), part = { description: "description", quantity: "quantity", unit_price: "price", vat_rate: "rate" };
      const box = m && [...$("rows").children].filter((x) => [...x.querySelectorAll("[data-part=description], [data-part=price]")].some((i) => i.value))[m[1]];
      const id = FIELD[e.field], input = box ? box.querySelector(`[data-part=${part[m[2]]}]`) : id && $(id);
      if (!input || input.tagName === "DETAILS") { rest.push(e.message); continue; }
      fault(input, OWN[id] ? t(OWN[id]) : e.message);
      first = first || input;
    }
    if (rest.length || !first) {
      const open = data.request && data.request.id;
      say($("trouble"), open && data.code === "sale_has_open_request" ? t("sale_open") : rest.join(" ") || data.detail || t("not_done"));
      if (open) $("trouble").append(" ", el("a", { href: "/inbox/" + open }, t("look_at_it")));
    }
    (first || $("trouble")).scrollIntoView({ block: "center" });
    if (first) first.focus({ preventScroll: true });
  }

  // ---- the review

  $("form").onsubmit = async (e) => {
    e.preventDefault();
    clear();
    const b = body();
    if (!b.amount && !b.lines) { fault($("amount"), t("bad_amount")); $("amount").focus(); return; }
    if ($("term").value === "own" && !b.expires_at) { fault($("until"), t("bad_until")); $("until").focus(); return; }
    $("review").disabled = true;
    try {
      const a = await ask("POST", "/v1/requests?dry_run=true", b);
      if (a.ok) show(b, a.data); else refused(a.data);
    } catch (err) { say($("trouble"), t("no_answer")); }
    $("review").disabled = false;
  };

  function show(b, d) {
    if (!d.expires_at && d.unavailable.some((u) => u.what === "link")) { say($("trouble"), t("not_live")); return; }
    ready = b;
    once = desk.uid();
    const sum = (a) => money(a, d.currency);
    $("check-amount").textContent = sum(d.amount);
    $("check-for").replaceChildren(told(b.reference || ""));
    $("check-lines").hidden = !d.lines.length;
    const row = (what, how, amount) => el("tr", {}, el("th", { scope: "row" }, what, " ", el("span", { class: "how" }, how)), el("td", {}, amount));
    const number = (s) => Number(s).toLocaleString(desk.locale, { maximumFractionDigits: 3 });
    $("check-lines").tBodies[0].replaceChildren(...d.lines.map((l) => row(told(l.description), (l.quantity === "1" ? "" : "× " + number(l.quantity) + " · ") + t("vat") + " " + number(l.vat_rate) + " %", sum(l.total))));
    $("check-lines").tFoot.replaceChildren(row(t("without_vat"), "", sum(d.net)), row(t("vat"), "", sum(d.vat)), row(t("total"), "", sum(d.amount)));
    const facts = [], fact = (key, ...value) => { if (value.some(Boolean)) facts.push(el("div", {}, el("dt", {}, key), el("dd", {}, ...value))); };
    const c = b.customer || {};
    fact(t("total_to_pay"), sum(d.amount));
    for (const f of d.fees) fact(t("fee", { what: f.label }), sum(f.amount));
    if (!d.fees.length) fact(t("fees"), t("no_fees"));
    fact(t("f_ends"), d.expires_at ? desk.time(d.expires_at) : t("no_end"));
    fact(t("f_customer"), [c.name, c.email, c.phone].filter(Boolean).length && told([c.name, c.email, c.phone].filter(Boolean).join("\n")));
    fact(t("f_sale"), b.sale && told(b.sale));
    fact(t("f_context"), b.context && told(b.context));
    fact(t("f_note"), b.note && told(b.note));
    fact(t("methods"), (b.methods || []).map(method).join(", "));
    fact(t("f_capture"), b.capture && t("capture_manual"));
    $("check-facts").replaceChildren(...facts);
    say($("have"), d.have ? t("have") : "");
    if (d.have) $("have").append(" ", el("a", { href: "/inbox/" + d.have }, t("look_at_it")));
    $("make").hidden = !!d.have;
    say($("refused"), "");
    $("form").hidden = true;
    $("check").hidden = false;
    $("check-title").focus();
    scrollTo(0, 0);
  }

  const method = (name) => (desk.has("method_" + name) ? t("method_" + name) : name);

  $("back").onclick = () => { $("check").hidden = true; $("form").hidden = false; $("review").focus(); };

  $("make").onclick = async () => {
    $("make").disabled = true;
    say($("refused"), "");
    try {
      const a = await ask("POST", "/v1/requests", ready, { wait: 5, headers: { "Idempotency-Key": once } });
      if (a.ok) { location.href = "/inbox/" + a.data.id + "?new=1"; return; }
      once = desk.uid();
      say($("refused"), desk.refusal(a.data));
    } catch (e) { say($("refused"), t("no_answer_make")); }
    $("make").disabled = false;
  };

  // ---- what the merchant's bank can do, and what is to be replaced

  async function abilities() {
    const a = await ask("POST", "/v1/requests?dry_run=true", { amount: 1 }).catch(() => null);
    if (!a || !a.ok) return;
    const not = (what) => a.data.unavailable.some((u) => u.what === what);
    if (not("link")) say($("trouble"), t("not_live"));
    $("later").disabled = not("capture");
    $("no-later").hidden = !not("capture");
    $("methods").hidden = a.data.methods.length < 2;
    $("methods").append(...a.data.methods.map((m) => el("p", { class: "tick" }, el("label", {}, el("input", { type: "checkbox", value: m, checked: true }), " ", method(m)))));
  }

  async function fill() {
    if (!replaces) return;
    const a = await ask("GET", "/v1/requests/" + replaces).catch(() => null);
    if (!a || !a.ok) { replaces = ""; say($("trouble"), t("not_there")); return; }
    const r = a.data, c = r.customer || {};
    say($("replacing"), t("replacing", { amount: r.amount === null ? t("no_amount") : money(r.amount, r.currency), what: r.short_id }));
    $("amount").value = decimals(r.amount);
    for (const l of r.lines) addItem(l);
    $("vat").value = r.vat;
    $("items").open = r.lines.length > 0;
    $("more").open = !!(r.sale || r.context || r.note);
    for (const [id, value] of Object.entries({ reference: r.reference, name: c.name, email: c.email, phone: c.phone, sale: r.sale, context: r.context, note: r.note })) $(id).value = value || "";
    $("later").checked = r.capture === "manual";
    total();
  }

  desk.start(async () => {
    if (!["owner", "manager", "cashier"].includes(desk.me.role)) {
      $("form").hidden = true;
      say($("trouble"), t("may_not"));
      return;
    }
    for (const c of document.querySelectorAll(".currency")) c.textContent = desk.merchant.currency;
    desk.amounts($("amount"));
    desk.amounts($("total"));
    await Promise.all([abilities(), fill()]);
    $("amount").focus({ preventScroll: true });
  });
})();
