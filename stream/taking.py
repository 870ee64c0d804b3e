"""One input topic of one shard: from bytes to events that wait for their tick.

Invariant: `next` is the offset of the first record that is not applied; what waits is read again after a restart, and
gets the same ticks then, because `reached` is stored with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from operator import call
from struct import error as packing_error
from typing import Generic, TypeVar, cast

import msgspec
import numpy as np
from msgspec import Struct

from stream.effects import CUT_BYTES, Record, Side, StoredRecord
from stream.events import MAX_RECORD_BYTES, Label, Prediction, Refusal, seconds
from stream.monitor.basis.columns import Floats, Ints, floats, whole
from stream.monitor.features.feature_rows import row_type, with_rows
from stream.monitor.rules.machine import TICK

Event = TypeVar("Event", Prediction, Label)

_LATEST = 253402300800.0
"""The year 10000, seconds: no event time is beyond."""

_EXPECTED, _SURPRISES = 256, 10
"""Keys whose features are expected, at most; when more than one in so many records has others, all are forgotten."""


class Bad(Struct):
    """A record that cannot be taken, and why."""

    side: Side
    record: Record
    reason: Refusal
    detail: str
    tick: int = 0
    size: int | None = None
    """Bytes of the original, where `record` holds just the beginning of it."""


class Ready(Struct, Generic[Event]):
    """Events and bad records of ticks that are complete, in order."""

    side: Side
    events: list[Event]
    records: list[Record]
    tick: Ints
    ts: Floats
    bad: list[Bad]


class _Part(Struct, Generic[Event]):
    """What one call brought and has not been given on."""

    events: list[Event]
    records: list[Record]
    tick: Ints
    ts: Floats


class Intake(Generic[Event]):
    """Decodes records of one side and hands them out tick by tick."""

    def __init__(self, side: Side, kind: type[Event], max_skew: float) -> None:
        self.side: Side = side
        self._kind: type[Event] = kind
        self._decode: Callable[..., Event] = msgspec.json.Decoder(kind).decode
        self._expecting: dict[bytes, Callable[..., Event]] = {}
        """Faster decoders by record key. They refuse other features than expected, and `_decode` takes over."""
        self._max_skew = max_skew
        self.reached = 0.0
        """Largest event time applied, seconds; the tick of a record is that of the largest event time before it."""
        self._ahead = 0.0
        """The same, over what waits too."""
        self._parts: list[_Part[Event]] = []
        self._bad: list[Bad] = []
        self._end: int | None = None
        """Offset behind the last record taken."""

    def restore(self, next_offset: int | None, reached: float) -> None:
        """Goes on from a checkpoint."""
        self._end = next_offset
        self.reached = self._ahead = reached

    @property
    def next(self) -> int | None:
        """Offset of the first record that is not applied; None while none was seen."""
        waiting = [part.records[0].offset for part in self._parts[:1]] + [one.record.offset for one in self._bad[:1]]
        return min(waiting, default=self._end)

    @property
    def waiting(self) -> int:
        """Records that wait for their tick."""
        return sum(len(part.events) for part in self._parts) + len(self._bad)

    @property
    def newest(self) -> int:
        """The tick that the newest record is in."""
        return int(self._ahead // TICK)

    @property
    def events(self) -> Iterator[Event]:
        """The events that wait for their tick."""
        return chain.from_iterable(part.events for part in self._parts)

    def expects(self, key: bytes) -> bool:
        """Whether `expect` was told of the key."""
        return key in self._expecting

    def expect(self, key: bytes, features: Sequence[str]) -> None:
        """Records with this key will have these features, it seems: they are decoded faster where that is so."""
        if len(self._expecting) >= _EXPECTED:
            self._expecting.clear()
        row = row_type(features)
        self._expecting[key] = self._decode if row is None else msgspec.json.Decoder(with_rows(self._kind, row)).decode

    def take(self, records: Sequence[Record], now: float, closed: int) -> Sequence[Event]:
        """Takes records in offset order and returns the events among them.

        Ticks below `closed` are done: late records are put into that one.
        """
        if self._end is not None and records and records[0].offset < self._end:
            records = [record for record in records if record.offset >= self._end]
        if not records:
            return ()
        self._ahead = max(self._ahead, closed * TICK)
        self._end = records[-1].offset + 1
        decoded = self._all_good(records, now)
        if decoded is None:
            return self._take_slowly(records, now)
        self._append(decoded[0], list(records), decoded[1])
        return decoded[0]

    def _all_good(self, records: Sequence[Record], now: float) -> tuple[list[Event], Floats] | None:
        """Events and their times when no record is bad, which is the usual case and the fast one."""
        values = [record.value for record in records]
        try:
            if max(map(len, values)) > MAX_RECORD_BYTES:  # type: ignore[arg-type]
                return None
            events = self._decoded(records, values) if self._expecting else list(map(self._decode, values))
            ts = _times(events)
        except (msgspec.MsgspecError, ValueError, OverflowError, TypeError, RecursionError):
            return None
        if not (ts.min() >= 0.0 and (newest := ts.max()) < _LATEST):
            return None
        appended = [record.timestamp for record in records]
        if newest > min(min(appended) / 1000.0, now) + self._max_skew:
            latest = np.minimum(whole(appended) / 1000.0, now) + self._max_skew
            return (events, ts) if (ts <= latest).all() else None
        return events, ts

    def _decoded(self, records: Sequence[Record], values: list[bytes | None]) -> list[Event]:
        """As `_decode` would, most of them faster."""
        keys = [record.key for record in records]
        decoders = map(self._expecting.get, keys, repeat(self._decode))  # type: ignore[arg-type]
        stream: Iterator[Event] = map(call, decoders, values)  # type: ignore[arg-type]
        events: list[Event] = []
        surprises = 0
        while len(events) < len(values):
            try:
                # An error leaves in `events` those before the bad one, and the iterator goes on behind it.
                events.extend(stream)
            except msgspec.ValidationError:
                events.append(self._decode(values[len(events)]))
                surprises += 1
        if surprises * _SURPRISES > len(values):
            self._expecting.clear()
        return events

    def _append(self, events: list[Event], records: list[Record], ts: Floats) -> None:
        reached = np.maximum.accumulate(np.concatenate(([self._ahead], ts)))[1:]
        self._ahead = float(reached[-1])
        self._parts.append(_Part(events, records, np.floor_divide(reached, TICK).astype(np.int64), ts))

    def _take_slowly(self, records: Sequence[Record], now: float) -> Sequence[Event]:
        """Record by record, where at least one is bad."""
        good: list[tuple[Event, Record, float]] = []
        reached = self._ahead
        for record in records:
            event = self._checked(record, now)
            if isinstance(event, Bad):
                event.tick = int(reached // TICK)
                self._bad.append(event)
                continue
            reached = max(reached, event[1])
            good.append((event[0], record, event[1]))
        if good:
            self._append([e for e, _, _ in good], [r for _, r, _ in good], np.array([ts for _, _, ts in good]))
        return [event for event, _, _ in good]

    def _checked(self, record: Record, now: float) -> tuple[Event, float] | Bad:
        """The event and its time, or what is wrong with it."""
        value = record.value
        if not value:
            return Bad(self.side, record, Refusal.EMPTY, "the record has no value")
        if len(value) > MAX_RECORD_BYTES:
            # Only the beginning waits for its tick.
            cut = StoredRecord(record.offset, record.timestamp, value[:CUT_BYTES], record.key)
            why = f"{len(value)} bytes, expected at most {MAX_RECORD_BYTES}"
            return Bad(self.side, cut, Refusal.TOO_LARGE, why, size=len(value))
        try:
            event: Event = self._decode(value)
        except msgspec.ValidationError as error:
            return Bad(self.side, record, Refusal.INVALID, str(error))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Bad(self.side, record, Refusal.NOT_JSON, str(error))
        try:
            ts = seconds(event.ts)
        except (ValueError, OverflowError) as error:
            return Bad(self.side, record, Refusal.BAD_TIME, str(error))
        append = record.timestamp / 1000.0
        ahead = ts - min(append, now)
        if ahead > self._max_skew:
            return Bad(self.side, record, Refusal.FUTURE, f"{ahead:.0f} s ahead, expected at most {self._max_skew:.0f}")
        return event, ts

    def ready(self, limit: int) -> Ready[Event]:
        """Gives on what is in ticks below `limit`."""
        events: list[Event] = []
        records: list[Record] = []
        ticks: list[Ints] = []
        times: list[Floats] = []
        while self._parts and self._parts[0].tick[0] < limit:
            part = self._parts[0]
            cut = int(np.searchsorted(part.tick, limit))
            if cut == len(part.events):
                self._parts.pop(0)
                events, records = events + part.events if events else part.events, records + part.records
                ticks.append(part.tick)
                times.append(part.ts)
                continue
            events, records = events + part.events[:cut], records + part.records[:cut]
            ticks.append(part.tick[:cut])
            times.append(part.ts[:cut])
            # Cut off in place: a copy of what goes on waiting would touch every event of it.
            del part.events[:cut], part.records[:cut]
            part.tick, part.ts = part.tick[cut:], part.ts[cut:]
        count = sum(1 for bad in self._bad if bad.tick < limit)
        bad, self._bad = self._bad[:count], self._bad[count:]
        ts = np.concatenate(times) if times else np.empty(0)
        if len(ts):
            self.reached = max(self.reached, float(ts.max()))
        return Ready(self.side, events, records, np.concatenate(ticks) if ticks else np.empty(0, np.int64), ts, bad)


def _times(events: list[Event]) -> Floats:
    """Event times in seconds. Raises ValueError or OverflowError when one is none."""
    raw = [event.ts for event in events]
    try:
        return floats(cast(list[float], raw))
    except packing_error:  # some are text
        return floats([seconds(ts) for ts in raw])
