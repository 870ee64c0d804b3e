"""What a worker does about a partition that was taken from it: it takes back only what the group gives it now."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from stream.engine.partitions import Partitions


class Case:
    """Partitions that only note which of them would be opened."""

    def __init__(self) -> None:
        self.membership: Any = SimpleNamespace(last_answer=None)
        parts: Any = SimpleNamespace(cadence=SimpleNamespace(forget=lambda partition: None))
        self.partitions = Partitions(parts, self.membership, {}, lambda: None, lambda *_: None, ())  # type: ignore[arg-type,return-value]
        self.opened: list[int] = []

        async def note(partition: int) -> None:
            self.opened.append(partition)

        self.partitions._try_to_open = note  # type: ignore[method-assign]

    def lose(self, partition: int) -> None:
        """A commit of this partition is refused."""
        owned: Any = SimpleNamespace(partition=partition, epoch=1, pause=lambda: None, checkpoints=SimpleNamespace())
        self.partitions._lost(owned)

    async def answered(self) -> None:
        """The group's coordinator answers, and what waits for that goes on."""
        await asyncio.sleep(0.01)
        self.membership.last_answer = time.monotonic()
        await asyncio.sleep(0.25)


@pytest.fixture
async def case() -> Case:
    made = Case()
    made.partitions.assign(frozenset({0, 1}))
    await asyncio.sleep(0.01)
    assert made.opened == [0, 1]
    made.opened.clear()
    return made


async def test_a_fenced_partition_that_is_still_ours_is_taken_again_once_the_group_says_so(case: Case) -> None:
    case.lose(0)
    await asyncio.sleep(0.15)
    assert case.opened == []
    await case.answered()
    assert case.opened == [0]


async def test_what_is_fenced_during_a_rebalance_is_not_taken_back(case: Case) -> None:
    await case.partitions.revoke()
    case.lose(0)
    await case.answered()  # to our joining, before the new assignment has arrived here
    assert case.opened == []
    case.partitions.assign(frozenset({1}))
    await asyncio.sleep(0.01)
    assert case.opened == [1]


async def test_a_rebalance_ends_the_taking_back(case: Case) -> None:
    case.lose(0)
    await case.partitions.revoke()
    await case.answered()
    assert case.opened == []
