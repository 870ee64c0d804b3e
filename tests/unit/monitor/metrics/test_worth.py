"""Business value: the mean over the raw outcomes, and an interval that holds what it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.monitor.metrics.layout import Layout
from stream.monitor.metrics.worth import evaluate, interval, report
from tests.unit.monitor.outcome_data import generated

BINARY = {"tp": 10.0, "fp": -2.0, "fn": -50.0, "tn": 0.25}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.booleans(), st.integers(0, 1))
def test_a_binary_model_is_worth_the_mean_of_its_outcomes(seed: int, weighted: bool, positive: int) -> None:
    outcomes = generated("binary", 300, seed=seed, weighted=weighted)
    layout = Layout("binary", 2, positive)
    tally = layout.contributions(outcomes).sum(axis=0)
    said, true = outcomes.predicted == positive, outcomes.actual == positive
    each = np.select([said & true, said & ~true, ~said & true], [10.0, -2.0, -50.0], 0.25)
    value, samples = evaluate(layout, tally, BINARY, ["0", "1"])
    assert float(value) == pytest.approx(np.average(each, weights=outcomes.weight), abs=1e-12)
    assert int(samples) == 300
    low, high = interval(layout, tally, BINARY, ["0", "1"]) or (1.0, 0.0)
    assert low <= float(value) <= high
    if not weighted:
        spread = 1.959963984540054 * each.std(ddof=1) / np.sqrt(300)
        assert (low, high) == pytest.approx((each.mean() - spread, each.mean() + spread), abs=1e-9)


def test_classes_are_named_by_truth_and_prediction() -> None:
    outcomes = generated("multiclass", 500, classes=3, seed=4)
    layout, names = Layout("multiclass", 3), ["cat", "dog", "cow"]
    values = {"cat": {"cat": 5.0, "dog": -1.0}, "dog": {"dog": 2.0}, "unicorn": {"cat": 9.0}}
    tally = layout.contributions(outcomes).sum(axis=0)
    each = [
        values.get(names[int(truth)], {}).get(names[int(said)], 0.0)
        for truth, said in zip(outcomes.actual, outcomes.predicted, strict=True)
    ]
    told = report(layout, tally, values, names)
    assert told.value == pytest.approx(np.mean(each), abs=1e-12)
    assert told.samples == 500


def test_no_outcome_is_worth_nothing_that_is_known() -> None:
    told = report(Layout("binary", 2), np.zeros(Layout("binary", 2).width, np.int64), BINARY, ["0", "1"])
    assert (told.value, told.samples) == (None, 0)
