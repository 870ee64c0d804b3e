"""Which guard a rule asks for, given the model's task, reference and other guards.

Invariant: the shares of the guards of a model add up to one budget: each of F guards gets the F-th part. Rules share
it evenly, then the features and segments of a rule, so that a guard's bound does not depend on when others come up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import structs

from stream.config import Model, Rule
from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.features.reference import OUTPUT, Numeric
from stream.monitor.guards.guard import Guard, feed_together
from stream.monitor.guards.guard_state import FIRST, Scheme
from stream.monitor.known import Known
from stream.monitor.rules.alerts import Subject
from stream.monitor.rules.occurrences import GUARD_QUIET, Detection
from stream.monitor.rules.watch import FEATURE_SIGNAL, budget
from stream.monitor.watching import signals
from stream.monitor.watching.look import Look
from stream.monitor.watching.placed import Watch

Key: TypeAlias = tuple[str, str, str | None]
"""Rule, segment and feature."""

OF_TASK = ("error_rate", "loss", "score")
"""What means something else under another task."""


def scheme(subject: Subject, spec: Model, m: Known) -> Scheme | None:
    """The guard of a rule on one segment and feature; None while what it needs is not known."""
    rule = subject.rule
    assert rule.guard is not None
    gamma = budget(rule) * _sharers(rule, spec, m)
    seed = int(subject.fingerprint, 16)
    common = Scheme("numbers", gamma, rule.direction, rule.tolerance, m.normal.first or FIRST, seed)
    if rule.guard in OF_TASK:
        if m.task is None or (m.task == "regression" and rule.guard != "loss"):
            return None
        if m.task == "regression" or rule.guard == "score":
            return common
        return structs.replace(common, kind="flags")
    reference = m.normal.reference
    feature = next((each for each in reference.monitored if each.name == subject.feature), None) if reference else None
    if reference is None or feature is None or sum(feature.counts[: feature.bins]) == 0:
        return None
    kind = "bins" if isinstance(feature, Numeric) else "categories"
    return structs.replace(common, kind=kind, feature=feature, reference=reference.version)


def feed(watches: Sequence[Watch], spec: Model, look: Look) -> dict[Key, list[Detection]]:
    """Feeds a chunk to the guards among some rules, all at once, and says what each found."""
    if look.flow is None:
        return {}
    ready: list[tuple[Key, Guard]] = []
    fed: list[tuple[Floats | Ints, Floats]] = []
    fed_with = signals.Guarded(look)
    for watch in watches:
        if watch.rule.guard is None:
            continue
        if watch.guard is None:
            asked = scheme(watch.subject, spec, look.m)
            if asked is None:
                continue
            watch.guard = Guard(asked)
            if watch.guarded is not None:
                watch.guard.restore(watch.guarded)
                watch.guarded = None
        ready.append((watch.key, watch.guard))
        fed.append(fed_with.of(watch))
    found = feed_together([it for _, it in ready], [each for each, _ in fed], [ends for _, ends in fed])
    return {key: each for (key, _), each in zip(ready, found, strict=True)}


def quiet(rule: Rule) -> Rule:
    """The rule as its detections are judged: a guard that goes on alarming keeps its alert, and sends no other."""
    if rule.guard is None or rule.cooldown:
        return rule
    return structs.replace(rule, cooldown=GUARD_QUIET)


def _sharers(rule: Rule, spec: Model, m: Known) -> int:
    rules = sum(1 for each in spec.rules or () if each.guard is not None)
    segments = 1 + m.limits.segments if rule.segment == "*" else 1
    features = 1
    if rule.guard == f"{FEATURE_SIGNAL}*":
        features = max(1, sum(1 for name in m.normal.features if name != OUTPUT))
    return max(1, rules) * segments * features
