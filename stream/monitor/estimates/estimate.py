"""Performance without labels: calibrated scores say how many predictions are expected to be right.

Per class, outcomes calibrate its scores by isotonic regression; a prediction with calibrated score p counts as p of an
outcome of the class and 1 - p of another one (CBPE: confidence-based performance estimation). For several classes, the
expected outcomes of each predicted class are scaled to the number of its predictions.
It assumes that scores mean what they meant for the outcomes calibrated on: it sees drift of inputs, not of concepts.
Invariant: calibration changes only where the watermark enters a pane, and is a function of the outcomes before; it uses
the latest KEPT to 2 KEPT outcomes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field, structs

from stream.checkpoint.packing import unpack
from stream.events import Estimated, Task
from stream.monitor.basis.columns import Floats, Ints, Outcomes
from stream.monitor.basis.isotonic import isotonic
from stream.monitor.estimates.guesses import EXACT, PLACES, Counted, Counts, Grid, key, parts
from stream.monitor.estimates.losses import ESTIMATED as OF_LOSSES
from stream.monitor.estimates.losses import ExpectedLosses, Losses, StoredLosses, Summing
from stream.monitor.features.feature_layout import FeatureLayout
from stream.monitor.features.normal import Normal
from stream.monitor.features.reference import Reference
from stream.monitor.metrics import confusion, metricnames
from stream.monitor.metrics.confusion import Matrix
from stream.monitor.metrics.layout import Layout
from stream.monitor.rules.watch import ESTIMATED

LEAST = 100
"""Outcomes with scores, of at least two classes, before anything is estimated."""

KEPT = 100_000
"""When so many outcomes have come since the last time, those before the last time are forgotten."""

_GROWTH = 10
"""Calibrated anew when outcomes have grown by one in so many: so calibrating costs little however many come."""

_UNIT = 2.0**-36
"""Unit of a calibrated score: sums over up to 2**27 predictions are exact whatever their order."""


class Curve(Struct, frozen=True):
    """Calibrated score of one class by score: straight between ascending points, constant outside."""

    scores: Floats
    shares: Floats
    trials: Floats = field(default_factory=lambda: np.empty(0))
    """Outcomes at each point; none where an earlier version has stored it."""

    def blocks(self, positions: Floats) -> tuple[Ints, Floats]:
        """By position the block of points with one share that it lies in, and how many outcomes each block has."""
        starts = np.flatnonzero(np.diff(self.shares, prepend=-1.0))
        point = np.clip(np.searchsorted(self.scores, positions, side="right") - 1, 0, len(self.scores) - 1)
        trials = np.add.reduceat(self.trials, starts) if len(self.trials) else np.zeros(len(starts))
        return np.searchsorted(starts, point, side="right") - 1, trials


class StoredEstimator(Struct):
    """What a checkpoint keeps."""

    values: list[float]
    old: Counted
    young: Counted
    fitted: int
    curves: dict[int, Curve] = field(default_factory=dict)
    losses: StoredLosses | None = None


class Estimator:
    """Calibration of one model, and where its scores lie; of a regression, its losses."""

    def __init__(self, stored: StoredEstimator | None = None) -> None:
        self.changed = stored is None
        """Since it was last stored."""
        self.grid = Grid(None if stored is None else stored.values)
        self._old = Counts(None if stored is None else stored.old)
        self._young = Counts(None if stored is None else stored.young)
        self._fitted = 0 if stored is None else stored.fitted
        self.curves: dict[int, Curve] = {} if stored is None else stored.curves
        """By class; empty while too little is known."""
        self._shares: dict[int, tuple[int, Ints]] = {}
        self.losses = Losses(None if stored is None else stored.losses)

    def state(self) -> StoredEstimator:
        """For a checkpoint."""
        counted = self._old.state(), self._young.state()
        return StoredEstimator(self.grid.values, *counted, self._fitted, self.curves, self.losses.state())

    @property
    def ready(self) -> bool:
        """Whether enough is known to estimate anything."""
        return bool(self.curves) or self.losses.known

    def guessed(self, predicted: Floats, scores: Floats, layout: Layout | None) -> Ints | None:
        """Shape (n, classes with scores): the keys of n predictions, -1 where no score came; None for no score."""
        if layout is None or layout.task == "regression" or not scores.size:
            return None
        usable = _usable(scores)
        if usable is not None and not usable.any():
            return None
        before = len(self.grid.values)
        keys = self._places(scores, usable, new=True)
        self.changed = self.changed or len(self.grid.values) != before
        keys += _coded(layout, scores, predicted)
        return keys if usable is None else np.where(usable, keys, -1)

    def placed(self, ticks: Ints, cells: Ints, skipped: int, normal: Normal) -> Ints:
        """Shape (n,): the places of n predictions of a regression with these histogram cells. `skipped`: predictions in
        the reference before them."""
        version = None if normal.reference is None else normal.reference.version
        if not self.losses.belongs(version):
            self.losses = Losses()
        self.changed = self.changed or self.losses.scale is None
        places = self.losses.places(ticks, cells, skipped)
        self.losses.remember(cells, normal.collected, version)
        return places

    def answered(self, outcomes: Outcomes, layout: Layout | None) -> Ints | None:
        """As `guessed`, of predictions whose labels have come."""
        if layout is None or not len(outcomes):
            return None
        scores = outcomes.scores
        if layout.task == "regression":
            return np.where(np.isnan(scores), -1.0, scores).astype(np.int64)
        usable = _usable(scores)
        keys = self._places(scores, usable) + _coded(layout, scores, outcomes.predicted)
        return keys if usable is None else np.where(usable, keys, -1)

    def renew(self) -> None:
        """The reference is taken anew: what losses depend on was told by its bins."""
        self.losses, self.changed = Losses(), True

    def learn(self, outcomes: Outcomes, layout: Layout | None, sums: Summing | None = None) -> None:
        """Takes outcomes in, for the next time it is calibrated. `sums`: what gives their tallies, if it is known."""
        if layout is None or not len(outcomes):
            return
        if layout.task == "regression":
            self.changed = self.losses.learn(outcomes, sums or layout.entries(outcomes).sums) or self.changed
            return
        scores = outcomes.scores
        usable = _usable(scores)
        if usable is not None and not usable.any():
            return
        keys = self._places(scores, usable)
        codes = np.array([layout.positive]) if layout.task == "binary" else np.arange(scores.shape[1])
        keys += key(codes, outcomes.actual[:, None] == codes, 0)
        self._young.add(keys.ravel() if usable is None else keys[usable])
        self.changed = True

    def _places(self, scores: Floats, usable: npt.NDArray[np.bool_] | None, *, new: bool = False) -> Ints:
        """Places of scores, in order of events, then of classes; 0 where not usable."""
        if usable is None:
            return self.grid.places(scores.ravel(), new=new).reshape(scores.shape)
        places = np.zeros(scores.shape, np.int64)
        places[usable] = self.grid.places(scores[usable], new=new)
        return places

    def calibrate(self, layout: Layout | None = None, features: FeatureLayout | None = None) -> bool:
        """Calibrates anew if enough outcomes have come since; tells whether it did. `features` are the reference's."""
        if layout is not None and layout.task == "regression":
            done = self.losses.calibrate(layout, features)
            self.changed = self.changed or done
            return done
        known = self._old.total + self._young.total
        if known < LEAST or known * _GROWTH < self._fitted * (_GROWTH + 1):
            return False
        together = self._old.copy()
        together.merge(self._young)
        self._fitted, self.changed = known, True
        self.curves = fitted(together, self.grid)
        if self._young.total >= KEPT:
            self._old, self._young, self._fitted = self._young, Counts(), self._young.total
        self._shares = {}
        return True

    def shares(self, code: int) -> Ints | None:
        """Shape (PLACES,): calibrated scores of a class in _UNIT; None while the class is not calibrated."""
        curve = self.curves.get(code)
        if curve is None:
            return None
        known = self._shares.get(code)
        if known is None or known[0] != len(self.grid.values):
            positions = self.grid.positions
            taken = np.where(np.isnan(positions), 0.0, positions)
            shares = np.rint(np.interp(taken, curve.scores, curve.shares) / _UNIT).astype(np.int64)
            known = self._shares[code] = len(self.grid.values), shares
        return known[1]


def _coded(layout: Layout, scores: Floats, predicted: Floats) -> Ints:
    """The part of keys that is not places."""
    codes = layout.positive if layout.task == "binary" else np.arange(scores.shape[1])
    return key(codes, predicted.astype(np.int64)[:, None], 0)


def _usable(scores: Floats) -> npt.NDArray[np.bool_] | None:
    """Which scores are probabilities; None: all of them."""
    if scores.min() >= 0.0 and scores.max() <= 1.0:
        return None
    return (scores >= 0.0) & (scores <= 1.0)


def fitted(outcomes: Counts, grid: Grid) -> dict[int, Curve]:
    """The calibration of each class; none while fewer than two classes have come true."""
    state = outcomes.state()
    taken = parts(state.keys)
    positions = grid.positions
    curves: dict[int, Curve] = {}
    mixed = 0
    for code in np.unique(taken.code).tolist():
        rows = taken.code == code
        places, counts = taken.place[rows], state.counts[rows]
        # Whole numbers below 2**53: exact in floats.
        trials = np.bincount(places, counts, PLACES)
        hits = np.bincount(places, counts * taken.answer[rows], PLACES)
        mixed += 0 < hits.sum() < trials.sum()
        seen = np.flatnonzero(trials)
        seen = seen[np.argsort(positions[seen], kind="stable")]
        shares = isotonic(hits[seen].astype(np.int64), trials[seen].astype(np.int64))
        curves[code] = Curve(positions[seen], shares, trials[seen].astype(np.float64))
    return curves if mixed else {}


class Expected:
    """What is expected of counted predictions."""

    def __init__(self, guesses: Counts, estimator: Estimator, layout: Layout) -> None:
        self._layout, self._grid = layout, estimator.grid
        state = guesses.state()
        taken = parts(state.keys)
        self.matrix = np.zeros((layout.classes, layout.classes))
        """Expected outcomes by truth (rows) and prediction (columns)."""
        self._scored: dict[int, tuple[Ints, Ints, Ints]] = {}
        self._own: list[tuple[Curve, Ints, Ints]] = []
        predicted = np.zeros(layout.classes, np.int64)
        for code in np.unique(taken.code).tolist():
            rows = taken.code == code
            answer, place, counts = taken.answer[rows], taken.place[rows], state.counts[rows]
            if layout.task == "binary":
                np.add.at(predicted, answer, counts)
            else:
                predicted[code] = counts[answer == code].sum()
            shares = estimator.shares(code)
            if shares is None:
                continue
            right = np.zeros(layout.classes, np.int64)
            np.add.at(right, answer, counts * shares[place])
            self.matrix[code] = right * _UNIT
            self._scored[code] = place, counts, shares[place]
            mine = slice(None) if layout.task == "binary" else answer == code
            self._own.append((estimator.curves[code], place[mine], counts[mine]))
        self.samples = int(predicted.sum())
        """Predictions with scores."""
        if layout.task == "binary":
            other = 1 - layout.positive if layout.positive < 2 else 0
            self.matrix[other] = predicted - self.matrix[layout.positive]
        else:
            expected = self.matrix.sum(axis=0)
            self.matrix *= np.where(expected > 0.0, predicted / np.where(expected > 0.0, expected, 1.0), 0.0)

    @property
    def known(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._scored) and self.samples > 0

    def value(self, name: str, class_names: Sequence[str]) -> float:
        """A metric by its name; NaN where it is undefined."""
        subject = metricnames.parse(name)
        if subject is None or not self.known:
            return math.nan
        code: int | None = self._layout.positive
        if subject.form == "class":
            code = class_names.index(subject.class_name) if subject.class_name in class_names else None
        if subject.metric.source == "confusion":
            return self._plain.value(subject, code)
        number = 1 if subject.base == "average_precision" else 0
        if subject.form in ("plain", "class"):
            return self._ranks[code][number] if code in self._ranks else math.nan
        read = list(self._ranks.values())
        values = [each[number] for each in read]
        return confusion.mean(values, [each[2] if subject.form == "weighted" else 1.0 for each in read])

    @cached_property
    def _plain(self) -> Matrix:
        return Matrix(self.matrix, 1.0)

    @cached_property
    def support(self) -> float:
        """How many outcomes of the same mix of scores would say as much as those that calibrated them."""
        positions, parts_of = self._grid.positions, list[float]()
        for curve, place, counts in self._own:
            block, trials = curve.blocks(positions[place])
            shares = np.bincount(block, counts, len(trials)) / max(self.samples, 1)
            used = shares > 0.0
            parts_of += (shares[used] ** 2 / np.where(trials[used] > 0.0, trials[used], 1e-9)).tolist()
        return 1.0 / sum(parts_of) if parts_of else 0.0

    def spread(self, name: str) -> float:
        """Half of the 95 % interval of one outcome that is usual; 0: shares of outcomes tell it themselves."""
        return 0.0

    @cached_property
    def _ranks(self) -> dict[int, tuple[float, float, float]]:
        """ROC AUC, average precision and expected outcomes of each class."""
        found = {}
        ranks = self._grid.ranks
        for code, (place, counts, shares) in self._scored.items():
            scores = ranks[place]
            trials, hits = np.zeros(PLACES, np.int64), np.zeros(PLACES, np.int64)
            np.add.at(trials, scores, counts)
            np.add.at(hits, scores, counts * shares)
            binned = np.zeros(PLACES, np.bool_)
            binned[scores[place >= EXACT]] = True
            seen = np.flatnonzero(trials)
            trials, binned = trials[seen], binned[seen]
            positive: Floats = hits[seen] * np.float64(_UNIT)
            found[code] = (*_ranked(positive, trials, binned), float(positive.sum()))
        return found


def _ranked(positive: Floats, trials: Ints, binned: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """ROC AUC and average precision of expected outcomes by ascending score. What shares a score is tied; what shares a
    bin is not: all have the same chance there, so precision changes evenly over the bin, in as many steps."""
    negative = trials - positive
    total, others = float(positive.sum()), float(negative.sum())
    auc = precision = math.nan
    if total > 0.0 and others > 0.0:
        auc = float(positive @ (np.cumsum(negative) - 0.5 * negative)) / (total * others)
    if total > 0.0:
        gained, new = positive[::-1], trials[::-1].astype(np.float64)
        hits, every = np.cumsum(gained), np.cumsum(new)
        heights = hits / every
        rows = np.flatnonzero(binned[::-1] & (new > 1))
        g, n, before, past = gained[rows], new[rows], hits[rows] - gained[rows], every[rows] - new[rows]
        first = past > 0
        start = np.where(first, before / np.where(first, past, 1.0), g / n)
        log = np.log1p(n / np.where(first, past, 1.0))
        even = np.where(first, g / n + (before - g * past / n) / n * log, g / n)
        heights[rows] = even + (heights[rows] - start) / (2.0 * n)
        precision = float(gained @ heights) / total
    return auc, precision


def begun(reference: Reference | None) -> Estimator:
    """The estimator of a model that begins, with what its reference knows of losses."""
    estimator = Estimator()
    if reference is not None and isinstance(reference.losses, bytes):
        estimator.losses = Losses(structs.replace(unpack(StoredLosses, reference.losses), version=reference.version))
    return estimator


def expected(counts: Counts, estimator: Estimator, layout: Layout) -> Expected | ExpectedLosses:
    """What is expected of counted predictions."""
    if layout.task == "regression":
        return ExpectedLosses(counts, estimator.losses)
    return Expected(counts, estimator, layout)


def names(task: Task) -> list[str]:
    """The metrics of a task that are estimated."""
    return [name for name in metricnames.names(task) if _estimable(name)]


def check(name: str, task: Task) -> None:
    """Raises ValueError unless a metric (without ESTIMATED) is estimated for models of the task."""
    metricnames.check_metric(name, task)
    if not _estimable(name):
        would = ", ".join(ESTIMATED + each for each in names(task))
        raise ValueError(f'found "{ESTIMATED}{name}", which is not estimated without labels, expected one of: {would}')


def known(name: str, task: Task) -> bool:
    """Whether a metric is estimated for models of the task."""
    try:
        check(name, task)
    except ValueError:
        return False
    return True


def _estimable(name: str) -> bool:
    subject = metricnames.parse(name)
    return name in OF_LOSSES or (subject is not None and subject.metric.source in ("confusion", "scores"))


def report(
    guesses: Counts | None, estimator: Estimator, layout: Layout | None, class_names: Sequence[str]
) -> dict[str, Estimated]:
    """Every estimated metric of a window or a pane; none where nothing tells it, or too few outcomes are known."""
    if guesses is None or layout is None or not guesses.total or not estimator.ready:
        return {}
    of_all = expected(guesses, estimator, layout)
    if not of_all.known:
        return {}
    found = {name: of_all.value(name, class_names) for name in names(layout.task)}
    return {name: Estimated(None if math.isnan(value) else value, of_all.samples) for name, value in found.items()}
