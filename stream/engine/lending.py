"""Rows that are only in the store: brought when a shard asks, and looked through when there is time.

Invariant: the shard goes on only after it has an answer to all that it wants; a patrol is shown rows of the store as
they were, and stops when the partition is closed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from itertools import islice

from stream.checkpoint.port import StoreUnavailable
from stream.engine.parts import Parts
from stream.engine.shardlike import ShardLike
from stream.rows import PENDING

logger = logging.getLogger(__name__)

_PAGE, _GARBAGE = 1_000, 10_000
"""Rows that a patrol shows at once; rows that have expired before one is worth it."""

_CALM = 30.0
"""Seconds after the beginning before a patrol starts: what has come meanwhile is more urgent."""

_RETRY = (0.1, 5.0)
"""First and longest pause after a failed read, seconds."""


class Lender:
    """What lends one shard rows of its store."""

    def __init__(self, partition: int, shard: ShardLike, parts: Parts) -> None:
        self._partition, self._shard, self._parts = partition, shard, parts
        self.trouble: str | None = None
        """Why rows cannot be read, for a person."""
        self.answered = False
        """The shard has been answered and has not gone on yet."""
        self._open = False
        self._begun = 0.0
        self._lending: asyncio.Task[None] | None = None
        self._patrolling: asyncio.Task[None] | None = None
        self._patrolled = False

    def begin(self) -> None:
        """The partition is opened."""
        self._open, self._begun = True, time.monotonic()

    def end(self) -> None:
        """The partition is closed: a patrol stops at its next page."""
        self._open = False

    @property
    def lending(self) -> bool:
        """Whether the shard waits for rows."""
        return self._lending is not None and not self._lending.done()

    def collect(self) -> bool:
        """Whether the shard has an answer that it has not used yet; it is used now."""
        answered, self.answered = self.answered, False
        return answered

    def check(self) -> None:
        """Raises what has ended the last reading: a row that cannot be read ends the shard where the engine sees it."""
        if self._lending is not None:
            self._lending.result()

    def lend(self) -> None:
        """Starts to bring what the shard wants, if it wants anything."""
        if self._shard.wanted:
            self._lending = asyncio.get_running_loop().create_task(self._lend())

    async def _lend(self) -> None:
        pause = _RETRY[0]
        while self._shard.wanted:
            keys = list(self._shard.wanted)
            try:
                rows = await self._parts.in_thread(self._stored, keys)
            except StoreUnavailable as error:
                self.trouble = str(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _RETRY[1])
                continue
            self.trouble = None
            self._shard.answer(rows)
        self.answered = True
        self._parts.wake()

    def _stored(self, keys: list[str]) -> dict[str, bytes]:
        """Runs in a thread: rows of the store, by one read."""
        found = self._parts.store.get(self._partition, keys)
        return dict(self._parts.seal.open_all(self._partition, found.items()))

    def look_after_store(self) -> None:
        """Starts a patrol when stored rows fit into memory again, or when many have expired."""
        if time.monotonic() - self._begun < _CALM:
            return
        away, garbage = self._shard.stored_only, self._shard.garbage
        fits = 0 < away <= self._parts.budget and not self._patrolled
        if (fits or garbage > max(_GARBAGE, away // 4)) and (self._patrolling is None or self._patrolling.done()):
            self._patrolled = True
            self._patrolling = asyncio.get_running_loop().create_task(self._patrol())

    async def _patrol(self) -> None:
        """Shows the shard every stored row of a waiting prediction, page by page, while it goes on."""
        loop = asyncio.get_running_loop()

        async def show(rows: dict[str, bytes]) -> bool:
            if self._open:
                self._shard.patrol(rows)
            return self._open

        def read() -> None:
            stored = self._parts.store.load(self._partition, f"{PENDING}/")
            rows = self._parts.seal.open_all(self._partition, stored)
            while page := dict(islice(rows, _PAGE)):
                if not asyncio.run_coroutine_threadsafe(show(page), loop).result():
                    return

        try:
            await self._parts.in_thread(read)
        except StoreUnavailable as error:
            logger.info("partition %d: %s", self._partition, error)
            self._patrolled = False
