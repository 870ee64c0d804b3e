"""One tally as plain numbers, for values and intervals of a single pane or window.

`performance.evaluate` reads many tallies at once; of one, plain numbers are read some twenty times faster.
Invariant: a value equals that of `performance.evaluate` to the rounding of a double.
"""

from __future__ import annotations

import math
from functools import cached_property

from msgspec import Struct

from stream.monitor.basis import exact, intervals
from stream.monitor.basis.columns import WEIGHT_UNIT, Ints
from stream.monitor.basis.intervals import Interval
from stream.monitor.metrics import layout as columns
from stream.monitor.metrics.confusion import Matrix
from stream.monitor.metrics.layout import Layout
from stream.monitor.metrics.metricnames import Subject

DELTA_CLASSES = 8
"""`intervals.delta` needs every cell of the confusion matrix; with more classes its metrics have no interval."""

WEIGHTED, SQUARED = -52, -44
"""Exponents of the units of weighted bounded losses and of their squares."""


class Mean(Struct, frozen=True):
    """Where the sum of a quantity and the sum of its squares stand."""

    column: int
    limbs: int
    exponent: int
    squares: int
    square_exponent: int
    saturates: bool = False


MEANS = {
    "log_loss": Mean(columns.LOG_LOSS, 2, WEIGHTED, columns.LOG_LOSS_SQUARES, SQUARED),
    "brier": Mean(columns.BRIER, 2, WEIGHTED, columns.BRIER_SQUARES, SQUARED),
    "smape": Mean(columns.SMAPE, 2, WEIGHTED, columns.SMAPE_SQUARES, SQUARED),
    "mae": Mean(columns.ABSOLUTE, exact.LIMBS, exact.EXPONENT, columns.SQUARED, exact.EXPONENT),
    "bias": Mean(columns.ERROR, exact.LIMBS, exact.EXPONENT, columns.SQUARED, exact.EXPONENT),
    "rmse": Mean(columns.SQUARED, exact.LIMBS, exact.EXPONENT, columns.FOURTH, exact.EXPONENT, True),
    "mape": Mean(columns.RELATIVE, exact.LIMBS, exact.EXPONENT, columns.RELATIVE_SQUARED, exact.EXPONENT, True),
}


class Totals:
    """What is read from one tally (width,)."""

    def __init__(self, layout: Layout, tally: Ints) -> None:
        self._layout, self._tally = layout, tally
        self._row: list[int] = (tally if layout.task == "regression" else tally[: columns.CONFUSION]).tolist()
        self._numbers: dict[int, int] = {}
        self.outcomes = self._row[columns.OUTCOMES]
        regression = layout.task == "regression"
        self.samples = self._row[columns.OUTCOMES if regression else columns.SCORED]
        """Outcomes that a mean is over: for classification, those with usable scores."""
        self.weight: float = self._row[columns.WEIGHT if regression else columns.SCORED_WEIGHT] * WEIGHT_UNIT
        """Their weight."""
        squares = math.ldexp(self._number(columns.WEIGHT_SQUARES, 3), -40)
        self.worth: float = self._row[columns.WEIGHT] * WEIGHT_UNIT / squares if squares > 0.0 else 0.0
        """Effective number of outcomes per unit of weight: 1 when all weigh 1."""

    @cached_property
    def matrix(self) -> Matrix:
        """The confusion matrix."""
        return Matrix(self._layout.confusion(self._tally))

    def value(self, subject: Subject, code: int | None) -> float:
        """A metric that is not read from scores, NaN where it is undefined; `code` as in `confusion.value_of`."""
        if subject.metric.source == "confusion":
            return self.matrix.value(subject, code)
        if subject.base == "r2":
            return self._r2()
        if subject.base == "calibration_error":
            return self._calibration_error()
        value = self._mean(subject.base)
        return math.sqrt(value) if subject.base == "rmse" else value

    def interval(self, subject: Subject, code: int | None, value: float) -> Interval | None:
        """The 95 % interval of a metric that has a value; None where none is known."""
        if subject.metric.source == "confusion":
            return self._of_confusion(subject, code, value)
        if subject.metric.source == "mean":
            return self._of_mean(subject.base)
        if subject.metric.source != "scores" or subject.form in ("macro", "weighted") or code is None:
            return None
        covered = self._row[columns.SCORED_WEIGHT] / max(self._row[columns.WEIGHT], 1)
        positives = self.matrix.truth[code] * self.worth * covered
        if subject.base == "average_precision":
            return intervals.average_precision(value, positives)
        return intervals.roc_auc(value, positives, self.matrix.total * self.worth * covered - positives)

    def _of_confusion(self, subject: Subject, code: int | None, value: float) -> Interval | None:
        matrix, base, form, worth = self.matrix, subject.base, subject.form, self.worth
        if base in ("accuracy", "error_rate") or (base == "recall" and form == "weighted"):
            return intervals.wilson(value, matrix.total * worth)
        if base == "balanced_accuracy" or (form == "macro" and base in ("precision", "recall")):
            values, _, wholes = matrix.shares("recall" if base == "balanced_accuracy" else base)
            return intervals.mean_of_shares(values, [whole * worth for whole in wholes])
        if subject.metric.forms and form in ("plain", "class") and code is not None:
            _, parts, wholes = matrix.shares(base)
            if base == "f1":
                return intervals.f1(value, (wholes[code] - parts[code] / 2.0) * worth)
            return intervals.wilson(value, wholes[code] * worth)
        slopes = matrix.slopes(subject) if self._layout.classes <= DELTA_CLASSES else None
        if slopes is None:
            return None
        low = -1.0 if base in ("matthews_corrcoef", "cohen_kappa") else 0.0
        return intervals.delta(value, matrix.cells(slopes), matrix.total * worth, (low, 1.0))

    def _mean(self, name: str) -> float:
        what = MEANS[name]
        if not self.weight > 0.0:
            return math.nan
        total = math.ldexp(self._number(what.column, what.limbs), what.exponent)
        return brier_scale(self._layout, name) * (total / self.weight)

    def _of_mean(self, name: str) -> Interval | None:
        what = MEANS[name]
        total = math.ldexp(self._number(what.squares, what.limbs), what.square_exponent)
        if what.saturates and total >= columns.SATURATED:
            return None
        scale = brier_scale(self._layout, name)
        square = scale * scale * total / self.weight
        bounds = intervals.mean(self._mean(name), square, self.weight * self.worth)
        if bounds is None or name == "bias":
            return bounds
        low, high = max(bounds[0], 0.0), bounds[1]
        return (math.sqrt(low), math.sqrt(high)) if name == "rmse" else (low, high)

    def _calibration_error(self) -> float:
        if not self.weight > 0.0:
            return math.nan
        gaps, bins = 0.0, self._layout.bins(self._tally).tolist()
        for _, hits, low, high in bins:
            gaps += abs(math.ldexp(low + (high << exact.LIMB_BITS), WEIGHTED) - hits * WEIGHT_UNIT)
        return gaps / self.weight

    def _r2(self) -> float:
        """1 - W * S / (W * T2 - T**2) in whole numbers: no cancellation, whatever the ratio of mean to deviation.

        W is in 2**-20, the sums are in 2**-128. What lies below the rounding of the summands is a constant label.
        """
        samples, weight = self.outcomes, self._row[columns.WEIGHT]
        if samples < 2 or not weight:
            return math.nan
        errors, labels, squares = (
            self._number(start, exact.LIMBS) for start in (columns.SQUARED, columns.TARGET, columns.TARGET_SQUARED)
        )
        variation = ((weight * squares) << 108) - labels * labels
        noise = (weight * (squares >> 100) + weight * 2 * samples) << 108
        if variation <= noise:
            return 1.0 if errors == 0 else 0.0
        return 1.0 - ((errors * weight) << 108) / variation

    def _number(self, column: int, limbs: int) -> int:
        """The whole number that stands in some columns; several metrics share one."""
        number = self._numbers.get(column)
        if number is None:
            number = 0
            for limb in reversed(self._row[column : column + limbs]):
                number = (number << exact.LIMB_BITS) + limb
            self._numbers[column] = number
        return number


def brier_scale(layout: Layout, name: str) -> float:
    """scikit-learn halves the Brier score of two classes; that of one score per row was never doubled."""
    return 0.5 if name == "brier" and layout.task == "multiclass" and layout.classes < 3 else 1.0
