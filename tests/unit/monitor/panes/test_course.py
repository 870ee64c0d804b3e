"""What a chunk adds, and what windows held at the ends of its ticks: adding outcome by outcome is the judge."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from stream.events import Task
from stream.monitor.basis.columns import Ints, Outcomes, Traffic
from stream.monitor.metrics.layout import Layout
from stream.monitor.metrics.scores import EXACT, ScoreHistogram
from stream.monitor.panes import course as courses
from stream.monitor.panes.course import Course
from stream.monitor.panes.pane import Pane, Sums
from stream.monitor.panes.window import Window
from tests.unit.monitor.outcome_data import generated, rows

TASKS = [("binary", 2), ("multiclass", 4), ("regression", 2)]

PANE = 9
"""The watermark's pane; outcomes belong to this one and some before."""


def chunk(task: Task, n: int, classes: int, *, seed: int = 0, segments: int = 3) -> Outcomes:
    """Outcomes of several ticks and panes, in segments of two dimensions."""
    rng = np.random.default_rng(seed)
    outcomes = generated(task, n, classes=classes, seed=seed, weighted=True)
    if task == "regression":
        outcomes.scores = np.full((n, 1), np.nan)
    outcomes.tick = np.sort(rng.integers(100, 120, n))
    outcomes.pane = PANE - rng.integers(0, 5, n)
    first, second = rng.integers(1, 1 + segments, n), rng.integers(1 + segments, 1 + 2 * segments, n)
    outcomes.segments = np.stack([np.zeros(n, np.int64), first, second], axis=1)
    outcomes.scores[rng.random(outcomes.scores.shape) < 0.1] = np.nan
    return outcomes


def started(outcomes: Outcomes, layout: Layout) -> Course:
    """A chunk without predictions."""
    none = np.empty(0, np.int64)
    segments = np.empty((0, 3), np.int64)
    traffic = Traffic(none, none, segments, np.empty(0, np.bool_), none, np.empty((0, 0), np.int64))
    return Course(traffic, outcomes, layout, 0)


def windows() -> list[Window]:
    made = [Window(60.0, 2), Window(300.0, 4)]
    for window in made:
        window.slide(PANE, {})
    return made


@pytest.mark.parametrize(("task", "classes"), TASKS)
@pytest.mark.parametrize("dense", [0, courses.DENSE])
def test_a_chunk_adds_what_its_outcomes_add_one_by_one(
    task: Task, classes: int, dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courses, "DENSE", dense)
    layout, outcomes = Layout(task, classes), chunk(task, 300, classes)
    course, held = started(outcomes, layout), windows()
    each = layout.contributions(outcomes)
    inside = [outcomes.pane >= window.first for window in held]
    for window, within in zip(held, inside, strict=True):
        for segment in (0, 2, 5, 99):
            mine = within & (outcomes.segments == segment).any(axis=1)
            want = np.array([each[mine & (outcomes.tick <= tick)].sum(axis=0) for tick in course.ticks])
            assert np.array_equal(course.tallies(window, segment), want)
    panes: dict[int, Pane] = {}
    touched = course.commit(panes, held)
    assert touched == {pane: set(range(7)) for pane in range(PANE - 4, PANE + 1)}
    for sums, within in [
        *((window.sums, within) for window, within in zip(held, inside, strict=True)),
        *((pane.sums, outcomes.pane == index) for index, pane in panes.items()),
    ]:
        for segment in range(7):
            mine = within & (outcomes.segments == segment).any(axis=1)
            assert np.array_equal(sums.tally[segment], each[mine].sum(axis=0))


def test_memory_of_a_chunk_does_not_grow_with_the_square_of_the_classes() -> None:
    """Full rows of 64 classes would take 332 MB."""
    layout, outcomes = Layout("multiclass", 64), chunk("multiclass", 10_000, 64)
    tracemalloc.start()
    try:
        course, held = started(outcomes, layout), windows()
        tally: Ints = course.tallies(held[0], 1)
        course.commit({}, held)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    assert np.array_equal(held[0].sums.tally[1], tally[-1])
    mine = (outcomes.segments == 1).any(axis=1) & (outcomes.pane >= held[0].first)
    some = rows(outcomes, np.flatnonzero(mine))
    assert np.array_equal(tally[-1], layout.sums(some, np.zeros(len(some), np.int64), 1)[0])


def judged(outcomes: Outcomes, layout: Layout, mine: Ints, number: int) -> ScoreHistogram:
    """The histogram of some outcomes and one class, from the raw scores."""
    made = ScoreHistogram()
    code = layout.positive if layout.task == "binary" else number
    made.add(outcomes.scores[mine, number], outcomes.actual[mine] == code, outcomes.weight[mine])
    return made


def same(left: ScoreHistogram, right: ScoreHistogram) -> bool:
    a, b = left.to_state(), right.to_state()
    return left.count == right.count and np.array_equal(a.codes, b.codes) and np.array_equal(a.columns, b.columns)


@pytest.mark.parametrize(("task", "classes"), [("binary", 2), ("multiclass", 3)])
@pytest.mark.parametrize("n", [300, 3 * EXACT])
def test_histograms_hold_the_scores_of_their_outcomes(task: Task, classes: int, n: int) -> None:
    layout, outcomes = Layout(task, classes), chunk(task, n, classes)
    outcomes.pane[: n // 2] = PANE  # enough for one pane to be counted in bins
    outcomes.scores[:4, 0] = [-0.1, 1.1, np.inf, 1.0]
    course, held = started(outcomes, layout), windows()
    panes: dict[int, Pane] = {}
    course.commit(panes, held)
    alone = Sums()
    some = np.flatnonzero(outcomes.segments[:, 1] == 2)
    course.add_scores(alone, 2, some)
    for number in range(outcomes.scores.shape[1]):
        assert same(alone.scores[2][number], judged(outcomes, layout, some, number))
        for segment in range(7):
            inside = (outcomes.segments == segment).any(axis=1)
            for window in held:
                mine = np.flatnonzero(inside & (outcomes.pane >= window.first))
                assert same(window.sums.scores[segment][number], judged(outcomes, layout, mine, number))
            for index, pane in panes.items():
                mine = np.flatnonzero(inside & (outcomes.pane == index))
                assert same(pane.sums.scores[segment][number], judged(outcomes, layout, mine, number))


def test_outcomes_without_scores_make_no_histograms() -> None:
    layout, outcomes = Layout("binary"), chunk("binary", 50, 2)
    outcomes.scores[:] = np.nan
    held = windows()
    started(outcomes, layout).commit({}, held)
    assert held[0].sums.scores == {}
