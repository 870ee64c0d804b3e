"""The checkpoints of one shard: `save`, in numbered steps, and when the next one is due.

The shard goes on applying while the store commits.

Invariant: effects are published only after the commit that holds them, slices are acked only after the commit that
covers them, a delta that failed is retried before the next one is taken, and nothing is committed after Fenced.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from stream.checkpoint.port import Delta, Fenced, StoreUnavailable
from stream.effects import Channel, Outgoing, Side
from stream.engine.inbox import Inbox
from stream.engine.outbox import PublishFailed
from stream.engine.parts import Parts
from stream.engine.shardlike import ShardLike

logger = logging.getLogger(__name__)

_RETRY = (0.1, 5.0)
"""First and longest pause after a failed checkpoint, seconds."""


QUIET = 2.0
"""Seconds without records after which a checkpoint waits no longer: its cost keeps nobody waiting then, and the one
before, of a backlog's last part, may have cost so much that the next would be minutes away."""


class _Draft(Struct):
    """A delta on its way to the store, and what it covers."""

    delta: Delta
    next: dict[Side, int | None]
    rows: list[Outgoing]
    records: int
    encoding: float


class _Time(Struct):
    ts: float


_alert_time = msgspec.json.Decoder(_Time).decode


class Checkpoints:
    """What saves one shard under its epoch."""

    def __init__(self, partition: int, epoch: int, shard: ShardLike, inbox: Inbox, parts: Parts) -> None:
        self.partition, self.epoch = partition, epoch
        self.shard = shard
        self.parts = parts
        self.unsaved = 0
        """Records applied since the last checkpoint."""
        self.trouble: str | None = None
        """Why checkpoints or effects do not get out, for a person."""
        self.fenced = False
        """Another worker has the shard: nothing is committed any more."""
        self._inbox = inbox
        self._saved: dict[Side, int | None] = dict(shard.next)
        self._confirmed = False
        """Effects were published since the last delta: the next one takes them out of the store."""
        self._draft: _Draft | None = None
        self._telling = False
        """An alert is being saved or published."""
        self._saving = asyncio.Lock()
        self._last_save = 0.0
        self._pressed = False
        self._nudge = asyncio.Event()

    @property
    def dirty(self) -> bool:
        """Whether a checkpoint would change anything."""
        return (
            self._draft is not None or self._confirmed or bool(self.shard.outbox) or self.shard.next != self._saved
        ) and not self.fenced

    @property
    def hurried(self) -> bool:
        """Whether an alert is on its way out."""
        return self._telling or self.shard.urgent

    def due(self, urgent: bool) -> float:
        """When the next one may be, by a monotonic clock; `urgent`: an alert waits for it."""
        cadence = self.parts.cadence
        if self._pressed:
            return self._last_save
        quiet = max(self._last_save + cadence.every, self._inbox.arrived + QUIET)
        return min(self._last_save + cadence.interval(urgent), quiet)

    def nudge(self) -> None:
        """Something has changed that cannot wait for the next look."""
        self._nudge.set()

    def press(self) -> None:
        """Nothing is applied before the next one, which therefore need not wait; the pause after a failure stays."""
        if not self._pressed and self.trouble is None:
            self.nudge()
        self._pressed = True

    async def verify(self) -> None:
        """Raises Fenced if another worker has had the shard since; StoreUnavailable if the store cannot say."""
        async with self._saving:
            await self.parts.in_thread(self.parts.store.commit, self.partition, self.epoch, Delta())

    async def save(self) -> None:
        """One checkpoint. Raises Fenced, StoreUnavailable, PublishFailed; after the last two it may be called again."""
        try:
            await self._save()
        finally:
            self._telling = False

    async def _save(self) -> None:
        started = time.perf_counter()
        async with self._saving:
            # 1. What changed since the last delta, together with the offsets it goes with.
            draft = self._draft = self._draft or self._encode()
            self._telling = any(row.channel is Channel.ALERTS for row in draft.rows)
            # 2. One atomic commit, fenced by the epoch. It must not be left alone half-way, so it is not cancelled.
            commit = asyncio.ensure_future(self.parts.in_thread(self._commit, draft.delta))
            try:
                processor = await asyncio.shield(commit)
            except asyncio.CancelledError:
                await asyncio.wait([commit])
                if commit.exception() is None:
                    self._committed(draft, commit.result(), time.perf_counter() - started)
                raise
            self._committed(draft, processor, time.perf_counter() - started)
        # 3. What was decided goes out, all acknowledgements awaited.
        if draft.rows:
            await self.parts.publish(self.partition, draft.rows)
            # 4. It leaves the store with the next delta.
            self.confirm(draft.rows)
        # 5. Faust may let the group's offsets follow.
        self._inbox.ack(draft.next)

    def _committed(self, draft: _Draft, processor: float, elapsed: float) -> None:
        self._draft, self._pressed = None, False
        self._saved = draft.next
        self.unsaved -= draft.records
        self._last_save = time.monotonic()
        self.parts.checkpoints += 1
        self.parts.timings.checkpoint.observe(elapsed)
        self.parts.cadence.spent(self.partition, draft.encoding + processor)

    def confirm(self, rows: list[Outgoing]) -> None:
        """Effects were published: alerts are timed, and the shard lets go of them."""
        wall = time.time()
        for row in rows:
            if row.channel is Channel.ALERTS:
                self.parts.timings.alert_delay.observe(max(0.0, wall - _alert_time(row.value).ts))
        self.shard.published(rows[-1].seq)
        self._confirmed = True

    def _encode(self) -> _Draft:
        begun = time.thread_time()
        rows = list(self.shard.outbox)
        delta = self.shard.delta()
        self._confirmed = False
        return _Draft(delta, dict(self.shard.next), rows, self.unsaved, time.thread_time() - begun)

    def _commit(self, delta: Delta) -> float:
        """Seals and commits; returns the processor time it took. Runs in a thread."""
        begun = time.thread_time()
        sealed = Delta(self.parts.seal.seal_all(self.partition, delta.put), delta.delete)
        self.parts.store.commit(self.partition, self.epoch, sealed)
        return time.thread_time() - begun

    async def keep(self, is_open: Callable[[], bool], on_saved: Callable[[], None]) -> None:
        """Saves whenever it is due, until the partition is closed. Raises Fenced."""
        pause = 0.0
        while True:
            await self._until_due(pause, is_open)
            if not is_open():
                return
            try:
                await self.save()
            except Fenced:
                self.fenced = True
                raise
            except (StoreUnavailable, PublishFailed) as error:
                if self.trouble is None:
                    logger.warning("partition %d: %s", self.partition, error)
                self.trouble = str(error)
                pause = min(max(2 * pause, _RETRY[0]), _RETRY[1])
            else:
                if self.trouble is not None:
                    logger.info("partition %d: checkpoints go on", self.partition)
                self.trouble, pause = None, 0.0
                on_saved()

    async def _until_due(self, pause: float, is_open: Callable[[], bool]) -> None:
        """Waits for the next checkpoint: the interval, sooner when an alert waits; `pause` after a failure."""
        if pause:
            self._nudge.clear()
            await self._nudged(pause)
            return
        while is_open():
            urgent = self.shard.urgent
            wait = self.due(urgent) - time.monotonic()
            if wait <= 0 and self.dirty:
                return
            if urgent:
                await asyncio.sleep(max(wait, 0.001))
                continue
            self._nudge.clear()
            # A long wait may end early, see QUIET.
            await self._nudged(min(wait, QUIET) if wait > 0 else self.parts.cadence.every)

    async def _nudged(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._nudge.wait(), seconds)
        except TimeoutError:
            pass
