"""Group gaps against rates by scikit-learn, group by group, and what is left out."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, recall_score

from stream.config import Model
from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.metrics.fairness import FAIRNESS, evaluate, groups, interval, report
from stream.monitor.metrics.layout import Layout
from tests.unit.monitor.outcome_data import as_outcomes

LAYOUT = Layout("binary", 2, 1)


def tallies(
    predicted: npt.ArrayLike, actual: npt.ArrayLike, group: Ints, count: int, weight: Floats | None = None
) -> Ints:
    predicted, actual = np.asarray(predicted, np.float64), np.asarray(actual, np.float64)
    rows = [
        LAYOUT.contributions(
            as_outcomes(
                predicted[group == each],
                actual[group == each],
                scores=np.full((int((group == each).sum()), 1), np.nan),
                weight=None if weight is None else weight[group == each],
            )
        ).sum(axis=0)
        for each in range(count)
    ]
    return np.array(rows, np.int64)


def rates(predicted: Floats, actual: Floats, weight: Floats | None) -> dict[str, float]:
    """As fairlearn defines them, by scikit-learn."""
    matrix = confusion_matrix(actual, predicted, labels=[0, 1], sample_weight=weight)
    return {
        "demographic_parity": matrix[:, 1].sum() / matrix.sum(),
        "equal_opportunity": recall_score(actual, predicted, sample_weight=weight),
        "false_positive_rate": matrix[0, 1] / matrix[0].sum(),
    }


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.booleans())
def test_gaps_are_those_of_the_rates_of_the_groups(seed: int, count: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    n = 200 * count
    group = np.arange(n) % count
    actual = (rng.random(n) < 0.2 + 0.6 * rng.random(count)[group]) * 1.0
    predicted = np.where(rng.random(n) < 0.3 + 0.6 * rng.random(count)[group], actual, 1.0 - actual)
    weight = rng.integers(1, 4096, n) / 1024.0 if weighted else None
    tally = tallies(predicted, actual, group, count, weight)
    each = [
        rates(predicted[group == g], actual[group == g], None if weight is None else weight[group == g])
        for g in range(count)
    ]
    difference = {name: max(r[name] for r in each) - min(r[name] for r in each) for name in each[0]}
    ratio = {name: min(r[name] for r in each) / max(r[name] for r in each) for name in each[0]}
    difference["equalized_odds"] = max(difference["equal_opportunity"], difference["false_positive_rate"])
    ratio["equalized_odds"] = min(ratio["equal_opportunity"], ratio["false_positive_rate"])
    for end, expected in (("difference", difference), ("ratio", ratio)):
        for name, value in expected.items():
            found, samples = evaluate(LAYOUT, tally, f"{name}_{end}", minimum=1)
            assert float(found) == pytest.approx(value, abs=1e-12)
            assert int(samples) == n
    low, high = interval(LAYOUT, tally, "equalized_odds_difference", minimum=1) or (math.nan, math.nan)
    assert low <= difference["equalized_odds"] <= high


def test_many_ticks_at_once_are_what_each_is_alone() -> None:
    rng = np.random.default_rng(1)
    each = [
        tallies(rng.integers(0, 2, 300) * 1.0, rng.integers(0, 2, 300) * 1.0, np.arange(300) % 3, 3) for _ in "abcd"
    ]
    for name in FAIRNESS:
        together, samples = evaluate(LAYOUT, np.array(each), name, 20)
        alone = [evaluate(LAYOUT, one, name, 20) for one in each]
        assert together.tolist() == [float(value) for value, _ in alone]
        assert samples.tolist() == [int(n) for _, n in alone]


def test_a_group_counts_in_as_far_as_it_is_large_enough() -> None:
    # 150 outcomes of each of two groups; of the second only 30 are positive.
    group = np.repeat([0, 1], 150)
    actual = np.concatenate([np.repeat([0.0, 1.0], 75), np.repeat([0.0, 1.0], [120, 30])])
    predicted = np.concatenate([np.ones(150), np.zeros(150)])
    tally = tallies(predicted, actual, group, 2)
    assert float(evaluate(LAYOUT, tally, "demographic_parity_difference", 100)[0]) == 1.0
    assert math.isnan(float(evaluate(LAYOUT, tally, "equal_opportunity_difference", 50)[0]))
    assert float(evaluate(LAYOUT, tally, "equal_opportunity_difference", 30)[0]) == 1.0
    assert float(evaluate(LAYOUT, tally, "demographic_parity_ratio", 100)[0]) == 0.0
    small = tallies(predicted[:200], actual[:200], group[:200], 2)
    found, samples = evaluate(LAYOUT, small, "demographic_parity_difference", 100)
    assert (math.isnan(float(found)), int(samples)) == (True, 150)
    assert interval(LAYOUT, small, "demographic_parity_difference", 100) is None


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_groups_have_no_gap(count: int) -> None:
    tally = np.zeros((3, count, LAYOUT.width), np.int64)
    values, samples = evaluate(LAYOUT, tally, "equalized_odds_ratio", 1)
    assert np.isnan(values).all()
    assert samples.tolist() == [0, 0, 0]


def test_nobody_selected_has_no_ratio() -> None:
    tally = tallies(np.zeros(400), np.tile([0.0, 1.0], 200), np.arange(400) // 2 % 2, 2)
    assert float(evaluate(LAYOUT, tally, "demographic_parity_difference", 10)[0]) == 0.0
    assert math.isnan(float(evaluate(LAYOUT, tally, "demographic_parity_ratio", 10)[0]))


@pytest.mark.long
def test_the_interval_covers_a_difference_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    covered, runs = 0, 2000
    for _ in range(runs):
        hits = rng.binomial(400, [0.3, 0.4])
        predicted = np.concatenate([np.arange(400) < each for each in hits]) * 1.0
        tally = tallies(predicted, np.zeros(800), np.repeat([0, 1], 400), 2)
        low, high = interval(LAYOUT, tally, "demographic_parity_difference") or (1.0, 0.0)
        covered += low <= 0.1 <= high
    assert 0.93 < covered / runs < 0.98


def test_folded_and_missing_values_are_no_group() -> None:
    names = ["all", "g=__other__", "g=a", "h=a", "g=__missing__", "g=b"]
    assert groups(names, "g") == [2, 5]


def test_only_binary_models_are_reported() -> None:
    tally = np.zeros((3, Layout("regression", 2, 1).width), np.int64)
    assert report(Layout("regression", 2, 1), tally, ["all", "g=a", "g=b"], ["g"]) == {}
    assert report(None, tally, ["all"], ["g"]) == {}


def test_an_attribute_of_fairness_is_a_segment() -> None:
    assert Model(segments=("country",), fairness=("gender", "country")).segments == ("country", "gender")
