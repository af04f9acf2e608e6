// Pages for people: whoever touches one goes on with his session, and whoever brings an
// API key in the address's fragment, which no server ever sees, is let in with it.
"use strict";
(() => {
  let told = Date.now();
  const touched = () => {
    if (Date.now() - told < 240000) return;
    told = Date.now();
    fetch("/session", { method: "POST", credentials: "same-origin" }).catch(() => {});
  };
  for (const e of ["pointerdown", "keydown"]) addEventListener(e, touched, { passive: true });
  const form = document.getElementById("by-key"), key = location.hash.slice(1);
  if (form && key.startsWith("plc_") && !document.querySelector("[role=alert]")) {
    history.replaceState(null, "", location.pathname + location.search);
    form.elements.key.value = key;
    form.submit();
  }
})();
