"""What the columns of a tally mean, and what one outcome adds to them.

A tally is an int64 vector; panes, windows and per-tick totals are plain sums of what outcomes contribute.
Invariant: contributions of an outcome depend on nothing but the outcome, and every column is a whole number in a fixed
unit, so tallies add, merge and subtract exactly in any order. Bounds of one tally: 2**31 outcomes, and 2**43 (8.8e12)
as the sum of weight times a loss. A weight is at most `events.MAX_WEIGHT`, so nothing overflows, but for the log loss,
and that not before 240 million outcomes of the largest weight whose truth had all been called impossible.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from msgspec import Struct

from stream.events import Task
from stream.monitor.basis import exact
from stream.monitor.basis.columns import WEIGHT_UNIT, Floats, Ints, Outcomes

BINS = 10
"""Calibration bins of equal width over [0, 1]; a score on an edge belongs to the bin above it."""

EPSILON = float(np.finfo(np.float64).eps)
"""Probabilities are clipped to [EPSILON, 1 - EPSILON] in the log loss, as scikit-learn does."""

OUTCOMES, WEIGHT, WEIGHT_SQUARES = 0, 1, 2
"""First columns of every tally: number, sum of weights (WEIGHT_UNIT), sum of squared weights (3 limbs)."""

FIXED = 2.0**-32
"""Unit of a loss; weighted, it is FIXED * WEIGHT_UNIT. Squared losses have SQUARE_FIXED."""

SQUARE_FIXED = 2.0**-24

SCORED, SCORED_WEIGHT, LOG_LOSS, LOG_LOSS_SQUARES, BRIER, BRIER_SQUARES = 5, 6, 7, 9, 11, 13
"""Classification: outcomes with usable scores, their weight, then 2-limb weighted sums over them."""

CONFUSION = 15
"""Classification: first column of the confusion matrix (row: truth, column: prediction), in WEIGHT_UNIT."""

CELLS = 4
"""Columns per calibration bin: weight, weight of positives, weighted score sum (2 limbs)."""

SMAPE, SMAPE_SQUARES = 5, 7
"""Regression: 2-limb weighted sums of 2|e| / (|y| + |p|), which is bounded."""

ABSOLUTE, ERROR, SQUARED, FOURTH, TARGET, TARGET_SQUARED, RELATIVE, RELATIVE_SQUARED = range(9, 81, exact.LIMBS)
"""Regression: weighted sums in LIMBS limbs each of |e|, e, e**2, e**4, y, y**2, r, r**2; e = prediction - label,
r = |e| / max(|y|, EPSILON)."""

SATURATED = 2.0**126
"""What one outcome adds to FOURTH and RELATIVE_SQUARED is cut off here: such a sum only widens an interval, and
one that reaches the bound gives none."""


class Entries:
    """Contributions of n outcomes without their zeros: about thirty numbers a row, whatever the width."""

    def __init__(self, width: int, entries: list[tuple[int | Ints, Ints]]) -> None:
        """`entries` are values per row, and the column, or column per row, that they belong to."""
        self._width, self._entries = width, entries

    def sums(self, group: Ints, groups: int, rows: Ints | None = None) -> Ints:
        """As `Layout.sums`, of some of the rows if so wanted; `group` then has a number for each of those."""
        total = np.zeros((groups, self._width), dtype=np.int64)
        flat, start = total.reshape(-1), group * self._width
        for column, values in self._entries:
            if rows is None:
                np.add.at(flat, start + column, values)
            else:
                np.add.at(flat, start + (column if isinstance(column, int) else column[rows]), values[rows])
        return total


class Layout(Struct, frozen=True):
    """Columns of the tallies of a model with this task and, for classification, this many classes.

    `positive` is the code of the positive class of a binary model. A binary model has at least two classes.

    >>> Layout("binary").width, Layout("multiclass", 3).width, Layout("regression").width
    (59, 64, 81)
    """

    task: Task
    classes: int = 2
    positive: int = 1

    @property
    def width(self) -> int:
        """Number of columns."""
        return 81 if self.task == "regression" else self.calibration + BINS * CELLS

    @property
    def calibration(self) -> int:
        """Classification: first column of the calibration bins."""
        return CONFUSION + self.classes * self.classes

    def contributions(self, outcomes: Outcomes) -> Ints:
        """What each outcome adds: shape (n, width), stored column by column, so that sums over rows are fast.

        A row of K classes takes (K**2 + 55) * 8 bytes; with many classes use `sums`, which never builds the rows.
        """
        n = len(outcomes)
        columns = np.zeros((self.width, n), dtype=np.int64)
        flat, rows = columns.reshape(-1), np.arange(n, dtype=np.int64)
        for column, values in self._entries(outcomes):
            if isinstance(column, int):
                columns[column] = values
            else:
                np.add.at(flat, column * n + rows, values)
        return columns.T

    def sums(self, outcomes: Outcomes, group: Ints, groups: int) -> Ints:
        """Sum of contributions of each group: shape (groups, width); `group` has a number below `groups` per row.

        The same as adding up `contributions`, for less: only columns that an outcome touches are visited.
        """
        return self.entries(outcomes).sums(group, groups)

    def entries(self, outcomes: Outcomes) -> Entries:
        """What each outcome adds, in a form whose size does not grow with the number of classes."""
        return Entries(self.width, list(self._entries(outcomes)))

    def grow(self, tally: Ints, classes: int) -> Ints:
        """A tally (..., width) laid out again for more classes; the new ones have nothing yet."""
        if self.task == "regression" or classes == self.classes:
            return tally
        wide = Layout(self.task, classes, self.positive)
        grown = np.zeros((*tally.shape[:-1], wide.width), dtype=np.int64)
        grown[..., :CONFUSION] = tally[..., :CONFUSION]
        grown[..., wide.calibration :] = tally[..., self.calibration :]
        wide.confusion(grown)[..., : self.classes, : self.classes] = self.confusion(tally)
        return grown

    def confusion(self, tally: Ints) -> Ints:
        """The confusion matrices (..., classes, classes) of tallies (..., width): a view, in WEIGHT_UNIT."""
        return tally[..., CONFUSION : self.calibration].reshape(*tally.shape[:-1], self.classes, self.classes)

    def bins(self, tally: Ints) -> Ints:
        """The calibration bins (..., BINS, CELLS) of tallies (..., width)."""
        return tally[..., self.calibration :].reshape(*tally.shape[:-1], BINS, CELLS)

    def _entries(self, outcomes: Outcomes) -> Iterator[tuple[int | Ints, Ints]]:
        """What outcomes add, sparsely: a column, or one per row, and the values added."""
        weight = np.ascontiguousarray(outcomes.weight)
        yield OUTCOMES, np.ones(len(weight), dtype=np.int64)
        yield WEIGHT, weight
        low, high = exact.multiply(weight, weight)
        yield WEIGHT_SQUARES, low
        yield WEIGHT_SQUARES + 1, high & 0xFFFFFFFF
        yield WEIGHT_SQUARES + 2, high >> 32
        if self.task == "regression":
            yield from _regression(outcomes, weight)
        else:
            yield from self._classification(outcomes, weight)

    def _classification(self, outcomes: Outcomes, weight: Ints) -> Iterator[tuple[int | Ints, Ints]]:
        truth, answer = outcomes.actual.astype(np.int64), outcomes.predicted.astype(np.int64)
        if len(weight) and not 0 <= min(truth.min(), answer.min()) <= max(truth.max(), answer.max()) < self.classes:
            raise ValueError(f"a class code is outside 0..{self.classes - 1}: grow the tally before adding to it")
        cell = truth * self.classes
        cell += answer
        cell += CONFUSION
        yield cell, weight
        score, chance, brier, hit = self._scores(outcomes.scores, truth, answer)
        usable = ~np.isnan(score)
        yield SCORED, usable.astype(np.int64)
        if not usable.all():
            weight = np.where(usable, weight, 0)
            score, chance, brier = (np.where(usable, x, 0.5) for x in (score, chance, brier))
        yield SCORED_WEIGHT, weight
        loss = np.log(np.clip(chance, EPSILON, 1.0 - EPSILON))
        np.negative(loss, out=loss)
        yield from _weighted(LOG_LOSS, loss, weight)
        yield from _weighted(BRIER, brier, weight)
        start = (score * BINS).astype(np.int64)
        np.minimum(start, BINS - 1, out=start)
        start *= CELLS
        start += self.calibration
        low, high = exact.multiply(weight, _fixed(score, FIXED))
        for place, values in enumerate((weight, np.where(hit, weight, 0), low, high)):
            yield start + place, values

    def _scores(self, scores: Floats, truth: Ints, answer: Ints) -> tuple[Floats, Floats, Floats, exact.Booleans]:
        """Per row: the score to calibrate, the probability given to the truth, the Brier loss, and whether what the
        score says came true. Binary: the positive class. Multiclass: the predicted class, and the Brier loss is the
        sum over classes; a class without a score in a row that has some has probability 0. NaN: no usable score."""
        if self.task == "binary":
            score = np.ascontiguousarray(scores[:, 0])
            hit = truth == self.positive
            score = np.where((score >= 0.0) & (score <= 1.0), score, np.nan)
            chance = np.where(hit, score, 1.0 - score)
            miss = 1.0 - chance
            return score, chance, miss * miss, hit
        rows = np.arange(len(scores))
        some = ~np.isnan(scores)
        valid = ((scores >= 0.0) & (scores <= 1.0) | ~some).all(axis=1) & some.any(axis=1)
        wide = np.zeros((len(scores), max(self.classes, scores.shape[1])))
        np.copyto(wide[:, : scores.shape[1]], scores, where=some)
        score = np.where(valid, wide[rows, answer], np.nan)
        chance = np.where(valid, wide[rows, truth], np.nan)
        wide[rows, truth] -= 1.0
        brier = np.zeros(len(scores))
        for column in range(wide.shape[1]):
            brier += wide[:, column] * wide[:, column]
        return score, chance, brier, truth == answer


def _regression(outcomes: Outcomes, units: Ints) -> Iterator[tuple[int | Ints, Ints]]:
    weight = np.multiply(units, WEIGHT_UNIT, dtype=np.float64)
    label, answer = np.ascontiguousarray(outcomes.actual), np.ascontiguousarray(outcomes.predicted)
    error = answer - label
    size, scale = np.abs(error), np.abs(label)
    square = error * error
    both = scale + np.abs(answer)
    smape = np.divide(2.0 * size, both, out=np.zeros(len(size)), where=both > 0.0)
    yield from _weighted(SMAPE, smape, units)
    relative = size / np.maximum(scale, EPSILON)
    label_square, label_rest = exact.two_product(label, label)
    weighted_square, weighted_rest = exact.two_product(label_square, weight)
    for column, terms in (
        (ABSOLUTE, (size * weight,)),
        (ERROR, (error * weight,)),
        (SQUARED, (square * weight,)),
        (FOURTH, (np.minimum(square * square * weight, SATURATED),)),
        (TARGET, exact.two_product(label, weight)),
        (TARGET_SQUARED, (weighted_square, weighted_rest + label_rest * weight)),
        (RELATIVE, (relative * weight,)),
        (RELATIVE_SQUARED, (np.minimum(relative * relative * weight, SATURATED),)),
    ):
        for term in terms:
            if term.any():
                first, *digits = exact.digits_of(term)
                for place, digit in enumerate(digits):
                    yield first + (column + place), digit


def weights(tallies: Ints) -> tuple[Floats, Floats]:
    """Sums of weights and of squared weights (...) of tallies (..., width): Σw and Σw²."""
    total: Floats = np.multiply(tallies[..., WEIGHT], WEIGHT_UNIT, dtype=np.float64)
    squares: Floats = np.ldexp(exact.to_float(tallies[..., WEIGHT_SQUARES : WEIGHT_SQUARES + 3], 0), -40)
    return total, squares


def _weighted(column: int, values: Floats, units: Ints) -> Iterator[tuple[int, Ints]]:
    """Sums of values and, two columns on, of their squares, weighted."""
    low, high = exact.multiply(units, _fixed(values, FIXED))
    yield column, low
    yield column + 1, high
    low, high = exact.multiply(units, _fixed(values * values, SQUARE_FIXED))
    yield column + 2, low
    yield column + 3, high


def _fixed(values: Floats, unit: float) -> Ints:
    scaled = values * (1.0 / unit)
    np.rint(scaled, out=scaled)
    return scaled.astype(np.int64)
