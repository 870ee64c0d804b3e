"""Which models something may happen to as time passes, without asking every one of them.

Invariant: a model that is due at or before a time is among those that `until` returns for it, as long as `note` was
told of each change.
"""

from __future__ import annotations

import heapq
import math


class Dues:
    """When models are due, by name; asking costs what is due, not what there is."""

    def __init__(self) -> None:
        self._of: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        """Also what has been noted before and no longer holds."""

    def note(self, name: str, due: float) -> None:
        """A model is due at a time; infinite: never."""
        if self._of.get(name, math.inf) == due:
            return
        self._of[name] = due
        if due < math.inf:
            heapq.heappush(self._heap, (due, name))
        if len(self._heap) > 2 * len(self._of) + 64:
            self._heap = [(time, each) for each, time in self._of.items() if time < math.inf]
            heapq.heapify(self._heap)

    def until(self, time: float) -> list[str]:
        """The models that are due at or before a time. They are to be noted again.

        >>> dues = Dues()
        >>> dues.note("a", 5.0)
        >>> dues.note("b", 3.0)
        >>> dues.note("a", 9.0)
        >>> dues.until(8.0), dues.until(9.0), dues.until(10.0)
        (['b'], ['a'], [])
        """
        found: list[str] = []
        while self._heap and self._heap[0][0] <= time:
            due, name = heapq.heappop(self._heap)
            if self._of.get(name) == due:
                found.append(name)
                self._of[name] = math.inf
        return found
