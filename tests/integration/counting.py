"""A small shard with the real one's interface: a join that counts, so that the engine is tested by sums alone.

Each outcome is an effect of its own when `chatty`; an outcome whose prediction is 1 and label 0 is an alert.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from stream.checkpoint.port import Delta
from stream.effects import SIDES, Channel, Clock, Outgoing, Record, Side
from stream.view import ShardView


class Event(msgspec.Struct, gc=False):
    """Both kinds of record."""

    id: str
    ts: float
    model: str = "m"
    prediction: int | None = None
    label: int | None = None


class Sums(msgspec.Struct):
    """The counting shard's main row."""

    next: dict[Side, int | None]
    seq: int = 0
    outcomes: int = 0
    correct: int = 0
    repeats: int = 0
    skipped: int = 0


_decode = msgspec.json.Decoder(Event).decode


class CountingShard:
    """See the module."""

    def __init__(self, partition: int, rows: Iterable[tuple[str, bytes]] | None, bugs: set[str] | None = None) -> None:
        self.partition = partition
        self.bugs = set() if bugs is None else bugs
        self.sums = Sums(next=dict.fromkeys(SIDES))
        self.waiting: dict[Side, dict[str, int]] = {side: {} for side in SIDES}
        self.outbox: list[Outgoing] = []
        self.urgent = False
        self.wanted: list[str] = []
        self.stored_only = self.garbage = 0
        self.clocks: list[Clock] = []
        self._put: dict[str, bytes] = {}
        self._delete: set[str] = set()
        for key, value in rows or ():
            if key == "sums":
                self.sums = msgspec.msgpack.decode(value, type=Sums)
            elif key.startswith("out/"):
                self.outbox.append(msgspec.msgpack.decode(value, type=Outgoing))
            else:
                side, _, name = key.partition("/")
                self.waiting["predictions" if side == "predictions" else "labels"][name] = int(value)

    @property
    def next(self) -> dict[Side, int | None]:
        return self.sums.next

    @property
    def buffered(self) -> Mapping[Side, int]:
        return dict.fromkeys(SIDES, 0)

    def apply(self, records: Mapping[Side, Sequence[Record]], clock: Clock) -> list[Outgoing]:
        self.clocks = [*self.clocks[-20:], clock]
        before = len(self.outbox)
        for side in SIDES:
            other: Side = "labels" if side == "predictions" else "predictions"
            for record in records.get(side, ()):
                self._take(side, other, record)
        return self.outbox[before:]

    def _take(self, side: Side, other: Side, record: Record) -> None:
        expected = self.sums.next[side]
        if expected is not None and record.offset != expected:
            self.sums.repeats += record.offset < expected
            self.sums.skipped += record.offset > expected
        event = _decode(record.value or b"")
        if event.id in self.bugs:
            self.bugs.remove(event.id)
            raise RuntimeError("planted")
        value = event.prediction if side == "predictions" else event.label
        assert value is not None
        if event.id in self.waiting[other]:
            partner = self.waiting[other].pop(event.id)
            key = f"{other}/{event.id}"
            self._put.pop(key, None)
            self._delete.add(key)
            self.sums.outcomes += 1
            self.sums.correct += partner == value
            if partner != value:
                self._say(Channel.ALERTS, event)
                self.urgent = True
        else:
            self.waiting[side][event.id] = value
            self._put[f"{side}/{event.id}"] = str(value).encode()
        self.sums.next[side] = record.offset + 1

    def _say(self, channel: Channel, event: Event) -> None:
        self.sums.seq += 1
        body = msgspec.json.encode({"id": event.id, "ts": event.ts})
        row = Outgoing(self.sums.seq, channel, event.model, body)
        self.outbox.append(row)
        self._put[f"out/{row.seq:012}"] = msgspec.msgpack.encode(row)

    def answer(self, rows: Mapping[str, bytes]) -> None:
        """Nothing is asked for: everything is in memory."""

    def patrol(self, rows: Mapping[str, bytes]) -> None:
        """Nothing is away."""

    def delta(self) -> Delta:
        put, delete = self._put, self._delete
        self._put, self._delete, self.urgent = {}, set(), False
        put["sums"] = msgspec.msgpack.encode(self.sums)
        return Delta(put, sorted(delete - put.keys()))

    def published(self, seq: int) -> None:
        for row in self.outbox:
            if row.seq <= seq:
                self._put.pop(f"out/{row.seq:012}", None)
                self._delete.add(f"out/{row.seq:012}")
        self.outbox = [row for row in self.outbox if row.seq > seq]

    def view(self) -> ShardView:
        return ShardView(self.partition, [], {}, self.sums.outcomes, 0)
