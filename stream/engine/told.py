"""Alerts that are on their topic already: what is decided once more goes out as it did before.

A store that is restored to an older snapshot makes its shards decide again what is out already. They come to the same
alerts; but what was live then is a backlog now, and one may come a tick sooner or later, so under another id: consumers
would take it for a second alert. The topic says which are out: each carries the shard that decided it, and its number.
Invariant: rows change only when numbers come again that the topic has, and then each alert stands for at most one that
is there; how often a row is given changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec
from msgspec import Struct, field, structs

from stream.effects import Channel, Outgoing

SHARD = "shard"
"""Header of an alert: consumer group and partition of the shard that decided it, such as `stream/3`."""

SEQ = "seq"
"""Header of an alert: its number among the effects of that shard."""

WITHIN = 60.0
"""Seconds of event time between two decisions that can be of the same incident."""


class Message(Protocol):
    """One record of the alert topic."""

    @property
    def value(self) -> bytes | None:
        """The alert."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """What it was sent with."""


class _Alert(Struct, gc=False):
    ts: float
    fingerprint: str = ""
    state: str = ""


class _Told(Struct, gc=False):
    seq: int
    alert: _Alert
    value: bytes


class _Partition(Struct):
    """One shard, since this worker has it."""

    first: int | None = None
    """Number of the first effect that was given here: all before it are known to the shard, and not decided again."""
    told: list[_Told] | None = None
    """What is out and may be decided again; None until the topic was read."""
    given: dict[int, bytes] = field(default_factory=dict)
    """What went out in place of an effect, by its number."""


_decode = msgspec.json.Decoder(_Alert).decode


class Told:
    """What the shards of one worker have published, whichever worker they were on then."""

    def __init__(self, group: str, recall: Callable[[], Awaitable[Sequence[Message]]]) -> None:
        """`recall` reads the end of the alert topic. It is called before the first alert of a shard goes out."""
        self._group, self._recall = group, recall
        self._partitions: dict[int, _Partition] = {}
        self._reading = asyncio.Lock()

    def took(self, partition: int) -> None:
        """The shard comes from the store, and others may have published of it."""
        self._partitions[partition] = _Partition()

    async def again(self, partition: int, rows: Sequence[Outgoing]) -> list[Outgoing]:
        """Effects of a shard, in order of their numbers, as they are to be published now. Raises what `recall` does."""
        known = self._partitions.setdefault(partition, _Partition())
        if rows and known.first is None:
            known.first = rows[0].seq
        if any(row.channel is Channel.ALERTS for row in rows):
            async with self._reading:
                if known.told is None:
                    await self._read()
            self._forget(known, rows[0].seq)
        return [self._alert(partition, known, row) if row.channel is Channel.ALERTS else row for row in rows]

    async def _read(self) -> None:
        """Reads what is out of all shards that were taken until now."""
        unread = {f"{self._group}/{number}": each for number, each in self._partitions.items() if each.told is None}
        found: dict[str, dict[bytes, _Told]] = {shard: {} for shard in unread}
        for message in await self._recall():
            headers = dict(message.headers)
            shard = headers.get(SHARD, b"").decode(errors="replace")
            if shard in found and message.value is not None:
                try:
                    told = _Told(int(headers[SEQ]), _decode(message.value), message.value)
                except (KeyError, ValueError, msgspec.MsgspecError):
                    continue  # not one of ours
                found[shard][message.value] = told  # a repeat stands for the same alert
        for shard, known in unread.items():
            known.told = list(found[shard].values())

    def _forget(self, known: _Partition, first: int) -> None:
        begin = known.first or 0
        known.told = [one for one in known.told or () if one.seq >= begin]
        known.given = {seq: value for seq, value in known.given.items() if seq >= first}

    def _alert(self, partition: int, known: _Partition, row: Outgoing) -> Outgoing:
        value = known.given.get(row.seq)
        if value is None:
            value = known.given[row.seq] = self._as_before(known, row.value)
        headers = (*row.headers, (SHARD, f"{self._group}/{partition}".encode()), (SEQ, str(row.seq).encode()))
        return structs.replace(row, value=value, headers=headers)

    def _as_before(self, known: _Partition, value: bytes) -> bytes:
        """What was published of the same incident: the same alert, else the one decided at the nearest time."""
        alert = _decode(value)
        alike = [
            one
            for one in known.told or ()
            if alert.fingerprint
            and (one.alert.fingerprint, one.alert.state) == (alert.fingerprint, alert.state)
            and abs(one.alert.ts - alert.ts) <= WITHIN
        ]
        before = min(alike, key=lambda one: (one.value != value, abs(one.alert.ts - alert.ts)), default=None)
        if before is None or known.told is None:
            return value
        known.told.remove(before)
        return before.value
