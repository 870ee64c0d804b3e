"""What goes out goes on while the worker's loop is busy."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from stream.engine.aside import Aside


@pytest.fixture
def aside() -> Iterator[Aside]:
    made = Aside("test")
    yield made
    made.close()


async def test_it_goes_on_while_the_loop_is_busy(aside: Aside) -> None:
    async def many_answers() -> tuple[float, str]:
        for _ in range(10):
            await asyncio.sleep(0.001)
        return time.monotonic(), threading.current_thread().name

    begun = time.monotonic()
    doing = asyncio.ensure_future(aside.do(many_answers))
    await asyncio.sleep(0)
    time.sleep(0.5)  # noqa: ASYNC251  # a shard at work
    done, thread = await doing
    assert done - begun < 0.4
    assert thread == "test"


async def test_what_it_raises_is_raised(aside: Aside) -> None:
    async def fails() -> None:
        raise OSError("no broker")

    with pytest.raises(OSError, match="no broker"):
        await aside.do(fails)


async def test_cancelled_here_it_is_cancelled_there(aside: Aside) -> None:
    ended = threading.Event()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    doing = asyncio.ensure_future(aside.do(waits))
    await asyncio.sleep(0.05)
    doing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doing
    assert await asyncio.to_thread(ended.wait, 5.0)


def test_one_that_was_never_used_is_closed() -> None:
    before = threading.active_count()
    Aside("test").close()
    assert threading.active_count() == before
