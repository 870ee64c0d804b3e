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


async def test_a_seek_is_tried_again_whatever_it_fails_of(case: Case) -> None:
    attached: list[str] = []
    failures = [AssertionError(), KeyError("gone")]

    async def seek(_: object) -> str:
        if failures:
            raise failures.pop()
        return "here"

    inbox = SimpleNamespace(attached=False, detach=lambda: None, attach=attached.append)
    owned: Any = SimpleNamespace(partition=0, open=True, inbox=inbox)

    def attach(seeks: str) -> None:
        attached.append(seeks)
        inbox.attached = True

    inbox.attach = attach
    case.partitions._seek = seek  # type: ignore[method-assign,assignment]
    async with asyncio.timeout(10):
        await case.partitions._seek_again(owned)
    assert attached == ["here"]


async def test_a_last_checkpoint_that_fails_unforeseen_spoils_no_other(case: Case) -> None:
    finished: list[int] = []

    def owned(partition: int) -> Any:
        async def finish(_patience: float) -> bool:
            if partition == 0:
                raise ZeroDivisionError
            finished.append(partition)
            return True

        return SimpleNamespace(partition=partition, epoch=1, finish=finish, pause=lambda: None)

    case.partitions.owned = {partition: owned(partition) for partition in (0, 1)}
    await case.partitions.revoke()
    assert finished == [1]
    assert set(case.partitions.owned) == {1}, "what failed is built again from the checkpoint before"
