"""The task of a model as it comes to be known: what is counted is kept, grows, or is dropped when it meant another one.

Invariant: what follows a turn is a function of the events up to its tick, not of how they were sliced.
"""

from __future__ import annotations

import numpy as np

from stream.monitor.basis.join_rows import Era
from stream.monitor.estimates import estimate
from stream.monitor.exchange import Guesses, Truths
from stream.monitor.features.suspects import nothing
from stream.monitor.known import Known
from stream.monitor.metrics.layout import Layout
from stream.monitor.turning import Turn, contradict, settle, usable


def turn(m: Known, guesses: Guesses, truths: Truths) -> Turn | None:
    """The next tick at which the task is settled or turns out to be another one, if these events say so."""
    configured = m.spec.task
    if not m.firm:
        labels = truths if m.task is None else truths.part(0, 0)
        return settle(guesses.events, guesses.tick, labels.events, labels.tick, configured)
    if configured is not None or m.task is None or m.task == "regression" or guesses.codes is not None:
        return None
    events = guesses.events, guesses.tick, truths.events, truths.tick
    return contradict(m.task, m.classes, *events)


def become(m: Known, turned: Turn, guesses: Guesses, truths: Truths) -> bool:
    """Takes the task of a turn; whether it had another one, whose counts are dropped."""
    old, m.task = m.task, turned.task
    if turned.task != "regression" and not m.firm:
        p, q = (int(np.searchsorted(rows.tick, turned.tick, side="right")) for rows in (guesses, truths))
        now = [event for event in guesses.events[:p] if usable(event)]
        m.classes.settle(m.spec.positive, now, truths.events[:q])
    m.firm = m.firm or turned.firm
    if old == turned.task:
        return False
    m.layout = Layout(turned.task, max(2, len(m.classes.names)), m.classes.positive)
    begin_era(m, anew=old is not None)
    if old is None:
        return False
    m.notes.append(f"taken for {old} at first; {turned.task} since a value said so, and counted anew from there")
    m.join.recode(old, turned.task, m.classes.vocabulary)
    for sums in [*(pane.sums for pane in m.panes.values()), *(window.sums for window in m.windows)]:
        sums.tally, sums.scores, sums.guesses, sums.answers = np.zeros((1, 0), np.int64), {}, {}, {}
        sums.serving.forget_classes()
    m.baseline.restart()
    m.suspects.restart()
    for pane in m.panes.values():
        pane.suspects = nothing()
    m.estimator = estimate.begun(m.normal.reference)
    m.changed.update(m.panes)
    return True


def begin_era(m: Known, *, anew: bool) -> None:
    """Task or segments are other ones: says what numbers mean that are stored from now on."""
    era = Era(m.task, m.spec.segments)
    m.eras = [*m.eras, era] if anew else [*m.eras[:-1], era]
    m.join.era = len(m.eras) - 1


def grow(m: Known) -> None:
    """Makes room for classes that have come up."""
    assert m.layout is not None
    needed = len(m.classes.names)
    if m.task == "regression" or needed <= m.layout.classes:
        return
    wide = max(needed, min(2 * m.layout.classes, m.limits.classes))
    for sums in [*(pane.sums for pane in m.panes.values()), *(window.sums for window in m.windows)]:
        if sums.tally.shape[1]:
            sums.tally = m.layout.grow(sums.tally, wide)
    m.baseline.grow(m.layout, wide)
    m.changed.update(m.panes)
    m.layout = Layout(m.layout.task, wide, m.layout.positive)
