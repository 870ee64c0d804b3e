// Numbers, times and names as people read them.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const NONE = "–";
const known = (value) => value !== null && value !== undefined;

const whole = (value) => (known(value) ? WHOLE.format(value) : NONE);
const short = (value) => (known(value) ? (Math.abs(value) < 10000 ? WHOLE.format(value) : COMPACT.format(value)) : NONE);
const plural = (count, noun) => `${whole(count)} ${noun}${count === 1 ? "" : "s"}`;

// Four digits that matter: 0.9142, 63.94, 1,205.
function number(value) {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.0001 || size >= 1e7)) return value.toExponential(2);
  if (size >= 1000) return WHOLE.format(value);
  return value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4);
}

// A distance between distributions: three decimals say all that there is to say.
const distance = (value) => (known(value) ? value.toFixed(3) : NONE);

function percent(share) {
  if (!known(share)) return NONE;
  const value = share * 100;
  return `${value === 0 || value >= 99.95 ? value.toFixed(0) : value < 10 ? value.toFixed(1) : value.toFixed(0)} %`;
}

function rate(value) {
  if (!known(value)) return NONE;
  return value >= 100 ? short(value) : value.toFixed(value >= 10 || value === 0 ? 0 : 1);
}

// A length of time: 40 ms, 2.5 s, 12 min, 3.2 h, 7 d.
function duration(seconds) {
  if (!known(seconds)) return NONE;
  if (seconds < 1) return `${Number((seconds * 1000).toPrecision(3))} ms`;
  for (const [unit, size, next] of [["s", 1, 60], ["min", 60, 3600], ["h", 3600, 172800], ["d", 86400, Infinity]]) {
    if (seconds < next) return `${Number((seconds / size).toPrecision(seconds / size < 10 ? 2 : 3))} ${unit}`;
  }
  return NONE;
}

// A window as configurations say it.
function windowName(seconds) {
  for (const [unit, size, least] of [["d", 86400, 2], ["h", 3600, 1], ["m", 60, 1], ["s", 1, 1]]) {
    if (seconds % size === 0 && seconds / size >= least) return `${seconds / size}${unit}`;
  }
  return `${seconds * 1000}ms`;
}

function ago(now, ts) {
  if (!known(ts)) return NONE;
  const passed = now - ts;
  if (passed < -5) return `in ${duration(-passed)}`;
  return passed < 2 ? "now" : `${duration(passed)} ago`;
}

function clock(ts) {
  return known(ts) ? new Date(ts * 1000).toISOString().replace("T", " ").replace(/\.\d+Z$/, " UTC") : NONE;
}

const ACRONYMS = { roc_auc: "ROC AUC", f1: "F1", mae: "MAE", rmse: "RMSE", mape: "MAPE", smape: "sMAPE", r2: "R²", brier: "Brier score" };

// A metric's name: known acronyms, otherwise the words of the name itself.
function metricName(name) {
  if (name.includes(".")) return name;
  const perClass = name.match(/^(.+?)_class_(.+)$/s);
  if (perClass) return `${metricName(perClass[1])} of ${perClass[2]}`;
  for (const [short, long] of Object.entries(ACRONYMS)) {
    if (name === short) return long;
    if (name.startsWith(short + "_")) return `${long} ${name.slice(short.length + 1).replaceAll("_", " ")}`;
  }
  return name.replaceAll("_", " ");
}

// A quantile of a histogram, by a straight line inside its bucket; null when there is none.
function quantile(buckets, share) {
  const total = buckets.counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let below = 0;
  for (let i = 0; i < buckets.counts.length; i++) {
    const count = buckets.counts[i];
    if (below + count >= share * total && count > 0) {
      if (i >= buckets.bounds.length) return buckets.bounds[buckets.bounds.length - 1];
      const low = i === 0 ? 0 : buckets.bounds[i - 1];
      return low + ((buckets.bounds[i] - low) * (share * total - below)) / count;
    }
    below += count;
  }
  return null;
}
