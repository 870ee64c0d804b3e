"""A model as the page, the API and Prometheus show it.

Invariant: two views of a model that has not changed in between are equal.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from stream.events import Estimated, Severity
from stream.monitor import service_view, silent, snapshots
from stream.monitor.features import quality
from stream.monitor.model import ModelMonitor
from stream.monitor.panes.pane import ERRORS
from stream.monitor.panes.stored import Histogram
from stream.monitor.panes.window import Window
from stream.monitor.rules.machine import Phase
from stream.view import Buckets, Counts, ModelView, RuleView, SegmentView, WindowView


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
    return segment == 0 or any(sum(snapshots.numbers(window.sums, segment)) for window in m.windows)


def _windows(m: ModelMonitor, segment: int) -> list[WindowView]:
    shown = []
    for window in m.windows:
        sums = window.sums
        predictions, labels = snapshots.numbers(sums, segment)
        whole = segment == 0
        features = m.normal.layout is not None and bool(sums.features.any())
        shown.append(
            WindowView(
                seconds=window.seconds,
                predictions=predictions,
                labels=labels,
                coverage=labels / predictions if predictions else None,
                metrics=_shown(m, window, segment),
                estimates=snapshots.estimates(m, sums, segment),
                drift=snapshots.drift_scores(m, sums) if whole else snapshots.drift_of_segment(m, sums, segment),
                missing=quality.missing(m.normal.layout, sums.features)
                if whole and features and m.normal.layout
                else {},
                service=service_view.service(m, window) if whole else {},
                fairness=snapshots.fairness_gaps(m, sums) if whole else {},
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


def _shown(m: ModelMonitor, window: Window, segment: int) -> dict[str, Estimated]:
    """Metrics of a window, told again as they are where nothing that they are made of has changed."""
    sums = window.sums
    if m.layout is None or segment >= len(sums.tally):
        return {}
    scores = [(each.weights(), each.roc_auc(), each.average_precision()) for each in sums.scores.get(segment, [])]
    made_of = m.layout, tuple(m.classes.names), sums.tally[segment].tobytes(), scores
    known = window.told.get(segment)
    if known is None or known[0] != made_of:
        known = window.told[segment] = made_of, snapshots.metrics(m, sums, segment)
    return dict(known[1])
