"""What page, API and metrics show of a running worker, and why it is not ready, in words.

Invariant: looking changes nothing but what is known of the ends of the topics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from stream.effects import Side
from stream.engine.outbox import Outbox
from stream.engine.owned import Owned
from stream.engine.placement import Placement
from stream.view import LagView

LAG_BOUND = 100_000
"""Records behind, of all partitions together, above which a worker does not call itself ready."""

UNHEARD = 5.0
"""Seconds without an answer about a partition, after which a worker does not call itself ready."""


def lag(owned: Owned, topic: str, side: Side) -> LagView:
    """How far one side of a shard is behind the end of its topic; None while the end is not known."""
    state = owned.inbox.sides.get(side)
    if state is None or state.highwater is None:
        return LagView(topic, owned.partition, None)
    if state.caught_up and not owned.shard.buffered.get(side, 0):
        return LagView(topic, owned.partition, 0)
    reached = owned.shard.next[side]
    return LagView(topic, owned.partition, max(0, state.highwater - (state.taken if reached is None else reached)))


def behind(lags: Iterable[LagView]) -> list[str]:
    """Why the lag keeps the worker from being ready."""
    total = sum(entry.lag or 0 for entry in lags)
    return [f"{total:,} records behind, more than {LAG_BOUND:,}"] if total > LAG_BOUND else []


def unheard(shards: Iterable[Owned], topics: Mapping[Side, str], now: float) -> list[str]:
    """Partitions of which their broker says nothing, though it is asked: what it has said before was applied."""
    silent = [
        f"{topics[side]}-{owned.partition}"
        for owned in shards
        if owned.inbox.attached
        for side, state in owned.inbox.sides.items()
        if (state.highwater is None or state.caught_up) and now - max(state.asked, state.opened) > UNHEARD
    ]
    more = f" and {len(silent) - 3} more" if len(silent) > 3 else ""
    return [f"no broker answers about {', '.join(sorted(silent)[:3])}{more}"] if silent else []


def notes(shards: Sequence[Owned], placement: Placement, outbox: Outbox) -> list[str]:
    """What a person should know though the worker goes on."""
    found = list(placement.misplaced.values())
    found += [
        f"partition {owned.partition}: {owned.inbox.reread:,} records came again below the checkpoint's offsets and "
        "were passed over; if a topic was made anew, clear the state with `stream reset`"
        for owned in shards
        if owned.inbox.reread
    ]
    if outbox.dropped:
        found.append(f"{outbox.dropped:,} records were too large for their topic and were dropped")
    return found
