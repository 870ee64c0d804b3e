"""Confidence intervals: scipy where it has them, else the share of simulated samples whose interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stream.events import Estimated, Task
from stream.monitor.basis import intervals
from stream.monitor.metrics import layout as columns
from stream.monitor.metrics import performance
from stream.monitor.metrics.layout import Layout
from stream.monitor.metrics.scores import ScoreHistogram
from tests.unit.monitor.outcome_data import as_outcomes, generated

SAMPLES = 150


@given(st.integers(0, 500), st.integers(1, 500))
def test_wilson_equals_scipy(hits: int, n: int) -> None:
    hits = min(hits, n)
    want = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert intervals.wilson(hits / n, n) == pytest.approx((want.low, want.high), abs=1e-12)


def test_means_equal_the_normal_interval_of_scipy() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=400)
    want = stats.norm.interval(0.95, values.mean(), stats.sem(values))
    assert intervals.mean(values.mean(), float((values**2).mean()), 400) == pytest.approx(want, rel=1e-12)
    assert intervals.mean(1.0, 1.0, 1) is None


def test_edges() -> None:
    assert intervals.wilson(0.5, 0) is None
    assert intervals.wilson(float("nan"), 10) is None
    assert intervals.roc_auc(0.9, 0, 10) is None
    assert intervals.roc_auc(1.0, 5, 5) == (1.0, 1.0)
    assert intervals.average_precision(1.0, 5) is None
    assert intervals.mean_of_shares([float("nan")], [0.0]) is None
    assert intervals.delta(0.5, [(0.5, 3.0), (0.5, 3.0)], 10, (0.0, 1.0)) is None
    assert intervals.delta(0.5, [(0.5, 3.0), (0.5, 1.0)], 1, (0.0, 1.0)) is None


def seen(task: Task, classes: int, n: int, seed: int) -> dict[str, Estimated]:
    """The report of one sample."""
    layout, outcomes = Layout(task, classes), generated(task, n, classes=classes, seed=seed)
    histogram = ScoreHistogram()
    if task == "binary":
        histogram.add(outcomes.scores[:, 0], outcomes.actual == 1, outcomes.weight)
    tally = layout.sums(outcomes, np.zeros(n, dtype=np.int64), 1)[0]
    return performance.report(layout, tally, [histogram])


@pytest.mark.parametrize(("task", "classes"), [("binary", 2), ("multiclass", 3), ("regression", 2)])
def test_about_95_of_100_intervals_hold_the_truth(task: Task, classes: int) -> None:
    known = seen(task, classes, 200_000, 12345)  # so many that they stand for the truth
    held: dict[str, list[bool]] = {}
    for seed in range(SAMPLES):
        for name, estimated in seen(task, classes, 400, seed).items():
            truth, low, high = known[name].value, estimated.lower, estimated.upper
            if truth is not None and isinstance(low, float) and isinstance(high, float):
                held.setdefault(name, []).append(low <= truth <= high)
    expected = {name for name in performance.names(task) if task == "binary" or not performance.from_scores(name)}
    assert set(held) == expected - {"calibration_error", "r2"}
    # Relative errors of labels near 0 have a tail that no sample of 400 shows.
    shares = {name: float(np.mean(each)) for name, each in held.items() if name != "mape"}
    assert all(share >= 0.9 for share in shares.values()), shares
    assert 0.92 <= np.mean(list(shares.values())) <= 0.98, shares


def test_weights_count_as_fewer_outcomes() -> None:
    rng = np.random.default_rng(0)
    right = (rng.random(1000) < 0.8) * 1.0
    weight = np.where(rng.random(1000) < 0.5, 0.5, 2.5)
    layout = Layout("binary")
    tally = layout.contributions(as_outcomes(right, np.ones(1000), scores=np.ones((1000, 1)), weight=weight)).sum(
        axis=0
    )
    effective = weight.sum() ** 2 / (weight**2).sum()
    value = (right * weight).sum() / weight.sum()
    got = performance.interval(layout, tally, "accuracy")
    assert got == pytest.approx(intervals.wilson(float(value), float(effective)), rel=1e-12)


def test_an_error_too_large_for_its_square_sum_gives_no_interval() -> None:
    layout = Layout("regression")
    small = layout.contributions(as_outcomes(np.array([1.0, 2.0]), np.array([0.0, 0.0])))
    large = layout.contributions(as_outcomes(np.array([1e12, 2.0]), np.array([0.0, 0.0])))
    assert performance.interval(layout, small.sum(axis=0), "rmse") is not None
    assert performance.interval(layout, large.sum(axis=0), "rmse") is None
    assert performance.interval(layout, large.sum(axis=0), "mae") is not None
    assert large[0, columns.OUTCOMES] == 1
