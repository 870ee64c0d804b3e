"""The columns that are counted: of outcomes, and of predictions as traffic, failed ones too.

Invariant: what fails has no features, score or class to count, but is traffic of its pane and segments.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from stream.events import Prediction
from stream.monitor.basis.columns import Floats, Ints, Outcomes, Traffic, floats, picked
from stream.monitor.basis.join_rows import Incoming, Joined
from stream.monitor.known import Known
from stream.monitor.panes import serving

Flags = npt.NDArray[np.bool_]


def outcomes(m: Known, joined: Joined) -> Outcomes:
    delay = np.maximum(joined.label_ts - joined.ts, 0.0)
    m.delay.add(delay)
    return Outcomes(
        joined.tick,
        joined.ts,
        m.panes_of(joined.ts),
        joined.predicted,
        joined.actual,
        joined.weight,
        joined.scores,
        joined.segments,
        delay,
    )


def traffic(
    m: Known,
    who: list[Prediction],
    waiting: Incoming,
    events: list[Prediction],
    incoming: Incoming,
    failed: Flags,
) -> tuple[Traffic, Floats]:
    """Columns of what counts as traffic, and the latencies in seconds (NaN where none came)."""
    if failed.any():
        bad = np.flatnonzero(failed)
        pane = m.panes_of(incoming.ts[bad])
        bad = bad[pane >= m.floor]
        extra = incoming.take(bad)
        order = np.argsort(np.concatenate([waiting.tick, extra.tick]), kind="stable")
        tick = np.concatenate([waiting.tick, extra.tick])[order]
        ts = np.concatenate([waiting.ts, extra.ts])[order]
        segments = np.concatenate([waiting.segments, extra.segments])[order]
        wrong = np.concatenate([np.zeros(len(waiting), np.bool_), np.ones(len(bad), np.bool_)])[order]
        everyone = [*who, *picked(events, bad.tolist())]
        everyone = [everyone[row] for row in order]
    else:
        tick, ts, segments, wrong, everyone = (
            waiting.tick,
            waiting.ts,
            waiting.segments,
            np.zeros(len(waiting), np.bool_),
            who,
        )
    latency, buckets = _latencies(m, everyone)
    good = np.flatnonzero(~wrong)
    seen = m.normal.rows
    cells = m.normal.read(who, waiting, m.task, m.classes.names, m.segments.names)
    if (taken := m.normal.rows - seen) > 0:
        part = slice(taken)
        m.baseline.extend(waiting.tick[part], waiting.ts[part], complete=m.normal.builder is None)
    _take_along(m, cells)
    guesses = _guessed(m, waiting, cells, seen)
    if len(good) < len(everyone):
        counted = cells
        cells = np.full((len(everyone), counted.shape[1]), -1, np.int64)
        cells[good] = counted
    if guesses is not None and len(good) < len(everyone):
        counted = guesses
        guesses = np.full((len(everyone), counted.shape[1]), -1, np.int64)
        guesses[good] = counted
    answers = None
    if m.task is not None:
        answers = np.full(len(everyone), -1, np.int64)
        answers[good] = 0 if m.task == "regression" else waiting.predicted.astype(np.int64)
    samples = serving.read(everyone)
    if samples is not None:
        m.resources |= serving.newest(samples)
    strange = None if m.normal.strange is None else good[m.normal.strange]
    columns = wrong, buckets, cells, guesses, answers, samples, strange
    return Traffic(tick, m.panes_of(ts), segments, *columns), latency[good]


def _take_along(m: Known, cells: Ints) -> None:
    """Notes the groups of the features of predictions that now wait for their label."""
    if m.suspects.fit(m.normal.layout):
        m.join.group(m.suspects.groups)
    groups = m.suspects.groups
    if groups is not None and len(cells):
        rows = m.suspects.taken(m.join.came)
        m.join.mark(groups.codes(cells if rows is None else cells[rows]), rows)


def _guessed(m: Known, waiting: Incoming, cells: Ints, skipped: int) -> Ints | None:
    """What performance is estimated from without labels; of a regression places, which wait for their labels, too."""
    if m.task != "regression":
        return m.estimator.guessed(waiting.predicted, waiting.scores, m.layout)
    places = m.estimator.placed(waiting.tick, cells, skipped, m.normal)
    m.join.place(places)
    return places[:, None]


def _latencies(m: Known, events: list[Prediction]) -> tuple[Floats, Ints]:
    told = [event.latency_ms for event in events]
    latency = (np.array(told, np.float64) if None in told else floats(cast(list[float], told))) / 1000.0
    known = (latency >= 0) & (latency < 1e6)
    if known.all():
        return latency, m.latency.add(latency)
    buckets = np.full(len(events), -1, np.int64)
    buckets[known] = m.latency.add(latency[known])
    return latency, buckets
