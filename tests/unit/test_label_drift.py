"""Drift of the classes that come true: an alert says so, per segment, the same however the stream is sliced."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from stream.config import Config, Model, Reference, Rule
from stream.effects import Channel, Clock, Side, StoredRecord
from stream.monitor.features.label_drift import Labels
from stream.shard import Shard

START, STEP, CHANGE, COUNT = 1_700_000_000.0, 0.05, 3_000, 6_000
BEHIND: frozenset[Side] = frozenset(("predictions", "labels"))
RULE = Rule(name="labels", feature="label", test="l_infinity", above=0.15, window=120.0, segment="*")
CONFIG = Config(
    models={
        "m": Model(
            task="multiclass",
            pane=60.0,
            windows=(120.0,),
            segments=("country",),
            reference=Reference(first=1000),
            rules=(RULE,),
        )
    }
)


def records() -> dict[Side, list[StoredRecord]]:
    """From CHANGE on, in BR dogs become common; predictions know it, so nothing is wrong but the mix."""
    rng = random.Random(1)
    found: dict[Side, list[StoredRecord]] = {"predictions": [], "labels": []}
    for number in range(COUNT):
        ts, country = START + number * STEP, rng.choice(("BR", "DE"))
        moved = number >= CHANGE and country == "BR"
        truth = rng.choices(("cat", "dog", "eel"), (0.2, 0.7, 0.1) if moved else (0.6, 0.3, 0.1))[0]
        guess: dict[str, object] = {"prediction": truth, "attributes": {"country": country}}
        bodies: dict[Side, dict[str, object]] = {"predictions": guess, "labels": {"label": truth}}
        for side, body in bodies.items():
            value = msgspec.json.encode({"model": "m", "ts": ts, "id": f"e{number}", **body})
            found[side].append(StoredRecord(len(found[side]), int(ts * 1000), value, b"m"))
    return found


def run(cut: int) -> tuple[Shard, list[dict[str, Any]]]:
    traffic, shard, found = records(), Shard(0, CONFIG), []
    for start in range(0, COUNT, cut):
        part = {side: held[start : start + cut] for side, held in traffic.items()}
        found += shard.apply(part, Clock(START + 1e6, BEHIND))
    found += shard.finish()
    return shard, [msgspec.json.decode(each.value) for each in found if each.channel is Channel.ALERTS]


def test_a_segment_whose_labels_have_moved_is_named() -> None:
    shard, alerts = run(COUNT)
    fired = [alert for alert in alerts if alert["state"] == "firing"]
    assert {alert["segment"] for alert in fired} == {"country=BR", "all"}
    first = min(fired, key=lambda alert: alert["ts"])
    assert first["segment"] == "country=BR"
    assert START + CHANGE * STEP < first["ts"] < START + CHANGE * STEP + 120
    assert first["kind"] == "data_drift"
    assert first["feature"] == "label"
    assert "l_infinity of label" in first["summary"]
    drift = shard.view().models[0].segments[0].windows[0].drift["label"]
    assert drift.l_infinity == pytest.approx(0.2, abs=0.05)
    assert run(701)[1] == alerts


def test_distances_are_those_of_scipy() -> None:
    reference, window = np.array([500, 300, 200]), np.array([0, 90, 60, 50])  # one more class, in another order
    labels = Labels(["a", "b", "c"], reference)
    names = ["d", "c", "b", "a"]
    p, q = reference / 1000, np.array([50, 60, 90, 0]) / 200
    padded = np.array([*p, 0.0])
    assert float(labels.distance("js", names, window)) == pytest.approx(jensenshannon(padded, q, base=2))
    assert float(labels.distance("l_infinity", names, window)) == pytest.approx(np.abs(padded - q).max())
    expected = stats.chi2_contingency(np.array([reference, [50, 60, 90]]), correction=False).pvalue
    assert float(labels.distance("chi2", names, window)) == pytest.approx(expected)
    assert labels.scores(names, window).ks is None
    unseen = np.array([100, 0, 0, 100])
    assert float(labels.distance("l_infinity", names, unseen)) == pytest.approx(0.5)
