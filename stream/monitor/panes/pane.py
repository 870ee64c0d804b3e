"""Panes: what happened to the predictions of one short span of time, per segment.

Everything is a count or an exact integer sum, so a window is a sum of panes, and a late label changes only the pane of
its prediction. Invariant: row s of every per-segment array belongs to segment code s; missing rows are zeros.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct, field

from stream.monitor.basis.columns import Ints
from stream.monitor.estimates.guesses import Counts
from stream.monitor.features.segment_drift import BySegment, merge
from stream.monitor.features.suspects import Small, nothing
from stream.monitor.metrics.scores import ScoreHistogram
from stream.monitor.panes.serving import Serving

PREDICTIONS, ERRORS = 0, 1
"""Columns of `traffic`."""

LATENCY_BOUNDS = (
    *(0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.4, 0.5, 0.75),
    *(1.0, 1.5, 2.5, 4.0, 5.0, 7.5, 10.0, 30.0, 60.0),
)
"""Upper bounds of the latency histogram, seconds; one more bucket has none."""

Scores = dict[int, list[ScoreHistogram]]
"""By segment code: one histogram per class (binary: one, of the positive class)."""


def counts_of(by_segment: dict[int, Counts], segment: int) -> Counts:
    """The counts of a segment, made on first use."""
    known = by_segment.get(segment)
    if known is None:
        known = by_segment[segment] = Counts()
    return known


def widened(array: Ints, rows: int, columns: int) -> Ints:
    """The array with at least that many rows and columns, new cells zero."""
    have_rows, have_columns = array.shape
    if have_rows >= rows and have_columns >= columns:
        return array
    grown = np.zeros((max(rows, have_rows), max(columns, have_columns)), np.int64)
    grown[:have_rows, :have_columns] = array
    return grown


class Sums(Struct):
    """The additive part of a pane or of a window."""

    traffic: Ints = field(default_factory=lambda: np.zeros((1, 2), np.int64))
    """Shape (segments, 2): predictions, failed predictions."""
    tally: Ints = field(default_factory=lambda: np.zeros((1, 0), np.int64))
    """Shape (segments, layout.width): outcomes; see `layout.py`."""
    features: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """Shape (feature layout width,): histogram cells of all features; see `feature_layout.py`."""
    latency: Ints = field(default_factory=lambda: np.zeros(len(LATENCY_BOUNDS) + 1, np.int64))
    scores: Scores = field(default_factory=dict)
    guesses: dict[int, Counts] = field(default_factory=dict)
    """By segment code: scores of all predictions by predicted class; see `guesses.py`."""
    serving: Serving = field(default_factory=Serving)
    flaws: Ints = field(default_factory=lambda: np.zeros((1, 0), np.int64))
    """Shape (segments, columns): bad values of features by segment but "all"; see `quality.Flaws`."""
    joint: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """Shape (WIDTH,) of `embedding.py`: all features together, where a rule asks for it."""
    by_segment: BySegment = field(default_factory=dict)
    """Histograms of features by segment, where a rule asks for them."""
    answers: dict[int, Counts] = field(default_factory=dict)
    """As `guesses`, of predictions whose labels have come; kept where a rule compares the two, see `apart.py`."""

    def add(self, other: Sums) -> None:
        """Adds another sum to this one."""
        self._combine(other, 1)
        for segment, histograms in other.scores.items():
            mine = self.histograms(segment, len(histograms))
            for target, source in zip(mine, histograms, strict=False):
                target.merge(source)

    def subtract(self, other: Sums) -> None:
        """Takes away a sum that was added before."""
        self._combine(other, -1)
        for segment, histograms in other.scores.items():
            for target, source in zip(self.scores[segment], histograms, strict=False):
                target.subtract(source)

    def _combine(self, other: Sums, sign: int) -> None:
        self.traffic = widened(self.traffic, *other.traffic.shape)
        self.traffic[: len(other.traffic)] += sign * other.traffic
        self.tally = widened(self.tally, *other.tally.shape)
        rows, columns = other.tally.shape
        self.tally[:rows, :columns] += sign * other.tally
        if len(other.features):
            if not len(self.features):
                self.features = np.zeros_like(other.features)
            self.features += sign * other.features
        if len(other.joint):
            if not len(self.joint):
                self.joint = np.zeros_like(other.joint)
            self.joint += sign * other.joint
        self.latency += sign * other.latency
        self.serving.combine(other.serving, sign)
        self.flaws = widened(self.flaws, *other.flaws.shape)
        rows, columns = other.flaws.shape
        self.flaws[:rows, :columns] += sign * other.flaws
        for segment, counts in other.guesses.items():
            counts_of(self.guesses, segment).merge(counts, sign)
        for segment, counts in other.answers.items():
            counts_of(self.answers, segment).merge(counts, sign)
        merge(self.by_segment, other.by_segment, sign)

    def histograms(self, segment: int, classes: int) -> list[ScoreHistogram]:
        """The score histograms of a segment, made on first use."""
        known = self.scores.setdefault(segment, [])
        while len(known) < classes:
            known.append(ScoreHistogram())
        return known

    def forget_features(self) -> None:
        """Drops what was counted by a reference that is not the present one."""
        self.features, self.flaws = np.zeros(0, np.int64), np.zeros((1, 0), np.int64)
        self.joint, self.by_segment = np.zeros(0, np.int64), {}

    @property
    def empty(self) -> bool:
        """Whether nothing was counted."""
        return not self.traffic.any() and not self.tally.any()


class Pane(Struct):
    """One span of prediction time: [index, index + 1) times the pane's length."""

    index: int
    sums: Sums = field(default_factory=Sums)
    version: str | None = None
    """Version of the newest prediction in it."""
    stale: list[int] = field(default_factory=list)
    """Segments whose last snapshot no longer says the truth."""
    final: bool = False
    """No label can change it any more."""
    suspects: Small = field(default_factory=nothing)
    """Shape (groups, 2): good and bad outcomes by group of a feature; see `suspects.py`."""
