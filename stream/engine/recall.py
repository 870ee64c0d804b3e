"""Reads the end of a topic that this program writes.

Invariant: what was acknowledged before the call is among what it returns, as far as `count` goes back, or the log says
why not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError
from aiokafka.structs import ConsumerRecord

from stream.config import Kafka
from stream.engine.outbox import PublishFailed
from stream.engine.security import connection

logger = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that it may take to reach a broker, and again to read."""


async def recent(kafka: Kafka, topic: str, count: int) -> Sequence[ConsumerRecord]:
    """The last `count` records of each partition, at most; fewer where not all can be read, which is logged.

    Raises PublishFailed when no broker answers, for then nothing can be written either.
    """
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=list(kafka.brokers),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        **connection(kafka.security),
    )
    found: list[ConsumerRecord] = []
    try:
        async with asyncio.timeout(PATIENCE):
            await consumer.start()
        try:
            async with asyncio.timeout(PATIENCE):
                await _read(consumer, count, found)
        except (TopicAuthorizationFailedError, TimeoutError) as error:
            logger.warning(
                "topic %s cannot be read (%s): should its store ever be restored to an earlier snapshot, alerts may "
                "come again under another id",
                topic,
                "not allowed" if isinstance(error, KafkaError) else f"no answer in {PATIENCE:.0f} s",
                extra={"kind": f"unread {topic}"},
            )
    except (KafkaError, OSError, TimeoutError) as error:
        raise PublishFailed(f"no broker says what was published: {error or 'no answer'!r}") from error
    finally:
        await consumer.stop()
    return found


async def _read(consumer: AIOKafkaConsumer, count: int, found: list[ConsumerRecord]) -> None:
    partitions = consumer.assignment()
    begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    for partition in partitions:
        consumer.seek(partition, max(begins[partition], ends[partition] - count))
    while left := [each for each in partitions if await consumer.position(each) < ends[each]]:
        consumer.pause(*(partitions - set(left)))
        for records in (await consumer.getmany(*left, timeout_ms=1000)).values():
            found += records
