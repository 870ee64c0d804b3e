"""`stream run` whose process dies between two steps of a checkpoint: `CRASH_AT` names where, `CRASH_NTH` which time.

    CRASH_AT=committed CRASH_NTH=3 python -m tests.faults.crashing run -c FILE

Only this program reads them; the worker itself knows nothing of it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from typing import Any

from stream.checkpoint.port import Delta
from stream.effects import Outgoing
from stream.engine import owned
from stream.engine.checkpoints import Checkpoints

POINTS = ("encoded", "committing", "committed", "publishing", "published", "confirmed", "acked")
"""In the order of `Checkpoints.save`: after step 1; in step 2 before and after the store has it; in step 3, when the
first of the effects is out, and after it; after step 4; after step 5."""


class Crashing(Checkpoints):
    """Ends the process at the point that the environment names."""

    def _crash(self, point: str) -> None:
        if os.environ.get("CRASH_AT") != point:
            return
        passed[point] = passed.get(point, 0) + 1
        if passed[point] >= int(os.environ["CRASH_NTH"]):
            os.kill(os.getpid(), signal.SIGKILL)

    async def save(self) -> None:
        rows = list(self.shard.outbox)
        if rows and os.environ.get("CRASH_AT") == "publishing":
            outbox = self.parts.outbox
            publish = type(outbox).publish

            async def first_only(rows: Iterable[Outgoing]) -> None:
                await publish(outbox, list(rows)[:1])
                self._crash("publishing")
                await publish(outbox, list(rows)[1:])

            outbox.publish = first_only  # type: ignore[method-assign]
        await super().save()
        self._crash("acked")

    def _encode(self) -> Any:
        draft = super()._encode()
        self._crash("encoded")
        return draft

    def _commit(self, delta: Delta) -> float:
        self._crash("committing")
        processor = super()._commit(delta)
        self._crash("committed")
        return processor

    def confirm(self, rows: list[Outgoing]) -> None:
        self._crash("published")
        super().confirm(rows)
        self._crash("confirmed")


passed: dict[str, int] = {}
"""How often the process has come by a point."""

if __name__ == "__main__":
    from stream.cli import main

    vars(owned)["Checkpoints"] = Crashing
    main()
