"""The tail of a weighted sum of squared normals: that of scipy's χ² and F, and of numerical inversion."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from stream.monitor.basis.columns import Floats
from stream.monitor.basis.quadratic import tail

SURE = 1e9
"""Degrees of freedom with which there is no doubt about the scale."""

WEIGHTS = np.array([1.0, 0.7, 0.5, 0.5, 0.3, 0.2, 0.1, 0.05, 0.01])


def inverted(weights: Floats, value: float) -> float:
    """Imhof (1961), eq. 3.2."""

    def integrand(u: float) -> float:
        angle = 0.5 * np.arctan(weights * u).sum() - 0.5 * value * u
        return math.sin(angle) / (u * float(np.prod((1 + (weights * u) ** 2) ** 0.25)))

    return 0.5 + float(integrate.quad(integrand, 0, np.inf, limit=2000, epsabs=1e-12)[0]) / math.pi


@pytest.mark.parametrize("freedom", [4, 20, 128])
@pytest.mark.parametrize("chance", [0.9, 0.5, 0.1, 1e-3, 1e-6, 1e-12, 1e-100])
def test_equal_weights_are_chi_squared(freedom: int, chance: float) -> None:
    value = 3.0 * stats.chi2.isf(chance, freedom)
    assert tail(np.full(freedom, 3.0), value, SURE) == pytest.approx(chance, rel=0.03)


@pytest.mark.parametrize("freedom", [3, 20, 100])
@pytest.mark.parametrize("doubt", [50.0, 1000.0])
@pytest.mark.parametrize("chance", [0.9, 0.5, 0.1, 1e-3, 1e-6, 1e-12])
def test_with_a_scale_in_doubt_it_is_the_f_distribution(freedom: int, doubt: float, chance: float) -> None:
    value = 3.0 * freedom * stats.f.isf(chance, freedom, doubt)
    assert tail(np.full(freedom, 3.0), value, doubt) == pytest.approx(chance, rel=0.05)


@pytest.mark.parametrize("value", [0.5, 2.0, 3.36, 5.0, 8.0, 15.0])
def test_other_weights_are_as_inverted(value: float) -> None:
    assert tail(WEIGHTS, value, SURE) == pytest.approx(inverted(WEIGHTS, value), rel=0.05)


@pytest.mark.parametrize("freedom", [SURE, 100.0])
def test_there_is_no_step_in_the_middle(freedom: float) -> None:
    mean = float(WEIGHTS.sum())
    around = [tail(WEIGHTS, mean * (1 + away), freedom) for away in np.linspace(-1e-2, 1e-2, 41)]
    assert np.diff(around).max() < 0
    assert np.diff(around).min() > -1e-3


@given(
    st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=200),
    st.lists(st.floats(0.0, 50.0), min_size=2, max_size=2, unique=True),
    st.floats(20.0, 1e6),
)
def test_it_falls_and_stays_a_probability(weights: list[float], times: list[float], freedom: float) -> None:
    mean = sum(weights)
    low, high = (tail(np.array(weights), mean * each, freedom) for each in sorted(times))
    assert 0.0 <= high <= low + 1e-4
    assert low <= 1.0


def test_the_edges() -> None:
    assert tail(np.zeros(3), 1.0, 100.0) == 1.0
    assert tail(WEIGHTS, 0.0, 100.0) == 1.0
    assert math.isnan(tail(WEIGHTS, math.nan, 100.0))
    assert tail(WEIGHTS, 1e6, SURE) == 0.0
