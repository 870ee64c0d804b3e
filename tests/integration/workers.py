"""Workers, traffic and waiting for the engine's tests on a real Kafka."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from stream.checkpoint.memory import MemoryStore
from stream.checkpoint.port import Store
from stream.checkpoint.seal import Seal
from stream.config import Checkpoint, Config, Kafka, Topics
from stream.effects import Side
from stream.engine.shardlike import ShardLike
from stream.engine.worker import Engine
from tests.integration.counting import CountingShard, Event

SEAL = Seal(b"a key of the tests, 32 bytes long")
_json = msgspec.json.Encoder()


class Durations:
    """Keeps what the engine observes."""

    def __init__(self) -> None:
        self.apply, self.checkpoint, self.alert_delay = _Kept(), _Kept(), _Kept()


class _Kept:
    def __init__(self) -> None:
        self.seen: list[float] = []

    def observe(self, amount: float) -> None:
        self.seen.append(amount)


def configuration(address: str, partitions: int = 4, **kafka: object) -> Config:
    """A configuration whose topics and group nobody else uses."""
    name = uuid.uuid4().hex[:8]
    topics = {field: f"{field.replace('_', '-')}-{name}" for field in Topics.__struct_fields__}
    settings = {"brokers": (address,), "group": name, "partitions": partitions, "session_timeout": 6.0, **kafka}
    return Config(kafka=Kafka(topics=Topics(**topics), **settings), checkpoint=Checkpoint(every=0.2))  # type: ignore[arg-type]


def engine(
    config: Config,
    store: Store | None = None,
    shard: Callable[[int, Iterable[tuple[str, bytes]] | None], ShardLike] = CountingShard,
) -> Engine:
    """An engine of counting shards that has not started."""

    async def keep(_path: str, _artifact: bytes) -> None:
        raise OSError("no artifacts here")

    return Engine(config, store or MemoryStore(), SEAL, Durations(), shard, keep)


@asynccontextmanager
async def running(worker: Engine) -> AsyncIterator[Engine]:
    """Starts an engine and stops it, whatever the test does."""
    try:
        await worker.start()
        yield worker
    finally:
        await worker.stop()


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Waits for a condition; fails when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def shard(worker: Engine, partition: int) -> CountingShard:
    """The counting shard of a partition."""
    found = worker.shards[partition].shard
    assert isinstance(found, CountingShard)
    return found


def outcomes(*workers: Engine) -> int:
    """Outcomes of the shards that these workers have open."""
    return sum(shard(worker, p).sums.outcomes for worker in workers for p in worker.shards)


class Traffic:
    """Predictions and labels of `models` models, in order, each topic keyed by the model's name."""

    def __init__(self, config: Config, seed: int = 0, models: int = 16, wrong: float = 0.0) -> None:
        self.topics: dict[Side, str] = {
            "predictions": config.kafka.topics.predictions,
            "labels": config.kafka.topics.labels,
        }
        self.sent = 0
        self.wrong = 0
        self._brokers = list(config.kafka.brokers)
        self._random = random.Random(seed)
        self._models, self._share = models, wrong
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Traffic:
        self._producer = AIOKafkaProducer(bootstrap_servers=self._brokers, linger_ms=5, acks="all")
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._producer is not None
        await self._producer.stop()

    async def send(self, count: int, sides: Iterable[Side] = ("predictions", "labels")) -> None:
        """Sends `count` pairs and waits for the acknowledgements."""
        assert self._producer is not None
        acks = []
        for number in range(self.sent, self.sent + count):
            model = f"m{self._random.randrange(self._models)}"
            label = 0 if self._random.random() < self._share else 1
            self.wrong += 1 - label
            for side in sides:
                event = Event(
                    f"e{number}",
                    time.time(),
                    model,
                    **({"prediction": 1} if side == "predictions" else {"label": label}),
                )
                acks.append(await self._producer.send(self.topics[side], _json.encode(event), key=model.encode()))
        await asyncio.gather(*acks)
        self.sent += count


async def everything(config: Config, topic: str) -> list[tuple[bytes, dict[str, bytes]]]:
    """All records of a topic now: value and headers."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=list(config.kafka.brokers), auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = consumer.assignment()
        ends = await consumer.end_offsets(partitions)
        left = {partition for partition in partitions if ends[partition]}
        found = []
        while left:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [(record.value, dict(record.headers)) for record in records]
            left = {partition for partition in left if await consumer.position(partition) < ends[partition]}
        return found
    finally:
        await consumer.stop()
