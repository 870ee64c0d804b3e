"""A process that dies between any two steps of a checkpoint, and a zombie that wakes after another has taken over."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from stream.traffic import NEW_YEAR
from tests.e2e.program import Program, total, until
from tests.faults.cluster import SESSION, Cluster
from tests.faults.course import differences
from tests.faults.crashing import POINTS
from tests.faults.disk import committed_at, written
from tests.faults.planted import Planted

pytestmark = pytest.mark.real


async def finished(cluster: Cluster, settings: dict[str, Any]) -> dict[str, Any]:
    """Everything applied by one ordinary worker: what it knows; the worker is ended."""
    worker = cluster.start(settings)
    await cluster.recovered()
    assert await asyncio.to_thread(cluster.applied) == cluster.sent
    found = await asyncio.to_thread(cluster.models)
    assert await asyncio.to_thread(cluster.end, worker, signal.SIGTERM) == 0
    return found


async def test_a_crash_between_any_two_steps_of_a_checkpoint_changes_nothing(cluster: Cluster) -> None:
    whole = await cluster.group("whole")
    # An instance comes back at once; others would wait for the session to end.
    crashed = await cluster.group("crashed", instance="one")
    crashed["checkpoint"]["every"] = "20ms"
    await cluster.fill(Planted(start=NEW_YEAR, rate=200.0, seed=cluster.seed), NEW_YEAR + 150.0)
    expected = await finished(cluster, whole)

    for number, point in enumerate(POINTS):
        worker = cluster.start(
            crashed, "tests.faults.crashing", CRASH_AT=point, CRASH_NTH=str(cluster.chance.randint(1, 2))
        )
        await until(lambda: worker.process.poll() is not None, 120)  # noqa: B023
        assert worker.process.returncode == -signal.SIGKILL, f"{number} {point}: {worker.log.read_text()[-2000:]}"
        cluster.workers.remove(worker)
    found = await finished(cluster, crashed)

    assert differences(expected, found) == []
    assert cluster.violations == []
    for topic, time_of in (("alerts", "ts"), ("metric-snapshots", "end")):
        first, second = [
            {repr(record) for record in await cluster.said(group, topic) if record[time_of] < NEW_YEAR + 130.0}
            for group in (whole, crashed)
        ]
        assert first
        assert first == second


@pytest.mark.parametrize("owns", [1, 4])
async def test_a_zombie_is_refused_and_nothing_of_it_is_seen(cluster: Cluster, owns: int) -> None:
    settings = await cluster.group("one", partitions=owns)
    settings["checkpoint"]["every"] = "2s"
    traffic = Planted(start=time.time(), rate=200.0, seed=cluster.seed)
    traffic.planting = owns > 1
    stop = asyncio.Event()
    sending = asyncio.create_task(cluster.send(traffic, stop))
    sleeper = cluster.start(settings)
    await until(lambda: total(cluster.scrape(sleeper), "stream_predictions_total") > 500)
    owned = set(range(owns))
    await until(lambda: partitions(cluster, sleeper) == owned)

    await put_to_sleep(sleeper, cluster.database("one"))
    cluster.stopped.add(sleeper.process.pid)
    other = cluster.start(settings)
    await until(lambda: partitions(cluster, other) == owned, SESSION + 60)
    await until(lambda: total(cluster.scrape(other), "stream_outcomes_total") > 500)
    cluster.stopped.clear()
    sleeper.process.send_signal(signal.SIGCONT)
    await until(lambda: total(sleeper.metrics(), "stream_fenced_total") > 0, 30)
    if owns > 1:
        await cluster.recovered()
    # One refusal for each partition that it believed to have; the other worker was never refused.
    assert 1 <= total(sleeper.metrics(), "stream_fenced_total") <= owns
    assert total(other.metrics(), "stream_fenced_total") == 0
    if owns == 1:
        # Of two workers, one would have nothing and not be ready.
        assert await asyncio.to_thread(cluster.end, sleeper, signal.SIGTERM) == 0
        await cluster.recovered()

    traffic.planting = False
    await until(lambda: time.time() > traffic.settled_at, 90)
    stop.set()
    await sending
    await cluster.recovered()
    found = await asyncio.to_thread(cluster.models)
    for worker in list(cluster.workers):
        assert await asyncio.to_thread(cluster.end, worker, signal.SIGTERM) == 0
    whole = await cluster.group("whole", partitions=owns)
    assert differences(await finished(cluster, whole), found) == []
    assert cluster.violations == []


async def put_to_sleep(worker: Program, database: Path) -> None:
    """Stops a worker half a second after a commit: it has applied records since, which it will want to save.

    In the middle of a commit it would have the database locked, which nobody takes from it on one machine.
    """
    while True:
        before = committed_at(database)
        await until(lambda: committed_at(database) > before)  # noqa: B023
        await asyncio.sleep(0.5)
        worker.process.send_signal(signal.SIGSTOP)
        if not await asyncio.to_thread(written, database):
            return
        worker.process.send_signal(signal.SIGCONT)


def partitions(cluster: Cluster, worker: Any) -> set[int]:
    """What a worker owns and has open."""
    metrics = cluster.scrape(worker)
    return {int(dict(key)["partition"]) for key in metrics.get("stream_consumer_lag", {})}
