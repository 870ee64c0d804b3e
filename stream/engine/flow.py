"""What may be fetched, and what a shard is told about the topics: decided from plain numbers.

Invariant: records in memory are bounded whatever the store, the broker or one of the two topics does; and a topic is
called caught up only when everything was applied that the broker had when the other topic's records were asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from stream.effects import SIDES, Clock, Outgoing, Record, Side

INBOX_RECORDS = 20_000
"""Fetched and not yet applied, per shard and side."""

WORKER_RECORDS = 100_000
"""Fetched and not yet applied, per worker."""

BUFFERED_RECORDS = 30_000
"""Records that wait in a shard for the other topic, before the topic ahead is paused."""

ENOUGH = 10_000
"""Records of a side in the shard that wait for the other side, from which on more of it can wait in the inbox."""

UNSAVED_RECORDS = 500_000
"""Records applied since the last checkpoint, per worker: bounds memory while the store is away."""

UNSENT_EFFECTS = 5_000
"""Effects that wait to be published, per shard: bounds memory while topics cannot be written. A large one counts as
several, see `weight`."""

WORKER_EFFECTS = 15_000
"""The same per worker: more than one shard's, so that one that cannot publish does not stop the others."""

EFFECT_BYTES = 8192
"""What one effect may have: 5,000 of them are 40 MB, and a checkpoint makes two copies."""

INBOX_SLICES = 16
"""Slices in the inbox, per shard and side: at 4 MB a fetch, this bounds the bytes of large records. One that is larger
than a fetch counts as several, see `slice_weight`."""

SLICE_BYTES = 4 * 1024 * 1024

SILENT = 60.0
"""Seconds after which a topic that has records but sends none holds nobody back: far longer than a starved machine
takes to fetch, for then the order of a backlog would depend on it."""

IDLE = 5.0
"""Seconds of silence of a caught-up shard after which the wall clock moves its event time on."""

FRESH = 1.0
"""Seconds for which it holds what a broker has said of the end of a partition. It is asked again after a tenth of
that; one that does not answer may have anything."""

OTHER: dict[Side, Side] = {"predictions": "labels", "labels": "predictions"}


class SideState(Struct):
    """One input topic of one shard. Times are of a monotonic clock; offsets are those of the next record."""

    opened: float
    fetched: int | None = None
    """Position of the consumer: everything below was handed out by the client."""
    delivered: int = 0
    """Below this, records have been handed to the shard's inbox."""
    highwater: int | None = None
    """End of the partition in the broker's last answer; None before the first."""
    taken: int = 0
    """Below this, records have been given to the shard."""
    waiting: int = 0
    """Records in the inbox."""
    slices: int = 0
    """Slices in the inbox, by `slice_weight`."""
    arrived: float = 0.0
    """When records last came, or could not come because we held them back."""
    asked: float = 0.0
    """When the broker was asked for what it has answered last, `highwater` with it; 0 before the first answer."""
    heard: float = 0.0
    """Since when its answers have come without a break."""
    given: float = 0.0
    """When the broker was asked for the newest records that were given to the shard."""

    @property
    def caught_up(self) -> bool:
        """Everything that the broker said it has was given to the shard."""
        if self.highwater is None or self.fetched is None or self.waiting:
            return False
        return self.fetched >= self.highwater and self.taken >= self.delivered


class Load(Struct, frozen=True):
    """What a worker has in memory."""

    waiting: int = 0
    """Records in inboxes."""
    unsaved: int = 0
    """Records applied since the last checkpoint."""
    unsent: int = 0
    """Effects that wait to be published, by `weight`."""


NO_LOAD = Load()


def behind(sides: Mapping[Side, SideState], now: float) -> frozenset[Side]:
    """The sides that have records which the shard has not, or may have; they hold the other side back."""
    return frozenset(side for side, state in sides.items() if _holds(state, sides[OTHER[side]], now))


def _holds(state: SideState, other: SideState, now: float) -> bool:
    if state.highwater is None or state.waiting:
        return True
    if not state.caught_up:
        return now - max(state.arrived, state.opened) < SILENT
    known = state.asked >= other.given and now - state.asked < FRESH
    return not known and _may_answer(state, now)


def _may_answer(state: SideState, now: float) -> bool:
    return now - max(state.asked, state.opened) < SILENT


def too_new(asked: float, other: SideState, now: float) -> bool:
    """Whether records that were asked for then must wait for an answer about the other topic that is as new.

    That one seems to be caught up, and with newer records given to the shard nobody would know any more whether it is:
    where they come all the time and from another broker, its answers would always be older.
    """
    return other.caught_up and other.asked < asked and _may_answer(other, now)


def far_ahead(
    side: Side, sides: Mapping[Side, SideState], buffered: Mapping[Side, int], load: Load, now: float
) -> bool:
    """Whether a side has enough in the shard, where it waits for the other one: what is decoded long before it is
    joined is out of the processor's caches by then.

    Not when the worker has much in its inboxes: that would keep it from fetching what all of it waits for.
    """
    other = OTHER[side]
    enough = buffered.get(side, 0) >= ENOUGH > buffered.get(other, 0)
    return enough and 2 * load.waiting < WORKER_RECORDS and other in behind(sides, now)


def clock(sides: Mapping[Side, SideState], now: float, wall: float) -> Clock:
    """What the shard is told. Silence is what brokers answer: one that is away may be sent what we do not see, and once
    it is back, whoever sends has to find it first."""
    lagging = behind(sides, now)
    idle = not lagging and all(_silent(state, now) for state in sides.values())
    return Clock(now=wall, behind=lagging, idle=idle)


def _silent(state: SideState, now: float) -> bool:
    quiet = now - max(state.arrived, state.opened, state.heard) >= IDLE
    return state.caught_up and now - state.asked < FRESH and quiet


def weight(effects: Iterable[Outgoing]) -> int:
    """How many of `UNSENT_EFFECTS` these take."""
    return sum(1 + len(effect.value) // EFFECT_BYTES for effect in effects)


def slice_weight(records: Sequence[Record]) -> int:
    """How many of `INBOX_SLICES` a slice takes: only one large batch is more than 4 MB."""
    if len(records) > 100:
        return 1
    return 1 + sum(len(record.value or b"") for record in records) // SLICE_BYTES


def full(load: Load, unsent: int) -> bool:
    """Whether a shard may apply nothing more before its next checkpoint; `unsent` are its own effects."""
    return load.unsaved >= UNSAVED_RECORDS or load.unsent >= WORKER_EFFECTS or unsent >= UNSENT_EFFECTS


def held(
    sides: Mapping[Side, SideState], buffered: Mapping[Side, int], unsent: int, load: Load, now: float
) -> frozenset[Side]:
    """The sides of a shard that must not be fetched now."""
    if load.waiting >= WORKER_RECORDS or full(load, unsent):
        return frozenset(SIDES)
    lagging = behind(sides, now)
    return frozenset(
        side
        for side in SIDES
        if sides[side].waiting >= INBOX_RECORDS
        or sides[side].slices >= INBOX_SLICES
        or (buffered.get(side, 0) >= BUFFERED_RECORDS and OTHER[side] in lagging)
    )
