"""Guards: rules with a stated budget of false alarms, the mean number of values between two of them.

A guard learns what is normal from a reference and from the healthy values since, ranks each value among them and bets
on the ranks. Where neighbouring values resemble each other it bets on means of 100, and the budget holds only
asymptotically. Invariant: alarms and state are functions of the values in order, not of how they are cut into calls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import structs

from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.features.reference import Feature, Numeric
from stream.monitor.guards import bets, esr
from stream.monitor.guards.bets import Table
from stream.monitor.guards.esr import Esr
from stream.monitor.guards.guard_state import Scheme, Stake, State
from stream.monitor.guards.ranks import History, draws, ranks
from stream.monitor.rules.occurrences import Detection

MEAN_OF = 100
"""Values in a mean where neighbours resemble each other."""

MEANS = 100
"""Means that are learned from."""

MAX_BINS = 1_024

TOP = 7
"""Categories that are bet on each by itself; the rest together, and unseen, missing and invalid ones together."""

_RECENT = 256
"""Newest values kept to tell how large a change is."""

REST = 60.0
"""Seconds after an alarm in which a guard does not look: its alert is firing, and will not resolve for longer."""

_PARTS = 32
"""Runs of values that they are kept in, at most."""

_PIECE, _LARGEST_PIECE = 256, 4_096
"""Values looked at in one go: few after an alarm, for what follows it is looked at again."""


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
        self._recent: list[Ints] = []
        self._edges: Floats = np.empty(0)
        self._worth: Floats = np.empty(0)
        self._origin: Ints = np.empty(0, np.int64)
        self._groups: Ints | None = None
        if scheme.kind == "categories":
            self._groups = _groups(self._feature)
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

    def feed(self, values: Floats | Ints, times: Floats) -> list[Detection]:
        """Takes values in order; `times` are their tick ends, ascending. What is not finite, or has no bin, is left
        out, and so is what comes within REST of an alarm.

        Of `flags` 0 and 1 are values, of `bins` and `categories` columns of the feature's block, from 0.
        """
        return feed_together([self], [values], [times])[0]

    def usable(self, values: Floats | Ints) -> tuple[Floats | Ints, Ints | None]:
        """What of some values is bet on, and their rows; None: all of them."""
        if self.scheme.feature is None:
            finite = np.isfinite(values)
            rows = None if finite.all() else np.flatnonzero(finite)
        else:
            bins = self._feature.bins if self._groups is None else len(self._groups)
            inside = len(values) == 0 or (values.min() >= 0 and values.max() < bins)
            rows = None if inside else np.flatnonzero((values >= 0) & (values < bins))
        fed = values if rows is None else values[rows]
        if self.scheme.feature is not None:
            fed = fed.astype(np.int64, copy=False)
            fed = fed if self._groups is None else self._groups.take(fed)
        return fed, rows

    @property
    def _feature(self) -> Feature:
        assert self.scheme.feature is not None
        return self.scheme.feature

    def rest(self, until: float) -> None:
        """Leaves out what comes in ticks that end until then."""
        self._state.rest = until

    def skip(self, times: Floats) -> int:
        """How many of the next values are left out, by the ends of their ticks."""
        if not len(times) or times[0] > self._state.rest:
            return 0
        count = int(np.searchsorted(times, self._state.rest, side="right"))
        self._state.samples += count
        return count

    # -- learning ------------------------------------------------------------------------------------------------

    def learn(self, values: Floats | Ints) -> int:
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
            self._origin = np.bincount(codes, minlength=self._width)
            # Categories are watched each by itself for being the most frequent of the reference, where chance has made
            # them more so than they are. What it counted would look like a change from the first value on.
            if self._groups is None:
                self._origin += np.array(self._feature.counts[: self._width], np.int64)
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
        fits = level is not None and len(level) == len(self._table.weights)
        self._esr = Esr(self._table, level, tail) if fits else Esr(self._table)
        self._bound = scheme.gamma / MEAN_OF if means else scheme.gamma

    @property
    def _width(self) -> int:
        """Number of codes: bins, or groups of categories."""
        return self._feature.bins if self._groups is None else int(self._groups[-1]) + 1

    def _worths(self) -> Floats:
        """What each code counts as: a bin its position, the first category 1 and the others 0."""
        if isinstance(self.scheme.feature, Numeric):
            return np.array(self.scheme.feature.positions)
        worth: Floats = (np.arange(self._width) == 0).astype(np.float64)
        return worth

    def _numbers(self, values: Floats | Ints) -> Floats:
        if self.scheme.feature is None:
            return values.astype(np.float64, copy=False)
        return self._worths()[values.astype(np.int64)]

    def _dependent(self, values: Floats) -> bool:
        """Whether neighbours resemble each other: lag-1 correlation of ranks beyond four standard errors."""
        numbers = self._numbers(values)
        ranks = np.searchsorted(np.sort(numbers), numbers).astype(np.float64)
        ranks -= ranks.mean()
        spread = float(np.dot(ranks, ranks))
        return spread > 0 and abs(float(np.dot(ranks[1:], ranks[:-1]))) / spread > 4.0 / math.sqrt(len(ranks))

    # -- betting -------------------------------------------------------------------------------------------------

    def stake(self, values: Floats | Ints) -> Stake | None:
        """What is bet on values; None while there is too little to learn from, when `learn` is to take them."""
        state = self._state
        if not state.ready or self._esr is None:
            return None
        if not state.means:
            return self._staked(self._codes(values), state.samples)
        held = np.concatenate((self._held, self._numbers(values)))
        whole = len(held) // MEAN_OF * MEAN_OF
        number = (state.samples - len(self._held)) // MEAN_OF
        return self._staked(self._codes(_means(held[:whole])), number)

    def _staked(self, codes: Ints, number: int) -> Stake:
        assert self._esr is not None
        frozen = self._state.frozen
        before = None if frozen else self._history.copy()
        return Stake(codes, number, self.scheme.seed, self._history, before, self._esr, self._bound)

    def decide(
        self, values: Floats | Ints, stake: Stake, drawn: Floats, at: int | None
    ) -> tuple[int, tuple[float, float] | None]:
        """What follows from a stake that won at `at`, or never: how many values it took, mean before and after."""
        state, codes = self._state, stake.codes
        stop = len(codes) if at is None else at + 1
        self._recent.append(codes[:stop])
        if len(self._recent) > _PARTS:
            self._recent = [self._newest]
        change = None
        if at is not None:
            if stake.before is not None:
                stake.before.ranks(codes[:stop], drawn[:stop])
                self._history, state.frozen = stake.before, True
            change = self._change(self._newest)
            self._recent = []
        took = stop
        if state.means:
            took = len(values) if at is None else stop * MEAN_OF - len(self._held)
            held = np.concatenate((self._held, self._numbers(values)))
            self._held = held[stop * MEAN_OF :] if at is None else np.empty(0)
        state.samples += took
        return took, change

    def _codes(self, values: Floats | Ints) -> Ints:
        if self._state.means or self.scheme.kind == "numbers":
            return np.searchsorted(self._edges, values, side="right").astype(np.int64, copy=False)
        return values.astype(np.int64, copy=False)

    @property
    def _newest(self) -> Ints:
        """The newest codes since the last alarm."""
        return np.concatenate(self._recent)[-_RECENT:] if self._recent else np.empty(0, np.int64)

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
            recent=self._newest.tobytes(),
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
        self._origin, self._recent = _ints(state.origin), [_ints(state.recent)]
        if state.ready:
            self._open(History(_ints(state.counts), _ints(state.fresh)), _floats(state.level), _ints(state.tail))
        state.held = state.edges = state.worth = state.origin = state.counts = state.fresh = b""
        state.recent = state.level = state.tail = b""


class _Flow:
    """Values on their way into one guard."""

    def __init__(self, guard: Guard, values: Floats | Ints, times: Floats) -> None:
        self._guard = guard
        self._values, self._rows = guard.usable(values)
        self._times = times if self._rows is None else times[self._rows]
        self._start, self._size = 0, _LARGEST_PIECE
        self._piece: Floats | Ints = self._values[:0]
        self.found: list[Detection] = []

    def stake(self) -> Stake | None:
        """What is bet on the next piece; None: nothing is left."""
        while self._start < len(self._values):
            self._start += self._guard.skip(self._times[self._start :])
            self._piece = self._values[self._start : self._start + self._size]
            stake = self._guard.stake(self._piece)
            if stake is not None:
                return stake if len(self._piece) else None
            self._start += self._guard.learn(self._values[self._start :])
        return None

    def decide(self, stake: Stake, drawn: Floats, at: int | None) -> None:
        """Goes on behind the piece, or behind the alarm in it."""
        took, change = self._guard.decide(self._piece, stake, drawn, at)
        self._start += took
        self._size = _PIECE if change else min(2 * self._size, _LARGEST_PIECE)
        if change is not None and change[0] != change[1]:  # else the draws alone have won, on a constant
            time = float(self._times[self._start - 1])
            row = self._start - 1 if self._rows is None else int(self._rows[self._start - 1])
            self.found.append(Detection(time, row, self._guard.samples, *change))
            self._guard.rest(time + REST)


def feed_together(
    guards: Sequence[Guard], values: Sequence[Floats | Ints], times: Sequence[Floats]
) -> list[list[Detection]]:
    """`Guard.feed` of several guards, each with its own values: at less cost than one by one."""
    flows = [_Flow(it, fed, ends) for it, fed, ends in zip(guards, values, times, strict=True)]
    busy = flows
    while staked := [(flow, stake) for flow in busy if (stake := flow.stake()) is not None]:
        busy = [flow for flow, _ in staked]
        stakes = [stake for _, stake in staked]
        sizes = [len(stake.codes) for stake in stakes]
        stops = np.cumsum(sizes).tolist()
        parts = [slice(stop - size, stop) for stop, size in zip(stops, sizes, strict=True)]
        numbers = np.arange(stops[-1]) + np.repeat(
            [it.number - p.start for it, p in zip(stakes, parts, strict=True)], sizes
        )
        drawn = draws(numbers, np.repeat(np.array([stake.seed for stake in stakes], np.uint64), sizes))
        frozen = [stake.before is None for stake in stakes]
        found = ranks([stake.history for stake in stakes], [stake.codes for stake in stakes], drawn, frozen)
        even = np.minimum((found * bets.CELLS).astype(np.int64), bets.CELLS - 1)
        cells = [
            even[part] if stake.esr.table.even else np.searchsorted(stake.esr.table.cuts, found[part], side="right")
            for stake, part in zip(stakes, parts, strict=True)
        ]
        alarms = esr.feed([stake.esr for stake in stakes], cells, [stake.bound for stake in stakes])
        for (flow, stake), part, at in zip(staked, parts, alarms, strict=True):
            flow.decide(stake, drawn[part], at)
    return [flow.found for flow in flows]


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
