"""A worker says which partitions it hears nothing of, unless it does not ask."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from stream.effects import SIDES, Side
from stream.engine.flow import SideState
from stream.engine.looking import UNHEARD, unheard

NOW = 1000.0
TOPICS: dict[Side, str] = {"predictions": "in", "labels": "truth"}


def owned(partition: int, attached: bool = True, **changes: float | None) -> Any:
    sides: dict[Side, SideState] = {
        side: SideState(opened=NOW - 60, fetched=5, delivered=5, highwater=5, taken=5, asked=NOW) for side in SIDES
    }
    for name, value in changes.items():
        setattr(sides["labels"], name, value)
    return SimpleNamespace(partition=partition, inbox=SimpleNamespace(attached=attached, sides=sides))


def test_partitions_that_are_not_answered_are_named() -> None:
    late = NOW - UNHEARD - 1
    assert unheard([owned(0)], TOPICS, NOW) == []
    assert unheard([owned(0), owned(1, asked=late)], TOPICS, NOW) == ["no broker answers about truth-1"]
    assert unheard([owned(1, asked=0.0, highwater=None)], TOPICS, NOW) == ["no broker answers about truth-1"]
    several = [owned(number, asked=late) for number in range(5)]
    assert unheard(several, TOPICS, NOW) == ["no broker answers about truth-0, truth-1, truth-2 and 2 more"]


def test_what_is_not_asked_for_need_not_be_answered() -> None:
    late = NOW - UNHEARD - 1
    assert unheard([owned(0, asked=late, highwater=9)], TOPICS, NOW) == [], "its records are held"
    assert unheard([owned(0, attached=False, asked=late)], TOPICS, NOW) == []
    assert unheard([owned(0, asked=0.0, opened=NOW - 1)], TOPICS, NOW) == []
