"""A shard: the same whatever the slicing, the restarts and the order between the topics; every event counted once."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.config import Challenger, Config, Learn, Limits, Model, Reference, Rule
from stream.effects import Channel, Clock, Outgoing, Side, StoredRecord
from stream.monitor.estimates import estimate, loss_scale, losses
from stream.monitor.features import joint_drift, segment_drift
from stream.monitor.watching import apart
from stream.rows import RESIDENT
from stream.shard import Shard
from stream.view import Counts

START = 1_700_000_000.0
BEHIND: frozenset[Side] = frozenset(("predictions", "labels"))

RULES = (
    Rule(name="accuracy", metric="accuracy", below=0.75, window=60.0, segment="*", min_samples=20, hold=3.0),
    Rule(name="auc", metric="roc_auc", below=0.8, window=60.0, min_samples=20),
    Rule(name="guess", metric="estimated_accuracy", below=0.7, window=60.0, segment="*", min_samples=20),
    Rule(name="ranks", metric="estimated_roc_auc", below=0.8, window=60.0, min_samples=20),
    Rule(name="feature", feature="*", test="psi", above=0.1, window=60.0, min_samples=40),
    Rule(name="joint", feature="*", test="mmd", below=0.5, window=60.0, min_samples=20),
    Rule(name="part", feature="*", test="js", above=0.2, window=60.0, segment="*", min_samples=5),
    Rule(name="part-output", feature="prediction", test="ks", above=0.2, segment="country=BR", min_samples=5),
    Rule(name="output", feature="prediction", test="ks", above=0.2, window=60.0, min_samples=40),
    Rule(name="gone", metric="missing_rate", feature="*", segment="*", above=0.12, min_samples=10),
    Rule(name="outside", metric="outside_rise", feature="amount", segment="*", above=0.05, min_samples=10),
    Rule(name="stuck", metric="constant_rise", feature="*", above=0.1, min_samples=10),
    Rule(name="twice", metric="duplicate_rate", above=0.04, min_samples=10),
    Rule(name="schema", metric="unknown_feature_rate", above=0.1, min_samples=10),
    Rule(name="missing", metric="missing_rate", feature="amount", above=0.1, min_samples=20),
    Rule(name="failures", metric="prediction_error_rate", above=0.02, min_samples=20),
    Rule(name="slow", metric="latency_p95", above=30.0, min_samples=20),
    Rule(name="memory", metric="memory_bytes_max", above=1.2e9, min_samples=5),
    Rule(name="cpu", metric="cpu_percent", above=55.0, recover=52.0, min_samples=5),
    Rule(name="late", metric="label_delay_p50", above=2.0, min_samples=10),
    Rule(name="later", metric="label_delay_gap", above=0.5, min_samples=10),
    Rule(name="covered", metric="coverage_gap", above=0.05, min_samples=10),
    Rule(name="coverage", metric="coverage", below=0.5, min_samples=20),
    Rule(name="fall", metric="accuracy", drop=0.05, window=60.0, segment="*", min_samples=10, hold=2.0),
    Rule(name="parted", metric="error_rate", rise="interval", window=120.0, min_samples=10),
    Rule(name="order", metric="roc_auc", drop="10%", recover="5%", window=60.0, min_samples=10),
    Rule(name="expected-fall", metric="estimated_accuracy", drop="5%", rise=0.3, window=60.0, min_samples=10),
    Rule(name="slower", metric="latency_p95", rise="20%", drop="20%", min_samples=20),
    Rule(name="failing", metric="prediction_error_rate", rise="interval", min_samples=20),
    Rule(name="emptier", metric="missing_rate", feature="*", rise=0.02, min_samples=20),
    Rule(name="busier", metric="throughput", rise="1%", min_samples=1),
    Rule(name="gap", metric="demographic_parity_difference", attribute="country", above=0.05, min_samples=5),
    Rule(name="odds", metric="equalized_odds_ratio", attribute="country", below=0.9, window=60.0, min_samples=3),
    Rule(name="worth", metric="business_value", below=0.5, window=60.0, segment="country=*", min_samples=10),
    Rule(name="worth-less", metric="business_value", drop="interval", window=60.0, min_samples=10),
    Rule(name="off", metric="accuracy", against="estimate", window=60.0, segment="*", min_samples=5),
    Rule(name="far-off", metric="f1", against="estimate", drop=0.02, rise=0.02, recover=0.01, min_samples=5),
    Rule(name="adwin", detector="river.drift.ADWIN", signal="loss", params={"delta": 0.1}),
    Rule(name="hinkley", detector="river.drift.PageHinkley", signal="feature:amount", params={"threshold": 10}),
    Rule(name="error-guard", guard="error_rate", false_alarms=1000),
    Rule(name="feature-guard", guard="feature:*", false_alarms=500),
    Rule(name="output-guard", guard="prediction", false_alarms="1 per 1000 predictions", segment="*"),
    Rule(name="score-guard", guard="score", false_alarms=1000),
    Rule(name="together", every=("failures", "feature"), segment="*", hold=1.5),
    Rule(name="either", some=("together", "fall", "adwin", "silence", "feature-guard"), cooldown=3.0),
    Rule(name="silence", absent="labels", hold=5.0),
)
LEARN = Learn(
    challengers=(
        Challenger(
            name="logreg", model=("river.preprocessing.StandardScaler", "river.linear_model.LogisticRegression")
        ),
    ),
    save_every=30,
)
MODEL = Model(
    pane=10.0,
    windows=(60.0, 120.0),
    horizon=40.0,
    segments=("country",),
    fairness=("country",),
    value={"tp": 3.0, "fp": -1.0, "fn": -2.5},
    reference=Reference(first=50),
    rules=RULES,
    learn=LEARN,
)
REGRESSION = Model(
    pane=10.0,
    windows=(60.0,),
    segments=("country",),
    reference=Reference(first=4),
    rules=(
        Rule(name="expected-mae", metric="estimated_mae", above=0.58, segment="*", min_samples=1),
        Rule(name="mae-off", metric="mae", against="estimate", segment="*", min_samples=2),
    ),
)
CONFIG = Config(models={"m": MODEL, "r": REGRESSION}, limits=Limits(segments=5))

Records = dict[Side, list[StoredRecord]]
LONG = pytest.mark.long


def record(offset: int, ts: float, body: dict[str, object] | bytes) -> StoredRecord:
    value = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return StoredRecord(offset, int(ts * 1000), value, b"m")


def traffic(seed: int, count: int, step: float) -> Records:
    """Predictions of two models and their labels with every kind of irregularity, each topic in its own order."""
    rng = random.Random(seed)
    events: list[tuple[float, Side, dict[str, object] | bytes]] = []
    for number in range(count):
        ts = START + number * step
        model = "m" if rng.random() < 0.8 else "r"
        score = rng.random()
        truth = rng.random() < (score if number < count / 2 else 1 - score)
        event: dict[str, object] = {
            "model": model,
            "id": f"e{number}",
            "ts": ts,
            "prediction": int(score > 0.5) if model == "m" else score * 10 + 0.1,
            "score": score,
            "features": {"amount": rng.gauss(number / count, 1), "kind": rng.choice("abc")},
            "attributes": {"country": rng.choice(["BR", "DE", "US", "FR", "NO", "SE"])},
            "latency_ms": rng.expovariate(1 / 20),
        }
        if number % 3 == 0:
            event["resources"] = {"cpu_percent": float(number * 7 % 100), "memory_bytes": 1e9 + number * 2e6}
        if rng.random() < 0.05:
            event["error"], event["prediction"] = "timeout", None
        if rng.random() < 0.1:
            event["features"] = {"kind": 7, "amount": None}
        if number > count / 2 and rng.random() < 0.2:
            event["features"] = {"kind": "a", "amount": 0.5, f"new{number % 3}": 1.0}
        if rng.random() < 0.02:
            event["features"] = {"kind": "a", "amount": 1.0, f"new{rng.randrange(3)}": True}
        events.append((ts, "predictions", event))
        if rng.random() < 0.05:
            events.append((ts + rng.random() * 5, "predictions", event))
        label = {"model": model, "id": f"e{number}", "label": int(truth) if model == "m" else score * 9.0}
        for _ in range(rng.choice((0, 1, 1, 1, 1, 1, 1, 2))):
            at = ts + rng.choice((-3.0, 0.0, 1.0, 5.0, 60.0)) * rng.random()
            events.append((at, "labels", {**label, "ts": at}))
        if rng.random() < 0.05:
            events.append(
                (ts, rng.choice(("predictions", "labels")), rng.choice((b"{", b"", b'{"model":"m"}', b"\xff")))
            )
    # Each topic is nearly in order of event time, as services publish.
    events.sort(key=lambda each: each[0] + rng.random())
    found: Records = {"predictions": [], "labels": []}
    for ts, side, body in events:
        found[side].append(record(len(found[side]), ts, body))
    return found


def slices(records: Records, sizes: Iterator[int]) -> Iterator[dict[Side, list[StoredRecord]]]:
    at: dict[Side, int] = {"predictions": 0, "labels": 0}
    while any(at[side] < len(records[side]) for side in at):
        part: dict[Side, list[StoredRecord]] = {}
        for side in ("predictions", "labels"):
            size = next(sizes)
            part[side] = records[side][at[side] : at[side] + size]
            at[side] += size
        yield part


def constant(size: int) -> Iterator[int]:
    while True:
        yield size


def told(effects: list[Outgoing]) -> dict[Channel, list[tuple[str, bytes]]]:
    found: dict[Channel, list[tuple[str, bytes]]] = {channel: [] for channel in Channel}
    for effect in effects:
        # A pickle is not byte for byte the same after a restore; what it does is.
        value = b"" if effect.channel is Channel.ARTIFACTS else effect.value
        if effect.channel is Channel.UPDATES:
            value = msgspec.json.encode({**json.loads(value), "sha256": ""})
        found[effect.channel].append((effect.key, value))
    found[Channel.DEAD_LETTERS].sort()
    return found


def run(records: Records, sizes: Iterator[int]) -> tuple[Shard, list[Outgoing]]:
    shard, effects = Shard(0, CONFIG), []
    for part in slices(records, sizes):
        effects += shard.apply(part, Clock(START + 1e6, BEHIND))
    return shard, effects + shard.finish()


@pytest.fixture(autouse=True, scope="module")
def calibrated_early() -> Iterator[None]:
    """A short stream has estimates, too, and all features are compared together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "LEAST", 20)
        patch.setattr(apart, "SUPPORT", 5.0)
        patch.setattr(apart, "SURETY", 0.5)
        patch.setattr(apart, "RELEASE", 0.4)
        patch.setattr(losses, "LEAST", 3)
        patch.setattr(losses, "ENOUGH", 6)
        patch.setattr(loss_scale, "ALPHA", 0.9)
        patch.setattr(joint_drift, "LEAST", 20)
        patch.setattr(segment_drift, "LEAST", 5)
        yield


# Where each event is a tick, and most a pane, of its own, a run takes ten times as long.
@pytest.mark.parametrize(
    ("step", "count"), [(0.01, 150), pytest.param(0.4, 150, marks=LONG), pytest.param(7.0, 50, marks=LONG)]
)
def test_any_slicing_gives_the_same(step: float, count: int) -> None:
    records = traffic(1, count, step)
    whole, effects = run(records, constant(10_000))
    assert {effect.channel for effect in effects} == set(Channel)
    for size in (1, 7, 100):
        shard, same = run(records, constant(size))
        assert told(same) == told(effects)
        assert shard.view() == whole.view()


@pytest.mark.long
@given(st.integers(0, 1000), st.lists(st.integers(0, 60), min_size=20, max_size=20), st.sampled_from([0.05, 1.0, 9.0]))
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_drawn_slicings_give_the_same(seed: int, sizes: list[int], step: float) -> None:
    records = traffic(seed, 80 if step < 1.0 else 30, step)
    whole, effects = run(records, constant(10_000))
    shard, same = run(records, (size for _ in constant(0) for size in [*sizes, 50]))
    assert told(same) == told(effects)
    assert shard.view() == whole.view()


@pytest.mark.parametrize(
    ("step", "count"), [(0.05, 150), pytest.param(0.4, 150, marks=LONG), pytest.param(7.0, 80, marks=LONG)]
)
def test_restored_at_any_moment_is_as_never_stopped(step: float, count: int) -> None:
    records = traffic(2, count, step)
    whole, effects = run(records, constant(50))
    rows: dict[str, bytes] = {}
    seen: dict[int, Outgoing] = {}
    shard = Shard(0, CONFIG)
    at: dict[Side, int] = {"predictions": 0, "labels": 0}
    calls = 0
    while any(at[side] < len(records[side]) for side in at):
        part: dict[Side, list[StoredRecord]] = {side: records[side][at[side] : at[side] + 29] for side in at}
        shard.apply(part, Clock(START + 1e6, BEHIND))
        at = {side: at[side] + 29 for side in at}
        calls += 1
        if calls % 2 == 0:
            delta = shard.delta()
            for key in delta.delete:
                rows.pop(key, None)
            rows |= delta.put
            seen |= {effect.seq: effect for effect in shard.outbox}
            if calls % 3 == 0 and shard.outbox:
                shard.published(shard.outbox[-1].seq)
        if calls % 5 == 0:
            shard = Shard.restore(0, CONFIG, sorted(rows.items()))
            at = {side: offset or 0 for side, offset in shard.next.items()}
    shard.finish()
    seen |= {effect.seq: effect for effect in shard.outbox}
    assert told([seen[seq] for seq in sorted(seen)]) == told(effects)
    assert shard.view() == whole.view()


def conserved(counts: Counts) -> bool:
    predictions = (
        counts.outcomes + counts.pending + counts.expired_predictions + counts.duplicate_predictions + counts.errors
    )
    labels = counts.outcomes + counts.early + counts.expired_labels + counts.duplicate_labels
    return counts.predictions == predictions and counts.labels == labels


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=LONG) for seed in (1, 2))])
def test_every_event_is_counted_once_at_any_moment(seed: int) -> None:
    records = traffic(seed, 150, 0.5)
    shard = Shard(0, CONFIG)
    for part in slices(records, constant(31)):
        shard.apply(part, Clock(START + 1e6, BEHIND))
        assert all(conserved(model.counts) for model in shard.view().models)
    shard.finish()
    view = shard.view()
    taken = sum(model.counts.predictions + model.counts.labels for model in view.models)
    refused = sum(view.dead_letters.values())
    assert taken + refused == len(records["predictions"]) + len(records["labels"])
    assert next(model for model in view.models if model.model == "m").counts.expired_predictions


def test_a_dead_letter_carries_the_bytes_and_where_they_were() -> None:
    shard = Shard(3, CONFIG)
    bad = [b"\xff\xfe", b'{"model": "m", "id": "1", "ts": "yesterday", "prediction": 1}', b"[1, 2]"]
    shard.apply({"predictions": [record(10 + n, START, body) for n, body in enumerate(bad)]}, Clock(START, BEHIND))
    letters = [effect for effect in shard.finish() if effect.channel is Channel.DEAD_LETTERS]
    assert [letter.value for letter in letters] == bad
    headers = [dict(letter.headers) for letter in letters]
    assert [header["offset"] for header in headers] == [b"10", b"11", b"12"]
    assert {header["topic"] for header in headers} == {b"predictions"}
    assert {header["partition"] for header in headers} == {b"3"}
    assert [header["reason"] for header in headers] == [b"not_json", b"bad_time", b"invalid"]
    assert shard.next["predictions"] == 13


def test_an_event_from_the_future_is_refused_and_moves_no_clock() -> None:
    shard = Shard(0, CONFIG)
    late = {"model": "m", "id": "1", "ts": START + 10 * 365 * 86400, "prediction": 1}
    shard.apply({"predictions": [StoredRecord(0, int(START * 1000), msgspec.json.encode(late))]}, Clock(START))
    shard.finish()
    assert Counter(shard.view().dead_letters) == {"future": 1}
    assert shard.view().models == []


def test_a_topic_with_a_backlog_holds_the_other_back() -> None:
    shard = Shard(0, CONFIG)
    guess = {"model": "m", "id": "1", "ts": START + 10, "prediction": 1}
    shard.apply({"predictions": [record(0, START + 10, guess)]}, Clock(START + 10, frozenset({"labels"})))
    assert shard.buffered["predictions"] == 1
    truth = {"model": "m", "id": "0", "ts": START + 20, "label": 1}
    shard.apply({"labels": [record(0, START + 20, truth)]}, Clock(START + 20, frozenset({"labels"})))
    assert shard.buffered == {"predictions": 0, "labels": 1}


def test_the_clock_closes_a_tick_so_that_an_alert_does_not_wait_for_the_next_event() -> None:
    rule = Rule(name="failures", metric="prediction_error_rate", above=0.5, min_samples=1)
    shard = Shard(0, Config(models={"m": Model(rules=(rule,))}))
    failed = {"model": "m", "id": "1", "ts": START, "prediction": None, "error": "boom"}
    assert shard.apply({"predictions": [record(0, START, failed)]}, Clock(START)) == []
    assert shard.apply({}, Clock(START + 0.4)) == []
    (alert,) = shard.apply({}, Clock(START + 0.5))
    assert json.loads(alert.value)["rule"] == "failures"
    assert shard.urgent


def test_silence_is_noticed_by_the_clock_even_after_a_restart() -> None:
    rule = Rule(name="silence", absent="predictions", hold=60.0)
    config = Config(models={"m": Model(rules=(rule,))})
    shard = Shard(0, config)
    guess = {"model": "m", "id": "1", "ts": START, "prediction": 1}
    shard.apply({"predictions": [record(0, START, guess)]}, Clock(START))
    shard.apply({}, Clock(START + 1))
    rows = shard.delta().put
    restored = Shard.restore(0, config, sorted(rows.items()))
    told_at = [
        second for second in range(2, 200) if restored.apply({}, Clock(START + second, idle=True)) and restored.urgent
    ]
    # The tick of the event ends half a second after it began.
    assert told_at[:1] == [60]


def test_an_unknown_model_is_refused_by_policy() -> None:
    shard = Shard(0, Config(unknown_models="dead-letter"))
    shard.apply(
        {"predictions": [record(0, START, {"model": "x", "id": "1", "ts": START, "prediction": 1})]}, Clock(START)
    )
    shard.finish()
    assert shard.view().dead_letters == {"unknown_model": 1}


def test_a_model_over_the_limit_is_refused() -> None:
    shard = Shard(0, Config(limits=Limits(models=2)))
    events = [record(n, START, {"model": f"m{n}", "id": "1", "ts": START, "prediction": 1}) for n in range(5)]
    shard.apply({"predictions": events}, Clock(START))
    shard.finish()
    assert shard.view().dead_letters == {"too_many_models": 3}
    assert len(shard.view().models) == 2


@pytest.mark.parametrize(
    ("values", "labels", "task"),
    [
        ([0, 1, 1], [0, 1, 0], "binary"),
        ([True, False, True], [1, 0, 1], "binary"),
        (["cat", "dog", "cow"], ["cat", "dog", "cow"], "multiclass"),
        ([1, 0, 2], [1, 0, 2], "multiclass"),
        ([1.0, 2.5, 3.0], [1.0, 2.0, 3.0], "regression"),
        ([250_000, 1, 2], [3, 4, 5], "regression"),
    ],
)
def test_a_task_is_inferred_and_follows_what_values_say(values: list[object], labels: list[object], task: str) -> None:
    shard = Shard(0, Config())
    guesses = [
        record(n, START + n, {"model": "x", "id": str(n), "ts": START + n, "prediction": value})
        for n, value in enumerate(values)
    ]
    truths = [
        record(n, START + n, {"model": "x", "id": str(n), "ts": START + n, "label": value})
        for n, value in enumerate(labels)
    ]
    shard.apply({"predictions": guesses, "labels": truths}, Clock(START + 10))
    shard.finish()
    (model,) = shard.view().models
    assert model.task == task
    assert model.counts.outcomes == 3
    assert conserved(model.counts)


def test_a_third_class_of_a_binary_model_goes_to_the_dead_letters() -> None:
    shard = Shard(0, Config(models={"m": Model(task="binary", positive="yes")}))
    values = ["yes", "no", "maybe"]
    events = [
        record(n, START + n, {"model": "m", "id": str(n), "ts": START + n, "prediction": value})
        for n, value in enumerate(values)
    ]
    shard.apply({"predictions": events}, Clock(START + 10))
    (letter,) = [effect for effect in shard.finish() if effect.channel is Channel.DEAD_LETTERS]
    assert b"third class" in dict(letter.headers)["detail"]
    assert shard.view().models[0].counts.predictions == 2


CHANGES: dict[str, dict[str, Any]] = {
    "pane": {"pane": 20.0},
    "segments": {"segments": ("kind", "country")},
    "task": {"task": "multiclass"},
    "regression": {"task": "regression"},
    "positive": {"positive": 0},
    "rules": {"rules": RULES[:1]},
    "window": {"windows": (30.0,), "rules": ()},
    "reference": {"reference": Reference(first=20)},
    "features": {"features": {"amount": "numeric"}},
    "learn": {"learn": Learn()},
    "horizon": {"horizon": 10.0},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_configuration_keeps_every_event_counted_once(change: str) -> None:
    records = traffic(3, 120, 0.5)
    shard = Shard(0, CONFIG)
    half: Records = {side: rows[: len(rows) // 2] for side, rows in records.items()}
    for part in slices(half, constant(31)):
        shard.apply(part, Clock(START + 1e6, BEHIND))
    rows = shard.delta().put
    changed = Config(models={"m": msgspec.structs.replace(MODEL, **CHANGES[change])}, limits=CONFIG.limits)
    shard = Shard.restore(0, changed, sorted(rows.items()))
    rest: Records = {side: records[side][shard.next[side] or 0 :] for side in half}
    for part in slices(rest, constant(31)):
        shard.apply(part, Clock(START + 1e6, BEHIND))
        assert all(conserved(model.counts) for model in shard.view().models)
    shard.finish()
    view = shard.view()
    taken = sum(model.counts.predictions + model.counts.labels for model in view.models)
    assert taken + sum(view.dead_letters.values()) == sum(map(len, records.values()))
    delta = shard.delta()
    kept = {key: row for key, row in rows.items() if key not in delta.delete} | delta.put
    Shard.restore(0, changed, sorted(kept.items()))


def test_an_alert_whose_rule_is_gone_is_resolved() -> None:
    rule = Rule(name="failures", metric="prediction_error_rate", above=0.5, min_samples=1)
    shard = Shard(0, Config(models={"m": Model(rules=(rule,))}))
    failed = {"model": "m", "id": "1", "ts": START, "prediction": None, "error": "boom"}
    shard.apply({"predictions": [record(0, START, failed)]}, Clock(START))
    (firing,) = shard.finish()[:1]
    restored = Shard.restore(0, Config(models={"m": Model(rules=())}), sorted(shard.delta().put.items()))
    later = {**failed, "id": "2", "ts": START + 5}
    restored.apply({"predictions": [record(1, START + 5, later)]}, Clock(START + 5))
    alerts = [json.loads(effect.value) for effect in restored.finish() if effect.channel is Channel.ALERTS]
    assert [(alert["state"], alert["fingerprint"]) for alert in alerts] == [
        ("resolved", json.loads(firing.value)["fingerprint"])
    ]


class Stored:
    """A shard with its store: rows that it asks for are lent, rows of waiting predictions never come at a restart."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.shard = Shard(0, config)
        self.rows: dict[str, bytes] = {}
        self.seen: dict[int, Outgoing] = {}
        self.lent = 0

    def apply(self, part: dict[Side, list[StoredRecord]]) -> None:
        self.shard.apply(part, Clock(START + 1e6, BEHIND))
        while self.shard.wanted:
            found = {key: self.rows[key] for key in self.shard.wanted if key in self.rows}
            self.lent += len(found)
            self.shard.answer(found)
            self.shard.apply({}, Clock(START + 1e6, BEHIND))

    def save(self) -> None:
        delta = self.shard.delta()
        for key in delta.delete:
            self.rows.pop(key, None)
        self.rows |= delta.put
        self.seen |= {effect.seq: effect for effect in self.shard.outbox}

    def restart(self) -> None:
        resident = [(key, row) for key, row in sorted(self.rows.items()) if key.startswith(RESIDENT)]
        self.shard = Shard.restore(0, self.config, resident)


@pytest.mark.parametrize("restart_every", [1000, 7])
@pytest.mark.parametrize("step", [0.05, pytest.param(0.5, marks=LONG)])
def test_predictions_beyond_memory_are_as_if_they_were_in_it(step: float, restart_every: int) -> None:
    records = traffic(4, 200, step)
    whole, effects = run(records, constant(50))
    stored = Stored(msgspec.structs.replace(CONFIG, limits=Limits(segments=5, pending=10)))
    at: dict[Side, int] = {"predictions": 0, "labels": 0}
    calls = 0
    while any(at[side] < len(records[side]) for side in at):
        stored.apply({side: records[side][at[side] : at[side] + 23] for side in at})
        at = {side: at[side] + 23 for side in at}
        calls += 1
        stored.save()
        assert all(conserved(model.counts) for model in stored.shard.view().models)
        if calls % restart_every == 0:
            stored.restart()
            at = {side: offset or 0 for side, offset in stored.shard.next.items()}
    stored.shard.finish()
    stored.save()
    assert stored.lent
    assert told([stored.seen[seq] for seq in sorted(stored.seen)]) == told(effects)
    assert stored.shard.view() == whole.view()


def test_expired_rows_that_are_only_stored_are_counted_and_then_deleted() -> None:
    stored = Stored(
        Config(models={"m": Model(pane=10.0, horizon=20.0, windows=(10.0,), rules=())}, limits=Limits(pending=1))
    )
    guesses = [
        record(n, START + n, {"model": "m", "id": f"e{n}", "ts": START + n, "prediction": 1}) for n in range(100)
    ]
    for n in range(0, 100, 10):
        stored.apply({"predictions": guesses[n : n + 10], "labels": []})
        stored.shard.apply({}, Clock(START + n + 10))
        stored.save()
    counts = stored.shard.view().models[0].counts
    assert conserved(counts)
    assert counts.expired_predictions > 50
    assert stored.shard.garbage > 0
    stored.shard.patrol({key: row for key, row in stored.rows.items() if key.startswith("pending/")})
    stored.save()
    assert stored.shard.garbage == 0
    assert sum(key.startswith("pending/") for key in stored.rows) == counts.pending
