"use strict";
(() => {
  const tip = document.getElementById("tip");
  const words = { v: "", l: "from ", u: "to ", e: "estimate ", n: "samples " };
  const clock = (t) => new Date(t * 1000).toISOString().slice(0, 16).replace("T", " ");
  const parsed = new WeakMap();
  const read = (place) => {
    if (!parsed.has(place)) parsed.set(place, JSON.parse(place.dataset.points));
    return parsed.get(place);
  };
  const show = (event) => {
    const place = event.target.closest("[data-points]");
    const drawing = place && place.querySelector("svg.plot, svg.cells");
    if (!drawing) { tip.hidden = true; return; }
    const box = drawing.getBoundingClientRect();
    const found = read(place);
    const begin = Number(place.closest("[data-begin]").dataset.begin), end = Number(place.closest("[data-end]").dataset.end);
    const share = (event.clientX - box.left) / box.width;
    if (share < 0 || share > 1) { tip.hidden = true; return; }
    const time = begin + share * (end - begin);
    let at = -1;
    found.t.forEach((start, i) => { if (start <= time && time < start + found.d) at = i; });
    if (at < 0) { tip.hidden = true; return; }
    const said = Object.keys(words).filter((key) => found[key] && found[key][at] !== null && found[key][at] !== undefined)
      .map((key) => words[key] + found[key][at].toLocaleString("en", { maximumSignificantDigits: 4 }));
    tip.textContent = `${clock(found.t[at])} UTC · ${said.join(" · ") || "nothing known"}`;
    tip.hidden = false;
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    tip.style.transform = `translate(${Math.max(8, left)}px, ${event.clientY + 18}px)`;
  };
  document.addEventListener("pointermove", show, { passive: true });
  document.addEventListener("pointerleave", () => { tip.hidden = true; });
})();
