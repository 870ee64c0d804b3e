"""How often to checkpoint: `every` is a floor, stretched so that checkpoints use a twentieth of the worker's time.

Invariant: over any longer span, seconds of processor time in encoding and committing <= `SHARE` of wall time, but for
alerts, silence, and where nothing can go on without a checkpoint. Time that a commit merely waits for the store or the
disk does not count: the shard works meanwhile.
"""

from __future__ import annotations

SHARE = 0.05
"""Share of the worker's time that checkpoints may use."""

URGENT_SHARE = 0.4
"""The same while alerts wait: a storm of alerts must not stop the worker either."""


class Cadence:
    """The interval of one worker, from what the last checkpoint of each partition has cost: the time after it pays for
    it, so a large one after a backlog is no reason to wait long after the next.

    >>> cadence = Cadence(every=0.5)
    >>> cadence.interval()
    0.5
    >>> cadence.spent(0, seconds=0.1); cadence.interval()
    2.0
    >>> cadence.spent(0, seconds=0.01); cadence.interval()
    0.5
    """

    def __init__(self, every: float) -> None:
        self.every = every
        self._cost: dict[int, float] = {}

    def spent(self, partition: int, seconds: float) -> None:
        """One checkpoint of a partition has cost `seconds` of processor time."""
        self._cost[partition] = seconds

    def forget(self, partition: int) -> None:
        """The partition went to another worker."""
        self._cost.pop(partition, None)

    def interval(self, urgent: bool = False) -> float:
        """Seconds between two checkpoints of the same partition; with `urgent`, between two that alerts ask for."""
        total = sum(self._cost.values())
        if urgent:
            return min(self.every, total / URGENT_SHARE)
        return max(self.every, total / SHARE)
