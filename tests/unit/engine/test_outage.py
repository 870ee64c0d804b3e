"""What is alerted through an outage of the broker is what the log says, as if it had been read as a backlog."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from stream.config import Config, Model, Rule
from stream.effects import SIDES, Channel, Clock, Outgoing, Record, Side, StoredRecord
from stream.engine import flow, inbox
from stream.engine.inbox import Inbox
from stream.engine.slices import Progress, Seek, Slice
from stream.monitor.rules.machine import TICK
from stream.shard import Shard

START = 1_700_000_000.0
POLL = 0.1
INCIDENT = (60.0, 72.0)
END = 100.0

WRONG = Rule(name="wrong", metric="accuracy", below=0.5, recover=0.75, window=10.0, min_samples=15)
CONFIG = Config(models={"m": Model(pane=5.0, windows=(10.0,), rules=(WRONG,))})

Log = dict[Side, list[StoredRecord]]


def log() -> Log:
    """Twenty predictions a second, labels a second later; all labels of the incident are wrong."""
    found: Log = {side: [] for side in SIDES}
    for number in range(int(END * 20)):
        at = number / 20
        right = not INCIDENT[0] <= at < INCIDENT[1]
        for side, ts, body in (
            ("predictions", at, {"prediction": 1}),
            ("labels", at + 1.0, {"label": 1 if right else 0}),
        ):
            value = {"model": "m", "id": f"e{number}", "ts": START + ts, **body}
            found[side].append(StoredRecord(number, int((START + ts) * 1000), msgspec.json.encode(value), b"m"))  # type: ignore[index]
    return found


LOG = log()


class Client:
    """aiokafka's fetcher as the engine sees it: asks every `POLL` seconds for what is not read yet."""

    def __init__(self, written: Callable[[Side, float], float], answers: Callable[[Side, float], bool]) -> None:
        """`written` says when an event of that time, in seconds after the beginning, is in the log, and `answers`
        whether a partition is answered."""
        self._written = {
            side: np.maximum.accumulate([written(side, record.timestamp / 1000 - START) for record in LOG[side]])
            for side in SIDES
        }
        self._answers = answers
        self._position = dict.fromkeys(SIDES, 0)
        self._slices = dict.fromkeys(SIDES, 0)
        self.progress: dict[Side, Progress] = dict.fromkeys(SIDES, Progress())

    def poll(self, now: float) -> Iterator[tuple[Side, Slice]]:
        for side in SIDES:
            if not self._answers(side, now):
                continue
            first, end = self._position[side], int(np.searchsorted(self._written[side], now, side="right"))
            if end > first:
                records: list[Record] = [*LOG[side][first:end]]
                yield side, Slice(side, 0, 1, self._slices[side], records, now)
                self._slices[side] += 1
                self._position[side] = end
            self.progress[side] = Progress(end, end, self._slices[side], now)


def watched(monkeypatch: pytest.MonkeyPatch, client: Client, before: float = 0.0) -> list[tuple[float, Outgoing]]:
    """What a shard decides and when, in seconds after the beginning; the monotonic clock is `before` ahead of that."""
    now = before
    monkeypatch.setattr(inbox, "time", SimpleNamespace(monotonic=lambda: now))
    box, shard = Inbox(dict.fromkeys(SIDES, None)), Shard(0, CONFIG)
    seeks: dict[Side, Seek] = {side: Seek(1) for side in SIDES}
    box.attach(seeks)
    said = []
    for step in range(int((END + 10) / POLL)):
        now = before + step * POLL
        for side, part in client.poll(now - before):
            moved = Slice(side, 0, 1, part.number, part.records, part.asked + before)
            seeks[side].slices += 1
            box.expect(moved, side)
            assert box.take(moved, side, lambda: None)
        for _ in range(2):
            for side in SIDES:
                seen = client.progress[side]
                box.look(side, Progress(seen.position, seen.highwater, seen.slices, seen.asked + before))
            records = box.next_records(shard.buffered, flow.NO_LOAD, lambda _: 8000)
            decided = shard.apply(records, flow.clock(box.sides, now, START + now - before))
            said += [(now - before, row) for row in decided if row.channel is Channel.ALERTS]
    return said


def backlog() -> list[bytes]:
    """What the log says."""
    shard = Shard(0, CONFIG)
    shard.apply({side: [*LOG[side]] for side in SIDES}, Clock(now=START + END, behind=frozenset(SIDES)))
    shard.finish()
    return [row.value for row in shard.outbox if row.channel is Channel.ALERTS]


def told(values: Iterable[bytes]) -> list[tuple[str, float]]:
    """State and time of alerts."""
    alerts = [msgspec.json.decode(value) for value in values]
    return [(alert["state"], alert["ts"] - START) for alert in alerts]


def as_the_log_says(said: list[tuple[float, Outgoing]]) -> bool:
    """The same alerts; where the clock closes a tick, one may move by that."""
    found, expected = told(row.value for _, row in said), told(backlog())
    return len(found) == len(expected) == 2 and all(
        state == other and abs(ts - truth) <= TICK for (state, ts), (other, truth) in zip(found, expected, strict=True)
    )


def at_once(_side: Side, ts: float) -> float:
    return ts


def always(_side: Side, _now: float) -> bool:
    return True


def test_undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    said = watched(monkeypatch, Client(at_once, always), before=500.0)
    assert as_the_log_says(said)
    assert all(at - ts < 1.0 for (at, _), (_, ts) in zip(said, told(row.value for _, row in said), strict=True))


@pytest.mark.parametrize(("lasts", "found_after"), [(4.0, 0.0), (8.0, 0.0), (20.0, 0.0), (20.0, 2.0), (15.0, 4.0)])
def test_an_outage_loses_no_incident(monkeypatch: pytest.MonkeyPatch, lasts: float, found_after: float) -> None:
    """Whoever sends cannot write either, and finds the broker later than we do."""
    begins = 58.0
    ends = begins + lasts

    def written(_side: Side, ts: float) -> float:
        # All that was written was read, too: what is left would say that the broker is back.
        return ts if not begins - 2 * POLL <= ts < ends + found_after else ends + found_after

    said = watched(monkeypatch, Client(written, lambda _, now: not begins <= now < ends), before=500.0)
    assert as_the_log_says(said)


@pytest.mark.parametrize("later", SIDES)
def test_a_partition_that_answers_later_than_the_other_loses_no_incident(
    monkeypatch: pytest.MonkeyPatch, later: Side
) -> None:
    """Its broker is still starting, or does not lead the partition yet."""

    def answers(side: Side, now: float) -> bool:
        return not 58.0 <= now < (83.0 if side == later else 80.0)

    def written(_side: Side, ts: float) -> float:
        return ts if not 58.0 <= ts < 80.0 else 80.0

    said = watched(monkeypatch, Client(written, answers), before=500.0)
    assert as_the_log_says(said)


@pytest.mark.parametrize("slow", SIDES)
def test_a_topic_that_answers_by_turns_holds_nobody_up(monkeypatch: pytest.MonkeyPatch, slow: Side) -> None:
    """Its partition is on another broker: whatever comes of the other topic is newer than its last answer."""

    def answers(side: Side, now: float) -> bool:
        return side != slow or round(now / POLL) % 2 == 0

    said = watched(monkeypatch, Client(at_once, answers), before=500.0)
    assert as_the_log_says(said)
    assert all(at - ts < 1.2 for (at, _), (_, ts) in zip(said, told(row.value for _, row in said), strict=True))
