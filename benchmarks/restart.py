"""How long a worker is away: killed under load and started again, and killed and taken over, on a real Kafka.

A topic is filled with predictions that wait for their labels. Then predictions and labels come by the clock, a label
for each prediction, so that as many go on waiting. A worker with a `kafka.instance` is killed (SIGKILL) at a random
moment and started again at once; what counts is the time from the start of the process until it has applied an event
that was published after the death of the one before: in the first partition, and in every partition. Then one of two
workers is killed and not started again.

    python -m benchmarks.restart [--pending 300000] [--rate 2000] [--rounds 5] [--store sqlite|redis] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from benchmarks.preload import write
from benchmarks.reference_job import broker
from benchmarks.workload import Truth, Workload
from stream.configfile.load import load
from stream.effects import SIDES, Side, StoredRecord
from stream.engine import topics
from tests.e2e.program import Program, configuration
from tests.servers.redis_server import RedisServer

PARTITIONS = 4
INPUTS = "restart"
PATIENCE = 120.0
STEPS = ("python started", "modules imported", "rows read", "shard restored", "applied")
"""What a worker writes down, in the order in which it comes there first."""

Ends = dict[tuple[Side, int], int]


class Live(Struct):
    """What comes by the clock: due times and records of each topic's partition, in order."""

    records: list[tuple[float, Side, int, StoredRecord]]
    sent: int = 0
    behind: float = 0.0
    """Seconds that the sender was late at worst: more than a few milliseconds say that the machine is busy."""


class Worker(Struct):
    """One process and what it wrote down."""

    program: Program
    marks: Path
    started: float

    def told(self) -> list[dict[str, Any]]:
        """Its marks so far."""
        if not self.marks.exists():
            return []
        return [json.loads(line) for line in self.marks.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def reached(self) -> Ends:
        """How far its shards have come."""
        return {
            (side, mark["partition"]): offset
            for mark in self.told()
            if mark["mark"] == "applied"
            for side, offset in mark["next"].items()
            if offset is not None
        }

    def passed(self, ends: Ends) -> dict[int, float]:
        """By partition: when it had applied an event behind `ends`."""
        found: dict[int, float] = {}
        for mark in self.told():
            if mark["mark"] == "applied" and any(
                (offset or 0) > ends[side, mark["partition"]] for side, offset in mark["next"].items()
            ):
                found.setdefault(mark["partition"], mark["at"])
        return found

    def steps(self) -> dict[str, float]:
        """Seconds from the start of the process until each step was first reached."""
        found: dict[str, float] = {}
        for mark in self.told():
            found.setdefault(mark["mark"], round(mark["at"] - self.started, 3))
        return found

    def processor(self, until: float) -> float:
        """Processor seconds that it had used at its last mark by then: what a busy machine does not stretch."""
        return max(float(mark["cpu"]) for mark in self.told() if mark["at"] <= until)

    def kill(self) -> None:
        """As a crash does it."""
        self.program.stop(signal.SIGKILL)


class Bench:
    """Topics, load and workers of one run."""

    def __init__(self, address: str, store: str, directory: Path, arguments: argparse.Namespace) -> None:
        self.address, self.directory = address, directory
        self.rate, self.pending, self.session = arguments.rate, arguments.pending, arguments.session
        self.chance = random.Random(arguments.seed)
        self.settings = configuration(address, "restart", INPUTS, store, session_timeout=f"{self.session:g}s")
        self.settings["checkpoint"] = {"store": store, "key": "a key of the benchmark, long enough"}
        self.settings["defaults"] = {}
        self.workers: list[Worker] = []

    async def fill(self, seconds: float) -> Live:
        """Creates the topics and writes what is to wait; returns what comes after it."""
        file = self.directory / "topics.yaml"
        file.write_text(json.dumps(self.settings))
        await topics.ready(load(file).kafka)
        step = PARTITIONS / self.rate
        waiting = self.pending // PARTITIONS
        total = self.pending + int(self.rate * seconds / 2)
        workload = Workload(total, lag=waiting, partitions=PARTITIONS, step=step, begin=time.time() - waiting * step)
        live: list[tuple[float, Side, int, StoredRecord]] = []
        producer = AIOKafkaProducer(bootstrap_servers=self.address, max_batch_size=512 * 1024, linger_ms=5)
        await producer.start()
        for partition in range(PARTITIONS):
            lines = takewhile(
                lambda line: line[1] < workload.begin + waiting * step + seconds,
                workload.lines(partition, Truth(Counter(), Counter())),
            )
            first: list[StoredRecord] = []
            for side, ts, model, value in lines:
                record = StoredRecord(0, round(ts * 1000), value.encode(), model.encode())
                if len(first) < waiting:
                    first.append(record)
                else:
                    live.append((ts, side, partition, record))
            await write(producer, f"predictions-{INPUTS}", partition, first)
        await producer.stop()
        return Live(sorted(live, key=lambda each: each[0]))

    async def send(self, live: Live) -> None:
        """Sends what comes by the clock, with its times moved to now."""
        producer = AIOKafkaProducer(bootstrap_servers=self.address, linger_ms=2)
        await producer.start()
        begun, first = time.time(), live.records[0][0]
        try:
            while live.sent < len(live.records):
                now = time.time() - begun + first
                live.behind = max(live.behind, now - live.records[live.sent][0])
                while live.sent < len(live.records) and live.records[live.sent][0] <= now:
                    _, side, partition, record = live.records[live.sent]
                    await producer.send(f"{side}-{INPUTS}", record.value, key=record.key, partition=partition)
                    live.sent += 1
                await asyncio.sleep(0.005)
            raise RuntimeError("the load has ended before the measurement: give it more --seconds")
        finally:
            await producer.stop()

    def start(self, instance: str) -> Worker:
        """One worker process."""
        number = len(self.workers)
        settings = {**self.settings, "kafka": {**self.settings["kafka"], "instance": instance}}
        marks = self.directory / f"marks{number}"
        started = time.time()
        program = Program(
            settings, self.directory, f"worker{number}", "benchmarks.restart_worker", RESTART_MARKS=str(marks)
        )
        self.workers.append(Worker(program, marks, started))
        return self.workers[-1]

    async def ends(self) -> Ends:
        """Where the input topics end now."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.address)
        await consumer.start()
        try:
            found = await consumer.end_offsets(
                [TopicPartition(f"{side}-{INPUTS}", partition) for side in SIDES for partition in range(PARTITIONS)]
            )
        finally:
            await consumer.stop()
        return {(side, p): found[TopicPartition(f"{side}-{INPUTS}", p)] for side in SIDES for p in range(PARTITIONS)}

    async def settle(self) -> None:
        """Lets the load run on for a while, some seconds and a random moment."""
        await asyncio.sleep(4.0 + self.chance.random())

    async def restarts(self, rounds: int) -> list[dict[str, Any]]:
        """Kills the one worker and starts it again, some times."""
        found = []
        for _ in range(rounds):
            await self.settle()
            self.workers[-1].kill()
            ends = await self.ends()
            worker = self.start("one")
            await until(lambda: len(worker.passed(ends)) == PARTITIONS, worker)  # noqa: B023
            passed = sorted(worker.passed(ends).values())
            found.append(
                {
                    "first_new_event_s": round(passed[0] - worker.started, 3),
                    "every_partition_s": round(passed[-1] - worker.started, 3),
                    "processor_s": round(worker.processor(passed[0]), 3),
                    "steps_s": worker.steps(),
                    "rows": sum(mark["rows"] for mark in worker.told() if mark["mark"] == "rows read"),
                }
            )
        return found

    async def takeover(self) -> dict[str, Any]:
        """Kills one of two workers; the other one takes its partitions when the session times out."""
        stays, goes = self.workers[-1], self.start("two")
        await until(lambda: len({p for _, p in goes.reached()}) == PARTITIONS // 2, goes)
        await self.settle()
        lost = {partition for _, partition in goes.reached()}
        goes.kill()
        died = time.time()
        ends = await self.ends()
        await until(lambda: lost <= stays.passed(ends).keys(), stays)
        passed = [at - died for partition, at in stays.passed(ends).items() if partition in lost]
        return {"partitions": len(lost), "first_s": round(min(passed), 3), "all_s": round(max(passed), 3)}


async def until(condition: Callable[[], bool], worker: Worker) -> None:
    """Waits for a condition. Raises RuntimeError with the worker's log when it does not come."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline or worker.program.process.poll() is not None:
            raise RuntimeError(f"it did not come to pass:\n{worker.program.log.read_text()[-4000:]}")
        await asyncio.sleep(0.1)


async def measure(bench: Bench, arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """The whole run."""
    live = await bench.fill(arguments.seconds)
    console.print(f"{bench.pending:,} predictions wait; {len(live.records):,} events are ready to come")
    first = bench.start("one")
    waiting = bench.pending // PARTITIONS
    await until(lambda: [first.reached().get(("predictions", p)) for p in range(PARTITIONS)] == [waiting] * 4, first)
    await asyncio.sleep(5.0)
    sending = asyncio.ensure_future(bench.send(live))
    try:
        restarts = await bench.restarts(arguments.rounds)
        takeover = await bench.takeover()
        metrics = await asyncio.to_thread(bench.workers[-2].program.metrics)
        if sending.done():
            sending.result()
    finally:
        sending.cancel()
        for worker in bench.workers:
            worker.program.process.kill()
            worker.program.process.wait()
    pending = [value for labels, value in metrics["stream_pending"].items() if ("kind", "prediction") in labels]
    return {
        "pending": round(sum(pending)),
        "events_per_second": bench.rate,
        "partitions": PARTITIONS,
        "session_timeout_s": bench.session,
        "processors": os.cpu_count(),
        "sender_behind_s": round(live.behind, 3),
        "first_new_event_median_s": statistics.median(each["first_new_event_s"] for each in restarts),
        "processor_median_s": statistics.median(each["processor_s"] for each in restarts),
        "every_partition_median_s": statistics.median(each["every_partition_s"] for each in restarts),
        "restarts": restarts,
        "takeover": takeover,
    }


def show(report: Mapping[str, Any], console: Console) -> None:
    """The table."""
    title = f"{report['pending']:,} pending, {report['events_per_second']:,.0f} events/s: seconds since the start"
    table = Table(title=title, title_justify="left")
    columns = (*STEPS, "first new event", "processor until then", "every partition")
    for column in columns:
        table.add_column(column, justify="right")
    for each in report["restarts"]:
        steps = [each["steps_s"].get(step) for step in STEPS]
        seconds = [*steps, each["first_new_event_s"], each["processor_s"], each["every_partition_s"]]
        table.add_row(*("–" if value is None else f"{value:.2f}" for value in seconds))
    console.print(table)
    console.print(
        f"taken over {report['takeover']['first_s']:.2f} s (first partition) and {report['takeover']['all_s']:.2f} s "
        f"(all {report['takeover']['partitions']}) after a death, with a session timeout of "
        f"{report['session_timeout_s']:g} s"
    )


@contextmanager
def state(kind: str, directory: Path) -> Iterator[str]:
    """The URL of a checkpoint store."""
    if kind == "sqlite":
        yield f"sqlite:///{directory}/state.db"
        return
    server = RedisServer(directory, "--appendonly", "yes", "--save", "")
    server.start()
    try:
        yield server.url
    finally:
        server.stop(kill=True)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pending", type=int, default=300_000, help="predictions that wait for their label")
    parser.add_argument("--rate", type=float, default=2000.0, help="events per second while workers are killed")
    parser.add_argument("--rounds", type=int, default=5, help="restarts")
    parser.add_argument("--seconds", type=float, default=180.0, help="how long the load can go on")
    parser.add_argument("--session", type=float, default=10.0, help="session timeout, seconds")
    parser.add_argument("--store", choices=("sqlite", "redis"), default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--broker", metavar="HOST:PORT", help="an Apache Kafka; default: one is started")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the result goes")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="restart-")))
        address = stack.enter_context(broker(arguments.broker))
        url = stack.enter_context(state(arguments.store, directory))
        report = asyncio.run(measure(Bench(address, url, directory, arguments), arguments, console))
    show(report, console)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
