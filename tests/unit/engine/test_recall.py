"""Alerts go out whether or not it can be read what was published before, as long as there is a broker."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from aiokafka.structs import TopicPartition

from stream.config import Kafka
from stream.engine import recall
from stream.engine.outbox import PublishFailed

ONE, TWO = TopicPartition("alerts", 0), TopicPartition("alerts", 1)


class Consumer:
    """Two partitions of 5 and 0 records, and what goes wrong with them."""

    start_fails: Exception | None = None
    read_fails: Exception | None = None
    silent = False

    def __init__(self, *_topics: str, **_settings: Any) -> None:
        self.at = {ONE: 0, TWO: 0}
        self.stopped = False
        made.append(self)

    async def start(self) -> None:
        if self.start_fails:
            raise self.start_fails

    async def stop(self) -> None:
        self.stopped = True

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self.at)

    async def beginning_offsets(self, _partitions: object) -> dict[TopicPartition, int]:
        return {ONE: 1, TWO: 0}

    async def end_offsets(self, _partitions: object) -> dict[TopicPartition, int]:
        return {ONE: 5, TWO: 0}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.at[partition] = offset

    async def position(self, partition: TopicPartition) -> int:
        return self.at[partition]

    def pause(self, *_partitions: TopicPartition) -> None:
        """What is read is not read on."""

    async def getmany(self, *partitions: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[int]]:
        assert partitions == (ONE,)
        if self.read_fails and self.at[ONE] > 2:
            raise self.read_fails
        if self.silent and self.at[ONE] > 2:
            await asyncio.Event().wait()
        self.at[ONE] += 1
        return {ONE: [self.at[ONE] - 1]}


made: list[Consumer] = []


@pytest.fixture(autouse=True)
def _consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    made.clear()
    monkeypatch.setattr(recall, "AIOKafkaConsumer", Consumer)
    monkeypatch.setattr(recall, "PATIENCE", 0.1)


async def read(count: int = 100) -> list[object]:
    try:
        return list(await recall.recent(Kafka(), "alerts", count))
    finally:
        assert all(consumer.stopped for consumer in made)


@pytest.mark.parametrize(("count", "expected"), [(100, [1, 2, 3, 4]), (2, [3, 4])])
async def test_it_reads_as_far_back_as_asked_for(count: int, expected: list[int]) -> None:
    assert await read(count) == expected


@pytest.mark.parametrize("broken", [{"read_fails": TopicAuthorizationFailedError("alerts")}, {"silent": True}])
async def test_what_cannot_be_read_is_said_and_alerts_go_out(
    broken: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in broken.items():
        monkeypatch.setattr(Consumer, name, value)
    assert await read() == [1, 2]
    assert "topic alerts cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("name", "error"),
    [("start_fails", KafkaConnectionError()), ("start_fails", TimeoutError()), ("read_fails", KafkaConnectionError())],
)
async def test_without_a_broker_it_is_tried_again(name: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Consumer, name, error)
    with pytest.raises(PublishFailed, match="no broker says"):
        await read()
