"""What a rule can watch, and what an alert about it is called.

Invariant: every number that a rule can name and that is not a performance metric stands in `METRICS`, once.
"""

from __future__ import annotations

import re

from msgspec import Struct

from stream.config import Rule
from stream.events import AlertKind

PREDICTION = "prediction"
"""The pseudo feature that is the model's own output."""


LABEL = "label"
"""The pseudo feature of drift rules that is the class that came true."""


class Watched(Struct, frozen=True):
    """A number over a window of predictions of one segment."""

    kind: AlertKind
    meaning: str
    counted: str
    """What its samples are."""
    per_feature: bool = False
    whole: bool = False
    """It is counted for the whole model, not by segment."""
    share: bool = False
    """It is a share of its samples, so its interval is known."""


ESTIMATED = "estimated_"
"""What the name of a performance metric begins with when it is estimated without labels."""

METRICS: dict[str, Watched] = {
    "prediction_error_rate": Watched("service", "share of predictions that failed", "predictions", share=True),
    "latency_p50": Watched("service", "median latency of predictions in milliseconds", "predictions", whole=True),
    "latency_p95": Watched("service", "95 % quantile of the latency in milliseconds", "predictions", whole=True),
    "latency_p99": Watched("service", "99 % quantile of the latency in milliseconds", "predictions", whole=True),
    "throughput": Watched("traffic", "predictions per second", "predictions"),
    "cpu_percent": Watched("resource", "mean CPU use of the serving process, 100 for one core", "samples", whole=True),
    "cpu_percent_max": Watched("resource", "largest CPU use of the serving process", "samples", whole=True),
    "memory_bytes": Watched("resource", "mean memory of the serving process", "samples", whole=True),
    "memory_bytes_max": Watched("resource", "largest memory of the serving process", "samples", whole=True),
    "disk_bytes": Watched("resource", "mean disk space that the serving process uses", "samples", whole=True),
    "disk_bytes_max": Watched("resource", "largest disk space that the serving process uses", "samples", whole=True),
    "coverage": Watched("labels", "share of predictions that have their label", "predictions"),
    "coverage_gap": Watched(
        "labels", "largest difference of coverage of two predicted classes", "predictions", whole=True
    ),
    "label_delay_p50": Watched("labels", "median seconds from prediction to label", "outcomes", whole=True),
    "label_delay_p95": Watched("labels", "95 % quantile of the same", "outcomes", whole=True),
    "label_delay_gap": Watched(
        "labels", "seconds that labels of one predicted class come later", "outcomes", whole=True
    ),
    "duplicate_rate": Watched("data_quality", "share of predictions whose id came before", "predictions", whole=True),
    "unknown_feature_rate": Watched(
        "data_quality", "share of predictions with a feature that the reference lacks", "predictions", whole=True
    ),
    "missing_rate": Watched("data_quality", "share of predictions without a value", "predictions", True, share=True),
    "invalid_rate": Watched(
        "data_quality", "share of values of the wrong type or not finite", "predictions", True, share=True
    ),
    "unseen_rate": Watched(
        "data_quality", "share of values that the reference does not know", "predictions", True, share=True
    ),
    "outside_rate": Watched(
        "data_quality", "share of numbers outside the range of the reference", "predictions", True, share=True
    ),
    "constant_rate": Watched(
        "data_quality", "share of the most frequent value, or bin", "predictions", True, whole=True, share=True
    ),
    "missing_rise": Watched("data_quality", "missing_rate minus that of the reference", "predictions", True),
    "invalid_rise": Watched("data_quality", "invalid_rate minus that of the reference", "predictions", True),
    "unseen_rise": Watched("data_quality", "unseen_rate minus that of the reference", "predictions", True),
    "outside_rise": Watched("data_quality", "outside_rate minus that of the reference", "predictions", True),
    "constant_rise": Watched("data_quality", "constant_rate minus that of the reference", "predictions", True, True),
}
"""Besides the performance metrics of `stream.monitor.metrics.performance`."""

SIGNALS: dict[str, tuple[AlertKind, str]] = {
    "loss": ("concept_drift", "1 for each wrong outcome, 0 for each right one; regression: absolute error"),
    "scaled_loss": ("concept_drift", "loss of each outcome in units of the mean of the first hundred"),
    "capped_loss": ("concept_drift", "the same, at most ten of them, for losses with rare huge ones"),
    "error": ("concept_drift", "1 for each wrong outcome, 0 for each right one; regression: prediction minus truth"),
    "score": ("prediction_drift", "probability of the positive or the predicted class"),
    "prediction": ("prediction_drift", "the number that was predicted, or the code of the class"),
    "latency": ("service", "milliseconds that each prediction took"),
}
"""What a detector can be fed, value by value; besides `feature:NAME`."""

FEATURE_SIGNAL = "feature:"

GUARDED: dict[str, AlertKind] = {
    "error_rate": "performance",
    "loss": "performance",
    "score": "prediction_drift",
    "prediction": "prediction_drift",
}
"""What a guard can watch, besides `feature:NAME` and `feature:*`."""

GAMMA = 1e6
"""Values to a false alarm when a guard does not say."""

_BUDGET = re.compile(
    r"(?P<count>\d[\d_,]*(?:\.\d+)?) per (?P<many>\d[\d_,]*|thousand|million|billion)"
    r"(?: (?:predictions|outcomes|labels|events|values))?"
)
_WORDS = {"thousand": 1e3, "million": 1e6, "billion": 1e9}

LABEL_METRICS = frozenset(("coverage", "coverage_gap", "label_delay_p50", "label_delay_p95", "label_delay_gap"))
"""Those that labels change."""

MIN_SAMPLES = 100
"""Samples that a bound on a metric asks for when the rule does not say: a share of fewer says little."""

MIN_DRIFT_SAMPLES = 500
"""The same for a distance to the reference: below it, the noise of PSI over ten bins comes near usual bounds."""


def budget(rule: Rule) -> float:
    """Mean number of values to a false alarm that a guard's rule asks for. Raises ValueError when it cannot be read.

    >>> budget(Rule(name="g", false_alarms="1 per 1000000 predictions"))
    1000000.0
    >>> budget(Rule(name="g", false_alarms="2 per million")), budget(Rule(name="g", false_alarms=5000.0))
    (500000.0, 5000.0)
    """
    said = rule.false_alarms
    gamma = said if isinstance(said, int | float) else GAMMA
    if isinstance(said, str):
        read = _BUDGET.fullmatch(" ".join(said.split()))
        if read is None:
            raise ValueError(f'found "{said}", expected such as 1 per 1000000 predictions')
        count, many = (re.sub("[_,]", "", read[name]) for name in ("count", "many"))
        gamma = (_WORDS.get(many) or float(many)) / float(count) if float(count) > 0 else 0.0
    if not 100 <= gamma <= 1e12:
        raise ValueError(f"found {said}, expected at least 100 values to a false alarm and at most a million millions")
    return float(gamma)


def named(rule: Rule) -> tuple[str, ...]:
    """The rules that a composite one is made of; none for every other."""
    return rule.every or rule.some or ()


def minimum(rule: Rule) -> int:
    """Samples below which a rule takes what it sees for undefined."""
    if rule.min_samples is not None:
        return rule.min_samples
    if rule.test is not None or (rule.feature is not None and rule.metric is None):
        return MIN_DRIFT_SAMPLES
    return MIN_SAMPLES if rule.metric is not None else 0


def kind(rule: Rule) -> AlertKind:
    """The kind of alert that a rule raises."""
    if rule.absent is not None:
        return "traffic" if rule.absent == "predictions" else "labels"
    if rule.detector is not None:
        signal = signal_of(rule)
        return "data_drift" if signal.startswith(FEATURE_SIGNAL) else SIGNALS[signal][0]
    if rule.guard is not None:
        return GUARDED.get(rule.guard, "data_drift")
    if rule.metric is not None:
        watched = METRICS.get(rule.metric)
        if watched is not None:
            return watched.kind
        estimated = rule.metric.startswith(ESTIMATED) or rule.against is not None
        return "estimated_performance" if estimated else "performance"
    return "prediction_drift" if rule.feature == PREDICTION else "data_drift"


def counted(rule: Rule) -> str:
    """What the samples behind a rule's value are, for a sentence."""
    if named(rule):
        return "rules"
    if rule.detector is not None or rule.guard is not None:
        return "values"
    if rule.metric is None:
        return "outcomes" if rule.feature == LABEL else "predictions"
    watched = METRICS.get(rule.metric)
    if rule.metric.startswith(ESTIMATED):
        return "predictions"
    return watched.counted if watched is not None else "outcomes"


def signal_of(rule: Rule) -> str:
    """What a detector is fed: what the rule says; loss otherwise, error for detectors of binary data."""
    if rule.signal is not None:
        return rule.signal
    return "error" if ".binary." in (rule.detector or "") else "loss"
