"""References that are taken anew: what the present was is normal then, at the same tick however the stream is cut."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle, repeat
from typing import Any

import msgspec
import pytest

from stream.config import Config, Model, Reference, Renewal, Rule
from stream.effects import Channel, Clock, Outgoing, Side, StoredRecord
from stream.monitor.renewals import Renewals
from stream.report.history import Recorder
from stream.shard import Shard
from stream.view import ModelView

START = 1_700_000_000.0
BEHIND: frozenset[Side] = frozenset(("predictions", "labels"))
EACH = 0.1
"""Seconds between two predictions."""
COUNT, SHIFT, AGAIN = 6000, 2000, 4500
"""Predictions; the first that is unlike those before, and the next such."""
AT = START + 300.3
"""An operator accepts the first shift, between two ticks."""
SINCE = START + 300.5

RULES = (
    Rule(name="drift", feature="*", test="psi", above=0.3, window=60.0, min_samples=200),
    Rule(name="output", feature="prediction", test="l_infinity", above=0.3, window=60.0, min_samples=100),
    Rule(name="classes", feature="label", test="psi", above=9.0, window=60.0),
    Rule(name="worse", metric="accuracy", drop=0.15, window=60.0, min_samples=100),
    Rule(name="bad", metric="accuracy", below=0.8, window=60.0, min_samples=100),
    Rule(name="outside", metric="outside_rate", feature="amount", above=0.2, window=60.0, min_samples=100),
    Rule(name="change", detector="river.drift.ADWIN", signal="loss", cooldown=900.0),
    Rule(name="errors", guard="error_rate", cooldown=900.0),
    Rule(name="guard", guard="feature:amount", cooldown=900.0),
    Rule(name="both", every=("worse", "drift")),
)
COMPARED = {"drift", "worse", "outside", "change", "errors", "guard"}
"""Rules that compare with the reference and find the shift."""


def config(*renewals: Renewal, **reference: Any) -> Config:
    model = Model(
        task="binary",
        positive=1,
        pane=10.0,
        windows=(60.0,),
        horizon=600.0,
        segments=("country",),
        reference=Reference(**reference or {"first": 500}),
        rules=RULES,
    )
    return Config(models={"m": model}, references=renewals)


@cache
def traffic(errors: tuple[float, float, float] = (0.1, 0.3, 0.6), delay: float = 1.0) -> dict[Side, list[StoredRecord]]:
    """One in ten answers is wrong (unless told otherwise) and amounts are around 0; then three in ten and 3; then six
    in ten and 6."""
    rng = random.Random(1)
    found: dict[Side, list[StoredRecord]] = {"predictions": [], "labels": []}
    for number in range(COUNT):
        level = (number >= SHIFT) + (number >= AGAIN)
        ts, truth, country = START + number * EACH, rng.randrange(2), rng.choice(("BR", "DE"))
        wrong = rng.random() < errors[level]
        shared = {"model": "m", "id": str(number)}
        features = {"amount": rng.gauss(3.0 * level, 1), "still": rng.gauss(0, 1)}
        answer = {"prediction": truth ^ wrong, "features": features, "attributes": {"country": country}}
        bodies: dict[Side, dict[str, Any]] = {
            "predictions": {**shared, "ts": ts, **answer},
            "labels": {**shared, "ts": ts + delay, "label": truth},
        }
        for side, body in bodies.items():
            found[side].append(StoredRecord(number, int(ts * 1000), msgspec.json.encode(body), b"m"))
    return found


def run(
    shard: Shard,
    sizes: Iterator[int],
    until: int = COUNT,
    finish: bool = True,
    records: dict[Side, list[StoredRecord]] | None = None,
) -> list[Outgoing]:
    records, effects = records or traffic(), []
    at = {side: shard.next[side] or 0 for side in records}
    while any(place < until for place in at.values()):
        size = next(sizes)
        part = {side: records[side][at[side] : min(until, at[side] + size)] for side in records}
        at = {side: place + size for side, place in at.items()}
        effects += shard.apply(part, Clock(START + 1e6, BEHIND))
    return effects + (shard.finish() if finish else [])


def alerts(effects: list[Outgoing]) -> list[dict[str, Any]]:
    return [json.loads(effect.value) for effect in effects if effect.channel is Channel.ALERTS]


def view(shard: Shard) -> ModelView:
    return shard.view().models[0]


RENEWED = config(Renewal("m", AT, first=400))


@cache
def decided() -> list[Outgoing]:
    return run(Shard(0, RENEWED), repeat(500))


def whole() -> tuple[bytes, ...]:
    return tuple(effect.value for effect in decided())


def test_without_it_alerts_go_on_firing() -> None:
    found = alerts(run(Shard(0, config()), repeat(500)))
    assert {each["rule"] for each in found if each["state"] == "firing"} >= COMPARED | {"bad", "both"}
    assert not [each for each in found if each["state"] == "resolved" and each["rule"] in COMPARED]


def test_what_compares_with_the_reference_ends_and_is_quiet_until_the_next_change() -> None:
    found = alerts(decided())
    ended = [each for each in found if each["state"] == "resolved"]
    assert {each["rule"] for each in ended} == COMPARED | {"both"}
    assert {each["ts"] for each in ended} == {SINCE}
    assert all("accepted as normal" in each["summary"] for each in ended if each["rule"] != "both")
    fired = [(each["rule"], each["ts"] - START) for each in found if each["state"] == "firing"]
    assert not [each for each in fired if SINCE - START < each[1] <= AGAIN * EACH]
    assert {rule for rule, at in fired if at > AGAIN * EACH} == COMPARED | {"both"}


def test_what_was_before_counts_no_more() -> None:
    """A model that has got better, and is accepted at once: late labels and windows still tell of how bad it was."""
    records = traffic(errors=(0.6, 0.1, 0.1), delay=20.0)
    accepted = config(Renewal("m", START + 205, first=100))
    found = alerts(run(Shard(0, accepted), repeat(500), until=AGAIN, records=records))
    assert {each["rule"] for each in found if each["ts"] <= START + 205} >= {"bad", "guard"}
    late = {each["rule"] for each in found if each["state"] == "firing" and each["ts"] > START + 205}
    assert late <= {"bad"}, "an absolute bound is as it was"


def test_every_alert_fires_and_ends_in_turn_under_its_own_id() -> None:
    found = alerts(decided())
    assert len({each["id"] for each in found}) == len(found)
    turns: dict[str, list[str]] = {}
    for each in found:
        turns.setdefault(each["fingerprint"], []).append(each["state"])
    expected = cycle(("firing", "resolved"))
    assert all(states == [next(expected) for _ in states] for states in turns.values() if not len(states) % 2)
    assert all(states[0] == "firing" for states in turns.values())


def test_it_is_shown_with_its_version_and_since_when() -> None:
    shard = Shard(0, RENEWED)
    run(shard, repeat(500), until=2900, finish=False)
    before = view(shard)
    assert (before.renewals, before.reference) == (0, f"first 500 predictions, version {before.reference_version}")
    assert before.reference_since == START
    run(shard, repeat(500), until=3200, finish=False)
    during = view(shard)
    assert (during.renewals, during.reference_version) == (1, None)
    assert during.reference.startswith("first 400 predictions since 2023-11-14T22:18:20.500Z (1")
    run(shard, repeat(500), until=4000, finish=False)
    after = view(shard)
    assert after.reference_version not in (None, before.reference_version)
    assert after.reference == f"first 400 predictions since 2023-11-14T22:18:20.500Z, version {after.reference_version}"
    assert after.reference_since is not None
    assert SINCE - EACH < after.reference_since < SINCE + 1


@pytest.mark.parametrize("size", [pytest.param(7, marks=pytest.mark.long), 613, COUNT])
def test_slicing_changes_nothing(size: int) -> None:
    assert tuple(effect.value for effect in run(Shard(0, RENEWED), repeat(size))) == whole()


@pytest.mark.parametrize("size", [pytest.param(37, marks=pytest.mark.long), 300])
def test_restarts_change_nothing_and_it_is_taken_once(size: int) -> None:
    """Each time it goes on from the last delta but one: what came between is applied again."""
    shard, rows, stored, effects = Shard(0, RENEWED), dict[str, bytes](), dict[str, bytes](), dict[int, bytes]()
    for until in range(size, COUNT + size, size):
        for effect in run(shard, repeat(size), until=min(until, COUNT), finish=until >= COUNT):
            assert effects.setdefault(effect.seq, effect.value) == effect.value
        if (until // size) % 3 == 0 and until < COUNT:
            shard = Shard.restore(0, RENEWED, sorted(stored.items())) if stored else Shard(0, RENEWED)
            for effect in run(shard, repeat(size), until=until, finish=False):
                assert effects.setdefault(effect.seq, effect.value) == effect.value
            rows = dict(stored)
        delta = shard.delta()
        stored = rows
        rows = {key: row for key, row in (rows | delta.put).items() if key not in delta.delete}
    assert tuple(effects[seq] for seq in sorted(effects)) == whole()
    assert view(shard).renewals == 1


def test_what_running_workers_are_told_in_time_is_as_if_it_were_configured() -> None:
    renewals = Renewals()
    shard = Shard(0, config(), renewals=renewals)
    effects = run(shard, repeat(100), until=2800, finish=False)
    renewals.given = (Renewal("m", AT, first=400), Renewal("other", AT))
    effects += run(shard, repeat(100))
    assert tuple(effect.value for effect in effects) == whole()


def test_one_that_is_heard_of_late_is_taken_at_the_next_tick() -> None:
    renewals = Renewals()
    shard = Shard(0, config(), renewals=renewals)
    run(shard, repeat(100), until=3500, finish=False)
    reached = view(shard).watermark or 0.0
    renewals.given = (Renewal("m", AT),)
    ended = [each for each in alerts(run(shard, repeat(100))) if each["state"] == "resolved"]
    assert {each["rule"] for each in ended} >= COMPARED
    assert {each["ts"] for each in ended if each["rule"] in COMPARED} == {reached}
    assert "first 500 predictions since" in view(shard).reference, "as many as the configuration says"


def test_time_alone_ends_the_alerts() -> None:
    renewals = Renewals()
    shard = Shard(0, config(), renewals=renewals)
    run(shard, repeat(500), until=2900, finish=False)
    clock = START + 1e6
    shard.apply({}, Clock(clock + 2, idle=False))
    renewals.given = (Renewal("m", START + 292.0),)
    effects = [each for second in range(3, 9) for each in shard.apply({}, Clock(clock + second, idle=True))]
    assert {each["rule"] for each in alerts(effects)} >= COMPARED
    assert shard.urgent


def test_later_ones_are_taken_in_turn() -> None:
    twice = config(Renewal("m", SINCE + 200, first=100), Renewal("m", AT, first=400))
    shard = Shard(0, twice)
    effects = run(shard, repeat(500))
    assert view(shard).renewals == 2
    assert "first 100 predictions since" in view(shard).reference
    assert {each["ts"] for each in alerts(effects) if each["state"] == "resolved"} == {SINCE, SINCE + 200}


def stored(made: Callable[[], Shard]) -> list[tuple[str, bytes]]:
    shard = made()
    run(shard, repeat(500), until=4000, finish=False)
    return sorted(shard.delta().put.items())


def test_a_reference_that_the_configuration_changes_is_the_configurations() -> None:
    rows = stored(lambda: Shard(0, RENEWED))
    again = Shard.restore(0, config(Renewal("m", AT, first=400), first=300), rows)
    run(again, repeat(500))
    assert view(again).reference.startswith("first 300 predictions, version")
    assert view(again).renewals == 1, "it is not taken a second time"


def test_a_reference_from_a_file_gives_way_and_stays_away() -> None:
    learned = Shard(0, config())
    run(learned, repeat(500), until=SHIFT, finish=False)
    reference = learned.models["m"].normal.reference
    assert reference is not None
    given = {"m": reference}
    filed = config(Renewal("m", AT), file="good.reference")
    rows = stored(lambda: Shard(0, filed, given))
    again = Shard.restore(0, filed, rows, given)
    assert view(again).reference.startswith("first 1000 predictions since")
    run(again, repeat(500))
    assert view(again).reference_since == pytest.approx(SINCE, abs=1)


def test_sums_are_not_touched() -> None:
    plain, renewed = Shard(0, config()), Shard(0, RENEWED)
    for shard in (plain, renewed):
        run(shard, repeat(500), until=3500, finish=False)
    (one,), (other,) = (view(shard).segments[0].windows for shard in (plain, renewed))
    assert one.metrics == other.metrics
    assert view(plain).counts == view(renewed).counts
    features = renewed.models["m"].windows[0].sums.features
    before = math.floor((SINCE - START) / EACH)
    assert features.sum() / 3 == view(renewed).counts.predictions - before - 400, "only what is compared with it"


def test_a_report_compares_with_no_reference_but_the_last() -> None:
    soon = msgspec.structs.replace(RENEWED.models["m"], horizon=60.0)
    shard, collected = Shard(0, msgspec.structs.replace(RENEWED, models={"m": soon})), Recorder()
    shard.parts_kept = True
    for until in range(500, COUNT + 500, 500):
        collected(shard, run(shard, repeat(500), until=until, finish=until == COUNT))
    (history,) = collected.histories(shard)
    drift = {step.start - START: step.whole.drift.get("amount") for step in history.steps}
    assert not any(found for at, found in drift.items() if at + 10 <= SINCE - START)
    assert all(found for at, found in drift.items() if at > SINCE - START + 50)
