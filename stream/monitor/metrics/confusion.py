"""Metrics of confusion matrices (row: truth, column: prediction): of any number of matrices at once, or of one.

A metric of single classes is a share whose part and whole are sums of the matrix's margins; SHARES says which, and the
values of many matrices, the values of one and its slopes are all read from there.
Invariant: values equal scikit-learn's with `zero_division=nan`; a mean over classes leaves out those without a value,
and those that occur neither in truth nor in prediction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TypeAlias, TypeVar

import numpy as np

from stream.monitor.basis.columns import WEIGHT_UNIT, Floats, Ints
from stream.monitor.metrics.metricnames import Subject

Factors: TypeAlias = tuple[int, int, int, int]
"""How often a class's hits, its outcomes in the truth, its predictions, and all outcomes are counted."""

SHARES: dict[str, tuple[Factors, Factors]] = {
    "precision": ((1, 0, 0, 0), (0, 0, 1, 0)),
    "recall": ((1, 0, 0, 0), (0, 1, 0, 0)),
    "f1": ((2, 0, 0, 0), (0, 1, 1, 0)),
    "specificity": ((1, -1, -1, 1), (0, -1, 0, 1)),
    "positive_rate": ((0, 0, 1, 0), (0, 0, 0, 1)),
}
"""Part and whole of each metric of single classes."""

Slopes: TypeAlias = tuple[list[float], list[float], list[float]]
"""How a metric grows with a class's hits, its outcomes in the truth, and its predictions, all outcomes staying."""

Number = TypeVar("Number", float, Floats)


def value_of(counts: Floats, subject: Subject, code: int | None) -> Floats:
    """Values (...) of confusion matrices (..., K, K). `code`: the class that a plain or class form is about."""
    truth, answers = counts.sum(axis=-1), counts.sum(axis=-2)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    total, right = truth.sum(axis=-1), hits.sum(axis=-1)
    if subject.base == "accuracy":
        return divide(right, total)
    if subject.base == "error_rate":
        return divide(total - right, total)
    if subject.base == "balanced_accuracy":
        return average(divide(hits, truth), np.ones_like(truth))
    both = (truth * answers).sum(axis=-1)
    if subject.base == "cohen_kappa":
        return 1.0 - divide(total - right, total - divide(both, total))
    if subject.base == "matthews_corrcoef":
        shared, spread = _correlation(right, total, both, (answers**2).sum(axis=-1), (truth**2).sum(axis=-1))
        value = np.where(spread > 0.0, shared / np.sqrt(np.where(spread > 0.0, spread, 1.0)), 0.0)
        return np.where(total > 0.0, value, np.nan)
    part, whole = (_sum(factors, (hits, truth, answers, total[..., None])) for factors in SHARES[subject.base])
    values = divide(*np.broadcast_arrays(part, whole))
    if subject.form in ("macro", "weighted"):
        plain = average(values, (truth + answers > 0.0).astype(np.float64))
        weighted = plain if subject.form == "macro" else average(values, truth)
        return np.where(np.isnan(weighted), plain, weighted)  # scikit-learn ignores weights that are all zero
    return values[..., code] if code is not None and code < values.shape[-1] else np.full(total.shape, np.nan)


class Matrix:
    """One confusion matrix, for which plain numbers are many times faster than arrays."""

    def __init__(self, counts: Ints | Floats, unit: float = WEIGHT_UNIT) -> None:
        """`counts` (K, K) in `unit`."""
        self._counts, self._unit = counts, unit
        self.truth: list[float] = [n * unit for n in counts.sum(axis=1).tolist()]
        """Weight of each class in the truth."""
        self.answers: list[float] = [n * unit for n in counts.sum(axis=0).tolist()]
        self.hits: list[float] = [n * unit for n in counts.diagonal().tolist()]
        self.total, self.right = sum(self.truth), sum(self.hits)
        self._present = [1.0 if a + t > 0.0 else 0.0 for a, t in zip(self.answers, self.truth, strict=True)]
        self._shares: dict[str, tuple[list[float], list[float], list[float]]] = {}

    def shares(self, base: str) -> tuple[list[float], list[float], list[float]]:
        """A metric of single classes: values, parts and wholes."""
        found = self._shares.get(base)
        if found is None:
            margins, total = list(zip(self.hits, self.truth, self.answers, strict=True)), self.total
            parts, wholes = (
                [a * hits + b * truth + c * answers + d * total for hits, truth, answers in margins]
                for a, b, c, d in SHARES[base]
            )
            found = [_ratio(part, whole) for part, whole in zip(parts, wholes, strict=True)], parts, wholes
            self._shares[base] = found
        return found

    def value(self, subject: Subject, code: int | None) -> float:
        """As `value_of`."""
        base, total = subject.base, self.total
        if base == "accuracy":
            return _ratio(self.right, total)
        if base == "error_rate":
            return _ratio(total - self.right, total)
        if base == "balanced_accuracy":
            return mean(self.shares("recall")[0], [1.0] * len(self.truth))
        if base == "cohen_kappa":
            return 1.0 - _ratio(total - self.right, total - _ratio(self._both, total))
        if base == "matthews_corrcoef":
            shared, spread = self._correlation()
            return (shared / math.sqrt(spread) if spread > 0.0 else 0.0) if total > 0.0 else math.nan
        values = self.shares(base)[0]
        if subject.form in ("macro", "weighted"):
            weights = self._class_weights(subject)
            return math.nan if weights is None else mean(values, weights)
        return values[code] if code is not None and code < len(values) else math.nan

    def slopes(self, subject: Subject) -> Slopes | None:
        """The derivatives of a metric that is no share by itself; None where it has none."""
        total, none = self.total, [0.0] * len(self.truth)
        if subject.base == "cohen_kappa":
            wrong, chance = total - self.right, total - self._both / total
            if not chance > 0.0:
                return None
            each = -wrong / (total * chance * chance)
            return [1.0 / chance for _ in none], [each * a for a in self.answers], [each * t for t in self.truth]
        if subject.base == "matthews_corrcoef":
            shared, spread = self._correlation()
            if not spread > 0.0:
                return None
            root = math.sqrt(spread)
            tilts = [shared / (root * (total * total - _squares(margin))) for margin in (self.truth, self.answers)]
            pairs = list(zip(self.truth, self.answers, strict=True))
            by_truth = [tilts[0] * truth - answers / root for truth, answers in pairs]
            return (
                [total / root for _ in none],
                by_truth,
                [tilts[1] * answers - truth / root for truth, answers in pairs],
            )
        weights = self._class_weights(subject)
        if weights is None:
            return None
        values, _, wholes = self.shares(subject.base)
        whole = sum(weight for value, weight in zip(values, weights, strict=True) if not math.isnan(value))
        middle, moves = mean(values, weights), weights is self.truth
        slopes: Slopes = none, none.copy(), none.copy()
        part_of, whole_of = SHARES[subject.base]
        for code, (value, weight) in enumerate(zip(values, weights, strict=True)):
            if math.isnan(value):
                continue
            scale = weight / (wholes[code] * whole)
            for slope, in_part, in_whole in zip(slopes, part_of, whole_of, strict=False):
                slope[code] = (in_part - value * in_whole) * scale
            if moves:
                slopes[1][code] += (value - middle) / whole
        return slopes

    def cells(self, slopes: Slopes) -> list[tuple[float, float]]:
        """Share of all outcomes, and slope by that share, of each cell that is not empty."""
        by_hits, by_truth, by_answers = ([slope * self.total for slope in each] for each in slopes)
        return [
            (share, by_truth[truth] + by_answers[answer] + (by_hits[truth] if truth == answer else 0.0))
            for share, truth, answer in self._filled
        ]

    @cached_property
    def _filled(self) -> list[tuple[float, int, int]]:
        """Share, truth and prediction of each cell that is not empty."""
        total = self.total / self._unit
        return [
            (count / total, truth, answer)
            for truth, row in enumerate(self._counts.tolist())
            for answer, count in enumerate(row)
            if count
        ]

    def _class_weights(self, subject: Subject) -> list[float] | None:
        """What a mean over classes weighs them by; None where it is over none."""
        values = self.shares(subject.base)[0]
        for weights in (self.truth, self._present) if subject.form == "weighted" else (self._present,):
            if any(weight > 0.0 and not math.isnan(value) for value, weight in zip(values, weights, strict=True)):
                return weights
        return None

    @cached_property
    def _both(self) -> float:
        return sum(truth * answers for truth, answers in zip(self.truth, self.answers, strict=True))

    def _correlation(self) -> tuple[float, float]:
        return _correlation(self.right, self.total, self._both, _squares(self.answers), _squares(self.truth))


def mean(values: Iterable[float], weights: Sequence[float]) -> float:
    """`average` of plain numbers."""
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if not math.isnan(value)]
    return _ratio(sum(value * weight for value, weight in known), sum(weight for _, weight in known))


def average(values: Floats, weights: Floats) -> Floats:
    """Weighted mean over the last axis of the values that are not NaN; NaN where they have no weight."""
    defined = ~np.isnan(values)
    return divide((np.where(defined, values, 0.0) * weights).sum(axis=-1), (defined * weights).sum(axis=-1))


def divide(part: Floats, whole: Floats) -> Floats:
    """part / whole, NaN where the whole is not positive."""
    return np.where(whole > 0.0, part / np.where(whole > 0.0, whole, 1.0), np.nan)


def extremes(values: Floats) -> tuple[Floats, Floats]:
    """Smallest and largest along the last axis, NaN aside; both NaN where fewer than two are known."""
    known = ~np.isnan(values)
    compared = known.sum(axis=-1) >= 2
    low = np.where(known, values, np.inf).min(axis=-1, initial=np.inf)
    high = np.where(known, values, -np.inf).max(axis=-1, initial=-np.inf)
    return np.where(compared, low, np.nan), np.where(compared, high, np.nan)


def _ratio(part: float, whole: float) -> float:
    """`divide` of plain numbers."""
    return part / whole if whole > 0.0 else math.nan


def _sum(factors: Factors, margins: tuple[Floats, Floats, Floats, Floats]) -> Floats:
    counted = [(factor, margin) for factor, margin in zip(factors, margins, strict=True) if factor]
    total = counted[0][0] * counted[0][1]
    for factor, margin in counted[1:]:
        total = total + factor * margin
    return total


def _correlation(right: Number, total: Number, both: Number, answers: Number, truth: Number) -> tuple[Number, Number]:
    """Numerator and squared denominator of the correlation; `both`, `answers` and `truth` are sums over classes of
    products and squares (J. Gorodkin 2004)."""
    square = total * total
    return right * total - both, (square - answers) * (square - truth)


def _squares(margin: list[float]) -> float:
    return sum(each * each for each in margin)
