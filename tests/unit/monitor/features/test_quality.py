"""Bad values of features are counted by cause and shown as shares of all predictions."""

from __future__ import annotations

import numpy as np
import pytest

from stream.config import Limits
from stream.events import Quality, Scalar
from stream.monitor.features import quality
from stream.monitor.features.feature_layout import FeatureLayout
from stream.monitor.features.reference_builder import from_events

REFERENCE: list[dict[str, Scalar] | None] = [{"age": float(20 + i % 10), "country": "BR"} for i in range(99)]
LAYOUT = FeatureLayout(from_events([*REFERENCE, None], None, None, Limits(), "test"))
ROWS: list[dict[str, Scalar] | None] = [
    {"age": 21.0, "country": "BR"},
    {"age": None, "country": "DE"},
    {"age": "old", "country": "DE"},
    {"age": 90.0},
    {"age": 19.9, "country": "BR"},
    None,
    {"age": -5.0, "country": float("inf")},
    {"age": float("nan"), "country": "BR"},
]
COUNTS = LAYOUT.histogram(LAYOUT.columns(ROWS))


def test_counts_by_cause() -> None:
    assert quality.Flaws(LAYOUT).counts(COUNTS) == {
        "age": Quality(missing=2, invalid=2, unseen=0, outside=2),
        "country": Quality(missing=2, invalid=1, unseen=2),
    }


@pytest.mark.parametrize(
    ("feature", "cause", "expected"),
    [
        ("age", "missing", 2 / 8),
        ("age", "invalid", 2 / 8),
        ("age", "unseen", 0.0),
        ("age", "outside", 2 / 8),
        ("country", "missing", 2 / 8),
        ("country", "invalid", 1 / 8),
        ("country", "unseen", 2 / 8),
        ("country", "outside", 0.0),
    ],
)
def test_shares_over_leading_axes(feature: str, cause: str, expected: float) -> None:
    stacked = np.array([COUNTS, 3 * COUNTS, 0 * COUNTS])
    np.testing.assert_array_equal(quality.share(LAYOUT, stacked, feature, cause), [expected, expected, np.nan])
    assert quality.total(LAYOUT, stacked, feature).tolist() == [8, 24, 0]


def test_usable_values_and_the_reference() -> None:
    assert quality.missing(LAYOUT, COUNTS) == {"age": 0.5, "country": 3 / 8}
    assert quality.missing(LAYOUT, 0 * COUNTS) == {}
    assert quality.reference_share(LAYOUT, "age", "missing") == 0.01
    assert quality.reference_share(LAYOUT, "age", "outside") == 0.0
