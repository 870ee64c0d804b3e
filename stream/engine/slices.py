"""Slices of partitions on their way from the client to the engine, and what both sides say of them.

Invariant: slices carry the ticket of the seek they follow from and are numbered since, so that the engine sees a stale
or a lost one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct

from stream.effects import Record
from stream.engine.assignor import Copartitioned
from stream.engine.group import Membership


class Slice(Struct, frozen=True):
    """Records of one partition, in order, with the ticket of the seek they follow from."""

    topic: str
    partition: int
    ticket: int
    number: int
    """Of the slices with this ticket, from 0: Faust drops messages around a rebalance, and a gap shows it."""
    records: list[Record]
    asked: float = 0.0
    """Monotonic time of the request that they are the answer to."""


class Seek(Struct):
    """The newest seek of a partition: its ticket, where it went, and how many slices were fetched since."""

    ticket: int
    position: int = 0
    slices: int = 0


class Progress(Struct, frozen=True):
    """How far the client has read a partition; None while unknown."""

    position: int | None = None
    """Everything below was handed out, in the first `slices` slices since the newest seek."""
    highwater: int | None = None
    """The partition's end in the broker's last answer."""
    slices: int = 0
    asked: float = 0.0
    """Monotonic time of the request that this was the answer to: what came later, it does not know of."""


class Feed(Protocol):
    """What the transport asks of the engine."""

    membership: Membership
    assignor: Copartitioned
    kafka: Mapping[str, Any]
    """Settings of the consumer: brokers, group, timeouts, security."""

    def wants(self, topic: str, partition: int) -> bool:
        """Whether records of this partition may be fetched now."""

    def delivered(self, part: Slice) -> None:
        """A slice is on its way to the agent."""
