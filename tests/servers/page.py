"""A worker's web server without a worker: what it shows is a view that a test made."""

from __future__ import annotations

import asyncio
import copy
import threading
import time
from collections.abc import Callable

from aiohttp import web

from stream.telemetry.collector import Timings, new_registry
from stream.view import Counts, WorkerView
from stream.web.server import make_server
from tests.servers.kafka import free_port


class Growing:
    """A worker whose counts grow with every look, lawfully."""

    def __init__(self, view: WorkerView) -> None:
        self._view = view

    def __call__(self) -> WorkerView:
        self._view.checkpoints += 1
        for shard in self._view.shards:
            shard.dead_letters["not_json"] = shard.dead_letters.get("not_json", 0) + 1
            for model in shard.models:
                counts: Counts = model.counts
                counts.predictions += 10
                counts.labels += 10
                counts.outcomes += 10
                model.latency_seconds.counts[3] += 10
                model.label_delay_seconds.counts[3] += 10
                model.watermark = time.time()
        return copy.deepcopy(self._view)


class Serving:
    """The application on a free loopback port, in a thread of its own."""

    def __init__(self, view: Callable[[], WorkerView]) -> None:
        self.port = free_port()
        self._view = view
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        view, registry = self._view, new_registry(self._view)
        timings = Timings(registry)

        async def start() -> web.AppRunner:
            runner = web.AppRunner(make_server(view, registry), access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self.port).start()
            return runner

        async def observe() -> None:
            while True:
                timings.apply.observe(0.004)
                timings.checkpoint.observe(0.012)
                timings.alert_delay.observe(0.2)
                await asyncio.sleep(0.2)

        runner = self._loop.run_until_complete(start())
        observing = self._loop.create_task(observe())
        self._loop.run_forever()
        observing.cancel()
        self._loop.run_until_complete(runner.cleanup())

    def __enter__(self) -> Serving:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
