"""A shard tells of lost performance before any label does, and says nothing of classes without scores."""

from __future__ import annotations

import json
import random
from pathlib import Path

import msgspec
import pytest

from stream.config import Config, Model, Reference, Renewal, Rule
from stream.effects import Channel, Clock, Side, StoredRecord
from stream.monitor.features.reference import from_bytes, to_bytes
from stream.profile import build
from stream.shard import Shard
from stream.telemetry.collector import families
from stream.view import WorkerView

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


def regression() -> dict[Side, list[StoredRecord]]:
    """Errors that grow with `size`, whose labels come; then larger sizes, whose labels never do."""
    rng = random.Random(2)
    events: dict[Side, list[object]] = {"predictions": [], "labels": []}
    for number in range(4000):
        labelled = number < 3000
        size, ts = rng.uniform(0.0, 1.0) if labelled else rng.uniform(0.7, 1.0), START + number * 0.2
        features = {"size": size, "noise": rng.random()}
        guess = 100.0 * rng.random()
        event = {"model": "m", "id": str(number), "ts": ts, "prediction": guess, "features": features}
        events["predictions"].append({**event, "attributes": {"land": "BR" if number % 2 else "DE"}})
        if labelled:
            label = guess + rng.gauss(0.0, 10.0 * size)
            events["labels"].append({"model": "m", "id": str(number), "ts": ts + 1.0, "label": label})
    return {
        side: [StoredRecord(i, int(START * 1000), msgspec.json.encode(each), b"m") for i, each in enumerate(found)]
        for side, found in events.items()
    }


def run_regression(config: Config) -> tuple[Shard, list[dict[str, object]], list[dict[str, object]]]:
    """What comes of that: the shard, alerts and snapshots."""
    shard = Shard(0, config)
    effects = shard.apply(regression(), Clock(START + 1e6, frozenset(("predictions", "labels"))))
    effects += shard.finish()
    told = {
        channel: [json.loads(effect.value) for effect in effects if effect.channel is channel]
        for channel in (Channel.ALERTS, Channel.SNAPSHOTS)
    }
    return shard, told[Channel.ALERTS], told[Channel.SNAPSHOTS]


def test_larger_errors_of_a_regression_alert_before_labels_come() -> None:
    rule = Rule(name="expected", metric="estimated_mae", window=60.0, above=5.5, min_samples=100, segment="*")
    model = Model(pane=10.0, windows=(60.0,), rules=(rule,), segments=("land",))
    shard, alerts, snapshots = run_regression(Config(models={"m": model}))
    assert {str(each["segment"]) for each in alerts} == {"all", "land=BR", "land=DE"}
    assert {(each["kind"], each["state"], each["metric"]) for each in alerts} == {
        ("estimated_performance", "firing", "estimated_mae")
    }
    assert all(600.0 < float(str(each["started_at"])) - START < 660.0 for each in alerts)
    # Of a normal distribution the mean absolute deviation is 0.798 standard deviations, those are 8.5 on average.
    window = shard.view().models[0].segments[0].windows[0]
    assert window.labels == 0
    assert "mae" not in window.metrics
    found = {name: each.value for name, each in window.estimates.items()}
    assert found["mae"] == pytest.approx(0.798 * 8.5, rel=0.06)
    assert found["rmse"] == pytest.approx(8.54, rel=0.06)
    assert window.estimates["mae"].samples == window.predictions
    told = snapshots[-1]["estimates"]
    assert isinstance(told, dict)
    assert told.keys() == {"mae", "rmse", "mape", "smape"}


def test_what_is_estimated_of_a_regression_is_exposed_to_prometheus() -> None:
    shard, _, _ = run_regression(Config(models={"m": Model(pane=10.0, windows=(60.0,), rules=())}))
    view = WorkerView(shards=[shard.view()], lag=[], ready=True, reasons=[])
    samples = [sample for family in families(view) for sample in family.samples]
    estimates = {each.labels["metric"]: each.value for each in samples if each.name == "stream_estimate"}
    assert estimates["mae"] == shard.view().models[0].segments[0].windows[0].estimates["mae"].value


def test_a_reference_from_files_knows_what_losses_depend_on(tmp_path: Path) -> None:
    rng = random.Random(3)
    lines: dict[str, list[bytes]] = {"predictions": [], "labels": []}
    for number in range(2500):
        size, guess, ts = rng.random(), 100.0 * rng.random(), START + number
        event = {"model": "m", "id": str(number), "ts": ts, "prediction": guess, "features": {"size": size}}
        lines["predictions"].append(msgspec.json.encode(event))
        label = {"model": "m", "id": str(number), "ts": ts, "label": guess + rng.gauss(0.0, 10.0 * size)}
        lines["labels"].append(msgspec.json.encode(label))
    files = {side: tmp_path / f"{side}.jsonl" for side in lines}
    for side, path in files.items():
        path.write_bytes(b"\n".join(lines[side]))
    made = build(Config(), "m", [files["predictions"]], [files["labels"]])
    assert from_bytes(to_bytes(made)) == made
    shard = Shard(0, Config(), {"m": made})
    for first, sizes in ((0, (0.0, 0.2)), (300, (0.8, 1.0))):
        records = []
        for offset in range(first, first + 300):
            ts = START + 1e6 + 20 * offset
            event = {"model": "m", "id": f"n{offset}", "ts": ts, "prediction": 100 * rng.random()}
            event["features"] = {"size": rng.uniform(*sizes)}
            records.append(StoredRecord(offset, int(ts * 1000), msgspec.json.encode(event)))
        shard.apply({"predictions": records}, Clock(START + 2e6))
        found = shard.view().models[0].segments[0].windows[0].estimates["mae"].value
        assert found == pytest.approx(0.798 * 10.0 * sum(sizes) / 2, rel=0.3 if first == 0 else 0.1)
        shard = Shard.restore(0, Config(), shard.delta().put.items(), {"m": made})


def test_a_reference_taken_anew_teaches_anew_wherever_the_worker_is_restarted() -> None:
    config = Config(
        models={"m": Model(pane=10.0, windows=(60.0,), reference=Reference(first=200), rules=())},
        references=(Renewal("m", START + 300.2, first=300),),
    )
    whole, _, _ = run_regression(config)
    records, effects = regression(), dict[int, bytes]()
    shard, rows, versions = Shard(0, config), dict[str, bytes](), set[str | None]()
    behind: frozenset[Side] = frozenset(("predictions", "labels"))
    for until in range(171, 4000 + 171, 171):
        part = {side: held[shard.next[side] or 0 : until] for side, held in records.items()}
        effects |= {effect.seq: effect.value for effect in shard.apply(part, Clock(START + 1e6, behind))}
        versions.add(shard.models["m"].estimator.losses.version)
        delta = shard.delta()
        rows = {key: row for key, row in (rows | delta.put).items() if key not in delta.delete}
        shard = Shard.restore(0, config, sorted(rows.items())) if until < 4000 else shard
    effects |= {effect.seq: effect.value for effect in shard.finish()}
    assert len(versions - {None}) == 2
    assert [effects[seq] for seq in sorted(effects)] == [effect.value for effect in whole.outbox]
    assert shard.view() == whole.view()
