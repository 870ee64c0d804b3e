"""What all shards of a worker share: the store, the way out, threads, and where durations go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Protocol, TypeVar

from msgspec import Struct

from stream.checkpoint.port import Store
from stream.checkpoint.seal import Seal
from stream.effects import Outgoing
from stream.engine.aside import Aside
from stream.engine.cadence import Cadence
from stream.engine.outbox import Outbox
from stream.engine.told import Told

T = TypeVar("T")


class Observer(Protocol):
    """A histogram."""

    def observe(self, amount: float) -> None:
        """Adds one observation, seconds."""


class Timings(Protocol):
    """Where the engine's durations go."""

    @property
    def apply(self) -> Observer:
        """One call of a shard."""

    @property
    def checkpoint(self) -> Observer:
        """From the start of a checkpoint until it is stored."""

    @property
    def alert_delay(self) -> Observer:
        """From the event time of an alert until it is acknowledged on its topic."""


class Parts(Struct):
    """What all shards of a worker share."""

    store: Store
    seal: Seal
    threads: Executor
    outbox: Outbox
    aside: Aside
    """Where the outbox works."""
    cadence: Cadence
    timings: Timings
    wake: Callable[[], None]
    """Says that a shard can go on."""
    budget: int
    """Waiting predictions that a shard keeps in memory."""
    told: Told
    checkpoints: int = 0

    async def publish(self, partition: int, rows: Sequence[Outgoing]) -> None:
        """Publishes effects of a shard, in order. Raises PublishFailed; it may be called again with the same rows."""
        told = await self.told.again(partition, rows)
        await self.aside.do(lambda: self.outbox.publish(told))

    async def in_thread(self, call: Callable[..., T], *args: object) -> T:
        """Calls what waits for the store, where nothing else waits for it."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, call, *args)
