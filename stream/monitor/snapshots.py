"""What is told of the sums of a pane or a window, and the metric snapshots for the topic that it makes up.

Invariant: a snapshot is a function of its pane's sums, the reference and the calibration of scores alone.
"""

from __future__ import annotations

import numpy as np
from msgspec import UNSET

from stream.events import DriftScores, Estimated, MetricSnapshot, Quality, Quantiles
from stream.monitor.estimates import estimate
from stream.monitor.features import drift
from stream.monitor.features.label_drift import Labels, of_classes
from stream.monitor.known import Known
from stream.monitor.metrics import fairness, performance, worth
from stream.monitor.metrics.layout import OUTCOMES
from stream.monitor.panes.pane import PREDICTIONS, Pane, Sums
from stream.monitor.panes.values import latency_quantile
from stream.monitor.rules.asked import TOGETHER
from stream.monitor.rules.watch import LABEL


def snapshot(m: Known, pane: Pane, segment: int, final: bool) -> MetricSnapshot:
    """All that is known of one segment of one pane."""
    sums, length = pane.sums, m.spec.pane
    predictions, labels = numbers(sums, segment)
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
        estimates=estimates(m, sums, segment),
        version=UNSET if pane.version is None else pane.version,
        drift=drift_scores(m, sums) if whole else drift_of_segment(m, sums, segment),
        quality=_quality(m, sums) if whole else {},
        latency_ms=_latency(sums) if whole and sums.latency.any() else UNSET,
        throughput=predictions / length,
        fairness=fairness_gaps(m, sums) if whole else {},
    )


def _latency(sums: Sums) -> Quantiles:
    found = latency_quantile(np.stack([sums.latency] * 3), np.array([0.5, 0.95, 0.99])) * 1000.0
    return Quantiles(*found.tolist())


def numbers(sums: Sums, segment: int) -> tuple[int, int]:
    """Predictions that came about or failed, and outcomes."""
    predictions = int(sums.traffic[segment, PREDICTIONS]) if segment < len(sums.traffic) else 0
    has = segment < len(sums.tally) and sums.tally.shape[1] > 0
    return predictions, int(sums.tally[segment, OUTCOMES]) if has else 0


def metrics(m: Known, sums: Sums, segment: int) -> dict[str, Estimated]:
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


def fairness_gaps(m: Known, sums: Sums) -> dict[str, dict[str, Estimated]]:
    """The gaps between groups of the attributes that the configuration names."""
    if not m.spec.fairness:
        return {}
    return fairness.report(m.layout, sums.tally, m.segments.names, m.spec.fairness)


def estimates(m: Known, sums: Sums, segment: int) -> dict[str, Estimated]:
    """Every metric that calibrated scores give without labels."""
    return estimate.report(sums.guesses.get(segment), m.estimator, m.layout, m.classes.names)


def drift_scores(m: Known, sums: Sums) -> dict[str, DriftScores]:
    none = m.normal.layout is None or not sums.features.any()
    found = {} if none or m.normal.layout is None else drift.scores(m.normal.layout, sums.features)
    if m.normal.together is not None and len(sums.joint):
        found[TOGETHER] = m.normal.together.drift.scores(sums.joint)
    labels = _label_drift(m, sums)
    return found if labels is None or LABEL in found else {**found, LABEL: labels}


def drift_of_segment(m: Known, sums: Sums, segment: int) -> dict[str, DriftScores]:
    """Of the features of a segment that a rule compares."""
    compared = m.normal.of_segments(m.segments.names).get(segment)
    counts = None if compared is None else compared.held(sums.by_segment, segment)
    return {} if compared is None or counts is None or not counts.any() else drift.scores(compared, counts)


def _label_drift(m: Known, sums: Sums) -> DriftScores | None:
    """Of the classes that came true; None without outcomes, here or in the reference."""
    layout = m.layout
    if layout is None or m.task == "regression" or not m.baseline.complete or not numbers(sums, 0)[1]:
        return None
    normal = m.baseline.measured("accuracy", "all", m.names)
    if normal is None or normal.names.layout is None:
        return None
    counts = of_classes(normal.names.layout, normal.tallies)[-1]
    if not counts.any():
        return None
    return Labels(normal.names.classes, counts).scores(m.classes.names, of_classes(layout, sums.tally[0]))


def _quality(m: Known, sums: Sums) -> dict[str, Quality]:
    if m.normal.flaws is None or not sums.features.any():
        return {}
    return m.normal.flaws.counts(sums.features)
