"""Guards: rules with a stated budget of false alarms, the mean number of values between two of them.

A guard learns what is normal from a reference and from the healthy values since, ranks each value among them and bets
on the ranks. Where neighbouring values resemble each other it bets on means of 100, and the budget holds only
asymptotically. Invariant: alarms and state are functions of the values in order, not of how they are cut into calls.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import msgspec
import numpy as np
from msgspec import Struct, structs

from stream.monitor import bets
from stream.monitor.bets import Table
from stream.monitor.columns import Floats, Ints
from stream.monitor.esr import Esr
from stream.monitor.occurrences import Detection
from stream.monitor.ranks import History, draws
from stream.monitor.reference import Feature, Numeric

Kind: TypeAlias = Literal["flags", "numbers", "bins", "categories"]

FIRST = 1_000
"""Values that a guard learns from before it bets, unless the reference says how many."""

MEAN_OF = 100
"""Values in a mean where neighbours resemble each other."""

MEANS = 100
"""Means that are learned from."""

MAX_BINS = 1_024

TOP = 7
"""Categories that are bet on each by itself; the rest together, and unseen, missing and invalid ones together."""

_RECENT = 256
"""Newest values kept to tell how large a change is."""

_PIECE, _LARGEST_PIECE = 256, 1_024
"""Values looked at in one go: few after an alarm, for what follows it is looked at again."""


class Scheme(Struct, frozen=True):
    """What a guard watches and how."""

    kind: Kind
    gamma: float
    """Mean number of values to a false alarm, the guard's share of the budget counted in."""
    direction: str = "both"
    tolerance: float = 0.0
    first: int = FIRST
    seed: int = 0
    feature: Feature | None = None
    """Of bins and categories: where the reference's values fell."""
    reference: str = ""
    """The reference's version."""


class State(Struct):
    """What a guard has learned and staked; arrays as bytes."""

    reference: str = ""
    samples: int = 0
    ready: bool = False
    means: bool = False
    """Bets on means of values."""
    frozen: bool = False
    """An alarm was raised: values since may not be healthy and are not learned."""
    held: bytes = b""
    """Values to learn from; later those of an unfinished mean."""
    edges: bytes = b""
    worth: bytes = b""
    """What a value in each bin counts as in a mean."""
    origin: bytes = b""
    """Counts when the guard was ready, which decide its bets."""
    counts: bytes = b""
    fresh: bytes = b""
    recent: bytes = b""
    level: bytes = b""
    tail: bytes = b""


class Guard:
    """One guard on one signal.

    >>> rng = np.random.default_rng(1)
    >>> guard = Guard(Scheme("flags", 1e6))
    >>> values = np.concatenate([rng.random(20_000) < 0.1, rng.random(2_000) < 0.3]).astype(float)
    >>> found = guard.feed(values, np.zeros(len(values)))
    >>> 20_000 < found[0].samples < 20_200
    True
    """

    def __init__(self, scheme: Scheme) -> None:
        self.scheme = scheme
        self._state = State(reference=scheme.reference)
        self._held: Floats = np.empty(0)
        self._recent: Ints = np.empty(0, np.int64)
        self._edges: Floats = np.empty(0)
        self._worth: Floats = np.empty(0)
        self._origin: Ints = np.empty(0, np.int64)
        self._groups: Ints | None = None
        if scheme.kind == "categories":
            assert scheme.feature is not None
            self._groups = _groups(scheme.feature)
        self._history = History(self._origin)
        self._table: Table | None = None
        self._esr: Esr | None = None
        self._bound = scheme.gamma

    @property
    def samples(self) -> int:
        """Values fed so far."""
        return self._state.samples

    @property
    def words(self) -> str:
        """How the budget is to be understood."""
        if self._state.means:
            return f"means of {MEAN_OF}: values depend on those before, so the false-alarm budget is asymptotic"
        return ""

    def feed(self, values: Floats, times: Floats) -> list[Detection]:
        """Takes values in order; `times` are their tick ends. What is not finite, or has no bin, is left out.

        Of `flags` 0 and 1 are values, of `bins` and `categories` columns of the feature's block, from 0.
        """
        rows = np.flatnonzero(np.isfinite(values))
        if self.scheme.feature is not None:
            bins = self.scheme.feature.bins if self.scheme.kind == "bins" else len(self._groups_of)
            rows = rows[(values[rows] >= 0) & (values[rows] < bins)]
        fed = values[rows]
        if self._groups is not None:
            fed = self._groups[fed.astype(np.int64)].astype(np.float64)
        found: list[Detection] = []
        start, size = 0, _LARGEST_PIECE
        while start < len(fed):
            if not self._state.ready:
                start += self._learn(fed[start:])
                continue
            took, alarm = self._bet(fed[start : start + size])
            start += took
            size = _PIECE if alarm else min(2 * size, _LARGEST_PIECE)
            if alarm is not None and alarm[0] != alarm[1]:  # else the draws alone have won, on a constant
                row = int(rows[start - 1])
                found.append(Detection(float(times[row]), row, self._state.samples, *alarm))
        return found

    @property
    def _groups_of(self) -> Ints:
        assert self._groups is not None
        return self._groups

    # -- learning ------------------------------------------------------------------------------------------------

    def _learn(self, values: Floats) -> int:
        """Takes values to learn from; returns how many it took."""
        state = self._state
        needed = max(self.scheme.first, MEAN_OF * MEANS) if state.means else self.scheme.first
        took = values[: needed - len(self._held)]
        self._held = np.concatenate((self._held, took))
        state.samples += len(took)
        if len(self._held) < needed:
            return len(took)
        if not state.means and self._dependent(self._held):
            state.means = True
            if needed < MEAN_OF * MEANS:
                return len(took)
        self._settle()
        return len(took)

    def _settle(self) -> None:
        held = self._held
        self._held = np.empty(0)
        if self._state.means:
            whole = len(held) // MEAN_OF * MEAN_OF
            self._held = held[whole:]
            self._settle_numbers(_means(self._numbers(held[:whole])))
        elif self.scheme.kind == "numbers":
            self._settle_numbers(held)
        elif self.scheme.kind == "flags":
            self._worth = np.array([0.0, 1.0])
            self._origin = np.bincount(held.astype(np.int64), minlength=2)
        else:
            codes = held.astype(np.int64)
            self._worth = self._worths()
            self._origin = self._known + np.bincount(codes, minlength=len(self._known))
        self._state.ready = True
        self._open(History(self._origin.copy()))

    def _settle_numbers(self, values: Floats) -> None:
        """Bins between quantiles of values; a bin of its own for each when they are few."""
        points = np.sort(values)
        at = np.arange(1, MAX_BINS) * len(points) // MAX_BINS
        inner = points if len(points) < MAX_BINS else points[at]
        # What lies above all that was learned from has a bin too: else a constant could rise unseen.
        self._edges = np.unique(np.concatenate([points[:1], inner, np.nextafter(points[-1:], np.inf)]))
        codes = np.searchsorted(self._edges, points, side="right")
        self._origin = np.bincount(codes, minlength=len(self._edges) + 1)
        middle = np.concatenate([self._edges[:1], self._edges])
        with np.errstate(over="ignore"):
            sums = np.bincount(codes, points, minlength=len(middle))
        self._worth = np.where(self._origin > 0, sums / np.maximum(self._origin, 1), middle)

    def _open(self, history: History, level: Floats | None = None, tail: Ints | None = None) -> None:
        scheme, means = self.scheme, self._state.means
        self._history = history
        ranked = means or scheme.kind in ("numbers", "bins")
        if ranked:
            self._table = bets.of_ranks(scheme.direction, scheme.tolerance)
        else:
            shares = (self._origin + 0.5) / (self._origin.sum() + 0.5 * len(self._origin))
            self._table = bets.of_groups(shares, scheme.direction, scheme.tolerance)
        self._esr = Esr(self._table, level, tail)
        self._bound = scheme.gamma / MEAN_OF if means else scheme.gamma

    @property
    def _known(self) -> Ints:
        """The reference's counts."""
        assert self.scheme.feature is not None
        counts = np.array(self.scheme.feature.counts, np.int64)
        if self._groups is None:
            return counts[: self.scheme.feature.bins]
        return np.bincount(self._groups, counts).astype(np.int64)

    def _worths(self) -> Floats:
        """What each code counts as: a bin its position, the first category 1 and the others 0."""
        if isinstance(self.scheme.feature, Numeric):
            return np.array(self.scheme.feature.positions)
        worth: Floats = (np.arange(len(self._known)) == 0).astype(np.float64)
        return worth

    def _numbers(self, values: Floats) -> Floats:
        numbers: Floats = values if self.scheme.feature is None else self._worths()[values.astype(np.int64)]
        return numbers

    def _dependent(self, values: Floats) -> bool:
        """Whether neighbours resemble each other: lag-1 correlation of ranks beyond four standard errors."""
        numbers = self._numbers(values)
        ranks = np.searchsorted(np.sort(numbers), numbers).astype(np.float64)
        ranks -= ranks.mean()
        spread = float(np.dot(ranks, ranks))
        return spread > 0 and abs(float(np.dot(ranks[1:], ranks[:-1]))) / spread > 4.0 / math.sqrt(len(ranks))

    # -- betting -------------------------------------------------------------------------------------------------

    def _bet(self, values: Floats) -> tuple[int, tuple[float, float] | None]:
        """Bets on values up to the first alarm: how many it took, and the mean before and after if there was one."""
        state = self._state
        if not state.means:
            codes = self._codes(values)
            stop, change = self._decide(codes, state.samples)
            state.samples += stop
            return stop, change
        held = np.concatenate((self._held, self._numbers(values)))
        whole = len(held) // MEAN_OF
        number = (state.samples - len(self._held)) // MEAN_OF
        stop, change = self._decide(self._codes(_means(held[: whole * MEAN_OF])), number)
        took = len(values) if change is None else stop * MEAN_OF - len(self._held)
        self._held = held[stop * MEAN_OF :] if change is None else np.empty(0)
        state.samples += took
        return took, change

    def _codes(self, values: Floats) -> Ints:
        if self._state.means or self.scheme.kind == "numbers":
            codes: Ints = np.searchsorted(self._edges, values, side="right").astype(np.int64)
            return codes
        return values.astype(np.int64)

    def _decide(self, codes: Ints, number: int) -> tuple[int, tuple[float, float] | None]:
        """`number`: how many came before, which the draws go by."""
        assert self._esr is not None
        assert self._table is not None
        drawn = draws(number, len(codes), self.scheme.seed)
        before = self._history.copy()
        ranks = self._history.ranks(codes, drawn, frozen=self._state.frozen)
        cells = np.searchsorted(self._table.cuts, ranks, side="right").astype(np.int64)
        at = self._esr.feed(cells, self._bound)
        if at is None:
            self._recent = np.concatenate((self._recent, codes))[-_RECENT:]
            return len(codes), None
        if not self._state.frozen:
            before.ranks(codes[: at + 1], drawn[: at + 1])
            self._history, self._state.frozen = before, True
        change = self._change(np.concatenate((self._recent, codes[: at + 1]))[-_RECENT:])
        self._recent = np.empty(0, np.int64)
        return at + 1, change

    def _change(self, codes: Ints) -> tuple[float, float]:
        """Mean before and after: a change is taken to begin where the sum of what follows is farthest from usual."""
        shares = self._origin / self._origin.sum()
        if self._groups is not None and not self._state.means:
            # Of categories the share that has changed most.
            now = np.bincount(codes, minlength=len(shares)) / len(codes)
            at = int(np.argmax(np.abs(now - shares)))
            return float(shares[at]), float(now[at])
        usual = float(np.dot(shares, self._worth))
        sums = np.cumsum((self._worth[codes] - usual)[::-1])
        length = int(np.argmax(np.abs(sums) / np.sqrt(np.arange(1, len(sums) + 1)))) + 1
        return usual, usual + float(sums[length - 1]) / length

    # -- storing -------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """The state, for a checkpoint."""
        filled = structs.replace(
            self._state,
            held=self._held.tobytes(),
            edges=self._edges.tobytes(),
            worth=self._worth.tobytes(),
            origin=self._origin.tobytes(),
            counts=self._history.counts.tobytes(),
            fresh=self._history.fresh.tobytes(),
            recent=self._recent.tobytes(),
            level=b"" if self._esr is None else self._esr.level.tobytes(),
            tail=b"" if self._esr is None else self._esr.tail.tobytes(),
        )
        return msgspec.msgpack.encode(filled)

    def restore(self, snapshot: bytes) -> None:
        """Goes on from a snapshot of a guard of the same scheme; one of another reference is left aside."""
        state = msgspec.msgpack.decode(snapshot, type=State)
        if state.reference != self.scheme.reference:
            return
        self._state = state
        self._held, self._edges, self._worth = (_floats(each) for each in (state.held, state.edges, state.worth))
        self._origin, self._recent = _ints(state.origin), _ints(state.recent)
        if state.ready:
            self._open(History(_ints(state.counts), _ints(state.fresh)), _floats(state.level), _ints(state.tail))
        state.held = state.edges = state.worth = state.origin = state.counts = state.fresh = b""
        state.recent = state.level = state.tail = b""


def _groups(feature: Feature) -> Ints:
    """For each column of a category's block the group that is bet on."""
    known = feature.bins - 1
    groups = np.minimum(np.arange(feature.bins + feature.EXTRA), min(TOP, known))
    groups[known:] = min(TOP, known) + 1  # unseen, missing, invalid
    return groups.astype(np.int64)


def _means(values: Floats) -> Floats:
    """Means of MEAN_OF values each, summed in order."""
    if not len(values):
        return np.empty(0)
    with np.errstate(over="ignore"):
        sums: Floats = np.add.accumulate(values.reshape(-1, MEAN_OF) / MEAN_OF, axis=1)[:, -1]
    return sums


def _floats(content: bytes) -> Floats:
    return np.frombuffer(content, np.float64).copy()


def _ints(content: bytes) -> Ints:
    return np.frombuffer(content, np.int64).copy()
