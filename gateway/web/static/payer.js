// The payer's page works without this. With it, the page follows what happens: the
// server tells that something changed, and the page asks for itself again. What is
// shown is always the server's words.
"use strict";
(() => {
  let page, stream, timer, asking = false;

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
    clearTimeout(timer);
    if (page.dataset.live !== "true") return;
    if (!window.EventSource) return later();
    stream = new EventSource(page.dataset.events);
    stream.addEventListener("resolution", (e) => {
      const seen = JSON.parse(e.data);
      const state = [seen.resolution, seen.epoch, seen.request ? seen.request.revision : "", seen.slow ? "slow" : ""].join(" ");
      if (state !== page.dataset.state) ask();
    });
    stream.onerror = () => { if (stream.readyState === EventSource.CLOSED) later(); };
  }

  function later() { clearTimeout(timer); timer = setTimeout(ask, 5000); }

  async function ask() {
    if (asking) return;
    asking = true;
    try {
      const answer = await fetch(page.dataset.self, { headers: { Accept: "text/html" }, cache: "no-store", credentials: "same-origin" });
      const text = await answer.text();
      const fresh = new DOMParser().parseFromString(text, "text/html");
      const main = fresh.getElementById("page");
      if (main) {
        page.replaceWith(document.adoptNode(main));
        document.title = fresh.title;
        asking = false;
        return begin();
      }
    } catch (e) {
      // No network: what is shown may be old, and the pay click asks again anyway.
    }
    asking = false;
    later();
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
      if (s === 0) return ask();
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
      button.textContent = button.dataset.done;
    };
  }

  // A tab that was put away, or restored from memory, shows old news: ask at once.
  addEventListener("pageshow", (e) => { if (e.persisted) ask(); });
  addEventListener("visibilitychange", () => { if (!document.hidden && page && page.dataset.live === "true") ask(); });
  // One click pays once.
  addEventListener("submit", (e) => { setTimeout(() => { for (const b of e.target.querySelectorAll("button")) b.disabled = true; }); });
  begin();
})();
