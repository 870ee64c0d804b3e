"""The reference job: our worker, a hand-written loop and a plain Faust application over the same topics of one Kafka.

Topics are filled first. Then each contestant runs alone, several rounds in changing order; the median counts. Each must
have counted the same outcomes and the same accuracy per model, or the run fails.

    python -m benchmarks.reference_job [--rounds 3] [--json FILE] [--broker HOST:PORT] [--step 0.001] [--guards]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.preload import preload
from benchmarks.workload import Truth, Workload
from tests.servers.kafka import Kafka

ROOT = Path(__file__).resolve().parents[1]
OURS, GUARDED, BY_HAND, FAUST = "ours", "guards on", "hand-written", "plain Faust"
COMMANDS = {
    OURS: ["-m", "benchmarks.our_worker"],
    GUARDED: ["-m", "benchmarks.our_worker", "--guards"],
    BY_HAND: [str(ROOT / "benchmarks/peers/hand_written.py")],
    FAUST: [str(ROOT / "benchmarks/peers/plain_faust.py")],
}
PATIENCE = 900.0
"""Seconds after which a contestant is stopped."""


class Wrong(Exception):
    """A contestant did not count what there is."""


@contextmanager
def broker(address: str | None) -> Iterator[str]:
    """The Kafka given, or one of our own for the time of the run."""
    if address is not None:
        yield address
        return
    with tempfile.TemporaryDirectory(prefix="reference-job-") as directory:
        kafka = Kafka(Path(directory), heap="1g")
        kafka.start()
        try:
            yield kafka.address
        finally:
            kafka.stop()


def contest(name: str, address: str, events: int, extra: list[str]) -> dict[str, Any]:
    """One run of one contestant in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="contestant-") as directory:
        log = Path(directory) / "log"
        with log.open("wb") as out:
            command = [sys.executable, *COMMANDS[name], address, str(events), directory, *extra]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            process = subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT, env=environment)
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()
                process.wait()
        result = Path(directory) / "result.json"
        if not result.exists():
            raise Wrong(f"{name} ended without a result:\n{log.read_text(errors='replace')[-3000:]}")
        found: dict[str, Any] = json.loads(result.read_text())
    found["events_per_second"] = found["events"] / found["seconds"]
    return found


def judge(name: str, result: dict[str, Any], truth: Truth) -> None:
    """Raises Wrong unless outcomes are equal and accuracy is too (to 1e-12)."""
    if result["outcomes"] != dict(truth.outcomes):
        raise Wrong(f"{name} counted {result['outcomes']}, there are {dict(truth.outcomes)}")
    for model, outcomes in truth.outcomes.items():
        expected, found = truth.correct[model] / outcomes, result["accuracy"].get(model)
        if found is None or abs(found - expected) > 1e-12:
            raise Wrong(f"{name}: accuracy of {model} is {found}, expected {expected}")


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """The whole benchmark."""
    workload = Workload(predictions=arguments.predictions, models=arguments.models, step=arguments.step)
    left_out = {*arguments.without, *(() if arguments.guards else (GUARDED,))}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in COMMANDS if name not in left_out}
    events = {
        OURS: workload.events,
        GUARDED: workload.events,
        BY_HAND: workload.records_in_all,
        FAUST: min(arguments.faust_events or workload.records_in_all, workload.records_in_all),
    }
    with broker(arguments.broker) as address:
        console.print(f"filling the topics of {address} with {workload.events:,} events …")
        truth, size = asyncio.run(preload(address, workload))
        names = list(runs)
        for number in range(arguments.rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                extra = ["--store", arguments.store] if name in (OURS, GUARDED) and arguments.store else []
                result = contest(name, address, events[name], extra)
                if events[name] >= workload.events:
                    judge(name, result, truth)
                runs[name].append(result)
                console.print(f"round {number + 1}: {name:<13} {result['events_per_second']:>10,.0f} events/s")
    return {
        "workload": {
            "predictions": workload.predictions,
            "labels": workload.predictions,
            "prediction_bytes": round(size, 1),
            "partitions": workload.partitions,
            "models": sum(len(workload.names(partition)) for partition in range(workload.partitions)),
            "lag": workload.lag,
            "step_seconds": workload.step,
        },
        "processors": os.cpu_count(),
        "median_events_per_second": {
            name: statistics.median(result["events_per_second"] for result in results) for name, results in runs.items()
        },
        "runs": runs,
    }


def show(report: dict[str, Any], console: Console) -> None:
    """The table."""
    medians = report["median_events_per_second"]
    table = Table(title="Reference job, median of the rounds", title_justify="left")
    table.add_column("")
    for column in ("events/s", "range", "ours is", "per CPU s", "peak RSS", "checkpoints", "each"):
        table.add_column(column, justify="right")
    for name, results in report["runs"].items():
        speeds = [result["events_per_second"] for result in results]
        memory = statistics.median(result["peak_rss_bytes"] for result in results)
        count = sum(result.get("checkpoints", 0) for result in results)
        spent = sum(result.get("checkpoint_seconds", 0.0) for result in results)
        table.add_row(
            name,
            f"{medians[name]:,.0f}",
            f"{min(speeds):,.0f}–{max(speeds):,.0f}",
            f"{medians[OURS] / medians[name]:.2f}×" if OURS in medians else "",
            f"{statistics.median(result['events'] / result['processor_seconds'] for result in results):,.0f}",
            f"{memory / 2**20:,.0f} MiB",
            f"{count / len(results):.0f}" if count else "–",
            f"{1000 * spent / count:.0f} ms" if count else "–",
        )
    console.print(table)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--predictions", type=int, default=200_000)
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--step", type=float, default=0.001, help="seconds of event time between two events")
    parser.add_argument(
        "--broker", metavar="HOST:PORT", help="an Apache Kafka without these topics; default: one is started"
    )
    parser.add_argument("--guards", action="store_true", help="ours also with guards on error, score and every feature")
    parser.add_argument("--store", help="checkpoint store of our worker; default: SQLite in a temporary directory")
    parser.add_argument("--faust-events", type=int, help="plain Faust stops after so many (it is slow); default: all")
    parser.add_argument("--without", action="append", choices=list(COMMANDS), default=[], help="leave a contestant out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the result goes")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        report = run(arguments, console)
    except Wrong as error:
        console.print(str(error), style="red", markup=False)
        return 1
    show(report, console)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
