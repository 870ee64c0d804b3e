"""Shards that are fed with predictions alone: in slices, or restored over and over. Assertions stay in the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from stream.config import Config
from stream.effects import Channel, Clock, Outgoing, Side, StoredRecord
from stream.shard import Shard

BEHIND: frozenset[Side] = frozenset(("predictions",))
"""More is to come: no clock closes a tick."""


def apply(shard: Shard, rows: list[StoredRecord], cut: int | None = None) -> list[Outgoing]:
    """What a shard says of records that come so many at a time; None: all at once."""
    effects: list[Outgoing] = []
    size = cut or max(1, len(rows))
    for start in range(0, len(rows), size):
        later = rows[start].timestamp / 1000 + 1e6
        effects += shard.apply({"predictions": rows[start : start + size]}, Clock(later, BEHIND))
    return effects


def run(
    config: Config, rows: list[StoredRecord], cut: int | None = None, references: Any = None
) -> tuple[Shard, list[Outgoing]]:
    """A shard after all of its records, and what it has said."""
    shard = Shard(0, config, references)
    return shard, [*apply(shard, rows, cut), *shard.finish()]


def restarted(
    config: Config, records: Callable[[int, int], list[StoredRecord]], count: int, every: int
) -> tuple[Shard, list[Outgoing]]:
    """The same of one that is restored from what it has stored after each `every` of `count` records."""
    seen, rows, shard = dict[int, Outgoing](), dict[str, bytes](), Shard(0, config)
    for stop in range(every, count + every, every):
        rest = records(shard.next["predictions"] or 0, stop)
        seen |= {each.seq: each for each in apply(shard, rest)}
        delta = shard.delta()
        rows = {key: content for key, content in (rows | delta.put).items() if key not in delta.delete}
        shard = Shard.restore(0, config, sorted(rows.items()))
    apply(shard, records(shard.next["predictions"] or 0, count))
    seen |= {each.seq: each for each in shard.finish()}
    return shard, list(seen.values())


def alerts(effects: list[Outgoing]) -> list[dict[str, Any]]:
    """The alerts among them."""
    return [msgspec.json.decode(each.value) for each in effects if each.channel is Channel.ALERTS]
