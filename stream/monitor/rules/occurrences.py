"""Rules on what happens or fails to: events that stop coming, changes that a detector finds.

Invariant: transitions depend on what happened when, not on how it is cut into calls: once a call has said that event
time has come to `until`, no later call brings anything at or before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from stream.config import Rule
from stream.monitor.basis.columns import Floats
from stream.monitor.rules.machine import TICK, Event, Phase, Reason, RuleState, Transition, step, tick_end
from stream.monitor.rules.watch import minimum

QUIET = 60.0
"""Seconds without a further detection after which a detector's alert resolves, unless `cooldown` says otherwise."""


PAUSE = 0.25
"""A gap of more than this part of what an absence rule waits for is a pause: traffic that has them may well be silent
for longer. Where one gap in p is a pause and gaps are exponential, one in p⁴ is a silence, and n ticks without a pause
have probability (1 - 1/p)ⁿ; so with n = 1,200 a silence is an incident by chance at most once in 4·10¹¹ ticks, whatever
p."""

GUARD_QUIET = 600.0
"""The same for guards, which look again from nothing after each alarm."""


class Detection(Struct, frozen=True):
    """A detector found a change."""

    time: float
    """Tick end of the value at which it did."""
    index: int
    """Position of that value in what was fed to the detector in this call."""
    samples: int
    """Values fed to the detector since its beginning, this one included."""
    before: float
    """Mean before the change."""
    after: float


def scan_absence(rule: Rule, state: RuleState, seen: Floats, until: float) -> list[Transition]:
    """Moves an absence rule: `seen` are the tick ends, rising, in which at least one event came; changes `state`.

    Nothing is absent before the first of `seen`, so pass the model's beginning first to be told of what never came.
    `until`: event time has come so far. `samples` of the rule's state counts the ticks with events since the last
    pause; with fewer than `min_samples` of them a silence is taken for the usual.
    """
    seen = seen[np.searchsorted(seen, state.time, side="right") :]
    if len(seen) and state.time == -math.inf:
        state.time, state.samples, seen = float(seen[0]), 1, seen[1:]
    if state.time == -math.inf:
        return []
    marks = np.concatenate(([state.time], seen))
    sent: list[Transition] = []
    start = 0
    pause = min(rule.hold, max(rule.hold * PAUSE, TICK))
    for gap in np.flatnonzero(np.diff(marks) > pause).tolist():
        state.time, state.samples = float(marks[gap]), state.samples + gap - start
        back = float(marks[gap + 1])
        _silence(rule, state, back, sent)
        if state.phase is Phase.FIRING:
            state.value = back - state.time
            step(state, Event.FALSE, back, Reason.RETURNED, sent)
            state.cooled = back + rule.cooldown
        state.time, state.samples, start = back, 1, gap + 1
    state.time, state.samples = float(marks[-1]), state.samples + len(marks) - 1 - start
    # A silence that ends the call may last: it fires up to and including `until`.
    _silence(rule, state, until + TICK, sent)
    waiting = state.phase is Phase.INACTIVE and state.samples >= (rule.min_samples or 0)
    state.due = _absent_at(rule, state) if waiting else None
    return sent


def scan_detections(rule: Rule, state: RuleState, found: Sequence[Detection], until: float) -> list[Transition]:
    """Moves a detector's rule over its detections, in order, and over time up to `until`; changes `state`.

    Without cooldown each detection fires; with one, those that come before it has passed since the last are suppressed.
    """
    quiet = rule.cooldown or QUIET
    sent: list[Transition] = []
    for detection in found:
        _quieten(state, detection.time - TICK, sent)
        why = _unwanted(rule, state, detection)
        if why is not None:
            state.suppressed[why] = state.suppressed.get(why, 0) + 1
        else:
            further = state.phase is Phase.FIRING
            state.sequence = state.sequence + 1 if further and state.since == detection.time else 0
            state.since, state.value, state.samples = detection.time, detection.after, detection.samples
            for event in (Event.AGAIN,) if further else (Event.TRUE, Event.DUE):
                step(state, event, detection.time, Reason.DETECTED, sent, reference=detection.before)
        if why is None or why is Reason.COOLDOWN:
            state.time, state.due = detection.time, tick_end(detection.time + quiet)
    _quieten(state, until, sent)
    return sent


def _absent_at(rule: Rule, state: RuleState) -> float:
    return tick_end(max(state.time + rule.hold, state.cooled))


def _silence(rule: Rule, state: RuleState, end: float, sent: list[Transition]) -> None:
    """Fires when nothing came between the last arrival and `end`, for as long as the rule asks."""
    at = _absent_at(rule, state)
    if state.phase is Phase.INACTIVE and state.samples >= (rule.min_samples or 0) and at < end:
        state.since, state.value, state.bound = state.time, at - state.time, rule.hold
        for event in (Event.TRUE, Event.DUE):
            step(state, event, at, Reason.ABSENT, sent)


def _quieten(state: RuleState, until: float, sent: list[Transition]) -> None:
    """Resolves a detector's alert when no further detection came in time."""
    if state.phase is Phase.FIRING and state.due is not None and state.due <= until:
        step(state, Event.FALSE, state.due, Reason.QUIET, sent)
        state.due = None


def _unwanted(rule: Rule, state: RuleState, detection: Detection) -> Reason | None:
    rose = detection.after > detection.before
    if rule.direction != "both" and rose != (rule.direction == "up"):
        return Reason.DIRECTION
    if detection.samples < minimum(rule):
        return Reason.FEW_SAMPLES
    return Reason.COOLDOWN if state.phase is Phase.FIRING and rule.cooldown > 0 else None
