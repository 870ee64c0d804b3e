"""Scores of outcomes by truth, from which ROC AUC and average precision are read.

Up to EXACT outcomes every distinct score is kept; beyond, scores share fixed bins, with moments inside a bin
so that order within it is estimated. Invariant: the content is a function of the outcomes alone, whatever the order,
slicing, merging and subtracting that led to it; only where `incomplete` says so must it be merged again from its parts.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from msgspec import Struct
from scipy.special import digamma

from stream.monitor.columns import Floats, Ints
from stream.monitor.exact import Booleans

EXACT = 4096
"""Largest number of outcomes of which every score is kept (to single precision, from the nearer of 0 and 1)."""

_ONE = 0x7E000000
"""Twice the single-precision bits of 0.5: the code of the score 1."""

_PLACE_BITS = 16
"""Bits of a code that a bin drops, and moments tell apart. 7 bits of the mantissa stay: 128 bins per power of two."""

_NEGATIVE, _POSITIVE, _NEGATIVES, _POSITIVES, _NEGATIVE_PLACES, _POSITIVE_PLACES, _SQUARES = range(7)
"""Rows of `columns`: weights, counts, sums of places by truth, and of squared places of both. Exact: the first four."""

_PARTS = 8
"""Parts that a bin is cut into for average precision."""


class ScoreState(Struct, frozen=True):
    """A histogram as plain data. `codes` ascend; `columns` has a row per quantity and a column per code."""

    codes: Ints
    columns: Ints


def encode(scores: Floats) -> Ints:
    """Codes in the order of scores in [0, 1]: 24 significant bits of the distance to the nearer end.

    >>> bool((np.diff(encode(np.array([0.0, 1e-30, 0.5, 1.0 - 1e-15, 1.0]))) > 0).all())
    True
    """
    upper = scores > 0.5
    near = np.where(upper, 1.0 - scores, np.abs(scores)).astype(np.float32)
    bits = near.view(np.int32).astype(np.int64)
    return np.where(upper, _ONE - bits, bits)


_ROUND = encode(np.arange(101) / 100.0)
"""Codes of the scores 0.00, 0.01 … 1.00, each a bin of its own: many models give one of them to a large share."""


class ScoreHistogram:
    """Scores of one class against the rest."""

    __slots__ = ("_added", "_auc", "_codes", "_columns", "_precision", "_waiting", "_weights", "count")

    def __init__(self) -> None:
        self.count = 0
        """Outcomes inside."""
        self._codes: Ints = np.zeros(0, dtype=np.int64)
        self._columns: Ints = np.zeros((4, 0), dtype=np.int64)
        self._added: list[tuple[Ints, Booleans, Ints]] = []
        self._waiting = 0
        self._weights: tuple[int, int] | None = None
        self._auc: float | None = None
        self._precision: float | None = None

    def add(self, scores: Floats, positive: Booleans, weight: Ints) -> None:
        """Adds outcomes: score, whether the class came true, weight in WEIGHT_UNIT. Not: scores outside [0, 1]."""
        usable = (scores >= 0.0) & (scores <= 1.0)
        if not usable.all():
            scores, positive, weight = scores[usable], positive[usable], weight[usable]
        self.add_codes(encode(scores), positive, weight)

    def add_codes(self, codes: Ints, positive: Booleans, weight: Ints) -> None:
        """`add` of scores that are encoded already: cheaper for outcomes that go to several histograms."""
        if not len(codes):
            return
        self._added.append((codes, positive, weight))
        self._forget()
        self.count += len(codes)
        self._waiting += len(codes)
        if self._waiting >= EXACT:
            self._settle()

    def merge(self, other: ScoreHistogram) -> None:
        """Adds all outcomes of another histogram."""
        self._combine([other], 1)

    def subtract(self, other: ScoreHistogram) -> None:
        """Takes away outcomes that were added or merged before."""
        self._combine([other], -1)

    @classmethod
    def total(cls, parts: Iterable[ScoreHistogram]) -> ScoreHistogram:
        """The merger of many histograms, in one pass."""
        total = cls()
        total._combine(list(parts), 1)
        return total

    def copy(self) -> ScoreHistogram:
        """An independent histogram of the same outcomes."""
        twin = ScoreHistogram()
        twin.count, twin._waiting = self.count, self._waiting
        twin._weights, twin._auc, twin._precision = self._weights, self._auc, self._precision
        twin._codes, twin._columns, twin._added = self._codes, self._columns, list(self._added)
        return twin

    @property
    def incomplete(self) -> bool:
        """Whether subtracting left so few outcomes that each score is to be known, and is not: merge the parts anew."""
        return 0 < self.count <= EXACT and len(self._columns) > 4

    def to_state(self) -> ScoreState:
        """The content as plain data: equal for equal outcomes."""
        self._settle()
        return ScoreState(self._codes, self._columns)

    @classmethod
    def from_state(cls, state: ScoreState) -> ScoreHistogram:
        """The histogram that gave the state."""
        made = cls()
        made._codes, made._columns = state.codes, state.columns
        made.count = int(state.columns[_NEGATIVES : _POSITIVES + 1].sum())
        return made

    def weights(self) -> tuple[int, int]:
        """Total weight of negatives and of positives, in WEIGHT_UNIT."""
        self._settle()
        if self._weights is None:
            negative, positive = self._columns[: _POSITIVE + 1].sum(axis=1).tolist()
            self._weights = negative, positive
        return self._weights

    def roc_auc(self) -> float:
        """Probability that a positive scores above a negative, ties counting half. NaN without one of either.

        Inside a bin: 1/2 plus the difference of the mean places over sqrt(12) standard deviations, which is exact to
        first order for scores spread evenly over any part of the bin, and 1/2 for equal scores.
        """
        self._settle()
        if self._auc is None:
            self._auc = self._roc_auc()
        return self._auc

    def average_precision(self) -> float:
        """Sum over thresholds of the gain in recall times precision, as scikit-learn's. NaN without a positive.

        Inside a bin the expected value over the orders that its moments leave open.
        """
        self._settle()
        if self._precision is None:
            self._precision = self._average_precision()
        return self._precision

    def _forget(self) -> None:
        """What was read is no longer true: outcomes come or go."""
        self._weights = self._auc = self._precision = None

    def _roc_auc(self) -> float:
        negative, positive = self._columns[_NEGATIVE], self._columns[_POSITIVE].astype(np.float64)
        below = np.cumsum(negative)
        pairs = float(below[-1]) * positive.sum() if len(below) else 0.0
        if not pairs > 0.0:
            return float("nan")
        wins = below - 0.5 * negative
        if len(self._columns) > 4:
            spread, lower, upper = self._moments()
            wins += negative * np.clip((upper - lower) / np.where(spread > 0.0, spread * 12.0**0.5, np.inf), -0.5, 0.5)
        return float(wins @ positive / pairs)

    def _average_precision(self) -> float:
        negative, positive = self._columns[: _POSITIVE + 1, ::-1]
        if not positive.any():
            return float("nan")
        if len(self._columns) > 4:
            return self._binned_precision(negative.astype(np.float64), positive.astype(np.float64))
        hits = np.cumsum(positive)
        every = np.cumsum(negative)
        every += hits
        precision = hits / np.maximum(every, 1)
        return float(precision @ positive.astype(np.float64) / hits[-1])

    def _binned_precision(self, negative: Floats, positive: Floats) -> float:
        """Bins are cut where that tells more; then positives of a piece lie at random among its negatives, one unit
        (the mean weight) each: a sum over positives in closed form, sum (h + i) / (n + c i) for i = 1..a."""
        counts = self._columns[:, ::-1]
        spread, below, above = (values[::-1] for values in self._moments())
        mixed = (negative > 0.0) & (positive > 0.0) & (spread > 0.0)
        single = mixed & (counts[_NEGATIVES] == 1) & (counts[_POSITIVES] == 1)
        dense = mixed & (np.minimum(counts[_NEGATIVES], counts[_POSITIVES]) >= 4)
        lean = 3.0**0.5 / np.where(spread > 0.0, spread, 1.0)
        middle = (below * counts[_NEGATIVES] + above * counts[_POSITIVES]) / (counts[_NEGATIVES] + counts[_POSITIVES])
        edges = np.linspace(1.0, -1.0, _PARTS + 1)
        width, tilt = (edges[:-1] - edges[1:]) / 2.0, (edges[:-1] ** 2 - edges[1:] ** 2) / 4.0
        first = np.zeros(_PARTS)
        first[0] = 1.0

        def cut(mass: Floats, mean: Floats, ahead: Booleans) -> Floats:
            shares = width + np.clip((mean - middle) * lean, -1.0, 1.0)[:, None] * tilt
            shares = np.where(dense[:, None], shares, first)
            shares = np.where((single & ~ahead)[:, None], first[::-1], shares)
            return (mass[:, None] * shares).reshape(-1)

        unit = (negative.sum() + positive.sum()) / self.count
        whole = np.repeat(positive, _PARTS) / unit
        loose = np.repeat(mixed & ~single, _PARTS)
        misses, gains = cut(negative, below, below > above) / unit, cut(positive, above, above >= below) / unit
        hits, every = np.cumsum(gains), np.cumsum(gains + misses)
        gained = gains > 0.0
        hits, every, gains, misses, whole, loose = (x[gained] for x in (hits, every, gains, misses, whole, loose))
        tied = gains * hits / every
        before, start = hits - gains, every - gains - misses
        step = 1.0 + misses / gains * (whole / (whole + 1.0))
        ratio = start / step
        spreads = gains / step + (before - ratio) / step * (digamma(ratio + gains + 1.0) - digamma(ratio + 1.0))
        return float(np.where(loose, spreads, tied).sum() / hits[-1])

    def _moments(self) -> tuple[Floats, Floats, Floats]:
        """Per bin: standard deviation of places (0: all the same), mean place of negatives, of positives."""
        counts = self._columns[_NEGATIVES : _POSITIVES + 1].astype(np.float64)
        places = self._columns[_NEGATIVE_PLACES : _POSITIVE_PLACES + 1].astype(np.float64)
        both = counts.sum(axis=0)
        variance = self._columns[_SQUARES] / both - (places.sum(axis=0) / both) ** 2
        spread = np.sqrt(np.where(variance > 1e-3, variance, 0.0))
        below, above = places / np.maximum(counts, 1.0)
        return spread, below, above

    def _settle(self) -> None:
        """Takes waiting outcomes into the columns."""
        if self._added:
            self._combine([], 1)

    def _combine(self, others: list[ScoreHistogram], sign: int) -> None:
        self._forget()
        for other in others:
            other._settle()
            self.count += sign * other.count
        parts = [(self._codes, self._columns), *((o._codes, sign * o._columns) for o in others if len(o._codes))]
        if self._added:
            parts.append(_rows(*(np.concatenate(column) for column in zip(*self._added, strict=True))))
            self._added, self._waiting = [], 0
        if self.count == 0:
            self._codes, self._columns = np.zeros(0, dtype=np.int64), np.zeros((4, 0), dtype=np.int64)
            return
        if self.count > EXACT or any(len(columns) > 4 for _, columns in parts):
            parts = [_binned(*part) for part in parts]
        codes = np.concatenate([codes for codes, _ in parts])
        columns = np.concatenate([columns for _, columns in parts], axis=1)
        order = np.argsort(codes, kind="stable")  # each part ascends: a merge of runs
        self._codes, self._columns = _reduced(codes[order], columns[:, order])


def _rows(codes: Ints, positive: Booleans, weight: Ints) -> tuple[Ints, Ints]:
    """Outcomes as exact columns, codes ascending. Where all weigh the same, code and truth are sorted as one number."""
    if (weight == weight[0]).all():
        both = np.sort(codes * 2 + positive)
        codes, positives, unit = both >> 1, both & 1, weight[0]
        negatives = 1 - positives
        return _reduced(codes, np.array([negatives * unit, positives * unit, negatives, positives]))
    order = np.argsort(codes)
    codes, positives, weight = codes[order], positive[order].astype(np.int64), weight[order]
    negatives = 1 - positives
    return _reduced(codes, np.array([negatives * weight, positives * weight, negatives, positives]))


def _binned(codes: Ints, columns: Ints) -> tuple[Ints, Ints]:
    """Exact columns as bins; bins as they are. A bin's number grows by one at and after each code of _ROUND."""
    if len(columns) > 4:
        return codes, columns
    steps = np.zeros(len(codes) + 1, dtype=np.int64)
    np.add.at(steps, np.searchsorted(codes, _ROUND, side="left"), 1)
    np.add.at(steps, np.searchsorted(codes, _ROUND, side="right"), 1)
    place = codes & ((1 << _PLACE_BITS) - 1)
    moments = columns[_NEGATIVES : _POSITIVES + 1] * place
    squares = (moments[0] + moments[1]) * place
    return _reduced((codes >> _PLACE_BITS) + np.cumsum(steps[:-1]), np.concatenate([columns, moments, squares[None]]))


def _reduced(codes: Ints, columns: Ints) -> tuple[Ints, Ints]:
    """One column per code, for ascending codes, without those that hold no outcomes."""
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    if len(starts) < len(codes):
        columns = np.add.reduceat(columns, starts, axis=1)
        codes = codes[starts]
    held = (columns[_NEGATIVES] + columns[_POSITIVES]) != 0
    if held.all():
        return codes, columns
    return codes[held], columns[:, held]
