"""A shard tells of lost performance before any label does, and says nothing without scores."""

from __future__ import annotations

import json
import random

import msgspec

from stream.config import Config, Model, Rule
from stream.effects import Channel, Clock, Side, StoredRecord
from stream.shard import Shard

START = 1_700_000_000.0
HALF = 600
RULE = Rule(name="expected", metric="estimated_accuracy", window=60.0, below=0.75, min_samples=100)
CONFIG = Config(models={"m": Model(pane=10.0, windows=(60.0,), rules=(RULE,))})


def run(*, scored: bool) -> tuple[Shard, list[dict[str, object]]]:
    """Sure predictions with labels; then unsure ones, whose labels never come."""
    rng = random.Random(1)
    events: dict[Side, list[object]] = {"predictions": [], "labels": []}
    for number in range(2 * HALF):
        sure = number < HALF
        score = round(rng.choice((0.05, 0.95)) if sure or rng.random() < 0.1 else rng.choice((0.4, 0.6)), 2)
        event = {"model": "m", "id": str(number), "ts": START + number * 0.2, "prediction": int(score > 0.5)}
        events["predictions"].append({**event, "score": score} if scored else event)
        if sure:
            label = int((score > 0.5) != (rng.random() < 0.05))
            events["labels"].append({"model": "m", "id": str(number), "ts": event["ts"], "label": label})
    # A few unsure outcomes are known from before, so that 0.4 and 0.6 have a meaning.
    for number in range(200):
        score = rng.choice((0.4, 0.6))
        ts = START + number * 0.01
        event = {"model": "m", "id": f"u{number}", "ts": ts, "prediction": int(score > 0.5)}
        events["predictions"].insert(number, {**event, "score": score} if scored else event)
        label = int(rng.random() < score)
        events["labels"].insert(number, {"model": "m", "id": f"u{number}", "ts": ts, "label": label})
    shard = Shard(0, CONFIG)
    records = {
        side: [StoredRecord(i, int(START * 1000), msgspec.json.encode(each), b"m") for i, each in enumerate(found)]
        for side, found in events.items()
    }
    effects = shard.apply(records, Clock(START + 1e6, frozenset(("predictions", "labels"))))
    effects += shard.finish()
    return shard, [json.loads(effect.value) for effect in effects if effect.channel is Channel.ALERTS]


def test_unsure_scores_alert_before_labels_come() -> None:
    shard, alerts = run(scored=True)
    last = alerts[-1]
    assert last["kind"] == "estimated_performance"
    assert last["state"] == "firing"
    assert last["metric"] == "estimated_accuracy"
    assert START + HALF * 0.2 < float(str(last["started_at"])) < START + HALF * 0.2 + 60
    window = shard.view().models[0].segments[0].windows[0]
    assert window.labels == 0
    assert "accuracy" not in window.metrics
    found = window.estimates["accuracy"].value
    assert found is not None
    assert 0.5 < found < 0.75
    assert window.estimates["accuracy"].samples == window.predictions


def test_without_scores_nothing_is_estimated() -> None:
    shard, alerts = run(scored=False)
    assert alerts == []
    assert shard.view().models[0].segments[0].windows[0].estimates == {}
