"""Every Prometheus metric of this program: its name, kind, labels, unit and help, in one place.

Invariant: nothing outside this file spells a metric's name; what is defined here is exposed even before it has a value.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

Kind: TypeAlias = Literal["counter", "gauge", "histogram", "info"]

WINDOWED = ("model", "segment", "window")


class Definition(Struct, frozen=True):
    """One metric family. `name` is what a query says, so counters end in `_total` and info metrics in `_info`."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    unit: str
    """Unit of the value. It is part of the name where the unit is seconds (Prometheus naming practice)."""
    contract: bool = True
    """Whether users may rely on the name; the others serve our own dashboard and rules."""

    @property
    def samples(self) -> tuple[str, ...]:
        """The names under which Prometheus stores it."""
        if self.kind == "histogram":
            return tuple(self.name + suffix for suffix in ("_bucket", "_count", "_sum"))
        return (self.name,)


PREDICTIONS = Definition("stream_predictions_total", "counter", ("model",), "Predictions taken.", "events")
LABELS = Definition("stream_labels_total", "counter", ("model",), "Labels taken.", "events")
OUTCOMES = Definition("stream_outcomes_total", "counter", ("model",), "Predictions joined with their label.", "events")
ERRORS = Definition("stream_prediction_errors_total", "counter", ("model",), "Predictions that failed.", "events")
DUPLICATES = Definition(
    "stream_duplicates_total", "counter", ("model", "kind"), "Events whose id was seen before, by kind.", "events"
)
EXPIRED = Definition(
    "stream_expired_total", "counter", ("model", "kind"), "Events whose counterpart never came in time.", "events"
)
DEAD_LETTERS = Definition(
    "stream_dead_letters_total", "counter", ("reason",), "Records refused and sent to the dead-letter topic.", "records"
)
ALERTS = Definition("stream_alerts_total", "counter", ("model", "rule", "severity"), "Alerts that fired.", "alerts")
CHECKPOINTS = Definition("stream_checkpoints_total", "counter", (), "Checkpoints committed.", "checkpoints")
FENCED = Definition(
    "stream_fenced_total", "counter", (), "Commits refused because another owner has the partition.", "commits"
)

METRIC = Definition("stream_metric", "gauge", (*WINDOWED, "metric"), "Performance on labelled predictions.", "metric's")
METRIC_LOWER = Definition(
    "stream_metric_lower", "gauge", METRIC.labels, "Lower end of the 95 % interval of stream_metric.", "metric's"
)
METRIC_UPPER = Definition(
    "stream_metric_upper", "gauge", METRIC.labels, "Upper end of the 95 % interval of stream_metric.", "metric's"
)
ESTIMATE = Definition("stream_estimate", "gauge", METRIC.labels, "Performance estimated without labels.", "metric's")
FAIRNESS = Definition(
    "stream_fairness",
    "gauge",
    (*WINDOWED, "attribute", "metric"),
    "Gap between the groups of an attribute, on labelled predictions.",
    "metric's",
    contract=False,
)
COVERAGE = Definition("stream_coverage", "gauge", WINDOWED, "Labelled share of predictions, 0 to 1.", "ratio")
DRIFT = Definition(
    "stream_drift",
    "gauge",
    (*WINDOWED, "feature", "test"),
    "Distance of a distribution to its reference, or p-value (p_value, chi2, mmd); feature * is all of them together.",
    "test's",
)
MISSING = Definition(
    "stream_feature_missing", "gauge", (*WINDOWED, "feature"), "Share of predictions without a usable value.", "ratio"
)
FIRING = Definition(
    "stream_alert_firing",
    "gauge",
    ("model", "segment", "rule", "feature", "kind", "severity"),
    "1 while the rule's alert fires, else 0.",
    "boolean",
)
SILENCED = Definition(
    "stream_alert_silenced",
    "gauge",
    FIRING.labels,
    "1 while the rule's alert fires and a silence holds it back.",
    "boolean",
    contract=False,
)
RESOURCE = Definition(
    "stream_resource",
    "gauge",
    ("model", "resource"),
    "Newest sample of the serving process: cpu_percent (100 for one core), memory_bytes, disk_bytes.",
    "resource's",
    contract=False,
)
PENDING = Definition(
    "stream_pending", "gauge", ("model", "kind"), "Events that wait for their counterpart, by kind.", "events"
)
WATERMARK = Definition(
    "stream_watermark_timestamp_seconds", "gauge", ("model",), "Largest event time seen, since 1970.", "seconds"
)
LAG = Definition("stream_consumer_lag", "gauge", ("topic", "partition"), "Records not yet applied.", "records")
SHARDS = Definition("stream_shards", "gauge", (), "Partitions that this worker owns.", "partitions")
VERSION = Definition(
    "stream_model_version_info", "info", ("model", "version"), "Version of the newest prediction.", "none"
)

REFERENCE = Definition(
    "stream_reference_info", "info", ("model", "version"), "Version of the reference.", "none", contract=False
)
SINCE = Definition(
    "stream_reference_since_timestamp_seconds",
    "gauge",
    ("model",),
    "Event time of the first prediction of the reference, since 1970.",
    "seconds",
    contract=False,
)
RENEWALS = Definition(
    "stream_reference_renewals_total",
    "counter",
    ("model",),
    "How often the reference was taken anew on command.",
    "renewals",
    contract=False,
)

LATENCY = Definition(
    "stream_prediction_latency_seconds", "histogram", ("model",), "Time a model took to predict, as it says.", "seconds"
)
DELAY = Definition(
    "stream_label_delay_seconds", "histogram", ("model",), "Event time from a prediction to its label.", "seconds"
)
APPLY = Definition("stream_apply_seconds", "histogram", (), "Time to apply one slice of records.", "seconds")
CHECKPOINT = Definition(
    "stream_checkpoint_seconds", "histogram", (), "Time from asking for a checkpoint until it is stored.", "seconds"
)
ALERT_DELAY = Definition(
    "stream_alert_delay_seconds",
    "histogram",
    (),
    "Time from the record that made a rule true to the alert on its topic.",
    "seconds",
)

READY = Definition("stream_ready", "gauge", (), "1 while /readyz says yes, else 0.", "boolean", contract=False)
INTERVAL = Definition(
    "stream_checkpoint_interval_seconds",
    "gauge",
    (),
    "Time between checkpoints; longer than configured where they would take more than a tenth of the time.",
    "seconds",
    contract=False,
)
BUFFERED = Definition(
    "stream_buffered_records", "gauge", (), "Records read that wait for their tick.", "records", contract=False
)
PARTITIONS = Definition(
    "stream_model_partitions",
    "gauge",
    ("model",),
    "Partitions of this worker on which the model arrives; summed over workers it should be 1.",
    "partitions",
    contract=False,
)
CHALLENGER = Definition(
    "stream_challenger_metric",
    "gauge",
    ("model", "challenger", "role", "metric"),
    "A challenger and the incumbent (role) on the same outcomes.",
    "metric's",
    contract=False,
)

VIEWED: tuple[Definition, ...] = (
    PREDICTIONS, LABELS, OUTCOMES, ERRORS, DUPLICATES, EXPIRED, DEAD_LETTERS, ALERTS, CHECKPOINTS, FENCED,
    METRIC, METRIC_LOWER, METRIC_UPPER, ESTIMATE, FAIRNESS, COVERAGE, DRIFT, MISSING, FIRING, SILENCED, RESOURCE,
    PENDING, WATERMARK, LAG, SHARDS, VERSION, LATENCY, DELAY, READY, INTERVAL, BUFFERED, PARTITIONS, CHALLENGER,
    REFERENCE, SINCE, RENEWALS,
)  # fmt: skip
"""Read from a WorkerView at scrape time."""

OBSERVED: tuple[Definition, ...] = (APPLY, CHECKPOINT, ALERT_DELAY)
"""Observed by the engine as things happen."""

ALL: tuple[Definition, ...] = VIEWED + OBSERVED


def window_name(seconds: float) -> str:
    """A window as the `window` label says it: the largest unit that divides it; a day is `24h`, as in configurations.

    >>> [window_name(s) for s in (0.5, 90, 600, 3600, 86400, 7 * 86400)]
    ['500ms', '90s', '10m', '1h', '24h', '7d']
    """
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(seconds, size)
        if rest == 0 and count >= (2 if unit == "d" else 1):
            return f"{count:.0f}{unit}"
    return f"{seconds * 1000:g}ms"
