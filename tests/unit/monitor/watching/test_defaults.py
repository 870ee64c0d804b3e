"""Default rules are quiet on healthy traffic by the odds they state, and find what has changed."""

from __future__ import annotations

import sys

import msgspec
import numpy as np
import pytest

from stream.config import Model, Rule
from stream.events import Task
from stream.monitor.basis.columns import Floats
from stream.monitor.features.reference import Categorical, Reference
from stream.monitor.rules.detectors import Detector, check_detector
from stream.monitor.rules.machine import RuleState
from stream.monitor.rules.occurrences import scan_absence, scan_detections
from stream.monitor.rules.watch import METRICS, kind, minimum, signal_of
from stream.monitor.watching.defaults import PSI_BOUND, applied, fitted, psi_samples, rules

TASKS: list[Task] = ["binary", "multiclass", "regression"]


def named(task: Task, name: str) -> Rule:
    return next(rule for rule in rules(task) if rule.name == name)


@pytest.mark.parametrize("task", TASKS)
def test_default_rules_are_sound(task: Task) -> None:
    listed = rules(task)
    assert len({rule.name for rule in listed}) == len(listed)
    assert {kind(rule) for rule in listed} == {
        "concept_drift", "data_drift", "prediction_drift", "data_quality", "service", "traffic"
    }  # fmt: skip
    for rule in listed:
        if rule.detector is not None:
            check_detector(rule.detector, rule.params, signal_of(rule))
        if rule.metric is not None:
            assert rule.metric in METRICS
        if rule.recover is not None:
            assert rule.above is not None
            assert isinstance(rule.recover, float)
            assert rule.recover < rule.above
        assert rule.window is None, "models have windows of their own"
        msgspec.convert(msgspec.to_builtins(rule), Rule)
    assert rules(None), "before the task is known, traffic and features are watched all the same"
    assert Model().rules is None


def detect(task: Task, values: Floats) -> list[float]:
    rule = named(task, "concept-drift")
    found = Detector.of(rule).feed(values, np.arange(len(values), dtype=float) * 0.5)
    sent = scan_detections(rule, RuleState(), found, len(values) * 0.5)
    return [t.time / 0.5 for t in sent if t.state == "firing"]


def test_concept_drift_is_quiet_on_healthy_losses_and_on_improvement() -> None:
    rng = np.random.default_rng(11)
    assert detect("binary", (rng.random(200_000) < 0.1).astype(float)) == []
    assert detect("regression", 1e5 * np.exp(rng.normal(0, 0.6, 200_000)) * np.abs(rng.normal(size=200_000))) == []
    assert detect("binary", (rng.random(20_000) < np.repeat([0.3, 0.1], 10_000)).astype(float)) == []


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e6])
def test_concept_drift_finds_a_worse_model_whatever_the_unit(scale: float) -> None:
    rng = np.random.default_rng(12)
    loss = np.abs(rng.normal(size=6000)) * np.repeat([1.0, 1.6], 3000) * scale
    (at,) = detect("regression", loss)
    assert 3000 < at < 4000
    (at,) = detect("binary", (rng.random(6000) < np.repeat([0.1, 0.25], 3000)).astype(float))
    assert 3000 < at < 4000


@pytest.mark.parametrize(("bins", "shares"), [(12, "equal"), (22, "zipf"), (52, "zipf")])
def test_psi_of_healthy_samples_of_the_stated_size_stays_below_its_bound(bins: int, shares: str) -> None:
    rng = np.random.default_rng(13)
    weights = np.ones(bins) if shares == "equal" else 1 / np.arange(1, bins + 1)
    weights /= weights.sum()
    n = psi_samples(bins, 1000, PSI_BOUND)
    p, q = ((rng.multinomial(size, weights, 20_000) + 0.5) / (size + bins / 2) for size in (1000, n))
    psi = ((p - q) * np.log(p / q)).sum(axis=1)
    assert 0.4 * PSI_BOUND < psi.max() < PSI_BOUND, "neither noisy nor needlessly late"


def test_a_reference_too_small_for_the_bound_never_speaks() -> None:
    assert psi_samples(52, 100, 0.2) == sys.maxsize
    assert psi_samples(2, 10**9, 0.2) < 500


def test_fitting_fills_in_only_what_the_rule_leaves_open() -> None:
    letters = tuple(f"{i:02}" for i in range(50))
    city = Categorical(name="city", categories=letters, others=(), open=False, counts=(20,) * 50 + (0,) * 4)
    reference = Reference(rows=1000, source="test", features=(city,), output=None)
    rule = Rule(name="r", feature="*", test="psi", above=0.2)
    assert minimum(fitted(rule, "city", reference)) > 1500
    assert fitted(rule, "unknown", reference) is rule
    assert fitted(rule, "city", None) is rule
    for said in (
        Rule(name="r", feature="*", test="psi", above=0.2, min_samples=7),
        Rule(name="r", feature="*", test="ks", above=0.2),
        Rule(name="r", metric="missing_rate", feature="*", above=0.2),
    ):
        assert fitted(said, "city", reference) is said


def test_applied() -> None:
    features, segments = ["age", "city", "prediction"], ["all", "country=BR"]
    assert applied(Rule(name="r", feature="*", test="psi", segment="*"), segments, features) == [
        ("all", "age"),
        ("all", "city"),
        ("country=BR", "age"),
        ("country=BR", "city"),
    ]
    assert applied(Rule(name="r", feature="prediction", test="psi"), segments, []) == [("all", "prediction")]
    assert applied(Rule(name="r", metric="f1", segment="country=DE"), segments, features) == [("country=DE", None)]


def test_silence_of_rare_or_batched_traffic_is_usual_and_of_steady_traffic_is_not() -> None:
    rule = named("binary", "no-predictions")
    hourly = np.arange(0.0, 86400.0, 3600.0)
    batches = (hourly[:, None] + np.arange(0.0, 300.0, 0.5)).ravel()
    steady = np.arange(0.0, 3600.0, 2.0)
    for seen, fires in [(hourly, False), (batches, False), (steady, True)]:
        sent = scan_absence(rule, RuleState(), seen, float(seen[-1]) + 3600)
        assert [t.state for t in sent] == (["firing"] if fires else [])
