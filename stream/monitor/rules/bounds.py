"""Rules that bound a number: when a metric or a distance to the reference makes an alert fire.

What such a rule sees is a step function of event time: an evaluation holds from its tick end until the next one.
Invariant: transitions depend on that function alone, however it is cut into calls, so a hold time that ends between two
evaluations fires at its own tick, whether or not anybody looked then. An undefined evaluation (NaN, or too few samples)
is neither true nor false: it keeps the state, and nothing fires or resolves while it lasts.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from stream.config import Rule
from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.rules.change import Bounds, is_change
from stream.monitor.rules.machine import Event, Phase, Reason, RuleState, Transition, step, tick_end
from stream.monitor.rules.watch import minimum

Flags = npt.NDArray[np.bool_]

_NOTHING: Floats = np.empty(0)
_NO_SAMPLES: Ints = np.empty(0, np.int64)


def scan(
    rule: Rule,
    state: RuleState,
    times: Floats,
    values: Floats,
    samples: Ints,
    *,
    until: float | None = None,
    bounds: Bounds | None = None,
) -> list[Transition]:
    """Moves a rule with bounds over evaluations at tick ends, in order; changes `state`.

    `times` never fall, within and between calls. `until` says that event time has come so far without a further
    evaluation (default: the last of `times`); after it, no evaluation at or before `until` may follow. `bounds` are
    those of a rule by change. Costs a few microseconds however many evaluations there are, as long as an inactive
    rule's bounds are not crossed.
    """
    above, below = (rule.above, rule.below) if bounds is None else (bounds.above, bounds.below)
    if state.phase is not Phase.INACTIVE or beyond(values, above, below).any():
        return _walk(rule, state, times, values, samples, until=until, bounds=bounds)
    if len(times):
        _remember(state, times, values, samples, bounds)
    return []


def pass_time(rule: Rule, state: RuleState, until: float) -> list[Transition]:
    """Moves a rule with bounds as event time comes to `until` without an evaluation."""
    return scan(rule, state, _NOTHING, _NOTHING, _NO_SAMPLES, until=until)


def reason(rule: Rule, state: RuleState) -> Reason:
    """Why a rule with bounds does or does not fire now."""
    if math.isnan(state.value):
        return Reason.UNDEFINED
    if state.samples < minimum(rule):
        return Reason.FEW_SAMPLES
    if state.phase is Phase.PENDING:
        assert state.since is not None
        return Reason.HOLDING if state.cooled < state.since + rule.hold else Reason.COOLDOWN
    return Reason.CROSSED if state.phase is Phase.FIRING else Reason.WITHIN


def _walk(
    rule: Rule,
    state: RuleState,
    times: Floats,
    values: Floats,
    samples: Ints,
    *,
    until: float | None,
    bounds: Bounds | None,
) -> list[Transition]:
    """`scan` where something may happen: from change to change, with the last evaluation as row 0."""
    t = np.concatenate(([state.time], times))
    v = np.concatenate(([state.value], values))
    n = np.concatenate(([state.samples], samples))
    by = _Judged(rule, state, v, bounds)
    end = float(t[-1]) if until is None else max(until, float(t[-1]))
    known = ~np.isnan(v) & (n >= minimum(rule))
    true = known & beyond(v, by.above, by.below)
    not_true = np.flatnonzero(known & ~true)
    is_true = np.flatnonzero(true)
    sent: list[Transition] = []

    def move(row: int, event: Event, at: float, why: Reason) -> None:
        state.value, state.samples = float(v[row]), int(n[row])
        step(state, event, at, why, sent, reference=by.reference(row))

    row = 1  # the first that has not been applied
    while True:
        if state.phase is Phase.INACTIVE:
            row = _next(is_true, row)
            if row == _NEVER:
                break
            state.since = float(t[row])
            move(row, Event.TRUE, state.since, Reason.HOLDING)
            row += 1
        elif state.phase is Phase.PENDING:
            due = _earliest(rule, state)
            broken = _next(not_true, row)
            # The evaluation in force when the hold time ends; if that is undefined, the next one that is true.
            then = max(int(np.searchsorted(t, due, side="right")) - 1, row - 1)
            then = then if true[then] else _next(is_true, then + 1)
            if broken < then:
                move(broken, Event.FALSE, float(t[broken]), Reason.WITHIN)
                row = broken + 1
                continue
            if then == _NEVER or max(due, t[then]) > end:
                break
            state.bound, state.side = by.crossed(then)
            move(then, Event.DUE, max(due, float(t[then])), _why(rule, state))
            row = then + 1
        else:
            row = _next(np.flatnonzero(known & ~by.keeping(state)), row)
            if row == _NEVER:
                break
            move(row, Event.FALSE, float(t[row]), Reason.RECOVERED)
            state.cooled = float(t[row]) + rule.cooldown
            row += 1
    if len(times):
        _remember(state, times, values, samples, bounds)
    else:
        state.value, state.samples = float(v[0]), int(n[0])
    holding = state.phase is Phase.PENDING and bool(known[-1])
    state.due = _earliest(rule, state) if holding else None
    return sent


class _Judged:
    """Values, and the bounds that each is judged by: one for all, or those of a rule by change, row by row."""

    def __init__(self, rule: Rule, state: RuleState, values: Floats, bounds: Bounds | None) -> None:
        self._rule, self._values = rule, values
        self.above: Floats | float | None = rule.above
        self.below: Floats | float | None = rule.below
        self._bounds: Bounds | None = None
        if is_change(rule):
            # What a firing alert recovers at is asked of new rows only.
            first = Bounds(*(np.array([each]) for each in (state.above, state.below, _NAN, _NAN, state.reference)))
            self._bounds = first if bounds is None else _joined(first, bounds)
            self.above, self.below = self._bounds.above, self._bounds.below

    def reference(self, row: int) -> float | None:
        """What a row is compared with."""
        return None if self._bounds is None else float(self._bounds.reference[row])

    def crossed(self, row: int) -> tuple[float | None, int]:
        """The bound that a row is beyond, and its side: 1 above, -1 below."""
        above, below = (float(each[row]) if isinstance(each, np.ndarray) else each for each in (self.above, self.below))
        return (above, 1) if above is not None and self._values[row] > above else (below, -1)

    def keeping(self, state: RuleState) -> Flags:
        """Which values keep an alert firing: on the side that it crossed, `recover` takes the bound's place."""
        bounds = self._bounds
        if bounds is not None:
            sides = (bounds.above, bounds.recover_below) if state.side < 0 else (bounds.recover_above, bounds.below)
            return beyond(self._values, *sides)
        above, below, recover = self._rule.above, self._rule.below, self._rule.recover
        if isinstance(recover, float | int):
            above, below = (recover, below) if state.bound == above else (above, recover)
        return beyond(self._values, above, below)


def _joined(first: Bounds, bounds: Bounds) -> Bounds:
    """Row 0, then the others."""
    return Bounds(*(np.concatenate((getattr(first, name), getattr(bounds, name))) for name in Bounds.__struct_fields__))


_NEVER = 2**62
_NAN = math.nan


def _next(rows: npt.NDArray[np.intp], start: int) -> int:
    """The first of the ascending `rows` that is at least `start`."""
    found = int(np.searchsorted(rows, start))
    return int(rows[found]) if found < len(rows) else _NEVER


def _remember(state: RuleState, times: Floats, values: Floats, samples: Ints, bounds: Bounds | None) -> None:
    state.time, state.value, state.samples = float(times[-1]), float(values[-1]), int(samples[-1])
    if bounds is not None:
        state.above, state.below = float(bounds.above[-1]), float(bounds.below[-1])
        state.reference = float(bounds.reference[-1])


def beyond(values: Floats, above: Floats | float | None, below: Floats | float | None) -> Flags:
    """Which values are beyond a bound; NaN is not."""
    if below is None:
        return values > (math.inf if above is None else above)
    return values < below if above is None else (values > above) | (values < below)


def _why(rule: Rule, state: RuleState) -> Reason:
    assert state.since is not None
    if state.cooled > state.since + rule.hold:
        return Reason.COOLED
    return Reason.HELD if rule.hold > 0 else Reason.CROSSED


def _earliest(rule: Rule, state: RuleState) -> float:
    assert state.since is not None
    return tick_end(max(state.since + rule.hold, state.cooled))
