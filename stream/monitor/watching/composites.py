"""Composite rules: an incident while all, or any, of some other rules fire.

A rule that is named counts while one of its alerts fires: on the composite's segment if it watches that, else anywhere.
Invariant: a composite sees the transitions of the rules that it names in order of event time, all of one tick at once,
so it moves at the same tick however the stream was sliced.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from msgspec import Struct, structs

from stream.config import Rule
from stream.monitor.rules import bounds
from stream.monitor.rules.machine import Transition
from stream.monitor.rules.watch import named
from stream.monitor.watching.placed import Watch


class Move(Struct, frozen=True):
    """An alert of one rule began or ended."""

    time: float
    watch: Watch
    fires: bool


class Composite:
    """One composite rule on one segment, and where the rules that it names stand."""

    def __init__(self, watch: Watch, members: list[list[Watch]]) -> None:
        """`members`: for each rule that it names, where that applies."""
        self.watch = watch
        self._of = {id(each): number for number, each_rule in enumerate(members) for each in each_rule}
        needed = len(members) if watch.rule.every is not None else 1
        self._rule = structs.replace(watch.rule, above=needed - 0.5)
        self._firing = [{id(each) for each in places if each.fires} for places in members]
        """For each rule the places where it fires."""
        self.anew = True
        """The rules that it names may stand elsewhere than when the state was stored."""

    def look(self, moves: list[Move], since: float, until: float) -> list[Transition]:
        """Moves the rule over what those that it names did, in order; event time has come from `since` to `until`."""
        state, rows = self.watch.state, dict[float, int]()
        if self.anew:
            self.anew = False
            rows[max(since, state.time)] = self._count
        for move in moves:
            number = self._of.get(id(move.watch))
            if number is not None:
                (self._firing[number].add if move.fires else self._firing[number].discard)(id(move.watch))
                rows[move.time] = self._count
        if not rows and (state.due is None or state.due > until):
            return []
        times, values = np.array(list(rows), np.float64), np.array(list(rows.values()), np.float64)
        samples = np.full(len(rows), len(self._firing), np.int64)
        return bounds.scan(self._rule, state, times, values, samples, until=until)

    @property
    def _count(self) -> int:
        return sum(map(bool, self._firing))


def composites(watches: Iterable[Watch]) -> list[Composite]:
    """The composite rules among these, those that others name first. A name that stands for nothing never fires."""
    of_rule: dict[str, list[Watch]] = {}
    for watch in watches:
        of_rule.setdefault(watch.rule.name, []).append(watch)
    ordered: dict[str, None] = {}

    def place(name: str) -> None:
        for each in named(of_rule[name][0].rule):
            if each in of_rule:
                place(each)
        ordered[name] = None

    for name in of_rule:
        place(name)
    return [
        Composite(watch, [_places(of_rule.get(part, []), watch) for part in named(watch.rule)])
        for name in ordered
        for watch in of_rule[name]
        if named(watch.rule)
    ]


def _places(watches: list[Watch], composite: Watch) -> list[Watch]:
    """Where a rule counts for a composite one."""
    segment = composite.subject.segment
    return [watch for watch in watches if watch.subject.segment == segment] or watches


def circle(listed: Iterable[Rule]) -> list[str]:
    """Names of rules of which each names the next and the last the first; empty when there is no such circle.

    >>> circle([Rule(name="a", some=("b",)), Rule(name="b", every=("c", "a")), Rule(name="c", metric="f1")])
    ['a', 'b']
    """
    parts = {rule.name: named(rule) for rule in listed}
    clear: set[str] = set()

    def follow(name: str, path: list[str]) -> list[str]:
        if name in path:
            return path[path.index(name) :]
        if name not in clear:
            for part in parts.get(name, ()):
                if found := follow(part, [*path, name]):
                    return found
            clear.add(name)
        return []

    return next((found for name in parts if (found := follow(name, []))), [])
