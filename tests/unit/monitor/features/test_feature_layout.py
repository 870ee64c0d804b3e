"""Columns of features: what each value counts as, whatever comes, and however a batch is sliced."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.config import FeatureKind, Limits
from stream.events import Scalar
from stream.monitor.features.feature_layout import FeatureLayout, Row
from stream.monitor.features.feature_rows import plain, row_type
from stream.monitor.features.reference import Categorical, Numeric, Reference, spoken
from stream.monitor.features.reference_builder import from_events

KINDS: dict[str, FeatureKind] = {"age": "numeric", "amount": "numeric", "country": "categorical", "vip": "categorical"}

rng = np.random.default_rng(7)
ROWS: list[dict[str, Scalar] | None] = [
    {
        "age": float(rng.integers(20, 60)),
        "amount": float(rng.lognormal(3, 1)),
        "country": str(rng.choice(["BR", "DE", "été"])),
        "vip": bool(rng.random() < 0.5),
    }
    for _ in range(600)
]
SCORES = rng.random(600)


def reference(**limits: int) -> Reference:
    return from_events(ROWS, SCORES, KINDS, Limits(**limits), "test")


def named(layout: FeatureLayout, row: dict[str, Any] | None, feature: str) -> str:
    """What the column of one value means, in words."""
    at = layout.names.index(feature)
    column = int(layout.columns([row])[0, at])
    block = layout.blocks[at]
    if column == block.missing:
        return "missing"
    if column == block.invalid:
        return "invalid"
    if isinstance(block.feature, Numeric):
        return f"bin {int(np.searchsorted(block.feature.edges, 0)) and column - block.start}"
    return [*block.feature.categories, "other", "unseen"][column - block.start]


def bin_of(layout: FeatureLayout, feature: str, value: float) -> str:
    block = layout.blocks[layout.names.index(feature)]
    assert isinstance(block.feature, Numeric)
    return f"bin {int(np.searchsorted(block.feature.edges, value, side='right'))}"


@pytest.mark.parametrize(
    "value", [33.0, 33, True, False, -0.0, 1e308, -1e308, 5e-324, np.float32(21.5), np.int64(3), 2**62, 10**300]
)
@pytest.mark.parametrize("alone", [True, False])
def test_numbers_fall_into_their_bin(value: Any, alone: bool) -> None:
    layout = FeatureLayout(reference())
    row = {"age": value} if alone else {**(ROWS[0] or {}), "age": value}
    block = layout.blocks[0]
    assert int(layout.columns([row])[0, 0]) - block.start == int(bin_of(layout, "age", float(value)).split()[1])


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        (None, "missing"),
        (math.nan, "invalid"),
        (math.inf, "invalid"),
        (-math.inf, "invalid"),
        ("33", "invalid"),
        ("", "invalid"),
        (b"33", "invalid"),
        (10**400, "invalid"),
        ([1.0], "invalid"),
        ({"a": 1}, "invalid"),
        (1j, "invalid"),
    ],
)
@pytest.mark.parametrize("feature", ["age", "amount"])
def test_what_is_not_a_number_has_a_column_of_its_own(value: Any, meaning: str, feature: str) -> None:
    layout = FeatureLayout(reference())
    assert named(layout, {**(ROWS[0] or {}), feature: value}, feature) == meaning
    assert named(layout, {feature: value}, feature) == meaning


@pytest.mark.parametrize(
    ("feature", "value", "meaning"),
    [
        ("country", "BR", "BR"),
        ("country", "été", "été"),
        ("country", "br", "unseen"),
        ("country", "\ud800", "unseen"),
        ("country", "x" * 100_000, "unseen"),
        ("country", 7.0, "unseen"),
        ("country", 10**400, "unseen"),
        ("country", True, "unseen"),
        ("country", None, "missing"),
        ("country", math.nan, "invalid"),
        ("country", math.inf, "invalid"),
        ("country", ["BR"], "invalid"),
        ("country", ("BR",), "invalid"),
        ("vip", True, "true"),
        ("vip", "true", "true"),
        ("vip", 1.0, "true"),
        ("vip", 0, "false"),
        ("vip", 2, "unseen"),
        ("vip", None, "missing"),
    ],
)
def test_categories(feature: str, value: Any, meaning: str) -> None:
    layout = FeatureLayout(reference())
    assert named(layout, {**(ROWS[0] or {}), feature: value}, feature) == meaning
    assert named(layout, {feature: value}, feature) == meaning


def test_an_event_without_features_misses_all_and_a_missing_key_misses_one() -> None:
    layout = FeatureLayout(reference())
    missing = [block.missing for block in layout.blocks]
    assert layout.columns([None, {}]).tolist() == [missing, missing]
    row = {name: value for name, value in (ROWS[0] or {}).items() if name != "country"}
    assert named(layout, row, "country") == "missing"


def test_histogram_of_the_reference_is_the_reference() -> None:
    known = reference()
    layout = FeatureLayout(known)
    counts = [count for feature in known.monitored for count in feature.counts]
    assert layout.histogram(layout.columns(ROWS, SCORES)).tolist() == counts
    assert sum(counts) == len(ROWS) * len(known.monitored)


def test_outputs_may_be_an_array_or_values() -> None:
    layout = FeatureLayout(reference())
    listed: list[Scalar] = [*SCORES.tolist(), None, "x"]
    several = layout.columns([None] * len(listed), listed)[:, -1]
    assert several[:-2].tolist() == layout.columns([None] * 600, SCORES)[:, -1].tolist()
    assert several[-2:].tolist() == [layout.blocks[-1].missing, layout.blocks[-1].invalid]
    given_outputs = np.array([np.nan, np.inf])
    nothing = layout.columns([None, None], given_outputs)[:, -1]
    np.testing.assert_array_equal(given_outputs, [np.nan, np.inf])
    assert nothing.tolist() == [layout.blocks[-1].missing, layout.blocks[-1].invalid]


def test_unknown_features_are_told_with_their_number() -> None:
    layout = FeatureLayout(reference())
    assert layout.read(ROWS).new == {}
    renamed = [{("Age" if name == "age" else name): value for name, value in (row or {}).items()} for row in ROWS[:3]]
    assert layout.read([*ROWS[:5], *renamed]).new == {"Age": 3}
    assert layout.read([{**(ROWS[0] or {}), "zip": 1.0}, ROWS[1]]).new == {"zip": 1}
    assert layout.read([{**(ROWS[0] or {}), "age": None}]).new == {}


def test_an_ignored_feature_that_is_renamed_is_new() -> None:
    rows: list[dict[str, Scalar] | None] = [{"age": float(i % 7), "rid": f"r{i}"} for i in range(100)]
    layout = FeatureLayout(from_events(rows, None, None, Limits(), "test"))
    assert layout.names == ("age",)
    assert layout.read(rows).new == {}
    assert layout.read([{"age": 1.0, "Rid": "r"}]).new == {"Rid": 1}


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.integers(),
    st.text(max_size=5),
    st.sampled_from(["BR", "DE", "true", 30.0, 45.5, 10**400]),
)
rows_of_anything = st.lists(
    st.one_of(st.none(), st.dictionaries(st.sampled_from([*KINDS, "new"]), anything), st.sampled_from(ROWS)),
    max_size=40,
)
LAYOUT = FeatureLayout(reference())


@given(rows_of_anything, st.lists(st.integers(0, 40), max_size=4))
def test_slicing_changes_nothing(rows: list[dict[str, Any] | None], cuts: Sequence[int]) -> None:
    whole = LAYOUT.read(rows)
    bounds = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    parts = [LAYOUT.read(rows[left:right]) for left, right in pairwise(bounds)]
    assert whole.columns.tolist() == [row for part in parts for row in part.columns.tolist()]
    assert sum(whole.new.values()) == sum(count for part in parts for count in part.new.values())
    for at, block in enumerate(LAYOUT.blocks):
        assert ((whole.columns[:, at] >= block.start) & (whole.columns[:, at] < block.stop)).all()


JSON_ROWS = st.dictionaries(
    st.sampled_from([*KINDS, "new"]),
    st.one_of(
        st.none(),
        st.booleans(),
        st.floats(allow_nan=False, allow_infinity=False, width=32),
        st.sampled_from(["BR", "DE", "true", "x"]),
    ),
)


@given(st.lists(JSON_ROWS, max_size=40), st.permutations([*KINDS, "new"]), st.booleans())
def test_rows_in_slots_are_read_as_dictionaries_are(rows: list[Any], names: list[str], mixed: bool) -> None:
    row = row_type(names)
    assert row is not None
    slotted: list[Row] = [msgspec.json.decode(msgspec.json.encode(each), type=row) for each in rows]
    if mixed and rows:
        slotted[-1] = rows[-1]
    assert [plain(each) for each in slotted] == rows
    plainly, fast = LAYOUT.read(rows), LAYOUT.read(slotted)
    assert fast.columns.tolist() == plainly.columns.tolist()
    assert fast.new == plainly.new


def test_rows_without_a_slot_for_a_feature_miss_it() -> None:
    row = row_type(["age", "country"])
    assert row is not None
    rows: list[Row] = [{"age": float(age), "country": "BR"} for age in range(20, 60)]
    slotted = [msgspec.json.decode(msgspec.json.encode(each), type=row) for each in rows]
    assert LAYOUT.columns(slotted).tolist() == LAYOUT.columns(rows).tolist()


@pytest.mark.parametrize("every", [1, 2, 7, 50, 299])
def test_a_long_batch_with_bad_rows_equals_row_by_row(every: int) -> None:
    rows: list[dict[str, Any] | None] = [*ROWS]
    oddities: list[dict[str, Any] | None] = [
        {"age": "x", "country": None},
        None,
        {"age": None, "amount": 1.0},
        {"amount": math.nan},
        {"age": True, "amount": 10**400, "country": "BR", "vip": 1.0},
    ]
    for number, at in enumerate(range(3, len(rows), every)):
        rows[at] = oddities[number % len(oddities)]
    single = [LAYOUT.columns([row])[0].tolist() for row in rows]
    assert LAYOUT.columns(rows).tolist() == single


def test_rows_with_null_have_no_unknown_feature_and_rows_without_a_key_may() -> None:
    whole = ROWS[0] or {}
    assert LAYOUT.read([{**whole, "age": None}] * 3).new == {}
    short = {name: value for name, value in whole.items() if name != "age"}
    assert LAYOUT.read([whole, short, {**short, "Age": None}]).new == {"Age": 1}


def test_rare_categories_share_a_bin_and_are_not_unseen() -> None:
    rows: list[dict[str, Scalar] | None] = [{"city": f"c{i % 20}"} for i in range(200)]
    rows.extend({"city": "big"} for _ in range(50))
    layout = FeatureLayout(from_events(rows, None, {"city": "categorical"}, Limits(categories=1), "test"))
    feature = layout.blocks[0].feature
    assert isinstance(feature, Categorical)
    assert feature.categories == ("big",)
    assert feature.counts == (50, 200, 0, 0, 0)
    assert [named(layout, {"city": name}, "city") for name in ("c3", "big", "nowhere")] == ["other", "big", "unseen"]


def test_a_category_too_long_to_remember_is_other_and_never_unseen() -> None:
    rows: list[dict[str, Scalar] | None] = [{"text": "x" * 10_000}, {"text": "a"}]
    layout = FeatureLayout(from_events(rows, None, {"text": "categorical"}, Limits(), "test"))
    assert [named(layout, {"text": text}, "text") for text in ("a", "x" * 10_000, "b")] == ["a", "other", "other"]


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63), st.booleans()))
def test_a_category_is_found_by_value_and_by_text(value: Any) -> None:
    layout = FeatureLayout(from_events([{"c": value}], None, {"c": "categorical"}, Limits(), "test"))
    assert named(layout, {"c": value}, "c") == named(layout, {"c": spoken(value)}, "c") == spoken(value)
