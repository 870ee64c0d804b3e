"""Through a shard: gaps between groups, what outcomes are worth, and versions beside each other."""

from typing import Any

import msgspec
import numpy as np

from stream.config import Config, Model, Rule
from stream.effects import SIDES, Channel, Clock, Outgoing, Side, StoredRecord
from stream.events import Alert, Explanation, MetricSnapshot
from stream.shard import Shard
from stream.telemetry.collector import families
from stream.view import WorkerView

START = 1_700_000_000.0
SPEC = Model(
    task="binary",
    pane=10.0,
    windows=(60.0,),
    segments=("version",),
    fairness=("gender",),
    value={"tp": 4.0, "fn": -1.0},
    rules=(
        Rule(name="parity", metric="demographic_parity_difference", attribute="gender", above=0.15),
        Rule(name="worth", metric="business_value", below=1.6),
        Rule(name="release", metric="accuracy", segment="version=*", below=0.8, min_samples=60),
    ),
)


def run() -> tuple[Shard, list[Outgoing]]:
    """Women are selected less often from the middle on, when version 2 comes, which is also worse."""
    rng = np.random.default_rng(3)
    records: dict[Side, list[StoredRecord]] = {side: [] for side in SIDES}
    for number in range(1200):
        ts, late = START + number * 0.1, number >= 600
        gender = ("F", "M")[number % 2]
        actual = int(rng.random() < 0.5)
        right = rng.random() < (0.6 if late and number % 4 == 0 else 0.95)
        said = actual if right else 1 - actual
        if late and gender == "F" and rng.random() < 0.5:
            said = 0
        body: dict[str, Any] = {"model": "loan", "id": str(number), "ts": ts, "prediction": said, "features": {}}
        body |= {"attributes": {"gender": gender}, "version": "2" if late and number % 4 < 2 else "1"}
        label = {"model": "loan", "id": str(number), "ts": ts + 1, "label": actual}
        for side, each in zip(SIDES, (body, label), strict=True):
            records[side].append(StoredRecord(number, int(ts * 1000), msgspec.json.encode(each)))
    shard = Shard(0, Config(models={"loan": SPEC}))
    decided = shard.apply(records, Clock(START + 130)) + shard.finish()
    return shard, decided


def test_gaps_value_and_versions_are_told_and_watched() -> None:
    shard, decided = run()
    alerts = [msgspec.json.decode(each.value, type=Alert) for each in decided if each.channel is Channel.ALERTS]
    firing = {(alert.rule, alert.segment): alert for alert in alerts if alert.state == "firing"}
    assert {("parity", "all"), ("worth", "all"), ("release", "version=2")} <= firing.keys()
    assert ("release", "version=1") not in firing
    parity = firing["parity", "all"]
    assert parity.ts > START + 60
    assert "demographic_parity_difference of gender of loan rose to" in parity.summary
    assert isinstance(parity.lower, float)
    assert isinstance(parity.upper, float)
    assert parity.value is not None
    assert parity.lower < parity.value < parity.upper
    assert isinstance(firing["worth", "all"].upper, float)

    (model,) = shard.view().models
    whole = model.segments[0].windows[0]
    assert set(whole.fairness) == {"gender"}
    assert "demographic_parity_ratio" in whole.fairness["gender"]
    assert whole.metrics["business_value"].value is not None
    by_version = {
        each.segment: each.windows[0].metrics for each in model.segments if each.segment.startswith("version")
    }
    one, two = (by_version[f"version={version}"]["accuracy"].value for version in "12")
    assert one is not None
    assert two is not None
    assert two < one - 0.1

    told = [msgspec.json.decode(e.value, type=MetricSnapshot) for e in decided if e.channel is Channel.SNAPSHOTS]
    assert {each.segment for each in told} >= {"all", "gender=F", "version=1", "version=2"}
    view = WorkerView(shards=[shard.view()], lag=[], ready=True, reasons=[])
    samples = [sample for family in families(view) for sample in family.samples if sample.name == "stream_fairness"]
    assert {sample.labels["attribute"] for sample in samples} == {"gender"}


def test_a_binned_number_and_an_undeclared_category_explain_an_alert() -> None:
    rng = np.random.default_rng(5)
    records: dict[Side, list[StoredRecord]] = {side: [] for side in SIDES}
    for number in range(8000):
        ts, late = START + number * 0.02, number >= 6000
        amount, kind = float(np.round(rng.uniform(0.0, 100.0), 2)), "xyz"[number % 3]
        wrong = rng.random() < (0.6 if late and 50.0 <= amount < 75.0 and kind == "y" else 0.1)
        features = {"amount": amount, "kind": kind}
        body = {"model": "m", "id": str(number), "ts": ts, "prediction": int(wrong), "features": features}
        label = {"model": "m", "id": str(number), "ts": ts + 0.5, "label": 0}
        for side, each in zip(SIDES, (body, label), strict=True):
            records[side].append(StoredRecord(number, int(ts * 1000), msgspec.json.encode(each)))
    spec = Model(
        task="binary",
        pane=10.0,
        windows=(60.0,),
        segments=("amount", "kind"),
        bins={"amount": (25.0, 50.0, 75.0)},
        rules=(Rule(name="low", metric="accuracy", below=0.88, min_samples=1000),),
    )
    shard = Shard(0, Config(models={"m": spec}))
    decided = shard.apply(records, Clock(START + 200)) + shard.finish()
    alerts = [msgspec.json.decode(each.value, type=Alert) for each in decided if each.channel is Channel.ALERTS]
    *_, alert = (each for each in alerts if each.state == "firing")
    assert isinstance(alert.explanation, Explanation)
    assert {each.segment for each in alert.explanation.segments[:2]} == {"amount=50..75", "kind=y"}
    (model,) = shard.view().models
    assert {each.segment for each in model.segments} >= {"amount=<25", "amount=25..50", "amount=>=75"}
