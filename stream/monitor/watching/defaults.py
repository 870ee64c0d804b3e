"""The rules of a model that names none, and what a rule with `*` applies to.

Invariant: what is watched by default has a stated reason to stay silent on healthy traffic: bounds lie above the noise
of their own estimate, and only changes for the worse count.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import msgspec
from scipy import special

from stream.config import HOUR, MINUTE, Rule
from stream.events import Task
from stream.monitor.features.reference import Feature, Numeric, Reference
from stream.monitor.rules.asked import is_joint
from stream.monitor.rules.change import INTERVAL
from stream.monitor.rules.watch import FEATURE_SIGNAL, MIN_DRIFT_SAMPLES, PREDICTION

PSI_BOUND = 0.2
"""The rule of thumb: below 0.1 little change, above 0.25 a significant one (Yurdakul and Naranjo, see `psi_samples`).
This is below the second, for a window that still holds traffic from before the change shows less of it."""

CHANCE = 1e-8
"""Chance that PSI crosses its bound on healthy traffic, per look at the smallest sample that counts."""

ADWIN_DELTA = 1e-5
"""With river's default of 0.002 ADWIN fired 7 times for worse on 5 million healthy losses (Bernoulli 0.02 and 0.1, log
loss, absolute errors of equal and of unequal variance), with this never; a step of the error rate from 0.1 to 0.2 after
5,000 outcomes was found after 503 instead of 311 (medians of 200 runs).

Losses of a regression are capped: on 2 million healthy ones with heavy tails it fired 60 times uncapped (|t| with 3
degrees of freedom times a log-normal), 278 times (log-normal, sigma 1.5), and capped never; twice the loss after 5,000
outcomes was found after 187 (normal) to 459 (log-normal) instead of 59 to 267 (medians of 20)."""

BUSY_TICKS = 1200
"""Ticks with predictions since the last pause, ten minutes of steady traffic, before a silence is one: batch jobs and
rare requests are silent by nature, and so is a quiet night. See `occurrences.PAUSE`."""


def rules(task: Task | None) -> tuple[Rule, ...]:
    """The default rules of a task."""
    signal = "capped_loss" if task == "regression" else "loss"
    return (
        Rule(
            name="concept-drift",
            detector="river.drift.ADWIN",
            signal=signal,
            params={"delta": ADWIN_DELTA},
            direction="up",
            cooldown=10 * MINUTE,
            severity="critical",
        ),
        Rule(name="feature-drift", feature="*", test="psi", above=PSI_BOUND, recover=0.1, cooldown=HOUR),
        Rule(name="prediction-drift", feature=PREDICTION, test="psi", above=PSI_BOUND, recover=0.1, cooldown=HOUR),
        Rule(name="missing-values", metric="missing_rise", feature="*", above=0.2, recover=0.1, min_samples=500),
        Rule(
            name="prediction-errors",
            metric="prediction_error_rate",
            above=0.05,
            recover=0.03,
            min_samples=200,
            severity="critical",
        ),
        Rule(name="no-predictions", absent="predictions", hold=10 * MINUTE, min_samples=BUSY_TICKS),
    )


def applied(rule: Rule, segments: Iterable[str], features: Iterable[str]) -> list[tuple[str, str | None]]:
    """The (segment, feature) pairs a rule applies to, among the known `segments` ("all" among them) and `features`.

    >>> applied(Rule(name="r", feature="*", test="psi", above=0.2), ["all", "country=BR"], ["age", "prediction"])
    [('all', 'age')]
    >>> applied(Rule(name="r", feature="*", test="mmd", below=1e-6), ["all"], ["age", "prediction"])
    [('all', '*')]
    >>> applied(Rule(name="r", metric="f1", below=0.9, segment="*"), ["all", "country=BR"], [])
    [('all', None), ('country=BR', None)]
    >>> applied(Rule(name="r", metric="f1", below=0.9, segment="country=*"), ["all", "country=BR", "age=9"], [])
    [('country=BR', None)]
    """
    where = [rule.segment]
    if rule.segment == "*":
        where = list(segments)
    elif rule.segment.endswith("=*"):
        where = [name for name in segments if name.startswith(rule.segment[:-1])]
    watched = rule.feature
    if rule.guard is not None:
        watched = PREDICTION if rule.guard == PREDICTION else None
        if rule.guard.startswith(FEATURE_SIGNAL):
            watched = rule.guard.removeprefix(FEATURE_SIGNAL)
    what: list[str | None] = [watched]
    if watched == "*" and not is_joint(rule):
        what = [name for name in features if name != PREDICTION]
    return [(segment, feature) for segment in where for feature in what]


def fitted(rule: Rule, feature: str | None, reference: Reference | None) -> Rule:
    """The rule as it holds for one feature: a bound on PSI that says no `min_samples` gets what its bins call for, and
    a comparison with the estimate that has no bounds looks to both sides."""
    if rule.against is not None and rule.drop is None and rule.rise is None:
        return msgspec.structs.replace(rule, drop=INTERVAL, rise=INTERVAL)
    if rule.test != "psi" or rule.min_samples is not None or rule.above is None or reference is None:
        return rule
    known = next((each for each in reference.monitored if each.name == feature), None)
    if known is None:
        return rule
    needed = psi_samples(_compared(known), reference.rows, rule.above)
    return msgspec.structs.replace(rule, min_samples=max(MIN_DRIFT_SAMPLES, needed))


def psi_samples(bins: int, reference: int, bound: float) -> int:
    """The sample size from which PSI of `bins` bins stays below `bound` on healthy traffic but for `CHANCE`.

    With n samples against a reference of m, PSI / (1/n + 1/m) is nearly chi-squared with `bins` - 1 degrees of freedom
    (Yurdakul and Naranjo, "Statistical properties of the population stability index", J. of Risk Model Validation).
    `sys.maxsize` when the reference alone is too small for the bound: then no sample is large enough.

    >>> psi_samples(12, 1000, 0.2), psi_samples(52, 1000, 0.2), psi_samples(52, 500, 0.2) == sys.maxsize
    (427, 1827, True)
    """
    inverse = bound / float(special.chdtri(max(1, bins - 1), CHANCE)) - 1.0 / max(1, reference)
    return sys.maxsize if inverse <= 0 else int(1.0 / inverse) + 1


def _compared(feature: Feature) -> int:
    """Bins that PSI compares: the coarse ones of a number, the categories; missing and invalid values."""
    return (max(feature.groups) + 1 if isinstance(feature, Numeric) else feature.bins) + feature.EXTRA
