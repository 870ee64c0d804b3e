"""Resources and label delays: numpy on the raw samples is the judge."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.events import Prediction, Resources
from stream.monitor.panes.serving import (
    DELAY_BOUNDS,
    RESOURCES,
    UNITS,
    Serving,
    coverage_gap,
    delay_gap,
    newest,
    quantile,
    read,
)

GIB = 2.0**30


def prediction(**sample: float | None) -> Prediction:
    return Prediction("m", "1", 0.0, 1, resources=Resources(**sample) if sample else None)


def test_samples_are_read_in_whole_units_and_what_is_none_is_left_out() -> None:
    assert read([prediction(), prediction()]) is None
    events = [
        prediction(cpu_percent=12.5, memory_bytes=2 * GIB),
        prediction(),
        prediction(cpu_percent=-1.0, disk_bytes=float("inf"), memory_bytes=float("nan")),
        prediction(cpu_percent=250.0, disk_bytes=1e30),
    ]
    samples = read(events)
    assert samples is not None
    values = np.where(samples < 0, np.nan, samples * UNITS)
    expected = [[12.5, 2 * GIB, np.nan], [np.nan] * 3, [np.nan] * 3, [250.0, np.nan, np.nan]]
    np.testing.assert_array_equal(values, expected)
    assert newest(samples) == {"cpu_percent": 250.0, "memory_bytes": 2 * GIB}


@given(st.lists(st.lists(st.floats(0, 1e5), min_size=3, max_size=3), min_size=1, max_size=20), st.integers(0, 20))
@settings(max_examples=100)
def test_sums_add_up_and_subtract_however_they_are_cut(rows: list[list[float]], cut: int) -> None:
    samples = np.rint(np.array(rows) / UNITS).astype(np.int64)
    whole, first, second = Serving(), Serving(), Serving()
    whole.add_traffic(None, samples)
    first.add_traffic(None, samples[:cut])
    second.add_traffic(None, samples[cut:])
    both = Serving()
    both.combine(first, 1)
    both.combine(second, 1)
    for name in ("samples", "totals", "peaks"):
        np.testing.assert_array_equal(getattr(both, name), getattr(whole, name))
    both.combine(second, -1)
    np.testing.assert_array_equal(both.totals, first.totals)
    mean = whole.totals * UNITS / whole.samples
    np.testing.assert_allclose(mean, np.mean(rows, axis=0), atol=UNITS.max() if len(RESOURCES) else 0)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_quantile_is_within_its_bucket(share: float) -> None:
    delays = np.random.default_rng(1).lognormal(5, 2, 5000)
    counts = np.bincount(np.searchsorted(DELAY_BOUNDS, delays), minlength=len(DELAY_BOUNDS) + 1)
    found, true = float(quantile(counts, DELAY_BOUNDS, share)), float(np.quantile(delays, share))
    low, high = next((a, b) for a, b in pairwise((0.0, *DELAY_BOUNDS)) if a <= true <= b)
    assert low <= found <= high
    assert np.isnan(quantile(np.zeros(13, np.int64), DELAY_BOUNDS, share))


def test_a_class_whose_labels_come_later_shows() -> None:
    sums = Serving()
    sums.add_traffic(np.repeat([0, 1, 2, -1], [100, 100, 10, 5]), None)
    sums.add_labels(np.zeros(80, np.int64), np.searchsorted(DELAY_BOUNDS, np.full(80, 30.0)))
    sums.add_labels(np.ones(40, np.int64), np.searchsorted(DELAY_BOUNDS, np.full(40, 3000.0)))
    assert sums.answers.tolist() == [100, 100, 10]
    assert float(coverage_gap(sums.answers, sums.delays)) == pytest.approx(0.4)
    gap = float(delay_gap(sums.delays))
    assert 900.0 - 60.0 < gap < 3600.0 - 15.0, "the third class has too few to say anything"
    assert np.isnan(delay_gap(sums.delays[:1]))
    assert np.isnan(coverage_gap(np.zeros(0, np.int64), np.zeros((0, 13), np.int64)))
