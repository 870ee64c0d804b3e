"""Rules with bounds: each transition at its own tick, whatever the slicing; judged by a walk over every tick."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.config import Rule
from stream.monitor.rules import change
from stream.monitor.rules.bounds import reason, scan
from stream.monitor.rules.machine import MACHINE, Event, Phase, Reason, RuleState, Transition, step

NAN = math.nan
Row = tuple[float, float, int]


def run(
    rule: Rule, rows: Sequence[Row], state: RuleState | None = None, until: float | None = None
) -> list[Transition]:
    times, values, samples = (np.array([row[i] for row in rows]) for i in range(3))
    return scan(rule, state or RuleState(), times.astype(float), values.astype(float), samples.astype(int), until=until)


def story(transitions: list[Transition]) -> list[tuple[str, float, float]]:
    return [(t.state, t.time, t.started_at) for t in transitions]


def low(**fields: object) -> Rule:
    return msgspec.convert({"name": "low", "metric": "accuracy", "below": 0.9, "min_samples": 10, **fields}, Rule)


def test_fires_at_the_tick_at_which_the_bound_is_crossed_and_resolves_when_it_is_not() -> None:
    rows = [(1.0, 0.95, 50), (1.5, 0.9, 50), (2.0, 0.89, 50), (2.5, 0.88, 50), (3.0, 0.9, 50)]
    fired, resolved = run(low(), rows)
    assert (fired.state, fired.time, fired.value, fired.threshold) == ("firing", 2.0, 0.89, 0.9)
    assert fired.reason is Reason.CROSSED
    assert (resolved.state, resolved.time, resolved.value) == ("resolved", 3.0, 0.9)
    assert resolved.started_at == fired.started_at == 2.0
    assert resolved.reason is Reason.RECOVERED


def test_hold_time_ends_between_evaluations() -> None:
    rule = low(**{"for": 300.0})
    state = RuleState()
    assert run(rule, [(100.0, 0.5, 50)], state) == []
    assert (state.phase, state.due) == (Phase.PENDING, 400.0)
    assert reason(rule, state) is Reason.HOLDING
    fired = run(rule, [(900.0, 0.95, 60)], state)
    assert story(fired) == [("firing", 400.0, 100.0), ("resolved", 900.0, 100.0)]
    assert fired[0].reason is Reason.HELD
    assert (fired[0].value, fired[0].samples) == (0.5, 50)


def test_a_value_that_comes_back_at_the_very_end_of_the_hold_time_does_not_fire() -> None:
    assert run(low(**{"for": 10.0}), [(100.0, 0.5, 50), (110.0, 0.95, 50)]) == []
    assert story(run(low(**{"for": 10.0}), [(100.0, 0.5, 50), (110.0, 0.5, 50)])) == [("firing", 110.0, 100.0)]


def test_looking_without_a_new_evaluation_fires_when_due() -> None:
    rule, state = low(**{"for": 10.0}), RuleState()
    run(rule, [(100.0, 0.5, 50)], state)
    assert run(rule, [], state, until=109.5) == []
    assert story(run(rule, [], state, until=110.0)) == [("firing", 110.0, 100.0)]
    assert state.due is None


def test_hold_that_is_no_multiple_of_a_tick_ends_at_the_next_tick() -> None:
    assert story(run(low(**{"for": 0.7}), [(100.0, 0.5, 50), (105.0, 0.5, 50)])) == [("firing", 101.0, 100.0)]


@pytest.mark.parametrize("undefined", [(NAN, 50), (0.95, 9), (0.5, 9)])
def test_undefined_keeps_the_state(undefined: tuple[float, int]) -> None:
    rule = low()
    fired = run(rule, [(1.0, *undefined), (2.0, 0.5, 50), (3.0, *undefined), (4.0, 0.95, 50)])
    assert story(fired) == [("firing", 2.0, 2.0), ("resolved", 4.0, 2.0)]
    held = low(**{"for": 5.0})
    rows = [(1.0, 0.5, 50), (2.0, *undefined), (8.0, *undefined)]
    assert run(held, rows) == []
    assert story(run(held, [*rows, (9.0, 0.5, 50)])) == [("firing", 9.0, 1.0)]
    assert run(held, [*rows, (9.0, 0.95, 50)]) == []


def test_reasons_for_silence() -> None:
    rule = low(cooldown=10.0)
    for value, samples, why in [(NAN, 50, Reason.UNDEFINED), (0.5, 9, Reason.FEW_SAMPLES), (0.95, 50, Reason.WITHIN)]:
        state = RuleState()
        run(rule, [(1.0, value, samples)], state)
        assert reason(rule, state) is why
    state = RuleState()
    run(rule, [(1.0, 0.5, 50), (2.0, 0.95, 50), (3.0, 0.5, 50)], state)
    assert reason(rule, state) is Reason.COOLDOWN


def test_hysteresis() -> None:
    rows = [(1.0, 0.89, 50), (2.0, 0.91, 50), (3.0, 0.919, 50), (4.0, 0.92, 50), (5.0, 0.91, 50)]
    assert story(run(low(recover=0.92), rows)) == [("firing", 1.0, 1.0), ("resolved", 4.0, 1.0)]


def test_cooldown_delays_the_next_firing() -> None:
    rows = [(1.0, 0.5, 50), (2.0, 0.95, 50), (3.0, 0.5, 50), (20.0, 0.5, 50)]
    fired = run(low(cooldown=10.0), rows)
    assert story(fired) == [("firing", 1.0, 1.0), ("resolved", 2.0, 1.0), ("firing", 12.0, 3.0)]
    assert fired[-1].reason is Reason.COOLED


def test_two_bounds_say_which_one_was_crossed() -> None:
    band = Rule(name="rate", metric="positive_rate", above=0.4, below=0.1, min_samples=0)
    fired = run(band, [(1.0, 0.5, 9), (2.0, 0.2, 9), (3.0, 0.05, 9)])
    assert [t.threshold for t in fired] == [0.4, 0.4, 0.1]


def test_recovery_counts_on_the_side_that_was_crossed() -> None:
    band = Rule(name="rate", metric="positive_rate", above=0.4, below=0.1, recover=0.3, min_samples=0)
    high = [(1.0, 0.5, 9), (2.0, 0.35, 9), (3.0, 0.2, 9), (4.0, 0.35, 9)]
    assert story(run(band, high)) == [("firing", 1.0, 1.0), ("resolved", 3.0, 1.0)]
    assert story(run(band, [(1.0, 0.05, 9), (2.0, 0.2, 9), (3.0, 0.35, 9)])) == [
        ("firing", 1.0, 1.0),
        ("resolved", 3.0, 1.0),
    ]


def test_infinite_values_are_compared() -> None:
    assert story(run(Rule(name="r", metric="mae", above=1.0), [(1.0, math.inf, 500)])) == [("firing", 1.0, 1.0)]


def by_tick(rule: Rule, rows: Sequence[Row]) -> list[tuple[str, float, float]]:
    """The definition, tick by tick: what `scan` must be equal to."""
    found: list[tuple[str, float, float]] = []
    firing, since, cooled = False, None, -math.inf
    row = {time: (value, samples) for time, value, samples in rows}
    value, samples = NAN, 0
    time = rows[0][0]
    while time <= rows[-1][0]:
        value, samples = row.get(time, (value, samples))
        if not math.isnan(value) and samples >= (rule.min_samples or 0):
            above = rule.recover if firing and rule.recover is not None else rule.above
            assert isinstance(above, float)
            if value > above:
                since = time if since is None else since
                if not firing and time >= max(since + rule.hold, cooled):
                    firing = True
                    found.append(("firing", time, since))
            else:
                if firing and since is not None:
                    found.append(("resolved", time, since))
                    cooled = time + rule.cooldown
                firing, since = False, None
        time += 0.5
    return found


@st.composite
def series(draw: st.DrawFn) -> tuple[Rule, list[Row]]:
    seconds = st.sampled_from([0.0, 0.5, 0.7, 3.0, 10.0])
    rule = Rule(
        name="r",
        metric="mae",
        above=1.0,
        recover=draw(st.sampled_from([None, 1.0, 0.5])),
        hold=draw(seconds),
        cooldown=draw(seconds),
        min_samples=draw(st.sampled_from([0, 3])),
    )
    steps = draw(st.lists(st.integers(1, 12), min_size=1, max_size=25))
    values = st.sampled_from([0.0, 0.5, 0.7, 1.0, 1.5, 2.0, NAN])
    times = np.cumsum(steps) * 0.5
    return rule, [(float(t), draw(values), draw(st.sampled_from([1, 3, 5]))) for t in times]


@given(series())
@settings(max_examples=200, deadline=None)
def test_is_what_walking_tick_by_tick_gives(case: tuple[Rule, list[Row]]) -> None:
    rule, rows = case
    assert story(run(rule, rows)) == by_tick(rule, rows)


@given(series(), st.data())
@settings(max_examples=150, deadline=None)
def test_any_slicing_restoring_and_looking_between_gives_the_same(
    case: tuple[Rule, list[Row]], data: st.DataObject
) -> None:
    rule, rows = case
    whole = RuleState()
    expected = run(rule, rows, whole)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=5)))
    state, found = RuleState(), []
    for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        found += run(rule, rows[start:end], state)
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=RuleState)
        if state.due is not None and end < len(rows) and state.due < rows[end][0]:
            found += run(rule, [], state, until=state.due)
    assert found == expected
    assert msgspec.msgpack.encode(state) == msgspec.msgpack.encode(whole)


def test_every_pair_that_the_machine_does_not_name_changes_nothing() -> None:
    for phase in Phase:
        for event in Event:
            state = RuleState(phase=phase, since=1.0)
            sent: list[Transition] = []
            step(state, event, 2.0, Reason.CROSSED, sent)
            following, alert = MACHINE.get((phase, event), (phase, None))
            assert state.phase is following
            assert [t.state for t in sent] == ([] if alert is None else [alert])


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(4, 6), st.integers(0, 20)), min_size=2, max_size=40),
    st.sets(st.integers(1, 39)),
    st.sampled_from([0.0, 1.0, 2.5]),
    st.sampled_from([0.0, 3.0]),
)
@settings(max_examples=300)
def test_a_change_is_a_bound_on_the_distance_from_the_reference(
    rows: list[tuple[int, int, int]], cuts: set[int], hold: float, cooldown: float
) -> None:
    """Against a reference that moves, in any slicing, both ways, with hysteresis."""
    common = {"name": "r", "min_samples": 5, "for": hold, "cooldown": cooldown}
    by_change = msgspec.convert({**common, "metric": "mae", "drop": 2.0, "rise": 3.0, "recover": 1.0}, Rule)
    times = np.arange(len(rows)) / 2.0
    value, reference, samples = (np.array([row[i] for row in rows], np.float64) for i in range(3))
    state, sent = RuleState(), []
    for part in np.split(np.arange(len(rows)), sorted(cut for cut in cuts if cut < len(rows))):
        observed = value[part]
        bounds = change.bounds(by_change, observed, reference[part], lambda _: (None, None))
        sent += scan(by_change, state, times[part], observed, samples[part].astype(np.int64), bounds=bounds)
    expected: list[tuple[str, float, float]] = []
    plain = {"below": -2.0, "above": 3.0}
    away, whole = value - reference, RuleState()
    # One side at a time: `recover` of a plain rule is one number, of a change it is a distance on either side.
    rule = msgspec.convert({**common, "metric": "mae", **plain}, Rule)
    for at in range(len(rows)):
        fell = whole.bound == rule.below
        back = msgspec.structs.replace(rule, recover=-1.0 if fell else 1.0)
        expected += story(scan(back, whole, times[at : at + 1], away[at : at + 1], samples[at : at + 1].astype(int)))
    assert story(sent) == expected
    assert all(t.reference in reference for t in sent)
