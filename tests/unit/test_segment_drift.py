"""Drift of features within segments: against the segment's own reference, and told with its name."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp

from stream.config import Config, Model, Reference, Renewal, Rule
from stream.effects import Outgoing, StoredRecord
from stream.monitor.features.reference import ReferenceRefused, from_bytes, sealed, to_bytes
from stream.profile import build
from stream.report.history import Recorder
from stream.shard import Shard
from tests.unit import fed
from tests.unit.fed import alerts, apply

START, STEP, FIRST, CHANGE, COUNT = 1_700_000_000.0, 0.05, 1500, 2500, 5000
BRAZIL = Rule(
    name="brazil", feature="amount", test="psi", above=0.2, segment="country=BR", window=60.0, min_samples=200
)
EACH = Rule(name="each", feature="*", test="ks", above=0.35, segment="country=*", window=60.0, min_samples=100)
KINDS = Rule(name="kinds", feature="kind", test="js", above=0.3, segment="country=DE", window=60.0, min_samples=100)
WHOLE = Rule(name="whole", feature="*", test="psi", above=0.2, window=60.0)


def config(*rules: Rule, first: int = FIRST, **fields: Any) -> Config:
    model = Model(
        task="regression",
        pane=10.0,
        windows=(60.0,),
        segments=("country",),
        reference=Reference(first=first),
        rules=rules or (BRAZIL, EACH, KINDS, WHOLE),
    )
    return Config(models={"m": structs.replace(model, **fields)})


def events() -> list[dict[str, Any]]:
    """Amounts in BR are twice those of DE, always; from CHANGE on each takes the other's place, so that all amounts
    together stay as they are. Of NO there are few."""
    rng = random.Random(3)
    found = []
    for number in range(COUNT):
        country = rng.choices(("BR", "DE", "NO"), (48, 48, 4))[0]
        high = (country == "BR") != (number >= CHANGE)
        features: dict[str, Any] = {"amount": rng.gauss(2.0 if high else 0.0, 1.0), "kind": rng.choice("abc")}
        if rng.random() < 0.05:
            features.pop("amount")
        event = {"model": "m", "id": f"e{number}", "ts": START + number * STEP, "prediction": rng.random()}
        event |= {"features": features, "attributes": {"country": country}}
        if rng.random() < 0.02:
            event["error"] = "timeout"
        found.append(event)
    return found


def records(start: int = 0, stop: int = COUNT) -> list[StoredRecord]:
    rows = [StoredRecord(n, int(START * 1000), msgspec.json.encode(each), b"m") for n, each in enumerate(events())]
    return rows[start:stop]


def run(config: Config, cut: int | None = None, references: Any = None) -> tuple[Shard, list[Outgoing]]:
    return fed.run(config, records(), cut, references)


def test_a_segment_that_moves_is_named_though_the_whole_does_not() -> None:
    shard, effects = run(config())
    found = [(each["rule"], each["segment"], each["feature"]) for each in alerts(effects)]
    assert sorted(found) == [
        ("brazil", "country=BR", "amount"),
        ("each", "country=BR", "amount"),
        ("each", "country=DE", "amount"),
    ]
    brazil = next(each for each in alerts(effects) if each["rule"] == "brazil")
    assert START + CHANGE * STEP < brazil["ts"] < START + CHANGE * STEP + 30
    assert brazil["kind"] == "data_drift"
    assert brazil["summary"].startswith("psi of amount of m in country=BR against the reference rose to ")
    assert [each["feature"] for each in brazil["explanation"]["features"]] == ["amount"]
    by_segment = {each.segment: each.windows[0].drift for each in shard.view().models[0].segments}
    assert set(by_segment["country=BR"]) == {"amount", "kind"}  # `each` asks for all, but not for the output
    assert (by_segment["country=BR"]["amount"].psi or 0.0) > 1.0
    assert (by_segment["country=BR"]["kind"].psi or 1.0) < 0.1
    assert by_segment["country=NO"] == {}


def test_distances_are_those_of_the_segments_raw_values() -> None:
    shard, _ = run(config())
    (window,) = shard.models["m"].windows
    used = [each for each in events() if "error" not in each]
    until = used[FIRST - 1]["id"]
    border = next(n for n, each in enumerate(used) if each["id"] == until) + 1
    first = window.first * 10.0
    for country in ("BR", "DE"):
        mine = [each for each in used if each["attributes"]["country"] == country]
        ours = [each["features"] for each in mine if each in used[:border]]
        now = [each["features"] for each in mine if each["ts"] >= first]
        segments = {each.segment: each.windows[0].drift for each in shard.view().models[0].segments}
        scores = segments[f"country={country}"]
        exact = ks_2samp(*([each["amount"] for each in part if "amount" in each] for part in (ours, now))).statistic
        assert scores["amount"].ks == pytest.approx(exact, abs=0.05)
        shares = [[sum(each["kind"] == kind for each in part) / len(part) for kind in "abc"] for part in (ours, now)]
        assert scores["kind"].js == pytest.approx(jensenshannon(*shares, base=2), abs=1e-9)


@pytest.mark.parametrize("cut", [pytest.param(1, marks=pytest.mark.long), 41, 1300])
def test_any_slicing_gives_the_same_bytes(cut: int) -> None:
    whole, effects = run(config())
    shard, same = run(config(), cut)
    assert [(each.channel, each.value) for each in same] == [(each.channel, each.value) for each in effects]
    assert shard.view() == whole.view()


def test_a_restored_shard_goes_on_as_if_it_had_never_stopped() -> None:
    whole, effects = run(config())
    shard, same = fed.restarted(config(), records, COUNT, 700)  # the first two are in the middle of the reference
    assert alerts(same) == alerts(effects)
    assert shard.view() == whole.view()


def test_windows_are_the_sums_of_their_panes() -> None:
    shard, _ = run(config(), 300)
    model = shard.models["m"]
    (window,) = model.windows
    carried = {
        code: each.held(window.sums.by_segment, code)
        for code, each in model.normal.of_segments(model.segments.names).items()
    }
    window.rebuild(model.panes)
    for code, each in model.normal.of_segments(model.segments.names).items():
        assert (each.held(window.sums.by_segment, code) == carried[code]).all()
        assert carried[code].any()


def test_nobody_pays_who_does_not_ask() -> None:
    shard, _ = run(config(WHOLE))
    model = shard.models["m"]
    assert not any(pane.sums.by_segment for pane in model.panes.values())
    assert model.normal.reference is not None
    assert model.normal.reference.by_segment is msgspec.UNSET
    asked, _ = run(config(BRAZIL))
    kept = [pane.sums.by_segment for pane in asked.models["m"].panes.values() if pane.sums.by_segment]
    brazil = asked.models["m"].segments.code("country=BR")
    assert kept
    assert all(set(each) == {"amount"} and set(each["amount"]) == {brazil} for each in kept)


def test_what_the_reference_does_not_know_is_told() -> None:
    shard, _ = run(config())
    assert shard.view().models[0].notes == [
        "each: silent for country=NO, of which the reference has less than 100 predictions"
    ]
    small, effects = run(config(structs.replace(BRAZIL, min_samples=None), first=400))
    assert alerts(effects) == []
    assert small.view().models[0].notes == ["brazil: silent for country=BR: its reference is too small for this bound"]
    before = Shard(0, config(WHOLE))
    apply(before, records(0, 2000))
    after = Shard.restore(0, config(BRAZIL), sorted(before.delta().put.items()))
    assert alerts(apply(after, records(2000))) == []
    (note,) = after.view().models[0].notes
    assert note.startswith("brazil: silent for segments, for the reference was made before")


def test_rules_may_come_and_go() -> None:
    shard = Shard(0, config())
    apply(shard, records(0, 2000))
    rows = sorted(shard.delta().put.items())
    fewer = config(BRAZIL)
    shard = Shard.restore(0, fewer, rows)
    effects = apply(shard, records(shard.next["predictions"] or 0))
    assert [each["rule"] for each in alerts(effects)] == ["brazil"]
    assert [each["value"] for each in alerts(effects)] == [
        each["value"] for each in alerts(run(config())[1]) if each["rule"] == "brazil"
    ]


def test_a_reference_from_a_file_knows_its_segments(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_bytes(b"\n".join(row.value or b"" for row in records(0, FIRST)))
    asked = config(reference=Reference(predictions=str(file)))
    made = build(asked, "m", [file], [])
    assert from_bytes(to_bytes(made)) == made
    assert not isinstance(made.by_segment, msgspec.UnsetType)
    assert set(made.by_segment) == {"country=BR", "country=DE", "country=NO"}
    counts = made.by_segment["country=BR"]["amount"]
    assert sum(counts) == sum(
        "error" not in each and each["attributes"]["country"] == "BR" for each in events()[:FIRST]
    )
    _, effects = run(asked, references={"m": made})
    assert {each["rule"] for each in alerts(effects)} == {"brazil", "each"}
    damaged = structs.replace(made, by_segment={"country=BR": {"amount": counts[:-1]}})
    with pytest.raises(ReferenceRefused, match="'amount' of 'country=BR' has other counts than bins"):
        sealed(damaged)


def test_a_reference_that_is_taken_anew_is_one_for_segments() -> None:
    renewal = Renewal("m", START + CHANGE * STEP + 20.0, first=1000)
    shard, effects = run(structs.replace(config(), references=(renewal,)))
    assert {each["state"] for each in alerts(effects)} == {"firing", "resolved"}
    drift = {each.segment: each.windows[0].drift for each in shard.view().models[0].segments}
    assert (drift["country=BR"]["amount"].psi or 1.0) < 0.2


def test_the_report_shows_features_of_segments() -> None:
    shard, recorder = Shard(0, config()), Recorder()
    shard.parts_kept = True
    recorder(shard, apply(shard, records()))
    recorder(shard, shard.finish())
    (history,) = recorder.histories(shard)
    last = history.heat[-1].segments["country=BR"].drift["amount"].psi
    assert last is not None
    assert last > 0.5
