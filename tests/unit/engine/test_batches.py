"""Records by batches are those of aiokafka's own loop, with the same position after each call."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from stream.engine.batches import by_batches

TP = TopicPartition("predictions", 3)


def batch(first: int, records: int) -> bytearray:
    """One batch of the log."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    for number in range(records):
        builder.append(number, 1_700_000_000_000 + number, b"key", b"value %d" % (first + number), [])
    content: bytearray = builder.build()
    content[:8] = first.to_bytes(8, "big")
    return content


def control(first: int) -> bytearray:
    """A batch that says how a transaction ended; its checksum is not that of its content any more."""
    content = batch(first, 1)
    content[22] |= 0x20
    return content


def answer(log: bytes | bytearray, position: int, checks: bool = True) -> FetchResult:
    """The answer to a fetch at this position."""
    state = SimpleNamespace(position=position, paused=False)
    state.consumed_to = lambda offset: setattr(state, "position", offset)
    assignment = SimpleNamespace(active=True, state_value=lambda _: state)
    records = PartitionRecords(TP, MemoryRecords(bytes(log)), [], position, None, None, checks, READ_UNCOMMITTED)
    return FetchResult(TP, assignment=assignment, partition_records=records, backoff=0.0)


def drained(fetched: FetchResult, most: list[int | None], ours: bool) -> list[tuple[list[tuple[Any, ...]], int]]:
    """What each call gives, and the position after it, until nothing is left."""
    calls: list[tuple[list[tuple[Any, ...]], int]] = []
    while fetched.has_more():
        if ours:
            by_batches(fetched)
        records = fetched.getall(most[len(calls) % len(most)])
        found = [(record.offset, record.timestamp, record.key, record.value) for record in records]
        if found or fetched.has_more():
            calls.append((found, fetched._assignment.state_value(TP).position))
    return calls


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=5),
    st.integers(0, 9),
    st.lists(st.one_of(st.none(), st.integers(1, 9)), min_size=1, max_size=3),
)
def test_the_same_records_and_positions(shape: list[tuple[int, int]], skipped: int, most: list[int | None]) -> None:
    log, offset = bytearray(), 100
    for records, hole in shape:
        log += batch(offset, records)
        offset += records + hole
    position = 100 + min(skipped, shape[0][0] - 1)
    theirs = drained(answer(log, position), most, ours=False)
    assert drained(answer(log, position), most, ours=True) == [call for call in theirs if call[0]]


def test_control_batches_are_passed_over() -> None:
    fetched = answer(batch(5, 2) + control(7) + batch(8, 1) + control(9), 5, checks=False)
    assert [[row[0] for row in rows] for rows, _ in drained(fetched, [None], ours=True)] == [[5, 6, 8]]
    assert fetched._assignment.state_value(TP).position == 10


def test_nothing_of_a_call_that_meets_a_damaged_batch_is_lost() -> None:
    damaged = batch(2, 2)
    damaged[-3] ^= 1
    fetched = answer(batch(0, 2) + damaged, 0)
    by_batches(fetched)
    with pytest.raises(CorruptRecordException, match="predictions"):
        fetched.getall(None)
    assert fetched._assignment.state_value(TP).position == 0
    assert fetched.getall(None) == []
    assert not fetched.has_more(), "aiokafka fetches again from the position"


def test_after_a_seek_nothing_more_comes() -> None:
    fetched = answer(batch(0, 4), 0)
    by_batches(fetched)
    assert len(fetched.getall(1)) == 1
    fetched._assignment.state_value(TP).position = 3
    assert fetched.getall(None) == []
    assert not fetched.has_more()
