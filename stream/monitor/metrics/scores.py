"""Scores of outcomes by truth, from which ROC AUC and average precision are read.

Up to EXACT outcomes every distinct score is kept; beyond, scores share fixed bins, with moments inside a bin
so that order within it is estimated, and the BEST highest scores, on which precision hangs most, are kept besides.
Invariant: what is read and stored is a function of the outcomes alone, whatever the order, slicing, merging and
subtracting that led to it; only where `incomplete` says so must it be merged again from its parts.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from msgspec import Struct

from stream.monitor.basis import precision
from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.basis.exact import Booleans
from stream.monitor.basis.precision import NEGATIVE, NEGATIVES, POSITIVE, POSITIVES

EXACT = 4096
"""Largest number of outcomes of which every score is kept (to single precision, from the nearer of 0 and 1)."""

UNMERGED = 8 * EXACT
"""Outcomes of other histograms from which on they are merged, though nothing is read: few large merges cost less."""

BEST = 1024
"""Number of the highest scores that are read exactly, besides those equal to the last of them, when there are bins."""

_BEST_KEPT, _BEST_MOST = 2 * BEST, 4 * BEST
"""More than BEST are at hand, so that a window can lose panes: cut to the first when there are more than the second."""

_ONE = 0x7E000000
"""Twice the single-precision bits of 0.5: the code of the score 1."""

_PLACE_BITS = 16
"""Bits of a code that a bin drops, and moments tell apart. 7 bits of the mantissa stay: 128 bins per power of two."""


class ScoreState(Struct, frozen=True):
    """A histogram as plain data. `codes` ascend; `columns` has a row per quantity and a column per code. Where these
    are bins, `best` and `best_columns` are the highest scores, not binned."""

    codes: Ints
    columns: Ints
    best: Ints
    best_columns: Ints


class _Best(Struct, frozen=True):
    """All outcomes whose codes are at least `floor`, as exact columns."""

    codes: Ints
    columns: Ints
    floor: int

    @property
    def count(self) -> int:
        return int(self.columns[NEGATIVES : POSITIVES + 1].sum())

    def cut(self, most: int, kept: int) -> _Best:
        """The `kept` highest and those equal to the last of them, if there are more than `most`."""
        tail = np.cumsum((self.columns[NEGATIVES] + self.columns[POSITIVES])[::-1])
        if not len(tail) or tail[-1] <= most:
            return self
        start = len(tail) - 1 - int(np.searchsorted(tail, kept))
        return _Best(self.codes[start:], self.columns[:, start:], int(self.codes[start]))


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

    __slots__ = (
        *(
            "_added",
            "_auc",
            "_best",
            "_codes",
            "_columns",
            "_merged",
            "_precision",
            "_unmerged",
            "_waiting",
            "_weights",
        ),
        "count",
    )

    def __init__(self) -> None:
        self.count = 0
        """Outcomes inside."""
        self._codes: Ints = np.zeros(0, dtype=np.int64)
        self._columns: Ints = np.zeros((4, 0), dtype=np.int64)
        self._best: _Best | None = None
        self._added: list[tuple[Ints, Booleans, Ints]] = []
        self._waiting = 0
        self._merged: list[ScoreHistogram] = []
        self._unmerged = 0
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
        """Adds all outcomes of another histogram: when there are many of them, or something is read."""
        other._settle()
        if not other.count:
            return
        self._forget()
        self.count += other.count
        self._merged.append(other.copy())
        self._unmerged += other.count
        if self._unmerged >= UNMERGED:
            self._settle()

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
        twin._best = self._best
        twin._merged, twin._unmerged = list(self._merged), self._unmerged
        return twin

    @property
    def incomplete(self) -> bool:
        """Whether subtracting left too few outcomes whose scores are known: merge the parts anew."""
        self._settle()
        return self._best is not None and (0 < self.count <= EXACT or self._best.count < BEST)

    def to_state(self) -> ScoreState:
        """The content as plain data: equal for equal outcomes."""
        self._settle()
        best = _Best(self._codes[:0], self._columns[:4, :0], 0) if self._best is None else self._best.cut(BEST, BEST)
        return ScoreState(self._codes, self._columns, best.codes, best.columns)

    @classmethod
    def from_state(cls, state: ScoreState) -> ScoreHistogram:
        """The histogram that gave the state."""
        made = cls()
        made._codes, made._columns = state.codes, state.columns
        made.count = int(state.columns[NEGATIVES : POSITIVES + 1].sum())
        if len(state.columns) > 4:
            made._best = _Best(state.best, state.best_columns, int(state.best[0]))
        return made

    def weights(self) -> tuple[int, int]:
        """Total weight of negatives and of positives, in WEIGHT_UNIT."""
        self._settle()
        if self._weights is None:
            negative, positive = self._columns[: POSITIVE + 1].sum(axis=1).tolist()
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
        negative, positive = self._columns[NEGATIVE], self._columns[POSITIVE].astype(np.float64)
        below = np.cumsum(negative)
        pairs = float(below[-1]) * positive.sum() if len(below) else 0.0
        if not pairs > 0.0:
            return float("nan")
        wins = below - 0.5 * negative
        if len(self._columns) > 4:
            spread, lower, upper = precision.moments(self._columns)
            wins += negative * np.clip((upper - lower) / np.where(spread > 0.0, spread * 12.0**0.5, np.inf), -0.5, 0.5)
        return float(wins @ positive / pairs)

    def _average_precision(self) -> float:
        if not self._columns[POSITIVE].any():
            return float("nan")
        if self._best is None:
            gained, hits, _ = precision.gains(self._columns)
            return gained / hits
        best = self._best.cut(BEST, BEST)
        gained, hits, every = precision.gains(best.columns)
        codes, columns = _binned(best.codes, best.columns)
        _, rest = _reduced(*_sorted([(self._codes, self._columns), (codes, -columns)]))
        unit = precision.dispersion(best.columns) * float(rest[: POSITIVE + 1].sum()) / max(self.count - best.count, 1)
        return (gained + precision.rest_gains(rest, hits, every, unit)) / (hits + float(rest[POSITIVE].sum()))

    def _settle(self) -> None:
        """Takes waiting outcomes into the columns."""
        if self._added or self._merged:
            self._combine([], 1)

    def _combine(self, others: list[ScoreHistogram], sign: int) -> None:
        self._forget()
        self.count += sign * sum(other.count for other in others)
        signed = [*((other, sign) for other in others), *((other, 1) for other in self._merged)]
        self._merged, self._unmerged = [], 0
        parts, known = [(self._codes, self._columns)], [self._exact]
        for other, each in signed:
            other._settle()
            if len(other._codes):
                parts.append((other._codes, each * other._columns))
            best = other._exact
            known.append(_Best(best.codes, each * best.columns, best.floor))
        if self._added:
            added = _rows(*(np.concatenate(column) for column in zip(*self._added, strict=True)))
            parts.append(added)
            known.append(_Best(*added, 0))
            self._added, self._waiting = [], 0
        self._best = None
        if self.count == 0:
            self._codes, self._columns = np.zeros(0, dtype=np.int64), np.zeros((4, 0), dtype=np.int64)
            return
        if self.count > EXACT or any(len(columns) > 4 for _, columns in parts):
            parts = [_binned(*part) for part in parts]
            self._best = _best_of(known)
        self._codes, self._columns = _reduced(*_sorted(parts))

    @property
    def _exact(self) -> _Best:
        """The outcomes whose scores are known."""
        return _Best(self._codes, self._columns, 0) if self._best is None else self._best


def _best_of(parts: list[_Best]) -> _Best:
    """What is known of the highest scores of all parts: nothing below the highest floor."""
    floor = max(part.floor for part in parts)
    starts = [int(np.searchsorted(part.codes, floor)) for part in parts]
    above = [(part.codes[start:], part.columns[:, start:]) for part, start in zip(parts, starts, strict=True)]
    return _Best(*_reduced(*_sorted(above)), floor).cut(_BEST_MOST, _BEST_KEPT)


def _sorted(parts: list[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
    """Parts, each with ascending codes, as one; equal codes lie side by side."""
    codes = np.concatenate([codes for codes, _ in parts])
    order = np.argsort(codes, kind="stable")  # a merge of runs
    return codes[order], np.concatenate([columns for _, columns in parts], axis=1)[:, order]


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
    moments = columns[NEGATIVES : POSITIVES + 1] * place
    squares = (moments[0] + moments[1]) * place
    return _reduced((codes >> _PLACE_BITS) + np.cumsum(steps[:-1]), np.concatenate([columns, moments, squares[None]]))


def _reduced(codes: Ints, columns: Ints) -> tuple[Ints, Ints]:
    """One column per code, for ascending codes, without those that hold no outcomes."""
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    if len(starts) < len(codes):
        columns = np.add.reduceat(columns, starts, axis=1)
        codes = codes[starts]
    held = (columns[NEGATIVES] + columns[POSITIVES]) != 0
    if held.all():
        return codes, columns
    return codes[held], columns[:, held]
