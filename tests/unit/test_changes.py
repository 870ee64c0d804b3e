"""Rules by change: what a model does now against what it did at reference, from its first events or from files."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, roc_auc_score

from stream.config import Config, Model, Reference, Rule
from stream.effects import Channel, Clock, Side, StoredRecord
from stream.profile import build
from stream.shard import Shard

START = 1_700_000_000.0
N = 400
FIRST, STEP = 200, 0.5


def events(seed: int = 3, worse: range = range(250, N)) -> dict[Side, list[dict[str, Any]]]:
    """N predictions whose labels come 20 s later; some of them are a coin."""
    rng = random.Random(seed)
    found: dict[Side, list[dict[str, Any]]] = {"predictions": [], "labels": []}
    for number in range(N):
        score = rng.random()
        truth = rng.random() < (0.5 if number in worse else 0.05 + 0.9 * (score > 0.5))
        event: dict[str, Any] = {"model": "m", "id": str(number), "ts": START + number * STEP}
        country = rng.choice(("BR", "DE"))
        found["predictions"].append(
            {**event, "prediction": int(score > 0.5), "score": score, "attributes": {"country": country}}
        )
        found["labels"].append({**event, "ts": event["ts"] + 20.0, "label": int(truth)})
    return found


def run(
    config: Config,
    sizes: Iterator[int],
    references: dict[str, Any] | None = None,
    worse: range = range(250, N),
) -> list[dict[str, Any]]:
    shard, effects = Shard(0, config, references), []
    records = {
        side: [StoredRecord(i, int(START * 1000), msgspec.json.encode(each), b"m") for i, each in enumerate(rows)]
        for side, rows in events(worse=worse).items()
    }
    at = 0
    behind: frozenset[Side] = frozenset(("predictions", "labels"))
    while at < N:
        size = next(sizes)
        part = {side: rows[at : at + size] for side, rows in records.items()}
        effects += shard.apply(part, Clock(START + 1e6, behind))
        at += size
    effects += shard.finish()
    return [json.loads(effect.value) for effect in effects if effect.channel is Channel.ALERTS]


def config(*rules: Rule, **fields: Any) -> Config:
    model = Model(pane=10.0, windows=(60.0,), reference=Reference(first=FIRST), rules=rules, **fields)
    return Config(models={"m": model})


def rule(metric: str, **fields: Any) -> Rule:
    return Rule(name="change", metric=metric, min_samples=30, **fields)


def truth(metric: str, count: int = FIRST, country: str | None = None) -> float:
    """What scikit-learn says of the first predictions."""
    rows = events()
    picked = [i for i in range(count) if country in (None, rows["predictions"][i]["attributes"]["country"])]
    actual = [rows["labels"][i]["label"] for i in picked]
    if metric == "roc_auc":
        return float(roc_auc_score(actual, [rows["predictions"][i]["score"] for i in picked]))
    return float(accuracy_score(actual, [rows["predictions"][i]["prediction"] for i in picked]))


@pytest.mark.parametrize(
    ("metric", "change", "bound"),
    [
        ("accuracy", {"drop": 0.05}, lambda normal: normal - 0.05),
        ("accuracy", {"drop": "10%"}, lambda normal: normal * 0.9),
        ("roc_auc", {"drop": "10%"}, lambda normal: normal * 0.9),
    ],
)
def test_a_drop_below_the_reference_fires_and_says_what_it_is_compared_with(
    metric: str, change: dict[str, Any], bound: Any
) -> None:
    first, *_ = run(config(rule(metric, **change)), repeat(N))
    normal = truth(metric)
    assert first["state"] == "firing"
    assert first["reference"] == pytest.approx(normal, abs=1e-9)
    assert first["threshold"] == pytest.approx(bound(normal), abs=1e-9)
    assert first["value"] < first["threshold"]
    assert first["ts"] > START + 250 * STEP
    assert f"compared with {normal:.4g} at reference, below " in first["summary"]
    assert first["summary"].startswith(f"{metric} of m fell to ")


def test_intervals_that_part_fire() -> None:
    first, *_ = run(config(rule("accuracy", drop="interval")), repeat(N))
    normal = truth("accuracy")
    low = stats.binomtest(round(normal * FIRST), FIRST).proportion_ci(method="wilson").low
    assert first["reference"] == pytest.approx(normal)
    assert first["upper"] < low
    assert "below it by more than 95 % intervals" in first["summary"]


def test_segments_are_compared_with_themselves() -> None:
    alerts = run(config(rule("accuracy", drop=0.1, segment="*"), segments=("country",)), repeat(N))
    firing = {alert["segment"]: alert for alert in alerts if alert["state"] == "firing"}
    assert {"country=BR", "country=DE"} <= set(firing)
    for country in ("BR", "DE"):
        assert firing[f"country={country}"]["reference"] == pytest.approx(truth("accuracy", country=country))


def test_an_improvement_is_no_drop_and_a_rise_has_its_own_bound() -> None:
    assert run(config(rule("error_rate", drop=0.2)), repeat(N)) == []
    assert run(config(rule("error_rate", rise=0.05)), repeat(N))


def test_nothing_is_compared_before_the_reference_is_whole() -> None:
    late = Model(pane=10.0, windows=(60.0,), reference=Reference(first=N + 1), rules=(rule("accuracy", drop=0.05),))
    assert run(Config(models={"m": late}), repeat(N)) == []


def test_a_bad_stretch_within_the_reference_is_compared_with_nothing() -> None:
    """Before the last of the first predictions has come there is no reference, in whichever slice it comes."""
    rules, stretch = config(rule("accuracy", drop=0.1)), range(100, 160)
    whole = run(rules, repeat(N), worse=stretch)
    assert all(alert["ts"] > START + (FIRST - 1) * STEP for alert in whole)
    assert run(rules, repeat(5), worse=stretch) == whole


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.long), 7, 150])
def test_slicing_changes_nothing(size: int) -> None:
    rules = config(
        rule("accuracy", drop=0.05, hold=3.0),
        Rule(name="auc", metric="roc_auc", drop="5%", rise="20%", recover="2%", min_samples=20),
        Rule(name="parted", metric="log_loss", rise="interval", min_samples=20),
    )
    whole = run(rules, repeat(N))
    assert {alert["rule"] for alert in whole} == {"change", "auc", "parted"}
    assert run(rules, repeat(size)) == whole


def test_a_reference_from_files_brings_its_performance(tmp_path: Path) -> None:
    files = {side: tmp_path / f"{side}.jsonl" for side in ("predictions", "labels")}
    for side, rows in events().items():
        files[side].write_bytes(b"\n".join(map(msgspec.json.encode, rows[:FIRST])))
    rules = config(rule("roc_auc", drop=0.05, segment="*"), segments=("country",))
    reference = build(rules, "m", [files["predictions"]], [files["labels"]])
    alerts = run(rules, repeat(50), {"m": reference})
    firing = {alert["segment"]: alert for alert in alerts if alert["state"] == "firing"}
    assert firing["all"]["reference"] == pytest.approx(truth("roc_auc"), abs=1e-9)
    assert firing["country=BR"]["reference"] == pytest.approx(truth("roc_auc", country="BR"), abs=1e-9)


def test_a_window_that_holds_the_reference_alone_has_not_changed() -> None:
    """The whole first half, labelled, against itself."""
    steady = config(rule("accuracy", drop="interval"), rule("accuracy", rise="interval"))
    alerts = [alert for alert in run(steady, repeat(N)) if alert["ts"] < START + FIRST * STEP]
    assert alerts == []
    assert np.isfinite(truth("accuracy"))
