"""How many records a shard is given at a time: so few that the page, checkpoints and other shards get their turn soon.

A challenger that needs a millisecond for each outcome would hold up everybody's alerts for as long as a full inbox
takes it. Cutting slices changes no result: a shard's effects do not depend on how records are cut.
"""

from __future__ import annotations

from collections.abc import Mapping

from stream.effects import Side

FIRST, MOST, LEAST = 500, 10_000, 50
"""Records of one side per call of a shard, at first, at most and at least. A call costs as much as a thousand events
besides: 500 at a time take twice as long as 8,000 do (`python -m benchmarks.core --slice 500`). An answer of 4 MiB
holds about 8,500 predictions."""

SECONDS = 0.25
"""Processor time that a call should take at most; half of it is what is aimed at."""

GROWTH = 8
"""At most so much larger is a turn than the one before: what comes next may be slower."""


class Turns:
    """The size of one shard's turns, from the processor time that they took.

    Each side begins with few: the first predictions of a model are read slowly, for nothing is known of it.

    >>> turns = Turns()
    >>> turns.took({"labels": 500}, seconds=0.05); turns.most("labels"), turns.most("predictions")
    (1250, 500)
    >>> turns.took({"labels": 1250}, seconds=1.0); turns.most("labels")
    312
    """

    def __init__(self) -> None:
        self._records = FIRST
        self._seen: dict[Side, int] = {}

    def most(self, side: Side) -> int:
        """Records of a side in the next turn, at most."""
        return min(self._records, max(FIRST, GROWTH * self._seen.get(side, 0)))

    def took(self, counts: Mapping[Side, int], seconds: float) -> None:
        """A turn of so many records by side has taken so much processor time."""
        count = sum(counts.values())
        for side, records in counts.items():
            self._seen[side] = self._seen.get(side, 0) + records
        if seconds > SECONDS:
            self._records = max(LEAST, int(min(count, self._records) * SECONDS / seconds))
        elif seconds < SECONDS / 2 and 2 * count >= self._records:
            growth = min(GROWTH, SECONDS / 2 / seconds) if seconds > 0 else GROWTH
            self._records = min(MOST, int(self._records * growth))
