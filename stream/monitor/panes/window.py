"""Windows: running sums of the newest panes.

A window of w panes ends with the pane that the watermark is in. Since sums are integers, what was added is subtracted
exactly, and a window rebuilt from its panes equals one that was carried along.
Invariant: `sums` is the sum of all known panes with first <= index <= last.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np

from stream.events import Estimated
from stream.monitor.metrics.scores import ScoreHistogram
from stream.monitor.panes.pane import Pane, Sums


class Window:
    """The sum of the last `panes` panes."""

    def __init__(self, seconds: float, panes: int) -> None:
        self.seconds = seconds
        self.panes = panes
        self.last = -1
        self.sums = Sums()
        self.told: dict[int, tuple[Hashable, dict[str, Estimated]]] = {}
        """By segment the metrics last shown, and what they were made of."""

    @property
    def first(self) -> int:
        """The oldest pane inside."""
        return self.last - self.panes + 1

    def covers(self, pane: int) -> bool:
        """Whether a pane is inside."""
        return self.first <= pane <= self.last

    def leaves_at(self, pane: int) -> int:
        """The watermark's pane at which `pane` falls out."""
        return pane + self.panes

    def slide(self, last: int, panes: dict[int, Pane]) -> bool:
        """Moves the end to pane `last`; tells whether any content changed."""
        if last <= self.last:
            return False
        before, self.last = (self.first, self.last), last
        leaving = [panes[i] for i in self._known(panes, before[0], min(before[1], self.first - 1))]
        entering = [panes[i] for i in self._known(panes, max(self.first, before[1] + 1), last)]
        for pane in leaving:
            self.sums.subtract(pane.sums)
        for pane in entering:
            self.sums.add(pane.sums)
        if leaving:
            self._complete(panes)
            inside = [panes[index].sums.serving.peaks for index in self._known(panes, self.first, last)]
            self.sums.serving.peaks = np.max([np.zeros_like(self.sums.serving.peaks), *inside], axis=0)
        return bool(leaving or entering)

    def _complete(self, panes: dict[int, Pane]) -> None:
        """Merges score histograms anew that have become small enough to know every score."""
        for segment, histograms in self.sums.scores.items():
            for number, histogram in enumerate(histograms):
                if histogram.incomplete:
                    inside = [
                        panes[index].sums.scores.get(segment, []) for index in self._known(panes, self.first, self.last)
                    ]
                    histograms[number] = ScoreHistogram.total(each[number] for each in inside if number < len(each))

    def rebuild(self, panes: dict[int, Pane]) -> None:
        """Sums up from nothing, after a restore."""
        self.sums = Sums()
        for index in self._known(panes, self.first, self.last):
            self.sums.add(panes[index].sums)

    @staticmethod
    def _known(panes: dict[int, Pane], first: int, last: int) -> Iterable[int]:
        if last - first > len(panes):
            return sorted(index for index in panes if first <= index <= last)
        return [index for index in range(first, last + 1) if index in panes]
