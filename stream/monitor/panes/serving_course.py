"""What windows held of resources and label delays at the tick ends of a chunk; see `course.py`."""

from __future__ import annotations

import numpy as np

from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.metrics.layout import Layout
from stream.monitor.panes import serving
from stream.monitor.panes.course import Course
from stream.monitor.panes.pane import PREDICTIONS
from stream.monitor.panes.serving import DELAY_BOUNDS, REPEATED, RESOURCES, STRANGE, UNITS
from stream.monitor.panes.window import Window


def resource(name: str, course: Course, window: Window) -> tuple[Floats, Ints]:
    """Mean of a resource's samples, or with `_max` behind its name the largest; and how many there are."""
    number = RESOURCES.index(name.removesuffix("_max"))
    held, ticks, unit = window.sums.serving, len(course.ticks), float(UNITS[number])
    rows, at = course.traffic_rows(window)
    found = np.full(len(rows), -1) if course.traffic.resources is None else course.traffic.resources[rows, number]
    at, found = at[found >= 0], found[found >= 0]
    samples = np.cumsum(np.bincount(at, minlength=ticks)) + held.samples[number]
    if name.endswith("_max"):
        peaks = np.full(ticks, held.peaks[number])
        np.maximum.at(peaks, at, found)
        values = np.maximum.accumulate(peaks) * unit
    else:
        totals = np.zeros(ticks, np.int64)
        np.add.at(totals, at, found)
        values = (np.cumsum(totals) + held.totals[number]) * unit / np.maximum(samples, 1)
    return np.where(samples > 0, values, np.nan), samples


def labels(name: str, course: Course, window: Window, layout: Layout | None) -> tuple[Floats, Ints]:
    """Quantiles of label delays in seconds, and how far predicted classes differ in delay and coverage."""
    delays = _delays(course, window, layout)
    if name.startswith("label_delay_p"):
        whole = delays.sum(axis=1)
        return serving.quantile(whole, DELAY_BOUNDS, float(name.rpartition("_p")[2]) / 100.0), whole.sum(axis=1)
    if name == "label_delay_gap":
        return serving.delay_gap(delays), delays.sum(axis=(1, 2))
    answers = _answers(course, window)
    return serving.coverage_gap(answers, delays), answers.sum(axis=1)


def odd(name: str, course: Course, window: Window) -> tuple[Floats, Ints]:
    """Share of predictions whose id came before, or with a feature that is not known."""
    predictions = course.traffics(window, 0)[:, PREDICTIONS]
    repeated = name == "duplicate_rate"
    place, (ticks, panes) = (REPEATED, course.traffic.again) if repeated else (STRANGE, course.traffic.odd)
    at = np.searchsorted(course.ticks, ticks[panes >= window.first])
    counted = np.cumsum(np.bincount(at, minlength=len(course.ticks))) + window.sums.serving.odd[place]
    whole = predictions + counted if repeated else predictions
    return np.where(whole > 0, counted / np.maximum(whole, 1), np.nan), whole


def _answers(course: Course, window: Window) -> Ints:
    """Shape (T, classes): predictions by predicted class at the end of each tick."""
    before, codes = window.sums.serving.answers, course.traffic.answers
    rows, at = course.traffic_rows(window)
    codes = np.full(len(rows), -1) if codes is None else codes[rows]
    at, codes = at[codes >= 0], codes[codes >= 0]
    return _running(at, codes, before, len(course.ticks))


def _delays(course: Course, window: Window, layout: Layout | None) -> Ints:
    """Shape (T, classes, buckets): label delays by predicted class at the end of each tick."""
    before = window.sums.serving.delays
    rows, _ = course.outcome_rows(window, 0)
    codes, buckets = serving.delays(layout, course.outcomes, rows)
    at = np.searchsorted(course.ticks, course.outcomes.tick[rows])
    width = before.shape[1]
    running = _running(at, codes * width + buckets, before.ravel(), len(course.ticks))
    padded = np.pad(running, ((0, 0), (0, -running.shape[1] % width)))
    return padded.reshape(len(course.ticks), -1, width)


def _running(at: Ints, columns: Ints, before: Ints, ticks: int) -> Ints:
    """Shape (T, columns): counts at the end of each tick."""
    size = max(len(before), int(columns.max(initial=-1)) + 1)
    total = np.bincount(at * size + columns, minlength=ticks * size).reshape(ticks, size)
    np.cumsum(total, axis=0, out=total)
    total[:, : len(before)] += before
    return total
