"""Pooled shares are scipy's and scikit-learn's isotonic regression."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression
from sklearn.isotonic import IsotonicRegression

from stream.monitor.basis.isotonic import isotonic

COUNTS = st.lists(
    st.integers(1, 10**9).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))),
    min_size=1,
    max_size=60,
)


@given(COUNTS)
def test_it_is_isotonic_regression(counts: list[tuple[int, int]]) -> None:
    hits, trials = (np.array(column) for column in zip(*counts, strict=True))
    found = isotonic(hits, trials)
    assert (np.diff(found) >= 0.0).all()
    np.testing.assert_allclose(found, isotonic_regression(hits / trials, weights=trials).x, rtol=0, atol=1e-12)
    scores = np.arange(len(hits))
    fitted = IsotonicRegression().fit(scores, hits / trials, sample_weight=trials).predict(scores)
    np.testing.assert_allclose(found, fitted, rtol=0, atol=1e-12)
    assert abs(found @ trials - hits.sum()) <= 1e-9 * max(1, hits.sum())


def test_none_gives_none() -> None:
    assert len(isotonic(np.array([], np.int64), np.array([], np.int64))) == 0
