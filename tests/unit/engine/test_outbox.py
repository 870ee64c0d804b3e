"""A producer that cannot get rid of its records is ended all the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerClosed
from aiokafka.structs import TopicPartition

from stream.engine import outbox


async def test_nothing_is_left_of_a_producer_that_does_not_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "STOP_PATIENCE", 0.05)
    before = asyncio.all_tasks()
    producer: Any = AIOKafkaProducer(bootstrap_servers="127.0.0.1:1", enable_idempotence=True)
    # As after a start, with a record that no broker takes.
    producer._sender._sender_task = asyncio.create_task(asyncio.Event().wait())
    sent = await producer._message_accumulator.add_message(TopicPartition("alerts", 0), b"key", b"value", timeout=1.0)
    await outbox._stop(producer)
    with pytest.raises(ProducerClosed):
        await sent
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == before
