"""Exact sums: Python's integers and fractions are the judge."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.monitor.basis import exact

doubles = st.floats(-exact.LIMIT * 0.99, exact.LIMIT * 0.99)
UNIT = Fraction(2) ** exact.EXPONENT


@given(doubles)
def test_split_is_exact_or_rounded_to_the_last_bit(value: float) -> None:
    got = exact.to_int(exact.split(np.array(value))) * UNIT
    if abs(value) >= 2.0**-75 or value == 0:
        assert got == Fraction(value)
    else:
        assert abs(got - Fraction(value)) <= UNIT / 2


@given(st.lists(st.floats(-1e36, 1e36), min_size=1, max_size=50), st.randoms(use_true_random=False))
def test_sums_do_not_depend_on_order_and_subtract_exactly(values: list[float], random: object) -> None:
    limbs = exact.split(np.array(values))
    total = limbs.sum(axis=0)
    random.shuffle(values)  # type: ignore[attr-defined]
    assert (exact.split(np.array(values)).sum(axis=0) == total).all()
    half = len(values) // 2
    shuffled = exact.split(np.array(values))
    assert (total - shuffled[:half].sum(axis=0) == shuffled[half:].sum(axis=0)).all()


@given(st.lists(st.floats(-1e36, 1e36).filter(lambda v: v == 0 or abs(v) > 1e-20), max_size=30))
def test_to_float_of_a_sum_equals_the_correctly_rounded_sum(values: list[float]) -> None:
    got = float(exact.to_float(exact.split(np.array(values)).sum(axis=0)))
    assert got == pytest.approx(math.fsum(values), rel=1e-15, abs=0)


def test_a_cancelled_sum_keeps_what_is_left() -> None:
    assert exact.to_float(exact.split(np.array([1e40, 1.0, -1e40, 2.0**-100])).sum(axis=0)) == 1.0 + 2.0**-100
    assert exact.to_float(exact.split(np.array([2.0**-128, -(2.0**-127)])).sum(axis=0)) == -(2.0**-128)


def test_shapes() -> None:
    assert exact.split(np.zeros((2, 0))).shape == (2, 0, exact.LIMBS)
    values = np.arange(6.0).reshape(2, 3)
    assert (exact.to_float(exact.split(values)) == values).all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, exact.LIMIT])
def test_what_has_no_exact_sum_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="exact sum"):
        exact.split(np.array([1.0, value]))


@given(st.lists(st.tuples(st.integers(0, 2**41 - 1), st.integers(0, 2**41 - 1)), min_size=1), st.booleans())
def test_products_of_integers(pairs: list[tuple[int, int]], plain: bool) -> None:
    left = np.array([1 << 20 if plain else a for a, _ in pairs])
    right = np.array([b for _, b in pairs])
    low, high = exact.multiply(left, right)
    assert [int(a) * int(b) for a, b in zip(left, right, strict=True)] == [
        (int(h) << 32) + int(lo) for lo, h in zip(low, high, strict=True)
    ]
    assert low.min() >= 0
    assert low.max() < 2**32


@given(st.floats(1e-60, 1e60), st.floats(1e-60, 1e60))
def test_two_product_is_exact(left: float, right: float) -> None:
    product, rest = exact.two_product(np.array([left]), np.array([right]))
    assert Fraction(float(product[0])) + Fraction(float(rest[0])) == Fraction(left) * Fraction(right)
