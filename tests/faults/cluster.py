"""A broker, a store, proxies before both, and workers as their user starts them: what faults are done to.

Invariant: what is scraped is judged: every event is in exactly one place, at every scrape of every worker.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream.configfile.load import load
from stream.engine import topics
from stream.engine.checkpoints import QUIET
from tests.e2e.program import Program, configuration, contents, publish, total
from tests.faults.disk import Disk
from tests.faults.planted import Planted, models
from tests.faults.proxy import Proxy
from tests.faults.telling import END
from tests.servers.kafka import Kafka
from tests.servers.redis_server import RedisServer

INPUTS = "in"
SESSION = 6.0
"""Seconds: the consumer group's session timeout."""

LAST_LINES = 30
"""Of a worker's log, where it is stuck."""

KEY = "a key of the tests, 32 bytes long"


JUDGED = (
    *(
        "stream_ready",
        "stream_fenced_total",
        "stream_consumer_lag",
        "stream_checkpoint_interval_seconds",
        "stream_predictions_total",
        "stream_labels_total",
    ),
    *("stream_outcomes_total", "stream_pending", "stream_expired_total", "stream_duplicates_total"),
    "stream_prediction_errors_total",
)
"""Metrics that runs look at."""


class Violation(AssertionError):
    """What may never be."""


class Cluster:
    """Use it as an async context manager; `chance` decides everything that is random."""

    def __init__(self, directory: Path, store: str, seed: int) -> None:
        """`store` is "redis" or "sqlite"."""
        self.directory = directory
        self.chance = random.Random(seed)
        self.seed = seed
        self.broker_door = Proxy(0, kafka=True)
        self.store_door = Proxy(0)
        self.kafka = Kafka(directory / "kafka", advertised=self.broker_door.port)
        self.broker_door.target = self.kafka.proxied
        self.redis: RedisServer | None = None
        if store == "redis":
            (directory / "redis").mkdir()
            self.redis = RedisServer(directory / "redis", "--save", "", "--appendonly", "no")
            self.store_door.target = self.redis.port
        self.disk = Disk(directory / "disk")
        self.workers: list[Program] = []
        self.stopped: set[int] = set()
        """Processes that SIGSTOP holds."""
        self.violations: list[str] = []
        self.scrapes = 0
        self.fenced: dict[str, float] = {}
        """Commits refused, by worker, as last scraped."""
        self.sent = 0
        self._started = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Cluster:
        await asyncio.to_thread(self.kafka.start)
        if self.redis is not None:
            await asyncio.to_thread(self.redis.start)
        else:
            self.disk.mount()
        await self.broker_door.start()
        await self.store_door.start()
        self._tasks.append(asyncio.create_task(self._watch()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for worker in list(self.workers):
            await asyncio.to_thread(self.end, worker, signal.SIGKILL)
        await self.broker_door.stop()
        await self.store_door.stop()
        await asyncio.to_thread(self.kafka.stop, signal.SIGKILL)
        if self.redis is not None:
            await asyncio.to_thread(self.redis.stop, True)
        self.disk.unmount()

    # Settings and workers

    async def group(self, name: str, *, proxied: bool = True, **kafka: Any) -> dict[str, Any]:
        """Settings of a consumer group over the input topics, whose output topics are its own and exist."""
        address = f"127.0.0.1:{self.broker_door.port}" if proxied else self.kafka.address
        store = f"sqlite:///{self.database(name)}"
        if self.redis is not None and proxied:
            store = f"redis://127.0.0.1:{self.store_door.port}/0"
        settings = configuration(address, name, INPUTS, store, session_timeout=f"{SESSION:g}s", **kafka)
        settings["checkpoint"]["key"] = KEY
        settings["defaults"] = {"reference": {"first": 200}}
        settings["models"] = models()
        file = self.directory / f"{name}.topics.yaml"
        file.write_text(json.dumps(settings))
        await topics.ready(load(file).kafka)
        return settings

    def database(self, group: str) -> Path:
        """Where a group's SQLite state is."""
        return self.disk.path / f"{group}.db"

    def start(self, settings: dict[str, Any], module: str = "tests.faults.telling", **environment: str) -> Program:
        """One more worker."""
        self._started += 1
        home = self.directory / settings["kafka"]["group"]
        home.mkdir(exist_ok=True)
        worker = Program(settings, home, f"worker-{self._started}", module, **environment)
        self.workers.append(worker)
        return worker

    def end(self, worker: Program, sign: int) -> int:
        """Signals a worker and waits; returns the exit code."""
        if worker in self.workers:
            self.workers.remove(worker)
        self.stopped.discard(worker.process.pid)
        return worker.stop(sign)

    def any(self) -> Program:
        """A worker by chance."""
        return self.chance.choice(self.workers)

    # What is known

    def scrape(self, worker: Program) -> dict[str, dict[Any, float]]:
        """The metrics of a worker, judged; empty while it does not answer."""
        if worker.process.pid in self.stopped:
            return {}
        metrics = worker.metrics(*JUDGED)
        if metrics:
            self.scrapes += 1
            self.fenced[str(worker.log)] = total(metrics, "stream_fenced_total")
            if wrong := unlawful(metrics):
                self.violations.append(f"{worker.log.name}: {wrong}")
        return metrics

    def applied(self) -> float:
        """Events that all workers together have applied."""
        return sum(map(_applied, [self.scrape(worker) for worker in list(self.workers)]))

    def look(self) -> tuple[bool, float]:
        """Whether every worker runs and says that it is ready; events that all together have applied."""
        for worker in self.workers:
            if worker.process.poll() is not None:
                code = worker.process.returncode
                raise Violation(f"{worker.log} ended by itself with {code}: {worker.log.read_text()[-1500:]}")
        found = [self.scrape(worker) for worker in list(self.workers)]
        return all(total(metrics, "stream_ready") == 1 for metrics in found), sum(map(_applied, found))

    async def recovered(self, seconds: float = 300.0) -> float:
        """Waits until all workers are ready and everything that was sent by now is applied; returns how long it took.

        A consumer that is stuck is a Violation: one that is only slow, on a busy machine, shows in the figures.
        """
        begun, target = time.monotonic(), self.sent
        while True:
            ready, applied = await asyncio.to_thread(self.look)
            if ready and applied >= target:
                return time.monotonic() - begun
            if time.monotonic() - begun > seconds:
                said = await asyncio.to_thread(self._what_is_wrong)
                raise Violation(f"stuck: {applied:.0f} of {target} after {seconds:.0f} s\n{said}")
            await asyncio.sleep(0.25)

    def _what_is_wrong(self) -> str:
        """What each worker says of itself, the end of its log, and where its threads and tasks are."""
        said: dict[Program, list[str]] = {}
        for worker in self.workers:
            metrics = worker.metrics(*JUDGED)
            lag = {dict(key)["partition"]: value for key, value in metrics.get("stream_consumer_lag", {}).items()}
            log = worker.log.read_text()
            held = " held by SIGSTOP" if worker.process.pid in self.stopped else ""
            said[worker] = [
                f"{worker.log.name}: exit code {worker.process.poll()}{held}, {worker.readiness()}, lag {lag}",
                *log.splitlines()[-LAST_LINES:],
            ]
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGUSR1)
                until = time.monotonic() + 5.0
                while END not in (told := worker.log.read_text()[len(log) :]) and time.monotonic() < until:
                    time.sleep(0.1)
                said[worker].append(told)
        return "\n".join(line for lines in said.values() for line in lines)

    async def _watch(self) -> None:
        while True:
            for worker in list(self.workers):
                await asyncio.to_thread(self.scrape, worker)
            await asyncio.sleep(2.0)

    async def said(self, settings: dict[str, Any], topic: str) -> list[dict[str, Any]]:
        """What a group has published on a topic, in the order of each partition."""
        found = await contents(self.kafka.address, settings["kafka"]["topics"][topic])
        return [json.loads(value) for value in found]

    async def length(self) -> int:
        """Records in the input topics."""
        return await self._records(f"{side}-{INPUTS}" for side in ("predictions", "labels"))

    async def published(self, settings: dict[str, Any], looks: int = 40) -> None:
        """Waits until a group whose workers have applied everything has said what it had to say: within so many looks,
        a checkpoint of each partition apart."""
        outputs = [
            name for topic, name in settings["kafka"]["topics"].items() if topic not in ("predictions", "labels")
        ]
        before = -1
        while (found := await self._records(outputs)) != before:
            looks -= 1
            if not looks:
                raise Violation("effects go on and on")
            before = found
            # On a busy machine the next checkpoint, and with it the next effects, may be far, but not in silence.
            intervals = [
                total(await asyncio.to_thread(self.scrape, worker), "stream_checkpoint_interval_seconds")
                for worker in list(self.workers)
            ]
            await asyncio.sleep(3.0 + min(2 * max(intervals), 4 * QUIET))

    async def _records(self, names: Iterable[str]) -> int:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka.address)
        await consumer.start()
        try:
            parts = [TopicPartition(name, partition) for name in names for partition in range(4)]
            return sum((await consumer.end_offsets(parts)).values())
        finally:
            await consumer.stop()

    def models(self) -> dict[str, dict[str, Any]]:
        """What all workers know, by model."""
        found: dict[str, dict[str, Any]] = {}
        for worker in self.workers:
            for shard in worker.status()["shards"]:
                for model in shard["models"]:
                    if model["model"] in found:
                        raise Violation(f"{model['model']} is in two places")
                    found[model["model"]] = model
        return found

    # Traffic

    async def send(self, traffic: Planted, stop: asyncio.Event) -> None:
        """Sends what is due until told to stop; a broker that is away is waited for."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.kafka.address, linger_ms=10, enable_idempotence=True, request_timeout_ms=120_000
        )
        await producer.start()
        try:
            while not stop.is_set():
                events = traffic.until(time.time())
                await publish(producer, INPUTS, events)
                self.sent += len(events)
                await asyncio.sleep(0.05)
        finally:
            await producer.stop()

    async def fill(self, traffic: Planted, end: float) -> None:
        """Sends a whole backlog."""
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka.address, linger_ms=10, enable_idempotence=True)
        await producer.start()
        events = traffic.until(end)
        await publish(producer, INPUTS, events)
        self.sent += len(events)
        await producer.stop()


def _applied(metrics: dict[str, dict[Any, float]]) -> float:
    return total(metrics, "stream_predictions_total") + total(metrics, "stream_labels_total")


def unlawful(metrics: dict[str, dict[Any, float]]) -> str | None:
    """The law of conservation that is broken, if one is."""
    sides = {"prediction": "stream_predictions_total", "label": "stream_labels_total"}
    for kind, name in sides.items():
        found = {
            "outcomes": total(metrics, "stream_outcomes_total"),
            "pending": total(metrics, "stream_pending", kind=kind),
            "expired": total(metrics, "stream_expired_total", kind=kind),
            "duplicates": total(metrics, "stream_duplicates_total", kind=kind),
        }
        if kind == "prediction":
            found["errors"] = total(metrics, "stream_prediction_errors_total")
        if sum(found.values()) != total(metrics, name):
            return f"{kind}s: {found} of {total(metrics, name):.0f}"
    return None
