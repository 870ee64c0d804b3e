"""`stream run` that on SIGUSR1 writes to its log where each of its threads and tasks is: what a stuck one waits for.

python -m tests.faults.telling run -c FILE
"""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import sys
from contextlib import suppress
from types import FrameType

END = "that is all"
"""The last line of what is told."""


def tell(_signal: int, _frame: FrameType | None) -> None:
    """All tasks of all loops."""
    # Those of the consumer's thread have a loop of their own, which `asyncio.all_tasks` would want to be given.
    for task in list(vars(asyncio.tasks)["_all_tasks"]):
        with suppress(RuntimeError):
            if not task.done():
                task.print_stack(file=sys.stderr)
    sys.stderr.write(f"{END}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    from stream.cli import main

    signal.signal(signal.SIGUSR1, tell)
    # The threads first, and also where the main thread never comes to run a handler.
    faulthandler.register(signal.SIGUSR1, chain=True)
    main()
