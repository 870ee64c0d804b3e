"""What the engine needs of a shard, so that it can drive any: the real one, or one that only counts, in tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

from stream.checkpoint.port import Delta
from stream.effects import Clock, Outgoing, Record, Side
from stream.view import ShardView


class ShardLike(Protocol):
    """What the engine needs of a shard; see stream/shard.py."""

    @property
    def next(self) -> dict[Side, int | None]:
        """Offset of the first record not applied, by side; None where none was ever seen."""

    @property
    def outbox(self) -> list[Outgoing]:
        """Effects decided and not yet confirmed as published."""

    @property
    def buffered(self) -> Mapping[Side, int]:
        """Records that wait for their tick."""

    @property
    def urgent(self) -> bool:
        """An alert was decided and is not in a delta yet."""

    def apply(self, records: Mapping[Side, Sequence[Record]], clock: Clock) -> list[Outgoing]:
        """Takes records and time; returns the effects decided now."""

    wanted: list[str]
    """Keys of stored rows without which the shard cannot go on."""

    @property
    def stored_only(self) -> int:
        """Predictions that wait and are not in memory."""

    @property
    def garbage(self) -> int:
        """Stored rows that mean nothing any more."""

    def answer(self, rows: Mapping[str, bytes]) -> None:
        """Brings the wanted rows, those of them that exist."""

    def patrol(self, rows: Mapping[str, bytes]) -> None:
        """Looks at some stored rows of waiting predictions."""

    def delta(self) -> Delta:
        """Rows that changed since the previous delta."""

    def published(self, seq: int) -> None:
        """All effects up to `seq` are out."""

    def view(self) -> ShardView:
        """What is known."""


NewShard: TypeAlias = Callable[[int, Iterable[tuple[str, bytes]] | None], ShardLike]
"""Builds the shard of a partition from its stored rows; None when there are none."""
