"""A rule says when a metric and its estimate without labels part by more than sampling explains, and is quiet else."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from stream.config import Config, Model, Rule
from stream.effects import Channel, Clock, Side, StoredRecord
from stream.monitor.basis.intervals import wilson
from stream.monitor.estimates.estimate import Estimator, expected
from stream.monitor.estimates.guesses import Counts
from stream.monitor.metrics.layout import Layout
from stream.monitor.watching import apart
from stream.shard import Shard
from tests.unit.monitor.outcome_data import as_outcomes

START = 1_700_000_000.0
RATE = 20.0
BEHIND: frozenset[Side] = frozenset(("predictions", "labels"))
METRICS = {
    "binary": ("accuracy", "f1", "roc_auc"),
    "multiclass": ("accuracy", "f1_macro"),
    "regression": ("mae", "rmse", "smape"),
    "heavy": ("mae", "rmse"),
}

Records = dict[Side, list[StoredRecord]]


@cache
def traffic(kind: str, seed: int, count: int, drift: int | None = None, mixed: int | None = None) -> Records:
    """A model whose scores are not calibrated, or whose errors grow with a feature and have heavy tails, with labels
    that come after 20 seconds on average. From `drift` on errors are more; from `mixed` on predictions are unsurer."""
    rng = np.random.default_rng(seed)
    bodies: dict[Side, list[tuple[float, dict[str, Any]]]] = {"predictions": [], "labels": []}
    for number in range(count):
        ts = START + number / RATE
        off, unsure = drift is not None and number >= drift, mixed is not None and number >= mixed
        size = float(rng.uniform(0.7 if unsure else 0.0, 1.0))
        said: dict[str, Any]
        truth: float | str
        if kind == "binary":
            score = round(float(rng.uniform(0.3, 0.7) if unsure else rng.beta(0.5, 0.8)), 4)
            chance = 0.9 * score**1.5 + 0.03
            said, truth = {"prediction": int(score > 0.5), "score": score}, int(rng.random() < chance)
            truth = int(rng.random() < 0.25 + 0.5 * chance) if off else truth
        elif kind == "multiclass":
            share = np.exp(rng.normal(0, 0.3 if unsure else 1.0, 3))
            chances = share ** (0.2 if off else 0.6)
            said = {"prediction": "abc"[int(share.argmax())]}
            said["scores"] = dict(zip("abc", (share / share.sum()).round(4).tolist(), strict=True))
            truth = "abc"[int(rng.choice(3, p=chances / chances.sum()))]
        else:
            guess = float(rng.lognormal(3, 0.5))
            error = float(rng.standard_t(3) if kind == "regression" else rng.normal() * rng.lognormal(0, 1.2))
            said, truth = {"prediction": guess}, guess + error * size * (2.5 if off else 1.0)
        shared = {"model": "m", "id": str(number), "attributes": {"land": "BR" if number % 3 else "DE"}}
        bodies["predictions"].append((ts, {**shared, **said, "ts": ts, "features": {"size": size}}))
        at = ts + float(rng.exponential(20.0))
        bodies["labels"].append((at, {"model": "m", "id": str(number), "ts": at, "label": truth}))
    found: Records = {"predictions": [], "labels": []}
    for side, rows in bodies.items():
        for offset, (ts, body) in enumerate(sorted(rows, key=lambda row: row[0])):
            found[side].append(StoredRecord(offset, int(ts * 1000), msgspec.json.encode(body), b"m"))
    return found


def said(record: StoredRecord) -> dict[str, Any]:
    assert record.value is not None
    body: dict[str, Any] = json.loads(record.value)
    return body


def config(kind: str, segment: str = "all", **more: Any) -> Config:
    rules = tuple(
        Rule(name=name, metric=name, against="estimate", window=60.0, segment=segment, **more) for name in METRICS[kind]
    )
    return Config(models={"m": Model(pane=10.0, windows=(60.0, 600.0), segments=("land",), rules=rules)})


def alerts(records: Records, config: Config, span: float = 50.0, restarts: bool = False) -> list[dict[str, Any]]:
    """What comes of records that are applied as event time passes."""
    shard, found, rows = Shard(0, config), dict[int, bytes](), dict[str, bytes]()
    times = {side: [record.timestamp / 1000 for record in held] for side, held in records.items()}
    last = max(held[-1] for held in times.values())
    for until in np.arange(START + span, last + 2 * span, span).tolist():
        part = {
            side: records[side][shard.next[side] or 0 : int(np.searchsorted(held, until))]
            for side, held in times.items()
        }
        decided = shard.apply(part, Clock(until, BEHIND))
        found |= {each.seq: each.value for each in decided if each.channel is Channel.ALERTS}
        if restarts:
            delta = shard.delta()
            rows = {key: row for key, row in (rows | delta.put).items() if key not in delta.delete}
            shard = Shard.restore(0, config, sorted(rows.items()))
        shard.forget_effects()
    return [json.loads(found[seq]) for seq in sorted(found)]


@pytest.mark.long
@pytest.mark.parametrize("kind", METRICS)
def test_it_is_quiet_over_a_long_healthy_run_even_when_the_mix_changes(kind: str) -> None:
    """1,200 seconds of overlapping windows of one minute, for the whole model and two segments."""
    assert alerts(traffic(kind, 1, 24_000, mixed=16_000), config(kind, "*")) == []


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.long if kind in ("binary", "multiclass") else ()) for kind in METRICS]
)
def test_it_tells_when_errors_become_more_than_estimated(kind: str) -> None:
    found = alerts(traffic(kind, 2, 16_000, drift=12_000), config(kind))
    since = START + 12_000 / RATE
    first = {each["rule"]: each for each in reversed(found) if each["state"] == "firing"}
    assert METRICS[kind][0] in first
    alert = first[METRICS[kind][0]]
    assert {each["kind"] for each in found} == {"estimated_performance"}
    assert all(since < each["ts"] < since + 200 for each in first.values())
    worse = (
        alert["value"] < alert["reference"] if kind in ("binary", "multiclass") else alert["value"] > alert["reference"]
    )
    assert worse
    verb, side = ("fell", "below") if kind in ("binary", "multiclass") else ("rose", "above")
    assert f"{METRICS[kind][0]} of m {verb} to" in alert["summary"]
    assert f"estimated of the same predictions without labels, {side} it by more than sampling explains" in str(
        alert["summary"]
    )


@pytest.mark.long
def test_improvements_are_told_by_both_sides_and_not_by_a_drop() -> None:
    records = traffic("regression", 3, 20_000, drift=0)
    better = {**records, "labels": list(records["labels"])}
    for place, record in enumerate(records["labels"]):
        body = said(record)
        if int(body["id"]) >= 14_000:
            guess = said(records["predictions"][int(body["id"])])["prediction"]
            body["label"] = guess + (body["label"] - guess) / 4
            better["labels"][place] = msgspec.structs.replace(record, value=msgspec.json.encode(body))
    assert {each["rule"] for each in alerts(better, config("regression"))} >= {"mae"}
    assert alerts(better, config("regression", rise="interval")) == []
    assert alerts(better, config("regression", rise="100%")) == []
    assert {each["rule"] for each in alerts(better, config("regression", drop="40%"))} >= {"mae"}


@pytest.mark.long
def test_slicing_and_restarts_change_nothing() -> None:
    records = traffic("binary", 2, 16_000, drift=12_000)
    whole = alerts(records, config("binary", "*"))
    assert whole
    assert alerts(records, config("binary", "*"), span=7.3) == whole
    assert alerts(records, config("binary", "*"), span=37.1, restarts=True) == whole


@pytest.mark.long
def test_where_the_two_are_not_of_the_same_nothing_is_said() -> None:
    records = traffic("binary", 2, 16_000, drift=12_000)
    unscored, weighted = ({side: list(held) for side, held in records.items()} for _ in range(2))
    for place, record in enumerate(records["predictions"]):
        body = said(record)
        if place % 20 == 0:
            del body["score"]
            unscored["predictions"][place] = msgspec.structs.replace(record, value=msgspec.json.encode(body))
    for place, record in enumerate(records["labels"]):
        body = {**said(record), "weight": 1 + place % 2}
        weighted["labels"][place] = msgspec.structs.replace(record, value=msgspec.json.encode(body))
    assert alerts(unscored, config("binary")) == []
    assert alerts(weighted, config("binary")) == []


def test_an_estimate_is_worth_the_outcomes_of_the_same_mix_that_it_was_learned_from() -> None:
    rng = np.random.default_rng(4)
    layout = Layout("binary")
    scores = np.repeat([0.2, 0.8], [9000, 1000])
    truth = (rng.random(10_000) < scores).astype(float)
    predicted = (scores > 0.5).astype(float)
    estimator = Estimator()
    estimator.guessed(predicted, scores[:, None], layout)
    estimator.learn(as_outcomes(predicted, truth, scores=scores[:, None]), layout)
    estimator.calibrate()
    for mix, worth in (((9, 1), 10_000), ((0, 1), 1000), ((1, 0), 9000), ((1, 1), 1 / (0.25 / 9000 + 0.25 / 1000))):
        few = np.repeat([0.2, 0.8], np.array(mix) * 10)
        keys = estimator.guessed((few > 0.5).astype(float), few[:, None], layout)
        assert keys is not None
        counts = Counts()
        counts.add(keys.ravel())
        assert expected(counts, estimator, layout).support == pytest.approx(worth)


def test_the_chance_of_a_false_alarm_is_that_of_five_standard_errors() -> None:
    """Many estimates, each with a window of the same outcomes: at two standard errors one in twenty parts."""
    rng = np.random.default_rng(5)
    layout, parted = Layout("binary"), 0
    for _ in range(400):
        scores = rng.choice([0.1, 0.3, 0.7, 0.9], 4000)
        truth, predicted = (rng.random(4000) < scores).astype(float), (scores > 0.5).astype(float)
        estimator = Estimator()
        estimator.guessed(predicted, scores[:, None], layout)
        estimator.learn(as_outcomes(predicted[:2000], truth[:2000], scores=scores[:2000, None]), layout)
        estimator.calibrate()
        keys = estimator.guessed(predicted[2000:], scores[2000:, None], layout)
        assert keys is not None
        counts = Counts()
        counts.add(keys.ravel())
        found = expected(counts, estimator, layout)
        value = float((truth == predicted)[2000:].mean())
        pair = apart.Pair("accuracy", value, wilson(value, 2000), found.value("accuracy", ["0", "1"]), found)
        mine, theirs = apart.intervals(pair, 1.96)
        assert mine is not None
        assert theirs is not None
        parted += mine[1] < theirs[0] or theirs[1] < mine[0]
        wide, estimate = apart.intervals(pair, apart.SURETY)
        assert wide is not None
        assert estimate is not None
        assert wide[0] <= estimate[1]
        assert estimate[0] <= wide[1]
    # Which scores come is in the interval of the metric and not in the difference, so it is a little too wide.
    assert 2 <= parted <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05)
