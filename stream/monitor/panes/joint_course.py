"""What a chunk adds to the sums of all features together, by pane and tick.

Invariant: window sums before + `running(…)[-1]` is what the window holds once the chunk is added.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stream.monitor.basis.columns import Ints, Traffic
from stream.monitor.features.embedding import WIDTH, Embedding
from stream.monitor.panes.window import Window


class JointCourse:
    """The events of one chunk that have features and are not part of the reference."""

    def __init__(self, embedding: Embedding, traffic: Traffic, at: Ints) -> None:
        """`at`: the tick of each row of `traffic`, as a place among the chunk's ticks; never falls."""
        counted = np.flatnonzero(traffic.cells[:, 0] >= 0) if traffic.cells.shape[1] else np.empty(0, np.intp)
        counted = counted[np.argsort(traffic.pane[counted], kind="stable")]
        pane, place = traffic.pane[counted], at[counted]
        first = np.ones(len(counted), np.bool_)
        first[1:] = (np.diff(pane) != 0) | (np.diff(place) != 0)
        starts = np.flatnonzero(first)
        self._pane, self._at = pane[starts], place[starts]
        self._sums = np.zeros((0, WIDTH), np.int64)
        if len(counted):
            self._sums = embedding.sums(traffic.cells[counted], starts)

    def running(self, window: Window, picked: Ints) -> Ints:
        """Shape (len(picked), WIDTH): what a window holds at the end of some of the ticks."""
        total = np.zeros((len(picked), WIDTH), np.int64)
        place = np.searchsorted(picked, self._at, side="left")
        rows = (place < len(picked)) & (self._pane >= window.first)
        np.add.at(total, place[rows], self._sums[rows])
        np.cumsum(total, axis=0, out=total)
        if len(window.sums.joint):
            total += window.sums.joint
        return total

    def panes(self) -> Iterator[tuple[int, Ints]]:
        """Pane and what is added to it."""
        if len(self._pane):
            panes, starts = np.unique(self._pane, return_index=True)  # they ascend
            yield from zip(panes.tolist(), np.add.reduceat(self._sums, starts, axis=0), strict=True)
