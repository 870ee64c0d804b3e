"""What goes into a shard and what comes out of it, as plain values.

Invariant: a shard's input is `Record`s and a `Clock`, its output is `Outgoing` rows; it touches nothing else.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Protocol

from msgspec import Struct

Side = Literal["predictions", "labels"]
"""Which of the two input topics a record came from."""

SIDES: tuple[Side, Side] = ("predictions", "labels")
"""In the order in which a tick applies them."""


class Record(Protocol):
    """One record of a topic partition, as a Kafka client hands it over."""

    @property
    def offset(self) -> int:
        """Position in the partition."""

    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970 at which the broker took it (or at which it was written)."""

    @property
    def key(self) -> bytes | None:
        """The partitioning key."""

    @property
    def value(self) -> bytes | None:
        """The bytes as they were sent."""


class StoredRecord(Struct, frozen=True, gc=False):
    """A `Record` that does not come from Kafka: replay, tests."""

    offset: int
    timestamp: int
    value: bytes | None
    key: bytes | None = None


class Clock(Struct, frozen=True):
    """What a shard may know of the world outside its records."""

    now: float
    """Wall clock, seconds since 1970."""
    behind: frozenset[Side] = frozenset()
    """Topics with records that the broker has and the shard has not: they hold the other topic back (DESIGN: Order)."""
    idle: bool = False
    """Both topics are caught up and have been silent for a while: the wall clock moves event time on."""


class Channel(StrEnum):
    """Where an effect goes. The value is the default topic name."""

    ALERTS = "alerts"
    SNAPSHOTS = "metric-snapshots"
    UPDATES = "model-updates"
    DEAD_LETTERS = "dead-letters"
    ARTIFACTS = "artifacts"
    """Not a topic: bytes for the model registry; the key is the path inside it."""


CUT = "cut"
"""Header of a dead letter that is not the whole original: how many bytes the original has. Topic, partition and offset
beside it say where that is."""

CUT_BYTES = 256 * 1024
"""What is kept of such an original."""


class Outgoing(Struct, frozen=True, array_like=True):
    """One effect: decided, and to be published at least once. `seq` grows by one per shard, without gaps."""

    seq: int
    channel: Channel
    key: str
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
