"""A process that cannot go on ends, whatever its store does."""

from __future__ import annotations

import asyncio

import pytest

from stream import app
from stream.config import Config


class Hanging:
    """A worker that fails at once and whose end takes for ever."""

    url = "http://here/"

    def __init__(self, _config: Config) -> None:
        self.ending = asyncio.Event()

    async def start(self) -> None:
        pass

    async def failed(self) -> str:
        return "the engine failed"

    async def stop(self) -> bool:
        await self.ending.wait()
        return False


async def test_a_worker_that_failed_and_does_not_stop_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    workers: list[Hanging] = []
    loop = asyncio.get_running_loop()

    def made(config: Config) -> Hanging:
        workers.append(Hanging(config))
        return workers[-1]

    monkeypatch.setattr(app, "Worker", made)
    monkeypatch.setattr(app, "STOP_SECONDS", 0.05)
    monkeypatch.setattr(app, "_give_up", lambda: loop.call_soon_threadsafe(workers[0].ending.set))
    assert await asyncio.wait_for(app._serve(Config()), 10) == app.FAILED
