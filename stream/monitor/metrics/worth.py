"""Business value: what a model's right and wrong answers are worth, on average per outcome.

The configuration gives a value to each kind of outcome: `{tp: 10, fp: -2, fn: -50}` for a binary model, or by truth
and prediction: `{cat: {cat: 5, dog: -1}, dog: {dog: 5}}`. What it does not name is worth nothing.
Invariant: a function of the confusion matrix, so exact; times the outcomes it is the total.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from msgspec import UNSET

from stream.events import Estimated
from stream.monitor.basis import intervals
from stream.monitor.basis.columns import WEIGHT_UNIT, Floats, Ints
from stream.monitor.basis.intervals import Interval
from stream.monitor.metrics import layout as columns
from stream.monitor.metrics.confusion import divide
from stream.monitor.metrics.layout import Layout

Values: TypeAlias = Mapping[str, float | Mapping[str, float]]

BUSINESS_VALUE = "business_value"

OUTCOMES = ("tp", "fp", "fn", "tn")
"""Of a binary model: predicted positive and right, predicted positive and wrong, and so on."""


def matrix(layout: Layout, values: Values, class_names: Sequence[str]) -> Floats:
    """What each cell of a confusion matrix is worth: rows truth, columns prediction.

    >>> matrix(Layout("binary", 2), {"tp": 10.0, "fn": -50.0}, ["no", "yes"]).tolist()
    [[0.0, 0.0], [-50.0, 10.0]]
    >>> matrix(Layout("multiclass", 2), {"b": {"a": -1.0}}, ["a", "b"]).tolist()
    [[0.0, 0.0], [-1.0, 0.0]]
    """
    worth = np.zeros((layout.classes, layout.classes))
    known = {name: code for code, name in enumerate(class_names[: layout.classes])}
    for name, value in values.items():
        if isinstance(value, Mapping):
            for predicted, of_cell in value.items():
                if name in known and predicted in known:
                    worth[known[name], known[predicted]] = of_cell
            continue
        truth, predicted_positive = name in ("tp", "fn"), name in ("tp", "fp")
        positive = np.arange(layout.classes) == layout.positive
        worth[np.ix_(positive == truth, positive == predicted_positive)] = value
    return worth


def evaluate(layout: Layout, tally: Ints, values: Values, class_names: Sequence[str]) -> tuple[Floats, Ints]:
    """Mean value per outcome, and outcomes (...) of tallies (..., width)."""
    counts = _counts(layout, tally)
    worth = matrix(layout, values, class_names)
    return divide((counts * worth).sum(axis=(-1, -2)), counts.sum(axis=(-1, -2))), tally[..., columns.OUTCOMES]


def interval(layout: Layout, tally: Ints, values: Values, class_names: Sequence[str]) -> Interval | None:
    """The 95 % interval of the mean value of one tally (width,), from the sum of squares."""
    counts, worth = _counts(layout, tally), matrix(layout, values, class_names)
    total = float(counts.sum())
    if not total > 0:
        return None
    weight, squares = (float(each) for each in columns.weights(tally))
    mean, mean_square = float((counts * worth).sum()) / total, float((counts * worth**2).sum()) / total
    return intervals.mean(mean, mean_square, weight * weight / squares)


def report(layout: Layout, tally: Ints, values: Values, class_names: Sequence[str]) -> Estimated:
    """The metric of one tally (width,) with its interval."""
    value, samples = evaluate(layout, tally, values, class_names)
    bounds = interval(layout, tally, values, class_names)
    lower, upper = bounds if bounds is not None else (UNSET, UNSET)
    return Estimated(None if np.isnan(value) else float(value), int(samples), lower, upper)


def _counts(layout: Layout, tally: Ints) -> Floats:
    counted: Floats = np.multiply(layout.confusion(tally), WEIGHT_UNIT, dtype=np.float64)
    return counted
