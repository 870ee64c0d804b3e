"""The engine of one worker: Faust brings slices, shards apply them, checkpoints and effects go out.

Life of a partition: assigned → acquire (raises the epoch) → restore → publish what was not confirmed → seek → open.
A rebalance closes every shard with a last checkpoint; those that stay are opened again as they are, if the store says
that nobody had them meanwhile.

Invariant: a slice is applied only to a shard of the current epoch, from the offset that the shard is waiting for. What
fails is tried again with growing pauses while the rest goes on, and `view().reasons` says what and why.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from aiokafka.errors import KafkaError
from faust.types import TP
from msgspec import Struct

from stream.checkpoint.port import Fenced, StateRefused, Store, StoreUnavailable
from stream.checkpoint.seal import Seal
from stream.checkpoint.types import learn_types
from stream.config import Config
from stream.effects import SIDES, Clock, Side
from stream.engine import flow, topics
from stream.engine.assignor import Copartitioned
from stream.engine.cadence import Cadence
from stream.engine.group import InstanceTaken, Membership
from stream.engine.outbox import Outbox, PublishFailed
from stream.engine.owned import Owned, Parts, ShardLike, Timings
from stream.engine.placement import Placement
from stream.engine.restoring import resident_rows
from stream.engine.security import connection
from stream.engine.transport import Seek, Slice, SliceApp, SliceConsumer
from stream.view import LagView, WorkerView

logger = logging.getLogger(__name__)

TICK = 0.1
"""Seconds after which a shard is told the time though nothing came."""

LAG_BOUND = 100_000
"""Records behind, of all partitions together, above which a worker does not call itself ready."""

PING_EVERY = 2.0
"""Seconds between looks at the store."""

REBALANCE_PATIENCE = 5.0
STOP_PATIENCE = 3.0
"""Seconds that the last checkpoints may take before a rebalance, and before the end."""

_RETRY = (0.2, 5.0)

NewShard = Callable[[int, Iterable[tuple[str, bytes]] | None], ShardLike]
"""Builds the shard of a partition from its stored rows; None when there are none."""


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


class Engine:
    """One worker. `start` and `stop` once each, on the same event loop; `view` at any time."""

    def __init__(
        self,
        config: Config,
        store: Store,
        seal: Seal,
        timings: Timings,
        new_shard: NewShard,
        keep_artifact: Callable[[str, bytes], Awaitable[None]],
        resident: Sequence[str] = ("",),
    ) -> None:
        """`resident` are the prefixes of the rows that a shard is built from; the others are read when it asks."""
        if config.kafka.instance is not None and not config.kafka.instance.strip():
            raise ValueError("kafka.instance is empty: give each worker a name of its own, or leave it out")
        self.config = config
        self.failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Set when the worker cannot go on; the result says why."""
        kafka = config.kafka
        self.membership = Membership(kafka.group, kafka.instance, self._instance_taken)
        self.assignor = Copartitioned()
        self.kafka: Mapping[str, Any] = {
            "bootstrap_servers": list(kafka.brokers),
            "group_id": kafka.group,
            "group_instance_id": kafka.instance,
            "session_timeout_ms": int(kafka.session_timeout * 1000),
            "heartbeat_interval_ms": int(min(3.0, kafka.session_timeout / 5) * 1000),
            "rebalance_timeout_ms": int(max(30.0, kafka.session_timeout) * 1000),
            "request_timeout_ms": int(max(40.0, 2 * kafka.session_timeout) * 1000),
            **connection(kafka.security),
        }
        self._topics: dict[Side, str] = {"predictions": kafka.topics.predictions, "labels": kafka.topics.labels}
        self._side: dict[str, Side] = {topic: side for side, topic in self._topics.items()}
        self._new_shard = new_shard
        learn_types()
        self._restoring = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="checkpoint")
        self._arrivals = asyncio.Event()
        self._parts = Parts(
            store=store,
            seal=seal,
            threads=self._threads,
            outbox=Outbox(kafka, self.membership.client_id, keep_artifact),
            cadence=Cadence(config.checkpoint.every),
            timings=timings,
            wake=self._arrivals.set,
            budget=config.limits.pending,
        )
        self._resident = tuple(resident)
        self.shards: dict[int, Owned] = {}
        self.fenced = 0
        self._assigned: frozenset[int] | None = None
        """Partitions of this worker; None before the first assignment."""
        self._openings: dict[int, asyncio.Task[None]] = {}
        self._reasons: dict[int, str] = {}
        self._failures: dict[int, _Failure] = {}
        self._placement = Placement()
        self._stopping = False
        self._starting: str | None = "starting"
        self._store_trouble: str | None = None
        self._applier: asyncio.Task[None] | None = None
        self._watchers: list[asyncio.Task[None]] = []
        self._app: SliceApp | None = None
        self._load = (0.0, flow.Load())

    # Start and stop

    async def start(self) -> None:
        """Waits for a broker, checks the topics, joins the group. Raises topics.TopicProblem."""
        pause = _RETRY[0]
        while True:
            try:
                await topics.ready(self.config.kafka)
                break
            except topics.BrokerUnreachable as error:
                if self._starting != str(error):
                    logger.warning("%s; trying again", error)
                self._starting = str(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _RETRY[1])
        app = self._app = SliceApp(self, self.config.kafka.brokers, loop=self._loop)
        app.on_partitions_revoked.connect(self._on_revoked)  # type: ignore[arg-type]  # Faust names it otherwise
        app.on_partitions_assigned.connect(self._on_assigned)  # type: ignore[arg-type]
        app.consume(self._topics.values(), self._consume)
        self._applier = self._loop.create_task(self._apply_for_ever())
        self._applier.add_done_callback(self._applier_ended)
        self._starting = "joining the consumer group"
        await app.start()
        self._watchers = [self._loop.create_task(self._watch_app(app)), self._loop.create_task(self._watch_store())]

    async def _watch_app(self, app: SliceApp) -> None:
        while not app.should_stop:  # noqa: ASYNC110  # Faust has no event for it
            await asyncio.sleep(0.2)
        if not self._stopping and not self.failure.done():
            self.failure.set_result(f"the consumer ended: {app.crash_reason or 'no reason known'!r}")

    async def _watch_store(self) -> None:
        """A worker without traffic would not notice that its store has gone."""
        while not self._stopping:
            try:
                await self._loop.run_in_executor(self._threads, self._parts.store.ping)
                self._store_trouble = None
            except StoreUnavailable as error:
                self._store_trouble = str(error)
            await asyncio.sleep(PING_EVERY)

    def _applier_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) and not self.failure.done():
            logger.error("the engine failed", exc_info=error)
            self.failure.set_result(f"the engine failed: {error!r}")

    async def stop(self) -> bool:
        """Last checkpoint, effects published, group left. True when nothing has to be read again."""
        self._stopping = True
        if self._applier is not None:
            self._applier.cancel()
        for task in (*self._watchers, *self._openings.values()):
            task.cancel()
        clean = all(await asyncio.gather(*(self._finish(owned, STOP_PATIENCE) for owned in self.shards.values())))
        if self._app is not None:
            try:
                async with asyncio.timeout(STOP_PATIENCE):
                    await self._app.stop()
            except TimeoutError:
                logger.warning("the consumer did not stop in %.0f s", STOP_PATIENCE)
        await self._parts.outbox.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        return clean

    def _instance_taken(self, error: InstanceTaken) -> None:
        """Called on the consumer's thread."""

        def tell() -> None:
            if not self.failure.done():
                self.failure.set_result(str(error))

        self._loop.call_soon_threadsafe(tell)

    # Rebalances

    async def _on_revoked(self, _app: Any, revoked: Iterable[TP], **_: Any) -> None:
        """Every partition is given up before a rebalance, also those that come back."""
        openings = list(self._openings.values())
        self._openings.clear()
        for task in openings:
            task.cancel()
        if openings:
            await asyncio.wait(openings, timeout=1.0)
        await asyncio.gather(*(self._finish(owned, REBALANCE_PATIENCE) for owned in list(self.shards.values())))

    async def _finish(self, owned: Owned, patience: float) -> bool:
        try:
            clean = await owned.finish(patience)
        except Fenced:
            self._drop(owned, fenced=True)
            return False
        if not clean:
            logger.warning("partition %d: no last checkpoint: %s", owned.partition, owned.trouble)
        return clean

    async def _on_assigned(self, app: Any, assigned: Iterable[TP], **_: Any) -> None:
        """Opens what is new, reopens what stayed, forgets what went."""
        tps = set(assigned)
        numbers = frozenset(
            tp.partition for tp in tps if all(TP(topic, tp.partition) in tps for topic in self._topics.values())
        )
        self._assigned = numbers
        self._starting = None
        self.assignor.remember(app.consumer_generation_id, numbers)
        kept = numbers & self.shards.keys()
        for partition in self.shards.keys() - numbers:
            self._drop(self.shards[partition], fenced=False)
        for partition in numbers:
            self._start_opening(partition)
        logger.info("partitions %s (%d kept)", sorted(numbers) or "none", len(kept))

    def _drop(self, owned: Owned, fenced: bool) -> None:
        owned.pause()
        if self.shards.get(owned.partition) is owned:
            del self.shards[owned.partition]
        self._parts.cadence.forget(owned.partition)
        if fenced:
            owned.fenced = True
            self.fenced += 1
            logger.warning("partition %d: another worker has it (epoch %d is over)", owned.partition, owned.epoch)

    def _start_opening(self, partition: int, after: float | None = None) -> None:
        self._start(partition, self._open(partition, after))

    def _start(self, partition: int, opening: Coroutine[Any, Any, None]) -> None:
        old = self._openings.pop(partition, None)
        if old is not None:
            old.cancel()
        task = self._loop.create_task(opening)
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
                while after is not None and (self.membership.last_answer or 0.0) <= after:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                await self._try_to_open(partition)
            except Fenced:
                self._drop(self.shards[partition], fenced=True)
                after = time.monotonic()
                continue
            except (StoreUnavailable, StateRefused, PublishFailed) as error:
                reason = str(error)
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                if self._reasons.get(partition) != reason:
                    logger.exception("partition %d cannot be opened; trying again", partition)
            else:
                self._reasons.pop(partition, None)
                return
            if self._reasons.get(partition) != reason:
                logger.warning("partition %d waits: %s", partition, reason)
            self._reasons[partition] = reason
            await asyncio.sleep(pause)
            pause = min(2 * pause, _RETRY[1])

    async def _try_to_open(self, partition: int) -> None:
        owned = self.shards.get(partition)
        if owned is not None:
            await owned.verify()
        else:
            epoch, shard = await self._loop.run_in_executor(self._threads, self._acquire, partition)
            owned = self.shards[partition] = Owned(partition, epoch, shard, self._parts)
        rows = list(owned.shard.outbox)
        if rows:
            await self._parts.outbox.publish(rows)
            owned.confirm(rows)
        owned.begin(await self._seek(owned), lambda: self._lost(owned))
        self._arrivals.set()

    async def _seek(self, owned: Owned) -> dict[Side, Seek]:
        tps = {side: TP(topic, owned.partition) for side, topic in self._topics.items()}
        seeks = await self._consumer.seek_slices({tps[side]: offset for side, offset in owned.wanted.items()})
        return {side: seeks[tps[side]] for side in SIDES}

    async def _seek_again(self, owned: Owned) -> None:
        """Slices got lost on the way: reading starts again behind what was applied."""
        logger.info("partition %d: reading again what did not arrive", owned.partition)
        owned.detach()
        while owned.open and not owned.attached:
            try:
                seeks = await self._seek(owned)
            except KafkaError as error:
                logger.warning("partition %d: cannot seek: %s", owned.partition, error)
                await asyncio.sleep(_RETRY[0])
                continue
            if owned.open:
                owned.attach(seeks)

    def _acquire(self, partition: int) -> tuple[int, ShardLike]:
        """Runs in a thread: takes the partition from every earlier owner, and rebuilds what it knew."""
        epoch = self._parts.store.acquire(partition)
        rows = resident_rows(self._parts.store, self._parts.seal, partition, epoch, self._resident)
        # One at a time: msgspec crashes when two threads are the first to decode a type.
        with self._restoring:
            return epoch, self._new_shard(partition, rows.items() or None)

    def _lost(self, owned: Owned) -> None:
        """A checkpoint was fenced. If the partition is still ours, it is taken again."""
        self._drop(owned, fenced=True)
        if not self._stopping and owned.partition in (self._assigned or ()):
            self._start_opening(owned.partition, after=time.monotonic())

    @property
    def _consumer(self) -> SliceConsumer:
        assert self._app is not None
        return cast(SliceConsumer, self._app.consumer)

    # What comes in (see transport.Feed)

    def wants(self, topic: str, partition: int) -> bool:
        """Whether records of this partition may be fetched now."""
        owned = self.shards.get(partition)
        if owned is None or not owned.attached or self._stopping:
            return False
        now = time.monotonic()
        side = self._side[topic]
        self._look_at_log(owned)
        held = flow.held(owned.sides, owned.shard.buffered, flow.weight(owned.shard.outbox), self._in_memory(now), now)
        if side not in held:
            return True
        owned.sides[side].arrived = now
        return False

    def delivered(self, part: Slice) -> None:
        """A slice is on its way to the agent."""
        owned = self.shards.get(part.partition)
        if owned is not None:
            owned.expect(part, self._side[part.topic])

    def _in_memory(self, now: float) -> flow.Load:
        at, load = self._load
        if now - at > 0.005:
            shards = self.shards.values()
            load = flow.Load(sum(owned.waiting for owned in shards), sum(owned.unsaved for owned in shards))
            self._load = (now, load)
        return load

    async def _consume(self, stream: Any) -> None:
        """The agent over both topics: slices go to the inbox of their shard."""
        async for event in stream.noack().events():
            part: Slice = event.value
            # The event lives until its checkpoint; its records need not.
            event.value = event.message.value = None
            owned = self.shards.get(part.partition)
            if owned is not None and owned.take(part, self._side[part.topic], event.ack):
                self._placement.warn(part.partition, part.records)
                self._arrivals.set()

    async def _apply_for_ever(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._arrivals.wait(), TICK)
            except TimeoutError:
                pass
            self._arrivals.clear()
            busy = True
            while busy:
                busy = False
                now = time.monotonic()
                for owned in list(self.shards.values()):
                    if owned.lost(now) and owned.partition not in self._openings:
                        self._start(owned.partition, self._seek_again(owned))
                    quiet = not owned.waiting and now - owned.last_apply < TICK
                    if not owned.attached or owned.lending or quiet:
                        continue
                    self._apply(owned)
                    busy = busy or owned.waiting > 0
                    await asyncio.sleep(0)

    def _apply(self, owned: Owned) -> None:
        def clock() -> Clock:
            self._look_at_log(owned)
            answers = self.membership.answered_within(self.config.kafka.session_timeout)
            return flow.clock(owned.sides, time.monotonic(), time.time(), answers)

        try:
            owned.apply(clock)
        except Exception as error:
            # What it holds may be half applied: it is built again from the last checkpoint.
            partition = owned.partition
            logger.exception("partition %d: the shard failed, and is restored", partition, extra={"kind": str(error)})
            self._drop(owned, fenced=False)
            self._reasons[partition] = f"the shard failed: {error!r}"
            failure = self._failures.setdefault(partition, _Failure())
            self._start(partition, self._open(partition, after=time.monotonic(), pause=failure.again()))

    def _look_at_log(self, owned: Owned) -> None:
        for side, topic in self._topics.items():
            owned.look(side, self._consumer.progress(TP(topic, owned.partition)))

    # What is known

    def view(self) -> WorkerView:
        """Everything that page, API and metrics show."""
        shards = [self.shards[partition] for partition in sorted(self.shards)]
        lag = [
            LagView(topic, owned.partition, self._lag(owned, side))
            for side, topic in self._topics.items()
            for owned in shards
        ]
        reasons = self._unready(sum(entry.lag or 0 for entry in lag))
        return WorkerView(
            shards=[owned.shard.view() for owned in shards],
            lag=lag,
            ready=not reasons,
            reasons=reasons,
            checkpoints=self._parts.checkpoints,
            fenced=self.fenced,
            checkpoint_interval=self._parts.cadence.interval(),
            notes=self._findings(shards),
        )

    def _lag(self, owned: Owned, side: Side) -> int | None:
        if side not in owned.sides:
            return None
        if owned.attached:
            self._look_at_log(owned)
        state = owned.sides[side]
        if state.highwater is None:
            return None
        if state.caught_up and not owned.shard.buffered.get(side, 0):
            return 0
        reached = owned.shard.next[side]
        return max(0, state.highwater - (state.taken if reached is None else reached))

    def _unready(self, lag: int) -> list[str]:
        reasons = []
        if self._starting:
            reasons.append(self._starting)
        if self._stopping:
            reasons.append("stopping")
        if self.membership.problem:
            reasons.append(self.membership.problem)
        elif self._assigned is not None and not self.membership.answered_within(self.config.kafka.session_timeout):
            reasons.append(f"no broker answers at {', '.join(self.config.kafka.brokers)}")
        if self._assigned is not None and not self._assigned:
            reasons.append("owns no partition: there are more workers than partitions")
        reasons += [
            f"partition {partition} is not open: {self._reasons.get(partition, 'opening')}"
            for partition in sorted(self._assigned or ())
            if not self._is_open(partition)
        ]
        troubles = {owned.trouble for owned in self.shards.values() if owned.trouble} | {self._store_trouble or ""}
        reasons += sorted(troubles - {""} - set(reasons))
        if lag > LAG_BOUND:
            reasons.append(f"{lag:,} records behind, more than {LAG_BOUND:,}")
        return reasons

    def _is_open(self, partition: int) -> bool:
        owned = self.shards.get(partition)
        return owned is not None and owned.open

    def _findings(self, shards: Iterable[Owned]) -> list[str]:
        notes = list(self._placement.misplaced.values())
        notes += [
            f"partition {owned.partition}: {owned.reread:,} records came again below the checkpoint's offsets and were "
            "passed over; if a topic was made anew, clear the state with `stream reset`"
            for owned in shards
            if owned.reread
        ]
        if self._parts.outbox.dropped:
            notes.append(f"{self._parts.outbox.dropped:,} records were too large for their topic and were dropped")
        return notes
