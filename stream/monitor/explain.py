"""Which segments and features explain an alert. Read from sums that are kept anyway, and only when an alert is built.

Segments: the mean loss of each since a recent moment against the time before. A segment explains an alert when it has
got worse, and worse than the rest of the traffic has; what gets worse everywhere is no segment's doing. The moment is
not known, so several spans are tried, each about a quarter longer than the one before: a span that is twice too long
halves what it shows. The bound counts every segment and each doubling of the span (Bonferroni; spans between share most
of their outcomes), so that with nothing changed an alert blames any segment with a probability of at most about ALPHA.
Features: those whose PSI against the reference is above what its sampling noise would reach with probability ALPHA in
any of them. Without change, PSI is about (1/N + 1/n) times a chi² of groups - 1 degrees of freedom (B. Yurdakul and
J. Naranjo, J. Risk Model Valid. 14, 2020).
Invariant: a function of the sums at a tick, so of the events alone.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from msgspec import Struct
from scipy import special

from stream.events import AlertKind, FeatureShare, SegmentShare
from stream.monitor import drift, exact
from stream.monitor import layout as columns
from stream.monitor.columns import WEIGHT_UNIT, Floats, Ints
from stream.monitor.features import FeatureLayout
from stream.monitor.intervals import Z
from stream.monitor.layout import Layout
from stream.monitor.pane import Pane
from stream.monitor.totals import MEANS
from stream.monitor.watch import PREDICTION
from stream.monitor.window import Window

EXPLAINED: frozenset[AlertKind] = frozenset(("performance", "concept_drift", "data_drift", "prediction_drift"))
"""Kinds of alerts that are explained."""

ALPHA = 0.002
"""Probability that an alert names a segment, or a feature, though nothing has changed."""

MIN_OUTCOMES = 20
"""Effective outcomes of a segment on either side, below which nothing is said of it."""

NAMED = 10
"""Segments and features of an alert, at most."""

Added = Iterable[tuple[int, int, Ints]]
"""What is not in the panes yet: pane, segment and tally."""


class Means(Struct):
    """Mean losses (...), the effective number of outcomes behind them, and the variance of one loss."""

    outcomes: Ints
    n: Floats
    weight: Floats
    loss: Floats
    squares: Floats

    @property
    def mean(self) -> Floats:
        """NaN where there is no weight."""
        found: Floats = self.loss / np.where(self.weight > 0, self.weight, np.nan)
        return found

    def minus(self, other: Means) -> Means:
        """What is left without a part."""
        pairs = zip(self._parts, other._parts, strict=True)
        return Means(self.outcomes - other.outcomes, *(mine - theirs for mine, theirs in pairs))

    @property
    def _parts(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.n, self.weight, self.loss, self.squares

    def at(self, segment: int | slice) -> Means:
        """Of some segments, the last axis."""
        return Means(self.outcomes[..., segment], *(part[..., segment] for part in self._parts))


def segments(
    layout: Layout, panes: Mapping[int, Pane], window: Window, added: Added, names: Sequence[str], metric: str | None
) -> list[SegmentShare]:
    """The segments that explain a rise of the loss that belongs to `metric`, the surest first."""
    spans = _spans(window.panes)
    last, oldest = window.last, window.last - 2 * window.panes
    buckets = np.zeros((len(spans) + 1, len(names), layout.width), np.int64)
    for index in range(oldest + 1, last + 1) if 2 * window.panes < len(panes) else sorted(panes):
        pane = panes.get(index)
        if pane is not None and oldest < index <= last and pane.sums.tally.shape[1] == layout.width:
            buckets[bisect_right(spans, last - index), : len(pane.sums.tally)] += pane.sums.tally
    for index, segment, tally in added:
        if oldest < index <= last:
            buckets[bisect_right(spans, last - index), segment] += tally
    running = np.cumsum(buckets, axis=0)
    recent, before = (_means(layout, tallies, metric) for tallies in (running[:-1], running[-1] - running[:-1]))
    binary = layout.task != "regression" and metric not in MEANS
    # Spans that are tried, counted as if each were twice as long as the one before.
    apart = (1.0 + math.log2(window.panes)) / len(spans)
    return _blamed(recent, before, names, binary, apart)


def features(layout: FeatureLayout, counts: Ints) -> list[FeatureShare]:
    """The features whose distribution has left the reference, the furthest first; the model's own output is none."""
    shape = layout.shape
    if shape is None or not len(counts):
        return []
    distances = drift.every(layout, counts, "psi")
    totals = np.add.reduceat(counts[shape.columns], shape.starts)
    inverse = 1.0 / np.maximum(shape.totals, 1) + 1.0 / np.maximum(totals, 1)
    noise = inverse * special.chdtri(np.maximum(shape.groups_each - 1, 1), ALPHA / len(layout.names))
    found = [
        FeatureShare(name, "psi", float(distance))
        for name, distance, bound in zip(layout.names, distances, noise, strict=True)
        if distance > bound and name != PREDICTION
    ]
    return sorted(found, key=lambda each: -each.value)[:NAMED]


def _spans(panes: int) -> list[int]:
    """Lengths of the recent time that are tried, in panes: up to the window's.

    >>> _spans(60)
    [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 60]
    """
    spans, octave = [1, 2, 3], 4
    while octave < panes:
        spans += [octave, octave * 5 // 4, octave * 3 // 2]
        octave *= 2
    return [*(span for span in spans if span < panes), panes]


def _means(layout: Layout, tallies: Ints, metric: str | None) -> Means:
    """Of tallies (..., width): errors, or what the metric is a mean of; for regression absolute errors."""
    weight, squares = columns.weights(tallies)
    worth = weight / np.where(squares > 0, squares, 1.0)
    name = "mae" if layout.task == "regression" else metric
    if name not in MEANS:
        matrix = layout.confusion(tallies)
        wrong = (matrix.sum(axis=(-1, -2)) - np.trace(matrix, axis1=-2, axis2=-1)) * WEIGHT_UNIT
        return Means(tallies[..., columns.OUTCOMES], weight * worth, weight, wrong, wrong)
    what = MEANS[name]
    limbs = exact.LIMBS if layout.task == "regression" else 2
    loss, square = (
        exact.to_float(tallies[..., column : column + limbs], exponent)
        for column, exponent in ((what.column, what.exponent), (what.squares, what.square_exponent))
    )
    outcomes = tallies[..., columns.OUTCOMES]
    if layout.task != "regression":
        outcomes = tallies[..., columns.SCORED]
        weight = np.multiply(tallies[..., columns.SCORED_WEIGHT], WEIGHT_UNIT, dtype=np.float64)
    return Means(outcomes, weight * worth, weight, loss, square)


def _blamed(recent: Means, before: Means, names: Sequence[str], binary: bool, apart: float) -> list[SegmentShare]:
    """Shape (spans, segments) each, segment 0 the whole. `apart`: share of the tests that the bound counts."""
    parts = slice(1, None)
    mine, whole = (recent.at(parts), before.at(parts)), (recent.at(slice(0, 1)), before.at(slice(0, 1)))
    rest = whole[0].minus(mine[0]), whole[1].minus(mine[1])
    with np.errstate(all="ignore"):
        rise, variance = _change(*mine)
        others, doubt = _change(*rest)
        shared = np.maximum(others, 0.0)
        if binary:
            # Rare errors are skewed: this scale has a known spread whatever the rate (Anscombe 1948).
            now, expected = (np.clip(mean, 0.0, 1.0) for mean in (mine[0].mean, mine[1].mean + shared))
            shares = np.sum([1.0 / each.n for each in (*mine, *rest)], axis=0)
            surety = 2.0 * (np.arcsin(np.sqrt(now)) - np.arcsin(np.sqrt(expected))) / np.sqrt(shares)
        else:
            surety = (rise - shared) / np.sqrt(variance + doubt)
    enough = (mine[0].n >= MIN_OUTCOMES) & (mine[1].n >= MIN_OUTCOMES)
    surety = np.where(enough & np.isfinite(surety), surety, -np.inf)
    tests = np.count_nonzero(enough)
    if not tests:
        return []
    needed = -special.ndtri(ALPHA / max(1.0, tests * apart))
    best = np.argmax(surety, axis=0)
    found: list[tuple[float, SegmentShare]] = []
    for segment in np.flatnonzero(surety.max(axis=0) > needed).tolist():
        at = best[segment], segment
        size = float(mine[0].weight[at] / whole[0].weight[at[0], 0])
        part, spread = size * float(rise[at]), Z * size * float(np.sqrt(variance[at]))
        total = max(float(whole[0].mean[at[0], 0] - whole[1].mean[at[0], 0]), part)
        share = SegmentShare(
            names[segment + 1],
            part / total,
            float(mine[0].mean[at]),
            int(mine[0].outcomes[at]),
            before=float(mine[1].mean[at]),
            lower=max((part - spread) / total, 0.0),
            upper=min((part + spread) / total, 1.0),
        )
        found.append((float(surety[at]), share))
    return [share for _, share in sorted(found, key=lambda each: -each[0])[:NAMED]]


def _change(recent: Means, before: Means) -> tuple[Floats, Floats]:
    """Difference of the means and its variance: the larger of that with one spread for both and that with two."""
    weight, squares = recent.weight + before.weight, recent.squares + before.squares
    pooled = _spread(weight, recent.loss + before.loss, squares) * (1.0 / recent.n + 1.0 / before.n)
    apart = _spread(recent.weight, recent.loss, recent.squares) / recent.n
    apart = apart + _spread(before.weight, before.loss, before.squares) / before.n
    return recent.mean - before.mean, np.maximum(pooled, apart)


def _spread(weight: Floats, loss: Floats, squares: Floats) -> Floats:
    """Variance of one loss."""
    mean = loss / weight
    found: Floats = np.maximum(squares / weight - mean * mean, 0.0)
    return found
