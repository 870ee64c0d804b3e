"""The partitions of one worker: opened when they are assigned, closed before a rebalance, taken again after a failure.

Life of a partition: assigned → acquire (raises the epoch) → restore → publish what was not confirmed → seek → open.
A rebalance closes every shard with a last checkpoint; those that stay are opened again as they are, if the store says
that nobody had them meanwhile.

Invariant: a partition is open under the current epoch or not at all. What fails is tried again with growing pauses
while the rest goes on, and `reasons` says what and why.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from faust.types import TP
from msgspec import Struct

from stream.checkpoint.port import Fenced, StateRefused, StoreUnavailable
from stream.effects import SIDES, Side
from stream.engine.group import Membership
from stream.engine.outbox import PublishFailed
from stream.engine.owned import Owned
from stream.engine.parts import Parts
from stream.engine.restoring import resident_rows
from stream.engine.shardlike import NewShard, ShardLike
from stream.engine.slices import Seek
from stream.engine.transport import SliceConsumer

logger = logging.getLogger(__name__)

REBALANCE_PATIENCE = 5.0
"""Seconds that the last checkpoints may take before a rebalance."""

_RETRY = (0.2, 5.0)


class _Failure(Struct):
    """How often a shard failed lately, and so how long to leave it alone: the record that it fails at comes again."""

    times: int = 0
    last: float = 0.0

    def again(self) -> float:
        """Counts one more; returns the pause in seconds."""
        now = time.monotonic()
        self.times = self.times + 1 if now - self.last < 120 else 1
        self.last = now
        return float(min(0.25 * 2**self.times, 30.0))


class Partitions:
    """What this worker owns. All methods are called on its event loop."""

    def __init__(
        self,
        parts: Parts,
        membership: Membership,
        topics: Mapping[Side, str],
        consumer: Callable[[], SliceConsumer],
        new_shard: NewShard,
        resident: Sequence[str],
    ) -> None:
        """`resident` are the prefixes of the rows that a shard is built from; the others are read when it asks."""
        self.owned: dict[int, Owned] = {}
        self.assigned: frozenset[int] | None = None
        """Partitions that the group gives to this worker; None before the first assignment."""
        self._ours: frozenset[int] = frozenset()
        """The same, but none while a rebalance is under way: what is fenced then is not taken back, for it may go to
        another worker, though the answer to our joining has come already."""
        self.fenced = 0
        """How often another worker had taken a partition."""
        self.reasons: dict[int, str] = {}
        """Why a partition is not open, for a person."""
        self._parts, self._membership, self._topics = parts, membership, topics
        self._consumer, self._new_shard, self._resident = consumer, new_shard, tuple(resident)
        self._openings: dict[int, asyncio.Task[None]] = {}
        self._failures: dict[int, _Failure] = {}
        self._restoring = threading.Lock()
        self._closed = False

    # Rebalances and the end

    async def revoke(self) -> None:
        """Every partition is given up before a rebalance, also those that come back."""
        self._ours = frozenset()
        openings = list(self._openings.values())
        self._openings.clear()
        for task in openings:
            task.cancel()
        if openings:
            await asyncio.wait(openings, timeout=1.0)
        await self._finish_all(REBALANCE_PATIENCE)

    async def close(self, patience: float) -> bool:
        """Ends for good; True when nothing has to be read again."""
        self._closed = True
        for task in self._openings.values():
            task.cancel()
        return await self._finish_all(patience)

    async def _finish_all(self, patience: float) -> bool:
        return all(await asyncio.gather(*(self._finish(owned, patience) for owned in list(self.owned.values()))))

    async def _finish(self, owned: Owned, patience: float) -> bool:
        try:
            clean = await owned.finish(patience)
        except Fenced:
            self._drop(owned, fenced=True)
            return False
        except Exception as error:  # whatever it is, the other partitions have a last checkpoint, too
            logger.exception("partition %d: the last checkpoint failed", owned.partition, extra={"kind": repr(error)})
            self._drop(owned, fenced=False)
            return False
        if not clean:
            logger.warning("partition %d: no last checkpoint: %s", owned.partition, owned.trouble)
        return clean

    def assign(self, numbers: frozenset[int]) -> None:
        """Opens what is new, reopens what stayed, forgets what went."""
        self.assigned = self._ours = numbers
        kept = numbers & self.owned.keys()
        for partition in self.owned.keys() - numbers:
            self._drop(self.owned[partition], fenced=False)
        for partition in numbers:
            self._start(partition, self._open(partition, after=None))
        logger.info("partitions %s (%d kept)", sorted(numbers) or "none", len(kept))

    def _drop(self, owned: Owned, fenced: bool) -> None:
        owned.pause()
        if self.owned.get(owned.partition) is owned:
            del self.owned[owned.partition]
        self._parts.cadence.forget(owned.partition)
        if fenced:
            owned.checkpoints.fenced = True
            self.fenced += 1
            logger.warning("partition %d: another worker has it (epoch %d is over)", owned.partition, owned.epoch)

    # Failures

    def failed(self, owned: Owned, error: Exception) -> None:
        """What the shard holds may be half applied: it is built again from the last checkpoint."""
        partition = owned.partition
        logger.error(
            "partition %d: the shard failed, and is restored", partition, exc_info=error, extra={"kind": str(error)}
        )
        self._drop(owned, fenced=False)
        if self._closed:
            return
        self.reasons[partition] = f"the shard failed: {error!r}"
        failure = self._failures.setdefault(partition, _Failure())
        self._start(partition, self._open(partition, after=time.monotonic(), pause=failure.again()))

    def read_again(self, owned: Owned) -> None:
        """Slices got lost on the way: reading starts again behind what was applied."""
        if owned.partition not in self._openings:
            self._start(owned.partition, self._seek_again(owned))

    async def _seek_again(self, owned: Owned) -> None:
        logger.info("partition %d: reading again what did not arrive", owned.partition)
        owned.inbox.detach()
        while owned.open and not owned.inbox.attached:
            try:
                seeks = await self._seek(owned)
            except Exception as error:  # noqa: BLE001  # whatever it is, nothing else would ever attach it again
                logger.warning("partition %d: cannot seek: %r", owned.partition, error)
                await asyncio.sleep(_RETRY[0])
                continue
            if owned.open:
                owned.inbox.attach(seeks)

    def _lost(self, owned: Owned) -> None:
        """A checkpoint was fenced. If the partition is still ours, it is taken again."""
        self._drop(owned, fenced=True)
        if not self._closed and owned.partition in self._ours:
            self._start(owned.partition, self._open(owned.partition, after=time.monotonic()))

    # Opening

    def _start(self, partition: int, opening: Coroutine[Any, Any, None]) -> None:
        old = self._openings.pop(partition, None)
        if old is not None:
            old.cancel()
        task = asyncio.get_running_loop().create_task(opening)
        self._openings[partition] = task

        def ended(done: asyncio.Task[None]) -> None:
            if self._openings.get(partition) is done:
                del self._openings[partition]
            if not done.cancelled() and (error := done.exception()):
                logger.error("partition %d cannot be opened", partition, exc_info=error)

        task.add_done_callback(ended)

    async def _open(self, partition: int, after: float | None, pause: float = 0.0) -> None:
        """Opens one partition, however often it has to be tried; with `after`, when we are a member since then."""
        await asyncio.sleep(pause)
        pause = _RETRY[0]
        while True:
            try:
                # Fenced though it is ours: only an answered heartbeat proves that it still is.
                while after is not None and (self._membership.last_answer or 0.0) <= after:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                if partition not in self._ours:
                    return
                await self._try_to_open(partition)
            except Fenced:
                self._drop(self.owned[partition], fenced=True)
                after = time.monotonic()
                continue
            except (StoreUnavailable, StateRefused, PublishFailed) as error:
                reason = str(error)
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                if self.reasons.get(partition) != reason:
                    logger.exception("partition %d cannot be opened; trying again", partition)
            else:
                self.reasons.pop(partition, None)
                return
            if self.reasons.get(partition) != reason:
                logger.warning("partition %d waits: %s", partition, reason)
            self.reasons[partition] = reason
            await asyncio.sleep(pause)
            pause = min(2 * pause, _RETRY[1])

    async def _try_to_open(self, partition: int) -> None:
        owned = self.owned.get(partition)
        if owned is not None:
            await owned.checkpoints.verify()
        else:
            epoch, shard = await self._parts.in_thread(self._acquire, partition)
            self._parts.told.took(partition)
            owned = self.owned[partition] = Owned(partition, epoch, shard, self._parts)
        rows = list(owned.shard.outbox)
        if rows:
            await self._parts.publish(partition, rows)
            owned.checkpoints.confirm(rows)
        owned.begin(await self._seek(owned), lambda: self._lost(owned), lambda error: self.failed(owned, error))
        self._parts.wake()

    def _acquire(self, partition: int) -> tuple[int, ShardLike]:
        """Runs in a thread: takes the partition from every earlier owner, and rebuilds what it knew."""
        epoch = self._parts.store.acquire(partition)
        rows = resident_rows(self._parts.store, self._parts.seal, partition, epoch, self._resident)
        # One at a time: msgspec crashes when two threads are the first to decode a type.
        with self._restoring:
            return epoch, self._new_shard(partition, rows.items() or None)

    async def _seek(self, owned: Owned) -> dict[Side, Seek]:
        tps = {side: TP(topic, owned.partition) for side, topic in self._topics.items()}
        seeks = await self._consumer().seek_slices({tps[side]: offset for side, offset in owned.inbox.wanted.items()})
        return {side: seeks[tps[side]] for side in SIDES}

    # What is known

    def is_open(self, partition: int) -> bool:
        """Whether its events are being applied."""
        owned = self.owned.get(partition)
        return owned is not None and owned.open

    def unready(self) -> Iterable[str]:
        """Why partitions are not open, or their checkpoints do not get out."""
        if self.assigned is not None and not self.assigned:
            yield "owns no partition: there are more workers than partitions"
        for partition in sorted(self.assigned or ()):
            if not self.is_open(partition):
                yield f"partition {partition} is not open: {self.reasons.get(partition, 'opening')}"
