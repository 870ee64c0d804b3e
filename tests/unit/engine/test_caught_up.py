"""A topic is caught up only when all that was fetched was given to the shard."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

from stream.effects import SIDES, Clock, Side, StoredRecord
from stream.engine.flow import behind
from stream.engine.owned import Owned
from stream.engine.parts import Parts
from stream.engine.slices import Progress, Seek, Slice


class Taking:
    """A shard that takes everything."""

    def __init__(self) -> None:
        self.next: dict[Side, int | None] = dict.fromkeys(SIDES, 0)
        self.wanted: list[str] = []
        self.urgent = False
        self.outbox: list[Any] = []
        self.buffered: dict[Side, int] = dict.fromkeys(SIDES, 0)

    def apply(self, records: dict[Side, list[StoredRecord]], clock: Clock) -> list[Any]:
        return []


def opened() -> Owned:
    silent = SimpleNamespace(observe=lambda _: None)
    parts = SimpleNamespace(timings=SimpleNamespace(apply=silent))
    owned = Owned(0, 1, cast(Any, Taking()), cast(Parts, parts))
    owned.open = True
    owned.inbox.attach({side: Seek(number) for number, side in enumerate(SIDES)})
    return owned


def test_a_slice_on_its_way_from_the_client_keeps_its_topic_behind() -> None:
    owned = opened()
    # The client has handed out both topics to their ends: one slice of labels, which has not come yet.
    now = time.monotonic()
    owned.inbox.look("predictions", Progress(0, 0, 0, now))
    owned.inbox.look("labels", Progress(3, 3, 1, now))
    assert behind(owned.inbox.sides, time.monotonic()) == {"labels"}

    records = [StoredRecord(offset, 0, b"") for offset in range(3)]
    assert owned.inbox.take(Slice("labels", 0, 1, 0, cast(Any, records), now), "labels", lambda: None)
    assert behind(owned.inbox.sides, time.monotonic()) == {"labels"}
    owned.apply(lambda: Clock(0.0))
    owned.inbox.look("labels", Progress(3, 3, 1, now))
    assert not behind(owned.inbox.sides, time.monotonic())


def test_a_position_read_while_records_are_drained_is_not_believed() -> None:
    owned = opened()
    for side in SIDES:
        owned.inbox.look(side, Progress(None, 3, 0, time.monotonic()))
    assert behind(owned.inbox.sides, time.monotonic()) == set(SIDES)


def test_a_topic_without_records_does_not_hold_up_one_whose_records_are_always_newer() -> None:
    """They come from two brokers: what one says of the end was asked for before the other had sent its last."""
    owned = opened()
    begun = time.monotonic()
    lags = []
    for number in range(20):
        asked = begun + number / 100
        owned.inbox.look("labels", Progress(0, 0, 0, asked - 0.005))
        owned.inbox.look("predictions", Progress(number + 1, number + 1, number + 1, asked))
        part = Slice("predictions", 0, 0, number, [StoredRecord(number, 0, b"")], asked)
        assert owned.inbox.take(part, "predictions", lambda: None)
        owned.apply(lambda: Clock(0.0))
        lags.append(number + 1 - owned.inbox.sides["predictions"].taken)
        assert "labels" not in behind(owned.inbox.sides, asked)
    assert set(lags) == {1}
