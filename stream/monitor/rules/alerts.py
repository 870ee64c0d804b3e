"""Alerts on the wire: a transition of a rule, with an identity and a sentence.

Invariant: `fingerprint` and `id` are functions of the model, the rule, what it was applied to and event time alone, so
the same events give the same ids after a crash, a rebalance or in replay.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from stream.config import Rule
from stream.events import Alert, AlertKind, AlertState, Explanation, Span
from stream.monitor.rules.asked import is_joint
from stream.monitor.rules.change import INTERVAL, is_change
from stream.monitor.rules.machine import TICK, Reason, Transition
from stream.monitor.rules.occurrences import GUARD_QUIET, QUIET
from stream.monitor.rules.watch import FEATURE_SIGNAL, METRICS, PREDICTION, budget, counted, kind, named, signal_of

T = TypeVar("T")

_LAST = 253402300799.0
"""The last second that has a date."""


class Subject(Struct, frozen=True):
    """One rule applied to one segment and, where it watches features, one feature."""

    model: str
    rule: Rule
    segment: str = "all"
    feature: str | None = None
    of: AlertKind | None = None
    """The kind of a composite rule: that of the first rule that it names."""

    @property
    def kind(self) -> AlertKind:
        """The kind of its alerts."""
        return self.of or kind(self.rule)

    @property
    def fingerprint(self) -> str:
        """The same for every alert of this subject: 16 hexadecimal digits."""
        return _digest([self.model, self.rule.name, self.segment, self.feature])


class Evidence(Struct, frozen=True):
    """What is known beside the value when an alert is built; None where there is none."""

    lower: float | None = None
    upper: float | None = None
    reference: float | None = None
    coverage: float | None = None
    window: Span | None = None
    version: str | None = None
    explanation: Explanation | None = None
    note: str = ""
    """What else a reader must know to judge the alert."""


def build(subject: Subject, transition: Transition, evidence: Evidence | None = None) -> Alert:
    """The alert of a transition."""
    evidence = evidence or Evidence()
    rule = subject.rule
    fingerprint = subject.fingerprint
    reference = transition.reference if transition.reference is not None else evidence.reference
    value = transition.value if math.isfinite(transition.value) else None
    return Alert(
        id=identity(fingerprint, transition.started_at, transition.state, transition.sequence),
        fingerprint=fingerprint,
        model=subject.model,
        segment=subject.segment,
        rule=rule.name,
        kind=subject.kind,
        severity=rule.severity,
        state=transition.state,
        value=value,
        samples=0 if rule.absent else transition.samples,
        started_at=transition.started_at,
        ts=transition.time,
        summary=summary(subject, transition, evidence),
        version=_known(evidence.version),
        metric=_known(rule.metric or rule.test or rule.guard or (signal_of(rule) if rule.detector else None)),
        feature=_known(subject.feature),
        lower=_known(evidence.lower),
        upper=_known(evidence.upper),
        threshold=_known(None if named(rule) else transition.threshold),
        reference=_known(reference),
        coverage=_known(evidence.coverage),
        window=_known(evidence.window),
        explanation=_known(evidence.explanation),
    )


def resolved(alert: Alert, time: float, why: str) -> Alert:
    """The end of a firing alert for a reason that no rule sees, at event time `time`."""
    return msgspec.structs.replace(
        alert,
        id=_digest([alert.fingerprint, alert.id, "resolved"]),
        state="resolved",
        ts=max(time, alert.ts),
        summary=f"resolved: {why} ({alert.summary})",
    )


def identity(fingerprint: str, started_at: float, state: AlertState, sequence: int = 0) -> str:
    """The id of one alert: 16 hexadecimal digits. `sequence` tells firings of the same tick apart."""
    return _digest([fingerprint, round(started_at / TICK), state, sequence])


def summary(subject: Subject, transition: Transition, evidence: Evidence) -> str:
    """One sentence with the numbers, for a person who sees nothing else.

    >>> rule = Rule(name="low", metric="accuracy", below=0.9, window=3600.0)
    >>> fired = Transition("firing", 51000.0, 50700.0, 0.8712, 1204, 0.9, Reason.HELD)
    >>> summary(Subject("fraud", rule), fired, Evidence(lower=0.853, upper=0.887))
    'accuracy of fraud fell to 0.8712 (95 % 0.853–0.887) over 1 h, below 0.9, since 14:05 UTC (1,204 outcomes)'
    """
    if transition.reason is Reason.RENEWED:
        return _renewed(subject)
    if subject.rule.absent is not None:
        return _absence(subject, transition)
    if subject.rule.guard is not None:
        return _guarded(subject, transition, evidence)
    if subject.rule.detector is not None:
        return _change(subject, transition)
    if named(subject.rule):
        return _together(subject, transition)
    return _bound(subject, transition, evidence)


def _bound(subject: Subject, transition: Transition, evidence: Evidence) -> str:
    rule = subject.rule
    below = fell(rule, transition)
    side = "below" if below else "above"
    value = number(transition.value, transition.threshold)
    if evidence.lower is not None and evidence.upper is not None:
        value += f" (95 % {number(evidence.lower)}–{number(evidence.upper)})"
    over = f" over {duration(rule.window)}" if rule.window else ""
    bound = "" if transition.threshold is None else f" {side} {number(transition.threshold)}"
    if INTERVAL in (rule.drop, rule.rise):
        how = "95 % intervals" if rule.against is None else "sampling explains"
        bound = f" {side} it by more than {how}" if transition.state == "firing" else " apart from it"
    if is_change(rule) and transition.reference is not None:
        where = "at reference" if rule.against is None else "estimated of the same predictions without labels"
        over += f", compared with {number(transition.reference, transition.value)} {where}"
    samples = f"({transition.samples:,} {counted(rule)})"
    what = _watched(subject)
    if transition.state == "firing":
        verb = "fell" if below else "rose"
        return f"{what} {verb} to {value}{over},{bound}, since {_clock(transition)} {samples}"
    lasted = duration(transition.time - transition.started_at)
    return f"{what} is back at {value}{over} after {lasted}{bound} {samples}"


def fell(rule: Rule, transition: Transition) -> bool:
    """Whether the bound that was crossed is a lower one."""
    if not is_change(rule):
        return rule.below is not None and transition.threshold == rule.below
    if rule.drop is None or rule.rise is None:
        return rule.drop is not None
    bound, reference = transition.threshold, transition.reference
    return bound is not None and reference is not None and bound < reference


def _change(subject: Subject, transition: Transition) -> str:
    rule = subject.rule
    detector = (rule.detector or "").rpartition(".")[2]
    what = _signal(subject)
    if transition.state == "resolved":
        return f"{detector} found no further change of {what} for {duration(rule.cooldown or QUIET)}"
    before = transition.reference
    if before is None:
        return f"{detector} found a change of {what} at {_clock(transition)} (value {transition.samples:,})"
    verb = "rose" if transition.value > before else "fell"
    after = number(transition.value, before)
    found = f"({detector}, value {transition.samples:,})"
    return f"{what} {verb} from {number(before)} to {after} at {_clock(transition)} {found}"


def _renewed(subject: Subject) -> str:
    rule = subject.rule
    if rule.detector is not None:
        what = f"{rule.detector.rpartition('.')[2]} on {_signal(subject)}"
    elif rule.guard is not None:
        what = f"the guard on {subject.feature or rule.guard} of {_owner(subject)}"
    else:
        what = _watched(subject)
    return f"{what}: the present was accepted as normal, and the reference is taken anew"


def _guarded(subject: Subject, transition: Transition, evidence: Evidence) -> str:
    rule = subject.rule
    watched = subject.feature or rule.guard
    what = f"{'the predictions' if watched == PREDICTION else watched} of {_owner(subject)}"
    if transition.state == "resolved":
        return f"the guard found no further change of {what} for {duration(rule.cooldown or GUARD_QUIET)}"
    before, note = transition.reference, f"; {evidence.note}" if evidence.note else ""
    assert before is not None
    verb = "rose" if transition.value > before else "fell"
    moved = f"{verb} from {number(before)} to about {number(transition.value, before)}"
    promise = f"guard of at most 1 false alarm per {number(budget(rule))} values, value {transition.samples:,}{note}"
    return f"{what} {moved} at {_clock(transition)} ({promise})"


def _absence(subject: Subject, transition: Transition) -> str:
    what = f"{subject.rule.absent} of {_owner(subject)}"
    silent = duration(transition.value)
    if transition.state == "firing":
        return f"no {what} for {silent}, since {_clock(transition)}"
    return f"{what} came again after {silent} without any"


def _together(subject: Subject, transition: Transition) -> str:
    names, owner = ", ".join(named(subject.rule)), _owner(subject)
    if transition.state == "firing":
        fire = f"{transition.value:.0f} of {transition.samples} rules of {owner} fire"
        return f"{fire} at once, since {_clock(transition)} ({names})"
    lasted = duration(transition.time - transition.started_at)
    word = "at once" if subject.rule.every else "any more"
    return f"{transition.samples} rules of {owner} do not fire {word} after {lasted} ({names})"


def _watched(subject: Subject) -> str:
    rule, owner = subject.rule, _owner(subject)
    feature = subject.feature or rule.feature
    if rule.metric is not None:
        watched = METRICS.get(rule.metric)
        of = f"{feature} in {owner}" if watched is not None and watched.per_feature else owner
        of = of if rule.attribute is None else f"{rule.attribute} of {owner}"
        return f"{rule.metric} of {of}"
    if is_joint(rule):
        return f"p-value of mmd of all features together of {owner} against the reference"
    drifting = "the predictions" if feature == PREDICTION else feature
    return f"{rule.test or 'psi'} of {drifting} of {owner} against the reference"


def _signal(subject: Subject) -> str:
    signal = signal_of(subject.rule)
    name = signal.removeprefix(FEATURE_SIGNAL)
    feature = subject.feature or name
    return f"{feature if signal.startswith(FEATURE_SIGNAL) else signal} of {_owner(subject)}"


def _owner(subject: Subject) -> str:
    return subject.model if subject.segment == "all" else f"{subject.model} in {subject.segment}"


def _clock(transition: Transition) -> str:
    """When it began, in UTC; with the date unless that is the date of the alert."""
    start, now = (datetime.fromtimestamp(min(t, _LAST), UTC) for t in (transition.started_at, transition.time))
    return f"{start:%H:%M} UTC" if start.date() == now.date() else f"{start:%Y-%m-%d %H:%M} UTC"


def number(value: float, apart_from: float | None = None) -> str:
    """A number with as many digits as a person needs, and enough to differ from another one if it does.

    >>> number(0.87123), number(12345.6), number(0.00001234), number(0.89999, apart_from=0.9)
    ('0.8712', '12,346', '1.234e-05', '0.89999')
    """
    if not math.isfinite(value):
        return "undefined"
    for digits in range(4, 18):
        text = f"{value:.{digits}g}"
        if 1000 <= abs(value) < 1e9:
            text = f"{value:,.{max(0, digits - 4)}f}"
        if apart_from is None or value == apart_from or float(text.replace(",", "")) != apart_from:
            break
    return text


def duration(seconds: float) -> str:
    """A duration in its two largest units.

    >>> duration(3600), duration(5400), duration(90.5), duration(0.25)
    ('1 h', '1 h 30 min', '1 min 30 s', '0.25 s')
    """
    if seconds < 60:
        return f"{seconds:g} s"
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    rest, parts = int(seconds), []
    for unit, size in units:
        amount, rest = divmod(rest, size)
        if amount:
            parts.append(f"{amount} {unit}")
    return "24 h" if seconds == 86400 else " ".join(parts[:2])


def _known(value: T | None) -> T | UnsetType:
    return UNSET if value is None else value


def _digest(parts: list[str | int | None]) -> str:
    """Stable across processes; JSON keeps the parts apart, whatever characters they hold."""
    return blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()
