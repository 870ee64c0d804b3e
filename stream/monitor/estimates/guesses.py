"""Scores of all predictions by predicted class, labelled or not: what performance is estimated from without labels.

A count has a key: class that the score is of, predicted class (of an outcome: whether the class came true), and place
on a grid. The first EXACT distinct scores of a model have places of their own; later ones share fixed bins.
Invariant: counts are whole numbers by key, so they add and subtract exactly in any order, and a key is a function of
the model's predictions in order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from stream.monitor.basis.columns import Floats, Ints

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

SETTLE = 8192
"""Keys that wait to be counted, at least; up to four times as many as there are distinct ones."""

_DENSE = 1 << 16
"""Keys that lie within so many are counted by their distance from the least: faster than sorting."""

_SPARE = 8
"""Slots of a hash table for each score in it, at least."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

_NONE: Ints = np.zeros(0, np.int64)


def key(code: int | Ints, answer: Ints | npt.NDArray[np.bool_], place: int | Ints) -> Ints:
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
        self.values: list[float] = []
        """Scores that have a place of their own."""
        self._slots: npt.NDArray[np.int16] = np.full(_SPARE, -1, np.int16)
        """By the hash of a score the place of one that has it; -1: none has."""
        self._scores: Floats = np.full(1, np.nan)
        """The values, and NaN for -1."""
        self._ranks: tuple[int, Ints] | None = None
        self._take(values or [])

    def places(self, scores: Floats, *, new: bool = False) -> Ints:
        """The place of each score in [0, 1]; `new`: gives places to scores that come up, while there are some."""
        exact, known = self._find(scores)
        if new and len(self.values) < EXACT and not known.all():
            unknown = scores[~known]
            _, first = np.unique(unknown, return_index=True)
            self._take(unknown[np.sort(first)[: EXACT - len(self.values)]].tolist())
            exact, known = self._find(scores)
        if known.all():
            return exact.astype(np.int64)
        places = _bins(scores)
        np.copyto(places, exact, where=known)
        return places

    def _find(self, scores: Floats) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.bool_]]:
        """By score its place among the exact ones, if it has one, and whether it has."""
        place = self._slots.take(self._slot_of(scores))
        known = self._scores.take(place) == scores
        rows = np.flatnonzero((place >= 0) > known)
        if len(rows):
            # Another score has the same hash: few do, and are searched for.
            others = scores[rows]
            place[rows] = found = self._order.take(np.searchsorted(self._scores[self._order], others), mode="clip")
            known[rows] = self._scores.take(found) == others
        return place, known

    def _slot_of(self, scores: Floats) -> Ints:
        """Hashes of scores: the first bits of a product (Knuth, TAOCP 3, §6.4), the same for 0 and -0."""
        bits = (scores + 0.0).view(np.uint64)
        bits *= _GOLDEN
        bits >>= np.uint64(65 - len(self._slots).bit_length())
        return bits.view(np.int64)

    def _take(self, values: list[float]) -> None:
        """Gives places to scores that have none, each once."""
        first = len(self.values)
        self.values = self.values + values
        self._scores = np.array([*self.values, np.nan])
        self._order = np.argsort(self._scores[:-1]).astype(np.int16)
        size = len(self.values) * _SPARE
        if size > len(self._slots):
            self._slots, first = np.full(1 << (size - 1).bit_length(), -1, np.int16), 0
        self._slots[self._slot_of(self._scores[first:-1])] = np.arange(first, len(self.values))

    @property
    def positions(self) -> Floats:
        """Shape (PLACES,): the score that each place stands for; NaN for exact places that are not taken."""
        exact = np.full(EXACT, np.nan)
        exact[: len(self.values)] = self.values
        return np.concatenate([exact, _MIDDLES])

    @property
    def ranks(self) -> Ints:
        """Shape (PLACES,): places in order of their positions, equal ones with equal ranks."""
        if self._ranks is None or self._ranks[0] != len(self.values):
            order: Ints = np.unique(self.positions, return_inverse=True)[1].astype(np.int64, copy=False)
            self._ranks = len(self.values), order
        return self._ranks[1]


def _bins(scores: Floats) -> Ints:
    """The place of each score's bin: its code as `scores.encode` has it, without the bits that a bin drops."""
    bits = np.minimum(scores, 1.0 - scores).astype(np.float32).view(np.int32)
    codes = np.where(scores > 0.5, (_HALF << (_DROPPED + 1)) - bits, bits)
    codes >>= _DROPPED
    np.clip(codes, _LOWEST, _LOWEST + _BINS - 1, out=codes)
    return np.add(codes, EXACT - _LOWEST, dtype=np.int64)


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


class Batch:
    """Keys on their way into several counts: they are counted once, for all of them, and none come in after that."""

    __slots__ = ("_added", "_counted", "holders")

    def __init__(self, holders: int) -> None:
        self.holders = holders
        """How many counts it is on its way into."""
        self._added: list[Ints] = []
        self._counted: tuple[Ints, Ints] | None = None

    @property
    def open(self) -> bool:
        """Whether keys may still come."""
        return self._counted is None

    def add(self, keys: Ints) -> None:
        """Takes keys; the array is kept, and not changed."""
        self._added.append(keys)

    def counted(self) -> tuple[Ints, Ints]:
        """The distinct keys, ascending, and how often each came."""
        if self._counted is None:
            keys = self._added[0] if len(self._added) == 1 else np.concatenate(self._added)
            self._counted, self._added = _tally(keys), []
        return self._counted


def _tally(keys: Ints) -> tuple[Ints, Ints]:
    least = int(keys.min())
    if int(keys.max()) - least < _DENSE:
        dense = np.bincount(keys - least)
        found = np.flatnonzero(dense)
        return found + least, dense[found]
    distinct, counts = np.unique(keys, return_counts=True)
    return distinct, counts.astype(np.int64, copy=False)


class Counts:
    """How many scores have each key."""

    __slots__ = ("_batches", "_counts", "_keys", "_waiting", "total")

    def __init__(self, state: Counted | None = None) -> None:
        self._keys, self._counts = (_NONE, _NONE) if state is None else (state.keys, state.counts)
        self.total = int(self._counts.sum())
        """Scores counted."""
        self._batches: dict[int, Batch] = {}
        """What is not taken in yet, by identity."""
        self._waiting = 0

    def add(self, keys: Ints) -> None:
        """Counts scores; the array is kept, and not changed."""
        add([self], keys)

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
        if self._batches:
            batches, self._batches, self._waiting = self._batches.values(), {}, 0
            self._put([batch.counted() for batch in batches])

    def _put(self, others: list[tuple[Ints, Ints]]) -> None:
        rows = [each for each in ((self._keys, self._counts), *others) if len(each[0])]
        if not rows:
            return
        least = min(int(keys[0]) for keys, _ in rows)
        span = max(int(keys[-1]) for keys, _ in rows) + 1 - least
        if span <= _DENSE:
            dense = np.zeros(span, np.int64)
            for keys, counts in rows:
                dense[keys - least] += counts
            found = np.flatnonzero(dense)
            self._keys, self._counts = found + least, dense[found]
            return
        keys = np.concatenate([each for each, _ in rows])
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], np.concatenate([each for _, each in rows])[order]
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        keys, counts = keys[starts], np.add.reduceat(counts, starts)
        held = counts != 0
        self._keys, self._counts = keys[held], counts[held]


def add(holders: list[Counts], keys: Ints) -> None:
    """Counts scores in each of `holders`, at the cost of one; the array is kept, and not changed."""
    if not len(keys):
        return
    batch = next(reversed(holders[0]._batches.values()), None)
    if batch is None or not (batch.open and _shared(batch, holders)):
        batch = Batch(len(holders))
    batch.add(keys)
    for counts in holders:
        counts._batches[id(batch)] = batch
        counts._waiting += len(keys)
        counts.total += len(keys)
    for counts in holders:
        if counts._waiting >= max(SETTLE, 4 * len(counts._keys)):
            counts._settle()


def _shared(batch: Batch, holders: list[Counts]) -> bool:
    """Whether a batch is on its way into just these."""
    return batch.holders == len(holders) and all(id(batch) in counts._batches for counts in holders)
