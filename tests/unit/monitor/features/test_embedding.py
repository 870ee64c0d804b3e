"""Random Fourier features: sums are the same in any order and slicing, and they are those of an RBF kernel."""

from __future__ import annotations

import statistics
from typing import Any, cast

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cdist

from stream.config import Limits
from stream.monitor.basis.columns import Floats, Ints, Traffic
from stream.monitor.features.blocks import blocks
from stream.monitor.features.embedding import FREQUENCIES, SUMS, UNIT, WIDTH, Embedding
from stream.monitor.features.feature_layout import FeatureLayout
from stream.monitor.features.reference import Numeric
from stream.monitor.features.reference_builder import from_events
from stream.monitor.panes.course import Course
from stream.monitor.panes.pane import Pane
from stream.monitor.panes.window import Window

rng = np.random.default_rng(5)
ROWS = [
    {"a": float(a), "b": float(b), "kind": str(kind)}
    for a, b, kind in zip(rng.normal(size=900), rng.exponential(size=900), rng.choice(list("xyz"), 900), strict=True)
]
REFERENCE = from_events(cast(Any, ROWS), rng.random(900), None, Limits(), "test")
LAYOUT = FeatureLayout(REFERENCE)
EMBEDDING = Embedding(blocks(REFERENCE.features))
CELLS = LAYOUT.columns(cast(Any, [*ROWS, {}, {"a": None, "b": "?", "kind": 5}, None]))


def means(cells: Ints) -> Floats:
    """Row by row what the sums of single events say."""
    return np.array(EMBEDDING.sums(cells, np.arange(len(cells)))[:, 1:] * UNIT)


@settings(deadline=None)
@given(st.lists(st.integers(1, len(CELLS) - 1), max_size=9, unique=True), st.randoms())
def test_sums_do_not_depend_on_order_and_slicing(cuts: list[int], random: Any) -> None:
    whole = EMBEDDING.sums(CELLS, np.zeros(1, np.int64))[0]
    order = list(range(len(CELLS)))
    random.shuffle(order)
    starts = np.array([0, *sorted(cuts)])
    parts = EMBEDDING.sums(CELLS[order], starts)
    assert parts.shape == (len(starts), WIDTH)
    assert (parts.sum(axis=0) == whole).all()
    slices = [EMBEDDING.sums(part, np.zeros(1, np.int64))[0] for part in np.split(CELLS, sorted(cuts))]
    assert (sum(slices) == whole).all()


def test_products_are_those_of_single_events() -> None:
    rows = EMBEDDING.sums(CELLS, np.arange(len(CELLS)))[:, 1:]
    assert (EMBEDDING.products(CELLS) == rows.T @ rows).all()


def test_an_event_is_on_a_circle_for_each_frequency() -> None:
    cosines, sines = np.split(means(CELLS), 2, axis=1)
    assert np.abs(cosines**2 + sines**2 - 1.0).max() < 4 * UNIT


def test_products_of_two_events_are_an_rbf_kernel_of_their_points() -> None:
    """Points as the module says, worked out here from the raw values; the error is that of 64 frequencies."""
    a, b = (np.array([row[name] for row in ROWS], float) for name in ("a", "b"))
    scores = np.stack([normal_scores(a), normal_scores(b)], axis=1)
    kinds = np.array([[row["kind"] == each for each in "xyz"] for row in ROWS], float)
    points = np.hstack([scores, kinds])
    exact = np.exp(-cdist(points, points, "sqeuclidean") / (2 * 2 * 3))  # a variance of 2 per feature
    rows = means(CELLS[: len(ROWS)])
    error = rows @ rows.T / FREQUENCIES - exact
    assert np.sqrt((error**2).mean()) < 1.0 / np.sqrt(FREQUENCIES)
    assert abs(error.mean()) < 0.05


def normal_scores(values: Floats) -> Floats:
    return np.array(stats.norm.ppf(stats.rankdata(values) / (len(values) + 1)))


def test_missing_values_stand_at_the_median() -> None:
    median = statistics.median(float(cast(Any, row["a"])) for row in ROWS)
    gone, there = means(LAYOUT.columns([{"b": 0.7, "kind": "x"}, {"a": median, "b": 0.7, "kind": "x"}]))
    assert gone @ there / FREQUENCIES > 0.999
    without, other = means(LAYOUT.columns([{"a": 0.0, "b": 0.7}, {"a": 0.0, "b": 0.7, "kind": "x"}]))
    assert without @ other / FREQUENCIES < 0.9


def test_weights_stay_as_they_are() -> None:
    """Stored sums mean something only as long as phases do not change: numpy's bit streams never do (NEP 19)."""
    feature = Numeric("a", (0.0, 1.0), (0, 1, 2), (-1.0, 0.5, 2.0), 1.0, 0.5, -1.0, 2.0, (30, 50, 20, 0, 0))
    sums = Embedding(blocks([feature])).sums(np.array([[0], [1], [2]]), np.zeros(1, np.int64))[0]
    assert len(sums) == 1 + SUMS
    assert sums[[0, 1, 2, 63, 64, 65, 66, 127, 128]].tolist() == [3, 43910, 49131, 46967, 48581, 2613, -225, 1778, 920]


def test_a_window_that_slides_leaves_its_panes_as_they_are() -> None:
    """What a pane of one chunk and the window share at first must part."""
    n = len(CELLS)
    rows = np.zeros(n, np.int64)
    traffic = Traffic(rows, rows, rows[:, None], rows > 0, rows - 1, CELLS)
    course = Course(traffic, Course.still(0, None, LAYOUT.width, 1).outcomes, None, LAYOUT.width)
    course.embed(EMBEDDING)
    window, panes = Window(60.0, 1), dict[int, Pane]()
    window.slide(0, panes)
    course.commit(panes, [window])
    assert window.sums.joint[0] == n
    window.slide(1, panes)
    assert not window.sums.joint.any()
    assert panes[0].sums.joint[0] == n


def test_what_rules_see_at_ticks_is_what_the_window_holds_then() -> None:
    """Some predictions are late: of panes that the window has left. Others have no features, as failed ones."""
    n = 60
    tick, pane = np.repeat(np.arange(6), 10), np.tile([3, 4, 5, 5, 5], 12)
    cells = np.where(np.arange(n)[:, None] % 7 == 0, -1, CELLS[:n])
    traffic = Traffic(tick, pane, np.zeros((n, 1), np.int64), tick < 0, np.full(n, -1), cells)
    outcomes = Course.still(0, None, LAYOUT.width, 1).outcomes
    window, panes = Window(20.0, 2), dict[int, Pane]()
    window.slide(5, panes)
    course = Course(traffic, outcomes, None, LAYOUT.width)
    course.embed(EMBEDDING)
    assert course.joint is not None
    picked = np.array([1, 4])
    running = course.joint.running(window, picked)
    for seen, last in zip(running, picked.tolist(), strict=True):
        counted = (tick <= last) & (pane >= 4) & (cells[:, 0] >= 0)
        assert (seen == EMBEDDING.sums(CELLS[:n][counted], np.zeros(1, np.int64))[0]).all()
    course.commit(panes, [window])
    assert set(panes) == {3, 4, 5}
    assert (window.sums.joint == panes[4].sums.joint + panes[5].sums.joint).all()
