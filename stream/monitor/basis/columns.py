"""Events as columns: the form in which everything behind decoding works.

Invariant: all columns of a record have the same length n, and row order is the order in which the shard applies events.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from struct import pack
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


def floats(values: Sequence[float]) -> Floats:
    """Numbers as a column, not to be written to: twice as fast as numpy, which looks at the type of each value.

    Raises struct.error when one is no number, or an integer beyond what a float can be.

    >>> floats([1.5, 2])
    array([1.5, 2. ])
    """
    return np.frombuffer(pack(f"{len(values)}d", *values))


def whole(values: Sequence[int]) -> Ints:
    """The same for integers of 64 bits."""
    return np.frombuffer(pack(f"{len(values)}q", *values), np.int64)


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
    """Shape (n, C): probability of each class, NaN where none came. Binary: C = 1, the positive class. Regression: C =
    1, the place that says how large a loss is expected (`losses.py`)."""
    segments: Ints
    """Shape (n, D): segment code in each segment dimension; column 0 is all zeros, the segment "all"."""
    delay: Floats
    """Seconds from prediction to label."""

    def __len__(self) -> int:
        return len(self.tick)

    def take(self, rows: Ints) -> Outcomes:
        """Some of the rows."""
        return Outcomes(*[getattr(self, name)[rows] for name in self.__struct_fields__])


class Traffic(Struct):
    """Predictions of a chunk that count, n rows in order: failed ones too, but no repeats."""

    tick: Ints
    pane: Ints
    segments: Ints
    failed: npt.NDArray[np.bool_]
    latency: Ints
    """Bucket in the latency histogram; -1 where none came."""
    cells: Ints
    """Shape (n, F): columns of the feature histogram; F = 0 while there is no reference. -1: not counted."""
    guesses: Ints | None = None
    """Shape (n, classes with scores): keys of `guesses.py`, -1 where there is no score; None: nowhere is one. Of a
    regression, shape (n, 1): places of `losses.py`."""
    answers: Ints | None = None
    """Predicted class, 0 for a regression, -1 for failed ones; None while the task is not known."""
    resources: Ints | None = None
    """Shape (n, resources): see `serving.read`."""
    strange: Ints | None = None
    """Rows with a feature that the reference does not know; None: no row."""
    repeats: tuple[Ints, Ints] | None = None
    """Ticks and panes of predictions whose id came before; None: there are none."""

    def __len__(self) -> int:
        return len(self.tick)

    @property
    def again(self) -> tuple[Ints, Ints]:
        """`repeats`, empty where there are none."""
        none = np.empty(0, np.int64)
        return self.repeats or (none, none)

    @property
    def odd(self) -> tuple[Ints, Ints]:
        """Ticks and panes of `strange` rows."""
        rows = np.empty(0, np.int64) if self.strange is None else self.strange
        return self.tick[rows], self.pane[rows]
