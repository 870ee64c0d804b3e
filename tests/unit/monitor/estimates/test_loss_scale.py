"""Factors of expected losses: those of Poisson regression, none for features that say nothing, in any slices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import PoissonRegressor
from sklearn.preprocessing import OneHotEncoder

from stream.config import Limits
from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.estimates import loss_scale
from stream.monitor.estimates.loss_scale import MIDDLES, PER_OCTAVE, STEPS, UNIT, Scale, fitted
from stream.monitor.features.feature_layout import FeatureLayout
from stream.monitor.features.reference_builder import from_events

Event = dict[str, float | str | bool | None]


def read(events: list[Event], outputs: Floats) -> tuple[FeatureLayout, Ints]:
    layout = FeatureLayout(from_events(events, outputs, None, Limits(), "a test"))
    return layout, layout.columns(events, outputs)


def factors(scale: Scale, columns: Ints) -> Floats:
    logs: Ints = scale.logs[columns].sum(axis=1)
    found: Floats = np.exp2(logs * UNIT)
    return found


def test_factors_of_categories_are_those_of_poisson_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scale, "SHRINKAGE", 1e-9)
    monkeypatch.setattr(loss_scale, "SWEEPS", 50)
    monkeypatch.setattr(loss_scale, "CUT", 1.0)
    rng = np.random.default_rng(1)
    land, kind = rng.choice(["BR", "DE", "US"], 3000, p=[0.5, 0.3, 0.2]), rng.choice(["a", "b"], 3000)
    kind = np.where((land == "BR") & (rng.random(3000) < 0.5), "a", kind)  # the two depend on each other
    losses = rng.exponential(np.where(land == "DE", 3.0, 1.0) * np.where(kind == "a", 2.0, 1.0))
    events: list[Event] = [{"land": a, "kind": b} for a, b in zip(land.tolist(), kind.tolist(), strict=True)]
    layout, columns = read(events, np.full(3000, 1.0))
    scale = fitted(columns, losses, layout.blocks)
    inputs = OneHotEncoder(drop="first").fit_transform(np.column_stack([land, kind]))
    judge = PoissonRegressor(alpha=0.0, tol=1e-10, max_iter=1000).fit(inputs, losses)
    assert {layout.names[number] for number in scale.features} == {"land", "kind"}
    assert losses.mean() * factors(scale, columns) == pytest.approx(judge.predict(inputs), rel=1e-4)


@pytest.mark.long
def test_features_that_say_nothing_take_no_part() -> None:
    rng = np.random.default_rng(2)
    chosen: list[str] = []
    for _ in range(200):
        noise = rng.normal(size=(1000, 4)).round(3)
        events: list[Event] = [{f"n{i}": value for i, value in enumerate(row)} for row in noise.tolist()]
        layout, columns = read(events, rng.normal(size=1000))
        scale = fitted(columns, np.abs(rng.normal(size=1000)), layout.blocks)
        chosen += [layout.names[number] for number in scale.features]
        assert (scale.steps(columns) == STEPS // 2).all() or len(scale.features)
    assert len(chosen) <= 2  # expected: 0.2


def test_numbers_beyond_the_reference_count_as_the_nearest_that_were_seen() -> None:
    rng = np.random.default_rng(3)
    size = rng.uniform(0, 4, 4000)
    layout, columns = read([{"size": value} for value in size.tolist()], np.full(4000, 1.0))
    scale = fitted(columns, rng.exponential(2.0**size), layout.blocks)
    new: list[Event] = [{"size": value} for value in (0.01, -9.0, 3.99, 4.5, 9e9, None)]
    low, lower, high, higher, highest, missing = scale.steps(layout.columns(new, np.full(6, 1.0))).tolist()
    assert low == lower < STEPS // 2 < high == higher == highest
    assert high - low > 2 * PER_OCTAVE
    assert missing == STEPS // 2


def test_a_step_holds_what_its_middle_stands_for() -> None:
    logs = np.linspace(-7, 7, 999)
    scale = Scale(np.array([0]), np.rint(logs / UNIT).astype(np.int64))
    steps = scale.steps(np.arange(999)[:, None])
    inside = np.abs(logs) < STEPS / PER_OCTAVE / 2 - 0.01
    assert np.abs(np.log2(MIDDLES[steps[inside]]) - logs[inside]).max() <= 0.5 / PER_OCTAVE + 1e-6
    assert (steps.min(), steps.max()) == (0, STEPS - 1)


def test_equal_losses_and_no_losses_have_a_scale() -> None:
    layout, columns = read([{"a": float(i % 7), "b": "xy"[i % 2]} for i in range(200)], np.arange(200.0))
    for losses in (np.zeros(200), np.full(200, 3.0)):
        scale = fitted(columns, losses, layout.blocks)
        assert len(scale.features) == 0
        assert set(scale.steps(columns).tolist()) == {STEPS // 2}


@given(st.lists(st.integers(1, 60), max_size=10))
def test_steps_do_not_depend_on_slicing(sizes: list[int]) -> None:
    rng = np.random.default_rng(4)
    scale = Scale(np.arange(9), rng.integers(-(2**21), 2**21, 90))
    columns = rng.integers(0, 10, (200, 9)) + 10 * np.arange(9)
    ends = np.cumsum(sizes, dtype=np.int64)
    parts = [scale.steps(part) for part in np.split(columns, ends[ends < 200])]
    assert np.concatenate(parts).tolist() == scale.steps(columns).tolist()
