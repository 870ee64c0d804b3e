"""All features together: the exact MMD is the judge of the distance, data without change that of the false alarms."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, cast

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.covariance import OAS

from stream.config import Limits
from stream.monitor.basis.columns import Floats
from stream.monitor.features import drift
from stream.monitor.features.feature_layout import FeatureLayout
from stream.monitor.features.joint_drift import LEAST, shrunk
from stream.monitor.features.normal import Together
from stream.monitor.features.reference import Joint, Reference, ReferenceRefused, from_bytes, sealed, to_bytes
from stream.monitor.features.reference_builder import ReferenceBuilder

NAMES = "abcdefghijkl"


def rows(points: Floats) -> list[Any]:
    return [dict(zip(NAMES, row, strict=False)) for row in points.tolist()]


def reference(events: list[Any]) -> Reference:
    builder = ReferenceBuilder(len(events), None, Limits(), joint=True)
    builder.add(events)
    return builder.finish("test")


class Judged:
    """A reference, and windows compared with it."""

    def __init__(self, events: list[Any]) -> None:
        self.reference = reference(events)
        self.layout = FeatureLayout(self.reference)
        found = Together.of(self.reference)
        assert found is not None
        self.together = found

    def sums(self, events: list[Any], windows: int = 1) -> Any:
        starts = np.arange(windows) * (len(events) // windows)
        return self.together.embedding.sums(self.layout.columns(events), starts)

    def p_value(self, events: list[Any]) -> float:
        return self.together.drift.p_value(self.sums(events)[0])

    def distance(self, events: list[Any]) -> float:
        return self.together.drift.distance(self.sums(events)[0])


def normal(rng: np.random.Generator, count: int, features: int, correlation: float = 0.0) -> Floats:
    points = rng.standard_normal((count, features))
    points[:, 1] = correlation * points[:, 0] + math.sqrt(1 - correlation**2) * points[:, 1]
    return points


def exact_mmd(x: Floats, y: Floats, variance: float) -> float:
    """Gretton et al. (2012), eq. 3."""
    xx, yy, xy = (np.exp(-cdist(p, q, "sqeuclidean") / (2 * variance)) for p, q in ((x, x), (y, y), (x, y)))
    m, n = len(x), len(y)
    within = (xx.sum() - m) / (m * (m - 1)) + (yy.sum() - n) / (n * (n - 1))
    return math.sqrt(max(within - 2 * xy.mean(), 0.0))


@pytest.mark.parametrize("shift", [0.3, 0.7, 1.5])
@pytest.mark.parametrize("features", [2, 5])
def test_the_distance_is_the_exact_one_but_for_the_frequencies(shift: float, features: int) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2000, features)), rng.standard_normal((2000, features)) + shift
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    exact = exact_mmd((x - mean) / deviation, (y - mean) / deviation, 2.0 * features)
    assert Judged(rows(x)).distance(rows(y)) == pytest.approx(exact, rel=0.12)


def test_skew_and_outliers_weigh_no_more_than_ranks() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((2, 2000, 3))
    y[:, 0] += 0.5
    plain, skewed = Judged(rows(x)).distance(rows(y)), Judged(rows(np.exp(3 * x))).distance(rows(np.exp(3 * y)))
    assert skewed == pytest.approx(plain, abs=1e-3)


@cache
def levels(kind: str) -> Floats:
    """p-values of data without change: 80 references, four windows each."""
    rng = np.random.default_rng(3)

    def drawn(count: int) -> list[Any]:
        points = rng.standard_normal((count, 4))
        if kind == "rare":
            points = np.where(points > 1.3, 1.0, 0.0)
        elif kind == "related":
            points = points + 1.5 * rng.standard_normal((count, 1))
        found = rows(points)
        for row in found if kind == "mixed" else ():
            row["kind"] = "xyz"[int(row["a"] > 0) + int(rng.random() < 0.5)]
            row["b"] = None if rng.random() < 0.1 else row["b"]
        return found

    found = []
    for _ in range(80):
        judged = Judged(drawn(LEAST))
        found += [judged.together.drift.p_value(sums) for sums in judged.sums(drawn(6000), 4)]
    return np.array(found, np.float64)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["normal", "rare", "related", "mixed"])
def test_false_alarms_are_as_many_as_promised(kind: str) -> None:
    found = levels(kind)
    for level, most in ((0.1, 1.6), (0.01, 3.2)):
        assert np.mean(found < level) <= most * level
    assert np.mean(found < 0.1) >= 0.04  # nor is nothing ever found
    assert found.min() > 1e-5


@pytest.mark.parametrize("features", [2, 12])
def test_a_change_of_correlation_alone_is_found_and_no_single_feature_shows_it(features: int) -> None:
    rng = np.random.default_rng(4)
    judged = Judged(rows(normal(rng, 4000, features)))
    changed = rows(normal(rng, 4000, features, correlation=0.5))
    assert judged.p_value(changed) < 1e-9
    counts = judged.layout.histogram(judged.layout.columns(changed))
    alone = drift.every(judged.layout, counts, "p_value")
    assert alone[:features].min() > 1e-3
    assert drift.every(judged.layout, counts, "psi")[:features].max() < 0.05


def test_a_change_of_the_relation_to_a_category_is_found() -> None:
    rng = np.random.default_rng(6)

    def drawn(follows: bool) -> list[Any]:
        found = []
        for value in rng.standard_normal(2000).tolist():
            kind = value > 0 if follows else rng.random() < 0.5
            found.append({"amount": value, "kind": "big" if kind else "small"})
        return found

    judged = Judged(drawn(True))
    assert judged.p_value(drawn(True)) > 1e-3
    assert judged.p_value(drawn(False)) < 1e-12


def test_missing_values_are_no_news_while_they_are_as_many() -> None:
    rng = np.random.default_rng(7)

    def drawn(share: float) -> list[Any]:
        found = rows(rng.standard_normal((2000, 3)))
        for row in found:
            row["b"] = None if rng.random() < share else row["b"]
        return found

    judged = Judged(drawn(0.3))
    assert judged.p_value(drawn(0.3)) > 1e-3
    assert judged.p_value(drawn(0.6)) < 1e-6


def test_nothing_to_compare() -> None:
    constant = Judged([{"a": 1.0}] * LEAST)
    assert constant.p_value([{"a": 1.0}] * 600) == 1.0
    assert constant.p_value([{"a": 2.0}] * 600) == 0.0
    small = Judged(rows(np.random.default_rng(8).standard_normal((LEAST - 1, 2))))
    assert math.isnan(small.p_value(rows(np.zeros((500, 2)))))
    assert math.isnan(small.distance(rows(np.zeros((500, 2)))))
    scores = small.together.drift.scores(small.sums(rows(np.zeros((500, 2))))[0])
    assert (scores.mmd, scores.mmd_distance) == (None, None)
    none = constant.sums([{"a": 1.0}])[0]
    assert math.isnan(constant.together.drift.p_value(none))


def test_shrinkage_is_that_of_scikit_learn() -> None:
    points = np.random.default_rng(9).standard_normal((400, 6)) * [1, 2, 3, 0.1, 0.5, 1]
    covariance = np.cov(points.T, bias=True)
    found = shrunk(np.linalg.eigvalsh(covariance).astype(np.float64), len(points))
    assert found == pytest.approx(np.linalg.eigvalsh(OAS().fit(points).covariance_), rel=0.01)


def test_a_reference_keeps_what_is_needed() -> None:
    made = reference(rows(np.random.default_rng(10).standard_normal((50, 3))))
    assert from_bytes(to_bytes(made)) == made
    assert isinstance(made.joint, Joint)
    assert len(to_bytes(made)) < 100_000
    damaged = cast(Any, made.joint).__class__(made.joint.rows, made.joint.sums, made.joint.products[:-8])
    with pytest.raises(ReferenceRefused, match="bytes of products for 128 sums of 50 events"):
        sealed(Reference(made.rows, made.source, made.features, made.output, joint=damaged))
