"""Composite rules: judged by a look at every moment, whatever the slicing."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.config import Rule
from stream.monitor.rules.alerts import Evidence, Subject, build
from stream.monitor.rules.machine import Phase, Transition
from stream.monitor.watching.composites import Composite, Move, circle, composites
from stream.monitor.watching.placed import Watch

A, B = Rule(name="a", metric="f1", below=0.5), Rule(name="b", metric="f1", below=0.6)


def watch(rule: Rule, segment: str = "all", *, fires: bool = False) -> Watch:
    made = Watch(Subject("m", rule, segment), 0)
    made.state.phase = Phase.FIRING if fires else Phase.INACTIVE
    return made


def story(sent: Sequence[Transition]) -> list[tuple[str, float, float, float]]:
    return [(each.state, each.time, each.started_at, each.value) for each in sent]


def moved(moves: Sequence[tuple[float, Watch, bool]]) -> list[Move]:
    return [Move(*move) for move in moves]


def test_all_fire_while_both_do_and_any_while_one_does() -> None:
    a, b = watch(A), watch(B)
    every, some = composites([a, b, watch(Rule(name="e", every=("a", "b"))), watch(Rule(name="s", some=("a", "b")))])
    moves = moved([(1.0, a, True), (2.0, b, True), (3.0, a, False), (4.0, b, False)])
    assert story(every.look(moves, 0.0, 5.0)) == [("firing", 2.0, 2.0, 2), ("resolved", 3.0, 2.0, 1)]
    assert story(some.look(moves, 0.0, 5.0)) == [("firing", 1.0, 1.0, 1), ("resolved", 4.0, 1.0, 0)]


def test_what_happens_in_one_tick_is_seen_at_once() -> None:
    a, b = watch(A), watch(B)
    (every,) = composites([a, b, watch(Rule(name="e", every=("a", "b")))])
    assert every.look(moved([(1.0, a, True), (2.0, a, False), (2.0, b, True)]), 0.0, 9.0) == []


def test_hold_and_cooldown_are_those_of_other_rules() -> None:
    a = watch(A)
    (held,) = composites([a, watch(Rule(name="h", some=("a",), hold=3.0, cooldown=10.0))])
    assert held.look(moved([(1.0, a, True)]), 0.0, 2.0) == []
    assert held.watch.state.due == 4.0
    assert story(held.look([], 2.0, 4.0)) == [("firing", 4.0, 1.0, 1)]
    again = moved([(5.0, a, False), (5.5, a, True)])
    assert story(held.look(again, 4.0, 20.0)) == [("resolved", 5.0, 1.0, 0), ("firing", 15.0, 5.5, 1)]


def test_a_segment_looks_at_itself_and_at_rules_that_do_not_know_it() -> None:
    rules = [watch(A), watch(A, "country=BR"), watch(A, "country=DE"), watch(B)]
    rule = Rule(name="e", every=("a", "b"), segment="*")
    whole, brazil = composites([*rules, watch(rule), watch(rule, "country=BR")])
    moves = moved([(1.0, rules[3], True), (2.0, rules[2], True), (3.0, rules[1], True)])
    assert whole.look(moves, 0.0, 5.0) == []
    assert story(brazil.look(moves, 0.0, 5.0)) == [("firing", 3.0, 3.0, 2)]


def test_a_rule_fires_while_any_of_its_features_does() -> None:
    one, other = watch(A), watch(A)
    (some,) = composites([one, other, watch(Rule(name="s", some=("a",)))])
    moves = moved([(1.0, one, True), (2.0, other, True), (3.0, one, False), (4.0, other, False)])
    assert story(some.look(moves, 0.0, 5.0)) == [("firing", 1.0, 1.0, 1), ("resolved", 4.0, 1.0, 0)]


def test_composites_of_composites_come_after_what_they_name() -> None:
    listed = [
        watch(Rule(name="outer", some=("inner",))),
        watch(Rule(name="inner", every=("a",))),
        watch(A),
    ]
    assert [each.watch.rule.name for each in composites(listed)] == ["inner", "outer"]
    assert circle([each.rule for each in listed]) == []
    assert circle([Rule(name="a", some=("a",))]) == ["a"]


def test_after_a_restart_it_counts_what_fires_then() -> None:
    """A rule that it names is configured otherwise now, and begins from nothing."""
    a, composite = watch(A, fires=True), watch(Rule(name="s", some=("a",)))
    (some,) = composites([a, composite])
    assert story(some.look([], 1.0, 1.0)) == [("firing", 1.0, 1.0, 1)]
    (anew,) = composites([watch(A), composite])
    assert story(anew.look([], 2.0, 2.5)) == [("resolved", 2.0, 1.0, 0)]


def test_its_alert_says_how_many_fire_and_names_them() -> None:
    rule = Rule(name="both", every=("a", "b"), severity="critical")
    a, b = watch(A), watch(B)
    (every,) = composites([a, b, watch(rule)])
    fired, ended = every.look(moved([(3600.0, a, True), (3660.0, b, True), (3720.0, b, False)]), 0.0, 4000.0)
    subject = Subject("fraud", rule, of="performance")
    alert = build(subject, fired, Evidence())
    assert alert.summary == "2 of 2 rules of fraud fire at once, since 01:01 UTC (a, b)"
    assert (alert.kind, alert.severity, alert.value, alert.samples) == ("performance", "critical", 2.0, 2)
    assert build(subject, ended).summary == "2 rules of fraud do not fire at once after 1 min (a, b)"


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 2)), max_size=30),
    st.sets(st.integers(1, 40)),
    st.sampled_from(["every", "some"]),
)
@settings(max_examples=200)
def test_it_is_so_at_each_moment_whatever_the_slicing(flips: list[tuple[int, int]], cuts: set[int], kind: str) -> None:
    """`flips`: at a time, a rule begins to fire if it did not, and else it ends."""
    names = ("a", "b", "c")
    watches = [watch(Rule(name=name, metric="f1", below=0.5)) for name in names]
    rule = Rule(name="x", every=names) if kind == "every" else Rule(name="x", some=names)
    (composite,) = composites([*watches, watch(rule)])
    firing, moves = [False] * 3, []
    expected: list[tuple[str, float]] = []
    true = False
    for time in range(1, 41):
        for at, number in sorted(flips, key=lambda flip: flip[0]):
            if at == time:
                firing[number] = not firing[number]
                moves.append(Move(float(time), watches[number], firing[number]))
        now = all(firing) if kind == "every" else any(firing)
        if now != true:
            expected.append(("firing" if now else "resolved", float(time)))
        true = now
    sent: list[Transition] = []
    since = 0.0
    for cut in [*sorted(cuts), 41]:
        part = [move for move in moves if since < move.time <= cut]
        sent += composite.look(part, since, float(cut))
        since = float(cut)
    assert isinstance(composite, Composite)
    assert [(each.state, each.time) for each in sent] == expected
