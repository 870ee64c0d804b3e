// A model as a card: one line that says how it is, and below it everything that is known.

const HEADLINES = {
  binary: ["roc_auc", "accuracy", "f1", "log_loss"],
  multiclass: ["accuracy", "f1_macro", "f1_weighted", "log_loss"],
  regression: ["mae", "rmse", "r2", "bias"],
};
const FEW = 8;
const TOGETHER = "*";
const STATES = { firing: ["bad", "firing"], pending: ["warn", "pending"], inactive: ["good", "quiet"] };

const chip = (kind, ...words) => h("span", { class: `chip ${kind}` }, ...words);
const wholeSegment = (model) => model.segments.find((segment) => segment.segment === "all") || model.segments[0];
const countStates = (model, state) => model.rules.filter((rule) => rule.state === state).length;

function headlineNames(task, metrics) {
  const first = (HEADLINES[task] || []).filter((name) => name in metrics);
  return [...first, ...Object.keys(metrics).filter((name) => !first.includes(name))];
}

// The shortest window that has a labelled prediction, else the shortest: what the one line shows.
function headline(model) {
  const segment = wholeSegment(model);
  const windows = segment ? segment.windows : [];
  const shown = windows.find((window) => window.labels > 0) || windows[0];
  if (!shown) return null;
  const name = headlineNames(model.task, shown.metrics).find((metric) => known(shown.metrics[metric].value));
  return { window: shown, name, found: name ? shown.metrics[name] : null };
}

function health(model) {
  const [firing, pending] = [countStates(model, "firing"), countStates(model, "pending")];
  if (firing) return ["bad", `${firing} firing`];
  if (pending) return ["warn", `${pending} pending`];
  if (!model.counts.outcomes) return ["idle", model.counts.predictions ? "no labels yet" : "no events yet"];
  return ["good", "healthy"];
}

function worstDrift(window) {
  const all = Object.entries(window ? window.drift : {}).filter(([, scores]) => known(scores.psi));
  return all.sort((a, b) => b[1].psi - a[1].psi)[0];
}

function modelCard(model, context) {
  const [level, words] = health(model);
  const lead = headline(model);
  const drifted = worstDrift(lead && lead.window);
  const trend = context.trend(model);
  return h("details", { class: `card model ${level}`, key: context.key, "data-model": context.key, open: context.open },
    h("summary", null,
      h("span", { class: `light ${level}`, "aria-hidden": "true" }),
      h("span", { class: "name" }, h("bdi", { title: model.model }, model.model),
        h("small", null, [model.task, known(model.version) && `version ${model.version}`, context.split && `partition ${context.partition}`].filter(Boolean).join(" · "))),
      chip(level, words),
      h("span", { class: "lead" }, lead && lead.found
        ? [h("b", null, number(lead.found.value)), h("small", null, `${metricName(lead.name)}, ${windowName(lead.window.seconds)}`)]
        : [h("b", null, NONE), h("small", null, "no metric yet")]),
      h("span", { class: "trend" }, spark(trend, "headline metric since this page was opened")),
      h("span", { class: "lead" }, h("b", null, lead ? percent(lead.window.coverage) : NONE), h("small", null, "labelled")),
      h("span", { class: "lead" }, h("b", null, rate(context.rate(model))), h("small", null, "predictions/s")),
      h("span", { class: "lead" }, h("b", { class: drifted ? psiLevel(drifted[1].psi) : "" }, drifted ? distance(drifted[1].psi) : NONE),
        h("small", { class: "clip" }, drifted ? `PSI ${drifted[0]}` : "no drift measured"))),
    h("div", { class: "body" },
      model.notes.map((note) => h("p", { class: "note" }, note)),
      performancePanel(model), drift(model), rules(model, context.now), events(model, context.now), segments(model), fairness(model), challengers(model)));
}

function panel(title, hint, ...content) {
  return h("div", { class: "panel" }, h("h3", null, title, hint && h("small", null, hint)), ...content);
}

function more(key, title, content) {
  return h("details", { class: "more", key }, h("summary", null, title), content);
}

function performancePanel(model) {
  const windows = wholeSegment(model)?.windows || [];
  const names = headlineNames(model.task, Object.assign({}, ...windows.map((window) => window.metrics)));
  const estimated = windows.some((window) => Object.keys(window.estimates).length);
  if (!names.length) {
    return panel("Performance", null, h("p", { class: "muted" }, "No labelled predictions in any window yet: performance appears when labels arrive."));
  }
  const head = h("thead", null, h("tr", null, h("th", null, ""), windows.map((window) => [h("th", { class: "num" }, windowName(window.seconds)), h("th", { class: "draw" }, "")]), estimated && h("th", { class: "num" }, "estimate")));
  const row = (name) => {
    const cells = windows.map((window) => window.metrics[name] || { value: null });
    const shared = scale(cells);
    const guess = windows.map((window) => window.estimates[name]).find(Boolean);
    return h("tr", { key: name }, h("th", { scope: "row" }, metricName(name)),
      cells.map((found) => [h("td", { class: "num", title: bounds(found) }, h("b", null, number(found.value)), spread(found)), h("td", { class: "draw" }, interval(found, shared))]),
      estimated && h("td", { class: "num muted" }, guess ? number(guess.value) : ""));
  };
  const table = (some) => h("div", { class: "scroll" }, h("table", { class: "values" }, head.cloneNode(true), h("tbody", null, some.map(row))));
  const rest = names.slice(FEW);
  return panel("Performance", "value ± half of its 95 % interval", table(names.slice(0, FEW)),
    rest.length > 0 && more("metrics", `${plural(rest.length, "more metric")}`, table(rest)),
    h("div", { class: "coverage" }, windows.map((window) => h("div", { key: window.seconds },
      h("span", null, `${windowName(window.seconds)}: ${whole(window.labels)} of ${whole(window.predictions)} labelled (${percent(window.coverage)})`), shareBar(window.coverage)))));
}

const spread = (found) => known(found.lower) && known(found.upper) && h("small", null, `±${number((found.upper - found.lower) / 2)}`);
const bounds = (found) => (known(found.lower) && known(found.upper) ? `95 %: ${number(found.lower)} to ${number(found.upper)}, ${plural(found.samples, "outcome")}` : null);

function drift(model) {
  const window = (wholeSegment(model)?.windows || []).find((one) => Object.keys(one.drift).length);
  const hint = `against ${model.reference}`;
  if (!window) return panel("Drift", hint, h("p", { class: "muted" }, "No feature is compared yet: that begins when the reference is complete."));
  const joint = window.drift[TOGETHER];
  const all = Object.entries(window.drift).filter(([feature]) => feature !== TOGETHER).sort((a, b) => (b[1].psi ?? -1) - (a[1].psi ?? -1));
  const head = h("thead", null, h("tr", null, h("th", null, windowName(window.seconds)), h("th", { class: "num" }, "PSI"), h("th", { class: "draw" }, ""), h("th", { class: "num wide" }, "JS"), h("th", { class: "num" }, "KS"), h("th", { class: "num" }, "missing")));
  const row = ([feature, scores]) => h("tr", { key: feature, title: known(scores.wasserstein) ? `Wasserstein ${distance(scores.wasserstein)}` : null },
    h("th", { scope: "row", class: feature === "prediction" ? "own" : null }, h("bdi", null, feature)),
    h("td", { class: `num ${psiLevel(scores.psi)}` }, h("b", null, distance(scores.psi))), h("td", { class: "draw" }, psiBar(scores.psi)),
    h("td", { class: "num wide" }, distance(scores.js)), h("td", { class: "num" }, distance(scores.ks)),
    h("td", { class: "num" }, feature in window.missing ? percent(window.missing[feature]) : ""));
  const table = (some) => h("div", { class: "scroll" }, h("table", null, head.cloneNode(true), h("tbody", null, some.map(row))));
  const parts = model.segments.filter((segment) => segment !== wholeSegment(model)).flatMap((segment) => {
    const same = segment.windows.find((one) => one.seconds === window.seconds);
    return Object.entries(same ? same.drift : {}).map(([feature, scores]) => [`${feature} · ${segment.segment}`, scores]);
  }).sort((a, b) => (b[1].psi ?? -1) - (a[1].psi ?? -1));
  return panel("Drift", hint, table(all.slice(0, FEW)), all.length > FEW && more("features", plural(all.length - FEW, "more feature"), table(all.slice(FEW))),
    parts.length > 0 && more("parts", `${plural(parts.length, "feature")} of segments`, table(parts)),
    joint && h("p", null, "All features together: ", known(joint.mmd) ? `MMD ${distance(joint.mmd_distance)}, p-value ${number(joint.mmd)}` : "the reference is too small to compare"));
}

function rules(model, now) {
  const order = ["firing", "pending", "inactive"];
  const all = [...model.rules].sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state));
  if (!all.length) return panel("Rules", null, h("p", { class: "muted" }, "No rule watches this model."));
  const row = (rule) => h("li", { key: JSON.stringify([rule.rule, rule.segment, rule.feature]) }, chip(...(rule.silenced ? ["idle", "silenced"] : STATES[rule.state])),
    h("span", { class: "words" }, h("bdi", null, rule.rule), known(rule.feature) && h("small", null, " ", h("bdi", null, rule.feature)), rule.segment !== "all" && h("small", null, ` ${rule.segment}`), h("small", { class: "clip", title: rule.summary }, rule.summary)),
    h("span", { class: "num" }, number(rule.value), known(rule.threshold) && h("small", null, ` / ${number(rule.threshold)}`), known(rule.since) && h("small", { title: clock(rule.since) }, ` ${ago(now, rule.since)}`)));
  return panel("Rules", "value / bound", h("ul", { class: "rules" }, all.slice(0, FEW).map(row)),
    all.length > FEW && more("rules", plural(all.length - FEW, "more rule"), h("ul", { class: "rules" }, all.slice(FEW).map(row))));
}

function events(model, now) {
  const c = model.counts;
  const fact = (name, value, title, loud) => h("div", { title }, h("dt", null, name), h("dd", { class: loud ? "warn" : null }, value));
  const times = (buckets) => [0.5, 0.95, 0.99].map((share) => duration(quantile(buckets, share))).join(" · ");
  return panel("Events", null, h("dl", { class: "facts" },
    fact("predictions", whole(c.predictions)), fact("outcomes", whole(c.outcomes), "predictions with their label"), fact("waiting for a label", whole(c.pending)),
    fact("never labelled", whole(c.expired_predictions), "their label did not come within the horizon"), fact("failed predictions", whole(c.errors), null, c.errors > 0),
    fact("labels", whole(c.labels)), fact("early labels", whole(c.early), "labels that wait for their prediction"), fact("orphan labels", whole(c.expired_labels), "labels whose prediction never came"),
    fact("duplicates", whole(c.duplicate_predictions + c.duplicate_labels)), fact("newest event", ago(now, model.watermark), clock(model.watermark)),
    Object.entries(model.resources).map(([name, value]) => fact(name.replaceAll("_", " "), number(value), "newest sample of the serving process")),
    fact("latency p50 · p95 · p99", times(model.latency_seconds)), fact("label delay p50 · p95 · p99", times(model.label_delay_seconds))));
}

function segments(model) {
  const parts = model.segments.filter((segment) => segment.segment !== "all" && segment.windows.length);
  if (!parts.length) return null;
  const lead = headline(model);
  const names = headlineNames(model.task, lead ? lead.window.metrics : {}).slice(0, 2);
  const rows = parts.map((segment) => {
    const window = segment.windows[0];
    return h("tr", { key: segment.segment }, h("th", { scope: "row" }, h("bdi", null, segment.segment)), h("td", { class: "num" }, short(window.predictions)), h("td", { class: "num" }, percent(window.coverage)),
      names.map((name) => { const found = window.metrics[name] || { value: null }; return h("td", { class: "num", title: bounds(found) }, h("b", null, number(found.value)), spread(found)); }));
  });
  const head = h("tr", null, h("th", null, windowName(parts[0].windows[0].seconds)), h("th", { class: "num" }, "predictions"), h("th", { class: "num" }, "labelled"), names.map((name) => h("th", { class: "num" }, metricName(name))));
  return panel("Segments", null, h("div", { class: "scroll tall" }, h("table", null, h("thead", null, head), h("tbody", null, rows))));
}

// Gaps between the groups of an attribute, in the longest window: the one with most outcomes.
function fairness(model) {
  const window = [...(wholeSegment(model)?.windows || [])].reverse().find((one) => Object.keys(one.fairness || {}).length);
  if (!window) return null;
  const rows = Object.entries(window.fairness).flatMap(([attribute, gaps]) => Object.entries(gaps).map(([name, found], i) => h("tr", { key: `${attribute} ${name}` },
    h("th", { scope: "row" }, i === 0 && h("bdi", null, attribute)), h("td", null, metricName(name)), h("td", { class: "num", title: bounds(found) }, h("b", null, number(found.value)), spread(found)))));
  const head = h("tr", null, h("th", null, windowName(window.seconds)), h("th", null, "gap between groups"), h("th", { class: "num" }, ""));
  return panel("Fairness", "a difference is best at 0, a ratio at 1", h("div", { class: "scroll tall" }, h("table", null, h("thead", null, head), h("tbody", null, rows))));
}

function challengers(model) {
  if (!model.challengers.length) return null;
  const rows = model.challengers.flatMap((one) => Object.keys(one.metrics).map((name, i) => h("tr", { key: `${one.name} ${name}` },
    h("th", { scope: "row" }, i === 0 && [h("bdi", null, one.name), h("small", null, known(one.version) ? ` version ${one.version}` : " nothing saved yet"), known(one.promoted) && chip("good", `version ${one.promoted} promoted`)]),
    h("td", null, metricName(name)), h("td", { class: "num" }, h("b", null, number(one.metrics[name]))), h("td", { class: "num" }, number(one.incumbent[name])),
    h("td", { class: "num" }, i === 0 && short(one.samples)))));
  const head = h("tr", null, h("th", null, ""), h("th", null, "metric"), h("th", { class: "num" }, "challenger"), h("th", { class: "num" }, "incumbent"), h("th", { class: "num" }, "outcomes"));
  const trials = model.challengers.filter((one) => known(one.trial) && !known(one.off)).map((one) => h("p", { class: "muted", key: one.name }, trialWords(one)));
  return panel("Challengers", "on the same outcomes", h("div", { class: "scroll" }, h("table", null, h("thead", null, head), h("tbody", null, rows))), trials);
}

// How far a challenger is from its promotion.
function trialWords({ name, trial }) {
  const needs = `promoted when surely above ${number(trial.margin)} (confidence ${trial.confidence}) after ${whole(trial.min_samples)} outcomes`;
  const found = known(trial.difference) ? `${metricName(trial.metric)} better by ${number(trial.difference)}, surely by ${number(trial.lower)}` : "nothing compared yet";
  return [h("bdi", null, name), ` against ${trial.rival}: ${found}, ${plural(trial.samples, "outcome")}; ${needs}`];
}
