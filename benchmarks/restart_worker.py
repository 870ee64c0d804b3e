"""`stream run` that writes down when what happens on the way from its start to the first event, for `restart.py`.

python -m benchmarks.restart_worker run -c FILE      # appends to $RESTART_MARKS, one line of JSON each
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stream.cli import main

MARKS = Path(os.environ["RESTART_MARKS"])


def mark(name: str, **found: Any) -> None:
    """One line: what happened, and when."""
    with MARKS.open("a") as file:
        file.write(json.dumps({"mark": name, "at": time.time(), "cpu": time.process_time(), **found}) + "\n")


def watch() -> None:
    """Marks what the composition root builds and what a shard does. Importing it is a part of what is measured."""
    mark("python started")
    from stream import app
    from stream.effects import Clock, Outgoing, Record, Side
    from stream.shard import Shard

    mark("modules imported")

    class MarkedShard(Shard):
        """A shard that tells what it is restored from and how far it has come."""

        @classmethod
        def restore(cls, *args: Any, **more: Any) -> Shard:
            """As the shard does."""
            partition, config, rows, *others = args
            found = list(rows)
            mark("rows read", partition=partition, rows=len(found), bytes=sum(len(content) for _, content in found))
            shard = super().restore(partition, config, found, *others, **more)
            mark("shard restored", partition=partition)
            return shard

        def apply(self, slices: Mapping[Side, Sequence[Record]], clock: Clock) -> list[Outgoing]:
            """As the shard does."""
            before = self.next
            effects = super().apply(slices, clock)
            if self.next != before:
                mark("applied", partition=self.partition, next=self.next)
            return effects

    vars(app)["Shard"] = MarkedShard


if __name__ == "__main__":
    watch()
    main(sys.argv[1:])
