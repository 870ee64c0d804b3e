"""Distances between window and reference: scipy on the raw values is the judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from stream.config import FeatureKind, Limits
from stream.events import Scalar
from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.features import drift
from stream.monitor.features.feature_layout import FeatureLayout
from stream.monitor.features.reference import Numeric
from stream.monitor.features.reference_builder import from_events

Values = Sequence[Scalar]


def layout_of(kind: FeatureKind = "numeric", **features: Values) -> FeatureLayout:
    rows = [dict(zip(features, row, strict=True)) for row in zip(*features.values(), strict=True)]
    return FeatureLayout(from_events(rows, None, dict.fromkeys(features, kind), Limits(), "test"))


def counted(layout: FeatureLayout, **features: Values) -> Ints:
    rows = [dict(zip(features, row, strict=True)) for row in zip(*features.values(), strict=True)]
    return layout.histogram(layout.columns(rows))


def distance(reference: Floats, window: Floats, test: str) -> float:
    layout = layout_of(x=reference.tolist())
    return float(drift.one(layout, counted(layout, x=window.tolist()), "x", test))


def jensen_shannon(p: Floats, q: Floats) -> float:
    return float(jensenshannon(p, q, base=2))


def texts(values: Floats) -> list[Scalar]:
    return [f"c{int(value)}" for value in values]


some = settings(max_examples=60)
few_values = st.lists(st.integers(0, 12).map(float), min_size=2, max_size=60).map(np.array)


@given(few_values, few_values)
@some
def test_ks_and_wasserstein_are_exact_where_values_lie_on_bins(reference: Floats, window: Floats) -> None:
    window = window[np.isin(window, reference)]
    if len(window):
        layout = layout_of(x=reference.tolist())
        counts = counted(layout, x=window.tolist())
        feature = layout.blocks[0].feature
        assert isinstance(feature, Numeric)
        exact = stats.wasserstein_distance(reference, window) / feature.scale
        assert drift.one(layout, counts, "x", "wasserstein") == pytest.approx(exact, abs=1e-12)
        assert drift.one(layout, counts, "x", "ks") == pytest.approx(
            stats.ks_2samp(reference, window, method="asymp").statistic, abs=1e-12
        )


@given(few_values, few_values)
@some
def test_categories_are_exact(reference: Floats, window: Floats) -> None:
    layout = layout_of("categorical", c=texts(reference))
    counts = counted(layout, c=texts(window))
    both = np.unique(np.concatenate([reference, window]))
    r, w = ([int((values == value).sum()) for value in both] for values in (reference, window))
    p = np.array([*(r / np.sum(r))[np.array(r) > 0], (r / np.sum(r))[np.array(r) == 0].sum()])
    q = np.array([*(w / np.sum(w))[np.array(r) > 0], (w / np.sum(w))[np.array(r) == 0].sum()])
    assert drift.one(layout, counts, "c", "js") == pytest.approx(jensen_shannon(p, q), abs=1e-7)
    assert drift.one(layout, counts, "c", "hellinger") == pytest.approx(
        np.linalg.norm(np.sqrt(p) - np.sqrt(q)) / 2**0.5
    )
    assert drift.one(layout, counts, "c", "l_infinity") == pytest.approx(np.abs(p - q).max(), abs=1e-12)
    table = np.array([p * len(reference), q * len(window)])
    table = table[:, table.sum(axis=0) > 0]
    expected = stats.chi2_contingency(table, correction=False).pvalue if table.shape[1] > 1 else 1.0
    assert drift.one(layout, counts, "c", "chi2") == pytest.approx(expected, abs=1e-12)
    assert np.isnan(drift.one(layout, counts, "c", "ks"))
    assert np.isnan(drift.one(layout, counts, "c", "wasserstein"))


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("shape", ["normal", "lognormal", "uniform", "zeros"])
def test_continuous_values_are_within_the_error_of_bins(shape: str, shift: float) -> None:
    rng = np.random.default_rng(5)
    draws: dict[str, Callable[[], Floats]] = {
        "normal": lambda: rng.normal(50, 3, 4000),
        "lognormal": lambda: rng.lognormal(0, 1, 4000),
        "uniform": lambda: rng.random(4000),
        "zeros": lambda: np.where(rng.random(4000) < 0.6, 0.0, rng.normal(1, 1, 4000)),
    }
    reference = draws[shape]()
    window = draws[shape]() + shift * reference.std()
    exact = stats.ks_2samp(reference, window, method="asymp").statistic
    found = distance(reference, window, "ks")
    assert exact - 0.02 - 1e-9 <= found <= exact + 1e-12
    assert distance(reference, window, "wasserstein") == pytest.approx(
        stats.wasserstein_distance(reference, window) / reference.std(), rel=0.15, abs=0.01
    )


def test_psi_is_the_textbook_formula_when_there_are_many_events() -> None:
    rng = np.random.default_rng(6)
    reference, window = rng.normal(size=50_000), rng.normal(0.4, 1.2, size=50_000)
    edges = np.quantile(reference, np.linspace(0, 1, 11))
    edges[[0, -1]] = -np.inf, np.inf
    p, q = (np.histogram(values, edges)[0] / len(values) for values in (reference, window))
    assert distance(reference, window, "psi") == pytest.approx(np.sum((q - p) * np.log(q / p)), rel=2e-3)
    assert distance(reference, window, "js") == pytest.approx(jensen_shannon(p, q), rel=2e-3)
    assert distance(reference, window, "hellinger") == pytest.approx(
        np.linalg.norm(np.sqrt(p) - np.sqrt(q)) / 2**0.5, rel=2e-3
    )
    assert distance(reference, window, "l_infinity") == pytest.approx(np.abs(p - q).max(), rel=2e-3)
    table = np.array([p * len(reference), q * len(window)])
    assert distance(reference, window[:500], "chi2") < 1e-9
    assert distance(reference, window, "chi2") == pytest.approx(
        stats.chi2_contingency(np.rint(table), correction=False).pvalue, abs=1e-9
    )


def test_p_value_is_near_that_of_scipy() -> None:
    rng = np.random.default_rng(8)
    for shift in (0.0, 0.05, 0.1):
        reference, window = rng.integers(0, 50, 1000).astype(float), rng.integers(0, 50, 700).astype(float)
        window = np.clip(np.round(window + shift * 14), 0, 49)
        expected = stats.ks_2samp(reference, window, method="asymp").pvalue
        assert distance(reference, window, "p_value") == pytest.approx(expected, abs=0.01)


def test_few_healthy_events_do_not_look_like_drift() -> None:
    rng = np.random.default_rng(9)
    layout = layout_of(x=rng.normal(size=1000).tolist())
    quiet = [counted(layout, x=rng.normal(size=30).tolist()) for _ in range(200)]
    expected_noise = 9 * (1 / 30 + 1 / 1000)
    assert drift.one(layout, np.array(quiet), "x", "psi").mean() < expected_noise


def test_a_shift_far_beyond_the_reference_has_a_size() -> None:
    rng = np.random.default_rng(10)
    reference = rng.normal(size=1000)
    found = [distance(reference, reference + shift, "wasserstein") for shift in (2.0, 4.0, 8.0)]
    assert found == pytest.approx([2.0, 4.0, 8.0], rel=0.35)
    assert found == sorted(found)


@pytest.mark.parametrize("window", [[3.0] * 20 + [4.0] * 20, [2.0] * 40])
def test_a_constant_feature_that_changes_drifts(window: list[float]) -> None:
    constant = np.full(100, 3.0)
    assert distance(constant, np.array(window), "psi") > 0.5
    assert distance(constant, np.array(window), "ks") >= 0.5
    assert distance(constant, constant[:40], "psi") < 1e-3
    assert distance(constant, constant[:40], "ks") == 0.0


@pytest.mark.parametrize("test", sorted(drift.DISTANCES))
@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_nothing_to_compare_is_undefined(test: str, kind: FeatureKind) -> None:
    layout = layout_of(kind, x=[1.0, 2.0, 2.0])
    nothing = counted(layout, x=[None, None, float("nan")])
    assert np.isnan(drift.one(layout, nothing, "x", test))
    never = layout_of(kind, x=[None, None])
    assert np.isnan(drift.one(never, counted(never, x=[1.0, 2.0]), "x", test))


@pytest.mark.parametrize("test", sorted(drift.DISTANCES))
def test_equal_histograms_have_no_distance(test: str) -> None:
    layout = layout_of(x=[float(i % 7) for i in range(70)])
    nothing = drift.one(layout, counted(layout, x=[float(i % 7) for i in range(70)]), "x", test)
    assert nothing == pytest.approx(0.0 if test not in ("chi2", "p_value") else 1.0, abs=1e-9)


@given(st.data())
@settings(max_examples=8)
def test_leading_axes_and_all_features_at_once_change_nothing(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    rows: list[dict[str, Scalar] | None] = [
        {"a": float(rng.normal()), "b": str(rng.integers(4)), "c": float(rng.integers(3)), "d": None} for _ in range(80)
    ]
    kinds: dict[str, FeatureKind] = {"a": "numeric", "b": "categorical", "c": "numeric", "d": "numeric"}
    layout = FeatureLayout(from_events(rows, rng.random(80), kinds, Limits(), "test"))
    stacked = rng.integers(0, 9, (3, 2, layout.width))
    stacked[0, 0] = 0
    for name in layout.names:
        for test in drift.DISTANCES:
            whole = drift.one(layout, stacked, name, test)
            assert whole.shape == (3, 2)
            single = [[drift.one(layout, stacked[i, j], name, test) for j in range(2)] for i in range(3)]
            np.testing.assert_allclose(whole, single, atol=1e-12)
    for test in drift.DISTANCES:
        one_by_one = np.stack([drift.one(layout, stacked, name, test) for name in layout.names], axis=-1)
        np.testing.assert_allclose(drift.every(layout, stacked, test), one_by_one, atol=1e-9)
    scored = drift.scores(layout, stacked[1, 1])
    assert tuple(scored) == layout.names
    for name, scores in scored.items():
        for test in ("psi", "js", "ks", "wasserstein", "p_value"):
            alone = float(drift.one(layout, stacked[1, 1], name, test))
            shown = getattr(scores, test)
            assert (shown is None and np.isnan(alone)) or shown == pytest.approx(alone, abs=1e-9)


def test_samples_are_valid_values() -> None:
    layout = layout_of(x=[1.0, 2.0])
    assert drift.samples(layout, counted(layout, x=[1.0, None, "x", 7.0]), "x") == 2
    assert (
        drift.scores(FeatureLayout(from_events([None], None, None, Limits(), "nothing")), np.zeros(0, np.int64)) == {}
    )
