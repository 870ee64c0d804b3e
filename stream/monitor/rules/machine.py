"""The state machine of a rule: its phases, what moves it, and the alerts that it sends on the way.

Invariant: a phase changes here and nowhere else, as `MACHINE` says. What drives the machine stands in `bounds.py`
(bounds) and `occurrences.py` (absence, detectors).
"""

from __future__ import annotations

import math
from enum import StrEnum

from msgspec import Struct, field

from stream.events import AlertState

TICK = 0.5
"""Rules move at multiples of this many seconds of event time."""


class Phase(StrEnum):
    """Where a rule stands."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"


class Event(StrEnum):
    """What can happen to a rule."""

    TRUE = "true"
    """What it watches for is so."""
    FALSE = "false"
    """It is no longer so."""
    DUE = "due"
    """It has been so for as long as the rule asks."""
    AGAIN = "again"
    """A detector found a further change while firing."""


class Reason(StrEnum):
    """Why a rule fired, resolved, or did neither."""

    CROSSED = "the bound was crossed"
    HELD = "the bound was crossed for the whole hold time"
    COOLED = "the bound was still crossed when the cooldown ended"
    RECOVERED = "the value came back inside the bound"
    DETECTED = "the detector found a change"
    QUIET = "the detector found no further change"
    ABSENT = "nothing came"
    RETURNED = "events came again"
    RENEWED = "the reference was taken anew"
    WITHIN = "the value is inside the bound"
    HOLDING = "the hold time has not passed"
    COOLDOWN = "the cooldown has not passed"
    UNDEFINED = "there is no value"
    FEW_SAMPLES = "there are too few samples"
    DIRECTION = "the change is in the direction that the rule does not ask for"


MACHINE: dict[tuple[Phase, Event], tuple[Phase, AlertState | None]] = {
    (Phase.INACTIVE, Event.TRUE): (Phase.PENDING, None),
    (Phase.PENDING, Event.FALSE): (Phase.INACTIVE, None),
    (Phase.PENDING, Event.DUE): (Phase.FIRING, "firing"),
    (Phase.FIRING, Event.AGAIN): (Phase.FIRING, "firing"),
    (Phase.FIRING, Event.FALSE): (Phase.INACTIVE, "resolved"),
}
"""(phase, event) → (next phase, alert). Every other pair changes nothing."""


class RuleState(Struct):
    """Where one rule stands on one segment and feature; a checkpoint keeps it."""

    phase: Phase = Phase.INACTIVE
    since: float | None = None
    """Tick end at which what is watched for became so; None when it is not."""
    due: float | None = None
    """Tick end at which the rule moves by itself if nothing changes before: look at it then, with fresh values."""
    cooled: float = -math.inf
    """Nothing fires before."""
    time: float = -math.inf
    """The last evaluation; for absence the last arrival; for a detector the last detection that counted."""
    value: float = math.nan
    samples: int = 0
    bound: float | None = None
    """The bound that the firing alert crossed."""
    side: int = 0
    """Rules by change: 1 where that was above, -1 where it was below."""
    sequence: int = 0
    """Which firing of its tick the last one was; from 0."""
    suppressed: dict[Reason, int] = field(default_factory=dict)
    """Detections that did not fire, by reason."""
    above: float = math.nan
    """Rules by change: the bounds at the last evaluation, and what it was compared with."""
    below: float = math.nan
    reference: float = math.nan


class Transition(Struct, frozen=True):
    """One alert to be sent: `stream.monitor.rules.alerts` gives it words and an id."""

    state: AlertState
    time: float
    """Tick end at which it happens."""
    started_at: float
    """Tick end since which what is watched for is so."""
    value: float
    samples: int
    threshold: float | None
    reason: Reason
    reference: float | None = None
    """Detectors: the mean before the change. Rules by change: the value at reference."""
    sequence: int = 0


def tick_end(time: float) -> float:
    """The first tick end at or after a time."""
    return math.ceil(time / TICK) * TICK


def step(
    state: RuleState, event: Event, time: float, why: Reason, sent: list[Transition], *, reference: float | None = None
) -> None:
    """Applies one event, with the value and samples that the state has; an alert that this sends is added to `sent`."""
    phase, alert = MACHINE.get((state.phase, event), (state.phase, None))
    if alert is not None:
        assert state.since is not None
        value, samples = state.value, state.samples
        sent.append(Transition(alert, time, state.since, value, samples, state.bound, why, reference, state.sequence))
    if phase is Phase.INACTIVE:
        state.since = None
    state.phase = phase
