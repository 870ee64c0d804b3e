"""An event loop in a thread of its own, for what goes out while shards are at work.

A shard has the worker's loop for itself for as long as a call takes, up to half a second where a challenger is slow. To
reach a broker takes a dozen answers: if each waited for such a call, alerts of the other shards would be seconds late.
Invariant: what is done here is done in this loop from its beginning to its end.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Aside:
    """The loop and its thread, which begins with the first call."""

    def __init__(self, name: str) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._name = name

    async def do(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs a coroutine there; returns and raises what it does. When this is cancelled, so is the coroutine."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._run, args=(self._loop,), name=self._name, daemon=True).start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(make(), self._loop))

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.close()

    def close(self) -> None:
        """Ends the thread, and whatever still runs there. Nothing can be done any more."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
