"""The arithmetic of truth: against counting second by second, and what must hold whatever the alerts."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.report.judge import Firing, Incident, always, judge

LIFE = (0.0, 100.0)
SEGMENTS = ("all", "c=BR", "c=DE")


@st.composite
def spans(draw: st.DrawFn) -> tuple[float, float]:
    start = draw(st.integers(0, 99))
    return float(start), float(draw(st.integers(start + 1, 120)))


firings = st.builds(lambda span, segment: Firing(span[0], span[1], segment), spans(), st.sampled_from(SEGMENTS))
incidents = st.builds(
    lambda span, segment, rule, grace: Incident("m", span[0], span[1], segment, rule, float(grace)),
    spans(),
    st.sampled_from((None, "c=BR", "c=DE")),
    st.sampled_from((None, "r", "other")),
    st.integers(0, 10),
)


@given(st.lists(firings, max_size=6), st.lists(incidents, max_size=4))
def test_every_alert_and_every_interval_is_counted_once(alerts: list[Firing], known: list[Incident]) -> None:
    verdict = judge("r", SEGMENTS, alerts, known, LIFE)
    assert verdict.right + verdict.false + verdict.unjudged == verdict.alerts == len(alerts)
    assert verdict.found + verdict.missed == verdict.expected == sum(each.rule in (None, "r") for each in known)
    assert min(verdict.right, verdict.false, verdict.unjudged, verdict.missed) >= 0
    assert all(0 <= delay <= 130 for delay in verdict.delays)


@given(st.lists(firings, max_size=6), st.lists(incidents, max_size=4))
def test_it_is_what_counting_half_seconds_gives(alerts: list[Firing], known: list[Incident]) -> None:
    verdict = judge("r", SEGMENTS, alerts, known, LIFE)
    moments = np.arange(0.25, 100.0, 0.5)
    bad = np.zeros(len(moments), np.bool_)
    for each in known:
        bad |= (moments > each.start) & (moments < each.until)
    fires = np.zeros(len(moments), np.bool_)
    for alert in alerts:
        fires |= (moments > alert.start) & (moments < alert.end)
    assert verdict.healthy == (~bad).sum() / 2
    assert verdict.firing == (fires & ~bad).sum() / 2
    delays = []
    for each in known:
        if each.rule == "other":
            continue
        about = [alert for alert in alerts if each.segment is None or alert.segment in ("all", each.segment)]
        at = [t for t in np.arange(each.start, each.until + 0.5, 0.5) if any(a.start <= t <= a.end for a in about)]
        delays += [at[0] - each.start] if at else []
    assert list(verdict.delays) == delays


@given(st.lists(incidents, max_size=4), st.sampled_from((1.0, 7.0, 60.0)))
def test_always_firing_misses_nothing_and_is_right_as_often_as_things_are_bad(
    known: list[Incident], pane: float
) -> None:
    verdict = always(known, LIFE, pane)
    assert verdict.missed == 0
    assert verdict.firing == verdict.healthy
    starts = [max(0.0, index * pane) for index in range(int(100 // pane) + 1)]
    right = sum(any(each.start <= start <= each.until for each in known) for start in starts)
    assert (verdict.right, verdict.false) == (right, len(starts) - right)


@given(st.lists(firings, max_size=5), firings, st.lists(incidents, max_size=4))
def test_one_more_alert_finds_no_less(alerts: list[Firing], more: Firing, known: list[Incident]) -> None:
    before, after = (judge("r", SEGMENTS, each, known, LIFE) for each in (alerts, [*alerts, more]))
    assert after.found >= before.found
    assert after.firing >= before.firing


def test_a_rule_is_asked_for_what_it_can_see() -> None:
    in_brazil = [Incident("m", 10.0, 20.0, "c=BR")]
    assert judge("r", ["c=DE"], [], in_brazil, LIFE).expected == 0
    assert judge("r", ["c=BR"], [], in_brazil, LIFE).missed == 1
    assert judge("r", ["all"], [Firing(12.0, 15.0)], in_brazil, LIFE).delays == (2.0,)
    assert judge("r", ["all", "c=DE"], [Firing(12.0, 15.0, "c=DE")], in_brazil, LIFE).false == 1


def test_what_lies_outside_of_the_events_is_left_out() -> None:
    assert judge("r", ["all"], [], [Incident("m", 200.0, 210.0)], LIFE).expected == 0


def test_an_alert_that_fires_already_finds_and_is_false() -> None:
    verdict = judge("r", ["all"], [Firing(5.0, 50.0)], [Incident("m", 10.0, 20.0)], LIFE)
    assert (verdict.delays, verdict.right, verdict.false) == ((0.0,), 0, 1)
    assert (verdict.healthy, verdict.firing, verdict.precision) == (90.0, 35.0, 0.0)


def test_the_grace_belongs_to_the_interval() -> None:
    late = Incident("m", 10.0, 20.0, grace=5.0)
    verdict = judge("r", ["all"], [Firing(24.0, 30.0)], [late], LIFE)
    assert (verdict.delays, verdict.right, verdict.false) == ((14.0,), 1, 0)
    assert judge("r", ["all"], [Firing(26.0, 30.0)], [late], LIFE).missed == 1
