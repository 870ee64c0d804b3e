"""A model on two partitions is named, and one that is keyed as it should be is not."""

from __future__ import annotations

import pytest

from stream.effects import StoredRecord
from stream.engine.placement import Placement


def record(model: str, key: str | None, value: bytes | None = None) -> StoredRecord:
    body = b'{"model":"%s","id":"1"}' % model.encode()
    return StoredRecord(0, 0, value or body, None if key is None else key.encode())


def test_models_that_are_keyed_by_name_are_not_named() -> None:
    placement = Placement()
    for _ in range(2):
        assert placement.look(0, [record("a", "a"), record("b", "b")]) == []
        assert placement.look(1, [record("c", "c")]) == []
    assert placement.misplaced == {}


def test_a_model_that_is_spread_on_purpose_is_not_named() -> None:
    placement = Placement()
    assert placement.look(0, [record("a", "a#0"), record("a", "a#2")]) == []
    assert placement.look(1, [record("a", "a#1")]) == []


@pytest.mark.parametrize(
    ("first", "second", "remedy"),
    [
        ("a", "a", "its producers use different partitioners"),
        ("a#1", "a#1", "its producers use different partitioners"),
        ("user1", "user2", "key both topics by the model's name, or by 'a#k'"),
        (None, None, "(key none) and 1 (key none)"),
        ("a", None, "key both topics by the model's name"),
    ],
)
def test_a_model_on_two_partitions_is_named_once(first: str | None, second: str | None, remedy: str) -> None:
    placement = Placement()
    assert placement.look(0, [record("a", first)]) == []
    (finding,) = placement.look(1, [record("a", second)])
    assert finding.startswith("model 'a' arrives on partitions 0")
    assert remedy in finding
    assert placement.look(2, [record("a", second)]) == []
    assert list(placement.misplaced) == ["a"]


def test_what_is_no_record_is_passed_over() -> None:
    placement = Placement()
    for partition in range(2):
        assert placement.look(partition, [record("a", "k", b"not json")]) == []


def test_work_per_slice_is_bounded() -> None:
    placement = Placement()
    placement.look(0, [record(f"m{n}", f"k{n}") for n in range(1000)])
    assert len(placement._homes) <= 8


@pytest.mark.parametrize(
    "value",
    [
        b'{"model": "\xff"}',
        b'{"model": "m", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"\xff",
        b"",
    ],
)
def test_what_cannot_be_read_is_looked_at_in_vain(value: bytes) -> None:
    assert Placement().look(0, [StoredRecord(0, 0, value, b"k")]) == []
