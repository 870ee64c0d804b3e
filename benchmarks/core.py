"""What the pure core does on one processor: `Shard.apply` over the reference job's records, without Kafka.

    python -m benchmarks.core [--slice 4000] [--deltas 50000] [--guards] [--profile]
    python -m benchmarks.core --sparse          # every event is a tick of its own
    python -m benchmarks.core --crowd 10000     # what a tick costs with so many models, nearly all of them quiet

Both topics of each partition are handed over side by side in slices, as a backlog reaches the engine. With `--guards`
error rate, score and all features are guarded, besides the default rules. With `--profile` the time is broken down by
module and by function (cProfile, which itself slows Python calls down).
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import pstats
import resource
import time
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.workload import BEGIN, Workload
from stream.config import Config, Model, Rule
from stream.effects import SIDES, Clock, StoredRecord
from stream.monitor.rules.machine import TICK
from stream.monitor.watching import defaults
from stream.shard import Shard

ROOT = Path(__file__).resolve().parents[1]


GUARDED = Config(
    defaults=Model(
        rules=(
            *defaults.rules("binary"),
            *(Rule(name=f"guard {watched}", guard=watched) for watched in ("error_rate", "score", "feature:*")),
        )
    )
)


def run(
    workload: Workload, slice_size: int, every: int, profile: cProfile.Profile | None, config: Config | None = None
) -> dict[str, float]:
    """Applies everything; returns events per second of processor time, for applying and encoding deltas."""
    applying = encoding = 0.0
    rows = written = 0
    events = 0
    for partition in range(workload.partitions):
        records, _ = workload.records(partition)
        shard = Shard(partition, config or Config())
        clock = Clock(now=time.time(), behind=frozenset(SIDES))
        since = 0
        length = max(len(side) for side in records.values())
        if profile:
            profile.enable()
        for start in range(0, length, slice_size):
            begun = time.process_time()
            part = {side: content[start : start + slice_size] for side, content in records.items()}
            shard.apply(part, clock if start + slice_size < length else Clock(now=time.time()))
            applying += time.process_time() - begun
            since += sum(len(content) for content in part.values())
            if since >= every:
                begun = time.process_time()
                delta = shard.delta()
                encoding += time.process_time() - begun
                rows += len(delta.put) + len(delta.delete)
                written += sum(len(content) for content in delta.put.values())
                if shard.outbox:
                    shard.published(shard.outbox[-1].seq)
                since = 0
        if profile:
            profile.disable()
        events += sum(shard.view().models[index].counts.outcomes for index in range(len(shard.view().models)))
    if events != workload.predictions:
        raise SystemExit(f"{events:,} outcomes, expected {workload.predictions:,}")
    return {
        "events_per_second": workload.events / (applying + encoding),
        "apply_us_per_event": 1e6 * applying / workload.events,
        "delta_us_per_event": 1e6 * encoding / workload.events,
        "rows": rows,
        "bytes": written,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def crowd(models: int, ticks: int = 200) -> dict[str, float]:
    """Processor time of a tick in which one of many models has an event."""
    shard = Shard(0, Config())

    def apply(number: int, model: int, ts: float) -> float:
        event = {
            "model": f"model-{model}",
            "id": str(number),
            "ts": ts,
            "prediction": model % 2,
            "features": {"x": 0.5},
        }
        record = StoredRecord(number, round(ts * 1000), json.dumps(event).encode())
        begun = time.process_time()
        shard.apply({"predictions": [record]}, Clock(now=ts))
        return time.process_time() - begun

    for model in range(models):
        apply(model, model, BEGIN + model / models)
    spent = [apply(models + tick, tick, BEGIN + 2.0 + tick * TICK) for tick in range(ticks)]
    spent.sort()
    return {"models": models, "tick_ms_median": 1e3 * spent[ticks // 2], "tick_ms_p95": 1e3 * spent[ticks * 95 // 100]}


def stages(profile: cProfile.Profile, events: int, console: Console) -> None:
    """Own time by module and by function, in µs per event."""
    by_module: defaultdict[str, float] = defaultdict(float)
    by_function: defaultdict[str, float] = defaultdict(float)
    for (file, _, function), row in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        module = _module(file)
        by_module[module] += row[2]
        by_function[f"{module}: {function}"] += row[2]
    for title, found in (("module", by_module), ("function", by_function)):
        table = Table(title=f"own time by {title}", title_justify="left")
        table.add_column(title)
        table.add_column("µs per event", justify="right")
        table.add_column("share", justify="right")
        total = sum(found.values())
        for name, seconds in sorted(found.items(), key=lambda item: -item[1])[:25]:
            table.add_row(name, f"{1e6 * seconds / events:.3f}", f"{seconds / total:.1%}")
        console.print(table)


def _module(file: str) -> str:
    path = Path(file)
    if path.is_relative_to(ROOT):
        return str(path.relative_to(ROOT))
    parts = path.parts
    return "/".join(parts[parts.index("site-packages") + 1 :][:2]) if "site-packages" in parts else path.name


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=200_000)
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--step", type=float, default=0.001, help="seconds of event time between two events")
    parser.add_argument("--slice", type=int, default=4000, help="records of one topic at a time")
    parser.add_argument("--deltas", type=int, default=50_000, help="a delta is taken after so many events")
    parser.add_argument("--guards", action="store_true")
    parser.add_argument("--sparse", action="store_true", help="0.6 s between two events, and fewer of them")
    parser.add_argument("--crowd", type=int, default=0, metavar="MODELS", help="only what a tick costs then")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    if arguments.crowd:
        Console().print_json(json.dumps(crowd(arguments.crowd)))
        return
    workload = Workload(predictions=arguments.predictions, models=arguments.models, step=arguments.step)
    if arguments.sparse:
        workload = Workload(predictions=min(arguments.predictions, 20_000), models=arguments.models, step=0.6)
    profile = cProfile.Profile() if arguments.profile else None
    console = Console()
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 50)  # as the worker sets it
    console.print_json(
        json.dumps(run(workload, arguments.slice, arguments.deltas, profile, GUARDED if arguments.guards else None))
    )
    if profile:
        stages(profile, workload.events, console)


if __name__ == "__main__":
    main()
