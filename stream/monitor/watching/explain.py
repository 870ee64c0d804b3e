"""Which segments and features explain an alert. Read from sums that are kept anyway, and only when an alert is built.

Segments are those that the configuration names, and the groups of all other features (see `suspects.py`): the mean
loss of each, of groups the share of bad outcomes, since a recent moment against the time before. A segment explains an
alert when it has got worse, and worse than the rest of the traffic has; what gets worse everywhere is no segment's
doing. The moment is not known, so several spans are tried, each about a quarter longer than the one before: a span that
is twice too long halves what it shows. A log loss or Brier score may hide in few outcomes what errors tell, so where an
alert is about those, both are tried. The bound counts every segment, each such choice and each doubling of the span
(Bonferroni; spans between share most of their outcomes), so that with nothing changed an alert blames any segment with
a probability of at most about ALPHA.
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
from msgspec import Struct, structs
from scipy import special

from stream.events import AlertKind, FeatureShare, SegmentShare
from stream.monitor.basis import exact
from stream.monitor.basis.columns import WEIGHT_UNIT, Floats, Ints
from stream.monitor.basis.intervals import Z
from stream.monitor.features import drift
from stream.monitor.features.drift import Compared
from stream.monitor.features.suspects import Groups
from stream.monitor.metrics import layout as columns
from stream.monitor.metrics.layout import Layout
from stream.monitor.metrics.totals import MEANS
from stream.monitor.panes.pane import Pane
from stream.monitor.panes.window import Window
from stream.monitor.rules.watch import PREDICTION

EXPLAINED: frozenset[AlertKind] = frozenset(("performance", "concept_drift", "data_drift", "prediction_drift"))
"""Kinds of alerts that are explained."""

ALPHA = 0.002
"""Probability that an alert names a segment, or a feature, though nothing has changed."""

MIN_OUTCOMES = 20
"""Effective outcomes of a segment on either side, below which nothing is said of it."""

WINDOWS, LOOKED_AT = 4, 720
"""The time before is what the window does not reach of so many windows; of long ones of as many panes, but of two
windows at least. Of 100 streams with one of forty segments that lost 20 points of accuracy, 250 of its outcomes before,
96 name it and not 92, though their time before is only half as long as it might be (`benchmarks/explanations.py`)."""

NAMED = 10
"""Segments and features of an alert, at most."""


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

    def plus(self, other: Means) -> Means:
        """Both together."""
        pairs = zip(self._parts, other._parts, strict=True)
        return Means(self.outcomes + other.outcomes, *(mine + theirs for mine, theirs in pairs))

    def at(self, segment: int | slice) -> Means:
        """Of some segments, the last axis."""
        return Means(self.outcomes[..., segment], *(part[..., segment] for part in self._parts))

    def one(self, place: tuple[int, int]) -> Means:
        """Of one span and segment."""
        return Means(self.outcomes[place], *(np.asarray(part[place]) for part in self._parts))


class Tallied(Struct):
    """Configured segments: their names, "all" first, and what is not in the panes yet."""

    layout: Layout
    names: Sequence[str]
    added: Iterable[tuple[int, int, Ints]] = ()
    """Pane, segment and tally."""


class Grouped(Struct):
    """Groups of features, and what is not in the panes yet."""

    groups: Groups
    added: Iterable[tuple[int, Ints]] = ()
    """Pane and counts."""


class Family(Struct):
    """Parts of the traffic of which each is tested, shape (spans, parts): recent, and before."""

    names: Sequence[str]
    mine: tuple[Means, Means]
    rest: tuple[Means, Means]
    binary: bool
    inferred: bool = False
    told: Family | None = None
    """What a person is told of the same parts, where they have got worse by that, too."""


def segments(
    tallied: Tallied, grouped: Grouped | None, panes: Mapping[int, Pane], window: Window, metric: str | None
) -> list[SegmentShare]:
    """The segments that explain a rise of the loss that belongs to `metric`, the surest first."""
    spans = _spans(window.panes)
    reach = max(2 * window.panes, min(WINDOWS * window.panes, LOOKED_AT))
    last, oldest = window.last, window.last - reach
    inside = range(oldest + 1, last + 1) if reach < len(panes) else sorted(panes)
    recently = [(last - index, panes[index]) for index in inside if index in panes and oldest < index <= last]
    layout, families = tallied.layout, []
    if len(tallied.names) > 1:
        sums = np.zeros((len(spans) + 1, len(tallied.names), layout.width), np.int64)
        for age, pane in recently:
            if pane.sums.tally.shape[1] == layout.width:
                sums[bisect_right(spans, age), : len(pane.sums.tally)] += pane.sums.tally
        for index, segment, tally in tallied.added:
            if oldest < index <= last:
                sums[bisect_right(spans, last - index), segment] += tally
        binary = layout.task != "regression" and metric not in MEANS
        families.append(_of_tallies(tallied, _cut(sums), metric, binary))
        if not binary and layout.task != "regression":
            # Few outcomes have a mean of their log loss that anything, or nothing, may have moved; errors tell sooner.
            families.append(structs.replace(_of_tallies(tallied, _cut(sums), None, True), told=families[0]))
    if grouped is not None:
        sums = np.zeros((len(spans) + 1, len(grouped.groups.names), 2), np.int64)
        for age, pane in recently:
            if len(pane.suspects):
                sums[bisect_right(spans, age)] += pane.suspects
        for index, counts in grouped.added:
            if oldest < index <= last:
                sums[bisect_right(spans, last - index)] += counts
        families.append(_of_groups(grouped.groups, _cut(sums)))
    # Spans that are tried, counted as if each were twice as long as the one before.
    return _blamed(families, (1.0 + math.log2(window.panes)) / len(spans))


def _cut(sums: Ints) -> tuple[Ints, Ints]:
    """From sums between the ends of spans those since, and before, the beginning of each span."""
    running = np.cumsum(sums, axis=0)
    return running[:-1], running[-1] - running[:-1]


def _of_tallies(tallied: Tallied, cut: tuple[Ints, Ints], metric: str | None, binary: bool) -> Family:
    recent, before = (_means(tallied.layout, tallies, metric) for tallies in cut)
    parts, whole = slice(1, None), slice(0, 1)
    mine = recent.at(parts), before.at(parts)
    rest = recent.at(whole).minus(mine[0]), before.at(whole).minus(mine[1])
    return Family(tallied.names[1:], mine, rest, binary)


def _of_groups(groups: Groups, cut: tuple[Ints, Ints]) -> Family:
    sizes = np.diff(groups.starts, append=len(groups.names))
    mine, rest = zip(*(_flags(groups, sizes, counts) for counts in cut), strict=True)
    return Family(groups.names, mine, rest, True, True)


def _flags(groups: Groups, sizes: Ints, counts: Ints) -> tuple[Means, Means]:
    """Of counts (spans, groups, 2): groups, and for each what the others of its feature have together."""
    n, bad = counts.sum(axis=-1), counts[..., 1]
    wholes = [np.repeat(np.add.reduceat(each, groups.starts, axis=-1), sizes, axis=-1) for each in (n, bad)]
    found = []
    for outcomes, wrong in ((n, bad), (wholes[0] - n, wholes[1] - bad)):
        weight, loss = outcomes.astype(np.float64), wrong.astype(np.float64)
        found.append(Means(outcomes, weight, weight, loss, loss))
    return found[0], found[1]


def features(layout: Compared, counts: Ints) -> list[FeatureShare]:
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


def _blamed(families: Sequence[Family], apart: float) -> list[SegmentShare]:
    """`apart`: share of the tests that the bound counts. Of a part in two families the surer one decides."""
    judged = [_sureties(family) for family in families]
    tests = sum(int(np.count_nonzero(np.isfinite(surety))) for surety in judged)
    if not tests:
        return []
    needed = -special.ndtri(ALPHA / max(1.0, tests * apart))
    found: dict[str, tuple[float, Family, tuple[int, int]]] = {}
    for family, surety in zip(families, judged, strict=True):
        best = np.argmax(surety, axis=0)
        for part in np.flatnonzero(surety.max(axis=0) > needed).tolist():
            at, name = (int(best[part]), part), family.names[part]
            if name not in found or found[name][0] < surety[at]:
                found[name] = float(surety[at]), family, at
    surest = sorted(found.items(), key=lambda each: -each[1][0])[:NAMED]
    return [_share(name, family, at) for name, (_, family, at) in surest]


def _sureties(family: Family) -> Floats:
    """By how many standard errors each part has got worse, and worse than the rest; -inf where little is known."""
    mine, rest = family.mine, family.rest
    with np.errstate(all="ignore"):
        rise, variance = _change(*mine)
        others, doubt = _change(*rest)
        shared = np.maximum(others, 0.0)
        if family.binary:
            # Rare errors are skewed: this scale has a known spread whatever the rate (Anscombe 1948, equation 2.1). It
            # makes much of none at all in a short time before, which one spread for both times does not.
            n = mine[0].n
            now = (mine[0].mean * n + 0.375) / (n + 0.75)
            expected = np.clip(mine[1].mean + shared, 0.0, 1.0)
            shares = 1.0 / (n + 0.5) + np.sum([1.0 / each.n for each in (mine[1], *rest)], axis=0)
            surety = 2.0 * (np.arcsin(np.sqrt(now)) - np.arcsin(np.sqrt(expected))) / np.sqrt(shares)
            surety = np.minimum(surety, (rise - shared) / np.sqrt(_pooled(*mine) + _pooled(*rest)))
        else:
            surety = (rise - shared) / np.sqrt(variance + doubt)
    enough = (mine[0].n >= MIN_OUTCOMES) & (mine[1].n >= MIN_OUTCOMES)
    found: Floats = np.where(enough & np.isfinite(surety), surety, -np.inf)
    return found


def _share(name: str, family: Family, at: tuple[int, int]) -> SegmentShare:
    """What one part adds to the rise of the whole."""
    if family.told is not None and np.greater(*(each.one(at).mean for each in family.told.mine)):
        return _share(name, family.told, at)
    (now, then), rest = (tuple(each.one(at) for each in pair) for pair in (family.mine, family.rest))
    whole = now.plus(rest[0]), then.plus(rest[1])
    size = float(now.weight / whole[0].weight)
    rise, variance = _change(now, then)
    part, spread = size * float(rise), Z * size * float(np.sqrt(variance))
    total = max(float(whole[0].mean - whole[1].mean), part)
    return SegmentShare(
        name,
        part / total,
        float(now.mean),
        int(now.outcomes),
        before=float(then.mean),
        lower=max((part - spread) / total, 0.0),
        upper=min((part + spread) / total, 1.0),
        inferred=family.inferred,
    )


def _change(recent: Means, before: Means) -> tuple[Floats, Floats]:
    """Difference of the means and its variance: the larger of that with one spread for both and that with two."""
    apart = _spread(recent.weight, recent.loss, recent.squares) / recent.n
    apart = apart + _spread(before.weight, before.loss, before.squares) / before.n
    return recent.mean - before.mean, np.maximum(_pooled(recent, before), apart)


def _pooled(recent: Means, before: Means) -> Floats:
    """Variance of the difference of the means, if one spread holds for both."""
    both = recent.plus(before)
    return _spread(both.weight, both.loss, both.squares) * (1.0 / recent.n + 1.0 / before.n)


def _spread(weight: Floats, loss: Floats, squares: Floats) -> Floats:
    """Variance of one loss."""
    mean = loss / weight
    found: Floats = np.maximum(squares / weight - mean * mean, 0.0)
    return found
