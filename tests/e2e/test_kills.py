"""`stream run` is killed at random moments; what it knows and what it has said are as if nothing had happened.

Seeded; `STREAM_TEST_SEED`, `STREAM_TEST_KILLS`, `STREAM_TEST_LOAD` (events a second) and `STREAM_TEST_STORE` (a Redis
URL) make it another test. In full: 10 kills, 5,000 events a second, once with each store.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from stream.configfile.load import load
from stream.effects import SIDES, Outgoing, Side
from stream.engine import topics
from stream.replay import replay
from stream.shard import Shard
from stream.traffic import NEW_YEAR, Event, Traffic, services
from tests.e2e.program import ROOT, Program, configuration, contents, publish, total, until
from tests.e2e.sender import Sent
from tests.faults.cluster import JUDGED, unlawful
from tests.faults.course import Report, differences, incidents
from tests.faults.planted import FIRST, models
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.real

SEED = int(os.environ.get("STREAM_TEST_SEED", "1"))
KILLS = int(os.environ.get("STREAM_TEST_KILLS", "3"))

LOAD = float(os.environ.get("STREAM_TEST_LOAD", "5000"))

SPAN = 300.0
RATE = 300.0

TOLD = {"alerts": "ts", "metric-snapshots": "end"}
"""Topics that are compared, and the field that says which time a record is about."""


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


def scraped(program: Program) -> dict[str, dict[Any, float]]:
    """The metrics that are judged, if it answers: every event is in exactly one place, at every scrape."""
    metrics = program.metrics(*JUDGED)
    assert not metrics or unlawful(metrics) is None
    return metrics


def applied(program: Program) -> float:
    metrics = scraped(program)
    return total(metrics, "stream_predictions_total") + total(metrics, "stream_labels_total")


def ready(program: Program) -> bool:
    return total(scraped(program), "stream_ready") == 1


def known(program: Program) -> dict[str, Any]:
    """What a worker knows of each model."""
    return {model["model"]: model for shard in program.status()["shards"] for model in shard["models"]}


def counts(program: Program) -> dict[str, Any]:
    """What was counted of each model."""
    return {name: model["counts"] for name, model in known(program).items()}


async def said(settings: dict[str, Any], end: float) -> dict[str, set[str]]:
    """Alerts and snapshots about the time before `end`, without repeats."""
    topics = settings["kafka"]["topics"]
    return {topic: told(await contents(settings["kafka"]["brokers"], topics[topic]), topic, end) for topic in TOLD}


def told(records: Iterable[bytes], topic: str, end: float) -> set[str]:
    """Records about the time before `end`."""
    decoded = [json.loads(record) for record in records]
    return {json.dumps(record, sort_keys=True) for record in decoded if record[TOLD[topic]] <= end}


class Replayed(msgspec.Struct):
    """What `stream replay` makes of the same events."""

    counts: dict[str, Any]
    told: dict[str, list[bytes]]
    """Lines of its files, by topic."""
    at_the_end: list[bytes]
    """What it tells when it knows that nothing comes any more: a worker would tell that with later events."""


def replayed(settings: dict[str, Any], events: list[Event], folder: Path) -> Replayed:
    files: dict[Side, list[Path]] = {}
    for side in SIDES:
        files[side] = [folder / f"{side}.jsonl"]
        files[side][0].write_bytes(b"".join(event.value + b"\n" for event in events if event.side == side))
    (folder / "replay.yaml").write_text(json.dumps(settings))
    seen: list[list[bytes]] = []

    def see(_shard: Shard, decided: Sequence[Outgoing]) -> None:
        seen.append([effect.value for effect in decided])

    summary = replay(load(folder / "replay.yaml"), files, folder / "replayed", observer=see)
    lines = {topic: (folder / "replayed" / f"{topic}.jsonl").read_bytes().splitlines() for topic in TOLD}
    return Replayed({model.model: msgspec.to_builtins(model.counts) for model in summary.view.models}, lines, seen[-1])


async def test_a_backlog_gives_the_same_whatever_is_killed(
    kafka: Kafka, producer: AIOKafkaProducer, start: Start, tmp_path: Path
) -> None:
    inputs = f"backlog{SEED}"
    traffic = Traffic(services(concept_at=100.0, feature_at=100.0), start=NEW_YEAR, rate=RATE, seed=SEED)
    events = traffic.until(NEW_YEAR + SPAN)
    whole = configuration(kafka.address, "whole", inputs, store(tmp_path, "whole"))
    killed = configuration(kafka.address, "killed", inputs, store(tmp_path, "killed"))
    renewal = {"model": "card-fraud", "at": NEW_YEAR + 150.0, "first": 1000, "reason": "the fraud is known by now"}
    for settings in (whole, killed):
        settings["references"] = [renewal]
        (tmp_path / "topics.yaml").write_text(json.dumps(settings))
        await topics.ready(load(tmp_path / "topics.yaml").kafka)
    await publish(producer, inputs, events)

    program = start(whole)
    await until(lambda: applied(program) == len(events))
    expected = counts(program)
    assert await asyncio.to_thread(program.stop, signal.SIGTERM) == 0

    chance = random.Random(SEED)
    for _ in range(KILLS):
        program = start(killed)
        await until(lambda: applied(program) > 0)  # noqa: B023
        await asyncio.sleep(chance.uniform(0.0, 1.0))
        program.stop(signal.SIGKILL)
    program = start(killed)
    await until(lambda: applied(program) == len(events))
    assert counts(program) == expected
    assert known(program)["card-fraud"]["renewals"] == 1
    assert await asyncio.to_thread(program.stop, signal.SIGTERM) == 0

    end = NEW_YEAR + SPAN - 20
    first, second = await said(whole, end), await said(killed, end)
    assert first["alerts"]
    assert first == second

    again = await asyncio.to_thread(replayed, whole, events, tmp_path)
    assert again.counts == expected
    assert told(again.told["alerts"], "alerts", end) == first["alerts"]
    snapshots = told(again.told["metric-snapshots"], "metric-snapshots", end)
    assert first["metric-snapshots"] <= snapshots
    ending = [record for record in again.at_the_end if b'"end"' in record]
    assert snapshots - first["metric-snapshots"] <= told(ending, "metric-snapshots", end)


async def test_live_load_survives_kills_of_two_workers(
    kafka: Kafka, start: Start, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    inputs = f"live{SEED}"
    live = configuration(kafka.address, "live", inputs, store(tmp_path, "live"))
    whole = configuration(kafka.address, "undisturbed", inputs, f"sqlite:///{tmp_path}/undisturbed.db")
    for settings in (live, whole):
        settings["models"], settings["defaults"] = models(), {"reference": {"first": 200}}
        # A grown tree is a megabyte: at this load it is saved every few seconds, not several times in one.
        settings["models"]["card-fraud-0"]["learn"]["save_every"] = max(200, round(LOAD / 2))
        settings["checkpoint"]["every"] = "500ms"
        (tmp_path / "topics.yaml").write_text(json.dumps(settings))
        await topics.ready(load(tmp_path / "topics.yaml").kafka)

    chance = random.Random(SEED)
    running = [start(live) for _ in range(2)]
    await until(lambda: all(ready(program) for program in running))
    command = [sys.executable, "-m", "tests.e2e.sender", kafka.address, inputs, str(LOAD), str(SEED)]
    sending = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, cwd=ROOT)
    try:
        # The first incident is near: workers are killed while it begins, is found and ends.
        await until(lambda: sum(applied(program) for program in running) > LOAD * (FIRST - 5))
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.0, 3.0))
            victim = running.pop(chance.randrange(2))
            sign = chance.choice((signal.SIGKILL, signal.SIGTERM))
            assert await asyncio.to_thread(victim.stop, sign) == (0 if sign == signal.SIGTERM else -sign)
            running.append(start(live))
            await until(lambda: all(ready(program) for program in running))
        answer, _ = await sending.communicate(b"enough\n")
    finally:
        if sending.returncode is None:
            sending.kill()
    sent = msgspec.json.decode(answer, type=Sent)
    record_property("events_per_second", round(sent.events / sent.seconds))
    record_property("sender_behind_seconds", round(sent.behind, 2))
    await until(lambda: sum(applied(program) for program in running) == sent.events)
    found = {name: model for program in running for name, model in known(program).items()}
    for program in running:
        assert await asyncio.to_thread(program.stop, signal.SIGTERM) == 0

    alerts = [json.loads(record) for record in await contents(kafka.address, live["kafka"]["topics"]["alerts"])]
    assert sent.incidents
    assert incidents(sent.incidents, alerts, Report(SEED, "live")) == []

    program = start(whole)
    await until(lambda: applied(program) == sent.events)
    assert differences(known(program), found) == []
    assert await asyncio.to_thread(program.stop, signal.SIGTERM) == 0
