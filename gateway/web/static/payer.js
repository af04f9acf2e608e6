// The payer's page works without this. With it, the page follows what happens: the
// server tells that something changed, and the page asks for itself again. What is
// shown is always the server's words.
"use strict";
(() => {
  const news = document.getElementById("news"), bank = (document.getElementById("page") || { dataset: {} }).dataset.bank;
  let page, stream, timer, silent, asking = false, leaving = false;

  function begin() {
    page = document.getElementById("page");
    if (!page) return;
    // The scan goes into the address, so that a reload is the same scan.
    if (page.dataset.self) history.replaceState(null, "", page.dataset.self);
    count();
    copy();
    listen();
  }

  function listen() {
    if (stream) stream.close();
    stream = null;
    clearTimeout(timer);
    clearTimeout(silent);
    if (page.dataset.live !== "true") return;
    if (!window.EventSource) return later();
    stream = new EventSource(page.dataset.events);
    stream.onopen = () => { clearTimeout(silent); silent = null; say(""); };
    stream.addEventListener("resolution", (e) => {
      const seen = JSON.parse(e.data);
      const state = [seen.resolution, seen.epoch, seen.request ? seen.request.revision : "", seen.slow ? "slow" : ""].join(" ");
      if (state !== page.dataset.state) ask();
    });
    stream.onerror = () => {
      // The browser connects again by itself, except after an answer that is no stream.
      if (!silent) silent = setTimeout(() => { if (!leaving) ask(); }, 4000);
      if (stream.readyState === EventSource.CLOSED) later();
    };
  }

  function later() { clearTimeout(timer); timer = setTimeout(ask, 5000); }

  // What is shown may be old: nothing of it looks payable until the server has spoken.
  function old() { page.classList.add("stale"); say(page.dataset.old); }

  function say(text) {
    const trouble = document.getElementById("trouble");
    if (!trouble || (!text && !trouble.dataset.own)) return;
    trouble.dataset.own = "yes";
    trouble.hidden = !text;
    if (trouble.textContent !== text) trouble.textContent = text;
  }

  async function ask() {
    if (asking) return;
    asking = true;
    try {
      const answer = await fetch(page.dataset.self, { headers: { Accept: "text/html" }, cache: "no-store", credentials: "same-origin" });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = fresh.getElementById("page");
      if (main) {
        asking = false;
        if (main.dataset.state === page.dataset.state) {
          page.classList.remove("stale");
          say("");
          if (!stream || stream.readyState === EventSource.CLOSED) listen();
          return;
        }
        return turn(main, fresh.title);
      }
      if (answer.status === 404 || answer.status === 410) return location.reload();
      say(page.dataset.offline);
    } catch (e) {
      if (!leaving) say(page.dataset.offline);
    }
    asking = false;
    later();
  }

  // The page turns into the next one. Where its form leads is a matter of the policy that
  // the document came with: to a bank that this one does not name, only a document of its
  // own can lead.
  function turn(main, title) {
    if (main.dataset.bank && main.dataset.bank !== bank) return location.replace(main.dataset.self);
    const focused = page.contains(document.activeElement);
    page.replaceWith(document.adoptNode(main));
    document.title = title;
    begin();
    const heading = page.querySelector("h1");
    news.textContent = heading ? heading.textContent : "";
    if (focused && heading) heading.focus();
  }

  function count() {
    const left = document.getElementById("left"), end = Date.parse(page.dataset.expires);
    if (!left || !end) return;
    const skew = Date.now() - Date.parse(page.dataset.now);
    const tick = () => {
      if (!left.isConnected) return;
      const s = Math.max(0, Math.ceil((end - (Date.now() - skew)) / 1000));
      const h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
      left.textContent = (h ? h + ":" + String(m).padStart(2, "0") : m) + ":" + String(s % 60).padStart(2, "0");
      left.parentElement.classList.toggle("soon", s <= 60);
      if (s === 0) { old(); return ask(); }
      setTimeout(tick, 500);
    };
    tick();
  }

  function copy() {
    const button = document.getElementById("copy"), text = document.getElementById("payload");
    if (!button || !navigator.clipboard) return;
    button.hidden = false;
    button.onclick = async () => {
      await navigator.clipboard.writeText(text.value);
      button.textContent = news.textContent = button.dataset.done;
    };
  }

  // A page that was put away, or is restored from memory, shows old news.
  addEventListener("pagehide", () => { leaving = true; if (page && page.dataset.live === "true") old(); });
  addEventListener("pageshow", (e) => {
    leaving = false;
    for (const b of document.querySelectorAll("button[disabled]")) b.disabled = false;
    if (e.persisted && page && page.dataset.live === "true") { old(); ask(); }
  });
  addEventListener("visibilitychange", () => { if (!document.hidden && page && page.dataset.live === "true") ask(); });
  addEventListener("online", () => { if (page && page.dataset.live === "true") ask(); });
  // One click pays once. The way to the bank may take long; a page that is still there
  // then may be used again.
  addEventListener("submit", (e) => {
    setTimeout(() => { for (const b of e.target.querySelectorAll("button")) b.disabled = true; });
    setTimeout(() => { for (const b of e.target.querySelectorAll("button")) b.disabled = false; }, 8000);
  });
  if (document.getElementById("page")) begin();
})();
