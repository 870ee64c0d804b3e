"""What a broker has answered holds as of when it was asked, and what it has not answered does not hold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aiokafka.structs import TopicPartition
from faust.types import TP

from stream.engine import transport
from stream.engine.transport import SliceConsumerThread


async def test_only_partitions_that_were_answered_are_noted_with_the_time_of_the_question(monkeypatch: Any) -> None:
    now = 10.0
    monkeypatch.setattr(transport, "time", SimpleNamespace(monotonic=lambda: now))
    thread: Any = SliceConsumerThread.__new__(SliceConsumerThread)
    thread._asked = {TP("b", 0): 1.0}
    states = {TopicPartition(topic, 0): SimpleNamespace(timestamp=5) for topic in "abc"}
    answered = {"a"}

    async def fetch(_assignment: Any, _node: int, _request: Any) -> bool:
        nonlocal now
        now += 0.1
        for topic in answered:
            states[TopicPartition(topic, 0)].timestamp = 6
        return True

    fetcher: Any = SimpleNamespace(_proc_fetch_request=fetch)
    thread._note_answers(fetcher)
    request = SimpleNamespace(topics=[("a", [(0, 7, 100)]), ("b", [(0, 8, 100)])])
    assignment = SimpleNamespace(state_value=states.__getitem__)
    assert await fetcher._proc_fetch_request(assignment, 1, request)
    assert thread._asked == {TP("a", 0): 10.0, TP("b", 0): 1.0}
    answered.add("b")
    await fetcher._proc_fetch_request(assignment, 1, request)
    assert thread._asked == {TP("a", 0): 10.1, TP("b", 0): 10.1}
