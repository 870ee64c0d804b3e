"""The faults. Each does its harm, ends it, and returns; the run waits until everything is applied again.

A fault leaves at least as many workers as it found, except `leave`, which undoes `join`.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tests.e2e.program import Program, until
from tests.faults.cluster import SESSION, Cluster, Violation

Fault = Callable[[Cluster, dict[str, Any]], Awaitable[None]]


async def kill(cluster: Cluster, settings: dict[str, Any]) -> None:
    """SIGKILL; another worker starts a little later."""
    await asyncio.to_thread(cluster.end, cluster.any(), signal.SIGKILL)
    await asyncio.sleep(cluster.chance.uniform(0.0, 2.0))
    cluster.start(settings)


async def kill_all(cluster: Cluster, settings: dict[str, Any]) -> None:
    """Every worker at once, as when the machine dies."""
    for _ in range(await _killed(cluster)):
        cluster.start(settings)


async def _killed(cluster: Cluster) -> int:
    """Kills every worker; returns how many there were."""
    victims = list(cluster.workers)
    for worker in victims:
        worker.process.send_signal(signal.SIGKILL)
    for worker in victims:
        await asyncio.to_thread(cluster.end, worker, signal.SIGKILL)
    return len(victims)


async def terminate(cluster: Cluster, settings: dict[str, Any]) -> None:
    """SIGTERM: the last checkpoint is made and the exit code is 0."""
    await terminated(cluster)
    cluster.start(settings)


async def terminated(cluster: Cluster) -> None:
    """Ends a worker orderly, which it must do."""
    worker = cluster.any()
    # Before that, the process has no signal handler.
    await until(lambda: worker.url is not None)
    code = await asyncio.to_thread(cluster.end, worker, signal.SIGTERM)
    if code:
        raise Violation(f"SIGTERM gave exit code {code}: {worker.log.read_text()[-1500:]}")


async def zombie(cluster: Cluster, settings: dict[str, Any]) -> None:
    """A worker sleeps until others have its partitions, wakes, and believes that it still has them."""
    worker = cluster.any()
    cluster.stopped.add(worker.process.pid)
    worker.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(SESSION + cluster.chance.uniform(2.0, 4.0))
    worker.process.send_signal(signal.SIGCONT)
    cluster.stopped.discard(worker.process.pid)


async def join(cluster: Cluster, settings: dict[str, Any]) -> None:
    """A third worker comes."""
    cluster.start(settings)


async def leave(cluster: Cluster, settings: dict[str, Any]) -> None:
    """One goes, if more than two are there."""
    if len(cluster.workers) > 2:
        await terminated(cluster)


async def broker_restart(cluster: Cluster, settings: dict[str, Any]) -> None:
    """The broker ends orderly or dies, and comes back."""
    await asyncio.to_thread(cluster.kafka.stop, cluster.chance.choice((signal.SIGTERM, signal.SIGKILL)))
    await asyncio.sleep(cluster.chance.uniform(0.0, 3.0))
    await asyncio.to_thread(cluster.kafka.start)


async def broker_unreachable(cluster: Cluster, settings: dict[str, Any]) -> None:
    """The workers' network to the broker is cut, now and then for longer than the session timeout."""
    cluster.broker_door.close()
    await asyncio.sleep(cluster.chance.uniform(1.0, SESSION + 3.0))
    cluster.broker_door.heal()


async def producer_fails(cluster: Cluster, settings: dict[str, Any]) -> None:
    """Nothing can be written to any topic, while reading goes on."""
    cluster.broker_door.refuse_produce = True
    await asyncio.sleep(cluster.chance.uniform(2.0, 6.0))
    cluster.broker_door.heal()


async def redis_restart(cluster: Cluster, settings: dict[str, Any]) -> None:
    """Redis saves, dies a moment later, and comes back without what came in between."""
    assert cluster.redis is not None
    redis = cluster.redis
    await asyncio.to_thread(lambda: redis.client().save())
    await asyncio.to_thread(redis.stop, True)
    await asyncio.sleep(cluster.chance.uniform(0.0, 2.0))
    await asyncio.to_thread(redis.start)


async def redis_rolled_back(cluster: Cluster, settings: dict[str, Any]) -> None:
    """Redis is restored to a snapshot that is 10 s old."""
    assert cluster.redis is not None
    redis = cluster.redis
    await asyncio.to_thread(lambda: redis.client().save())
    await asyncio.sleep(10.0)
    await asyncio.to_thread(redis.restart, True)


async def redis_restored(cluster: Cluster, settings: dict[str, Any]) -> None:
    """All workers die as well: none is left that knows what was published since the snapshot."""
    assert cluster.redis is not None
    redis = cluster.redis
    await asyncio.to_thread(lambda: redis.client().save())
    await asyncio.sleep(10.0)
    victims = await _killed(cluster)
    await asyncio.to_thread(redis.restart, True)
    for _ in range(victims):
        cluster.start(settings)


async def store_slow(cluster: Cluster, settings: dict[str, Any]) -> None:
    """Every answer of the store takes its time."""
    cluster.store_door.delay = cluster.chance.uniform(0.1, 1.0)
    await asyncio.sleep(cluster.chance.uniform(3.0, 6.0))
    cluster.store_door.heal()


async def store_silent(cluster: Cluster, settings: dict[str, Any]) -> None:
    """The store takes connections and says nothing, for longer than a client waits."""
    cluster.store_door.hold()
    await asyncio.sleep(cluster.chance.uniform(3.0, 8.0))
    cluster.store_door.heal()


async def store_cut(cluster: Cluster, settings: dict[str, Any]) -> None:
    """Connections to the store end, some of them in the middle of a commit."""
    cluster.store_door.close()
    await asyncio.sleep(cluster.chance.uniform(0.0, 3.0))
    cluster.store_door.heal()


async def disk_full(cluster: Cluster, settings: dict[str, Any]) -> None:
    """Not a byte is left on the disk of the database. Needs one of its own: see `possible`."""
    await asyncio.to_thread(cluster.disk.fill, cluster.database(settings["kafka"]["group"]))
    try:
        await until(lambda: any(_says(worker, "free some") for worker in list(cluster.workers)), 30)
        await asyncio.sleep(cluster.chance.uniform(1.0, 4.0))
    finally:
        cluster.disk.free()


def _says(worker: Program, words: str) -> bool:
    """Whether a worker gives this reason for not being ready."""
    return worker.url is not None and any(words in reason for reason in worker.status()["reasons"])


async def store_locked(cluster: Cluster, settings: dict[str, Any]) -> None:
    """Another process holds the database, now and then for longer than a worker waits for it."""
    held = cluster.chance.uniform(3.0, 14.0)

    def hold() -> None:
        holder = sqlite3.connect(cluster.database(settings["kafka"]["group"]), timeout=60.0, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        time.sleep(held)
        holder.execute("ROLLBACK")
        holder.close()

    await asyncio.to_thread(hold)


async def files_small(cluster: Cluster, settings: dict[str, Any]) -> None:
    """No worker can write beyond what small files have: the database and its log cannot grow."""
    limited = [worker for worker in cluster.workers if worker.process.poll() is None]
    for worker in limited:
        _limit(worker, worker.log.stat().st_size + 16_384)
    await asyncio.sleep(cluster.chance.uniform(3.0, 6.0))
    for worker in limited:
        _limit(worker, resource.RLIM_INFINITY)


def _limit(worker: Program, size: int) -> None:
    hard = resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (size, hard))


ANY: tuple[Fault, ...] = (
    *(kill, kill_all, terminate, zombie, join, leave),
    *(broker_restart, broker_unreachable, producer_fails),
)
OF_STORE: dict[str, tuple[Fault, ...]] = {
    "redis": (redis_restart, redis_rolled_back, redis_restored, store_slow, store_silent, store_cut),
    "sqlite": (disk_full, store_locked, files_small),
}


def possible(cluster: Cluster, faults: Sequence[Fault]) -> list[Fault]:
    """Those that can be had here."""
    return [fault for fault in faults if fault is not disk_full or cluster.disk.mounted]
