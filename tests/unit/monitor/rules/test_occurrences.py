"""Absence and detections: transitions at their own ticks, whatever the slicing; judged by a walk over every tick."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.config import Rule
from stream.monitor.rules.machine import Phase, Reason, RuleState, Transition
from stream.monitor.rules.occurrences import QUIET, Detection, scan_absence, scan_detections


def story(transitions: list[Transition]) -> list[tuple[str, float, float]]:
    return [(t.state, t.time, t.started_at) for t in transitions]


def silence(**fields: object) -> Rule:
    return msgspec.convert({"name": "silence", "absent": "predictions", "for": 10.0, **fields}, Rule)


def absent(
    rule: Rule, seen: Sequence[float], until: float, state: RuleState | None = None
) -> list[tuple[str, float, float]]:
    return story(scan_absence(rule, state or RuleState(), np.array(seen, dtype=float), until))


def test_silence_fires_after_the_time_and_resolves_when_events_return() -> None:
    assert absent(silence(), [1.0, 2.0, 12.0], 21.5) == []
    assert absent(silence(), [1.0, 2.0], 12.0) == [("firing", 12.0, 2.0)]
    assert absent(silence(), [1.0, 2.0, 13.0], 14.0) == [("firing", 12.0, 2.0), ("resolved", 13.0, 2.0)]
    fired = scan_absence(silence(), RuleState(), np.array([2.0]), 12.0)[0]
    assert (fired.value, fired.threshold, fired.reason) == (10.0, 10.0, Reason.ABSENT)


def test_nothing_is_absent_before_the_first_event() -> None:
    state = RuleState()
    assert absent(silence(), [], 1e9, state) == []
    assert state.due is None
    assert absent(silence(), [2e9], 2e9, state) == []
    assert state.due == 2e9 + 10


def test_silence_after_little_traffic_is_usual() -> None:
    rule = silence(min_samples=3)
    assert absent(rule, [1.0, 2.0], 100.0) == []
    assert absent(rule, [1.0, 2.0, 50.0, 51.0], 100.0) == []
    assert absent(rule, [1.0, 2.0, 3.0, 50.0], 100.0) == [("firing", 13.0, 3.0), ("resolved", 50.0, 3.0)]


def test_silence_after_pauses_is_usual() -> None:
    rule = silence(min_samples=3)
    assert absent(rule, [1.0, 3.0, 5.0, 8.0], 100.0) == []
    assert absent(rule, [1.0, 3.0, 5.0, 8.0, 9.0, 10.0], 100.0) == [("firing", 20.0, 10.0)]


def test_cooldown_delays_the_next_silence() -> None:
    assert absent(silence(cooldown=30.0), [1.0, 20.0], 60.0) == [
        ("firing", 11.0, 1.0),
        ("resolved", 20.0, 1.0),
        ("firing", 50.0, 20.0),
    ]


def absent_by_tick(rule: Rule, seen: set[float], until: float) -> list[tuple[str, float, float]]:
    found: list[tuple[str, float, float]] = []
    last, run, firing, cooled, time = -math.inf, 0, False, -math.inf, 0.0
    while time <= until:
        if time in seen:
            if firing:
                found.append(("resolved", time, last))
                firing, cooled = False, time + rule.cooldown
            pause = min(rule.hold, max(rule.hold / 4, 0.5))
            run = 1 if time - last > pause else run + 1
            last = time
        elif last > -math.inf and run >= (rule.min_samples or 0) and not firing:
            firing = time >= max(last + rule.hold, cooled)
            if firing:
                found.append(("firing", time, last))
        time += 0.5
    return found


@given(
    st.lists(st.integers(1, 15), max_size=20),
    st.integers(0, 12),
    st.sampled_from([0.5, 1.3, 3.0]),
    st.sampled_from([0.0, 0.7, 5.0]),
    st.sampled_from([None, 2, 4]),
    st.lists(st.integers(0, 20), max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_silence_is_what_walking_tick_by_tick_gives_in_any_slicing(
    steps: list[int], rest: int, hold: float, cooldown: float, minimum: int | None, cuts: list[int]
) -> None:
    rule = silence(**{"for": hold, "cooldown": cooldown, "min_samples": minimum})
    seen = np.cumsum(steps) * 0.5
    until = (float(seen[-1]) if len(seen) else 0.0) + rest * 0.5
    expected = absent_by_tick(rule, set(seen.tolist()), until)
    whole = RuleState()
    assert absent(rule, seen.tolist(), until, whole) == expected
    state, found, start = RuleState(), [], 0
    for cut in sorted(min(c, len(seen)) for c in cuts):
        # Event time is known up to just before the next event, or only up to the last one.
        known = float(seen[cut]) - 0.5 if cut < len(seen) else until
        found += absent(rule, seen[start:cut].tolist(), known if cut % 2 else float(seen[cut - 1]) if cut else 0, state)
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=RuleState)
        start = cut
    found += absent(rule, seen[start:].tolist(), until, state)
    assert found == expected
    assert msgspec.msgpack.encode(state) == msgspec.msgpack.encode(whole)


def concept(**fields: object) -> Rule:
    return msgspec.convert({"name": "concept", "detector": "river.drift.ADWIN", **fields}, Rule)


def detection(time: float, samples: int = 100, before: float = 0.1, after: float = 0.3) -> Detection:
    return Detection(time, 0, samples, before, after)


def test_each_detection_fires_and_the_last_resolves_after_a_minute() -> None:
    state = RuleState()
    sent = scan_detections(concept(), state, [detection(10.0), detection(10.0, 120), detection(30.0, 500)], 100.0)
    assert story(sent) == [
        ("firing", 10.0, 10.0),
        ("firing", 10.0, 10.0),
        ("firing", 30.0, 30.0),
        ("resolved", 30.0 + QUIET, 30.0),
    ]
    assert [t.sequence for t in sent] == [0, 1, 0, 0]
    assert [t.samples for t in sent[:3]] == [100, 120, 500]
    assert (sent[0].value, sent[0].reference) == (0.3, 0.1)
    assert state.phase is Phase.INACTIVE


def test_cooldown_suppresses_further_detections_and_lasts_from_the_last_one() -> None:
    state = RuleState()
    sent = scan_detections(concept(cooldown=20.0), state, [detection(t) for t in (10.0, 15.0, 35.0)], 54.5)
    assert story(sent) == [("firing", 10.0, 10.0)]
    assert state.suppressed == {Reason.COOLDOWN: 2}
    assert state.due == 55.0
    assert story(scan_detections(concept(cooldown=20.0), state, [], 55.0)) == [("resolved", 55.0, 10.0)]


def test_the_other_direction_and_few_samples_do_not_fire() -> None:
    state = RuleState()
    rule = concept(direction="up", min_samples=50)
    falls, early = detection(1.0, before=0.3, after=0.1), detection(2.0, samples=49)
    assert scan_detections(rule, state, [falls, early], 100.0) == []
    assert state.suppressed == {Reason.DIRECTION: 1, Reason.FEW_SAMPLES: 1}
    assert len(scan_detections(rule, state, [detection(3.0)], 3.0)) == 1
    assert len(scan_detections(concept(direction="down"), RuleState(), [falls], 1.0)) == 1


@given(st.lists(st.integers(0, 80), max_size=15), st.sampled_from([0.0, 10.0, 30.3]), st.data())
@settings(max_examples=150, deadline=None)
def test_detections_in_any_slicing(steps: list[int], cooldown: float, data: st.DataObject) -> None:
    rule = concept(cooldown=cooldown, direction="up")
    times = [float(t) * 0.5 for t in np.cumsum(steps)]
    rises = st.sampled_from([0.05, 0.3])
    found = [detection(t, i, after=data.draw(rises)) for i, t in enumerate(times)]
    end = (times[-1] if times else 0) + data.draw(st.integers(0, 200)) * 0.5
    whole = RuleState()
    expected = scan_detections(rule, whole, found, end)
    state, sent, start = RuleState(), [], 0
    for cut in sorted(data.draw(st.lists(st.integers(0, len(found)), max_size=4))):
        # A tick that is still open may be cut, too: then event time has only come to the tick before.
        last = times[cut - 1] - 0.5 if cut else 0.0
        sent += scan_detections(rule, state, found[start:cut], last)
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=RuleState)
        start = cut
    sent += scan_detections(rule, state, found[start:], end)
    assert sent == expected
    assert msgspec.msgpack.encode(state) == msgspec.msgpack.encode(whole)
