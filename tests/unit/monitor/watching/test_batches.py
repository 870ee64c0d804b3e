"""A rule on many features, judged as one: the same transitions as feature by feature."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from stream.config import Limits, Rule
from stream.monitor.basis.columns import Ints
from stream.monitor.features import drift, quality
from stream.monitor.features.feature_layout import FeatureLayout
from stream.monitor.features.reference_builder import from_events
from stream.monitor.panes.values import cause
from stream.monitor.rules import bounds
from stream.monitor.rules.alerts import Subject
from stream.monitor.rules.machine import RuleState, Transition
from stream.monitor.watching.batches import Batch, planned
from stream.monitor.watching.look import Look
from stream.monitor.watching.placed import Watch

rng = np.random.default_rng(8)
REFERENCE = [
    {"a": float(rng.normal()), "b": float(rng.normal()), "word": str(rng.choice(["x", "y"]))} for _ in range(500)
]
LAYOUT = FeatureLayout(from_events(cast(Any, REFERENCE), rng.random(500), None, Limits(), "test"))


def counts() -> Ints:
    """Histograms at 60 ticks of a window that drifts away and back, with values missing and new now and then."""
    rows: list[dict[str, Any]] = []
    ticks = []
    for tick in range(60):
        shift = 3.0 if 20 <= tick < 40 else 0.0
        for _ in range(8):
            row: dict[str, Any] = {
                "a": float(rng.normal()) + shift,
                "b": float(rng.normal()),
                "word": str(rng.choice(["x", "y"])),
            }
            if shift and rng.random() < 0.5:
                row |= {"b": None, "word": "z"}
            rows.append(row)
        histogram = LAYOUT.histogram(LAYOUT.columns(rows[-160:], rng.random(len(rows[-160:]))))
        ticks.append(histogram)
    return np.array(ticks)


COUNTS = counts()

RULES = (
    Rule(name="psi", feature="*", test="psi", above=0.3, recover=0.1, min_samples=50),
    Rule(name="ks", feature="*", test="ks", above=0.2, min_samples=50, hold=3.0, cooldown=4.0),
    Rule(name="missing", metric="missing_rise", feature="*", above=0.1, min_samples=50),
    Rule(name="unseen", metric="unseen_rate", feature="*", above=0.05, min_samples=50, hold=2.0),
    Rule(name="outside", metric="outside_rate", feature="*", above=0.05, min_samples=50),
    Rule(name="stuck", metric="constant_rate", feature="*", above=0.55, below=0.01, min_samples=50),
)


def alone(rule: Rule, feature: str) -> list[Transition]:
    """The same rule on one feature, by the functions for one feature."""
    times = np.arange(1, 61) / 2.0
    if rule.metric is None:
        observed = drift.one(LAYOUT, COUNTS, feature, rule.test or "psi")
        samples = drift.samples(LAYOUT, COUNTS, feature)
    else:
        observed = quality.share(LAYOUT, COUNTS, feature, cause(rule.metric))
        samples = quality.total(LAYOUT, COUNTS, feature)
        if rule.metric.endswith("_rise"):
            observed = observed - quality.reference_share(LAYOUT, feature, cause(rule.metric))
    return bounds.scan(rule, RuleState(), times, observed, samples, until=31.0)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("cut", [60, 7, 1])
def test_together_is_as_alone(rule: Rule, cut: int) -> None:
    watches = [Watch(Subject("m", rule, "all", name), 0) for name in ("a", "b", "word", "prediction", "nowhere")]
    (batch,) = planned(watches)
    assert isinstance(batch, Batch)
    found: dict[str, list[Transition]] = {}
    for start in range(0, 60, cut):
        part = COUNTS[start : start + cut]
        ends = np.arange(start + 1, start + 1 + len(part)) / 2.0
        look = SimpleNamespace(
            m=SimpleNamespace(normal=SimpleNamespace(layout=LAYOUT)),
            course=SimpleNamespace(ends=ends),
            judged=ends,
            cells=lambda _, part=part: part,
            distances=lambda _, test, part=part: drift.every(LAYOUT, part, test),
        )
        for watch, transitions in batch.look(cast(Look, look)):
            found.setdefault(watch.subject.feature or "", []).extend(transitions)
    nothing = SimpleNamespace(**{**vars(look), "judged": np.empty(0), "course": SimpleNamespace(ends=np.array([31.0]))})
    for watch, transitions in batch.look(cast(Look, nothing)):
        found.setdefault(watch.subject.feature or "", []).extend(transitions)
    expected = {name: sent for name in ("a", "b", "word", "prediction") if (sent := alone(rule, name))}
    assert {name: sent for name, sent in found.items() if sent} == expected


def test_every_rule_here_moves_somewhere() -> None:
    moved = {rule.name for rule in RULES for name in ("a", "b", "word") if alone(rule, name)}
    assert moved == {rule.name for rule in RULES}


def test_only_rules_on_features_of_the_whole_model_are_joined() -> None:
    guard = Rule(name="g", guard="feature:*")
    change = Rule(name="c", metric="missing_rate", feature="*", rise=0.1)
    missing = RULES[2]
    watches = [
        *(Watch(Subject("m", guard, "all", name), 0) for name in "ab"),
        *(Watch(Subject("m", missing, "all", name), 0) for name in "ab"),
        *(Watch(Subject("m", missing, "country=BR", name), 0) for name in "ab"),
        *(Watch(Subject("m", change, "all", name), 0) for name in "ab"),
        *(Watch(Subject("m", RULES[0], "all", name), 0) for name in "ab"),
    ]
    assert [type(each).__name__ for each in planned(watches)] == [
        *("Watch", "Watch", "Batch", "Watch", "Watch", "Watch", "Watch", "Batch")
    ]
