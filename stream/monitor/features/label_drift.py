"""How far the classes that come true are from those of the reference's outcomes.

Invariant: classes are compared by name, weighted outcomes count as many as they weigh, rounded; a class that the
reference does not know counts as unseen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from stream.events import DriftScores
from stream.monitor.basis.columns import WEIGHT_UNIT, Floats, Ints
from stream.monitor.features import drift
from stream.monitor.features.blocks import Block, Shape
from stream.monitor.features.reference import Categorical
from stream.monitor.metrics.layout import Layout
from stream.monitor.rules.watch import LABEL


def of_classes(layout: Layout, tallies: Ints) -> Ints:
    """Shape (..., classes): outcomes of each class in tallies (..., width)."""
    counts: Ints = np.rint(layout.confusion(tallies).sum(axis=-1) * WEIGHT_UNIT).astype(np.int64)
    return counts


def alike(references: Ints, ticks: int) -> Iterator[tuple[Ints, slice]]:
    """Runs of ticks with the same reference: its counts and the ticks; `references` has shape (1 or ticks, classes)."""
    starts = [0, *(np.flatnonzero((references[1:] != references[:-1]).any(axis=1)) + 1).tolist()]
    stops = [*starts[1:], ticks]
    for start, stop in zip(starts, stops, strict=True):
        yield references[start], slice(start, stop)


class Labels:
    """The classes of a reference, to compare others with.

    >>> labels = Labels(["no", "yes"], np.array([90, 10]))
    >>> float(labels.distance("l_infinity", ["yes", "no"], np.array([30, 70])).round(12))
    0.2
    """

    def __init__(self, names: Sequence[str], counts: Ints) -> None:
        self._names = tuple(names)
        known = [int(counts[code]) if code < len(counts) else 0 for code in range(len(names))]
        feature = Categorical(LABEL, self._names, (), False, (*known, 0, 0, 0, 0))
        self._block = Block(feature, 0, len(names) + 2, len(names) + 3, len(names) + 4)
        self._shape = Shape([self._block])

    def distance(self, test: str, names: Sequence[str], counts: Ints) -> Floats:
        """Shape (...): the distance `test` of outcomes (..., classes), whose classes have these names."""
        unseen = self._block.missing - 1
        at = [self._names.index(name) if name in self._names else unseen for name in names]
        placed = np.zeros((*counts.shape[:-1], self._block.missing), np.int64)
        for code, column in enumerate(at[: counts.shape[-1]]):
            placed[..., column] += counts[..., code]
        found: Floats = drift.DISTANCES[test](self._shape, placed)[..., 0]
        return found

    def scores(self, names: Sequence[str], counts: Ints) -> DriftScores:
        """All that is on the wire about drift, of outcomes (classes)."""
        values = {test: float(self.distance(test, names, counts)) for test in drift.ON_THE_WIRE}
        return DriftScores(**{test: None if np.isnan(value) else value for test, value in values.items()})
