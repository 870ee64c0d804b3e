"""Data quality in a shard: each flaw, by feature and segment, is what counting the raw events says."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import msgspec
import pytest

from stream.config import Config, Model, Reference, Rule
from stream.effects import Channel, Clock, Outgoing, StoredRecord
from stream.shard import Shard

START = 1_700_000_000.0
N, FIRST, TURN = 400, 150, 250
"""Predictions, those of the reference, and where the data turn bad."""


def events() -> list[dict[str, Any]]:
    """From `TURN` on, in Brazil: half of the amounts are missing, text or far out, and half of the words are new; then
    `speed` is stuck, some events come twice, and some have a feature more."""
    rng = random.Random(9)
    found = []
    for n in range(N):
        country = rng.choice(("BR", "DE"))
        features: dict[str, Any] = {
            "amount": rng.uniform(0, 10),
            "word": rng.choice("abc"),
            "speed": 5.0 if n >= TURN else float(rng.randrange(10)),
        }
        if n >= TURN and country == "BR":
            kind = rng.randrange(6)
            features["amount"] = [None, "much", 1000.0, *[features["amount"]] * 3][kind]
            features["word"] = "new" if kind % 2 else features["word"]
        if n >= TURN and n % 5 == 0:
            features["extra"] = 1.0
        event = {"model": "m", "id": str(n), "ts": START + n / 2, "prediction": rng.randrange(2)}
        found.append({**event, "features": features, "attributes": {"country": country}})
        if n >= TURN and n % 4 == 0:
            found.append(found[-1])
    return found


def run(sizes: Iterator[int], *rules: Rule) -> list[dict[str, Any]]:
    model = Model(
        pane=5.0, windows=(20.0,), segments=("country",), reference=Reference(first=FIRST), rules=rules, task="binary"
    )
    shard, effects = Shard(0, Config(models={"m": model})), list[Outgoing]()
    rows = [
        StoredRecord(offset, int(START * 1000), msgspec.json.encode(event), b"m")
        for offset, event in enumerate(events())
    ]
    while rows:
        size = next(sizes)
        effects += shard.apply({"predictions": rows[:size]}, Clock(START + 1e6, frozenset(("predictions",))))
        rows = rows[size:]
    effects += shard.finish()
    return [json.loads(effect.value) for effect in effects if effect.channel is Channel.ALERTS]


def inside(alert: dict[str, Any], segment: str) -> list[dict[str, Any]]:
    """The predictions behind an alert, each once."""
    until, start = alert["ts"], alert["window"]["start"]
    found = {event["id"]: event for event in events() if start <= event["ts"] < until}
    country = segment.removeprefix("country=")
    return [event for event in found.values() if segment == "all" or event["attributes"]["country"] == country]


FLAWS: dict[str, tuple[str, Any]] = {
    "missing_rate": ("amount", lambda value: value is None),
    "invalid_rate": ("amount", lambda value: isinstance(value, str)),
    "outside_rate": ("amount", lambda value: isinstance(value, float) and value > 10),
    "unseen_rate": ("word", lambda value: value == "new"),
}


@pytest.mark.parametrize("metric", FLAWS)
def test_flaws_are_counted_by_feature_and_segment(metric: str) -> None:
    feature, flawed = FLAWS[metric]
    rule = Rule(name="r", metric=metric, feature="*", segment="*", above=0.11, min_samples=15)
    found = run(repeat(10_000), rule)
    firing = [alert for alert in found if alert["state"] == "firing"]
    assert {alert["feature"] for alert in firing} == {feature}
    assert {alert["segment"] for alert in firing} >= {"country=BR"}
    assert "country=DE" not in {alert["segment"] for alert in firing}
    for alert in firing:
        events_behind = inside(alert, alert["segment"])
        bad = sum(flawed(event["features"][feature]) for event in events_behind)
        assert alert["samples"] == len(events_behind)
        assert alert["value"] == pytest.approx(bad / len(events_behind))
        assert alert["kind"] == "data_quality"
    for size in (1, 33):
        assert run(repeat(size), rule) == found


def test_a_feature_that_is_stuck_shows() -> None:
    rule = Rule(name="r", metric="constant_rise", feature="*", above=0.8, min_samples=10)
    found = run(repeat(10_000), rule)
    assert {(alert["feature"], alert["state"]) for alert in found} == {("speed", "firing")}
    assert found[0]["ts"] > START + TURN / 2 + 10
    assert run(repeat(7), rule) == found


def test_a_repeat_that_comes_alone_is_seen_at_its_own_tick() -> None:
    rule = Rule(name="r", metric="duplicate_rate", above=0.01, min_samples=10)
    event = {"model": "m", "prediction": 1}
    bodies = [{**event, "id": str(n), "ts": START + n} for n in range(12)] + [{**event, "id": "5", "ts": START + 15.0}]
    bodies.append({**event, "id": "12", "ts": START + 18.0})
    config = Config(models={"m": Model(windows=(60.0,), rules=(rule,), task="binary")})
    for size in (1, 20):
        shard, effects = Shard(0, config), list[Outgoing]()
        for start in range(0, len(bodies), size):
            part = [
                StoredRecord(start + i, int(START * 1000), msgspec.json.encode(body), b"m")
                for i, body in enumerate(bodies[start : start + size])
            ]
            effects += shard.apply({"predictions": part}, Clock(START + 1e6, frozenset(("predictions",))))
        effects += shard.finish()
        (alert,) = [json.loads(effect.value) for effect in effects if effect.channel is Channel.ALERTS]
        assert (alert["ts"], alert["value"]) == (START + 15.5, pytest.approx(1 / 13))


@pytest.mark.parametrize(("metric", "share"), [("duplicate_rate", 1 / 5), ("unknown_feature_rate", 1 / 5)])
def test_repeats_and_features_that_nobody_knows(metric: str, share: float) -> None:
    rule = Rule(name="r", metric=metric, above=share * 0.9, min_samples=10)
    found = run(repeat(10_000), rule)
    assert found
    assert found[0]["ts"] > START + TURN / 2
    assert found[0]["value"] == pytest.approx(share, rel=0.15)
    for size in (1, 33):
        assert run(repeat(size), rule) == found


def test_what_has_left_the_window_counts_no_more() -> None:
    model = Model(pane=5.0, windows=(20.0,), reference=Reference(first=FIRST), rules=(), task="binary")
    shard = Shard(0, Config(models={"m": model}))
    shard.apply(
        {
            "predictions": [
                StoredRecord(offset, int(START * 1000), msgspec.json.encode(event), b"m")
                for offset, event in enumerate(events())
            ]
        },
        Clock(START + 1e6, frozenset(("predictions",))),
    )
    shard.finish()
    (window,) = shard.view().models[0].segments[0].windows
    last = [event for event in events() if event["ts"] >= START + N / 2 - 15.0]  # the pane that begins then is empty
    once = {event["id"]: event for event in last}
    found = {name: window.service[name].value for name in ("duplicate_rate", "unknown_feature_rate")}
    odd = sum("extra" in event["features"] for event in once.values())
    assert found == {
        "duplicate_rate": pytest.approx(1 - len(once) / len(last)),
        "unknown_feature_rate": pytest.approx(odd / len(once)),
    }
