// Printing: choose codes and stock, look at the first sheet as the printer will put it
// on paper, and take the PDF. Every sheet is read back before it is answered. The key
// stands in the address's fragment, which no server ever sees, and is kept for this tab.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const words = JSON.parse($("words").textContent);
  const t = (key, fill = {}) => words.words[key].replace(/\{(\w+)\}/g, (_, name) => fill[name]);
  let key = location.hash.slice(1) || sessionStorage.getItem("key") || "";
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  const batches = new Map();
  let picture = "";

  const call = (method, path, body) => fetch(path, {
    method, cache: "no-store", body: body && JSON.stringify(body),
    credentials: "same-origin",
    headers: { ...(key ? { Authorization: "Bearer " + key } : {}), ...(body ? { "Content-Type": "application/json" } : {}) },
  });
  const trouble = (text) => { $("trouble").hidden = !text; $("trouble").textContent = text || ""; };
  const said = async (answer) => {
    const p = await answer.json().catch(() => ({}));
    const fields = (p.errors || []).map((e) => `${e.field} ${e.message}`).join("\n");
    return fields || p.detail || t("no_answer");
  };

  async function open() {
    const answer = await call("GET", "/v1/codes/batches?limit=500");
    if (!answer.ok) {
      if (key || answer.status !== 401) trouble(await said(answer));
      $("login").hidden = false;
      return;
    }
    if (key) sessionStorage.setItem("key", key);
    trouble("");
    for (const b of (await answer.json()).data) {
      batches.set(b.id, b);
      $("batch").add(new Option(t("batch_is", { name: b.label_pattern || b.kind, n: b.done.toLocaleString(words.locale), day: (b.created_at || "").slice(0, 10) }), b.id));
    }
    $("login").hidden = true;
    $("job").hidden = false;
  }

  const job = () => {
    const body = {
      stock: $("stock").value, dpi: Number($("dpi").value), caption: $("caption").checked, logo: $("logo").checked, marks: $("marks").checked,
    };
    for (const id of ["level", "language", "help", "title"]) if ($(id).value.trim()) body[id] = $(id).value.trim();
    if ($("logo").checked) body.level = "H";
    if ($("batch").value) {
      body.batch = $("batch").value;
      if ($("from").value) body.from = Number($("from").value);
      if ($("to").value) body.to = Number($("to").value);
    } else body.codes = $("codes").value.split(/\s*\n\s*/).map((s) => s.trim().replace(/^.*\//, "")).filter(Boolean);
    return body;
  };

  // The first sheet of a job: as many codes as it has labels.
  async function first() {
    const body = job();
    const stocks = await call("GET", "/v1/print/stocks");
    const stock = stocks.ok && (await stocks.json()).data.find((s) => s.id === body.stock);
    if (!stock) return body;
    if (body.codes) body.codes = body.codes.slice(0, stock.labels);
    else {
      body.from = body.from || 1;
      body.to = Math.min(body.to || batches.get(body.batch).done, body.from + stock.labels - 1);
    }
    return body;
  }

  async function busy(what) {
    for (const id of ["preview", "pdf"]) $(id).disabled = true;
    trouble("");
    try { await what(); } catch (err) { trouble(t("no_contact")); }
    for (const id of ["preview", "pdf"]) $(id).disabled = false;
  }

  $("login").onsubmit = (e) => { e.preventDefault(); key = $("key").value.trim(); open(); };
  $("batch").onchange = () => { $("serials").hidden = !$("batch").value; $("single").hidden = !!$("batch").value; };
  $("job").onsubmit = (e) => {
    e.preventDefault();
    busy(async () => {
      const answer = await call("POST", "/v1/print/sheets", { ...(await first()), format: "png" });
      $("shown").hidden = !answer.ok;
      if (!answer.ok) return trouble(await said(answer));
      URL.revokeObjectURL(picture);
      picture = URL.createObjectURL(await answer.blob());
      $("sheet").src = picture;
      const left = answer.headers.get("Placard-Left-Out");
      $("said").textContent = t("made", { n: answer.headers.get("Placard-Codes"), mm: Number(answer.headers.get("Placard-Module-MM")).toLocaleString(words.locale) }) +
        (left ? " " + t("left_out", { what: left }) : "");
    });
  };
  $("pdf").onclick = () => busy(async () => {
    const answer = await call("POST", "/v1/print/sheets", { ...job(), mark: $("mark").checked });
    if (!answer.ok) return trouble(await said(answer));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = "codes.pdf";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });
  open();
})();
