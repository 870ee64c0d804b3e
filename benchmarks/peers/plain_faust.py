"""The reference job as Faust's documentation teaches it: records, agents, tables, and river in the agents.

python benchmarks/peers/plain_faust.py BROKER EVENTS DIRECTORY    # writes DIRECTORY/result.json
"""

# river and Faust have functions without types.
# mypy: disable-error-code="no-untyped-call, misc"

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import faust
from river import drift, metrics, stats

BROKER, EVENTS, DIRECTORY = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])


class Prediction(faust.Record, serializer="json"):
    """One answer of a model."""

    model: str
    id: str
    ts: float
    prediction: int
    score: float | None = None
    version: str | None = None
    features: dict[str, Any] | None = None
    latency_ms: float | None = None


class Label(faust.Record, serializer="json"):
    """The truth about one prediction."""

    model: str
    id: str
    ts: float
    label: int


class Monitor:
    """All that is counted for one model."""

    def __init__(self) -> None:
        self.outcomes = 0
        self.accuracy = metrics.Accuracy()
        self.loss = drift.ADWIN()
        self.drifts = 0
        self.numbers: defaultdict[str, stats.Var] = defaultdict(stats.Var)
        self.words: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def describe(self, features: dict[str, float | str]) -> None:
        """Running mean and variance of numbers, counts of words."""
        for name, value in features.items():
            if isinstance(value, str):
                self.words[name][value] += 1
            else:
                self.numbers[name].update(value)

    def outcome(self, prediction: int, label: int) -> None:
        """One prediction with its label."""
        self.outcomes += 1
        self.accuracy.update(label, prediction)
        self.loss.update(prediction != label)
        if self.loss.drift_detected:
            self.drifts += 1


app = faust.App(
    f"plain-faust-{time.time_ns()}",
    broker=f"kafka://{BROKER}",
    datadir=str(DIRECTORY),
    topic_partitions=4,
    web_enabled=False,
    producer_linger=0.02,  # batches the changelog: a third faster than the default
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
)
predictions = app.topic("predictions", value_type=Prediction)
labels = app.topic("labels", value_type=Label)
pending = app.Table("pending", default=lambda: None)
early = app.Table("early", default=lambda: None)
monitors: defaultdict[str, Monitor] = defaultdict(Monitor)
begun, processor, applied = 0.0, 0.0, 0


def count() -> None:
    """One more event is applied; after the last, writes what was counted and ends the process."""
    global begun, processor, applied  # noqa: PLW0603 - a Faust application is a module with module state
    begun, processor = begun or time.perf_counter(), processor or time.process_time()
    applied += 1
    if applied == EVENTS:
        report = {
            "events": applied,
            "seconds": time.perf_counter() - begun,
            "processor_seconds": time.process_time() - processor,
            "outcomes": {name: m.outcomes for name, m in monitors.items() if m.outcomes},
            "accuracy": {name: m.accuracy.get() for name, m in monitors.items() if m.outcomes},
            "drifts": sum(m.drifts for m in monitors.values()),
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        (DIRECTORY / "result.json").write_text(json.dumps(report))
        os._exit(0)  # stopping a Faust worker with a large changelog takes longer than the job


@app.agent(predictions)
async def on_prediction(stream: faust.StreamT[Prediction]) -> None:
    """Describes the features; joins with an early label or waits."""
    async for p in stream:
        monitor = monitors[p.model]
        if p.features:
            monitor.describe(p.features)
        label = early.get(p.id)
        if label is None:
            pending[p.id] = p.prediction
        else:
            del early[p.id]
            monitor.outcome(p.prediction, label)
        count()


@app.agent(labels)
async def on_label(stream: faust.StreamT[Label]) -> None:
    """Joins with the prediction or waits for it."""
    async for q in stream:
        prediction = pending.get(q.id)
        if prediction is None:
            early[q.id] = q.label
        else:
            del pending[q.id]
            monitors[q.model].outcome(prediction, q.label)
        count()


if __name__ == "__main__":
    sys.argv[1:] = ["--datadir", str(DIRECTORY), "worker", "--without-web", "-l", "warn"]
    app.main()
