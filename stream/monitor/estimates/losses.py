"""Losses of a regression before labels come: the mean loss of earlier outcomes whose predictions were alike.

What is known when a prediction is made, its features and itself, says how large a loss to expect (`loss_scale.py`,
fitted once, to the first outcomes: those of the reference), and so puts it on a step. An estimate is the mean over
predictions of the mean losses on their steps (direct loss estimation). It sees predictions come to lie where losses are
larger; that losses become larger where they lie, it learns from labels as they come.
A prediction has a place: a number that waits for its label with it, and is counted in panes. Until the scale stands, it
is a ticket of its own, under which its columns are remembered; then its step.
Invariant: places are a function of the predictions in order; scale and means change only where the watermark enters a
pane, are functions of the outcomes before, and the means of the latest KEPT to 2 KEPT of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from stream.monitor.basis.columns import Floats, Ints, Outcomes
from stream.monitor.estimates.guesses import Counts
from stream.monitor.estimates.loss_scale import MIDDLES, STEPS, Scale, fitted
from stream.monitor.features.feature_layout import FeatureLayout
from stream.monitor.metrics import performance
from stream.monitor.metrics.layout import OUTCOMES, Layout

LEAST = 100
"""Outcomes before anything is estimated."""

ENOUGH = 2000
"""Outcomes with tickets that the scale is fitted to."""

TICKETS = 8192
"""Predictions that wait for that, at most; those that come later have no step until then."""

REMEMBERED = 1 << 18
"""Columns of them, at most: of many features, fewer predictions."""

KEPT = 100_000
"""When so many outcomes have come since the last time, those before the last time are forgotten."""

SHRINKAGE = 10.0
"""The mean of a step is as if it had so many outcomes more, of which nothing but the step is known."""

ESTIMATED = ("mae", "rmse", "mape", "smape")
"""What is estimated: means of a loss, and a root of one."""

_GROWTH = 10
"""Means are taken anew when outcomes have grown by one in so many."""

_PLACE_BITS = 14
_NOWHERE = TICKETS
"""Place of a prediction that has neither ticket nor step; those of steps follow."""

_SHAPE = (1 + STEPS, Layout("regression").width)
"""Of tallies by step; row 0 is for outcomes that have none."""

Summing = Callable[[Ints, int, Ints | None], Ints]
"""By the groups of outcomes, their number, and the rows that are meant: sums of tallies, as `Entries.sums`."""

Small = npt.NDArray[np.int32]


class Tickets(Struct):
    """Predictions that the scale is fitted to, row by row."""

    columns: Small = field(default_factory=lambda: np.empty((0, 0), np.int32))
    """Shape (n, F): of as many of them as are known."""
    predicted: Floats = field(default_factory=lambda: np.empty(0))
    actual: Floats = field(default_factory=lambda: np.empty(0))
    weight: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    """-1 until the label comes."""

    def grow(self, count: int) -> None:
        """Makes room."""
        self.predicted, self.actual = (np.append(each, np.zeros(count)) for each in (self.predicted, self.actual))
        self.weight = np.append(self.weight, np.full(count, -1, np.int64))

    def outcomes(self) -> tuple[Ints, Outcomes]:
        """Rows with columns and a label, and those as outcomes."""
        rows = np.flatnonzero(self.weight[: len(self.columns)] >= 0)
        none, zeros = np.zeros(len(rows), np.int64), np.zeros(len(rows))
        values = self.predicted[rows], self.actual[rows], self.weight[rows]
        return rows, Outcomes(none, zeros, none, *values, zeros[:, None], none[:, None], zeros)


class StoredLosses(Struct):
    """What a checkpoint, or a reference in a file, keeps."""

    began: int = -1
    """Tick of the first prediction: it tells places from those of before."""
    skipped: int = 0
    """Predictions of the reference that came before the first ticket."""
    given: int = 0
    """Tickets."""
    version: str | None = None
    """The reference whose columns are meant; None while there are none."""
    tickets: Tickets = field(default_factory=Tickets)
    steps: Small = field(default_factory=lambda: np.empty(0, np.int32))
    """Since the scale stands: by ticket the row of its step."""
    scale: Scale | None = None
    old: Ints = field(default_factory=lambda: np.empty((0, _SHAPE[1]), np.int64))
    young: Ints = field(default_factory=lambda: np.empty((0, _SHAPE[1]), np.int64))
    """Tallies of outcomes by step; empty until there are any, for most models have none, and may be many."""
    fitted: int = 0
    means: Floats = field(default_factory=lambda: np.empty((0, 0)))
    """Shape (ESTIMATED, 1 + STEPS): mean losses, of `rmse` mean squares; empty while too little is known."""
    counts: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    """Shape (1 + STEPS,): outcomes behind the means; of row 0 all of them."""
    spreads: Floats = field(default_factory=lambda: np.empty(0))
    """Shape (ESTIMATED,): half the width that a 95 % interval would have of one outcome."""


class Losses:
    """The loss regressor of one model."""

    def __init__(self, stored: StoredLosses | None = None) -> None:
        self._s = StoredLosses() if stored is None else stored

    def state(self) -> StoredLosses:
        """For a checkpoint."""
        return self._s

    @property
    def version(self) -> str | None:
        """The reference that it was made for; None before that is there."""
        return self._s.version

    @property
    def fitted(self) -> StoredLosses:
        """Means, counts and spreads as they were taken last."""
        return self._s

    @property
    def means(self) -> Floats:
        """As in `StoredLosses`."""
        return self._s.means

    @property
    def scale(self) -> Scale | None:
        """What tells predictions apart; None while too few outcomes are known."""
        return self._s.scale

    def belongs(self, version: str | None) -> bool:
        """Whether it was made for a reference of this version; None: it has none yet."""
        return self._s.version in (None, version)

    # -- predictions ---------------------------------------------------------------------------------------------

    def places(self, ticks: Ints, columns: Ints, skipped: int) -> Ints:
        """Shape (n,): the places of n predictions with histogram columns of shape (n, F); F = 0 without a reference.
        `skipped`: predictions in the reference before these."""
        s, n = self._s, len(ticks)
        if not n:
            return np.empty(0, np.int64)
        if s.began < 0:
            s.began, s.skipped = int(ticks[0]), skipped
        if s.scale is not None:
            return self._key(_NOWHERE + 1 + s.scale.steps(columns))
        numbers = np.minimum(np.arange(s.given, s.given + n), _NOWHERE)
        more = min(n, TICKETS - s.given)
        s.given += more
        s.tickets.grow(more)
        return self._key(numbers)

    def remember(self, columns: Ints, reference: Ints | None, version: str | None) -> None:
        """Takes the columns of predictions that have just been given places, and of the whole reference when it has
        just been completed; rows that are in the reference are -1."""
        s = self._s
        if version is None or s.scale is not None or not columns.shape[1]:
            return
        first = s.version is None
        s.version = version
        if reference is not None and first:
            s.tickets.columns = reference[s.skipped :].astype(np.int32)
        room = min(s.given, REMEMBERED // columns.shape[1])
        if len(s.tickets.columns) < room:
            known = columns[columns[:, 0] >= 0].astype(np.int32)
            held = s.tickets.columns if len(s.tickets.columns) else known[:0]
            s.tickets.columns = np.concatenate([held, known])
        s.tickets.columns = s.tickets.columns[:room]

    def _key(self, numbers: Ints) -> Ints:
        return (self._s.began << _PLACE_BITS) + numbers

    @property
    def known(self) -> bool:
        """Whether there are means."""
        return self._s.means.size > 0

    def rows(self, places: Ints) -> Ints:
        """Rows of `means` that places stand for; -1 for places of before."""
        numbers = self._numbers(places)
        return np.where(numbers < 0, -1, self._rows(numbers))

    def _numbers(self, places: Ints) -> Ints:
        """What places say; -1 for those of before."""
        mine = places >> _PLACE_BITS == self._s.began
        return np.where(mine, places & ((1 << _PLACE_BITS) - 1), -1)

    def _rows(self, numbers: Ints) -> Ints:
        """Rows of tallies and means."""
        steps = self._s.steps
        if not len(steps):
            return np.maximum(numbers - _NOWHERE, 0)
        return np.where(numbers < _NOWHERE, steps[np.minimum(numbers, len(steps) - 1)], numbers - _NOWHERE)

    # -- outcomes ------------------------------------------------------------------------------------------------

    def learn(self, outcomes: Outcomes, sums: Summing) -> bool:
        """Takes outcomes in, whose `scores` are places, for the next time; tells whether there were any."""
        s, places = self._s, outcomes.scores[:, 0]
        placed = np.flatnonzero(~np.isnan(places))
        numbers = self._numbers(places[placed].astype(np.int64))
        mine, numbers = placed[numbers >= 0], numbers[numbers >= 0]
        if not len(mine):
            return False
        if s.scale is None:
            rows, tickets = mine[numbers < _NOWHERE], numbers[numbers < _NOWHERE]
            for of_ticket, of_outcome in (
                (s.tickets.predicted, outcomes.predicted),
                (s.tickets.actual, outcomes.actual),
                (s.tickets.weight, outcomes.weight),
            ):
                of_ticket[tickets] = of_outcome[rows]
        if not len(s.young):
            s.old, s.young = np.zeros(_SHAPE, np.int64), np.zeros(_SHAPE, np.int64)
        s.young += sums(self._rows(numbers), len(s.young), None if len(mine) == len(outcomes) else mine)
        return True

    def calibrate(self, layout: Layout, features: FeatureLayout | None, *, at_once: bool = False) -> bool:
        """Takes means anew if enough outcomes have come since, and fits the scale when it is time; tells whether.
        `at_once`: no more will come."""
        s = self._s
        known = int(s.old[:, OUTCOMES].sum() + s.young[:, OUTCOMES].sum())
        if known < LEAST or (known * _GROWTH < s.fitted * (_GROWTH + 1) and not at_once):
            return False
        if s.scale is None and features is not None and features.reference.version == s.version:
            self._fit(layout, features, LEAST if at_once or known >= TICKETS else ENOUGH)
        both = s.old + s.young
        s.fitted, s.means, s.counts = known, _means(layout, both), both[:, OUTCOMES].copy()
        s.counts[0] = known
        s.spreads = _spreads(layout, both.sum(axis=0))
        young = int(s.young[:, OUTCOMES].sum())
        if young >= KEPT:
            s.old, s.young, s.fitted = s.young, np.zeros_like(s.young), young
        return True

    def _fit(self, layout: Layout, features: FeatureLayout, least: int) -> None:
        """Fits the scale, and moves what outcomes with tickets have added to their steps."""
        s = self._s
        rows, outcomes = s.tickets.outcomes()
        if len(rows) < least:
            return
        columns = s.tickets.columns.astype(np.int64)
        s.scale = fitted(columns[rows], np.abs(outcomes.predicted - outcomes.actual), features.blocks)
        s.steps = np.zeros(s.given, np.int32)
        s.steps[: len(columns)] = 1 + s.scale.steps(columns)
        moved = layout.sums(outcomes, s.steps[rows].astype(np.int64), len(s.young))
        s.young += moved
        s.young[0] -= moved.sum(axis=0)
        s.tickets = Tickets()


class ExpectedLosses:
    """What is expected of counted predictions."""

    def __init__(self, places: Counts, losses: Losses) -> None:
        state = places.state()
        rows, counts = losses.rows(state.keys), state.counts
        self._means, self._losses = losses.means, losses.fitted
        counted = np.bincount(rows[rows >= 0], counts[rows >= 0], 1 + STEPS)
        self._counts = counted
        self.samples = int(counted.sum())
        """Predictions with places."""

    @property
    def known(self) -> bool:
        """Whether there is anything to tell."""
        return self._means.size > 0 and self.samples > 0

    def value(self, name: str, class_names: Sequence[str] = ()) -> float:
        """A metric by its name; NaN where it is not known. A regression has no classes."""
        if name not in ESTIMATED or not self.known:
            return math.nan
        mean = float(self._counts @ self._means[ESTIMATED.index(name)]) / self.samples
        return math.sqrt(mean) if name == "rmse" else mean

    @property
    def support(self) -> float:
        """How many outcomes of the same mix of steps would say as much as those that the means were taken of."""
        used = self._counts > 0
        if not self.known or not used.any() or len(self._losses.counts) != len(used):
            return 0.0
        shares = self._counts[used] / self.samples
        return float(1.0 / (shares**2 / np.maximum(self._losses.counts[used], 1e-9)).sum())

    def spread(self, name: str) -> float:
        """Half of the 95 % interval of one outcome that is usual; NaN where it is not known."""
        return float(self._losses.spreads[ESTIMATED.index(name)])


def _spreads(layout: Layout, tally: Ints) -> Floats:
    """As `StoredLosses.spreads`, from the tally of all outcomes; NaN where it is not known."""
    found = np.full(len(ESTIMATED), np.nan)
    for row, name in enumerate(ESTIMATED):
        bounds = performance.interval(layout, tally, name)
        if bounds is not None:
            middle = float(performance.evaluate(layout, tally, name)[0])
            found[row] = max(middle - bounds[0], bounds[1] - middle) * math.sqrt(float(tally[OUTCOMES]))
    return found


def _means(layout: Layout, tallies: Ints) -> Floats:
    """As `StoredLosses.means`, from tallies by step."""
    whole = tallies.sum(axis=0, keepdims=True)
    # Losses are expected to be in proportion to the scale, relative ones to be the same everywhere.
    scale = np.concatenate([[0.0], MIDDLES])
    shapes = {"mae": scale, "rmse": scale * scale}
    found = np.empty((len(ESTIMATED), len(tallies)))
    for row, name in enumerate(ESTIMATED):
        means, of_all = (performance.evaluate(layout, each, name)[0] for each in (tallies, whole))
        if name == "rmse":
            means, of_all = means * means, of_all * of_all
        known = ~np.isnan(means)
        outcomes, means = np.where(known, tallies[:, OUTCOMES], 0), np.where(known, means, 0.0)
        shape = shapes.get(name, np.ones(len(scale)))
        on_steps = float(outcomes[1:] @ shape[1:])
        prior = shape * (float(outcomes[1:] @ means[1:]) / on_steps) if on_steps > 0.0 else of_all
        found[row] = (outcomes * means + SHRINKAGE * prior) / (outcomes + SHRINKAGE)
        found[row, 0] = of_all[0]
    return found
