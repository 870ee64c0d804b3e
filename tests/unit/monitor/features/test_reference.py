"""References: what they are made from, whatever the slicing; their bins; reading them back; refusing what is none."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.config import Limits
from stream.events import Scalar
from stream.monitor.features.binning import INNER_BINS, numeric
from stream.monitor.features.feature_rows import row_type
from stream.monitor.features.kinds import infer
from stream.monitor.features.reference import (
    Numeric,
    Reference,
    ReferenceRefused,
    from_bytes,
    sealed,
    to_bytes,
    with_performance,
)
from stream.monitor.features.reference_builder import ReferenceBuilder, from_events

rng = np.random.default_rng(3)
ROWS: list[dict[str, Scalar] | None] = [
    {"x": float(x), "small": float(k), "flag": bool(k % 2), "city": f"c{k}"}
    for x, k in zip(rng.normal(size=300), rng.integers(0, 9, 300), strict=True)
]


def test_a_reference_survives_its_file() -> None:
    reference = from_events(ROWS, rng.random(300), None, Limits(), "first 300")
    again = from_bytes(to_bytes(reference))
    assert again == reference
    assert len(again.version) == 16


def test_the_version_says_what_is_in_it() -> None:
    reference = from_events(ROWS, None, None, Limits(), "first 300")
    assert from_events(ROWS, None, None, Limits(), "first 300").version == reference.version
    assert from_events(ROWS[:-1], None, None, Limits(), "first 300").version != reference.version
    scored = with_performance(reference, b"how it did")
    assert scored.version != reference.version
    assert b"measured" not in to_bytes(reference)  # as earlier versions wrote it
    assert from_bytes(to_bytes(scored)) == scored


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a reference"),
        (b"PK\x03\x04 zip", "not a reference"),
        (b"\x80\x04pickle\n", "not a reference"),
        (b"stream-reference 2\n", "format '2', expected 1"),
        (b"stream-reference 1\n", "damaged"),
        (b"stream-reference 1\n\x81\xa1a\x01", "damaged"),
        (b"stream-reference 1\n" + b"\x91" * 100_000, "damaged"),
    ],
)
def test_foreign_bytes_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(ReferenceRefused, match=message):
        from_bytes(content)


@given(st.data())
@settings(max_examples=30)
def test_a_changed_byte_is_refused(data: st.DataObject) -> None:
    content = bytearray(to_bytes(from_events(ROWS[:5], None, None, Limits(), "five")))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ReferenceRefused):
        from_bytes(bytes(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": (1, 2)}, "2 counts for"),
        ({"edges": (2.0, 1.0), "positions": (0.0, 1.0, 2.0), "groups": (0, 1, 2), "counts": (0,) * 5}, "do not ascend"),
        ({"scale": 0.0}, "scale"),
        ({"groups": (0,)}, "1 groups"),
    ],
)
def test_an_inconsistent_feature_is_refused(change: dict[str, Any], message: str) -> None:
    feature = msgspec.structs.replace(numeric("x", np.array([1.0, 2.0])), **change)
    with pytest.raises(ReferenceRefused, match=message):
        sealed(Reference(2, "test", (feature,), None))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=20))
@settings(max_examples=20)
def test_the_builder_is_indifferent_to_slicing_and_to_a_restart(sizes: list[int]) -> None:
    whole = ReferenceBuilder(250, None, Limits())
    assert whole.add(ROWS, [f"k{i % 3}" for i in range(300)]) == 250
    builder, at = ReferenceBuilder(250, None, Limits()), 0
    for size in [*sizes, 300]:
        part = slice(at, at + size)
        taken = builder.add(ROWS[part], [f"k{i % 3}" for i in range(300)][part])
        at += taken
        other = ReferenceBuilder(250, None, Limits())
        other.restore(builder.state())
        builder = other
    assert builder.full
    assert builder.finish("x") == whole.finish("x")


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "x": st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=32)),
                "city": st.one_of(st.none(), st.sampled_from(["BR", "DE", "y" * 300]), st.booleans()),
                "late": st.floats(0, 1),
            },
        ),
        min_size=1,
        max_size=30,
    ),
    st.integers(0, 30),
    st.sampled_from([None, {"x": "numeric"}, {"x": "numeric", "never": "categorical"}]),
)
def test_rows_in_slots_make_the_same_reference(rows: list[Any], plainly: int, declared: Any) -> None:
    row = row_type(["x", "city", "late"])
    assert row is not None
    slotted = [msgspec.json.decode(msgspec.json.encode(each), type=row) for each in rows]
    mixed = [*rows[:plainly], *slotted[plainly:]]
    assert from_events(mixed, None, declared, Limits(), "x") == from_events(rows, None, declared, Limits(), "x")


@pytest.mark.parametrize("odd", [None, 7, "text", True, float("nan"), float("inf"), 1e308, 10**400])
def test_one_odd_value_among_floats_changes_nothing_about_the_others(odd: Any) -> None:
    values = [float(value) for value in rng.normal(size=400)]
    columns = [{"x": value} for value in values]
    kept = from_events([*columns, {"x": odd}], None, {"x": "numeric"}, Limits(), "x").features[0]
    plain = from_events([*columns, {"x": values[0]}], None, {"x": "numeric"}, Limits(), "x").features[0]
    assert isinstance(kept, Numeric)
    assert isinstance(plain, Numeric)
    assert sum(kept.counts) == sum(plain.counts) == 401
    valid = isinstance(odd, int | float) and abs(odd) < 1e308
    assert sum(kept.counts[-2:]) == (0 if valid or odd == 1e308 else 1)


def test_kinds_are_inferred() -> None:
    n = 200
    columns: dict[str, list[Scalar]] = {
        "amount": rng.normal(size=n).tolist(),
        "rating": [float(i % 5) for i in range(n)],
        "flag": [bool(i % 2) for i in range(n)],
        "country": ["BR", "DE"] * (n // 2),
        "request": [f"r{i}" for i in range(n)],
        "time": [1.7e9 + i for i in range(n)],
        "empty": [None] * n,
        "mixed": [1.5 if i % 10 else "n/a" for i in range(n)],
        "huge": [10**400 if i % 10 else 1.0 for i in range(n)],
        "prediction": [1.0] * n,
    }
    assert infer(columns, None, Limits()) == {
        "amount": "numeric",
        "rating": "numeric",
        "flag": "categorical",
        "country": "categorical",
        "request": "ignore",
        "time": "ignore",
        "empty": "categorical",
        "mixed": "numeric",
        "huge": "categorical",
        "prediction": "ignore",
    }
    assert infer(columns, {"time": "numeric", "later": "categorical"}, Limits()) == {
        "time": "numeric",
        "later": "categorical",
    }
    assert list(infer(columns, None, Limits(features=2)).values()).count("ignore") == len(columns) - 2


def test_a_declared_feature_that_never_came_is_watched() -> None:
    reference = from_events(ROWS, None, {"later": "numeric", "x": "numeric"}, Limits(), "test")
    assert [feature.name for feature in reference.features] == ["later", "x"]
    assert reference.features[0].counts == (0, 300, 0)


def test_many_feature_names_do_not_grow_the_builder() -> None:
    builder = ReferenceBuilder(100, None, Limits(features=5))
    builder.add([{f"f{i}-{j}": 1.0 for j in range(50)} for i in range(100)])
    reference = builder.finish("attack")
    assert len(reference.features) == 5
    assert len(reference.ignored) == 5


def test_a_feature_of_few_values_has_a_bin_for_each() -> None:
    values = np.repeat([1.0, 2.0, 5.0], [10, 20, 30])
    feature = numeric("x", values)
    found = np.searchsorted(feature.edges, [0.4, 1.0, 1.4, 2.0, 4.0, 5.0, 6.6], side="right")
    assert (np.diff(found) == [1, 0, 1, 1, 0, 1]).all()
    assert [feature.positions[b] for b in found[[1, 3, 5]]] == [1.0, 2.0, 5.0]


def test_a_common_value_has_a_bin_of_its_own() -> None:
    values = np.concatenate([np.zeros(700), rng.random(300)])
    feature = numeric("x", values)
    bins = np.searchsorted(feature.edges, values, side="right")
    assert (bins == np.searchsorted(feature.edges, 0.0, side="right")).sum() == 700


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=120))
@settings(max_examples=60)
def test_bins_of_any_values_are_consistent(values: list[float]) -> None:
    feature = numeric("x", np.array(values, dtype=np.float64))
    sealed(Reference(len(values), "any", (feature,), None))
    assert feature.bins <= INNER_BINS * 2 + 9
    counts = np.bincount(np.searchsorted(feature.edges, values, side="right"), minlength=feature.bins)
    if values:
        assert counts[0] == 0 or max(map(abs, values)) > 1e300
        assert np.dot(counts, np.array(feature.positions) / len(values)) == pytest.approx(
            sum(value / len(values) for value in values), rel=1e-6, abs=1e-9 * max(map(abs, values))
        )


def test_deciles_hold_a_tenth_each() -> None:
    values = rng.normal(size=1000)
    feature = numeric("x", values)
    bins = np.searchsorted(feature.edges, values, side="right")
    shares = np.bincount(np.array(feature.groups)[bins])
    assert shares.tolist() == [100] * 10


def test_a_constant_feature_tells_above_from_below() -> None:
    feature = numeric("x", np.full(50, 3.0))
    below, same, above = np.searchsorted(feature.edges, [2.9, 3.0, 3.1], side="right")
    assert len({feature.groups[below], feature.groups[same], feature.groups[above]}) == 3
    assert isinstance(feature, Numeric)
    assert feature.scale == 3.0
