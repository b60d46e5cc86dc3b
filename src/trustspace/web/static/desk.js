// Keys only: the desk works without this file. It sends nothing and stores nothing.
"use strict";
(() => {
  let begun = "";
  const typing = (element) => element && (/^(input|textarea|select)$/i.test(element.tagName) && element.type !== "radio" && element.type !== "checkbox");
  const move = (step) => {
    const rows = [...document.querySelectorAll("[data-row]")];
    if (!rows.length) return;
    const place = rows.indexOf(document.activeElement);
    const next = place < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, place + step));
    rows[next].focus();
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || typing(event.target)) return;
    const key = event.key;
    if (begun === "g") {
      begun = "";
      const link = document.querySelector(`[data-go="${CSS.escape(key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    if (key === "g") { begun = "g"; setTimeout(() => { begun = ""; }, 1500); return; }
    if (key === "j" || key === "k") { event.preventDefault(); move(key === "j" ? 1 : -1); return; }
    if (key === "?") { const keys = document.getElementById("keys"); keys.open = !keys.open; if (keys.open) keys.scrollIntoView(); return; }
    const choice = document.querySelector(`input[data-key="${CSS.escape(key)}"]:not(:disabled)`);
    if (choice) { event.preventDefault(); choice.checked = true; choice.focus(); choice.scrollIntoView({ block: "nearest" }); }
  });
})();
