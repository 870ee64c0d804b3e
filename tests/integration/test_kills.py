"""Workers are killed, terminated and added under load; afterwards every sum is what it would have been.

The stream of kills is seeded; `STREAM_TEST_SEED` and `STREAM_TEST_KILLS` make it another or a longer one.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

import msgspec
import pytest

from stream.checkpoint.open import open_store
from stream.config import Checkpoint, Config
from stream.engine import topics
from tests.integration.counting import CountingShard
from tests.integration.workers import SEAL, Traffic, configuration, everything, until
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
SEED = int(os.environ.get("STREAM_TEST_SEED", "1"))
KILLS = int(os.environ.get("STREAM_TEST_KILLS", "6"))


class Process:
    """A worker in a process of its own."""

    def __init__(self, config: Config, directory: Path, number: int) -> None:
        self.out = directory / f"worker-{number}.out"
        file = directory / f"worker-{number}.json"
        file.write_bytes(msgspec.json.encode(config))
        program = [sys.executable, "-m", "tests.integration.counting_worker", str(file)]
        with self.out.open("ab") as out, (directory / f"worker-{number}.err").open("ab") as err:
            self.popen = Popen(program, stdout=out, stderr=err, stdin=DEVNULL, cwd=ROOT)

    @property
    def report(self) -> dict[str, Any]:
        """The newest whole line."""
        lines = self.out.read_text().splitlines(keepends=True) if self.out.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        return json.loads(whole[-1]) if whole else {"outcomes": {}, "inexact": 0, "ready": False, "lag": 0}

    @property
    def reported(self) -> bool:
        """Whether it has said anything."""
        return self.out.stat().st_size > 0

    @property
    def outcomes(self) -> int:
        """Of all its shards."""
        return sum(self.report["outcomes"].values())

    def kill(self, sign: int) -> int:
        """Sends a signal, waits, and returns the exit code."""
        self.popen.send_signal(sign)
        return self.popen.wait(timeout=20)


@pytest.fixture
def config(kafka: Kafka, tmp_path: Path) -> Config:
    base = configuration(kafka.address, session_timeout=3.0)
    return msgspec.structs.replace(base, checkpoint=Checkpoint(store=f"sqlite:///{tmp_path}/state.db", every=0.2))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[list[Process]]:
    """The worker processes of a test, ended with it."""
    processes: list[Process] = []
    yield processes
    for process in processes:
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.wait(timeout=10)


async def _keep_sending(traffic: Traffic, rate: int, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await traffic.send(rate // 20)
        await asyncio.sleep(0.05)


def stored(config: Config) -> list[CountingShard]:
    """The shards as the store has them."""
    store = open_store(config.checkpoint.store, config.kafka.group)
    found = [CountingShard(p, SEAL.open_all(p, store.load(p))) for p in store.shards()]
    store.close()
    return found


async def test_sums_survive_kills_under_load(config: Config, running: list[Process], tmp_path: Path) -> None:
    await topics.ready(config.kafka)
    chance = random.Random(SEED)
    numbers = iter(range(1000))
    running += [Process(config, tmp_path, next(numbers)) for _ in range(2)]
    stop = asyncio.Event()
    async with Traffic(config, seed=SEED, wrong=0.01) as traffic:
        sending = asyncio.ensure_future(_keep_sending(traffic, 2500, stop))
        await until(lambda: sum(process.outcomes for process in running) > 0, 60)
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.5, 2.5))
            victim = running.pop(chance.randrange(len(running)))
            sign = chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
            # Before that, the process has no signal handler.
            await until(lambda: victim.reported)  # noqa: B023
            code = await asyncio.to_thread(victim.kill, sign)
            assert code == (0 if sign == signal.SIGTERM else -signal.SIGKILL)
            assert victim.report["inexact"] == 0
            running.append(Process(config, tmp_path, next(numbers)))
        stop.set()
        await sending
        await until(lambda: sum(process.outcomes for process in running) == traffic.sent, 60)
    for process in running:
        await until(lambda: process.reported)  # noqa: B023
        assert await asyncio.to_thread(process.kill, signal.SIGTERM) == 0
        assert process.report["inexact"] == 0
    shards = stored(config)
    assert sum(shard.sums.outcomes for shard in shards) == traffic.sent
    assert sum(shard.sums.outcomes - shard.sums.correct for shard in shards) == traffic.wrong
    assert not any(shard.waiting["predictions"] or shard.waiting["labels"] or shard.outbox for shard in shards)
    alerts = await everything(config, config.kafka.topics.alerts)
    assert len({json.loads(value)["id"] for value, _ in alerts}) == traffic.wrong


async def test_a_terminated_worker_leaves_nothing_to_read_again(
    config: Config, running: list[Process], tmp_path: Path
) -> None:
    await topics.ready(config.kafka)
    stop = asyncio.Event()
    async with Traffic(config) as traffic:
        sending = asyncio.ensure_future(_keep_sending(traffic, 2500, stop))
        running.append(Process(config, tmp_path, 0))
        await until(lambda: running[0].outcomes > 3000, 60)
        begun = time.monotonic()
        assert await asyncio.to_thread(running[0].kill, signal.SIGTERM) == 0
        assert time.monotonic() - begun < 5
        applied, saved = running[0].outcomes, sum(shard.sums.outcomes for shard in stored(config))
        assert saved >= applied
        stop.set()
        await sending


async def test_a_killed_static_worker_goes_on_at_once(config: Config, running: list[Process], tmp_path: Path) -> None:
    kafka = msgspec.structs.replace(config.kafka, instance="one", session_timeout=30.0)
    config = msgspec.structs.replace(config, kafka=kafka)
    await topics.ready(config.kafka)
    async with Traffic(config) as traffic:
        running.append(Process(config, tmp_path, 0))
        await traffic.send(1000)
        await until(lambda: running[0].outcomes == 1000, 60)
        running[0].kill(signal.SIGKILL)
        await traffic.send(1000)
        running.append(Process(config, tmp_path, 1))
        # Far below the session timeout, which a worker without an instance would have to wait for.
        await until(lambda: running[1].outcomes == 2000, 15)
        assert running[1].report["inexact"] == 0
