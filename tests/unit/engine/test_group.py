"""Of two workers with one instance, the one that started first stays; none stays whose client has ended."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from stream.engine import group
from stream.engine.group import ClientEnded, Membership, client_id, older_holder


def test_a_client_id_orders_workers_by_their_start() -> None:
    first, second = client_id("one", 100.0), client_id("one", 100.5)
    assert older_holder(second, [(second, "/h"), (first, "/g")]) == (first, "/g")
    assert older_holder(first, [(second, "/h")]) is None


def test_other_instances_and_foreign_clients_are_nobody() -> None:
    mine = client_id("one", 100.0)
    others = [client_id("two", 1.0), client_id(None, 1.0), "aiokafka-0.14", "", "stream:one"]
    assert older_holder(mine, [(other, "/h") for other in others]) is None


class Coordinator:
    """aiokafka's, as far as it is watched."""

    def __init__(self) -> None:
        self.member_id = ""
        self._coordination_task = self.running()
        self._heartbeat_task = self.running()
        self._commit_refresh_task = None
        self.rejoins = 0
        self.error: KafkaError | None = None

    def running(self) -> asyncio.Task[Any]:
        return asyncio.create_task(asyncio.Event().wait())

    async def _do_heartbeat(self) -> bool:
        return True

    async def _do_rejoin_group(self, _subscription: object) -> bool:
        return True

    def check_errors(self) -> None:
        if self.error is not None:
            raise self.error

    def request_rejoin(self) -> None:
        self.rejoins += 1


async def failing(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("which", ["coordination", "fetch"])
async def test_a_client_that_has_ended_ends_the_worker(monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    monkeypatch.setattr(group, "_CHECK_EVERY", 0.01)
    told: list[Exception] = []
    coordinator = Coordinator()
    consumer: Any = SimpleNamespace(
        _coordinator=coordinator, _fetcher=SimpleNamespace(_fetch_task=coordinator.running())
    )
    watch = Membership("g", None, told.append).watch(consumer)
    await asyncio.sleep(0.05)
    assert not told
    ended = asyncio.create_task(failing(KafkaError("an assertion")))
    if which == "fetch":
        consumer._fetcher._fetch_task = ended
    else:
        coordinator._coordination_task = ended
    await asyncio.wait_for(watch, 10)
    assert isinstance(told[0], ClientEnded)
    assert "an assertion" in str(told[0])


async def test_a_member_whose_heartbeats_have_ended_joins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "_CHECK_EVERY", 0.01)
    coordinator = Coordinator()
    consumer: Any = SimpleNamespace(
        _coordinator=coordinator, _fetcher=SimpleNamespace(_fetch_task=coordinator.running())
    )
    membership = Membership("g", None, lambda _error: None)
    watch = membership.watch(consumer)
    coordinator.error = KafkaError("not now")
    await asyncio.sleep(0.05)
    assert coordinator.rejoins == 0, "heartbeats go on"
    coordinator._heartbeat_task = asyncio.create_task(failing(KafkaError("no more")))
    await asyncio.sleep(0.05)
    assert coordinator.rejoins
    assert membership.problem is not None
    watch.cancel()
