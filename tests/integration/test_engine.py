"""The engine on a real Kafka, judged by the sums of counting shards: nothing lost, doubled, or read again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterable, Mapping

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream.checkpoint.memory import MemoryStore
from stream.checkpoint.port import Delta, StoreUnavailable
from stream.effects import SIDES, Channel, Outgoing, Side
from stream.engine import flow, topics
from stream.engine.outbox import Outbox
from stream.engine.slices import Progress
from stream.engine.told import SEQ, SHARD
from tests.integration.counting import CountingShard
from tests.integration.workers import (
    SEAL,
    Durations,
    Traffic,
    configuration,
    engine,
    everything,
    outcomes,
    running,
    shard,
    until,
)
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.real


class Moody(MemoryStore):
    """A store that can be away."""

    away = False

    def commit(self, shard: int, epoch: int, delta: Delta) -> None:
        if self.away:
            raise StoreUnavailable("the store is away for the test")
        super().commit(shard, epoch, delta)

    def acquire(self, shard: int) -> int:
        if self.away:
            raise StoreUnavailable("the store is away for the test")
        return super().acquire(shard)


def exact(*workers: object) -> bool:
    """No record came twice or was left out, as far as offsets tell."""
    return all(
        shard(worker, p).sums.repeats == shard(worker, p).sums.skipped == 0  # type: ignore[arg-type]
        for worker in workers
        for p in worker.shards  # type: ignore[attr-defined]
    )


async def test_goes_on_where_the_checkpoint_ends(kafka: Kafka) -> None:
    config, store = configuration(kafka.address), MemoryStore()
    await topics.ready(config.kafka)
    async with Traffic(config, wrong=0.01) as traffic:
        await traffic.send(3000)
        async with running(engine(config, store)) as first:
            await until(lambda: outcomes(first) == 3000)
            assert first.view().ready
        await traffic.send(2000)
        second = engine(config, store)
        async with running(second):
            await until(lambda: outcomes(second) == 5000)
            assert exact(second)
            assert all(lag.lag == 0 for lag in second.view().lag)
    alerts = await everything(config, config.kafka.topics.alerts)
    assert len({value for value, _ in alerts}) == len(alerts) == traffic.wrong
    assert not list(store.load(0, "out/"))


async def test_group_offsets_follow_and_serve_only_where_there_is_no_checkpoint(kafka: Kafka) -> None:
    config = configuration(kafka.address)
    await topics.ready(config.kafka)
    async with Traffic(config) as traffic:
        await traffic.send(1000)
        async with running(engine(config)) as first:
            await until(lambda: outcomes(first) == 1000)
        await traffic.send(500)
        async with running(engine(config)) as second:
            await until(lambda: outcomes(second) == 500)


async def test_workers_share_partitions_and_keep_what_stays(kafka: Kafka) -> None:
    config, store = configuration(kafka.address, partitions=6), MemoryStore()
    await topics.ready(config.kafka)
    async with Traffic(config) as traffic, contextlib.AsyncExitStack() as stack:
        first, second = engine(config, store), engine(config, store)
        await first.start()
        await until(lambda: len(first.shards) == 6 and first.view().ready)
        await traffic.send(2000)
        before = {p: owned.shard for p, owned in first.shards.items()}
        await stack.enter_async_context(running(second))
        await until(lambda: len(first.shards) == len(second.shards) == 3)
        await until(lambda: first.view().ready and second.view().ready)
        assert not first.shards.keys() & second.shards.keys()
        assert all(first.shards[p].shard is before[p] for p in first.shards)
        await traffic.send(2000)
        await until(lambda: outcomes(first, second) == 4000)
        mine = {p: owned.shard for p, owned in second.shards.items()}
        await first.stop()
        await until(lambda: len(second.shards) == 6 and second.view().ready)
        assert all(second.shards[p].shard is mine[p] for p in mine)
        await traffic.send(1000)
        await until(lambda: outcomes(second) == 5000)
        assert exact(second)


async def test_a_fenced_shard_is_taken_again_from_the_checkpoint(kafka: Kafka) -> None:
    config, store = configuration(kafka.address), MemoryStore()
    await topics.ready(config.kafka)
    async with Traffic(config) as traffic, running(engine(config, store)) as worker:
        await traffic.send(1000)
        await until(lambda: outcomes(worker) == 1000)
        before = {p: owned.epoch for p, owned in worker.shards.items()}
        for partition in before:
            store.acquire(partition)
        await traffic.send(1000)
        await until(lambda: worker.fenced == 4)
        await until(lambda: len(worker.shards) == 4 and outcomes(worker) == 2000)
        assert all(worker.shards[p].epoch == before[p] + 2 for p in before)
        assert exact(worker)


async def test_a_store_that_is_away_pauses_reading_and_loses_nothing(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "UNSAVED_RECORDS", 2000)
    config, store = configuration(kafka.address), Moody()
    await topics.ready(config.kafka)
    async with Traffic(config) as traffic, running(engine(config, store)) as worker:
        await traffic.send(500)
        await until(lambda: outcomes(worker) == 500)
        store.away = True
        for _ in range(10):
            await traffic.send(1000)
        await until(lambda: "the store is away for the test" in worker.view().reasons)
        await asyncio.sleep(1.0)
        applied = outcomes(worker)
        # One poll may be on its way when the bound is reached.
        assert applied < 9000
        store.away = False
        await until(lambda: outcomes(worker) == 10500)
        await until(lambda: worker.view().ready)
        assert exact(worker)


async def test_a_store_that_is_away_at_the_start_is_waited_for(kafka: Kafka) -> None:
    config, store = configuration(kafka.address), Moody()
    store.away = True
    await topics.ready(config.kafka)
    async with Traffic(config) as traffic, running(engine(config, store)) as worker:
        await traffic.send(100)
        await until(lambda: any("partition 0 is not open: the store is away" in r for r in worker.view().reasons))
        store.away = False
        await until(lambda: outcomes(worker) == 100 and worker.view().ready)


async def test_a_broker_that_was_away_is_read_on_without_a_restart(own_kafka: Kafka) -> None:
    config = configuration(own_kafka.address)
    await topics.ready(config.kafka)
    async with running(engine(config)) as worker:
        async with Traffic(config, wrong=0.1) as traffic:
            await traffic.send(1000)
            await until(lambda: outcomes(worker) == 1000)
        own_kafka.stop(signal.SIGKILL)
        await until(lambda: any("no broker answers" in reason for reason in worker.view().reasons))
        own_kafka.start()
        async with Traffic(config, wrong=0.1) as more:
            more.sent = 1000
            await more.send(1000)
            await until(lambda: outcomes(worker) == 2000, 60)
            await until(lambda: worker.view().ready)
        assert exact(worker)
        alerts = await everything(config, config.kafka.topics.alerts)
        assert len({value for value, _ in alerts}) == traffic.wrong + more.wrong


async def test_effects_that_were_committed_and_not_published_are_published_first(kafka: Kafka) -> None:
    config, store = configuration(kafka.address, partitions=1), MemoryStore()
    row = Outgoing(1, Channel.ALERTS, "m", b'{"id":"left","ts":1}')
    left = CountingShard(0, None)
    left.sums.seq = 1
    rows = {**left.delta().put, "out/000000000001": msgspec.msgpack.encode(row)}
    store.commit(0, store.acquire(0), Delta(SEAL.seal_all(0, rows)))
    async with running(engine(config, store)) as worker:
        await until(lambda: worker.view().ready and not shard(worker, 0).outbox)
        await until(lambda: not list(store.load(0, "out/")))
    headers = {SHARD: f"{config.kafka.group}/0".encode(), SEQ: b"1"}
    assert await everything(config, config.kafka.topics.alerts) == [(row.value, headers)]


async def test_the_topic_ahead_is_paused_while_the_other_is_behind(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "BUFFERED_RECORDS", 500)

    class Waiting(CountingShard):
        @property
        def buffered(self) -> Mapping[Side, int]:
            return {side: len(self.waiting[side]) for side in SIDES}

    config = configuration(kafka.address, partitions=1)
    await topics.ready(config.kafka)
    async with Traffic(config) as traffic, running(engine(config, shard=Waiting)) as worker:
        await traffic.send(100)
        await until(lambda: worker.view().ready and outcomes(worker) == 100)
        owned = worker.shards[0]
        for side in SIDES:
            assert worker.wants(
                config.kafka.topics.predictions if side == "predictions" else config.kafka.topics.labels, 0
            )
        await traffic.send(2000, sides=("predictions",))
        await until(lambda: owned.shard.buffered["predictions"] == 2000)
        # Labels are caught up: nobody waits for them, so predictions go on.
        assert worker.wants(config.kafka.topics.predictions, 0)
        consumer = worker._consumer
        labels = config.kafka.topics.labels
        received = dict(owned.inbox.received)
        monkeypatch.setattr(
            consumer,
            "progress",
            lambda tp: (
                Progress(0, 99, received["labels"], time.monotonic())
                if tp.topic == labels
                else Progress(1, 1, received["predictions"], time.monotonic())
            ),
        )
        assert not worker.wants(config.kafka.topics.predictions, 0)
        assert worker.wants(config.kafka.topics.labels, 0)


async def test_an_instance_that_another_live_worker_holds_ends_the_newcomer(kafka: Kafka) -> None:
    config, store = configuration(kafka.address, instance="one"), MemoryStore()
    await topics.ready(config.kafka)
    async with Traffic(config) as traffic, running(engine(config, store)) as first:
        await until(lambda: first.view().ready)
        await asyncio.sleep(0.01)
        async with running(engine(config, store)) as second:
            reason = await asyncio.wait_for(asyncio.shield(second.failure), 30)
            assert "kafka.instance 'one' is held by another live worker" in reason
        await until(lambda: first.view().ready)
        await traffic.send(1000)
        await until(lambda: outcomes(first) == 1000)
        assert not first.failure.done()


@pytest.mark.parametrize("keyed", ["by user", "not at all"])
async def test_a_model_on_two_partitions_is_named(kafka: Kafka, keyed: str) -> None:
    config = configuration(kafka.address)
    await topics.ready(config.kafka)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.address)
    await producer.start()
    for number in range(50):
        key = f"user{number}".encode() if keyed == "by user" else None
        await producer.send_and_wait(
            config.kafka.topics.predictions, b'{"id":"%d","ts":1,"model":"fraud","prediction":1}' % number, key=key
        )
    await producer.stop()
    async with running(engine(config)) as worker:
        await until(lambda: bool(worker.view().notes))
        assert worker.view().notes[0].startswith("model 'fraud' arrives on partitions")


async def test_a_shard_that_raises_is_restored_and_the_others_go_on(kafka: Kafka) -> None:
    config, store = configuration(kafka.address), MemoryStore()
    planted = {"e500"}

    def new(partition: int, rows: Iterable[tuple[str, bytes]] | None) -> CountingShard:
        return CountingShard(partition, rows, planted)

    await topics.ready(config.kafka)
    async with Traffic(config, models=40) as traffic, running(engine(config, store, new)) as worker:
        await traffic.send(2000)
        await until(lambda: outcomes(worker) == 2000)
        assert exact(worker)
        assert not planted


async def test_topics_are_created_alike_and_a_mismatch_is_told(kafka: Kafka) -> None:
    config = configuration(kafka.address, partitions=3)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    await admin.create_topics([NewTopic(config.kafka.topics.labels, 5, 1)])
    assert await topics.ready(config.kafka) == 5
    other = configuration(kafka.address)
    await admin.create_topics(
        [NewTopic(other.kafka.topics.labels, 5, 1), NewTopic(other.kafka.topics.predictions, 2, 1)]
    )
    await admin.close()
    with pytest.raises(topics.TopicProblem, match=r"has 2 partitions and '.*' has 5"):
        await topics.ready(other.kafka)


async def test_what_a_topic_never_takes_does_not_stop_the_rest(kafka: Kafka) -> None:
    config = configuration(kafka.address, partitions=1)
    await topics.ready(config.kafka)
    out = Outbox(config.kafka, "test", _refuse)
    large = b"x" * (3 * 1024 * 1024)
    rows = [
        Outgoing(1, Channel.DEAD_LETTERS, "k", large, (("reason", b"too_large"),)),
        Outgoing(2, Channel.ALERTS, "m", large),
        Outgoing(3, Channel.ALERTS, "m", b"small"),
    ]
    await out.publish(rows)
    await out.close()
    (dead,) = await everything(config, config.kafka.topics.dead_letters)
    assert dead[1] == {"reason": b"too_large", "cut": b"%d" % len(large)}
    assert 0 < len(dead[0]) < 1024 * 1024
    assert [value for value, _ in await everything(config, config.kafka.topics.alerts)] == [b"small"]
    assert out.dropped == 1


async def _refuse(_path: str, _artifact: bytes) -> None:
    raise OSError


async def test_alerts_are_out_within_a_second_under_load(kafka: Kafka) -> None:
    config = configuration(kafka.address)
    await topics.ready(config.kafka)
    worker = engine(config)
    durations = worker._parts.timings
    assert isinstance(durations, Durations)
    async with Traffic(config, wrong=0.01) as traffic, running(worker):
        await until(lambda: worker.view().ready)
        for _ in range(10):
            await traffic.send(250)
            await asyncio.sleep(0.05)
        await until(lambda: len(durations.alert_delay.seen) == traffic.wrong)
