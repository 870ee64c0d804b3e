"""A worker process of counting shards, for tests that kill it: `python counting_worker.py CONFIG.json`.

Prints one line of JSON every 50 ms: partitions, outcomes, records that came twice or not at all, readiness.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import msgspec

from stream.checkpoint.open import open_store
from stream.config import Config
from tests.integration.workers import engine, shard


async def main(config: Config) -> int:
    """Runs until SIGTERM or a failure."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    worker = engine(config, open_store(config.checkpoint.store, config.kafka.group))
    starting = asyncio.ensure_future(worker.start())
    while not stopped.is_set() and not worker.failure.done():
        sums = {p: shard(worker, p).sums for p in worker.shards}
        view = worker.view()
        report = {
            "outcomes": {p: s.outcomes for p, s in sums.items()},
            "wrong": {p: s.outcomes - s.correct for p, s in sums.items()},
            "inexact": sum(s.repeats + s.skipped for s in sums.values()),
            "ready": view.ready,
            "lag": sum(entry.lag or 0 for entry in view.lag),
        }
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()
        await asyncio.sleep(0.05)
    starting.cancel()
    clean = await worker.stop()
    if worker.failure.done():
        sys.stderr.write(worker.failure.result())
    return 0 if clean and not worker.failure.done() else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Config))))
