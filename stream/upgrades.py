"""Stored state of an earlier version, brought to the present format before a shard is restored from it.

When what is stored changes:
- A new field with a default needs nothing: rows without it are read, and older versions pass it over.
- Anything else (a field renamed, removed or with another meaning, keys of another kind) raises `rows.FORMAT` by one,
  and adds the step from the format before to STEPS. `python -m tests.stored.make` then writes the fixture of the new
  format; those of earlier ones stay, and tests bring them here.

Invariant: rows are changed all at once, in one commit, or not at all; a format is never read as another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct

from stream.checkpoint.packing import unpack
from stream.checkpoint.port import Delta, StateRefused
from stream.rows import FORMAT, HEAD, Formatted


class Step(Struct, frozen=True):
    """The way from one format to the next."""

    change: Callable[[dict[str, bytes]], dict[str, bytes]]
    """Makes the rows of a shard, opened, those of the next format. The head row's number need not be its concern."""
    waiting: bool = False
    """Whether it concerns rows of waiting predictions, too: then all of them are read, this once."""


STEPS: dict[int, Step] = {}
"""By the format that they lead away from."""


def due(shard: int, rows: Mapping[str, bytes], known: Mapping[int, Step] = STEPS) -> list[Step]:
    """The steps that bring the rows of a shard to the present format. Raises StateRefused where there is no way."""
    if HEAD not in rows:
        # Nothing is stored, or what there is will be refused.
        return []
    found = unpack(Formatted, rows[HEAD]).format
    way = range(found, FORMAT)
    if found > FORMAT or not set(way) <= known.keys():
        raise other_format(shard, found)
    return [known[number] for number in way]


def other_format(shard: int, found: int) -> StateRefused:
    """What is said of state that there is no way to read."""
    return StateRefused(
        f"stored state of shard {shard} has format {found}, this version reads {FORMAT}: run the version that wrote "
        f"it, or rebuild from Kafka with `stream reset --shard {shard}`"
    )


def change(rows: Mapping[str, bytes], steps: Sequence[Step]) -> Delta:
    """What has to be put and deleted so that the rows have the present format."""
    changed = dict(rows)
    for step in steps:
        changed = step.change(changed)
    head = msgspec.msgpack.decode(changed[HEAD])
    changed[HEAD] = msgspec.msgpack.encode({**head, "format": FORMAT})
    put = {key: content for key, content in changed.items() if rows.get(key) != content}
    return Delta(put, sorted(rows.keys() - changed.keys()))
