"""What outcomes add to a tally: direct sums over the raw values are the judge."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from stream.events import MAX_WEIGHT, Task
from stream.monitor.basis import exact
from stream.monitor.basis.columns import WEIGHT_UNIT
from stream.monitor.metrics import layout
from stream.monitor.metrics.layout import Layout
from tests.unit.monitor.outcome_data import as_outcomes, generated, rows

TASKS: list[tuple[Task, int]] = [("binary", 2), ("multiclass", 4), ("regression", 2)]


@pytest.mark.parametrize(("task", "classes"), TASKS)
@pytest.mark.parametrize("weighted", [False, True])
@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, 300), max_size=6), seed=st.integers(0, 1000))
def test_order_slicing_and_grouping_change_nothing(
    task: Task, classes: int, weighted: bool, cuts: list[int], seed: int
) -> None:
    outcomes = generated(task, 300, classes=classes, seed=3, weighted=weighted)
    what = Layout(task, classes)
    total = what.contributions(outcomes).sum(axis=0)
    shuffled = np.random.default_rng(seed).permutation(300)
    sliced = sum(
        what.contributions(rows(outcomes, shuffled[a:b])).sum(axis=0) for a, b in pairwise(sorted([0, *cuts, 300]))
    )
    assert (total == sliced).all()
    group = shuffled % 7
    sums = what.sums(outcomes, group, 8)
    contributions = what.contributions(outcomes)
    for number in range(8):
        assert (sums[number] == contributions[group == number].sum(axis=0)).all()


@pytest.mark.parametrize(("task", "classes"), TASKS)
def test_no_outcomes_add_nothing(task: Task, classes: int) -> None:
    what = Layout(task, classes)
    empty = generated(task, 0, classes=classes)
    assert what.contributions(empty).shape == (0, what.width)
    assert not what.sums(empty, np.zeros(0, dtype=np.int64), 2).any()


@pytest.mark.parametrize(("task", "classes"), TASKS[:2])
def test_confusion_matrix(task: Task, classes: int) -> None:
    outcomes = generated(task, 1000, classes=classes, weighted=True)
    what = Layout(task, classes)
    got = what.confusion(what.contributions(outcomes).sum(axis=0)) * WEIGHT_UNIT
    weight = outcomes.weight * WEIGHT_UNIT
    want = confusion_matrix(outcomes.actual, outcomes.predicted, labels=range(classes), sample_weight=weight)
    assert (got == want).all()


def test_weights_and_their_squares() -> None:
    outcomes = as_outcomes(
        np.zeros(3), np.zeros(3), scores=np.full((3, 1), 0.5), weight=np.array([MAX_WEIGHT, 2.0**-20, 0.5])
    )
    tally = Layout("binary").contributions(outcomes).sum(axis=0)
    assert tally[layout.OUTCOMES] == 3
    assert tally[layout.WEIGHT] == MAX_WEIGHT * 2**20 + 1 + 2**19
    squares = tally[layout.WEIGHT_SQUARES : layout.WEIGHT_SQUARES + 3]
    assert exact.to_int(squares) == (MAX_WEIGHT * 2**20) ** 2 + 1 + 2**38


def test_binary_losses_skip_unusable_scores() -> None:
    scores = np.array([0.9, math.nan, 1.5, -0.1, 0.0, math.inf])
    actual = np.array([1.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    tally = Layout("binary").contributions(as_outcomes(np.ones(6), actual, scores=scores[:, None])).sum(axis=0)
    assert tally[layout.SCORED] == 2
    loss = exact.to_float(tally[layout.LOG_LOSS : layout.LOG_LOSS + 2], -52)
    assert loss == pytest.approx(-math.log(0.9) - math.log(layout.EPSILON), abs=1e-9)
    brier = exact.to_float(tally[layout.BRIER : layout.BRIER + 2], -52)
    assert brier == pytest.approx(0.01 + 1.0, abs=1e-9)


def test_calibration_bins_include_both_ends() -> None:
    scores = np.array([0.0, 0.05, 0.1, 0.95, 1.0])
    actual = np.array([0.0, 1.0, 1.0, 1.0, 1.0])
    what = Layout("binary")
    bins = what.bins(what.contributions(as_outcomes(actual, actual, scores=scores[:, None])).sum(axis=0))
    assert (bins[:, 0] * WEIGHT_UNIT).tolist() == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert (bins[:, 1] * WEIGHT_UNIT).tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert exact.to_float(bins[:, 2:], -52)[[0, 1, 9]] == pytest.approx([0.05, 0.1, 1.95], abs=1e-9)


def test_multiclass_scores_may_be_partial_or_narrow() -> None:
    """A class left out of a row of scores has probability 0; a row without any is not scored."""
    scores = np.array([[0.7, math.nan], [math.nan, math.nan], [0.2, 0.8]])
    outcomes = as_outcomes(np.array([0.0, 1.0, 1.0]), np.array([0.0, 1.0, 2.0]), scores=scores)
    tally = Layout("multiclass", 3).contributions(outcomes)
    assert tally[:, layout.SCORED].tolist() == [1, 0, 1]
    losses = exact.to_float(tally[:, layout.LOG_LOSS : layout.LOG_LOSS + 2], -52)
    assert losses == pytest.approx([-math.log(0.7), 0.0, -math.log(layout.EPSILON)], abs=1e-9)
    brier = exact.to_float(tally[:, layout.BRIER : layout.BRIER + 2], -52)
    assert brier == pytest.approx([0.09, 0.0, 0.04 + 0.64 + 1.0], abs=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6, 1e18])
def test_regression_sums(scale: float) -> None:
    outcomes = generated("regression", 500, weighted=True)
    outcomes.actual *= scale / 100.0
    outcomes.predicted *= scale / 100.0
    tally = Layout("regression").contributions(outcomes).sum(axis=0)
    weight, error = outcomes.weight * WEIGHT_UNIT, outcomes.predicted - outcomes.actual
    relative = np.abs(error) / np.abs(outcomes.actual)
    for column, values in (
        (layout.ABSOLUTE, np.abs(error)),
        (layout.ERROR, error),
        (layout.SQUARED, error**2),
        (layout.TARGET, outcomes.actual),
        (layout.TARGET_SQUARED, outcomes.actual**2),
        (layout.RELATIVE, relative),
        (layout.RELATIVE_SQUARED, relative**2),
    ):
        got = exact.to_float(tally[column : column + exact.LIMBS])
        assert got == pytest.approx(math.fsum(weight * values), rel=1e-12), column
    smape = 2.0 * np.abs(error) / (np.abs(outcomes.actual) + np.abs(outcomes.predicted))
    got = exact.to_float(tally[layout.SMAPE : layout.SMAPE + 2], -52)
    assert got == pytest.approx(math.fsum(weight * smape), rel=1e-9)


def test_regression_extremes_have_sums() -> None:
    ends = np.array([1e18, -1e18, 0.0, 1e-300])
    outcomes = as_outcomes(ends, -ends, weight=np.full(4, MAX_WEIGHT))
    tally = Layout("regression").contributions(outcomes).sum(axis=0)
    assert exact.to_float(tally[layout.SQUARED : layout.SQUARED + exact.LIMBS]) == pytest.approx(8e36 * MAX_WEIGHT)
    assert exact.to_float(tally[layout.FOURTH : layout.FOURTH + exact.LIMBS]) == 2 * layout.SATURATED


@pytest.mark.parametrize(("task", "classes"), TASKS)
@pytest.mark.parametrize(("outcomes", "score"), [(2**31, 0.37), (240 * 10**6, 0.0)])
def test_no_sum_of_the_heaviest_outcomes_overflows(task: Task, classes: int, outcomes: int, score: float) -> None:
    """As many as a tally counts, of log loss 1; fewer where the truth was called impossible."""
    right, wrong = (1e18, -1e18) if task == "regression" else (1.0, 0.0)
    scores = np.full((2, 1 if task == "binary" else classes), score)
    heaviest = as_outcomes([wrong, right], [right, right], scores=scores, weight=np.full(2, MAX_WEIGHT))
    largest = np.abs(Layout(task, classes).contributions(heaviest)).max(axis=0)
    assert int(largest.max()) * outcomes < 2**63


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_grown_tallies_equal_tallies_of_more_classes(task: Task) -> None:
    outcomes = generated(task, 200, classes=2, weighted=True)
    narrow, wide = Layout(task, 2), Layout(task, 5)
    stacked = narrow.contributions(outcomes).reshape(2, 100, narrow.width)
    assert (narrow.grow(stacked, 5).reshape(200, -1) == wide.contributions(outcomes)).all()
    regression = Layout("regression")
    tally = np.ones(regression.width, dtype=np.int64)
    assert (regression.grow(tally, 9) == tally).all()


def test_a_class_code_beyond_the_layout_is_refused() -> None:
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        Layout("binary").contributions(as_outcomes(np.array([2.0]), np.array([0.0]), scores=np.array([[0.5]])))
