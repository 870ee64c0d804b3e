// The page: fetches the status, keeps what it has seen for the small lines, and shows it.

const EVERY = 2000;
const PATIENCE = 10000;
const HISTORY = 120;
const SHOWN = 100;
const OPEN_AT_FIRST = 3;
const LOUDEST = 10;
const at = (id) => document.getElementById(id);

const past = { total: [], models: new Map(), rates: new Map() };
const opened = new Map();
let last = null;
let search = "";
let failures = 0;

// What happens between two states: rates, and values for the lines. A count that falls is another worker's past.
function remember(state) {
  const passed = last ? state.now - last.now : 0;
  const change = (before, after) => (passed > 0 && known(before) && after >= before ? (after - before) / passed : null);
  if (passed > 0) push(past.total, change(last.totals.predictions + last.totals.labels, state.totals.predictions + state.totals.labels));
  const before = new Map(last ? list(last).map((item) => [item.key, item.model]) : []);
  for (const { key, model } of list(state)) {
    const lead = headline(model);
    if (!past.models.has(key)) past.models.set(key, []);
    push(past.models.get(key), lead && lead.found ? lead.found.value : null);
    const earlier = before.get(key);
    past.rates.set(key, change(earlier && earlier.counts.predictions, model.counts.predictions));
  }
  last = state;
}

function push(values, value) {
  values.push(value);
  if (values.length > HISTORY) values.shift();
}

// The models in the order of urgency, each with the key that tells it apart from all others.
function list(state) {
  const seen = new Map();
  const all = state.shards.flatMap((shard) => shard.models.map((model) => ({ model, partition: shard.partition, key: `${shard.partition}/${model.model}` })));
  for (const { model } of all) seen.set(model.model, (seen.get(model.model) || 0) + 1);
  for (const item of all) item.split = seen.get(item.model.model) > 1;
  const urgency = (model) => countStates(model, "firing") * 1000 + countStates(model, "pending");
  return all.sort((a, b) => urgency(b.model) - urgency(a.model) || (a.model.model < b.model.model ? -1 : a.model.model > b.model.model ? 1 : a.partition - b.partition));
}

function render() {
  const state = last;
  const items = list(state);
  const { totals } = state;
  show(at("state"), state.ready ? chip("good", "ready") : chip("bad", "not ready"));
  show(at("banner"), state.reasons.map((reason) => h("p", { class: "note bad", key: `r ${reason}` }, `Not ready: ${reason}`)), state.notes.map((note) => h("p", { class: "note", key: `n ${note}` }, note)));
  show(at("tiles"), tiles(state));
  show(at("alerts"), alertList(items, state.now, totals.firing));
  const field = at("search");
  field.hidden = totals.models <= 6 && !search;
  show(at("found"), totals.shown < totals.matching ? `the ${whole(totals.shown)} most urgent of ${whole(totals.matching)}` : search ? `${whole(totals.matching)} of ${whole(totals.models)}` : "");
  const few = items.length <= OPEN_AT_FIRST;
  show(at("models"), items.map((item, i) => modelCard(item.model, {
    ...item, now: state.now, open: opened.get(item.key) ?? (few || (i === 0 && countStates(item.model, "firing") > 0)),
    rate: () => past.rates.get(item.key), trend: () => past.models.get(item.key) || [],
  })), !items.length && emptyState(state));
  show(at("worker"), workerPanel(state));
  document.title = totals.firing ? `(${totals.firing}) stream` : "stream";
}

function tiles(state) {
  const { totals } = state;
  const lagKnown = state.lag.some((one) => known(one.lag));
  const speed = past.total[past.total.length - 1];
  const labelled = totals.predictions ? totals.outcomes / totals.predictions : null;
  const tile = (name, value, hint, level, line) => h("div", { class: `tile ${level || ""}`, key: name }, h("small", null, name), h("b", null, value), h("small", { class: "hint" }, hint), line);
  return [
    tile("Alerts firing", whole(totals.firing), totals.firing ? "see below" : totals.models ? "all quiet" : "nothing watched yet", totals.firing ? "bad" : totals.models ? "good" : ""),
    tile("Models", whole(totals.models), `on ${plural(totals.shards, "partition")}`),
    tile("Events per second", rate(speed), `${short(totals.predictions + totals.labels)} so far`, "", spark(past.total, "events per second since this page was opened")),
    tile("Labelled", percent(labelled), `${short(totals.pending)} waiting for a label`),
    tile("Lag", lagKnown ? short(totals.lag) : NONE, lagKnown ? (totals.lag ? "records to catch up" : "caught up") : "not known yet", totals.lag > 100000 ? "warn" : ""),
    tile("Refused records", short(totals.dead_letters), totals.dead_letters ? "in the dead-letter topic" : "none", totals.dead_letters ? "warn" : ""),
  ];
}

function alertList(items, now, firing) {
  const all = items.flatMap(({ model }) => model.alerts).sort((a, b) => b.ts - a.ts);
  const newest = new Map();
  for (const alert of all) if (!newest.has(alert.fingerprint)) newest.set(alert.fingerprint, alert);
  const loud = { critical: 0, warning: 1, info: 2 };
  const open = [...newest.values()].filter((alert) => alert.state === "firing").sort((a, b) => loud[a.severity] - loud[b.severity] || b.ts - a.ts);
  const closed = all.filter((alert) => alert.state === "resolved");
  if (!open.length && !closed.length && !firing) return null;
  return [
    h("div", { class: "heading" }, h("h2", null, "Alerts"), h("span", { class: "muted" }, open.length ? `${whole(firing)} firing` : "none firing")),
    h("ul", { class: "alerts", key: "loudest" }, open.slice(0, LOUDEST).map((alert) => alertRow(alert, now))),
    open.length > LOUDEST && h("details", { class: "more", key: "more" }, h("summary", null, `${whole(open.length - LOUDEST)} more firing`), h("ul", { class: "alerts" }, open.slice(LOUDEST).map((alert) => alertRow(alert, now)))),
    closed.length > 0 && h("details", { class: "more", key: "resolved" }, h("summary", null, `${whole(closed.length)} resolved lately`), h("ul", { class: "alerts" }, closed.slice(0, 50).map((alert) => alertRow(alert, now)))),
  ];
}

function alertRow(alert, now) {
  const level = alert.state === "resolved" ? "idle" : { critical: "bad", warning: "warn", info: "info" }[alert.severity];
  const facts = [alert.kind.replaceAll("_", " "), alert.segment !== "all" && alert.segment, `rule ${alert.rule}`, `${plural(alert.samples, "sample")}`].filter(Boolean);
  const why = alert.explanation || { segments: [], features: [] };
  return h("li", { class: `card alert ${level}`, key: alert.id },
    h("div", { class: "top" }, chip(level, alert.state === "resolved" ? "resolved" : alert.severity), alert.silenced && chip("idle", "silenced"), h("bdi", { class: "of" }, alert.model), h("span", { class: "grow" }),
      h("time", { title: `${clock(alert.started_at)} to ${alert.state === "resolved" ? clock(alert.ts) : "now"}` }, alert.state === "resolved" ? `resolved ${ago(now, alert.ts)}` : `for ${duration(Math.max(0, now - alert.started_at))}`)),
    h("p", { class: "summary" }, alert.summary),
    h("p", { class: "muted" }, facts.join(" · "),
      (why.segments || []).slice(0, 4).map((part) => chip("plain", h("bdi", null, part.segment), ` ${percent(part.share)}`)),
      (why.features || []).slice(0, 4).map((part) => chip("plain", h("bdi", null, part.feature), ` ${part.test} ${distance(part.value)}`))));
}

function workerPanel(state) {
  const reasons = {};
  for (const shard of state.shards) for (const [reason, count] of Object.entries(shard.dead_letters)) reasons[reason] = (reasons[reason] || 0) + count;
  const topics = [...new Set(state.lag.map((one) => one.topic))];
  const lagOf = (topic, partition) => (state.lag.find((one) => one.topic === topic && one.partition === partition) || {}).lag;
  const rows = state.shards.map((shard) => h("tr", { key: shard.partition }, h("th", { scope: "row" }, shard.partition), h("td", { class: "num" }, whole(shard.events)), h("td", { class: "num" }, whole(shard.buffered)), topics.map((topic) => h("td", { class: "num" }, whole(lagOf(topic, shard.partition))))));
  const head = h("tr", null, h("th", null, "partition"), h("th", { class: "num" }, "events"), h("th", { class: "num" }, "buffered"), topics.map((topic) => h("th", { class: "num" }, "lag of ", h("bdi", null, topic))));
  const fact = (name, value, loud) => h("div", null, h("dt", null, name), h("dd", { class: loud ? "warn" : null }, value));
  return h("details", { class: "card model", key: "worker" }, h("summary", null, h("span", { class: "name" }, "This worker", h("small", null, `${plural(state.shards.length, "partition")}, ${plural(state.checkpoints, "checkpoint")}, one every ${duration(state.checkpoint_interval)}`))),
    h("div", { class: "body" },
      panel("Partitions", null, rows.length ? h("div", { class: "scroll tall" }, h("table", null, h("thead", null, head), h("tbody", null, rows))) : h("p", { class: "muted" }, "none assigned")),
      panel("State and refusals", null, h("dl", { class: "facts" }, fact("checkpoints", whole(state.checkpoints)), fact("checkpoint interval", duration(state.checkpoint_interval)), fact("refused commits (fenced)", whole(state.fenced)),
        Object.entries(reasons).map(([reason, count]) => fact(`refused: ${reason.replaceAll("_", " ")}`, whole(count), true))))));
}

function emptyState(state) {
  if (search) return h("p", { class: "card quiet" }, `No model's name contains “${search}”.`);
  const topics = state.lag.map((one) => one.topic);
  const [predictions, labels] = [topics[0] || "predictions", topics.find((topic) => topic !== topics[0]) || "labels"];
  const line = (record) => h("pre", null, JSON.stringify(record));
  return h("div", { class: "card quiet", key: "empty" },
    h("h3", null, state.shards.length ? "Listening. No prediction has come yet." : "Waiting for partitions."),
    h("p", null, state.shards.length ? "Send one JSON record per prediction, with the model's name as the record's key. A model shows up here by itself; nothing has to be registered."
      : "Another worker may own them all, or the broker is not reachable: the reasons are above and in /readyz."),
    h("p", null, "To the topic ", h("code", null, predictions), ":"),
    line({ model: "fraud", id: "42", ts: Math.floor(state.now), prediction: 1, score: 0.93, features: { amount: 120.5, country: "BR" } }),
    h("p", null, "and, when the truth is known, with the same key to the topic ", h("code", null, labels), ":"),
    line({ model: "fraud", id: "42", ts: Math.floor(state.now) + 60, label: 0 }),
    h("p", { class: "muted" }, "No traffic at hand? ", h("code", null, "stream demo"), " brings its own broker, three models and a drift to look at."));
}

async function refresh() {
  try {
    const query = new URLSearchParams({ limit: SHOWN, ...(search && { search }) });
    const answer = await fetch(`api/status?${query}`, { signal: AbortSignal.timeout(PATIENCE), cache: "no-store" });
    if (!answer.ok) throw new Error(`the worker answers ${answer.status}`);
    const state = await answer.json();
    failures = 0;
    remember(state);
    render();
    pulse("live", "live");
  } catch (error) {
    failures += 1;
    pulse("lost", last ? `no answer, showing ${clock(last.now).slice(11, 19)}` : "no answer");
  }
}

function pulse(kind, words) {
  document.body.dataset.link = kind;
  show(at("pulse"), h("i", { class: `beat ${kind}` }), words);
}

async function run() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, Math.min(30000, EVERY * (1 + failures))));
    if (!document.hidden) await refresh();
  }
}

const THEMES = ["system", "light", "dark"];
function theme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  at("theme-name").textContent = name;
}
function storedTheme(name) {
  // A browser may forbid storage; the theme is then the system's at the next visit.
  try {
    if (name) localStorage.setItem("theme", name);
    return localStorage.getItem("theme");
  } catch {
    return name || null;
  }
}
at("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme || "system";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  theme(next);
  storedTheme(next);
});
at("models").addEventListener("toggle", (event) => {
  const key = event.target.dataset.model;
  if (key !== undefined) opened.set(key, event.target.open);
}, true);
let typing = 0;
at("search").addEventListener("input", (event) => {
  search = event.target.value.trim();
  clearTimeout(typing);
  typing = setTimeout(refresh, 200);
});
document.addEventListener("visibilitychange", () => !document.hidden && refresh());

theme(THEMES.includes(storedTheme()) ? storedTheme() : "system");
remember(JSON.parse(at("first").textContent));
render();
pulse("live", "live");
run();
