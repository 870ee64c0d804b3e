"""What a checkpoint keeps of a model, and how a model goes on from it.

Invariant: under the same configuration a restored model is as one that never stopped; under a changed one what cannot
be kept is measured anew, and still every event counts once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from stream.monitor import intake, tasks
from stream.monitor.basis.join_rows import Early, Waiting
from stream.monitor.basis.vocabulary import name_of
from stream.monitor.estimates import estimate
from stream.monitor.features.suspects import Suspects, nothing
from stream.monitor.joining.join import as_code, as_number
from stream.monitor.metrics.layout import Layout
from stream.monitor.model import ModelMonitor
from stream.monitor.panes.pane import Pane
from stream.monitor.panes.stored import Head, Measured


def head(m: ModelMonitor) -> Head:
    """Everything that is stored in one row."""
    return Head(
        task=m.task,
        firm=m.firm,
        classes=m.classes.names,
        positive=m.classes.positive,
        width=0 if m.layout is None else m.layout.classes,
        segments=m.segments.names,
        counters=m.counters,
        join=(m.join.duplicate_predictions, m.join.duplicate_labels, m.join.settled.early),
        stale=m.stale,
        position=m.position,
        tick=m.tick,
        floor=m.floor,
        version=m.version,
        recent=m.sent.recent,
        alerts_total=m.sent.total,
        latency=m.latency,
        delay=m.delay,
        notes=m.notes,
        last_cell=m.watches.last_cell,
        watches=m.watches.states(),
        measured=Measured.by(m.spec),
        waiting=m.join.waiting,
        garbage=m.join.garbage,
        eras=m.eras,
        held=m.sent.held.alerts,
        resources=m.resources,
        renewed=m.renewed,
        suspects=m.suspects.learned,
    )


def restore(
    m: ModelMonitor,
    head: Head,
    panes: list[Pane],
    early: dict[str, Early],
    loads: Callable[[bytes], Any],
) -> None:
    """Goes on from a checkpoint; settled ids and the reference are restored apart, waiting predictions are lent.

    Where the configuration has changed what panes mean, they are dropped and measuring begins anew; what waits for
    its label still waits, and every event still counts once.
    """
    same = head.measured == Measured.by(m.spec)
    regular = head.measured.segments == m.spec.segments
    m.eras, m.join.era = head.eras, len(head.eras) - 1
    waiting: dict[int, int] = {}
    for index, count in head.waiting.items():
        now = index if same else int(index * head.measured.pane // m.spec.pane)
        waiting[now] = waiting.get(now, 0) + count
    m.join.restore_waiting(waiting, head.garbage)
    m.task, m.firm = head.task, head.firm
    m.classes = intake.Classes(m.limits.classes, head.classes, head.positive)
    known = head.segments[1:] if regular else []
    m.segments = intake.Segments(m.spec.segments, m.limits.segments, known, m.spec.bins)
    if head.task is not None:
        m.layout = Layout(head.task, head.width, head.positive)
    m.counters = head.counters
    m.join.duplicate_predictions, m.join.duplicate_labels, m.join.settled.early = head.join
    m.tick, m.version, m.notes = head.tick, head.version, head.notes
    m.latency, m.delay, m.resources, m.renewed = head.latency, head.delay, head.resources, head.renewed
    m.sent.restore(head.recent, head.alerts_total, head.held)
    if head.task == "multiclass":
        m.join.widen(len(head.classes))
    m.suspects = Suspects(m.spec.explain, m.spec.segments, head.suspects)
    m.suspects.fit(m.normal.layout)
    m.join.group(m.suspects.groups)
    m.join.restore_early(list(early), list(early.values()))
    if same:
        m.stale, m.position, m.floor = head.stale, head.position, head.floor
        m.panes = {pane.index: pane for pane in panes}
        for pane in panes:
            if m.normal.rebinned:
                pane.sums.forget_features()
            if m.normal.rebinned or m.suspects.groups is None or len(pane.suspects) != len(m.suspects.groups.names):
                pane.suspects = nothing()
        for window in m.windows:
            window.last = m.position
            window.rebuild(m.panes)
        m.watches.last_cell = head.last_cell
    else:
        _measure_anew(m, head, panes)
    m.watches.restore(head.watches, loads)
    m.watches.refresh(m)


def _measure_anew(m: ModelMonitor, head: Head, panes: list[Pane]) -> None:
    """The panes that are stored are of another length, or of other segments, or of another task."""
    note = "the configuration has changed what is measured: metrics and windows begin anew"
    m.notes = [*(old for old in m.notes if old != note), note]
    if (head.measured.task, head.measured.positive) != (m.spec.task, m.spec.positive):
        m.estimator = estimate.begun(m.normal.reference)
    m.gone.update(pane.index for pane in panes)
    if head.measured.segments != m.spec.segments:
        m.baseline.whole_only()
    if (head.measured.task, head.measured.positive) != (m.spec.task, m.spec.positive):
        m.baseline.restart()
    if m.position < 0 and m.tick >= 0:
        m.start(m.pane_at(m.tick))
    if m.spec.task is not None and m.task is not None:
        if m.spec.task != m.task:
            m.join.recode(m.task, m.spec.task, m.classes.vocabulary)
        m.task = m.spec.task
    if m.spec.positive is not None:
        m.classes.positive = m.classes.vocabulary.code(name_of(m.spec.positive))
    if m.task is not None:
        m.layout = Layout(m.task, max(2, len(m.classes.names)), m.classes.positive)
    tasks.begin_era(m, anew=True)


def lend(m: ModelMonitor, rows: dict[str, Waiting], only_expired: bool = False) -> None:
    """Takes waiting predictions from the store into memory; those that have expired are deleted."""
    before = m.floor * m.spec.pane
    if only_expired:
        rows = {event_id: row for event_id, row in rows.items() if row.ts < before}
    m.join.lend(rows, before, partial(_restated, m))


def _restated(m: ModelMonitor, row: Waiting) -> Waiting:
    """A stored row in today's numbers."""
    if row.era == m.join.era:
        return row
    era, predicted, scores = m.eras[row.era], row.predicted, row.scores
    if era.task != m.task and "regression" in (era.task, m.task):
        convert = as_number if m.task == "regression" else as_code
        predicted, scores = convert(predicted, m.classes.vocabulary), []
    segments = row.segments if era.segments == m.spec.segments else m.segments.unknown
    return Waiting(row.tick, row.ts, predicted, scores, segments, row.payload, m.join.era, row.groups)
