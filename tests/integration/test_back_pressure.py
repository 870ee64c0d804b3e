"""A store, a broker or a part of a worker that hangs: memory stays bounded, readiness says why, and work goes on after.

The servers are stopped (SIGSTOP) under load, not ended: connections stay and nothing answers.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import pytest
from msgspec.structs import replace

from stream import app
from stream.app import Worker
from stream.checkpoint import redis as redis_store
from stream.config import Checkpoint, Config, Http
from stream.effects import Clock, Outgoing, Record, Side
from stream.engine import flow, topics, transport
from stream.engine.worker import Engine
from tests.integration.counting import CountingShard
from tests.integration.workers import Traffic, configuration, engine, everything, outcomes, running, shard, until
from tests.servers.kafka import Kafka
from tests.servers.redis_server import RedisServer

pytestmark = pytest.mark.real

UNSAVED, WAITING, POLL = 2_000, 1_000, 200


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path, "--save", "", "--appendonly", "no")
    server.start()
    yield server
    server.stop(kill=True)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a test reaches."""
    monkeypatch.setattr(flow, "UNSAVED_RECORDS", UNSAVED)
    monkeypatch.setattr(flow, "WORKER_RECORDS", WAITING)
    monkeypatch.setattr(transport, "POLL_RECORDS", POLL)
    monkeypatch.setattr(redis_store, "_TIMEOUT", 0.5)
    monkeypatch.setattr(app, "RESIDENT", ("",))


@contextmanager
def hanging(pid: int | None) -> Iterator[None]:
    """The process does nothing while the block runs."""
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Watched:
    """A whole worker with its page, and the most that it had in memory."""

    def __init__(self, worker: Worker, http: aiohttp.ClientSession) -> None:
        self.worker, self.engine, self._http = worker, worker._engine, http
        self.most = 0

    async def keep_looking(self) -> None:
        """Looks at the memory all the time."""
        while True:
            shards = self.engine.shards.values()
            held = sum(owned.inbox.waiting + owned.checkpoints.unsaved for owned in shards)
            self.most = max(self.most, held)
            await asyncio.sleep(0.002)

    async def says(self, status: int, words: str = "") -> None:
        """Waits until `/readyz` answers so."""
        deadline = time.monotonic() + 60
        while True:
            async with self._http.get(f"{self.worker.url}readyz") as answer:
                found, text = answer.status, await answer.text()
            if found == status and words in text:
                return
            assert time.monotonic() < deadline, (found, text)
            await asyncio.sleep(0.05)

    def paused(self) -> bool:
        """Whether nothing is fetched: all partitions are open, and none of them is wanted."""
        names = self.engine.config.kafka.topics
        wanted = [
            self.engine.wants(topic, partition)
            for topic in (names.predictions, names.labels)
            for partition in self.engine.shards
        ]
        return bool(wanted) and not any(wanted)

    def exact(self) -> bool:
        """No record came twice or was left out."""
        sums = [shard(self.engine, partition).sums for partition in self.engine.shards]
        return all(each.repeats == each.skipped == 0 for each in sums)


@asynccontextmanager
async def watched(config: Config) -> AsyncIterator[Watched]:
    """A worker of counting shards."""
    async with Worker(config, new_shard=CountingShard) as worker, aiohttp.ClientSession() as http:
        found = Watched(worker, http)
        looking = asyncio.ensure_future(found.keep_looking())
        try:
            yield found
        finally:
            looking.cancel()


def served(config: Config, store: str) -> Config:
    """With a page on any port."""
    kept = Checkpoint(store=store, every=0.2, key="a key of the tests, 32 bytes long")
    return replace(config, checkpoint=kept, http=Http(port=0))


@pytest.mark.usefixtures("small")
async def test_a_store_that_hangs_pauses_reading(kafka: Kafka, redis: RedisServer) -> None:
    config = served(configuration(kafka.address), redis.url)
    await topics.ready(config.kafka)
    async with Traffic(config, wrong=0.02) as traffic, watched(config) as it:
        await traffic.send(500)
        await until(lambda: outcomes(it.engine) == 500)
        await it.says(200)
        with hanging(redis.pid):
            for _ in range(8):
                await traffic.send(1000)
            await it.says(503, str(redis.port))
            await until(it.paused)
            applied = outcomes(it.engine)
            await traffic.send(1000)
            # The broker has more, as is known here, and it is left there.
            await until(lambda: sum(entry.lag or 0 for entry in it.worker.view().lag) > 2000)
            assert outcomes(it.engine) == applied < traffic.sent
            assert not it.engine.failure.done()
        await until(lambda: outcomes(it.engine) == traffic.sent, 60)
        await it.says(200)
        assert it.exact()
        assert it.engine.fenced == 0
        # What two polls bring may be on its way when the bound is reached.
        assert UNSAVED <= it.most <= UNSAVED + WAITING + 2 * POLL
    alerts = await everything(config, config.kafka.topics.alerts)
    assert len({value for value, _ in alerts}) == traffic.wrong


@pytest.mark.usefixtures("small")
async def test_a_broker_that_hangs_is_waited_for(own_kafka: Kafka, redis: RedisServer) -> None:
    config = served(configuration(own_kafka.address), redis.url)
    await topics.ready(config.kafka)
    async with Traffic(config, wrong=0.02) as traffic, watched(config) as it:
        await traffic.send(1000)
        await until(lambda: outcomes(it.engine) == 1000)
        await it.says(200)
        shards = dict(it.engine.shards)
        sending = asyncio.ensure_future(traffic.send(5000))
        await until(lambda: outcomes(it.engine) > 1000)
        with hanging(own_kafka.pid):
            await it.says(503, "no broker answers")
            # What had come is applied and saved, but for records that are newer than the last answer about their
            # partition's other topic, which wait for it; what cannot be published waits.
            load = it.engine._in_memory
            await until(lambda: not any(each.ready(load(time.monotonic())) for each in it.engine.shards.values()))
            assert not it.engine.failure.done()
        await asyncio.wait_for(sending, 120)
        await until(lambda: outcomes(it.engine) == traffic.sent, 60)
        await it.says(200)
        assert it.exact()
        assert {p: owned.shard for p, owned in it.engine.shards.items()} == {p: o.shard for p, o in shards.items()}
        assert it.most <= UNSAVED + WAITING + 2 * POLL
    alerts = await everything(config, config.kafka.topics.alerts)
    assert len({value for value, _ in alerts}) == traffic.wrong


class Slow(CountingShard):
    """Partition 0 learns something that takes milliseconds for each record, as a challenger may."""

    def apply(self, records: Mapping[Side, Sequence[Record]], clock: Clock) -> list[Outgoing]:
        if self.partition == 0:
            end = time.process_time() + 0.003 * sum(map(len, records.values()))
            while time.process_time() < end:
                sum(range(1000))
        return super().apply(records, clock)


def new_slow(partition: int, rows: Iterable[tuple[str, bytes]] | None) -> CountingShard:
    return Slow(partition, rows)


async def test_a_slow_challenger_delays_neither_heartbeats_nor_the_alerts_of_others(kafka: Kafka) -> None:
    config = configuration(kafka.address)
    await topics.ready(config.kafka)
    async with Traffic(config, models=40, wrong=0.05) as traffic:
        # For partition 0 that is more work than a session lasts: a heartbeat that waited for it would be missed.
        await traffic.send(8000)
        async with running(engine(config, shard=new_slow)) as worker:

            def behind(partition: int) -> bool:
                return any(entry.lag != 0 for entry in worker.view().lag if entry.partition == partition)

            await until(lambda: len(worker.shards) == 4)
            slow = worker.shards[0]
            quick = [owned for partition, owned in worker.shards.items() if partition != 0]
            before = worker.assignor.claim.generation
            await until(lambda: not any(behind(owned.partition) or owned.shard.outbox for owned in quick), 90)
            # Their alerts are out, while partition 0 has most of it before it.
            assert sum(wrong(worker, owned.partition) for owned in quick) > 0
            done = shard(worker, 0).sums.outcomes
            await until(lambda: outcomes(worker) == traffic.sent, 180)
            assert done < shard(worker, 0).sums.outcomes / 2
            assert worker.assignor.claim.generation == before
            assert worker.fenced == 0
            assert worker.shards[0] is slow


def wrong(worker: Engine, partition: int) -> int:
    """Outcomes that are alerts."""
    sums = shard(worker, partition).sums
    return sums.outcomes - sums.correct
