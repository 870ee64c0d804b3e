"""The reference job by `stream run`: the whole program, checkpoints on, default rules for every model.

Only one thing is added: the shard's `apply` looks at the clock. All that is counted is read from `/metrics`.

    python -m benchmarks.our_worker BROKER EVENTS DIRECTORY [--store URL] [--guards]    # writes DIRECTORY/result.json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import structs
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.core import GUARDED
from stream import app
from stream.configfile import parse
from stream.effects import Clock, Outgoing, Record, Side
from stream.shard import Shard

CONFIGURATION = """\
kafka: {{brokers: "{broker}", group: "ours-{now}", partitions: 4}}
checkpoint: {{store: "{store}"}}
http: {{port: {port}}}
models: {{}}
unknown_models: monitor
"""


class Stopwatch:
    """When the first record was given to a shard, and when the last was applied."""

    def __init__(self, events: int) -> None:
        self.events, self.begun, self.ended, self.processor = events, 0.0, 0.0, 0.0
        self.applied: dict[int, int] = {}
        self.done = threading.Event()


class TimedShard(Shard):
    """A shard that looks at the clock."""

    watch: Stopwatch

    def apply(self, slices: Mapping[Side, Sequence[Record]], clock: Clock) -> list[Outgoing]:
        """As the shard does."""
        watch = self.watch
        if not watch.begun and any(slices.values()):
            watch.begun, watch.processor = time.perf_counter(), time.process_time()
        effects = super().apply(slices, clock)
        watch.applied[self.partition] = sum(offset or 0 for offset in self.next.values())
        if not watch.ended and sum(watch.applied.values()) >= watch.events:
            watch.ended, watch.processor = time.perf_counter(), time.process_time() - watch.processor
            watch.done.set()
        return effects


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def read(port: int) -> dict[str, object]:
    """What the worker's own metrics say."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    samples = [sample for family in families for sample in family.samples]
    whole = [s for s in samples if s.labels.get("segment", "all") == "all"]
    one = {s.name: s.value for s in whole if not s.labels}
    widest = max((s.labels["window"] for s in whole if s.name == "stream_metric"), key=_hours, default="")
    return {
        "outcomes": {s.labels["model"]: int(s.value) for s in whole if s.name == "stream_outcomes_total" and s.value},
        "accuracy": {
            s.labels["model"]: s.value
            for s in whole
            if s.name == "stream_metric" and s.labels["metric"] == "accuracy" and s.labels["window"] == widest
        },
        "alerts": int(sum(s.value for s in samples if s.name == "stream_alerts_total")),
        "checkpoints": int(one["stream_checkpoint_seconds_count"]),
        "checkpoint_seconds": one["stream_checkpoint_seconds_sum"],
        "apply_seconds": one["stream_apply_seconds_sum"],
    }


def _hours(window: str) -> float:
    return float(window[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[window[-1]]


def main(broker: str, events: int, directory: Path, store: str, guards: bool) -> int:
    """Runs the worker until everything is applied; returns its exit code."""
    port = free_port()
    config = parse(CONFIGURATION.format(broker=broker, now=time.time_ns(), port=port, store=store), "benchmark", {})
    if guards:
        config = structs.replace(config, defaults=GUARDED.defaults)
    watch = TimedShard.watch = Stopwatch(events)
    vars(app)["Shard"] = TimedShard  # what the composition root builds
    found: dict[str, object] = {}

    def finish() -> None:
        watch.done.wait()
        try:
            found.update(read(port))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=finish, daemon=True).start()
    code = app.run(config)
    result = {
        "events": events,
        "seconds": watch.ended - watch.begun,
        "processor_seconds": watch.processor,
        **found,
        "stop_seconds": time.perf_counter() - watch.ended,
        "exit_code": code,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    (directory / "result.json").write_text(json.dumps(result))
    return code


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("broker")
    parser.add_argument("events", type=int)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--store")
    parser.add_argument("--guards", action="store_true")
    given = parser.parse_args()
    where = given.store or f"sqlite:///{given.directory}/state.db"
    sys.exit(main(given.broker, given.events, given.directory, where, given.guards))
