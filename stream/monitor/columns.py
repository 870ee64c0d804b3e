"""Events as columns: the form in which everything behind decoding works.

Invariant: all columns of a record have the same length n, and row order is the order in which the shard applies events.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

T = TypeVar("T")

WEIGHT_UNIT = 2.0**-20
"""Weights are kept as whole multiples of this, so that sums of weights are exact and do not depend on order."""


def picked(rows: Sequence[T], places: Sequence[int]) -> list[T]:
    """Some of the rows, in the order of `places`.

    >>> picked("abc", [2, 0])
    ['c', 'a']
    """
    if len(places) < 2:
        return [rows[place] for place in places]
    return list(itemgetter(*places)(rows))


class Outcomes(Struct):
    """Predictions with their labels, n rows.

    For classification `predicted` and `actual` are class codes (rows and columns of the confusion matrix); for
    regression they are numbers.
    """

    tick: Ints
    """Tick at which the outcome came to be; never falls from row to row."""
    ts: Floats
    """Event time of the prediction, seconds."""
    pane: Ints
    """Pane of the prediction: floor(ts / pane seconds)."""
    predicted: Floats
    actual: Floats
    weight: Ints
    """Sample weight in multiples of WEIGHT_UNIT."""
    scores: Floats
    """Shape (n, C): probability of each class, NaN where none came. Binary: C = 1, the positive class."""
    segments: Ints
    """Shape (n, D): segment code in each segment dimension; column 0 is all zeros, the segment "all"."""
    delay: Floats
    """Seconds from prediction to label."""

    def __len__(self) -> int:
        return len(self.tick)
