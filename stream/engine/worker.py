"""The engine of one worker: Faust brings slices, shards apply them, checkpoints and effects go out.

Invariant: a slice is applied only to a shard of the current epoch, from the offset that the shard is waiting for; what
waits in memory is bounded; and `view().reasons` says what keeps the worker from its work.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from faust.types import TP

from stream.checkpoint.port import Store, StoreUnavailable
from stream.checkpoint.seal import Seal
from stream.checkpoint.types import learn_types
from stream.config import Config
from stream.effects import Clock, Side
from stream.engine import flow, looking, topics
from stream.engine.application import SliceApp
from stream.engine.aside import Aside
from stream.engine.assignor import Copartitioned
from stream.engine.cadence import Cadence
from stream.engine.group import Membership, consumer_settings
from stream.engine.outbox import Outbox
from stream.engine.owned import Owned
from stream.engine.partitions import Partitions
from stream.engine.parts import Parts, Timings
from stream.engine.placement import Placement
from stream.engine.recall import recent
from stream.engine.shardlike import NewShard
from stream.engine.slices import Slice
from stream.engine.told import Message, Told
from stream.engine.transport import SliceConsumer
from stream.view import WorkerView

logger = logging.getLogger(__name__)

TICK = 0.1
"""Seconds after which a shard is told the time though nothing came."""

HELD = 0.02
"""The same for one whose records wait for an answer about the other topic."""

RECALLED = 1000
"""Records of each partition of the alert topic that are read to see what was published before."""

LONG, BREATH = 0.1, 0.01
"""Seconds of a call after which alerts that wait get some time, and how much."""

PING_EVERY = 2.0
"""Seconds between looks at the store."""

STOP_PATIENCE = 3.0
"""Seconds that the last checkpoints may take at the end."""

_RETRY = (0.2, 5.0)


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
        self.membership = Membership(kafka.group, kafka.instance, self._over)
        self.assignor = Copartitioned()
        self.kafka: Mapping[str, Any] = consumer_settings(kafka)
        self._topics: dict[Side, str] = {"predictions": kafka.topics.predictions, "labels": kafka.topics.labels}
        self._side: dict[str, Side] = {topic: side for side, topic in self._topics.items()}
        learn_types()
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="checkpoint")
        self._arrivals = asyncio.Event()
        self._parts = Parts(
            store=store,
            seal=seal,
            threads=self._threads,
            outbox=Outbox(kafka, self.membership.client_id, keep_artifact),
            aside=Aside("outbox"),
            cadence=Cadence(config.checkpoint.every),
            timings=timings,
            wake=self._arrivals.set,
            budget=config.limits.pending,
            told=Told(kafka.group, self._recall),
        )
        self._partitions = Partitions(
            self._parts, self.membership, self._topics, lambda: self._consumer, new_shard, resident
        )
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
        while not app.should_stop and not app.drained:  # noqa: ASYNC110  # Faust has no event for it
            await asyncio.sleep(0.2)
        if not self._stopping and not self.failure.done():
            self.failure.set_result(f"the consumer ended: {app.crash_reason or 'no reason known'!r}")

    async def _recall(self) -> Sequence[Message]:
        """The end of the alert topic."""
        kafka = self.config.kafka
        return await self._parts.aside.do(lambda: recent(kafka, kafka.topics.alerts, RECALLED))

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
        for task in self._watchers:
            task.cancel()
        clean = await self._partitions.close(STOP_PATIENCE)
        if self._app is not None:
            try:
                async with asyncio.timeout(STOP_PATIENCE):
                    await self._app.stop()
            except TimeoutError:
                logger.warning("the consumer did not stop in %.0f s", STOP_PATIENCE)
        await self._parts.aside.do(self._parts.outbox.close)
        self._parts.aside.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        return clean

    def _over(self, error: Exception) -> None:
        """Called on the consumer's thread."""

        def tell() -> None:
            if not self.failure.done():
                self.failure.set_result(str(error))

        self._loop.call_soon_threadsafe(tell)

    # Rebalances

    async def _on_revoked(self, _app: Any, revoked: Iterable[TP], **_: Any) -> None:
        await self._partitions.revoke()

    async def _on_assigned(self, app: Any, assigned: Iterable[TP], **_: Any) -> None:
        tps = set(assigned)
        numbers = frozenset(
            tp.partition for tp in tps if all(TP(topic, tp.partition) in tps for topic in self._topics.values())
        )
        self._starting = None
        self.assignor.remember(app.consumer_generation_id, numbers)
        self._partitions.assign(numbers)

    @property
    def shards(self) -> Mapping[int, Owned]:
        """What this worker owns, by partition."""
        return self._partitions.owned

    @property
    def fenced(self) -> int:
        """How often another worker had taken a partition."""
        return self._partitions.fenced

    @property
    def _consumer(self) -> SliceConsumer:
        assert self._app is not None
        return cast(SliceConsumer, self._app.consumer)

    # What comes in (see transport.Feed)

    def wants(self, topic: str, partition: int) -> bool:
        """Whether records of this partition may be fetched now."""
        owned = self.shards.get(partition)
        if owned is None or not owned.inbox.attached or self._stopping:
            return False
        now = time.monotonic()
        side = self._side[topic]
        self._look_at_log(owned)
        sides = owned.inbox.sides
        if side not in flow.held(sides, owned.shard.buffered, owned.unsent, self._in_memory(now), now):
            return True
        sides[side].arrived = now
        return False

    def delivered(self, part: Slice) -> None:
        """A slice is on its way to the agent."""
        owned = self.shards.get(part.partition)
        if owned is not None:
            owned.inbox.expect(part, self._side[part.topic])

    def _in_memory(self, now: float) -> flow.Load:
        at, load = self._load
        if now - at > 0.005:
            shards = self.shards.values()
            load = flow.Load(
                waiting=sum(owned.inbox.waiting for owned in shards),
                unsaved=sum(owned.checkpoints.unsaved for owned in shards),
                unsent=sum(owned.unsent for owned in shards),
            )
            self._load = (now, load)
        return load

    async def _consume(self, stream: Any) -> None:
        """The agent over both topics: slices go to the inbox of their shard."""
        async for event in stream.noack().events():
            part: Slice = event.value
            # The event lives until its checkpoint; its records need not.
            event.value = event.message.value = None
            owned = self.shards.get(part.partition)
            if owned is not None and owned.inbox.take(part, self._side[part.topic], event.ack):
                self._placement.warn(part.partition, part.records)
                self._arrivals.set()

    async def _apply_for_ever(self) -> None:
        while True:
            # What waits for an answer about the other topic is looked after sooner: nothing says that it has come.
            held = any(owned.inbox.waiting for owned in self.shards.values())
            try:
                await asyncio.wait_for(self._arrivals.wait(), HELD if held else TICK)
            except TimeoutError:
                pass
            self._arrivals.clear()
            busy = True
            while busy:
                busy = False
                now = time.monotonic()
                for owned in list(self.shards.values()):
                    inbox = owned.inbox
                    if inbox.lost(now):
                        self._partitions.read_again(owned)
                    if inbox.waiting:
                        self._look_at_log(owned)
                    quiet = not owned.ready(self._in_memory(now)) and now - owned.last_apply < TICK
                    if not inbox.attached or owned.lender.lending or quiet:
                        continue
                    begun = time.monotonic()
                    self._apply(owned)
                    busy = busy or owned.ready(self._in_memory(now))
                    await asyncio.sleep(self._breath(time.monotonic() - begun))

    def _breath(self, took: float) -> float:
        """Seconds to leave to others after a call that took so many: an alert on its way out has several steps to go,
        and each would wait for the next call."""
        hurried = took > LONG and any(owned.checkpoints.hurried for owned in self.shards.values())
        return BREATH if hurried else 0.0

    def _apply(self, owned: Owned) -> None:
        def clock() -> Clock:
            self._look_at_log(owned)
            return flow.clock(owned.inbox.sides, time.monotonic(), time.time())

        try:
            owned.apply(clock, self._in_memory(time.monotonic()))
        except Exception as error:  # noqa: BLE001  # whatever it is, the other partitions go on
            self._partitions.failed(owned, error)

    def _look_at_log(self, owned: Owned) -> None:
        for side, topic in self._topics.items():
            owned.inbox.look(side, self._consumer.progress(TP(topic, owned.partition)))

    # What is known

    def view(self) -> WorkerView:
        """Everything that page, API and metrics show."""
        shards = [self.shards[partition] for partition in sorted(self.shards)]
        for owned in shards:
            if owned.inbox.attached:
                self._look_at_log(owned)
        lags = [looking.lag(owned, topic, side) for side, topic in self._topics.items() for owned in shards]
        reasons = [*self._unready(), *looking.behind(lags)]
        return WorkerView(
            shards=[owned.shard.view() for owned in shards],
            lag=lags,
            ready=not reasons,
            reasons=reasons,
            checkpoints=self._parts.checkpoints,
            fenced=self.fenced,
            checkpoint_interval=self._parts.cadence.interval(),
            notes=looking.notes(shards, self._placement, self._parts.outbox),
        )

    def _unready(self) -> list[str]:
        reasons = []
        if self._starting:
            reasons.append(self._starting)
        if self._stopping:
            reasons.append("stopping")
        assigned = self._partitions.assigned is not None
        if self.membership.problem:
            reasons.append(self.membership.problem)
        elif assigned and not self.membership.answered_within(self.config.kafka.session_timeout):
            reasons.append(f"no broker answers at {', '.join(self.config.kafka.brokers)}")
        else:
            reasons += looking.unheard(self.shards.values(), self._topics, time.monotonic())
        reasons += self._partitions.unready()
        troubles = {owned.trouble for owned in self.shards.values() if owned.trouble} | {self._store_trouble or ""}
        return [*reasons, *sorted(troubles - {""} - set(reasons))]
