"""Waiting predictions beyond memory: what N of them cost in memory, in commits and at a restart.

One shard and its SQLite store without Kafka: predictions come, a checkpoint follows every `EVERY` of them, then the
shard is restored from its resident rows and labels for a random part of the predictions come.

    python -m benchmarks.pending [--predictions 1000000] [--budget 100000] [--labels 20000]
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import msgspec
import psutil

from stream.checkpoint.open import open_store
from stream.checkpoint.port import Delta, Store
from stream.checkpoint.seal import Seal
from stream.config import Config, Limits, Model
from stream.effects import Clock, Side, StoredRecord
from stream.rows import RESIDENT
from stream.shard import Shard

BEGIN, RATE, EVERY = 1_767_225_600.0, 1000.0, 50_000
_encode = msgspec.json.Encoder().encode


def prediction(number: int) -> StoredRecord:
    """Prediction `number`, a second in which RATE others come, too."""
    ts = BEGIN + number / RATE
    body = {"model": "m", "id": f"order-{number:012d}-5f3c9a1e7b64", "ts": ts, "prediction": 1, "score": 0.7}
    return StoredRecord(number, int(ts * 1000), _encode(body))


def label(offset: int, number: int, ts: float) -> StoredRecord:
    """The label of prediction `number`."""
    body = {"model": "m", "id": f"order-{number:012d}-5f3c9a1e7b64", "ts": ts, "label": 1}
    return StoredRecord(offset, int(ts * 1000), _encode(body))


class Kept:
    """A shard with its store, as the engine runs it."""

    def __init__(self, store: Store, config: Config) -> None:
        self.store, self.config, self.seal = store, config, Seal(b"benchmark")
        self.epoch = store.acquire(0)
        rows = chain.from_iterable(store.load(0, prefix) for prefix in RESIDENT)
        self.shard = Shard.restore(0, config, self.seal.open_all(0, rows))

    def apply(self, side: Side, records: list[StoredRecord]) -> None:
        """Gives records to the shard, and the stored rows it asks for."""
        clock = Clock(BEGIN + 1e9)
        self.shard.apply({side: records}, clock)
        while self.shard.wanted:
            self.shard.answer(self.opened(self.store.get(0, self.shard.wanted).items()))
            self.shard.apply({}, clock)
        self.shard.apply({}, Clock(BEGIN + 2e9))

    def opened(self, rows: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
        """Rows as the shard wrote them."""
        return dict(self.seal.open_all(0, rows))

    def save(self) -> float:
        """One checkpoint; returns its seconds."""
        begun = time.perf_counter()
        delta = self.shard.delta()
        self.store.commit(0, self.epoch, Delta(dict(self.seal.seal_all(0, delta.put)), delta.delete))
        return time.perf_counter() - begun


def rss() -> int:
    """Bytes of this process that are in memory now."""
    size: int = psutil.Process().memory_info().rss
    return size


def main() -> None:
    """Runs it and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=1_000_000)
    parser.add_argument("--budget", type=int, default=100_000, help="waiting predictions kept in memory")
    parser.add_argument("--labels", type=int, default=20_000)
    arguments = parser.parse_args()
    config = Config(models={"m": Model(task="binary", rules=())}, limits=Limits(pending=arguments.budget))
    before = rss()
    with tempfile.TemporaryDirectory(prefix="pending-") as directory:
        store = open_store(f"sqlite:///{Path(directory) / 'state.db'}", "benchmark")
        kept = Kept(store, config)
        begun, commits = time.perf_counter(), []
        for start in range(0, arguments.predictions, EVERY):
            kept.apply("predictions", [prediction(n) for n in range(start, min(start + EVERY, arguments.predictions))])
            commits.append(kept.save())
        filled = time.perf_counter() - begun
        in_memory, full = kept.shard.in_memory, rss()
        begun = time.perf_counter()
        kept = Kept(store, config)
        restart = time.perf_counter() - begun
        chosen = random.Random(1).sample(range(arguments.predictions), arguments.labels)
        end = BEGIN + arguments.predictions / RATE
        begun = time.perf_counter()
        for start in range(0, len(chosen), 2000):
            part = enumerate(chosen[start : start + 2000], start)
            kept.apply("labels", [label(offset, number, end) for offset, number in part])
        labelled = time.perf_counter() - begun
        kept.shard.finish()
        counts = kept.shard.view().models[0].counts
        store.close()
    json.dump(
        {
            "predictions": arguments.predictions,
            "in_memory": in_memory,
            "rss_bytes_before": before,
            "rss_bytes_full": full,
            "rss_bytes_peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "predictions_per_second": arguments.predictions / filled,
            "worst_commit_seconds": max(commits),
            "restart_seconds": restart,
            "labels_per_second": len(chosen) / labelled,
            "outcomes": counts.outcomes,
            "pending": counts.pending,
        },
        sys.stdout,
        indent=1,
    )
    print()


if __name__ == "__main__":
    main()
