"""Composition root: from a configuration to a running worker, and from a signal to an exit code.

Nothing else reads the environment or decides what is built from which part. A `Worker` runs inside any event loop (the
demo has one of its own); `run` is the whole process.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Literal, Self

from aiohttp import web

from stream.checkpoint.open import open_store
from stream.checkpoint.port import Store, StoreUnavailable
from stream.checkpoint.seal import Seal, secret_for
from stream.config import Config
from stream.engine.artifacts import Artifacts
from stream.engine.renewing import Renewing
from stream.engine.shardlike import NewShard, ShardLike
from stream.engine.silencing import Silencing
from stream.engine.topics import TopicProblem
from stream.engine.worker import Engine
from stream.profile import NoReference, references
from stream.recorded import UnreadableFile
from stream.rows import RESIDENT
from stream.shard import Shard
from stream.telemetry import logs
from stream.telemetry.collector import Timings, new_registry
from stream.view import WorkerView
from stream.web.access import token_of
from stream.web.server import make_server

logger = logging.getLogger("stream")

FAILED, BAD_USAGE = 1, 2

STOP_SECONDS = 4.5
"""After a signal the process ends by then, whatever the store and the broker do."""

LOOK_EVERY = 2.0
"""Seconds after which a worker has what another one was told."""

_GC_THRESHOLDS = (200_000, 20, 50)
"""Records come by the thousand and go soon: the default of 700 would look at the living over and over. As many may be
on their way, see `engine/flow.py`; with 50,000 a fiftieth of a backlog's time went into looking at them."""

_SWITCH = 0.02
"""Seconds for which a thread keeps the interpreter while another wants it: the client's wants it at every packet, and
to hand it to and fro costs both."""


class CannotStart(Exception):
    """The worker cannot run like this; the message says what to do."""


class Worker:
    """One worker with its page. Use it as an async context manager, or call `start` and `stop`."""

    def __init__(self, config: Config, new_shard: NewShard | None = None) -> None:
        self.config = config
        self.url: str | None = None
        """Where the page is; None before `start`."""
        try:
            token = token_of(config.http, os.environ)
        except ValueError as error:
            raise CannotStart(str(error)) from error
        try:
            self._store: Store = open_store(config.checkpoint.store, config.kafka.group)
            secret = secret_for(config.checkpoint.store, config.checkpoint.key, os.environ)
            self._references = references(config)
        except (NoReference, UnreadableFile) as error:
            raise CannotStart(str(error)) from error
        except (ValueError, StoreUnavailable) as error:
            raise CannotStart(f"checkpoint.store: {error}") from error
        registry = new_registry(self.view)
        seal = Seal(secret)
        self._silencing = Silencing(self._store, seal, config)
        self._renewing = Renewing(self._store, seal, config)
        self._looking: asyncio.Task[None] | None = None
        if any(model.learn.challengers for model in (config.defaults, *config.models.values())):
            # Now, so that the engine knows its types before threads decode them.
            import stream.learning.learner  # noqa: F401
        try:
            self._engine = Engine(
                config,
                store=self._store,
                seal=seal,
                timings=Timings(registry),
                new_shard=new_shard or self._new_shard,
                keep_artifact=Artifacts(config).keep,
                resident=RESIDENT,
            )
        except (ValueError, OSError) as error:
            raise CannotStart(str(error)) from error
        self._server = web.AppRunner(
            make_server(self.view, registry, token, self._silencing, self._renewing),
            access_log=None,
            shutdown_timeout=0.5,
        )

    def _new_shard(self, partition: int, rows: Iterable[tuple[str, bytes]] | None) -> ShardLike:
        self._silencing.shared.ensure()
        self._renewing.shared.ensure()
        told = self._references, self._silencing.silences, self._renewing.renewals
        if rows is None:
            return Shard(partition, self.config, *told)
        return Shard.restore(partition, self.config, rows, *told)

    async def _look_at_told(self) -> None:
        """Another worker may be told something."""
        while True:
            try:
                await asyncio.to_thread(self._silencing.shared.read)
                await asyncio.to_thread(self._renewing.shared.read)
            except StoreUnavailable:
                pass  # the engine says so, and what is known goes on to hold
            await asyncio.sleep(LOOK_EVERY)

    async def start(self) -> None:
        """Serves the page, then joins the consumer group; waits for a broker if none answers. Raises CannotStart."""
        await self._server.setup()
        http = self.config.http
        site = web.TCPSite(self._server, http.host, http.port)
        try:
            await site.start()
        except OSError as error:
            raise CannotStart(
                f"http: cannot listen on {http.host}:{http.port}: {error.strerror or error}; "
                "set http.port to a free one (0 takes any)"
            ) from error
        host, port = self._server.addresses[0][:2]
        self._looking = asyncio.create_task(self._look_at_told())
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        try:
            await self._engine.start()
        except TopicProblem as error:
            raise CannotStart(str(error)) from error

    async def stop(self) -> bool:
        """Last checkpoint, effects published, group left, page closed. True when nothing has to be read again."""
        clean = await self._engine.stop()
        if self._looking is not None:
            self._looking.cancel()
        await self._server.cleanup()
        self._store.close()
        return clean

    def view(self) -> WorkerView:
        """Everything that is known."""
        return self._engine.view()

    async def failed(self) -> str:
        """Returns when the worker cannot go on, and says why."""
        return await asyncio.shield(self._engine.failure)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def run(config: Config, log_format: Literal["text", "json"] = "text") -> int:
    """Runs one worker until SIGTERM, SIGINT or a failure; returns the exit code."""
    logs.configure(log_format)
    quieten()
    return asyncio.run(_serve(config))


async def _serve(config: Config) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, _on_signal, stopped)
    try:
        worker = Worker(config)
    except CannotStart as error:
        logger.critical("%s", error)
        return BAD_USAGE
    starting = asyncio.ensure_future(worker.start())
    stopping = asyncio.ensure_future(stopped.wait())
    failing = asyncio.ensure_future(worker.failed())
    code = 0
    await asyncio.wait([starting, stopping, failing], return_when=asyncio.FIRST_COMPLETED)
    if starting.done() and (reason := starting.exception()):
        logger.critical("%s", reason, exc_info=None if isinstance(reason, CannotStart) else reason)
        code = FAILED
    elif not stopping.done() and not failing.done():
        logger.info("running; the page is at %s", worker.url)
        _tune()
        await asyncio.wait([stopping, failing], return_when=asyncio.FIRST_COMPLETED)
    if failing.done():
        logger.critical("%s", failing.result())
        code = FAILED
    starting.cancel()
    _end_in_time()
    clean = await worker.stop()
    if not clean:
        logger.warning("stopped without a last checkpoint: what came since the one before will be read again")
        code = code or FAILED
    else:
        logger.info("stopped")
    return code


def _on_signal(stopped: asyncio.Event) -> None:
    if stopped.is_set():
        os._exit(FAILED)
    stopped.set()
    _end_in_time()


def _end_in_time() -> None:
    # A store that hangs holds a thread, and Python would wait for it.
    watchdog = threading.Timer(STOP_SECONDS, _give_up)
    watchdog.daemon = True
    watchdog.start()


def _give_up() -> None:
    logger.error("stopping took more than %.1f s; what is not saved will be read again", STOP_SECONDS)
    sys.stderr.flush()
    os._exit(FAILED)


def _tune() -> None:
    sys.setswitchinterval(_SWITCH)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def quieten() -> None:
    """Faust and its services tell of every start and stop, aiokafka repeats itself while a broker is away."""
    for name in ("faust", "mode", "stream.engine.transport", "stream.engine.application", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in ("aiokafka", "mode")]:
        logging.getLogger(name).addFilter(_as_kind)


def _as_kind(record: logging.LogRecord) -> bool:
    """Makes records of one wording one kind, so that the log shows it once a minute with the number left out."""
    record.kind = f"{record.name}: {record.msg}"
    return True
