"""What came in of one partition and is not applied yet, and what is applied and not acked yet.

Invariant: slices are taken in the order in which they were fetched since the newest seek, none twice and none after one
that is missing; records come out from the offset that the shard is waiting for.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

from msgspec import Struct

from stream.effects import SIDES, Record, Side
from stream.engine import flow
from stream.engine.flow import Load, SideState
from stream.engine.slices import Progress, Seek, Slice

LOOK_EVERY, LOST_LOOKS = 0.1, 20
"""A slice that did not come in so many looks, seconds apart, was lost on its way through Faust."""


class _Waiting(Struct):
    """What is left of a slice."""

    records: list[Record]
    asked: float
    weight: int
    ack: Callable[[], object]


class Inbox:
    """Both sides of one partition."""

    def __init__(self, taken: Mapping[Side, int | None]) -> None:
        """`taken` are the offsets of the first records that are not applied; None for a side that is not known."""
        self.sides: dict[Side, SideState] = {}
        self.reread = 0
        """Records that came again below what was taken: a topic was cut or made anew."""
        self.received: dict[Side, int] = {}
        """Slices that came since the newest seek."""
        self._seeks: dict[Side, Seek] = {}
        self._gap = False
        self._looks, self._looked = 0, 0.0
        """Looks in a row that found slices on their way and none that had come; when the last one was."""
        self._taken = dict(taken)
        self._slices: dict[Side, deque[_Waiting]] = {side: deque() for side in SIDES}
        self._unacked: dict[Side, deque[tuple[int, Callable[[], object]]]] = {side: deque() for side in SIDES}

    @property
    def wanted(self) -> dict[Side, int | None]:
        """Offsets to read from; None for a side of which nothing was ever seen."""
        return dict(self._taken)

    def attach(self, seeks: Mapping[Side, Seek]) -> None:
        """Takes the slices that follow these seeks."""
        now = time.monotonic()
        self._seeks = dict(seeks)
        self.received = dict.fromkeys(SIDES, 0)
        self._gap, self._looks = False, 0
        self.sides = {
            side: SideState(opened=now, taken=self._taken[side] or seek.position, delivered=seek.position)
            for side, seek in seeks.items()
        }

    def detach(self) -> None:
        """Takes no more slices and forgets those not applied; they are read again after the next `attach`."""
        self._seeks = {}
        for side in SIDES:
            self._slices[side].clear()
        for state in self.sides.values():
            state.waiting = state.slices = 0

    @property
    def attached(self) -> bool:
        """Whether slices are taken."""
        return bool(self._seeks)

    @property
    def waiting(self) -> int:
        """Records that were not applied yet."""
        return sum(state.waiting for state in self.sides.values())

    @property
    def arrived(self) -> float:
        """When records last came, or were held back, by a monotonic clock; 0 before any."""
        return max((state.arrived for state in self.sides.values()), default=0.0)

    def expect(self, part: Slice, side: Side) -> None:
        """A slice is on its way: until it was applied, the side is not caught up."""
        if self.attached and part.ticket == self._seeks[side].ticket:
            self.sides[side].delivered = part.records[-1].offset + 1

    def take(self, part: Slice, side: Side, ack: Callable[[], object]) -> bool:
        """Takes a slice in; False if it is not the next one after the seek."""
        if not self.attached or part.ticket != self._seeks[side].ticket:
            # After a later seek than ours nothing that follows ours will come.
            self._gap = self._gap or (self.attached and part.ticket > self._seeks[side].ticket)
            return False
        if part.number != self.received[side]:
            self._gap = True
            return False
        self.received[side] += 1
        self._looks = 0
        weight = flow.slice_weight(part.records)
        self._slices[side].append(_Waiting(part.records, part.asked, weight, ack))
        state = self.sides[side]
        state.waiting += len(part.records)
        state.slices += weight
        state.arrived = time.monotonic()
        return True

    def look(self, side: Side, progress: Progress) -> None:
        """Learns how far the client has read. Until the slices have come, its position says nothing: a topic with
        slices on their way would pass for one that is caught up, and the other would go on without it.
        """
        state = self.sides[side]
        state.fetched = progress.position if progress.slices == self.received[side] else None
        state.highwater = progress.highwater
        if progress.asked - state.asked >= flow.FRESH:
            state.heard = progress.asked
        state.asked = max(state.asked, progress.asked)

    def lost(self, now: float) -> bool:
        """Whether slices were fetched and never came, which Faust does to some around a rebalance.

        A gap says so. Where nothing follows, it is that many looks, some time apart, between which nothing came: a
        worker that was held up for long has not lost anything.
        """
        if not self.attached or all(self.received[side] == self._seeks[side].slices for side in SIDES):
            self._looks = 0
        elif now - self._looked >= LOOK_EVERY:
            self._looks += 1
            self._looked = now
        return self.attached and (self._gap or self._looks > LOST_LOOKS)

    def ready(self, buffered: Mapping[Side, int], load: Load) -> bool:
        """Whether `next_records` would give any."""
        now = time.monotonic()
        return any(self._goes(side, now) for side in self._due(buffered, load, now))

    def _due(self, buffered: Mapping[Side, int], load: Load, now: float) -> list[Side]:
        """The sides of which something may be applied."""
        return [side for side in SIDES if not flow.far_ahead(side, self.sides, buffered, load, now)]

    def _goes(self, side: Side, now: float) -> bool:
        slices = self._slices[side]
        return bool(slices) and not flow.too_new(slices[0].asked, self.sides[flow.OTHER[side]], now)

    def next_records(
        self, buffered: Mapping[Side, int], load: Load, most: Callable[[Side], int]
    ) -> dict[Side, list[Record]]:
        """Takes out what is to be applied next, at most so many of each side; `buffered` wait in the shard."""
        now = time.monotonic()
        due = self._due(buffered, load, now)
        return {side: self._next_of(side, most(side), now) for side in due if self._goes(side, now)}

    def _next_of(self, side: Side, most: int, now: float) -> list[Record]:
        slices, state = self._slices[side], self.sides[side]
        records: list[Record] = []
        while len(records) < most and self._goes(side, now):
            first = slices[0]
            part = first.records
            if len(part) > most - len(records):
                part = first.records[: most - len(records)]
                first.records = first.records[len(part) :]
            else:
                slices.popleft()
                state.slices -= first.weight
                self._unacked[side].append((part[-1].offset, first.ack))
            state.given = max(state.given, first.asked)
            state.waiting -= len(part)
            last = part[-1].offset
            if part[0].offset < state.taken:
                self.reread += len(part)
                part = [record for record in part if record.offset >= state.taken]
                self.reread -= len(part)
            state.taken = max(state.taken, last + 1)
            self._taken[side] = state.taken
            records = records + part if records else part
        return records

    def ack(self, reached: Mapping[Side, int | None]) -> None:
        """Acks the slices that lie below these offsets: a checkpoint covers them."""
        for side in SIDES:
            unacked = self._unacked[side]
            while unacked and unacked[0][0] < (reached[side] or 0):
                unacked.popleft()[1]()
