"""The bin that the grid finds is the one that numpy's binary search finds, for any edges and values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.monitor.basis.columns import Floats
from stream.monitor.basis.grid import Grid

finite = st.floats(allow_nan=False, allow_infinity=False)
edge_lists = st.lists(
    st.lists(finite, max_size=30, unique=True).map(lambda e: np.unique(np.array(e) + 0.0)), max_size=4
)


def expected(edges: list[Floats], bases: list[int], values: Floats) -> list[list[int]]:
    found = [base + np.searchsorted(e, v, side="right") for e, base, v in zip(edges, bases, values, strict=True)]
    return [each.tolist() for each in found]


def bases_of(edges: list[Floats]) -> list[int]:
    return [3 + sum(len(e) + 3 for e in edges[:row]) for row in range(len(edges))]


@given(edge_lists, st.lists(finite, max_size=20))
def test_equals_binary_search_for_any_edges(edges: list[Floats], anywhere: list[float]) -> None:
    points = [*anywhere, *(point for each in edges for point in each.tolist())]
    near = [math.nextafter(point, side) for point in points for side in (-math.inf, math.inf)]
    candidates = np.array([point for point in [*points, *near, -0.0] if np.isfinite(point)])
    values = np.tile(candidates, (len(edges), 1))
    bases = bases_of(edges)
    assert Grid(edges, bases).find(values).tolist() == expected(edges, bases, values)


@pytest.mark.parametrize("shape", ["normal", "lognormal", "pareto", "cents", "far from zero", "two clusters"])
def test_equals_binary_search_for_quantiles(shape: str) -> None:
    rng = np.random.default_rng(1)

    def draw(size: tuple[int, int]) -> Floats:
        draws: dict[str, Floats] = {
            "normal": rng.normal(size=size),
            "lognormal": rng.lognormal(0, 4, size),
            "pareto": -rng.pareto(0.2, size),
            "cents": np.round(rng.normal(size=size), 2),
            "far from zero": 1e9 + rng.normal(size=size),
            "two clusters": np.where(
                rng.random(size) < 0.5, rng.normal(size=size) * 1e-12, 1e12 + rng.normal(size=size)
            ),
        }
        return draws[shape]

    edges = [np.unique(np.quantile(row, np.linspace(0, 1, 61))) for row in draw((7, 1000))]
    values = draw((7, 3000))
    bases = bases_of(edges)
    assert Grid(edges, bases).find(values).tolist() == expected(edges, bases, values)


def test_no_features_and_no_values() -> None:
    assert Grid([], []).find(np.empty((0, 5))).shape == (0, 5)
    assert Grid([np.array([1.0])], [0]).find(np.empty((1, 0))).shape == (1, 0)
