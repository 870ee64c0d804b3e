"""Effects are waited for while some get out, and a producer that cannot get rid of its records is ended."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerClosed
from aiokafka.structs import TopicPartition

from stream.config import Kafka
from stream.effects import Channel, Outgoing
from stream.engine import outbox
from stream.engine.outbox import Outbox, PublishFailed


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


class Slow:
    """A producer whose broker takes a record every `pause` seconds, and none after the first `takes`."""

    def __init__(self, pause: float, takes: int) -> None:
        self._pause, self._takes = pause, takes
        self._sent = 0
        self.acks: list[asyncio.Future[None]] = []

    async def send(self, **_message: Any) -> asyncio.Future[None]:
        ack = asyncio.get_running_loop().create_future()
        self.acks.append(ack)
        if self._sent < self._takes:
            self._sent += 1
            asyncio.get_running_loop().call_later(self._pause * self._sent, ack.set_result, None)
        return ack

    async def stop(self) -> None:
        pass


ROWS = [Outgoing(number, Channel.ALERTS, "m", b"{}") for number in range(6)]


def outbox_with(producer: Slow) -> Outbox:
    async def refuse(_path: str, _content: bytes) -> None:
        raise AssertionError

    out = Outbox(Kafka(), "test", refuse)
    out._producer = cast(AIOKafkaProducer, producer)
    return out


async def test_effects_that_get_out_slowly_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "PATIENCE", 0.5)
    await outbox_with(Slow(0.15, takes=6)).publish(ROWS)


async def test_effects_have_failed_when_no_more_of_them_get_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "PATIENCE", 0.5)
    producer = Slow(0.05, takes=4)
    with pytest.raises(PublishFailed):
        await outbox_with(producer).publish(ROWS)
    assert [ack.cancelled() for ack in producer.acks] == [False] * 4 + [True] * 2, "nobody waits for the rest"
