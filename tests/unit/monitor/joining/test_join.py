"""The join against a naive one that goes event by event."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.monitor.basis.join_rows import Incoming, Observed
from stream.monitor.joining.join import Join

HORIZON = 7 * 86400.0

Event = tuple[bool, int, int]
"""(is a label, id, ticks since the event before)."""

events = st.lists(st.tuples(st.booleans(), st.integers(0, 12), st.integers(0, 2)), max_size=60)


def naive(
    timeline: list[tuple[int, bool, int, int]],
) -> tuple[list[tuple[int, int, int]], int, int, set[int], set[int]]:
    """Outcomes as (tick, id, number of the label), repeats of each side, pending, early."""
    pending: dict[int, int] = {}
    early: dict[int, int] = {}
    settled: set[int] = set()
    outcomes: list[tuple[int, int, int]] = []
    repeats = [0, 0]
    for tick, is_label, event_id, number in sorted(timeline, key=lambda e: (e[0], e[1])):
        mine, other = (early, pending) if is_label else (pending, early)
        if event_id in settled or event_id in mine:
            repeats[is_label] += 1
        elif event_id in other:
            outcomes.append((tick, event_id, number if is_label else other[event_id]))
            del other[event_id]
            settled.add(event_id)
        else:
            mine[event_id] = number
    return outcomes, repeats[0], repeats[1], set(pending), set(early)


def timeline_of(drawn: list[Event]) -> list[tuple[int, bool, int, int]]:
    tick, timeline = 0, []
    for number, (is_label, event_id, step) in enumerate(drawn):
        tick += step
        timeline.append((tick, is_label, event_id, number))
    return timeline


def batches(timeline: list[tuple[int, bool, int, int]], cuts: set[int]) -> list[list[tuple[int, bool, int, int]]]:
    """Whole ticks at a time: a cut before tick t."""
    found: dict[int, list[tuple[int, bool, int, int]]] = {}
    for event in timeline:
        found.setdefault(sum(cut <= event[0] for cut in cuts), []).append(event)
    return [found[key] for key in sorted(found)]


def run(parts: list[list[tuple[int, bool, int, int]]]) -> tuple[Join, list[tuple[int, int, int]]]:
    join = Join(1, 1, keeps_payload=True, pane=5.0)
    outcomes: list[tuple[int, int, int]] = []
    for part in parts:
        guesses = [event for event in part if not event[1]]
        labels = [event for event in part if event[1]]
        incoming = Incoming(
            [str(e[2]) for e in guesses],
            np.array([e[0] for e in guesses], np.int64),
            np.array([float(e[0]) for e in guesses]),
            np.array([float(e[2]) for e in guesses]),
            np.zeros((len(guesses), 1)),
            np.zeros((len(guesses), 1), np.int64),
            [{"number": float(e[3])} for e in guesses],
        )
        observed = Observed(
            [str(e[2]) for e in labels],
            np.array([e[0] for e in labels], np.int64),
            np.array([float(e[0]) for e in labels]),
            np.array([float(e[3]) for e in labels]),
            np.ones(len(labels), np.int64),
        )
        joined, _ = join.match(incoming, observed, 0.0, HORIZON)
        columns = joined.tick.tolist(), joined.predicted.tolist(), joined.actual.tolist()
        outcomes += [(tick, int(event_id), int(number)) for tick, event_id, number in zip(*columns, strict=True)]
    return join, outcomes


@given(events, st.sets(st.integers(0, 120)))
@settings(max_examples=300)
def test_equals_an_event_by_event_join(drawn: list[Event], cuts: set[int]) -> None:
    timeline = timeline_of(drawn)
    join, outcomes = run(batches(timeline, cuts))
    expected, predictions, labels, pending, early = naive(timeline)
    assert outcomes == expected
    assert (join.duplicate_predictions, join.duplicate_labels) == (predictions, labels)
    assert {int(i) for i in join.pending} == pending
    assert {int(i) for i in join.early} == early


@given(events, st.sets(st.integers(0, 120)), st.integers(0, 5))
def test_restored_is_as_never_stopped(drawn: list[Event], cuts: set[int], stop: int) -> None:
    parts = batches(timeline_of(drawn), cuts)
    join, _ = run(parts[:stop])
    stored_waiting, gone, stored_early, met = join.changes()
    assert not set(stored_waiting) & set(gone)
    assert not set(stored_early) & set(met)
    twin = Join(1, 1, keeps_payload=True, pane=5.0)
    twin.restore_pending(list(stored_waiting), list(stored_waiting.values()))
    twin.restore_early(list(stored_early), list(stored_early.values()))
    assert set(twin.pending) == set(join.pending)
    assert twin.early == join.early
    assert twin.changes() == ({}, [], {}, [])


def test_expires_what_is_older_and_nothing_else() -> None:
    join, _ = run([[(10, False, 1, 0), (20, False, 2, 1), (10, True, 3, 2), (20, True, 4, 3)]])
    assert join.expire(10.0) == (0, 0)
    assert join.expire(15.0) == (1, 1)
    assert set(join.pending) == {"2"}
    assert set(join.early) == {"4"}
