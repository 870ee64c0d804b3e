"""`stream run` as its user starts it: a process, its log, its page, its metrics."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from stream.traffic import Event

ROOT = Path(__file__).parents[2]

TOPICS = ("predictions", "labels", "alerts", "metric-snapshots", "model-updates", "dead-letters")


def configuration(address: str, name: str, inputs: str, store: str, **kafka: Any) -> dict[str, Any]:
    """Settings of a group `name` that reads the topics of `inputs` and writes topics of its own."""
    topics = {topic: f"{topic}-{inputs if topic in TOPICS[:2] else name}" for topic in TOPICS}
    return {
        "kafka": {
            "brokers": address,
            "group": name,
            "partitions": 4,
            "session_timeout": "6s",
            "topics": topics,
            **kafka,
        },
        "checkpoint": {"store": store, "every": "250ms"},
        "http": {"port": 0},
        "defaults": {"pane": "10s", "windows": ["1m", "5m"], "reference": {"first": 2000}},
        "models": {},
    }


class Program:
    """One `stream run`."""

    def __init__(
        self, settings: dict[str, Any], directory: Path, name: str, module: str = "stream", **environment: str
    ) -> None:
        self.log = directory / f"{name}.log"
        file = directory / f"{name}.yaml"
        file.write_text(yaml.safe_dump(settings))
        with self.log.open("wb") as log:
            self.process = Popen(
                [sys.executable, "-m", module, "run", "-c", str(file)],
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                env={
                    "PATH": "/usr/bin:/bin",
                    "PYTHONPATH": str(ROOT),
                    "HOME": str(directory),
                    "PYTHONFAULTHANDLER": "1",
                    **environment,
                },
            )

    @property
    def url(self) -> str | None:
        """Where the page is, once the log says so."""
        found = re.search(r"the page is at (\S+)", self.log.read_text())
        return found and found[1]

    def metrics(self, *names: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        """One scrape, by name and labels, of all metrics or of those named; empty while nobody answers."""
        url = self.url
        if url is None:
            return {}
        try:
            with urlopen(url + "metrics", timeout=10) as answer:
                text = answer.read().decode()
        except (URLError, OSError):
            return {}
        if names:
            # Reading all of them takes longer than all else that a test does.
            text = "".join(line for line in text.splitlines(keepends=True) if line.startswith(names))
        found: dict[str, dict[tuple[tuple[str, str], ...], float]] = defaultdict(dict)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name][tuple(sorted(sample.labels.items()))] = sample.value
        return found

    def status(self) -> dict[str, Any]:
        """What the page shows, as JSON."""
        with urlopen(f"{self.url}api/status", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def readiness(self) -> str:
        """What `/readyz` says, or why it says nothing."""
        url = self.url
        if url is None:
            return "no page yet"
        try:
            with urlopen(url + "readyz", timeout=10) as answer:
                body: bytes = answer.read()
        except HTTPError as error:
            body = error.read()
        except OSError as error:
            return f"no answer: {error}"
        return body.decode()

    def stop(self, sign: int, seconds: float = 15.0) -> int:
        """Sends a signal and returns the exit code."""
        self.process.send_signal(sign)
        return self.process.wait(timeout=seconds)


def total(metrics: dict[str, dict[Any, float]], name: str, **labels: str) -> float:
    """Sum of the series of a metric that have these labels."""
    return sum(value for key, value in metrics.get(name, {}).items() if labels.items() <= dict(key).items())


async def until(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    """Waits for a condition; fails when it does not come."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


async def publish(producer: AIOKafkaProducer, inputs: str, events: Iterable[Event]) -> None:
    """Publishes events in order and waits for the acknowledgements."""
    acks = [await producer.send(f"{event.side}-{inputs}", event.value, key=event.key) for event in events]
    await asyncio.gather(*acks)


async def contents(address: str, topic: str) -> list[bytes]:
    """The values of all records of a topic."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=address, auto_offset_reset="earliest")
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        left = {partition for partition, end in ends.items() if end}
        found: list[bytes] = []
        while left:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [record.value for record in records]
            left = {partition for partition in left if await consumer.position(partition) < ends[partition]}
        return found
    finally:
        await consumer.stop()
