"""Scores of all predictions by predicted class, labelled or not: what performance is estimated from without labels.

A count has a key: class that the score is of, predicted class (of an outcome: whether the class came true), and place
on a grid. The first EXACT distinct scores of a model have places of their own; later ones share fixed bins.
Invariant: counts are whole numbers by key, so they add and subtract exactly in any order, and a key is a function of
the model's predictions in order.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from stream.monitor.columns import Floats, Ints
from stream.monitor.scores import encode

EXACT = 1024
"""Distinct scores that a model's estimates tell apart exactly; the bins hold what comes up beyond."""

_PLACE_BITS, _ANSWER_BITS = 13, 10
_DROPPED = 16
"""Bits of a score's code that a bin drops: 128 bins per power of two of the distance to the nearer end remain."""

_HALF = 0x3F000000 >> _DROPPED
_OCTAVES = 20
"""Powers of two with bins, from 1/2 down and likewise from 1/2 up; what is nearer to 0 or 1 is in the end bins."""

_LOWEST = _HALF - 128 * _OCTAVES
_BINS = 2 * 128 * _OCTAVES + 1
PLACES = EXACT + _BINS
"""Places of a grid: exact scores first, then the bins."""

SETTLE = 4096
"""Keys that wait to be counted, at least; up to twice as many as there are distinct ones."""

_NONE: Ints = np.zeros(0, np.int64)


def key(code: int | Ints, answer: Ints, place: Ints) -> Ints:
    """The keys of scores."""
    return ((code << _ANSWER_BITS) + answer << _PLACE_BITS) + place


class Parts(Struct, frozen=True):
    """Keys taken apart."""

    code: Ints
    """Class that the score is of."""
    answer: Ints
    """Predicted class; of an outcome, 1 where the class came true."""
    place: Ints


def parts(keys: Ints) -> Parts:
    """What keys are made of.

    >>> taken = parts(key(2, np.array([1]), np.array([700])))
    >>> taken.code.tolist(), taken.answer.tolist(), taken.place.tolist()
    ([2], [1], [700])
    """
    rest = keys >> _PLACE_BITS
    return Parts(rest >> _ANSWER_BITS, rest & ((1 << _ANSWER_BITS) - 1), keys & ((1 << _PLACE_BITS) - 1))


class Grid:
    """Where scores lie: exact places in the order in which they came up, and bins."""

    def __init__(self, values: list[float] | None = None) -> None:
        self.values = values if values is not None else []
        """Scores that have a place of their own."""
        self._sort()

    def _sort(self) -> None:
        held = np.array(self.values, np.float64)
        self._order = np.argsort(held)
        self._sorted = held[self._order]

    def places(self, scores: Floats, *, new: bool = False) -> Ints:
        """The place of each score in [0, 1]; `new`: gives places to scores that come up, while there are some."""
        exact, known = self._find(scores)
        if new and len(self.values) < EXACT and not known.all():
            unknown = scores[~known]
            _, first = np.unique(unknown, return_index=True)
            room = EXACT - len(self.values)
            self.values += unknown[np.sort(first)[:room]].tolist()
            self._sort()
            exact, known = self._find(scores)
        if known.all():
            return exact
        return np.where(known, exact, EXACT + np.clip((encode(scores) >> _DROPPED) - _LOWEST, 0, _BINS - 1))

    def _find(self, scores: Floats) -> tuple[Ints, npt.NDArray[np.bool_]]:
        if not len(self._sorted):
            return np.zeros(len(scores), np.int64), np.zeros(len(scores), np.bool_)
        at = np.minimum(np.searchsorted(self._sorted, scores), len(self._sorted) - 1)
        return self._order[at].astype(np.int64, copy=False), self._sorted[at] == scores

    @property
    def positions(self) -> Floats:
        """Shape (PLACES,): the score that each place stands for; NaN for exact places that are not taken."""
        exact = np.full(EXACT, np.nan)
        exact[: len(self.values)] = self.values
        return np.concatenate([exact, _MIDDLES])


def _middles() -> Floats:
    """The score in the middle of each bin, by the codes of `scores.encode`; the end bins stand for 0 and 1."""
    codes = ((np.arange(_BINS) + _LOWEST) << _DROPPED) + (1 << (_DROPPED - 1))
    upper = codes > _HALF << _DROPPED
    bits = np.where(upper, 2 * (_HALF << _DROPPED) - codes, codes).astype(np.int32)
    near = bits.view(np.float32).astype(np.float64)
    middles = np.where(upper, 1.0 - near, near)
    middles[[0, -1]] = 0.0, 1.0
    return middles


_MIDDLES = _middles()


class Counted(Struct, frozen=True):
    """Counts as plain data; keys ascend."""

    keys: Ints
    counts: Ints


class Counts:
    """How many scores have each key."""

    __slots__ = ("_added", "_counts", "_keys", "_waiting", "total")

    def __init__(self, state: Counted | None = None) -> None:
        self._keys, self._counts = (_NONE, _NONE) if state is None else (state.keys, state.counts)
        self.total = int(self._counts.sum())
        """Scores counted."""
        self._added: list[Ints] = []
        self._waiting = 0

    def add(self, keys: Ints) -> None:
        """Counts scores; the array is kept, and not changed."""
        if len(keys):
            self._added.append(keys)
            self._waiting += len(keys)
            self.total += len(keys)
            if self._waiting >= max(SETTLE, 2 * len(self._keys)):
                self._settle()

    def merge(self, other: Counts, sign: int = 1) -> None:
        """Adds what another one has counted, or with sign -1 takes it away."""
        other._settle()
        self._settle()
        self._put([(other._keys, sign * other._counts)])
        self.total += sign * other.total

    def copy(self) -> Counts:
        """An independent one that has counted the same."""
        return Counts(self.state())

    def state(self) -> Counted:
        """As plain data: equal for equal counts."""
        self._settle()
        return Counted(self._keys, self._counts)

    def _settle(self) -> None:
        if self._added:
            keys, counts = np.unique(np.concatenate(self._added), return_counts=True)
            self._added, self._waiting = [], 0
            self._put([(keys, counts.astype(np.int64, copy=False))])

    def _put(self, others: Iterable[tuple[Ints, Ints]]) -> None:
        rows = [(self._keys, self._counts), *others]
        keys = np.concatenate([each for each, _ in rows])
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], np.concatenate([each for _, each in rows])[order]
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        if len(starts) < len(keys):
            keys, counts = keys[starts], np.add.reduceat(counts, starts)
        held = counts != 0
        self._keys, self._counts = (keys, counts) if held.all() else (keys[held], counts[held])
