"""A rule on all features together: it finds a change of their relation, and costs nothing where nobody asks for it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from stream.config import Config, Model, Reference, Renewal, Rule
from stream.effects import Outgoing, StoredRecord
from stream.profile import build
from stream.shard import Shard
from tests.unit import fed
from tests.unit.fed import alerts, apply

START, STEP, FIRST, CHANGE, COUNT = 1_700_000_000.0, 0.05, 1000, 2200, 4000
TOGETHER = Rule(name="together", feature="*", test="mmd", below=1e-6, window=60.0)
ALONE = (
    Rule(name="psi", feature="*", test="psi", above=0.1, window=60.0, min_samples=500),
    Rule(name="ks", feature="*", test="ks", above=0.1, window=60.0),
)


def config(*rules: Rule, reference: Reference | None = None) -> Config:
    model = Model(
        task="regression",
        pane=10.0,
        windows=(60.0,),
        reference=reference or Reference(first=FIRST),
        rules=rules or (TOGETHER, *ALONE),
    )
    return Config(models={"m": model})


def records(start: int = 0, stop: int = COUNT) -> list[StoredRecord]:
    """Two features that follow each other until CHANGE, each normal throughout; some predictions fail, or lack one."""
    rng = random.Random(1)
    found = []
    for number in range(COUNT):
        a, noise = rng.gauss(0, 1), rng.gauss(0, 1)
        b = 0.8 * a + 0.6 * noise if number < CHANGE else noise
        event: dict[str, Any] = {
            "model": "m",
            "id": f"e{number}",
            "ts": START + number * STEP,
            "prediction": 1.0,
            "features": {"a": a, "b": b} if rng.random() < 0.95 else {"a": a},
        }
        if rng.random() < 0.03:
            event["error"] = "timeout"
        found.append(StoredRecord(number, int(START * 1000), msgspec.json.encode(event), b"m"))
    return found[start:stop]


def file_of(path: Path, rows: list[StoredRecord]) -> Path:
    path.write_bytes(b"\n".join(row.value or b"" for row in rows))
    return path


def run(config: Config, cut: int | None = None, references: Any = None) -> tuple[Shard, list[Outgoing]]:
    return fed.run(config, records(), cut, references)


def test_a_change_of_the_relation_is_found_and_no_single_feature_shows_it() -> None:
    shard, effects = run(config())
    (alert,) = alerts(effects)
    assert (alert["rule"], alert["kind"], alert["feature"], alert["state"]) == ("together", "data_drift", "*", "firing")
    assert START + CHANGE * STEP < alert["ts"] < START + CHANGE * STEP + 30
    assert alert["value"] < 1e-6 == alert["threshold"]
    assert alert["summary"].startswith("p-value of mmd of all features together of m against the reference fell to ")
    scores = shard.view().models[0].segments[0].windows[0].drift
    assert scores["*"].mmd == pytest.approx(0.0, abs=1e-30)
    assert scores["*"].mmd_distance == pytest.approx(0.2, abs=0.1)
    assert scores["*"].psi is None
    assert scores["a"].mmd is None
    assert (scores["b"].psi or 1.0) < 0.05
    assert shard.view().models[0].notes == []


@pytest.mark.parametrize("cut", [pytest.param(1, marks=pytest.mark.long), 37, 900])
def test_any_slicing_gives_the_same_bytes(cut: int) -> None:
    whole, effects = run(config())
    shard, same = run(config(), cut)
    assert [(each.channel, each.value) for each in same] == [(each.channel, each.value) for each in effects]
    assert shard.view() == whole.view()


def test_a_restored_shard_goes_on_as_if_it_had_never_stopped() -> None:
    whole, effects = run(config())
    shard, same = fed.restarted(config(), records, COUNT, 600)  # the first is in the middle of the reference
    assert alerts(same) == alerts(effects)
    assert shard.view() == whole.view()


def test_nobody_pays_who_does_not_ask() -> None:
    shard, _ = run(config(*ALONE))
    model = shard.models["m"]
    assert not any(len(pane.sums.joint) for pane in model.panes.values())
    assert model.normal.reference is not None
    assert model.normal.reference.joint is msgspec.UNSET
    assert "*" not in shard.view().models[0].segments[0].windows[0].drift


def test_a_reference_that_was_made_without_is_told_of() -> None:
    shard = Shard(0, config(*ALONE))
    apply(shard, records(0, 1500))
    shard = Shard.restore(0, config(), sorted(shard.delta().put.items()))
    assert alerts(apply(shard, records(1500))) == []
    (note,) = shard.view().models[0].notes
    assert note.startswith("together: silent, for the reference was made before a rule with test: mmd")


def test_a_small_reference_is_told_of() -> None:
    shard, effects = run(config(reference=Reference(first=999)))
    assert alerts(effects) == []
    assert shard.view().models[0].notes == [
        "together: silent, for the reference has 999 predictions and mmd needs 1,000"
    ]


def test_a_reference_from_a_file_knows_as_much(tmp_path: Path) -> None:
    file = file_of(tmp_path / "p.jsonl", records(0, FIRST + 100))  # some of which fail
    asked = config(reference=Reference(predictions=str(file)))
    made = build(asked, "m", [file], [])
    assert build(config(*ALONE), "m", [file], []).joint is msgspec.UNSET
    _, same = run(asked, references={"m": made})
    assert [each["rule"] for each in alerts(same)] == ["together"]


def test_what_another_reference_counted_is_not_mixed_in(tmp_path: Path) -> None:
    made = []
    for number, part in enumerate((records(0, 1100), records(1000, 2100))):
        file = file_of(tmp_path / f"{number}.jsonl", part)
        made.append(build(config(reference=Reference(predictions=str(file))), "m", [file], []))
    asked = config(reference=Reference(file="pinned"))
    shard = Shard(0, asked, {"m": made[0]})
    apply(shard, records(0, 2000))
    rows = sorted(shard.delta().put.items())
    same = Shard.restore(0, asked, rows, {"m": made[0]}).models["m"]
    other = Shard.restore(0, asked, rows, {"m": made[1]}).models["m"]
    assert same.normal.width == other.normal.width
    for model, kept in ((same, True), (other, False)):
        assert all(pane.sums.features.any() == pane.sums.joint.any() == kept for pane in model.panes.values())


@pytest.mark.parametrize("cut", [COUNT, 97])
def test_a_reference_that_is_taken_anew_knows_the_new_relation(cut: int) -> None:
    renewal = Renewal("m", START + CHANGE * STEP + 20.0, first=1000)
    shard, effects = run(structs.replace(config(), references=(renewal,)), cut)
    assert [alert["state"] for alert in alerts(effects)] == ["firing", "resolved"]
    scores = shard.view().models[0].segments[0].windows[0].drift["*"]
    assert scores.mmd is not None
    assert scores.mmd > 1e-3
