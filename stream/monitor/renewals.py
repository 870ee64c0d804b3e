"""References that are taken anew: an operator says that the present is the new normal.

A renewal names a model and a moment of event time. At the first tick that begins then or later, the model is as it was
at its beginning: its next N predictions are the reference, their outcomes the performance at reference, detectors and
guards begin anew, and alerts that compare with the old reference are resolved. What is counted goes on.
Calibrated scores go on, too; losses of a regression are learned anew, by the bins of the new reference.
Invariant: a model takes each renewal at most once, in order of their moments, and between two ticks; so what follows is
a function of the events and the renewals. One that is heard of too late is taken at the next tick.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from stream.config import Renewal
from stream.monitor.features.suspects import nothing
from stream.monitor.known import Known
from stream.monitor.panes.baseline import Baseline
from stream.monitor.panes.stored import Renewed
from stream.monitor.rules.machine import TICK

USUAL = 1_000
"""Predictions of a reference where nothing says how many."""


class Renewals:
    """The renewals that there are: those of the configuration, and those given to the running workers."""

    def __init__(self, configured: Iterable[Renewal] = ()) -> None:
        self._configured = tuple(configured)
        self._given: tuple[Renewal, ...] = ()
        self._of = _by_model(self._configured)
        self.revision = 0
        """Grows with every change."""

    @property
    def given(self) -> tuple[Renewal, ...]:
        """Those given to the running workers."""
        return self._given

    @given.setter
    def given(self, renewals: tuple[Renewal, ...]) -> None:
        if renewals != self._given:
            self._given = renewals
            self._of = _by_model((*self._configured, *renewals))
            self.revision += 1

    def after(self, model: str, at: float) -> Renewal | None:
        """The model's first one whose moment is after `at`.

        >>> renewals = Renewals([Renewal("fraud", 60.0), Renewal("fraud", 30.0), Renewal("loan", 10.0)])
        >>> [renewals.after("fraud", at) for at in (-math.inf, 60.0)]
        [Renewal(model='fraud', at=30.0, first=None, reason=''), None]
        """
        return next((each for each in self._of.get(model, ()) if each.at > at), None)


def _by_model(renewals: Iterable[Renewal]) -> dict[str, list[Renewal]]:
    """In order of their moments."""
    found: dict[str, list[Renewal]] = {}
    for each in sorted(renewals, key=lambda each: each.at):
        found.setdefault(each.model, []).append(each)
    return found


def tick_of(renewal: Renewal, done: int) -> int:
    """The tick at whose beginning a renewal is taken; ticks below `done` are done."""
    return max(math.ceil(renewal.at / TICK), done)


def begin(m: Known, renewal: Renewal) -> None:
    """Begins the model's reference anew, at the beginning of its next tick."""
    since = m.tick * TICK
    m.normal.renew(renewal.first or m.spec.reference.first or USUAL, since)
    m.baseline = Baseline(since)
    m.estimator.renew()
    panes = [*m.panes.values(), *(pane for pane, _ in m.parted or ())]
    for pane in panes:
        pane.suspects = nothing()
    for sums in [*(pane.sums for pane in panes), *(window.sums for window in m.windows)]:
        sums.forget_features()
    m.suspects.restart()
    m.changed.update(m.panes)
    m.renewed = Renewed(m.renewed.count + 1, renewal.at)
    m.revision += 1
