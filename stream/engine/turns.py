"""How many records a shard is given at a time: so few that the page, checkpoints and other shards get their turn soon.

A challenger that needs a millisecond for each outcome would hold up everybody's alerts for as long as a full inbox
takes it. Cutting slices changes no result: a shard's effects do not depend on how records are cut.
"""

from __future__ import annotations

FIRST, MOST, LEAST = 500, 8_000, 50
"""Records of one side per call of a shard, at first, at most and at least. A call costs as much as a thousand events
besides: 500 at a time take twice as long as 8,000 do (`python -m benchmarks.core --slice 500`)."""

SECONDS = 0.25
"""Processor time that a call should take at most; half of it is what is aimed at."""

GROWTH = 8
"""At most so much larger is a turn than the one before: what comes next may be slower."""


class Turns:
    """The size of one shard's turns, from the processor time that they took.

    >>> turns = Turns()
    >>> turns.took(500, seconds=0.05); turns.records
    1250
    >>> turns.took(1250, seconds=1.0); turns.records
    312
    """

    def __init__(self) -> None:
        self.records = FIRST

    def took(self, count: int, seconds: float) -> None:
        """A turn of `count` records has taken so much processor time."""
        if seconds > SECONDS:
            self.records = max(LEAST, int(min(count, self.records) * SECONDS / seconds))
        elif seconds < SECONDS / 2 and 2 * count >= self.records:
            growth = min(GROWTH, SECONDS / 2 / seconds) if seconds > 0 else GROWTH
            self.records = min(MOST, int(self.records * growth))
