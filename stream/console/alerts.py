"""`stream alerts`: the alert topic as lines that a person reads, each alert once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream.config import Kafka
from stream.deduplicate import Once
from stream.engine.security import connection
from stream.engine.topics import BrokerUnreachable, TopicProblem, inspect
from stream.events import Alert

LOOK_AGAIN = 1.0
"""Seconds after which a consumer that got nothing checks whether it is at the end."""

_decode = msgspec.json.Decoder(Alert).decode


async def read(kafka: Kafka, *, from_beginning: bool, follow: bool) -> AsyncIterator[tuple[Alert, bytes]]:
    """Alerts of the topic with their bytes: those that are there, with `follow` also those that come.

    Records that are not alerts are passed over. Raises BrokerUnreachable, and TopicProblem when there is no such topic.
    """
    partitions = await _partitions(kafka, wait=follow)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=list(kafka.brokers),
        auto_offset_reset="earliest" if from_beginning else "latest",
        enable_auto_commit=False,
        **connection(kafka.security),
    )
    once = Once()
    try:
        await consumer.start()
        consumer.assign(partitions)
        if from_beginning:
            await consumer.seek_to_beginning(*partitions)
        else:
            await consumer.seek_to_end(*partitions)
        ends = await consumer.end_offsets(partitions)
        while True:
            batches = await consumer.getmany(timeout_ms=int(LOOK_AGAIN * 1000))
            for record in sorted((r for batch in batches.values() for r in batch), key=lambda r: r.timestamp):
                try:
                    alert = _decode(record.value or b"")
                except msgspec.MsgspecError:
                    continue
                if once.new(alert.id):
                    yield alert, record.value
            if not follow and not batches and await _at_end(consumer, ends):
                return
    except (KafkaError, OSError) as error:
        raise BrokerUnreachable(f"no broker answers at {', '.join(kafka.brokers)}: {error}") from error
    finally:
        await consumer.stop()


async def _partitions(kafka: Kafka, wait: bool) -> list[TopicPartition]:
    """All partitions of the topic. With `wait` it may yet have to be created, which the first worker does."""
    topic = kafka.topics.alerts
    while True:
        count = next(state.partitions for state in await inspect(kafka) if state.topic == topic)
        if count is not None:
            return [TopicPartition(topic, partition) for partition in range(count)]
        if not wait:
            raise TopicProblem(f"topic {topic!r} does not exist: the first worker creates it")
        await asyncio.sleep(LOOK_AGAIN)


async def _at_end(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    positions = [await consumer.position(partition) for partition in ends]
    return all(position >= end for position, end in zip(positions, ends.values(), strict=True))
