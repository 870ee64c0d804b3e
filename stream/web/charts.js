// Small drawings: an interval on a scale, a bar, a line over the time since the page was opened.

// A value with its 95 % interval on the scale [low, high].
function interval(found, [low, high]) {
  if (!known(found.value) || !(high > low)) return null;
  const place = (value) => `${Math.min(100, Math.max(0, (100 * (value - low)) / (high - low))).toFixed(2)}%`;
  const bounded = known(found.lower) && known(found.upper);
  const left = place(bounded ? found.lower : found.value);
  const width = bounded ? `calc(${place(found.upper)} - ${left})` : "0";
  return h("div", { class: "range", "aria-hidden": "true" },
    h("i", { class: "whisker", style: { left, width } }), h("i", { class: "dot", style: { left: place(found.value) } }));
}

// The scale on which several intervals can be compared, with a little room at both ends.
function scale(all) {
  const ends = all.flatMap((found) => [found.value, found.lower, found.upper]).filter(known);
  if (!ends.length) return [0, 0];
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const room = (high - low || Math.abs(high) || 1) * 0.12;
  return [low - room, high + room];
}

// PSI below 0.1 is no change, above 0.25 a major one (Siddiqi, Credit Risk Scorecards, 2006, ch. 6).
const PSI_NOTE = 0.1;
const PSI_MAJOR = 0.25;
const psiLevel = (psi) => (!known(psi) ? "" : psi >= PSI_MAJOR ? "bad" : psi >= PSI_NOTE ? "warn" : "good");

// A PSI on a scale that ends at twice what is major, with a mark at each of the two bounds.
function psiBar(psi) {
  const full = 2 * PSI_MAJOR;
  return h("div", { class: "meter", "aria-hidden": "true" },
    h("i", { class: `fill ${psiLevel(psi)}`, style: { width: `${Math.min(100, (100 * (psi || 0)) / full).toFixed(1)}%` } }),
    h("i", { class: "mark", style: { left: `${(100 * PSI_NOTE) / full}%` } }),
    h("i", { class: "mark", style: { left: `${(100 * PSI_MAJOR) / full}%` } }));
}

function shareBar(share) {
  return h("div", { class: "meter", "aria-hidden": "true" },
    h("i", { class: "fill plain", style: { width: `${(100 * Math.min(1, share || 0)).toFixed(1)}%` } }));
}

// A line through the values that the page has seen; nothing until there are enough to see a direction.
function spark(values, title) {
  const seen = values.filter(known);
  if (seen.length < 4) return null;
  const [low, high] = [Math.min(...seen), Math.max(...seen)];
  const y = (value) => (high === low ? 12 : 22 - (20 * (value - low)) / (high - low)).toFixed(1);
  const points = values.map((value, i) => [((100 * i) / (values.length - 1)).toFixed(1), value]);
  const line = points.filter(([, value]) => known(value)).map(([x, value]) => `${x},${y(value)}`).join(" ");
  return h("svg", { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", role: "img", "aria-label": title },
    h("polyline", { points: line }));
}
