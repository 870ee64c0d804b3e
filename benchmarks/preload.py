"""Fills the two input topics of a Kafka with a workload, in large batches, before anything is measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.workload import Truth, Workload
from stream.effects import SIDES, StoredRecord


async def preload(broker: str, workload: Workload) -> tuple[Truth, float]:
    """Creates both topics and writes every record; returns what is in them and the mean size of a prediction."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        # The records are older than a broker keeps records by default.
        keep = {"retention.ms": "-1"}
        await admin.create_topics([NewTopic(side, workload.partitions, 1, topic_configs=keep) for side in SIDES])
    finally:
        await admin.close()
    total = Truth(Counter(), Counter())
    size = 0
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks=1, max_batch_size=512 * 1024, linger_ms=5)
    await producer.start()
    try:
        for partition in range(workload.partitions):
            sides, truth = workload.records(partition)
            for side, records in sides.items():
                await write(producer, side, partition, records)
            size += sum(len(record.value or b"") for record in sides["predictions"])
            total = total.plus(truth)
        await producer.flush()
    finally:
        await producer.stop()
    return total, size / workload.predictions


async def write(producer: AIOKafkaProducer, topic: str, partition: int, records: Iterable[StoredRecord]) -> None:
    """Records of one partition of a topic, in batches."""
    batch = producer.create_batch()
    for record in records:
        while batch.append(key=record.key, value=record.value, timestamp=record.timestamp) is None:
            await producer.send_batch(batch, topic, partition=partition)
            batch = producer.create_batch()
    if batch.record_count():
        await producer.send_batch(batch, topic, partition=partition)
