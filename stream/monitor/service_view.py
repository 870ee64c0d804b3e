"""What is shown of a window besides performance: latency, throughput, resources, labels' delays, odd predictions.

Invariant: a number here is the one that a rule on the metric of that name sees at the same moment.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from stream.events import Estimated
from stream.monitor.known import Known
from stream.monitor.panes.pane import ERRORS, LATENCY_BOUNDS, PREDICTIONS
from stream.monitor.panes.serving import (
    DELAY_BOUNDS,
    LEAST,
    REPEATED,
    RESOURCES,
    STRANGE,
    UNITS,
    Serving,
    coverage_gap,
    delay_gap,
    quantile,
)
from stream.monitor.panes.window import Window

LATENCIES = {"latency_p50": 0.5, "latency_p95": 0.95, "latency_p99": 0.99}
DELAYS = {"label_delay_p50": 0.5, "label_delay_p95": 0.95}


def service(m: Known, window: Window) -> dict[str, Estimated]:
    """Every such metric of the whole model that has a value, and coverage and delay by predicted class."""
    names = m.classes.names if m.task in ("binary", "multiclass") else []
    found = [*_traffic(window), *_resources(window.sums.serving), *_labels(window.sums.serving, names)]
    return {name: Estimated(value, samples) for name, value, samples in found if not math.isnan(value)}


def _traffic(window: Window) -> Iterator[tuple[str, float, int]]:
    sums = window.sums
    predictions, errors = int(sums.traffic[0, PREDICTIONS]), int(sums.traffic[0, ERRORS])
    repeated, strange = int(sums.serving.odd[REPEATED]), int(sums.serving.odd[STRANGE])
    timed = int(sums.latency.sum())
    if timed:
        shares = np.array(list(LATENCIES.values()))
        milliseconds = quantile(np.stack([sums.latency] * len(shares)), LATENCY_BOUNDS, shares) * 1000.0
        yield from ((name, value, timed) for name, value in zip(LATENCIES, milliseconds.tolist(), strict=True))
    yield "throughput", predictions / window.seconds, predictions
    if predictions:
        yield "prediction_error_rate", errors / predictions, predictions
        yield "unknown_feature_rate", strange / predictions, predictions
    if predictions + repeated:
        yield "duplicate_rate", repeated / (predictions + repeated), predictions + repeated


def _resources(sums: Serving) -> Iterator[tuple[str, float, int]]:
    rows = zip(RESOURCES, UNITS.tolist(), sums.samples.tolist(), sums.totals.tolist(), sums.peaks.tolist(), strict=True)
    for name, unit, samples, total, peak in rows:
        if samples:
            yield name, total * unit / samples, samples
            yield f"{name}_max", peak * unit, samples


def _labels(sums: Serving, names: list[str]) -> Iterator[tuple[str, float, int]]:
    whole = sums.delays.sum(axis=0)
    labelled = int(whole.sum())
    if labelled:
        shares = np.array(list(DELAYS.values()))
        seconds = quantile(np.stack([whole] * len(shares)), DELAY_BOUNDS, shares)
        yield from ((name, value, labelled) for name, value in zip(DELAYS, seconds.tolist(), strict=True))
        yield "label_delay_gap", float(delay_gap(sums.delays)), labelled
    yield "coverage_gap", float(coverage_gap(sums.answers, sums.delays)), int(sums.answers.sum())
    by_class = sums.delays.sum(axis=1).tolist()
    medians = quantile(sums.delays, DELAY_BOUNDS, 0.5).tolist()
    for name, predicted, known, median in zip(names, sums.answers.tolist(), by_class, medians, strict=False):
        if predicted >= LEAST:
            yield f"coverage_class_{name}", known / predicted, predicted
        if known >= LEAST:
            yield f"label_delay_p50_class_{name}", median, known
