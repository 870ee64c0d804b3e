"""What is told of a pane or a window: metric snapshots for the topic, views for the page and Prometheus.

Invariant: a snapshot is a function of its pane's sums, the reference and the calibration of scores alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec import UNSET

from stream.events import DriftScores, Estimated, MetricSnapshot, Quality, Quantiles, Severity
from stream.monitor import service_view, silent
from stream.monitor.estimates import estimate
from stream.monitor.features import drift, quality
from stream.monitor.features.label_drift import Labels, of_classes
from stream.monitor.metrics import fairness, performance, worth
from stream.monitor.metrics.layout import OUTCOMES
from stream.monitor.panes.pane import ERRORS, PREDICTIONS, Pane, Sums
from stream.monitor.panes.stored import Histogram
from stream.monitor.panes.window import Window
from stream.monitor.rules.asked import TOGETHER
from stream.monitor.rules.machine import Phase
from stream.monitor.rules.watch import LABEL
from stream.monitor.watching.values import Names, latency_quantile
from stream.view import Buckets, Counts, ModelView, RuleView, SegmentView, WindowView

if TYPE_CHECKING:
    from stream.monitor.model import ModelMonitor


def snapshot(m: ModelMonitor, pane: Pane, segment: int, final: bool) -> MetricSnapshot:
    """All that is known of one segment of one pane."""
    sums, length = pane.sums, m.spec.pane
    predictions, labels = _counts(sums, segment)
    whole = segment == 0
    return MetricSnapshot(
        model=m.name,
        segment=m.segments.names[segment],
        start=pane.index * length,
        end=(pane.index + 1) * length,
        final=final,
        predictions=predictions,
        labels=labels,
        coverage=labels / predictions if predictions else None,
        metrics=metrics(m, sums, segment),
        estimates=_estimates(m, sums, segment),
        version=UNSET if pane.version is None else pane.version,
        drift=_drift(m, sums) if whole else _segment_drift(m, sums, segment),
        quality=_quality(m, sums) if whole else {},
        latency_ms=_latency(sums) if whole and sums.latency.any() else UNSET,
        throughput=predictions / length,
        fairness=_fairness(m, sums) if whole else {},
    )


def _latency(sums: Sums) -> Quantiles:
    found = latency_quantile(np.stack([sums.latency] * 3), np.array([0.5, 0.95, 0.99])) * 1000.0
    return Quantiles(*found.tolist())


def _counts(sums: Sums, segment: int) -> tuple[int, int]:
    """Predictions that came about or failed, and outcomes."""
    predictions = int(sums.traffic[segment, PREDICTIONS]) if segment < len(sums.traffic) else 0
    has = segment < len(sums.tally) and sums.tally.shape[1] > 0
    return predictions, int(sums.tally[segment, OUTCOMES]) if has else 0


def metrics(m: ModelMonitor, sums: Sums, segment: int) -> dict[str, Estimated]:
    """Every metric of a segment with its interval; none while there is no outcome."""
    if m.layout is None or segment >= len(sums.tally) or sums.tally.shape[1] != m.layout.width:
        return {}
    tally = sums.tally[segment]
    if not tally[OUTCOMES]:
        return {}
    found = performance.report(m.layout, tally, sums.scores.get(segment, []), m.classes.names)
    if m.spec.value is not None and m.layout.task != "regression":
        found[worth.BUSINESS_VALUE] = worth.report(m.layout, tally, m.spec.value, m.classes.names)
    return found


def _fairness(m: ModelMonitor, sums: Sums) -> dict[str, dict[str, Estimated]]:
    """The gaps between groups of the attributes that the configuration names."""
    if not m.spec.fairness:
        return {}
    return fairness.report(m.layout, sums.tally, m.segments.names, m.spec.fairness)


def _estimates(m: ModelMonitor, sums: Sums, segment: int) -> dict[str, Estimated]:
    """Every metric that calibrated scores give without labels."""
    return estimate.report(sums.guesses.get(segment), m.estimator, m.layout, m.classes.names)


def _shown(m: ModelMonitor, window: Window, segment: int) -> dict[str, Estimated]:
    """`metrics` of a window, told again as they are where nothing that they are made of has changed."""
    sums = window.sums
    if m.layout is None or segment >= len(sums.tally):
        return {}
    scores = [(each.weights(), each.roc_auc(), each.average_precision()) for each in sums.scores.get(segment, [])]
    made_of = m.layout, tuple(m.classes.names), sums.tally[segment].tobytes(), scores
    known = window.told.get(segment)
    if known is None or known[0] != made_of:
        known = window.told[segment] = made_of, metrics(m, sums, segment)
    return dict(known[1])


def _drift(m: ModelMonitor, sums: Sums) -> dict[str, DriftScores]:
    none = m.normal.layout is None or not sums.features.any()
    found = {} if none or m.normal.layout is None else drift.scores(m.normal.layout, sums.features)
    if m.normal.together is not None and len(sums.joint):
        found[TOGETHER] = m.normal.together.drift.scores(sums.joint)
    labels = _label_drift(m, sums)
    return found if labels is None or LABEL in found else {**found, LABEL: labels}


def _segment_drift(m: ModelMonitor, sums: Sums, segment: int) -> dict[str, DriftScores]:
    """Of the features of a segment that a rule compares."""
    compared = m.normal.of_segments(m.segments.names).get(segment)
    counts = None if compared is None else compared.held(sums.by_segment, segment)
    return {} if compared is None or counts is None or not counts.any() else drift.scores(compared, counts)


def _label_drift(m: ModelMonitor, sums: Sums) -> DriftScores | None:
    """Of the classes that came true; None without outcomes, here or in the reference."""
    layout = m.layout
    if layout is None or m.task == "regression" or not m.baseline.complete or not _counts(sums, 0)[1]:
        return None
    normal = m.baseline.measured("accuracy", "all", Names(layout, m.classes.names, m.segments.names, m.spec.value))
    if normal is None or normal.names.layout is None:
        return None
    counts = of_classes(normal.names.layout, normal.tallies)[-1]
    if not counts.any():
        return None
    return Labels(normal.names.classes, counts).scores(m.classes.names, of_classes(layout, sums.tally[0]))


def _quality(m: ModelMonitor, sums: Sums) -> dict[str, Quality]:
    if m.normal.flaws is None or not sums.features.any():
        return {}
    return m.normal.flaws.counts(sums.features)


def view(m: ModelMonitor) -> ModelView:
    """The model as the page shows it."""
    return ModelView(
        model=m.name,
        task=m.task or "unknown",
        version=m.version,
        watermark=m.watermark,
        counts=counts(m),
        segments=[SegmentView(name, _windows(m, code)) for code, name in enumerate(m.segments.names) if _seen(m, code)],
        rules=_rules(m),
        alerts=m.sent.recent,
        alerts_total={(rule, _severity(severity)): n for (severity, rule), n in _alert_counts(m)},
        latency_seconds=_buckets(m.latency),
        label_delay_seconds=_buckets(m.delay),
        reference=m.normal.words,
        reference_version=None if m.normal.reference is None else m.normal.reference.version,
        reference_since=m.baseline.began if m.baseline.began < math.inf else None,
        renewals=m.renewed.count,
        resources=dict(m.resources),
        notes=_notes(m),
    )


def counts(m: ModelMonitor) -> Counts:
    """Events since the model's beginning; the conservation laws of `Counts` hold between them."""
    counters, join = m.counters, m.join
    return Counts(
        predictions=counters.predictions,
        labels=counters.labels,
        outcomes=counters.outcomes,
        errors=counters.errors,
        duplicate_predictions=join.duplicate_predictions,
        duplicate_labels=join.duplicate_labels,
        expired_predictions=counters.expired_predictions,
        expired_labels=counters.expired_labels,
        pending=join.total,
        early=len(join.early),
    )


def _seen(m: ModelMonitor, segment: int) -> bool:
    return segment == 0 or any(sum(_counts(window.sums, segment)) for window in m.windows)


def _windows(m: ModelMonitor, segment: int) -> list[WindowView]:
    shown = []
    for window in m.windows:
        sums = window.sums
        predictions, labels = _counts(sums, segment)
        whole = segment == 0
        features = m.normal.layout is not None and bool(sums.features.any())
        shown.append(
            WindowView(
                seconds=window.seconds,
                predictions=predictions,
                labels=labels,
                coverage=labels / predictions if predictions else None,
                metrics=_shown(m, window, segment),
                estimates=_estimates(m, sums, segment),
                drift=_drift(m, sums) if whole else _segment_drift(m, sums, segment),
                missing=quality.missing(m.normal.layout, sums.features)
                if whole and features and m.normal.layout
                else {},
                service=service_view.service(m, window) if whole else {},
                fairness=_fairness(m, sums) if whole else {},
            )
        )
        if predictions:
            errors = int(sums.traffic[segment, ERRORS])
            shown[-1].metrics["prediction_error_rate"] = Estimated(errors / predictions, predictions)
    return shown


def _rules(m: ModelMonitor) -> list[RuleView]:
    shown = []
    firing = {}
    for alert in reversed(m.sent.recent):
        firing[alert.fingerprint] = alert
    for watch in m.watches.all:
        state = watch.state
        last = firing.get(watch.subject.fingerprint) if state.phase is Phase.FIRING else None
        shown.append(
            RuleView(
                rule=watch.rule.name,
                segment=watch.subject.segment,
                kind=watch.subject.kind,
                severity=watch.rule.severity,
                state=state.phase.value,
                value=state.value if np.isfinite(state.value) else None,
                threshold=state.bound,
                since=state.since,
                summary="" if last is None else last.summary,
                feature=watch.subject.feature,
                silenced=watch.subject.fingerprint in m.sent.held,
            )
        )
    return shown


def _notes(m: ModelMonitor) -> list[str]:
    notes = [*m.notes, *silent.reasons(m)]
    if m.normal.new:
        names = ", ".join(sorted(m.normal.new)[:5])
        notes.append(f"{len(m.normal.new)} features that the reference does not know: {names}")
    return notes


def _alert_counts(m: ModelMonitor) -> list[tuple[tuple[str, str], int]]:
    return [((severity, rule), n) for key, n in m.sent.total.items() for severity, _, rule in [key.partition(" ")]]


def _severity(text: str) -> Severity:
    severity: Severity = msgspec.convert(text, Severity)
    return severity


def _buckets(histogram: Histogram) -> Buckets:
    return Buckets(list(histogram.bounds), list(histogram.counts), histogram.sum_ns / 1e9)
