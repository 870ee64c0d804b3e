"""After a store went back to an older snapshot and every worker died, alerts come again as they were."""

from __future__ import annotations

import copy
from collections import Counter
from functools import partial

import msgspec
import pytest

from stream.checkpoint.memory import MemoryStore
from stream.config import Config
from stream.effects import Channel, Outgoing
from stream.engine.recall import recent
from stream.engine.told import SEQ, SHARD
from stream.engine.topics import ready
from tests.integration.counting import CountingShard, Event
from tests.integration.workers import Traffic, configuration, engine, everything, outcomes, running, until
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.real


class Shifted(CountingShard):
    """Decides its alerts at another time whenever it decides them again, as a backlog may."""

    later = 0.0

    def _say(self, channel: Channel, event: Event) -> None:
        super()._say(channel, event)
        told = {
            "id": f"{event.id} at {self.later}",
            "ts": event.ts + self.later,
            "fingerprint": event.id,
            "state": "firing",
        }
        row = self.outbox[-1] = Outgoing(self.sums.seq, channel, event.model, msgspec.json.encode(told))
        self._put[f"out/{row.seq:012}"] = msgspec.msgpack.encode(row)


async def run(config: Config, store: MemoryStore, later: float, expected: int) -> None:
    """One worker until it has counted and told everything; then it is gone."""
    kind = type("Later", (Shifted,), {"later": later})
    async with running(engine(config, store, kind)) as worker:
        await until(lambda: len(worker.shards) == config.kafka.partitions)
        await until(lambda: outcomes(worker) == expected)
        await until(lambda: not any(owned.shard.outbox for owned in worker.shards.values()))


async def test_alerts_of_a_lost_state_keep_their_ids_though_their_worker_is_gone(kafka: Kafka) -> None:
    config = configuration(kafka.address, partitions=3)
    topic = config.kafka.topics.alerts
    store, older = MemoryStore(), MemoryStore()
    await ready(config.kafka)
    async with Traffic(config, wrong=0.5) as traffic:
        await traffic.send(100)
        await run(config, store, 0.0, 100)
        before = traffic.wrong
        older._rows = copy.deepcopy(store._rows)
        await traffic.send(100)
        await run(config, store, 0.0, 200)
        first = await everything(config, topic)
        assert len(first) == traffic.wrong > before > 0
        await run(config, older, 0.5, 200)
        again = await everything(config, topic)
    repeats = Counter(value for value, _headers in again)
    assert repeats.keys() == {value for value, _headers in first}, "nothing came under another id"
    assert sorted(repeats.values()) == sorted([1] * before + [2] * (traffic.wrong - before))
    assert {headers[SHARD] for _, headers in again} <= {f"{config.kafka.group}/{n}".encode() for n in range(3)}
    assert all(int(headers[SEQ]) > 0 for _, headers in again)


async def test_the_end_of_a_topic_is_read_and_no_more_than_asked_for(kafka: Kafka) -> None:
    config = configuration(kafka.address, partitions=2)
    topic = config.kafka.topics.predictions
    await ready(config.kafka)
    async with Traffic(config) as traffic:
        read = partial(recent, config.kafka, topic)
        assert not await read(10)
        await traffic.send(60, ["predictions"])
        everywhere = await read(100)
        assert len(everywhere) == 60
        ends = Counter({record.partition: record.offset + 1 for record in everywhere})
        last = await read(10)
        assert Counter(record.partition for record in last) == {p: min(10, end) for p, end in ends.items()}
        assert all(record.offset >= ends[record.partition] - 10 for record in last)
