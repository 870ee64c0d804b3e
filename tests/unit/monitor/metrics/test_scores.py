"""Score histograms: scikit-learn on the raw scores is the judge."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.basis.exact import Booleans
from stream.monitor.metrics.scores import EXACT, ScoreHistogram, ScoreState, encode

UNIT = 1 << 20


def histogram(scores: Floats, positive: Booleans, weight: Ints | None = None, *, step: int = 1000) -> ScoreHistogram:
    """Of outcomes added in slices."""
    made = ScoreHistogram()
    units = np.full(len(scores), UNIT) if weight is None else weight * UNIT
    for start in range(0, len(scores), step):
        rows = slice(start, start + step)
        made.add(scores[rows], positive[rows], units[rows])
    return made


def generated(n: int, seed: int = 0) -> tuple[Floats, Booleans]:
    rng = np.random.default_rng(seed)
    scores = rng.beta(0.5, 1.0, n)
    return scores, rng.random(n) < scores


def same(left: ScoreHistogram, right: ScoreHistogram) -> bool:
    a, b = left.to_state(), right.to_state()
    alike = (np.array_equal(getattr(a, name), getattr(b, name)) for name in ScoreState.__struct_fields__)
    return left.count == right.count and all(alike)


@given(st.lists(st.floats(0, 1), min_size=2))
def test_codes_keep_the_order_of_scores(values: list[float]) -> None:
    codes = encode(np.sort(np.array(values)))
    assert (np.diff(codes) >= 0).all()
    assert codes.min() >= 0


def test_codes_tell_scores_apart_near_both_ends() -> None:
    scores = np.array([0.0, 1e-40, 1e-12, 2e-12, 0.3, 0.5, 0.7, 1 - 2e-12, 1 - 1e-12, 1 - 1e-15, 1.0])
    assert len(set(encode(scores).tolist())) == len(scores)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.2001, 0.5, 0.9, 1.0]) | st.floats(0, 1, width=16), st.booleans(),
                       st.integers(1, 1000)), min_size=1, max_size=40)
)  # fmt: skip
def test_small_samples_and_ties_equal_scikit_learn(rows: list[tuple[float, bool, int]]) -> None:
    scores, positive, weight = (np.array(column) for column in zip(*rows, strict=True))
    made = histogram(scores, positive, weight, step=7)
    if positive.any():
        want = average_precision_score(positive, scores, sample_weight=weight)
        assert made.average_precision() == pytest.approx(want, abs=1e-9)
    else:
        assert math.isnan(made.average_precision())
    if positive.any() and not positive.all():
        assert made.roc_auc() == pytest.approx(roc_auc_score(positive, scores, sample_weight=weight), abs=1e-9)
    else:
        assert math.isnan(made.roc_auc())


def test_nothing_is_known_of_nothing() -> None:
    empty = histogram(np.array([math.nan]), np.array([True]))
    assert same(empty, ScoreHistogram())
    assert math.isnan(ScoreHistogram().roc_auc())
    assert math.isnan(ScoreHistogram().average_precision())
    assert ScoreHistogram().weights() == (0, 0)
    assert not ScoreHistogram().incomplete


def test_unusable_scores_are_left_out() -> None:
    scores = np.array([0.2, math.nan, -0.1, 1.1, math.inf, 0.9])
    made = histogram(scores, np.array([False, True, True, True, False, True]))
    assert made.count == 2
    assert made.roc_auc() == 1.0


MANY: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "calibrated": lambda rng, n: rng.random(n),
    "extreme": lambda rng, n: rng.beta(0.3, 3.0, n),
    "rare": lambda rng, n: 1.0 / (1.0 + np.exp(6.0 - 2.0 * rng.normal(size=n))),
    "never above 0.3": lambda rng, n: 0.3 * rng.beta(1.1, 3.0, n),
    "never above 0.16": lambda rng, n: 0.16 * rng.random(n),
    "never above 0.02": lambda rng, n: 0.02 * rng.random(n),
    "hundredths": lambda rng, n: np.round(rng.random(n), 2),
    "thousandths": lambda rng, n: np.round(rng.random(n), 3),
    "half of them 0.5": lambda rng, n: np.where(rng.random(n) < 0.5, 0.5, rng.random(n)),
}


@pytest.mark.parametrize("kind", MANY)
@pytest.mark.parametrize("weighted", [False, True])
def test_many_outcomes_are_within_a_ten_thousandth_of_scikit_learn(kind: str, weighted: bool) -> None:
    rng = np.random.default_rng(0)
    scores = MANY[kind](rng, 100_000)
    positive = rng.random(100_000) < scores
    weight = rng.integers(1, 8, 100_000) if weighted else None
    made = histogram(scores, positive, weight, step=10_000)
    assert made.roc_auc() == pytest.approx(roc_auc_score(positive, scores, sample_weight=weight), abs=1e-5)
    want = average_precision_score(positive, scores, sample_weight=weight)
    assert made.average_precision() == pytest.approx(want, abs=1e-4)
    assert len(made.to_state().codes) < 5000


def test_scores_in_a_narrow_band_keep_their_order() -> None:
    """All of 100,000 scores fall into a few bins: the moments inside the bins carry the order."""
    rng = np.random.default_rng(1)
    scores = 0.48 + 0.04 * rng.random(100_000)
    positive = rng.random(100_000) < (scores - 0.48) / 0.04
    made = histogram(scores, positive, step=10_000)
    assert len(made.to_state().codes) < 30
    assert made.roc_auc() == pytest.approx(roc_auc_score(positive, scores), abs=1e-4)
    assert made.average_precision() == pytest.approx(average_precision_score(positive, scores), abs=1e-3)


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, 6000), max_size=5), seed=st.integers(0, 99), n=st.sampled_from([300, 6000]))
def test_content_depends_on_the_outcomes_alone(cuts: list[int], seed: int, n: int) -> None:
    scores, positive = generated(n)
    whole = histogram(scores, positive, step=n)
    order = np.random.default_rng(seed).permutation(n)
    scores, positive = scores[order], positive[order]
    edges = sorted({0, n, *(cut % n for cut in cuts)})
    parts = [histogram(scores[a:b], positive[a:b]) for a, b in pairwise(edges)]
    assert same(ScoreHistogram.total(parts), whole)
    merged = ScoreHistogram()
    for part in parts:
        merged.merge(part)
    assert same(merged, whole)
    for part in parts[1:]:
        merged.subtract(part)
    if merged.incomplete:
        merged = ScoreHistogram.total([parts[0]])
    assert same(merged, parts[0])


def test_a_sliding_window_reads_what_its_parts_read_and_seldom_merges_anew() -> None:
    scores, positive = generated(60_000)
    parts = [
        histogram(scores[start : start + 1000], positive[start : start + 1000]) for start in range(0, 60_000, 1000)
    ]
    window, merged = ScoreHistogram.total(parts[:20]), 0
    for last in range(20, 60):
        window.subtract(parts[last - 20])
        window.merge(parts[last])
        inside = parts[last - 19 : last + 1]
        if window.incomplete:
            window, merged = ScoreHistogram.total(inside), merged + 1
        fresh = ScoreHistogram.total(inside)
        assert same(window, fresh)
        assert window.average_precision() == fresh.average_precision()
    assert merged <= 4


def test_the_highest_scores_leave_with_their_part() -> None:
    """What is known of a window's highest scores ends where a part that leaves was cut: the rest is merged anew."""
    scores, positive = generated(3 * EXACT)
    high = np.sort(scores)[::-1] > np.sort(scores)[-EXACT - 1]
    order = np.argsort(-scores)
    scores, positive = scores[order], positive[order]
    above, below = histogram(scores[high], positive[high]), histogram(scores[~high], positive[~high])
    total = ScoreHistogram.total([above, below])
    assert not total.incomplete
    total.subtract(above)
    assert total.incomplete
    entering = histogram(*generated(3500, seed=1))
    total.merge(entering)
    assert total.incomplete
    want = histogram(
        *(np.concatenate(each) for each in zip((scores[~high], positive[~high]), generated(3500, seed=1), strict=True))
    )
    assert same(ScoreHistogram.total([below, entering]), want)


def test_subtracting_says_when_scores_must_be_merged_anew() -> None:
    scores, positive = generated(EXACT + 100)
    large, small = histogram(scores[:-50], positive[:-50]), histogram(scores[-50:], positive[-50:])
    total = ScoreHistogram.total([large, small])
    assert not total.incomplete
    total.subtract(large)
    assert total.incomplete
    total.subtract(small)
    assert not total.incomplete
    assert same(total, ScoreHistogram())


def test_a_copy_is_independent_and_a_state_comes_back() -> None:
    for n in (10, EXACT + 1):
        scores, positive = generated(n)
        made = histogram(scores, positive)
        twin = made.copy()
        twin.add(np.array([0.5]), np.array([True]), np.array([UNIT]))
        assert (made.count, twin.count) == (n, n + 1)
        assert not same(made, twin)
        back = ScoreHistogram.from_state(made.to_state())
        assert same(back, made)
        assert back.roc_auc() == made.roc_auc()


def test_a_score_equal_to_the_other_classes_is_no_information() -> None:
    """A constant score: AUC 1/2 and average precision the share of positives, exact and binned alike."""
    for n in (100, EXACT * 2):
        positive = np.arange(n) % 4 == 0
        made = histogram(np.full(n, 0.123456), positive)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert made.roc_auc() == 0.5
            assert made.average_precision() == pytest.approx(0.25, abs=1e-12)
