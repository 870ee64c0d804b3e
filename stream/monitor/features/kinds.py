"""Tells from reference events which features are numbers, which are categories, and which are no use to watch.

Identifiers and clocks drift by nature: a histogram of them alarms for ever and says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from stream.config import FeatureKind, Limits
from stream.events import Scalar
from stream.monitor.basis.columns import Floats
from stream.monitor.features.reference import OUTPUT

_NUMBERS: set[type] = {float, int}

ENOUGH = 50
"""Values from which on a column may be found to be an identifier or a clock."""


def infer(
    columns: Mapping[str, Sequence[Scalar] | Floats], declared: Mapping[str, FeatureKind] | None, limits: Limits
) -> dict[str, FeatureKind]:
    """The kind of each feature, in the order of `columns`; `columns` hold the values in event order.

    `declared`, when given, is the answer: what it does not name is not monitored. Else at most `limits.features` are.
    """
    if declared is not None:
        return {name: kind for name, kind in declared.items() if name != OUTPUT}
    kinds: dict[str, FeatureKind] = {}
    for name, values in columns.items():
        there = values if isinstance(values, np.ndarray) else [value for value in values if value is not None]
        kinds[name] = "ignore" if name == OUTPUT else kind(there, limits)
    watched = [name for name, each in kinds.items() if each != "ignore"]
    return {**kinds, **dict.fromkeys(watched[limits.features :], "ignore")}


def kind(values: Sequence[Scalar] | Floats, limits: Limits) -> FeatureKind:
    """The kind of a feature with these values, none of them None or, in an array, NaN.

    A feature that was always empty is categorical: whatever it holds later is unseen, and that is seen.
    """
    if isinstance(values, np.ndarray):
        numbers = values[np.abs(values) < 1e308]
    elif _NUMBERS.isdisjoint(map(type, values)):
        numbers = np.empty(0)
    else:
        numbers = np.array([float(cast(float, value)) for value in values if _is_number(value)], np.float64)
    if len(numbers) * 2 > len(values):
        return "ignore" if _is_clock(numbers) else "numeric"
    distinct = len(set(values))
    is_identifier = len(values) >= ENOUGH and distinct > max(limits.categories, len(values) // 2)
    return "ignore" if is_identifier else "categorical"


def _is_number(value: Scalar) -> bool:
    return type(value) in _NUMBERS and abs(cast(float, value)) < 1e308


def _is_clock(numbers: Floats) -> bool:
    """Whether numbers in event order go one way only, as counters, identifiers and times do."""
    if len(numbers) < ENOUGH:
        return False
    steps = np.diff(numbers)
    one_way = (steps >= 0).mean() >= 0.99 or (steps <= 0).mean() >= 0.99
    return bool(one_way) and len(np.unique(numbers)) * 2 >= len(numbers)
