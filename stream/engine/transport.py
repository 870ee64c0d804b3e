"""Faust with micro-batches: a message is a slice of a partition, and where reading starts is ours to say.

Faust hands over records one by one at about 13,000/s; the cost is in its conductor and streams, per message. So the
consumer yields one message per fetched slice (value: the slice; offset: the last record's).

Invariant: no offset is chosen by Faust: the group's committed offsets are written for lag tools, and read only for
partitions that have no checkpoint.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, ClassVar

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import ConsumerStoppedError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode.utils.logging import get_logger

from stream.effects import Record
from stream.engine.batches import by_batches
from stream.engine.slices import Feed, Progress, Seek, Slice

logger = get_logger(__name__)

POLL_RECORDS = 40_000
"""At most so many records per poll, of all partitions together: what a broker answers for a partition is not torn."""

FETCH_BYTES = 4 * 1024 * 1024
"""Per partition and answer: about 8,000 events of 480 bytes."""

FETCH_WAIT_MS = 100
"""How long the broker may wait for a first byte. A partition that becomes free meanwhile waits for the answer too."""

LINGER = 0.05
"""Seconds to wait after a small poll: a call of a shard costs as much as a thousand events besides, and tiny polls at
5,000 events a second took a fifth more of a processor with 20 ms, for alerts that came no sooner."""

SMALL_POLL = 2_000

_POLL_TIMEOUT = 0.1


class _Forgetful(dict[Any, Any]):
    """Faust's notion of where it has read to. The engine orders slices itself, by ticket and offset."""

    def __missing__(self, key: Any) -> None:
        return None

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def update(self, *args: Any, **kwargs: Any) -> None:
        pass


class SliceConsumerThread(driver.AIOKafkaConsumerThread):
    """aiokafka's consumer, on a thread and event loop of its own."""

    _watch: asyncio.Task[None] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seeks: dict[TP, Seek] = {}
        self._ticket = 0
        self._asked: dict[TP, float] = {}
        """When the request was sent that was answered last, by partition."""
        self._drains_begun = self._drains_ended = 0

    @property
    def _feed(self) -> Feed:
        app: Any = self.app
        feed: Feed = app.feed
        return feed

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **self._feed.kafka,
            client_id=self._feed.membership.client_id,
            partition_assignment_strategy=[self._feed.assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=POLL_RECORDS,
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            # Consumption pauses for as long as the store is away; that is no reason to leave the group.
            max_poll_interval_ms=24 * 3600 * 1000,
        )

    async def on_start(self) -> None:
        await super().on_start()
        fetcher = self._ensure_consumer()._fetcher
        # A partition whose records are used up is fetched at once, not when all others' are, or a tenth of a second
        # later: the shards would wait for it.
        fetcher._prefetch_backoff = 0.0
        self._note_answers(fetcher)
        self._watch = self._feed.membership.watch(self._ensure_consumer())

    async def on_thread_stop(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await super().on_thread_stop()

    def _note_answers(self, fetcher: Any) -> None:
        """Notes of every answer when it was asked for; a partition that was answered with an error was not answered."""
        fetch: Callable[[Any, int, Any], Awaitable[bool]] = fetcher._proc_fetch_request

        async def noted(assignment: Any, node: int, request: Any) -> bool:
            asked = time.monotonic()
            tps = [TP(topic, part[0]) for topic, parts in request.topics for part in parts]
            states = {tp: assignment.state_value(TopicPartition(*tp)) for tp in tps}
            for state in states.values():
                state.timestamp = None
            arrived = await fetch(assignment, node, request)
            # Nothing else runs on this thread in between: records of this answer are drained after that.
            self._asked.update((tp, asked) for tp, state in states.items() if state.timestamp is not None)
            return arrived

        fetcher._proc_fetch_request = noted

    async def seek_to(self, offsets: Mapping[TP, int | None]) -> None:
        """Seeks; None is the group's committed offset, or the beginning if it has none. See `seeks` for the result."""
        await self.call_thread(self._seek_to, offsets)

    async def _seek_to(self, offsets: Mapping[TP, int | None]) -> None:
        consumer = self._ensure_consumer()
        for tp, wished in offsets.items():
            partition = TopicPartition(tp.topic, tp.partition)
            offset = wished if wished is not None else await consumer.committed(partition)
            if offset is None:
                await consumer.seek_to_beginning(partition)
            else:
                consumer.seek(partition, offset)
            # On this thread, where records are drained too: what is drained from now on carries the new ticket.
            self._ticket += 1
            seek = self.seeks[tp] = Seek(self._ticket)
            seek.position = await consumer.position(partition)

    async def log_ends(self, tps: Iterable[TP]) -> dict[TP, int]:
        """Offsets after the last record, asked of the broker."""
        ends = await self.call_thread(
            self._ensure_consumer().end_offsets, [TopicPartition(tp.topic, tp.partition) for tp in tps]
        )
        return {TP(tp.topic, tp.partition): end for tp, end in ends.items()}

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Writes the group's offsets. Failing is no disaster: they are for lag tools."""
        assigned = self.assignment()
        wanted = {
            TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(offset, "")
            for tp, offset in offsets.items()
            if tp in assigned
        }
        try:
            await asyncio.wait_for(self._ensure_consumer().commit(wanted), timeout=2.0)
        except Exception as error:  # noqa: BLE001  # Faust would end the worker
            self.log.debug("offsets were not committed: %r", error)
            return False
        return True

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109  # Faust's signature
        max_records: int | None = None,
    ) -> dict[TP, list[Slice]]:
        """What aiokafka's consumer does, but records stay as its parser made them; see `batches`."""
        fetcher = consumer._fetcher
        deadline = time.monotonic() + (timeout or 0.0)
        with consumer._subscription.fetch_context():
            while self.consumer.flow_active and not fetcher._closed:
                for fetched in fetcher._records.values():
                    if type(fetched) is FetchResult:
                        by_batches(fetched)
                self._drains_begun += 1
                try:
                    records = await fetcher.fetched_records(active_partitions, timeout=0, max_records=max_records)
                    slices = {
                        TP(tp.topic, tp.partition): [self._slice(tp, part)] for tp, part in records.items() if part
                    }
                finally:
                    self._drains_ended += 1
                left = deadline - time.monotonic()
                if records or left <= 0:
                    return slices
                arrival = fetcher._create_fetch_waiter()
                await asyncio.wait([arrival], timeout=left)
                arrival.cancel()
        if fetcher._closed:
            raise ConsumerStoppedError
        return {}

    def _slice(self, tp: TopicPartition, records: list[Record]) -> Slice:
        seek = self.seeks.setdefault(TP(tp.topic, tp.partition), Seek(0))
        number, seek.slices = seek.slices, seek.slices + 1
        asked = self._asked.get(TP(tp.topic, tp.partition), 0.0)
        return Slice(tp.topic, tp.partition, seek.ticket, number, records, asked)

    def progress(self, tp: TP) -> Progress:
        """Called on another thread, so what is read while records are drained is not believed."""
        consumer = self._consumer
        subscription = None if consumer is None else consumer._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        partition = TopicPartition(tp.topic, tp.partition)
        seek = self.seeks.get(tp)
        if seek is None or assignment is None or not assignment.active or partition not in assignment.tps:
            return Progress()
        # Before the end: an answer that comes in between makes it seem older than it is, not newer.
        asked = self._asked.get(tp, 0.0)
        ended = self._drains_ended
        state = assignment.state_value(partition)
        position = state.position if state.has_valid_position else None
        slices = seek.slices
        settled = ended == self._drains_begun
        return Progress(position if settled else None, state.highwater, slices, asked)


class SliceConsumer(driver.Consumer):
    """Yields slices of the partitions that the engine wants."""

    _thread: SliceConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = _Forgetful()

    def _new_consumer_thread(self) -> SliceConsumerThread:
        return SliceConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def seek_slices(self, offsets: Mapping[TP, int | None]) -> dict[TP, Seek]:
        """Seeks partitions that are not wanted at the moment."""
        await self._thread.seek_to(offsets)
        return {tp: self._thread.seeks[tp] for tp in offsets}

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Faust asks for this after a rebalance. Nothing is sought here: each partition is when its shard opens."""
        return {}

    async def log_ends(self, tps: Iterable[TP]) -> dict[TP, int]:
        """Offsets after the last record of each partition."""
        return await self._thread.log_ends(tps)

    def progress(self, tp: TP) -> Progress:
        """See SliceConsumerThread.progress."""
        return self._thread.progress(tp)

    async def getmany(
        self,
        timeout: float,  # noqa: ASYNC109  # Faust's signature
    ) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """One message per partition slice of one poll."""
        if not self.flow_active:
            await self.wait_first(self.can_resume_flow.wait())
        app: Any = self.app
        feed: Feed = app.feed
        wanted = {tp for tp in self._get_active_partitions() if feed.wants(tp.topic, tp.partition)}
        fetched = await self._getmany(wanted, min(timeout, _POLL_TIMEOUT)) if wanted else {}
        polled = 0
        for tp, (part,) in fetched.items():
            polled += len(part.records)
            last: Any = part.records[-1]
            feed.delivered(part)
            yield (
                tp,
                ConsumerMessage(
                    topic=tp.topic,
                    partition=tp.partition,
                    offset=last.offset,
                    timestamp=last.timestamp / 1000,
                    timestamp_type=last.timestamp_type,
                    headers=None,
                    key=None,
                    value=part,
                    checksum=None,
                    tp=tp,
                    generation_id=app.consumer_generation_id,
                ),
            )
        if polled < SMALL_POLL:
            await self.sleep(LINGER)

    def _new_offset(self, tp: TP) -> int | None:
        """Slices are acked in order, so the newest acked one says it all; Faust would count every offset before it."""
        acked = self._acked[tp]
        if not acked:
            return None
        newest: int = max(acked)
        acked.clear()
        self._acked_index[tp].clear()
        return newest + 1

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's check for stuck streams takes a paused partition for one; readiness says what is stuck and why."""


class SliceTransport(driver.Transport):
    """The aiokafka transport with our consumer."""

    Consumer: ClassVar[type] = SliceConsumer
