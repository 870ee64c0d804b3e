"""The numbers that are read from sums over windows: performance, service, traffic, data quality.

Invariant: every name in `watch.METRICS` has its value here.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from stream.monitor.basis import intervals
from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.basis.intervals import Interval
from stream.monitor.features import quality as qualities
from stream.monitor.features.feature_layout import FeatureLayout
from stream.monitor.metrics import performance, worth
from stream.monitor.metrics.layout import OUTCOMES, Layout
from stream.monitor.metrics.worth import BUSINESS_VALUE, Values
from stream.monitor.panes import serving_course
from stream.monitor.panes.course import Course
from stream.monitor.panes.pane import ERRORS, LATENCY_BOUNDS, PREDICTIONS
from stream.monitor.panes.serving import quantile
from stream.monitor.panes.window import Window
from stream.monitor.rules.watch import LABEL_METRICS, METRICS


class Names(Struct, frozen=True):
    """What gives sums their meaning."""

    layout: Layout | None
    classes: list[str]
    segments: list[str]
    value: Values | None = None
    """What outcomes are worth."""

    def code(self, segment: str) -> int | None:
        """The row of a segment."""
        return self.segments.index(segment) if segment in self.segments else None


def metric(name: str, course: Course, window: Window, segment: int, names: Names, tallies: Ints) -> tuple[Floats, Ints]:
    """Values and samples at tick ends of a metric of performance or service; `tallies` are those of the segment."""
    if name in METRICS:
        return service(name, course, window, segment, tallies, names.layout)
    return performed(name, course, window, segment, names, tallies, np.arange(len(course.ticks)))


def performed(
    name: str, course: Course, window: Window, segment: int, names: Names, tallies: Ints, at: Ints
) -> tuple[Floats, Ints]:
    """Values and samples of a metric of performance at some of the ticks; `tallies` are those there."""
    if names.layout is None:
        return np.full(len(at), np.nan), np.zeros(len(at), np.int64)
    if name == BUSINESS_VALUE:
        return worth.evaluate(names.layout, tallies, names.value or {}, names.classes)
    if performance.from_scores(name):
        return scored(name, course, window, segment, names, tallies, at)
    return performance.evaluate(names.layout, tallies, name, names.classes)


def interval(name: str, names: Names, tally: Ints, value: float, samples: int) -> Interval | None:
    """The 95 % interval of a metric of one tally; None where none is known."""
    if name in METRICS:
        return intervals.wilson(value, samples) if METRICS[name].share else None
    if names.layout is None or not len(tally):
        return None
    if name == BUSINESS_VALUE:
        return worth.interval(names.layout, tally, names.value or {}, names.classes)
    return performance.interval(names.layout, tally, name, names.classes, value)


def service(
    name: str, course: Course, window: Window, segment: int, tallies: Ints, layout: Layout | None
) -> tuple[Floats, Ints]:
    """Values and samples at tick ends of a metric of predictions as such."""
    if METRICS[name].kind == "resource":
        return serving_course.resource(name, course, window)
    if name in LABEL_METRICS and name != "coverage":
        return serving_course.labels(name, course, window, layout)
    if name in ("duplicate_rate", "unknown_feature_rate"):
        return serving_course.odd(name, course, window)
    traffic = course.traffics(window, segment)
    predictions = traffic[:, PREDICTIONS]
    if name.startswith("latency_p"):
        counts = course.latencies(window)
        return latency_quantile(counts, float(name.removeprefix("latency_p")) / 100.0) * 1000.0, counts.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        if name == "prediction_error_rate":
            return traffic[:, ERRORS] / predictions, predictions
        if name == "throughput":
            return predictions / window.seconds, predictions
        labelled = tallies[:, OUTCOMES] if tallies.shape[1] else np.zeros(len(predictions), np.int64)
        return labelled / predictions, predictions


def latency_quantile(counts: Ints, share: float | Floats) -> Floats:
    """The quantile in seconds of latency histograms (..., buckets); NaN when empty."""
    return quantile(counts, LATENCY_BOUNDS, share)


def cause(name: str) -> str:
    """What is wrong with the values that a metric of a feature counts."""
    return name.rpartition("_")[0]


def quality(name: str, layout: FeatureLayout, counts: Ints, feature: str) -> tuple[Floats, Ints]:
    """Values and samples of a share of bad values of one feature, or of its rise over the reference."""
    what = cause(name)
    observed = qualities.share(layout, counts, feature, what)
    if name.endswith("_rise"):
        observed = observed - qualities.reference_share(layout, feature, what)
    return observed, qualities.total(layout, counts, feature)


def scored(
    name: str, course: Course, window: Window, segment: int, names: Names, tallies: Ints, at: Ints
) -> tuple[Floats, Ints]:
    """The same of a metric that needs the scores' order."""
    assert names.layout is not None
    rows, ends = course.outcome_rows(window, segment)
    from_window = window.sums.scores.get(segment, [])
    sums = type(window.sums)(scores={segment: [histogram.copy() for histogram in from_window]})
    observed = np.full(len(at), np.nan)
    done = 0
    for tick, end in enumerate(ends[at].tolist()):
        if end > done:
            course.add_scores(sums, segment, rows[done:end])
            done = end
        elif tick:
            observed[tick] = observed[tick - 1]
            continue
        value = performance.score_metric(name, names.layout, sums.scores[segment], names.classes)
        observed[tick] = np.nan if value is None else value
    return observed, tallies[:, OUTCOMES]
