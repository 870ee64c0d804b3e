"""Alerts that this worker has published: what is decided once more goes out as it did before.

A store that is restored to an older snapshot makes its shards decide again what is out already. They come to the same
alerts; but what was live then is a backlog now, and one may come a tick sooner or later, so under another id: consumers
would take it for a second alert.
Invariant: rows change only when numbers come again that this worker has published, and then each alert stands for at
most one that was published. What another worker has published is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct, structs

from stream.effects import Channel, Outgoing

REMEMBERED = 1_000
"""Alerts per partition."""

WITHIN = 60.0
"""Seconds of event time between two decisions that can be of the same incident."""


class _Alert(Struct, gc=False):
    ts: float
    fingerprint: str = ""
    state: str = ""


class _Told(Struct, gc=False):
    seq: int
    alert: _Alert
    value: bytes


class _Partition(Struct):
    """What was published of one partition."""

    next: int = 0
    """Number of the next effect, if none come again."""
    told: list[_Told] = []
    lost: list[_Told] = []
    """Those that the shard does not know of, and may decide again."""


_decode = msgspec.json.Decoder(_Alert).decode


class Told:
    """What one worker has published."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}

    def again(self, partition: int, rows: Sequence[Outgoing]) -> list[Outgoing]:
        """Effects of a shard, in order of their numbers, as they are to be published now."""
        known = self._partitions.setdefault(partition, _Partition())
        return [self._row(known, row) for row in rows]

    def _row(self, known: _Partition, row: Outgoing) -> Outgoing:
        if row.seq < known.next:
            known.lost = [*known.lost, *(one for one in known.told if one.seq >= row.seq)][-REMEMBERED:]
            known.told = [one for one in known.told if one.seq < row.seq]
        known.next = row.seq + 1
        if row.channel is not Channel.ALERTS:
            return row
        alert = _decode(row.value)
        if not alert.fingerprint:
            return row
        before = _before(known.lost, alert, row.value)
        if before is not None:
            known.lost.remove(before)
            row, alert = structs.replace(row, value=before.value), before.alert
        known.told = [*known.told[1 - REMEMBERED :], _Told(row.seq, alert, row.value)]
        return row


def _before(lost: Sequence[_Told], alert: _Alert, value: bytes) -> _Told | None:
    """What was published of the same incident: the same alert, else the one decided at the nearest time."""
    alike = [
        one
        for one in lost
        if (one.alert.fingerprint, one.alert.state) == (alert.fingerprint, alert.state)
        and abs(one.alert.ts - alert.ts) <= WITHIN
    ]
    return min(alike, key=lambda one: (one.value != value, abs(one.alert.ts - alert.ts)), default=None)
