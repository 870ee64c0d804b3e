"""`stream run` is killed at random moments; what it knows and what it has said are as if nothing had happened.

Seeded; `STREAM_TEST_SEED`, `STREAM_TEST_KILLS` and `STREAM_TEST_STORE` (a Redis URL) make it another test.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from stream.configfile.load import load
from stream.engine import topics
from stream.traffic import NEW_YEAR, Traffic, services
from tests.e2e.program import Program, configuration, contents, publish, total, until
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.real

SEED = int(os.environ.get("STREAM_TEST_SEED", "1"))
KILLS = int(os.environ.get("STREAM_TEST_KILLS", "3"))

SPAN = 300.0
RATE = 300.0
COUNTERS = ("predictions", "labels", "outcomes", "prediction_errors", "duplicates", "expired")


@pytest.fixture
async def producer(kafka: Kafka) -> AsyncIterator[AIOKafkaProducer]:
    client = AIOKafkaProducer(bootstrap_servers=kafka.address, linger_ms=10, acks="all")
    await client.start()
    yield client
    await client.stop()


Start = Callable[[dict[str, Any]], Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the program with settings; whatever still runs ends with the test."""
    started: list[Program] = []

    def run(settings: dict[str, Any]) -> Program:
        started.append(Program(settings, tmp_path, f"{settings['kafka']['group']}{len(started)}"))
        return started[-1]

    yield run
    for program in started:
        program.process.kill()
        program.process.wait(timeout=10)


def store(tmp_path: Path, name: str) -> str:
    return os.environ.get("STREAM_TEST_STORE") or f"sqlite:///{tmp_path}/{name}.db"


def conserved(metrics: dict[str, dict[Any, float]]) -> bool:
    """Every event is in exactly one place."""
    predictions = (
        total(metrics, "stream_outcomes_total")
        + total(metrics, "stream_pending", kind="prediction")
        + total(metrics, "stream_expired_total", kind="prediction")
        + total(metrics, "stream_duplicates_total", kind="prediction")
        + total(metrics, "stream_prediction_errors_total")
    )
    labels = (
        total(metrics, "stream_outcomes_total")
        + total(metrics, "stream_pending", kind="label")
        + total(metrics, "stream_expired_total", kind="label")
        + total(metrics, "stream_duplicates_total", kind="label")
    )
    return predictions == total(metrics, "stream_predictions_total") and labels == total(metrics, "stream_labels_total")


def counters(metrics: dict[str, dict[Any, float]]) -> dict[str, dict[Any, float]]:
    return {name: metrics[f"stream_{name}_total"] for name in COUNTERS}


def applied(program: Program) -> float:
    metrics = program.metrics()
    assert conserved(metrics)
    return total(metrics, "stream_predictions_total") + total(metrics, "stream_labels_total")


def ready(program: Program) -> bool:
    metrics = program.metrics()
    assert conserved(metrics)
    return total(metrics, "stream_ready") == 1


async def said(settings: dict[str, Any], end: float) -> dict[str, set[str]]:
    """Alerts and snapshots about the time before `end`, without repeats."""
    found = {}
    for topic, field in (("alerts", "ts"), ("metric-snapshots", "end")):
        records = await contents(settings["kafka"]["brokers"], settings["kafka"]["topics"][topic])
        decoded = [json.loads(record) for record in records]
        found[topic] = {json.dumps(record, sort_keys=True) for record in decoded if record[field] <= end}
    return found


async def test_a_backlog_gives_the_same_whatever_is_killed(
    kafka: Kafka, producer: AIOKafkaProducer, start: Start, tmp_path: Path
) -> None:
    inputs = f"backlog{SEED}"
    traffic = Traffic(services(concept_at=100.0, feature_at=100.0), start=NEW_YEAR, rate=RATE, seed=SEED)
    events = traffic.until(NEW_YEAR + SPAN)
    whole = configuration(kafka.address, "whole", inputs, store(tmp_path, "whole"))
    killed = configuration(kafka.address, "killed", inputs, store(tmp_path, "killed"))
    for settings in (whole, killed):
        (tmp_path / "topics.yaml").write_text(json.dumps(settings))
        await topics.ready(load(tmp_path / "topics.yaml").kafka)
    await publish(producer, inputs, events)

    program = start(whole)
    await until(lambda: applied(program) == len(events))
    expected = counters(program.metrics())
    assert await asyncio.to_thread(program.stop, signal.SIGTERM) == 0

    chance = random.Random(SEED)
    for _ in range(KILLS):
        program = start(killed)
        await until(lambda: applied(program) > 0)  # noqa: B023
        await asyncio.sleep(chance.uniform(0.0, 1.0))
        program.stop(signal.SIGKILL)
    program = start(killed)
    await until(lambda: applied(program) == len(events))
    assert counters(program.metrics()) == expected
    assert await asyncio.to_thread(program.stop, signal.SIGTERM) == 0

    end = NEW_YEAR + SPAN - 20
    first, second = await said(whole, end), await said(killed, end)
    assert first["alerts"]
    assert first == second


async def test_live_load_survives_kills_of_two_workers(
    kafka: Kafka, producer: AIOKafkaProducer, start: Start, tmp_path: Path
) -> None:
    inputs = f"live{SEED}"
    settings = configuration(kafka.address, "live", inputs, store(tmp_path, "live"))
    (tmp_path / "topics.yaml").write_text(json.dumps(settings))
    await topics.ready(load(tmp_path / "topics.yaml").kafka)
    traffic = Traffic(services(concept_at=20.0), start=time.time(), rate=1000.0, seed=SEED)
    stop, sent = asyncio.Event(), 0

    async def keep_sending() -> None:
        nonlocal sent
        while not stop.is_set():
            events = traffic.until(time.time())
            await publish(producer, inputs, events)
            sent += len(events)
            await asyncio.sleep(0.02)

    chance = random.Random(SEED)
    sending = asyncio.ensure_future(keep_sending())
    running = [start(settings) for _ in range(2)]
    await until(lambda: all(ready(program) for program in running))
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.0, 3.0))
        victim = running.pop(chance.randrange(2))
        sign = chance.choice((signal.SIGKILL, signal.SIGTERM))
        begun = time.monotonic()
        assert await asyncio.to_thread(victim.stop, sign) == (0 if sign == signal.SIGTERM else -sign)
        assert time.monotonic() - begun < 5
        running.append(start(settings))
        await until(lambda: all(ready(program) for program in running))
    stop.set()
    await sending
    await until(lambda: sum(applied(program) for program in running) == sent)
    for program in running:
        assert await asyncio.to_thread(program.stop, signal.SIGTERM) == 0
