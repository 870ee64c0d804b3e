"""How the serving process and the labels do: samples of CPU, memory and disk, and when labels come, by predicted class.

Invariant: counts and sums are whole numbers in a fixed unit, so they add, merge and subtract exactly; a maximum cannot
be subtracted, so a window takes it anew from its panes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct, field

from stream.events import Prediction
from stream.monitor.basis.columns import Floats, Ints, Outcomes
from stream.monitor.metrics.confusion import extremes
from stream.monitor.metrics.layout import Layout

RESOURCES = ("cpu_percent", "memory_bytes", "disk_bytes")

UNITS: Floats = np.array([2.0**-16, 4096.0, 4096.0])
"""Samples are kept in whole multiples of these: a page of memory or disk is near enough."""

MOST: Floats = np.array([1e6, 2.0**50, 2.0**50])
"""A sample above says nothing, as one below zero; 33 million of these still add up without overflow."""

DELAY_BOUNDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 86400.0, 3 * 86400.0, 7 * 86400.0)
"""Upper bounds of the label-delay histogram, seconds; one more bucket has none."""

REPEATED, STRANGE = 0, 1
"""Columns of `odd`."""

LEAST = 30
"""Predictions, or labels, of a class from which on it is compared with the others."""


def _zeros() -> Ints:
    return np.zeros(len(RESOURCES), np.int64)


class Serving(Struct):
    """The sums of one pane or window."""

    samples: Ints = field(default_factory=_zeros)
    """By resource."""
    totals: Ints = field(default_factory=_zeros)
    """Sums of samples in `UNITS`."""
    peaks: Ints = field(default_factory=_zeros)
    """Largest samples in `UNITS`."""
    answers: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """By predicted class, or all together for a regression: predictions that came about."""
    delays: Ints = field(default_factory=lambda: np.zeros((0, len(DELAY_BOUNDS) + 1), np.int64))
    """By the same: label delays of outcomes."""
    odd: Ints = field(default_factory=lambda: np.zeros(2, np.int64))
    """Predictions whose id came before, which count nowhere else; predictions with a feature that is not known."""

    def combine(self, other: Serving, sign: int) -> None:
        """Adds another sum, or takes it away; `peaks` only grow."""
        self.samples += sign * other.samples
        self.totals += sign * other.totals
        self.odd += sign * other.odd
        self.peaks = np.maximum(self.peaks, other.peaks) if sign > 0 else self.peaks
        self.widen(max(len(other.answers), len(other.delays)))
        self.answers[: len(other.answers)] += sign * other.answers
        self.delays[: len(other.delays)] += sign * other.delays

    def widen(self, classes: int) -> None:
        """Makes room for classes that have come up."""
        if len(self.answers) < classes:
            self.answers = _rows(self.answers, classes)
        if len(self.delays) < classes:
            self.delays = _rows(self.delays, classes)

    def add_traffic(self, answers: Ints | None, resources: Ints | None) -> None:
        """Adds predictions: their codes, -1 for failed ones, and what `read` made of their samples."""
        if answers is not None:
            counted = np.bincount(answers[answers >= 0] if len(answers) and answers.min() < 0 else answers)
            self.widen(len(counted))
            self.answers[: len(counted)] += counted
        if resources is not None:
            known = resources >= 0
            self.samples += known.sum(axis=0)
            self.totals += np.where(known, resources, 0).sum(axis=0)
            self.peaks = np.maximum(self.peaks, resources.max(axis=0, initial=0))

    def add_labels(self, answers: Ints, buckets: Ints) -> None:
        """Adds outcomes: the code of what was predicted, and the bucket of the label's delay."""
        self.widen(int(answers.max(initial=-1)) + 1)
        np.add.at(self.delays, (answers, buckets), 1)

    def forget_classes(self) -> None:
        """Codes mean something else now."""
        fresh = Serving()
        self.answers, self.delays = fresh.answers, fresh.delays


def read(events: Sequence[Prediction]) -> Ints | None:
    """Shape (n, resources): samples in `UNITS`, -1 where none came; None when no event has one."""
    found = [event.resources for event in events]
    if found.count(None) == len(found):
        return None
    samples = np.full((len(found), len(RESOURCES)), np.nan)
    for row, sample in enumerate(found):
        if sample is not None:
            samples[row] = [getattr(sample, name) for name in RESOURCES]
    with np.errstate(invalid="ignore"):
        usable = (samples >= 0) & (samples <= MOST)
    return np.where(usable, np.rint(np.where(usable, samples, 0.0) / UNITS), -1).astype(np.int64)


def newest(samples: Ints) -> dict[str, float]:
    """The last sample of each resource that has one, of what `read` found."""
    found: dict[str, float] = {}
    for name, column, unit in zip(RESOURCES, samples.T, UNITS.tolist(), strict=True):
        known = np.flatnonzero(column >= 0)
        if len(known):
            found[name] = float(column[known[-1]]) * unit
    return found


def delays(layout: Layout | None, outcomes: Outcomes, rows: Ints) -> tuple[Ints, Ints]:
    """Of some outcomes the predicted class (0 for a regression), and the bucket of the label's delay."""
    codes = np.zeros(len(rows), np.int64)
    if layout is not None and layout.task != "regression":
        codes = outcomes.predicted[rows].astype(np.int64)
    return codes, np.searchsorted(np.array(DELAY_BOUNDS), outcomes.delay[rows], side="left").astype(np.int64)


def quantile(counts: Ints, bounds: Sequence[float], share: float | Floats) -> Floats:
    """A quantile of histograms (..., buckets), interpolated inside the bucket; NaN of an empty one.

    What lies above the last bound is taken to lie at it.
    """
    edges = np.array([0.0, *bounds, bounds[-1]])
    total = counts.sum(axis=-1)
    cumulative = np.cumsum(counts, axis=-1)
    rank = share * total
    at = np.minimum((cumulative < rank[..., None]).sum(axis=-1), counts.shape[-1] - 1)
    inside = np.take_along_axis(counts, at[..., None], axis=-1)[..., 0]
    before = np.take_along_axis(cumulative, at[..., None], axis=-1)[..., 0] - inside
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(inside > 0, (rank - before) / inside, 0.0)
    found = edges[at] + part * (edges[at + 1] - edges[at])
    return np.where(total > 0, found, np.nan)


def delay_gap(delays: Ints) -> Floats:
    """How much later, in seconds, the labels of one predicted class come than those of another: the largest difference
    of medians, from delays of shape (..., classes, buckets); NaN with fewer than two classes of enough labels."""
    medians = quantile(delays, DELAY_BOUNDS, 0.5)
    low, high = extremes(np.where(delays.sum(axis=-1) >= LEAST, medians, np.nan))
    return high - low


def coverage_gap(answers: Ints, delays: Ints) -> Floats:
    """The largest difference between the labelled shares of two predicted classes; NaN as above."""
    classes = min(answers.shape[-1], delays.shape[-2])
    predicted, labelled = answers[..., :classes], delays[..., :classes, :].sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = extremes(np.where(predicted >= LEAST, labelled / predicted, np.nan))
    return high - low


def _rows(array: Ints, rows: int) -> Ints:
    grown = np.zeros((rows, *array.shape[1:]), np.int64)
    grown[: len(array)] = array
    return grown
