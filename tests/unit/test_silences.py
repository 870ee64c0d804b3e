"""Silences: what is held back, what comes out when they end, and that it is the same however the stream is cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import msgspec
import pytest

from stream.config import Config, Model, Rule, Silence
from stream.effects import Channel, Clock, Outgoing, StoredRecord
from stream.monitor.rules.silences import Silences
from stream.shard import Shard
from stream.view import ModelView

START = 1_700_000_000.0
RULE = Rule(name="failures", metric="prediction_error_rate", above=0.5, min_samples=5)
BAD, GOOD, END = 20, 60, 120
"""Seconds: predictions fail from the first to the second of them."""


def config(*silences: Silence, **fields: Any) -> Config:
    model = Model(pane=5.0, windows=(10.0,), rules=(RULE,), **fields)
    return Config(models={"m": model}, silences=silences)


def records() -> list[StoredRecord]:
    found = []
    for second in range(END):
        event: dict[str, Any] = {"model": "m", "id": str(second), "ts": START + second, "prediction": 1}
        if BAD <= second < GOOD:
            event |= {"prediction": None, "error": "down"}
        found.append(StoredRecord(second, int(START * 1000), msgspec.json.encode(event), b"m"))
    return found


def run(shard: Shard, sizes: Iterator[int], rows: list[StoredRecord] | None = None) -> list[Outgoing]:
    rows, effects = records() if rows is None else rows, []
    while rows:
        size = next(sizes)
        part, rows = rows[:size], rows[size:]
        effects += shard.apply({"predictions": part}, Clock(START + 1e6, frozenset(("predictions",))))
    return effects + shard.finish()


def told(effects: list[Outgoing]) -> list[tuple[str, float]]:
    alerts = [json.loads(effect.value) for effect in effects if effect.channel is Channel.ALERTS]
    assert not any("silenced" in alert for alert in alerts)
    return [(alert["state"], alert["ts"] - START) for alert in alerts]


def view(shard: Shard) -> ModelView:
    return shard.view().models[0]


LOUD = told(run(Shard(0, config()), repeat(END)))


def test_without_a_silence_it_fires_and_resolves() -> None:
    assert [state for state, _ in LOUD] == ["firing", "resolved"]


@pytest.mark.parametrize(
    "silence",
    [Silence(model="m"), Silence(rule="failures"), Silence(segment="all"), Silence(model="m", until=START + END)],
)
def test_what_a_silence_covers_is_counted_and_shown_and_not_published(silence: Silence) -> None:
    shard = Shard(0, config(silence))
    assert told(run(shard, repeat(END))) == []
    assert view(shard).alerts_total == {("failures", "warning"): 1}
    assert [(alert.state, alert.silenced) for alert in view(shard).alerts] == [("resolved", True), ("firing", True)]
    assert not view(shard).rules[0].silenced, "it does not fire any more"


@pytest.mark.parametrize("silence", [Silence(model="other"), Silence(rule="low"), Silence(segment="country=BR")])
def test_what_it_does_not_cover_is_published(silence: Silence) -> None:
    assert told(run(Shard(0, config(silence)), repeat(END))) == LOUD


def test_an_alert_that_still_fires_when_the_silence_ends_is_published_then() -> None:
    shard = Shard(0, config(Silence(model="m", until=START + 40.2)))
    effects = run(shard, repeat(10), records()[:40])
    assert told(effects) == []
    assert view(shard).rules[0].silenced
    effects = run(shard, repeat(10), records()[40:45])
    assert told(effects) == LOUD[:1], "with the time at which it began to fire"
    assert not view(shard).rules[0].silenced
    assert [alert.silenced for alert in view(shard).alerts] == [False]
    assert told(run(shard, repeat(10), records()[45:])) == LOUD[1:]


def test_a_silence_that_begins_later_does_not_keep_an_alert_from_being_resolved() -> None:
    silences = Silences()
    shard = Shard(0, config(), silences=silences)
    assert told(run(shard, repeat(10), records()[:40])) == LOUD[:1]
    silences.given = (Silence(model="m"),)
    assert told(run(shard, repeat(10), records()[40:])) == LOUD[1:]


def test_a_silence_that_is_taken_back_lets_the_alert_out() -> None:
    silences = Silences()
    silences.given = (Silence(rule="failures", until=START + 1e6),)
    shard = Shard(0, config(), silences=silences)
    assert told(run(shard, repeat(10), records()[:40])) == []
    silences.given = ()
    assert told(run(shard, repeat(10), records()[40:42])) == LOUD[:1]


def test_time_alone_lets_an_alert_out() -> None:
    shard = Shard(0, config(Silence(model="m", until=START + 50)))
    shard.apply({"predictions": records()[:40]}, Clock(START + 39))
    assert not shard.urgent
    shard.apply({}, Clock(START + 39.5))
    effects = [shard.apply({}, Clock(START + 39 + second, idle=True)) for second in range(20)]
    assert [told(each) for each in effects if told(each)] == [LOUD[:1]]
    assert shard.urgent


@pytest.mark.parametrize("until", [30.0, 40.2, 45.0, 69.9, None])
def test_slicing_and_restarts_change_nothing(until: float | None) -> None:
    silenced = config(Silence(model="m", until=None if until is None else START + until))
    whole = [effect.value for effect in run(Shard(0, silenced), repeat(END))]
    for size in (1, 7, 50):
        assert [effect.value for effect in run(Shard(0, silenced), repeat(size))] == whole
    shard, rows, effects = Shard(0, silenced), dict[str, bytes](), list[Outgoing]()
    for start in range(0, END, 9):
        part = records()[start : start + 9]
        effects += shard.apply({"predictions": part}, Clock(START + 1e6, frozenset(("predictions",))))
        delta = shard.delta()
        rows = {key: row for key, row in rows.items() if key not in delta.delete} | delta.put
        shard = Shard.restore(0, silenced, sorted(rows.items()))
        next_offset = shard.next["predictions"] or 0
        shard.apply(
            {"predictions": records()[next_offset : start + 9]}, Clock(START + 1e6, frozenset(("predictions",)))
        )
    effects += shard.finish()
    assert [effect.value for effect in effects] == whole
