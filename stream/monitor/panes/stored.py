"""What of a model is stored at a checkpoint, as plain records.

Invariant: a model that is restored from them behaves as the one that they are of.
"""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
from msgspec import Struct, field

from stream.config import Model
from stream.events import Alert, Task
from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.basis.join_rows import Era
from stream.monitor.estimates.guesses import Counted, Counts
from stream.monitor.features.segment_drift import BySegment
from stream.monitor.features.suspects import Learned, Small, nothing
from stream.monitor.metrics.scores import ScoreHistogram, ScoreState
from stream.monitor.panes.pane import Pane, Sums
from stream.monitor.panes.serving import Serving
from stream.monitor.rules.machine import RuleState


class Counters(Struct):
    """Events of one model since its beginning."""

    predictions: int = 0
    labels: int = 0
    outcomes: int = 0
    errors: int = 0
    expired_predictions: int = 0
    expired_labels: int = 0


class Histogram(Struct):
    """Counts by upper bound, and the sum in nanoseconds, which is exact in any order."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum_ns: int = 0

    def __post_init__(self) -> None:
        if not self.counts:
            self.counts = [0] * (len(self.bounds) + 1)

    def add(self, values: Floats) -> Ints:
        """Counts values in seconds; returns the bucket of each."""
        buckets = np.searchsorted(np.array(self.bounds), values, side="left").astype(np.int64)
        for bucket, count in enumerate(np.bincount(buckets, minlength=len(self.counts)).tolist()):
            self.counts[bucket] += count
        ns = np.rint(values * 1e9)
        whole = ns.astype(np.int64)
        self.sum_ns += int(whole.sum()) if ns.sum() < 2.0**62 else sum(whole.tolist())
        return buckets

    def bucket(self, value: float) -> int:
        """The bucket of one value."""
        return bisect_left(self.bounds, value)


class StoredPane(Struct):
    """A pane, its score histograms as plain data."""

    index: int
    traffic: Ints
    tally: Ints
    features: Ints
    latency: Ints
    scores: dict[int, list[ScoreState]]
    version: str | None
    stale: list[int]
    final: bool
    guesses: dict[int, Counted] = field(default_factory=dict)
    serving: Serving = field(default_factory=Serving)
    flaws: Ints = field(default_factory=lambda: np.zeros((1, 0), np.int64))
    suspects: Small = field(default_factory=nothing)
    joint: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    by_segment: BySegment = field(default_factory=dict)
    answers: dict[int, Counted] = field(default_factory=dict)

    @classmethod
    def of(cls, pane: Pane) -> StoredPane:
        """The pane as it is stored."""
        sums = pane.sums
        scores = {segment: [one.to_state() for one in each] for segment, each in sums.scores.items()}
        parts = sums.traffic, sums.tally, sums.features, sums.latency
        guesses, answers = (
            {segment: counts.state() for segment, counts in each.items()} for each in (sums.guesses, sums.answers)
        )
        told = pane.version, pane.stale, pane.final
        return cls(
            *(pane.index, *parts, scores, *told, guesses, sums.serving, sums.flaws, pane.suspects),
            joint=sums.joint,
            by_segment=sums.by_segment,
            answers=answers,
        )

    def pane(self) -> Pane:
        """The pane as it was."""
        scores = {segment: [ScoreHistogram.from_state(one) for one in each] for segment, each in self.scores.items()}
        guesses, answers = (
            {segment: Counts(counted) for segment, counted in each.items()} for each in (self.guesses, self.answers)
        )
        parts = self.traffic, self.tally, self.features, self.latency
        sums = Sums(*parts, scores, guesses, self.serving, self.flaws, self.joint, self.by_segment, answers)
        return Pane(self.index, sums, self.version, self.stale, self.final, self.suspects)


class WatchState(Struct):
    """Where one rule stands on one segment and feature, and its detector or guard when it has one."""

    rule: str
    segment: str
    feature: str | None
    made_for: str
    """A digest of the rule: under another one the state means nothing."""
    state: RuleState
    detector: bytes | None = None


class Measured(Struct, frozen=True):
    """What of a model's configuration decides what its panes mean."""

    pane: float
    segments: tuple[str, ...]
    task: Task | None
    positive: float | str | bool | None

    @classmethod
    def by(cls, spec: Model) -> Measured:
        """The part of a specification."""
        return cls(spec.pane, spec.segments, spec.task, spec.positive)


class Renewed(Struct, frozen=True):
    """What of renewals of its reference a model has taken."""

    count: int = 0
    at: float = -math.inf
    """The moment that the last one names."""


class Head(Struct):
    """Everything of a model but its panes, waiting events, settled ids, reference and challengers."""

    task: Task | None
    firm: bool
    classes: list[str]
    positive: int
    width: int
    """Classes that the layout has room for."""
    segments: list[str]
    counters: Counters
    join: tuple[int, int, int]
    """Duplicate predictions, duplicate labels, early rotations of the settled ids."""
    stale: dict[int, int]
    position: int
    tick: int
    floor: int
    version: str | None
    recent: list[Alert]
    alerts_total: dict[str, int]
    latency: Histogram
    delay: Histogram
    notes: list[str]
    last_cell: int
    watches: list[WatchState]
    measured: Measured
    waiting: dict[int, int]
    garbage: int
    eras: list[Era]
    held: list[Alert] = field(default_factory=list)
    """Firing alerts that a silence holds back."""
    resources: dict[str, float] = field(default_factory=dict)
    """The newest sample of each."""
    renewed: Renewed = field(default_factory=Renewed)
    suspects: Learned = field(default_factory=Learned)
