"""The reference job as an experienced engineer would write it by hand: aiokafka, msgspec, a dictionary and river.

No durability: nothing is checkpointed, a crash loses everything. It is as fast as one plain Python loop over events
gets, and so the number to beat.

    python benchmarks/peers/hand_written.py BROKER EVENTS DIRECTORY    # writes DIRECTORY/result.json
"""

# river has functions without types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer
from river import drift, metrics, stats

SLICE = 2000


class Prediction(msgspec.Struct, gc=False):
    """What the job needs of a prediction; msgspec skips the rest."""

    model: str
    id: str
    prediction: int
    features: dict[str, float | str | None] = {}


class Label(msgspec.Struct, gc=False):
    """The truth about one prediction."""

    model: str
    id: str
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
        self.missing: Counter[str] = Counter()

    def describe(self, features: dict[str, float | str | None]) -> None:
        """Running mean and variance of numbers, counts of words."""
        for name, value in features.items():
            if value is None:
                self.missing[name] += 1
            elif isinstance(value, str):
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


async def main(broker: str, events: int) -> dict[str, object]:
    """Applies `events` records of both topics and says what it counted."""
    decode_prediction = msgspec.json.Decoder(Prediction).decode
    decode_label = msgspec.json.Decoder(Label).decode
    monitors: defaultdict[str, Monitor] = defaultdict(Monitor)
    pending: dict[tuple[str, str], int] = {}
    early: dict[tuple[str, str], int] = {}
    consumer = AIOKafkaConsumer(
        "predictions",
        "labels",
        bootstrap_servers=broker,
        group_id=f"hand-written-{time.time_ns()}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=1024 * 1024,
    )
    await consumer.start()
    applied = 0
    begun = processor = 0.0
    try:
        while applied < events:
            batch = await consumer.getmany(timeout_ms=200, max_records=SLICE)
            begun, processor = begun or time.perf_counter(), processor or time.process_time()
            for partition, records in batch.items():
                applied += len(records)
                if partition.topic == "predictions":
                    for record in records:
                        p = decode_prediction(record.value)
                        monitor = monitors[p.model]
                        monitor.describe(p.features)
                        key = (p.model, p.id)
                        if (label := early.pop(key, None)) is None:
                            pending[key] = p.prediction
                        else:
                            monitor.outcome(p.prediction, label)
                else:
                    for record in records:
                        q = decode_label(record.value)
                        key = (q.model, q.id)
                        if (prediction := pending.pop(key, None)) is None:
                            early[key] = q.label
                        else:
                            monitors[q.model].outcome(prediction, q.label)
        seconds, processor = time.perf_counter() - begun, time.process_time() - processor
    finally:
        await consumer.stop()
    return {
        "events": applied,
        "seconds": seconds,
        "processor_seconds": processor,
        "outcomes": {name: m.outcomes for name, m in monitors.items() if m.outcomes},
        "accuracy": {name: m.accuracy.get() for name, m in monitors.items() if m.outcomes},
        "drifts": sum(m.drifts for m in monitors.values()),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


if __name__ == "__main__":
    report = asyncio.run(main(sys.argv[1], int(sys.argv[2])))
    (Path(sys.argv[3]) / "result.json").write_text(json.dumps(report))
