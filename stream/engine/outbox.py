"""Publishes decided effects: topics through an idempotent producer, artifacts into the model registry.

Invariant: `publish` returns only when everything it was given is acknowledged, or can never be and was counted as
dropped; effects of one shard reach each topic in the order of their `seq`, and an artifact is in the registry before
a later row that speaks of it is sent. A crash in between repeats rows; their ids are deterministic.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import chain, groupby
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerClosed

from stream.config import Kafka
from stream.effects import CUT, CUT_BYTES, Channel, Outgoing
from stream.engine.security import connection

logger = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 16 * 1024 * 1024
"""Whether a record is too large is for the broker to say, not for the client."""

PATIENCE = 30.0
"""Seconds without an acknowledgement after which what is not acknowledged counts as failed and is tried again."""


STOP_PATIENCE = 2.0
"""Seconds that a producer has to say its last."""


class PublishFailed(Exception):  # named as what happened, like Fenced and StoreUnavailable
    """Not acknowledged, and worth trying again. The message says why."""


def topic_names(kafka: Kafka) -> Mapping[Channel, str]:
    """Topic of each channel that is a topic."""
    topics = kafka.topics
    return {
        Channel.ALERTS: topics.alerts,
        Channel.SNAPSHOTS: topics.metric_snapshots,
        Channel.UPDATES: topics.model_updates,
        Channel.DEAD_LETTERS: topics.dead_letters,
    }


class Outbox:
    """The way out of one worker. All methods are called on one event loop."""

    def __init__(self, kafka: Kafka, client_id: str, keep: Callable[[str, bytes], Awaitable[None]]) -> None:
        self._kafka = kafka
        self._client_id = client_id
        self._topics = topic_names(kafka)
        self._keep = keep
        """Writes an artifact: path inside the registry, bytes."""
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self.dropped = 0
        """Rows that no topic would take, ever."""

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=list(self._kafka.brokers),
                    client_id=self._client_id,
                    acks="all",
                    enable_idempotence=self._kafka.idempotent,
                    max_request_size=MAX_REQUEST_BYTES,
                    linger_ms=2,
                    **connection(self._kafka.security),
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
        return self._producer

    async def publish(self, rows: Iterable[Outgoing]) -> None:
        """Publishes rows in order. Raises PublishFailed; what was acknowledged until then may be sent again."""
        for artifact, run in groupby(rows, key=lambda row: row.channel is Channel.ARTIFACTS):
            if artifact:
                for row in run:
                    try:
                        await self._keep(row.key, row.value)
                    except OSError as error:
                        raise PublishFailed(f"the model registry cannot be written: {error}") from error
            else:
                await self._send(list(run))

    async def _send(self, rows: list[Outgoing]) -> None:
        try:
            answers = await self._answers(rows)
        except MessageSizeTooLargeError:
            await self._send_each(rows)
            return
        except (KafkaError, OSError, TimeoutError) as error:
            await self._restart()
            raise PublishFailed(f"the broker took no effects: {error or 'no answer'!r}") from error
        failures = [answer for answer in answers if answer is not None]
        if not failures:
            return
        if all(isinstance(failure, MessageSizeTooLargeError) for failure in failures):
            await self._send_each([row for row, answer in zip(rows, answers, strict=True) if answer in failures])
            return
        await self._restart()
        raise PublishFailed(f"the broker did not take {len(failures)} of {len(rows)} effects: {failures[0]!r}")

    async def _answers(self, rows: list[Outgoing]) -> list[BaseException | None]:
        """What has become of each row. As long as some are acknowledged the others are waited for: on a busy machine
        many take longer than `PATIENCE`, and would be sent again and again."""
        acks: list[asyncio.Future[object]] = []
        try:
            async with asyncio.timeout(PATIENCE):
                producer = await self._started()
            for row in rows:
                async with asyncio.timeout(PATIENCE):
                    acks.append(await producer.send(**self._message(row)))
            for ack in acks:
                if not ack.done():
                    async with asyncio.timeout(PATIENCE):
                        await asyncio.wait([ack])
            return [ack.exception() for ack in acks]
        finally:
            for ack in acks:
                ack.cancel()

    async def _send_each(self, rows: list[Outgoing]) -> None:
        """One by one, since the broker refuses a batch as a whole; what it will never take is cut or dropped."""
        for row in rows:
            for message in (self._message(row), self._cut(row)):
                if message is None:
                    self.dropped += 1
                    logger.error(
                        "topic %s takes no record of %d bytes: it is dropped. Raise the topic's max.message.bytes",
                        self._topics[row.channel],
                        len(row.value),
                        extra={"kind": f"dropped {row.channel}"},
                    )
                    break
                try:
                    async with asyncio.timeout(PATIENCE):
                        producer = await self._started()
                        await producer.send_and_wait(**message)
                    break
                except MessageSizeTooLargeError:
                    continue
                except (KafkaError, OSError, TimeoutError) as error:
                    await self._restart()
                    raise PublishFailed(f"the broker took no effects: {error or 'no answer'!r}") from error

    def _message(self, row: Outgoing) -> dict[str, Any]:
        return {
            "topic": self._topics[row.channel],
            "key": row.key.encode(),
            "value": row.value,
            "headers": list(row.headers),
        }

    def _cut(self, row: Outgoing) -> dict[str, Any] | None:
        """The beginning of a dead letter that is too large for its topic, which says so; None for any other row."""
        if row.channel is not Channel.DEAD_LETTERS or len(row.value) <= CUT_BYTES:
            return None
        headers = row.headers
        if CUT not in dict(headers):
            headers = (*headers, (CUT, str(len(row.value)).encode()))
        return {**self._message(row), "value": row.value[:CUT_BYTES], "headers": list(headers)}

    async def _restart(self) -> None:
        """After any failure a fresh producer: an idempotent one that lost a batch may refuse everything after it."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)

    async def close(self) -> None:
        """Stops the producer; nothing is waiting in it, since publish awaits every acknowledgement."""
        await self._restart()


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(STOP_PATIENCE):
            await producer.stop()
    except (KafkaError, OSError, TimeoutError) as error:
        logger.debug("the producer did not stop cleanly: %r", error)
        # Left alone, an idempotent one tries for ever, and in a long outage there would be one for each attempt.
        left = producer._message_accumulator
        for batch in chain.from_iterable(left._batches.values()):
            batch.drain_ready()
        left.fail_all(ProducerClosed())
        producer._sender.sender_task.cancel()
        await producer.client.close()
