"""`stream demo`: what the program is for, within a minute and with nothing else installed.

A broker inside the program, traffic of three models of which two go wrong at known moments, and an ordinary worker
(`stream.app.Worker`) with `demo.yaml`. Invariant: when it ends, however it ends, no process and no file is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import tempfile
import threading
import time
from importlib.resources import files
from typing import Literal

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from rich.console import Console

from stream.app import CannotStart, Worker, quieten
from stream.config import Config
from stream.configfile import parse
from stream.console.alerts import read
from stream.console.summary import models_table, print_alerts
from stream.console.words import clock
from stream.engine.embedded import EmbeddedBroker, EmbeddedBrokerFailed, EmbeddedBrokerMissing
from stream.engine.topics import BrokerUnreachable
from stream.telemetry import logs
from stream.traffic import Traffic, services
from stream.view import WorkerView

RATE = 400
"""Predictions a second, when nobody says otherwise."""

CONCEPT_AT, FEATURE_AT = 15.0, 20.0
"""Seconds after the beginning of the traffic at which things go wrong; by then the references are complete."""

MOST_EVENTS = 3_000_000
"""The embedded broker keeps every record in memory, about 350 bytes of it per event: the demo ends after so many."""

READY_SECONDS = 30.0
STEP = 0.05
"""Seconds between two portions of traffic."""

PORT = 6066
PIPED_WIDTH = 140
"""Columns when nobody's terminal says how many there are."""

DONE, FAILED = 0, 1

PLANTED = (
    (CONCEPT_AT, "card-fraud", "from now on a new kind of fraud, online in Brazil, that the model does not recognise"),
    (FEATURE_AT, "house-price", "from now on larger houses than the model was made for (it still prices them well)"),
)


class Stuck(Exception):
    """A part of the demo does not do what it should; the message says which."""


def run(limit: float | None, rate: int | None, log_format: Literal["text", "json"] = "text") -> int:
    """Shows the demo for `limit` seconds (None: until Ctrl-C) at `rate` predictions a second; returns the exit code."""
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    logs.configure(log_format, logging.WARNING)
    quieten()
    try:
        with EmbeddedBroker() as broker, tempfile.TemporaryDirectory(prefix="stream-demo-") as directory:
            return asyncio.run(_show(broker.address, directory, limit, rate or RATE, console))
    except (EmbeddedBrokerMissing, EmbeddedBrokerFailed, BrokerUnreachable, CannotStart, Stuck) as error:
        Console(stderr=True, soft_wrap=True).print(f"stream demo: {error}", style="bold red", markup=False)
        return FAILED
    except KeyboardInterrupt:  # before or after the time in which it means "enough"
        return DONE


def _configuration(broker: str, directory: str, port: int) -> Config:
    values = {"DEMO_BROKER": broker, "DEMO_DIRECTORY": directory, "DEMO_PORT": str(port)}
    return parse(files("stream").joinpath("demo.yaml").read_text("utf-8"), "demo.yaml", values)


async def _started(broker: str, directory: str) -> Worker:
    """A worker whose page is at the usual port, or at any free one when somebody has that."""
    for port in (PORT, 0):
        worker = Worker(_configuration(broker, directory, port))
        try:
            await worker.start()
        except BaseException as error:
            await worker.stop()
            if port and isinstance(error, CannotStart):
                continue
            raise
        return worker
    raise AssertionError("the last port was tried")


async def _show(broker: str, directory: str, limit: float | None, rate: int, console: Console) -> int:
    enough = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, enough.set)
    worker = await _started(broker, directory)
    try:
        await _ready(worker, enough)
        began = time.monotonic()
        loop.call_later(limit or MOST_EVENTS / (2 * rate), enough.set)
        story = asyncio.ensure_future(_story(worker, rate, console))
        ended = asyncio.ensure_future(enough.wait())
        failed = asyncio.ensure_future(worker.failed())
        parts = (story, ended, failed)
        await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        over = [part for part in parts if part.done()]
        for part in parts:
            part.cancel()
        await asyncio.wait(parts)
        if failed in over:
            raise Stuck(f"the worker cannot go on: {failed.result()}")
        if story in over:
            await story
        view = worker.view()
    finally:
        await worker.stop()
    _sum_up(view, time.monotonic() - began, console)
    return DONE


async def _ready(worker: Worker, enough: asyncio.Event) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not (view := worker.view()).ready and not enough.is_set():
        if time.monotonic() > deadline:
            raise Stuck(f"the worker is not ready after {READY_SECONDS:.0f} s: {'; '.join(view.reasons)}")
        await asyncio.sleep(STEP)


async def _story(worker: Worker, rate: int, console: Console) -> None:
    """Runs traffic and shows alerts until it is cancelled."""
    config = worker.config
    url = worker.url or ""
    console.print(f"[bold]Status page[/]  {url}\n[bold]Metrics[/]      {url}metrics", highlight=False)
    console.print(
        f"[dim]{rate} predictions a second of three models; labels follow seconds later. Ctrl-C ends the demo.[/]\n",
        highlight=False,
    )
    sender = Sender(config, rate)
    alerts, planted = (asyncio.ensure_future(part) for part in (_alerts(config, console), _planted(console)))
    try:
        await asyncio.wait((alerts, sender.failure), return_when=asyncio.FIRST_COMPLETED)
        if alerts.done():
            await alerts
        raise Stuck(f"the traffic stopped: {await sender.failure}")
    finally:
        alerts.cancel()
        planted.cancel()
        await asyncio.to_thread(sender.stop)


async def _alerts(config: Config, console: Console) -> None:
    async for alert, _ in read(config.kafka, from_beginning=True, follow=True):
        print_alerts(console, [msgspec.to_builtins(alert)])


async def _planted(console: Console) -> None:
    """Says what goes wrong when it does, so that a person sees how long the alert takes."""
    begin = time.monotonic()
    for at, model, what in PLANTED:
        await asyncio.sleep(at - (time.monotonic() - begin))
        console.print(f"[dim]{clock(time.time())}[/]  [yellow]the demo[/]  [bold]{model}[/]: {what}", highlight=False)


class Sender:
    """Traffic in a thread of its own, with an event loop of its own, so that it cannot hold up the worker."""

    def __init__(self, config: Config, rate: int) -> None:
        self._loop = asyncio.get_running_loop()
        self.failure: asyncio.Future[str] = self._loop.create_future()
        """Says why the traffic stopped, if it stops by itself."""
        self._config, self._rate = config, rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when the last event is sent."""
        self._stop.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        try:
            asyncio.run(self._send())
        except (KafkaError, OSError) as error:
            self._loop.call_soon_threadsafe(self.failure.set_result, str(error))

    async def _send(self) -> None:
        start = time.time()
        traffic = Traffic(services(CONCEPT_AT, FEATURE_AT), start=start, rate=self._rate)
        topics = self._config.kafka.topics
        names = {"predictions": topics.predictions, "labels": topics.labels}
        producer = AIOKafkaProducer(bootstrap_servers=list(self._config.kafka.brokers), acks="all", linger_ms=5)
        await producer.start()
        try:
            while not self._stop.is_set():
                for event in traffic.until(time.time()):
                    await producer.send(names[event.side], event.value, key=event.key)
                await asyncio.sleep(STEP)
        finally:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(producer.stop(), 3.0)


def _sum_up(view: WorkerView, seconds: float, console: Console) -> None:
    models = [msgspec.to_builtins(model) for shard in view.shards for model in shard.models]
    events = sum(shard.events for shard in view.shards)
    console.print()
    console.print(models_table(sorted(models, key=lambda model: str(model["model"]))))
    console.print(f"{events:,} events in {seconds:.0f} s. Where to go from here: README.md, examples/", highlight=False)
